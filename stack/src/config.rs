//! Every tunable, its default, and why. Where Linux has the same one, the default is Linux's and its name is given.

mod check;
mod congestion_control;

use core::time::Duration;

use crate::steering::Share;

pub use check::ConfigError;
pub use congestion_control::CongestionControl;

/// The tunables of a stack. `Config::default()` suits a server on a LAN or the Internet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// All bytes that sockets, reassembly and resolution may hold together. Near the limit windows shrink, and sockets give back
    /// what they can do without; at the limit the connections that make no progress are reset
    /// ([`CloseReason::NoMemory`](crate::CloseReason::NoMemory)), so that new ones still find room (decision 0010). 256 MiB: a
    /// quarter of a small server.
    /// A quarter of it is for what waits in the network layer, an eighth is slack for the lists behind the queues, which
    /// grow by steps; less than 256 KiB in all is not enough to work with.
    pub memory_limit_bytes: usize,
    /// How full the sockets' share of it may be before they are under pressure: windows shrink, buffers stop growing, nobody
    /// takes more than an even share (by peer first, which is an IPv4 address or an IPv6 network of 64 bits, then by
    /// connection), until a quarter of it is free again. Half of what is left above this mark is for shares, the other half
    /// for floors and records alone. 66: Linux's `tcp_mem[1]` is two thirds of `tcp_mem[2]`, and `tcp_mem[0]` three quarters
    /// of that.
    pub memory_pressure_percent: u8,
    /// The floor: what every connection may hold in each direction although the sockets' share is used up, out of a sixteenth
    /// of the limit that is kept for it and for the records of new connections: so that everybody gets on, if slowly. When a
    /// quarter of this reserve is used connections are reset. 4 KiB, Linux's `tcp_rmem[0]` and `tcp_wmem[0]`.
    pub memory_reserve_bytes: usize,
    /// The most descriptors at once. 1,048,576, Linux's `fs.nr_open`.
    pub max_descriptors: usize,
    /// The range that ephemeral ports are drawn from: RFC 6335's dynamic ports, 49152..=65535, are fewer than a
    /// busy client needs; this is Linux's `ip_local_port_range`.
    pub ephemeral_ports: (u16, u16),
    /// Neighbour cache, ARP, NDP and duplicate address detection.
    pub neighbor: NeighborConfig,
    /// IPv4, IPv6, ICMP.
    pub ip: IpConfig,
    /// UDP.
    pub udp: UdpConfig,
    /// TCP.
    pub tcp: TcpConfig,
    /// This stack's part, where several stacks serve the queues of the same interfaces. None: it is the only one.
    pub share: Option<Share>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_limit_bytes: 256 << 20,
            memory_pressure_percent: 66,
            memory_reserve_bytes: 4096,
            max_descriptors: 1 << 20,
            ephemeral_ports: (32768, 60999),
            neighbor: NeighborConfig::default(),
            ip: IpConfig::default(),
            udp: UdpConfig::default(),
            tcp: TcpConfig::default(),
            share: None,
        }
    }
}

impl Config {
    /// The configuration of one of several stacks that together shall behave as this says: it has its part of what is limited
    /// for the whole (memory, ICMP errors, resets, connections in TIME-WAIT and without a descriptor).
    pub fn for_share(&self, share: Share) -> Config {
        let stacks = share.steering().stacks();
        let part = |whole: usize| whole.div_ceil(usize::from(stacks));
        let mut config = self.clone();
        config.memory_limit_bytes = part(self.memory_limit_bytes);
        config.ip.icmp_errors_per_second = self.ip.icmp_errors_per_second.div_ceil(u32::from(stacks));
        config.ip.icmp_error_burst = self.ip.icmp_error_burst.div_ceil(u32::from(stacks));
        config.ip.icmp_error_interval_v4 = self.ip.icmp_error_interval_v4 * u32::from(stacks);
        config.ip.icmp_error_interval_v6 = self.ip.icmp_error_interval_v6 * u32::from(stacks);
        config.ip.icmp_peer_burst = self.ip.icmp_peer_burst.div_ceil(u32::from(stacks));
        config.tcp.max_resets_per_second = self.tcp.max_resets_per_second.div_ceil(u32::from(stacks));
        config.tcp.max_time_wait = part(self.tcp.max_time_wait);
        config.tcp.max_orphans = part(self.tcp.max_orphans);
        config.share = Some(share);
        config
    }

