//! How an acknowledgement changes the phase of [`recovery`](super::recovery): episodes begin and
//! end, and spurious ones are undone.

use super::ack::AckSummary;
use super::congestion::Cause;
use super::recovery::{Frto, Phase, RepeatCause};
use super::timer::Timer;
use super::{Connection, Header, SeqNumber};
use crate::Ctx;

impl Connection {
    /// RFC 8985 §7.4 (RFC8985-7.4-a, RFC8985-7.4-b): if the loss probe repaired a loss, that was a
    /// sign of congestion.
    pub(super) fn check_loss_probe(&mut self, ctx: &mut Ctx<'_>, ack: SeqNumber, summary: &AckSummary) {
        let Some(probe) = self.flight.recovery.probe.filter(|probe| ack.after_eq(probe.end)) else { return };
        if probe.is_repeated && !summary.has_dsack && ack.after(probe.end) {
            self.flight.recovery.probe = None;
            if self.flight.recovery.phase() == Phase::Open {
                log::debug!("{}: the loss probe repaired a loss at {:?}", ctx.subject, probe.end);
                ctx.stats.recovery.loss_probe_recovery += 1;
                self.congestion.on_congestion(Cause::Loss);
                self.log_congestion(ctx);
                self.congestion.on_recovery_done(None);
            }
        } else if !probe.is_repeated || summary.has_dsack || (summary.is_duplicate && !summary.newly_sacked) {
            // The probe was new data, or the peer received the last segment twice: nothing was
            // lost.
            self.flight.recovery.probe = None;
        }
    }

    /// Moves between the phases of recovery.
    pub(super) fn update_phase(&mut self, ctx: &mut Ctx<'_>, header: &Header, summary: &mut AckSummary) {
        match self.flight.recovery.phase() {
            Phase::Open => self.check_late_dsack(ctx, summary),
            // As on Linux this phase lasts until data sent after CWR is acknowledged.
            Phase::Cwr if self.snd.una.after(self.flight.recovery.recover()) => {
                self.flight.recovery.end();
                self.congestion.on_recovery_done(None);
            }
            Phase::Cwr => {}
            Phase::Recovery => self.on_ack_in_recovery(ctx, header, summary),
            Phase::Loss => self.on_ack_in_loss(ctx, header, summary),
        }
        if self.flight.scoreboard.lost() > 0 {
            self.begin_recovery(ctx);
        }
        if summary.met_congestion {
            self.on_congestion_experienced(ctx);
        }
    }

    /// Begins fast recovery after a loss, unless losses are being repaired already.
    pub(super) fn begin_recovery(&mut self, ctx: &mut Ctx<'_>) {
        if self.flight.recovery.is_repairing() || self.is_mtu_probe_lost(ctx) {
            return;
        }
        log::debug!("{}: recovery begins at {:?}", ctx.subject, self.snd.una);
        ctx.stats.recovery.recoveries += 1;
        self.reduce(ctx, Phase::Recovery, Cause::Loss);
    }

    /// Begins an episode for this cause.
    pub(super) fn reduce(&mut self, ctx: &Ctx<'_>, phase: Phase, cause: Cause) {
        let was_open = self.flight.recovery.phase() == Phase::Open;
        self.flight.recovery.enter_reduction(phase, self.snd.una, self.snd.nxt, self.congestion.cwnd());
        if was_open {
            self.congestion.on_congestion(cause);
            self.log_congestion(ctx);
        }
        self.ecn.on_reduced(self.snd.nxt);
        self.flight.recovery.probe = None;
        self.timers.stop(Timer::LossProbe);
    }

    /// Logs the congestion window after a reduction.
    pub(super) fn log_congestion(&self, ctx: &Ctx<'_>) {
        log::debug!(
            "{}: {}, cwnd {} ssthresh {} pacing rate {:?}",
            ctx.subject,
            self.congestion.mode(),
            self.congestion.cwnd(),
            self.congestion.ssthresh(),
            self.congestion.pacing_rate()
        );
    }

