//! IPv6 stateless address autoconfiguration of one interface (RFC 4862), and what else routers
//! advertise to it: themselves, prefixes, routes, name servers, an MTU, a hop limit, times.
//!
//! [`Slaac`] keeps what was learned, and how long it holds. It sends nothing and changes no
//! interface: it returns [`Effects`], which [`Network`](crate::network::Network) carries out.
//!
//! Read this file first, then `solicitor` (when routers are asked), `routes`, `addresses` with
//! `identifier` (how addresses are formed), `names` (name servers) and `info` (what programs see).
//!
//! Anybody on the link can send advertisements. Every table has a limit, and what it holds stays
//! until it expires: when a table is full, new entries are refused, except that a router that does
//! not answer makes room for another.

mod addresses;
mod effects;
mod identifier;
pub(crate) mod info;
mod names;
mod routes;
mod solicitor;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

pub(crate) use effects::{Effects, SlaacChange};

use crate::iface::cidr::Cidr;
use crate::iface::event::NetworkEvent;
use crate::iface::interface::IPV6_MIN_MTU;
use crate::iface::slaac_config::SlaacConfig;
use crate::link::mac::MacAddr;
use crate::link::router_advertisement::{
    AdvertisedOption, AdvertisedPrefix, Lifetime, RouteInformation, RouterAdvertisement,
};
use crate::rng::Rng;
use crate::time::Instant;
use addresses::{AutoAddresses, Forming};
use info::SlaacInfo;
use names::AdvertisedNames;
use routes::AdvertisedRoutes;
use solicitor::Solicitor;

/// The longest REACHABLE_TIME that is taken: the most that a router may advertise (RFC 4861
/// §6.2.1).
const MAX_REACHABLE_MILLIS: u32 = 3_600_000;
/// The longest RETRANS_TIMER that is taken. Linux has no limit: a router can there keep a host from
/// finding its neighbours for 49 days.
const MAX_RETRANSMIT_MILLIS: u32 = 60_000;
/// The shortest RETRANS_TIMER (Linux's HZ / 100), and the shortest REACHABLE_TIME.
const MIN_RETRANSMIT_MILLIS: u32 = 10;
const MIN_REACHABLE_MILLIS: u32 = 100;

/// What an interface has learned from routers.
#[derive(Debug)]
pub(crate) struct Slaac {
    pub(crate) config: SlaacConfig,
    mac: MacAddr,
    /// The key of stable addresses.
    key: [u8; 16],
    rng: Rng,
    solicitor: Solicitor,
    routes: AdvertisedRoutes,
    addresses: AutoAddresses,
    names: AdvertisedNames,
    hop_limit: Option<u8>,
    mtu: Option<usize>,
    /// RETRANS_TIMER: the advertised one, or the configured one.
    retransmit_delay: Duration,
    is_managed: bool,
    has_other: bool,
}

/// What [`Slaac`] has to know of its interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlaacLink {
    /// The MTU of the device.
    pub(crate) mtu: usize,
    /// How many addresses it has.
    pub(crate) addresses: usize,
    /// How often an address is probed.
    pub(crate) probes: u8,
}

impl Slaac {
    /// Has learned nothing yet. Solicits routers once [`Slaac::start`] was called.
    pub(crate) fn new(config: SlaacConfig, mac: MacAddr, retransmit_delay: Duration, rng: &mut Rng) -> Slaac {
        let mut seed = [0; 32];
        let (first, second) = seed.split_at_mut(16);
        first.copy_from_slice(&rng.key());
        second.copy_from_slice(&rng.key());
        let mut rng = Rng::new(seed);
        let key = config.secret.unwrap_or_else(|| rng.key());
        Slaac {
            config,
            mac,
            key,
            rng,
            solicitor: Solicitor::default(),
            routes: AdvertisedRoutes::default(),
            addresses: AutoAddresses::default(),
            names: AdvertisedNames::default(),
            hop_limit: None,
            mtu: None,
            retransmit_delay,
            is_managed: false,
            has_other: false,
        }
    }

    /// Starts to solicit routers: the interface has a link-local address.
    pub(crate) fn start(&mut self, now: Instant) {
        self.solicitor.start(now, &mut self.rng);
    }

