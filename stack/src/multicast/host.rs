//! The host's part of IGMP and MLD on one interface, for one family: when to report what.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use super::filter::SourceFilter;
use super::group::{GroupState, MembershipChange};
use super::is_reported;
use super::message::{GroupRecord, Message, Query, Version, reports};
use crate::config::MulticastConfig;
use crate::rng::Rng;
use crate::time::Instant;
use crate::timers::TimerQueue;

/// Query Interval (RFC 9776 §8.2, RFC 9777 §9.2), until a querier names another.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Unsolicited Report Interval (RFC 9776 §8.11, RFC9776-8.11; RFC 9777 §9.11).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the Max Response Time counts in IGMP's Older Version Querier Present Interval (RFC
/// 9776 §8.12).
const OLD_QUERIER_RESPONSES: u32 = 10;
/// Unsolicited Report Interval of the old versions (RFC 2236 §8.10, RFC 2710 §7.10).
const OLD_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The most groups that are reported in one call; the others stay due.
const MAX_GROUPS_AT_ONCE: usize = 256;

/// The groups of one family that an interface listens to, and what routers are told about them.
#[derive(Debug)]
pub(super) struct GroupHost {
    protocol: GroupProtocol,
    groups: BTreeMap<IpAddr, GroupState>,
    timers: TimerQueue<(IpAddr, Purpose)>,
    /// The answer to a general query that is due. In old versions: when the groups that have not
    /// answered yet must.
    general: Option<GeneralAnswer>,
    /// In old versions: all groups answer a general query by then.
    old_answers_until: Option<Instant>,
    /// The version that is spoken, and the times until which queriers of old versions are taken to
    /// be there: IGMPv2 or MLDv1, and IGMPv1 (RFC 9776 §7.2.1, RFC 9777 §8.2.1).
    version: Version,
    old_until: Option<Instant>,
    oldest_until: Option<Instant>,
    /// Whether old versions are spoken to old queriers.
    speaks_old: bool,
    /// The robustness variable if no querier names one.
    default_robustness: u8,
    robustness: u8,
    query_interval: Duration,
}

/// The protocol of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupProtocol {
    /// IPv4.
    Igmp,
    /// IPv6.
    Mld,
}

/// A timer of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// A change is to be reported.
    Change,
    /// A query is to be answered.
    Answer,
}

/// The answer to a general query, which names all groups.
#[derive(Clone, Copy, Debug)]
struct GeneralAnswer {
    at: Instant,
    /// The last group that was reported, once it has begun.
    after: Option<IpAddr>,
}

impl GroupHost {
    pub(super) fn new(protocol: GroupProtocol, config: &MulticastConfig) -> Self {
        let robustness = config.robustness.max(1);
        GroupHost {
            protocol,
            groups: BTreeMap::new(),
            timers: TimerQueue::new(),
            general: None,
            old_answers_until: None,
            version: Version::Current,
            old_until: None,
            oldest_until: None,
            speaks_old: config.old_versions,
            default_robustness: robustness,
            robustness,
            query_interval: QUERY_INTERVAL,
        }
    }

    /// The groups with members.
    pub(super) fn groups(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.groups.iter().filter(|(_, group)| group.has_members()).map(|(&addr, _)| addr)
    }

    /// Whether there are members of this group that want packets from this source; `None` if there
    /// are no members at all.
    pub(super) fn allows(&self, group: IpAddr, source: IpAddr) -> Option<bool> {
        let group = self.groups.get(&group).filter(|group| group.has_members())?;
        Some(group.allows(source))
    }

    /// The number of sources that the members of this group list.
    pub(super) fn source_count(&self, group: IpAddr) -> usize {
        self.groups.get(&group).map_or(0, GroupState::source_count)
    }

    /// Replaces the filter of a member: `old` is `None` for a new one, `new` for one that leaves.
    /// `is_silent`: a new group is not reported.
    pub(super) fn replace(
        &mut self,
        now: Instant,
        addr: IpAddr,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
        is_silent: bool,
    ) -> MembershipChange {
        self.renew_version(now);
        let (version, robustness) = (self.version, self.robustness);
        let group = self.groups.entry(addr).or_default();
        if !group.has_members() {
            group.is_silent = is_silent || !is_reported(addr);
        }
        let change = group.replace(robustness, old, new);
        if group.is_silent {
            group.report_membership(0);
        } else if version != Version::Current {
            match change {
                MembershipChange::Joined => group.report_membership(robustness),
                // One message says that the host has left.
                MembershipChange::Left => group.report_membership(1),
                MembershipChange::Filter => {}
            }
        }
        if group.has_changes() {
            group.change_at = Some(now);
            self.timers.arm(&mut group.change_timer, (addr, Purpose::Change), group.change_at);
        }
        self.forget_if_over(addr);
        change
    }

    /// Reports every group again, as after a change: the address from which the first reports came
    /// was not yet valid (RFC 9777 §5.2.14).
    pub(super) fn report_again(&mut self, now: Instant) {
        let GroupHost { groups, timers, robustness, .. } = self;
        for (&addr, group) in groups {
            if group.has_members() && !group.is_silent {
                group.report_state(*robustness);
                group.change_at = Some(now);
                timers.arm(&mut group.change_timer, (addr, Purpose::Change), group.change_at);
            }
        }
    }

