//! [`Flows`]: the datagrams to other hosts that interfaces intercept, by source and destination, and
//! how many flows each source may have.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::config::InterceptionConfig;
use crate::id::SocketId;
use crate::rate_limit::PeerKey;
use crate::time::Instant;

/// A flow that is used more often than this is sorted again only once in this time.
const USE_RESOLUTION: Duration = Duration::from_secs(1);

/// The intercepted flows. Each has a connected socket, whose id names it.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// The socket at which new flows wait to be accepted; while there is none, datagrams are
    /// refused.
    pub(super) interceptor: Option<SocketId>,
    entries: BTreeMap<SocketId, FlowEntry>,
    /// In the order in which they make room for others.
    order: BTreeSet<(FlowUse, SocketId)>,
    /// The same for each source.
    of_source: BTreeSet<(PeerKey, FlowUse, SocketId)>,
    counts: BTreeMap<PeerKey, usize>,
}

#[derive(Clone, Copy, Debug)]
struct FlowEntry {
    source: PeerKey,
    usage: FlowUse,
}

/// The place in the order in which flows make room: those that the program never answered first,
/// since datagrams from forged addresses seldom are, and of these the least recently used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FlowUse {
    is_answered: bool,
    used_at: Instant,
}

/// Whether there is room for another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum FlowRoom {
    Free,
    /// If this one goes.
    Instead(SocketId),
}

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The room for another one from this source.
    pub(super) fn room_for(&self, config: &InterceptionConfig, source: PeerKey) -> FlowRoom {
        let instead = if self.counts.get(&source).copied().unwrap_or(0) >= config.max_flows_per_source {
            let least = FlowUse { is_answered: false, used_at: Instant::ZERO };
            let mut own = self.of_source.range((source, least, SocketId::FIRST)..);
            own.next().filter(|entry| entry.0 == source).map(|entry| entry.2)
        } else if self.entries.len() >= config.max_flows {
            self.order.first().map(|entry| entry.1)
        } else {
            None
        };
        instead.map_or(FlowRoom::Free, FlowRoom::Instead)
    }

    pub(super) fn insert(&mut self, id: SocketId, source: PeerKey, now: Instant) {
        let usage = FlowUse { is_answered: false, used_at: now };
        self.entries.insert(id, FlowEntry { source, usage });
        self.order.insert((usage, id));
        self.of_source.insert((source, usage, id));
        *self.counts.entry(source).or_default() += 1;
    }

    /// Removes a flow. Returns whether there was one.
    pub(super) fn remove(&mut self, id: SocketId) -> bool {
        let Some(FlowEntry { source, usage }) = self.entries.remove(&id) else { return false };
        self.order.remove(&(usage, id));
        self.of_source.remove(&(source, usage, id));
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
        true
    }

    /// Notes a datagram of a flow. `is_answer`: it is from the program.
    pub(super) fn on_used(&mut self, now: Instant, id: SocketId, is_answer: bool) {
        let Some(FlowEntry { source, usage }) = self.entries.get_mut(&id) else { return };
        let is_news = is_answer && !usage.is_answered;
        if !is_news && now.duration_since(usage.used_at) < USE_RESOLUTION {
            return;
        }
        let (source, before) = (*source, *usage);
        *usage = FlowUse { is_answered: usage.is_answered || is_answer, used_at: now };
        let after = *usage;
        self.order.remove(&(before, id));
        self.of_source.remove(&(source, before, id));
        self.order.insert((after, id));
        self.of_source.insert((source, after, id));
    }

    /// The key under which a flow counts in the limits of its source.
    pub(super) fn source_of(&self, id: SocketId) -> Option<PeerKey> {
        self.entries.get(&id).map(|entry| entry.source)
    }

    /// The flow that was not used for the longest time, and when it was used last.
    pub(super) fn least_recent(&self) -> Option<(Instant, SocketId)> {
        let answered = (FlowUse { is_answered: true, used_at: Instant::ZERO }, SocketId::FIRST);
        let both = [self.order.first(), self.order.range(answered..).next()];
        both.into_iter().flatten().map(|(usage, id)| (usage.used_at, *id)).min()
    }
}
