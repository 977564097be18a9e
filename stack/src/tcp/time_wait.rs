//! TIME-WAIT as a small record (RFC 9293 §3.10.7.4, RFC 6191, RFC 1337).

use core::time::Duration;

use super::timestamps::{TimestampCheck, TimestampState};
use super::{Flags, Header, Options, SeqNumber};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::time::Instant;

/// The effect of a segment on a TIME-WAIT record.
#[derive(Debug)]
#[must_use]
pub(crate) enum TimeWaitStep {
    /// The segment was dropped and counted.
    Ignored,
    /// Send this acknowledgement.
    Reply(Header),
    /// A new SYN that may reuse the addresses (RFC 6191): forget the record and give the SYN to the
    /// listener, with an ISN of at least the given one.
    Reopen { isn_after: SeqNumber },
}

/// The distance of a reopened connection's ISN from the old connection's last number: more than an
/// unscaled window, as on Linux.
const ISN_DISTANCE: u32 = 65_537;

/// The record of a connection in TIME-WAIT. There may be very many, so the record is small: times
/// are the low 32 bits of a millisecond clock, and the caller passes the offset of the timestamps.
#[derive(Debug, Clone)]
pub(crate) struct TimeWait {
    snd_nxt: SeqNumber,
    rcv_nxt: SeqNumber,
    /// TS.Recent, from the peer's FIN. It cannot become outdated in TIME-WAIT.
    ts_recent: u32,
    expires_millis: u32,
    next_reply_millis: u32,
    /// The window field of the header.
    window: u16,
    /// Both SYNs carried timestamps.
    has_timestamps: bool,
    /// The FIN was retransmitted: when the time is over, it starts again.
    is_prolonged: bool,
}

/// A record lasts at most 12 days, so that times can be compared although the clock wraps.
const MAX_MILLIS: u32 = 1 << 30;

impl TimeWait {
    /// A new record. Before `next_reply_at` no challenge ACK is sent.
    pub(super) fn new(
        ctx: &Ctx<'_>,
        snd_nxt: SeqNumber,
        rcv_nxt: SeqNumber,
        window: u16,
        timestamps: &TimestampState,
        next_reply_at: Instant,
    ) -> TimeWait {
        let (has_timestamps, ts_recent) = timestamps.recent();
        TimeWait {
            snd_nxt,
            rcv_nxt,
            ts_recent,
            expires_millis: end_of_wait(ctx),
            next_reply_millis: clock(next_reply_at.max(ctx.now)),
            window,
            has_timestamps,
            is_prolonged: false,
        }
    }

    /// When it ends. `around` is a time that is at most a few days away.
    pub(crate) fn expires_at(&self, around: Instant) -> Instant {
        moment(self.expires_millis, around)
    }

    /// No challenge ACK is sent before this time.
    pub(super) fn next_reply_at(&self, around: Instant) -> Instant {
        moment(self.next_reply_millis, around)
    }

    /// Whether the FIN was retransmitted, so that the time must start again.
    pub(super) fn is_prolonged(&self) -> bool {
        self.is_prolonged
    }

    /// Sets a new end of the wait. Returns whether the FIN was retransmitted; if not, the record is
    /// over.
    pub(crate) fn take_prolonged(&mut self, ctx: &Ctx<'_>) -> bool {
        self.expires_millis = end_of_wait(ctx);
        core::mem::take(&mut self.is_prolonged)
    }

