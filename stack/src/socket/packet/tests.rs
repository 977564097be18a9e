//! Packet sockets, as programs see them. `portolan_tests::packets` compares them with Linux's.

use core::time::Duration;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use crate::bpf::{Filter, Instruction};
use crate::network::{InterfaceConfig, InterfaceId};
use crate::offload::{ChecksumState, Offloads, PartialChecksum, SegmentKind, Segments};
use crate::testing::{Pair, PairConfig, Side};
use crate::{
    Config, Descriptor, Domain, DropReason, Error, Frame, Instant, LinkAddr, LinkHeader, MacAddr, Medium,
    PacketMembership, PacketMeta, PacketType, SocketKind, SocketOption, Stack,
};

const NOW: Instant = Instant::ZERO;
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const IFACE: InterfaceId = InterfaceId(0);
/// For experiments.
const ETHERTYPE: u16 = 0x88b5;
const MOMENT: Duration = Duration::from_millis(10);

/// A stack without addresses on an Ethernet.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    stack.add_interface(NOW, InterfaceConfig::new(Medium::Ethernet(OWN)).mtu(1000)).unwrap();
    stack
}

fn socket(stack: &mut Stack, header: LinkHeader, iface: Option<InterfaceId>, protocol: u16) -> Descriptor {
    let d = stack.socket(Domain::V4, SocketKind::Packet(header)).unwrap();
    stack.bind(d, LinkAddr::new(iface, protocol)).unwrap();
    d
}

fn frame(dst: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0, &PEER.0, &ethertype.to_be_bytes()[..], payload].concat()
}

fn receive(stack: &mut Stack, frame: Vec<u8>) {
    stack.handle_frame(NOW, IFACE, Frame::new(frame));
}

/// All frames that wait in a socket.
fn drain(stack: &mut Stack, d: Descriptor) -> Vec<(Bytes, PacketMeta)> {
    core::iter::from_fn(|| stack.recv_packet(NOW, d).ok()).collect()
}

#[test]
fn raw_and_cooked_sockets_get_a_copy_with_and_without_the_link_header() {
    let mut stack = stack();
    let raw = socket(&mut stack, LinkHeader::Included, Some(IFACE), LinkAddr::ETH_P_ALL);
    let cooked = socket(&mut stack, LinkHeader::Cooked, None, ETHERTYPE);
    let other = socket(&mut stack, LinkHeader::Cooked, None, LinkAddr::ETH_P_ARP);
    let elsewhere = socket(&mut stack, LinkHeader::Cooked, Some(InterfaceId::LOOPBACK), ETHERTYPE);
    let never_bound = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Included)).unwrap();
    receive(&mut stack, frame(OWN, ETHERTYPE, b"hello"));
    let [(whole, meta)] = &drain(&mut stack, raw)[..] else { panic!("one frame") };
    assert_eq!(whole[..], frame(OWN, ETHERTYPE, b"hello"));
    let from = meta.from;
    assert_eq!((from.iface, from.protocol, from.hardware_type), (Some(IFACE), ETHERTYPE, 1));
    assert_eq!((from.mac, from.packet_type), (Some(PEER), PacketType::Host));
    assert_eq!((meta.len, meta.network_at), (19, 14));
    let [(data, meta)] = &drain(&mut stack, cooked)[..] else { panic!("one frame") };
    assert_eq!((&data[..], meta.len, meta.network_at), (&b"hello"[..], 5, 0));
    for d in [other, elsewhere, never_bound] {
        assert_eq!(drain(&mut stack, d), []);
    }
    // The stack itself has dropped it, after the copies were made.
    assert_eq!(stack.stats().drops(DropReason::UnknownEtherType), 1);
}

