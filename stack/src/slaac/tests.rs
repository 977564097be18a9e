//! Autoconfiguration through the front of a stack: advertisements in, addresses and routes out.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::time::Duration;

use crate::testing::{AUTONOMOUS, AdvertisementBuilder, ON_LINK};
use crate::{
    AddressState, Cidr, Config, DropReason, Forwarding, Frame, Instant, InterfaceConfig, InterfaceId,
    InterfaceIdentifiers, LinkState, MacAddr, Medium, NetworkEvent, SlaacConfig, Stack, TemporaryAddresses,
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BOTH: u8 = ON_LINK | AUTONOMOUS;

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn router(last: u16) -> AdvertisementBuilder {
    AdvertisementBuilder::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), ROUTER_MAC)
}

/// A host with one interface that configures itself.
struct Host {
    stack: Stack,
    iface: InterfaceId,
    now: Instant,
    /// What it has sent.
    frames: Vec<Vec<u8>>,
}

impl Host {
    /// Addresses contain the MAC address, and are used without probes.
    fn new() -> Host {
        Host::with(SlaacConfig::default().identifiers(InterfaceIdentifiers::Eui64), 0)
    }

    fn with(slaac: SlaacConfig, probes: u8) -> Host {
        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = probes;
        let mut stack = Stack::new(config, [7; 32], Instant::ZERO);
        let link = InterfaceConfig::new(Medium::Ethernet(MAC)).slaac(slaac);
        let iface = stack.add_interface(Instant::ZERO, link).unwrap();
        let mut host = Host { stack, iface, now: Instant::ZERO, frames: Vec::new() };
        host.advance(5);
        host.events();
        host
    }

    fn receive(&mut self, advertisement: &AdvertisementBuilder) {
        self.receive_frame(advertisement.build());
    }

    fn receive_frame(&mut self, frame: Vec<u8>) {
        self.stack.handle_frame(self.now, self.iface, Frame::new(frame));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(frame) = self.stack.poll_transmit(self.now) {
            self.frames.push(frame.to_vec());
        }
    }

