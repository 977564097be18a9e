//! What threads wait and synchronize with.
//!
//! Everything in this crate takes locks, condition variables, atomics, threads and `poll` from
//! here, so that a model checker can take their place.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
pub(crate) use std::{thread, thread_local};

pub(crate) use rustix::event::poll;

/// Whether a thread panicked while it held this lock.
pub(crate) fn is_poisoned<T>(mutex: &Mutex<T>) -> bool {
    mutex.is_poisoned()
}

/// Makes a change after which a descriptor that somebody polls may be readable, or no longer.
pub(crate) fn change_readiness<R>(change: impl FnOnce() -> R) -> R {
    change()
}
