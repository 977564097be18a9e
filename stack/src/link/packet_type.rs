//! How a frame was addressed, as packet sockets and filters see it.

/// The station that a frame is for (`sll_pkttype`). The numbers are Linux's.
// Exhaustive: Linux has these five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// PACKET_HOST: for this host.
    Host = 0,
    /// PACKET_BROADCAST: for all stations.
    Broadcast = 1,
    /// PACKET_MULTICAST: for a group.
    Multicast = 2,
    /// PACKET_OTHERHOST: for another station; seen in promiscuous mode.
    OtherHost = 3,
    /// PACKET_OUTGOING: sent by this host.
    Outgoing = 4,
}
