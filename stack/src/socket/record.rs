//! One socket's record.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use super::datagram::Datagram;
use super::listener::Listener;
use super::stream::Stream;
use super::{Descriptor, Domain, SocketId, SocketInfo, SocketKind, SocketOptions};
use crate::demux::{BoundAddr, Endpoint, with_scope};
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::network::InterfaceId;
use crate::shared::Shared;
use crate::timers::Armed;

/// What the stack keeps of a socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) holder: Holder,
    pub(super) domain: Domain,
    pub(super) kind: SocketKind,
    /// Its own once it differs from what sockets begin with, or from its listener's.
    pub(super) options: Shared<SocketOptions>,
    /// Where `bind` put it, explicitly or by itself.
    pub(super) bound: Option<Bound>,
    pub(super) role: Role,
    /// Its entry among the timers.
    pub(super) armed: Armed,
    /// It stands in the queue of those that may have something to send.
    pub(super) in_transmit_queue: bool,
    /// It stands in the queue of events.
    pub(super) event_pending: bool,
    /// The readiness when that was last looked at: events are edges.
    pub(super) seen: Readiness,
    /// What the stack's account holds for it, in bytes.
    pub(super) charged_bytes: usize,
}

/// Who will close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A program.
    Descriptor(Descriptor),
    /// A listener's accept queue.
    Listener(SocketId),
    /// Nobody: it goes when its connection has ended.
    Nobody,
}

/// A local address and port that `bind` gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) addr: BoundAddr,
    pub(super) port: u16,
    /// Scope id of a link-local address; 0 otherwise.
    pub(super) scope: u16,
}

/// What kind of socket it has become.
#[derive(Debug)]
pub(super) enum Role {
    /// A stream socket that is neither listening nor connected.
    Idle,
    Listener(Box<Listener>),
    Stream(Box<Stream>),
    Datagram(Box<Datagram>),
}

