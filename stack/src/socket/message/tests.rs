//! Metadata of datagrams in both directions, with UDP and echo sockets.

use super::*;
use crate::network::{InterfaceConfig, Medium};
use crate::testing::PacketBuilder;
use crate::{Config, Descriptor, Domain, Error, Frame, SocketKind, SocketOption, Stack};
use bytes::Bytes;
use std::vec;
use std::vec::Vec;

const IFACE: InterfaceId = InterfaceId(0);
const NOW: Instant = Instant::from_nanos(5);

/// A stack with the addresses 10.0.0.1 and fd00::1 on a link without link headers, and a socket on
/// port 7.
fn stack(domain: Domain) -> (Stack, Descriptor) {
    let mut stack = Stack::new(Config::default(), [1; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .address("10.0.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    let d = stack.socket(domain, SocketKind::Datagram).unwrap();
    let any = if domain == Domain::V4 { "0.0.0.0:7" } else { "[::]:7" };
    stack.bind(d, any.parse::<SocketAddr>().unwrap()).unwrap();
    (stack, d)
}

fn frames(stack: &mut Stack) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect()
}

#[test]
fn what_a_packet_said_is_known_of_its_datagram() {
    for (domain, src, dst, peer, local) in [
        (Domain::V4, "10.0.0.2", "10.0.0.1", "10.0.0.2:1000", "10.0.0.1:7"),
        (Domain::V4, "10.0.0.2", "10.0.0.255", "10.0.0.2:1000", "10.0.0.255:7"),
        (Domain::V6, "fd00::2", "fd00::1", "[fd00::2]:1000", "[fd00::1]:7"),
        // A socket of both families.
        (Domain::V6, "10.0.0.2", "10.0.0.1", "[::ffff:10.0.0.2]:1000", "[::ffff:10.0.0.1]:7"),
    ] {
        let (mut stack, d) = stack(domain);
        stack.set_option(NOW, d, SocketOption::V6Only(false)).ok();
        let mut builder = PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap()).hop_limit(3);
        builder.traffic_class = 0xb9;
        stack.handle_frame(NOW, IFACE, Frame::new(builder.udp(1000, 7, b"data")));
        let (data, meta) = stack.recv_msg(NOW, d).unwrap();
        assert_eq!(data, &b"data"[..]);
        assert_eq!((meta.peer(), meta.local()), (peer.parse().unwrap(), local.parse().unwrap()));
        assert_eq!((meta.hop_limit(), meta.traffic_class(), meta.ecn()), (3, 0xb9, 1));
        assert_eq!((meta.iface(), meta.segment_len(), meta.at()), (IFACE, 4, NOW));
        assert_eq!(stack.recv_msg(NOW, d), Err(Error::WouldBlock));
    }
}

#[test]
fn each_datagram_is_sent_as_it_says_and_the_next_as_the_socket_says() {
    let (mut stack, d) = stack(Domain::V4);
    let to = "10.0.0.2:9".parse().unwrap();
    let data = Bytes::from_static(b"0123456789");
    let meta = SendMeta::to(to).hop_limit(3).traffic_class(0xb8).segment_len(4);
    assert_eq!(stack.send_msg(NOW, d, data.clone(), &meta), Ok(10));
    assert_eq!(stack.send_to(NOW, d, &data, to), Ok(10));
    // TOS, TTL, and the data behind the headers.
    let sent: Vec<_> = frames(&mut stack).iter().map(|f| (f[1], f[8], f[28..].to_vec())).collect();
    let expected = [
        (0xb8, 3, b"0123".to_vec()),
        (0xb8, 3, b"4567".to_vec()),
        (0xb8, 3, b"89".to_vec()),
        (0, 64, data.to_vec()),
    ];
    assert_eq!(sent, expected);
    let refused = [
        (SendMeta::to(to).hop_limit(0), Error::InvalidArgument),
        (SendMeta::connected(), Error::DestinationRequired),
    ];
    for (meta, error) in refused {
        assert_eq!(stack.send_msg(NOW, d, data.clone(), &meta), Err(error));
    }
}

#[test]
fn what_goes_round_the_loopback_says_so() {
    let (mut stack, d) = stack(Domain::V6);
    let to: SocketAddr = "[::1]:7".parse().unwrap();
    stack.send_msg(NOW, d, Bytes::from_static(b"x"), &SendMeta::to(to).hop_limit(9)).unwrap();
    while !frames(&mut stack).is_empty() || stack.handle_loopback(NOW) {}
    let (_, meta) = stack.recv_msg(NOW, d).unwrap();
    assert_eq!((meta.peer(), meta.local()), (to, to));
    assert_eq!((meta.iface(), meta.hop_limit()), (InterfaceId::LOOPBACK, 9));
}

/// A stack on two links, with these addresses, and a socket.
fn on_two_links(domain: Domain, kind: SocketKind) -> (Stack, Descriptor) {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], NOW);
    for addresses in
        [["10.0.0.1/24", "fd00::1/64", "fe80::a/64"], ["10.1.0.1/24", "fd01::1/64", "fe80::b/64"]]
    {
        let interface = InterfaceConfig::new(Medium::Ip);
        let with = addresses.into_iter().fold(interface, |with, addr| with.address(addr.parse().unwrap()));
        stack.add_interface(NOW, with).unwrap();
    }
    frames(&mut stack);
    let d = stack.socket(domain, kind).unwrap();
    (stack, d)
}

