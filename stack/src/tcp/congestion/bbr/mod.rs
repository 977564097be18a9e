//! BBR, version 3 (draft-ietf-ccwg-bbr; section numbers are those of its version 05): it models the
//! path by the highest delivery rate and the shortest round trip that were measured, within bounds
//! that losses and ECN marks set.
//!
//! Read [`model`] first, the estimates of the path; then [`cycle`] and [`probe`], which decide when
//! to probe for more; then this file, which computes the pacing rate and cwnd from both.
//!
//! ```text
//!   Startup --> Drain --> Down --> Cruise --> Refill --> Up --+
//!                          ^                                  |
//!                          +----------------------------------+      and ProbeRtt from anywhere, every five seconds
//! ```
//!
//! Rates are in bytes a second, volumes in bytes, gains in percent.

mod cycle;
mod model;
mod probe;

use core::time::Duration;

use super::ack::{Ack, Phase};
use super::control::{Control, Trigger};
use super::window::CongestionWindow;
use crate::tcp::pacer;
use crate::tcp::rate::{Lost, RateSample, per_second};
use crate::time::Instant;
use cycle::{Cycle, FullPipe};
use model::{Aggregation, Bounds, MaxBandwidth, MinRtt, Rounds, Signals};

/// §2.4: the gain that doubles the sending rate in each round trip, 4 ln 2.
const STARTUP_PACING_GAIN: u64 = 277;
/// §2.4: drains the queue of Startup in one round.
const DRAIN_PACING_GAIN: u64 = 50;
/// §2.5: BBR.DefaultCwndGain.
const CWND_GAIN: u64 = 200;
/// §5.3.3.4: room for the data with which Up probes.
const UP_CWND_GAIN: u64 = 225;
/// §5.6.2: the pacing rate is a little below the estimated rate, so that queues drain.
const PACING_MARGIN: u64 = 99;
/// §2.14: BBR.ProbeRTTCwndGain.
const PROBE_RTT_CWND_GAIN: u64 = 50;
/// §2.8: BBR.MinPipeCwnd: two acknowledgements of two segments each.
const MIN_PIPE_SEGS: u32 = 4;
/// §5.6.4.2: the longest pause between acknowledgements for which cwnd makes up.
const MAX_AGGREGATION: Duration = Duration::from_millis(100);
/// §5.6.2: the assumed round trip before the first measurement.
const NOMINAL_RTT: Duration = Duration::from_millis(1);

/// The state of the state machine (§5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    /// ProbeBW_DOWN: sends less than the path carries, to drain the queue.
    Down,
    /// ProbeBW_CRUISE: sends at the rate of the path, with headroom for other flows.
    Cruise,
    /// ProbeBW_REFILL: fills the headroom.
    Refill,
    /// ProbeBW_UP: probes for more bandwidth.
    Up,
    ProbeRtt,
}

impl Mode {
    fn is_probe_bw(self) -> bool {
        matches!(self, Mode::Down | Mode::Cruise | Mode::Refill | Mode::Up)
    }

    /// Whether the sender is probing for more: the lower bounds do not apply then (§5.5.10.3).
    fn is_probing(self) -> bool {
        matches!(self, Mode::Startup | Mode::Refill | Mode::Up)
    }

    fn pacing_gain(self) -> u64 {
        match self {
            Mode::Startup => STARTUP_PACING_GAIN,
            Mode::Drain => DRAIN_PACING_GAIN,
            Mode::Down => 90,
            Mode::Cruise | Mode::Refill | Mode::ProbeRtt => 100,
            Mode::Up => 125,
        }
    }

    fn cwnd_gain(self) -> u64 {
        match self {
            Mode::Up => UP_CWND_GAIN,
            Mode::ProbeRtt => PROBE_RTT_CWND_GAIN,
            _ => CWND_GAIN,
        }
    }
}

