//! Raw sockets of both families, as programs see them.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use crate::bpf::{Filter, Instruction};
use crate::ip::checksum::{internet_checksum, verify_internet_checksum, verify_transport_checksum};
use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::testing::PacketBuilder;
use crate::{
    Config, Descriptor, Domain, DropReason, Error, Frame, IcmpFilter, Instant, Result, SendMeta, Shutdown,
    SocketKind, SocketOption, SocketState, Stack,
};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);
const MTU: usize = 1500;
/// RFC 3692 §2.1: for experiments.
const PROTOCOL: u8 = 253;
const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];

/// A stack with the addresses 10.0.0.1 and fd00::1 on a link without link headers.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .mtu(MTU)
        .address("10.0.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    stack
}

/// A stack with a raw socket.
fn with_socket(domain: Domain, protocol: u8) -> (Stack, Descriptor) {
    let mut stack = stack();
    let d = stack.socket(domain, SocketKind::Raw(protocol)).unwrap();
    (stack, d)
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

fn unspecified(domain: Domain) -> SocketAddr {
    match domain {
        Domain::V4 | Domain::Unix => ([0; 4], 0).into(),
        Domain::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A builder for packets of a host to another.
fn packet(domain: Domain, from: u8, to: u8) -> PacketBuilder {
    PacketBuilder::new(host(domain, from), host(domain, to))
}

/// What a packet has for a raw socket.
fn of_socket(domain: Domain, packet: &[u8]) -> Vec<u8> {
    if domain == Domain::V4 { packet.to_vec() } else { packet[40..].to_vec() }
}

fn receive(stack: &mut Stack, packet: Vec<u8>) {
    stack.handle_frame(NOW, IFACE, Frame::new(packet));
}

fn frames(stack: &mut Stack) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        frames.extend(core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()));
        if !stack.handle_loopback(NOW) {
            return frames;
        }
    }
}

fn recv(stack: &mut Stack, d: Descriptor) -> Result<Vec<u8>> {
    stack.recv_msg(NOW, d).map(|(data, _)| data.to_vec())
}

fn set(stack: &mut Stack, d: Descriptor, option: SocketOption) -> Result<()> {
    stack.set_option(NOW, d, option)
}

#[test]
fn a_filter_sees_what_the_socket_would_get() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        let first = if domain == Domain::V4 { 0x45 } else { b'a' };
        for (wanted, expected) in [(first, Ok(3)), (first + 1, Err(Error::WouldBlock))] {
            // Three bytes, if the first one is the wanted one.
            let program = [(0x30, 0, 0, 0), (0x15, 0, 1, wanted.into()), (6, 0, 0, 3), (6, 0, 0, 0)];
            let program = program.map(|(code, jt, jf, k)| Instruction::new(code, jt, jf, k));
            stack.attach_filter(d, Filter::new(&program).unwrap()).unwrap();
            let packet = PacketBuilder::new(host(domain, 2), host(domain, 1)).raw(PROTOCOL, b"abcdefgh");
            stack.handle_frame(NOW, IFACE, Frame::new(packet));
            assert_eq!(stack.recv(NOW, d, &mut [0; 100]), expected, "{domain:?}");
        }
        assert_eq!(stack.stats().drops(DropReason::Filtered), 1);
    }
}

#[test]
fn a_protocol_of_its_own_goes_both_ways() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        assert_eq!(stack.local_addr(d), Ok(SocketAddr::new(unspecified(domain).ip(), PROTOCOL.into())));
        assert_eq!(stack.sockets().next().unwrap().state, SocketState::Bound);
        assert_eq!(stack.send(NOW, d, b"x"), Err(Error::DestinationRequired));
        stack.send_to(NOW, d, b"hello", addr(domain, 2, 0)).unwrap();
        stack.send_to(NOW, d, b"", addr(domain, 2, 0)).unwrap();
        let sent = frames(&mut stack);
        let ip_len = if domain == Domain::V4 { 20 } else { 40 };
        assert_eq!(sent[0][ip_len..], *b"hello");
        assert_eq!((sent.len(), sent[1].len()), (2, ip_len));
        assert_eq!(sent[0][if domain == Domain::V4 { 9 } else { 6 }], PROTOCOL);

        let answer = packet(domain, 2, 1).hop_limit(7).raw(PROTOCOL, b"answer");
        receive(&mut stack, answer.clone());
        let (data, meta) = stack.recv_msg(NOW, d).unwrap();
        assert_eq!(data, of_socket(domain, &answer));
        assert_eq!((meta.peer(), meta.local()), (addr(domain, 2, 0), addr(domain, 1, 0)));
        assert_eq!((meta.iface(), meta.hop_limit(), meta.segment_len()), (IFACE, 7, data.len()));
        assert!(frames(&mut stack).is_empty(), "an error about a packet that was taken");
        assert_eq!(stack.stats().all_drops(), 0);

        stack.close(NOW, d).unwrap();
        receive(&mut stack, answer);
        assert_eq!(frames(&mut stack).len(), 1, "protocol unreachable");
        assert_eq!(stack.stats().drops(DropReason::UnknownProtocol), 1);
        assert!(stack.sockets().next().is_none());
    }
}

