//! The program's calls, and ICMP errors that the socket layer passes to a connection (RFC 9293
//! §3.9.1, §3.10.1 to §3.10.6). Errors are those of POSIX, in the cases where Linux returns them.

use bytes::Bytes;

use super::connection::CloseStatus;
use super::sender::clamp_send_buffer;
use super::{Connection, SeqNumber, Settings, State};
use crate::Ctx;
use crate::copy_on_write::CopyOnWrite;
use crate::error::{CloseReason, Error, Result};

impl Connection {
    /// Copies `data` into the send queue. Returns how many bytes it took.
    pub(crate) fn send(&mut self, ctx: &mut Ctx<'_>, data: &[u8]) -> Result<usize> {
        let room = self.send_room()?;
        if data.is_empty() {
            return self.send_nothing();
        }
        let (now, _later) = data.split_at(room.min(data.len()));
        if now.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.snd.flushes = false;
        self.snd.queue.prepare(ctx.free_list);
        self.snd.queue.push_copy(now);
        Ok(now.len())
    }

    /// Moves the front of `data` into the send queue without a copy. Returns how many bytes it
    /// took.
    pub(crate) fn send_bytes(&mut self, ctx: &mut Ctx<'_>, data: Bytes) -> Result<usize> {
        let room = self.send_room()?;
        if data.is_empty() {
            return self.send_nothing();
        }
        let now = data.slice(..room.min(data.len()));
        if now.is_empty() {
            return Err(Error::WouldBlock);
        }
        let len = now.len();
        self.snd.flushes = false;
        self.snd.queue.prepare(ctx.free_list);
        self.snd.queue.push_bytes(now);
        Ok(len)
    }

    /// Copies data of several slices, at most `max` bytes. Returns how many bytes it took.
    pub(crate) fn send_slices(&mut self, ctx: &mut Ctx<'_>, slices: &[&[u8]], max: usize) -> Result<usize> {
        let mut taken = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            let slice = &slice[..slice.len().min(max - taken)];
            match self.send(ctx, slice) {
                Ok(len) => taken += len,
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
            if taken == max {
                break;
            }
        }
        if taken == 0 { self.send(ctx, &[]) } else { Ok(taken) }
    }

    /// A `send` of zero bytes. Its only effect is to send a SYN that waits for data.
    fn send_nothing(&mut self) -> Result<usize> {
        if self.is_deferred() && self.snd.queue.len() == 0 {
            self.open_without_data();
            return Err(Error::InProgress);
        }
        Ok(0)
    }

    /// The room that SO_SNDBUF leaves, or the error of a connection that takes no data: SO_ERROR
    /// once, then EPIPE.
    fn send_room(&mut self) -> Result<usize> {
        match self.state {
            state if self.ending.error.is_none() && self.may_send_in(state) => {
                let room = (self.snd.buffer_bytes as usize).saturating_sub(self.snd.queue.len());
                Ok(room.min(self.settings.unsent_low_water.saturating_sub(self.snd.unsent())))
            }
            State::SynSent if self.is_deferred() => Ok(self.syn_room()),
            State::SynSent | State::SynReceived | State::Listen if !self.snd.is_fin_queued() => {
                Err(Error::WouldBlock)
            }
            _ => Err(self.ending.error.take().unwrap_or(Error::BrokenPipe)),
        }
    }

    fn may_send_in(&self, state: State) -> bool {
        state.can_send() || (self.is_fast_server() && !self.snd.is_fin_queued())
    }

    /// Takes data out of the receive queue; `Ok(0)` is the end of the stream.
    #[inline(always)]
    pub(crate) fn recv(&mut self, ctx: &mut Ctx<'_>, buf: &mut [u8]) -> Result<usize> {
        let reach = self.approach_mark();
        if self.rcv.queue().is_empty() {
            return self.end_of_stream().map(|()| 0);
        }
        let reach = reach.min(buf.len());
        let len = self.rcv.queue_mut().read(&mut buf[..reach]);
        self.rcv.on_read(ctx.now, ctx.config.tcp.max_buffer_bytes);
        self.release_idle(ctx.free_list);
        Ok(len)
    }

    /// One slice of the receive queue without a copy; an empty one is the end of the stream.
    #[inline(always)]
    pub(crate) fn recv_bytes(&mut self, ctx: &mut Ctx<'_>, max: usize) -> Result<Bytes> {
        let reach = self.approach_mark();
        if self.rcv.queue().is_empty() {
            return self.end_of_stream().map(|()| Bytes::new());
        }
        let data = self.rcv.queue_mut().read_bytes(max.min(reach));
        self.rcv.on_read(ctx.now, ctx.config.tcp.max_buffer_bytes);
        self.release_idle(ctx.free_list);
        Ok(data)
    }

