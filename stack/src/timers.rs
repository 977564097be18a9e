//! The deadlines of many owners in one sorted set: arming, moving and finding the first cost the logarithm of their
//! number.

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// Deadlines by time. Each owner keeps its own [`Armed`], so that it has at most one entry.
#[derive(Debug)]
pub(crate) struct Timers<Owner> {
    set: BTreeSet<(Instant, Owner)>,
}

/// When an owner stands in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed(Option<Instant>);

impl<Owner: Copy + Ord> Timers<Owner> {
    pub(crate) fn new() -> Self {
        Timers { set: BTreeSet::new() }
    }

    /// Sees to it that the owner is called by `at`, or not at all.
    ///
    /// An entry that stands earlier is left there: it is called early, finds nothing to do, and arms anew. So a
    /// deadline that moves on with every segment costs nothing.
    pub(crate) fn arm(&mut self, armed: &mut Armed, owner: Owner, at: Option<Instant>) {
        match (armed.0, at) {
            (Some(old), Some(new)) if old <= new => return,
            (Some(old), _) => {
                self.set.remove(&(old, owner));
            }
            (None, _) => {}
        }
        if let Some(at) = at {
            self.set.insert((at, owner));
        }
        armed.0 = at;
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
mod tests {
    use super::*;

    #[test]
    fn one_entry_an_owner_that_moves_forward_lazily_and_back_at_once() {
        let mut timers = Timers::new();
        let mut armed = Armed::default();
        let at = |ms| Some(Instant::from_millis(ms));
        timers.arm(&mut armed, 'a', at(10));
        timers.arm(&mut armed, 'a', at(20));
        assert_eq!(timers.first(), Some((Instant::from_millis(10), 'a')));
        timers.arm(&mut armed, 'a', at(5));
        assert_eq!(timers.set.len(), 1);
        assert_eq!(timers.pop_due(Instant::from_millis(4)), None);
        assert_eq!(timers.pop_due(Instant::from_millis(5)), Some('a'));
        armed.fired();
        timers.arm(&mut armed, 'a', at(20));
        timers.arm(&mut armed, 'a', None);
        assert_eq!(timers.first(), None);
    }
}
