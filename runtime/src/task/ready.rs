//! [`Ready`], and waiting for readiness.

use std::io;

use portolan::{Interest, Readiness};

use crate::engine::direction::Direction;
use crate::plan::refused;

/// What a socket is ready for, modelled on `tokio::io::Ready`.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{Interest, TcpListener, TcpStream};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let stream = TcpStream::connect(&runtime, ([10, 0, 0, 1], 7)).await?;
///
/// let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
/// assert!(ready.is_writable() && !ready.is_readable());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    readiness: Readiness,
    reads: bool,
    writes: bool,
}

impl Ready {
    /// The part of a readiness that a task has asked for.
    pub(super) fn new(readiness: Readiness, interest: Interest) -> Ready {
        Ready {
            readiness,
            reads: interest.contains(Interest::READABLE),
            writes: interest.contains(Interest::WRITABLE),
        }
    }

    /// Whether reading does not wait: there is data, an end of the stream or an error.
    pub fn is_readable(self) -> bool {
        self.reads && (self.readiness.readable || self.is_read_closed())
    }

    /// Whether writing does not wait: there is room, or an error.
    pub fn is_writable(self) -> bool {
        self.writes && (self.readiness.writable || self.is_write_closed())
    }

    /// Whether no more data will come: the peer has ended its half, or the connection is over.
    pub fn is_read_closed(self) -> bool {
        self.reads && (self.readiness.peer_closed || self.readiness.hung_up)
    }

    /// Whether no more data can be sent.
    pub fn is_write_closed(self) -> bool {
        self.writes && (self.readiness.hung_up || self.readiness.error)
    }

    /// Whether an error waits for the next call.
    pub fn is_error(self) -> bool {
        self.readiness.error
    }

    /// Whether the socket is ready for nothing.
    pub fn is_empty(self) -> bool {
        !(self.is_readable() || self.is_writable() || self.is_error())
    }
}

/// The directions of an interest.
pub(super) fn directions(interest: Interest) -> io::Result<&'static [Direction]> {
    match (interest.contains(Interest::READABLE), interest.contains(Interest::WRITABLE)) {
        (true, true) => Ok(&[Direction::Read, Direction::Write]),
        (true, false) => Ok(&[Direction::Read]),
        (false, true) => Ok(&[Direction::Write]),
        (false, false) => {
            Err(refused("an interest in nothing: give Interest::READABLE, Interest::WRITABLE, or both"))
        }
    }
}

/// The methods that wait for readiness, for a type with a method `socket`.
macro_rules! readiness_calls {
    ($type:ident $(<$($life:lifetime,)? $param:ident: $bound:ident>)?) => {
        /// Waiting for readiness.
        impl $(<$($life,)? $param: $bound>)? $type $(<$($life,)? $param>)? {
            /// Waits until the socket is ready for one of these. Cancel safe.
            pub async fn ready(
                &self,
                interest: ::portolan::Interest,
            ) -> ::std::io::Result<$crate::task::Ready> {
                let directions = $crate::task::ready::directions(interest)?;
                let ready = $crate::task::wait::call(self.socket(), |calls| calls.ready(directions, None));
                ready.await.map(|(readiness, _)| $crate::task::Ready::new(readiness, interest))
            }

            /// Waits until there is something to read, or nothing more will come. Cancel safe.
            pub async fn readable(&self) -> ::std::io::Result<()> {
                self.ready(::portolan::Interest::READABLE).await.map(|_| ())
            }

            /// Waits until there is room to write, or there never will be. Cancel safe.
            pub async fn writable(&self) -> ::std::io::Result<()> {
                self.ready(::portolan::Interest::WRITABLE).await.map(|_| ())
            }

            /// Polls for something to read. The last task that polled is woken.
            pub fn poll_read_ready(
                &self,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let directions = &[$crate::engine::direction::Direction::Read];
                $crate::task::wait::poll_call(cx, self.socket(), |calls| calls.ready(directions, None).map(|_| ()))
            }

            /// Polls for room to write. The last task that polled is woken.
            pub fn poll_write_ready(
                &self,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let directions = &[$crate::engine::direction::Direction::Write];
                $crate::task::wait::poll_call(cx, self.socket(), |calls| calls.ready(directions, None).map(|_| ()))
            }

            /// Calls `io` if the socket is ready for this, or else returns `WouldBlock`.
            pub fn try_io<R>(
                &self,
                interest: ::portolan::Interest,
                io: impl FnOnce() -> ::std::io::Result<R>,
            ) -> ::std::io::Result<R> {
                let directions = $crate::task::ready::directions(interest)?;
                self.socket().calls_at_once().ready(directions, None)?;
                io()
            }

            /// Waits until the socket is ready for this, and calls `io`. Repeats that after the
            /// next event if `io` returns `WouldBlock`.
            ///
            /// ```
            /// # use portolan_runtime::{Builder, device::memory_pair};
            /// # use portolan_runtime::task::{Interest, TcpListener, TcpStream};
            /// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
            /// # executor.block_on(async {
            /// # let (device, _other_end) = memory_pair()?;
            /// # let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
            /// # let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).await?;
            /// # let stream = TcpStream::connect(&runtime, ([10, 0, 0, 1], 7)).await?;
            /// let (peer, _) = listener.accept().await?;
            /// peer.try_write(b"hello")?;
            /// let mut buf = [0; 8];
            /// let len = stream.async_io(Interest::READABLE, || stream.try_read(&mut buf)).await?;
            /// assert_eq!(&buf[..len], b"hello");
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// # })?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub async fn async_io<R>(
                &self,
                interest: ::portolan::Interest,
                mut io: impl FnMut() -> ::std::io::Result<R>,
            ) -> ::std::io::Result<R> {
                let directions = $crate::task::ready::directions(interest)?;
                let mut seen = None;
                loop {
                    let ready = $crate::task::wait::call(self.socket(), |calls| calls.ready(directions, seen));
                    let (_, now_seen) = ready.await?;
                    match io() {
                        Err(error) if error.kind() == ::std::io::ErrorKind::WouldBlock => {
                            seen = Some(now_seen);
                        }
                        result => return result,
                    }
                }
            }
        }
    };
}

pub(super) use readiness_calls;
