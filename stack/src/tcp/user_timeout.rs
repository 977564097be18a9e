//! TCP_USER_TIMEOUT: how long data may stay unacknowledged, or wait before a closed window (RFC
//! 9293 §3.8.3, the local part of RFC 5482). It takes the place of the number of retries (MUST-21);
//! the details are Linux's.

use core::time::Duration;

use super::Connection;
use crate::time::Instant;

/// The least that is left when a timer is put forward to meet the time-out (Linux's
/// TCP_TIMEOUT_MIN, two jiffies).
const MIN_DELAY: Duration = Duration::from_millis(2);

impl Connection {
    /// Something is sent for the first time without an answer: a retransmission, a probe.
    pub(super) fn note_unanswered(&mut self, now: Instant) {
        if self.retries.timeouts == 0 && self.retries.probes == 0 {
            self.retries.unanswered_since = now;
        }
    }

    /// Whether the peer was given its time, counted from the first retransmission or probe; `None`
    /// if the program has set none.
    pub(super) fn is_user_timeout_over(&self, now: Instant) -> Option<bool> {
        let limit = self.settings.user_timeout?;
        let has_begun = self.retries.timeouts > 0 || self.retries.probes > 0;
        Some(has_begun && now.duration_since(self.retries.unanswered_since) >= limit)
    }

    /// A timer that is due in `delay` looks when the time is over, not long after (Linux's
    /// tcp_clamp_rto_to_user_timeout).
    pub(super) fn within_user_timeout(&self, now: Instant, delay: Duration) -> Duration {
        match self.settings.user_timeout {
            Some(limit) if self.retries.timeouts > 0 || self.retries.probes > 0 => {
                let passed = now.duration_since(self.retries.unanswered_since);
                delay.min(limit.saturating_sub(passed).max(MIN_DELAY))
            }
            _ => delay,
        }
    }

    /// Whether a peer that answers no keepalives was given its time: at least one, and as long as
    /// TCP_USER_TIMEOUT says, or as many as TCP_KEEPCNT.
    pub(super) fn is_keepalive_over(&self, now: Instant) -> bool {
        match self.settings.user_timeout {
            Some(limit) => self.retries.keepalives > 0 && now.duration_since(self.last.heard_at) >= limit,
            None => self.retries.keepalives >= self.settings.keepalive_probes,
        }
    }
}
