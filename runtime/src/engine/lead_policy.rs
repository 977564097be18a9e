//! What is known of the threads that call, to decide who should read the devices: moving averages.

use std::cell::Cell;
use std::time::Duration;

use portolan::Instant;

use crate::sync::thread_local;

/// Threads that are back to wait within this time, on average, may lead in turn. About what it costs to wake another
/// thread and to wait until it runs.
const SOON: Duration = Duration::from_micros(25);
/// While a thread is away for so long, on average, somebody else must lead, even where nearly everything is for that thread.
const LONG: Duration = Duration::from_micros(200);
/// A longer absence counts as this, so that one exception does not count for many.
const LONGEST: Duration = Duration::from_micros(400);
/// Calls that transmit so soon one after the other ...
const RUSH: Duration = Duration::from_micros(250);
/// ... and so many in a row are a rush.
const RUSH_CALLS: u32 = 8;

thread_local! {
    /// When a call of this thread got what it wanted, the first after it waited.
    static SERVED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A number for this thread that no other has at the same time.
fn this_thread() -> usize {
    SERVED_AT.with(|cell| std::ptr::from_ref(cell).addr())
}

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct LeadPolicy {
    /// How long a thread is away between a call that got what it wanted and the next that must wait.
    away_nanos: u64,
    /// How often another thread was served than the time before: from 0, never, to [`ALWAYS`](LeadPolicy::ALWAYS).
    changes: u32,
    last_served: Option<usize>,
    /// When a call transmitted last, and how many in a row did so soon one after the other.
    transmitted_at: Instant,
    rush_calls: u32,
}

impl LeadPolicy {
    const ALWAYS: u32 = 1024;
    /// One of eight.
    const OFTEN: u32 = LeadPolicy::ALWAYS / 8;

    /// A call of this thread got what it wanted.
    pub(crate) fn on_served(&mut self, now: Instant) {
        if SERVED_AT.with(Cell::get).is_some() {
            return;
        }
        SERVED_AT.with(|cell| cell.set(Some(now)));
        let thread = this_thread();
        let is_other = self.last_served.replace(thread) != Some(thread);
        let change = if is_other { LeadPolicy::ALWAYS } else { 0 };
        self.changes = (self.changes * 15 + change) / 16;
    }

    /// A call of this thread must wait: it has time to lead.
    pub(crate) fn on_wait(&mut self, now: Instant) {
        self.rush_calls = 0;
        if let Some(served_at) = SERVED_AT.with(Cell::take) {
            let nanos = (now - served_at).min(LONGEST).as_nanos() as u64;
            self.away_nanos = (self.away_nanos * 7 + nanos) / 8;
        }
    }

    /// A call of this thread has read the devices: it was not away.
    pub(crate) fn on_read_in_passing(&self, now: Instant) {
        SERVED_AT.with(|cell| cell.set(Some(now)));
    }

    /// A call transmits.
    pub(crate) fn on_transmit(&mut self, now: Instant) {
        let is_soon = now - self.transmitted_at <= RUSH;
        self.rush_calls = if is_soon { self.rush_calls.saturating_add(1) } else { 0 };
        self.transmitted_at = now;
    }

    /// Whether calls transmit so often that they had better do the reading, too: a leader beside them would be woken
    /// for each frame, and take it to another processor.
    pub(crate) fn is_rush(&self, now: Instant) -> bool {
        self.rush_calls >= RUSH_CALLS && now - self.transmitted_at <= RUSH
    }

    /// Whether the thread that was served last is the best to lead next: it is soon back, or it is back before long and what
    /// comes is for it anyhow. Otherwise it is one that waits now.
    pub(crate) fn is_next_for_the_served(&self) -> bool {
        let soon_enough = if self.changes < LeadPolicy::OFTEN { LONG } else { SOON };
        self.away_nanos <= soon_enough.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(n: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(n)
    }

    /// A thread that is served every 200 us, each time for so long.
    fn serve(lead_policy: &mut LeadPolicy, from: u64, away: u64) {
        for round in 0..100 {
            lead_policy.on_served(micros(from + 200 * round));
            lead_policy.on_served(micros(from + 200 * round + away / 2));
            lead_policy.on_wait(micros(from + 200 * round + away));
        }
    }

    #[test]
    fn the_served_leads_next_unless_threads_take_turns_and_are_away_for_long() {
        let mut lead_policy = LeadPolicy::default();
        serve(&mut lead_policy, 1000, 90);
        assert!(lead_policy.is_next_for_the_served(), "it is away for long, but all is for it");
        for round in 0..100 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    lead_policy.on_served(micros(100_000 + round * 200));
                    lead_policy.on_wait(micros(100_090 + round * 200));
                });
            });
            lead_policy.on_served(micros(100_100 + round * 200));
            lead_policy.on_wait(micros(100_190 + round * 200));
        }
        assert!(!lead_policy.is_next_for_the_served());
        serve(&mut lead_policy, 200_000, 10);
        assert!(lead_policy.is_next_for_the_served());
        serve(&mut lead_policy, 300_000, 190);
        assert!(lead_policy.is_next_for_the_served());
        for round in 0..100 {
            lead_policy.on_served(micros(400_000 + 1000 * round));
            lead_policy.on_wait(micros(400_300 + 1000 * round));
        }
        assert!(!lead_policy.is_next_for_the_served(), "it is away for too long");
        for round in 0..100 {
            lead_policy.on_served(micros(600_000 + 1000 * round));
            lead_policy.on_read_in_passing(micros(600_250 + 1000 * round));
            lead_policy.on_wait(micros(600_300 + 1000 * round));
        }
        assert!(lead_policy.is_next_for_the_served(), "it reads on its way");
    }

    #[test]
    fn calls_that_transmit_are_a_rush_until_one_waits_or_pauses() {
        let mut lead_policy = LeadPolicy::default();
        let rush = |lead_policy: &mut LeadPolicy, from: u64| {
            for call in 0..20 {
                lead_policy.on_transmit(micros(from + 200 * call));
            }
            from + 200 * 19
        };
        let last = rush(&mut lead_policy, 1000);
        assert!(lead_policy.is_rush(micros(last + 250)));
        assert!(!lead_policy.is_rush(micros(last + 251)), "a pause");
        lead_policy.on_transmit(micros(last + 251));
        assert!(!lead_policy.is_rush(micros(last + 251)), "it begins anew");
        let last = rush(&mut lead_policy, 10_000);
        lead_policy.on_wait(micros(last));
        assert!(!lead_policy.is_rush(micros(last)));
    }
}
