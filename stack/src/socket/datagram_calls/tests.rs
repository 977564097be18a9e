//! Datagram sockets of both kinds and both families, as programs see them.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::drop_reason::DropReason;
use crate::message_flags::{RecvFlags, SendFlags};
use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::socket::datagram_queue::OVERHEAD_BYTES;
use crate::socket::{Descriptor, Domain, LinkHeader, SendMeta, SocketKind, SocketOption, SocketState};
use crate::testing::PacketBuilder;
use crate::time::Instant;
use crate::{Config, Frame, Readiness, Stack};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);
const KINDS: [(SocketKind, Domain); 4] = [
    (SocketKind::Datagram, Domain::V4),
    (SocketKind::Datagram, Domain::V6),
    (SocketKind::Echo, Domain::V4),
    (SocketKind::Echo, Domain::V6),
];

/// A stack with the addresses 10.0.0.1 and fd00::1 on a link without link headers.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .mtu(9000)
        .address("10.0.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    stack
}

/// Addresses on the link; number 1 is the stack's.
fn host(domain: Domain, number: u8) -> IpAddr {
    match domain {
        Domain::V4 | Domain::Unix => [10, 0, 0, number].into(),
        Domain::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

fn addr(domain: Domain, number: u8, port: u16) -> SocketAddr {
    SocketAddr::new(host(domain, number), port)
}

fn any(domain: Domain, port: u16) -> SocketAddr {
    match domain {
        Domain::V4 | Domain::Unix => ([0; 4], port).into(),
        Domain::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// The port of a sender as it is shown: an echo message has none.
fn shown(kind: SocketKind, port: u16) -> u16 {
    if kind == SocketKind::Echo { 0 } else { port }
}

/// Data of this length that each kind of socket sends.
fn message_of_len(domain: Domain, len: usize) -> Vec<u8> {
    let mut message = message(domain, &[]);
    message.resize(len, 0);
    message
}

/// A packet from another host for a socket on `port`: a datagram from port 9, or an echo reply.
fn packet(kind: SocketKind, domain: Domain, from: u8, port: u16, data: &[u8]) -> Frame {
    let builder = PacketBuilder::new(host(domain, from), host(domain, 1));
    Frame::new(match kind {
        SocketKind::Echo => {
            let [high, low] = port.to_be_bytes();
            let reply = if domain == Domain::V4 { 0 } else { 129 };
            builder.icmp(reply, 0, &[&[high, low, 0, 1], data].concat())
        }
        _ => builder.udp(9, port, data),
    })
}

/// The bytes that a program sends: echo messages include their header.
fn message(domain: Domain, data: &[u8]) -> Vec<u8> {
    let request = if domain == Domain::V4 { 8 } else { 128 };
    [&[request, 0, 0, 0, 0, 0, 0, 1], data].concat()
}

fn frames(stack: &mut Stack) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect()
}

fn received_from(stack: &mut Stack, d: Descriptor, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
    stack.recv_from(NOW, d, buf).map(|(len, meta)| (len, meta.peer()))
}

fn has_event(stack: &mut Stack, d: Descriptor) -> bool {
    let id = stack.socket_id(d).unwrap();
    core::iter::from_fn(|| stack.poll_event()).filter(|event| event.socket == id).count() > 0
}

/// A program may open and close many before the stack is asked for frames again.
#[test]
fn a_closed_socket_with_nothing_to_send_holds_no_memory() {
    let packets = (SocketKind::Packet(LinkHeader::Cooked), Domain::V4);
    for (kind, domain) in KINDS.into_iter().chain([(SocketKind::Raw(47), Domain::V4), packets]) {
        let mut stack = stack();
        let before = stack.memory_bytes();
        let d = stack.socket(domain, kind).unwrap();
        assert!(stack.memory_bytes() > before, "{kind:?}");
        stack.close(NOW, d).unwrap();
        assert_eq!(stack.memory_bytes(), before, "{kind:?}");
        assert_eq!(stack.sockets().count(), 0, "{kind:?}");
    }
}

#[test]
fn a_socket_goes_with_its_last_descriptor_and_leaves_its_port_and_its_peer() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let before = stack.memory_bytes();
        for bound in [any(domain, 7), addr(domain, 1, 7)] {
            for peer in [None, Some(addr(domain, 2, 9))] {
                let d = stack.socket(domain, kind).unwrap();
                stack.bind(d, bound).unwrap();
                let other = stack.socket(domain, kind).unwrap();
                stack.set_option(NOW, other, SocketOption::ReuseAddr(false)).unwrap();
                assert_eq!(stack.bind(other, bound), Err(Error::AddressInUse), "{kind:?} {bound}");
                stack.close(NOW, other).unwrap();
                if let Some(peer) = peer {
                    stack.connect(NOW, d, peer).unwrap();
                }
                // What is queued is sent nevertheless.
                stack.send_to(NOW, d, &message(domain, b"last"), addr(domain, 2, 9)).unwrap();
                stack.close(NOW, d).unwrap();
                let next = stack.socket(domain, kind).unwrap();
                stack.bind(next, bound).unwrap();
                if let Some(peer) = peer {
                    stack.connect(NOW, next, peer).unwrap();
                }
                stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, b"x"));
                assert!(stack.readiness(next).unwrap().readable, "{kind:?} {bound} {peer:?}");
                stack.close(NOW, next).unwrap();
                assert_eq!(frames(&mut stack).len(), 1, "{kind:?} {bound} {peer:?}");
                assert_eq!(stack.sockets().count(), 0);
                assert_eq!(stack.memory_bytes(), before, "{kind:?} {bound} {peer:?}");
            }
        }
    }
}

