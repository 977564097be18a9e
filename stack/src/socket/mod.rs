//! Sockets: descriptors, options, readiness, and the Berkeley calls.
//!
//! Read `table` and `slab` (what a descriptor leads to), then `record` (a socket) and `sockets` (all of them, and what
//! follows every change), then `tcp` and `udp` (a folder for each kind), `errors` for what the network reports, `holdings`
//! and `relief` for what happens when memory is short, and `calls` for the public face.

mod calls;
mod errors;
mod holdings;
mod options;
mod record;
mod relief;
mod slab;
mod sockets;
mod table;
mod tcp;
mod udp;

pub use options::{SocketOption, SocketOptions};
pub(crate) use record::Socket;
pub(crate) use sockets::{Sent, Sockets};
pub use table::Descriptor;

use core::fmt;

use crate::tcp::State;

/// Finds a socket, whoever holds it.
pub(crate) type SocketId = slab::Key<Socket>;

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// AF_INET.
    V4,
    /// AF_INET6; speaks IPv4 too, through `::ffff:0:0/96`, unless IPV6_V6ONLY is set.
    V6,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// SOCK_STREAM: TCP.
    Stream,
    /// SOCK_DGRAM: UDP.
    Datagram,
    /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6, Linux's ping socket. A message is an ICMP echo message; the
    /// stack sets its identifier (the local port) and its checksum, and delivers the replies.
    Echo,
}

/// Which half of a connection `shutdown` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

/// Where a socket stands. `Display` shows `LISTEN`, `ESTABLISHED`, `BOUND` and so on.
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
    /// The descriptor, while a program holds one.
    pub descriptor: Option<Descriptor>,
    /// The kind.
    pub kind: SocketKind,
    /// Where it stands.
    pub state: SocketState,
    /// The local address and port, where bound.
    pub local: Option<core::net::SocketAddr>,
    /// The peer, where connected.
    pub peer: Option<core::net::SocketAddr>,
    /// Bytes (of a listener: connections) that wait to be taken.
    pub receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged; of a listener: its backlog.
    pub send_queue: usize,
    /// Of a connection: the smoothed round trip, once it is measured.
    pub rtt: Option<core::time::Duration>,
    /// Of a connection: the congestion window in bytes.
    pub cwnd: Option<u32>,
    /// The timer of a connection that fires next (`ss -o`). A handshake's and TIME-WAIT's are not shown.
    pub timer: Option<(crate::time::Instant, crate::event::DeadlineKind)>,
}