/// The state when an episode began (§5.5.11.1).
#[derive(Clone, Copy, Debug)]
struct Saved {
    bounds: Bounds,
}

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Bbr {
    mode: Mode,
    rounds: Rounds,
    max_bw: MaxBandwidth,
    min_rtt: MinRtt,
    signals: Signals,
    bounds: Bounds,
    aggregation: Aggregation,
    full: FullPipe,
    cycle: Cycle,
    saved: Option<Saved>,
    /// The last cwnd that no loss, time-out or ProbeRTT had lowered.
    prior_cwnd: u32,
    prior_phase: Phase,
    initial_cwnd: u32,
    pacing_rate: u64,
    has_seen_rtt: bool,
    /// Data was sent after an idle period, and none of it is acknowledged yet.
    idle_restart: bool,
}

impl Bbr {
    pub(super) fn new(window: &CongestionWindow, now: Instant) -> Bbr {
        let mut bbr = Bbr {
            mode: Mode::Startup,
            rounds: Rounds::default(),
            max_bw: MaxBandwidth::default(),
            min_rtt: MinRtt::new(now),
            signals: Signals::default(),
            bounds: Bounds::NONE,
            aggregation: Aggregation::new(now),
            full: FullPipe::default(),
            cycle: Cycle::new(now),
            saved: None,
            prior_cwnd: 0,
            prior_phase: Phase::Open,
            initial_cwnd: window.cwnd,
            pacing_rate: 0,
            has_seen_rtt: false,
            idle_restart: false,
        };
        bbr.init_pacing_rate(window, NOMINAL_RTT);
        bbr
    }

    /// The cwnd for `gain` percent of the bandwidth-delay product (§5.6.4.2), with room for the
    /// bursts that end systems hold.
    fn inflight(&self, window: &CongestionWindow, bw: u64, gain: u64) -> u32 {
        self.with_quantization(window, self.bdp(bw, gain))
    }

