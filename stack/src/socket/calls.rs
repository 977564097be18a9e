//! The Berkeley calls.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::record::{Bound, Holder, Role, Socket, is_link_local};
use super::sockets::Sockets;
use super::tcp::calls::Outgoing;
use super::tcp::input::ECN_FIELD;
use super::udp::calls::{Datagram, any_addr, copy_prefix};
use super::{Descriptor, Domain, Shutdown, SocketId, SocketInfo, SocketKind, SocketOption, SocketOptions};
use crate::Ctx;
use crate::demux::BoundAddr;
use crate::error::{CloseReason, Error, Result};
use crate::event::Readiness;
use crate::network::Network;
use crate::ports::Binding;
use crate::stack::Stack;
use crate::tcp::{SendFlags, TcpInfo};
use crate::time::Instant;

/// The descriptor calls. They never block: they return [`Error::WouldBlock`], and an event says when to try again.
/// Those that may change a connection take the time. Every one of them returns [`Error::BadDescriptor`] for a
/// descriptor that is not open.
impl Stack {
    /// A new socket, under the lowest free number.
    pub fn socket(&mut self, domain: Domain, kind: SocketKind) -> Result<Descriptor> {
        let sockets = &mut self.sockets;
        sockets.descriptors.check_room()?;
        let role = match kind {
            SocketKind::Stream => Role::Idle,
            SocketKind::Datagram | SocketKind::Echo => Role::Datagram(Box::default()),
        };
        let base = core::mem::size_of::<Socket>() + core::mem::size_of::<Datagram>();
        if sockets.account.is_full_for(base) {
            return Err(Error::NoBufferSpace);
        }
        let options = sockets.default_options(kind);
        let id = sockets.insert(Socket::new(domain, kind, options, role));
        sockets.charge(id, base);
        let descriptor = sockets.descriptors.open(id)?;
        if let Some(socket) = sockets.slots.get_mut(id) {
            socket.holder = Holder::Descriptor(descriptor);
        }
        Ok(descriptor)
    }

    /// Names the socket's own end. Port 0 draws an ephemeral port. `AddressInUse`, `AddressNotAvailable` (not an
    /// address of this stack), `InvalidArgument` (bound already), `AddressFamilyNotSupported`.
    pub fn bind(&mut self, d: Descriptor, addr: SocketAddr) -> Result<()> {
        let (mut ctx, network, sockets) = self.parts();
        let (id, _) = sockets.socket(d)?;
        sockets.bind(&mut ctx, network, id, addr)
    }

    /// Makes a stream socket accept connections; `backlog` of them and one may wait to be taken. A socket that is not
    /// bound gets an ephemeral port. Another call changes the backlog. It is at most
    /// [`TcpConfig::max_backlog`](crate::TcpConfig::max_backlog); as many handshakes may be under way.
    pub fn listen(&mut self, d: Descriptor, backlog: usize) -> Result<()> {
        let (mut ctx, _, sockets) = self.parts();
        sockets.listen(&mut ctx, d, backlog)
    }

    /// Takes the next established connection: its descriptor and its peer. Its options are the listener's.
    pub fn accept(&mut self, d: Descriptor) -> Result<(Descriptor, SocketAddr)> {
        self.sockets.accept(d)
    }

