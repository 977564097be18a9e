//! Echo messages (RFC 792, RFC 4443 §4).

use core::net::IpAddr;

use bytes::Bytes;

use super::HEADER_LEN;
use crate::demux::Endpoint;
use crate::frame::{HeaderBuf, Payload};
use crate::ip::checksum::{internet_checksum_of, transport_checksum};
use crate::ip::protocol;

/// The reply to an echo request: a new header and the request's data, unchanged. `src` is one of
/// our addresses. The code has no meaning here and is copied, as Linux does.
pub(crate) fn reply(src: IpAddr, dst: IpAddr, request: &Bytes) -> Option<(HeaderBuf, Payload)> {
    let identity: [u8; 4] = *request.get(4..)?.first_chunk()?;
    let code = *request.get(1)?;
    let mut payload = Payload::new();
    payload.push(request.slice(HEADER_LEN..));
    let kind = if src.is_ipv4() { 0 } else { 129 };
    Some((header([kind, code], identity, src, dst, &payload), payload))
}

/// Whether a message is an echo request or an extended one (RFC 8335), with code 0.
pub(crate) fn is_request(message: &[u8], is_v4: bool) -> bool {
    let kinds = if is_v4 { [8, 42] } else { [128, 160] };
    matches!(message, [kind, 0, ..] if kinds.contains(kind))
}

/// An echo request from a program's message, whose identifier and checksum are ours.
pub(crate) fn request(src: Endpoint, dst: IpAddr, message: &Bytes) -> (HeaderBuf, Payload) {
    let [high, low] = src.port.to_be_bytes();
    let sequence =
        message.get(6..HEADER_LEN).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; 2]);
    let data = message.slice(HEADER_LEN.min(message.len())..);
    let payload: Payload = core::iter::once(data).filter(|data| !data.is_empty()).collect();
    let kind = message.first().copied().unwrap_or_default();
    (header([kind, 0], [high, low, sequence[0], sequence[1]], src.addr, dst, &payload), payload)
}

/// Builds the header. `identity` is identifier and sequence number.
fn header(
    kind_and_code: [u8; 2],
    identity: [u8; 4],
    src: IpAddr,
    dst: IpAddr,
    payload: &[Bytes],
) -> HeaderBuf {
    let mut header = HeaderBuf::new();
    let bytes = header.prepend(HEADER_LEN);
    bytes[..2].copy_from_slice(&kind_and_code);
    bytes[4..].copy_from_slice(&identity);
    let sum = if src.is_ipv4() {
        internet_checksum_of(bytes, payload)
    } else {
        transport_checksum(src, dst, protocol::ICMPV6, bytes, payload)
    };
    super::set_checksum(bytes, sum);
    header
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
        let coded = [&[8, 9][..], &request[2..]].concat().into();
        assert_eq!(flat(reply(src, dst, &coded).unwrap())[..2], [0, 9]);
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

    #[test]
    fn a_request_takes_sequence_number_and_data_from_the_message() {
        let message = Bytes::from_static(&[8, 99, 99, 99, 99, 99, 0, 7, b'd', b'a', b't']);
        let (src, dst) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let bytes = flat(request(Endpoint::new(src, 0x0102), dst, &message));
        let other = etherparse::Icmpv4Slice::from_slice(&bytes).unwrap();
        let etherparse::Icmpv4Type::EchoRequest(echo) = other.icmp_type() else { panic!("{bytes:?}") };
        assert_eq!((echo.id, echo.seq, other.payload()), (0x0102, 7, &b"dat"[..]));
        assert_eq!(other.icmp_type().calc_checksum(other.payload()), other.checksum());
    }
}
