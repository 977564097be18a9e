//! The effect of options that are in no other test. What is expected was measured on Linux 6.18.

use core::net::{IpAddr, SocketAddr};
use std::vec;
use std::vec::Vec;

use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::testing::{PacketBuilder, TcpSegment};
use crate::{
    Config, Descriptor, Domain, DropReason, Error, FilterMode, Frame, Instant, Route, SocketKind,
    SocketOption, SourceFilter, Stack,
};

const NOW: Instant = Instant::ZERO;
const A: InterfaceId = InterfaceId(0);
const B: InterfaceId = InterfaceId(1);

/// A stack with 10.0.0.1 and fd00::1 on interface A, 10.0.1.1 and fd00:1::1 on B, and a router at
/// 10.0.0.9.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    for (v4, v6) in [("10.0.0.1/24", "fd00::1/64"), ("10.0.1.1/24", "fd00:1::1/64")] {
        let interface = InterfaceConfig::new(Medium::Ip);
        let interface = interface.address(v4.parse().unwrap()).address(v6.parse().unwrap());
        stack.add_interface(NOW, interface).unwrap();
    }
    for (to, router) in [("0.0.0.0/0", "10.0.0.9"), ("::/0", "fd00::9")] {
        stack.add_route(Route::new(to.parse().unwrap(), A).via(router.parse().unwrap())).unwrap();
    }
    stack
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn open(stack: &mut Stack, kind: SocketKind, family: &str, option: SocketOption) -> Descriptor {
    let domain = if family == "v4" { Domain::V4 } else { Domain::V6 };
    let d = stack.socket(domain, kind).unwrap();
    stack.set_option(NOW, d, option).unwrap();
    d
}

/// The frames that leave, each with its interface.
fn sent(stack: &mut Stack) -> Vec<(InterfaceId, Vec<u8>)> {
    let frames = core::iter::from_fn(|| stack.poll_transmit(NOW));
    frames.map(|frame| (frame.iface(), frame.to_vec())).collect()
}

const UDP: SocketKind = SocketKind::Datagram;
const TCP: SocketKind = SocketKind::Stream;

#[test]
fn without_routes_only_the_link_is_reached() {
    let mut stack = stack();
    let unreachable = Err(Error::NetworkUnreachable);
    let d = open(&mut stack, UDP, "v4", SocketOption::DontRoute(true));
    assert_eq!(stack.send_to(NOW, d, b"x", addr("8.8.8.8:9")), unreachable);
    assert_eq!(stack.send_to(NOW, d, b"x", addr("10.0.0.7:9")), Ok(1));
    assert_eq!(stack.connect(NOW, d, addr("8.8.8.8:9")), Err(Error::NetworkUnreachable));
    let d = open(&mut stack, TCP, "v4", SocketOption::DontRoute(true));
    assert_eq!(stack.connect(NOW, d, addr("8.8.8.8:9")), Err(Error::NetworkUnreachable));
    assert_eq!(stack.connect(NOW, d, addr("10.0.0.7:9")), Err(Error::InProgress));
    // Not over IPv6.
    let d = open(&mut stack, UDP, "v6", SocketOption::DontRoute(true));
    assert_eq!(stack.send_to(NOW, d, b"x", addr("[fd99::1]:9")), Ok(1));
}

#[test]
fn unicast_leaves_through_the_interface_that_was_set() {
    let mut stack = stack();
    let d = open(&mut stack, UDP, "v4", SocketOption::UnicastInterface(Some(B)));
    stack.send_to(NOW, d, b"x", addr("8.8.8.8:9")).unwrap();
    let (iface, frame) = sent(&mut stack).remove(0);
    assert_eq!((iface, &frame[12..16]), (B, &[10, 0, 1, 1][..]));
    // TCP does not look at the option.
    let d = open(&mut stack, TCP, "v4", SocketOption::UnicastInterface(Some(B)));
    assert_eq!(stack.connect(NOW, d, addr("8.8.8.8:9")), Err(Error::InProgress));
    assert_eq!(stack.local_addr(d).unwrap().ip(), addr("10.0.0.1:0").ip());
    // IPv6 needs a route there.
    let d = open(&mut stack, UDP, "v6", SocketOption::UnicastInterfaceV6(Some(B)));
    assert_eq!(stack.send_to(NOW, d, b"x", addr("[fd00::7]:9")), Err(Error::NetworkUnreachable));
    assert_eq!(stack.send_to(NOW, d, b"x", addr("[fd00:1::7]:9")), Ok(1));
    // By number, in network order; and not beside a device.
    let set = |stack: &mut Stack, d, index: u32| stack.setsockopt(NOW, d, 0, 50, &index.to_be_bytes());
    let d = open(&mut stack, UDP, "v4", SocketOption::UnicastInterface(None));
    assert_eq!(set(&mut stack, d, 2), Ok(()));
    assert_eq!(stack.options(d).unwrap().ip.unicast_interface, Some(B));
    assert_eq!(set(&mut stack, d, 77), Err(Error::AddressNotAvailable));
    stack.set_option(NOW, d, SocketOption::BindToDevice(Some(A))).unwrap();
    assert_eq!(set(&mut stack, d, 1), Err(Error::InvalidArgument));
    assert_eq!(set(&mut stack, d, 0), Ok(()));
}