    /// Like `recv`, into several buffers.
    pub(crate) fn recv_slices(&mut self, ctx: &mut Ctx<'_>, bufs: &mut [&mut [u8]]) -> Result<usize> {
        let mut filled = 0;
        for buf in bufs.iter_mut().filter(|buf| !buf.is_empty()) {
            if filled > 0 && (self.is_at_mark() || self.rcv.queue().is_empty()) {
                return Ok(filled);
            }
            let len = self.recv_part(ctx, buf)?;
            filled += len;
            if len < buf.len() {
                return Ok(filled);
            }
        }
        if filled == 0 { self.recv_part(ctx, &mut []) } else { Ok(filled) }
    }

    /// `recv` as a call. That with one buffer is inlined, because programs make it for every
    /// segment.
    #[inline(never)]
    fn recv_part(&mut self, ctx: &mut Ctx<'_>, buf: &mut [u8]) -> Result<usize> {
        self.recv(ctx, buf)
    }

    /// MSG_TRUNC: removes up to `max` bytes from the receive queue, as far as one read may go.
    pub(crate) fn discard(&mut self, ctx: &mut Ctx<'_>, max: usize) -> Result<usize> {
        let mut discarded = self.discard_part(ctx, max)?;
        while discarded > 0 && discarded < max && !self.is_at_mark() && !self.rcv.queue().is_empty() {
            discarded += self.discard_part(ctx, max - discarded)?;
        }
        Ok(discarded)
    }

    #[inline(never)]
    fn discard_part(&mut self, ctx: &mut Ctx<'_>, max: usize) -> Result<usize> {
        Ok(self.recv_bytes(ctx, max)?.len())
    }

    /// How far the next read may go. It must not cross the urgent mark.
    fn approach_mark(&mut self) -> usize {
        if self.rcv.urgent.is_none() {
            return usize::MAX;
        }
        self.rcv.pass_hidden(self.settings.oob_inline);
        self.rcv.before_mark()
    }

    /// Like `recv_slices` after so many bytes, but leaves the data in the queue.
    pub(crate) fn peek(&mut self, offset: usize, bufs: &mut [&mut [u8]]) -> Result<usize> {
        let (skipped, mut left) = self.peek_range(offset)?;
        let mut filled = 0;
        for buf in bufs {
            let len = buf.len().min(left);
            let copied = self.rcv.queue().peek(skipped + filled, &mut buf[..len]);
            (filled, left) = (filled + copied, left - copied);
        }
        Ok(filled)
    }

    /// How many bytes [`peek`](Connection::peek) would return into a buffer of `max` bytes.
    pub(crate) fn peek_len(&mut self, offset: usize, max: usize) -> Result<usize> {
        Ok(self.peek_range(offset)?.1.min(max))
    }

    /// What a read `offset` bytes behind the next one may take: how many bytes of the receive queue
    /// it skips, and how many it may take. If there are none, this is the end of the stream.
    fn peek_range(&mut self, offset: usize) -> Result<(usize, usize)> {
        let hidden = self.rcv.hidden(self.settings.oob_inline);
        let skipped = hidden.saturating_add(offset);
        let queued = self.rcv.queue().len().saturating_sub(skipped);
        if queued == 0 {
            return self.end_of_stream().map(|()| (0, 0));
        }
        // The offset may lie behind the mark.
        let mark = Some(self.rcv.before_mark()).filter(|&mark| hidden == 0 && mark > offset);
        Ok((skipped, queued.min(mark.map_or(usize::MAX, |mark| mark - offset))))
    }

    /// The result of a read from an empty queue: the peer's FIN, else an error (once), else nothing
    /// yet (tcp_recvmsg's order).
    fn end_of_stream(&mut self) -> Result<()> {
        if self.rcv.is_fin_received() {
            return Ok(());
        }
        match self.ending.error.take() {
            Some(error) => Err(error),
            None => self.read_nothing(),
        }
    }

    fn read_nothing(&self) -> Result<()> {
        match self.state {
            State::Closed => self.ending.read_after_end(),
            _ if self.ending.read_shut => Ok(()),
            _ => Err(Error::WouldBlock),
        }
    }

