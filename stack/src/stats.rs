//! Counters. Nothing is lost silently: every packet that is dropped has a [`DropReason`], and is counted.

use core::fmt;

/// Why a packet, or a part of one, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum DropReason {
    /// The frame is shorter than its link header.
    RuntFrame,
    /// The frame is longer than the interface's MTU allows.
    OversizedFrame,
    /// A unicast frame for another station's MAC address.
    OtherStation,
    /// A frame from a group address, or from our own MAC address.
    BadLinkSource,
    /// An EtherType that we do not speak, VLAN tags and 802.3 length fields included.
    UnknownEtherType,
    /// ARP of another hardware or protocol type, or malformed.
    BadArp,
    /// An NDP message that fails the checks of RFC 4861 §6.1 and §7.1, or about nobody we know.
    BadNdp,
    /// No such interface.
    NoInterface,
    /// The IP header is malformed: version, lengths.
    BadIpHeader,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// A source or destination address that must not be on the wire (RFC 1122 §3.2.1.3, RFC 6890).
    Martian,
    /// Not for one of our addresses, and we do not forward.
    NotForUs,
    /// A source route or another IPv4 option that we refuse.
    BadIpOption,
    /// An IPv6 extension header that is malformed or unknown.
    BadExtensionHeader,
    /// A fragment that is malformed, or makes a packet larger than 65,535 bytes.
    BadFragment,
    /// A fragment that overlaps another of its packet (RFC 5722): all fragments of the packet are dropped.
    FragmentOverlap,
    /// Fragments were missing when the time for reassembly was over: each of those that had waited.
    ReassemblyTimeout,
    /// No room for more fragments: the oldest packet's gave way.
    ReassemblyLimit,
    /// A transport protocol that nobody here speaks.
    UnknownProtocol,
    /// An ICMP message that is malformed or has a wrong checksum.
    BadIcmp,
    /// An ICMP message of a type that we do not handle.
    UnknownIcmp,
    /// An ICMP error about a packet that no socket of ours can have sent.
    UnmatchedIcmpError,
    /// An ICMP error that was not sent: the rate limit.
    IcmpRateLimit,
    /// A UDP datagram that is malformed.
    BadUdp,
    /// A UDP checksum that is wrong, or absent over IPv6.
    BadUdpChecksum,
    /// No socket for this UDP datagram.
    NoUdpSocket,
    /// The socket's receive buffer is full.
    ReceiveBufferFull,
    /// A TCP segment that is malformed.
    BadTcp,
    /// A TCP checksum that is wrong.
    BadTcpChecksum,
    /// No connection or listener for this TCP segment; it is answered with a reset.
    NoTcpSocket,
    /// A TCP segment to or from a broadcast or multicast address.
    TcpNotUnicast,
    /// A TCP segment outside the receive window (RFC 9293 §3.10.7.4, first step).
    OutOfWindow,
    /// A TCP segment with an old timestamp (RFC 7323 §5, PAWS).
    Paws,
    /// A TCP acknowledgement of something never sent, or too old (RFC 5961 §5).
    BadAck,
    /// A TCP reset or SYN in the window but not at its edge: answered with a challenge ACK (RFC 5961 §3, §4).
    ChallengeAck,
    /// A TCP segment that makes no sense in the connection's state.
    UnexpectedSegment,
    /// TCP data that was there already.
    DuplicateData,
    /// TCP data beyond the buffer's end, or too many out-of-order pieces.
    ReassemblyQueueFull,
    /// TCP data for a connection that nobody reads any more.
    ReceiverClosed,
    /// A SYN for a listener whose SYN queue is full.
    SynQueueFull,
    /// A handshake's last ACK, or a SYN, for a listener whose accept queue is full.
    AcceptQueueFull,
    /// A handshake that the peer never finished.
    HandshakeTimeout,
    /// A handshake's last ACK without data, for a listener that waits for data (TCP_DEFER_ACCEPT).
    AcceptDeferred,
    /// The neighbour did not answer, and packets waited for it.
    NeighborUnreachable,
    /// Too many packets waited for a neighbour: the oldest was dropped.
    NeighborQueueFull,
    /// No route to the destination, or none of our addresses fits as source.
    NoRoute,
    /// The packet is too big for the link or path, and must not be fragmented.
    PacketTooBig,
    /// Our queue of frames for the device, or the loopback's, is full.
    TransmitQueueFull,
    /// The stack's memory limit is reached.
    MemoryLimit,
    /// An ICMP redirect: routes are configured, not learned.
    RedirectIgnored,
    /// An echo or timestamp request that is not answered: to an IPv4 group, or the answers are switched off.
    EchoIgnored,
    /// A fragment that was there already.
    DuplicateFragment,
    /// An ARP or NDP message that is right but says nothing that we need: an announcement of a neighbour that we do not
    /// speak with, a question for an address that is not ours. Every healthy link has them.
    UnneededNeighbor,
    /// A packet that is another stack's, of several on the same interfaces: fragments go to all of them, as only the whole
    /// packet shows whose it is (see [`steering`](crate::steering)).
    OtherStack,
    /// An ARP request or neighbour solicitation that was not answered: the rate limit.
    NeighborRateLimit,
}

