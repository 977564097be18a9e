//! Out-of-order data, which waits until the gap before it is filled (RFC 9293 §3.10.7.4).
//!
//! Ranges are sorted and never touch: two that meet become one. Data that arrived first stays; a
//! later segment that overlaps it only fills gaps, so an attacker's segment cannot replace data.

use alloc::collections::VecDeque;
use core::mem;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::SeqNumber;

/// A piece smaller than this is copied, so that it does not keep its whole frame in memory, and
/// joined with a small neighbour.
const SMALL_PIECE_BYTES: usize = 512;
/// The size up to which pieces are joined. It limits how many bytes each further small piece
/// copies.
const JOINED_PIECE_BYTES: usize = 2048;
/// SACK blocks that fit into a header without timestamps (RFC 2018 §3).
const MAX_SACK_BLOCKS: usize = 4;

/// What [`Assembler::insert`] did with a segment's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Insert {
    /// At least some of it was new and is kept.
    Stored,
    /// All of it had arrived before.
    Duplicate,
    /// It would need one range too many: nothing is kept.
    Full,
}

/// The out-of-order data of a connection. All sequence numbers must lie within one receive window,
/// less than 2^31 apart.
#[derive(Debug)]
pub(crate) struct Assembler {
    ranges: VecDeque<Range>,
    /// The bytes of data that wait.
    buffered_bytes: usize,
    /// The capacity of all ranges' lists of pieces.
    list_entries: usize,
    /// A sequence number in each of the ranges that changed last, the latest first.
    recent: SmallVec<[SeqNumber; MAX_SACK_BLOCKS + 1]>,
}

/// Contiguous data.
struct Range {
    start: SeqNumber,
    end: SeqNumber,
    /// In order, without gaps, from `start` to `end`. No two neighbours are small.
    pieces: VecDeque<Bytes>,
}

impl Assembler {
    pub(crate) fn new() -> Assembler {
        Assembler { ranges: VecDeque::new(), buffered_bytes: 0, list_entries: 0, recent: SmallVec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The start of the first range.
    pub(crate) fn start(&self) -> Option<SeqNumber> {
        self.ranges.front().map(|range| range.start)
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> Option<SeqNumber> {
        self.ranges.back().map(|range| range.end)
    }

    /// All memory of the ranges.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffered_bytes
            + self.list_entries * mem::size_of::<Bytes>()
            + self.ranges.capacity() * mem::size_of::<Range>()
    }

    /// The bytes of data that wait.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Frees unused capacity of the list of ranges.
    pub(crate) fn give_back_capacity(&mut self) {
        self.ranges.shrink_to_fit();
    }

    /// Stores the new part of `data`, which begins at `seq`, unless that makes more than
    /// `max_ranges` ranges.
    pub(crate) fn insert(&mut self, seq: SeqNumber, data: Bytes, max_ranges: usize) -> Insert {
        if data.is_empty() {
            return Insert::Duplicate;
        }
        let end = seq + data.len() as u32;
        let (first, after) = self.touching(seq, end);
        if first == after && self.ranges.len() >= max_ranges {
            return Insert::Full;
        }
        if let Some(range) = self.ranges.get_mut(first)
            && first + 1 == after
            && seq.after_eq(range.start)
        {
            // The usual cases: the next segment after a loss, or a duplicate.
            let is_new = end.after(range.end);
            if is_new {
                let entries = range.pieces.capacity();
                self.buffered_bytes += range.append(seq, &data);
                self.list_entries += range.pieces.capacity() - entries;
            }
            let (start, end) = (range.start, range.end);
            self.note_touched(seq, start, end);
            return if is_new { Insert::Stored } else { Insert::Duplicate };
        }
        let joined = self.join(first, after, seq, &data);
        self.note_touched(seq, joined.start, joined.end);
        self.list_entries += joined.pieces.capacity();
        self.ranges.insert(first, joined);
        Insert::Stored
    }

    /// Marks the last range as the one that changed last, if it ends at `end`.
    pub(crate) fn touch_last(&mut self, end: SeqNumber) {
        if let Some(last) = self.ranges.back().filter(|last| last.end == end) {
            let start = last.start;
            self.note_touched(start, start, end);
        }
    }

    /// Notes that the range `start..end` has just changed, at `seq`.
    fn note_touched(&mut self, seq: SeqNumber, start: SeqNumber, end: SeqNumber) {
        self.recent.retain(|other| other.before(start) || other.after_eq(end));
        self.recent.insert(0, seq);
        self.recent.truncate(MAX_SACK_BLOCKS);
    }

    /// Discards whole pieces that begin at `seq` or after it, the last first, until `wanted` bytes
    /// are free. Returns how many bytes it discarded.
    pub(crate) fn prune(&mut self, seq: SeqNumber, wanted: usize) -> usize {
        let mut pruned = 0;
        while pruned < wanted
            && let Some(range) = self.ranges.back_mut()
            && let Some(last) = range.pieces.back()
            && (range.end - last.len() as u32).after_eq(seq)
        {
            pruned += last.len();
            range.end = range.end - last.len() as u32;
            range.pieces.pop_back();
            if range.pieces.is_empty() {
                self.list_entries -= range.pieces.capacity();
                self.ranges.pop_back();
            }
        }
        self.buffered_bytes -= pruned;
        self.free_if_empty();
        pruned
    }

    /// Removes and returns the next piece of data that continues at `rcv_nxt`, without the part
    /// that was received since. Call it again, with RCV.NXT moved on, until it returns `None`.
    pub(crate) fn take_ready(&mut self, rcv_nxt: SeqNumber) -> Option<Bytes> {
        while let Some(range) = self.ranges.front_mut() {
            if range.start.after(rcv_nxt) {
                return None;
            }
            while let Some(mut piece) = range.pieces.pop_front() {
                let piece_start = range.start;
                range.start += piece.len() as u32;
                self.buffered_bytes -= piece.len();
                if range.start.after(rcv_nxt) {
                    let _received = piece.split_to((rcv_nxt - piece_start) as usize);
                    self.drop_first_if_empty();
                    return Some(piece);
                }
            }
            self.drop_first_if_empty();
        }
        None
    }

    /// Up to four ranges, as left and right edges: those that changed last, the latest first (RFC
    /// 2018 §4, RFC2018-4-c), then the last ones in the sequence space. There may be thousands of
    /// ranges; it visits only those four. Correct once [`take_ready`](Assembler::take_ready) has
    /// returned `None` for the current RCV.NXT.
    pub(crate) fn sack_blocks(&self) -> impl Iterator<Item = (SeqNumber, SeqNumber)> {
        let mut blocks: SmallVec<[(SeqNumber, SeqNumber); MAX_SACK_BLOCKS]> =
            self.recent.iter().filter_map(|&seq| self.containing(seq)).collect();
        for range in self.ranges.iter().rev() {
            if blocks.len() == MAX_SACK_BLOCKS {
                break;
            }
            let block = (range.start, range.end);
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        blocks.into_iter()
    }

    /// The first part of `seq..end` that has arrived before (RFC 2883 §4 reports no more than one).
    pub(crate) fn first_overlap(&self, seq: SeqNumber, end: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.end.before_eq(seq)))?;
        let (left, right) = (range.start.max(seq), range.end.min(end));
        left.before(right).then_some((left, right))
    }

    /// The range that contains a sequence number, if any.
    fn containing(&self, seq: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.end.before_eq(seq)))?;
        range.start.before_eq(seq).then_some((range.start, range.end))
    }

    /// The indices of the ranges that overlap or touch `seq..end`: the first, and one past the
    /// last. If there are none, both are the place of a new range.
    fn touching(&self, seq: SeqNumber, end: SeqNumber) -> (usize, usize) {
        let first = self.ranges.partition_point(|range| range.end.before(seq));
        (first, self.ranges.partition_point(|range| range.start.before_eq(end)).max(first))
    }

    /// Removes the ranges `first..after` and joins them to one, with `data` in the gaps.
    fn join(&mut self, first: usize, after: usize, seq: SeqNumber, data: &Bytes) -> Range {
        let mut joined = Range { start: seq, end: seq, pieces: VecDeque::new() };
        for range in self.ranges.drain(first..after) {
            self.list_entries -= range.pieces.capacity();
            if range.start.before(joined.start) {
                // Only the first can begin before the data.
                joined = range;
                continue;
            }
            // The gap before this range, which the data fills.
            let hole = ((range.start - seq) as usize).min(data.len());
            self.buffered_bytes += joined.append(seq, &data.slice(..hole));
            joined.end = range.end;
            // Moves the shorter list of pieces into the longer one.
            if joined.pieces.len() < range.pieces.len() {
                let mut pieces = range.pieces;
                while let Some(piece) = joined.pieces.pop_back() {
                    push_front_joining(&mut pieces, piece);
                }
                joined.pieces = pieces;
            } else {
                for piece in range.pieces {
                    push_back_joining(&mut joined.pieces, piece);
                }
            }
        }
        self.buffered_bytes += joined.append(seq, data);
        joined
    }

    fn drop_first_if_empty(&mut self) {
        let is_empty = self.ranges.front().is_some_and(|range| range.pieces.is_empty());
        if is_empty && let Some(range) = self.ranges.pop_front() {
            self.list_entries -= range.pieces.capacity();
        }
        self.free_if_empty();
    }

    /// An empty assembler holds no memory.
    fn free_if_empty(&mut self) {
        if self.ranges.is_empty() {
            self.ranges = VecDeque::new();
        }
    }
}

