//! Several stacks behind one interface that form one host. Each frame comes to the queue that is
//! read first, which is the worst possible choice.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use common::hooked::{Hook, Hooked};
use common::{addr, addresses, config, pattern, start, within_time};
use portolan::{DropReason, Frame, Interception, Medium};
use portolan_runtime::device::{
    Device, MemoryDevice, MemoryPair, Outgoing, Readiness, Received, memory_pair,
};
use portolan_runtime::{
    Builder, EchoSocket, Runtime, TcpInterceptor, TcpListener, TcpStream, UdpSocket, task,
};

/// One of several queues of a device: the first reader gets the next frame.
struct Queue {
    device: Arc<Mutex<MemoryDevice>>,
    medium: Medium,
    mtu: usize,
    readers: Arc<Readers>,
}

/// The stacks that read the queues. All are woken for each frame.
#[derive(Default)]
struct Readers(Mutex<Vec<Waker>>);

impl Wake for Readers {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    }
}

fn queues(device: MemoryDevice, count: usize) -> Vec<Queue> {
    let (medium, mtu) = (device.medium(), device.mtu());
    let (device, readers) = (Arc::new(Mutex::new(device)), Arc::new(Readers::default()));
    (0..count).map(|_| Queue { device: device.clone(), medium, mtu, readers: readers.clone() }).collect()
}

impl Device for Queue {
    fn name(&self) -> &str {
        "queue"
    }
    fn medium(&self) -> Medium {
        self.medium
    }
    fn mtu(&self) -> usize {
        self.mtu
    }
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.readers.0.lock().unwrap().push(waker.clone());
        self.device.lock().unwrap().readiness(&Waker::from(self.readers.clone()));
        Readiness::waker()
    }
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        self.device.lock().unwrap().transmit(outgoing)
    }
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.device.lock().unwrap().receive(received)
    }
}

/// A host with several stacks (10.0.0.1) and a host with one stack (10.0.0.2).
fn hosts(stacks: usize) -> (Runtime, Runtime) {
    let (a, b) = MemoryPair::new().capacity(4096).build().unwrap();
    let several = Builder::new().config(config()).seed([1; 32]);
    let several = several.interface_with_queues(queues(a, stacks), addresses(1)).start().unwrap();
    assert_eq!(several.handle().stacks(), stacks);
    (several, start(2, b))
}

fn assert_nothing_went_wrong(runtimes: [&Runtime; 2]) {
    for runtime in runtimes {
        let stats = runtime.handle().stats();
        assert_eq!((stats.tcp.out_rsts, stats.icmp.errors_sent), (0, 0), "{stats:?}");
        assert_eq!(stats.drops(DropReason::NoTcpSocket) + stats.drops(DropReason::NoUdpSocket), 0);
        assert_eq!(runtime.handle().handovers().lost, 0);
    }
}

fn serve_echo(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut data = Vec::new();
                stream.read_to_end(&mut data).unwrap();
                stream.write_all(&data).unwrap();
            });
        }
    });
}

#[test]
fn connections_both_ways_over_all_stacks() {
    for stacks in [2, 3, 4] {
        within_time(move || {
            let (several, single) = hosts(stacks);
            serve_echo(TcpListener::bind(&several, addr(1, 7)).unwrap());
            serve_echo(TcpListener::bind(&single, addr(2, 7)).unwrap());
            let sockets = several.handle().sockets();
            assert_eq!(sockets.len(), 1, "one listener, whatever it is made of: {sockets:?}");
            let clients: Vec<_> = (0..40u8)
                .map(|n| {
                    let (from, to) = if n % 2 == 0 { (&several, addr(2, 7)) } else { (&single, addr(1, 7)) };
                    let from = from.handle().clone();
                    thread::spawn(move || {
                        let mut stream = TcpStream::connect(&from, to).unwrap();
                        let data = pattern(50_000, n);
                        stream.write_all(&data).unwrap();
                        stream.shutdown(Shutdown::Write).unwrap();
                        let mut echo = Vec::new();
                        stream.read_to_end(&mut echo).unwrap();
                        assert_eq!(echo, data);
                    })
                })
                .collect();
            for client in clients {
                client.join().unwrap();
            }
            let used = several.handle().with_each_stack(|stack| stack.stats().tcp.passive_opens);
            assert_eq!(used.iter().sum::<u64>(), 20);
            let opened = several.handle().with_each_stack(|stack| stack.stats().tcp.active_opens);
            assert!(opened.iter().all(|&count| count >= 20 / stacks as u64), "{opened:?}");
            assert!(several.handle().handovers().frames > 0);
            // The queues reorder segments, and a late one may find its connection closed; but no
            // reset came to a connection that was open.
            for runtime in [&several, &single] {
                assert_eq!(runtime.handle().stats().tcp.resets_received, 0, "{:?}", runtime.handle().stats());
            }
        });
    }
}

