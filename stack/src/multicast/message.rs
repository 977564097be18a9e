//! What hosts and routers say about memberships, the same for both families.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

/// The version of a message, and of what a host speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// IGMPv1 (RFC 1112).
    Oldest,
    /// IGMPv2 (RFC 2236) or MLDv1 (RFC 2710).
    Old,
    /// IGMPv3 or MLDv2.
    Current,
}

/// A query by a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) version: Version,
    /// Answers are delayed by at most this long.
    pub(crate) max_response: Duration,
    /// The group that it asks about; `None` for a general query.
    pub(crate) group: Option<IpAddr>,
    /// The sources that it asks about; empty for a question about the group as a whole.
    pub(crate) sources: Vec<IpAddr>,
    /// The querier's robustness variable; 0 if it names none.
    pub(crate) robustness: u8,
    /// The querier's query interval; zero if it names none.
    pub(crate) interval: Duration,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupMessage {
    Query(Query),
    /// Another host reports that it is a member of this group, in an old version of the protocol.
    OldReport(IpAddr),
    /// A message for routers.
    ForRouters,
}

impl GroupMessage {
    /// Another host's report of an old version about `group`, which was sent to `dst`. `None` if it
    /// names no group. A router does not hear a report to a unicast address, so such a report must
    /// not keep other members from sending theirs (as on Linux 6.18).
    pub(super) fn old_report(dst: IpAddr, group: IpAddr) -> Option<GroupMessage> {
        match (group.is_multicast(), dst.is_multicast()) {
            (false, _) => None,
            (true, true) => Some(GroupMessage::OldReport(group)),
            (true, false) => Some(GroupMessage::ForRouters),
        }
    }
}

/// The types of group records (RFC 9776 §4.2.13, RFC 9777 §5.2.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    ModeIsInclude = 1,
    ModeIsExclude = 2,
    ChangeToInclude = 3,
    ChangeToExclude = 4,
    AllowNewSources = 5,
    BlockOldSources = 6,
}

impl RecordKind {
    /// Whether the sources may be spread over several records. A router that reads half of an
    /// exclude list would take it for the whole (RFC 9776 §4.2.17).
    fn may_be_split(self) -> bool {
        !matches!(self, RecordKind::ModeIsExclude | RecordKind::ChangeToExclude)
    }
}

/// A statement about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    pub(crate) kind: RecordKind,
    pub(crate) group: IpAddr,
    pub(crate) sources: Vec<IpAddr>,
}

impl GroupRecord {
    /// Its length in a report.
    fn len(&self) -> usize {
        let addr_len = addr_len(self.group);
        RECORD_HEADER_LEN + addr_len * (1 + self.sources.len())
    }
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A report of the current version.
    Report(Vec<GroupRecord>),
    /// A report of an old version.
    OldReport(Version, IpAddr),
    /// "Leave group" of IGMPv2, or "done" of MLDv1.
    Leave(IpAddr),
}

/// Type, code, checksum, reserved, number of records.
const REPORT_HEADER_LEN: usize = 8;
/// Type, length of auxiliary data, number of sources.
const RECORD_HEADER_LEN: usize = 4;

fn addr_len(addr: IpAddr) -> usize {
    if addr.is_ipv4() { 4 } else { 16 }
}

/// Distributes records over as few reports of at most `max_len` bytes as their order allows. A
/// record with too many sources for one report is split; a list of excluded sources is cut instead
/// (RFC 9776 §4.2.17, RFC 9777 §5.2.16), so that the host hears more than it asked for, not less.
pub(super) fn reports(records: Vec<GroupRecord>, max_len: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut current: Vec<GroupRecord> = Vec::new();
    let mut len = REPORT_HEADER_LEN;
    let mut add = |record: GroupRecord| {
        if len + record.len() > max_len && !current.is_empty() {
            messages.push(Message::Report(core::mem::take(&mut current)));
            len = REPORT_HEADER_LEN;
        }
        len += record.len();
        current.push(record);
    };
    for record in records {
        let room = max_len.saturating_sub(REPORT_HEADER_LEN + RECORD_HEADER_LEN);
        let max_sources = (room / addr_len(record.group)).saturating_sub(1).max(1);
        if record.sources.len() <= max_sources {
            add(record);
        } else if record.kind.may_be_split() {
            for sources in record.sources.chunks(max_sources) {
                add(GroupRecord { sources: sources.to_vec(), ..record });
            }
        } else {
            let mut record = record;
            record.sources.truncate(max_sources);
            add(record);
        }
    }
    if !current.is_empty() {
        messages.push(Message::Report(current));
    }
    messages
}

/// Writes a report of the current version: IGMPv3's and MLDv2's differ in the type and in the
/// length of addresses. The checksum is left zero.
pub(super) fn emit_report(kind: u8, records: &[GroupRecord]) -> Vec<u8> {
    let mut bytes = Vec::from([kind, 0, 0, 0, 0, 0]);
    bytes.extend((records.len() as u16).to_be_bytes());
    for GroupRecord { kind, group, sources } in records {
        bytes.extend([*kind as u8, 0]);
        bytes.extend((sources.len() as u16).to_be_bytes());
        extend_with_addr(&mut bytes, *group);
        for &source in sources {
            extend_with_addr(&mut bytes, source);
        }
    }
    bytes
}

pub(super) fn extend_with_addr(bytes: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => bytes.extend(addr.octets()),
        IpAddr::V6(addr) => bytes.extend(addr.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn record(kind: RecordKind, group: u8, sources: u32) -> GroupRecord {
        let sources = (0..sources).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into()).collect();
        GroupRecord { kind, group: Ipv4Addr::new(239, 0, 0, group).into(), sources }
    }

    /// The number of sources in each record of each report.
    fn counts(messages: &[Message]) -> Vec<Vec<usize>> {
        let of = |message: &Message| match message {
            Message::Report(records) => records.iter().map(|record| record.sources.len()).collect(),
            other => panic!("{other:?}"),
        };
        messages.iter().map(of).collect()
    }

    // RFC 9776 §4.2.17 (RFC9776-4.2.17-a, RFC9776-4.2.17-b).
    #[test]
    fn reports_are_filled_and_long_records_are_split_or_cut() {
        use RecordKind::{AllowNewSources, ModeIsExclude};
        let small = (0..5).map(|n| record(AllowNewSources, n, 1)).collect();
        // 8 bytes, and 12 for each record.
        assert_eq!(counts(&reports(small, 32)), [vec![1, 1], vec![1, 1], vec![1]]);
        let long = Vec::from([record(AllowNewSources, 1, 7), record(ModeIsExclude, 2, 7)]);
        // 8 bytes, 8 for the record, and 4 for each source.
        assert_eq!(counts(&reports(long, 28)), [vec![3], vec![3], vec![1], vec![3]]);
        assert_eq!(reports(Vec::new(), 28), []);
    }
    use alloc::vec;
}
