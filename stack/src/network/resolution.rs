//! ARP and NDP: resolution of neighbours and detection of duplicate addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;

use super::Network;
use super::path::{Hop, Station};
use super::types::Datagram;
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::frame::{HeaderBuf, Payload};
use crate::icmp::echo;
use crate::icmp::network_error::{NetworkError, NetworkErrorKind};
use crate::icmp::quote::Quote;
use crate::iface::address::{AddressEvent, AddressState};
use crate::iface::source;
use crate::interface_id::InterfaceId;

use crate::ip::input::Arrival;
use crate::ip::ipv6::Ipv6Fields;
use crate::ip::packet::IpPacket;
use crate::ip::{Cast, protocol, read_u8};
use crate::link::arp::{ArpPacket, Operation};
use crate::link::ethernet::{EtherType, EthernetFrame};
use crate::link::mac::MacAddr;
use crate::link::ndp::{self, AdvertisementFlags, NdpMessage};
use crate::link::neighbor::{Advertised, NeighborEvent, PendingPackets};
use crate::link::router_advertisement::ROUTER_ADVERTISEMENT;
use crate::rate_limit::{PeerKey, Rate};
use crate::subject::Subject;

/// ARP.
impl Network {
    pub(super) fn handle_arp(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, frame: &EthernetFrame) {
        let arp = match ArpPacket::parse(&frame.payload) {
            Ok(arp) => arp,
            Err(reason) => return ctx.count_drop(reason),
        };
        let Some(interface) = self.interface(iface) else { return };
        let Some(own) = interface.mac() else { return };
        let (sender, target) = (IpAddr::V4(arp.sender_ip), IpAddr::V4(arp.target_ip));
        ctx.subject = Subject::Arp { sender, target };
        let is_probe = arp.operation == Operation::Request && arp.sender_ip.is_unspecified();

        // RFC 5227 §2.1.1 and §2.4: another station has the address, or probes for it while we do.
        let claims = |state| matches!(state, Some(AddressState::Tentative | AddressState::Preferred));
        let probes_with_us = is_probe
            && interface.address_state(target) == Some(AddressState::Tentative)
            && arp.sender_mac != own;
        if (claims(interface.address_state(sender)) && arp.sender_mac != own) || probes_with_us {
            let contested = if probes_with_us { target } else { sender };
            return self.on_address_conflict(ctx, iface, contested);
        }
        // Announcements name their sender as the target.
        let is_question = arp.operation == Operation::Request && !is_probe && sender != target;
        let is_proxied = is_question && self.is_proxy_for(iface, target);
        let Some(interface) = self.interface_mut(iface) else { return };
        if (arp.operation == Operation::Request && interface.owns(target)) || is_proxied {
            if !is_probe {
                let pending = interface.neighbors.on_solicited_by(ctx.now, sender, arp.sender_mac);
                self.send_pending(ctx, iface, sender, pending);
            }
            if self.is_first_share() && self.may_answer(ctx, iface, sender) {
                let reply = arp.reply(own).emit();
                self.transmit_to(ctx, iface, arp.sender_mac, EtherType::Arp, reply);
            }
            return;
        }
        // RFC 826: any ARP packet updates an entry that exists; only a reply to us confirms it.
        let solicited = arp.operation == Operation::Reply && frame.cast == Cast::Unicast;
        let said = Advertised { mac: Some(arp.sender_mac), solicited, override_: true };
        match interface.neighbors.on_advertised(ctx.now, sender, said) {
            Some(pending) => self.send_pending(ctx, iface, sender, pending),
            None => ctx.count_drop(DropReason::UnneededNeighbor),
        }
    }
}

/// NDP.
impl Network {
    pub(super) fn handle_ndp(&mut self, ctx: &mut Ctx<'_>, arrival: Arrival, datagram: &Datagram) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (datagram.src, datagram.dst) else { return };
        let iface = datagram.iface;
        if read_u8(datagram.transport(), 0) == Some(ROUTER_ADVERTISEMENT) && !arrival.looped {
            return self.handle_router_advertisement(ctx, datagram, src);
        }
        let own = self.interface(iface).and_then(|interface| interface.mac());
        let Some(own) = own.filter(|_| !arrival.looped) else {
            // The loopback and links without link addresses have no neighbours.
            return ctx.count_drop(DropReason::BadNdp);
        };
        match NdpMessage::parse(src, dst, datagram.hop_limit, datagram.transport()) {
            Ok(NdpMessage::Solicitation { target, source_mac }) => {
                self.handle_solicitation(ctx, iface, own, src, target, source_mac);
            }
            Ok(NdpMessage::Advertisement { target, target_mac, flags }) => {
                self.handle_advertisement(ctx, iface, target, target_mac, flags);
            }
            Err(reason) => ctx.count_drop(reason),
        }
    }

