//! Datagram sockets: UDP (RFC 768), and echo sockets, whose messages are ICMP echo messages.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::Ctx;
use crate::demux::{BoundAddr, Endpoint, FourTuple, with_scope};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::icmp::{self, echo};
use crate::ip::protocol;
use crate::network::{IpMeta, MtuDiscovery, Network};
use crate::offload::{SegmentKind, Segments};
use crate::socket::options::IpFields;
use crate::socket::record::{Bound, Role, Socket, flow_scope, iface_of};
use crate::socket::sockets::{Sent, Sockets};
use crate::socket::tcp::calls::loopback_if_unspecified;
use crate::socket::{Descriptor, Domain, Shutdown, SocketId, SocketKind, SocketOptions};
use crate::udp;

/// What a queued datagram costs beside its bytes: its place in the queue, and the rest of the frame that it pins.
const OVERHEAD_BYTES: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Datagram {
    /// Set by `connect`.
    pub(in crate::socket) connected: Option<FourTuple>,
    received: VecDeque<Received>,
    pub(in crate::socket) received_bytes: usize,
    outgoing: VecDeque<Outgoing>,
    outgoing_bytes: usize,
    error: Option<Error>,
    is_read_shut: bool,
    is_write_shut: bool,
}

/// A datagram that waits for `recv`, or a run of them.
#[derive(Debug)]
pub(in crate::socket) struct Received {
    pub(in crate::socket) from: Endpoint,
    pub(in crate::socket) scope: u16,
    pub(in crate::socket) data: Bytes,
    /// How long each datagram of a run is, but the last; 0 if it is one.
    pub(in crate::socket) segment_len: u16,
}

/// A datagram that waits for the device, or a run of them.
#[derive(Debug)]
struct Outgoing {
    flow: FourTuple,
    data: Bytes,
    /// How long each datagram of a run is, but the last; 0 if it is one.
    segment_len: u16,
}

impl Datagram {
    pub(in crate::socket) fn readiness(&self, options: &SocketOptions) -> Readiness {
        let error = self.error.is_some();
        Readiness {
            readable: !self.received.is_empty() || self.is_read_shut || error,
            writable: self.outgoing_bytes < options.send_buffer || self.is_write_shut || error,
            peer_closed: self.is_read_shut,
            hung_up: self.is_read_shut && self.is_write_shut,
            error,
            urgent: false,
        }
    }

    /// Bytes to be read, bytes to be sent.
    pub(in crate::socket) fn queued(&self) -> (usize, usize) {
        let payload = |bytes: usize, count: usize| bytes - count * OVERHEAD_BYTES;
        (payload(self.received_bytes, self.received.len()), payload(self.outgoing_bytes, self.outgoing.len()))
    }

    fn charge(&self) -> usize {
        mem::size_of::<Socket>() + mem::size_of::<Datagram>() + self.received_bytes + self.outgoing_bytes
    }

    /// Takes what came in, if its queue stays below `limit` by that and the stack's memory has `room` for it.
    pub(in crate::socket) fn push_received(
        &mut self,
        received: Received,
        limit: usize,
        room: usize,
    ) -> core::result::Result<(), DropReason> {
        if self.is_read_shut {
            return Err(DropReason::ReceiverClosed);
        }
        let cost = received.data.len() + OVERHEAD_BYTES;
        if cost > room {
            return Err(DropReason::MemoryLimit);
        }
        // As on Linux one datagram of any size finds room in an empty queue.
        if !self.received.is_empty() && self.received_bytes + cost > limit {
            return Err(DropReason::ReceiveBufferFull);
        }
        self.received_bytes += cost;
        self.received.push_back(received);
        Ok(())
    }

    fn pop_received(&mut self) -> Option<Received> {
        let received = self.received.pop_front()?;
        self.received_bytes -= received.data.len() + OVERHEAD_BYTES;
        Some(received)
    }

    /// The next datagram; a run in one piece if `whole` says so of it.
    fn pop_outgoing(&mut self, whole: impl FnOnce(&Outgoing) -> bool) -> Option<Outgoing> {
        let next = self.outgoing.front_mut()?;
        let segment_len = usize::from(next.segment_len);
        if segment_len > 0 && next.data.len() > segment_len && !whole(next) {
            self.outgoing_bytes -= segment_len;
            return Some(Outgoing { flow: next.flow, data: next.data.split_to(segment_len), segment_len: 0 });
        }
        let outgoing = self.outgoing.pop_front()?;
        self.outgoing_bytes -= outgoing.data.len() + OVERHEAD_BYTES;
        Some(outgoing)
    }

    pub(in crate::socket) fn set_error(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// SO_ERROR: returned once.
    pub(in crate::socket) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }
}

