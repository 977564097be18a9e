//! [`DropReason`]: why a packet was dropped. Each one is counted in [`Stats`](crate::Stats).

/// Defines the enum and the list of its variants, so that a reason is written once.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $reason:ident,)*) => {
        /// Why a packet, or a part of one, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $reason,)*
        }

        impl DropReason {
            /// All reasons, in order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$reason),*];

            /// The name of its counter: `drops.` and the name of the variant.
            pub(crate) fn counter_name(self) -> &'static str {
                match self {
                    $(DropReason::$reason => concat!("drops.", stringify!($reason)),)*
                }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than its link header.
    RuntFrame,
    /// The frame is longer than the interface's MTU allows.
    OversizedFrame,
    /// A unicast frame for another station's MAC address, or a frame to a group that the interface
    /// has not joined.
    OtherStation,
    /// A frame from a group address, or from our own MAC address.
    BadLinkSource,
    /// An EtherType that this stack does not handle, VLAN tags and 802.3 length fields included.
    UnknownEtherType,
    /// An ARP packet of another hardware or protocol type, or a malformed one.
    BadArp,
    /// An NDP message that fails the checks of RFC 4861 §6.1 and §7.1, or is about an unknown
    /// neighbour.
    BadNdp,
    /// There is no such interface.
    NoInterface,
    /// The IP header is malformed: version, lengths.
    BadIpHeader,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// A source or destination address that must not be on the wire (RFC 1122 §3.2.1.3, RFC 6890).
    Martian,
    /// The packet is for another host, and is not forwarded: forwarding is off, or an address is
    /// valid on its link only.
    NotForUs,
    /// A source route or another IPv4 option that this stack refuses.
    BadIpOption,
    /// An IPv6 extension header that is malformed or unknown.
    BadExtensionHeader,
    /// A fragment that is malformed, or makes a packet larger than 65,535 bytes.
    BadFragment,
    /// A fragment that overlaps another of its packet (RFC 5722): all fragments of the packet are
    /// dropped.
    FragmentOverlap,
    /// A fragment that waited when the reassembly time-out expired.
    ReassemblyTimeout,
    /// A fragment discarded because the memory for reassembly was used up.
    ReassemblyLimit,
    /// An unknown transport protocol.
    UnknownProtocol,
    /// An ICMP message that is malformed or has a wrong checksum.
    BadIcmp,
    /// An ICMP message of a type that this stack does not handle.
    UnknownIcmp,
    /// An ICMP error about a packet that no socket of this stack can have sent.
    UnmatchedIcmpError,
    /// An ICMP error that the rate limit suppressed.
    IcmpRateLimit,
    /// A packet whose checksum is wrong, for a raw socket that wants it verified (IPV6_CHECKSUM).
    BadRawChecksum,
    /// A UDP datagram that is malformed.
    BadUdp,
    /// A UDP checksum that is wrong, or absent over IPv6.
    BadUdpChecksum,
    /// No socket takes this UDP datagram.
    NoUdpSocket,
    /// The socket's receive buffer is full.
    ReceiveBufferFull,
    /// A TCP segment that is malformed.
    BadTcp,
    /// A TCP checksum that is wrong.
    BadTcpChecksum,
    /// No connection or listener takes this TCP segment; it is answered with a reset.
    NoTcpSocket,
    /// A TCP segment to or from a broadcast or multicast address.
    TcpNotUnicast,
    /// A TCP segment outside the receive window (RFC 9293 §3.10.7.4, first step).
    OutOfWindow,
    /// A TCP segment with an old timestamp (RFC 7323 §5, PAWS).
    Paws,
    /// A TCP acknowledgement of data that was never sent, or one that is too old (RFC 5961 §5).
    BadAck,
    /// A TCP reset or SYN in the window but not at its edge: answered with a challenge ACK (RFC
    /// 5961 §3, §4).
    ChallengeAck,
    /// A TCP segment that is not valid in the connection's state.
    UnexpectedSegment,
    /// TCP data that was received before.
    DuplicateData,
    /// TCP data beyond the end of the buffer, or in too many out-of-order pieces.
    ReassemblyQueueFull,
    /// TCP data for a connection whose program has stopped reading.
    ReceiverClosed,
    /// A SYN for a listener whose SYN queue is full.
    SynQueueFull,
    /// A handshake's last ACK, or a SYN, for a listener whose accept queue is full.
    AcceptQueueFull,
    /// A handshake that the peer did not complete.
    HandshakeTimeout,
    /// A handshake's last ACK without data, for a listener that waits for data (TCP_DEFER_ACCEPT).
    AcceptDeferred,
    /// A packet that the filter of its socket refused (SO_ATTACH_FILTER).
    Filtered,
    /// The TTL of a TCP segment is lower than the socket allows (IP_MINTTL, IPV6_MINHOPCOUNT).
    TtlTooLow,
    /// A packet that waited for a neighbour, which did not answer.
    NeighborUnreachable,
    /// Too many packets waited for a neighbour: the oldest was dropped.
    NeighborQueueFull,
    /// The link was down, or the frame waited for a device that failed, or was removed or replaced
    /// meanwhile.
    LinkDown,
    /// There is no route to the destination, or none of our addresses can be the source.
    NoRoute,
    /// The packet is too big for the link or path, and must not be fragmented.
    PacketTooBig,
    /// The queue of frames for the device, or that of the loopback, is full.
    TransmitQueueFull,
    /// The device took no frames for so long that other devices should not wait for it any longer.
    DeviceFull,
    /// The stack's memory limit is reached.
    MemoryLimit,
    /// An ICMP redirect, which is ignored: routes are configured, not learned.
    RedirectIgnored,
    /// An echo or timestamp request that is not answered: it was sent to an IPv4 group, or answers
    /// are switched off.
    EchoIgnored,
    /// A fragment that was received before.
    DuplicateFragment,
    /// A valid ARP or NDP message that the stack does not need: an announcement of a neighbour that
    /// it does not talk to, or a request for another host's address. Every link has them.
    UnneededNeighbor,
    /// A part of a router advertisement that no host can use: a prefix, route, MTU, time, name
    /// server or domain with an absurd value, or an option of the wrong length.
    BadAdvertisement,
    /// A part of a router advertisement for which there is no room: an interface keeps only so many
    /// routers, prefixes, routes, addresses, name servers and domains.
    AdvertisementLimit,
    /// A reassembled packet that belongs to another stack on the same interfaces: all stacks
    /// receive the fragments (see [`steering`](crate::steering)).
    OtherStack,
    /// An ARP request or neighbour solicitation that the rate limit left unanswered.
    NeighborRateLimit,
    /// An IGMP or MLD message that is malformed, has a wrong checksum, or may come from another
    /// network: a TTL other than 1, for MLD a source that is not link-local.
    BadGroupMessage,
    /// A valid IGMP or MLD message that is for routers.
    UnneededGroupMessage,
    /// A packet to a group of ours, from a source that no member wants to hear.
    SourceFiltered,
    /// A packet for another host whose TTL or hop limit has run out.
    HopLimitExceeded,
    /// A packet for another host that is not what its device says: a checksum or segments that are
    /// not in it.
    BadOffload,
    /// A SYN that was intercepted, and that its source has reset or replaced before the program
    /// decided.
    PendingCancelled,
    /// A SYN that was intercepted, and on which the program did not decide in time.
    PendingTimeout,
    /// A SYN that was intercepted, and that made room for another, or found none: there are too
    /// many pending or accepted connections, of its source or in all.
    InterceptionLimit,
    /// A SYN that was intercepted, and that the program refused.
    PendingRejected,
    /// A datagram of an intercepted flow that nobody accepted before it ended.
    FlowEnded,
    /// A SYN that was intercepted, and that the program left unanswered by a rule of its own.
    IgnoredByPolicy,
    /// A SYN that was intercepted, and that the program left unanswered because it had too much to
    /// do.
    IgnoredForOverload,
    /// A SYN that was intercepted, and that the program left unanswered because it got no answer
    /// itself.
    IgnoredForSilence,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn all_lists_every_reason_at_its_own_place() {
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(reason.counter_name(), format!("drops.{reason:?}"));
        }
    }
}
