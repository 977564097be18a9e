//! [`TcpInterceptor`] and [`UdpInterceptor`]: connections and flows to any address, in tasks.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use portolan::{IgnoreReason, InterfaceId, Rejection, SocketOption, Zone};

use crate::engine::task_waiters::{Task, TaskSlot};
use crate::handle::Handle;
use crate::interceptor::Interceptors;
use crate::task::wait::{call, call_on_all, poll_task};
use crate::task::{TcpStream, UdpSocket};

/// Decides about the TCP connections to other hosts that interfaces intercept, as the
/// [`TcpInterceptor`](crate::TcpInterceptor) of threads does. A stack has at most one of both.
///
/// Several tasks may call [`next`](TcpInterceptor::next) at the same time, through an `Arc`. When
/// it is dropped, connections that wait for a decision are reset, except those that `next` has
/// returned. With the feature `futures-core` it is a `Stream` of pending connections.
///
/// ```
/// use portolan::Interception;
/// use portolan_runtime::task::{TcpInterceptor, TcpStream};
/// use portolan_runtime::{Builder, device::memory_pair};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (left, right) = memory_pair()?;
/// let proxy = Builder::new()
///     .interface(left, ["10.0.0.1/24".parse()?])
///     .intercept(Interception::all())
///     .start()?;
/// let client = Builder::new()
///     .interface(right, ["10.0.0.2/24".parse()?])
///     .gateway("10.0.0.1".parse()?)
///     .start()?;
///
/// let interceptor = TcpInterceptor::new(&proxy)?;
/// let server = tokio::spawn(async move {
///     let pending = interceptor.next().await?;
///     let greeting = format!("you want {}", pending.destination());
///     pending.accept().await?.write_all(greeting.as_bytes()).await
/// });
/// let mut stream = TcpStream::connect(&client, ([203, 0, 113, 7], 443)).await?;
/// let mut greeting = String::new();
/// stream.read_to_string(&mut greeting).await?;
/// assert_eq!(greeting, "you want 203.0.113.7:443");
/// server.await??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpInterceptor {
    pub(super) sockets: Arc<Interceptors>,
}

impl TcpInterceptor {
    /// Decides from now on about the connections that the runtime's interfaces intercept.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is another one.
    pub fn new(handle: &impl AsRef<Handle>) -> io::Result<TcpInterceptor> {
        TcpInterceptor::with_options(handle, &[])
    }

    /// Like [`new`](TcpInterceptor::new), with options for the connections.
    pub fn with_options(handle: &impl AsRef<Handle>, options: &[SocketOption]) -> io::Result<TcpInterceptor> {
        crate::TcpInterceptor::with_options(handle, options).map(TcpInterceptor::from_blocking)
    }

    /// Makes an interceptor for tasks of one for threads. The clones of that one do not wait any
    /// more.
    pub fn from_blocking(interceptor: crate::TcpInterceptor) -> TcpInterceptor {
        interceptor.sockets.set_nonblocking(true);
        TcpInterceptor { sockets: interceptor.sockets }
    }

    /// Makes an interceptor for threads, which waits in `next`.
    pub fn into_blocking(self) -> crate::TcpInterceptor {
        self.sockets.set_nonblocking(false);
        crate::TcpInterceptor { sockets: self.sockets }
    }

    /// Waits for the next connection. Its SYN is not answered before the decision. Cancel safe.
    pub async fn next(&self) -> io::Result<PendingStream> {
        call_on_all(self.sockets.all(), |task| self.next_of(task)).await
    }

    /// Polls for the next connection. The last task that polled is woken.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<PendingStream>> {
        poll_task(cx, |task| self.next_of(task))
    }

    fn next_of(&self, task: Task<'_>) -> io::Result<PendingStream> {
        let (index, pending) = self.sockets.call_of_task(task, |calls| calls.next_pending())?;
        Ok(PendingStream { pending: crate::PendingStream::of(&self.sockets, index, pending) })
    }

    /// Stops intercepting. Tasks in [`next`](TcpInterceptor::next) get EBADF, and connections that
    /// wait for a decision are reset.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// Sets an option for connections that are accepted from now on.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

