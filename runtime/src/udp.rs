//! UDP sockets, modelled on `std::net`.

mod multicast;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan::{
    DatagramMeta, QueuedError, Received, RecvFlags, SendFlags, SendMeta, SocketKind, SocketOption,
};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::{Socket, domain_of};
use crate::tcp::set_ttl;

/// A datagram socket, modelled on `std::net::UdpSocket`.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Arc<Socket>,
}

impl UdpSocket {
    pub(crate) fn of(socket: Socket) -> UdpSocket {
        UdpSocket { socket: Arc::new(socket) }
    }

    /// Makes a socket on an address and port of the stack; with port 0 the stack chooses one. The
    /// unspecified IPv6 address takes IPv4, too.
    pub fn bind(handle: &impl AsRef<Handle>, addr: impl Into<SocketAddr>) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(handle, addr, &[])
    }

    /// Like [`bind`](UdpSocket::bind), with options that must be set before, such as SO_REUSEPORT
    /// or IPV6_V6ONLY.
    pub fn bind_with(
        handle: &impl AsRef<Handle>,
        addr: impl Into<SocketAddr>,
        options: &[SocketOption],
    ) -> io::Result<UdpSocket> {
        let addr = addr.into();
        let handle = handle.as_ref();
        let stack = handle.stacks.for_port(addr.port());
        let socket = Socket::new(handle, stack, domain_of(addr), SocketKind::Datagram, options)?;
        socket.bind(addr)?;
        Ok(UdpSocket { socket: Arc::new(socket) })
    }

    /// Waits for a datagram. Returns its length and its sender; the part that does not fit into the
    /// buffer is lost.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buf)
    }

    /// Like [`recv_from`](UdpSocket::recv_from), but leaves the datagram in the queue.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.peek_from(buf)
    }

    /// Sends a datagram.
    pub fn send_to(&self, data: &[u8], addr: impl Into<SocketAddr>) -> io::Result<usize> {
        self.socket.send_to(data, addr.into())
    }

    /// Waits for a datagram. Returns the whole datagram, without a copy, and its metadata
    /// (`recvmsg`): the sender, which of our addresses it was sent to, the interface, TTL, traffic
    /// class. With [`set_gro`](UdpSocket::set_gro) the data may be several datagrams one after the
    /// other, of [`segment_len`](DatagramMeta::segment_len) bytes each; the last one may be
    /// shorter.
    pub fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.socket.recv_msg()
    }

    /// Sends a datagram, without a copy, with the choices in `meta` (`sendmsg`): the destination,
    /// TTL, traffic class, or a length into which the data is cut.
    pub fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        self.socket.send_msg(bytes, meta)
    }

    /// Waits for a datagram, and takes those that are queued then, at most `max`, as
    /// [`recv_msg`](UdpSocket::recv_msg) does (`recvmmsg` with MSG_WAITFORONE). Appends them to
    /// `batch` and returns their number. The cost of a call is paid once for all of them.
    pub fn recv_batch(&self, batch: &mut Vec<(Bytes, DatagramMeta)>, max: usize) -> io::Result<usize> {
        self.socket.recv_batch(batch, max)
    }

    /// Sends these datagrams in order, each as [`send_msg`](UdpSocket::send_msg) does (`sendmmsg`).
    /// Returns how many were sent: all of them, if the socket may wait long enough. After an error
    /// no more are sent; if some were sent before, the next call returns the error.
    pub fn send_batch(&self, batch: &[(Bytes, SendMeta)]) -> io::Result<usize> {
        self.socket.send_batch(batch)
    }

    /// Waits for a datagram and copies it into several buffers, with flags (`recvmsg`). Returns its
    /// length, whether it was truncated, and its metadata. With [`RecvFlags::ERROR_QUEUE`] or
    /// [`RecvFlags::DONT_WAIT`] it does not wait.
    pub fn recv_message(&self, bufs: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<Received> {
        let mut slices: Vec<&mut [u8]> = bufs.iter_mut().map(|buf| &mut buf[..]).collect();
        self.socket.recv_message(&mut slices, flags, 0)
    }

    /// Sends the data of several slices as one datagram, with flags and the choices in `meta`
    /// (`sendmsg`).
    pub fn send_message(&self, data: &[IoSlice<'_>], meta: &SendMeta, flags: SendFlags) -> io::Result<usize> {
        self.socket.send_message(data, meta, flags)
    }

    /// IP_RECVERR and IPV6_RECVERR: whether all errors about datagrams of this socket are reported,
    /// and put into the queue of [`recv_error`](UdpSocket::recv_error).
    pub fn set_receive_errors(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::ReceiveErrors(on))
    }

    /// Takes the next error of the error queue, and the payload of the datagram that it is about
    /// (MSG_ERRQUEUE). It never waits: `WouldBlock` if there is none.
    pub fn recv_error(&self) -> io::Result<(QueuedError, Bytes)> {
        self.socket.recv_error()
    }

    /// Removes the peer: the socket receives from everybody again. It keeps a port that was named
    /// when it was bound.
    pub fn disconnect(&self) -> io::Result<()> {
        self.socket.call(|stack, now, d| stack.disconnect(now, d))
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

    /// Sets the peer: `send` sends to it, and only its datagrams are received.
    pub fn connect(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.connect_datagrams(addr.into())
    }

    /// Sends a datagram to the connected peer.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.write(data)
    }

    /// Waits for a datagram from the connected peer; as on Linux, from anybody if there is none.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.recv_from(buf).map(|(len, _)| len)
    }

    /// Like [`recv`](UdpSocket::recv), but leaves the datagram in the queue.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buf)
    }

    /// Returns the address of the connected peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns another handle to the same socket.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        Ok(UdpSocket { socket: self.socket.clone() })
    }

    /// Sets how long receiving waits before it returns `WouldBlock`; with `None` it waits for ever.
    /// All clones share this setting.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Sets how long sending waits before it returns `WouldBlock`; with `None` it waits for ever.
    /// All clones share this setting.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// Returns what [`set_read_timeout`](UdpSocket::set_read_timeout) set.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.read_timeout())
    }

    /// Returns what [`set_write_timeout`](UdpSocket::set_write_timeout) set.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.write_timeout())
    }

    /// Sets whether calls return `WouldBlock` instead of waiting. All clones share this setting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// SO_BROADCAST.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::Broadcast(broadcast))
    }

    /// SO_BROADCAST.
    pub fn broadcast(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.broadcast)
    }

    /// IP_TTL, 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        set_ttl(&self.socket, ttl)
    }

    /// IP_TTL: the value that was set, or the default of the stack. Datagrams to a group have
    /// another ([`multicast_ttl_v4`](UdpSocket::multicast_ttl_v4)).
    pub fn ttl(&self) -> io::Result<u32> {
        crate::tcp::ttl(&self.socket)
    }

    /// IP_TOS and IPV6_TCLASS: DSCP and the ECN field.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.socket.set_option(SocketOption::Tos(tos))
    }

    /// IP_TOS and IPV6_TCLASS.
    pub fn tos(&self) -> io::Result<u8> {
        Ok(self.socket.options()?.ip.tos)
    }

    /// IPV6_V6ONLY: whether the socket uses IPv6 only.
    pub fn only_v6(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.ip.v6_only)
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.socket.set_option(option)
    }
}

impl HasSockets for UdpSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
