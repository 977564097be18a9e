//! BBR's estimates of the path (draft-ietf-ccwg-bbr §5.5).

use core::time::Duration;

use crate::tcp::congestion::ack::Ack;
use crate::tcp::rate::RateSample;
use crate::time::Instant;

/// §2.8: BBR.Beta: the part of a bound that is left after a loss, in percent.
pub(super) const BETA: u64 = 70;
/// The weight of a new sample in the average share of marks, as a shift: 1/16, DCTCP's g (RFC 8257
/// §3.3).
const ECN_ALPHA_GAIN: u32 = 4;
/// The value of the average that stands for 1.
pub(super) const ECN_ONE: u32 = 1024;
/// A round in which all segments are marked cuts the bound by a third.
const ECN_FACTOR: u64 = 3;

/// Round trips, counted in delivered data (§5.5.1): one is over when something is acknowledged that
/// was sent after it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    /// `delivered` when the round began.
    next_delivered: u64,
    /// All bytes delivered so far.
    delivered: u64,
    /// Whether the current acknowledgement began a round.
    pub(super) has_started: bool,
}

impl Rounds {
    pub(super) fn on_ack(&mut self, sample: Option<&RateSample>) {
        self.has_started = false;
        let Some(sample) = sample else { return };
        self.delivered = sample.total_delivered;
        if sample.prior_delivered >= self.next_delivered {
            self.next_delivered = sample.total_delivered;
            self.has_started = true;
        }
    }

    /// Begins the current round again.
    pub(super) fn restart(&mut self) {
        self.next_delivered = self.delivered;
    }
}

/// BBR.max_bw (§5.5.5): the highest rate of this ProbeBW cycle and the last.
#[derive(Clone, Debug, Default)]
pub(super) struct MaxBandwidth {
    last_cycle: u64,
    this_cycle: u64,
}

impl MaxBandwidth {
    pub(super) fn get(&self) -> u64 {
        self.last_cycle.max(self.this_cycle)
    }

    pub(super) fn on_sample(&mut self, bw: u64) {
        self.this_cycle = self.this_cycle.max(bw);
    }

    /// A cycle is over; one without a sample does not count.
    pub(super) fn advance(&mut self) {
        if self.this_cycle > 0 {
            self.last_cycle = core::mem::take(&mut self.this_cycle);
        }
    }
}

/// BBR.min_rtt (§5.5.7, §5.3.4.3): the shortest round trip of the last ten seconds, and the
/// shortest of the last five, which determines when the next ProbeRTT is due.
#[derive(Clone, Debug)]
pub(super) struct MinRtt {
    min: Option<Duration>,
    min_at: Instant,
    probed: Option<Duration>,
    probed_at: Instant,
}

impl MinRtt {
    /// §2.14: MinRTTFilterLen and BBR.ProbeRTTInterval.
    const FILTER: Duration = Duration::from_secs(10);
    const PROBE_INTERVAL: Duration = Duration::from_secs(5);

    pub(super) fn new(now: Instant) -> MinRtt {
        MinRtt { min: None, min_at: now, probed: None, probed_at: now }
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.min
    }

    /// Returns whether ProbeRTT is due.
    pub(super) fn on_ack(&mut self, now: Instant, rtt: Option<Duration>) -> bool {
        let is_due = now > self.probed_at + MinRtt::PROBE_INTERVAL;
        if let Some(rtt) = rtt
            && (is_due || self.probed.is_none_or(|probed| rtt < probed))
        {
            (self.probed, self.probed_at) = (Some(rtt), now);
        }
        let has_expired = now > self.min_at + MinRtt::FILTER;
        if let Some(probed) = self.probed
            && (has_expired || self.min.is_none_or(|min| probed <= min))
        {
            (self.min, self.min_at) = (Some(probed), self.probed_at);
        }
        is_due
    }

    /// ProbeRTT is over: the next one is an interval away.
    pub(super) fn on_probed(&mut self, now: Instant) {
        self.probed_at = now;
    }
}

/// The signs of congestion in the last round (§5.5.10.1).
#[derive(Clone, Debug)]
pub(super) struct Signals {
    /// `delivered` at which the round of losses ends.
    round_delivered: u64,
    delivered: u64,
    pub(super) is_round_over: bool,
    pub(super) loss_in_round: bool,
    pub(super) ce_in_round: bool,
    /// Acknowledgements of this round that showed losses. Each counts once, however many segments
    /// were lost.
    pub(super) loss_events: u8,
    /// BBR.bw_latest and BBR.inflight_latest: the most that the path carried in this round.
    pub(super) bw_latest: u64,
    pub(super) inflight_latest: u32,
    /// The average share of marked bytes, of [`ECN_ONE`]. It begins at one, so that the first marks
    /// have an effect.
    pub(super) ecn_alpha: u32,
    /// Bytes of this round, for the average.
    round_bytes: u32,
    round_ce_bytes: u32,
}

