//! The tunables of multicast.

/// Multicast: memberships, IGMP (RFC 9776) and MLD (RFC 9777).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MulticastConfig {
    /// The most IPv4 groups that one socket may be a member of. 20, Linux's `igmp_max_memberships`.
    pub max_memberships_v4: usize,
    /// The same for IPv6. 1,024; Linux limits the memory for a socket's options instead
    /// (`optmem_max`).
    pub max_memberships_v6: usize,
    /// The most sources in the filter of one IPv4 membership. 64, the least that RFC 9776 §2
    /// (RFC9776-2-a) allows; Linux's `igmp_max_msf` is 10.
    pub max_sources_v4: usize,
    /// The same for IPv6. 64, as Linux's `mld_max_msf`.
    pub max_sources_v6: usize,
    /// The most sources that all sockets together may list for one group on one interface: each
    /// change compares the lists. 1,024; Linux has no limit.
    pub max_group_sources: usize,
    /// The most sockets on one address and port, and the most members of one group on one port,
    /// because a datagram to the group is delivered to each of them. 1,024; Linux has no limit.
    pub max_members: usize,
    /// How often a change of membership is reported, for the case that a report is lost, until a
    /// querier names another number. 2, the Robustness Variable of RFC 9776 §8.1.
    pub robustness: u8,
    /// Whether the old versions of the protocols, IGMPv1, IGMPv2 and MLDv1, are spoken to routers
    /// that speak them. true; without it their queries are ignored, which suits networks with
    /// source-specific multicast only (RFC 9776 §7.2.1).
    pub old_versions: bool,
}

impl Default for MulticastConfig {
    fn default() -> Self {
        MulticastConfig {
            max_memberships_v4: 20,
            max_memberships_v6: 1024,
            max_sources_v4: 64,
            max_sources_v6: 64,
            max_group_sources: 1024,
            max_members: 1024,
            robustness: 2,
            old_versions: true,
        }
    }
}
