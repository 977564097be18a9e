//! When an acknowledgement goes out.

use core::time::Duration;

use super::{AckDue, Receiver};
use crate::time::Instant;

/// The timer that the receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::tcp) enum AckTimer {
    Leave,
    Arm,
}

impl Receiver {
    /// RFC 9293 §3.8.6.3 (SHLD-18, SHLD-19) and §3.10.7.4 (MUST-58, MUST-59): after data in order. What is due goes out
    /// when the segments that are at hand are processed. At once if more than one full segment waits for it, at the start of the connection (the peer's slow start counts on it), and while there are gaps, or one was
    /// just filled (RFC 5681 §4.2); otherwise when the delayed-ACK timer fires (MUST-40: less than half a second).
    pub(in crate::tcp) fn on_in_order(&mut self, was_in_order: bool) -> AckTimer {
        let unacknowledged = self.nxt - self.last_ack_sent - u32::from(self.fin_received);
        if self.fin_received {
            // The program's own FIN may carry the acknowledgement (Linux's pingpong mode).
            self.quick_acks = 0;
        }
        if self.quick_acks > 0 {
            self.quick_acks -= 1;
            self.ack = AckDue::Now;
        }
        if unacknowledged > u32::from(self.mss) || !was_in_order || !self.is_in_order() {
            self.ack = AckDue::Now;
        }
        if self.ack == AckDue::Now {
            return AckTimer::Leave;
        }
        let timer = if self.ack == AckDue::No { AckTimer::Arm } else { AckTimer::Leave };
        self.ack = AckDue::Later;
        timer
    }

    /// At once, and so are the acknowledgements of the next segments (Linux's tcp_enter_quickack_mode).
    pub(in crate::tcp) fn acknowledge_quickly(&mut self, segments: u8) {
        self.quick_acks = self.quick_acks.max(segments);
        self.acknowledge_now();
    }

    /// Whether something was received that no acknowledgement has named.
    pub(in crate::tcp) fn has_unacknowledged(&self) -> bool {
        self.nxt != self.last_ack_sent
    }

    /// A segment that did not move RCV.NXT: a duplicate acknowledgement at once (RFC 5681 §4.2, MAY-13), one for each.
    pub(in crate::tcp) fn owe_duplicate(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_add(1);
    }

    pub(in crate::tcp) fn acknowledge_now(&mut self) {
        self.ack = AckDue::Now;
    }

    /// The peer was silent for longer than an RTO: it may start slowly again, as after the handshake.
    pub(in crate::tcp) fn renew_quick_acks(&mut self, now: Instant, rto: Duration, quick_acks: u8) {
        if now.duration_since(self.last_data_at) > rto {
            self.quick_acks = quick_acks;
        }
    }

    /// TCP_QUICKACK: how many segments are acknowledged at once from now on.
    pub(in crate::tcp) fn set_quick_acks(&mut self, quick_acks: u8) {
        self.quick_acks = quick_acks;
        if quick_acks > 0 && self.ack == AckDue::Later {
            self.ack = AckDue::Now;
        }
    }

    /// TCP_QUICKACK: whether the next segment is acknowledged at once.
    pub(in crate::tcp) fn is_quick(&self) -> bool {
        self.quick_acks > 0
    }

    /// Data goes out: if it answers what just came, this is a dialogue, and acknowledgements ride on the answers.
    pub(in crate::tcp) fn on_data_sent(&mut self, now: Instant, delayed_ack: Duration) {
        if self.quick_acks > 0 && now.duration_since(self.last_data_at) < delayed_ack {
            self.quick_acks = 0;
        }
    }

    pub(in crate::tcp) fn is_ack_due_now(&self) -> bool {
        self.ack == AckDue::Now || self.duplicates_owed > 0
    }

    /// A segment with this acknowledgement goes out.
    pub(in crate::tcp) fn on_ack_sent(&mut self) {
        self.last_ack_sent = self.nxt;
        self.ack = AckDue::No;
        self.duplicate = None;
    }

    /// One that carries nothing else: the peer counts it as a duplicate, if it is one.
    pub(in crate::tcp) fn on_pure_ack_sent(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_sub(1);
    }
}