impl Range {
    /// Appends the part of `data` after the range's end. `data` begins at `seq`, which must not be
    /// after the end. Returns how many bytes it appended.
    fn append(&mut self, seq: SeqNumber, data: &Bytes) -> usize {
        let known = (self.end - seq) as usize;
        let Some(new) = data.len().checked_sub(known).filter(|&new| new > 0) else { return 0 };
        let piece = data.slice(known..);
        let piece = if new < SMALL_PIECE_BYTES { Bytes::copy_from_slice(&piece) } else { piece };
        push_back_joining(&mut self.pieces, piece);
        self.end += new as u32;
        new
    }
}

fn push_back_joining(pieces: &mut VecDeque<Bytes>, piece: Bytes) {
    match pieces.back_mut() {
        Some(last) if worth_joining(last, &piece) => *last = concat(last, &piece),
        _ => pieces.push_back(piece),
    }
}

fn push_front_joining(pieces: &mut VecDeque<Bytes>, piece: Bytes) {
    match pieces.front_mut() {
        Some(first) if worth_joining(&piece, first) => *first = concat(&piece, first),
        _ => pieces.push_front(piece),
    }
}

/// Whether two pieces are joined. Otherwise a peer could make us keep a list entry and an
/// allocation for each byte.
fn worth_joining(one: &Bytes, other: &Bytes) -> bool {
    one.len().min(other.len()) < SMALL_PIECE_BYTES && one.len() + other.len() <= JOINED_PIECE_BYTES
}

fn concat(one: &Bytes, other: &Bytes) -> Bytes {
    let mut both = BytesMut::with_capacity(one.len() + other.len());
    both.extend_from_slice(one);
    both.extend_from_slice(other);
    both.freeze()
}

impl core::fmt::Debug for Range {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}..{:?} in {} pieces", self.start, self.end, self.pieces.len())
    }
}

#[cfg(test)]
mod tests;
