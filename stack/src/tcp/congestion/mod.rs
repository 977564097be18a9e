//! Congestion control (RFC 5681; RFC 9293 §3.8.2, MAY-18, allows other algorithms): how many bytes
//! may be in flight, and how fast they may be sent.
//!
//! The rest of TCP uses [`Congestion`]. It has what all algorithms share: cwnd and ssthresh
//! (`window`), whether cwnd is in use (`usage`), and how an episode begins, ends and is undone. The
//! algorithms implement [`Control`]: [`reno`], [`cubic`] with [`hystart`], [`bbr`].
//!
//! The order of calls is that of the events:
//!
//! - data is sent: [`on_idle`](Congestion::on_idle) first if nothing was in flight,
//!   [`on_sent`](Congestion::on_sent) after;
//! - an acknowledgement delivers something: [`on_lost`](Congestion::on_lost) for each record that
//!   it shows to be lost; [`on_congestion`](Congestion::on_congestion) if an episode begins,
//!   [`on_recovery_done`](Congestion::on_recovery_done) or [`undo`](Congestion::undo) if one ends;
//!   then [`on_ack`](Congestion::on_ack), always;
//! - the retransmission timer fires: [`on_timeout`](Congestion::on_timeout).
//!
//! From `on_congestion` to `on_recovery_done` proportional rate reduction sets cwnd with
//! [`set_cwnd`](Congestion::set_cwnd) unless the algorithm
//! [`controls_recovery`](Congestion::controls_recovery).

mod ack;
mod bbr;
mod control;
mod cubic;
mod hystart;
mod reno;
mod usage;
mod window;

use alloc::boxed::Box;
use core::time::Duration;

use super::rate::Lost;
use crate::config::CongestionControl;
use crate::time::Instant;

pub(crate) use ack::{Ack, Cause, Phase, Sent};
use bbr::Bbr;
use control::{Control, Trigger};
use cubic::Cubic;
use reno::Reno;
use usage::Usage;
use window::CongestionWindow;

/// Pacing in percent of a window a round trip: Linux's tcp_pacing_ss_ratio while cwnd is less than
/// half of ssthresh, else tcp_pacing_ca_ratio. Both are more than one window, so that cwnd is the
/// limit and not the pace.
const SLOW_START_RATIO: u64 = 200;
const AVOIDANCE_RATIO: u64 = 120;

#[derive(Clone, Debug)]
enum Algorithm {
    Reno(Reno),
    Cubic(Cubic),
    /// Boxed, because its state is large.
    Bbr(Box<Bbr>),
}

impl Algorithm {
    fn new(kind: CongestionControl, window: &CongestionWindow, now: Instant) -> Algorithm {
        match kind {
            CongestionControl::Reno => Algorithm::Reno(Reno::new()),
            CongestionControl::Cubic => Algorithm::Cubic(Cubic::new()),
            CongestionControl::Bbr => Algorithm::Bbr(Box::new(Bbr::new(window, now))),
        }
    }

    fn kind(&self) -> CongestionControl {
        match self {
            Algorithm::Reno(_) => CongestionControl::Reno,
            Algorithm::Cubic(_) => CongestionControl::Cubic,
            Algorithm::Bbr(_) => CongestionControl::Bbr,
        }
    }

    /// The state to restore if an episode turns out to be a mistake; `None` if the algorithm stores
    /// that itself.
    fn snapshot(&self) -> Option<Algorithm> {
        match self {
            Algorithm::Reno(_) | Algorithm::Cubic(_) => Some(self.clone()),
            Algorithm::Bbr(_) => None,
        }
    }

    fn control(&self) -> &dyn Control {
        match self {
            Algorithm::Reno(reno) => reno,
            Algorithm::Cubic(cubic) => cubic,
            Algorithm::Bbr(bbr) => &**bbr,
        }
    }

    fn control_mut(&mut self) -> &mut dyn Control {
        match self {
            Algorithm::Reno(reno) => reno,
            Algorithm::Cubic(cubic) => cubic,
            Algorithm::Bbr(bbr) => &mut **bbr,
        }
    }
}

/// The stage of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpisodeStage {
    /// No episode.
    None,
    /// ssthresh is lowered, and cwnd approaches it.
    Reducing,
    /// The retransmission timer has fired. `progress`: data was delivered since.
    TimedOut { progress: bool },
}

/// What is restored when an episode was a mistake (RFC 4015 §3.3, RFC 9438 §4.9).
#[derive(Clone, Debug)]
struct PriorState {
    cwnd: u32,
    ssthresh: u32,
    algorithm: Option<Algorithm>,
}

