//! The way of a packet out: path (route, next hop), size, IP header, neighbour, link header.

use core::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use super::Network;
use super::drops::flow_of;
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::frame::{Frame, HeaderBuf, Payload, Transmit, payload_len};
use crate::iface::interface::IPV6_MIN_MTU;
use crate::iface::source::{self, Candidate};
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
use crate::offload::{Offloads, PartialChecksum, SegmentKind};
use crate::rate_limit::PeerKey;
use crate::time::Instant;
use crate::trace::PacketAddresses;

/// The largest packet on the loopback: both families can express this length.
const LOOPBACK_MTU: usize = 65535;

/// The path of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoutingDecision {
    /// To this host: it appears to come in through this interface.
    Local(InterfaceId),
    /// Out through an interface.
    Link(Hop),
}

/// The next hop of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) iface: InterfaceId,
    /// The address of the gateway, or of the destination itself.
    pub(super) next: IpAddr,
    pub(super) station: Station,
}

/// The receiver of a frame on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Station {
    /// The station that has the next hop's address.
    Neighbor,
    /// A group's or the broadcast address.
    Group(MacAddr),
}

impl Network {
    /// Whether packets to this address stay on this host: it is one of our addresses in use, or a
    /// loopback address.
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.interfaces.iter().any(|interface| interface.owns(addr))
    }

    /// Whether it is 255.255.255.255 or the broadcast address of one of our networks.
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => {
                addr.is_broadcast() || self.interfaces.iter().any(|interface| interface.is_broadcast(addr))
            }
            IpAddr::V6(_) => false,
        }
    }

    /// The source address for this destination (by route, then RFC 6724).
    pub(crate) fn source_for(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<IpAddr> {
        match self.path(dst, iface)? {
            RoutingDecision::Local(_) if dst.is_loopback() && dst.is_ipv4() => {
                Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            RoutingDecision::Local(_) => Ok(dst),
            RoutingDecision::Link(hop) => {
                let candidates = self.interfaces.iter().flat_map(|interface| {
                    interface.preferred().map(|cidr| Candidate { cidr, iface: interface.id })
                });
                let source = source::select(dst, hop.next, hop.iface, candidates);
                source.ok_or(Error::AddressNotAvailable)
            }
        }
    }

    /// Checks that there is a path to this destination. A socket that is bound to an address needs
    /// no more.
    pub(crate) fn check_route(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<()> {
        self.path(dst, iface).map(|_| ())
    }

    /// The interface that a packet to `dst` must leave through, if the scope of its address or the
    /// sender names one. ENODEV if that interface does not exist; EINVAL if the two name different
    /// ones.
    pub(crate) fn named_interface(
        &self,
        dst: IpAddr,
        scope: Option<InterfaceId>,
        named: Option<InterfaceId>,
    ) -> Result<Option<InterfaceId>> {
        match (scope, named) {
            (scope, None) => Ok(scope),
            // For a packet to this host, naming the loopback is always right.
            (scope, Some(InterfaceId::LOOPBACK)) if self.is_local(dst) => Ok(scope),
            (_, Some(named)) if self.interface(named).is_none() => Err(Error::NoDevice),
            (Some(scope), Some(named)) if scope != named => Err(Error::InvalidArgument),
            (_, named) => Ok(named),
        }
    }

    /// Checks whether a packet to `dst` may come from `src`, and returns `src`: one of our
    /// addresses, and if it is link-local, on the named interface. The errors are those of Linux
    /// 6.18: EINVAL, and ENETUNREACH for an IPv4 address of another host.
    pub(crate) fn check_source(
        &self,
        src: IpAddr,
        dst: IpAddr,
        iface: Option<InterfaceId>,
    ) -> Result<IpAddr> {
        let is_own = match iface.and_then(|iface| self.interface(iface)) {
            Some(interface) if is_link_local(src) => interface.owns(src),
            None if is_link_local(src) => false,
            _ => self.is_local(src),
        };
        if !is_own && src.is_ipv4() && !src.is_multicast() && src != Ipv4Addr::BROADCAST {
            return Err(Error::NetworkUnreachable);
        }
        if !is_own || !self.may_leave_from(src, self.path(dst, iface)?) {
            return Err(Error::InvalidArgument);
        }
        Ok(src)
    }

    /// The size of the largest IP packet to this destination: the link's MTU, or a smaller path MTU
    /// that was learned. Without a path, the smallest MTU that a link may have.
    pub(crate) fn path_mtu(&self, now: Instant, dst: IpAddr, iface: Option<InterfaceId>) -> usize {
        self.path(dst, iface).map_or(IPV6_MIN_MTU, |path| self.mtu_of(now, dst, path))
    }

    /// The MTU of the first link on the path to this destination: no larger packet can come back
    /// that way.
    pub(crate) fn link_mtu(&self, dst: IpAddr, iface: Option<InterfaceId>) -> usize {
        self.path(dst, iface).map_or(IPV6_MIN_MTU, |path| self.link_mtu_of(path))
    }

    /// Stores a path MTU from a "packet too big" that a transport has validated: packets to `dst`
    /// have at most `mtu` bytes for a while.
    pub(crate) fn learn_path_mtu(
        &mut self,
        now: Instant,
        dst: IpAddr,
        iface: Option<InterfaceId>,
        mtu: usize,
    ) {
        if let Ok(path @ RoutingDecision::Link(hop)) = self.path(dst, iface) {
            let current = self.mtu_of(now, dst, path);
            self.path_mtus.learn(now, dst, hop.iface, mtu, current);
        }
    }

    /// Notes that an upper layer made progress with this host (RFC 4861 §7.3.1), so that its
    /// neighbour entry is not probed.
    pub(crate) fn confirm_reachable(&mut self, now: Instant, dst: IpAddr, iface: Option<InterfaceId>) {
        if let Ok(RoutingDecision::Link(Hop { iface, next, station: Station::Neighbor })) =
            self.path(dst, iface)
            && let Some(interface) = self.interface_mut(iface)
        {
            interface.neighbors.confirm(now, next);
        }
    }

    /// The key under which packets to this address count in rate limits; `None` for this host
    /// itself, which has no limits.
    pub(crate) fn peer(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Option<PeerKey> {
        match self.path(dst, iface) {
            Ok(RoutingDecision::Link(hop)) => Some(PeerKey::host(dst, hop.next == dst)),
            Ok(RoutingDecision::Local(_)) => None,
            Err(_) => Some(PeerKey::host(dst, false)),
        }
    }

    /// Whether the device on the path to this destination cuts runs of this protocol's segments.
    pub(crate) fn can_cut(&self, dst: IpAddr, iface: Option<InterfaceId>, kind: SegmentKind) -> bool {
        match self.path(dst, iface) {
            Ok(RoutingDecision::Link(hop)) => self.offloads_of(hop.iface).cuts(kind),
            Ok(RoutingDecision::Local(_)) | Err(_) => false,
        }
    }

    fn offloads_of(&self, iface: InterfaceId) -> Offloads {
        self.interface(iface).map_or(Offloads::NONE, |interface| interface.offloads)
    }

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
        let PathMtu { mtu, needs_fragments } = self.path_mtu_of(ctx.now, meta.dst, path);
        let longest = meta.run.map_or(len, |run| len.min(header.len() + usize::from(run.len)));
        let fits = ip.len() + longest <= mtu;
        match &mut ip {
            OutgoingHeader::V4(fields) => {
                fields.dont_fragment = match meta.mtu_discovery {
                    MtuDiscovery::Dont => false,
                    MtuDiscovery::Want => fits && !needs_fragments,
                    MtuDiscovery::Do => !needs_fragments,
                }
            }
            OutgoingHeader::V6(fields) => {
                let ports = ports_of(meta.protocol, header.as_slice());
                fields.flow_label =
                    self.flow_labels.label(fields.src, fields.dst, ports, meta.protocol, meta.path_seed);
            }
        }
        let RoutingDecision::Link(hop) = path else {
            fill_checksum(&meta, &mut header, &payload);
            ip.prepend(&mut header, len);
            self.loop_back(ctx, path, meta.src, IpPacket::new(header, payload));
            return Ok(None);
        };
        if !fits {
            if meta.mtu_discovery == MtuDiscovery::Do {
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
        Ok(self.transmit_through(ctx, hop, IpPacket { header, payload, checksum, segments: meta.run }))
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
            let ports = transport.first().and_then(|header| flow_of(src, dst, hop.iface, header));
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

    /// Finds the path to a destination, through this interface if one is named.
    pub(super) fn path(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<RoutingDecision> {
        if dst.is_unspecified() {
            return Err(Error::NetworkUnreachable);
        }
        if let Some(local) = self.local_interface(dst, iface) {
            return Ok(RoutingDecision::Local(local));
        }
        if let Some(mac) = group_mac(dst) {
            let iface = self.interface_for_group(dst, iface)?;
            return Ok(RoutingDecision::Link(Hop { iface, next: dst, station: Station::Group(mac) }));
        }
        let (iface, next) = match iface {
            // A link-local address is always on the link itself.
            Some(iface) if is_link_local(dst) => (iface, dst),
            _ => match (self.routes.lookup(dst, iface), iface) {
                (Some(route), _) => (route.iface, route.gateway.unwrap_or(dst)),
                // As Linux 6.18 for IPv4 only: without a route through the named interface, every
                // address is taken to be on its link.
                (None, Some(iface)) if dst.is_ipv4() => (iface, dst),
                (None, _) => return Err(Error::NetworkUnreachable),
            },
        };
        let interface = self.interface(iface).ok_or(Error::NetworkUnreachable)?;
        let station = match next {
            IpAddr::V4(next) if interface.is_broadcast(next) => Station::Group(MacAddr::BROADCAST),
            _ => Station::Neighbor,
        };
        Ok(RoutingDecision::Link(Hop { iface, next, station }))
    }

    /// The interface through which packets to `dst` appear to come in, if `dst` is our own.
    /// Link-local addresses are valid only on their own link.
    fn local_interface(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Option<InterfaceId> {
        if dst.is_loopback() {
            return Some(InterfaceId::LOOPBACK);
        }
        let scoped = is_link_local(dst);
        let named = |id| !scoped || iface.is_none_or(|iface| iface == id);
        let owner = self.interfaces.iter().find(|interface| named(interface.id) && interface.owns(dst))?;
        Some(if scoped { owner.id } else { InterfaceId::LOOPBACK })
    }

    /// The interface for a multicast group: the one that is named, that of a route, or the first.
    fn interface_for_group(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<InterfaceId> {
        let chosen = iface.or_else(|| self.routes.lookup(dst, None).map(|route| route.iface));
        let chosen = chosen.or_else(|| self.interfaces.first().map(|interface| interface.id));
        chosen.filter(|&id| self.interface(id).is_some()).ok_or(Error::NetworkUnreachable)
    }

    /// Whether a packet may have this source. Loopback addresses never leave the host (RFC 1122
    /// §3.2.1.3 (g), RFC 4291 §2.5.3), and no host is a group.
    fn may_leave_from(&self, src: IpAddr, path: RoutingDecision) -> bool {
        let is_host = !src.is_unspecified() && !src.is_multicast() && !self.is_broadcast(src);
        is_host && (matches!(path, RoutingDecision::Local(_)) || !src.is_loopback())
    }

    fn mtu_of(&self, now: Instant, dst: IpAddr, path: RoutingDecision) -> usize {
        self.path_mtu_of(now, dst, path).mtu
    }

    fn path_mtu_of(&self, now: Instant, dst: IpAddr, path: RoutingDecision) -> PathMtu {
        let link = PathMtu { mtu: self.link_mtu_of(path), needs_fragments: false };
        let RoutingDecision::Link(hop) = path else { return link };
        let learned = self.path_mtus.lookup(now, dst, hop.iface);
        learned.map_or(link, |path| PathMtu { mtu: path.mtu.min(link.mtu), ..path })
    }

    fn link_mtu_of(&self, path: RoutingDecision) -> usize {
        let RoutingDecision::Link(hop) = path else { return LOOPBACK_MTU };
        self.interface(hop.iface).map_or(IPV6_MIN_MTU, |interface| interface.mtu)
    }

    /// The interface through which a packet from this host to itself appears to come in.
    pub(super) fn looped_through(&self, src: IpAddr, dst: IpAddr) -> InterfaceId {
        let scoped = [src, dst].into_iter().find(|&addr| is_link_local(addr));
        scoped.and_then(|addr| self.local_interface(addr, None)).unwrap_or(InterfaceId::LOOPBACK)
    }

    /// Queues a packet to this host for [`Network::poll_loopback`].
    fn loop_back(&mut self, ctx: &mut Ctx<'_>, path: RoutingDecision, src: IpAddr, packet: IpPacket) {
        if let RoutingDecision::Local(mut iface) = path {
            if is_link_local(src) {
                iface = self.local_interface(src, None).unwrap_or(iface);
            }
            let whole = Transmit::new(iface, packet.header, packet.payload).to_frame().bytes;
            if self.share.as_ref().is_some_and(|share| share.is_elsewhere(&whole)) {
                return self.queue(ctx, Transmit::from_frame(InterfaceId::LOOPBACK, Frame::new(whole)));
            }
            match self.loopback.push(iface, whole) {
                Ok(()) => ctx.stats.ip.loopback_packets += 1,
                Err((packet, reason)) => self.drop_packet(ctx, iface, &packet, reason),
            }
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
        let interface = self.interfaces.get_mut(hop.iface.index())?;
        let Medium::Ethernet(own) = interface.medium else {
            return Some(packet.into_transmit(hop.iface, 0));
        };
        let known = match hop.station {
            Station::Group(mac) => Some(mac),
            Station::Neighbor => interface.neighbors.resolve(ctx.now, hop.next),
        };
        if let Some(mac) = known {
            ethernet::prepend(&mut packet.header, own, mac, ethertype_of(hop.next));
            return Some(packet.into_transmit(hop.iface, ethernet::HEADER_LEN));
        }
        let waiting: usize =
            self.interfaces.iter().map(|interface| interface.neighbors.pending_bytes()).sum();
        if waiting + packet.memory_bytes() > ctx.config.packet_queue_limit_bytes() {
            self.drop_packet(ctx, hop.iface, packet.header.as_slice(), DropReason::MemoryLimit);
            return None;
        }
        let interface = self.interfaces.get_mut(hop.iface.index())?;
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

/// The MAC address of a multicast group or of 255.255.255.255, which need no route.
fn group_mac(dst: IpAddr) -> Option<MacAddr> {
    match dst {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        _ => MacAddr::for_group(dst),
    }
}

fn ethertype_of(addr: IpAddr) -> EtherType {
    match addr {
        IpAddr::V4(_) => EtherType::Ipv4,
        IpAddr::V6(_) => EtherType::Ipv6,
    }
}
