//! [`UnixStream`]: a connection inside one host, used by tasks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use portolan::{Credentials, SocketKind, UnixAddr};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::socket_options;
use crate::socket::unix::path_name;
use crate::task::halves::{Shared, Stream};
use crate::task::ready::readiness_calls;
use crate::task::stream_calls::{read_calls, write_calls};
use crate::task::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, wait};

/// A connection inside one host, modelled on `tokio::net::UnixStream`.
///
/// With the features `tokio` and `futures-io` it is `AsyncRead` and `AsyncWrite`. When it is
/// dropped the connection is closed. The peer can still read what was written before.
///
/// ```
/// use portolan_runtime::Builder;
/// use portolan_runtime::task::UnixStream;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let (mut near, mut far) = UnixStream::pair(&runtime)?;
/// let (mut read, mut write) = near.split();
/// write.write_all(b"hello").await?;
/// let mut word = [0; 5];
/// far.read_exact(&mut word).await?;
/// far.write_all(&word).await?;
/// read.read_exact(&mut word).await?;
/// assert_eq!(&word, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixStream {
    socket: Arc<Socket>,
}

impl UnixStream {
    pub(super) fn of(socket: Arc<Socket>) -> UnixStream {
        socket.set_nonblocking(true);
        UnixStream { socket }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Connects to the listener with this path. Waits while its backlog is full. Dropping the
    /// future connects nothing.
    pub async fn connect(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_addr(handle, &path_name(path)?).await
    }

    /// Like [`connect`](UnixStream::connect), for any name.
    pub async fn connect_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixStream> {
        let socket = Socket::new_unix(handle.as_ref(), SocketKind::Stream)?;
        wait::call(&socket, |calls| calls.connect_unix(name)).await?;
        Ok(UnixStream::of(Arc::new(socket)))
    }

    /// Makes both ends of a connection without names (`socketpair`).
    pub fn pair(handle: &impl AsRef<Handle>) -> io::Result<(UnixStream, UnixStream)> {
        let (near, far) = crate::UnixStream::pair(handle)?;
        Ok((UnixStream::from_blocking(near), UnixStream::from_blocking(far)))
    }

    /// Makes a stream for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(stream: crate::UnixStream) -> UnixStream {
        UnixStream::of(stream.socket)
    }

    /// Makes a stream for threads, which waits in `read` and `write`.
    pub fn into_blocking(self) -> crate::UnixStream {
        self.socket.set_nonblocking(false);
        crate::UnixStream { socket: self.socket }
    }

    /// Splits the stream into two halves, to read and to write at the same time in one task.
    pub fn split(&mut self) -> (ReadHalf<'_, UnixStream>, WriteHalf<'_, UnixStream>) {
        (ReadHalf::of(self), WriteHalf::of(self))
    }

    /// Splits the stream into two halves that can go to different tasks. Dropping the half that
    /// writes ends that direction of the connection.
    pub fn into_split(self) -> (OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>) {
        (OwnedReadHalf::of(&self), OwnedWriteHalf::of(&self))
    }

    /// Returns the name of this end.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// Returns the name of the peer.
    pub fn peer_addr(&self) -> io::Result<UnixAddr> {
        self.socket.peer_unix()
    }

    /// SO_PEERCRED: the credentials of the peer's owner when it called `connect` or `listen`, or
    /// made the pair.
    pub fn peer_cred(&self) -> io::Result<Credentials> {
        self.socket.peer_credentials()
    }
}

socket_options!(UnixStream);
readiness_calls!(UnixStream);
read_calls!(UnixStream);
write_calls!(UnixStream);

impl HasSockets for UnixStream {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}

impl Stream for UnixStream {
    type Addr = UnixAddr;

    fn of(Shared(socket): Shared) -> UnixStream {
        UnixStream::of(socket)
    }

    fn shared(&self) -> Shared {
        Shared(self.socket.clone())
    }

    fn local(sockets: SocketsOf<'_>) -> io::Result<UnixAddr> {
        sockets.first.local_unix()
    }

    fn peer(sockets: SocketsOf<'_>) -> io::Result<UnixAddr> {
        sockets.first.peer_unix()
    }
}
