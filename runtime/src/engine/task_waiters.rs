//! [`TaskWaiters`]: the tasks that wait for one socket.

use std::task::Waker;

use smallvec::SmallVec;

use crate::engine::direction::Direction;

/// Identifies a future that waits, among all futures of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FutureId(pub(crate) u64);

/// What waits on behalf of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskSlot {
    /// The `poll` functions of a socket. They have one waker for each direction: that of the task
    /// which polled last.
    Polls,
    /// A future, which has a waker of its own in each direction.
    Future(FutureId),
}

/// A task that makes a call, and waits if the call returns `WouldBlock`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) waker: &'a Waker,
    pub(crate) slot: TaskSlot,
}

/// The wakers of the tasks that wait for one socket.
#[derive(Debug, Default)]
pub(crate) struct TaskWaiters {
    read: Option<Waker>,
    write: Option<Waker>,
    futures: Vec<FutureWaiter>,
}

#[derive(Debug)]
struct FutureWaiter {
    future: FutureId,
    direction: Direction,
    waker: Waker,
}

impl TaskWaiters {
    fn polls(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let TaskWaiters { read, write, futures } = self;
        read.is_none() && write.is_none() && futures.is_empty()
    }

    pub(crate) fn has(&mut self, direction: Direction) -> bool {
        self.polls(direction).is_some() || self.futures.iter().any(|waiter| waiter.direction == direction)
    }

    /// Adds a task. Returns the waker that this replaces.
    pub(crate) fn set(&mut self, direction: Direction, task: Task<'_>) -> Option<Waker> {
        let future = match task.slot {
            TaskSlot::Polls => {
                let kept = self.polls(direction);
                if kept.as_ref().is_some_and(|kept| kept.will_wake(task.waker)) {
                    return None;
                }
                return kept.replace(task.waker.clone());
            }
            TaskSlot::Future(future) => future,
        };
        let kept = self.futures.iter_mut().find(|waiter| waiter.is(future, direction));
        match kept {
            Some(kept) if kept.waker.will_wake(task.waker) => None,
            Some(kept) => Some(std::mem::replace(&mut kept.waker, task.waker.clone())),
            None => {
                self.futures.push(FutureWaiter { future, direction, waker: task.waker.clone() });
                None
            }
        }
    }

    /// Removes all tasks that wait for this direction.
    pub(crate) fn take(&mut self, direction: Direction) -> impl Iterator<Item = Waker> {
        let of_futures = self.futures.extract_if(.., move |waiter| waiter.direction == direction);
        let polls = match direction {
            Direction::Read => self.read.take(),
            Direction::Write => self.write.take(),
        };
        polls.into_iter().chain(of_futures.map(|waiter| waiter.waker))
    }

    /// Removes a future, which no longer waits. Returns its wakers.
    pub(crate) fn remove(&mut self, future: FutureId) -> SmallVec<[Waker; 2]> {
        self.futures.extract_if(.., |waiter| waiter.future == future).map(|waiter| waiter.waker).collect()
    }
}

impl FutureWaiter {
    fn is(&self, future: FutureId, direction: Direction) -> bool {
        self.future == future && self.direction == direction
    }
}
