//! What to send next: one segment a call, or a run of full ones.

use super::congestion::Sent;
use super::connection::Reset;
use super::sender::{Freshness, Plan};
use super::timer::Timer;
use super::{Connection, Flags, Header, Options, Run, SeqNumber, State};
use crate::Ctx;
use crate::frame::Payload;

/// Three blocks fit beside timestamps, four without (RFC 2018 §3).
const SACK_BLOCKS_WITH_TIMESTAMPS: usize = 3;
const SACK_BLOCKS: usize = 4;
/// More than these give way to what AccECN has to report (RFC 9768 §3.2.3.3).
const SACK_BLOCKS_BESIDE_ACCECN: usize = 2;

/// With the headers of either family this is the largest IP packet.
const MAX_RUN_BYTES: usize = 65_535 - 40 - 60;

impl Connection {
    /// What to send next; ports are filled in by the caller. `None` when there is nothing more to send now.
    pub(crate) fn poll_transmit(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        let run = self.next_run(ctx);
        if let Some(run) = &run {
            let header = run.header();
            log::trace!(
                "tcp in {} -> {:?} seq {:?} ack {:?} win {} len {}",
                self.state.name(),
                header.flags,
                header.seq,
                header.ack,
                header.window,
                run.payload_len()
            );
        }
        run
    }

    fn next_run(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if let Some(reset) = self.pending.reset.take() {
            return Some(self.reset_segment(ctx, reset));
        }
        match self.state {
            State::Closed | State::Listen => None,
            State::SynSent => self.poll_syn(ctx),
            State::SynReceived => self.poll_syn(ctx).or_else(|| self.poll_ack(ctx)),
            _ => {
                let pure_ack = if self.ecn.owes_pure_ack() { self.poll_ack(ctx) } else { None };
                let may_send_data = pure_ack.is_none() && self.state.may_have_unsent();
                let data = if may_send_data { self.poll_data(ctx) } else { pure_ack };
                data.or_else(|| self.poll_keepalive(ctx)).or_else(|| self.poll_ack(ctx))
            }
        }
    }

    fn reset_segment(&mut self, ctx: &mut Ctx<'_>, reset: Reset) -> Run {
        let mut header = Header { seq: reset.seq, flags: Flags::RST, ..Header::default() };
        if reset.with_ack {
            header.flags = Flags::RST_ACK;
            header.ack = self.rcv.nxt;
            header.options.timestamps = self.timestamps.option(ctx.now);
        }
        Run::one(header, Payload::new())
    }

    /// The SYN of SYN-SENT, the SYN-ACK of SYN-RECEIVED (simultaneous open, or an ACK of a handshake that made no sense).
    fn poll_syn(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if !core::mem::take(&mut self.pending.syn) {
            return None;
        }
        let is_answer = self.state == State::SynReceived;
        let mut header = Header {
            seq: self.snd.una,
            flags: if is_answer { Flags::SYN_ACK } else { Flags::SYN },
            window: self.rcv.syn_window(),
            ..Header::default()
        };
        // RFC 9293 §3.7.1 (MUST-14, SHLD-5, MAY-3): the MSS always; MUST-65: here, and in no other segment.
        header.options = Options {
            mss: Some(self.announced_mss),
            window_scale: Some(Connection::offered_scale(ctx).shift()),
            sack_permitted: true,
            timestamps: Some(self.timestamps.offer(ctx.now)),
            ..Options::default()
        };
        if is_answer {
            // A SYN-ACK offers only what the SYN did (RFC 7323 §2.2, §3.2; RFC 2018 §2).
            header.ack = self.rcv.nxt;
            header.options.sack_permitted = self.sack_permitted;
            header.options.timestamps = self.timestamps.option(ctx.now);
            header.options.window_scale = self.snd.is_scaled().then_some(self.rcv.scale.shift());
            header.flags = header.flags.with(self.ecn.crossing_flags(self.retries.timeouts));
            self.rcv.on_ack_sent();
        } else {
            header.flags = header.flags.with(self.ecn.syn_flags(self.retries.timeouts));
        }
        if self.snd.outstanding() == 0 {
            self.rtt_probe.start(self.snd.una + 1, ctx.now);
        } else {
            self.on_resent(ctx, self.snd.una);
        }
        self.snd.on_syn_sent();
        self.arm_retransmit(ctx.now);
        Some(Run::one(header, Payload::new()))
    }

