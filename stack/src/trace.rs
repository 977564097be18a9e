//! The trace: every frame that enters or leaves a stack, and what the stack did with it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::net::IpAddr;

use crate::drop_reason::DropReason;
use crate::frame::{Frame, Transmit};
use crate::interface_id::InterfaceId;
use crate::stats::Stats;
use crate::time::Instant;

/// A frame that entered or left a stack; see [`Stack::set_trace`](crate::Stack::set_trace).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Traced {
    /// When the frame was handed in or polled.
    pub at: Instant,
    /// The interface that the frame came in or leaves through. [`InterfaceId::LOOPBACK`] stands for
    /// a packet from the stack to itself, without a link header, and for a packet that was dropped
    /// because it has no route.
    pub iface: InterfaceId,
    /// The frame and its direction.
    pub passage: Passage,
}

impl Traced {
    /// The length of the frame in bytes, headers included; 0 if it was dropped on its way out.
    pub fn len(&self) -> usize {
        match &self.passage {
            Passage::Received { frame, .. } => frame.bytes.len(),
            Passage::Sent(transmit) => transmit.len(),
            Passage::Unsent { .. } => 0,
        }
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A traced frame with its direction. Its bytes are shared with the stack, not copied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Passage {
    /// The frame came in, or went round the loopback.
    Received {
        /// The frame as the device handed it in, with what the device knows about checksum and
        /// segments.
        frame: Frame,
        /// What the stack did with it.
        verdict: Verdict,
    },
    /// The frame was given to the device. A frame that the device cuts
    /// ([`Transmit::segments`](crate::Transmit::segments)) is recorded as one.
    Sent(Transmit),
    /// The stack dropped a packet on its way out. Perhaps it had not made a frame yet, so the
    /// packet is identified by its addresses.
    Unsent {
        /// The addresses of the packet; `None` for ARP.
        packet: Option<PacketAddresses>,
        /// Why the stack dropped it.
        reason: DropReason,
    },
}

/// The addresses of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketAddresses {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// The IP protocol that it carries: 6 is TCP, 17 is UDP.
    pub protocol: u8,
}

/// What the stack did with a received frame. Frames that were [handed in
/// together](crate::Stack::handle_frames) and joined into one segment share its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The frame was used: delivered, answered, or kept until the other fragments of its packet
    /// arrive.
    Taken,
    /// The frame or a part of it was dropped, or the answer to it was. The reason is the first one
    /// that was counted.
    Dropped(DropReason),
}

/// The most frames that a trace keeps until they are polled.
const MAX_FRAMES: usize = 4096;
/// The most bytes that these frames may keep; devices and sockets share them.
const MAX_BYTES: usize = 16 << 20;

/// The queue of traced frames.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    frames: VecDeque<Traced>,
    bytes: usize,
    /// The position of the frame that is being handled.
    current: Option<usize>,
    /// The positions of the frames whose segments wait to be joined with the next.
    joining: Vec<usize>,
}

impl Trace {
    /// Records a received frame, and takes it as the current one until [`end`](Trace::end).
    pub(crate) fn begin(&mut self, now: Instant, iface: InterfaceId, frame: &Frame, stats: &mut Stats) {
        stats.take_first_drop();
        let passage = Passage::Received { frame: frame.clone(), verdict: Verdict::Taken };
        self.current = self.push(Traced { at: now, iface, passage }, stats);
    }

    /// Ends the handling of the received frame. `is_joining`: its segment still waits to be joined
    /// with the next.
    pub(crate) fn end(&mut self, stats: &mut Stats, is_joining: bool) {
        let dropped = stats.take_first_drop();
        let Some(at) = self.current.take() else { return };
        if dropped.is_none() && is_joining {
            self.joining.push(at);
        }
        self.settle(at, dropped);
    }

    /// Ends the handling of the segments that waited to be joined.
    pub(crate) fn end_joining(&mut self, stats: &mut Stats) {
        let dropped = stats.take_first_drop();
        let mut joining = mem::take(&mut self.joining);
        joining.drain(..).for_each(|at| self.settle(at, dropped));
        self.joining = joining;
    }

    /// Records a sent frame.
    pub(crate) fn on_sent(&mut self, now: Instant, transmit: &Transmit, stats: &mut Stats) {
        let iface = transmit.iface();
        self.push(Traced { at: now, iface, passage: Passage::Sent(transmit.clone()) }, stats);
    }

    /// Records a packet that was dropped on its way out.
    pub(crate) fn on_unsent(
        &mut self,
        now: Instant,
        iface: InterfaceId,
        packet: Option<PacketAddresses>,
        reason: DropReason,
        stats: &mut Stats,
    ) {
        self.push(Traced { at: now, iface, passage: Passage::Unsent { packet, reason } }, stats);
    }

    pub(crate) fn pop(&mut self) -> Option<Traced> {
        let traced = self.frames.pop_front()?;
        self.bytes -= traced.len();
        Some(traced)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.frames.len() * size_of::<Traced>() + self.bytes
    }

    /// Stores a frame and returns its position, or counts the frame when there is no room.
    fn push(&mut self, traced: Traced, stats: &mut Stats) -> Option<usize> {
        let len = traced.len();
        if self.frames.len() >= MAX_FRAMES || self.bytes + len > MAX_BYTES {
            stats.link.untraced_frames += 1;
            return None;
        }
        self.bytes += len;
        self.frames.push_back(traced);
        Some(self.frames.len() - 1)
    }

    fn settle(&mut self, at: usize, dropped: Option<DropReason>) {
        if let Some(reason) = dropped
            && let Some(Traced { passage: Passage::Received { verdict, .. }, .. }) = self.frames.get_mut(at)
        {
            *verdict = Verdict::Dropped(reason);
        }
    }
}

#[cfg(test)]
mod tests;
