//! The messages of DNS (RFC 1035), as far as a stub resolver needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordKind {
    A,
    Aaaa,
}

/// The largest answer over UDP that is asked for: it fits into a frame without fragments (DNS flag
/// day 2020).
const EDNS_PAYLOAD_BYTES: u16 = 1232;
/// The most aliases (CNAME) that are followed.
pub(super) const MAX_ALIASES: usize = 8;
/// The most addresses that are taken of one answer.
pub(super) const MAX_ADDRESSES: usize = 32;
/// A header, and the least that a question and a record take.
const HEADER_BYTES: usize = 12;
const QUESTION_BYTES: usize = 5;
const RECORD_BYTES: usize = 11;

/// What an answer says. Times to live are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// The name is another name for this one, whose addresses are not in the answer.
    Alias {
        target: String,
        ttl: u32,
    },
    /// The name exists, but has no address of this kind. The time is missing if the answer does not
    /// say for how long that is so.
    NoData {
        ttl: Option<u32>,
    },
    /// NXDOMAIN.
    NoName {
        ttl: Option<u32>,
    },
    /// The answer did not fit into a datagram.
    Truncated,
    /// The server does not understand the question, perhaps because of EDNS.
    NotUnderstood,
    /// The server could not or would not answer, with its code.
    Refused(&'static str),
}

/// The message is not the answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Encodes a question to a recursive server. `None` if the name is longer than DNS allows.
pub(super) fn encode(id: u16, name: &str, kind: RecordKind, with_edns: bool) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let question =
        Question::new(Name::new(name).ok()?, QTYPE::TYPE(type_of(kind)), QCLASS::CLASS(CLASS::IN), false);
    packet.questions.push(question);
    if with_edns {
        *packet.opt_mut() =
            Some(OPT { opt_codes: Vec::new(), udp_packet_size: EDNS_PAYLOAD_BYTES, version: 0 });
    }
    packet.build_bytes_vec().ok()
}

fn type_of(kind: RecordKind) -> TYPE {
    match kind {
        RecordKind::A => TYPE::A,
        RecordKind::Aaaa => TYPE::AAAA,
    }
}

/// Decodes the answer to a question. RFC 5452 §9.1: id and question must be those that were sent;
/// the driver's sockets compare addresses and ports.
pub(super) fn decode(bytes: &[u8], id: u16, name: &str, kind: RecordKind) -> Result<Answer, Nonsense> {
    check_counts(bytes)?;
    let packet = Packet::parse(bytes).map_err(|_| Nonsense)?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return Err(Nonsense);
    }
    let asked = Name::new(name).map_err(|_| Nonsense)?;
    match &packet.questions[..] {
        [question] => {
            // Names are compared without regard to case (RFC 4343).
            let same_name = question.qname == asked;
            let same_kind = question.qtype == QTYPE::TYPE(type_of(kind));
            if !same_name || !same_kind || question.qclass != QCLASS::CLASS(CLASS::IN) {
                return Err(Nonsense);
            }
        }
        // A server that could not read the question does not repeat it.
        [] if packet.rcode() == RCODE::FormatError => return Ok(Answer::NotUnderstood),
        _ => return Err(Nonsense),
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(Answer::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError => Ok(addresses_of(&packet, &asked, kind)),
        RCODE::NameError => Ok(Answer::NoName { ttl: negative_ttl(&packet) }),
        RCODE::FormatError => Ok(Answer::NotUnderstood),
        RCODE::ServerFailure => Ok(Answer::Refused("SERVFAIL")),
        RCODE::NotImplemented => Ok(Answer::Refused("NOTIMP")),
        RCODE::Refused => Ok(Answer::Refused("REFUSED")),
        _ => Ok(Answer::Refused("an error")),
    }
}

/// Refuses a header that counts more than the message can hold: the parser allocates by the counts.
fn check_counts(bytes: &[u8]) -> Result<(), Nonsense> {
    let count = |at: usize| match bytes.get(at..at + 2) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => usize::MAX,
    };
    let records = count(6).saturating_add(count(8)).saturating_add(count(10));
    let least = count(4).saturating_mul(QUESTION_BYTES).saturating_add(records.saturating_mul(RECORD_BYTES));
    if bytes.len() < least.saturating_add(HEADER_BYTES) { Err(Nonsense) } else { Ok(()) }
}

/// RFC 2181 §8: a time with the highest bit set is zero.
fn ttl_of(record: &ResourceRecord<'_>) -> u32 {
    if record.ttl > i32::MAX as u32 { 0 } else { record.ttl }
}

/// Follows the aliases in the answer, and collects the addresses of the last name. Records of other
/// names are ignored.
fn addresses_of(packet: &Packet<'_>, asked: &Name<'_>, kind: RecordKind) -> Answer {
    let in_class = || packet.answers.iter().filter(|record| record.class == CLASS::IN);
    let (mut name, mut ttl) = (asked, i32::MAX as u32);
    let mut is_alias = false;
    for _ in 0..MAX_ALIASES {
        let alias = in_class().filter(|record| record.name == *name).find_map(|record| {
            let RData::CNAME(target) = &record.rdata else { return None };
            Some((&target.0, ttl_of(record)))
        });
        let Some((target, alias_ttl)) = alias else { break };
        (name, ttl, is_alias) = (target, ttl.min(alias_ttl), true);
    }
    let mut addresses = Vec::new();
    for record in in_class().filter(|record| record.name == *name) {
        let addr: IpAddr = match (&record.rdata, kind) {
            (RData::A(a), RecordKind::A) => Ipv4Addr::from_bits(a.address).into(),
            (RData::AAAA(aaaa), RecordKind::Aaaa) => Ipv6Addr::from_bits(aaaa.address).into(),
            _ => continue,
        };
        ttl = ttl.min(ttl_of(record));
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    if !addresses.is_empty() {
        return Answer::Addresses { addresses, ttl };
    }
    let negative_ttl = negative_ttl(packet);
    // RFC 2308 §2.2: with a SOA record the last name is known to have no such address.
    if is_alias && negative_ttl.is_none() {
        return Answer::Alias { target: name.to_string().to_ascii_lowercase(), ttl };
    }
    Answer::NoData { ttl: negative_ttl.map(|negative_ttl| negative_ttl.min(ttl)) }
}

/// RFC 2308 §5: how long an answer without addresses is valid, as the SOA record says.
fn negative_ttl(packet: &Packet<'_>) -> Option<u32> {
    packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(ttl_of(record).min(soa.minimum)),
        _ => None,
    })
}
