//! Connections and flows to any address, which tasks decide about.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use portolan::{Config, Interception, Rejection, SocketOption, Unreachable};
use portolan_runtime::device::MemoryPair;
use portolan_runtime::task::{
    PendingStream, TcpInterceptor, TcpSocket, TcpStream, UdpInterceptor, UdpSocket,
};
use portolan_runtime::{Builder, Handle, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::{addresses, config};

const DESTINATION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 443);
/// How long a test waits to see that something does not happen.
const SHORT: Duration = Duration::from_millis(30);

/// A host that takes packets for every address, and a host whose packets it gets.
fn pair_with(config_of_proxy: Config) -> (Runtime, Runtime) {
    let (a, b) = MemoryPair::new().build().unwrap();
    let proxy = Builder::new().config(config_of_proxy).seed([1; 32]).interface(a, addresses(1));
    let client = Builder::new().config(config()).seed([2; 32]).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).gateway("fd00::1".parse().unwrap());
    (proxy.intercept(Interception::all()).start().unwrap(), client.start().unwrap())
}

fn pair() -> (Runtime, Runtime) {
    pair_with(config())
}

/// Runs a test as a task, which fails if it takes longer than half a minute.
fn run(test: impl Future<Output = ()>) {
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    executor.block_on(async {
        timeout(Duration::from_secs(30), test).await.expect("a task was not woken");
    });
}

fn connect(client: &Handle, to: SocketAddr) -> JoinHandle<Result<TcpStream, ErrorKind>> {
    let client = client.clone();
    tokio::spawn(async move { TcpStream::connect(&client, to).await.map_err(|error| error.kind()) })
}

/// Opens a connection from this port, as [`connect`] does.
fn connect_from(client: &Handle, port: u16) -> JoinHandle<Result<TcpStream, ErrorKind>> {
    let socket = TcpSocket::new_v4(client).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([10, 0, 0, 2], port)).unwrap();
    tokio::spawn(async move { socket.connect(DESTINATION).await.map_err(|error| error.kind()) })
}

/// The source gives a connection up, and opens another one from the same port.
async fn replace(client: &Handle, port: u16, first: JoinHandle<Result<TcpStream, ErrorKind>>) {
    first.abort();
    first.await.unwrap_err();
    connect_from(client, port);
}

#[test]
fn a_client_that_is_refused_is_never_accepted_first() {
    run(async {
        let (proxy, client) = pair();
        let interceptor = TcpInterceptor::new(&proxy).unwrap();
        let handle = proxy.handle().clone();
        let deciding = tokio::spawn(async move {
            for _ in 0..2 {
                let pending = interceptor.next().await.unwrap();
                // Nobody listens on this port of the proxy.
                let upstream = TcpStream::connect(&handle, ([10, 0, 0, 1], 9)).await;
                let how = match upstream.unwrap_err().kind() {
                    ErrorKind::ConnectionRefused => Rejection::Unreachable(Unreachable::Port),
                    other => panic!("{other:?}"),
                };
                tokio::time::sleep(SHORT).await;
                pending.reject(how).unwrap();
            }
        });
        for to in [DESTINATION, "[2001:db8::7]:443".parse().unwrap()] {
            let mut connecting = connect(client.handle(), to);
            assert!(timeout(SHORT / 2, &mut connecting).await.is_err(), "the SYN is not answered yet");
            assert_eq!(connecting.await.unwrap().unwrap_err(), ErrorKind::ConnectionRefused);
        }
        deciding.await.unwrap();
        assert_eq!(proxy.handle().stats().interception.accepted, 0);
        assert_eq!(client.handle().stats().tcp.resets_received, 0, "a reset would follow a SYN-ACK");
    });
}