/// The interface and the source of the only packet that a stack sends.
fn way_of_packet(stack: &mut Stack) -> (usize, IpAddr) {
    let transmit = stack.poll_transmit(NOW).unwrap();
    assert!(stack.poll_transmit(NOW).is_none());
    let packet = transmit.to_vec();
    let source = match packet[0] >> 4 {
        4 => IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).unwrap()),
    };
    (transmit.iface().index(), source)
}

/// The behaviour of Linux 6.18 with IP_PKTINFO and IPV6_PKTINFO, measured. Loopback addresses
/// differ: they must not leave (RFC 4291 §2.5.3), but Linux sends them over IPv6.
#[test]
fn a_datagram_leaves_from_the_address_and_through_the_interface_that_it_names() {
    use Error::{InvalidArgument, NetworkUnreachable, NoDevice};
    let (v4, v6, mapped) = ("10.0.0.2:9", "[fd00::2]:9", "[::ffff:10.0.0.2]:9");
    let cases = [
        // Destination, source, interface; and the packet's interface and source.
        (v4, "10.0.0.1", None, Ok((0, "10.0.0.1"))),
        (v4, "10.1.0.1", None, Ok((0, "10.1.0.1"))),
        (v4, "0.0.0.0", None, Ok((0, "10.0.0.1"))),
        (v4, "10.0.0.77", None, Err(NetworkUnreachable)),
        (v4, "10.0.0.255", None, Err(NetworkUnreachable)),
        (v4, "127.0.0.1", None, Err(InvalidArgument)),
        (v4, "224.0.0.1", None, Err(InvalidArgument)),
        (v4, "255.255.255.255", None, Err(InvalidArgument)),
        (v4, "fd00::1", None, Err(InvalidArgument)),
        (v4, "", Some(0), Ok((0, "10.0.0.1"))),
        (v4, "", Some(1), Ok((1, "10.1.0.1"))),
        (v4, "10.0.0.1", Some(1), Ok((1, "10.0.0.1"))),
        (v4, "", Some(2), Err(NoDevice)),
        ("99.0.0.1:9", "10.0.0.77", None, Err(NetworkUnreachable)),
        ("99.0.0.1:9", "", Some(0), Ok((0, "10.0.0.1"))),
        ("224.1.1.1:9", "", Some(1), Ok((1, "10.1.0.1"))),
        ("224.1.1.1:9", "10.1.0.1", None, Ok((0, "10.1.0.1"))),
        (v6, "fd00::1", None, Ok((0, "fd00::1"))),
        (v6, "fd01::1", None, Ok((0, "fd01::1"))),
        (v6, "fd01::1", Some(0), Ok((0, "fd01::1"))),
        (v6, "fd00::77", None, Err(InvalidArgument)),
        (v6, "ff02::1", None, Err(InvalidArgument)),
        (v6, "::1", None, Err(InvalidArgument)),
        (v6, "::ffff:10.0.0.1", None, Err(InvalidArgument)),
        (v6, "10.0.0.1", None, Err(InvalidArgument)),
        (v6, "", Some(0), Ok((0, "fd00::1"))),
        (v6, "", Some(1), Err(NetworkUnreachable)),
        (v6, "", Some(2), Err(NoDevice)),
        (v6, "fe80::a", None, Err(InvalidArgument)),
        (v6, "fe80::a", Some(0), Ok((0, "fe80::a"))),
        (v6, "fe80::b", Some(0), Err(InvalidArgument)),
        ("[2001:db8::1]:9", "", Some(0), Err(NetworkUnreachable)),
        ("[fe80::5%1]:9", "", Some(0), Ok((0, "fe80::a"))),
        ("[fe80::5%1]:9", "", Some(1), Err(InvalidArgument)),
        ("[fe80::5]:9", "", Some(1), Ok((1, "fe80::b"))),
        (mapped, "::ffff:10.1.0.1", None, Ok((0, "10.1.0.1"))),
        (mapped, "::ffff:10.0.0.77", None, Err(NetworkUnreachable)),
        (mapped, "fd00::1", None, Err(InvalidArgument)),
        (mapped, "::", None, Err(InvalidArgument)),
    ];
    for (to, source, iface, expected) in cases {
        let to: SocketAddr = to.parse().unwrap();
        let domain = if to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let (source, iface) = (source.parse().ok(), iface.map(InterfaceId));
        let expected = expected.map(|(iface, source)| (iface, source.parse::<IpAddr>().unwrap()));
        for kind in [SocketKind::Datagram, SocketKind::Echo] {
            if kind == SocketKind::Echo && (to.ip().is_multicast() || to.ip().to_canonical() != to.ip()) {
                continue;
            }
            let (mut stack, d) = on_two_links(domain, kind);
            let mut request = vec![0; 12];
            request[0] = if domain == Domain::V4 { 8 } else { 128 };
            let meta = SendMeta { source, iface, ..SendMeta::to(to) };
            let sent = stack.send_msg(NOW, d, request.into(), &meta);
            let way = sent.map(|_| way_of_packet(&mut stack));
            assert_eq!(way, expected, "{kind:?} to {to} from {source:?} through {iface:?}");
        }
    }
}

