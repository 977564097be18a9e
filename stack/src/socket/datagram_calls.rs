//! The queues of datagram sockets: calls and packets, whatever the protocol.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::common::{Common, Env, TransmitOutcome};
use super::datagram_queue::{
    CorkedDatagram, DatagramQueue, OVERHEAD_BYTES, OutgoingDatagram, ReceivedDatagram, copy_into,
};
use super::kind::{Domain, Shutdown};
use super::message::{DatagramMeta, Received, SendMeta, copy_flags};
use super::options::{IpFields, MtuDiscover, SocketOption, SocketOptions};
use super::rare_settings::RareSettings;
use super::record::Socket;
use super::scope::{
    Bound, flow_on_device, flow_scope, iface_of, is_link_local, loopback_if_unspecified, scope_id, scope_on,
};
use crate::Ctx;
use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::{Readiness, Wakeup};
use crate::frame::{HeaderBuf, Payload, Transmit};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::message_flags::{RecvFlags, SendFlags};
use crate::network::{IpMeta, Network};
use crate::offload::Segments;
use crate::time::Instant;

/// The smallest effective send buffer: a datagram of this size is taken even if the buffer was set
/// smaller.
const MIN_QUEUE: usize = 4096;
/// The longest payload behind a UDP header in an IPv4 packet.
const MAX_PLAIN_LEN: usize = 65_535 - 20 - crate::udp::HEADER_LEN;

impl Socket {
    /// The socket's datagram queues. EOPNOTSUPP if it has none.
    pub(super) fn datagrams_mut(&mut self) -> Result<&mut DatagramQueue> {
        self.protocol.datagrams_mut().ok_or(Error::NotSupported)
    }

    /// Whether a packet to this local address, through this interface, is for a socket without a
    /// port (raw or echo): it has that address or none, and the interface of a link-local address.
    pub(super) fn hears(&self, local: IpAddr, iface: Option<InterfaceId>) -> bool {
        let (bound, flow) = (self.bound(), self.protocol.state().flow());
        let own = match (bound, flow) {
            (Some(Bound { addr: BoundAddr::One(addr), .. }), _) => Some(addr),
            (_, flow) => flow.map(|flow| flow.local.addr),
        };
        local.is_ipv4() == (self.domain == Domain::V4)
            && own.is_none_or(|own| own == local)
            && self.hears_link(iface)
    }

    /// Whether a packet through this interface is for a socket without a port: if it has a
    /// link-local address, through the interface of that.
    pub(super) fn hears_link(&self, iface: Option<InterfaceId>) -> bool {
        let (bound, flow) = (self.bound(), self.protocol.state().flow());
        let scope = flow.map_or(0, |flow| flow.scope).max(bound.map_or(0, |bound| bound.scope));
        iface_of(scope).is_none_or(|named| iface == Some(named))
    }
}

/// Each datagram passes two queues of a socket, and is put in and taken out. These four functions
/// change the account and the readiness by what one datagram changes. [`Common::settle`] would
/// compute both anew: 7 % of a round trip (800 instructions).
impl Common {
    /// Passes the next datagram, whole, to `take`; with UDP_GRO it may be a run of datagrams.
    #[inline]
    pub(super) fn receive_datagram<R>(
        &mut self,
        id: SocketId,
        take: impl FnOnce(ReceivedDatagram) -> R,
    ) -> Result<R> {
        let Common { account, records, .. } = self;
        let socket = records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let datagrams = socket.datagrams_mut()?;
        if let Some(error) = datagrams.error.take() {
            self.note_readiness(id, Wakeup::NONE);
            return Err(error);
        }
        let held = datagrams.received_bytes;
        let received = datagrams.pop_received().ok_or(Error::WouldBlock)?;
        let freed = held - datagrams.received_bytes;
        let is_readable = !datagrams.received.is_empty() || datagrams.is_read_shut;
        if !is_readable {
            socket.marks.lower(Readiness::READABLE_BIT);
        }
        account.subtract(&mut socket.charged_bytes, freed);
        Ok(take(received))
    }

