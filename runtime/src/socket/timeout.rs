//! [`Timeout`]: SO_RCVTIMEO and SO_SNDTIMEO of a socket.

use std::io;
use std::time::Duration;

use crate::plan::refused;
use crate::sync::atomic::{AtomicU32, Ordering};

/// A duration: a number of microseconds in the upper bits, and how often it is to be doubled in the
/// lowest five. Zero means no time-out. So all sockets have room for it: less than two minutes are
/// exact to the microsecond, and longer ones are rounded up by less than a millisecond an hour.
#[derive(Debug, Default)]
pub(super) struct Timeout(AtomicU32);

impl Timeout {
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        // As in std: a time-out of zero would mean "never" to setsockopt, and is refused.
        if timeout == Some(Duration::ZERO) {
            return Err(refused(
                "a time-out of zero: give a longer one, None to wait as long as it takes, or use \
                 set_nonblocking(true) not to wait",
            ));
        }
        self.store(timeout);
        Ok(())
    }

    /// Sets the time-out. With a time of zero a call hardly waits.
    pub(super) fn store(&self, timeout: Option<Duration>) {
        self.0.store(timeout.map_or(0, Timeout::encode), Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> Option<Duration> {
        let value = self.0.load(Ordering::Relaxed);
        let micros = u64::from(value >> Timeout::DOUBLED_BITS) << (value & Timeout::MAX_DOUBLED);
        (value != 0).then_some(Duration::from_micros(micros))
    }

    const DOUBLED_BITS: u32 = 5;
    const MAX_DOUBLED: u32 = (1 << Timeout::DOUBLED_BITS) - 1;

    /// Rounds up, and to the longest time that it can express: 9,000 years.
    fn encode(timeout: Duration) -> u32 {
        let micros = timeout.as_nanos().div_ceil(1000).max(1);
        let room = u32::BITS - Timeout::DOUBLED_BITS;
        let doubled = (u128::BITS - micros.leading_zeros()).saturating_sub(room);
        let rounded = |doubled: u32| micros.div_ceil(1 << doubled);
        // Rounding up may take one bit more.
        let doubled = doubled + u32::from(rounded(doubled) >> room != 0);
        match u32::try_from(rounded(doubled.min(Timeout::MAX_DOUBLED))) {
            Ok(number) if doubled <= Timeout::MAX_DOUBLED => number << Timeout::DOUBLED_BITS | doubled,
            _ => u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(timeout: Duration) -> Duration {
        let kept = Timeout::default();
        kept.store(Some(timeout));
        kept.value().unwrap()
    }

    #[test]
    fn what_programs_use_is_kept_as_it_is() {
        assert_eq!(Timeout::default().value(), None);
        assert!(Timeout::default().set(Some(Duration::ZERO)).is_err());
        let seconds = [1, 5, 30, 60, 90, 120, 300, 600, 3600, 7200].map(Duration::from_secs);
        let micros = [1, 999, 1000, 1_234_567, 134_217_727].map(Duration::from_micros);
        for timeout in seconds.into_iter().chain(micros) {
            assert_eq!(kept(timeout), timeout);
        }
    }

    #[test]
    fn other_times_are_rounded_up_a_little() {
        assert_eq!(kept(Duration::ZERO), Duration::from_micros(1));
        assert_eq!(kept(Duration::from_nanos(1001)), Duration::from_micros(2));
        // One more than 27 bits, of ones.
        assert_eq!(kept(Duration::from_micros((1 << 28) - 1)), Duration::from_micros(1 << 28));
        let mut micros = 1;
        while micros < u64::MAX / 64 {
            let (timeout, kept) = (Duration::from_micros(micros), kept(Duration::from_micros(micros)));
            assert!(kept >= timeout && kept - timeout <= timeout / (1 << 26), "{timeout:?}: {kept:?}");
            micros += micros / 3 + 1;
        }
        let longest = kept(Duration::MAX);
        assert!(longest > Duration::from_secs(9000 * 365 * 86_400) && kept(longest) == longest);
    }
}
