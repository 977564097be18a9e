//! Devices, which send and receive frames.
//!
//! A [`Device`] is driven by a runtime and never called by two threads at once. Wrappers are
//! devices around another device, so they compose: `PcapWriter<Impair<Tap>>` records what the stack
//! sees, `Impair<PcapWriter<Tap>>` what the wire sees.

mod channel;
#[cfg(unix)]
mod fd;
mod impair;
mod impairment;
mod lane;
mod memory;
mod outgoing;
mod pcap;
mod readiness;
mod receive_buffer;
mod received;
#[cfg(unix)]
mod stream;
mod switch;
pub mod virtio;

pub use channel::{ChannelDevice, Packet, PacketChannel, PacketReceiver, PacketSender};
#[cfg(unix)]
pub use fd::{FdDevice, FrameHeader};
pub use impair::{Impair, ImpairCounters};
pub use impairment::{ImpairCounts, ImpairQueue, Impairable, Impairment, Outage, ParseImpairmentError};
pub use memory::{MemoryDevice, MemoryPair, memory_pair};
pub use outgoing::{Outgoing, Sent, Written};
pub use pcap::PcapWriter;
pub use readiness::{Interest, Readiness};
pub use receive_buffer::ReceiveBuffer;
pub use received::Received;
#[cfg(unix)]
pub use stream::StreamDevice;
pub use switch::{Switch, SwitchCounts, SwitchPort, SwitchSettings};

use std::io;
#[cfg(unix)]
use std::io::IoSlice;
use std::task::Waker;

#[cfg(unix)]
use portolan::Transmit;
use portolan::{Instant, Medium, Offloads};
#[cfg(unix)]
use smallvec::SmallVec;

#[cfg(unix)]
use crate::platform::gather;
#[cfg(unix)]
use crate::platform::poll::AsFd;

/// An object that sends and receives frames: a TAP device, one end of a pair in memory, or a
/// wrapper around another device.
///
/// # How a runtime drives it
///
/// No call blocks. When a runtime takes the device, it calls [`readiness`](Device::readiness) once,
/// to learn what to wait for: a descriptor, or a call of the waker. It sleeps until the device may
/// have frames, until it has room (only while frames wait for room, or
/// [`wants_room`](Device::wants_room) is true), or until [`deadline`](Device::deadline). Then it
/// calls [`service`](Device::service), offers the frames that wait, and calls
/// [`receive`](Device::receive).
///
/// An error of any call means that the device is broken. The runtime logs the error, closes the
/// device, and takes its interface down ([`LinkState`](portolan::LinkState)): connections through
/// it repeat their data until they time out, or until the interface has another device
/// ([`Handle::replace_device`](crate::Handle::replace_device)). The stack and its other interfaces
/// go on. A program learns of it from
/// [`Handle::wait_network_event`](crate::Handle::wait_network_event) and
/// [`Handle::device_error`](crate::Handle::device_error). An error of one queue of several
/// ([`Builder::interface_with_queues`](crate::Builder::interface_with_queues)) ends the runtime.
///
/// A problem with a single frame (it is too long, or the host's side of the link is down) is not an
/// error: the device drops the frame, logs that, and takes the next one.
///
/// # Example
///
/// IP packets in UDP datagrams of the host:
///
/// ```
/// use std::io;
/// use std::net::UdpSocket;
/// use std::os::fd::AsFd;
/// use std::task::Waker;
///
/// use portolan::{Frame, Medium};
/// use portolan_runtime::device::{Device, Received, Outgoing, Readiness, ReceiveBuffer, Sent};
///
/// /// A non-blocking, connected socket.
/// struct Tunnel {
///     socket: UdpSocket,
///     buffer: ReceiveBuffer,
/// }
///
/// impl Device for Tunnel {
///     fn name(&self) -> &str {
///         "tunnel"
///     }
///     fn medium(&self) -> Medium {
///         Medium::Ip
///     }
///     fn mtu(&self) -> usize {
///         1400
///     }
///     fn readiness(&mut self, _: &Waker) -> Readiness<'_> {
///         Readiness::fd(self.socket.as_fd())
///     }
///     fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
///         outgoing.send_each(|packet| match self.socket.send(&packet.to_vec()) {
///             Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Full),
///             _ => Ok(Sent::Taken), // after an error the packet is lost, as in any network
///         })
///     }
///     fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
///         received.fill_with(|| {
///             let read = self.buffer.read_frame(|room| self.socket.recv(room));
///             Ok(read.unwrap_or_default().map(Frame::new))
///         })
///     }
/// }
/// ```
pub trait Device: Send {
    /// The name of the device, for messages: `tap0`.
    fn name(&self) -> &str;

