//! [`LeadPolicy`]: which thread should lead next, judged by what threads did recently.
//!
//! It keeps moving averages of how long threads stay away between calls, and counts calls that
//! transmit in a burst. It only affects speed.

use std::cell::Cell;

use portolan::Instant;

use crate::policy::{
    ABSENCE_SAMPLES, BURST_CALLS, BURST_GAP, CHANGE_SAMPLES, FEW_CHANGES, LONG_ABSENCE, MAX_ABSENCE,
    SHORT_ABSENCE,
};
use crate::sync::thread_local;

thread_local! {
    /// When a call of this thread last got what it waited for; `None` once the thread waits again.
    static SERVED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A number for this thread that no other thread has at the same time.
fn this_thread() -> usize {
    SERVED_AT.with(|cell| std::ptr::from_ref(cell).addr())
}

/// The recent behaviour of threads; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct LeadPolicy {
    /// The average time from a call that got what it wanted to the same thread's next call that
    /// must wait.
    absence_nanos: u64,
    /// The share of calls that served another thread than the call before, as a fraction of
    /// [`ALL`](LeadPolicy::ALL).
    changes: u32,
    last_served: Option<usize>,
    /// When a call transmitted last.
    transmitted_at: Instant,
    /// How many calls have transmitted within [`BURST_GAP`] of the one before.
    burst_calls: u32,
}

impl LeadPolicy {
    /// The value of `changes` that means all calls.
    const ALL: u32 = 1024;

    /// Notes that a call of this thread got what it wanted.
    pub(crate) fn on_served(&mut self, now: Instant) {
        if SERVED_AT.with(Cell::get).is_some() {
            return;
        }
        SERVED_AT.with(|cell| cell.set(Some(now)));
        let thread = this_thread();
        let is_other = self.last_served.replace(thread) != Some(thread);
        let change = if is_other { LeadPolicy::ALL } else { 0 };
        self.changes = (self.changes * (CHANGE_SAMPLES - 1) + change) / CHANGE_SAMPLES;
    }

    /// Notes that a call of this thread must wait, and so has time to lead.
    pub(crate) fn on_wait(&mut self, now: Instant) {
        self.burst_calls = 0;
        if let Some(served_at) = SERVED_AT.with(Cell::take) {
            let nanos = (now - served_at).min(MAX_ABSENCE).as_nanos() as u64;
            self.absence_nanos = (self.absence_nanos * (ABSENCE_SAMPLES - 1) + nanos) / ABSENCE_SAMPLES;
        }
    }

    /// Notes that a call of this thread reads the devices after it has sent: its absence counts
    /// from here.
    pub(crate) fn on_read_after_send(&self, now: Instant) {
        SERVED_AT.with(|cell| cell.set(Some(now)));
    }

    /// Notes that a call transmits.
    pub(crate) fn on_transmit(&mut self, now: Instant) {
        let is_soon = now - self.transmitted_at <= BURST_GAP;
        self.burst_calls = if is_soon { self.burst_calls.saturating_add(1) } else { 0 };
        self.transmitted_at = now;
    }

    /// Whether calls transmit so often that they should also read the devices: a leader beside them
    /// would be woken for each frame, and would move the stack's memory to another processor.
    pub(crate) fn is_burst(&self, now: Instant) -> bool {
        self.burst_calls >= BURST_CALLS && now - self.transmitted_at <= BURST_GAP
    }

    /// Whether the thread that was served last should lead next, rather than one that waits now.
    ///
    /// That is so if threads usually call again within microseconds, or somewhat later while nearly
    /// all frames are for one thread.
    pub(crate) fn served_leads_next(&self) -> bool {
        let is_for_one = self.changes < LeadPolicy::ALL / FEW_CHANGES;
        let limit = if is_for_one { LONG_ABSENCE } else { SHORT_ABSENCE };
        self.absence_nanos <= limit.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn micros(n: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(n)
    }

    /// A thread that is served every 200 µs and then stays away for `away`.
    fn serve(policy: &mut LeadPolicy, from: u64, away: u64) {
        for round in 0..100 {
            policy.on_served(micros(from + 200 * round));
            policy.on_served(micros(from + 200 * round + away / 2));
            policy.on_wait(micros(from + 200 * round + away));
        }
    }

    #[test]
    fn the_served_leads_next_unless_threads_take_turns_and_are_away_for_long() {
        let mut policy = LeadPolicy::default();
        serve(&mut policy, 1000, 90);
        assert!(policy.served_leads_next(), "it is away for long, but all is for it");
        for round in 0..100 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    policy.on_served(micros(100_000 + round * 200));
                    policy.on_wait(micros(100_090 + round * 200));
                });
            });
            policy.on_served(micros(100_100 + round * 200));
            policy.on_wait(micros(100_190 + round * 200));
        }
        assert!(!policy.served_leads_next());
        serve(&mut policy, 200_000, 10);
        assert!(policy.served_leads_next());
        serve(&mut policy, 300_000, 190);
        assert!(policy.served_leads_next());
        for round in 0..100 {
            policy.on_served(micros(400_000 + 1000 * round));
            policy.on_wait(micros(400_300 + 1000 * round));
        }
        assert!(!policy.served_leads_next(), "it is away for too long");
        for round in 0..100 {
            policy.on_served(micros(600_000 + 1000 * round));
            policy.on_read_after_send(micros(600_250 + 1000 * round));
            policy.on_wait(micros(600_300 + 1000 * round));
        }
        assert!(policy.served_leads_next(), "it reads on its way");
    }

    #[test]
    fn calls_that_transmit_are_a_burst_until_one_waits_or_pauses() {
        let mut policy = LeadPolicy::default();
        let burst = |policy: &mut LeadPolicy, from: u64| {
            for call in 0..20 {
                policy.on_transmit(micros(from + 200 * call));
            }
            from + 200 * 19
        };
        let last = burst(&mut policy, 1000);
        assert!(policy.is_burst(micros(last + 250)));
        assert!(!policy.is_burst(micros(last + 251)), "a pause");
        policy.on_transmit(micros(last + 251));
        assert!(!policy.is_burst(micros(last + 251)), "it begins anew");
        let last = burst(&mut policy, 10_000);
        policy.on_wait(micros(last));
        assert!(!policy.is_burst(micros(last)));
    }
}
