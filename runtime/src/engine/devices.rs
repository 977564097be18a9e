//! [`DeviceIo`]: the devices, and the frames on their way to and from them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;

use portolan::{DropReason, Frame, Instant, InterfaceId, Stack, Transmit};

use crate::clock::Clock;
use crate::device::{Device, Outgoing, Received};
use crate::engine::device_signal::DeviceSignal;
use crate::engine::leadership::{LeaderKind, PolledDevice, PolledDevices};
use crate::engine::read_budget::{EagerRead, ReadBudget};
use crate::policy::{BATCH_BYTES, BATCH_FRAMES, KEPT_FRAMES, READ_FRAMES, STALL_DELAY};

/// The state that the `io` lock guards.
#[derive(Debug)]
pub(crate) struct DeviceIo {
    pub(crate) devices: Vec<AttachedDevice>,
    /// A number that changes whenever a device comes or goes. That happens with both locks held.
    version: u64,
    /// Whether the last batch was full, so that the stack may have more frames.
    has_left_some: bool,
    /// The leader, while it sleeps. [`AttachedDevice`] stores what the leader knows about each
    /// device.
    pub(crate) sleeper: Option<LeaderKind>,
}

/// A device, with the frames on their way to and from it and the record of how it is read.
pub(crate) struct AttachedDevice {
    iface: InterfaceId,
    pub(crate) device: Box<dyn Device>,
    /// What the device wakes, if it has no descriptor.
    signal: Option<Arc<DeviceSignal>>,
    /// What the leader polls for it.
    polled: Arc<PolledDevice>,
    /// The error with which a call of the device failed. It is not called again.
    failure: Option<io::Error>,
    /// Frames taken out of the stack that the device has not taken.
    queued: VecDeque<Transmit>,
    /// Since when the device has had no room for the first of them.
    full_since: Option<Instant>,
    /// Frames read from the device and not yet handed to the stack.
    received: Vec<Frame>,
    budget: ReadBudget,
    pub(crate) eager_read: EagerRead,
    /// Whether the last read left frames behind.
    pub(crate) has_more: bool,
    /// Whether the sleeping leader polls for room.
    pub(crate) polls_room: bool,
    /// The deadline of the device that the leader knows.
    pub(crate) sleeps_until: Option<Instant>,
}

impl std::fmt::Debug for AttachedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachedDevice")
            .field("iface", &self.iface)
            .field("device", &self.device.name())
            .field("queued", &self.queued.len())
            .finish()
    }
}

impl AttachedDevice {
    /// Takes a device.
    pub(crate) fn attach(iface: InterfaceId, mut device: Box<dyn Device>) -> io::Result<AttachedDevice> {
        let signal = DeviceSignal::new()?;
        let readiness = device.readiness(&Waker::from(signal.clone()));
        let polled = Arc::new(PolledDevice::of(readiness, &signal)?);
        let signal = readiness.receive().is_none().then_some(signal);
        Ok(AttachedDevice {
            iface,
            device,
            signal,
            polled,
            failure: None,
            queued: VecDeque::with_capacity(BATCH_FRAMES),
            full_since: None,
            received: Vec::with_capacity(READ_FRAMES),
            budget: ReadBudget::new(),
            eager_read: EagerRead::new(),
            has_more: false,
            polls_room: false,
            sleeps_until: None,
        })
    }

    /// The interface that the device serves.
    pub(crate) fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// Uses the device, unless it has failed before.
    fn attempt(&mut self, call: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.failure.is_none()
            && let Err(error) = call(self)
        {
            self.failure = Some(error);
        }
    }

    /// Whether frames wait for room in the device.
    pub(crate) fn wants_room(&self) -> bool {
        !self.queued.is_empty() || self.device.wants_room()
    }

    /// Whether to read the device instead of the sleep that comes next. `may_try`: a read in vain
    /// is worth its cost.
    pub(crate) fn reads_first(&mut self, may_try: bool) -> bool {
        match &self.signal {
            Some(signal) => signal.is_raised(),
            None => may_try && self.eager_read.reads_first(),
        }
    }

    /// Offers the frames that wait, in order.
    fn send_queued(&mut self) -> io::Result<()> {
        let before = self.queued.len();
        if before > 0 {
            self.device.transmit(&mut Outgoing::new(&mut self.queued))?;
        }
        if self.queued.len() < before {
            self.full_since = None;
        }
        if !self.queued.is_empty() {
            self.full_since.get_or_insert_with(Clock::now);
        }
        Ok(())
    }

