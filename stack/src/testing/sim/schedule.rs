//! The schedule of a simulation: which event comes next.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::time::Instant;

/// An event of the simulation. The order of the variants is the order of events at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SimEvent {
    /// Packets arrive from a path.
    Arrival(usize),
    /// A timer of a stack is due.
    Timer(usize),
    /// A program asked to be called.
    Program(usize),
}

/// Finds the first of many events, whose times change often and mostly to later ones. A change to a
/// later time does nothing until the earlier time is reached, which is cheaper than updating the
/// heap.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, SimEvent)>>,
    /// The heap entry that is valid for each arrival, timer and program.
    entered: [Vec<Option<Instant>>; 3],
}

impl Schedule {
    /// Schedules an event for `at` or earlier; the receiver schedules it again if it is too early.
    pub(super) fn enter(&mut self, what: SimEvent, at: Instant) {
        let entered = self.entry(what);
        if entered.is_none_or(|before| at < before) {
            *entered = Some(at);
            self.heap.push(Reverse((at, what)));
        }
    }

    /// The time of the next event.
    pub(super) fn next_at(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, what))) = self.heap.peek() {
            if *self.entry(what) == Some(at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes the next event, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<SimEvent> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse((_, what)) = self.heap.pop()?;
        *self.entry(what) = None;
        Some(what)
    }

    fn entry(&mut self, what: SimEvent) -> &mut Option<Instant> {
        let (kind, index) = match what {
            SimEvent::Arrival(index) => (0, index),
            SimEvent::Timer(index) => (1, index),
            SimEvent::Program(index) => (2, index),
        };
        let entries = &mut self.entered[kind];
        if entries.len() <= index {
            entries.resize(index + 1, None);
        }
        &mut entries[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_entry_counts_and_ties_have_an_order() {
        let at = Instant::from_millis;
        let mut schedule = Schedule::default();
        schedule.enter(SimEvent::Timer(0), at(5));
        schedule.enter(SimEvent::Timer(0), at(3));
        schedule.enter(SimEvent::Timer(0), at(9));
        schedule.enter(SimEvent::Arrival(4), at(3));
        assert_eq!(schedule.next_at(), Some(at(3)));
        assert_eq!(schedule.pop(at(2)), None);
        assert_eq!(schedule.pop(at(3)), Some(SimEvent::Arrival(4)));
        assert_eq!(schedule.pop(at(3)), Some(SimEvent::Timer(0)));
        assert_eq!(schedule.pop(at(100)), None, "the later entries do not count");
        schedule.enter(SimEvent::Timer(0), at(9));
        assert_eq!(schedule.pop(at(9)), Some(SimEvent::Timer(0)));
        assert_eq!((schedule.pop(at(100)), schedule.next_at()), (None, None));
    }
}
