//! Limits that one host must not be able to use up for all others, and that must not reveal one
//! host's traffic to another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portolan::testing::{PacketBuilder, TcpSegment, arp_request, ethernet};
use portolan::{Cidr, Config, Descriptor, Domain, DropReason, MacAddr, NeighborState, Route, SocketKind};
use portolan_tests::{RawPeer, by_family};

const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];

/// A stack on a link without link addresses, with a default route.
fn peer(config: Config, seed: u8) -> RawPeer {
    let mut peer = RawPeer::new(false, config, seed);
    for addr in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let destination = Cidr { addr, prefix_len: 0 };
        peer.stack.add_route(Route::new(destination, peer.iface)).unwrap();
    }
    peer
}

/// A host on another network.
fn host(domain: Domain, number: u32) -> IpAddr {
    by_family(
        domain,
        Ipv4Addr::from_bits(0xc633_0000 + number).into(),
        // Each is in its own network.
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 64 | 1).into(),
    )
}

/// The number of packets to this host among what was sent.
fn sent_to(peer: &mut RawPeer, addr: IpAddr) -> usize {
    let is_to = |packet: &Vec<u8>| match addr {
        IpAddr::V4(addr) => packet.get(16..20) == Some(&addr.octets()) && packet[0] >> 4 == 4,
        IpAddr::V6(addr) => packet.get(24..40) == Some(&addr.octets()) && packet[0] >> 4 == 6,
    };
    peer.take_sent().iter().filter(|packet| is_to(packet)).count()
}

/// A socket that is connected to port 53 of this resolver, and its port.
fn resolver_socket(peer: &mut RawPeer, domain: Domain, resolver: IpAddr) -> (Descriptor, u16) {
    let socket = peer.stack.socket(domain, SocketKind::Datagram).unwrap();
    peer.stack.bind(socket, (peer.stack_addr(domain), 40_007)).unwrap();
    peer.stack.connect(peer.now, socket, (resolver, 53)).unwrap();
    (socket, 40_007)
}

/// SAD DNS (CVE-2020-25705): an attacker sends datagrams with the resolver's address to many ports,
/// then one of its own to a closed port. Whether it gets an error for the latter must not depend on
/// whether one of the ports was open to the resolver.
#[test]
fn a_stranger_does_not_learn_which_port_is_open_to_somebody_else() {
    for domain in FAMILIES {
        let (resolver, stranger) = (host(domain, 53), host(domain, 666));
        let mut heard = [0; 2];
        for (has_socket, heard) in [false, true].into_iter().zip(&mut heard) {
            for seed in 0..50 {
                let mut peer = peer(Config::default(), seed);
                let to = |src: IpAddr, port: u16| {
                    PacketBuilder::new(src, peer.stack_addr(domain)).udp(53, port, b"x")
                };
                let guesses: Vec<_> = (39_980..40_030).map(|port| to(resolver, port)).collect();
                let closed: Vec<_> = (1..=5).map(|port| to(stranger, port)).collect();
                if has_socket {
                    resolver_socket(&mut peer, domain, resolver);
                }
                guesses.iter().chain(&closed).for_each(|packet| peer.send_packet(packet));
                *heard += sent_to(&mut peer, stranger);
            }
        }
        assert_eq!(heard, [5 * 50; 2], "{domain:?}");
    }
}

/// A host that sends more than its share does not take away the shares of others.
#[test]
fn one_host_does_not_use_up_the_icmp_errors_of_all() {
    for domain in FAMILIES {
        let mut peer = peer(Config::default(), 1);
        let stack = peer.stack_addr(domain);
        let mut errors = 0;
        for second in 0..10 {
            for port in 0..1000 {
                peer.send_packet(&PacketBuilder::new(host(domain, 1), stack).udp(5, 10_000 + port, b"x"));
            }
            peer.take_sent();
            peer.send_packet(&PacketBuilder::new(host(domain, 100 + second), stack).udp(5, 9, b"x"));
            errors += sent_to(&mut peer, host(domain, 100 + second));
            peer.pass(Duration::from_secs(1));
        }
        assert_eq!(errors, 10, "{domain:?}");
    }
}