    /// Handles a neighbour solicitation (RFC 4861 §7.2.3, RFC 4862 §5.4.3).
    fn handle_solicitation(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        own: MacAddr,
        src: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: Option<MacAddr>,
    ) {
        let is_proxied = !src.is_unspecified() && self.is_proxy_for(iface, IpAddr::V6(target));
        let Some(interface) = self.interface_mut(iface) else { return };
        match interface.address_state(IpAddr::V6(target)) {
            Some(AddressState::Preferred) => {}
            None if is_proxied => {}
            Some(AddressState::Tentative) if src.is_unspecified() => {
                return self.on_address_conflict(ctx, iface, IpAddr::V6(target));
            }
            _ => return ctx.count_drop(DropReason::UnneededNeighbor),
        }
        let (solicited, router) = (!src.is_unspecified(), interface.forwarding().v6);
        let answer = NdpMessage::Advertisement {
            target,
            target_mac: Some(own),
            // RFC 4861 §7.2.8: the host itself comes before its proxies.
            flags: AdvertisementFlags { router, solicited, override_: !is_proxied },
        };
        if let Some(mac) = source_mac.filter(|_| solicited) {
            let pending = interface.neighbors.on_solicited_by(ctx.now, IpAddr::V6(src), mac);
            self.send_pending(ctx, iface, IpAddr::V6(src), pending);
        }
        if !self.is_first_share() || !self.may_answer(ctx, iface, IpAddr::V6(src)) {
            return;
        }
        if solicited {
            self.send_ndp(ctx, iface, answer, target, src, source_mac);
        } else {
            self.send_ndp(ctx, iface, answer, target, ndp::ALL_NODES, None);
        }
    }

    /// Handles a neighbour advertisement (RFC 4861 §7.2.5, RFC 4862 §5.4.4).
    fn handle_advertisement(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        target: Ipv6Addr,
        target_mac: Option<MacAddr>,
        flags: AdvertisementFlags,
    ) {
        let target = IpAddr::V6(target);
        let Some(interface) = self.interface_mut(iface) else { return };
        if interface.address_state(target).is_some() {
            return self.on_address_conflict(ctx, iface, target);
        }
        let said = Advertised { mac: target_mac, solicited: flags.solicited, override_: flags.override_ };
        match interface.neighbors.on_advertised(ctx.now, target, said) {
            Some(pending) => self.send_pending(ctx, iface, target, pending),
            None => ctx.count_drop(DropReason::UnneededNeighbor),
        }
    }

    /// Sends an NDP message: to this station, to a group, or to the station that has the address.
    fn send_ndp(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        message: NdpMessage,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        self.send_ndp_bytes(ctx, iface, message.emit(src, dst), src, dst, mac);
    }

    /// Sends an NDP message that has its checksum.
    pub(super) fn send_ndp_bytes(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        mut header: HeaderBuf,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        let len = header.len();
        let hop_limit = ndp::HOP_LIMIT;
        let next_header = protocol::ICMPV6;
        Ipv6Fields { src, dst, next_header, hop_limit, traffic_class: 0, flow_label: 0 }
            .prepend(&mut header, len);
        match mac.or_else(|| MacAddr::for_group(IpAddr::V6(dst))) {
            Some(mac) => self.transmit_to(ctx, iface, mac, EtherType::Ipv6, header),
            None => {
                let hop = Hop { iface, next: IpAddr::V6(dst), station: Station::Neighbor };
                let packet = IpPacket::new(header, Payload::new());
                if let Some(transmit) = self.transmit_through(ctx, hop, packet) {
                    self.queue(ctx, transmit);
                }
            }
        }
    }
}

/// The common part of ARP and NDP.
impl Network {
    /// Whether the rate limit allows an answer to this neighbour; a refusal is counted. Those that
    /// have no address yet and probe for one count as one neighbour.
    fn may_answer(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, asker: IpAddr) -> bool {
        let rate = Rate::per_second(ctx.config.neighbor.max_answers_per_second);
        let peer = match self.is_apart(iface) {
            true => PeerKey::apart(asker, iface),
            false => PeerKey::host(asker, true),
        };
        let is_allowed = self.answer_shares.take(ctx.now, peer, rate);
        if !is_allowed {
            ctx.count_drop(DropReason::NeighborRateLimit);
        }
        is_allowed
    }

