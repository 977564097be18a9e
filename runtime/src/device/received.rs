//! [`Received`]: the frames that a device passes on to a stack.

use std::io;

use portolan::Frame;

use crate::policy::READ_BYTES;

/// Takes the frames that a device has received, up to a limit: the stack handles them at once.
#[derive(Debug)]
pub struct Received<'a> {
    frames: &'a mut Vec<Frame>,
    limit: usize,
    count: usize,
    bytes: usize,
    /// Whether the limit was reached, so that the device may have more.
    was_full: bool,
}

impl<'a> Received<'a> {
    /// Appends frames to this list, about `limit` at most. Wrappers and tests use this.
    pub fn new(frames: &'a mut Vec<Frame>, limit: usize) -> Self {
        Received { frames, limit, count: 0, bytes: 0, was_full: limit == 0 }
    }

    /// Whether the device may pass on another frame.
    pub fn has_room(&self) -> bool {
        self.count < self.limit && self.bytes < READ_BYTES
    }

    /// Appends a frame. A frame beyond the limit is taken, too: a device that has read several at
    /// once need not keep the rest.
    pub fn push(&mut self, frame: Frame) {
        self.count += 1;
        self.bytes += frame.bytes.len();
        self.was_full |= !self.has_room();
        self.frames.push(frame);
    }

    /// Appends what `receive` returns, until it returns `None` or there is no room.
    pub fn fill_with(&mut self, mut receive: impl FnMut() -> io::Result<Option<Frame>>) -> io::Result<()> {
        while self.has_room()
            && let Some(frame) = receive()?
        {
            self.push(frame);
        }
        Ok(())
    }

    /// Returns the number of frames in the list. A wrapper asks before and after the inner device
    /// receives, to tell the new frames from earlier ones.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether the list has no frames.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the frames in the list, for wrappers that record or change them.
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        self.frames
    }

    /// Takes the frames from this index on back out of the list, for wrappers that delay, divert or
    /// drop them. There is room for others then.
    pub fn drain(&mut self, from: usize) -> impl Iterator<Item = Frame> {
        for frame in self.frames.get(from..).into_iter().flatten() {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(frame.bytes.len());
        }
        let from = from.min(self.frames.len());
        self.frames.drain(from..)
    }

    /// The number of frames that were appended, without those that were taken back.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether the limit was reached at any time, so that the device may have more.
    pub(crate) fn was_full(&self) -> bool {
        self.was_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_until_it_has_no_more_or_the_limit_is_reached() {
        let mut frames = vec![Frame::new(vec![0])];
        let mut left = 5;
        let mut receive = || {
            left -= 1;
            Ok((left >= 0).then(|| Frame::new(vec![1])))
        };
        let mut received = Received::new(&mut frames, 3);
        received.fill_with(&mut receive).unwrap();
        assert_eq!((received.len(), received.count(), received.was_full()), (4, 3, true));
        let mut received = Received::new(&mut frames, 3);
        received.fill_with(&mut receive).unwrap();
        assert_eq!((received.len(), received.count(), received.was_full()), (6, 2, false));
        assert!(received.fill_with(|| Err(io::ErrorKind::NotFound.into())).is_err());
        let mut received = Received::new(&mut frames, 3);
        received.push(Frame::new(vec![1; READ_BYTES]));
        assert!(!received.has_room() && received.was_full());
    }

    #[test]
    fn what_a_wrapper_takes_back_leaves_room_but_the_limit_was_reached() {
        let mut frames = vec![Frame::new(vec![0])];
        let mut received = Received::new(&mut frames, 2);
        let before = received.len();
        (1..=3).for_each(|byte| received.push(Frame::new(vec![byte])));
        assert!(!received.has_room());
        assert_eq!(received.drain(before).count(), 3);
        assert!(received.has_room() && received.was_full());
        assert_eq!((received.count(), received.len()), (0, 1));
        assert_eq!(received.drain(7).count(), 0);
    }
}