    /// Lets seconds pass, and fires each timer at its time.
    fn advance(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        while let Some(at) = self.stack.next_timeout_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    /// The addresses that are not link-local, with the seconds for which they are preferred and
    /// valid.
    fn addresses(&self) -> Vec<String> {
        let secs = |until: Option<Instant>| until.map_or(-1, |at| (at - self.now).as_secs() as i64);
        let infos = self.stack.slaac(self.iface).unwrap().addresses;
        let text = |info: &crate::AutoAddressInfo| {
            let kind = if info.is_temporary { " temporary" } else { "" };
            format!("{} {} {}{kind}", info.cidr, secs(info.preferred_until), secs(info.valid_until))
        };
        infos.iter().map(text).collect()
    }

    /// The same addresses, as the interface has them.
    fn states(&self) -> Vec<(Cidr, AddressState)> {
        let is_own = |cidr: &Cidr| matches!(cidr.addr.to_string().split(':').next(), Some("2001" | "fd00"));
        let addresses = self.stack.interfaces().remove(0).addresses;
        addresses.into_iter().filter(|(cidr, _)| is_own(cidr)).collect()
    }

    fn routes(&self) -> Vec<String> {
        let of_interest = self.stack.routes().iter().filter(|route| route.metric > 0);
        let text = |route: &crate::Route| match route.gateway {
            Some(gateway) => format!("{} via {gateway}", route.destination),
            None => format!("{}", route.destination),
        };
        of_interest.map(text).collect()
    }

    fn events(&mut self) -> Vec<String> {
        let text = |event: NetworkEvent| match event {
            NetworkEvent::AddressUsable { cidr, .. } => format!("+{cidr}"),
            NetworkEvent::AddressDuplicated { cidr, .. } => format!("!{cidr}"),
            NetworkEvent::AddressDeprecated { cidr, .. } => format!("~{cidr}"),
            NetworkEvent::AddressRemoved { cidr, .. } => format!("-{cidr}"),
            NetworkEvent::RouteAdded(route) => format!("+route {}", route.destination),
            NetworkEvent::RouteRemoved(route) => format!("-route {}", route.destination),
            NetworkEvent::NameServersChanged { .. } => "names".to_string(),
            NetworkEvent::Missed => "missed".to_string(),
            NetworkEvent::InterfaceAdded { .. } => "added".to_string(),
            NetworkEvent::InterfaceRemoved { .. } => "removed".to_string(),
            NetworkEvent::LinkUp { .. } => "up".to_string(),
            NetworkEvent::LinkDown { .. } => "down".to_string(),
        };
        core::iter::from_fn(|| self.stack.poll_network_event()).map(text).collect()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.stack.stats().drops(reason)
    }

    /// How often routers were solicited.
    fn solicitations(&self) -> usize {
        self.frames.iter().filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] == 133).count()
    }

    /// Another station answers the probe for the address that was probed last.
    fn contest(&mut self) -> Ipv6Addr {
        let is_probe = |frame: &&Vec<u8>| frame[54] == 135 && frame[22..38] == [0; 16];
        let probe = self.frames.iter().rfind(is_probe).expect("a probe");
        let target = Ipv6Addr::from(*probe[62..].first_chunk::<16>().unwrap());
        let answer = crate::testing::neighbor_advertisement(ROUTER_MAC, target, MAC, addr("ff02::1"));
        // Not solicited: it goes to a group.
        let mut frame = answer;
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        frame[58] = 0x20;
        let sum = u16::from_be_bytes([frame[56], frame[57]]);
        let fixed = sum.checked_add(0x4000).unwrap_or_else(|| sum.wrapping_add(0x4001));
        frame[56..58].copy_from_slice(&fixed.to_be_bytes());
        self.receive_frame(frame);
        target
    }
}

#[test]
fn a_router_brings_an_address_routes_and_names() {
    let mut host = Host::new();
    host.receive(
        &router(1)
            .source_mac()
            .prefix(addr("2001:db8:1::77"), 64, BOTH, 86400, 14400)
            .mtu(1400)
            .hop_limit(99)
            .name_servers(600, &[addr("2001:db8::53"), addr("fe80::1")])
            .search_domains(600, &["Example.test", "lab.example.test"]),
    );
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 14400 86400"]);
    assert_eq!(host.routes(), ["2001:db8:1::/64", "::/0 via fe80::1"]);
    let info = host.stack.slaac(host.iface).unwrap();
    assert_eq!((info.mtu, info.hop_limit), (Some(1400), Some(99)));
    assert_eq!(info.name_servers, [addr("2001:db8::53"), addr("fe80::1")]);
    assert_eq!(info.search_domains, ["example.test", "lab.example.test"]);
    // RFC 4861 §6.3.4: the router's link address is known.
    assert_eq!(host.stack.neighbors(host.iface)[0].mac, Some(ROUTER_MAC));
    let mut events = host.events();
    events.sort();
    let address = "+2001:db8:1::ff:fe00:9/64";
    assert_eq!(events, [address, "+route 2001:db8:1::/64", "+route ::/0", "names"]);
    // The same again brings no event, and the router goes with its lifetime.
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 86400, 14400).lifetime(60));
    assert_eq!(host.events(), [""; 0]);
    host.advance(60);
    assert_eq!(host.events(), ["-route ::/0"]);
    host.advance(540);
    assert_eq!(host.events(), ["names"]);
    host.advance(14400 - 600);
    assert_eq!(host.events(), ["~2001:db8:1::ff:fe00:9/64"]);
    host.advance(86400);
    let mut events = host.events();
    events.sort();
    assert_eq!(events, ["-2001:db8:1::ff:fe00:9/64", "-route 2001:db8:1::/64"]);
    assert_eq!((host.addresses().len(), host.routes().len()), (0, 0));
}

