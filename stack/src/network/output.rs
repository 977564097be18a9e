//! The way of a packet out: path, size, IP header, neighbour, link header.

use core::net::IpAddr;

use bytes::Bytes;

use super::Network;
use super::drops::flow_of;
use super::path::{Hop, RoutingDecision, Station};
use crate::Ctx;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::frame::{Frame, HeaderBuf, Payload, Transmit, payload_len};
use crate::iface::link_state::LinkState;
use crate::interface_id::InterfaceId;
use crate::ip::checksum::{Checksum, transport_checksum};
use crate::ip::fragmentation::fragments;
use crate::ip::output::{IpMeta, MtuDiscovery, OutgoingHeader};
use crate::ip::packet::IpPacket;
use crate::ip::pmtu::PathMtu;
use crate::ip::{is_link_local, protocol};
use crate::link::ethernet::{self, EtherType};
use crate::link::mac::MacAddr;
use crate::link::medium::Medium;
use crate::link::neighbor::Enqueued;
use crate::offload::PartialChecksum;
use crate::trace::PacketAddresses;

impl Network {
    /// Sends a transport packet: `header` holds the transport header, and the network layer
    /// prepends its own. `Ok(None)`: the packet went to the loopback, waits for a neighbour, or was
    /// cut into fragments that [`Network::poll_transmit`] returns.
    ///
    /// The caller counts or returns an error; the packet has not been counted as dropped.
    pub(crate) fn output(
        &mut self,
        ctx: &mut Ctx<'_>,
        meta: IpMeta,
        mut header: HeaderBuf,
        payload: Payload,
    ) -> Result<Option<Transmit>> {
        let mut ip = OutgoingHeader::new(&meta, ctx.config.ip.hop_limit)?;
        let path = self.path(meta.dst, meta.iface)?;
        if !self.may_leave_from(meta.src, path) {
            return Err(Error::InvalidArgument);
        }
        let len = header.len() + payload_len(&payload);
        if ip.len() + len > ip.max_packet_len() {
            return Err(Error::MessageTooLong);
        }
        let PathMtu { mtu, needs_fragments } = match meta.mtu_discovery.ignores_path() {
            true => PathMtu { mtu: self.link_mtu_of(path), needs_fragments: false },
            false => self.path_mtu_of(ctx.now, meta.dst, path),
        };
        let longest = meta.run.map_or(len, |run| len.min(header.len() + usize::from(run.len)));
        let fits = ip.len() + longest <= mtu;
        match &mut ip {
            OutgoingHeader::V4(fields) => {
                fields.dont_fragment = match meta.mtu_discovery {
                    MtuDiscovery::Dont | MtuDiscovery::Interface | MtuDiscovery::Omit => false,
                    MtuDiscovery::Want => fits && !needs_fragments,
                    MtuDiscovery::Do => !needs_fragments,
                    MtuDiscovery::Never | MtuDiscovery::Probe => true,
                }
            }
            OutgoingHeader::V6(fields) => {
                let ports = ports_of(meta.protocol, header.as_slice());
                fields.flow_label =
                    self.flow_labels.label(fields.src, fields.dst, ports, meta.protocol, meta.path_seed);
                if meta.hop_limit.is_none()
                    && let RoutingDecision::Link(hop) = path
                    && let Some(interface) = self.interface(hop.iface)
                {
                    fields.hop_limit = interface.advertised_hop_limit.unwrap_or(fields.hop_limit);
                }
            }
        }
        let RoutingDecision::Link(hop) = path else {
            fill_checksum(&meta, &mut header, &payload);
            ip.prepend(&mut header, len);
            self.loop_back(ctx, path, meta.src, IpPacket::new(header, payload));
            return Ok(None);
        };
        if let Station::Group(_) = hop.station {
            self.output_to_group(ctx, hop, &meta, ip, (&header, &payload));
            if !leaves_host(&ip) {
                return Ok(None);
            }
        }
        if !fits {
            if meta.mtu_discovery.refuses() {
                return Err(Error::MessageTooLong);
            }
            fill_checksum(&meta, &mut header, &payload);
            let mut transport = Payload::from_iter([Bytes::copy_from_slice(header.as_slice())]);
            transport.extend(payload);
            return self.output_fragments(ctx, hop, ip, mtu, &transport);
        }
        // RFC 6864 §4: a packet that cannot be fragmented needs no identification.
        if let OutgoingHeader::V4(fields) = &mut ip
            && !fields.dont_fragment
        {
            let count = meta.run.map_or(1, |run| (len - header.len()).div_ceil(usize::from(run.len)));
            let flow = (meta.src, meta.dst, meta.protocol);
            fields.ident = self.identifications.reserve(ctx.now, ctx.rng, flow, count as u32) as u16;
        }
        let checksum = match meta.checksum_at {
            Some(at) if self.offloads_of(hop.iface).checksum => {
                begin_checksum(&meta, at, &mut header, len);
                // The length is 20 or 40.
                Some(PartialChecksum { start: ip.len() as u16, offset: u16::from(at) })
            }
            _ => {
                fill_checksum(&meta, &mut header, &payload);
                None
            }
        };
        ip.prepend(&mut header, len);
        let packet = IpPacket { checksum, segments: meta.run, ..IpPacket::new(header, payload) };
        Ok(self.transmit_through(ctx, hop, packet))
    }

