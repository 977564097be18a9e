//! The questions that the record of every kind of socket answers.

use core::fmt;
use core::mem;
use core::net::IpAddr;

use super::datagram_queue::{DatagramQueue, OVERHEAD_BYTES};
use super::info::{SocketInfo, SocketState};
use super::options::SocketOptions;
use crate::Ctx;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::memory::Shortage;
use crate::time::Instant;

/// The part of a record that depends on the socket's kind.
pub(super) trait ProtocolState: fmt::Debug {
    /// What can be done without `WouldBlock`.
    fn readiness(&self, options: &SocketOptions) -> Readiness;

    /// The addresses and ports of both ends, once they are fixed.
    fn flow(&self) -> Option<FourTuple>;

    /// Whether the description shows the peer of [`flow`](ProtocolState::flow).
    fn is_connected(&self) -> bool {
        true
    }

    /// Whether `peer_addr` returns the peer of [`flow`](ProtocolState::flow).
    fn has_peer(&self) -> bool {
        true
    }

    /// The bytes that wait to be read, and the bytes that wait to be sent or acknowledged.
    fn queued(&self) -> (usize, usize);

    /// The bytes that the next receive could return (FIONREAD). EINVAL for a listener.
    fn unread(&self) -> Result<usize>;

    /// The bytes that wait to be sent or acknowledged (SIOCOUTQ). EINVAL for a listener.
    fn unacknowledged(&self) -> Result<usize> {
        Ok(self.queued().1)
    }

    /// Adds the kind's part to the description of a socket.
    fn describe(&self, is_bound: bool, info: &mut SocketInfo);

    /// SO_ERROR: takes the pending error.
    fn take_error(&mut self) -> Option<Error>;

    /// The bytes that it holds outside the record, for the account.
    fn held_bytes(&self) -> usize;

    /// Whether the record can go once nobody holds the socket and it has nothing to send.
    fn is_over(&self) -> bool;

    /// Whether nothing waits to be sent, so that the record goes with the last descriptor.
    fn has_sent_all(&self) -> bool {
        false
    }

    /// What it holds for a peer; `None` if it does not count while memory is short.
    fn holding(&self) -> Option<Holding> {
        None
    }

    /// Gives back what is due at this shortage. `_is_over_share`: it holds more than an equal
    /// share.
    fn give_back(&mut self, _: &mut Ctx<'_>, _: Shortage, _is_over_share: bool) {}
}

/// What a connection holds for its peer, as [`Holdings`](super::holdings::Holdings) counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    pub(super) peer: IpAddr,
    /// The scope of the connection.
    pub(super) scope: u16,
    /// Whether data waits in its queues.
    pub(super) holds_data: bool,
    /// Bytes that have ever left its queues; wraps.
    pub(super) drained: u32,
    /// When data last moved.
    pub(super) moved_at: Instant,
}

impl ProtocolState for DatagramQueue {
    fn readiness(&self, options: &SocketOptions) -> Readiness {
        Readiness {
            // Linux's datagram_poll: an error makes a socket neither readable nor writable.
            readable: !self.received.is_empty() || self.is_read_shut,
            writable: self.outgoing_bytes < options.send_buffer,
            peer_closed: self.is_read_shut,
            hung_up: self.is_read_shut && self.is_write_shut,
            error: self.error.is_some() || self.error_queue.is_some(),
            urgent: false,
        }
    }

    fn flow(&self) -> Option<FourTuple> {
        self.connected
    }

    fn queued(&self) -> (usize, usize) {
        let payload = |bytes: usize, count: usize| bytes - count * OVERHEAD_BYTES;
        (payload(self.received_bytes, self.received.len()), payload(self.outgoing_bytes, self.outgoing.len()))
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.received.front().map_or(0, |received| received.data.len()))
    }

    fn describe(&self, is_bound: bool, info: &mut SocketInfo) {
        info.state = match (self.connected, is_bound) {
            (Some(_), _) => SocketState::Connected,
            (None, true) => SocketState::Bound,
            (None, false) => SocketState::Unbound,
        };
        (info.receive_queue, info.send_queue) = self.queued();
        info.drops = self.drops;
    }

    fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    fn held_bytes(&self) -> usize {
        let groups = self.groups.as_ref().map_or(0, |groups| groups.bytes());
        let queued = self.received_bytes + self.outgoing_bytes + self.rare_bytes();
        mem::size_of::<DatagramQueue>() + queued + groups
    }

    fn is_over(&self) -> bool {
        true
    }

    fn has_sent_all(&self) -> bool {
        self.outgoing.is_empty()
    }
}
