//! The retransmission time-out (RFC 6298; RFC 9293 §3.8.1, MUST-18): smoothed round-trip time, its
//! variation, back-off.

use core::num::NonZeroU64;
use core::time::Duration;

use crate::config::TcpConfig;
use crate::time::Instant;

/// RFC 6298 §5.7 (RFC6298-5.7-a): the RTO of data after a SYN that was repeated.
const RTO_AFTER_SYN_LOSS: Duration = Duration::from_secs(3);

/// For how long the shortest round trip counts (Linux's tcp_min_rtt_wlen).
const MIN_RTT_WINDOW: Duration = Duration::from_secs(300);

/// SRTT, RTTVAR and RTO of one connection. In nanoseconds, so that rounding of the eighths and
/// quarters does not matter.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    /// SRTT and RTTVAR, once there is a measurement.
    smoothed: Option<Smoothed>,
    /// The bounds, in microseconds: at most 71 minutes.
    initial_rto: u32,
    min_rto: u32,
    max_rto: u32,
    /// How often the RTO was doubled (RFC 6298 §5.5).
    back_off: u8,
    min: Option<RecentMin>,
}

/// The shortest recent round trip.
#[derive(Clone, Copy, Debug)]
struct RecentMin {
    nanos: NonZeroU64,
    at: Instant,
}

/// SRTT is never zero, so that an `Option` of this takes no more memory.
#[derive(Clone, Copy, Debug)]
struct Smoothed {
    srtt: NonZeroU64,
    rttvar: u64,
}

impl RttEstimator {
    pub(crate) fn new(config: &TcpConfig) -> RttEstimator {
        let max_rto = micros(config.max_rto);
        RttEstimator {
            smoothed: None,
            initial_rto: micros(config.initial_rto),
            min_rto: micros(config.min_rto).min(max_rto),
            max_rto,
            back_off: 0,
            min: None,
        }
    }

    /// Takes the round trip of the last data that an acknowledgement delivered, which does not
    /// include a delay of the ACK for earlier data. The shortest sample counts for some minutes
    /// only, because paths change.
    pub(crate) fn on_min_sample(&mut self, now: Instant, rtt: Duration) {
        let nanos = at_least_one(nanos(rtt));
        if self.min.is_none_or(|min| nanos <= min.nanos || now.duration_since(min.at) > MIN_RTT_WINDOW) {
            self.min = Some(RecentMin { nanos, at: now });
        }
    }

    /// A round trip was measured: from a timestamp, or from a segment that was not retransmitted
    /// (Karn's algorithm, RFC 6298 §3). It ends the back-off; until then the longer RTO stays
    /// (RFC6298-5.7-b).
    pub(crate) fn on_sample(&mut self, rtt: Duration) {
        self.back_off = 0;
        // A coarse clock may measure zero.
        let rtt = nanos(rtt).max(1);
        self.smoothed = Some(match self.smoothed {
            // RFC 6298 §2.2 (RFC6298-2.2).
            None => Smoothed { srtt: at_least_one(rtt), rttvar: rtt / 2 },
            // RFC 6298 §2.3 (RFC6298-2.3-a, RFC6298-2.3-b): beta 1/4 and, with the former SRTT,
            // alpha 1/8. Divided before the sum, so nothing overflows.
            Some(Smoothed { srtt, rttvar }) => Smoothed {
                srtt: at_least_one(srtt.get() - srtt.get() / 8 + rtt / 8),
                rttvar: rttvar - rttvar / 4 + srtt.get().abs_diff(rtt) / 4,
            },
        });
    }

    /// The current time-out, with back-off, within the configured bounds.
    pub(crate) fn rto(&self) -> Duration {
        let min_rto = in_nanos(self.min_rto);
        let rto = match self.smoothed {
            // RFC 6298 §2.1 (RFC6298-2.1).
            None => in_nanos(self.initial_rto),
            // RFC 6298 §2.3 with Linux's floor under K * RTTVAR instead of under the sum
            // (RFC6298-2.4): a path with a steady 300 ms keeps a margin. It is coarser than any
            // clock, so G needs no term.
            Some(Smoothed { srtt, rttvar }) => {
                srtt.get().saturating_add(rttvar.saturating_mul(4).max(min_rto))
            }
        };
        let backed_off = rto.max(min_rto).saturating_mul(1 << self.back_off);
        Duration::from_nanos(backed_off.min(in_nanos(self.max_rto)))
    }

    /// The timer has fired: RFC 6298 §5.5 (RFC6298-5.5), doubles the next time-out.
    pub(crate) fn back_off(&mut self) {
        self.back_off = (self.back_off + 1).min(63);
    }