    /// Whether this stack does what only one of several is to do.
    pub(crate) fn is_first_share(&self) -> bool {
        self.share.as_ref().is_none_or(Share::is_first)
    }

    /// What sockets are admitted to: the limit less the network layer's quarter and the slack.
    pub(crate) fn socket_limit_bytes(&self) -> usize {
        self.memory_limit_bytes - self.memory_limit_bytes / 4 - self.memory_limit_bytes / 8
    }

    /// The share of each of the four parts of the network layer that hold packets: resolution, reassembly, the queue for
    /// the device, the loopback.
    pub(crate) fn packet_queue_limit_bytes(&self) -> usize {
        self.memory_limit_bytes / 16
    }
}

/// The neighbour cache (RFC 4861 §10 names its constants) and duplicate address detection (RFC 4862).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NeighborConfig {
    /// Entries per interface. Strangers can make us resolve addresses, so it is bounded: 1,024, Linux's `gc_thresh3`.
    pub max_entries: usize,
    /// Packets that wait for one resolution; the oldest is dropped for a new one (RFC 4861 §7.2.2 asks for at
    /// least one). 64, so that a datagram of 64 KiB gets through in its fragments; Linux's `unres_qlen_bytes` is 208 KiB.
    pub max_pending_packets: usize,
    /// RETRANS_TIMER: between two solicitations. 1 s.
    pub retransmit_delay: Duration,
    /// MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT: solicitations before a neighbour is given up. 3.
    pub max_solicitations: u8,
    /// REACHABLE_TIME: for how long a confirmation is believed. 30 s.
    pub reachable_delay: Duration,
    /// DELAY_FIRST_PROBE_TIME: for how long an upper layer may confirm a stale entry before it is probed. 5 s.
    pub delay_first_probe: Duration,
    /// ARP requests and neighbour solicitations of one neighbour that are answered in a second. 1,000; Linux has no limit. A
    /// neighbour asks at most once a second for each of our addresses, and a flood of questions in its name ends here.
    pub max_answers_per_second: u32,
    /// DupAddrDetectTransmits: probes before an address is used; 0 switches detection off. 1.
    pub duplicate_address_probes: u8,
}

impl Default for NeighborConfig {
    fn default() -> Self {
        NeighborConfig {
            max_entries: 1024,
            max_pending_packets: 64,
            retransmit_delay: Duration::from_secs(1),
            max_solicitations: 3,
            reachable_delay: Duration::from_secs(30),
            delay_first_probe: Duration::from_secs(5),
            max_answers_per_second: 1000,
            duplicate_address_probes: 1,
        }
    }
}

