//! Zones with the same addresses on both sides.

use core::net::SocketAddr;
use std::string::String;
use std::vec;
use std::vec::Vec;

use crate::testing::{PacketBuilder, TcpSegment, internet_checksum};
use crate::{
    Config, Descriptor, Domain, Error, Forwarding, Frame, Instant, Interception, InterfaceConfig,
    InterfaceId, Medium, PendingEvent, Route, SendMeta, SocketKind, SocketOption, Stack, Zone,
};

const NOW: Instant = Instant::from_secs(100);
const SYN: u8 = TcpSegment::SYN;
const ACK: u8 = TcpSegment::ACK;

/// A stack that is 10.0.0.1 and fd00::1 in zones 0, 1 and 2, on an interface each, which takes
/// packets to any address.
struct Bench {
    stack: Stack,
    ifaces: [InterfaceId; 3],
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Config::default())
    }

    fn with(config: Config) -> Bench {
        let mut stack = Stack::new(config, [7; 32], NOW);
        let ifaces = [0, 1, 2].map(|zone| {
            let interface = InterfaceConfig::new(Medium::Ip)
                .address("10.0.0.1/24".parse().unwrap())
                .address("fd00::1/64".parse().unwrap())
                .intercept(Interception::all().answer_echo(true))
                .zone(zone);
            stack.add_interface(NOW, interface).unwrap()
        });
        Bench { stack, ifaces }
    }

    fn receive(&mut self, zone: usize, packet: Vec<u8>) {
        self.stack.handle_frame(NOW, self.ifaces[zone], Frame::new(packet));
        self.stack.handle_timeout(NOW);
    }

    /// The packets that the stack sends, with their zones.
    fn sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let next = || {
            let frame = self.stack.poll_transmit(NOW)?;
            let zone = self.ifaces.iter().position(|&iface| iface == frame.iface()).unwrap();
            Some((zone, frame.to_vec()))
        };
        core::iter::from_fn(next).collect()
    }

    /// The zones that packets are sent to.
    fn sent_to(&mut self) -> Vec<usize> {
        self.sent().into_iter().map(|(zone, _)| zone).collect()
    }

    fn socket(&mut self, kind: SocketKind, zone: Option<usize>) -> Descriptor {
        let d = self.stack.socket(Domain::V4, kind).unwrap();
        if let Some(zone) = zone {
            let device = SocketOption::BindToDevice(Some(self.ifaces[zone]));
            self.stack.set_option(NOW, d, device).unwrap();
        }
        d
    }

    fn read(&mut self, d: Descriptor) -> Result<Vec<u8>, Error> {
        let mut buf = vec![0; 5000];
        self.stack.recv(NOW, d, &mut buf).map(|len| buf[..len].to_vec())
    }

    /// Passes frames between the stack and its guests until none is left.
    fn run(&mut self, guests: &mut [Guest]) {
        for _ in 0..200 {
            let sent = self.sent();
            let mut is_over = sent.is_empty();
            for (zone, packet) in sent {
                let guest = guests.iter_mut().find(|guest| guest.zone == zone).unwrap();
                guest.stack.handle_frame(NOW, guest.iface, Frame::new(packet));
            }
            for guest in &mut *guests {
                guest.stack.handle_timeout(NOW);
                while let Some(frame) = guest.stack.poll_transmit(NOW) {
                    is_over = false;
                    self.stack.handle_frame(NOW, self.ifaces[guest.zone], frame.to_frame());
                }
            }
            self.stack.handle_timeout(NOW);
            if is_over {
                return;
            }
        }
        panic!("frames without end");
    }
}

/// The other side of a zone: 10.0.0.2 with the stack as its gateway.
struct Guest {
    zone: usize,
    stack: Stack,
    iface: InterfaceId,
}

impl Guest {
    fn new(zone: usize) -> Guest {
        let mut stack = Stack::new(Config::default(), [zone as u8 + 10; 32], NOW);
        let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.2/24".parse().unwrap());
        let iface = stack.add_interface(NOW, interface).unwrap();
        stack.add_route(Route::new("0.0.0.0/0".parse().unwrap(), iface)).unwrap();
        Guest { zone, stack, iface }
    }

