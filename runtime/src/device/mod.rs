//! Devices: where frames come from and go to.
//!
//! A [`Device`] is driven by a runtime and never called by two threads at once. Wrappers are devices around a
//! device, so they compose: `PcapWriter<Impair<Tap>>` records what the stack sees, `Impair<PcapWriter<Tap>>`
//! what the wire sees.

mod impair;
mod impairment;
mod memory;
mod pcap;

pub use impair::{Impair, ImpairCounters};
pub use impairment::{ImpairCounts, ImpairQueue, Impairable, Impairment, Outage, ParseImpairmentError};
pub use memory::{MemoryDevice, MemoryPair, memory_pair};
pub use pcap::PcapWriter;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use bytes::{Bytes, BytesMut};
use portolan::{Frame, Instant, Medium, Transmit};
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

    /// Sends one frame: the header and then the slices, without copying them where the device can gather
    /// ([`write_vectored`]).
    fn send(&mut self, transmit: &Transmit) -> io::Result<Sent>;

    /// The next frame that came in, or `None` if there is none now.
    fn recv(&mut self) -> io::Result<Option<Frame>>;

    /// Readable (POLLIN) while [`recv`](Device::recv) may have a frame: level-triggered, as with a socket. It may be
    /// readable in vain, but not for ever: when nothing is there, a `recv` makes it unreadable until there is news.
    fn receive_fd(&self) -> BorrowedFd<'_>;

    /// What to wait for when [`send`](Device::send) said [`Sent::Full`].
    fn room(&self) -> Room<'_> {
        Room { fd: self.receive_fd(), flags: PollFlags::OUT }
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
pub struct Room<'a> {
    /// The descriptor to poll.
    pub fd: BorrowedFd<'a>,
    /// POLLOUT for most devices.
    pub flags: PollFlags,
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

/// Writes a frame to a descriptor that takes one frame per `writev`, such as a TAP device, without copying it.
///
/// `WouldBlock` is [`Sent::Full`]; every other error is the caller's to judge.
pub fn write_vectored(fd: impl AsFd, transmit: &Transmit) -> io::Result<Sent> {
    let contiguous;
    let mut slices: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
    if transmit.payload().len() < MAX_SLICES {
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

/// Frames up to this length are copied out of the receive buffer into an allocation of their own size.
const COPY_BELOW: usize = 2048;
const CHUNK_BYTES: usize = 64 << 10;

/// Turns the bytes that a device reads into refcounted frames, at most one allocation each.
///
/// A short frame is copied into an allocation of just its size, so that a byte that waits in a receive queue does
/// not hold a whole read buffer. A long one is split off the buffer without a copy.
#[derive(Debug)]
pub struct ReceiveBuffer {
    chunk: BytesMut,
    max_frame_len: usize,
}

impl ReceiveBuffer {
    /// For frames of at most this many bytes, link header included.
    pub fn new(max_frame_len: usize) -> Self {
        ReceiveBuffer { chunk: BytesMut::new(), max_frame_len }
    }

    /// Calls `read` with room for the longest frame; it returns the length of what it read. `WouldBlock` means that
    /// nothing is there. EINTR is tried again.
    pub fn read_frame(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Frame>> {
        if self.chunk.len() < self.max_frame_len {
            self.chunk = BytesMut::zeroed(CHUNK_BYTES.max(self.max_frame_len));
        }
        let len = loop {
            match read(&mut self.chunk[..self.max_frame_len]) {
                Ok(len) => break len.min(self.max_frame_len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        if len <= COPY_BELOW {
            return Ok(Some(Frame::new(Bytes::copy_from_slice(&self.chunk[..len]))));
        }
        Ok(Some(Frame::new(self.chunk.split_to(len).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_share_the_buffer_and_long_ones_take_their_part_of_it() {
        let mut buffer = ReceiveBuffer::new(9014);
        for len in [60, 9014, 1514, 3000, 9014, 9014, 9014, 9014, 9014, 9014, 1] {
            let frame = buffer
                .read_frame(|room| {
                    assert_eq!(room.len(), 9014);
                    room[..len].fill(len as u8);
                    Ok(len)
                })
                .unwrap()
                .unwrap();
            assert_eq!(frame.bytes.len(), len);
            assert!(frame.bytes.iter().all(|&byte| byte == len as u8));
        }
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap().is_none());
        assert!(buffer.read_frame(|_| Err(io::ErrorKind::NotFound.into())).is_err());
    }
}