    /// Puts a received datagram into the socket's queue, if there is room.
    #[inline]
    pub(super) fn deliver_datagram(
        &mut self,
        id: SocketId,
        mut received: ReceivedDatagram,
    ) -> core::result::Result<(), DropReason> {
        let Common { account, records, events, pollers, .. } = self;
        let Some(socket) = records.get_mut(id) else { return Ok(()) };
        let limit = socket.options.receive_buffer;
        let Ok(datagrams) = socket.datagrams_mut() else { return Ok(()) };
        let (len, room) = (received.data.len(), account.room_for_datagram(datagrams.received_bytes));
        if let Err(reason) = datagrams.check_room(len, limit, room) {
            datagrams.drops = datagrams.drops.wrapping_add(1);
            return Err(reason);
        }
        received.meta.drops = datagrams.drops;
        datagrams.push_received(received);
        socket.marks.raise(Readiness::READABLE_BIT);
        account.add(&mut socket.charged_bytes, len + OVERHEAD_BYTES);
        if socket.enter_event_queue() {
            events.push_back(id);
        }
        pollers.wake(id, Wakeup::ARRIVAL);
        Ok(())
    }

    /// Queues a datagram that passed the checks of its own. The pending error, EPIPE, EAGAIN or
    /// ENOBUFS.
    #[inline]
    pub(super) fn send_datagram(&mut self, id: SocketId, outgoing: OutgoingDatagram) -> Result<usize> {
        self.queue_outgoing(id, outgoing, true)
    }

    /// Like [`send_datagram`](Common::send_datagram), whatever the state of the socket. EAGAIN,
    /// ENOBUFS.
    pub(super) fn queue_datagram(&mut self, id: SocketId, outgoing: OutgoingDatagram) -> Result<usize> {
        self.queue_outgoing(id, outgoing, false)
    }

    #[inline(always)]
    fn queue_outgoing(
        &mut self,
        id: SocketId,
        outgoing: OutgoingDatagram,
        checks_state: bool,
    ) -> Result<usize> {
        let (len, cost) = (outgoing.data.len(), outgoing.data.len() + OVERHEAD_BYTES);
        let Common { account, records, transmit_queue, .. } = self;
        let socket = records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let limit = socket.options.send_buffer;
        let datagrams = socket.datagrams_mut()?;
        if checks_state && datagrams.is_barred() {
            return Err(self.refuse_sender(id));
        }
        // Linux's rule, which readiness follows, too: a datagram may be queued while the queue is
        // below the limit, even if it then exceeds it.
        if datagrams.outgoing_bytes >= limit {
            return Err(Error::WouldBlock);
        }
        if cost > account.room_for_datagram(datagrams.outgoing_bytes) {
            return Err(Error::NoBufferSpace);
        }
        datagrams.push_outgoing(outgoing);
        if datagrams.outgoing_bytes >= limit {
            socket.marks.lower(Readiness::WRITABLE_BIT);
        }
        account.add(&mut socket.charged_bytes, cost);
        if socket.marks.enter_transmit_queue() {
            transmit_queue.push_back(id);
        }
        Ok(len)
    }

    /// The next datagram to send, with the fields for its IP header. A run is returned in one piece
    /// if `whole` says so.
    #[inline]
    pub(super) fn pop_outgoing(
        &mut self,
        id: SocketId,
        whole: impl FnOnce(&OutgoingDatagram) -> bool,
    ) -> Option<(OutgoingDatagram, IpFields)> {
        let Common { account, records, events, pollers, .. } = self;
        let socket = records.get_mut(id)?;
        let datagrams = socket.datagrams_mut().ok()?;
        let held = datagrams.outgoing_bytes;
        let outgoing = datagrams.pop_outgoing(whole)?;
        let left = datagrams.outgoing_bytes;
        account.subtract(&mut socket.charged_bytes, held - left);
        let has_room = left < socket.options.send_buffer;
        if has_room && socket.marks.raise(Readiness::WRITABLE_BIT) && socket.enter_event_queue() {
            events.push_back(id);
        }
        // As on Linux, where each datagram that has left is room: sock_wfree.
        pollers.wake(id, Wakeup::ROOM);
        let fields = socket.options.ip_fields_to(outgoing.flow.remote.addr, socket.domain);
        let fields = IpFields {
            ttl: outgoing.hop_limit.or(fields.ttl),
            tos: outgoing.traffic_class.unwrap_or(fields.tos),
            ..fields
        };
        Some((outgoing, fields))
    }
}

