//! The receive sequence space: RCV.NXT, RCV.WND, what came out of order, and when to acknowledge.
//!
//! ```text
//!     in the queue,   |  may come: the window   |
//!     or read         |  (islands: assembler)   |  refused
//!  -------------------+-------------------------+----------> sequence numbers
//!                 RCV.NXT                     edge = RCV.NXT + RCV.WND as last advertised
//! ```

use alloc::boxed::Box;
use core::time::Duration;

use bytes::{Buf, Bytes};

use super::assembler::{Assembler, Insert};
use super::autotune::{INITIAL_SSTHRESH, RightSizing};
use super::recv_queue::RecvQueue;
use super::urgent::Urgent;
use super::window::{UnscaledWindow, Window, WindowScale};
use super::{SackBlocks, SeqNumber, Settings};
use crate::time::Instant;

/// What the peer's segments are taken to hold before any has come (Linux's TCP_MSS_DEFAULT): with too large a guess small
/// ones would be acknowledged late.
const SMALLEST_USUAL_MSS: u16 = 536;

/// How a segment lies to the window (RFC 9293 §3.10.7.4, first step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Placement {
    /// At least a part of it is inside. Also what begins at RCV.NXT while the window is closed: its data will be refused,
    /// yet ACK, RST and URG are looked at (MUST-66), and a FIN needs no room.
    Inside,
    /// All of it was received before.
    Old,
    /// Beyond the right edge, or far off.
    Outside,
}

/// What became of a segment's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Stored {
    /// RCV.NXT has moved.
    InOrder,
    /// It waits for what lies before it.
    OutOfOrder,
    /// It was there already.
    Duplicate,
    /// The window is closed.
    Refused,
    /// Too many islands.
    Full,
}

/// When an acknowledgement goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckDue {
    /// Nothing to acknowledge.
    No,
    /// When the delayed-ACK timer fires, or with the next segment.
    Later,
    Now,
}

/// The timer that the receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum AckTimer {
    Leave,
    Arm,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) nxt: SeqNumber,
    /// The right edge of the window that the peer knows of. Never moves left (RFC 9293 §3.8.6, SHLD-14).
    edge: SeqNumber,
    /// How far the buffer has ever let the edge go; the edge may lie a little further, for it is rounded.
    opened_to: SeqNumber,
    /// Last.ACK.sent of RFC 7323.
    pub(super) last_ack_sent: SeqNumber,
    /// Of the windows that we send.
    pub(super) scale: WindowScale,
    buffer_bytes: u32,
    /// Whether `buffer_bytes` follows what the program reads.
    auto: bool,
    /// Linux's rcv_ssthresh: the largest window that is offered now, however large the buffer is.
    ssthresh: u32,
    /// Once full segments have come.
    pub(super) sizing: Option<Box<RightSizing>>,
    /// The window of our SYN or SYN-ACK, which is never scaled (RFC 7323 §2.2); repetitions offer the same.
    syn_window: u16,
    queue: RecvQueue,
    assembler: Option<Box<Assembler>>,
    /// What came a second time, to be reported with the next acknowledgement (RFC 2883).
    duplicate: Option<(SeqNumber, SeqNumber)>,
    /// Where the peer's FIN lies, when it came before the data in front of it.
    fin_at: Option<SeqNumber>,
    fin_received: bool,
    /// Where the peer's urgent data lies, if it has sent any.
    pub(super) urgent: Option<Box<Urgent>>,
    /// The largest segment seen: what counts as full when every second is acknowledged.
    mss: u16,
    announced_mss: u16,
    ack: AckDue,
    /// Acknowledgements that are owed for segments out of order: one each, so that the peer can count them.
    duplicates_owed: u8,
    /// Segments that are still acknowledged at once.
    quick_acks: u8,
    last_data_at: Instant,
}

