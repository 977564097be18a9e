//! Ethernet II frames (RFC 894, RFC 2464).

use bytes::{Buf, Bytes};
use smoltcp::wire;

use super::mac::MacAddr;
use crate::drop_reason::DropReason;
use crate::frame::HeaderBuf;
use crate::ip::Cast;

/// The length of a header: destination, source, EtherType.
pub(crate) const HEADER_LEN: usize = 14;

/// The protocols that we handle over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtherType {
    Arp,
    Ipv4,
    Ipv6,
}

/// A frame that is addressed to us.
#[derive(Clone, Debug)]
pub(crate) struct EthernetFrame {
    pub(crate) cast: Cast,
    pub(crate) ethertype: EtherType,
    /// The bytes behind the header, padding included.
    pub(crate) payload: Bytes,
}

/// Parses a frame. The error says why it is not accepted: not addressed to the station `own`, for
/// instance, or longer than a packet may be.
pub(crate) fn parse(
    mut bytes: Bytes,
    own: MacAddr,
    max_packet_len: usize,
) -> Result<EthernetFrame, DropReason> {
    let frame = wire::EthernetFrame::new_checked(&bytes[..]).map_err(|_| DropReason::RuntFrame)?;
    if bytes.len() > max_packet_len + HEADER_LEN {
        return Err(DropReason::OversizedFrame);
    }
    let dst = MacAddr(frame.dst_addr().0);
    let cast = if dst == own {
        Cast::Unicast
    } else if dst == MacAddr::BROADCAST {
        Cast::Broadcast
    } else if dst.is_group() {
        // Several groups share one MAC address, so membership is checked by IP address later.
        Cast::Multicast
    } else {
        return Err(DropReason::OtherStation);
    };
    let src = MacAddr(frame.src_addr().0);
    if !src.is_station() || src == own {
        return Err(DropReason::BadLinkSource);
    }
    let ethertype = match frame.ethertype() {
        wire::EthernetProtocol::Ipv4 => EtherType::Ipv4,
        wire::EthernetProtocol::Ipv6 => EtherType::Ipv6,
        wire::EthernetProtocol::Arp => EtherType::Arp,
        _ => return Err(DropReason::UnknownEtherType),
    };
    bytes.advance(HEADER_LEN);
    Ok(EthernetFrame { cast, ethertype, payload: bytes })
}

/// Puts the Ethernet header in front of a packet.
pub(crate) fn prepend(header: &mut HeaderBuf, src: MacAddr, dst: MacAddr, ethertype: EtherType) {
    let mut frame = wire::EthernetFrame::new_unchecked(header.prepend(HEADER_LEN));
    frame.set_dst_addr(wire::EthernetAddress(dst.0));
    frame.set_src_addr(wire::EthernetAddress(src.0));
    frame.set_ethertype(match ethertype {
        EtherType::Arp => wire::EthernetProtocol::Arp,
        EtherType::Ipv4 => wire::EthernetProtocol::Ipv4,
        EtherType::Ipv6 => wire::EthernetProtocol::Ipv6,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn frame(dst: MacAddr, src: MacAddr, ethertype: u16, payload_len: usize) -> Bytes {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.extend(dst.0);
        bytes.extend(src.0);
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(vec![0; payload_len]);
        bytes.into()
    }

    #[test]
    fn frames_for_us_are_taken_and_the_others_have_their_reasons() {
        let reason = |bytes: Bytes| parse(bytes, OWN, 1500).err();
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(reason(frame(OWN, PEER, 0x0800, 1500)), None);
        assert_eq!(parse(frame(OWN, PEER, 0x0800, 46), OWN, 1500).unwrap().cast, Cast::Unicast);
        assert_eq!(parse(frame(group, PEER, 0x86dd, 46), OWN, 1500).unwrap().cast, Cast::Multicast);
        let arp = parse(frame(MacAddr::BROADCAST, PEER, 0x0806, 46), OWN, 1500).unwrap();
        assert_eq!((arp.cast, arp.ethertype), (Cast::Broadcast, EtherType::Arp));
        assert_eq!(arp.payload.len(), 46);

        assert_eq!(reason(Bytes::new()), Some(DropReason::RuntFrame));
        assert_eq!(reason(frame(OWN, PEER, 0x0800, 0).slice(..13)), Some(DropReason::RuntFrame));
        assert_eq!(reason(frame(OWN, PEER, 0x0800, 1501)), Some(DropReason::OversizedFrame));
        assert_eq!(
            reason(frame(MacAddr([2, 0, 0, 0, 0, 9]), PEER, 0x0800, 46)),
            Some(DropReason::OtherStation)
        );
        assert_eq!(reason(frame(OWN, group, 0x0800, 46)), Some(DropReason::BadLinkSource));
        assert_eq!(reason(frame(MacAddr::BROADCAST, OWN, 0x0806, 46)), Some(DropReason::BadLinkSource));
        assert_eq!(reason(frame(OWN, MacAddr([0; 6]), 0x0800, 46)), Some(DropReason::BadLinkSource));
        // A VLAN tag, another one, an 802.3 length, an EtherType that we do not handle.
        for ethertype in [0x8100, 0x88a8, 46, 0x88cc] {
            assert_eq!(reason(frame(OWN, PEER, ethertype, 46)), Some(DropReason::UnknownEtherType));
        }
    }

    #[test]
    fn another_parser_reads_our_header() {
        let mut header = HeaderBuf::new();
        prepend(&mut header, OWN, PEER, EtherType::Ipv6);
        let (read, rest) = etherparse::Ethernet2Header::from_slice(header.as_slice()).unwrap();
        assert_eq!((read.source, read.destination), (OWN.0, PEER.0));
        assert_eq!(read.ether_type, etherparse::EtherType::IPV6);
        assert!(rest.is_empty());
    }
}
