//! The devices and what is on its way to them: what the `io` lock guards.

use std::collections::VecDeque;
use std::io;

use portolan::{Frame, Instant, InterfaceId, Transmit};

use crate::device::{Device, Sent};
use crate::ended::Ended;

/// Frames that are polled from the stack under one hold of `core`.
pub(crate) const TRANSMIT_BATCH: usize = 16;
/// Frames that are read from one device before the stack gets them.
const RECEIVE_BATCH: usize = 32;
/// Frames kept for a full device; beyond it the stack is not polled any more. A stack does not say for which device
/// its next frame is, so one device that stays full holds up the others.
const KEPT_FRAMES: usize = 16;

/// What the second lock guards.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) devices: Vec<Attached>,
    /// Polled from the stack, not yet offered to a device.
    pub(crate) batch: Vec<Transmit>,
    /// Read from the devices, not yet handed to the stack.
    pub(crate) received: Vec<(InterfaceId, Frame)>,
    pub(crate) driver_sleeps: bool,
}

/// A device and what belongs to it.
pub(crate) struct Attached {
    iface: InterfaceId,
    pub(crate) device: Box<dyn Device>,
    /// Offered and refused (the first), or behind one that was refused.
    kept: VecDeque<Transmit>,
    /// While the driving thread sleeps: whether it polls for room, and the device's deadline that it knows of.
    pub(crate) polls_room: bool,
    pub(crate) sleeps_until: Option<Instant>,
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
    pub(crate) fn wants_room(&self) -> bool {
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

impl Io {
    pub(crate) fn new(devices: Vec<(InterfaceId, Box<dyn Device>)>) -> Self {
        let attach = |(iface, device)| Attached {
            iface,
            device,
            kept: VecDeque::new(),
            polls_room: false,
            sleeps_until: None,
        };
        Io {
            devices: devices.into_iter().map(attach).collect(),
            batch: Vec::with_capacity(TRANSMIT_BATCH),
            received: Vec::with_capacity(RECEIVE_BATCH),
            driver_sleeps: false,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.devices.iter().all(|attached| attached.kept.len() < KEPT_FRAMES)
    }

    /// Gives the batch to the devices. Says whether the stack may have more.
    pub(crate) fn send_batch(&mut self) -> Result<bool, Ended> {
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
    pub(crate) fn driver_must_know(&self) -> bool {
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
    pub(crate) fn receive(&mut self) -> Result<bool, Ended> {
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