    /// A socket on this port, which is the same in all zones.
    fn socket(&mut self, kind: SocketKind, port: u16) -> Descriptor {
        let d = self.stack.socket(Domain::V4, kind).unwrap();
        self.stack.bind(d, ([10, 0, 0, 2], port)).unwrap();
        d
    }

    fn read(&mut self, d: Descriptor) -> Result<Vec<u8>, Error> {
        let mut buf = vec![0; 5000];
        self.stack.recv(NOW, d, &mut buf).map(|len| buf[..len].to_vec())
    }
}

fn words(zone: usize) -> Vec<u8> {
    std::format!("zone {zone}").into_bytes()
}

fn builder() -> PacketBuilder {
    PacketBuilder::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into())
}

fn syn(port: u16) -> TcpSegment {
    TcpSegment { seq: 5000, flags: SYN, ..TcpSegment::new(40_000, port) }
}

#[test]
fn the_same_addresses_carry_everything_at_once() {
    let mut bench = Bench::new();
    let mut guests = [0, 1, 2].map(Guest::new);
    let listener = bench.socket(SocketKind::Stream, None);
    bench.stack.bind(listener, ([0, 0, 0, 0], 80)).unwrap();
    bench.stack.listen(listener, 8).unwrap();
    let wildcard = bench.socket(SocketKind::Datagram, None);
    bench.stack.bind(wildcard, ([0, 0, 0, 0], 53)).unwrap();
    let interceptor = bench.socket(SocketKind::Stream, None);
    bench.stack.intercept(interceptor).unwrap();
    let flows = bench.socket(SocketKind::Datagram, None);
    bench.stack.intercept(flows).unwrap();

    // In each zone the same ports between the same addresses.
    let clients = guests.each_mut().map(|guest| {
        let near = guest.socket(SocketKind::Stream, 5000);
        guest.stack.connect(NOW, near, ([10, 0, 0, 1], 80)).unwrap_err();
        let far = guest.socket(SocketKind::Stream, 5001);
        guest.stack.connect(NOW, far, ([203, 0, 113, 7], 443)).unwrap_err();
        let udp = guest.socket(SocketKind::Datagram, 5002);
        // In fragments.
        let long = words(guest.zone).repeat(600);
        guest.stack.send_to(NOW, udp, &long, ([203, 0, 113, 7], 5353)).unwrap();
        guest.stack.send_to(NOW, udp, &words(guest.zone), ([10, 0, 0, 1], 53)).unwrap();
        let echo = guest.socket(SocketKind::Echo, 7);
        for to in [[10, 0, 0, 1], [203, 0, 113, 7]] {
            let request = [&[8, 0, 0, 0, 0, 7, 0, 1][..], &words(guest.zone)].concat();
            guest.stack.send_to(NOW, echo, &request, (to, 0)).unwrap();
        }
        (near, far, udp, echo)
    });
    bench.run(&mut guests);
    let (mut zones, mut accepted) = (Vec::new(), Vec::new());
    while let Ok(PendingEvent::New(pending)) = bench.stack.poll_pending(interceptor) {
        zones.push(pending.zone);
        let d = bench.stack.accept_pending(NOW, interceptor, pending.id).unwrap();
        accepted.push((pending.zone, d));
    }
    zones.sort();
    assert_eq!(zones, [0, 1, 2].map(Zone::new));
    bench.run(&mut guests);
    for (zone, d) in accepted {
        bench.stack.send(NOW, d, &words(zone.number().into())).unwrap();
    }
    for _ in 0..3 {
        let (d, peer) = bench.stack.accept(listener).unwrap();
        assert_eq!(peer.ip(), Some(SocketAddr::from(([10, 0, 0, 2], 5000))));
        let (flow, _) = bench.stack.accept(flows).unwrap();
        let long = bench.read(flow).unwrap();
        bench.stack.send(NOW, flow, &long[..6]).unwrap();
        let iface = bench.stack.options(d).unwrap().device;
        let zone = bench.ifaces.iter().skip(1).position(|&other| Some(other) == iface).map_or(0, |at| at + 1);
        bench.stack.send(NOW, d, &words(zone)).unwrap();
    }
    let mut buf = [0; 100];
    for _ in 0..3 {
        let (len, meta) = bench.stack.recv_from(NOW, wildcard, &mut buf).unwrap();
        let zone = bench.ifaces.iter().position(|&iface| iface == meta.iface()).unwrap();
        assert_eq!(buf[..len], words(zone)[..]);
        // The answer to the same address in another zone leaves through its interface.
        let to = Some(([10, 0, 0, 2], 5002).into());
        let way = SendMeta { peer: to, iface: Some(meta.iface()), ..SendMeta::default() };
        bench.stack.send_msg(NOW, wildcard, buf[..len].to_vec().into(), &way).unwrap();
    }
    bench.run(&mut guests);
    for (guest, (near, far, udp, echo)) in guests.iter_mut().zip(clients) {
        let own = words(guest.zone);
        assert_eq!(guest.read(near), Ok(own.clone()), "a listener");
        assert_eq!(guest.read(far), Ok(own.clone()), "interception");
        assert_eq!([guest.read(udp), guest.read(udp)], [Ok(own.clone()), Ok(own.clone())], "UDP");
        for _ in 0..2 {
            assert!(guest.read(echo).unwrap().ends_with(&own), "echo");
        }
        for d in [near, udp, echo] {
            assert_eq!(guest.read(d), Err(Error::WouldBlock));
        }
    }
}

