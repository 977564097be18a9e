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
    assert!(host.network.is_local(link_local, None));
    for bad in [MacAddr::BROADCAST, MacAddr([0; 6])] {
        assert_eq!(host.with(|network, ctx| network.set_mac(ctx, IFACE, bad)), Err(Error::InvalidArgument));
    }
    let mut bare = Host::ip_medium(&["10.0.0.1/24"]);
    assert_eq!(bare.with(|network, ctx| network.set_mac(ctx, IFACE, mac(7))), Err(Error::InvalidArgument));
}

/// Measured on Linux 6.18: below 1,280 bytes the IPv6 addresses go, and from there on the
/// link-local one is back.
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

#[test]
fn an_interface_that_is_removed_takes_everything_along_and_the_others_stay() {
    let mut host = with_neighbor();
    let second = host.add_interface(Medium::Ip, 1500, &["10.1.0.1/24"]);
    let third = host.add_interface(Medium::Ip, 1500, &["10.2.0.1/24"]);
    host.with(|network, _| network.add_route(Route::new(cidr("192.168.0.0/16"), IFACE))).unwrap();
    host.send_udp("10.0.0.3", b"waits for a neighbour").unwrap();
    events(&mut host);
    assert_eq!(host.with(|network, ctx| network.remove_interface(ctx, IFACE)), Ok(()));
    assert_eq!(host.stats.drops(DropReason::LinkDown), 2, "the packet, and the question for its neighbour");
    assert!(host.frames().is_empty());
    let kinds = events(&mut host).into_iter().map(|event| match event {
        NetworkEvent::AddressRemoved { iface: IFACE, .. } => 'a',
        NetworkEvent::RouteRemoved(Route { iface: IFACE, .. }) => 'r',
        NetworkEvent::InterfaceRemoved { iface: IFACE } => 'i',
        other => panic!("{other:?}"),
    });
    let kinds: alloc::string::String = kinds.collect();
    assert!(
        kinds.ends_with("ri") && kinds.matches('a').count() == 3 && kinds.matches('r').count() == 4,
        "{kinds}"
    );
    assert_eq!(host.send_udp("10.0.0.2", b"x"), Err(Error::NetworkUnreachable));
    assert!(!host.network.is_local(ip("10.0.0.1"), None));
    let ids: Vec<_> = host.network.interfaces().iter().map(|interface| interface.id).collect();
    assert_eq!(ids, [second, third]);
    for (id, to) in [(second, "10.1.0.2"), (third, "10.2.0.2")] {
        assert!(host.send_udp(to, b"x").unwrap().is_some());
        assert!(host.with(|network, ctx| network.set_mtu(ctx, id, 1400)).is_ok());
    }
    // Its frames are for nobody, and its timers are gone.
    host.receive(crate::testing::arp_request(mac(2), [10, 0, 0, 2].into(), [10, 0, 0, 1].into()));
    assert_eq!(host.stats.drops(DropReason::NoInterface), 1);
    assert_eq!(host.network.poll_timeout(), None);
    // Numbers are not used again, and names are.
    let fourth = host.add_interface(Medium::Ip, 1500, &["10.0.0.1/24"]);
    assert_eq!(fourth, InterfaceId(3));
    assert_eq!(host.network.interface_name(fourth), Some("if3"));
    assert!(host.send_udp("10.0.0.2", b"x").unwrap().is_some());
    for (id, mtu) in [(second, 1400), (third, 1400), (fourth, 1500)] {
        assert_eq!(host.network.link(id).map(|link| link.mtu), Some(mtu));
    }
    assert_eq!(host.with(|network, ctx| network.remove_interface(ctx, IFACE)), Err(Error::InvalidArgument));
}

#[test]
fn when_all_numbers_were_used_free_ones_are_used_again() {
    let mut host = Host::bare();
    let kept = host.add_interface(Medium::Ip, 1500, &["10.0.0.1/24"]);
    host.network.next_interface = InterfaceId(InterfaceId::LOOPBACK.0 - 1);
    let last = host.add_interface(Medium::Ip, 1500, &["10.1.0.1/24"]);
    let again = host.add_interface(Medium::Ip, 1500, &["10.2.0.1/24"]);
    assert_eq!([kept.0, last.0, again.0], [0, InterfaceId::LOOPBACK.0 - 1, 1]);
    let ids: Vec<_> = host.network.interfaces().iter().map(|interface| interface.id).collect();
    assert_eq!(ids, [kept, again, last]);
    for to in ["10.0.0.2", "10.1.0.2", "10.2.0.2"] {
        assert!(host.send_udp(to, b"x").unwrap().is_some());
    }
}

#[test]
fn fragments_of_a_removed_interface_are_dropped() {
    let mut host = Host::ip_medium(&["10.0.0.1/24"]);
    let whole = crate::testing::PacketBuilder::new(ip("10.0.0.2"), ip("10.0.0.1")).udp(1, 2, &[7; 100]);
    let mut first = whole[..20 + 48].to_vec();
    first[2..4].copy_from_slice(&68u16.to_be_bytes());
    first[6..8].copy_from_slice(&0x2000u16.to_be_bytes());
    first[10..12].copy_from_slice(&[0, 0]);
    let sum = crate::testing::internet_checksum(&[&first[..20]]);
    first[10..12].copy_from_slice(&sum.to_be_bytes());
    let empty = host.network.memory_bytes();
    host.receive(first);
    assert!(host.network.memory_bytes() > empty);
    host.with(|network, ctx| network.remove_interface(ctx, IFACE)).unwrap();
    assert_eq!(host.stats.drops(DropReason::LinkDown), 1);
    assert_eq!(host.network.poll_timeout(), None);
}
