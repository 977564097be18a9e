//! [`TcpConfig`]: the tunables of TCP.

use core::time::Duration;

use super::CongestionControl;

/// When a listener answers SYNs with cookies (RFC 4987 §3.6) instead of remembering them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SynCookieMode {
    /// Never: a SYN beyond the queue is dropped.
    Off,
    /// When the queue of handshakes is full. The drawbacks of a cookie (a lost SYN-ACK is not
    /// repeated; a peer without timestamps loses window scale and SACK) then concern only SYNs that
    /// would have been dropped.
    WhenFull,
    /// Always: no SYN creates a record. For tests, or under a flood that does not end.
    Always,
}

/// TCP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// SO_RCVBUF of a new socket: how much received data may wait for the program. 128 KiB, Linux's
    /// `tcp_rmem[1]`. The first window is 64 KiB, the largest that fits in a SYN, and opens fully
    /// with the first segments.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF of a new socket: what `send` takes before it says `WouldBlock`. 64 KiB: more than
    /// two initial windows, so that the data of the second round trip is queued during the first.
    /// Linux has 16 KiB (`tcp_wmem[1]`), raises it to 45 KiB as the connection opens, and lets one
    /// write exceed it by a whole buffer.
    pub send_buffer_bytes: usize,
    /// Whether the two grow with the path: the receive buffer to twice what the program reads in a
    /// round trip, the send buffer to two congestion windows (Linux's `tcp_moderate_rcvbuf`).
    /// Setting SO_RCVBUF or SO_SNDBUF switches it off for that direction of that socket. On.
    pub auto_tune_buffers: bool,
    /// The largest buffer, whether it grows or is set with SO_RCVBUF or SO_SNDBUF. The window scale
    /// is chosen from it: a buffer can grow after the handshake, the scale cannot. 32 MiB,
    /// `tcp_rmem[2]` since Linux 6.18, which gives a scale of 10. A path of 1 Gbit/s and 100 ms
    /// holds 12.5 MB, and it takes twice that to keep it full over a loss. A buffer takes memory
    /// only for the data in it.
    pub max_buffer_bytes: usize,
    /// TCP_CONGESTION of a new socket. CUBIC (Linux's `tcp_congestion_control`).
    pub congestion: CongestionControl,
    /// Whether data is paced for every algorithm, as with Linux's `fq` queueing discipline: in
    /// bursts of a millisecond, at twice cwnd a round trip in slow start and 1.2 times later
    /// (Linux's `tcp_pacing_ss_ratio` and `tcp_pacing_ca_ratio`). BBR is always paced, and so is a
    /// socket with SO_MAX_PACING_RATE. Off, as it needs a timer for each burst.
    pub pacing: bool,
    /// Segments in the initial window. 10 (RFC 6928, Linux).
    pub initial_window_segs: u32,
    /// The most full segments that a connection builds at once, as one run, if its windows allow. A
    /// run is at most 64 KiB, which are 45 segments on Ethernet. 64, which is no limit there: a
    /// device that cuts segments takes a run as one frame, and other sockets wait for their turn no
    /// longer than 64 KiB take. With 1 each segment is built by itself; the frames are the same.
    pub max_run_segs: usize,
    /// RTO before there is a measurement. 1 s (RFC 6298 §2.1).
    pub initial_rto: Duration,
    /// The smallest RTO. 200 ms (Linux's TCP_RTO_MIN; RFC 6298 §2.4 says 1 s, which was for coarse
    /// clocks).
    pub min_rto: Duration,
    /// The largest RTO, at most 71 minutes. 120 s (Linux's TCP_RTO_MAX; RFC 6298 §2.5 allows 60 s
    /// and more).
    pub max_rto: Duration,
    /// How long an acknowledgement may wait for a second segment or for data to carry it. With zero
    /// each segment is acknowledged at once. 40 ms (Linux's TCP_DELACK_MIN, which TCP_DELACK_MAX_US
    /// shortens; RFC 9293 §3.8.6.3 allows up to 500 ms).
    pub delayed_ack: Duration,
    /// Segments at the start of a connection, and after idling, that are acknowledged at once. 16
    /// (Linux's TCP_MAX_QUICKACKS).
    pub quick_acks: u8,
    /// SYNs repeated before `connect` gives up, beside those of `syn_linear_timeouts`. 6 (Linux's
    /// `tcp_syn_retries`: with those 131 s).
    pub syn_retries: u8,
    /// SYNs repeated at a constant interval, before the interval doubles each time. 4 (Linux's
    /// `tcp_syn_linear_timeouts`): where one SYN in three is lost, most connections open sooner.
    pub syn_linear_timeouts: u8,
    /// SYN-ACKs repeated before a handshake is given up. 5 (Linux's `tcp_synack_retries`).
    pub syn_ack_retries: u8,
    /// Retransmissions of data before the connection is given up (R2 of RFC 9293 §3.8.3). 15
    /// (Linux's `tcp_retries2`: 15 minutes and more).
    pub retries: u8,
    /// Time-outs of data of a connection that no descriptor holds. 8 (Linux's
    /// `tcp_orphan_retries`).
    pub orphan_retries: u8,
    /// TIME-WAIT. 60 s (Linux's TCP_TIMEWAIT_LEN; RFC 9293 says 2 MSL, 4 minutes with its MSL of
    /// 2).
    pub time_wait: Duration,
    /// The most TIME-WAIT records; at the limit a connection closes without TIME-WAIT. 65,536 (near
    /// Linux's `tcp_max_tw_buckets`).
    pub max_time_wait: usize,
    /// The most connections without a descriptor (TIME-WAIT does not count); at the limit `close`
    /// resets the connection. 16,384, Linux's `tcp_max_orphans` where memory is a gigabyte or two:
    /// each may hold what its program left in its buffers.
    pub max_orphans: usize,
    /// How long a connection without a descriptor waits for the peer's FIN. 60 s (Linux's
    /// `tcp_fin_timeout`).
    pub fin_wait_2: Duration,
    /// SO_KEEPALIVE: idle time before the first probe. 2 h (RFC 9293 §3.8.4 KLDN, Linux's
    /// `tcp_keepalive_time`).
    pub keepalive_idle: Duration,
    /// Between two keepalive probes. 75 s (Linux's `tcp_keepalive_intvl`).
    pub keepalive_interval: Duration,
    /// Unanswered keepalive probes before the connection is given up. 9 (Linux's
    /// `tcp_keepalive_probes`).
    pub keepalive_probes: u8,
    /// The largest backlog: connections that wait to be accepted, and as many handshakes in
    /// progress. 4,096 (Linux's `somaxconn`; RFC 4987 §3.2, RFC4987-3.2).
    pub max_backlog: usize,
    /// How long a server uses one key for its Fast Open cookies (RFC 7413 §4.1.2); cookies of the
    /// previous key stay valid. 1 day. Linux leaves this to its administrator.
    pub fast_open_key_lifetime: Duration,
    /// The most servers whose Fast Open cookie a client keeps; a new one replaces the oldest.
    /// 1,024.
    pub fast_open_cookies: usize,
    /// How a SYN is answered when the listener's SYN queue is full. With a cookie (Linux's
    /// `tcp_syncookies` of 1).
    pub syn_cookies: SynCookieMode,
    /// The least interval between two challenge ACKs of one connection (RFC 5961 §7). 500 ms,
    /// Linux's `tcp_invalid_ratelimit`. There is no limit over all connections: a shared budget
    /// shows an attacker what other connections do (CVE-2016-5696). Linux has no such budget any
    /// more either (`tcp_challenge_ack_limit` is 2,147,483,647, on 6.18).
    pub challenge_interval: Duration,
    /// Resets a second to one host (or one IPv6 network of 64 bits on another link) for segments
    /// that belong to no connection. 1,000, so that segments with a forged source address cannot
    /// flood that host with resets; a host that lost more connections at once gets the other resets
    /// when it retransmits. Linux has no limit, FreeBSD one of 200 for all hosts together
    /// (`net.inet.icmp.icmplim`). Here no limit covers all hosts: a reset is no larger than the
    /// segment that it answers, and a common budget would show one host what others are sent.
    pub max_resets_per_second: u32,
    /// Ranges of out-of-order data one connection keeps. 8,192: when slow start overshoots, every
    /// other segment of the window may be lost, and each range that is refused then is
    /// retransmitted needlessly. The receive buffer bounds the ranges of large segments, this
    /// bounds those of tiny ones.
    pub max_out_of_order_ranges: usize,
    /// Timestamps (RFC 7323): whether our SYNs offer them, and whether we accept the peer's offer.
    /// On (Linux's `tcp_timestamps`).
    pub timestamps: bool,
    /// Selective acknowledgements (RFC 2018), likewise; without them there are neither RACK nor
    /// loss probes. On (Linux's `tcp_sack`).
    pub sack: bool,
    /// D-SACK: reports of duplicates in SACK blocks (RFC 2883). On (Linux's `tcp_dsack`).
    pub dsack: bool,
    /// After how many segments that arrived behind a missing one that one counts as lost, without
    /// RACK and, while no reordering was seen, with RACK (DupThresh of RFC 5681 §3.2 and RFC 8985
    /// §6.2). 3 (Linux's `tcp_reordering`).
    pub duplicate_threshold: u8,
    /// Whether RACK uses `duplicate_threshold`; if not, it detects losses by time alone. On (the
    /// bit of 4 in Linux's `tcp_recovery` switches it off). RACK itself has no switch, as in Linux
    /// since 6.17: without SACK it is not used.
    pub rack_counts_segments: bool,
    /// Whether RACK's reordering window grows after a D-SACK shows a needless retransmission
    /// (RFC 8985 §6.2 step 4); if not, it is always a quarter of the shortest round trip. On (the
    /// bit of 2 in Linux's `tcp_recovery` switches it off).
    pub rack_adapts: bool,
    /// Window scaling (RFC 7323 §2), likewise; without it no window is larger than 64 KiB. On
    /// (Linux's `tcp_window_scaling`).
    pub window_scaling: bool,
    /// Tail loss probes (RFC 8985 §7). On (Linux's `tcp_early_retrans` of 3).
    pub loss_probes: bool,
    /// F-RTO (RFC 5682): whether the next ACKs after a time-out decide if it was spurious, before
    /// everything is retransmitted. On (Linux's `tcp_frto`).
    pub frto: bool,
    /// HyStart++ (RFC 9406): whether CUBIC leaves its first slow start when the round-trip time
    /// rises. On (Linux's `tcp_cubic.hystart`).
    pub hystart: bool,
    /// Whether cwnd shrinks while a connection is idle or does not use it (RFC 5681 §4.1, RFC
    /// 7661). On (Linux's `tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Explicit congestion notification. [`Ecn::Accept`].
    pub ecn: Ecn,
    /// Packetization-layer path MTU discovery. [`MtuProbing::BlackHole`]: it costs nothing until
    /// segments time out several times in a row, and without it a path that silently drops large
    /// packets would end the connection.
    pub mtu_probing: MtuProbing,
    /// Time-outs in a row after which a path is taken for a black hole. 3 (Linux's `tcp_retries1`).
    /// After twice as many the MSS may fall below `mtu_probe_base`.
    pub mtu_probe_timeouts: u8,
    /// The MSS with which the search begins. 1,024 (Linux's `tcp_base_mss`); over IPv6 at least
    /// 1,220.
    pub mtu_probe_base: u16,
    /// The smallest MSS that time-outs alone can lead to, by halving. 512, for packets of
    /// 552 bytes, as Linux's `min_pmtu`: all links in use take them, and an outage must not make
    /// segments tiny. (Linux's `tcp_mtu_probe_floor` is 48.)
    pub mtu_probe_floor: u16,
    /// How long after a search, or after a router's "packet too big", a larger MSS is tried. 10
    /// minutes (Linux's `tcp_probe_interval`, RFC 4821 §7.5, RFC 8201 §4).
    pub mtu_probe_interval: Duration,
    /// The smallest MSS that a peer can make us use: tiny segments cost us more than the peer. 48,
    /// Linux's `tcp_min_snd_mss`.
    pub min_mss: u16,
    /// The most segments in flight on one connection. Each may need a record in the scoreboard,
    /// which acknowledgements search, so a peer with a tiny MSS must not make many. The default
    /// fills the largest buffer with segments of 1,024 bytes; Linux counts what each segment costs
    /// against SO_SNDBUF instead.
    pub max_flight_segs: u32,
}

