//! What `connect`, `disconnect` and MSG_MORE do to UDP sockets, as on Linux 6.18.
//! `tests/src/datagrams` compares these calls with the kernel's.

use core::net::{Ipv4Addr, SocketAddr};
use std::vec::Vec;

use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::socket::{Descriptor, Domain, MtuDiscover, Shutdown, SocketKind, SocketOption};
use crate::testing::PacketBuilder;
use crate::{Config, Error, Frame, Instant, SendFlags, Stack};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .address("10.0.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    stack
}

fn socket(stack: &mut Stack, domain: Domain) -> Descriptor {
    stack.socket(domain, SocketKind::Datagram).unwrap()
}

fn packet_from(port: u16, to: u16) -> Frame {
    Frame::new(PacketBuilder::new(PEER.into(), OWN.into()).udp(port, to, b"data"))
}

fn sent(stack: &mut Stack) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect()
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

#[test]
fn the_first_connect_chooses_the_source_for_later_ones() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V4);
    stack.connect(NOW, d, (Ipv4Addr::LOCALHOST, 9)).unwrap();
    assert_eq!(stack.connect(NOW, d, (PEER, 9)), Err(Error::InvalidArgument), "127.0.0.1 stays here");
    assert_eq!(stack.peer_addr(d).unwrap().ip(), Ipv4Addr::LOCALHOST, "nothing has changed");
    stack.disconnect(NOW, d).unwrap();
    assert_eq!(stack.local_addr(d), Ok(any_port()));
    stack.connect(NOW, d, (PEER, 9)).unwrap();
    assert_eq!(stack.local_addr(d).unwrap().ip(), OWN);
    // Over 0.0.0.0 it reaches itself under its own address.
    stack.connect(NOW, d, (Ipv4Addr::UNSPECIFIED, 9)).unwrap();
    assert_eq!(stack.peer_addr(d), Ok((OWN, 9).into()));
}

#[test]
fn disconnect_leaves_the_address_that_was_named() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V4);
    stack.bind(d, (OWN, 0)).unwrap();
    stack.connect(NOW, d, (PEER, 9)).unwrap();
    stack.disconnect(NOW, d).unwrap();
    assert_eq!(stack.local_addr(d), Ok((OWN, 0).into()));
    stack.send_to(NOW, d, b"x", (PEER, 9)).unwrap();
    let bound = stack.local_addr(d).unwrap();
    assert_eq!((bound.ip(), bound.port() != 0), (OWN.into(), true));
    // Without a port it can be bound again.
    stack.disconnect(NOW, d).unwrap();
    assert_eq!(stack.bind(d, (Ipv4Addr::LOCALHOST, 7)), Ok(()));
    stack.close(NOW, d).unwrap();
    sent(&mut stack);
    assert_eq!(stack.sockets().count(), 0);
}

#[test]
fn a_connected_socket_has_its_port_on_its_own_address_only() {
    let mut stack = stack();
    let [d, other] = [(); 2].map(|()| socket(&mut stack, Domain::V4));
    stack.bind(d, (Ipv4Addr::UNSPECIFIED, 7)).unwrap();
    assert_eq!(stack.bind(other, (Ipv4Addr::LOCALHOST, 7)), Err(Error::AddressInUse));
    stack.connect(NOW, d, (PEER, 9)).unwrap();
    assert_eq!(stack.bind(other, (OWN, 7)), Err(Error::AddressInUse));
    assert_eq!(stack.bind(other, (Ipv4Addr::LOCALHOST, 7)), Ok(()));
    stack.close(NOW, other).unwrap();
    stack.disconnect(NOW, d).unwrap();
    let other = socket(&mut stack, Domain::V4);
    assert_eq!(stack.bind(other, (Ipv4Addr::LOCALHOST, 7)), Err(Error::AddressInUse));
}

#[test]
fn a_socket_that_is_connected_to_port_0_hears_every_port_of_its_peer() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V4);
    stack.bind(d, (OWN, 7)).unwrap();
    stack.connect(NOW, d, (PEER, 0)).unwrap();
    assert_eq!(stack.peer_addr(d), Err(Error::NotConnected));
    for port in [9, 10] {
        stack.handle_frame(NOW, IFACE, packet_from(port, 7));
        assert_eq!(stack.recv(NOW, d, &mut [0; 9]), Ok(4), "from port {port}");
    }
    assert_eq!(stack.send(NOW, d, b"x"), Ok(1));
}

