//! A poller waits for sockets of the stack, for descriptors of the host and for `notify`, with a
//! deadline, and no thread waits for ever.

mod common;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{addr, connection, pair, within_time};
use portolan::{Interest, Ready};
use portolan_runtime::{Poller, Runtime, TcpListener, TcpStream, UdpSocket};

const IN: Interest = Interest::READABLE;
const EDGE: Interest = Interest::EDGE_TRIGGERED;

fn bound(runtime: &Runtime, host: u8, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(runtime, addr(host, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn poller(runtime: &Runtime) -> Poller {
    Poller::new(runtime).unwrap()
}

/// The tokens that a wait reports.
fn tokens(poller: &Poller, timeout: Option<Duration>) -> Vec<u64> {
    let mut ready = Vec::new();
    let count = poller.wait(&mut ready, 64, timeout).unwrap();
    assert_eq!(count, ready.len());
    ready.iter().map(|ready| ready.token).collect()
}

#[test]
fn a_wait_ends_with_its_time() {
    within_time(|| {
        let (a, _b) = pair();
        let poller = poller(&a);
        let socket = bound(&a, 1, 7);
        poller.add(&socket, IN, 1).unwrap();
        for millis in [0, 1, 30] {
            let begin = Instant::now();
            assert!(tokens(&poller, Some(Duration::from_millis(millis))).is_empty());
            assert!(begin.elapsed() >= Duration::from_millis(millis));
        }
        let error = poller.wait(&mut Vec::new(), 0, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn what_comes_before_or_during_a_wait_is_reported() {
    within_time(|| {
        let (a, b) = pair();
        let poller = Arc::new(poller(&a));
        let sockets = [7, 8].map(|port| bound(&a, 1, port));
        for (socket, token) in sockets.iter().zip(1..) {
            poller.add(socket, IN, token).unwrap();
        }
        let sender = bound(&b, 2, 9);
        sender.send_to(b"x", addr(1, 7)).unwrap();
        assert_eq!(tokens(&poller, None), [1]);
        assert_eq!(tokens(&poller, None), [1], "level-triggered");
        sockets[0].recv_from(&mut [0; 8]).unwrap();
        let waiting = thread::spawn({
            let poller = poller.clone();
            move || tokens(&poller, None)
        });
        thread::sleep(Duration::from_millis(20));
        sender.send_to(b"x", addr(1, 8)).unwrap();
        assert_eq!(waiting.join().unwrap(), [2]);
    });
}

#[test]
fn level_edge_and_one_shot() {
    within_time(|| {
        let (a, b) = pair();
        let poller = poller(&a);
        let [level, edge, once] = [7, 8, 9].map(|port| bound(&a, 1, port));
        poller.add(&level, IN, 1).unwrap();
        poller.add(&edge, IN | EDGE, 2).unwrap();
        poller.add(&once, IN | Interest::ONE_SHOT, 3).unwrap();
        let sender = bound(&b, 2, 10);
        let mut seen: HashMap<u64, u32> = HashMap::new();
        for _ in 0..2 {
            for port in [7, 8, 9] {
                sender.send_to(b"x", addr(1, port)).unwrap();
            }
            thread::sleep(Duration::from_millis(20));
            for _ in 0..3 {
                tokens(&poller, None).into_iter().for_each(|token| *seen.entry(token).or_default() += 1);
            }
        }
        assert!(seen[&1] >= 6, "{seen:?}");
        assert_eq!((seen[&2], seen[&3]), (2, 1), "{seen:?}");
        poller.modify(&once, IN | Interest::ONE_SHOT, 4).unwrap();
        poller.delete(&level).unwrap();
        assert_eq!(tokens(&poller, None), [4]);
        assert!(tokens(&poller, Some(Duration::ZERO)).is_empty());
    });
}

#[test]
fn errors_are_those_of_epoll() {
    let (a, b) = pair();
    let poller = poller(&a);
    let socket = bound(&a, 1, 7);
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(poller.modify(&socket, IN, 1)), ErrorKind::NotFound);
    assert_eq!(kind(poller.delete(&socket)), ErrorKind::NotFound);
    poller.add(&socket, IN, 1).unwrap();
    assert_eq!(kind(poller.add(&socket, IN, 1)), ErrorKind::AlreadyExists);
    let exclusive = IN | Interest::EXCLUSIVE | Interest::ONE_SHOT;
    assert_eq!(kind(poller.add(&bound(&a, 1, 8), exclusive, 1)), ErrorKind::InvalidInput);
    assert_eq!(kind(poller.add(&bound(&b, 2, 7), IN, 1)), ErrorKind::InvalidInput, "of another runtime");
}

#[test]
fn a_notification_ends_one_wait_that_waits_or_comes_next() {
    within_time(|| {
        let (a, _b) = pair();
        let poller = Arc::new(poller(&a));
        poller.notify();
        poller.notify();
        assert!(tokens(&poller, None).is_empty());
        assert!(tokens(&poller, Some(Duration::ZERO)).is_empty());
        let begin = Instant::now();
        assert!(tokens(&poller, Some(Duration::from_millis(30))).is_empty());
        assert!(begin.elapsed() >= Duration::from_millis(30), "both counted as one");
        for _ in 0..50 {
            let waiting = thread::spawn({
                let poller = poller.clone();
                move || tokens(&poller, None)
            });
            thread::sleep(Duration::from_micros(300));
            poller.notify();
            assert!(waiting.join().unwrap().is_empty());
        }
    });
}

#[test]
fn a_closed_socket_leaves_the_poller_and_the_next_one_is_another() {
    within_time(|| {
        let (a, b) = pair();
        let poller = poller(&a);
        let (far, near) = connection(&a, &b);
        poller.add(&far, IN | Interest::PEER_CLOSED, 1).unwrap();
        drop(near);
        let mut ready = Vec::new();
        poller.wait(&mut ready, 64, None).unwrap();
        assert!(ready[0].readiness.peer_closed && ready[0].readiness.readable);
        let clone = far.try_clone().unwrap();
        drop(far);
        assert_eq!(tokens(&poller, None), [1], "a clone holds it");
        drop(clone);
        assert!(tokens(&poller, Some(Duration::ZERO)).is_empty());
        let (far, _near) = connection(&a, &b);
        assert_eq!(poller.modify(&far, IN, 2).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn the_end_of_the_runtime_ends_every_wait() {
    within_time(|| {
        let (a, _b) = pair();
        let pollers = [(); 2].map(|()| Arc::new(poller(&a)));
        let waiting: Vec<_> = (0..6)
            .map(|index| {
                let poller = pollers[index % 2].clone();
                thread::spawn(move || poller.wait(&mut Vec::new(), 64, None).unwrap_err().kind())
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        a.shutdown(Duration::ZERO).unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), ErrorKind::NetworkDown);
        }
        assert_eq!(pollers[0].wait(&mut Vec::new(), 1, None).unwrap_err().kind(), ErrorKind::NetworkDown);
    });
}

/// Eight threads at one poller take what forty senders send; each datagram is taken once.
#[test]
fn many_threads_at_one_poller() {
    const SOCKETS: u16 = 40;
    const EACH: usize = 50;
    within_time(|| {
        let (a, b) = pair();
        let poller = Arc::new(poller(&a));
        let sockets: Arc<Vec<UdpSocket>> = Arc::new((0..SOCKETS).map(|at| bound(&a, 1, 100 + at)).collect());
        for (socket, token) in sockets.iter().zip(0..) {
            poller.add(socket, IN | Interest::ONE_SHOT, token).unwrap();
        }
        let taken = Arc::new(AtomicUsize::new(0));
        let takers: Vec<_> = (0..8)
            .map(|_| {
                let (poller, sockets, taken) = (poller.clone(), sockets.clone(), taken.clone());
                thread::spawn(move || {
                    let mut ready = Vec::new();
                    while taken.load(Ordering::SeqCst) < usize::from(SOCKETS) * EACH {
                        ready.clear();
                        poller.wait(&mut ready, 4, None).unwrap();
                        for Ready { token, .. } in &ready {
                            let socket = &sockets[*token as usize];
                            while socket.recv_from(&mut [0; 8]).is_ok() {
                                taken.fetch_add(1, Ordering::SeqCst);
                            }
                            poller.modify(socket, IN | Interest::ONE_SHOT, *token).unwrap();
                        }
                    }
                    // The others may wait.
                    poller.notify();
                })
            })
            .collect();
        let sender = bound(&b, 2, 9);
        sender.set_nonblocking(false).unwrap();
        for _ in 0..EACH {
            for port in 100..100 + SOCKETS {
                sender.send_to(b"x", addr(1, port)).unwrap();
            }
            thread::sleep(Duration::from_micros(500));
        }
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert_eq!(taken.load(Ordering::SeqCst), usize::from(SOCKETS) * EACH);
    });
}

/// Two threads sleep at a poller of their own, and each connection wakes one of them.
#[test]
fn an_exclusive_arrival_wakes_one_of_two_pollers() {
    const CONNECTIONS: usize = 30;
    within_time(|| {
        let (a, b) = pair();
        let listener = Arc::new(TcpListener::bind(&a, addr(1, 7)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let [accepted, in_vain] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let poller = poller(&a);
                let (listener, accepted, in_vain) = (listener.clone(), accepted.clone(), in_vain.clone());
                poller.add(&*listener, IN | Interest::EXCLUSIVE, 1).unwrap();
                thread::spawn(move || {
                    while accepted.load(Ordering::SeqCst) < CONNECTIONS {
                        if poller.wait(&mut Vec::new(), 1, Some(Duration::from_millis(50))).unwrap() == 0 {
                            continue;
                        }
                        match listener.accept() {
                            Ok(_) => accepted.fetch_add(1, Ordering::SeqCst),
                            Err(_) => in_vain.fetch_add(1, Ordering::SeqCst),
                        };
                    }
                })
            })
            .collect();
        for _ in 0..CONNECTIONS {
            TcpStream::connect(&b, addr(1, 7)).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let in_vain = in_vain.load(Ordering::SeqCst);
        assert!(in_vain <= CONNECTIONS / 5, "{in_vain} of {CONNECTIONS} woke both");
    });
}

/// The tokens of the server below.
const LISTENER: u64 = u64::MAX;

/// Serves echo on all connections by one thread, until `count` of them were closed.
fn serve(poller: &Poller, listener: &TcpListener, count: usize) {
    let mut streams: HashMap<u64, TcpStream> = HashMap::new();
    let (mut next, mut closed) = (0, 0);
    let mut ready = Vec::new();
    while closed < count {
        ready.clear();
        poller.wait(&mut ready, 128, None).unwrap();
        for Ready { token, .. } in &ready {
            if *token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    poller.add(&stream, IN, next).unwrap();
                    streams.insert(next, stream);
                    next += 1;
                }
                continue;
            }
            let mut buf = [0; 64];
            let stream = streams.get_mut(token).unwrap();
            match stream.read(&mut buf) {
                Ok(0) => {
                    streams.remove(token);
                    closed += 1;
                }
                Ok(len) => stream.write_all(&buf[..len]).unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

#[test]
fn one_thread_serves_a_thousand_connections() {
    const CONNECTIONS: usize = 1000;
    within_time(|| {
        let (a, b) = pair();
        let listener = TcpListener::bind(&a, addr(1, 7)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let poller = poller(&a);
        poller.add(&listener, IN, LISTENER).unwrap();
        let server = thread::spawn(move || serve(&poller, &listener, CONNECTIONS));
        let mut clients: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| TcpStream::connect(&b, addr(1, 7)).unwrap()).collect();
        for round in 0..3 {
            for (index, client) in clients.iter_mut().enumerate() {
                client.write_all(&[index as u8, round]).unwrap();
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let mut answer = [0; 2];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [index as u8, round]);
            }
        }
        drop(clients);
        server.join().unwrap();
    });
}

/// A poller and a thread in a blocking call on the same stack: whoever leads serves the other.
#[test]
fn a_poller_beside_a_blocking_call() {
    within_time(|| {
        let (a, b) = pair();
        let poller = poller(&a);
        let polled = bound(&a, 1, 7);
        poller.add(&polled, IN, 1).unwrap();
        let blocking = UdpSocket::bind(&a, addr(1, 8)).unwrap();
        let answer = |socket: &UdpSocket| {
            let mut buf = [0; 8];
            let (len, peer): (usize, SocketAddr) = socket.recv_from(&mut buf).unwrap();
            socket.send_to(&buf[..len], peer).unwrap();
        };
        let threads = [
            thread::spawn(move || {
                for _ in 0..300 {
                    assert_eq!(tokens(&poller, None), [1]);
                    answer(&polled);
                }
            }),
            thread::spawn(move || (0..300).for_each(|_| answer(&blocking))),
        ];
        let askers = [7, 8].map(|port| {
            let socket = UdpSocket::bind(&b, addr(2, port)).unwrap();
            thread::spawn(move || {
                for _ in 0..300 {
                    socket.send_to(b"word", addr(1, port)).unwrap();
                    socket.recv_from(&mut [0; 8]).unwrap();
                }
            })
        });
        threads.into_iter().chain(askers).for_each(|thread| thread.join().unwrap());
    });
}

#[cfg(all(target_os = "linux", not(portolan_portable)))]
mod of_the_host {
    use std::os::unix::net::UnixStream;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn descriptors_of_the_host_are_reported_beside_sockets() {
        within_time(|| {
            let (a, b) = pair();
            let poller = Arc::new(poller(&a));
            let socket = bound(&a, 1, 7);
            poller.add(&socket, IN, 1).unwrap();
            let (near, mut far) = UnixStream::pair().unwrap();
            let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
            poller.add_fd(&near, IN, 2).unwrap();
            poller.add_fd(&event, IN | EDGE, 3).unwrap();
            assert_eq!(poller.add_fd(&near, IN, 2).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert!(tokens(&poller, Some(Duration::from_millis(5))).is_empty());
            // Each wakes a thread that waits and leads.
            for token in [2, 3, 1] {
                let waiting = thread::spawn({
                    let poller = poller.clone();
                    move || tokens(&poller, None)
                });
                thread::sleep(Duration::from_millis(10));
                match token {
                    1 => drop(bound(&b, 2, 9).send_to(b"x", addr(1, 7)).unwrap()),
                    2 => far.write_all(b"x").unwrap(),
                    _ => drop(rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap()),
                }
                assert_eq!(waiting.join().unwrap(), [token]);
                if token == 2 {
                    assert_eq!(tokens(&poller, None), [2], "level-triggered");
                    (&near).read_exact(&mut [0]).unwrap();
                }
            }
            // A socket that is always ready does not hide the host, nor the host the socket.
            far.write_all(b"x").unwrap();
            let mut ready = Vec::new();
            for _ in 0..4 {
                poller.wait(&mut ready, 1, None).unwrap();
            }
            let count = |token| ready.iter().filter(|ready| ready.token == token).count();
            assert_eq!([count(1), count(2)], [2, 2]);
            poller.modify_fd(&near, Interest::WRITABLE, 4).unwrap();
            poller.delete(&socket).unwrap();
            assert_eq!(tokens(&poller, None), [4]);
            poller.delete_fd(&near).unwrap();
            assert_eq!(poller.delete_fd(&near).unwrap_err().kind(), ErrorKind::NotFound);
            drop(event);
            assert!(tokens(&poller, Some(Duration::ZERO)).is_empty());
        });
    }

    /// A follower sleeps on the host's descriptors, too.
    #[test]
    fn a_descriptor_of_the_host_wakes_a_thread_that_does_not_lead() {
        within_time(|| {
            let (a, b) = pair();
            let blocking = UdpSocket::bind(&a, addr(1, 8)).unwrap();
            let leader = thread::spawn(move || blocking.recv_from(&mut [0; 8]).unwrap().0);
            thread::sleep(Duration::from_millis(20));
            let poller = Arc::new(poller(&a));
            let (near, mut far) = UnixStream::pair().unwrap();
            poller.add_fd(&near, IN, 2).unwrap();
            let threads = [(); 2].map(|()| {
                let poller = poller.clone();
                thread::spawn(move || tokens(&poller, None))
            });
            thread::sleep(Duration::from_millis(20));
            far.write_all(b"x").unwrap();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), [2]);
            }
            bound(&b, 2, 9).send_to(b"word", addr(1, 8)).unwrap();
            assert_eq!(leader.join().unwrap(), 4);
        });
    }

    /// A poller on the host alone costs nothing while nothing happens: no thread wakes up.
    #[test]
    fn a_notification_that_was_taken_does_not_keep_a_wait_awake() {
        within_time(|| {
            let (a, _b) = pair();
            let poller = poller(&a);
            for _ in 0..20 {
                poller.notify();
                assert!(tokens(&poller, None).is_empty());
            }
            let before = cpu_time();
            assert!(tokens(&poller, Some(Duration::from_millis(100))).is_empty());
            let used = cpu_time() - before;
            assert!(used < Duration::from_millis(20), "{used:?} of 100 ms");
        });
    }

    fn cpu_time() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap()
    }
}