impl Receiver {
    /// Before the peer's SYN has come.
    pub(super) fn new(settings: &Settings, announced_mss: u16, quick_acks: u8) -> Receiver {
        let buffer_bytes = settings.receive_buffer_bytes;
        let mut receiver = Receiver {
            nxt: SeqNumber(0),
            edge: SeqNumber(0),
            opened_to: SeqNumber(0),
            last_ack_sent: SeqNumber(0),
            scale: WindowScale::NONE,
            buffer_bytes: clamp_buffer(buffer_bytes),
            auto: settings.auto_receive_buffer,
            ssthresh: 0,
            sizing: None,
            syn_window: u16::try_from(buffer_bytes).unwrap_or(u16::MAX),
            queue: RecvQueue::new(),
            assembler: None,
            duplicate: None,
            fin_at: None,
            fin_received: false,
            urgent: None,
            mss: announced_mss.min(SMALLEST_USUAL_MSS),
            announced_mss,
            ack: AckDue::No,
            duplicates_owed: 0,
            quick_acks,
            last_data_at: Instant::ZERO,
        };
        receiver.ssthresh = receiver.initial_ssthresh();
        receiver
    }

    /// What a program has asked for is offered at once.
    fn initial_ssthresh(&self) -> u32 {
        if self.auto { self.buffer_bytes.min(INITIAL_SSTHRESH) } else { self.buffer_bytes }
    }

    /// The peer's SYN: RCV.NXT is one after it, and our SYN offered a window that is not scaled.
    pub(super) fn on_peer_syn(&mut self, irs: SeqNumber, scale: WindowScale) {
        self.nxt = irs + 1;
        self.last_ack_sent = self.nxt;
        self.set_syn_window(self.syn_window);
        self.scale = scale;
    }

    pub(super) fn syn_window(&self) -> u16 {
        self.syn_window
    }

    /// The window that the SYN-ACK of a passive open offered.
    pub(super) fn set_syn_window(&mut self, window: u16) {
        self.syn_window = window;
        self.edge = self.nxt + u32::from(window);
        self.opened_to = self.edge;
    }

    /// The program has set options; one of them may be SO_RCVBUF.
    pub(super) fn set_buffer(&mut self, settings: &Settings) {
        self.auto = settings.auto_receive_buffer;
        if !self.auto {
            self.buffer_bytes = clamp_buffer(settings.receive_buffer_bytes);
            self.ssthresh = self.buffer_bytes;
        }
    }

    /// The largest payload that came.
    pub(super) fn mss(&self) -> u16 {
        self.mss
    }

    /// When data last came; [`Instant::ZERO`] if none has.
    pub(super) fn last_data_at(&self) -> Instant {
        self.last_data_at
    }

    /// The largest window that is offered now.
    pub(super) fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// SO_RCVBUF as it is now.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Whether a segment is as large as any before it: what says something about the path.
    pub(super) fn is_full(&self, len: usize) -> bool {
        len >= usize::from(self.mss)
    }

    /// What is measured while data flows; `begin` it if that was not done yet.
    pub(super) fn right_sizing(&mut self, now: Instant, begin: bool) -> Option<&mut RightSizing> {
        if self.sizing.is_none() && begin {
            let sizing = RightSizing::new(now, self.edge, self.read_to(), self.announced_mss);
            self.sizing = Some(Box::new(sizing));
        }
        self.sizing.as_deref_mut()
    }

    /// The program has read everything before this.
    pub(super) fn read_to(&self) -> SeqNumber {
        // A receive queue is far smaller than 2^32 bytes.
        self.nxt - self.queue.len() as u32 - u32::from(self.fin_received)
    }

    /// So much data has come in order: the window opens by twice that, at least by two segments, towards what the buffer
    /// allows (Linux's tcp_grow_window).
    pub(super) fn grow_window(&mut self, len: usize) {
        let room = self.buffer().saturating_sub(self.ssthresh);
        // What comes under one header is at most 64 KiB.
        self.ssthresh += room.min(2 * (len as u32).max(u32::from(self.announced_mss)));
    }

