//! [`AdvertisedRoutes`]: default routers, prefixes on the link, and routes, until they expire.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::effects::{Effects, SlaacChange};
use super::info::AdvertisedRoute;
use crate::iface::cidr::Cidr;
use crate::link::router_advertisement::{Lifetime, RouterPreference};
use crate::time::Instant;

/// The most routers with a default route.
pub(super) const MAX_DEFAULT_ROUTES: usize = 16;
/// The most prefixes on the link.
pub(super) const MAX_PREFIXES: usize = 32;
/// The most other routes.
pub(super) const MAX_ROUTES: usize = 64;

/// The destination and the router; the router is `None` for a prefix on the link.
pub(super) type RouteKey = (Cidr, Option<Ipv6Addr>);

#[derive(Debug, Default)]
pub(super) struct AdvertisedRoutes(Vec<AdvertisedRoute>);

impl AdvertisedRoutes {
    /// Adds a route, renews it, or removes it if its lifetime is zero.
    pub(super) fn set(
        &mut self,
        now: Instant,
        key: RouteKey,
        preference: RouterPreference,
        lifetime: Lifetime,
        effects: &mut Effects,
    ) {
        let (destination, gateway) = key;
        let found = self.0.iter().position(|route| key_of(route) == key);
        if lifetime == Lifetime::ZERO {
            if let Some(index) = found {
                effects.changes.push(removal(&self.0.remove(index)));
            }
            return;
        }
        // What is advertised by a router that did not answer: it is back, or lives at least.
        let expires_at = lifetime.end(now);
        let route = AdvertisedRoute { destination, gateway, preference, is_suspect: false, expires_at };
        match found {
            Some(index) => self.0.iter_mut().skip(index).take(1).for_each(|known| *known = route),
            None if self.has_room(&route, effects) => self.0.push(route),
            None => {
                effects.without_room += 1;
                return;
            }
        }
        effects.changes.push(setting(&route));
    }

    /// Whether there is room for another route of this kind. If not, one through a router that does
    /// not answer makes room.
    fn has_room(&mut self, new: &AdvertisedRoute, effects: &mut Effects) -> bool {
        let kind = limit_of(new);
        let of_kind = |route: &AdvertisedRoute| limit_of(route) == kind;
        if self.0.iter().filter(|route| of_kind(route)).count() < kind {
            return true;
        }
        let suspect = self.0.iter().position(|route| of_kind(route) && route.is_suspect);
        if let Some(index) = suspect {
            effects.changes.push(removal(&self.0.remove(index)));
        }
        suspect.is_some()
    }

    /// Puts the routes through this router behind others.
    pub(super) fn on_unreachable(&mut self, router: Ipv6Addr, effects: &mut Effects) {
        for route in self.0.iter_mut().filter(|route| route.gateway == Some(router)) {
            route.is_suspect = true;
            effects.changes.push(setting(route));
        }
    }

    /// Removes the routes that have expired.
    pub(super) fn handle_timeout(&mut self, now: Instant, effects: &mut Effects) {
        self.clear(|route| route.expires_at.is_some_and(|at| at <= now), effects);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().filter_map(|route| route.expires_at).min()
    }

    /// Removes these routes.
    pub(super) fn clear(&mut self, is_over: impl Fn(&AdvertisedRoute) -> bool, effects: &mut Effects) {
        effects.changes.extend(self.0.iter().filter(|route| is_over(route)).map(removal));
        self.0.retain(|route| !is_over(route));
    }

    pub(super) fn infos(&self) -> Vec<AdvertisedRoute> {
        self.0.clone()
    }
}

fn key_of(route: &AdvertisedRoute) -> RouteKey {
    (route.destination, route.gateway)
}

/// The most routes of the same kind.
fn limit_of(route: &AdvertisedRoute) -> usize {
    match route.gateway {
        None => MAX_PREFIXES,
        Some(_) if route.destination.prefix_len == 0 => MAX_DEFAULT_ROUTES,
        Some(_) => MAX_ROUTES,
    }
}

fn setting(route: &AdvertisedRoute) -> SlaacChange {
    let &AdvertisedRoute { destination, gateway, preference, is_suspect, .. } = route;
    SlaacChange::SetRoute { destination, gateway: gateway.map(IpAddr::V6), preference, is_suspect }
}

fn removal(route: &AdvertisedRoute) -> SlaacChange {
    SlaacChange::RemoveRoute { destination: route.destination, gateway: route.gateway.map(IpAddr::V6) }
}