impl Default for Signals {
    fn default() -> Signals {
        Signals {
            round_delivered: 1,
            delivered: 0,
            is_round_over: false,
            loss_in_round: false,
            ce_in_round: false,
            loss_events: 0,
            bw_latest: 0,
            inflight_latest: 0,
            ecn_alpha: ECN_ONE,
            round_bytes: 0,
            round_ce_bytes: 0,
        }
    }
}

impl Signals {
    pub(super) fn on_ack(&mut self, ack: &Ack, is_round_start: bool) {
        self.is_round_over = false;
        self.round_bytes = self.round_bytes.saturating_add(ack.delivered_bytes);
        self.round_ce_bytes = self.round_ce_bytes.saturating_add(ack.ce_bytes);
        self.ce_in_round |= ack.ce_bytes > 0;
        if is_round_start {
            self.update_ecn_alpha();
        }
        if ack.lost_bytes > 0 {
            self.loss_in_round = true;
            self.loss_events = self.loss_events.saturating_add(1);
        }
        let Some(sample) = &ack.rate else { return };
        self.delivered = sample.total_delivered;
        self.bw_latest = self.bw_latest.max(sample.bytes_per_second());
        self.inflight_latest = self.inflight_latest.max(sample.delivered);
        if sample.prior_delivered >= self.round_delivered {
            self.round_delivered = sample.total_delivered;
            self.is_round_over = true;
        }
    }

    fn update_ecn_alpha(&mut self) {
        let (bytes, marked) =
            (core::mem::take(&mut self.round_bytes), core::mem::take(&mut self.round_ce_bytes));
        if bytes == 0 {
            return;
        }
        let share = (u64::from(marked) * u64::from(ECN_ONE) / u64::from(bytes)) as u32;
        self.ecn_alpha -= self.ecn_alpha >> ECN_ALPHA_GAIN;
        self.ecn_alpha = (self.ecn_alpha + (share >> ECN_ALPHA_GAIN)).min(ECN_ONE);
    }

    /// The first loss of a round: the round is counted from here, so that it measures what the path
    /// carried during the loss (§5.5.10.2).
    pub(super) fn on_lost(&mut self) {
        if !self.loss_in_round {
            self.round_delivered = self.delivered;
        }
        self.loss_in_round = true;
    }

    pub(super) fn end_of_round(&mut self) {
        self.loss_in_round = false;
        self.ce_in_round = false;
    }

    /// §5.5.10.1, BBRAdvanceLatestDeliverySignals: the next round's maxima begin with this sample.
    pub(super) fn advance(&mut self, sample: Option<&RateSample>) {
        if let (true, Some(sample)) = (self.is_round_over, sample) {
            self.bw_latest = sample.bytes_per_second();
            self.inflight_latest = sample.delivered;
            self.loss_events = 0;
        }
    }

    /// §5.5.10.1, BBRResetCongestionSignals.
    pub(super) fn reset(&mut self) {
        self.end_of_round();
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }
}

/// The bounds that congestion sets for the model (§5.5.10). A bound that is not set has the highest
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The long-term bound: what was in flight when probing caused losses.
    pub(super) inflight_hi: u32,
    /// The short-term bounds, since the last probe.
    pub(super) inflight_lo: u32,
    pub(super) bw_lo: u64,
}

impl Bounds {
    pub(super) const NONE: Bounds = Bounds { inflight_hi: u32::MAX, inflight_lo: u32::MAX, bw_lo: u64::MAX };

    pub(super) fn reset_lower(&mut self) {
        self.inflight_lo = u32::MAX;
        self.bw_lo = u64::MAX;
    }

    /// Lowers the bounds after a round with losses or marks, outside a probe. A bound becomes 0.7
    /// of its value, but not less than what the path carried in that round. A mark counts as a loss
    /// (RFC 3168 §5). It also cuts inflight_lo by the average share of marks; that cut has no lower
    /// limit.
    pub(super) fn cut(&mut self, cwnd: u32, max_bw: u64, signals: &Signals) {
        let inflight = if self.inflight_lo == u32::MAX { cwnd } else { self.inflight_lo };
        let bw = if self.bw_lo == u64::MAX { max_bw } else { self.bw_lo };
        self.bw_lo = signals.bw_latest.max(bw.saturating_mul(BETA) / 100).max(1);
        self.inflight_lo = signals.inflight_latest.max(percent(inflight, BETA));
        if signals.ce_in_round {
            let cut = u64::from(inflight) * u64::from(signals.ecn_alpha) / u64::from(ECN_ONE) / ECN_FACTOR;
            self.inflight_lo = self.inflight_lo.min(inflight - cut as u32);
        }
    }

