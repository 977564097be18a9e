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
//! A call transmits what it caused from its own thread ([`Shared::call`]), as a kernel does. The driving thread
//! reads the devices, runs the timers, and sends what the others could not: frames that a full device made us keep,
//! and frames left behind with a note. Before it sleeps it publishes, under each lock, what it sleeps for: under
//! `core` the stack's next deadline, under `io` the devices' deadlines and whether it polls for room. Whoever
//! creates an earlier deadline or fills a device sees, under the same lock, that the thread does not know of it, and
//! raises `wake`, which stays readable until the thread has looked. So it does not matter whether the thread is
//! already asleep by then.
//!
//! A caller that must wait sleeps on a condition variable that belongs to `core`; see [`waiters`](crate::waiters).

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan::{Descriptor, Frame, Instant, InterfaceId, Stack, Transmit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Clock;
use crate::device::{Device, Sent};
use crate::ended::Ended;
use crate::signal::Signal;
use crate::waiters::{Interest, WaiterTable, Wakes};

/// Frames that are polled from the stack under one hold of `core`.
const TRANSMIT_BATCH: usize = 16;
/// Frames that are read from one device before the stack gets them.
const RECEIVE_BATCH: usize = 32;
/// How often a caller goes on transmitting, for itself and for those who left notes, before the driving thread
/// takes over.
const TRANSMIT_ROUNDS: usize = 64;
/// Frames kept for a full device; beyond it the stack is not polled any more. A stack does not say for which device
/// its next frame is, so one device that stays full holds up the others.
const KEPT_FRAMES: usize = 16;

/// What a runtime, its handles and its sockets share.
#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    io: Mutex<Io>,
    /// Somebody has frames to send and could not get `io`.
    transmit_wanted: AtomicBool,
    /// Ends the driving thread's sleep.
    wake: Signal,
    /// Notified after anything was done with the stack, while [`Core::watchers`] is not zero.
    progress: Condvar,
    /// The devices' names, by interface.
    pub(crate) names: Vec<(InterfaceId, String)>,
}

/// What the first lock guards.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) stack: Stack,
    pub(crate) waiters: WaiterTable,
    /// While the driving thread sleeps: the deadline that it knows of.
    sleeps_until: Option<Instant>,
    /// Threads that wait for `progress`.
    watchers: usize,
    ended: Option<Ended>,
}

/// What the second lock guards.
#[derive(Debug)]
struct Io {
    devices: Vec<Attached>,
    /// Polled from the stack, not yet offered to a device.
    batch: Vec<Transmit>,
    /// Read from the devices, not yet handed to the stack.
    received: Vec<(InterfaceId, Frame)>,
    driver_sleeps: bool,
}

/// A device and what belongs to it.
struct Attached {
    iface: InterfaceId,
    device: Box<dyn Device>,
    /// Offered and refused (the first), or behind one that was refused.
    kept: VecDeque<Transmit>,
    /// While the driving thread sleeps: whether it polls for room, and the device's deadline that it knows of.
    polls_room: bool,
    sleeps_until: Option<Instant>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("iface", &self.iface)
            .field("device", &self.device.name())
            .field("kept", &self.kept.len())
            .finish()
    }
}

impl Attached {
    fn wants_room(&self) -> bool {
        !self.kept.is_empty() || self.device.wants_room()
    }

    /// Offers what was kept, in order.
    fn send_kept(&mut self) -> io::Result<()> {
        while let Some(transmit) = self.kept.front() {
            if self.device.send(transmit)? == Sent::Full {
                break;
            }
            self.kept.pop_front();
        }
        Ok(())
    }

    fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        if !self.kept.is_empty() || self.device.send(&transmit)? == Sent::Full {
            self.kept.push_back(transmit);
        }
        Ok(())
    }

    fn ended(&self, error: &io::Error) -> Ended {
        Ended::device_failed(self.device.name(), error)
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    TimedOut,
}

