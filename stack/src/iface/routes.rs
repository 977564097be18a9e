//! The route table: the longest prefix wins, then the lowest metric.

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use super::cidr::Cidr;
use crate::error::{Error, Result};
use crate::interface_id::InterfaceId;
use crate::link::router_advertisement::RouterPreference;

/// A route: where packets for a destination go.
///
/// ```
/// use portolan::{Cidr, Config, Instant, InterfaceConfig, Medium, Route, Stack};
///
/// let mut stack = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// let config = InterfaceConfig::new(Medium::Ip).address("10.0.0.2/24".parse()?);
/// let iface = stack.add_interface(Instant::ZERO, config)?;
/// stack.add_route(Route::new(Cidr::ANY_V4, iface).via("10.0.0.1".parse()?))?; // the default route
/// stack.add_route(Route::new("10.8.0.0/16".parse()?, iface).via("10.0.0.9".parse()?).metric(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The destinations; `0.0.0.0/0` for a default route.
    pub destination: Cidr,
    /// The router; `None` for destinations on the link.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub iface: InterfaceId,
    /// The preference among routes to the same prefix: the lowest wins.
    pub metric: u32,
}

impl Route {
    /// A route to destinations on the link of this interface, with metric 0.
    pub const fn new(destination: Cidr, iface: InterfaceId) -> Route {
        Route { destination, gateway: None, iface, metric: 0 }
    }

    /// The same through a router.
    pub const fn via(mut self, gateway: IpAddr) -> Route {
        self.gateway = Some(gateway);
        self
    }

    /// The same with another metric.
    pub const fn metric(mut self, metric: u32) -> Route {
        self.metric = metric;
        self
    }
}

/// How a route came into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It leads to the network of an address, and exists as long as the address.
    Connected,
    /// A program added it.
    Added,
    /// A router has advertised it.
    Advertised { preference: RouterPreference, is_suspect: bool },
}

impl Origin {
    /// The order among routes with the same prefix and metric: first those through routers that
    /// answer, then by preference (RFC 4861 §6.3.6, RFC 4191 §3.2).
    fn rank(self) -> (bool, Reverse<RouterPreference>) {
        match self {
            Origin::Connected | Origin::Added => (false, Reverse(RouterPreference::Medium)),
            Origin::Advertised { preference, is_suspect } => (is_suspect, Reverse(preference)),
        }
    }
}

/// The metrics of advertised routes, those of Linux: of prefixes on the link
/// (IP6_RT_PRIO_ADDRCONF), and of routes through routers (IP6_RT_PRIO_USER).
const PREFIX_METRIC: u32 = 256;
const ROUTER_METRIC: u32 = 1024;

/// The destination, the gateway and the interface of an advertised route.
pub(crate) type AdvertisedKey = (Cidr, Option<IpAddr>, InterfaceId);

/// The routes, in the order in which they are tried.
///
/// A look-up scans them: a host has only a few routes, and comparing a few prefixes costs less than
/// walking a tree.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
    /// The origin of each route.
    origins: Vec<Origin>,
    /// How many of them, the first, are in zone 0.
    shared: usize,
    /// The interfaces in other zones, sorted.
    apart: Vec<InterfaceId>,
}

impl RouteTable {
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Notes that an interface, which has no routes yet, is in another zone than zone 0.
    pub(crate) fn set_apart(&mut self, iface: InterfaceId) {
        if let Err(at) = self.apart.binary_search(&iface) {
            self.apart.insert(at, iface);
        }
    }

    fn is_apart(&self, iface: InterfaceId) -> bool {
        self.apart.binary_search(&iface).is_ok()
    }

