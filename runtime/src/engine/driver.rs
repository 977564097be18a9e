//! Who drives a stack: threads that wait, in turn, and the driving thread when nobody does.
//!
//! # Locks
//!
//! There are two. `core` guards the stack, the table of waiters, and who leads; nothing under it copies payload, makes a
//! system call or waits. `io` guards the devices and what is on its way to them; under it frames are written and read.
//! **Whoever waits for both takes `io` first**; with `core` held, `io` is only tried. Whoever polls frames out of the
//! stack holds `io` from before the poll until the device has them, so frames leave in the order in which the stack
//! made them.
//!
//! Nobody waits for `io` but the leader. A caller that has something to send tries it; when somebody else has it, the
//! caller leaves a note (`transmit_wanted`) and goes: the holder looks for the note *after* it has released `io`, and
//! sends for both. Note and lock are the two flags of Dekker's algorithm, so a full fence stands between setting the one
//! and looking at the other on both sides: either the caller gets the lock or the holder sees the note.
//!
//! # Leader and followers
//!
//! At most one thread *leads* ([`lead`](crate::engine::leader)): it reads the devices, runs the timers (after the frames that wait, see
//! [`Engine::take_in`]), sends what callers could not, and sleeps in `poll` on the devices. `io` is free while it sleeps: a
//! call transmits what it caused from its own thread ([`Engine::enter`]), as in a kernel.
//!
//! A call that must wait leads if nobody else does ([`wait`](crate::engine::wait)). So the thread that waits for an answer reads it
//! from the device itself: request and answer cost one `poll`, one `read` and one `writev`, and no thread wakes another.
//! After each turn it looks at what it waits for, while it still holds `core`, and when that has come it stops leading
//! and returns. A call that must wait while another caller leads *follows*: it parks on a condition variable, and is woken
//! when a turn, or any call, brings something for it.
//!
//! When a leader has served a follower and got nothing itself, it follows, too: the next frame is likely for the one that
//! was just served, and that one will be back in a moment, leads, and gets it without a hand-over. While it is away nobody
//! reads. That is good where threads are back in a moment, or before long where all frames are for one of them. Both are
//! measured ([`LeadPolicy`](crate::engine::lead_policy::LeadPolicy)). Where many threads compute for longer than a hand-over costs, it is the
//! other way round: a leader that served others goes on leading, and one that leaves asks a follower to lead. Either is
//! only a matter of speed.
//!
//! # Reading in passing
//!
//! A thread that sends as much as it can hardly ever waits, and nearly every frame that comes in acknowledges what it sent.
//! A leader beside it would be woken for each of them, would take the stack's memory to another processor, and compete for
//! the lock. So a call that transmits while nobody leads reads the devices, too, when nobody has for a moment
//! ([`Leadership::reads_in_passing`](crate::engine::leader::Leadership::reads_in_passing)); and while calls transmit in a rush
//! ([`LeadPolicy::is_rush`](crate::engine::lead_policy::LeadPolicy::is_rush)), a leader gives the lead back after its next turn.
//!
//! # The driving thread
//!
//! It leads when nobody waits. When a call must wait meanwhile, that takes the lead over at once and tells the driving
//! thread to step back. Then the thread *watches*: it looks now and then, less and less often, whether somebody leads, and
//! takes the lead when it finds that nobody has, or has read in passing, for [`GRACE`]. Leaders come and go a hundred
//! thousand times a second without a word to it. But when frames have waited in a vacancy that was long,
//! those who leave call it at once from then on ([`Leadership::needs_driver`](crate::engine::leader::Leadership::needs_driver)), until
//! that has been for nothing many times: a program that computes between its calls, or serves something else, delays
//! nobody's frames but once. When the same caller leads from one look to the next, it *rests*, until
//! a leader that goes finds it resting and wakes it. So an idle runtime wakes nobody, whether a thread waits in `accept` or
//! none does.
//!
//! # Why no wake-up is lost
//!
//! 1. *Somebody drives.* The leader changes only under `core`. When nobody leads any more ([`Leader::resign`]), the driving
//!    thread is awake, or asleep for at most [`LONGEST_LOOK`], or is woken; and what wakes it stays readable until it has
//!    looked. Nothing else is needed for that: whether followers are asked to lead, or come back, does not matter.
//! 2. *The leader knows what it sleeps for.* From before it looks at the stack for the last time (`core` held) it counts
//!    as asleep, and from then on everybody who creates an earlier deadline or makes happen what it waits for raises its
//!    signal ([`EngineCore::settle`](crate::engine::locks::EngineCore::settle)). The same goes for `io`: room that is wanted and deadlines of
//!    devices ([`DeviceIo::who_must_know`](crate::engine::devices::DeviceIo::who_must_know)). The signal stays readable until the leader has
//!    looked, so it does not matter whether it is already asleep by then. A lead that is taken over begins with both of these
//!    looks, so what the signal of the predecessor said is known. The driving thread that was overtaken in the middle of
//!    a turn, when it has made `io` forget the new leader, wakes that.
//! 3. *A follower is told.* It parks only while, `core` held, nothing has happened to its descriptor since it tried; each
//!    happening is counted and wakes one who is parked there, the leader if it waits for the same, or all at the end of
//!    something. Whoever is woken alone and takes what there is looks whether there is more, and passes it on; whoever
//!    gives up tries a last time, so that a wake-up that came too late for it is passed on, too.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::end_reason::EndReason;
use crate::engine::leader::{Leader, LeaderKind, set_timer_slack};
use crate::engine::locks::Engine;
use crate::engine::waiters::Wakes;

