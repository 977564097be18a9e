//! Puts datagrams into the send queue of a socket, and passes them to the network.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::{Readiness, Wakeup};
use crate::frame::{HeaderBuf, Payload, Transmit};
use crate::id::SocketId;
use crate::message_flags::SendFlags;
use crate::network::{IpMeta, Network};
use crate::offload::Segments;
use crate::socket::common::{Common, Env, TransmitOutcome};
use crate::socket::datagram_queue::{CorkedDatagram, OVERHEAD_BYTES, OutgoingDatagram};
use crate::socket::message::SendMeta;
use crate::socket::options::{IpFields, MtuDiscover, SocketOptions};
use crate::socket::scope::iface_of;

/// The smallest effective send buffer: a datagram of this size is taken even if the buffer was set
/// smaller.
const MIN_QUEUE: usize = 4096;
/// The longest payload behind a UDP header in an IPv4 packet.
const MAX_PLAIN_LEN: usize = 65_535 - 20 - crate::udp::HEADER_LEN;

/// EMSGSIZE for data that no datagram can hold, wherever it goes.
pub(in crate::socket) fn check_longest(len: usize) -> Result<()> {
    if len > usize::from(u16::MAX) { Err(Error::MessageTooLong) } else { Ok(()) }
}

/// EOPNOTSUPP for MSG_OOB.
#[inline]
pub(in crate::socket) fn check_urgent(flags: SendFlags) -> Result<()> {
    if flags.contains(SendFlags::OOB) { Err(Error::NotSupported) } else { Ok(()) }
}

/// A datagram as it goes to the device: its transport header, and data as they are on the wire.
pub(in crate::socket) struct DatagramPacket {
    pub(in crate::socket) protocol: u8,
    pub(in crate::socket) header: HeaderBuf,
    pub(in crate::socket) payload: Payload,
    /// Where the checksum is to be filled in, unless it is there.
    pub(in crate::socket) checksum_at: Option<u8>,
    /// How the device is to cut a run.
    pub(in crate::socket) run: Option<Segments>,
}

impl SocketOptions {
    /// The longest datagram of which [`Env::check_len`] need not be asked: it may be fragmented,
    /// and it fits into the send buffer and, with its header, into a packet of either family.
    #[inline]
    pub(in crate::socket) fn plain_len(&self) -> usize {
        let is_plain = self.ip.mtu_discover == MtuDiscover::Want && !self.ip.dont_fragment;
        let room = self.send_buffer.max(MIN_QUEUE) - OVERHEAD_BYTES;
        if is_plain { room.min(MAX_PLAIN_LEN) } else { 0 }
    }
}

/// Like [`Common::receive_datagram`], these functions change the account and the readiness by what
/// one datagram changes.
impl Common {
    /// Queues a datagram that passed the checks of its own. The pending error, EPIPE, EAGAIN or
    /// ENOBUFS.
    #[inline]
    pub(in crate::socket) fn send_datagram(
        &mut self,
        id: SocketId,
        outgoing: OutgoingDatagram,
    ) -> Result<usize> {
        self.queue_outgoing(id, outgoing, true)
    }

    /// Like [`send_datagram`](Common::send_datagram), whatever the state of the socket. EAGAIN,
    /// ENOBUFS.
    pub(in crate::socket) fn queue_datagram(
        &mut self,
        id: SocketId,
        outgoing: OutgoingDatagram,
    ) -> Result<usize> {
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
    pub(in crate::socket) fn pop_outgoing(
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
    /// Checks that a socket may send. The pending error, or EPIPE. As on Linux errors of the
    /// datagram itself come first.
    pub(in crate::socket) fn check_sender(&mut self, id: SocketId) -> Result<()> {
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
    pub(in crate::socket) fn check_broadcast(
        &self,
        network: &Network,
        id: SocketId,
        remote: IpAddr,
    ) -> Result<()> {
        let options = &self.record(id)?.options;
        if !options.broadcast && network.is_broadcast(remote, options.device) {
            return Err(Error::PermissionDenied);
        }
        Ok(())
    }

    /// Sends the datagram that calls with MSG_MORE have begun, if there is one. If there is no room
    /// for it, it stays. EAGAIN, ENOBUFS.
    #[cold]
    pub(in crate::socket) fn uncork(&mut self, id: SocketId) -> Result<()> {
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
}

impl Env<'_> {
    /// EMSGSIZE for a datagram that does not fit into a packet behind its header, or not into the
    /// send buffer, or into the path MTU if it must not be fragmented. `is_run`: it will be cut.
    /// [`SocketOptions::plain_len`] tells whether this is necessary.
    pub(in crate::socket) fn check_len(
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
    pub(in crate::socket) fn apply_route_flags(&mut self, flow: &FourTuple, flags: SendFlags) -> Result<()> {
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
    pub(in crate::socket) fn begin_corked(
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
    pub(in crate::socket) fn add_to_corked(
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
    pub(in crate::socket) fn send_packet(
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