/// When TCP looks for the path's MTU by itself (RFC 4821; Linux's `tcp_mtu_probing`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MtuProbing {
    /// Never: only routers report the path MTU (0).
    Off,
    /// After a path seems to drop large segments (1), and when a router's report has expired.
    #[default]
    BlackHole,
    /// From the start of every connection (2).
    Always,
}

/// Explicit congestion notification: whether connections request and accept it (Linux's `tcp_ecn`).
/// With ECN, congested routers mark packets instead of dropping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ecn {
    /// Neither (0).
    Off,
    /// A listener accepts RFC 3168 and RFC 9768 (5); `connect` requests neither. The default.
    /// (Linux's is 2, [`Ecn::AcceptRfc3168`].) It requests nothing because some middleboxes still
    /// drop a SYN with ECN, which costs a second.
    #[default]
    Accept,
    /// A listener accepts RFC 3168 only; `connect` requests nothing (2). A SYN that requests
    /// accurate ECN is answered with RFC 3168.
    AcceptRfc3168,
    /// RFC 3168 only: `connect` requests it, and a listener accepts it (1). A SYN that requests
    /// accurate ECN is answered with RFC 3168.
    Request,
    /// As [`Ecn::Accept`], and `connect` requests RFC 3168 (4).
    AcceptAllRequestRfc3168,
    /// As [`Ecn::Accept`], and `connect` requests accurate ECN, RFC 9768 (3). A peer without it
    /// answers with RFC 3168.
    RequestAccurate,
}

