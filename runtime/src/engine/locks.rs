//! [`Engine`]: a stack and its devices behind two locks, and the calls through them.
//!
//! [`driver`](super::driver) describes the locks and the notes that callers leave.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use portolan::{Instant, InterfaceId, Stack};

use crate::clock::Clock;
use crate::device::Device;
use crate::engine::cancel_waiters::CancelWaiters;
use crate::engine::core::{DeviceRecord, EngineCore};
use crate::engine::devices::{AttachedDevice, DeviceIo};
use crate::engine::end_reason::EndReason;
use crate::engine::leadership::{LeaderKind, Leadership, PolledDevices};
use crate::engine::spin::Spin;
use crate::engine::task_timers::TaskTimers;
use crate::engine::waiters::{WaiterTable, Wakes};
use crate::platform::signal::Signal;
use crate::policy::{FORGET_INTERVAL, TRANSMIT_ROUNDS, WAITING_READS, WRITE_CHUNK};
use crate::pool::Pool;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Condvar, Mutex, MutexGuard, TryMutex, TryMutexGuard, is_poisoned};

/// One stack of a runtime, with its devices: what its driver thread and its sockets share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) core: Mutex<EngineCore>,
    pub(crate) io: TryMutex<DeviceIo>,
    /// The note: some caller has frames to send and could not get `io`.
    transmit_wanted: AtomicBool,
    /// Wakes the driver thread, whether it leads or not.
    driver_wake: Signal,
    /// Wakes a caller that leads.
    caller_wake: Signal,
    pub(crate) spin: Spin,
    /// Notified after every use of the stack, while [`EngineCore::watchers`] is not zero.
    progress: Condvar,
    /// Memory for what callers send: they copy data there, and it stays until the peer has
    /// acknowledged it. No thread holds this lock together with another.
    pub(crate) send_pool: Mutex<Pool>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    TimedOut,
}

/// Converts an error of the stack to the error of std with the same meaning.
pub(crate) fn to_io_error(error: portolan::Error) -> io::Error {
    error.into()
}

