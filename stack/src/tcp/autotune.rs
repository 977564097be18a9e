//! Buffers that grow with the path: the receive buffer with what the program reads in a round trip
//! (dynamic right-sizing, Linux's tcp_rcv_space_adjust), the send buffer with the congestion window
//! (Linux's tcp_sndbuf_expand).
//!
//! Both begin small, and shrink only when the stack's memory is short. If a program sets SO_RCVBUF
//! or SO_SNDBUF, that buffer keeps its size.

use super::receiver::Stored;
use super::right_sizing::Basis;
use super::sender::clamp_send_buffer;
use super::{Connection, Header};
use crate::Ctx;
use crate::config::CongestionControl;

/// A segment smaller than this does not open the window (Linux's tcp_event_data_recv).
const MIN_GROWING_BYTES: usize = 128;

impl Connection {
    /// Grows the receive buffer and window after a segment with `len` bytes of data. (Linux's
    /// tcp_event_data_recv, tcp_rcv_rtt_measure_ts and tcp_grow_window; out-of-order data grows the
    /// buffer as in tcp_data_queue_ofo, so that the window does not close while a loss is
    /// repaired.)
    pub(super) fn tune_receiver(&mut self, ctx: &Ctx<'_>, header: &Header, len: usize, stored: Stored) {
        let is_full = self.rcv.acks.is_full(len);
        if is_full
            && let Some(sizing) = self.rcv.right_sizing(ctx.now, header.segments(len))
            && let Some(timestamps) = header.options.timestamps
            && sizing.is_new_echo(timestamps.echo)
            && let Some(round_trip) = self.timestamps.round_trip(ctx.now, header)
        {
            sizing.on_sample(round_trip, Basis::Timestamp);
        }
        match stored {
            Stored::InOrder => {
                let (nxt, edge) = (self.rcv.nxt, self.rcv.nxt + self.rcv.window());
                if let Some(sizing) = &mut self.rcv.sizing {
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

    /// Grows the send buffer after an acknowledgement. If the program keeps it full, the buffer
    /// gets room for two congestion windows: one that is in flight, and one with the data that
    /// follows.
    pub(super) fn tune_send_buffer(&mut self, ctx: &Ctx<'_>) {
        if ctx.memory.is_pressed() {
            return self.restore_least_send_buffer();
        }
        if self.has_send_room() {
            return;
        }
        let chosen = self.settings.send_buffer_bytes;
        if !self.settings.auto_send_buffer {
            // Memory pressure may have shrunk it.
            self.snd.buffer_bytes = clamp_send_buffer(chosen);
            return;
        }
        // BBR lets cwnd fall to a few segments for a short time, and then needs its former value
        // (Linux's bbr_sndbuf_expand).
        let windows = if self.congestion.kind() == CongestionControl::Bbr { 3 } else { 2 };
        let cwnd = self.congestion.cwnd() as usize;
        let wanted = cwnd.saturating_mul(windows).max(chosen).min(ctx.config.tcp.max_buffer_bytes);
        self.snd.buffer_bytes = self.snd.buffer_bytes.max(clamp_send_buffer(wanted));
    }
}
