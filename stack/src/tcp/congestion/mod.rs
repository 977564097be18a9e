//! Congestion control (RFC 5681, RFC 6582): how many bytes may be in flight.
//!
//! [`Congestion`] holds what every loss-based algorithm shares: slow start, the inflated window of fast recovery, the loss
//! window. [`reno`] holds the two questions that algorithms answer differently: how the window grows in congestion
//! avoidance, and how far a loss takes it down.

mod reno;

use reno::Reno;

/// RFC 7323 §2.3 allows windows of 1 GiB; a larger cwnd never matters.
const MAX_CWND: u32 = 1 << 30;

/// cwnd and ssthresh of one connection, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Congestion {
    /// SMSS.
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Nothing was acknowledged since the retransmission timer fired.
    timed_out: bool,
    avoidance: Reno,
}

impl Congestion {
    /// RFC 6928's initial window, in segments as on Linux; ssthresh arbitrarily high (RFC 5681 §3.1).
    pub(crate) fn new(mss: u32, initial_window_segs: u32) -> Congestion {
        let mss = mss.max(1);
        Congestion {
            mss,
            cwnd: window(mss, initial_window_segs),
            ssthresh: u32::MAX,
            timed_out: false,
            avoidance: Reno::new(),
        }
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    pub(crate) fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// New data was acknowledged outside recovery. The window grows only if it was what held the sender back
    /// (RFC 7661 §4.2, Linux's `is_cwnd_limited`): otherwise it would say nothing about the path.
    pub(crate) fn on_ack(&mut self, acked_bytes: u32, cwnd_limited: bool) {
        self.timed_out = false;
        if !cwnd_limited {
            return;
        }
        // Slow start counts bytes, not ACKs (RFC 3465 §2.2), without its limit L, as Linux: a receiver that
        // acknowledges a burst of 64 KiB at once would never let the window grow.
        let in_slow_start = acked_bytes.min(self.ssthresh.saturating_sub(self.cwnd));
        self.cwnd = self.cwnd.saturating_add(in_slow_start).min(MAX_CWND);
        // What is left of an ACK that crosses ssthresh counts as congestion avoidance.
        let in_avoidance = acked_bytes - in_slow_start;
        if in_avoidance > 0 {
            let growth = self.avoidance.growth(self.cwnd, in_avoidance, self.mss);
            self.cwnd = self.cwnd.saturating_add(growth).min(MAX_CWND);
        }
    }

    /// The third duplicate ACK: fast retransmit, and recovery begins (RFC 5681 §3.2 steps 2 and 3). The three segments
    /// that have left the network are added.
    pub(crate) fn on_loss_detected(&mut self, in_flight: u32) {
        self.ssthresh = self.avoidance.ssthresh_after_loss(in_flight, self.mss);
        self.cwnd = self.ssthresh.saturating_add(3 * self.mss).min(MAX_CWND);
    }

    /// One more segment has left the network (RFC 5681 §3.2 step 4).
    pub(crate) fn on_duplicate_ack_in_recovery(&mut self) {
        self.cwnd = self.cwnd.saturating_add(self.mss).min(MAX_CWND);
    }

    /// A partial acknowledgement: deflate by what was acknowledged, add one segment back (RFC 6582 §3.2 step 3).
    pub(crate) fn on_partial_ack(&mut self, acked_bytes: u32) {
        self.cwnd = self.cwnd.saturating_sub(acked_bytes);
        if acked_bytes >= self.mss {
            self.cwnd = self.cwnd.saturating_add(self.mss);
        }
        self.cwnd = self.cwnd.clamp(self.mss, MAX_CWND);
    }

    /// Everything that was in flight when recovery began is acknowledged. RFC 6582 §3.2 step 3, the first choice: no
    /// burst if little is in flight now.
    pub(crate) fn on_recovery_done(&mut self, in_flight: u32) {
        let without_burst = in_flight.max(self.mss).saturating_add(self.mss);
        self.cwnd = self.ssthresh.min(without_burst).min(MAX_CWND);
    }

    /// The retransmission timer has fired (RFC 5681 §3.1, equation 4): the loss window is one segment. If the same
    /// data times out again, ssthresh stays.
    pub(crate) fn on_timeout(&mut self, in_flight: u32) {
        if !self.timed_out {
            self.ssthresh = self.avoidance.ssthresh_after_loss(in_flight, self.mss);
            self.timed_out = true;
        }
        self.cwnd = self.mss;
    }

    /// Nothing was sent for longer than the RTO: what cwnd knew of the path is old (RFC 5681 §4.1).
    pub(crate) fn on_idle(&mut self, initial_window_segs: u32) {
        self.cwnd = self.cwnd.min(window(self.mss, initial_window_segs));
    }

    /// The MSS has changed: the windows keep their number of segments, as on Linux, where they are counted in them.
    pub(crate) fn set_mss(&mut self, mss: u32) {
        let mss = mss.max(1);
        self.cwnd = rescale(self.cwnd, self.mss, mss).clamp(mss, MAX_CWND.max(mss));
        if self.ssthresh != u32::MAX {
            self.ssthresh = rescale(self.ssthresh, self.mss, mss).max(mss.saturating_mul(2));
        }
        self.mss = mss;
    }
}

fn window(mss: u32, segs: u32) -> u32 {
    mss.saturating_mul(segs.max(1)).min(MAX_CWND)
}

fn rescale(bytes: u32, old_mss: u32, new_mss: u32) -> u32 {
    let scaled = u64::from(bytes) * u64::from(new_mss) / u64::from(old_mss);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
