//! A frame's way in: link header, IP header, addresses, options, fragments; then to ICMP or to a transport.

use bytes::Bytes;
use core::net::IpAddr;

use super::Network;
use super::control::Offender;
use super::types::{Cast, Datagram, Delivery, InterfaceId, Medium};
use crate::Ctx;
use crate::frame::Frame;
use crate::ip::extension::{self, Chain};
use crate::ip::input::{Arrival, Refusal, is_martian};
use crate::ip::{IpHeader, ipv4, ipv6, is_link_local, protocol};
use crate::link::ethernet::{self, EtherType};
use crate::stats::DropReason;

/// A packet whose header and addresses were found right.
struct Received {
    header: IpHeader,
    cast: Cast,
    /// Without link padding.
    packet: Bytes,
}

impl Network {
    /// One frame in. At most one thing for a transport comes of it.
    pub(crate) fn handle_frame(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        frame: Frame,
    ) -> Option<Delivery> {
        let Some(interface) = self.interface(iface) else {
            ctx.stats.count_drop(DropReason::NoInterface);
            return None;
        };
        let bytes = frame.bytes;
        let Medium::Ethernet(own) = interface.medium else {
            if bytes.len() > interface.mtu {
                ctx.stats.count_drop(DropReason::OversizedFrame);
                return None;
            }
            let arrival = Arrival { iface, link_cast: Cast::Unicast, looped: false };
            return self.handle_bare_ip(ctx, arrival, &bytes);
        };
        let frame = match ethernet::parse(&bytes, own, interface.mtu) {
            Ok(frame) => frame,
            Err(reason) => {
                ctx.stats.count_drop(reason);
                return None;
            }
        };
        let arrival = Arrival { iface, link_cast: frame.cast, looped: false };
        match frame.ethertype {
            EtherType::Ipv4 => self.handle_ip(ctx, arrival, &frame.payload, true),
            EtherType::Ipv6 => self.handle_ip(ctx, arrival, &frame.payload, false),
            EtherType::Arp => {
                self.handle_arp(ctx, iface, &frame);
                None
            }
        }
    }

    /// What came round the loopback, and errors that the network layer found out itself (a neighbour that does not
    /// answer). Drained by the stack after every call that can produce any.
    pub(crate) fn poll_delivery(&mut self, ctx: &mut Ctx<'_>) -> Option<Delivery> {
        if let Some(error) = self.errors.pop_front() {
            return Some(Delivery::Error(error));
        }
        // Answers to what loops (echo replies) loop, too, but errors answer no errors: the queue runs dry.
        while let Some((iface, packet)) = self.loopback.pop() {
            let arrival = Arrival { iface, link_cast: Cast::Unicast, looped: true };
            if let Some(delivery) = self.handle_bare_ip(ctx, arrival, &packet) {
                return Some(delivery);
            }
        }
        None
    }

