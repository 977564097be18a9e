//! [`Outgoing`]: the frames that a device is to send.

use std::collections::VecDeque;
use std::io;

use portolan::{PartialChecksum, Segments, Transmit};

/// What a device did with a frame.
// Exhaustive: a device has taken a frame or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that the device had no room for must be offered again"]
pub enum Sent {
    /// The device took the frame. That says nothing about whether the frame arrives.
    Taken,
    /// The device has no room now. The frame is offered again, before any later one, when the
    /// device has room.
    Full,
}

/// The frames that a device is to send, in order. The device takes as many as it has room for; the
/// others stay.
///
/// There are two ways to take a frame. A device that can gather looks at its slices
/// ([`peek`](Outgoing::peek), [`pop`](Outgoing::pop), or [`send_each`](Outgoing::send_each), which
/// does both). A device that has memory of its own has the frame written there
/// ([`write_next`](Outgoing::write_next)).
#[derive(Debug)]
pub struct Outgoing<'a> {
    queue: &'a mut VecDeque<Transmit>,
    /// The length of the queue at which this value ends.
    end: usize,
}

/// A frame that [`Outgoing::write_next`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The number of bytes, headers included.
    pub len: usize,
    /// The number of bytes of the headers, from the link layer's to the transport's.
    pub header_len: usize,
    /// The checksum that the device has to complete. `None` unless the device has that offload.
    pub checksum: Option<PartialChecksum>,
    /// How the device has to cut the frame into segments. `None` unless the device has that
    /// offload.
    pub segments: Option<Segments>,
}

impl<'a> Outgoing<'a> {
    /// Offers the frames of this queue. Wrappers use this for frames that they kept, and tests for
    /// frames that they made.
    pub fn new(queue: &'a mut VecDeque<Transmit>) -> Self {
        Outgoing { queue, end: 0 }
    }

    /// Whether no frame is left.
    pub fn is_empty(&self) -> bool {
        self.queue.len() <= self.end
    }

    /// Returns the next frame, which stays until [`pop`](Outgoing::pop).
    pub fn peek(&mut self) -> Option<&Transmit> {
        if self.is_empty() { None } else { self.queue.front() }
    }

    /// Takes the next frame.
    pub fn pop(&mut self) -> Option<Transmit> {
        if self.is_empty() { None } else { self.queue.pop_front() }
    }

    /// Takes the next frame and writes it, in one piece, to the beginning of `buf`. Pass
    /// `&mut memory[offset..]` to leave head room for a header of the device.
    ///
    /// A frame that is longer than `buf` is lost: pass at least the MTU and the link header, and
    /// 64 KiB more if the device cuts runs of segments.
    pub fn write_next(&mut self, buf: &mut [u8]) -> Option<Written> {
        loop {
            let transmit = self.pop()?;
            let len = transmit.len();
            let Some(mut rest) = buf.get_mut(..len) else {
                log::debug!("a frame of {len} bytes is lost: the device has room for {}", buf.len());
                continue;
            };
            let slices = transmit.payload().iter().map(|slice| &slice[..]);
            for slice in std::iter::once(transmit.header()).chain(slices) {
                let (part, behind) = rest.split_at_mut(slice.len());
                part.copy_from_slice(slice);
                rest = behind;
            }
            return Some(Written {
                len,
                header_len: transmit.header().len(),
                checksum: transmit.checksum(),
                segments: transmit.segments(),
            });
        }
    }

    /// Calls `send` with each frame, until it returns [`Sent::Full`] or an error. Only the frames
    /// that were taken are removed.
    pub fn send_each(&mut self, mut send: impl FnMut(&Transmit) -> io::Result<Sent>) -> io::Result<()> {
        while let Some(transmit) = self.peek() {
            match send(transmit)? {
                Sent::Taken => drop(self.pop()),
                Sent::Full => break,
            }
        }
        Ok(())
    }

    /// Returns the first of these frames, at most so many. A wrapper passes them on one at a time
    /// if it must know which ones the inner device took.
    pub fn at_most(&mut self, frames: usize) -> Outgoing<'_> {
        let end = self.end.max(self.queue.len().saturating_sub(frames));
        Outgoing { queue: self.queue, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan::{ChecksumState, Frame, InterfaceId, SegmentKind};

    fn queue(lens: impl IntoIterator<Item = usize>) -> VecDeque<Transmit> {
        let transmit =
            |len| Transmit::from_frame(InterfaceId::from_index(0), Frame::new(vec![len as u8; len]));
        lens.into_iter().map(transmit).collect()
    }

    fn lens(queue: &VecDeque<Transmit>) -> Vec<usize> {
        queue.iter().map(Transmit::len).collect()
    }

    #[test]
    fn what_finds_no_room_stays_in_order() {
        let mut queue = queue(1..=5);
        let mut sent = Vec::new();
        let mut outgoing = Outgoing::new(&mut queue);
        outgoing
            .send_each(|transmit| {
                if transmit.len() == 3 {
                    return Ok(Sent::Full);
                }
                sent.push(transmit.len());
                Ok(Sent::Taken)
            })
            .unwrap();
        let failed = outgoing.send_each(|_| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!((sent, lens(&queue)), (vec![1, 2], vec![3, 4, 5]));
    }

    #[test]
    fn a_part_ends_where_it_was_told_to() {
        let mut queue = queue(1..=5);
        let mut outgoing = Outgoing::new(&mut queue);
        let mut two = outgoing.at_most(2);
        let mut one = two.at_most(1);
        assert_eq!(one.pop().unwrap().len(), 1);
        assert!(one.is_empty() && one.peek().is_none() && one.pop().is_none());
        assert_eq!(two.at_most(9).pop().unwrap().len(), 2);
        assert!(two.is_empty() && !outgoing.is_empty());
        assert_eq!(lens(&queue), [3, 4, 5]);
    }

    #[test]
    fn frames_are_written_behind_the_head_room() {
        let run = Frame::new(vec![7; 60])
            .with_checksum(ChecksumState::Partial(PartialChecksum { start: 34, offset: 16 }))
            .with_segments(Some(Segments { kind: SegmentKind::TcpV4, len: 20 }));
        let mut queue = queue([100, 9]);
        queue.push_back(Transmit::from_frame(InterfaceId::from_index(0), run));
        let mut memory = [0; 68];
        let mut outgoing = Outgoing::new(&mut queue);
        // The frame of 100 bytes does not fit, and is lost.
        let plain = outgoing.write_next(&mut memory[8..]).unwrap();
        assert_eq!(plain, Written { len: 9, header_len: 0, checksum: None, segments: None });
        assert_eq!(memory[..18], [0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
        let run = outgoing.write_next(&mut memory[8..]).unwrap();
        assert_eq!(run.len, 60);
        assert_eq!(run.checksum, Some(PartialChecksum { start: 34, offset: 16 }));
        assert_eq!(run.segments, Some(Segments { kind: SegmentKind::TcpV4, len: 20 }));
        assert_eq!(memory[8..], [7; 60]);
        assert!(outgoing.write_next(&mut memory).is_none());
    }
}
