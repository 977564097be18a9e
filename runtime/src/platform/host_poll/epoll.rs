//! The host's descriptors on Linux.

use std::io;

use portolan::{Interest, Ready};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::platform::poll::{AsFd, BorrowedFd, OwnedFd};
use crate::policy::HOST_EVENTS;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::change_readiness;

/// An epoll descriptor, which is readable while one of those that are registered is ready.
#[derive(Debug)]
pub(crate) struct Epoll {
    epoll: OwnedFd,
    /// How many are registered; more if some were closed without being deleted.
    registered: AtomicUsize,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Epoll { epoll: epoll::create(CreateFlags::CLOEXEC)?, registered: AtomicUsize::new(0) })
    }

    /// What to poll. It is the same however many are registered.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    /// Whether [`collect`](Epoll::collect) may find something.
    pub(crate) fn is_used(&self) -> bool {
        self.registered.load(Ordering::Relaxed) > 0
    }

    /// EPOLL_CTL_ADD.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        // Before the descriptor is there, so that a thread that it wakes looks.
        self.registered.fetch_add(1, Ordering::Relaxed);
        let added =
            change_readiness(|| epoll::add(&self.epoll, fd, EventData::new_u64(token), flags(interest)));
        if added.is_err() {
            self.registered.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(added?)
    }

    /// EPOLL_CTL_MOD.
    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(change_readiness(|| epoll::modify(&self.epoll, fd, data, flags(interest)))?)
    }

    /// EPOLL_CTL_DEL.
    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)?;
        self.registered.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Appends what is ready, at most `max`, to `ready`.
    pub(crate) fn collect(&self, ready: &mut Vec<Ready>, max: usize) -> io::Result<usize> {
        if max == 0 || !self.is_used() {
            return Ok(0);
        }
        let mut events: Vec<Event> = Vec::with_capacity(max.min(HOST_EVENTS));
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once)) {
            Err(Errno::INTR) => {}
            result => drop(result?),
        }
        ready.extend(events.iter().map(|event| {
            let Event { flags, data } = *event;
            Ready::from_bits(data.u64(), flags.bits())
        }));
        Ok(events.len())
    }
}

fn flags(interest: Interest) -> EventFlags {
    EventFlags::from_bits_retain(interest.bits())
}
