//! What waits in the network layer: frames for the device, and packets from us to us.

use alloc::collections::VecDeque;

use bytes::Bytes;

use super::types::InterfaceId;
use crate::frame::Transmit;
use crate::stats::{DropReason, Stats};

/// Frames that wait for the device to have room.
#[derive(Debug)]
pub(crate) struct TransmitQueue {
    frames: VecDeque<Transmit>,
    max: usize,
    bytes: usize,
}

impl TransmitQueue {
    pub(crate) fn new(max: usize) -> Self {
        TransmitQueue { frames: VecDeque::new(), max, bytes: 0 }
    }

    /// Takes a frame in, or drops and counts it when the queue is full.
    pub(crate) fn push(&mut self, stats: &mut Stats, frame: Transmit) {
        if self.frames.len() >= self.max {
            stats.count_drop(DropReason::TransmitQueueFull);
            return;
        }
        self.bytes += size_of::<Transmit>() + frame.len();
        self.frames.push_back(frame);
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        let frame = self.frames.pop_front()?;
        self.bytes -= size_of::<Transmit>() + frame.len();
        Some(frame)
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
    bytes: usize,
}

impl LoopbackQueue {
    pub(crate) fn new(max: usize) -> Self {
        LoopbackQueue { packets: VecDeque::new(), max, bytes: 0 }
    }

    /// Takes a packet in, or drops and counts it when the queue is full.
    pub(crate) fn push(&mut self, stats: &mut Stats, iface: InterfaceId, packet: Bytes) {
        if self.packets.len() >= self.max {
            stats.count_drop(DropReason::TransmitQueueFull);
            return;
        }
        stats.loopback_packets += 1;
        self.bytes += packet.len();
        self.packets.push_back((iface, packet));
    }

    pub(crate) fn pop(&mut self) -> Option<(InterfaceId, Bytes)> {
        let (iface, packet) = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some((iface, packet))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }
}
