//! [`Hooked`]: a device that calls a test before and after it is used. The models of whole runtimes
//! (`runtime/shuttle`) use this file, too, with their own `device`.

use std::io;
use std::os::fd::BorrowedFd;

use portolan::{Frame, Medium, Transmit};

use super::device::{Device, Room, Sent};

/// The functions of a test that are called when its device is used. If one fails, the device's call
/// fails with its error.
pub(crate) trait Hook: Send + 'static {
    /// Called before a frame is sent.
    fn on_send(&mut self, _: &Transmit) -> io::Result<()> {
        Ok(())
    }

    /// Called before the device is read.
    fn on_recv(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called after this frame was read.
    fn on_received(&mut self, _: &Frame) -> io::Result<()> {
        Ok(())
    }
}

/// A device with the name "cable0" that forwards everything to the inner device.
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
