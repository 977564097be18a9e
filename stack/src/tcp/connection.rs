//! A TCP connection: its parts, its beginning and end, and its queries.
//!
//! [`input`](super::input) handles segments, [`output`](super::output) builds them,
//! [`user`](super::user) has the program's calls, and [`timer`](super::timer) the timers.

use alloc::boxed::Box;

use super::congestion::Congestion;
use super::counters::Counters;
use super::ecn::EcnState;
use super::ecn_handshake::EcnMode;
use super::fast_open::FastOpen;
use super::flight::Flight;
use super::lazy_scoreboard::LazyScoreboard;
use super::mtu_probe::PathMss;
use super::pacer::Pacer;
use super::receiver::Receiver;
use super::rtt::RttEstimator;
use super::sender::{Sender, clamp_send_buffer};
use super::timer::{Timer, Timers};
use super::timestamps::TimestampState;
use super::window::WindowScale;
use super::{Header, OpenParams, SeqNumber, Settings, State, TimeWait};
use crate::Ctx;
use crate::copy_on_write::CopyOnWrite;
use crate::error::{CloseReason, Error, Result};
use crate::event::Readiness;
use crate::time::Instant;

/// How the connection ends, and what the program still needs to learn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CloseStatus {
    /// Once CLOSED.
    pub(super) reason: Option<CloseReason>,
    /// SO_ERROR.
    pub(super) error: Option<Error>,
    /// The last ICMP error about the path, which becomes the reason if the connection times out.
    pub(super) soft_error: Option<Error>,
    /// SHUT_RD.
    pub(super) read_shut: bool,
    /// Both SYNs were acknowledged once.
    pub(super) was_open: bool,
    /// No descriptor holds it.
    pub(super) orphaned: bool,
}

impl CloseStatus {
    /// After `connect` to AF_UNSPEC there never was a connection, but the error is still told.
    pub(super) fn disconnected(error: Option<Error>) -> CloseStatus {
        CloseStatus { reason: Some(CloseReason::Aborted), error, ..CloseStatus::default() }
    }

    /// Whether `shutdown` has ended the attempt to connect. As on Linux (tcp_disconnect) there
    /// never was a connection.
    pub(super) fn is_opening_given_up(&self) -> bool {
        !self.was_open && self.reason == Some(CloseReason::Aborted)
    }

    /// SO_ERROR: returned once. As on Linux, if the connection has not ended, this is the last ICMP
    /// error about the path; it is then no longer the reason if the connection times out.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.error.take().or_else(|| self.soft_error.take())
    }

    /// What the next `connect` returns, if not success. As on Linux: EISCONN if the connection was
    /// open once, and after a failed attempt its error, or ECONNABORTED if that was read.
    pub(super) fn connect_again(&mut self) -> Result<()> {
        match self.reason {
            _ if self.was_open => Err(Error::IsConnected),
            Some(CloseReason::Aborted) => Ok(()),
            _ => Err(self.take_error().unwrap_or(Error::ConnectionAborted)),
        }
    }

    /// What a read returns once the connection is CLOSED and the queue is empty: the end of the
    /// stream, or ENOTCONN.
    pub(super) fn read_after_end(&self) -> Result<()> {
        if self.is_opening_given_up() { Err(Error::NotConnected) } else { Ok(()) }
    }
}

/// A reset that waits to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    pub(super) seq: SeqNumber,
    /// Whether it acknowledges RCV.NXT, as a reset that ends a connection does. A reset without ACK
    /// answers an unacceptable segment.
    pub(super) with_ack: bool,
    /// The TOS of the packet that it answers; `None` if it answers none.
    pub(super) tos: Option<u8>,
}

impl Reset {
    /// A reset that answers a segment, with the TOS of that segment's packet, as on Linux
    /// (tcp_v4_send_reset).
    pub(super) fn answering(header: &Header, seq: SeqNumber) -> Reset {
        Reset { seq, with_ack: false, tos: header.tos }
    }
}

/// What `poll_transmit` must send besides data and acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) reset: Option<Reset>,
    /// The SYN, or in SYN-RECEIVED the SYN-ACK.
    pub(super) syn: bool,
    /// A tail loss probe (RFC 8985 §7).
    pub(super) loss_probe: bool,
    /// A zero-window probe.
    pub(super) probe: bool,
    pub(super) keepalive: bool,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        let Pending { reset, syn, loss_probe, probe, keepalive } = self;
        reset.is_none() & !(syn | loss_probe | probe | keepalive)
    }
}

