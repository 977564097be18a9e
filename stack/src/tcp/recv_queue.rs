//! Data that has arrived in order and that the program has not read yet.

use alloc::boxed::Box;

use bytes::Bytes;

use super::FreeList;
use super::byte_queue::ByteQueue;

/// A payload of at least this many bytes stays in its frame. A smaller one is copied, because it
/// would keep a whole frame alive for a few bytes.
const KEEP_FROM_BYTES: usize = 512;
/// The rest of a kept frame: the headers of link, IP and TCP.
const FRAME_OVERHEAD_BYTES: usize = 96;

#[derive(Debug)]
pub(super) struct RecvQueue {
    /// Exists only while it holds bytes or memory, because most connections are idle.
    queue: Option<Box<ByteQueue>>,
}

impl RecvQueue {
    pub(crate) fn new() -> RecvQueue {
        RecvQueue { queue: None }
    }

    /// Takes a queue before data is appended.
    pub(super) fn prepare(&mut self, free_list: &mut FreeList) {
        self.queue.get_or_insert_with(|| free_list.take_queue());
    }

    /// Removes the queue, if it holds nothing.
    pub(super) fn take_idle(&mut self) -> Option<Box<ByteQueue>> {
        self.queue.take_if(|queue| queue.len() == 0)
    }

    /// Appends the payload of a segment.
    pub(crate) fn push(&mut self, data: Bytes) {
        let queue = self.queue.get_or_insert_with(|| Box::new(ByteQueue::new()));
        if data.len() < KEEP_FROM_BYTES {
            queue.push_copy(&data);
        } else {
            let held = data.len() + FRAME_OVERHEAD_BYTES;
            queue.push_bytes(data, held);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves bytes from the front to `buf`, as many as there are or fit.
    #[inline]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> usize {
        let count = self.peek(0, buf);
        self.skip(count);
        count
    }

    /// Removes and returns the first slice without a copy, at most `max` bytes of it. Empty if
    /// there is no data.
    pub(crate) fn read_bytes(&mut self, max: usize) -> Bytes {
        let Some(queue) = &mut self.queue else { return Bytes::new() };
        let data = queue.pop(max);
        self.forget_if_idle();
        data
    }

    /// Like [`read`](RecvQueue::read) after the first `skip` bytes, but leaves the bytes in the
    /// queue.
    pub(crate) fn peek(&self, skip: usize, buf: &mut [u8]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.peek(skip, buf))
    }

    /// Discards this many bytes at the front.
    pub(crate) fn skip(&mut self, count: usize) {
        if let Some(queue) = &mut self.queue {
            queue.advance(count);
            self.forget_if_idle();
        }
    }

    /// Discards all data.
    pub(crate) fn clear(&mut self) {
        self.queue = None;
    }

    /// All memory of the queue, including the headers of kept frames.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.all_memory_bytes())
    }

    /// Gives back capacity that holds no data.
    pub(super) fn give_back_capacity(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.give_back_capacity();
            self.forget_if_idle();
        }
    }

    fn forget_if_idle(&mut self) {
        if self.queue.as_ref().is_some_and(|queue| queue.is_idle()) {
            self.queue = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn large_payloads_are_kept_and_small_ones_copied() {
        let frame = Bytes::from(vec![9; 1500]);
        let mut queue = RecvQueue::new();
        queue.push(frame.slice(100..));
        assert!(!frame.is_unique());
        assert_eq!(queue.read_bytes(usize::MAX).as_ptr(), frame[100..].as_ptr());
        assert!(frame.is_unique());
        queue.push(frame.slice(1400..));
        assert!(frame.is_unique());
        assert_eq!(queue.read_bytes(60).len(), 60);
        assert_eq!(queue.len(), 40);
    }

    #[test]
    fn reads_across_pieces() {
        let mut queue = RecvQueue::new();
        for n in 0..10u8 {
            queue.push(Bytes::from(vec![n; 100 * usize::from(n)]));
        }
        let mut buf = [0; 1000];
        assert_eq!(queue.peek(0, &mut buf), 1000);
        assert_eq!((buf[0], buf[99], buf[100], buf[999]), (1, 1, 2, 4));
        assert_eq!(queue.read(&mut buf), 1000);
        assert_eq!(queue.len(), 3500);
        let mut rest = vec![0; 10_000];
        assert_eq!(queue.read(&mut rest), 3500);
        assert_eq!((rest[0], rest[499], rest[500], rest[3499]), (5, 5, 6, 9));
        assert!(queue.is_empty() && queue.read(&mut buf) == 0 && queue.read_bytes(1).is_empty());
    }

    #[test]
    fn one_byte_segments_do_not_pin_their_frames() {
        let mut queue = RecvQueue::new();
        for _ in 0..10_000 {
            queue.push(Bytes::from(vec![1; 60]).slice(59..));
        }
        assert_eq!(queue.len(), 10_000);
        assert!(queue.memory_bytes() < 30_000);
        queue.clear();
        assert_eq!(queue.memory_bytes(), 0);
    }

    /// A connection that rests should hold nothing for data that it has read.
    #[test]
    fn what_is_read_leaves_nothing_behind() {
        let mut queue = RecvQueue::new();
        for _ in 0..2 {
            queue.push(Bytes::from(vec![9; 1500]));
            assert_eq!(queue.read_bytes(usize::MAX).len(), 1500);
            queue.give_back_capacity();
            assert!(queue.queue.is_none());
            assert_eq!(queue.memory_bytes(), 0);
            queue.push(Bytes::from(vec![9; 10]));
            assert_eq!(queue.read(&mut [0; 10]), 10);
            queue.give_back_capacity();
            assert!(queue.queue.is_none());
        }
    }
}