    /// Handles a query (RFC 9776 §5.2, RFC 9777 §6.2).
    pub(super) fn handle_query(&mut self, now: Instant, rng: &mut Rng, query: &Query) {
        // RFC 9776 §7.2.1 (RFC9776-7.2.1-f): this network has no old queriers.
        if !self.speaks_old && query.version != Version::Current {
            return;
        }
        self.learn(now, query);
        let at = now + delay(rng, query.max_response);
        let is_general = query.group.is_none();
        if self.version != Version::Current && is_general {
            return self.ask_all(now, rng, query.max_response);
        }
        // Rule 1: the answer to a general query, which comes sooner, answers this one, too. Rule 2
        // says that a new general query replaces the pending answer to an older one; like Linux we
        // keep the earlier time, so that queries in a row cannot put off the answer for ever.
        if self.general.is_some_and(|general| general.at <= at) {
            return;
        }
        let Some(addr) = query.group else {
            self.general = Some(GeneralAnswer { at, after: None });
            return;
        };
        if let Some(group) = self.groups.get_mut(&addr)
            && group.has_members()
            && !group.is_silent
        {
            group.ask(at, &query.sources);
            self.timers.arm(
                &mut group.answer_timer,
                (addr, Purpose::Answer),
                group.answer.as_ref().map(|answer| answer.at),
            );
        }
    }

    /// Learns from a query which version the querier speaks, and its parameters.
    fn learn(&mut self, now: Instant, query: &Query) {
        match query.version {
            // RFC 9776 §7.2.1 (RFC9776-7.2.1-e), RFC 9777 §8.2.1 (RFC9777-8.2.1): an old query
            // about one group does not change the version.
            Version::Oldest | Version::Old if query.group.is_some() => {}
            Version::Oldest => self.oldest_until = Some(now + self.old_querier_interval(query)),
            Version::Old => self.old_until = Some(now + self.old_querier_interval(query)),
            Version::Current => {
                let named = Some(query.robustness).filter(|&robustness| robustness > 0);
                self.robustness = named.unwrap_or(self.default_robustness);
                let named = Some(query.interval).filter(|interval| !interval.is_zero());
                self.query_interval = named.unwrap_or(QUERY_INTERVAL);
            }
        }
        self.renew_version(now);
    }

    /// The Older Version Querier Present Interval after this query: for IGMP (RFC 9776 §8.12,
    /// RFC9776-8.12) of the default values, because an old query names none, for MLD (RFC 9777
    /// §9.12, RFC9777-9.12) of those that the last querier named.
    fn old_querier_interval(&self, query: &Query) -> Duration {
        match self.protocol {
            GroupProtocol::Igmp => {
                let intervals = QUERY_INTERVAL * u32::from(self.default_robustness);
                intervals + query.max_response * OLD_QUERIER_RESPONSES
            }
            GroupProtocol::Mld => self.query_interval * u32::from(self.robustness) + query.max_response,
        }
    }

    /// Answers a general query in an old version: each group at a time of its own (RFC 2236 §3).
    /// The work grows with the groups, so while answers are pending another query costs none of
    /// it. If that query allows less time, what has not been answered by then is answered at once.
    fn ask_all(&mut self, now: Instant, rng: &mut Rng, max_response: Duration) {
        let until = now + max_response;
        if let Some(pending) = self.old_answers_until.filter(|&pending| now < pending) {
            if until < pending {
                self.old_answers_until = Some(until);
                self.general = Some(GeneralAnswer { at: until, after: None });
            }
            return;
        }
        self.old_answers_until = Some(until);
        let GroupHost { groups, timers, .. } = self;
        for (&addr, group) in groups {
            if group.has_members() && !group.is_silent {
                group.ask(now + delay(rng, max_response), &[]);
                let at = group.answer.as_ref().map(|answer| answer.at);
                timers.arm(&mut group.answer_timer, (addr, Purpose::Answer), at);
            }
        }
    }

    /// Another host has reported this group in an old version, so that we need not (RFC 2236 §3,
    /// RFC 2710 §4).
    pub(super) fn handle_old_report(&mut self, now: Instant, addr: IpAddr) {
        self.renew_version(now);
        if self.version != Version::Current
            && let Some(group) = self.groups.get_mut(&addr)
            && group.has_members()
        {
            group.answer = None;
            group.report_membership(0);
            group.change_at = None;
            group.is_last_reporter = false;
        }
    }

