//! What a program decides about connections that an interface intercepts.

use core::net::SocketAddr;

use crate::id::PendingId;
use crate::iface::zone::Zone;
use crate::interface_id::InterfaceId;
use crate::ip::refusal::IcmpError;

/// A connection to another host that an interface has intercepted. Its SYN was not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingConnection {
    /// Its id, for the decision.
    pub id: PendingId,
    /// The address that opens the connection.
    pub source: SocketAddr,
    /// The address that the connection is for.
    pub destination: SocketAddr,
    /// The interface that the SYN came in through.
    pub iface: InterfaceId,
    /// The zone of that interface.
    pub zone: Zone,
}

/// News of intercepted connections ([`Stack::poll_pending`](crate::Stack::poll_pending)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PendingEvent {
    /// A connection waits for a decision.
    New(PendingConnection),
    /// A connection that was announced needs no decision any more.
    Cancelled(PendingId, Cancellation),
}

/// Why a pending connection needs no decision any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancellation {
    /// The source has reset it.
    Reset,
    /// The source has opened another one between the same addresses and ports.
    Replaced,
    /// The program did not decide in time
    /// ([`InterceptionConfig::pending_timeout`](crate::InterceptionConfig::pending_timeout)).
    TimedOut,
    /// It made room for a newer one
    /// ([`InterceptionConfig::max_pending`](crate::InterceptionConfig::max_pending)).
    Evicted,
}

/// How an intercepted connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// By a reset: ECONNREFUSED at the source.
    Reset,
    /// By an ICMP or ICMPv6 error. Beyond the rate limit, and if there is no address that the error
    /// could come from, by a reset.
    Unreachable(Unreachable),
}

/// What is unreachable, with the errors that Linux reports to the program at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreachable {
    /// The network: ENETUNREACH. The error comes from an address of this stack.
    Network,
    /// The host: EHOSTUNREACH. The error comes from an address of this stack.
    Host,
    /// The port: ECONNREFUSED. The error comes from the destination of the connection.
    Port,
    /// A rule forbids it: EHOSTUNREACH over IPv4, EACCES over IPv6. The error comes from an address
    /// of this stack.
    Prohibited,
}

/// Why a program leaves a connection without an answer. Each reason has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IgnoreReason {
    /// A rule of the program
    /// ([`DropReason::IgnoredByPolicy`](crate::DropReason::IgnoredByPolicy)).
    Policy,
    /// The program has too much to do
    /// ([`DropReason::IgnoredForOverload`](crate::DropReason::IgnoredForOverload)).
    Overload,
    /// The program got no answer itself, and so gives none
    /// ([`DropReason::IgnoredForSilence`](crate::DropReason::IgnoredForSilence)).
    Silence,
}

impl From<Unreachable> for IcmpError {
    fn from(what: Unreachable) -> IcmpError {
        match what {
            Unreachable::Network => IcmpError::NetUnreachable,
            Unreachable::Host => IcmpError::HostUnreachable,
            Unreachable::Port => IcmpError::PortUnreachable,
            Unreachable::Prohibited => IcmpError::Prohibited,
        }
    }
}