/// IPv4, IPv6 and ICMP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IpConfig {
    /// TTL and hop limit of what we send. 64 (RFC 1700's successor registry; Linux's `ip_default_ttl`).
    pub hop_limit: u8,
    /// All bytes that wait for missing fragments. 4 MiB, Linux's `ipfrag_high_thresh`. When they are used up, the oldest packet of
    /// the source that holds the most gives way; Linux refuses new ones, and one source can shut out all others.
    pub reassembly_limit_bytes: usize,
    /// Packets that are being put together at once. 1,024.
    pub max_reassemblies: usize,
    /// For how long fragments wait. 30 s (Linux's `ipfrag_time`; RFC 8200 §4.5 says 60, RFC 1122 60 to 120, and
    /// both were written for slower networks).
    pub reassembly_timeout: Duration,
    /// ICMP errors a second, all destinations together (RFC 4443 §2.4(f), RFC 1812 §4.3.2.8), on average: each takes none, one
    /// or two of this budget at random, so that nobody learns from it what others were sent (CVE-2020-25705). 1,000,
    /// Linux's `icmp_msgs_per_sec`.
    pub icmp_errors_per_second: u32,
    /// ICMP errors at once, all destinations together, on average. 50, Linux's `icmp_msgs_burst`.
    pub icmp_error_burst: u32,
    /// Between two ICMP errors to one IPv4 host, once it has had [`icmp_peer_burst`](IpConfig::icmp_peer_burst) of them, so that
    /// no host uses up what there is for all. Zero: only the limit for all holds. 1 s, Linux's `ipv4.icmp_ratelimit`:
    /// port unreachables for 100 ports of one host take 94 s.
    pub icmp_error_interval_v4: Duration,
    /// The same to one IPv6 host, or to one network of 64 bits on another link, in which a host can have any address. 100 ms,
    /// Linux's `ipv6.icmp.ratelimit` (measured on 6.18; it was 1 s, and less for hosts on other links).
    pub icmp_error_interval_v6: Duration,
    /// ICMP errors to one host at once. 6, Linux's XRLIM_BURST_FACTOR.
    pub icmp_peer_burst: u32,
    /// Whether echo requests are answered.
    pub answer_echo: bool,
    /// Whether ICMP timestamp requests are answered, as Linux does: with a clock that begins anywhere (RFC 792 has a bit for
    /// that), so it tells nothing but that we are here.
    pub answer_timestamps: bool,
    /// For how long a learned path MTU is believed: RFC 8201 §4 says not to try a larger one within 10 minutes.
    pub path_mtu_timeout: Duration,
    /// Destinations whose path MTU is kept. 4,096.
    pub max_path_mtus: usize,
    /// Frames of our own (resolution, ICMP, resets) that wait for the device, and packets that wait on the
    /// loopback. 1,024, near Linux's `txqueuelen`.
    pub max_queued_frames: usize,
}

impl Default for IpConfig {
    fn default() -> Self {
        IpConfig {
            hop_limit: 64,
            reassembly_limit_bytes: 4 << 20,
            max_reassemblies: 1024,
            reassembly_timeout: Duration::from_secs(30),
            icmp_errors_per_second: 1000,
            icmp_error_burst: 50,
            icmp_error_interval_v4: Duration::from_secs(1),
            icmp_error_interval_v6: Duration::from_millis(100),
            icmp_peer_burst: 6,
            answer_echo: true,
            answer_timestamps: true,
            path_mtu_timeout: Duration::from_secs(600),
            max_path_mtus: 4096,
            max_queued_frames: 1024,
        }
    }
}

/// UDP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// SO_RCVBUF of a new socket. 208 KiB, Linux's `rmem_default`.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF of a new socket. 208 KiB, Linux's `wmem_default`.
    pub send_buffer_bytes: usize,
}

impl Default for UdpConfig {
    fn default() -> Self {
        UdpConfig { receive_buffer_bytes: 208 << 10, send_buffer_bytes: 208 << 10 }
    }
}

/// When a listener answers SYNs with cookies (RFC 4987 §3.6) instead of remembering them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SynCookieMode {
    /// Never: a SYN beyond the queue is dropped.
    Off,
    /// When the queue of handshakes is full. What a cookie cannot carry (a lost SYN-ACK is not repeated; a peer without
    /// timestamps loses window scale and SACK) then concerns only those that would have been dropped.
    WhenFull,
    /// Always: nothing is kept of any SYN. For tests, or under a flood that does not end.
    Always,
}

