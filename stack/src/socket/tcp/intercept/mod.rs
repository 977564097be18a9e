//! TCP connections to other hosts that interfaces intercept (decision 0012).
//!
//! A SYN that no connection, TIME-WAIT record or listener takes becomes a [`PendingSyn`], and
//! nothing is sent until a program decides. Read `pending` (the record), `table` (the records, with
//! their limits), then `segments` (what comes in), `calls` (what the program decides) and `answers`
//! (resets and ICMP errors).

mod answers;
mod calls;
mod pending;
mod segments;
mod table;

use alloc::collections::VecDeque;

use self::pending::SynHeaders;
pub(super) use self::table::PendingTable;
use crate::demux::FourTuple;
use crate::id::{PendingId, SocketId};
use crate::interface_id::InterfaceId;
use crate::rate_limit::PeerLimit;
use crate::socket::interception::Cancellation;
use crate::tcp::Header;
use crate::time::Instant;
use crate::timers::Armed;

/// The state of interception.
#[derive(Debug)]
pub(super) struct Intercepts {
    /// The socket whose program decides; while there is none, SYNs are refused.
    interceptor: Option<SocketId>,
    pub(super) table: PendingTable,
    /// The intercepted SYN that is being handled.
    present_syn: Option<PresentSyn>,
    /// The rate limits of the resets that programs choose, for each source.
    reset_shares: PeerLimit,
}

/// The state of the socket whose program decides about intercepted connections.
#[derive(Debug)]
pub(crate) struct Interceptor {
    /// Connections that were not announced, oldest first, among some that are gone.
    unseen: VecDeque<PendingId>,
    /// The number of entries of `unseen` that are not gone.
    unseen_count: usize,
    /// Connections that were announced, and were then cancelled.
    cancelled: VecDeque<(PendingId, Cancellation)>,
    /// When the first pending connection times out, or earlier.
    expires_at: Option<Instant>,
    armed: Armed,
}

/// An intercepted SYN, and the interface that it came in through.
#[derive(Debug)]
struct PresentSyn {
    tuple: FourTuple,
    syn: SynHeaders,
    iface: InterfaceId,
}

impl PresentSyn {
    /// Whether this segment is the SYN. Segments that were joined may be handled in between.
    fn is_of(&self, tuple: &FourTuple, header: &Header) -> bool {
        self.tuple == *tuple && header.flags.is_first_syn() && header.seq == self.syn.irs()
    }
}

impl Intercepts {
    /// Whether this segment, which is being handled, is an intercepted SYN.
    pub(super) fn has_syn(&self, tuple: &FourTuple, header: &Header) -> bool {
        self.present_syn.as_ref().is_some_and(|present| present.is_of(tuple, header))
    }

    /// The headers of this segment, which is being handled, if it is an intercepted SYN.
    fn take_syn(&mut self, tuple: &FourTuple, header: &Header) -> Option<PresentSyn> {
        self.present_syn.take_if(|present| present.is_of(tuple, header))
    }
}

impl Interceptor {
    fn new() -> Interceptor {
        Interceptor {
            unseen: VecDeque::new(),
            unseen_count: 0,
            cancelled: VecDeque::new(),
            expires_at: None,
            armed: Armed::default(),
        }
    }

    /// Whether [`Stack::poll_pending`](crate::Stack::poll_pending) has something to return.
    pub(super) fn has_news(&self) -> bool {
        self.unseen_count > 0 || !self.cancelled.is_empty()
    }

    /// The number of connections that wait to be announced.
    pub(super) fn unseen_count(&self) -> usize {
        self.unseen_count
    }

    /// When the first pending connection times out, or earlier.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }
}

#[cfg(test)]
mod tests;