    /// The next time-out is not a doubled one.
    pub(crate) fn end_back_off(&mut self) {
        self.back_off = 0;
    }

    /// RFC 6298 §5.7: the SYN was repeated and gave no measurement, so the RTO is at least 3 s.
    pub(crate) fn on_syn_repeated(&mut self) {
        self.initial_rto = self.initial_rto.max(micros(RTO_AFTER_SYN_LOSS));
        self.back_off = 0;
    }

    /// How often the RTO was doubled.
    pub(crate) fn backed_off(&self) -> u8 {
        self.back_off
    }

    pub(crate) fn rttvar(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| Duration::from_nanos(smoothed.rttvar))
    }

    /// Once there is a measurement.
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.min.map(|min| Duration::from_nanos(min.nanos.get()))
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| Duration::from_nanos(smoothed.srtt.get()))
    }
}

fn at_least_one(nanos: u64) -> NonZeroU64 {
    NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn in_nanos(micros: u32) -> u64 {
    u64::from(micros) * 1_000
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn estimator() -> RttEstimator {
        RttEstimator::new(&TcpConfig::default())
    }

    // RFC 6298 §2.1, §2.2, §2.3.
    #[test]
    fn first_and_second_measurement() {
        let mut rtt = estimator();
        assert_eq!((rtt.rto(), rtt.srtt()), (MS(1000), None));
        rtt.on_sample(MS(800));
        assert_eq!(rtt.srtt(), Some(MS(800)));
        assert_eq!(rtt.rto(), MS(800 + 4 * 400));
        rtt.on_sample(MS(400));
        assert_eq!(rtt.srtt(), Some(MS(750)));
        assert_eq!(rtt.rto(), MS(750 + 4 * 400));
    }

    #[test]
    fn the_floor_is_under_the_variation() {
        let mut rtt = estimator();
        for _ in 0..1000 {
            rtt.on_sample(MS(300));
        }
        assert!(rtt.rto() >= MS(499) && rtt.rto() <= MS(501), "{:?}", rtt.rto());
    }

    /// RFC 8985 §6.2, step 1 (RFC8985-6.2-a).
    #[test]
    fn the_shortest_round_trip_is_that_of_some_minutes() {
        let mut rtt = estimator();
        let begun_at = Instant::from_secs(1);
        rtt.on_min_sample(begun_at, MS(40));
        rtt.on_min_sample(begun_at + MS(100), MS(60));
        assert_eq!(rtt.min_rtt(), Some(MS(40)));
        rtt.on_min_sample(begun_at + MIN_RTT_WINDOW, MS(60));
        assert_eq!(rtt.min_rtt(), Some(MS(40)), "the path may still be the one that it was");
        rtt.on_min_sample(begun_at + MIN_RTT_WINDOW + MS(1), MS(60));
        assert_eq!(rtt.min_rtt(), Some(MS(60)));
        rtt.on_min_sample(begun_at + MIN_RTT_WINDOW + MS(2), MS(50));
        assert_eq!(rtt.min_rtt(), Some(MS(50)));
    }

    // RFC 6298 §5.5, §2.5.
    #[test]
    fn backs_off_to_the_maximum_and_returns() {
        let mut rtt = estimator();
        rtt.on_sample(Duration::from_micros(50));
        let rto = rtt.rto();
        rtt.back_off();
        assert_eq!(rtt.rto(), rto * 2);
        rtt.back_off();
        assert_eq!(rtt.rto(), rto * 4);
        for _ in 0..300 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(), Duration::from_secs(120));
        rtt.on_sample(Duration::from_micros(50));
        assert_eq!(rtt.rto(), rto);
    }

    // RFC 6298 §5.7.
    #[test]
    fn after_a_repeated_syn_data_begins_with_three_seconds() {
        let mut rtt = estimator();
        rtt.back_off();
        rtt.on_syn_repeated();
        assert_eq!(rtt.rto(), Duration::from_secs(3));
        rtt.on_sample(MS(10));
        assert_eq!(rtt.rto(), MS(210));
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(samples: Vec<(u64, bool)>) {
            let mut rtt = estimator();
            let mut shortest = u64::MAX;
            for (nanos, timed_out) in samples {
                shortest = shortest.min(nanos);
                rtt.on_sample(Duration::from_nanos(nanos));
                if timed_out {
                    rtt.back_off();
                }
                prop_assert!(rtt.rto() >= MS(200) && rtt.rto() <= Duration::from_secs(120));
                // Never shorter than the shortest sample, except for rounding.
                prop_assert!(rtt.srtt() >= Some(Duration::from_nanos(shortest.saturating_sub(16))));
            }
        }
    }
}