impl Socket {
    pub(super) fn new(domain: Domain, kind: SocketKind, options: Shared<SocketOptions>, role: Role) -> Self {
        Socket {
            holder: Holder::Nobody,
            domain,
            kind,
            options,
            bound: None,
            role,
            armed: Armed::default(),
            in_transmit_queue: false,
            event_pending: false,
            seen: Readiness::default(),
            charged_bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let options = SocketOptions::new(&crate::Config::default(), SocketKind::Stream);
        Socket::new(Domain::V4, SocketKind::Stream, options.into(), Role::Idle)
    }

    pub(super) fn descriptor(&self) -> Option<Descriptor> {
        match self.holder {
            Holder::Descriptor(d) => Some(d),
            Holder::Listener(_) | Holder::Nobody => None,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        match &self.role {
            // Linux: EPOLLOUT | EPOLLHUP for a stream socket that was never connected.
            Role::Idle => Readiness { writable: true, hung_up: true, ..Readiness::default() },
            Role::Listener(listener) => {
                Readiness { readable: !listener.queue.is_empty(), ..Readiness::default() }
            }
            Role::Stream(stream) => stream.connection.readiness(),
            Role::Datagram(datagram) => datagram.readiness(&self.options),
        }
    }

    /// Looks at the readiness anew. Whether something rose since it was last looked at: events are edges.
    pub(super) fn renew_readiness(&mut self) -> bool {
        let (now, seen) = (self.readiness(), self.seen);
        self.seen = now;
        // Asked after every segment: without branches.
        (now.readable & !seen.readable)
            | (now.writable & !seen.writable)
            | (now.peer_closed & !seen.peer_closed)
            | (now.hung_up & !seen.hung_up)
            | (now.error & !seen.error)
            | (now.urgent & !seen.urgent)
    }

    /// An address as this socket shows it to its program: IPv4 on an IPv6 socket is `::ffff:a.b.c.d`.
    pub(super) fn present(&self, addr: SocketAddr) -> SocketAddr {
        match (self.domain, addr.ip()) {
            (Domain::V6, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
            _ => addr,
        }
    }

    /// An address from the program as it is on the wire, with its scope. EAFNOSUPPORT for one of the other family,
    /// ENETUNREACH for IPv4 on a socket that is IPv6 only.
    pub(super) fn accept_addr(&self, addr: SocketAddr) -> Result<(Endpoint, u16)> {
        match (self.domain, addr) {
            (Domain::V4, SocketAddr::V4(v4)) => Ok((Endpoint::new((*v4.ip()).into(), v4.port()), 0)),
            (Domain::V6, SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
                Some(_) if self.options.v6_only => Err(Error::NetworkUnreachable),
                Some(v4) => Ok((Endpoint::new(v4.into(), v6.port()), 0)),
                None => {
                    let scoped = v6.ip().is_unicast_link_local() || v6.ip().is_multicast();
                    let scope = if scoped { v6.scope_id() } else { 0 };
                    let scope = u16::try_from(scope).map_err(|_| Error::InvalidArgument)?;
                    Ok((Endpoint::new((*v6.ip()).into(), v6.port()), scope))
                }
            },
            _ => Err(Error::AddressFamilyNotSupported),
        }
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        let tuple = match &self.role {
            Role::Stream(stream) => Some(stream.tuple),
            Role::Datagram(datagram) => datagram.connected,
            Role::Idle | Role::Listener(_) => None,
        };
        if let Some(tuple) = tuple {
            return self.present(tuple.local_addr());
        }
        let any = match self.domain {
            Domain::V4 => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            Domain::V6 => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        };
        match self.bound {
            None => SocketAddr::new(any, 0),
            Some(Bound { addr: BoundAddr::One(addr), port, scope }) => {
                self.present(with_scope(Endpoint::new(addr, port), scope))
            }
            Some(Bound { port, .. }) => SocketAddr::new(any, port),
        }
    }

    /// ENOTCONN unless there is one.
    pub(super) fn peer_addr(&self) -> Result<SocketAddr> {
        let tuple = match &self.role {
            Role::Stream(stream) if stream.connection.is_connected() => Some(stream.tuple),
            Role::Datagram(datagram) => datagram.connected,
            Role::Stream(_) | Role::Idle | Role::Listener(_) => None,
        };
        Ok(self.present(tuple.ok_or(Error::NotConnected)?.remote_addr()))
    }

    pub(super) fn queued_bytes(&self) -> (usize, usize) {
        match &self.role {
            Role::Idle | Role::Listener(_) => (0, 0),
            Role::Stream(stream) => stream.connection.queued(),
            Role::Datagram(datagram) => datagram.queued(),
        }
    }

    pub(super) fn info(&self) -> SocketInfo {
        let (state, (receive_queue, send_queue)) = match &self.role {
            Role::Idle => ("CLOSED", (0, 0)),
            Role::Listener(listener) => {
                (crate::tcp::State::Listen.name(), (listener.queue.len(), listener.backlog))
            }
            Role::Stream(stream) => (stream.connection.state().name(), stream.connection.queued()),
            Role::Datagram(datagram) => {
                let state = match (datagram.connected, self.bound) {
                    (Some(_), _) => "CONNECTED",
                    (None, Some(_)) => "BOUND",
                    (None, None) => "UNBOUND",
                };
                (state, datagram.queued())
            }
        };
        let (rtt, cwnd) = match &self.role {
            Role::Stream(stream) => stream.connection.path(),
            Role::Idle | Role::Listener(_) | Role::Datagram(_) => (None, None),
        };
        SocketInfo {
            descriptor: self.descriptor(),
            kind: self.kind,
            state,
            local: Some(self.local_addr()).filter(|addr| addr.port() != 0),
            peer: self.peer_addr().ok(),
            receive_queue,
            send_queue,
            rtt,
            cwnd,
            timer: match &self.role {
                Role::Stream(stream) => stream.connection.poll_timeout(),
                Role::Idle | Role::Listener(_) | Role::Datagram(_) => None,
            },
        }
    }
}

/// The scope under which a flow stands in the tables. As on Linux a link-local peer must come with the id of its link
/// (EINVAL); a link-local address of our own brings that of its binding.
pub(super) fn flow_scope(local: IpAddr, remote: IpAddr, scope: u16, bound: Option<Bound>) -> Result<u16> {
    if is_link_local(remote) {
        return if scope == 0 { Err(Error::InvalidArgument) } else { Ok(scope) };
    }
    if is_link_local(local) {
        return Ok(bound.map_or(scope, |bound| bound.scope));
    }
    Ok(if remote.is_multicast() { scope } else { 0 })
}

/// The interface that a scope id names; none for 0.
pub(super) fn iface_of(scope: u16) -> Option<InterfaceId> {
    scope.checked_sub(1).map(InterfaceId)
}

/// The scope of a packet that came in: link-local addresses mean something on their link only.
pub(super) fn scope_of(addrs: [IpAddr; 2], iface: InterfaceId) -> u16 {
    if addrs.into_iter().any(is_link_local) { iface.0 + 1 } else { 0 }
}

pub(super) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
