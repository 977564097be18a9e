//! Retransmission of lost data, and the tail loss probe.

use super::connection::TimedOut;
use super::prr::Progress;
use super::rack::{self, LossProbe};
use super::recovery::{Frto, Phase, RepeatCause};
use super::sender::{NagleMode, Plan};
use super::sent_range::SentRange;
use super::timer::Timer;
use super::{Connection, Run, SeqNumber};
use crate::Ctx;

impl Connection {
    /// Whether lost data may be retransmitted now.
    pub(super) fn wants_to_resend(&self) -> bool {
        // RFC 5682 §3.1 step 2b: first, new data shows whether the loss is real.
        self.flight.scoreboard.lost() > 0 && self.flight.recovery.frto != Frto::Probing
    }

    /// Retransmits the first lost data, one segment or a run, as far as the windows allow. The
    /// segment at SND.UNA is sent even beyond the edge of a window that shrank meanwhile (RFC 9293
    /// §3.8.6, MAY-7; RFC 6675 §5, RFC 6582 §3.2).
    pub(super) fn resend(&mut self, ctx: &mut Ctx<'_>, mss: u32, burst: u32) -> Option<Run> {
        let in_flight = self.in_flight();
        let room = self.congestion.cwnd().saturating_sub(in_flight);
        let segs = (room / mss).min(self.max_run_segs(ctx, mss, burst));
        let max = match segs {
            0 if in_flight == 0 => mss,
            0 => room,
            segs => segs * mss,
        };
        let (seq, end) = self.flight.scoreboard.next_lost(max)?;
        if max == 0 || (end - seq >= max && max < mss) {
            return None;
        }
        let end = self.cut_to_window(seq, end, mss)?;
        let end = self.snd.record_end(seq).map_or(end, |record| end.min(record));
        let cause = self.flight.recovery.cause;
        self.flight.recovery.on_sent(end - seq);
        Some(self.send_again(ctx, seq, end, mss, cause))
    }

    /// The end of a retransmission of `seq..end` that stays inside the peer's window.
    fn cut_to_window(&self, seq: SeqNumber, end: SeqNumber, mss: u32) -> Option<SeqNumber> {
        let edge = self.snd.window_edge();
        if end.before_eq(edge) {
            return Some(end);
        }
        if edge.before_eq(seq) {
            return (seq == self.snd.una && !self.snd.is_window_closed()).then(|| end.min(seq + mss));
        }
        let fits = edge - seq;
        Some(seq + if fits >= mss { fits / mss * mss } else { fits })
    }

    /// Retransmits `seq..end`.
    fn send_again(
        &mut self,
        ctx: &mut Ctx<'_>,
        seq: SeqNumber,
        end: SeqNumber,
        mss: u32,
        cause: RepeatCause,
    ) -> Run {
        let bytes = end - seq;
        let stamp = self.flight.rate.stamp(ctx.now, self.in_flight(), bytes);
        // An MSS is at most 65,535.
        self.flight.scoreboard.on_resent(ctx.now, seq, end, mss as u16, stamp);
        self.flight.recovery.on_repeated(bytes, self.timestamps.clock(ctx.now));
        let queue_end = self.snd.una + self.snd.queue.len() as u32;
        let fin = end.after(queue_end);
        let len = bytes - u32::from(fin);
        let segs = len.div_ceil(mss).max(1);
        self.counters.on_resent(segs, len);
        let segs = u64::from(segs);
        let stats = &mut ctx.stats;
        stats.tcp.retrans_segs += segs;
        match cause {
            RepeatCause::FastRetransmit => stats.recovery.fast_retrans += segs,
            RepeatCause::Timeout => stats.recovery.timeout_retrans += segs,
            RepeatCause::LossProbe => stats.recovery.loss_probe_retrans += segs,
            RepeatCause::PathMtu => stats.recovery.path_mtu_retrans += segs,
        }
        // RFC 6298 §5.1 (RFC6298-5.1); and as on Linux the time-out of the first segment starts
        // again.
        if seq == self.snd.una || !self.timers.is_armed(Timer::Retransmit) {
            self.arm_retransmit(ctx.now);
        }
        self.tell_congestion_of_sending(ctx);
        self.data_run(ctx, seq, len as usize, fin, mss as usize)
    }

    /// RFC 8985 §7.2 (RFC8985-7.2-a): arms the timer for a probe, unless an acknowledgement or new
    /// data comes before. Only while no loss is being repaired, which has other timers, and only
    /// with SACK, because otherwise the answer would show nothing.
    pub(super) fn arm_loss_probe(&mut self, ctx: &Ctx<'_>) {
        let is_calm = matches!(self.flight.recovery.phase(), Phase::Open | Phase::Cwr)
            && self.flight.scoreboard.sacked() == 0
            && self.flight.scoreboard.lost() == 0;
        let may_probe = self.syn.sack_permitted && ctx.config.tcp.loss_probes;
        if !may_probe || !is_calm || self.flight.recovery.probe.is_some() {
            return self.timers.stop(Timer::LossProbe);
        }
        let is_single = self.snd.flight() <= self.congestion.mss();
        let at = ctx.now + rack::probe_delay(self.rtt.srtt(), is_single);
        let expires_at = self.timers.deadline(Timer::Retransmit).unwrap_or(at);
        self.timers.arm(Timer::LossProbe, at.min(expires_at));
    }

