//! The interface that each congestion control algorithm implements.

use core::time::Duration;

use super::ack::Ack;
use super::window::CongestionWindow;
use crate::tcp::rate::Lost;
use crate::time::Instant;

/// The reason for an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Loss,
    Ecn,
    Timeout,
}

/// A congestion control algorithm.
pub(super) trait Control {
    /// Called for every acknowledgement outside Recovery and Cwr, and also there if the algorithm
    /// [controls recovery](Control::controls_recovery). `cwnd_limited` says whether cwnd was in
    /// full use. If it was not, the acknowledgement does not show that the path carries a full cwnd
    /// (RFC 7661 §4.2).
    fn on_ack(&mut self, window: &mut CongestionWindow, ack: &Ack, cwnd_limited: bool);

    /// Lowers ssthresh. After a time-out the caller lowers cwnd.
    fn on_congestion(&mut self, window: &mut CongestionWindow, trigger: Trigger);

    /// The last episode was a mistake. Called on an algorithm that stores its former state itself.
    fn undo(&mut self, _window: &mut CongestionWindow) {}

    /// A record is marked lost.
    fn on_lost(&mut self, _window: &mut CongestionWindow, _lost: &Lost) {}

    /// Data is about to be sent after nothing was in flight for `idle`.
    fn on_idle(&mut self, _window: &mut CongestionWindow, _now: Instant, _idle: Duration) {}

    /// cwnd was lowered because it was not in use.
    fn on_decayed(&mut self) {}

    /// The MSS has changed.
    fn on_mss(&mut self, _old: u32, _new: u32) {}

    /// Whether the algorithm sets cwnd in recovery, too.
    fn controls_recovery(&self) -> bool {
        false
    }

    /// The pacing rate in bytes a second, if the algorithm sets one.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// The algorithm's current mode, for the log, if it has modes.
    fn mode(&self) -> Option<&'static str> {
        None
    }

    /// Whether the algorithm is sending less than the path carries, so that rate samples are too
    /// low.
    fn wants_limited_samples(&self) -> bool {
        false
    }
}
