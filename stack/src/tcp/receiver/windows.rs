//! How the receive window follows the buffer, and when the peer is told that the window has opened.

use alloc::boxed::Box;

use super::Receiver;
use crate::tcp::right_sizing::RightSizing;
use crate::tcp::window::{UnscaledWindow, Window, WindowScale};
use crate::time::Instant;

/// See [`Receiver::first_space`].
const INITIAL_WINDOW_SEGS: u8 = 10;

impl Receiver {
    pub(in crate::tcp) fn syn_window(&self) -> u16 {
        self.wnd.syn_window
    }

    /// The window that the SYN-ACK of a passive open offered.
    pub(in crate::tcp) fn set_syn_window(&mut self, window: u16) {
        self.wnd.syn_window = window;
        self.wnd.edge = self.nxt + u32::from(window);
        self.wnd.opened_to = self.wnd.edge;
    }

    /// The largest window that is offered now.
    pub(in crate::tcp) fn ssthresh(&self) -> u32 {
        self.wnd.ssthresh
    }

    /// SO_RCVBUF as it is now.
    pub(in crate::tcp) fn buffer_bytes(&self) -> u32 {
        self.wnd.buffer_bytes
    }

    /// The measurements for the size of the buffer, after full segments have arrived. They begin
    /// when as many have come in a row as an initial window has, which is what the first round trip
    /// is taken for. So a dialogue of short messages, which needs no larger buffer, takes no memory
    /// for them.
    pub(in crate::tcp) fn right_sizing(&mut self, now: Instant, segs: u32) -> Option<&mut RightSizing> {
        if self.sizing.is_none() && self.acks.note_full_segments(segs) >= INITIAL_WINDOW_SEGS {
            let sizing = RightSizing::new(now, self.wnd.edge, self.read_to(), self.first_space());
            self.sizing = Some(Box::new(sizing));
        }
        self.sizing.as_deref_mut()
    }

    /// The assumed data of the first round trip: a peer's initial window (RFC 6928).
    pub(in crate::tcp) fn first_space(&self) -> u32 {
        (u32::from(INITIAL_WINDOW_SEGS) * u32::from(self.acks.announced_mss())).max(1)
    }

    /// `len` bytes arrived in order: the window opens by twice that, at least by two segments, up
    /// to what the buffer allows (Linux's tcp_grow_window).
    pub(in crate::tcp) fn grow_window(&mut self, len: usize) {
        let room = self.wnd.limit().saturating_sub(self.wnd.ssthresh);
        // The data under one header is at most 64 KiB.
        self.wnd.ssthresh += room.min(2 * (len as u32).max(u32::from(self.acks.announced_mss())));
    }

    /// Memory is short: the window shrinks to `bytes` or one segment, whichever is more, as the
    /// peer fills the window that it knows. It grows again later. (Linux's tcp_adjust_rcv_ssthresh
    /// leaves each connection four segments.)
    pub(in crate::tcp) fn narrow_window(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.wnd.ssthresh = self.wnd.ssthresh.min(bytes.max(self.narrowest_window()));
    }

    /// One segment, in whole units of the scale. Otherwise a peer that waits for room for a full
    /// segment would wait for ever.
    fn narrowest_window(&self) -> u32 {
        u32::from(self.acks.announced_mss()).next_multiple_of(1 << self.wnd.scale.shift())
    }

    /// The scale of our windows is negotiated. A window that was narrowed before is rounded up to a
    /// whole unit.
    pub(in crate::tcp) fn set_scale(&mut self, scale: WindowScale) {
        self.wnd.scale = scale;
        if self.wnd.is_narrow() {
            self.wnd.ssthresh = self.wnd.ssthresh.max(self.narrowest_window());
        }
    }

    /// The same, before a window was offered to the peer.
    pub(in crate::tcp) fn begin_narrow(&mut self, bytes: usize) {
        self.narrow_window(bytes);
        self.wnd.syn_window = u16::try_from(self.wnd.ssthresh)
            .map_or(self.wnd.syn_window, |most| self.wnd.syn_window.min(most));
    }

    /// SO_RCVLOWAT: grows the buffer to twice this value, unless the program has set SO_RCVBUF
    /// (Linux's tcp_set_rcvlowat).
    pub(in crate::tcp) fn make_room_for_low_water(&mut self, low_water: usize, max_bytes: usize) {
        if low_water > self.wnd.buffer_bytes as usize / 2 {
            self.wnd.grow_buffer(2 * low_water as u64, max_bytes);
            self.wnd.ssthresh = self.wnd.ssthresh.max(self.wnd.limit());
        }
    }

    /// There is no memory for the next in-order data: the window closes, and its right edge moves
    /// back, as on Linux (ICSK_ACK_NOMEM). The peer then probes the window instead of taking the
    /// data for lost, and is told at once when the program has read. RFC 9293 §3.8.6 (SHLD-14)
    /// advises against it, but requires every sender to handle it (MUST-34).
    pub(in crate::tcp) fn close_for_memory(&mut self) {
        (self.wnd.edge, self.wnd.opened_to) = (self.nxt, self.nxt);
        self.acks.refuse();
    }

