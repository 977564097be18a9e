//! Autoconfiguration: router advertisements in, router solicitations out, and what they change.

use core::net::{IpAddr, Ipv6Addr};

use super::types::Datagram;
use super::{Network, place_of};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::iface::event::NetworkEvent;
use crate::iface::interface::{IPV6_MIN_MTU, Interface};
use crate::iface::slaac_config::{SlaacConfig, TemporaryAddresses};
use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;
use crate::link::medium::Medium;
use crate::link::router_advertisement::{RouterAdvertisement, emit_solicitation};
use crate::slaac::info::SlaacInfo;
use crate::slaac::{Effects, Slaac, SlaacChange, SlaacLink};
use crate::time::Instant;

impl Network {
    /// Starts autoconfiguration with this configuration, anew if it was running; `None` ends it.
    /// EINVAL if there is no such interface, or it is no Ethernet interface that IPv6 can use.
    /// EOPNOTSUPP if several stacks serve the interface: each would form addresses of its own.
    pub(crate) fn set_slaac(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        config: Option<SlaacConfig>,
    ) -> Result<()> {
        let &Interface { medium, mtu, .. } = self.interface(iface).ok_or(Error::InvalidArgument)?;
        if config.is_some() {
            self.check_slaac(medium, mtu)?;
        }
        self.end_slaac(ctx, iface);
        if let Some(config) = config {
            self.start_slaac(ctx, iface, config);
        }
        Ok(())
    }

    /// Whether an interface with this medium and MTU can configure itself.
    pub(super) fn check_slaac(&self, medium: Medium, mtu: usize) -> Result<()> {
        if medium.mac().is_none() || mtu < IPV6_MIN_MTU {
            return Err(Error::InvalidArgument);
        }
        match self.share.as_ref().is_some_and(|share| share.steering().stacks() > 1) {
            true => Err(Error::NotSupported),
            false => Ok(()),
        }
    }

    /// Starts autoconfiguration, which [`Network::check_slaac`] allows.
    pub(super) fn start_slaac(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, config: SlaacConfig) {
        let Some(interface) = self.interface_mut(iface) else { return };
        let Some(mac) = interface.mac() else { return };
        interface.prefers_temporary = config.temporary == TemporaryAddresses::Preferred;
        let forwards = interface.forwarding().v6 && !config.even_if_forwarding;
        let is_ready = interface.has_link_local() && !forwards;
        let mut slaac = Slaac::new(config, mac, interface.neighbors.retransmit_delay(), ctx.rng);
        if is_ready {
            slaac.start(ctx.now);
        }
        self.slaac.push((iface, slaac));
    }

    /// Takes away what the interface has learned.
    pub(super) fn end_slaac(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        let Some(index) = self.slaac.iter().position(|(id, _)| *id == iface) else { return };
        let (_, mut slaac) = self.slaac.remove(index);
        self.apply(ctx, iface, slaac.forget_all());
        let neighbor = &ctx.config.neighbor;
        let times = (neighbor.reachable_delay, neighbor.retransmit_delay);
        let Some(interface) = self.interface_mut(iface) else { return };
        interface.prefers_temporary = false;
        interface.advertised_hop_limit = None;
        let has_changed = interface.set_advertised_mtu(None);
        interface.neighbors.set_times(Some(times.0), Some(times.1), ctx.rng);
        self.mtu_changes = self.mtu_changes.wrapping_add(has_changed.into());
    }

    /// What an interface has learned; `None` if it does not configure itself.
    pub(crate) fn slaac_info(&self, iface: InterfaceId) -> Option<SlaacInfo> {
        self.slaac.iter().find(|(id, _)| *id == iface).map(|(_, slaac)| slaac.info())
    }

    /// Handles a router advertisement whose checksum was verified.
    pub(super) fn handle_router_advertisement(
        &mut self,
        ctx: &mut Ctx<'_>,
        datagram: &Datagram,
        src: Ipv6Addr,
    ) {
        let (now, iface) = (ctx.now, datagram.iface);
        let advertisement = RouterAdvertisement::parse(src, datagram.hop_limit, datagram.transport());
        let advertisement = match advertisement {
            Ok(advertisement) => advertisement,
            Err(reason) => return ctx.count_drop(reason),
        };
        let link = self.link_state(ctx, iface);
        let forwards = self.interface(iface).is_some_and(|interface| interface.forwarding().v6);
        let slaac = self.slaac.iter_mut().find(|(id, _)| *id == iface).map(|(_, slaac)| slaac);
        let slaac = slaac.filter(|slaac| !forwards || slaac.config.even_if_forwarding);
        let Some((slaac, link)) = slaac.zip(link) else {
            return ctx.count_drop(DropReason::UnneededNeighbor);
        };
        let effects = slaac.handle_advertisement(now, link, src, &advertisement);
        if let Some(mac) = advertisement.source_mac
            && let Some(interface) = self.interface_mut(iface)
        {
            let pending = interface.neighbors.on_solicited_by(now, IpAddr::V6(src), mac);
            self.send_pending(ctx, iface, IpAddr::V6(src), pending);
        }
        self.apply(ctx, iface, effects);
    }

    /// Handles the timers that are due.
    pub(super) fn run_slaac_timers(&mut self, ctx: &mut Ctx<'_>) {
        for index in 0..self.slaac.len() {
            let Some(&(iface, ref slaac)) = self.slaac.get(index) else { return };
            if slaac.poll_timeout().is_none_or(|at| ctx.now < at) {
                continue;
            }
            let link = self.link_state(ctx, iface);
            if let Some(((_, slaac), link)) = self.slaac.get_mut(index).zip(link) {
                let effects = slaac.handle_timeout(ctx.now, link);
                self.apply(ctx, iface, effects);
            }
        }
    }

