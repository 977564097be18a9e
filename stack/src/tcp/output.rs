//! What to send next: one segment a call, or a run of full ones.

use core::time::Duration;

use super::congestion::Sent;
use super::connection::Reset;
use super::mtu_probe::MtuProbe;
use super::sender::{More, NagleMode, Plan};
use super::timer::Timer;
use super::window::WindowScale;
use super::{Connection, Flags, Header, Options, Run, SeqNumber, State};
use crate::Ctx;
use crate::frame::Payload;

/// Three blocks fit beside timestamps, four without (RFC 2018 §3, RFC2018-3-a).
const SACK_BLOCKS_WITH_TIMESTAMPS: usize = 3;
const SACK_BLOCKS: usize = 4;
/// With AccECN to report, no more blocks than this (RFC 9768 §3.2.3.3).
const SACK_BLOCKS_BESIDE_ACCECN: usize = 2;

/// The largest payload: with the headers of either family it fills an IP packet.
const MAX_RUN_BYTES: u32 = 65_535 - 40 - 60;

/// A burst is this much of a second, as a shift: about a millisecond (Linux's sk_pacing_shift).
const BURST_SHIFT: u32 = 10;
/// Linux's tcp_min_tso_segs.
const LEAST_BURST_SEGS: u32 = 2;
/// Each 524 µs of round-trip time halve what a burst may hold beyond that millisecond (Linux's
/// tcp_tso_rtt_log of 9, in µs).
const NEAR_SHIFT: u32 = 19;

impl Connection {
    /// Returns what to send next; the caller fills in the ports. `None` when there is nothing more
    /// to send now.
    pub(crate) fn poll_transmit(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        let run = self.next_run(ctx);
        if let Some(run) = &run {
            let header = run.header();
            log::trace!(
                "{}: in {} -> {:?} seq {:?} ack {:?} win {} len {}",
                ctx.subject,
                self.state.name(),
                header.flags,
                header.seq,
                header.ack,
                header.window,
                run.payload_len()
            );
            self.counters.on_sent(run);
        } else {
            self.note_activity(ctx.now);
        }
        run
    }

