//! Groups on an interface: IGMP and MLD on the wire, admission, and copies for members on this
//! host.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::ip::checksum::{internet_checksum, transport_checksum};
use crate::multicast::{FilterMode, SourceFilter};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn host() -> Host {
    Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"])
}

fn join(host: &mut Host, group: &str, filter: &SourceFilter) {
    let group = ip(group);
    host.with(|network, ctx| network.replace_filter(ctx, IFACE, group, None, Some(filter))).unwrap();
}

fn leave(host: &mut Host, group: &str, filter: &SourceFilter) {
    let group = ip(group);
    host.with(|network, ctx| network.replace_filter(ctx, IFACE, group, Some(filter), None)).unwrap();
}

/// What is due now.
fn due(host: &mut Host) -> Vec<Vec<u8>> {
    host.advance(Duration::ZERO);
    host.frames()
}

/// An IGMP message from 10.0.0.9 to a group.
fn igmp(dst: Ipv4Addr, ttl: u8, mut message: Vec<u8>) -> Vec<u8> {
    let sum = internet_checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let builder = crate::testing::PacketBuilder::new(ip("10.0.0.9"), dst.into()).hop_limit(ttl);
    frame(MacAddr::for_group(dst.into()).unwrap_or(mac(1)), mac(9), IPV4, &builder.raw(2, &message))
}

/// An MLD message, with router alert if `alert`.
fn mld(src: &str, dst: Ipv6Addr, hop_limit: u8, alert: bool, mut message: Vec<u8>) -> Vec<u8> {
    let sum = transport_checksum(ip(src), dst.into(), 58, &message, &[]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let builder = crate::testing::PacketBuilder::new(ip(src), dst.into()).hop_limit(hop_limit);
    let packet = if alert {
        builder.raw(0, &[&[58, 0, 5, 2, 0, 0, 1, 0][..], &message].concat())
    } else {
        builder.raw(58, &message)
    };
    frame(MacAddr::for_group(dst.into()).unwrap_or(mac(1)), mac(9), IPV6, &packet)
}

fn general_query_v4() -> Vec<u8> {
    vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]
}

fn general_query_v6() -> Vec<u8> {
    let mut query = vec![130, 0, 0, 0, 0x03, 0xe8, 0, 0];
    query.extend([0; 16]);
    query.extend([2, 125, 0, 0]);
    query
}

// RFC 9776 §4 and §4.2 (RFC9776-4-a, RFC9776-4-b, RFC9776-4-c, RFC9776-4.2.14): what an IGMP
// message is like.
#[test]
fn rfc_9776_4_reports_have_ttl_1_router_alert_and_internetwork_control() {
    let mut host = host();
    join(&mut host, "239.1.2.3", &SourceFilter::EVERY_SOURCE);
    let frames = due(&mut host);
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(frame[..6], [1, 0, 0x5e, 0, 0, 22]);
    let (header, message) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    assert_eq!((header.source, header.destination), ([10, 0, 0, 1], [224, 0, 0, 22]));
    assert_eq!((header.time_to_live, header.protocol.0, &header.options[..]), (1, 2, &[148, 4, 0, 0][..]));
    assert_eq!((header.dscp.value(), header.dont_fragment), (0xc0 >> 2, true));
    assert_eq!(usize::from(header.total_len), frame.len() - 14);
    assert_eq!(internet_checksum(message), 0);
    assert_eq!(message[8..], [4, 0, 0, 0, 239, 1, 2, 3]);
    // Without an address the source is 0.0.0.0 (RFC 9776 §4.2.14).
    let mut bare = Host::ethernet(1, &[]);
    join(&mut bare, "239.1.2.3", &SourceFilter::EVERY_SOURCE);
    assert_eq!(due(&mut bare)[0][26..30], [0; 4]);
}

// RFC 9777 §5 and §5.2.15 (RFC9777-5-a, RFC9777-5-b, RFC9777-5-c).
#[test]
fn rfc_9777_5_reports_come_from_a_link_local_address_with_router_alert() {
    let mut host = host();
    join(&mut host, "ff05::7", &SourceFilter::EVERY_SOURCE);
    let frames = due(&mut host);
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
    let (header, rest) = etherparse::Ipv6Header::from_slice(&frame[14..]).unwrap();
    assert_eq!(header.source_addr(), mac(1).link_local());
    assert_eq!(header.destination_addr(), "ff02::16".parse::<Ipv6Addr>().unwrap());
    assert_eq!((header.hop_limit, header.next_header.0), (1, 0));
    assert_eq!(usize::from(header.payload_length), rest.len());
    assert_eq!(rest[..8], [58, 0, 5, 2, 0, 0, 1, 0]);
    let icmp = etherparse::Icmpv6Slice::from_slice(&rest[8..]).unwrap();
    assert!(icmp.is_checksum_valid(header.source, header.destination));
    assert_eq!((rest[8], &rest[16..20]), (143, &[4, 0, 0, 0][..]));
}

