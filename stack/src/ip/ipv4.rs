//! The IPv4 header (RFC 791 §3.1) and its options.

use core::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::{IpProtocol, Ipv4Packet};

use super::checksum::{internet_checksum, verify_internet_checksum};
use super::refusal::{IcmpError, Refusal};
use super::{Fragment, IpHeader};
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;

/// The length of the header without options.
pub(crate) const HEADER_LEN: usize = 20;
/// The length of the largest packet.
pub(crate) const MAX_PACKET_LEN: usize = 65535;

/// Reads the header. `bytes` may be longer than the packet.
pub(crate) fn parse(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    // Checks the version, and that header length, total length and the received bytes agree.
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| DropReason::BadIpHeader)?;
    let header_len = usize::from(packet.header_len());
    if packet.version() != 4 {
        return Err(DropReason::BadIpHeader);
    }
    // RFC 1122 §3.2.1.2: the checksum is always verified.
    if !bytes.get(..header_len).is_some_and(verify_internet_checksum) {
        return Err(DropReason::BadIpChecksum);
    }
    let (more, offset) = (packet.more_frags(), usize::from(packet.frag_offset()));
    let fragment = (more || offset > 0).then(|| Fragment { id: u32::from(packet.ident()), offset, more });
    Ok(IpHeader {
        src: IpAddr::V4(packet.src_addr()),
        dst: IpAddr::V4(packet.dst_addr()),
        protocol: packet.next_header().into(),
        hop_limit: packet.hop_limit(),
        traffic_class: packet.dscp() << 2 | packet.ecn(),
        header_len,
        total_len: usize::from(packet.total_len()),
        fragment,
    })
}

/// The fields of an IPv4 header that we build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv4Fields {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
    /// Where a fragment belongs, and whether others follow.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

impl Ipv4Fields {
    /// Puts the header in front of a packet whose payload is `payload_len` bytes long.
    #[inline]
    pub(crate) fn prepend(&self, header: &mut HeaderBuf, payload_len: usize) {
        self.write(header.prepend(HEADER_LEN), payload_len);
    }

    /// Like [`prepend`](Ipv4Fields::prepend), with the router alert option (RFC 2113).
    pub(crate) fn prepend_with_router_alert(&self, header: &mut HeaderBuf, payload_len: usize) {
        let bytes = header.prepend(HEADER_LEN + ROUTER_ALERT.len());
        bytes[HEADER_LEN..].copy_from_slice(&ROUTER_ALERT);
        self.write(bytes, payload_len);
    }

