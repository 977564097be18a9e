//! [`CancelWaiters`]: the tasks that wait until a pending connection is cancelled.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use portolan::{Descriptor, PendingId};
use smallvec::SmallVec;

use crate::engine::task_waiters::{Task, TaskSlot};
use crate::engine::waiters::Wakes;

/// The tasks that wait until a pending connection of the stack needs no decision any more. A
/// cancellation costs the look-up of its own tasks, however many others wait.
#[derive(Debug, Default)]
pub(crate) struct CancelWaiters {
    /// The socket that intercepts, while tasks wait. A stack has at most one.
    interceptor: Option<Descriptor>,
    tasks: BTreeMap<PendingId, SmallVec<[(TaskSlot, Waker); 1]>>,
}

impl CancelWaiters {
    /// The socket that intercepts, while tasks wait.
    pub(crate) fn interceptor(&self) -> Option<Descriptor> {
        self.interceptor
    }

    /// Adds a task. Returns the waker that this replaces.
    pub(crate) fn set(
        &mut self,
        interceptor: Descriptor,
        pending: PendingId,
        task: Task<'_>,
    ) -> Option<Waker> {
        self.interceptor = Some(interceptor);
        let tasks = self.tasks.entry(pending).or_default();
        match tasks.iter_mut().find(|(slot, _)| *slot == task.slot) {
            Some((_, kept)) if kept.will_wake(task.waker) => None,
            Some((_, kept)) => Some(mem::replace(kept, task.waker.clone())),
            None => {
                tasks.push((task.slot, task.waker.clone()));
                None
            }
        }
    }

    /// Removes a task, which no longer waits. Returns its waker.
    pub(crate) fn remove(&mut self, pending: PendingId, slot: TaskSlot) -> Option<Waker> {
        let tasks = self.tasks.get_mut(&pending)?;
        let index = tasks.iter().position(|(kept, _)| *kept == slot)?;
        let (_, waker) = tasks.swap_remove(index);
        if tasks.is_empty() {
            self.tasks.remove(&pending);
            self.interceptor = self.interceptor.filter(|_| !self.tasks.is_empty());
        }
        Some(waker)
    }

    /// Removes the tasks that wait for this connection, and adds them to those to wake.
    pub(crate) fn wake(&mut self, pending: PendingId, wakes: &mut Wakes) {
        let tasks = self.tasks.remove(&pending).into_iter().flatten();
        wakes.tasks.extend(tasks.map(|(_, waker)| waker));
        self.interceptor = self.interceptor.filter(|_| !self.tasks.is_empty());
    }

    /// Removes all tasks, and adds them to those to wake: each finds out for itself.
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        self.interceptor = None;
        let all = mem::take(&mut self.tasks).into_values().flatten();
        wakes.tasks.extend(all.map(|(_, waker)| waker));
    }
}
