//! axum's `Listener`, so that `axum::serve` serves on the stack.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use portolan::UnixAddr;

use crate::clock::Clock;
use crate::future::FutureWait;
use crate::handle::Handle;
use crate::task::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How long the listener pauses after an error, as axum's own does.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// With it `axum::serve` takes the listener. `axum::serve::ListenerExt::tap_io` sets options of
/// each connection, and lets handlers extract `ConnectInfo<SocketAddr>`.
///
/// ```
/// use axum::extract::ConnectInfo;
/// use axum::serve::ListenerExt;
/// use axum::{Router, routing::get};
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{TcpListener, TcpStream};
/// use std::net::SocketAddr;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 80)).await?;
///
/// async fn page(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
///     format!("hello, {}", peer.ip())
/// }
/// let router = Router::new().route("/", get(page));
/// let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
/// let service = router.into_make_service_with_connect_info::<SocketAddr>();
/// tokio::spawn(async { axum::serve(listener, service).await });
///
/// let mut stream = TcpStream::connect(&runtime, ([10, 0, 0, 1], 80)).await?;
/// stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?;
/// assert!(answer.ends_with("\r\n\r\nhello, 10.0.0.1"), "{answer}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Listener for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    /// Waits for the next connection. After an error that is not about one connection, such as a
    /// full table of descriptors, it logs the error and tries again a second later. When the
    /// runtime is over no connection ever comes.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match TcpListener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => pause_after(&self.handle(), &error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// The same as for the [`TcpListener`], inside one host.
impl Listener for UnixListener {
    type Io = UnixStream;
    type Addr = UnixAddr;

    async fn accept(&mut self) -> (UnixStream, UnixAddr) {
        loop {
            match UnixListener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => pause_after(&self.handle(), &error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<UnixAddr> {
        UnixListener::local_addr(self)
    }
}

/// Waits as long as it makes sense after an error of `accept`.
async fn pause_after(handle: &Handle, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    log::error!("cannot accept: {error}");
    let (mut waiting, retry_at) = (FutureWait::new(handle), Clock::now() + ACCEPT_RETRY_DELAY);
    if poll_fn(|cx| waiting.poll_time(cx.waker(), Some(retry_at))).await.is_err() {
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use portolan::Medium::Ip;

    use super::*;
    use crate::builder::Builder;
    use crate::device::MemoryPair;

    #[test]
    fn a_unix_listener_is_one_too() {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let (device, _other_end) = MemoryPair::new().mediums(Ip, Ip).build().unwrap();
            let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse().unwrap()]).start().unwrap();
            let mut listener = UnixListener::bind(&runtime, "/run/http").unwrap();
            let near = UnixStream::connect(&runtime, "/run/http").await.unwrap();
            let (far, peer) = Listener::accept(&mut listener).await;
            assert_eq!((peer, far.local_addr().unwrap()), (UnixAddr::UNNAMED, near.peer_addr().unwrap()));
            assert_eq!(Listener::local_addr(&listener).unwrap(), near.peer_addr().unwrap());
        });
    }

    async fn is_ready_at_once(future: impl Future) -> bool {
        let mut future = pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    /// `axum::serve` calls again at once. So the listener pauses, unless only one connection has
    /// failed, and a runtime that is over keeps no processor busy.
    #[test]
    fn pauses_after_errors() {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let (device, _other_end) = MemoryPair::new().mediums(Ip, Ip).build().unwrap();
            let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse().unwrap()]).start().unwrap();
            let mut listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 80)).await.unwrap();
            let handle = runtime.handle().clone();
            let (of_one, of_all) = (io::ErrorKind::ConnectionReset.into(), io::ErrorKind::OutOfMemory.into());
            assert!(is_ready_at_once(pause_after(&handle, &of_one)).await);
            assert!(!is_ready_at_once(pause_after(&handle, &of_all)).await);

            runtime.shutdown(Duration::ZERO).unwrap();
            assert!(!is_ready_at_once(Listener::accept(&mut listener)).await);
        });
    }
}
