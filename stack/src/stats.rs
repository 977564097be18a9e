//! [`Stats`]: the counters, in groups. Every packet that is dropped has a [`DropReason`] and is
//! counted.

use core::fmt;

use crate::drop_reason::DropReason;
use crate::subject::Subject;

/// One counter of [`Stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counter {
    /// Its group and its field: `tcp.retrans_segs`.
    pub name: &'static str,
    /// The counter of the Linux kernel that counts the same, by the name that `nstat` prints:
    /// `TcpRetransSegs`. Most of them are objects of the standard MIBs (RFC 4022, RFC 4113, RFC
    /// 4293).
    pub mib: Option<&'static str>,
    /// The count since the stack was made.
    pub value: u64,
}

/// Makes a group of counters: the struct, its documentation, the names and the iteration. A counter
/// is written once.
macro_rules! group {
    ($(#[$group_doc:meta])* $group:ident, $prefix:literal, {
        $($(#[$doc:meta])* $field:ident $(= $mib:literal)?,)*
    }) => {
        $(#[$group_doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $group {
            $(
                $(#[$doc])*
                $(#[doc = concat!("\n\nIn Linux: `", $mib, "`.")])?
                pub $field: u64,
            )*
        }

        impl $group {
            fn counters(&self) -> impl Iterator<Item = Counter> + use<> {
                [$(Counter {
                    name: concat!($prefix, ".", stringify!($field)),
                    mib: group!(@mib $($mib)?),
                    value: self.$field,
                }),*]
                .into_iter()
            }

            fn add(&mut self, other: &$group) {
                $(self.$field += other.$field;)*
            }
        }
    };
    (@mib) => { None };
    (@mib $mib:literal) => { Some($mib) };
}

group! {
    /// Frames and neighbours.
    LinkStats, "link", {
        /// Frames that devices handed in.
        frames_in,
        /// Bytes of the frames that devices handed in.
        bytes_in,
        /// Frames handed to devices.
        frames_out,
        /// Bytes of the frames handed to devices.
        bytes_out,
        /// ARP requests and neighbour solicitations sent.
        solicitations_sent,
        /// Address conflicts: another station used one of our addresses (RFC 4862, RFC 5227).
        address_conflicts,
        /// Frames missing from the [trace](crate::Stack::set_trace) because it was full.
        untraced_frames,
    }
}

group! {
    /// IP packets of both versions. For IPv6, Linux has counters of its own under the same names
    /// (`Ip6ReasmReqds`).
    IpStats, "ip", {
        /// Packets that went round the loopback.
        loopback_packets,
        /// Fragments received.
        reasm_reqds = "IpReasmReqds",
        /// Packets put together from fragments.
        reasm_oks = "IpReasmOKs",
        /// Packets of other hosts that were forwarded.
        forw_datagrams = "IpForwDatagrams",
        /// Packets cut into fragments.
        frag_oks = "IpFragOKs",
        /// Fragments sent.
        frag_creates = "IpFragCreates",
    }
}

group! {
    /// ICMP messages of both versions.
    IcmpStats, "icmp", {
        /// Echo requests answered.
        out_echo_reps = "IcmpOutEchoReps",
        /// ICMP timestamp requests answered.
        out_timestamp_reps = "IcmpOutTimestampReps",
        /// ICMP errors sent.
        errors_sent,
        /// ICMP errors received that concerned a socket of ours.
        errors_received,
    }
}

group! {
    /// IGMP and MLD.
    MulticastStats, "multicast", {
        /// Queries received.
        queries_received,
        /// Reports of other hosts received, of the versions in which hosts heed them.
        reports_received,
        /// Reports, and messages about leaving, sent.
        reports_sent,
    }
}

group! {
    /// UDP datagrams.
    UdpStats, "udp", {
        /// UDP datagrams delivered to a socket.
        in_datagrams = "UdpInDatagrams",
        /// UDP datagrams sent.
        out_datagrams = "UdpOutDatagrams",
    }
}

group! {
    /// TCP segments and connections.
    TcpStats, "tcp", {
        /// TCP segments received with a right checksum.
        in_segs = "TcpInSegs",
        /// Of these: joined to the previous one, out of a batch of frames.
        joined_segs,
        /// TCP segments sent, retransmissions included (which Linux leaves out of `TcpOutSegs`).
        segs_sent,
        /// TCP segments retransmitted. [`RecoveryStats`] has them by cause.
        retrans_segs = "TcpRetransSegs",
        /// Connections that this side opened.
        active_opens = "TcpActiveOpens",
        /// Connections that a listener accepted into its queue.
        passive_opens = "TcpPassiveOpens",
        /// Transitions between states, of all connections together.
        state_changes,
        /// Resets sent.
        out_rsts = "TcpOutRsts",
        /// Resets received that ended a connection.
        resets_received,
        /// Resets for segments of no connection that the rate limit suppressed.
        resets_limited,
        /// Challenge ACKs sent (RFC 5961).
        challenge_ack = "TcpExtTCPChallengeACK",
        /// Zero-window probes sent.
        win_probe = "TcpExtTCPWinProbe",
        /// Keepalive probes sent.
        keep_alive = "TcpExtTCPKeepAlive",
    }
}

group! {
    /// Retransmissions and recoveries of TCP.
    RecoveryStats, "recovery", {
        /// SYNs and SYN-ACKs retransmitted.
        syn_retrans = "TcpExtTCPSynRetrans",
        /// Segments retransmitted because acknowledgements showed them to be lost (RFC 6675, RFC
        /// 8985).
        fast_retrans = "TcpExtTCPFastRetrans",
        /// Segments retransmitted after a time-out.
        timeout_retrans,
        /// Segments that a tail loss probe repeated (RFC 8985 §7).
        loss_probe_retrans,
        /// Segments retransmitted because they were too big for the path.
        path_mtu_retrans,
        /// Times that a retransmission timer fired.
        timeouts = "TcpExtTCPTimeouts",
        /// Tail loss probes sent, with new data or old.
        loss_probes = "TcpExtTCPLossProbes",
        /// Losses that a tail loss probe repaired.
        loss_probe_recovery = "TcpExtTCPLossProbeRecovery",
        /// Fast recoveries begun (Linux's `TcpExtTCPSackRecovery` and `TcpExtTCPRenoRecovery`).
        recoveries,
        /// Of these, those that turned out to be needless and were undone (RFC 3522, RFC 2883;
        /// Linux's `TcpExtTCPFullUndo` and `TcpExtTCPDSACKUndo`).
        spurious_recoveries,
        /// Time-outs that turned out to be needless and were undone (RFC 5682, RFC 3522).
        spurious_timeouts = "TcpExtTCPLossUndo",
        /// Duplicates that peers reported (RFC 2883; Linux's `TcpExtTCPDSACKRecv` and
        /// `TcpExtTCPDSACKOfoRecv`).
        dsacks_received,
        /// Duplicates reported to peers (Linux's `TcpExtTCPDSACKOldSent` and
        /// `TcpExtTCPDSACKOfoSent`).
        dsacks_sent,
        /// Peers that discarded what they had acknowledged selectively (RFC 2018 §8).
        sack_reneging = "TcpExtTCPSACKReneging",
    }
}

group! {
    /// Explicit congestion notification of TCP.
    EcnStats, "ecn", {
        /// Connections that agreed on ECN as of RFC 3168.
        connections,
        /// Connections that agreed on accurate ECN, RFC 9768.
        accecn_connections,
        /// Packets received with CE (congestion experienced) on connections with ECN.
        ce_received,
        /// Congestion windows that were reduced because the peer reported CE.
        reductions,
    }
}

group! {
    /// The discovery of path MTUs by TCP.
    MtuStats, "mtu", {
        /// Paths that seemed to drop large segments silently, so that segments were made smaller.
        black_holes,
        /// Segments sent to probe whether the path takes their size.
        probes,
        /// Probes that arrived: segments became as large.
        probe_success = "TcpExtTCPMTUPSuccess",
        /// Probes that were lost while other segments arrived.
        probe_fail = "TcpExtTCPMTUPFail",
    }
}

group! {
    /// SYN cookies.
    CookieStats, "cookies", {
        /// SYNs answered with a cookie.
        sent = "TcpExtSyncookiesSent",
        /// ACKs with a valid cookie.
        recv = "TcpExtSyncookiesRecv",
        /// ACKs without a valid cookie, for a listener that had sent cookies.
        failed = "TcpExtSyncookiesFailed",
    }
}

group! {
    /// TCP Fast Open (RFC 7413).
    FastOpenStats, "fast_open", {
        /// SYNs that asked a listener for a Fast Open cookie.
        cookie_reqd = "TcpExtTCPFastOpenCookieReqd",
        /// Connections made by a SYN with a valid Fast Open cookie.
        passive = "TcpExtTCPFastOpenPassive",
        /// SYNs with an invalid Fast Open cookie: the handshake continued as usual.
        passive_fail = "TcpExtTCPFastOpenPassiveFail",
        /// SYNs whose Fast Open option was ignored, because the limit of such connections was
        /// reached.
        listen_overflow = "TcpExtTCPFastOpenListenOverflow",
        /// Connections whose SYN carried data that the SYN-ACK acknowledged.
        active = "TcpExtTCPFastOpenActive",
        /// Connections whose SYN carried data that was not acknowledged.
        active_fail = "TcpExtTCPFastOpenActiveFail",
    }
}

group! {
    /// Connections and flows to other hosts that interfaces intercepted.
    InterceptionStats, "interception", {
        /// SYNs that became pending connections.
        pending,
        /// Pending connections that programs accepted.
        accepted,
        /// UDP flows that were opened.
        flows,
        /// Resets that programs chose as the answer.
        resets,
        /// ICMP errors that programs chose as the answer.
        unreachables,
        /// Chosen answers beyond the rate limit. Instead of an ICMP error a reset was sent, instead
        /// of a reset nothing.
        answers_limited,
    }
}

group! {
    /// The memory of the sockets, and its shortages.
    MemoryStats, "memory", {
        /// Times that the sockets came under memory pressure.
        pressures = "TcpExtTCPMemoryPressures",
        /// Bytes of out-of-order data discarded because memory was short.
        pruned_bytes,
        /// Connections reset because too many had no descriptor, or because memory ran out.
        abort_on_memory = "TcpExtTCPAbortOnMemory",
        /// Connections without progress that were reset because memory ran out
        /// ([`CloseReason::NoMemory`](crate::CloseReason::NoMemory)).
        stalled_resets,
    }
}

/// The counters of a stack since it was made.
///
/// A counter that the Linux kernel has as well bears its name there, in snake case (`TcpInSegs` is
/// `tcp.in_segs`), or its documentation says which it is.
#[derive(Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Frames and neighbours.
    pub link: LinkStats,
    /// IP packets.
    pub ip: IpStats,
    /// ICMP messages.
    pub icmp: IcmpStats,
    /// IGMP and MLD.
    pub multicast: MulticastStats,
    /// UDP datagrams.
    pub udp: UdpStats,
    /// TCP segments and connections.
    pub tcp: TcpStats,
    /// Retransmissions and recoveries of TCP.
    pub recovery: RecoveryStats,
    /// Explicit congestion notification of TCP.
    pub ecn: EcnStats,
    /// The discovery of path MTUs by TCP.
    pub mtu: MtuStats,
    /// SYN cookies.
    pub cookies: CookieStats,
    /// TCP Fast Open.
    pub fast_open: FastOpenStats,
    /// Intercepted connections.
    pub interception: InterceptionStats,
    /// The memory of the sockets.
    pub memory: MemoryStats,
    /// The number of drops, by [`DropReason`].
    drops: [u64; DropReason::ALL.len()],
    /// The first drop since `take_first_drop` was last called.
    first_drop: Option<DropReason>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Stats {
            link: LinkStats::default(),
            ip: IpStats::default(),
            icmp: IcmpStats::default(),
            multicast: MulticastStats::default(),
            udp: UdpStats::default(),
            tcp: TcpStats::default(),
            recovery: RecoveryStats::default(),
            ecn: EcnStats::default(),
            mtu: MtuStats::default(),
            cookies: CookieStats::default(),
            fast_open: FastOpenStats::default(),
            interception: InterceptionStats::default(),
            memory: MemoryStats::default(),
            drops: [0; DropReason::ALL.len()],
            first_drop: None,
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

    /// The counters of all groups, without the drops.
    pub fn counters(&self) -> impl Iterator<Item = Counter> + use<> {
        let Stats {
            link,
            ip,
            icmp,
            multicast,
            udp,
            tcp,
            recovery,
            ecn,
            mtu,
            cookies,
            fast_open,
            interception,
            memory,
            drops: _,
            first_drop: _,
        } = self;
        let packets = link.counters().chain(ip.counters()).chain(icmp.counters()).chain(udp.counters());
        let packets = packets.chain(multicast.counters());
        let segments = tcp.counters().chain(recovery.counters()).chain(ecn.counters()).chain(mtu.counters());
        let rest = cookies.counters().chain(fast_open.counters());
        let rest = rest.chain(interception.counters()).chain(memory.counters());
        packets.chain(segments).chain(rest)
    }

    /// All counts by name: `tcp.in_segs`, and `drops.BadTcp` for what was dropped for a
    /// [`DropReason`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let drops = DropReason::ALL.iter().map(|&reason| (reason.counter_name(), self.drops(reason)));
        self.counters().map(|counter| (counter.name, counter.value)).chain(drops)
    }

    /// Adds the counts of another stack.
    pub fn add(&mut self, other: &Stats) {
        let Stats {
            link,
            ip,
            icmp,
            multicast,
            udp,
            tcp,
            recovery,
            ecn,
            mtu,
            cookies,
            fast_open,
            interception,
            memory,
            drops,
            first_drop: _,
        } = other;
        self.link.add(link);
        self.ip.add(ip);
        self.icmp.add(icmp);
        self.multicast.add(multicast);
        self.udp.add(udp);
        self.tcp.add(tcp);
        self.recovery.add(recovery);
        self.ecn.add(ecn);
        self.mtu.add(mtu);
        self.cookies.add(cookies);
        self.fast_open.add(fast_open);
        self.interception.add(interception);
        self.memory.add(memory);
        for (sum, count) in self.drops.iter_mut().zip(drops) {
            *sum += count;
        }
    }

    /// The first drop since the last call, for the trace.
    pub(crate) fn take_first_drop(&mut self) -> Option<DropReason> {
        self.first_drop.take()
    }

    /// Counts a drop. All drops pass through here: a good breakpoint.
    pub(crate) fn count_drop(&mut self, reason: DropReason, subject: &Subject) {
        self.drops[reason as usize] += 1;
        self.first_drop.get_or_insert(reason);
        log::debug!("{subject}: dropped: {reason:?}");
    }
}

/// Shows only the counters that are not zero.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter().filter(|&(_, value)| value > 0) {
            map.entry(&format_args!("{name}"), &value);
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;
    use std::vec::Vec;

    #[test]
    fn counts_of_several_stacks_add_up() {
        let (mut one, mut other) = (Stats::new(), Stats::new());
        one.tcp.in_segs = 3;
        one.link.frames_in = 1;
        other.tcp.in_segs = 4;
        other.memory.stalled_resets = 5;
        for stats in [&mut one, &mut other] {
            stats.count_drop(DropReason::BadTcp, &Subject::Stack);
        }
        one.add(&other);
        let counted: Vec<_> = one.iter().filter(|&(_, value)| value > 0).collect();
        let expected =
            [("link.frames_in", 1), ("tcp.in_segs", 7), ("memory.stalled_resets", 5), ("drops.BadTcp", 2)];
        assert_eq!(counted, expected);
        assert_eq!(
            format!("{one:?}"),
            "{link.frames_in: 1, tcp.in_segs: 7, memory.stalled_resets: 5, drops.BadTcp: 2}"
        );
    }

    #[test]
    fn every_counter_has_a_name_of_its_own() {
        let stats = Stats::new();
        let names: BTreeSet<_> = stats.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), stats.iter().count());
        assert_eq!(size_of::<Stats>() / 8, names.len() + 1, "a group that is not listed");
        let mibs: Vec<_> = stats.counters().filter_map(|counter| counter.mib).collect();
        assert_eq!(mibs.iter().collect::<BTreeSet<_>>().len(), mibs.len());
    }

    #[test]
    fn drops_are_counted_by_reason() {
        let mut stats = Stats::new();
        stats.count_drop(DropReason::MemoryLimit, &Subject::Stack);
        assert_eq!((stats.all_drops(), stats.drops(DropReason::MemoryLimit)), (1, 1));
        assert_eq!(stats.drop_counts().next(), Some((DropReason::MemoryLimit, 1)));
    }
}
