//! One group on one interface: the union of what its members ask for, and what is still to be
//! reported about it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::filter::{FilterMode, SourceFilter};
use super::message::{GroupRecord, RecordKind};
use crate::time::Instant;
use crate::timers::Armed;

/// The most sources that a pending answer lists: RFC 9776 §9.1 proposes a limit. A query about more
/// is answered with the whole filter of the group, as one about the group is.
const MAX_ASKED: usize = 64;

/// The reception state of a group on an interface (RFC 9776 §3.2, RFC 9777 §4.2).
///
/// It counts how many members have which filter, so that the union need not be computed from all
/// members when one of them changes.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// The members with an exclude filter.
    excluders: u32,
    /// The members with an include filter.
    includers: u32,
    sources: BTreeMap<IpAddr, Source>,
    /// How often it is still to be reported that the filter mode has changed; in old versions of
    /// the protocols, that the host is a member or has left.
    mode_reports_left: u8,
    /// When the next report about a change is due.
    pub(super) change_at: Option<Instant>,
    pub(super) change_timer: Armed,
    /// The answer to a query that is due.
    pub(super) answer: Option<Answer>,
    pub(super) answer_timer: Armed,
    /// In old versions of the protocols: no other host has reported the group after us.
    pub(super) is_last_reporter: bool,
    /// Its members are not reported to routers.
    pub(super) is_silent: bool,
}

/// A source that members list.
#[derive(Debug, Default)]
struct Source {
    /// The members that exclude it.
    excluders: u32,
    /// The members that include it.
    includers: u32,
    /// How often it is still to be reported that it was added to the filter or removed.
    reports_left: u8,
}

/// A pending answer to queries about one group.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) at: Instant,
    /// The sources that were asked about; empty if the question was about the whole group.
    asked: Vec<IpAddr>,
}

/// How the members of a group changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MembershipChange {
    /// The first member joined.
    Joined,
    /// The last member left.
    Left,
    /// There were members before, and there are now.
    Filter,
}

impl GroupState {
    pub(super) fn has_members(&self) -> bool {
        self.excluders + self.includers > 0
    }

    /// The filter mode of the union: EXCLUDE if any member has it.
    pub(super) fn mode(&self) -> FilterMode {
        if self.excluders > 0 { FilterMode::Exclude } else { FilterMode::Include }
    }

    /// Whether a source is in the list of the union: if the mode is EXCLUDE, all members with an
    /// exclude filter list it, and none includes it.
    fn lists(&self, source: &Source) -> bool {
        match self.mode() {
            FilterMode::Include => source.includers > 0,
            FilterMode::Exclude => source.excluders == self.excluders && source.includers == 0,
        }
    }

    /// The sources in the list of the union.
    fn list(&self) -> Vec<IpAddr> {
        let listed = self.sources.iter().filter(|(_, source)| self.lists(source));
        listed.map(|(&addr, _)| addr).collect()
    }

    /// Whether any member wants packets from this source.
    pub(super) fn allows(&self, source: IpAddr) -> bool {
        let is_listed = self.sources.get(&source).is_some_and(|source| self.lists(source));
        is_listed == (self.mode() == FilterMode::Include)
    }

    /// The number of sources that are counted.
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Replaces the filter of a member: `old` is `None` for a new one, `new` for one that leaves.
    /// What changed in the union is to be reported `robustness` times.
    pub(super) fn replace(
        &mut self,
        robustness: u8,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
    ) -> MembershipChange {
        let (had_members, old_mode) = (self.has_members(), self.mode());
        let old_list = self.list();
        if let Some(filter) = new {
            self.count(filter, 1);
        }
        if let Some(filter) = old {
            self.count(filter, -1);
        }
        if self.mode() == old_mode {
            let changed = self
                .sources
                .iter()
                .filter(|&(addr, source)| self.lists(source) != old_list.binary_search(addr).is_ok());
            let changed: Vec<IpAddr> = changed.map(|(&addr, _)| addr).collect();
            for addr in changed {
                if let Some(source) = self.sources.get_mut(&addr) {
                    source.reports_left = robustness;
                }
            }
        } else {
            // RFC 9776 §5.1 (RFC9776-5.1-b): a change of the mode is reported with the whole list.
            self.mode_reports_left = robustness;
            self.sources.values_mut().for_each(|source| source.reports_left = 0);
        }
        self.forget_unlisted();
        match (had_members, self.has_members()) {
            (false, true) => MembershipChange::Joined,
            (true, false) => MembershipChange::Left,
            _ => MembershipChange::Filter,
        }
    }

