//! ARP and NDP on the wire: duplicate address detection, conflicts, answers, neighbours that do not
//! answer.

use alloc::string::ToString as _;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::ip::ipv6::Ipv6Fields;
use crate::link::arp::{ArpPacket, Operation};
use crate::link::ndp::{self, AdvertisementFlags, NdpMessage};
use crate::link::neighbor::NeighborState;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The destinations and messages of the ARP frames among `frames`.
fn arps(frames: &[Vec<u8>]) -> Vec<(MacAddr, ArpPacket)> {
    let arps = frames.iter().filter(|frame| frame[12..14] == ARP.to_be_bytes());
    arps.map(|frame| (MacAddr(frame[..6].try_into().unwrap()), ArpPacket::parse(&frame[14..]).unwrap()))
        .collect()
}

/// The destination MACs, sources, destinations and messages of the NDP frames among `frames`; all
/// other fields are checked here. MLD messages, which have hop-by-hop options, are left out.
fn ndps(frames: &[Vec<u8>]) -> Vec<(MacAddr, Ipv6Addr, Ipv6Addr, NdpMessage)> {
    let frames = frames.iter().filter(|frame| frame[12..14] == IPV6.to_be_bytes());
    frames
        .filter(|frame| frame[20] == protocol::ICMPV6)
        .map(|frame| {
            let (header, message) = etherparse::Ipv6Header::from_slice(&frame[14..]).unwrap();
            let icmp = etherparse::Icmpv6Slice::from_slice(message).unwrap();
            assert!(icmp.is_checksum_valid(header.source, header.destination));
            let (src, dst) = (header.source_addr(), header.destination_addr());
            let message = NdpMessage::parse(src, dst, header.hop_limit, message).unwrap();
            (MacAddr(frame[..6].try_into().unwrap()), src, dst, message)
        })
        .collect()
}

fn arp_frame(dst: MacAddr, arp: ArpPacket) -> Vec<u8> {
    frame(dst, arp.sender_mac, ARP, arp.emit().as_slice())
}

fn ndp_frame(dst_mac: MacAddr, src_mac: MacAddr, src: &str, dst: &str, message: NdpMessage) -> Vec<u8> {
    let (src, dst) = (v6(src), v6(dst));
    let mut header = message.emit(src, dst);
    let len = header.len();
    Ipv6Fields { src, dst, next_header: 58, hop_limit: 255, traffic_class: 0, flow_label: 0 }
        .prepend(&mut header, len);
    frame(dst_mac, src_mac, IPV6, header.as_slice())
}

fn solicitation(target: &str, source_mac: Option<MacAddr>) -> NdpMessage {
    NdpMessage::Solicitation { target: v6(target), source_mac }
}

fn advertisement(target: &str, target_mac: MacAddr, solicited: bool) -> NdpMessage {
    let flags = AdvertisementFlags { router: false, solicited, override_: true };
    NdpMessage::Advertisement { target: v6(target), target_mac: Some(target_mac), flags }
}

/// A host whose addresses are being probed.
fn probing() -> Host {
    let mut host = Host::with_config(2, Config::default());
    host.add_interface(Medium::Ethernet(mac(2)), 1500, &["10.0.0.2/24", "fd00::2/64"]);
    host
}

fn state(host: &Host, addr: &str) -> AddressState {
    let info = &host.network.interfaces()[0];
    info.addresses.iter().find(|(cidr, _)| cidr.addr == ip(addr)).unwrap().1
}

fn neighbor(host: &Host, addr: &str) -> Option<NeighborState> {
    let infos = host.network.neighbors(host.now, IFACE);
    infos.iter().find(|info| info.addr == ip(addr)).map(|info| info.state)
}

