//! Which thread drives a stack: threads that wait in calls, in turn, and the driver thread when
//! there are none.
//!
//! # Locks
//!
//! There are two. `core` guards the stack, the table of waiters, and the record of the leader. A
//! thread that holds it copies no payload, makes no system call and does not wait. `io` guards the
//! devices and the frames on their way to them. A thread that holds it reads and writes frames. **A
//! thread that waits for both takes `io` first**; with `core` held, `io` is only tried. A thread
//! that takes frames out of the stack holds `io` from before that until the device has them, so
//! frames leave in the order in which the stack made them.
//!
//! Only the leader waits for `io`. A caller that has something to send tries the lock. When another
//! thread has it, the caller sets a flag, the note (`transmit_wanted`), and returns: the holder
//! checks the note *after* it has released `io`, and sends for both. Note and lock are the two
//! flags of Dekker's algorithm, so on both sides a full fence is between setting one and reading
//! the other: either the caller gets the lock or the holder sees the note.
//!
//! # Leader and followers
//!
//! At most one thread *leads* ([`leader`](super::leader)): it reads the devices, runs the timers
//! (after the frames that wait, see [`Engine::handle_received`]), sends what callers could not, and
//! sleeps in `poll` on the devices. While it sleeps it does not hold `io`: a call transmits from
//! its own thread ([`Engine::enter`]), as in a kernel.
//!
//! A call that must wait leads if no other caller does ([`wait`](super::wait)). So the thread that
//! waits for an answer reads it from the device itself: request and answer cost one `poll`, one
//! `read` and one `writev`, and no thread wakes another. After each turn, with `core` still held,
//! the thread checks whether it got what it waits for; then it stops leading and returns. A call
//! that must wait while another caller leads *follows*: it parks on a condition variable, and is
//! woken when a turn, or any call, brings something for it.
//!
//! When a leader has served a follower and got nothing itself, it follows, too: the next frame is
//! likely to be for the thread that was served, which calls again soon, leads, and reads that frame
//! without a hand-over. Until then no thread reads. That is good where threads call again within
//! microseconds, or where all frames are for one of them. Both are measured
//! ([`LeadPolicy`](super::lead_policy::LeadPolicy)). Where many threads compute for longer than a
//! hand-over takes, a leader that served others continues to lead, and one that resigns wakes a
//! follower to lead. Both only affect speed.
//!
//! # Reading after sending
//!
//! A thread that sends as much as it can rarely waits, and nearly every frame that comes in
//! acknowledges what it sent. A leader beside it would be woken for each such frame, move the
//! stack's memory to another processor, and compete for the lock. So a call that transmits while no
//! thread leads also reads the devices, unless they were read a moment ago
//! ([`Leadership::reads_after_send`](super::leadership::Leadership::reads_after_send)); and while
//! calls transmit in a burst ([`LeadPolicy::is_burst`](super::lead_policy::LeadPolicy::is_burst)),
//! a leader resigns after its next turn.
//!
//! # The driver thread
//!
//! The driver thread leads when no call waits. A call that must wait takes the lead from it at once
//! and wakes it, so that it steps back. Then the driver thread *watches*: it checks at growing
//! intervals whether some thread leads, and takes the lead when none has, and no call has read the
//! devices, for [`DRIVER_DELAY`](crate::policy::DRIVER_DELAY). So leaders come and go a hundred
//! thousand times a second without waking it. But when frames have waited in a long idle period,
//! callers that resign wake the driver thread at once from then on
//! ([`Leadership::needs_driver`](super::leadership::Leadership::needs_driver)), until that was of
//! no use many times: a program that computes between its calls, or serves another stack, delays
//! frames only once. When the same caller leads from one check to the next, the driver thread
//! *sleeps* until a leader that resigns wakes it. So an idle runtime wakes no thread, whether a
//! call waits in `accept` or none does.
//!
//! # Devices that come and go
//!
//! Devices are added and taken out with both locks held ([`Engine::change_devices`], and
//! [`EngineCore::take_down_failed`](super::core::EngineCore::take_down_failed) for one that has
//! failed). Each change gives `io` a new version, stores in `core` what leaders poll from then on,
//! and wakes the leader. A leader polls a snapshot of the devices, and its notes about them are in
//! the order of the snapshot. A turn whose snapshot has another version than `io` reads all devices
//! and takes the new snapshot; a leader that finds the difference before it sleeps takes a turn
//! instead.
//!
//! # Why no wake-up is lost
//!
//! `runtime/loom` and `runtime/shuttle` check these statements with model checkers.
//!
//! 1. *Some thread drives.* The leader changes only with `core` held. When no thread leads any more
//!    ([`Leader::resign`]), the driver thread is awake, or asleep for at most
//!    [`MAX_WATCH_INTERVAL`], or is woken; and its signal stays readable until it has checked. That
//!    is enough: whether followers are woken to lead, or call again, does not matter.
//! 2. *The leader knows what it sleeps for.* It counts as asleep from before it checks the stack
//!    for the last time (with `core` held). From then on every thread that creates an earlier
//!    deadline, or brings what the leader waits for, raises the leader's signal
//!    ([`EngineCore::settle`](super::core::EngineCore::settle)). The same holds for `io`: for a
//!    device that waits for room and for deadlines of devices
//!    ([`DeviceIo::leader_to_wake`](super::devices::DeviceIo::leader_to_wake)). The signal stays
//!    readable until the leader has checked, so it does not matter whether the leader is already
//!    asleep. A device without a descriptor raises a signal of its own, which the leader polls
//!    ([`DeviceSignal`](super::device_signal::DeviceSignal)); it is cleared before the leader
//!    offers frames and reads, and only there. A thread that takes the lead begins with both of
//!    these checks, and so learns what its predecessor was signalled. When a caller takes the lead
//!    just before a turn of the driver thread, that turn makes `io` forget the new leader; the
//!    driver thread then wakes it.
//! 3. *A follower is woken.* It parks only if, with `core` held, no event has come to its
//!    descriptor since it tried. Each event is counted, and wakes one thread that is parked there,
//!    or the leader if that waits for the same, or all threads when something has ended. A thread
//!    that was woken alone and takes what is there checks whether there is more, and wakes the
//!    next; a thread that gives up tries a last time, so that a wake-up that came too late for it
//!    is passed on, too. A thread at a poller ([`poller_wait`](super::poller_wait)) sleeps in
//!    `poll` instead, at a signal of its own and at the host's descriptors. It notes the number of
//!    rings of the poller's bell before it looks at the poller, and the bell rings after each event
//!    of the poller that did not go to the leader. So either the thread finds the event, or the
//!    number has changed, or its signal is raised.

