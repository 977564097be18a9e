//! IPv6 extension headers (RFC 8200 §4): the walk from the IPv6 header to the transport, or to a
//! fragment header.

use super::refusal::{IcmpError, Refusal};
use super::{Fragment, ipv6, protocol, read_u8, read_u16, read_u32};
use crate::drop_reason::DropReason;

/// The bytes of a fragment header.
pub(crate) const FRAGMENT_HEADER_LEN: usize = 8;

/// The most extension headers that are accepted. A regular packet has each kind once and the
/// destination options twice (RFC 8200 §4.1), which is less.
const MAX_HEADERS: usize = 8;
/// The most options in one header, not counting padding; Linux's `max_dst_opts_number`.
const MAX_OPTIONS: usize = 8;

/// Codes of "parameter problem" (RFC 4443 §3.4, RFC 7112 §5).
pub(crate) const ERRONEOUS_FIELD: u8 = 0;
pub(crate) const UNRECOGNIZED_NEXT_HEADER: u8 = 1;
const UNRECOGNIZED_OPTION: u8 = 2;
pub(crate) const INCOMPLETE_CHAIN: u8 = 3;

/// The place where the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The protocol that follows; behind a fragment header, the one that it names.
    pub(crate) protocol: u8,
    /// The offset in the packet at which it begins; behind a fragment header, that of the
    /// fragment's data.
    pub(crate) offset: usize,
    /// The offset of the field that names the header at which the walk ended: the field that holds
    /// `protocol` or "fragment".
    pub(crate) named_at: usize,
    pub(crate) fragment: Option<Fragment>,
}

/// Walks from the IPv6 header of a packet to what it carries. `to_group`: the destination is a
/// multicast group.
pub(crate) fn walk(packet: &[u8], to_group: bool) -> Result<Chain, Refusal> {
    let malformed = || Refusal::silent(DropReason::BadExtensionHeader);
    let mut protocol = read_u8(packet, 6).ok_or_else(malformed)?;
    let mut offset = ipv6::HEADER_LEN;
    let mut named_at = 6;
    for index in 0..=MAX_HEADERS {
        match protocol {
            // RFC 8200 §4.1: allowed only directly behind the IPv6 header.
            protocol::HOP_BY_HOP if index > 0 => {
                let code = UNRECOGNIZED_NEXT_HEADER;
                return Err(problem(code, named_at));
            }
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => {
                let len = header_len(packet, offset).ok_or_else(malformed)?;
                check_options(packet, offset, len, to_group)?;
            }
            protocol::ROUTING => check_routing(packet, offset)?,
            protocol::FRAGMENT => return fragment(packet, offset, named_at).ok_or_else(malformed),
            _ => return Ok(Chain { protocol, offset, named_at, fragment: None }),
        }
        let len = header_len(packet, offset).ok_or_else(malformed)?;
        protocol = read_u8(packet, offset).ok_or_else(malformed)?;
        named_at = offset;
        offset += len;
    }
    Err(malformed())
}

/// Checks the hop-by-hop options of a packet that is forwarded, if it has any: they are the only
/// extension header that a router reads (RFC 8200 §4).
pub(crate) fn check_hop_by_hop(packet: &[u8]) -> Result<(), Refusal> {
    if read_u8(packet, 6) != Some(protocol::HOP_BY_HOP) {
        return Ok(());
    }
    let malformed = Refusal::silent(DropReason::BadExtensionHeader);
    let len = header_len(packet, ipv6::HEADER_LEN).ok_or(malformed)?;
    check_options(packet, ipv6::HEADER_LEN, len, false)
}

/// The length of an extension header, if all of it is there.
fn header_len(packet: &[u8], offset: usize) -> Option<usize> {
    let len = (usize::from(read_u8(packet, offset + 1)?) + 1) * 8;
    (offset + len <= packet.len()).then_some(len)
}

/// Reads a fragment header (RFC 8200 §4.5).
fn fragment(packet: &[u8], offset: usize, named_at: usize) -> Option<Chain> {
    let place = read_u16(packet, offset + 2)?;
    let fragment = Fragment {
        id: read_u32(packet, offset + 4)?,
        offset: usize::from(place & 0xfff8),
        more: place & 1 != 0,
    };
    Some(Chain {
        protocol: read_u8(packet, offset)?,
        offset: offset + FRAGMENT_HEADER_LEN,
        named_at,
        fragment: Some(fragment),
    })
}

/// RFC 8200 §4.4: we support no type of routing header. One without segments left is skipped; any
/// other is refused. This treats type 0 as RFC 5095 §3 demands.
fn check_routing(packet: &[u8], offset: usize) -> Result<(), Refusal> {
    match read_u8(packet, offset + 3) {
        Some(0) => Ok(()),
        Some(_) => Err(problem(ERRONEOUS_FIELD, offset + 2)),
        None => Err(Refusal::silent(DropReason::BadExtensionHeader)),
    }
}

const PAD1: u8 = 0;
const PADN: u8 = 1;
/// RFC 2711: an option for routers.
const ROUTER_ALERT: u8 = 5;

/// Checks the options of a hop-by-hop or destination options header (RFC 8200 §4.2).
fn check_options(packet: &[u8], start: usize, len: usize, to_group: bool) -> Result<(), Refusal> {
    let malformed = Refusal::silent(DropReason::BadExtensionHeader);
    let (mut at, end) = (start + 2, start + len);
    let mut options = 0;
    while at < end {
        let kind = read_u8(packet, at).ok_or(malformed)?;
        if kind == PAD1 {
            at += 1;
            continue;
        }
        let option_len = 2 + usize::from(read_u8(packet, at + 1).ok_or(malformed)?);
        if at + option_len > end {
            return Err(malformed);
        }
        if kind != PADN {
            options += 1;
            if options > MAX_OPTIONS {
                return Err(malformed);
            }
        }
        if kind != PADN && kind != ROUTER_ALERT {
            unrecognized_option(kind, at, to_group)?;
        }
        at += option_len;
    }
    Ok(())
}