/// Whether what is entered through the first zone is found from the second.
type Sees = fn(usize, usize) -> bool;

/// Each table whose keys have addresses: what is entered through zone 1 is not found from zones 0
/// and 2, but from zone 1.
#[test]
fn no_table_keyed_by_addresses_joins_zones() {
    let tables: [(&str, Sees); 14] = [
        ("connections", sees_connection),
        ("SYN queue", sees_handshake),
        ("SYN cookies", sees_cookie),
        ("TIME-WAIT", sees_time_wait),
        ("pending connections", sees_pending),
        ("Fast Open cookies", sees_fast_open_cookie),
        ("connected UDP sockets", sees_connected_udp),
        ("UDP flows", sees_flow),
        ("echo identifiers", sees_echo),
        ("path MTUs", sees_path_mtu),
        ("reassembly", sees_fragment),
        ("limits of ICMP errors", sees_icmp_limit),
        ("limits of sources", sees_source_limit),
        ("addresses and routes", sees_address),
    ];
    for (table, sees) in tables {
        assert!(sees(1, 1), "{table}: not found in its own zone");
        assert!(sees(0, 0), "{table}: not found in zone 0");
        for (entered, asked) in [(1, 2), (2, 1), (1, 0), (0, 1)] {
            assert!(!sees(entered, asked), "{table}: entered in zone {entered}, found in zone {asked}");
        }
    }
}

fn flags(packet: &[u8]) -> u8 {
    packet[33]
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[24..28].try_into().unwrap())
}

/// The bench with a listener on port 80 that has half a handshake in a zone, and our number.
fn half_open(config: Config, zone: usize) -> (Bench, Descriptor, u32) {
    let mut bench = Bench::with(config);
    let listener = bench.socket(SocketKind::Stream, None);
    bench.stack.bind(listener, ([0, 0, 0, 0], 80)).unwrap();
    bench.stack.listen(listener, 8).unwrap();
    bench.receive(zone, builder().tcp(&syn(80)));
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].0, flags(&sent[0].1)), (1, zone, SYN | ACK));
    let isn = number(&sent[0].1);
    (bench, listener, isn)
}

fn ack_of(isn: u32) -> TcpSegment {
    TcpSegment { seq: 5001, ack: isn.wrapping_add(1), flags: ACK, ..syn(80) }
}

fn sees_handshake(entered: usize, asked: usize) -> bool {
    let (mut bench, listener, isn) = half_open(Config::default(), entered);
    bench.receive(asked, builder().tcp(&ack_of(isn)));
    bench.stack.accept(listener).is_ok()
}

fn sees_cookie(entered: usize, asked: usize) -> bool {
    let mut config = Config::default();
    config.tcp.syn_cookies = crate::SynCookieMode::Always;
    let (mut bench, listener, isn) = half_open(config, entered);
    bench.receive(asked, builder().tcp(&ack_of(isn)));
    bench.stack.accept(listener).is_ok()
}

