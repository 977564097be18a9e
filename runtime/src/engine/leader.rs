//! Leading: the right to read the devices and to sleep until something happens to them, which one thread has at a time.
//!
//! [`driver`](crate::engine::driver) has the whole picture. A [`Leader`] is that right. Whoever has it alternates
//! [`turn`](Leader::turn) and [`sleep`](Leader::sleep), and gives it back with [`resign`](Leader::resign) or by dropping it.
//! [`Leadership`] is the record of who has it, and what others must know of the leader while it sleeps.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use portolan::{Descriptor, Instant};
use rustix::event::{PollFd, PollFlags, Timespec};
use smallvec::SmallVec;

use crate::clock::Clock;
use crate::engine::devices::{AttachedDevice, DeviceIo};
use crate::engine::end_reason::EndReason;
use crate::engine::lead_policy::LeadPolicy;
use crate::engine::locks::{Engine, EngineCore};
use crate::engine::waiters::{Interest, WaiterTable, Wakes};
use crate::sync::poll;

/// A call that transmits reads, too, when nobody has for so long.
const PASSING: Duration = Duration::from_micros(40);
/// Frames that come while no caller leads for so long wait, unless the driving thread is called.
const LONG_VACANCY: Duration = Duration::from_micros(200);
/// It is called at once for so many vacancies after one in which frames had waited. That may be an exception: the thread had
/// no processor.
const COVERED_AFTER_WAIT: u32 = 16;
/// And after one in which it was good that it led.
const COVERED: u32 = 64;
/// A deadline so near is met to the microsecond: it may be that of a paced sender.
const NEAR: Duration = Duration::from_millis(1);

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderKind {
    /// The driving thread.
    Driver,
    /// A thread that waits in a call.
    Caller,
}

/// What a caller waits for while it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) descriptor: Descriptor,
    pub(crate) interest: Interest,
    /// [`Side::happenings`](crate::engine::waiters::Side::happenings) when it was looked at last.
    pub(crate) seen: u32,
}

impl Waiting {
    fn has_happened(&self, waiters: &mut WaiterTable) -> bool {
        waiters.of(self.descriptor).is_none_or(|waiters| waiters.side(self.interest).happenings != self.seen)
    }
}

/// Duplicates of a device's descriptors, so that they can be polled while another thread has the device.
#[derive(Debug)]
pub(crate) struct PolledDevice {
    receive: OwnedFd,
    room: OwnedFd,
    room_flags: PollFlags,
}

impl PolledDevice {
    pub(crate) fn of(attached: &AttachedDevice) -> std::io::Result<Self> {
        let room = attached.device.room();
        Ok(PolledDevice {
            receive: attached.device.receive_fd().try_clone_to_owned()?,
            room: room.fd.try_clone_to_owned()?,
            room_flags: room.flags,
        })
    }
}

/// Who leads. `core` guards it.
#[derive(Debug)]
pub(crate) struct Leadership {
    leader: Option<LeaderKind>,
    /// From when the leader goes to sleep until it works again or is told to: the deadline of the stack that it knows of.
    sleeps_until: Option<Instant>,
    /// When the last leader went, or a call read the devices in passing after that.
    vacant_since: Instant,
    /// How many times a caller took the lead.
    callers: u64,
    /// The driving thread sleeps until it is told that nobody leads any more.
    pub(crate) driver_rests: bool,
    /// Vacancies that the driving thread is still called for.
    covered: u32,
    /// Who reads in passing does so after a long vacancy.
    passes_late: bool,
    /// It is called, and nobody leads since then.
    driver_is_called: bool,
    /// It has read frames since it leads.
    driver_has_read: bool,
    pub(crate) lead_policy: LeadPolicy,
    /// What a leader polls. Empty when the runtime is over.
    polled: Arc<[PolledDevice]>,
}

impl Leadership {
    pub(crate) fn new(polled: Vec<PolledDevice>) -> Self {
        Leadership {
            leader: None,
            sleeps_until: None,
            vacant_since: Instant::ZERO,
            callers: 0,
            driver_rests: false,
            covered: 0,
            passes_late: false,
            driver_is_called: false,
            driver_has_read: false,
            lead_policy: LeadPolicy::default(),
            polled: polled.into(),
        }
    }

