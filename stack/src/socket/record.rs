//! The record of a socket.

use alloc::boxed::Box;
use core::mem;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU32;

use super::address::SockAddr;
use super::credentials::Credentials;
use super::datagram_queue::DatagramQueue;
use super::info::{SocketInfo, SocketState};
use super::kind::{Domain, Room, SocketKind};
use super::message::DatagramMeta;
use super::options::SocketOptions;
use super::packet::PacketQueue;
use super::scope::{Bound, iface_of, present};
use super::state::ProtocolState;
use super::tcp::stream::TcpSocket;
use super::udp::flow_queue::FlowQueue;
use super::unix::UnixSocket;
use crate::copy_on_write::CopyOnWrite;
use crate::demux::{BoundAddr, Endpoint, FourTuple, with_scope};
use crate::error::{Error, Result};
use crate::event::{Readiness, Wakeup};
use crate::time::Instant;

/// The record of a socket. Every segment reads it: with the slab's generation it fills one cache
/// line.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) holders: Holders,
    pub(crate) domain: Domain,
    pub(crate) kind: SocketKind,
    /// The options, which are shared until they differ from the default, or from the listener's.
    pub(crate) options: CopyOnWrite<SocketOptions>,
    /// The binding that `bind` or another call made. Most sockets were accepted and have none.
    bound: Option<Box<Bound>>,
    pub(super) protocol: Protocol,
    pub(super) marks: Marks,
    /// The user of the owner who made or accepted it, as that was then (Linux's `sk_uid`).
    pub(crate) uid: u32,
    /// The bytes that the stack's account holds for it.
    pub(super) charged_bytes: usize,
}

const _: () = assert!(mem::size_of::<Socket>() <= 56);

/// The part of the record that depends on the kind of the socket. It is not a list of the kinds:
/// all that send and receive datagrams share one variant.
#[derive(Debug)]
pub(super) enum Protocol {
    Tcp(TcpSocket),
    Datagrams(Box<DatagramQueue>),
    Flows(Box<FlowQueue>),
    Packets(Box<PacketQueue>),
    Unix(Box<UnixSocket>),
}

impl Protocol {
    /// The state of a new socket of datagrams.
    pub(super) fn new_datagrams() -> Protocol {
        Protocol::Datagrams(Box::default())
    }

    /// Like that of [`state`](Protocol::state). Each packet asks for this, and a call through the
    /// table of methods costs more. It is inlined always: with a third kind of state the compiler
    /// makes calls of this and its like, which costs a datagram 50 instructions.
    #[inline(always)]
    fn readiness(&self, options: &SocketOptions) -> Readiness {
        match self {
            Protocol::Tcp(tcp) => tcp.readiness(options),
            Protocol::Datagrams(queue) => queue.readiness(options),
            Protocol::Flows(_) | Protocol::Packets(_) | Protocol::Unix(_) => self.readiness_by_table(options),
        }
    }

    /// Not inlined, so that the kinds whose packets are rarer cost the others nothing.
    #[inline(never)]
    fn readiness_by_table(&self, options: &SocketOptions) -> Readiness {
        self.state().readiness(options)
    }

    /// Like [`readiness`](Protocol::readiness).
    #[inline(always)]
    fn held_bytes(&self) -> usize {
        match self {
            Protocol::Tcp(tcp) => tcp.held_bytes(),
            Protocol::Datagrams(queue) => queue.held_bytes(),
            Protocol::Flows(_) | Protocol::Packets(_) | Protocol::Unix(_) => self.state().held_bytes(),
        }
    }

    pub(super) fn datagrams(&self) -> Option<&DatagramQueue> {
        match self {
            Protocol::Datagrams(queue) => Some(queue),
            Protocol::Tcp(_) | Protocol::Flows(_) | Protocol::Packets(_) | Protocol::Unix(_) => None,
        }
    }

    pub(super) fn datagrams_mut(&mut self) -> Option<&mut DatagramQueue> {
        match self {
            Protocol::Datagrams(queue) => Some(queue),
            Protocol::Tcp(_) | Protocol::Flows(_) | Protocol::Packets(_) | Protocol::Unix(_) => None,
        }
    }

    pub(super) fn state(&self) -> &dyn ProtocolState {
        match self {
            Protocol::Tcp(tcp) => tcp,
            Protocol::Datagrams(queue) => &**queue,
            Protocol::Flows(queue) => &**queue,
            Protocol::Packets(queue) => &**queue,
            Protocol::Unix(unix) => &**unix,
        }
    }

