//! How the sender processes an acknowledgement: what is delivered, what is lost, and the congestion
//! window.
//!
//! Read it from [`Connection::process_ack`] down. The steps are those of Linux's tcp_ack: remove
//! the acknowledged records, mark the SACKed ones, measure the round trip, detect losses, change
//! the phase of [`recovery`](super::recovery), set the window, arm the timers.

use core::time::Duration;

use super::congestion::Ack;
use super::flight::Flight;
use super::prr::Progress;
use super::rack::PathTimes;
use super::rate::Newest;
use super::recovery::Phase;
use super::sent_range::SentRange;
use super::timer::Timer;
use super::window::{UnscaledWindow, WindowScale};
use super::{Connection, Flags, Header, SackBlocks, SeqNumber};
use crate::Ctx;
use crate::config::TcpConfig;
use crate::time::Instant;

/// The state before the acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Before {
    una: SeqNumber,
    in_flight: u32,
}

/// The effects of one acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AckSummary {
    /// SND.UNA moved.
    pub(super) advanced: bool,
    /// Bytes of data by which SND.UNA moved.
    pub(super) acked_bytes: u32,
    /// Bytes newly known to have arrived, acknowledged or sacked.
    pub(super) delivered_bytes: u32,
    pub(super) newly_sacked: bool,
    /// A duplicate acknowledgement in the sense of RFC 5681 §2.
    pub(super) is_duplicate: bool,
    /// The peer reports a duplicate (RFC 2883).
    pub(super) has_dsack: bool,
    /// The first and the last transmission time among newly acknowledged records that were sent
    /// only once.
    pub(super) oldest_sent_at: Option<Instant>,
    pub(super) newest_sent_at: Option<Instant>,
    /// Retransmitted data was acknowledged.
    pub(super) has_repeated: bool,
    /// Data that was sent only once, before the episode began, has arrived.
    pub(super) has_original: bool,
    pub(super) lost_bytes: u32,
    /// By how many bytes data that arrived now was overtaken (the extent of reordering).
    pub(super) overtaken_bytes: u32,
    /// The peer reports CE (RFC 3168, RFC 9768), and an estimate of the delivered bytes that were
    /// marked.
    pub(super) met_congestion: bool,
    pub(super) ce_bytes: u32,
    pub(super) newest: Newest,
}

impl AckSummary {
    /// `len` bytes of `sent` have arrived.
    fn on_delivered(&mut self, sent: &SentRange, len: u32, recover: SeqNumber) {
        self.delivered_bytes += len;
        if sent.is_repeated {
            self.has_repeated = true;
            return;
        }
        self.oldest_sent_at.get_or_insert(sent.sent_at);
        self.newest_sent_at = Some(sent.sent_at);
        self.has_original |= sent.end.before_eq(recover);
    }
}

impl Connection {
    /// Bytes assumed to be in the network: RFC 6675's pipe (RFC6675-4-c).
    pub(super) fn in_flight(&self) -> u32 {
        let gone = self.flight.scoreboard.sacked()
            + self.flight.scoreboard.lost()
            + self.flight.recovery.duplicate_bytes();
        self.snd.flight().saturating_sub(gone)
    }

    /// Processes an acceptable acknowledgement: SND.UNA, the round-trip time, congestion, the
    /// window.
    pub(super) fn process_ack(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) {
        let window = self.window_of(header);
        let was_closed = self.snd.usable_window() == 0;
        let summary = AckSummary {
            advanced: header.ack.after(self.snd.una),
            is_duplicate: self.is_duplicate_ack(header, payload_len, window),
            ..AckSummary::default()
        };
        if summary.advanced || summary.is_duplicate || !header.options.sack.is_empty() {
            self.on_acknowledgement(ctx, header, payload_len, summary);
        } else if self.read_ecn(header, payload_len, 0).is_some() {
            self.on_congestion_experienced(ctx);
        }
        self.snd.update_window(header.seq, header.ack, window);
        // The peer answers, so its window may stay closed for ever (MUST-37).
        self.retries.unanswered_probes = 0;
        if was_closed && self.snd.usable_window() > 0 {
            self.retries.probes = 0;
            self.timers.stop(Timer::Persist);
        }
    }

