//! Admission: whether a received packet is for this host, judged by its addresses, or
//! intercepted.

use core::net::IpAddr;

use super::Network;
use crate::drop_reason::DropReason;
use crate::iface::interface::Interface;
use crate::interface_id::InterfaceId;
use crate::ip::input::{Arrival, is_martian};
use crate::ip::{Cast, IpHeader, is_link_local, protocol};
use crate::multicast::InterfaceGroups;

/// The decision about a received packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is for this host, and was addressed in this way.
    Local(Cast),
    /// It is for another host, and the interface takes it as if it were for this one.
    Intercept,
    /// It is for another host, and a router would forward it.
    Forward,
    /// It is dropped.
    Drop(DropReason),
}

impl Network {
    /// Decides whether a packet with these addresses is for this host, and how it was addressed.
    pub(super) fn admit(&self, arrival: Arrival, header: &IpHeader, packet: &[u8]) -> Admission {
        let (src, dst) = (header.src, header.dst);
        // RFC 9776 §4.2.14, RFC 4541 §2.1.1: hosts and switches without an address send IGMP
        // messages from 0.0.0.0.
        let is_addressless = |header: &IpHeader| header.protocol == protocol::IGMP && src.is_unspecified();
        if is_martian(src, dst, arrival.looped) && !is_addressless(header) {
            return Admission::Drop(DropReason::Martian);
        }
        if arrival.looped {
            if self.is_local(dst, Some(arrival.iface)) {
                return Admission::Local(Cast::Unicast);
            }
            return self.admit_looped_group(arrival.iface, header);
        }
        let Some(interface) = self.interface(arrival.iface) else {
            return Admission::Drop(DropReason::NoInterface);
        };
        // RFC 1122 §3.2.1.3: no other host sends from our address, and no host sends from a
        // broadcast address.
        let from_broadcast = matches!(src, IpAddr::V4(src) if interface.is_broadcast(src));
        if from_broadcast || self.is_own(src, arrival.iface) {
            return Admission::Drop(DropReason::Martian);
        }
        let cast = match interface.cast_of(dst) {
            Some(Cast::Multicast) if is_filtered(interface.groups(), header) => {
                return Admission::Drop(DropReason::SourceFiltered);
            }
            Some(cast) => cast,
            // The weak host model (RFC 1122 §3.3.4.2), as in Linux: a packet may be for any of our
            // addresses, whichever interface it came in through.
            None if self.is_own(dst, arrival.iface) => Cast::Unicast,
            None => return self.admit_other(arrival, header, packet),
        };
        // For a unicast packet in a broadcast frame the frame counts, so that no answer causes a
        // storm.
        Admission::Local(if cast == Cast::Unicast { arrival.link_cast } else { cast })
    }

    /// Decides about a packet that is not for an address or group of ours.
    // Out of line, so that `admit` is small for the packets that are.
    #[inline(never)]
    fn admit_other(&self, arrival: Arrival, header: &IpHeader, packet: &[u8]) -> Admission {
        let dst = header.dst;
        if dst.is_multicast() && self.is_proxied_solicitation(arrival.iface, header, packet) {
            return Admission::Local(Cast::Multicast);
        }
        // RFC 1812 §5.3.4: a packet from a broadcast frame is not forwarded.
        if dst.is_multicast() || arrival.link_cast != Cast::Unicast {
            return Admission::Drop(DropReason::NotForUs);
        }
        if self.intercepts(arrival.iface, header, packet) {
            return Admission::Intercept;
        }
        if is_link_local(dst) { Admission::Drop(DropReason::NotForUs) } else { Admission::Forward }
    }

    /// Decides about a packet to a group or broadcast address from this host itself.
    fn admit_looped_group(&self, iface: InterfaceId, header: &IpHeader) -> Admission {
        if let IpAddr::V4(dst) = header.dst
            && self.interface(iface).is_some_and(|interface| interface.is_broadcast(dst))
        {
            return Admission::Local(Cast::Broadcast);
        }
        match self.groups_of(iface) {
            Some(groups) if header.dst.is_multicast() && groups.is_member(header.dst) => {
                if is_filtered(groups, header) {
                    return Admission::Drop(DropReason::SourceFiltered);
                }
                Admission::Local(Cast::Multicast)
            }
            _ => Admission::Drop(DropReason::NotForUs),
        }
    }

    /// Whether the address is ours from the point of view of this interface.
    fn is_own(&self, addr: IpAddr, iface: InterfaceId) -> bool {
        let (scoped, zone) = (is_link_local(addr), self.zone_of(Some(iface)));
        let is_seen = |interface: &Interface| match scoped {
            true => interface.id == iface,
            false => interface.zone == zone,
        };
        self.interfaces.iter().any(|interface| interface.owns(addr) && is_seen(interface))
    }
}

/// Whether no member of the packet's group wants to hear its source. The sources of IGMP and MLD
/// messages do not matter (RFC 9776 §3.2, RFC 9777 §4.2). An MLD message has hop-by-hop options.
fn is_filtered(groups: &InterfaceGroups, header: &IpHeader) -> bool {
    let may_be_control = matches!(header.protocol, protocol::IGMP | protocol::HOP_BY_HOP | protocol::ICMPV6);
    groups.allows(header.dst, header.src) == Some(false) && !may_be_control
}