#[test]
fn rfc_4862_5_4_and_rfc_5227_2_1_addresses_are_probed_then_announced() {
    let mut host = probing();
    let frames = host.frames();
    let probe = ArpPacket::request(mac(2), Ipv4Addr::UNSPECIFIED, v4("10.0.0.2"));
    assert_eq!(arps(&frames), [(MacAddr::BROADCAST, probe)]);
    let group_mac = |last| MacAddr([0x33, 0x33, 0xff, 0, 0, last]);
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let expected = ["fe80::ff:fe00:2", "fd00::2"]
        .map(|addr| (group_mac(2), unspecified, ndp::solicited_node(v6(addr)), solicitation(addr, None)));
    assert_eq!(ndps(&frames), expected);
    // The addresses are not used yet.
    assert_eq!(host.network.source_for(ip("10.0.0.1"), None), Err(Error::AddressNotAvailable));
    assert!(!host.network.is_local(ip("fd00::2"), None));
    host.advance(Duration::from_millis(999));
    let frames = host.frames();
    assert!(arps(&frames).is_empty() && ndps(&frames).is_empty());
    // Probing takes one second in all.
    host.advance(Duration::from_millis(1));
    let frames = host.frames();
    assert_eq!(arps(&frames), [(MacAddr::BROADCAST, ArpPacket::announcement(mac(2), v4("10.0.0.2")))]);
    let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let expected = ["fe80::ff:fe00:2", "fd00::2"]
        .map(|addr| (all_nodes, v6(addr), ndp::ALL_NODES, advertisement(addr, mac(2), false)));
    assert_eq!(ndps(&frames), expected);
    assert_eq!(state(&host, "10.0.0.2"), AddressState::Preferred);
    assert_eq!(host.network.source_for(ip("10.0.0.1"), None), Ok(ip("10.0.0.2")));
    host.advance(Duration::from_secs(60));
    assert_eq!(arps(&host.frames()).len(), 1);
    assert_eq!(host.network.poll_timeout(), None);
}

#[test]
fn a_duplicate_is_noticed_and_not_used() {
    // A station that answers a probe, one that uses the address, one that probes at the same time.
    let theirs = mac(9);
    let probe = ArpPacket::request(mac(2), Ipv4Addr::UNSPECIFIED, v4("10.0.0.2"));
    let answer = probe.reply(theirs);
    let announcement = ArpPacket::announcement(theirs, v4("10.0.0.2"));
    let other_probe = ArpPacket::request(theirs, Ipv4Addr::UNSPECIFIED, v4("10.0.0.2"));
    for (dst, arp) in
        [(mac(2), answer), (MacAddr::BROADCAST, announcement), (MacAddr::BROADCAST, other_probe)]
    {
        let mut host = probing();
        host.receive(arp_frame(dst, arp));
        assert_eq!(state(&host, "10.0.0.2"), AddressState::Duplicated);
        host.advance(Duration::from_secs(10));
        assert_eq!(state(&host, "10.0.0.2"), AddressState::Duplicated);
        assert!(!host.network.is_local(ip("10.0.0.2"), None));
        assert_eq!((host.stats.link.address_conflicts, host.stats.all_drops()), (1, 0));
    }
    let (group, group_mac) = ("ff02::1:ff00:2", MacAddr([0x33, 0x33, 0xff, 0, 0, 2]));
    let probe = ndp_frame(group_mac, theirs, "::", group, solicitation("fd00::2", None));
    let all = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let answer = ndp_frame(all, theirs, "fd00::2", "ff02::1", advertisement("fd00::2", theirs, false));
    for bytes in [probe, answer] {
        let mut host = probing();
        host.receive(bytes);
        assert_eq!(state(&host, "fd00::2"), AddressState::Duplicated);
        host.advance(Duration::from_secs(10));
        assert_eq!(state(&host, "fd00::2"), AddressState::Duplicated);
        assert_eq!(state(&host, "fe80::ff:fe00:2"), AddressState::Preferred);
        assert_eq!((host.stats.link.address_conflicts, host.stats.all_drops()), (1, 0));
    }
}

#[test]
fn two_hosts_with_one_address_do_not_both_use_it() {
    let mut first = Host::ethernet(1, &["10.0.0.2/24", "fd00::2/64"]);
    let mut second = probing();
    settle(&mut first, &mut second);
    assert_eq!(state(&second, "10.0.0.2"), AddressState::Duplicated);
    assert_eq!(state(&second, "fd00::2"), AddressState::Duplicated);
    assert_eq!(state(&first, "10.0.0.2"), AddressState::Preferred);
}

