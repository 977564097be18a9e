//! Options of packet sockets, of the level SOL_PACKET.

use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;

/// What an interface is to receive for a packet socket (`struct packet_mreq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PacketMembership {
    /// The interface.
    pub iface: InterfaceId,
    /// What it is to receive.
    pub kind: PacketMembershipKind,
    /// The MAC address of a group or a station.
    pub mac: Option<MacAddr>,
}

/// The kinds of memberships.
// Exhaustive: Linux has these four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketMembershipKind {
    /// PACKET_MR_PROMISC: packet sockets see frames for other stations, too.
    Promiscuous,
    /// PACKET_MR_MULTICAST: frames for this group. Interfaces of a stack receive those of all
    /// groups anyway.
    Multicast,
    /// PACKET_MR_ALLMULTI: frames for all groups, as ever.
    AllMulticast,
    /// PACKET_MR_UNICAST: packet sockets see frames for this other station.
    Unicast,
}

impl PacketMembership {
    /// A membership of this kind.
    pub fn new(iface: InterfaceId, kind: PacketMembershipKind, mac: Option<MacAddr>) -> Self {
        PacketMembership { iface, kind, mac }
    }

    /// Promiscuous mode of an interface.
    pub fn promiscuous(iface: InterfaceId) -> Self {
        PacketMembership { iface, kind: PacketMembershipKind::Promiscuous, mac: None }
    }

    /// All groups.
    pub fn all_multicast(iface: InterfaceId) -> Self {
        PacketMembership { iface, kind: PacketMembershipKind::AllMulticast, mac: None }
    }

    /// One group.
    pub fn multicast(iface: InterfaceId, group: MacAddr) -> Self {
        PacketMembership { iface, kind: PacketMembershipKind::Multicast, mac: Some(group) }
    }

    /// One station.
    pub fn unicast(iface: InterfaceId, station: MacAddr) -> Self {
        PacketMembership { iface, kind: PacketMembershipKind::Unicast, mac: Some(station) }
    }
}
