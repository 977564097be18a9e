//! Relays between connections: of one stack, of two, and of a stack and the host.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream as HostStream};
use std::thread;
use std::time::Duration;

use portolan::SocketOption;
use portolan_runtime::{RelayConfig, RelayEnd, Relayed, Runtime, TcpStream, relay_with, task};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::common::{connection, pair, pattern, within_time};

/// A stream of the stack or of the host.
enum Stream {
    Ours(TcpStream),
    Host(HostStream),
}

use Stream::{Host, Ours};

impl Stream {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        match self {
            Ours(stream) => (&*stream).write_all(data),
            Host(stream) => (&*stream).write_all(data),
        }
    }

    /// Reads until there is no more. Returns the data, and the error that has ended it.
    fn read_all(&self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut data = Vec::new();
        let result = match self {
            Ours(stream) => (&*stream).read_to_end(&mut data),
            Host(stream) => (&*stream).read_to_end(&mut data),
        };
        (data, result.err().map(|error| error.kind()))
    }

    fn end_sending(&self) {
        match self {
            Ours(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Host(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Bounds what the peer can send before this end reads, and what this end can.
    fn has_small_buffers(&self) {
        const LEN: usize = 200 << 10;
        match self {
            Ours(stream) => {
                stream.set_option(SocketOption::ReceiveBuffer(LEN)).unwrap();
                stream.set_option(SocketOption::SendBuffer(LEN)).unwrap();
            }
            Host(stream) => {
                set_socket_recv_buffer_size(stream, LEN).unwrap();
                set_socket_send_buffer_size(stream, LEN).unwrap();
            }
        }
    }

    fn abort(self) {
        match self {
            Ours(stream) => stream.set_linger(Some(Duration::ZERO)).unwrap(),
            Host(stream) => set_socket_linger(stream, Some(Duration::ZERO)).unwrap(),
        }
    }
}

/// A connection: the end for the relay, and the other one.
fn ends_of_host() -> (Stream, Stream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = HostStream::connect(listener.local_addr().unwrap()).unwrap();
    (Host(listener.accept().unwrap().0), Host(near))
}

fn ends_of_stack(server: &Runtime, client: &Runtime) -> (Stream, Stream) {
    let (far, near) = connection(server, client);
    (Ours(far), Ours(near))
}

/// Two peers, and the relay between them in a thread or a task. `drive` is called for every
/// combination of streams.
fn for_each_relay(config: &RelayConfig, check: impl Fn(&str, Stream, Stream, thread::JoinHandle<Relayed>)) {
    let (one, two) = pair();
    for what in ["one stack", "two stacks", "stack and host", "host and stack"] {
        for in_task in [false, true] {
            let (a, near_a) = match what {
                "host and stack" => ends_of_host(),
                _ => ends_of_stack(&one, &two),
            };
            let (b, near_b) = match what {
                "one stack" | "host and stack" => ends_of_stack(&one, &two),
                "two stacks" => {
                    let (far, near) = ends_of_stack(&one, &two);
                    (near, far)
                }
                _ => ends_of_host(),
            };
            let config = config.clone();
            let relaying = thread::spawn(move || run(a, b, &config, in_task).unwrap());
            check(&format!("{what}, in a task: {in_task}"), near_a, near_b, relaying);
        }
    }
}

fn run(a: Stream, b: Stream, config: &RelayConfig, in_task: bool) -> io::Result<Relayed> {
    if !in_task {
        return match (a, b) {
            (Ours(a), Ours(b)) => relay_with(a, b, config),
            (Ours(a), Host(b)) => relay_with(a, b, config),
            (Host(a), Ours(b)) => relay_with(a, b, config),
            (Host(a), Host(b)) => relay_with(a, b, config),
        };
    }
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let ours = task::TcpStream::from_blocking;
        let host = |stream: HostStream| {
            stream.set_nonblocking(true)?;
            tokio::net::TcpStream::from_std(stream)
        };
        match (a, b) {
            (Ours(a), Ours(b)) => task::relay_with(ours(a), ours(b), config).await,
            (Ours(a), Host(b)) => task::relay_with(ours(a), host(b)?, config).await,
            (Host(a), Ours(b)) => task::relay_with(host(a)?, ours(b), config).await,
            (Host(a), Host(b)) => task::relay_with(host(a)?, host(b)?, config).await,
        }
    })
}

#[test]
fn half_closed_streams_under_back_pressure_arrive_byte_for_byte() {
    const LEN: usize = 5 << 20;
    for_each_relay(&RelayConfig::default(), |what, a, b, relaying| {
        let (to_b, to_a) = (pattern(LEN, 1), pattern(LEN / 8, 2));
        b.has_small_buffers();
        a.has_small_buffers();
        let sent = to_b.clone();
        let sending = thread::spawn(move || {
            a.write_all(&sent).unwrap();
            a.end_sending();
            a
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!sending.is_finished(), "{what}: nobody reads");
        let (b, received) = within_time(move || {
            let received = b.read_all();
            (b, received)
        });
        assert!(received == (to_b, None), "{what}: {} bytes, {:?}", received.0.len(), received.1);
        let a = sending.join().unwrap();
        // The other half goes on, and ends under back-pressure, too.
        let sent = to_a.clone();
        let answering = thread::spawn(move || b.write_all(&sent).unwrap());
        thread::sleep(Duration::from_millis(20));
        let received = within_time(move || a.read_all());
        answering.join().unwrap();
        assert!(received == (to_a, None), "{what}: {} bytes, {:?}", received.0.len(), received.1);
        let relayed = relaying.join().unwrap();
        assert!(matches!(relayed.end, RelayEnd::Closed), "{what}: {relayed:?}");
        assert_eq!((relayed.a_to_b, relayed.b_to_a), (LEN as u64, LEN as u64 / 8), "{what}");
    });
}

#[test]
fn a_reset_passes_behind_the_data_before_it() {
    for_each_relay(&RelayConfig::default(), |what, a, b, relaying| {
        let data = pattern(60_000, 3);
        b.has_small_buffers();
        a.write_all(&data).unwrap();
        // The relay's stack acknowledges it within milliseconds, without B.
        if let Ours(a) = &a {
            while a.info().unwrap().bytes_acked < 60_000 {
                thread::sleep(Duration::from_millis(1));
            }
        } else {
            thread::sleep(Duration::from_millis(200));
        }
        a.abort();
        thread::sleep(Duration::from_millis(20));
        let (received, error) = within_time(move || b.read_all());
        assert!(received == data, "{what}: {} bytes", received.len());
        assert_eq!(error, Some(ErrorKind::ConnectionReset), "{what}");
        let relayed = relaying.join().unwrap();
        match relayed.end {
            RelayEnd::AFailed(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}"),
            end => panic!("{what}: {end:?}"),
        }
        assert_eq!(relayed.a_to_b, 60_000, "{what}");
    });
}

#[test]
fn a_reset_passes_although_the_peer_had_ended_its_half() {
    for_each_relay(&RelayConfig::default(), |what, a, b, relaying| {
        a.end_sending();
        let b = within_time(move || {
            assert_eq!(b.read_all(), (Vec::new(), None));
            b
        });
        a.abort();
        let relayed = within_time(move || relaying.join().unwrap());
        assert!(matches!(relayed.end, RelayEnd::AFailed(_)), "{what}: {relayed:?}");
        // B has read the end of the stream, so a call on the half that sends finds the reset.
        let error = within_time(move || {
            loop {
                if let Err(error) = b.write_all(b"x") {
                    break error.kind();
                }
            }
        });
        assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error), "{what}: {error:?}");
    });
}

