//! The state of probing: whether the pipe is full, and the cycle of ProbeBW and ProbeRTT.

use core::time::Duration;

use crate::tcp::congestion::window::CongestionWindow;
use crate::time::Instant;

/// §5.3.1.2: the pipe is full if the rate does not grow by a quarter in three rounds.
const FULL_BW_GROWTH: u64 = 125;
const FULL_BW_ROUNDS: u8 = 3;
/// §5.3.3.5.1: the next probe is two to three seconds away.
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_WAIT_SPREAD_NANOS: u64 = 1_000_000_000;

/// Whether the rate has reached a plateau (§5.3.1.2, §5.3.3.6).
#[derive(Clone, Debug, Default)]
pub(super) struct FullPipe {
    bw: u64,
    rounds: u8,
    /// Since the last [`restart`](FullPipe::restart).
    pub(super) is_now: bool,
    /// Since the connection began: Startup is over.
    pub(super) is_reached: bool,
}

impl FullPipe {
    /// Begins a new measurement at this rate.
    pub(super) fn restart(&mut self, bw: u64) {
        (self.bw, self.rounds, self.is_now) = (bw, 0, false);
    }

    /// A rate sample that the program did not limit.
    pub(super) fn on_sample(&mut self, bw: u64, is_round_start: bool) {
        if self.is_now {
            return;
        }
        if bw >= self.bw.saturating_mul(FULL_BW_GROWTH) / 100 {
            self.restart(bw);
        } else if is_round_start {
            self.rounds += 1;
            self.is_now = self.rounds >= FULL_BW_ROUNDS;
            self.is_reached |= self.is_now;
        }
    }
}

/// How the acknowledgements relate to the last probe (§5.3.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// The cycle of ProbeBW, and ProbeRTT.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// When `wait` began; `None` until the next acknowledgement.
    pub(super) started_at: Option<Instant>,
    pub(super) wait: Duration,
    pub(super) rounds_since_probe: u32,
    pub(super) ack_phase: AckPhase,
    /// Whether losses are now a result of the last probe.
    pub(super) samples_are_probes: bool,
    pub(super) prev_too_high: bool,
    pub(super) stopped_risky: bool,
    /// The bytes to be acknowledged for each segment by which inflight_hi rises, those acknowledged
    /// since, and the rounds of Up.
    pub(super) up_slope: u32,
    pub(super) up_acked: u32,
    pub(super) up_rounds: u8,
    pub(super) probe_rtt_done_at: Option<Instant>,
    pub(super) probe_rtt_round_done: bool,
    /// Spreads the probes of many flows (xorshift; it need not be secret).
    random: u64,
}

impl Cycle {
    pub(super) fn new(now: Instant) -> Cycle {
        Cycle {
            started_at: None,
            wait: PROBE_WAIT,
            rounds_since_probe: 0,
            ack_phase: AckPhase::Init,
            samples_are_probes: false,
            prev_too_high: false,
            stopped_risky: false,
            up_slope: u32::MAX,
            up_acked: 0,
            up_rounds: 0,
            probe_rtt_done_at: None,
            probe_rtt_round_done: false,
            random: now.as_nanos() | 1,
        }
    }

    /// §5.3.3.5, BBRPickProbeWait. `salt` is a value that differs between flows.
    pub(super) fn pick_wait(&mut self, salt: u32) {
        self.random ^= u64::from(salt);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.rounds_since_probe = (self.random & 1) as u32;
        self.wait = PROBE_WAIT + Duration::from_nanos((self.random >> 8) % PROBE_WAIT_SPREAD_NANOS);
    }

    /// §5.5.10.2, BBRRaiseInflightHiSlope: inflight_hi grows by one segment in the first round of
    /// Up, by two in the next, then by four.
    pub(super) fn raise_slope(&mut self, window: &CongestionWindow) {
        let segs = 1 << self.up_rounds;
        self.up_rounds = (self.up_rounds + 1).min(30);
        self.up_slope = (window.cwnd / segs).max(window.mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// §5.3.1.2: three rounds in which the rate grows by less than a quarter; samples between their
    /// starts do not count.
    #[test]
    fn the_pipe_is_full_after_three_rounds_of_a_plateau() {
        let mut full = FullPipe::default();
        full.on_sample(100, true);
        for (bw, is_round_start, is_full) in [
            (124, true, false),
            (124, false, false),
            (124, true, false),
            (125, false, false),
            (156, true, false),
            (156, true, false),
            (150, false, false),
            (155, true, false),
            (1, true, true),
        ] {
            full.on_sample(bw, is_round_start);
            assert_eq!((full.is_now, full.is_reached), (is_full, is_full), "{bw}");
        }
        full.on_sample(1000, true);
        assert!(full.is_now, "until it begins anew");
        full.restart(1000);
        assert!(!full.is_now && full.is_reached);
    }

    /// §5.3.3.5: between two and three seconds, and one round more or less, so that flows probe at
    /// different times.
    #[test]
    fn the_waits_between_probes_are_spread() {
        let mut cycle = Cycle::new(Instant::ZERO);
        let (mut waits, mut rounds) = (HashSet::new(), [0; 2]);
        for _ in 0..1000 {
            cycle.pick_wait(7);
            assert!(
                (PROBE_WAIT..PROBE_WAIT + Duration::from_secs(1)).contains(&cycle.wait),
                "{:?}",
                cycle.wait
            );
            waits.insert(cycle.wait.as_millis() / 10);
            rounds[cycle.rounds_since_probe as usize] += 1;
        }
        assert!(waits.len() > 95, "{} of 100", waits.len());
        assert!(rounds.iter().all(|count| (400..600).contains(count)), "{rounds:?}");
    }
}
