//! The options of multicast at the levels IPPROTO_IP and IPPROTO_IPV6.

use core::net::Ipv4Addr;

use crate::interface_id::InterfaceId;

/// The multicast options of a socket, see
/// [`SocketOptions::multicast`](crate::SocketOptions::multicast). An IPv6 socket that also uses
/// IPv4 has both halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MulticastOptions {
    /// IP_MULTICAST_TTL. 1 by default (RFC 1112 §6.1, RFC1112-6.1-a): packets do not leave the
    /// link.
    pub ttl: u8,
    /// IP_MULTICAST_LOOP, of an IPv4 socket.
    pub loops: bool,
    /// IP_MULTICAST_ALL, if it was set. By default it is on for an IPv4 socket, and off for an IPv6
    /// socket, as on Linux.
    pub all: Option<bool>,
    /// IP_MULTICAST_IF: the interface, if one was set.
    pub interface: Option<InterfaceId>,
    /// IP_MULTICAST_IF: the address by which it was named, which is also the source of packets.
    pub source: Option<Ipv4Addr>,
    /// IPV6_MULTICAST_HOPS.
    pub hops_v6: u8,
    /// IPV6_MULTICAST_LOOP, which on an IPv6 socket decides about IPv4 groups, too, as on Linux.
    pub loops_v6: bool,
    /// IPV6_MULTICAST_ALL.
    pub all_v6: bool,
    /// IPV6_MULTICAST_IF, if it was set.
    pub interface_v6: Option<InterfaceId>,
}

impl MulticastOptions {
    /// The options of a new socket.
    pub(in crate::socket) const DEFAULT: MulticastOptions = MulticastOptions {
        ttl: 1,
        loops: true,
        all: None,
        interface: None,
        source: None,
        hops_v6: 1,
        loops_v6: true,
        all_v6: true,
        interface_v6: None,
    };
}