impl Common {
    /// Takes the queued datagrams, at most `max`.
    pub(super) fn receive_datagrams(
        &mut self,
        id: SocketId,
        batch: &mut Vec<(Bytes, DatagramMeta)>,
        max: usize,
    ) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        let mut bytes = 0;
        let mut push = |received: ReceivedDatagram| {
            bytes += received.data.len();
            batch.push((received.data, received.meta));
        };
        self.receive_datagram(id, &mut push)?;
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        let mut count = 1;
        while count < max
            && let Some(received) = datagrams.pop_received()
        {
            push(received);
            count += 1;
        }
        self.on_received(id, bytes);
        if count > 1 {
            self.settle(id, Wakeup::NONE);
        }
        Ok(count)
    }

    /// Receives into several buffers, with flags.
    pub(super) fn receive_datagram_with(
        &mut self,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        if flags.contains(RecvFlags::ERROR_QUEUE) {
            return self.receive_queued_error(id, bufs);
        }
        let mut copy = |received: &ReceivedDatagram, skipped: usize| {
            let (data, meta) = (&received.data[skipped..], Some(received.meta));
            let copied = copy_into(data, bufs);
            let len = if flags.contains(RecvFlags::TRUNCATE) { received.data.len() } else { copied };
            Received { len, flags: copy_flags(copied, data.len()), meta, error: None }
        };
        if !flags.contains(RecvFlags::PEEK) {
            let received = self.receive_datagram(id, |received| copy(&received, 0))?;
            self.on_received(id, received.len);
            return Ok(received);
        }
        let offset = self.peek_offset(id);
        let found = self.record_mut(id)?.datagrams_mut()?.peek(offset);
        let peeked = found.map(|(received, skipped)| copy(received, skipped));
        self.note_readiness(id, Wakeup::NONE);
        let peeked = peeked?;
        self.on_peeked(id, peeked.len);
        Ok(peeked)
    }

    /// Copies the beginning of the next datagram without removing it, and returns its metadata.
    pub(crate) fn peek_datagram(&mut self, id: SocketId, buf: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        // A stream has no datagrams.
        self.record_mut(id)?.datagrams_mut()?;
        let received = self.receive_datagram_with(id, &mut [buf], RecvFlags::PEEK)?;
        Ok((received.len, received.meta.ok_or(Error::NotConnected)?))
    }

    /// The metadata with which a blocking receive returns nothing, because reading was shut down
    /// and nothing is queued. EAGAIN if it would wait, ENOTCONN without a peer.
    pub(crate) fn end_of_datagrams(&self, now: Instant, id: SocketId) -> Result<DatagramMeta> {
        let socket = self.record(id)?;
        let datagrams = socket.protocol.datagrams().ok_or(Error::NotSupported)?;
        if !datagrams.is_read_shut || !datagrams.received.is_empty() {
            return Err(Error::WouldBlock);
        }
        socket.connection_meta(now)
    }

    pub(super) fn shut_datagrams_down(&mut self, id: SocketId, how: Shutdown) -> Result<()> {
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        // As on Linux, where this also has its effect without a peer, and fails nevertheless.
        let result = datagrams.connected.map(|_| ()).ok_or(Error::NotConnected);
        datagrams.is_read_shut |= how != Shutdown::Write;
        datagrams.is_write_shut |= how != Shutdown::Read;
        self.note_readiness(id, Wakeup::STATE);
        result
    }

    /// Stores an error from an ICMP message.
    pub(super) fn set_datagram_error(&mut self, id: SocketId, error: Error) {
        if let Some(socket) = self.records.get_mut(id)
            && let Ok(datagrams) = socket.datagrams_mut()
        {
            datagrams.error = Some(error);
            self.note_readiness(id, Wakeup::ERROR);
        }
    }

    /// Checks that a socket may send. The pending error, or EPIPE. As on Linux errors of the
    /// datagram itself come first.
    pub(super) fn check_sender(&mut self, id: SocketId) -> Result<()> {
        let is_barred = self.record_mut(id)?.datagrams_mut()?.is_barred();
        if is_barred { Err(self.refuse_sender(id)) } else { Ok(()) }
    }

    /// Why a socket that is barred may not send: takes the pending error, or EPIPE.
    #[cold]
    fn refuse_sender(&mut self, id: SocketId) -> Error {
        let socket = self.records.get_mut(id);
        let datagrams = socket.and_then(|socket| socket.datagrams_mut().ok());
        let error = datagrams.and_then(|datagrams| datagrams.error.take());
        self.note_readiness(id, Wakeup::NONE);
        error.unwrap_or(Error::BrokenPipe)
    }

    /// EACCES for a broadcast without SO_BROADCAST.
    pub(super) fn check_broadcast(&self, network: &Network, id: SocketId, remote: IpAddr) -> Result<()> {
        if network.is_broadcast(remote) && !self.record(id)?.options.broadcast {
            return Err(Error::PermissionDenied);
        }
        Ok(())
    }

    /// Sends the datagram that calls with MSG_MORE have begun, if there is one. If there is no room
    /// for it, it stays. EAGAIN, ENOBUFS.
    #[cold]
    pub(super) fn uncork(&mut self, id: SocketId) -> Result<()> {
        let Some(corked) = self.record_mut(id)?.datagrams_mut()?.corked.take() else { return Ok(()) };
        let CorkedDatagram { flow, segment_len, hop_limit, traffic_class, .. } = *corked;
        let data = Bytes::copy_from_slice(&corked.data);
        let outgoing =
            OutgoingDatagram { flow, data, segment_len, hop_limit, traffic_class, is_packet: false };
        let sent = self.queue_datagram(id, outgoing);
        if sent.is_err() {
            self.record_mut(id)?.datagrams_mut()?.corked = Some(corked);
        }
        self.settle(id, Wakeup::NONE);
        sent.map(drop)
    }

    /// SO_BINDTODEVICE of a socket without ports (raw or echo).
    pub(super) fn set_device(
        &mut self,
        ctx: &Ctx<'_>,
        id: SocketId,
        device: Option<InterfaceId>,
    ) -> Result<()> {
        self.set_option(ctx, id, SocketOption::BindToDevice(device))?;
        let socket = self.record_mut(id)?;
        if let Some(bound) = socket.bound() {
            socket.set_bound(bound.on_device(device));
        }
        if let Some(flow) = &mut socket.datagrams_mut()?.connected {
            *flow = flow_on_device(*flow, device);
        }
        Ok(())
    }

    /// The addresses of a packet from a socket without ports (raw or echo) to `to`, whose port is
    /// ignored.
    pub(super) fn flow_without_ports(
        &self,
        network: &Network,
        id: SocketId,
        to: SocketAddr,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let socket = self.record(id)?;
        let (mut remote, scope) = socket.accept_addr(to)?;
        remote.port = 0;
        remote.addr = Sources::of(socket, network, connected).resolve(remote.addr);
        socket.flow_to(network, remote, scope, connected, meta)
    }
}

