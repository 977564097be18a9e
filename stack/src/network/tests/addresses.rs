//! Addresses that come and go: lifetimes, and the events about addresses and routes.

use super::*;
use crate::iface::address::{AddressLifetime, AddressState};
use crate::iface::event::NetworkEvent;

const SECOND: Duration = Duration::from_secs(1);

fn events(host: &mut Host) -> Vec<NetworkEvent> {
    core::iter::from_fn(|| host.network.poll_network_event()).collect()
}

fn add(host: &mut Host, text: &str) -> Result<()> {
    host.with(|network, ctx| network.add_address(ctx, IFACE, cidr(text)))
}

fn set_lifetime(host: &mut Host, addr: &str, lifetime: AddressLifetime) -> Result<()> {
    host.with(|network, ctx| network.set_address_lifetime(ctx, IFACE, ip(addr), lifetime))
}

fn state(host: &Host, text: &str) -> Option<AddressState> {
    let addresses = &host.network.interfaces()[0].addresses;
    addresses.iter().find(|(other, _)| *other == cidr(text)).map(|&(_, state)| state)
}

/// The addresses of either family: one with a lifetime, one without, and a destination.
const FAMILIES: [(&str, &str, &str); 2] =
    [("10.0.0.5/24", "10.1.0.1/24", "10.0.0.9"), ("fd00::5/64", "fd01::1/64", "fd00::9")];

#[test]
fn rfc_4862_5_5_4_an_address_is_deprecated_and_then_removed() {
    for (leased, other, peer) in FAMILIES {
        let mut host = Host::ip_medium(&[leased, other]);
        let addr = cidr(leased).addr;
        host.network
            .add_route(Route::new(cidr(if addr.is_ipv4() { "0.0.0.0/0" } else { "::/0" }), IFACE))
            .unwrap();
        events(&mut host);
        let lifetime = AddressLifetime::valid_for(20 * SECOND).preferred_for(10 * SECOND);
        set_lifetime(&mut host, &std::format!("{addr}"), lifetime).unwrap();
        assert_eq!(host.network.source_for(ip(peer), None), Ok(addr));
        assert_eq!(host.network.poll_timeout(), Some(Instant::from_secs(10)));

        host.advance(10 * SECOND);
        let iface = IFACE;
        assert_eq!(events(&mut host), [NetworkEvent::AddressDeprecated { iface, cidr: cidr(leased) }]);
        assert_eq!(state(&host, leased), Some(AddressState::Deprecated));
        // RFC 6724 rule 3: for new connections another is better, but the old ones go on.
        assert_eq!(host.network.source_for(ip(peer), None), Ok(cidr(other).addr));
        assert!(host.network.is_local(addr, None));

        host.advance(10 * SECOND);
        let expected = [
            NetworkEvent::AddressRemoved { iface, cidr: cidr(leased) },
            NetworkEvent::RouteRemoved(Route::new(cidr(leased).network(), IFACE)),
        ];
        assert_eq!(events(&mut host), expected);
        assert_eq!((state(&host, leased), host.network.is_local(addr, None)), (None, false));
        assert_eq!(host.network.poll_timeout(), None);
        assert_eq!(
            set_lifetime(&mut host, &std::format!("{addr}"), lifetime),
            Err(Error::AddressNotAvailable)
        );
    }
}

#[test]
fn a_deprecated_address_is_better_than_none() {
    for (leased, _, peer) in FAMILIES {
        let mut host = Host::ip_medium(&[leased]);
        let addr = std::format!("{}", cidr(leased).addr);
        set_lifetime(&mut host, &addr, AddressLifetime::FOREVER.preferred_for(Duration::ZERO)).unwrap();
        assert_eq!(state(&host, leased), Some(AddressState::Deprecated));
        assert_eq!(host.network.source_for(ip(peer), None), Ok(ip(&addr)));
        // It is renewed.
        set_lifetime(&mut host, &addr, AddressLifetime::FOREVER).unwrap();
        assert_eq!(state(&host, leased), Some(AddressState::Preferred));
    }
}

