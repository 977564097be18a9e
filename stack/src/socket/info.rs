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
    /// The state of a stream's connection.
    Tcp(State),
    /// A socket of another kind that has no local port.
    Unbound,
    /// A socket of another kind that has a local port and no peer.
    Bound,
    /// A socket of another kind that has a peer.
    Connected,
}

impl SocketState {
    /// The name in capital letters, for a status page.
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

/// The description of a socket for a status page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The socket; `None` for a handshake, and for a TIME-WAIT record whose socket is gone.
    pub id: Option<SocketId>,
    /// A descriptor of the socket, if a program holds one: the lowest one of the first owner, or
    /// else of another owner.
    pub descriptor: Option<Descriptor>,
    /// The kind.
    pub kind: SocketKind,
    /// The state.
    pub state: SocketState,
    /// The local address and port, if bound.
    pub local: Option<SocketAddr>,
    /// The peer, if connected.
    pub peer: Option<SocketAddr>,
    /// Bytes that wait to be read; for a listener, connections that wait to be accepted.
    pub receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged; for a listener, its backlog.
    pub send_queue: usize,
    /// For a connection: the smoothed round-trip time, once it was measured.
    pub rtt: Option<Duration>,
    /// For a connection: the congestion window in bytes.
    pub cwnd: Option<u32>,
    /// The timer of a connection that fires next (`ss -o`). Those of handshakes and TIME-WAIT
    /// records are not shown.
    pub timer: Option<(Instant, DeadlineKind)>,
}
