//! [`PollerWaiters`]: which threads wait at which poller of a stack.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan::{OwnerId, PollerId};

use crate::engine::poller_bell::PollerBell;

/// The records of the pollers of this runtime on one stack, guarded by its `core` lock.
#[derive(Debug, Default)]
pub(crate) struct PollerWaiters {
    records: BTreeMap<PollerId, PollerRecord>,
}

#[derive(Debug)]
struct PollerRecord {
    /// The count of events. A leader that waits at the poller compares it.
    events: u32,
    /// The number of threads that wait: they lead, sleep at the bell, or are about to.
    waiting: usize,
    owner: OwnerId,
    bell: Arc<PollerBell>,
}

impl PollerRecord {
    /// Counts an event. Returns the bell.
    fn on_event(&mut self) -> Arc<PollerBell> {
        self.events = self.events.wrapping_add(1);
        self.bell.clone()
    }
}

impl PollerWaiters {
    pub(crate) fn insert(&mut self, poller: PollerId, owner: OwnerId, bell: Arc<PollerBell>) {
        self.records.insert(poller, PollerRecord { events: 0, waiting: 0, owner, bell });
    }

    /// The owner of a poller.
    pub(super) fn owner_of(&self, poller: PollerId) -> Option<OwnerId> {
        self.records.get(&poller).map(|record| record.owner)
    }

    pub(crate) fn remove(&mut self, poller: PollerId) {
        self.records.remove(&poller);
    }

    /// The count of events; `None` if the poller is closed.
    pub(super) fn events(&self, poller: PollerId) -> Option<u32> {
        self.records.get(&poller).map(|record| record.events)
    }

    /// Counts an event. Returns the bell, if threads wait.
    pub(super) fn on_event(&mut self, poller: PollerId) -> Option<Arc<PollerBell>> {
        let record = self.records.get_mut(&poller)?;
        record.events = record.events.wrapping_add(1);
        self.bell_of(poller)
    }

    /// The bell of a poller, if threads wait there.
    pub(super) fn bell_of(&self, poller: PollerId) -> Option<Arc<PollerBell>> {
        let record = self.records.get(&poller).filter(|record| record.waiting > 0)?;
        Some(record.bell.clone())
    }

    /// Counts an event of every poller. Returns all bells.
    pub(super) fn on_event_of_all(&mut self) -> impl Iterator<Item = Arc<PollerBell>> {
        self.records.values_mut().map(PollerRecord::on_event)
    }

    /// Counts an event of every poller of this owner, which is gone. Returns their bells.
    pub(super) fn on_end_of(&mut self, owner: OwnerId) -> impl Iterator<Item = Arc<PollerBell>> {
        self.records.values_mut().filter(move |record| record.owner == owner).map(PollerRecord::on_event)
    }

    /// Counts a thread that begins to wait.
    pub(super) fn begin_wait(&mut self, poller: PollerId) {
        if let Some(record) = self.records.get_mut(&poller) {
            record.waiting += 1;
        }
    }

    /// Notes that a thread that was counted no longer waits.
    pub(super) fn end_wait(&mut self, poller: PollerId) {
        if let Some(record) = self.records.get_mut(&poller) {
            record.waiting -= 1;
        }
    }
}