#[test]
fn a_lifetime_is_extended_shortened_and_as_long_as_a_number_can_be() {
    let mut host = Host::ethernet(1, &["10.0.0.5/24"]);
    let set =
        |host: &mut Host, time| set_lifetime(host, "10.0.0.5", AddressLifetime::valid_for(time)).unwrap();
    set(&mut host, 10 * SECOND);
    host.advance(9 * SECOND);
    set(&mut host, 10 * SECOND);
    host.advance(9 * SECOND);
    assert_eq!(state(&host, "10.0.0.5/24"), Some(AddressState::Preferred));
    set(&mut host, Duration::MAX);
    host.advance(Duration::from_secs(100 * 365 * 86400));
    assert_eq!(state(&host, "10.0.0.5/24"), Some(AddressState::Preferred));
    set(&mut host, Duration::ZERO);
    assert_eq!(state(&host, "10.0.0.5/24"), None);
}

#[test]
fn events_say_when_an_address_can_be_used_and_when_it_cannot() {
    let mut host = Host::ethernet(1, &[]);
    events(&mut host);
    let (iface, [good, bad]) = (IFACE, ["10.0.0.5/24", "10.0.0.6/24"].map(cidr));
    add(&mut host, "10.0.0.5/24").unwrap();
    add(&mut host, "10.0.0.6/24").unwrap();
    assert_eq!(events(&mut host), [NetworkEvent::RouteAdded(Route::new(good.network(), IFACE))]);
    // Another station probes for the second.
    let mut other = Host::ethernet_with(2, &[], Config::default(), 1500);
    other.with(|network, ctx| network.add_address(ctx, IFACE, bad)).unwrap();
    other.frames().into_iter().for_each(|frame| host.receive(frame));
    assert_eq!(events(&mut host), [NetworkEvent::AddressDuplicated { iface, cidr: bad }]);
    host.advance(5 * SECOND);
    assert_eq!(events(&mut host), [NetworkEvent::AddressUsable { iface, cidr: good }]);

    // The route stays while another address is in the network.
    host.network.remove_address(host.now, IFACE, good.addr).unwrap();
    assert_eq!(events(&mut host), [NetworkEvent::AddressRemoved { iface, cidr: good }]);
    host.network.remove_address(host.now, IFACE, bad.addr).unwrap();
    let route = NetworkEvent::RouteRemoved(Route::new(good.network(), IFACE));
    assert_eq!(events(&mut host), [NetworkEvent::AddressRemoved { iface, cidr: bad }, route]);

    let mut host = Host::ip_medium(&["10.0.0.5/24"]);
    assert!(events(&mut host).contains(&NetworkEvent::AddressUsable { iface, cidr: good }), "nobody to ask");
    let default = Route::new(cidr("0.0.0.0/0"), IFACE).via(ip("10.0.0.1"));
    host.network.add_route(default).unwrap();
    host.network.remove_route(cidr("0.0.0.0/0"), IFACE).unwrap();
    assert_eq!(events(&mut host), [NetworkEvent::RouteAdded(default), NetworkEvent::RouteRemoved(default)]);
}

#[test]
fn events_that_nobody_asks_for_are_bounded() {
    let mut host = Host::ip_medium(&[]);
    for _ in 0..1000 {
        add(&mut host, "10.0.0.5/24").unwrap();
        host.network.remove_address(host.now, IFACE, ip("10.0.0.5")).unwrap();
    }
    let events = events(&mut host);
    assert_eq!(events[0], NetworkEvent::Missed);
    assert!(events.len() <= 257, "{}", events.len());
    assert_eq!(*events.last().unwrap(), NetworkEvent::RouteRemoved(Route::new(cidr("10.0.0.0/24"), IFACE)));
}