    /// The memory is short: the window shrinks to a few segments as the peer uses up what it was promised (Linux's
    /// tcp_adjust_rcv_ssthresh), and grows again afterwards.
    pub(super) fn narrow_window(&mut self) {
        self.ssthresh = self.ssthresh.min(4 * u32::from(self.announced_mss));
    }

    /// Forgets what waits behind `seq`, the last first, until `wanted` bytes or an eighth of the buffer are free. How many
    /// bytes that were.
    pub(super) fn prune(&mut self, seq: SeqNumber, wanted: usize) -> usize {
        let Some(assembler) = &mut self.assembler else { return 0 };
        let pruned = assembler.prune(seq, wanted.max(self.buffer_bytes as usize / 8));
        if assembler.is_empty() {
            self.assembler = None;
        }
        pruned
    }

    /// SO_RCVLOWAT: a buffer that holds twice this, unless the program has chosen (Linux's tcp_set_rcvlowat).
    pub(super) fn make_room_for_low_water(&mut self, low_water: usize, max_bytes: usize) {
        if low_water > self.buffer_bytes as usize / 2 {
            self.grow_buffer(2 * low_water as u64, max_bytes);
            self.ssthresh = self.ssthresh.max(self.buffer_bytes);
        }
    }

    /// Whether the peer can send hardly more: a program that waits for more will wait for ever.
    pub(super) fn is_window_nearly_closed(&self) -> bool {
        self.window() <= u32::from(self.mss)
    }

    /// What waits behind a gap must not close the window before the gap is filled.
    pub(super) fn make_room_for_gaps(&mut self, max_bytes: usize) {
        if let (Some(sizing), Some(assembler)) = (&self.sizing, &self.assembler) {
            let behind = assembler.end().map_or(0, |end| end - self.nxt);
            let wanted = sizing.wanted(sizing.space()).saturating_add(u64::from(behind));
            self.grow_buffer(wanted, max_bytes);
        }
    }

    fn grow_buffer(&mut self, wanted: u64, max_bytes: usize) {
        if self.auto {
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(max_bytes);
            self.buffer_bytes = self.buffer_bytes.max(clamp_buffer(wanted));
        }
    }

    /// RCV.WND, as the peer knows it.
    pub(super) fn window(&self) -> u32 {
        self.edge - self.nxt
    }

    /// Whether everything up to here came in order.
    pub(super) fn is_in_order(&self) -> bool {
        self.assembler.is_none() && self.fin_at.is_none()
    }

    pub(super) fn is_fin_received(&self) -> bool {
        self.fin_received
    }

    /// RFC 9293 §3.10.7.4, table 6. `len` is SEG.LEN.
    pub(super) fn place(&self, seq: SeqNumber, len: u32) -> Placement {
        let window = self.window();
        let from_nxt = seq - self.nxt;
        if from_nxt < window || from_nxt == 0 || (len == 0 && from_nxt == window) {
            // A segment without data right at the edge comes from a peer that has filled the window: as on
            // Linux its ACK counts.
            return Placement::Inside;
        }
        if seq.after(self.nxt) {
            return Placement::Outside;
        }
        match (seq + len).after(self.nxt) {
            true if window > 0 => Placement::Inside,
            true => Placement::Outside,
            false => Placement::Old,
        }
    }

    /// A segment has come, with data of this length: the longest is taken for the peer's MSS.
    pub(super) fn note_segment(&mut self, now: Instant, len: usize) {
        self.last_data_at = now;
        self.mss = self.mss.max(u16::try_from(len).unwrap_or(u16::MAX)).min(self.announced_mss.max(1));
    }

