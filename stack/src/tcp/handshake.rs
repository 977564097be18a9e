//! Passive opens as small records: SYN-RECEIVED in a listener's SYN queue (RFC 4987 §3.5,
//! RFC4987-3.5).

use alloc::boxed::Box;
use core::num::NonZeroU32;
use core::time::Duration;

use super::ecn_handshake::EcnAnswer;
use super::options::FastOpenCookie;
use super::syn_cookies::Remembered;
use super::timestamps::{TimestampCheck, TimestampState};
use super::window::WindowScale;
use super::{Flags, Header, OpenParams, Options, SeqNumber};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::time::Instant;

/// The effect of a segment on a handshake.
#[derive(Debug)]
#[must_use]
pub(crate) enum HandshakeStep {
    /// Nothing more; drops were counted.
    Ignored,
    /// Send this.
    Reply(Header),
    /// The last ACK has arrived: call [`SynReceived::into_connection`] with the same segment, or
    /// ignore the segment if the accept queue is full.
    Complete,
    /// The peer reset it; forget the record.
    Aborted,
    /// An unacceptable ACK: send this reset, keep the record (RFC 9293 §3.10.7.4).
    Reset(Header),
}

/// What to do after a handshake's time-out.
#[derive(Debug)]
#[must_use]
pub(crate) enum HandshakeTimeout {
    /// Repeat the SYN-ACK.
    Repeat(Header),
    /// Wait for data: the peer has acknowledged the SYN-ACK.
    Wait,
    GiveUp,
}

/// A listener's record of a SYN until the peer has answered the SYN-ACK. It came from LISTEN, so a
/// reset takes it back there (RFC 9293 §3.5, MUST-11); a [`Connection`](super::Connection) in
/// SYN-RECEIVED came from SYN-SENT.
#[derive(Debug)]
pub(crate) struct SynReceived {
    pub(super) iss: SeqNumber,
    pub(super) irs: SeqNumber,
    pub(super) timestamps: TimestampState,
    pub(super) peer: PeerOffer,
    pub(super) ecn: EcnAnswer,
    pub(super) offer: OwnOffer,
    pub(super) syn_acks: SynAckRepeats,
    /// The round trip in microseconds, once an ACK without data has arrived.
    pub(super) acked_after_micros: Option<NonZeroU32>,
    pub(super) sent_at: Instant,
    pub(super) deadline: Instant,
    pub(super) next_reply_at: Instant,
    /// Whether this was made from a cookie, without a record of the SYN.
    pub(super) from_cookie: bool,
    /// The cookie that the SYN-ACK gives the client for its next connection (RFC 7413 §4.2.1).
    pub(super) fast_open: Option<Box<FastOpenCookie>>,
}

/// What the SYN offered.
#[derive(Debug)]
pub(super) struct PeerOffer {
    pub(super) mss: u16,
    pub(super) window: u16,
    pub(super) scale: Option<u8>,
    pub(super) sack_permitted: bool,
}

/// What the SYN-ACK offers.
#[derive(Debug)]
pub(super) struct OwnOffer {
    pub(super) mss: u16,
    pub(super) window: u16,
    pub(super) scale: WindowScale,
}

/// How often the SYN-ACK was repeated, and how often it may be.
#[derive(Debug, Default)]
pub(super) struct SynAckRepeats {
    /// Repeats after a time-out.
    pub(super) retries: u8,
    /// Repeats after a time-out or another SYN.
    pub(super) resent: u8,
    /// The most repeats after a time-out.
    max_retries: u8,
    /// Time-outs so far; more than `retries` while waiting for data.
    timeouts: u8,
    /// TCP_DEFER_ACCEPT: before this many time-outs an ACK without data does not complete the
    /// handshake.
    deferred_timeouts: u8,
}

