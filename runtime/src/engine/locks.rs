//! The stack behind its lock, and how callers use it. [`driver`](crate::engine::driver) explains the locks.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::Duration;

use portolan::{Instant, InterfaceId, Stack};

use crate::clock::Clock;
use crate::device::Device;
use crate::engine::devices::DeviceIo;
use crate::engine::end_reason::EndReason;
use crate::engine::leader::{LeaderKind, Leadership, PolledDevice};
use crate::engine::read_budget::WAITING_READS;
use crate::engine::spin::Spin;
use crate::engine::stacks::Stacks;
use crate::engine::wait::Waited;
use crate::engine::waiters::{WaiterTable, Wakes};
use crate::platform::signal::Signal;
use crate::pool::Pool;
use crate::socket::WRITE_CHUNK;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Condvar, Mutex, MutexGuard, is_poisoned};

/// How often a caller goes on transmitting, for itself and for those who left notes, before the leader takes over: a call may
/// have its answer already. What one call hands in is mostly [`WRITE_CHUNK`], six batches of frames for an Ethernet, and 12
/// where a program lends 256 KiB.
const TRANSMIT_ROUNDS: usize = 16;

/// What a runtime, its handles and its sockets share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) core: Mutex<EngineCore>,
    pub(crate) io: Mutex<DeviceIo>,
    /// Somebody has frames to send and could not get `io`.
    transmit_wanted: AtomicBool,
    /// Ends the sleep of the driving thread, whether it leads, watches or rests.
    driver_wake: Signal,
    /// Ends the sleep of a caller that leads.
    caller_wake: Signal,
    pub(crate) spin: Spin,
    /// Notified after anything was done with the stack, while [`EngineCore::watchers`] is not zero.
    progress: Condvar,
    /// Memory for what callers send: they copy it there, and it stays until the peer has acknowledged it. Not held together
    /// with any other lock.
    pub(crate) send_pool: Mutex<Pool>,
    /// The stacks of this runtime, this one among them; gone with the runtime and its handles.
    stacks: OnceLock<Weak<Stacks>>,
    /// The devices' names, by interface.
    pub(crate) names: Vec<(InterfaceId, String)>,
}

/// What the first lock guards.
#[derive(Debug)]
pub(crate) struct EngineCore {
    pub(crate) stack: Stack,
    pub(crate) waiters: WaiterTable,
    pub(crate) leadership: Leadership,
    /// Threads that wait for `progress`.
    pub(crate) watchers: usize,
    pub(crate) ended: Option<EndReason>,
}

/// The stack's error under std's name for it.
pub(crate) fn to_io_error(error: portolan::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

impl EngineCore {
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.stack.next_timeout_at().is_some_and(|at| at <= now)
    }

    /// Hands the stack what was read from the devices, and the time as it is now.
    fn hand_over_received(&mut self, io: &mut DeviceIo) -> Instant {
        let now = Clock::now();
        self.stack.handle_frames(now, io.received.drain(..));
        now
    }

    /// Finds whom the stack's events wake.
    pub(crate) fn take_events(&mut self, wakes: &mut Wakes) {
        while let Some(event) = self.stack.poll_event() {
            self.waiters.on_event(event, wakes);
        }
    }

    /// After anything was handed to the stack: takes frames out of it (for the holder of `io`), finds who is to be
    /// woken, and whether the leader must know of what happened or of an earlier deadline.
    pub(crate) fn settle(&mut self, io: Option<&mut DeviceIo>, now: Instant, wakes: &mut Wakes) {
        if let Some(io) = io {
            io.fill_batch(&mut self.stack, now);
        }
        self.take_events(wakes);
        wakes.watchers |= self.watchers > 0;
        let Some(known) = self.leadership.sleeps_until() else { return };
        if wakes.leader_is_met || self.stack.next_timeout_at().is_some_and(|at| at < known) {
            wakes.add_leader(self.leadership.tell());
        }
    }

    /// Whether the runtime is over, as the error for callers.
    pub(crate) fn check_running(&self) -> io::Result<()> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(ended.to_error()))
    }
}

/// Wakes the driving thread and the leader when its holder panics, so that they find the poisoned lock and tell everybody.
struct PanicAlarm<'a>(&'a Engine);

impl Drop for PanicAlarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake_all_leaders();
        }
    }
}

impl Engine {
    pub(crate) fn new(
        stack: Stack,
        devices: Vec<(InterfaceId, Box<dyn Device>)>,
        names: Vec<(InterfaceId, String)>,
        busy_poll: Duration,
    ) -> io::Result<Self> {
        let io = DeviceIo::new(devices);
        let polled = io.devices.iter().map(PolledDevice::of).collect::<io::Result<_>>()?;
        Ok(Engine {
            core: Mutex::new(EngineCore {
                stack,
                waiters: WaiterTable::default(),
                leadership: Leadership::new(polled),
                watchers: 0,
                ended: None,
            }),
            io: Mutex::new(io),
            transmit_wanted: AtomicBool::new(false),
            driver_wake: Signal::new()?,
            caller_wake: Signal::new()?,
            spin: Spin::new(busy_poll),
            progress: Condvar::new(),
            send_pool: Mutex::new(Pool::new(WRITE_CHUNK)),
            stacks: OnceLock::new(),
            names,
        })
    }

