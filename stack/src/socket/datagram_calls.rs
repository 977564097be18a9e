//! The queues of datagram sockets: calls and packets, whatever the protocol.

use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use super::common::{Common, Env, TransmitOutcome};
use super::datagram_queue::{DatagramQueue, OVERHEAD_BYTES, OutgoingDatagram, ReceivedDatagram, copy_prefix};
use super::kind::Shutdown;
use super::message::{DatagramMeta, SendMeta};
use super::options::IpFields;
use super::record::Socket;
use super::scope::{flow_scope, iface_of, scope_id};
use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::frame::{HeaderBuf, Payload};
use crate::id::SocketId;
use crate::network::{IpMeta, MtuDiscovery, Network};
use crate::offload::Segments;
use crate::time::Instant;

/// The smallest effective send buffer: a datagram of this size is taken even if the buffer was set
/// smaller.
const MIN_QUEUE: usize = 4096;

impl Socket {
    /// The socket's datagram queues. EOPNOTSUPP if it has none.
    pub(super) fn datagrams_mut(&mut self) -> Result<&mut DatagramQueue> {
        self.protocol.datagrams_mut().ok_or(Error::NotSupported)
    }
}

impl Common {
    /// Passes the next datagram, whole, to `take`; with UDP_GRO it may be a run of datagrams.
    #[inline]
    pub(super) fn receive_datagram<R>(
        &mut self,
        id: SocketId,
        take: impl FnOnce(ReceivedDatagram) -> R,
    ) -> Result<R> {
        let socket = self.record_mut(id)?;
        let datagrams = socket.datagrams_mut()?;
        if let Some(error) = datagrams.error.take() {
            return Err(error);
        }
        let received = datagrams.pop_received().ok_or(Error::WouldBlock)?;
        let taken = take(received);
        self.settle(id, Wakeup::NONE);
        Ok(taken)
    }

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
        let mut push = |received: ReceivedDatagram| batch.push((received.data, received.meta));
        self.receive_datagram(id, &mut push)?;
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        let mut count = 1;
        while count < max
            && let Some(received) = datagrams.pop_received()
        {
            push(received);
            count += 1;
        }
        if count > 1 {
            self.settle(id, Wakeup::NONE);
        }
        Ok(count)
    }

    /// Copies the beginning of the next datagram without removing it, and returns its metadata.
    pub(crate) fn peek_datagram(&self, id: SocketId, buf: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        let datagrams = self.record(id)?.protocol.datagrams().ok_or(Error::NotSupported)?;
        let received = datagrams.front()?;
        Ok((copy_prefix(&received.data, buf), received.meta))
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

    /// The next datagram to send, with the fields for its IP header. A run is returned in one piece
    /// if `whole` says so.
    #[inline]
    pub(super) fn pop_outgoing(
        &mut self,
        id: SocketId,
        whole: impl FnOnce(&OutgoingDatagram) -> bool,
    ) -> Option<(OutgoingDatagram, IpFields)> {
        let socket = self.records.get_mut(id)?;
        let fields = socket.options.ip_fields();
        let outgoing = socket.datagrams_mut().ok()?.pop_outgoing(whole)?;
        let fields = IpFields {
            ttl: outgoing.hop_limit.or(fields.ttl),
            tos: outgoing.traffic_class.unwrap_or(fields.tos),
        };
        self.settle(id, Wakeup::NONE);
        // As on Linux, where each datagram that has left is room: sock_wfree.
        self.pollers.wake(id, Wakeup::ROOM);
        Some((outgoing, fields))
    }

    /// Puts a received datagram into the socket's queue, if there is room.
    #[inline]
    pub(super) fn deliver_datagram(
        &mut self,
        id: SocketId,
        received: ReceivedDatagram,
    ) -> core::result::Result<(), DropReason> {
        let Some(socket) = self.records.get_mut(id) else { return Ok(()) };
        let limit = socket.options.receive_buffer;
        let Ok(datagrams) = socket.datagrams_mut() else { return Ok(()) };
        let room = self.account.room_for_datagram(datagrams.received_bytes);
        datagrams.check_room(received.data.len(), limit, room)?;
        datagrams.push_received(received);
        self.settle(id, Wakeup::ARRIVAL);
        Ok(())
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

    /// Checks that a socket may send, and returns its peer if it is connected. The pending error,
    /// or EPIPE.
    pub(super) fn check_sender(&mut self, id: SocketId) -> Result<Option<FourTuple>> {
        let datagrams = self.record_mut(id)?.datagrams_mut()?;
        if let Some(error) = datagrams.error.take() {
            return Err(error);
        }
        if datagrams.is_write_shut {
            return Err(Error::BrokenPipe);
        }
        Ok(datagrams.connected)
    }

    /// EACCES for a broadcast without SO_BROADCAST.
    pub(super) fn check_broadcast(&self, network: &Network, id: SocketId, remote: IpAddr) -> Result<()> {
        if network.is_broadcast(remote) && !self.record(id)?.options.broadcast {
            return Err(Error::PermissionDenied);
        }
        Ok(())
    }

    /// EMSGSIZE for a datagram that does not fit into a packet behind its header, or not into the
    /// send buffer.
    pub(super) fn check_len(
        &self,
        id: SocketId,
        remote: IpAddr,
        len: usize,
        header_len: usize,
    ) -> Result<()> {
        // The IPv4 limit counts the IP header, the IPv6 limit does not (RFC 8200 §3).
        let limit = if remote.is_ipv4() { 65_535 - 20 } else { 65_535 };
        let buffer = self.record(id)?.options.send_buffer.max(MIN_QUEUE);
        if len + header_len > limit || len + OVERHEAD_BYTES > buffer {
            return Err(Error::MessageTooLong);
        }
        Ok(())
    }

    /// Queues a datagram that passed the checks. EAGAIN, ENOBUFS.
    pub(super) fn queue_datagram(&mut self, id: SocketId, outgoing: OutgoingDatagram) -> Result<usize> {
        let (len, cost) = (outgoing.data.len(), outgoing.data.len() + OVERHEAD_BYTES);
        let Common { account, records, transmit_queue, .. } = self;
        let socket = records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let limit = socket.options.send_buffer;
        let datagrams = socket.datagrams_mut()?;
        // Linux's rule, which readiness follows, too: a datagram may be queued while the queue is
        // below the limit, even if it then exceeds it.
        if datagrams.outgoing_bytes >= limit {
            return Err(Error::WouldBlock);
        }
        if cost > account.room_for_datagram(datagrams.outgoing_bytes) {
            return Err(Error::NoBufferSpace);
        }
        datagrams.push_outgoing(outgoing);
        if socket.marks.enter_transmit_queue() {
            transmit_queue.push_back(id);
        }
        self.settle(id, Wakeup::NONE);
        Ok(len)
    }

    /// The addresses of a datagram to `remote` from a socket that is bound, with the choices in
    /// `meta`.
    pub(super) fn flow_to(
        &self,
        network: &Network,
        id: SocketId,
        remote: Endpoint,
        named_scope: u16,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let socket = self.record(id)?;
        let bound = socket.bound().ok_or(Error::InvalidArgument)?;
        let fixed = match (connected, bound.addr) {
            (Some(connected), _) => Some(connected.local.addr),
            (None, BoundAddr::One(addr)) if !addr.is_multicast() && !network.is_broadcast(addr) => Some(addr),
            _ => None,
        };
        if meta.names_way() {
            let source = match meta.source {
                Some(source) => socket.accept_source(source, remote.addr)?,
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
            return Ok(FourTuple { local: Endpoint::new(local, bound.port), remote, scope });
        }
        let local = match fixed {
            Some(addr) if addr.is_ipv4() == remote.addr.is_ipv4() => addr,
            Some(_) if connected.is_none() => return Err(Error::NetworkUnreachable),
            _ => network.source_for(remote.addr, iface_of(named_scope))?,
        };
        let scope = flow_scope(local, remote.addr, named_scope, Some(bound))?;
        // A source address was found, so there is a route.
        if fixed == Some(local) || scope != named_scope {
            network.check_route(remote.addr, iface_of(scope))?;
        }
        Ok(FourTuple { local: Endpoint::new(local, bound.port), remote, scope })
    }
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

impl Env<'_> {
    /// Sends the packet that a socket produced in its turn. Inlined, because a call would move
    /// header and payload once more: 2 % of a datagram's round trip (250 instructions).
    #[inline(always)]
    pub(super) fn send_packet(
        &mut self,
        flow: &FourTuple,
        fields: IpFields,
        packet: DatagramPacket,
    ) -> TransmitOutcome {
        let dst = flow.remote.addr;
        let meta = IpMeta {
            src: flow.local.addr,
            dst,
            protocol: packet.protocol,
            hop_limit: fields.ttl.or(if dst.is_multicast() { Some(1) } else { None }),
            traffic_class: fields.tos,
            mtu_discovery: MtuDiscovery::Want,
            path_seed: 0,
            iface: iface_of(flow.scope),
            checksum_at: packet.checksum_at,
            run: packet.run,
        };
        match self.network.output(&mut self.ctx, meta, packet.header, packet.payload) {
            Ok(Some(transmit)) => TransmitOutcome::Frame(transmit),
            Ok(None) => TransmitOutcome::Elsewhere,
            Err(error) => {
                self.network.drop_refused(&mut self.ctx, Some(flow), &meta, error);
                TransmitOutcome::Elsewhere
            }
        }
    }
}

#[cfg(test)]
mod tests;