#[test]
fn each_half_is_shut_down_by_itself() {
    let both = [Shutdown::Read, Shutdown::Write];
    for (kind, domain) in KINDS {
        for order in [&both[..1], &both[1..], &both, &[Shutdown::Write, Shutdown::Read], &[Shutdown::Both]] {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            stack.bind(d, any(domain, 7)).unwrap();
            stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
            has_event(&mut stack, d);
            for &how in order {
                stack.shutdown(NOW, d, how).unwrap();
                assert!(has_event(&mut stack, d), "{kind:?} {how:?}");
            }
            let read = order.iter().any(|&how| how != Shutdown::Write);
            let write = order.iter().any(|&how| how != Shutdown::Read);
            let expected = Readiness {
                readable: read,
                writable: true,
                peer_closed: read,
                hung_up: read && write,
                ..Readiness::default()
            };
            assert_eq!(stack.readiness(d), Ok(expected), "{kind:?} {order:?}");
            let mut buf = [0; 99];
            assert_eq!(stack.recv(NOW, d, &mut buf), Err(Error::WouldBlock), "{kind:?} {order:?}");
            assert_eq!(stack.peek(d, &mut buf), Err(Error::WouldBlock), "{kind:?} {order:?}");
            let end = stack.end_of_datagrams(NOW, d).map(|meta| meta.peer());
            let peer = addr(domain, 2, 9);
            assert_eq!(end, if read { Ok(peer) } else { Err(Error::WouldBlock) }, "{kind:?} {order:?}");
            let sent = if write { Err(Error::BrokenPipe) } else { Ok(10) };
            assert_eq!(stack.send(NOW, d, &message(domain, b"ab")), sent, "{kind:?} {order:?}");
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, b"x"));
            // What comes later is received all the same, as on Linux.
            assert_eq!(stack.end_of_datagrams(NOW, d), Err(Error::WouldBlock), "{kind:?} {order:?}");
            assert!(stack.recv(NOW, d, &mut buf).is_ok(), "{kind:?} {order:?}");
        }
    }
}

/// As on Linux, a shutdown without a peer fails, and has its effect, also on a later connection.
#[test]
fn a_shutdown_that_fails_has_its_effect() {
    for (kind, domain) in KINDS {
        for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            stack.bind(d, any(domain, 7)).unwrap();
            has_event(&mut stack, d);
            assert_eq!(stack.shutdown(NOW, d, how), Err(Error::NotConnected), "{kind:?} {how:?}");
            assert!(has_event(&mut stack, d), "{kind:?} {how:?}");
            let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
            let readiness = stack.readiness(d).unwrap();
            assert_eq!((readiness.peer_closed, readiness.hung_up), (read, read && write), "{kind:?} {how:?}");
            assert_eq!(stack.recv(NOW, d, &mut [0; 9]), Err(Error::WouldBlock), "{kind:?} {how:?}");
            stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
            let sent = if write { Err(Error::BrokenPipe) } else { Ok(10) };
            assert_eq!(stack.send(NOW, d, &message(domain, b"ab")), sent, "{kind:?} {how:?}");
        }
    }
}

