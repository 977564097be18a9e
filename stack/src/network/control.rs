//! ICMP, ARP and NDP: what the network layer itself is asked and asks.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};

use super::Network;
use super::output::{Hop, Path, Station};
use super::types::{Cast, Datagram, Delivery, InterfaceId, IpMeta, NetworkError, NetworkErrorKind};
use crate::Ctx;
use crate::frame::Payload;
use crate::icmp::{self, IcmpError, MessageClass, classify_v4, classify_v6, echo, errors};
use crate::iface::address::{AddressEvent, AddressState};
use crate::iface::source::{self, Candidate};
use crate::ip::checksum::{verify_internet_checksum, verify_transport_checksum};
use crate::ip::extension;
use crate::ip::input::Arrival;
use crate::ip::ipv6::Ipv6Fields;
use crate::ip::quote::Quote;
use crate::ip::{is_link_local, protocol, read_u8};
use crate::link::arp::{ArpPacket, Operation};
use crate::link::ethernet::{EtherType, EthernetFrame};
use crate::link::mac::MacAddr;
use crate::link::ndp::{self, Flags, NdpMessage};
use crate::link::neighbor::{Advertised, IpPacket, NeighborEvent, Pending};
use crate::stats::DropReason;

/// A packet that an ICMP error is about.
pub(super) struct Offender<'a> {
    pub(super) iface: InterfaceId,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) traffic_class: u8,
    pub(super) cast: Cast,
    pub(super) packet: &'a Bytes,
}

/// ICMP.
impl Network {
    pub(super) fn handle_icmp_v4(&mut self, ctx: &mut Ctx<'_>, datagram: Datagram) -> Option<Delivery> {
        let message = &datagram.transport;
        let kind = read_u8(message, 0).filter(|_| message.len() >= icmp::HEADER_LEN);
        let Some(kind) = kind.filter(|_| verify_internet_checksum(message)) else {
            ctx.stats.count_drop(DropReason::BadIcmp);
            return None;
        };
        self.handle_icmp(ctx, classify_v4(kind), datagram)
    }

    pub(super) fn handle_icmp_v6(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        datagram: Datagram,
    ) -> Option<Delivery> {
        let message = &datagram.transport;
        let kind = read_u8(message, 0).filter(|_| message.len() >= icmp::HEADER_LEN);
        let is_right = verify_transport_checksum(datagram.src, datagram.dst, protocol::ICMPV6, message);
        let Some(kind) = kind.filter(|_| is_right) else {
            ctx.stats.count_drop(DropReason::BadIcmp);
            return None;
        };
        match classify_v6(kind) {
            MessageClass::Neighbor => {
                self.handle_ndp(ctx, arrival, &datagram);
                None
            }
            // RFC 4291 §2.5.2.
            _ if datagram.src.is_unspecified() => {
                ctx.stats.count_drop(DropReason::Martian);
                None
            }
            class => self.handle_icmp(ctx, class, datagram),
        }
    }

    /// What both families have in common.
    fn handle_icmp(
        &mut self,
        ctx: &mut Ctx<'_>,
        class: MessageClass,
        datagram: Datagram,
    ) -> Option<Delivery> {
        let reason = match class {
            MessageClass::EchoReply => return Some(Delivery::EchoReply(datagram)),
            MessageClass::EchoRequest => {
                self.answer_echo(ctx, &datagram);
                return None;
            }
            MessageClass::Error => {
                match errors::parse(datagram.iface, &datagram.transport, datagram.src.is_ipv4()) {
                    Ok(error) if self.is_local(error.local) => return Some(Delivery::Error(error)),
                    Ok(_) => DropReason::UnmatchedIcmpError,
                    Err(reason) => reason,
                }
            }
            // RFC 1122 §3.2.2.2 lets hosts act on redirects; whoever is on the link can forge them, and our routes
            // are configured.
            MessageClass::Redirect => DropReason::RedirectIgnored,
            MessageClass::Neighbor | MessageClass::Unknown => DropReason::UnknownIcmp,
        };
        ctx.stats.count_drop(reason);
        None
    }

