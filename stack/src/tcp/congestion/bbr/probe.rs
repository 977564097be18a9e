//! How BBR asks the path for more: Startup and Drain, the cycle of ProbeBW, ProbeRTT (draft-ietf-ccwg-bbr §5.3).

use core::time::Duration;

use super::model::{BETA, percent};
use super::{Bbr, Mode};
use crate::tcp::congestion::{Ack, Phase, Window};
use crate::tcp::rate::{Lost, RateSample};
use crate::time::Instant;

/// §2.8: BBR.LossThresh: more than this share lost or marked, in percent, is too much in flight.
const LOSS_THRESH: u64 = 2;
/// §2.8: BBR.Headroom, in percent.
const HEADROOM: u64 = 15;
/// §5.3.1.2: a rate that does not grow by a quarter in three rounds is that of the path.
const FULL_BW_GROWTH: u64 = 125;
const FULL_BW_ROUNDS: u8 = 3;
/// §5.3.1.3: BBRStartupFullLossCnt.
const STARTUP_LOSS_EVENTS: u8 = 6;
/// §2.14: BBR.ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// §5.3.3.5.1: the next probe is two to three seconds away.
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_WAIT_SPREAD_NANOS: u64 = 1_000_000_000;
/// §5.3.3.5.2: or as many rounds as a Reno flow would take, at most 63.
const RENO_ROUNDS: u32 = 63;

/// Whether the rate has come to a plateau (§5.3.1.2, §5.3.3.6).
#[derive(Clone, Debug, Default)]
pub(super) struct FullPipe {
    bw: u64,
    rounds: u8,
    /// Since this was last asked anew.
    is_now: bool,
    /// Once in the connection's life: Startup is over.
    pub(super) is_reached: bool,
}

impl FullPipe {
    /// Asked anew, from this rate on.
    pub(super) fn restart(&mut self, bw: u64) {
        (self.bw, self.rounds, self.is_now) = (bw, 0, false);
    }

    /// A sample of the path, not of the program.
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
enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// The cycle of ProbeBW, and ProbeRTT.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// When the time began that is waited; `None` until the next acknowledgement says what time it is.
    started_at: Option<Instant>,
    wait: Duration,
    pub(super) rounds_since_probe: u32,
    ack_phase: AckPhase,
    /// Losses now are the answer to the last probe.
    samples_are_probes: bool,
    prev_too_high: bool,
    stopped_risky: bool,
    /// Bytes to be acknowledged for each segment by which inflight_hi rises, those that were, and the rounds of rising.
    up_slope: u32,
    up_acked: u32,
    up_rounds: u8,
    probe_rtt_done_at: Option<Instant>,
    probe_rtt_round_done: bool,
    /// Spreads the probes of many flows (xorshift; it is no secret).
    random: u64,
}