/// Congestion control of one connection. See the module's page.
#[derive(Clone, Debug)]
pub(crate) struct Congestion {
    window: CongestionWindow,
    usage: Usage,
    episode: EpisodeStage,
    algorithm: Algorithm,
    /// The state before the last episode. Kept beyond the episode's end, because the evidence of a
    /// mistake may come late.
    undo: Option<Box<PriorState>>,
}

impl Congestion {
    pub(crate) fn new(
        kind: CongestionControl,
        mss: u32,
        initial_window_segs: u32,
        now: Instant,
    ) -> Congestion {
        let window = CongestionWindow::new(mss, initial_window_segs);
        Congestion {
            window,
            usage: Usage::new(now),
            episode: EpisodeStage::None,
            algorithm: Algorithm::new(kind, &window, now),
            undo: None,
        }
    }

    pub(crate) fn kind(&self) -> CongestionControl {
        self.algorithm.kind()
    }

    /// Switches to another algorithm, perhaps in the middle of the connection: cwnd and ssthresh
    /// stay, what the former algorithm knew of the path is lost.
    pub(crate) fn set_kind(&mut self, kind: CongestionControl, now: Instant) {
        if kind != self.kind() {
            self.algorithm = Algorithm::new(kind, &self.window, now);
            self.undo = None;
        }
    }

    /// From now on the first slow start ignores round trips.
    pub(crate) fn switch_hystart_off(&mut self) {
        if let Algorithm::Cubic(cubic) = &mut self.algorithm {
            cubic.switch_hystart_off();
        }
    }

    #[cfg(test)]
    fn bbr(&self) -> Option<&Bbr> {
        match &self.algorithm {
            Algorithm::Bbr(bbr) => Some(bbr),
            _ => None,
        }
    }

