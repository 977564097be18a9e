//! Descriptors that are passed in messages (SCM_RIGHTS), and the collection of sockets that only
//! messages hold which nobody can receive.
//!
//! A passed socket is held like one with a descriptor. When nobody can receive a message any more,
//! the sockets that it passes are released, which may close them, and so on. They wait in a list,
//! so that a chain of any length is worked off without recursion, in batches; meanwhile the stack's
//! deadline is due.
//!
//! Sockets that were passed in a circle hold each other. They are found by counting: a socket is a
//! candidate if messages are all that holds it. A candidate that messages in the queue of another
//! socket hold, too, can be received, and so can what its own queue passes on. The rest is garbage.
//! This is the algorithm of Linux before 6.10 (`unix_gc`); since then Linux looks for strongly
//! connected components, with the same result.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;

use super::state::PassedSockets;
use crate::error::{Error, Result};
use crate::id::{OwnerId, SocketId};
use crate::socket::common::Common;
use crate::socket::record::{Holders, Socket};
use crate::time::Instant;

/// SCM_MAX_FD: the most descriptors in one message.
pub(super) const MAX_PASSED: usize = 253;

/// The descriptors in flight.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// How many each owner has in flight.
    by_owner: BTreeMap<OwnerId, usize>,
    /// The Unix-domain sockets in flight.
    in_flight: BTreeSet<SocketId>,
    /// Sockets that messages held which nobody has received, each as often as they held it.
    dropped: VecDeque<SocketId>,
    /// Sockets that nobody can reach, whose queues are to be emptied.
    garbage: VecDeque<SocketId>,
    /// How many sockets have become candidates since the last search began.
    losses: usize,
    /// When the first of `losses` was.
    lost_at: Option<Instant>,
    /// How many candidates the last search found to be reachable.
    survivors: usize,
    search: Search,
}

/// The search for sockets that nobody can reach.
///
/// It is done in steps, between which programs make calls. What they change can only concern
/// sockets that they can reach, so each socket that a message takes or gives up meanwhile is
/// reachable ([`reach`](Search::reach)), and what was unreachable when the search began remains so.
#[derive(Debug, Default)]
struct Search {
    phase: SearchPhase,
    candidates: BTreeMap<SocketId, SearchCandidate>,
    /// The last socket that this phase has handled.
    at: Option<SocketId>,
    /// Candidates that can be reached. What their queues pass on can be reached, too.
    reached: Vec<SocketId>,
    survivors: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SearchPhase {
    #[default]
    Idle,
    /// Collects the candidates.
    Collect,
    /// Counts how often candidates hold each candidate.
    Count,
    /// Reaches those that others hold, too.
    Seed,
    /// Reaches what can be received from those that are reached.
    Mark,
    /// Hands out the rest as garbage.
    Sweep,
}

/// How many sockets a step of the search handles.
const SEARCH_STEP: usize = 8;

/// A search begins at most so long after a socket has become a candidate.
const SEARCH_DELAY: Duration = Duration::from_secs(1);

impl Rights {
    /// A search costs as much as there are candidates, so it waits until their number has grown by
    /// a quarter.
    /// At most for [`SEARCH_DELAY`].
    fn search_due_at(&self, now: Instant) -> Option<Instant> {
        if self.losses > self.survivors / 4 { Some(now) } else { self.lost_at.map(|at| at + SEARCH_DELAY) }
    }

    /// When there is work to do.
    #[inline]
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        let has_work = !self.dropped.is_empty() || !self.garbage.is_empty();
        if has_work || self.search.phase != SearchPhase::Idle { Some(now) } else { self.search_due_at(now) }
    }

    /// Puts the sockets of descriptors into a message of this owner. EINVAL, ETOOMANYREFS.
    pub(super) fn pass(
        &mut self,
        common: &mut Common,
        owner: OwnerId,
        sockets: &[SocketId],
        limit: usize,
    ) -> Result<PassedSockets> {
        if sockets.len() > MAX_PASSED {
            return Err(Error::InvalidArgument);
        }
        // As on Linux, the last message may exceed the limit.
        if self.by_owner.get(&owner).copied().unwrap_or(0) > limit {
            return Err(Error::TooManyReferences);
        }
        let mut held = Vec::with_capacity(sockets.len());
        for &id in sockets {
            let Ok(socket) = common.record_mut(id) else { continue };
            let Some(holders) = socket.holders.plus_one() else { continue };
            socket.holders = holders;
            if let Ok(unix) = socket.unix_mut() {
                unix.in_flight += 1;
                self.in_flight.insert(id);
                self.search.reach(id);
            }
            held.push(id);
        }
        *self.by_owner.entry(owner).or_default() += held.len();
        Ok(PassedSockets { sockets: held, owner })
    }

    /// Takes the sockets out of a message. The caller gives each a descriptor, or
    /// [drops](Self::drop) it.
    pub(super) fn land(&mut self, common: &mut Common, passed: PassedSockets) -> Vec<SocketId> {
        let PassedSockets { sockets, owner } = passed;
        if let Some(count) = self.by_owner.get_mut(&owner) {
            *count -= sockets.len();
            if *count == 0 {
                self.by_owner.remove(&owner);
            }
        }
        for &id in &sockets {
            if let Ok(unix) = common.record_mut(id).and_then(Socket::unix_mut) {
                unix.in_flight -= 1;
                if unix.in_flight == 0 {
                    self.in_flight.remove(&id);
                }
                self.search.reach(id);
            }
        }
        sockets
    }

