//! [`relay`]: joins two TCP streams.
//!
//! The files in reading order: `config` (what a caller gives and gets), `machine` (the state of a
//! relay, without waiting), `stack_end` and `host_end` (the streams that it joins), `host_stream`
//! (what those of the host have in common). Tasks drive the same machine in `task/relay.rs`.

pub(crate) mod config;
mod host_end;
pub(crate) mod host_stream;
pub(crate) mod machine;
pub(crate) mod stack_end;

use std::io;
use std::net::TcpStream as HostStream;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use smallvec::SmallVec;

use crate::clock::Clock;
use crate::platform::poll::{PollFd, PollFlags, poll};
use crate::platform::signal::Signal;
use crate::tcp::TcpStream;

use config::{RelayConfig, Relayed};
use host_end::HostEnd;
use machine::RelayMachine;
use sealed::{BlockingEnd, IntoEnd};
use stack_end::StackEnd;

/// A TCP stream that [`relay`] can join to another: a [`TcpStream`] of this crate, or one of std.
///
/// It is implemented for these two only.
pub trait RelayStream: sealed::IntoEnd {}

impl RelayStream for TcpStream {}
impl RelayStream for HostStream {}

pub(crate) mod sealed {
    use std::io;

    use crate::platform::poll::{PollFd, PollFlags};
    use crate::relay::machine::End;

    pub trait IntoEnd {
        type End: BlockingEnd;

        fn into_end(self) -> io::Result<Self::End>;
    }

    /// An end that a thread can wait for.
    pub trait BlockingEnd: End {
        /// What to poll for it, if it does not wake the task of the context.
        fn poll_fd(&self) -> Option<PollFd<'_>>;

        fn on_polled(&mut self, flags: PollFlags);
    }
}

/// Joins two connections: what comes from one is sent on the other, until both peers have ended
/// their half. Takes the calling thread for that time; [`task::relay`](crate::task::relay) is for
/// tasks.
///
/// The peers see each other as if they were connected:
///
/// - **The end of a half** is passed on behind its data, and the other direction goes on.
/// - **Back-pressure**: data is read when the other stream has room.
/// - **A failure** of one connection, by a reset or because its peer became unreachable, resets the
///   other: after all that came before was delivered and acknowledged, so that nothing is lost. A
///   single ICMP error does not end a connection (RFC 9293 §3.9.2.2), and is not passed on.
/// - **Urgent data** is passed on as other data is.
///
/// Between two streams of this crate, data is lent and not copied. Nagle's algorithm is switched
/// off on both streams, since the senders have used it. Clones of the streams must not be used any
/// more: the relay closes or resets those of this crate for all clones, and makes those of the host
/// nonblocking.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
/// use portolan::Interception;
/// use portolan_runtime::{Builder, TcpInterceptor, TcpStream, device::memory_pair, relay};
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
/// // All connections to other hosts end at a server of this host.
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let upstream = server.local_addr()?;
/// let interceptor = TcpInterceptor::new(&proxy)?;
/// let relaying = std::thread::spawn(move || {
///     let pending = interceptor.next()?;
///     let upstream = std::net::TcpStream::connect(upstream)?;
///     relay(pending.accept()?, upstream)
/// });
/// # let serving = std::thread::spawn(move || {
/// #     let (mut stream, _) = server.accept()?;
/// #     let mut request = String::new();
/// #     stream.read_to_string(&mut request)?;
/// #     stream.write_all(request.to_uppercase().as_bytes())
/// # });
///
/// let mut stream = TcpStream::connect(&client, ([203, 0, 113, 7], 7))?;
/// stream.write_all(b"hello")?;
/// stream.shutdown(Shutdown::Write)?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer)?;
/// assert_eq!(answer, "HELLO");
/// let relayed = relaying.join().unwrap()?;
/// assert_eq!((relayed.a_to_b, relayed.b_to_a), (5, 5));
/// # serving.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An error means that the relay could not begin or wait, for want of descriptors; both streams are
/// reset or closed. How it ended otherwise is in [`Relayed::end`].
pub fn relay(a: impl RelayStream, b: impl RelayStream) -> io::Result<Relayed> {
    relay_with(a, b, &RelayConfig::default())
}

/// Like [`relay`], with other time-outs.
pub fn relay_with(a: impl RelayStream, b: impl RelayStream, config: &RelayConfig) -> io::Result<Relayed> {
    let mut machine = RelayMachine::new(a.into_end()?, b.into_end()?, config, Clock::now());
    let alarm = Arc::new(Alarm(Signal::new()?));
    let waker = Waker::from(alarm.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(relayed) = machine.poll(&mut cx, Clock::now()) {
            return Ok(relayed);
        }
        let [woken, a, b] = wait(&alarm, &machine)?;
        if !woken.is_empty() {
            // Cleared before the machine is polled: a wake-up from now on is seen by the next wait.
            alarm.0.clear();
        }
        let (end_a, end_b) = machine.ends();
        end_a.on_polled(a);
        end_b.on_polled(b);
    }
}

/// Sleeps until a stream of the stack wakes the alarm, a descriptor of the host is ready, or the
/// machine has a deadline. Returns what the alarm, `a` and `b` are ready for.
fn wait<A: BlockingEnd, B: BlockingEnd>(
    alarm: &Alarm,
    machine: &RelayMachine<A, B>,
) -> io::Result<[PollFlags; 3]> {
    let of_ends = [machine.a().poll_fd(), machine.b().poll_fd()];
    let is_polled = of_ends.each_ref().map(Option::is_some);
    let of_alarm = PollFd::from_borrowed_fd(alarm.0.as_fd(), PollFlags::IN);
    let mut fds: SmallVec<[PollFd<'_>; 3]> =
        std::iter::once(of_alarm).chain(of_ends.into_iter().flatten()).collect();
    poll(&mut fds, machine.deadline().map(Clock::until))?;
    let mut ready = fds.iter().map(PollFd::revents);
    let mut next = |is_polled: bool| is_polled.then(|| ready.next()).flatten().unwrap_or(PollFlags::empty());
    Ok([next(true), next(is_polled[0]), next(is_polled[1])])
}

/// Wakes the thread of a relay.
#[derive(Debug)]
struct Alarm(Signal);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raise();
    }
}

impl IntoEnd for TcpStream {
    type End = StackEnd;

    fn into_end(self) -> io::Result<StackEnd> {
        Ok(StackEnd::new(self.socket))
    }
}

impl BlockingEnd for StackEnd {
    fn poll_fd(&self) -> Option<PollFd<'_>> {
        None
    }

    fn on_polled(&mut self, _: PollFlags) {}
}

impl IntoEnd for HostStream {
    type End = HostEnd;

    fn into_end(self) -> io::Result<HostEnd> {
        HostEnd::new(self)
    }
}

impl BlockingEnd for HostEnd {
    fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.poll_fd()
    }

    fn on_polled(&mut self, flags: PollFlags) {
        self.on_polled(flags);
    }
}