    fn answer_echo(&mut self, ctx: &mut Ctx<'_>, request: &Datagram) {
        // RFC 1122 §3.2.2.6: requests to an IPv4 group may be ignored, and Linux does: they make amplifiers.
        let to_group_v4 = request.cast != Cast::Unicast && request.src.is_ipv4();
        if !ctx.config.ip.answer_echo || to_group_v4 {
            ctx.stats.count_drop(DropReason::EchoIgnored);
            return;
        }
        let iface = is_link_local(request.src).then_some(request.iface);
        // RFC 4443 §4.2: a request to a group is answered from an address of the interface that it came through.
        let src = if request.dst.is_multicast() {
            self.source_for(request.src, Some(request.iface))
        } else {
            Ok(request.dst)
        };
        let Ok(src) = src else { return ctx.stats.count_drop(DropReason::NoRoute) };
        let Some((header, payload)) = echo::reply(src, request.src, &request.transport) else {
            return ctx.stats.count_drop(DropReason::BadIcmp);
        };
        ctx.stats.echo_replies_sent += 1;
        let meta = IpMeta {
            src,
            dst: request.src,
            protocol: request.protocol,
            hop_limit: None,
            traffic_class: request.traffic_class,
            dont_fragment: false,
            iface,
        };
        self.output_own(ctx, meta, header, payload);
    }

    /// Answers a datagram that no socket wanted with "port unreachable" or "protocol unreachable", within the rate limit.
    pub(crate) fn send_unreachable(&mut self, ctx: &mut Ctx<'_>, about: &Datagram, why: NetworkErrorKind) {
        let error = match why {
            NetworkErrorKind::NetUnreachable => IcmpError::NetUnreachable,
            NetworkErrorKind::HostUnreachable => IcmpError::HostUnreachable,
            NetworkErrorKind::Prohibited => IcmpError::Prohibited,
            NetworkErrorKind::PortUnreachable => IcmpError::PortUnreachable,
            NetworkErrorKind::ProtocolUnreachable => {
                let named_at = match about.src {
                    IpAddr::V4(_) => 9,
                    IpAddr::V6(_) => extension::walk(&about.packet, false).map_or(6, |chain| chain.named_at),
                };
                IcmpError::ProtocolUnreachable { pointer: named_at as u32 }
            }
            // Not ours to say: we forward nothing.
            NetworkErrorKind::PacketTooBig { .. }
            | NetworkErrorKind::TimeExceeded
            | NetworkErrorKind::ParameterProblem => return,
        };
        let offender = Offender {
            iface: about.iface,
            src: about.src,
            dst: about.dst,
            traffic_class: about.traffic_class,
            cast: about.cast,
            packet: &about.packet,
        };
        self.send_icmp_error(ctx, &offender, error);
    }

    /// Tells the sender of a packet what is wrong with it, where RFC 1122 §3.2.2 and RFC 4443 §2.4 (e) allow it and
    /// the rate limit has room.
    pub(super) fn send_icmp_error(&mut self, ctx: &mut Ctx<'_>, offender: &Offender<'_>, error: IcmpError) {
        let (src, dst) = (offender.src, offender.dst);
        let to_nobody = src.is_unspecified() || src.is_multicast() || self.is_broadcast(src);
        if offender.cast != Cast::Unicast || to_nobody {
            return;
        }
        let quote = Quote::parse(offender.packet);
        if quote.is_none_or(|quote| quote.is_later_fragment || quote.is_icmp_error(offender.packet)) {
            return;
        }
        let iface = is_link_local(src).then_some(offender.iface);
        let Ok(path) = self.path(src, iface) else { return };
        if matches!(path, Path::Link(_)) && !self.icmp_limit.take(ctx.now) {
            ctx.stats.count_drop(DropReason::IcmpRateLimit);
            return;
        }
        let own = if self.is_local(dst) { Ok(dst) } else { self.source_for(src, iface) };
        let Ok(own) = own else { return };
        let (header, payload) = error.emit(own, src, offender.packet);
        ctx.stats.icmp_errors_sent += 1;
        let (protocol, traffic_class) = match own {
            // RFC 1812 §4.3.2.5: the type of service of the packet, and the precedence of control traffic.
            IpAddr::V4(_) => (protocol::ICMP, offender.traffic_class & 0x1e | 0xc0),
            IpAddr::V6(_) => (protocol::ICMPV6, 0),
        };
        let meta = IpMeta {
            src: own,
            dst: src,
            protocol,
            hop_limit: None,
            traffic_class,
            dont_fragment: false,
            iface,
        };
        self.output_own(ctx, meta, header, payload);
    }
}

