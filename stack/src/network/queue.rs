//! What waits in the network layer: frames for the device, and packets from us to us.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::frame::Transmit;
use crate::interface_id::InterfaceId;

/// Frames that wait for the device to have room.
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

    /// Takes a frame in, or drops and counts it when the queue is full.
    pub(crate) fn push(&mut self, ctx: &mut Ctx<'_>, frame: Transmit) {
        if self.frames.len() >= self.max {
            ctx.count_drop(DropReason::TransmitQueueFull);
            return;
        }
        let cost = size_of::<Transmit>() + frame.len();
        if self.bytes + cost > self.max_bytes {
            ctx.count_drop(DropReason::MemoryLimit);
            return;
        }
        self.bytes += cost;
        self.frames.push_back(frame);
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        let frame = self.frames.pop_front()?;
        self.bytes -= size_of::<Transmit>() + frame.len();
        Some(frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.frames.len())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

/// IP packets that go round the loopback, each with the interface that it seems to come from.
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

    /// Takes a packet in, or drops and counts it when the queue is full.
    pub(crate) fn push(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, packet: Bytes) {
        if self.packets.len() >= self.max {
            ctx.count_drop(DropReason::TransmitQueueFull);
            return;
        }
        if self.bytes + packet.len() > self.max_bytes {
            ctx.count_drop(DropReason::MemoryLimit);
            return;
        }
        ctx.stats.ip.loopback_packets += 1;
        self.bytes += packet.len();
        self.packets.push_back((iface, packet));
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
