//! The timers of a connection, and what happens when one fires.

use core::time::Duration;

use super::recovery::RepeatCause;
use super::sender::More;
use super::{Connection, State};
use crate::Ctx;
use crate::error::CloseReason;
use crate::event::DeadlineKind;
use crate::time::Instant;

/// The time from the reset that answers an unacceptable acknowledgement to the next SYN.
const SYN_AFTER_RESET: Duration = Duration::from_millis(10);

/// A timer; its number is its index in [`Timers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A tail loss probe is due (RFC 8985 §7.2).
    LossProbe,
    /// RACK's reordering window of a record ends (RFC 8985 §6.3).
    Reorder,
    /// The next burst may be sent.
    Pacing,
    /// Retransmission time-out: data in flight was not acknowledged (RFC 6298 §5).
    Retransmit,
    /// A window probe is due: nothing is in flight, and the peer's window has no room (RFC 9293
    /// §3.8.6.1).
    Persist,
    DelayedAck,
    KeepAlive,
    /// The end of FIN-WAIT-2 of a connection without a descriptor, or of TIME-WAIT.
    Ending,
}

impl Timer {
    /// All timers, in the order in which they fire if several are due: a loss probe postpones the
    /// time-out.
    const ALL: [Timer; 8] = [
        Timer::LossProbe,
        Timer::Reorder,
        Timer::Pacing,
        Timer::Retransmit,
        Timer::Persist,
        Timer::DelayedAck,
        Timer::KeepAlive,
        Timer::Ending,
    ];

    fn kind(self, state: State) -> DeadlineKind {
        match self {
            Timer::LossProbe => DeadlineKind::LossProbe,
            Timer::Reorder => DeadlineKind::Reorder,
            Timer::Pacing => DeadlineKind::Pacing,
            Timer::Retransmit => DeadlineKind::Retransmit,
            Timer::Persist => DeadlineKind::Persist,
            Timer::DelayedAck => DeadlineKind::DelayedAck,
            Timer::KeepAlive => DeadlineKind::KeepAlive,
            Timer::Ending if state == State::TimeWait => DeadlineKind::TimeWait,
            Timer::Ending => DeadlineKind::Linger,
        }
    }
}

/// When each timer fires; [`Instant::FAR_FUTURE`] for one that is not armed.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    at: [Instant; Timer::ALL.len()],
}

impl Timers {
    pub(super) fn new() -> Timers {
        Timers { at: [Instant::FAR_FUTURE; Timer::ALL.len()] }
    }

    pub(super) fn arm(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = at;
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = Instant::FAR_FUTURE;
    }

    pub(super) fn stop_all(&mut self) {
        *self = Timers::new();
    }

    pub(super) fn deadline(&self, timer: Timer) -> Option<Instant> {
        Some(self.at[timer as usize]).filter(|&at| at != Instant::FAR_FUTURE)
    }

    pub(super) fn is_armed(&self, timer: Timer) -> bool {
        self.deadline(timer).is_some()
    }

    /// When the next timer fires. Called after every segment.
    fn first_at(&self) -> Option<Instant> {
        let first = self.at.iter().copied().fold(Instant::FAR_FUTURE, Instant::min);
        Some(first).filter(|&at| at != Instant::FAR_FUTURE)
    }

    /// The next timer to fire.
    fn next(&self) -> Option<(Instant, Timer)> {
        let first = self.first_at()?;
        let timer = Timer::ALL.into_iter().find(|&timer| self.at[timer as usize] == first)?;
        Some((first, timer))
    }

    /// Whether the timer has fired. If so, it is no longer armed.
    fn take_fired(&mut self, timer: Timer, now: Instant) -> bool {
        let fired = self.deadline(timer).is_some_and(|at| at <= now);
        if fired {
            self.stop(timer);
        }
        fired
    }
}

/// Linux's TCP_THIN_LINEAR_RETRIES: after so many time-outs the RTO of a thin stream doubles, too.
const THIN_LINEAR_TIMEOUTS: u8 = 6;
/// A stream with fewer segments in flight is thin.
const THIN_SEGMENTS: u32 = 4;