    /// Streams: begins to open a connection and returns [`Error::InProgress`]; when the descriptor is writable it is
    /// open, or [`take_error`](Stack::take_error) has the reason. With TCP_FASTOPEN_CONNECT it may return `Ok`: the
    /// connection is opened by the first `send`. Datagrams: fixes the peer.
    pub fn connect(&mut self, now: Instant, d: Descriptor, addr: SocketAddr) -> Result<()> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => sockets.connect_stream(&mut ctx, network, d, addr),
            SocketKind::Datagram | SocketKind::Echo => sockets.connect_datagram(&mut ctx, network, d, addr),
        }
    }

    /// Opens a connection with data in its SYN (`sendto` with MSG_FASTOPEN; RFC 7413). If the server's cookie is known the SYN
    /// takes the front of `data`, and this returns how much; what follows is for [`send`](Stack::send) when the descriptor
    /// is writable. If `data` is empty, the SYN has the cookie alone, and this returns [`Error::InProgress`]. Otherwise it is [`connect`](Stack::connect) with a request for a cookie, and returns
    /// [`Error::InProgress`]. The server may see the data twice, if the SYN is repeated on its way: only for requests that
    /// this does not harm.
    pub fn connect_with_data(
        &mut self,
        now: Instant,
        d: Descriptor,
        addr: SocketAddr,
        data: &[u8],
    ) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        if sockets.socket(d)?.1.kind != SocketKind::Stream {
            return Err(Error::NotSupported);
        }
        sockets.open_stream(&mut ctx, network, d, addr, true)?;
        sockets.send_stream(&mut ctx, network, d, Outgoing::Slice(data), SendFlags::default())
    }

    /// Forgets the Fast Open cookies of all servers, and which of them refuse data in a SYN (`ip tcp_metrics flush`).
    pub fn forget_fast_open_cookies(&mut self) {
        self.sockets.fast_open_cache.clear();
    }

    /// Takes as much of `data` as there is room for (a stream) or all of it (a datagram to the connected peer).
    pub fn send(&mut self, now: Instant, d: Descriptor, data: &[u8]) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.send_stream(&mut ctx, network, d, Outgoing::Slice(data), SendFlags::default())
            }
            SocketKind::Datagram | SocketKind::Echo => {
                sockets.send_datagram(&mut ctx, network, d, Bytes::copy_from_slice(data), None)
            }
        }
    }

    /// As [`send`](Stack::send) with MSG_MORE or MSG_EOR. Datagrams are records by themselves; MSG_MORE is `NotSupported` with
    /// them.
    pub fn send_with(&mut self, now: Instant, d: Descriptor, data: &[u8], flags: SendFlags) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => sockets.send_stream(&mut ctx, network, d, Outgoing::Slice(data), flags),
            SocketKind::Datagram | SocketKind::Echo if flags.more => Err(Error::NotSupported),
            SocketKind::Datagram | SocketKind::Echo => {
                sockets.send_datagram(&mut ctx, network, d, Bytes::copy_from_slice(data), None)
            }
        }
    }

    /// As [`send`](Stack::send) without a copy: the slice is kept until it is acknowledged.
    pub fn send_bytes(&mut self, now: Instant, d: Descriptor, data: Bytes) -> Result<usize> {
        self.send_bytes_with(now, d, data, SendFlags::default())
    }

    /// As [`send_with`](Stack::send_with) without a copy.
    pub fn send_bytes_with(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: Bytes,
        flags: SendFlags,
    ) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => sockets.send_stream(&mut ctx, network, d, Outgoing::Bytes(data), flags),
            SocketKind::Datagram | SocketKind::Echo if flags.more => Err(Error::NotSupported),
            SocketKind::Datagram | SocketKind::Echo => {
                sockets.send_datagram(&mut ctx, network, d, data, None)
            }
        }
    }

    /// Streams: what is there, `Ok(0)` at the end of the stream. Datagrams: one, cut to the buffer.
    pub fn recv(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, _, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.with_readable(&mut ctx, d, |connection, ctx| connection.recv(ctx, buf))
            }
            SocketKind::Datagram | SocketKind::Echo => {
                let (data, ..) = sockets.receive_datagram(d)?;
                Ok(copy_prefix(&data, buf))
            }
        }
    }

    /// MSG_OOB: as [`send`](Stack::send), and the last byte that is taken is urgent: the peer's program is told of it at once.
    pub fn send_oob(&mut self, now: Instant, d: Descriptor, data: &[u8]) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.send_stream(&mut ctx, network, d, Outgoing::Urgent(data), SendFlags::default())
            }
            SocketKind::Datagram | SocketKind::Echo => Err(Error::NotSupported),
        }
    }

    /// MSG_OOB: the byte of urgent data that the peer sent last. `InvalidArgument` if there is none, if it was taken or
    /// read past, or with SO_OOBINLINE; [`Readiness::urgent`] says when there is one.
    pub fn recv_oob(&mut self, now: Instant, d: Descriptor) -> Result<u8> {
        self.core.advance(now);
        let (mut ctx, _, sockets) = self.parts();
        sockets.with_readable(&mut ctx, d, |connection, _| connection.recv_oob())
    }

    /// SIOCATMARK: whether the next byte of the stream is the urgent one. No read goes across it: one that comes to it
    /// ends there, and the next begins with it (SO_OOBINLINE) or behind it.
    pub fn at_mark(&self, d: Descriptor) -> Result<bool> {
        match &self.sockets.socket(d)?.1.role {
            Role::Stream(stream) => Ok(stream.connection.is_at_mark()),
            Role::Idle | Role::Listener(_) | Role::Datagram(_) => Err(Error::NotConnected),
        }
    }

    /// Whether a read of `len` bytes that can wait should wait for more (SO_RCVLOWAT). The calls of the stack never do.
    pub fn is_below_low_water(&self, d: Descriptor, len: usize) -> Result<bool> {
        match &self.sockets.socket(d)?.1.role {
            Role::Stream(stream) => Ok(stream.connection.is_below_low_water(len)),
            Role::Idle | Role::Listener(_) | Role::Datagram(_) => Ok(false),
        }
    }

    /// As [`recv`](Stack::recv) without a copy: one slice of at most `max` bytes, empty at the end of the stream.
    pub fn recv_bytes(&mut self, now: Instant, d: Descriptor, max: usize) -> Result<Bytes> {
        self.core.advance(now);
        let (mut ctx, _, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.with_readable(&mut ctx, d, |connection, ctx| connection.recv_bytes(ctx, max))
            }
            SocketKind::Datagram | SocketKind::Echo => {
                let (mut data, ..) = sockets.receive_datagram(d)?;
                data.truncate(max);
                Ok(data)
            }
        }
    }

    /// As [`recv`](Stack::recv), and leaves the data there (MSG_PEEK).
    pub fn peek(&mut self, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        let (_, socket) = self.sockets.socket(d)?;
        match &socket.role {
            Role::Stream(stream) => stream.connection.peek(buf),
            Role::Datagram(_) => self.sockets.peek_datagram(d, buf).map(|(len, _)| len),
            Role::Idle | Role::Listener(_) => Err(Error::NotConnected),
        }
    }

    /// As [`recv_from`](Stack::recv_from), and leaves the datagram there. `NotSupported` on a stream.
    pub fn peek_from(&mut self, d: Descriptor, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.sockets.peek_datagram(d, buf)
    }

    /// Sends one datagram to `addr`. On a connected stream the address is ignored, as on Linux.
    pub fn send_to(&mut self, now: Instant, d: Descriptor, data: &[u8], addr: SocketAddr) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.send_stream(&mut ctx, network, d, Outgoing::Slice(data), SendFlags::default())
            }
            SocketKind::Datagram | SocketKind::Echo => {
                sockets.send_datagram(&mut ctx, network, d, Bytes::copy_from_slice(data), Some(addr))
            }
        }
    }

    /// As [`send_to`](Stack::send_to) without a copy.
    pub fn send_bytes_to(
        &mut self,
        now: Instant,
        d: Descriptor,
        data: Bytes,
        addr: SocketAddr,
    ) -> Result<usize> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => {
                sockets.send_stream(&mut ctx, network, d, Outgoing::Bytes(data), SendFlags::default())
            }
            SocketKind::Datagram | SocketKind::Echo => {
                sockets.send_datagram(&mut ctx, network, d, data, Some(addr))
            }
        }
    }

    /// One datagram, cut to the buffer, and who sent it. On a stream, as [`recv`](Stack::recv), with the peer.
    pub fn recv_from(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        if self.sockets.socket(d)?.1.kind == SocketKind::Stream {
            let peer = self.sockets.socket(d)?.1.peer_addr()?;
            return Ok((self.recv(now, d, buf)?, peer));
        }
        let (data, from) = self.recv_bytes_from(now, d)?;
        Ok((copy_prefix(&data, buf), from))
    }

    /// One datagram whole, without a copy, and who sent it. `NotSupported` on a stream.
    pub fn recv_bytes_from(&mut self, now: Instant, d: Descriptor) -> Result<(Bytes, SocketAddr)> {
        self.recv_run_from(now, d).map(|(data, from, _)| (data, from))
    }

    /// As [`recv_bytes_from`](Stack::recv_bytes_from) for as many datagrams as are there, at most `max`; they are put at
    /// the end of `batch`, and their number is returned (recvmmsg).
    pub fn recv_batch_from(
        &mut self,
        now: Instant,
        d: Descriptor,
        batch: &mut Vec<(Bytes, SocketAddr)>,
        max: usize,
    ) -> Result<usize> {
        self.core.advance(now);
        self.sockets.receive_datagrams(d, batch, max)
    }

    /// As [`recv_bytes_from`](Stack::recv_bytes_from); with [`SocketOption::UdpGro`](super::SocketOption::UdpGro) it may be
    /// several datagrams of one sender. The third is the length of each of them, but the last, which may have less; if it
    /// is one datagram, its length.
    pub fn recv_run_from(&mut self, now: Instant, d: Descriptor) -> Result<(Bytes, SocketAddr, usize)> {
        self.core.advance(now);
        self.sockets.receive_datagram(d)
    }

    /// Ends one half of a connection, or both. `NotConnected`.
    pub fn shutdown(&mut self, now: Instant, d: Descriptor, how: Shutdown) -> Result<()> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        match sockets.socket(d)?.1.kind {
            SocketKind::Stream => sockets.shutdown_stream(&mut ctx, network, d, how),
            SocketKind::Datagram | SocketKind::Echo => sockets.shutdown_datagram(d, how),
        }
    }

    /// Gives the descriptor back. A connection goes on by itself until it has ended in order; data that nobody read, or
    /// SO_LINGER with zero, makes the end a reset.
    pub fn close(&mut self, now: Instant, d: Descriptor) -> Result<()> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        let id = sockets.descriptors.close(d)?;
        match sockets.slots.get(id).map(|socket| socket.kind) {
            Some(SocketKind::Stream) => sockets.close_stream(&mut ctx, network, id),
            Some(SocketKind::Datagram | SocketKind::Echo) => sockets.close_datagram(id),
            None => {}
        }
        Ok(())
    }

    /// The socket's own address: the unspecified one, port 0, before it is bound.
    pub fn local_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        Ok(self.sockets.socket(d)?.1.local_addr())
    }

    /// The peer's address. `NotConnected`.
    pub fn peer_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        self.sockets.socket(d)?.1.peer_addr()
    }

    /// Sets an option. `InvalidArgument` for a value out of its range, or IPV6_V6ONLY after `bind`.
    pub fn set_option(&mut self, now: Instant, d: Descriptor, option: SocketOption) -> Result<()> {
        self.core.advance(now);
        let (mut ctx, network, sockets) = self.parts();
        sockets.set_option(&mut ctx, network, d, option)
    }

    /// The options as they are.
    pub fn options(&self, d: Descriptor) -> Result<SocketOptions> {
        let (_, socket) = self.sockets.socket(d)?;
        let mut options = SocketOptions::clone(&socket.options);
        if let Role::Stream(stream) = &socket.role {
            (options.receive_buffer, options.send_buffer) = stream.connection.buffers();
            options.quick_ack = stream.connection.is_quick_ack();
        }
        Ok(options)
    }

    /// What can be known of a stream's connection, or of a listener (TCP_INFO). `NotConnected` if there is no connection and was
    /// none.
    pub fn info(&self, now: Instant, d: Descriptor) -> Result<TcpInfo> {
        let (config, (_, socket)) = (&self.core.config, self.sockets.socket(d)?);
        match &socket.role {
            Role::Stream(stream) => Ok(stream.info(now, config)),
            Role::Listener(listener) => {
                let settings = socket.options.tcp_settings();
                Ok(TcpInfo::of_listener(&settings, config, listener.queue.len(), listener.backlog))
            }
            Role::Idle | Role::Datagram(_) => Err(Error::NotConnected),
        }
    }

    /// SO_ERROR: the error that waits, which this clears.
    pub fn take_error(&mut self, d: Descriptor) -> Result<Option<Error>> {
        let (id, socket) = self.sockets.socket_mut(d)?;
        let error = match &mut socket.role {
            Role::Stream(stream) => stream.connection.take_error(),
            Role::Datagram(datagram) => datagram.take_error(),
            Role::Idle | Role::Listener(_) => None,
        };
        self.sockets.note_readiness(id, false);
        Ok(error)
    }

    /// SIOCINQ and SIOCOUTQ: bytes that wait to be read, and bytes that are not sent or not acknowledged. A listener
    /// has none.
    pub fn queued_bytes(&self, d: Descriptor) -> Result<(usize, usize)> {
        Ok(self.sockets.socket(d)?.1.queued_bytes())
    }

    /// Why the connection ended; none while it has not, and on sockets without one. Unlike
    /// [`take_error`](Stack::take_error) it can be asked again.
    pub fn close_reason(&self, d: Descriptor) -> Result<Option<CloseReason>> {
        match &self.sockets.socket(d)?.1.role {
            Role::Stream(stream) => Ok(stream.connection.close_reason()),
            Role::Idle | Role::Listener(_) | Role::Datagram(_) => Ok(None),
        }
    }

    /// What can be done without [`Error::WouldBlock`].
    pub fn readiness(&self, d: Descriptor) -> Result<Readiness> {
        Ok(self.sockets.socket(d)?.1.readiness())
    }

    /// Every socket, handshakes and TIME-WAIT included, for a status page. Walks them all.
    pub fn sockets(&self) -> Vec<SocketInfo> {
        self.sockets.infos()
    }
}

