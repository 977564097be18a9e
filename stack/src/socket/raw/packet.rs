//! Packets whose IP header the program has made (IP_HDRINCL).

use core::net::IpAddr;

use crate::error::{Error, Result};
use crate::ip::checksum::internet_checksum;
use crate::ip::{ipv4, ipv6, read_u8, read_u16};

/// What the program left to the stack in an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) source: bool,
    pub(super) identification: bool,
}

/// Checks that the header of a packet is there. EINVAL if it is shorter than its kind of header, or
/// if it says that it is longer than the packet; and if its version is not that of the family,
/// which Linux sends.
pub(super) fn check(packet: &[u8], is_v4: bool) -> Result<()> {
    let first = read_u8(packet, 0).ok_or(Error::InvalidArgument)?;
    let (version, header_len) = match is_v4 {
        true => (4, usize::from(first & 0x0f) * 4),
        false => (6, ipv6::HEADER_LEN),
    };
    let least = if is_v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    if first >> 4 != version || header_len < least || header_len > packet.len() {
        return Err(Error::InvalidArgument);
    }
    Ok(())
}

/// The fields of a checked IPv4 header that the stack is to fill in. As on Linux a packet that must
/// not be fragmented keeps an identification of zero.
pub(super) fn missing(packet: &[u8]) -> Missing {
    let is_zero = |at: usize| read_u16(packet, at) == Some(0);
    let dont_fragment = read_u8(packet, 6).is_some_and(|flags| flags & 0x40 != 0);
    Missing { source: is_zero(12) && is_zero(14), identification: is_zero(4) && !dont_fragment }
}

/// Completes a checked IPv4 header: its length, its checksum, and these fields.
pub(super) fn complete(packet: &mut [u8], source: Option<IpAddr>, identification: Option<u16>) {
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    // `check` has seen all of the header, and a link's MTU limits the packet to 65,535 bytes.
    let len = packet.len() as u16;
    let header = &mut packet[..header_len];
    header[2..4].copy_from_slice(&len.to_be_bytes());
    if let Some(identification) = identification {
        header[4..6].copy_from_slice(&identification.to_be_bytes());
    }
    if let Some(IpAddr::V4(source)) = source {
        header[12..16].copy_from_slice(&source.octets());
    }
    header[10..12].fill(0);
    let sum = internet_checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
