//! The stack behind its lock, and how callers use it. [`driver`](crate::driver) explains the locks.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan::{Descriptor, Instant, InterfaceId, Stack};

use crate::Clock;
use crate::attached::{Io, TRANSMIT_BATCH};
use crate::device::Device;
use crate::ended::Ended;
use crate::signal::Signal;
use crate::waiters::{Interest, WaiterTable, Wakes};

/// How often a caller goes on transmitting, for itself and for those who left notes, before the driving thread
/// takes over.
const TRANSMIT_ROUNDS: usize = 64;

/// What a runtime, its handles and its sockets share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: Mutex<Core>,
    pub(crate) io: Mutex<Io>,
    /// Somebody has frames to send and could not get `io`.
    pub(crate) transmit_wanted: AtomicBool,
    /// Ends the driving thread's sleep.
    pub(crate) wake: Signal,
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
    pub(crate) sleeps_until: Option<Instant>,
    /// Threads that wait for `progress`.
    pub(crate) watchers: usize,
    pub(crate) ended: Option<Ended>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    TimedOut,
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

impl Core {
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.stack.poll_timeout().is_some_and(|deadline| deadline.at <= now)
    }

    /// After anything was handed to the stack: takes frames out of it (for the holder of `io`), finds who is to be
    /// woken, and whether the driving thread must know of an earlier deadline.
    pub(crate) fn settle(&mut self, io: Option<&mut Io>, now: Instant, wakes: &mut Wakes) {
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
        Ok(Shared {
            core: Mutex::new(Core {
                stack,
                waiters: WaiterTable::default(),
                sleeps_until: None,
                watchers: 0,
                ended: None,
            }),
            io: Mutex::new(Io::new(devices)),
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

    pub(crate) fn try_lock_io(&self) -> Option<MutexGuard<'_, Io>> {
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
    pub(crate) fn notify(&self, wakes: Wakes) {
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
    pub(crate) fn send(&self, io: &mut Io) {
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
    pub(crate) fn transmit_for_others(&self) {
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