    /// Whether the peer can send hardly any more data, so that a program that waits for more would
    /// wait for ever.
    pub(in crate::tcp) fn is_window_nearly_closed(&self) -> bool {
        self.window() <= u32::from(self.acks.mss())
    }

    /// Grows the buffer, so that out-of-order data does not fill the window before the gap is
    /// filled.
    pub(in crate::tcp) fn make_room_for_gaps(&mut self, max_bytes: usize) {
        if let (Some(sizing), Some(assembler)) = (&self.sizing, &self.assembler) {
            let behind = assembler.end().map_or(0, |end| end - self.nxt);
            let wanted = sizing.wanted(sizing.space()).saturating_add(u64::from(behind));
            self.wnd.grow_buffer(wanted, max_bytes);
        }
    }

    /// RCV.WND as the peer knows it.
    pub(in crate::tcp) fn window(&self) -> u32 {
        self.wnd.edge - self.nxt
    }

    /// The window field for the next segment's header. From now on the peer may use that window.
    pub(in crate::tcp) fn advertise(&mut self) -> u16 {
        if self.acks.is_refusal() {
            return 0;
        }
        let current = self.window();
        let opening = self.opening();
        // RFC 9293 §3.8.6.2.2 (MUST-39): the window opens only by a worthwhile amount, and until
        // then stays as it was, even closed (MAY-8).
        let wanted = if opening >= self.worthwhile_opening() { current + opening } else { current };
        let header = Window(wanted).unscale(self.wnd.scale);
        let offered = header.scale(self.wnd.scale).0;
        if offered <= current {
            // The header may express less than `wanted`. The difference is less than a unit, unless
            // the buffer is larger than the scale can express.
            return header.0;
        }
        let edge = self.nxt + offered;
        if wanted > current {
            self.wnd.edge = edge;
            self.wnd.opened_to = edge;
            return header.0;
        }
        // Rounded up so that the edge does not move left (RFC 7323 §2.4, RFC7323-2.4). Each
        // rounding adds less than a unit. A peer that sends single bytes could accumulate that, so
        // the sum is limited to an eighth of the buffer.
        if edge.before_eq(self.wnd.opened_to + self.wnd.buffer() / 8) {
            self.wnd.edge = edge;
            return header.0;
        }
        header.0.saturating_sub(1)
    }

    /// The window field as a header would carry it, without moving the edge.
    pub(in crate::tcp) fn last_window(&self) -> u16 {
        Window(self.window()).unscale(self.wnd.scale).0
    }

    /// The bytes that the buffer can take from RCV.NXT on.
    fn free(&self) -> u32 {
        // A receive queue is far smaller than 2^32 bytes.
        let queued = self.queue.len() as u32;
        // While memory is short, the limit covers unread data and new data together.
        let most =
            if self.wnd.is_narrow() { self.wnd.most().saturating_sub(queued) } else { self.wnd.most() };
        self.wnd.buffer().saturating_sub(queued).min(most)
    }

    /// How far the right edge could move.
    fn opening(&self) -> u32 {
        // Rounded down to a whole unit and limited to the largest value of the field, because the
        // header cannot express anything else. Otherwise, without window scaling, a large buffer
        // would cause a window update after every read.
        let most = UnscaledWindow(u16::MAX).scale(self.wnd.scale).0;
        let free = self.free().min(most) >> self.wnd.scale.shift() << self.wnd.scale.shift();
        free.saturating_sub(self.window())
    }

    fn worthwhile_opening(&self) -> u32 {
        // Half of what is offered, not of the buffer: half of a much larger buffer might never be
        // reached.
        u32::from(self.acks.announced_mss()).min(self.wnd.most() / 2).max(1)
    }

    /// The program has read: the buffer grows if the program read more in this round trip than ever
    /// before.
    pub(in crate::tcp) fn on_read(&mut self, now: Instant, max_bytes: usize) {
        let (read_to, queued) = (self.read_to(), self.queue.len() as u32);
        if let Some(sizing) = &mut self.sizing
            && let Some(wanted) = sizing.on_read(now, read_to, queued)
        {
            self.wnd.grow_buffer(wanted, max_bytes);
        }
        if self.urgent.is_some() {
            self.pass_mark();
        }
        self.update_window();
    }

    /// There may be more room. If the window can at least double, an acknowledgement tells the peer
    /// (Linux's tcp_cleanup_rbuf has the same condition).
    pub(in crate::tcp) fn update_window(&mut self) {
        let opening = self.opening();
        if !self.is_fin_received() && opening >= self.worthwhile_opening() && opening >= self.window() {
            self.acks.acknowledge_now();
        }
    }
}