#[test]
fn a_socket_shows_what_it_is_bound_and_connected_to() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        let shown_state = |stack: &Stack| {
            let info = stack.sockets().next().unwrap();
            (info.kind, info.state, info.local, info.peer)
        };
        assert_eq!(shown_state(&stack), (kind, SocketState::Unbound, None, None));
        assert_eq!(stack.local_addr(d), Ok(any(domain, 0)));
        stack.bind(d, any(domain, 7)).unwrap();
        assert_eq!(shown_state(&stack), (kind, SocketState::Bound, Some(any(domain, 7).into()), None));
        assert_eq!(stack.peer_addr(d), Err(Error::NotConnected));
        stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
        let (local, peer) = (addr(domain, 1, 7), addr(domain, 2, 9));
        assert_eq!(
            shown_state(&stack),
            (kind, SocketState::Connected, Some(local.into()), Some(peer.into()))
        );
        assert_eq!((stack.local_addr(d), stack.peer_addr(d)), (Ok(local), Ok(peer)));
        // Data count with their length only, without the overhead of the queue.
        stack.send(NOW, d, &message(domain, b"abc")).unwrap();
        stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, b"abcd"));
        let received = 4 + if kind == SocketKind::Echo { 8 } else { 0 };
        assert_eq!(stack.queued_bytes(d), Ok((received, 11)));
        let info = stack.sockets().next().unwrap();
        assert_eq!((info.receive_queue, info.send_queue), (received, 11));
        assert_eq!((info.rtt, info.cwnd, info.timer), (None, None, None));
    }
}

#[test]
fn ipv6_only_is_set_before_a_socket_is_bound() {
    for kind in [SocketKind::Datagram, SocketKind::Echo] {
        let mut stack = stack();
        let d = stack.socket(Domain::V6, kind).unwrap();
        assert_eq!(stack.set_option(NOW, d, SocketOption::V6Only(false)), Ok(()));
        assert_eq!(stack.set_option(NOW, d, SocketOption::V6Only(true)), Ok(()));
        stack.connect(NOW, d, addr(Domain::V6, 2, 9)).unwrap();
        assert_eq!(stack.set_option(NOW, d, SocketOption::V6Only(false)), Err(Error::InvalidArgument));
        assert!(stack.options(d).unwrap().ip.v6_only);
    }
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    for (kind, domain) in KINDS.into_iter().filter(|(kind, _)| *kind == SocketKind::Datagram) {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.bind(d, any(domain, 7)).unwrap();
        let hears = |stack: &mut Stack, from: u8| {
            stack.handle_frame(NOW, IFACE, packet(kind, domain, from, 7, b"x"));
            stack.recv(NOW, d, &mut [0; 99]).is_ok()
        };
        assert!(hears(&mut stack, 2) && hears(&mut stack, 3), "{kind:?}: it is not connected");
        stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
        assert!(hears(&mut stack, 2) && !hears(&mut stack, 3), "{kind:?}: connected to 2");
        stack.connect(NOW, d, addr(domain, 3, 9)).unwrap();
        assert!(!hears(&mut stack, 2) && hears(&mut stack, 3), "{kind:?}: connected to 3");
        assert_eq!(stack.stats().drops(DropReason::NoUdpSocket), 2);
    }
}

/// As on Linux: a datagram of any size is taken when the queue is empty, others as long as they fit
/// SO_RCVBUF.
#[test]
fn a_receive_buffer_takes_so_much_and_no_more() {
    const BUFFER: usize = 4096;
    for (kind, domain) in KINDS {
        let cost = |len: usize| len + OVERHEAD_BYTES + if kind == SocketKind::Echo { 8 } else { 0 };
        let first = 1000;
        for (second, is_taken) in
            [(BUFFER - cost(first) - cost(0), true), (BUFFER - cost(first) - cost(0) + 1, false)]
        {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            stack.set_option(NOW, d, SocketOption::ReceiveBuffer(BUFFER)).unwrap();
            stack.bind(d, any(domain, 7)).unwrap();
            let before = stack.memory_bytes();
            let data = [3; BUFFER];
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, &data[..first]));
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, &data[..second]));
            let drops = stack.stats().drops(DropReason::ReceiveBufferFull);
            assert_eq!(drops, u64::from(!is_taken), "{kind:?} {second}");
            let held = cost(first) + if is_taken { cost(second) } else { 0 };
            assert_eq!(stack.memory_bytes(), before + held, "{kind:?} {second}");
            while stack.recv(NOW, d, &mut [0; 8]).is_ok() {}
            assert_eq!(stack.memory_bytes(), before, "{kind:?} {second}");
            // Longer than the buffer.
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, &data));
            assert!(stack.readiness(d).unwrap().readable, "{kind:?}");
        }
    }
}

