//! Waiting threads drive the stack themselves, in turn with other callers and with the driver
//! thread, and no thread waits for ever.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::hooked::{Hook, Hooked};
use common::{addr, config, connection, impaired_pair, pair, pattern, start, within_time};
use portolan::NetworkEvent;
use portolan_runtime::device::{MemoryPair, memory_pair};
use portolan_runtime::{Builder, EchoSocket, Runtime, TcpListener, TcpStream, UdpSocket};

/// An echo server with a thread for each connection, which runs until the runtime is over.
fn echo_server(runtime: &Runtime, port: u16) -> JoinHandle<()> {
    let listener = TcpListener::bind(runtime, addr(1, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    })
}

/// Sends one byte and reads it back, this many times.
fn ask(stream: &mut TcpStream, times: usize) {
    for count in 0..times {
        stream.write_all(&[count as u8]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [count as u8]);
    }
}

#[test]
fn many_threads_on_many_sockets_lead_in_turn() {
    within_time(|| {
        let (server, client) = pair();
        echo_server(&server, 7);
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || ask(&mut stream, 300))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn threads_that_compute_for_long_leave_the_others_served() {
    within_time(|| {
        let (server, client) = pair();
        // An echo server that computes for longer than a hand-over takes: followers are woken to
        // lead meanwhile.
        let listener = TcpListener::bind(&server, addr(1, 7)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read(&mut byte).is_ok_and(|len| len > 0) {
                        let begin = Instant::now();
                        while begin.elapsed() < Duration::from_micros(60) {
                            std::hint::spin_loop();
                        }
                        stream.write_all(&byte).unwrap();
                    }
                });
            }
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || ask(&mut stream, 300))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn accepting_and_receiving_are_two_threads() {
    within_time(|| {
        let (server, client) = pair();
        echo_server(&server, 7);
        let mut steady = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let asking = std::thread::spawn(move || ask(&mut steady, 500));
        for _ in 0..100 {
            let mut brief = TcpStream::connect(&client, addr(1, 7)).unwrap();
            ask(&mut brief, 3);
        }
        asking.join().unwrap();
    });
}

#[test]
fn both_directions_of_one_stream_wait_at_once() {
    within_time(|| {
        let (server, client) = pair();
        echo_server(&server, 7);
        let stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let data = pattern(4_000_000, 1);
        let mut writer = stream.try_clone().unwrap();
        let sent = data.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received).unwrap();
        assert!(received == data);
        writing.join().unwrap();
    });
}

#[test]
fn a_thread_that_comes_and_goes_takes_over_from_the_driving_thread() {
    within_time(|| {
        let (server, client) = pair();
        echo_server(&server, 7);
        let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        // Pauses that are close to the delay of the driver thread, shorter, and much longer.
        for micros in [0, 20, 90, 100, 110, 200, 1500, 3000] {
            for _ in 0..30 {
                ask(&mut stream, 1);
                std::thread::sleep(Duration::from_micros(micros));
            }
        }
    });
}

/// Pings a stack, which answers only if some thread drives it. Returns the time of the first
/// answer.
fn assert_is_driven(client: &Runtime, host: u8) -> Duration {
    let to = addr(host, 0).ip();
    let socket = EchoSocket::for_addr(client, to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let times = (0..10).map(|sequence| {
        let begin = Instant::now();
        socket.send_request(to, sequence, b"are you there?").unwrap();
        assert_eq!(socket.recv_reply().unwrap().sequence, sequence);
        begin.elapsed()
    });
    let times: Vec<_> = times.collect();
    // This is long for a round trip in memory, but a busy machine may need it.
    assert!(times.iter().all(|&time| time < Duration::from_secs(2)), "{times:?}");
    times[0]
}

#[test]
fn a_leader_that_leaves_leaves_the_device_served() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, mut near) = connection(&server, &client);
        let is_over = Arc::new(AtomicBool::new(false));
        let computing = std::thread::spawn({
            let is_over = is_over.clone();
            move || {
                // The call leads until the byte comes; after that no call waits.
                far.read_exact(&mut [0]).unwrap();
                while !is_over.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                far
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        near.write_all(b"x").unwrap();
        assert_is_driven(&client, 1);
        // Timers run, too: data that is not read is acknowledged after the usual delay.
        near.write_all(b"y").unwrap();
        let begin = Instant::now();
        while near.info().unwrap().unacked > 0 {
            assert!(begin.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(1));
        }
        is_over.store(true, Ordering::SeqCst);
        computing.join().unwrap();
    });
}

#[test]
fn a_leader_that_gives_up_leaves_the_device_served() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, near) = connection(&server, &client);
        // A leader for a moment, and a leader for so long that the driver thread sleeps.
        for millis in [2, 20] {
            far.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
            let first_answers = (0..20).map(|_| {
                assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                assert_is_driven(&client, 1)
            });
            // The driver thread takes the lead as soon as the machine lets it run.
            let fastest = first_answers.min().unwrap();
            assert!(fastest < Duration::from_millis(10), "{fastest:?}");
        }
        drop(near);
    });
}

