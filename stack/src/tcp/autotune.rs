//! Buffers that grow with the path: the receive buffer with what the program reads in a round trip (dynamic right-sizing,
//! Linux's tcp_rcv_space_adjust), the send buffer with the congestion window (Linux's tcp_sndbuf_expand).
//!
//! Both begin small, and shrink only when the stack's memory is short. A program that sets SO_RCVBUF or SO_SNDBUF has chosen, and
//! keeps what it chose.

use core::time::Duration;

use super::congestion::CongestionControl;
use super::connection::clamp_send_buffer;
use super::receiver::Stored;
use super::{Connection, Header, SeqNumber};
use crate::Ctx;
use crate::time::Instant;

/// What counts as the first round trip's worth: a peer's initial window (RFC 6928).
const INITIAL_WINDOW_SEGS: u32 = 10;

/// What a receive window may stand at before any data has come, whatever the buffer: the largest that a SYN can say.
pub(super) const INITIAL_SSTHRESH: u32 = 65_535;

/// A segment smaller than this does not open the window (Linux's tcp_event_data_recv).
const MIN_GROWING_BYTES: usize = 128;

/// Where a receiver's round trip comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// The peer's segment echoes a timestamp of ours.
    Timestamp,
    /// A whole window arrived. That takes at least a round trip, so only the shortest counts.
    Window,
}

/// What a receiver measures while data flows: how long a round trip takes, and how much the program reads in one.
#[derive(Debug)]
pub(super) struct RightSizing {
    /// The round trip in nanoseconds; zero before there is one.
    pub(super) rtt: u64,
    /// The last of our timestamps that came back: each is used once.
    last_echo: u32,
    /// When everything before this has come, the window of `turn_at` has turned over.
    turn: SeqNumber,
    turn_at: Instant,
    /// The most that the program has read in a round trip.
    space: u32,
    /// What the program had read at the start of this round trip.
    read_from: SeqNumber,
    measured_at: Instant,
}

impl RightSizing {
    pub(super) fn new(now: Instant, edge: SeqNumber, read_to: SeqNumber, mss: u16) -> RightSizing {
        RightSizing {
            rtt: 0,
            last_echo: 0,
            turn: edge,
            turn_at: now,
            space: (INITIAL_WINDOW_SEGS * u32::from(mss)).max(1),
            read_from: read_to,
            measured_at: now,
        }
    }

    /// The most that the program has read in a round trip.
    pub(super) fn space(&self) -> u32 {
        self.space
    }

    /// Whether this echo of our clock was not looked at yet.
    fn is_new_echo(&mut self, echo: u32) -> bool {
        core::mem::replace(&mut self.last_echo, echo) != echo
    }

    /// Data has come in order up to `nxt`; the window now ends at `edge`.
    fn on_data(&mut self, now: Instant, nxt: SeqNumber, edge: SeqNumber) {
        if nxt.before(self.turn) {
            return;
        }
        self.on_sample(now.duration_since(self.turn_at), Basis::Window);
        self.turn = edge;
        self.turn_at = now;
    }

    /// Linux's tcp_rcv_rtt_update.
    fn on_sample(&mut self, rtt: Duration, basis: Basis) {
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.rtt = match basis {
            _ if self.rtt == 0 => rtt,
            Basis::Timestamp => self.rtt - self.rtt / 8 + rtt / 8,
            Basis::Window => self.rtt.min(rtt),
        };
    }

    /// The program has read everything before `read_to`, and `queued` bytes wait behind it. After each round trip: the
    /// window that the next ones need, if this one has brought more than any before.
    pub(super) fn on_read(&mut self, now: Instant, read_to: SeqNumber, queued: u32) -> Option<u64> {
        let elapsed = now.duration_since(self.measured_at).as_nanos();
        if self.rtt == 0 || elapsed < u128::from(self.rtt) {
            return None;
        }
        // What still waits is no sign that the window was too small.
        let read = (read_to - self.read_from).saturating_sub(queued);
        self.read_from = read_to;
        self.measured_at = now;
        if read <= self.space {
            return None;
        }
        let before = core::mem::replace(&mut self.space, read);
        Some(self.wanted(before))
    }

    /// Twice a round trip's worth, for this measurement is late by one; and where the last brought more than the one
    /// before, as much more again, twice: the peer may be in slow start.
    pub(super) fn wanted(&self, before: u32) -> u64 {
        let (space, before) = (u64::from(self.space), u64::from(before.max(1)));
        let twice = 2 * space;
        let growth = twice.saturating_mul(space.saturating_sub(before)) / before;
        twice.saturating_add(growth.saturating_mul(2))
    }
}

impl Connection {
    /// A segment with `len` bytes of data was taken in. (Linux's tcp_event_data_recv, tcp_rcv_rtt_measure_ts and
    /// tcp_grow_window; what is out of order opens the buffer as in tcp_data_queue_ofo, so that the window does not
    /// close while a loss is repaired.)
    pub(super) fn tune_receiver(&mut self, ctx: &Ctx<'_>, header: &Header, len: usize, stored: Stored) {
        let is_full = self.rcv.is_full(len);
        let Some(sizing) = self.rcv.right_sizing(ctx.now, is_full) else { return };
        if is_full
            && let Some(timestamps) = header.options.timestamps
            && sizing.is_new_echo(timestamps.echo)
            && let Some(round_trip) = self.timestamps.round_trip(ctx.now, header)
        {
            sizing.on_sample(round_trip, Basis::Timestamp);
        }
        match stored {
            Stored::InOrder => {
                let (nxt, edge) = (self.rcv.nxt, self.rcv.nxt + self.rcv.window());
                if let Some(sizing) = self.rcv.right_sizing(ctx.now, false) {
                    sizing.on_data(ctx.now, nxt, edge);
                }
                if len >= MIN_GROWING_BYTES && !ctx.memory.is_pressed() {
                    self.rcv.grow_window(len);
                }
            }
            Stored::OutOfOrder => self.rcv.make_room_for_gaps(ctx.config.tcp.max_buffer_bytes),
            Stored::Duplicate | Stored::Refused | Stored::Full => {}
        }
    }

    /// An acknowledgement came. A program that keeps its send buffer full gets one for two congestion windows: one is in
    /// flight, and what follows it waits in the other.
    pub(super) fn tune_send_buffer(&mut self, ctx: &Ctx<'_>) {
        if ctx.memory.is_pressed() {
            return self.restore_least_send_buffer();
        }
        if self.has_send_room() {
            return;
        }
        let chosen = self.settings.send_buffer_bytes;
        if !self.settings.auto_send_buffer {
            // Pressure may have taken some of it.
            self.send_buffer_bytes = clamp_send_buffer(chosen);
            return;
        }
        // BBR lets cwnd fall to almost nothing for a moment, and then needs what it had (Linux's bbr_sndbuf_expand).
        let windows = if self.congestion.kind() == CongestionControl::Bbr { 3 } else { 2 };
        let cwnd = self.congestion.cwnd() as usize;
        let wanted = cwnd.saturating_mul(windows).max(chosen).min(ctx.config.tcp.max_buffer_bytes);
        self.send_buffer_bytes = self.send_buffer_bytes.max(clamp_send_buffer(wanted));
    }
}

#[cfg(test)]
mod tests;
