//! Sockets for tasks of async programs, modelled on `tokio::net`.
//!
//! The names and the behaviour are those of tokio's types, so a program is ported by changing its
//! `use` lines and by passing a [`Handle`](crate::Handle) to where sockets are made. The sockets
//! work on every executor: the thread that drives the stack wakes tasks by their
//! [`Waker`](std::task::Waker). Features add the traits of others:
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `axum::serve::Listener` for [`TcpListener`] and [`UnixListener`] |
//! | `futures-core` | `futures_core::Stream` for the interceptors |
//! | `futures-io` | `futures_io::AsyncRead` and `AsyncWrite` (version 0.3), the traits of async-std, smol and libraries without an executor |
//! | `quinn` | `quinn::AsyncUdpSocket`, as `QuinnSocket` |
//! | `tokio` | `tokio::io::AsyncRead` and `AsyncWrite`, the `poll_*` functions that take a `ReadBuf`, tokio's cooperative budget, and [`relay()`] |
//! | `tonic` | `tonic::transport::server::Connected` for [`TcpStream`] |
//!
//! All features can be on at once. Programs import the traits that they use.
//!
//! All `async` functions here are cancel safe, with one exception: a dropped [`TcpStream::connect`]
//! ends the attempt. A dropped call has received and sent nothing. The `poll` functions of a socket
//! have one waker for each direction, that of the task which polled last; `async` functions have
//! one for each call. An event wakes all of them.
//!
//! What is not as in tokio:
//!
//! - There are no file descriptors, so there are no `AsFd`, `AsRawFd`, `from_std` and `into_std`.
//!   `from_blocking` and `into_blocking` convert to and from the types of this crate that block.
//! - [`Interest`] is that of the pollers, and of its flags `READABLE` and `WRITABLE` count.
//! - `readable`, `writable` and `ready` look at the socket, not at what was noted of it earlier, so
//!   they report less often that a socket is ready which is not.
//! - A datagram socket whose reading half was shut down returns 0 from `recv`, as for a thread.
//!
//! ```
//! use std::future::Future;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use portolan_runtime::{Builder, device::memory_pair};
//! use portolan_runtime::task::{TcpListener, TcpStream};
//!
//! # let executor = tokio::runtime::Builder::new_current_thread().build()?;
//! # executor.block_on(async {
//! let (left, right) = memory_pair()?;
//! let server = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
//! let client = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
//!
//! let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 7)).await?;
//! let echo = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await?;
//!     let (mut read, mut write) = stream.split();
//!     tokio::io::copy(&mut read, &mut write).await
//! });
//! let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 7)).await?;
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?;
//! let mut words = String::new();
//! stream.read_to_string(&mut words).await?;
//! assert_eq!(words, "hello");
//! assert_eq!(echo.await??, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "futures-io")]
mod futures_io;
mod halves;
mod interceptor;
#[cfg(feature = "resolver")]
mod lookup_host;
#[cfg(feature = "quinn")]
mod quinn;
mod raw_socket;
mod ready;
#[cfg(feature = "tokio")]
mod relay;
#[cfg(feature = "futures-core")]
mod stream;
mod stream_calls;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod stream_polls;
mod tcp_listener;
mod tcp_socket;
mod tcp_stream;
#[cfg(feature = "tokio")]
mod tokio_io;
#[cfg(feature = "tonic")]
mod tonic;
mod udp_socket;
mod unix_datagram;
mod unix_listener;
mod unix_stream;
mod wait;

pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use interceptor::{PendingStream, TcpInterceptor, UdpInterceptor};
#[cfg(feature = "resolver")]
pub use lookup_host::lookup_host;
pub use portolan::Interest;
#[cfg(feature = "quinn")]
pub use quinn::QuinnSocket;
pub use raw_socket::RawSocket;
pub use ready::Ready;
#[cfg(feature = "tokio")]
pub use relay::{RelayStream, relay, relay_with};
pub use tcp_listener::TcpListener;
pub use tcp_socket::TcpSocket;
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;
pub use unix_datagram::UnixDatagram;
pub use unix_listener::UnixListener;
pub use unix_stream::UnixStream;
