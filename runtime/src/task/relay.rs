//! [`relay`]: joins two TCP streams in a task.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream as HostStream;
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::platform::host_tcp;
use crate::relay::config::{RelayConfig, Relayed};
use crate::relay::host_stream::{io_slices, read_slices};
use crate::relay::machine::{End, RelayMachine, advance};
use crate::relay::stack_end::StackEnd;
use crate::socket::stream::Slices;
use crate::task::TcpStream;

use sealed::IntoEnd;

/// A TCP stream that [`relay`] can join to another: a [`TcpStream`] of this module, or one of
/// tokio.
///
/// It is implemented for these two only.
pub trait RelayStream: sealed::IntoEnd {}

impl RelayStream for TcpStream {}
impl RelayStream for HostStream {}

mod sealed {
    use std::io;

    use crate::relay::machine::End;

    pub trait IntoEnd {
        type End: End + Send;

        fn into_end(self) -> io::Result<Self::End>;
    }
}

/// Joins two connections as [`relay`](crate::relay()) does, in a task of tokio whose executor has
/// its time enabled. Dropping the future resets both.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{TcpListener, TcpStream, relay};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// // What connects to port 7 of the stack is joined to a server of this host.
/// let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let upstream = server.local_addr()?;
/// let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let relaying = tokio::spawn(async move {
///     let (stream, _) = listener.accept().await?;
///     relay(stream, tokio::net::TcpStream::connect(upstream).await?).await
/// });
///
/// let mut near = TcpStream::connect(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let (mut far, _) = server.accept().await?;
/// near.write_all(b"hello").await?;
/// drop(near);
/// let mut words = String::new();
/// far.read_to_string(&mut words).await?;
/// assert_eq!(words, "hello");
/// drop(far);
/// assert_eq!(relaying.await??.a_to_b, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An error means that the relay could not begin. How it ended is in [`Relayed::end`].
pub async fn relay(a: impl RelayStream, b: impl RelayStream) -> io::Result<Relayed> {
    relay_with(a, b, &RelayConfig::default()).await
}

/// Like [`relay`], with other time-outs.
pub async fn relay_with(
    a: impl RelayStream,
    b: impl RelayStream,
    config: &RelayConfig,
) -> io::Result<Relayed> {
    let mut machine = RelayMachine::new(a.into_end()?, b.into_end()?, config, Clock::now());
    let mut timer = Timer::default();
    Ok(poll_fn(|cx| poll(&mut machine, &mut timer, cx)).await)
}

fn poll<A: End, B: End>(
    machine: &mut RelayMachine<A, B>,
    timer: &mut Timer,
    cx: &mut Context<'_>,
) -> Poll<Relayed> {
    let budget = ready!(tokio::task::coop::poll_proceed(cx));
    let before = machine.bytes();
    loop {
        let polled = machine.poll(cx, Clock::now());
        if polled.is_pending() && timer.poll(machine.deadline(), cx).is_ready() {
            continue;
        }
        if polled.is_ready() || machine.bytes() != before {
            budget.made_progress();
        }
        return polled;
    }
}

/// Wakes a task at the deadline of its relay.
#[derive(Default)]
struct Timer {
    /// It may fire too early, because most deadlines are moved before they come.
    sleep: Option<(portolan::Instant, Pin<Box<Sleep>>)>,
}

impl Timer {
    /// Ready when the deadline has come.
    fn poll(&mut self, deadline: Option<portolan::Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            match &mut self.sleep {
                Some((at, sleep)) if *at <= deadline => {
                    ready!(sleep.as_mut().poll(cx));
                    if Clock::now() >= deadline {
                        self.sleep = None;
                        return Poll::Ready(());
                    }
                    self.sleep = None;
                }
                _ => {
                    let sleep = tokio::time::sleep(Clock::until(deadline));
                    self.sleep = Some((deadline, Box::pin(sleep)));
                }
            }
        }
    }
}

impl IntoEnd for TcpStream {
    type End = StackEnd;

    fn into_end(self) -> io::Result<StackEnd> {
        Ok(StackEnd::new(self.shared_socket().clone()))
    }
}

impl IntoEnd for HostStream {
    type End = HostEnd;

    fn into_end(self) -> io::Result<HostEnd> {
        host_tcp::set_nodelay(&self);
        Ok(HostEnd { stream: Arc::new(self), failure: None })
    }
}

/// A stream of the host as one end of a relay that a task drives.
pub struct HostEnd {
    stream: Arc<HostStream>,
    /// Waits for an error of the connection.
    failure: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for HostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEnd").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl End for HostEnd {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Slices>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match read_slices(|buf| self.stream.try_read(buf)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Slices) -> Poll<io::Result<usize>> {
        let sent = loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(&io_slices(data)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => break result,
            }
        };
        if let Ok(count) = sent {
            advance(data, count);
        }
        Poll::Ready(sent)
    }

    fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let failure = self.failure.get_or_insert_with(|| {
            let stream = self.stream.clone();
            Box::pin(async move {
                // An error means that the executor is shutting down.
                let _ = stream.ready(Interest::ERROR).await;
            })
        });
        ready!(failure.as_mut().poll(cx));
        self.failure = Some(Box::pin(std::future::pending()));
        self.stream.take_error().unwrap_or_else(Some).map_or(Poll::Pending, Poll::Ready)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        host_tcp::end_sending(&*self.stream)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        host_tcp::unacknowledged_bytes(&*self.stream)
    }

    fn reset(&mut self) {
        host_tcp::reset_on_close(&*self.stream);
    }
}
