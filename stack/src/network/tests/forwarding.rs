//! A stack that forwards packets of other hosts.

use super::*;
use crate::frame::payload_len;
use crate::iface::forwarding::Forwarding;
use crate::offload::{ChecksumState, Offloads, PartialChecksum, SegmentKind, Segments};
use crate::testing::{PacketBuilder, TcpSegment, cut};

const FAR: InterfaceId = InterfaceId(1);
const PAIRS: [(&str, &str); 2] = [("10.0.0.9", "10.1.0.9"), ("fd00::9", "fd01::9")];

/// A router between two links without link headers. The second has this MTU and these offloads.
fn router_to(mtu: usize, offloads: Offloads) -> Host {
    let mut config = Config::default();
    config.ip.icmp_peer_burst = 100;
    let mut host = Host::with_config(1, config);
    for (mtu, offloads, addresses) in [
        (1500, Offloads::NONE, ["10.0.0.1/24", "fd00::1/64"]),
        (mtu, offloads, ["10.1.0.1/24", "fd01::1/64"]),
    ] {
        let config = InterfaceConfig::new(Medium::Ip).mtu(mtu).offloads(offloads).forwarding(Forwarding::ALL);
        // Links with a smaller MTU have no IPv6.
        let addresses = addresses.into_iter().map(cidr).filter(|cidr| cidr.addr.is_ipv4() || mtu >= 1280);
        let config = addresses.fold(config, InterfaceConfig::address);
        host.with(|network, ctx| network.add_interface(ctx, config)).unwrap();
    }
    host
}

fn router() -> Host {
    router_to(1500, Offloads::NONE)
}

fn builder(src: &str, dst: &str) -> PacketBuilder {
    PacketBuilder::new(ip(src), ip(dst))
}

/// The frames to be sent.
fn transmits(host: &mut Host) -> Vec<Transmit> {
    core::iter::from_fn(|| host.with(|network, _| network.poll_transmit())).collect()
}

/// Checks a packet's header checksum and removes it, and lowers the hop limit by one.
fn hop(packet: &[u8], by: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        let header_len = usize::from(packet[0] & 15) * 4;
        assert!(crate::ip::checksum::verify_internet_checksum(&packet[..header_len]));
        packet[10..12].fill(0);
        packet[8] -= by;
    } else {
        packet[7] -= by;
    }
    packet
}

/// The type, the code and the word behind the checksum of the only packet to be sent, which must be
/// an ICMP error to the near link about `about`.
#[track_caller]
fn icmp_error(host: &mut Host, about: &[u8]) -> (u8, u8, u32) {
    let sent = transmits(host);
    let [error] = sent.as_slice() else { panic!("{sent:?}, {:?}", host.stats) };
    assert_eq!(error.iface(), IFACE);
    let bytes = error.to_vec();
    let at = if bytes[0] >> 4 == 4 { 20 } else { 40 };
    assert_eq!(&bytes[at + 8..], &about[..about.len().min(bytes.len() - at - 8)], "the quote");
    let mut sender = Host::ip_medium(&["10.0.0.9/24", "fd00::9/64"]);
    sender.receive(bytes.clone());
    let offender = sender.error().offender;
    assert!([ip("10.0.0.1"), ip("fd00::1")].contains(&offender), "{offender}");
    (
        bytes[at],
        bytes[at + 1],
        u32::from_be_bytes([bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]]),
    )
}

#[test]
fn a_packet_leaves_by_its_route_with_its_hop_limit_one_lower() {
    for (src, dst) in PAIRS {
        let mut host = router();
        let packet = Bytes::from(builder(src, dst).hop_limit(2).udp(1000, 7, &[7; 1000]));
        host.receive(packet.clone());
        let sent = transmits(&mut host);
        let [transmit] = sent.as_slice() else { panic!("{:?}", host.stats) };
        assert_eq!(transmit.iface(), FAR);
        assert_eq!(hop(&transmit.to_vec(), 0), hop(&packet, 1));
        // What follows the IP header was not copied.
        let at = if ip(src).is_ipv4() { 20 } else { 40 };
        assert_eq!(transmit.payload()[0].as_ptr(), packet[at..].as_ptr());
        assert_eq!((host.stats.ip.forw_datagrams, host.stats.all_drops()), (1, 0));
        assert!(host.delivered.is_empty());

        // By the interface that it came in through: no redirect is sent.
        let back = builder(src, dst).udp(1000, 7, b"x");
        host.receive_on(FAR, back.clone());
        let sent = transmits(&mut host);
        assert_eq!((sent.len(), sent[0].iface()), (1, FAR));
    }
}

