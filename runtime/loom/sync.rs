//! The primitives under loom. Time stands still: no wait times out, so a lost wake-up is a
//! deadlock, which loom reports.
//!
//! The lock with `try_lock` is made of atomics, as std makes its locks of a futex. Loom's own lock
//! is unsuitable: its `try_lock` can wait for the holder, but a failing `try_lock` must not order
//! memory.

use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, OnceLock, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicU32, Ordering};
use rustix::event::{PollFd, Timespec};

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
pub(crate) use loom::thread;

#[path = "models.rs"]
pub mod model;

/// Loom does not support constant initial values.
macro_rules! constant_thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $init:expr };) => {
        loom::thread_local! {
            $(#[$attribute])*
            static $name: $type = $init;
        }
    };
}
pub(crate) use constant_thread_local as thread_local;

/// The time, which is always the same.
pub(crate) fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(|| Instant::now() + Duration::from_secs(1))
}

/// Loom ends a model when a thread panics, so no lock is ever found poisoned.
pub(crate) fn is_poisoned<T>(_: &Mutex<T>) -> bool {
    false
}

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// The lock is held, and another thread may wait for it.
const CONTENDED: u32 = 2;

/// A lock that some threads only try to take.
#[derive(Debug)]
pub(crate) struct TryMutex<T> {
    state: AtomicU32,
    /// The operating system's queue of threads that wait for the state to change.
    queue: Mutex<()>,
    changed: Condvar,
    /// The value. Its lock is never contended.
    value: std::sync::Mutex<T>,
}

#[derive(Debug)]
pub(crate) struct TryMutexGuard<'a, T> {
    /// The guard of the value; `None` once this is being dropped.
    value: Option<std::sync::MutexGuard<'a, T>>,
    mutex: &'a TryMutex<T>,
}

impl<T> TryMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        TryMutex {
            state: AtomicU32::new(UNLOCKED),
            queue: Mutex::default(),
            changed: Condvar::new(),
            value: std::sync::Mutex::new(value),
        }
    }

    fn try_acquire(&self) -> bool {
        self.state.compare_exchange(UNLOCKED, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn guard(&self) -> TryMutexGuard<'_, T> {
        TryMutexGuard { value: Some(self.value.try_lock().unwrap()), mutex: self }
    }

    pub(crate) fn lock(&self) -> LockResult<TryMutexGuard<'_, T>> {
        if !self.try_acquire() {
            while self.state.swap(CONTENDED, Ordering::Acquire) != UNLOCKED {
                let queue = self.queue.lock().unwrap();
                if self.state.load(Ordering::Relaxed) == CONTENDED {
                    drop(self.changed.wait(queue).unwrap());
                }
            }
        }
        Ok(self.guard())
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<TryMutexGuard<'_, T>> {
        if self.try_acquire() { Ok(self.guard()) } else { Err(TryLockError::WouldBlock) }
    }
}

impl<T> Deref for TryMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().unwrap()
    }
}

impl<T> DerefMut for TryMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().unwrap()
    }
}

impl<T> Drop for TryMutexGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        if self.mutex.state.swap(UNLOCKED, Ordering::Release) == CONTENDED {
            drop(self.mutex.queue.lock().unwrap());
            self.mutex.changed.notify_one();
        }
    }
}

/// A lock for the readiness of all descriptors.
#[derive(Default)]
struct Readiness {
    lock: Mutex<()>,
    changed: Condvar,
}

loom::lazy_static! {
    static ref READINESS: Readiness = Readiness::default();
}

/// `poll` of real descriptors. It returns at once if `timeout` says so, and otherwise never times
/// out.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> rustix::io::Result<usize> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut guard = READINESS.lock.lock().unwrap();
    loop {
        let result = rustix::event::poll(fds, Some(&zero));
        if result != Ok(0) || timeout == Some(&zero) {
            return result;
        }
        guard = READINESS.changed.wait(guard).unwrap();
    }
}

/// Makes a change to a descriptor's readiness, which a thread may be polling for.
pub(crate) fn change_readiness<R>(change: impl FnOnce() -> R) -> R {
    let guard = READINESS.lock.lock().unwrap();
    let result = change();
    drop(guard);
    READINESS.changed.notify_all();
    result
}
