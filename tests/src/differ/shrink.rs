//! Shrinks a plan that shows a difference.

use super::plan::Plan;
use super::{Difference, Verdict, compare};

/// Removes groups, then lines, as long as no rule explains the answers and they differ in the same
/// way: a plan with any other difference would hide the one that was found.
pub fn shrink(mut found: Difference) -> Difference {
    let kind = found.kind();
    found.plan.groups.truncate(found.index + 1);
    loop {
        let Some(shorter) = candidates(&found.plan).find_map(|plan| match compare(&plan) {
            Verdict::Unexplained(difference) if difference.kind() == kind => Some(difference),
            _ => None,
        }) else {
            return found;
        };
        found = shorter;
        found.plan.groups.truncate(found.index + 1);
    }
}

/// The plan without one part, the largest parts first.
fn candidates(plan: &Plan) -> impl Iterator<Item = Plan> {
    let count = plan.groups.len();
    let without_groups = [4, 2, 1].into_iter().flat_map(move |len: usize| {
        (0..count.saturating_sub(len)).rev().map(move |at| {
            let mut shorter = plan.clone();
            shorter.groups.drain(at..at + len);
            shorter
        })
    });
    let without_lines = (0..count).rev().flat_map(move |at| {
        let lines = plan.groups[at].lines.len();
        (0..lines).filter(move |_| lines > 1).map(move |line| {
            let mut shorter = plan.clone();
            shorter.groups[at].lines.remove(line);
            shorter
        })
    });
    without_groups.chain(without_lines)
}
