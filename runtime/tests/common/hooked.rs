//! [`Hooked`]: a device that calls a test before and after it is used. The models of whole runtimes
//! (`runtime/shuttle`) use this file, too, with their own `device`.

use std::io;
use std::task::Waker;

use portolan::{Frame, Medium, Transmit};

use super::device::{Device, Outgoing, Readiness, Received};

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
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        self.device.readiness(waker)
    }
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while let Some(transmit) = outgoing.peek() {
            self.hook.on_send(transmit)?;
            let mut one = outgoing.at_most(1);
            self.device.transmit(&mut one)?;
            if !one.is_empty() {
                break;
            }
        }
        Ok(())
    }
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        self.hook.on_recv()?;
        let before = received.len();
        self.device.receive(received)?;
        received.frames_mut()[before..].iter().try_for_each(|frame| self.hook.on_received(frame))
    }
}
