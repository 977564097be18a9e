//! [`Bell`]: lets a thread wait for sockets of several stacks at once.

use std::io;
use std::sync::PoisonError;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A notification for the events of several sockets on different stacks, such as those of a
/// listener.
///
/// A waiting thread notes the number of events, tries all of the sockets, and sleeps only while the
/// number is unchanged.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rings: u64,
    sleepers: usize,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of rings.
    pub(crate) fn rings(&self) -> u64 {
        self.lock().rings
    }

    /// Counts an event, which concerns all waiting threads or one of them.
    pub(crate) fn ring(&self, all: bool) {
        let mut state = self.lock();
        state.rings += 1;
        let has_sleepers = state.sleepers > 0;
        drop(state);
        match (has_sleepers, all) {
            (true, true) => self.rung.notify_all(),
            (true, false) => self.rung.notify_one(),
            (false, _) => {}
        }
    }

    /// Wakes the next thread. A thread calls this when it was woken and got something, because
    /// there may be more.
    pub(crate) fn pass_on(&self) {
        if self.lock().sleepers > 0 {
            self.ring(false);
        }
    }

    /// Sleeps until the count is no longer `seen`.
    pub(crate) fn wait(&self, seen: u64) {
        let mut state = self.lock();
        state.sleepers += 1;
        while state.rings == seen {
            state = self.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sleepers -= 1;
    }

    /// Repeats `attempt`, which tries all of the sockets without waiting, until it returns
    /// something other than `WouldBlock`.
    pub(crate) fn wait_for<R>(&self, mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            let seen = self.rings();
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(seen),
                result => {
                    self.pass_on();
                    return result;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Several tokens come with one event, and each of them is taken.
    #[test]
    fn nobody_sleeps_while_there_is_something() {
        const TOKENS: usize = 3000;
        let bell = Arc::new(Bell::default());
        let (tokens, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let (bell, tokens, taken) = (bell.clone(), tokens.clone(), taken.clone());
                std::thread::spawn(move || {
                    loop {
                        let attempt = || {
                            if taken.load(Ordering::SeqCst) == TOKENS {
                                return Ok(false);
                            }
                            let one_less = |count: usize| count.checked_sub(1);
                            match tokens.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
                                Ok(_) => Ok(true),
                                Err(_) => Err(io::ErrorKind::WouldBlock.into()),
                            }
                        };
                        match bell.wait_for(attempt) {
                            Ok(true) if taken.fetch_add(1, Ordering::SeqCst) + 1 == TOKENS => bell.ring(true),
                            Ok(true) => {}
                            _ => return,
                        }
                    }
                })
            })
            .collect();
        for burst in 0..TOKENS / 3 {
            tokens.fetch_add(3, Ordering::SeqCst);
            bell.ring(false);
            if burst % 50 == 0 {
                std::thread::yield_now();
            }
        }
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(taken.load(Ordering::SeqCst), TOKENS);
    }
}
