//! Several stacks that form one host for the kernel, on a TAP device beside that of `portolan up`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener as KernelListener, TcpStream as KernelStream};
use std::thread;
use std::time::Duration;

use portolan::DropReason;
use portolan_runtime::{Builder, EchoSocket, Handle, Runtime, TcpListener, TcpStream, UdpSocket};
use portolan_tap::{Error, Offload, TapBuilder};
use portolan_tests::namespace::{beside_portolan, counter, page, stack_at, tool};
use portolan_tests::pattern::Pattern;

use crate::tcp::{connect, round_trip};

/// After three seconds the kernel forgets the queue of a flow (TUN_FLOW_EXPIRE).
const FORGOTTEN: Duration = Duration::from_millis(4500);

/// The UDP port that all stacks have.
const SPREAD_PORT: u16 = 7000;

/// A host with several stacks, on a new network, so that packets for an earlier host do not reach
/// it.
struct Host {
    runtime: Runtime,
    /// The kernel's addresses on the link, of both families.
    kernel: [String; 2],
    /// The host's addresses.
    stacks: [String; 2],
}

impl Host {
    fn start(network: u8, queues: usize, offload: Offload) -> Host {
        let kernel = [format!("10.9.{network}.1"), format!("fd09:{network}::1")];
        let stacks = [format!("10.9.{network}.2"), format!("fd09:{network}::2")];
        let builder = TapBuilder::new().name("queues0").offload(offload);
        let builder = builder.host_address(cidr(&kernel[0], 24)).host_address(cidr(&kernel[1], 64));
        let taps = builder.open_queues(queues).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(taps.len(), queues);
        let addresses = [cidr(&stacks[0], 24), cidr(&stacks[1], 64)];
        let builder = Builder::new().spread_udp_port(SPREAD_PORT).interface_with_queues(taps, addresses);
        let runtime = builder.start().expect("it starts");
        runtime.handle().wait_ready(Duration::from_secs(10)).expect("nobody else has the addresses");
        Host { runtime, kernel, stacks }
    }
}

fn cidr(addr: &str, len: u8) -> portolan::Cidr {
    format!("{addr}/{len}").parse().expect("an address of the test")
}

fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse::<IpAddr>().expect("an address of the test"), port)
}

/// Runs a test with every combination of the number of queues and the kind of device.
fn for_each_device(test: impl Fn(&Host, usize)) {
    let devices = [(2, Offload::Auto), (4, Offload::Auto), (2, Offload::Off), (4, Offload::Off)];
    for (network, (queues, offload)) in (1..).zip(devices) {
        println!("{queues} queues, offload {offload:?}");
        let host = Host::start(network, queues, offload);
        test(&host, queues);
        host.runtime.shutdown(Duration::ZERO).expect("an ordinary end");
    }
}

/// Checks that no stack answered for another: there was no reset, no "unreachable", and no
/// retransmission.
fn assert_nothing_went_wrong(handle: &Handle) {
    let stats = handle.stats();
    assert_eq!(
        (stats.tcp.out_rsts, stats.tcp.resets_received, stats.icmp.errors_sent),
        (0, 0, 0),
        "{stats:?}"
    );
    for reason in [DropReason::NoTcpSocket, DropReason::NoUdpSocket] {
        assert_eq!(stats.drops(reason), 0, "{stats:?}");
    }
    assert_eq!(handle.handovers().lost, 0);
}