/// The addresses of the datagrams that a socket sends.
impl Socket {
    /// The addresses of a datagram to `remote` from a socket that is bound, with the choices in
    /// `meta`.
    #[inline]
    pub(super) fn flow_to(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let fixed = match (connected, bound.addr) {
            _ if self.domain == Domain::V6 => {
                self.source_to(network, remote.addr, named_scope, connected, meta)?
            }
            (Some(connected), _) => Some(connected.local.addr),
            (None, BoundAddr::One(addr)) if !addr.is_multicast() && !network.is_broadcast(addr) => Some(addr),
            _ => None,
        };
        let is_group = match remote.addr {
            IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
            IpAddr::V6(dst) => dst.is_multicast(),
        };
        if is_group || meta.names_way() || self.options.chooses_way {
            return self.flow_by_choice(network, remote, named_scope, fixed, meta);
        }
        self.flow_by_route(network, remote, named_scope, fixed)
    }

    /// The source of a datagram of an IPv6 socket to `remote`, if it is fixed. EAFNOSUPPORT.
    fn source_to(
        &self,
        network: &Network,
        remote: IpAddr,
        named_scope: u16,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<Option<IpAddr>> {
        if meta.names_way() {
            let bound = Sources::of(self, network, None).first();
            return Ok(connected.map(|flow| flow.local.addr).or(bound));
        }
        let sources = Sources::of(self, network, connected);
        check_family(network, sources, remote, named_scope)?;
        Ok(sources.to(remote))
    }

    /// The addresses of a datagram whose way only its destination and its source determine.
    #[inline(always)]
    fn flow_by_route(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        fixed: Option<IpAddr>,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let local = match fixed {
            Some(addr) if addr.is_ipv4() == remote.addr.is_ipv4() => addr,
            _ => network.source_for(remote.addr, iface_of(named_scope))?,
        };
        let scope = flow_scope(local, remote.addr, named_scope, Some(bound))?;
        // A source address was found, so there is a route.
        if fixed == Some(local) || scope != named_scope {
            network.check_route(local, remote.addr, iface_of(scope))?;
        }
        Ok(FourTuple { local: Endpoint::new(local, bound.port), remote, scope })
    }

    /// The addresses of a datagram to a group, or of one for which the program chose the source or
    /// the interface, or bound the socket to one.
    #[cold]
    fn flow_by_choice(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        fixed: Option<IpAddr>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let (mut meta, mut named_scope) = (*meta, named_scope);
        let ip = &self.options.ip;
        let unicast = if remote.addr.is_ipv4() { ip.unicast_interface } else { ip.unicast_interface_v6 };
        if let Some(device) = self.options.device {
            // As on Linux the control data of an IPv4 packet may name another interface.
            let named = meta.iface.filter(|_| remote.addr.is_ipv6()).map_or(0, scope_id);
            scope_on(Some(device), named)?;
            if is_link_local(remote.addr) {
                named_scope = scope_on(Some(device), named_scope)?;
            }
            meta.iface = meta.iface.or(Some(device));
        } else if unicast.is_some() && !remote.addr.is_multicast() {
            meta.iface = meta.iface.or(iface_of(named_scope)).or(unicast);
        }
        let is_of_family = |addr: &IpAddr| addr.is_ipv4() == remote.addr.is_ipv4();
        // As on Linux, only the source of an IPv6 packet can be named instead of the address that
        // the socket is bound to.
        if let BoundAddr::One(addr) = bound.addr
            && bound.names_addr
            && !is_of_family(&addr)
            && (addr.is_ipv6() || meta.source.is_none())
        {
            return Err(Error::NetworkUnreachable);
        }
        // A socket that is connected over IPv6 sends to an IPv4 address from another source.
        let mut fixed = fixed.filter(is_of_family);
        if remote.addr.is_multicast() {
            // IP_MULTICAST_IF and IPV6_MULTICAST_IF.
            let options = self.options.multicast();
            let is_v4 = remote.addr.is_ipv4();
            let iface = if is_v4 { options.interface } else { options.interface_v6 };
            meta.iface = meta.iface.or(iface_of(named_scope)).or(iface);
            if is_v4 {
                fixed = fixed.or(options.source.map(IpAddr::V4));
            }
        }
        // As on Linux, an IPv4 packet to a group or to 255.255.255.255 leaves through the interface
        // that has its source.
        let is_everywhere =
            matches!(remote.addr, IpAddr::V4(dst) if dst.is_multicast() || dst.is_broadcast());
        if let Some(source) = fixed.filter(|source| is_everywhere && source.is_ipv4()) {
            meta.iface = meta.iface.or(network.interface_with(source));
        }
        if !meta.names_way() {
            let flow = self.flow_by_route(network, remote, named_scope, fixed)?;
            self.check_way(network, &flow)?;
            return Ok(flow);
        }
        let source = match meta.source {
            Some(source) => self.accept_source(source, remote.addr)?,
            None => fixed,
        };
        let iface = network.named_interface(remote.addr, iface_of(named_scope), meta.iface)?;
        let local = match source {
            Some(source) => network.check_source(source, remote.addr, iface)?,
            None => network.source_for(remote.addr, iface)?,
        };
        let scope = match iface {
            Some(iface) => scope_id(iface),
            None => flow_scope(local, remote.addr, 0, Some(bound))?,
        };
        let flow = FourTuple { local: Endpoint::new(local, bound.port), remote, scope };
        self.check_way(network, &flow)?;
        Ok(flow)
    }

    /// SO_DONTROUTE and IP_FREEBIND, which as on Linux have no effect on the way over IPv6.
    /// ENETUNREACH for a host behind a router; EINVAL for an address of our own that the host does
    /// not have.
    #[cold]
    pub(super) fn check_way(&self, network: &Network, flow: &FourTuple) -> Result<()> {
        let (local, remote) = (flow.local.addr, flow.remote.addr);
        if remote.is_ipv4() && self.options.dont_route {
            network.check_on_link(remote, iface_of(flow.scope))?;
        }
        if remote.is_ipv4() && self.options.ip.free_bind && !network.is_local(local) {
            return Err(Error::InvalidArgument);
        }
        Ok(())
    }
}

/// The source addresses that are fixed for the datagrams of a socket: the one that it is bound to,
/// unless that is a group, and the one that its last `connect` has used. An IPv6 socket may have
/// one of each family.
#[derive(Clone, Copy)]
pub(super) struct Sources([Option<IpAddr>; 2]);

impl Sources {
    #[inline]
    pub(super) fn of(socket: &Socket, network: &Network, connected: Option<FourTuple>) -> Sources {
        let bound = match socket.bound() {
            Some(Bound { addr: BoundAddr::One(addr), .. }) => Some(addr),
            _ => None,
        };
        let is_host = |addr: &IpAddr| !addr.is_multicast() && !network.is_broadcast(*addr);
        Sources([bound.filter(is_host), connected.map(|flow| flow.local.addr)])
    }