impl Connection {
    /// When [`Connection::handle_timeout`] is due, and for which timer.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, DeadlineKind)> {
        self.timers.next().map(|(at, timer)| (at, timer.kind(self.state)))
    }

    /// The timers that are armed, in the order in which they fire if several are due.
    pub(crate) fn armed_timers(&self) -> impl Iterator<Item = (Instant, DeadlineKind)> + '_ {
        let armed = |timer: Timer| Some((self.timers.deadline(timer)?, timer.kind(self.state)));
        Timer::ALL.into_iter().filter_map(armed)
    }

    /// When [`Connection::handle_timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first_at()
    }

    /// Handles all timers that are due. A call before the deadline does nothing.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) {
        // Each timer once, even if it is armed again here.
        for timer in Timer::ALL {
            if !self.timers.take_fired(timer, ctx.now) {
                continue;
            }
            log::trace!("{}: timer {timer:?} fired in {}", ctx.subject, self.state.name());
            match timer {
                Timer::LossProbe => self.on_loss_probe_timer(ctx),
                Timer::Reorder => self.on_reorder_timer(ctx),
                // `poll_transmit` sends the next burst.
                Timer::Pacing => {}
                Timer::Retransmit => self.on_retransmit_timer(ctx),
                Timer::Persist => self.on_persist_timer(ctx),
                // RFC 9293 §3.8.6.3 (MUST-40): an acknowledgement has waited long enough.
                Timer::DelayedAck => self.rcv.acks.acknowledge_now(),
                Timer::KeepAlive => self.on_keepalive_timer(ctx),
                Timer::Ending => self.end(ctx, CloseReason::Finished, "its time is over"),
            }
        }
    }

    /// Whether TCP_THIN_LINEAR_TIMEOUTS applies (Linux's `tcp_stream_is_thin`).
    fn is_thin(&self) -> bool {
        self.settings.thin_linear_timeouts
            && self.state == State::Established
            && self.snd.flight() < THIN_SEGMENTS * self.congestion.mss()
    }

    /// RFC 6298 §5.4 to §5.7 (RFC6298-5.4): retransmits the earliest segment, and waits twice as
    /// long for its acknowledgement.
    fn on_retransmit_timer(&mut self, ctx: &mut Ctx<'_>) {
        if self.snd.is_window_closed() && self.state.is_synchronized() && !self.ending.orphaned {
            return self.on_timeout_behind_closed_window();
        }
        // RFC 9293 §3.8.3 (MUST-20, MUST-22, SHLD-11): R2, as a number of retransmissions, or as a
        // time if the program has set one.
        let max_retries = self.max_retries(ctx);
        let is_exhausted = match self.state {
            State::SynSent => self.is_syn_given_up(ctx, max_retries),
            _ => self.retries.timeouts >= max_retries,
        };
        let is_over = match self.is_user_timeout_over(ctx.now) {
            Some(is_over) if self.state.is_synchronized() => is_over,
            Some(is_over) => is_over || is_exhausted,
            None => is_exhausted,
        };
        if is_over {
            return self.give_up(ctx, "retransmissions unanswered");
        }
        self.note_unanswered(ctx.now);
        self.retries.timeouts = self.retries.timeouts.saturating_add(1);
        self.retries.path_seed = self.retries.path_seed.wrapping_add(1);
        if self.is_thin() && self.retries.timeouts <= THIN_LINEAR_TIMEOUTS {
            self.rtt.end_back_off();
        } else if self.state != State::SynSent || self.retries.timeouts > ctx.config.tcp.syn_linear_timeouts {
            self.rtt.back_off();
        }
        ctx.stats.recovery.timeouts += 1;
        if matches!(self.state, State::SynSent | State::SynReceived) {
            // Repeat the SYN or SYN-ACK.
            self.pending.syn = true;
        } else {
            self.counters.on_timeout();
            self.suspect_black_hole(ctx);
            self.enter_loss(ctx);
        }
        self.arm_retransmit(ctx.now);
    }

    /// Repeats the SYN soon, once: the peer has an old connection, which our reset ends (Linux's
    /// tcp_rcv_synsent_state_process; 12 ms where the kernel counts 250 jiffies a second).
    pub(super) fn hasten_syn(&mut self, now: Instant) {
        if self.retries.timeouts == 0 && self.timers.is_armed(Timer::Retransmit) {
            self.timers.arm(Timer::Retransmit, now + SYN_AFTER_RESET);
        }
    }

    /// Whether the SYN was repeated often enough. As on Linux (tcp_write_timeout), time-outs that
    /// are not doubled do not count against the number of repetitions. But they count against the
    /// time that this number of doubled time-outs would take.
    fn is_syn_given_up(&self, ctx: &Ctx<'_>, max_retries: u8) -> bool {
        let config = &ctx.config.tcp;
        if self.retries.timeouts == 0 {
            return max_retries == 0;
        }
        let waited = ctx.now.duration_since(self.retries.unanswered_since) + config.initial_rto;
        let mut limit = Duration::ZERO;
        for retry in 0..=max_retries {
            let delay = config.initial_rto.saturating_mul(1 << retry.min(31));
            limit = limit.saturating_add(delay.min(config.max_rto));
        }
        self.retries.timeouts >= max_retries.saturating_add(config.syn_linear_timeouts) || waited >= limit
    }

    /// Handles a time-out after the peer shrank its window below the data in flight. The data is
    /// probed for like new data, and R2 does not count while the peer answers (RFC 9293 §3.8.6,
    /// SHLD-17, MUST-35; Linux's tcp_retransmit_timer has the same exception, and also only while a
    /// descriptor holds the connection: otherwise a peer that opens and closes its window would
    /// keep it for ever).
    fn on_timeout_behind_closed_window(&mut self) {
        self.lose_all(RepeatCause::Timeout);
        self.flight.recovery.on_window_closed();
        self.pending.probe = true;
    }

    /// The number of retransmissions before the connection is given up.
    fn max_retries(&self, ctx: &Ctx<'_>) -> u8 {
        let config = &ctx.config.tcp;
        match self.state {
            State::SynSent => self.settings.syn_retries.unwrap_or(config.syn_retries),
            State::SynReceived => self.settings.syn_retries.unwrap_or(config.syn_ack_retries),
            _ if self.ending.orphaned => config.orphan_retries,
            _ => config.retries,
        }
    }

    pub(super) fn arm_retransmit(&mut self, now: Instant) {
        self.timers.arm(Timer::Retransmit, now + self.within_user_timeout(now, self.rtt.rto()));
    }

    /// RFC 9293 §3.8.6.1 (MUST-36, MUST-37): sends probes for as long as the peer answers them. The
    /// same timer is the override of the silly-window rule (§3.8.6.2.1): it lets a small window be
    /// used.
    fn on_persist_timer(&mut self, ctx: &mut Ctx<'_>) {
        if self.in_flight() > 0 || !(self.snd.has_unsent() || self.flight.scoreboard.lost() > 0) {
            return;
        }
        let max_retries = self.max_retries(ctx);
        if self.retries.unanswered_probes >= max_retries || self.is_user_timeout_over(ctx.now) == Some(true) {
            return self.give_up(ctx, "window probes unanswered");
        }
        // MUST-37 is for programs that wait. Otherwise a peer could keep a connection without a
        // descriptor, and its memory, for ever. Linux also ends it when the back-off has reached
        // its maximum.
        let is_slowest = self.persist_delay(ctx) >= ctx.config.tcp.max_rto;
        if self.ending.orphaned && is_slowest && self.retries.probes >= max_retries {
            self.reset_peer();
            return self.give_up(ctx, "window closed too long, and no descriptor");
        }
        self.pending.probe = true;
        // No more data was written in time, so the held segment is sent.
        self.snd.more = More::No;
    }

    /// Arms the persist timer unless it runs: the first probe after one RTO (SHLD-29), each further
    /// one after twice the time (SHLD-30).
    pub(super) fn arm_persist(&mut self, ctx: &Ctx<'_>) {
        if self.timers.is_armed(Timer::Persist) {
            return;
        }
        let delay = self.within_user_timeout(ctx.now, self.persist_delay(ctx));
        self.timers.arm(Timer::Persist, ctx.now + delay);
    }

    fn persist_delay(&self, ctx: &Ctx<'_>) -> Duration {
        let back_off = 1u32 << self.retries.probes.min(16);
        self.rtt.rto().saturating_mul(back_off).min(ctx.config.tcp.max_rto)
    }

    /// RFC 9293 §3.8.4 (MAY-5): checks whether the peer still answers. Segments do not move the
    /// timer; when it fires, this looks how long the peer has been silent.
    fn on_keepalive_timer(&mut self, ctx: &mut Ctx<'_>) {
        if !self.wants_keepalive() {
            return;
        }
        let idle_until = self.last.heard_at + self.settings.keepalive_idle;
        if self.snd.outstanding() > 0 || self.snd.has_unsent() {
            // Retransmissions or probes check the peer instead (MUST-26: keepalives only while
            // nothing is outstanding).
            self.retries.keepalives = 0;
            self.timers.arm(Timer::KeepAlive, ctx.now + at_least_a_tick(self.settings.keepalive_idle));
        } else if ctx.now < idle_until {
            self.timers.arm(Timer::KeepAlive, idle_until);
        } else if self.is_keepalive_over(ctx.now) {
            // MUST-29: only after several probes without an answer. Like Linux, sends a reset, in
            // case the peer still exists.
            self.reset_peer();
            self.give_up(ctx, "keepalive probes unanswered");
        } else {
            self.retries.keepalives = self.retries.keepalives.saturating_add(1);
            self.pending.keepalive = true;
            self.timers.arm(Timer::KeepAlive, ctx.now + at_least_a_tick(self.settings.keepalive_interval));
        }
    }

    fn wants_keepalive(&self) -> bool {
        self.settings.keepalive && self.state.is_synchronized() && self.state != State::TimeWait
    }

    /// Starts or stops keepalives, as the settings say (MUST-24). The idle time counts from
    /// `since`.
    pub(super) fn update_keepalive(&mut self, now: Instant, since: Instant) {
        if !self.wants_keepalive() {
            self.timers.stop(Timer::KeepAlive);
        } else {
            let silent_until = (since + self.settings.keepalive_idle).max(now);
            self.timers.arm(Timer::KeepAlive, silent_until);
        }
    }

    /// Gives up a connection whose peer does not answer. The last ICMP error, if any, is the
    /// reason.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, cause: &'static str) {
        let reason = self.ending.soft_error.map_or(CloseReason::TimedOut, CloseReason::Unreachable);
        self.end(ctx, reason, cause);
    }
}

/// At least a tick, so that a setting of zero does not make a timer fire endlessly.
fn at_least_a_tick(delay: Duration) -> Duration {
    delay.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_timer_is_next_and_fires_once() {
        let mut timers = Timers::new();
        assert_eq!(timers.next(), None);
        timers.arm(Timer::KeepAlive, Instant::from_secs(7200));
        timers.arm(Timer::DelayedAck, Instant::from_millis(40));
        timers.arm(Timer::Retransmit, Instant::from_millis(200));
        assert_eq!(timers.next(), Some((Instant::from_millis(40), Timer::DelayedAck)));
        assert!(!timers.take_fired(Timer::DelayedAck, Instant::from_millis(39)));
        assert!(timers.take_fired(Timer::DelayedAck, Instant::from_millis(40)));
        assert!(!timers.take_fired(Timer::DelayedAck, Instant::from_millis(40)));
        timers.stop(Timer::Retransmit);
        assert_eq!(timers.next(), Some((Instant::from_secs(7200), Timer::KeepAlive)));
    }
}