    /// Leaves sockets that a message has held to be released.
    pub(super) fn drop(&mut self, sockets: impl IntoIterator<Item = SocketId>) {
        self.dropped.extend(sockets);
    }

    /// The next socket that a message has held, for the caller to release.
    pub(super) fn next_dropped(&mut self) -> Option<SocketId> {
        self.dropped.pop_front()
    }

    /// The next socket that nobody can reach, for the caller to empty.
    pub(super) fn next_garbage(&mut self) -> Option<SocketId> {
        self.garbage.pop_front()
    }

    /// A descriptor of this socket is gone.
    pub(super) fn on_release(&mut self, common: &Common, now: Instant, id: SocketId) {
        if self.in_flight.contains(&id) && is_candidate(common, id) {
            self.losses += 1;
            self.lost_at.get_or_insert(now);
        }
    }

    /// A connection has left its listener's queue: what waits in its own queue can be received.
    pub(super) fn on_accepted(&mut self, common: &Common, id: SocketId) {
        if self.search.is_tracing() {
            for_each_passed(common, id, |passed| self.search.reach(passed));
        }
    }

    /// Begins a search, or continues it.
    pub(super) fn search(&mut self, common: &Common) {
        if self.search.phase == SearchPhase::Idle {
            (self.losses, self.lost_at) = (0, None);
            self.search.enter(SearchPhase::Collect);
        }
        for _ in 0..SEARCH_STEP {
            if !self.step(common) {
                return;
            }
        }
    }

    /// Handles one socket. Returns whether there is more to do.
    fn step(&mut self, common: &Common) -> bool {
        let search = &mut self.search;
        match search.phase {
            SearchPhase::Idle => return false,
            SearchPhase::Collect => match self.in_flight.range(behind(search.at)).next() {
                Some(&id) => {
                    search.at = Some(id);
                    if is_candidate(common, id) {
                        search.candidates.entry(id).or_default();
                    }
                }
                None => search.enter(SearchPhase::Count),
            },
            SearchPhase::Count => match search.next_candidate() {
                // A socket that is reached counts like others that hold a candidate.
                Some((_, candidate)) if candidate.is_reachable => {}
                Some((id, _)) => for_each_passed(common, id, |passed| {
                    if let Some(candidate) = search.candidates.get_mut(&passed) {
                        candidate.held_by_candidates += 1;
                    }
                }),
                None => search.enter(SearchPhase::Seed),
            },
            SearchPhase::Seed => match search.next_candidate() {
                Some((id, candidate)) if in_flight(common, id) > candidate.held_by_candidates => {
                    search.reach(id);
                }
                Some(_) => {}
                None => search.enter(SearchPhase::Mark),
            },
            SearchPhase::Mark => match search.reached.pop() {
                Some(id) => for_each_passed(common, id, |passed| {
                    if search.candidates.contains_key(&passed) {
                        search.reach(passed);
                    }
                }),
                None => search.enter(SearchPhase::Sweep),
            },
            SearchPhase::Sweep => match search.candidates.pop_first() {
                Some((_, candidate)) if candidate.is_reachable => search.survivors += 1,
                Some((id, _)) => self.garbage.push_back(id),
                None => {
                    self.survivors = search.survivors;
                    *search = Search::default();
                }
            },
        }
        true
    }
}

impl Search {
    fn enter(&mut self, phase: SearchPhase) {
        (self.phase, self.at) = (phase, None);
    }

    /// Whether it has yet to find out what can be reached.
    fn is_tracing(&self) -> bool {
        !matches!(self.phase, SearchPhase::Idle | SearchPhase::Sweep)
    }

    fn next_candidate(&mut self) -> Option<(SocketId, SearchCandidate)> {
        let (id, candidate) = self.candidates.range(behind(self.at)).next()?;
        self.at = Some(*id);
        Some((*id, *candidate))
    }

    /// Notes that a socket can be reached.
    fn reach(&mut self, id: SocketId) {
        if self.is_tracing() {
            let candidate = self.candidates.entry(id).or_default();
            if !candidate.is_reachable {
                candidate.is_reachable = true;
                self.reached.push(id);
            }
        }
    }
}

/// Everything behind this socket.
fn behind(id: Option<SocketId>) -> (Bound<SocketId>, Bound<SocketId>) {
    (id.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// A socket that only messages hold.
#[derive(Clone, Copy, Debug, Default)]
struct SearchCandidate {
    held_by_candidates: u32,
    is_reachable: bool,
}

fn in_flight(common: &Common, id: SocketId) -> u32 {
    common.record(id).and_then(Socket::unix).map_or(0, |unix| unix.in_flight)
}

fn is_candidate(common: &Common, id: SocketId) -> bool {
    let in_flight = in_flight(common, id);
    let holders = common.record(id).map(|socket| socket.holders);
    matches!(holders, Ok(Holders::Descriptors(count)) if count.get() == in_flight)
}

/// Every socket that messages to this one pass on, or messages to a connection that it has yet to
/// accept.
fn for_each_passed(common: &Common, id: SocketId, mut each: impl FnMut(SocketId)) {
    let Ok(unix) = common.record(id).and_then(Socket::unix) else { return };
    for id in core::iter::once(id).chain(unix.pending.iter().copied()) {
        let Ok(unix) = common.record(id).and_then(Socket::unix) else { continue };
        let passed = unix.queue.iter().filter_map(|message| message.rights.as_deref());
        passed.flat_map(|passed| &passed.sockets).for_each(|id| each(*id));
    }
}