/// Accepts the UDP flows to other hosts that interfaces intercept, one for each source and
/// destination, as the [`UdpInterceptor`](crate::UdpInterceptor) of threads does. A stack has at
/// most one of both.
///
/// Several tasks may call [`accept`](UdpInterceptor::accept) at the same time, through an `Arc`.
/// With the feature `futures-core` it is a `Stream` of flows and their sources.
///
/// ```
/// use portolan::Interception;
/// use portolan_runtime::task::{UdpInterceptor, UdpSocket};
/// use portolan_runtime::{Builder, device::memory_pair};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (left, right) = memory_pair()?;
/// let proxy = Builder::new()
///     .interface(left, ["10.0.0.1/24".parse()?])
///     .intercept(Interception::all())
///     .start()?;
/// let client = Builder::new()
///     .interface(right, ["10.0.0.2/24".parse()?])
///     .gateway("10.0.0.1".parse()?)
///     .start()?;
///
/// let interceptor = UdpInterceptor::new(&proxy)?;
/// let asking = UdpSocket::bind(&client, ([10, 0, 0, 2], 5000)).await?;
/// asking.send_to(b"who?", ([203, 0, 113, 7], 53)).await?;
///
/// let (flow, source) = interceptor.accept().await?;
/// assert_eq!(source, ([10, 0, 0, 2], 5000).into());
/// assert_eq!(flow.local_addr()?, ([203, 0, 113, 7], 53).into());
/// let mut buf = [0; 100];
/// assert_eq!(flow.recv(&mut buf).await?, 4);
/// flow.send(b"me").await?;
/// assert_eq!(asking.recv_from(&mut buf).await?, (2, ([203, 0, 113, 7], 53).into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdpInterceptor {
    pub(super) sockets: Arc<Interceptors>,
}

impl UdpInterceptor {
    /// Accepts from now on the flows that the runtime's interfaces intercept.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is another one.
    pub fn new(handle: &impl AsRef<Handle>) -> io::Result<UdpInterceptor> {
        UdpInterceptor::with_options(handle, &[])
    }

    /// Like [`new`](UdpInterceptor::new), with options for the sockets of the flows.
    pub fn with_options(handle: &impl AsRef<Handle>, options: &[SocketOption]) -> io::Result<UdpInterceptor> {
        crate::UdpInterceptor::with_options(handle, options).map(UdpInterceptor::from_blocking)
    }

    /// Makes an interceptor for tasks of one for threads. The clones of that one do not wait any
    /// more.
    pub fn from_blocking(interceptor: crate::UdpInterceptor) -> UdpInterceptor {
        interceptor.sockets.set_nonblocking(true);
        UdpInterceptor { sockets: interceptor.sockets }
    }

    /// Makes an interceptor for threads, which waits in `accept`.
    pub fn into_blocking(self) -> crate::UdpInterceptor {
        self.sockets.set_nonblocking(false);
        crate::UdpInterceptor { sockets: self.sockets }
    }

    /// Waits for the next flow. Returns a socket that is connected to the source, and whose local
    /// address is the destination; and the source. Its first datagrams wait in the socket. Cancel
    /// safe.
    ///
    /// A flow that is idle for too long ends
    /// ([`InterceptionConfig::flow_timeout`](portolan::InterceptionConfig::flow_timeout)): `recv`
    /// fails with `TimedOut`, and the next datagram is of a new flow.
    pub async fn accept(&self) -> io::Result<(UdpSocket, SocketAddr)> {
        call_on_all(self.sockets.all(), |task| self.accept_of(task)).await
    }

    /// Polls for the next flow. The last task that polled is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UdpSocket, SocketAddr)>> {
        poll_task(cx, |task| self.accept_of(task))
    }

    fn accept_of(&self, task: Task<'_>) -> io::Result<(UdpSocket, SocketAddr)> {
        let (_, (socket, source)) = self.sockets.call_of_task(task, |calls| calls.accept())?;
        Ok((UdpSocket::of(Arc::new(socket)), source))
    }

    /// Stops intercepting. Tasks in [`accept`](UdpInterceptor::accept) get EBADF. Accepted flows go
    /// on.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// Sets an option for flows that begin from now on.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