/// A datagram may be queued while the queue is below SO_SNDBUF, even if it then exceeds it.
#[test]
fn a_send_buffer_takes_so_much_and_tells_of_room() {
    const BUFFER: usize = 4096;
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.set_option(NOW, d, SocketOption::SendBuffer(BUFFER)).unwrap();
        stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
        let before = stack.memory_bytes();
        let data = message_of_len(domain, BUFFER / 4 - OVERHEAD_BYTES);
        has_event(&mut stack, d);
        for count in 1..=4 {
            assert!(stack.readiness(d).unwrap().writable, "{kind:?} {count}");
            assert_eq!(stack.send(NOW, d, &data), Ok(data.len()));
            assert_eq!(stack.memory_bytes(), before + count * BUFFER / 4, "{kind:?}");
        }
        assert!(!stack.readiness(d).unwrap().writable, "{kind:?}");
        assert_eq!(stack.send(NOW, d, &data), Err(Error::WouldBlock), "{kind:?}");
        assert!(!has_event(&mut stack, d), "{kind:?}");
        assert!(stack.poll_transmit(NOW).is_some());
        assert_eq!(stack.memory_bytes(), before + 3 * BUFFER / 4, "{kind:?}");
        assert!(has_event(&mut stack, d), "{kind:?}: there is room now");
        let longest = message_of_len(domain, BUFFER - OVERHEAD_BYTES);
        assert_eq!(stack.send(NOW, d, &longest), Ok(longest.len()));
        assert_eq!(stack.send(NOW, d, &data), Err(Error::WouldBlock), "{kind:?}");
        assert!(!frames(&mut stack).is_empty());
        assert_eq!(stack.memory_bytes(), before, "{kind:?}");
        assert!(stack.readiness(d).unwrap().writable, "{kind:?}");
        // Longer than the buffer.
        let too_long = message_of_len(domain, BUFFER - OVERHEAD_BYTES + 1);
        assert_eq!(stack.send(NOW, d, &too_long), Err(Error::MessageTooLong), "{kind:?}");
    }
}

/// The longest datagram that fits an IP packet, whose limit includes the IP header over IPv4 but
/// not over IPv6 (RFC 8200 §3).
#[test]
fn a_datagram_is_at_most_as_long_as_a_packet() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
        let header = if kind == SocketKind::Datagram { 8 } else { 0 };
        let longest = if domain == Domain::V4 { 65_515 } else { 65_535 } - header;
        assert_eq!(stack.send(NOW, d, &message_of_len(domain, longest)), Ok(longest), "{kind:?} {domain:?}");
        let longer = message_of_len(domain, longest + 1);
        assert_eq!(stack.send(NOW, d, &longer), Err(Error::MessageTooLong), "{kind:?} {domain:?}");
    }
}

