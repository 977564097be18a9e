//! [`DeviceIo`]: the devices, and the frames on their way to and from them.

use std::collections::VecDeque;
use std::io;

use portolan::{Frame, Instant, InterfaceId, Stack, Transmit};

use crate::clock::Clock;
use crate::device::{Device, Sent};
use crate::engine::end_reason::EndReason;
use crate::engine::leadership::LeaderKind;
use crate::engine::read_budget::{EagerRead, ReadBudget};
use crate::policy::{BATCH_BYTES, BATCH_FRAMES, KEPT_FRAMES, READ_BYTES, READ_FRAMES};

/// The state that the `io` lock guards.
#[derive(Debug)]
pub(crate) struct DeviceIo {
    pub(crate) devices: Vec<AttachedDevice>,
    /// Frames taken out of the stack and not yet offered to a device.
    batch: Vec<Transmit>,
    /// Whether the batch was full, so that the stack may have more frames.
    has_left_some: bool,
    /// Frames read from the devices and not yet handed to the stack.
    pub(crate) received: Vec<(InterfaceId, Frame)>,
    /// The leader, while it sleeps. [`AttachedDevice`] stores what the leader knows about each
    /// device.
    pub(crate) sleeper: Option<LeaderKind>,
}

/// A device, with the frames that wait for room in it and the record of how it is read.
pub(crate) struct AttachedDevice {
    iface: InterfaceId,
    pub(crate) device: Box<dyn Device>,
    /// Frames that wait for room. The device has refused the first one.
    kept: VecDeque<Transmit>,
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
            .field("kept", &self.kept.len())
            .finish()
    }
}

impl AttachedDevice {
    /// Whether frames wait for room in the device.
    pub(crate) fn wants_room(&self) -> bool {
        !self.kept.is_empty() || self.device.wants_room()
    }

    /// Offers the waiting frames, in order.
    fn send_kept(&mut self) -> io::Result<()> {
        while let Some(transmit) = self.kept.front() {
            if self.device.send(transmit)? == Sent::Full {
                break;
            }
            self.kept.pop_front();
        }
        Ok(())
    }

    /// Offers a frame to the device, or puts it behind those that wait.
    fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        if !self.kept.is_empty() || self.device.send(&transmit)? == Sent::Full {
            self.kept.push_back(transmit);
        }
        Ok(())
    }

    fn ended(&self, error: &io::Error) -> EndReason {
        EndReason::device_failed(self.device.name(), error)
    }
}

impl DeviceIo {
    pub(crate) fn new(devices: Vec<(InterfaceId, Box<dyn Device>)>) -> Self {
        let attach = |(iface, device)| AttachedDevice {
            iface,
            device,
            kept: VecDeque::new(),
            budget: ReadBudget::new(),
            eager_read: EagerRead::new(),
            has_more: false,
            polls_room: false,
            sleeps_until: None,
        };
        DeviceIo {
            devices: devices.into_iter().map(attach).collect(),
            batch: Vec::with_capacity(BATCH_FRAMES),
            has_left_some: false,
            received: Vec::with_capacity(READ_FRAMES),
            sleeper: None,
        }
    }

    /// Whether every device can keep another frame.
    fn has_room(&self) -> bool {
        self.devices.iter().all(|attached| attached.kept.len() < KEPT_FRAMES)
    }

    /// Takes the next batch of frames out of the stack.
    pub(crate) fn fill_batch(&mut self, stack: &mut Stack, now: Instant) {
        self.has_left_some = false;
        if !stack.has_transmits() || !self.has_room() {
            return;
        }
        let mut bytes = 0;
        loop {
            while let Some(transmit) = stack.poll_transmit(now) {
                bytes += transmit.len();
                self.batch.push(transmit);
                if self.batch.len() >= BATCH_FRAMES || bytes >= BATCH_BYTES {
                    self.has_left_some = true;
                    return;
                }
            }
            if !stack.handle_loopback(now) {
                return;
            }
        }
    }

