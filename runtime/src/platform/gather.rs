//! Writing several slices to a descriptor as one frame.

use std::io::{self, IoSlice};

use rustix::fd::AsFd;
use rustix::io::Errno;

/// `writev`. A signal handler that has run does not end it.
pub(crate) fn write(fd: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<()> {
    loop {
        match rustix::io::writev(&fd, slices) {
            Err(Errno::INTR) => {}
            written => return Ok(written.map(drop)?),
        }
    }
}