#[test]
fn a_raw_socket_takes_nothing_away_from_others() {
    for domain in FAMILIES {
        let (mut stack, raw_udp) = with_socket(domain, 17);
        let icmp = if domain == Domain::V4 { 1 } else { 58 };
        let [raw_icmp, other] = [(); 2].map(|()| stack.socket(domain, SocketKind::Raw(icmp)).unwrap());
        let udp = stack.socket(domain, SocketKind::Datagram).unwrap();
        stack.bind(udp, SocketAddr::new(unspecified(domain).ip(), 7)).unwrap();
        let datagram = packet(domain, 2, 1).udp(9, 7, b"for two");
        receive(&mut stack, datagram.clone());
        assert_eq!(recv(&mut stack, udp), Ok(b"for two".to_vec()));
        assert_eq!(recv(&mut stack, raw_udp), Ok(of_socket(domain, &datagram)));
        // Nobody has this port: the answer is as without the raw socket.
        receive(&mut stack, packet(domain, 2, 1).udp(9, 8, b"for one"));
        assert_eq!((frames(&mut stack).len(), recv(&mut stack, raw_udp).is_ok()), (1, true));
        // The stack answers an echo request itself.
        let request = packet(domain, 2, 1).echo_request(5, 1, b"ping");
        receive(&mut stack, request.clone());
        assert_eq!(frames(&mut stack).len(), 1);
        for d in [raw_icmp, other] {
            assert_eq!(recv(&mut stack, d), Ok(of_socket(domain, &request)));
        }
        // Messages that nobody else has a use for are not dropped.
        let dropped = stack.stats().all_drops();
        for kind in [0, 129, 200, 5] {
            receive(&mut stack, packet(domain, 2, 1).icmp(kind, 0, &[0; 60]));
            let taken = [raw_icmp, other].map(|d| recv(&mut stack, d).is_ok());
            assert_eq!(taken, [true; 2], "{domain:?} {kind}");
        }
        assert_eq!(stack.stats().all_drops(), dropped);
    }
}

