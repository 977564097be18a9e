//! Frames from a real link that are for other hosts, or invalid: reception continues.

use std::net::Ipv4Addr;

use portolan::testing::{Fault, PacketBuilder, arp_reply, arp_request};
use portolan::{
    Config, Domain, DropReason, Frame, InterfaceConfig, MacAddr, Medium, NeighborState, SocketKind, Stack,
};
use portolan_tests::RawPeer;

use crate::FAMILIES;

/// Checks that the stack still answers an echo request.
fn answers(peer: &mut RawPeer) {
    for domain in FAMILIES {
        let replies = peer.stack.stats().icmp.out_echo_reps;
        let request = peer.packet(domain).echo_request(1, 1, b"still there?");
        peer.send_packet(&request);
        assert_eq!(peer.stack.stats().icmp.out_echo_reps, replies + 1, "{domain:?}");
    }
}

/// Sends one frame, which must be dropped once for this reason, and checks that the stack
/// continues.
fn is_dropped(peer: &mut RawPeer, frame: &[u8], reason: DropReason) {
    let (all, this) = (peer.stack.stats().all_drops(), peer.stack.stats().drops(reason));
    peer.send_frame(frame);
    let stats = peer.stack.stats();
    assert_eq!(stats.drops(reason), this + 1, "not {reason:?} but {stats:?}");
    assert_eq!(stats.all_drops(), all + 1, "{stats:?}");
    answers(peer);
}

#[test]
fn runts() {
    for len in 0..14 {
        let mut peer = RawPeer::new(true, Config::default(), 1);
        is_dropped(&mut peer, &vec![0; len], DropReason::RuntFrame);
    }
}

#[test]
fn oversized_frames() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    for domain in FAMILIES {
        let request = peer.packet(domain).echo_request(1, 1, &[0; 2000]);
        let frame = peer.frame(&request);
        is_dropped(&mut peer, &frame, DropReason::OversizedFrame);
        let huge = peer.packet(domain).echo_request(1, 1, &[0; 60_000]);
        let frame = peer.frame(&huge);
        is_dropped(&mut peer, &frame, DropReason::OversizedFrame);
    }
}

/// A single frame of this kind stops gVisor's TAP reader for good.
#[test]
fn a_unicast_frame_for_another_station() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    for domain in FAMILIES {
        let request = peer.packet(domain).echo_request(1, 1, b"x");
        let mut frame = peer.frame(&request);
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 99]);
        for _ in 0..3 {
            is_dropped(&mut peer, &frame, DropReason::OtherStation);
        }
    }
}

#[test]
fn vlan_tags_and_unknown_types() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    let request = peer.packet(FAMILIES[0]).echo_request(1, 1, b"x");
    let frame = peer.frame(&request);
    let mut tagged = frame[..12].to_vec();
    tagged.extend_from_slice(&[0x81, 0, 0, 5]);
    tagged.extend_from_slice(&frame[12..]);
    is_dropped(&mut peer, &tagged, DropReason::UnknownEtherType);
    // 802.3: a length instead of a type.
    for ethertype in [[0u8, 46], [0x88, 0xcc], [0x88, 0x47], [0xff, 0xff]] {
        let mut other = frame.clone();
        other[12..14].copy_from_slice(&ethertype);
        is_dropped(&mut peer, &other, DropReason::UnknownEtherType);
    }
}

#[test]
fn frames_from_group_addresses() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    let request = peer.packet(FAMILIES[0]).echo_request(1, 1, b"x");
    let mut frame = peer.frame(&request);
    frame[6..12].fill(0xff);
    is_dropped(&mut peer, &frame, DropReason::BadLinkSource);
}

#[test]
fn packets_with_a_fault() {
    for ethernet in [true, false] {
        let mut peer = RawPeer::new(ethernet, Config::default(), 1);
        for domain in FAMILIES {
            let cases = [
                (Fault::IpChecksum, DropReason::BadIpChecksum),
                (Fault::IpVersion, DropReason::BadIpHeader),
                (Fault::HeaderLength, DropReason::BadIpHeader),
                (Fault::LengthTooLong, DropReason::BadIpHeader),
                (Fault::TransportChecksum, DropReason::BadUdpChecksum),
            ];
            for (fault, reason) in cases {
                let only_v4 = matches!(fault, Fault::IpChecksum | Fault::HeaderLength);
                if domain == portolan::Domain::V6 && only_v4 {
                    continue;
                }
                let packet = peer.packet(domain).fault(fault).udp(1, 2, b"data");
                let frame = peer.frame(&packet);
                is_dropped(&mut peer, &frame, reason);
            }
        }
    }
}

