use alloc::vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::format;
use std::string::String;

use super::super::filter::FilterMode;
use super::super::message::{GroupRecord, RecordKind};
use super::*;

const MAX_LEN: usize = 1000;

fn group(last: u8) -> IpAddr {
    Ipv4Addr::new(239, 0, 0, last).into()
}

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn query(version: Version, max_response: Duration, group: Option<IpAddr>) -> Query {
    Query { version, max_response, group, sources: Vec::new(), robustness: 0, interval: Duration::ZERO }
}

/// A host with the clock of a test.
struct Bench {
    host: GroupHost,
    rng: Rng,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(GroupProtocol::Igmp, &MulticastConfig::default())
    }

    fn with(protocol: GroupProtocol, config: &MulticastConfig) -> Bench {
        let host = GroupHost::new(protocol, config);
        Bench { host, rng: Rng::new([9; 32]), now: Instant::from_secs(1000) }
    }

    fn change(&mut self, group: IpAddr, old: Option<&SourceFilter>, new: Option<&SourceFilter>) {
        self.host.replace(self.now, group, old, new, false);
    }

    fn join(&mut self, last: u8) {
        self.change(group(last), None, Some(&SourceFilter::EVERY_SOURCE));
    }

    fn leave(&mut self, last: u8) {
        self.change(group(last), Some(&SourceFilter::EVERY_SOURCE), None);
    }

    fn query(&mut self, query: &Query) {
        self.host.handle_query(self.now, &mut self.rng, query);
    }

    /// The messages of this much time, each with its time in milliseconds from now.
    fn run(&mut self, time: Duration) -> Vec<(u64, Message)> {
        let (from, end, mut sent) = (self.now, self.now + time, Vec::new());
        while let Some(at) = self.host.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            let messages = self.host.handle_timeout(self.now, &mut self.rng, MAX_LEN);
            let millis = (self.now - from).as_millis() as u64;
            sent.extend(messages.into_iter().map(|message| (millis, message)));
        }
        self.now = end;
        sent
    }

    /// Lets all reports of changes be sent.
    fn settle(&mut self) {
        self.run(Duration::from_secs(30));
    }
}

/// The records of reports: `239.0.0.1 ChangeToExclude []`.
fn records(sent: &[(u64, Message)]) -> Vec<String> {
    let of = |(_, message): &(u64, Message)| match message {
        Message::Report(records) => {
            let text =
                |record: &GroupRecord| format!("{} {:?} {:?}", record.group, record.kind, record.sources);
            records.iter().map(text).collect()
        }
        other => vec![format!("{other:?}")],
    };
    sent.iter().flat_map(of).collect()
}

// RFC 9776 §5.1 (RFC9776-5.1-d), §8.1 and §8.11 (RFC9776-8.11).
#[test]
fn a_change_is_reported_at_once_and_again_within_a_second() {
    let mut bench = Bench::new();
    bench.join(1);
    let sent = bench.run(Duration::from_secs(10));
    assert_eq!(records(&sent), ["239.0.0.1 ChangeToExclude []"; 2]);
    assert!(sent[0].0 == 0 && (0..=1000).contains(&sent[1].0), "{sent:?}");
    bench.leave(1);
    assert_eq!(records(&bench.run(Duration::from_secs(10))), ["239.0.0.1 ChangeToInclude []"; 2]);
    assert!(bench.host.groups.is_empty() && bench.host.poll_timeout().is_none());
    // A querier names another number of reports, or none.
    for (robustness, times) in [(3, 3), (0, 2)] {
        let general = query(Version::Current, Duration::from_secs(1), None);
        bench.query(&Query { robustness, ..general });
        bench.join(1);
        assert_eq!(records(&bench.run(Duration::from_secs(10))).len(), times + 1, "and the answer");
        bench.leave(1);
        bench.settle();
    }
}

#[test]
fn several_changes_at_one_time_are_one_report() {
    let mut bench = Bench::new();
    (1..=3).for_each(|last| bench.join(last));
    let sent = bench.run(Duration::ZERO);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(records(&sent).len(), 3);
    bench.leave(2);
    bench.join(2);
    bench.settle();
    assert_eq!(bench.host.groups().count(), 3);
}

// RFC 9776 §5 (RFC9776-5-a), RFC 9777 §6 (RFC9777-6-a, RFC9777-6-b).
#[test]
fn groups_of_all_hosts_and_of_this_host_are_not_reported() {
    let mut bench = Bench::new();
    let unreported: [IpAddr; 4] = [
        super::super::ALL_SYSTEMS.into(),
        crate::link::ndp::ALL_NODES.into(),
        Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 5).into(),
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 5).into(),
    ];
    for group in unreported {
        bench.change(group, None, Some(&SourceFilter::EVERY_SOURCE));
        bench.query(&query(Version::Current, Duration::from_secs(1), Some(group)));
    }
    bench.query(&query(Version::Current, Duration::from_secs(1), None));
    assert_eq!(bench.run(Duration::from_secs(60)), []);
    bench.query(&query(Version::Old, Duration::from_secs(1), None));
    assert_eq!(bench.run(Duration::from_secs(60)), []);
    assert_eq!(bench.host.groups().count(), 4);
}