#[test]
fn the_newest_of_two_sockets_with_one_peer_receives() {
    let mut stack = stack();
    let [first, second] = [(); 2].map(|()| {
        let d = socket(&mut stack, Domain::V4);
        stack.set_option(NOW, d, SocketOption::ReuseAddr(true)).unwrap();
        stack.bind(d, (OWN, 7)).unwrap();
        stack.connect(NOW, d, (PEER, 9)).unwrap();
        d
    });
    stack.handle_frame(NOW, IFACE, packet_from(9, 7));
    assert_eq!(stack.recv(NOW, second, &mut [0; 9]), Ok(4));
    stack.close(NOW, second).unwrap();
    stack.handle_frame(NOW, IFACE, packet_from(9, 7));
    assert_eq!(stack.recv(NOW, first, &mut [0; 9]), Ok(4));
}

#[test]
fn a_call_that_fails_has_taken_a_port() {
    let mut stack = stack();
    for call in [
        (|stack, d| stack.send(NOW, d, b"x").map(drop)) as fn(&mut Stack, Descriptor) -> crate::Result<()>,
        |stack, d| stack.send_to(NOW, d, b"x", ([192, 0, 2, 1], 9)).map(drop),
        |stack, d| stack.connect(NOW, d, ([192, 0, 2, 1], 9)),
    ] {
        let d = socket(&mut stack, Domain::V4);
        assert!(call(&mut stack, d).is_err());
        assert_ne!(stack.local_addr(d).unwrap().port(), 0);
    }
}

#[test]
fn what_was_begun_keeps_its_tos_and_is_finished_after_a_shutdown() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V4);
    stack.connect(NOW, d, (PEER, 9)).unwrap();
    stack.set_option(NOW, d, SocketOption::Tos(0x20)).unwrap();
    stack.send_with(NOW, d, b"be", SendFlags::MORE).unwrap();
    stack.set_option(NOW, d, SocketOption::Tos(0x40)).unwrap();
    stack.shutdown(NOW, d, Shutdown::Write).unwrap();
    assert_eq!(stack.send(NOW, d, b"gun"), Ok(3));
    let packets = sent(&mut stack);
    assert_eq!((packets.len(), packets[0][1], &packets[0][28..]), (1, 0x20, &b"begun"[..]));
    assert_eq!(stack.send(NOW, d, b"x"), Err(Error::BrokenPipe));
}

#[test]
fn what_becomes_too_long_to_be_sent_whole_is_discarded() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V4);
    stack.connect(NOW, d, (PEER, 9)).unwrap();
    stack.set_option(NOW, d, SocketOption::MtuDiscover(MtuDiscover::Do)).unwrap();
    stack.send_with(NOW, d, &[1; 1000], SendFlags::MORE).unwrap();
    assert_eq!(stack.send(NOW, d, &[2; 1000]), Err(Error::MessageTooLong));
    assert_eq!(stack.send(NOW, d, b"next"), Ok(4));
    let packets = sent(&mut stack);
    assert_eq!((packets.len(), &packets[0][28..]), (1, &b"next"[..]));
}

#[test]
fn an_ipv6_socket_keeps_a_source_of_each_family() {
    let mut stack = stack();
    let d = socket(&mut stack, Domain::V6);
    let (v6_peer, v4_peer) =
        (SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 2], 9)), SocketAddr::from((PEER, 9)));
    stack.connect(NOW, d, v6_peer).unwrap();
    let own = stack.local_addr(d);
    stack.connect(NOW, d, v4_peer).unwrap();
    assert_eq!(stack.local_addr(d), own, "it shows the first one");
    stack.connect(NOW, d, v6_peer).unwrap();
    stack.disconnect(NOW, d).unwrap();
    stack.connect(NOW, d, v4_peer).unwrap();
    assert_eq!(stack.connect(NOW, d, v6_peer), Err(Error::AddressFamilyNotSupported));
    // One that is bound to an IPv6 address uses IPv6 only.
    let bound = socket(&mut stack, Domain::V6);
    stack.bind(bound, ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 7)).unwrap();
    assert_eq!(stack.connect(NOW, bound, v4_peer), Err(Error::AddressFamilyNotSupported));
    assert_eq!(stack.send_to(NOW, bound, b"x", v4_peer), Err(Error::NetworkUnreachable));
}