impl DropReason {
    /// All of them, in order.
    pub const ALL: &'static [DropReason] = &[
        DropReason::RuntFrame,
        DropReason::OversizedFrame,
        DropReason::OtherStation,
        DropReason::BadLinkSource,
        DropReason::UnknownEtherType,
        DropReason::BadArp,
        DropReason::BadNdp,
        DropReason::NoInterface,
        DropReason::BadIpHeader,
        DropReason::BadIpChecksum,
        DropReason::Martian,
        DropReason::NotForUs,
        DropReason::BadIpOption,
        DropReason::BadExtensionHeader,
        DropReason::BadFragment,
        DropReason::FragmentOverlap,
        DropReason::ReassemblyTimeout,
        DropReason::ReassemblyLimit,
        DropReason::UnknownProtocol,
        DropReason::BadIcmp,
        DropReason::UnknownIcmp,
        DropReason::UnmatchedIcmpError,
        DropReason::IcmpRateLimit,
        DropReason::BadUdp,
        DropReason::BadUdpChecksum,
        DropReason::NoUdpSocket,
        DropReason::ReceiveBufferFull,
        DropReason::BadTcp,
        DropReason::BadTcpChecksum,
        DropReason::NoTcpSocket,
        DropReason::TcpNotUnicast,
        DropReason::OutOfWindow,
        DropReason::Paws,
        DropReason::BadAck,
        DropReason::ChallengeAck,
        DropReason::UnexpectedSegment,
        DropReason::DuplicateData,
        DropReason::ReassemblyQueueFull,
        DropReason::ReceiverClosed,
        DropReason::SynQueueFull,
        DropReason::AcceptQueueFull,
        DropReason::HandshakeTimeout,
        DropReason::AcceptDeferred,
        DropReason::NeighborUnreachable,
        DropReason::NeighborQueueFull,
        DropReason::NoRoute,
        DropReason::PacketTooBig,
        DropReason::TransmitQueueFull,
        DropReason::MemoryLimit,
        DropReason::RedirectIgnored,
        DropReason::EchoIgnored,
        DropReason::DuplicateFragment,
        DropReason::UnneededNeighbor,
        DropReason::OtherStack,
        DropReason::NeighborRateLimit,
    ];

    const COUNT: usize = DropReason::ALL.len();
}

