//! Devices, which send and receive frames.
//!
//! A [`Device`] is driven by a runtime and never called by two threads at once. Wrappers are
//! devices around another device, so they compose: `PcapWriter<Impair<Tap>>` records what the stack
//! sees, `Impair<PcapWriter<Tap>>` what the wire sees.

mod impair;
mod impairment;
mod memory;
mod pcap;
mod receive_buffer;

pub use impair::{Impair, ImpairCounters};
pub use impairment::{ImpairCounts, ImpairQueue, Impairable, Impairment, Outage, ParseImpairmentError};
pub use memory::{MemoryDevice, MemoryPair, memory_pair};
pub use pcap::PcapWriter;
pub use receive_buffer::ReceiveBuffer;

use std::io;
#[cfg(unix)]
use std::io::IoSlice;

use portolan::{Frame, Instant, Medium, Offloads, Transmit};
#[cfg(unix)]
use smallvec::SmallVec;

#[cfg(unix)]
use crate::platform::gather;
#[cfg(unix)]
use crate::platform::poll::AsFd;
use crate::platform::poll::{BorrowedFd, PollFlags};

/// What [`Device::send`] did with a frame.
// Exhaustive: a device has taken a frame or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that the device had no room for must be offered again"]
pub enum Sent {
    /// The device took the frame. That says nothing about whether the frame arrives.
    Taken,
    /// The device has no room now. The caller keeps the frame and offers it again, before any later
    /// one, when the device has room ([`Device::room`]).
    Full,
}

/// An object that sends and receives frames: a TAP device, one end of a pair in memory, or a
/// wrapper around another device.
///
/// # How a runtime drives it
///
/// No call blocks. The runtime sleeps until [`receive_fd`](Device::receive_fd) is readable, until
/// [`room`](Device::room) is ready (only while a frame waits for room, or
/// [`wants_room`](Device::wants_room) is true), or until [`deadline`](Device::deadline). Then it
/// calls [`service`](Device::service), calls [`recv`](Device::recv) until there are no more frames,
/// and offers refused frames again.
///
/// The runtime duplicates both descriptors once, when it starts, so a device must keep the same
/// descriptors all its life.
///
/// An error of any call ends the runtime, and all calls of its sockets then return that error. A
/// problem with a single frame (it is too long, or the host's side of the link is down) is not an
/// error: the device drops the frame, logs that, and returns [`Sent::Taken`].
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

    /// Sends one frame: the header and then the slices, without a copy where the device can gather
    /// ([`write_vectored`]). A frame requires no work that [`offloads`](Device::offloads) does not
    /// offer.
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent>;

    /// Returns the next frame that came in, or `None` if there is none now.
    fn recv(&mut self) -> io::Result<Option<Frame>>;

    /// A descriptor that is readable (POLLIN) while [`recv`](Device::recv) may have a frame. It is
    /// level-triggered, as with a socket. It may be readable without a frame, but not for long: a
    /// `recv` that finds no frame makes it unreadable until one comes.
    fn receive_fd(&self) -> BorrowedFd<'_>;

    /// What to poll when [`send`](Device::send) returned [`Sent::Full`].
    fn room(&self) -> Room<'_> {
        Room::new(self.receive_fd(), Interest::Writable)
    }

    /// When the device needs a call of [`service`](Device::service) even if nothing comes in,
    /// because it delays frames or has something to write out.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the device itself waits for [`room`](Device::room), for frames that it has taken.
    fn wants_room(&self) -> bool {
        false
    }

    /// Does what is due, when the deadline has passed or there is room. Early or repeated calls do
    /// nothing.
    fn service(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What to poll to learn that a full device has room again.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Room<'a> {
    /// The descriptor to poll.
    pub fd: BorrowedFd<'a>,
    /// What to wait for: [`Interest::Writable`] for most devices.
    pub interest: Interest,
}

impl<'a> Room<'a> {
    /// There is room when this descriptor is readable, or writable.
    pub fn new(fd: BorrowedFd<'a>, interest: Interest) -> Self {
        Room { fd, interest }
    }
}

/// What to wait for on a descriptor.
// Exhaustive: frames are read and written, and nothing else is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// POLLIN.
    Readable,
    /// POLLOUT.
    Writable,
}

impl Interest {
    pub(crate) fn poll_flags(self) -> PollFlags {
        match self {
            Interest::Readable => PollFlags::IN,
            Interest::Writable => PollFlags::OUT,
        }
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
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent> {
        (**self).send(transmit)
    }
    fn recv(&mut self) -> io::Result<Option<Frame>> {
        (**self).recv()
    }
    fn receive_fd(&self) -> BorrowedFd<'_> {
        (**self).receive_fd()
    }
    fn room(&self) -> Room<'_> {
        (**self).room()
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
