use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::vec::Vec;

use crate::testing::PacketBuilder;
use crate::{
    Config, DeadlineKind, Descriptor, Domain, DropReason, Error, Frame, Instant, Interception,
    InterfaceConfig, InterfaceId, Medium, SocketKind, SocketOption, Stack, Unreachable,
};

/// A stack that is 10.0.0.1 and fd00::1 on a tunnel whose packets it takes.
struct Bench {
    stack: Stack,
    iface: InterfaceId,
    interceptor: Descriptor,
    now: Instant,
}

const SOURCE: &str = "10.0.0.9:5000";
const DESTINATION: &str = "203.0.113.7:53";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Bench {
        let now = Instant::from_secs(100);
        let mut config = Config::default();
        change(&mut config);
        let mut stack = Stack::new(config, [7; 32], now);
        let interface = InterfaceConfig::new(Medium::Ip)
            .address("10.0.0.1/8".parse().unwrap())
            .address("fd00::1/8".parse().unwrap())
            .intercept(Interception::all());
        let iface = stack.add_interface(now, interface).unwrap();
        let interceptor = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.intercept(interceptor).unwrap();
        Bench { stack, iface, interceptor, now }
    }

    fn receive(&mut self, source: &str, destination: &str, data: &[u8]) {
        let (source, destination) = (addr(source), addr(destination));
        let builder = PacketBuilder::new(source.ip(), destination.ip());
        let packet = builder.udp(source.port(), destination.port(), data);
        self.stack.handle_frame(self.now, self.iface, Frame::new(packet));
    }

    fn accept(&mut self) -> Descriptor {
        self.stack.accept(self.interceptor).unwrap().0
    }

    fn waits(&self) -> bool {
        self.stack.readiness(self.interceptor).unwrap().readable
    }

    /// All datagrams that wait at a socket.
    fn read(&mut self, d: Descriptor) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buf = [0; 2000];
        while let Ok(len) = self.stack.recv(self.now, d, &mut buf) {
            all.push(buf[..len].to_vec());
        }
        all
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.stack.poll_transmit(self.now).map(|frame| frame.to_vec())).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.stack.handle_timeout(self.now);
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.stack.stats().drops(reason)
    }
}

/// The source and the destination of a UDP packet.
fn ends(packet: &[u8]) -> (SocketAddr, SocketAddr) {
    let (src, dst, udp): (IpAddr, IpAddr, _) = if packet[0] >> 4 == 4 {
        let at = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
        (at(12), at(16), &packet[20..])
    } else {
        let at = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into();
        (at(8), at(24), &packet[40..])
    };
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    ((src, port(0)).into(), (dst, port(2)).into())
}

#[test]
fn a_flow_is_a_connected_socket_with_its_first_datagrams() {
    for (source, destination) in [(SOURCE, DESTINATION), ("[fd00::9]:5000", "[2001:db8::7]:443")] {
        let mut bench = Bench::new(|_| ());
        assert!(!bench.waits());
        bench.receive(source, destination, b"one");
        bench.receive(source, destination, b"two");
        assert!(bench.waits());
        assert_eq!(bench.stack.poll_event().map(|event| event.readiness.readable), Some(true));
        let (d, peer) = bench.stack.accept(bench.interceptor).unwrap();
        assert_eq!(peer.ip(), Some(addr(source)));
        assert!(!bench.waits(), "both are of one flow");
        assert_eq!(bench.stack.accept(bench.interceptor).unwrap_err(), Error::WouldBlock);
        assert_eq!(bench.stack.local_addr(d), Ok(addr(destination)));
        assert_eq!(bench.stack.peer_addr(d), Ok(addr(source)));
        assert_eq!(bench.read(d), [b"one", b"two"]);
        bench.receive(source, destination, b"three");
        assert_eq!(bench.read(d), [b"three"]);
        bench.stack.send(bench.now, d, b"answer").unwrap();
        let sent = bench.sent();
        assert_eq!(
            sent.iter().map(|packet| ends(packet)).collect::<Vec<_>>(),
            [(addr(destination), addr(source))]
        );
        // Its local port is still free: the address is another host's.
        let own = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        bench.stack.bind(own, ([10, 0, 0, 1], addr(destination).port())).unwrap();
        bench.stack.close(bench.now, d).unwrap();
        bench.receive(source, destination, b"four");
        assert!(bench.waits(), "a new flow");
        assert_eq!(bench.stack.stats().interception.flows, 2);
    }
}