    /// RFC 9293 §3.10.7.4. A retransmitted FIN is acknowledged, and the time starts again;
    /// everything else outside the window is acknowledged at a limited rate. `timestamp_offset` is
    /// that of the connection.
    pub(crate) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
        timestamp_offset: u32,
    ) -> TimeWaitStep {
        let flags = header.flags;
        // RFC 1337 §2: a reset would end TIME-WAIT too early, and old segments could then do harm.
        if flags.contains(Flags::RST) || flags.lacks_ack() {
            return ignore(ctx, DropReason::UnexpectedSegment);
        }
        let timestamps = self.timestamps(ctx.now, timestamp_offset);
        let timestamp = timestamps.check(ctx.now, header.options.timestamps, 0);
        // A SYN with a FIN opens nothing (and thus ends nothing).
        let may_open = flags.is_first_syn() && !flags.contains(Flags::FIN);
        if may_open && self.may_reopen(header, &timestamps, timestamp) {
            return TimeWaitStep::Reopen { isn_after: self.snd_nxt + ISN_DISTANCE };
        }
        if timestamp == TimestampCheck::Old {
            ctx.count_drop(DropReason::Paws);
            return self.reply(ctx, header, payload_len, &timestamps);
        }
        let len = header.segment_len(payload_len);
        if len == 0 && header.seq == self.rcv_nxt {
            // An acknowledgement with the expected number needs no answer.
            return ignore(ctx, DropReason::UnexpectedSegment);
        }
        if flags.contains(Flags::FIN) && header.seq + len == self.rcv_nxt {
            self.is_prolonged = true;
        }
        ctx.count_drop(DropReason::OutOfWindow);
        self.reply(ctx, header, payload_len, &timestamps)
    }

    /// RFC 6191 §2 (RFC 9293 §3.6.1: MAY-2, SHLD-4): a later timestamp, or, if timestamps do not
    /// decide, a later sequence number.
    fn may_reopen(&self, header: &Header, timestamps: &TimestampState, timestamp: TimestampCheck) -> bool {
        let later_number = header.seq.after(self.rcv_nxt);
        match header.options.timestamps {
            Some(new) if self.has_timestamps => {
                timestamp == TimestampCheck::Fine && (timestamps.is_newer(new.value) || later_number)
            }
            _ => later_number,
        }
    }

    /// As in the other states: segments with data or FIN are always answered, others at a limited
    /// rate (RFC 5961 §7).
    fn reply(
        &mut self,
        ctx: &Ctx<'_>,
        header: &Header,
        payload_len: usize,
        timestamps: &TimestampState,
    ) -> TimeWaitStep {
        let has_text = payload_len > 0 || header.flags.contains(Flags::FIN);
        let is_limited = !has_text || header.flags.contains(Flags::SYN);
        if is_limited && !self.may_reply(ctx) {
            return TimeWaitStep::Ignored;
        }
        TimeWaitStep::Reply(self.acknowledgement(ctx.now, timestamps))
    }

    /// The answer to a SYN that could reopen the connection, if there is no listener. The rate is
    /// limited.
    pub(crate) fn answer_syn(&mut self, ctx: &Ctx<'_>, timestamp_offset: u32) -> Option<Header> {
        let timestamps = self.timestamps(ctx.now, timestamp_offset);
        self.may_reply(ctx).then(|| self.acknowledgement(ctx.now, &timestamps))
    }

    fn may_reply(&mut self, ctx: &Ctx<'_>) -> bool {
        let now = clock(ctx.now);
        let due = (now.wrapping_sub(self.next_reply_millis) as i32) >= 0;
        if due {
            self.next_reply_millis = now.wrapping_add(millis(ctx.config.tcp.challenge_interval));
        }
        due
    }

    fn acknowledgement(&self, now: Instant, timestamps: &TimestampState) -> Header {
        Header {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: self.window,
            options: Options { timestamps: timestamps.option(now), ..Options::default() },
            ..Header::default()
        }
    }

    fn timestamps(&self, now: Instant, offset: u32) -> TimestampState {
        TimestampState::restored(self.has_timestamps, offset, self.ts_recent, now)
    }
}

fn clock(now: Instant) -> u32 {
    // The low 32 bits: it wraps.
    now.as_millis() as u32
}

/// The time for a clock value. `around` is at most a few days away.
fn moment(reading: u32, around: Instant) -> Instant {
    let distance = reading.wrapping_sub(clock(around)) as i32;
    Instant::from_millis(around.as_millis().saturating_add_signed(i64::from(distance)))
}

/// The end of a wait that begins now. A fraction of a millisecond counts as a whole one.
fn end_of_wait(ctx: &Ctx<'_>) -> u32 {
    clock(ctx.now + Duration::from_nanos(999_999)).wrapping_add(millis(ctx.config.tcp.time_wait))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).min(MAX_MILLIS)
}

fn ignore(ctx: &mut Ctx<'_>, reason: DropReason) -> TimeWaitStep {
    ctx.count_drop(reason);
    TimeWaitStep::Ignored
}
