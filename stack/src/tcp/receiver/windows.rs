//! How much the peer may send: the buffer, what of it is offered, and when the peer hears of more.

use alloc::boxed::Box;

use super::Receiver;
use crate::tcp::right_sizing::RightSizing;
use crate::tcp::window::{UnscaledWindow, Window};
use crate::time::Instant;

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

    /// What is measured while data flows; `begin` it if that was not done yet.
    pub(in crate::tcp) fn right_sizing(&mut self, now: Instant, begin: bool) -> Option<&mut RightSizing> {
        if self.sizing.is_none() && begin {
            let sizing = RightSizing::new(now, self.wnd.edge, self.read_to(), self.acks.announced_mss());
            self.sizing = Some(Box::new(sizing));
        }
        self.sizing.as_deref_mut()
    }

    /// So much data has come in order: the window opens by twice that, at least by two segments,
    /// towards what the buffer allows (Linux's tcp_grow_window).
    pub(in crate::tcp) fn grow_window(&mut self, len: usize) {
        let room = self.wnd.buffer().saturating_sub(self.wnd.ssthresh);
        // What comes under one header is at most 64 KiB.
        self.wnd.ssthresh += room.min(2 * (len as u32).max(u32::from(self.acks.announced_mss())));
    }

    /// The memory is short: the window shrinks to `bytes` or one segment, whichever is more, as the
    /// peer uses up what it was promised, and grows again afterwards. (Linux's
    /// tcp_adjust_rcv_ssthresh leaves everybody four segments.)
    pub(in crate::tcp) fn narrow_window(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // In whole units, or a peer that waits for room for a segment would wait for ever.
        let segment = u32::from(self.acks.announced_mss()).next_multiple_of(1 << self.wnd.scale.shift());
        self.wnd.ssthresh = self.wnd.ssthresh.min(bytes.max(segment));
    }

    /// The same before the peer was promised anything.
    pub(in crate::tcp) fn begin_narrow(&mut self, bytes: usize) {
        self.narrow_window(bytes);
        self.wnd.syn_window = u16::try_from(self.wnd.ssthresh)
            .map_or(self.wnd.syn_window, |most| self.wnd.syn_window.min(most));
    }

    /// SO_RCVLOWAT: a buffer that holds twice this, unless the program has chosen (Linux's
    /// tcp_set_rcvlowat).
    pub(in crate::tcp) fn make_room_for_low_water(&mut self, low_water: usize, max_bytes: usize) {
        if low_water > self.wnd.buffer_bytes as usize / 2 {
            self.wnd.grow_buffer(2 * low_water as u64, max_bytes);
            self.wnd.ssthresh = self.wnd.ssthresh.max(self.wnd.buffer_bytes);
        }
    }

    /// There is no memory for the next data in order: the window closes, whatever the peer was
    /// promised, as on Linux (ICSK_ACK_NOMEM). The peer then probes the window instead of taking
    /// the data for lost, and hears at once when the program has read; RFC 9293 §3.8.6 (SHLD-14)
    /// advises against it, and has every sender expect it (MUST-34).
    pub(in crate::tcp) fn close_for_memory(&mut self) {
        (self.wnd.edge, self.wnd.opened_to) = (self.nxt, self.nxt);
        self.acks.refuse();
    }

    /// Whether the peer can send hardly more: a program that waits for more will wait for ever.
    pub(in crate::tcp) fn is_window_nearly_closed(&self) -> bool {
        self.window() <= u32::from(self.acks.mss())
    }

    /// What waits behind a gap must not close the window before the gap is filled.
    pub(in crate::tcp) fn make_room_for_gaps(&mut self, max_bytes: usize) {
        if let (Some(sizing), Some(assembler)) = (&self.sizing, &self.assembler) {
            let behind = assembler.end().map_or(0, |end| end - self.nxt);
            let wanted = sizing.wanted(sizing.space()).saturating_add(u64::from(behind));
            self.wnd.grow_buffer(wanted, max_bytes);
        }
    }

    /// RCV.WND, as the peer knows it.
    pub(in crate::tcp) fn window(&self) -> u32 {
        self.wnd.edge - self.nxt
    }

    /// The window for the next segment's header; from now on the peer may use it.
    pub(in crate::tcp) fn advertise(&mut self) -> u16 {
        if self.acks.is_refusal() {
            return 0;
        }
        let current = self.window();
        let opening = self.opening();
        // RFC 9293 §3.8.6.2.2 (MUST-39): the window opens in steps worth it, and until then stays
        // where it was (MAY-8: closed, if need be).
        let wanted = if opening >= self.worthwhile_opening() { current + opening } else { current };
        let header = Window(wanted).unscale(self.wnd.scale);
        let offered = header.scale(self.wnd.scale).0;
        if offered <= current {
            // What the header cannot express of a larger window is no loss: it is at most a unit,
            // except where the buffer was made larger than the scale can say.
            return header.0;
        }
        let edge = self.nxt + offered;
        if wanted > current {
            self.wnd.edge = edge;
            self.wnd.opened_to = edge;
            return header.0;
        }
        // Rounded up so that the edge stays (RFC 7323 §2.4, RFC7323-2.4). Each time gives away less
        // than a unit; a peer that sends single bytes could add that up, so not beyond an eighth of
        // the buffer.
        if edge.before_eq(self.wnd.opened_to + self.wnd.buffer() / 8) {
            self.wnd.edge = edge;
            return header.0;
        }
        header.0.saturating_sub(1)
    }

    /// The window as a header would carry it, without moving it.
    pub(in crate::tcp) fn last_window(&self) -> u16 {
        Window(self.window()).unscale(self.wnd.scale).0
    }

    /// What the buffer takes from RCV.NXT on.
    fn free(&self) -> u32 {
        // A receive queue is far smaller than 2^32 bytes.
        let queued = self.queue.len() as u32;
        // What memory allows is for what waits and what may come together.
        let most =
            if self.wnd.is_narrow() { self.wnd.most().saturating_sub(queued) } else { self.wnd.most() };
        self.wnd.buffer().saturating_sub(queued).min(most)
    }

    /// How far the right edge could move.
    fn opening(&self) -> u32 {
        // Down to a whole unit: less cannot be said. Nor can more than the field holds: to a peer
        // without window scaling a larger buffer would be news after every read.
        let most = UnscaledWindow(u16::MAX).scale(self.wnd.scale).0;
        let free = self.free().min(most) >> self.wnd.scale.shift() << self.wnd.scale.shift();
        free.saturating_sub(self.window())
    }

    fn worthwhile_opening(&self) -> u32 {
        // Half of what is ever offered: of a buffer that is much larger it might never be reached.
        u32::from(self.acks.announced_mss()).min(self.wnd.most() / 2).max(1)
    }

    /// The program has read: the buffer grows if that was more in a round trip than ever before.
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

    /// There may be more room. An acknowledgement is due if the peer should know: the window can at
    /// least double (Linux's tcp_cleanup_rbuf has the same measure).
    pub(in crate::tcp) fn update_window(&mut self) {
        let opening = self.opening();
        if !self.is_fin_received() && opening >= self.worthwhile_opening() && opening >= self.window() {
            self.acks.acknowledge_now();
        }
    }
}
