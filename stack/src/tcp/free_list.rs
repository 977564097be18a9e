//! A free list of queues and scoreboards, which idle connections leave for active ones.
//!
//! An idle connection holds no queues, so a connection that sends a request and reads the response
//! would allocate them each time. Instead, a connection that becomes idle gives them to the list,
//! and one that becomes active takes them from it. The list holds as many as were in use at once,
//! up to a limit.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::byte_queue::ByteQueue;
use super::scoreboard::Scoreboard;

/// The most entries of each kind. Each is a few KiB at most, so a stack holds well below a MiB
/// unused.
const MOST: usize = 64;

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct FreeList {
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is handed on")]
    queues: Vec<Box<ByteQueue>>,
    #[expect(clippy::vec_box, reason = "as above")]
    scoreboards: Vec<Box<Scoreboard>>,
}

impl FreeList {
    /// Frees all entries when memory is short.
    pub(crate) fn clear(&mut self) {
        *self = FreeList::default();
    }

    /// An empty queue.
    pub(super) fn take_queue(&mut self) -> Box<ByteQueue> {
        self.queues.pop().unwrap_or_else(|| Box::new(ByteQueue::new()))
    }

    /// A queue that is empty again.
    pub(super) fn give_queue(&mut self, queue: Box<ByteQueue>) {
        if self.queues.len() < MOST {
            self.queues.push(queue);
        }
    }

    /// A scoreboard with nothing in flight.
    pub(super) fn take_scoreboard(&mut self) -> Box<Scoreboard> {
        self.scoreboards.pop().unwrap_or_default()
    }

    /// A scoreboard with nothing in flight any more.
    pub(super) fn give_scoreboard(&mut self, scoreboard: Box<Scoreboard>) {
        if self.scoreboards.len() < MOST {
            self.scoreboards.push(scoreboard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_taken_again_up_to_a_number() {
        let mut free_list = FreeList::default();
        for _ in 0..MOST + 10 {
            free_list.give_scoreboard(Box::default());
            free_list.give_queue(Box::new(ByteQueue::new()));
        }
        assert_eq!((free_list.scoreboards.len(), free_list.queues.len()), (MOST, MOST));
        let (_board, _queue) = (free_list.take_scoreboard(), free_list.take_queue());
        assert_eq!((free_list.scoreboards.len(), free_list.queues.len()), (MOST - 1, MOST - 1));
        free_list.clear();
        let (_board, _queue) = (free_list.take_scoreboard(), free_list.take_queue());
    }
}