// RFC 9776 §5.2 (RFC9776-5.2-a, RFC9776-5.2-b).
#[test]
fn queries_are_answered_within_their_time() {
    let mut bench = Bench::new();
    bench.join(1);
    let include = SourceFilter::new(FilterMode::Include, vec![source(5), source(6)]);
    bench.change(group(2), None, Some(&include));
    bench.settle();
    let mut latest = 0;
    for _ in 0..20 {
        bench.query(&query(Version::Current, Duration::from_secs(10), None));
        let sent = bench.run(Duration::from_secs(20));
        let expected = ["239.0.0.1 ModeIsExclude []", "239.0.0.2 ModeIsInclude [10.0.0.5, 10.0.0.6]"];
        assert_eq!(records(&sent), expected);
        assert!(sent[0].0 <= 10_000);
        latest = latest.max(sent[0].0);
    }
    assert!(latest > 5000, "answers are spread over the time");
    let specific = query(Version::Current, Duration::from_secs(1), Some(group(2)));
    bench.query(&specific);
    bench.query(&Query { group: Some(group(9)), ..specific.clone() });
    let sent = bench.run(Duration::from_secs(20));
    assert_eq!(records(&sent), ["239.0.0.2 ModeIsInclude [10.0.0.5, 10.0.0.6]"]);
    bench.query(&Query { sources: vec![source(6), source(7)], ..specific.clone() });
    let sent = bench.run(Duration::from_secs(20));
    assert_eq!(records(&sent), ["239.0.0.2 ModeIsInclude [10.0.0.6]"]);
    // Rule 1: a general answer that comes sooner is enough.
    bench.query(&query(Version::Current, Duration::ZERO, None));
    bench.query(&Query { max_response: Duration::from_secs(100), ..specific });
    assert_eq!(records(&bench.run(Duration::from_secs(200))).len(), 2);
}

// Hostile: a querier that lies about the time.
#[test]
fn an_absurd_response_time_does_not_put_off_an_answer_that_is_due() {
    let mut bench = Bench::new();
    bench.join(1);
    bench.settle();
    bench.query(&query(Version::Current, Duration::from_secs(1), None));
    for _ in 0..1000 {
        bench.query(&query(Version::Current, Duration::from_secs(3174), None));
        bench.query(&query(Version::Current, Duration::from_secs(8387), Some(group(1))));
    }
    assert_eq!(records(&bench.run(Duration::from_secs(1))), ["239.0.0.1 ModeIsExclude []"]);
}

// Hostile: thousands of groups, sources and queries.
#[test]
fn the_work_of_one_call_and_the_memory_of_questions_are_bounded() {
    let mut bench = Bench::new();
    let groups: Vec<IpAddr> = (0..3000).map(|n| Ipv4Addr::from_bits(0xef01_0000 + n).into()).collect();
    for &group in &groups {
        bench.change(group, None, Some(&SourceFilter::EVERY_SOURCE));
    }
    let count = |messages: &[Message]| {
        let messages: Vec<_> = messages.iter().map(|message| (0, message.clone())).collect();
        records(&messages).len()
    };
    let first = bench.host.handle_timeout(bench.now, &mut bench.rng, MAX_LEN);
    assert_eq!(count(&first), MAX_GROUPS_AT_ONCE);
    assert_eq!(bench.host.poll_timeout(), Some(bench.now), "the others are still due");
    bench.settle();
    bench.query(&query(Version::Current, Duration::from_secs(1), None));
    let answers = bench.run(Duration::from_secs(2));
    assert_eq!(records(&answers).len(), 3000, "each once");
    let sources: Vec<IpAddr> = (0..10_000).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into()).collect();
    for chunk in sources.chunks(60) {
        let specific = query(Version::Current, Duration::from_secs(10), Some(groups[0]));
        bench.query(&Query { sources: chunk.to_vec(), ..specific });
    }
    let answers = bench.run(Duration::from_secs(20));
    assert_eq!(records(&answers), ["239.1.0.0 ModeIsExclude []"], "the whole filter");
}

