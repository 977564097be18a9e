//! Joins consecutive segments of a burst, so that a run passes through the layers once (GRO).
//!
//! It does for a plain device what offloads do in a device, with frames that were read together. No
//! segment waits longer than its batch.

use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::demux::FourTuple;
use crate::tcp::{Flags, Header, SeqNumber};

/// The most bytes of a run, as with a device: what an IP packet holds.
const MAX_BYTES: usize = 65_535;

/// The run that is being joined, if any.
#[derive(Debug, Default)]
pub(super) struct Joining {
    run: Option<JoinedRun>,
    /// The pieces of the run. An empty list is kept for its memory.
    pieces: Vec<Bytes>,
}

#[derive(Debug)]
struct JoinedRun {
    tuple: FourTuple,
    /// The header of the first segment.
    header: Header,
    /// The sequence number of the next segment.
    next_seq: SeqNumber,
    /// The length of all segments but the last; 0 once the last was added.
    segment_len: usize,
    total_len: usize,
}

impl Joining {
    /// Appends a segment that continues the run; otherwise returns its data.
    pub(super) fn extend(&mut self, tuple: &FourTuple, header: &Header, payload: Bytes) -> Option<Bytes> {
        match &mut self.run {
            Some(run) if run.is_followed_by(tuple, header, &payload) => {
                run.total_len += payload.len();
                // A segment is at most 64 KiB.
                run.next_seq += payload.len() as u32;
                run.header.flags = run.header.flags.with(header.flags);
                if header.flags.contains(Flags::PSH) || payload.len() < run.segment_len {
                    // This was the last segment: none fits after it.
                    run.segment_len = 0;
                }
                self.pieces.push(payload);
                None
            }
            _ => Some(payload),
        }
    }

    /// Begins a run with a segment; returns its data if it cannot begin one.
    pub(super) fn begin(&mut self, tuple: &FourTuple, header: &Header, payload: Bytes) -> Option<Bytes> {
        if !is_plain(header, &payload) || header.flags.contains(Flags::PSH) {
            return Some(payload);
        }
        let segment_len = payload.len();
        // A segment is at most 64 KiB.
        let next_seq = header.seq + segment_len as u32;
        let (tuple, header) = (*tuple, header.clone());
        self.run = Some(JoinedRun { tuple, header, next_seq, segment_len, total_len: segment_len });
        self.pieces.push(payload);
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.run.is_none()
    }

    /// Takes the joined segments, one or more.
    pub(super) fn take(&mut self) -> Option<(FourTuple, Header, Vec<Bytes>)> {
        let JoinedRun { tuple, header, .. } = self.run.take()?;
        Some((tuple, header, mem::take(&mut self.pieces)))
    }

    /// Returns the list for the next run.
    pub(super) fn give_back(&mut self, pieces: Vec<Bytes>) {
        self.pieces = pieces;
    }
}

impl JoinedRun {
    /// Whether a segment continues the run. The rules are those of Linux's tcp_gro_receive: the
    /// same flow, acknowledgement, options, flags and TOS, in order, and no segment longer than the
    /// first.
    fn is_followed_by(&self, tuple: &FourTuple, header: &Header, payload: &Bytes) -> bool {
        header.seq == self.next_seq
            && payload.len() <= self.segment_len
            && self.total_len + payload.len() <= MAX_BYTES
            && header.ack == self.header.ack
            && header.window == self.header.window
            && header.tos == self.header.tos
            && header.flags.without(Flags::PSH) == self.header.flags.without(Flags::PSH)
            && header.options.timestamps == self.header.options.timestamps
            && *tuple == self.tuple
            && is_plain(header, payload)
    }
}

/// Whether a segment has data and an acknowledgement, and no option except timestamps.
fn is_plain(header: &Header, payload: &Bytes) -> bool {
    !payload.is_empty()
        && header.joined_len == 0
        && matches!(header.flags.without(Flags::ECN), Flags::ACK | Flags::PSH_ACK)
        && header.options.sack.is_empty()
        && header.options.accecn.is_none()
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::demux::Endpoint;

    /// How many of the segments of three bytes with these flags, in order, were joined to the
    /// first.
    fn joined(flags: &[Flags]) -> usize {
        let end = |port| Endpoint::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let tuple = FourTuple { local: end(1), remote: end(2), scope: 0 };
        let segment =
            |n: usize| Header { seq: SeqNumber(3 * n as u32), flags: flags[n], ..Header::default() };
        let mut joining = Joining::default();
        if joining.begin(&tuple, &segment(0), Bytes::from_static(b"abc")).is_some() {
            return 0;
        }
        (1..flags.len())
            .take_while(|&n| joining.extend(&tuple, &segment(n), Bytes::from_static(b"abc")).is_none())
            .count()
    }

    #[test]
    fn segments_with_the_same_bits_of_ecn_are_joined() {
        let ece = Flags::ACK.with(Flags::ECE);
        let ace = Flags::ACK.with(Flags::ECN);
        assert_eq!(joined(&[Flags::ACK, Flags::ACK, Flags::PSH_ACK]), 2);
        assert_eq!(joined(&[ece, ece, ece.with(Flags::PSH), ece]), 2);
        assert_eq!(joined(&[ace, ace]), 1);
        // These segments carry other information: the count of marks has changed, or the window was
        // reduced.
        assert_eq!(joined(&[Flags::ACK, ece]), 0);
        assert_eq!(joined(&[ace, ece]), 0);
        assert_eq!(joined(&[Flags::ACK, Flags::ACK.with(Flags::CWR)]), 0);
    }

    #[test]
    fn segments_with_other_flags_are_not_joined() {
        for flag in [Flags::FIN, Flags::URG, Flags::RST, Flags::SYN] {
            assert_eq!(joined(&[Flags::ACK, Flags::ACK.with(flag)]), 0, "{flag:?}");
            assert_eq!(joined(&[Flags::ACK.with(flag), Flags::ACK.with(flag)]), 0, "{flag:?}");
        }
    }
}
