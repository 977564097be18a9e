//! The send sequence space: SND.UNA, SND.NXT, SND.WND, and how much of the queue may be sent.
//!
//! ```text
//!     acknowledged  |        in flight        |  may be sent  | beyond the window
//!  -----------------+-------------------------+---------------+-------------------> sequence numbers
//!               SND.UNA                   SND.NXT     SND.UNA + SND.WND
//!                   |<---------- the queue, then the FIN ------------ ...
//! ```
//!
//! SND.NXT never goes back: the [`scoreboard`](super::scoreboard) has what is to be retransmitted.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::SeqNumber;
use super::send_queue::SendQueue;
use super::window::WindowScale;

/// The FIN, which has the sequence number after the queue's last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    /// The program may still send.
    None,
    /// To be sent, or sent and not acknowledged.
    Queued,
    Acked,
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Plan {
    /// There is nothing to send.
    Nothing,
    /// `len` bytes from SND.NXT on, with the FIN if `fin`.
    Send { len: usize, fin: bool },
    /// Data waits for the peer to open its window.
    WaitForWindow,
    /// Data waits for an acknowledgement, because of the congestion window or Nagle's algorithm.
    WaitForAck,
}

/// How long a partial segment waits for more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NagleMode {
    /// TCP_NODELAY.
    Off,
    On,
    /// TCP_CORK: until the option is cleared.
    Corked,
}

/// Whether the last send announced more data (MSG_MORE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum More {
    /// Nothing.
    #[default]
    No,
    /// More follows: a partial segment waits.
    Held,
    /// More was to follow, but did not arrive in time: nothing waits any longer, and the segment is
    /// sent without PSH.
    Awaited,
}

/// The ends of unacknowledged records (MSG_EOR), in order: the number behind the last byte of each.
pub(super) type Records = Option<Box<VecDeque<SeqNumber>>>;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) una: SeqNumber,
    pub(super) nxt: SeqNumber,
    /// What the peer may acknowledge: SND.NXT, and the octet of a window probe.
    pub(super) max: SeqNumber,
    /// SND.WND, in bytes.
    pub(super) wnd: u32,
    /// MAX.SND.WND: the largest window that the peer ever offered.
    pub(super) max_wnd: u32,
    /// SND.WL1 and SND.WL2: sequence and acknowledgement number of the segment that set the window.
    wl1: SeqNumber,
    wl2: SeqNumber,
    /// The scale of the windows that the peer sends; `None` if its SYN had no such option.
    scale: Option<WindowScale>,
    /// The bytes from SND.UNA on, sent or not.
    pub(super) queue: SendQueue,
    fin: Fin,
    /// The MSS of the peer.
    peer_mss: u16,
    /// The end of the last partial segment that was sent (Minshall's form of Nagle's algorithm).
    pub(super) small_end: SeqNumber,
    /// TCP_NODELAY was set: data written before is sent, even under TCP_CORK (Linux's
    /// TCP_NAGLE_PUSH).
    pub(super) flushes: bool,
    /// Segments that may still follow in a burst that has begun.
    pub(super) burst_left: u16,
    pub(super) more: More,
    pub(super) records: Records,
    /// SND.UP: behind the last byte that the program has sent as urgent, until that is
    /// acknowledged.
    pub(super) urgent_end: Option<SeqNumber>,
    /// SO_SNDBUF as it is now.
    pub(super) buffer_bytes: u32,
}

impl Sender {
    /// A sender before the SYN.
    pub(super) fn new(iss: SeqNumber, default_mss: u16, buffer_bytes: usize) -> Sender {
        Sender {
            una: iss,
            nxt: iss,
            max: iss,
            wnd: 0,
            max_wnd: 0,
            wl1: SeqNumber(0),
            wl2: SeqNumber(0),
            scale: None,
            queue: SendQueue::new(),
            fin: Fin::None,
            peer_mss: default_mss,
            small_end: iss,
            flushes: false,
            burst_left: 0,
            more: More::No,
            records: None,
            urgent_end: None,
            buffer_bytes: clamp_send_buffer(buffer_bytes),
        }
    }

    /// Notes that the SYN or SYN-ACK was sent.
    pub(super) fn on_syn_sent(&mut self) {
        self.nxt = self.una + 1;
        self.max = self.nxt;
    }

    /// Processes the peer's SYN, whose window is not scaled (RFC 7323 §2.2).
    pub(super) fn on_peer_syn(&mut self, seq: SeqNumber, window: u16, mss: Option<u16>, scale: Option<u8>) {
        self.peer_mss = mss.unwrap_or(self.peer_mss);
        self.scale = scale.map(WindowScale::new);
        self.wnd = u32::from(window);
        self.max_wnd = self.wnd;
        self.wl1 = seq;
        self.wl2 = self.una;
    }