#[test]
fn addresses_that_it_is_bound_and_connected_to_choose_the_packets() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        let loopback = SocketAddr::new(
            if domain == Domain::V4 { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() },
            0,
        );
        assert_eq!(stack.bind(d, addr(domain, 3, 0)), Err(Error::AddressNotAvailable));
        stack.bind(d, SocketAddr::new(loopback.ip(), 99)).unwrap();
        assert_eq!(stack.local_addr(d), Ok(SocketAddr::new(loopback.ip(), PROTOCOL.into())));
        receive(&mut stack, packet(domain, 2, 1).raw(PROTOCOL, b"elsewhere"));
        assert_eq!(recv(&mut stack, d), Err(Error::WouldBlock));
        stack.bind(d, addr(domain, 1, 0)).unwrap();
        receive(&mut stack, packet(domain, 2, 1).raw(PROTOCOL, b"here"));
        assert!(recv(&mut stack, d).is_ok());
        stack.bind(d, unspecified(domain)).unwrap();

        stack.connect(NOW, d, addr(domain, 2, 55)).unwrap();
        assert_eq!(stack.local_addr(d), Ok(addr(domain, 1, PROTOCOL.into())));
        assert_eq!(stack.peer_addr(d), Ok(addr(domain, 2, 55)));
        assert_eq!(stack.bind(d, unspecified(domain)), Err(Error::InvalidArgument));
        for (from, is_taken) in [(3, false), (2, true)] {
            receive(&mut stack, packet(domain, from, 1).raw(PROTOCOL, b"x"));
            assert_eq!(recv(&mut stack, d).is_ok(), is_taken, "{from}");
        }
        frames(&mut stack);
        stack.send(NOW, d, b"to the peer").unwrap();
        stack.send_to(NOW, d, b"to another", addr(domain, 3, 0)).unwrap();
        assert_eq!(frames(&mut stack).len(), 2);
        // The end of sending is for packets with a header only, as on Linux.
        stack.shutdown(NOW, d, Shutdown::Write).unwrap();
        assert_eq!(stack.send(NOW, d, b"still"), Ok(5));
        set(&mut stack, d, SocketOption::HeaderIncluded(true)).unwrap();
        assert_eq!(stack.send(NOW, d, &packet(domain, 1, 2).raw(PROTOCOL, b"x")), Err(Error::BrokenPipe));
    }
    let (mut stack, d) = with_socket(Domain::V6, PROTOCOL);
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:0".parse().unwrap();
    assert_eq!(stack.bind(d, mapped), Err(Error::AddressNotAvailable));
    assert_eq!(stack.connect(NOW, d, mapped), Err(Error::NetworkUnreachable));
    assert_eq!(stack.send_to(NOW, d, b"x", mapped), Err(Error::NetworkUnreachable));
    // An IPv4 packet of the same protocol is none of its business.
    receive(&mut stack, packet(Domain::V4, 2, 1).raw(PROTOCOL, b"x"));
    assert_eq!(recv(&mut stack, d), Err(Error::WouldBlock));
    assert_eq!(set(&mut stack, d, SocketOption::V6Only(true)), Err(Error::InvalidArgument));
}

#[test]
fn a_packet_to_this_host_reaches_its_sender_too() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        for to in [addr(domain, 1, 0), unspecified(domain)] {
            stack.send_to(NOW, d, b"me", to).unwrap();
            assert!(frames(&mut stack).is_empty());
            assert!(recv(&mut stack, d).unwrap().ends_with(b"me"), "{to}");
        }
    }
    let (mut stack, d) = with_socket(Domain::V4, PROTOCOL);
    stack.bind(d, addr(Domain::V4, 1, 0)).unwrap();
    stack.send_to(NOW, d, b"me", unspecified(Domain::V4)).unwrap();
    frames(&mut stack);
    let (_, meta) = stack.recv_msg(NOW, d).unwrap();
    assert_eq!(meta.local(), addr(Domain::V4, 1, 0), "0.0.0.0 is the address that it is bound to");
}

#[test]
fn a_large_packet_is_fragmented_and_arrives_whole() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        let data: Vec<u8> = (0..5000).map(|index| index as u8).collect();
        stack.send_to(NOW, d, &data, addr(domain, 2, 0)).unwrap();
        let sent = frames(&mut stack);
        assert_eq!(sent.len(), 4);
        let header = if domain == Domain::V4 { 20 } else { 48 };
        assert_eq!(sent.iter().flat_map(|frame| frame[header..].to_vec()).collect::<Vec<_>>(), data);
        for fragment in packet(domain, 2, 1).fragments(PROTOCOL, &data, 1000) {
            receive(&mut stack, fragment);
        }
        let whole = recv(&mut stack, d).unwrap();
        assert!(whole.ends_with(&data));
        if domain == Domain::V4 {
            assert_eq!((whole.len(), &whole[2..4]), (5020, &5020u16.to_be_bytes()[..]));
            assert_eq!(whole[6..8], [0, 0], "no fragment any more");
            assert!(verify_internet_checksum(&whole[..20]));
        }
        assert_eq!(stack.send_to(NOW, d, &vec![0; 65_536], addr(domain, 2, 0)), Err(Error::MessageTooLong));
    }
    let (mut stack, d) = with_socket(Domain::V4, PROTOCOL);
    assert_eq!(stack.send_to(NOW, d, &[0; 65_516], addr(Domain::V4, 2, 0)), Err(Error::MessageTooLong));
}

