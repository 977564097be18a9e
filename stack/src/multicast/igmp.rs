//! IGMP messages: version 3 (RFC 9776), 2 (RFC 2236) and 1 (RFC 1112).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::message::{GroupMessage, Message, Query, Version, emit_report, extend_with_addr};
use crate::ip::checksum::{internet_checksum, verify_internet_checksum};
use crate::ip::{read_u8, read_u16};

const QUERY: u8 = 0x11;
const V1_REPORT: u8 = 0x12;
const V2_REPORT: u8 = 0x16;
const LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;

/// The TTL of every message (RFC 9776 §4).
pub(crate) const TTL: u8 = 1;
/// Internetwork control (RFC 9776 §4).
pub(crate) const TOS: u8 = 0xc0;

/// 224.0.0.2.
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// 224.0.0.22 (RFC 9776 §4.2.15).
const V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);

/// The time that a router of version 1 gives for answers (RFC 2236 §4).
const V1_MAX_RESPONSE: Duration = Duration::from_secs(10);
const V3_QUERY_LEN: usize = 12;

/// Parses a message that was sent to `dst`. `None` if it is malformed, or contradicts its addresses
/// or its checksum.
pub(crate) fn parse(dst: Ipv4Addr, message: &[u8]) -> Option<GroupMessage> {
    if message.len() < 8 || !verify_internet_checksum(message) {
        return None;
    }
    let group = addr_at(message, 4)?;
    match read_u8(message, 0)? {
        QUERY => parse_query(dst, group, message).map(GroupMessage::Query),
        V1_REPORT | V2_REPORT => GroupMessage::old_report(dst.into(), group.into()),
        _ => Some(GroupMessage::ForRouters),
    }
}

/// RFC 9776 §7.1: the length of a query and its code tell its version. Other lengths are ignored.
fn parse_query(dst: Ipv4Addr, group: Ipv4Addr, message: &[u8]) -> Option<Query> {
    let code = read_u8(message, 1)?;
    let (version, max_response) = match message.len() {
        8 if code == 0 => (Version::Oldest, V1_MAX_RESPONSE),
        8 => (Version::Old, tenths(u32::from(code))),
        V3_QUERY_LEN.. => (Version::Current, tenths(decode(code))),
        _ => return None,
    };
    // RFC 9776 §4.1.12 (RFC9776-4.1.12): queries to any address of this host are processed, but
    // §9.1 (RFC9776-9.1-a): of those to groups, general ones only to all systems. A router of
    // version 1 leaves the field of the group unspecified.
    let is_general = group.is_unspecified() || version == Version::Oldest;
    let is_right =
        if is_general { dst == super::ALL_SYSTEMS || !dst.is_multicast() } else { group.is_multicast() };
    if !is_right {
        return None;
    }
    let mut query = Query {
        version,
        max_response,
        group: (!is_general).then_some(IpAddr::V4(group)),
        sources: Vec::new(),
        robustness: 0,
        interval: Duration::ZERO,
    };
    if version == Version::Current {
        query.robustness = read_u8(message, 8)? & 7;
        query.interval = Duration::from_secs(u64::from(decode(read_u8(message, 9)?)));
        let count = usize::from(read_u16(message, 10)?);
        // RFC 9776 §4.1.8: a general query names no sources.
        if is_general && count > 0 {
            return None;
        }
        let sources = message.get(V3_QUERY_LEN..V3_QUERY_LEN + 4 * count)?;
        query.sources =
            sources.as_chunks::<4>().0.iter().map(|&octets| IpAddr::V4(Ipv4Addr::from(octets))).collect();
    }
    Some(query)
}

/// RFC 9776 §4.1.1 (RFC9776-4.1.1), §4.1.7: from 128 on a code is a floating-point number.
fn decode(code: u8) -> u32 {
    match code {
        0..128 => u32::from(code),
        _ => (u32::from(code & 0x0f) | 0x10) << ((code >> 4 & 7) + 3),
    }
}

fn tenths(count: u32) -> Duration {
    Duration::from_millis(u64::from(count) * 100)
}

fn addr_at(message: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*message.get(at..)?.first_chunk()?))
}

/// Writes a message, and returns it with the address that it goes to (RFC 9776 §4.2.15, RFC 2236
/// §9).
pub(crate) fn emit(message: &Message) -> (Ipv4Addr, Vec<u8>) {
    let (dst, mut bytes) = match *message {
        Message::Report(ref records) => (V3_ROUTERS, emit_report(V3_REPORT, records)),
        Message::OldReport(version, group) => {
            let kind = if version == Version::Oldest { V1_REPORT } else { V2_REPORT };
            (to_v4(group), emit_old(kind, group))
        }
        Message::Leave(group) => (ALL_ROUTERS, emit_old(LEAVE, group)),
    };
    let sum = internet_checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    (dst, bytes)
}

fn emit_old(kind: u8, group: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::from([kind, 0, 0, 0]);
    extend_with_addr(&mut bytes, group);
    bytes
}