    pub(super) fn state_mut(&mut self) -> &mut dyn ProtocolState {
        match self {
            Protocol::Tcp(tcp) => tcp,
            Protocol::Datagrams(queue) => &mut **queue,
            Protocol::Flows(queue) => &mut **queue,
            Protocol::Packets(queue) => &mut **queue,
            Protocol::Unix(unix) => &mut **unix,
        }
    }
}

/// The holders of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holders {
    /// This many descriptors, of one owner or of several.
    Descriptors(NonZeroU32),
    /// A listener's accept queue.
    AcceptQueue,
    /// Nobody: the record is removed when its connection has ended.
    Nobody,
}

impl Holders {
    /// One descriptor more; `None` if the count would overflow.
    pub(super) fn plus_one(self) -> Option<Holders> {
        let count = match self {
            Holders::Descriptors(count) => count.checked_add(1)?,
            Holders::AcceptQueue | Holders::Nobody => NonZeroU32::MIN,
        };
        Some(Holders::Descriptors(count))
    }

    /// One descriptor less.
    pub(super) fn minus_one(self) -> Holders {
        match self {
            Holders::Descriptors(count) => {
                NonZeroU32::new(count.get() - 1).map_or(Holders::Nobody, Holders::Descriptors)
            }
            other => other,
        }
    }
}

/// The queues that contain the socket, and its readiness when that was last computed, because
/// events are edge-triggered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    const TRANSMIT_QUEUE: u8 = 1 << 6;
    const EVENT_QUEUE: u8 = 1 << 7;
    const READINESS: u8 = Readiness::ALL_BITS;

    /// Marks it as queued for sending. Returns whether it was not queued before.
    pub(super) fn enter_transmit_queue(&mut self) -> bool {
        self.enter(Marks::TRANSMIT_QUEUE)
    }

    pub(super) fn leave_transmit_queue(&mut self) {
        self.0 &= !Marks::TRANSMIT_QUEUE;
    }

    /// Like [`enter_transmit_queue`](Marks::enter_transmit_queue), for the queue of events.
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

    #[cfg(test)]
    pub(super) fn readiness_bits(self) -> u8 {
        self.0 & Marks::READINESS
    }

    fn enter(&mut self, bit: u8) -> bool {
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new
    }

    /// Stores the readiness. Returns the wake-up for what became ready.
    pub(super) fn see(&mut self, now: Readiness) -> Wakeup {
        Wakeup::of_risen(self.replace(now))
    }

    /// Stores the readiness. Returns the bits that were not set before.
    pub(super) fn replace(&mut self, now: Readiness) -> u8 {
        let (now, seen) = (now.bits(), self.0 & Marks::READINESS);
        self.0 = self.0 & !Marks::READINESS | now;
        now & !seen
    }

    /// Notes that one bit of the readiness is set now. Returns whether it was not set before.
    #[inline]
    pub(super) fn raise(&mut self, bit: u8) -> bool {
        self.enter(bit)
    }

    /// Notes that one bit of the readiness is not set any more.
    #[inline]
    pub(super) fn lower(&mut self, bit: u8) {
        self.0 &= !bit;
    }

    /// Forgets readiness that is gone, so that it rises when it comes back.
    fn forget_fallen(&mut self, now: Readiness) {
        self.0 &= !Marks::READINESS | now.bits();
    }
}

const _: () = assert!(Marks::READINESS & (Marks::TRANSMIT_QUEUE | Marks::EVENT_QUEUE) == 0);

impl Socket {
    pub(super) fn new(
        domain: Domain,
        kind: SocketKind,
        options: CopyOnWrite<SocketOptions>,
        protocol: Protocol,
    ) -> Self {
        let mut socket = Socket {
            holders: Holders::Nobody,
            domain,
            kind,
            options,
            bound: None,
            protocol,
            marks: Marks::default(),
            uid: 0,
            charged_bytes: 0,
        };
        socket.renew_readiness();
        socket
    }

    pub(super) fn bound(&self) -> Option<Bound> {
        self.bound.as_deref().copied()
    }

    pub(super) fn set_bound(&mut self, bound: Bound) {
        self.bound = Some(Box::new(bound));
    }

    /// Takes its port away, and the address unless that was named.
    pub(super) fn give_port_back(&mut self, bound: Bound) {
        self.bound = bound.names_addr.then(|| Box::new(Bound { port: 0, ..bound }));
    }

