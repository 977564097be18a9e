//! Cutting packets into fragments (RFC 791 §3.2, RFC 8200 §4.5).

use alloc::vec::Vec;

use bytes::Bytes;

use super::extension::FRAGMENT_HEADER_LEN;
use super::output::OutgoingHeader;
use super::packet::IpPacket;
use super::protocol;
use crate::frame::{HeaderBuf, Payload, payload_len};

/// Cuts the packet that `ip` describes into fragments of at most `mtu` bytes each, the IP header
/// included. The transport header is cut first, then the payload, which is not copied. `None`: the
/// MTU leaves no room for data.
pub(crate) fn fragments(
    ip: OutgoingHeader,
    id: u32,
    mtu: usize,
    transport: &[Bytes],
) -> Option<Vec<IpPacket>> {
    let overhead = match ip {
        OutgoingHeader::V4(_) => ip.len(),
        OutgoingHeader::V6(_) => ip.len() + FRAGMENT_HEADER_LEN,
    };
    // Each fragment but the last holds a multiple of 8 bytes.
    let step = mtu.checked_sub(overhead)? & !7;
    if step == 0 {
        return None;
    }
    let total = payload_len(transport);
    let fragment = |offset: usize| {
        let len = step.min(total - offset);
        let header = fragment_header(ip, id, offset, len, offset + len < total);
        IpPacket::new(header, cut(transport, offset, len))
    };
    Some((0..total).step_by(step).map(fragment).collect())
}

/// The headers in front of `len` bytes of data at `offset`.
fn fragment_header(ip: OutgoingHeader, id: u32, offset: usize, len: usize, more: bool) -> HeaderBuf {
    let mut header = HeaderBuf::new();
    match ip {
        OutgoingHeader::V4(mut fields) => {
            (fields.ident, fields.offset, fields.more, fields.dont_fragment) =
                (id as u16, offset, more, false);
            fields.prepend(&mut header, len);
        }
        OutgoingHeader::V6(mut fields) => {
            let [place_high, place_low] = (offset as u16 | u16::from(more)).to_be_bytes();
            let [a, b, c, d] = id.to_be_bytes();
            let next = fields.next_header;
            header
                .prepend(FRAGMENT_HEADER_LEN)
                .copy_from_slice(&[next, 0, place_high, place_low, a, b, c, d]);
            fields.next_header = protocol::FRAGMENT;
            fields.prepend(&mut header, FRAGMENT_HEADER_LEN + len);
        }
    }
    header
}

/// `len` bytes from `offset` on, out of consecutive slices.
pub(crate) fn cut(slices: &[Bytes], mut offset: usize, mut len: usize) -> Payload {
    let mut payload = Payload::new();
    for slice in slices {
        if offset >= slice.len() {
            offset -= slice.len();
            continue;
        }
        let taken = len.min(slice.len() - offset);
        if taken == 0 {
            break;
        }
        payload.push(slice.slice(offset..offset + taken));
        (offset, len) = (0, len - taken);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::ipv4::Ipv4Fields;
    use crate::ip::ipv6::Ipv6Fields;
    use alloc::vec;

    fn v4() -> OutgoingHeader {
        OutgoingHeader::V4(Ipv4Fields {
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.0.0.2".parse().unwrap(),
            protocol: 17,
            hop_limit: 64,
            traffic_class: 0,
            ident: 0,
            dont_fragment: false,
            offset: 0,
            more: false,
        })
    }

    fn v6() -> OutgoingHeader {
        OutgoingHeader::V6(Ipv6Fields {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            next_header: 17,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
        })
    }

    fn flat(ip: OutgoingHeader, mtu: usize, transport: &[Bytes]) -> Vec<Vec<u8>> {
        let packets = fragments(ip, 0xabcd, mtu, transport).unwrap();
        packets.iter().map(|packet| [packet.header.as_slice(), &packet.payload.concat()].concat()).collect()
    }

    #[test]
    fn another_parser_reads_the_fragments() {
        let transport = [Bytes::from_static(&[1; 8]), Bytes::from(vec![2; 3000])];
        let packets = flat(v4(), 1500, &transport);
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [1500, 1500, 68]);
        let mut whole: Vec<u8> = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let (header, data) = etherparse::Ipv4Header::from_slice(packet).unwrap();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!(usize::from(header.fragment_offset.value()) * 8, whole.len());
            assert_eq!((header.more_fragments, header.identification), (index < 2, 0xabcd));
            whole.extend(data);
        }
        assert_eq!(whole, transport.concat());

        let packets = flat(v6(), 1280, &transport);
        let mut whole: Vec<u8> = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let (header, rest) = etherparse::Ipv6Header::from_slice(packet).unwrap();
            assert_eq!(usize::from(header.payload_length), rest.len());
            let (fragment, data) = etherparse::Ipv6FragmentHeader::from_slice(rest).unwrap();
            assert_eq!((fragment.next_header.0, fragment.identification), (17, 0xabcd));
            assert_eq!(usize::from(fragment.fragment_offset.value()) * 8, whole.len());
            assert_eq!(fragment.more_fragments, index + 1 < packets.len());
            whole.extend(data);
        }
        assert_eq!(whole, transport.concat());
    }

    #[test]
    fn an_mtu_without_room_is_refused() {
        assert!(fragments(v4(), 1, 27, &[Bytes::from_static(&[0; 9])]).is_none());
        assert!(fragments(v4(), 1, 10, &[Bytes::from_static(&[0; 9])]).is_none());
        assert_eq!(fragments(v4(), 1, 28, &[Bytes::from_static(&[0; 9])]).unwrap().len(), 2);
    }
}
