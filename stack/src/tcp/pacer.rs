//! When bursts may be sent at a given rate.

use core::time::Duration;

use crate::time::Instant;

/// The largest burst at any rate: one run of segments.
const MAX_QUANTUM: u32 = 64 << 10;
/// A burst is this much of a second, as a shift: 1/1024, Linux's sk_pacing_shift.
const QUANTUM_SHIFT: u32 = 10;
/// Below this many bytes a second even two segments at once would be a burst (draft-ietf-ccwg-bbr
/// §5.6.3: 1.2 Mbit/s).
const SLOW: u64 = 150_000;

/// The bytes in one burst at this rate (in bytes a second): about a millisecond's worth, but at
/// least two segments, as in Linux's tcp_tso_autosize, or one on a slow path.
pub(crate) fn quantum(rate: u64, mss: u32) -> u32 {
    let least = if rate < SLOW { mss } else { mss.saturating_mul(2) };
    let bytes = u32::try_from(rate >> QUANTUM_SHIFT).unwrap_or(MAX_QUANTUM);
    bytes.min(MAX_QUANTUM).max(least)
}

/// Determines when the next burst may be sent.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    next_at: Instant,
    /// Bytes sent of the current burst.
    burst: u32,
}

impl Pacer {
    pub(crate) fn new(now: Instant) -> Pacer {
        Pacer { next_at: now, burst: 0 }
    }

    /// When the next data may be sent; `None` if that is now.
    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        (self.next_at > now).then_some(self.next_at)
    }

    /// How many bytes of the current burst of `quantum` bytes may still be sent.
    pub(super) fn room(&self, quantum: u32) -> u32 {
        quantum.saturating_sub(self.burst)
    }

    /// `bytes` are sent at `rate` bytes a second; after a burst of `quantum` bytes there is a
    /// pause. If the timer fired late, the pause is shorter, by at most half of the burst's time
    /// (Linux's tcp_update_skb_after_send). A longer delay is not the timer's.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u32, rate: u64, quantum: u32) {
        self.burst = self.burst.saturating_add(bytes);
        if self.burst < quantum {
            return;
        }
        let nanos = u64::from(core::mem::take(&mut self.burst)).saturating_mul(1_000_000_000) / rate.max(1);
        let late = now.duration_since(self.next_at).min(Duration::from_nanos(nanos / 2));
        self.next_at = now + Duration::from_nanos(nanos) - late;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_a_millisecond_of_the_rate() {
        assert_eq!(quantum(12_500_000, 1448), 12_207);
        assert_eq!(quantum(1_000_000, 1448), 2896);
        assert_eq!(quantum(100_000, 1448), 1448);
        assert_eq!(quantum(10_000_000_000, 1448), 65_536);
    }

    #[test]
    fn the_rate_is_kept_though_timers_are_late() {
        let mut pacer = Pacer::new(Instant::ZERO);
        let mut now = Instant::ZERO;
        let mut bytes = 0;
        while now < Instant::from_secs(10) {
            pacer.on_sent(now, 10_000, 1_000_000, 10_000);
            bytes += 10_000;
            // The timer is 3 ms late each time, of 10 ms.
            now = pacer.wait_until(now).unwrap() + Duration::from_millis(3);
        }
        assert!((9_900_000..=10_020_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_pause_earns_nothing() {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.on_sent(Instant::from_secs(5), 10_000, 1_000_000, 10_000);
        assert_eq!(pacer.wait_until(Instant::from_secs(5)), Some(Instant::from_millis(5_005)));
    }

    #[test]
    fn a_burst_may_go_out_in_parts() {
        let mut pacer = Pacer::new(Instant::ZERO);
        pacer.on_sent(Instant::ZERO, 3000, 10_000_000, 10_000);
        assert_eq!((pacer.wait_until(Instant::ZERO), pacer.room(10_000)), (None, 7000));
        pacer.on_sent(Instant::ZERO, 7000, 10_000_000, 10_000);
        assert_eq!(pacer.wait_until(Instant::ZERO), Some(Instant::from_millis(1)));
    }
}