    pub(crate) fn mss(&self) -> u32 {
        self.window.mss
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// `u32::MAX` before the first episode.
    pub(crate) fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    /// How much may be sent in a round trip, in percent of cwnd.
    pub(crate) fn window_ratio(&self) -> u64 {
        if self.window.cwnd < self.window.ssthresh / 2 { SLOW_START_RATIO } else { AVOIDANCE_RATIO }
    }

    /// For recovery, between [`on_congestion`](Congestion::on_congestion) and
    /// [`on_recovery_done`](Congestion::on_recovery_done). At least one segment.
    pub(crate) fn set_cwnd(&mut self, cwnd: u32) {
        self.window.set_cwnd(cwnd);
    }

    /// Whether the algorithm itself sets cwnd in recovery, with every acknowledgement.
    pub(crate) fn controls_recovery(&self) -> bool {
        self.algorithm.control().controls_recovery()
    }

    /// Data was sent or retransmitted.
    pub(crate) fn on_sent(&mut self, sent: &Sent) {
        self.usage.on_sent(&self.window, sent);
        // As Linux, which does not lower a window that its algorithm computes.
        let may_decay = self.episode == EpisodeStage::None && !self.controls_recovery();
        if may_decay && self.usage.decay(&mut self.window, sent) {
            self.algorithm.control_mut().on_decayed();
        }
    }

    /// An acknowledgement that delivers data or shows a loss, in any phase.
    pub(crate) fn on_ack(&mut self, ack: &Ack) {
        if let EpisodeStage::TimedOut { progress } = &mut self.episode {
            *progress = true;
        }
        let reduces = matches!(ack.phase, Phase::Recovery | Phase::Cwr);
        // SACKed data may follow a loss, so cwnd grows only when SND.UNA moves (Linux's
        // tcp_may_raise_cwnd).
        if (reduces || ack.acked_bytes == 0) && !self.controls_recovery() {
            return;
        }
        let cwnd_limited = self.usage.is_limited(&self.window);
        self.algorithm.control_mut().on_ack(&mut self.window, ack, cwnd_limited);
    }

    /// A record was marked lost. `lost` comes from
    /// [`RateSampler::on_lost`](super::rate::RateSampler::on_lost).
    pub(crate) fn on_lost(&mut self, lost: &Lost) {
        self.algorithm.control_mut().on_lost(&mut self.window, lost);
    }

    /// An episode begins: ssthresh is lowered (RFC 5681 §3.2 step 2, RFC 3168 §6.1.2). Recovery
    /// lowers cwnd later (RFC9438-4.6-b).
    pub(crate) fn on_congestion(&mut self, cause: Cause) {
        self.begin(match cause {
            Cause::Loss => Trigger::Loss,
            Cause::Ecn => Trigger::Ecn,
        });
        self.episode = EpisodeStage::Reducing;
    }

    /// The retransmission timer has fired (RFC 5681 §3.1, equation 4; RFC5681-3.1-i,
    /// RFC9438-4.8-a): the loss window is one segment. ssthresh stays if this episode has already
    /// lowered it: the same data timed out before (RFC5681-3.1-h), or was being repaired (Linux's
    /// tcp_enter_loss).
    pub(crate) fn on_timeout(&mut self) {
        if matches!(self.episode, EpisodeStage::None | EpisodeStage::TimedOut { progress: true }) {
            self.begin(Trigger::Timeout);
        }
        self.episode = EpisodeStage::TimedOut { progress: false };
        self.window.set_cwnd(self.window.mss);
    }

    fn begin(&mut self, trigger: Trigger) {
        let algorithm = self.algorithm.snapshot();
        self.undo =
            Some(Box::new(PriorState { cwnd: self.window.cwnd, ssthresh: self.window.ssthresh, algorithm }));
        self.algorithm.control_mut().on_congestion(&mut self.window, trigger);
    }

    /// The episode is over. cwnd becomes ssthresh, or after a time-out stays where slow start has
    /// raised it.
    ///
    /// `burst_guard`: FlightSize on a connection without SACK, where recovery has inflated cwnd and
    /// little may be in flight now. It limits cwnd, so that no burst is sent (RFC 6582 §3.2 step 3,
    /// the first choice). `None` after proportional rate reduction.
    pub(crate) fn on_recovery_done(&mut self, burst_guard: Option<u32>) {
        let episode = core::mem::replace(&mut self.episode, EpisodeStage::None);
        if episode != EpisodeStage::Reducing || self.controls_recovery() {
            return;
        }
        let without_burst = burst_guard
            .map_or(u32::MAX, |flight| flight.max(self.window.mss).saturating_add(self.window.mss));
        self.window.set_cwnd(self.window.ssthresh.min(without_burst));
    }

    /// Undoes and ends the last episode, which may be over already: nothing was lost (RFC 4015
    /// §3.3, RFC9438-4.9.1, RFC9438-4.9.2, Linux's tcp_undo_cwnd_reduction).
    pub(crate) fn undo(&mut self) {
        self.episode = EpisodeStage::None;
        let Some(undo) = self.undo.take() else { return };
        self.window.set_cwnd(self.window.cwnd.max(undo.cwnd));
        self.window.set_ssthresh(self.window.ssthresh.max(undo.ssthresh));
        match undo.algorithm {
            Some(algorithm) => self.algorithm = algorithm,
            None => self.algorithm.control_mut().undo(&mut self.window),
        }
    }

    /// Data is about to be sent after nothing was in flight for `idle`, which may be short. If it
    /// is longer than an RTO, cwnd is out of date (RFC5681-4.1): it is halved for each RTO, down to
    /// the restart window (RFC 2861, Linux's tcp_cwnd_restart).
    pub(crate) fn on_idle(&mut self, now: Instant, idle: Duration, rto: Duration, restart_segs: u32) {
        self.algorithm.control_mut().on_idle(&mut self.window, now, idle);
        if idle <= rto || self.controls_recovery() {
            return;
        }
        self.usage.on_restart(now);
        let window = &mut self.window;
        let restart = window.of(restart_segs).min(window.cwnd);
        window.remember_in_ssthresh();
        let rtos = idle.as_nanos() / rto.as_nanos().max(1);
        let halved = window.cwnd.checked_shr(u32::try_from(rtos).unwrap_or(u32::MAX)).unwrap_or(0);
        window.set_cwnd(halved.max(restart));
        self.algorithm.control_mut().on_decayed();
    }

    /// The MSS has changed: the windows keep their number of segments.
    pub(crate) fn set_mss(&mut self, mss: u32) {
        let (old, mss) = (self.window.mss, mss.max(1));
        self.window.set_mss(mss);
        self.algorithm.control_mut().on_mss(old, mss);
        // It is in units of the old MSS.
        self.undo = None;
    }

    /// Whether the algorithm is sending less than the path carries. Then the caller must count the
    /// data in flight as application-limited
    /// ([`RateSampler::on_application_limited`](super::rate::RateSampler::on_application_limited),
    /// after each acknowledgement).
    pub(crate) fn wants_limited_samples(&self) -> bool {
        self.algorithm.control().wants_limited_samples()
    }

    /// What the algorithm is doing, for the log.
    pub(crate) fn mode(&self) -> &'static str {
        let of_window =
            if self.window.cwnd < self.window.ssthresh { "slow start" } else { "congestion avoidance" };
        self.algorithm.control().mode().unwrap_or(of_window)
    }

    /// The rate in bytes a second at which data may be sent; `None` if the algorithm sets none.
    pub(crate) fn pacing_rate(&self) -> Option<u64> {
        self.algorithm.control().pacing_rate()
    }
}

#[cfg(test)]
mod path;
#[cfg(test)]
mod tests;
