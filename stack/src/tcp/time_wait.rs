//! TIME-WAIT as a small record (RFC 9293 §3.10.7.4, RFC 6191, RFC 1337).

use super::timestamps::{TimestampCheck, TimestampState};
use super::{Connection, Flags, Header, SeqNumber};
use crate::Ctx;
use crate::stats::DropReason;
use crate::time::Instant;

/// What a segment does to a TIME-WAIT record.
#[derive(Debug)]
#[must_use]
pub(crate) enum TimeWaitStep {
    /// Dropped; counted.
    Ignored,
    /// Send this acknowledgement.
    Reply(Header),
    /// A new SYN that may reuse the addresses (RFC 6191): forget the record and give the SYN to the listener, with an
    /// ISN of at least the given one.
    Reopen { isn_after: SeqNumber },
}

/// How far a reopened connection's ISN lies beyond what the old one sent: more than an unscaled window, as on Linux.
const ISN_DISTANCE: u32 = 65_537;

#[derive(Debug, Clone)]
pub(crate) struct TimeWait {
    pub(crate) expires_at: Instant,
    snd_nxt: SeqNumber,
    rcv_nxt: SeqNumber,
    /// As the header carries it.
    window: u16,
    timestamps: TimestampState,
    pub(super) next_reply_at: Instant,
}

impl TimeWait {
    pub(super) fn new(connection: &Connection, expires_at: Instant) -> TimeWait {
        TimeWait {
            expires_at,
            snd_nxt: connection.snd.max,
            rcv_nxt: connection.rcv.nxt,
            window: connection.rcv.last_window(),
            timestamps: connection.timestamps.clone(),
            next_reply_at: Instant::ZERO,
        }
    }

    /// RFC 9293 §3.10.7.4. A FIN that comes again is acknowledged and the time starts anew; everything else that
    /// lies outside is acknowledged at a bounded rate.
    pub(crate) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
    ) -> TimeWaitStep {
        let flags = header.flags;
        // RFC 1337 §2: a reset would end TIME-WAIT too early, and old segments could then do harm.
        if flags.contains(Flags::RST) {
            return ignore(ctx, DropReason::UnexpectedSegment);
        }
        let timestamp = self.timestamps.check(ctx.now, header.options.timestamps);
        if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && self.may_reopen(header, timestamp) {
            return TimeWaitStep::Reopen { isn_after: self.snd_nxt + ISN_DISTANCE };
        }
        match timestamp {
            TimestampCheck::Old => {
                ctx.stats.count_drop(DropReason::Paws);
                return self.reply(ctx, header, payload_len);
            }
            TimestampCheck::Missing if !flags.contains(Flags::SYN) => return ignore(ctx, DropReason::Paws),
            TimestampCheck::Missing | TimestampCheck::Fine => {}
        }
        let len = header.segment_len(payload_len);
        if len == 0 && header.seq == self.rcv_nxt {
            // An acknowledgement in place asks for nothing.
            return ignore(ctx, DropReason::UnexpectedSegment);
        }
        if flags.contains(Flags::FIN) && header.seq + len == self.rcv_nxt {
            self.expires_at = ctx.now + ctx.config.tcp.time_wait;
        }
        ctx.stats.count_drop(DropReason::OutOfWindow);
        self.reply(ctx, header, payload_len)
    }

    /// RFC 6191 §2 (RFC 9293 §3.6.1: MAY-2, SHLD-4): a later timestamp, or, where that cannot be told, a later number.
    fn may_reopen(&self, header: &Header, timestamp: TimestampCheck) -> bool {
        let later_number = header.seq.after(self.rcv_nxt);
        match header.options.timestamps {
            Some(timestamps) if self.timestamps.enabled => {
                timestamp == TimestampCheck::Fine
                    && (self.timestamps.is_newer(timestamps.value) || later_number)
            }
            _ => later_number,
        }
    }

    /// As in the other states: segments with data or FIN are always answered, others at a bounded rate (RFC 5961 §7).
    fn reply(&mut self, ctx: &Ctx<'_>, header: &Header, payload_len: usize) -> TimeWaitStep {
        let has_text = payload_len > 0 || header.flags.contains(Flags::FIN);
        if !has_text || header.flags.contains(Flags::SYN) {
            if ctx.now < self.next_reply_at {
                return TimeWaitStep::Ignored;
            }
            self.next_reply_at = ctx.now + ctx.config.tcp.challenge_interval;
        }
        let mut reply = Header {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: self.window,
            ..Header::default()
        };
        reply.options.timestamps = self.timestamps.option(ctx.now);
        TimeWaitStep::Reply(reply)
    }
}

fn ignore(ctx: &mut Ctx<'_>, reason: DropReason) -> TimeWaitStep {
    ctx.stats.count_drop(reason);
    TimeWaitStep::Ignored
}
