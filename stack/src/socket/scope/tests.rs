//! Sockets that are bound to a device (SO_BINDTODEVICE). What is expected was measured on Linux
//! 6.18.

use core::net::SocketAddr;
use core::time::Duration;
use std::string::ToString as _;
use std::vec;
use std::vec::Vec;

use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::testing::{PacketBuilder, TcpSegment};
use crate::{
    Config, Descriptor, Domain, Error, Frame, Instant, Route, SendMeta, SocketKind, SocketOption, Stack,
};

const NOW: Instant = Instant::ZERO;
const A: InterfaceId = InterfaceId(0);
const B: InterfaceId = InterfaceId(1);

/// A stack with 10.0.0.1 and fd00::1 on `a`, and 10.0.1.1 and fd00:1::1 on `b`; its default route
/// leads through `a`.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    for (name, v4, v6) in [("a", "10.0.0.1/24", "fd00::1/64"), ("b", "10.0.1.1/24", "fd00:1::1/64")] {
        let interface = InterfaceConfig::new(Medium::Ip).name(name);
        let interface = interface.address(v4.parse().unwrap()).address(v6.parse().unwrap());
        stack.add_interface(NOW, interface).unwrap();
    }
    stack.add_route(Route::new("0.0.0.0/0".parse().unwrap(), A)).unwrap();
    stack
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn socket(stack: &mut Stack, kind: SocketKind, device: Option<InterfaceId>) -> Descriptor {
    let d = stack.socket(Domain::V4, kind).unwrap();
    stack.set_option(NOW, d, SocketOption::BindToDevice(device)).unwrap();
    d
}

fn udp(stack: &mut Stack, device: Option<InterfaceId>, local: &str) -> Descriptor {
    let domain = if addr(local).is_ipv4() { Domain::V4 } else { Domain::V6 };
    let d = stack.socket(domain, SocketKind::Datagram).unwrap();
    stack.set_option(NOW, d, SocketOption::ReuseAddr(true)).unwrap();
    stack.set_option(NOW, d, SocketOption::BindToDevice(device)).unwrap();
    stack.bind(d, addr(local)).unwrap();
    d
}

/// Sends what is queued, and returns the interfaces that frames left through.
fn run(stack: &mut Stack) -> Vec<InterfaceId> {
    let mut through = Vec::new();
    loop {
        while let Some(transmit) = stack.poll_transmit(NOW) {
            through.push(transmit.iface());
        }
        if !stack.handle_loopback(NOW) {
            return through;
        }
    }
}

/// Which of the sockets get a datagram from `from` to `to` through this interface.
fn takers(stack: &mut Stack, iface: InterfaceId, from: &str, to: &str, sockets: &[Descriptor]) -> Vec<bool> {
    let (from, to) = (addr(from), addr(to));
    let packet = PacketBuilder::new(from.ip(), to.ip()).udp(from.port(), to.port(), b"x");
    stack.handle_frame(NOW, iface, Frame::new(packet));
    sockets.iter().map(|&d| stack.recv(NOW, d, &mut [0; 9]).is_ok()).collect()
}

#[test]
fn a_datagram_is_for_sockets_on_its_interface() {
    let mut stack = stack();
    let on_a = udp(&mut stack, Some(A), "0.0.0.0:53");
    let on_b = udp(&mut stack, Some(B), "0.0.0.0:53");
    let both = [on_a, on_b];
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &both), [true, false]);
    assert_eq!(takers(&mut stack, B, "10.0.1.2:9", "10.0.1.1:53", &both), [false, true]);
    // Broadcasts, too.
    assert_eq!(takers(&mut stack, B, "10.0.1.2:9", "10.0.1.255:53", &both), [false, true]);
    // A packet of this host comes in through the interface that has its destination.
    let sender = socket(&mut stack, SocketKind::Datagram, None);
    stack.send_to(NOW, sender, b"x", addr("10.0.1.1:53")).unwrap();
    stack.send_to(NOW, sender, b"x", addr("127.0.0.1:53")).unwrap();
    assert!(run(&mut stack).is_empty());
    assert_eq!(both.map(|d| stack.recv(NOW, d, &mut [0; 9])), [Err(Error::WouldBlock), Ok(1)]);
    assert_eq!(stack.recv(NOW, on_b, &mut [0; 9]), Err(Error::WouldBlock), "127.0.0.1 is on no link");
    // A socket moves.
    stack.set_option(NOW, on_b, SocketOption::BindToDevice(None)).unwrap();
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &both), [true, false], "a is nearer");
    assert_eq!(takers(&mut stack, B, "10.0.1.2:9", "10.0.1.1:53", &both), [false, true]);
    stack.close(NOW, on_a).unwrap();
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &[on_b]), [true]);
}

