//! The Berkeley calls.

use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::error::{CloseReason, Error, Result};
use crate::event::{DeadlineKind, Readiness};
use crate::id::{OwnerId, SocketId};
use crate::message_flags::{RecvFlags, SendFlags};
use crate::socket::iface_of;
use crate::socket::tcp_questions as tcp;
use crate::socket::{
    DatagramMeta, Descriptor, Domain, Env, ProtocolCalls, QueuedError, Received, SendData, SendMeta,
    Shutdown, SockAddr, Socket, SocketInfo, SocketKind, SocketOption, SocketOptions, SocketWalk,
};
use crate::socket::{get_raw_option, set_raw_option};
use crate::stack::Stack;
use crate::tcp::TcpInfo;
use crate::time::Instant;

/// The calls of one owner of descriptors, other than the first: see [`Stack::owner`].
#[derive(Debug)]
pub struct Owner<'a> {
    stack: &'a mut Stack,
    id: OwnerId,
}

/// The owner that makes a call: the stack itself or an [`Owner`].
trait Caller {
    fn caller(&self) -> (&Stack, OwnerId);

    fn caller_mut(&mut self) -> (&mut Stack, OwnerId);
}

impl Caller for Stack {
    fn caller(&self) -> (&Stack, OwnerId) {
        (self, OwnerId::FIRST)
    }

    fn caller_mut(&mut self) -> (&mut Stack, OwnerId) {
        (self, OwnerId::FIRST)
    }
}

impl Caller for Owner<'_> {
    fn caller(&self) -> (&Stack, OwnerId) {
        (self.stack, self.id)
    }

    fn caller_mut(&mut self) -> (&mut Stack, OwnerId) {
        (self.stack, self.id)
    }
}