#[test]
fn a_frame_is_of_the_type_that_its_destination_has() {
    let mut stack = stack();
    let d = socket(&mut stack, LinkHeader::Included, None, LinkAddr::ETH_P_ALL);
    let types = |stack: &mut Stack| -> Vec<PacketType> {
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        for dst in [OWN, MacAddr::BROADCAST, group, STRANGER, PEER] {
            receive(stack, frame(dst, ETHERTYPE, b"x"));
        }
        drain(stack, d).iter().map(|(_, meta)| meta.from.packet_type).collect()
    };
    let usual = [PacketType::Host, PacketType::Broadcast, PacketType::Multicast];
    assert_eq!(types(&mut stack), usual);
    let other = PacketType::OtherHost;
    let [promiscuous, station] =
        [PacketMembership::promiscuous(IFACE), PacketMembership::unicast(IFACE, STRANGER)];
    let set = |stack: &mut Stack, option| stack.set_option(NOW, d, option).unwrap();
    set(&mut stack, SocketOption::PacketAddMembership(station));
    assert_eq!(types(&mut stack), [&usual[..], &[other]].concat());
    for _ in 0..2 {
        set(&mut stack, SocketOption::PacketAddMembership(promiscuous));
    }
    set(&mut stack, SocketOption::PacketDropMembership(promiscuous));
    assert_eq!(types(&mut stack), [&usual[..], &[other, other]].concat(), "it was added twice");
    set(&mut stack, SocketOption::PacketDropMembership(promiscuous));
    assert_eq!(types(&mut stack), [&usual[..], &[other]].concat());
    set(&mut stack, SocketOption::PacketAddMembership(promiscuous));
    // Another socket sees them, too, until the one with the membership is closed.
    let second = socket(&mut stack, LinkHeader::Included, None, LinkAddr::ETH_P_ALL);
    receive(&mut stack, frame(PEER, ETHERTYPE, b"x"));
    assert_eq!(drain(&mut stack, second).len(), 1);
    stack.close(NOW, d).unwrap();
    receive(&mut stack, frame(PEER, ETHERTYPE, b"x"));
    assert_eq!(drain(&mut stack, second), []);
}

#[test]
fn memberships_are_checked() {
    let mut stack = stack();
    let tun = stack.add_interface(NOW, InterfaceConfig::new(Medium::Ip)).unwrap();
    let d = stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Cooked)).unwrap();
    let mut add = |membership| stack.set_option(NOW, d, SocketOption::PacketAddMembership(membership));
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    assert_eq!(add(PacketMembership::promiscuous(InterfaceId(7))), Err(Error::NoDevice));
    assert_eq!(add(PacketMembership::multicast(tun, group)), Err(Error::InvalidArgument));
    assert_eq!(add(PacketMembership::multicast(IFACE, group)), Ok(()));
    let nameless = PacketMembership { mac: None, ..PacketMembership::multicast(IFACE, group) };
    assert_eq!(add(nameless), Err(Error::InvalidArgument));
    assert_eq!(add(PacketMembership { iface: tun, ..nameless }), Ok(()));
    assert_eq!(add(PacketMembership::all_multicast(tun)), Ok(()));
    let unknown = SocketOption::PacketDropMembership(PacketMembership::promiscuous(InterfaceId(7)));
    assert_eq!(stack.set_option(NOW, d, unknown), Ok(()));
    for number in 0..253 {
        let station = PacketMembership::unicast(IFACE, MacAddr([2, 0, 0, 0, 1, number]));
        assert_eq!(stack.set_option(NOW, d, SocketOption::PacketAddMembership(station)), Ok(()), "{number}");
    }
    let last = SocketOption::PacketAddMembership(PacketMembership::promiscuous(IFACE));
    assert_eq!(stack.set_option(NOW, d, last), Err(Error::NoBufferSpace));

    let udp = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for option in [last, SocketOption::PacketIgnoreOutgoing(true)] {
        assert_eq!(stack.set_option(NOW, udp, option), Err(Error::ProtocolNotAvailable));
    }
    assert_eq!(stack.set_option(NOW, d, SocketOption::Ttl(3)), Err(Error::ProtocolNotAvailable));
    assert_eq!(stack.set_option(NOW, d, SocketOption::ReceiveBuffer(5000)), Ok(()));
}

