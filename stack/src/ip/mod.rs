//! IPv4 and IPv6. Read `checksum` first, then `ipv4` and `ipv6` (the headers), `extension` (what
//! may follow an IPv6 header), then `input`, `reassembly`, `output`, `flow_label`, `fragmentation`
//! and `pmtu`.
//!
//! None of them sends or holds an interface: they parse, decide and build, and
//! [`Network`](crate::network::Network) acts.

pub(crate) mod checksum;
pub(crate) mod ecn;
pub(crate) mod extension;
pub(crate) mod flow_label;
pub(crate) mod fragmentation;
pub(crate) mod input;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod output;
pub(crate) mod packet;
pub(crate) mod pmtu;
pub(crate) mod reassembly;
pub(crate) mod refusal;

/// Protocol numbers, IPv6 extension headers among them.
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NO_NEXT_HEADER: u8 = 59;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;

    /// The ICMP of an address's family.
    pub(crate) fn icmp_for(addr: core::net::IpAddr) -> u8 {
        if addr.is_ipv4() { ICMP } else { ICMPV6 }
    }
}

use core::net::{IpAddr, Ipv4Addr};

/// What both families' headers say, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpHeader {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// What follows: in IPv6 perhaps an extension header.
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    /// The header with its options, without IPv6 extension headers.
    pub(crate) header_len: usize,
    /// The whole packet; what follows is padding of the link.
    pub(crate) total_len: usize,
    /// Where the packet is a part of a larger one. IPv6 says so in an extension header.
    pub(crate) fragment: Option<Fragment>,
}

/// To whom a packet was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// Which part of which packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// Reads a byte, a big-endian number: hostile packets end anywhere.
pub(crate) fn read_u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// As [`read_u8`], two bytes.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// As [`read_u8`], four bytes.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// fe80::/10: the same address may be on every link. (IPv4's 169.254.0.0/16 is treated as any other
/// network.)
pub(crate) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// 240.0.0.0/4, reserved (RFC 1112 §4).
pub(crate) fn is_class_e(addr: Ipv4Addr) -> bool {
    addr.octets()[0] >= 240
}