    /// Solicits `addr`: from all, or from the station that had it (RFC 4861 §7.2.2, §7.3.3; RFC
    /// 1122 §2.3.2.1).
    pub(super) fn solicit(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        addr: IpAddr,
        mac: Option<MacAddr>,
    ) {
        let Some(interface) = self.interface(iface) else { return };
        let Some(own) = interface.mac() else { return };
        // Without an address of ours nobody can answer. The timer continues, and by its next run
        // there may be one.
        let Some(src) = source::select(addr, addr, iface, interface.candidates()) else { return };
        ctx.stats.link.solicitations_sent += 1;
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

    /// Sends the packets that waited for a neighbour which was found.
    pub(super) fn send_pending(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        next: IpAddr,
        pending: PendingPackets,
    ) {
        let hop = Hop { iface, next, station: Station::Neighbor };
        for packet in pending {
            let is_forwarded = packet.is_forwarded;
            match self.transmit_through(ctx, hop, packet) {
                Some(transmit) if is_forwarded => self.queue_forward(ctx, transmit),
                Some(transmit) => self.queue(ctx, transmit),
                None => {}
            }
        }
    }

    fn on_address_conflict(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, addr: IpAddr) {
        ctx.stats.link.address_conflicts += 1;
        let Some(interface) = self.interface_mut(iface) else { return };
        let event = interface.on_conflict(ctx.now, addr);
        self.collect_events(ctx.now, iface);
        if let Some(event) = event {
            self.run_address_event(ctx, iface, event);
        }
    }

    /// Handles the timers of an interface that are due.
    pub(super) fn run_interface_timers(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        let Some(interface) = self.interface_mut(iface) else { return };
        if interface.poll_timeout().is_none_or(|at| ctx.now < at) {
            return;
        }
        let address_events = interface.handle_address_timeouts(ctx.now, &ctx.config.neighbor);
        let neighbor_events = interface.neighbors.handle_timeout(ctx.now);
        self.collect_events(ctx.now, iface);
        // RFC 4862 §5.4.2: the group of an address is joined before the address is probed.
        self.run_group_timers(ctx, iface);
        for event in address_events {
            self.run_address_event(ctx, iface, event);
        }
        for event in neighbor_events {
            match event {
                NeighborEvent::Solicit { addr, mac } => self.solicit(ctx, iface, addr, mac),
                NeighborEvent::Unreachable { addr, pending } => {
                    self.on_router_unreachable(ctx, iface, addr);
                    self.give_up(ctx, iface, &pending);
                }
            }
        }
    }

    fn run_address_event(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, event: AddressEvent) {
        // Of several stacks the first probes and announces for all; the station that has the
        // address answers all of them.
        if !self.is_first_share() {
            return;
        }
        let Some(interface) = self.interface(iface) else { return };
        let (Some(own), router) = (interface.mac(), interface.forwarding().v6) else { return };
        match event {
            AddressEvent::Probe(IpAddr::V4(addr)) => {
                ctx.stats.link.solicitations_sent += 1;
                let probe = ArpPacket::request(own, Ipv4Addr::UNSPECIFIED, addr).emit();
                self.transmit_to(ctx, iface, MacAddr::BROADCAST, EtherType::Arp, probe);
            }
            AddressEvent::Announce(IpAddr::V4(addr)) => {
                let announcement = ArpPacket::announcement(own, addr).emit();
                self.transmit_to(ctx, iface, MacAddr::BROADCAST, EtherType::Arp, announcement);
            }
            AddressEvent::Probe(IpAddr::V6(addr)) => {
                ctx.stats.link.solicitations_sent += 1;
                let probe = NdpMessage::Solicitation { target: addr, source_mac: None };
                let group = ndp::solicited_node(addr);
                self.send_ndp(ctx, iface, probe, Ipv6Addr::UNSPECIFIED, group, None);
            }
            AddressEvent::Announce(IpAddr::V6(addr)) => {
                // An unsolicited advertisement (RFC 4861 §7.2.6).
                let flags = AdvertisementFlags { router, solicited: false, override_: true };
                let message = NdpMessage::Advertisement { target: addr, target_mac: Some(own), flags };
                self.send_ndp(ctx, iface, message, addr, ndp::ALL_NODES, None);
            }
        }
    }

    /// Reports to the senders that their packets found no neighbour (RFC 4861 §7.2.2). Our own
    /// transports need no ICMP packet for that.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, pending: &PendingPackets) {
        for packet in pending {
            self.drop_packet(ctx, iface, packet.header.as_slice(), DropReason::NeighborUnreachable);
            if packet.is_forwarded {
                self.send_host_unreachable(ctx, iface, packet);
            } else if self.errors.len() < ctx.config.ip.max_queued_frames
                && let Some(error) = host_unreachable(iface, packet)
            {
                self.errors.push_back(error);
            }
        }
    }
}

/// The error about a packet of one of our transports that found no neighbour.
fn host_unreachable(iface: InterfaceId, packet: &IpPacket) -> Option<NetworkError> {
    /// How much of the transport header an error needs.
    const TRANSPORT_LEN: usize = 64;
    let quote = Quote::parse(packet.header.as_slice())?;
    let mut transport = BytesMut::from(packet.header.as_slice().get(quote.transport_at..)?);
    for slice in &packet.payload {
        let missing = TRANSPORT_LEN.saturating_sub(transport.len());
        transport.extend_from_slice(slice.get(..missing.min(slice.len()))?);
    }
    let asks = match quote.protocol {
        protocol::ICMP | protocol::ICMPV6 => echo::is_request(&transport, quote.src.is_ipv4()),
        _ => true,
    };
    // No socket waits for errors about replies and errors of our own.
    (asks && !quote.is_later_fragment && transport.len() >= 8).then(|| NetworkError {
        iface: Some(iface),
        local: quote.src,
        remote: quote.dst,
        protocol: quote.protocol,
        transport: transport.freeze(),
        kind: NetworkErrorKind::HostUnreachable,
        offender: quote.src,
        message: if quote.src.is_ipv4() { (3, 1) } else { (1, 3) },
        info: 0,
    })
}