    pub(crate) fn leader(&self) -> Option<LeaderKind> {
        self.leader
    }

    /// Whether the driving thread shall lead: nobody does, and it is called, or nobody has for the `grace`.
    pub(crate) fn needs_driver(&self, now: Instant, grace: Duration) -> bool {
        self.leader.is_none() && (self.driver_is_called || now - self.vacant_since >= grace)
    }

    fn is_vacancy_long(&self, now: Instant) -> bool {
        now - self.vacant_since >= LONG_VACANCY
    }

    /// A caller that leads after a long vacancy has found frames.
    fn on_frames_waited(&mut self) {
        self.covered = self.covered.max(COVERED_AFTER_WAIT);
    }

    /// Frames were read in passing.
    pub(crate) fn on_read_in_passing(&mut self) {
        if std::mem::take(&mut self.passes_late) {
            self.on_frames_waited();
        }
    }

    /// A vacancy ends, as a caller leads again. Finds out what it was good for that the driving thread was called, or that it
    /// came by itself. Says whether nobody at all has led for long.
    fn on_vacancy_end(&mut self, now: Instant) -> bool {
        let has_driven = self.leader == Some(LeaderKind::Driver);
        if has_driven && self.driver_has_read && self.is_vacancy_long(now) {
            self.covered = COVERED;
        } else if has_driven || self.driver_is_called {
            self.covered = self.covered.saturating_sub(1);
        }
        self.leader.is_none() && self.is_vacancy_long(now)
    }

    /// Changes whenever a caller takes the lead.
    pub(crate) fn callers(&self) -> u64 {
        self.callers
    }

    /// A call has something to transmit, and the devices for it. Says whether it shall read them, too: nobody leads, and
    /// nobody has read them for a moment.
    pub(crate) fn reads_in_passing(&mut self, now: Instant) -> bool {
        self.lead_policy.on_transmit(now);
        let is_time = self.leader.is_none() && now - self.vacant_since >= PASSING;
        if is_time {
            self.passes_late = self.is_vacancy_long(now);
            self.vacant_since = now;
            self.lead_policy.on_read_in_passing(now);
        }
        is_time
    }

    /// The runtime is over and nobody leads: nobody shall poll the devices any more, not even their duplicates stay.
    pub(crate) fn close(&mut self) {
        self.polled = Arc::default();
    }

    /// While the leader sleeps and has not been told anything new: the deadline of the stack that it counts on.
    pub(crate) fn sleeps_until(&self) -> Option<Instant> {
        self.sleeps_until
    }

    /// The leader is told that there is something new. Returns who is to be woken.
    pub(crate) fn tell(&mut self) -> Option<LeaderKind> {
        self.sleeps_until = None;
        self.leader
    }
}

impl Wakes {
    /// Wakes whoever leads.
    pub(crate) fn add_leader(&mut self, leader: Option<LeaderKind>) {
        match leader {
            Some(LeaderKind::Driver) => self.driver = true,
            Some(LeaderKind::Caller) => self.caller = true,
            None => {}
        }
    }
}

impl EngineCore {
    /// Takes the lead if nobody has it. A caller, with what it waits for, takes it from the driving thread, too.
    ///
    /// From here on the leader counts as asleep: whoever changes what it must know wakes it.
    pub(crate) fn try_lead<'a>(
        &mut self,
        engine: &'a Engine,
        waiting: Option<Waiting>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Leader<'a>> {
        let kind = if waiting.is_some() { LeaderKind::Caller } else { LeaderKind::Driver };
        match (self.leadership.leader, kind) {
            (None, _) => {}
            // It sleeps on the devices, and would get up with us for the next frame.
            (Some(LeaderKind::Driver), LeaderKind::Caller) => wakes.driver = true,
            (Some(_), _) => return None,
        }
        let comes_late = kind == LeaderKind::Caller && self.leadership.on_vacancy_end(now);
        self.leadership.driver_is_called = false;
        self.leadership.driver_has_read = false;
        self.leadership.leader = Some(kind);
        self.leadership.callers += u64::from(kind == LeaderKind::Caller);
        self.waiters.leading = waiting.map(|waiting| (waiting.descriptor, waiting.interest));
        let polled = self.leadership.polled.clone();
        let mut leader = Leader {
            engine,
            kind,
            is_held: true,
            waiting,
            ready: SmallVec::from_elem(false, polled.len()),
            polls_room: SmallVec::from_elem(false, polled.len()),
            polled,
            is_announced: false,
            comes_late,
            may_sleep: true,
            core_deadline: None,
            io_deadline: None,
            timer_slack: None,
        };
        leader.plan(self);
        Some(leader)
    }
}