    /// The address that an IPv6 socket shows as its own.
    fn first(self) -> Option<IpAddr> {
        self.0[0].or(self.0[1])
    }

    /// The source of a datagram to `remote`.
    fn to(self, remote: IpAddr) -> Option<IpAddr> {
        self.0.into_iter().flatten().find(|source| source.is_ipv4() == remote.is_ipv4())
    }

    /// The destination that an unspecified address stands for. As on Linux, over IPv4 that is the
    /// socket's own address if it has one, and `::` is the loopback of the family of the source.
    pub(super) fn resolve(self, remote: IpAddr) -> IpAddr {
        match (remote, self.first()) {
            (IpAddr::V4(v4), _) if v4.is_unspecified() => {
                let own = self.0.into_iter().flatten().find(IpAddr::is_ipv4);
                own.unwrap_or(Ipv4Addr::LOCALHOST.into())
            }
            (IpAddr::V6(v6), Some(IpAddr::V4(_))) if v6.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            _ => loopback_if_unspecified(remote),
        }
    }
}

/// As on Linux 6.18: EAFNOSUPPORT for an IPv6 datagram from a socket whose first source was an IPv4
/// address. ENETUNREACH comes first.
fn check_family(network: &Network, sources: Sources, remote: IpAddr, scope: u16) -> Result<()> {
    if remote.is_ipv6() && sources.first().is_some_and(|source| source.is_ipv4()) {
        network.source_for(remote, iface_of(scope))?;
        return Err(Error::AddressFamilyNotSupported);
    }
    Ok(())
}

/// EMSGSIZE for data that no datagram can hold, wherever it goes.
pub(super) fn check_longest(len: usize) -> Result<()> {
    if len > usize::from(u16::MAX) { Err(Error::MessageTooLong) } else { Ok(()) }
}

/// EOPNOTSUPP for MSG_OOB.
#[inline]
pub(super) fn check_urgent(flags: SendFlags) -> Result<()> {
    if flags.contains(SendFlags::OOB) { Err(Error::NotSupported) } else { Ok(()) }
}

/// A datagram as it goes to the device: its transport header, and data as they are on the wire.
pub(super) struct DatagramPacket {
    pub(super) protocol: u8,
    pub(super) header: HeaderBuf,
    pub(super) payload: Payload,
    /// Where the checksum is to be filled in, unless it is there.
    pub(super) checksum_at: Option<u8>,
    /// How the device is to cut a run.
    pub(super) run: Option<Segments>,
}

impl SocketOptions {
    /// The longest datagram of which [`Env::check_len`] need not be asked: it may be fragmented,
    /// and it fits into the send buffer and, with its header, into a packet of either family.
    #[inline]
    pub(super) fn plain_len(&self) -> usize {
        let is_plain = self.ip.mtu_discover == MtuDiscover::Want && !self.ip.dont_fragment;
        let room = self.send_buffer.max(MIN_QUEUE) - OVERHEAD_BYTES;
        if is_plain { room.min(MAX_PLAIN_LEN) } else { 0 }
    }
}

impl Env<'_> {
    /// The interface that sockets see a packet to `dst` come in through.
    pub(super) fn device_of(&self, iface: InterfaceId, dst: IpAddr) -> Option<InterfaceId> {
        let has_devices = self.common.rare.uses(RareSettings::DEVICES);
        Some(if has_devices { self.network.device_of(iface, dst) } else { iface })
    }