    /// Notes that a neighbour does not answer.
    pub(super) fn on_router_unreachable(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, addr: IpAddr) {
        if let Some((_, slaac)) = self.slaac.iter_mut().find(|(id, _)| *id == iface) {
            let effects = slaac.on_unreachable(addr);
            self.apply(ctx, iface, effects);
        }
    }

    /// Notes what happened to the addresses of an interface.
    pub(super) fn tell_slaac(&mut self, now: Instant, iface: InterfaceId, event: &NetworkEvent) {
        if let Some((_, slaac)) = self.slaac.iter_mut().find(|(id, _)| *id == iface) {
            slaac.on_event(now, event);
        }
    }

    /// Notes that an interface has no IPv6 any more, because its MTU is too small.
    pub(super) fn forget_learned(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        if let Some((_, slaac)) = self.slaac.iter_mut().find(|(id, _)| *id == iface) {
            let effects = slaac.forget_all();
            self.apply(ctx, iface, effects);
        }
    }

    /// Notes another MAC address. Addresses that were formed from the old one stay.
    pub(super) fn tell_slaac_mac(&mut self, iface: InterfaceId, mac: MacAddr) {
        if let Some((_, slaac)) = self.slaac.iter_mut().find(|(id, _)| *id == iface) {
            slaac.set_mac(mac);
        }
    }

    /// Notes that an interface forwards IPv6 packets from now on, or no longer. A router does not
    /// learn from others (RFC 4861 §6.2.8), unless that is wanted.
    pub(super) fn on_forwarding_changed(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, forwards: bool) {
        let is_ready = self.interface(iface).is_some_and(|interface| interface.has_link_local());
        let Some((_, slaac)) = self.slaac.iter_mut().find(|(id, _)| *id == iface) else { return };
        if slaac.config.even_if_forwarding {
            return;
        }
        if forwards {
            let effects = slaac.forget_routers();
            self.apply(ctx, iface, effects);
        } else if is_ready {
            slaac.start(ctx.now);
        }
    }

    fn link_state(&self, ctx: &Ctx<'_>, iface: InterfaceId) -> Option<SlaacLink> {
        // Below that MTU the interface has no IPv6.
        let interface = self.interface(iface).filter(|interface| interface.mtu >= IPV6_MIN_MTU)?;
        Some(SlaacLink {
            mtu: interface.mtu,
            addresses: interface.addresses().len(),
            probes: ctx.config.neighbor.duplicate_address_probes,
        })
    }

    /// Carries out changes, and counts what was left out.
    fn apply(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, effects: Effects) {
        let left_out = [
            (DropReason::BadAdvertisement, effects.unusable),
            (DropReason::AdvertisementLimit, effects.without_room),
        ];
        for (reason, count) in left_out {
            (0..count).for_each(|_| ctx.count_drop(reason));
        }
        for change in effects.changes {
            self.apply_change(ctx, iface, change);
        }
        self.run_interface_timers(ctx, iface);
        self.collect_events(ctx.now, iface);
    }

    fn apply_change(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, change: SlaacChange) {
        let place = place_of(&self.interfaces, iface);
        let Some(interface) = place.and_then(|place| self.interfaces.get_mut(place)) else { return };
        match change {
            SlaacChange::Solicit => self.solicit_routers(ctx, iface),
            SlaacChange::SetRoute { destination, gateway, preference, is_suspect } => {
                let key = (destination, gateway, iface);
                if let Some(route) = self.routes.set_advertised(key, preference, is_suspect) {
                    self.events.push(NetworkEvent::RouteAdded(route));
                }
            }
            SlaacChange::RemoveRoute { destination, gateway } => {
                for route in self.routes.remove_advertised((destination, gateway, iface)) {
                    self.events.push(NetworkEvent::RouteRemoved(route));
                }
            }
            SlaacChange::AddAddress { cidr, lifetime, is_temporary } => {
                // A program may have added the same address: it stays as the program wants it.
                if interface.add_address(ctx.now, cidr, &ctx.config.neighbor).is_err() {
                    let event = NetworkEvent::AddressRemoved { iface, cidr };
                    return self.tell_slaac(ctx.now, iface, &event);
                }
                // The interface has the address.
                let _ = interface.set_lifetime(ctx.now, cidr.addr, lifetime);
                if is_temporary {
                    interface.mark_temporary(cidr.addr);
                }
            }
            // The address may be gone: its end and a timer of ours are due at the same time.
            SlaacChange::SetLifetime { addr, lifetime } => {
                let _ = interface.set_lifetime(ctx.now, addr, lifetime);
            }
            SlaacChange::RemoveAddress(addr) => {
                let _ = interface.remove_address(ctx.now, addr);
            }
            SlaacChange::SetHopLimit(hop_limit) => interface.advertised_hop_limit = Some(hop_limit),
            SlaacChange::SetMtu(mtu) => {
                let has_changed = interface.set_advertised_mtu(Some(mtu));
                self.mtu_changes = self.mtu_changes.wrapping_add(has_changed.into());
            }
            SlaacChange::SetTimes { reachable, retransmit } => {
                interface.neighbors.set_times(reachable, retransmit, ctx.rng);
            }
            SlaacChange::NamesChanged => self.events.push(NetworkEvent::NameServersChanged { iface }),
        }
    }

    /// Sends a router solicitation (RFC 4861 §4.1, §6.3.7).
    fn solicit_routers(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        let Some(interface) = self.interface(iface) else { return };
        let Some(own) = interface.mac() else { return };
        let src = interface.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED);
        ctx.stats.link.solicitations_sent += 1;
        let (message, dst) = emit_solicitation(src, own);
        self.send_ndp_bytes(ctx, iface, message, src, dst, None);
    }
}