/// The right to drive the devices. See the module's page.
#[derive(Debug)]
pub(crate) struct Leader<'a> {
    engine: &'a Engine,
    kind: LeaderKind,
    /// False once it was given back, or taken away by a caller.
    is_held: bool,
    waiting: Option<Waiting>,
    polled: Arc<[PolledDevice]>,
    /// By device: whether there is something to read.
    ready: SmallVec<[bool; 4]>,
    polls_room: SmallVec<[bool; 4]>,
    /// `io` knows that this thread sleeps.
    is_announced: bool,
    /// Nobody had led for long when it began: what is there already has waited.
    comes_late: bool,
    may_sleep: bool,
    core_deadline: Option<Instant>,
    io_deadline: Option<Instant>,
    /// What this thread's timer slack was before it was made small.
    timer_slack: Option<u64>,
}

impl Leader<'_> {
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether something happened to what it waits for since it looked at it last.
    pub(crate) fn has_happened(&self, core: &mut EngineCore) -> bool {
        self.waiting.is_some_and(|waiting| waiting.has_happened(&mut core.waiters))
    }

    /// The count of happenings when it looked last at what it waits for.
    pub(crate) fn seen(&self) -> u32 {
        self.waiting.map_or(0, |waiting| waiting.seen)
    }

    /// It has looked and must go on waiting. False: what it waits for is gone.
    pub(crate) fn look_again(&mut self, core: &mut EngineCore) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let Some(waiters) = core.waiters.of(waiting.descriptor) else { return false };
        waiting.seen = waiters.side(waiting.interest).happenings;
        true
    }

    /// Once around: reads what is ready, lets the stack work, and sends. In between `then` sees the stack with all that
    /// came in, before anything leaves it.
    pub(crate) fn turn<R>(
        &mut self,
        then: impl FnOnce(&mut Self, &mut EngineCore, Instant, &mut Wakes) -> R,
    ) -> Result<R, EndReason> {
        let engine = self.engine;
        let mut wakes = Wakes::default();
        let mut guard = engine.io.lock().map_err(|_| EndReason::Panicked)?;
        let io = &mut *guard;
        io.sleeper = None;
        io.receive(Some(&self.ready))?;
        self.ready.fill(false);
        let has_read = !io.received.is_empty();
        let mut core = engine.core.lock().map_err(|_| EndReason::Panicked)?;
        if let Some(ended) = &core.ended {
            return Err(ended.clone());
        }
        self.wake_up(&mut core, &mut wakes);
        core.leadership.driver_has_read |= has_read && self.kind == LeaderKind::Driver;
        if std::mem::take(&mut self.comes_late) && has_read {
            core.leadership.on_frames_waited();
        }
        let (mut core, now) = engine.take_in(io, core, &mut wakes)?;
        // `take_in` may have released `core`.
        self.wake_up(&mut core, &mut wakes);
        let result = then(self, &mut core, now, &mut wakes);
        core.settle(Some(io), now, &mut wakes);
        if self.is_held {
            self.plan(&mut core);
        }
        drop(core);
        engine.notify(&mut wakes);
        engine.send(io);
        if self.is_held {
            self.announce(io);
        }
        drop(guard);
        self.transmit_for_others();
        Ok(result)
    }

    /// After it had `io`. A leader sends one batch more, and reads before it sends the next. It is no call that transmits.
    fn transmit_for_others(&mut self) {
        if !self.is_held {
            self.engine.transmit_for_others();
        } else if self.engine.transmit_batch_for_others(|_, _| false) && self.engine.is_transmit_wanted() {
            self.go_on();
        }
    }

    /// The next sleep is none. Whoever goes on without polling must not forget the devices that would be polled.
    fn go_on(&mut self) {
        self.may_sleep = false;
        self.ready.fill(true);
    }

    /// The leader works, and nobody need wake it. Finds out whether it still is the leader.
    fn wake_up(&mut self, core: &mut EngineCore, wakes: &mut Wakes) {
        if core.leadership.leader == Some(self.kind) {
            core.leadership.sleeps_until = None;
        } else {
            // A caller has taken the lead. It may sleep, and this turn has made `io` forget it.
            self.is_held = false;
            wakes.add_leader(core.leadership.leader);
        }
    }

    /// Publishes what the leader will sleep for, as far as `core` knows. From here on it counts as asleep.
    fn plan(&mut self, core: &mut EngineCore) {
        self.may_sleep = !self.has_happened(core);
        self.core_deadline = core.stack.next_timeout_at();
        core.leadership.sleeps_until = Some(self.core_deadline.unwrap_or(Instant::FAR_FUTURE));
    }

    /// The same for what `io` knows.
    fn announce(&mut self, io: &mut DeviceIo) {
        io.sleeper = Some(self.kind);
        self.io_deadline = None;
        // With several devices, each attempt would be one at all of them.
        let may_read_first = io.devices.len() == 1;
        for (attached, polls_room) in io.devices.iter_mut().zip(&mut self.polls_room) {
            attached.polls_room = attached.wants_room();
            attached.sleeps_until = attached.device.deadline();
            *polls_room = attached.polls_room;
            self.io_deadline = earlier(self.io_deadline, attached.sleeps_until);
            if attached.has_more || (may_read_first && self.may_sleep && attached.eager_read.reads_first()) {
                self.may_sleep = false;
            }
        }
        self.is_announced = true;
        if !self.may_sleep {
            self.go_on();
        }
    }

    /// Sleeps until a frame, room, a deadline, this moment, or until somebody wakes the leader.
    pub(crate) fn sleep(&mut self, give_up_at: Option<Instant>) -> Result<(), EndReason> {
        if !self.is_announced {
            let mut io = self.engine.io.lock().map_err(|_| EndReason::Panicked)?;
            self.announce(&mut io);
            drop(io);
            self.transmit_for_others();
        }
        self.is_announced = false;
        if !self.may_sleep {
            return Ok(());
        }
        let deadline = earlier(self.core_deadline, self.io_deadline);
        let until = earlier(deadline, give_up_at);
        let now = if until.is_some() || self.spins() { Clock::now() } else { Instant::ZERO };
        if deadline.is_some_and(|at| at > now && at - now < NEAR) {
            self.be_exact();
        }
        let failed = |errno: rustix::io::Errno| EndReason::device_failed("poll", &errno.into());
        let mut was_woken = false;
        if self.comes_late {
            was_woken = self.poll(Some(Duration::ZERO)).map_err(failed)?;
            self.comes_late = self.ready.contains(&true);
        }
        if !was_woken && !self.comes_late {
            let slept =
                if self.spins() { self.spin(now, until) } else { self.poll(until.map(|at| at - now)) };
            was_woken = slept.map_err(failed)?;
        }
        if was_woken {
            self.engine.wake(self.kind).clear();
            if self.kind == LeaderKind::Driver {
                // Perhaps to step back: a turn would only disturb the new leader.
                let core = self.engine.core.lock().map_err(|_| EndReason::Panicked)?;
                self.is_held = core.leadership.leader == Some(self.kind);
            }
        }
        Ok(())
    }

    /// What to poll to know when a turn has something to do: first what wakes the leader, then each device, for frames
    /// and, where something waits for it, for room.
    pub(crate) fn fds(&self) -> SmallVec<[PollFd<'_>; 8]> {
        let mut fds = SmallVec::new();
        fds.push(PollFd::from_borrowed_fd(self.engine.wake(self.kind).as_fd(), PollFlags::IN));
        for (device, polls_room) in self.polled.iter().zip(&self.polls_room) {
            fds.push(PollFd::from_borrowed_fd(device.receive.as_fd(), PollFlags::IN));
            if *polls_room {
                fds.push(PollFd::from_borrowed_fd(device.room.as_fd(), device.room_flags));
            }
        }
        fds
    }

    /// Polls, and notes which devices are ready. Whether the leader was woken.
    fn poll(&mut self, timeout: Option<Duration>) -> Result<bool, rustix::io::Errno> {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = self.fds();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let was_woken = happened.next() == Some(true);
        let mut ready: SmallVec<[bool; 4]> = SmallVec::new();
        for polls_room in &self.polls_room {
            ready.push(happened.next() == Some(true));
            if *polls_room {
                happened.next();
            }
        }
        drop(fds);
        self.ready = ready;
        Ok(was_woken)
    }

    /// Only callers spin: while nobody waits, nobody pays for latency.
    fn spins(&self) -> bool {
        self.kind == LeaderKind::Caller && self.engine.spin.is_on()
    }

    /// Polls again and again for as long as that has paid lately, and then sleeps.
    fn spin(&mut self, begin: Instant, until: Option<Instant>) -> Result<bool, rustix::io::Errno> {
        let spin = &self.engine.spin;
        let end = begin + spin.duration();
        let mut now = begin;
        while now < end {
            let was_woken = self.poll(Some(Duration::ZERO))?;
            if was_woken || self.ready.contains(&true) {
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

    /// By default Linux may wake us 50 us late to save wake-ups. The driving thread's slack is always small, a caller's
    /// only while it leads and a deadline is near.
    fn be_exact(&mut self) {
        if self.kind == LeaderKind::Caller && self.timer_slack.is_none() {
            self.timer_slack = rustix::thread::current_timer_slack().ok();
            set_timer_slack(1);
        }
    }

    /// Gives the lead back: from here on nobody leads. The driving thread looks after that, and is told if it rests.
    pub(crate) fn resign(&mut self, core: &mut EngineCore, now: Instant, wakes: &mut Wakes) {
        self.is_held = false;
        if core.leadership.leader != Some(self.kind) {
            return;
        }
        // Not later, so that nothing keeps the devices when the runtime ends.
        self.polled = Arc::default();
        let leadership = &mut core.leadership;
        leadership.leader = None;
        leadership.sleeps_until = None;
        leadership.vacant_since = now;
        core.waiters.leading = None;
        leadership.driver_is_called = self.kind == LeaderKind::Caller && leadership.covered > 0;
        if leadership.driver_rests || leadership.driver_is_called || core.ended.is_some() {
            leadership.driver_rests = false;
            wakes.driver = true;
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if let Some(slack) = self.timer_slack {
            set_timer_slack(slack);
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

/// In nanoseconds.
pub(crate) fn set_timer_slack(nanos: u64) {
    if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(nanos)) {
        log::debug!("the timer slack stays as it is: {error}");
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{MemoryDevice, memory_pair};
    use crate::{Builder, Runtime, UdpSocket};

    const GRACE: Duration = Duration::from_millis(1);

    #[test]
    fn a_call_that_transmits_reads_when_nobody_leads_and_nobody_has_for_a_moment() {
        let start = Instant::from_secs(1);
        let mut leadership = Leadership::new(Vec::new());
        assert!(leadership.reads_in_passing(start));
        assert!(!leadership.reads_in_passing(start + PASSING / 2));
        assert!(leadership.reads_in_passing(start + PASSING));
        assert!(!leadership.needs_driver(start + PASSING + GRACE / 2, GRACE), "the driving thread need not");
        assert!(leadership.needs_driver(start + PASSING + GRACE, GRACE));
        leadership.leader = Some(LeaderKind::Caller);
        assert!(!leadership.reads_in_passing(start + 2 * PASSING));
    }

    /// A vacancy from here on, in which the driving thread leads and reads or not, or does not lead at all.
    fn vacancy(leadership: &mut Leadership, begin: Instant, len: Duration, has_read: Option<bool>) {
        leadership.vacant_since = begin;
        leadership.driver_is_called = leadership.covered > 0;
        leadership.leader = has_read.map(|_| LeaderKind::Driver);
        leadership.driver_has_read = has_read == Some(true);
        let is_late = leadership.on_vacancy_end(begin + len);
        assert_eq!(is_late, has_read.is_none() && len >= LONG_VACANCY);
        leadership.leader = None;
        leadership.driver_is_called = false;
    }

    #[test]
    fn the_driving_thread_is_called_at_once_while_that_is_good_for_something() {
        let mut leadership = Leadership::new(Vec::new());
        let start = Instant::from_secs(1);
        let (short, long) = (LONG_VACANCY / 2, LONG_VACANCY);
        for (len, has_read) in [(short, None), (long, None), (long, Some(false)), (short, Some(true))] {
            vacancy(&mut leadership, start, len, has_read);
            assert_eq!(leadership.covered, 0, "nothing had waited long");
        }
        vacancy(&mut leadership, start, long, Some(true));
        assert_eq!(leadership.covered, COVERED);
        for left in (0..COVERED).rev() {
            vacancy(&mut leadership, start, short, [None, Some(true), Some(false)][left as usize % 3]);
            assert_eq!(leadership.covered, left);
        }
        leadership.on_frames_waited();
        assert_eq!(leadership.covered, COVERED_AFTER_WAIT);
        vacancy(&mut leadership, start, long, Some(true));
        leadership.on_frames_waited();
        assert_eq!(leadership.covered, COVERED);
        leadership.vacant_since = start;
        assert!(!leadership.needs_driver(start + short, GRACE));
        leadership.driver_is_called = true;
        assert!(leadership.needs_driver(start + short, GRACE));
        leadership.leader = Some(LeaderKind::Caller);
        assert!(!leadership.needs_driver(start + GRACE, GRACE));
    }

    /// A runtime that is 10.0.0.`last`.
    fn host(last: u8, device: MemoryDevice) -> Runtime {
        let mut config = portolan::Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let address = format!("10.0.0.{last}/24").parse().unwrap();
        Builder::new().config(config).interface(device, [address]).start().unwrap()
    }

    #[test]
    fn who_leaves_calls_the_driving_thread_after_it_had_to_come_by_itself() {
        let (near, far) = memory_pair().unwrap();
        let (server, client) = (host(1, near), host(2, far));
        let socket = UdpSocket::bind(&server, ([10, 0, 0, 1], 7)).unwrap();
        let peer = UdpSocket::bind(&client, ([10, 0, 0, 2], 0)).unwrap();
        let engine = server.handle().stacks.any().clone();
        let leader = || engine.lock_core_anyway().leadership.leader;
        let wait_for = |kind| {
            while leader() != Some(kind) {
                std::thread::sleep(Duration::from_micros(100));
            }
        };
        let send = || peer.send_to(b"x", ([10, 0, 0, 1], 7)).unwrap();
        // Waits as the leader until it is sent something. Whether the driving thread is called when it goes.
        let lead_once = || {
            std::thread::scope(|scope| {
                let receiver = scope.spawn(|| {
                    socket.recv_bytes_from().unwrap();
                    let core = engine.lock_core_anyway();
                    core.leadership.driver_is_called || core.leadership.leader == Some(LeaderKind::Driver)
                });
                wait_for(LeaderKind::Caller);
                send();
                receiver.join().unwrap()
            })
        };
        lead_once();
        // Nobody is there for long, and something comes: the driving thread reads it.
        wait_for(LeaderKind::Driver);
        send();
        while !engine.lock_core_anyway().leadership.driver_has_read {
            std::thread::sleep(Duration::from_micros(100));
        }
        socket.recv_bytes_from().unwrap();
        assert!(lead_once());
        assert!(engine.lock_core_anyway().leadership.covered > 0);
    }
}