    /// EMSGSIZE for a datagram that does not fit into a packet behind its header, or not into the
    /// send buffer, or into the path MTU if it must not be fragmented. `is_run`: it will be cut.
    /// [`SocketOptions::plain_len`] tells whether this is necessary.
    pub(super) fn check_len(
        &mut self,
        id: SocketId,
        flow: &FourTuple,
        len: usize,
        header_len: usize,
        is_run: bool,
    ) -> Result<()> {
        let options = &self.common.record(id)?.options;
        let is_v4 = flow.remote.addr.is_ipv4();
        // The IPv4 limit counts the IP header, the IPv6 limit does not (RFC 8200 §3).
        let limit = if is_v4 { 65_535 - 20 } else { 65_535 };
        let buffer = options.send_buffer.max(MIN_QUEUE);
        if is_v4 {
            check_longest(len)?;
        }
        if len + OVERHEAD_BYTES > buffer {
            return Err(Error::MessageTooLong);
        }
        let mode = options.ip.mtu_discover;
        let is_whole = mode != MtuDiscover::Want || (options.ip.dont_fragment && !is_v4);
        if len + header_len > limit || (is_whole && !is_run) {
            let dont_fragment = options.ip.dont_fragment;
            return self.check_fit(id, flow, len + header_len, dont_fragment);
        }
        Ok(())
    }