impl Sockets {
    fn bind(&mut self, ctx: &mut Ctx<'_>, network: &Network, id: SocketId, addr: SocketAddr) -> Result<()> {
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        if socket.bound().is_some() || !matches!(socket.role, Role::Idle | Role::Datagram(_)) {
            return Err(Error::InvalidArgument);
        }
        let (endpoint, scope) = socket.accept_addr(addr)?;
        let mapped = endpoint.addr.is_ipv4() && socket.domain == Domain::V6;
        let bound = if endpoint.addr.is_unspecified() && mapped {
            BoundAddr::AnyV4
        } else if endpoint.addr.is_unspecified() {
            any_addr(socket.domain, socket.kind, socket.options.v6_only)
        } else {
            let is_group = endpoint.addr.is_multicast() || network.is_broadcast(endpoint.addr);
            let may_be_group = is_group && socket.kind == SocketKind::Datagram;
            if !may_be_group && !network.is_local(endpoint.addr) {
                return Err(Error::AddressNotAvailable);
            }
            BoundAddr::One(endpoint.addr)
        };
        // RFC 4007 §6: a link-local address is one of a link, which its scope id names.
        if is_link_local(endpoint.addr) && scope == 0 {
            return Err(Error::InvalidArgument);
        }
        self.bind_to(ctx, id, bound, endpoint.port, scope)
    }

