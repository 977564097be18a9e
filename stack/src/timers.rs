//! The deadlines of many owners in one sorted set.
//!
//! A TCP timer rarely fires: it is armed, postponed by the next segments, and stopped. Only arming
//! changes the set, and not every time; see [`TimerQueue::arm`]. So the cost of an entry matters
//! little, and a sorted set is cheaper than a timing wheel even with 100,000 entries (decision
//! 0009).

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// Deadlines in order of time. Each owner stores its own [`Armed`], so that it has at most one
/// entry.
#[derive(Debug)]
pub(crate) struct TimerQueue<Owner> {
    set: BTreeSet<(Instant, Owner)>,
}

/// The time of an owner's entry in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed(Option<Instant>);

impl<Owner: Copy + Ord> TimerQueue<Owner> {
    pub(crate) fn new() -> Self {
        TimerQueue { set: BTreeSet::new() }
    }

    /// Makes sure that the owner is called by `at`.
    ///
    /// An earlier entry is left alone: the owner is called early, finds nothing to do, and arms
    /// again. So a deadline that moves with every segment, or is set and cleared with every
    /// request, costs nothing.
    #[inline]
    pub(crate) fn arm(&mut self, armed: &mut Armed, owner: Owner, at: Option<Instant>) {
        if let Some(at) = at
            && armed.0.is_none_or(|old| at < old)
        {
            self.bring_forward(armed, owner, at);
        }
    }

    #[inline(never)]
    fn bring_forward(&mut self, armed: &mut Armed, owner: Owner, at: Instant) {
        self.disarm(armed, owner);
        self.set.insert((at, owner));
        armed.0 = Some(at);
    }

    /// Removes the owner's entry, because the owner goes away.
    pub(crate) fn disarm(&mut self, armed: &mut Armed, owner: Owner) {
        if let Some(at) = armed.0.take() {
            self.set.remove(&(at, owner));
        }
    }

    /// The first deadline.
    pub(crate) fn first(&self) -> Option<(Instant, Owner)> {
        self.set.first().copied()
    }

    /// Removes the first owner that is due. The caller resets its [`Armed`] with [`Armed::fired`].
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
    /// Notes that the set has removed the owner's entry.
    pub(crate) fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests;
