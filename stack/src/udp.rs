//! The UDP header (RFC 768). The sockets are in `socket::udp`.

use core::net::IpAddr;

use bytes::Bytes;

use crate::demux::Endpoint;
use crate::drop_reason::DropReason;
use crate::frame::{HeaderBuf, Payload, payload_len};
use crate::ip::checksum::verify_transport_checksum;
use crate::ip::protocol;

/// The length of a header: source port, destination port, length, checksum.
pub(crate) const HEADER_LEN: usize = 8;

/// A parsed UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpHeader {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    /// The length of header and payload; the packet may be longer.
    pub(crate) len: usize,
}

/// The offset of the checksum.
pub(crate) const CHECKSUM_AT: u8 = 6;

/// Reads the header and checks its length and, unless it was verified before, the checksum.
pub(crate) fn parse(
    src: IpAddr,
    dst: IpAddr,
    datagram: &[u8],
    is_checked: bool,
) -> Result<UdpHeader, DropReason> {
    let Some((&[a, b, c, d, e, f, g, h], _)) = datagram.split_first_chunk() else {
        return Err(DropReason::BadUdp);
    };
    let len = usize::from(u16::from_be_bytes([e, f]));
    let covered = datagram.get(..len).filter(|_| len >= HEADER_LEN).ok_or(DropReason::BadUdp)?;
    // RFC 768: over IPv4 zero means that there is no checksum. RFC 8200 §8.1: over IPv6 there must
    // be one.
    let is_right = match u16::from_be_bytes([g, h]) {
        _ if is_checked => true,
        0 => src.is_ipv4(),
        _ => verify_transport_checksum(src, dst, protocol::UDP, covered),
    };
    if !is_right {
        return Err(DropReason::BadUdpChecksum);
    }
    let (src_port, dst_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ok(UdpHeader { src_port, dst_port, len })
}

/// The header for a payload, which must be short enough for the length field. Its checksum is zero.
pub(crate) fn header(local: Endpoint, remote: Endpoint, payload: &Payload) -> HeaderBuf {
    let mut header = HeaderBuf::new();
    let len = (HEADER_LEN + payload_len(payload)) as u16;
    let place = header.prepend(HEADER_LEN);
    place[0..2].copy_from_slice(&local.port.to_be_bytes());
    place[2..4].copy_from_slice(&remote.port.to_be_bytes());
    place[4..6].copy_from_slice(&len.to_be_bytes());
    header
}

/// A payload of one slice, or an empty one.
pub(crate) fn payload_of(data: Bytes) -> Payload {
    core::iter::once(data).filter(|data| !data.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::checksum::transport_checksum;
    use alloc::vec::Vec;

    fn datagram(src: &str, dst: &str, data: &'static [u8]) -> (IpAddr, IpAddr, Vec<u8>) {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        let payload = payload_of(Bytes::from_static(data));
        let header = header(Endpoint::new(src, 1000), Endpoint::new(dst, 53), &payload);
        let mut bytes = [header.as_slice(), &payload.concat()].concat();
        let sum = transport_checksum(src, dst, protocol::UDP, &bytes, &[]);
        let at = usize::from(CHECKSUM_AT);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        (src, dst, bytes)
    }

    #[test]
    fn what_is_emitted_is_read_again_here_and_by_another_parser() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for data in [&b""[..], b"odd", b"even"] {
                let (src, dst, bytes) = datagram(src, dst, data);
                let expected = UdpHeader { src_port: 1000, dst_port: 53, len: HEADER_LEN + data.len() };
                assert_eq!(parse(src, dst, &bytes, false), Ok(expected));
                let (other, rest) = etherparse::UdpHeader::from_slice(&bytes).unwrap();
                let sum = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        other.calc_checksum_ipv4_raw(src.octets(), dst.octets(), rest)
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        other.calc_checksum_ipv6_raw(src.octets(), dst.octets(), rest)
                    }
                    _ => unreachable!("one family"),
                };
                assert_eq!(sum.unwrap(), other.checksum);
            }
        }
    }

    #[test]
    fn lengths_that_lie_and_wrong_checksums_are_told_apart() {
        let (src, dst, good) = datagram("10.0.0.1", "10.0.0.2", b"data");
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            parse(src, dst, &bytes, false)
        };
        assert_eq!(parse(src, dst, &good[..7], false), Err(DropReason::BadUdp));
        assert_eq!(with(5, 7), Err(DropReason::BadUdp));
        assert_eq!(with(5, 13), Err(DropReason::BadUdp));
        assert_eq!(with(8, b'D'), Err(DropReason::BadUdpChecksum));
        // Trailing bytes are not part of the datagram.
        assert!(parse(src, dst, &[&good[..], &[1, 2, 3]].concat(), false).is_ok());
    }

    #[test]
    fn what_the_device_has_checked_is_not_looked_at() {
        let (src, dst, mut bytes) = datagram("fd00::1", "fd00::2", b"data");
        for sum in [[0, 0], [1, 2]] {
            bytes[6..8].copy_from_slice(&sum);
            assert!(parse(src, dst, &bytes, true).is_ok());
        }
    }

    #[test]
    fn a_datagram_may_go_without_checksum_over_ipv4_only() {
        for (src, dst, expected) in
            [("10.0.0.1", "10.0.0.2", None), ("fd00::1", "fd00::2", Some(DropReason::BadUdpChecksum))]
        {
            let (src, dst, mut bytes) = datagram(src, dst, b"data");
            bytes[6..8].fill(0);
            assert_eq!(parse(src, dst, &bytes, false).err(), expected);
        }
    }
}