    /// It is one of these from now on.
    pub(crate) fn join(&self, stacks: &Arc<Stacks>) {
        // Said once, when the runtime is put together.
        let _ = self.stacks.set(Arc::downgrade(stacks));
    }

    /// All stacks of its runtime.
    pub(crate) fn stacks(self: &Arc<Self>) -> Arc<Stacks> {
        let stacks = self.stacks.get().and_then(Weak::upgrade);
        stacks.unwrap_or_else(|| Stacks::alone(self.clone()))
    }

    /// What ends the sleep of whoever sits there.
    pub(crate) fn wake(&self, kind: LeaderKind) -> &Signal {
        match kind {
            LeaderKind::Driver => &self.driver_wake,
            LeaderKind::Caller => &self.caller_wake,
        }
    }

    fn wake_all_leaders(&self) {
        self.driver_wake.raise();
        self.caller_wake.raise();
    }

    pub(crate) fn lock_core(&self) -> io::Result<MutexGuard<'_, EngineCore>> {
        self.core.lock().map_err(|_| EndReason::Panicked.to_error())
    }

    /// The stack whatever became of the runtime, for those who look at its counters.
    pub(crate) fn lock_core_anyway(&self) -> MutexGuard<'_, EngineCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock_io(&self) -> Option<MutexGuard<'_, DeviceIo>> {
        // A poisoned one cannot be had either: whoever leads will find it so and end the runtime.
        self.io.try_lock().ok()
    }

    /// Does something with the stack of a running runtime; see [`enter`](Self::enter). The error is the runtime's: it
    /// is over.
    pub(crate) fn call<R>(&self, f: impl FnOnce(&mut EngineCore, Instant, &mut Wakes) -> R) -> io::Result<R> {
        if is_poisoned(&self.core) {
            return Err(EndReason::Panicked.to_error());
        }
        self.enter(|core, now, wakes| {
            core.check_running()?;
            Ok(f(core, now, wakes))
        })
    }

    /// Does something with the stack, then transmits what came of it and wakes whom it concerns.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&mut EngineCore, Instant, &mut Wakes) -> R) -> R {
        let _alarm = PanicAlarm(self);
        let mut wakes = Wakes::default();
        // Before `core`, so that it is dropped after it should the stack panic: a lead in it takes that lock to resign.
        let result;
        let mut core = self.lock_core_anyway();
        let now = Clock::now();
        result = f(&mut core, now, &mut wakes);
        // Most calls that receive have nothing to send, and need no devices for it.
        let wants_io = core.stack.has_transmits();
        let mut io = if wants_io { self.try_lock_io() } else { None };
        core.settle(io.as_deref_mut(), now, &mut wakes);
        if let Some(mut io) = io {
            let reads = core.leadership.reads_in_passing(now);
            self.send_and_read(&mut io, core, wakes, reads);
        } else {
            drop(core);
            self.notify(&mut wakes);
            if !wants_io {
                return result;
            }
            self.transmit_wanted.store(true, Ordering::Release);
        }
        self.transmit_for_others();
        result
    }

    /// Wakes whom `settle` and the others found, with `core` released.
    pub(crate) fn notify(&self, wakes: &mut Wakes) {
        if wakes.driver {
            self.driver_wake.raise();
        }
        if wakes.caller {
            self.caller_wake.raise();
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
    pub(crate) fn send(&self, io: &mut DeviceIo) {
        match io.send_batch() {
            Ok(true) => self.transmit_wanted.store(true, Ordering::Release),
            Ok(false) => {}
            Err(ended) => return self.end(ended),
        }
        if let Some(kind) = io.who_must_know() {
            io.sleeper = None;
            self.wake(kind).raise();
        }
    }

    /// After the stack was settled for a call that has `io`: releases `core`, sends, and reads in passing if it is time.
    fn send_and_read(
        &self,
        io: &mut DeviceIo,
        core: MutexGuard<'_, EngineCore>,
        mut wakes: Wakes,
        reads: bool,
    ) {
        drop(core);
        self.notify(&mut wakes);
        self.send(io);
        if reads {
            self.read_in_passing(io);
        }
    }

    /// Hands the stack what was read from the devices, then lets it run the timers that are due.
    ///
    /// A thread that had no processor for a while finds both: timers that are due, and in the devices the acknowledgements
    /// that would have stopped them. So the frames that wait are read before timers run, as far as
    /// [`WAITING_READS`] allows: a flood must not put off the timers for ever.
    pub(crate) fn take_in<'a>(
        &'a self,
        io: &mut DeviceIo,
        mut core: MutexGuard<'a, EngineCore>,
        wakes: &mut Wakes,
    ) -> Result<(MutexGuard<'a, EngineCore>, Instant), EndReason> {
        let mut now = core.hand_over_received(io);
        let due_at = now;
        let mut reads = 0;
        while core.is_due(due_at) {
            if reads == WAITING_READS || (reads > 0 && !io.has_more()) {
                core.stack.handle_timeout(now);
                break;
            }
            reads += 1;
            // No system call is made with `core` held.
            drop(core);
            io.receive_waiting()?;
            core = self.core.lock().map_err(|_| EndReason::Panicked)?;
            if let Some(ended) = &core.ended {
                return Err(ended.clone());
            }
            now = core.hand_over_received(io);
        }
        core.take_events(wakes);
        Ok((core, now))
    }

    /// Reads the devices with `io` held, as the leader would.
    fn read_in_passing(&self, io: &mut DeviceIo) {
        if let Err(ended) = io.receive(None) {
            return self.end(ended);
        }
        let mut wakes = Wakes::default();
        let has_read = !io.received.is_empty();
        let Ok(mut core) = self.lock_core() else { return };
        if has_read {
            core.leadership.on_read_in_passing();
        }
        let (mut core, now) = match self.take_in(io, core, &mut wakes) {
            Ok(taken) => taken,
            Err(ended) => return self.end(ended),
        };
        core.settle(Some(io), now, &mut wakes);
        drop(core);
        self.notify(&mut wakes);
        self.send(io);
    }

    /// Whether somebody left a note. Asked after `io` was released, or could not be had; see the module's page for the fence.
    pub(crate) fn is_transmit_wanted(&self) -> bool {
        fence(Ordering::SeqCst);
        self.transmit_wanted.load(Ordering::Acquire)
    }

    /// A call had `io`, or could not have it: does what notes ask for. See the module's page.
    pub(crate) fn transmit_for_others(&self) {
        for _ in 0..TRANSMIT_ROUNDS {
            if !self.transmit_batch_for_others(Leadership::reads_in_passing) {
                return;
            }
        }
        // If nobody leads now, the next leader begins with it.
        self.wake_all_leaders();
    }

    /// One batch of it; `reads` says whether this thread reads after that. False: there is nothing for this thread to do.
    pub(crate) fn transmit_batch_for_others(
        &self,
        reads: impl FnOnce(&mut Leadership, Instant) -> bool,
    ) -> bool {
        if !self.is_transmit_wanted() {
            return false;
        }
        let Some(mut io) = self.try_lock_io() else { return false };
        self.transmit_wanted.store(false, Ordering::Release);
        let mut wakes = Wakes::default();
        let Ok(mut core) = self.lock_core() else { return false };
        let now = Clock::now();
        core.settle(Some(&mut io), now, &mut wakes);
        let reads = reads(&mut core.leadership, now);
        self.send_and_read(&mut io, core, wakes, reads);
        true
    }

    /// Waits until `is_done`, which is asked whenever something was done with the stack.
    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut is_done: impl FnMut(&Stack) -> bool,
    ) -> io::Result<Waited> {
        let give_up_at = Clock::now() + timeout;
        let mut core = self.lock_core()?;
        loop {
            core.check_running()?;
            if is_done(&core.stack) {
                return Ok(Waited::Woken);
            }
            let left = Clock::until(give_up_at);
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
            core.watchers += 1;
            core = wait(&self.progress, core, Some(left))?;
            core.watchers -= 1;
        }
    }

    /// The runtime is over: the first reason stays, and everybody who waits gets it.
    pub(crate) fn end(&self, ended: EndReason) {
        let mut wakes = Wakes::default();
        let mut core = self.lock_core_anyway();
        if core.ended.is_none() {
            match &ended {
                EndReason::Shutdown => log::debug!("the runtime was shut down"),
                other => log::error!("the runtime ends: {}", other.to_error()),
            }
            core.ended = Some(ended);
        }
        core.waiters.wake_everybody(&mut wakes);
        (wakes.driver, wakes.caller, wakes.watchers) = (true, true, true);
        drop(core);
        self.notify(&mut wakes);
    }

    pub(crate) fn ended(&self) -> Option<EndReason> {
        let core = self.core.lock();
        match core {
            Ok(core) => core.ended.clone(),
            Err(_) => Some(EndReason::Panicked),
        }
    }
}

pub(crate) fn wait<'a>(
    condvar: &Condvar,
    core: MutexGuard<'a, EngineCore>,
    timeout: Option<Duration>,
) -> io::Result<MutexGuard<'a, EngineCore>> {
    match timeout {
        None => condvar.wait(core).map_err(|_| EndReason::Panicked.to_error()),
        Some(timeout) => condvar
            .wait_timeout(core, timeout)
            .map(|(core, _)| core)
            .map_err(|_| EndReason::Panicked.to_error()),
    }
}

#[cfg(test)]
mod tests;