    /// The window of a segment, in bytes.
    pub(super) fn window_of(&self, header: &Header) -> u32 {
        // RFC 7323 §2.2 (RFC7323-2.2-d): the window of a SYN is never scaled.
        let is_syn = header.flags.contains(Flags::SYN);
        let scale = if is_syn { WindowScale::NONE } else { self.snd.scale() };
        UnscaledWindow(header.window).scale(scale).0
    }

    /// RFC 5681 §2.
    pub(super) fn is_duplicate_ack(&self, header: &Header, payload_len: usize, window: u32) -> bool {
        header.ack == self.snd.una
            && payload_len == 0
            && !header.flags.contains(Flags::FIN)
            && self.snd.flight() > 0
            && window == self.snd.wnd
    }

    fn on_acknowledgement(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
        mut summary: AckSummary,
    ) {
        let before = Before { una: self.snd.una, in_flight: self.in_flight() };
        if summary.advanced {
            self.take_acked(ctx, header, &mut summary);
        }
        if self.syn.sack_permitted {
            if !header.options.sack.is_empty() {
                self.take_sacked(ctx, header, &mut summary);
            }
        } else {
            self.guess_sacked(ctx, &mut summary, before);
        }
        if let Some(ce_bytes) = self.read_ecn(header, payload_len, summary.delivered_bytes) {
            summary.met_congestion = true;
            summary.ce_bytes = ce_bytes;
            self.flight.rate.on_ce(ce_bytes);
        }
        if summary.overtaken_bytes > 0 {
            self.flight.rack.on_reordering(summary.overtaken_bytes, self.congestion.mss());
        }
        self.sample_rtt(ctx.now, header, &summary);
        self.detect_losses(ctx, &mut summary);
        self.check_loss_probe(ctx, header.ack, &summary);
        self.update_phase(ctx, header, &mut summary);
        self.update_window_of_congestion(ctx, &summary, before);
        self.renew_timers(ctx, &summary);
    }

    /// Moves SND.UNA, and removes what is acknowledged.
    fn take_acked(&mut self, ctx: &mut Ctx<'_>, header: &Header, summary: &mut AckSummary) {
        let before = self.snd.una;
        summary.acked_bytes = self.snd.on_ack(header.ack);
        self.counters.on_acked(summary.acked_bytes);
        if self.timed_out.is_some_and(|timed_out| header.ack.after(timed_out.end)) {
            self.timed_out = None;
        }
        self.retries.timeouts = 0;
        self.retries.probes = 0;
        self.ending.soft_error = None;
        self.retries.progress = true;
        self.release_held();
        let (min_rtt, timestamps) = (self.rtt.min_rtt(), &self.timestamps);
        let Flight { scoreboard, rack, rate, recovery, .. } = &mut self.flight;
        let recover = recovery.recover();
        scoreboard.acknowledge(header.ack, |sent, len| {
            summary.on_delivered(sent, len, recover);
            let is_current = !sent.is_repeated || !timestamps.echoes_earlier(header, sent.sent_at);
            let overtaken = rack.on_delivered(ctx.now, sent, min_rtt, is_current);
            summary.overtaken_bytes = summary.overtaken_bytes.max(overtaken);
            rate.on_delivered(&mut summary.newest, ctx.now, len, sent.sent_at, &sent.stamp);
        });
        if !before.is_in_quarter_of(header.ack) {
            self.renew_marks();
        }
        self.check_mtu_probe(ctx);
    }

    /// Moves stored sequence numbers along when SND.UNA enters another quarter of the sequence
    /// space. Otherwise a number that stays unchanged while data flows would seem to lie ahead
    /// after 2 GiB, and would name data in flight after 4 GiB.
    fn renew_marks(&mut self) {
        let una = self.snd.una;
        self.snd.forget_before(una);
        self.flight.recovery.forget_before(una);
        self.ecn.forget_before(una);
        self.flight.rack.forget_before(una);
        self.flight.scoreboard.forget_seen();
    }