    /// Takes a segment's data and FIN; what is outside the window is cut off.
    pub(super) fn on_text(
        &mut self,
        mut seq: SeqNumber,
        mut data: Bytes,
        mut fin: bool,
        max_ranges: usize,
    ) -> Stored {
        if seq.before(self.nxt) {
            let old = ((self.nxt - seq) as usize).min(data.len());
            self.note_duplicate(seq, old);
            data.advance(old);
            seq = self.nxt;
        }
        let edge = self.fin_at.map_or(self.edge, |fin_at| fin_at.min(self.edge));
        let room = if edge.after(seq) { (edge - seq) as usize } else { 0 };
        if data.len() > room {
            data.truncate(room);
            fin = false;
            if data.is_empty() {
                return Stored::Refused;
            }
        }
        // A payload is at most 64 KiB.
        let end = seq + data.len() as u32;
        if fin {
            self.fin_at = Some(end);
        }
        let is_empty = data.is_empty();
        if seq != self.nxt {
            return self.store_out_of_order(seq, data, fin, max_ranges);
        }
        if !is_empty {
            self.take_in_order(data, end, max_ranges);
            self.take_reassembled();
        }
        if self.fin_at.is_some_and(|fin_at| fin_at.before(self.nxt)) {
            // Data behind a FIN that came out of order: that FIN was never true.
            self.fin_at = None;
        }
        if self.fin_at == Some(self.nxt) {
            // The FIN takes a number of its own. It needs no buffer, so it is taken with a closed window, too.
            self.nxt += 1;
            self.edge = self.edge.max(self.nxt);
            self.opened_to = self.opened_to.max(self.nxt);
            self.fin_at = None;
            self.fin_received = true;
            self.assembler = None;
            return Stored::InOrder;
        }
        if is_empty { Stored::Duplicate } else { Stored::InOrder }
    }

    /// Data from RCV.NXT on. Where it overlaps what waits, what came first stays.
    fn take_in_order(&mut self, data: Bytes, end: SeqNumber, max_ranges: usize) {
        if let Some(assembler) = &mut self.assembler
            && assembler.start().is_some_and(|start| start.before(end))
        {
            // It touches a range, so there is room for it.
            let _stored = assembler.insert(self.nxt, data, max_ranges);
        } else {
            self.queue.push(data);
            self.nxt = end;
        }
    }

    fn store_out_of_order(&mut self, seq: SeqNumber, data: Bytes, fin: bool, max_ranges: usize) -> Stored {
        if data.is_empty() {
            return if fin { Stored::OutOfOrder } else { Stored::Duplicate };
        }
        // RFC 9293 §3.10.7.4 (SHLD-31): what comes out of order is kept.
        let len = data.len();
        let assembler = self.assembler.get_or_insert_with(|| Box::new(Assembler::new()));
        let stored = match assembler.insert(seq, data, max_ranges) {
            Insert::Stored => Stored::OutOfOrder,
            Insert::Duplicate => Stored::Duplicate,
            Insert::Full => Stored::Full,
        };
        if assembler.is_empty() {
            self.assembler = None;
        }
        if stored == Stored::Duplicate {
            self.note_duplicate(seq, len);
        }
        stored
    }

    /// RFC 2883 §4 (RFC2883-4-a): the next acknowledgement reports that `len` bytes from `seq` on came a second time.
    pub(super) fn note_duplicate(&mut self, seq: SeqNumber, len: usize) {
        if len > 0 {
            // A segment is at most 64 KiB.
            self.duplicate = Some((seq, seq + len as u32));
        }
    }

    /// A gap is filled: moves what waited behind it.
    fn take_reassembled(&mut self) {
        let Some(assembler) = &mut self.assembler else { return };
        while let Some(data) = assembler.take_ready(self.nxt) {
            self.nxt += data.len() as u32;
            self.queue.push(data);
        }
        if assembler.is_empty() {
            self.assembler = None;
        }
    }

