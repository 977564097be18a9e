//! The receive sequence space: RCV.NXT, RCV.WND and out-of-order data. [`windows`] computes the
//! window, [`acks`] decides when to acknowledge.
//!
//! ```text
//!     in the queue,   |  may come: the window   |
//!     or read         |  (islands: assembler)   |  refused
//!  -------------------+-------------------------+----------> sequence numbers
//!                 RCV.NXT                     edge = RCV.NXT + RCV.WND as last advertised
//! ```

mod acks;
mod receive_window;
mod windows;

use acks::AckPolicy;
pub(super) use acks::AckTimer;
use receive_window::ReceiveWindow;
pub(super) use receive_window::clamp_buffer;

use alloc::boxed::Box;

use bytes::{Buf, Bytes};

use super::assembler::{Assembler, Insert};
use super::recv_queue::RecvQueue;
use super::right_sizing::RightSizing;
use super::window::WindowScale;
use super::{SackBlocks, SeqNumber, Settings};
use crate::time::Instant;

/// Where a segment lies relative to the window (RFC 9293 §3.10.7.4, first step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Placement {
    /// At least a part of it is inside. This includes a segment at RCV.NXT while the window is
    /// closed: its data is refused, but ACK, RST and URG are processed (MUST-66), and a FIN needs
    /// no room.
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
    /// The data waits for a gap before it to be filled.
    OutOfOrder,
    /// All of it was received before.
    Duplicate,
    /// The window is closed.
    Refused,
    /// There are too many out-of-order ranges.
    Full,
}

/// A FIN that waits for the data in front of it.
#[derive(Clone, Copy, Debug)]
struct EarlyFin {
    at: SeqNumber,
    /// No out-of-order data has arrived since.
    is_latest: bool,
}

/// The peer's FIN.
#[derive(Clone, Copy, Debug)]
enum PeerFin {
    None,
    Early(EarlyFin),
    /// RCV.NXT is behind it.
    Received,
}

/// The peer's urgent data, until the program has read past it.
#[derive(Debug)]
pub(super) struct Urgent {
    /// The sequence number of the urgent byte.
    pub(super) seq: SeqNumber,
    pub(super) byte: UrgentByte,
    /// Whether the program has yet to be notified.
    pub(super) is_news: bool,
}

/// The state of the urgent byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrgentByte {
    Awaited,
    Here(u8),
    Taken,
}

/// An empty range.
const NO_DUPLICATE: (SeqNumber, SeqNumber) = (SeqNumber(0), SeqNumber(0));

/// See the module's page.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) nxt: SeqNumber,
    /// Last.ACK.sent of RFC 7323.
    pub(super) last_ack_sent: SeqNumber,
    pub(super) wnd: ReceiveWindow,
    /// Present once the peer has sent more at once than an initial window.
    pub(super) sizing: Option<Box<RightSizing>>,
    queue: RecvQueue,
    assembler: Option<Box<Assembler>>,
    /// A duplicate to report with the next acknowledgement (D-SACK, RFC 2883): its first number,
    /// and the one behind it. Both are the same if there is none.
    duplicate: (SeqNumber, SeqNumber),
    fin: PeerFin,
    /// Where the peer's urgent data lies, if it has sent any.
    pub(super) urgent: Option<Box<Urgent>>,
    pub(super) acks: AckPolicy,
}

impl Receiver {
    /// A receiver before the peer's SYN.
    pub(super) fn new(settings: &Settings, announced_mss: u16, quick_acks: u8) -> Receiver {
        Receiver {
            nxt: SeqNumber(0),
            last_ack_sent: SeqNumber(0),
            wnd: ReceiveWindow::new(settings),
            sizing: None,
            queue: RecvQueue::new(),
            assembler: None,
            duplicate: NO_DUPLICATE,
            fin: PeerFin::None,
            urgent: None,
            acks: AckPolicy::new(announced_mss, quick_acks),
        }
    }