#[test]
fn each_family_is_forwarded_from_the_interfaces_where_it_is_on() {
    for (src, dst) in PAIRS {
        let mut host = router();
        let mut passes = |iface, forwarding| {
            host.with(|network, ctx| network.set_forwarding(ctx, iface, forwarding)).unwrap();
            host.receive(builder(src, dst).udp(1000, 7, b"x"));
            transmits(&mut host).len() == 1
        };
        let is_v4 = ip(src).is_ipv4();
        assert!(passes(FAR, Forwarding::NONE), "it is the way in that counts");
        assert!(passes(IFACE, Forwarding::NONE.v4(is_v4).v6(!is_v4)));
        assert!(!passes(IFACE, Forwarding::NONE.v4(!is_v4).v6(is_v4)));
        assert!(!passes(IFACE, Forwarding::NONE));
        assert_eq!((host.drops(DropReason::NotForUs), host.stats.icmp.errors_sent), (2, 0));
        let missing = host.with(|network, ctx| network.set_forwarding(ctx, InterfaceId(2), Forwarding::ALL));
        assert_eq!(missing, Err(Error::InvalidArgument));
    }
}

#[test]
fn what_belongs_to_a_link_stays_on_it() {
    for (src, dst, reason) in [
        ("10.0.0.9", "10.1.0.255", DropReason::NotForUs),
        ("10.0.0.9", "224.0.0.251", DropReason::NotForUs),
        ("10.0.0.9", "239.1.1.1", DropReason::NotForUs),
        ("10.0.0.9", "169.254.1.1", DropReason::NotForUs),
        ("169.254.1.1", "10.1.0.9", DropReason::NotForUs),
        ("10.0.0.255", "10.1.0.9", DropReason::Martian),
        ("127.0.0.1", "10.1.0.9", DropReason::Martian),
        ("0.0.0.0", "10.1.0.9", DropReason::Martian),
        ("10.0.0.9", "127.0.0.1", DropReason::Martian),
        ("10.0.0.9", "240.0.0.1", DropReason::Martian),
        ("10.1.0.1", "10.1.0.9", DropReason::Martian),
        ("fd00::9", "fe80::9", DropReason::NotForUs),
        ("fd00::9", "ff05::9", DropReason::NotForUs),
        ("::", "fd01::9", DropReason::Martian),
        ("::1", "fd01::9", DropReason::Martian),
        ("ff02::1", "fd01::9", DropReason::Martian),
    ] {
        let mut host = router();
        host.network.add_route(Route::new(cidr("0.0.0.0/0"), FAR)).unwrap();
        host.receive(builder(src, dst).udp(1000, 7, b"x"));
        assert!(transmits(&mut host).is_empty(), "{src} {dst}");
        assert_eq!(host.drops(reason), 1, "{src} {dst}: {:?}", host.stats);
    }
    // RFC 4443 §3.1: beyond the scope of the source address.
    let mut host = router();
    let packet = builder("fe80::9", "fd01::9").udp(1000, 7, b"x");
    host.with(|network, ctx| network.add_address(ctx, IFACE, cidr("fe80::1/64"))).unwrap();
    host.receive(packet);
    let sent = transmits(&mut host);
    assert_eq!((sent[0].iface(), &sent[0].to_vec()[40..42]), (IFACE, &[1, 2][..]));
    assert_eq!(host.drops(DropReason::NotForUs), 1);
}

