//! A token bucket (RFC 4443 §2.4 (f)): so many errors at once, so many a second.

use crate::time::Instant;

const SECOND: u64 = 1_000_000_000;

/// See the module's page. Tokens are kept as the nanoseconds in which they grow.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Between two tokens; none: no token ever.
    interval: Option<u64>,
    full: u64,
    credit: u64,
    counted_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = SECOND.checked_div(u64::from(per_second)).map(|interval| interval.max(1));
        let full = interval.unwrap_or(0).saturating_mul(u64::from(burst));
        TokenBucket { interval, full, credit: full, counted_at: now }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let grown = now.as_nanos().saturating_sub(self.counted_at.as_nanos());
        self.counted_at = now;
        self.credit = self.credit.saturating_add(grown).min(self.full);
        let has_token = self.credit >= interval;
        if has_token {
            self.credit -= interval;
        }
        has_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let mut bucket = TokenBucket::new(10, 3, Instant::ZERO);
        let mut take_at = |millis| bucket.take(Instant::from_millis(millis));
        assert_eq!(
            [0, 0, 0, 0, 99, 100, 101, 250, 300].map(&mut take_at),
            [true, true, true, false, false, true, false, true, true]
        );
        // An hour fills it, and no more.
        assert_eq!([3_600_000; 4].map(take_at), [true, true, true, false]);
    }

    #[test]
    fn zero_means_never() {
        assert!(!TokenBucket::new(0, 50, Instant::ZERO).take(Instant::from_secs(1)));
        assert!(!TokenBucket::new(50, 0, Instant::ZERO).take(Instant::from_secs(1)));
    }
}