// RFC 9776 §7.2.1 (RFC9776-7.2.1-a, RFC9776-7.2.1-b), §8.12 (RFC9776-8.12).
#[test]
fn an_old_querier_is_spoken_to_in_its_version_until_it_is_gone() {
    let mut bench = Bench::new();
    bench.join(1);
    bench.settle();
    bench.query(&query(Version::Old, Duration::from_secs(10), None));
    assert_eq!(
        bench.run(Duration::from_secs(20)).last().unwrap().1,
        Message::OldReport(Version::Old, group(1))
    );
    bench.query(&query(Version::Oldest, Duration::from_secs(10), None));
    let sent = bench.run(Duration::from_secs(20));
    assert_eq!(records(&sent), [format!("{:?}", Message::OldReport(Version::Oldest, group(1)))]);
    // A query of the current version does not change that.
    bench.query(&query(Version::Current, Duration::from_secs(10), None));
    let sent = bench.run(Duration::from_secs(20));
    assert_eq!(records(&sent), [format!("{:?}", Message::OldReport(Version::Oldest, group(1)))]);
    // Robustness Variable times Query Interval and ten times the response time: 350 s, of which 40
    // have passed.
    bench.run(Duration::from_secs(305));
    bench.join(2);
    let sent = bench.run(Duration::from_secs(3));
    assert_eq!(sent[0].1, Message::OldReport(Version::Oldest, group(2)));
    bench.run(Duration::from_secs(20));
    bench.join(3);
    let sent = bench.run(Duration::from_secs(3));
    assert_eq!(records(&sent), ["239.0.0.3 ChangeToExclude []"; 2]);
}

// RFC 9777 §9.12 (RFC9777-9.12); RFC 9776 §8.12 (RFC9776-8.12): what a querier names counts in MLD
// only.
#[test]
fn how_long_an_old_querier_is_taken_to_be_there() {
    for (protocol, secs) in [(GroupProtocol::Igmp, 350), (GroupProtocol::Mld, 310)] {
        let mut bench = Bench::with(protocol, &MulticastConfig::default());
        let current = query(Version::Current, Duration::from_secs(10), None);
        bench.query(&Query { robustness: 3, interval: Duration::from_secs(100), ..current });
        bench.query(&query(Version::Old, Duration::from_secs(10), None));
        for (after, last, is_old) in [(secs - 1, 1, true), (1, 2, false)] {
            bench.run(Duration::from_secs(after));
            bench.join(last);
            let sent = bench.run(Duration::ZERO);
            let old = Message::OldReport(Version::Old, group(last));
            assert_eq!(sent[0].1 == old, is_old, "{protocol:?} {sent:?}");
        }
    }
}

// RFC 9776 §7.2.1 (RFC9776-7.2.1-e), RFC 9777 §8.2.1 (RFC9777-8.2.1).
#[test]
fn an_old_query_about_one_group_does_not_change_the_version() {
    let mut bench = Bench::new();
    bench.join(1);
    bench.settle();
    bench.query(&query(Version::Old, Duration::from_secs(1), Some(group(1))));
    assert_eq!(records(&bench.run(Duration::from_secs(1))), ["239.0.0.1 ModeIsExclude []"]);
    bench.query(&query(Version::Old, Duration::from_secs(1), None));
    let sent = bench.run(Duration::from_secs(1));
    assert_eq!(records(&sent), [format!("{:?}", Message::OldReport(Version::Old, group(1)))]);
}

// RFC 9776 §7.2.1 (RFC9776-7.2.1-f).
#[test]
fn old_versions_can_be_turned_off() {
    let config = MulticastConfig { old_versions: false, ..MulticastConfig::default() };
    let mut bench = Bench::with(GroupProtocol::Igmp, &config);
    bench.join(1);
    bench.settle();
    bench.query(&query(Version::Old, Duration::from_secs(1), None));
    bench.query(&query(Version::Oldest, Duration::from_secs(1), Some(group(1))));
    assert_eq!(bench.run(Duration::from_secs(10)), []);
    bench.leave(1);
    assert_eq!(records(&bench.run(Duration::ZERO)), ["239.0.0.1 ChangeToInclude []"]);
}