    /// Finds the route to this destination, through this interface if one is named, or in zone 0.
    pub(crate) fn lookup(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Option<&Route> {
        let leads_there = |route: &&Route| route.destination.contains(dst);
        match iface {
            Some(iface) => self.routes.iter().find(|route| leads_there(route) && route.iface == iface),
            None => self.routes.get(..self.shared)?.iter().find(leads_there),
        }
    }

    /// Finds the route to this destination through one of some interfaces.
    pub(crate) fn lookup_among(&self, dst: IpAddr, is_one: impl Fn(InterfaceId) -> bool) -> Option<&Route> {
        self.routes.iter().find(|route| route.destination.contains(dst) && is_one(route.iface))
    }

    /// Adds a route, and returns it as it is in the table. The host bits of its destination are
    /// ignored.
    pub(crate) fn add(&mut self, route: Route) -> Result<Route> {
        let route = Route { destination: route.destination.network(), ..route };
        let same = |other: &Route| {
            other.destination == route.destination
                && other.iface == route.iface
                && other.metric == route.metric
        };
        if self.routes.iter().any(same) {
            return Err(Error::AddressInUse);
        }
        self.insert(route, Origin::Added);
        Ok(route)
    }

    /// Adds the route to the network of an address, unless it is there.
    pub(crate) fn add_connected(&mut self, cidr: Cidr, iface: InterfaceId) -> Option<Route> {
        let route = Route::new(cidr.network(), iface);
        let is_new = !self.routes.contains(&route);
        if is_new {
            self.insert(route, Origin::Connected);
        }
        is_new.then_some(route)
    }

    /// Removes the route to the network of an address that was removed. The caller makes sure that
    /// no other address is in that network.
    pub(crate) fn remove_connected(&mut self, cidr: Cidr, iface: InterfaceId) -> Vec<Route> {
        let network = cidr.network();
        self.retain(|route, origin| {
            !(origin == Origin::Connected && route.destination == network && route.iface == iface)
        })
    }

    /// Adds a route that a router has advertised. If it is there, it is put elsewhere among its
    /// equals. Returns the route if it is new.
    pub(crate) fn set_advertised(
        &mut self,
        (destination, gateway, iface): AdvertisedKey,
        preference: RouterPreference,
        is_suspect: bool,
    ) -> Option<Route> {
        let metric = if gateway.is_some() { ROUTER_METRIC } else { PREFIX_METRIC };
        let route = Route { destination, gateway, iface, metric };
        let origin = Origin::Advertised { preference, is_suspect };
        // A route that does not change keeps its place: its equals would take turns otherwise.
        let is_there = |(other, &was): (&Route, &Origin)| *other == route && was == origin;
        if !is_suspect && self.routes.iter().zip(&self.origins).any(is_there) {
            return None;
        }
        let was_there = !self.remove_advertised((destination, gateway, iface)).is_empty();
        self.insert(route, origin);
        (!was_there).then_some(route)
    }

    /// Removes a route that a router has advertised, and returns it.
    pub(crate) fn remove_advertised(&mut self, (destination, gateway, iface): AdvertisedKey) -> Vec<Route> {
        self.retain(|route, origin| {
            let is_advertised = matches!(origin, Origin::Advertised { .. });
            let is_same =
                route.destination == destination && route.gateway == gateway && route.iface == iface;
            !(is_advertised && is_same)
        })
    }

    /// Removes the routes to this destination through this interface, and returns them.
    pub(crate) fn remove(&mut self, destination: Cidr, iface: InterfaceId) -> Result<Vec<Route>> {
        let destination = destination.network();
        let removed = self.retain(|route, _| !(route.destination == destination && route.iface == iface));
        if removed.is_empty() { Err(Error::InvalidArgument) } else { Ok(removed) }
    }

    /// Removes all routes through this interface, and returns them.
    pub(crate) fn remove_of(&mut self, iface: InterfaceId) -> Vec<Route> {
        let removed = self.retain(|route, _| route.iface != iface);
        self.apart.retain(|&other| other != iface);
        removed
    }

    fn insert(&mut self, route: Route, origin: Origin) {
        let order = |route: &Route, origin: Origin| {
            let is_apart = self.is_apart(route.iface);
            (is_apart, Reverse(route.destination.prefix_len), route.metric, origin.rank())
        };
        let own = order(&route, origin);
        let mut others = self.routes.iter().zip(&self.origins);
        let at = others.position(|(other, &origin)| order(other, origin) > own).unwrap_or(self.routes.len());
        self.shared += usize::from(!self.is_apart(route.iface));
        self.routes.insert(at, route);
        self.origins.insert(at, origin);
    }

    /// Removes the other routes, and returns them.
    fn retain(&mut self, keep: impl Fn(&Route, Origin) -> bool) -> Vec<Route> {
        let kept: Vec<bool> =
            self.routes.iter().zip(&self.origins).map(|(route, &origin)| keep(route, origin)).collect();
        let removed = self.routes.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(&route, _)| route);
        let removed = removed.collect();
        let mut answers = kept.iter();
        self.routes.retain(|_| answers.next().copied().unwrap_or(true));
        let mut answers = kept.iter();
        self.origins.retain(|_| answers.next().copied().unwrap_or(true));
        self.shared = self.routes.iter().filter(|route| !self.is_apart(route.iface)).count();
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InterfaceId = InterfaceId(0);
    const B: InterfaceId = InterfaceId(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn via(destination: &str, gateway: &str, iface: InterfaceId, metric: u32) -> Route {
        Route { destination: cidr(destination), gateway: Some(ip(gateway)), iface, metric }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut table = RouteTable::default();
        table.add(via("0.0.0.0/0", "10.0.0.9", A, 100)).unwrap();
        table.add(via("0.0.0.0/0", "10.0.0.1", A, 10)).unwrap();
        table.add(via("192.168.0.7/16", "10.0.0.2", A, 500)).unwrap();
        table.add(via("::/0", "fe80::1", A, 0)).unwrap();
        table.add_connected(cidr("10.0.0.5/24"), A);
        let gateway = |dst| table.lookup(ip(dst), None).unwrap().gateway;
        assert_eq!(gateway("8.8.8.8"), Some(ip("10.0.0.1")));
        assert_eq!(gateway("192.168.3.4"), Some(ip("10.0.0.2")));
        assert_eq!(gateway("10.0.0.77"), None);
        assert_eq!(gateway("fd00::1"), Some(ip("fe80::1")));
        let lens: Vec<u8> = table.routes().iter().map(|route| route.destination.prefix_len).collect();
        assert_eq!(lens, [24, 16, 0, 0, 0]);
        assert_eq!(table.lookup(ip("8.8.8.8"), Some(B)), None);
    }

    #[test]
    fn connected_routes_come_once_and_go_without_taking_others_along() {
        let mut table = RouteTable::default();
        table.add_connected(cidr("10.0.0.5/24"), A);
        table.add_connected(cidr("10.0.0.6/24"), A);
        table.add_connected(cidr("10.0.0.6/24"), B);
        table.add(via("10.0.0.0/24", "10.0.0.1", A, 7)).unwrap();
        assert_eq!(table.routes().len(), 3);
        table.remove_connected(cidr("10.0.0.6/24"), A);
        assert_eq!(table.lookup(ip("10.0.0.9"), None).unwrap().iface, B);
        assert_eq!(table.lookup(ip("10.0.0.9"), Some(A)).unwrap().metric, 7);
    }

    #[test]
    fn a_route_is_added_once_and_removed_by_its_network() {
        let mut table = RouteTable::default();
        table.add(via("10.1.0.0/16", "10.0.0.1", A, 0)).unwrap();
        assert_eq!(table.add(via("10.1.2.3/16", "10.0.0.2", A, 0)), Err(Error::AddressInUse));
        table.add(via("10.1.0.0/16", "10.0.0.2", A, 1)).unwrap();
        assert_eq!(table.remove(cidr("10.1.0.0/16"), B), Err(Error::InvalidArgument));
        assert_eq!(table.remove(cidr("10.1.9.9/16"), A).map(|removed| removed.len()), Ok(2));
        assert!(table.routes().is_empty());
    }
}