#[test]
fn frames_that_go_out_are_seen_by_sockets_for_all_protocols_but_not_by_their_sender() {
    let mut pair = Pair::new(PairConfig { record: true, ..PairConfig::seeded(3) });
    pair.run_for(Duration::from_secs(3));
    let (iface, stack) = (pair.a.iface, &mut pair.a.stack);
    let all = socket(stack, LinkHeader::Included, Some(iface), LinkAddr::ETH_P_ALL);
    let incoming = socket(stack, LinkHeader::Included, None, LinkAddr::ETH_P_ALL);
    stack.set_option(NOW, incoming, SocketOption::PacketIgnoreOutgoing(true)).unwrap();
    let arp = socket(stack, LinkHeader::Cooked, None, LinkAddr::ETH_P_ARP);
    let client = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let now = pair.now();
    pair.a.stack.send_to(now, client, b"hello", (pair.b.v4, 9)).unwrap();
    pair.run_for(MOMENT);
    let seen = |stack: &mut Stack, d| -> Vec<(u16, PacketType)> {
        drain(stack, d).iter().map(|(_, meta)| (meta.from.protocol, meta.from.packet_type)).collect()
    };
    let stack = &mut pair.a.stack;
    let (request, reply) = ((0x0806, PacketType::Outgoing), (0x0806, PacketType::Host));
    // The datagram, and the message that nobody wants it.
    let (datagram, error) = ((0x0800, PacketType::Outgoing), (0x0800, PacketType::Host));
    assert_eq!(seen(stack, all), [request, reply, datagram, error]);
    assert_eq!(seen(stack, incoming), [reply, error]);
    assert_eq!(seen(stack, arp), [reply]);

    let to = LinkAddr::new(iface, ETHERTYPE).mac(MacAddr::BROADCAST);
    stack.send_packet(now, all, frame(PEER, ETHERTYPE, b"x").into(), None).unwrap();
    stack.send_packet(now, arp, Bytes::from_static(b"y"), Some(&to)).unwrap();
    assert_eq!(stack.queued_bytes(all), Ok((0, 15)));
    pair.run_for(MOMENT);
    let stack = &mut pair.a.stack;
    assert_eq!(seen(stack, all), [(ETHERTYPE, PacketType::Outgoing)], "not its own");
    let sent = pair.recorded();
    let sent: Vec<&[u8]> =
        sent.iter().filter(|sent| sent.from == Side::A).map(|sent| &sent.frame[..]).collect();
    let mac = pair.a.medium.mac().unwrap();
    let cooked = [&[0xff; 6][..], &mac.0, &ETHERTYPE.to_be_bytes(), b"y"].concat();
    assert_eq!(sent[sent.len() - 2..], [&frame(PEER, ETHERTYPE, b"x")[..], &cooked]);
}

#[test]
fn offloads_are_left_to_the_device_and_told() {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let config = InterfaceConfig::new(Medium::Ip).offloads(Offloads::ALL);
    let iface = stack.add_interface(NOW, config.address("10.0.0.1/24".parse().unwrap())).unwrap();
    let d = socket(&mut stack, LinkHeader::Included, Some(iface), LinkAddr::ETH_P_ALL);
    let udp = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.set_option(NOW, udp, SocketOption::UdpSegment(100)).unwrap();
    stack.send_to(NOW, udp, &[7; 350], ([10, 0, 0, 2], 9)).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    let [(packet, meta)] = &drain(&mut stack, d)[..] else { panic!("one packet") };
    assert_eq!((packet.len(), meta.len, meta.network_at), (28 + 350, 28 + 350, 0));
    assert_eq!(meta.segments, Some(Segments { kind: SegmentKind::Udp, len: 100 }));
    assert_eq!(meta.checksum, ChecksumState::Partial(PartialChecksum { start: 20, offset: 6 }));
    // There is no link header, and no hardware address.
    let from = meta.from;
    assert_eq!((from.protocol, from.mac, from.hardware_type), (LinkAddr::ETH_P_IP, None, 0xfffe));
    let name = stack.local_name(d).unwrap().link().unwrap();
    assert_eq!((name.iface, name.protocol, name.hardware_type), (Some(iface), 3, 0xfffe));

    let joined =
        Frame::new(packet.clone()).with_checksum(ChecksumState::Verified).with_segments(meta.segments);
    stack.handle_frame(NOW, iface, joined);
    let [(_, meta)] = &drain(&mut stack, d)[..] else { panic!("one packet") };
    assert_eq!((meta.checksum, meta.segments.is_some()), (ChecksumState::Verified, true));
    // What is neither IPv4 nor IPv6 is nothing.
    stack.handle_frame(NOW, iface, Frame::new(vec![0x50; 40]));
    assert_eq!(drain(&mut stack, d), []);

    assert_eq!(stack.send(NOW, d, b""), Err(Error::InvalidArgument));
    assert_eq!(stack.send(NOW, d, &[0; 1501]), Err(Error::MessageTooLong));
    assert_eq!(stack.send(NOW, d, b"E"), Ok(1));
    assert_eq!(stack.poll_transmit(NOW).unwrap().to_vec(), b"E");
}

