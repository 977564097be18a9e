//! Systems without epoll: no descriptors of the host.

use std::io;

use portolan::Ready;

use crate::platform::poll::BorrowedFd;

/// Nothing.
#[derive(Debug)]
pub(crate) struct NoHostPoll;

impl NoHostPoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(NoHostPoll)
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    pub(crate) fn is_used(&self) -> bool {
        false
    }

    pub(crate) fn collect(&self, _: &mut Vec<Ready>, _max: usize) -> io::Result<usize> {
        Ok(0)
    }
}
