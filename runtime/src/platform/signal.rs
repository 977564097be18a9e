//! [`Signal`]: a descriptor that one thread raises and another waits for with [`poll`].

#[cfg(all(target_os = "linux", not(portolan_portable)))]
mod eventfd;
#[cfg(any(test, portolan_portable, not(target_os = "linux")))]
mod socket_pair;

#[cfg(all(target_os = "linux", not(portolan_portable)))]
use eventfd::EventFd as SystemSignal;
#[cfg(any(portolan_portable, not(target_os = "linux")))]
use socket_pair::SocketPair as SystemSignal;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::platform::poll::poll;

/// A descriptor that is readable from [`raise`](Signal::raise) to [`clear`](Signal::clear).
#[derive(Debug)]
pub(crate) struct Signal(SystemSignal);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        SystemSignal::new().map(Signal)
    }

    /// Makes the descriptor readable.
    pub(crate) fn raise(&self) {
        self.0.raise();
    }

    /// Makes the descriptor unreadable until the next raise.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    /// Waits until the signal is raised, for at most `timeout`, and clears it. May return early.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
        // An error has the same effect as an early return.
        if poll(&mut fds, timeout).is_ok_and(|ready| ready == 1) {
            self.clear();
        }
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(fd: BorrowedFd<'_>) -> bool {
        poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(Duration::ZERO)).unwrap() == 1
    }

    /// Raises the signal more often than the buffer of a socket has bytes.
    fn check(fd: BorrowedFd<'_>, raise: &dyn Fn(), clear: &dyn Fn()) {
        assert!(!is_readable(fd));
        for times in [1, 2, 100, 5000, 1] {
            (0..times).for_each(|_| raise());
            assert!(is_readable(fd) && is_readable(fd), "{times} raises");
            clear();
            assert!(!is_readable(fd), "{times} raises");
            clear();
        }
    }

    #[test]
    fn a_signal_is_readable_from_a_raise_to_a_clear() {
        let signal = Signal::new().unwrap();
        check(signal.as_fd(), &|| signal.raise(), &|| signal.clear());
        let pair = socket_pair::SocketPair::new().unwrap();
        check(pair.as_fd(), &|| pair.raise(), &|| pair.clear());
    }

    #[test]
    fn a_wait_ends_with_a_raise_or_with_its_time() {
        let signal = Signal::new().unwrap();
        let begin = std::time::Instant::now();
        signal.wait(Some(Duration::from_millis(20)));
        assert!(begin.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| signal.raise());
            signal.wait(None);
        });
        assert!(!is_readable(signal.as_fd()), "the wait has cleared it");
    }
}
