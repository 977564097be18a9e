//! A listener: its SYN queue is a count of its handshakes, and its accept queue holds sockets.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use crate::config::SynCookieMode;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::id::SocketId;
use crate::socket::saved_syns::SavedSyn;
use crate::tcp::{SYN_COOKIE_VALID_FOR, SynReceived};
use crate::time::Instant;
use crate::timers::Armed;

#[derive(Debug)]
pub(crate) struct Listener {
    /// Established connections that were not accepted yet.
    pub(super) queue: VecDeque<SocketId>,
    pub(super) backlog: usize,
    /// When a cookie was last sent instead of an entry in the SYN queue.
    pub(super) cookie_sent_at: Option<Instant>,
    pub(super) fast_opens: FastOpenQueue,
}

/// The least length of the SYN queue: a few SYNs at once are not a flood, and a cookie would be
/// worse for them, because its SYN-ACK is not repeated. (Linux had the same least length before
/// version 4.4.)
const MIN_SYN_QUEUE: usize = 8;

impl Listener {
    pub(super) fn new(backlog: usize) -> Self {
        Listener {
            queue: VecDeque::new(),
            backlog,
            cookie_sent_at: None,
            fast_opens: FastOpenQueue::default(),
        }
    }

    /// Whether the accept queue is full: as on Linux a backlog of n allows n + 1 connections.
    pub(super) fn is_accept_queue_full(&self) -> bool {
        self.queue.len() > self.backlog
    }

    /// The room for a SYN (Linux's tcp_conn_request). The backlog limits both queues, except for
    /// the least length of the SYN queue. A SYN is dropped if the accept queue is full, because its
    /// connection would have to wait. A SYN that `reopens` a connection in TIME-WAIT needs a
    /// particular sequence number and so cannot get a cookie; there are no more such SYNs than
    /// TIME-WAIT records.
    pub(super) fn room_for_syn(&self, handshakes: usize, cookies: SynCookieMode, reopens: bool) -> SynRoom {
        let is_full = handshakes > self.backlog.max(MIN_SYN_QUEUE);
        if self.is_accept_queue_full() {
            SynRoom::None(DropReason::AcceptQueueFull)
        } else if reopens || !(is_full || cookies == SynCookieMode::Always) {
            SynRoom::Queue
        } else if cookies == SynCookieMode::Off {
            SynRoom::None(DropReason::SynQueueFull)
        } else {
            SynRoom::Cookie
        }
    }

    /// Whether a valid cookie may arrive, because one was sent recently. Otherwise ACKs are not
    /// checked, so that a flood of ACKs finds no cookie by chance (Linux's
    /// tcp_synq_no_recent_overflow).
    pub(super) fn has_cookies_out(&self, now: Instant) -> bool {
        self.cookie_sent_at.is_some_and(|at| now.duration_since(at) <= SYN_COOKIE_VALID_FOR)
    }
}

/// The number of half-open connections of each listener. As on Linux, a socket may stop listening
/// and listen again while its handshakes continue, so the counts are kept beside the sockets, not
/// in the [`Listener`].
#[derive(Debug, Default)]
pub(super) struct HalfOpens(BTreeMap<SocketId, HalfOpen>);

/// The counts of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HalfOpen {
    /// Entries of its SYN queue.
    pub(super) handshakes: usize,
    /// Connections that were opened fast and wait for the end of their handshake.
    pub(super) fast: usize,
}

impl HalfOpens {
    pub(super) fn of(&self, listener: SocketId) -> HalfOpen {
        self.0.get(&listener).copied().unwrap_or_default()
    }

    pub(super) fn change(&mut self, listener: SocketId, how: impl FnOnce(&mut HalfOpen)) {
        let counts = self.0.entry(listener).or_default();
        how(counts);
        if *counts == HalfOpen::default() {
            self.0.remove(&listener);
        }
    }
}

/// The limit of connections that are opened fast. Without it SYNs with stolen cookies would fill
/// memory with them (RFC 7413 §5.1).
#[derive(Debug, Default)]
pub(super) struct FastOpenQueue {
    /// When connections that were reset stop counting. Without this a client that alternates
    /// between SYN and RST could make a program handle any number of requests.
    resets: VecDeque<Instant>,
}

/// Linux's reqsk_fastopen_remove.
const RESET_COUNTS_FOR: Duration = Duration::from_secs(60);

impl FastOpenQueue {
    /// Whether one more may begin beside the `pending` ones.
    pub(super) fn has_room(&mut self, now: Instant, pending: usize, limit: usize) -> bool {
        while self.resets.front().is_some_and(|&until| until <= now) {
            self.resets.pop_front();
        }
        pending + self.resets.len() < limit
    }

    pub(super) fn on_reset(&mut self, now: Instant) {
        self.resets.push_back(now + RESET_COUNTS_FOR);
    }
}

/// The room for a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum SynRoom {
    /// In the SYN queue.
    Queue,
    /// In a cookie.
    Cookie,
    /// No room: the SYN is dropped.
    None(DropReason),
}

/// An entry of a SYN queue: the record, and its listener.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(super) record: SynReceived,
    pub(super) listener: SocketId,
    pub(super) tuple: FourTuple,
    pub(super) armed: Armed,
    /// The headers of its SYN, if they are to be saved.
    pub(super) saved_syn: Option<Box<SavedSyn>>,
}
