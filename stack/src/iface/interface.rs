//! One interface: its link, its addresses, its neighbours.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{Address, AddressEvent, AddressLifetime, AddressState};
use super::cidr::Cidr;
use super::config::{InterfaceConfig, InterfaceInfo};
use super::event::NetworkEvent;
use super::forwarding::Forwarding;
use super::interception::{Interception, ProxyAnswers};
use super::link_state::LinkState;
use super::source::Candidate;
use super::zone::Zone;
use crate::config::{Config, NeighborConfig};
use crate::error::{Error, Result};
use crate::interface_id::InterfaceId;
use crate::ip::{Cast, is_class_e};
use crate::link::mac::MacAddr;
use crate::link::medium::Medium;
use crate::link::neighbor::{NeighborCache, PendingPackets};
use crate::multicast::InterfaceGroups;
use crate::offload::Offloads;
use crate::rng::Rng;
use crate::time::Instant;

/// The smallest MTU of an IPv6 link (RFC 8200 §5).
pub(crate) const IPV6_MIN_MTU: usize = 1280;
/// The smallest MTU of an IPv4 link (RFC 791 §3.2).
const IPV4_MIN_MTU: usize = 68;

/// An interface with its addresses and neighbours.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: InterfaceId,
    pub(crate) name: String,
    pub(crate) medium: Medium,
    pub(crate) link: LinkState,
    pub(crate) mtu: usize,
    /// What its device does for frames that are sent to it.
    pub(crate) offloads: Offloads,
    pub(crate) zone: Zone,
    pub(crate) neighbors: NeighborCache,
    /// The packets for other hosts that it takes, if any.
    pub(crate) interception: Option<Box<Interception>>,
    addresses: Vec<Address>,
    /// The changes of its addresses that were not collected yet.
    events: Vec<NetworkEvent>,
    /// The multicast groups that it listens to.
    groups: InterfaceGroups,
    forwarding: Forwarding,
    /// Whether temporary addresses are preferred to others.
    pub(crate) prefers_temporary: bool,
    /// The MTU for IPv6 and the hop limit that a router has advertised.
    advertised_mtu: Option<usize>,
    pub(crate) advertised_hop_limit: Option<u8>,
    /// The earliest timer of its addresses and groups.
    next_own_at: Option<Instant>,
}

/// The longest name of an interface (Linux's IFNAMSIZ less the NUL).
const MAX_NAME_BYTES: usize = 15;

/// Whether an interface may have this name (Linux's `dev_valid_name`).
pub(crate) fn is_valid_name(name: &str) -> bool {
    let is_odd = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(is_odd)
}

/// Whether a station may have the MAC address of this medium, if it has one.
fn has_valid_mac(medium: Medium) -> bool {
    medium.mac().is_none_or(MacAddr::is_station)
}

/// Whether a link may have this MTU.
fn is_valid_mtu(mtu: usize) -> bool {
    (IPV4_MIN_MTU..=usize::from(u16::MAX)).contains(&mtu)
}

impl Interface {
    /// An interface without addresses.
    pub(crate) fn new(
        id: InterfaceId,
        name: String,
        config: &InterfaceConfig,
        tunables: &Config,
        rng: &mut Rng,
    ) -> Result<Self> {
        let interception = &config.interception;
        if !has_valid_mac(config.medium) || !interception.is_valid() || !is_valid_mtu(config.mtu) {
            return Err(Error::InvalidArgument);
        }
        Ok(Interface {
            id,
            name,
            medium: config.medium,
            link: LinkState::Up,
            mtu: config.mtu,
            offloads: config.offloads,
            zone: config.zone,
            neighbors: NeighborCache::new(&tunables.neighbor, tunables.ip.max_queued_frames, rng),
            interception: (*interception != Interception::none()).then(|| interception.clone().into()),
            addresses: Vec::new(),
            events: Vec::new(),
            groups: InterfaceGroups::new(&tunables.multicast, true),
            forwarding: Forwarding::NONE,
            prefers_temporary: false,
            advertised_mtu: None,
            advertised_hop_limit: None,
            next_own_at: None,
        })
    }

    /// What is forwarded of what comes in through it.
    pub(crate) fn forwarding(&self) -> Forwarding {
        self.forwarding
    }

