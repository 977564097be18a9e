//! [`Leader`]: the right to read the devices, to run the timers and to sleep until something
//! happens.
//!
//! [`driver`](crate::engine::driver) describes leaders and followers. One thread at a time has this
//! right. It alternates [`turn`](Leader::turn) and [`sleep`](Leader::sleep), and gives the right
//! back with [`resign`](Leader::resign) or by dropping the `Leader`.

use std::io;
use std::time::Duration;

use portolan::Instant;
use smallvec::SmallVec;

use crate::clock::Clock;
use crate::engine::core::EngineCore;
use crate::engine::devices::DeviceIo;
use crate::engine::end_reason::EndReason;
use crate::engine::leadership::{LeaderKind, PolledDevices, TakenLead, Waiting};
use crate::engine::locks::Engine;
use crate::engine::waiters::Wakes;
use crate::platform::poll::{self, AsFd, BorrowedFd, PollFd, PollFlags};
use crate::platform::timer_slack;
use crate::policy::EXACT_TIMER_WITHIN;

impl EngineCore {
    /// Takes the lead if no other thread has it. A caller, which passes what it waits for, takes
    /// the lead from the driver thread, too.
    ///
    /// From here on the leader counts as asleep: a thread that changes what the leader must know
    /// wakes it.
    pub(crate) fn try_lead<'a>(
        &mut self,
        engine: &'a Engine,
        waiting: Option<Waiting>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Leader<'a>> {
        let kind = if waiting.is_some() { LeaderKind::Caller } else { LeaderKind::Driver };
        let TakenLead { is_from_driver, after_long_idle, polled } = self.leadership.take(kind, now)?;
        // The driver thread sleeps on the devices, so it would wake up for the next frame, too.
        wakes.driver |= is_from_driver;
        self.waiters.leading = waiting.map(|waiting| waiting.target);
        let mut leader = Leader {
            engine,
            kind,
            is_held: true,
            waiting,
            ready: SmallVec::from_elem(false, polled.devices.len()),
            polls_room: SmallVec::from_elem(false, polled.devices.len()),
            polled,
            host_fds: [None; 2],
            host_is_ready: false,
            io_knows: false,
            after_long_idle,
            may_sleep: true,
            core_deadline: None,
            io_deadline: None,
            old_timer_slack: None,
        };
        leader.publish_to_core(self);
        Some(leader)
    }
}

/// The right to drive the devices; see the module's page.
#[derive(Debug)]
pub(crate) struct Leader<'a> {
    engine: &'a Engine,
    kind: LeaderKind,
    /// False once this thread has resigned, or a caller has taken the lead.
    is_held: bool,
    waiting: Option<Waiting>,
    polled: PolledDevices,
    /// For each device, whether there is something to read.
    ready: SmallVec<[bool; 4]>,
    /// For each device, whether the leader polls for room.
    polls_room: SmallVec<[bool; 4]>,
    /// Descriptors of the host that this thread waits for, too.
    host_fds: [Option<BorrowedFd<'a>>; 2],
    /// Whether one of them was ready in the last sleep.
    host_is_ready: bool,
    /// Whether [`DeviceIo`] has been told that this thread sleeps, and until when.
    io_knows: bool,
    /// Whether no thread had led for long when this one took the lead, so that frames in the
    /// devices have waited.
    after_long_idle: bool,
    /// False if there is something to do already: the next sleep then returns at once.
    may_sleep: bool,
    /// The next deadline of the stack or of a task, as published.
    core_deadline: Option<Instant>,
    /// The next deadline of the devices, as published.
    io_deadline: Option<Instant>,
    /// This thread's timer slack from before [`be_exact`](Leader::be_exact).
    old_timer_slack: Option<u64>,
}

impl<'a> Leader<'a> {
    /// Makes sleeps end, too, when one of these descriptors is readable.
    pub(crate) fn wait_for_host(&mut self, fds: [Option<BorrowedFd<'a>>; 2]) {
        self.host_fds = fds;
    }
}

impl Leader<'_> {
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether there was an event for what this caller waits for since its last check.
    pub(crate) fn has_event(&self, core: &mut EngineCore) -> bool {
        self.waiting.is_some_and(|waiting| waiting.has_event(&mut core.waiters))
    }