    /// Handles an advertisement of the router `src`, in the order of RFC 4861 §6.3.4.
    pub(crate) fn handle_advertisement(
        &mut self,
        now: Instant,
        link: SlaacLink,
        src: Ipv6Addr,
        advertisement: &RouterAdvertisement<'_>,
    ) -> Effects {
        let mut effects = Effects::default();
        self.solicitor.on_advertisement();
        (self.is_managed, self.has_other) = (advertisement.is_managed, advertisement.has_other);
        let lifetime = Lifetime::Finite(advertisement.router_lifetime);
        self.routes.set(now, (Cidr::ANY_V6, Some(src)), advertisement.preference, lifetime, &mut effects);
        if advertisement.hop_limit != 0 {
            self.hop_limit = Some(advertisement.hop_limit);
            effects.changes.push(SlaacChange::SetHopLimit(advertisement.hop_limit));
        }
        self.take_times(advertisement, &mut effects);
        let mut has_mtu = false;
        for option in advertisement.options() {
            match option {
                AdvertisedOption::Prefix(prefix) => self.take_prefix(now, link, &prefix, &mut effects),
                // Linux takes the first of several.
                AdvertisedOption::Mtu(mtu) if !has_mtu => {
                    has_mtu = true;
                    self.take_mtu(mtu, link.mtu, &mut effects);
                }
                AdvertisedOption::Mtu(_) => effects.unusable += 1,
                AdvertisedOption::Route(route) => self.take_route(now, src, &route, &mut effects),
                AdvertisedOption::NameServers { lifetime, addrs } => {
                    self.names.on_servers(now, lifetime, addrs, &mut effects);
                }
                AdvertisedOption::SearchDomains { lifetime, names } => {
                    self.names.on_domains(now, lifetime, names, &mut effects);
                }
                AdvertisedOption::Malformed => effects.unusable += 1,
            }
        }
        effects
    }

    /// REACHABLE_TIME and RETRANS_TIMER.
    fn take_times(&mut self, advertisement: &RouterAdvertisement<'_>, effects: &mut Effects) {
        let mut take = |millis: u32, least: u32, most: u32| match millis {
            0 => None,
            millis if millis > most => {
                effects.unusable += 1;
                None
            }
            millis => Some(Duration::from_millis(millis.max(least).into())),
        };
        let reachable = take(advertisement.reachable_millis, MIN_REACHABLE_MILLIS, MAX_REACHABLE_MILLIS);
        let retransmit = take(advertisement.retransmit_millis, MIN_RETRANSMIT_MILLIS, MAX_RETRANSMIT_MILLIS);
        self.retransmit_delay = retransmit.unwrap_or(self.retransmit_delay);
        if reachable.is_some() || retransmit.is_some() {
            effects.changes.push(SlaacChange::SetTimes { reachable, retransmit });
        }
    }

    /// RFC 4861 §6.3.4: an MTU of the link that is not below the least of IPv6 and not above that
    /// of the device.
    fn take_mtu(&mut self, mtu: u32, of_device: usize, effects: &mut Effects) {
        match usize::try_from(mtu) {
            Ok(mtu) if (IPV6_MIN_MTU..=of_device).contains(&mtu) => {
                self.mtu = Some(mtu);
                effects.changes.push(SlaacChange::SetMtu(mtu));
            }
            _ => effects.unusable += 1,
        }
    }

    /// RFC 4861 §6.3.4 and RFC 4862 §5.5.3.
    fn take_prefix(
        &mut self,
        now: Instant,
        link: SlaacLink,
        prefix: &AdvertisedPrefix,
        effects: &mut Effects,
    ) {
        let AdvertisedPrefix { len, is_on_link, is_autonomous, valid, preferred, .. } = *prefix;
        let is_on_this_link = prefix.prefix.is_multicast() || prefix.prefix.is_unicast_link_local();
        // RFC4862-5.5.3-b, RFC4862-5.5.3-c. Beyond Linux, the whole Internet is on no link.
        if is_on_this_link || len == 0 || preferred > valid {
            effects.unusable += 1;
            return;
        }
        let cidr = Cidr::new(prefix.prefix.into(), len).network();
        if is_on_link {
            self.routes.set(now, (cidr, None), Default::default(), valid, effects);
        }
        if is_autonomous {
            // RFC4862-5.5.3-d: the identifiers have 64 bits.
            let IpAddr::V6(network) = cidr.addr else { return };
            if len != 64 || network.is_unspecified() {
                effects.unusable += 1;
                return;
            }
            let (addresses, mut forming) = self.forming(link);
            addresses.on_prefix(now, &mut forming, network, valid, preferred, effects);
        }
    }