#[test]
fn a_connection_is_accepted_when_the_task_says_so() {
    run(async {
        let (proxy, client) = pair();
        let interceptor = TcpInterceptor::with_options(&proxy, &[SocketOption::NoDelay(true)]).unwrap();
        let mut connecting = connect(client.handle(), DESTINATION);
        let pending = interceptor.next().await.unwrap();
        assert_eq!((pending.destination(), pending.is_cancelled().unwrap()), (DESTINATION, false));
        assert_eq!(pending.interface(), proxy.handle().interfaces()[0].id);
        assert!(timeout(SHORT, &mut connecting).await.is_err(), "the SYN is not answered yet");
        let source = pending.source();
        let mut far = pending.accept().await.unwrap();
        let mut near = connecting.await.unwrap().unwrap();
        assert_eq!((far.local_addr().unwrap(), far.peer_addr().unwrap()), (DESTINATION, source));
        assert_eq!(near.local_addr().unwrap(), source);
        assert!(far.nodelay().unwrap());
        far.write_all(b"hello").await.unwrap();
        drop(far);
        let mut words = String::new();
        near.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "hello");
    });
}

#[test]
fn dropping_resets_before_and_after_the_decision() {
    run(async {
        let (proxy, client) = pair();
        let interceptor = TcpInterceptor::new(&proxy).unwrap();
        let connecting = connect(client.handle(), DESTINATION);
        drop(interceptor.next().await.unwrap());
        assert_eq!(connecting.await.unwrap().unwrap_err(), ErrorKind::ConnectionRefused);

        // The client is gone, so the connection is never established.
        connect(client.handle(), DESTINATION);
        let pending = interceptor.next().await.unwrap();
        drop(client);
        assert!(timeout(SHORT, pending.accept()).await.is_err());
        assert_eq!(proxy.handle().sockets().len(), 1, "only the interceptor is left");
        assert_eq!(TcpInterceptor::new(&proxy).unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn a_task_learns_that_a_connection_was_cancelled() {
    run(async {
        let mut settings = config();
        settings.interception.pending_timeout = Duration::from_millis(200);
        let (proxy, client) = pair_with(settings);
        let client = client.handle();
        let interceptor = TcpInterceptor::new(&proxy).unwrap();
        let connecting = connect_from(client, 5000);
        let pending = interceptor.next().await.unwrap();
        assert!(timeout(SHORT, pending.cancelled()).await.is_err(), "it still waits for a decision");
        // No task is in `next` meanwhile.
        replace(client, 5000, connecting).await;
        pending.cancelled().await;
        assert!(pending.is_cancelled().unwrap());
        assert_eq!(pending.accept().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);

        // The second one waits for too long, while a task is in `next`.
        let second = interceptor.next().await.unwrap();
        let next = tokio::spawn(async move { interceptor.next().await.map(|_| ()) });
        second.cancelled().await;
        second.cancelled().await;
        assert_eq!(second.reject(Rejection::Reset).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        next.abort();
    });
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn polls_cancelled(pending: &PendingStream, wakes: &Arc<Wakes>) -> Poll<()> {
    pending.poll_cancelled(&mut Context::from_waker(&Waker::from(wakes.clone())))
}

#[test]
fn only_the_tasks_of_a_cancelled_connection_are_woken() {
    run(async {
        let (proxy, client) = pair();
        let client = client.handle();
        let interceptor = TcpInterceptor::new(&proxy).unwrap();
        let mut waiting = Vec::new();
        for port in 5000..5003 {
            let connecting = connect_from(client, port);
            let pending = interceptor.next().await.unwrap();
            let wakes = Arc::new(Wakes::default());
            assert!(polls_cancelled(&pending, &wakes).is_pending());
            // Only the last task that polls is woken.
            assert!(polls_cancelled(&pending, &Arc::default()).is_pending());
            assert!(polls_cancelled(&pending, &wakes).is_pending());
            waiting.push((port, pending, wakes, connecting));
        }
        let (_, dropped, wakes_of_dropped, _) = waiting.remove(0);
        drop(dropped);
        let (port, pending, wakes, connecting) = waiting.remove(0);
        replace(client, port, connecting).await;
        // Two futures and a poll wait for one connection.
        tokio::join!(pending.cancelled(), pending.cancelled());
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(polls_cancelled(&pending, &wakes).is_ready());
        let (_, other, wakes_of_other, _) = waiting.remove(0);
        assert_eq!(wakes_of_other.0.load(Ordering::SeqCst), 0);
        assert_eq!(wakes_of_dropped.0.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&wakes_of_dropped), 1, "its waker is removed");
        // Closing ends every wait.
        interceptor.close().unwrap();
        assert_eq!(wakes_of_other.0.load(Ordering::SeqCst), 1);
        other.cancelled().await;
    });
}

#[test]
fn closing_and_the_end_of_the_runtime_end_all_waits() {
    run(async {
        for closes in [true, false] {
            let (proxy, client) = pair();
            let interceptor = Arc::new(TcpInterceptor::new(&proxy).unwrap());
            connect(client.handle(), DESTINATION);
            let pending = interceptor.next().await.unwrap();
            let cancelled = tokio::spawn(async move { pending.cancelled().await });
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let interceptor = interceptor.clone();
                    tokio::spawn(async move { interceptor.next().await.unwrap_err().raw_os_error() })
                })
                .collect();
            tokio::time::sleep(SHORT).await;
            if closes {
                interceptor.close().unwrap();
            } else {
                drop(proxy);
            }
            cancelled.await.unwrap();
            for task in tasks {
                let bad_descriptor = std::io::Error::from(portolan::Error::BadDescriptor).raw_os_error();
                assert_eq!(task.await.unwrap() == bad_descriptor, closes);
            }
        }
    });
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

#[test]
fn interceptors_are_streams() {
    run(async {
        let (proxy, client) = pair();
        let mut interceptor = TcpInterceptor::new(&proxy).unwrap();
        for _ in 0..3 {
            let connecting = connect(client.handle(), DESTINATION);
            let pending = next(&mut interceptor).await.unwrap().unwrap();
            let _far = pending.accept().await.unwrap();
            connecting.await.unwrap().unwrap();
        }
        interceptor.close().unwrap();
        assert!(next(&mut interceptor).await.is_none());

        let mut flows = UdpInterceptor::new(&proxy).unwrap();
        let asking = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).await.unwrap();
        asking.send_to(b"x", DESTINATION).await.unwrap();
        let (_flow, source) = next(&mut flows).await.unwrap().unwrap();
        assert_eq!(source, asking.local_addr().unwrap());
        drop(proxy);
        assert!(next(&mut flows).await.is_none());
    });
}

#[test]
fn datagrams_to_any_address_are_flows_of_tasks() {
    run(async {
        let (proxy, client) = pair();
        let interceptor = UdpInterceptor::new(&proxy).unwrap();
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                let (flow, source) = interceptor.accept().await.unwrap();
                assert_eq!(flow.peer_addr().unwrap(), source);
                tokio::spawn(async move {
                    let mut buf = [0; 100];
                    while let Ok(len) = flow.recv(&mut buf).await {
                        match &buf[..len] {
                            b"go away" => flow.reject_flow(Unreachable::Port).unwrap(),
                            other => assert_eq!(flow.send(other).await.unwrap(), len),
                        }
                    }
                });
            }
            interceptor
        });
        for (from, to) in [("10.0.0.2:0", "203.0.113.7:53"), ("[fd00::2]:0", "[2001:db8::7]:53")] {
            let socket = UdpSocket::bind(&client, from.parse::<SocketAddr>().unwrap()).await.unwrap();
            socket.connect(to.parse::<SocketAddr>().unwrap()).await.unwrap();
            let mut buf = [0; 100];
            for number in 0..20 {
                socket.send(&[number; 50]).await.unwrap();
                assert_eq!(socket.recv(&mut buf).await.unwrap(), 50);
                assert_eq!(buf[..50], [number; 50]);
            }
            socket.send(b"go away").await.unwrap();
            assert_eq!(socket.recv(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        // The interceptor can serve threads from now on.
        let interceptor = serving.await.unwrap().into_blocking();
        interceptor.set_nonblocking(true).unwrap();
        assert_eq!(interceptor.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}
