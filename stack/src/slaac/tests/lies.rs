//! Routers that lie: absurd values, more than there is room for, and any bytes.

use super::*;
use proptest::prelude::*;

/// How many of each kind there may be.
const ROUTERS: usize = 16;
const PREFIXES: usize = 32;
const ROUTES: usize = 64;
const NAMES: usize = 8;
/// The default of [`SlaacConfig::max_addresses`], the link-local one included.
const ADDRESSES: usize = 16;

fn is_bounded(host: &Host) -> bool {
    let info = host.stack.slaac(host.iface).unwrap();
    let count =
        |of: fn(&crate::AdvertisedRoute) -> bool| info.routes.iter().filter(|route| of(route)).count();
    count(|route| route.gateway.is_none()) <= PREFIXES
        && count(|route| route.gateway.is_some() && route.destination.prefix_len == 0) <= ROUTERS
        && count(|route| route.gateway.is_some() && route.destination.prefix_len > 0) <= ROUTES
        && info.name_servers.len() <= NAMES
        && info.search_domains.len() <= NAMES
        && info.addresses.len() < ADDRESSES
        && host.stack.interfaces()[0].addresses.len() <= ADDRESSES
        && host.stack.routes().len() <= PREFIXES + ROUTERS + ROUTES + ADDRESSES
}

#[test]
fn values_that_no_host_can_use_are_left_out_and_counted() {
    let cases: &[(&str, AdvertisementBuilder)] = &[
        ("a group", router(1).prefix(addr("ff05::"), 64, BOTH, 900, 900)),
        ("link-local", router(1).prefix(addr("fe80:0:0:1::"), 64, BOTH, 900, 900)),
        ("the whole Internet", router(1).prefix(addr("2001:db8::"), 0, BOTH, 900, 900)),
        ("preferred longer than valid", router(1).prefix(addr("2001:db8::"), 64, BOTH, 900, 901)),
        ("63 bits", router(1).prefix(addr("2001:db8::"), 63, AUTONOMOUS, 900, 900)),
        ("65 bits", router(1).prefix(addr("2001:db8::"), 65, AUTONOMOUS, 900, 900)),
        ("the network of ::", router(1).prefix(addr("::"), 64, AUTONOMOUS, 900, 900)),
        ("129 bits", router(1).prefix(addr("2001:db8::"), 129, BOTH, 900, 900)),
        ("an MTU below that of IPv6", router(1).mtu(1279)),
        ("an MTU above that of the device", router(1).mtu(1501)),
        ("an MTU of 4 GiB", router(1).mtu(u32::MAX)),
        ("a second MTU", router(1).mtu(1500).mtu(1280)),
        ("an hour and more of reachability", router(1).times(3_600_001, 0)),
        ("a minute and more between solicitations", router(1).times(0, 60_001)),
        ("a group as name server", router(1).name_servers(60, &[addr("ff02::1")])),
        ("nobody as name server", router(1).name_servers(60, &[addr("::")])),
        ("this host as name server", router(1).name_servers(60, &[addr("::1")])),
        ("a domain with a space", router(1).search_domains(60, &["a b.test"])),
        ("a domain that is too long", router(1).search_domains(60, &[&["abcdefg"; 32].join(".")])),
    ];
    for (what, advertisement) in cases {
        let mut host = Host::new();
        host.receive(advertisement);
        assert_eq!(host.drops(DropReason::BadAdvertisement), 1, "{what}");
        let info = host.stack.slaac(host.iface).unwrap();
        assert_eq!((info.addresses.len(), host.routes().len()), (0, 1), "{what}");
        assert_eq!((info.name_servers.len(), info.search_domains.len()), (0, 0), "{what}");
        assert!(info.mtu.is_none_or(|mtu| mtu == 1500), "{what}");
    }
}