#[test]
fn both_are_reset_when_nothing_passes_for_too_long() {
    let mut config = RelayConfig::default();
    config.idle_timeout = Some(Duration::from_millis(50));
    config.half_closed_timeout = None;
    for_each_relay(&config, |what, a, b, relaying| {
        a.write_all(b"hello").unwrap();
        let [a, b] = within_time(move || [a.read_all(), b.read_all()]);
        assert_eq!(a, (Vec::new(), Some(ErrorKind::ConnectionReset)), "{what}");
        assert_eq!(b, (b"hello".to_vec(), Some(ErrorKind::ConnectionReset)), "{what}");
        assert!(matches!(relaying.join().unwrap().end, RelayEnd::Idle), "{what}");
    });
    config.idle_timeout = None;
    config.half_closed_timeout = Some(Duration::from_millis(50));
    for_each_relay(&config, |what, a, b, relaying| {
        b.end_sending();
        let [a, b] = within_time(move || [a.read_all(), b.read_all()]);
        assert_eq!(b, (Vec::new(), Some(ErrorKind::ConnectionReset)), "{what}");
        assert_eq!(a, (Vec::new(), None), "{what}: it has got the end");
        assert!(matches!(relaying.join().unwrap().end, RelayEnd::HalfClosed), "{what}");
    });
}

#[test]
fn a_relay_that_is_dropped_resets_both() {
    let (one, two) = pair();
    let ((a, near_a), (b, near_b)) = (connection(&one, &two), ends_of_host());
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let Host(b) = b else { panic!() };
        b.set_nonblocking(true).unwrap();
        let b = tokio::net::TcpStream::from_std(b).unwrap();
        let relaying = tokio::spawn(task::relay(task::TcpStream::from_blocking(a), b));
        let a = Ours(near_a);
        a.write_all(b"hello").unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        relaying.abort();
        assert!(relaying.await.unwrap_err().is_cancelled());
        assert_eq!(a.read_all(), (Vec::new(), Some(ErrorKind::ConnectionReset)));
        assert_eq!(near_b.read_all(), (b"hello".to_vec(), Some(ErrorKind::ConnectionReset)));
    });
}

#[test]
fn the_end_of_a_runtime_ends_its_relays() {
    let (one, two) = pair();
    let ((a, near_a), (b, near_b)) = (connection(&one, &two), ends_of_host());
    let relaying = thread::spawn(move || run(Ours(a), b, &RelayConfig::default(), false).unwrap());
    drop((one, near_a));
    let relayed = within_time(move || relaying.join().unwrap());
    assert!(matches!(relayed.end, RelayEnd::AFailed(_)), "{relayed:?}");
    assert_eq!(within_time(move || near_b.read_all()), (Vec::new(), Some(ErrorKind::ConnectionReset)));
}