#[test]
fn a_group_is_heard_on_the_interface_only() {
    let mut stack = stack();
    let group = "224.5.6.7".parse().unwrap();
    let on_a = udp(&mut stack, Some(A), "0.0.0.0:53");
    stack.join_group(NOW, on_a, group, A).unwrap();
    stack.join_group(NOW, on_a, group, B).unwrap();
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "224.5.6.7:53", &[on_a]), [true]);
    assert_eq!(takers(&mut stack, B, "10.0.1.2:9", "224.5.6.7:53", &[on_a]), [false]);
}

#[test]
fn a_connected_socket_hears_its_peer_on_the_interface() {
    let mut stack = stack();
    let on_a = udp(&mut stack, Some(A), "0.0.0.0:53");
    let on_b = udp(&mut stack, Some(B), "10.0.0.1:53");
    // There is no route through `b` but IPv4 takes every address to be on its link.
    for d in [on_a, on_b] {
        stack.connect(NOW, d, addr("10.0.0.2:9")).unwrap();
        stack.send(NOW, d, b"x").unwrap();
    }
    assert_eq!(stack.local_addr(on_a), Ok(addr("10.0.0.1:53")));
    assert_eq!(run(&mut stack), [A, B]);
    let both = [on_a, on_b];
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &both), [true, false]);
    assert_eq!(takers(&mut stack, B, "10.0.0.2:9", "10.0.0.1:53", &both), [false, true]);
    // On one interface the newer of the two receives.
    stack.set_option(NOW, on_b, SocketOption::BindToDevice(Some(A))).unwrap();
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &both), [false, true]);
    assert_eq!(takers(&mut stack, B, "10.0.0.2:9", "10.0.0.1:53", &both), [false, false]);
    // `disconnect` ends the restriction.
    stack.disconnect(NOW, on_b).unwrap();
    assert_eq!(stack.options(on_b).unwrap().device, None);
    assert_eq!(takers(&mut stack, A, "10.0.0.3:9", "10.0.0.1:53", &both), [false, true]);
    assert_eq!(takers(&mut stack, A, "10.0.0.2:9", "10.0.0.1:53", &both), [true, false]);
}