impl SynReceived {
    /// A record from a SYN; `syn_ack` builds the SYN-ACK. Data in the SYN is ignored, and the peer
    /// sends it again.
    pub(crate) fn new(ctx: &mut Ctx<'_>, syn: &Header, params: &OpenParams) -> SynReceived {
        let options = &syn.options;
        let mut timestamps = TimestampState::new(params.timestamp_offset);
        let config = &ctx.config.tcp;
        timestamps.negotiate(ctx.now, options.timestamps.filter(|_| config.timestamps));
        log::debug!("{}: LISTEN -> SYN-RECEIVED: SYN {:?}", ctx.subject, syn.seq);
        ctx.stats.tcp.state_changes += 1;
        SynReceived {
            iss: params.isn,
            irs: syn.seq,
            timestamps,
            peer: PeerOffer {
                mss: options.mss.unwrap_or(params.default_mss),
                window: syn.window,
                scale: options.window_scale.filter(|_| config.window_scaling),
                sack_permitted: options.sack_permitted && config.sack,
            },
            ecn: EcnAnswer::new(ctx.config.tcp.ecn, syn),
            offer: OwnOffer {
                mss: params.announced_mss,
                window: params.settings.offered_window(ctx, params.announced_mss),
                scale: WindowScale::for_buffer(ctx.config.tcp.max_buffer_bytes),
            },
            syn_acks: SynAckRepeats {
                max_retries: params.settings.syn_retries.unwrap_or(ctx.config.tcp.syn_ack_retries),
                ..SynAckRepeats::default()
            },
            acked_after_micros: None,
            sent_at: ctx.now,
            deadline: ctx.now + ctx.config.tcp.initial_rto,
            next_reply_at: Instant::ZERO,
            from_cookie: false,
            fast_open: None,
        }
    }

    /// Adds a Fast Open cookie to the SYN-ACK.
    pub(crate) fn give_cookie(&mut self, cookie: FastOpenCookie) {
        self.fast_open = Some(Box::new(cookie));
    }

    /// TCP_DEFER_ACCEPT: the handshake is complete when data arrives, or after `delay`, which is
    /// converted to a number of time-outs, as on Linux (secs_to_retrans).
    pub(crate) fn defer(&mut self, ctx: &Ctx<'_>, delay: Duration) {
        let config = &ctx.config.tcp;
        let mut covered = Duration::ZERO;
        while covered < delay && self.syn_acks.deferred_timeouts < u8::MAX {
            covered += retry_delay(self.syn_acks.deferred_timeouts, config.initial_rto, config.max_rto);
            self.syn_acks.deferred_timeouts += 1;
        }
    }

    /// Builds the SYN-ACK for a SYN without a record. Its number, `params.isn`, is a SYN cookie. It
    /// offers only options that the cookie or the timestamp can encode (RFC 4987 §3.6): without
    /// timestamps only the MSS, as on Linux.
    pub(crate) fn cookie_syn_ack(ctx: &mut Ctx<'_>, syn: &Header, params: &OpenParams) -> Header {
        let mut record = SynReceived::new(ctx, syn, params);
        let options = &syn.options;
        let remembered = if record.timestamps.is_enabled() {
            Remembered::of_syn(options, record.ecn.is_rfc3168())
        } else {
            Remembered::NONE
        };
        record.peer.scale = remembered.window_scale;
        record.peer.sack_permitted = remembered.sack_permitted;
        record.ecn.limit_to_cookie(remembered.ecn);
        let mut syn_ack = record.syn_ack(ctx.now);
        syn_ack.options.timestamps = record.timestamps.cookie_option(ctx.now, remembered);
        syn_ack
    }

    /// A record from the ACK that returned a SYN cookie: `params.isn` is the cookie, and `peer_mss`
    /// the MSS in it. [`SynReceived::into_connection`] makes it a connection, as after any complete
    /// handshake.
    pub(crate) fn from_cookie(
        ctx: &mut Ctx<'_>,
        ack: &Header,
        params: &OpenParams,
        peer_mss: u16,
    ) -> SynReceived {
        let remembered = TimestampState::new(params.timestamp_offset).remembered(ack.options.timestamps);
        let syn = Header {
            seq: ack.seq - 1,
            flags: Flags::SYN,
            window: ack.window,
            options: Options {
                mss: Some(peer_mss),
                window_scale: remembered.window_scale,
                sack_permitted: remembered.sack_permitted,
                timestamps: ack.options.timestamps,
                ..Options::default()
            },
            ..Header::default()
        };
        let mut record = SynReceived::new(ctx, &syn, params);
        record.from_cookie = true;
        record.ecn = EcnAnswer::from_cookie(ctx.config.tcp.ecn, remembered.ecn, ack);
        // The offered window is unknown if memory was short. This is the largest possible one.
        record.offer.window = params.settings.syn_window();
        record
    }