    /// `gain` percent of the bandwidth-delay product in bytes.
    fn bdp(&self, bw: u64, gain: u64) -> u32 {
        let Some(min_rtt) = self.min_rtt.get() else {
            // No measurement yet: a safe value.
            return self.initial_cwnd;
        };
        let micros = min_rtt.as_micros() as u64;
        let bytes = (bw.saturating_mul(micros) / 1_000_000).saturating_mul(gain) / 100;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// §5.6.4.2, BBRQuantizationBudget: room for three bursts: one in each end system and one in
    /// the network.
    fn with_quantization(&self, window: &CongestionWindow, bytes: u32) -> u32 {
        let bursts = pacer::quantum(self.pacing_rate, window.mss).saturating_mul(3);
        let bytes = bytes.max(bursts).max(window.of(MIN_PIPE_SEGS));
        // A path of a few segments must be probed, too.
        if self.mode == Mode::Up { bytes.saturating_add(window.of(2)) } else { bytes }
    }

    /// The rate that the model gives (§5.5.6).
    fn bw(&self) -> u64 {
        self.max_bw.get().min(self.bounds.bw_lo)
    }

    fn probe_rtt_cwnd(&self, window: &CongestionWindow) -> u32 {
        self.bdp(self.bw(), PROBE_RTT_CWND_GAIN).max(window.of(MIN_PIPE_SEGS))
    }

    /// The amount that should be in flight, limited by cwnd (§5.5.10.2, BBRTargetInflight).
    fn target_inflight(&self, window: &CongestionWindow) -> u32 {
        self.inflight(window, self.bw(), 100).min(window.cwnd)
    }

    /// §5.6.2, BBRInitPacingRate.
    fn init_pacing_rate(&mut self, window: &CongestionWindow, rtt: Duration) {
        self.pacing_rate = paced(per_second(window.cwnd, rtt), STARTUP_PACING_GAIN);
    }

    /// §5.6.2, BBRSetPacingRate: in Startup the rate never falls, because the samples may be
    /// limited by the program.
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = paced(self.bw(), gain);
        if self.full.is_reached || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// §5.6.4.3 to §5.6.4.7, BBRSetCwnd.
    fn set_cwnd(&mut self, window: &mut CongestionWindow, delivered_bytes: u32) {
        let mut cwnd = window.cwnd;
        if delivered_bytes > 0 {
            let silence = self.bdp_of(self.bw(), MAX_AGGREGATION);
            let extra = self.aggregation.extra_acked().min(silence);
            let target = self.bdp(self.bw(), self.mode.cwnd_gain().max(CWND_GAIN));
            let target = self.with_quantization(window, target.saturating_add(extra));
            if self.full.is_reached {
                cwnd = cwnd.saturating_add(delivered_bytes).min(target);
            } else if cwnd < target || cwnd < self.initial_cwnd.saturating_mul(2) {
                cwnd = cwnd.saturating_add(delivered_bytes);
            }
            cwnd = cwnd.max(window.of(MIN_PIPE_SEGS));
        }
        if self.mode == Mode::ProbeRtt {
            cwnd = cwnd.min(self.probe_rtt_cwnd(window));
        }
        window.set_cwnd(self.bounded(window, cwnd));
    }

    fn bdp_of(&self, bw: u64, time: Duration) -> u32 {
        u32::try_from(bw.saturating_mul(time.as_micros() as u64) / 1_000_000).unwrap_or(u32::MAX)
    }

    /// §5.6.4.7, BBRBoundCwndForModel: not more than the bounds that losses have set.
    fn bounded(&self, window: &CongestionWindow, cwnd: u32) -> u32 {
        let cap = match self.mode {
            Mode::Down | Mode::Refill | Mode::Up => self.bounds.inflight_hi,
            Mode::Cruise | Mode::ProbeRtt => self.inflight_with_headroom(window),
            Mode::Startup | Mode::Drain => u32::MAX,
        };
        cwnd.min(cap.min(self.bounds.inflight_lo).max(window.of(MIN_PIPE_SEGS)))
    }

    /// §5.6.4.6: the cwnd to return to.
    fn save_cwnd(&mut self, window: &CongestionWindow) {
        let is_whole = matches!(self.prior_phase, Phase::Open | Phase::Cwr) && self.mode != Mode::ProbeRtt;
        self.prior_cwnd = if is_whole { window.cwnd } else { self.prior_cwnd.max(window.cwnd) };
    }

    fn restore_cwnd(&self, window: &mut CongestionWindow) {
        window.set_cwnd(window.cwnd.max(self.prior_cwnd));
    }

    /// Updates the model from one acknowledgement (§5.2.3, BBRUpdateModelAndState).
    fn update_model(
        &mut self,
        window: &mut CongestionWindow,
        ack: &Ack,
        sample: &RateSample,
        cwnd_limited: bool,
    ) {
        let bw = sample.bytes_per_second();
        // In ProbeRTT the sender sends less than the path would carry.
        let is_limited = sample.is_application_limited || self.mode == Mode::ProbeRtt;
        if !is_limited || bw >= self.max_bw.get() {
            self.max_bw.on_sample(bw);
        }
        if self.signals.is_round_over {
            self.adapt_lower_bounds(window);
        }
        let now = self.rounds.has_started;
        let win_rounds = if self.full.is_reached { Aggregation::ROUNDS } else { 1 };
        self.aggregation.on_ack(ack, self.bw(), window.cwnd, now, win_rounds);
        self.check_startup_loss(window, ack, sample);
        if !is_limited {
            self.full.on_sample(bw, self.rounds.has_started);
        }
        self.check_drain(window, ack);
        self.update_cycle(window, ack, sample, cwnd_limited);
    }

    /// §5.5.10.3, BBRAdaptLowerBoundsFromCongestion: once per round, and not while probing.
    fn adapt_lower_bounds(&mut self, window: &CongestionWindow) {
        let is_congested = self.signals.loss_in_round || self.signals.ce_in_round;
        if is_congested && !self.mode.is_probing() {
            self.bounds.cut(window.cwnd, self.max_bw.get(), &self.signals);
        }
        self.signals.end_of_round();
    }
}

impl Control for Bbr {
    fn mode(&self) -> Option<&'static str> {
        Some(match self.mode {
            Mode::Startup => "BBR Startup",
            Mode::Drain => "BBR Drain",
            Mode::Down => "BBR ProbeBW_DOWN",
            Mode::Cruise => "BBR ProbeBW_CRUISE",
            Mode::Refill => "BBR ProbeBW_REFILL",
            Mode::Up => "BBR ProbeBW_UP",
            Mode::ProbeRtt => "BBR ProbeRTT",
        })
    }