/// RFC 1122 §3.2.1.3: a group or a broadcast address is never a source.
#[test]
fn what_is_bound_to_a_group_sends_from_an_address_of_its_own() {
    let mut stack = stack();
    for bound in ["10.0.0.255:7", "224.0.0.251:7", "255.255.255.255:7", "10.0.0.1:8", "0.0.0.0:9"] {
        let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.bind(d, bound.parse::<SocketAddr>().unwrap()).unwrap();
        stack.send_to(NOW, d, b"x", addr(Domain::V4, 2, 9)).unwrap();
        let sent = frames(&mut stack);
        assert_eq!(sent[0][12..16], [10, 0, 0, 1], "{bound}");
        stack.close(NOW, d).unwrap();
    }
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.bind(d, "[ff0e::1]:7".parse::<SocketAddr>().unwrap()).unwrap();
    stack.send_to(NOW, d, b"x", addr(Domain::V6, 2, 9)).unwrap();
    let sent = frames(&mut stack);
    let IpAddr::V6(own) = host(Domain::V6, 1) else { unreachable!() };
    assert_eq!(sent[0][8..24], own.octets());
    // As on Linux, a socket of both families that is connected to an IPv6 address can send to an
    // IPv4 address, too, but not the other way round.
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    let mapped = "[::ffff:10.0.0.2]:9".parse::<SocketAddr>().unwrap();
    stack.connect(NOW, d, addr(Domain::V6, 2, 9)).unwrap();
    stack.send(NOW, d, b"x").unwrap();
    stack.send_to(NOW, d, b"x", mapped).unwrap();
    let sent = frames(&mut stack);
    assert_eq!((&sent[0][8..24], &sent[1][12..16]), (&own.octets()[..], &[10, 0, 0, 1][..]));
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.connect(NOW, d, mapped).unwrap();
    let unsupported = Err(Error::AddressFamilyNotSupported);
    assert_eq!(stack.send_to(NOW, d, b"x", addr(Domain::V6, 2, 9)), unsupported);
    // A socket that is bound to an address of one family cannot send to the other.
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    stack.bind(d, addr(Domain::V6, 1, 8)).unwrap();
    assert_eq!(stack.send_to(NOW, d, b"x", mapped), Err(Error::NetworkUnreachable));
}

#[test]
fn a_broadcast_wants_so_broadcast() {
    let domain = Domain::V4;
    for kind in [SocketKind::Datagram, SocketKind::Echo] {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        let to = "10.0.0.255:9".parse::<SocketAddr>().unwrap();
        assert_eq!(stack.connect(NOW, d, to), Err(Error::PermissionDenied), "{kind:?}");
        assert_eq!(
            stack.send_to(NOW, d, &message(domain, b"x"), to),
            Err(Error::PermissionDenied),
            "{kind:?}"
        );
        stack.set_option(NOW, d, SocketOption::Broadcast(true)).unwrap();
        assert_eq!(stack.send_to(NOW, d, &message(domain, b"x"), to), Ok(9), "{kind:?}");
        assert_eq!(stack.connect(NOW, d, to), Ok(()), "{kind:?}");
    }
}

/// RFC 1122 §3.3.9 and RFC 3493 §5.2: a multicast packet stays on its link unless its program says
/// otherwise.
#[test]
fn a_packet_to_a_group_stays_on_its_link() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let group = "224.0.0.251:9".parse().unwrap();
    stack.send_to(NOW, d, b"x", group).unwrap();
    stack.send_to(NOW, d, b"x", addr(Domain::V4, 2, 9)).unwrap();
    let meta = SendMeta::to(group).hop_limit(7);
    stack.send_msg(NOW, d, Bytes::from_static(b"x"), &meta).unwrap();
    let ttls: Vec<u8> = frames(&mut stack).iter().map(|frame| frame[8]).collect();
    assert_eq!(ttls, [1, 64, 7]);
}

#[test]
fn several_are_received_in_one_call_and_none_more_than_asked_for() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.bind(d, any(domain, 7)).unwrap();
        let before = stack.memory_bytes();
        let receive = |stack: &mut Stack, max: usize| {
            let mut batch = Vec::new();
            let count = stack.recv_batch(NOW, d, &mut batch, max);
            assert_eq!(count.unwrap_or(0), batch.len());
            let peer = addr(domain, 2, shown(kind, 9));
            assert!(batch.iter().all(|(data, meta)| data.ends_with(b"x") && meta.peer() == peer));
            count
        };
        assert_eq!(receive(&mut stack, 3), Err(Error::WouldBlock));
        for _ in 0..5 {
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, b"x"));
        }
        assert_eq!(receive(&mut stack, 0), Ok(0));
        assert_eq!(receive(&mut stack, 3), Ok(3));
        let rest = stack.memory_bytes() - before;
        assert_eq!(receive(&mut stack, 1), Ok(1));
        assert_eq!(stack.memory_bytes(), before + rest / 2, "{kind:?}");
        assert_eq!(receive(&mut stack, 3), Ok(1));
        assert_eq!(stack.memory_bytes(), before, "{kind:?}");
    }
}