    /// Switches forwarding. An IPv6 router listens to the groups of all routers (RFC 4291 §2.8).
    pub(crate) fn set_forwarding(&mut self, now: Instant, forwarding: Forwarding) {
        if forwarding.v6 != self.forwarding.v6 {
            self.groups.set_router(now, forwarding.v6);
            self.rearm();
        }
        self.forwarding = forwarding;
    }

    /// Its MAC address; `None` unless it is on Ethernet.
    pub(crate) fn mac(&self) -> Option<MacAddr> {
        self.medium.mac()
    }

    /// Removes all addresses, because the interface is removed.
    pub(crate) fn remove_addresses(&mut self, now: Instant) {
        while !self.addresses.is_empty() {
            self.remove_at(now, 0);
        }
    }

    /// Sets whether its link carries frames. Returns the packets that waited for a neighbour, all
    /// of which are forgotten. When the link comes up, its stations learn our addresses and groups.
    pub(crate) fn set_link(
        &mut self,
        now: Instant,
        link: LinkState,
        config: &NeighborConfig,
    ) -> PendingPackets {
        self.link = link;
        match link {
            LinkState::Up => {
                self.events.push(NetworkEvent::LinkUp { iface: self.id });
                self.announce(now, config);
                PendingPackets::new()
            }
            LinkState::Down => {
                self.events.push(NetworkEvent::LinkDown { iface: self.id });
                self.neighbors.clear()
            }
        }
    }

    /// Sets the MTU. As on Linux, below the least MTU of IPv6 its IPv6 addresses are removed.
    /// EINVAL.
    pub(crate) fn set_mtu(&mut self, now: Instant, mtu: usize) -> Result<()> {
        if !is_valid_mtu(mtu) {
            return Err(Error::InvalidArgument);
        }
        self.mtu = mtu;
        if mtu < IPV6_MIN_MTU {
            while let Some(index) = self.addresses.iter().position(|address| address.cidr.addr.is_ipv6()) {
                self.remove_at(now, index);
            }
            self.rearm();
        }
        Ok(())
    }

    /// Sets the MAC address, and returns the packets that waited for a neighbour, all of which are
    /// forgotten (as Linux does). The other stations learn the address. EINVAL.
    pub(crate) fn set_mac(
        &mut self,
        now: Instant,
        mac: MacAddr,
        config: &NeighborConfig,
    ) -> Result<PendingPackets> {
        let medium = Medium::Ethernet(mac);
        if self.mac().is_none() || !has_valid_mac(medium) {
            return Err(Error::InvalidArgument);
        }
        self.medium = medium;
        self.announce(now, config);
        Ok(self.neighbors.clear())
    }

    /// Announces its addresses to the other stations, probes those that are not in use yet from the
    /// beginning, and reports its groups.
    fn announce(&mut self, now: Instant, config: &NeighborConfig) {
        if self.mac().is_some() {
            self.addresses.iter_mut().for_each(|address| address.begin_again(now, config));
        }
        self.groups.report_again(now);
        self.rearm();
    }

    /// Adds an address. On Ethernet it is probed before it is used.
    pub(crate) fn add_address(&mut self, now: Instant, cidr: Cidr, config: &NeighborConfig) -> Result<()> {
        let fits = match cidr.addr {
            IpAddr::V4(addr) => {
                !addr.is_broadcast()
                    && !is_class_e(addr)
                    && addr.octets()[0] != 0
                    && cidr.broadcast() != Some(addr)
            }
            IpAddr::V6(addr) => self.mtu >= IPV6_MIN_MTU && addr.to_ipv4_mapped().is_none(),
        };
        let addr = cidr.addr;
        if !cidr.is_valid() || !fits || addr.is_multicast() || addr.is_loopback() || addr.is_unspecified() {
            return Err(Error::InvalidArgument);
        }
        if self.addresses.iter().any(|address| address.cidr.addr == addr) {
            return Err(Error::AddressInUse);
        }
        let detect = matches!(self.medium, Medium::Ethernet(_));
        let address = Address::new(now, cidr, config, detect);
        if address.is_usable() {
            self.events.push(NetworkEvent::AddressUsable { iface: self.id, cidr });
        }
        self.addresses.push(address);
        // RFC 4862 §5.4.2: before the address is probed.
        self.groups.join_solicited_node(now, addr);
        self.rearm();
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, now: Instant, addr: IpAddr) -> Result<()> {
        let found = self.addresses.iter().position(|address| address.cidr.addr == addr);
        self.remove_at(now, found.ok_or(Error::AddressNotAvailable)?);
        self.rearm();
        Ok(())
    }