/// The counters of a stack since it was made.
#[derive(Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Frames that devices handed in.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames handed to devices.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets that went round the loopback.
    pub loopback_packets: u64,
    /// ARP requests and neighbour solicitations sent.
    pub solicitations_sent: u64,
    /// Claims of other stations to our addresses (RFC 4862, RFC 5227).
    pub address_conflicts: u64,
    /// Fragments received.
    pub fragments_in: u64,
    /// Packets put together from fragments.
    pub reassembled: u64,
    /// Packets cut into fragments.
    pub fragmented: u64,
    /// Fragments sent.
    pub fragments_out: u64,
    /// Echo requests answered.
    pub echo_replies_sent: u64,
    /// ICMP timestamp requests answered.
    pub timestamp_replies_sent: u64,
    /// ICMP errors sent.
    pub icmp_errors_sent: u64,
    /// ICMP errors received that concerned a socket of ours.
    pub icmp_errors_received: u64,
    /// UDP datagrams delivered to a socket.
    pub udp_received: u64,
    /// UDP datagrams sent.
    pub udp_sent: u64,
    /// TCP segments received with a right checksum.
    pub tcp_segments_in: u64,
    /// Of these: joined to the one before it, out of a batch of frames.
    pub tcp_segments_joined: u64,
    /// TCP segments sent, retransmissions included.
    pub tcp_segments_out: u64,
    /// TCP segments retransmitted.
    pub tcp_retransmits: u64,
    /// Of these, SYNs and SYN-ACKs of connections; those of handshakes under way count in `tcp_retransmits` alone.
    pub tcp_syn_retransmits: u64,
    /// Of these, what acknowledgements showed to be lost (RFC 6675, RFC 8985).
    pub tcp_fast_retransmits: u64,
    /// Of these, what counted as lost after a time-out.
    pub tcp_timeout_retransmits: u64,
    /// Of these, what a tail loss probe repeated (RFC 8985 §7).
    pub tcp_loss_probe_retransmits: u64,
    /// Of these, what was too big for the path.
    pub tcp_path_mtu_retransmits: u64,
    /// Times that a retransmission timer fired.
    pub tcp_timeouts: u64,
    /// Tail loss probes sent, with new data or old.
    pub tcp_loss_probes: u64,
    /// Losses that a tail loss probe repaired.
    pub tcp_loss_probe_recoveries: u64,
    /// Fast recoveries begun.
    pub tcp_recoveries: u64,
    /// Of these, those that turned out to be needless and were undone (RFC 3522, RFC 2883).
    pub tcp_spurious_recoveries: u64,
    /// Time-outs that turned out to be needless and were undone (RFC 5682, RFC 3522).
    pub tcp_spurious_timeouts: u64,
    /// Duplicates that peers reported (RFC 2883).
    pub tcp_dsacks_received: u64,
    /// Duplicates reported to peers.
    pub tcp_dsacks_sent: u64,
    /// Peers that discarded what they had acknowledged selectively (RFC 2018 §8).
    pub tcp_sack_reneging: u64,
    /// Resets sent.
    pub tcp_resets_sent: u64,
    /// Segments for no connection that were not answered with a reset: the rate limit.
    pub tcp_resets_limited: u64,
    /// Resets received that ended a connection.
    pub tcp_resets_received: u64,
    /// Challenge ACKs sent (RFC 5961).
    pub tcp_challenge_acks: u64,
    /// Zero-window probes sent.
    pub tcp_window_probes: u64,
    /// Keepalive probes sent.
    pub tcp_keepalive_probes: u64,
    /// Connections that this side opened.
    pub tcp_active_opens: u64,
    /// Connections that a listener accepted into its queue.
    pub tcp_passive_opens: u64,
    /// SYNs answered with a cookie (Linux's SyncookiesSent).
    pub syn_cookies_sent: u64,
    /// Cookies that came back and were good (Linux's SyncookiesRecv).
    pub syn_cookies_received: u64,
    /// ACKs for a listener that had sent cookies, without a good one (Linux's SyncookiesFailed).
    pub syn_cookies_failed: u64,
    /// SYNs that asked a listener for a Fast Open cookie (Linux's TCPFastOpenCookieReqd).
    pub fast_open_requests: u64,
    /// Connections made by a SYN with a good Fast Open cookie (Linux's TCPFastOpenPassive).
    pub fast_open_passive: u64,
    /// SYNs with a bad Fast Open cookie: the handshake took its usual course (Linux's TCPFastOpenPassiveFail).
    pub fast_open_passive_failed: u64,
    /// SYNs whose Fast Open option was ignored, for the limit of such connections was reached (Linux's
    /// TCPFastOpenListenOverflow).
    pub fast_open_overflows: u64,
    /// Connections whose SYN carried data that the SYN-ACK acknowledged (Linux's TCPFastOpenActive).
    pub fast_open_active: u64,
    /// Connections whose SYN carried data that was not acknowledged (Linux's TCPFastOpenActiveFail).
    pub fast_open_active_failed: u64,
    /// Connections that were reset because too many were held by no descriptor, or memory was out (Linux's
    /// TCPAbortOnMemory).
    pub tcp_orphans_reset: u64,
    /// Connections that made no progress and were reset because memory was out
    /// ([`CloseReason::NoMemory`](crate::CloseReason::NoMemory)).
    pub tcp_memory_resets: u64,
    /// Transitions between the states of a connection, all together.
    pub tcp_state_changes: u64,
    /// Connections that agreed on ECN as of RFC 3168.
    pub tcp_ecn_connections: u64,
    /// Connections that agreed on accurate ECN, RFC 9768.
    pub tcp_accecn_connections: u64,
    /// Packets marked CE (congestion experienced) that came for connections with ECN.
    pub tcp_ce_received: u64,
    /// Congestion windows that were reduced because the peer reported CE.
    pub tcp_ecn_reductions: u64,
    /// Paths that seemed to drop large segments in silence: segments were made smaller.
    pub tcp_mtu_black_holes: u64,
    /// Segments that were sent to find out whether the path takes their size (Linux's TCPMTUP counters).
    pub tcp_mtu_probes: u64,
    /// Of these, those that arrived, and segments became as large.
    pub tcp_mtu_probe_successes: u64,
    /// Of these, those that alone were lost.
    pub tcp_mtu_probe_failures: u64,
    /// Times that the sockets came under memory pressure.
    pub memory_pressures: u64,
    /// Bytes that had come out of order and were forgotten because the memory was short.
    pub tcp_pruned_bytes: u64,
    drops: [u64; DropReason::COUNT],
}

