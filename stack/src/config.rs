//! Every tunable, its default, and why. Where Linux has the same one, the default is Linux's and
//! its name is given.

mod check;
mod congestion_control;
mod interception;
mod multicast;
mod tcp;
mod unix;

use core::time::Duration;

pub use check::ConfigError;
pub use congestion_control::CongestionControl;
pub use interception::InterceptionConfig;
pub use multicast::MulticastConfig;
pub use tcp::{Ecn, MtuProbing, SynCookieMode, TcpConfig};
pub use unix::UnixConfig;

/// The tunables of a stack. `Config::default()` suits a server on a LAN or the Internet.
///
/// ```
/// use portolan::Config;
///
/// let mut config = Config::default();
/// config.memory_limit_bytes = 64 << 20;
/// config.tcp.max_buffer_bytes = 1 << 20;
/// config.neighbor.duplicate_address_probes = 0;
/// assert!(config.check().is_ok());
/// config.memory_limit_bytes = 1000;
/// println!("{}", config.check().unwrap_err()); // says which field is wrong, and what it may be
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// All bytes that sockets, reassembly and resolution may hold together. Near the limit windows
    /// shrink, and sockets give back memory that they can do without; at the limit the connections
    /// that make no progress are reset ([`CloseReason::NoMemory`](crate::CloseReason::NoMemory)),
    /// so that new ones still find room (decision 0010). 256 MiB: a quarter of a small server. A
    /// quarter is for packets that wait in the network layer, and an eighth is slack for the
    /// queues' own lists, which grow in steps. The least is 256 KiB.
    pub memory_limit_bytes: usize,
    /// How full the sockets' part may be, in percent, before memory pressure begins. Under pressure
    /// windows shrink, buffers stop growing, and no socket takes more than an even share (by peer
    /// first, which is an IPv4 address or an IPv6 /64, then by connection). Pressure ends when a
    /// quarter is free again. Half of the memory above this mark is for shares, the other half only
    /// for the floors (`memory_reserve_bytes`) and for records. 66: Linux's `tcp_mem[1]` is two
    /// thirds of `tcp_mem[2]`, and `tcp_mem[0]` three quarters of that.
    pub memory_pressure_percent: u8,
    /// The floor: what each connection may hold in each direction even when the sockets' part is
    /// used up, so that each makes progress, if slowly. It comes out of a reserve, a sixteenth of
    /// the limit, which also holds the records of new connections. When a quarter of the reserve is
    /// used, connections are reset. 4 KiB, Linux's `tcp_rmem[0]` and `tcp_wmem[0]`.
    pub memory_reserve_bytes: usize,
    /// The most descriptors of one owner at once (EMFILE). 1,048,576, Linux's `fs.nr_open`.
    pub max_descriptors: usize,
    /// The most descriptors of all owners together (ENFILE). 4,194,304. Linux's `fs.file-max`
    /// counts open files instead, of which a duplicated descriptor is none; but each descriptor
    /// takes memory, and a fork makes many.
    pub max_descriptors_in_all: usize,
    /// The most registrations of one owner's descriptors with its pollers, Linux's
    /// `fs.epoll.max_user_watches`. 1,048,576.
    pub max_registrations: usize,
    /// The most packet sockets that take copies of frames. Another cannot be bound (ENOBUFS). 64;
    /// Linux has no limit.
    pub max_packet_taps: usize,
    /// The range that ephemeral ports are drawn from: RFC 6335's dynamic ports, 49152..=65535, are
    /// fewer than a busy client needs; this is Linux's `ip_local_port_range`.
    pub ephemeral_ports: (u16, u16),
    /// Neighbour cache, ARP, NDP and duplicate address detection.
    pub neighbor: NeighborConfig,
    /// IPv4, IPv6, ICMP.
    pub ip: IpConfig,
    /// Multicast: limits of memberships, IGMP and MLD.
    pub multicast: MulticastConfig,
    /// UDP.
    pub udp: UdpConfig,
    /// TCP.
    pub tcp: TcpConfig,
    /// Unix-domain sockets.
    pub unix: UnixConfig,
    /// Connections to other hosts that interfaces intercept.
    pub interception: InterceptionConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_limit_bytes: 256 << 20,
            memory_pressure_percent: 66,
            memory_reserve_bytes: 4096,
            max_descriptors: 1 << 20,
            max_descriptors_in_all: 1 << 22,
            max_registrations: 1 << 20,
            max_packet_taps: 64,
            ephemeral_ports: (32768, 60999),
            neighbor: NeighborConfig::default(),
            ip: IpConfig::default(),
            multicast: MulticastConfig::default(),
            udp: UdpConfig::default(),
            tcp: TcpConfig::default(),
            unix: UnixConfig::default(),
            interception: InterceptionConfig::default(),
        }
    }
}