/// The whole address space cannot make a stack send more than its limit, nor use memory for each
/// host.
#[test]
fn icmp_errors_to_all_hosts_have_a_limit_and_no_memory() {
    for domain in FAMILIES {
        let mut peer = peer(Config::default(), 1);
        let stack = peer.stack_addr(domain);
        let before = peer.stack.memory_bytes();
        let mut errors = 0;
        for number in 0..10_000 {
            peer.send_packet(&PacketBuilder::new(host(domain, number), stack).udp(5, 9, b"x"));
            errors += peer.take_sent().len();
            peer.now += Duration::from_micros(100);
        }
        // In one second: the burst of 50, and 1,000 a second.
        assert!((900..1200).contains(&errors), "{domain:?}: {errors}");
        assert_eq!(peer.stack.stats().drops(DropReason::IcmpRateLimit), 10_000 - errors as u64);
        assert!(peer.stack.memory_bytes() <= before + 4096);
    }
}

#[test]
fn resets_to_one_host_are_limited_and_those_to_others_are_not() {
    for domain in FAMILIES {
        let mut config = Config::default();
        config.tcp.max_resets_per_second = 20;
        let mut peer = peer(config, 1);
        let stack = peer.stack_addr(domain);
        let stray = |number: u32, port: u16| {
            let segment = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(port, 9) };
            PacketBuilder::new(host(domain, number), stack).tcp(&segment)
        };
        (0..100).for_each(|port| peer.send_packet(&stray(1, 1000 + port)));
        assert_eq!(sent_to(&mut peer, host(domain, 1)), 20);
        (0..100).for_each(|number| peer.send_packet(&stray(2 + number, 1000)));
        assert_eq!(peer.take_sent().len(), 100);
        peer.pass(Duration::from_millis(500));
        (0..100).for_each(|port| peer.send_packet(&stray(1, 1000 + port)));
        assert_eq!(sent_to(&mut peer, host(domain, 1)), 10);
        let stats = peer.stack.stats();
        assert_eq!((stats.tcp.out_rsts, stats.tcp.resets_limited), (130, 170));
        assert_eq!(stats.drops(DropReason::NoTcpSocket), 300, "each of them is dropped once");
    }
}

/// A connection that ends with a reset sends that, whatever others have used up.
#[test]
fn the_reset_of_a_connection_has_no_limit() {
    let mut config = Config::default();
    config.tcp.max_resets_per_second = 0;
    let mut peer = peer(config, 1);
    let listener = peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    peer.stack.bind(listener, ([0; 4], 80)).unwrap();
    peer.stack.listen(listener, 4).unwrap();
    let connection = peer.open(Domain::V4, 5000, 80);
    let (accepted, _) = peer.stack.accept(listener).unwrap();
    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::ACK, b"unread"));
    peer.stack.close(peer.now, accepted).unwrap();
    peer.take_sent();
    peer.settle();
    assert!(peer.take_segments().iter().any(|segment| segment.flags & TcpSegment::RST != 0));
    assert_eq!(peer.stack.stats().tcp.resets_limited, 0);
}

#[test]
fn questions_for_our_link_address_are_answered_within_a_limit_for_each_neighbour() {
    let mut config = Config::default();
    config.neighbor.max_answers_per_second = 10;
    let mut peer = RawPeer::new(true, config, 1);
    let asker = |last: u8| (MacAddr([2, 0, 0, 0, 1, last]), Ipv4Addr::new(10, 0, 0, last));
    let answers_to = |peer: &mut RawPeer, last: u8, questions: usize| {
        let (mac, ip) = asker(last);
        for _ in 0..questions {
            peer.send_frame(&arp_request(mac, ip, RawPeer::STACK_V4));
        }
        peer.take_sent().len()
    };
    assert_eq!(answers_to(&mut peer, 50, 100), 10);
    assert_eq!(answers_to(&mut peer, 51, 5), 5, "another neighbour");
    peer.pass(Duration::from_millis(300));
    assert_eq!(answers_to(&mut peer, 50, 100), 3);
    assert_eq!(peer.stack.stats().drops(DropReason::NeighborRateLimit), 187);
}