    /// Writes the header into `bytes`, which ends with its options.
    #[inline(always)]
    fn write(&self, bytes: &mut [u8], payload_len: usize) {
        let header_len = bytes.len();
        let mut packet = Ipv4Packet::new_unchecked(&mut *bytes);
        packet.set_version(4);
        packet.set_header_len(header_len as u8);
        packet.set_dscp(self.traffic_class >> 2);
        packet.set_ecn(self.traffic_class & 3);
        packet.set_total_len((header_len + payload_len) as u16);
        packet.set_ident(self.ident);
        packet.clear_flags();
        packet.set_dont_frag(self.dont_fragment);
        packet.set_more_frags(self.more);
        packet.set_frag_offset(self.offset as u16);
        packet.set_hop_limit(self.hop_limit);
        packet.set_next_header(IpProtocol::from(self.protocol));
        packet.set_src_addr(self.src);
        packet.set_dst_addr(self.dst);
        packet.set_checksum(0);
        let sum = internet_checksum(bytes);
        Ipv4Packet::new_unchecked(bytes).set_checksum(sum);
    }
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
/// The bit of a kind whose option is in every fragment.
const COPIED: u8 = 0x80;
/// RFC 2113: type, length, and a value of 0.
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Checks the options of a header. Those for routers are skipped. Source routes are refused, as RFC
/// 7126 §4.3 and §4.4 recommend and as Linux does by default, because a sender can use them to get
/// around filters.
pub(crate) fn check_options(header: &[u8]) -> Result<(), Refusal> {
    let mut at = HEADER_LEN;
    while let Some(&kind) = header.get(at) {
        match kind {
            END_OF_OPTIONS => return Ok(()),
            NO_OPERATION => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let len = header.get(at + 1).map_or(0, |&len| usize::from(len));
        if len < 2 || at + len > header.len() {
            // RFC 1122 §3.2.2.5: the pointer names the byte that is wrong.
            let error = IcmpError::ParameterProblem { code: 0, pointer: at as u32 + 1 };
            return Err(Refusal::answered(DropReason::BadIpOption, error));
        }
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            return Err(Refusal::answered(DropReason::BadIpOption, IcmpError::SourceRouteFailed));
        }
        at += len;
    }
    Ok(())
}

/// Replaces the options that only the first fragment has by "no operation" (RFC 791 §3.1: their
/// copied flag is 0). The options were checked.
pub(crate) fn clear_first_options(header: &mut [u8]) {
    let mut at = HEADER_LEN;
    while let Some(&kind) = header.get(at) {
        let len = match kind {
            END_OF_OPTIONS => return,
            NO_OPERATION => 1,
            _ => header.get(at + 1).map_or(1, |&len| usize::from(len).max(1)),
        };
        if kind & COPIED == 0
            && let Some(option) = header.get_mut(at..at + len)
        {
            option.fill(NO_OPERATION);
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn fields() -> Ipv4Fields {
        Ipv4Fields {
            src: Ipv4Addr::new(10, 0, 0, 1),
            dst: Ipv4Addr::new(10, 0, 0, 2),
            protocol: 17,
            hop_limit: 64,
            traffic_class: 0xb9,
            ident: 0x1234,
            dont_fragment: true,
            offset: 0,
            more: false,
        }
    }

    fn emit(fields: Ipv4Fields, payload: &[u8]) -> Vec<u8> {
        let mut header = HeaderBuf::new();
        fields.prepend(&mut header, payload.len());
        [header.as_slice(), payload].concat()
    }

    #[test]
    fn parses_what_it_emits_and_another_parser_agrees() {
        let mut packet = emit(fields(), &[1, 2, 3]);
        let (other, rest) = etherparse::Ipv4Header::from_slice(&packet).unwrap();
        assert_eq!(other.calc_header_checksum(), other.header_checksum);
        assert_eq!((other.source, other.destination), ([10, 0, 0, 1], [10, 0, 0, 2]));
        assert_eq!((other.dscp.value(), other.ecn.value()), (0xb9 >> 2, 1));
        assert!(other.dont_fragment && !other.more_fragments);
        assert_eq!((other.identification, other.total_len, rest), (0x1234, 23, &[1, 2, 3][..]));

        packet.extend([0; 23]); // Ethernet pads.
        let header = parse(&packet).unwrap();
        assert_eq!(header.total_len, 23);
        assert_eq!((header.protocol, header.hop_limit, header.traffic_class), (17, 64, 0xb9));
        assert_eq!((header.header_len, header.fragment), (20, None));

        let fragment = Ipv4Fields { offset: 1480, more: true, dont_fragment: false, ..fields() };
        let header = parse(&emit(fragment, &[0; 8])).unwrap();
        assert_eq!(header.fragment, Some(Fragment { id: 0x1234, offset: 1480, more: true }));
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = emit(fields(), &[0; 12]);
        let parse_with = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            parse(&bad).err()
        };
        assert_eq!(parse_with(0, 0x65), Some(DropReason::BadIpHeader)); // version 6
        assert_eq!(parse_with(0, 0x44), Some(DropReason::BadIpHeader)); // header of 16 bytes
        assert_eq!(parse_with(0, 0x4f), Some(DropReason::BadIpHeader)); // header longer than the packet
        assert_eq!(parse_with(3, 19), Some(DropReason::BadIpHeader)); // shorter than its header
        assert_eq!(parse_with(3, 33), Some(DropReason::BadIpHeader)); // longer than what came
        assert_eq!(parse_with(8, 63), Some(DropReason::BadIpChecksum));
        assert_eq!(parse(&good[..19]).err(), Some(DropReason::BadIpHeader));
        assert_eq!(parse(&[]).err(), Some(DropReason::BadIpHeader));
    }

    #[test]
    fn options_are_skipped_and_source_routes_refused() {
        let check = |options: &[u8]| {
            let refusal = check_options(&[&[0; HEADER_LEN], options].concat());
            refusal.map_err(|refusal| refusal.error)
        };
        assert_eq!(check(&[]), Ok(()));
        // Router alert, NOP, end of options, and arbitrary bytes behind the end.
        assert_eq!(check(&[148, 4, 0, 0, 1, 0, 131, 0]), Ok(()));
        // RFC 7126 §4.3, §4.4.
        assert_eq!(check(&[131, 7, 4, 10, 0, 0, 9, 0]), Err(Some(IcmpError::SourceRouteFailed)));
        assert_eq!(check(&[1, 137, 3, 4]), Err(Some(IcmpError::SourceRouteFailed)));
        let at = |pointer| Err(Some(IcmpError::ParameterProblem { code: 0, pointer }));
        assert_eq!(check(&[1, 7, 0, 0]), at(22));
        assert_eq!(check(&[7, 1, 0, 0]), at(21));
        assert_eq!(check(&[7, 5, 0, 0]), at(21));
        assert_eq!(check(&[1, 1, 1, 7]), at(24));
    }
}
