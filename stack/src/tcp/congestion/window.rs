//! cwnd and ssthresh, which every algorithm changes.

/// RFC 7323 §2.3 allows windows of 1 GiB; a larger cwnd makes no difference.
pub(super) const MAX_CWND: u32 = 1 << 30;

/// cwnd, ssthresh and the SMSS, in bytes.
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

    /// The size of `segs` segments in bytes.
    pub(super) fn of(&self, segs: u32) -> u32 {
        self.mss.saturating_mul(segs)
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Sets cwnd, to at least one segment.
    pub(super) fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_CWND.max(self.mss));
    }

    /// Sets ssthresh, to at least two segments (RFC 5681 §3.1, equation 4).
    pub(super) fn set_ssthresh(&mut self, ssthresh: u32) {
        self.ssthresh = ssthresh.max(self.of(2));
    }

    pub(super) fn grow(&mut self, bytes: u32) {
        self.set_cwnd(self.cwnd.saturating_add(bytes));
    }

    /// Grows cwnd in slow start by the delivered bytes (RFC5681-3.1-e). As Linux, it counts bytes,
    /// not ACKs (RFC 3465 §2.2), without that RFC's limit L: with L, cwnd would hardly grow if the
    /// receiver acknowledges bursts of 64 KiB at once. Returns the bytes beyond ssthresh, which are
    /// left for congestion avoidance.
    pub(super) fn slow_start(&mut self, delivered_bytes: u32) -> u32 {
        let in_slow_start = delivered_bytes.min(self.ssthresh.saturating_sub(self.cwnd));
        self.grow(in_slow_start);
        delivered_bytes - in_slow_start
    }

    /// Called before cwnd is lowered without a loss: slow start may take it back to three quarters
    /// (Linux's tcp_current_ssthresh; RFC 7661 §4.4.2 says the same).
    pub(super) fn remember_in_ssthresh(&mut self) {
        let three_quarters = self.cwnd / 2 + self.cwnd / 4;
        self.set_ssthresh(self.ssthresh.max(three_quarters));
    }

    /// Changes the MSS. cwnd and ssthresh keep their number of segments, as on Linux, which counts
    /// them in segments.
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