    /// Data and FIN: the segment that is lost, a window probe, or what is next.
    fn poll_data(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        let retransmit = core::mem::take(&mut self.pending.retransmit) && self.snd.flight() > 0;
        if !retransmit && !self.snd.has_unsent() {
            return None;
        }
        let mss = self.effective_mss(ctx);
        if retransmit {
            return Some(self.retransmit_first(ctx, mss));
        }
        self.restart_after_idle(ctx);
        let extra = self.recovery.extra_segments() * mss;
        let cwnd = self.congestion.cwnd().saturating_add(extra);
        let probe = core::mem::take(&mut self.pending.probe);
        match self.snd.plan(mss, cwnd, self.settings.nodelay) {
            Plan::Send { len, fin } => Some(self.send_run(ctx, mss, cwnd, len, fin)),
            Plan::WaitForWindow if self.snd.flight() == 0 => {
                // RFC 9293 §3.8.6.1 (MUST-35, MUST-36): nobody else would speak; the peer's window update
                // may have been lost.
                if probe {
                    return Some(self.send_probe(ctx, mss));
                }
                self.arm_persist(ctx);
                None
            }
            Plan::Nothing | Plan::WaitForWindow | Plan::WaitForAck => None,
        }
    }

    /// RFC 5681 §4.1: after a pause the window is perhaps no longer known to fit the path.
    fn restart_after_idle(&mut self, ctx: &Ctx<'_>) {
        let pause = ctx.now.duration_since(self.last_data_sent_at);
        if self.snd.outstanding() == 0 && !pause.is_zero() {
            self.congestion.on_idle(ctx.now, pause, self.rtt.rto(), ctx.config.tcp.initial_window_segs);
        }
    }

    /// Eff.snd.MSS (RFC 9293 §3.7.1, MUST-16; SHLD-28): what peer and path take, less the options of the next segment.
    pub(super) fn effective_mss(&self, ctx: &Ctx<'_>) -> u32 {
        // At most 40 bytes.
        u32::from(self.send_mss(ctx)).saturating_sub(self.next_options(ctx).wire_len() as u32).max(1)
    }

    /// The options of the next segment without SYN.
    fn next_options(&self, ctx: &Ctx<'_>) -> Options {
        let timestamps = self.timestamps.option(ctx.now);
        let mut options = Options { timestamps, sack: self.sack_blocks(), ..Options::default() };
        if let Some(accurate) = self.ecn.accurate() {
            if accurate.has_news_of_ce() {
                options.sack.truncate(SACK_BLOCKS_BESIDE_ACCECN);
            }
            options.accecn = accurate.option(options.room());
        }
        options
    }

    fn sack_blocks(&self) -> super::SackBlocks {
        if !self.sack_permitted || !self.rcv.has_gaps() {
            return super::SackBlocks::new();
        }
        let limit = if self.timestamps.enabled { SACK_BLOCKS_WITH_TIMESTAMPS } else { SACK_BLOCKS };
        self.rcv.sack_blocks(limit)
    }

    /// The planned segment from SND.NXT on and, if it is new and full, those that may follow it. What is sent again goes
    /// segment by segment: an acknowledgement may come in between and save the rest.
    fn send_run(&mut self, ctx: &mut Ctx<'_>, mss: u32, cwnd: u32, len: usize, fin: bool) -> Run {
        let seq = self.snd.nxt;
        let goes_alone = self.snd.is_resending() || self.ecn.owes_cwr();
        let max_segs = if goes_alone { 1 } else { ctx.config.tcp.max_run_segs };
        let full = mss as usize;
        let (mut len, mut fin, mut last, mut segs) = (len, fin, len, 1);
        self.on_next_sent(ctx, mss, len, fin);
        while segs < max_segs && last == full && !fin {
            match self.snd.plan(mss, cwnd, self.settings.nodelay) {
                Plan::Send { len: more, fin: ends } if len + more <= MAX_RUN_BYTES => {
                    let _new = self.snd.on_sent(more, ends, more == full);
                    len += more;
                    (fin, last) = (ends, more);
                    segs += 1;
                }
                _ => break,
            }
        }
        self.congestion.on_sent(&Sent {
            now: ctx.now,
            una: self.snd.una,
            nxt: self.snd.max,
            in_flight: self.snd.flight(),
            rto: self.rtt.rto(),
            restart_segs: ctx.config.tcp.initial_window_segs,
        });
        self.data_run(ctx, seq, len, fin, full)
    }

    /// One segment from SND.NXT on.
    fn send_next(&mut self, ctx: &mut Ctx<'_>, mss: u32, len: usize, fin: bool) -> Run {
        let seq = self.snd.nxt;
        self.on_next_sent(ctx, mss, len, fin);
        self.data_run(ctx, seq, len, fin, mss as usize)
    }