    /// Speaks the version of the oldest querier that is there. If that is another than before, all
    /// that is pending is cancelled (RFC 9776 §7.2.1, RFC 9777 §8.2.1).
    fn renew_version(&mut self, now: Instant) {
        let is_there = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let version = match (is_there(self.oldest_until), is_there(self.old_until)) {
            (true, _) => Version::Oldest,
            (false, true) => Version::Old,
            (false, false) => Version::Current,
        };
        if version == self.version {
            return;
        }
        log::debug!("multicast: {version:?} is spoken instead of {:?}", self.version);
        self.version = version;
        self.general = None;
        self.old_answers_until = None;
        for group in self.groups.values_mut() {
            group.report_membership(0);
            group.change_at = None;
            group.answer = None;
        }
        let timers = &mut self.timers;
        self.groups.retain(|&addr, group| {
            let stays = group.has_members();
            if !stays {
                disarm(timers, addr, group);
            }
            stays
        });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| at);
        self.general.map(|general| general.at).into_iter().chain(timer).min()
    }

    /// The messages that are due, none of which is longer than `max_len` bytes.
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng, max_len: usize) -> Vec<Message> {
        self.renew_version(now);
        let (mut records, mut messages, mut count) = (Vec::new(), Vec::new(), 0);
        // Groups that are reported together are reported again together.
        let mut again_at = None;
        while count < MAX_GROUPS_AT_ONCE
            && let Some((addr, purpose)) = self.timers.pop_due(now)
        {
            count += 1;
            let Some(group) = self.groups.get_mut(&addr) else { continue };
            match purpose {
                Purpose::Change => {
                    group.change_timer.fired();
                    if group.change_at.is_some_and(|at| at <= now) {
                        let interval = match self.version {
                            Version::Current => {
                                records.extend(group.take_change_records(addr));
                                REPORT_INTERVAL
                            }
                            version => {
                                messages.extend(old_change(group, addr, version));
                                OLD_REPORT_INTERVAL
                            }
                        };
                        if group.has_changes() {
                            group.change_at =
                                Some(*again_at.get_or_insert_with(|| now + delay(rng, interval)));
                        } else {
                            group.change_at = None;
                        }
                    }
                    self.timers.arm(&mut group.change_timer, (addr, Purpose::Change), group.change_at);
                }
                Purpose::Answer => {
                    group.answer_timer.fired();
                    if let Some(answer) = group.answer.take_if(|answer| answer.at <= now) {
                        match self.version {
                            Version::Current => records.extend(group.answer_record(addr, &answer)),
                            version if group.has_members() => {
                                group.is_last_reporter = true;
                                messages.push(Message::OldReport(version, addr));
                            }
                            _ => {}
                        }
                    }
                    let at = group.answer.as_ref().map(|answer| answer.at);
                    self.timers.arm(&mut group.answer_timer, (addr, Purpose::Answer), at);
                }
            }
            self.forget_if_over(addr);
        }
        self.answer_general(now, MAX_GROUPS_AT_ONCE.saturating_sub(count), &mut records, &mut messages);
        messages.extend(reports(records, max_len));
        messages
    }

    /// Adds the answer to a general query, if it is due, of at most `max` groups.
    fn answer_general(
        &mut self,
        now: Instant,
        max: usize,
        records: &mut Vec<GroupRecord>,
        messages: &mut Vec<Message>,
    ) {
        let Some(general) = self.general.filter(|general| general.at <= now) else { return };
        let after = general.after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut count, mut last) = (0, general.after);
        for (&addr, group) in self.groups.range_mut((after, Bound::Unbounded)).take(max) {
            (count, last) = (count + 1, Some(addr));
            if !group.has_members() || group.is_silent {
                continue;
            }
            match self.version {
                Version::Current => records.extend(group.current_record(addr)),
                version if group.answer.take().is_some() => {
                    group.is_last_reporter = true;
                    messages.push(Message::OldReport(version, addr));
                }
                _ => {}
            }
        }
        self.general = (count == max).then_some(GeneralAnswer { after: last, ..general });
    }

    /// Forgets a group without members about which nothing is to be reported.
    fn forget_if_over(&mut self, addr: IpAddr) {
        if let Some(group) = self.groups.get_mut(&addr)
            && !group.has_members()
            && !group.has_changes()
        {
            disarm(&mut self.timers, addr, group);
            self.groups.remove(&addr);
        }
    }
}

/// Removes the timers of a group.
fn disarm(timers: &mut TimerQueue<(IpAddr, Purpose)>, addr: IpAddr, group: &mut GroupState) {
    timers.disarm(&mut group.change_timer, (addr, Purpose::Change));
    timers.disarm(&mut group.answer_timer, (addr, Purpose::Answer));
}

/// What is said about a change in an old version: that the host is a member, or, if no other host
/// has said so since we did, that it has left (RFC 2236 §3, RFC 2710 §4). Hosts leave silently in
/// IGMPv1.
fn old_change(group: &mut GroupState, addr: IpAddr, version: Version) -> Option<Message> {
    if !group.take_membership_report() {
        return None;
    }
    if group.has_members() {
        group.is_last_reporter = true;
        return Some(Message::OldReport(version, addr));
    }
    (group.is_last_reporter && version == Version::Old).then_some(Message::Leave(addr))
}

/// A random delay of at most `max`.
fn delay(rng: &mut Rng, max: Duration) -> Duration {
    Duration::from_nanos(rng.below((max.as_nanos() as u64).max(1)) + 1)
}

#[cfg(test)]
mod tests;