    /// Builds the SYN-ACK, always with an MSS (RFC 9293 §3.7.1, MUST-14, SHLD-5), and with the
    /// other options if the SYN had them.
    pub(crate) fn syn_ack(&self, now: Instant) -> Header {
        Header {
            seq: self.iss,
            ack: self.irs + 1,
            flags: Flags::SYN_ACK.with(self.ecn.syn_ack_flags(self.syn_acks.retries)),
            window: self.offer.window,
            path_seed: self.syn_acks.retries,
            options: Options {
                mss: Some(self.offer.mss),
                window_scale: self.peer.scale.map(|_| self.offer.scale.shift()),
                sack_permitted: self.peer.sack_permitted,
                timestamps: self.timestamps.option(now),
                // Both do not fit.
                accecn: self.ecn.syn_ack_option(self.syn_acks.retries).filter(|_| self.fast_open.is_none()),
                fast_open: self.fast_open.clone().filter(|_| self.syn_acks.retries == 0),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    /// RFC 9293 §3.10.7.4 in its order, for SYN-RECEIVED after LISTEN.
    pub(crate) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        header: &Header,
        payload_len: usize,
    ) -> HandshakeStep {
        let flags = header.flags;
        let is_reset = flags.contains(Flags::RST);
        // Before the first step: timestamps (RFC 7323 §5.3).
        match self.timestamps.check(ctx.now, header.options.timestamps, 0) {
            TimestampCheck::Old if !is_reset => {
                ctx.count_drop(DropReason::Paws);
                return self.answer_unacceptable(ctx, header, payload_len);
            }
            TimestampCheck::Old | TimestampCheck::Fine => {}
        }
        // The SYN was repeated, so the SYN-ACK was lost.
        if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && !is_reset && header.seq == self.irs {
            ctx.count_drop(DropReason::UnexpectedSegment);
            if self.ecn.on_repeated_syn(header) {
                // RFC 9768 §3.1.5: the meaning of this connection's flags is ambiguous now.
                let (ack, flags, tos) = (self.rcv_nxt(), Flags::RST_ACK, header.tos);
                return HandshakeStep::Reset(Header { ack, flags, tos, ..Header::default() });
            }
            let step = self.reply(ctx, self.syn_ack(ctx.now));
            if matches!(step, HandshakeStep::Reply(_)) {
                self.syn_acks.resent = self.syn_acks.resent.saturating_add(1);
                // Linux's tcp_check_req: the timer starts again.
                let config = &ctx.config.tcp;
                self.deadline =
                    ctx.now + retry_delay(self.syn_acks.timeouts, config.initial_rto, config.max_rto);
            }
            return step;
        }
        // First: the sequence number.
        if !self.is_in_window(header, payload_len) {
            ctx.count_drop(DropReason::OutOfWindow);
            if is_reset {
                return HandshakeStep::Ignored;
            }
            return self.answer_unacceptable(ctx, header, payload_len);
        }
        // Second: RST (RFC 5961 §3.2).
        if is_reset {
            if header.seq == self.rcv_nxt() {
                ctx.stats.tcp.resets_received += 1;
                return HandshakeStep::Aborted;
            }
            ctx.count_drop(DropReason::ChallengeAck);
            return self.reply_challenge(ctx, header);
        }
        // Fourth: SYN. RFC 9293 returns to LISTEN, so a guessed number in the window would end the
        // handshake. It is challenged instead, as RFC 5961 §4.2 says for the later states.
        if flags.contains(Flags::SYN) {
            ctx.count_drop(DropReason::ChallengeAck);
            return self.reply_challenge(ctx, header);
        }
        // Fifth: ACK.
        if !flags.contains(Flags::ACK) {
            ctx.count_drop(DropReason::UnexpectedSegment);
            return HandshakeStep::Ignored;
        }
        if header.ack != self.iss + 1 {
            ctx.count_drop(DropReason::BadAck);
            let (seq, flags, tos) = (header.ack, Flags::RST, header.tos);
            return HandshakeStep::Reset(Header { seq, flags, tos, ..Header::default() });
        }
        // Linux's tcp_check_req.
        if self.syn_acks.timeouts < self.syn_acks.deferred_timeouts && header.segment_len(payload_len) == 0 {
            let micros =
                u32::try_from((ctx.now.duration_since(self.sent_at)).as_micros()).unwrap_or(u32::MAX);
            self.acked_after_micros = self.acked_after_micros.or(NonZeroU32::new(micros.max(1)));
            ctx.count_drop(DropReason::AcceptDeferred);
            return HandshakeStep::Ignored;
        }
        HandshakeStep::Complete
    }

    /// Whether our SYN-ACK has this number.
    pub(crate) fn is_syn_ack(&self, seq: SeqNumber) -> bool {
        seq == self.iss
    }

    fn rcv_nxt(&self) -> SeqNumber {
        self.irs + 1
    }

    /// RFC 9293 §3.10.7.4, table 6. The window is open and not scaled. As on Linux (tcp_in_window)
    /// an ACK may come from the right edge, from a peer that has filled the window.
    fn is_in_window(&self, header: &Header, payload_len: usize) -> bool {
        let end = self.rcv_nxt() + u32::from(self.offer.window);
        let len = header.segment_len(payload_len);
        let is_ack_at_edge = len == 0 && header.seq == end && !header.flags.contains(Flags::RST);
        header.seq.within(self.rcv_nxt(), end)
            || is_ack_at_edge
            || (len > 0 && (header.seq + (len - 1)).within(self.rcv_nxt(), end))
    }

    /// A challenge ACK. As on Linux (tcp_v4_reqsk_send_ack) it has the TOS of the packet that it
    /// answers.
    fn challenge_ack(&self, now: Instant, header: &Header) -> Header {
        Header {
            seq: self.iss + 1,
            ack: self.rcv_nxt(),
            flags: Flags::ACK.with(self.ecn.ack_flags()),
            window: if self.peer.scale.is_some() {
                self.offer.window >> self.offer.scale.shift()
            } else {
                self.offer.window
            },
            path_seed: self.syn_acks.retries,
            tos: header.tos,
            options: Options { timestamps: self.timestamps.option(now), ..Options::default() },
            ..Header::default()
        }
    }

    /// "Send an acknowledgment in reply": as in the other states, each segment with data or a FIN
    /// is answered, others within the rate limit.
    fn answer_unacceptable(&mut self, ctx: &Ctx<'_>, header: &Header, payload_len: usize) -> HandshakeStep {
        let answer = self.challenge_ack(ctx.now, header);
        let has_text = payload_len > 0 || header.flags.contains(Flags::FIN);
        if has_text && !header.flags.contains(Flags::SYN) {
            return HandshakeStep::Reply(answer);
        }
        self.reply(ctx, answer)
    }

    fn reply_challenge(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> HandshakeStep {
        let step = self.reply(ctx, self.challenge_ack(ctx.now, header));
        if let HandshakeStep::Reply(_) = &step {
            ctx.stats.tcp.challenge_ack += 1;
        }
        step
    }

    /// Returns an answer within the rate limit (RFC 5961 §7), so that forged segments do not cause
    /// a flood.
    fn reply(&mut self, ctx: &Ctx<'_>, answer: Header) -> HandshakeStep {
        if ctx.now < self.next_reply_at {
            return HandshakeStep::Ignored;
        }
        self.next_reply_at = ctx.now + ctx.config.tcp.challenge_interval;
        HandshakeStep::Reply(answer)
    }

    /// Handles a time-out. While waiting for data after an ACK, the SYN-ACK is repeated only at the
    /// end, so that the peer's answer to it completes the handshake (Linux's syn_ack_recalc).
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) -> HandshakeTimeout {
        let config = &ctx.config.tcp;
        let is_acked = self.acked_after_micros.is_some();
        let waits = is_acked && self.syn_acks.timeouts < self.syn_acks.deferred_timeouts;
        if self.syn_acks.timeouts >= self.syn_acks.max_retries && !waits {
            return HandshakeTimeout::GiveUp;
        }
        let repeats =
            !is_acked || self.syn_acks.timeouts.saturating_add(1) >= self.syn_acks.deferred_timeouts;
        self.syn_acks.timeouts = self.syn_acks.timeouts.saturating_add(1);
        self.deadline = ctx.now + retry_delay(self.syn_acks.timeouts, config.initial_rto, config.max_rto);
        if !repeats {
            return HandshakeTimeout::Wait;
        }
        self.syn_acks.retries = self.syn_acks.retries.saturating_add(1);
        ctx.stats.tcp.retrans_segs += 1;
        ctx.stats.recovery.syn_retrans += 1;
        ctx.stats.recovery.timeouts += 1;
        self.syn_acks.resent = self.syn_acks.resent.saturating_add(1);
        HandshakeTimeout::Repeat(self.syn_ack(ctx.now))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How often the SYN-ACK was repeated after a time-out.
    pub(crate) fn retries(&self) -> u8 {
        self.syn_acks.retries
    }
}

/// RFC 6298 §5.5: the delay before the next repetition, after `retries` of them.
fn retry_delay(retries: u8, initial_rto: Duration, max_rto: Duration) -> Duration {
    initial_rto.saturating_mul(1 << retries.min(16)).min(max_rto)
}