fn sees_connection(entered: usize, asked: usize) -> bool {
    let (mut bench, listener, isn) = half_open(Config::default(), entered);
    bench.receive(entered, builder().tcp(&ack_of(isn)));
    let (d, _) = bench.stack.accept(listener).unwrap();
    bench.receive(asked, builder().tcp(&TcpSegment { payload: b"data".to_vec(), ..ack_of(isn) }));
    bench.read(d) == Ok(b"data".to_vec())
}

fn sees_time_wait(entered: usize, asked: usize) -> bool {
    let (mut bench, listener, isn) = half_open(Config::default(), entered);
    bench.receive(entered, builder().tcp(&ack_of(isn)));
    let (d, _) = bench.stack.accept(listener).unwrap();
    bench.stack.close(NOW, d).unwrap();
    let ack = isn.wrapping_add(2);
    let fin = TcpSegment { flags: ACK | TcpSegment::FIN, ack, ..ack_of(isn) };
    bench.receive(entered, builder().tcp(&fin));
    bench.sent();
    // The record answers a repeated FIN; without a record a reset is sent.
    bench.receive(asked, builder().tcp(&fin));
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].0), (1, asked));
    flags(&sent[0].1) == ACK
}

fn sees_pending(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let interceptor = bench.socket(SocketKind::Stream, None);
    bench.stack.intercept(interceptor).unwrap();
    let far = PacketBuilder::new([10, 0, 0, 2].into(), [203, 0, 113, 7].into());
    bench.receive(entered, far.tcp(&syn(443)));
    let PendingEvent::New(pending) = bench.stack.poll_pending(interceptor).unwrap() else { return false };
    bench.receive(asked, far.tcp(&TcpSegment { flags: TcpSegment::RST, seq: 5001, ..syn(443) }));
    let is_cancelled = !bench.stack.is_pending(interceptor, pending.id).unwrap();
    if !is_cancelled {
        bench.stack.accept_pending(NOW, interceptor, pending.id).unwrap();
        assert_eq!(bench.sent_to().last(), Some(&entered), "the answer leaves where the SYN came in");
    }
    is_cancelled
}

fn sees_fast_open_cookie(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let listener = bench.socket(SocketKind::Stream, None);
    bench.stack.bind(listener, ([0, 0, 0, 0], 80)).unwrap();
    bench.stack.set_option(NOW, listener, SocketOption::FastOpen(8)).unwrap();
    bench.stack.listen(listener, 8).unwrap();
    let with = |option: &[u8]| TcpSegment { options: option.to_vec(), ..syn(80) };
    bench.receive(entered, builder().tcp(&with(&[34, 2, 1, 1])));
    let sent = bench.sent().remove(0).1;
    let at = sent.windows(2).position(|kind| kind == [34, 10]).unwrap();
    let mut option = sent[at..at + 10].to_vec();
    option.extend([1, 1]);
    let segment = TcpSegment { payload: b"data".to_vec(), ..with(&option) };
    let again = TcpSegment { src_port: 40_001, ..segment };
    bench.receive(asked, builder().tcp(&again));
    bench.stack.accept(listener).is_ok()
}

fn sees_connected_udp(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let d = bench.socket(SocketKind::Datagram, Some(entered).filter(|&zone| zone != 0));
    bench.stack.bind(d, ([10, 0, 0, 1], 53)).unwrap();
    bench.stack.connect(NOW, d, ([10, 0, 0, 2], 5000)).unwrap();
    bench.receive(asked, builder().udp(5000, 53, b"data"));
    bench.read(d) == Ok(b"data".to_vec())
}

fn sees_flow(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let flows = bench.socket(SocketKind::Datagram, None);
    bench.stack.intercept(flows).unwrap();
    let far = PacketBuilder::new([10, 0, 0, 2].into(), [203, 0, 113, 7].into());
    bench.receive(entered, far.udp(5000, 53, b"one"));
    let (flow, _) = bench.stack.accept(flows).unwrap();
    bench.receive(asked, far.udp(5000, 53, b"two"));
    bench.stack.send(NOW, flow, b"answer").unwrap();
    assert_eq!(bench.sent_to(), [entered]);
    let is_one = bench.stack.accept(flows).is_err();
    assert_eq!(bench.read(flow), Ok(b"one".to_vec()));
    assert_eq!(bench.read(flow).is_ok(), is_one);
    is_one
}

