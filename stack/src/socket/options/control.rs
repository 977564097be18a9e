//! Control data that programs ask for.

/// Control data of `recvmsg`, each with the option by which a program asks for it
/// ([`SocketOption::AskFor`](crate::SocketOption::AskFor)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlData {
    /// IP_PKTINFO: [`DatagramMeta::local`](crate::DatagramMeta::local) and
    /// [`iface`](crate::DatagramMeta::iface).
    PacketInfo,
    /// IP_RECVTTL: [`DatagramMeta::hop_limit`](crate::DatagramMeta::hop_limit).
    Ttl,
    /// IP_RECVTOS: [`DatagramMeta::traffic_class`](crate::DatagramMeta::traffic_class).
    Tos,
    /// IPV6_RECVPKTINFO: as `PacketInfo`.
    PacketInfoV6,
    /// IPV6_RECVHOPLIMIT: as `Ttl`.
    HopLimit,
    /// IPV6_RECVTCLASS: as `Tos`.
    TrafficClass,
    /// SO_TIMESTAMP: [`DatagramMeta::at`](crate::DatagramMeta::at), in microseconds. A stack does
    /// not know the time of day: whoever drives it adds the difference between the clock that it
    /// is driven with and that of the day.
    Timestamp,
    /// SO_TIMESTAMP with 64-bit seconds on every machine (SO_TIMESTAMP_NEW).
    TimestampNew,
    /// SO_TIMESTAMPNS: as `Timestamp`, in nanoseconds.
    TimestampNanos,
    /// SO_TIMESTAMPNS_NEW.
    TimestampNanosNew,
    /// SO_RXQ_OVFL: [`DatagramMeta::drops`](crate::DatagramMeta::drops).
    Drops,
    /// TCP_INQ: what [`Stack::queued_bytes`](crate::Stack::queued_bytes) returns after the call.
    Unread,
    /// IP_RECVORIGDSTADDR: [`DatagramMeta::local`](crate::DatagramMeta::local). Nothing in the
    /// stack rewrites destinations, so it is the original one.
    OriginalDestination,
    /// IPV6_RECVORIGDSTADDR: as `OriginalDestination`.
    OriginalDestinationV6,
    /// PACKET_AUXDATA: [`PacketMeta`](crate::PacketMeta).
    Auxiliary,
}

impl ControlData {
    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }
}