#[test]
fn the_time_out_of_a_leader_is_kept_whatever_else_comes() {
    within_time(|| {
        let (server, client) = pair();
        let (mut far, _near) = connection(&server, &client);
        // Other connections keep the leader busy.
        echo_server(&server, 7);
        let is_over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..2)
            .map(|_| {
                let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                let is_over = is_over.clone();
                std::thread::spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        ask(&mut stream, 10);
                    }
                })
            })
            .collect();
        for millis in [1, 20, 100] {
            let timeout = Duration::from_millis(millis);
            far.set_read_timeout(Some(timeout)).unwrap();
            let begin = Instant::now();
            assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            let elapsed = begin.elapsed();
            assert!(elapsed >= timeout && elapsed < timeout + Duration::from_secs(2), "{elapsed:?}");
        }
        is_over.store(true, Ordering::SeqCst);
        for thread in busy {
            thread.join().unwrap();
        }
    });
}

#[test]
fn what_other_threads_do_wakes_a_leader_that_sleeps() {
    within_time(|| {
        let (host, _other) = pair();
        let listener = TcpListener::bind(&host, ([127, 0, 0, 1], 7)).unwrap();
        let to = listener.local_addr().unwrap();
        let pause = || std::thread::sleep(Duration::from_millis(20));

        // A connection over the loopback: no frame wakes the leader in `accept`.
        let accepting = std::thread::spawn(move || (listener.accept().unwrap().0, listener));
        pause();
        let mut near = TcpStream::connect(&host, to).unwrap();
        let (mut far, listener) = accepting.join().unwrap();
        // Data.
        let reading = std::thread::spawn(move || far.read_exact(&mut [0]).map(|()| far).unwrap());
        pause();
        near.write_all(b"x").unwrap();
        let mut far = reading.join().unwrap();
        // The end of reading, by a call of another thread.
        let other = far.try_clone().unwrap();
        let reading = std::thread::spawn(move || far.read(&mut [0]).unwrap());
        pause();
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reading.join().unwrap(), 0);
        // A datagram.
        let socket = UdpSocket::bind(&host, ([127, 0, 0, 1], 0)).unwrap();
        let to = socket.local_addr().unwrap();
        let receiving = std::thread::spawn(move || socket.recv_from(&mut [0; 10]).unwrap().0);
        pause();
        UdpSocket::bind(&host, ([127, 0, 0, 1], 0)).unwrap().send_to(b"four", to).unwrap();
        assert_eq!(receiving.join().unwrap(), 4);
        // Closing.
        let other = listener.try_clone().unwrap();
        let accepting = std::thread::spawn(move || other.accept().unwrap_err());
        pause();
        listener.close().unwrap();
        assert_eq!(accepting.join().unwrap().raw_os_error(), Some(9));
    });
}

