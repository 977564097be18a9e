//! A scoreboard that is allocated only while data is in flight.

use alloc::boxed::Box;
use core::ops::{Deref, DerefMut};

use super::FreeList;
use super::scoreboard::Scoreboard;

/// A scoreboard that exists only while data is in flight, because most connections are idle.
/// Without one it reads as an empty scoreboard.
#[derive(Debug, Default)]
pub(super) struct LazyScoreboard(Option<Box<Scoreboard>>);

static EMPTY: Scoreboard = Scoreboard::new();

impl LazyScoreboard {
    /// Takes a scoreboard before data is sent.
    pub(super) fn prepare(&mut self, free_list: &mut FreeList) {
        self.0.get_or_insert_with(|| free_list.take_scoreboard());
    }

    /// Removes the scoreboard, if nothing is in flight.
    pub(super) fn take_idle(&mut self) -> Option<Box<Scoreboard>> {
        self.0.take_if(|scoreboard| scoreboard.is_empty())
    }

    /// Gives back capacity that holds no records.
    pub(super) fn give_back_capacity(&mut self) {
        if let Some(scoreboard) = &mut self.0 {
            if scoreboard.is_empty() {
                self.0 = None;
            } else {
                scoreboard.give_back_capacity();
            }
        }
    }

    /// The memory of the scoreboard.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |scoreboard| scoreboard.memory_bytes())
    }
}

impl Deref for LazyScoreboard {
    type Target = Scoreboard;

    fn deref(&self) -> &Scoreboard {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for LazyScoreboard {
    fn deref_mut(&mut self) -> &mut Scoreboard {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::SeqNumber;
    use crate::tcp::rate::RateSampler;
    use crate::time::Instant;

    #[test]
    fn nothing_in_flight_holds_no_memory_and_reads_as_empty() {
        let mut lazy = LazyScoreboard::default();
        let mut free_list = FreeList::default();
        let stamp = RateSampler::new(Instant::ZERO).stamp(Instant::ZERO, 0, 0);
        assert!(lazy.first().is_none() && lazy.memory_bytes() == 0);
        lazy.prepare(&mut free_list);
        lazy.on_sent(Instant::ZERO, SeqNumber(7), SeqNumber(107), 100, stamp);
        assert!(lazy.take_idle().is_none() && lazy.memory_bytes() > 0);
        lazy.acknowledge(SeqNumber(107), |_, _| {});
        free_list.give_scoreboard(lazy.take_idle().expect("it is idle"));
        assert!(lazy.first().is_none() && lazy.memory_bytes() == 0);
        lazy.prepare(&mut free_list);
        assert!(lazy.first().is_none() && lazy.sacked() == 0 && lazy.lost() == 0);
    }
}
