//! Congestion window validation: whether cwnd limits the sender, and how an unused cwnd is lowered
//! (RFC 5681 §4.1, RFC9438-4.6-c; RFC 7661's aim, with the method of Linux's tcp_cwnd_validate).

use super::ack::Sent;
use super::window::CongestionWindow;
use crate::tcp::SeqNumber;
use crate::time::Instant;

/// How much of cwnd was in use.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// cwnd was full at some time during this window of data.
    was_full: bool,
    /// The most in flight during this window of data, unless cwnd was full.
    max_in_flight: u32,
    /// Where this window of data ends.
    end: SeqNumber,
    /// The most in flight since `full_at`.
    used: u32,
    /// When cwnd was last the limit, or was last lowered because it was not.
    full_at: Instant,
}

impl Usage {
    pub(super) fn new(now: Instant) -> Usage {
        Usage { was_full: false, max_in_flight: 0, end: SeqNumber(0), used: 0, full_at: now }
    }

    /// Whether cwnd limited the sender in the last window of data. In slow start it is enough that
    /// half of cwnd was in use: that data was sent when cwnd was half as large.
    pub(super) fn is_limited(&self, window: &CongestionWindow) -> bool {
        self.was_full || (window.in_slow_start() && window.cwnd < self.max_in_flight.saturating_mul(2))
    }

    /// Data was sent. cwnd is full if it has no room for another segment.
    pub(super) fn on_sent(&mut self, window: &CongestionWindow, sent: &Sent) {
        let is_full = sent.in_flight.saturating_add(window.mss) > window.cwnd;
        // `end` may be far in the past: then it is not between SND.UNA and SND.NXT.
        let is_over = sent.una.after_eq(self.end) || self.end.after(sent.nxt);
        if is_over || is_full || (!self.was_full && sent.in_flight > self.max_in_flight) {
            self.was_full = is_full;
            self.max_in_flight = sent.in_flight;
            self.end = sent.nxt;
        }
        if self.is_limited(window) {
            self.used = 0;
            self.full_at = sent.now;
        } else {
            self.used = self.used.max(sent.in_flight);
        }
    }

    /// If cwnd was not the limit for a whole RTO, lowers it halfway to what was in use, or to the
    /// restart window if that is larger (RFC 7661's purpose, Linux's tcp_cwnd_application_limited).
    /// ssthresh keeps three quarters. Returns whether cwnd was lowered.
    pub(super) fn decay(&mut self, window: &mut CongestionWindow, sent: &Sent) -> bool {
        if self.used == 0 || sent.now.duration_since(self.full_at) < sent.rto {
            return false;
        }
        let used = self.used.max(window.of(sent.restart_segs));
        (self.used, self.full_at) = (0, sent.now);
        if used >= window.cwnd {
            return false;
        }
        window.remember_in_ssthresh();
        window.set_cwnd(window.cwnd / 2 + used / 2);
        true
    }

    /// The connection sends again after an idle period.
    pub(super) fn on_restart(&mut self, now: Instant) {
        (self.used, self.full_at) = (0, now);
    }
}
