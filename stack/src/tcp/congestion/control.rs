//! The questions that congestion control algorithms answer differently.

use core::time::Duration;

use super::ack::Ack;
use super::window::CongestionWindow;
use crate::tcp::rate::Lost;
use crate::time::Instant;

/// What an episode begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Loss,
    Ecn,
    Timeout,
}

/// What an algorithm is.
pub(super) trait Control {
    /// Every acknowledgement outside Recovery and Cwr, and there, too, if it [controls
    /// recovery](Control::controls_recovery). `cwnd_limited`: whether the window was in use; one
    /// that was not says nothing about the path by being acknowledged (RFC 7661 §4.2).
    fn on_ack(&mut self, window: &mut CongestionWindow, ack: &Ack, cwnd_limited: bool);

    /// Lowers ssthresh. After a time-out cwnd is lowered by the caller.
    fn on_congestion(&mut self, window: &mut CongestionWindow, trigger: Trigger);

    /// The last episode was a mistake. Called where the algorithm itself keeps what it was before.
    fn undo(&mut self, _window: &mut CongestionWindow) {}

    /// A record is marked lost.
    fn on_lost(&mut self, _window: &mut CongestionWindow, _lost: &Lost) {}

    /// Data goes out after nothing was in flight for `idle`.
    fn on_idle(&mut self, _window: &mut CongestionWindow, _now: Instant, _idle: Duration) {}

    /// cwnd was lowered for want of use.
    fn on_decayed(&mut self) {}

    /// The MSS has changed.
    fn on_mss(&mut self, _old: u32, _new: u32) {}

    fn controls_recovery(&self) -> bool {
        false
    }

    /// In bytes a second.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// What it is doing, for the log, if it has modes of its own.
    fn mode(&self) -> Option<&'static str> {
        None
    }

    /// Whether little is sent on purpose just now.
    fn wants_limited_samples(&self) -> bool {
        false
    }
}