    pub(super) fn take_bound(&mut self) -> Option<Bound> {
        self.bound.take().map(|bound| *bound)
    }

    /// Whether a program holds it.
    pub(super) fn has_descriptor(&self) -> bool {
        matches!(self.holders, Holders::Descriptors(_))
    }

    /// Whether nobody holds it.
    pub(super) fn is_unheld(&self) -> bool {
        self.holders == Holders::Nobody
    }

    /// The part of the stack that implements it.
    #[inline]
    pub(crate) fn room(&self) -> Room {
        Room::of(self.domain, self.kind)
    }

    /// The bytes in its queues: to be read, and to be sent or acknowledged.
    pub(crate) fn queued(&self) -> (usize, usize) {
        self.protocol.state().queued()
    }

    /// FIONREAD. EINVAL for a listener.
    pub(crate) fn unread_bytes(&self) -> Result<usize> {
        self.protocol.state().unread()
    }

    /// SIOCOUTQ. EINVAL for a listener.
    pub(crate) fn unacknowledged_bytes(&self) -> Result<usize> {
        self.protocol.state().unacknowledged()
    }

    #[inline(always)]
    pub(crate) fn readiness(&self) -> Readiness {
        self.protocol.readiness(&self.options)
    }

    /// The bytes that the account should hold for it: the record, options that it does not share,
    /// and what its kind holds.
    #[inline(always)]
    pub(super) fn charge(&self) -> usize {
        mem::size_of::<Socket>() + self.options.own_bytes() + self.protocol.held_bytes()
    }

    /// The readiness, for a poller that keeps the socket in its ready list only while it is ready.
    pub(super) fn readiness_for_poller(&mut self) -> Readiness {
        let now = self.readiness();
        self.marks.forget_fallen(now);
        now
    }

    /// Computes the readiness. Returns the wake-up for what became ready since the last time,
    /// because events are edge-triggered.
    #[inline(always)]
    pub(super) fn renew_readiness(&mut self) -> Wakeup {
        let now = self.readiness();
        self.marks.see(now)
    }

    /// Marks it as queued for an event. Returns whether it must be queued: a program holds it, and
    /// it was not queued before.
    pub(super) fn enter_event_queue(&mut self) -> bool {
        self.has_descriptor() && self.marks.enter_event_queue()
    }

    /// An address as this socket shows it to its program.
    pub(super) fn present(&self, addr: SocketAddr) -> SocketAddr {
        present(self.domain, addr)
    }

    /// Whether an IPv6 socket uses IPv6 only: because of IPV6_V6ONLY or, as on Linux (inet6_bind),
    /// because it was bound to an IPv6 address.
    pub(super) fn is_v6_only(&self) -> bool {
        let is_v6 = |bound: Bound| bound.names_addr && matches!(bound.addr, BoundAddr::One(IpAddr::V6(_)));
        self.options.ip.v6_only || self.bound().is_some_and(is_v6)
    }