/// Counters of unanswered transmissions.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// Time-outs in a row.
    pub(super) timeouts: u8,
    /// Window probes in a row: their back-off.
    pub(super) probes: u8,
    /// The window probes since the peer last answered.
    pub(super) unanswered_probes: u8,
    pub(super) keepalives: u8,
    /// New data was acknowledged since the last [`Connection::take_progress`], so the path works.
    pub(super) progress: bool,
    /// Counts all time-outs. Each changes the IPv6 flow label, so that the flow may take another
    /// path (RFC 6437; Linux's `sk_rethink_txhash`).
    pub(super) path_seed: u8,
    /// When the first of these time-outs or probes was.
    pub(super) unanswered_since: Instant,
}

/// The last time-out: data that was in flight then is sent twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedOut {
    /// The end of the data that was in flight.
    pub(super) end: SeqNumber,
    /// Our timestamp clock when retransmission began.
    pub(super) clock: u32,
}

/// Our SYN or SYN-ACK, and the results of the handshake.
#[derive(Debug)]
pub(super) struct SynState {
    /// When it was sent, if it was sent only once.
    pub(super) sent_at: Option<Instant>,
    /// The MSS that it announces.
    pub(super) announced_mss: u16,
    /// How often it was sent again, for any reason.
    pub(super) repeats: u8,
    /// The answer shows that the first transmission arrived.
    pub(super) repeats_were_needless: bool,
    /// Both SYNs permit SACK.
    pub(super) sack_permitted: bool,
    /// Data in a SYN was taken, ours or the peer's.
    pub(super) data_taken: bool,
    /// The peer has opened the connection.
    pub(super) is_passive: bool,
    /// The state of a fast open, until the handshake is over.
    pub(super) fast_open: Option<Box<FastOpen>>,
}

/// The times of the last received and sent segments.
#[derive(Debug)]
pub(super) struct LastTimes {
    /// When an acceptable segment last arrived.
    pub(super) heard_at: Instant,
    pub(super) data_sent_at: Instant,
}

/// A connection from SYN-SENT, or from the end of a passive handshake, on.
///
/// After every call that takes a `Ctx`, drain [`poll_transmit`](Connection::poll_transmit), then
/// look at [`state`](Connection::state), [`readiness`](Connection::readiness) and
/// [`poll_timeout`](Connection::poll_timeout). CLOSED and TIME-WAIT may leave a last segment to be
/// drained, too.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) state: State,
    pub(super) snd: Sender,
    pub(super) rcv: Receiver,
    pub(super) timestamps: TimestampState,
    pub(super) syn: SynState,
    pub(super) path: PathMss,
    pub(super) rtt: RttEstimator,
    pub(super) timed_out: Option<TimedOut>,
    pub(super) flight: Flight,
    pub(super) congestion: Congestion,
    pub(super) pacer: Pacer,
    pub(super) ecn: EcnState,
    pub(super) timers: Timers,
    pub(super) retries: Retries,
    pub(super) pending: Pending,
    pub(super) ending: CloseStatus,
    /// The options of the socket, shared with sockets that have the same.
    pub(super) settings: CopyOnWrite<Settings>,
    pub(super) last: LastTimes,
    pub(super) counters: Counters,
}

impl Connection {
    /// Active open: a connection in SYN-SENT, whose `poll_transmit` returns the SYN.
    pub(crate) fn connect(ctx: &mut Ctx<'_>, params: OpenParams) -> Connection {
        let mut connection = Connection::new(ctx, params);
        connection.pending.syn = true;
        connection.set_state(ctx, State::SynSent, "active open");
        connection
    }