#[test]
fn what_is_sent_has_the_advertised_hop_limit_and_mtu() {
    let mut host = Host::new();
    host.receive(
        &router(1).source_mac().prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900).mtu(1280).hop_limit(9),
    );
    let d = host.stack.socket(crate::Domain::V6, crate::SocketKind::Datagram).unwrap();
    host.frames.clear();
    host.stack.send_to(host.now, d, &[7; 1300], (addr("2001:db8:2::1"), 9)).unwrap();
    host.drain();
    assert_eq!(host.frames.len(), 2, "fragments of at most 1,280 bytes");
    for frame in &host.frames {
        assert!(frame.len() <= 14 + 1280 && frame[..6] == ROUTER_MAC.0 && frame[14 + 7] == 9);
    }
    // IPv4 keeps the MTU of the device, and what an advertisement does not say stays.
    host.receive(&router(1).hop_limit(0));
    let info = host.stack.slaac(host.iface).unwrap();
    assert_eq!((info.mtu, info.hop_limit), (Some(1280), Some(9)));
    // With the end of autoconfiguration all of it goes.
    host.stack.set_slaac(host.now, host.iface, None).unwrap();
    assert!(host.stack.slaac(host.iface).is_none() && host.states().is_empty() && host.routes().is_empty());
    host.stack.add_address(host.now, host.iface, "2001:db8:2::2/64".parse().unwrap()).unwrap();
    host.frames.clear();
    host.receive_frame(crate::testing::neighbor_advertisement(
        ROUTER_MAC,
        addr("2001:db8:2::1"),
        MAC,
        addr("2001:db8:2::2"),
    ));
    host.stack.send_to(host.now, d, &[7; 1300], (addr("ff02::1:2"), 9)).unwrap();
    host.drain();
    assert!(host.frames.iter().any(|frame| frame.len() == 14 + 40 + 8 + 1300), "{}", host.frames.len());
}

#[test]
fn rfc4862_5_5_3_an_advertisement_shortens_a_valid_lifetime_to_two_hours() {
    let mut host = Host::new();
    let prefix = |valid, preferred| router(1).prefix(addr("2001:db8:1::"), 64, BOTH, valid, preferred);
    host.receive(&prefix(86400, 14400));
    host.receive(&prefix(100, 50));
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 50 7200"]);
    host.advance(1000);
    host.receive(&prefix(0, 0));
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 0 6200"]);
    host.receive(&prefix(6201, 0));
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 0 6201"]);
    host.receive(&prefix(u32::MAX, u32::MAX));
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 -1 -1"]);
    host.receive(&prefix(7201, 1));
    assert_eq!(host.addresses(), ["2001:db8:1::ff:fe00:9/64 1 7201"]);
    // A new prefix is taken as it is, and one that is not valid is not taken at all.
    host.receive(&router(1).prefix(addr("2001:db8:2::"), 64, BOTH, 30, 20));
    host.receive(&router(1).prefix(addr("2001:db8:3::"), 64, BOTH, 0, 0));
    assert_eq!(host.addresses()[1..], ["2001:db8:2::ff:fe00:9/64 20 30"]);
}

#[test]
fn an_address_that_stays_deprecated_is_reported_once() {
    let mut host = Host::new();
    let deprecated = router(1).prefix(addr("2001:db8:1::"), 64, AUTONOMOUS, 900, 0);
    for _ in 0..3 {
        host.receive(&deprecated);
        host.advance(10);
    }
    let address = "2001:db8:1::ff:fe00:9/64";
    assert_eq!(host.events(), ["+route ::/0".to_string(), format!("+{address}"), format!("~{address}")]);
    assert_eq!(host.states(), [(address.parse().unwrap(), AddressState::Deprecated)]);
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, AUTONOMOUS, 900, 60));
    assert_eq!(host.states(), [(address.parse().unwrap(), AddressState::Preferred)]);
    host.advance(60);
    assert_eq!(host.events(), [format!("~{address}")]);
}

