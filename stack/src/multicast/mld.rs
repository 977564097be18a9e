//! MLD messages, which are ICMPv6 messages: version 2 (RFC 9777) and 1 (RFC 2710).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::message::{GroupMessage, Message, Query, Version, emit_report, extend_with_addr};
use crate::ip::{protocol, read_u8, read_u16};
use crate::link::ndp::ALL_NODES;

pub(crate) const QUERY: u8 = 130;
pub(crate) const V1_REPORT: u8 = 131;
pub(crate) const DONE: u8 = 132;
pub(crate) const V2_REPORT: u8 = 143;

/// The hop limit of every message (RFC 9777 §5).
pub(crate) const HOP_LIMIT: u8 = 1;

/// A hop-by-hop options header with the router alert of MLD (RFC 2711 §2.1, value 0) and padding.
pub(crate) const ROUTER_ALERT: [u8; 8] = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// ff02::2.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// ff02::16 (RFC 9777 §5.2.15).
const V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

const V1_LEN: usize = 24;
const V2_QUERY_LEN: usize = 28;

/// Parses a message whose checksum was verified and that was sent to `dst`. `None` if it is
/// malformed or contradicts its destination.
pub(crate) fn parse(dst: Ipv6Addr, message: &[u8]) -> Option<GroupMessage> {
    match read_u8(message, 0)? {
        QUERY => parse_query(message).map(GroupMessage::Query),
        V1_REPORT => GroupMessage::old_report(dst.into(), addr_at(message, 8)?.into()),
        _ => Some(GroupMessage::ForRouters),
    }
}

/// RFC 9777 §8.1: the length of a query tells its version. Other lengths are ignored. §5.1.15
/// (RFC9777-5.1.15): which address of this host the query was sent to does not matter.
fn parse_query(message: &[u8]) -> Option<Query> {
    let (code, group) = (read_u16(message, 4)?, addr_at(message, 8)?);
    let (version, max_response) = match message.len() {
        V1_LEN => (Version::Old, u32::from(code)),
        V2_QUERY_LEN.. => (Version::Current, decode(code)),
        _ => return None,
    };
    let is_general = group.is_unspecified();
    if !is_general && !group.is_multicast() {
        return None;
    }
    let mut query = Query {
        version,
        max_response: Duration::from_millis(u64::from(max_response)),
        group: (!is_general).then_some(IpAddr::V6(group)),
        sources: Vec::new(),
        robustness: 0,
        interval: Duration::ZERO,
    };
    if version == Version::Current {
        query.robustness = read_u8(message, 24)? & 7;
        query.interval = Duration::from_secs(u64::from(decode_interval(read_u8(message, 25)?)));
        let count = usize::from(read_u16(message, 26)?);
        // RFC 9777 §5.1.10: a general query names no sources.
        if is_general && count > 0 {
            return None;
        }
        let sources = message.get(V2_QUERY_LEN..V2_QUERY_LEN + 16 * count)?;
        query.sources =
            sources.as_chunks::<16>().0.iter().map(|&octets| IpAddr::V6(Ipv6Addr::from(octets))).collect();
    }
    Some(query)
}

/// RFC 9777 §5.1.3: from 32,768 on a code is a floating-point number.
fn decode(code: u16) -> u32 {
    match code {
        0..0x8000 => u32::from(code),
        _ => (u32::from(code & 0x0fff) | 0x1000) << ((code >> 12 & 7) + 3),
    }
}

/// RFC 9777 §5.1.9.
fn decode_interval(code: u8) -> u32 {
    match code {
        0..128 => u32::from(code),
        _ => (u32::from(code & 0x0f) | 0x10) << ((code >> 4 & 7) + 3),
    }
}

fn addr_at(message: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*message.get(at..)?.first_chunk()?))
}