    /// EMSGSIZE for a datagram of `len` bytes, its header included, that is longer than any packet,
    /// or that must not be fragmented and is longer than the MTU.
    #[cold]
    fn check_fit(&mut self, id: SocketId, flow: &FourTuple, len: usize, dont_fragment: bool) -> Result<()> {
        let mode = self.common.record(id)?.options.ip.mtu_discover.for_packets();
        let (remote, iface) = (flow.remote.addr, iface_of(flow.scope));
        let mtu = match mode.ignores_path() {
            true => self.network.link_mtu(remote, iface),
            false => self.network.path_mtu(self.ctx.now, remote, iface),
        };
        let (ip_header_len, limit) = if remote.is_ipv4() { (20, 65_535) } else { (40, 65_535 + 40) };
        let is_whole = mode.refuses() || (dont_fragment && !remote.is_ipv4());
        let limit = if is_whole { mtu } else { limit };
        if ip_header_len + len > limit { Err(self.common.refuse_length(id, flow, mtu)) } else { Ok(()) }
    }

    /// MSG_DONTROUTE and MSG_CONFIRM. ENETUNREACH.
    #[cold]
    pub(super) fn apply_route_flags(&mut self, flow: &FourTuple, flags: SendFlags) -> Result<()> {
        let (remote, iface) = (flow.remote.addr, iface_of(flow.scope));
        if flags.contains(SendFlags::DONT_ROUTE) {
            self.network.check_on_link(remote, iface)?;
        }
        if flags.contains(SendFlags::CONFIRM) {
            self.network.confirm_reachable(self.ctx.now, remote, iface);
        }
        Ok(())
    }

