//! Links that go down and come up, and change, while packets are on their way.

use super::*;
use crate::offload::Offloads;

fn set_link(host: &mut Host, link: LinkState) {
    host.with(|network, ctx| network.set_link(ctx, IFACE, link)).unwrap();
}

fn events(host: &mut Host) -> Vec<NetworkEvent> {
    core::iter::from_fn(|| host.network.poll_network_event()).collect()
}

/// A host on an Ethernet that knows 10.0.0.2.
fn with_neighbor() -> Host {
    let mut host = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    host.send_udp("10.0.0.2", b"x").unwrap();
    host.receive(crate::testing::arp_reply(mac(2), [10, 0, 0, 2].into(), mac(1), [10, 0, 0, 1].into()));
    assert_eq!(host.frames().len(), 2, "the question, and the packet");
    events(&mut host);
    host
}

#[test]
fn without_a_link_packets_are_lost_and_addresses_and_routes_stay() {
    let mut host = with_neighbor();
    host.send_udp("10.0.0.3", b"waits for a neighbour").unwrap();
    assert_eq!(host.frames().len(), 1);
    let (addresses, routes) = (host.network.interfaces(), host.network.routes().to_vec());
    host.send_udp("10.0.0.2", b"known").unwrap();
    set_link(&mut host, LinkState::Down);
    assert_eq!(events(&mut host), [NetworkEvent::LinkDown { iface: IFACE }]);
    let dropped = host.stats.drops(DropReason::LinkDown);
    assert_eq!(dropped, 1, "what waited for a neighbour");
    assert_eq!(host.network.interfaces()[0].addresses, addresses[0].addresses);
    assert_eq!(host.network.routes(), routes);
    assert!(host.network.neighbors(host.now, IFACE).is_empty(), "as on Linux");
    // As on Linux, sending is no error. The neighbour is asked for again, in vain.
    assert_eq!(host.send_udp("10.0.0.2", b"x").unwrap(), None);
    assert_eq!(host.send_udp("10.0.0.255", b"to all").unwrap(), None);
    host.advance(Duration::from_secs(5));
    assert!(host.frames().is_empty());
    assert_eq!(host.stats.drops(DropReason::NeighborUnreachable), 1);
    assert!(host.stats.drops(DropReason::LinkDown) >= dropped + 4, "three questions and a broadcast");
    // Saying it again changes nothing.
    set_link(&mut host, LinkState::Down);
    assert!(events(&mut host).is_empty());

    set_link(&mut host, LinkState::Up);
    assert_eq!(events(&mut host), [NetworkEvent::LinkUp { iface: IFACE }]);
    host.advance(Duration::from_secs(5));
    let announced = host.frames();
    assert!(announced.iter().any(|frame| frame[12..14] == [8, 6] && frame[28..32] == frame[38..42]));
    assert!(host.send_udp("10.0.0.2", b"x").unwrap().is_none());
    assert_eq!(host.frames().len(), 1, "the question");
}

#[test]
fn bare_ip_links_lose_packets_without_a_link() {
    let mut host = Host::ip_medium(&["10.0.0.1/24"]);
    assert!(host.send_udp("10.0.0.2", b"x").unwrap().is_some());
    set_link(&mut host, LinkState::Down);
    assert_eq!(host.send_udp("10.0.0.2", b"x").unwrap(), None);
    assert_eq!(host.stats.drops(DropReason::LinkDown), 1);
    set_link(&mut host, LinkState::Up);
    assert!(host.send_udp("10.0.0.2", b"x").unwrap().is_some());
}

#[test]
fn an_address_that_is_probed_while_the_link_is_down_is_probed_again() {
    let mut host = Host::bare();
    host.add_interface(Medium::Ethernet(mac(1)), 1500, &["10.0.0.1/24"]);
    host.frames();
    set_link(&mut host, LinkState::Down);
    set_link(&mut host, LinkState::Up);
    let probes = host.frames().into_iter().filter(|frame| frame[12..14] == [8, 6]);
    assert!(probes.count() >= 1);
    assert_eq!(host.network.interfaces()[0].addresses[0].1, AddressState::Tentative);
    host.advance(Duration::from_secs(5));
    assert_eq!(host.network.interfaces()[0].addresses[0].1, AddressState::Preferred);
}