    pub(super) fn scale(&self) -> WindowScale {
        self.scale.unwrap_or(WindowScale::NONE)
    }

    /// Whether the peer's SYN offered to scale windows.
    pub(super) fn is_scaled(&self) -> bool {
        self.scale.is_some()
    }

    /// Eff.snd.MSS without options (RFC 9293 §3.7.1, MUST-16): the smaller of the peer's MSS and
    /// the path's, at least `min_mss`, since tiny segments cost us more than the peer.
    pub(super) fn mss(&self, path_mss: u16, min_mss: u16) -> u16 {
        self.peer_mss.min(path_mss).max(min_mss)
    }

    /// Bytes of the sequence space between SND.UNA and SND.NXT.
    pub(super) fn flight(&self) -> u32 {
        self.nxt - self.una
    }

    /// Like [`flight`](Sender::flight), with the octet of a window probe.
    pub(super) fn outstanding(&self) -> u32 {
        self.max - self.una
    }

    /// Bytes in the queue from SND.NXT on.
    pub(super) fn unsent(&self) -> usize {
        self.queue.len().saturating_sub(self.flight() as usize)
    }

    /// Whether the FIN is queued and was not sent.
    fn is_fin_unsent(&self) -> bool {
        self.fin == Fin::Queued && self.flight() as usize <= self.queue.len()
    }

