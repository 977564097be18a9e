//! UDP sockets, modelled on `std::net`.

mod multicast;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use portolan::{
    DatagramMeta, Received, RecvFlags, SendFlags, SendMeta, SocketKind, SocketOption, Unreachable,
};

use crate::addrs::{self, ToAddrs};
use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::pending::unreachable_for;
use crate::socket::settings::{ip_settings, socket_settings};
use crate::socket::{Socket, domain_of};

/// A datagram socket, modelled on `std::net::UdpSocket`.
///
/// ```
/// use portolan_runtime::{Builder, UdpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// let server = UdpSocket::bind(&a, "10.0.0.1:9000")?;
/// let client = UdpSocket::bind(&b, "0.0.0.0:0")?;
/// client.connect("10.0.0.1:9000")?;
/// client.send(b"question")?;
/// let mut buf = [0; 1500];
/// let (len, peer) = server.recv_from(&mut buf)?;
/// server.send_to(&buf[..len], peer)?;
/// assert_eq!(client.recv(&mut buf)?, b"question".len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    pub(crate) socket: Arc<Socket>,
}

impl UdpSocket {
    pub(crate) fn of(socket: Socket) -> UdpSocket {
        UdpSocket { socket: Arc::new(socket) }
    }

    /// Makes a socket on an address and port of the stack; with port 0 the stack chooses one. Of
    /// several addresses ([`ToAddrs`]) it takes the first that can be bound. The unspecified IPv6
    /// address takes IPv4, too.
    ///
    /// ```
    /// use portolan_runtime::{Builder, UdpSocket};
    ///
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    ///
    /// let server = UdpSocket::bind(&runtime, "10.0.0.1:53")?;
    /// let client = UdpSocket::bind(&runtime, "0.0.0.0:0")?;
    /// client.send_to(b"hello", "10.0.0.1:53")?;
    /// let mut buf = [0; 512];
    /// let (len, peer) = server.recv_from(&mut buf)?;
    /// assert_eq!(&buf[..len], b"hello");
    /// assert_eq!(peer.port(), client.local_addr()?.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bind(handle: &impl AsRef<Handle>, addr: impl ToAddrs) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(handle, addr, &[])
    }

    /// Like [`bind`](UdpSocket::bind), with options that must be set before, such as SO_REUSEPORT
    /// or IPV6_V6ONLY.
    pub fn bind_with(
        handle: &impl AsRef<Handle>,
        addr: impl ToAddrs,
        options: &[SocketOption],
    ) -> io::Result<UdpSocket> {
        let handle = handle.as_ref();
        addrs::try_each(handle, &addr, |addr| {
            let stack = handle.stacks.for_port(addr.port());
            let socket = Socket::new(handle, stack, domain_of(addr), SocketKind::Datagram, options)?;
            socket.bind(addr)?;
            Ok(UdpSocket { socket: Arc::new(socket) })
        })
    }

    /// Binds a socket on each queue of the interfaces to this address, with SO_REUSEPORT. The port
    /// must be one that is spread over the queues
    /// ([`Builder::spread_udp_port`](crate::Builder::spread_udp_port)), unless there is only one
    /// queue. A datagram always goes to the same socket as the others of its sender.
    ///
    /// # Errors
    ///
    /// As those of [`bind`](UdpSocket::bind); `AddrNotAvailable` for another port.
    pub fn bind_on_every_queue(
        handle: &impl AsRef<Handle>,
        addr: impl ToAddrs,
    ) -> io::Result<Vec<UdpSocket>> {
        let handle = handle.as_ref();
        addrs::try_each(handle, &addr, |addr| {
            // A runtime has at most 65,535 stacks.
            let stacks = 0..handle.stacks.count() as u16;
            let sockets = stacks.map(|stack| {
                let options = [SocketOption::ReusePort(true)];
                let socket = Socket::new(handle, stack, domain_of(addr), SocketKind::Datagram, &options)?;
                socket.bind(addr)?;
                Ok(UdpSocket { socket: Arc::new(socket) })
            });
            sockets.collect()
        })
    }

    /// Waits for a datagram. Returns its length and its sender; the part that does not fit into the
    /// buffer is lost.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls().recv_from(buf)
    }

    /// Like [`recv_from`](UdpSocket::recv_from), but leaves the datagram in the queue.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls().peek_from(buf)
    }

    /// Sends a datagram: of several addresses to the first. A name is looked up with each call, so
    /// a program that sends much looks it up once ([`connect`](UdpSocket::connect)).
    pub fn send_to(&self, data: &[u8], addr: impl ToAddrs) -> io::Result<usize> {
        let addr = addrs::first(&addr, || self.socket.handle())?;
        self.socket.calls().send_to(data, addr)
    }

    /// Waits for a datagram. Returns the whole datagram, without a copy, and its metadata
    /// (`recvmsg`): the sender, which of our addresses it was sent to, the interface, TTL, traffic
    /// class. With [`set_gro`](UdpSocket::set_gro) the data may be several datagrams one after the
    /// other, of [`segment_len`](DatagramMeta::segment_len) bytes each; the last one may be
    /// shorter.
    pub fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.socket.calls().recv_msg()
    }

    /// Sends a datagram, without a copy, with the choices in `meta` (`sendmsg`): the destination,
    /// TTL, traffic class, or a length into which the data is cut.
    pub fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        self.socket.calls().send_msg(bytes, meta)
    }

    /// Waits for a datagram, and takes those that are queued then, at most `max`, as
    /// [`recv_msg`](UdpSocket::recv_msg) does (`recvmmsg` with MSG_WAITFORONE). Appends them to
    /// `batch` and returns their number. The cost of a call is paid once for all of them.
    pub fn recv_batch(&self, batch: &mut Vec<(Bytes, DatagramMeta)>, max: usize) -> io::Result<usize> {
        self.socket.calls().recv_batch(batch, max)
    }

    /// Sends these datagrams in order, each as [`send_msg`](UdpSocket::send_msg) does (`sendmmsg`).
    /// Returns how many were sent: all of them, if the socket may wait long enough. After an error
    /// no more are sent; if some were sent before, the next call returns the error.
    pub fn send_batch(&self, batch: &[(Bytes, SendMeta)]) -> io::Result<usize> {
        self.socket.calls().send_batch(batch)
    }

    /// Waits for a datagram and copies it into several buffers, with flags (`recvmsg`). Returns its
    /// length, whether it was truncated, and its metadata. With [`RecvFlags::ERROR_QUEUE`] or
    /// [`RecvFlags::DONT_WAIT`] it does not wait.
    pub fn recv_message(&self, bufs: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<Received> {
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(|buf| &mut buf[..]).collect();
        self.socket.calls().recv_message(&mut slices, flags, 0)
    }

    /// Sends the data of several slices as one datagram, with flags and the choices in `meta`
    /// (`sendmsg`).
    pub fn send_message(&self, data: &[IoSlice<'_>], meta: &SendMeta, flags: SendFlags) -> io::Result<usize> {
        self.socket.calls().send_message(data, meta, flags)
    }

    /// UDP_SEGMENT: cuts the data of each call into datagrams of this many bytes; 0 sends it as one
    /// datagram.
    pub fn set_segment_len(&self, bytes: u16) -> io::Result<()> {
        self.socket.set_option(SocketOption::UdpSegment(bytes))
    }

    /// UDP_GRO: [`recv_msg`](UdpSocket::recv_msg) returns datagrams of one sender together if the
    /// device has joined them.
    pub fn set_gro(&self, gro: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::UdpGro(gro))
    }

    /// Sets the peer: `send` sends to it, and only its datagrams are received. Of several addresses
    /// it is the first that there is a route to.
    pub fn connect(&self, addr: impl ToAddrs) -> io::Result<()> {
        addrs::try_each(&self.socket.handle(), &addr, |addr| self.socket.connect_datagrams(addr))
    }

    /// Sends a datagram to the connected peer.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.calls().write(data)
    }

    /// Waits for a datagram from the connected peer; as on Linux, from anybody if there is none.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().recv_from(buf).map(|(len, _)| len)
    }

    /// Like [`recv`](UdpSocket::recv), but leaves the datagram in the queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.calls().peek(buf)
    }

    /// Tells the source of an intercepted flow, by an ICMP error, that its datagrams cannot be
    /// delivered ([`Stack::reject_flow`](portolan::Stack::reject_flow)).
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless the socket comes from a
    /// [`UdpInterceptor`](crate::UdpInterceptor).
    pub fn reject_flow(&self, what: Unreachable) -> io::Result<()> {
        self.socket.call(|stack, now, d| stack.reject_flow(now, d, what))
    }

    /// Tells the source of an intercepted flow what the program's own socket has learned of the
    /// destination: an error of `send` or `recv`, of this crate or of the host. Errors that are not
    /// about reaching it are not passed on.
    ///
    /// # Errors
    ///
    /// As of [`reject_flow`](UdpSocket::reject_flow).
    pub fn reject_flow_because(&self, error: &io::Error) -> io::Result<()> {
        unreachable_for(error).map_or(Ok(()), |what| self.reject_flow(what))
    }

    /// IPV6_V6ONLY: whether the socket uses IPv6 only.
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.ip.v6_only)
    }
}

socket_settings!(UdpSocket);
ip_settings!(UdpSocket);

impl HasSockets for UdpSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
