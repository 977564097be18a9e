//! [`TcpInterceptor`]: decides about TCP connections to any address, before they are answered; and
//! [`UdpInterceptor`]: accepts UDP flows to any address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use portolan::{
    Domain, IgnoreReason, InterfaceId, PendingConnection, Rejection, SocketKind, SocketOption, Unreachable,
    Zone,
};

use crate::engine::bell::Bell;
use crate::engine::task_waiters::{Task, TaskSlot};
use crate::handle::Handle;
use crate::platform::host_tcp::is_out_of_resources;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::calls::Calls;
use crate::socket::pending::unreachable_for;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::tcp::TcpStream;
use crate::udp::UdpSocket;

/// Decides about the TCP connections to other hosts that interfaces intercept
/// ([`Builder::intercept`](crate::Builder::intercept)). A stack has at most one.
///
/// Several threads may call [`next`](TcpInterceptor::next) at the same time: each connection wakes
/// one of them. When the last clone is dropped, connections that wait for a decision are reset.
///
/// ```
/// use std::io::{Read, Write};
/// use portolan::Interception;
/// use portolan_runtime::{Builder, TcpInterceptor, TcpStream, device::memory_pair};
///
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
/// let server = std::thread::spawn(move || {
///     let pending = interceptor.next()?;
///     let greeting = format!("you want {}", pending.destination());
///     pending.accept()?.write_all(greeting.as_bytes())
/// });
/// let mut stream = TcpStream::connect(&client, ([203, 0, 113, 7], 443))?;
/// let mut greeting = String::new();
/// stream.read_to_string(&mut greeting)?;
/// assert_eq!(greeting, "you want 203.0.113.7:443");
/// server.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpInterceptor {
    pub(crate) sockets: Arc<Interceptors>,
}

/// The intercepting sockets, one on each stack of a runtime.
#[derive(Debug)]
pub(crate) struct Interceptors {
    first: Socket,
    others: Vec<Socket>,
    /// Rung for events of every socket, if there are several.
    bell: Arc<Bell>,
    /// The socket that is asked first next time, so that each is served.
    turn: AtomicUsize,
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
        let sockets = Interceptors::new(handle.as_ref(), SocketKind::Stream, options)?;
        Ok(TcpInterceptor { sockets: Arc::new(sockets) })
    }

    /// Waits for the next connection. Its SYN is not answered before the decision.
    pub fn next(&self) -> io::Result<PendingStream> {
        let (index, pending) = self.sockets.wait_for(|calls| calls.next_pending())?;
        Ok(PendingStream::of(&self.sockets, index, pending))
    }

    /// Returns another handle to the same interceptor.
    pub fn try_clone(&self) -> io::Result<TcpInterceptor> {
        Ok(TcpInterceptor { sockets: self.sockets.clone() })
    }

    /// Sets whether [`next`](TcpInterceptor::next) returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.sockets.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Stops intercepting, for all clones. Threads in [`next`](TcpInterceptor::next) get EBADF, and
    /// connections that wait for a decision are reset.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// Sets an option for connections that are accepted from now on.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

/// Accepts the UDP flows to other hosts that interfaces intercept
/// ([`Builder::intercept`](crate::Builder::intercept)), one for each source and destination. A
/// stack has at most one.
///
/// Several threads may call [`accept`](UdpInterceptor::accept) at the same time. When the last
/// clone is dropped, datagrams that belong to no accepted flow are refused ("port unreachable").
///
/// ```
/// use portolan::Interception;
/// use portolan_runtime::{Builder, UdpInterceptor, UdpSocket, device::memory_pair};
///
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
/// let asking = UdpSocket::bind(&client, ([10, 0, 0, 2], 5000))?;
/// asking.send_to(b"who?", ([203, 0, 113, 7], 53))?;
///
/// let (flow, source) = interceptor.accept()?;
/// assert_eq!(source, ([10, 0, 0, 2], 5000).into());
/// assert_eq!(flow.local_addr()?, ([203, 0, 113, 7], 53).into());
/// let mut buf = [0; 100];
/// assert_eq!(flow.recv(&mut buf)?, 4);
/// flow.send(b"me")?;
/// assert_eq!(asking.recv_from(&mut buf)?, (2, ([203, 0, 113, 7], 53).into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdpInterceptor {
    pub(crate) sockets: Arc<Interceptors>,
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
        let sockets = Interceptors::new(handle.as_ref(), SocketKind::Datagram, options)?;
        Ok(UdpInterceptor { sockets: Arc::new(sockets) })
    }

    /// Waits for the next flow. Returns a socket that is connected to the source, and whose local
    /// address is the destination; and the source. Its first datagrams wait in the socket.
    ///
    /// A flow that is idle for too long ends
    /// ([`InterceptionConfig::flow_timeout`](portolan::InterceptionConfig::flow_timeout)): `recv`
    /// fails with `TimedOut`, and the next datagram is of a new flow.
    pub fn accept(&self) -> io::Result<(UdpSocket, SocketAddr)> {
        let (_, (socket, source)) = self.sockets.wait_for(|calls| calls.accept())?;
        Ok((UdpSocket::of(socket), source))
    }

    /// Returns another handle to the same interceptor.
    pub fn try_clone(&self) -> io::Result<UdpInterceptor> {
        Ok(UdpInterceptor { sockets: self.sockets.clone() })
    }

    /// Sets whether [`accept`](UdpInterceptor::accept) returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.sockets.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Stops intercepting, for all clones. Threads in [`accept`](UdpInterceptor::accept) get EBADF.
    /// Accepted flows go on.
    pub fn close(&self) -> io::Result<()> {
        self.sockets.close()
    }

    /// Sets an option for flows that begin from now on.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.set_option(option)
    }
}

