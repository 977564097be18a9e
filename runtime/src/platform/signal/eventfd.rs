//! A signal on Linux.

use std::io;

use rustix::event::{EventfdFlags, eventfd};

use crate::platform::poll::{AsFd, BorrowedFd, OwnedFd};
use crate::sync::change_readiness;

/// An eventfd: readable while its counter is not zero.
#[derive(Debug)]
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(EventFd(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Adds 1. The only error is EAGAIN at 2^64 - 2, when the descriptor is readable already.
    pub(super) fn raise(&self) {
        let _ = change_readiness(|| rustix::io::write(&self.0, &1u64.to_ne_bytes()));
    }

    /// Sets the counter to zero.
    pub(super) fn clear(&self) {
        let _ = change_readiness(|| rustix::io::read(&self.0, &mut [0; 8]));
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