/// TCP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// SO_RCVBUF of a new socket: what the peer may send that the program has not read. 128 KiB, Linux's `tcp_rmem[1]`;
    /// the first window is 64 KiB, all that a SYN can say, and opens to the rest with the first segments.
    pub receive_buffer_bytes: usize,
    /// SO_SNDBUF of a new socket: what `send` takes before it says `WouldBlock`. 64 KiB: more than two initial windows,
    /// so that even the first round trip finds the next one's data queued. Linux says 16 KiB (`tcp_wmem[1]`), makes it
    /// 45 as the connection opens, and lets one write go a buffer beyond it.
    pub send_buffer_bytes: usize,
    /// Whether the two grow with the path: the receive buffer to twice what the program reads in a round trip, the send
    /// buffer to two congestion windows (Linux's `tcp_moderate_rcvbuf`). Setting SO_RCVBUF or SO_SNDBUF switches it off
    /// for that direction of that socket. On.
    pub auto_tune_buffers: bool,
    /// The largest buffer, whether it grows or is set with SO_RCVBUF or SO_SNDBUF. The window scale is chosen from it:
    /// a buffer can grow after the handshake, the scale cannot. 32 MiB, `tcp_rmem[2]` since Linux 6.18, which gives a
    /// scale of 10. A path of 1 Gbit/s and 100 ms holds 12.5 MB, and it takes twice that to keep it full over a loss.
    /// A program has to fill a buffer before it costs anything.
    pub max_buffer_bytes: usize,
    /// TCP_CONGESTION of a new socket. CUBIC (Linux's `tcp_congestion_control`).
    pub congestion: CongestionControl,
    /// Whether data is paced for every algorithm, as with Linux's `fq` queueing discipline: in bursts of a millisecond, at
    /// twice cwnd a round trip in slow start and 1.2 times later (Linux's `tcp_pacing_ss_ratio` and
    /// `tcp_pacing_ca_ratio`). BBR is always paced, and so is a socket with SO_MAX_PACING_RATE. Off: it needs a timer for
    /// each burst.
    pub pacing: bool,
    /// Segments in the initial window. 10 (RFC 6928, Linux).
    pub initial_window_segs: u32,
    /// Full segments that a connection makes in one go, as far as its windows allow; at most 64 KiB, which are 45 segments
    /// on an Ethernet. 64, which is no limit there: a device that cuts segments itself takes a run as one frame, and other
    /// sockets wait no longer for their turn than 64 KiB take. With 1 each segment is made by itself; the frames are the
    /// same.
    pub max_run_segs: usize,
    /// RTO before there is a measurement. 1 s (RFC 6298 §2.1).
    pub initial_rto: Duration,
    /// The smallest RTO. 200 ms (Linux's TCP_RTO_MIN; RFC 6298 §2.4 says 1 s, which was for coarse clocks).
    pub min_rto: Duration,
    /// The largest RTO, at most 71 minutes. 120 s (Linux's TCP_RTO_MAX; RFC 6298 §2.5 allows 60 s and more).
    pub max_rto: Duration,
    /// How long an acknowledgement may wait for a second segment or for data; zero: each segment is acknowledged at once.
    /// 40 ms (Linux's TCP_DELACK_MIN, which TCP_DELACK_MAX_US shortens; RFC 9293 §3.8.6.3 allows up to 500 ms).
    pub delayed_ack: Duration,
    /// Segments at the start of a connection, and after idling, that are acknowledged at once. 16 (Linux's
    /// TCP_MAX_QUICKACKS).
    pub quick_acks: u8,
    /// SYNs repeated before `connect` gives up, beside those of `syn_linear_timeouts`. 6 (Linux's `tcp_syn_retries`:
    /// with those 131 s).
    pub syn_retries: u8,
    /// SYNs repeated at even distances before the time between them doubles each time. 4 (Linux's
    /// `tcp_syn_linear_timeouts`): where one SYN in three is lost, most connections open sooner by it.
    pub syn_linear_timeouts: u8,
    /// SYN-ACKs repeated before a handshake is given up. 5 (Linux's `tcp_synack_retries`).
    pub syn_ack_retries: u8,
    /// Retransmissions of data before the connection is given up (R2 of RFC 9293 §3.8.3). 15 (Linux's
    /// `tcp_retries2`: 15 minutes and more).
    pub retries: u8,
    /// Time-outs of data of a connection that no descriptor holds. 8 (Linux's `tcp_orphan_retries`).
    pub orphan_retries: u8,
    /// TIME-WAIT. 60 s (Linux's TCP_TIMEWAIT_LEN; RFC 9293 says 2 MSL, 4 minutes with its MSL of 2).
    pub time_wait: Duration,
    /// TIME-WAIT records at once; at the limit a closing connection is dropped at once. 65,536 (near Linux's
    /// `tcp_max_tw_buckets`).
    pub max_time_wait: usize,
    /// Connections that no descriptor holds and that are not over (TIME-WAIT does not count); beyond, `close` resets. 16,384,
    /// Linux's `tcp_max_orphans` where memory is a gigabyte or two: each may hold what its program left in its buffers.
    pub max_orphans: usize,
    /// How long a connection that nobody holds waits for the peer's FIN. 60 s (Linux's `tcp_fin_timeout`).
    pub fin_wait_2: Duration,
    /// SO_KEEPALIVE: idle time before the first probe. 2 h (RFC 9293 §3.8.4 KLDN, Linux's `tcp_keepalive_time`).
    pub keepalive_idle: Duration,
    /// Between two keepalive probes. 75 s (Linux's `tcp_keepalive_intvl`).
    pub keepalive_interval: Duration,
    /// Unanswered keepalive probes before the connection is given up. 9 (Linux's `tcp_keepalive_probes`).
    pub keepalive_probes: u8,
    /// The largest backlog that `listen` gives: connections that wait to be accepted, and as many handshakes under way.
    /// 4,096 (Linux's `somaxconn`; RFC 4987 §3.2, RFC4987-3.2).
    pub max_backlog: usize,
    /// For how long a server makes its Fast Open cookies under one key (RFC 7413 §4.1.2 has it changed now and then); those
    /// of the key before stay good. 1 day. Linux leaves this to its administrator.
    pub fast_open_key_lifetime: Duration,
    /// Servers of which a client remembers the Fast Open cookie; the oldest gives way. 1,024.
    pub fast_open_cookies: usize,
    /// What answers a SYN for which the listener's queue of handshakes has no room. Cookies when it is full (Linux's
    /// `tcp_syncookies` of 1).
    pub syn_cookies: SynCookieMode,
    /// Between two answers of one connection to segments that make no sense (RFC 5961 §7). 500 ms, Linux's
    /// `tcp_invalid_ratelimit`. Not counted over all connections: a shared budget tells strangers what other connections
    /// do (CVE-2016-5696). Linux has no such budget any more either (`tcp_challenge_ack_limit` is 2,147,483,647, on 6.18).
    pub challenge_interval: Duration,
    /// Resets a second to one host (or one IPv6 network of 64 bits on another link) for segments that belong to no
    /// connection. 1,000, so that nobody is flooded with resets by us in somebody else's name; a host that has lost
    /// more connections than that at once learns of the rest when it repeats. Linux has no limit, FreeBSD one of 200 for
    /// all hosts together (`net.inet.icmp.icmplim`). There is none for all here: a reset is no larger than what it
    /// answers, and a common budget would tell strangers what others are sent.
    pub max_resets_per_second: u32,
    /// Ranges of out-of-order data one connection keeps. 8,192: when slow start overshoots, every other segment of the
    /// window is lost, and each range that is refused then is sent again in vain. The receive buffer bounds them too;
    /// this bounds how many a stranger's tiny segments make.
    pub max_out_of_order_ranges: usize,
    /// Timestamps (RFC 7323): whether SYNs offer them, and are taken at their offer. On (Linux's `tcp_timestamps`).
    pub timestamps: bool,
    /// Selective acknowledgements (RFC 2018), likewise; without them there are neither RACK nor loss probes. On (Linux's
    /// `tcp_sack`).
    pub sack: bool,
    /// Reports of what came twice, in SACK blocks (RFC 2883). On (Linux's `tcp_dsack`).
    pub dsack: bool,
    /// How many segments that have arrived behind a missing one show that it is lost, without RACK and, while no reordering
    /// was seen, with it (DupThresh of RFC 5681 §3.2 and RFC 8985 §6.2). 3 (Linux's `tcp_reordering`).
    pub duplicate_threshold: u8,
    /// Whether RACK looks at `duplicate_threshold` at all; if not, only time shows a loss. On (the bit of 4 in Linux's
    /// `tcp_recovery` switches it off). RACK itself has no switch, as in Linux since 6.17: without SACK it is not used.
    pub rack_counts_segments: bool,
    /// Whether RACK waits longer once the peer has reported that something was repeated too early (RFC 8985 §6.2 step 4);
    /// if not, always a quarter of the shortest round trip. On (the bit of 2 in Linux's `tcp_recovery` switches it off).
    pub rack_adapts: bool,
    /// Window scaling (RFC 7323 §2), likewise; without it no window is larger than 64 KiB. On (Linux's
    /// `tcp_window_scaling`).
    pub window_scaling: bool,
    /// Tail loss probes (RFC 8985 §7). On (Linux's `tcp_early_retrans` of 3).
    pub loss_probes: bool,
    /// F-RTO (RFC 5682): whether a time-out is looked at again before everything is sent again. On (Linux's `tcp_frto`).
    pub frto: bool,
    /// HyStart++ (RFC 9406): whether CUBIC's first slow start ends when round trips become longer. On (Linux's
    /// `tcp_cubic.hystart`).
    pub hystart: bool,
    /// Whether cwnd shrinks while a connection is idle or does not use it (RFC 5681 §4.1, RFC 7661). On (Linux's
    /// `tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Explicit congestion notification. [`Ecn::Accept`].
    pub ecn: Ecn,
    /// Packetization-layer path MTU discovery. [`MtuProbing::BlackHole`]: it costs nothing before segments time out several
    /// times in a row, and without it a path that drops large packets in silence would end the connection.
    pub mtu_probing: MtuProbing,
    /// Time-outs in a row after which a path is suspected to be a black hole. 3 (Linux's `tcp_retries1`). After twice as
    /// many it may take even less than `mtu_probe_base`.
    pub mtu_probe_timeouts: u8,
    /// The MSS with which the search begins. 1,024 (Linux's `tcp_base_mss`); over IPv6 at least 1,220.
    pub mtu_probe_base: u16,
    /// The smallest MSS that time-outs alone bring about, halving it. 512, which leaves packets of 552 bytes, as Linux's
    /// `min_pmtu`: links in use take them, and an outage must not cut segments to pieces. (Linux's `tcp_mtu_probe_floor`
    /// is 48.)
    pub mtu_probe_floor: u16,
    /// When a search is over, or a router has said what the path takes: how long until more is tried. 10 minutes (Linux's
    /// `tcp_probe_interval`, RFC 4821 §7.5, RFC 8201 §4).
    pub mtu_probe_interval: Duration,
    /// The smallest MSS that a peer can make us use; a smaller one costs us more than it costs the peer. 48,
    /// Linux's `tcp_min_snd_mss`.
    pub min_mss: u16,
    /// Segments that may be in flight on one connection. Each may need a record of its own, which acknowledgements
    /// search: a peer with a tiny MSS must not make them many. The default fills the largest buffer with
    /// segments of 1,024 bytes; Linux counts what each segment costs against SO_SNDBUF instead.
    pub max_flight_segs: u32,
}