#[test]
fn the_hop_limit_ends_loops() {
    for (src, dst) in PAIRS {
        for hop_limit in [0, 1] {
            let mut host = router();
            let packet = builder(src, dst).hop_limit(hop_limit).udp(1000, 7, b"x");
            host.receive(packet.clone());
            let kind = if ip(src).is_ipv4() { 11 } else { 3 };
            assert_eq!(icmp_error(&mut host, &packet), (kind, 0, 0));
            assert_eq!(host.drops(DropReason::HopLimitExceeded), 1);
        }
    }
    // Two routers that send a packet back and forth.
    let (mut a, mut b) = (router(), router());
    for host in [&mut a, &mut b] {
        host.network.add_route(Route::new(cidr("192.0.2.0/24"), FAR)).unwrap();
    }
    a.receive(builder("10.0.0.9", "192.0.2.1").hop_limit(255).udp(1000, 7, b"x"));
    let mut passed = 0;
    while a.stats.icmp.errors_sent + b.stats.icmp.errors_sent == 0 {
        for transmit in transmits(&mut a) {
            passed += 1;
            b.receive_on(FAR, transmit.to_vec());
        }
        core::mem::swap(&mut a, &mut b);
    }
    assert_eq!(passed, 254);
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    for (src, dst) in [("10.0.0.9", "192.0.2.1"), ("fd00::9", "2001:db8::1")] {
        let mut host = router();
        // As on Linux, this comes before the hop limit.
        let packet = builder(src, dst).hop_limit(1).udp(1000, 7, b"x");
        host.receive(packet.clone());
        let kind = if ip(src).is_ipv4() { 3 } else { 1 };
        assert_eq!(icmp_error(&mut host, &packet), (kind, 0, 0));
        assert_eq!(host.drops(DropReason::NoRoute), 1);
    }
}

#[test]
fn a_packet_that_does_not_fit_the_next_link_is_reported() {
    for ((src, dst), kind) in PAIRS.into_iter().zip([3, 2]) {
        let mut host = router_to(1300, Offloads::NONE);
        let mut packet = builder(src, dst).udp(1000, 7, &[7; 1400]);
        if ip(src).is_ipv4() {
            packet[6] = 0x40;
            packet[10] -= 0x40;
        }
        host.receive(packet.clone());
        let code = if kind == 3 { 4 } else { 0 };
        assert_eq!(icmp_error(&mut host, &packet), (kind, code, 1300));
        assert_eq!(host.drops(DropReason::PacketTooBig), 1);
    }
}

#[test]
fn an_ipv4_packet_that_may_be_fragmented_is() {
    let mut host = router_to(576, Offloads::NONE);
    let mut receiver = Host::ip_medium(&["10.1.0.9/24"]);
    let data: Vec<u8> = (0..1400).map(|at| at as u8).collect();
    let whole = builder("10.0.0.9", "10.1.0.9").udp(1000, 7, &data);
    host.receive(whole.clone());
    let sent = host.frames();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [572, 572, 324]);
    sent.into_iter().for_each(|fragment| receiver.receive(fragment));
    assert_eq!(receiver.datagram().transport(), &whole[20..]);
    assert_eq!((host.stats.ip.frag_oks, host.stats.ip.frag_creates), (1, 3));
    // Fragments are cut further. The last fits, though its length is no multiple of 8.
    let transport = [&whole[20..], &[1, 2, 3]].concat();
    for fragment in builder("10.0.0.9", "10.1.0.9").fragments(17, &transport, 720) {
        host.receive(fragment);
    }
    let sent = host.frames();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [572, 188, 572, 159]);
    sent.into_iter().rev().for_each(|fragment| receiver.receive(fragment));
    assert_eq!(receiver.datagram().transport(), transport);
}

