//! The halves of a stream: [`ReadHalf`] and [`WriteHalf`], [`OwnedReadHalf`] and
//! [`OwnedWriteHalf`].

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use crate::poller::sealed::SocketsOf;
use crate::socket::Socket;
use crate::task::TcpStream;
use crate::task::ready::readiness_calls;
use crate::task::stream_calls::{read_calls, write_calls};

pub(super) mod sealed {
    use std::io;
    use std::sync::Arc;

    use crate::poller::sealed::{HasSockets, SocketsOf};
    use crate::socket::Socket;

    /// A stream that can be split.
    pub trait Stream: HasSockets + Sized {
        /// The type of its addresses.
        type Addr;

        #[doc(hidden)]
        fn of(shared: Shared) -> Self;

        #[doc(hidden)]
        fn shared(&self) -> Shared;

        #[doc(hidden)]
        fn local(sockets: SocketsOf<'_>) -> io::Result<Self::Addr>;

        #[doc(hidden)]
        fn peer(sockets: SocketsOf<'_>) -> io::Result<Self::Addr>;
    }

    /// The socket that the halves of a stream share.
    #[derive(Clone, Debug)]
    pub struct Shared(pub(crate) Arc<Socket>);
}

pub(super) use sealed::{Shared, Stream};

impl Stream for TcpStream {
    type Addr = SocketAddr;

    fn of(Shared(socket): Shared) -> TcpStream {
        TcpStream::of(socket)
    }

    fn shared(&self) -> Shared {
        Shared(self.shared_socket().clone())
    }

    fn local(sockets: SocketsOf<'_>) -> io::Result<SocketAddr> {
        sockets.first.local_addr()
    }

    fn peer(sockets: SocketsOf<'_>) -> io::Result<SocketAddr> {
        sockets.first.peer_addr()
    }
}

/// Splitting.
impl TcpStream {
    /// Splits the stream into two halves, to read and to write at the same time in one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::of(self), WriteHalf::of(self))
    }

    /// Splits the stream into two halves that can go to different tasks. Dropping the half that
    /// writes ends that direction of the connection.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (OwnedReadHalf::of(&self), OwnedWriteHalf::of(&self))
    }
}

/// The half of a stream that reads, while the stream is borrowed by `split`.
#[derive(Debug)]
pub struct ReadHalf<'a, S = TcpStream> {
    stream: &'a S,
}

/// The half of a stream that writes, while the stream is borrowed by `split`.
#[derive(Debug)]
pub struct WriteHalf<'a, S = TcpStream> {
    stream: &'a S,
}

impl<'a, S: Stream> ReadHalf<'a, S> {
    pub(super) fn of(stream: &'a S) -> Self {
        ReadHalf { stream }
    }

    pub(super) fn socket(&self) -> &Socket {
        self.stream.sockets().first
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<S::Addr> {
        S::local(self.socket().into())
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<S::Addr> {
        S::peer(self.socket().into())
    }
}

impl<'a, S: Stream> WriteHalf<'a, S> {
    pub(super) fn of(stream: &'a S) -> Self {
        WriteHalf { stream }
    }

    pub(super) fn socket(&self) -> &Socket {
        self.stream.sockets().first
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<S::Addr> {
        S::local(self.socket().into())
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<S::Addr> {
        S::peer(self.socket().into())
    }
}

readiness_calls!(ReadHalf<'a, S: Stream>);
readiness_calls!(WriteHalf<'a, S: Stream>);
read_calls!(ReadHalf<'a, S: Stream>);
write_calls!(WriteHalf<'a, S: Stream>);

/// The half of a stream that reads, of `into_split`.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{TcpListener, TcpStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # let (device, _other_end) = memory_pair()?;
/// # let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// # let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let stream = TcpStream::connect(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let (mut far, _) = listener.accept().await?;
///
/// let (mut read, mut write) = stream.into_split();
/// tokio::spawn(async move { write.write_all(b"question").await }); // then `write` is dropped
/// let mut question = String::new();
/// far.read_to_string(&mut question).await?;
/// far.write_all(b"answer").await?;
/// let mut buf = [0; 6];
/// read.read_exact(&mut buf).await?;
/// assert_eq!((&question[..], &buf), ("question", b"answer"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnedReadHalf<S = TcpStream> {
    shared: Shared,
    stream: PhantomData<fn() -> S>,
}

/// The half of a stream that writes, of `into_split`. Dropping it ends that direction of the
/// connection, unless it is [forgotten](OwnedWriteHalf::forget).
pub struct OwnedWriteHalf<S = TcpStream> {
    shared: Shared,
    shuts_down: bool,
    stream: PhantomData<fn() -> S>,
}

impl<S: Stream> OwnedReadHalf<S> {
    pub(super) fn of(stream: &S) -> Self {
        OwnedReadHalf { shared: stream.shared(), stream: PhantomData }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.shared.0
    }

    /// Joins the halves to the stream that they were made of. Fails if they are of two streams.
    pub fn reunite(self, other: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.shared.0, &other.shared.0) {
            return Err(ReuniteError(self, other));
        }
        other.forget();
        Ok(S::of(self.shared))
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<S::Addr> {
        S::local(self.socket().into())
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<S::Addr> {
        S::peer(self.socket().into())
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    pub(super) fn of(stream: &S) -> Self {
        OwnedWriteHalf { shared: stream.shared(), shuts_down: true, stream: PhantomData }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.shared.0
    }

    /// Joins the halves to the stream that they were made of. Fails if they are of two streams.
    pub fn reunite(self, other: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        other.reunite(self)
    }

    /// Drops this half without ending its direction of the connection.
    pub fn forget(mut self) {
        self.shuts_down = false;
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<S::Addr> {
        S::local(self.socket().into())
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<S::Addr> {
        S::peer(self.socket().into())
    }
}

impl<S> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.shuts_down {
            // A connection that is over needs no end.
            let _ = self.shared.0.shutdown(Shutdown::Write);
        }
    }
}

readiness_calls!(OwnedReadHalf<S: Stream>);
readiness_calls!(OwnedWriteHalf<S: Stream>);
read_calls!(OwnedReadHalf<S: Stream>);
write_calls!(OwnedWriteHalf<S: Stream>);

impl<S> fmt::Debug for OwnedReadHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedReadHalf").field("socket", &self.shared.0).finish()
    }
}

impl<S> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedWriteHalf").field("socket", &self.shared.0).finish()
    }
}

/// Two halves that were not made of one stream.
// Exhaustive: it gives the halves back, as tokio's does.
pub struct ReuniteError<S = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").field(&self.0).field(&self.1).finish()
    }
}

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of the same stream")
    }
}

impl<S> Error for ReuniteError<S> {}
