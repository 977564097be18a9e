//! IPv4 and IPv6. Read `checksum` first, then `ipv4` and `ipv6` (the headers), `extension` (IPv6
//! extension headers), then `input`, `reassembly`, `output`, `flow_label`, `fragmentation`,
//! `pmtu` and `forwarding`.
//!
//! None of them sends anything or knows an interface: they parse, decide and build, and
//! [`Network`](crate::network::Network) acts.

pub(crate) mod checksum;
pub(crate) mod ecn;
pub(crate) mod extension;
pub(crate) mod flow_label;
pub(crate) mod forwarding;
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
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NO_NEXT_HEADER: u8 = 59;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;

    /// The ICMP protocol of an address's family.
    pub(crate) fn icmp_for(addr: core::net::IpAddr) -> u8 {
        if addr.is_ipv4() { ICMP } else { ICMPV6 }
    }
}

use core::net::{IpAddr, Ipv4Addr};

/// The fields that the headers of both families have, as far as this stack uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpHeader {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The protocol that follows; in IPv6 this may be an extension header.
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    /// The length of the header with its options, without IPv6 extension headers.
    pub(crate) header_len: usize,
    /// The length of the whole packet; bytes behind it are padding of the link.
    pub(crate) total_len: usize,
    /// Set if the packet is a fragment. In IPv6 the extension headers tell that, so it is `None`
    /// here.
    pub(crate) fragment: Option<Fragment>,
}

/// How a packet was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// The position of a fragment in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    /// The offset of its data, in bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// Reads a byte. `None` if the packet is too short: hostile packets may end anywhere.
pub(crate) fn read_u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Like [`read_u8`], for a big-endian number of two bytes.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Like [`read_u8`], for a big-endian number of four bytes.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Whether the address is in fe80::/10, where the same address may exist on every link. (IPv4's
/// 169.254.0.0/16 is treated like any other network.)
pub(crate) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// Whether the address is in 240.0.0.0/4, which is reserved (RFC 1112 §4).
pub(crate) fn is_class_e(addr: Ipv4Addr) -> bool {
    addr.octets()[0] >= 240
}
