//! [`Spin`]: how long a leader busy-polls before it sleeps.

use std::time::Duration;

use crate::policy::SPIN_STEPS;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The time for which a leader spins: between zero and a limit, depending on whether that paid.
///
/// When a frame came while the leader was spinning, the time becomes the limit. When none came, the
/// time is halved, down to zero. When the leader slept for so short a time that spinning would have
/// caught the frame, the time grows.
#[derive(Debug)]
pub(crate) struct Spin {
    limit: Duration,
    /// The time in nanoseconds. Only the leader changes it.
    current: AtomicU64,
}

impl Spin {
    /// With a limit of zero no leader spins.
    pub(crate) fn new(limit: Duration) -> Self {
        let spin = Spin { limit, current: AtomicU64::new(0) };
        spin.set(limit);
        spin
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.limit.is_zero()
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.current.load(Ordering::Relaxed))
    }

    fn set(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.current.store(nanos, Ordering::Relaxed);
    }

    /// Notes that a frame or a wake-up came while the leader was spinning.
    pub(crate) fn on_found(&self) {
        self.set(self.limit);
    }

    /// Notes that the leader slept. `waited` is the time of spinning and sleeping together.
    pub(crate) fn on_slept(&self, waited: Duration) {
        let current = self.duration();
        let step = self.limit / SPIN_STEPS;
        let next = if waited <= self.limit { (current * 2).clamp(step, self.limit) } else { current / 2 };
        self.set(if next < step { Duration::ZERO } else { next });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(80);

    #[test]
    fn it_stops_when_it_does_not_pay_and_begins_again_when_it_would() {
        let spin = Spin::new(LIMIT);
        assert_eq!(spin.duration(), LIMIT);
        for _ in 0..4 {
            spin.on_slept(Duration::from_millis(1));
        }
        assert_eq!(spin.duration(), Duration::ZERO);
        spin.on_slept(Duration::from_millis(1));
        assert_eq!(spin.duration(), Duration::ZERO);
        for _ in 0..4 {
            spin.on_slept(Duration::from_micros(30));
        }
        assert_eq!(spin.duration(), LIMIT);
        spin.on_slept(Duration::from_millis(1));
        assert_eq!(spin.duration(), LIMIT / 2);
        spin.on_found();
        assert_eq!(spin.duration(), LIMIT);
    }

    #[test]
    fn without_a_limit_it_never_begins() {
        let spin = Spin::new(Duration::ZERO);
        assert!(!spin.is_on());
        for waited in [Duration::ZERO, Duration::from_micros(1), Duration::from_secs(1)] {
            spin.on_slept(waited);
            assert_eq!(spin.duration(), Duration::ZERO);
        }
    }
}