/// Whether an IPv6 packet has a hop-by-hop options header with a router alert, as every MLD message
/// has (RFC 9777 §5). The headers were checked before.
pub(crate) fn has_router_alert(packet: &[u8]) -> bool {
    const HEADER_AT: usize = 40;
    const ROUTER_ALERT_OPTION: u8 = 5;
    if read_u8(packet, 6) != Some(protocol::HOP_BY_HOP) {
        return false;
    }
    let Some(len) = read_u8(packet, HEADER_AT + 1).map(|len| (usize::from(len) + 1) * 8) else {
        return false;
    };
    let mut options = packet.get(HEADER_AT + 2..HEADER_AT + len).unwrap_or_default();
    loop {
        options = match *options {
            [0, ref rest @ ..] => rest,
            [ROUTER_ALERT_OPTION, 2, ..] => return true,
            [_, len, ref rest @ ..] => rest.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

/// Writes a message without its checksum, and returns it with the address that it goes to (RFC 9777
/// §5.2.15, RFC 2710 §5).
pub(crate) fn emit(message: &Message) -> (Ipv6Addr, Vec<u8>) {
    match *message {
        Message::Report(ref records) => (V2_ROUTERS, emit_report(V2_REPORT, records)),
        Message::OldReport(_, group) => (to_v6(group), emit_old(V1_REPORT, group)),
        Message::Leave(group) => (ALL_ROUTERS, emit_old(DONE, group)),
    }
}

fn emit_old(kind: u8, group: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::from([kind, 0, 0, 0, 0, 0, 0, 0]);
    extend_with_addr(&mut bytes, group);
    bytes
}

/// An IPv6 group; this half of the module is given no others.
fn to_v6(group: IpAddr) -> Ipv6Addr {
    match group {
        IpAddr::V4(_) => ALL_NODES,
        IpAddr::V6(group) => group,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{GroupRecord, RecordKind};
    use super::*;
    use alloc::vec;

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 2);

    fn query_bytes(group: Ipv6Addr, code: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![QUERY, 0, 0, 0];
        bytes.extend(code.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(group.octets());
        bytes.extend(rest);
        bytes
    }

    fn query(bytes: &[u8]) -> Option<Query> {
        match parse(GROUP, bytes) {
            Some(GroupMessage::Query(query)) => Some(query),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    // RFC 9777 §8.1 (RFC9777-8.1).
    #[test]
    fn rfc_9777_8_1_queries_are_told_apart_by_length() {
        let v1 = query(&query_bytes(Ipv6Addr::UNSPECIFIED, 10_000, &[])).unwrap();
        assert_eq!((v1.version, v1.max_response, v1.group), (Version::Old, Duration::from_secs(10), None));
        let mut rest = vec![3, 0x8f, 0, 2];
        rest.extend(GROUP.octets());
        rest.extend(ALL_ROUTERS.octets());
        let v2 = query(&query_bytes(GROUP, 0x8001, &rest)).unwrap();
        assert_eq!((v2.version, v2.max_response), (Version::Current, Duration::from_millis(0x1001 << 3)));
        assert_eq!((v2.robustness, v2.interval), (3, Duration::from_secs(248)));
        assert_eq!(v2.sources, [IpAddr::V6(GROUP), IpAddr::V6(ALL_ROUTERS)]);
        assert_eq!(query(&query_bytes(GROUP, 1, &rest[..20])), None, "a source is missing");
        assert_eq!(query(&query_bytes(GROUP, 1, &[0, 0])), None, "neither of the two lengths");
        assert_eq!(query(&query_bytes(Ipv6Addr::UNSPECIFIED, 1, &rest)), None, "general, with sources");
        assert_eq!(query(&query_bytes(Ipv6Addr::LOCALHOST, 1, &[])), None);
    }

    // RFC 9777 §5.2.15 (RFC9777-5.2.15-b).
    #[test]
    fn reports_to_any_group_of_this_host_are_processed() {
        let report = &mut query_bytes(GROUP, 0, &[])[..];
        report[0] = V1_REPORT;
        assert_eq!(parse(ALL_NODES, report), Some(GroupMessage::OldReport(GROUP.into())));
        assert_eq!(parse(Ipv6Addr::LOCALHOST, report), Some(GroupMessage::ForRouters), "no router heard it");
        assert_eq!(parse(ALL_NODES, &report[..20]), None);
    }

    #[test]
    fn the_router_alert_is_found_among_other_options() {
        let packet = |options: [u8; 6]| {
            let mut packet = vec![0; 40];
            packet.extend([58, 0]);
            packet.extend(options);
            packet
        };
        assert!(has_router_alert(&packet([5, 2, 0, 0, 1, 0])));
        assert!(has_router_alert(&packet([0, 0, 5, 2, 0, 0])));
        assert!(!has_router_alert(&packet([1, 4, 0, 0, 0, 0])));
        assert!(!has_router_alert(&packet([1, 4, 5, 2, 0, 0])), "within another option");
        assert!(!has_router_alert(&packet([0x1e, 2, 0, 0, 0, 0])));
        let mut other = packet([5, 2, 0, 0, 1, 0]);
        other[6] = 60;
        assert!(!has_router_alert(&other), "in a header of destination options");
        assert!(has_router_alert(&[&other[..6], &[0], &other[7..40], &ROUTER_ALERT].concat()));
        assert!(!has_router_alert(&other[..40]));
    }

    // RFC 9777 §5 (RFC9777-5-d), §5.2 (RFC9777-5.2.11, RFC9777-5.2.12, RFC9777-5.2.15-a).
    #[test]
    fn reports_have_the_form_and_the_address_of_their_version() {
        let record = GroupRecord { kind: RecordKind::AllowNewSources, group: GROUP.into(), sources: vec![] };
        let (dst, bytes) = emit(&Message::Report(vec![record]));
        assert_eq!((dst, &bytes[..12]), (V2_ROUTERS, &[143, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0][..]));
        assert_eq!(bytes[12..], GROUP.octets());
        for (message, to, kind) in [
            (Message::OldReport(Version::Old, GROUP.into()), GROUP, 131),
            (Message::Leave(GROUP.into()), ALL_ROUTERS, 132),
        ] {
            let (dst, bytes) = emit(&message);
            assert_eq!((dst, bytes[0], &bytes[8..]), (to, kind, &GROUP.octets()[..]));
        }
    }
}
