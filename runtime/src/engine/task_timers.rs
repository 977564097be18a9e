//! [`TaskTimers`]: the times at which tasks are to be woken.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use portolan::Instant;

use crate::engine::task_waiters::FutureId;
use crate::engine::waiters::Wakes;

/// The times at which tasks are to be woken. The leader's sleep ends at the first of them.
#[derive(Debug, Default)]
pub(crate) struct TaskTimers {
    timers: BTreeMap<(Instant, FutureId), Waker>,
}

impl TaskTimers {
    /// Sets a timer of a future, which may have one for each time. Returns the waker that this
    /// replaces.
    pub(crate) fn set(&mut self, at: Instant, future: FutureId, waker: &Waker) -> Option<Waker> {
        if self.timers.get(&(at, future)).is_some_and(|kept| kept.will_wake(waker)) {
            return None;
        }
        self.timers.insert((at, future), waker.clone())
    }

    /// Removes a timer. Returns its waker.
    pub(crate) fn remove(&mut self, at: Instant, future: FutureId) -> Option<Waker> {
        self.timers.remove(&(at, future))
    }

    /// When the first task is to be woken.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes the timers that are due, and adds their tasks to those to wake.
    pub(crate) fn wake_due(&mut self, now: Instant, wakes: &mut Wakes) {
        while self.next_at().is_some_and(|at| at <= now) {
            wakes.tasks.extend(self.timers.pop_first().map(|(_, waker)| waker));
        }
    }

    /// Removes all timers, and adds their tasks to those to wake.
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        wakes.tasks.extend(mem::take(&mut self.timers).into_values());
    }
}