    /// Processes the peer's SYN: RCV.NXT is one after it, and the window that our SYN offered was
    /// not scaled.
    pub(super) fn on_peer_syn(&mut self, irs: SeqNumber, scale: WindowScale) {
        self.nxt = irs + 1;
        self.last_ack_sent = self.nxt;
        self.set_syn_window(self.wnd.syn_window);
        self.set_scale(scale);
    }

    /// The first sequence number that the program has not read.
    pub(super) fn read_to(&self) -> SeqNumber {
        // A receive queue is far smaller than 2^32 bytes.
        self.nxt - self.queue.len() as u32 - u32::from(self.is_fin_received())
    }

    /// Discards out-of-order data behind `seq`, the last first, until `wanted` bytes or an eighth
    /// of the buffer are free. Returns the number of bytes.
    pub(super) fn prune(&mut self, seq: SeqNumber, wanted: usize) -> usize {
        let Some(assembler) = &mut self.assembler else { return 0 };
        let pruned = assembler.prune(seq, wanted.max(self.wnd.buffer_bytes as usize / 8));
        if assembler.is_empty() {
            self.assembler = None;
        }
        pruned
    }

    /// Discards all out-of-order data. Returns the number of bytes.
    pub(super) fn prune_all(&mut self) -> usize {
        self.assembler.take().map_or(0, |assembler| assembler.buffered_bytes())
    }

    /// Gives back capacity that holds no data.
    pub(super) fn give_back_capacity(&mut self) {
        self.queue.give_back_capacity();
        if let Some(assembler) = &mut self.assembler {
            assembler.give_back_capacity();
        }
    }

    /// Whether no out-of-order data or FIN waits.
    pub(super) fn is_in_order(&self) -> bool {
        self.assembler.is_none() && !matches!(self.fin, PeerFin::Early(_))
    }

    /// Forgets what was received and not read, the peer's FIN included.
    pub(super) fn forget_input(&mut self) {
        self.queue_mut().clear();
        self.urgent = None;
        self.fin = PeerFin::None;
    }

    pub(super) fn is_fin_received(&self) -> bool {
        matches!(self.fin, PeerFin::Received)
    }

    /// The peer's FIN, if it arrived before the data in front of it.
    fn early_fin(&self) -> Option<EarlyFin> {
        match self.fin {
            PeerFin::Early(fin) => Some(fin),
            PeerFin::None | PeerFin::Received => None,
        }
    }