#[test]
fn routers_are_solicited_until_one_advertises() {
    let mut host = Host::with(SlaacConfig::default(), 1);
    // The link-local address was probed for a second, then one was sent within a second.
    assert_eq!(host.solicitations(), 1);
    let first = host.frames.iter().find(|frame| frame[54] == 133).unwrap();
    assert_eq!(first[22..38], addr("fe80::ff:fe00:9").octets());
    host.advance(40);
    assert_eq!(host.solicitations(), 4);
    host.receive(&router(1));
    host.advance(1700);
    assert_eq!(host.solicitations(), 4);
}

#[test]
fn routers_are_used_by_preference_and_those_that_do_not_answer_last() {
    let mut host = Host::new();
    let prefix = addr("2001:db8:1::");
    host.receive(&router(1).prefix(prefix, 64, AUTONOMOUS, 900, 900));
    host.receive(&router(2).flags(1 << 3));
    host.receive(&router(3).flags(3 << 3));
    host.receive(&router(4));
    let gateways = ["::/0 via fe80::2", "::/0 via fe80::1", "::/0 via fe80::4", "::/0 via fe80::3"];
    assert_eq!(host.routes(), gateways);
    // Nobody answers for fe80::2: after three solicitations others are used.
    let d = host.stack.socket(crate::Domain::V6, crate::SocketKind::Datagram).unwrap();
    host.stack.send_to(host.now, d, b"x", (addr("2001:db8:2::1"), 9)).unwrap();
    host.drain();
    host.advance(4);
    let gateways = ["::/0 via fe80::1", "::/0 via fe80::4", "::/0 via fe80::3", "::/0 via fe80::2"];
    assert_eq!(host.routes(), gateways);
    assert_eq!(
        host.stack.slaac(host.iface).unwrap().routes.iter().filter(|route| route.is_suspect).count(),
        1
    );
    // RFC 4861 §6.3.6: if none answers, they take turns.
    for last in [1, 4, 3] {
        host.stack.send_to(host.now, d, b"x", (addr("2001:db8:2::1"), 9)).unwrap_or_default();
        host.drain();
        host.advance(4);
        assert_eq!(host.routes().last(), Some(&format!("::/0 via fe80::{last}")));
    }
    // An advertisement shows that the router lives.
    host.receive(&router(2).flags(1 << 3));
    assert_eq!(host.routes()[0], "::/0 via fe80::2");
}

#[test]
fn rfc_4191_routes_are_followed_up_to_a_length() {
    let mut config = SlaacConfig::default();
    let all = router(1).route(addr("2001:db8:7::"), 48, 1, 600).route(Ipv6Addr::UNSPECIFIED, 0, 1, 900);
    let mut host = Host::with(config.clone(), 0);
    host.receive(&all.clone().lifetime(0));
    assert_eq!(host.routes(), ["::/0 via fe80::1"]);
    config.max_route_prefix_len = 64;
    let mut host = Host::with(config, 0);
    host.receive(&all);
    assert_eq!(host.routes(), ["2001:db8:7::/48 via fe80::1", "::/0 via fe80::1"]);
    host.receive(&router(1).route(addr("2001:db8:7::"), 48, 1, 0).route(addr("fe80::"), 10, 1, 60));
    assert_eq!(host.routes(), ["::/0 via fe80::1"]);
    assert_eq!(host.drops(DropReason::BadAdvertisement), 1);
}

