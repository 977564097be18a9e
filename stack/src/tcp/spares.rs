//! Memory that connections at rest have given up, for those that begin to move.
//!
//! A connection that waits holds no queues, and one that sends a question and reads the answer would allocate them each
//! time. So what comes to rest goes here, and what moves takes it from here: as many as are on the move at once.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::byte_queue::ByteQueue;
use super::scoreboard::Scoreboard;

/// Of each kind. Each is a few KiB at most, so what a stack may hold unused is well below a MiB.
const MOST: usize = 64;

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is handed on")]
    queues: Vec<Box<ByteQueue>>,
    #[expect(clippy::vec_box, reason = "as above")]
    scoreboards: Vec<Box<Scoreboard>>,
}

impl Spares {
    /// Gives all of it back: the memory is short.
    pub(crate) fn clear(&mut self) {
        *self = Spares::default();
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
        let mut spares = Spares::default();
        for _ in 0..MOST + 10 {
            spares.give_scoreboard(Box::default());
            spares.give_queue(Box::new(ByteQueue::new()));
        }
        assert_eq!((spares.scoreboards.len(), spares.queues.len()), (MOST, MOST));
        let (_board, _queue) = (spares.take_scoreboard(), spares.take_queue());
        assert_eq!((spares.scoreboards.len(), spares.queues.len()), (MOST - 1, MOST - 1));
        spares.clear();
        let (_board, _queue) = (spares.take_scoreboard(), spares.take_queue());
    }
}