    /// A segment goes out from SND.NXT on.
    fn on_next_sent(&mut self, ctx: &mut Ctx<'_>, mss: u32, len: usize, fin: bool) {
        let seq = self.snd.nxt;
        match self.snd.on_sent(len, fin, len == mss as usize) {
            Freshness::New => self.rtt_probe.start(self.snd.nxt, ctx.now),
            Freshness::Repeated => self.on_resent(ctx, seq),
        }
        self.timers.stop(Timer::Persist);
        // RFC 6298 §5.1.
        if !self.timers.is_armed(Timer::Retransmit) {
            self.arm_retransmit(ctx.now);
        }
    }

    /// The segment at SND.UNA once more; SND.NXT stays (RFC 5681 §3.2 step 2, RFC 6582 §3.2 step 3). Also beyond the edge of
    /// a window that shrank meanwhile (RFC 9293 §3.8.6, MAY-7).
    fn retransmit_first(&mut self, ctx: &mut Ctx<'_>, mss: u32) -> Run {
        let seq = self.snd.una;
        let flight = self.snd.flight() as usize;
        let queued = self.snd.queue.len();
        let len = queued.min(flight).min(mss as usize);
        let fin = len == queued && self.snd.is_fin_outstanding();
        let segment = self.data_run(ctx, seq, len, fin, mss as usize);
        self.on_resent(ctx, seq);
        ctx.stats.tcp_fast_retransmits += 1;
        self.arm_retransmit(ctx.now);
        segment
    }

    fn on_resent(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber) {
        ctx.stats.tcp_retransmits += 1;
        self.rtt_probe.on_resent(seq);
    }

    /// The window is closed: its next octet as a probe, or the FIN if that is all (RFC 9293 §3.8.6.1). It is open but small:
    /// that much, now that the peer has had its time to open it (§3.8.6.2.1).
    fn send_probe(&mut self, ctx: &mut Ctx<'_>, mss: u32) -> Run {
        self.retries.probes = self.retries.probes.saturating_add(1);
        self.retries.unanswered_probes = self.retries.unanswered_probes.saturating_add(1);
        ctx.stats.tcp_window_probes += 1;
        let window = self.snd.usable_window() as usize;
        if window > 0 {
            let len = self.snd.unsent().min(window).min(mss as usize);
            return self.send_next(ctx, mss, len, false);
        }
        let len = self.snd.unsent().min(1);
        let segment = self.data_run(ctx, self.snd.una, len, len == 0, mss as usize);
        self.snd.on_probe_sent();
        self.arm_persist(ctx);
        segment
    }

    /// `len` bytes from `seq` on, in segments of `segment_len`, and then the FIN or not.
    fn data_run(
        &mut self,
        ctx: &mut Ctx<'_>,
        seq: SeqNumber,
        len: usize,
        fin: bool,
        segment_len: usize,
    ) -> Run {
        self.rcv.on_data_sent(ctx.now, ctx.config.tcp.delayed_ack);
        let mut header = self.ack_header(ctx, seq);
        let offset = (seq - self.snd.una) as usize;
        let payload = if len > 0 { self.snd.queue.slice(offset, len) } else { Payload::new() };
        // RFC 9293 §3.9.1.2 (MUST-61, SHLD-27, MAY-16): what ends the queue is pushed, however many calls filled it.
        if len > 0 && offset + len == self.snd.queue.len() {
            header.flags = header.flags.with(Flags::PSH);
        }
        if fin {
            header.flags = header.flags.with(Flags::FIN);
        }
        // A probe of a closed window does not move SND.NXT.
        if len > 0 && seq.before(self.snd.nxt) {
            self.ecn.write_data(&mut header, len as u32);
        }
        self.last_data_sent_at = ctx.now;
        Run::new(header, payload, segment_len)
    }

    /// RFC 9293 §3.8.4 (SHLD-12): no data, and a number that was acknowledged already, so that the peer answers.
    fn poll_keepalive(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if !core::mem::take(&mut self.pending.keepalive) {
            return None;
        }
        ctx.stats.tcp_keepalive_probes += 1;
        Some(Run::one(self.ack_header(ctx, self.snd.una - 1), Payload::new()))
    }

    fn poll_ack(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if !self.rcv.is_ack_due_now() {
            return None;
        }
        self.rcv.on_pure_ack_sent();
        let mut header = self.ack_header(ctx, self.snd.ack_seq());
        self.ecn.write_pure_ack(&mut header);
        Some(Run::one(header, Payload::new()))
    }

    /// A header that acknowledges everything received, with the window, the timestamps and what came out of order.
    fn ack_header(&mut self, ctx: &Ctx<'_>, seq: SeqNumber) -> Header {
        let mut header = Header {
            seq,
            ack: self.rcv.nxt,
            flags: Flags::ACK,
            window: self.rcv.advertise(),
            ..Header::default()
        };
        header.options = self.next_options(ctx);
        self.ecn.write(&mut header);
        self.rcv.on_ack_sent();
        self.timers.stop(Timer::DelayedAck);
        header
    }
}
