//! The processors that everything runs on, and the processor time of the two ends.

use std::io;
use std::ops::Sub;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::child::Child;

/// Binds this process, and all that it starts from now on, to one processor: the last one that it
/// may use, because the first one handles most interrupts. Returns its number.
pub(crate) fn bind_to_one() -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu));
    let last = last.ok_or_else(|| io::Error::other("this process may use no processor"))?;
    let mut only = CpuSet::new();
    only.set(last);
    sched_setaffinity(None, &only)?;
    Ok(last)
}

/// Processor time, including the kernel's time on behalf of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// The time of this process.
    pub(crate) client: Duration,
    pub(crate) server: Duration,
}

impl Used {
    /// The time until now.
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

/// The time of a process; 0 is this one.
fn of_process(pid: libc::pid_t) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the id of a clock.
    #[allow(unsafe_code)]
    let errno = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    // SAFETY: the call only writes a time.
    #[allow(unsafe_code)]
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
