//! A record of the [scoreboard](super::scoreboard): consecutive sequence numbers in the same state.

use super::SeqNumber;
use super::rate::Stamp;
use crate::time::Instant;

/// Whether a record is in flight, lost or SACKed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordState {
    InFlight,
    /// To be sent again.
    Lost,
    /// The peer has it (RFC 2018), but may still discard it.
    Sacked,
}

/// A record: consecutive sequence numbers that were last sent together.
#[derive(Clone, Debug)]
pub(super) struct SentRange {
    pub(super) seq: SeqNumber,
    pub(super) end: SeqNumber,
    /// When they were last sent (RFC8985-4-b).
    pub(super) sent_at: Instant,
    pub(super) stamp: Stamp,
    /// The segments in it begin this far apart, counted from `seq`.
    pub(super) segment_len: u16,
    pub(super) state: RecordState,
    /// Whether it was sent more than once.
    pub(super) is_repeated: bool,
}

impl SentRange {
    pub(super) fn len(&self) -> u32 {
        self.end - self.seq
    }

    pub(super) fn is_sacked(&self) -> bool {
        self.state == RecordState::Sacked
    }

    /// Bytes in the largest of its segments.
    pub(super) fn largest_segment(&self) -> u32 {
        self.len().min(u32::from(self.segment_len))
    }

    /// Takes in the next record, which is sacked as well.
    pub(super) fn absorb(&mut self, next: &SentRange) {
        self.end = next.end;
        self.segment_len = self.segment_len.max(next.segment_len);
        self.is_repeated |= next.is_repeated;
    }

    /// The first boundary between segments at or after `seq`, at most the end.
    pub(super) fn boundary_from(&self, seq: SeqNumber) -> SeqNumber {
        let step = u32::from(self.segment_len.max(1));
        if seq.before_eq(self.seq) {
            return self.seq;
        }
        if seq.after_eq(self.end) {
            return self.end;
        }
        (self.seq + (seq - self.seq).div_ceil(step) * step).min(self.end)
    }

    /// The last boundary between segments at or before `seq`, at least the start.
    pub(super) fn boundary_to(&self, seq: SeqNumber) -> SeqNumber {
        let step = u32::from(self.segment_len.max(1));
        if seq.after_eq(self.end) {
            return self.end;
        }
        if seq.before_eq(self.seq) {
            return self.seq;
        }
        self.seq + (seq - self.seq) / step * step
    }
}