    /// Processes the SACK blocks, the first of which may be a D-SACK.
    fn take_sacked(&mut self, ctx: &mut Ctx<'_>, header: &Header, summary: &mut AckSummary) {
        let blocks = &header.options.sack;
        let dsack = self.dsack(header);
        if let Some((left, right)) = dsack {
            summary.has_dsack = self.on_dsack(ctx, left, right);
        }
        // RFC 2018 §3 (RFC2018-3-c): a valid block is not empty and lies within the data in flight.
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let is_true = |&(left, right): &(SeqNumber, SeqNumber)| {
            left.after_eq(una) && left.before(right) && right.before_eq(nxt)
        };
        let mut blocks: SackBlocks =
            blocks.iter().skip(usize::from(dsack.is_some())).copied().filter(is_true).collect();
        if blocks.is_empty() {
            return;
        }
        // If acknowledgements were lost, two blocks may be new, the first of them with the higher
        // numbers. That is no reordering.
        blocks.sort_unstable_by_key(|&(left, _)| left - una);
        let (min_rtt, timestamps) = (self.rtt.min_rtt(), &self.timestamps);
        let Flight { scoreboard, rack, rate, recovery, .. } = &mut self.flight;
        let recover = recovery.recover();
        let delivered_before = summary.delivered_bytes;
        scoreboard.on_sack(blocks, |sent, len| {
            summary.on_delivered(sent, len, recover);
            let is_current = !sent.is_repeated || !timestamps.echoes_earlier(header, sent.sent_at);
            let overtaken = rack.on_delivered(ctx.now, sent, min_rtt, is_current);
            summary.overtaken_bytes = summary.overtaken_bytes.max(overtaken);
            rate.on_delivered(&mut summary.newest, ctx.now, len, sent.sent_at, &sent.stamp);
        });
        summary.newly_sacked = summary.delivered_bytes > delivered_before;
    }

    /// RFC 2883 §4 (RFC2883-5-a): the first block reports a duplicate if it is acknowledged
    /// already, or lies in the second.
    fn dsack(&self, header: &Header) -> Option<(SeqNumber, SeqNumber)> {
        let &(left, right) = header.options.sack.first()?;
        let is_acked = right.before_eq(header.ack);
        let is_inside = header.options.sack.get(1).is_some_and(|&(outer_left, outer_right)| {
            left.after_eq(outer_left) && right.before_eq(outer_right)
        });
        // Only data that was sent recently can be a duplicate of ours.
        let is_possible = left.before(right)
            && right.before_eq(self.snd.nxt)
            && left.after_eq(self.snd.una - self.snd.max_wnd.max(1));
        ((is_acked || is_inside) && is_possible).then_some((left, right))
    }

    /// Processes a D-SACK. Returns whether it is credible.
    fn on_dsack(&mut self, ctx: &mut Ctx<'_>, left: SeqNumber, right: SeqNumber) -> bool {
        ctx.stats.recovery.dsacks_received += 1;
        self.counters.on_dsack();
        if !self.flight.recovery.on_dsack(left, right) {
            return false;
        }
        // A D-SACK for the tail loss probe says nothing about reordering (RFC 8985 §7.4).
        let is_of_probe =
            self.flight.recovery.probe.is_some_and(|probe| probe.is_repeated && right == probe.end);
        if ctx.config.tcp.rack_adapts && !is_of_probe {
            self.flight.rack.on_dsack(self.snd.una, self.snd.nxt);
        }
        true
    }

    /// RFC 2018 §8 (RFC2018-8-b): a receiver may discard what it has sacked. As on Linux the sender
    /// waits for a short time, in case the acknowledgement is still in the network; then the
    /// time-out repairs the loss.
    fn on_reneging(&mut self, ctx: &Ctx<'_>) {
        let patience = self.rtt.srtt().unwrap_or_default() / 2;
        self.timers.arm(Timer::Retransmit, ctx.now + patience.max(Duration::from_millis(10)));
    }