/// ARP.
impl Network {
    pub(super) fn handle_arp(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, frame: &EthernetFrame) {
        let arp = match ArpPacket::parse(&frame.payload) {
            Ok(arp) => arp,
            Err(reason) => return ctx.stats.count_drop(reason),
        };
        let Some(interface) = self.interface_mut(iface) else { return };
        let Some(own) = interface.mac() else { return };
        let (sender, target) = (IpAddr::V4(arp.sender_ip), IpAddr::V4(arp.target_ip));
        let is_probe = arp.operation == Operation::Request && arp.sender_ip.is_unspecified();

        // RFC 5227 §2.1.1 and §2.4: somebody else has the address, or probes for it while we do.
        let claims = |state| matches!(state, Some(AddressState::Tentative | AddressState::Preferred));
        let probes_with_us = is_probe
            && interface.address_state(target) == Some(AddressState::Tentative)
            && arp.sender_mac != own;
        if (claims(interface.address_state(sender)) && arp.sender_mac != own) || probes_with_us {
            let contested = if probes_with_us { target } else { sender };
            return self.on_address_conflict(ctx, iface, contested);
        }
        if arp.operation == Operation::Request && interface.owns(target) {
            if !is_probe {
                let pending = interface.neighbors.on_solicited_by(ctx.now, sender, arp.sender_mac);
                self.send_pending(ctx, iface, sender, pending);
            }
            let reply = arp.reply(own).emit();
            return self.transmit_to(ctx, iface, arp.sender_mac, EtherType::Arp, reply);
        }
        // RFC 826: an entry that is there is brought up to date by whatever comes; only an answer to us confirms it.
        let solicited = arp.operation == Operation::Reply && frame.cast == Cast::Unicast;
        let said = Advertised { mac: Some(arp.sender_mac), solicited, override_: true };
        match interface.neighbors.on_advertised(ctx.now, sender, said) {
            Some(pending) => self.send_pending(ctx, iface, sender, pending),
            None => ctx.stats.count_drop(DropReason::BadArp),
        }
    }
}

/// NDP.
impl Network {
    fn handle_ndp(&mut self, ctx: &mut Ctx<'_>, arrival: Arrival, datagram: &Datagram) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (datagram.src, datagram.dst) else { return };
        let iface = datagram.iface;
        let own = self.interface(iface).and_then(|interface| interface.mac());
        let Some(own) = own.filter(|_| !arrival.looped) else {
            // There are no neighbours on the loopback, nor on a link without link addresses.
            return ctx.stats.count_drop(DropReason::BadNdp);
        };
        match NdpMessage::parse(src, dst, datagram.hop_limit, &datagram.transport) {
            Ok(NdpMessage::Solicitation { target, source_mac }) => {
                self.handle_solicitation(ctx, iface, own, src, target, source_mac);
            }
            Ok(NdpMessage::Advertisement { target, target_mac, flags }) => {
                self.handle_advertisement(ctx, iface, target, target_mac, flags);
            }
            Err(reason) => ctx.stats.count_drop(reason),
        }
    }

