//! The description of a socket for a status page.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::kind::SocketKind;
use super::table::Descriptor;
use crate::event::DeadlineKind;
use crate::id::SocketId;
use crate::tcp::State;
use crate::time::Instant;

/// The state of a socket. `Display` shows `LISTEN`, `ESTABLISHED`, `BOUND` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketState {
    /// Of a stream: a state of TCP.
    Tcp(State),
    /// Of the others: without a local port.
    Unbound,
    /// With a local port, and without a peer.
    Bound,
    /// With a peer.
    Connected,
}

impl SocketState {
    /// In capital letters, as a status page shows it.
    pub const fn name(self) -> &'static str {
        match self {
            SocketState::Tcp(state) => state.name(),
            SocketState::Unbound => "UNBOUND",
            SocketState::Bound => "BOUND",
            SocketState::Connected => "CONNECTED",
        }
    }
}

impl fmt::Display for SocketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A socket as a status page shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The socket; none for a handshake, and for a TIME-WAIT record whose socket is gone.
    pub id: Option<SocketId>,
    /// A descriptor that leads to it, while a program holds one: the first owner's, if that has
    /// one, and the lowest.
    pub descriptor: Option<Descriptor>,
    /// The kind.
    pub kind: SocketKind,
    /// The state.
    pub state: SocketState,
    /// The local address and port, where bound.
    pub local: Option<SocketAddr>,
    /// The peer, where connected.
    pub peer: Option<SocketAddr>,
    /// Bytes (of a listener: connections) that wait to be taken.
    pub receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged; of a listener: its backlog.
    pub send_queue: usize,
    /// Of a connection: the smoothed round trip, once it is measured.
    pub rtt: Option<Duration>,
    /// Of a connection: the congestion window in bytes.
    pub cwnd: Option<u32>,
    /// The timer of a connection that fires next (`ss -o`). A handshake's and TIME-WAIT's are not
    /// shown.
    pub timer: Option<(Instant, DeadlineKind)>,
}