impl Cycle {
    pub(super) fn new(now: Instant) -> Cycle {
        Cycle {
            started_at: None,
            wait: PROBE_WAIT,
            rounds_since_probe: 0,
            ack_phase: AckPhase::Init,
            // Startup is a probe, too.
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

    /// §5.3.3.5, BBRPickProbeWait. `salt` is something that differs between flows.
    fn pick_wait(&mut self, salt: u32) {
        self.random ^= u64::from(salt);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.rounds_since_probe = (self.random & 1) as u32;
        self.wait = PROBE_WAIT + Duration::from_nanos((self.random >> 8) % PROBE_WAIT_SPREAD_NANOS);
    }

    /// §5.5.10.2, BBRRaiseInflightHiSlope: a segment more in the first round of Up, two in the next, then four.
    fn raise_slope(&mut self, window: &Window) {
        let segs = 1 << self.up_rounds;
        self.up_rounds = (self.up_rounds + 1).min(30);
        self.up_slope = (window.cwnd / segs).max(window.mss);
    }
}

/// §5.5.10.2, IsInflightTooHigh: marks count as losses (RFC 3168 §5).
fn is_too_high(lost: u32, tx_in_flight: u32) -> bool {
    u64::from(lost) > u64::from(tx_in_flight) * LOSS_THRESH / 100
}

impl Bbr {
    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// §5.3.1.3, BBRCheckStartupHighLoss: losses in many places of one round end Startup.
    pub(super) fn check_startup_loss(&mut self, window: &Window, ack: &Ack, sample: &RateSample) {
        if self.full.is_reached || !self.signals.is_round_over {
            return;
        }
        let is_lossy = ack.phase == Phase::Recovery && self.signals.loss_events >= STARTUP_LOSS_EVENTS;
        // Marks say early what losses would say late: one round is enough.
        let is_marked = sample.delivered_ce > 0;
        if (is_lossy || is_marked) && is_too_high(lost_or_marked(sample), sample.tx_in_flight) {
            self.full.is_reached = true;
            self.bounds.inflight_hi =
                self.inflight(window, self.max_bw.get(), 100).max(self.signals.inflight_latest);
        }
    }

    /// §5.3.1.2, §5.3.2: from Startup to Drain, and on when the queue is gone.
    pub(super) fn check_drain(&mut self, window: &mut Window, ack: &Ack) {
        if self.mode == Mode::Startup && self.full.is_reached {
            self.set_mode(Mode::Drain);
            self.signals.reset();
            // For those who look: BBR does not use it.
            let ssthresh = self.inflight(window, self.max_bw.get(), 100);
            window.set_ssthresh(ssthresh);
        }
        if self.mode == Mode::Drain && ack.in_flight <= self.inflight(window, self.max_bw.get(), 100) {
            self.start_down();
        }
    }

    /// §5.3.3.1.
    fn start_down(&mut self) {
        self.cycle.pick_wait(self.bounds.inflight_hi ^ self.signals.inflight_latest);
        self.signals.reset();
        self.cycle.up_slope = u32::MAX;
        self.cycle.started_at = None;
        self.cycle.ack_phase = AckPhase::ProbeStopping;
        self.rounds.restart();
        self.set_mode(Mode::Down);
    }

    /// §5.3.3.2.
    fn start_cruise(&mut self) {
        self.set_mode(Mode::Cruise);
        if self.bounds.inflight_lo != u32::MAX {
            self.bounds.inflight_lo = self.bounds.inflight_lo.min(self.bounds.inflight_hi);
        }
    }

    /// §5.3.3.3: nothing that was learned of the moment counts any more.
    fn start_refill(&mut self) {
        self.bounds.reset_lower();
        self.cycle.up_rounds = 0;
        self.cycle.up_acked = 0;
        self.cycle.stopped_risky = false;
        self.cycle.ack_phase = AckPhase::Refilling;
        self.rounds.restart();
        self.set_mode(Mode::Refill);
    }

    /// §5.3.3.4.
    fn start_up(&mut self, window: &Window, bw: u64) {
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.rounds.restart();
        self.full.restart(bw);
        self.set_mode(Mode::Up);
        self.cycle.raise_slope(window);
    }

    /// §5.3.3.6, BBRUpdateProbeBWCyclePhase.
    pub(super) fn update_cycle(
        &mut self,
        window: &Window,
        ack: &Ack,
        sample: &RateSample,
        cwnd_limited: bool,
    ) {
        if !self.full.is_reached || self.adapt_upper_bounds(window, ack, sample, cwnd_limited) {
            return;
        }
        match self.mode {
            Mode::Down => {
                if self.is_time_to_probe(window, ack.now) {
                    self.start_refill();
                } else if self.is_time_to_cruise(window, ack.prior_in_flight) {
                    self.start_cruise();
                }
            }
            Mode::Cruise => {
                if self.is_time_to_probe(window, ack.now) {
                    self.start_refill();
                }
            }
            Mode::Refill => {
                if self.rounds.has_started {
                    self.cycle.samples_are_probes = true;
                    self.start_up(window, sample.bytes_per_second());
                }
            }
            Mode::Up => {
                if self.is_time_to_go_down(window, ack, sample, cwnd_limited) {
                    // No losses so far.
                    self.cycle.prev_too_high = false;
                    self.start_down();
                }
            }
            Mode::Startup | Mode::Drain | Mode::ProbeRtt => {}
        }
    }

    /// §5.3.3.5, BBRCheckTimeToProbeBW.
    fn is_time_to_probe(&mut self, window: &Window, now: Instant) -> bool {
        let started_at = *self.cycle.started_at.get_or_insert(now);
        let reno = (self.target_inflight(window) / window.mss).min(RENO_ROUNDS);
        now > started_at + self.cycle.wait || self.cycle.rounds_since_probe >= reno
    }

    /// §5.3.3.6, BBRCheckTimeToCruise: the queue is gone, and there is room for others.
    fn is_time_to_cruise(&self, window: &Window, in_flight: u32) -> bool {
        in_flight <= self.inflight_with_headroom(window)
            && in_flight <= self.inflight(window, self.max_bw.get(), 100)
    }

    /// §5.3.3.6, BBRIsTimeToGoDown.
    fn is_time_to_go_down(
        &mut self,
        window: &Window,
        ack: &Ack,
        sample: &RateSample,
        cwnd_limited: bool,
    ) -> bool {
        if self.cycle.prev_too_high && ack.prior_in_flight >= self.bounds.inflight_hi {
            // Where it was too high last time: the queue is to be gone before more is asked.
            self.cycle.stopped_risky = true;
            return true;
        }
        if cwnd_limited && window.cwnd >= self.bounds.inflight_hi {
            // inflight_hi is in the way of a higher rate.
            self.full.restart(sample.bytes_per_second());
            return false;
        }
        self.full.is_now
    }

    /// §5.5.10.2, BBRAdaptUpperBounds; whether it has decided where the cycle goes on.
    fn adapt_upper_bounds(
        &mut self,
        window: &Window,
        ack: &Ack,
        sample: &RateSample,
        cwnd_limited: bool,
    ) -> bool {
        if self.rounds.has_started {
            match self.cycle.ack_phase {
                AckPhase::ProbeStarting => self.cycle.ack_phase = AckPhase::ProbeFeedback,
                AckPhase::ProbeStopping => {
                    self.cycle.samples_are_probes = false;
                    self.cycle.ack_phase = AckPhase::Init;
                    if self.mode.is_probe_bw() && !sample.is_application_limited {
                        self.max_bw.advance();
                    }
                    if self.mode.is_probe_bw() && self.cycle.stopped_risky && !self.cycle.prev_too_high {
                        // All the way up to inflight_hi, and nothing was lost: on from there.
                        self.start_refill();
                        return true;
                    }
                }
                _ => {}
            }
        }
        if is_too_high(lost_or_marked(sample), sample.tx_in_flight) {
            if self.cycle.samples_are_probes {
                self.handle_too_high(window, sample.tx_in_flight, sample.is_application_limited);
            }
        } else if self.bounds.inflight_hi != u32::MAX {
            self.bounds.inflight_hi = self.bounds.inflight_hi.max(sample.tx_in_flight);
            if self.mode == Mode::Up {
                self.raise_inflight_hi(window, ack, cwnd_limited);
            }
        }
        false
    }

    /// §5.5.10.2, BBRProbeInflightHiUpward.
    fn raise_inflight_hi(&mut self, window: &Window, ack: &Ack, cwnd_limited: bool) {
        if !cwnd_limited || window.cwnd < self.bounds.inflight_hi {
            return;
        }
        self.cycle.up_acked = self.cycle.up_acked.saturating_add(ack.delivered_bytes);
        if self.cycle.up_acked >= self.cycle.up_slope {
            let segs = self.cycle.up_acked / self.cycle.up_slope;
            self.cycle.up_acked %= self.cycle.up_slope;
            self.bounds.inflight_hi = self.bounds.inflight_hi.saturating_add(window.of(segs));
        }
        if self.rounds.has_started {
            self.cycle.raise_slope(window);
        }
    }

    /// §5.5.10.2, BBRHandleInflightTooHigh: once for each probe.
    fn handle_too_high(&mut self, window: &Window, tx_in_flight: u32, is_application_limited: bool) {
        self.cycle.prev_too_high = true;
        self.cycle.samples_are_probes = false;
        if !is_application_limited {
            let target = percent(self.target_inflight(window), BETA);
            self.bounds.inflight_hi = tx_in_flight.max(target);
        }
        if self.mode == Mode::Up {
            self.start_down();
        }
    }

    /// §5.5.10.2, BBRHandleLostPacket.
    pub(super) fn handle_lost(&mut self, window: &Window, lost: &Lost) {
        self.signals.on_lost();
        if self.cycle.samples_are_probes && is_too_high(lost.lost, lost.tx_in_flight) {
            self.handle_too_high(window, inflight_at_loss(lost), lost.is_application_limited);
        }
    }

    /// Congestion that ECN told of without saying how much (RFC 3168): it counts as a loss that is too much.
    pub(super) fn on_mark(&mut self, window: &Window) {
        self.signals.ce_in_round = true;
        if self.cycle.samples_are_probes {
            self.handle_too_high(window, self.target_inflight(window), false);
        } else if !self.full.is_reached {
            self.full.is_reached = true;
            self.bounds.inflight_hi =
                self.inflight(window, self.max_bw.get(), 100).max(self.signals.inflight_latest);
        }
    }

    /// §5.3.3.2: what others need to come in.
    pub(super) fn inflight_with_headroom(&self, window: &Window) -> u32 {
        if self.bounds.inflight_hi == u32::MAX {
            return u32::MAX;
        }
        let headroom = percent(self.bounds.inflight_hi, HEADROOM).max(window.mss);
        self.bounds.inflight_hi.saturating_sub(headroom).max(window.of(super::MIN_PIPE_SEGS))
    }

    /// §5.3.4.3, BBRUpdateMinRTT and BBRCheckProbeRTT.
    pub(super) fn update_min_rtt(&mut self, window: &mut Window, ack: &Ack) {
        let is_due = self.min_rtt.on_ack(ack.now, ack.rtt);
        if is_due && !self.idle_restart && self.mode != Mode::ProbeRtt {
            self.save_cwnd(window);
            self.set_mode(Mode::ProbeRtt);
            self.cycle.probe_rtt_done_at = None;
            self.cycle.ack_phase = AckPhase::ProbeStopping;
            self.rounds.restart();
        }
        if self.mode == Mode::ProbeRtt {
            self.on_ack_in_probe_rtt(window, ack);
        }
        if ack.delivered_bytes > 0 {
            self.idle_restart = false;
        }
    }

    /// §5.3.4.3, BBRHandleProbeRTT: 200 ms and one round with little in flight.
    fn on_ack_in_probe_rtt(&mut self, window: &mut Window, ack: &Ack) {
        if self.cycle.probe_rtt_done_at.is_none() {
            if ack.in_flight <= self.probe_rtt_cwnd(window) {
                self.cycle.probe_rtt_done_at = Some(ack.now + PROBE_RTT_DURATION);
                self.cycle.probe_rtt_round_done = false;
                self.rounds.restart();
            }
            return;
        }
        self.cycle.probe_rtt_round_done |= self.rounds.has_started;
        if self.cycle.probe_rtt_round_done {
            self.check_probe_rtt_done(window, ack.now);
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, window: &mut Window, now: Instant) {
        if self.cycle.probe_rtt_done_at.is_none_or(|done_at| now <= done_at) {
            return;
        }
        self.min_rtt.on_probed(now);
        self.restore_cwnd(window);
        self.bounds.reset_lower();
        if self.full.is_reached {
            // Down first for its clock; there is nothing to drain.
            self.start_down();
            self.start_cruise();
        } else {
            self.set_mode(Mode::Startup);
        }
    }
}

/// What a sample says was lost, or would have been.
fn lost_or_marked(sample: &RateSample) -> u32 {
    sample.lost.saturating_add(sample.delivered_ce)
}

/// §5.5.10.2, BBRInflightHiFromLostPacket: what was in flight when the losses crossed the threshold, somewhere in this record.
fn inflight_at_loss(lost: &Lost) -> u32 {
    let (bytes, lost_bytes) = (u64::from(lost.bytes), u64::from(lost.lost));
    let in_flight_before = u64::from(lost.tx_in_flight).saturating_sub(bytes);
    let lost_before = lost_bytes.saturating_sub(bytes);
    let budget = in_flight_before * LOSS_THRESH / 100;
    let prefix = budget.saturating_sub(lost_before) * 100 / (100 - LOSS_THRESH);
    u32::try_from(in_flight_before + prefix).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// §5.3.3.5: between two and three seconds, and one round more or less, so that flows do not probe together.
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
