//! Several interfaces, addresses and routes.

use super::*;

const SECOND: InterfaceId = InterfaceId(1);

fn route(destination: &str, gateway: Option<&str>, iface: InterfaceId) -> Route {
    Route { destination: cidr(destination), gateway: gateway.map(ip), iface, metric: 0 }
}

/// A host on two links without resolution.
fn two_homed() -> Host {
    let mut host = Host::bare();
    host.add_interface(Medium::Ip, 1500, &["10.0.0.1/24", "fd00::1/64"]);
    host.add_interface(Medium::Ip, 1400, &["10.1.0.1/24", "fd01::1/64"]);
    host
}

fn out(host: &mut Host, dst: &str) -> Result<(InterfaceId, IpAddr)> {
    let dst = ip(dst);
    let src = host.network.source_for(dst, None)?;
    let mut header = HeaderBuf::new();
    header.prepend(8).copy_from_slice(&udp_header(0));
    let transmit = host.with(|network, ctx| network.output(ctx, meta(src, dst), header, Payload::new()))?;
    Ok((transmit.expect("no resolution").iface(), src))
}

#[test]
fn packets_leave_through_the_interface_of_their_route() {
    let mut host = two_homed();
    assert_eq!(out(&mut host, "10.0.0.9"), Ok((IFACE, ip("10.0.0.1"))));
    assert_eq!(out(&mut host, "10.1.0.9"), Ok((SECOND, ip("10.1.0.1"))));
    assert_eq!(out(&mut host, "fd01::9"), Ok((SECOND, ip("fd01::1"))));
    assert_eq!(out(&mut host, "8.8.8.8"), Err(Error::NetworkUnreachable));
    host.network.add_route(route("0.0.0.0/0", Some("10.1.0.254"), SECOND)).unwrap();
    assert_eq!(out(&mut host, "8.8.8.8"), Ok((SECOND, ip("10.1.0.1"))));
    host.network.add_route(route("8.8.0.0/16", Some("10.0.0.254"), IFACE)).unwrap();
    assert_eq!(out(&mut host, "8.8.8.8"), Ok((IFACE, ip("10.0.0.1"))));
    host.network.remove_route(cidr("8.8.0.0/16"), IFACE).unwrap();
    assert_eq!(out(&mut host, "8.8.8.8"), Ok((SECOND, ip("10.1.0.1"))));
    // Through the named interface: without a route there, an IPv4 address is taken to be on its
    // link, and an IPv6 address is unreachable (Linux 6.18, measured).
    assert_eq!(host.network.source_for(ip("8.8.8.8"), Some(IFACE)), Ok(ip("10.0.0.1")));
    assert_eq!(host.network.source_for(ip("2001:db8::1"), Some(IFACE)), Err(Error::NetworkUnreachable));
    assert_eq!(host.network.path_mtu(host.now, ip("8.8.8.8"), None), 1400);
    assert_eq!(host.network.path_mtu(host.now, ip("10.0.0.9"), None), 1500);
    assert_eq!(host.network.path_mtu(host.now, ip("10.0.0.1"), None), 65535);
}

#[test]
fn addresses_come_and_go_with_their_routes() {
    let mut host = two_homed();
    host.with(|network, ctx| network.add_address(ctx, IFACE, cidr("172.16.0.1/16"))).unwrap();
    assert_eq!(out(&mut host, "172.16.9.9"), Ok((IFACE, ip("172.16.0.1"))));
    host.network.remove_address(host.now, IFACE, ip("172.16.0.1")).unwrap();
    assert_eq!(out(&mut host, "172.16.9.9"), Err(Error::NetworkUnreachable));
    assert!(!host.network.is_local(ip("172.16.0.1"), None));
    assert_eq!(
        host.network.remove_address(host.now, IFACE, ip("172.16.0.1")),
        Err(Error::AddressNotAvailable)
    );
    assert_eq!(
        host.network.remove_address(host.now, InterfaceId(9), ip("10.0.0.1")),
        Err(Error::InvalidArgument)
    );
    // The route stays if another address is in the same network.
    host.with(|network, ctx| network.add_address(ctx, IFACE, cidr("10.0.0.2/24"))).unwrap();
    host.network.remove_address(host.now, IFACE, ip("10.0.0.1")).unwrap();
    assert_eq!(out(&mut host, "10.0.0.9"), Ok((IFACE, ip("10.0.0.2"))));
}

