//! [`poll`]: sleeps until a descriptor is ready.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

use crate::sync;

/// Sleeps until one of these descriptors is ready, for at most `timeout`; `None` is without a
/// limit.
///
/// Returns how many are ready: 0 when the time is over, or when a signal handler has run. Without
/// `ppoll` (macOS, Windows) the time is rounded up to milliseconds.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match sync::poll(fds, timeout.as_ref()) {
        Err(Errno::INTR) => Ok(0),
        polled => Ok(polled?),
    }
}
