//! [`ReceiveBuffer`]: memory for what a device reads, used again and again.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

/// The smallest piece of memory that a frame gets.
const SMALLEST: usize = 256;
/// Pieces of one size that are kept to be used again: so many, or so many bytes. What is held beyond it is freed when
/// its last user is done.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = 8 << 20;
/// Pieces that are asked whether they are free before a new one is allocated.
const MAX_ASKED: usize = 2;

/// Turns what a device reads into refcounted frames. In steady state nothing is allocated: a frame's memory is used again
/// when the last who held a part of it is done.
///
/// A frame takes a piece of memory of at most twice its length (and at least 256 bytes), so that a byte that waits in a
/// receive queue does not hold the room for the longest frame. A frame that fills at least half of that room keeps it;
/// a shorter one is copied into a piece of its own size.
#[derive(Debug)]
pub struct ReceiveBuffer {
    /// Where the next frame is read to; none while its last frame has it.
    room: Option<BytesMut>,
    max_len: usize,
    /// Of the size of `room`.
    large: Pieces,
    /// Of 256 bytes and its doubles, as far as they are shorter than half of `room`.
    small: Vec<Pieces>,
}

impl ReceiveBuffer {
    /// For frames of at most this many bytes, with all that the device puts in front of them.
    pub fn new(max_len: usize) -> Self {
        let doubles = std::iter::successors(Some(SMALLEST), |size| size.checked_mul(2));
        let small = doubles.take_while(|&size| size < max_len).map(Pieces::new).collect();
        ReceiveBuffer { room: None, max_len, large: Pieces::new(max_len), small }
    }

    /// Calls `read` with room for the longest frame; it returns the length of what it read. `None`: nothing is there
    /// (`WouldBlock`). EINTR is tried again.
    pub fn read_frame(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Bytes>> {
        let mut room = self.room.take().unwrap_or_else(|| self.large.take());
        let len = loop {
            match read(&mut room) {
                Ok(len) => break len.min(self.max_len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.room = Some(room);
                    return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
                }
            }
        };
        let fitting = self.small.iter_mut().find(|pieces| pieces.size >= len);
        let Some(pieces) = fitting.filter(|_| len < self.max_len / 2) else {
            return Ok(Some(self.large.share(room, len)));
        };
        let mut piece = pieces.take();
        piece[..len].copy_from_slice(&room[..len]);
        self.room = Some(room);
        Ok(Some(pieces.share(piece, len)))
    }
}

/// Pieces of memory of one size.
#[derive(Debug)]
struct Pieces {
    size: usize,
    max_kept: usize,
    /// Those that were given out, the one that was given out first in front. Each is whole; who else holds a part of it
    /// shows in its reference count.
    given: VecDeque<Bytes>,
}

impl Pieces {
    fn new(size: usize) -> Self {
        Pieces { size, max_kept: MAX_KEPT.min(MAX_KEPT_BYTES / size).max(1), given: VecDeque::new() }
    }

    /// One that nobody else holds, full of whatever was in it.
    fn take(&mut self) -> BytesMut {
        for _ in 0..MAX_ASKED {
            let Some(oldest) = self.given.pop_front() else { break };
            match oldest.try_into_mut() {
                Ok(piece) => return piece,
                // Somebody keeps it for long; its turn comes again.
                Err(held) => self.given.push_back(held),
            }
        }
        let mut piece = BytesMut::zeroed(self.size);
        // Split and joined, it counts its references in a record of its own from now on, and needs no other each time
        // that it is shared.
        let rest = piece.split_off(self.size / 2);
        piece.unsplit(rest);
        piece
    }

    /// Its first `len` bytes as a frame. It comes back when the frame is gone.
    fn share(&mut self, piece: BytesMut, len: usize) -> Bytes {
        let whole = piece.freeze();
        let frame = whole.slice(..len);
        if self.given.len() < self.max_kept {
            self.given.push_back(whole);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut ReceiveBuffer, len: usize, fill: u8) -> Bytes {
        let frame = buffer.read_frame(|room| {
            room[..len].fill(fill);
            Ok(len)
        });
        frame.unwrap().unwrap()
    }

    #[test]
    fn frames_of_all_lengths_keep_their_bytes_while_others_come() {
        let mut buffer = ReceiveBuffer::new(9014);
        let lens = [60, 9014, 1514, 0, 3000, 9014, 4507, 4506, 256, 257, 1];
        let frames: Vec<Bytes> =
            lens.iter().enumerate().map(|(n, &len)| read(&mut buffer, len, n as u8)).collect();
        for (n, (frame, len)) in frames.iter().zip(lens).enumerate() {
            assert_eq!(frame.len(), len);
            assert!(frame.iter().all(|&byte| byte == n as u8));
        }
        let too_long = buffer.read_frame(|room| {
            assert_eq!(room.len(), 9014);
            Ok(10_000)
        });
        assert_eq!(too_long.unwrap().unwrap().len(), 9014);
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap().is_none());
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn memory_is_used_again_once_its_frame_is_gone() {
        for len in [60, 1000, 1514] {
            let mut buffer = ReceiveBuffer::new(1578);
            let held = read(&mut buffer, len, 1);
            let place = held.as_ptr();
            for _ in 0..2 * MAX_KEPT {
                assert_ne!(read(&mut buffer, len, 2).as_ptr(), place);
            }
            assert!(held.iter().all(|&byte| byte == 1));
            drop(held);
            assert!((0..MAX_KEPT).any(|_| read(&mut buffer, len, 3).as_ptr() == place), "{len}");
        }
    }

    #[test]
    fn a_few_bytes_do_not_hold_the_room_for_many() {
        let mut buffer = ReceiveBuffer::new(65_792);
        for len in [1, 256, 1000, 30_000] {
            let frame = read(&mut buffer, len, 1);
            let piece = buffer.small.iter().find(|pieces| pieces.size >= len).unwrap();
            assert!(piece.size <= SMALLEST.max(2 * len));
            assert_eq!(piece.given.back().unwrap().as_ptr(), frame.as_ptr());
        }
    }
}
