//! ICMP as RFC 1122 §3.2.2 and RFC 4443 §2.4 demand, on links without link headers.

use super::*;
use crate::ip::checksum::{internet_checksum, transport_checksum};
use crate::ip::input::Arrival;
use crate::ip::refusal::IcmpError;
use crate::ip::{Cast, IpHeader};
use crate::network::admission::Admission;

/// Two hosts on a link without link headers.
fn hosts() -> (Host, Host) {
    (Host::ip_medium(&["10.0.0.1/24", "fd00::1/64"]), Host::ip_medium(&["10.0.0.2/24", "fd00::2/64"]))
}

/// Corrects the checksum of the IPv4 header.
fn fix(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header_len = usize::from(packet[0] & 15) * 4;
    let sum = internet_checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn echo(from: &mut Host, src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let (meta, message) = echo_request(ip(src), ip(dst), data);
    from.output(meta, &message[..8], &message[8..]).unwrap().expect("no resolution")
}

/// An IPv6 packet with extension headers inserted behind its header.
fn extended(packet: &[u8], first: u8, headers: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..40], headers, &packet[40..]].concat();
    packet[6] = first;
    let len = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet
}

#[test]
fn port_and_protocol_unreachable_come_back_to_the_sender() {
    for dst in ["10.0.0.2", "fd00::2"] {
        for kind in [
            NetworkErrorKind::PortUnreachable,
            NetworkErrorKind::ProtocolUnreachable,
            NetworkErrorKind::HostUnreachable,
            NetworkErrorKind::NetUnreachable,
            NetworkErrorKind::Prohibited,
        ] {
            let (mut a, mut b) = hosts();
            let packet = a.send_udp(dst, b"hello").unwrap().unwrap();
            b.receive(packet.clone());
            let datagram = b.datagram();
            b.with(|network, ctx| network.send_unreachable(ctx, &datagram, kind));
            let frames = b.frames();
            a.receive(frames[0].clone());
            let error = a.error();
            assert_eq!((error.kind, error.local, error.remote), (kind, datagram.src, ip(dst)));
            assert_eq!((error.protocol, error.iface), (17, Some(IFACE)));
            assert_eq!(&error.transport[..], &packet[packet.len() - 13..]);
            assert_eq!((b.stats.icmp.errors_sent, a.stats.all_drops() + b.stats.all_drops()), (1, 0));
        }
    }
}

#[test]
fn rfc_1122_3_2_2_no_error_about_groups_errors_fragments_or_strange_sources() {
    let (mut a, mut b) = hosts();
    let packet = a.send_udp("10.0.0.2", b"hello").unwrap().unwrap();
    b.receive(packet);
    let good = b.datagram();
    let mut tell = |datagram: &Datagram| {
        b.with(|network, ctx| network.send_unreachable(ctx, datagram, NetworkErrorKind::PortUnreachable));
        b.frames().len()
    };
    assert_eq!(tell(&good), 1);
    for cast in [Cast::Broadcast, Cast::Multicast] {
        assert_eq!(tell(&Datagram { cast, ..good.clone() }), 0);
    }
    for src in ["0.0.0.0", "10.0.0.255", "224.0.0.9", "255.255.255.255"] {
        assert_eq!(tell(&Datagram { src: ip(src), ..good.clone() }), 0, "{src}");
    }
    let mut fragment = good.packet.to_vec();
    fragment[7] = 1;
    assert_eq!(tell(&Datagram { packet: fragment.into(), ..good.clone() }), 0);
    let mut icmp = good.packet.to_vec();
    (icmp[9], icmp[20]) = (1, 3);
    assert_eq!(tell(&Datagram { packet: icmp.into(), ..good.clone() }), 0);
    assert_eq!(tell(&good), 1);
}