impl Core {
    fn is_due(&self, now: Instant) -> bool {
        self.stack.poll_timeout().is_some_and(|deadline| deadline.at <= now)
    }

    /// After anything was handed to the stack: takes frames out of it (for the holder of `io`), finds who is to be
    /// woken, and whether the driving thread must know of an earlier deadline.
    fn settle(&mut self, io: Option<&mut Io>, now: Instant, wakes: &mut Wakes) {
        if let Some(io) = io
            && io.has_room()
        {
            while io.batch.len() < TRANSMIT_BATCH
                && let Some(transmit) = self.stack.poll_transmit(now)
            {
                io.batch.push(transmit);
            }
        }
        while let Some(event) = self.stack.poll_event() {
            self.waiters.on_event(event, wakes);
        }
        wakes.watchers |= self.watchers > 0;
        if let Some(known) = self.sleeps_until
            && self.stack.poll_timeout().is_some_and(|deadline| deadline.at < known)
        {
            self.sleeps_until = None;
            wakes.driver = true;
        }
    }

    /// Whether the runtime is over, as the error for callers.
    fn check_running(&self) -> io::Result<()> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(ended.to_error()))
    }
}

impl Io {
    fn has_room(&self) -> bool {
        self.devices.iter().all(|attached| attached.kept.len() < KEPT_FRAMES)
    }

    /// Gives the batch to the devices. Says whether the stack may have more.
    fn send_batch(&mut self) -> Result<bool, Ended> {
        let was_full = self.batch.len() >= TRANSMIT_BATCH;
        for transmit in self.batch.drain(..) {
            match self.devices.iter_mut().find(|attached| attached.iface == transmit.iface()) {
                Some(attached) => attached.send(transmit).map_err(|error| attached.ended(&error))?,
                None => log::debug!("a frame for {:?}, which has no device, is lost", transmit.iface()),
            }
        }
        Ok(was_full && self.has_room())
    }

    /// Whether the driving thread sleeps and does not know of something that the devices wait for.
    fn driver_must_know(&self) -> bool {
        self.driver_sleeps
            && self.devices.iter().any(|attached| {
                (attached.wants_room() && !attached.polls_room)
                    || attached
                        .device
                        .deadline()
                        .is_some_and(|at| attached.sleeps_until.is_none_or(|known| at < known))
            })
    }

    /// Lets the devices do what is due, offers what was kept, and reads frames. Says whether there may be more.
    fn receive(&mut self) -> Result<bool, Ended> {
        let mut may_have_more = false;
        for attached in &mut self.devices {
            let count = read_device(attached, &mut self.received).map_err(|error| attached.ended(&error))?;
            may_have_more |= count == RECEIVE_BATCH;
        }
        Ok(may_have_more)
    }
}

fn read_device(attached: &mut Attached, received: &mut Vec<(InterfaceId, Frame)>) -> io::Result<usize> {
    if attached.device.deadline().is_some() || attached.device.wants_room() {
        attached.device.service()?;
    }
    attached.send_kept()?;
    for count in 0..RECEIVE_BATCH {
        match attached.device.recv()? {
            Some(frame) => received.push((attached.iface, frame)),
            None => return Ok(count),
        }
    }
    Ok(RECEIVE_BATCH)
}

/// Raises the signal when its holder panics, so that the driving thread finds the poisoned lock and tells everybody.
struct PanicAlarm<'a>(&'a Signal);

impl Drop for PanicAlarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.raise();
        }
    }
}

impl Shared {
    pub(crate) fn new(
        stack: Stack,
        devices: Vec<(InterfaceId, Box<dyn Device>)>,
        names: Vec<(InterfaceId, String)>,
    ) -> io::Result<Self> {
        let attach = |(iface, device)| Attached {
            iface,
            device,
            kept: VecDeque::new(),
            polls_room: false,
            sleeps_until: None,
        };
        Ok(Shared {
            core: Mutex::new(Core {
                stack,
                waiters: WaiterTable::default(),
                sleeps_until: None,
                watchers: 0,
                ended: None,
            }),
            io: Mutex::new(Io {
                devices: devices.into_iter().map(attach).collect(),
                batch: Vec::with_capacity(TRANSMIT_BATCH),
                received: Vec::with_capacity(RECEIVE_BATCH),
                driver_sleeps: false,
            }),
            transmit_wanted: AtomicBool::new(false),
            wake: Signal::new()?,
            progress: Condvar::new(),
            names,
        })
    }