    /// A connection in CLOSED, for the other constructors.
    pub(super) fn new(ctx: &Ctx<'_>, params: OpenParams) -> Connection {
        let OpenParams { isn, timestamp_offset, announced_mss, default_mss, path_mss, settings } = params;
        let config = &ctx.config.tcp;
        let mut rcv = Receiver::new(&settings, announced_mss, config.quick_acks);
        if ctx.memory.is_pressed() {
            rcv.begin_narrow(ctx.memory.window());
        }
        Connection {
            state: State::Closed,
            snd: Sender::new(isn, default_mss, settings.send_buffer_bytes),
            rcv,
            timestamps: TimestampState::new(timestamp_offset),
            syn: SynState {
                sent_at: None,
                announced_mss,
                repeats: 0,
                repeats_were_needless: false,
                sack_permitted: false,
                data_taken: false,
                is_passive: false,
                fast_open: None,
            },
            path: PathMss { mss: path_mss, least_mss: 0, search: None },
            rtt: RttEstimator::new(config),
            timed_out: None,
            flight: Flight::new(isn, ctx.now, config.duplicate_threshold),
            congestion: Congestion::new(
                settings.congestion,
                u32::from(path_mss),
                config.initial_window_segs,
                ctx.now,
            ),
            ecn: EcnState::asking(config.ecn),
            pacer: Pacer::new(ctx.now),
            timers: Timers::new(),
            retries: Retries::default(),
            pending: Pending::default(),
            ending: CloseStatus::default(),
            settings,
            last: LastTimes { heard_at: ctx.now, data_sent_at: ctx.now },
            counters: Counters::default(),
        }
    }

    /// Changes the state. Every transition of every connection passes through here.
    pub(super) fn set_state(&mut self, ctx: &mut Ctx<'_>, next: State, cause: &'static str) {
        log::debug!("{}: {} -> {}: {cause}", ctx.subject, self.state.name(), next.name());
        ctx.stats.tcp.state_changes += 1;
        self.state = next;
        match next {
            State::FinWait2 => self.linger(ctx),
            State::TimeWait => {
                self.timers.stop_all();
                self.timers.arm(Timer::Ending, ctx.now + ctx.config.tcp.time_wait);
            }
            State::Closed => self.timers.stop_all(),
            _ => {}
        }
    }

    /// Limits FIN-WAIT-2 of a connection without a descriptor (Linux's tcp_fin_time).
    pub(super) fn linger(&mut self, ctx: &mut Ctx<'_>) {
        if self.state != State::FinWait2 || !self.ending.orphaned {
            return;
        }
        match self.settings.fin_wait_2 {
            Some(wait) => self.timers.arm(Timer::Ending, ctx.now + wait.max(self.rtt.rto() * 7 / 2)),
            None => {
                self.reset_peer();
                self.end(ctx, CloseReason::Aborted, "TCP_LINGER2 forbids FIN-WAIT-2");
            }
        }
    }

    /// ESTABLISHED, or FIN-WAIT-1 if the program has closed in the meantime. The SYN is
    /// acknowledged.
    pub(super) fn establish(&mut self, ctx: &mut Ctx<'_>, cause: &'static str) {
        let config = &ctx.config.tcp;
        // RFC 5681 §3.1 but, as on Linux (tcp_init_transfer), only a SYN that was sent three times
        // indicates a bad path.
        let is_path_bad = self.syn.repeats > 1 && !self.syn.repeats_were_needless;
        let window_segs = if is_path_bad { 1 } else { config.initial_window_segs };
        self.begin_mtu_search(ctx);
        self.congestion =
            Congestion::new(self.settings.congestion, self.steady_mss(ctx), window_segs, ctx.now);
        if !config.hystart {
            self.congestion.switch_hystart_off();
        }
        if self.retries.timeouts > 0 && self.rtt.srtt().is_none() {
            // RFC 6298 §5.7.
            self.rtt.on_syn_repeated();
        }
        self.retries = Retries { path_seed: self.retries.path_seed, progress: true, ..Retries::default() };
        self.syn.sent_at = None;
        self.timed_out = None;
        self.timers.stop(Timer::Retransmit);
        self.ending.was_open = true;
        self.ecn.on_established(self.snd.una);
        match self.ecn.mode() {
            EcnMode::Off => {}
            EcnMode::Rfc3168 => ctx.stats.ecn.connections += 1,
            EcnMode::AccEcn => ctx.stats.ecn.accecn_connections += 1,
        }
        self.set_state(ctx, State::Established, cause);
        if self.snd.is_fin_queued() {
            self.set_state(ctx, State::FinWait1, "closed before it was open");
        }
        self.update_keepalive(ctx.now, ctx.now);
    }