    /// Undoes a reduction that was a mistake.
    pub(super) fn widen(&mut self, former: &Bounds) {
        self.inflight_hi = self.inflight_hi.max(former.inflight_hi);
        self.inflight_lo = self.inflight_lo.max(former.inflight_lo);
        self.bw_lo = self.bw_lo.max(former.bw_lo);
    }
}

pub(super) fn percent(bytes: u32, percent: u64) -> u32 {
    u32::try_from(u64::from(bytes) * percent / 100).unwrap_or(u32::MAX)
}

/// How many bytes are acknowledged at once beyond the estimated rate (§5.5.9). That many more must
/// be in flight to bridge the pause until the next acknowledgement.
#[derive(Clone, Debug)]
pub(super) struct Aggregation {
    since: Instant,
    acked: u64,
    /// The maxima of this window of rounds and of the last.
    extra: [u32; 2],
    rounds: u8,
}

impl Aggregation {
    /// The length of each of the two windows in rounds, once the pipe was full.
    pub(super) const ROUNDS: u8 = 5;

    pub(super) fn new(now: Instant) -> Aggregation {
        Aggregation { since: now, acked: 0, extra: [0; 2], rounds: 0 }
    }

    pub(super) fn extra_acked(&self) -> u32 {
        self.extra[0].max(self.extra[1])
    }

    pub(super) fn restart(&mut self, now: Instant) {
        (self.since, self.acked) = (now, 0);
    }

    pub(super) fn on_ack(&mut self, ack: &Ack, bw: u64, cwnd: u32, is_round_start: bool, win_rounds: u8) {
        if is_round_start {
            self.rounds += 1;
            if self.rounds >= win_rounds {
                self.rounds = 0;
                self.extra = [0, self.extra[0]];
            }
        }
        let micros = ack.now.duration_since(self.since).as_micros() as u64;
        let mut expected = bw.saturating_mul(micros) / 1_000_000;
        if self.acked <= expected {
            self.restart(ack.now);
            expected = 0;
        }
        self.acked += u64::from(ack.delivered_bytes);
        let extra = u32::try_from(self.acked.saturating_sub(expected)).unwrap_or(u32::MAX);
        self.extra[0] = self.extra[0].max(extra.min(cwnd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::tests::ack;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// §5.5.7: the shortest round trip counts for ten seconds at most.
    #[test]
    fn the_shortest_round_trip_is_forgotten_after_ten_seconds() {
        let mut rtt = MinRtt::new(Instant::ZERO);
        rtt.on_ack(Instant::ZERO, Some(MS(10)));
        let mut due = 0;
        for tenth in 1..=150 {
            due += u32::from(rtt.on_ack(Instant::from_millis(100 * tenth), Some(MS(30))));
            let is_known = tenth <= 100;
            assert_eq!(rtt.get(), Some(MS(if is_known { 10 } else { 30 })), "{tenth}");
        }
        assert_eq!(due, 2, "a probe every five seconds");
    }

    #[test]
    fn the_share_of_marked_bytes_is_averaged() {
        for (marked, share) in [(0, 0), (250, ECN_ONE / 4), (500, ECN_ONE / 2), (1000, ECN_ONE)] {
            let mut signals = Signals::default();
            for _ in 0..200 {
                signals.on_ack(&Ack { ce_bytes: marked, ..ack(Instant::ZERO, 0, 1000) }, true);
            }
            // The average rounds down to a sixteenth.
            assert!(signals.ecn_alpha.abs_diff(share) <= 16, "{marked}: {} {share}", signals.ecn_alpha);
        }
    }

    /// §5.5.9: bytes beyond the rate, since the deliveries last fell to the rate.
    #[test]
    fn what_comes_at_once_is_counted_beyond_what_the_rate_explains() {
        let mut aggregation = Aggregation::new(Instant::ZERO);
        let mut on_ack = |millis, bytes| {
            let ack = ack(Instant::from_millis(millis), 0, bytes);
            aggregation.on_ack(&ack, 1_000_000, 1 << 20, false, Aggregation::ROUNDS);
            aggregation.extra_acked()
        };
        assert_eq!(on_ack(0, 1000), 1000);
        assert_eq!(
            on_ack(10, 20_000),
            20_000,
            "ten milliseconds explain the 1,000 before, and a new count begins"
        );
        assert_eq!(on_ack(15, 10_000), 25_000, "5,000 of 30,000 are explained");
        assert_eq!(on_ack(1_035, 500), 25_000, "more than a second explains all");
    }
}
