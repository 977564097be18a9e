//! The data that the program has written and the peer has not acknowledged: all bytes from SND.UNA
//! on.

use alloc::boxed::Box;

use bytes::Bytes;

use super::FreeList;
use super::byte_queue::ByteQueue;
use crate::frame::Payload;

/// A smaller slice is copied: a reference to it takes as much memory, and may keep a much larger
/// buffer alive.
const COPY_BELOW_BYTES: usize = 128;

/// The queue of sent and unsent data. Bytes are addressed by their offset from SND.UNA, which
/// [`advance`](SendQueue::advance) moves.
#[derive(Debug)]
pub(super) struct SendQueue {
    /// Exists only while it holds bytes or memory, because most connections are idle.
    queue: Option<Box<ByteQueue>>,
}

impl SendQueue {
    pub(crate) fn new() -> SendQueue {
        SendQueue { queue: None }
    }

    /// Takes a queue before data is appended.
    pub(super) fn prepare(&mut self, free_list: &mut FreeList) {
        self.queue.get_or_insert_with(|| free_list.take_queue());
    }

    /// Removes the queue, if it holds nothing.
    pub(super) fn take_idle(&mut self) -> Option<Box<ByteQueue>> {
        self.queue.take_if(|queue| queue.len() == 0)
    }

    /// Appends a copy. Small pieces share allocations.
    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        self.queue_mut().push_copy(data);
    }

    fn queue_mut(&mut self) -> &mut ByteQueue {
        self.queue.get_or_insert_with(|| Box::new(ByteQueue::new()))
    }

    /// Appends a slice without copying it, unless it is very small.
    pub(crate) fn push_bytes(&mut self, data: Bytes) {
        if data.len() < COPY_BELOW_BYTES {
            self.queue_mut().push_copy(&data);
        } else {
            let held = data.len();
            self.queue_mut().push_bytes(data, held);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// The bytes from SND.UNA + `offset` on: `len` of them, or as many as there are. They are
    /// shared, and copied only if they are in very many small pieces.
    pub(crate) fn slice(&mut self, offset: usize, len: usize) -> Payload {
        let mut payload = Payload::new();
        if let Some(queue) = &mut self.queue {
            queue.slice(offset, len, |bytes| payload.push(bytes));
        }
        payload
    }

    /// The first `count` bytes are acknowledged.
    pub(crate) fn advance(&mut self, count: usize) {
        if let Some(queue) = &mut self.queue {
            queue.advance(count);
            if queue.is_idle() {
                self.queue = None;
            }
        }
    }

    /// Gives back capacity that holds no data.
    pub(super) fn give_back_capacity(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.give_back_capacity();
            if queue.is_idle() {
                self.queue = None;
            }
        }
    }

    /// All memory of the queue.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.all_memory_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::payload_len;
    use std::vec;
    use std::vec::Vec;

    fn bytes_of(payload: &Payload) -> Vec<u8> {
        payload.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn sends_retransmits_and_forgets() {
        let mut queue = SendQueue::new();
        queue.push_copy(&[1; 1000]);
        queue.push_bytes(Bytes::from(vec![2; 1000]));
        queue.push_bytes(Bytes::from(vec![3; 10]));
        assert_eq!(queue.len(), 2010);
        let segment = queue.slice(900, 1105);
        assert_eq!(segment.len(), 3);
        assert_eq!(bytes_of(&segment), [vec![1; 100], vec![2; 1000], vec![3; 5]].concat());
        queue.advance(1000);
        assert_eq!(bytes_of(&queue.slice(0, 3)), [2; 3]);
        assert_eq!(payload_len(&queue.slice(1000, usize::MAX)), 10);
        assert!(queue.slice(1010, 1).is_empty());
        queue.advance(1010);
        assert_eq!(queue.len(), 0);
        // A segment on its way to the device stays complete.
        assert_eq!(payload_len(&segment), 1105);
    }

    #[test]
    fn thousands_of_chunks_cost_little_anywhere() {
        let mut queue = SendQueue::new();
        for n in 0..20_000u32 {
            queue.push_bytes(Bytes::from(vec![(n % 251) as u8; 200]));
        }
        // First from front to end, as a sender does, then scattered, as retransmissions do. A scan
        // from the front would visit 400 million chunks.
        for n in 0..20_000usize {
            let payload = queue.slice(n * 200, 200);
            assert_eq!((payload.len(), payload[0][0]), (1, (n % 251) as u8));
            let other = n * 7919 % 20_000;
            assert_eq!(queue.slice(other * 200 + 5, 10)[0][0], (other % 251) as u8);
        }
    }
}