impl Config {
    /// Limits for a program that may use 50 MiB in all, such as a VPN service on a phone: 1,000
    /// intercepted TCP connections and 1,000 UDP flows, all of which may be of one source.
    ///
    /// With that many, each of which has all the data waiting that it may, a stack takes 29 MiB
    /// (measured). The rest is for packets that wait in the network layer, and for the program.
    /// Buffers are small at first, and grow while there is memory.
    ///
    /// ```
    /// use portolan::{Config, Instant, Stack};
    ///
    /// let stack = Stack::new(Config::phone(), [7; 32], Instant::ZERO);
    /// assert_eq!(stack.config().interception.max_connections, 1000);
    /// ```
    pub fn phone() -> Config {
        let mut config = Config { memory_limit_bytes: 48 << 20, ..Config::default() };
        config.tcp.max_buffer_bytes = 1 << 20;
        // What each connection has before its buffers grow.
        config.tcp.send_buffer_bytes = 8 << 10;
        config.tcp.receive_buffer_bytes = 8 << 10;
        // With 1,000 flows this is a third of the memory of sockets, so that datagrams leave the
        // rest to connections.
        config.udp.receive_buffer_bytes = 10 << 10;
        config.interception.max_pending = 1000;
        config.interception.max_pending_per_source = 1000;
        config.interception.max_connections = 1000;
        config.interception.max_connections_per_source = 1000;
        config.interception.max_flows = 1000;
        config.interception.max_flows_per_source = 1000;
        config.interception.max_flow_backlog_bytes = 4 << 10;
        config
    }

    /// The configuration for each of several stacks that together have the limits of this one:
    /// limits for the whole (memory, descriptors, ICMP errors, resets, connections in TIME-WAIT and
    /// without a descriptor, intercepted connections) are divided. See
    /// [`Stack::with_share`](crate::Stack::with_share). 0 counts as 1.
    pub fn divided_by(&self, stacks: u16) -> Config {
        let stacks = stacks.max(1);
        let part = |whole: usize| whole.div_ceil(usize::from(stacks));
        let mut config = self.clone();
        config.memory_limit_bytes = part(self.memory_limit_bytes);
        config.max_descriptors_in_all = part(self.max_descriptors_in_all);
        config.ip.icmp_errors_per_second = self.ip.icmp_errors_per_second.div_ceil(u32::from(stacks));
        config.ip.icmp_error_burst = self.ip.icmp_error_burst.div_ceil(u32::from(stacks));
        config.ip.icmp_error_interval_v4 = self.ip.icmp_error_interval_v4 * u32::from(stacks);
        config.ip.icmp_error_interval_v6 = self.ip.icmp_error_interval_v6 * u32::from(stacks);
        config.ip.icmp_peer_burst = self.ip.icmp_peer_burst.div_ceil(u32::from(stacks));
        config.tcp.max_resets_per_second = self.tcp.max_resets_per_second.div_ceil(u32::from(stacks));
        config.tcp.max_time_wait = part(self.tcp.max_time_wait);
        config.tcp.max_orphans = part(self.tcp.max_orphans);
        config.interception = self.interception.divided_by(stacks);
        config
    }

    /// The sockets' part of the memory: the limit less the network layer's quarter and the slack.
    pub(crate) fn socket_limit_bytes(&self) -> usize {
        self.memory_limit_bytes - self.memory_limit_bytes / 4 - self.memory_limit_bytes / 8
    }

    /// The share of each of the four parts of the network layer that hold packets: resolution,
    /// reassembly, the queue for the device, the loopback.
    pub(crate) fn packet_queue_limit_bytes(&self) -> usize {
        self.memory_limit_bytes / 16
    }
}