/// The number of "port unreachable" errors from a host that is 10.0.0.2 and fd00::2, in answer to
/// this many datagrams from one peer.
fn complaints(b: &mut Host, to: &str, count: usize) -> usize {
    let (src, dst) = (ip(to), ip(if to.contains(':') { "fd00::2" } else { "10.0.0.2" }));
    let packet = crate::testing::PacketBuilder::new(src, dst).udp(5, 4000, b"x");
    for _ in 0..count {
        b.receive(packet.clone());
        let datagram = b.datagram();
        b.with(|network, ctx| network.send_unreachable(ctx, &datagram, NetworkErrorKind::PortUnreachable));
    }
    b.frames().len()
}

fn limited(change: impl FnOnce(&mut crate::config::IpConfig)) -> Host {
    let mut config = Config::default();
    change(&mut config.ip);
    let mut b = Host::with_config(0, config);
    b.add_interface(Medium::Ip, 1500, &["10.0.0.2/24", "fd00::2/64"]);
    b.with(|network, _| {
        for destination in ["0.0.0.0/0", "::/0"] {
            network.add_route(Route::new(cidr(destination), IFACE)).unwrap();
        }
    });
    b
}

/// As in Linux 6.18: 6 at once, then one (IPv4) or ten (IPv6) a second, for each peer.
#[test]
fn rfc_4443_2_4_f_each_host_gets_a_few_errors_and_then_one_now_and_then() {
    for (to, another, interval) in [("10.0.0.1", "10.0.0.9", 1000), ("fd00::1", "2001:db8::1", 100)] {
        let mut b = limited(|_| {});
        assert_eq!(complaints(&mut b, to, 20), 6);
        assert_eq!(b.drops(DropReason::IcmpRateLimit), 14);
        assert_eq!(complaints(&mut b, another, 20), 6);
        b.advance(Duration::from_millis(interval - 1));
        assert_eq!(complaints(&mut b, to, 20), 0);
        b.advance(Duration::from_millis(1));
        assert_eq!(complaints(&mut b, to, 20), 1);
        b.advance(Duration::from_millis(3 * interval));
        assert_eq!(complaints(&mut b, to, 20), 3);
    }
}

#[test]
fn errors_to_all_hosts_together_are_limited() {
    let host = |number: usize| std::format!("172.20.{}.{}", number / 250 + 1, number % 250 + 1);
    let mut b = limited(|_| {});
    let burst: usize = (0..1000).map(|number| complaints(&mut b, &host(number), 1)).sum();
    assert!((30..70).contains(&burst), "{burst}");
    b.advance(Duration::from_secs(1));
    let again: usize = (1000..2000).map(|number| complaints(&mut b, &host(number), 1)).sum();
    assert!((30..70).contains(&again) && again != burst, "{burst}, {again}");
    // Datagrams beyond one peer's share take nothing from the others.
    b.advance(Duration::from_secs(1));
    assert_eq!(complaints(&mut b, "10.0.0.1", 1000), 6);
    let others: usize = (2000..2020).map(|number| complaints(&mut b, &host(number), 1)).sum();
    assert_eq!(others, 20);
}

#[test]
fn errors_about_packets_from_ourselves_have_no_limit() {
    let mut b = limited(|ip| ip.icmp_errors_per_second = 0);
    assert_eq!(complaints(&mut b, "10.0.0.1", 1), 0);
    for _ in 0..20 {
        b.send_udp("127.0.0.1", b"x").unwrap();
        let datagram = b.datagram();
        b.with(|network, ctx| network.send_unreachable(ctx, &datagram, NetworkErrorKind::PortUnreachable));
        b.advance(Duration::ZERO);
        assert_eq!(b.error().kind, NetworkErrorKind::PortUnreachable);
    }
}

#[test]
fn the_limit_for_each_host_can_be_off() {
    let mut b = limited(|ip| {
        ip.icmp_error_interval_v4 = Duration::ZERO;
        ip.icmp_errors_per_second = 1_000_000;
        ip.icmp_error_burst = 1_000_000;
    });
    assert_eq!(complaints(&mut b, "10.0.0.1", 1000), 1000);
}