#[test]
fn an_error_waits_for_the_next_call_and_comes_once() {
    for (kind, domain) in KINDS {
        for call in 0..9 {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            stack.bind(d, any(domain, 7)).unwrap();
            stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
            let id = stack.socket_id(d).unwrap();
            has_event(&mut stack, d);
            stack.sockets.common.set_datagram_error(id, Error::ConnectionRefused);
            assert!(has_event(&mut stack, d), "{kind:?}");
            let readiness = stack.readiness(d).unwrap();
            assert!(readiness.error && !readiness.readable && readiness.writable, "{kind:?}");
            let mut buf = [0; 9];
            let result = match call {
                0 => stack.recv(NOW, d, &mut buf).map(drop),
                1 => stack.recv_from(NOW, d, &mut buf).map(drop),
                2 => stack.recv_batch(NOW, d, &mut Vec::new(), 3).map(drop),
                3 => stack.send(NOW, d, &message(domain, b"x")).map(drop),
                4 => stack.take_error(d).and_then(|error| error.map_or(Ok(()), Err)),
                // As on Linux.
                5 => stack.peek(d, &mut buf).map(drop),
                6 => stack.peek_from(d, &mut buf).map(drop),
                7 => stack.recv_with(NOW, d, &mut buf, RecvFlags::PEEK).map(drop),
                // As on Linux `connect` leaves it.
                _ => {
                    stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
                    stack.recv(NOW, d, &mut buf).map(drop)
                }
            };
            assert_eq!(result, Err(Error::ConnectionRefused), "{kind:?} {call}");
            assert_eq!(stack.take_error(d), Ok(None), "{kind:?} {call}");
            assert_eq!(stack.recv(NOW, d, &mut buf), Err(Error::WouldBlock), "{kind:?} {call}");
            assert_eq!(stack.send(NOW, d, &message(domain, b"x")), Ok(9), "{kind:?} {call}");
        }
    }
}

/// An ICMP error about a packet that the stack sent: its type and code for IPv4 and IPv6, and the
/// word before the packet.
fn icmp_error(domain: Domain, from: u8, kinds: [(u8, u8); 2], word: u32, sent: &[u8]) -> Frame {
    let (kind, code) = kinds[usize::from(domain == Domain::V6)];
    let rest = [&word.to_be_bytes()[..], sent].concat();
    Frame::new(PacketBuilder::new(host(domain, from), host(domain, 1)).icmp(kind, code, &rest))
}

/// As on Linux: a connected socket gets hard errors; other sockets get none.
#[test]
fn a_connected_socket_hears_of_errors_about_what_it_sent() {
    let (port_unreachable, time_exceeded) = ([(3, 3), (1, 4)], [(11, 0), (3, 0)]);
    for (kind, domain) in KINDS {
        for (kinds, connected_to, told, is_taken) in [
            (port_unreachable, Some(2), Some(Error::ConnectionRefused), true),
            (time_exceeded, Some(2), None, true),
            // The error is about a packet to host 2. An identifier belongs to the socket whatever
            // the destination, and Linux 6.18 does not look at the peer, either.
            (
                port_unreachable,
                Some(3),
                (kind == SocketKind::Echo).then_some(Error::ConnectionRefused),
                kind == SocketKind::Echo,
            ),
            (port_unreachable, None, None, kind == SocketKind::Echo),
        ] {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            stack.bind(d, any(domain, 7)).unwrap();
            if let Some(peer) = connected_to {
                stack.connect(NOW, d, addr(domain, peer, 9)).unwrap();
            }
            stack.send_to(NOW, d, &message(domain, b"x"), addr(domain, 2, 9)).unwrap();
            let sent = frames(&mut stack);
            has_event(&mut stack, d);
            stack.handle_frame(NOW, IFACE, icmp_error(domain, 2, kinds, 0, &sent[0]));
            assert_eq!(has_event(&mut stack, d), told.is_some(), "{kind:?} {domain:?} {connected_to:?}");
            assert_eq!(stack.take_error(d), Ok(told), "{kind:?} {domain:?} {connected_to:?}");
            let stats = stack.stats();
            let counted = (stats.icmp.errors_received, stats.drops(DropReason::UnmatchedIcmpError));
            assert_eq!(counted, (is_taken.into(), (!is_taken).into()), "{kind:?} {domain:?}");
        }
    }
}