#[test]
fn the_loopback_is_an_ethernet_of_zeros() {
    let mut stack = stack();
    let raw = socket(&mut stack, LinkHeader::Included, Some(InterfaceId::LOOPBACK), LinkAddr::ETH_P_ALL);
    let cooked = socket(&mut stack, LinkHeader::Cooked, None, LinkAddr::ETH_P_IP);
    let udp = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(udp, ([127, 0, 0, 1], 9)).unwrap();
    stack.send_to(NOW, udp, b"hello", ([127, 0, 0, 1], 9)).unwrap();
    let settle =
        |stack: &mut Stack| while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {};
    settle(&mut stack);
    let frames = drain(&mut stack, raw);
    let types: Vec<PacketType> = frames.iter().map(|(_, meta)| meta.from.packet_type).collect();
    assert_eq!(types, [PacketType::Outgoing, PacketType::Host]);
    for (frame, meta) in &frames {
        assert_eq!(frame[..15], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45]);
        assert_eq!((meta.from.mac, meta.from.hardware_type), (Some(MacAddr([0; 6])), 772));
    }
    let [(packet, _)] = &drain(&mut stack, cooked)[..] else { panic!("one packet") };
    assert_eq!(packet[..], frames[0].0[14..]);
    assert_eq!(stack.recv(NOW, udp, &mut [0; 9]), Ok(5));

    // A program's own packet, to the same socket.
    stack.send_packet(NOW, raw, frames[0].0.clone(), None).unwrap();
    stack.send_packet(NOW, raw, frame(PEER, ETHERTYPE, b"x").into(), None).unwrap();
    settle(&mut stack);
    assert_eq!(stack.recv(NOW, udp, &mut [0; 9]), Ok(5));
    assert_eq!(stack.stats().drops(DropReason::UnknownEtherType), 1, "the loopback carries IP");
}

#[test]
fn a_filter_chooses_frames_and_a_full_queue_counts_them() {
    let mut stack = stack();
    let d = socket(&mut stack, LinkHeader::Cooked, None, ETHERTYPE);
    // The first byte behind the link header is 'a'; keep two bytes.
    let program = [(0x30, 0, 0, 0), (0x15, 0, 1, b'a'.into()), (6, 0, 0, 2), (6, 0, 0, 0)];
    let program = program.map(|(code, jt, jf, k)| Instruction::new(code, jt, jf, k));
    stack.attach_filter(d, Filter::new(&program).unwrap()).unwrap();
    receive(&mut stack, frame(OWN, ETHERTYPE, b"abc"));
    receive(&mut stack, frame(OWN, ETHERTYPE, b"bcd"));
    let mut buf = [0; 9];
    assert_eq!(stack.peek(d, &mut buf), Ok(2));
    assert_eq!(stack.queued_bytes(d), Ok((2, 0)));
    let [(data, meta)] = &drain(&mut stack, d)[..] else { panic!("one frame") };
    assert_eq!((&data[..], meta.len), (&b"ab"[..], 3));
    let counts = stack.take_packet_statistics(d).unwrap();
    assert_eq!((counts.packets, counts.drops), (1, 0));

    stack.detach_filter(d).unwrap();
    stack.set_option(NOW, d, SocketOption::ReceiveBuffer(4096)).unwrap();
    for _ in 0..20 {
        receive(&mut stack, frame(OWN, ETHERTYPE, &[0; 800]));
    }
    // As long as less than the limit waits, one more is queued.
    assert_eq!(drain(&mut stack, d).len(), 4);
    let counts = stack.take_packet_statistics(d).unwrap();
    assert_eq!((counts.packets, counts.drops), (20, 16));
    assert_eq!(stack.stats().drops(DropReason::ReceiveBufferFull), 16);
    assert_eq!(stack.take_packet_statistics(d), Ok(Default::default()));
}