#[test]
fn echo_requests_to_groups() {
    // RFC 1122 §3.2.2.6: not in IPv4. RFC 4443 §4.2: in IPv6 from an address of the interface.
    let (mut a, mut b) = hosts();
    let broadcast = echo(&mut a, "10.0.0.1", "10.0.0.255", b"x");
    b.receive(broadcast);
    assert_eq!((b.frames().len(), b.drops(DropReason::EchoIgnored)), (0, 1));
    let to_all = echo(&mut a, "fd00::1", "ff02::1", b"x");
    b.receive(to_all);
    let reply = b.frames().remove(0);
    a.receive(reply);
    let [Delivery::Icmp { message: reply, outcome: IcmpOutcome::EchoReply }] = &a.delivered[..] else {
        panic!("{:?}", a.delivered)
    };
    assert_eq!((reply.src, reply.dst), (ip("fd00::2"), ip("fd00::1")));
}

#[test]
fn echo_can_be_switched_off_and_wrong_checksums_are_not_answered() {
    for (src, dst, at) in [("10.0.0.1", "10.0.0.2", 28), ("fd00::1", "fd00::2", 48)] {
        let (mut a, mut b) = hosts();
        let mut packet = echo(&mut a, src, dst, b"xy");
        packet[at] ^= 1;
        b.receive(packet.clone());
        assert_eq!((b.frames().len(), b.drops(DropReason::BadIcmp)), (0, 1));
        packet[at] ^= 1;
        b.config.ip.answer_echo = false;
        b.receive(packet);
        assert_eq!((b.frames().len(), b.drops(DropReason::EchoIgnored)), (0, 1));
    }
}

#[test]
fn rfc_1122_3_2_2_8_timestamps_are_answered_but_not_to_groups() {
    use crate::testing::PacketBuilder;
    let (_, mut b) = hosts();
    let (peer, data) = (ip("10.0.0.1"), [0, 7, 0, 1, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0]);
    let request = |dst: &str, len: usize| PacketBuilder::new(peer, ip(dst)).icmp(13, 0, &data[..len]);
    b.receive(request("10.0.0.2", 16));
    let reply = b.frames().remove(0);
    assert_eq!(
        (&reply[16..20], reply.len(), reply[20], &reply[24..32]),
        (&[10, 0, 0, 1][..], 40, 14, &data[..8])
    );
    assert_eq!(b.stats.icmp.out_timestamp_reps, 1);
    b.receive(request("10.0.0.255", 16));
    b.receive(request("10.0.0.2", 7));
    b.config.ip.answer_timestamps = false;
    b.receive(request("10.0.0.2", 16));
    assert_eq!((b.frames().len(), b.drops(DropReason::EchoIgnored), b.drops(DropReason::BadIcmp)), (0, 2, 1));
}

/// Each family has its own ICMP. The other family's is an unknown protocol, and is answered as in
/// Linux 6.18.
#[test]
fn the_other_familys_icmp_is_a_protocol_that_nobody_speaks() {
    use crate::testing::PacketBuilder;
    for (src, dst, foreign) in [("10.0.0.1", "10.0.0.2", 58), ("fd00::1", "fd00::2", 1)] {
        let (mut a, mut b) = hosts();
        // In the other family's encoding this would be an error message.
        b.receive(PacketBuilder::new(ip(src), ip(dst)).raw(foreign, &[3, 3, 0, 0, 0, 0, 0, 0]));
        let datagram = b.datagram();
        b.with(|network, ctx| {
            network.send_unreachable(ctx, &datagram, NetworkErrorKind::ProtocolUnreachable);
        });
        let frames = b.frames();
        a.receive(frames[0].clone());
        assert_eq!((a.error().kind, frames.len()), (NetworkErrorKind::ProtocolUnreachable, 1));
    }
}