/// Wakes the driver thread and the leader when a thread panics while it holds this: they find the
/// poisoned lock and end the runtime.
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
        busy_poll: Duration,
    ) -> io::Result<Self> {
        let record = |(iface, device): &(InterfaceId, Box<dyn Device>)| DeviceRecord {
            iface: *iface,
            name: device.name().to_owned(),
            failure: None,
        };
        let device_records = devices.iter().map(record).collect();
        let attach = |(iface, device)| AttachedDevice::attach(iface, device);
        let io = DeviceIo::new(devices.into_iter().map(attach).collect::<io::Result<_>>()?);
        Ok(Engine {
            core: Mutex::new(EngineCore {
                stack,
                waiters: WaiterTable::default(),
                cancel_waiters: CancelWaiters::default(),
                task_timers: TaskTimers::default(),
                leadership: Leadership::new(io.polled()),
                device_records,
                watchers: 0,
                refuses_calls: false,
                ended: None,
            }),
            io: TryMutex::new(io),
            transmit_wanted: AtomicBool::new(false),
            driver_wake: Signal::new()?,
            caller_wake: Signal::new()?,
            spin: Spin::new(busy_poll),
            progress: Condvar::new(),
            send_pool: Mutex::new(Pool::new(WRITE_CHUNK)),
        })
    }

    /// The signal that wakes a leader of this kind.
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

    /// Locks `core`. Fails if a thread panicked while it held the lock.
    pub(crate) fn lock_core(&self) -> io::Result<MutexGuard<'_, EngineCore>> {
        self.core.lock().map_err(|_| EndReason::Panicked.to_error())
    }

    /// Locks `core` even if a thread panicked while it held the lock, for reading counters.
    pub(crate) fn lock_core_anyway(&self) -> MutexGuard<'_, EngineCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks `io` if that is possible without waiting.
    pub(crate) fn try_lock_io(&self) -> Option<TryMutexGuard<'_, DeviceIo>> {
        // A poisoned lock counts as held: the next leader finds it and ends the runtime.
        self.io.try_lock().ok()
    }

    /// Uses the stack of a running runtime; see [`enter`](Self::enter). Fails only if the runtime
    /// is over, or is being shut down.
    pub(crate) fn call<R>(&self, f: impl FnOnce(&mut EngineCore, Instant, &mut Wakes) -> R) -> io::Result<R> {
        if is_poisoned(&self.core) {
            return Err(EndReason::Panicked.to_error());
        }
        self.enter(|core, now, wakes| {
            core.check_callable()?;
            Ok(f(core, now, wakes))
        })
    }

    /// Uses the stack, then transmits the results and wakes the threads that are concerned.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&mut EngineCore, Instant, &mut Wakes) -> R) -> R {
        let _alarm = PanicAlarm(self);
        let mut wakes = Wakes::default();
        // Declared before `core` and so dropped after it, if the stack panics: a `Leader` in the
        // result takes that lock to resign.
        let result;
        let mut core = self.lock_core_anyway();
        let now = Clock::now();
        result = f(&mut core, now, &mut wakes);
        // Most calls that receive have nothing to send, and do not need the devices.
        let wants_io = core.stack.has_transmits();
        let mut io = if wants_io { self.try_lock_io() } else { None };
        core.settle(io.as_deref_mut(), now, &mut wakes);
        if let Some(mut io) = io {
            let reads = core.leadership.reads_after_send(now);
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

    /// Wakes the threads that were found while `core` was held. The caller has released `core`.
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
        wakes.notify_waiters();
        wakes.removed_devices.clear();
    }

    /// Reads the stack without changing it.
    pub(crate) fn inspect<R>(&self, f: impl FnOnce(&Stack) -> R) -> R {
        f(&self.lock_core_anyway().stack)
    }

    /// Sends the batch, with `io` held. Leaves a note when the stack may have more.
    pub(crate) fn send(&self, io: &mut DeviceIo) {
        if io.send_batch() {
            self.transmit_wanted.store(true, Ordering::Release);
        }
        if io.has_failed() {
            self.take_down_failed(io);
        }
        if let Some(kind) = io.leader_to_wake() {
            io.sleeper = None;
            self.wake(kind).raise();
        }
    }

    /// Takes down the interfaces of devices that have failed, with `io` held.
    #[cold]
    fn take_down_failed(&self, io: &mut DeviceIo) {
        let mut wakes = Wakes::default();
        let Ok(mut core) = self.lock_core() else { return };
        let now = Clock::now();
        let taken_down = core.take_down_failed(io, now, &mut wakes);
        core.settle(None, now, &mut wakes);
        drop(core);
        self.notify(&mut wakes);
        if let Err(ended) = taken_down {
            self.end(ended);
        }
    }

    /// Releases `core` and sends, after the stack was settled for a call that holds `io`. `reads`:
    /// this thread reads the devices afterwards.
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
            self.read_after_send(io);
        }
    }

    /// Changes the devices, with both locks held. Waits until no other thread keeps one open that
    /// is gone: its name may be needed again.
    pub(crate) fn change_devices<R>(
        &self,
        change: impl FnOnce(&mut EngineCore, &mut DeviceIo, Instant) -> R,
    ) -> io::Result<R> {
        let _alarm = PanicAlarm(self);
        let mut wakes = Wakes::default();
        // Declared before the locks and so dropped after them, if something panics.
        let result;
        let mut io = self.io.lock().map_err(|_| EndReason::Panicked.to_error())?;
        let mut core = self.lock_core()?;
        core.check_callable()?;
        let now = Clock::now();
        let before = core.leadership.polled().clone();
        result = change(&mut core, &mut io, now);
        let has_changed = io.version() != before.version;
        if has_changed {
            core.on_devices_changed(&io, &mut wakes);
        }
        core.settle(Some(&mut io), now, &mut wakes);
        drop(core);
        self.notify(&mut wakes);
        self.send(&mut io);
        drop(io);
        self.transmit_for_others();
        if has_changed {
            self.wait_until_forgotten(&before)?;
        }
        Ok(result)
    }

    /// Waits until no leader polls these devices any more. All were woken.
    fn wait_until_forgotten(&self, polled: &PolledDevices) -> io::Result<()> {
        let mut core = self.lock_core()?;
        while polled.is_shared() && core.ended.is_none() {
            core.watchers += 1;
            core = wait(&self.progress, core, Some(FORGET_INTERVAL))?;
            core.watchers -= 1;
        }
        Ok(())
    }

    /// Hands the stack the frames that were read from the devices, then runs the timers that are
    /// due.
    ///
    /// A thread that was preempted finds both: timers that are due, and in the devices the
    /// acknowledgements that would have stopped them. So the waiting frames are read before timers
    /// run, up to [`WAITING_READS`]: a flood must not delay the timers for ever.
    pub(crate) fn handle_received<'a>(
        &'a self,
        io: &mut DeviceIo,
        mut core: MutexGuard<'a, EngineCore>,
        wakes: &mut Wakes,
    ) -> Result<(MutexGuard<'a, EngineCore>, Instant), EndReason> {
        let mut now = core.hand_over_received(io);
        core.take_down_failed(io, now, wakes)?;
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
            io.receive_waiting();
            core = self.core.lock().map_err(|_| EndReason::Panicked)?;
            if let Some(ended) = &core.ended {
                return Err(ended.clone());
            }
            now = core.hand_over_received(io);
            core.take_down_failed(io, now, wakes)?;
        }
        core.take_events(wakes);
        Ok((core, now))
    }

    /// Reads the devices with `io` held, as the leader would.
    fn read_after_send(&self, io: &mut DeviceIo) {
        io.receive(None);
        let mut wakes = Wakes::default();
        let has_read = io.has_received();
        let Ok(mut core) = self.lock_core() else { return };
        if has_read {
            core.leadership.on_read_after_send();
        }
        let (mut core, now) = match self.handle_received(io, core, &mut wakes) {
            Ok(taken) => taken,
            Err(ended) => return self.end(ended),
        };
        core.settle(Some(io), now, &mut wakes);
        drop(core);
        self.notify(&mut wakes);
        self.send(io);
    }

    /// Whether some caller left a note. A thread checks this after it has released `io`, or could
    /// not get it; [`driver`](super::driver) explains the fence.
    pub(crate) fn is_transmit_wanted(&self) -> bool {
        fence(Ordering::SeqCst);
        self.transmit_wanted.load(Ordering::Acquire)
    }

    /// Sends for callers that left notes, after a call that held `io` or could not get it.
    pub(crate) fn transmit_for_others(&self) {
        for _ in 0..TRANSMIT_ROUNDS {
            if !self.transmit_batch_for_others(Leadership::reads_after_send) {
                return;
            }
        }
        // If no thread leads now, the next leader begins by checking the note.
        self.wake_all_leaders();
    }

    /// Sends one batch for a caller that left a note; `reads` decides whether this thread reads the
    /// devices then. Returns false if there is nothing for this thread to do.
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

    /// Waits until `is_done` returns true; it is called after every use of the stack.
    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut is_done: impl FnMut(&mut Stack) -> bool,
    ) -> io::Result<Waited> {
        self.wait_for(timeout, |core| is_done(&mut core.stack))
    }

    /// Like [`wait_until`](Engine::wait_until), for a question to the core.
    pub(crate) fn wait_for(
        &self,
        timeout: Duration,
        mut is_done: impl FnMut(&mut EngineCore) -> bool,
    ) -> io::Result<Waited> {
        let give_up_at = Clock::now() + timeout;
        let mut core = self.lock_core()?;
        loop {
            core.check_running()?;
            if is_done(&mut core) {
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

    /// Ends the runtime, and wakes all waiting threads. The first reason is kept.
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
        core.cancel_waiters.wake_all(&mut wakes);
        core.task_timers.wake_all(&mut wakes);
        (wakes.driver, wakes.caller, wakes.watchers) = (true, true, true);
        drop(core);
        self.notify(&mut wakes);
    }

    /// Why the runtime is over, if it is.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let core = self.core.lock();
        match core {
            Ok(core) => core.ended.clone(),
            Err(_) => Some(EndReason::Panicked),
        }
    }
}

/// Waits on a condition variable with `core`, for at most `timeout`.
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