#[test]
fn gateways_are_neighbours() {
    let mut host = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    let mut add = |destination, gateway| host.network.add_route(route(destination, Some(gateway), IFACE));
    assert_eq!(add("0.0.0.0/0", "10.9.0.1"), Err(Error::NetworkUnreachable));
    assert_eq!(add("0.0.0.0/0", "10.0.0.1"), Err(Error::InvalidArgument));
    assert_eq!(add("0.0.0.0/0", "fd00::2"), Err(Error::InvalidArgument));
    assert_eq!(add("0.0.0.0/0", "0.0.0.0"), Err(Error::InvalidArgument));
    assert_eq!(add("0.0.0.0/0", "10.0.0.2"), Ok(()));
    assert_eq!(add("::/0", "fe80::ff:fe00:2"), Ok(()));
    assert_eq!(add("::/0", "fe80::ff:fe00:2"), Err(Error::AddressInUse));
    let nowhere = Route { iface: InterfaceId(5), ..route("0.0.0.0/0", None, IFACE) };
    assert_eq!(host.network.add_route(nowhere), Err(Error::InvalidArgument));
    // A packet for a distant host goes to the gateway's station.
    let mut gateway = Host::ethernet(2, &["10.0.0.2/24", "fd00::2/64"]);
    for far in ["8.8.8.8", "2001:db8::1"] {
        let _ = host.send_udp(far, b"x");
        settle(&mut host, &mut gateway);
        let frame = host.send_udp(far, b"x").unwrap().expect("resolved");
        assert_eq!(frame[..6], mac(2).0);
    }
    // The gateway does not forward, because this stack does not.
    assert_eq!(gateway.drops(DropReason::NotForUs), 2);
}

#[test]
fn link_local_addresses_are_of_their_link() {
    let mut host = Host::with_config(1, Config::default());
    host.add_interface(Medium::Ethernet(mac(1)), 1500, &[]);
    host.add_interface(Medium::Ethernet(mac(2)), 1500, &[]);
    host.advance(Duration::from_secs(5));
    host.frames();
    let own = |last| IpAddr::V6(mac(last).link_local());
    let peer = ip("fe80::99");
    assert_eq!(host.network.source_for(peer, Some(IFACE)), Ok(own(1)));
    assert_eq!(host.network.source_for(peer, Some(SECOND)), Ok(own(2)));
    assert_eq!(host.network.source_for(ip("ff02::1"), Some(SECOND)), Ok(own(2)));
    // A packet from our own address of another link is dropped.
    let mut sender = Host::ethernet(9, &[]);
    let bytes = {
        let meta = IpMeta { iface: Some(IFACE), ..meta(own(9), own(2)) };
        let _ = sender.output(meta, &udp_header(1), b"x");
        let mut neighbor = Host::ethernet(2, &[]);
        settle(&mut sender, &mut neighbor);
        sender.output(meta, &udp_header(1), b"x").unwrap().expect("resolved")
    };
    host.receive_on(SECOND, bytes.clone());
    assert_eq!(host.datagram().iface, SECOND);
    let mut wrong_link = bytes;
    wrong_link[..6].copy_from_slice(&mac(1).0);
    host.receive_on(IFACE, wrong_link);
    assert_eq!(host.drops(DropReason::NotForUs), 1);
}

#[test]
fn rfc_1122_3_3_4_2_an_address_of_ours_is_ours_on_every_link() {
    let mut host = two_homed();
    let mut peer = Host::ip_medium(&["10.0.0.2/24"]);
    peer.network.add_route(route("10.1.0.0/24", None, IFACE)).unwrap();
    let packet = peer.send_udp("10.1.0.1", b"x").unwrap().unwrap();
    host.receive_on(IFACE, packet);
    let datagram = host.datagram();
    assert_eq!((datagram.iface, datagram.dst, datagram.cast), (IFACE, ip("10.1.0.1"), Cast::Unicast));
}

#[test]
fn without_interfaces_there_is_no_route() {
    let mut host = Host::bare();
    for dst in ["10.0.0.1", "224.0.0.1", "255.255.255.255", "ff02::1", "0.0.0.0", "::"] {
        assert_eq!(host.send_udp(dst, b"x"), Err(Error::NetworkUnreachable), "{dst}");
    }
    let named = IpMeta { iface: Some(InterfaceId(3)), ..meta(ip("fe80::1"), ip("fe80::2")) };
    assert_eq!(host.output(named, &udp_header(0), &[]), Err(Error::NetworkUnreachable));
    let mixed = meta(ip("10.0.0.1"), ip("fe80::2"));
    assert_eq!(host.output(mixed, &udp_header(0), &[]), Err(Error::InvalidArgument));
}
