//! The scoreboard: for each range of data in flight, when it was last sent, and whether it is lost
//! or SACKed (RFC 6675 §3: RFC6675-3; RFC 8985 §5.2: RFC8985-5.2).
//!
//! ```text
//!       SND.UNA                                                          SND.NXT
//!          |  lost  | in flight | sacked | in flight (again) |  sacked  |  in flight  |
//! ```
//!
//! A record covers what was sent at once, up to a whole run of segments. It is split where a SACK
//! block or a loss ends, always between segments. Everything that is neither lost nor SACKed counts
//! as in the network: RFC 6675's pipe.

mod sacks;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use super::rate::Stamp;
use super::sent_range::{RecordState, SentRange};
use super::{SackBlocks, SeqNumber};
use crate::time::Instant;

/// Longer lists are freed when nothing is in flight any more, so that a spare scoreboard is small.
const KEPT_RECORDS: usize = 64;
/// With more transmissions than this, in addition to two for each record, those that were overtaken
/// are removed.
const OVERTAKEN_TRANSMISSIONS: usize = 64;

/// RACK's verdict on a record in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Overdue {
    /// Later data has arrived, and the reordering window has passed.
    Lost,
    /// Later data has arrived: the record counts as lost at this time.
    At(Instant),
    /// No later data has arrived.
    No,
}

/// One transmission, in the order of time.
#[derive(Clone, Copy, Debug)]
struct Transmission {
    at: Instant,
    seq: SeqNumber,
    end: SeqNumber,
}

/// The records, and sums over them in bytes of the sequence space.
#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    /// In the order of sequence numbers, without gaps.
    records: VecDeque<SentRange>,
    /// Transmissions in the order of time. Those that were overtaken (acknowledged, sent again,
    /// lost) are removed when they reach the front.
    transmissions: VecDeque<Transmission>,
    sacked: u32,
    lost: u32,
    /// Retransmitted bytes in flight.
    repeated: u32,
    /// No record before this is lost.
    lost_from: SeqNumber,
    /// The SACK blocks of the last acknowledgement: most of the next one's are the same.
    seen: Option<Box<SackBlocks>>,
}

impl Scoreboard {
    pub(super) const fn new() -> Scoreboard {
        Scoreboard {
            records: VecDeque::new(),
            transmissions: VecDeque::new(),
            sacked: 0,
            lost: 0,
            repeated: 0,
            lost_from: SeqNumber(0),
            seen: None,
        }
    }

    /// Whether nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives back capacity that holds no records.
    pub(super) fn give_back_capacity(&mut self) {
        self.records.shrink_to_fit();
        self.transmissions.shrink_to_fit();
    }

    /// Bytes that the peer has sacked.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are lost and were not sent again.
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// Retransmitted bytes that are in flight.
    pub(super) fn repeated(&self) -> u32 {
        self.repeated
    }

    /// The first record, which begins at SND.UNA.
    pub(super) fn first(&self) -> Option<&SentRange> {
        self.records.front()
    }

    /// Whether what begins at this number is lost.
    pub(super) fn is_lost_at(&self, seq: SeqNumber) -> bool {
        self.records
            .get(self.find(seq))
            .is_some_and(|record| record.seq == seq && record.state == RecordState::Lost)
    }

    /// When the earliest transmission that may be in flight was sent.
    pub(super) fn first_transmission_at(&self) -> Option<Instant> {
        self.transmissions.front().map(|sending| sending.at)
    }