    fn on_ack_in_recovery(&mut self, ctx: &mut Ctx<'_>, header: &Header, summary: &AckSummary) {
        let is_over = self.flight.recovery.is_over_at(self.snd.una);
        let is_original = summary.advanced && self.echoes_original(header);
        if self.flight.recovery.is_all_duplicate()
            || (is_original && (is_over || self.flight.scoreboard.repeated() == 0))
        {
            ctx.stats.recovery.spurious_recoveries += 1;
            return self.undo(ctx, "recovery");
        }
        if is_over {
            log::debug!("{}: recovery is over at {:?}", ctx.subject, self.snd.una);
            self.flight.recovery.end();
            self.flight.recovery.forget_duplicates();
            self.flight.rack.on_recovery_done();
            let burst_guard = (!self.syn.sack_permitted).then_some(self.snd.flight());
            self.congestion.on_recovery_done(burst_guard);
        }
    }

    /// Undoes the last episode if a D-SACK shows after its end that each retransmission was
    /// spurious (Linux's tcp_try_undo_dsack in Open).
    fn check_late_dsack(&mut self, ctx: &mut Ctx<'_>, summary: &AckSummary) {
        if !summary.has_dsack || !self.flight.recovery.is_all_duplicate() {
            return;
        }
        match self.flight.recovery.cause {
            RepeatCause::Timeout => ctx.stats.recovery.spurious_timeouts += 1,
            RepeatCause::FastRetransmit | RepeatCause::LossProbe | RepeatCause::PathMtu => {
                ctx.stats.recovery.spurious_recoveries += 1;
            }
        }
        log::debug!("{}: the last episode was spurious, undone at {:?}", ctx.subject, self.snd.una);
        self.congestion.undo();
        self.ecn.withdraw_cwr();
        self.flight.recovery.forget();
        self.flight.rack.on_recovery_undone();
    }

    /// Linux's tcp_process_loss.
    fn on_ack_in_loss(&mut self, ctx: &mut Ctx<'_>, header: &Header, summary: &AckSummary) {
        let frto = self.flight.recovery.frto;
        // RFC 5682 §3.1 step 3b (RFC5682-3.1-a, RFC5682-2.1-g): data that was not retransmitted has
        // arrived.
        let is_spurious = frto != Frto::Off && summary.has_original;
        let is_needless = is_spurious
            || self.flight.recovery.is_all_duplicate()
            || (summary.advanced && self.echoes_original(header));
        if is_needless && self.flight.recovery.may_undo() {
            ctx.stats.recovery.spurious_timeouts += 1;
            return self.undo(ctx, "time-out");
        }
        match frto {
            Frto::Off => {}
            // Step 2b (RFC5682-2.1-d).
            Frto::Waiting if summary.advanced && self.may_send_new() => {
                self.flight.recovery.probe_with_new_data(self.snd.nxt);
                return;
            }
            // Step 2a or 3a (RFC5682-2.1-f): the loss was real.
            Frto::Waiting => self.flight.recovery.frto = Frto::Off,
            Frto::Probing if summary.newly_sacked || summary.is_duplicate => {
                self.flight.recovery.frto = Frto::Off
            }
            Frto::Probing => {}
        }
        if self.flight.recovery.is_over_at(self.snd.una) {
            log::debug!("{}: recovery after the time-out is over at {:?}", ctx.subject, self.snd.una);
            self.flight.recovery.end();
            self.flight.recovery.forget_duplicates();
            self.flight.rack.on_recovery_done();
            self.congestion.on_recovery_done(None);
        }
    }

    /// Whether there is new data that fits in the peer's window.
    fn may_send_new(&self) -> bool {
        self.snd.has_unsent() && self.snd.usable_window() > 0
    }

    /// Eifel detection (RFC 3522 §3.2): the acknowledgement answers the original transmission, not
    /// the retransmission.
    fn echoes_original(&self, header: &Header) -> bool {
        self.flight.recovery.repeated_at().is_some_and(|clock| self.timestamps.echoes_before(header, clock))
    }

    /// Undoes the reduction of an episode in which nothing was lost (RFC 4015 §3.2).
    fn undo(&mut self, ctx: &Ctx<'_>, what: &'static str) {
        log::debug!("{}: {what} was spurious, undone at {:?}", ctx.subject, self.snd.una);
        self.congestion.undo();
        self.ecn.withdraw_cwr();
        self.flight.scoreboard.unmark_lost();
        self.flight.recovery.forget();
        self.flight.recovery.forget_duplicates();
        self.flight.rack.on_recovery_done();
    }
}