    /// RFC 4861 §7.2.3, RFC 4862 §5.4.3.
    fn handle_solicitation(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        own: MacAddr,
        src: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: Option<MacAddr>,
    ) {
        let Some(interface) = self.interface_mut(iface) else { return };
        match interface.address_state(IpAddr::V6(target)) {
            Some(AddressState::Preferred) => {}
            Some(AddressState::Tentative) if src.is_unspecified() => {
                return self.on_address_conflict(ctx, iface, IpAddr::V6(target));
            }
            _ => return ctx.stats.count_drop(DropReason::BadNdp),
        }
        let solicited = !src.is_unspecified();
        let answer = NdpMessage::Advertisement {
            target,
            target_mac: Some(own),
            flags: Flags { router: false, solicited, override_: true },
        };
        if !solicited {
            return self.send_ndp(ctx, iface, answer, target, ndp::ALL_NODES, None);
        }
        if let Some(mac) = source_mac {
            let pending = interface.neighbors.on_solicited_by(ctx.now, IpAddr::V6(src), mac);
            self.send_pending(ctx, iface, IpAddr::V6(src), pending);
        }
        self.send_ndp(ctx, iface, answer, target, src, source_mac);
    }

    /// RFC 4861 §7.2.5, RFC 4862 §5.4.4.
    fn handle_advertisement(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        target: Ipv6Addr,
        target_mac: Option<MacAddr>,
        flags: Flags,
    ) {
        let target = IpAddr::V6(target);
        let Some(interface) = self.interface_mut(iface) else { return };
        if interface.address_state(target).is_some() {
            return self.on_address_conflict(ctx, iface, target);
        }
        let said = Advertised { mac: target_mac, solicited: flags.solicited, override_: flags.override_ };
        match interface.neighbors.on_advertised(ctx.now, target, said) {
            Some(pending) => self.send_pending(ctx, iface, target, pending),
            None => ctx.stats.count_drop(DropReason::BadNdp),
        }
    }

    /// Sends an NDP message: to this station, to a group's, or to whoever has the address.
    fn send_ndp(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        message: NdpMessage,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        let mut header = message.emit(src, dst);
        let len = header.len();
        let hop_limit = ndp::HOP_LIMIT;
        let next_header = protocol::ICMPV6;
        Ipv6Fields { src, dst, next_header, hop_limit, traffic_class: 0 }.prepend(&mut header, len);
        match mac.or_else(|| MacAddr::for_group(IpAddr::V6(dst))) {
            Some(mac) => self.transmit_to(ctx, iface, mac, EtherType::Ipv6, header),
            None => {
                let hop = Hop { iface, next: IpAddr::V6(dst), station: Station::Neighbor };
                let packet = IpPacket { header, payload: Payload::new() };
                if let Some(transmit) = self.transmit_through(ctx, hop, packet) {
                    self.queue(ctx, transmit);
                }
            }
        }
    }
}

/// What ARP and NDP have in common.
impl Network {
    /// Asks who has `addr`: all, or the station that had it (RFC 4861 §7.2.2, §7.3.3; RFC 1122 §2.3.2.1).
    pub(super) fn solicit(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        addr: IpAddr,
        mac: Option<MacAddr>,
    ) {
        let Some(interface) = self.interface(iface) else { return };
        let Some(own) = interface.mac() else { return };
        let candidates = interface.preferred().map(|cidr| Candidate { cidr, iface });
        // Without an address nobody can answer us. The timer goes on: there may be one by then.
        let Some(src) = source::select(addr, addr, iface, candidates) else { return };
        ctx.stats.solicitations_sent += 1;
        match (src, addr) {
            (IpAddr::V4(src), IpAddr::V4(addr)) => {
                let request = ArpPacket::request(own, src, addr).emit();
                self.transmit_to(ctx, iface, mac.unwrap_or(MacAddr::BROADCAST), EtherType::Arp, request);
            }
            (IpAddr::V6(src), IpAddr::V6(addr)) => {
                let message = NdpMessage::Solicitation { target: addr, source_mac: Some(own) };
                let dst = if mac.is_some() { addr } else { ndp::solicited_node(addr) };
                self.send_ndp(ctx, iface, message, src, dst, mac);
            }
            _ => {}
        }
    }

    /// Sends what waited for a neighbour that was found.
    fn send_pending(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, next: IpAddr, pending: Pending) {
        let hop = Hop { iface, next, station: Station::Neighbor };
        for packet in pending {
            if let Some(transmit) = self.transmit_through(ctx, hop, packet) {
                self.queue(ctx, transmit);
            }
        }
    }