    /// RFC 8985 §7.3.
    pub(super) fn on_loss_probe_timer(&mut self, ctx: &Ctx<'_>) {
        if self.in_flight() == 0 || self.snd.is_window_closed() {
            return;
        }
        self.pending.loss_probe = true;
        self.arm_retransmit(ctx.now);
    }

    /// Sends one segment of new data, beyond the congestion window if need be (RFC8985-7.3-a), or
    /// else the last segment again.
    pub(super) fn send_loss_probe(&mut self, ctx: &mut Ctx<'_>, mss: u32) -> Option<Run> {
        if self.flight.recovery.probe.is_some() || self.flight.recovery.is_repairing() {
            return None;
        }
        if let Plan::Send { len, fin } = self.snd.plan(mss, None, NagleMode::Off) {
            let run = self.send_next(ctx, mss, len, fin);
            ctx.stats.recovery.loss_probes += 1;
            self.flight.recovery.probe = Some(LossProbe { end: self.snd.nxt, is_repeated: false });
            // Sending new data has armed the timer. A second probe would only postpone the
            // time-out.
            self.timers.stop(Timer::LossProbe);
            return Some(run);
        }
        let fin_at = self.snd.una + self.snd.queue.len() as u32;
        let (seq, end) = self.flight.scoreboard.last_segment(fin_at)?;
        let seq = self.snd.last_record_of(seq, end.min(fin_at));
        // The options may now be longer than those of the first transmission.
        let end = if end.min(fin_at) - seq > mss { seq + mss } else { end };
        ctx.stats.recovery.loss_probes += 1;
        let run = self.send_again(ctx, seq, end, mss, RepeatCause::LossProbe);
        self.flight.recovery.probe = Some(LossProbe { end: self.snd.nxt, is_repeated: true });
        Some(run)
    }

    /// RFC 8985 §6.2 step 5 (RFC8985-6.2-h): the reordering window of a record is over. No
    /// acknowledgement says how much may be sent: as on Linux (tcp_rack_reo_timeout) the window is
    /// reduced as if one segment had been delivered.
    pub(super) fn on_reorder_timer(&mut self, ctx: &mut Ctx<'_>) {
        if self.mark_overdue(ctx) == 0 || self.flight.recovery.is_repairing() {
            return;
        }
        self.begin_recovery(ctx);
        let delivered = self.congestion.mss();
        self.reduce_window(Progress { delivered, is_safe: false, in_flight: self.in_flight() });
    }

    /// RFC 5681 §3.1, RFC 6675 §5.1 (RFC6675-5.1-b): the timer has fired, and everything that the
    /// peer does not have counts as lost.
    pub(super) fn enter_loss(&mut self, ctx: &mut Ctx<'_>) {
        if self.flight.scoreboard.first().is_some_and(SentRange::is_sacked) {
            // RFC 2018 §8: the peer has discarded what it had SACKed.
            ctx.stats.recovery.sack_reneging += 1;
            self.flight.scoreboard.forget_sacks();
        }
        self.congestion.on_timeout();
        self.log_congestion(ctx);
        self.ecn.on_timeout(self.snd.nxt);
        self.lose_all(RepeatCause::Timeout);
        if !ctx.config.tcp.frto {
            self.flight.recovery.frto = Frto::Off;
        }
        // Karn's algorithm: retransmitted data gives no sample of the round trip.
        self.timed_out = Some(TimedOut { end: self.snd.max, clock: self.timestamps.clock(ctx.now) });
    }

    /// Marks everything in flight as lost, without a reaction of congestion control.
    pub(super) fn lose_all(&mut self, cause: RepeatCause) {
        self.flight.recovery.enter_loss(self.snd.una, self.snd.nxt, cause);
        self.flight.mark_all_lost(&mut self.congestion);
        self.pending.loss_probe = false;
        self.timers.stop(Timer::LossProbe);
        self.timers.stop(Timer::Reorder);
    }

    /// The path takes segments of at most `mss` bytes: larger ones count as lost, though not by
    /// congestion (RFC 8201 §5.4; Linux's tcp_simple_retransmit).
    pub(super) fn lose_oversized(&mut self, mss: u32) {
        // An MSS is at most 65,535.
        let mss = mss as u16;
        self.flight.mark_oversized_lost(mss);
        if self.flight.scoreboard.lost() > 0 && !self.flight.recovery.is_repairing() {
            self.flight.recovery.enter_loss(self.snd.una, self.snd.nxt, RepeatCause::PathMtu);
            self.timers.stop(Timer::LossProbe);
        }
    }
}
