//! [`FlowQueue`]: the state of the socket at which intercepted flows wait to be accepted.

use alloc::collections::VecDeque;
use core::mem;

use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::id::SocketId;
use crate::socket::info::{SocketInfo, SocketState};
use crate::socket::options::SocketOptions;
use crate::socket::state::ProtocolState;
use crate::time::Instant;
use crate::timers::Armed;

/// The flows that wait to be accepted.
#[derive(Debug, Default)]
pub(crate) struct FlowQueue {
    /// The oldest first, among some that are gone.
    pub(super) waiting: VecDeque<SocketId>,
    /// The number of entries of `waiting` that are not gone.
    pub(super) count: usize,
    /// When the first flow has been idle for too long, or earlier.
    pub(super) expires_at: Option<Instant>,
    pub(super) armed: Armed,
}

impl FlowQueue {
    /// When the first flow has been idle for too long, or earlier.
    pub(in crate::socket) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }
}

impl ProtocolState for FlowQueue {
    fn readiness(&self, _: &SocketOptions) -> Readiness {
        Readiness { readable: self.count > 0, ..Readiness::default() }
    }

    fn flow(&self) -> Option<FourTuple> {
        None
    }

    fn queued(&self) -> (usize, usize) {
        (0, 0)
    }

    fn unread(&self) -> Result<usize> {
        Err(Error::InvalidArgument)
    }

    fn unacknowledged(&self) -> Result<usize> {
        Err(Error::InvalidArgument)
    }

    fn describe(&self, _: bool, info: &mut SocketInfo) {
        info.state = SocketState::Unbound;
        info.receive_queue = self.count;
    }

    fn take_error(&mut self) -> Option<Error> {
        None
    }

    fn held_bytes(&self) -> usize {
        mem::size_of::<FlowQueue>() + self.waiting.capacity() * mem::size_of::<SocketId>()
    }

    fn is_over(&self) -> bool {
        true
    }

    fn has_sent_all(&self) -> bool {
        true
    }
}