#[test]
fn neighbour_solicitations_are_answered_within_a_limit_for_each_neighbour() {
    let mut config = Config::default();
    config.neighbor.max_answers_per_second = 10;
    let mut peer = RawPeer::new(true, config, 1);
    let solicitation = |last: u16| {
        let asker = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, last);
        let source_mac: &[u8] = &[1, 1, 2, 0, 0, 0, 1, last as u8];
        let rest = [&[0; 4][..], &RawPeer::STACK_V6.octets(), source_mac].concat();
        PacketBuilder::new(asker.into(), RawPeer::STACK_V6.into()).hop_limit(255).icmp(135, 0, &rest)
    };
    let answers_to = |peer: &mut RawPeer, last: u16, questions: usize| {
        for _ in 0..questions {
            peer.send_packet(&solicitation(last));
        }
        peer.take_sent().len()
    };
    assert_eq!(answers_to(&mut peer, 50, 100), 10);
    assert_eq!(answers_to(&mut peer, 51, 5), 5, "another neighbour");
    assert_eq!(peer.stack.stats().drops(DropReason::NeighborRateLimit), 90);
}

/// A connection with another host, which has opened it to port 80. The last answer in the handshake
/// is still to come if `is_open` is false.
fn connection_with(peer: &mut RawPeer, domain: Domain, number: u32, port: u16, is_open: bool) -> TcpSegment {
    let builder = PacketBuilder::new(host(domain, number), peer.stack_addr(domain));
    let syn = TcpSegment { seq: 1000, flags: TcpSegment::SYN, ..TcpSegment::new(port, 80) };
    peer.take_sent();
    peer.send_packet(&builder.tcp(&syn));
    let [syn_ack] = &peer.take_segments()[..] else { panic!("no SYN-ACK") };
    let ack = syn_ack.seq.wrapping_add(1);
    let segment = TcpSegment { seq: 1001, ack, flags: TcpSegment::ACK, ..TcpSegment::new(port, 80) };
    if is_open {
        peer.send_packet(&builder.tcp(&segment));
    }
    segment
}

/// RFC 5961 §7: challenge ACKs are limited for each connection and each handshake. Whoever uses up
/// the answers of one leaves those of all others, of its own host and of another.
#[test]
fn challenges_that_one_connection_uses_up_are_not_those_of_another() {
    for (domain, is_open) in FAMILIES.into_iter().flat_map(|domain| [(domain, false), (domain, true)]) {
        let mut peer = peer(Config::default(), 1);
        let listener = peer.stack.socket(domain, SocketKind::Stream).unwrap();
        peer.stack.bind(listener, (peer.stack_addr(domain), 80)).unwrap();
        peer.stack.listen(listener, 16).unwrap();
        let others = [(1, 5001), (2, 5000), (2, 5001)];
        let flooder = connection_with(&mut peer, domain, 1, 5000, is_open);
        let others =
            others.map(|(number, port)| (number, connection_with(&mut peer, domain, number, port, is_open)));
        // A reset in the window, but not at its edge.
        let challenge = |peer: &mut RawPeer, number: u32, segment: &TcpSegment| {
            let reset = TcpSegment { seq: segment.seq + 10, flags: TcpSegment::RST, ..segment.clone() };
            let builder = PacketBuilder::new(host(domain, number), peer.stack_addr(domain));
            peer.take_sent();
            peer.send_packet(&builder.tcp(&reset));
            peer.take_segments().len()
        };
        let answers: usize = (0..1000).map(|_| challenge(&mut peer, 1, &flooder)).sum();
        assert_eq!(answers, 1, "{domain:?}, open: {is_open}");
        for (number, segment) in &others {
            assert_eq!(challenge(&mut peer, *number, segment), 1, "{domain:?}, open: {is_open}");
        }
    }
}