    /// Without SACK, duplicate ACKs show how many segments have arrived after a gap, but not which
    /// ones (RFC 5681 §3.2, RFC 6582).
    fn guess_sacked(&mut self, ctx: &Ctx<'_>, summary: &mut AckSummary, before: Before) {
        let mss = self.congestion.mss();
        if summary.advanced {
            // RFC 5681 §3.2: bytes that duplicate ACKs counted as delivered are not counted again.
            let counted = self.flight.recovery.duplicate_bytes().min(summary.delivered_bytes);
            self.flight.recovery.on_acked_without_sack(self.snd.una - before.una, mss);
            summary.delivered_bytes -= counted - self.flight.recovery.duplicate_bytes().min(counted);
            if summary.has_repeated {
                // Data acknowledged together with the retransmitted segment may have arrived long
                // before.
                summary.has_original = false;
            }
            if self.flight.recovery.phase() == Phase::Recovery
                && !self.flight.recovery.is_over_at(self.snd.una)
            {
                // RFC 6582 §3.2 step 3 (RFC6582-3.2-d): the next gap begins here.
                summary.lost_bytes += self.flight.mark_first_lost(&mut self.congestion);
            }
        } else if summary.is_duplicate {
            let counted = self.flight.recovery.duplicate_bytes();
            let threshold = ctx.config.tcp.duplicate_threshold;
            if self.flight.recovery.on_duplicate(self.snd.una, mss, self.snd.flight(), threshold) {
                summary.lost_bytes += self.flight.mark_first_lost(&mut self.congestion);
            }
            summary.delivered_bytes += self.flight.recovery.duplicate_bytes().saturating_sub(counted);
        }
    }

    /// Samples the round-trip time for the RTO, from the earliest record that was sent only once
    /// (Karn's algorithm, RFC6298-3-a), otherwise from the echoed timestamp (RFC 7323 §4.1,
    /// RFC7323-4.1: only from segments that acknowledge new data).
    fn sample_rtt(&mut self, now: Instant, header: &Header, summary: &AckSummary) {
        let measured = match (summary.oldest_sent_at, summary.newest_sent_at) {
            // Data that was sent only once may have waited behind a retransmission.
            (Some(oldest), Some(newest)) if !summary.has_repeated => {
                self.rtt.on_min_sample(now, now.duration_since(newest));
                Some(now.duration_since(oldest))
            }
            _ if !summary.advanced || self.is_ambiguous(header) => None,
            _ => self.timestamps.round_trip(now, header),
        };
        if let Some(round_trip) = measured {
            self.rtt.on_sample(round_trip);
        }
    }

    /// Whether Karn's problem (RFC 6298 §3) arises in spite of timestamps: data was sent again
    /// after a time-out, and the echo is older than the retransmission. If the acknowledgement of
    /// the original was lost, the retransmission is a duplicate to the peer, which leaves TS.Recent
    /// and so echoes the old timestamp. The sample would then include the whole time-out.
    pub(super) fn is_ambiguous(&self, header: &Header) -> bool {
        self.timed_out.is_some_and(|timed_out| {
            !header.ack.after(timed_out.end) && self.timestamps.echoes_before(header, timed_out.clock)
        })
    }

    /// RFC 8985 §6.2 step 4: the reordering window, how long to wait before a segment counts as
    /// lost.
    pub(super) fn reordering_window(&self, config: &TcpConfig) -> Duration {
        let srtt = self.rtt.srtt().unwrap_or_default();
        let path = PathTimes { min_rtt: self.rtt.min_rtt().unwrap_or(srtt), srtt };
        let sacked_segs = if config.rack_counts_segments {
            // RFC 6675 §4, IsLost: three segments are more than twice the MSS in bytes. The last of
            // a flight may be a partial one.
            self.flight.scoreboard.sacked().div_ceil(self.congestion.mss().max(1))
        } else {
            0
        };
        self.flight.rack.reordering_window(self.flight.recovery.is_repairing(), sacked_segs, path)
    }