    /// The beginning of a datagram to which MSG_MORE or UDP_CORK will add. As on Linux the first
    /// call determines TOS and IPV6_DONTFRAG, and over IPv6 the hop limit.
    #[cold]
    pub(super) fn begin_corked(
        &mut self,
        id: SocketId,
        flow: FourTuple,
        segment_len: u16,
        meta: &SendMeta,
    ) -> Result<CorkedDatagram> {
        let socket = self.common.record(id)?;
        let fields = socket.options.ip_fields_to(flow.remote.addr, socket.domain);
        let of_socket = || fields.ttl.unwrap_or(self.ctx.config.ip.hop_limit);
        let hop_limit = meta.hop_limit.or_else(|| flow.remote.addr.is_ipv6().then(of_socket));
        let traffic_class = Some(meta.traffic_class.unwrap_or(fields.tos));
        let dont_fragment = socket.options.ip.dont_fragment;
        Ok(CorkedDatagram { flow, data: Vec::new(), segment_len, hop_limit, traffic_class, dont_fragment })
    }

    /// Adds data to the datagram that calls with MSG_MORE have begun, or begins one. EMSGSIZE,
    /// which discards all of it, and ENOBUFS.
    #[cold]
    pub(super) fn add_to_corked(
        &mut self,
        id: SocketId,
        begun: Option<CorkedDatagram>,
        data: &[u8],
    ) -> Result<usize> {
        let Common { account, records, .. } = &mut *self.common;
        let socket = records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let datagrams = socket.datagrams_mut()?;
        if data.len() + OVERHEAD_BYTES > account.room_for_datagram(datagrams.rare_bytes()) {
            return Err(Error::NoBufferSpace);
        }
        if let Some(begun) = begun {
            datagrams.corked = Some(Box::new(begun));
        }
        let corked = datagrams.corked.as_ref().ok_or(Error::InvalidArgument)?;
        let (flow, len) = (corked.flow, corked.data.len() + data.len());
        let is_to_be_cut = corked.segment_len > 0 && len <= usize::from(u16::MAX);
        let dont_fragment = corked.dont_fragment;
        let buffer = socket.options.send_buffer.max(MIN_QUEUE);
        let fits = if len + OVERHEAD_BYTES > buffer {
            Err(Error::MessageTooLong)
        } else if is_to_be_cut {
            Ok(())
        } else {
            self.check_fit(id, &flow, len + crate::udp::HEADER_LEN, dont_fragment)
        };
        if let Some(corked) = &mut self.common.record_mut(id)?.datagrams_mut()?.corked {
            corked.data.extend_from_slice(data);
        }
        if fits.is_err() {
            self.common.record_mut(id)?.datagrams_mut()?.corked = None;
        }
        self.common.settle(id, Wakeup::NONE);
        fits.map(|()| data.len())
    }

    /// Sends the packet that a socket produced in its turn. Inlined, because a call would move
    /// header and payload once more: 2 % of a datagram's round trip (250 instructions).
    #[inline(always)]
    pub(super) fn send_packet(
        &mut self,
        flow: &FourTuple,
        fields: IpFields,
        packet: DatagramPacket,
        frame: &mut Option<Transmit>,
    ) -> TransmitOutcome {
        let meta = IpMeta {
            src: flow.local.addr,
            dst: flow.remote.addr,
            protocol: packet.protocol,
            hop_limit: fields.ttl,
            traffic_class: fields.tos,
            mtu_discovery: fields.mtu_discover.for_packets(),
            path_seed: 0,
            iface: iface_of(flow.scope),
            is_looped: fields.is_looped,
            checksum_at: packet.checksum_at,
            run: packet.run,
        };
        match self.network.output(&mut self.ctx, meta, packet.header, packet.payload) {
            Ok(sent) => *frame = sent,
            Err(error) => self.network.drop_refused(&mut self.ctx, Some(flow), &meta, error),
        }
        TransmitOutcome::Sent
    }
}

#[cfg(test)]
mod tests;