#[test]
fn a_free_address_is_bound_before_it_is_there() {
    let mut stack = stack();
    for (kind, family, local, peer) in [
        (UDP, "v4", "10.0.0.77:53", "10.0.0.7:9"),
        (TCP, "v4", "10.0.0.77:53", "10.0.0.7:9"),
        (UDP, "v6", "[fd00::77]:53", "[fd00::7]:9"),
    ] {
        let d = open(&mut stack, kind, family, SocketOption::FreeBind(false));
        assert_eq!(stack.bind(d, addr(local)), Err(Error::AddressNotAvailable));
        stack.set_option(NOW, d, SocketOption::FreeBind(true)).unwrap();
        stack.bind(d, addr(local)).unwrap();
        let used = match kind {
            UDP => stack.send_to(NOW, d, b"x", addr(peer)).map(|_| ()),
            _ => stack.connect(NOW, d, addr(peer)),
        };
        assert_eq!(used, if family == "v4" { Err(Error::InvalidArgument) } else { Ok(()) });
    }
    stack.add_address(NOW, A, "10.0.0.77/24".parse().unwrap()).unwrap();
    let d = open(&mut stack, UDP, "v4", SocketOption::FreeBind(true));
    stack.bind(d, addr("10.0.0.77:54")).unwrap();
    assert_eq!(stack.send_to(NOW, d, b"x", addr("10.0.0.7:9")), Ok(1));
}

#[test]
fn the_port_is_drawn_late_and_from_the_range() {
    let mut stack = stack();
    let range = SocketOption::LocalPortRange(40_000, 40_001);
    for kind in [UDP, TCP] {
        let mut ports = Vec::new();
        // Both connect from two ports to two peers: more sockets than ports, if those are drawn for
        // the peer.
        for peer in ["10.0.0.7:9", "10.0.0.8:9"] {
            for _ in 0..2 {
                let d = open(&mut stack, kind, "v4", SocketOption::BindAddressNoPort(true));
                stack.set_option(NOW, d, range).unwrap();
                stack.bind(d, addr("10.0.0.1:0")).unwrap();
                assert_eq!(stack.local_addr(d), Ok(addr("10.0.0.1:0")));
                match stack.connect(NOW, d, addr(peer)) {
                    Ok(()) | Err(Error::InProgress) => {
                        ports.push(stack.local_addr(d).unwrap().port());
                        assert_eq!(stack.bind(d, addr("10.0.0.1:0")), Err(Error::InvalidArgument));
                    }
                    Err(error) => assert_eq!((kind, error), (UDP, Error::AddressInUse)),
                }
            }
        }
        ports.sort_unstable();
        let expected: &[u16] =
            if kind == TCP { &[40_000, 40_000, 40_001, 40_001] } else { &[40_000, 40_001] };
        assert_eq!(ports, expected, "{kind:?}");
    }
    // A listener, a sender and a receiver.
    let d = open(&mut stack, TCP, "v4", SocketOption::BindAddressNoPort(true));
    stack.bind(d, addr("10.0.1.1:0")).unwrap();
    stack.listen(d, 1).unwrap();
    assert_ne!(stack.local_addr(d).unwrap().port(), 0);
    let d = open(&mut stack, UDP, "v4", SocketOption::BindAddressNoPort(true));
    stack.bind(d, addr("10.0.1.1:0")).unwrap();
    stack.bind(d, addr("10.0.0.1:0")).unwrap();
    sent(&mut stack);
    stack.send_to(NOW, d, b"x", addr("10.0.0.7:9")).unwrap();
    let local = stack.local_addr(d).unwrap();
    assert_eq!(local.ip(), addr("10.0.0.1:0").ip());
    let answer = PacketBuilder::new(addr("10.0.0.7:0").ip(), local.ip()).udp(9, local.port(), b"y");
    stack.handle_frame(NOW, A, Frame::new(answer));
    assert_eq!(stack.recv(NOW, d, &mut [0; 9]), Ok(1));
    stack.close(NOW, d).unwrap();
    let d = open(&mut stack, TCP, "v4", range);
    let crossed = SocketOption::LocalPortRange(2, 1);
    assert_eq!(stack.set_option(NOW, d, crossed), Err(Error::InvalidArgument));
}