impl Ecn {
    /// Whether accurate ECN (RFC 9768) is unknown.
    pub(crate) fn knows_only_rfc3168(self) -> bool {
        matches!(self, Ecn::AcceptRfc3168 | Ecn::Request)
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            receive_buffer_bytes: 128 << 10,
            send_buffer_bytes: 64 << 10,
            auto_tune_buffers: true,
            max_buffer_bytes: 32 << 20,
            congestion: CongestionControl::Cubic,
            pacing: false,
            initial_window_segs: 10,
            max_run_segs: 64,
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            delayed_ack: Duration::from_millis(40),
            quick_acks: 16,
            syn_retries: 6,
            syn_linear_timeouts: 4,
            syn_ack_retries: 5,
            retries: 15,
            orphan_retries: 8,
            time_wait: Duration::from_secs(60),
            max_time_wait: 65536,
            max_orphans: 16384,
            fin_wait_2: Duration::from_secs(60),
            keepalive_idle: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            max_backlog: 4096,
            syn_cookies: SynCookieMode::WhenFull,
            fast_open_cookies: 1024,
            fast_open_key_lifetime: Duration::from_secs(24 * 3600),
            challenge_interval: Duration::from_millis(500),
            max_resets_per_second: 1000,
            max_out_of_order_ranges: 8192,
            timestamps: true,
            sack: true,
            dsack: true,
            duplicate_threshold: 3,
            rack_counts_segments: true,
            rack_adapts: true,
            window_scaling: true,
            loss_probes: true,
            frto: true,
            hystart: true,
            slow_start_after_idle: true,
            ecn: Ecn::Accept,
            mtu_probing: MtuProbing::BlackHole,
            mtu_probe_timeouts: 3,
            mtu_probe_base: 1024,
            mtu_probe_floor: 512,
            mtu_probe_interval: Duration::from_secs(600),
            min_mss: 48,
            max_flight_segs: 32_768,
        }
    }
}
