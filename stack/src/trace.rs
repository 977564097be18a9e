//! The trace: every frame that enters or leaves a stack, with what became of it.

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
    /// When it was handed in or polled.
    pub at: Instant,
    /// The interface that it came in or leaves through. [`InterfaceId::LOOPBACK`]: an IP packet
    /// without a link header, from the stack to itself; or one that was dropped as there is no
    /// route.
    pub iface: InterfaceId,
    /// The frame, in or out.
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
    /// It came in, or went round the loopback.
    Received {
        /// What the device handed in, with what it knows of checksum and segments.
        frame: Frame,
        /// What became of the frame.
        verdict: Verdict,
    },
    /// It was given to the device, as one frame also where the device cuts it
    /// ([`Transmit::segments`](crate::Transmit::segments)).
    Sent(Transmit),
    /// The stack dropped it on its way out. A packet of which the stack had made no frame yet is
    /// known by its addresses.
    Unsent {
        /// Of which packet; `None` for what the link layer says itself (ARP).
        packet: Option<PacketAddresses>,
        /// Why.
        reason: DropReason,
    },
}

/// The addresses of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketAddresses {
    /// Who sends it.
    pub src: IpAddr,
    /// Who is to get it.
    pub dst: IpAddr,
    /// The IP protocol that it carries: 6 is TCP, 17 is UDP.
    pub protocol: u8,
}

/// What became of a received frame. Frames that were [handed in
/// together](crate::Stack::handle_frames) and joined to one segment share its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The frame was used: delivered, answered, or kept until the other fragments of its packet
    /// arrive.
    Taken,
    /// The frame was dropped, whole or in part, or its answer was. The reason is the first that was
    /// counted meanwhile.
    Dropped(DropReason),
}

/// Frames that a trace keeps until they are polled.
const MAX_FRAMES: usize = 4096;
/// The bytes of these frames, which are shared with devices and sockets.
const MAX_BYTES: usize = 16 << 20;

/// The queue of traced frames.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    frames: VecDeque<Traced>,
    bytes: usize,
    /// The place of the frame that is being handled.
    current: Option<usize>,
    /// The places of the frames whose segments wait to be joined with the next.
    joining: Vec<usize>,
}

impl Trace {
    /// Records a received frame, which is handled until [`end`](Trace::end).
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

    /// A packet is dropped on its way out.
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

    /// Keeps a frame and returns its place, or counts the frame when there is no room.
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