    /// Sends a packet whose IP header a program has made towards the end of this flow, whatever the
    /// header says. `None`: the packet went to the loopback, waits for a neighbour, or was dropped.
    pub(crate) fn output_made_packet(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: &FourTuple,
        iface: Option<InterfaceId>,
        header: HeaderBuf,
        payload: Payload,
    ) -> Option<Transmit> {
        let (src, dst) = (flow.local.addr, flow.remote.addr);
        let path = self.path(dst, iface);
        let fits = |path| header.len() + payload_len(&payload) <= self.link_mtu_of(path);
        let reason = match path {
            Ok(path) if fits(path) => {
                let packet = IpPacket::new(header, payload);
                let RoutingDecision::Link(hop) = path else {
                    self.loop_back(ctx, path, src, packet);
                    return None;
                };
                return self.transmit_through(ctx, hop, packet);
            }
            Ok(_) => DropReason::PacketTooBig,
            Err(_) => DropReason::NoRoute,
        };
        let packet = PacketAddresses { src, dst, protocol: flow.local.port as u8 };
        self.drop_unsent(ctx, iface, packet, None, reason);
        None
    }

    /// An identification for a packet of these addresses and this protocol.
    pub(crate) fn next_identification(&mut self, ctx: &mut Ctx<'_>, flow: (IpAddr, IpAddr, u8)) -> u16 {
        self.identifications.next(ctx.now, ctx.rng, flow) as u16
    }

    /// Reserves identifications for packets that the caller makes from the headers of one that was
    /// just sent.
    pub(crate) fn reserve_identifications(
        &mut self,
        ctx: &mut Ctx<'_>,
        src: IpAddr,
        dst: IpAddr,
        count: u32,
    ) {
        self.identifications.reserve(ctx.now, ctx.rng, (src, dst, protocol::TCP), count);
    }

    /// Sends a packet in fragments of at most `mtu` bytes; either all of them or none.
    fn output_fragments(
        &mut self,
        ctx: &mut Ctx<'_>,
        hop: Hop,
        ip: OutgoingHeader,
        mtu: usize,
        transport: &[Bytes],
    ) -> Result<Option<Transmit>> {
        let flow = ip.flow();
        let id = self.identifications.next(ctx.now, ctx.rng, flow);
        let fragments = fragments(ip, id, mtu, transport).ok_or(Error::MessageTooLong)?;
        if fragments.len() > self.transmits.room() {
            let (src, dst, protocol) = flow;
            let packet = PacketAddresses { src, dst, protocol };
            let ports = transport
                .first()
                .and_then(|header| flow_of((src, dst), (hop.iface, self.is_apart(hop.iface)), header));
            self.drop_unsent(ctx, Some(hop.iface), packet, ports.as_ref(), DropReason::TransmitQueueFull);
            return Ok(None);
        }
        ctx.stats.ip.frag_oks += 1;
        for packet in fragments {
            ctx.stats.ip.frag_creates += 1;
            if let Some(transmit) = self.transmit_through(ctx, hop, packet) {
                self.queue(ctx, transmit);
            }
        }
        Ok(None)
    }

