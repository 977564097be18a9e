//! Echo replies (RFC 792, RFC 4443 §4.2).

use core::net::IpAddr;

use bytes::Bytes;

use super::HEADER_LEN;
use crate::frame::{HeaderBuf, Payload};
use crate::ip::checksum::{internet_checksum_of, transport_checksum};
use crate::ip::protocol;

/// The reply to an echo request: a new header, and the request's data as they came. `src` is ours.
pub(crate) fn reply(src: IpAddr, dst: IpAddr, request: &Bytes) -> Option<(HeaderBuf, Payload)> {
    let identity: [u8; 4] = *request.get(4..)?.first_chunk()?;
    let mut payload = Payload::new();
    payload.push(request.slice(HEADER_LEN..));
    let mut header = HeaderBuf::new();
    let bytes = header.prepend(HEADER_LEN);
    let [kind, _, check_high, check_low, rest @ ..] = bytes else { return None };
    *kind = if src.is_ipv4() { 0 } else { 129 };
    rest.copy_from_slice(&identity);
    (*check_high, *check_low) = (0, 0);
    let sum = if src.is_ipv4() {
        internet_checksum_of(bytes, &payload)
    } else {
        transport_checksum(src, dst, protocol::ICMPV6, bytes, &payload)
    };
    super::set_checksum(bytes, sum);
    Some((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn flat(reply: (HeaderBuf, Payload)) -> Vec<u8> {
        [reply.0.as_slice(), &reply.1.concat()].concat()
    }

    #[test]
    fn the_data_come_back_with_a_right_checksum() {
        let request = Bytes::from_static(&[8, 0, 0xaa, 0xaa, 1, 2, 3, 4, b'd', b'a', b't']);
        let (src, dst) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let bytes = flat(reply(src, dst, &request).unwrap());
        assert_eq!((&bytes[..2], &bytes[4..]), (&[0, 0][..], &request[4..]));
        let other = etherparse::Icmpv4Slice::from_slice(&bytes).unwrap();
        assert!(matches!(other.icmp_type(), etherparse::Icmpv4Type::EchoReply(echo) if echo.id == 0x0102));
        assert_eq!(other.icmp_type().calc_checksum(other.payload()), other.checksum());

        let (src, dst) = ("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap());
        let bytes = flat(reply(IpAddr::V6(src), IpAddr::V6(dst), &request).unwrap());
        assert_eq!((bytes[0], &bytes[4..]), (129, &request[4..]));
        let other = etherparse::Icmpv6Slice::from_slice(&bytes).unwrap();
        assert!(other.is_checksum_valid(src.octets(), dst.octets()));
        assert!(reply(IpAddr::V6(src), IpAddr::V6(dst), &request.slice(..7)).is_none());
    }
}