    /// SHUT_WR: sends a FIN after the queued data. ENOTCONN if there is no connection or, as on
    /// Linux, if it has ended.
    pub(crate) fn shutdown_write(&mut self, ctx: &mut Ctx<'_>) -> Result<()> {
        if self.state == State::SynSent {
            self.give_up_opening(ctx);
            return Ok(());
        }
        if matches!(self.state, State::TimeWait | State::Closed) {
            return Err(Error::NotConnected);
        }
        self.queue_fin(ctx, "shutdown");
        Ok(())
    }

    /// SHUT_RD: `recv` returns what is queued, then the end of the stream. As on Linux, the peer is
    /// not told.
    pub(crate) fn shutdown_read(&mut self, ctx: &mut Ctx<'_>) -> Result<()> {
        if self.state == State::SynSent {
            self.give_up_opening(ctx);
            return Ok(());
        }
        if matches!(self.state, State::TimeWait | State::Closed) {
            return Err(Error::NotConnected);
        }
        self.ending.read_shut = true;
        Ok(())
    }

    /// RFC 9293 §3.10.4 in SYN-SENT: the peer has not answered, so nothing is sent. The program
    /// gets ECONNRESET, as on Linux.
    fn give_up_opening(&mut self, ctx: &mut Ctx<'_>) {
        self.end(ctx, CloseReason::Aborted, "shut down before it was open");
        self.ending.error = Some(Error::ConnectionReset);
    }

    /// RFC 9293 §3.10.4: the state changes now, the FIN follows the queued data.
    fn queue_fin(&mut self, ctx: &mut Ctx<'_>, cause: &'static str) {
        match self.state {
            State::Established => {
                self.snd.queue_fin();
                self.set_state(ctx, State::FinWait1, cause);
            }
            State::CloseWait => {
                self.snd.queue_fin();
                self.set_state(ctx, State::LastAck, cause);
            }
            // The state changes when our SYN is acknowledged.
            State::SynReceived => self.snd.queue_fin(),
            _ => {}
        }
    }