    /// A packet from a link without link headers, which says itself of which version it is.
    fn handle_bare_ip(&mut self, ctx: &mut Ctx<'_>, arrival: Arrival, bytes: &Bytes) -> Option<Delivery> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => self.handle_ip(ctx, arrival, bytes, true),
            Some(6) => self.handle_ip(ctx, arrival, bytes, false),
            Some(_) => {
                ctx.stats.count_drop(DropReason::BadIpHeader);
                None
            }
            None => {
                ctx.stats.count_drop(DropReason::RuntFrame);
                None
            }
        }
    }

    fn handle_ip(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        bytes: &Bytes,
        is_v4: bool,
    ) -> Option<Delivery> {
        match self.receive_ip(ctx, arrival, bytes, is_v4) {
            Ok(datagram) => self.dispatch(ctx, arrival, datagram?),
            Err(reason) => {
                ctx.stats.count_drop(reason);
                None
            }
        }
    }

    /// From the IP header to the transport. `Ok(None)`: a fragment that waits for others.
    fn receive_ip(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        bytes: &Bytes,
        is_v4: bool,
    ) -> Result<Option<Datagram>, DropReason> {
        let (header, packet) = if is_v4 { ipv4::parse(bytes)? } else { ipv6::parse(bytes)? };
        let cast = self.admit(arrival, &header)?;
        let received = Received { header, cast, packet };
        let chain = match chain_of(&received) {
            Ok(chain) => chain,
            Err(refusal) => return Err(self.refuse(ctx, arrival, &received, refusal)),
        };
        if chain.fragment.is_some() {
            return Err(DropReason::BadFragment);
        }
        Ok(Some(datagram(arrival, received, chain)))
    }

    /// Whether a packet with these addresses is for us, and how it was addressed.
    fn admit(&self, arrival: Arrival, header: &IpHeader) -> Result<Cast, DropReason> {
        let (src, dst) = (header.src, header.dst);
        if is_martian(src, dst, arrival.looped) {
            return Err(DropReason::Martian);
        }
        if arrival.looped {
            return if self.is_local(dst) { Ok(Cast::Unicast) } else { Err(DropReason::NotForUs) };
        }
        let interface = self.interface(arrival.iface).ok_or(DropReason::NoInterface)?;
        // RFC 1122 §3.2.1.3: nobody else sends from our address, and nobody from a broadcast address.
        let from_broadcast = matches!(src, IpAddr::V4(src) if interface.is_broadcast(src));
        if from_broadcast || self.is_own(src, arrival.iface) {
            return Err(DropReason::Martian);
        }
        let cast = match interface.cast_of(dst) {
            Some(cast) => cast,
            // The weak host model (RFC 1122 §3.3.4.2), as in Linux: any address of ours, through any interface.
            None if self.is_own(dst, arrival.iface) => Cast::Unicast,
            None => return Err(DropReason::NotForUs),
        };
        // A unicast packet in a broadcast frame: nothing that answers it may storm.
        Ok(if cast == Cast::Unicast { arrival.link_cast } else { cast })
    }

    /// Whether the address is ours as seen from this interface.
    fn is_own(&self, addr: IpAddr, iface: InterfaceId) -> bool {
        let scoped = is_link_local(addr);
        self.interfaces.iter().any(|interface| (!scoped || interface.id == iface) && interface.owns(addr))
    }

    /// Tells the sender, if the refusal says so, and gives back the reason to count.
    fn refuse(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        received: &Received,
        refusal: Refusal,
    ) -> DropReason {
        if let Some(error) = refusal.error {
            let cast = if refusal.even_to_group { Cast::Unicast } else { received.cast };
            let offender = Offender {
                iface: arrival.iface,
                src: received.header.src,
                dst: received.header.dst,
                traffic_class: received.header.traffic_class,
                cast,
                packet: &received.packet,
            };
            self.send_icmp_error(ctx, &offender, error);
        }
        refusal.reason
    }

    /// To ICMP, or up to the transports.
    fn dispatch(&mut self, ctx: &mut Ctx<'_>, arrival: Arrival, datagram: Datagram) -> Option<Delivery> {
        match (datagram.protocol, datagram.src) {
            (protocol::ICMP, IpAddr::V4(_)) => self.handle_icmp_v4(ctx, datagram),
            (protocol::ICMPV6, IpAddr::V6(_)) => self.handle_icmp_v6(ctx, arrival, datagram),
            // RFC 4291 §2.5.2: only who asks for an address has none yet.
            (_, src) if src.is_unspecified() => {
                ctx.stats.count_drop(DropReason::Martian);
                None
            }
            (protocol::NO_NEXT_HEADER, IpAddr::V6(_)) => {
                ctx.stats.count_drop(DropReason::UnknownProtocol);
                None
            }
            _ => Some(Delivery::Datagram(datagram)),
        }
    }
}

/// Walks through the options or extension headers.
fn chain_of(received: &Received) -> Result<Chain, Refusal> {
    let header = &received.header;
    if header.src.is_ipv6() {
        return extension::walk(&received.packet, header.dst.is_multicast());
    }
    if header.header_len > ipv4::HEADER_LEN {
        ipv4::check_options(received.packet.get(..header.header_len).unwrap_or_default())?;
    }
    Ok(Chain { protocol: header.protocol, offset: header.header_len, named_at: 9, fragment: header.fragment })
}

fn datagram(arrival: Arrival, received: Received, chain: Chain) -> Datagram {
    let Received { header, cast, packet } = received;
    Datagram {
        iface: arrival.iface,
        src: header.src,
        dst: header.dst,
        protocol: chain.protocol,
        hop_limit: header.hop_limit,
        traffic_class: header.traffic_class,
        cast,
        transport: packet.slice(chain.offset.min(packet.len())..),
        packet,
    }
}