    /// Sends a packet that the network layer made, and counts it if it cannot be sent.
    pub(super) fn output_own(
        &mut self,
        ctx: &mut Ctx<'_>,
        meta: IpMeta,
        header: HeaderBuf,
        payload: Payload,
    ) {
        match self.output(ctx, meta, header, payload) {
            Ok(Some(transmit)) => self.queue(ctx, transmit),
            Ok(None) => {}
            Err(error) => self.drop_refused(ctx, None, &meta, error),
        }
    }

    /// Puts a copy of a packet to a group or broadcast address on the loopback, if it is to be
    /// looped.
    fn output_to_group(
        &mut self,
        ctx: &mut Ctx<'_>,
        hop: Hop,
        meta: &IpMeta,
        ip: OutgoingHeader,
        (header, payload): (&HeaderBuf, &Payload),
    ) {
        if meta.is_looped {
            let (mut header, payload) = (header.clone(), payload.clone());
            let len = header.len() + payload_len(&payload);
            fill_checksum(meta, &mut header, &payload);
            ip.prepend(&mut header, len);
            self.loop_group(ctx, hop.iface, (meta.src, meta.dst), header, payload);
        }
    }

    /// Queues a packet to this host for [`Network::poll_loopback`].
    fn loop_back(&mut self, ctx: &mut Ctx<'_>, path: RoutingDecision, src: IpAddr, packet: IpPacket) {
        if let RoutingDecision::Local(mut iface) = path {
            if is_link_local(src) && !self.is_apart(iface) {
                iface = self.local_interface(src, None).unwrap_or(iface);
            }
            let whole = Transmit::new(iface, packet.header, packet.payload).to_frame().bytes;
            self.push_loopback(ctx, iface, whole);
        }
    }

    /// Puts a packet on the loopback, or hands it to the stack that has its socket.
    pub(super) fn push_loopback(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, packet: Bytes) {
        let is_elsewhere = self.share.as_ref().is_some_and(|share| share.is_elsewhere(&packet));
        if is_elsewhere && !self.is_apart(iface) {
            return self.queue(ctx, Transmit::from_frame(InterfaceId::LOOPBACK, Frame::new(packet)));
        }
        match self.loopback.push(iface, packet) {
            Ok(()) => ctx.stats.ip.loopback_packets += 1,
            Err((packet, reason)) => self.drop_packet(ctx, iface, &packet, reason),
        }
    }

