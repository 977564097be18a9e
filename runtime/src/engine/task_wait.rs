//! How a call of a task waits: it returns `WouldBlock`, and the task is woken by the next event.

use std::io;
use std::task::Waker;

use portolan::{Descriptor, Instant, PendingId, Readiness, SocketId};
use smallvec::SmallVec;

use crate::engine::core::EngineCore;
use crate::engine::direction::Direction;
use crate::engine::locks::{Engine, to_io_error};
use crate::engine::task_waiters::{FutureId, Task, TaskSlot};
use crate::engine::wait::Wanted;

/// Wakers to drop with `core` released: the code that an executor runs then may take that lock.
type OldWakers = SmallVec<[Waker; 2]>;

/// The counts of events of a socket, noted when a task found it ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenEvents {
    read: u32,
    write: u32,
}

impl SeenEvents {
    fn of(self, direction: Direction) -> u32 {
        match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
        }
    }
}

impl EngineCore {
    /// Ends an attempt of a task. If it must wait, its waker is registered in these directions;
    /// `core` has been held since the attempt, so no event comes in between.
    fn on_task_attempt(
        &mut self,
        socket: SocketId,
        directions: &[Direction],
        task: Task<'_>,
        must_wait: bool,
    ) -> OldWakers {
        if must_wait {
            let old = directions.iter().map(|&direction| self.waiters.set_waker(socket, direction, task));
            return old.flatten().collect();
        }
        match task.slot {
            TaskSlot::Polls => OldWakers::new(),
            TaskSlot::Future(future) => self.waiters.remove_future(socket, future),
        }
    }
}

impl Engine {
    /// Calls `op` once. If that returns `WouldBlock`, the task is woken when it should try again.
    pub(crate) fn call_of_task<R>(
        &self,
        wanted: Wanted,
        task: Task<'_>,
        op: impl FnOnce(&mut EngineCore, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let (result, _old) = self.call(|core, now, wakes| {
            let result = op(core, now);
            core.on_attempt(wanted, &result, now, wakes);
            let must_wait = matches!(result, Err(portolan::Error::WouldBlock));
            let old = core.on_task_attempt(wanted.socket, &[wanted.direction], task, must_wait);
            (result, old)
        })?;
        result.map_err(to_io_error)
    }

    /// Returns the readiness of a socket if it is ready in one of these directions, and there was
    /// an event for that since `seen`. If not, this returns `WouldBlock`, and the task is woken
    /// when it should look again.
    pub(crate) fn ready_for_task(
        &self,
        socket: SocketId,
        directions: &[Direction],
        task: Option<Task<'_>>,
        seen: Option<SeenEvents>,
    ) -> io::Result<(Readiness, SeenEvents)> {
        let (readiness, _old) = self.call(|core, _, _| {
            let readiness = core.stack.socket_readiness(socket).unwrap_or_default();
            let Some(waiters) = core.waiters.of(socket) else {
                return (Err(portolan::Error::BadDescriptor), OldWakers::new());
            };
            let now_seen = SeenEvents {
                read: *waiters.events(Direction::Read),
                write: *waiters.events(Direction::Write),
            };
            let is_ready = directions.iter().any(|&direction| {
                direction.is_met_by(readiness)
                    && seen.is_none_or(|seen| seen.of(direction) != now_seen.of(direction))
            });
            let old = task
                .map(|task| core.on_task_attempt(socket, directions, task, !is_ready))
                .unwrap_or_default();
            (if is_ready { Ok((readiness, now_seen)) } else { Err(portolan::Error::WouldBlock) }, old)
        })?;
        readiness.map_err(to_io_error)
    }

    /// Removes a future that no longer waits for this socket.
    pub(crate) fn forget_future(&self, socket: SocketId, future: FutureId) {
        let old = self.lock_core_anyway().waiters.remove_future(socket, future);
        drop(old);
    }
}

/// Waiting for the end of pending connections.
impl Engine {
    /// Whether a pending connection of this interceptor needs no decision any more. If it does, the
    /// task is woken when that changes.
    pub(crate) fn is_cancelled_for_task(
        &self,
        interceptor: Descriptor,
        pending: PendingId,
        task: Task<'_>,
    ) -> io::Result<bool> {
        let (is_pending, _old) = self.call(|core, _, _| {
            let is_pending =
                core.owner_of(interceptor).and_then(|owner| owner.is_pending(interceptor, pending));
            let old = match is_pending {
                Ok(true) => core.cancel_waiters.set(interceptor, pending, task),
                _ => core.cancel_waiters.remove(pending, task.slot),
            };
            (is_pending, old)
        })?;
        is_pending.map(|is_pending| !is_pending).map_err(to_io_error)
    }

    /// Removes a task that no longer waits for a pending connection.
    pub(crate) fn forget_cancel_waiter(&self, pending: PendingId, slot: TaskSlot) {
        let old = self.lock_core_anyway().cancel_waiters.remove(pending, slot);
        drop(old);
    }
}

/// Waiting for a time.
impl Engine {
    /// Wakes a task at this time. A future has one timer.
    pub(crate) fn set_timer(&self, at: Instant, future: FutureId, waker: &Waker) -> io::Result<()> {
        let old = self.call(|core, _, _| core.task_timers.set(at, future, waker))?;
        drop(old);
        Ok(())
    }

    /// Removes a timer.
    pub(crate) fn stop_timer(&self, at: Instant, future: FutureId) {
        let old = self.lock_core_anyway().task_timers.remove(at, future);
        drop(old);
    }
}
