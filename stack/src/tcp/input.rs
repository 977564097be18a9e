//! Processing of a received segment, in the order of RFC 9293 §3.10.7.3 (SYN-SENT) and §3.10.7.4
//! (the others): one function a step.
//!
//! A step returns `Continue` to go on to the next one, `Break(Some(reason))` to drop the segment,
//! and `Break(None)` when the segment is fully processed. Drops are counted in one place,
//! [`Connection::handle_segment`].

use alloc::vec::Vec;
use core::ops::ControlFlow::{self, Break, Continue};

use bytes::Bytes;

use super::connection::Reset;
use super::receiver::{Placement, Stored};
use super::timer::Timer;
use super::timestamps::{PAWS_WINDOW, TimestampCheck};
use super::{Connection, Flags, Header, State, TimeWaitStep};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{CloseReason, Error};
use crate::time::Instant;

/// The decision of a step.
pub(super) type Step = ControlFlow<Option<DropReason>>;

impl Connection {
    /// Handles one segment. Replies, resets and acknowledgements come out of `poll_transmit`; drops
    /// are counted here.
    pub(crate) fn handle_segment(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload: Bytes) {
        log::trace!(
            "{}: in {} <- {:?} seq {:?} ack {:?} win {} len {}",
            ctx.subject,
            self.state.name(),
            header.flags,
            header.seq,
            header.ack,
            header.window,
            payload.len()
        );
        self.counters.on_segments(header.segments(payload.len()));
        let step = if self.is_predicted(ctx.now, header, payload.len()) {
            self.on_predicted(ctx, header, payload)
        } else {
            match self.state {
                State::Closed | State::Listen => Break(Some(DropReason::NoTcpSocket)),
                State::SynSent => self.on_segment_in_syn_sent(ctx, header, payload),
                State::TimeWait => self.on_segment_in_time_wait(ctx, header, payload.len()),
                _ => self.on_segment(ctx, header, payload),
            }
        };
        self.end_segment(ctx, step);
    }

    /// Ends the processing of a segment or of a run.
    // A call would cost each segment nine instructions.
    #[inline(always)]
    fn end_segment(&mut self, ctx: &mut Ctx<'_>, step: Step) {
        self.tune_send_buffer(ctx);
        self.release_idle(ctx.free_list);
        if let Break(Some(reason)) = step {
            ctx.count_drop(reason);
        }
    }

    /// Handles consecutive segments as one with all their data. `header` is the first one's, with
    /// the PSH of the last. All but the last are as long as the first. `pieces` is empty
    /// afterwards.
    ///
    /// If the run is not the ordinary case, each segment goes through the steps separately.
    pub(crate) fn handle_run(&mut self, ctx: &mut Ctx<'_>, header: &mut Header, pieces: &mut Vec<Bytes>) {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let last_len = pieces.last().map_or(0, Bytes::len);
        let (count, before) = (pieces.len(), self.rcv.nxt);
        // Memory for the last segment is found when its text is processed.
        let is_ordinary = count > 1
            && self.rcv.urgent.is_none()
            && self.is_predicted(ctx.now, header, len)
            && self.has_memory_for(ctx, header.seq, len - last_len);
        if !is_ordinary {
            for piece in pieces.drain(..) {
                // A segment is at most 64 KiB.
                let next = header.seq + piece.len() as u32;
                self.handle_segment(ctx, header, piece);
                header.seq = next;
            }
            return;
        }
        log::trace!(
            "{}: in {} <- {count} segments seq {:?} len {len}",
            ctx.subject,
            self.state.name(),
            header.seq
        );
        header.joined_len = pieces.first().map_or(0, |first| u16::try_from(first.len()).unwrap_or(u16::MAX));
        // A run is at most 64 KiB, as one from a device.
        self.counters.on_segments(count as u32);
        self.on_acceptable(ctx, header);
        self.on_marking(ctx, header, len);
        self.process_ack(ctx, header, len);
        self.rcv.queue_mut().prepare(ctx.free_list);
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces.drain(..) {
            let _in_order =
                self.rcv.on_text(self.rcv.nxt, piece, false, ctx.config.tcp.max_out_of_order_ranges);
        }
        self.count_data(len - last_len, count as u32 - 1, before, Stored::InOrder);
        header.joined_len = 0;
        let step = self.process_text(ctx, header, self.rcv.nxt, last, false);
        self.end_segment(ctx, step);
    }

