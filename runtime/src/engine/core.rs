//! [`EngineCore`]: the state that the `core` lock guards.

use std::io;

use portolan::{Descriptor, Instant, InterfaceId, LinkState, Owner, OwnerId, Stack};

use crate::clock::Clock;
use crate::engine::cancel_waiters::CancelWaiters;
use crate::engine::devices::DeviceIo;
use crate::engine::end_reason::EndReason;
use crate::engine::leadership::Leadership;
use crate::engine::task_timers::TaskTimers;
use crate::engine::waiters::{RemovedDevice, WaiterTable, Wakes};

/// The state that the `core` lock guards: the stack, the waiting threads and tasks, and the leader.
#[derive(Debug)]
pub(crate) struct EngineCore {
    pub(crate) stack: Stack,
    pub(crate) waiters: WaiterTable,
    pub(crate) cancel_waiters: CancelWaiters,
    pub(crate) task_timers: TaskTimers,
    pub(crate) leadership: Leadership,
    pub(crate) device_records: Vec<DeviceRecord>,
    /// The number of threads that wait in `Engine::wait_until`.
    pub(crate) watchers: usize,
    /// Whether calls fail although the runtime is not over: what sockets have taken is being
    /// delivered.
    pub(crate) refuses_calls: bool,
    /// Why the runtime is over, once it is.
    pub(crate) ended: Option<EndReason>,
}

/// What is known of the device of an interface.
#[derive(Debug)]
pub(crate) struct DeviceRecord {
    pub(crate) iface: InterfaceId,
    pub(crate) name: String,
    /// The error with which the device failed.
    pub(crate) failure: Option<EndReason>,
}

impl EngineCore {
    /// The calls of an owner. EBADF if there is no such owner any more.
    pub(crate) fn owner(&mut self, owner: OwnerId) -> portolan::Result<Owner<'_>> {
        self.stack.owner(owner).ok_or(portolan::Error::BadDescriptor)
    }

    /// The calls of a descriptor's owner. EBADF if there is no such owner any more.
    pub(crate) fn owner_of(&mut self, d: Descriptor) -> portolan::Result<Owner<'_>> {
        self.owner(d.owner())
    }

    /// Whether a timer of the stack is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.stack.next_timeout_at().is_some_and(|at| at <= now)
    }

    /// The next deadline of the stack or of a task.
    pub(crate) fn next_timeout_at(&self) -> Option<Instant> {
        let of_tasks = self.task_timers.next_at();
        self.stack.next_timeout_at().into_iter().chain(of_tasks).min()
    }

    /// Hands the stack the frames that were read from the devices. Returns the time that it was
    /// given.
    pub(crate) fn hand_over_received(&mut self, io: &mut DeviceIo) -> Instant {
        let now = Clock::now();
        self.stack.handle_frames(now, io.take_received());
        now
    }

    /// The record of the device of an interface.
    pub(crate) fn device_record(&self, iface: InterfaceId) -> Option<&DeviceRecord> {
        self.device_records.iter().find(|record| record.iface == iface)
    }

    /// Notes that an interface has gone, and its device.
    pub(crate) fn forget_device(&mut self, iface: InterfaceId) {
        self.device_records.retain(|record| record.iface != iface);
    }

    /// Notes that an interface has this device, which works.
    pub(crate) fn record_device(&mut self, iface: InterfaceId, name: String) {
        self.forget_device(iface);
        self.device_records.push(DeviceRecord { iface, name, failure: None });
    }

    /// Notes that a device has come or gone, with `io` held. The leader is woken.
    pub(crate) fn on_devices_changed(&mut self, io: &DeviceIo, wakes: &mut Wakes) {
        wakes.add_leader(self.leadership.on_devices_changed(io.polled()));
    }

    /// Takes out the devices that have failed, and takes their interfaces down. Fails for one queue
    /// of several: a host must not lose only some of its stacks.
    pub(crate) fn take_down_failed(
        &mut self,
        io: &mut DeviceIo,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Result<(), EndReason> {
        while let Some((mut failed, error)) = io.take_failed() {
            failed.drop_queued(&mut self.stack, now);
            let iface = failed.iface();
            let failure = EndReason::device_failed(failed.device.name(), &error);
            wakes.removed_devices.push(RemovedDevice(failed.device));
            if io.serves(iface) {
                return Err(failure);
            }
            let name = self.stack.interface_name(iface).unwrap_or("?");
            log::error!("{}; the interface {name} is down", failure.to_error());
            // It fails only if the interface was removed.
            let _ = self.stack.set_link(now, iface, LinkState::Down);
            if let Some(record) = self.device_records.iter_mut().find(|record| record.iface == iface) {
                record.failure = Some(failure);
            }
            self.on_devices_changed(io, wakes);
        }
        Ok(())
    }

    /// Adds the threads and tasks that the events of sockets and pollers wake.
    pub(crate) fn take_events(&mut self, wakes: &mut Wakes) {
        while let Some(event) = self.stack.poll_event() {
            self.waiters.on_event(event, wakes);
        }
        while let Some(poller) = self.stack.poll_ready_poller() {
            self.waiters.on_poller_event(poller, wakes);
        }
        self.take_cancellations(wakes);
    }

    /// Adds the tasks whose connections were cancelled to those to wake. While tasks wait, this
    /// takes all news of cancellations out of the stack.
    fn take_cancellations(&mut self, wakes: &mut Wakes) {
        while let Some(interceptor) = self.cancel_waiters.interceptor() {
            match self.owner_of(interceptor).and_then(|mut owner| owner.poll_cancelled(interceptor)) {
                Ok((pending, _)) => self.cancel_waiters.wake(pending, wakes),
                Err(portolan::Error::WouldBlock) => return,
                // The interceptor is closed.
                Err(_) => self.cancel_waiters.wake_all(wakes),
            }
        }
    }

    /// Must follow every use of the stack: takes frames out of it if the caller holds `io`, and
    /// adds the threads to wake. The leader is woken for an event that it waits for, and for a
    /// deadline earlier than the one that it knows.
    pub(crate) fn settle(&mut self, io: Option<&mut DeviceIo>, now: Instant, wakes: &mut Wakes) {
        if let Some(io) = io {
            io.fill_batch(&mut self.stack, now);
        }
        self.take_events(wakes);
        self.task_timers.wake_due(now, wakes);
        wakes.watchers |= self.watchers > 0;
        let Some(known) = self.leadership.sleeps_until() else { return };
        if wakes.leader_is_met || self.next_timeout_at().is_some_and(|at| at < known) {
            wakes.add_leader(self.leadership.on_news());
        }
    }

    /// Fails with the reason if the runtime is over.
    pub(crate) fn check_running(&self) -> io::Result<()> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(ended.to_error()))
    }

    /// Fails if calls are refused, because the runtime is over or will soon be.
    pub(crate) fn check_callable(&self) -> io::Result<()> {
        self.check_running()?;
        if self.refuses_calls { Err(EndReason::Shutdown.to_error()) } else { Ok(()) }
    }
}
