//! [`PendingTable`]: the connections that wait for a decision, and how many each source may have.

use alloc::collections::{BTreeMap, BTreeSet};

use super::pending::PendingSyn;
use crate::config::InterceptionConfig;
use crate::id::{PendingId, SocketId};
use crate::rate_limit::PeerKey;
use crate::slab::Slab;
use crate::time::Instant;

/// The pending connections, and the accepted ones as far as limits concern them.
#[derive(Debug)]
pub(in crate::socket::tcp) struct PendingTable {
    records: Slab<PendingId, PendingSyn>,
    /// In the order in which they make room for others.
    order: BTreeSet<(Seniority, PendingId)>,
    /// The same for each source.
    of_source: BTreeSet<(PeerKey, Seniority, PendingId)>,
    counts: BTreeMap<PeerKey, SourceCounts>,
    /// The sources of connections that were accepted and whose sockets are open.
    accepted: BTreeMap<SocketId, PeerKey>,
}

/// The place in the order in which pending connections make room: those whose SYN was never
/// repeated first, as a source that exists repeats it, and of these the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seniority {
    is_repeated: bool,
    since: Instant,
}

impl Seniority {
    fn of(pending: &PendingSyn) -> Seniority {
        Seniority { is_repeated: pending.is_repeated, since: pending.since }
    }
}

/// What one source has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SourceCounts {
    pending: u32,
    accepted: u32,
}

/// Whether there is room for another pending connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum PendingRoom {
    Free,
    /// If this one goes.
    Instead(PendingId),
    /// The source, or all sources together, have as many connections as they may have.
    None,
}

impl PendingTable {
    pub(super) fn new() -> PendingTable {
        PendingTable {
            records: Slab::new(),
            order: BTreeSet::new(),
            of_source: BTreeSet::new(),
            counts: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    pub(in crate::socket::tcp) fn get(&self, id: PendingId) -> Option<&PendingSyn> {
        self.records.get(id)
    }

    /// A record, of which the caller changes nothing that it is sorted by.
    pub(super) fn get_mut(&mut self, id: PendingId) -> Option<&mut PendingSyn> {
        self.records.get_mut(id)
    }

    /// The room for another one from this source.
    pub(super) fn room_for(&self, config: &InterceptionConfig, source: PeerKey) -> PendingRoom {
        let counts = self.counts.get(&source).copied().unwrap_or_default();
        let is_over = self.accepted.len() >= config.max_connections
            || counts.accepted as usize >= config.max_connections_per_source;
        let first_of = |source| {
            let after = (source, Seniority { is_repeated: false, since: Instant::ZERO }, PendingId::FIRST);
            self.of_source.range(after..).next().filter(|entry| entry.0 == source).map(|entry| entry.2)
        };
        let instead = match () {
            () if is_over => None,
            () if counts.pending as usize >= config.max_pending_per_source => first_of(source),
            () if self.records.len() >= config.max_pending => self.order.first().map(|entry| entry.1),
            () => return PendingRoom::Free,
        };
        instead.map_or(PendingRoom::None, PendingRoom::Instead)
    }

    pub(super) fn insert(&mut self, pending: PendingSyn) -> PendingId {
        let (source, seniority) = (pending.source, Seniority::of(&pending));
        self.counts.entry(source).or_default().pending += 1;
        let id = self.records.insert(pending);
        self.order.insert((seniority, id));
        self.of_source.insert((source, seniority, id));
        id
    }

    pub(super) fn remove(&mut self, id: PendingId) -> Option<PendingSyn> {
        let pending = self.records.remove(id)?;
        let (source, seniority) = (pending.source, Seniority::of(&pending));
        self.order.remove(&(seniority, id));
        self.of_source.remove(&(source, seniority, id));
        self.change_counts(source, |counts| counts.pending -= 1);
        Some(pending)
    }

    /// Notes that the SYN was repeated.
    pub(super) fn on_repeated(&mut self, id: PendingId) {
        let Some(pending) = self.records.get_mut(id).filter(|pending| !pending.is_repeated) else { return };
        let (source, before) = (pending.source, Seniority::of(pending));
        pending.is_repeated = true;
        let after = Seniority::of(pending);
        self.order.remove(&(before, id));
        self.of_source.remove(&(source, before, id));
        self.order.insert((after, id));
        self.of_source.insert((source, after, id));
    }

    /// The oldest one.
    pub(super) fn oldest(&self) -> Option<(Instant, PendingId)> {
        let after = (Seniority { is_repeated: true, since: Instant::ZERO }, PendingId::FIRST);
        let never_repeated = self.order.first();
        let repeated = self.order.range(after..).next();
        let both = [never_repeated, repeated].into_iter().flatten();
        both.map(|(seniority, id)| (seniority.since, *id)).min()
    }

    /// Counts an accepted connection.
    pub(super) fn on_accepted(&mut self, id: SocketId, source: PeerKey) {
        self.accepted.insert(id, source);
        self.counts.entry(source).or_default().accepted += 1;
    }

    /// Whether this is an accepted connection.
    pub(in crate::socket::tcp) fn has_accepted(&self, id: SocketId) -> bool {
        self.accepted.contains_key(&id)
    }

    /// Notes that the socket of a connection is closed, which may have been accepted.
    pub(in crate::socket::tcp) fn forget_accepted(&mut self, id: SocketId) {
        if let Some(source) = self.accepted.remove(&id) {
            self.change_counts(source, |counts| counts.accepted -= 1);
        }
    }

    fn change_counts(&mut self, source: PeerKey, change: impl FnOnce(&mut SourceCounts)) {
        if let Some(counts) = self.counts.get_mut(&source) {
            change(counts);
            if *counts == SourceCounts::default() {
                self.counts.remove(&source);
            }
        }
    }
}