    /// Prepends the link header. `None`: the neighbour is not known yet, and the packet waits for
    /// it.
    pub(super) fn transmit_through(
        &mut self,
        ctx: &mut Ctx<'_>,
        hop: Hop,
        mut packet: IpPacket,
    ) -> Option<Transmit> {
        let interface = self.interface_mut(hop.iface)?;
        let is_down = interface.link == LinkState::Down;
        let Medium::Ethernet(own) = interface.medium else {
            if is_down {
                self.drop_packet(ctx, hop.iface, packet.header.as_slice(), DropReason::LinkDown);
                return None;
            }
            return Some(packet.into_transmit(hop.iface, 0));
        };
        let known = match hop.station {
            Station::Group(mac) => Some(mac),
            Station::Neighbor => interface.neighbors.resolve(ctx.now, hop.next),
        };
        if let Some(mac) = known {
            if is_down {
                self.drop_packet(ctx, hop.iface, packet.header.as_slice(), DropReason::LinkDown);
                return None;
            }
            ethernet::prepend(&mut packet.header, own, mac, ethertype_of(hop.next));
            return Some(packet.into_transmit(hop.iface, ethernet::HEADER_LEN));
        }
        // Of the packets that wait, at most half are forwarded ones: other hosts must not keep ours
        // from being sent.
        let (mut limit, mut is_full) = (ctx.config.packet_queue_limit_bytes(), false);
        if packet.is_forwarded {
            (limit, is_full) = (limit / 2, interface.neighbors.is_half_full());
        }
        let waiting: usize =
            self.interfaces.iter().map(|interface| interface.neighbors.pending_bytes()).sum();
        if is_full || waiting + packet.memory_bytes() > limit {
            let reason = if is_full { DropReason::NeighborQueueFull } else { DropReason::MemoryLimit };
            self.drop_packet(ctx, hop.iface, packet.header.as_slice(), reason);
            return None;
        }
        let interface = self.interface_mut(hop.iface)?;
        let Enqueued { solicit, dropped } = interface.neighbors.enqueue(ctx.now, hop.next, packet);
        for packet in dropped {
            self.drop_packet(ctx, hop.iface, packet.header.as_slice(), DropReason::NeighborQueueFull);
        }
        if solicit {
            self.solicit(ctx, hop.iface, hop.next, None);
        }
        None
    }

    /// Sends an ARP packet to a station.
    pub(super) fn transmit_to(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        dst: MacAddr,
        ethertype: EtherType,
        mut header: HeaderBuf,
    ) {
        if let Some(own) = self.interface(iface).and_then(|interface| interface.mac()) {
            ethernet::prepend(&mut header, own, dst, ethertype);
            self.queue(ctx, Transmit::new(iface, header, Payload::new()));
        }
    }
}

/// Whether a packet to a group is sent at all: not with a TTL of 0, and not to a group of scope 0
/// or 1 (RFC 4291 §2.7).
fn leaves_host(ip: &OutgoingHeader) -> bool {
    let is_near = match ip {
        OutgoingHeader::V4(_) => false,
        OutgoingHeader::V6(fields) => fields.dst.is_multicast() && fields.dst.octets()[1] & 0x0f <= 1,
    };
    ip.hop_limit() > 0 && !is_near
}

/// Both ports as one number; 0 for protocols without ports.
fn ports_of(protocol: u8, transport: &[u8]) -> u32 {
    match transport.first_chunk() {
        Some(&ports) if matches!(protocol, protocol::TCP | protocol::UDP) => u32::from_be_bytes(ports),
        _ => 0,
    }
}

/// Computes the transport's checksum, unless the transport has filled it in.
fn fill_checksum(meta: &IpMeta, header: &mut HeaderBuf, payload: &Payload) {
    let Some(at) = meta.checksum_at else { return };
    let sum = transport_checksum(meta.src, meta.dst, meta.protocol, header.as_slice(), payload);
    // RFC 768: zero means "no checksum", so a sum of zero is sent as its complement.
    let sum = if sum == 0 && meta.protocol == protocol::UDP { 0xffff } else { sum };
    set_checksum(header, at, sum);
}

/// Prepares the checksum of `len` bytes, which the device completes.
fn begin_checksum(meta: &IpMeta, at: u8, header: &mut HeaderBuf, len: usize) {
    let mut checksum = Checksum::default();
    checksum.add_pseudo_header(meta.src, meta.dst, meta.protocol, len);
    set_checksum(header, at, checksum.unfinished());
}

fn set_checksum(transport: &mut HeaderBuf, at: u8, sum: u16) {
    let at = usize::from(at);
    transport.as_mut_slice()[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn ethertype_of(addr: IpAddr) -> EtherType {
    match addr {
        IpAddr::V4(_) => EtherType::Ipv4,
        IpAddr::V6(_) => EtherType::Ipv6,
    }
}
