//! [`UnixDatagram`]: a datagram socket inside one host, used by tasks.

use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use portolan::UnixAddr;

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::socket_options;
use crate::socket::unix::path_name;
use crate::task::ready::readiness_calls;
use crate::task::wait::{call, poll_call};

/// A datagram socket inside one host, modelled on `tokio::net::UnixDatagram`. Datagrams are neither
/// lost nor reordered: a sender waits while the receiver's queue is full.
///
/// ```
/// use portolan_runtime::Builder;
/// use portolan_runtime::task::UnixDatagram;
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let log = UnixDatagram::bind(&runtime, "/dev/log")?;
/// let program = UnixDatagram::unbound(&runtime)?;
/// program.send_to(b"started", "/dev/log").await?;
/// let mut line = [0; 1000];
/// let (len, from) = log.recv_from(&mut line).await?;
/// assert_eq!(&line[..len], b"started");
/// assert!(from.is_unnamed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixDatagram {
    socket: Arc<Socket>,
}

impl UnixDatagram {
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Makes a socket with a path, which stays when the socket is dropped, until it is
    /// [unlinked](Handle::unlink).
    pub fn bind(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        crate::UnixDatagram::bind(handle, path).map(UnixDatagram::from_blocking)
    }

    /// Like [`bind`](UnixDatagram::bind), for any name. Without one the stack chooses an abstract
    /// name.
    pub fn bind_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixDatagram> {
        crate::UnixDatagram::bind_addr(handle, name).map(UnixDatagram::from_blocking)
    }

    /// Makes a socket without a name, which can send.
    pub fn unbound(handle: &impl AsRef<Handle>) -> io::Result<UnixDatagram> {
        crate::UnixDatagram::unbound(handle).map(UnixDatagram::from_blocking)
    }

    /// Makes two sockets without names that send to each other (`socketpair`).
    pub fn pair(handle: &impl AsRef<Handle>) -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (near, far) = crate::UnixDatagram::pair(handle)?;
        Ok((UnixDatagram::from_blocking(near), UnixDatagram::from_blocking(far)))
    }

    /// Makes a socket for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(socket: crate::UnixDatagram) -> UnixDatagram {
        socket.socket.set_nonblocking(true);
        UnixDatagram { socket: socket.socket }
    }

    /// Makes a socket for threads, whose calls wait.
    pub fn into_blocking(self) -> crate::UnixDatagram {
        self.socket.set_nonblocking(false);
        crate::UnixDatagram { socket: self.socket }
    }

    /// Sets the peer: `send` sends to it, and only its datagrams are received.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&path_name(path)?)
    }

    /// Like [`connect`](UnixDatagram::connect), for any name.
    pub fn connect_addr(&self, name: &UnixAddr) -> io::Result<()> {
        self.socket.calls_at_once().connect_unix(name)
    }

    /// Sends a datagram to the peer. Waits while its queue is full. Cancel safe.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        call(&self.socket, |calls| calls.write(data)).await
    }

    /// Sends a datagram to a path. Waits while the receiver's queue is full. Cancel safe.
    pub async fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_addr(data, &path_name(path)?).await
    }

    /// Like [`send_to`](UnixDatagram::send_to), for any name.
    pub async fn send_to_addr(&self, data: &[u8], name: &UnixAddr) -> io::Result<usize> {
        call(&self.socket, |calls| calls.send_to_unix(data, name)).await
    }

    /// Waits for a datagram. The part that does not fit into the buffer is lost. Cancel safe.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Like [`recv`](UnixDatagram::recv). Returns the name of the sender, too.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, UnixAddr)> {
        call(&self.socket, |calls| calls.recv_unix(buf)).await
    }

    /// Like [`recv`](UnixDatagram::recv), but leaves the datagram in the queue.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        call(&self.socket, |calls| calls.peek(buf)).await
    }

    /// Sends a datagram to the peer, or returns `WouldBlock`.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.calls_at_once().write(data)
    }

    /// Sends a datagram to a path, or returns `WouldBlock`.
    pub fn try_send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.socket.calls_at_once().send_to_unix(data, &path_name(path)?)
    }

    /// Receives a datagram, or returns `WouldBlock`.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buf).map(|(len, _)| len)
    }

    /// Receives a datagram and the name of its sender, or returns `WouldBlock`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, UnixAddr)> {
        self.socket.calls_at_once().recv_unix(buf)
    }

    /// Polls for room to send. The last task that polled is woken.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    /// Polls for a datagram to receive. The last task that polled is woken.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    /// Sends a datagram to the peer. The last task that polled is woken.
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        poll_call(cx, &self.socket, |calls| calls.write(data))
    }

    /// Sends a datagram to a path. The last task that polled is woken.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        path: impl AsRef<Path>,
    ) -> Poll<io::Result<usize>> {
        let name = path_name(path)?;
        poll_call(cx, &self.socket, |calls| calls.send_to_unix(data, &name))
    }

    /// Returns the name of this end.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// Returns the name of the peer.
    pub fn peer_addr(&self) -> io::Result<UnixAddr> {
        self.socket.peer_unix()
    }

    /// Ends receiving, sending, or both. Tasks that wait are woken.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

socket_options!(UnixDatagram);
readiness_calls!(UnixDatagram);

impl HasSockets for UnixDatagram {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