use std::sync::Arc;

use crate::clock::Clock;
use crate::engine::end_reason::EndReason;
use crate::engine::leader::Leader;
use crate::engine::leadership::LeaderKind;
use crate::engine::locks::Engine;
use crate::engine::waiters::Wakes;
use crate::platform::timer_slack;
use crate::policy::{DRIVER_DELAY, MAX_WATCH_INTERVAL, SHUTDOWN_WATCH_INTERVAL};

/// The driver thread of a stack.
pub(crate) struct Driver {
    engine: Arc<Engine>,
}

impl Driver {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Driver { engine }
    }

    /// Drives the stack until the runtime is over.
    pub(crate) fn run(self) {
        struct OnPanic(Arc<Engine>);
        impl Drop for OnPanic {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.end(EndReason::Panicked);
                }
            }
        }
        let on_panic = OnPanic(self.engine.clone());
        // The stack's timers are precise to the microsecond.
        timer_slack::make_exact();
        let ended = loop {
            if let Err(ended) = self.watch().and_then(drive) {
                break ended;
            }
        };
        self.finish(ended);
        drop(on_panic);
    }

    /// Watches until no thread leads for long enough, and takes the lead.
    fn watch(&self) -> Result<Leader<'_>, EndReason> {
        let mut interval = DRIVER_DELAY;
        let mut callers_before = None;
        loop {
            let mut core = self.engine.core.lock().map_err(|_| EndReason::Panicked)?;
            if let Some(ended) = &core.ended {
                return Err(ended.clone());
            }
            let now = Clock::now();
            if core.leadership.needs_driver(now) {
                // No thread leads, so there is none to wake.
                if let Some(leader) = core.try_lead(&self.engine, None, now, &mut Wakes::default()) {
                    return Ok(leader);
                }
                continue;
            }
            let leadership = &mut core.leadership;
            let callers = Some(leadership.callers());
            let is_settled =
                leadership.leader().is_some() && callers == callers_before && interval == MAX_WATCH_INTERVAL;
            leadership.on_driver_sleep(is_settled);
            drop(core);
            let wake = self.engine.wake(LeaderKind::Driver);
            if is_settled {
                wake.wait(None);
                (interval, callers_before) = (DRIVER_DELAY, None);
            } else {
                wake.wait(Some(interval));
                (interval, callers_before) = ((2 * interval).min(MAX_WATCH_INTERVAL), callers);
            }
        }
    }

    /// Tells everybody that the runtime is over, and drops the devices. They are dropped now, not
    /// with the last socket, so that a TAP device disappears and a recording is written out.
    fn finish(&self, ended: EndReason) {
        self.engine.end(ended);
        loop {
            let mut core = self.engine.lock_core_anyway();
            if core.leadership.leader() != Some(LeaderKind::Caller) {
                core.leadership.close();
                break;
            }
            // The caller was woken. It resigns, and then wakes this thread with `Engine::end`.
            drop(core);
            self.engine.wake(LeaderKind::Driver).wait(Some(SHUTDOWN_WATCH_INTERVAL));
        }
        if let Ok(mut io) = self.engine.io.lock() {
            io.devices.clear();
        }
    }
}

/// Leads until a caller takes the lead, or until calls transmit in a burst and read the devices
/// themselves.
fn drive(mut leader: Leader<'_>) -> Result<(), EndReason> {
    while leader.is_held() {
        leader.turn(|leader, core, now, wakes| {
            if core.leadership.policy.is_burst(now) {
                leader.resign(core, now, wakes);
            }
        })?;
        if leader.is_held() {
            leader.sleep(None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