/// RFC 5082.
#[test]
fn segments_from_too_far_away_are_dropped() {
    let mut stack = stack();
    let mut dropped = 0;
    for (family, local, peer, option) in [
        ("v4", "10.0.0.1:80", "10.0.0.7:1000", SocketOption::MinTtl(255)),
        ("v6", "[fd00::1]:80", "[fd00::7]:1000", SocketOption::MinHopCount(255)),
    ] {
        let d = open(&mut stack, TCP, family, option);
        stack.bind(d, addr(local)).unwrap();
        stack.listen(d, 1).unwrap();
        let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(1000, 80) };
        let packet = |ttl| {
            let packet = PacketBuilder::new(addr(peer).ip(), addr(local).ip()).hop_limit(ttl);
            Frame::new(packet.tcp(&syn))
        };
        stack.handle_frame(NOW, A, packet(254));
        dropped += 1;
        assert!(sent(&mut stack).is_empty());
        assert_eq!(stack.stats().drops(DropReason::TtlTooLow), dropped);
        stack.handle_frame(NOW, A, packet(255));
        assert_eq!(sent(&mut stack).len(), 1);
    }
    // The option of one family does not concern the other, and has no effect on UDP.
    let d = open(&mut stack, UDP, "v4", SocketOption::MinTtl(255));
    stack.bind(d, addr("0.0.0.0:53")).unwrap();
    let packet = PacketBuilder::new(addr("10.0.0.7:0").ip(), addr("10.0.0.1:0").ip()).udp(9, 53, b"x");
    stack.handle_frame(NOW, A, Frame::new(packet));
    assert_eq!(stack.recv(NOW, d, &mut [0; 9]), Ok(1));
}

#[test]
fn datagrams_without_a_checksum_are_sent_and_received() {
    let mut stack = stack();
    for (family, peer, option, checksum_at) in [
        ("v4", "10.0.0.7:9", SocketOption::NoCheck(true), 26),
        ("v6", "[fd00::7]:9", SocketOption::NoCheck6Tx(true), 46),
    ] {
        let d = stack.socket(if family == "v4" { Domain::V4 } else { Domain::V6 }, UDP).unwrap();
        let checksum = |stack: &mut Stack| {
            stack.send_to(NOW, d, b"x", addr(peer)).unwrap();
            let (_, frame) = sent(stack).remove(0);
            u16::from_be_bytes([frame[checksum_at], frame[checksum_at + 1]])
        };
        assert_ne!(checksum(&mut stack), 0);
        stack.set_option(NOW, d, option).unwrap();
        assert_eq!(checksum(&mut stack), 0, "{family}");
        // A run has checksums.
        stack.set_option(NOW, d, SocketOption::UdpSegment(100)).unwrap();
        assert_eq!(stack.send_to(NOW, d, b"x", addr(peer)), Err(Error::InvalidArgument));
    }
    // RFC 8200 §8.1: IPv6 datagrams must have one, unless (RFC 6936) the program knows better.
    let d = open(&mut stack, UDP, "v6", SocketOption::NoCheck6Rx(false));
    stack.bind(d, addr("[::]:53")).unwrap();
    let (from, to): (IpAddr, IpAddr) = (addr("[fd00::7]:9").ip(), addr("[fd00::1]:53").ip());
    let mut packet = PacketBuilder::new(from, to).udp(9, 53, b"x");
    let mut receive = |stack: &mut Stack, checksum: [u8; 2]| {
        packet[46..48].copy_from_slice(&checksum);
        stack.handle_frame(NOW, A, Frame::new(packet.clone()));
        stack.recv(NOW, d, &mut [0; 9])
    };
    assert_eq!(receive(&mut stack, [0, 0]), Err(Error::WouldBlock));
    stack.set_option(NOW, d, SocketOption::NoCheck6Rx(true)).unwrap();
    assert_eq!(receive(&mut stack, [0, 0]), Ok(1));
    assert_eq!(receive(&mut stack, [1, 2]), Err(Error::WouldBlock), "a wrong one is wrong");
    assert_eq!(stack.stats().drops(DropReason::BadUdpChecksum), 2);
}

