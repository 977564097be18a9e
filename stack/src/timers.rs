//! The deadlines of many owners in one sorted set.
//!
//! A timer of TCP hardly ever fires: it is armed, put off by what comes next, and called off. Only the first of these touches the
//! set, and not each time; see [`TimerQueue::arm`]. So what an entry costs matters little, and a sorted set costs less than a
//! timing wheel even with 100,000 of them (decision 0009).

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// Deadlines by time. Each owner keeps its own [`Armed`], so that it has at most one entry.
#[derive(Debug)]
pub(crate) struct TimerQueue<Owner> {
    set: BTreeSet<(Instant, Owner)>,
}

/// When an owner stands in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed(Option<Instant>);

impl<Owner: Copy + Ord> TimerQueue<Owner> {
    pub(crate) fn new() -> Self {
        TimerQueue { set: BTreeSet::new() }
    }

    /// Sees to it that the owner is called by `at`, if at all.
    ///
    /// An entry that stands earlier is left there: the owner is called early, finds nothing to do, and arms anew. So a
    /// deadline that moves on with every segment, or comes and goes with every question and answer, costs nothing.
    #[inline]
    pub(crate) fn arm(&mut self, armed: &mut Armed, owner: Owner, at: Option<Instant>) {
        if let Some(at) = at
            && armed.0.is_none_or(|old| at < old)
        {
            self.bring_forward(armed, owner, at);
        }
    }

    fn bring_forward(&mut self, armed: &mut Armed, owner: Owner, at: Instant) {
        self.disarm(armed, owner);
        self.set.insert((at, owner));
        armed.0 = Some(at);
    }

    /// The owner is not to be called: it goes.
    pub(crate) fn disarm(&mut self, armed: &mut Armed, owner: Owner) {
        if let Some(at) = armed.0.take() {
            self.set.remove(&(at, owner));
        }
    }

    /// The first deadline.
    pub(crate) fn first(&self) -> Option<(Instant, Owner)> {
        self.set.first().copied()
    }

    /// Takes out the first owner whose time has come. The caller resets its [`Armed`] with [`Armed::fired`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Owner> {
        let &(at, owner) = self.set.first()?;
        if at > now {
            return None;
        }
        self.set.pop_first();
        Some(owner)
    }
}

impl Armed {
    /// The set has given the owner out.
    pub(crate) fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests;