    /// RFC 8985 §6.2: marks the records that are now lost, and arms the timer for the next check.
    pub(super) fn mark_overdue(&mut self, ctx: &Ctx<'_>) -> u32 {
        if self.flight.rack.is_first(self.flight.scoreboard.first_transmission_at())
            && self.flight.scoreboard.sacked() == 0
        {
            // No later transmission has arrived.
            self.timers.stop(Timer::Reorder);
            return 0;
        }
        let window = self.reordering_window(&ctx.config.tcp);
        let (bytes, next) = self.flight.mark_overdue(ctx.now, window, &mut self.congestion);
        match next {
            Some(at) => self.timers.arm(Timer::Reorder, at),
            None => self.timers.stop(Timer::Reorder),
        }
        bytes
    }

    fn detect_losses(&mut self, ctx: &mut Ctx<'_>, summary: &mut AckSummary) {
        if self.syn.sack_permitted {
            summary.lost_bytes += self.mark_overdue(ctx);
        }
    }

    fn update_window_of_congestion(&mut self, ctx: &Ctx<'_>, summary: &AckSummary, before: Before) {
        let in_flight = self.in_flight();
        let phase = self.flight.recovery.phase();
        let rtt = summary
            .newest_sent_at
            .filter(|_| !summary.has_repeated)
            .map(|sent_at| ctx.now.duration_since(sent_at));
        if summary.delivered_bytes > 0 || summary.lost_bytes > 0 {
            let min_rtt = self.rtt.min_rtt();
            let rate = self.flight.rate.take_sample(summary.newest, min_rtt);
            if let Some(sample) = &rate {
                self.counters.on_rate(sample);
            }
            let mode_before = log::log_enabled!(log::Level::Debug).then(|| self.congestion.mode());
            self.congestion.on_ack(&Ack {
                now: ctx.now,
                phase,
                acked_bytes: summary.acked_bytes,
                delivered_bytes: summary.delivered_bytes,
                lost_bytes: summary.lost_bytes,
                ce_bytes: summary.ce_bytes,
                prior_in_flight: before.in_flight,
                in_flight,
                rtt,
                min_rtt,
                srtt: self.rtt.srtt(),
                una: self.snd.una,
                nxt: self.snd.nxt,
                rate,
            });
            if let Some(before) = mode_before.filter(|&before| before != self.congestion.mode()) {
                log::debug!("{}: {before} -> {}", ctx.subject, self.congestion.mode());
            }
        }
        if self.congestion.wants_limited_samples() {
            self.flight.rate.on_application_limited(in_flight);
        }
        let is_safe = summary.advanced && summary.lost_bytes == 0;
        self.reduce_window(Progress { delivered: summary.delivered_bytes, is_safe, in_flight });
    }

    /// Sets the congestion window by proportional rate reduction, during an episode.
    pub(super) fn reduce_window(&mut self, progress: Progress) {
        if self.flight.recovery.is_reducing() && !self.congestion.controls_recovery() {
            let (ssthresh, mss) = (self.congestion.ssthresh(), self.congestion.mss());
            let cwnd = self.flight.recovery.reduced_cwnd(progress, ssthresh, mss);
            self.congestion.set_cwnd(cwnd);
        }
    }

    fn renew_timers(&mut self, ctx: &Ctx<'_>, summary: &AckSummary) {
        if self.snd.flight() == 0 {
            // RFC 6298 §5.2 (RFC6298-5.2).
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::LossProbe);
            self.timers.stop(Timer::Reorder);
        } else if !summary.advanced {
            // Repeated ACKs do not postpone the time-out.
        } else if self.flight.scoreboard.first().is_some_and(SentRange::is_sacked) {
            self.on_reneging(ctx);
        } else {
            // RFC 6298 §5.3 (RFC6298-5.3).
            self.arm_retransmit(ctx.now);
            self.arm_loss_probe(ctx);
        }
    }
}