// RFC 1122 §3.2.1.3, RFC 4291 §2.5: addresses that must not be on the wire.
#[test]
fn martians() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    let cases = [
        ("127.0.0.1", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
        ("255.255.255.255", "10.0.0.1"),
        ("10.0.0.2", "127.0.0.1"),
        ("::1", "fd00::1"),
        ("ff02::1", "fd00::1"),
        ("fd00::2", "::1"),
    ];
    for (src, dst) in cases {
        let packet = PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap()).echo_request(1, 1, b"x");
        let frame = peer.frame(&packet);
        is_dropped(&mut peer, &frame, DropReason::Martian);
    }
}

#[test]
fn packets_for_other_hosts() {
    for ethernet in [true, false] {
        let mut peer = RawPeer::new(ethernet, Config::default(), 1);
        for (src, dst) in [("10.0.0.2", "10.0.0.9"), ("fd00::2", "fd00::9"), ("10.0.0.2", "192.0.2.1")] {
            let packet =
                PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap()).echo_request(1, 1, b"x");
            let frame = peer.frame(&packet);
            is_dropped(&mut peer, &frame, DropReason::NotForUs);
        }
    }
}

/// Ethernet pads short frames: bytes behind the packet are not part of it.
#[test]
fn padding_is_cut_off() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    for domain in FAMILIES {
        let socket = peer.stack.socket(domain, portolan::SocketKind::Datagram).unwrap();
        let addr = std::net::SocketAddr::new(peer.stack_addr(domain), 53);
        peer.stack.bind(socket, addr).unwrap();
        let packet = peer.packet(domain).udp(9, 53, b"abc");
        let mut frame = peer.frame(&packet);
        frame.resize(80, 0xaa);
        peer.send_frame(&frame);
        let (received, _) = peer.stack.recv_msg(peer.now, socket).unwrap();
        assert_eq!(&received[..], b"abc");
    }
}

/// Frames arrive faster than the stack's output is taken.
#[test]
fn a_burst_beyond_the_queue() {
    let mut peer = RawPeer::new(true, Config::default(), 1);
    let request = peer.packet(FAMILIES[0]).echo_request(1, 1, &[0; 1000]);
    // The neighbour is resolved, so that replies are ready to be sent.
    peer.send_packet(&request);
    let frame = peer.frame(&request);
    for _ in 0..10_000 {
        peer.stack.handle_frame(peer.now, peer.iface, Frame::new(frame.clone()));
    }
    assert!(peer.stack.memory_bytes() <= Config::default().memory_limit_bytes);
    let stats = peer.stack.stats();
    assert!(stats.drops(DropReason::TransmitQueueFull) > 8_000, "{stats:?}");
    peer.settle();
    assert!(peer.take_sent().len() <= 2 * Config::default().ip.max_queued_frames);
    answers(&mut peer);
}

#[test]
fn an_interface_that_is_not_there() {
    let now = portolan::Instant::ZERO;
    let mut with_two = Stack::new(Config::default(), [0; 32], now);
    with_two.add_interface(now, InterfaceConfig::new(Medium::Ip)).unwrap();
    let second = with_two.add_interface(now, InterfaceConfig::new(Medium::Ip)).unwrap();
    let mut stack = Stack::new(Config::default(), [0; 32], now);
    stack.handle_frame(now, second, Frame::new(vec![0; 60]));
    assert_eq!(stack.stats().drops(DropReason::NoInterface), 1);
}

/// 10,000 stations ask for the stack's address while its program waits for neighbours, and again
/// afterwards.
#[test]
fn arp_requests_from_many_strangers() {
    const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
    const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 51);
    let mut peer = RawPeer::new(true, Config::default(), 1);
    let d = peer.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let flood = |peer: &mut RawPeer| {
        for n in 0..10_000_u32 {
            let [_, _, high, low] = n.to_be_bytes();
            let from = Ipv4Addr::new(172, 16, high, low);
            let mac = MacAddr([2, 0, 0, 1, high, low]);
            peer.send_frame(&arp_request(mac, from, RawPeer::STACK_V4));
        }
        peer.take_sent();
    };
    flood(&mut peer);
    for to in [FIRST, SECOND] {
        assert_eq!(peer.stack.send_to(peer.now, d, b"hello", (to, 9)), Ok(5));
    }
    peer.settle();
    assert_eq!(peer.take_sent().len(), 2, "both are asked for");
    flood(&mut peer);
    for addr in [FIRST, SECOND] {
        peer.send_frame(&arp_reply(RawPeer::PEER_MAC, addr, RawPeer::STACK_MAC, RawPeer::STACK_V4));
        assert_eq!(peer.take_sent().len(), 1, "the datagram to {addr}");
    }
    flood(&mut peer);
    answers(&mut peer);
    let neighbors = peer.stack.neighbors(peer.iface);
    assert!(neighbors.len() <= Config::default().neighbor.max_entries);
    let known = |addr: Ipv4Addr| neighbors.iter().find(|known| known.addr == addr).map(|known| known.state);
    assert_eq!([FIRST, SECOND].map(known), [Some(NeighborState::Reachable); 2]);
}