    /// RFC 4191 §3.1, type C hosts.
    fn take_route(
        &mut self,
        now: Instant,
        router: Ipv6Addr,
        route: &RouteInformation,
        effects: &mut Effects,
    ) {
        if route.len > self.config.max_route_prefix_len {
            return;
        }
        let cidr = Cidr::new(route.prefix.into(), route.len).network();
        let leaves_link = |addr: IpAddr| match addr {
            IpAddr::V6(addr) => !addr.is_multicast() && !addr.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        if route.len > 0 && !leaves_link(cidr.addr) {
            effects.unusable += 1;
            return;
        }
        self.routes.set(now, (cidr, Some(router)), route.preference, route.lifetime, effects);
    }

    /// The addresses, and what they are formed from.
    fn forming(&mut self, link: SlaacLink) -> (&mut AutoAddresses, Forming<'_>) {
        let forming = Forming {
            config: &self.config,
            key: &self.key,
            mac: self.mac,
            rng: &mut self.rng,
            taken: link.addresses,
            probing_time: self.retransmit_delay * u32::from(link.probes),
        };
        (&mut self.addresses, forming)
    }

    /// Handles the timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, link: SlaacLink) -> Effects {
        let mut effects = Effects::default();
        if self.solicitor.handle_timeout(now, &mut self.rng) {
            effects.changes.push(SlaacChange::Solicit);
        }
        self.routes.handle_timeout(now, &mut effects);
        self.names.handle_timeout(now, &mut effects);
        let (addresses, mut forming) = self.forming(link);
        addresses.handle_timeout(now, &mut forming, &mut effects);
        effects
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timers = [
            self.solicitor.poll_timeout(),
            self.routes.poll_timeout(),
            self.names.poll_timeout(),
            self.addresses.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Notes what happened to the addresses of the interface.
    pub(crate) fn on_event(&mut self, now: Instant, event: &NetworkEvent) {
        let addr_of = |cidr: Cidr| match cidr.addr {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        };
        match *event {
            NetworkEvent::AddressUsable { cidr, .. } => match addr_of(cidr) {
                Some(addr) if addr.is_unicast_link_local() => self.start(now),
                Some(addr) => self.addresses.on_usable(addr),
                None => {}
            },
            NetworkEvent::AddressRemoved { cidr, .. } => {
                if let Some(addr) = addr_of(cidr) {
                    self.addresses.on_removed(addr);
                }
            }
            NetworkEvent::AddressDuplicated { cidr, .. } => {
                let link = SlaacLink { mtu: 0, addresses: 0, probes: 0 };
                let (addresses, mut forming) = self.forming(link);
                if let Some(addr) = addr_of(cidr) {
                    addresses.on_duplicate(now, &mut forming, addr);
                }
            }
            // As on Linux: the link may be another one.
            NetworkEvent::LinkUp { .. } => self.start(now),
            _ => {}
        }
    }

    /// Sets the MAC address that further addresses are formed from.
    pub(crate) fn set_mac(&mut self, mac: MacAddr) {
        self.mac = mac;
    }

    /// Notes that a neighbour does not answer: if it is a router, others come before it (RFC 4861
    /// §6.3.6).
    pub(crate) fn on_unreachable(&mut self, addr: IpAddr) -> Effects {
        let mut effects = Effects::default();
        if let IpAddr::V6(router) = addr {
            self.routes.on_unreachable(router, &mut effects);
        }
        effects
    }

    /// Forgets the routers: the interface forwards from now on.
    pub(crate) fn forget_routers(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.routes.clear(|route| route.gateway.is_some(), &mut effects);
        self.solicitor = Solicitor::default();
        effects
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.routes.clear(|_| true, &mut effects);
        self.addresses.clear(&mut effects);
        self.names.clear(&mut effects);
        self.solicitor = Solicitor::default();
        effects
    }

    /// What programs see.
    pub(crate) fn info(&self) -> SlaacInfo {
        SlaacInfo {
            routes: self.routes.infos(),
            addresses: self.addresses.infos(),
            name_servers: self.names.servers(),
            search_domains: self.names.domains(),
            mtu: self.mtu,
            hop_limit: self.hop_limit,
            is_managed: self.is_managed,
            has_other: self.has_other,
        }
    }
}