impl Stats {
    pub(crate) fn new() -> Self {
        Stats {
            frames_in: 0,
            bytes_in: 0,
            frames_out: 0,
            bytes_out: 0,
            loopback_packets: 0,
            solicitations_sent: 0,
            address_conflicts: 0,
            fragments_in: 0,
            reassembled: 0,
            fragmented: 0,
            fragments_out: 0,
            echo_replies_sent: 0,
            timestamp_replies_sent: 0,
            icmp_errors_sent: 0,
            icmp_errors_received: 0,
            udp_received: 0,
            udp_sent: 0,
            tcp_segments_in: 0,
            tcp_segments_joined: 0,
            tcp_segments_out: 0,
            tcp_retransmits: 0,
            tcp_syn_retransmits: 0,
            tcp_fast_retransmits: 0,
            tcp_timeout_retransmits: 0,
            tcp_loss_probe_retransmits: 0,
            tcp_path_mtu_retransmits: 0,
            tcp_timeouts: 0,
            tcp_loss_probes: 0,
            tcp_loss_probe_recoveries: 0,
            tcp_recoveries: 0,
            tcp_spurious_recoveries: 0,
            tcp_spurious_timeouts: 0,
            tcp_dsacks_received: 0,
            tcp_dsacks_sent: 0,
            tcp_sack_reneging: 0,
            tcp_resets_sent: 0,
            tcp_resets_limited: 0,
            tcp_resets_received: 0,
            tcp_challenge_acks: 0,
            tcp_window_probes: 0,
            tcp_keepalive_probes: 0,
            tcp_active_opens: 0,
            tcp_passive_opens: 0,
            syn_cookies_sent: 0,
            syn_cookies_received: 0,
            syn_cookies_failed: 0,
            fast_open_requests: 0,
            fast_open_passive: 0,
            fast_open_passive_failed: 0,
            fast_open_overflows: 0,
            fast_open_active: 0,
            fast_open_active_failed: 0,
            tcp_orphans_reset: 0,
            tcp_memory_resets: 0,
            tcp_state_changes: 0,
            tcp_ecn_connections: 0,
            tcp_accecn_connections: 0,
            tcp_ce_received: 0,
            tcp_ecn_reductions: 0,
            tcp_mtu_black_holes: 0,
            tcp_mtu_probes: 0,
            tcp_mtu_probe_successes: 0,
            tcp_mtu_probe_failures: 0,
            memory_pressures: 0,
            tcp_pruned_bytes: 0,
            drops: [0; DropReason::COUNT],
        }
    }