#[test]
fn what_a_datagram_names_goes_before_what_its_socket_is_bound_or_connected_to() {
    for kind in [SocketKind::Datagram, SocketKind::Echo] {
        let (mut stack, d) = on_two_links(Domain::V4, kind);
        stack.bind(d, "10.0.0.1:7".parse::<SocketAddr>().unwrap()).unwrap();
        // On an echo socket the datagram is a request.
        let (data, to): (_, SocketAddr) =
            (Bytes::from_static(b"\x08\0\0\0\0\0\0\0"), "10.0.0.2:9".parse().unwrap());
        let [own, other] = ["10.0.0.1", "10.1.0.1"].map(|addr| addr.parse::<IpAddr>().unwrap());
        stack.send_msg(NOW, d, data.clone(), &SendMeta::to(to).source(other)).unwrap();
        assert_eq!(way_of_packet(&mut stack), (0, other));
        stack.connect(NOW, d, to).unwrap();
        for (meta, way) in [
            (SendMeta::connected().source(other).iface(InterfaceId(1)), (1, other)),
            (SendMeta::connected().source(other), (0, other)),
            (SendMeta::connected().iface(InterfaceId(1)), (1, own)),
        ] {
            stack.send_msg(NOW, d, data.clone(), &meta).unwrap();
            assert_eq!(way_of_packet(&mut stack), way, "{kind:?} {meta:?}");
        }
        let foreign = SendMeta::connected().source("10.0.0.9".parse().unwrap());
        assert_eq!(stack.send_msg(NOW, d, data.clone(), &foreign), Err(Error::NetworkUnreachable));
        stack.send(NOW, d, &data).unwrap();
        assert_eq!(way_of_packet(&mut stack), (0, own));
    }
}

/// As a server with several addresses does: the answer comes from the address of the question.
#[test]
fn an_answer_round_the_loopback_can_name_where_the_question_came_to() {
    for (to, from) in [("127.0.0.1:7", "127.0.0.1"), ("10.1.0.1:7", "10.1.0.1")] {
        let (mut stack, server) = on_two_links(Domain::V4, SocketKind::Datagram);
        stack.bind(server, "0.0.0.0:7".parse::<SocketAddr>().unwrap()).unwrap();
        let client = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.send_to(NOW, client, b"x", to.parse::<SocketAddr>().unwrap()).unwrap();
        while !frames(&mut stack).is_empty() || stack.handle_loopback(NOW) {}
        let (data, asked) = stack.recv_msg(NOW, server).unwrap();
        let answer = SendMeta::to(asked.peer()).source(asked.local().ip()).iface(asked.iface());
        stack.send_msg(NOW, server, data, &answer).unwrap();
        while !frames(&mut stack).is_empty() || stack.handle_loopback(NOW) {}
        let (_, answered) = stack.recv_from(NOW, client, &mut [0; 8]).unwrap();
        assert_eq!(answered.peer(), SocketAddr::new(from.parse().unwrap(), 7));
    }
    let (mut stack, d) = on_two_links(Domain::V4, SocketKind::Datagram);
    let astray = SendMeta::to("10.0.0.2:9".parse().unwrap()).iface(InterfaceId::LOOPBACK);
    assert_eq!(stack.send_msg(NOW, d, Bytes::from_static(b"x"), &astray), Err(Error::NoDevice));
}