// RFC 2236 §3 and RFC 2710 §4, which the old versions follow (RFC9776-7.2.1-c); RFC 9776 §7.2.2
// (RFC9776-7.2.2-b).
#[test]
fn in_old_versions_members_keep_silent_if_another_reports_and_the_last_reporter_says_goodbye() {
    let old = |max| query(Version::Old, Duration::from_secs(max), None);
    let mut bench = Bench::new();
    bench.query(&old(1));
    bench.join(1);
    let sent = bench.run(Duration::from_secs(30));
    assert_eq!(records(&sent).len(), 2, "reported twice");
    assert!(sent[0].0 == 0 && sent[1].0 <= 10_000);
    bench.leave(1);
    assert_eq!(bench.run(Duration::from_secs(30)), [(0, Message::Leave(group(1)))]);
    bench.join(2);
    bench.settle();
    bench.query(&old(10));
    bench.host.handle_old_report(bench.now, group(2));
    assert_eq!(bench.run(Duration::from_secs(30)), [], "another has answered");
    bench.leave(2);
    assert_eq!(bench.run(Duration::from_secs(30)), [], "and another is there");
    assert!(bench.host.groups.is_empty());
    // Source filters cannot be told to such a router.
    let include = SourceFilter::new(FilterMode::Include, vec![source(5)]);
    bench.change(group(3), None, Some(&include));
    assert_eq!(bench.run(Duration::from_secs(30))[0].1, Message::OldReport(Version::Old, group(3)));
    // Hosts leave IGMPv1 silently.
    bench.query(&query(Version::Oldest, Duration::from_secs(10), None));
    bench.change(group(3), Some(&include), None);
    assert_eq!(bench.run(Duration::from_secs(30)), []);
    // In the current version others' reports count for nothing.
    let mut bench = Bench::new();
    bench.join(1);
    bench.host.handle_old_report(bench.now, group(1));
    assert_eq!(records(&bench.run(Duration::from_secs(5))).len(), 2);
}

// Hostile: queries of an old version in a row.
#[test]
fn a_storm_of_old_queries_costs_one_walk_over_the_groups() {
    let mut bench = Bench::new();
    (1..=50).for_each(|last| bench.join(last));
    bench.settle();
    for _ in 0..1000 {
        bench.query(&query(Version::Old, Duration::from_secs(10), None));
    }
    let sent = bench.run(Duration::from_secs(11));
    assert_eq!(sent.len(), 50, "each group answers once");
    // Each allows less time than the one before, in the steps of MLDv1.
    bench.query(&query(Version::Old, Duration::from_secs(60), None));
    bench.rng = Rng::new([1; 32]);
    let mut draws = Rng::new([1; 32]);
    for millis in (1000..60_000).rev() {
        bench.query(&query(Version::Old, Duration::from_millis(millis), None));
        delay(&mut draws, Duration::from_millis(millis));
    }
    assert_eq!(bench.rng.next_u64(), draws.next_u64(), "no delays of groups were drawn");
    let sent = bench.run(Duration::from_secs(1));
    assert_eq!(sent.len(), 50, "each group answers once, in time");
    assert_eq!(bench.run(Duration::from_secs(60)), []);
}

// Hostile: reports of others, about groups that are joined and about others.
#[test]
fn a_storm_of_reports_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.query(&query(Version::Old, Duration::from_secs(10), None));
    (1..=3).for_each(|last| bench.join(last));
    for n in 0..100_000 {
        bench.host.handle_old_report(bench.now, Ipv4Addr::from_bits(0xef00_0000 + n).into());
    }
    assert_eq!(bench.host.groups.len(), 3);
    assert_eq!(bench.run(Duration::from_secs(60)), [], "all were reported by others");
    (1..=3).for_each(|last| bench.leave(last));
    assert_eq!(bench.run(Duration::ZERO), [], "and others are there");
    assert!(bench.host.groups.is_empty() && bench.host.poll_timeout().is_none());
}

// Hostile: a group joined by thousands costs one report and one answer.
#[test]
fn thousands_of_members_are_reported_as_one() {
    let mut bench = Bench::new();
    (0..5000).for_each(|_| bench.join(1));
    bench.query(&query(Version::Current, Duration::from_secs(1), None));
    let sent = bench.run(Duration::from_secs(10));
    assert_eq!(sent.len(), 3, "two reports and an answer: {sent:?}");
    (0..4999).for_each(|_| bench.leave(1));
    assert_eq!(bench.run(Duration::from_secs(10)), []);
    bench.leave(1);
    assert_eq!(records(&bench.run(Duration::from_secs(10))), ["239.0.0.1 ChangeToInclude []"; 2]);
}

// RFC 9777 §5.2.14 (RFC9777-5.2.14-b).
#[test]
fn what_was_reported_without_an_address_is_reported_again() {
    let mut bench = Bench::new();
    bench.join(1);
    let include = SourceFilter::new(FilterMode::Include, vec![source(5)]);
    bench.change(group(2), None, Some(&include));
    bench.settle();
    bench.host.report_again(bench.now);
    let sent = bench.run(Duration::ZERO);
    assert_eq!(records(&sent), ["239.0.0.1 ChangeToExclude []", "239.0.0.2 AllowNewSources [10.0.0.5]"]);
    assert_eq!(sent.len(), 1);
    let kind = RecordKind::ChangeToExclude;
    assert!(matches!(&sent[0].1, Message::Report(records) if records[0].kind == kind));
}