#[test]
fn replies_keep_the_class_of_the_request() {
    let (mut a, mut b) = hosts();
    let (meta, message) = echo_request(ip("10.0.0.1"), ip("10.0.0.2"), b"");
    let meta = IpMeta { traffic_class: 0xb8, ..meta };
    let packet = a.output(meta, &message, b"").unwrap().unwrap();
    b.receive(packet);
    assert_eq!(b.frames()[0][1], 0xb8);
}

#[test]
fn errors_that_do_not_concern_us_are_counted() {
    let (mut a, mut b) = hosts();
    // About a packet that we did not send.
    let packet = b.send_udp("10.0.0.1", b"hello").unwrap().unwrap();
    let (header, payload) = IcmpError::PortUnreachable.emit(ip("10.0.0.2"), ip("10.0.0.1"), &packet.into());
    let meta = IpMeta { protocol: protocol::ICMP, ..meta(ip("10.0.0.2"), ip("10.0.0.1")) };
    let error = b.output(meta, header.as_slice(), &payload.concat()).unwrap().unwrap();
    a.receive(error);
    assert_eq!(a.drops(DropReason::UnmatchedIcmpError), 1);
    // A redirect, an address mask request, a source quench.
    for (kind, reason) in
        [(5, DropReason::RedirectIgnored), (17, DropReason::UnknownIcmp), (4, DropReason::UnknownIcmp)]
    {
        let mut message = vec![kind, 0, 0, 0, 10, 0, 0, 9, 0, 0, 0, 0];
        let sum = internet_checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let before = a.drops(reason);
        let packet = b.output(meta, &message, b"").unwrap().unwrap();
        a.receive(packet);
        assert_eq!(a.drops(reason), before + 1);
    }
    let (src, dst) = (ip("fd00::2"), ip("fd00::1"));
    for (kind, reason) in [
        (137, DropReason::RedirectIgnored),
        (133, DropReason::UnknownIcmp),
        (143, DropReason::BadGroupMessage),
    ] {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        let sum = transport_checksum(src, dst, protocol::ICMPV6, &message, &[]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let before = a.drops(reason);
        let packet = b
            .output(IpMeta { protocol: protocol::ICMPV6, src, dst, ..meta }, &message, b"")
            .unwrap()
            .unwrap();
        a.receive(packet);
        assert_eq!(a.drops(reason), before + 1);
    }
    assert!(a.delivered.is_empty() && a.frames().is_empty());
}

#[test]
fn rfc_8201_a_validated_too_big_message_shrinks_the_path() {
    for (src, dst, at_least) in [("10.0.0.1", "10.0.0.2", 552), ("fd00::1", "fd00::2", 1300)] {
        let (mut a, mut b) = hosts();
        let packet = a.send_udp(dst, &[0; 1400]).unwrap().unwrap();
        let message = if dst.contains(':') {
            let mut message = [&[2, 0, 0, 0, 0, 0, 0x05, 0x14][..], &packet[..100]].concat();
            let sum = transport_checksum(ip(dst), ip(src), protocol::ICMPV6, &message, &[]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            message
        } else {
            let mut message = [&[3, 4, 0, 0, 0, 0, 0x05, 0x14][..], &packet[..28]].concat();
            let sum = internet_checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            message
        };
        let icmp = if dst.contains(':') { protocol::ICMPV6 } else { protocol::ICMP };
        let error = b
            .output(IpMeta { protocol: icmp, ..meta(ip(dst), ip(src)) }, &message[..8], &message[8..])
            .unwrap()
            .unwrap();
        a.receive(error);
        assert_eq!(a.error().kind, NetworkErrorKind::PacketTooBig { mtu: 1300 });
        // The path MTU is unchanged until the transport has validated the error.
        let path_mtu = |host: &Host| host.network.path_mtu(host.now, ip(dst), None);
        assert_eq!(path_mtu(&a), 1500);
        a.network.learn_path_mtu(a.now, ip(dst), None, 1300);
        assert_eq!(path_mtu(&a), 1300);
        // A packet that must not be fragmented is now refused; others are fragmented.
        let whole = IpMeta { mtu_discovery: MtuDiscovery::Do, ..meta(ip(src), ip(dst)) };
        assert_eq!(a.output(whole, &udp_header(1300), &[0; 1300]), Err(Error::MessageTooLong));
        assert_eq!(a.send_udp(dst, &[0; 1300]), Ok(None));
        assert!(a.frames().iter().all(|frame| frame.len() <= 1300));
        a.network.learn_path_mtu(a.now, ip(dst), None, 100);
        assert_eq!(path_mtu(&a), at_least);
        if dst.contains('.') {
            // Routers may now fragment all packets, whatever the transport asks for, so they have
            // identifications.
            for mtu_discovery in [MtuDiscovery::Want, MtuDiscovery::Do] {
                let meta = IpMeta { mtu_discovery, ..meta(ip(src), ip(dst)) };
                let numbers = [0; 2].map(|_| {
                    let packet = a.output(meta, &udp_header(500), &[0; 500]).unwrap().unwrap();
                    assert_eq!(packet[6], 0, "flags");
                    u16::from_be_bytes([packet[4], packet[5]])
                });
                assert_eq!(numbers[0].wrapping_add(1), numbers[1]);
            }
        }
        a.advance(Duration::from_secs(600));
        assert_eq!(path_mtu(&a), 1500);
    }
}

#[test]
fn rfc_7126_source_routes_are_refused_and_other_options_skipped() {
    let (mut a, mut b) = hosts();
    let packet = a.send_udp("10.0.0.2", b"hello").unwrap().unwrap();
    let with = |options: &[u8]| {
        let mut packet = [&packet[..20], options, &packet[20..]].concat();
        packet[0] = 0x45 + (options.len() / 4) as u8;
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        fix(&mut packet);
        packet
    };
    b.receive(with(&[148, 4, 0, 0]));
    assert_eq!(&b.datagram().transport()[8..], b"hello");
    b.receive(with(&[131, 7, 4, 10, 0, 0, 9, 0]));
    assert_eq!(b.drops(DropReason::BadIpOption), 1);
    let error = b.frames().remove(0);
    assert_eq!(error[20..22], [3, 5]);
    a.receive(error);
    assert_eq!(a.error().kind, NetworkErrorKind::SourceRouteFailed);
    b.receive(with(&[7, 9, 0, 0]));
    let error = b.frames().remove(0);
    assert_eq!((&error[20..22], error[24]), (&[12, 0][..], 21));
    a.receive(error);
    assert_eq!(a.error().kind, NetworkErrorKind::ParameterProblem);
}

#[test]
fn rfc_8200_4_extension_headers_are_skipped_or_answered() {
    let (mut a, mut b) = hosts();
    let packet = a.send_udp("fd00::2", b"hello").unwrap().unwrap();
    b.receive(extended(&packet, 0, &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]));
    assert_eq!(&b.datagram().transport()[8..], b"hello");
    // An unknown option that must not be skipped; a routing header of type 0 (RFC 5095).
    for (first, header, code, pointer) in
        [(60, [17, 0, 0x9e, 4, 0, 0, 0, 0], 2, 42), (43, [17, 0, 0, 1, 0, 0, 0, 0], 0, 42)]
    {
        b.receive(extended(&packet, first, &header));
        let error = b.frames().remove(0);
        assert_eq!((&error[40..42], &error[44..48]), (&[4, code][..], &[0, 0, 0, pointer][..]));
        a.receive(error);
        assert_eq!(a.error().kind, NetworkErrorKind::ParameterProblem);
    }
    assert_eq!(b.drops(DropReason::BadExtensionHeader), 2);
    // "No next header" is not an error, so no error is sent.
    let mut none = packet.clone();
    none[6] = 59;
    b.receive(none);
    assert_eq!((b.drops(DropReason::UnknownProtocol), b.frames().len()), (1, 0));
    // RFC 4443 §3.4: an unknown protocol is an unrecognized next header, and the pointer names the
    // field with its number.
    let mut unknown = extended(&packet, 60, &[253, 0, 1, 4, 0, 0, 0, 0]);
    unknown[40] = 253;
    b.receive(unknown);
    let datagram = b.datagram();
    b.with(|network, ctx| network.send_unreachable(ctx, &datagram, NetworkErrorKind::ProtocolUnreachable));
    let error = b.frames().remove(0);
    assert_eq!((&error[40..42], &error[44..48]), (&[4, 1][..], &[0, 0, 0, 40][..]));
}

#[test]
fn rfc_4443_2_4_e_an_unknown_option_is_answered_even_to_a_group() {
    let (mut a, mut b) = hosts();
    let packet = a.send_udp("ff02::1", b"hello").unwrap().unwrap();
    b.receive(extended(&packet, 60, &[17, 0, 0x9e, 4, 0, 0, 0, 0]));
    let error = b.frames().remove(0);
    assert_eq!(error[40..42], [4, 2]);
    assert_eq!(error[8..24], "fd00::2".parse::<core::net::Ipv6Addr>().unwrap().octets());
    b.receive(extended(&packet, 60, &[17, 0, 0xde, 4, 0, 0, 0, 0]));
    assert_eq!((b.frames().len(), b.drops(DropReason::BadExtensionHeader)), (0, 2));
}

#[test]
fn the_sockets_get_every_message_beside_what_the_network_layer_does() {
    let mut host = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    let mut other = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (meta, message) = echo_request(ip(src), ip(dst), b"ping");
        other.output(meta, &message[..8], &message[8..]).unwrap();
        settle(&mut other, &mut host);
        let is_request = |done: &Datagram| done.src == ip(src) && done.transport() == message;
        assert!(host.done.iter().any(is_request), "{:?}", host.done);
    }
    assert_eq!(host.stats.icmp.out_echo_reps, 2);
}

