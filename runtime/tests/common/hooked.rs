//! [`Hooked`]: a device that calls a test before and after it is used. The models of whole runtimes
//! (`runtime/shuttle`) use this file, too, with their own `device`.

use std::io;
use std::os::fd::BorrowedFd;

use portolan::{Frame, Medium, Transmit};

use super::device::{Device, Room, Sent};

/// What a test does when its device is used. A call of the device fails with the error of its hook.
pub(crate) trait Hook: Send + 'static {
    /// A frame is about to be sent.
    fn on_send(&mut self, _: &Transmit) -> io::Result<()> {
        Ok(())
    }

    /// The device is about to be read.
    fn on_recv(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// This frame was read.
    fn on_received(&mut self, _: &Frame) -> io::Result<()> {
        Ok(())
    }
}

/// A device that is called "cable0" and forwards everything to the device in it.
pub(crate) struct Hooked<D, H> {
    pub(crate) device: D,
    pub(crate) hook: H,
}

impl<D: Device, H: Hook> Device for Hooked<D, H> {
    fn name(&self) -> &str {
        "cable0"
    }
    fn medium(&self) -> Medium {
        self.device.medium()
    }
    fn mtu(&self) -> usize {
        self.device.mtu()
    }
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        self.hook.on_send(transmit)?;
        self.device.send(transmit)
    }
    fn recv(&mut self) -> io::Result<Option<Frame>> {
        self.hook.on_recv()?;
        let frame = self.device.recv()?;
        frame.iter().try_for_each(|frame| self.hook.on_received(frame))?;
        Ok(frame)
    }
    fn receive_fd(&self) -> BorrowedFd<'_> {
        self.device.receive_fd()
    }
    fn room(&self) -> Room<'_> {
        self.device.room()
    }
}
