//! The record of a packet socket: its binding, its queues, its counts.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::address::LinkAddr;
use super::header::LinkHeader;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::interface_id::InterfaceId;
use crate::offload::{ChecksumState, Segments};
use crate::socket::datagram_queue::OVERHEAD_BYTES;
use crate::socket::info::{SocketInfo, SocketState};
use crate::socket::options::{PacketFanout, PacketMembership, SocketOptions};
use crate::socket::state::ProtocolState;
use crate::time::Instant;

/// What is known of a received frame ([`Stack::recv_packet`](crate::Stack::recv_packet)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketMeta {
    /// Its sender, EtherType and interface, and how it was addressed.
    pub from: LinkAddr,
    /// The length of the frame before a filter cut it, as the socket sees it (`tp_len` of
    /// PACKET_AUXDATA).
    pub len: usize,
    /// Where the network header begins in what was received (`tp_net`).
    pub network_at: usize,
    /// The state of the transport checksum: of a frame that this host sends, it may be left to the
    /// device (TP_STATUS_CSUMNOTREADY).
    pub checksum: ChecksumState,
    /// How the frame was joined from several, or will be cut (TP_STATUS_GSO_TCP).
    pub segments: Option<Segments>,
    /// When the device received it, if the device knows that; otherwise when the stack had it.
    pub at: Instant,
}

/// PACKET_STATISTICS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketStatistics {
    /// The frames that passed the filter, those dropped included (`tp_packets`).
    pub packets: u32,
    /// The frames dropped because the receive buffer was full (`tp_drops`).
    pub drops: u32,
}

/// The state of a packet socket.
#[derive(Debug)]
pub(crate) struct PacketQueue {
    pub(super) header: LinkHeader,
    /// The interface and the EtherType that it is bound to.
    pub(in crate::socket) bound: LinkAddr,
    pub(super) ignores_outgoing: bool,
    /// The group that it is a member of (PACKET_FANOUT).
    pub(crate) fanout: Option<PacketFanout>,
    pub(super) statistics: PacketStatistics,
    pub(super) memberships: Vec<HeldMembership>,
    /// The error that the next call gets: the interface that it was bound to was removed.
    pub(super) error: Option<Error>,
    received: VecDeque<(Bytes, PacketMeta)>,
    received_bytes: usize,
    outgoing: VecDeque<OutgoingFrame>,
    outgoing_bytes: usize,
}

/// A membership that a socket has, and how often it was added.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldMembership {
    pub(super) membership: PacketMembership,
    pub(super) count: u32,
}

/// A frame to send, complete with its link header.
#[derive(Debug)]
pub(super) struct OutgoingFrame {
    pub(super) iface: InterfaceId,
    /// The EtherType under which others see it.
    pub(super) protocol: Option<u16>,
    pub(super) bytes: Bytes,
}

impl PacketQueue {
    /// PACKET_STATISTICS: returns the counts and resets them.
    pub(in crate::socket) fn take_statistics(&mut self) -> PacketStatistics {
        mem::take(&mut self.statistics)
    }

    /// PACKET_IGNORE_OUTGOING.
    pub(in crate::socket) fn ignores_outgoing(&self) -> bool {
        self.ignores_outgoing
    }

    pub(super) fn new(header: LinkHeader) -> Self {
        PacketQueue {
            header,
            bound: LinkAddr::new(None, 0),
            ignores_outgoing: false,
            fanout: None,
            statistics: PacketStatistics::default(),
            memberships: Vec::new(),
            error: None,
            received: VecDeque::new(),
            received_bytes: 0,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
        }
    }

    pub(super) fn received_bytes(&self) -> usize {
        self.received_bytes
    }

    pub(super) fn push_received(&mut self, data: Bytes, meta: PacketMeta) {
        self.received_bytes += data.len() + OVERHEAD_BYTES;
        self.received.push_back((data, meta));
    }

    pub(super) fn pop_received(&mut self) -> Result<(Bytes, PacketMeta)> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let (data, meta) = self.received.pop_front().ok_or(Error::WouldBlock)?;
        self.received_bytes -= data.len() + OVERHEAD_BYTES;
        Ok((data, meta))
    }

    /// The frame that [`PacketQueue::pop_received`] returns next.
    pub(super) fn front(&mut self) -> Result<Bytes> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.received.front().map(|(data, _)| data.clone()).ok_or(Error::WouldBlock)
    }

    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing_bytes
    }

    pub(super) fn push_outgoing(&mut self, frame: OutgoingFrame) {
        self.outgoing_bytes += frame.bytes.len() + OVERHEAD_BYTES;
        self.outgoing.push_back(frame);
    }

    pub(super) fn pop_outgoing(&mut self) -> Option<OutgoingFrame> {
        let frame = self.outgoing.pop_front()?;
        self.outgoing_bytes -= frame.bytes.len() + OVERHEAD_BYTES;
        Some(frame)
    }
}

impl ProtocolState for PacketQueue {
    // Not where the frequent kinds ask for theirs.
    #[inline(never)]
    fn readiness(&self, options: &SocketOptions) -> Readiness {
        Readiness {
            readable: !self.received.is_empty() || self.error.is_some(),
            error: self.error.is_some(),
            writable: self.outgoing_bytes < options.send_buffer,
            ..Readiness::default()
        }
    }

    fn flow(&self) -> Option<FourTuple> {
        None
    }

    fn queued(&self) -> (usize, usize) {
        let payload = |bytes: usize, count: usize| bytes - count * OVERHEAD_BYTES;
        (payload(self.received_bytes, self.received.len()), payload(self.outgoing_bytes, self.outgoing.len()))
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.received.front().map_or(0, |(data, _)| data.len()))
    }

    fn describe(&self, _: bool, info: &mut SocketInfo) {
        info.state = if self.bound.protocol == 0 { SocketState::Unbound } else { SocketState::Bound };
        info.iface = self.bound.iface;
        info.drops = self.statistics.drops;
        (info.receive_queue, info.send_queue) = self.queued();
    }

    fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    #[inline(never)]
    fn held_bytes(&self) -> usize {
        let memberships = self.memberships.capacity() * mem::size_of::<HeldMembership>();
        mem::size_of::<PacketQueue>() + memberships + self.received_bytes + self.outgoing_bytes
    }

    fn is_over(&self) -> bool {
        true
    }

    fn has_sent_all(&self) -> bool {
        self.outgoing.is_empty()
    }
}
