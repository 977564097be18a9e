//! Timestamp messages (RFC 792): one host asks another for its time.

use super::HEADER_LEN;
use crate::frame::HeaderBuf;
use crate::ip::checksum::internet_checksum;
use crate::time::Instant;

pub(crate) const REQUEST: u8 = 13;
pub(crate) const REPLY: u8 = 14;

/// The header and three times.
const LEN: usize = HEADER_LEN + 12;
/// RFC 792: the bit that marks a time which does not count from midnight UT.
const NOT_STANDARD: u32 = 1 << 31;

/// The reply to a request. The stack does not know the time of day: it sends its clock in
/// milliseconds plus a random `offset`, so that the reply does not tell how long the host has been
/// up. `None`: the request is too short (as in Linux, it must hold all three times).
pub(crate) fn reply(request: &[u8], now: Instant, offset: u32) -> Option<HeaderBuf> {
    // The identifier, the sequence number, and the time at which the request was sent.
    let copied: [u8; 8] = *request.get(4..)?.first_chunk()?;
    let time = ((now.as_millis() as u32).wrapping_add(offset) | NOT_STANDARD).to_be_bytes();
    let mut header = HeaderBuf::new();
    let bytes = header.prepend(LEN);
    bytes[0] = REPLY;
    bytes[4..12].copy_from_slice(&copied);
    bytes[12..16].copy_from_slice(&time);
    bytes[16..20].copy_from_slice(&time);
    let sum = internet_checksum(bytes);
    super::set_checksum(bytes, sum);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_792_the_reply_has_the_askers_numbers_and_our_times() {
        let request = [13, 5, 0, 0, 1, 2, 3, 4, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 99];
        let reply_at = |millis| reply(&request, Instant::from_millis(millis), 0x7fff_ffff).unwrap();
        let header = reply_at(6);
        let bytes = header.as_slice();
        let other = etherparse::Icmpv4Slice::from_slice(bytes).unwrap();
        let etherparse::Icmpv4Type::TimestampReply(message) = other.icmp_type() else { panic!("{bytes:?}") };
        assert_eq!((message.id, message.seq, message.originate_timestamp), (0x0102, 0x0304, 17));
        assert_eq!(message.receive_timestamp, message.transmit_timestamp);
        assert_eq!(message.receive_timestamp, NOT_STANDARD | 5);
        assert_eq!(bytes[1], 0, "the code, whatever the request's");
        assert_eq!(internet_checksum(bytes), 0);
        let later = reply_at(1006);
        assert_eq!(later.as_slice()[12..16], (NOT_STANDARD | 1005).to_be_bytes());
        assert!(reply(&request[..11], Instant::ZERO, 0).is_none());
        assert!(reply(&request[..12], Instant::ZERO, 0).is_some());
    }
}