    /// Whether there is certainly nothing to send, as after most received segments. Then
    /// [`poll_transmit`](Connection::poll_transmit) would only call
    /// [`note_activity`](Connection::note_activity).
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.is_synchronized()
            && self.pending.is_empty()
            && !self.rcv.acks.is_due_now()
            && !self.snd.has_unsent()
            && self.flight.scoreboard.lost() == 0
            && !self.ecn.owes_pure_ack()
            && !self.timers.is_armed(Timer::Pacing)
    }

    fn next_run(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if let Some(reset) = self.pending.reset.take() {
            return Some(self.reset_segment(ctx, reset));
        }
        match self.state {
            State::Closed | State::Listen => None,
            State::SynSent => self.poll_syn(ctx),
            State::SynReceived => {
                let first = self.poll_syn(ctx);
                let data =
                    if first.is_none() && self.is_fast_server() { self.poll_paced_data(ctx) } else { first };
                data.or_else(|| self.poll_ack(ctx))
            }
            _ => {
                let pure_ack = if self.ecn.owes_pure_ack() { self.poll_ack(ctx) } else { None };
                let may_send_data = pure_ack.is_none() && self.state.may_have_unsent();
                let data = if may_send_data { self.poll_paced_data(ctx) } else { pure_ack };
                data.or_else(|| self.poll_keepalive(ctx)).or_else(|| self.poll_ack(ctx))
            }
        }
    }

    fn reset_segment(&mut self, ctx: &mut Ctx<'_>, reset: Reset) -> Run {
        let Reset { seq, with_ack, tos } = reset;
        let mut header = Header { seq, flags: Flags::RST, tos, ..Header::default() };
        header.path_seed = self.retries.path_seed;
        if with_ack {
            header.flags = Flags::RST_ACK;
            header.ack = self.rcv.nxt;
            header.options.timestamps = self.timestamps.option(ctx.now);
        }
        Run::one(header, Payload::new())
    }

    /// The SYN in SYN-SENT, or the SYN-ACK in SYN-RECEIVED (simultaneous open, or an unacceptable
    /// ACK in the handshake).
    fn poll_syn(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        self.open_with_data();
        if !core::mem::take(&mut self.pending.syn) {
            return None;
        }
        let config = &ctx.config.tcp;
        let is_answer = self.state == State::SynReceived;
        let mut header = Header {
            seq: self.snd.una,
            flags: if is_answer { Flags::SYN_ACK } else { Flags::SYN },
            window: self.rcv.syn_window(),
            path_seed: self.retries.path_seed,
            ..Header::default()
        };
        // RFC 9293 §3.7.1 (MUST-14, SHLD-5, MAY-3): the MSS always; MUST-65: here, and in no other
        // segment.
        header.options = Options {
            mss: Some(self.syn.announced_mss),
            window_scale: config
                .window_scaling
                .then(|| WindowScale::for_buffer(config.max_buffer_bytes).shift()),
            sack_permitted: config.sack,
            timestamps: config.timestamps.then(|| self.timestamps.offer(ctx.now)),
            ..Options::default()
        };
        if is_answer {
            // A SYN-ACK offers only what the SYN did (RFC7323-2.2-a, RFC7323-3.2-a; RFC 2018 §2,
            // RFC2018-2-b).
            header.ack = self.rcv.nxt;
            header.options.sack_permitted = self.syn.sack_permitted;
            header.options.timestamps = self.timestamps.option(ctx.now);
            header.options.window_scale = self.snd.is_scaled().then_some(self.rcv.wnd.scale.shift());
            header.flags = header.flags.with(self.ecn.crossing_flags(self.retries.timeouts));
            header.options.fast_open = self.cookie_to_give();
            self.rcv.on_ack_sent();
        } else {
            header.flags = header.flags.with(self.ecn.syn_flags(self.retries.timeouts));
        }
        if self.is_fast_server() {
            return Some(self.repeatable_syn_ack(ctx, header));
        }
        let payload = self.fill_syn(&mut header);
        if self.snd.outstanding() == 0 {
            self.syn.sent_at = Some(ctx.now);
        } else {
            ctx.stats.tcp.retrans_segs += 1;
            ctx.stats.recovery.syn_retrans += 1;
            self.syn.repeats = self.syn.repeats.saturating_add(1);
            self.syn.sent_at = None;
        }
        self.snd.on_syn_sent();
        self.arm_retransmit(ctx.now);
        Some(Run::one(header, payload))
    }

    pub(super) fn has_data_to_send(&self) -> bool {
        self.pending.loss_probe || self.snd.has_unsent() || self.wants_to_resend()
    }

    /// Data and FIN: a retransmission, a loss probe, a window probe, or new data. `burst` is how
    /// much pacing allows; one segment is always allowed.
    pub(super) fn poll_data(&mut self, ctx: &mut Ctx<'_>, burst: u32) -> Option<Run> {
        // Anything but new data ends a burst.
        let burst_left = core::mem::take(&mut self.snd.burst_left);
        if !self.has_data_to_send() {
            return None;
        }
        self.flight.scoreboard.prepare(ctx.free_list);
        let loss_probe = core::mem::take(&mut self.pending.loss_probe);
        let is_losing = self.wants_to_resend();
        let mss = self.effective_mss(ctx);
        if loss_probe && let Some(run) = self.send_loss_probe(ctx, mss) {
            return Some(run);
        }
        let in_flight = self.in_flight();
        if is_losing && let Some(run) = self.resend(ctx, mss, burst) {
            return Some(run);
        }
        self.restart_after_idle(ctx, mss);
        // While something is lost, none is planned.
        if self.path.search.is_some() {
            match self.plan_mtu_probe(ctx, mss, in_flight) {
                MtuProbe::Send(size) => return Some(self.send_mtu_probe(ctx, mss, size)),
                MtuProbe::Wait => return None,
                MtuProbe::Pass => {}
            }
        }
        let room = (in_flight > 0).then(|| self.room_for_new(ctx, mss, in_flight));
        let probe = core::mem::take(&mut self.pending.probe);
        let plan = if is_losing { Plan::WaitForWindow } else { self.snd.plan(mss, room, self.nagle_mode()) };
        match plan {
            Plan::Send { len, fin } => {
                self.snd.burst_left = burst_left;
                Some(self.send_run(ctx, mss, len, fin, burst))
            }
            Plan::WaitForWindow if in_flight == 0 => {
                // RFC 9293 §3.8.6.1 (MUST-35, MUST-36): both ends would wait for ever if the peer's
                // window update was lost.
                if probe {
                    return Some(self.send_probe(ctx, mss));
                }
                self.arm_persist(ctx);
                None
            }
            Plan::Nothing | Plan::WaitForWindow | Plan::WaitForAck => None,
        }
    }

    /// RFC 5681 §4.1: after an idle period cwnd may no longer fit the path. Data that waited for
    /// the peer's window is sent with the old one, as on Linux, which checks when the program
    /// writes (tcp_slow_start_after_idle_check).
    fn restart_after_idle(&mut self, ctx: &Ctx<'_>, mss: u32) {
        let pause = ctx.now.duration_since(self.last.data_sent_at);
        let is_narrow = (self.snd.usable_window() as usize) < self.snd.unsent().min(mss as usize);
        if self.snd.outstanding() > 0 {
            return;
        }
        self.rcv.acks.on_turn();
        if pause.is_zero() || is_narrow {
            return;
        }
        let config = &ctx.config.tcp;
        let never = self.counters.has_waited_for_window() || !config.slow_start_after_idle;
        let too_long = if never { Duration::MAX } else { self.rtt.rto() };
        self.congestion.on_idle(ctx.now, pause, too_long, config.initial_window_segs);
    }

    /// Eff.snd.MSS (RFC 9293 §3.7.1, MUST-16; SHLD-28): the smaller of the peer's and the path's
    /// MSS, less the options of the next segment.
    pub(super) fn effective_mss(&self, ctx: &Ctx<'_>) -> u32 {
        // At most 40 bytes.
        u32::from(self.send_mss(ctx)).saturating_sub(self.next_options(ctx).wire_len() as u32).max(1)
    }

    /// Eff.snd.MSS less only the options that every segment has. Windows are counted in this unit,
    /// since SACK blocks and the AccECN option come and go.
    pub(super) fn steady_mss(&self, ctx: &Ctx<'_>) -> u32 {
        let options = Options { timestamps: self.timestamps.option(ctx.now), ..Options::default() };
        // At most 40 bytes.
        u32::from(self.send_mss(ctx)).saturating_sub(options.wire_len() as u32).max(1)
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
        if !self.syn.sack_permitted || !self.rcv.has_sack_blocks() {
            return super::SackBlocks::new();
        }
        let limit = if self.timestamps.is_enabled() { SACK_BLOCKS_WITH_TIMESTAMPS } else { SACK_BLOCKS };
        self.rcv.sack_blocks(limit)
    }

    /// The room in the congestion window beside `in_flight`; none at the limit of segments in
    /// flight.
    fn room_for_new(&self, ctx: &Ctx<'_>, mss: u32, in_flight: u32) -> u32 {
        let most = ctx.config.tcp.max_flight_segs.saturating_mul(mss);
        let room = self.congestion.cwnd().saturating_sub(in_flight);
        room.min(most.saturating_sub(self.snd.flight()))
    }

    /// Builds the planned segment from SND.NXT on and, if it is full, those that may follow in the
    /// same run.
    fn send_run(&mut self, ctx: &mut Ctx<'_>, mss: u32, len: usize, fin: bool, burst: u32) -> Run {
        let in_flight = self.in_flight();
        let seq = self.snd.nxt;
        // The length of a burst is fixed when it begins, though cwnd may change meanwhile.
        let begun = u32::from(self.snd.burst_left);
        let burst_segs = if begun > 0 { begun } else { self.burst_segs(mss) };
        let allowed = burst_segs.min(burst / mss).max(1);
        // RFC 3168 §6.1.2: CWR is in one segment only.
        let max_segs = if self.ecn.owes_cwr() { 1 } else { self.max_run_segs(ctx, mss, burst).min(allowed) };
        let full = mss as usize;
        let (mut len, mut fin, mut last, mut segs) = (len, fin, len, 1);
        let mut is_over = false;
        self.snd.on_sent(len, fin, len == full);
        while segs < max_segs && last == full && !fin {
            // A run is at most 64 KiB.
            let room = self.room_for_new(ctx, mss, in_flight + len as u32);
            let certain = self.snd.certain_segs(mss, room).min(max_segs - segs);
            if certain > 0 {
                let more = certain as usize * full;
                self.snd.on_sent(more, false, true);
                len += more;
                segs += certain;
                continue;
            }
            match self.snd.plan(mss, Some(room), self.nagle_mode()) {
                Plan::Send { len: more, fin: ends } => {
                    self.snd.on_sent(more, ends, more == full);
                    len += more;
                    (fin, last) = (ends, more);
                    segs += 1;
                }
                _ => {
                    is_over = true;
                    break;
                }
            }
        }
        is_over |= segs >= allowed || last < full || fin;
        if !is_over {
            let room = self.room_for_new(ctx, mss, in_flight + len as u32);
            is_over = !matches!(self.snd.plan(mss, Some(room), self.nagle_mode()), Plan::Send { .. });
        }
        // A burst is at most 64 KiB.
        self.snd.burst_left = if is_over { 0 } else { (allowed - segs) as u16 };
        self.on_new_sent(ctx, mss, in_flight, seq);
        let run = self.data_run(ctx, seq, len, fin, full);
        // PSH tells the receiver not to wait for more segments to merge. A segment that is sent
        // alone gets none, because more may follow (Linux's __tcp_transmit_skb).
        if is_over && (begun > 0 || segs > 1) { run.pushed() } else { run }
    }

    /// Segments in one burst: what the path carries in a millisecond, at least two, and at most
    /// half of the congestion window (Linux's tcp_tso_autosize and tcp_cwnd_test). On a path of
    /// less than half a millisecond, as many as fit into an IP packet.
    fn burst_segs(&self, mss: u32) -> u32 {
        let cwnd = self.congestion.cwnd();
        let half_window = cwnd / (2 * mss);
        let most = half_window.min(MAX_RUN_BYTES / mss).max(1);
        let near = self.rtt.min_rtt().map_or(0, |rtt| rtt.as_nanos() as u64 >> NEAR_SHIFT);
        let (Some(srtt), 1..) = (self.rtt.srtt(), near) else { return most };
        let extra = MAX_RUN_BYTES.checked_shr(u32::try_from(near).unwrap_or(u32::MAX)).unwrap_or(0);
        // cwnd is at most 2^30.
        let nanos = (srtt.as_nanos() as u64).max(1).saturating_mul(1 << BURST_SHIFT);
        let window = u64::from(cwnd) * self.congestion.window_ratio();
        let bytes = (window * (1_000_000_000 / 100) / nanos).min(u64::from(MAX_RUN_BYTES)) as u32 + extra;
        (bytes / mss).max(LEAST_BURST_SEGS).min(most)
    }

    /// Builds one segment from SND.NXT on.
    pub(super) fn send_next(&mut self, ctx: &mut Ctx<'_>, mss: u32, len: usize, fin: bool) -> Run {
        let in_flight = self.in_flight();
        let seq = self.snd.nxt;
        self.snd.on_sent(len, fin, len == mss as usize);
        self.on_new_sent(ctx, mss, in_flight, seq);
        self.data_run(ctx, seq, len, fin, mss as usize)
    }

    /// Segments in one run: at most what fits into an IP packet and into the burst that the pace
    /// allows.
    pub(super) fn max_run_segs(&self, ctx: &Ctx<'_>, mss: u32, burst: u32) -> u32 {
        // Each has its own urgent pointer, and a duplicate is reported once (RFC 2883 §4,
        // RFC2883-4-b).
        if self.is_urgent() || (self.syn.sack_permitted && self.rcv.has_duplicate()) {
            return 1;
        }
        let most = MAX_RUN_BYTES.min(burst) / mss;
        u32::try_from(ctx.config.tcp.max_run_segs).unwrap_or(u32::MAX).min(most).max(1)
    }

    /// How long a partial segment waits. As on Linux, TCP_CORK overrides TCP_NODELAY, and urgent
    /// data overrides both.
    fn nagle_mode(&self) -> NagleMode {
        match &*self.settings {
            _ if self.is_urgent() || self.snd.flushes => NagleMode::Off,
            _ if self.snd.more == More::Held => NagleMode::Corked,
            settings if settings.cork => NagleMode::Corked,
            settings if settings.nodelay => NagleMode::Off,
            _ => NagleMode::On,
        }
    }

    /// Notes that new data was sent, from `seq` to SND.NXT.
    fn on_new_sent(&mut self, ctx: &Ctx<'_>, mss: u32, in_flight: u32, seq: SeqNumber) {
        let end = self.snd.nxt;
        let stamp = self.flight.rate.stamp(ctx.now, in_flight, end - seq);
        // An MSS is at most 65,535.
        let data_end = self.snd.una + self.snd.queue.len() as u32;
        if end.after(data_end) && seq.before(data_end) {
            // The FIN has a record of its own, because some peers leave it out of their SACK
            // blocks.
            self.flight.scoreboard.on_sent(ctx.now, seq, data_end, mss as u16, stamp);
            self.flight.scoreboard.on_sent(ctx.now, data_end, end, mss as u16, stamp);
        } else {
            self.flight.scoreboard.on_sent(ctx.now, seq, end, mss as u16, stamp);
        }
        if self.flight.recovery.is_reducing() {
            self.flight.recovery.on_sent(end - seq);
        }
        self.tell_congestion_of_sending(ctx);
        self.timers.stop(Timer::Persist);
        // RFC 6298 §5.1 (RFC6298-5.1).
        if !self.timers.is_armed(Timer::Retransmit) {
            self.arm_retransmit(ctx.now);
        }
        self.arm_loss_probe(ctx);
        let in_flight = self.in_flight();
        let may_send = in_flight < self.congestion.cwnd() && self.flight.scoreboard.lost() == 0;
        if may_send && !self.snd.has_unsent() {
            self.flight.rate.on_application_limited(in_flight);
        }
    }

    pub(super) fn tell_congestion_of_sending(&mut self, ctx: &Ctx<'_>) {
        // The same switch on Linux (tcp_cwnd_validate).
        let is_decaying = ctx.config.tcp.slow_start_after_idle;
        self.congestion.on_sent(&Sent {
            now: ctx.now,
            una: self.snd.una,
            nxt: self.snd.nxt,
            in_flight: self.in_flight(),
            rto: if is_decaying { self.rtt.rto() } else { Duration::MAX },
            restart_segs: ctx.config.tcp.initial_window_segs,
        });
    }

    /// Sends a window probe: the next octet, or the FIN if that is all (RFC 9293 §3.8.6.1). If the
    /// window is open but small, sends what fits, as the peer has had time to open it (§3.8.6.2.1).
    fn send_probe(&mut self, ctx: &mut Ctx<'_>, mss: u32) -> Run {
        self.note_unanswered(ctx.now);
        self.retries.probes = self.retries.probes.saturating_add(1);
        self.retries.unanswered_probes = self.retries.unanswered_probes.saturating_add(1);
        ctx.stats.tcp.win_probe += 1;
        let window = self.snd.usable_window() as usize;
        if window > 0 {
            let len = self.snd.unsent_of_record().min(window).min(mss as usize);
            // As in Linux's tcp_write_wakeup this segment is pushed, and Nagle's algorithm does not
            // wait for its ACK: not the program made it small.
            let small_end = self.snd.small_end;
            let run = self.send_next(ctx, mss, len, false).pushed();
            self.snd.small_end = small_end;
            return run;
        }
        let len = self.snd.queue.len().min(1);
        let segment = self.data_run(ctx, self.snd.una, len, len == 0, mss as usize);
        self.snd.on_probe_sent();
        self.arm_persist(ctx);
        segment
    }

    /// Builds a run of `len` bytes from `seq` on, in segments of `segment_len`, with or without the
    /// FIN.
    pub(super) fn data_run(
        &mut self,
        ctx: &mut Ctx<'_>,
        seq: SeqNumber,
        len: usize,
        fin: bool,
        segment_len: usize,
    ) -> Run {
        self.rcv.acks.on_data_sent(ctx.now, ctx.config.tcp.delayed_ack);
        let mut header = self.ack_header(ctx, seq);
        let offset = (seq - self.snd.una) as usize;
        let payload = self.snd.queue.slice(offset, len);
        // RFC 9293 §3.9.1.2 (MUST-61, SHLD-27, MAY-16): the last segment of the queue is pushed,
        // unless the program announced more (MSG_MORE).
        let is_last = offset + len == self.snd.queue.len() && self.snd.more == More::No;
        if len > 0 && (is_last || self.snd.is_record_end(seq + len as u32)) {
            header.flags = header.flags.with(Flags::PSH);
        }
        if fin {
            header.flags = header.flags.with(Flags::FIN);
        }
        // A probe of a closed window does not move SND.NXT.
        if len > 0 && seq.before(self.snd.nxt) {
            self.ecn.write_data(&mut header, len as u32);
        }
        self.mark_urgent(&mut header);
        self.last.data_sent_at = ctx.now;
        Run::new(header, payload, segment_len)
    }

    /// RFC 9293 §3.8.4 (SHLD-12): a segment without data at an acknowledged sequence number, which
    /// the peer must answer.
    fn poll_keepalive(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if !core::mem::take(&mut self.pending.keepalive) {
            return None;
        }
        ctx.stats.tcp.keep_alive += 1;
        Some(Run::one(self.ack_header(ctx, self.snd.una - 1), Payload::new()))
    }

    fn poll_ack(&mut self, ctx: &mut Ctx<'_>) -> Option<Run> {
        if !self.rcv.acks.is_due_now() {
            return None;
        }
        self.rcv.acks.on_pure_ack_sent();
        let mut header = self.ack_header(ctx, self.snd.ack_seq());
        self.ecn.write_pure_ack(&mut header);
        Some(Run::one(header, Payload::new()))
    }

    /// A header that acknowledges everything received, with window, timestamps and SACK blocks.
    fn ack_header(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber) -> Header {
        let mut header = Header {
            seq,
            ack: self.rcv.nxt,
            flags: Flags::ACK,
            window: self.rcv.advertise(),
            path_seed: self.retries.path_seed,
            ..Header::default()
        };
        header.options = self.next_options(ctx);
        self.ecn.write(&mut header);
        if self.syn.sack_permitted && self.rcv.has_duplicate() {
            ctx.stats.recovery.dsacks_sent += 1;
        }
        self.rcv.on_ack_sent();
        self.timers.stop(Timer::DelayedAck);
        header
    }
}
