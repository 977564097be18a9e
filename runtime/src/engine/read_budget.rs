//! [`ReadBudget`]: how many frames are read from a device at once. [`EagerRead`]: whether a leader
//! reads a device before it sleeps on it.

use crate::policy::{FIRST_FILLS, MAX_FILLS, MAX_SKIPPED_READS, READ_FRAMES};

/// How many frames are read from a device before the stack gets them: one where frames come one at
/// a time, up to [`READ_FRAMES`] where they come in trains.
///
/// A read that finds nothing costs a system call. Where requests come one at a time, reading until
/// nothing is left would cost such a call for each request. So only one frame is read, and a second
/// one is tried now and then, the less often the more tries were in vain.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    frames: usize,
    /// Consecutive reads that found as many frames as were asked for.
    filled: u32,
    /// The number of such reads after which the budget grows.
    fills_needed: u32,
}

impl ReadBudget {
    pub(crate) fn new() -> Self {
        ReadBudget { frames: 1, filled: 0, fills_needed: FIRST_FILLS }
    }

    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Notes that this many frames were read. If they are fewer than the budget allows, nothing is
    /// left.
    pub(crate) fn on_read(&mut self, count: usize) {
        if count >= self.frames {
            if self.frames > 1 {
                self.fills_needed = FIRST_FILLS;
            }
            self.filled += 1;
            if self.filled >= self.fills_needed && self.frames < READ_FRAMES {
                self.frames *= 2;
                self.filled = 0;
            }
            return;
        }
        self.filled = 0;
        if self.frames == 2 {
            self.fills_needed = (self.fills_needed * 2).min(MAX_FILLS);
        }
        if count * 2 <= self.frames {
            self.frames = (self.frames / 2).max(1);
        }
    }

    /// Whether the last read indicates that there is more, so that no thread need poll.
    pub(crate) fn expects_more(&self, last_count: usize) -> bool {
        self.frames > 1 && last_count >= self.frames
    }
}

/// Whether a leader reads a device instead of sleeping on it.
///
/// If the next frame is often there when the last one has been handled, polling first costs a
/// needless system call. If it is not, reading first does. So the leader repeats what was right:
/// after a read that found a frame it reads first again; after a read in vain it sleeps, once at
/// first, and more often the more reads were in vain.
#[derive(Debug)]
pub(crate) struct EagerRead {
    /// The number of sleeps before the next attempt.
    skip: u32,
    /// The number of sleeps after the next read in vain.
    next_skip: u32,
    /// Whether the next read is such an attempt.
    is_trying: bool,
}

impl EagerRead {
    pub(crate) fn new() -> Self {
        EagerRead { skip: 1, next_skip: 2, is_trying: false }
    }

    /// Whether to read instead of the sleep that comes next.
    pub(crate) fn reads_first(&mut self) -> bool {
        self.is_trying = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        self.is_trying
    }

    /// Notes that this many frames were read, in an attempt or otherwise.
    pub(crate) fn on_read(&mut self, count: usize) {
        if !std::mem::take(&mut self.is_trying) {
            return;
        }
        if count > 0 {
            self.next_skip = 1;
        } else {
            self.skip = self.next_skip;
            self.next_skip = (self.next_skip * 2).min(MAX_SKIPPED_READS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads trains of this length. Returns how many of the system calls found nothing, and how
    /// many reads there were.
    fn read_trains(budget: &mut ReadBudget, len: usize, trains: usize) -> (usize, usize) {
        let (mut in_vain, mut reads) = (0, 0);
        for _ in 0..trains {
            let mut left = len;
            while left > 0 {
                let count = left.min(budget.frames());
                left -= count;
                in_vain += usize::from(count < budget.frames());
                reads += 1;
                budget.on_read(count);
            }
        }
        (in_vain, reads)
    }

    #[test]
    fn frames_that_come_one_at_a_time_are_read_one_at_a_time() {
        let (in_vain, reads) = read_trains(&mut ReadBudget::new(), 1, 10_000);
        assert_eq!(reads, 10_000);
        assert!(in_vain < 200, "{in_vain} calls in vain");
    }

    #[test]
    fn a_flood_is_read_in_large_batches_and_soon() {
        let mut budget = ReadBudget::new();
        let (_, reads) = read_trains(&mut budget, 10_000, 1);
        assert!(reads < 10_000 / READ_FRAMES + 20, "{reads} reads");
        // After the flood, single frames are soon read one at a time again.
        let (in_vain, _) = read_trains(&mut budget, 1, 1000);
        assert!(in_vain < 50, "{in_vain} calls in vain");
        // And another flood is soon read in full batches.
        let (_, reads) = read_trains(&mut budget, 10_000, 1);
        assert!(reads < 10_000 / READ_FRAMES + 80, "{reads} reads");
    }

    #[test]
    fn trains_of_one_length_are_read_whole() {
        for len in [2, 3, 5, 8, 13, 21, 32] {
            let mut budget = ReadBudget::new();
            read_trains(&mut budget, len, 1000);
            let (_, reads) = read_trains(&mut budget, len, 1000);
            assert!(reads <= 3000, "{reads} reads of 1000 trains of {len} frames");
        }
    }

    /// Returns the sleeps and the reads in vain for this many frames, which are or are not there
    /// when the leader would go to sleep.
    fn sleep_or_read(eager_read: &mut EagerRead, is_there: bool, frames: usize) -> (usize, usize) {
        let (mut sleeps, mut in_vain) = (0, 0);
        for _ in 0..frames {
            loop {
                if !eager_read.reads_first() {
                    sleeps += 1;
                    eager_read.on_read(1);
                    break;
                }
                eager_read.on_read(usize::from(is_there));
                if is_there {
                    break;
                }
                in_vain += 1;
            }
        }
        (sleeps, in_vain)
    }

    #[test]
    fn a_device_is_read_first_where_that_pays() {
        let (sleeps, in_vain) = sleep_or_read(&mut EagerRead::new(), true, 10_000);
        assert!(sleeps < 5 && in_vain == 0, "{sleeps} sleeps, {in_vain} reads in vain");
        let (sleeps, in_vain) = sleep_or_read(&mut EagerRead::new(), false, 10_000);
        assert!(sleeps == 10_000 && in_vain < 200, "{sleeps} sleeps, {in_vain} reads in vain");
        // From one pattern to the other, and back.
        let mut eager_read = EagerRead::new();
        sleep_or_read(&mut eager_read, false, 1000);
        let (sleeps, _) = sleep_or_read(&mut eager_read, true, 1000);
        assert!(sleeps <= 65, "{sleeps}");
        let (_, in_vain) = sleep_or_read(&mut eager_read, false, 1000);
        assert!(in_vain < 30, "{in_vain}");
    }
}
