//! [`RawSocket`]: packets of one protocol, used by tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use portolan::{DatagramMeta, Domain, IcmpFilter, SendMeta, SocketOption};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::{ip_settings, socket_options};
use crate::task::ready::readiness_calls;
use crate::task::wait::{call, poll_call};

/// A raw IP socket, as the [`RawSocket`](crate::RawSocket) of threads: packets of one protocol,
/// past TCP and UDP. The ports of addresses mean nothing. tokio has no such type, so the names are
/// those of [`UdpSocket`](crate::task::UdpSocket).
///
/// ```
/// use portolan::Domain;
/// use portolan_runtime::Builder;
/// use portolan_runtime::task::RawSocket;
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let a = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let b = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// const PROTOCOL: u8 = 253; // for experiments (RFC 3692)
/// let sender = RawSocket::new(&a, Domain::V4, PROTOCOL)?;
/// let receiver = RawSocket::new(&b, Domain::V4, PROTOCOL)?;
/// let mut buf = [0; 1500];
/// assert!(receiver.try_recv_from(&mut buf).is_err()); // there is nothing yet
/// sender.send_to(b"hello", ([10, 0, 0, 2], 0)).await?;
/// let (len, from) = receiver.recv_from(&mut buf).await?;
/// assert_eq!(from, ([10, 0, 0, 1], 0).into());
/// assert_eq!(&buf[20..len], b"hello"); // behind the IPv4 header
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RawSocket {
    socket: Arc<Socket>,
}

impl RawSocket {
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Makes a socket for packets of this protocol number, 1 to 255, to and from any address.
    pub fn new(handle: &impl AsRef<Handle>, domain: Domain, protocol: u8) -> io::Result<RawSocket> {
        crate::RawSocket::new(handle, domain, protocol).map(RawSocket::from_blocking)
    }

    /// Makes a socket for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(socket: crate::RawSocket) -> RawSocket {
        socket.socket.set_nonblocking(true);
        RawSocket { socket: socket.socket }
    }

    /// Makes a socket for threads, whose calls wait.
    pub fn into_blocking(self) -> crate::RawSocket {
        self.socket.set_nonblocking(false);
        crate::RawSocket { socket: self.socket }
    }

    /// Receives only packets to this address from now on, and sends from it.
    pub fn bind(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.bind(addr.into())
    }

    /// Sets the peer: `send` sends to it, and only its packets are received.
    pub fn connect(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.connect_datagrams(addr.into())
    }

    /// Waits for a packet. Returns its length and its sender; the part that does not fit into the
    /// buffer is lost. An IPv4 packet begins with its header, an IPv6 packet behind its headers.
    /// Cancel safe.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        call(&self.socket, |calls| calls.recv_from(buf)).await
    }

    /// Like [`recv_from`](RawSocket::recv_from), without the sender.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Like [`recv_from`](RawSocket::recv_from), but leaves the packet in the queue.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        call(&self.socket, |calls| calls.peek_from(buf)).await
    }

    /// Waits for a packet. Returns the whole packet, without a copy, and its metadata. Cancel safe.
    pub async fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        call(&self.socket, |calls| calls.recv_msg()).await
    }

    /// Sends a packet. Unless the option `HeaderIncluded` is set the stack makes the IP header, and
    /// fragments a packet that is too large. Cancel safe.
    pub async fn send_to(&self, data: &[u8], addr: impl Into<SocketAddr>) -> io::Result<usize> {
        let addr = addr.into();
        call(&self.socket, |calls| calls.send_to(data, addr)).await
    }

    /// Sends a packet to the connected peer. Cancel safe.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        call(&self.socket, |calls| calls.write(data)).await
    }

    /// Sends a packet with the choices in `meta`, without a copy. Cancel safe.
    pub async fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        call(&self.socket, |calls| calls.send_msg(bytes.clone(), meta)).await
    }

    /// Receives a packet and its sender, or returns `WouldBlock`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls_at_once().recv_from(buf)
    }

    /// Sends a packet, or returns `WouldBlock`.
    pub fn try_send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.socket.calls_at_once().send_to(data, addr)
    }

    /// Polls to send a packet. The last task that polled is woken.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        addr: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        poll_call(cx, &self.socket, |calls| calls.send_to(data, addr))
    }

    /// Polls for a packet, which is not copied. The last task that polled is woken.
    pub fn poll_recv_msg(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, DatagramMeta)>> {
        poll_call(cx, &self.socket, |calls| calls.recv_msg())
    }

    /// IP_HDRINCL and IPV6_HDRINCL: whether the data begins with the IP header
    /// ([`RawOptions::header_included`](portolan::RawOptions::header_included)).
    pub fn set_header_included(&self, included: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::HeaderIncluded(included))
    }

    /// ICMP_FILTER and ICMP6_FILTER: the types of messages that a socket of ICMP or ICMPv6
    /// receives.
    pub fn set_icmp_filter(&self, filter: IcmpFilter) -> io::Result<()> {
        self.socket.set_option(SocketOption::IcmpFilter(filter))
    }
}

socket_options!(RawSocket);
readiness_calls!(RawSocket);
ip_settings!(RawSocket);

impl HasSockets for RawSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