impl Interceptors {
    fn new(handle: &Handle, kind: SocketKind, options: &[SocketOption]) -> io::Result<Interceptors> {
        let on = |stack: u16| {
            let socket = Socket::new(handle, stack, Domain::V4, kind, options)?;
            socket.call(|stack, _, d| stack.intercept(d))?;
            Ok::<_, io::Error>(socket)
        };
        let (first, bell) = (on(0)?, Arc::new(Bell::default()));
        let others =
            (1..handle.stacks.count()).map(|stack| on(stack as u16)).collect::<io::Result<Vec<_>>>()?;
        let sockets = Interceptors { first, others, bell, turn: AtomicUsize::new(0) };
        if !sockets.others.is_empty() {
            (0..sockets.count()).for_each(|index| sockets.at(index).ring_on_read(&sockets.bell));
        }
        Ok(sockets)
    }

    pub(crate) fn all(&self) -> SocketsOf<'_> {
        SocketsOf { first: &self.first, others: &self.others }
    }

    /// Whether they are closed, or the runtime is over.
    #[cfg(feature = "futures-core")]
    pub(crate) fn is_over(&self) -> bool {
        self.first.call(|stack, _, d| stack.readiness(d)).is_err()
    }

    fn count(&self) -> usize {
        1 + self.others.len()
    }

    fn at(&self, index: usize) -> &Socket {
        index.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }

    /// What `call` gets from one of the sockets, and the number of that socket.
    fn wait_for<R>(&self, call: impl Fn(Calls<'_>) -> io::Result<R>) -> io::Result<(usize, R)> {
        if self.others.is_empty() {
            return Ok((0, call(self.first.calls())?));
        }
        let try_each = || self.try_each(|socket| call(socket.calls_at_once()));
        if self.first.is_nonblocking() {
            return try_each();
        }
        self.bell.wait_for(try_each)
    }

    /// What `call` gets from one of the sockets for a task, which is woken if there is nothing yet,
    /// and the number of that socket.
    pub(crate) fn call_of_task<R>(
        &self,
        task: Task<'_>,
        call: impl Fn(Calls<'_>) -> io::Result<R>,
    ) -> io::Result<(usize, R)> {
        self.try_each(|socket| call(socket.calls_of(task)))
    }

    fn try_each<R>(&self, call: impl Fn(&Socket) -> io::Result<R>) -> io::Result<(usize, R)> {
        let (count, turn) = (self.count(), self.turn.fetch_add(1, Ordering::Relaxed));
        let mut nothing = io::Error::from(io::ErrorKind::WouldBlock);
        for index in (0..count).map(|step| (turn.wrapping_add(step)) % count) {
            match call(self.at(index)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => nothing = error,
                result => return Ok((index, result?)),
            }
        }
        Err(nothing)
    }

    /// Sets whether calls return `WouldBlock` instead of waiting.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.first.set_nonblocking(nonblocking);
    }

    pub(crate) fn close(&self) -> io::Result<()> {
        let mut result = Ok(());
        for index in 0..self.count() {
            result = result.and(self.at(index).close());
        }
        result
    }

    pub(crate) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        (0..self.count()).try_for_each(|index| self.at(index).set_option(option))
    }
}

/// A connection to another host that waits for a decision. Dropped without one, it is reset.
#[derive(Debug)]
pub struct PendingStream {
    sockets: Arc<Interceptors>,
    /// The number of the socket that has it.
    index: usize,
    pending: PendingConnection,
    is_decided: bool,
    /// Whether a poll may have left the waker of a task.
    is_polled: AtomicBool,
}

impl PendingStream {
    pub(crate) fn of(sockets: &Arc<Interceptors>, index: usize, pending: PendingConnection) -> PendingStream {
        PendingStream {
            sockets: sockets.clone(),
            index,
            pending,
            is_decided: false,
            is_polled: AtomicBool::new(false),
        }
    }

    /// Answers it.
    pub(crate) fn begin_accepting(&self) -> io::Result<Socket> {
        self.socket().begin_accepting(&self.pending)
    }