/// EMSGSIZE; as on Linux an echo socket gets it over IPv4 only.
#[test]
fn a_connected_socket_hears_that_its_packet_was_too_big() {
    for (kind, domain) in KINDS {
        for is_connected in [true, false] {
            let mut stack = stack();
            let d = stack.socket(domain, kind).unwrap();
            if is_connected {
                stack.connect(NOW, d, addr(domain, 2, 9)).unwrap();
            }
            let send = |stack: &mut Stack| {
                stack.send_to(NOW, d, &message_of_len(domain, 2000), addr(domain, 2, 9)).unwrap();
                frames(stack)
            };
            let sent = send(&mut stack);
            assert_eq!(sent.len(), 1);
            let start = &sent[0][..80];
            stack.handle_frame(NOW, IFACE, icmp_error(domain, 3, [(3, 4), (2, 0)], 1400, start));
            let is_told = is_connected && (kind == SocketKind::Datagram || domain == Domain::V4);
            let told = is_told.then_some(Error::MessageTooLong);
            assert_eq!(stack.take_error(d), Ok(told), "{kind:?} {domain:?} {is_connected}");
            assert_eq!(stack.stats().icmp.errors_received, 1, "{kind:?} {domain:?}");
        }
    }
}

#[test]
fn a_datagram_is_received_in_full_or_as_much_of_it_as_is_asked_for() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.bind(d, any(domain, 7)).unwrap();
        for _ in 0..4 {
            stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, b"0123456789"));
        }
        let len = 10 + if kind == SocketKind::Echo { 8 } else { 0 };
        let mut whole = [0; 20];
        assert_eq!(stack.peek(d, &mut whole), Ok(len));
        assert_eq!(stack.recv_bytes(NOW, d, usize::MAX).as_deref(), Ok(&whole[..len]));
        assert_eq!(stack.recv_bytes(NOW, d, 4).as_deref(), Ok(&whole[..4]));
        let mut part = [0; 4];
        assert_eq!(stack.peek(d, &mut part), Ok(4));
        let from = addr(domain, 2, shown(kind, 9));
        assert_eq!(stack.peek_from(d, &mut part).map(|(len, meta)| (len, meta.peer())), Ok((4, from)));
        assert_eq!(received_from(&mut stack, d, &mut part), Ok((4, from)));
        assert_eq!(part, whole[..4]);
        let (data, meta) = stack.recv_msg(NOW, d).unwrap();
        assert_eq!((&data[..], meta.segment_len(), meta.peer()), (&whole[..len], len, from));
        assert_eq!(stack.recv_bytes(NOW, d, 4), Err(Error::WouldBlock));
    }
}

/// RFC 4007 §6: a link-local address belongs to a link, which its scope id names.
#[test]
fn link_local_packets_go_out_and_come_in_on_the_link_of_their_scope() {
    for kind in [SocketKind::Datagram, SocketKind::Echo] {
        let mut stack = Stack::new(Config::default(), [6; 32], NOW);
        let [first, second] = [(); 2].map(|()| {
            let interface = InterfaceConfig::new(Medium::Ip).address("fe80::1/64".parse().unwrap());
            stack.add_interface(NOW, interface).unwrap()
        });
        let peer = |scope: u32| -> SocketAddr {
            core::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 9, 0, scope).into()
        };
        let builder = PacketBuilder::new("fe80::2".parse().unwrap(), "fe80::1".parse().unwrap());
        let packet = || {
            Frame::new(match kind {
                SocketKind::Echo => builder.icmp(129, 0, &[0, 7, 0, 1]),
                _ => builder.udp(9, 7, b"x"),
            })
        };
        let d = stack.socket(Domain::V6, kind).unwrap();
        stack.bind(d, any(Domain::V6, 7)).unwrap();
        assert_eq!(
            stack.send_to(NOW, d, &message(Domain::V6, b"x"), peer(0)),
            Err(Error::InvalidArgument),
            "{kind:?}"
        );
        for (iface, scope) in [(first, 1), (second, 2)] {
            stack.send_to(NOW, d, &message(Domain::V6, b"x"), peer(scope)).unwrap();
            assert_eq!(stack.poll_transmit(NOW).map(|transmit| transmit.iface()), Some(iface), "{kind:?}");
            stack.handle_frame(NOW, iface, packet());
            let (_, meta) = stack.recv_msg(NOW, d).unwrap();
            let SocketAddr::V6(from) = meta.peer() else { panic!("{meta:?}") };
            assert_eq!((meta.iface(), from.scope_id()), (iface, scope), "{kind:?}");
        }
    }
}

