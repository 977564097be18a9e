//! CUBIC (RFC 9438): in congestion avoidance cwnd follows a cubic function of the time since the
//! last reduction, which is flat at the window of the last loss. cwnd never stays below what Reno
//! would reach.
//!
//! ```text
//!   cwnd                                                    .
//!  W_max  - - - - - - - - - - . - ' ' ' ' ' ' ' - - - - . '   convex: above, probing for more
//!                     . '              plateau
//!                  .'     concave: back quickly to W_max
//!  cwnd_epoch  . '
//!           t_epoch                K                          time
//! ```
//!
//! Windows are in bytes, times on the curve in 1/1024 s. All arithmetic is integer.

use alloc::boxed::Box;
use core::time::Duration;

use super::ack::Ack;
use super::control::{Control, Trigger};
use super::hystart::{HyStart, SlowStart};
use super::window::{CongestionWindow, MAX_CWND, rescale};
use crate::time::Instant;

/// RFC 9438 §4.6 (RFC9438-5): beta_cubic = 0.7, in 1/1024.
const BETA: u64 = 717;
/// RFC 9438 §4.7 (RFC9438-4.7): (1 + beta_cubic) / 2, in 1/1024.
const FAST_CONVERGENCE: u64 = 870;
/// RFC 9438 §5 (RFC9438-5): C = 0.4, in 2^-16.
const C: u128 = 26_214;
/// Ticks of the curve per second, as a shift.
const TICKS: u32 = 10;
const NANOS_PER_TICK: u64 = 976_563;
/// Later than this the window is at its limit for every MSS.
const MAX_TICKS: u64 = 1 << 21;
/// A slope is computed again after this time, or when cwnd changes (Linux's bictcp_update).
const SLOPE_LIFE: Duration = Duration::from_millis(31);

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    /// RFC 9438 §4.1's W_max; 0 before the first loss.
    w_max: u32,
    /// cwnd when ssthresh was last set.
    cwnd_prior: u32,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The first slow start (RFC9438-4.10-a, RFC9406-4.3-b).
    Probing(HyStart),
    /// Slow start up to a known ssthresh, or congestion avoidance that has not begun.
    Waiting,
    /// Boxed, because a connection without a loss has none.
    Avoiding(Box<Curve>),
}

impl Cubic {
    pub(super) fn new() -> Cubic {
        Cubic { w_max: 0, cwnd_prior: 0, stage: Stage::Probing(HyStart::new()) }
    }

    /// From now on slow start ends only at ssthresh or with a loss.
    pub(super) fn switch_hystart_off(&mut self) {
        if let Stage::Probing(_) = self.stage {
            self.stage = Stage::Waiting;
        }
    }
}

impl Control for Cubic {
    fn on_ack(&mut self, window: &mut CongestionWindow, ack: &Ack, cwnd_limited: bool) {
        if let Stage::Probing(hystart) = &mut self.stage {
            match hystart.on_ack(window, ack, cwnd_limited) {
                SlowStart::GoesOn => return,
                SlowStart::Ends => {
                    window.set_ssthresh(window.cwnd);
                    self.stage = Stage::Waiting;
                    return;
                }
            }
        }
        if !cwnd_limited {
            // RFC 9438 §5.8 (RFC9438-5.8): the curve stands still.
            if let Stage::Avoiding(curve) = &mut self.stage {
                curve.pause(ack.now);
            }
            return;
        }
        let in_avoidance = window.slow_start(ack.delivered_bytes);
        if in_avoidance == 0 {
            return;
        }
        if !matches!(self.stage, Stage::Avoiding(_)) {
            let curve = Curve::new(ack.now, window, self.w_max, self.cwnd_prior);
            self.stage = Stage::Avoiding(Box::new(curve));
        }
        if let Stage::Avoiding(curve) = &mut self.stage {
            let rtt = ack.srtt.or(ack.min_rtt).unwrap_or(Duration::ZERO);
            curve.on_ack(ack.now, rtt, window, in_avoidance);
        }
    }

