//! A descriptor that one thread raises and another waits for with `ppoll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};

use crate::sync::{change_readiness, poll};

/// An eventfd: readable from [`raise`](Signal::raise) to [`clear`](Signal::clear).
#[derive(Debug)]
pub(crate) struct Signal(OwnedFd);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Signal(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Makes it readable. It cannot fail but with EAGAIN at 2^64 - 2 raises, when it is readable already.
    pub(crate) fn raise(&self) {
        let _ = change_readiness(|| rustix::io::write(&self.0, &1u64.to_ne_bytes()));
    }

    /// Waits until it is raised, at most for this time, and clears it. It may return early.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        if poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)], timeout.as_ref()) == Ok(1) {
            self.clear();
        }
    }

    /// Makes it unreadable until the next raise.
    pub(crate) fn clear(&self) {
        let _ = change_readiness(|| rustix::io::read(&self.0, &mut [0; 8]));
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
