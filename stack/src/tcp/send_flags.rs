//! What a program says of the data of one send: that more follows (MSG_MORE), that a record ends
//! with it (MSG_EOR).

use alloc::collections::VecDeque;
use core::mem;

use super::sender::{More, Sender};
use super::{Connection, SeqNumber, State};

/// Flags of one send. Both count only if all of its data was taken, as on Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendFlags {
    /// MSG_MORE: more data follows at once, so the last segment waits for it if it is not full, as
    /// under TCP_CORK. But it goes out as soon as the peer acknowledges something. It outdoes
    /// TCP_NODELAY.
    pub more: bool,
    /// MSG_EOR: no segment holds data from both sides of this end.
    pub end_of_record: bool,
}

impl SendFlags {
    /// MSG_MORE.
    pub const MORE: SendFlags = SendFlags { more: true, end_of_record: false };
    /// MSG_EOR.
    pub const END_OF_RECORD: SendFlags = SendFlags { more: false, end_of_record: true };

    /// The same with these set, too.
    pub const fn with(self, other: SendFlags) -> SendFlags {
        SendFlags { more: self.more | other.more, end_of_record: self.end_of_record | other.end_of_record }
    }
}

impl Connection {
    /// The program has sent something with these flags, and all of it was taken.
    pub(crate) fn set_send_flags(&mut self, flags: SendFlags) {
        self.snd.more = if flags.more { More::Held } else { More::No };
        // Data in a SYN is a segment of its own.
        if flags.end_of_record && self.state != State::SynSent {
            self.snd.end_record();
        }
    }

    /// TCP_NODELAY is set or TCP_CORK taken off, or the peer has acknowledged something: what was
    /// held goes out.
    pub(super) fn release_held(&mut self) {
        if self.snd.more == More::Held {
            self.snd.more = More::Awaited;
        }
    }
}

impl Sender {
    /// A record ends with what is queued.
    fn end_record(&mut self) {
        // A send queue is far smaller than 2^32 bytes.
        let end = self.una + self.queue.len() as u32;
        let records = self.records.get_or_insert_default();
        if records.back() != Some(&end) {
            records.push_back(end);
        }
    }

    /// Where the record ends in which `seq` lies, if that is known.
    pub(super) fn record_end(&self, seq: SeqNumber) -> Option<SeqNumber> {
        let records = self.records.as_ref()?;
        records.get(records.partition_point(|end| end.before_eq(seq))).copied()
    }

    /// Whether a record ends at `seq`.
    pub(super) fn is_record_end(&self, seq: SeqNumber) -> bool {
        self.record_end(seq - 1) == Some(seq)
    }

    /// `seq..end`, cut off where the record of its last byte begins.
    pub(super) fn last_record_of(&self, seq: SeqNumber, end: SeqNumber) -> SeqNumber {
        let Some(records) = self.records.as_ref() else { return seq };
        let before = records.partition_point(|record| record.before(end));
        let begin = before.checked_sub(1).and_then(|at| records.get(at));
        begin.map_or(seq, |&begin| begin.max(seq))
    }

    /// Bytes from SND.NXT to the end of their record, or of the queue.
    pub(super) fn unsent_of_record(&self) -> usize {
        let unsent = self.unsent();
        // Asked before every segment.
        if self.records.is_none() {
            return unsent;
        }
        self.record_end(self.nxt).map_or(unsent, |end| unsent.min((end - self.nxt) as usize))
    }

    /// Everything before SND.UNA is acknowledged.
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

    /// The memory behind the list of records.
    pub(super) fn record_bytes(&self) -> usize {
        self.records.as_ref().map_or(0, |records| {
            mem::size_of::<VecDeque<SeqNumber>>() + records.capacity() * mem::size_of::<SeqNumber>()
        })
    }
}