    /// The kind of link, with the MAC address of the stack on it.
    fn medium(&self) -> Medium;

    /// The size of the largest IP packet in bytes, without the link header.
    fn mtu(&self) -> usize;

    /// What the device does for frames that are sent to it. A wrapper may return the offloads of
    /// the inner device only if it passes frames on unchanged.
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// Says how a runtime learns that there are frames to receive, or room for frames to send.
    ///
    /// A device with a descriptor returns it ([`Readiness::fd`]). A device without one keeps a
    /// clone of `waker`, returns [`Readiness::waker`], and wakes it from any thread. A runtime
    /// calls this once, before any other call that sends or receives. A wrapper passes the call on.
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_>;

    /// Sends frames until there are no more, or until the device has no room. Frames that found no
    /// room stay in `outgoing`, and are offered again when there is room.
    ///
    /// A device that can gather takes the header and the slices of each frame as they are
    /// ([`Outgoing::send_each`] with [`write_vectored`]). A device that has memory of its own has
    /// them written there, behind the head room that it needs ([`Outgoing::write_next`]). A frame
    /// requires no work that [`offloads`](Device::offloads) does not offer.
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()>;

    /// Passes on the frames that came in, until there are no more, or until `received` has no room
    /// ([`Received::has_room`]). What is left is asked for again without a further wake-up.
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()>;

    /// When the device needs a call of [`service`](Device::service) even if nothing comes in,
    /// because it delays frames or has something to write out.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the device itself waits for room, for frames that it has taken.
    fn wants_room(&self) -> bool {
        false
    }

    /// Does what is due, when the deadline has passed or there is room. Early or repeated calls do
    /// nothing.
    fn service(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn medium(&self) -> Medium {
        (**self).medium()
    }
    fn mtu(&self) -> usize {
        (**self).mtu()
    }
    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }
    fn readiness(&mut self, waker: &Waker) -> Readiness<'_> {
        (**self).readiness(waker)
    }
    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        (**self).transmit(outgoing)
    }
    fn receive(&mut self, received: &mut Received<'_>) -> io::Result<()> {
        (**self).receive(received)
    }
    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }
    fn wants_room(&self) -> bool {
        (**self).wants_room()
    }
    fn service(&mut self) -> io::Result<()> {
        (**self).service()
    }
}

#[cfg(unix)]
/// The most slices that one `writev` takes: IOV_MAX of Linux, macOS and the BSDs.
const MAX_SLICES: usize = 1024;

/// Writes a frame, without copying it, to a descriptor that takes one frame with each `writev`,
/// such as that of a TAP device. `prefix` is written before the frame, for a header of the device.
///
/// `WouldBlock` becomes [`Sent::Full`]; the caller judges every other error.
#[cfg(unix)]
pub fn write_vectored(fd: impl AsFd, prefix: &[u8], transmit: &Transmit) -> io::Result<Sent> {
    let contiguous;
    let mut slices: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
    if !prefix.is_empty() {
        slices.push(IoSlice::new(prefix));
    }
    if transmit.payload().len() < MAX_SLICES - 1 {
        slices.push(IoSlice::new(transmit.header()));
        slices.extend(transmit.payload().iter().map(|slice| IoSlice::new(slice)));
    } else {
        contiguous = transmit.to_vec();
        slices.push(IoSlice::new(&contiguous));
    }
    match gather::write(fd, &slices) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Full),
        written => written.map(|()| Sent::Taken),
    }
}

/// Calls of a device with one frame, for tests.
#[cfg(test)]
pub(crate) mod single {
    use std::collections::VecDeque;

    use portolan::{Frame, Transmit};

    use super::{Device, Outgoing, Received, Sent};

    /// Offers one frame.
    pub(crate) fn send(device: &mut (impl Device + ?Sized), transmit: &Transmit) -> Sent {
        let mut queue = VecDeque::from([transmit.clone()]);
        device.transmit(&mut Outgoing::new(&mut queue)).unwrap();
        if queue.is_empty() { Sent::Taken } else { Sent::Full }
    }

    /// Receives one frame.
    pub(crate) fn receive(device: &mut (impl Device + ?Sized)) -> Option<Frame> {
        let mut frames = Vec::new();
        device.receive(&mut Received::new(&mut frames, 1)).unwrap();
        assert!(frames.len() < 2);
        frames.pop()
    }
}