#[test]
fn only_a_packet_that_a_router_would_pass_on_is_to_be_forwarded() {
    let host = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    let admitted = |src: &str, dst: &str, link_cast| {
        let header = IpHeader {
            src: ip(src),
            dst: ip(dst),
            protocol: protocol::UDP,
            hop_limit: 64,
            traffic_class: 0,
            header_len: 20,
            total_len: 28,
            fragment: None,
        };
        let arrival = Arrival {
            iface: IFACE,
            link_cast,
            looped: false,
            is_intercepted: false,
            is_apart: false,
            offload: Default::default(),
        };
        host.network.admit(arrival, &header, &[])
    };
    let dropped = Admission::Drop(DropReason::NotForUs);
    for (dst, expected) in [
        ("10.0.0.1", Admission::Local(Cast::Unicast)),
        ("10.0.0.255", Admission::Local(Cast::Broadcast)),
        ("10.0.0.9", Admission::Forward),
        ("192.0.2.1", Admission::Forward),
        ("239.1.2.3", dropped),
    ] {
        assert_eq!(admitted("10.0.0.2", dst, Cast::Unicast), expected, "{dst}");
    }
    for (dst, expected) in [("fd00::9", Admission::Forward), ("fe80::9", dropped), ("ff02::5", dropped)] {
        assert_eq!(admitted("fd00::2", dst, Cast::Unicast), expected, "{dst}");
    }
    assert_eq!(admitted("10.0.0.2", "192.0.2.1", Cast::Broadcast), dropped);
    assert_eq!(admitted("10.0.0.1", "192.0.2.1", Cast::Unicast), Admission::Drop(DropReason::Martian));
}
