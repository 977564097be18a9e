//! What a stack tells its driver: which sockets became ready, and when it wants to be called.

use crate::id::SocketId;
use crate::time::Instant;

/// What can be done with a descriptor without `WouldBlock`.
// Exhaustive: programs construct it for comparisons, and poll(2) has no more bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// `recv` has data, an end of stream or an error to return; or `accept` has a connection.
    pub readable: bool,
    /// `send` takes at least some data, or has an error to return.
    pub writable: bool,
    /// The peer has shut down its sending half (EPOLLRDHUP).
    pub peer_closed: bool,
    /// Both halves are closed (EPOLLHUP).
    pub hung_up: bool,
    /// An error waits in SO_ERROR (EPOLLERR).
    pub error: bool,
    /// A byte of urgent data waits for [`recv_oob`](crate::Stack::recv_oob) (EPOLLPRI).
    pub urgent: bool,
}

impl Readiness {
    /// All bits that [`bits`](Readiness::bits) may set.
    pub(crate) const ALL_BITS: u8 = 0b11_1111;
    pub(crate) const WRITABLE_BIT: u8 = 1 << 1;

    /// One bit for each field, without branches: this is called after every segment.
    pub(crate) fn bits(self) -> u8 {
        let Readiness { readable, writable, peer_closed, hung_up, error, urgent } = self;
        u8::from(readable)
            | u8::from(writable) << 1
            | u8::from(peer_closed) << 2
            | u8::from(hung_up) << 3
            | u8::from(error) << 4
            | u8::from(urgent) << 5
    }
}

/// A socket's readiness after a change.
///
/// An event names the socket, not a descriptor, because several descriptors may lead to one socket;
/// [`Stack::socket_id`](crate::Stack::socket_id) tells which socket a descriptor leads to. A socket
/// that no descriptor holds has no events.
///
/// Events are edge-triggered: one is queued when something changes (data arrived, room was made, a
/// connection was accepted or ended), not while a condition lasts. Several changes before the next
/// [`poll_event`](crate::Stack::poll_event) are one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The socket.
    pub socket: SocketId,
    /// Its readiness now.
    pub readiness: Readiness,
}

/// When the stack wants [`handle_timeout`](crate::Stack::handle_timeout) called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadline {
    /// The time by which to call.
    pub at: Instant,
    /// The timer that is due. If that timer was stopped meanwhile, this may name another.
    pub kind: DeadlineKind,
    /// The socket that the timer belongs to, if it belongs to one.
    pub socket: Option<SocketId>,
}

/// The timers of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineKind {
    /// Packets wait on the loopback ([`Stack::handle_loopback`](crate::Stack::handle_loopback)).
    Loopback,
    /// Neighbour resolution, duplicate address detection, reassembly, expiry of path MTUs.
    Network,
    /// The next burst of a paced TCP connection.
    Pacing,
    /// TCP retransmission (RFC 6298).
    Retransmit,
    /// TCP tail loss probe (RFC 8985 §7).
    LossProbe,
    /// TCP: RACK's reordering window ends (RFC 8985 §6).
    Reorder,
    /// TCP zero-window probe (RFC 9293 §3.8.6.1).
    Persist,
    /// A delayed acknowledgement is due (RFC 9293 §3.8.6.3).
    DelayedAck,
    /// TCP keepalive (RFC 9293 §3.8.4).
    KeepAlive,
    /// A connection that nobody holds any more waits in FIN-WAIT-2, or lingers.
    Linger,
    /// A SYN-ACK is to be repeated or given up.
    Handshake,
    /// TIME-WAIT is over.
    TimeWait,
}