#[test]
fn rfc_5227_2_4_an_address_in_use_is_defended_at_most_every_ten_seconds() {
    let mut host = Host::ethernet(2, &["10.0.0.2/24"]);
    let claim = ArpPacket::announcement(mac(9), v4("10.0.0.2"));
    host.receive(arp_frame(MacAddr::BROADCAST, claim));
    let defence = ArpPacket::announcement(mac(2), v4("10.0.0.2"));
    assert_eq!(arps(&host.frames()), [(MacAddr::BROADCAST, defence)]);
    host.receive(arp_frame(MacAddr::BROADCAST, claim));
    assert!(host.frames().is_empty());
    host.advance(Duration::from_secs(10));
    host.receive(arp_frame(MacAddr::BROADCAST, claim));
    assert_eq!(host.frames().len(), 1);
    assert!(host.network.is_local(ip("10.0.0.2"), None));
    // A probe for our address is answered.
    let probe = ArpPacket::request(mac(9), Ipv4Addr::UNSPECIFIED, v4("10.0.0.2"));
    host.receive(arp_frame(MacAddr::BROADCAST, probe));
    assert_eq!(arps(&host.frames()), [(mac(9), probe.reply(mac(2)))]);
    assert_eq!(neighbor(&host, "0.0.0.0"), None);
}

#[test]
fn arp_requests_for_us_are_answered_and_others_make_no_entry() {
    let mut host = Host::ethernet(2, &["10.0.0.2/24"]);
    let request = ArpPacket::request(mac(1), v4("10.0.0.1"), v4("10.0.0.2"));
    host.receive(arp_frame(MacAddr::BROADCAST, request));
    assert_eq!(arps(&host.frames()), [(mac(1), request.reply(mac(2)))]);
    assert_eq!(neighbor(&host, "10.0.0.1"), Some(NeighborState::Stale));
    // Requests for others, gratuitous ones, replies that nobody asked for.
    let for_other = ArpPacket::request(mac(3), v4("10.0.0.3"), v4("10.0.0.9"));
    let gratuitous = ArpPacket::announcement(mac(3), v4("10.0.0.3"));
    let reply = ArpPacket {
        operation: Operation::Reply,
        target_mac: mac(2),
        target_ip: v4("10.0.0.2"),
        ..gratuitous
    };
    for (dst, arp) in [(MacAddr::BROADCAST, for_other), (MacAddr::BROADCAST, gratuitous), (mac(2), reply)] {
        host.receive(arp_frame(dst, arp));
    }
    assert_eq!(neighbor(&host, "10.0.0.3"), None);
    assert_eq!((host.drops(DropReason::UnneededNeighbor), host.stats.all_drops()), (3, 3));
    assert!(host.frames().is_empty());
    // A known neighbour is updated: it has a new network card.
    host.receive(arp_frame(MacAddr::BROADCAST, ArpPacket::announcement(mac(8), v4("10.0.0.1"))));
    assert_eq!(host.network.neighbors(host.now, IFACE)[0].mac, Some(mac(8)));
}

#[test]
fn rfc_4861_7_2_3_solicitations_are_answered() {
    let mut host = Host::ethernet(2, &["fd00::2/64"]);
    let group_mac = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
    let bytes =
        ndp_frame(group_mac, mac(1), "fd00::1", "ff02::1:ff00:2", solicitation("fd00::2", Some(mac(1))));
    host.receive(bytes.clone());
    let expected = (mac(1), v6("fd00::2"), v6("fd00::1"), advertisement("fd00::2", mac(2), true));
    assert_eq!(ndps(&host.frames()), [expected]);
    assert_eq!(neighbor(&host, "fd00::1"), Some(NeighborState::Stale));
    // A unicast solicitation without a link address: the sender's is known.
    host.receive(ndp_frame(mac(2), mac(1), "fd00::1", "fd00::2", solicitation("fd00::2", None)));
    assert_eq!(ndps(&host.frames()), [expected]);
    // A probe for our address is answered to all nodes (RFC 4861 §7.2.4).
    host.receive(ndp_frame(group_mac, mac(1), "::", "ff02::1:ff00:2", solicitation("fd00::2", None)));
    let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let expected = (all_nodes, v6("fd00::2"), ndp::ALL_NODES, advertisement("fd00::2", mac(2), false));
    assert_eq!(ndps(&host.frames()), [expected]);
    assert_eq!(host.stats.all_drops(), 0);
    // From beyond a router, for another host's address, with a wrong checksum.
    let mut far = bytes.clone();
    far[14 + 7] = 254;
    host.receive(far);
    host.receive(ndp_frame(group_mac, mac(1), "fd00::1", "ff02::1:ff00:2", solicitation("fd00::1:2", None)));
    assert_eq!((host.drops(DropReason::BadNdp), host.drops(DropReason::UnneededNeighbor)), (1, 1));
    let mut mangled = bytes;
    mangled[14 + 40 + 2] ^= 1;
    host.receive(mangled);
    assert_eq!(host.drops(DropReason::BadIcmp), 1);
    assert!(host.frames().is_empty());
}