    /// The memory it holds, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        mem::size_of::<Scoreboard>()
            + self.records.capacity() * mem::size_of::<SentRange>()
            + self.transmissions.capacity() * mem::size_of::<Transmission>()
    }

    /// Records new data or a FIN, sent behind everything in flight.
    pub(super) fn on_sent(
        &mut self,
        now: Instant,
        seq: SeqNumber,
        end: SeqNumber,
        segment_len: u16,
        stamp: Stamp,
    ) {
        let record = SentRange {
            seq,
            end,
            sent_at: now,
            stamp,
            segment_len,
            state: RecordState::InFlight,
            is_repeated: false,
        };
        self.records.push_back(record);
        self.transmissions.push_back(Transmission { at: now, seq, end });
    }

    /// Everything before `una` is acknowledged. Calls `delivered` for each record that this newly
    /// delivers, with the number of bytes.
    pub(super) fn acknowledge(&mut self, una: SeqNumber, mut delivered: impl FnMut(&SentRange, u32)) {
        while let Some(first) = self.records.front_mut() {
            if first.seq.after_eq(una) {
                break;
            }
            let len = first.end.min(una) - first.seq;
            match first.state {
                RecordState::InFlight if first.is_repeated => self.repeated -= len,
                RecordState::InFlight => {}
                RecordState::Lost => self.lost -= len,
                RecordState::Sacked => self.sacked -= len,
            }
            if first.state != RecordState::Sacked && first.end.after(una) {
                // It is not known whether the rest has arrived.
                delivered(&SentRange { end: una, ..first.clone() }, len);
            } else if first.state != RecordState::Sacked {
                delivered(first, len);
            }
            if first.end.after(una) {
                first.seq = una;
                break;
            }
            self.records.pop_front();
        }
        if self.records.is_empty() {
            return self.reset();
        }
        while self.transmissions.front().is_some_and(|sending| sending.end.before_eq(una)) {
            self.transmissions.pop_front();
        }
    }

    /// Nothing is in flight.
    fn reset(&mut self) {
        if self.records.capacity() > KEPT_RECORDS {
            self.records = VecDeque::new();
        }
        self.transmissions.clear();
        if self.transmissions.capacity() > KEPT_RECORDS {
            self.transmissions = VecDeque::new();
        }
        self.seen = None;
    }

    /// Forgets the SACK blocks of the last acknowledgement. If it was long ago, their numbers may
    /// mean other data now.
    pub(super) fn forget_seen(&mut self) {
        self.seen = None;
    }

    /// Marks as lost the records for which `judge` says so, from the earliest transmission on.
    /// Returns when the next may be lost. Calls `lost` for each record, as the methods below do.
    pub(super) fn mark_overdue(
        &mut self,
        judge: impl Fn(&SentRange) -> Overdue,
        lost: &mut impl FnMut(&SentRange),
    ) -> Option<Instant> {
        while let Some(&sending) = self.transmissions.front() {
            let mut index = self.find(sending.seq);
            while let Some(record) = self.records.get_mut(index) {
                if record.seq.after_eq(sending.end) {
                    break;
                }
                if record.state == RecordState::InFlight && record.sent_at == sending.at {
                    match judge(record) {
                        Overdue::Lost => self.mark_lost(index, lost),
                        Overdue::At(at) => return Some(at),
                        Overdue::No => return None,
                    }
                }
                index += 1;
            }
            self.transmissions.pop_front();
        }
        None
    }

    /// The first segment counts as lost, if it is in flight.
    pub(super) fn mark_first_lost(&mut self, lost: &mut impl FnMut(&SentRange)) {
        let Some(first) = self.records.front() else { return };
        if first.state == RecordState::InFlight {
            let end = first.boundary_from(first.seq + 1);
            self.split(0, end);
            self.mark_lost(0, lost);
        }
    }

    /// Marks everything that is not sacked as lost.
    pub(super) fn mark_all_lost(&mut self, lost: &mut impl FnMut(&SentRange)) {
        self.transmissions.clear();
        self.mark_where(|_| true, lost);
    }

    /// Marks segments larger than `mss` as lost, as the path does not take them.
    pub(super) fn mark_oversized_lost(&mut self, mss: u16, lost: &mut impl FnMut(&SentRange)) {
        // The last segment of a run may be small enough.
        for index in (0..self.records.len()).rev() {
            let record = &self.records[index];
            let last = record.boundary_to(record.end - 1);
            if record.segment_len > mss && record.end - last <= u32::from(mss) {
                self.split(index, last);
            }
        }
        self.mark_where(|record| record.segment_len > mss && record.len() > u32::from(mss), lost);
    }

    fn mark_where(&mut self, is_lost: impl Fn(&SentRange) -> bool, lost: &mut impl FnMut(&SentRange)) {
        for index in 0..self.records.len() {
            if self.records[index].state == RecordState::InFlight && is_lost(&self.records[index]) {
                self.mark_lost(index, lost);
            }
        }
    }

    fn mark_lost(&mut self, index: usize, lost: &mut impl FnMut(&SentRange)) {
        let Some(record) = self.records.get_mut(index) else { return };
        lost(record);
        let len = record.len();
        if record.is_repeated {
            self.repeated -= len;
        }
        if self.lost == 0 || record.seq.before(self.lost_from) {
            self.lost_from = record.seq;
        }
        record.state = RecordState::Lost;
        self.lost += len;
    }

    /// Unmarks what was marked as lost, after a spurious episode (RFC 4015 §3.2): it is in flight
    /// again.
    pub(super) fn unmark_lost(&mut self) {
        for record in &mut self.records {
            if record.state == RecordState::Lost {
                record.state = RecordState::InFlight;
                if record.is_repeated {
                    self.repeated += record.len();
                }
            }
        }
        self.lost = 0;
        // Their transmissions may have been removed from the list.
        let in_flight = self.records.iter().filter(|record| record.state == RecordState::InFlight);
        let mut transmissions: Vec<Transmission> = in_flight
            .map(|record| Transmission { at: record.sent_at, seq: record.seq, end: record.end })
            .collect();
        transmissions.sort_by_key(|sending| sending.at);
        self.transmissions = transmissions.into();
    }

    /// Discards all SACK information after the peer reneged (RFC 2018 §8). The times of
    /// transmission are no longer known, so all of it counts as lost next.
    pub(super) fn forget_sacks(&mut self) {
        for record in &mut self.records {
            if record.state == RecordState::Sacked {
                record.state = RecordState::InFlight;
                if record.is_repeated {
                    self.repeated += record.len();
                }
            }
        }
        self.sacked = 0;
        self.seen = None;
    }

    /// The first lost range, at most `max` bytes.
    pub(super) fn next_lost(&mut self, max: u32) -> Option<(SeqNumber, SeqNumber)> {
        if self.lost == 0 {
            return None;
        }
        let mut index = self.find(self.lost_from);
        while self.records.get(index)?.state != RecordState::Lost {
            index += 1;
        }
        let first = &self.records[index];
        self.lost_from = first.seq;
        let (seq, limit) = (first.seq, first.seq + max);
        // Adjacent lost records that were sent one by one can be sent together now.
        let lost = |record: &&SentRange| record.state == RecordState::Lost && record.seq.before(limit);
        let end = self.records.range(index..).take_while(lost).last()?.end;
        Some((seq, end.min(limit)))
    }

    /// Records that `seq..end`, all lost or all in flight, was sent again in segments of
    /// `segment_len`.
    pub(super) fn on_resent(
        &mut self,
        now: Instant,
        seq: SeqNumber,
        end: SeqNumber,
        segment_len: u16,
        stamp: Stamp,
    ) {
        let mut index = self.find(seq);
        if self.records.get(index).is_some_and(|record| record.seq.before(seq)) {
            self.split(index, seq);
            index += 1;
        }
        // Merge the records from here on.
        let mut count = 0;
        while let Some(record) = self.records.get(index + count)
            && record.seq.before(end)
        {
            if record.end.after(end) {
                self.split(index + count, end);
            }
            count += 1;
        }
        if count > 1 {
            self.records.drain(index + 1..index + count);
        }
        let Some(record) = self.records.get_mut(index) else { return };
        match record.state {
            RecordState::Lost => self.lost -= end - seq,
            RecordState::InFlight if record.is_repeated => self.repeated -= end - seq,
            RecordState::InFlight | RecordState::Sacked => {}
        }
        *record = SentRange {
            seq,
            end,
            sent_at: now,
            stamp,
            segment_len,
            state: RecordState::InFlight,
            is_repeated: true,
        };
        self.repeated += end - seq;
        self.transmissions.push_back(Transmission { at: now, seq, end });
        if self.transmissions.len() > OVERTAKEN_TRANSMISSIONS + 2 * self.records.len() {
            self.forget_overtaken();
        }
    }

    /// Removes transmissions of which nothing is in flight any more. They reach the front late if
    /// the first one stays.
    fn forget_overtaken(&mut self) {
        let Scoreboard { records, transmissions, .. } = self;
        transmissions.retain(|sending| {
            let first = records.partition_point(|record| record.end.before_eq(sending.seq));
            let covered = records.range(first..).take_while(|record| record.seq.before(sending.end));
            covered
                .clone()
                .any(|record| record.state == RecordState::InFlight && record.sent_at == sending.at)
        });
    }

    /// The last segment, which a loss probe repeats; `None` if it is not in flight. A FIN has a
    /// record of its own; the last segment includes the data that was sent with the FIN at
    /// `fin_at`.
    pub(super) fn last_segment(&self, fin_at: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let mut records = self.records.iter().rev();
        let last = records.next().filter(|last| last.state == RecordState::InFlight)?;
        let is_with_last = |record: &&SentRange| {
            record.state == RecordState::InFlight
                && record.sent_at == last.sent_at
                && record.is_repeated == last.is_repeated
        };
        let first = match records.next().filter(is_with_last) {
            Some(data) if last.seq == fin_at => data,
            _ => last,
        };
        Some((first.boundary_to(first.end - 1), last.end))
    }

    /// The record that holds `seq`, or the first behind it.
    fn find(&self, seq: SeqNumber) -> usize {
        self.records.partition_point(|record| record.end.before_eq(seq))
    }

    /// Splits a record at a number inside it.
    fn split(&mut self, index: usize, at: SeqNumber) {
        let Some(record) = self.records.get_mut(index) else { return };
        if at.before_eq(record.seq) || at.after_eq(record.end) {
            return;
        }
        let behind = SentRange { seq: at, ..record.clone() };
        record.end = at;
        self.records.insert(index + 1, behind);
    }
}

#[cfg(test)]
mod tests;