    fn remove_at(&mut self, now: Instant, index: usize) {
        let Address { cidr, state, .. } = self.addresses.remove(index);
        if state != AddressState::Duplicated {
            self.groups.leave_solicited_node(now, cidr.addr);
        }
        self.events.push(NetworkEvent::AddressRemoved { iface: self.id, cidr });
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The addresses that are in use.
    pub(crate) fn usable(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.addresses.iter().filter(|address| address.is_usable()).map(|address| address.cidr)
    }

    /// The addresses that packets may come from.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let candidate = |address: &Address| Candidate {
            cidr: address.cidr,
            iface: self.id,
            is_deprecated: address.is_deprecated,
            has_wanted_privacy: address.is_temporary == self.prefers_temporary,
        };
        self.addresses.iter().filter(|address| address.is_usable()).map(candidate)
    }

    /// Sets how long an address is used from now on.
    pub(crate) fn set_lifetime(
        &mut self,
        now: Instant,
        addr: IpAddr,
        lifetime: AddressLifetime,
    ) -> Result<()> {
        let found = self.addresses.iter_mut().find(|address| address.cidr.addr == addr);
        found.ok_or(Error::AddressNotAvailable)?.set_lifetime(now, lifetime);
        self.rearm();
        Ok(())
    }

    /// Marks an address as temporary (RFC 8981).
    pub(crate) fn mark_temporary(&mut self, addr: IpAddr) {
        let addresses = self.addresses.iter_mut();
        addresses.filter(|address| address.cidr.addr == addr).for_each(|address| address.is_temporary = true);
    }

    /// The size of the largest packet to an address of the same family as this one.
    #[inline]
    pub(crate) fn mtu_for(&self, addr: IpAddr) -> usize {
        self.advertised_mtu.filter(|_| addr.is_ipv6()).map_or(self.mtu, |mtu| mtu.min(self.mtu))
    }

    /// Sets the MTU for IPv6 that a router has advertised. Returns whether it has changed.
    pub(crate) fn set_advertised_mtu(&mut self, mtu: Option<usize>) -> bool {
        core::mem::replace(&mut self.advertised_mtu, mtu) != mtu
    }

    /// The changes of its addresses since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<NetworkEvent> {
        core::mem::take(&mut self.events)
    }

    /// Handles another station that claims `addr`, which is one of our addresses.
    pub(crate) fn on_conflict(&mut self, now: Instant, addr: IpAddr) -> Option<AddressEvent> {
        let address = self.addresses.iter_mut().find(|address| address.cidr.addr == addr)?;
        let before = address.state;
        let event = address.on_conflict(now);
        if address.state != before {
            let cidr = address.cidr;
            self.events.push(NetworkEvent::AddressDuplicated { iface: self.id, cidr });
            self.groups.leave_solicited_node(now, addr);
        }
        self.rearm();
        event
    }

    pub(crate) fn address_state(&self, addr: IpAddr) -> Option<AddressState> {
        self.addresses.iter().find(|address| address.cidr.addr == addr).map(|address| address.state)
    }

    /// Whether `addr` is an address of this interface that is in use.
    pub(crate) fn owns(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.cidr.addr == addr && address.is_usable())
    }

    /// Whether a neighbour's question for the link address of this other host is answered with
    /// ours. The caller knows that no interface has the address.
    pub(crate) fn is_proxy_for(&self, addr: IpAddr) -> bool {
        let is_host = match addr {
            IpAddr::V4(v4) => {
                !v4.is_loopback() && !is_class_e(v4) && v4.octets()[0] != 0 && !self.is_broadcast(v4)
            }
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && v6.to_ipv4_mapped().is_none(),
        };
        let Some(interception) = self.interception.as_ref().filter(|_| is_host && !addr.is_multicast())
        else {
            return false;
        };
        let is_near = || self.addresses.iter().any(|address| address.cidr.contains(addr));
        let answers = match interception.proxy_answers {
            ProxyAnswers::None => false,
            ProxyAnswers::OtherNetworks => !is_near(),
            ProxyAnswers::All => true,
        };
        answers && interception.names(addr)
    }

    /// Whether it answers neighbours for other hosts.
    pub(crate) fn is_proxy(&self) -> bool {
        let proxies = |interception: &Interception| interception.proxy_answers != ProxyAnswers::None;
        self.interception.as_deref().is_some_and(proxies)
    }

    /// Whether `addr` is the limited broadcast address, or that of one of this link's networks.
    pub(crate) fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.addresses.iter().any(|address| address.cidr.broadcast() == Some(addr))
    }

    /// The multicast groups that it listens to: 224.0.0.1 (RFC 1112 §4), ff02::1, the
    /// solicited-node groups of its addresses, tentative ones included (RFC 4291 §2.8, RFC 4862
    /// §5.4.2), and those that sockets have joined.
    pub(crate) fn groups(&self) -> &InterfaceGroups {
        &self.groups
    }

    /// Changes its multicast groups.
    pub(crate) fn with_groups<R>(&mut self, change: impl FnOnce(&mut InterfaceGroups) -> R) -> R {
        let result = change(&mut self.groups);
        self.rearm();
        result
    }

    /// How a packet that came in through this interface was addressed. `None` if it is for neither
    /// this interface nor a broadcast address or group of the link.
    pub(crate) fn cast_of(&self, dst: IpAddr) -> Option<Cast> {
        if self.owns(dst) {
            return Some(Cast::Unicast);
        }
        match dst {
            IpAddr::V4(addr) if self.is_broadcast(addr) => Some(Cast::Broadcast),
            _ => (dst.is_multicast() && self.groups.is_member(dst)).then_some(Cast::Multicast),
        }
    }

    /// Takes the steps of duplicate address detection that are due, and ends lifetimes.
    pub(crate) fn handle_address_timeouts(
        &mut self,
        now: Instant,
        config: &NeighborConfig,
    ) -> Vec<AddressEvent> {
        if self.next_own_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let had_link_local = self.has_link_local();
        let is_over = |address: &Address| address.valid_until.is_some_and(|at| at <= now);
        while let Some(index) = self.addresses.iter().position(is_over) {
            self.remove_at(now, index);
        }
        // The router of the link may have set the time.
        let config =
            &NeighborConfig { retransmit_delay: self.neighbors.retransmit_delay(), ..config.clone() };
        let mut events = Vec::new();
        for address in &mut self.addresses {
            let (iface, cidr, was_usable) = (self.id, address.cidr, address.is_usable());
            events.extend(address.handle_timeout(now, config));
            if address.is_usable() && !was_usable {
                self.events.push(NetworkEvent::AddressUsable { iface, cidr });
            }
            if address.becomes_deprecated(now) {
                self.events.push(NetworkEvent::AddressDeprecated { iface, cidr });
            }
        }
        if !had_link_local && self.has_link_local() {
            self.groups.on_link_local_address(now);
        }
        self.rearm();
        events
    }

    /// Whether it has an IPv6 link-local address that is in use.
    pub(crate) fn has_link_local(&self) -> bool {
        self.link_local().is_some()
    }

    /// Its first IPv6 link-local address that is in use.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        self.usable().find_map(|cidr| match cidr.addr {
            IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
            _ => None,
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_own_at.into_iter().chain(self.neighbors.poll_timeout()).min()
    }

    fn rearm(&mut self) {
        let addresses = self.addresses.iter().filter_map(Address::poll_timeout);
        self.next_own_at = addresses.chain(self.groups.poll_timeout()).min();
    }

    pub(crate) fn info(&self) -> InterfaceInfo {
        InterfaceInfo {
            id: self.id,
            name: self.name.clone(),
            medium: self.medium,
            link: self.link,
            mtu: self.mtu,
            offloads: self.offloads,
            addresses: self.addresses.iter().map(|address| (address.cidr, address.shown_state())).collect(),
            groups: self.groups.list(),
            forwarding: self.forwarding,
            zone: self.zone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn interface(mtu: usize) -> Interface {
        let config = InterfaceConfig::new(Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1]))).mtu(mtu);
        Interface::new(InterfaceId(0), "if0".to_string(), &config, &Config::default(), &mut Rng::new([0; 32]))
            .unwrap()
    }

    fn add(interface: &mut Interface, text: &str) -> Result<()> {
        interface.add_address(Instant::ZERO, text.parse().unwrap(), &NeighborConfig::default())
    }

    #[test]
    fn addresses_that_no_host_can_have_are_refused() {
        let mut iface = interface(1500);
        for text in [
            "224.0.0.1/4",
            "127.0.0.1/8",
            "0.0.0.0/0",
            "0.1.2.3/8",
            "255.255.255.255/32",
            "240.0.0.1/8",
            "10.0.0.255/24",
            "ff02::1/64",
            "::1/128",
            "::/0",
            "::ffff:10.0.0.1/128",
        ] {
            assert_eq!(add(&mut iface, text), Err(Error::InvalidArgument), "{text}");
        }
        assert_eq!(add(&mut iface, "10.0.0.2/24"), Ok(()));
        assert_eq!(add(&mut iface, "10.0.0.2/16"), Err(Error::AddressInUse));
        assert_eq!(add(&mut iface, "10.0.0.1/31"), Ok(()));
        // RFC 8200 §5: no IPv6 if the MTU is below 1,280.
        assert_eq!(add(&mut interface(1279), "fd00::2/64"), Err(Error::InvalidArgument));
        assert_eq!(add(&mut interface(1280), "fd00::2/64"), Ok(()));
    }

    #[test]
    fn names_are_those_that_linux_allows() {
        for name in ["if0", "eth0.7", "a", "fifteen-bytes-x", "β"] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "eth0:1", "sixteen-bytes-xx", "a\0", "a\t"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
    }

    #[test]
    fn casts() {
        let mut iface = interface(1500);
        add(&mut iface, "10.0.0.2/24").unwrap();
        add(&mut iface, "fd00::aa:bbcc/64").unwrap();
        let cast = |iface: &Interface, text: &str| iface.cast_of(text.parse().unwrap());
        // A tentative address is not used, but its group is listened to.
        assert_eq!(cast(&iface, "10.0.0.2"), None);
        assert_eq!(cast(&iface, "ff02::1:ffaa:bbcc"), Some(Cast::Multicast));
        let mut now = Instant::ZERO;
        let mut rng = Rng::new([0; 32]);
        while let Some(at) = iface.poll_timeout() {
            now = at;
            iface.handle_address_timeouts(at, &NeighborConfig::default());
            iface.with_groups(|groups| groups.handle_timeout(at, &mut rng, [1000; 2]));
        }
        assert_eq!(now, Instant::from_secs(3));
        assert_eq!(cast(&iface, "10.0.0.2"), Some(Cast::Unicast));
        assert_eq!(cast(&iface, "fd00::aa:bbcc"), Some(Cast::Unicast));
        assert_eq!(cast(&iface, "10.0.0.255"), Some(Cast::Broadcast));
        assert_eq!(cast(&iface, "255.255.255.255"), Some(Cast::Broadcast));
        assert_eq!(cast(&iface, "224.0.0.1"), Some(Cast::Multicast));
        assert_eq!(cast(&iface, "ff02::1"), Some(Cast::Multicast));
        for other in ["10.0.0.3", "224.0.0.251", "ff02::2", "ff02::1:ffaa:bbcd", "fd00::1"] {
            assert_eq!(cast(&iface, other), None, "{other}");
        }
    }

    #[test]
    fn impossible_links_are_refused() {
        let new = |medium, mtu| {
            let config = InterfaceConfig::new(medium).mtu(mtu);
            Interface::new(
                InterfaceId(0),
                "if0".to_string(),
                &config,
                &Config::default(),
                &mut Rng::new([0; 32]),
            )
            .err()
        };
        assert_eq!(new(Medium::Ip, 68), None);
        assert_eq!(new(Medium::Ip, 67), Some(Error::InvalidArgument));
        assert_eq!(new(Medium::Ip, 65536), Some(Error::InvalidArgument));
        assert_eq!(new(Medium::Ethernet(MacAddr::BROADCAST), 1500), Some(Error::InvalidArgument));
        assert_eq!(new(Medium::Ethernet(MacAddr([0; 6])), 1500), Some(Error::InvalidArgument));
    }
}