    fn on_congestion(&mut self, window: &mut CongestionWindow, trigger: Trigger) {
        let cwnd = window.cwnd;
        self.cwnd_prior = cwnd;
        self.w_max = match trigger {
            // RFC 9438 §4.8 (RFC9438-4.8-b): after a time-out the curve begins where slow start
            // will end.
            Trigger::Timeout => 0,
            // RFC 9438 §4.7 (RFC9438-4.7): a smaller window than last time means a new flow on the
            // path, so release bandwidth faster.
            _ if cwnd < self.w_max => portion(cwnd, FAST_CONVERGENCE),
            _ => cwnd,
        };
        // RFC 9438 §4.6 (RFC9438-4.6-a), of cwnd as on Linux: window validation ensures that cwnd
        // is in use. The first slow start is over, even in CSS (RFC9406-4.2-g).
        window.set_ssthresh(portion(cwnd, BETA));
        self.stage = Stage::Waiting;
    }

    fn on_idle(&mut self, _window: &mut CongestionWindow, _now: Instant, idle: Duration) {
        if let Stage::Avoiding(curve) = &mut self.stage {
            curve.shift(idle);
        }
    }

    fn on_decayed(&mut self) {
        // The curve began at a window that no longer applies.
        if let Stage::Avoiding(_) = self.stage {
            self.stage = Stage::Waiting;
        }
    }

    fn on_mss(&mut self, old: u32, new: u32) {
        self.w_max = rescale(self.w_max, old, new);
        self.cwnd_prior = rescale(self.cwnd_prior, old, new);
        self.on_decayed();
    }
}

/// One stage of congestion avoidance (RFC 9438 §4.2, RFC9438-4.2-a). If no loss came before it, it
/// begins on its plateau (RFC9438-4.10-b).
#[derive(Clone, Debug)]
struct Curve {
    /// t_epoch, moved forward by the time that does not count.
    epoch: Instant,
    /// Since when cwnd has not been in full use.
    paused_at: Option<Instant>,
    /// K, in ticks.
    k: u32,
    /// The plateau: W_max, or cwnd_epoch if that is higher.
    plateau: u32,
    /// Whether a loss has shown where the plateau is.
    is_plateau_known: bool,
    cwnd_prior: u32,
    /// Bytes delivered since cwnd last grew, and how many of them make cwnd grow by one segment.
    credit: u32,
    slope: u32,
    /// W_est of RFC 9438 §4.3, with its own credit and slope.
    w_est: u32,
    est_credit: u32,
    est_slope: u32,
    /// The cwnd for which the slopes were computed, and until when they are valid.
    slope_cwnd: u32,
    slope_until: Instant,
}

impl Curve {
    fn new(now: Instant, window: &CongestionWindow, w_max: u32, cwnd_prior: u32) -> Curve {
        let cwnd = window.cwnd;
        Curve {
            epoch: now,
            paused_at: None,
            k: time_to_rise(w_max.saturating_sub(cwnd), window.mss),
            plateau: w_max.max(cwnd),
            is_plateau_known: w_max > 0,
            cwnd_prior,
            credit: 0,
            slope: u32::MAX,
            w_est: cwnd,
            est_credit: 0,
            est_slope: u32::MAX,
            slope_cwnd: 0,
            slope_until: now,
        }
    }

    fn pause(&mut self, now: Instant) {
        self.paused_at.get_or_insert(now);
    }

    /// Moves the epoch forward: this time does not count.
    fn shift(&mut self, idle: Duration) {
        if self.paused_at.is_none() {
            self.epoch += idle;
        }
    }

    fn on_ack(&mut self, now: Instant, rtt: Duration, window: &mut CongestionWindow, delivered_bytes: u32) {
        if let Some(paused_at) = self.paused_at.take() {
            self.epoch += now.duration_since(paused_at);
        }
        if window.cwnd != self.slope_cwnd || now >= self.slope_until {
            self.update_slopes(now, rtt, window);
        }
        self.credit = self.credit.saturating_add(delivered_bytes);
        if self.credit >= self.slope {
            let segs = self.credit / self.slope;
            self.credit %= self.slope;
            window.grow(window.of(segs));
        }
        self.est_credit = self.est_credit.saturating_add(delivered_bytes);
        if self.est_credit >= self.est_slope {
            let segs = self.est_credit / self.est_slope;
            self.est_credit %= self.est_slope;
            self.w_est = self.w_est.saturating_add(window.of(segs)).min(MAX_CWND);
        }
        // RFC 9438 §4.3 (RFC9438-4.3-a): the Reno-friendly region.
        if self.w_est > window.cwnd {
            window.set_cwnd(self.w_est);
        }
    }