#[test]
fn the_time_outs_of_a_thin_stream_are_linear() {
    for is_thin in [false, true] {
        let mut stack = stack();
        let d = open(&mut stack, TCP, "v4", SocketOption::ThinLinearTimeouts(is_thin));
        assert_eq!(stack.connect(NOW, d, addr("10.0.0.7:80")), Err(Error::InProgress));
        let (_, syn) = sent(&mut stack).remove(0);
        let isn = u32::from_be_bytes(syn[24..28].try_into().unwrap());
        let port = u16::from_be_bytes([syn[20], syn[21]]);
        let answer = TcpSegment {
            flags: TcpSegment::SYN | TcpSegment::ACK,
            ack: isn.wrapping_add(1),
            ..TcpSegment::new(80, port)
        };
        let packet = PacketBuilder::new(addr("10.0.0.7:0").ip(), addr("10.0.0.1:0").ip()).tcp(&answer);
        stack.handle_frame(NOW, A, Frame::new(packet));
        stack.send(NOW, d, b"x").unwrap();
        sent(&mut stack);
        let mut waits = Vec::new();
        let mut last = NOW;
        while waits.len() < 8 {
            let at = stack.next_timeout_at().unwrap();
            stack.handle_timeout(at);
            if core::iter::from_fn(|| stack.poll_transmit(at)).count() > 0 {
                waits.push((at - last).as_millis());
                last = at;
            }
        }
        let first = waits[0];
        let expected: Vec<u128> = match is_thin {
            false => (0..8).map(|doubled| first << doubled).collect(),
            // Six that are linear, and then as always.
            true => [vec![first; 7], vec![first * 2]].concat(),
        };
        assert_eq!(waits, expected);
    }
}

#[test]
fn buffers_are_locked_and_unlocked() {
    let mut stack = stack();
    let d = open(&mut stack, TCP, "v4", SocketOption::SendBuffer(10_000));
    let get = |stack: &mut Stack| {
        let mut value = [0; 4];
        stack.getsockopt(NOW, d, 1, 72, &mut value).unwrap();
        i32::from_ne_bytes(value)
    };
    assert_eq!(get(&mut stack), 1);
    stack.setsockopt(NOW, d, 1, 72, &2_i32.to_ne_bytes()).unwrap();
    assert_eq!(get(&mut stack), 2);
    let options = stack.options(d).unwrap();
    assert!(options.auto_send_buffer && !options.auto_receive_buffer);
    assert_eq!(stack.setsockopt(NOW, d, 1, 72, &4_i32.to_ne_bytes()), Err(Error::InvalidArgument));
}

#[test]
fn a_filter_is_attached_by_its_bytes() {
    let mut stack = stack();
    let d = open(&mut stack, UDP, "v4", SocketOption::ReuseAddr(false));
    stack.bind(d, addr("0.0.0.0:53")).unwrap();
    // Return 9: the UDP header and one byte.
    let keep_one = [[6, 0], [0, 0], [9, 0], [0, 0]].concat();
    stack.setsockopt(NOW, d, 1, 26, &keep_one).unwrap();
    let mut program = [0; 64];
    let len = stack.getsockopt(NOW, d, 1, 26, &mut program).unwrap();
    assert_eq!(&program[..len], keep_one);
    let packet = PacketBuilder::new(addr("10.0.0.7:0").ip(), addr("10.0.0.1:0").ip()).udp(9, 53, b"xyz");
    stack.handle_frame(NOW, A, Frame::new(packet));
    assert_eq!(stack.recv(NOW, d, &mut [0; 9]), Ok(1));
    assert_eq!(stack.setsockopt(NOW, d, 1, 26, &keep_one[..7]), Err(Error::InvalidArgument));
    stack.setsockopt(NOW, d, 1, 27, &[0; 4]).unwrap();
    assert_eq!(stack.setsockopt(NOW, d, 1, 27, &[0; 4]), Err(Error::NotFound));
}

