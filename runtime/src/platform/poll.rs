//! [`poll`]: sleeps until a descriptor is ready.

use std::io;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;

use crate::sync;

pub(crate) use rustix::event::{PollFd, PollFlags};
/// The descriptors that a thread can poll: those of `std::os::fd`, or sockets on Windows.
pub(crate) use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest time that every system takes. `poll` counts milliseconds in 32 bits.
const MAX_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Sleeps until one of these descriptors is ready, for at most `timeout`; `None` is without a
/// limit. Returns how many are ready: 0 when the time or 24 days are over, and when a signal
/// handler has run.
///
/// Without `ppoll` (macOS, Windows) the time is rounded up to milliseconds.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|left| {
        Timespec::try_from(left.min(MAX_TIMEOUT)).expect("every system has seconds of 32 bits, or more")
    });
    match sync::poll(fds, timeout.as_ref()) {
        Err(Errno::INTR) => Ok(0),
        polled => Ok(polled?),
    }
}