#[test]
fn rfc7217_a_duplicate_gets_another_address_a_few_times() {
    let mut host = Host::with(SlaacConfig::default().secret([3; 16]), 1);
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000));
    let mut tried = Vec::new();
    for _ in 0..4 {
        assert_eq!(host.states().last().map(|(_, state)| *state), Some(AddressState::Tentative));
        tried.push(host.contest());
        // IDGEN_DELAY.
        host.advance(1);
    }
    tried.sort();
    tried.dedup();
    assert_eq!((tried.len(), host.states().len(), host.addresses().len()), (4, 0, 0));
    // Another advertisement does not begin anew.
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000));
    host.advance(2);
    assert_eq!(host.states(), []);
    // A host with the same secret tries the same addresses.
    let mut twin = Host::with(SlaacConfig::default().secret([3; 16]), 1);
    twin.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000));
    assert!(tried.contains(&twin.contest()));
    twin.advance(3);
    assert_eq!(twin.states()[0].1, AddressState::Preferred);
    assert_eq!(twin.addresses()[0].split(' ').nth(1), Some("8997"));
}

fn with_temporary(temporary: TemporaryAddresses) -> SlaacConfig {
    let mut config = SlaacConfig::default().identifiers(InterfaceIdentifiers::Eui64).temporary(temporary);
    (config.temporary_preferred, config.max_desync) = (Duration::from_secs(1000), Duration::from_secs(100));
    config.temporary_valid = Duration::from_secs(3000);
    config
}

#[test]
fn rfc8981_temporary_addresses_follow_each_other_and_are_preferred_by_choice() {
    for temporary in [TemporaryAddresses::Available, TemporaryAddresses::Preferred] {
        let mut host = Host::with(with_temporary(temporary), 0);
        let prefix = router(1).lifetime(9000).prefix(addr("2001:db8:1::"), 64, BOTH, u32::MAX, u32::MAX);
        host.receive(&prefix);
        let created_at = host.now;
        let infos = host.stack.slaac(host.iface).unwrap().addresses;
        assert_eq!(infos.iter().map(|info| info.is_temporary).collect::<Vec<_>>(), [false, true]);
        let preferred_until = infos[1].preferred_until.unwrap();
        assert!((900..=1000).contains(&(preferred_until - created_at).as_secs()), "DESYNC_FACTOR");
        assert_eq!(infos[1].valid_until, Some(created_at + Duration::from_secs(3000)));
        let d = host.stack.socket(crate::Domain::V6, crate::SocketKind::Datagram).unwrap();
        host.stack.connect(host.now, d, (addr("2001:db8:2::1"), 9)).unwrap();
        let wanted = infos[usize::from(temporary == TemporaryAddresses::Preferred)].cidr.addr;
        assert_eq!(host.stack.local_addr(d).unwrap().ip(), wanted);

        // REGEN_ADVANCE before its end, without probes two seconds, there is the next one.
        host.advance((preferred_until - host.now).as_secs() - 3);
        assert_eq!(host.addresses().len(), 2);
        host.advance(2);
        assert_eq!(host.addresses().len(), 3);
        host.advance(2);
        assert_eq!(host.states()[1].1, AddressState::Deprecated);
        // Advertisements do not give them more time than that, nor another address.
        host.events();
        host.receive(&prefix);
        assert_eq!((host.states()[1].1, host.addresses().len()), (AddressState::Deprecated, 3));
        assert_eq!(host.events(), [""; 0]);
        host.advance(10_000);
        let count = host.addresses().len();
        assert!((4..=5).contains(&count), "{:?}", host.addresses());
    }
}

#[test]
fn rfc8981_temporary_addresses_live_as_long_as_their_prefix() {
    let mut host = Host::with(with_temporary(TemporaryAddresses::Preferred), 0);
    let prefix = |valid, preferred| router(1).prefix(addr("2001:db8:1::"), 64, BOTH, valid, preferred);
    // RFC 8981 §3.4 (RFC8981-3.4-c): not for less than REGEN_ADVANCE.
    host.receive(&prefix(600, 2));
    assert_eq!(host.addresses().len(), 1);
    host.receive(&prefix(600, 300));
    assert!(host.addresses()[1].ends_with(" 300 600 temporary"), "{:?}", host.addresses());
    host.advance(100);
    host.receive(&prefix(700, 350));
    assert!(host.addresses()[1].ends_with(" 350 700 temporary"), "{:?}", host.addresses());
    host.receive(&prefix(0, 0));
    assert!(host.addresses()[1].ends_with(" 0 700 temporary"), "{:?}", host.addresses());
    host.advance(700);
    assert_eq!(host.states(), []);
}

