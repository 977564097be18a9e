//! Packets from a host to itself.

use super::*;

#[test]
fn loopback_and_own_addresses_come_back() {
    let mut host = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    for (dst, src) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.9.8.7", "127.0.0.1"),
        ("::1", "::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
    ] {
        assert_eq!(host.send_udp(dst, b"me").unwrap(), None);
        let datagram = host.datagram();
        assert_eq!((datagram.src, datagram.dst, datagram.iface), (ip(src), ip(dst), InterfaceId::LOOPBACK));
        assert_eq!(datagram.cast, Cast::Unicast);
        assert_eq!(&datagram.transport()[8..], b"me");
    }
    let link_local = IpAddr::V6(mac(1).link_local());
    assert_eq!(host.send_udp(&alloc::format!("{link_local}"), b"me").unwrap(), None);
    assert_eq!(host.datagram().iface, IFACE);
    assert_eq!(host.stats.ip.loopback_packets, 6);
    assert!(host.frames().is_empty());
    assert_eq!(host.network.memory_bytes(), Host::ethernet(1, &[]).network.memory_bytes());
}

#[test]
fn it_works_without_any_interface_and_pings_itself() {
    let mut host = Host::bare();
    for addr in ["127.0.0.1", "::1"] {
        let (meta, message) = echo_request(ip(addr), ip(addr), &[7; 3000]);
        assert_eq!(host.output(meta, &message[..8], &message[8..]).unwrap(), None);
        let delivered = core::mem::take(&mut host.delivered);
        let [Delivery::Icmp { message: reply, outcome: IcmpOutcome::EchoReply }] = &delivered[..] else {
            panic!("{delivered:?}")
        };
        assert_eq!(reply.transport().len(), 3008);
    }
    assert_eq!(host.send_udp("10.0.0.1", b"x"), Err(Error::NetworkUnreachable));
    assert_eq!(host.stats.all_drops(), 0);
}

#[test]
fn rfc_1122_3_2_1_3_loopback_addresses_stay_inside() {
    let mut host = Host::ip_medium(&["10.0.0.1/24", "fd00::1/64"]);
    for (src, dst) in [("127.0.0.1", "10.0.0.2"), ("::1", "fd00::2")] {
        assert_eq!(host.output(meta(ip(src), ip(dst)), &udp_header(0), &[]), Err(Error::InvalidArgument));
    }
    let mut other = Host::ip_medium(&["10.0.0.2/24"]);
    let packet = other.send_udp("10.0.0.1", b"x").unwrap().expect("no resolution");
    for (at, addr) in [(12, [127, 0, 0, 1]), (16, [127, 0, 0, 1]), (12, [10, 0, 0, 1])] {
        let mut martian = packet.clone();
        martian[at..at + 4].copy_from_slice(&addr);
        martian[10..12].fill(0);
        let sum = crate::ip::checksum::internet_checksum(&martian[..20]);
        martian[10..12].copy_from_slice(&sum.to_be_bytes());
        host.receive(martian);
    }
    assert_eq!(host.drops(DropReason::Martian), 3);
    host.receive(packet);
    host.datagram();
}

#[test]
fn the_loopback_queue_is_bounded() {
    let mut config = Config::default();
    config.ip.max_queued_frames = 4;
    let mut host = Host::with_config(0, config);
    for _ in 0..6 {
        let mut header = HeaderBuf::new();
        header.prepend(8).copy_from_slice(&udp_header(0));
        let meta = meta(ip("::1"), ip("::1"));
        host.with(|network, ctx| network.output(ctx, meta, header, Payload::new())).unwrap();
    }
    assert_eq!(host.drops(DropReason::TransmitQueueFull), 2);
    host.advance(Duration::ZERO);
    assert_eq!(host.delivered.len(), 4);
}
