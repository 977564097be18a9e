//! Synchronization of threads, and the time.
//!
//! Everything in this crate takes locks, condition variables, atomics, threads, `poll` and the time
//! from here. The packages `runtime/loom` and `runtime/shuttle` compile the same sources with a
//! module of their own in place of this one (`lib.rs` has the cfg), so that a model checker decides
//! which thread runs.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
/// A lock that some threads only try to take. A model checker must know that.
pub(crate) use std::sync::{Mutex as TryMutex, MutexGuard as TryMutexGuard};
pub(crate) use std::{thread, thread_local};

pub(crate) use rustix::event::poll;

/// Whether a thread panicked while it held this lock.
pub(crate) fn is_poisoned<T>(mutex: &Mutex<T>) -> bool {
    mutex.is_poisoned()
}

/// Makes a change to a descriptor's readiness, which a thread may be polling for.
pub(crate) fn change_readiness<R>(change: impl FnOnce() -> R) -> R {
    change()
}

/// Returns the time now.
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