/// Makes a call on a socket, with the tables of its kind and the shared state. EBADF.
#[inline]
fn call<T>(
    caller: &mut impl Caller,
    d: Descriptor,
    work: impl FnOnce(&mut dyn ProtocolCalls, &mut Env<'_>, SocketId) -> Result<T>,
) -> Result<T> {
    let (stack, caller) = caller.caller_mut();
    let (id, socket) = stack.sockets.common.socket(caller, d)?;
    let room = socket.room();
    stack.sockets.common.caller = caller;
    // The closure borrows these parts: returning them would cost more than looking up the socket.
    let (mut env, kinds) = stack.parts();
    work(kinds.of(room), &mut env, id)
}

/// Like [`call`], for calls that take the time.
#[inline]
fn call_at<T>(
    caller: &mut impl Caller,
    now: Instant,
    d: Descriptor,
    work: impl FnOnce(&mut dyn ProtocolCalls, &mut Env<'_>, SocketId) -> Result<T>,
) -> Result<T> {
    caller.caller_mut().0.core.advance(now);
    call(caller, d, work)
}

/// The id and the record of a descriptor's socket. EBADF.
fn socket_of(caller: &impl Caller, d: Descriptor) -> Result<(SocketId, &Socket)> {
    let (stack, caller) = caller.caller();
    stack.sockets.common.socket(caller, d)
}

/// Calls that concern all sockets.
impl Stack {
    /// Forgets the Fast Open cookies of all servers, and which of them refuse data in a SYN
    /// (`ip tcp_metrics flush`).
    pub fn forget_fast_open_cookies(&mut self) {
        self.sockets.kinds.tcp.forget_fast_open_cookies();
    }

    /// The readiness of a socket that an [`Event`](crate::Event) has named, whichever owner holds
    /// it; `None` if the socket is gone.
    pub fn socket_readiness(&self, socket: SocketId) -> Option<Readiness> {
        self.sockets.common.readiness(socket)
    }

    /// All sockets, handshakes and TIME-WAIT records included: what `ss --all` lists.
    ///
    /// The cost is that of what is listed: one pass over the descriptor tables, before the first
    /// socket, and one over the records. The iterator remembers the descriptors, about 24 bytes
    /// for each, and collects nothing else. See [`walk_sockets`](Stack::walk_sockets) for a walk
    /// that can be interrupted.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
    /// # let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
    /// let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// stack.bind(listener, ([0, 0, 0, 0], 80))?;
    /// stack.listen(listener, 128)?;
    /// for socket in stack.sockets() {
    ///     let local = socket.local.map(|local| local.to_string()).unwrap_or_default();
    ///     println!("{} {} {} {local}", socket.state, socket.receive_queue, socket.send_queue);
    /// }
    /// # assert_eq!(stack.sockets().count(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sockets(&self) -> impl Iterator<Item = SocketInfo> {
        self.sockets.infos()
    }

    /// Takes up to `steps` steps of a walk over all sockets, and calls `visit` for each socket that
    /// it finds. A step looks at one entry of a table: a descriptor, or a record. So this call
    /// takes a limited time, however many sockets there are, and a caller that shares the stack may
    /// release it between calls. [`SocketWalk::is_finished`] says when the walk is over.
    pub fn walk_sockets(&self, walk: &mut SocketWalk, steps: usize, visit: impl FnMut(SocketInfo)) {
        self.sockets.walk(walk, steps, visit);
    }

    /// The timers of a connection that are armed. None for a socket of another kind.
    pub fn socket_timers(&self, socket: SocketId) -> impl Iterator<Item = (Instant, DeadlineKind)> {
        self.sockets.common.timers_of(socket)
    }

    /// Like [`info`](Stack::info), for a socket of any owner. `None` if there never was a
    /// connection, and for sockets of other kinds.
    pub fn socket_tcp_info(&self, now: Instant, socket: SocketId) -> Option<TcpInfo> {
        let socket = self.sockets.common.record(socket).ok()?;
        tcp::info(socket, now, self.config()).ok()
    }
}

impl Owner<'_> {
    /// The sockets of its descriptors. The work grows with their number.
    pub fn socket_ids(&self) -> Vec<SocketId> {
        self.stack.sockets.common.owners.descriptors_of(self.id).map(|(_, socket)| socket).collect()
    }
}

