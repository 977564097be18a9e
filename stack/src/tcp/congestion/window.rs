//! What every algorithm works on.

/// RFC 7323 §2.3 allows windows of 1 GiB; a larger cwnd never matters.
pub(super) const MAX_CWND: u32 = 1 << 30;

/// cwnd and ssthresh in bytes, and the SMSS they are thought of in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CongestionWindow {
    pub(super) mss: u32,
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
}

impl CongestionWindow {
    /// RFC 6928's initial window, in segments as on Linux; ssthresh arbitrarily high
    /// (RFC5681-3.1-a, RFC5681-3.1-c).
    pub(super) fn new(mss: u32, initial_window_segs: u32) -> CongestionWindow {
        let mut window = CongestionWindow { mss: mss.max(1), cwnd: 0, ssthresh: u32::MAX };
        window.set_cwnd(window.of(initial_window_segs));
        window
    }

    /// So many segments, in bytes.
    pub(super) fn of(&self, segs: u32) -> u32 {
        self.mss.saturating_mul(segs)
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// At least one segment.
    pub(super) fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_CWND.max(self.mss));
    }

    /// At least two segments (RFC 5681 §3.1, equation 4).
    pub(super) fn set_ssthresh(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh.max(self.of(2));
    }

    pub(super) fn grow(&mut self, bytes: u32) {
        self.set_cwnd(self.cwnd.saturating_add(bytes));
    }

    /// Slow start for these delivered bytes (RFC5681-3.1-e). It counts bytes, not ACKs (RFC 3465
    /// §2.2), without its limit L, as Linux: a receiver that acknowledges a burst of 64 KiB at once
    /// would never let the window grow. What is left of an ACK that crosses ssthresh is for
    /// congestion avoidance.
    pub(super) fn slow_start(&mut self, delivered_bytes: u32) -> u32 {
        let in_slow_start = delivered_bytes.min(self.ssthresh.saturating_sub(self.cwnd));
        self.grow(in_slow_start);
        delivered_bytes - in_slow_start
    }

    /// cwnd is about to be lowered although nothing was lost: slow start may take it back to three
    /// quarters (Linux's tcp_current_ssthresh; RFC 7661 §4.4.2 says the same).
    pub(super) fn remember_in_ssthresh(&mut self) {
        let three_quarters = self.cwnd / 2 + self.cwnd / 4;
        self.set_ssthresh(self.ssthresh.max(three_quarters));
    }

    /// The windows keep their number of segments, as on Linux, where they are counted in them.
    pub(super) fn set_mss(&mut self, mss: u32) {
        let (old, mss) = (self.mss, mss.max(1));
        self.mss = mss;
        self.set_cwnd(rescale(self.cwnd, old, mss));
        if self.ssthresh != u32::MAX {
            self.set_ssthresh(rescale(self.ssthresh, old, mss));
        }
    }
}

/// The same number of segments, with another MSS.
pub(super) fn rescale(bytes: u32, old_mss: u32, new_mss: u32) -> u32 {
    let scaled = u64::from(bytes) * u64::from(new_mss) / u64::from(old_mss);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}
