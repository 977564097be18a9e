//! [`PollerBell`]: lets threads sleep at a poller and at descriptors of the host at once.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use crate::platform::poll::{BorrowedFd, PollFd, PollFlags, poll};
use crate::platform::signal::Signal;
use crate::sync::{Mutex, MutexGuard};

/// A notification for the events of a poller, like [`Bell`](super::bell::Bell), for threads that
/// sleep in `poll`.
///
/// A waiting thread notes the number of rings, looks at the poller, and sleeps only while the
/// number is unchanged. Each thread sleeps at a signal of its own, so that a ring wakes one.
#[derive(Debug, Default)]
pub(crate) struct PollerBell {
    state: Mutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    rings: u64,
    /// The signals of the threads that sleep.
    signals: Vec<Arc<Signal>>,
    /// Signals that no thread uses. One may still be raised by a ring that came too late for its
    /// thread; then the next sleep is short.
    spare: Vec<Arc<Signal>>,
}

impl PollerBell {
    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        // No code that holds this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of rings.
    pub(crate) fn rings(&self) -> u64 {
        self.lock().rings
    }

    /// Counts an event, which concerns all sleeping threads or one of them.
    pub(crate) fn ring(&self, all: bool) {
        let mut state = self.lock();
        state.rings += 1;
        let woken: SmallVec<[Arc<Signal>; 1]> =
            if all { state.signals.drain(..).collect() } else { state.signals.pop().into_iter().collect() };
        drop(state);
        for signal in woken {
            signal.raise();
        }
    }

    /// Sleeps until the count is no longer `seen`, until one of `fds` is readable, or for
    /// `timeout`. May return early. Returns whether one of `fds` was readable.
    pub(crate) fn wait(
        &self,
        seen: u64,
        fds: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let mut state = self.lock();
        if state.rings != seen {
            return Ok(false);
        }
        let signal = match state.spare.pop() {
            Some(signal) => signal,
            None => Arc::new(Signal::new()?),
        };
        state.signals.push(signal.clone());
        drop(state);
        let all = std::iter::once(signal.as_fd()).chain(fds.iter().copied());
        let mut polled: SmallVec<[PollFd<'_>; 4]> =
            all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let result = poll(&mut polled, timeout);
        let mut has_events = polled.iter().map(|fd| !fd.revents().is_empty());
        let is_raised = has_events.next() == Some(true);
        let is_readable = has_events.any(|has_event| has_event);
        drop(polled);
        if is_raised {
            signal.clear();
        }
        let mut state = self.lock();
        state.signals.retain(|other| !Arc::ptr_eq(other, &signal));
        state.spare.push(signal);
        result.map(|_| is_readable)
    }
}