/// The shares are in a table of a fixed size, so that all hosts together have a limit, too.
#[test]
fn resets_to_all_hosts_have_a_limit_and_no_memory() {
    for domain in FAMILIES {
        let mut config = Config::default();
        config.tcp.max_resets_per_second = 1;
        let mut peer = peer(config, 1);
        let before = peer.stack.memory_bytes();
        for number in 0..10_000 {
            let stray = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(1000, 9) };
            peer.send_packet(&PacketBuilder::new(host(domain, number), peer.stack_addr(domain)).tcp(&stray));
        }
        let resets = peer.take_sent().len();
        assert!((1000..=1024).contains(&resets), "{domain:?}: {resets}");
        assert_eq!(peer.stack.memory_bytes(), before);
    }
}

/// A question for our link address by a neighbour with this number.
fn question(domain: Domain, number: u32) -> Vec<u8> {
    let [_, b, c, d] = number.to_be_bytes();
    let mac = MacAddr([2, 0, 1, b, c, d]);
    let asker = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 1, u16::from(b), u16::from_be_bytes([c, d]));
    let rest = [&[0; 4][..], &RawPeer::STACK_V6.octets(), &[1, 1], &mac.0].concat();
    let builder = PacketBuilder::new(asker.into(), RawPeer::STACK_V6.into()).hop_limit(255);
    by_family(
        domain,
        arp_request(mac, Ipv4Addr::new(10, 1 + b, c, d), RawPeer::STACK_V4),
        ethernet(mac, RawPeer::STACK_MAC, &builder.icmp(135, 0, &rest)),
    )
}

/// A station asks in the name of 20,000 neighbours. The entries stay few, those of neighbours with
/// traffic stay, and another neighbour gets its answer.
#[test]
fn questions_in_many_names_do_not_hurt_other_neighbours() {
    for domain in FAMILIES {
        let mut peer = RawPeer::new(true, Config::default(), 1);
        let known = peer.packet(domain).src;
        let socket = peer.stack.socket(domain, SocketKind::Datagram).unwrap();
        peer.stack.send_to(peer.now, socket, b"hello", (known, 9)).unwrap();
        peer.settle();
        let entry = |peer: &RawPeer| {
            peer.stack.neighbors(peer.iface).into_iter().find(|neighbor| neighbor.addr == known)
        };
        let before = entry(&peer).expect("it was asked for");
        assert_eq!(before.state, NeighborState::Reachable);
        let memory = peer.stack.memory_bytes();
        peer.take_sent();
        (0..20_000).for_each(|number| peer.send_frame(&question(domain, number)));
        assert!(peer.take_sent().len() <= 20_000);
        peer.send_frame(&question(domain, 77_777));
        assert_eq!(peer.take_sent().len(), 1, "{domain:?}: the answer to another neighbour");
        assert_eq!(entry(&peer), Some(before), "{domain:?}");
        let most = Config::default().neighbor.max_entries;
        assert!(peer.stack.neighbors(peer.iface).len() <= most);
        assert!(peer.stack.memory_bytes() <= memory + most * 150, "about 100 bytes for an entry");
    }
}

/// All names together have a limit, too.
#[test]
fn answers_to_questions_in_many_names_are_limited() {
    for domain in FAMILIES {
        let mut config = Config::default();
        config.neighbor.max_answers_per_second = 1;
        let mut peer = RawPeer::new(true, config, 1);
        (0..20_000).for_each(|number| peer.send_frame(&question(domain, number)));
        let answers = peer.take_sent().len();
        assert!((1000..=1024).contains(&answers), "{domain:?}: {answers}");
        assert_eq!(peer.stack.stats().drops(DropReason::NeighborRateLimit), 20_000 - answers as u64);
    }
}