    /// RFC 9293 §3.8.6.3 (SHLD-18, SHLD-19) and §3.10.7.4 (MUST-58, MUST-59): after data in order. What is due goes out
    /// when the segments that are at hand are processed. At once if more than one full segment waits for it, at the start of the connection (the peer's slow start counts on it), and while there are gaps, or one was
    /// just filled (RFC 5681 §4.2); otherwise when the delayed-ACK timer fires (MUST-40: less than half a second).
    pub(super) fn on_in_order(&mut self, was_in_order: bool) -> AckTimer {
        let unacknowledged = self.nxt - self.last_ack_sent;
        if self.quick_acks > 0 {
            self.quick_acks -= 1;
            self.ack = AckDue::Now;
        }
        if unacknowledged > u32::from(self.mss) || !was_in_order || !self.is_in_order() || self.fin_received {
            self.ack = AckDue::Now;
        }
        if self.ack == AckDue::Now {
            return AckTimer::Leave;
        }
        let timer = if self.ack == AckDue::No { AckTimer::Arm } else { AckTimer::Leave };
        self.ack = AckDue::Later;
        timer
    }

    /// At once, and so are the acknowledgements of the next segments (Linux's tcp_enter_quickack_mode).
    pub(super) fn acknowledge_quickly(&mut self, segments: u8) {
        self.quick_acks = self.quick_acks.max(segments);
        self.acknowledge_now();
    }

