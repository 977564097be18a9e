//! Reno: one segment more for each window that is acknowledged, half after a loss (RFC 5681 §3.1; RFC 9293 §3.8.2,
//! MUST-19).

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

    /// By how much the window grows for these acknowledged bytes: a segment for each window's worth.
    pub(super) fn growth(&mut self, cwnd: u32, acked_bytes: u32, mss: u32) -> u32 {
        self.acked_bytes = self.acked_bytes.saturating_add(acked_bytes);
        if self.acked_bytes < cwnd {
            return 0;
        }
        // At most one segment an ACK: an ACK of several windows at once says nothing new.
        self.acked_bytes = (self.acked_bytes - cwnd).min(cwnd);
        mss
    }

    /// RFC 5681 §3.1, equation 4.
    pub(super) fn ssthresh_after_loss(&mut self, in_flight: u32, mss: u32) -> u32 {
        self.acked_bytes = 0;
        (in_flight / 2).max(mss.saturating_mul(2))
    }
}