#[test]
fn the_stack_completes_an_ipv4_header_of_the_program() {
    let (mut stack, d) = with_socket(Domain::V4, PROTOCOL);
    set(&mut stack, d, SocketOption::HeaderIncluded(true)).unwrap();
    assert!(stack.options(d).unwrap().raw.unwrap().header_included);
    let to = addr(Domain::V4, 2, 0);
    let mut send = |header: &dyn Fn(&mut [u8])| {
        let mut made = packet(Domain::V4, 9, 2).raw(PROTOCOL, b"data");
        header(&mut made);
        stack.send_to(NOW, d, &made, to).unwrap();
        let sent = frames(&mut stack).remove(0);
        assert!(verify_internet_checksum(&sent[..20]));
        assert_eq!((sent[2..4].to_vec(), &sent[20..]), (24u16.to_be_bytes().to_vec(), &b"data"[..]));
        sent
    };
    // A length and a checksum that lie are replaced; the rest is the program's.
    let sent = send(&|made| {
        made[2..4].copy_from_slice(&[9, 9]);
        made[4..6].copy_from_slice(&[1, 2]);
        made[10..12].copy_from_slice(&[7, 7]);
        (made[1], made[8]) = (0x1f, 3);
    });
    assert_eq!((sent[1], &sent[4..6], sent[8], &sent[12..16]), (0x1f, &[1, 2][..], 3, &[10, 0, 0, 9][..]));
    let sent = send(&|made| {
        made[12..16].fill(0);
        made[4..8].fill(0);
    });
    assert_eq!(sent[12..16], [10, 0, 0, 1]);
    assert_ne!(sent[4..6], [0, 0]);
    let sent = send(&|made| made[4..8].copy_from_slice(&[0, 0, 0x40, 0]));
    assert_eq!(sent[4..8], [0, 0, 0x40, 0], "it is never fragmented and needs no identification");
}

#[test]
fn malformed_headers_and_packets_beyond_the_mtu_are_errors() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, 255);
        assert!(stack.options(d).unwrap().raw.unwrap().header_included, "IPPROTO_RAW");
        let good = packet(domain, 1, 2).raw(PROTOCOL, b"data");
        let to = addr(domain, 2, 0);
        let longest = [&good[..], &vec![0; MTU - good.len()]].concat();
        assert_eq!(stack.send_to(NOW, d, &longest, to), Ok(MTU));
        assert_eq!(frames(&mut stack).len(), 1);
        let too_long = [&longest[..], &[0]].concat();
        assert_eq!(stack.send_to(NOW, d, &too_long, to), Err(Error::MessageTooLong));
        let header_len = if domain == Domain::V4 { 20 } else { 40 };
        let with_first = |first: u8| [&[first], &good[1..]].concat();
        let mut bad = vec![good[..header_len - 1].to_vec(), vec![], with_first(0), with_first(0x55)];
        if domain == Domain::V4 {
            // A header of no length, of 16 bytes, and one that is longer than the packet.
            bad.extend([0x40, 0x44, 0x47, 0x65].map(with_first));
        } else {
            bad.push(with_first(0x45));
        }
        for bad in bad {
            assert_eq!(stack.send_to(NOW, d, &bad, to), Err(Error::InvalidArgument), "{domain:?} {bad:?}");
        }
        assert!(frames(&mut stack).is_empty());
    }
}

#[test]
fn an_ipv6_header_is_sent_as_it_is() {
    let (mut stack, d) = with_socket(Domain::V6, 255);
    let mut made = packet(Domain::V6, 9, 2).raw(PROTOCOL, b"data");
    made[4..6].copy_from_slice(&[9, 9]);
    stack.send_to(NOW, d, &made, addr(Domain::V6, 2, 0)).unwrap();
    assert_eq!(frames(&mut stack), [made]);
    // Without it, the port of the destination is the protocol.
    set(&mut stack, d, SocketOption::HeaderIncluded(false)).unwrap();
    stack.send_to(NOW, d, b"data", addr(Domain::V6, 2, 77)).unwrap();
    assert_eq!(frames(&mut stack)[0][6], 77);
    assert_eq!(stack.send_to(NOW, d, b"data", addr(Domain::V6, 2, 256)), Err(Error::InvalidArgument));
    let d = stack.socket(Domain::V6, SocketKind::Raw(PROTOCOL)).unwrap();
    assert_eq!(stack.send_to(NOW, d, b"data", addr(Domain::V6, 2, 77)), Err(Error::InvalidArgument));
    assert_eq!(stack.send_to(NOW, d, b"data", addr(Domain::V6, 2, PROTOCOL.into())), Ok(4));
}

