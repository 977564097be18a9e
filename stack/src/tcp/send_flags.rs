//! The flags of one `send`: more data follows (MSG_MORE), or a record ends (MSG_EOR).

use alloc::collections::VecDeque;
use core::mem;

use super::sender::{More, Sender};
use super::{Connection, SeqNumber, State};
use crate::message_flags::SendFlags;

impl Connection {
    /// The program has sent something with these flags, and all of it was taken.
    pub(crate) fn set_send_flags(&mut self, flags: SendFlags) {
        self.snd.more = if flags.contains(SendFlags::MORE) { More::Held } else { More::No };
        // Data in a SYN is a segment of its own.
        if flags.contains(SendFlags::END_OF_RECORD) && self.state != State::SynSent {
            self.snd.end_record();
        }
    }

    /// Releases a held segment: TCP_NODELAY was set, TCP_CORK was cleared, or the peer has
    /// acknowledged data.
    pub(super) fn release_held(&mut self) {
        if self.snd.more == More::Held {
            self.snd.more = More::Awaited;
        }
    }
}

impl Sender {
    /// A record ends after the queued data.
    fn end_record(&mut self) {
        // A send queue is far smaller than 2^32 bytes.
        let end = self.una + self.queue.len() as u32;
        let records = self.records.get_or_insert_default();
        if records.back() != Some(&end) {
            records.push_back(end);
        }
    }

    /// The end of the record that contains `seq`, if known.
    pub(super) fn record_end(&self, seq: SeqNumber) -> Option<SeqNumber> {
        let records = self.records.as_ref()?;
        records.get(records.partition_point(|end| end.before_eq(seq))).copied()
    }

    /// Whether a record ends at `seq`.
    pub(super) fn is_record_end(&self, seq: SeqNumber) -> bool {
        self.record_end(seq - 1) == Some(seq)
    }

    /// The start of the last record in `seq..end`.
    pub(super) fn last_record_of(&self, seq: SeqNumber, end: SeqNumber) -> SeqNumber {
        let Some(records) = self.records.as_ref() else { return seq };
        let before = records.partition_point(|record| record.before(end));
        let begin = before.checked_sub(1).and_then(|at| records.get(at));
        begin.map_or(seq, |&begin| begin.max(seq))
    }

    /// Bytes from SND.NXT to the end of their record, or of the queue.
    pub(super) fn unsent_of_record(&self) -> usize {
        let unsent = self.unsent();
        // Called before every segment.
        if self.records.is_none() {
            return unsent;
        }
        self.record_end(self.nxt).map_or(unsent, |end| unsent.min((end - self.nxt) as usize))
    }

    /// Forgets the ends of acknowledged records.
    pub(super) fn forget_records(&mut self) {
        if let Some(records) = &mut self.records {
            while records.front().is_some_and(|end| end.before_eq(self.una)) {
                records.pop_front();
            }
            if records.is_empty() {
                self.records = None;
            }
        }
    }

    /// The memory of the list of records.
    pub(super) fn record_bytes(&self) -> usize {
        self.records.as_ref().map_or(0, |records| {
            mem::size_of::<VecDeque<SeqNumber>>() + records.capacity() * mem::size_of::<SeqNumber>()
        })
    }
}
