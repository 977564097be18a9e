//! PACKET_ADD_MEMBERSHIP: what else an interface receives for a packet socket.

use core::mem;

use super::PacketSockets;
use super::queue::HeldMembership;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;
use crate::socket::common::Env;
use crate::socket::options::{PacketMembership, PacketMembershipKind};

/// The most memberships of a socket that differ (`net.core.optmem_max` limits them on Linux).
const MAX_MEMBERSHIPS: usize = 256;

impl PacketSockets {
    /// ENODEV, EINVAL, ENOBUFS.
    pub(super) fn add_membership(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        membership: PacketMembership,
    ) -> Result<()> {
        let PacketMembership { iface, kind, mac } = membership;
        let link = env.network.link(iface).ok_or(Error::NoDevice)?;
        let needs_mac = matches!(kind, PacketMembershipKind::Multicast | PacketMembershipKind::Unicast);
        if link.mac.is_none() && mac.is_some() || link.mac.is_some() && needs_mac && mac.is_none() {
            return Err(Error::InvalidArgument);
        }
        let memberships = &mut env.common.record_mut(id)?.packets_mut()?.memberships;
        let count = memberships.len();
        match memberships.iter_mut().find(|held| held.membership == membership) {
            Some(held) => held.count = held.count.checked_add(1).ok_or(Error::NoBufferSpace)?,
            None if count >= MAX_MEMBERSHIPS => return Err(Error::NoBufferSpace),
            None => {
                memberships.push(HeldMembership { membership, count: 1 });
                if let Some(shown) = shown_by(membership) {
                    *self.shown.entry(shown).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// PACKET_DROP_MEMBERSHIP. As on Linux it is no error if there is no such membership.
    pub(super) fn drop_membership(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        membership: PacketMembership,
    ) -> Result<()> {
        let memberships = &mut env.common.record_mut(id)?.packets_mut()?.memberships;
        let Some(at) = memberships.iter().position(|held| held.membership == membership) else {
            return Ok(());
        };
        memberships[at].count -= 1;
        if memberships[at].count == 0 {
            memberships.remove(at);
            self.forget(membership);
        }
        Ok(())
    }

    /// Drops all memberships of a socket.
    pub(super) fn drop_all_memberships(&mut self, env: &mut Env<'_>, id: SocketId) {
        let Ok(packets) = env.common.record_mut(id).and_then(|socket| socket.packets_mut()) else { return };
        for held in mem::take(&mut packets.memberships) {
            self.forget(held.membership);
        }
    }

    /// Whether packet sockets see frames for this other station.
    pub(super) fn is_shown(&self, iface: InterfaceId, station: MacAddr) -> bool {
        !self.shown.is_empty()
            && (self.shown.contains_key(&(iface, None)) || self.shown.contains_key(&(iface, Some(station))))
    }

    fn forget(&mut self, membership: PacketMembership) {
        if let Some(shown) = shown_by(membership)
            && let Some(count) = self.shown.get_mut(&shown)
        {
            *count -= 1;
            if *count == 0 {
                self.shown.remove(&shown);
            }
        }
    }
}

/// The frames for other stations that a membership shows: of an interface, all or those for one
/// station.
fn shown_by(membership: PacketMembership) -> Option<(InterfaceId, Option<MacAddr>)> {
    let PacketMembership { iface, kind, mac } = membership;
    match kind {
        PacketMembershipKind::Promiscuous => Some((iface, None)),
        PacketMembershipKind::Unicast => Some((iface, mac)),
        PacketMembershipKind::Multicast | PacketMembershipKind::AllMulticast => None,
    }
}
