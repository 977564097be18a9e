//! [`Signal`]: a descriptor that one thread raises and another waits for with [`poll`].

#[cfg(all(target_os = "linux", not(portolan_portable)))]
mod eventfd;
#[cfg(any(test, not(unix)))]
mod loopback;
#[cfg(all(unix, any(test, portolan_portable, not(target_os = "linux"))))]
mod socket_pair;

#[cfg(all(target_os = "linux", not(portolan_portable)))]
use eventfd::EventFd as SystemSignal;
#[cfg(not(unix))]
use loopback::Loopback as SystemSignal;
#[cfg(all(unix, any(portolan_portable, not(target_os = "linux"))))]
use socket_pair::SocketPair as SystemSignal;

use std::io;
use std::time::Duration;

use crate::platform::poll::{BorrowedFd, PollFd, PollFlags, poll};

/// A descriptor that is readable from [`raise`](Signal::raise) to [`clear`](Signal::clear).
#[derive(Debug)]
pub(crate) struct Signal(SystemSignal);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        SystemSignal::new().map(Signal)
    }

    /// The descriptor, to poll.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
        let socket = loopback::Loopback::new().unwrap();
        check(socket.as_fd(), &|| socket.raise(), &|| socket.clear());
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