impl Socket {
    /// The next datagram for the program, and its sender as the program sees it.
    fn pop_received(&mut self) -> Option<(Received, SocketAddr)> {
        let Role::Datagram(datagram) = &mut self.role else { return None };
        let received = datagram.pop_received()?;
        let from = self.present(with_scope(received.from, received.scope));
        Some((received, from))
    }
}

/// Output, and the calls of the program.
impl Sockets {
    /// What follows every change of the queues: the account and the events.
    pub(in crate::socket) fn settle_datagram(&mut self, id: SocketId, news: bool) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Datagram(datagram) = &socket.role else { return };
        let bytes = datagram.charge();
        self.account.renew(&mut socket.charged_bytes, bytes);
        self.note_readiness(id, news);
    }

    /// A datagram socket's turn to send.
    pub(in crate::socket) fn transmit_datagram(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
    ) -> Sent {
        let Some(socket) = self.slots.get_mut(id) else { return Sent::Nothing };
        let (kind, IpFields { ttl, tos }) = (socket.kind, socket.options.ip_fields());
        let Role::Datagram(datagram) = &mut socket.role else { return Sent::Nothing };
        let whole = |next: &Outgoing| {
            let (dst, iface) = (next.flow.remote.addr, iface_of(next.flow.scope));
            // What would have to be fragmented is sent datagram by datagram.
            packet_len(dst, udp::HEADER_LEN + usize::from(next.segment_len))
                <= network.path_mtu(ctx.now, dst, iface)
                && network.can_cut(dst, iface, SegmentKind::Udp)
        };
        let Some(Outgoing { flow, data, segment_len }) = datagram.pop_outgoing(whole) else {
            return Sent::Nothing;
        };
        self.settle_datagram(id, false);
        let (protocol, header, payload) = match kind {
            SocketKind::Echo => {
                let (header, payload) = echo::request(flow.local, flow.remote.addr, &data);
                (protocol::icmp_for(flow.remote.addr), header, payload)
            }
            SocketKind::Datagram | SocketKind::Stream => {
                ctx.stats.udp.out_datagrams += count(data.len(), segment_len);
                let payload = udp::payload_of(data);
                (protocol::UDP, udp::header(flow.local, flow.remote, &payload), payload)
            }
        };
        let dst = flow.remote.addr;
        let len = crate::frame::payload_len(&payload);
        let run = (segment_len > 0 && len > usize::from(segment_len))
            .then_some(Segments { kind: SegmentKind::Udp, len: segment_len });
        let meta = IpMeta {
            src: flow.local.addr,
            dst,
            protocol,
            hop_limit: ttl.or(if dst.is_multicast() { Some(1) } else { None }),
            traffic_class: tos,
            mtu_discovery: MtuDiscovery::Want,
            path_seed: 0,
            iface: iface_of(flow.scope),
            // An echo request has its own already.
            checksum_at: (protocol == protocol::UDP).then_some(udp::CHECKSUM_AT),
            run,
        };
        match network.output(ctx, meta, header, payload) {
            Ok(Some(transmit)) => Sent::Frame(transmit),
            Ok(None) => Sent::Elsewhere,
            Err(_) => {
                ctx.stats.count_drop(DropReason::NoRoute);
                Sent::Elsewhere
            }
        }
    }

    /// Queues one datagram, to `to` or to the connected peer.
    pub(in crate::socket) fn send_datagram(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &Network,
        d: Descriptor,
        data: Bytes,
        to: Option<SocketAddr>,
    ) -> Result<usize> {
        let (id, socket) = self.socket_mut(d)?;
        let kind = socket.kind;
        let Role::Datagram(datagram) = &mut socket.role else { return Err(Error::NotSupported) };
        if let Some(error) = datagram.take_error() {
            return Err(error);
        }
        if datagram.is_write_shut {
            return Err(Error::BrokenPipe);
        }
        let (connected, queued) = (datagram.connected, datagram.outgoing_bytes);
        let flow = match (to, connected) {
            (None, None) => return Err(Error::DestinationRequired),
            (None, Some(connected)) => connected,
            (Some(to), connected) => self.flow_to(ctx, network, id, to, connected)?,
        };
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        if network.is_broadcast(flow.remote.addr) && !socket.options.broadcast {
            return Err(Error::PermissionDenied);
        }
        // The IPv4 limit counts the IP header, the IPv6 limit does not (RFC 8200 §3).
        let limit = if flow.remote.addr.is_ipv4() { 65_535 - 20 } else { 65_535 };
        let header_len = if kind == SocketKind::Echo { 0 } else { udp::HEADER_LEN };
        let cost = data.len() + OVERHEAD_BYTES;
        if data.len() + header_len > limit || cost > socket.options.send_buffer.max(MIN_QUEUE) {
            return Err(Error::MessageTooLong);
        }
        if kind == SocketKind::Echo && data.len() < icmp::HEADER_LEN {
            return Err(Error::InvalidArgument);
        }
        let segment_len = if kind == SocketKind::Datagram { socket.options.udp_segment } else { 0 };
        if segment_len > 0 && data.len() > usize::from(segment_len) {
            // As on Linux.
            let iface = iface_of(flow.scope);
            let longest = packet_len(flow.remote.addr, udp::HEADER_LEN + usize::from(segment_len));
            if count(data.len(), segment_len) > MAX_SEGMENTS
                || longest > network.path_mtu(ctx.now, flow.remote.addr, iface)
            {
                return Err(Error::InvalidArgument);
            }
        }
        // Linux's rule, and the same as readiness: what begins below the limit may end above it.
        if queued >= socket.options.send_buffer {
            return Err(Error::WouldBlock);
        }
        if cost > self.account.room_for_datagram(queued) {
            return Err(Error::NoBufferSpace);
        }
        let len = data.len();
        if let Some(Socket { role: Role::Datagram(datagram), .. }) = self.slots.get_mut(id) {
            datagram.outgoing_bytes += cost;
            datagram.outgoing.push_back(Outgoing { flow, data, segment_len });
        }
        self.settle_datagram(id, false);
        self.queue_transmit(id);
        Ok(len)
    }

    /// The addresses of a datagram to `to`; binds the socket if it is not bound yet.
    fn flow_to(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &Network,
        id: SocketId,
        to: SocketAddr,
        connected: Option<FourTuple>,
    ) -> Result<FourTuple> {
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let (mut remote, scope) = socket.accept_addr(to)?;
        if remote.port == 0 && socket.kind == SocketKind::Datagram {
            return Err(Error::InvalidArgument);
        }
        if socket.kind == SocketKind::Echo {
            remote.port = 0;
        }
        remote.addr = loopback_if_unspecified(remote.addr);
        if socket.bound().is_none() {
            self.bind_any(ctx, id)?;
        }
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        let bound = socket.bound().ok_or(Error::InvalidArgument)?;
        let fixed = match (connected, bound.addr) {
            (Some(connected), _) => Some(connected.local.addr),
            (None, BoundAddr::One(addr)) if !addr.is_multicast() && !network.is_broadcast(addr) => Some(addr),
            _ => None,
        };
        let local = match fixed {
            Some(addr) if addr.is_ipv4() == remote.addr.is_ipv4() => addr,
            Some(_) if connected.is_none() => return Err(Error::NetworkUnreachable),
            _ => network.source_for(remote.addr, iface_of(scope))?,
        };
        let named = scope;
        let scope = flow_scope(local, remote.addr, named, Some(bound))?;
        // Who found a source has found a route.
        if fixed == Some(local) || scope != named {
            network.check_route(remote.addr, iface_of(scope))?;
        }
        Ok(FourTuple { local: Endpoint::new(local, bound.port), remote, scope })
    }

    pub(in crate::socket) fn connect_datagram(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &Network,
        d: Descriptor,
        addr: SocketAddr,
    ) -> Result<()> {
        let (id, socket) = self.socket_mut(d)?;
        let Role::Datagram(datagram) = &mut socket.role else { return Err(Error::NotSupported) };
        datagram.error = None;
        let flow = self.flow_to(ctx, network, id, addr, None)?;
        let socket = self.slots.get(id).ok_or(Error::BadDescriptor)?;
        if network.is_broadcast(flow.remote.addr) && !socket.options.broadcast {
            return Err(Error::PermissionDenied);
        }
        if socket.kind == SocketKind::Datagram {
            if self.udp_connected.get(&flow).is_some_and(|&other| other != id) {
                return Err(Error::AddressInUse);
            }
            // A connected socket hears its peer only.
            match (datagram_peer(socket), socket.bound()) {
                (Some(old), _) => {
                    self.udp_connected.remove(&old);
                }
                (None, Some(Bound { addr, port, .. })) => self.udp_bound.remove(addr, port, id),
                (None, None) => {}
            }
            self.udp_connected.insert(flow, id);
        }
        if let Some(Socket { role: Role::Datagram(datagram), .. }) = self.slots.get_mut(id) {
            datagram.connected = Some(flow);
        }
        Ok(())
    }

    pub(in crate::socket) fn shutdown_datagram(&mut self, d: Descriptor, how: Shutdown) -> Result<()> {
        let (id, socket) = self.socket_mut(d)?;
        let Role::Datagram(datagram) = &mut socket.role else { return Err(Error::NotSupported) };
        if datagram.connected.is_none() {
            return Err(Error::NotConnected);
        }
        datagram.is_read_shut |= how != Shutdown::Write;
        datagram.is_write_shut |= how != Shutdown::Read;
        self.note_readiness(id, true);
        Ok(())
    }

    /// One datagram, whole, and its sender; with UDP_GRO perhaps a run of them, each but the last of the length that comes
    /// third.
    pub(in crate::socket) fn receive_datagram(
        &mut self,
        d: Descriptor,
    ) -> Result<(Bytes, SocketAddr, usize)> {
        let (id, socket) = self.socket_mut(d)?;
        let Role::Datagram(datagram) = &mut socket.role else { return Err(Error::NotSupported) };
        if let Some(error) = datagram.take_error() {
            return Err(error);
        }
        let is_shut = datagram.is_read_shut;
        let Some((received, from)) = socket.pop_received() else {
            return if is_shut { Ok((Bytes::new(), socket.peer_addr()?, 0)) } else { Err(Error::WouldBlock) };
        };
        self.settle_datagram(id, false);
        let each = match usize::from(received.segment_len) {
            0 => received.data.len(),
            segment_len => segment_len.min(received.data.len()),
        };
        Ok((received.data, from, each))
    }

    /// As many as are there, at most `max`.
    pub(in crate::socket) fn receive_datagrams(
        &mut self,
        d: Descriptor,
        batch: &mut Vec<(Bytes, SocketAddr)>,
        max: usize,
    ) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        let (data, from, _) = self.receive_datagram(d)?;
        batch.push((data, from));
        let (id, socket) = self.socket_mut(d)?;
        let mut count = 1;
        while count < max
            && let Some((received, from)) = socket.pop_received()
        {
            batch.push((received.data, from));
            count += 1;
        }
        if count > 1 {
            self.settle_datagram(id, false);
        }
        Ok(count)
    }

    pub(in crate::socket) fn peek_datagram(
        &self,
        d: Descriptor,
        buf: &mut [u8],
    ) -> Result<(usize, SocketAddr)> {
        let (_, socket) = self.socket(d)?;
        let Role::Datagram(datagram) = &socket.role else { return Err(Error::NotSupported) };
        match (datagram.received.front(), datagram.error) {
            (_, Some(error)) => Err(error),
            (Some(received), None) => {
                let from = socket.present(with_scope(received.from, received.scope));
                Ok((copy_prefix(&received.data, buf), from))
            }
            (None, None) if datagram.is_read_shut => Ok((0, socket.peer_addr()?)),
            (None, None) => Err(Error::WouldBlock),
        }
    }

    /// Takes a datagram socket out of the tables: no packet finds it any more.
    pub(in crate::socket) fn unregister_datagram(&mut self, id: SocketId) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let (kind, bound) = (socket.kind, socket.take_bound());
        let connected = match &mut socket.role {
            Role::Datagram(datagram) => datagram.connected.take(),
            _ => None,
        };
        match (kind, connected, bound) {
            (SocketKind::Datagram, Some(flow), _) => {
                self.udp_connected.remove(&flow);
            }
            (SocketKind::Datagram, None, Some(Bound { addr, port, .. })) => {
                self.udp_bound.remove(addr, port, id)
            }
            (SocketKind::Echo, _, Some(Bound { addr, port, .. })) => self.echo_bound.remove(addr, port, id),
            (SocketKind::Stream, ..) | (_, _, None) => {}
        }
        if let Some(Bound { port, .. }) = bound {
            self.ports_of(kind).unbind(port, id);
        }
    }
}

