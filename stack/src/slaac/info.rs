//! What an interface has learned from routers, as programs see it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::iface::cidr::Cidr;
use crate::link::router_advertisement::RouterPreference;
use crate::time::Instant;

/// What an interface has learned from router advertisements
/// ([`Stack::slaac`](crate::Stack::slaac)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlaacInfo {
    /// The routes: default routes, prefixes on the link, and others.
    pub routes: Vec<AdvertisedRoute>,
    /// The addresses that the interface has formed, without its link-local one.
    pub addresses: Vec<AutoAddressInfo>,
    /// The addresses of name servers (RFC 8106), at most 8. Link-local ones are on the link of this
    /// interface.
    pub name_servers: Vec<Ipv6Addr>,
    /// The domains to search (RFC 8106), at most 8.
    pub search_domains: Vec<String>,
    /// The MTU for IPv6.
    pub mtu: Option<usize>,
    /// The hop limit of what is sent.
    pub hop_limit: Option<u8>,
    /// The M flag of the last advertisement: a DHCPv6 server has addresses.
    pub is_managed: bool,
    /// The O flag of the last advertisement: a DHCPv6 server has other configuration.
    pub has_other: bool,
}

/// A route that a router has advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdvertisedRoute {
    /// The destinations; `::/0` for a default route.
    pub destination: Cidr,
    /// The router; `None` for a prefix on the link.
    pub gateway: Option<Ipv6Addr>,
    /// The preference among routes to the same destinations.
    pub preference: RouterPreference,
    /// Whether the router did not answer when it was last used: others come before it.
    pub is_suspect: bool,
    /// When it expires; `None` for never.
    pub expires_at: Option<Instant>,
}

/// An address that an interface has formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AutoAddressInfo {
    /// The address with its prefix length, 64.
    pub cidr: Cidr,
    /// Whether it is temporary (RFC 8981).
    pub is_temporary: bool,
    /// When it becomes deprecated; `None` for never.
    pub preferred_until: Option<Instant>,
    /// When it is removed; `None` for never.
    pub valid_until: Option<Instant>,
}