fn sees_echo(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let d = bench.socket(SocketKind::Echo, Some(entered).filter(|&zone| zone != 0));
    bench.stack.bind(d, ([10, 0, 0, 1], 7)).unwrap();
    bench.receive(asked, builder().icmp(0, 0, &[0, 7, 0, 1, 9]));
    bench.read(d).is_ok()
}

/// An ICMP error from a router of a zone about our packet.
fn too_big(about: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0, 4, 0];
    message.extend(&about[..28]);
    let sum = internet_checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    builder().raw(1, &message)
}

fn sees_path_mtu(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let [one, other] = [entered, asked].map(|zone| {
        let d = bench.socket(SocketKind::Datagram, Some(zone).filter(|&zone| zone != 0));
        bench.stack.bind(d, ([0, 0, 0, 0], 9000)).ok();
        bench.stack.connect(NOW, d, ([10, 0, 0, 2], 9)).unwrap();
        d
    });
    bench.stack.send(NOW, one, &[0; 1400]).unwrap();
    let about = bench.sent().remove(0).1;
    bench.receive(entered, too_big(&about));
    // It may report the error first.
    for _ in 0..2 {
        let _ = bench.stack.send(NOW, other, &[0; 1400]);
    }
    let sent = bench.sent();
    assert!(!sent.is_empty());
    let largest = sent.iter().map(|(_, packet)| packet.len()).max();
    largest < Some(1400)
}

fn sees_fragment(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let d = bench.socket(SocketKind::Datagram, None);
    bench.stack.bind(d, ([0, 0, 0, 0], 53)).unwrap();
    let whole = builder().udp(5000, 53, &[7; 100]);
    let fragments = builder().fragments(17, &whole[20..], 64);
    assert_eq!(fragments.len(), 2);
    for (zone, fragment) in [entered, asked].into_iter().zip(fragments) {
        bench.receive(zone, fragment);
    }
    bench.read(d).is_ok()
}

fn sees_icmp_limit(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    let mut refusals = |zone: usize, count: usize| {
        (0..count).for_each(|_| bench.receive(zone, builder().udp(5000, 99, b"nobody")));
        bench.sent_to().len()
    };
    assert!((1..20).contains(&refusals(entered, 20)));
    refusals(asked, 1) == 0
}

fn sees_source_limit(entered: usize, asked: usize) -> bool {
    let mut config = Config::default();
    config.interception.max_flows_per_source = 1;
    config.interception.max_pending_per_source = 1;
    let mut bench = Bench::with(config);
    let interceptor = bench.socket(SocketKind::Stream, None);
    bench.stack.intercept(interceptor).unwrap();
    let flows = bench.socket(SocketKind::Datagram, None);
    bench.stack.intercept(flows).unwrap();
    let far = PacketBuilder::new([10, 0, 0, 2].into(), [203, 0, 113, 7].into());
    bench.receive(entered, far.tcp(&syn(443)));
    bench.receive(entered, far.udp(5000, 53, b"one"));
    let PendingEvent::New(pending) = bench.stack.poll_pending(interceptor).unwrap() else { return false };
    bench.receive(asked, far.tcp(&syn(444)));
    bench.receive(asked, far.udp(5000, 54, b"two"));
    let is_evicted = !bench.stack.is_pending(interceptor, pending.id).unwrap();
    let count = (0..3).filter(|_| bench.stack.accept(flows).is_ok()).count();
    assert_eq!(count == 1, is_evicted);
    is_evicted
}

/// An address that only one zone has is another host's in others.
fn sees_address(entered: usize, asked: usize) -> bool {
    let mut bench = Bench::new();
    bench.stack.add_address(NOW, bench.ifaces[entered], "192.168.1.1/24".parse().unwrap()).unwrap();
    let d = bench.socket(SocketKind::Datagram, Some(asked).filter(|&zone| zone != 0));
    let binds = bench.stack.bind(d, ([192, 168, 1, 1], 53)).is_ok();
    let other = bench.socket(SocketKind::Datagram, Some(asked).filter(|&zone| zone != 0));
    let routes = bench.stack.send_to(NOW, other, b"data", ([192, 168, 1, 2], 53)).is_ok()
        && bench.sent().iter().any(|(_, packet)| packet[12..16] == [192, 168, 1, 1]);
    assert_eq!(routes, binds);
    binds
}