    /// Polls whether it needs no decision any more, or the runtime is over.
    pub(crate) fn poll_cancelled(&self, task: Task<'_>) -> Poll<()> {
        if task.slot == TaskSlot::Polls {
            self.is_polled.store(true, Ordering::Relaxed);
        }
        match self.socket().is_cancelled_for_task(self.pending.id, task) {
            Ok(false) => Poll::Pending,
            Ok(true) | Err(_) => Poll::Ready(()),
        }
    }

    /// Removes a task that no longer waits.
    pub(crate) fn forget_cancel_waiter(&self, slot: TaskSlot) {
        self.socket().forget_cancel_waiter(self.pending.id, slot);
    }

    /// The address that opens the connection.
    pub fn source(&self) -> SocketAddr {
        self.pending.source
    }

    /// The address that the connection is for.
    pub fn destination(&self) -> SocketAddr {
        self.pending.destination
    }

    /// The interface that it came in through.
    pub fn interface(&self) -> InterfaceId {
        self.pending.iface
    }

    /// The zone of that interface.
    pub fn zone(&self) -> Zone {
        self.pending.zone
    }

    /// Whether it needs no decision any more: the source has given it up, or it waited for too
    /// long. Every decision then fails with `ConnectionAborted`.
    pub fn is_cancelled(&self) -> io::Result<bool> {
        self.socket().call(|stack, _, d| Ok(!stack.is_pending(d, self.pending.id)?))
    }

    /// Waits until it needs no decision any more (see
    /// [`is_cancelled`](PendingStream::is_cancelled)), at most `timeout`; without one for ever.
    /// Returns whether that is so.
    ///
    /// A thread can wait here while another one, with the same reference, connects to the
    /// destination.
    pub fn cancelled(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.socket().wait_cancelled(self.pending.id, timeout)
    }

    /// Accepts it: answers, and waits until the connection is established, for as long as the stack
    /// repeats its answer (a minute).
    pub fn accept(self) -> io::Result<TcpStream> {
        self.accept_within(None)
    }

    /// Like [`accept`](PendingStream::accept), but resets the connection and fails with `TimedOut`
    /// if it is not established within this time.
    pub fn accept_timeout(self, timeout: Duration) -> io::Result<TcpStream> {
        self.accept_within(Some(timeout))
    }

    fn accept_within(self, timeout: Option<Duration>) -> io::Result<TcpStream> {
        // If there is no room for it, it is still pending, and reset when this returns.
        Ok(TcpStream::of(self.socket().accept_pending(&self.pending, timeout)?))
    }

    /// Refuses it.
    pub fn reject(mut self, how: Rejection) -> io::Result<()> {
        self.is_decided = true;
        self.socket().call(|stack, now, d| stack.reject_pending(now, d, self.pending.id, how))
    }

    /// Refuses it in the way in which the destination has refused the program's own connection: an
    /// error of `connect`, of this crate or of the host.
    ///
    /// | error | answer |
    /// |---|---|
    /// | `HostUnreachable`, `NetworkUnreachable`, `PermissionDenied` | the ICMP error that means it |
    /// | `TimedOut` | none ([`IgnoreReason::Silence`]) |
    /// | the program has no more descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM) | none ([`IgnoreReason::Overload`]) |
    /// | every other, such as `ConnectionRefused` | a reset |
    pub fn reject_because(self, error: &io::Error) -> io::Result<()> {
        match (error.kind(), unreachable_for(error)) {
            (io::ErrorKind::TimedOut, _) => self.ignore(IgnoreReason::Silence),
            _ if is_out_of_resources(error) => self.ignore(IgnoreReason::Overload),
            (_, None | Some(Unreachable::Port)) => self.reject(Rejection::Reset),
            (_, Some(what)) => self.reject(Rejection::Unreachable(what)),
        }
    }

    /// Leaves it without an answer, and counts why. If the SYN is repeated, it comes again.
    pub fn ignore(mut self, why: IgnoreReason) -> io::Result<()> {
        self.is_decided = true;
        self.socket().call(|stack, now, d| stack.ignore_pending(now, d, self.pending.id, why))
    }

    /// The intercepting socket that has it.
    pub(crate) fn socket(&self) -> &Socket {
        self.sockets.at(self.index)
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        if self.is_polled.load(Ordering::Relaxed) {
            self.forget_cancel_waiter(TaskSlot::Polls);
        }
        if !self.is_decided {
            // It may be cancelled, or the runtime over.
            let reset = |stack: &mut portolan::Owner<'_>, now, d| {
                stack.reject_pending(now, d, self.pending.id, Rejection::Reset)
            };
            let _ = self.socket().call(reset);
        }
    }
}

impl HasSockets for TcpInterceptor {
    fn sockets(&self) -> SocketsOf<'_> {
        self.sockets.all()
    }
}

impl HasSockets for UdpInterceptor {
    fn sockets(&self) -> SocketsOf<'_> {
        self.sockets.all()
    }
}