    /// Whether this is the next segment of an undisturbed transfer (Van Jacobson's header
    /// prediction), which cannot fail any check of the steps.
    fn is_predicted(&self, now: Instant, header: &Header, len: usize) -> bool {
        self.state == State::Established
            && matches!(header.flags.without(Flags::ECN), Flags::ACK | Flags::PSH_ACK)
            && header.seq == self.rcv.nxt
            && len <= self.rcv.window() as usize
            && self.rcv.is_in_order()
            && header.ack.after_eq(self.snd.una)
            && header.ack.before_eq(self.snd.max)
            && self.timestamps.check(now, header.options.timestamps, PAWS_WINDOW) == TimestampCheck::Fine
    }

    fn on_predicted(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload: Bytes) -> Step {
        self.on_acceptable(ctx, header);
        self.on_marking(ctx, header, payload.len());
        self.process_ack(ctx, header, payload.len());
        self.process_text(ctx, header, header.seq, payload, false)
    }

    /// RFC 9293 §3.10.7.4, from SYN-RECEIVED on.
    fn on_segment(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload: Bytes) -> Step {
        if self.is_crossing_syn_ack(header, payload.len()) {
            // Simultaneous open (MUST-10): both ends have answered the other's SYN, and the two
            // SYN-ACKs cross. Its SYN is known, so only its ACK counts, as on Linux. It is
            // acknowledged, because our SYN-ACK may be lost.
            self.rcv.acks.acknowledge_now();
            return self.check_ack(ctx, header, 0);
        }
        if header.flags.lacks_ack() {
            return Break(Some(DropReason::UnexpectedSegment));
        }
        self.check_sequence(ctx, header, payload.len())?;
        self.check_reset(ctx, header)?;
        // Third step, security: there are no compartments.
        self.check_syn(ctx, header)?;
        self.check_ack(ctx, header, payload.len())?;
        // RFC 3168 §6.1.5: marks outside of the window are ignored.
        self.on_marking(ctx, header, payload.len());
        // Sixth step, urgent data (SHLD-13 has programs avoid it), and the seventh and eighth.
        self.process_text(ctx, header, header.seq, payload, header.flags.contains(Flags::FIN))
    }

    /// Whether this is the SYN-ACK of a simultaneous open: it answers our SYN, and we have answered
    /// the peer's.
    fn is_crossing_syn_ack(&self, header: &Header, len: usize) -> bool {
        self.state == State::SynReceived
            && header.flags.contains(Flags::SYN_ACK)
            && !header.flags.contains(Flags::RST)
            && len == 0
            && header.seq + 1 == self.rcv.nxt
            && self.is_syn_ack_acceptable(header.ack)
    }