    /// How many packets were dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// How many packets were dropped, all reasons together.
    pub fn all_drops(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// The reasons for which anything was dropped, with their counts.
    pub fn drop_counts(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.drops(reason))).filter(|&(_, count)| count > 0)
    }

    /// Every counter but the drops, by name.
    pub fn counters(&self) -> [(&'static str, u64); 65] {
        [
            ("frames_in", self.frames_in),
            ("bytes_in", self.bytes_in),
            ("frames_out", self.frames_out),
            ("bytes_out", self.bytes_out),
            ("loopback_packets", self.loopback_packets),
            ("solicitations_sent", self.solicitations_sent),
            ("address_conflicts", self.address_conflicts),
            ("fragments_in", self.fragments_in),
            ("reassembled", self.reassembled),
            ("fragmented", self.fragmented),
            ("fragments_out", self.fragments_out),
            ("echo_replies_sent", self.echo_replies_sent),
            ("timestamp_replies_sent", self.timestamp_replies_sent),
            ("icmp_errors_sent", self.icmp_errors_sent),
            ("icmp_errors_received", self.icmp_errors_received),
            ("udp_received", self.udp_received),
            ("udp_sent", self.udp_sent),
            ("tcp_segments_in", self.tcp_segments_in),
            ("tcp_segments_joined", self.tcp_segments_joined),
            ("tcp_segments_out", self.tcp_segments_out),
            ("tcp_retransmits", self.tcp_retransmits),
            ("tcp_syn_retransmits", self.tcp_syn_retransmits),
            ("tcp_fast_retransmits", self.tcp_fast_retransmits),
            ("tcp_timeout_retransmits", self.tcp_timeout_retransmits),
            ("tcp_loss_probe_retransmits", self.tcp_loss_probe_retransmits),
            ("tcp_path_mtu_retransmits", self.tcp_path_mtu_retransmits),
            ("tcp_timeouts", self.tcp_timeouts),
            ("tcp_loss_probes", self.tcp_loss_probes),
            ("tcp_loss_probe_recoveries", self.tcp_loss_probe_recoveries),
            ("tcp_recoveries", self.tcp_recoveries),
            ("tcp_spurious_recoveries", self.tcp_spurious_recoveries),
            ("tcp_spurious_timeouts", self.tcp_spurious_timeouts),
            ("tcp_dsacks_received", self.tcp_dsacks_received),
            ("tcp_dsacks_sent", self.tcp_dsacks_sent),
            ("tcp_sack_reneging", self.tcp_sack_reneging),
            ("tcp_resets_sent", self.tcp_resets_sent),
            ("tcp_resets_limited", self.tcp_resets_limited),
            ("tcp_resets_received", self.tcp_resets_received),
            ("tcp_challenge_acks", self.tcp_challenge_acks),
            ("tcp_window_probes", self.tcp_window_probes),
            ("tcp_keepalive_probes", self.tcp_keepalive_probes),
            ("tcp_active_opens", self.tcp_active_opens),
            ("tcp_passive_opens", self.tcp_passive_opens),
            ("syn_cookies_sent", self.syn_cookies_sent),
            ("syn_cookies_received", self.syn_cookies_received),
            ("syn_cookies_failed", self.syn_cookies_failed),
            ("fast_open_requests", self.fast_open_requests),
            ("fast_open_passive", self.fast_open_passive),
            ("fast_open_passive_failed", self.fast_open_passive_failed),
            ("fast_open_overflows", self.fast_open_overflows),
            ("fast_open_active", self.fast_open_active),
            ("fast_open_active_failed", self.fast_open_active_failed),
            ("tcp_orphans_reset", self.tcp_orphans_reset),
            ("tcp_memory_resets", self.tcp_memory_resets),
            ("tcp_state_changes", self.tcp_state_changes),
            ("tcp_ecn_connections", self.tcp_ecn_connections),
            ("tcp_accecn_connections", self.tcp_accecn_connections),
            ("tcp_ce_received", self.tcp_ce_received),
            ("tcp_ecn_reductions", self.tcp_ecn_reductions),
            ("tcp_mtu_black_holes", self.tcp_mtu_black_holes),
            ("tcp_mtu_probes", self.tcp_mtu_probes),
            ("tcp_mtu_probe_successes", self.tcp_mtu_probe_successes),
            ("tcp_mtu_probe_failures", self.tcp_mtu_probe_failures),
            ("memory_pressures", self.memory_pressures),
            ("tcp_pruned_bytes", self.tcp_pruned_bytes),
        ]
    }

    /// The same counters in the same order, to be changed.
    fn counters_mut(&mut self) -> [&mut u64; 65] {
        [
            &mut self.frames_in,
            &mut self.bytes_in,
            &mut self.frames_out,
            &mut self.bytes_out,
            &mut self.loopback_packets,
            &mut self.solicitations_sent,
            &mut self.address_conflicts,
            &mut self.fragments_in,
            &mut self.reassembled,
            &mut self.fragmented,
            &mut self.fragments_out,
            &mut self.echo_replies_sent,
            &mut self.timestamp_replies_sent,
            &mut self.icmp_errors_sent,
            &mut self.icmp_errors_received,
            &mut self.udp_received,
            &mut self.udp_sent,
            &mut self.tcp_segments_in,
            &mut self.tcp_segments_joined,
            &mut self.tcp_segments_out,
            &mut self.tcp_retransmits,
            &mut self.tcp_syn_retransmits,
            &mut self.tcp_fast_retransmits,
            &mut self.tcp_timeout_retransmits,
            &mut self.tcp_loss_probe_retransmits,
            &mut self.tcp_path_mtu_retransmits,
            &mut self.tcp_timeouts,
            &mut self.tcp_loss_probes,
            &mut self.tcp_loss_probe_recoveries,
            &mut self.tcp_recoveries,
            &mut self.tcp_spurious_recoveries,
            &mut self.tcp_spurious_timeouts,
            &mut self.tcp_dsacks_received,
            &mut self.tcp_dsacks_sent,
            &mut self.tcp_sack_reneging,
            &mut self.tcp_resets_sent,
            &mut self.tcp_resets_limited,
            &mut self.tcp_resets_received,
            &mut self.tcp_challenge_acks,
            &mut self.tcp_window_probes,
            &mut self.tcp_keepalive_probes,
            &mut self.tcp_active_opens,
            &mut self.tcp_passive_opens,
            &mut self.syn_cookies_sent,
            &mut self.syn_cookies_received,
            &mut self.syn_cookies_failed,
            &mut self.fast_open_requests,
            &mut self.fast_open_passive,
            &mut self.fast_open_passive_failed,
            &mut self.fast_open_overflows,
            &mut self.fast_open_active,
            &mut self.fast_open_active_failed,
            &mut self.tcp_orphans_reset,
            &mut self.tcp_memory_resets,
            &mut self.tcp_state_changes,
            &mut self.tcp_ecn_connections,
            &mut self.tcp_accecn_connections,
            &mut self.tcp_ce_received,
            &mut self.tcp_ecn_reductions,
            &mut self.tcp_mtu_black_holes,
            &mut self.tcp_mtu_probes,
            &mut self.tcp_mtu_probe_successes,
            &mut self.tcp_mtu_probe_failures,
            &mut self.memory_pressures,
            &mut self.tcp_pruned_bytes,
        ]
    }

    /// Counts what another stack has counted as well.
    pub fn add(&mut self, other: &Stats) {
        for (sum, (_, count)) in self.counters_mut().into_iter().zip(other.counters()) {
            *sum += count;
        }
        for (sum, count) in self.drops.iter_mut().zip(other.drops) {
            *sum += count;
        }
    }

    /// Counts a drop. The one place where packets end: a good breakpoint.
    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
        log::debug!("dropped: {reason:?}");
    }
}