/// The value of an option, from its parts.
fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `struct sockaddr_storage`.
fn storage(text: &str) -> Vec<u8> {
    let mut storage = match text.parse().unwrap() {
        IpAddr::V4(v4) => bytes(&[&2_u16.to_ne_bytes(), &[0; 2], &v4.octets()]),
        IpAddr::V6(v6) => bytes(&[&10_u16.to_ne_bytes(), &[0; 6], &v6.octets()]),
    };
    storage.resize(128, 0);
    storage
}

#[test]
fn memberships_are_changed_by_bytes() {
    let mut stack = stack();
    let is_member = |stack: &Stack, iface: InterfaceId, group: &str| {
        stack.interfaces()[iface.index()].groups.contains(&group.parse().unwrap())
    };
    let index = |index: u32| index.to_ne_bytes();
    let (group, own) = ([224, 5, 6, 7], [10, 0, 1, 1]);
    let d = open(&mut stack, UDP, "v4", SocketOption::ReuseAddr(false));
    // `struct ip_mreq` names the interface by its address, `struct ip_mreqn` by its number.
    stack.setsockopt(NOW, d, 0, 35, &bytes(&[&group, &own])).unwrap();
    stack.setsockopt(NOW, d, 0, 35, &bytes(&[&group, &[0; 4], &index(1)])).unwrap();
    assert!(is_member(&stack, A, "224.5.6.7") && is_member(&stack, B, "224.5.6.7"));
    stack.setsockopt(NOW, d, 0, 36, &bytes(&[&group, &own])).unwrap();
    assert!(is_member(&stack, A, "224.5.6.7") && !is_member(&stack, B, "224.5.6.7"));
    assert_eq!(stack.setsockopt(NOW, d, 0, 35, &group), Err(Error::InvalidArgument));
    // Sources.
    let source = |last: u8| bytes(&[&[232, 1, 1, 1], &own, &[10, 0, 1, last]]);
    let filter = |stack: &mut Stack| stack.source_filter(d, "232.1.1.1".parse().unwrap(), B).unwrap();
    let of = |lasts: &[u8]| lasts.iter().map(|&last| IpAddr::from([10, 0, 1, last])).collect::<Vec<_>>();
    stack.setsockopt(NOW, d, 0, 39, &source(7)).unwrap();
    stack.setsockopt(NOW, d, 0, 39, &source(8)).unwrap();
    stack.setsockopt(NOW, d, 0, 40, &source(7)).unwrap();
    assert_eq!(filter(&mut stack), SourceFilter::new(FilterMode::Include, of(&[8])));
    let list = bytes(&[&[232, 1, 1, 1], &own, &index(0), &index(2), &[10, 0, 1, 3], &[10, 0, 1, 4]]);
    stack.setsockopt(NOW, d, 0, 41, &list).unwrap();
    assert_eq!(filter(&mut stack), SourceFilter::new(FilterMode::Exclude, of(&[3, 4])));
    stack.setsockopt(NOW, d, 0, 38, &source(5)).unwrap();
    stack.setsockopt(NOW, d, 0, 37, &source(3)).unwrap();
    assert_eq!(filter(&mut stack), SourceFilter::new(FilterMode::Exclude, of(&[4, 5])));
    // Two sources, of which the buffer holds one.
    let mut buf = bytes(&[&[232, 1, 1, 1], &own, &[0; 12]]);
    assert_eq!(stack.getsockopt(NOW, d, 0, 41, &mut buf), Ok(20));
    assert_eq!(&buf[8..20], bytes(&[&index(0), &index(2), &[10, 0, 1, 4]]));
    // For both families.
    let v6 = open(&mut stack, UDP, "v6", SocketOption::ReuseAddr(false));
    let source = |last: &str| bytes(&[&index(2), &[0; 4], &storage("ff35::1"), &storage(last)]);
    stack.setsockopt(NOW, v6, 41, 46, &source("fd00:1::7")).unwrap();
    stack.setsockopt(NOW, v6, 41, 46, &source("fd00:1::8")).unwrap();
    stack.setsockopt(NOW, v6, 41, 47, &source("fd00:1::7")).unwrap();
    let mut buf = bytes(&[&index(2), &[0; 4], &storage("ff35::1"), &[0; 8], &storage("::")]);
    assert_eq!(stack.getsockopt(NOW, v6, 41, 48, &mut buf), Ok(144 + 128));
    assert_eq!(&buf[136..], bytes(&[&index(1), &index(1), &storage("fd00:1::8")]));
    let list = bytes(&[&index(2), &[0; 4], &storage("ff35::1"), &index(0), &index(1), &storage("fd00:1::9")]);
    stack.setsockopt(NOW, v6, 41, 48, &list).unwrap();
    stack.setsockopt(NOW, v6, 41, 43, &source("fd00:1::a")).unwrap();
    stack.setsockopt(NOW, v6, 41, 44, &source("fd00:1::9")).unwrap();
    let kept = stack.source_filter(v6, "ff35::1".parse().unwrap(), B).unwrap();
    assert_eq!(kept, SourceFilter::new(FilterMode::Exclude, vec!["fd00:1::a".parse().unwrap()]));
    let group = bytes(&[&index(2), &[0; 4], &storage("ff02::77")]);
    stack.setsockopt(NOW, v6, 41, 42, &group).unwrap();
    assert!(is_member(&stack, B, "ff02::77"));
    stack.setsockopt(NOW, v6, 41, 45, &group).unwrap();
    assert!(!is_member(&stack, B, "ff02::77"));
    let octets = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().octets();
    let mreq = bytes(&[&octets("ff02::78"), &index(1)]);
    stack.setsockopt(NOW, v6, 41, 20, &mreq).unwrap();
    assert!(is_member(&stack, A, "ff02::78"));
    stack.setsockopt(NOW, v6, 41, 21, &mreq).unwrap();
    assert!(!is_member(&stack, A, "ff02::78"));
    // A stream has no memberships.
    let tcp = open(&mut stack, TCP, "v6", SocketOption::ReuseAddr(false));
    assert_eq!(stack.setsockopt(NOW, tcp, 41, 20, &mreq), Err(Error::ProtocolError));
    // The interface of what is sent.
    stack.setsockopt(NOW, d, 0, 32, &bytes(&[&[0; 8], &index(2)])).unwrap();
    sent(&mut stack);
    stack.send_to(NOW, d, b"x", addr("224.9.9.9:9")).unwrap();
    assert_eq!(sent(&mut stack)[0].0, B);
}