#[test]
fn each_source_and_destination_is_a_flow() {
    let mut bench = Bench::new(|_| ());
    let flows = [
        (SOURCE, DESTINATION),
        ("10.0.0.9:5001", DESTINATION),
        ("10.0.0.8:5000", DESTINATION),
        (SOURCE, "203.0.113.7:54"),
        (SOURCE, "203.0.113.8:53"),
    ];
    for (number, (source, destination)) in flows.into_iter().enumerate() {
        bench.receive(source, destination, &[number as u8]);
    }
    for (number, (source, destination)) in flows.into_iter().enumerate() {
        let d = bench.accept();
        assert_eq!(bench.stack.local_addr(d), Ok(addr(destination)));
        assert_eq!(bench.stack.peer_addr(d), Ok(addr(source)));
        assert_eq!(bench.read(d), [[number as u8]]);
    }
}

#[test]
fn sockets_of_any_address_and_own_addresses_come_first() {
    let mut bench = Bench::new(|_| ());
    let resolver = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    bench.stack.bind(resolver, ([0; 4], 53)).unwrap();
    bench.receive(SOURCE, DESTINATION, b"who?");
    assert!(!bench.waits());
    assert_eq!(bench.read(resolver), [b"who?"]);
    bench.receive(SOURCE, "10.0.0.1:99", b"nobody");
    assert!(!bench.waits());
    assert_eq!(bench.drops(DropReason::NoUdpSocket), 1);
}

#[test]
fn before_it_is_accepted_a_flow_takes_little() {
    let mut bench = Bench::new(|_| ());
    for _ in 0..100 {
        bench.receive(SOURCE, DESTINATION, &[7; 1000]);
    }
    // 16 KiB, with 256 bytes of overhead for each datagram.
    let limit = (16 << 10) / 1256;
    assert_eq!(bench.drops(DropReason::ReceiveBufferFull), 100 - limit as u64);
    let d = bench.accept();
    assert_eq!(bench.read(d).len(), limit);
    for _ in 0..100 {
        bench.receive(SOURCE, DESTINATION, &[7; 1000]);
    }
    assert_eq!(bench.read(d).len(), 100);
}

#[test]
fn an_idle_flow_ends_and_its_next_datagram_opens_another() {
    let mut bench = Bench::new(|_| ());
    bench.receive(SOURCE, DESTINATION, b"one");
    let d = bench.accept();
    bench.receive("10.0.0.9:5001", DESTINATION, b"never accepted");
    bench.read(d);
    // Datagrams in either direction keep it.
    bench.pass(Duration::from_secs(200));
    bench.receive(SOURCE, DESTINATION, b"two");
    bench.pass(Duration::from_secs(99));
    assert!(bench.waits());
    bench.pass(Duration::from_secs(1));
    assert!(!bench.waits());
    assert_eq!(bench.drops(DropReason::FlowEnded), 1);
    bench.stack.send(bench.now, d, b"three").unwrap();
    bench.pass(Duration::from_secs(299));
    let due = bench.stack.poll_timeout().unwrap();
    assert_eq!((due.at, due.kind), (bench.now + Duration::from_secs(1), DeadlineKind::IdleFlow));
    bench.read(d);
    bench.pass(Duration::from_secs(1));
    let ready = bench.stack.readiness(d).unwrap();
    assert!(ready.readable && ready.error && ready.hung_up);
    assert_eq!(bench.stack.recv(bench.now, d, &mut [0; 9]), Err(Error::TimedOut));
    assert_eq!(bench.stack.send(bench.now, d, b"four"), Err(Error::DestinationRequired));
    assert_eq!(bench.stack.next_timeout_at(), None);
    bench.receive(SOURCE, DESTINATION, b"five");
    let next = bench.accept();
    assert_eq!(bench.read(next), [b"five"]);
    bench.stack.close(bench.now, d).unwrap();
    bench.receive(SOURCE, DESTINATION, b"six");
    assert_eq!(bench.read(next), [b"six"]);
}