#[test]
fn thousands_of_everything_fit_into_bounded_tables_and_the_first_stay() {
    let mut config = SlaacConfig::default().temporary(TemporaryAddresses::Preferred);
    config.max_route_prefix_len = 128;
    let mut host = Host::with(config, 0);
    let own = router(1)
        .prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000)
        .name_servers(9000, &[addr("2001:db8::53")]);
    host.receive(&own);
    let first = (host.routes(), host.addresses()[0].clone());
    for n in 2..1500 {
        let of = |kind| Ipv6Addr::new(0x2001, 0xdb8, kind, n, 0, 0, 0, 0);
        host.receive(
            &router(n)
                .prefix(of(2), 64, BOTH, u32::MAX, u32::MAX)
                .route(of(3), 64, 1, u32::MAX)
                .name_servers(u32::MAX, &[of(4)])
                .search_domains(u32::MAX, &[&format!("n{n}.test")]),
        );
        assert!(is_bounded(&host), "after {n}");
    }
    assert!(host.drops(DropReason::AdvertisementLimit) > 4 * 1400);
    assert!(first.0.iter().all(|route| host.routes().contains(route)));
    assert!(host.addresses().contains(&first.1));
    assert_eq!(host.stack.slaac(host.iface).unwrap().name_servers[0], addr("2001:db8::53"));
    assert!(host.events().len() <= 256);
    // A router that does not answer makes room.
    let gone = host.stack.routes().iter().find(|route| route.destination == Cidr::ANY_V6).unwrap().gateway;
    let d = host.stack.socket(crate::Domain::V6, crate::SocketKind::Datagram).unwrap();
    host.stack.send_to(host.now, d, b"x", (addr("2001:db9::1"), 9)).unwrap();
    host.drain();
    host.advance(4);
    host.receive(&router(0x1388));
    let gateways = || host.stack.routes().iter().filter(|route| route.destination == Cidr::ANY_V6);
    assert!(gateways().any(|route| route.gateway == Some(addr("fe80::1388").into())));
    assert!(gateways().all(|route| route.gateway != gone));
}

#[test]
fn a_storm_of_advertisements_costs_nothing_that_stays() {
    let mut host = Host::with(SlaacConfig::default().temporary(TemporaryAddresses::Available), 0);
    let memory = |host: &Host| host.stack.memory_bytes();
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000));
    let before = (memory(&host), host.addresses());
    host.frames.clear();
    for n in 0..5000 {
        // Lifetimes that jump, so that temporary addresses are always about to end.
        let preferred = if n % 2 == 0 { 0 } else { 9000 };
        host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, preferred));
        host.stack.handle_timeout(host.now);
    }
    assert_eq!((memory(&host), host.addresses()), before);
    assert_eq!(host.frames.len(), 0);
}

fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(1u8), Just(3), Just(5), Just(24), Just(25), Just(31), any::<u8>()];
    (kind, prop::collection::vec(any::<u8>(), 0..40), 0..40u8).prop_map(|(kind, content, len)| {
        let units = (content.len() + 2).div_ceil(8) as u8;
        // Mostly the right length.
        let mut option = Vec::from([kind, if len < 38 { units } else { len }]);
        option.extend(content);
        option.resize(usize::from(units) * 8, 0);
        option
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// No bytes of an advertisement break anything, and each part that is not used is counted.
    #[test]
    fn any_advertisement_is_survived(
        fixed in prop::array::uniform12(any::<u8>()),
        advertisements in prop::collection::vec(prop::collection::vec(any_option(), 0..6), 1..6),
        secs in 0..100_000u64,
    ) {
        let mut config = SlaacConfig::default().temporary(TemporaryAddresses::Preferred);
        config.max_route_prefix_len = 128;
        let mut host = Host::with(config, 1);
        for options in advertisements {
            let [_, flags, _, _, ..] = fixed;
            let mut advertisement = router(1).hop_limit(fixed[0]).flags(flags)
                .lifetime(u16::from_be_bytes([fixed[2], fixed[3]]))
                .times(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]), fixed[11].into());
            for option in options {
                advertisement = advertisement.bytes(&option);
            }
            host.receive(&advertisement);
            prop_assert!(is_bounded(&host));
        }
        host.advance(secs);
        prop_assert!(is_bounded(&host));
        for (cidr, _) in host.states() {
            prop_assert!(cidr.prefix_len == 64);
        }
    }
}
