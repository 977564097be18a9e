use std::collections::BTreeMap;
use std::vec::Vec;

use core::time::Duration;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

#[test]
fn one_entry_an_owner_that_moves_forward_lazily_and_back_at_once() {
    let mut timers = TimerQueue::new();
    let mut armed = Armed::default();
    timers.arm(&mut armed, 'a', Some(ms(10)));
    timers.arm(&mut armed, 'a', Some(ms(20)));
    assert_eq!(timers.first(), Some((ms(10), 'a')));
    timers.arm(&mut armed, 'a', Some(ms(5)));
    assert_eq!(timers.set.len(), 1);
    assert_eq!(timers.pop_due(ms(4)), None);
    assert_eq!(timers.pop_due(ms(5)), Some('a'));
    armed.fired();
    timers.arm(&mut armed, 'a', Some(ms(20)));
    timers.arm(&mut armed, 'a', None);
    assert_eq!(timers.first(), Some((ms(20), 'a')), "it comes and finds nothing to do");
    timers.disarm(&mut armed, 'a');
    assert_eq!((timers.first(), armed), (None, Armed::default()));
}

/// A step for both the timers and the model.
#[derive(Clone, Debug)]
enum Step {
    Arm {
        owner: usize,
        delay: u64,
    },
    CallOff {
        owner: usize,
    },
    Disarm {
        owner: usize,
    },
    Wait {
        time: u64,
    },
    /// Waits until the first deadline.
    WaitForFirst,
}

/// A duration between nanoseconds and years, with each magnitude equally likely.
fn span() -> impl Strategy<Value = u64> {
    (0..62u32, any::<u64>()).prop_map(|(bits, random)| random >> (63 - bits))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40usize, span()).prop_map(|(owner, delay)| Step::Arm { owner, delay }),
        1 => (0..40usize).prop_map(|owner| Step::CallOff { owner }),
        1 => (0..40usize).prop_map(|owner| Step::Disarm { owner }),
        3 => span().prop_map(|time| Step::Wait { time }),
        3 => Just(Step::WaitForFirst),
    ]
}

proptest! {
    /// Compares with a map that is searched as a whole: each due owner is returned once, in order
    /// of time, neither early nor late.
    #[test]
    fn they_fire_what_a_search_through_all_would(steps in prop::collection::vec(step(), 1..300)) {
        let mut timers = TimerQueue::new();
        let mut armed = [Armed::default(); 40];
        let mut model: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut now = Instant::from_secs(1);
        for step in steps {
            match step {
                Step::Arm { owner, delay } => {
                    let at = now + Duration::from_nanos(delay);
                    timers.arm(&mut armed[owner], owner, Some(at));
                    model.entry(owner).and_modify(|old| *old = at.min(*old)).or_insert(at);
                }
                Step::CallOff { owner } => timers.arm(&mut armed[owner], owner, None),
                Step::Disarm { owner } => {
                    timers.disarm(&mut armed[owner], owner);
                    model.remove(&owner);
                }
                Step::Wait { time } => now += Duration::from_nanos(time),
                Step::WaitForFirst => now = timers.first().map_or(now, |(at, _)| at.max(now)),
            }
            let mut due: Vec<(Instant, usize)> =
                model.iter().filter(|&(_, &at)| at <= now).map(|(&owner, &at)| (at, owner)).collect();
            due.sort();
            let fired: Vec<usize> = core::iter::from_fn(|| timers.pop_due(now)).collect();
            prop_assert_eq!(&fired, &due.iter().map(|&(_, owner)| owner).collect::<Vec<_>>());
            for owner in fired {
                armed[owner].fired();
                model.remove(&owner);
            }
            prop_assert_eq!(timers.first().map(|(at, _)| at), model.values().min().copied());
            prop_assert_eq!(timers.set.len(), model.len());
        }
    }
}