    /// Whether data or a FIN is to be sent for the first time.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent() > 0 || self.is_fin_unsent()
    }

    pub(super) fn queue_fin(&mut self) {
        if self.fin == Fin::None {
            self.fin = Fin::Queued;
        }
    }

    pub(super) fn is_fin_queued(&self) -> bool {
        self.fin != Fin::None
    }

    pub(super) fn is_fin_acked(&self) -> bool {
        self.fin == Fin::Acked
    }

    /// RFC 5961 §5.2 (MAY-12, RFC5961-5.2-a): whether an acknowledgement is close enough to the
    /// data in flight and, as in Linux's tcp_ack, not from before the connection. `acked` is the
    /// number of bytes acknowledged in all.
    pub(super) fn is_ack_acceptable(&self, ack: SeqNumber, acked: u64) -> bool {
        let back = u64::from(self.max_wnd).min(acked + u64::from(self.is_fin_acked())) as u32;
        ack.before_eq(self.max) && ack.after_eq(self.una - back)
    }

    /// Acknowledges everything before `ack`, which lies after SND.UNA and at or before `max`.
    /// Returns the bytes of data.
    pub(super) fn on_ack(&mut self, ack: SeqNumber) -> u32 {
        let acked = ack - self.una;
        // A queue is far smaller than 2^32 bytes.
        let data = acked.min(self.queue.len() as u32);
        self.queue.advance(data as usize);
        if acked > data && self.fin == Fin::Queued {
            self.fin = Fin::Acked;
        }
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        self.forget_records();
        data
    }

    /// Acknowledges the SYN, and perhaps data in it; nothing else was in flight.
    pub(super) fn on_syn_acked(&mut self, ack: SeqNumber) {
        self.queue.advance((ack - self.una - 1) as usize);
        self.max = self.max.max(ack);
        self.una = ack;
        self.nxt = ack;
        self.small_end = ack;
    }

    /// RFC 9293 §3.10.7.4, fifth step: newer segments update the window, older ones do not. Of two
    /// segments with the same numbers the one with the smaller window is the older one, as windows
    /// are not to shrink (§3.8.6, SHLD-14); a window of zero counts all the same (Linux's
    /// tcp_may_update_window).
    pub(super) fn update_window(&mut self, seq: SeqNumber, ack: SeqNumber, window: u32) {
        // Retransmitted data has an old sequence number; if it acknowledges new data, its window is
        // current. Linux's tcp_may_update_window does the same; without it the edge would move
        // right with SND.UNA.
        let acks_more = self.wl2.before(ack);
        let is_equal = self.wl1 == seq && self.wl2 == ack;
        let newer = self.wl1.before(seq) || acks_more || (is_equal && (window > self.wnd || window == 0));
        if newer && ack.after_eq(self.una) {
            self.wnd = window;
            self.max_wnd = self.max_wnd.max(window);
            self.wl1 = seq;
            self.wl2 = ack;
        }
    }

    /// The right edge of the peer's window.
    pub(super) fn window_edge(&self) -> SeqNumber {
        self.una + self.wnd
    }

    /// The room in the peer's window from SND.NXT on. A window that shrank has none (RFC 9293
    /// §3.8.6, MUST-34, SHLD-15); data inside it is still retransmitted (SHLD-16), and data beyond
    /// it waits for probes, which do not time the connection out (SHLD-17).
    pub(super) fn usable_window(&self) -> u32 {
        let edge = self.window_edge();
        if edge.after(self.nxt) { edge - self.nxt } else { 0 }
    }

    /// Whether the peer's window is zero.
    pub(super) fn is_window_closed(&self) -> bool {
        self.wnd == 0
    }

    /// SND.NXT for segments without data. If the peer's window shrank below SND.NXT, this is the
    /// window's edge, because the peer ignores segments beyond it (Linux's tcp_acceptable_seq). As
    /// there, a difference of less than one unit of a scaled window is rounding (RFC 7323 §2.4),
    /// which the peer accepts.
    pub(super) fn ack_seq(&self) -> SeqNumber {
        let edge = self.window_edge();
        if edge.before(self.nxt) && self.nxt - edge < self.window_unit() {
            return self.nxt;
        }
        if edge.before(self.max) { edge.max(self.una) } else { self.max }
    }

    /// The unit of the peer's window field, in bytes.
    fn window_unit(&self) -> u32 {
        1 << self.scale.map_or(0, WindowScale::shift)
    }

    /// What may be sent now in one segment of at most `mss` bytes (its options already counted), if
    /// the congestion window has room for `room` bytes; `None`: nothing is in flight, and any
    /// amount may be sent.
    ///
    /// RFC 9293 §3.8.6.2.1 (MUST-38), the sender's silly-window avoidance, together with Nagle's
    /// algorithm (§3.7.4, SHLD-7, MUST-17) in Minshall's form as on Linux: a partial segment waits
    /// only while an earlier partial segment is in flight. All data counts as pushed (MUST-60).
    pub(super) fn plan(&self, mss: u32, room: Option<u32>, mode: NagleMode) -> Plan {
        let unsent = self.unsent();
        let fin = self.is_fin_unsent();
        if unsent == 0 && !fin {
            return Plan::Nothing;
        }
        let window = self.usable_window() as usize;
        if window == 0 {
            return Plan::WaitForWindow;
        }
        let record = self.unsent_of_record();
        let len = record.min(window).min(mss as usize);
        if room.is_some_and(|room| (room as usize) < len) {
            return Plan::WaitForAck;
        }
        // The FIN takes one number of the window.
        let fin = fin && len == unsent && len < window;
        let is_full = len == mss as usize;
        if is_full {
            return Plan::Send { len, fin };
        }
        if len == record && record < unsent {
            // The end of a record keeps the segment from ever being full. As on Linux it is sent
            // once there is data behind it.
            return Plan::Send { len, fin };
        }
        if len < record {
            // The window cuts the segment short. Send it only if that is at least half of the
            // largest window (MUST-38).
            let worthwhile = len as u32 >= self.max_wnd / 2;
            return if worthwhile { Plan::Send { len, fin } } else { Plan::WaitForWindow };
        }
        match mode {
            _ if fin => Plan::Send { len, fin },
            NagleMode::Off => Plan::Send { len, fin },
            NagleMode::On if self.is_small_in_flight() => Plan::WaitForAck,
            NagleMode::On => Plan::Send { len, fin },
            // As on Linux, at most until the persist timer fires.
            NagleMode::Corked => Plan::WaitForWindow,
        }
    }

    /// How many full segments, none of them the last, `plan` would return one after the other.
    pub(super) fn certain_segs(&self, mss: u32, room: u32) -> u32 {
        let record = self.unsent_of_record();
        let before_the_last = u32::try_from(record.saturating_sub(1)).unwrap_or(u32::MAX);
        before_the_last.min(self.usable_window()).min(room) / mss
    }

    /// Moves stored sequence numbers up to SND.UNA.
    pub(super) fn forget_before(&mut self, una: SeqNumber) {
        self.small_end = self.small_end.max(una);
    }

    /// Whether a partial segment is in flight.
    fn is_small_in_flight(&self) -> bool {
        self.small_end.after(self.una) && self.small_end.before_eq(self.nxt)
    }

    /// Records that a segment of `len` bytes, with or without the FIN, was sent from SND.NXT.
    pub(super) fn on_sent(&mut self, len: usize, fin: bool, full: bool) {
        // A segment is at most 64 KiB.
        let end = self.nxt + len as u32 + u32::from(fin);
        if !full && len > 0 {
            self.small_end = end;
        }
        self.nxt = end;
        self.max = self.max.max(end);
    }

    /// Records a window probe of one octet at SND.UNA. It may be acknowledged, but SND.NXT stays,
    /// because the peer probably did not accept it.
    pub(super) fn on_probe_sent(&mut self) {
        if self.max == self.una {
            self.max += 1;
        }
    }
}

/// A buffer of 4 GiB is as good as any larger one.
pub(super) fn clamp_send_buffer(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