/// An IPv4 group; this half of the module is given no others.
fn to_v4(group: IpAddr) -> Ipv4Addr {
    match group {
        IpAddr::V4(group) => group,
        IpAddr::V6(_) => super::ALL_SYSTEMS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{GroupRecord, RecordKind};
    use super::*;
    use alloc::vec;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn message(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = internet_checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn query(dst: Ipv4Addr, bytes: &[u8]) -> Option<Query> {
        match parse(dst, &message(bytes.to_vec())) {
            Some(GroupMessage::Query(query)) => Some(query),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    // RFC 9776 §7.1 (RFC9776-7.1), §7.2.1 (RFC9776-7.2.1-d): the version of a query.
    #[test]
    fn rfc_9776_7_1_queries_are_told_apart_by_length_and_code() {
        let all = super::super::ALL_SYSTEMS;
        let v1 = query(all, &[0x11, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((v1.version, v1.max_response, v1.group), (Version::Oldest, V1_MAX_RESPONSE, None));
        let v2 = query(all, &[0x11, 200, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((v2.version, v2.max_response), (Version::Old, Duration::from_secs(20)));
        let v2 = query(GROUP, &[0x11, 10, 0, 0, 239, 1, 2, 3]).unwrap();
        assert_eq!((v2.version, v2.group), (Version::Old, Some(GROUP.into())));
        let v3 = query(all, &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]).unwrap();
        assert_eq!((v3.version, v3.max_response), (Version::Current, Duration::from_secs(10)));
        assert_eq!((v3.robustness, v3.interval), (2, Duration::from_secs(125)));
        let long = vec![0x11, 100, 0, 0, 239, 1, 2, 3, 0x0f, 0xff, 0, 1, 10, 0, 0, 9];
        let v3 = query(GROUP, &long).unwrap();
        assert_eq!((v3.robustness, v3.interval), (7, Duration::from_secs(31_744)));
        assert_eq!(v3.sources, [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))]);
        for len in [9, 10, 11] {
            assert_eq!(query(all, &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0][..len]), None, "{len}");
        }
        assert_eq!(query(GROUP, &long[..15]), None, "a source is missing");
        let mut general = long.clone();
        general[4..8].fill(0);
        assert_eq!(query(all, &general), None, "a general query with a source");
    }

    // RFC 9776 §4.1.12 (RFC9776-4.1.12), §4.2.15 (RFC9776-4.2.15-b).
    #[test]
    fn messages_to_any_address_of_this_host_are_processed() {
        let own = Ipv4Addr::new(10, 0, 0, 2);
        for len in [8, 12] {
            assert!(query(own, &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0][..len]).is_some());
            assert!(query(own, &[0x11, 100, 0, 0, 239, 1, 2, 3, 2, 125, 0, 0][..len]).is_some());
        }
        let report = message(vec![0x16, 0, 0, 0, 239, 1, 2, 3]);
        let other = Ipv4Addr::new(239, 9, 9, 9);
        assert_eq!(parse(other, &report), Some(GroupMessage::OldReport(GROUP.into())));
        assert_eq!(parse(own, &report), Some(GroupMessage::ForRouters), "no router heard it");
    }

    // RFC 9776 §9.1 (RFC9776-9.1-a): where general queries go to; §4.1.2 (RFC9776-4.1.2).
    #[test]
    fn queries_to_a_wrong_address_and_with_a_wrong_checksum_are_refused() {
        assert_eq!(query(GROUP, &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]), None);
        assert_eq!(query(GROUP, &[0x11, 100, 0, 0, 10, 0, 0, 1, 2, 125, 0, 0]), None);
        let mut bytes = message(vec![0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
        bytes[1] ^= 1;
        assert_eq!(parse(super::super::ALL_SYSTEMS, &bytes), None);
        assert_eq!(parse(GROUP, &message(vec![0x16, 0, 0, 0, 10, 1, 2, 4])), None);
        let report = message(vec![0x16, 0, 0, 0, 239, 1, 2, 3]);
        assert_eq!(parse(GROUP, &report), Some(GroupMessage::OldReport(GROUP.into())));
    }

    #[test]
    fn codes_from_128_on_are_floating_point() {
        assert_eq!([0, 127, 128, 129, 0x8f, 0x90, 0xff].map(decode), [0, 127, 128, 136, 248, 256, 31_744]);
    }

    // RFC 9776 §4 (RFC9776-4-d), §4.2 (RFC9776-4.2.11, RFC9776-4.2.12, RFC9776-4.2.15-a).
    #[test]
    fn reports_have_the_form_and_the_address_of_their_version() {
        let source = Ipv4Addr::new(10, 0, 0, 9).into();
        let record =
            GroupRecord { kind: RecordKind::ChangeToExclude, group: GROUP.into(), sources: vec![source] };
        let (dst, bytes) = emit(&Message::Report(vec![record]));
        assert_eq!(dst, V3_ROUTERS);
        assert_eq!(bytes[4..], [0, 0, 0, 1, 4, 0, 0, 1, 239, 1, 2, 3, 10, 0, 0, 9]);
        assert!(bytes[0] == 0x22 && verify_internet_checksum(&bytes));
        for (message, to, kind) in [
            (Message::OldReport(Version::Old, GROUP.into()), GROUP, 0x16),
            (Message::OldReport(Version::Oldest, GROUP.into()), GROUP, 0x12),
            (Message::Leave(GROUP.into()), ALL_ROUTERS, 0x17),
        ] {
            let (dst, bytes) = emit(&message);
            assert_eq!((dst, bytes[0], &bytes[4..]), (to, kind, &[239, 1, 2, 3][..]));
            assert!(verify_internet_checksum(&bytes));
        }
    }
}