#[test]
fn rfc8981_temporary_duplicates_end_temporary_addresses() {
    let mut host = Host::with(with_temporary(TemporaryAddresses::Available), 1);
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 9000, 9000));
    let mut tried = Vec::new();
    for _ in 0..4 {
        tried.push(host.contest());
        // The next one is there at once, and probed.
        host.advance(0);
    }
    tried.dedup();
    assert_eq!(tried.len(), 4);
    host.advance(3);
    assert_eq!(host.states().len(), 1, "{:?}", host.states());
    host.advance(3000);
    host.receive(&router(1).prefix(addr("2001:db8:2::"), 64, BOTH, 9000, 9000));
    assert_eq!(host.states().len(), 2, "{:?}", host.states());
}

#[test]
fn a_host_that_forwards_ignores_routers_unless_told_otherwise() {
    let mut config = SlaacConfig::default();
    let mut host = Host::with(config.clone(), 0);
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900));
    host.stack.set_forwarding(host.now, host.iface, Forwarding::ALL).unwrap();
    assert_eq!(host.routes(), ["2001:db8:1::/64"]);
    host.receive(&router(1));
    assert_eq!(host.drops(DropReason::UnneededNeighbor), 1);
    host.frames.clear();
    host.advance(20);
    assert_eq!(host.solicitations(), 0);
    host.stack.set_forwarding(host.now, host.iface, Forwarding::NONE).unwrap();
    host.advance(1);
    assert_eq!(host.solicitations(), 1);
    host.receive(&router(1));
    assert_eq!(host.routes(), ["2001:db8:1::/64", "::/0 via fe80::1"]);

    config.even_if_forwarding = true;
    let mut host = Host::with(config, 0);
    host.stack.set_forwarding(host.now, host.iface, Forwarding::ALL).unwrap();
    host.receive(&router(1));
    assert_eq!(host.routes(), ["::/0 via fe80::1"]);
}

#[test]
fn interfaces_that_cannot_configure_themselves_say_so() {
    let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
    let refused = crate::Error::InvalidArgument;
    for link in [InterfaceConfig::new(Medium::Ip), InterfaceConfig::new(Medium::Ethernet(MAC)).mtu(1279)] {
        let added = stack.add_interface(Instant::ZERO, link.clone().slaac(SlaacConfig::default()));
        assert_eq!(added, Err(refused));
        let iface = stack.add_interface(Instant::ZERO, link).unwrap();
        assert_eq!(stack.set_slaac(Instant::ZERO, iface, Some(SlaacConfig::default())), Err(refused));
        assert_eq!(stack.set_slaac(Instant::ZERO, iface, None), Ok(()));
    }
    assert_eq!(stack.interfaces().len(), 2);
    assert_eq!(stack.set_slaac(Instant::ZERO, InterfaceId::LOOPBACK, None), Err(refused));
    let steering = crate::Steering::new(2, [7; 16]);
    let share = crate::steering::Share::new(steering, 0);
    let mut stack = Stack::with_share(Config::default(), share, [7; 32], Instant::ZERO);
    let link = InterfaceConfig::new(Medium::Ethernet(MAC)).slaac(SlaacConfig::default());
    assert_eq!(stack.add_interface(Instant::ZERO, link), Err(crate::Error::NotSupported));
}

#[test]
fn without_autoconfiguration_advertisements_change_nothing() {
    let mut host = Host::new();
    host.stack.set_slaac(host.now, host.iface, None).unwrap();
    host.events();
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900));
    assert_eq!((host.drops(DropReason::UnneededNeighbor), host.events().len()), (1, 0));
    host.receive(&router(1).code(1));
    assert_eq!(host.drops(DropReason::BadNdp), 1);
}

