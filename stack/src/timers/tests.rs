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
    let mut timers = Timers::new();
    let mut armed = Armed::default();
    timers.arm(&mut armed, 'a', Some(ms(10)));
    timers.arm(&mut armed, 'a', Some(ms(20)));
    assert_eq!(timers.first(), Some((ms(10), 'a')));
    timers.arm(&mut armed, 'a', Some(ms(5)));
    assert_eq!(timers.len, 1);
    assert_eq!(timers.pop_due(ms(4)), None);
    assert_eq!(timers.pop_due(ms(5)), Some('a'));
    armed.fired();
    timers.arm(&mut armed, 'a', Some(ms(20)));
    timers.arm(&mut armed, 'a', None);
    assert_eq!(timers.first(), Some((ms(20), 'a')), "it comes and finds nothing to do");
    timers.disarm(&mut armed);
    assert_eq!((timers.first(), timers.len), (None, 0));
}

#[test]
fn a_rush_that_is_over_gives_its_memory_back() {
    let mut timers = Timers::new();
    let mut armed = [Armed::default(); 1000];
    for (owner, armed) in armed.iter_mut().enumerate() {
        timers.arm(armed, owner, Some(ms(40 + owner as u64)));
    }
    assert_eq!(core::iter::from_fn(|| timers.pop_due(ms(2000))).count(), 1000);
    assert_eq!(timers.entries.capacity(), 0);
}

#[test]
fn with_very_many_at_one_time_the_first_is_told_without_looking_at_all() {
    let mut timers = Timers::new();
    let mut armed = [Armed::default(); LOOK_AT_MOST + 1];
    for (owner, armed) in armed.iter_mut().enumerate() {
        timers.arm(armed, owner, Some(ms(40)));
    }
    let told = timers.first().map(|(at, _)| at).unwrap();
    assert!(told <= ms(40) && told > ms(38), "{told}");
    assert_eq!(timers.pop_due(told), None);
    assert_eq!(timers.first().map(|(at, _)| at), Some(ms(40)), "by now they are near");
    timers.disarm(&mut armed[0]);
    assert_eq!(core::iter::from_fn(|| timers.pop_due(ms(40))).count(), LOOK_AT_MOST);
}

/// What happens to the wheel and to the model.
#[derive(Clone, Debug)]
enum Step {
    Arm {
        owner: usize,
        delay: u64,
    },
    Cancel {
        owner: usize,
    },
    Disarm {
        owner: usize,
    },
    Wait {
        time: u64,
    },
    /// Until the wheel says that something is due.
    WaitForFirst,
}

/// From nanoseconds to years: each scale as likely as any other.
fn span() -> impl Strategy<Value = u64> {
    (0..62u32, any::<u64>()).prop_map(|(bits, random)| random >> (63 - bits))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40usize, span()).prop_map(|(owner, delay)| Step::Arm { owner, delay }),
        // Timers of a kind: many at nearly the same time.
        4 => (0..40usize, 0..5_000_000u64).prop_map(|(owner, more)| Step::Arm { owner, delay: 200_000_000 + more }),
        1 => (0..40usize).prop_map(|owner| Step::Cancel { owner }),
        1 => (0..40usize).prop_map(|owner| Step::Disarm { owner }),
        2 => span().prop_map(|time| Step::Wait { time }),
        2 => (0..300_000_000u64).prop_map(|time| Step::Wait { time }),
        4 => Just(Step::WaitForFirst),
    ]
}

proptest! {
    /// Against a map: who is due comes out, in the order of time and never early, and the first deadline is never told too
    /// late, nor as past when it is not.
    #[test]
    fn the_wheel_fires_what_a_sorted_map_would(steps in prop::collection::vec(step(), 1..300)) {
        let mut timers = Timers::new();
        let mut armed = [Armed::default(); 40];
        let mut model: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut now = Instant::from_secs(1);
        let mut idle_turns = 0;
        for step in steps {
            match step {
                Step::Arm { owner, delay } => {
                    let at = now + Duration::from_nanos(delay);
                    timers.arm(&mut armed[owner], owner, Some(at));
                    model.entry(owner).and_modify(|old| *old = at.min(*old)).or_insert(at);
                }
                Step::Cancel { owner } => timers.arm(&mut armed[owner], owner, None),
                Step::Disarm { owner } => {
                    timers.disarm(&mut armed[owner]);
                    model.remove(&owner);
                }
                Step::Wait { time } => now += Duration::from_nanos(time),
                Step::WaitForFirst => {
                    if let Some((at, _)) = timers.first() {
                        now = now.max(at);
                    }
                }
            }
            let mut due: Vec<(Instant, usize)> =
                model.iter().filter(|&(_, &at)| at <= now).map(|(&owner, &at)| (at, owner)).collect();
            due.sort();
            let mut fired = Vec::new();
            while let Some(owner) = timers.pop_due(now) {
                armed[owner].fired();
                fired.push((model.remove(&owner).expect("it is armed"), owner));
            }
            prop_assert!(fired.is_sorted_by_key(|&(at, _)| at));
            idle_turns = if matches!(step, Step::WaitForFirst) && fired.is_empty() { idle_turns + 1 } else { 0 };
            prop_assert!(idle_turns <= WHEELS + 1, "it is called again and again for nothing");
            fired.sort();
            prop_assert_eq!(fired, due);
            let (told, first) = (timers.first().map(|(at, _)| at), model.values().min().copied());
            prop_assert_eq!(told.is_some(), first.is_some());
            prop_assert!(told <= first && told.is_none_or(|told| told > now), "{:?} {:?}", told, first);
            prop_assert_eq!(timers.len, model.len());
        }
    }
}