#[test]
fn at_the_limit_those_go_first_that_were_not_answered_and_then_the_least_recently_used() {
    let mut bench = Bench::new(|config| config.interception.max_flows = 3);
    let mut flows = Vec::new();
    for source in ["10.0.0.9:1", "10.0.0.9:2", "10.0.0.9:3"] {
        bench.receive(source, DESTINATION, b"x");
        flows.push(bench.accept());
        bench.pass(Duration::from_secs(2));
    }
    for number in [0, 2] {
        bench.stack.send(bench.now, flows[number], b"y").unwrap();
        bench.pass(Duration::from_secs(2));
    }
    let ended = |bench: &Bench, number: usize| bench.stack.readiness(flows[number]).unwrap().error;
    bench.receive("10.0.0.9:4", DESTINATION, b"x");
    assert_eq!([0, 1, 2].map(|number| ended(&bench, number)), [false, true, false]);
    // The new one was not answered either.
    bench.receive("10.0.0.9:5", DESTINATION, b"x");
    assert_eq!((bench.drops(DropReason::FlowEnded), ended(&bench, 0)), (1, false));
    let last = bench.accept();
    bench.stack.send(bench.now, last, b"y").unwrap();
    bench.receive("10.0.0.9:6", DESTINATION, b"x");
    assert_eq!([0, 2].map(|number| ended(&bench, number)), [true, false]);
    assert_eq!(bench.stack.take_error(flows[0]), Ok(Some(Error::ConnectionAborted)));
}

#[test]
fn a_source_ends_its_own_flows_and_not_those_of_others() {
    let mut bench = Bench::new(|config| config.interception.max_flows_per_source = 2);
    bench.receive(SOURCE, DESTINATION, b"x");
    let d = bench.accept();
    for port in 1..=100 {
        bench.now += Duration::from_millis(1);
        bench.receive(&std::format!("10.0.0.66:{port}"), DESTINATION, b"x");
    }
    assert!(!bench.stack.readiness(d).unwrap().error);
    assert_eq!(bench.drops(DropReason::FlowEnded), 98);
    let mut ports = Vec::new();
    while let Ok((_, peer)) = bench.stack.accept(bench.interceptor) {
        ports.push(peer.ip().unwrap().port());
    }
    assert_eq!(ports, [99, 100]);
}

#[test]
fn icmp_errors_pass_in_both_directions() {
    for (source, destination) in [(SOURCE, DESTINATION), ("[fd00::9]:5000", "[2001:db8::7]:443")] {
        let mut bench = Bench::new(|_| ());
        bench.receive(source, destination, b"x");
        let d = bench.accept();
        bench.read(d);
        let is_v4 = addr(source).is_ipv4();
        for (what, expected) in [
            (Unreachable::Port, if is_v4 { [3, 3] } else { [1, 4] }),
            (Unreachable::Host, if is_v4 { [3, 1] } else { [1, 3] }),
        ] {
            bench.stack.reject_flow(bench.now, d, what).unwrap();
            let sent = bench.sent();
            let message = &sent[0][if is_v4 { 20 } else { 40 }..];
            assert_eq!(message[..2], expected);
            assert_eq!(ends(&message[8..]), (addr(source), addr(destination)), "it quotes the datagram");
        }
        // The source says that nobody is there any more.
        bench.stack.send(bench.now, d, b"answer").unwrap();
        let answer = bench.sent().remove(0);
        let builder = PacketBuilder::new(addr(source).ip(), addr(destination).ip());
        let (kind, code) = if is_v4 { (3, 3) } else { (1, 4) };
        let error = builder.icmp(kind, code, &[&[0; 4][..], &answer].concat());
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(error));
        assert_eq!(bench.stack.take_error(d), Ok(Some(Error::ConnectionRefused)));
        let other = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        assert_eq!(bench.stack.reject_flow(bench.now, other, Unreachable::Port), Err(Error::InvalidArgument));
    }
}

