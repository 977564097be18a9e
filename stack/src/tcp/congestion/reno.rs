//! Reno: cwnd grows by one segment for each window that is acknowledged, and is halved after a loss
//! (RFC 5681 §3.1, RFC5681-3.1-f; RFC 9293 §3.8.2, MUST-19).

use super::ack::Ack;
use super::control::{Control, Trigger};
use super::window::CongestionWindow;

/// The state of congestion avoidance.
#[derive(Clone, Debug)]
pub(super) struct Reno {
    /// Bytes acknowledged since the window last grew (RFC 3465 §2.1).
    acked_bytes: u32,
}

impl Reno {
    pub(super) fn new() -> Reno {
        Reno { acked_bytes: 0 }
    }
}

impl Control for Reno {
    fn on_ack(&mut self, window: &mut CongestionWindow, ack: &Ack, cwnd_limited: bool) {
        if !cwnd_limited {
            return;
        }
        let in_avoidance = window.slow_start(ack.delivered_bytes);
        if in_avoidance == 0 {
            return;
        }
        self.acked_bytes = self.acked_bytes.saturating_add(in_avoidance);
        if self.acked_bytes >= window.cwnd {
            // At most one segment an ACK, even if the ACK covers several windows.
            self.acked_bytes = (self.acked_bytes - window.cwnd).min(window.cwnd);
            window.grow(window.mss);
        }
    }

    /// Half of cwnd, where RFC 5681 §3.1, equation 4 (RFC5681-3.1-g), has half of FlightSize. As on
    /// Linux, window validation keeps cwnd close to what was in use.
    fn on_congestion(&mut self, window: &mut CongestionWindow, _trigger: Trigger) {
        self.acked_bytes = 0;
        window.set_ssthresh(window.cwnd / 2);
    }
}