    /// RFC 9293 §3.10.7.4, table 6. `len` is SEG.LEN.
    pub(super) fn place(&self, seq: SeqNumber, len: u32) -> Placement {
        let window = self.window();
        let from_nxt = seq - self.nxt;
        if from_nxt < window || from_nxt == 0 || (len == 0 && from_nxt == window) {
            // A peer that has filled the window sends segments without data at its edge. As on
            // Linux their ACK counts.
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

    /// Whether a number lies right behind an open window.
    pub(super) fn is_at_edge(&self, seq: SeqNumber) -> bool {
        seq == self.wnd.edge && self.window() > 0
    }

    /// Whether a number before RCV.NXT is at most one window back, so that the peer may retransmit
    /// it.
    pub(super) fn is_recent(&self, seq: SeqNumber) -> bool {
        self.nxt - seq <= self.wnd.buffer()
    }

    /// Receives a segment's data and FIN, trimmed to the window.
    pub(super) fn on_text(
        &mut self,
        mut seq: SeqNumber,
        mut data: Bytes,
        mut fin: bool,
        max_ranges: usize,
    ) -> Stored {
        let has_old = seq.before(self.nxt);
        if has_old {
            // A segment is at most 64 KiB.
            let old = (self.nxt - seq).min(data.len() as u32);
            self.note_duplicate(seq, old);
            data.advance(old as usize);
            seq = self.nxt;
        }
        let edge = self.early_fin().map_or(self.wnd.edge, |fin| fin.at.min(self.wnd.edge));
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
        if !has_old {
            self.note_overlap(seq, end);
        }
        let is_empty = data.is_empty();
        if seq != self.nxt {
            return self.store_out_of_order(seq, data, fin, max_ranges);
        }
        if fin {
            self.fin = PeerFin::Early(EarlyFin { at: end, is_latest: true });
        }
        if !is_empty {
            self.take_in_order(data, end, max_ranges);
            self.take_reassembled();
        }
        if self.early_fin().is_some_and(|fin| fin.at.before(self.nxt)) {
            // Data lies behind an out-of-order FIN, so that FIN was invalid.
            self.fin = PeerFin::None;
        }
        if self.early_fin().is_some_and(|fin| fin.at == self.nxt) {
            // The FIN takes a sequence number. It needs no buffer, so it is accepted with a closed
            // window, too.
            self.nxt += 1;
            self.wnd.make_room_to(self.nxt);
            self.fin = PeerFin::Received;
            self.assembler = None;
            return Stored::InOrder;
        }
        if is_empty { Stored::Duplicate } else { Stored::InOrder }
    }

    /// Receives data from RCV.NXT on. Where it overlaps out-of-order data, the data that arrived
    /// first stays.
    fn take_in_order(&mut self, data: Bytes, end: SeqNumber, max_ranges: usize) {
        if let Some(assembler) = &mut self.assembler
            && assembler.start().is_some_and(|start| start.before(end))
        {
            // The data touches a range, so the assembler has room for it.
            let _stored = assembler.insert(self.nxt, data, max_ranges);
        } else {
            self.queue.push(data);
            self.nxt = end;
        }
    }

    fn store_out_of_order(&mut self, seq: SeqNumber, data: Bytes, fin: bool, max_ranges: usize) -> Stored {
        // A payload is at most 64 KiB.
        let end = seq + data.len() as u32;
        if let PeerFin::Early(known) = &mut self.fin {
            known.is_latest = false;
        }
        if fin {
            let is_known = self.early_fin().is_some_and(|known| known.at == end);
            self.fin = PeerFin::Early(EarlyFin { at: end, is_latest: true });
            if data.is_empty() {
                if is_known {
                    self.note_duplicate(end, 1);
                }
                if let Some(assembler) = &mut self.assembler {
                    assembler.touch_last(end);
                }
                return Stored::OutOfOrder;
            }
        }
        if data.is_empty() {
            return Stored::Duplicate;
        }
        // RFC 9293 §3.10.7.4 (SHLD-31): out-of-order data is kept.
        let assembler = self.assembler.get_or_insert_with(|| Box::new(Assembler::new()));
        let stored = match assembler.insert(seq, data, max_ranges) {
            Insert::Stored => Stored::OutOfOrder,
            Insert::Duplicate => Stored::Duplicate,
            Insert::Full => Stored::Full,
        };
        if assembler.is_empty() {
            self.assembler = None;
        }
        stored
    }

    /// RFC 2883 §4 (RFC2883-4-a): notes for the next acknowledgement that `len` numbers from `seq`
    /// on arrived a second time.
    pub(super) fn note_duplicate(&mut self, seq: SeqNumber, len: u32) {
        if len > 0 {
            self.duplicate = (seq, seq + len);
        }
    }

    /// Forgets the duplicate, so that it is not reported.
    pub(super) fn forget_duplicate(&mut self) {
        self.duplicate = NO_DUPLICATE;
    }

    /// RFC 2883 §4.2: notes the overlap of a segment with out-of-order data. Only one range is
    /// reported, preferably one before RCV.NXT.
    fn note_overlap(&mut self, seq: SeqNumber, end: SeqNumber) {
        if let Some(overlap) = self.assembler.as_ref().and_then(|assembler| assembler.first_overlap(seq, end))
        {
            self.duplicate = overlap;
        }
    }

    /// Keeps data from the peer's SYN until the connection is open. It waits with the out-of-order
    /// data, and RCV.NXT stays.
    pub(super) fn keep(&mut self, now: Instant, mut data: Bytes, max_ranges: usize) {
        data.truncate(self.window() as usize);
        if !data.is_empty() {
            self.acks.note_segment(now, data.len());
            let _stored = self.store_out_of_order(self.nxt, data, false, max_ranges);
        }
    }

    /// Makes data from the peer's SYN readable when the connection opens. Returns whether there was
    /// any.
    pub(super) fn take_kept(&mut self) -> bool {
        let before = self.nxt;
        self.take_reassembled();
        self.nxt != before
    }

    /// Moves data that waited behind a filled gap to the receive queue.
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

    /// Data came in order; `was_in_order` says whether nothing waited behind a gap before.
    pub(super) fn on_in_order(&mut self, was_in_order: bool) -> AckTimer {
        let is_fin_received = self.is_fin_received();
        let unacknowledged = self.nxt - self.last_ack_sent - u32::from(is_fin_received);
        let has_gap = !was_in_order || !self.is_in_order();
        self.acks.on_in_order(unacknowledged, has_gap, is_fin_received)
    }

    /// Whether something was received that no acknowledgement has named.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.nxt != self.last_ack_sent
    }

    /// A segment that acknowledges everything is sent.
    pub(super) fn on_ack_sent(&mut self) {
        self.last_ack_sent = self.nxt;
        self.acks.on_ack_sent();
        self.duplicate = NO_DUPLICATE;
    }

    /// A D-SACK (RFC 2883 §4), then the out-of-order ranges, the latest first (RFC 2018 §4,
    /// RFC2018-4-c).
    pub(super) fn sack_blocks(&self, limit: usize) -> SackBlocks {
        // A FIN that waits is reported, too.
        let fin = self.early_fin();
        let with_fin =
            |(left, right)| (left, if fin.is_some_and(|fin| fin.at == right) { right + 1 } else { right });
        let waiting = self.assembler.iter().flat_map(|assembler| assembler.sack_blocks()).map(with_fin);
        // A range at RCV.NXT is data of the SYN, which waits for the connection to open.
        let waiting = waiting.filter(|&(left, _)| left != self.nxt);
        let waiting_end = self.assembler.as_ref().and_then(|assembler| assembler.end());
        // The data in front of it is missing, too.
        let lone = fin.filter(|fin| waiting_end != Some(fin.at));
        let block = |fin: EarlyFin| (fin.at, fin.at + 1);
        let first = lone.filter(|fin| fin.is_latest).map(block);
        let last = lone.filter(|fin| !fin.is_latest).map(block);
        let duplicate = self.has_duplicate().then_some(self.duplicate);
        duplicate.into_iter().chain(first).chain(waiting).chain(last).take(limit).collect()
    }

    /// The end of the out-of-order data.
    pub(super) fn sacked_end(&self) -> Option<SeqNumber> {
        let fin_end = self.early_fin().map(|fin| fin.at + 1);
        fin_end.or_else(|| self.assembler.as_ref()?.end())
    }

    /// Whether an acknowledgement would have SACK blocks.
    pub(super) fn has_sack_blocks(&self) -> bool {
        self.has_gaps() || self.has_duplicate() || self.early_fin().is_some()
    }

    pub(super) fn has_duplicate(&self) -> bool {
        self.duplicate.0 != self.duplicate.1
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

    /// Discards out-of-order data when the connection has ended. In-order data may still be read.
    pub(super) fn forget_gaps(&mut self) {
        self.assembler = None;
        if !self.is_fin_received() {
            self.fin = PeerFin::None;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.queue.memory_bytes() + self.assembler.as_ref().map_or(0, |assembler| assembler.memory_bytes())
    }
}
