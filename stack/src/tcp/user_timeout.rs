//! TCP_USER_TIMEOUT: how long data may stay unacknowledged, or wait before a closed window (RFC
//! 9293 §3.8.3, the local part of RFC 5482). It replaces the number of retries (MUST-21); the
//! details are as on Linux.

use core::time::Duration;

use super::Connection;
use crate::time::Instant;

/// The shortest delay of a timer that is moved forward to the time-out (Linux's TCP_TIMEOUT_MIN,
/// two jiffies).
const MIN_DELAY: Duration = Duration::from_millis(2);

impl Connection {
    /// Notes the time of the first retransmission or probe that is sent without an answer.
    pub(super) fn note_unanswered(&mut self, now: Instant) {
        if self.retries.timeouts == 0 && self.retries.probes == 0 {
            self.retries.unanswered_since = now;
        }
    }

    /// Whether the user time-out is over, counted from the first retransmission or probe; `None` if
    /// the program has set none.
    pub(super) fn is_user_timeout_over(&self, now: Instant) -> Option<bool> {
        let limit = self.settings.user_timeout?;
        let has_begun = self.retries.timeouts > 0 || self.retries.probes > 0;
        Some(has_begun && now.duration_since(self.retries.unanswered_since) >= limit)
    }

    /// Shortens the delay of a timer, so that it fires when the user time-out is over (Linux's
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

    /// Whether a peer that answers no keepalives is given up: after at least one keepalive and
    /// TCP_USER_TIMEOUT, or, if that is not set, after TCP_KEEPCNT keepalives.
    pub(super) fn is_keepalive_over(&self, now: Instant) -> bool {
        match self.settings.user_timeout {
            Some(limit) => self.retries.keepalives > 0 && now.duration_since(self.last.heard_at) >= limit,
            None => self.retries.keepalives >= self.settings.keepalive_probes,
        }
    }
}