/// What happens to a packet with an unknown option: its two highest bits say so (RFC 8200 §4.2).
fn unrecognized_option(kind: u8, at: usize, to_group: bool) -> Result<(), Refusal> {
    match kind >> 6 {
        0 => Ok(()),
        1 => Err(Refusal::silent(DropReason::BadExtensionHeader)),
        // RFC 4443 §2.4 (e.3) allows this error about packets to groups, too.
        2 => Err(Refusal { even_to_group: true, ..problem(UNRECOGNIZED_OPTION, at) }),
        _ if to_group => Err(Refusal::silent(DropReason::BadExtensionHeader)),
        _ => Err(problem(UNRECOGNIZED_OPTION, at)),
    }
}

/// A refusal that is answered with "parameter problem".
pub(crate) fn problem(code: u8, pointer: usize) -> Refusal {
    let error = IcmpError::ParameterProblem { code, pointer: pointer as u32 };
    Refusal::answered(DropReason::BadExtensionHeader, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// An IPv6 packet with this first next header, and `rest` behind the IPv6 header.
    fn packet(next_header: u8, rest: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next_header;
        packet.extend(rest.concat());
        packet
    }

    /// An extension header of 8 bytes, with 6 bytes of options.
    fn options(next_header: u8, options: [u8; 6]) -> Vec<u8> {
        [&[next_header, 0][..], &options].concat()
    }

    const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

    fn error(packet: &[u8], to_group: bool) -> Option<IcmpError> {
        walk(packet, to_group).unwrap_err().error
    }

    fn parameter_problem(code: u8, pointer: u32) -> Option<IcmpError> {
        Some(IcmpError::ParameterProblem { code, pointer })
    }

    #[test]
    fn known_headers_are_skipped() {
        let plain = packet(6, &[&[0; 20]]);
        assert_eq!(walk(&plain, false), Ok(Chain { protocol: 6, offset: 40, named_at: 6, fragment: None }));
        let long_options = [&[43, 1, 1, 12][..], &[0; 12]].concat();
        let routing = [17, 0, 0, 0, 0, 0, 0, 0]; // type 0, no segments left
        let all = packet(0, &[&options(60, PADDING), &long_options, &routing, &[0; 8]]);
        assert_eq!(walk(&all, false), Ok(Chain { protocol: 17, offset: 72, named_at: 64, fragment: None }));
        // Router alert, and an unknown option that may be skipped.
        let alert = packet(0, &[&options(6, [5, 2, 0, 0, 0x1e, 0]), &[0; 20]]);
        assert_eq!(walk(&alert, false).unwrap().protocol, 6);
        let none = packet(59, &[]);
        assert_eq!(walk(&none, false).unwrap().protocol, protocol::NO_NEXT_HEADER);
    }

    #[test]
    fn fragments_end_the_walk() {
        let fragment = [17, 0, 0x05, 0xa9, 1, 2, 3, 4];
        let chain = walk(&packet(60, &[&options(44, PADDING), &fragment, &[0; 8]]), false).unwrap();
        let expected = Fragment { id: 0x01020304, offset: 0x5a8, more: true };
        assert_eq!(chain, Chain { protocol: 17, offset: 56, named_at: 40, fragment: Some(expected) });
    }

    #[test]
    fn rfc_8200_4_2_unknown_options_do_as_their_bits_say() {
        let with = |kind| packet(60, &[&options(6, [kind, 4, 0, 0, 0, 0]), &[0; 20]]);
        assert!(walk(&with(0x1e), false).is_ok());
        assert_eq!(error(&with(0x5e), false), None);
        assert_eq!(error(&with(0x9e), true), parameter_problem(2, 42));
        assert!(walk(&with(0x9e), true).unwrap_err().even_to_group);
        assert_eq!(error(&with(0xde), false), parameter_problem(2, 42));
        assert_eq!(error(&with(0xde), true), None);
    }

    #[test]
    fn rfc_8200_4_misplaced_and_unfinished_headers() {
        // Hop-by-hop options behind another header: an unrecognized next header, named at byte 40.
        let late = packet(60, &[&options(0, PADDING), &options(6, PADDING), &[0; 20]]);
        assert_eq!(error(&late, false), parameter_problem(1, 40));
        // RFC 5095 §3: type 0 with segments left.
        let routing = packet(43, &[&[6, 2, 0, 1], &[0; 20], &[0; 20]]);
        assert_eq!(error(&routing, false), parameter_problem(0, 42));
        // A header that is cut off, an option that is longer than its header, too many headers, too
        // many options.
        assert_eq!(error(&packet(60, &[&[6, 1, 1, 4, 0, 0, 0, 0]]), false), None);
        assert_eq!(error(&packet(60, &[&[6]]), false), None);
        assert_eq!(error(&packet(44, &[&[6, 0, 0, 0, 0, 0, 0]]), false), None);
        assert_eq!(error(&packet(60, &[&options(6, [0x1e, 5, 0, 0, 0, 0])]), false), None);
        let many: Vec<Vec<u8>> = (0..20).map(|_| options(60, PADDING)).collect();
        assert_eq!(error(&packet(60, &[&many.concat()]), false), None);
        let crowded = [&[6, 3][..], &[0x1e, 0].repeat(15)].concat();
        assert_eq!(error(&packet(60, &[&crowded, &[0; 20]]), false), None);
    }
}
