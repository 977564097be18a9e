//! How BBR asks the path for more: Startup and Drain, the cycle of ProbeBW, ProbeRTT
//! (draft-ietf-ccwg-bbr §5.3).

use core::time::Duration;

use super::cycle::AckPhase;
use super::model::{BETA, percent};
use super::{Bbr, MIN_PIPE_SEGS, Mode};
use crate::tcp::congestion::ack::{Ack, Phase};
use crate::tcp::congestion::window::CongestionWindow;
use crate::tcp::rate::{Lost, RateSample};
use crate::time::Instant;

/// §2.8: BBR.LossThresh: if more than this share is lost or marked, in percent, too much is in
/// flight.
const LOSS_THRESH: u64 = 2;
/// §2.8: BBR.Headroom, in percent.
const HEADROOM: u64 = 15;
/// §5.3.1.3: BBRStartupFullLossCnt.
const STARTUP_LOSS_EVENTS: u8 = 6;
/// §2.14: BBR.ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// §5.3.3.5.2: a probe also begins after as many rounds as Reno would take, at most 63.
const RENO_ROUNDS: u32 = 63;

/// §5.5.10.2, IsInflightTooHigh: marks count as losses (RFC 3168 §5).
fn is_too_high(lost: u32, tx_in_flight: u32) -> bool {
    u64::from(lost) > u64::from(tx_in_flight) * LOSS_THRESH / 100
}

impl Bbr {
    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// §5.3.1.3, BBRCheckStartupHighLoss: several loss events in one round end Startup.
    pub(super) fn check_startup_loss(&mut self, window: &CongestionWindow, ack: &Ack, sample: &RateSample) {
        if self.full.is_reached || !self.signals.is_round_over {
            return;
        }
        let is_lossy = ack.phase == Phase::Recovery && self.signals.loss_events >= STARTUP_LOSS_EVENTS;
        // Marks come earlier than losses, so they need no minimum number of events.
        let is_marked = sample.delivered_ce > 0;
        if (is_lossy || is_marked) && is_too_high(lost_or_marked(sample), sample.tx_in_flight) {
            self.full.is_reached = true;
            self.bounds.inflight_hi =
                self.inflight(window, self.max_bw.get(), 100).max(self.signals.inflight_latest);
        }
    }