    /// Gives the batch to the devices. Returns whether the stack may have more frames.
    pub(crate) fn send_batch(&mut self) -> Result<bool, EndReason> {
        for transmit in self.batch.drain(..) {
            match self.devices.iter_mut().find(|attached| attached.iface == transmit.iface()) {
                Some(attached) => attached.send(transmit).map_err(|error| attached.ended(&error))?,
                None => log::debug!("a frame for {:?}, which has no device, is lost", transmit.iface()),
            }
        }
        Ok(self.has_left_some && self.has_room())
    }

    /// The leader, if it sleeps and does not know a deadline of a device, or that a device waits
    /// for room.
    pub(crate) fn leader_to_wake(&self) -> Option<LeaderKind> {
        let is_news = |attached: &AttachedDevice| {
            let deadline = attached.device.deadline();
            (attached.wants_room() && !attached.polls_room)
                || deadline.is_some_and(|at| attached.sleeps_until.is_none_or(|known| at < known))
        };
        self.sleeper.filter(|_| self.devices.iter().any(is_news))
    }

    /// Lets the devices do what is due, offers the waiting frames, and reads from the devices that
    /// are ready or whose deadline has passed. `ready` is indexed by device; without it, every
    /// device counts as ready.
    pub(crate) fn receive(&mut self, ready: Option<&[bool]>) -> Result<(), EndReason> {
        for (index, attached) in self.devices.iter_mut().enumerate() {
            let is_ready = ready.is_none_or(|ready| ready.get(index) == Some(&true));
            attached.receive(is_ready, &mut self.received).map_err(|error| attached.ended(&error))?;
        }
        Ok(())
    }

    /// Whether the last read left frames behind, as far as is known.
    pub(crate) fn has_more(&self) -> bool {
        self.devices.iter().any(|attached| attached.has_more)
    }

    /// Reads the frames that wait in any device, at most [`READ_FRAMES`] from each.
    pub(crate) fn receive_waiting(&mut self) -> Result<(), EndReason> {
        for attached in &mut self.devices {
            attached.receive_waiting(&mut self.received).map_err(|error| attached.ended(&error))?;
        }
        Ok(())
    }
}

impl AttachedDevice {
    /// Reads as many frames as the stack takes at once. Unlike [`receive`](Self::receive), this
    /// read says nothing about how frames usually come, so neither the budget nor `eager_read`
    /// learns from it.
    fn receive_waiting(&mut self, received: &mut Vec<(InterfaceId, Frame)>) -> io::Result<()> {
        let (mut count, mut bytes) = (0, 0);
        self.has_more = true;
        while count < READ_FRAMES && bytes < READ_BYTES {
            let Some(frame) = self.device.recv()? else {
                self.has_more = false;
                break;
            };
            count += 1;
            bytes += frame.bytes.len();
            received.push((self.iface, frame));
        }
        Ok(())
    }

    fn receive(&mut self, is_ready: bool, received: &mut Vec<(InterfaceId, Frame)>) -> io::Result<()> {
        let deadline = self.device.deadline();
        if deadline.is_some() || self.device.wants_room() {
            self.device.service()?;
        }
        self.send_kept()?;
        if !is_ready && deadline.is_none_or(|at| at > Clock::now()) {
            return Ok(());
        }
        let frames = self.budget.frames();
        let (mut count, mut bytes) = (0, 0);
        while count < frames && bytes < READ_BYTES {
            let Some(frame) = self.device.recv()? else { break };
            count += 1;
            bytes += frame.bytes.len();
            received.push((self.iface, frame));
        }
        self.has_more = self.budget.expects_more(count) || bytes >= READ_BYTES;
        self.eager_read.on_read(count);
        // A read that ended because of the limit in bytes counts as one that found all frames that
        // it asked for.
        self.budget.on_read(if bytes >= READ_BYTES { frames } else { count });
        Ok(())
    }
}
