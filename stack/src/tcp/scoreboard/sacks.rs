//! How SACK blocks split, mark and merge the records (RFC 2018).

use super::Scoreboard;
use crate::tcp::sent_range::{RecordState, SentRange};
use crate::tcp::{SackBlocks, SeqNumber};

impl Scoreboard {
    /// Marks these blocks as sacked; each lies within the data in flight. Calls `delivered` for
    /// what was not sacked before.
    pub(in crate::tcp) fn on_sack(&mut self, blocks: SackBlocks, mut delivered: impl FnMut(&SentRange, u32)) {
        let mut seen = self.seen.take().unwrap_or_default();
        for &block in &blocks {
            self.select_unseen(block, block, &seen, &mut delivered);
        }
        *seen = blocks;
        self.seen = Some(seen);
    }

    /// Marks those parts of `part`, a part of `block`, that are in no block of the last
    /// acknowledgement.
    fn select_unseen(
        &mut self,
        part: (SeqNumber, SeqNumber),
        block: (SeqNumber, SeqNumber),
        seen: &[(SeqNumber, SeqNumber)],
        delivered: &mut impl FnMut(&SentRange, u32),
    ) {
        let (left, right) = part;
        let Some((&(seen_left, seen_right), rest)) = seen.split_first() else {
            return self.select(part, block, delivered);
        };
        if seen_right.before_eq(left) || seen_left.after_eq(right) {
            return self.select_unseen(part, block, rest, delivered);
        }
        if left.before(seen_left) {
            self.select_unseen((left, seen_left), block, rest, delivered);
        }
        if seen_right.before(right) {
            self.select_unseen((seen_right, right), block, rest, delivered);
        }
    }

    /// Marks the segments that touch `part` and lie in `block` as sacked. A segment that the block
    /// covers only in part does not count (as on Linux): otherwise a peer could split the records
    /// into bytes.
    fn select(
        &mut self,
        part: (SeqNumber, SeqNumber),
        block: (SeqNumber, SeqNumber),
        delivered: &mut impl FnMut(&SentRange, u32),
    ) {
        let first = self.find(part.0);
        let mut index = first;
        while let Some(record) = self.records.get(index) {
            if record.seq.after_eq(part.1) {
                break;
            }
            let (left, right) = (record.boundary_from(block.0), record.boundary_to(block.1));
            if record.state == RecordState::Sacked || left.after_eq(right) {
                index += 1;
                continue;
            }
            let piece = SentRange { seq: left, end: right, ..record.clone() };
            let len = piece.len();
            match piece.state {
                RecordState::InFlight if piece.is_repeated => self.repeated -= len,
                RecordState::Lost => self.lost -= len,
                RecordState::InFlight | RecordState::Sacked => {}
            }
            delivered(&piece, len);
            self.sacked += len;
            index = self.place_sacked(index, &piece);
        }
        self.merge_sacked(first, index);
    }

    /// Marks `piece`, a part of a record, as sacked. Returns the first record behind it.
    fn place_sacked(&mut self, index: usize, piece: &SentRange) -> usize {
        let [previous, record] = [index.wrapping_sub(1), index].map(|index| self.records.get(index));
        let is_front = record.is_some_and(|record| record.seq == piece.seq && piece.end.before(record.end));
        if is_front && previous.is_some_and(SentRange::is_sacked) {
            // The usual case: a block grows, and no record has to move.
            self.records[index - 1].absorb(piece);
            self.records[index].seq = piece.end;
            return index;
        }
        self.split(index, piece.seq);
        let index = self.find(piece.seq);
        self.split(index, piece.end);
        if let Some(record) = self.records.get_mut(index) {
            record.state = RecordState::Sacked;
        }
        index + 1
    }

    /// Sacked neighbours among the records `first..behind` and those beside them become one (as on
    /// Linux): numbers that a peer reports again and again are skipped in one step.
    fn merge_sacked(&mut self, first: usize, behind: usize) {
        let mut kept = first.saturating_sub(1);
        let behind = (behind + 1).min(self.records.len());
        for index in kept + 1..behind {
            if self.records[kept].is_sacked() && self.records[index].is_sacked() {
                let next = self.records[index].clone();
                self.records[kept].absorb(&next);
            } else {
                kept += 1;
                self.records.swap(kept, index);
            }
        }
        if kept + 1 < behind {
            self.records.drain(kept + 1..behind);
        }
    }
}