    fn lock_core(&self) -> io::Result<MutexGuard<'_, Core>> {
        self.core.lock().map_err(|_| Ended::Panicked.to_error())
    }

    /// The stack whatever became of the runtime, for those who look at its counters.
    fn lock_core_anyway(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock_io(&self) -> Option<MutexGuard<'_, Io>> {
        // A poisoned one cannot be had either: the driving thread will find it so and end the runtime.
        self.io.try_lock().ok()
    }

    /// Does something with the stack of a running runtime; see [`enter`](Self::enter). The error is the runtime's: it
    /// is over.
    pub(crate) fn call<R>(&self, f: impl FnOnce(&mut Core, Instant, &mut Wakes) -> R) -> io::Result<R> {
        if self.core.is_poisoned() {
            return Err(Ended::Panicked.to_error());
        }
        self.enter(|core, now, wakes| {
            core.check_running()?;
            Ok(f(core, now, wakes))
        })
    }

    /// Does something with the stack, then transmits what came of it and wakes whom it concerns.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&mut Core, Instant, &mut Wakes) -> R) -> R {
        let _alarm = PanicAlarm(&self.wake);
        let mut wakes = Wakes::default();
        let mut io = self.try_lock_io();
        let mut core = self.lock_core_anyway();
        let now = Clock::now();
        let result = f(&mut core, now, &mut wakes);
        core.settle(io.as_deref_mut(), now, &mut wakes);
        drop(core);
        self.notify(wakes);
        match io {
            Some(mut io) => self.send(&mut io),
            None => self.transmit_wanted.store(true, Ordering::Release),
        }
        self.transmit_for_others();
        result
    }

    /// Wakes whom `settle` and the others found, with no lock held.
    fn notify(&self, wakes: Wakes) {
        if wakes.driver {
            self.wake.raise();
        }
        if wakes.watchers {
            self.progress.notify_all();
        }
        wakes.notify_parked();
    }

    /// Looks at the stack without changing it.
    pub(crate) fn inspect<R>(&self, f: impl FnOnce(&Stack) -> R) -> R {
        f(&self.lock_core_anyway().stack)
    }

    /// Sends the batch, with `io` held; leaves a note when there may be more.
    fn send(&self, io: &mut Io) {
        match io.send_batch() {
            Ok(true) => self.transmit_wanted.store(true, Ordering::Release),
            Ok(false) => {}
            Err(ended) => return self.end(ended),
        }
        if io.driver_must_know() {
            io.driver_sleeps = false;
            self.wake.raise();
        }
    }

    /// After `io` was released, or could not be had: looks for notes. See the module's page.
    fn transmit_for_others(&self) {
        for _ in 0..TRANSMIT_ROUNDS {
            fence(Ordering::SeqCst);
            if !self.transmit_wanted.load(Ordering::Acquire) {
                return;
            }
            let Some(mut io) = self.try_lock_io() else { return };
            self.transmit_wanted.store(false, Ordering::Release);
            let mut wakes = Wakes::default();
            let Ok(mut core) = self.lock_core() else { return };
            core.settle(Some(&mut io), Clock::now(), &mut wakes);
            drop(core);
            self.notify(wakes);
            self.send(&mut io);
        }
        self.wake.raise();
    }

    /// Does `op` until it is not `WouldBlock`, and sleeps in between until the descriptor is ready. `WouldBlock` when
    /// patience ended first, as with SO_RCVTIMEO.
    pub(crate) fn call_blocking<R>(
        &self,
        descriptor: Descriptor,
        interest: Interest,
        patience: Patience,
        mut op: impl FnMut(&mut Core, Instant) -> portolan::Result<R>,
    ) -> io::Result<R> {
        let mut give_up_at = None;
        let mut is_last_try = patience == Patience::None;
        loop {
            let (result, happenings) = self.call(|core, now, wakes| {
                let result = op(core, now);
                core.waiters.pass_on(descriptor, interest, &core.stack, wakes);
                let happenings = core.waiters.of(descriptor).map(|waiters| waiters.side(interest).happenings);
                (result, happenings)
            })?;
            match (result, happenings) {
                (Err(portolan::Error::WouldBlock), Some(happenings)) if !is_last_try => {
                    if let Patience::For(timeout) = patience {
                        give_up_at.get_or_insert_with(|| std::time::Instant::now() + timeout);
                    }
                    let waited = self.park(descriptor, interest, happenings, give_up_at)?;
                    is_last_try = waited == Waited::TimedOut;
                }
                (result, _) => return result.map_err(to_io_error),
            }
        }
    }

    /// Sleeps until something happened to the descriptor since `happenings` was noted.
    fn park(
        &self,
        descriptor: Descriptor,
        interest: Interest,
        happenings: u64,
        give_up_at: Option<std::time::Instant>,
    ) -> io::Result<Waited> {
        let mut core = self.lock_core()?;
        loop {
            core.check_running()?;
            let Some(waiters) = core.waiters.of(descriptor) else { return Ok(Waited::Woken) };
            if waiters.side(interest).happenings != happenings {
                return Ok(Waited::Woken);
            }
            let left = give_up_at.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Waited::TimedOut);
            }
            waiters.side(interest).sleepers += 1;
            let parking = waiters.parking.clone();
            core = wait(parking.condvar(interest), core, left)?;
            if let Some(waiters) = core.waiters.of(descriptor) {
                waiters.side(interest).sleepers -= 1;
            }
        }
    }

    /// Waits until `is_done`, which is asked whenever something was done with the stack.
    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut is_done: impl FnMut(&Stack) -> bool,
    ) -> io::Result<Waited> {
        let give_up_at = std::time::Instant::now() + timeout;
        let mut core = self.lock_core()?;
        loop {
            core.check_running()?;
            if is_done(&core.stack) {
                return Ok(Waited::Woken);
            }
            let left = give_up_at.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
            core.watchers += 1;
            core = wait(&self.progress, core, Some(left))?;
            core.watchers -= 1;
        }
    }

    /// The runtime is over: the first reason stays, and everybody who waits gets it.
    pub(crate) fn end(&self, ended: Ended) {
        let mut wakes = Wakes::default();
        wakes.driver = true;
        let mut core = self.lock_core_anyway();
        if core.ended.is_none() {
            match &ended {
                Ended::Shutdown => log::debug!("the runtime was shut down"),
                other => log::error!("the runtime ends: {}", other.to_error()),
            }
            core.ended = Some(ended);
        }
        core.waiters.wake_everybody(&mut wakes);
        wakes.watchers = true;
        drop(core);
        self.notify(wakes);
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        let core = self.core.lock();
        match core {
            Ok(core) => core.ended.clone(),
            Err(_) => Some(Ended::Panicked),
        }
    }
}

fn wait<'a>(
    condvar: &Condvar,
    core: MutexGuard<'a, Core>,
    timeout: Option<Duration>,
) -> io::Result<MutexGuard<'a, Core>> {
    match timeout {
        None => condvar.wait(core).map_err(|_| Ended::Panicked.to_error()),
        Some(timeout) => {
            condvar.wait_timeout(core, timeout).map(|(core, _)| core).map_err(|_| Ended::Panicked.to_error())
        }
    }
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    For(Duration),
    Forever,
}

/// The stack's error under std's name for it.
pub(crate) fn to_io_error(error: portolan::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

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