    /// Whether a descriptor of [`wait_for_host`](Leader::wait_for_host) ended the last sleep.
    pub(crate) fn is_host_ready(&self) -> bool {
        self.host_is_ready
    }

    /// The count of events at this caller's last check.
    pub(crate) fn seen(&self) -> u32 {
        self.waiting.map_or(0, |waiting| waiting.seen)
    }

    /// Notes the count of events, because this caller has checked and continues to wait. Returns
    /// false if what it waits for is closed.
    pub(crate) fn look_again(&mut self, core: &mut EngineCore) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let Some(events) = core.waiters.events(waiting.target) else { return false };
        waiting.seen = events;
        true
    }

    /// Reads what is ready, lets the stack work, and sends. In between, `then` sees the stack after
    /// everything that came in, and before anything is sent.
    pub(crate) fn turn<R>(
        &mut self,
        then: impl FnOnce(&mut Self, &mut EngineCore, Instant, &mut Wakes) -> R,
    ) -> Result<R, EndReason> {
        let engine = self.engine;
        let mut wakes = Wakes::default();
        let mut guard = engine.io.lock().map_err(|_| EndReason::Panicked)?;
        let io = &mut *guard;
        io.sleeper = None;
        // Without an entry for each device as they are now, all are read.
        io.receive(self.knows_devices(io).then_some(&self.ready));
        self.ready.fill(false);
        let has_read = io.has_received();
        let mut core = engine.core.lock().map_err(|_| EndReason::Panicked)?;
        if let Some(ended) = &core.ended {
            return Err(ended.clone());
        }
        self.on_awake(&mut core, &mut wakes);
        if has_read && self.kind == LeaderKind::Driver {
            core.leadership.on_driver_read();
        }
        if std::mem::take(&mut self.after_long_idle) && has_read {
            core.leadership.on_frames_waited();
        }
        // `handle_received` may release `core`, and meanwhile a caller may take the lead from the
        // driver thread. This turn then continues as that of a leader: the caller publishes in `io`
        // only after it, and raises the signal that ends the driver thread's next sleep.
        let (mut core, now) = engine.handle_received(io, core, &mut wakes)?;
        self.look_at_devices(&core);
        let result = then(self, &mut core, now, &mut wakes);
        core.settle(Some(io), now, &mut wakes);
        if self.is_held {
            self.publish_to_core(&mut core);
        }
        drop(core);
        engine.notify(&mut wakes);
        engine.send(io);
        if self.is_held {
            self.publish_to_io(io);
        }
        drop(guard);
        self.transmit_for_others();
        Ok(result)
    }

    /// Whether `polled` is about the devices as they are now.
    fn knows_devices(&self, io: &DeviceIo) -> bool {
        self.polled.version == io.version()
    }

    /// Learns which devices there are now. Nothing keeps those open that are gone.
    fn look_at_devices(&mut self, core: &EngineCore) {
        let polled = core.leadership.polled();
        if polled.version != self.polled.version {
            self.polled = polled.clone();
            self.ready = SmallVec::from_elem(false, polled.devices.len());
            self.polls_room = SmallVec::from_elem(false, polled.devices.len());
        }
    }

    /// Sends the frames of callers that could not get `io` from this thread. A leader sends one
    /// more batch, and reads before it sends the next; this does not count as a call that
    /// transmits.
    fn transmit_for_others(&mut self) {
        if !self.is_held {
            self.engine.transmit_for_others();
        } else if self.engine.transmit_batch_for_others(|_, _| false) && self.engine.is_transmit_wanted() {
            self.skip_sleep();
        }
    }

    /// Lets the next sleep return at once. It then does not poll, so every device counts as ready.
    fn skip_sleep(&mut self) {
        self.may_sleep = false;
        self.ready.fill(true);
    }

    /// Notes that this thread is awake and need not be woken. Finds out whether it still leads.
    fn on_awake(&mut self, core: &mut EngineCore, wakes: &mut Wakes) {
        if !core.leadership.on_awake(self.kind) {
            // A caller has taken the lead. It may sleep, and this turn has made `io` forget that.
            self.is_held = false;
            wakes.add_leader(core.leadership.leader());
        }
    }

    /// Publishes in `core` until when the leader sleeps. From here on the leader counts as asleep.
    fn publish_to_core(&mut self, core: &mut EngineCore) {
        self.may_sleep = !self.has_event(core);
        self.core_deadline = core.next_timeout_at();
        core.leadership.on_sleep(self.core_deadline);
    }

    /// Publishes in `io` that the leader sleeps, and what it knows of the devices.
    fn publish_to_io(&mut self, io: &mut DeviceIo) {
        io.sleeper = Some(self.kind);
        self.io_deadline = None;
        self.io_knows = true;
        if !self.knows_devices(io) {
            // The next turn learns what there is to poll.
            return self.skip_sleep();
        }
        // With several devices, each attempt would read all of them.
        let may_read_first = io.devices.len() == 1;
        for (attached, polls_room) in io.devices.iter_mut().zip(&mut self.polls_room) {
            attached.polls_room = attached.wants_room();
            attached.sleeps_until = attached.deadline();
            *polls_room = attached.polls_room;
            self.io_deadline = earlier(self.io_deadline, attached.sleeps_until);
            if attached.has_more || attached.reads_first(may_read_first && self.may_sleep) {
                self.may_sleep = false;
            }
        }
        if !self.may_sleep {
            self.skip_sleep();
        }
    }

    /// Sleeps until there is a frame, room or a deadline, until `give_up_at`, or until another
    /// thread wakes the leader.
    pub(crate) fn sleep(&mut self, give_up_at: Option<Instant>) -> Result<(), EndReason> {
        if !self.io_knows {
            let mut io = self.engine.io.lock().map_err(|_| EndReason::Panicked)?;
            self.publish_to_io(&mut io);
            drop(io);
            self.transmit_for_others();
        }
        self.io_knows = false;
        self.host_is_ready = false;
        let failed = |error: io::Error| EndReason::device_failed("poll", &error);
        if !self.may_sleep {
            // Devices that always have more frames must not hide the host's descriptors.
            return self.check_host().map_err(failed);
        }
        let deadline = earlier(self.core_deadline, self.io_deadline);
        let until = earlier(deadline, give_up_at);
        let now = if until.is_some() || self.spins() { Clock::now() } else { Instant::ZERO };
        if deadline.is_some_and(|at| at > now && at - now < EXACT_TIMER_WITHIN) {
            self.be_exact();
        }
        let mut was_woken = false;
        if self.after_long_idle {
            was_woken = self.poll(Some(Duration::ZERO)).map_err(failed)?;
            self.after_long_idle = self.ready.contains(&true);
        }
        if !was_woken && !self.after_long_idle && !self.host_is_ready {
            let slept =
                if self.spins() { self.spin(now, until) } else { self.poll(until.map(|at| at - now)) };
            was_woken = slept.map_err(failed)?;
        }
        if was_woken {
            self.engine.wake(self.kind).clear();
            if self.kind == LeaderKind::Driver {
                // It may have been woken to step back, and then a turn would only disturb the new
                // leader.
                let core = self.engine.core.lock().map_err(|_| EndReason::Panicked)?;
                self.is_held = core.leadership.leader() == Some(self.kind);
            }
        }
        Ok(())
    }

    /// The descriptors whose readiness means that a turn has something to do: the leader's signal,
    /// then each device, for frames and, where a frame waits for it, for room; and the descriptors
    /// of the host.
    pub(crate) fn fds(&self) -> SmallVec<[PollFd<'_>; 8]> {
        let mut fds = SmallVec::new();
        fds.push(PollFd::from_borrowed_fd(self.engine.wake(self.kind).as_fd(), PollFlags::IN));
        for (device, polls_room) in self.polled.devices.iter().zip(&self.polls_room) {
            fds.push(PollFd::from_borrowed_fd(device.receive.as_fd(), PollFlags::IN));
            if let Some((room, flags)) = &device.room
                && *polls_room
            {
                fds.push(PollFd::from_borrowed_fd(room.as_fd(), *flags));
            }
        }
        fds.extend(self.host_poll_fds());
        fds
    }

    fn host_poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.host_fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
    }

    /// Finds out whether a descriptor of the host is ready.
    fn check_host(&mut self) -> io::Result<()> {
        let mut fds: SmallVec<[PollFd<'_>; 2]> = self.host_poll_fds().collect();
        let is_ready = !fds.is_empty() && poll::poll(&mut fds, Some(Duration::ZERO))? > 0;
        drop(fds);
        self.host_is_ready = is_ready;
        Ok(())
    }

    /// Polls, and notes which devices are ready. Returns whether the leader was woken.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut fds = self.fds();
        if poll::poll(&mut fds, timeout)? == 0 {
            return Ok(false);
        }
        let mut has_events = fds.iter().map(|fd| !fd.revents().is_empty());
        let was_woken = has_events.next() == Some(true);
        let mut ready: SmallVec<[bool; 4]> = SmallVec::new();
        for (device, polls_room) in self.polled.devices.iter().zip(&self.polls_room) {
            ready.push(has_events.next() == Some(true));
            if device.room.is_some() && *polls_room {
                has_events.next();
            }
        }
        let host_is_ready = has_events.any(|has_event| has_event);
        drop(fds);
        self.ready = ready;
        self.host_is_ready = host_is_ready;
        Ok(was_woken)
    }

    /// Whether this thread busy-polls before it sleeps. The driver thread does not: while it leads,
    /// no caller waits.
    fn spins(&self) -> bool {
        self.kind == LeaderKind::Caller && self.engine.spin.is_on()
    }

    /// Busy-polls for as long as that has paid recently, and then sleeps.
    fn spin(&mut self, begin: Instant, until: Option<Instant>) -> io::Result<bool> {
        let spin = &self.engine.spin;
        let end = begin + spin.duration();
        let mut now = begin;
        while now < end {
            let was_woken = self.poll(Some(Duration::ZERO))?;
            if was_woken || self.host_is_ready || self.ready.contains(&true) {
                spin.on_found();
                return Ok(was_woken);
            }
            now = Clock::now();
            if until.is_some_and(|at| at <= now) {
                return Ok(false);
            }
        }
        let was_woken = self.poll(until.map(|at| at - now))?;
        spin.on_slept(Clock::now() - begin);
        Ok(was_woken)
    }

    /// Makes a near deadline exact: by default Linux wakes a thread up to 50 µs late. The driver
    /// thread is always exact, a caller only while it leads and a deadline is near.
    fn be_exact(&mut self) {
        if self.kind == LeaderKind::Caller && self.old_timer_slack.is_none() {
            self.old_timer_slack = timer_slack::make_exact();
        }
    }

    /// Gives the lead back: from here on no thread leads. Wakes the driver thread if it must know
    /// that.
    pub(crate) fn resign(&mut self, core: &mut EngineCore, now: Instant, wakes: &mut Wakes) {
        self.is_held = false;
        if core.leadership.leader() != Some(self.kind) {
            return;
        }
        // Done here, so that nothing keeps the devices open when the runtime ends.
        self.polled = PolledDevices::default();
        core.waiters.leading = None;
        wakes.driver |= core.leadership.resign(self.kind, now);
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if let Some(slack) = self.old_timer_slack.take() {
            timer_slack::restore(slack);
        }
        if self.is_held {
            let mut wakes = Wakes::default();
            let mut core = self.engine.lock_core_anyway();
            self.resign(&mut core, Clock::now(), &mut wakes);
            drop(core);
            self.engine.notify(&mut wakes);
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}
