//! The driving loop: one mutex around the stack, one around the devices, and a thread that waits for both.
//!
//! # Locks
//!
//! There are two. `core` guards the stack and the table of waiters; nothing under it copies payload, makes a system
//! call or waits. `io` guards the devices and what is on its way to them; under it frames are written and read.
//! **`io` is taken before `core`, never the other way round**: whoever polls frames out of the stack holds `io` from
//! before the poll until the device has them, so frames leave in the order in which the stack made them.
//!
//! Nobody waits for `io` but the driving thread. A caller tries it; when somebody else has it, the caller leaves a
//! note (`transmit_wanted`) and goes: the holder looks for the note *after* it has released `io`, and sends for
//! both. Note and lock are the two flags of Dekker's algorithm, so a full fence stands between setting the one and
//! looking at the other on both sides: either the caller gets the lock or the holder sees the note.
//!
//! # Who sends, who wakes
//!
//! A call transmits what it caused from its own thread ([`Shared::enter`]), as a kernel does. The driving thread
//! reads the devices, runs the timers, and sends what the others could not: frames that a full device made us keep,
//! and frames left behind with a note. Before it sleeps it publishes, under each lock, what it sleeps for: under
//! `core` the stack's next deadline, under `io` the devices' deadlines and whether it polls for room. Whoever
//! creates an earlier deadline or fills a device sees, under the same lock, that the thread does not know of it, and
//! raises `wake`, which stays readable until the thread has looked. So it does not matter whether the thread is
//! already asleep by then.
//!
//! A caller that must wait sleeps on a condition variable that belongs to `core`; see [`waiters`](crate::waiters).

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use portolan::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Clock;
use crate::ended::Ended;
use crate::shared::Shared;
use crate::waiters::Wakes;

/// The driving thread and what it polls.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    /// In the order of the devices.
    polled: Vec<PolledDevice>,
}

/// Duplicates of a device's descriptors, so that they can be polled while another thread has the device.
struct PolledDevice {
    receive: OwnedFd,
    room: OwnedFd,
    room_flags: PollFlags,
    polls_room: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let mut polled = Vec::new();
        if let Some(io) = shared.try_lock_io() {
            for attached in &io.devices {
                let room = attached.device.room();
                polled.push(PolledDevice {
                    receive: attached.device.receive_fd().try_clone_to_owned()?,
                    room: room.fd.try_clone_to_owned()?,
                    room_flags: room.flags,
                    polls_room: false,
                });
            }
        }
        Ok(Driver { shared, polled })
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        struct OnPanic(Arc<Shared>);
        impl Drop for OnPanic {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.end(Ended::Panicked);
                }
            }
        }
        let on_panic = OnPanic(self.shared.clone());
        // By default Linux may wake us 50 us late to save wake-ups; our timers are meant to the microsecond.
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
            log::debug!("the timer slack stays as it is: {error}");
        }
        let ended = loop {
            if let Err(ended) = self.turn() {
                break ended;
            }
        };
        self.shared.end(ended);
        // The devices go now, not when the last socket does: a TAP device disappears, a recording is written out.
        if let Ok(mut io) = self.shared.io.lock() {
            io.devices.clear();
        }
        drop(on_panic);
    }

    /// Once around: read, let the stack work, send, and sleep if nothing is left to do.
    fn turn(&mut self) -> Result<(), Ended> {
        let shared = &*self.shared;
        let mut wakes = Wakes::default();
        let mut guard = shared.io.lock().map_err(|_| Ended::Panicked)?;
        let io = &mut *guard;
        io.driver_sleeps = false;
        let may_have_more = io.receive()?;
        let mut core = shared.core.lock().map_err(|_| Ended::Panicked)?;
        if let Some(ended) = &core.ended {
            return Err(ended.clone());
        }
        core.sleeps_until = None;
        let now = Clock::now();
        for (iface, frame) in io.received.drain(..) {
            core.stack.handle_frame(now, iface, frame);
        }
        if core.is_due(now) {
            core.stack.handle_timeout(now);
        }
        core.settle(Some(io), now, &mut wakes);
        drop(core);
        shared.notify(wakes);
        shared.send(io);
        drop(guard);
        shared.transmit_for_others();
        if may_have_more { Ok(()) } else { self.sleep() }
    }

    /// Sleeps until a frame, room, a deadline, or `wake`.
    fn sleep(&mut self) -> Result<(), Ended> {
        let Some(until) = self.prepare_sleep()? else { return Ok(()) };
        let timeout = until.map(|at| {
            let left = Clock::until(at);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let mut fds = Vec::with_capacity(1 + 2 * self.polled.len());
        fds.push(PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN));
        for device in &self.polled {
            fds.push(PollFd::from_borrowed_fd(device.receive.as_fd(), PollFlags::IN));
            if device.polls_room {
                fds.push(PollFd::from_borrowed_fd(device.room.as_fd(), device.room_flags));
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Ended::device_failed("poll", &errno.into())),
        }
        if fds.first().is_some_and(|wake| !wake.revents().is_empty()) {
            self.shared.wake.clear();
        }
        Ok(())
    }

    /// Publishes what the thread will sleep for. `None`: there is something to do, do not sleep. `Some(None)`: sleep
    /// without a deadline.
    fn prepare_sleep(&mut self) -> Result<Option<Option<Instant>>, Ended> {
        let shared = &*self.shared;
        let mut until: Option<Instant> = None;
        {
            let mut io = shared.io.lock().map_err(|_| Ended::Panicked)?;
            io.driver_sleeps = true;
            for (attached, polled) in io.devices.iter_mut().zip(&mut self.polled) {
                attached.polls_room = attached.wants_room();
                attached.sleeps_until = attached.device.deadline();
                polled.polls_room = attached.polls_room;
                until = earlier(until, attached.sleeps_until);
            }
        }
        fence(Ordering::SeqCst);
        if shared.transmit_wanted.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut core = shared.core.lock().map_err(|_| Ended::Panicked)?;
        let deadline = core.stack.poll_timeout().map(|deadline| deadline.at);
        core.sleeps_until = Some(deadline.unwrap_or(Instant::FAR_FUTURE));
        drop(core);
        until = earlier(until, deadline);
        if until.is_some_and(|at| at <= Clock::now()) {
            return Ok(None);
        }
        Ok(Some(until))
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}