    /// Whether something was received that no acknowledgement has named.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.nxt != self.last_ack_sent
    }

    /// A segment that did not move RCV.NXT: a duplicate acknowledgement at once (RFC 5681 §4.2, MAY-13), one for each.
    pub(super) fn owe_duplicate(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_add(1);
    }

    pub(super) fn acknowledge_now(&mut self) {
        self.ack = AckDue::Now;
    }

    /// The peer was silent for longer than an RTO: it may start slowly again, as after the handshake.
    pub(super) fn renew_quick_acks(&mut self, now: Instant, rto: Duration, quick_acks: u8) {
        if now.duration_since(self.last_data_at) > rto {
            self.quick_acks = quick_acks;
        }
    }

    /// TCP_QUICKACK: how many segments are acknowledged at once from now on.
    pub(super) fn set_quick_acks(&mut self, quick_acks: u8) {
        self.quick_acks = quick_acks;
        if quick_acks > 0 && self.ack == AckDue::Later {
            self.ack = AckDue::Now;
        }
    }

    /// TCP_QUICKACK: whether the next segment is acknowledged at once.
    pub(super) fn is_quick(&self) -> bool {
        self.quick_acks > 0
    }

    /// Data goes out: if it answers what just came, this is a dialogue, and acknowledgements ride on the answers.
    pub(super) fn on_data_sent(&mut self, now: Instant, delayed_ack: Duration) {
        if self.quick_acks > 0 && now.duration_since(self.last_data_at) < delayed_ack {
            self.quick_acks = 0;
        }
    }

    pub(super) fn is_ack_due_now(&self) -> bool {
        self.ack == AckDue::Now || self.duplicates_owed > 0
    }

    /// A segment with this acknowledgement goes out.
    pub(super) fn on_ack_sent(&mut self) {
        self.last_ack_sent = self.nxt;
        self.ack = AckDue::No;
        self.duplicate = None;
    }

    /// One that carries nothing else: the peer counts it as a duplicate, if it is one.
    pub(super) fn on_pure_ack_sent(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_sub(1);
    }

    /// The window for the next segment's header; from now on the peer may use it.
    pub(super) fn advertise(&mut self) -> u16 {
        let current = self.window();
        let opening = self.opening();
        // RFC 9293 §3.8.6.2.2 (MUST-39): the window opens in steps worth it, and until then stays where it was (MAY-8:
        // closed, if need be).
        let wanted = if opening >= self.worthwhile_opening() { current + opening } else { current };
        let header = Window(wanted).unscale(self.scale);
        let offered = header.scale(self.scale).0;
        if offered <= current {
            // What the header cannot express of a larger window is no loss: it is at most a unit, except
            // where the buffer was made larger than the scale can say.
            return header.0;
        }
        let edge = self.nxt + offered;
        if wanted > current {
            self.edge = edge;
            self.opened_to = edge;
            return header.0;
        }
        // Rounded up so that the edge stays (RFC 7323 §2.4, RFC7323-2.4). Each time gives away less than a unit; a
        // peer that sends single bytes could add that up, so not beyond an eighth of the buffer.
        if edge.before_eq(self.opened_to + self.buffer() / 8) {
            self.edge = edge;
            return header.0;
        }
        header.0.saturating_sub(1)
    }

    /// SO_RCVBUF, or the least that a scaled window can open to in two steps.
    fn buffer(&self) -> u32 {
        self.buffer_bytes.max(2 << self.scale.shift())
    }

    /// The window as a header would carry it, without moving it.
    pub(super) fn last_window(&self) -> u16 {
        Window(self.window()).unscale(self.scale).0
    }

    /// What the buffer takes from RCV.NXT on.
    fn free(&self) -> u32 {
        // A receive queue is far smaller than 2^32 bytes.
        self.buffer().saturating_sub(self.queue.len() as u32).min(self.most())
    }

    /// The largest window that is offered now.
    fn most(&self) -> u32 {
        self.buffer().min(self.ssthresh.max(2 << self.scale.shift()))
    }

    /// How far the right edge could move.
    fn opening(&self) -> u32 {
        // Down to a whole unit: less cannot be said. Nor can more than the field holds: to a peer without window scaling
        // a larger buffer would be news after every read.
        let most = UnscaledWindow(u16::MAX).scale(self.scale).0;
        let free = self.free().min(most) >> self.scale.shift() << self.scale.shift();
        free.saturating_sub(self.window())
    }

    fn worthwhile_opening(&self) -> u32 {
        // Half of what is ever offered: of a buffer that is much larger it might never be reached.
        u32::from(self.announced_mss).min(self.most() / 2).max(1)
    }

    /// The program has read: the buffer grows if that was more in a round trip than ever before.
    pub(super) fn on_read(&mut self, now: Instant, max_bytes: usize) {
        let (read_to, queued) = (self.read_to(), self.queue.len() as u32);
        if let Some(sizing) = &mut self.sizing
            && let Some(wanted) = sizing.on_read(now, read_to, queued)
        {
            self.grow_buffer(wanted, max_bytes);
        }
        if self.urgent.is_some() {
            self.pass_mark();
        }
        self.update_window();
    }

    /// There may be more room. An acknowledgement is due if the peer should know: the window can at least double
    /// (Linux's tcp_cleanup_rbuf has the same measure).
    pub(super) fn update_window(&mut self) {
        let opening = self.opening();
        if !self.fin_received && opening >= self.worthwhile_opening() && opening >= self.window() {
            self.ack = AckDue::Now;
        }
    }

    /// What came twice (RFC 2883 §4), then the ranges that wait, the latest first (RFC 2018 §4, RFC2018-4-c).
    pub(super) fn sack_blocks(&self, limit: usize) -> SackBlocks {
        // A FIN that waits has come, too.
        let with_fin = |(left, right)| (left, if self.fin_at == Some(right) { right + 1 } else { right });
        let waiting = self.assembler.iter().flat_map(|assembler| assembler.sack_blocks()).map(with_fin);
        self.duplicate.into_iter().chain(waiting).take(limit).collect()
    }

    /// Whether an acknowledgement has anything to say beside RCV.NXT.
    pub(super) fn has_sack_blocks(&self) -> bool {
        self.has_gaps() || self.has_duplicate()
    }

    pub(super) fn has_duplicate(&self) -> bool {
        self.duplicate.is_some()
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.assembler.is_some()
    }

    pub(super) fn queue(&self) -> &RecvQueue {
        &self.queue
    }

    pub(super) fn queue_mut(&mut self) -> &mut RecvQueue {
        &mut self.queue
    }

    /// The connection is dead: what came in order may still be read, the rest never will.
    pub(super) fn forget_gaps(&mut self) {
        self.assembler = None;
        self.fin_at = None;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.queue.memory_bytes() + self.assembler.as_ref().map_or(0, |assembler| assembler.memory_bytes())
    }
}

/// At least one byte, and at most the largest window (RFC 7323 §2.3).
fn clamp_buffer(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, 1 << 30)
}