#[test]
fn a_frame_must_fit_the_link() {
    let mut stack = stack();
    let raw = socket(&mut stack, LinkHeader::Included, Some(IFACE), 0);
    for (len, ethertype, expected) in [
        (13, 0, Err(Error::InvalidArgument)),
        (14, ETHERTYPE, Ok(14)),
        (1014, ETHERTYPE, Ok(1014)),
        (1015, ETHERTYPE, Err(Error::MessageTooLong)),
        // Measured on Linux 6.18: a VLAN tag may be there beside the MTU.
        (1018, 0x8100, Ok(1018)),
        (1019, 0x8100, Err(Error::MessageTooLong)),
    ] {
        let mut frame = frame(PEER, ethertype, &[0; 1100]);
        frame.truncate(len);
        assert_eq!(stack.send(NOW, raw, &frame), expected, "{len}");
    }
    let cooked = socket(&mut stack, LinkHeader::Cooked, None, ETHERTYPE);
    assert_eq!(stack.send(NOW, cooked, b"x"), Err(Error::NoSuchInterface));
    stack.bind(cooked, LinkAddr::new(IFACE, 0)).unwrap();
    assert_eq!(stack.send(NOW, cooked, b"x"), Err(Error::InvalidArgument), "to whom?");
    let to = LinkAddr::new(InterfaceId(7), ETHERTYPE).mac(PEER);
    assert_eq!(stack.send_packet(NOW, cooked, Bytes::new(), Some(&to)), Err(Error::NoSuchInterface));
    while stack.poll_transmit(NOW).is_some() {}
    // The length takes the place of these EtherTypes.
    for (protocol, expected) in
        [(ETHERTYPE, ETHERTYPE), (LinkAddr::ETH_P_802_3, 3), (LinkAddr::ETH_P_802_2, 3)]
    {
        let to = LinkAddr::new(IFACE, protocol).mac(PEER);
        assert_eq!(stack.send_packet(NOW, cooked, Bytes::from_static(b"abc"), Some(&to)), Ok(3));
        let sent = stack.poll_transmit(NOW).unwrap().to_vec();
        assert_eq!(sent, [&PEER.0[..], &OWN.0, &expected.to_be_bytes(), b"abc"].concat());
    }
}

#[test]
fn a_queue_of_frames_is_limited_and_becomes_writable_again() {
    let mut stack = stack();
    let d = socket(&mut stack, LinkHeader::Included, Some(IFACE), 0);
    stack.set_option(NOW, d, SocketOption::SendBuffer(4096)).unwrap();
    let data = frame(PEER, ETHERTYPE, &[0; 786]);
    let sent = (0..20).take_while(|_| stack.send(NOW, d, &data).is_ok()).count();
    assert_eq!((sent, stack.send(NOW, d, &data)), (4, Err(Error::WouldBlock)));
    assert!(!stack.readiness(d).unwrap().writable);
    assert!(stack.poll_transmit(NOW).is_some());
    assert!(stack.readiness(d).unwrap().writable);
    // What a socket sent before it was closed leaves, and then the record is gone.
    stack.close(NOW, d).unwrap();
    assert_eq!((0..20).take_while(|_| stack.poll_transmit(NOW).is_some()).count(), 3);
    assert_eq!(stack.sockets().count(), 0);
}

