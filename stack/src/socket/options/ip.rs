//! IPPROTO_IP and IPPROTO_IPV6.

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
}

/// The fields of the IP headers of a socket's packets.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::socket) struct IpFields {
    /// The TTL or hop limit; `None` for the configured one.
    pub(in crate::socket) ttl: Option<u8>,
    /// The TOS or traffic class.
    pub(in crate::socket) tos: u8,
}