#[test]
fn an_echo_socket_says_and_is_told_as_much_as_one_of_udp() {
    for (domain, to, own, kinds) in
        [(Domain::V4, "10.0.0.2", "10.0.0.1", [8, 0]), (Domain::V6, "fd00::2", "fd00::1", [128, 129])]
    {
        let (mut stack, d) = on_two_links(domain, SocketKind::Echo);
        let [to, own]: [IpAddr; 2] = [to, own].map(|addr| addr.parse().unwrap());
        let request = vec![kinds[0], 0, 0, 0, 0, 0, 0, 1, b'x'];
        let meta = SendMeta::to(SocketAddr::new(to, 0)).hop_limit(3).traffic_class(0xb9);
        stack.send_msg(NOW, d, request.into(), &meta).unwrap();
        let [packet] = &frames(&mut stack)[..] else { panic!("one packet") };
        let (class, hop_limit, header_len) = match domain {
            Domain::V4 | Domain::Unix => (packet[1], packet[8], 20),
            Domain::V6 => (packet[0] << 4 | packet[1] >> 4, packet[7], 40),
        };
        assert_eq!((class, hop_limit), (0xb9, 3));
        let identifier = u16::from_be_bytes([packet[header_len + 4], packet[header_len + 5]]);
        let mut builder = PacketBuilder::new(to, own).hop_limit(5);
        builder.traffic_class = 0x2e;
        let rest = [&identifier.to_be_bytes()[..], &[0, 1], b"x"].concat();
        let frame = Frame::new(builder.icmp(kinds[1], 0, &rest)).with_time(Instant::from_nanos(2));
        stack.handle_frame(NOW, IFACE, frame);
        let mut buf = [0; 64];
        let (len, peeked) = stack.peek_from(d, &mut buf).unwrap();
        let (received, meta) = stack.recv_from(NOW, d, &mut buf).unwrap();
        assert_eq!((len, received, peeked), (9, 9, meta));
        assert_eq!((meta.peer(), meta.local()), (SocketAddr::new(to, 0), SocketAddr::new(own, identifier)));
        assert_eq!((meta.hop_limit(), meta.traffic_class(), meta.ecn()), (5, 0x2e, 2));
        assert_eq!((meta.iface(), meta.segment_len(), meta.at()), (IFACE, 9, Instant::from_nanos(2)));
    }
}

#[test]
fn a_datagram_bears_the_time_of_the_device_or_that_of_the_stack() {
    let (mut stack, d) = stack(Domain::V4);
    let packet = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()).udp(1, 7, b"x");
    let stamped = |nanos| Frame::new(packet.clone()).with_time(Instant::from_nanos(nanos));
    // The same for frames that are handed in together, and for times after the stack's own.
    stack.handle_frames(NOW, [(IFACE, stamped(3)), (IFACE, Frame::new(packet.clone())), (IFACE, stamped(9))]);
    let mut batch = Vec::new();
    assert_eq!(stack.recv_batch(NOW, d, &mut batch, 9), Ok(3));
    let times: Vec<_> = batch.iter().map(|(_, meta)| meta.at()).collect();
    assert_eq!(times, [Instant::from_nanos(3), NOW, Instant::from_nanos(9)]);
}

/// After reading was shut down there is no datagram to describe.
#[test]
fn without_a_datagram_the_ends_of_the_connection_are_known() {
    let (mut stack, d) = stack(Domain::V4);
    let peer = "10.0.0.2:9".parse().unwrap();
    stack.connect(NOW, d, peer).unwrap();
    stack.shutdown(NOW, d, crate::Shutdown::Read).unwrap();
    let meta = stack.end_of_datagrams(NOW, d).unwrap();
    assert_eq!((meta.peer(), meta.local()), (peer, "10.0.0.1:7".parse().unwrap()));
    assert_eq!((meta.hop_limit(), meta.segment_len(), meta.at()), (0, 0, NOW));
}
