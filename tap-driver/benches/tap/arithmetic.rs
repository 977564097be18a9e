//! The computation of reported values from measured ones.

use crate::spread::Spread;

/// The ratio of ours to theirs: that of the medians, and the least and greatest of the rounds. In
/// each round both were measured one after the other.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    let median = Spread::of(ours.to_vec())?.median / Spread::of(theirs.to_vec())?.median;
    let rounds = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    Spread::of(rounds).map(|rounds| Spread { median, ..rounds })
}

/// The smallest value that this percentage of all values does not exceed (nearest rank); `sorted`
/// is in ascending order.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The bound of a ratio or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

/// The smallest change that counts as a loss.
const MIN_LOSS: f64 = 0.05;

/// The change of a figure from one commit to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) ratio: Spread,
    /// Whether it is worse by more than 5 %, and by more than the rounds of the other commit differ
    /// among themselves.
    pub(crate) is_loss: bool,
}

/// `None` unless both were measured.
pub(crate) fn change(here: &[f64], there: &[f64], more_is_better: bool) -> Option<Change> {
    let ratio = ratio(here, there)?;
    let before = Spread::of(there.to_vec())?;
    let allowed = MIN_LOSS.max((before.most - before.least) / before.median);
    let worse = if more_is_better { 1.0 - ratio.median } else { ratio.median - 1.0 };
    Some(Change { ratio, is_loss: worse > allowed })
}