    /// First step: the sequence number, and before it the timestamp (RFC 7323 §5.3).
    fn check_sequence(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) -> Step {
        let is_reset = header.flags.contains(Flags::RST);
        let len = header.segment_len(payload_len);
        match self.timestamps.check(ctx.now, header.options.timestamps, PAWS_WINDOW) {
            // RFC 7323 §5.2 (RFC7323-5.3-b): a reset is let through.
            TimestampCheck::Old if !is_reset && !self.is_overtaken_duplicate_ack(ctx.now, header, len) => {
                // An old ACK that was overtaken says nothing new, and as on Linux
                // (tcp_disordered_ack_check) is not answered.
                let is_overtaken_ack = len == 0 && header.seq.before(self.rcv.nxt);
                if !is_overtaken_ack {
                    self.answer_unacceptable(ctx, header, payload_len);
                }
                return Break(Some(DropReason::Paws));
            }
            TimestampCheck::Old | TimestampCheck::Fine => {}
        }
        let placement = self.rcv.place(header.seq, len);
        let reason = match placement {
            // RFC 5961 §3.2 (RFC5961-3.2-a): the right edge is outside for a reset. (Linux
            // challenges it there.)
            Placement::Inside if is_reset && self.rcv.is_at_edge(header.seq) => DropReason::OutOfWindow,
            Placement::Inside => return Continue(()),
            Placement::Old if payload_len > 0 => DropReason::DuplicateData,
            Placement::Old | Placement::Outside => DropReason::OutOfWindow,
        };
        if is_reset {
            // Linux's tcp_reset_check: some peers reset with the number of their FIN.
            let behind_fin = matches!(self.state, State::CloseWait | State::LastAck | State::Closing);
            if behind_fin && header.seq + 1 == self.rcv.nxt {
                self.on_reset(ctx);
                return Break(None);
            }
            return Break(Some(reason));
        }
        let is_first_syn = header.flags.contains(Flags::SYN) && !header.flags.contains(Flags::ACK);
        let is_the_syn = header.seq + 1 == self.rcv.nxt || self.is_syn_of_fast_open(header);
        if self.state == State::SynReceived && is_first_syn && is_the_syn {
            // The peer's SYN again: our SYN-ACK was lost.
            if self.may_challenge(ctx) {
                self.pending.syn = true;
            }
            return Break(Some(reason));
        }
        if placement == Placement::Old && !header.flags.contains(Flags::SYN) {
            // The FIN is reported, too: if it is the peer's loss probe, the peer must learn that
            // nothing was lost (RFC 8985 §7.4).
            self.rcv.note_duplicate(header.seq, len);
            self.forget_unreported(ctx);
        }
        if placement == Placement::Old && self.is_ack_of_old_text_valid(header, len) {
            self.check_ack(ctx, header, payload_len)?;
        }
        self.answer_unacceptable(ctx, header, payload_len);
        Break(Some(reason))
    }

    /// Whether this is a duplicate ACK with an old timestamp because later ACKs overtook it. Its
    /// SACK blocks count, and it changes nothing else. As on Linux (tcp_disordered_ack_check) it
    /// may be late by an RTO, for a clock of at most 1,200 ticks a second.
    fn is_overtaken_duplicate_ack(&self, now: Instant, header: &Header, len: u32) -> bool {
        let replay_ticks = u32::try_from(self.rtt.rto().as_millis() * 6 / 5).unwrap_or(u32::MAX);
        len == 0
            && header.seq == self.rcv.nxt
            && self.is_duplicate_ack(header, 0, self.window_of(header))
            && self.timestamps.check(now, header.options.timestamps, replay_ticks) == TimestampCheck::Fine
    }

    /// Whether the ACK of a segment counts although its text was received before: the peer missed
    /// our last acknowledgement and retransmits (RFC 9293 §3.10.7.4 has a special allowance for
    /// valid ACKs; Linux and FreeBSD do so, too). Without this, two ends whose window probes have
    /// crossed would treat each other's answers as old for ever.
    ///
    /// A retransmission lies at most one window before RCV.NXT. Accepting older numbers would help
    /// only a blind attacker.
    fn is_ack_of_old_text_valid(&self, header: &Header, len: u32) -> bool {
        self.state.is_synchronized()
            && !header.flags.contains(Flags::SYN)
            && self.rcv.is_recent(header.seq)
            // A keepalive is no duplicate ACK.
            && (len > 0 || header.ack.after(self.snd.una))
            && self.snd.is_ack_acceptable(header.ack, self.counters.bytes_acked())
    }

    /// "Send an acknowledgment in reply". As on Linux (tcp_oow_rate_limited), segments with data
    /// are always answered: they are no answers themselves, so no loop arises.
    fn answer_unacceptable(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) {
        let has_text = payload_len > 0 || header.flags.contains(Flags::FIN);
        if header.flags.contains(Flags::SYN) {
            // RFC 5961 §4.2: a SYN is challenged wherever it lies.
            self.ecn.on_repeated_syn_ack(header, self.rcv.nxt);
            self.challenge(ctx);
        } else if has_text || self.may_challenge(ctx) {
            self.rcv.acks.owe_duplicate();
        }
    }

    fn may_challenge(&mut self, ctx: &Ctx<'_>) -> bool {
        self.rcv.acks.may_challenge(ctx.now, ctx.config.tcp.challenge_interval)
    }

    /// Sends a challenge ACK (RFC 5961 §3.2, §4.2, §5.2), within the rate limit.
    fn challenge(&mut self, ctx: &mut Ctx<'_>) {
        if self.may_challenge(ctx) {
            ctx.stats.tcp.challenge_ack += 1;
            self.rcv.acks.acknowledge_now();
        }
    }

