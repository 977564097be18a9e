//! Changes of links while packets are on their way: up and down, MTU, MAC address, offloads.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Network;
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::frame::Transmit;
use crate::iface::cidr::Cidr;
use crate::iface::event::NetworkEvent;
use crate::iface::interface::IPV6_MIN_MTU;
use crate::iface::link_state::LinkState;
use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;
use crate::link::neighbor::PendingPackets;
use crate::offload::Offloads;

impl Network {
    /// Removes an interface, and everything that is known through it.
    pub(crate) fn remove_interface(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) -> Result<()> {
        self.end_slaac(ctx, iface);
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        log::debug!("the interface {} is removed", interface.name);
        let waiting = interface.neighbors.clear();
        interface.remove_addresses(ctx.now);
        self.drop_waiting(ctx, iface, waiting);
        self.collect_events(ctx.now, iface);
        for route in self.routes.remove_of(iface) {
            self.events.push(NetworkEvent::RouteRemoved(route));
        }
        self.reassembler.remove_of(iface, ctx.stats);
        self.path_mtus.remove_of(iface);
        self.interfaces.retain(|interface| interface.id != iface);
        self.mtu_changes = self.mtu_changes.wrapping_add(1);
        self.events.push(NetworkEvent::InterfaceRemoved { iface });
        Ok(())
    }

    pub(crate) fn set_link(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, link: LinkState) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        if interface.link == link {
            return Ok(());
        }
        log::debug!("the link of {} is {link:?}", interface.name);
        let waiting = interface.set_link(ctx.now, link, &ctx.config.neighbor);
        if link == LinkState::Down {
            self.drop_waiting(ctx, iface, waiting);
        }
        self.run_interface_timers(ctx, iface);
        self.collect_events(ctx.now, iface);
        Ok(())
    }

    pub(crate) fn set_mtu(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, mtu: usize) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        let old = interface.mtu;
        interface.set_mtu(ctx.now, mtu)?;
        // As on Linux, an interface that can have IPv6 again has its link-local address again.
        if old < IPV6_MIN_MTU && mtu >= IPV6_MIN_MTU {
            self.add_link_local(ctx, iface)?;
        }
        self.mtu_changes = self.mtu_changes.wrapping_add(u16::from(old != mtu));
        self.collect_events(ctx.now, iface);
        if mtu < IPV6_MIN_MTU {
            self.forget_learned(ctx, iface);
        }
        Ok(())
    }

    fn add_link_local(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) -> Result<()> {
        let Some(mac) = self.interface(iface).and_then(|interface| interface.mac()) else { return Ok(()) };
        self.add_address(ctx, iface, Cidr::new(IpAddr::V6(mac.link_local()), 64))
    }

    pub(crate) fn set_mac(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, mac: MacAddr) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        if interface.mac() == Some(mac) {
            return Ok(());
        }
        let waiting = interface.set_mac(ctx.now, mac, &ctx.config.neighbor)?;
        self.drop_waiting(ctx, iface, waiting);
        self.run_interface_timers(ctx, iface);
        self.tell_slaac_mac(iface, mac);
        Ok(())
    }

    /// Frames that wait were made for the old offloads: they are dropped.
    pub(crate) fn set_offloads(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        offloads: Offloads,
    ) -> Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        if interface.offloads != offloads {
            interface.offloads = offloads;
            let waiting = interface.neighbors.clear();
            self.drop_waiting(ctx, iface, waiting);
        }
        Ok(())
    }

    /// A number that changes when the MTU of a link does.
    #[inline]
    pub(crate) fn mtu_changes(&self) -> u16 {
        self.mtu_changes
    }

    /// Whether an interface has a link that carries no frames.
    pub(crate) fn is_link_down(&self, iface: InterfaceId) -> bool {
        self.interface(iface).is_some_and(|interface| interface.link == LinkState::Down)
    }

    /// Drops everything that waits for an interface: these packets, which waited for a neighbour,
    /// and its frames in the queues.
    fn drop_waiting(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, packets: PendingPackets) {
        for packet in packets {
            self.drop_packet(ctx, iface, packet.header.as_slice(), DropReason::LinkDown);
        }
        let mut frames: Vec<Transmit> = self.transmits.take_of(iface);
        frames.extend(self.forwards.take_of(iface));
        for frame in frames {
            self.drop_frame(ctx, &frame, DropReason::LinkDown);
        }
    }
}
