//! Processors: on which of them all of it runs, and how much of their time the two ends take.

use std::io;
use std::ops::Sub;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::child::Child;

/// Binds this process, and all that it starts from now on, to one processor: the last of those that
/// it may use, as the first has most of the interrupts. Returns which.
pub(crate) fn bind_to_one() -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu));
    let last = last.ok_or_else(|| io::Error::other("this process may use no processor"))?;
    let mut only = CpuSet::new();
    only.set(last);
    sched_setaffinity(None, &only)?;
    Ok(last)
}

/// Processor time, that of the kernel on their behalf included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// This process.
    pub(crate) client: Duration,
    pub(crate) server: Duration,
}

impl Used {
    /// Until now.
    pub(crate) fn so_far(server: &Child) -> io::Result<Used> {
        Ok(Used { client: of_process(0)?, server: of_process(server.pid())? })
    }

    pub(crate) fn both(self) -> Duration {
        self.client + self.server
    }
}

impl Sub for Used {
    type Output = Used;

    fn sub(self, earlier: Used) -> Used {
        Used { client: self.client - earlier.client, server: self.server - earlier.server }
    }
}

/// Zero is this process.
fn of_process(pid: libc::pid_t) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes a clock's id.
    #[allow(unsafe_code)]
    let errno = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    // SAFETY: it writes a time.
    #[allow(unsafe_code)]
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