/// UDP_SEGMENT, as on Linux (6.18): each datagram must fit the path MTU, even if it is the only
/// one, and there are at most 128.
#[test]
fn runs_are_of_so_many_datagrams_that_need_no_fragments() {
    for (domain, longest) in [(Domain::V4, 9000 - 28), (Domain::V6, 9000 - 48)] {
        let mut stack = stack();
        let d = stack.socket(domain, SocketKind::Datagram).unwrap();
        let mut send = |len: u16, data: usize| {
            stack.set_option(NOW, d, SocketOption::UdpSegment(len)).unwrap();
            let sent = stack.send_to(NOW, d, &std::vec![0; data], addr(domain, 2, 9));
            sent.map(|_| frames(&mut stack).len())
        };
        assert_eq!(send(longest, 20_000), Ok(3));
        let full = usize::from(longest);
        assert_eq!(send(longest + 1, 20_000), Err(Error::MessageTooLong));
        assert_eq!(send(longest + 1, full), Ok(1), "no run");
        assert_eq!(send(longest + 1, full + 1), Err(Error::MessageTooLong), "no run either");
        assert_eq!(send(u16::MAX, full + 1), Err(Error::MessageTooLong));
        assert_eq!(send(0, full + 1), Ok(2), "fragments");
        assert_eq!(send(10, 1280), Ok(128));
        assert_eq!(send(10, 1281), Err(Error::InvalidArgument));
        assert_eq!(send(longest + 1, 65_000), Err(Error::MessageTooLong));
    }
}

/// The account and the readiness of a socket as they are kept, and computed anew.
fn check_books(stack: &Stack, d: Descriptor, after: &str) {
    let id = stack.socket_id(d).unwrap();
    let socket = stack.sockets.common.record(id).unwrap();
    assert_eq!(socket.charged_bytes, socket.charge(), "{after}");
    let mut marks = socket.marks;
    assert!(marks.see(socket.readiness()).is_none(), "something rose unseen: {after}");
    assert_eq!(marks.readiness_bits(), socket.marks.readiness_bits(), "{after}");
}

#[test]
fn what_each_datagram_changes_adds_up_to_what_is_computed_anew() {
    for (kind, domain) in KINDS {
        let mut stack = stack();
        let d = stack.socket(domain, kind).unwrap();
        stack.bind(d, any(domain, 7)).unwrap();
        stack.set_option(NOW, d, SocketOption::ReceiveBuffer(4096)).unwrap();
        stack.set_option(NOW, d, SocketOption::SendBuffer(4096)).unwrap();
        let mut random = crate::rng::Rng::new([3; 32]);
        let mut buf = [0; 100];
        for step in 0..5_000 {
            let choice = random.below(12);
            match choice {
                0..=2 => drop(stack.send_to(NOW, d, &message(domain, &[0; 300]), addr(domain, 2, 9))),
                3 | 4 => drop(stack.poll_transmit(NOW)),
                5..=7 => stack.handle_frame(NOW, IFACE, packet(kind, domain, 2, 7, &[0; 300])),
                8 | 9 => drop(stack.recv_from(NOW, d, &mut buf)),
                10 => drop(stack.recv_batch(NOW, d, &mut Vec::new(), 3)),
                _ => {
                    let id = stack.socket_id(d).unwrap();
                    stack.sockets.common.set_datagram_error(id, Error::MessageTooLong);
                }
            }
            check_books(&stack, d, &std::format!("{kind:?} {domain:?} step {step}, {choice}"));
        }
        stack.shutdown(NOW, d, Shutdown::Both).unwrap_err();
        while stack.poll_transmit(NOW).is_some() || stack.recv(NOW, d, &mut buf).is_ok() {
            check_books(&stack, d, "after the shutdown");
        }
        assert!(stack.readiness(d).unwrap().readable, "reading was shut down");
    }
}

#[test]
fn a_datagram_in_pieces_is_accounted_for() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.connect(NOW, d, addr(Domain::V4, 2, 9)).unwrap();
    for _ in 0..2 {
        stack.send_with(NOW, d, &[0; 300], SendFlags::MORE).unwrap();
        check_books(&stack, d, "a part");
    }
    stack.send(NOW, d, &[0; 300]).unwrap();
    check_books(&stack, d, "the last part");
    assert!(stack.poll_transmit(NOW).is_some());
    check_books(&stack, d, "sent");
}