#[test]
fn the_window_is_clamped() {
    let mut stack = stack();
    let d = open(&mut stack, TCP, "v4", SocketOption::WindowClamp(5));
    assert_eq!(stack.options(d).unwrap().tcp.window_clamp, 1152);
    stack.set_option(NOW, d, SocketOption::WindowClamp(3000)).unwrap();
    assert_eq!(stack.connect(NOW, d, addr("10.0.0.7:80")), Err(Error::InProgress));
    assert_eq!(stack.set_option(NOW, d, SocketOption::WindowClamp(0)), Err(Error::InvalidArgument));
    let window = |frame: &[u8]| u16::from_be_bytes([frame[34], frame[35]]);
    let (_, syn) = sent(&mut stack).remove(0);
    assert_eq!(window(&syn), 3000);
    let isn = u32::from_be_bytes(syn[24..28].try_into().unwrap()).wrapping_add(1);
    let port = u16::from_be_bytes([syn[20], syn[21]]);
    let mut seq = 0_u32;
    let mut receive = |stack: &mut Stack, flags: u8, data: &[u8]| {
        let segment =
            TcpSegment { seq, ack: isn, flags, payload: data.to_vec(), ..TcpSegment::new(80, port) };
        seq += data.len() as u32 + u32::from(flags & TcpSegment::SYN != 0);
        let packet = PacketBuilder::new(addr("10.0.0.7:0").ip(), addr("10.0.0.1:0").ip()).tcp(&segment);
        stack.handle_frame(NOW, A, Frame::new(packet));
        sent(stack)
    };
    receive(&mut stack, TcpSegment::SYN | TcpSegment::ACK, b"");
    let mut windows = Vec::new();
    for _ in 0..20 {
        windows
            .extend(receive(&mut stack, TcpSegment::ACK, &[7; 1000]).iter().map(|(_, frame)| window(frame)));
        stack.recv(NOW, d, &mut [0; 1000]).unwrap();
    }
    // Without it the window grows with what arrives.
    assert!(windows.len() > 5 && windows.iter().all(|&window| window <= 3000), "{windows:?}");
}
