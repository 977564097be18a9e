//! A process that keeps every CPU awake: on each, an idle thread that yields to any other.
//!
//! Waking an idle virtual CPU takes longer than a round trip, so latencies differ with and without
//! this.
//! different things.

use std::hint;
use std::io;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::child;

pub(crate) fn run() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let (started, start) = std::sync::mpsc::channel();
    for &cpu in &cpus {
        let started = started.clone();
        thread::spawn(move || {
            // Nobody receives this once the benchmark has given up.
            if started.send(idle_on(cpu)).is_ok() {
                loop {
                    hint::spin_loop();
                }
            }
        });
    }
    for _ in &cpus {
        start.recv().map_err(|_| io::Error::other("a thread is gone"))??;
    }
    child::ready("")
}

/// Binds this thread to a CPU, with the scheduling class that runs only when no other thread does.
fn idle_on(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)?;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call only reads the parameters; process id 0 is this thread.
    #[allow(unsafe_code)]
    let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    if status != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
