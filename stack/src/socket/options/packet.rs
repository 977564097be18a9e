//! Options of packet sockets, of the level SOL_PACKET.

use crate::interface_id::InterfaceId;
use crate::link::mac::MacAddr;

/// A group of packet sockets, of which one gets each frame (PACKET_FANOUT). All have the same
/// interface, EtherType and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PacketFanout {
    /// The number of the group.
    pub id: u16,
    /// How the member is chosen.
    pub mode: PacketFanoutMode,
    /// PACKET_FANOUT_FLAG_ROLLOVER: a frame for a member without room goes to the next that has
    /// some.
    pub rolls_over: bool,
    /// PACKET_FANOUT_FLAG_IGNORE_OUTGOING: the group gets no frames that this host sends.
    pub ignores_outgoing: bool,
}

/// How a member of a [`PacketFanout`] is chosen for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PacketFanoutMode {
    /// PACKET_FANOUT_HASH: by a hash of the addresses and ports, the same in both directions.
    Hash,
    /// PACKET_FANOUT_LB: each in turn.
    RoundRobin,
    /// PACKET_FANOUT_ROLLOVER: the first one that has room.
    Rollover,
    /// PACKET_FANOUT_RND: by chance.
    Random,
    /// PACKET_FANOUT_CBPF: by a program that returns its index
    /// ([`Stack::set_fanout_program`](crate::Stack::set_fanout_program)), modulo the number of
    /// members. It sees the frame from its network header on. The first member until there is one.
    Program,
}

impl PacketFanout {
    /// A group of this number and mode, without flags.
    pub fn new(id: u16, mode: PacketFanoutMode) -> Self {
        PacketFanout { id, mode, rolls_over: false, ignores_outgoing: false }
    }
}

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