/// UDP_MAX_SEGMENTS of Linux.
const MAX_SEGMENTS: u64 = 128;

/// How many datagrams there are in a run of so many bytes.
pub(in crate::socket) fn count(len: usize, segment_len: u16) -> u64 {
    match usize::from(segment_len) {
        0 => 1,
        segment_len => len.div_ceil(segment_len).max(1) as u64,
    }
}

/// The length of an IP packet with so much in it.
fn packet_len(dst: core::net::IpAddr, len: usize) -> usize {
    len + if dst.is_ipv4() { 20 } else { 40 }
}

/// The flow of a connected datagram socket.
fn datagram_peer(socket: &Socket) -> Option<FourTuple> {
    match &socket.role {
        Role::Datagram(datagram) => datagram.connected,
        _ => None,
    }
}

/// A send buffer that was set smaller than a datagram still takes one of this size.
const MIN_QUEUE: usize = 4096;

/// Copies as much of `data` as fits; how much that was.
pub(in crate::socket) fn copy_prefix(data: &[u8], buf: &mut [u8]) -> usize {
    let len = data.len().min(buf.len());
    buf[..len].copy_from_slice(&data[..len]);
    len
}

/// What a datagram socket of this domain is bound to when nobody says.
pub(in crate::socket) fn any_addr(domain: Domain, kind: SocketKind, v6_only: bool) -> BoundAddr {
    match domain {
        Domain::V4 => BoundAddr::AnyV4,
        Domain::V6 if v6_only || kind == SocketKind::Echo => BoundAddr::AnyV6,
        Domain::V6 => BoundAddr::AnyDual,
    }
}