    /// As `bind` with the unspecified address and port 0.
    pub(super) fn bind_any(&mut self, ctx: &mut Ctx<'_>, id: SocketId) -> Result<()> {
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let addr = any_addr(socket.domain, socket.kind, socket.options.v6_only);
        self.bind_to(ctx, id, addr, 0, 0)
    }

    fn bind_to(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SocketId,
        addr: BoundAddr,
        port: u16,
        scope: u16,
    ) -> Result<()> {
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let (kind, options) = (socket.kind, &socket.options);
        let (reuse, reuse_port) = (options.reuse(), options.reuse_port);
        let binding = Binding { id, addr, reuse, listening: false };
        let port = self.ports_of(kind).bind(ctx.rng, port, binding)?;
        match kind {
            SocketKind::Stream => {}
            SocketKind::Datagram => self.udp_bound.insert(addr, port, id, reuse_port),
            SocketKind::Echo => self.echo_bound.insert(addr, port, id, reuse_port),
        }
        if let Some(socket) = self.slots.get_mut(id) {
            socket.set_bound(Bound { addr, port, scope });
        }
        Ok(())
    }

    /// The port is free at once; the record stays until what it still has to send is out.
    fn close_datagram(&mut self, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        socket.holder = Holder::Nobody;
        self.unregister_datagram(id);
        self.queue_transmit(id);
    }

