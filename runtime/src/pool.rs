//! [`Pool`]: reusable memory for frames that come in and for data that is sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::policy::{MAX_KEPT_BYTES, MAX_KEPT_PIECES, MAX_PIECES_ASKED, SMALLEST_PIECE};

/// Pieces of memory of 256 bytes, 512 bytes and so on. Data gets a piece of less than twice its
/// length, or the smallest.
#[derive(Debug)]
pub(crate) struct Pool {
    sizes: Vec<Pieces>,
}

impl Pool {
    /// A pool for up to `max_len` bytes at once.
    pub(crate) fn new(max_len: usize) -> Self {
        let doubles = std::iter::successors(Some(SMALLEST_PIECE), |size| size.checked_mul(2));
        let last = max_len.next_power_of_two();
        Pool { sizes: doubles.take_while(|&size| size <= last).map(Pieces::new).collect() }
    }

    /// The pieces of the smallest size that holds `len` bytes.
    ///
    /// # Panics
    ///
    /// If `len` is greater than the limit of the pool.
    pub(crate) fn fitting(&mut self, len: usize) -> &mut Pieces {
        let place = self.sizes.partition_point(|pieces| pieces.size < len);
        &mut self.sizes[place]
    }
}

/// Pieces of memory of one size.
#[derive(Debug)]
pub(crate) struct Pieces {
    size: usize,
    max_kept: usize,
    /// Pieces that were given out, the oldest first. Each is complete; its reference count shows
    /// whether another holder has a part of it.
    given: VecDeque<Bytes>,
    /// Pieces that are free. The last one was used most recently, and is the likeliest to be in a
    /// cache: it is given out next, so only as many pieces are touched as are in use at a time.
    free: Vec<BytesMut>,
}

impl Pieces {
    pub(crate) fn new(size: usize) -> Self {
        let max_kept = MAX_KEPT_PIECES.min(MAX_KEPT_BYTES / size).max(1);
        Pieces { size, max_kept, given: VecDeque::new(), free: Vec::new() }
    }

    /// Takes a piece that nobody else holds. It still has its old content.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.find_free();
        self.free.pop().unwrap_or_else(|| self.allocate())
    }

    /// Checks which of the oldest pieces are free.
    fn find_free(&mut self) {
        let mut asked = 0;
        while asked < MAX_PIECES_ASKED
            && let Some(oldest) = self.given.pop_front()
        {
            match oldest.try_into_mut() {
                Ok(piece) => self.free.push(piece),
                // A holder keeps it for long, so it is moved to the end.
                Err(held) => {
                    self.given.push_back(held);
                    asked += 1;
                }
            }
        }
    }

    fn allocate(&self) -> BytesMut {
        let mut piece = BytesMut::zeroed(self.size);
        // Splitting a piece and joining it again makes it allocate its record of references now.
        // Otherwise each `share` would allocate one.
        let rest = piece.split_off(self.size / 2);
        piece.unsplit(rest);
        piece
    }

    /// Gives out the first `len` bytes of a piece. The piece is used again when they are dropped.
    pub(crate) fn share(&mut self, piece: BytesMut, len: usize) -> Bytes {
        let whole = piece.freeze();
        let part = whole.slice(..len);
        if self.given.len() + self.free.len() < self.max_kept {
            self.given.push_back(whole);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(pool: &mut Pool, len: usize, fill: u8) -> Bytes {
        let pieces = pool.fitting(len);
        let mut piece = pieces.take();
        piece[..len].fill(fill);
        pieces.share(piece, len)
    }

    #[test]
    fn memory_is_used_again_once_it_is_free() {
        let mut pool = Pool::new(4096);
        for len in [1, 256, 257, 4096] {
            let held = put(&mut pool, len, 1);
            let place = held.as_ptr();
            for _ in 0..2 * MAX_KEPT_PIECES {
                assert_ne!(put(&mut pool, len, 2).as_ptr(), place);
            }
            assert!(held.iter().all(|&byte| byte == 1) && held.len() == len);
            drop(held);
            let two = [put(&mut pool, len, 3), put(&mut pool, len, 3)];
            assert!(two.iter().any(|bytes| bytes.as_ptr() == place), "{len}");
        }
    }

    #[test]
    fn a_few_bytes_do_not_hold_the_room_for_many() {
        let mut pool = Pool::new(30_000);
        for len in [0, 1, 256, 257, 1000, 30_000] {
            let size = pool.fitting(len).size;
            assert!(size >= len && size <= SMALLEST_PIECE.max(2 * len), "{len} in {size}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pieces = Pieces::new(1 << 20);
        let held: Vec<Bytes> = (0..20)
            .map(|_| {
                let piece = pieces.take();
                pieces.share(piece, 10)
            })
            .collect();
        assert_eq!((pieces.given.len(), pieces.free.len()), (8, 0));
        drop(held);
        let piece = pieces.take();
        assert_eq!((piece.len(), pieces.given.len() + pieces.free.len()), (1 << 20, 7));
    }

    #[test]
    fn what_was_in_use_last_is_used_next() {
        let mut pool = Pool::new(4096);
        let many: Vec<Bytes> = (0..100).map(|_| put(&mut pool, 4096, 1)).collect();
        drop(many);
        let mut places: Vec<_> = (0..1000).map(|_| put(&mut pool, 4096, 1).as_ptr()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 1);
        // A few pieces are in use at a time.
        let mut held = VecDeque::new();
        let mut places: Vec<_> = (0..1000)
            .map(|_| {
                held.push_back(put(&mut pool, 4096, 1));
                if held.len() > 3 {
                    held.pop_front();
                }
                held[0].as_ptr()
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() <= 3 + 1 + MAX_PIECES_ASKED, "{}", places.len());
    }
}
