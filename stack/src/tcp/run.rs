//! A run: the segments that a connection sends at once.

use core::mem;

use super::{Flags, Header};
use crate::frame::{Payload, PayloadCursor};

/// Consecutive segments under one header, which the socket layer or the device cuts. Most often it
/// is one segment.
///
/// All but the last hold [`segment_len`](Run::segment_len) bytes, and only the last has the PSH and
/// the FIN of the header. The iterator returns the segments one by one.
#[derive(Debug)]
pub(crate) struct Run {
    /// The header of all remaining segments; its sequence number is that of the first.
    header: Header,
    payload: PayloadCursor,
    segment_len: usize,
    is_over: bool,
}

impl Run {
    /// A run of one segment.
    pub(crate) fn one(header: Header, payload: Payload) -> Run {
        Run::new(header, payload, usize::MAX)
    }

    /// A run with segments of `segment_len` bytes; the last may have fewer.
    pub(crate) fn new(header: Header, payload: Payload, segment_len: usize) -> Run {
        Run { header, payload: PayloadCursor::new(payload), segment_len, is_over: false }
    }

    /// The same with PSH in its last segment.
    pub(super) fn pushed(mut self) -> Run {
        self.header.flags = self.header.flags.with(Flags::PSH);
        self
    }

    /// The header of all remaining segments.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes in all remaining segments.
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The bytes in each segment but the last.
    pub(crate) fn segment_len(&self) -> usize {
        self.segment_len
    }

    /// Whether all segments were taken.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The remaining segments as one; `None` if all were taken.
    pub(crate) fn rest(self) -> Option<(Header, PayloadCursor)> {
        (!self.is_over).then_some((self.header, self.payload))
    }
}

impl Iterator for Run {
    type Item = (Header, Payload);

    fn next(&mut self) -> Option<(Header, Payload)> {
        if self.is_over {
            return None;
        }
        let len = self.segment_len;
        self.is_over = self.payload.len() <= len;
        if self.is_over {
            return Some((mem::take(&mut self.header), self.payload.take_all()));
        }
        let mut header = self.header.clone();
        header.flags = header.flags.without(Flags::PSH.with(Flags::FIN));
        // This segment is full, because it is not the last, and far smaller than 2^32 bytes.
        self.header.seq += len as u32;
        Some((header, self.payload.take(len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::SeqNumber;
    use bytes::Bytes;
    use std::vec::Vec;

    fn run(len: usize, segment_len: usize) -> Vec<(u32, Flags, usize)> {
        let flags = Flags::PSH_ACK.with(Flags::FIN);
        let header = Header { seq: SeqNumber(u32::MAX), flags, ..Header::default() };
        let payload = Payload::from_iter([Bytes::from(std::vec![7; len])]);
        let segments = Run::new(header, payload, segment_len);
        segments.map(|(header, payload)| (header.seq.0, header.flags, payload.concat().len())).collect()
    }

    #[test]
    fn only_the_last_segment_is_pushed_and_ends_the_stream() {
        let last = Flags::PSH_ACK.with(Flags::FIN);
        assert_eq!(run(0, 10), [(u32::MAX, last, 0)]);
        assert_eq!(run(10, 10), [(u32::MAX, last, 10)]);
        assert_eq!(run(11, 10), [(u32::MAX, Flags::ACK, 10), (9, last, 1)]);
        assert_eq!(run(20, 10), [(u32::MAX, Flags::ACK, 10), (9, last, 10)]);
        assert_eq!(run(1000, usize::MAX), [(u32::MAX, last, 1000)]);
    }
}