#[test]
fn several_threads_that_accept_on_one_socket_get_each_their_connection() {
    within_time(|| {
        let (server, client) = pair();
        let listener = Arc::new(TcpListener::bind(&server, addr(1, 7)).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let listener = listener.clone();
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let (mut stream, _) = listener.accept().unwrap();
                        stream.write_all(b"x").unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_deadline_that_comes_up_while_a_thread_leads_is_kept() {
    within_time(|| {
        // Delay and loss create deadlines: of the device, and of retransmissions.
        let (server, client) = impaired_pair("delay=300us,jitter=100us,loss=1%,seed=5");
        echo_server(&server, 7);
        let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        stream.set_nodelay(true).unwrap();
        ask(&mut stream, 300);
    });
}

/// What the test tells its device to do.
#[derive(Default)]
struct Orders {
    fails: AtomicBool,
    panics: AtomicBool,
    reads: AtomicUsize,
}

struct Obedient(Arc<Orders>);

impl Hook for Obedient {
    fn on_recv(&mut self) -> io::Result<()> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        assert!(!self.0.panics.load(Ordering::SeqCst), "on purpose, by the test");
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(io::Error::new(ErrorKind::NotFound, "the cable is cut"));
        }
        Ok(())
    }
}

/// Ten waiting threads, one of which leads, and the other ends of their connections.
fn ten_waiting(orders: &Arc<Orders>) -> (Runtime, Runtime, Vec<JoinHandle<io::Error>>, Vec<TcpStream>) {
    let (a, b) = memory_pair().unwrap();
    let server = start(1, a);
    let client = start(2, Hooked { device: b, hook: Obedient(orders.clone()) });
    let mut far_ends = Vec::new();
    let waiting = (0..10)
        .map(|_| {
            let (far, mut near) = connection(&server, &client);
            far_ends.push(far);
            std::thread::spawn(move || near.read(&mut [0]).unwrap_err())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    (server, client, waiting, far_ends)
}

#[test]
fn a_device_that_fails_while_a_thread_leads_is_dropped_and_nobody_spins() {
    within_time(|| {
        let orders = Arc::new(Orders::default());
        let (_server, client, waiting, mut far_ends) = ten_waiting(&orders);
        let handle = client.handle().clone();
        orders.fails.store(true, Ordering::SeqCst);
        far_ends[3].write_all(b"x").unwrap();
        let iface = loop {
            if let Some(NetworkEvent::LinkDown { iface }) = handle.wait_network_event(None).unwrap() {
                break iface;
            }
        };
        let error = handle.device_error(iface).unwrap();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::NotFound, "cable0: the cable is cut")
        );
        while Arc::strong_count(&orders) > 1 {
            std::thread::yield_now();
        }
        let reads = orders.reads.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(orders.reads.load(Ordering::SeqCst), reads, "the device is left alone");
        // Connections outlive their link, and wait for another device.
        assert!(handle.error().is_none());
        assert!(waiting.iter().all(|thread| !thread.is_finished()));
        drop(client);
        for thread in waiting {
            assert_eq!(thread.join().unwrap().kind(), ErrorKind::NetworkDown);
        }
    });
}

#[test]
fn a_panic_in_a_device_while_a_thread_leads_is_told_to_everybody() {
    within_time(|| {
        let orders = Arc::new(Orders::default());
        let (_server, client, waiting, mut far_ends) = ten_waiting(&orders);
        orders.panics.store(true, Ordering::SeqCst);
        far_ends[3].write_all(b"x").unwrap();
        let mut panicked = 0;
        for thread in waiting {
            match thread.join() {
                Ok(error) => assert!(error.to_string().contains("panicked"), "{error}"),
                Err(_) => panicked += 1,
            }
        }
        // The panic is in the thread that led, or in the driver thread.
        assert!(panicked <= 1);
        assert!(client.handle().error().unwrap().to_string().contains("panicked"));
    });
}

#[test]
fn a_runtime_that_ends_while_threads_change_the_lead_ends_every_wait_and_its_device() {
    within_time(|| {
        for round in 0..20 {
            let (a, b) = memory_pair().unwrap();
            let server = start(1, a);
            let orders = Arc::new(Orders::default());
            let client = start(2, Hooked { device: b, hook: Obedient(orders.clone()) });
            echo_server(&server, 7);
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                    std::thread::spawn(move || {
                        loop {
                            let mut answer = [0];
                            let asked =
                                stream.write_all(&answer).and_then(|()| stream.read_exact(&mut answer));
                            if let Err(error) = asked {
                                return error;
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(500 * round));
            client.shutdown(Duration::ZERO).unwrap();
            assert_eq!(Arc::strong_count(&orders), 1, "the device is gone when shutdown returns");
            for thread in threads {
                assert_eq!(thread.join().unwrap().kind(), ErrorKind::NetworkDown);
            }
        }
    });
}

#[test]
fn a_leader_waits_for_room_in_a_full_device() {
    within_time(|| {
        let (a, b) = MemoryPair::new().capacity(2).build().unwrap();
        let (server, client) = (start(1, a), start(2, b));
        echo_server(&server, 7);
        // Both threads wait. Either may lead, the sender while the device is full.
        let stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
        let data = pattern(1_000_000, 2);
        let mut writer = stream.try_clone().unwrap();
        let sent = data.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received).unwrap();
        assert!(received == data);
        writing.join().unwrap();
    });
}

#[test]
fn spinning_leaders_are_as_correct_as_others() {
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let spinning = |host: u8, device| {
            Builder::new()
                .config(config())
                .busy_poll(Duration::from_micros(50))
                .interface(device, common::addresses(host))
                .start()
                .unwrap()
        };
        let (server, client) = (spinning(1, a), spinning(2, b));
        echo_server(&server, 7);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = TcpStream::connect(&client, addr(1, 7)).unwrap();
                std::thread::spawn(move || {
                    ask(&mut stream, 200);
                    stream
                })
            })
            .collect();
        for thread in threads {
            let mut stream = thread.join().unwrap();
            let timeout = Duration::from_millis(30);
            stream.set_read_timeout(Some(timeout)).unwrap();
            let begin = Instant::now();
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(begin.elapsed() >= timeout);
            stream.shutdown(Shutdown::Both).unwrap();
        }
        assert_is_driven(&client, 1);
    });
}
