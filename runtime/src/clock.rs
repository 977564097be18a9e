//! [`Clock`]: real time as an instant of the stack.

use std::sync::OnceLock;
use std::time::Duration;

use portolan::Instant;

/// The clock of this process: CLOCK_MONOTONIC, in the stack's [`Instant`].
///
/// There is one for the whole process, so that stacks, devices and wrappers can compare their
/// instants.
///
/// ```
/// use std::time::Duration;
///
/// use portolan_runtime::Clock;
///
/// let deadline = Clock::now() + Duration::from_secs(60);
/// assert!(Clock::until(deadline) > Duration::from_secs(50));
/// assert!(Clock::now() <= Clock::now());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Clock {
    /// Returns the time now. It is never earlier than an instant that was returned before, in any
    /// thread.
    pub fn now() -> Instant {
        Clock::instant_at(crate::sync::now())
    }

    /// Converts an instant of std. Instants before this clock's first use become its epoch.
    pub fn instant_at(at: std::time::Instant) -> Instant {
        Instant::ZERO + at.saturating_duration_since(origin())
    }

    /// Returns the time from now to `at`; zero if `at` has passed.
    pub fn until(at: Instant) -> Duration {
        at - Clock::now()
    }
}

fn origin() -> std::time::Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(std::time::Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_and_keeps_differences() {
        let first = Clock::now();
        let std_now = std::time::Instant::now();
        assert!(Clock::instant_at(std_now) >= first);
        let later = Clock::instant_at(std_now + Duration::from_micros(1500));
        assert_eq!(later - Clock::instant_at(std_now), Duration::from_micros(1500));
        assert_eq!(Clock::until(first), Duration::ZERO);
        assert!(Clock::until(first + Duration::from_secs(60)) > Duration::from_secs(50));
    }
}
