//! Devices: where frames come from and go to.
//!
//! A [`Device`] is driven by a runtime and never called by two threads at once. Wrappers are devices around a
//! device, so they compose: `PcapWriter<Impair<Tap>>` records what the stack sees, `Impair<PcapWriter<Tap>>`
//! what the wire sees.

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

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use portolan::{Frame, Instant, Medium, Offloads, Transmit};
use rustix::event::PollFlags;
use smallvec::SmallVec;

/// What became of a frame that was given to [`Device::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that the device had no room for must be offered again"]
pub enum Sent {
    /// The device took it. Whether it arrives is the network's business.
    Taken,
    /// The device has no room now. The caller keeps the frame and offers it again, before any later one, when
    /// the device has room ([`Device::room`]).
    Full,
}

/// Something that sends and receives frames: a TAP device, one end of an in-memory pair, a wrapper around either.
///
/// # How a runtime drives it
///
/// No call blocks. The runtime sleeps until [`receive_fd`](Device::receive_fd) is readable, until
/// [`room`](Device::room) is ready (only while a frame waits for room, or [`wants_room`](Device::wants_room)), or
/// until [`deadline`](Device::deadline). Then it calls [`service`](Device::service), [`recv`](Device::recv) until
/// that has nothing more, and offers again what was kept.
///
/// The runtime duplicates both descriptors once, when it starts: a device keeps the same ones all its life.
///
/// An error of any call ends the runtime, and everybody who waits on one of its sockets sees it. What concerns a
/// single frame only (it is too long, the host's side of a link is down for now) is therefore no error: the device
/// drops that frame, logs it and returns [`Sent::Taken`].
pub trait Device: Send {
    /// Its name, for people: `tap0`.
    fn name(&self) -> &str;

    /// The kind of link, with the MAC address that the stack shall use on it.
    fn medium(&self) -> Medium;

    /// The largest IP packet in bytes, link header not counted.
    fn mtu(&self) -> usize;

    /// What it does for the frames that are sent to it. A wrapper says what the device in it does only if it hands frames
    /// on as they are.
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// Sends one frame: the header and then the slices, without copying them where the device can gather
    /// ([`write_vectored`]). Only with [`offloads`](Device::offloads) has it work for the device.
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent>;

    /// The next frame that came in, or `None` if there is none now.
    fn recv(&mut self) -> io::Result<Option<Frame>>;

    /// Readable (POLLIN) while [`recv`](Device::recv) may have a frame: level-triggered, as with a socket. It may be
    /// readable in vain, but not for ever: when nothing is there, a `recv` makes it unreadable until there is news.
    fn receive_fd(&self) -> BorrowedFd<'_>;

    /// What to wait for when [`send`](Device::send) said [`Sent::Full`].
    fn room(&self) -> Room<'_> {
        Room::new(self.receive_fd(), Interest::Writable)
    }

    /// When the device wants [`service`](Device::service) called although nothing came in: it holds back frames
    /// until then, or has something to write out.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the device itself waits for [`room`](Device::room), with frames that it took earlier.
    fn wants_room(&self) -> bool {
        false
    }

    /// Does what is due: the deadline has passed, or there is room. Early or repeated calls are no-ops.
    fn service(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is ready when a full device has room again.
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
// Exhaustive: frames are read and written, and nothing else happens to them.
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

/// The most slices that Linux gathers in one call (UIO_MAXIOV).
const MAX_SLICES: usize = 1024;

/// Writes a frame to a descriptor that takes one frame per `writev`, such as a TAP device, without copying it; `prefix` in
/// front of it is the device's own.
///
/// `WouldBlock` is [`Sent::Full`]; every other error is the caller's to judge.
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
    loop {
        return match rustix::io::writev(&fd, &slices) {
            Ok(_) => Ok(Sent::Taken),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Ok(Sent::Full),
            Err(errno) => Err(errno.into()),
        };
    }
}