#[test]
fn rfc_3542_3_1_the_checksum_is_computed_and_verified() {
    let (mut stack, d) = with_socket(Domain::V6, PROTOCOL);
    for (at, result) in [(1, Err(Error::InvalidArgument)), (2, Ok(()))] {
        assert_eq!(set(&mut stack, d, SocketOption::ChecksumOffset(Some(at))), result);
    }
    let to = addr(Domain::V6, 2, 0);
    assert_eq!(stack.send_to(NOW, d, &[1; 3], to), Err(Error::InvalidArgument));
    for len in [4, 5, 1001, 2001] {
        stack.send_to(NOW, d, &vec![1; len], to).unwrap();
        let sent = frames(&mut stack);
        let data: Vec<u8> = match len {
            2001 => sent.iter().flat_map(|frame| frame[48..].to_vec()).collect(),
            _ => sent[0][40..].to_vec(),
        };
        let [us, peer] = [1, 2].map(|number| host(Domain::V6, number));
        assert!(verify_transport_checksum(us, peer, PROTOCOL, &data), "{len}");
        if len > MTU {
            continue;
        }
        // The same in the other direction: the sum does not depend on it.
        receive(&mut stack, packet(Domain::V6, 2, 1).raw(PROTOCOL, &data));
        assert_eq!(recv(&mut stack, d), Ok(data.clone()));
        receive(&mut stack, packet(Domain::V6, 2, 1).raw(PROTOCOL, &[&data[..], &[1]].concat()));
        assert_eq!(recv(&mut stack, d), Err(Error::WouldBlock));
    }
    assert_eq!(stack.stats().drops(DropReason::BadRawChecksum), 3);
    set(&mut stack, d, SocketOption::ChecksumOffset(None)).unwrap();
    receive(&mut stack, packet(Domain::V6, 2, 1).raw(PROTOCOL, &[1; 5]));
    assert_eq!(recv(&mut stack, d), Ok(vec![1; 5]));

    // ICMPv6 always has one.
    let icmp = stack.socket(Domain::V6, SocketKind::Raw(58)).unwrap();
    assert_eq!(stack.options(icmp).unwrap().raw.unwrap().checksum_at, Some(2));
    for at in [None, Some(2), Some(4)] {
        assert_eq!(set(&mut stack, icmp, SocketOption::ChecksumOffset(at)), Err(Error::InvalidArgument));
    }
    stack.send_to(NOW, icmp, &[200, 0, 9, 9, 1], to).unwrap();
    let sent = frames(&mut stack).remove(0);
    let [us, peer] = [1, 2].map(|number| host(Domain::V6, number));
    assert!(verify_transport_checksum(us, peer, 58, &sent[40..]));
}

#[test]
fn options_of_another_socket_are_refused() {
    let mut stack = stack();
    let filter = SocketOption::IcmpFilter(IcmpFilter::BLOCK_ALL);
    let checksum = SocketOption::ChecksumOffset(None);
    let header = SocketOption::HeaderIncluded(true);
    for (kind, option, v4, v6) in [
        (SocketKind::Raw(PROTOCOL), filter, Err(Error::NotSupported), Err(Error::NotSupported)),
        (SocketKind::Raw(PROTOCOL), checksum, Err(Error::ProtocolNotAvailable), Ok(())),
        (SocketKind::Raw(1), filter, Ok(()), Err(Error::NotSupported)),
        (SocketKind::Raw(58), filter, Err(Error::NotSupported), Ok(())),
        (SocketKind::Raw(58), header, Ok(()), Ok(())),
        (SocketKind::Datagram, header, Err(Error::ProtocolNotAvailable), Err(Error::ProtocolNotAvailable)),
        (SocketKind::Stream, filter, Err(Error::ProtocolNotAvailable), Err(Error::ProtocolNotAvailable)),
        (SocketKind::Echo, checksum, Err(Error::ProtocolNotAvailable), Err(Error::ProtocolNotAvailable)),
    ] {
        for (domain, expected) in [(Domain::V4, v4), (Domain::V6, v6)] {
            let d = stack.socket(domain, kind).unwrap();
            assert_eq!(set(&mut stack, d, option), expected, "{domain:?} {kind:?} {option:?}");
        }
    }
    assert_eq!(stack.socket(Domain::V4, SocketKind::Raw(0)), Err(Error::ProtocolNotSupported));
}