    fn set_option(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        d: Descriptor,
        option: SocketOption,
    ) -> Result<()> {
        let (id, socket) = self.socket_mut(d)?;
        let is_bound = socket.bound().is_some() || matches!(socket.role, Role::Stream(_));
        if is_bound && matches!(option, SocketOption::V6Only(_)) {
            return Err(Error::InvalidArgument);
        }
        if let SocketOption::QuickAck(on) = option {
            if let Role::Stream(stream) = &mut socket.role {
                stream.connection.set_quick_ack(ctx, on);
                self.settle_stream(ctx, network, id);
            }
            return Ok(());
        }
        let option = match option {
            SocketOption::Tos(tos) if socket.kind == SocketKind::Stream => {
                SocketOption::Tos(tos & !ECN_FIELD)
            }
            option => option,
        };
        socket.options.set(ctx.config, option)?;
        let settings = socket.options.tcp_settings();
        if let Role::Stream(stream) = &mut socket.role {
            stream.connection.set_settings(ctx, settings);
            self.settle_stream(ctx, network, id);
        }
        if matches!(option, SocketOption::ReuseAddr(_) | SocketOption::ReusePort(_)) {
            self.on_reuse_changed(id);
        }
        self.note_readiness(id, false);
        Ok(())
    }

    /// Linux, too, asks for SO_REUSEADDR and SO_REUSEPORT as they are now, and not as they were when the port was taken.
    fn on_reuse_changed(&mut self, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let (reuse, kind) = (socket.options.reuse(), socket.kind);
        if let Some(Bound { port, .. }) = socket.bound() {
            self.ports_of(kind).change(port, id, |binding| binding.reuse = reuse);
        } else if let Role::Stream(stream) = &mut socket.role
            && let Some(shared) = &mut stream.shares_port
        {
            let old = core::mem::replace(shared, reuse);
            self.tcp_ports.remove_connection(stream.tuple.local, old);
            self.tcp_ports.add_connection(stream.tuple.local, reuse);
        }
    }
}
