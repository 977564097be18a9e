//! RACK (RFC 8985 §5, §6): a segment is lost when one that was sent sufficiently later has arrived.
//! The tail loss probe (§7) covers the last segments of a flight, after which nothing was sent.

use core::time::Duration;

use super::SeqNumber;
use super::scoreboard::Overdue;
use super::sent_range::SentRange;
use crate::time::Instant;

/// RFC 8985 §6.2 step 4: recoveries after which a widened reordering window is narrow again.
const WIDE_FOR_RECOVERIES: u8 = 16;
/// Linux's tcp_max_reordering, in segments.
const MOST_REORDERING: u16 = 300;
/// The shortest delay of a probe, in addition to twice the round trip: Linux's TCP_TIMEOUT_MIN, two
/// jiffies.
const MIN_PROBE_DELAY: Duration = Duration::from_millis(2);
/// RFC 8985 §7.2, WCDelAckT: how long the peer may delay the acknowledgement of a single segment.
const WORST_DELAYED_ACK: Duration = Duration::from_millis(200);

/// See the module's page. Names are those of RFC 8985 §5.2 and §5.3 (RFC8985-5.3).
#[derive(Clone, Debug)]
pub(super) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: of the delivered data, the transmission that was sent last.
    xmit_at: Instant,
    end_seq: SeqNumber,
    /// RACK.rtt: its round trip, in nanoseconds.
    rtt: u64,
    /// RACK.fack: the highest number delivered.
    fack: SeqNumber,
    /// How often data arrived after later data (reordering). RACK.reordering_seen is this being
    /// nonzero.
    reordering_seen: u16,
    /// The most segments that have overtaken another one (tcpi_reordering); DupThresh before any
    /// has.
    reordering_segs: u16,
    /// RACK.reo_wnd_mult and RACK.reo_wnd_persist.
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// RACK.dsack_round, if there is one: the window is widened at most once a round trip.
    dsack_round: Option<SeqNumber>,
}

impl Rack {
    pub(super) fn new(iss: SeqNumber, duplicate_threshold: u8) -> Rack {
        Rack {
            xmit_at: Instant::ZERO,
            end_seq: iss,
            rtt: 0,
            fack: iss,
            reordering_seen: 0,
            reordering_segs: duplicate_threshold.into(),
            reo_wnd_mult: 1,
            reo_wnd_persist: WIDE_FOR_RECOVERIES,
            dsack_round: None,
        }
    }

    /// How often reordering was detected, and its largest extent in segments.
    pub(super) fn reordering(&self) -> (u16, u16) {
        (self.reordering_seen, self.reordering_segs)
    }

    /// RFC 8985 §6.2, steps 2 and 3: `sent` is delivered. `is_current`: the echoed timestamp does
    /// not show that an earlier transmission than the last one has arrived. Returns by how many
    /// bytes `sent` was overtaken.
    pub(super) fn on_delivered(
        &mut self,
        now: Instant,
        sent: &SentRange,
        min_rtt: Option<Duration>,
        is_current: bool,
    ) -> u32 {
        let mut overtaken = 0;
        if sent.end.after(self.fack) {
            self.fack = sent.end;
        } else if !sent.is_repeated && sent.end.before(self.fack) {
            overtaken = self.fack - sent.seq;
        }
        let rtt = now.duration_since(sent.sent_at);
        if sent.is_repeated && (!is_current || min_rtt.is_some_and(|min_rtt| rtt < min_rtt)) {
            // An earlier transmission was acknowledged (RFC8985-6.2-b).
            return overtaken;
        }
        if is_sent_after(sent.sent_at, sent.end, self.xmit_at, self.end_seq) {
            self.xmit_at = sent.sent_at;
            self.end_seq = sent.end;
            self.rtt = now.as_nanos().saturating_sub(sent.sent_at.as_nanos());
        }
        overtaken
    }

    /// An acknowledgement has delivered data that was overtaken by `bytes` (Linux's
    /// tcp_check_sack_reordering).
    pub(super) fn on_reordering(&mut self, bytes: u32, mss: u32) {
        let segs = u16::try_from(bytes.div_ceil(mss.max(1))).unwrap_or(u16::MAX);
        self.reordering_segs = self.reordering_segs.max(segs.min(MOST_REORDERING));
        self.reordering_seen = self.reordering_seen.saturating_add(1);
    }