/// An echo server with a thread for each connection.
fn serve_echo(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buf = [0; 16 << 10];
                while let Ok(len @ 1..) = stream.read(&mut buf) {
                    if stream.write_all(&buf[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn serve_kernel_echo(addr: SocketAddr) -> SocketAddr {
    let listener = KernelListener::bind(addr).expect("a free port of the kernel");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buf = [0; 16 << 10];
                while let Ok(len @ 1..) = stream.read(&mut buf) {
                    if stream.write_all(&buf[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

fn echo(stream: &mut (impl Read + Write), seed: u64, len: usize) {
    let sent = Pattern::new(seed).take(len);
    stream.write_all(&sent).unwrap_or_else(|error| panic!("{seed}: {error}"));
    let mut back = vec![0; len];
    stream.read_exact(&mut back).unwrap_or_else(|error| panic!("{seed}: {error}"));
    assert_eq!(back, sent);
}

/// In both directions, over both families, and again after the kernel has forgotten the queue of
/// each flow.
#[test]
fn connections_that_pause_go_on_where_they_were() {
    beside_portolan("queues::connections_that_pause_go_on_where_they_were", &[], || {
        for_each_device(|Host { runtime, kernel, stacks }, queues| {
            for addr in stacks {
                serve_echo(TcpListener::bind(runtime, at(addr, 7)).expect("the port is free"));
            }
            let echoes = [0, 1].map(|family| serve_kernel_echo(at(&kernel[family], 0)));
            let mut incoming: Vec<KernelStream> = (0..100)
                .map(|n| KernelStream::connect(at(&stacks[n % 2], 7)).expect("somebody listens"))
                .collect();
            let mut outgoing: Vec<TcpStream> = (0..100)
                .map(|n| TcpStream::connect(runtime, echoes[n % 2]).expect("somebody listens"))
                .collect();
            let mut echo_through_all = || {
                let before = runtime.handle().handovers().frames;
                for (n, stream) in incoming.iter_mut().enumerate() {
                    echo(stream, n as u64, 3000);
                }
                for (n, stream) in outgoing.iter_mut().enumerate() {
                    echo(stream, n as u64, 3000);
                }
                runtime.handle().handovers().frames - before
            };
            let moving = echo_through_all();
            thread::sleep(FORGOTTEN);
            let after_pause = echo_through_all();
            println!("{queues} queues: {moving} frames handed over, {after_pause} after a pause");
            // The kernel's own choice is right for one flow out of `queues`.
            assert!(after_pause > 0, "this shows nothing if all came to the right queue");
            assert_nothing_went_wrong(runtime.handle());
            let used = runtime.handle().with_each_stack(|stack| stack.stats().tcp.passive_opens);
            assert!(used.iter().all(|&count| count > 0), "each stack has some: {used:?}");
        });
    });
}

/// A flow that does not pause comes to the right queue from its first answer on.
#[test]
fn flows_that_move_need_no_hand_over() {
    beside_portolan("queues::flows_that_move_need_no_hand_over", &[], || {
        for_each_device(|Host { runtime, stacks, .. }, _| {
            serve_echo(TcpListener::bind(runtime, at(&stacks[0], 7)).expect("the port is free"));
            let before = runtime.handle().handovers().frames;
            let mut streams: Vec<_> =
                (0..8).map(|_| KernelStream::connect(at(&stacks[0], 7)).expect("somebody listens")).collect();
            for round in 0..200 {
                for stream in &mut streams {
                    echo(stream, round, 1000);
                }
            }
            let handed_over = runtime.handle().handovers().frames - before;
            let frames = runtime.handle().stats().link.frames_in;
            assert!(frames > 1600 && handed_over < frames / 20, "{handed_over} of {frames}");
            assert_nothing_went_wrong(runtime.handle());
        });
    });
}

#[test]
fn a_thousand_connections_each_way_spread_over_the_stacks() {
    beside_portolan("queues::a_thousand_connections_each_way_spread_over_the_stacks", &[], || {
        crate::tcp::raise_descriptor_limit();
        let Host { runtime, kernel, stacks } = Host::start(1, 4, Offload::Auto);
        let listener = TcpListener::bind(&runtime, at(&stacks[0], 80)).expect("the port is free");
        let kernel_listener = KernelListener::bind(at(&kernel[0], 0)).expect("a free port");
        let kernel_addr = kernel_listener.local_addr().expect("it is bound");
        let mut ends = Vec::new();
        for n in 0..1000u64 {
            let mut theirs = KernelStream::connect(at(&stacks[0], 80)).expect("somebody listens");
            let (mut ours, _) = listener.accept().expect("a connection");
            let mut opened = TcpStream::connect(&runtime, kernel_addr).expect("somebody listens");
            let (mut accepted, _) = kernel_listener.accept().expect("a connection");
            theirs.write_all(&n.to_be_bytes()).expect("written");
            opened.write_all(&n.to_be_bytes()).expect("written");
            let mut buf = [0; 8];
            ours.read_exact(&mut buf).expect("read");
            assert_eq!(u64::from_be_bytes(buf), n);
            accepted.read_exact(&mut buf).expect("read");
            assert_eq!(u64::from_be_bytes(buf), n);
            ends.push((theirs, ours, opened, accepted));
        }
        assert_nothing_went_wrong(runtime.handle());
        for counts in [
            runtime.handle().with_each_stack(|stack| stack.stats().tcp.passive_opens),
            runtime.handle().with_each_stack(|stack| stack.stats().tcp.active_opens),
        ] {
            assert_eq!(counts.iter().sum::<u64>(), 1000);
            assert!(counts.iter().all(|count| (180..320).contains(count)), "{counts:?}");
        }
        let connections =
            runtime.handle().sockets().iter().filter(|socket| socket.state.name() == "ESTABLISHED").count();
        assert_eq!(connections, 2000);
    });
}

/// A server on a UDP port of all stacks: each has a part of the clients, and a client stays with
/// its stack.
#[test]
fn one_udp_port_on_every_stack() {
    beside_portolan("queues::one_udp_port_on_every_stack", &[], || {
        for_each_device(|Host { runtime, kernel, stacks }, queues| {
            for family in 0..2 {
                let server = at(&stacks[family], SPREAD_PORT);
                let sockets = UdpSocket::bind_on_every_queue(runtime, server).expect("it is spread");
                assert_eq!(sockets.len(), queues);
                for (index, socket) in (0_u8..).zip(sockets) {
                    thread::spawn(move || {
                        let mut buf = [0; 64];
                        while let Ok((len, from)) = socket.recv_from(&mut buf) {
                            if len == 0 || socket.send_to(&[index], from).is_err() {
                                break;
                            }
                        }
                    });
                }
                let mut served = vec![0; queues];
                let clients: Vec<_> = (0..20 * queues)
                    .map(|_| {
                        let client = std::net::UdpSocket::bind(at(&kernel[family], 0)).expect("a free port");
                        client.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
                        client.connect(server).expect("a route");
                        client
                    })
                    .collect();
                for client in &clients {
                    let ask = || {
                        client.send(b"who?").expect("sent");
                        let mut answer = [0; 1];
                        client.recv(&mut answer).expect("an answer");
                        usize::from(answer[0])
                    };
                    let first = ask();
                    assert_eq!(ask(), first, "a client stays with its stack");
                    served[first] += 1;
                }
                assert!(served.iter().all(|&count| count > 3), "{served:?}");
                // Each worker ends when one of its clients says so.
                clients.iter().for_each(|client| {
                    client.send(b"").expect("sent");
                });
            }
            assert_eq!(runtime.handle().handovers().lost, 0);
        });
    });
}

/// Datagrams from one frame to the largest, from sockets on any stack, and after a pause.
#[test]
fn datagrams_and_pings_with_fragments() {
    beside_portolan("queues::datagrams_and_pings_with_fragments", &[], || {
        for_each_device(|Host { runtime, kernel, stacks }, queues| {
            for family in 0..2 {
                for n in 0..2 * queues {
                    let peer = std::net::UdpSocket::bind(at(&kernel[family], 0)).expect("a free port");
                    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
                    let port = if n < queues { 6000 + n as u16 } else { 0 };
                    let socket = UdpSocket::bind(runtime, at(&stacks[family], port)).expect("a free port");
                    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
                    let addr = socket.local_addr().expect("it is bound");
                    for len in [1, 1472, 1473, 8000, 65_000] {
                        let data = Pattern::new(len as u64).take(len);
                        let mut back = vec![0; 65_536];
                        peer.send_to(&data, addr).expect("sent");
                        let (bytes, meta) =
                            socket.recv_msg().unwrap_or_else(|error| panic!("{addr}, {len}: {error}"));
                        assert_eq!(bytes, data);
                        socket.send_to(&bytes, meta.peer()).expect("sent");
                        let (got, from) = peer.recv_from(&mut back).expect("an answer");
                        assert_eq!((&back[..got], from), (&data[..], addr));
                    }
                    let echo = EchoSocket::for_addr(runtime, addr.ip()).expect("an identifier is free");
                    echo.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
                    for len in [8, 5000] {
                        let to = at(&kernel[family], 0).ip();
                        echo.send_request(to, n as u16, &Pattern::new(9).take(len)).expect("sent");
                        let reply = echo.recv_reply().unwrap_or_else(|error| panic!("{to}, {len}: {error}"));
                        assert_eq!(reply.payload, Pattern::new(9).take(len));
                    }
                }
                // After the last request ping waits for one interval, or for two round trips.
                for size in ["56", "5000", "60000"] {
                    let ping = tool(&format!("ping -c 5 -i 0.2 -s {size} {}", &stacks[family]));
                    assert!(ping.contains("5 received") && !ping.contains("DUP"), "{ping}");
                }
            }
            assert_nothing_went_wrong(runtime.handle());
        });
    });
}

/// A closed port is refused once, whichever queue the packet comes to; the same for our own
/// packets.
#[test]
fn refusals_come_once_and_to_the_right_stack() {
    beside_portolan("queues::refusals_come_once_and_to_the_right_stack", &[], || {
        // The kernel sends "unreachable" without a rate limit.
        std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").expect("our own namespace");
        for_each_device(|Host { runtime, kernel, stacks }, queues| {
            for n in 0..4 * queues as u16 {
                let error = KernelStream::connect(at(&stacks[0], 4000 + n)).expect_err("nobody listens");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                let error =
                    TcpStream::connect(runtime, at(&kernel[0], 4000 + n)).expect_err("nobody listens");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                let socket = UdpSocket::bind(runtime, at(&stacks[0], 0)).expect("a free port");
                socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
                socket.connect(at(&kernel[0], 4000 + n)).expect("a route");
                socket.send(b"anybody?").expect("sent");
                let error = socket.recv(&mut [0; 9]).expect_err("nobody is there");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            }
            let stats = runtime.handle().stats();
            assert_eq!(stats.tcp.out_rsts, 4 * queues as u64);
            assert_eq!(stats.tcp.resets_received, 4 * queues as u64);
        });
    });
}

/// The kernel's path to a host behind it is narrower than the link: its "too big" comes to any
/// queue, and the stack with the connection must get it.
#[test]
fn a_narrow_path_is_learned_by_the_stack_that_needs_it() {
    beside_portolan("queues::a_narrow_path_is_learned_by_the_stack_that_needs_it", &[], || {
        for_each_device(|Host { runtime, kernel, .. }, _| {
            let port = narrow_network();
            for router in kernel {
                let gateway: IpAddr = router.parse().expect("an address of the test");
                let any = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                for added in runtime.handle().with_each_stack(|stack| {
                    let iface = stack.interfaces()[0].id;
                    let destination = any.parse().expect("an address of the test");
                    stack.add_route(portolan::Route::new(destination, iface).via(gateway))
                }) {
                    added.expect("the gateway is a neighbour");
                }
            }
            for n in 0..8u64 {
                let to = if n % 2 == 0 { "10.8.0.2" } else { "fd08::2" };
                let mut stream = TcpStream::connect(runtime, at(to, port)).expect("somebody listens");
                echo(&mut stream, n, 200_000);
            }
            let stats = runtime.handle().stats();
            assert!(stats.recovery.path_mtu_retrans > 0 && stats.icmp.errors_received > 0, "{stats:?}");
            assert_eq!(stats.recovery.timeout_retrans, 0, "no data had to wait for a timer: {stats:?}");
            assert_nothing_went_wrong(runtime.handle());
            tool("ip link delete narrow0");
        });
    });
}

/// A host behind the kernel, in a new network namespace, on a link with an MTU of 1,300. Returns
/// the port of its echo service.
fn narrow_network() -> u16 {
    use std::sync::mpsc;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("our own namespace");
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("our own namespace");
    let (sender, receiver) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel::<()>();
    thread::spawn(move || {
        // SAFETY: after this the thread shares no descriptor table with others; it is a thread of a
        // test.
        #[allow(unsafe_code)]
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "a network namespace");
        // SAFETY: gettid has no preconditions.
        #[allow(unsafe_code)]
        let tid = unsafe { libc::gettid() };
        sender.send((tid, 0)).expect("the test waits");
        ready.recv().expect("the test goes on");
        for line in [
            "ip link set lo up",
            "ip address add 10.8.0.2/24 dev narrow1",
            "ip address add fd08::2/64 dev narrow1 nodad",
            "ip link set narrow1 mtu 1300 up",
            // It announces a larger MSS, as if the narrow link were further away.
            "ip route add default via 10.8.0.1 advmss 1460",
            "ip route add default via fd08::1 advmss 1440",
        ] {
            tool(line);
        }
        let port = serve_kernel_echo(at("::", 0)).port();
        sender.send((0, port)).expect("the test waits");
        // The namespace exists as long as this thread and those that serve in it.
        thread::park();
    });
    let (tid, _) = receiver.recv().expect("the thread runs");
    for line in [
        format!("ip link add narrow0 type veth peer name narrow1 netns {tid}"),
        "ip address add 10.8.0.1/24 dev narrow0".into(),
        "ip address add fd08::1/64 dev narrow0 nodad".into(),
        "ip link set narrow0 mtu 1300 up".into(),
    ] {
        tool(&line);
    }
    ready_sender.send(()).expect("the thread waits");
    let (_, port) = receiver.recv().expect("the thread runs");
    port
}

/// The interface exists until its last queue is closed, and its name is taken until then.
#[test]
fn the_interface_lives_as_long_as_a_queue() {
    beside_portolan("queues::the_interface_lives_as_long_as_a_queue", &[], || {
        for offload in [Offload::Auto, Offload::Off] {
            let open = |queues| TapBuilder::new().name("queues0").offload(offload).open_queues(queues);
            let mut taps = open(256).unwrap_or_else(|error| panic!("{error}"));
            assert!(matches!(open(2), Err(Error::NameTaken { .. })));
            assert!(matches!(open(1), Err(Error::NameTaken { .. })));
            while taps.len() > 1 {
                taps.swap_remove(0);
            }
            assert!(tool("ip -o link show queues0").contains("queues0"));
            drop(taps);
            assert!(!tool("ip -o link").contains("queues0"));
            assert!(matches!(open(0), Err(Error::InvalidQueues { queues: 0 })));
            assert!(matches!(open(257), Err(Error::InvalidQueues { queues: 257 })));
        }
    });
}

/// Removing the device ends all stacks with an error that says so.
#[test]
fn a_device_that_goes_away_ends_all_stacks() {
    beside_portolan("queues::a_device_that_goes_away_ends_all_stacks", &[], || {
        let Host { runtime, stacks, .. } = Host::start(1, 3, Offload::Auto);
        let waits: Vec<_> = (6000..6003)
            .map(|port| UdpSocket::bind(&runtime, at(&stacks[0], port)).expect("a free port"))
            .map(|socket| thread::spawn(move || socket.recv_msg().expect_err("the device is gone")))
            .collect();
        tool("ip link delete queues0");
        for wait in waits {
            let error = wait.join().expect("no panic").to_string();
            assert!(error.contains("removed from outside"), "{error}");
        }
        assert!(!runtime.handle().is_running());
    });
}

/// `portolan up` itself: the page shows its stacks, and the frames that they handed to each other.
#[test]
fn the_status_page_sums_up() {
    beside_portolan("queues::the_status_page_sums_up", &[], || {
        let mut connections: Vec<_> =
            (0..60).map(|n| connect(stack_at(7)[n % 2]).expect("somebody listens")).collect();
        for (n, connection) in connections.iter_mut().enumerate() {
            round_trip(connection, n as u64);
        }
        let page = page("/");
        assert_eq!(counter(&page, ">stacks<"), 3, "{page}");
        assert!(counter(&page, "frames_handed_over") > 0);
        assert!(counter(&page, "tcp.passive_opens") > 60);
        assert!(page.matches("ESTABLISHED").count() >= 60);
        assert_eq!(counter(&page, "tcp.out_rsts"), 0);
    });
}