    /// Drops the frames that wait, because the device is no longer used.
    pub(crate) fn drop_queued(&mut self, stack: &mut Stack, now: Instant) {
        for frame in self.queued.drain(..) {
            stack.drop_transmit(now, &frame, DropReason::LinkDown);
        }
    }

    /// Whether the device has been full for so long that other devices should not wait for it.
    fn is_stalled(&self) -> bool {
        self.full_since.is_some_and(|since| Clock::now() - since >= STALL_DELAY)
    }

    /// When the leader has something to do for the device: the deadline of the device itself, or
    /// the time at which others stop to wait for it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let stalled_at = self.full_since.map(|since| since + STALL_DELAY).filter(|_| !self.is_stalled());
        [self.device.deadline(), stalled_at].into_iter().flatten().min()
    }
}

impl DeviceIo {
    pub(crate) fn new(devices: Vec<AttachedDevice>) -> Self {
        DeviceIo { devices, version: 0, has_left_some: false, sleeper: None }
    }

    /// A number that changes whenever a device comes or goes.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What a leader has to poll.
    pub(crate) fn polled(&self) -> PolledDevices {
        let devices = self.devices.iter().map(|attached| attached.polled.clone()).collect();
        PolledDevices { devices, version: self.version }
    }

    /// Adds a device, for this interface.
    pub(crate) fn add(&mut self, iface: InterfaceId, attached: AttachedDevice) {
        self.version += 1;
        self.devices.push(AttachedDevice { iface, ..attached });
    }

    /// Takes out the device of this interface.
    pub(crate) fn take(&mut self, iface: InterfaceId) -> Option<AttachedDevice> {
        self.take_at(self.devices.iter().position(|attached| attached.iface == iface)?)
    }

    fn take_at(&mut self, index: usize) -> Option<AttachedDevice> {
        self.version += 1;
        Some(self.devices.remove(index))
    }

    /// Whether a device has failed that was not taken out yet.
    pub(crate) fn has_failed(&self) -> bool {
        self.devices.iter().any(|attached| attached.failure.is_some())
    }

    /// Takes out a device that has failed.
    pub(crate) fn take_failed(&mut self) -> Option<(AttachedDevice, io::Error)> {
        let index = self.devices.iter().position(|attached| attached.failure.is_some())?;
        let mut attached = self.take_at(index)?;
        let failure = attached.failure.take()?;
        Some((attached, failure))
    }

    /// Whether an interface has a device.
    pub(crate) fn serves(&self, iface: InterfaceId) -> bool {
        self.devices.iter().any(|attached| attached.iface == iface)
    }

    /// Whether every device can keep another frame. Of several devices, one that is stalled does
    /// not count: its frames are lost.
    fn has_room(&self) -> bool {
        let mut full = self.devices.iter().filter(|attached| attached.queued.len() >= KEPT_FRAMES);
        full.all(|attached| self.devices.len() > 1 && attached.is_stalled())
    }

    /// Takes the next batch of frames out of the stack.
    pub(crate) fn fill_batch(&mut self, stack: &mut Stack, now: Instant) {
        self.has_left_some = false;
        if !stack.has_transmits() || !self.has_room() {
            return;
        }
        let (mut frames, mut bytes) = (0, 0);
        loop {
            while let Some(transmit) = stack.poll_transmit(now) {
                frames += 1;
                bytes += transmit.len();
                self.queue(stack, now, transmit);
                if frames >= BATCH_FRAMES || bytes >= BATCH_BYTES {
                    self.has_left_some = true;
                    return;
                }
            }
            if !stack.handle_loopback(now) {
                return;
            }
        }
    }

    /// Puts a frame behind those that wait for its device.
    fn queue(&mut self, stack: &mut Stack, now: Instant, transmit: Transmit) {
        let has_others = self.devices.len() > 1;
        match self.devices.iter_mut().find(|attached| attached.iface == transmit.iface()) {
            Some(attached) if has_others && attached.queued.len() >= KEPT_FRAMES && attached.is_stalled() => {
                stack.drop_transmit(now, &transmit, DropReason::DeviceFull);
            }
            Some(attached) => attached.queued.push_back(transmit),
            None => stack.drop_transmit(now, &transmit, DropReason::LinkDown),
        }
    }

