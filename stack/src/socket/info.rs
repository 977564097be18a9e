//! The description of a socket, as `ss` prints it.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::address::SockAddr;
use super::kind::{Domain, SocketKind};
use super::table::Descriptor;
use crate::event::DeadlineKind;
use crate::id::SocketId;
use crate::network::InterfaceId;
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

/// The description of a socket ([`Stack::sockets`](crate::Stack::sockets)): what `ss` prints of
/// it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The socket; `None` for a handshake, and for a TIME-WAIT record whose socket is gone.
    pub id: Option<SocketId>,
    /// A descriptor of the socket, if a program holds one: the lowest one of the first owner, or
    /// else of another owner.
    pub descriptor: Option<Descriptor>,
    /// The other descriptors of the socket, in the order of owners and numbers.
    pub other_descriptors: Vec<Descriptor>,
    /// The user of the owner who made or accepted the socket, as that was then.
    pub uid: u32,
    /// The address family.
    pub domain: Domain,
    /// The kind.
    pub kind: SocketKind,
    /// The state.
    pub state: SocketState,
    /// The local address and port, if bound; of a packet socket its interface and EtherType.
    pub local: Option<SockAddr>,
    /// The peer, if connected.
    pub peer: Option<SockAddr>,
    /// The socket at the other end, of a Unix-domain socket that is connected.
    pub peer_socket: Option<SocketId>,
    /// The interface that the socket is restricted to: by SO_BINDTODEVICE, by its link-local
    /// address, or as a packet socket.
    pub iface: Option<InterfaceId>,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
    /// Bytes that wait to be read; for a listener, connections that wait to be accepted.
    pub receive_queue: usize,
    /// Bytes that wait to be sent or acknowledged; for a listener, its backlog.
    pub send_queue: usize,
    /// SO_RCVBUF, as far as auto-tuning has raised it.
    pub receive_buffer: usize,
    /// SO_SNDBUF, as far as auto-tuning has raised it.
    pub send_buffer: usize,
    /// The bytes that the socket holds of the stack's memory, its records included.
    pub memory_bytes: usize,
    /// Received datagrams, packets or frames that the socket had no room for; wraps.
    pub drops: u32,
    /// For a connection: the smoothed round-trip time, once it was measured.
    pub rtt: Option<Duration>,
    /// For a connection: the congestion window in bytes.
    pub cwnd: Option<u32>,
    /// The timer that fires next. [`Stack::socket_timers`](crate::Stack::socket_timers) has all
    /// timers of a connection.
    pub timer: Option<(Instant, DeadlineKind)>,
    /// For a connection: time-outs in a row that were not answered.
    pub retransmits: u8,
    /// For a connection: probes of a closed window or of a silent peer that were not answered.
    pub probes: u8,
}

impl SocketInfo {
    /// A description with the fields that every kind has.
    pub(super) fn new(domain: Domain, kind: SocketKind, state: SocketState) -> Self {
        SocketInfo {
            id: None,
            descriptor: None,
            other_descriptors: Vec::new(),
            uid: 0,
            domain,
            kind,
            state,
            local: None,
            peer: None,
            peer_socket: None,
            iface: None,
            v6_only: false,
            receive_queue: 0,
            send_queue: 0,
            receive_buffer: 0,
            send_buffer: 0,
            memory_bytes: 0,
            drops: 0,
            rtt: None,
            cwnd: None,
            timer: None,
            retransmits: 0,
            probes: 0,
        }
    }

    /// All descriptors of the socket, in the order of owners and numbers.
    pub fn descriptors(&self) -> impl Iterator<Item = Descriptor> + '_ {
        self.descriptor.into_iter().chain(self.other_descriptors.iter().copied())
    }
}