    fn on_address_conflict(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, addr: IpAddr) {
        ctx.stats.address_conflicts += 1;
        let Some(interface) = self.interface_mut(iface) else { return };
        let event = interface.address_mut(addr).and_then(|address| address.on_conflict(ctx.now));
        if let Some(event) = event {
            self.run_address_event(ctx, iface, event);
        }
    }

    /// Does what is due on an interface.
    pub(super) fn run_interface_timers(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        let Some(interface) = self.interface_mut(iface) else { return };
        if interface.poll_timeout().is_none_or(|at| ctx.now < at) {
            return;
        }
        let address_events = interface.handle_address_timeouts(ctx.now, &ctx.config.neighbor);
        let neighbor_events = interface.neighbors.handle_timeout(ctx.now);
        for event in address_events {
            self.run_address_event(ctx, iface, event);
        }
        for event in neighbor_events {
            match event {
                NeighborEvent::Solicit { addr, mac } => self.solicit(ctx, iface, addr, mac),
                NeighborEvent::Unreachable { pending } => self.give_up(ctx, iface, &pending),
            }
        }
    }

    fn run_address_event(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, event: AddressEvent) {
        let Some(own) = self.interface(iface).and_then(|interface| interface.mac()) else { return };
        match event {
            AddressEvent::Probe(IpAddr::V4(addr)) => {
                ctx.stats.solicitations_sent += 1;
                let probe = ArpPacket::request(own, Ipv4Addr::UNSPECIFIED, addr).emit();
                self.transmit_to(ctx, iface, MacAddr::BROADCAST, EtherType::Arp, probe);
            }
            AddressEvent::Announce(IpAddr::V4(addr)) => {
                let announcement = ArpPacket::announcement(own, addr).emit();
                self.transmit_to(ctx, iface, MacAddr::BROADCAST, EtherType::Arp, announcement);
            }
            AddressEvent::Probe(IpAddr::V6(addr)) => {
                ctx.stats.solicitations_sent += 1;
                let probe = NdpMessage::Solicitation { target: addr, source_mac: None };
                let group = ndp::solicited_node(addr);
                self.send_ndp(ctx, iface, probe, Ipv6Addr::UNSPECIFIED, group, None);
            }
            AddressEvent::Announce(IpAddr::V6(addr)) => {
                // RFC 4861 §7.2.6.
                let flags = Flags { router: false, solicited: false, override_: true };
                let message = NdpMessage::Advertisement { target: addr, target_mac: Some(own), flags };
                self.send_ndp(ctx, iface, message, addr, ndp::ALL_NODES, None);
            }
        }
    }

    /// RFC 4861 §7.2.2: the senders of the packets that waited in vain are told, here without an ICMP packet.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, pending: &Pending) {
        for packet in pending {
            ctx.stats.count_drop(DropReason::NeighborUnreachable);
            if self.errors.len() < ctx.config.ip.max_queued_frames
                && let Some(error) = host_unreachable(iface, packet)
            {
                self.errors.push_back(error);
            }
        }
    }
}

/// The error about a packet of a transport of ours that found no neighbour.
fn host_unreachable(iface: InterfaceId, packet: &IpPacket) -> Option<NetworkError> {
    /// As much of the transport header as an error needs.
    const TRANSPORT_LEN: usize = 64;
    let quote = Quote::parse(packet.header.as_slice())?;
    let mut transport = BytesMut::from(packet.header.as_slice().get(quote.transport_at..)?);
    for slice in &packet.payload {
        let missing = TRANSPORT_LEN.saturating_sub(transport.len());
        transport.extend_from_slice(slice.get(..missing.min(slice.len()))?);
    }
    let asks = match quote.protocol {
        protocol::ICMP => transport.first() == Some(&8),
        protocol::ICMPV6 => transport.first() == Some(&128),
        _ => true,
    };
    // Replies and errors of our own have no socket that waits.
    (asks && !quote.is_later_fragment && transport.len() >= 8).then(|| NetworkError {
        iface: Some(iface),
        local: quote.src,
        remote: quote.dst,
        protocol: quote.protocol,
        transport: transport.freeze(),
        kind: NetworkErrorKind::HostUnreachable,
    })
}