    /// Whether nothing has arrived that was sent after `first_transmission_at`, the earliest
    /// transmission in flight.
    pub(super) fn is_first(&self, first_transmission_at: Option<Instant>) -> bool {
        first_transmission_at.is_none_or(|at| at >= self.xmit_at)
    }

    /// RFC 8985 §6.2, step 4 (RFC8985-6.2-f): processes a D-SACK: a retransmission was too early.
    pub(super) fn on_dsack(&mut self, una: SeqNumber, nxt: SeqNumber) {
        if self.dsack_round.is_some_and(|round| una.before(round)) {
            return;
        }
        self.dsack_round = Some(nxt);
        self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
        self.reo_wnd_persist = WIDE_FOR_RECOVERIES;
    }

    /// Uncounts the last recovery, which was undone.
    pub(super) fn on_recovery_undone(&mut self) {
        self.reo_wnd_persist = (self.reo_wnd_persist + 1).min(WIDE_FOR_RECOVERIES);
    }

    /// Moves stored sequence numbers up to SND.UNA.
    pub(super) fn forget_before(&mut self, una: SeqNumber) {
        self.dsack_round = self.dsack_round.filter(|round| una.before(*round));
    }

    /// RFC 8985 §6.2, step 4: a recovery is over.
    pub(super) fn on_recovery_done(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// RACK.reo_wnd of RFC 8985 §6.2, step 4 (RFC8985-6.2-d, RFC8985-6.2-e).
    pub(super) fn reordering_window(&self, in_recovery: bool, sacked_segs: u32, path: PathTimes) -> Duration {
        let is_certain = in_recovery || sacked_segs >= u32::from(self.reordering_segs);
        if self.reordering_seen == 0 && is_certain {
            return Duration::ZERO;
        }
        (path.min_rtt / 4).saturating_mul(u32::from(self.reo_wnd_mult)).min(path.srtt)
    }

    /// RFC 8985 §6.2, step 5 (RFC8985-6.2-g).
    pub(super) fn judge(&self, now: Instant, reordering_window: Duration, sent: &SentRange) -> Overdue {
        if !is_sent_after(self.xmit_at, self.end_seq, sent.sent_at, sent.end) {
            return Overdue::No;
        }
        // On a path without delay (the loopback), a segment for which the peer has no memory would
        // be retransmitted endlessly at the same time.
        if sent.is_repeated && sent.sent_at == now {
            return Overdue::No;
        }
        let lost_at = sent.sent_at + Duration::from_nanos(self.rtt) + reordering_window;
        if lost_at <= now { Overdue::Lost } else { Overdue::At(lost_at) }
    }
}

/// The measured round trips of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathTimes {
    pub(super) min_rtt: Duration,
    pub(super) srtt: Duration,
}

/// RFC 8985 §6.2, RACK_sent_after: data sent at the same time is in the order of its sequence
/// numbers.
fn is_sent_after(at: Instant, end: SeqNumber, other_at: Instant, other_end: SeqNumber) -> bool {
    at > other_at || (at == other_at && end.after(other_end))
}

/// RFC 8985 §7.2 (RFC8985-7.2-b): when a probe is due after the last segment was sent or SND.UNA
/// moved; `is_single`: only one segment is unacknowledged. One second if the round trip was never
/// measured.
pub(super) fn probe_delay(srtt: Option<Duration>, is_single: bool) -> Duration {
    let Some(srtt) = srtt else { return Duration::from_secs(1) };
    // The margin is Linux's, whose timers are coarse; the RFC has none.
    let extra = if is_single { WORST_DELAYED_ACK } else { MIN_PROBE_DELAY };
    srtt.saturating_mul(2) + extra
}

/// A tail loss probe in flight (RFC 8985 §7.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct LossProbe {
    /// TLP.end_seq: SND.NXT when the probe was sent.
    pub(super) end: SeqNumber,
    /// TLP.is_retrans: the probe repeated the last segment; otherwise it was new data.
    pub(super) is_repeated: bool,
}

#[cfg(test)]
mod tests;