    /// Changes to CLOSED for this reason. Nothing more is sent except a queued reset, and received
    /// data may still be read.
    pub(super) fn end(&mut self, ctx: &mut Ctx<'_>, reason: CloseReason, cause: &'static str) {
        if self.state == State::Closed {
            return;
        }
        self.ending.reason = Some(reason);
        self.ending.error = reason.error();
        self.pending = Pending { reset: self.pending.reset, ..Pending::default() };
        self.snd.queue = super::send_queue::SendQueue::new();
        self.snd.records = None;
        self.flight.scoreboard = LazyScoreboard::default();
        self.rcv.forget_gaps();
        self.set_state(ctx, State::Closed, cause);
    }

    /// Queues a reset if the peer has a connection to reset (RFC 9293 §3.10.5): not before it
    /// answered the SYN, and not once both FINs are on their way.
    /// A FIN that waits for the peer's window is not on its way yet.
    pub(super) fn reset_peer(&mut self) {
        if self.needs_reset() || (self.state.may_have_unsent() && self.snd.has_unsent()) {
            self.pending.reset = Some(Reset { seq: self.snd.ack_seq(), with_ack: true, tos: None });
        }
    }

    /// Whether the state has an end at the peer to be reset (Linux's tcp_need_reset).
    pub(super) fn needs_reset(&self) -> bool {
        matches!(
            self.state,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        )
    }

    /// Eff.snd.MSS without options.
    pub(super) fn send_mss(&self, ctx: &Ctx<'_>) -> u16 {
        self.snd.mss(self.path.mss, ctx.config.tcp.min_mss)
    }

    /// Takes the options that both SYNs carry. `syn` is the peer's.
    pub(super) fn negotiate(&mut self, ctx: &Ctx<'_>, syn: &Header) {
        let (options, config) = (&syn.options, &ctx.config.tcp);
        let window_scale = options.window_scale.filter(|_| config.window_scaling);
        // RFC 7323 §2.2 (RFC7323-2.2-c): windows are scaled in both directions or in none.
        let scale = window_scale
            .map_or(WindowScale::NONE, |_| WindowScale::for_buffer(ctx.config.tcp.max_buffer_bytes));
        self.rcv.on_peer_syn(syn.seq, scale);
        self.snd.on_peer_syn(syn.seq, syn.window, options.mss, window_scale);
        self.timestamps.negotiate(ctx.now, options.timestamps.filter(|_| config.timestamps));
        self.syn.sack_permitted = options.sack_permitted && config.sack;
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Why the connection ended, once it is CLOSED (RFC 9293 §3.6, MUST-12: an orderly end is
    /// distinguished from an abort).
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.ending.reason
    }

    /// Which calls would not return `WouldBlock`, as in Linux's tcp_poll.
    #[inline(always)]
    pub(crate) fn readiness(&self) -> Readiness {
        let closed = self.state == State::Closed;
        let opening =
            !self.state.is_synchronized() && !closed && !self.is_fast_server() && !self.is_deferred();
        let given_up = self.is_opening_given_up();
        let no_more_input = (closed && !given_up) || self.rcv.is_fin_received() || self.ending.read_shut;
        let no_more_output = closed || self.snd.is_fin_queued();
        Readiness {
            readable: no_more_input || self.has_enough_to_read(),
            writable: no_more_output || (!opening && self.has_send_room()),
            peer_closed: no_more_input,
            hung_up: (no_more_input && no_more_output) || given_up,
            error: self.ending.error.is_some(),
            urgent: self.rcv.has_urgent_byte(),
        }
    }

    /// Whether there is less to read than SO_RCVLOWAT, more may come, and a read of `len` bytes
    /// would take all of it.
    pub(crate) fn is_below_low_water(&self, len: usize) -> bool {
        let queued = self.rcv.queue().len();
        let low_water = self.settings.receive_low_water;
        queued > 0 && queued < low_water && low_water <= len && !self.readiness().readable
    }

    /// Whether SO_RCVLOWAT is reached, or never will be: the window is used up (Linux's
    /// tcp_stream_is_readable).
    fn has_enough_to_read(&self) -> bool {
        let hidden = if self.rcv.urgent.is_some() { self.rcv.hidden(self.settings.oob_inline) } else { 0 };
        let queued = self.rcv.queue().len() - hidden;
        queued > 0 && (queued >= self.settings.receive_low_water || self.rcv.is_window_nearly_closed())
    }

    /// Room for at least half of what is queued: as on Linux, a writer is not woken for every
    /// acknowledgement. And less than half of what may wait unsent.
    pub(super) fn has_send_room(&self) -> bool {
        let queued = self.snd.queue.len();
        (self.snd.buffer_bytes as usize).saturating_sub(queued) >= (queued / 2).max(1)
            && self.snd.unsent() < self.settings.unsent_low_water.div_ceil(2)
    }

    /// SO_ERROR: returned once.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        self.ending.take_error()
    }