#[test]
fn without_an_interceptor_datagrams_are_refused_and_accepted_flows_go_on() {
    let mut bench = Bench::new(|_| ());
    bench.receive(SOURCE, DESTINATION, b"x");
    let d = bench.accept();
    bench.receive("10.0.0.9:5001", DESTINATION, b"waits");
    bench.read(d);
    let before = bench.stack.memory_bytes();
    bench.stack.close(bench.now, bench.interceptor).unwrap();
    assert_eq!(bench.drops(DropReason::FlowEnded), 1);
    assert!(bench.stack.memory_bytes() < before);
    bench.receive(SOURCE, DESTINATION, b"y");
    assert_eq!(bench.read(d), [b"y"]);
    bench.receive("10.0.0.9:5001", DESTINATION, b"refused");
    assert_eq!((bench.drops(DropReason::NoUdpSocket), bench.sent().len()), (1, 1));
    bench.interceptor = bench.stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    bench.stack.intercept(bench.interceptor).unwrap();
    bench.receive("10.0.0.9:5001", DESTINATION, b"z");
    bench.accept();
}

#[test]
fn one_datagram_socket_of_a_stack_intercepts_and_does_nothing_else() {
    let mut bench = Bench::new(|_| ());
    let (now, d) = (bench.now, bench.interceptor);
    let other = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(bench.stack.intercept(other), Err(Error::AddressInUse));
    assert_eq!(bench.stack.intercept(d), Err(Error::InvalidArgument));
    assert_eq!(bench.stack.accept(other).unwrap_err(), Error::NotSupported);
    bench.stack.bind(other, ([0; 4], 99)).unwrap();
    assert_eq!(bench.stack.intercept(other), Err(Error::InvalidArgument));
    let to = addr("10.0.0.9:9");
    assert!(bench.stack.send_to(now, d, b"x", to).is_err());
    assert!(bench.stack.connect(now, d, to).is_err());
    assert!(bench.stack.recv(now, d, &mut [0]).is_err());
    assert!(bench.stack.shutdown(now, d, crate::Shutdown::Both).is_err());
    let device = SocketOption::BindToDevice(Some(bench.iface));
    let _ = bench.stack.set_option(now, d, device);
    bench.receive(SOURCE, DESTINATION, b"x");
    bench.accept();
    // A stream may intercept beside it.
    let stream = bench.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    bench.stack.intercept(stream).unwrap();
}

#[test]
fn a_flood_of_flows_takes_a_bounded_part_of_memory() {
    let mut bench = Bench::new(|config| config.interception.max_flows = 1000);
    let source = |number: u32| std::format!("10.{}.{}.9:5000", number >> 8 & 255, number & 255);
    for number in 0..1000 {
        bench.receive(&source(number), DESTINATION, &[7; 100]);
    }
    let full = bench.stack.memory_bytes();
    for number in 1000..5000 {
        bench.receive(&source(number), DESTINATION, &[7; 100]);
    }
    // The list of those that wait may have entries that are gone.
    assert!(bench.stack.memory_bytes() <= full + (32 << 10), "{} {full}", bench.stack.memory_bytes());
    assert_eq!(bench.drops(DropReason::FlowEnded), 4000);
    let accepted = core::iter::from_fn(|| bench.stack.accept(bench.interceptor).ok()).count();
    assert_eq!(accepted, 1000);
}