/// When TCP looks for the path's MTU by itself (RFC 4821; Linux's `tcp_mtu_probing`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MtuProbing {
    /// Never: routers say it, or nobody does (0).
    Off,
    /// Once a path seems to drop large segments (1), and when what a router said is old.
    #[default]
    BlackHole,
    /// From the start of every connection (2).
    Always,
}

/// Explicit congestion notification: whether connections ask for it, and agree to it (Linux's `tcp_ecn`). Where it is
/// agreed on, congested routers mark packets instead of dropping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ecn {
    /// Neither (0).
    Off,
    /// A listener agrees to RFC 3168 and RFC 9768 alike (5); what connects asks for nothing. The default. (Linux's is 2,
    /// [`Ecn::AcceptRfc3168`].) It asks for nothing since here and there a SYN that asks is still thrown away, and costs a
    /// second.
    #[default]
    Accept,
    /// A listener agrees to RFC 3168 only; what connects asks for nothing (2). A SYN that asks for accurate ECN is answered
    /// with RFC 3168, too.
    AcceptRfc3168,
    /// RFC 3168 and nothing else: what connects asks for it, and a listener agrees to it (1). A SYN that asks for accurate
    /// ECN is answered with it, too.
    Request,
    /// As [`Ecn::Accept`], and what connects asks for RFC 3168 (4).
    AcceptAllRequestRfc3168,
    /// As [`Ecn::Accept`], and what connects asks for accurate ECN, RFC 9768 (3). Who does not speak it answers with
    /// RFC 3168.
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
