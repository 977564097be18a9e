//! The TIME-WAIT records: what is left of connections whose addresses must rest.

use alloc::collections::VecDeque;

use super::slab::{Key, Slab};
use crate::demux::FourTuple;
use crate::tcp::TimeWait;
use crate::time::Instant;

#[derive(Debug)]
pub(crate) struct TimeWaitEntry {
    pub(super) record: TimeWait,
    pub(super) tuple: FourTuple,
    /// SO_REUSEADDR of the socket, under which its port is counted.
    pub(super) reuse_addr: bool,
}

pub(crate) type TimeWaitId = Key<TimeWaitEntry>;

/// All records wait equally long, so they expire in the order in which they came: a queue will do. A record that was
/// prolonged (by a repeated FIN) goes to the back when its turn comes.
#[derive(Debug)]
pub(super) struct TimeWaits {
    entries: Slab<TimeWaitEntry>,
    order: VecDeque<(Instant, TimeWaitId)>,
}

impl TimeWaits {
    pub(super) fn new() -> Self {
        TimeWaits { entries: Slab::new(), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, entry: TimeWaitEntry) -> TimeWaitId {
        let expires_at = entry.record.expires_at;
        let id = self.entries.insert(entry);
        self.order.push_back((expires_at, id));
        id
    }

    pub(super) fn get_mut(&mut self, id: TimeWaitId) -> Option<&mut TimeWaitEntry> {
        self.entries.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: TimeWaitId) -> Option<TimeWaitEntry> {
        let entry = self.entries.remove(id);
        // Records that were reopened leave their place in the queue behind; it is bounded by giving up what is stale.
        while self.order.front().is_some_and(|&(_, first)| self.entries.get(first).is_none()) {
            self.order.pop_front();
        }
        entry
    }

    pub(super) fn len(&self) -> usize {
        // Stale places count too: they hold memory.
        self.order.len()
    }

    /// When the first may expire.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(at, _)| at)
    }

    /// Takes out the first record whose time is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<TimeWaitEntry> {
        while let Some(&(at, id)) = self.order.front() {
            if at > now {
                return None;
            }
            self.order.pop_front();
            match self.entries.get(id) {
                Some(entry) if entry.record.expires_at > now => {
                    self.order.push_back((entry.record.expires_at, id));
                }
                Some(_) => return self.entries.remove(id),
                None => {}
            }
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TimeWaitEntry> {
        self.entries.iter()
    }
}