#[test]
fn datagrams_and_pings_both_ways_with_fragments_and_to_ourselves() {
    within_time(|| {
        let (several, single) = hosts(3);
        for n in 0..12u16 {
            let socket = UdpSocket::bind(&several, addr(1, if n < 6 { 5000 + n } else { 0 })).unwrap();
            let port = socket.local_addr().unwrap().port();
            let peer = UdpSocket::bind(&single, addr(2, 0)).unwrap();
            for len in [1, 5000] {
                let data = pattern(len, n as u8);
                peer.send_to(&data, addr(1, port)).unwrap();
                let (bytes, meta) = socket.recv_msg().unwrap();
                assert_eq!(bytes, data);
                socket.send_to(&bytes, meta.peer()).unwrap();
                assert_eq!(peer.recv_msg().unwrap().0, data);
            }
            let own = UdpSocket::bind(&several, addr(1, 0)).unwrap();
            own.send_to(b"self", addr(1, port)).unwrap();
            let (bytes, meta) = socket.recv_msg().unwrap();
            assert_eq!((&bytes[..], meta.peer()), (&b"self"[..], own.local_addr().unwrap()));
            for (runtime, to) in [(&several, 2), (&single, 1)] {
                let echo = EchoSocket::for_addr(runtime, addr(to, 0).ip()).unwrap();
                for size in [10, 4000] {
                    echo.send_request(addr(to, 0).ip(), n, &pattern(size, 9)).unwrap();
                    assert_eq!(echo.recv_reply().unwrap().payload, pattern(size, 9));
                }
            }
        }
        assert_nothing_went_wrong([&several, &single]);
        // Nobody listens there, and the sender learns that.
        let socket = UdpSocket::bind(&several, addr(1, 0)).unwrap();
        socket.connect(addr(2, 9)).unwrap();
        socket.send(b"?").unwrap();
        assert_eq!(socket.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn every_thread_in_accept_gets_connections_and_closing_ends_all() {
    within_time(|| {
        let (several, single) = hosts(2);
        let listener = TcpListener::bind(&several, addr(1, 80)).unwrap();
        let acceptors: Vec<_> = (0..4)
            .map(|_| {
                let listener = listener.try_clone().unwrap();
                thread::spawn(move || {
                    let mut streams = Vec::new();
                    loop {
                        match listener.accept() {
                            Ok((stream, _)) => streams.push(stream),
                            Err(error) => return (streams.len(), error),
                        }
                    }
                })
            })
            .collect();
        let streams: Vec<_> = (0..200).map(|_| TcpStream::connect(&single, addr(1, 80)).unwrap()).collect();
        while several.handle().stats().tcp.passive_opens < 200
            || several
                .handle()
                .sockets()
                .iter()
                .any(|socket| socket.state.name() == "LISTEN" && socket.receive_queue > 0)
        {
            thread::sleep(Duration::from_millis(1));
        }
        listener.close().unwrap();
        let results: Vec<_> = acceptors.into_iter().map(|acceptor| acceptor.join().unwrap()).collect();
        assert_eq!(results.iter().map(|(count, _)| count).sum::<usize>(), 200);
        // The port is free on all stacks.
        drop(streams);
        let listener = TcpListener::bind(&several, addr(1, 81)).unwrap();
        let taken = TcpListener::bind(&several, addr(1, 81)).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        drop(listener);
        TcpListener::bind(&several, addr(1, 81)).unwrap();
        let drawn = TcpListener::bind(&several, addr(1, 0)).unwrap();
        drawn.set_nonblocking(true).unwrap();
        assert_eq!(drawn.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let handle = several.handle().clone();
        let waiting = thread::spawn(move || {
            drawn.set_nonblocking(false).unwrap();
            drawn.accept().unwrap_err()
        });
        thread::sleep(Duration::from_millis(50));
        several.shutdown(Duration::ZERO).unwrap();
        assert_eq!(waiting.join().unwrap().kind(), ErrorKind::NetworkDown);
        assert!(!handle.is_running());
    });
}

#[test]
fn a_queue_that_fails_ends_all_stacks() {
    struct Failing;
    impl Hook for Failing {
        fn on_received(&mut self, frame: &Frame) -> io::Result<()> {
            if frame.bytes.ends_with(b"fail now") { Err(io::Error::other("out of order")) } else { Ok(()) }
        }
    }
    within_time(|| {
        let (a, b) = memory_pair().unwrap();
        let several = Builder::new().config(config());
        let queues = queues(a, 2).into_iter().map(|device| Hooked { device, hook: Failing });
        let several = several.interface_with_queues(queues, addresses(1)).start().unwrap();
        let single = start(2, b);
        let waits: Vec<_> = [6000, 6001]
            .map(|port| UdpSocket::bind(&several, addr(1, port)).unwrap())
            .into_iter()
            .map(|socket| thread::spawn(move || socket.recv_msg().unwrap_err().to_string()))
            .collect();
        let socket = UdpSocket::bind(&single, addr(2, 0)).unwrap();
        socket.send_to(b"fail now", addr(1, 6000)).unwrap();
        for wait in waits {
            assert_eq!(wait.join().unwrap(), "cable0: out of order");
        }
        assert_eq!(several.handle().error().unwrap().to_string(), "cable0: out of order");
    });
}

#[test]
fn queues_that_do_not_fit_together_are_refused() {
    let (a, b) = memory_pair().unwrap();
    let (c, _d) = memory_pair().unwrap();
    let uneven = Builder::new().interface_with_queues(queues(a, 2), addresses(1)).interface(c, addresses(3));
    assert_eq!(uneven.start().unwrap_err().kind(), ErrorKind::InvalidInput);
    let none = Builder::new().interface_with_queues(Vec::<Queue>::new(), addresses(1));
    assert_eq!(none.start().unwrap_err().kind(), ErrorKind::InvalidInput);
    let (e, _f) = memory_pair().unwrap();
    let strangers = Builder::new().interface_with_queues([b, e], addresses(1));
    let error = strangers.start().unwrap_err();
    assert!(error.to_string().contains("MAC address"), "{error}");
}

#[test]
fn connections_to_any_address_come_to_all_stacks_and_one_interceptor() {
    let (a, b) = MemoryPair::new().capacity(4096).build().unwrap();
    let several = Builder::new().config(config()).seed([1; 32]);
    let several = several.interface_with_queues(queues(a, 2), addresses(1));
    let several = several.intercept(Interception::all()).start().unwrap();
    let client = Builder::new().config(config()).seed([2; 32]).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).start().unwrap();
    let interceptor = TcpInterceptor::new(&several).unwrap();
    let deciding = thread::spawn(move || {
        for _ in 0..32 {
            let pending = interceptor.next().unwrap();
            let name = pending.destination().to_string();
            pending.accept().unwrap().write_all(name.as_bytes()).unwrap();
        }
    });
    within_time(move || {
        for host in 1..=32 {
            let destination = ([203, 0, 113, host], 443);
            let mut name = String::new();
            TcpStream::connect(&client, destination).unwrap().read_to_string(&mut name).unwrap();
            assert_eq!(name, format!("203.0.113.{host}:443"));
        }
        deciding.join().unwrap();
        let accepted = several.handle().with_each_stack(|stack| stack.stats().interception.accepted);
        assert!(accepted.iter().all(|&accepted| accepted > 4), "{accepted:?}");
    });
}

#[test]
fn one_task_decides_about_connections_to_any_address_on_all_stacks() {
    let (a, b) = MemoryPair::new().capacity(4096).build().unwrap();
    let several = Builder::new().config(config()).seed([1; 32]);
    let several = several.interface_with_queues(queues(a, 2), addresses(1));
    let several = several.intercept(Interception::all()).start().unwrap();
    let client = Builder::new().config(config()).seed([2; 32]).interface(b, addresses(2));
    let client = client.gateway("10.0.0.1".parse().unwrap()).start().unwrap();
    within_time(move || {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        executor.block_on(async {
            let interceptor = task::TcpInterceptor::new(&several).unwrap();
            for host in 1..=16 {
                let source = client.handle().clone();
                let connect = |port| {
                    let source = source.clone();
                    tokio::spawn(async move {
                        task::TcpStream::connect(&source, ([203, 0, 113, host], port)).await
                    })
                };
                let (first, _second) = (connect(1), connect(2));
                let pending = interceptor.next().await.unwrap();
                let (taken, other) = (pending.destination().port(), interceptor.next().await.unwrap());
                assert_eq!(taken + other.destination().port(), 3);
                let (one, two) = tokio::join!(pending.accept(), other.accept());
                assert_eq!(one.unwrap().peer_addr().unwrap().ip(), two.unwrap().peer_addr().unwrap().ip());
                first.await.unwrap().unwrap();
            }
            // Those on both stacks learn that nobody intercepts any more.
            let mut waiting = Vec::new();
            for host in 1..=8 {
                let source = client.handle().clone();
                tokio::spawn(
                    async move { task::TcpStream::connect(&source, ([203, 0, 113, host], 3)).await },
                );
                let pending = interceptor.next().await.unwrap();
                waiting.push(tokio::spawn(async move { pending.cancelled().await }));
            }
            tokio::task::yield_now().await;
            assert!(waiting.iter().all(|task| !task.is_finished()));
            interceptor.close().unwrap();
            for task in waiting {
                task.await.unwrap();
            }
        });
        let accepted = several.handle().with_each_stack(|stack| stack.stats().interception.accepted);
        assert!(accepted.iter().all(|&accepted| accepted > 4), "{accepted:?}");
    });
}