#[test]
fn rfc_791_3_1_options_that_are_not_copied_are_in_the_first_fragment_only() {
    let plain = builder("10.0.0.9", "10.1.0.9").udp(1000, 7, &[7; 600]);
    // Record route, not copied; router alert, copied; end.
    let options = [7, 7, 8, 1, 2, 3, 4, 148, 4, 0, 0, 0];
    let mut packet = [&plain[..20], &options, &plain[20..]].concat();
    packet[0] = 0x48;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let sum = crate::ip::checksum::internet_checksum(&packet[..32]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut host = router_to(576, Offloads::NONE);
    host.receive(packet);
    let sent = host.frames();
    assert_eq!(sent[0][20..32], options);
    assert_eq!(sent[1][20..32], [1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]);
    for fragment in sent {
        hop(&fragment, 0);
    }
}

#[test]
fn only_hop_by_hop_options_are_a_router_s() {
    for (first, second, error) in [
        // An option that must be understood, in hop-by-hop options and in destination options.
        ([17, 0, 0x9e, 4, 0, 0, 0, 0], 0, Some((4, 2, 42))),
        ([17, 0, 0x9e, 4, 0, 0, 0, 0], 60, None),
        ([17, 0, 1, 4, 0, 0, 0, 0], 0, None),
        // A routing header with segments left.
        ([17, 0, 4, 1, 0, 0, 0, 0], 43, None),
    ] {
        let mut host = router();
        let transport = [&first[..], &[7; 20]].concat();
        let packet = builder("fd00::9", "fd01::9").raw(second, &transport);
        host.receive(packet.clone());
        match error {
            Some(error) => assert_eq!(icmp_error(&mut host, &packet), error),
            None => assert_eq!(host.frames().len(), 1, "{second}: {:?}", host.stats),
        }
    }
}

/// A router whose far link is an Ethernet.
fn router_to_ethernet(max_queued_frames: usize) -> Host {
    let mut config = Config::default();
    config.ip.max_queued_frames = max_queued_frames;
    let mut host = Host::with_config(1, config);
    for (medium, addresses) in [
        (Medium::Ip, ["10.0.0.1/24", "fd00::1/64"]),
        (Medium::Ethernet(mac(1)), ["10.1.0.1/24", "fd01::1/64"]),
    ] {
        let config = InterfaceConfig::new(medium).forwarding(Forwarding::ALL);
        let config = addresses.into_iter().map(cidr).fold(config, InterfaceConfig::address);
        host.with(|network, ctx| network.add_interface(ctx, config)).unwrap();
    }
    host.advance(Duration::from_secs(10));
    host.frames();
    host
}

#[test]
fn a_next_hop_that_does_not_answer_is_reported_to_the_sender() {
    for ((src, dst), message) in PAIRS.into_iter().zip([(3, 1, 0), (1, 3, 0)]) {
        let mut host = router_to_ethernet(1024);
        let packet = builder(src, dst).udp(1000, 7, b"x");
        host.receive(packet.clone());
        assert_eq!(host.frames().len(), 1, "the question for the neighbour");
        host.advance(Duration::from_secs(4));
        let mut left = packet;
        if ip(src).is_ipv4() {
            // The TTL and the checksum as forwarded.
            left[8] -= 1;
            left[10] += 1;
        } else {
            left[7] -= 1;
        }
        let questions = transmits(&mut host);
        assert_eq!(questions.iter().filter(|sent| sent.iface() == FAR).count(), 2);
        for question in questions.into_iter().filter(|sent| sent.iface() == IFACE) {
            host.network.transmits.push(question).unwrap();
        }
        assert_eq!(icmp_error(&mut host, &left), message);
        assert_eq!(host.drops(DropReason::NeighborUnreachable), 1);
    }
}

#[test]
fn packets_of_others_leave_room_for_ours_that_wait_for_a_neighbor() {
    let mut host = router_to_ethernet(100);
    for last in 2..=100 {
        host.receive(builder("10.0.0.9", &std::format!("10.1.0.{last}")).udp(1000, 7, b"x"));
    }
    assert_eq!(host.drops(DropReason::NeighborQueueFull), 49);
    for last in 101..=150 {
        assert_eq!(host.send_udp(&std::format!("10.1.0.{last}"), b"x"), Ok(None));
    }
    assert_eq!(host.drops(DropReason::NeighborQueueFull), 49);
    assert_eq!(host.network.interface(FAR).unwrap().neighbors.infos(host.now).len(), 100);
}

#[test]
fn a_router_says_so_and_listens_to_the_groups_of_routers() {
    let mut host = router_to_ethernet(1024);
    let groups = |host: &Host| host.network.interfaces()[1].groups.clone();
    assert!(groups(&host).contains(&ip("ff02::2")) && groups(&host).contains(&ip("ff05::2")));
    let asks = |host: &mut Host| {
        let mut asker = Host::ethernet(9, &["fd01::9/64"]);
        let _ = asker.send_udp("fd01::1", b"x");
        asker.frames().into_iter().for_each(|frame| host.receive_on(FAR, frame));
        let answers = host.frames();
        let answer = answers.iter().find(|frame| frame[54] == 136).expect("an advertisement");
        answer[58] >> 7
    };
    assert_eq!(asks(&mut host), 1);
    host.with(|network, ctx| network.set_forwarding(ctx, FAR, Forwarding::ALL.v6(false))).unwrap();
    assert_eq!(asks(&mut host), 0);
    assert!(!groups(&host).contains(&ip("ff02::2")) && !groups(&host).contains(&ip("ff05::2")));
}

/// A run of segments, as a device with TSO or USO hands it in.
fn run(src: &str, dst: &str, is_tcp: bool, len: usize) -> Frame {
    let data: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
    let is_v4 = ip(src).is_ipv4();
    let (mut packet, kind, offset) = if is_tcp {
        let segment =
            TcpSegment { payload: data, flags: 0x99, seq: u32::MAX - 2000, ..TcpSegment::new(1000, 7) };
        (builder(src, dst).tcp(&segment), if is_v4 { SegmentKind::TcpV4 } else { SegmentKind::TcpV6 }, 16)
    } else {
        (builder(src, dst).udp(1000, 7, &data), SegmentKind::Udp, 6)
    };
    let start = if is_v4 { 20 } else { 40 };
    let protocol = if is_tcp { protocol::TCP } else { protocol::UDP };
    let mut sum = crate::ip::checksum::Checksum::default();
    sum.add_pseudo_header(ip(src), ip(dst), protocol, packet.len() - start);
    packet[start + offset..start + offset + 2].copy_from_slice(&sum.unfinished().to_be_bytes());
    let partial = PartialChecksum { start: start as u16, offset: offset as u16 };
    Frame::new(packet)
        .with_checksum(ChecksumState::Partial(partial))
        .with_segments(Some(Segments { kind, len: 1000 }))
}

fn receive_frame(host: &mut Host, frame: Frame) -> Vec<Transmit> {
    let received = host.with(|network, ctx| network.handle_frame(ctx, IFACE, frame));
    host.keep(received);
    transmits(host)
}

#[test]
fn a_run_passes_whole_where_the_next_device_cuts_it_and_is_cut_where_not() {
    for (src, dst) in PAIRS {
        for is_tcp in [true, false] {
            let frame = run(src, dst, is_tcp, 4500);
            let mut host = router_to(1500, Offloads::ALL);
            let sent = receive_frame(&mut host, frame.clone());
            let [transmit] = sent.as_slice() else { panic!("{:?}", host.stats) };
            assert_eq!(transmit.segments(), frame.segments);
            assert_eq!(ChecksumState::Partial(transmit.checksum().unwrap()), frame.checksum);
            assert_eq!(hop(&transmit.to_vec(), 0), hop(&frame.bytes, 1));

            let mut host = router();
            let sent = receive_frame(&mut host, frame.clone());
            assert!(sent.iter().all(|sent| sent.checksum().is_none() && sent.segments().is_none()));
            let expected = cut(Medium::Ip, &frame);
            assert_eq!(sent.len(), 5);
            for (sent, expected) in sent.iter().zip(expected) {
                assert_eq!(payload_len(sent.payload()), if sent.len() > 900 { 1000 } else { 500 });
                // The stand-in for a device leaves the identification as it is.
                let mut sent = hop(&sent.to_vec(), 0);
                if sent[0] >> 4 == 4 {
                    sent[4..6].copy_from_slice(&expected[4..6]);
                }
                assert_eq!(sent, hop(&expected, 1));
            }
            assert_eq!((host.stats.ip.forw_datagrams, host.stats.all_drops()), (1, 0));
        }
    }
}

#[test]
fn a_run_whose_segments_do_not_fit_is_refused_or_fragmented() {
    for (src, dst) in PAIRS {
        let mut host = router_to(if ip(src).is_ipv4() { 1000 } else { 1280 }, Offloads::ALL);
        let frame = run(src, dst, true, 4500);
        let frame = frame.with_segments(Some(Segments { kind: frame_kind(src), len: 1250 }));
        let sent = receive_frame(&mut host, frame.clone());
        if ip(src).is_ipv6() {
            assert_eq!((sent.len(), host.drops(DropReason::PacketTooBig)), (1, 1));
            continue;
        }
        assert!(sent.iter().all(|sent| sent.len() <= 1000 && sent.segments().is_none()));
        let mut receiver = Host::ip_medium(&["10.1.0.9/24"]);
        let mut segments = Vec::new();
        for fragment in sent {
            receiver.receive(fragment.to_vec());
            if !receiver.delivered.is_empty() {
                segments.push(receiver.datagram().transport().to_vec());
            }
        }
        let expected: Vec<_> =
            cut(Medium::Ip, &frame).into_iter().map(|packet| packet[20..].to_vec()).collect();
        assert_eq!(segments, expected);
    }
}

fn frame_kind(src: &str) -> SegmentKind {
    if ip(src).is_ipv4() { SegmentKind::TcpV4 } else { SegmentKind::TcpV6 }
}

#[test]
fn a_checksum_is_left_to_the_next_device_or_completed() {
    for (src, dst) in PAIRS {
        for is_tcp in [true, false] {
            let frame = run(src, dst, is_tcp, 900).with_segments(None);
            let sent = receive_frame(&mut router_to(1500, Offloads::NONE.checksum(true)), frame.clone());
            assert_eq!(ChecksumState::Partial(sent[0].checksum().unwrap()), frame.checksum);
            assert_eq!(hop(&sent[0].to_vec(), 0), hop(&frame.bytes, 1));
            let sent = receive_frame(&mut router(), frame.clone());
            assert_eq!(sent[0].checksum(), None);
            assert_eq!(hop(&sent[0].to_vec(), 0), hop(&cut(Medium::Ip, &frame)[0], 1));
            // A run of one segment is none.
            let single = frame.clone().with_segments(run(src, dst, is_tcp, 0).segments);
            let sent = receive_frame(&mut router_to(1500, Offloads::ALL), single);
            assert_eq!((sent.len(), sent[0].segments()), (1, None));
        }
    }
    // Behind so many extension headers that the frame's header buffer does not reach there.
    let (src, dst) = PAIRS[1];
    let padding = [&[17, 14, 1, 116][..], &[0; 116]].concat();
    let udp = builder(src, dst).udp(1000, 7, b"hello")[40..].to_vec();
    let mut frame = Frame::new(builder(src, dst).raw(60, &[&padding[..], &udp].concat()));
    frame.checksum = ChecksumState::Partial(PartialChecksum { start: 160, offset: 6 });
    let sent = receive_frame(&mut router(), frame.clone());
    assert_eq!(hop(&sent[0].to_vec(), 0), hop(&cut(Medium::Ip, &frame)[0], 1));
}

#[test]
fn a_device_that_lies_about_a_packet_is_not_believed() {
    let (src, dst) = PAIRS[0];
    let good = run(src, dst, true, 4500);
    let partial = |start, offset| ChecksumState::Partial(PartialChecksum { start, offset });
    let segments = |kind, len| Some(Segments { kind, len });
    let frames = [
        good.clone().with_checksum(partial(0, 16)),
        good.clone().with_checksum(partial(20, 6)),
        good.clone().with_checksum(partial(u16::MAX, 16)),
        good.clone().with_checksum(ChecksumState::Unknown),
        good.clone().with_segments(segments(SegmentKind::Udp, 1000)),
        good.clone().with_segments(segments(SegmentKind::TcpV6, 1000)),
        good.clone().with_segments(segments(SegmentKind::TcpV4, 0)),
        run(src, dst, true, 900).with_segments(None).with_checksum(partial(10, 16)),
        run(src, dst, true, 900).with_segments(None).with_checksum(partial(939, 0)),
        run(src, dst, true, 900).with_segments(None).with_checksum(partial(20, u16::MAX)),
    ];
    for (index, frame) in frames.into_iter().enumerate() {
        for offloads in [Offloads::ALL, Offloads::NONE] {
            let mut host = router_to(1500, offloads);
            assert!(receive_frame(&mut host, frame.clone()).is_empty(), "{index}");
            assert_eq!(host.drops(DropReason::BadOffload), 1, "{index}: {:?}", host.stats);
        }
    }
    // What a device verified needs no checksum of its own: the next device completes it.
    let verified = good.clone().with_checksum(ChecksumState::Verified);
    let sent = receive_frame(&mut router_to(1500, Offloads::ALL), verified);
    assert_eq!(hop(&sent[0].to_vec(), 0), hop(&good.bytes, 1));
    assert_eq!(ChecksumState::Partial(sent[0].checksum().unwrap()), good.checksum);
}

#[test]
fn more_than_the_queue_holds_is_dropped_and_counted() {
    let mut host = router();
    host.network.forwards = queue::ForwardQueue::new(3, usize::MAX);
    for _ in 0..5 {
        host.receive(builder("10.0.0.9", "10.1.0.9").udp(1000, 7, b"x"));
    }
    assert_eq!((host.frames().len(), host.drops(DropReason::TransmitQueueFull)), (3, 2));
    // A run that does not fit as a whole is dropped as a whole.
    let (src, dst) = PAIRS[0];
    assert!(receive_frame(&mut host, run(src, dst, true, 4500)).is_empty());
    assert_eq!(host.drops(DropReason::TransmitQueueFull), 3);
}

#[test]
fn of_several_stacks_that_have_a_fragment_one_forwards_it() {
    let steering = crate::steering::Steering::new(2, [7; 16]);
    for index in 0..2 {
        for (src, dst) in PAIRS {
            let mut host = router();
            host.network.share = Some(Share::new(steering.clone(), index));
            host.receive(builder(src, dst).udp(1000, 7, b"x"));
            assert_eq!(host.frames().len(), 1, "only one of them has a whole packet");
            host.receive(builder(src, dst).fragment(17, 0, &[7; 64], true));
            assert_eq!(host.frames().len(), if index == 0 { 1 } else { 0 });
            assert_eq!(host.drops(DropReason::OtherStack), u64::from(index));
        }
    }
}

/// A number, as often small as large.
fn any_length(rng: &mut Rng) -> u16 {
    let bits = rng.below(17);
    rng.below(1 << bits) as u16
}

/// Whatever comes in with whatever a device says about it, each packet is either forwarded, handled
/// here, or dropped for a counted reason, and what is sent fits its link.
#[test]
fn damaged_packets_and_lying_devices_do_no_harm() {
    let mut rng = Rng::new([3; 32]);
    let mut hosts =
        [router_to(1500, Offloads::ALL), router_to(1280, Offloads::NONE), router_to(576, Offloads::NONE)];
    for host in &mut hosts {
        host.config.ip.icmp_error_interval_v4 = Duration::ZERO;
        host.config.ip.icmp_error_interval_v6 = Duration::ZERO;
    }
    let mut forwarded = 0;
    for _ in 0..8_000 {
        let (src, dst) = PAIRS[rng.below(2) as usize];
        let frame = run(src, dst, rng.below(2) == 0, rng.below(5000) as usize);
        let mut bytes = frame.bytes.to_vec();
        for _ in 0..rng.below(4) {
            // Mostly in the headers.
            let at = rng.below(bytes.len().min(80) as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        if bytes[0] >> 4 == 4 && rng.below(4) > 0 {
            let header_len = (usize::from(bytes[0] & 15) * 4).clamp(20, bytes.len());
            bytes[10..12].fill(0);
            let sum = crate::ip::checksum::internet_checksum(&bytes[..header_len]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        if rng.below(8) == 0 {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        let checksum = match rng.below(4) {
            0 => ChecksumState::Unknown,
            1 => ChecksumState::Verified,
            2 => frame.checksum,
            _ => {
                let [start, offset] = [0; 2].map(|_| any_length(&mut rng));
                ChecksumState::Partial(PartialChecksum { start, offset })
            }
        };
        let kinds = [SegmentKind::TcpV4, SegmentKind::TcpV6, SegmentKind::Udp];
        let segments = match rng.below(3) {
            0 => None,
            1 => frame.segments,
            _ => Some(Segments { kind: kinds[rng.below(3) as usize], len: any_length(&mut rng) }),
        };
        let frame = Frame::new(bytes).with_checksum(checksum).with_segments(segments);
        for host in &mut hosts {
            let before = host.stats.all_drops() + host.stats.ip.forw_datagrams + host.stats.ip.reasm_reqds;
            let sent = receive_frame(host, frame.clone());
            let handled = host.done.len() + host.delivered.len();
            let after = host.stats.all_drops() + host.stats.ip.forw_datagrams + host.stats.ip.reasm_reqds;
            assert!(after > before || handled > 0, "it is lost: {frame:?}");
            for transmit in sent {
                let mtu = host.network.interface(transmit.iface()).unwrap().mtu;
                assert!(transmit.len() <= mtu || transmit.segments().is_some(), "{transmit:?}");
                forwarded += u32::from(transmit.iface() == FAR);
            }
            host.done.clear();
            host.delivered.clear();
        }
    }
    assert!(forwarded > 2_000, "{forwarded}");
}
