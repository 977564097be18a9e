//! IPPROTO_IP and IPPROTO_IPV6.

use crate::interface_id::InterfaceId;
use crate::network::MtuDiscovery;

/// The options of IP, see [`SocketOptions`](super::SocketOptions).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpOptions {
    /// IP_TTL, if set.
    pub ttl: Option<u8>,
    /// IP_TOS and IPV6_TCLASS.
    pub tos: u8,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
    /// IP_RECVERR and IPV6_RECVERR.
    pub receive_errors: bool,
    /// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.
    pub mtu_discover: MtuDiscover,
    /// IPV6_DONTFRAG.
    pub dont_fragment: bool,
    /// IP_FREEBIND and IPV6_FREEBIND.
    pub free_bind: bool,
    /// IP_BIND_ADDRESS_NO_PORT.
    pub bind_address_no_port: bool,
    /// IP_LOCAL_PORT_RANGE: the lowest and the highest; 0 if it is not limited.
    pub local_port_range: (u16, u16),
    /// IP_MINTTL.
    pub min_ttl: u8,
    /// IPV6_MINHOPCOUNT.
    pub min_hop_count: u8,
    /// IP_UNICAST_IF.
    pub unicast_interface: Option<InterfaceId>,
    /// IPV6_UNICAST_IF.
    pub unicast_interface_v6: Option<InterfaceId>,
}

/// What happens to datagrams that are longer than the path MTU (IP_MTU_DISCOVER of ip(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MtuDiscover {
    /// IP_PMTUDISC_DONT: they are fragmented, by this stack or by a router.
    Dont,
    /// IP_PMTUDISC_WANT: this stack fragments them. The others must not be fragmented by routers.
    #[default]
    Want,
    /// IP_PMTUDISC_DO: they are refused with `MessageTooLong`. No router may fragment the others.
    Do,
    /// IP_PMTUDISC_PROBE: as `Do`, but only those that are longer than the MTU of the interface are
    /// refused, so that a program can measure the path itself.
    Probe,
    /// IP_PMTUDISC_INTERFACE: those that are longer than the MTU of the interface are refused.
    /// Routers may fragment them, and reports of a smaller MTU are ignored, as they can be forged.
    Interface,
    /// IP_PMTUDISC_OMIT: as `Interface`, but those that are longer than the MTU of the interface
    /// are fragmented.
    Omit,
}

impl MtuDiscover {
    pub(in crate::socket) fn for_packets(self) -> MtuDiscovery {
        match self {
            MtuDiscover::Dont => MtuDiscovery::Dont,
            MtuDiscover::Want => MtuDiscovery::Want,
            MtuDiscover::Do => MtuDiscovery::Never,
            MtuDiscover::Probe => MtuDiscovery::Probe,
            MtuDiscover::Interface => MtuDiscovery::Interface,
            MtuDiscover::Omit => MtuDiscovery::Omit,
        }
    }
}

/// The fields of the IP headers of a socket's packets.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::socket) struct IpFields {
    /// The TTL or hop limit; `None` for the configured one.
    pub(in crate::socket) ttl: Option<u8>,
    /// The TOS or traffic class.
    pub(in crate::socket) tos: u8,
    /// What happens to datagrams that are too long.
    pub(in crate::socket) mtu_discover: MtuDiscover,
    /// Whether members on this host get a copy of a packet to a group or broadcast address.
    pub(in crate::socket) is_looped: bool,
    /// Whether UDP datagrams have no checksum.
    pub(in crate::socket) is_unchecked: bool,
}
