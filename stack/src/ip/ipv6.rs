//! The IPv6 header (RFC 8200 §3).

use core::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{IpProtocol, Ipv6Packet};

use super::IpHeader;
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;

/// The length of the header without extension headers.
pub(crate) const HEADER_LEN: usize = 40;
/// The length of the largest packet; jumbograms (RFC 2675) are not supported.
pub(crate) const MAX_PACKET_LEN: usize = HEADER_LEN + 65535;

/// Reads the header. `bytes` may be longer than the packet.
pub(crate) fn parse(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| DropReason::BadIpHeader)?;
    if packet.version() != 6 {
        return Err(DropReason::BadIpHeader);
    }
    Ok(IpHeader {
        src: IpAddr::V6(packet.src_addr()),
        dst: IpAddr::V6(packet.dst_addr()),
        protocol: packet.next_header().into(),
        hop_limit: packet.hop_limit(),
        traffic_class: packet.traffic_class(),
        header_len: HEADER_LEN,
        total_len: packet.total_len(),
        fragment: None,
    })
}

/// The fields of an IPv6 header that we build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv6Fields {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    /// The flow label; 0 for none.
    pub(crate) flow_label: u32,
}

impl Ipv6Fields {
    /// Puts the header in front of a packet whose payload is `payload_len` bytes long.
    pub(crate) fn prepend(&self, header: &mut HeaderBuf, payload_len: usize) {
        let mut packet = Ipv6Packet::new_unchecked(header.prepend(HEADER_LEN));
        packet.set_version(6);
        packet.set_traffic_class(self.traffic_class);
        packet.set_flow_label(self.flow_label);
        packet.set_payload_len(payload_len as u16);
        packet.set_next_header(IpProtocol::from(self.next_header));
        packet.set_hop_limit(self.hop_limit);
        packet.set_src_addr(self.src);
        packet.set_dst_addr(self.dst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn emit(payload: &[u8]) -> Vec<u8> {
        let fields = Ipv6Fields {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            next_header: 58,
            hop_limit: 255,
            traffic_class: 0xb9,
            flow_label: 0xabcde,
        };
        let mut header = HeaderBuf::new();
        fields.prepend(&mut header, payload.len());
        [header.as_slice(), payload].concat()
    }

    #[test]
    fn parses_what_it_emits_and_another_parser_agrees() {
        let mut packet = emit(&[1, 2, 3]);
        let (other, rest) = etherparse::Ipv6Header::from_slice(&packet).unwrap();
        assert_eq!((other.traffic_class, other.flow_label.value()), (0xb9, 0xabcde));
        assert_eq!((other.payload_length, other.hop_limit, other.next_header.0), (3, 255, 58));
        assert_eq!(other.destination_addr(), "fd00::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(rest, [1, 2, 3]);

        packet.extend([0; 3]);
        let header = parse(&packet).unwrap();
        assert_eq!(header.total_len, 43);
        assert_eq!((header.protocol, header.hop_limit, header.traffic_class), (58, 255, 0xb9));
        assert_eq!(header.src, "fd00::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = emit(&[0; 8]);
        let parse = |bytes: &[u8]| parse(bytes).err();
        assert_eq!(parse(&good[..39]), Some(DropReason::BadIpHeader));
        assert_eq!(parse(&good[..47]), Some(DropReason::BadIpHeader));
        let mut version = good.clone();
        version[0] = 0x40;
        assert_eq!(parse(&version), Some(DropReason::BadIpHeader));
    }
}