    fn on_ack(&mut self, window: &mut CongestionWindow, ack: &Ack, cwnd_limited: bool) {
        if let (false, Some(srtt)) = (self.has_seen_rtt, ack.srtt) {
            self.has_seen_rtt = true;
            self.init_pacing_rate(window, srtt);
        }
        if self.prior_phase == Phase::Loss && ack.phase != Phase::Loss {
            self.restore_cwnd(window);
        }
        self.rounds.on_ack(ack.rate.as_ref());
        if self.rounds.has_started {
            self.cycle.rounds_since_probe = self.cycle.rounds_since_probe.saturating_add(1);
        }
        self.signals.on_ack(ack, self.rounds.has_started);
        if let Some(sample) = &ack.rate {
            self.update_model(window, ack, sample, cwnd_limited);
        }
        self.update_min_rtt(window, ack);
        self.set_pacing_rate(self.mode.pacing_gain());
        self.set_cwnd(window, ack.delivered_bytes);
        self.signals.advance(ack.rate.as_ref());
        self.prior_phase = ack.phase;
    }

    /// §5.5.11.1, BBRSaveStateUponLoss. The reaction to the losses is in [`Bbr::on_lost`], and at
    /// the end of each round.
    fn on_congestion(&mut self, window: &mut CongestionWindow, trigger: Trigger) {
        self.save_cwnd(window);
        self.saved = Some(Saved { bounds: self.bounds });
        match trigger {
            Trigger::Loss => {}
            Trigger::Ecn => self.on_mark(window),
            Trigger::Timeout => {
                self.full.restart(0);
                if !self.mode.is_probing() && self.bounds.inflight_lo == u32::MAX {
                    // cwnd is about to be one segment; the bound is cut from what it was.
                    self.bounds.inflight_lo = window.cwnd.max(self.prior_cwnd);
                }
            }
        }
    }

    /// §5.5.11.2, BBRHandleSpuriousLossDetection.
    fn undo(&mut self, window: &mut CongestionWindow) {
        let Some(saved) = self.saved.take() else { return };
        self.full.restart(0);
        self.signals.loss_in_round = false;
        self.bounds.widen(&saved.bounds);
        self.restore_cwnd(window);
    }

    fn on_lost(&mut self, window: &mut CongestionWindow, lost: &Lost) {
        self.handle_lost(window, lost);
    }

    /// §5.4.1, BBRHandleRestartFromIdle: sends at the rate of the path, not above it.
    fn on_idle(&mut self, window: &mut CongestionWindow, now: Instant, _idle: Duration) {
        self.idle_restart = true;
        self.aggregation.restart(now);
        if self.mode.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.mode == Mode::ProbeRtt {
            self.check_probe_rtt_done(window, now);
        }
    }

    fn controls_recovery(&self) -> bool {
        true
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn wants_limited_samples(&self) -> bool {
        self.mode == Mode::ProbeRtt
    }
}

/// The pacing rate for a gain, less the margin.
fn paced(bw: u64, gain: u64) -> u64 {
    (bw.saturating_mul(gain * PACING_MARGIN) / 10_000).max(1)
}

#[cfg(test)]
mod tests;
