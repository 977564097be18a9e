//! A signal for every Unix.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::platform::poll::{AsFd, BorrowedFd};
use crate::sync::change_readiness;

/// Two connected sockets: one is readable while it holds bytes that were written to the other.
#[derive(Debug)]
pub(super) struct SocketPair {
    raised: UnixStream,
    raiser: UnixStream,
}

impl SocketPair {
    pub(super) fn new() -> io::Result<Self> {
        let (raised, raiser) = UnixStream::pair()?;
        raised.set_nonblocking(true)?;
        raiser.set_nonblocking(true)?;
        Ok(SocketPair { raised, raiser })
    }

    /// Writes a byte. When there is no room for it, the descriptor is readable already.
    pub(super) fn raise(&self) {
        let _ = change_readiness(|| (&self.raiser).write(&[1]));
    }

    /// Reads until nothing is left.
    pub(super) fn clear(&self) {
        let mut bytes = [0; 1024];
        change_readiness(|| while matches!((&self.raised).read(&mut bytes), Ok(1..)) {});
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.raised.as_fd()
    }
}