/// Nobody has led for so long: the driving thread does. A thread that is about to lead or to read in passing may be without
/// a processor for a moment, and is not helped by a second reader.
const GRACE: Duration = Duration::from_millis(1);
/// From one look to the next at most. The time doubles up to that as long as callers lead, or did a moment ago: the longer
/// they have been at it, the likelier it is that they go on, and each look may cost one of them its processor for a moment.
const LONGEST_LOOK: Duration = Duration::from_millis(4);
/// While it waits for a caller to step back at the end; that wakes it, and this is for want of anything better to do.
const LAST_LOOKS: Duration = Duration::from_millis(10);

/// The driving thread.
pub(crate) struct Driver {
    engine: Arc<Engine>,
}

impl Driver {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Driver { engine }
    }

    /// The thread's whole life.
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
        // By default Linux may wake us 50 us late to save wake-ups; our timers are meant to the microsecond.
        set_timer_slack(1);
        let ended = loop {
            if let Err(ended) = self.watch().and_then(drive) {
                break ended;
            }
        };
        self.finish(ended);
        drop(on_panic);
    }

    /// Until nobody has led for the grace: leads then.
    fn watch(&self) -> Result<Leader<'_>, EndReason> {
        let mut interval = GRACE;
        let mut callers_before = None;
        loop {
            let mut core = self.engine.core.lock().map_err(|_| EndReason::Panicked)?;
            if let Some(ended) = &core.ended {
                return Err(ended.clone());
            }
            let now = Clock::now();
            if core.leadership.needs_driver(now, GRACE) {
                // Nobody leads, so there is nobody to wake.
                if let Some(leader) = core.try_lead(&self.engine, None, now, &mut Wakes::default()) {
                    return Ok(leader);
                }
                continue;
            }
            let leadership = &mut core.leadership;
            let callers = Some(leadership.callers());
            let is_settled =
                leadership.leader().is_some() && callers == callers_before && interval == LONGEST_LOOK;
            leadership.driver_rests = is_settled;
            drop(core);
            let wake = self.engine.wake(LeaderKind::Driver);
            if is_settled {
                wake.wait(None);
                (interval, callers_before) = (GRACE, None);
            } else {
                wake.wait(Some(interval));
                (interval, callers_before) = ((2 * interval).min(LONGEST_LOOK), callers);
            }
        }
    }

    /// The runtime is over: everybody learns of it, and the devices go. They go now, not when the last socket does: a TAP
    /// device disappears, a recording is written out.
    fn finish(&self, ended: EndReason) {
        self.engine.end(ended);
        loop {
            let mut core = self.engine.lock_core_anyway();
            if core.leadership.leader() != Some(LeaderKind::Caller) {
                core.leadership.close();
                break;
            }
            // It was woken, and wakes us when it steps back.
            drop(core);
            self.engine.wake(LeaderKind::Driver).wait(Some(LAST_LOOKS));
        }
        if let Ok(mut io) = self.engine.io.lock() {
            io.devices.clear();
        }
    }
}

/// Leads until a caller takes over, or until callers do the reading in passing.
fn drive(mut leader: Leader<'_>) -> Result<(), EndReason> {
    while leader.is_held() {
        leader.turn(|leader, core, now, wakes| {
            if core.leadership.lead_policy.is_rush(now) {
                leader.resign(core, now, wakes);
            }
        })?;
        if leader.is_held() {
            leader.sleep(None)?;
        }
    }
    Ok(())
}