    /// Gives the batch to the devices. Returns whether the stack may have more frames.
    pub(crate) fn send_batch(&mut self) -> bool {
        for attached in &mut self.devices {
            // A device that was full is asked again when it may have room.
            if attached.full_since.is_none() {
                attached.attempt(AttachedDevice::send_queued);
            }
        }
        self.has_left_some && self.has_room()
    }

    /// The frames that were read from the devices and not yet handed to the stack.
    pub(crate) fn take_received(&mut self) -> impl Iterator<Item = (InterfaceId, Frame)> {
        self.devices.iter_mut().flat_map(|attached| {
            let iface = attached.iface;
            attached.received.drain(..).map(move |frame| (iface, frame))
        })
    }

    /// Whether such frames wait.
    pub(crate) fn has_received(&self) -> bool {
        self.devices.iter().any(|attached| !attached.received.is_empty())
    }

    /// The leader, if it sleeps and does not know a deadline of a device, or that a device waits
    /// for room.
    pub(crate) fn leader_to_wake(&self) -> Option<LeaderKind> {
        let is_news = |attached: &AttachedDevice| {
            let deadline = attached.deadline();
            (attached.wants_room() && !attached.polls_room)
                || deadline.is_some_and(|at| attached.sleeps_until.is_none_or(|known| at < known))
        };
        self.sleeper.filter(|_| self.devices.iter().any(is_news))
    }

    /// Lets the devices do what is due, offers the waiting frames, and reads from the devices that
    /// are ready or whose deadline has passed. `ready` is indexed by device; without it, every
    /// device is read.
    pub(crate) fn receive(&mut self, ready: Option<&[bool]>) {
        for (index, attached) in self.devices.iter_mut().enumerate() {
            let ready = ready.map(|ready| ready.get(index) == Some(&true));
            attached.attempt(|attached| attached.receive(ready));
        }
    }

    /// Whether the last read left frames behind, as far as is known.
    pub(crate) fn has_more(&self) -> bool {
        self.devices.iter().any(|attached| attached.has_more)
    }

    /// Reads the frames that wait in any device, at most [`READ_FRAMES`] from each.
    pub(crate) fn receive_waiting(&mut self) {
        for attached in &mut self.devices {
            attached.attempt(AttachedDevice::receive_waiting);
        }
    }
}

impl AttachedDevice {
    /// Reads about so many frames. Returns their number, and whether the device may have more.
    fn read(&mut self, frames: usize) -> io::Result<(usize, bool)> {
        let mut received = Received::new(&mut self.received, frames);
        self.device.receive(&mut received)?;
        Ok((received.count(), received.was_full()))
    }

    /// Reads as many frames as the stack takes at once. Unlike [`receive`](Self::receive), this
    /// read says nothing about how frames usually come, so neither the budget nor `eager_read`
    /// learns from it.
    fn receive_waiting(&mut self) -> io::Result<()> {
        (_, self.has_more) = self.read(READ_FRAMES)?;
        Ok(())
    }

    fn receive(&mut self, ready: Option<bool>) -> io::Result<()> {
        // A device wakes for frames and for room. So the signal is cleared before frames are sent,
        // and only where both is tried.
        let is_woken = self.signal.as_ref().is_some_and(|signal| signal.clear(ready == Some(true)));
        let deadline = self.device.deadline();
        if deadline.is_some() || self.device.wants_room() {
            self.device.service()?;
        }
        self.send_queued()?;
        if ready == Some(false) && !is_woken && deadline.is_none_or(|at| at > Clock::now()) {
            return Ok(());
        }
        if self.signal.is_some() {
            // A read that finds nothing costs next to nothing here.
            (_, self.has_more) = self.read(READ_FRAMES)?;
            return Ok(());
        }
        let frames = self.budget.frames();
        let (count, was_full) = self.read(frames)?;
        let has_reached_bytes = was_full && count < frames;
        self.has_more = self.budget.expects_more(count) || has_reached_bytes;
        self.eager_read.on_read(count);
        // A read that ended because of the limit in bytes counts as one that found all frames that
        // it asked for.
        self.budget.on_read(if has_reached_bytes { frames } else { count });
        Ok(())
    }
}
