//! [`UnixListener`]: accepts connections inside one host, in tasks.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use portolan::{SocketOption, UnixAddr};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::task::UnixStream;
use crate::task::wait::{call, poll_call};

/// A Unix-domain socket that accepts connections, modelled on `tokio::net::UnixListener`.
///
/// Unix-domain sockets connect the programs and [owners](crate::Owner) of one runtime. Paths are
/// names in the stack, not files of the host, and stay until they are [unlinked](Handle::unlink).
///
/// ```
/// use portolan_runtime::Builder;
/// use portolan_runtime::task::{UnixListener, UnixStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = UnixListener::bind(&runtime, "/run/server")?;
/// let mut near = UnixStream::connect(&runtime, "/run/server").await?;
/// let (mut far, peer) = listener.accept().await?;
/// assert!(peer.is_unnamed());
/// near.write_all(b"hello").await?;
/// drop(near);
/// let mut words = String::new();
/// far.read_to_string(&mut words).await?;
/// assert_eq!(words, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixListener {
    socket: Arc<Socket>,
}

impl UnixListener {
    /// Listens on a path.
    pub fn bind(handle: &impl AsRef<Handle>, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        crate::UnixListener::bind(handle, path).map(UnixListener::from_blocking)
    }

    /// Like [`bind`](UnixListener::bind), for any name. Without one the stack chooses an abstract
    /// name.
    pub fn bind_addr(handle: &impl AsRef<Handle>, name: &UnixAddr) -> io::Result<UnixListener> {
        crate::UnixListener::bind_addr(handle, name).map(UnixListener::from_blocking)
    }

    /// Waits for the next connection. Returns it and the name of its peer. Cancel safe.
    pub async fn accept(&self) -> io::Result<(UnixStream, UnixAddr)> {
        let accepted = call(&self.socket, |calls| calls.accept_unix()).await;
        accepted.map(|(socket, peer)| (UnixStream::of(Arc::new(socket)), peer))
    }

    /// Polls for the next connection. The last task that polled is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, UnixAddr)>> {
        poll_call(cx, &self.socket, |calls| calls.accept_unix())
            .map_ok(|(socket, peer)| (UnixStream::of(Arc::new(socket)), peer))
    }

    /// Makes a listener for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(listener: crate::UnixListener) -> UnixListener {
        listener.socket.set_nonblocking(true);
        UnixListener { socket: listener.socket }
    }

    /// Makes a listener for threads, which waits in `accept`.
    pub fn into_blocking(self) -> crate::UnixListener {
        self.socket.set_nonblocking(false);
        crate::UnixListener { socket: self.socket }
    }

    /// Returns the name that the listener listens on.
    pub fn local_addr(&self) -> io::Result<UnixAddr> {
        self.socket.local_unix()
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.socket.set_option(option)
    }

    /// Returns the handle of the runtime that the listener belongs to.
    pub fn handle(&self) -> Handle {
        self.socket.handle()
    }
}

impl HasSockets for UnixListener {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