/// A connection to another host that waits for a decision. Dropped without one, it is reset.
///
/// A proxy connects to the destination first, and stops if the source gives up:
///
/// ```
/// # use portolan::Interception;
/// # use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{PendingStream, TcpInterceptor, TcpStream};
///
/// async fn connect_first(
///     pending: PendingStream,
///     upstream: impl Future<Output = std::io::Result<TcpStream>>,
/// ) -> std::io::Result<Option<(TcpStream, TcpStream)>> {
///     let upstream = tokio::select! {
///         upstream = upstream => upstream,
///         () = pending.cancelled() => return Ok(None),
///     };
///     match upstream {
///         Ok(upstream) => Ok(Some((pending.accept().await?, upstream))),
///         Err(error) => pending.reject_because(&error).map(|()| None),
///     }
/// }
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// # let (left, right) = memory_pair()?;
/// # let proxy = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).intercept(Interception::all()).start()?;
/// # let client =
/// #     Builder::new().interface(right, ["10.0.0.2/24".parse()?]).gateway("10.0.0.1".parse()?).start()?;
/// # let interceptor = TcpInterceptor::new(&proxy)?;
/// # let connecting = tokio::spawn(async move {
/// #     TcpStream::connect(&client, ([203, 0, 113, 7], 443)).await.map(|_| ()).map_err(|error| error.kind())
/// # });
/// # let pending = interceptor.next().await?;
/// # // Nobody listens on this port.
/// # assert!(connect_first(pending, TcpStream::connect(&proxy, ([10, 0, 0, 1], 9))).await?.is_none());
/// # assert_eq!(connecting.await?, Err(std::io::ErrorKind::ConnectionRefused));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PendingStream {
    pending: crate::PendingStream,
}

impl PendingStream {
    /// The address that opens the connection.
    pub fn source(&self) -> SocketAddr {
        self.pending.source()
    }

    /// The address that the connection is for.
    pub fn destination(&self) -> SocketAddr {
        self.pending.destination()
    }

    /// The interface that it came in through.
    pub fn interface(&self) -> InterfaceId {
        self.pending.interface()
    }

    /// The zone of that interface.
    pub fn zone(&self) -> Zone {
        self.pending.zone()
    }

    /// Whether it needs no decision any more: the source has given it up, or it waited for too
    /// long. Every decision then fails with `ConnectionAborted`.
    pub fn is_cancelled(&self) -> io::Result<bool> {
        self.pending.is_cancelled()
    }

    /// Waits until it needs no decision any more: the source has given it up, it waited for too
    /// long, or the interceptor is closed. Cancel safe.
    pub async fn cancelled(&self) {
        let mut waiting = Cancelled::new(&self.pending);
        poll_fn(|cx| waiting.poll(cx)).await;
    }

    /// Polls for what [`cancelled`](PendingStream::cancelled) waits for. The last task that polled
    /// is woken.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pending.poll_cancelled(Task { waker: cx.waker(), slot: TaskSlot::Polls })
    }

    /// Accepts it: answers, and waits until the connection is established, for as long as the stack
    /// repeats its answer (a minute). Dropping the future resets the connection.
    pub async fn accept(self) -> io::Result<TcpStream> {
        // If there is no room for it, it is still pending, and reset when this returns.
        let socket = self.pending.begin_accepting()?;
        call(&socket, |calls| calls.finish_connecting()).await?;
        Ok(TcpStream::of(Arc::new(socket)))
    }

    /// Refuses it.
    pub fn reject(self, how: Rejection) -> io::Result<()> {
        self.pending.reject(how)
    }

    /// Refuses it in the way in which the destination has refused the program's own connection
    /// ([`PendingStream::reject_because`](crate::PendingStream::reject_because)).
    pub fn reject_because(self, error: &io::Error) -> io::Result<()> {
        self.pending.reject_because(error)
    }

    /// Leaves it without an answer, and counts why. If the SYN is repeated, it comes again.
    pub fn ignore(self, why: IgnoreReason) -> io::Result<()> {
        self.pending.ignore(why)
    }
}

/// The future of [`PendingStream::cancelled`], which has a waker of its own. It is removed when the
/// future is dropped.
struct Cancelled<'a> {
    pending: &'a crate::PendingStream,
    slot: TaskSlot,
    is_registered: bool,
}

impl Cancelled<'_> {
    fn new(pending: &crate::PendingStream) -> Cancelled<'_> {
        let slot = TaskSlot::Future(pending.socket().new_future());
        Cancelled { pending, slot, is_registered: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.pending.poll_cancelled(Task { waker: cx.waker(), slot: self.slot });
        self.is_registered = polled.is_pending();
        polled
    }
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        if self.is_registered {
            self.pending.forget_cancel_waiter(self.slot);
        }
    }
}