/// Only what is not zero.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.counters().iter().filter(|(_, value)| *value > 0) {
            map.entry(&format_args!("{name}"), value);
        }
        for (reason, count) in self.drop_counts() {
            map.entry(&format_args!("dropped {reason:?}"), &count);
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_several_stacks_add_up_each_under_its_name() {
        let mut stats = Stats::new();
        for (value, counter) in stats.counters_mut().into_iter().enumerate() {
            *counter = value as u64;
        }
        stats.count_drop(DropReason::BadTcp);
        let mut sum = stats.clone();
        sum.add(&stats);
        assert!(sum.counters().iter().enumerate().all(|(index, &(_, value))| value == 2 * index as u64));
        assert_eq!(
            (sum.frames_in, sum.bytes_in, sum.tcp_pruned_bytes),
            (0, 2, 2 * (sum.counters().len() as u64 - 1))
        );
        assert_eq!((sum.drops(DropReason::BadTcp), sum.all_drops()), (2, 2));
    }

    #[test]
    fn all_lists_every_reason_at_its_own_place() {
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        let mut stats = Stats::new();
        stats.count_drop(DropReason::MemoryLimit);
        assert_eq!(stats.all_drops(), 1);
        assert_eq!(stats.drop_counts().next(), Some((DropReason::MemoryLimit, 1)));
    }
}