#[test]
fn rfc_3542_3_2_a_filter_keeps_types_of_icmp_away() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, if domain == Domain::V4 { 1 } else { 58 });
        let passes = |stack: &mut Stack, kind: u8| {
            receive(stack, packet(domain, 2, 1).icmp(kind, 0, &[0; 60]));
            recv(stack, d).is_ok()
        };
        assert!([0, 8, 40, 128, 255].into_iter().all(|kind| passes(&mut stack, kind)));
        set(&mut stack, d, SocketOption::IcmpFilter(IcmpFilter::BLOCK_ALL.pass(8).pass(129))).unwrap();
        for (kind, v4, v6) in
            [(8, true, true), (0, false, false), (31, false, false), (129, true, true), (40, true, false)]
        {
            let expected = if domain == Domain::V4 { v4 } else { v6 };
            assert_eq!(passes(&mut stack, kind), expected, "{domain:?} {kind}");
        }
    }
}

#[test]
fn errors_reach_a_connected_socket() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        let unconnected = stack.socket(domain, SocketKind::Raw(PROTOCOL)).unwrap();
        stack.connect(NOW, d, addr(domain, 2, 0)).unwrap();
        let ours = packet(domain, 1, 2).raw(PROTOCOL, b"12345678");
        let mut error = |kind: u8, code: u8, rest: [u8; 4], about: &[u8]| {
            receive(&mut stack, packet(domain, 2, 1).icmp(kind, code, &[&rest[..], about].concat()));
            assert_eq!(stack.take_error(unconnected), Ok(None));
            stack.take_error(d).unwrap()
        };
        let (v4, mtu) = (domain == Domain::V4, [0, 0, 5, 0]);
        let refused = if v4 { Error::ProtocolNotAvailable } else { Error::ProtocolError };
        assert_eq!(error(if v4 { 3 } else { 4 }, if v4 { 2 } else { 1 }, [0; 4], &ours), Some(refused));
        assert_eq!(error(if v4 { 11 } else { 3 }, 0, [0; 4], &ours), None, "it is not permanent");
        let told = error(if v4 { 3 } else { 2 }, if v4 { 4 } else { 0 }, mtu, &ours);
        assert_eq!(told, v4.then_some(Error::MessageTooLong));
        // About another peer, and another protocol.
        assert_eq!(
            error(
                if v4 { 3 } else { 1 },
                if v4 { 3 } else { 4 },
                [0; 4],
                &packet(domain, 1, 3).raw(PROTOCOL, b"12345678")
            ),
            None
        );
        assert_eq!(
            error(
                if v4 { 3 } else { 1 },
                if v4 { 3 } else { 4 },
                [0; 4],
                &packet(domain, 1, 2).raw(254, b"12345678")
            ),
            None
        );
        // The path's MTU was learned.
        stack.send(NOW, d, &[0; 1400]).unwrap();
        assert_eq!(frames(&mut stack).len(), 2);
    }
}

#[test]
fn limits_of_sockets_and_of_their_queues() {
    for domain in FAMILIES {
        let mut stack = stack();
        let before = stack.memory_bytes();
        let mut sockets: Vec<Descriptor> =
            (0..64).map(|_| stack.socket(domain, SocketKind::Raw(PROTOCOL)).unwrap()).collect();
        assert_eq!(stack.socket(domain, SocketKind::Raw(PROTOCOL)), Err(Error::NoBufferSpace));
        assert!(stack.socket(domain, SocketKind::Raw(254)).is_ok());
        let d = sockets.pop().unwrap();
        stack.close(NOW, d).unwrap();
        sockets.push(stack.socket(domain, SocketKind::Raw(PROTOCOL)).unwrap());

        set(&mut stack, sockets[0], SocketOption::ReceiveBuffer(4096)).unwrap();
        for _ in 0..5 {
            receive(&mut stack, packet(domain, 2, 1).raw(PROTOCOL, &[0; 1000]));
        }
        assert_eq!(stack.stats().drops(DropReason::ReceiveBufferFull), 2);
        let queued = |d: Descriptor| core::iter::from_fn(|| recv(&mut stack, d).ok()).count();
        assert_eq!(sockets.iter().copied().map(queued).collect::<Vec<_>>(), [&[3][..], &[5; 63]].concat());
        frames(&mut stack);
        let infos: Vec<_> = stack.sockets().collect();
        for info in infos {
            stack.close(NOW, info.descriptor.unwrap()).unwrap();
        }
        frames(&mut stack);
        assert_eq!(stack.memory_bytes(), before);
    }
}