    /// The last descriptor is closed. The connection goes on until all data is acknowledged and
    /// both FINs have passed (RFC 9293 §3.6.1, MAY-1: in both directions). Unread data leads to a
    /// reset instead (SHLD-3, RFC 2525 §2.17), and so does data that arrives later.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>) {
        self.ending.orphaned = true;
        if !self.rcv.queue().is_empty() {
            return self.abort(ctx);
        }
        if self.state == State::SynSent {
            return self.end(ctx, CloseReason::Aborted, "closed before it was open");
        }
        self.send_before_it_is_open();
        self.queue_fin(ctx, "close");
        // After an earlier shutdown the state may already be FIN-WAIT-2.
        self.linger(ctx);
    }

    /// Ends the connection now with a reset to the peer (RFC 9293 §3.10.5).
    pub(crate) fn abort(&mut self, ctx: &mut Ctx<'_>) {
        self.reset_peer();
        self.rcv.queue_mut().clear();
        let reason = match self.state {
            // The connection was complete.
            State::TimeWait => CloseReason::Finished,
            _ => CloseReason::Aborted,
        };
        self.end(ctx, reason, "abort");
    }

    /// `connect` to AF_UNSPEC (Linux's tcp_disconnect): resets the connection. Afterwards it is as
    /// if it had never been open, and the program gets ECONNRESET once.
    pub(crate) fn disconnect(&mut self, ctx: &mut Ctx<'_>) {
        let reset = (self.state == State::SynSent || self.needs_reset()).then_some(Error::ConnectionReset);
        let error = reset.or(self.ending.error);
        self.reset_peer();
        self.rcv.forget_input();
        self.end(ctx, CloseReason::Aborted, "disconnect");
        self.ending = CloseStatus::disconnected(error);
    }

    /// The program has changed an option.
    pub(crate) fn set_settings(&mut self, ctx: &mut Ctx<'_>, settings: impl Into<CopyOnWrite<Settings>>) {
        let settings = settings.into();
        self.rcv.wnd.set_buffer(&settings);
        if !settings.auto_send_buffer {
            self.snd.buffer_bytes = clamp_send_buffer(settings.send_buffer_bytes);
        }
        let keepalive_begins = settings.keepalive && !self.settings.keepalive;
        let keepalive_changed = settings.keepalive != self.settings.keepalive
            || settings.keepalive_idle != self.settings.keepalive_idle;
        self.congestion.set_kind(settings.congestion, ctx.now);
        if !ctx.config.tcp.hystart {
            self.congestion.switch_hystart_off();
        }
        // tcp(7): setting the option forces an explicit flush of pending output, even if TCP_CORK
        // is set.
        self.snd.flushes |= settings.nodelay && !self.settings.nodelay;
        if (settings.nodelay && !self.settings.nodelay) || (!settings.cork && self.settings.cork) {
            self.release_held();
        }
        self.settings = settings;
        if keepalive_changed {
            self.retries.keepalives = 0;
            // As on Linux the first probe comes a full idle time after keepalive was switched on,
            // even if the connection was idle before.
            let since = if keepalive_begins { ctx.now } else { self.last.heard_at };
            self.update_keepalive(ctx.now, since);
        }
        self.rcv.make_room_for_low_water(self.settings.receive_low_water, ctx.config.tcp.max_buffer_bytes);
        if self.state.can_receive() {
            // A larger buffer opens the window.
            self.rcv.update_window();
        }
    }

    /// TCP_QUICKACK. On: acknowledgements, including a delayed one, are sent at once, until data
    /// that we send soon after received data shows that they can be piggybacked. Off:
    /// acknowledgements are delayed from now on. As on Linux the setting is not permanent.
    pub(crate) fn set_quick_ack(&mut self, ctx: &Ctx<'_>, on: bool) {
        self.rcv.acks.set_quick_acks(if on { ctx.config.tcp.quick_acks } else { 0 });
    }

    pub(crate) fn is_quick_ack(&self) -> bool {
        self.rcv.acks.is_quick()
    }

    /// An ICMP error about our segment with sequence number `seq`. In SYN-SENT it ends the attempt;
    /// later it is stored as the reason in case the connection times out (RFC 9293 §3.9.2.2,
    /// MUST-56, SHLD-25, MUST-47). Until then it is not reported, so there is no report to switch
    /// off (SHLD-20). RFC 5461 §4.1 says why stacks give up in SYN-SENT. The error is ignored
    /// unless `seq` is in flight, so a blind attacker has to guess a number (RFC 5927 §4).
    pub(crate) fn on_unreachable(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, error: Error) {
        if !self.is_in_flight(seq) {
            return;
        }
        match self.state {
            State::Closed | State::Listen | State::TimeWait => {}
            State::SynSent | State::SynReceived if !self.is_fast_server() => {
                let reason = match error {
                    Error::ConnectionRefused => CloseReason::Refused,
                    error => CloseReason::Unreachable(error),
                };
                self.end(ctx, reason, "ICMP error");
            }
            _ => {
                log::debug!("{}: in {}: ICMP error {error:?}", ctx.subject, self.state.name());
                match self.settings.reports_soft_errors {
                    true => self.ending.error = Some(error),
                    false => self.ending.soft_error = Some(error),
                }
            }
        }
    }

    /// "Packet too big" about our segment with sequence number `seq`; ignored unless that is in
    /// flight.
    pub(crate) fn on_path_mss(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, path_mss: u16) {
        let path_mss = path_mss.max(ctx.config.tcp.min_mss);
        if !self.is_in_flight(seq) {
            return;
        }
        if path_mss >= self.path.mss {
            return self.limit_mtu_search(seq, path_mss);
        }
        log::debug!("{}: path MSS {} -> {path_mss}", ctx.subject, self.path.mss);
        self.set_path_mss(ctx, path_mss);
        self.on_mtu_message(ctx, path_mss);
        self.shrink_syn(path_mss);
        self.lose_oversized(self.effective_mss(ctx));
    }

    /// The MTU of a link has changed: what is sent from now on may have `path_mss`.
    pub(crate) fn on_link_mss(&mut self, ctx: &mut Ctx<'_>, path_mss: u16) {
        let path_mss = self.limit_to_search(path_mss.max(ctx.config.tcp.min_mss));
        let old = self.path.mss;
        if path_mss == old {
            return;
        }
        log::debug!("{}: path MSS {old} -> {path_mss}, as the MTU has changed", ctx.subject);
        self.set_path_mss(ctx, path_mss);
        if path_mss < old {
            self.shrink_syn(path_mss);
            self.lose_oversized(self.effective_mss(ctx));
        }
    }

    /// Whether a segment that began at `seq` may be in flight: SND.UNA <= seq < SND.NXT (RFC 5927
    /// §4.1).
    pub(crate) fn is_in_flight(&self, seq: SeqNumber) -> bool {
        // With a server's fast open SND.UNA is past the SYN, but the SYN-ACK may be in flight.
        let syn = u32::from(self.is_fast_server());
        seq.within(self.snd.una - syn, self.snd.max)
    }
}
