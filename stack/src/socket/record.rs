//! One socket's record.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use super::tcp::calls::Stream;
use super::tcp::listener::Listener;
use super::udp::calls::Datagram;
use super::{Descriptor, Domain, SocketId, SocketInfo, SocketKind, SocketOptions, SocketState};
use crate::copy_on_write::CopyOnWrite;
use crate::demux::{BoundAddr, Endpoint, FourTuple, with_scope};
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::network::InterfaceId;
use crate::tcp::State;

/// What the stack keeps of a socket. Every segment comes through it: with the slab's generation it is a cache line.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) holder: Holder,
    pub(super) domain: Domain,
    pub(super) kind: SocketKind,
    /// Its own once it differs from what sockets begin with, or from its listener's.
    pub(super) options: CopyOnWrite<SocketOptions>,
    /// Where `bind` put it, explicitly or by itself. Most were accepted and have none.
    bound: Option<Box<Bound>>,
    pub(super) role: Role,
    pub(super) marks: Marks,
    /// What the stack's account holds for it, in bytes.
    pub(super) charged_bytes: usize,
}

const _: () = assert!(core::mem::size_of::<Socket>() <= 56);

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

/// The queues in which a socket stands, and its readiness when that was last looked at: events are edges.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    const TRANSMIT_QUEUE: u8 = 1 << 6;
    const EVENT_QUEUE: u8 = 1 << 7;
    const READINESS: u8 = Readiness::ALL_BITS;

    /// It goes into the queue of those that may have something to send; whether it does not stand there already.
    pub(super) fn enter_transmit_queue(&mut self) -> bool {
        self.enter(Marks::TRANSMIT_QUEUE)
    }

    pub(super) fn leave_transmit_queue(&mut self) {
        self.0 &= !Marks::TRANSMIT_QUEUE;
    }

    /// As [`enter_transmit_queue`](Marks::enter_transmit_queue) with the queue of events.
    pub(super) fn enter_event_queue(&mut self) -> bool {
        self.enter(Marks::EVENT_QUEUE)
    }

    pub(super) fn leave_event_queue(&mut self) {
        self.0 &= !Marks::EVENT_QUEUE;
    }

    /// Whether it was writable.
    pub(super) fn is_writable(self) -> bool {
        self.0 & Readiness::WRITABLE_BIT != 0
    }

    fn enter(&mut self, queue: u8) -> bool {
        let is_new = self.0 & queue == 0;
        self.0 |= queue;
        is_new
    }

    /// The readiness is looked at anew. Whether something rose.
    pub(super) fn see(&mut self, now: Readiness) -> bool {
        let (now, seen) = (now.bits(), self.0 & Marks::READINESS);
        self.0 = self.0 & !Marks::READINESS | now;
        now & !seen != 0
    }
}

const _: () = assert!(Marks::READINESS & (Marks::TRANSMIT_QUEUE | Marks::EVENT_QUEUE) == 0);

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
    pub(super) fn new(
        domain: Domain,
        kind: SocketKind,
        options: CopyOnWrite<SocketOptions>,
        role: Role,
    ) -> Self {
        Socket {
            holder: Holder::Nobody,
            domain,
            kind,
            options,
            bound: None,
            role,
            marks: Marks::default(),
            charged_bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let options = SocketOptions::new(&crate::Config::default(), SocketKind::Stream);
        Socket::new(Domain::V4, SocketKind::Stream, options.into(), Role::Idle)
    }

    /// Whether it is a connection with these four numbers.
    pub(super) fn is_of(&self, tuple: &FourTuple) -> bool {
        matches!(&self.role, Role::Stream(stream) if stream.tuple == *tuple)
    }

    /// The four numbers, if its connection is in TIME-WAIT.
    pub(super) fn time_wait(&self) -> Option<&FourTuple> {
        match &self.role {
            Role::Stream(stream) if stream.connection.state() == State::TimeWait => Some(&stream.tuple),
            _ => None,
        }
    }

    pub(super) fn bound(&self) -> Option<Bound> {
        self.bound.as_deref().copied()
    }

    pub(super) fn set_bound(&mut self, bound: Bound) {
        self.bound = Some(Box::new(bound));
    }

    pub(super) fn take_bound(&mut self) -> Option<Bound> {
        self.bound.take().map(|bound| *bound)
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
        let now = self.readiness();
        self.marks.see(now)
    }

    /// Something is to be told of it: whether it goes into the queue of events. Nobody is told of what no program holds, and
    /// what stands there already is told once.
    pub(super) fn enter_event_queue(&mut self) -> bool {
        self.descriptor().is_some() && self.marks.enter_event_queue()
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
        match self.bound() {
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
            Role::Idle => (SocketState::Tcp(State::Closed), (0, 0)),
            Role::Listener(listener) => {
                (SocketState::Tcp(State::Listen), (listener.queue.len(), listener.backlog))
            }
            Role::Stream(stream) => (SocketState::Tcp(stream.connection.state()), stream.connection.queued()),
            Role::Datagram(datagram) => {
                let state = match (datagram.connected, &self.bound) {
                    (Some(_), _) => SocketState::Connected,
                    (None, Some(_)) => SocketState::Bound,
                    (None, None) => SocketState::Unbound,
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