    /// Counts a member's filter once more or once less.
    fn count(&mut self, filter: &SourceFilter, by: i32) {
        let add = |count: &mut u32| *count = count.saturating_add_signed(by);
        match filter.mode {
            FilterMode::Include => add(&mut self.includers),
            FilterMode::Exclude => add(&mut self.excluders),
        }
        for &addr in &filter.sources {
            let source = self.sources.entry(addr).or_default();
            match filter.mode {
                FilterMode::Include => add(&mut source.includers),
                FilterMode::Exclude => add(&mut source.excluders),
            }
        }
    }

    /// Forgets sources that no member lists and that are not to be reported.
    fn forget_unlisted(&mut self) {
        self.sources
            .retain(|_, source| source.excluders + source.includers + u32::from(source.reports_left) > 0);
    }

    /// Whether a change is still to be reported.
    pub(super) fn has_changes(&self) -> bool {
        self.mode_reports_left > 0 || self.sources.values().any(|source| source.reports_left > 0)
    }

    /// Reports only whether the host is a member, this many times, as old versions of the protocols
    /// do.
    pub(super) fn report_membership(&mut self, times: u8) {
        self.mode_reports_left = times;
        self.sources.values_mut().for_each(|source| source.reports_left = 0);
        self.forget_unlisted();
    }

    /// Reports the whole filter again, this many times.
    pub(super) fn report_state(&mut self, times: u8) {
        match self.mode() {
            FilterMode::Exclude => self.mode_reports_left = times,
            FilterMode::Include => {
                self.sources.values_mut().filter(|source| source.includers > 0).for_each(|source| {
                    source.reports_left = times;
                });
            }
        }
    }

    /// Takes one report about the membership; `false` if none is left.
    pub(super) fn take_membership_report(&mut self) -> bool {
        let is_left = self.mode_reports_left > 0;
        self.mode_reports_left -= u8::from(is_left);
        is_left
    }