    /// RFC 9438 §4.4 and §4.5 (RFC9438-4.4, RFC9438-4.5, RFC9438-4.2-c): (target - cwnd) / cwnd of
    /// a segment for each segment acknowledged, where target is the curve one round trip from now,
    /// at most 1.5 cwnd. Stored as the reciprocal, so that few acknowledgements need a division.
    fn update_slopes(&mut self, now: Instant, rtt: Duration, window: &CongestionWindow) {
        let cwnd = window.cwnd;
        self.slope_cwnd = cwnd;
        self.slope_until = now + SLOPE_LIFE;
        let target = self.window_at(now + rtt, window.mss);
        let rise = target.saturating_sub(cwnd).min(cwnd / 2);
        let per_segment = |rise: u32| u64::from(cwnd) * u64::from(window.mss) / u64::from(rise.max(1));
        let mut slope = if rise > 0 { per_segment(rise) } else { u64::from(u32::MAX) };
        if !self.is_plateau_known {
            // The limit of the path is not known yet: at least 5 % a round trip (Linux's
            // bictcp_update).
            slope = slope.min(20 * u64::from(window.mss));
        }
        self.slope = u32::try_from(slope).unwrap_or(u32::MAX).max(1);
        // alpha_cubic = 3 (1 - beta) / (1 + beta) = 9/17, and 1 once W_est has reached cwnd_prior
        // (RFC9438-4.3-b).
        let est_slope = if self.w_est < self.cwnd_prior { u64::from(cwnd) * 17 / 9 } else { u64::from(cwnd) };
        self.est_slope = u32::try_from(est_slope).unwrap_or(u32::MAX).max(1);
    }

    /// W_cubic(t), RFC 9438 §4.2, equation 1.
    fn window_at(&self, at: Instant, mss: u32) -> u32 {
        let ticks = at.duration_since(self.epoch).as_nanos() as u64 / NANOS_PER_TICK;
        let k = u64::from(self.k);
        let offset = u128::from(ticks.abs_diff(k).min(MAX_TICKS));
        let distance = (u128::from(mss) * C * (offset * offset * offset)) >> (16 + 3 * TICKS);
        let distance = u32::try_from(distance).unwrap_or(u32::MAX);
        if ticks < k {
            self.plateau.saturating_sub(distance)
        } else {
            self.plateau.saturating_add(distance).min(MAX_CWND)
        }
    }
}

/// K (RFC 9438 §4.2, equation 2, RFC9438-4.2-b): how long the curve takes to rise by `bytes` to its
/// plateau, which is the cube root of segments / C.
fn time_to_rise(bytes: u32, mss: u32) -> u32 {
    // At most 2^30 * 2^30 * 5 / 2.
    let cube = (u64::from(bytes.min(MAX_CWND)) << (3 * TICKS)) / 2 * 5 / u64::from(mss);
    cube_root(cube)
}

/// The largest number whose cube is at most `n`, digit by digit.
fn cube_root(n: u64) -> u32 {
    let mut root: u64 = 0;
    let mut rest = n;
    for shift in (0..=63).rev().step_by(3) {
        root *= 2;
        // (root + 1)^3 - root^3.
        let step = 3 * root * (root + 1) + 1;
        if (rest >> shift) >= step {
            rest -= step << shift;
            root += 1;
        }
    }
    // The root of a number below 2^64 is below 2^22.
    root as u32
}

/// `of_1024` / 1024 of `bytes`.
fn portion(bytes: u32, of_1024: u64) -> u32 {
    // At most `bytes`.
    ((u64::from(bytes) * of_1024) >> 10) as u32
}

#[cfg(test)]
mod tests;