#[test]
fn so_many_sockets_take_copies_and_no_more() {
    let config = Config { max_packet_taps: 3, ..Config::default() };
    let mut stack = Stack::new(config, [6; 32], NOW);
    let all = LinkAddr::new(None, LinkAddr::ETH_P_ALL);
    let sockets: Vec<Descriptor> =
        (0..4).map(|_| stack.socket(Domain::V4, SocketKind::Packet(LinkHeader::Included)).unwrap()).collect();
    for &d in &sockets[..3] {
        assert_eq!(stack.bind(d, all), Ok(()));
    }
    assert_eq!(stack.bind(sockets[3], all), Err(Error::NoBufferSpace));
    assert_eq!(stack.bind(sockets[3], LinkAddr::new(None, 0)), Ok(()), "it takes none");
    assert_eq!(stack.bind(sockets[0], all), Ok(()), "it is one of them");
    stack.close(NOW, sockets[0]).unwrap();
    assert_eq!(stack.bind(sockets[3], all), Ok(()));
    assert_eq!(stack.bind(sockets[3], LinkAddr::new(InterfaceId(5), 3)), Err(Error::NoDevice));
    let udp = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(stack.bind(udp, all), Err(Error::AddressFamilyNotSupported));
    assert_eq!(stack.recv_packet(NOW, udp), Err(Error::NotSupported));
    assert_eq!(stack.take_packet_statistics(udp), Err(Error::NotSupported));
    assert_eq!(stack.bind(sockets[3], ([0; 4], 0)), Err(Error::InvalidArgument));
}

/// Measured on Linux 6.18.
#[test]
fn a_socket_of_a_removed_interface_learns_that_once_and_keeps_its_frames() {
    let mut stack = stack();
    let bound = socket(&mut stack, LinkHeader::Included, Some(IFACE), LinkAddr::ETH_P_ALL);
    let of_all = socket(&mut stack, LinkHeader::Included, None, LinkAddr::ETH_P_ALL);
    receive(&mut stack, frame(OWN, ETHERTYPE, b"hello"));
    while stack.poll_event().is_some() {}
    stack.remove_interface(NOW, IFACE).unwrap();
    assert!(stack.poll_event().is_some_and(|event| event.readiness.error));
    assert_eq!(stack.recv_packet(NOW, bound).err(), Some(Error::NetworkDown));
    let readiness = stack.readiness(bound).unwrap();
    assert!(readiness.readable && !readiness.error);
    assert_eq!(drain(&mut stack, bound).len(), 1);
    assert_eq!(stack.recv_packet(NOW, bound).err(), Some(Error::WouldBlock));
    assert_eq!(stack.send(NOW, bound, &[0; 60]), Err(Error::NoSuchInterface));
    assert!(!stack.readiness(of_all).unwrap().error);
    assert_eq!(drain(&mut stack, of_all).len(), 1);
    // SO_ERROR takes it, too.
    let iface = stack.add_interface(NOW, InterfaceConfig::new(Medium::Ethernet(OWN))).unwrap();
    stack.bind(bound, LinkAddr::new(iface, ETHERTYPE)).unwrap();
    stack.remove_interface(NOW, iface).unwrap();
    assert_eq!(stack.take_error(bound), Ok(Some(Error::NetworkDown)));
    assert_eq!(stack.recv_packet(NOW, bound).err(), Some(Error::WouldBlock));
}

#[test]
fn without_a_link_frames_are_lost() {
    let mut stack = stack();
    while stack.poll_transmit(NOW).is_some() {}
    let d = socket(&mut stack, LinkHeader::Included, Some(IFACE), ETHERTYPE);
    stack.set_link(NOW, IFACE, crate::LinkState::Down).unwrap();
    let lost = stack.stats().drops(DropReason::LinkDown);
    stack.send(NOW, d, &frame(PEER, ETHERTYPE, b"x")).unwrap();
    assert!(stack.poll_transmit(NOW).is_none());
    assert_eq!(stack.stats().drops(DropReason::LinkDown), lost + 1);
}