// RFC 9777 §5.2.14 (RFC9777-5.2.14-a, RFC9777-5.2.14-b).
#[test]
fn the_groups_of_new_addresses_are_reported_before_they_are_probed_and_once_they_are_valid() {
    let mut host = Host::with_config(2, Config::default());
    host.add_interface(Medium::Ethernet(mac(2)), 1500, &["fd00::12:3456/64"]);
    let reports = |frames: &[Vec<u8>]| {
        let is_report = |frame: &&Vec<u8>| frame[12..14] == IPV6.to_be_bytes() && frame[20] == 0;
        let reports = frames.iter().filter(is_report);
        reports.map(|frame| (ip_at(frame, 22), frame[69])).collect::<Vec<_>>()
    };
    let frames = host.frames();
    assert_eq!(reports(&frames), [(Ipv6Addr::UNSPECIFIED, 2)], "two groups in one report");
    assert_eq!((frames[0][20], frames[1][20]), (0, 58), "the report comes before the probes");
    host.advance(Duration::from_secs(3));
    let reported = reports(&host.frames());
    assert_eq!(reported[0].0, Ipv6Addr::UNSPECIFIED, "repeated");
    let valid = mac(2).link_local();
    assert_eq!(reported[1..].iter().map(|(src, _)| *src).collect::<Vec<_>>(), [valid; 2]);
    host.network.remove_address(host.now, IFACE, ip("fd00::12:3456")).unwrap();
    assert_eq!(reports(&due(&mut host)), [(valid, 1)], "left");
}

fn ip_at(frame: &[u8], at: usize) -> Ipv6Addr {
    let octets: [u8; 16] = frame[at..at + 16].try_into().unwrap();
    octets.into()
}

// RFC 9776 §4, RFC 9777 §5.1.14 (RFC9777-5.1.14-a), §6.2 (RFC9777-6.2): queries that come from
// elsewhere; RFC 9776 §4.1.12 (RFC9776-4.1.12), RFC 9777 §5.1.15 (RFC9777-5.1.15): those to any
// address of this host.
#[test]
fn queries_from_another_network_are_not_answered() {
    let (all, all6) = (Ipv4Addr::new(224, 0, 0, 1), crate::link::ndp::ALL_NODES);
    let ipv6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let other = ipv6("ff05::1");
    let v6 = general_query_v6;
    for (frame, is_answered) in [
        (igmp(all, 1, general_query_v4()), true),
        (igmp(all, 2, general_query_v4()), false),
        (igmp(all, 255, general_query_v4()), false),
        (igmp(all, 1, general_query_v4()[..9].to_vec()), false),
        (mld("fe80::9", all6, 1, true, v6()), true),
        (mld("fd00::9", all6, 1, true, v6()), false),
        (mld("::", all6, 1, true, v6()), false),
        (mld("fe80::9", all6, 2, true, v6()), false),
        (mld("fe80::9", all6, 1, false, v6()), false),
        (mld("fe80::9", other, 1, true, v6()), true),
        (mld("fe80::9", ipv6("fd00::1"), 1, true, v6()), true),
        (igmp(Ipv4Addr::new(10, 0, 0, 1), 1, general_query_v4()), true),
        (igmp(Ipv4Addr::new(239, 1, 2, 3), 1, general_query_v4()), false),
    ] {
        let mut host = host();
        for group in ["239.1.2.3", "ff05::1"] {
            join(&mut host, group, &SourceFilter::EVERY_SOURCE);
        }
        host.advance(Duration::from_secs(5));
        host.frames();
        host.receive(frame.clone());
        host.advance(Duration::from_secs(5));
        let (sent, counted) = (host.frames().len(), host.stats.multicast.queries_received);
        assert_eq!((sent, counted), (usize::from(is_answered), u64::from(is_answered)), "{frame:02x?}");
        assert_eq!(host.drops(DropReason::BadGroupMessage), u64::from(!is_answered), "{frame:02x?}");
    }
}

/// A switch without an address queries from 0.0.0.0 (RFC 4541 §2.1.1).
#[test]
fn a_querier_without_an_address_is_answered() {
    let mut host = host();
    join(&mut host, "239.1.2.3", &SourceFilter::EVERY_SOURCE);
    host.advance(Duration::from_secs(5));
    host.frames();
    let mut query = igmp(Ipv4Addr::new(224, 0, 0, 1), 1, general_query_v4());
    query[26..30].fill(0);
    query[24..26].fill(0);
    let sum = internet_checksum(&query[14..34]);
    query[24..26].copy_from_slice(&sum.to_be_bytes());
    host.receive(query);
    host.advance(Duration::from_secs(5));
    assert_eq!(host.frames().len(), 1);
}