    /// Whether new data was acknowledged since the last call, so that the path works in both
    /// directions.
    pub(crate) fn take_progress(&mut self) -> bool {
        core::mem::take(&mut self.retries.progress)
    }

    /// The TIME-WAIT record, once in that state. Drain `poll_transmit` first: it has the
    /// acknowledgement of the peer's FIN.
    pub(crate) fn time_wait(&self, ctx: &mut Ctx<'_>) -> TimeWait {
        TimeWait::new(
            ctx,
            self.snd.max,
            self.rcv.nxt,
            self.rcv.last_window(),
            &self.timestamps,
            self.rcv.acks.next_challenge_at(),
        )
    }

    /// The bytes that wait to be read, and those that are not acknowledged or not sent.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.rcv.queue().len(), self.snd.queue.len())
    }

    /// The bytes that one read could return (Linux's tcp_inq).
    pub(crate) fn unread(&self) -> usize {
        let queued = self.rcv.queue().len();
        match self.settings.oob_inline || self.rcv.urgent.is_none() {
            true => queued,
            false if self.rcv.is_at_mark() => 0,
            false => queued.min(self.rcv.before_mark()),
        }
    }

    /// The bytes that are not acknowledged. As on Linux a FIN counts, and a SYN does not.
    pub(crate) fn unacknowledged(&self) -> usize {
        match self.state {
            State::SynSent | State::SynReceived => 0,
            _ => self.snd.queue.len() + usize::from(self.snd.is_fin_queued() && !self.snd.is_fin_acked()),
        }
    }

    /// The bytes that were not sent. As on Linux a FIN counts.
    pub(crate) fn unsent(&self) -> usize {
        match self.state {
            State::SynSent | State::SynReceived => 0,
            _ => self.unacknowledged().saturating_sub((self.snd.nxt - self.snd.una) as usize),
        }
    }

    /// SO_RCVBUF and SO_SNDBUF as they are now. Values that the program has set stay the same, also
    /// while memory is short.
    pub(crate) fn buffers(&self) -> (usize, usize) {
        let send = if self.settings.auto_send_buffer {
            self.snd.buffer_bytes
        } else {
            clamp_send_buffer(self.settings.send_buffer_bytes)
        };
        (self.rcv.buffer_bytes() as usize, send as usize)
    }

    /// Whether something that was sent, a probe included, is unanswered and was sent again.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.retries.timeouts > 0 || self.retries.unanswered_probes > 0
    }

    /// All memory that the queues hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.snd.queue.memory_bytes()
            + self.snd.record_bytes()
            + self.rcv.memory_bytes()
            + self.flight.scoreboard.memory_bytes()
    }

    /// Once CLOSED: what the next `connect` returns, if not success.
    pub(crate) fn connect_again(&mut self) -> Result<()> {
        self.ending.connect_again()
    }

    /// Whether `shutdown` has ended the attempt to connect.
    pub(crate) fn is_opening_given_up(&self) -> bool {
        self.ending.is_opening_given_up()
    }

    /// Whether the peer has an address to report: its SYN has arrived, and the connection has not
    /// ended (Linux's getpeername).
    pub(crate) fn has_peer(&self) -> bool {
        !matches!(self.state, State::SynSent | State::Listen | State::TimeWait | State::Closed)
    }

    /// Whether the connection is open or was: both SYNs were acknowledged, and it is not CLOSED.
    pub(crate) fn is_connected(&self) -> bool {
        self.state.is_synchronized() || self.is_fast_server()
    }
}
