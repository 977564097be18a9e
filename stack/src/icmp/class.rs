//! ICMP messages by their type.

use super::timestamp;
use crate::link::ndp;
use crate::link::router_advertisement::ROUTER_ADVERTISEMENT;
use crate::multicast::mld;

/// The kinds of received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageClass {
    EchoRequest,
    EchoReply,
    TimestampRequest,
    Error,
    Redirect,
    /// A neighbour solicitation or advertisement, or a router advertisement.
    Neighbor,
    /// MLD.
    Membership,
    Unknown,
}

/// Classifies an ICMP message by its type (RFC 792).
pub(crate) fn classify_v4(kind: u8) -> MessageClass {
    match kind {
        // RFC 8335 §3: 43 answers an extended echo request.
        0 | 43 => MessageClass::EchoReply,
        8 => MessageClass::EchoRequest,
        3 | 11 | 12 => MessageClass::Error,
        5 => MessageClass::Redirect,
        timestamp::REQUEST => MessageClass::TimestampRequest,
        // Source quench (4) is obsolete (RFC 6633), and address mask requests (17) are not
        // answered.
        _ => MessageClass::Unknown,
    }
}

/// Classifies an ICMPv6 message by its type (RFC 4443, RFC 4861).
pub(crate) fn classify_v6(kind: u8) -> MessageClass {
    match kind {
        128 => MessageClass::EchoRequest,
        // RFC 8335 §3: 161 answers an extended echo request.
        129 | 161 => MessageClass::EchoReply,
        // RFC 4443 §2.1: all types below 128 are errors.
        1..=127 => MessageClass::Error,
        ndp::REDIRECT => MessageClass::Redirect,
        ndp::NEIGHBOR_SOLICITATION | ndp::NEIGHBOR_ADVERTISEMENT | ROUTER_ADVERTISEMENT => {
            MessageClass::Neighbor
        }
        mld::QUERY | mld::V1_REPORT | mld::DONE | mld::V2_REPORT => MessageClass::Membership,
        // Router solicitations among them: they are for routers that advertise.
        _ => MessageClass::Unknown,
    }
}