#[test]
fn rfc_4861_7_2_6_unsolicited_advertisements_make_no_entry() {
    let mut host = Host::ethernet(2, &["fd00::2/64"]);
    let all = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    host.receive(ndp_frame(all, mac(1), "fd00::1", "ff02::1", advertisement("fd00::1", mac(1), false)));
    assert_eq!((neighbor(&host, "fd00::1"), host.drops(DropReason::UnneededNeighbor)), (None, 1));
}

#[test]
fn a_neighbour_that_does_not_answer_is_reported_to_the_senders() {
    for (dst, questions) in [("10.0.0.9", 3), ("fd00::9", 3)] {
        let mut host = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
        for data in [b"one", b"two"] {
            assert_eq!(host.send_udp(dst, data).unwrap(), None);
        }
        host.advance(Duration::from_millis(2999));
        assert!(host.delivered.is_empty());
        host.advance(Duration::from_millis(1));
        let frames = host.frames();
        assert_eq!(arps(&frames).len() + ndps(&frames).len(), questions);
        assert_eq!(host.stats.link.solicitations_sent, questions as u64);
        assert_eq!(host.drops(DropReason::NeighborUnreachable), 2);
        for delivery in core::mem::take(&mut host.delivered) {
            let Delivery::Error(error) = delivery else { panic!("{delivery:?}") };
            assert_eq!((error.kind, error.remote), (NetworkErrorKind::HostUnreachable, ip(dst)));
            assert_eq!((error.protocol, &error.transport[..4]), (17, &[0x03, 0xe8, 0x07, 0xd0][..]));
        }
    }
}

#[test]
fn rfc_4861_7_3_1_a_confirmation_spares_the_probe() {
    for confirmed in [true, false] {
        let (mut a, mut b) = pair();
        let _ = a.send_udp("10.0.0.2", b"x");
        settle(&mut a, &mut b);
        a.advance(Duration::from_secs(60));
        assert!(a.send_udp("10.0.0.2", b"x").unwrap().is_some());
        assert_eq!(neighbor(&a, "10.0.0.2"), Some(NeighborState::Delay));
        if confirmed {
            a.network.confirm_reachable(a.now, ip("10.0.0.2"), None);
        }
        a.advance(Duration::from_secs(5));
        let asked = arps(&a.frames());
        if confirmed {
            assert_eq!(asked, []);
        } else {
            assert_eq!(asked, [(mac(2), ArpPacket::request(mac(1), v4("10.0.0.1"), v4("10.0.0.2")))]);
        }
    }
}

#[test]
fn groups_and_broadcasts_need_no_resolution() {
    let mut host = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    for (dst, expected) in [
        ("10.0.0.255", MacAddr::BROADCAST),
        ("255.255.255.255", MacAddr::BROADCAST),
        ("224.0.0.251", MacAddr([1, 0, 0x5e, 0, 0, 251])),
        ("ff02::fb", MacAddr([0x33, 0x33, 0, 0, 0, 0xfb])),
    ] {
        let frame = host.send_udp(dst, b"all").unwrap().expect("no resolution");
        assert_eq!(frame[..6], expected.0, "{dst}");
    }
    assert!(
        host.network.is_broadcast(ip("10.0.0.255"), None) && !host.network.is_broadcast(ip("10.0.0.2"), None)
    );
    // The advertisements are accepted by another host.
    let mut other = Host::ethernet(1, &["10.0.0.1/24"]);
    for dst in ["10.0.0.255", "255.255.255.255"] {
        let bytes = host.send_udp(dst, b"all").unwrap().unwrap();
        other.receive(bytes);
        assert_eq!(other.datagram().cast, Cast::Broadcast);
    }
    let all_hosts = host.send_udp("224.0.0.1", b"all").unwrap().unwrap();
    other.receive(all_hosts.clone());
    assert_eq!(other.datagram().cast, Cast::Multicast);
    let mdns = host.send_udp("224.0.0.251", b"all").unwrap().unwrap();
    other.receive(mdns);
    assert_eq!(other.drops(DropReason::OtherStation), 1);
}

/// A host that intercepts everything on an Ethernet, and answers for these destinations.
fn proxy(answers: ProxyAnswers) -> Host {
    let config = InterfaceConfig::new(Medium::Ethernet(mac(2)))
        .address(cidr("10.0.0.2/24"))
        .address(cidr("fd00::2/64"))
        .intercept(Interception::all().proxy_answers(answers));
    let mut host = Host::bare();
    host.with(|network, ctx| network.add_interface(ctx, config)).unwrap();
    host.advance(Duration::from_secs(10));
    host.frames();
    host
}