#[test]
fn what_is_sent_takes_the_routes_and_addresses_of_the_interface() {
    let mut stack = stack();
    for kind in [SocketKind::Datagram, SocketKind::Echo, SocketKind::Raw(17), SocketKind::Stream] {
        let connect = |stack: &mut Stack, d: Descriptor| match stack.connect(NOW, d, addr("8.8.8.8:9")) {
            Ok(()) | Err(Error::InProgress) => stack.local_addr(d).unwrap().ip().to_string(),
            Err(error) => error.to_string(),
        };
        let anywhere = socket(&mut stack, kind, None);
        assert_eq!(connect(&mut stack, anywhere), "10.0.0.1", "{kind:?}");
        let on_b = socket(&mut stack, kind, Some(B));
        assert_eq!(connect(&mut stack, on_b), "10.0.1.1", "{kind:?}");
        run(&mut stack);
        if kind != SocketKind::Stream {
            stack.send(NOW, on_b, &[8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            assert_eq!(run(&mut stack), [B], "{kind:?}");
        }
    }
    // A TCP connection.
    let on_b = socket(&mut stack, SocketKind::Stream, Some(B));
    assert_eq!(stack.connect(NOW, on_b, addr("8.8.8.8:9")), Err(Error::InProgress));
    assert_eq!(run(&mut stack), [B]);
    // IPv6 needs a route.
    let v6 = udp(&mut stack, Some(B), "[::]:0");
    assert_eq!(stack.send_to(NOW, v6, b"x", addr("[fd00::2]:9")), Err(Error::NetworkUnreachable));
    assert_eq!(stack.send_to(NOW, v6, b"x", addr("[fd00:1::2]:9")), Ok(1));
    // Control data names another interface for IPv4 only.
    let v4 = udp(&mut stack, Some(B), "0.0.0.0:0");
    let through_a = |peer| SendMeta::to(addr(peer)).iface(A);
    assert_eq!(stack.send_msg(NOW, v4, b"x"[..].into(), &through_a("10.0.0.2:9")), Ok(1));
    assert_eq!(
        stack.send_msg(NOW, v6, b"x"[..].into(), &through_a("[fd00::2]:9")),
        Err(Error::InvalidArgument)
    );
    assert_eq!(run(&mut stack), [B, A]);
    // An interface that does not exist.
    let nowhere = socket(&mut stack, SocketKind::Stream, Some(InterfaceId(7)));
    assert_eq!(stack.connect(NOW, nowhere, addr("10.0.0.2:9")), Err(Error::NetworkUnreachable));
}

#[test]
fn ping_and_raw_sockets_hear_their_interface() {
    let mut stack = stack();
    for kind in [SocketKind::Echo, SocketKind::Raw(1)] {
        let on_b = socket(&mut stack, kind, Some(B));
        stack.bind(on_b, addr("0.0.0.0:7")).unwrap();
        let mut hears = |iface, to: &str| {
            let packet = PacketBuilder::new(addr("10.0.0.2:0").ip(), addr(to).ip());
            let packet = packet.icmp(0, 0, &[0, 7, 0, 1]);
            stack.handle_frame(NOW, iface, Frame::new(packet));
            stack.recv(NOW, on_b, &mut [0; 64]).is_ok()
        };
        assert!(hears(B, "10.0.1.1:0"), "{kind:?}");
        assert!(!hears(A, "10.0.0.1:0"), "{kind:?}");
        stack.set_option(NOW, on_b, SocketOption::BindToDevice(Some(A))).unwrap();
        let packet = PacketBuilder::new(addr("10.0.0.2:0").ip(), addr("10.0.0.1:0").ip());
        stack.handle_frame(NOW, A, Frame::new(packet.icmp(0, 0, &[0, 7, 0, 1])));
        assert!(stack.recv(NOW, on_b, &mut [0; 64]).is_ok(), "{kind:?}");
        stack.close(NOW, on_b).unwrap();
    }
}

/// Hands in a segment from 10.0.7.7:1000 to 10.0.0.1:80 through this interface. Returns the
/// sequence numbers of the answers that leave through it.
fn segment(stack: &mut Stack, iface: InterfaceId, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u32> {
    let segment = TcpSegment { seq, ack, flags, payload: data.to_vec(), ..TcpSegment::new(1000, 80) };
    let packet = PacketBuilder::new(addr("10.0.7.7:0").ip(), addr("10.0.0.1:0").ip()).tcp(&segment);
    stack.handle_frame(NOW, iface, Frame::new(packet));
    let mut answers = Vec::new();
    while let Some(transmit) = stack.poll_transmit(NOW) {
        assert_eq!(transmit.iface(), iface);
        let frame = transmit.to_vec();
        answers.push(u32::from_be_bytes(frame[24..28].try_into().unwrap()));
    }
    answers
}

/// Opens the connection of [`segment`] through this interface, and returns its own sequence number.
fn open(stack: &mut Stack, iface: InterfaceId) -> u32 {
    let isn = segment(stack, iface, TcpSegment::SYN, 100, 0, b"")[0];
    segment(stack, iface, TcpSegment::ACK, 101, isn.wrapping_add(1), b"");
    isn.wrapping_add(1)
}

#[test]
fn listeners_on_two_interfaces_have_connections_of_their_own() {
    let mut stack = stack();
    let listener = |stack: &mut Stack, device| {
        let d = socket(stack, SocketKind::Stream, device);
        stack.bind(d, addr("0.0.0.0:80")).unwrap();
        stack.listen(d, 8).unwrap();
        d
    };
    let listeners = [A, B].map(|device| listener(&mut stack, Some(device)));
    // The four-tuple is the same.
    let acks = [A, B].map(|iface| open(&mut stack, iface));
    let accepted = listeners.map(|listener| stack.accept(listener).unwrap().0);
    for (d, device) in accepted.into_iter().zip([A, B]) {
        assert_eq!(stack.options(d).unwrap().device, Some(device));
        let mut name = [0; 16];
        let len = stack.getsockopt(NOW, d, 1, 25, &mut name).unwrap();
        assert_eq!(&name[..len], if device == A { b"a\0" } else { b"b\0" });
    }
    let push = TcpSegment::ACK | TcpSegment::PSH;
    for (iface, ack, data) in [(A, acks[0], &b"to a"[..]), (B, acks[1], b"and b")] {
        segment(&mut stack, iface, push, 101, ack, data);
    }
    let mut buf = [0; 9];
    assert_eq!(accepted.map(|d| stack.recv(NOW, d, &mut buf)), [Ok(4), Ok(5)]);
    // A third, without an interface, would be in the way of both.
    let third = socket(&mut stack, SocketKind::Stream, None);
    assert_eq!(stack.bind(third, addr("0.0.0.0:80")), Err(Error::AddressInUse));
    // When the other connection is gone, this one can move, and its segments with it.
    assert_eq!(
        stack.set_option(NOW, accepted[1], SocketOption::BindToDevice(Some(A))),
        Err(Error::AddressInUse)
    );
    let reset = |stack: &mut Stack, d| {
        stack.set_option(NOW, d, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
        stack.close(NOW, d).unwrap();
        run(stack);
    };
    reset(&mut stack, accepted[0]);
    stack.set_option(NOW, accepted[1], SocketOption::BindToDevice(Some(A))).unwrap();
    segment(&mut stack, A, push, 106, acks[1], b"moved");
    assert_eq!(stack.recv(NOW, accepted[1], &mut buf), Ok(5));
    segment(&mut stack, B, push, 111, acks[1], b"lost");
    assert_eq!(stack.recv(NOW, accepted[1], &mut buf), Err(Error::WouldBlock));
    // The listener, too.
    stack.close(NOW, listeners[0]).unwrap();
    stack.set_option(NOW, listeners[1], SocketOption::BindToDevice(None)).unwrap();
    reset(&mut stack, accepted[1]);
    open(&mut stack, A);
    assert!(stack.accept(listeners[1]).is_ok());
}

#[test]
fn an_address_of_a_link_is_bound_on_the_interface() {
    let mut stack = stack();
    // RFC 4291 §2.5.3: ::1 is on the loopback only.
    let v6 = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.set_option(NOW, v6, SocketOption::BindToDevice(Some(A))).unwrap();
    assert_eq!(stack.bind(v6, addr("[::1]:53")), Err(Error::AddressNotAvailable));
    stack.bind(v6, addr("[fd00:1::1]:53")).unwrap();
    // A link-local peer is on the interface, and on no other.
    assert_eq!(stack.send_to(NOW, v6, b"x", addr("[fe80::9%2]:9")), Err(Error::InvalidArgument));
    let tcp = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    stack.set_option(NOW, tcp, SocketOption::BindToDevice(Some(A))).unwrap();
    assert_eq!(stack.connect(NOW, tcp, addr("[fe80::9%2]:9")), Err(Error::InvalidArgument));
}

#[test]
fn by_name_and_by_number() {
    let mut stack = stack();
    let d = socket(&mut stack, SocketKind::Datagram, None);
    let get = |stack: &mut Stack, number| {
        let mut buf = [0; 16];
        stack.getsockopt(NOW, d, 1, number, &mut buf).map(|len| buf[..len].to_vec())
    };
    assert_eq!(get(&mut stack, 25), Ok(Vec::new()));
    for (name, index) in
        [(&b"b"[..], 2_i32), (b"b\0and more than fifteen bytes", 2), (b"lo", 65535), (b"a", 1)]
    {
        stack.setsockopt(NOW, d, 1, 25, name).unwrap();
        assert_eq!(get(&mut stack, 62), Ok(index.to_ne_bytes().to_vec()));
    }
    assert_eq!(stack.getsockopt(NOW, d, 1, 25, &mut [0; 15]), Err(Error::InvalidArgument));
    assert_eq!(stack.setsockopt(NOW, d, 1, 25, b"c"), Err(Error::NoDevice));
    assert_eq!(get(&mut stack, 25), Ok(b"a\0".to_vec()));
    stack.setsockopt(NOW, d, 1, 62, &7_i32.to_ne_bytes()).unwrap();
    assert_eq!(get(&mut stack, 25), Err(Error::NoDevice));
    stack.setsockopt(NOW, d, 1, 25, b"").unwrap();
    assert_eq!(get(&mut stack, 62), Ok(vec![0; 4]));
    // A link-local address has the same effect.
    let interface = InterfaceConfig::new(Medium::Ip).name("b");
    assert_eq!(stack.add_interface(NOW, interface).err(), Some(Error::AlreadyExists));
    let interface = InterfaceConfig::new(Medium::Ip).name("lo");
    assert_eq!(stack.add_interface(NOW, interface).err(), Some(Error::AlreadyExists));
    let interface = InterfaceConfig::new(Medium::Ip).name("a/b");
    assert_eq!(stack.add_interface(NOW, interface).err(), Some(Error::InvalidArgument));
    let link_local = InterfaceConfig::new(Medium::Ip).name("if3").address("fe80::1/64".parse().unwrap());
    stack.add_interface(NOW, link_local).unwrap();
    let v6 = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.bind(v6, addr("[fe80::1%3]:0")).unwrap();
    let mut buf = [0; 16];
    assert_eq!((stack.getsockopt(NOW, v6, 1, 25, &mut buf), &buf[..4]), (Ok(4), &b"if3\0"[..]));
    // The default name is one that is free.
    let next = stack.add_interface(NOW, InterfaceConfig::new(Medium::Ip)).unwrap();
    assert_eq!(stack.interface_name(next), Some("if4"));
}
