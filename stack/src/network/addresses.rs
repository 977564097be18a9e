//! Addresses and routes that come and go, and the events about them.

use core::net::IpAddr;

use super::Network;
use crate::Ctx;
use crate::error::{Error, Result};
use crate::iface::address::AddressLifetime;
use crate::iface::cidr::Cidr;
use crate::iface::event::NetworkEvent;
use crate::interface_id::InterfaceId;
use crate::time::Instant;

impl Network {
    pub(crate) fn add_address(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, cidr: Cidr) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        interface.add_address(ctx.now, cidr, &ctx.config.neighbor)?;
        self.add_connected(cidr, iface);
        self.run_interface_timers(ctx, iface);
        self.collect_events(ctx.now, iface);
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, now: Instant, iface: InterfaceId, addr: IpAddr) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        interface.remove_address(now, addr)?;
        self.collect_events(now, iface);
        Ok(())
    }

    /// Sets how long an address is used from now on.
    pub(crate) fn set_address_lifetime(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        addr: IpAddr,
        lifetime: AddressLifetime,
    ) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        interface.set_lifetime(ctx.now, addr, lifetime)?;
        self.run_interface_timers(ctx, iface);
        Ok(())
    }

    pub(crate) fn poll_network_event(&mut self) -> Option<NetworkEvent> {
        self.events.pop()
    }

    /// Adds the route to the network of an address.
    pub(super) fn add_connected(&mut self, cidr: Cidr, iface: InterfaceId) {
        if let Some(route) = self.routes.add_connected(cidr, iface) {
            self.events.push(NetworkEvent::RouteAdded(route));
        }
    }

    /// Collects the events about the addresses of an interface, tells them to its
    /// autoconfiguration, and removes the routes to networks
    /// in which it has no address any more.
    pub(super) fn collect_events(&mut self, now: Instant, iface: InterfaceId) {
        let Some(interface) = self.interface_mut(iface) else { return };
        for event in interface.take_events() {
            self.events.push(event);
            self.tell_slaac(now, iface, &event);
            let NetworkEvent::AddressRemoved { cidr, .. } = event else { continue };
            let mut others = self.interface(iface).into_iter().flat_map(|interface| interface.addresses());
            if !others.any(|other| other.cidr.network() == cidr.network()) {
                for route in self.routes.remove_connected(cidr, iface) {
                    self.events.push(NetworkEvent::RouteRemoved(route));
                }
            }
        }
    }
}
