//! [`UdpSocket`]: a datagram socket used by tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use portolan::{DatagramMeta, SendMeta, Unreachable};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::pending::unreachable_for;
use crate::socket::settings::{ip_settings, socket_options};
use crate::task::ready::readiness_calls;
use crate::task::wait::{call, poll_call};

/// A datagram socket, modelled on `tokio::net::UdpSocket`.
///
/// Several tasks may use it at the same time, through an `Arc`. Groups are joined on a
/// [`UdpSocket`](crate::UdpSocket) of threads before [`from_blocking`](UdpSocket::from_blocking).
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::UdpSocket;
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let server = UdpSocket::bind(&runtime, ([10, 0, 0, 1], 53)).await?;
/// let client = UdpSocket::bind(&runtime, ([10, 0, 0, 1], 0)).await?;
///
/// client.send_to(b"who?", server.local_addr()?).await?;
/// let mut buf = [0; 100];
/// let (len, from) = server.recv_from(&mut buf).await?;
/// assert_eq!((&buf[..len], from), (&b"who?"[..], client.local_addr()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    socket: Arc<Socket>,
}

impl UdpSocket {
    pub(super) fn of(socket: Arc<Socket>) -> UdpSocket {
        socket.set_nonblocking(true);
        UdpSocket { socket }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Makes a socket on an address and port of the stack; with port 0 the stack chooses one. It
    /// never waits.
    pub async fn bind(handle: &impl AsRef<Handle>, addr: impl Into<SocketAddr>) -> io::Result<UdpSocket> {
        crate::UdpSocket::bind(handle, Into::<SocketAddr>::into(addr)).map(UdpSocket::from_blocking)
    }

    /// Makes a socket for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(socket: crate::UdpSocket) -> UdpSocket {
        UdpSocket::of(socket.socket)
    }

    /// Makes a socket for threads, whose calls wait.
    pub fn into_blocking(self) -> crate::UdpSocket {
        self.socket.set_nonblocking(false);
        crate::UdpSocket { socket: self.socket }
    }

    /// Sets the peer: `send` sends to it, and only its datagrams are received. It never waits.
    pub async fn connect(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.connect_datagrams(addr.into())
    }

    /// Sends a datagram to the connected peer. Cancel safe.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        call(&self.socket, |calls| calls.write(data)).await
    }

    /// Sends a datagram. Cancel safe.
    pub async fn send_to(&self, data: &[u8], addr: impl Into<SocketAddr>) -> io::Result<usize> {
        let addr = addr.into();
        call(&self.socket, |calls| calls.send_to(data, addr)).await
    }

    /// Waits for a datagram from the connected peer. The part that does not fit into the buffer is
    /// lost. Cancel safe.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Waits for a datagram. Returns its length and its sender; the part that does not fit into the
    /// buffer is lost. Cancel safe.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        call(&self.socket, |calls| calls.recv_from(buf)).await
    }

    /// Like [`recv`](UdpSocket::recv), but leaves the datagram in the queue.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).await.map(|(len, _)| len)
    }

    /// Like [`recv_from`](UdpSocket::recv_from), but leaves the datagram in the queue.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        call(&self.socket, |calls| calls.peek_from(buf)).await
    }

    /// Waits for a datagram, and returns it without a copy, with its metadata, as
    /// [`UdpSocket::recv_msg`](crate::UdpSocket::recv_msg) does. Cancel safe.
    pub async fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        call(&self.socket, |calls| calls.recv_msg()).await
    }

    /// Sends a datagram without a copy, as [`UdpSocket::send_msg`](crate::UdpSocket::send_msg)
    /// does. Cancel safe.
    pub async fn send_msg(&self, bytes: Bytes, meta: &SendMeta) -> io::Result<usize> {
        call(&self.socket, |calls| calls.send_msg(bytes.clone(), meta)).await
    }

    /// Sends a datagram to the connected peer, or returns `WouldBlock`.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.calls_at_once().write(data)
    }

    /// Sends a datagram, or returns `WouldBlock`.
    pub fn try_send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.socket.calls_at_once().send_to(data, addr)
    }

    /// Receives a datagram, or returns `WouldBlock`.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buf).map(|(len, _)| len)
    }

    /// Receives a datagram and its sender, or returns `WouldBlock`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls_at_once().recv_from(buf)
    }

    /// Like [`try_recv_from`](UdpSocket::try_recv_from), but leaves the datagram in the queue.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.calls_at_once().peek_from(buf)
    }

    /// Polls for room to send. The last task that polled is woken.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    /// Polls for a datagram to receive. The last task that polled is woken.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    /// Sends a datagram to the connected peer. The last task that polled is woken.
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        poll_call(cx, &self.socket, |calls| calls.write(data))
    }

    /// Sends a datagram. The last task that polled is woken.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        addr: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        poll_call(cx, &self.socket, |calls| calls.send_to(data, addr))
    }

    /// Tells the source of an intercepted flow, by an ICMP error, that its datagrams cannot be
    /// delivered ([`Stack::reject_flow`](portolan::Stack::reject_flow)).
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless the socket comes from a
    /// [`UdpInterceptor`](crate::task::UdpInterceptor).
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
}

socket_options!(UdpSocket);
readiness_calls!(UdpSocket);
ip_settings!(UdpSocket);

impl HasSockets for UdpSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
