//! The tunables of interception.

use core::time::Duration;

/// TCP connections and UDP flows to other hosts that interfaces intercept
/// ([`Interception`](crate::Interception)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterceptionConfig {
    /// The most connections that wait for a decision. A further one replaces another: first the
    /// oldest of those whose SYN was never repeated, since SYNs from forged addresses seldom are.
    /// 16,384: 6 MiB.
    pub max_pending: usize,
    /// The most of one source, an IPv4 address or an IPv6 /64 (a neighbour counts alone). A further
    /// one replaces another of this source. 4,096.
    pub max_pending_per_source: usize,
    /// How long a connection may wait for a decision. 60 s: by then clients give up.
    pub pending_timeout: Duration,
    /// The most accepted connections whose sockets are open. Further SYNs are ignored. 65,536.
    pub max_connections: usize,
    /// The most of one source. 32,768, so that one source leaves half to the others.
    pub max_connections_per_source: usize,
    /// The most UDP flows. A further one ends another: first the least recently used of those that
    /// the program never answered, since datagrams from forged addresses seldom are. 16,384.
    pub max_flows: usize,
    /// The most of one source. A further one ends another of this source. 8,192, so that one source
    /// leaves half to the others.
    pub max_flows_per_source: usize,
    /// How long a flow may be idle. 5 minutes, as RFC 4787 §4.3 (REQ-5) recommends.
    pub flow_timeout: Duration,
    /// What the datagrams of a flow may hold before a program has accepted it. 16 KiB.
    pub max_flow_backlog_bytes: usize,
    /// Resets a second to one source that a program chooses as the answer. 1,000.
    pub max_resets_per_source: u32,
    /// ICMP errors a second to one source that a program chooses as the answer. Beyond it the
    /// answer is a reset. 100.
    pub max_unreachables_per_source: u32,
    /// The same to all sources together, on average. 1,000, as for other ICMP errors.
    pub max_unreachables_per_second: u32,
}

impl Default for InterceptionConfig {
    fn default() -> Self {
        InterceptionConfig {
            max_pending: 16_384,
            max_pending_per_source: 4096,
            pending_timeout: Duration::from_secs(60),
            max_connections: 65_536,
            max_connections_per_source: 32_768,
            max_flows: 16_384,
            max_flows_per_source: 8192,
            flow_timeout: Duration::from_secs(300),
            max_flow_backlog_bytes: 16 << 10,
            max_resets_per_source: 1000,
            max_unreachables_per_source: 100,
            max_unreachables_per_second: 1000,
        }
    }
}

impl InterceptionConfig {
    /// The limits of each of several stacks that together have these.
    pub(super) fn divided_by(&self, stacks: u16) -> InterceptionConfig {
        let part = |whole: usize| whole.div_ceil(usize::from(stacks));
        let rate = |whole: u32| whole.div_ceil(u32::from(stacks));
        InterceptionConfig {
            max_pending: part(self.max_pending),
            max_pending_per_source: part(self.max_pending_per_source),
            pending_timeout: self.pending_timeout,
            max_connections: part(self.max_connections),
            max_connections_per_source: part(self.max_connections_per_source),
            max_flows: part(self.max_flows),
            max_flows_per_source: part(self.max_flows_per_source),
            flow_timeout: self.flow_timeout,
            max_flow_backlog_bytes: self.max_flow_backlog_bytes,
            max_resets_per_source: rate(self.max_resets_per_source),
            max_unreachables_per_source: rate(self.max_unreachables_per_source),
            max_unreachables_per_second: rate(self.max_unreachables_per_second),
        }
    }
}
