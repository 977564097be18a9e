//! The packet that an ICMP error quotes: its beginning, which may be cut off or changed on the way.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ip::{extension, ipv4, ipv6, protocol, read_u8, read_u16};
use crate::link::ndp;

/// What the beginning of a packet tells about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// Where the transport header begins.
    pub(crate) transport_at: usize,
    /// The length of the packet according to its header.
    pub(crate) total_len: usize,
    /// Whether the packet is a fragment: any of several, or the only one (RFC 6946).
    pub(crate) is_fragment: bool,
    /// Whether it is a fragment other than the first: then no header stands at `transport_at`.
    pub(crate) is_later_fragment: bool,
}

impl Quote {
    /// Reads the headers up to the transport's. Checksums and most lengths are not checked.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Quote> {
        match read_u8(bytes, 0)? >> 4 {
            4 => Quote::parse_v4(bytes),
            6 => Quote::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &[u8]) -> Option<Quote> {
        let transport_at = usize::from(read_u8(bytes, 0)? & 0x0f) * 4;
        let src: [u8; 4] = *bytes.get(12..)?.first_chunk()?;
        let dst: [u8; 4] = *bytes.get(16..)?.first_chunk()?;
        (transport_at >= ipv4::HEADER_LEN).then_some(Quote {
            src: IpAddr::V4(Ipv4Addr::from(src)),
            dst: IpAddr::V4(Ipv4Addr::from(dst)),
            protocol: read_u8(bytes, 9)?,
            transport_at,
            total_len: usize::from(read_u16(bytes, 2)?),
            is_fragment: read_u16(bytes, 6)? & 0x3fff != 0,
            is_later_fragment: read_u16(bytes, 6)? & 0x1fff != 0,
        })
    }

    fn parse_v6(bytes: &[u8]) -> Option<Quote> {
        let src: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
        let dst: [u8; 16] = *bytes.get(24..)?.first_chunk()?;
        let mut quote = Quote {
            src: IpAddr::V6(Ipv6Addr::from(src)),
            dst: IpAddr::V6(Ipv6Addr::from(dst)),
            protocol: read_u8(bytes, 6)?,
            transport_at: ipv6::HEADER_LEN,
            total_len: ipv6::HEADER_LEN + usize::from(read_u16(bytes, 4)?),
            is_fragment: false,
            is_later_fragment: false,
        };
        // Each header is at least 8 bytes long, so the loop ends. It also ends where the quoted
        // bytes do.
        while let Some((next, len)) = next_header(bytes, quote.protocol, quote.transport_at) {
            if quote.protocol == protocol::FRAGMENT {
                let place = read_u16(bytes, quote.transport_at + 2).unwrap_or(0);
                quote.is_fragment = true;
                quote.is_later_fragment = place & 0xfff8 != 0;
            }
            quote.protocol = next;
            quote.transport_at += len;
            if quote.is_later_fragment {
                break;
            }
        }
        Some(quote)
    }

    /// Whether the packet is itself an ICMP error or redirect, to which no error may be sent (RFC
    /// 1122 §3.2.2, RFC 4443 §2.4 (e.1) and (e.2)). A message whose type is not there, as in a
    /// later fragment, counts as one.
    pub(crate) fn is_icmp_error(&self, packet: &[u8]) -> bool {
        let kind = read_u8(packet, self.transport_at).filter(|_| !self.is_later_fragment);
        // Each family has its own ICMP. The other family's is an unknown protocol.
        match self.protocol {
            // These types ask or answer: echo, router discovery, timestamp, information, address
            // mask and extended echo.
            protocol::ICMP if self.src.is_ipv4() => !matches!(kind, Some(0 | 8 | 9 | 10 | 13..=18 | 42 | 43)),
            protocol::ICMPV6 if self.src.is_ipv6() => {
                kind.is_none_or(|kind| kind < 128 || kind == ndp::REDIRECT)
            }
            _ => false,
        }
    }
}

/// The protocol behind an extension header, and the header's length. `None` if it is not an
/// extension header, or is cut off.
fn next_header(bytes: &[u8], header: u8, at: usize) -> Option<(u8, usize)> {
    let len = match header {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
            (usize::from(read_u8(bytes, at + 1)?) + 1) * 8
        }
        protocol::FRAGMENT => extension::FRAGMENT_HEADER_LEN,
        _ => return None,
    };
    Some((read_u8(bytes, at)?, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn v4(options: usize) -> Vec<u8> {
        let mut bytes = vec![0; 20 + options];
        bytes[0] = 0x45 + (options / 4) as u8;
        bytes[2..4].copy_from_slice(&1500u16.to_be_bytes());
        bytes[9] = 17;
        bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
        bytes[16..20].copy_from_slice(&[10, 0, 0, 2]);
        bytes
    }

    #[test]
    fn ipv4_with_options_and_fragments() {
        let quote = Quote::parse(&v4(8)).unwrap();
        assert_eq!((quote.transport_at, quote.protocol, quote.total_len), (28, 17, 1500));
        assert_eq!(quote.src, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert!(!quote.is_fragment && !quote.is_later_fragment);
        let mut first = v4(0);
        first[6] = 0x20;
        let quote = Quote::parse(&first).unwrap();
        assert!(quote.is_fragment && !quote.is_later_fragment);
        let mut later = v4(0);
        later[7] = 1;
        assert!(Quote::parse(&later).unwrap().is_later_fragment);
        assert_eq!(Quote::parse(&v4(0)[..19]), None);
        let mut short = v4(0);
        short[0] = 0x44;
        assert_eq!(Quote::parse(&short), None);
    }

    #[test]
    fn ipv6_with_extension_headers() {
        let mut bytes = vec![0; 40];
        bytes[0] = 0x60;
        bytes[6] = 60;
        bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([58, 0, 0, 1, 0, 0, 0, 9]);
        bytes.push(1);
        let quote = Quote::parse(&bytes).unwrap();
        assert_eq!((quote.transport_at, quote.protocol, quote.is_later_fragment), (56, 58, false));
        assert!(quote.is_fragment && quote.is_icmp_error(&bytes));
        bytes[56] = 128;
        assert!(!quote.is_icmp_error(&bytes));
        assert!(quote.is_icmp_error(&bytes[..56]));
        bytes[51] = 8;
        let later = Quote::parse(&bytes).unwrap();
        assert!(later.is_later_fragment && later.is_icmp_error(&bytes));
        assert_eq!(Quote::parse(&bytes[..40]).unwrap().protocol, 60);
        assert_eq!(Quote::parse(&bytes[..39]), None);
        assert_eq!(Quote::parse(&[]), None);
    }
}