    /// Second step: RST. RFC 5961 §3.2 (RFC5961-3.2-b): only one exactly at RCV.NXT is accepted
    /// and, as on Linux, one at the end of the out-of-order data: a peer that will never retransmit
    /// its lost data resets from there.
    fn check_reset(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> Step {
        if !header.flags.contains(Flags::RST) {
            return Continue(());
        }
        let is_behind_what_was_sacked = self.syn.sack_permitted && self.rcv.sacked_end() == Some(header.seq);
        if header.seq != self.rcv.nxt && !is_behind_what_was_sacked {
            self.challenge(ctx);
            return Break(Some(DropReason::ChallengeAck));
        }
        self.on_reset(ctx);
        Break(None)
    }

    /// Ends the connection after a reset, whose data is ignored (SHLD-2).
    fn on_reset(&mut self, ctx: &mut Ctx<'_>) {
        ctx.stats.tcp.resets_received += 1;
        match self.state {
            // Simultaneous open (MUST-11): a listener's handshakes are records of their own.
            State::SynReceived if !self.syn.is_passive => self.end(ctx, CloseReason::Refused, "RST"),
            State::CloseWait => {
                self.end(ctx, CloseReason::PeerReset, "RST");
                // After the peer's FIN only sending is broken (Linux's tcp_reset).
                self.ending.error = Some(Error::BrokenPipe);
            }
            _ => self.end(ctx, CloseReason::PeerReset, "RST"),
        }
    }

    /// Fourth step: SYN. RFC 5961 §4.2 (RFC5961-4.2): never accepted, always challenged.
    fn check_syn(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> Step {
        if header.flags.contains(Flags::SYN) {
            self.challenge(ctx);
            return Break(Some(DropReason::ChallengeAck));
        }
        Continue(())
    }

    /// Notes that the peer is alive, once a segment has passed the checks against blind attackers,
    /// that of its ACK included. A segment must change nothing before this, or a forged one could
    /// do harm.
    fn on_acceptable(&mut self, ctx: &Ctx<'_>, header: &Header) {
        self.timestamps.on_segment(ctx.now, header, self.rcv.last_ack_sent);
        self.last.heard_at = ctx.now;
        self.retries.keepalives = 0;
    }

    /// Fifth step: ACK. The segment has one.
    fn check_ack(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) -> Step {
        if self.is_fast_server() {
            self.check_ack_of_fast_open(ctx, header)?;
        } else if self.state == State::SynReceived {
            if !self.is_syn_ack_acceptable(header.ack) {
                self.pending.reset = Some(Reset::answering(header, header.ack));
                return Break(Some(DropReason::BadAck));
            }
            self.on_syn_acked(ctx, header);
            self.establish(ctx, "ACK of our SYN");
            if self.rcv.take_kept() {
                self.rcv.acks.acknowledge_now();
            }
        }
        if !self.snd.is_ack_acceptable(header.ack, self.counters.bytes_acked()) {
            self.challenge(ctx);
            return Break(Some(DropReason::BadAck));
        }
        self.on_acceptable(ctx, header);
        self.process_ack(ctx, header, payload_len);
        self.after_fin_acked(ctx, header)
    }

    /// Processes the acknowledgement of our SYN: the first round-trip time, and scaled windows from
    /// now on.
    fn on_syn_acked(&mut self, ctx: &Ctx<'_>, header: &Header) {
        self.time_syn(ctx, header);
        self.snd.on_syn_acked(header.ack);
    }

    /// The round trip of our SYN, and whether its retransmission was spurious (Linux's
    /// tcp_try_undo_spurious_syn).
    pub(super) fn time_syn(&mut self, ctx: &Ctx<'_>, header: &Header) {
        let repeated_at = Some(self.retries.unanswered_since).filter(|_| self.retries.timeouts > 0);
        self.syn.repeats_were_needless =
            repeated_at.is_some_and(|at| self.timestamps.echoes_earlier(header, at));
        // Karn's algorithm (RFC 6298 §3): not if the SYN was repeated, unless the echoed timestamp
        // tells which one is acknowledged.
        let measured = match self.syn.sent_at {
            Some(sent_at) => Some(ctx.now.duration_since(sent_at)),
            None if self.is_ambiguous(header) => None,
            None => self.timestamps.round_trip(ctx.now, header),
        };
        if let Some(round_trip) = measured {
            self.rtt.on_sample(round_trip);
            self.rtt.on_min_sample(ctx.now, round_trip);
        }
    }

    /// The rest of the fifth step: what follows when our FIN is acknowledged.
    fn after_fin_acked(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> Step {
        if !self.snd.is_fin_acked() {
            return Continue(());
        }
        match self.state {
            State::FinWait1 => {
                self.set_state(ctx, State::FinWait2, "ACK of our FIN");
                if let Some(reset) = &mut self.pending.reset {
                    // The connection does not wait for the peer's FIN (TCP_LINGER2): as on Linux
                    // this reset answers the segment.
                    *reset = Reset::answering(header, self.snd.una);
                    return Break(None);
                }
            }
            State::Closing => self.set_state(ctx, State::TimeWait, "ACK of our FIN"),
            State::LastAck => {
                self.end(ctx, CloseReason::Finished, "ACK of our FIN");
                return Break(None);
            }
            _ => {}
        }
        Continue(())
    }

    /// RFC 9293 §3.10.7.3.
    fn on_segment_in_syn_sent(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload: Bytes) -> Step {
        let flags = header.flags;
        let has_ack = flags.contains(Flags::ACK);
        // First: ACK. Only the SYN was sent, and data with it perhaps.
        if has_ack && !self.is_syn_ack_acceptable(header.ack) {
            self.hasten_syn(ctx.now);
            if !flags.contains(Flags::RST) {
                self.pending.reset = Some(Reset::answering(header, header.ack));
            }
            return Break(Some(DropReason::BadAck));
        }
        // Second: RST.
        if flags.contains(Flags::RST) {
            if !has_ack {
                return Break(Some(DropReason::UnexpectedSegment));
            }
            ctx.stats.tcp.resets_received += 1;
            self.end(ctx, CloseReason::Refused, "RST");
            return Break(None);
        }
        // Fourth: SYN. (Fifth: anything else is dropped.)
        if !flags.contains(Flags::SYN) {
            return Break(Some(DropReason::UnexpectedSegment));
        }
        self.negotiate(ctx, header);
        self.last.heard_at = ctx.now;
        if !has_ack {
            // Simultaneous open (MUST-10): the peer's SYN has crossed ours.
            self.retries.timeouts = 0;
            self.ecn.on_crossing_syn(ctx.config.tcp.ecn, header);
            self.pending.syn = true;
            self.set_state(ctx, State::SynReceived, "SYN without ACK");
            // RFC 9293 §3.10.7.3: data waits until the connection is open. It is acknowledged then.
            if self.has_memory_for(ctx, self.rcv.nxt, payload.len()) {
                self.rcv.keep(ctx.now, payload, ctx.config.tcp.max_out_of_order_ranges);
            }
            return Continue(());
        }
        self.learn_from_syn_ack(ctx, header);
        self.ecn.on_syn_ack(header);
        self.on_syn_acked(ctx, header);
        self.establish(ctx, "SYN-ACK");
        self.rcv.acks.acknowledge_now();
        self.process_text(ctx, header, header.seq + 1, payload, flags.contains(Flags::FIN))
    }

    /// Handles segments in TIME-WAIT until the socket layer has replaced the connection by a
    /// TIME-WAIT record.
    fn on_segment_in_time_wait(&mut self, ctx: &mut Ctx<'_>, header: &Header, payload_len: usize) -> Step {
        let mut record = self.time_wait(ctx);
        match record.handle_segment(ctx, header, payload_len, self.timestamps.offset) {
            TimeWaitStep::Ignored => {}
            TimeWaitStep::Reply(_) => self.rcv.acks.acknowledge_now(),
            // Only the record can be replaced by a new connection.
            TimeWaitStep::Reopen { .. } => ctx.count_drop(DropReason::UnexpectedSegment),
        }
        self.rcv.acks.set_next_challenge_at(record.next_reply_at(ctx.now));
        if record.is_prolonged() {
            self.timers.arm(Timer::Ending, ctx.now + ctx.config.tcp.time_wait);
        }
        Break(None)
    }
}