#[test]
fn another_mac_address_is_announced_and_used() {
    let mut host = with_neighbor();
    assert_eq!(host.with(|network, ctx| network.set_mac(ctx, IFACE, mac(7))), Ok(()));
    assert!(host.network.neighbors(host.now, IFACE).is_empty(), "as on Linux");
    host.advance(Duration::from_secs(5));
    let frames = host.frames();
    assert!(!frames.is_empty() && frames.iter().all(|frame| frame[6..12] == mac(7).0));
    let announces = |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[22..28] == mac(7).0;
    assert!(frames.iter().any(announces));
    // The link-local address stays.
    let link_local = IpAddr::V6(mac(1).link_local());
    assert!(host.network.is_local(link_local));
    for bad in [MacAddr::BROADCAST, MacAddr([0; 6])] {
        assert_eq!(host.with(|network, ctx| network.set_mac(ctx, IFACE, bad)), Err(Error::InvalidArgument));
    }
    let mut bare = Host::ip_medium(&["10.0.0.1/24"]);
    assert_eq!(bare.with(|network, ctx| network.set_mac(ctx, IFACE, mac(7))), Err(Error::InvalidArgument));
}

/// Measured on Linux 6.18: below 1,280 bytes the IPv6 addresses go, and from there on the link-local
/// one is back.
#[test]
fn an_mtu_too_small_for_ipv6_takes_its_addresses() {
    let mut host = Host::ethernet(1, &["10.0.0.1/24", "fd00::1/64"]);
    events(&mut host);
    let set_mtu = |host: &mut Host, mtu| host.with(|network, ctx| network.set_mtu(ctx, IFACE, mtu));
    assert_eq!(set_mtu(&mut host, 1279), Ok(()));
    let shown = |host: &Host| {
        let addresses = host.network.interfaces().remove(0).addresses;
        addresses.into_iter().map(|(cidr, _)| cidr.addr).collect::<Vec<_>>()
    };
    assert_eq!(shown(&host), [ip("10.0.0.1")]);
    assert!(!host.network.routes().iter().any(|route| route.destination.addr.is_ipv6()));
    let removed = |event: &&NetworkEvent| matches!(event, NetworkEvent::AddressRemoved { .. });
    assert_eq!(events(&mut host).iter().filter(removed).count(), 2);
    assert_eq!(set_mtu(&mut host, 1280), Ok(()));
    host.advance(Duration::from_secs(5));
    assert_eq!(shown(&host), [ip("10.0.0.1"), IpAddr::V6(mac(1).link_local())]);
    assert_eq!(set_mtu(&mut host, 67), Err(Error::InvalidArgument));
    assert_eq!(set_mtu(&mut host, 65_536), Err(Error::InvalidArgument));
    let missing = InterfaceId(9);
    assert_eq!(host.with(|network, ctx| network.set_mtu(ctx, missing, 1500)), Err(Error::InvalidArgument));
}

#[test]
fn frames_made_for_other_offloads_are_dropped() {
    let mut host = with_neighbor();
    let all = Offloads { checksum: true, ..Offloads::NONE };
    host.with(|network, ctx| network.set_offloads(ctx, IFACE, all)).unwrap();
    host.send_udp("10.0.0.2", b"its checksum is the device's work").unwrap();
    assert_eq!(host.frames().len(), 1, "the question: neighbours are found anew");
    host.with(|network, ctx| network.set_offloads(ctx, IFACE, Offloads::NONE)).unwrap();
    assert_eq!(host.stats.drops(DropReason::LinkDown), 1);
    host.receive(crate::testing::arp_reply(mac(2), [10, 0, 0, 2].into(), mac(1), [10, 0, 0, 1].into()));
    assert!(host.frames().is_empty());
}
