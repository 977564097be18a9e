//! [`Readiness`]: how a runtime learns that a device has frames, or room for frames.

use crate::platform::poll::{BorrowedFd, PollFlags};

/// How a runtime learns that a device has frames to receive, or room for frames to send.
#[derive(Clone, Copy, Debug)]
pub struct Readiness<'a>(Option<Descriptors<'a>>);

#[derive(Clone, Copy, Debug)]
struct Descriptors<'a> {
    receive: BorrowedFd<'a>,
    room: (BorrowedFd<'a>, Interest),
}

impl<'a> Readiness<'a> {
    /// The descriptor is readable (POLLIN) while the device may have frames, and writable (POLLOUT)
    /// while it has room. It is level-triggered, as with a socket. It may be readable without a
    /// frame, but not for long: a [`receive`](super::Device::receive) that finds no frame makes it
    /// unreadable until one comes.
    ///
    /// The runtime duplicates the descriptor, so the device must keep the same one.
    pub fn fd(fd: BorrowedFd<'a>) -> Self {
        Readiness(Some(Descriptors { receive: fd, room: (fd, Interest::Writable) }))
    }

    /// Like [`fd`](Readiness::fd), for a device with another descriptor that says whether it has
    /// room.
    pub fn fds(receive: BorrowedFd<'a>, room: BorrowedFd<'a>, interest: Interest) -> Self {
        Readiness(Some(Descriptors { receive, room: (room, interest) }))
    }

    /// The device wakes the waker that it was given: after a frame has come, after an error that
    /// [`receive`](super::Device::receive) will return, and, when a frame found no room, after
    /// there is room again. It may do so from any thread, and more often than needed.
    pub fn waker() -> Self {
        Readiness(None)
    }

    /// Returns the descriptor to poll for frames; `None` for a device that wakes.
    pub fn receive(&self) -> Option<BorrowedFd<'a>> {
        self.0.map(|descriptors| descriptors.receive)
    }

    /// Returns the descriptor to poll for room, and what to wait for on it; `None` for a device
    /// that wakes.
    pub fn room(&self) -> Option<(BorrowedFd<'a>, Interest)> {
        self.0.map(|descriptors| descriptors.room)
    }
}

/// What to wait for on a descriptor.
// Exhaustive: frames are read and written, and nothing else is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// POLLIN.
    Readable,
    /// POLLOUT.
    Writable,
}

impl Interest {
    pub(crate) fn poll_flags(self) -> PollFlags {
        match self {
            Interest::Readable => PollFlags::IN,
            Interest::Writable => PollFlags::OUT,
        }
    }
}