/// The calls are the same for a stack, which calls for its first owner, and for any other
/// [`Owner`].
macro_rules! calls {
    ($($calls:tt)*) => {
        /// The socket calls. They never block: they return [`Error::WouldBlock`], and an event says
        /// when to try again. Calls that may change a connection take the time. Every call returns
        /// [`Error::BadDescriptor`] for a descriptor that is not open, or that belongs to another
        /// owner.
        impl Stack {
            $($calls)*
        }

        /// The calls of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Creates a socket, with the lowest free descriptor.
    ///
    /// ```
    /// use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
    ///
    /// let now = Instant::ZERO;
    /// let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// stack.bind(listener, ([127, 0, 0, 1], 80))?;
    /// stack.listen(listener, 128)?;
    /// let client = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// assert_eq!(stack.connect(now, client, ([127, 0, 0, 1], 80)), Err(Error::InProgress));
    /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
    ///
    /// let (server, peer) = stack.accept(listener)?;
    /// assert_eq!(peer.ip(), Some(stack.local_addr(client)?));
    /// stack.send(now, client, b"hello")?;
    /// stack.close(now, client)?;
    /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
    /// let mut buf = [0; 10];
    /// assert_eq!(stack.recv(now, server, &mut buf)?, 5);
    /// assert_eq!(stack.recv(now, server, &mut buf)?, 0); // the end of the stream
    /// # Ok::<(), Error>(())
    /// ```
    pub fn socket(&mut self, domain: Domain, kind: SocketKind) -> Result<Descriptor> {
        let (stack, caller) = self.caller_mut();
        let (mut env, kinds) = stack.parts();
        kinds.open(&mut env, caller, domain, kind)
    }

    /// Binds the socket to a local address and port. Port 0 draws an ephemeral port.
    /// `AddressInUse`, `AddressNotAvailable` (not an address of this stack), `InvalidArgument`
    /// (bound already), `AddressFamilyNotSupported`.
    pub fn bind(&mut self, d: Descriptor, addr: impl Into<SockAddr>) -> Result<()> {
        let addr = addr.into();
        call(self, d, |kind, env, id| kind.bind(env, id, &addr))
    }

    /// Makes a stream socket a listener. `backlog` connections and one more may wait for `accept`,
    /// and as many handshakes may be in progress. The backlog is at most
    /// [`TcpConfig::max_backlog`](crate::TcpConfig::max_backlog); a second call changes it. A
    /// socket that is not bound gets an ephemeral port.
    pub fn listen(&mut self, d: Descriptor, backlog: usize) -> Result<()> {
        call(self, d, |kind, env, id| kind.listen(env, id, backlog))
    }

    /// Accepts the next established connection, and returns its descriptor and its peer. It has the
    /// listener's options.
    pub fn accept(&mut self, d: Descriptor) -> Result<(Descriptor, SockAddr)> {
        let (stack, caller) = self.caller_mut();
        let (mut env, kinds) = stack.parts();
        kinds.accept(&mut env, caller, d)
    }

    /// Connects the socket. On a stream this begins to open a connection and returns
    /// [`Error::InProgress`]. When the descriptor becomes writable, the connection is open, or
    /// [`take_error`](Stack::take_error) returns the reason why not. With TCP_FASTOPEN_CONNECT this
    /// may return `Ok`, and the first `send` opens the connection. On a datagram socket this sets
    /// the peer.
    pub fn connect(&mut self, now: Instant, d: Descriptor, addr: impl Into<SockAddr>) -> Result<()> {
        let addr = addr.into();
        call_at(self, now, d, |kind, env, id| kind.connect(env, id, &addr))
    }

    /// Dissolves the association (`connect` to AF_UNSPEC). A datagram socket has no peer
    /// afterwards; it keeps a port that was named to `bind`, and gives any other back. A stream is
    /// reset, and a listener stops listening; both can then be used again.
    pub fn disconnect(&mut self, now: Instant, d: Descriptor) -> Result<()> {
        call_at(self, now, d, |kind, env, id| {
            let result = kind.disconnect(env, id);
            env.common.note_state_change(id);
            result
        })
    }

    /// Opens a connection with data in its SYN (`sendto` with MSG_FASTOPEN; RFC 7413). If the
    /// server's cookie is known, the SYN takes the front of `data`, and this returns how many
    /// bytes; give the rest to [`send`](Stack::send) when the descriptor is writable. If `data` is
    /// empty, the SYN has the cookie alone, and this returns [`Error::InProgress`]. If no cookie is
    /// known, this is [`connect`](Stack::connect) with a request for a cookie, and returns
    /// [`Error::InProgress`]. The server may see the data twice if the network duplicates the SYN,
    /// so use this only for requests that may be repeated.
    pub fn connect_with_data(
        &mut self,
        now: Instant,
        d: Descriptor,
        addr: SocketAddr,
        data: &[u8],
    ) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| kind.connect_with(env, id, addr, data))
    }

    /// Sends data, and returns the number of bytes taken: as many as there is room for on a stream,
    /// all of them as one datagram to the connected peer.
    pub fn send(&mut self, now: Instant, d: Descriptor, data: &[u8]) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| {
            kind.send(env, id, SendData::Slice(data), &SendMeta::connected(), SendFlags::default())
        })
    }

    /// Like [`send`](Stack::send), with flags.
    pub fn send_with(&mut self, now: Instant, d: Descriptor, data: &[u8], flags: SendFlags) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| {
            kind.send(env, id, SendData::Slice(data), &SendMeta::connected(), flags)
        })
    }

    /// Like [`send`](Stack::send) without a copy: the slice is kept until it is acknowledged.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use portolan::{Config, Domain, Instant, SocketKind, Stack};
    ///
    /// let now = Instant::ZERO;
    /// let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let [near, far] = stack.socket_pair(Domain::Unix, SocketKind::Stream)?;
    /// stack.send_bytes(now, near, Bytes::from_static(b"not copied"))?;
    /// assert_eq!(&stack.recv_bytes(now, far, usize::MAX)?[..], b"not copied");
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn send_bytes(&mut self, now: Instant, d: Descriptor, data: Bytes) -> Result<usize> {
        self.send_bytes_with(now, d, data, SendFlags::default())
    }

    /// Like [`send_with`](Stack::send_with) without a copy.
    pub fn send_bytes_with(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: Bytes,
        flags: SendFlags,
    ) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| {
            kind.send(env, id, SendData::Bytes(data), &SendMeta::connected(), flags)
        })
    }

    /// Receives data into `buf`, and returns its length. On a stream `Ok(0)` is the end of the
    /// stream. A datagram is truncated to the buffer.
    #[inline]
    pub fn recv(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| kind.receive(env, id, buf))
    }

    /// Like [`recv`](Stack::recv), with flags.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, RecvFlags, SocketKind, Stack};
    /// # let now = Instant::ZERO;
    /// # let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// # let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
    /// # stack.bind(socket, ([127, 0, 0, 1], 7))?;
    /// # stack.send_to(now, socket, b"ping", ([127, 0, 0, 1], 7))?;
    /// # while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
    /// // How long is the next datagram?
    /// let len = stack.recv_with(now, socket, &mut [], RecvFlags::PEEK | RecvFlags::TRUNCATE)?;
    /// # assert_eq!(len, 4);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn recv_with(
        &mut self,
        now: Instant,
        d: Descriptor,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<usize> {
        Ok(self.recv_message(now, d, &mut [buf], flags)?.len)
    }

    /// Receives into several buffers, which are filled one after the other, with flags, metadata
    /// and errors (`recvmsg`). This is the complete form of all calls that receive.
    pub fn recv_message(
        &mut self,
        now: Instant,
        d: Descriptor,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        call_at(self, now, d, |kind, env, id| kind.receive_with(env, id, bufs, flags))
    }

    /// SIOCATMARK: whether the next byte of the stream is the urgent one. No read crosses the mark:
    /// a read that reaches it ends there, and the next begins with the urgent byte (SO_OOBINLINE)
    /// or behind it. `NotSupported` for datagrams.
    pub fn at_mark(&self, d: Descriptor) -> Result<bool> {
        tcp::is_at_mark(socket_of(self, d)?.1)
    }

    /// Whether a blocking read of `len` bytes should wait for more data (SO_RCVLOWAT). The stack's
    /// own calls never wait.
    pub fn is_below_low_water(&self, d: Descriptor, len: usize) -> Result<bool> {
        Ok(tcp::is_below_low_water(socket_of(self, d)?.1, len))
    }

    /// Like [`recv`](Stack::recv) without a copy: one slice of at most `max` bytes, empty at the
    /// end of the stream. It closes descriptors that come with the data, as `recv` does.
    pub fn recv_bytes(&mut self, now: Instant, d: Descriptor, max: usize) -> Result<Bytes> {
        call_at(self, now, d, |kind, env, id| kind.receive_bytes(env, id, max))
    }

    /// Whether a receive that collects several slices of [`recv_bytes`](Stack::recv_bytes) may take
    /// the next one: `false` at the mark of urgent data, behind data of a Unix-domain stream that
    /// came with descriptors, and, with SO_PASSCRED, before data of other credentials. [`recv`]
    /// ends there by itself. Always `false` for sockets that receive messages.
    ///
    /// [`recv`]: Stack::recv
    pub fn may_read_on(&self, d: Descriptor) -> Result<bool> {
        Ok(tcp::may_read_on(socket_of(self, d)?.1))
    }

    /// Like [`recv`](Stack::recv), but leaves the data in the queue (MSG_PEEK). A pending error is
    /// returned once, as by `recv`.
    pub fn peek(&mut self, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        call(self, d, |kind, env, id| Ok(kind.receive_with(env, id, &mut [buf], RecvFlags::PEEK)?.len))
    }

    /// Like [`recv_from`](Stack::recv_from), but leaves the datagram in the queue. `NotSupported`
    /// on a stream.
    pub fn peek_from(&mut self, d: Descriptor, buf: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        call(self, d, |_, env, id| env.common.peek_datagram(id, buf))
    }

    /// Whether a blocking receive would return nothing now, because reading was shut down and no
    /// datagram is queued: then the metadata that it returns. `WouldBlock` if it would wait,
    /// `NotConnected` without a peer. The stack's own calls never wait; on a socket that was shut
    /// down they return `WouldBlock`, as on Linux.
    pub fn end_of_datagrams(&self, now: Instant, d: Descriptor) -> Result<DatagramMeta> {
        let (stack, caller) = self.caller();
        let (id, _) = stack.sockets.common.socket(caller, d)?;
        stack.sockets.common.end_of_datagrams(now, id)
    }

    /// Sends one datagram to `addr`. On a connected stream the address is ignored, as on Linux.
    pub fn send_to(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: &[u8],
        addr: impl Into<SockAddr>,
    ) -> Result<usize> {
        let addr = addr.into();
        call_at(self, now, d, |kind, env, id| kind.send_to(env, id, data, &addr))
    }

    /// Receives one datagram, truncated to the buffer. Returns its length and its metadata, for
    /// example its [sender](DatagramMeta::peer). On a stream this is [`recv`](Stack::recv), with
    /// the peer.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
    /// # let now = Instant::ZERO;
    /// # let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// # let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
    /// # stack.bind(socket, ([127, 0, 0, 1], 7))?;
    /// # stack.send_to(now, socket, b"ping", ([127, 0, 0, 1], 7))?;
    /// # while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
    /// let mut buf = [0; 1500];
    /// let (len, meta) = stack.recv_from(now, socket, &mut buf)?;
    /// stack.send_to(now, socket, &buf[..len], meta.peer())?;
    /// # assert_eq!(&buf[..len], b"ping");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn recv_from(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        call_at(self, now, d, |kind, env, id| kind.receive_from(env, id, buf))
    }

    /// Like [`recv_msg`](Stack::recv_msg) for up to `max` datagrams that wait (recvmmsg). Appends
    /// them to `batch`, and returns their number.
    pub fn recv_batch(
        &mut self,
        now: Instant,
        d: Descriptor,
        batch: &mut Vec<(Bytes, DatagramMeta)>,
        max: usize,
    ) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| kind.receive_batch(env, id, batch, max))
    }

    /// Like [`recv_from`](Stack::recv_from), but returns the whole datagram without a copy. With
    /// [`SocketOption::UdpGro`] the data may be several datagrams. `NotSupported` on a stream.
    pub fn recv_msg(&mut self, now: Instant, d: Descriptor) -> Result<(Bytes, DatagramMeta)> {
        call_at(self, now, d, |kind, env, id| kind.receive_message(env, id))
    }

    /// Sends the data of several slices together, as `meta` and the flags say (`sendmsg`). This is
    /// the complete form of all calls that send. On a stream `meta` has no effect.
    /// `InvalidArgument` for a TTL of 0 or for more datagrams than UDP_SEGMENT allows;
    /// `MessageTooLong` if they do not fit the path MTU.
    pub fn send_message(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: &[&[u8]],
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| kind.send(env, id, SendData::Slices(data), meta, flags))
    }

    /// Like [`send_message`](Stack::send_message) without a copy and without flags.
    pub fn send_msg(&mut self, now: Instant, d: Descriptor, data: Bytes, meta: &SendMeta) -> Result<usize> {
        call_at(self, now, d, |kind, env, id| {
            kind.send(env, id, SendData::Bytes(data), meta, SendFlags::default())
        })
    }

    /// Shuts down one half of a connection, or both. `NotConnected`.
    pub fn shutdown(&mut self, now: Instant, d: Descriptor, how: Shutdown) -> Result<()> {
        call_at(self, now, d, |kind, env, id| {
            let result = kind.shutdown(env, id, how);
            env.common.note_state_change(id);
            result
        })
    }

    /// Closes the descriptor. A connection without descriptors continues until it has ended in
    /// order. With unread data, or with SO_LINGER of zero, it is reset instead.
    pub fn close(&mut self, now: Instant, d: Descriptor) -> Result<()> {
        let (stack, caller) = self.caller_mut();
        stack.core.advance(now);
        let (mut env, kinds) = stack.parts();
        kinds.close(&mut env, caller, d)
    }

    /// Returns another descriptor for the same socket, the lowest free one (`dup`). The descriptors
    /// share options and queues. The socket is closed with its last descriptor.
    pub fn duplicate(&mut self, d: Descriptor) -> Result<Descriptor> {
        let (stack, caller) = self.caller_mut();
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.hold(caller, id)
    }

    /// Like [`duplicate`](Stack::duplicate), for another owner, as when a process passes a
    /// descriptor on (SCM_RIGHTS) or forks. `InvalidArgument` if there is no such owner.
    pub fn duplicate_to(&mut self, d: Descriptor, owner: OwnerId) -> Result<Descriptor> {
        let (stack, caller) = self.caller_mut();
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.hold(owner, id)
    }

    /// The open descriptor with this number. `BadDescriptor`.
    pub fn descriptor(&self, number: u32) -> Result<Descriptor> {
        let (stack, caller) = self.caller();
        stack.sockets.common.owners.descriptor(caller, number)
    }

    /// The socket that the descriptor refers to, as an [`Event`](crate::Event) names it.
    pub fn socket_id(&self, d: Descriptor) -> Result<SocketId> {
        Ok(socket_of(self, d)?.0)
    }

    /// The socket's local address; the unspecified one with port 0 before the socket is bound.
    /// `NotSupported` for a socket that has no address of IP; see
    /// [`local_name`](Stack::local_name).
    pub fn local_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        socket_of(self, d)?.1.local_name().ip().ok_or(Error::NotSupported)
    }

    /// The peer's address. `NotConnected`.
    pub fn peer_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        self.peer_name(d)?.ip().ok_or(Error::NotSupported)
    }

    /// Like [`local_addr`](Stack::local_addr), for a socket of any family (`getsockname`).
    pub fn local_name(&self, d: Descriptor) -> Result<SockAddr> {
        Ok(socket_of(self, d)?.1.local_name())
    }

    /// Like [`peer_addr`](Stack::peer_addr), for a socket of any family (`getpeername`).
    /// `NotConnected`.
    pub fn peer_name(&self, d: Descriptor) -> Result<SockAddr> {
        let (stack, caller) = self.caller();
        let id = stack.sockets.common.socket(caller, d)?.0;
        stack.sockets.common.peer_name(id)
    }

    /// Sets an option. `InvalidArgument` for a value out of its range, or IPV6_V6ONLY after `bind`.
    ///
    /// ```
    /// use portolan::{Config, Domain, Instant, SocketKind, SocketOption, Stack};
    ///
    /// let now = Instant::ZERO;
    /// let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let socket = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// stack.set_option(now, socket, SocketOption::NoDelay(true))?;
    /// stack.set_option(now, socket, SocketOption::ReceiveBuffer(1 << 20))?;
    /// assert!(stack.options(socket)?.tcp.nodelay);
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn set_option(&mut self, now: Instant, d: Descriptor, option: SocketOption) -> Result<()> {
        call_at(self, now, d, |kind, env, id| {
            env.check_multicast_option(id, option)?;
            kind.set_option(env, id, option)?;
            env.resolve_multicast_interface(id, option);
            Ok(())
        })
    }

    /// Sets an option by number, with its value in the layout of Linux (`setsockopt`), for bindings
    /// to other languages. docs/options.md lists the options. ENOPROTOOPT (`ProtocolNotAvailable`)
    /// for an option that is not among them, or not of this kind of socket; `InvalidArgument` for a
    /// value that is too short or out of its range, and in states in which Linux returns it.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
    /// # let now = Instant::ZERO;
    /// # let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let socket = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// let (tcp, nodelay) = (6, 1);
    /// stack.setsockopt(now, socket, tcp, nodelay, &1_i32.to_ne_bytes())?;
    /// assert!(stack.options(socket)?.tcp.nodelay);
    /// let mut value = [0; 4];
    /// assert_eq!(stack.getsockopt(now, socket, tcp, nodelay, &mut value)?, 4);
    /// assert_eq!(i32::from_ne_bytes(value), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn setsockopt(
        &mut self,
        now: Instant,
        d: Descriptor,
        level: i32,
        number: i32,
        value: &[u8],
    ) -> Result<()> {
        call_at(self, now, d, |kind, env, id| set_raw_option(kind, env, id, (level, number), value))
    }

    /// Writes the value of an option, or what fits of it, into `buf` in the layout of Linux, and
    /// returns its length (`getsockopt`). The errors are those of
    /// [`setsockopt`](Stack::setsockopt). SO_ERROR is cleared by this.
    pub fn getsockopt(
        &mut self,
        now: Instant,
        d: Descriptor,
        level: i32,
        number: i32,
        buf: &mut [u8],
    ) -> Result<usize> {
        call_at(self, now, d, |_, env, id| get_raw_option(env, id, (level, number), buf))
    }

    /// The options of the socket.
    pub fn options(&self, d: Descriptor) -> Result<SocketOptions> {
        let socket = socket_of(self, d)?.1;
        let mut options = SocketOptions::clone(&socket.options);
        tcp::complete_options(socket, &mut options);
        Ok(options)
    }

    /// The headers of the SYN that opened an accepted connection, from that of IP to the options of
    /// TCP, if its listener had [`SocketOption::SaveSyn`] (TCP_SAVED_SYN). They are returned once;
    /// empty if there are none. `ProtocolNotAvailable` unless it is a TCP socket.
    ///
    /// ```
    /// # use portolan::{Config, Domain, Error, Instant, SocketKind, SocketOption, Stack};
    /// # let now = Instant::ZERO;
    /// # let mut stack = Stack::new(Config::default(), [7; 32], now);
    /// let listener = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// stack.set_option(now, listener, SocketOption::SaveSyn(true))?;
    /// stack.bind(listener, ([127, 0, 0, 1], 80))?;
    /// stack.listen(listener, 8)?;
    /// let client = stack.socket(Domain::V4, SocketKind::Stream)?;
    /// assert_eq!(stack.connect(now, client, ([127, 0, 0, 1], 80)), Err(Error::InProgress));
    /// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
    /// let (server, _) = stack.accept(listener)?;
    /// let syn = stack.take_saved_syn(server)?;
    /// assert_eq!((syn[0], syn[9]), (0x45, 6)); // IPv4 and TCP
    /// assert!(stack.take_saved_syn(server)?.is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn take_saved_syn(&mut self, d: Descriptor) -> Result<Vec<u8>> {
        call(self, d, |_, env, id| env.common.take_saved_syn(id, usize::MAX))
    }

    /// The state of a stream's connection, or of a listener (TCP_INFO). `NotConnected` if there
    /// never was a connection.
    pub fn info(&self, now: Instant, d: Descriptor) -> Result<TcpInfo> {
        tcp::info(socket_of(self, d)?.1, now, self.caller().0.config())
    }

    /// Returns and clears the pending error (SO_ERROR).
    pub fn take_error(&mut self, d: Descriptor) -> Result<Option<Error>> {
        call(self, d, |_, env, id| env.common.take_error(id))
    }

    /// The bytes that wait to be read, and the bytes that are not sent or not acknowledged
    /// (SIOCINQ, SIOCOUTQ). Both are 0 for a listener.
    pub fn queued_bytes(&self, d: Descriptor) -> Result<(usize, usize)> {
        Ok(socket_of(self, d)?.1.queued())
    }

    /// The bytes that the next receive could return: of the next datagram, or those of a stream up
    /// to urgent data (FIONREAD). `InvalidArgument` for a listener.
    pub fn unread_bytes(&self, d: Descriptor) -> Result<usize> {
        socket_of(self, d)?.1.unread_bytes()
    }

    /// The bytes that are not acknowledged, or the bytes of datagrams that were not sent yet
    /// (SIOCOUTQ). `InvalidArgument` for a listener.
    pub fn unacknowledged_bytes(&self, d: Descriptor) -> Result<usize> {
        socket_of(self, d)?.1.unacknowledged_bytes()
    }

    /// The bytes of a stream that were not sent yet (SIOCOUTQNSD). `InvalidArgument` for a
    /// listener, `NotSupported` for datagrams.
    pub fn unsent_bytes(&self, d: Descriptor) -> Result<usize> {
        tcp::unsent_bytes(socket_of(self, d)?.1)
    }

    /// The path MTU to the peer, IP header included (IP_MTU, IPV6_MTU). `NotConnected`.
    pub fn path_mtu(&self, now: Instant, d: Descriptor) -> Result<usize> {
        let socket = socket_of(self, d)?.1;
        let flow = socket.peer_flow()?;
        Ok(self.caller().0.network.path_mtu(now, flow.remote.addr, iface_of(flow.scope)))
    }

    /// Takes the next error of the error queue, and the payload of the packet that it is about,
    /// without a copy (see [`SocketOption::ReceiveErrors`]). `WouldBlock` if there is none.
    pub fn recv_error(&mut self, d: Descriptor) -> Result<(QueuedError, Bytes)> {
        call(self, d, |_, env, id| env.common.take_queued_error(id))
    }

    /// Why the connection ended; `None` if it has not ended or there is none. Unlike
    /// [`take_error`](Stack::take_error) this does not clear it.
    pub fn close_reason(&self, d: Descriptor) -> Result<Option<CloseReason>> {
        Ok(tcp::close_reason(socket_of(self, d)?.1))
    }

    /// The family of the socket (SO_DOMAIN); that of a packet socket means nothing.
    pub fn domain(&self, d: Descriptor) -> Result<Domain> {
        Ok(socket_of(self, d)?.1.domain)
    }

    /// The kind of the socket (SO_TYPE).
    pub fn kind(&self, d: Descriptor) -> Result<SocketKind> {
        Ok(socket_of(self, d)?.1.kind)
    }

    /// Whether the socket listens (SO_ACCEPTCONN).
    pub fn is_listening(&self, d: Descriptor) -> Result<bool> {
        Ok(socket_of(self, d)?.1.is_listening())
    }

    /// The readiness of the socket: what can be done without [`Error::WouldBlock`].
    pub fn readiness(&self, d: Descriptor) -> Result<Readiness> {
        let id = socket_of(self, d)?.0;
        self.caller().0.socket_readiness(id).ok_or(Error::BadDescriptor)
    }
}

mod filters;
mod interception;
mod links;
mod multicast;
mod owners;
mod packets;
mod pollers;
#[cfg(test)]
mod tests;
mod unix;
