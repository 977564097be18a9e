//! The queues of a datagram socket, whatever its protocol.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::error_queue::ErrorQueue;
use super::memberships::{Membership, Memberships};
use super::message::DatagramMeta;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};

/// What a queued datagram costs beside its bytes: its entry in the queue, and the rest of the
/// frame, which it keeps alive.
pub(super) const OVERHEAD_BYTES: usize = 256;

/// The received and outgoing datagrams of a socket, its peer and its pending error.
#[derive(Debug, Default)]
pub(crate) struct DatagramQueue {
    /// The addresses of the socket and its peer; set by `connect`.
    pub(super) connected: Option<FourTuple>,
    pub(super) received: VecDeque<ReceivedDatagram>,
    pub(super) received_bytes: usize,
    pub(super) outgoing: VecDeque<OutgoingDatagram>,
    pub(super) outgoing_bytes: usize,
    pub(super) error: Option<Error>,
    /// The error queue, while there are errors in it.
    pub(super) error_queue: Option<Box<ErrorQueue>>,
    /// The beginning of a datagram to which more is to be added (MSG_MORE).
    pub(super) corked: Option<Box<CorkedDatagram>>,
    /// Datagrams that were dropped for want of room; wraps.
    pub(super) drops: u32,
    /// The multicast memberships, if there are any.
    pub(super) groups: Option<Box<Memberships>>,
    pub(super) is_read_shut: bool,
    pub(super) is_write_shut: bool,
}

/// The beginning of a datagram. The first call determines everything but the data.
#[derive(Debug)]
pub(super) struct CorkedDatagram {
    pub(super) flow: FourTuple,
    pub(super) data: Vec<u8>,
    pub(super) segment_len: u16,
    pub(super) hop_limit: Option<u8>,
    pub(super) traffic_class: Option<u8>,
    /// IPV6_DONTFRAG.
    pub(super) dont_fragment: bool,
}

/// A received datagram, or a run of them.
#[derive(Debug)]
pub(super) struct ReceivedDatagram {
    pub(super) meta: DatagramMeta,
    pub(super) data: Bytes,
}

/// An outgoing datagram, or a run of them.
#[derive(Debug)]
pub(super) struct OutgoingDatagram {
    pub(super) flow: FourTuple,
    pub(super) data: Bytes,
    /// The length of each datagram of a run but the last; 0 for a single datagram.
    pub(super) segment_len: u16,
    /// The hop limit, if it differs from the socket's.
    pub(super) hop_limit: Option<u8>,
    pub(super) traffic_class: Option<u8>,
    /// Whether the data is a whole IP packet, whose header the program has made (IP_HDRINCL).
    pub(super) is_packet: bool,
}

impl DatagramQueue {
    /// The multicast memberships, to be changed.
    pub(super) fn groups_mut(&mut self) -> &mut Vec<Membership> {
        &mut self.groups.get_or_insert_with(Box::default).0
    }

    /// Checks whether a datagram of this length may be received: its queue must stay below `limit`,
    /// and the stack's memory must have `room`.
    pub(super) fn check_room(
        &self,
        len: usize,
        limit: usize,
        room: usize,
    ) -> core::result::Result<(), DropReason> {
        let cost = len + OVERHEAD_BYTES;
        if cost > room {
            return Err(DropReason::MemoryLimit);
        }
        // As on Linux, an empty queue takes one datagram of any size.
        if !self.received.is_empty() && self.received_bytes + cost > limit {
            return Err(DropReason::ReceiveBufferFull);
        }
        Ok(())
    }

    /// Whether the next call that sends fails because of the socket's state.
    #[inline]
    pub(super) fn is_barred(&self) -> bool {
        self.error.is_some() || self.is_write_shut
    }

    pub(super) fn push_received(&mut self, received: ReceivedDatagram) {
        self.received_bytes += received.data.len() + OVERHEAD_BYTES;
        self.received.push_back(received);
    }

    pub(super) fn pop_received(&mut self) -> Option<ReceivedDatagram> {
        let received = self.received.pop_front()?;
        self.received_bytes -= received.data.len() + OVERHEAD_BYTES;
        Some(received)
    }

    /// The datagram that `recv` would return, or with SO_PEEK_OFF the one that lies `offset` bytes
    /// behind the front, and how many bytes of it are to be skipped. As on Linux an offset finds an
    /// empty datagram once. EAGAIN, or the pending error, which this takes as `recv` does.
    pub(super) fn peek(&mut self, offset: Option<usize>) -> Result<(&ReceivedDatagram, usize)> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut left = offset.unwrap_or(0);
        let is_here = |received: &ReceivedDatagram| {
            let len = received.data.len();
            let is_here = left < len || (left == 0 && (offset.is_none() || !is_peeked(&received.data)));
            if !is_here {
                left -= len;
            }
            is_here
        };
        let at = self.received.iter().position(is_here).ok_or(Error::WouldBlock)?;
        let found = &mut self.received[at];
        if found.data.is_empty() {
            found.data = Bytes::from_static(&PEEKED[..0]);
        }
        Ok((found, left))
    }

    /// The bytes of the error queue and of a datagram that is not complete.
    #[inline]
    pub(super) fn rare_bytes(&self) -> usize {
        if self.error_queue.is_none() && self.corked.is_none() { 0 } else { self.sum_rare_bytes() }
    }

    #[cold]
    fn sum_rare_bytes(&self) -> usize {
        let corked = self.corked.as_ref().map_or(0, |corked| corked.data.len() + OVERHEAD_BYTES);
        self.error_queue.as_ref().map_or(0, |queue| queue.bytes()) + corked
    }

    pub(super) fn push_outgoing(&mut self, outgoing: OutgoingDatagram) {
        self.outgoing_bytes += outgoing.data.len() + OVERHEAD_BYTES;
        self.outgoing.push_back(outgoing);
    }

    /// The next datagram to send. A run is returned in one piece if `whole` says so.
    pub(super) fn pop_outgoing(
        &mut self,
        whole: impl FnOnce(&OutgoingDatagram) -> bool,
    ) -> Option<OutgoingDatagram> {
        let next = self.outgoing.front_mut()?;
        let segment_len = usize::from(next.segment_len);
        if segment_len > 0 && next.data.len() > segment_len && !whole(next) {
            self.outgoing_bytes -= segment_len;
            let data = next.data.split_to(segment_len);
            return Some(OutgoingDatagram { data, segment_len: 0, ..*next });
        }
        let outgoing = self.outgoing.pop_front()?;
        self.outgoing_bytes -= outgoing.data.len() + OVERHEAD_BYTES;
        Some(outgoing)
    }
}

/// The place of the data of empty datagrams that a call with MSG_PEEK has returned. A field for it
/// would make every datagram larger.
static PEEKED: [u8; 1] = [0];

fn is_peeked(data: &Bytes) -> bool {
    data.as_ptr() == PEEKED.as_ptr()
}

/// Copies as much of `data` as fits into the buffers, and returns how many bytes that was.
pub(super) fn copy_into(data: &[u8], bufs: &mut [&mut [u8]]) -> usize {
    let mut copied = 0;
    for buf in bufs {
        copied += copy_prefix(&data[copied..], buf);
    }
    copied
}

/// Copies as much of `data` as fits, and returns how many bytes that was.
pub(super) fn copy_prefix(data: &[u8], buf: &mut [u8]) -> usize {
    let len = data.len().min(buf.len());
    buf[..len].copy_from_slice(&data[..len]);
    len
}