#[test]
fn packets_are_forwarded_within_a_zone() {
    let mut stack = Stack::new(Config::default(), [7; 32], NOW);
    let ifaces: Vec<InterfaceId> =
        [(1, "10.0.0.1/24"), (1, "10.0.1.1/24"), (2, "10.0.1.1/24"), (0, "10.0.1.1/24")]
            .into_iter()
            .map(|(zone, address)| {
                let interface = InterfaceConfig::new(Medium::Ip).address(address.parse().unwrap()).zone(zone);
                stack.add_interface(NOW, interface.forwarding(Forwarding::ALL)).unwrap()
            })
            .collect();
    let mut forward = |from: usize, src: [u8; 4], dst: [u8; 4]| {
        let packet = PacketBuilder::new(src.into(), dst.into()).udp(1, 2, b"data");
        stack.handle_frame(NOW, ifaces[from], Frame::new(packet));
        let sent = stack.poll_transmit(NOW).map(|frame| (frame.iface(), frame.to_vec()[9]));
        assert!(stack.poll_transmit(NOW).is_none());
        sent
    };
    assert_eq!(forward(0, [10, 0, 0, 2], [10, 0, 1, 2]), Some((ifaces[1], 17)));
    // Zone 2 has no way there, and says so through its own interface.
    assert_eq!(forward(2, [10, 0, 1, 2], [10, 0, 0, 2]), Some((ifaces[2], 1)));
    assert_eq!(forward(3, [10, 0, 1, 2], [10, 0, 0, 2]), Some((ifaces[3], 1)));
}

#[test]
fn a_socket_reaches_the_zone_of_its_interface() {
    let mut bench = Bench::new();
    let mut guests = [0, 1, 2].map(Guest::new);
    let listeners = guests.each_mut().map(|guest| {
        let d = guest.socket(SocketKind::Stream, 80);
        guest.stack.listen(d, 1).unwrap();
        d
    });
    // From the same port to the same address.
    let clients = [0, 1, 2].map(|zone| {
        let d = bench.socket(SocketKind::Stream, Some(zone).filter(|&zone| zone != 0));
        bench.stack.set_option(NOW, d, SocketOption::ReuseAddr(true)).unwrap();
        bench.stack.bind(d, ([10, 0, 0, 1], 7000)).unwrap();
        assert_eq!(bench.stack.connect(NOW, d, ([10, 0, 0, 2], 80)), Err(Error::InProgress));
        d
    });
    bench.run(&mut guests);
    for (guest, listener) in guests.iter_mut().zip(listeners) {
        let (d, _) = guest.stack.accept(listener).unwrap();
        guest.stack.send(NOW, d, &words(guest.zone)).unwrap();
    }
    bench.run(&mut guests);
    for (zone, d) in clients.into_iter().enumerate() {
        assert_eq!(bench.read(d), Ok(words(zone)));
    }
}

#[test]
fn connections_within_a_zone_stay_in_it() {
    let mut bench = Bench::new();
    let listeners = [1, 2].map(|zone| {
        let d = bench.socket(SocketKind::Stream, Some(zone));
        bench.stack.bind(d, ([10, 0, 0, 1], 80)).unwrap();
        bench.stack.listen(d, 1).unwrap();
        d
    });
    let client = bench.socket(SocketKind::Stream, Some(1));
    let _ = bench.stack.connect(NOW, client, ([10, 0, 0, 1], 80));
    for _ in 0..4 {
        assert!(bench.sent().is_empty());
        bench.stack.handle_timeout(NOW);
    }
    assert!(bench.stack.accept(listeners[0]).is_ok());
    assert_eq!(bench.stack.accept(listeners[1]).unwrap_err(), Error::WouldBlock);
}

#[test]
fn interfaces_tell_their_zone() {
    let bench = Bench::new();
    let zones: Vec<Zone> = bench.stack.interfaces().into_iter().map(|info| info.zone).collect();
    assert_eq!(zones, [0, 1, 2].map(Zone::new));
    assert_eq!(std::format!("{}", Zone::new(7)), String::from("zone 7"));
    assert!(bench.stack.routes().len() >= 6);
}