#[test]
fn only_frames_of_groups_that_were_joined_come_in() {
    let mut b = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    let mut a = host();
    for group in ["239.1.2.3", "ff05::1:2:3"] {
        let packet = b.send_udp(group, b"x").unwrap().unwrap();
        let before = a.drops(DropReason::OtherStation);
        a.receive(packet.clone());
        assert_eq!(a.drops(DropReason::OtherStation), before + 1);
        join(&mut a, group, &SourceFilter::EVERY_SOURCE);
        a.receive(packet.clone());
        assert_eq!(a.datagram().cast, Cast::Multicast);
        // Another group with the same MAC address.
        let other = if group.contains(':') { "ff0e::1:2:3" } else { "239.129.2.3" };
        let before = a.drops(DropReason::NotForUs);
        a.receive(b.send_udp(other, b"x").unwrap().unwrap());
        assert_eq!(a.drops(DropReason::NotForUs), before + 1);
        leave(&mut a, group, &SourceFilter::EVERY_SOURCE);
        let before = a.drops(DropReason::OtherStation);
        a.receive(packet);
        assert_eq!(a.drops(DropReason::OtherStation), before + 1);
    }
}

// RFC 9776 §3.2 (RFC9776-3.2-a).
#[test]
fn packets_from_sources_that_nobody_wants_are_dropped() {
    let mut b = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    for (group, src) in [("239.1.2.3", "10.0.0.2"), ("ff05::1", "fd00::2")] {
        let packet = b.send_udp(group, b"x").unwrap().unwrap();
        for (mode, source, is_taken) in [
            (FilterMode::Include, src, true),
            (FilterMode::Exclude, src, false),
            (FilterMode::Include, "10.0.0.77", false),
            (FilterMode::Exclude, "10.0.0.77", true),
        ] {
            let mut a = host();
            join(&mut a, group, &SourceFilter::new(mode, vec![ip(source)]));
            a.receive(packet.clone());
            assert_eq!(a.delivered.len(), usize::from(is_taken), "{group} {mode:?} {source}");
            assert_eq!(a.drops(DropReason::SourceFiltered), u64::from(!is_taken));
        }
    }
}

#[test]
fn members_on_this_host_get_a_copy_and_nobody_else_does() {
    let mut host = host();
    let send = |host: &mut Host, dst: &str, is_looped: bool, hop_limit: Option<u8>| {
        let src = host.network.source_for(ip(dst), None).unwrap();
        let meta = IpMeta { is_looped, hop_limit, ..meta(src, ip(dst)) };
        let frame = host.output(meta, &udp_header(1), b"x").unwrap();
        (frame.is_some(), core::mem::take(&mut host.delivered).len())
    };
    for (group, broadcast) in [("239.1.2.3", Some("10.0.0.255")), ("ff05::1", None)] {
        assert_eq!(send(&mut host, group, true, None), (true, 0), "no members here");
        join(&mut host, group, &SourceFilter::EVERY_SOURCE);
        assert_eq!(send(&mut host, group, true, None), (true, 1));
        assert_eq!(send(&mut host, group, false, None), (true, 0));
        assert_eq!(send(&mut host, group, true, Some(0)), (false, 1), "a TTL of 0 keeps it here");
        leave(&mut host, group, &SourceFilter::EVERY_SOURCE);
        if let Some(broadcast) = broadcast {
            assert_eq!(send(&mut host, broadcast, true, None), (true, 1));
        }
    }
    join(&mut host, "ff01::5", &SourceFilter::EVERY_SOURCE);
    assert_eq!(send(&mut host, "ff01::5", true, None), (false, 1), "never on a link");
}

#[test]
fn the_loopback_has_groups_of_its_own() {
    let mut host = Host::bare();
    for group in ["239.1.2.3", "ff05::1"] {
        let group = ip(group);
        let loopback = InterfaceId::LOOPBACK;
        let filter = SourceFilter::EVERY_SOURCE;
        host.with(|network, ctx| network.replace_filter(ctx, loopback, group, None, Some(&filter))).unwrap();
        let src = host.network.source_for(group, Some(loopback)).unwrap();
        assert!(src.is_loopback());
        let meta = IpMeta { iface: Some(loopback), ..meta(src, group) };
        assert_eq!(host.output(meta, &udp_header(1), b"x"), Ok(None));
        let datagram = host.datagram();
        assert_eq!((datagram.iface, datagram.cast), (loopback, Cast::Multicast));
    }
    assert_eq!(host.network.poll_timeout(), None, "there is nobody to report to");
}

#[test]
fn no_error_is_sent_about_a_packet_to_a_group() {
    let mut b = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    let mut a = host();
    for group in ["239.1.2.3", "ff05::1"] {
        join(&mut a, group, &SourceFilter::EVERY_SOURCE);
        a.receive(b.send_udp(group, b"x").unwrap().unwrap());
        let datagram = a.datagram();
        a.advance(Duration::from_secs(5));
        a.frames();
        a.with(|network, ctx| {
            network.send_unreachable(ctx, &datagram, NetworkErrorKind::PortUnreachable);
        });
        assert!(a.frames().is_empty(), "{group}");
    }
}
