//! Multicast on the side of a host: which groups an interface listens to, from which sources, and
//! what routers are told about that: IGMP (RFC 9776) for IPv4, MLD (RFC 9777) for IPv6.
//!
//! Read `filter` first (what a member asks for), then `group` (the union of what the members of one
//! group ask for), `host` (the protocol: reports, answers to queries, timers), `message` (what is
//! sent and received), `igmp` and `mld` (how it looks on the wire), and `interface` (both families
//! on one interface).
//!
//! Nothing here sends anything or knows a socket: [`Network`](crate::network::Network) passes
//! packets and calls, and `socket::groups` holds the memberships of sockets.

mod filter;
mod group;
mod host;
pub(crate) mod igmp;
mod interface;
mod message;
pub(crate) mod mld;

pub use filter::{FilterMode, SourceFilter};
pub(crate) use interface::InterfaceGroups;
pub(crate) use message::{GroupMessage, Message};

use core::net::{IpAddr, Ipv4Addr};

use crate::interface_id::InterfaceId;

/// 224.0.0.1: every host is a member, and nobody reports it (RFC 9776 §5).
pub(crate) const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Whether memberships of this group are reported to routers: not those of the groups of all hosts
/// (RFC 9776 §5, RFC 9777 §6), and not those of groups that never leave the host (RFC 9777 §6:
/// scopes 0 and 1).
pub(crate) fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group != ALL_SYSTEMS,
        IpAddr::V6(group) => group != crate::link::ndp::ALL_NODES && group.octets()[1] & 0x0f > 1,
    }
}

/// The interface of a membership, or that packets to a group leave through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MulticastInterface {
    /// The interface of the route to the group, or else the first one.
    #[default]
    Any,
    /// This interface. [`InterfaceId::LOOPBACK`] stands for groups within this stack.
    Id(InterfaceId),
    /// The interface that has this address.
    Address(Ipv4Addr),
}

impl From<InterfaceId> for MulticastInterface {
    fn from(iface: InterfaceId) -> Self {
        MulticastInterface::Id(iface)
    }
}

/// `None` stands for [`MulticastInterface::Any`].
impl From<Option<InterfaceId>> for MulticastInterface {
    fn from(iface: Option<InterfaceId>) -> Self {
        iface.map_or(MulticastInterface::Any, MulticastInterface::Id)
    }
}

/// 0.0.0.0 stands for [`MulticastInterface::Any`].
impl From<Ipv4Addr> for MulticastInterface {
    fn from(addr: Ipv4Addr) -> Self {
        if addr.is_unspecified() { MulticastInterface::Any } else { MulticastInterface::Address(addr) }
    }
}
