//! [`TcpListener`]: accepts connections in tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use portolan::SocketOption;

use crate::handle::Handle;
use crate::listening::Listening;
use crate::socket::ttl_option;
use crate::task::TcpStream;
use crate::task::wait::{call_on_all, poll_task};

/// A socket that accepts connections, modelled on `tokio::net::TcpListener`.
///
/// Several tasks may call `accept` at the same time. In a runtime with several stacks the listener
/// listens on all of them.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{TcpListener, TcpStream};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 0)).await?;
/// let addr = listener.local_addr()?;
/// let stream = TcpStream::connect(&runtime, addr).await?;
/// let (_accepted, peer) = listener.accept().await?;
/// assert_eq!(peer, stream.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    sockets: Arc<Listening>,
}

impl TcpListener {
    pub(super) fn of(sockets: Arc<Listening>) -> TcpListener {
        sockets.set_nonblocking(true);
        TcpListener { sockets }
    }

    /// Listens on an address and port of the stack; with port 0 the stack chooses one. SO_REUSEADDR
    /// is set. [`TcpSocket`](crate::task::TcpSocket) can set other options before. It never waits.
    pub async fn bind(handle: &impl AsRef<Handle>, addr: impl Into<SocketAddr>) -> io::Result<TcpListener> {
        crate::TcpListener::bind(handle, Into::<SocketAddr>::into(addr)).map(TcpListener::from_blocking)
    }

    /// Waits for the next connection. Returns it and the address of its peer. Cancel safe.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = call_on_all(self.sockets.sockets(), |task| self.sockets.accept_of(task)).await;
        accepted.map(|(socket, peer)| (TcpStream::of(Arc::new(socket)), peer))
    }

    /// Polls for the next connection. The last task that polled is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        poll_task(cx, |task| self.sockets.accept_of(task))
            .map_ok(|(socket, peer)| (TcpStream::of(Arc::new(socket)), peer))
    }

    /// Makes a listener for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(listener: crate::TcpListener) -> TcpListener {
        TcpListener::of(listener.sockets)
    }

    /// Makes a listener for threads, which waits in `accept`.
    pub fn into_blocking(self) -> crate::TcpListener {
        self.sockets.set_nonblocking(false);
        crate::TcpListener { sockets: self.sockets }
    }

    /// Returns the address and port that the listener listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().local_addr()
    }

    /// IP_TTL: the value that was set, or the default of the stack.
    pub fn ttl(&self) -> io::Result<u32> {
        self.sockets.first().ttl()
    }

    /// Sets IP_TTL of the connections that are accepted, 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.sockets.set_option(ttl_option(ttl)?)
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.sockets.take_error()
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }

    /// Returns the handle of the runtime that the listener belongs to.
    pub fn handle(&self) -> Handle {
        self.sockets.first().handle()
    }
}