/// The neighbour cache (RFC 4861 §10 names its constants) and duplicate address detection (RFC
/// 4862).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NeighborConfig {
    /// The most entries per interface: remote hosts can make us resolve addresses. 1,024, Linux's
    /// `gc_thresh3`.
    pub max_entries: usize,
    /// The most packets that wait for one resolution; a further one replaces the oldest (RFC 4861
    /// §7.2.2 asks for at least one). 64, so that a datagram of 64 KiB gets through in its
    /// fragments; Linux's `unres_qlen_bytes` is 208 KiB.
    pub max_pending_packets: usize,
    /// RETRANS_TIMER: between two solicitations. 1 s.
    pub retransmit_delay: Duration,
    /// MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT: solicitations before a neighbour is given
    /// up. 3.
    pub max_solicitations: u8,
    /// REACHABLE_TIME: how long a confirmation is valid. 30 s.
    pub reachable_delay: Duration,
    /// DELAY_FIRST_PROBE_TIME: how long an upper layer may confirm a stale entry before the entry
    /// is probed. 5 s.
    pub delay_first_probe: Duration,
    /// ARP requests and neighbour solicitations of one neighbour that are answered in a second.
    /// 1,000; Linux has no limit. A neighbour asks at most once a second for each of our addresses,
    /// so only a flood is limited.
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
    /// TTL and hop limit of what we send. 64 (RFC 1700's successor registry; Linux's
    /// `ip_default_ttl`).
    pub hop_limit: u8,
    /// All bytes that wait for missing fragments. 4 MiB, Linux's `ipfrag_high_thresh`. At the limit
    /// the oldest packet of the source that holds the most is dropped; Linux refuses new ones, so
    /// that one source can shut out all others.
    pub reassembly_limit_bytes: usize,
    /// Packets that are being put together at once. 1,024.
    pub max_reassemblies: usize,
    /// For how long fragments wait. 30 s (Linux's `ipfrag_time`; RFC 8200 §4.5 says 60, RFC 1122 60
    /// to 120, and both were written for slower networks).
    pub reassembly_timeout: Duration,
    /// ICMP errors a second, all destinations together (RFC 4443 §2.4(f), RFC 1812 §4.3.2.8), on
    /// average: each takes none, one or two of this budget at random, so that no host learns from
    /// it how many were sent to others (CVE-2020-25705). 1,000, Linux's `icmp_msgs_per_sec`.
    pub icmp_errors_per_second: u32,
    /// ICMP errors at once, all destinations together, on average. 50, Linux's `icmp_msgs_burst`.
    pub icmp_error_burst: u32,
    /// The interval between ICMP errors to one IPv4 host after the first
    /// [`icmp_peer_burst`](IpConfig::icmp_peer_burst), so that no host uses up the budget of all.
    /// Zero: only the budget of all limits them. 1 s, Linux's `ipv4.icmp_ratelimit`: port
    /// unreachables for 100 ports of one host take 94 s.
    pub icmp_error_interval_v4: Duration,
    /// The same for one IPv6 host, or for one /64 on another link, since a host can have any
    /// address in it. 100 ms, Linux's `ipv6.icmp.ratelimit` (measured on 6.18; it was 1 s, and less
    /// for hosts on other links).
    pub icmp_error_interval_v6: Duration,
    /// ICMP errors to one host at once. 6, Linux's XRLIM_BURST_FACTOR.
    pub icmp_peer_burst: u32,
    /// Whether echo requests are answered.
    pub answer_echo: bool,
    /// Whether ICMP timestamp requests are answered, as on Linux. The clock in the reply is not the
    /// time of day (RFC 792 has a bit that says so), so the reply only shows that the host is
    /// there.
    pub answer_timestamps: bool,
    /// How long a learned path MTU is used: RFC 8201 §4 says not to try a larger one within 10
    /// minutes.
    pub path_mtu_timeout: Duration,
    /// The most destinations whose path MTU is kept. 4,096.
    pub max_path_mtus: usize,
    /// The most frames of the stack's own (resolution, ICMP, resets) that wait for the device, and
    /// packets that wait on the loopback. 1,024, near Linux's `txqueuelen`.
    pub max_queued_frames: usize,
    /// The most raw sockets of one family and protocol, each of which takes a copy of a packet.
    /// Another is refused (ENOBUFS). 64; Linux has no limit.
    pub max_raw_receivers: usize,
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
            max_raw_receivers: 64,
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