#[test]
fn a_link_that_is_back_is_asked_for_routers_and_one_without_ipv6_loses_them() {
    let mut host = Host::new();
    host.receive(
        &router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900).name_servers(900, &[addr("fe80::1")]),
    );
    host.frames.clear();
    host.stack.set_link(host.now, host.iface, LinkState::Down).unwrap();
    host.stack.set_link(host.now, host.iface, LinkState::Up).unwrap();
    assert_eq!((host.addresses().len(), host.routes().len()), (1, 2));
    host.advance(2);
    assert_eq!(host.solicitations(), 1);
    host.receive(&router(1));

    host.stack.set_mac(host.now, host.iface, MacAddr([2, 0, 0, 0, 0, 0x77])).unwrap();
    host.receive(&router(1).prefix(addr("2001:db8:2::"), 64, BOTH, 900, 900));
    assert!(host.addresses()[1].starts_with("2001:db8:2::ff:fe00:77/64"), "{:?}", host.addresses());

    host.stack.set_mtu(host.now, host.iface, 1279).unwrap();
    assert_eq!((host.addresses().len(), host.states().len(), host.routes().len()), (0, 0, 0));
    assert_eq!(host.stack.slaac(host.iface).unwrap().name_servers.len(), 0);
    host.receive(&router(1));
    assert_eq!(host.routes().len(), 0);
    host.frames.clear();
    host.stack.set_mtu(host.now, host.iface, 1500).unwrap();
    host.advance(2);
    assert_eq!(host.solicitations(), 1);
    host.receive(&router(1));
    assert_eq!(host.routes().len(), 1);
}

#[test]
fn an_interface_that_is_removed_takes_what_it_has_learned_with_it() {
    let mut host = Host::new();
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900));
    host.stack.remove_interface(host.now, host.iface).unwrap();
    assert!(host.stack.slaac(host.iface).is_none() && host.routes().is_empty());
    // Interfaces that are added later configure themselves, too.
    let link = InterfaceConfig::new(Medium::Ethernet(MAC)).slaac(SlaacConfig::default());
    host.iface = host.stack.add_interface(host.now, link).unwrap();
    host.advance(2);
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 900, 900));
    assert_eq!((host.addresses().len(), host.states().len(), host.routes().len()), (1, 1, 2));
}

#[test]
fn an_address_of_a_program_is_left_alone() {
    let mut host = Host::new();
    let cidr: Cidr = "2001:db8:1::ff:fe00:9/64".parse().unwrap();
    host.stack.add_address(host.now, host.iface, cidr).unwrap();
    host.receive(&router(1).prefix(addr("2001:db8:1::"), 64, BOTH, 60, 60));
    assert_eq!(host.addresses().len(), 0);
    host.advance(100);
    assert_eq!(host.states(), [(cidr, AddressState::Preferred)]);
}

#[test]
fn names_are_renewed_and_removed() {
    let mut host = Host::new();
    let [first, second] = ["2001:db8::53", "2001:db8::54"].map(addr);
    host.receive(&router(1).name_servers(100, &[first, second]).search_domains(100, &["a.test", "b.test"]));
    assert_eq!(host.events(), ["+route ::/0", "names"]);
    // Only the lifetime changes.
    host.receive(&router(1).name_servers(u32::MAX, &[first]).search_domains(200, &["a.test"]));
    assert_eq!(host.events(), [""; 0]);
    host.advance(100);
    let info = host.stack.slaac(host.iface).unwrap();
    assert_eq!((info.name_servers, info.search_domains), (vec![first], vec!["a.test".to_string()]));
    assert_eq!(host.events(), ["names"]);
    host.receive(&router(1).name_servers(0, &[first, second]));
    assert_eq!(host.events(), ["names"]);
    host.advance(100);
    let info = host.stack.slaac(host.iface).unwrap();
    assert_eq!((info.name_servers.len(), info.search_domains.len()), (0, 0));
}

mod lies;