#[test]
fn a_program_chooses_source_and_hop_limit_of_a_packet() {
    for domain in FAMILIES {
        let (mut stack, d) = with_socket(domain, PROTOCOL);
        let meta = SendMeta::to(addr(domain, 2, 0)).hop_limit(3).source(host(domain, 1)).iface(IFACE);
        stack.send_msg(NOW, d, (&b"x"[..]).into(), &meta).unwrap();
        assert_eq!(frames(&mut stack)[0][if domain == Domain::V4 { 8 } else { 7 }], 3);
        let foreign = SendMeta::to(addr(domain, 2, 0)).source(host(domain, 3));
        assert!(stack.send_msg(NOW, d, (&b"x"[..]).into(), &foreign).is_err());
        let no_hops = SendMeta::to(addr(domain, 2, 0)).hop_limit(0);
        assert_eq!(stack.send_msg(NOW, d, (&b"x"[..]).into(), &no_hops), Err(Error::InvalidArgument));
    }
    let (mut stack, d) = with_socket(Domain::V4, PROTOCOL);
    let broadcast: SocketAddr = ([10, 0, 0, 255], 0).into();
    assert_eq!(stack.send_to(NOW, d, b"x", broadcast), Err(Error::PermissionDenied));
    set(&mut stack, d, SocketOption::Broadcast(true)).unwrap();
    assert_eq!(stack.send_to(NOW, d, b"x", broadcast), Ok(1));
}

proptest! {
    /// Whatever a program puts into a header, the stack sends or loops back what it can, and what
    /// it sends over IPv4 has a right length and checksum.
    #[test]
    fn any_header_of_a_program_is_survived(
        is_v4: bool,
        to in 0u8..3,
        first: Option<u8>,
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let domain = if is_v4 { Domain::V4 } else { Domain::V6 };
        let (mut stack, d) = with_socket(domain, 255);
        let icmp = stack.socket(domain, SocketKind::Raw(if is_v4 { 1 } else { 58 })).unwrap();
        let mut bytes = bytes;
        if let (Some(byte), Some(first)) = (bytes.first_mut(), first) {
            *byte = if is_v4 { 0x40 | first & 0x0f } else { 0x60 | first & 0x0f };
        }
        let to = if to == 0 { unspecified(domain) } else { addr(domain, to, 0) };
        let sent = stack.send_to(NOW, d, &bytes, to);
        stack.set_trace(true);
        for frame in frames(&mut stack) {
            if is_v4 && frame.len() == bytes.len() && sent.is_ok() {
                let header_len = usize::from(frame[0] & 15) * 4;
                prop_assert_eq!(usize::from(u16::from_be_bytes([frame[2], frame[3]])), frame.len());
                prop_assert_eq!(internet_checksum(&frame[..header_len]), 0);
            }
        }
        while recv(&mut stack, icmp).is_ok() {}
    }
}

#[test]
fn a_socket_that_is_disconnected_hears_everybody_again() {
    for domain in [Domain::V4, Domain::V6] {
        let (mut stack, d) = with_socket(domain, 200);
        stack.bind(d, addr(domain, 1, 0)).unwrap();
        stack.connect(NOW, d, addr(domain, 2, 0)).unwrap();
        receive(&mut stack, packet(domain, 3, 1).raw(200, b"another"));
        assert_eq!(recv(&mut stack, d), Err(Error::WouldBlock));
        stack.disconnect(NOW, d).unwrap();
        assert_eq!(stack.peer_addr(d), Err(Error::NotConnected));
        assert!(stack.local_addr(d).unwrap().ip().is_unspecified());
        receive(&mut stack, packet(domain, 3, 1).raw(200, b"another"));
        assert!(recv(&mut stack, d).unwrap().ends_with(b"another"));
        assert_eq!(stack.send(NOW, d, b"x"), Err(Error::DestinationRequired));
    }
}
