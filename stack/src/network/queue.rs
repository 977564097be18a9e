//! The queues of the network layer: frames for the device, and packets from this host to itself.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::drop_reason::DropReason;
use crate::frame::Transmit;
use crate::interface_id::InterfaceId;

/// Frames that wait until the device has room.
#[derive(Debug)]
pub(crate) struct TransmitQueue {
    frames: VecDeque<Transmit>,
    max: usize,
    max_bytes: usize,
    bytes: usize,
}

impl TransmitQueue {
    pub(crate) fn new(max: usize, max_bytes: usize) -> Self {
        TransmitQueue { frames: VecDeque::new(), max, max_bytes, bytes: 0 }
    }

    /// Appends a frame. Without room it returns the frame and the reason.
    #[expect(clippy::result_large_err, reason = "the frame itself, as it was passed")]
    pub(crate) fn push(&mut self, frame: Transmit) -> Result<(), (Transmit, DropReason)> {
        if self.frames.len() >= self.max {
            return Err((frame, DropReason::TransmitQueueFull));
        }
        let cost = size_of::<Transmit>() + frame.len();
        if self.bytes + cost > self.max_bytes {
            return Err((frame, DropReason::MemoryLimit));
        }
        self.bytes += cost;
        self.frames.push_back(frame);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        let frame = self.frames.pop_front()?;
        self.bytes -= size_of::<Transmit>() + frame.len();
        Some(frame)
    }

    /// Takes out the frames of this interface.
    pub(crate) fn take_of(&mut self, iface: InterfaceId) -> Vec<Transmit> {
        let (taken, kept) = self.frames.drain(..).partition::<Vec<_>, _>(|frame| frame.iface() == iface);
        self.frames = kept.into();
        self.bytes -= taken.iter().map(|frame| size_of::<Transmit>() + frame.len()).sum::<usize>();
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many more frames fit.
    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.frames.len())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

/// Forwarded frames that wait until the device has room. They take turns with the frames of
/// sockets, so that neither starve.
#[derive(Debug)]
pub(crate) struct ForwardQueue {
    frames: TransmitQueue,
    /// Whether a forwarded frame is next. If so, there is one.
    has_turn: bool,
}

impl ForwardQueue {
    pub(crate) fn new(max: usize, max_bytes: usize) -> Self {
        ForwardQueue { frames: TransmitQueue::new(max, max_bytes), has_turn: false }
    }

    /// Appends a frame. Without room it returns the frame and the reason.
    #[expect(clippy::result_large_err, reason = "the frame itself, as it was passed")]
    pub(crate) fn push(&mut self, frame: Transmit) -> Result<(), (Transmit, DropReason)> {
        self.frames.push(frame)
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        self.has_turn = false;
        self.frames.pop()
    }

    /// Takes out the frames of this interface.
    pub(crate) fn take_of(&mut self, iface: InterfaceId) -> Vec<Transmit> {
        let taken = self.frames.take_of(iface);
        self.has_turn &= !self.frames.is_empty();
        taken
    }

    pub(crate) fn has_turn(&self) -> bool {
        self.has_turn
    }

    /// Makes a forwarded frame the next one, if there is one.
    pub(crate) fn take_turn(&mut self) {
        self.has_turn = !self.frames.is_empty();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn room(&self) -> usize {
        self.frames.room()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.frames.memory_bytes()
    }
}

/// IP packets on the loopback, each with the interface that it appears to come in through.
#[derive(Debug)]
pub(crate) struct LoopbackQueue {
    packets: VecDeque<(InterfaceId, Bytes)>,
    max: usize,
    max_bytes: usize,
    bytes: usize,
}

impl LoopbackQueue {
    pub(crate) fn new(max: usize, max_bytes: usize) -> Self {
        LoopbackQueue { packets: VecDeque::new(), max, max_bytes, bytes: 0 }
    }

    /// Appends a packet. Without room it returns the packet and the reason.
    pub(crate) fn push(&mut self, iface: InterfaceId, packet: Bytes) -> Result<(), (Bytes, DropReason)> {
        if self.packets.len() >= self.max {
            return Err((packet, DropReason::TransmitQueueFull));
        }
        if self.bytes + packet.len() > self.max_bytes {
            return Err((packet, DropReason::MemoryLimit));
        }
        self.bytes += packet.len();
        self.packets.push_back((iface, packet));
        Ok(())
    }

    /// The packet that [`LoopbackQueue::pop`] returns next.
    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.packets.front().map(|(_, packet)| packet)
    }

    pub(crate) fn pop(&mut self) -> Option<(InterfaceId, Bytes)> {
        let (iface, packet) = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some((iface, packet))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }
}
