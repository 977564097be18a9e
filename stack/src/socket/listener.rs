//! A listener: its SYN queue is a count of the handshakes that lead to it, its accept queue holds sockets.

use alloc::collections::VecDeque;

use super::SocketId;
use super::slab::Key;
use crate::demux::FourTuple;
use crate::tcp::SynReceived;
use crate::timers::Armed;

#[derive(Debug)]
pub(crate) struct Listener {
    /// Established connections that nobody has accepted yet.
    pub(super) queue: VecDeque<SocketId>,
    /// Handshakes under way.
    pub(super) handshakes: usize,
    pub(super) backlog: usize,
}

/// A backlog of less would refuse connections that merely come at once.
const MIN_SYN_QUEUE: usize = 8;

impl Listener {
    pub(super) fn new(backlog: usize) -> Self {
        Listener { queue: VecDeque::new(), handshakes: 0, backlog }
    }

    /// As on Linux a backlog of n lets n + 1 wait.
    pub(super) fn is_accept_queue_full(&self) -> bool {
        self.queue.len() > self.backlog
    }

    pub(super) fn is_syn_queue_full(&self, max_syn_backlog: usize) -> bool {
        self.handshakes >= self.backlog.clamp(MIN_SYN_QUEUE, max_syn_backlog.max(MIN_SYN_QUEUE))
    }
}

/// An entry of a SYN queue: the record, and where it belongs.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(super) record: SynReceived,
    pub(super) listener: SocketId,
    pub(super) tuple: FourTuple,
    pub(super) armed: Armed,
}

pub(crate) type HandshakeId = Key<Handshake>;