    /// The records of the next report about changes (RFC 9776 §5.1).
    pub(super) fn take_change_records(&mut self, group: IpAddr) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        if self.mode_reports_left > 0 {
            self.mode_reports_left -= 1;
            let kind = match self.mode() {
                FilterMode::Include => RecordKind::ChangeToInclude,
                FilterMode::Exclude => RecordKind::ChangeToExclude,
            };
            let sources = self.list();
            for addr in &sources {
                if let Some(source) = self.sources.get_mut(addr) {
                    source.reports_left = source.reports_left.saturating_sub(1);
                }
            }
            records.push(GroupRecord { kind, group, sources });
        } else {
            let changed = self.sources.iter().filter(|(_, source)| source.reports_left > 0);
            let is_allowed = |source| self.lists(source) == (self.mode() == FilterMode::Include);
            let (allowed, blocked): (Vec<_>, Vec<_>) = changed.partition(|&(_, source)| is_allowed(source));
            let lists = [(RecordKind::AllowNewSources, allowed), (RecordKind::BlockOldSources, blocked)];
            for (kind, sources) in lists.into_iter().filter(|(_, sources)| !sources.is_empty()) {
                let sources = sources.into_iter().map(|(&addr, _)| addr).collect();
                records.push(GroupRecord { kind, group, sources });
            }
            self.sources
                .values_mut()
                .for_each(|source| source.reports_left = source.reports_left.saturating_sub(1));
        }
        self.forget_unlisted();
        records
    }

    /// Notes that a query about these sources, or about the whole group, is to be answered at `at`
    /// (RFC 9776 §5.2, rules 3 to 5).
    pub(super) fn ask(&mut self, at: Instant, sources: &[IpAddr]) {
        let sources = if sources.len() > MAX_ASKED { &[] } else { sources };
        let Some(answer) = &mut self.answer else {
            self.answer = Some(Answer { at, asked: sources.to_vec() });
            return;
        };
        answer.at = answer.at.min(at);
        if sources.is_empty() || answer.asked.is_empty() || answer.asked.len() + sources.len() > MAX_ASKED {
            answer.asked.clear();
        } else {
            let new = sources.iter().filter(|source| !answer.asked.contains(source)).copied();
            let new: Vec<IpAddr> = new.collect();
            answer.asked.extend(new);
        }
    }

    /// The record that answers a query about the whole group; `None` if there is nothing to say.
    pub(super) fn current_record(&self, group: IpAddr) -> Option<GroupRecord> {
        let sources = self.list();
        let kind = match self.mode() {
            FilterMode::Include if sources.is_empty() => return None,
            FilterMode::Include => RecordKind::ModeIsInclude,
            FilterMode::Exclude => RecordKind::ModeIsExclude,
        };
        Some(GroupRecord { kind, group, sources })
    }

    /// The record that answers a query (RFC 9776 §5.2): of the sources that were asked about, those
    /// from which packets are wanted.
    pub(super) fn answer_record(&self, group: IpAddr, answer: &Answer) -> Option<GroupRecord> {
        if answer.asked.is_empty() {
            return self.current_record(group);
        }
        let mut sources = answer.asked.clone();
        sources.retain(|&source| self.allows(source));
        let kind = RecordKind::ModeIsInclude;
        (!sources.is_empty()).then_some(GroupRecord { kind, group, sources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec;
    use core::net::Ipv4Addr;

    const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));

    fn addr(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn filter(mode: FilterMode, sources: &[u8]) -> SourceFilter {
        SourceFilter { mode, sources: sources.iter().map(|&last| addr(last)).collect() }
    }

    fn include(sources: &[u8]) -> SourceFilter {
        filter(FilterMode::Include, sources)
    }

    fn exclude(sources: &[u8]) -> SourceFilter {
        filter(FilterMode::Exclude, sources)
    }

    /// The records as text: `TO_EX 1 2`.
    fn said(records: &[GroupRecord]) -> Vec<std::string::String> {
        let text = |record: &GroupRecord| {
            let sources = record.sources.iter().map(|source| match source {
                IpAddr::V4(source) => std::format!(" {}", source.octets()[3]),
                IpAddr::V6(_) => unreachable!(),
            });
            std::format!("{:?}{}", record.kind, sources.collect::<std::string::String>())
        };
        records.iter().map(text).collect()
    }

    /// Replaces a filter, and returns what is said about it the first time.
    fn change(
        group: &mut GroupState,
        old: Option<SourceFilter>,
        new: Option<SourceFilter>,
    ) -> Vec<std::string::String> {
        group.replace(1, old.as_ref(), new.as_ref());
        let records = said(&group.take_change_records(GROUP));
        assert!(!group.has_changes());
        records
    }

    // RFC 9776 §5.1 (RFC9776-5.1-a, RFC9776-5.1-b): the table of the records for each change.
    #[test]
    fn rfc_9776_5_1_what_is_said_about_a_change() {
        let mut group = GroupState::default();
        assert_eq!(change(&mut group, None, Some(include(&[1, 2]))), ["AllowNewSources 1 2"]);
        let (from, to) = (include(&[1, 2]), include(&[2, 3]));
        assert_eq!(change(&mut group, Some(from), Some(to)), ["AllowNewSources 3", "BlockOldSources 1"]);
        assert_eq!(change(&mut group, Some(include(&[2, 3])), Some(exclude(&[4]))), ["ChangeToExclude 4"]);
        let (from, to) = (exclude(&[4]), exclude(&[5]));
        assert_eq!(change(&mut group, Some(from), Some(to)), ["AllowNewSources 4", "BlockOldSources 5"]);
        assert_eq!(change(&mut group, Some(exclude(&[5])), Some(include(&[6]))), ["ChangeToInclude 6"]);
        assert_eq!(change(&mut group, Some(include(&[6])), None), ["BlockOldSources 6"]);
        assert_eq!(change(&mut group, None, Some(exclude(&[]))), ["ChangeToExclude"]);
        assert_eq!(
            change(&mut group, None, Some(exclude(&[1]))),
            [""; 0],
            "a second member, which wants less"
        );
        assert_eq!(change(&mut group, Some(exclude(&[1])), None), [""; 0]);
        assert_eq!(change(&mut group, Some(exclude(&[])), None), ["ChangeToInclude"]);
        assert!(!group.has_members() && group.sources.is_empty());
    }

    // RFC 9776 §5.1 (RFC9776-5.1-c): changes are merged into what is still to be said.
    #[test]
    fn changes_before_the_last_report_are_merged_into_the_next() {
        let mut group = GroupState::default();
        group.replace(2, None, Some(&include(&[1])));
        assert_eq!(said(&group.take_change_records(GROUP)), ["AllowNewSources 1"]);
        group.replace(2, Some(&include(&[1])), Some(&include(&[2])));
        assert_eq!(said(&group.take_change_records(GROUP)), ["AllowNewSources 2", "BlockOldSources 1"]);
        group.replace(2, Some(&include(&[2])), Some(&exclude(&[])));
        group.replace(2, Some(&exclude(&[])), Some(&exclude(&[7])));
        assert_eq!(said(&group.take_change_records(GROUP)), ["ChangeToExclude 7"]);
        assert_eq!(said(&group.take_change_records(GROUP)), ["ChangeToExclude 7"]);
        assert!(!group.has_changes());
    }

    // RFC 9776 §5.2 (RFC9776-5.2-c, RFC9776-5.2-d, RFC9776-5.2-e).
    #[test]
    fn rfc_9776_5_2_what_a_query_is_answered() {
        let at = Instant::from_secs(1);
        let answer = |group: &mut GroupState, asked: &[&[u8]]| {
            group.answer = None;
            for (index, sources) in asked.iter().enumerate() {
                let sources: Vec<IpAddr> = sources.iter().map(|&last| addr(last)).collect();
                group.ask(at + core::time::Duration::from_secs(index as u64), &sources);
            }
            let answer = group.answer.take().unwrap();
            assert_eq!(answer.at, at, "the earliest");
            group.answer_record(GROUP, &answer).map(|record| said(&[record]).remove(0))
        };
        let mut group = GroupState::default();
        group.replace(1, None, Some(&include(&[1, 2])));
        assert_eq!(answer(&mut group, &[&[]]).as_deref(), Some("ModeIsInclude 1 2"));
        assert_eq!(answer(&mut group, &[&[2, 3]]).as_deref(), Some("ModeIsInclude 2"));
        assert_eq!(answer(&mut group, &[&[3]]), None);
        group.replace(1, Some(&include(&[1, 2])), Some(&exclude(&[1])));
        assert_eq!(answer(&mut group, &[&[]]).as_deref(), Some("ModeIsExclude 1"));
        assert_eq!(answer(&mut group, &[&[1, 2], &[3]]).as_deref(), Some("ModeIsInclude 2 3"));
        assert_eq!(answer(&mut group, &[&[2], &[]]).as_deref(), Some("ModeIsExclude 1"));
        assert_eq!(answer(&mut group, &[&[], &[2]]).as_deref(), Some("ModeIsExclude 1"));
        let many: Vec<u8> = (0..=MAX_ASKED as u8).collect();
        assert_eq!(answer(&mut group, &[&many]).as_deref(), Some("ModeIsExclude 1"));
        assert_eq!(answer(&mut group, &[&many[..40], &many[40..]]).as_deref(), Some("ModeIsExclude 1"));
    }

    // RFC 9776 §3.2 (RFC9776-3.2-a): the union, against one that is computed from all members.
    #[test]
    fn the_union_is_what_the_members_ask_for() {
        let mut rng = Rng::new([5; 32]);
        for _ in 0..200 {
            let (mut group, mut members): (GroupState, Vec<SourceFilter>) = (GroupState::default(), vec![]);
            for _ in 0..40 {
                let random = |rng: &mut Rng| {
                    let mode = [FilterMode::Include, FilterMode::Exclude][rng.below(2) as usize];
                    let sources = (0..6).filter(|_| rng.below(2) == 0).map(addr).collect();
                    SourceFilter { mode, sources }
                };
                let old = (!members.is_empty() && rng.below(2) == 0)
                    .then(|| members.swap_remove(rng.below(members.len() as u64) as usize));
                let new = (rng.below(3) > 0).then(|| random(&mut rng));
                group.replace(2, old.as_ref(), new.as_ref());
                members.extend(new);
                if rng.below(3) == 0 {
                    group.take_change_records(GROUP);
                }
                assert_eq!(group.has_members(), !members.is_empty());
                for source in (0..8).map(addr) {
                    let wanted = members.iter().any(|member| member.allows(source));
                    assert_eq!(group.allows(source), wanted, "{members:?} {source}");
                }
            }
        }
    }

    /// A router that applies each record knows the filter of the host in the end.
    #[test]
    fn what_is_reported_leads_a_router_to_the_filter_of_the_host() {
        let mut rng = Rng::new([6; 32]);
        for _ in 0..200 {
            let mut group = GroupState::default();
            let mut router = include(&[]);
            let mut member = None;
            for _ in 0..20 {
                let mode = [FilterMode::Include, FilterMode::Exclude][rng.below(2) as usize];
                let sources: Vec<IpAddr> = (0..5).filter(|_| rng.below(2) == 0).map(addr).collect();
                let new = (rng.below(4) > 0).then_some(SourceFilter { mode, sources });
                group.replace(2, member.as_ref(), new.as_ref());
                member = new;
                for _ in 0..rng.below(4) {
                    group.take_change_records(GROUP).iter().for_each(|record| apply(&mut router, record));
                }
            }
            while group.has_changes() {
                group.take_change_records(GROUP).iter().for_each(|record| apply(&mut router, record));
            }
            let member = member.unwrap_or(include(&[]));
            for source in (0..6).map(addr) {
                assert_eq!(router.allows(source), member.allows(source), "{member:?} {router:?}");
            }
        }
    }

    fn apply(router: &mut SourceFilter, record: &GroupRecord) {
        let allows = match record.kind {
            RecordKind::AllowNewSources => true,
            RecordKind::BlockOldSources => false,
            RecordKind::ChangeToInclude => {
                *router = SourceFilter { mode: FilterMode::Include, sources: record.sources.clone() };
                return;
            }
            RecordKind::ChangeToExclude => {
                *router = SourceFilter { mode: FilterMode::Exclude, sources: record.sources.clone() };
                return;
            }
            RecordKind::ModeIsInclude | RecordKind::ModeIsExclude => unreachable!(),
        };
        for source in &record.sources {
            router.sources.retain(|listed| listed != source);
            if allows == (router.mode == FilterMode::Include) {
                router.sources.push(*source);
            }
        }
    }
}
