//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, timestamps, errors received, errors sent.

mod class;
pub(crate) mod echo;
pub(crate) mod errors;
pub(crate) mod network_error;
pub(crate) mod quote;
pub(crate) mod timestamp;

pub(crate) use class::{MessageClass, classify_v4, classify_v6};

/// Type, code, checksum, and four bytes that depend on the type.
pub(crate) const HEADER_LEN: usize = 8;

/// Writes the checksum into an ICMP message.
fn set_checksum(message: &mut [u8], sum: u16) {
    if let [_, _, high, low, ..] = message {
        [*high, *low] = sum.to_be_bytes();
    }
}