#[test]
fn a_proxy_answers_for_hosts_elsewhere_and_only_if_told_to_for_those_on_the_link() {
    for (answers, far, near) in [
        (ProxyAnswers::None, false, false),
        (ProxyAnswers::OtherNetworks, true, false),
        (ProxyAnswers::All, true, true),
    ] {
        for (target, expected) in [("203.0.113.7", far), ("10.0.0.77", near)] {
            let mut host = proxy(answers);
            let question = ArpPacket::request(mac(1), v4("10.0.0.1"), v4(target));
            host.receive(arp_frame(MacAddr::BROADCAST, question));
            let found = arps(&host.frames());
            let answer = expected.then(|| (mac(1), question.reply(mac(2))));
            assert_eq!(found, Vec::from_iter(answer), "{answers:?} {target}");
        }
        for (target, expected) in [("2001:db8::7", far), ("fd00::77", near)] {
            let mut host = proxy(answers);
            let group = ndp::solicited_node(v6(target));
            let group_mac = MacAddr::for_group(group.into()).unwrap();
            let question = solicitation(target, Some(mac(1)));
            host.receive(ndp_frame(group_mac, mac(1), "fd00::1", &group.to_string(), question));
            let found = ndps(&host.frames());
            // RFC 4861 §7.2.8: without the override flag.
            let flags = AdvertisementFlags { router: false, solicited: true, override_: false };
            let message = NdpMessage::Advertisement { target: v6(target), target_mac: Some(mac(2)), flags };
            let answer = expected.then(|| (mac(1), v6(target), v6("fd00::1"), message));
            assert_eq!(found, Vec::from_iter(answer), "{answers:?} {target}");
        }
    }
}

#[test]
fn a_proxy_answers_no_probe_no_announcement_and_for_no_address_that_is_no_hosts() {
    let mut host = proxy(ProxyAnswers::All);
    for (sender, target) in [
        ("0.0.0.0", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.255"),
        ("10.0.0.1", "255.255.255.255"),
        ("10.0.0.1", "224.0.0.1"),
        ("10.0.0.1", "240.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "0.0.0.0"),
        ("10.0.0.1", "169.254.1.1"),
    ] {
        let question = ArpPacket::request(mac(1), v4(sender), v4(target));
        host.receive(arp_frame(MacAddr::BROADCAST, question));
        assert_eq!(arps(&host.frames()), [], "{sender} {target}");
    }
    for (src, target, source_mac) in
        [("::", "2001:db8::7", None), ("fd00::1", "fe80::7", Some(mac(1))), ("fd00::1", "::1", Some(mac(1)))]
    {
        let group = ndp::solicited_node(v6(target));
        let group_mac = MacAddr::for_group(group.into()).unwrap();
        let question = solicitation(target, source_mac);
        host.receive(ndp_frame(group_mac, mac(1), src, &group.to_string(), question));
        assert_eq!(ndps(&host.frames()), [], "{src} {target}");
    }
    // A solicitation in a group that is not its target's.
    let question = solicitation("2001:db8::7", Some(mac(1)));
    let group_mac = MacAddr::for_group(ip("ff02::1:ff00:8")).unwrap();
    host.receive(ndp_frame(group_mac, mac(1), "fd00::1", "ff02::1:ff00:8", question));
    assert_eq!(ndps(&host.frames()), []);
    // Its own addresses are its own.
    host.receive(arp_frame(MacAddr::BROADCAST, ArpPacket::request(mac(1), v4("10.0.0.1"), v4("10.0.0.2"))));
    assert_eq!(arps(&host.frames()).len(), 1);
}

#[test]
fn a_proxy_answers_within_the_limit_for_each_neighbour() {
    let mut host = proxy(ProxyAnswers::OtherNetworks);
    let limit = host.config.neighbor.max_answers_per_second as usize;
    let mut answers = 0;
    for number in 0..limit as u32 + 100 {
        let target = Ipv4Addr::from_bits(0xcb00_7100 + number);
        host.receive(arp_frame(MacAddr::BROADCAST, ArpPacket::request(mac(1), v4("10.0.0.1"), target)));
        answers += arps(&host.frames()).len();
    }
    assert_eq!((answers, host.drops(DropReason::NeighborRateLimit)), (limit, 100));
}