    /// §5.3.1.2, §5.3.2: Startup ends in Drain, and Drain ends when the queue is empty.
    pub(super) fn check_drain(&mut self, window: &mut CongestionWindow, ack: &Ack) {
        if self.mode == Mode::Startup && self.full.is_reached {
            self.set_mode(Mode::Drain);
            self.signals.reset();
            // Only for `TcpInfo`: BBR does not use ssthresh.
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

    /// §5.3.3.3: the short-term bounds no longer apply.
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
    fn start_up(&mut self, window: &CongestionWindow, bw: u64) {
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.rounds.restart();
        self.full.restart(bw);
        self.set_mode(Mode::Up);
        self.cycle.raise_slope(window);
    }

    /// §5.3.3.6, BBRUpdateProbeBWCyclePhase.
    pub(super) fn update_cycle(
        &mut self,
        window: &CongestionWindow,
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
                    // The probe caused no losses.
                    self.cycle.prev_too_high = false;
                    self.start_down();
                }
            }
            Mode::Startup | Mode::Drain | Mode::ProbeRtt => {}
        }
    }

    /// §5.3.3.5, BBRCheckTimeToProbeBW.
    fn is_time_to_probe(&mut self, window: &CongestionWindow, now: Instant) -> bool {
        let started_at = *self.cycle.started_at.get_or_insert(now);
        let reno = (self.target_inflight(window) / window.mss).min(RENO_ROUNDS);
        now > started_at + self.cycle.wait || self.cycle.rounds_since_probe >= reno
    }

    /// §5.3.3.6, BBRCheckTimeToCruise: the queue is empty, and there is headroom for other flows.
    fn is_time_to_cruise(&self, window: &CongestionWindow, in_flight: u32) -> bool {
        in_flight <= self.inflight_with_headroom(window)
            && in_flight <= self.inflight(window, self.max_bw.get(), 100)
    }

    /// §5.3.3.6, BBRIsTimeToGoDown.
    fn is_time_to_go_down(
        &mut self,
        window: &CongestionWindow,
        ack: &Ack,
        sample: &RateSample,
        cwnd_limited: bool,
    ) -> bool {
        if self.cycle.prev_too_high && ack.prior_in_flight >= self.bounds.inflight_hi {
            // The last probe was too high here: drain the queue before probing further.
            self.cycle.stopped_risky = true;
            return true;
        }
        if cwnd_limited && window.cwnd >= self.bounds.inflight_hi {
            // inflight_hi keeps the rate from rising.
            self.full.restart(sample.bytes_per_second());
            return false;
        }
        self.full.is_now
    }

    /// §5.5.10.2, BBRAdaptUpperBounds. Returns whether it has changed the mode.
    pub(super) fn adapt_upper_bounds(
        &mut self,
        window: &CongestionWindow,
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
                        // Up reached inflight_hi without a loss: continue from there.
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
    fn raise_inflight_hi(&mut self, window: &CongestionWindow, ack: &Ack, cwnd_limited: bool) {
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

    /// §5.5.10.2, BBRHandleInflightTooHigh, at most once in each probe.
    fn handle_too_high(
        &mut self,
        window: &CongestionWindow,
        tx_in_flight: u32,
        is_application_limited: bool,
    ) {
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
    pub(super) fn handle_lost(&mut self, window: &CongestionWindow, lost: &Lost) {
        self.signals.on_lost();
        if self.cycle.samples_are_probes && is_too_high(lost.lost, lost.tx_in_flight) {
            self.handle_too_high(window, inflight_at_loss(lost), lost.is_application_limited);
        }
    }

    /// An ECN mark without a count (RFC 3168): it counts as losses above the threshold.
    pub(super) fn on_mark(&mut self, window: &CongestionWindow) {
        self.signals.ce_in_round = true;
        if self.cycle.samples_are_probes {
            self.handle_too_high(window, self.target_inflight(window), false);
        } else if !self.full.is_reached {
            self.full.is_reached = true;
            self.bounds.inflight_hi =
                self.inflight(window, self.max_bw.get(), 100).max(self.signals.inflight_latest);
        }
    }

    /// §5.3.3.2: inflight_hi less the headroom for other flows.
    pub(super) fn inflight_with_headroom(&self, window: &CongestionWindow) -> u32 {
        if self.bounds.inflight_hi == u32::MAX {
            return u32::MAX;
        }
        let headroom = percent(self.bounds.inflight_hi, HEADROOM).max(window.mss);
        self.bounds.inflight_hi.saturating_sub(headroom).max(window.of(MIN_PIPE_SEGS))
    }

    /// §5.3.4.3, BBRUpdateMinRTT and BBRCheckProbeRTT.
    pub(super) fn update_min_rtt(&mut self, window: &mut CongestionWindow, ack: &Ack) {
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

    /// §5.3.4.3, BBRHandleProbeRTT: ProbeRTT ends after 200 ms and one round with little in flight.
    fn on_ack_in_probe_rtt(&mut self, window: &mut CongestionWindow, ack: &Ack) {
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

    pub(super) fn check_probe_rtt_done(&mut self, window: &mut CongestionWindow, now: Instant) {
        if self.cycle.probe_rtt_done_at.is_none_or(|done_at| now <= done_at) {
            return;
        }
        self.min_rtt.on_probed(now);
        self.restore_cwnd(window);
        self.bounds.reset_lower();
        if self.full.is_reached {
            // Down is entered first because it resets the cycle; there is no queue to drain.
            self.start_down();
            self.start_cruise();
        } else {
            self.set_mode(Mode::Startup);
        }
    }
}

/// The bytes of a sample that were lost or marked.
fn lost_or_marked(sample: &RateSample) -> u32 {
    sample.lost.saturating_add(sample.delivered_ce)
}

/// §5.5.10.2, BBRInflightHiFromLostPacket: the bytes in flight at the point in this record where
/// the losses crossed the threshold.
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

    #[test]
    fn more_than_two_percent_is_too_much() {
        assert!(!is_too_high(0, 0) && is_too_high(1, 0));
        assert!(!is_too_high(200, 10_000) && is_too_high(201, 10_000));
        assert!(!is_too_high(20_000_000, 1_000_000_000), "no overflow");
    }

    /// §5.5.10.2: the bytes of the record count as long as the losses stay within two percent.
    #[test]
    fn what_was_in_flight_when_losses_became_too_many() {
        let at = |bytes, lost, tx_in_flight| {
            inflight_at_loss(&Lost { bytes, lost, tx_in_flight, is_application_limited: false })
        };
        // Nothing was lost before this record, and 9,000 bytes were in flight. 180 bytes may be
        // lost; they are 98 % of the bytes that count.
        assert_eq!(at(1000, 1000, 10_000), 9000 + 180 * 100 / 98);
        assert_eq!(at(1000, 1100, 10_000), 9000 + 80 * 100 / 98);
        assert_eq!(at(1000, 1180, 10_000), 9000);
        assert_eq!(at(1000, 5000, 10_000), 9000, "too many before");
        assert_eq!(at(1000, 1000, 1000), 0);
        assert_eq!(at(2000, 1000, 1000), 0);
    }

    #[test]
    fn shares_are_of_a_hundred() {
        assert_eq!([0, 1, 70, 100, 200].map(|share| percent(1000, share)), [0, 10, 700, 1000, 2000]);
        assert_eq!(percent(u32::MAX, 70), 3_006_477_106);
        assert_eq!(percent(u32::MAX, 200), u32::MAX);
    }
}