    /// Converts an address from the program to the one on the wire, and its scope. EAFNOSUPPORT for
    /// the other family, ENETUNREACH for IPv4 on a socket that is IPv6 only.
    pub(super) fn accept_addr(&self, addr: SocketAddr) -> Result<(Endpoint, u16)> {
        match (self.domain, addr) {
            (Domain::V4, SocketAddr::V4(v4)) => Ok((Endpoint::new((*v4.ip()).into(), v4.port()), 0)),
            (Domain::V6, SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
                Some(_) if self.is_v6_only() => Err(Error::NetworkUnreachable),
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

    /// Converts the source that a program named for a datagram to `remote` to the one on the wire;
    /// `None` if it is unspecified. EINVAL for another family.
    pub(super) fn accept_source(&self, source: IpAddr, remote: IpAddr) -> Result<Option<IpAddr>> {
        let on_wire = source.to_canonical();
        if source.is_ipv4() != (self.domain == Domain::V4) || on_wire.is_ipv4() != remote.is_ipv4() {
            return Err(Error::InvalidArgument);
        }
        Ok(Some(on_wire).filter(|addr| !addr.is_unspecified()))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        // A socket that is connected may be bound to a group.
        let flow = self.protocol.state().flow();
        // With IP_BIND_ADDRESS_NO_PORT only the connection has a port.
        if let Some(Bound { addr: BoundAddr::One(addr), port, scope, .. }) = self.bound()
            && (port != 0 || flow.is_none())
        {
            return self.present(with_scope(Endpoint::new(addr, port), scope));
        }
        if let Some(flow) = flow {
            return self.present(flow.local_addr());
        }
        let any = match self.domain {
            Domain::V4 | Domain::Unix => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Domain::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        match self.bound() {
            None => SocketAddr::new(any, 0),
            Some(Bound { port, .. }) => SocketAddr::new(any, port),
        }
    }

    /// Like [`local_addr`](Socket::local_addr), for any family.
    pub(crate) fn local_name(&self) -> SockAddr {
        match &self.protocol {
            Protocol::Packets(packets) => packets.bound.into(),
            Protocol::Unix(unix) => unix.name.clone().into(),
            _ => self.local_addr().into(),
        }
    }

    /// SO_ACCEPTCONN.
    pub(crate) fn is_listening(&self) -> bool {
        match &self.protocol {
            Protocol::Tcp(tcp) => matches!(tcp, TcpSocket::Listener(_)),
            Protocol::Unix(unix) => unix.is_listening(),
            Protocol::Datagrams(_) | Protocol::Flows(_) | Protocol::Packets(_) => false,
        }
    }

    /// SO_PEERCRED; `None` if the socket was never connected.
    pub(crate) fn peer_credentials(&self) -> Result<Option<Credentials>> {
        Ok(self.unix()?.peer_credentials)
    }

    /// The state of a Unix-domain socket. EOPNOTSUPP for another one.
    pub(crate) fn unix(&self) -> Result<&UnixSocket> {
        match &self.protocol {
            Protocol::Unix(unix) => Ok(unix),
            _ => Err(Error::NotSupported),
        }
    }

    /// Like [`unix`](Socket::unix), to be changed.
    pub(super) fn unix_mut(&mut self) -> Result<&mut UnixSocket> {
        match &mut self.protocol {
            Protocol::Unix(unix) => Ok(unix),
            _ => Err(Error::NotSupported),
        }
    }

    /// The address of the peer. ENOTCONN if there is none, or if it is connected to port 0 as
    /// datagram sockets can be (Linux's inet_getname). EOPNOTSUPP for a packet socket.
    pub(crate) fn peer_addr(&self) -> Result<SocketAddr> {
        if matches!(self.protocol, Protocol::Packets(_)) {
            return Err(Error::NotSupported);
        }
        let addr = self.peer_flow()?.remote_addr();
        if addr.port() == 0 { Err(Error::NotConnected) } else { Ok(self.present(addr)) }
    }

    /// The addresses of both ends. ENOTCONN if there is no peer.
    pub(crate) fn peer_flow(&self) -> Result<FourTuple> {
        let state = self.protocol.state();
        state.flow().filter(|_| state.has_peer()).ok_or(Error::NotConnected)
    }

    /// The metadata where there is no packet: the ends of the connection. ENOTCONN if there is
    /// none.
    pub(super) fn connection_meta(&self, now: Instant) -> Result<DatagramMeta> {
        Ok(DatagramMeta::of_connection(self.domain, self.peer_flow()?, now))
    }

    /// The description, without its names.
    pub(super) fn info(&self) -> SocketInfo {
        let state = self.protocol.state();
        let local = self.local_name();
        let is_named = match &local {
            SockAddr::Ip(addr) => addr.port() != 0 || !addr.ip().is_unspecified(),
            SockAddr::Unix(name) => !name.is_unnamed(),
            SockAddr::Link(_) => true,
        };
        let is_ip = local.ip().is_some();
        let flow = state.flow().filter(|_| state.is_connected());
        let scope = flow.map(|flow| flow.scope).or(self.bound().map(|bound| bound.scope));
        let mut info = SocketInfo {
            uid: self.uid,
            iface: self.options.device.or(scope.and_then(iface_of)),
            v6_only: is_ip && self.domain == Domain::V6 && self.options.ip.v6_only,
            peer: flow.map(|flow| self.present(flow.remote_addr()).into()),
            local: is_named.then_some(local),
            receive_buffer: self.options.receive_buffer,
            send_buffer: self.options.send_buffer,
            memory_bytes: self.charged_bytes,
            ..SocketInfo::new(self.domain, self.kind, SocketState::Unbound)
        };
        state.describe(self.has_port(), &mut info);
        info
    }
}
