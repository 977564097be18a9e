//! The way of a received frame: link header, IP header, addresses, options, fragments; then to ICMP
//! or a transport.

use bytes::Bytes;
use core::net::IpAddr;

use super::Network;
use super::admission::Admission;
use super::icmp::Offender;
use super::types::{Datagram, Delivery, IcmpOutcome, Reception};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::frame::Frame;
use crate::icmp::quote::Quote;
use crate::interface_id::InterfaceId;
use crate::ip::extension::{self, Chain};
use crate::ip::input::{Arrival, ReceiveOffload};
use crate::ip::reassembly::{Expired, Outcome, PacketKey, Piece, join_atomic};
use crate::ip::refusal::{IcmpError, Refusal};
use crate::ip::{Cast, Fragment, IpHeader, ipv4, ipv6, is_link_local, protocol, read_u8};
use crate::link::ethernet::{self, EtherType};
use crate::link::medium::Medium;
use crate::link::ndp;
use crate::subject::Subject;

/// The longest packet that a device may join, for either family.
const MAX_JOINED_LEN: usize = ipv6::MAX_PACKET_LEN;

/// A packet whose header and addresses were checked. It borrows the header, because moving two
/// addresses costs more than reading them.
pub(super) struct ReceivedPacket<'a> {
    pub(super) header: &'a IpHeader,
    pub(super) cast: Cast,
    /// The packet without link padding.
    pub(super) packet: &'a Bytes,
}

impl Network {
    /// Handles one received frame. It results in at most one packet for the sockets.
    pub(crate) fn handle_frame(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, frame: Frame) -> Reception {
        let Frame { bytes, checksum, segments, at } = frame;
        ctx.subject = Subject::Frame(iface);
        ctx.received_at = at.unwrap_or(ctx.now);
        if iface == InterfaceId::LOOPBACK && self.share.is_some() {
            return self.receive_looped(ctx, bytes);
        }
        let interface = self.interface(iface).ok_or(DropReason::NoInterface)?;
        let is_apart = interface.zone.is_apart();
        // A packet that a device joined may be as long as its header can express.
        let max_packet_len = if segments.is_some() { MAX_JOINED_LEN } else { interface.mtu };
        let Medium::Ethernet(own) = interface.medium else {
            if bytes.len() > max_packet_len {
                return Err(DropReason::OversizedFrame);
            }
            let offload = ReceiveOffload { checksum, segments, link_header_len: 0 };
            let arrival = Arrival { is_apart, ..Arrival::through(iface, offload) };
            return self.receive_bare_ip(ctx, arrival, bytes);
        };
        if bytes.first().is_some_and(|first| first & 1 != 0) {
            self.check_group_mac(ctx, iface, &bytes)?;
        }
        let frame = ethernet::parse(bytes, own, max_packet_len)?;
        let offload = ReceiveOffload { checksum, segments, link_header_len: ethernet::HEADER_LEN };
        let arrival = Arrival { link_cast: frame.cast, is_apart, ..Arrival::through(iface, offload) };
        match frame.ethertype {
            EtherType::Ipv4 => self.receive_ip(ctx, arrival, frame.payload, true),
            EtherType::Ipv6 => self.receive_ip(ctx, arrival, frame.payload, false),
            EtherType::Arp => {
                self.handle_arp(ctx, iface, &frame);
                Ok(None)
            }
        }
    }

    /// Takes the next delivery from the stack to itself: a packet on the loopback, or an error that
    /// the network layer found (a neighbour that does not answer).
    pub(crate) fn poll_loopback(&mut self, ctx: &mut Ctx<'_>) -> Reception {
        self.is_turn_over = false;
        if let Some(error) = self.errors.pop_front() {
            return Ok(Some(Delivery::Error(error)));
        }
        let Some((iface, packet)) = self.loopback.pop() else { return Ok(None) };
        ctx.subject = Subject::Frame(InterfaceId::LOOPBACK);
        if self.trace.is_some() {
            self.trace_begin(ctx, InterfaceId::LOOPBACK, &Frame::new(packet.clone()));
        }
        let is_apart = self.is_apart(iface);
        let through = Arrival::through(iface, ReceiveOffload::default());
        let arrival = Arrival { looped: true, is_apart, ..through };
        self.receive_bare_ip(ctx, arrival, packet)
    }

    /// Handles a packet to ourselves from another stack with our addresses.
    fn receive_looped(&mut self, ctx: &mut Ctx<'_>, packet: Bytes) -> Reception {
        let quote = Quote::parse(&packet).ok_or(DropReason::BadIpHeader)?;
        ctx.stats.ip.loopback_packets += 1;
        let iface = self.looped_through(quote.src, quote.dst);
        let is_apart = self.is_apart(iface);
        let through = Arrival::through(iface, ReceiveOffload::default());
        let arrival = Arrival { looped: true, is_apart, ..through };
        self.receive_bare_ip(ctx, arrival, packet)
    }

    /// Handles a packet from a link without link headers. Its first byte tells its IP version.
    fn receive_bare_ip(&mut self, ctx: &mut Ctx<'_>, arrival: Arrival, bytes: Bytes) -> Reception {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => self.receive_ip(ctx, arrival, bytes, true),
            Some(6) => self.receive_ip(ctx, arrival, bytes, false),
            Some(_) => Err(DropReason::BadIpHeader),
            None => Err(DropReason::RuntFrame),
        }
    }

    /// Handles a packet from the IP header to the transport.
    fn receive_ip(
        &mut self,
        ctx: &mut Ctx<'_>,
        mut arrival: Arrival,
        mut packet: Bytes,
        is_v4: bool,
    ) -> Reception {
        let parsed = parse_ip(&packet, is_v4);
        let header = parsed.as_ref().map_err(|&reason| reason)?;
        packet.truncate(header.total_len);
        ctx.subject = Subject::Packet { src: header.src, dst: header.dst, protocol: header.protocol };
        let cast = match self.admit(arrival, header, &packet) {
            Admission::Local(cast) => cast,
            Admission::Intercept => {
                arrival.is_intercepted = true;
                Cast::Unicast
            }
            Admission::Forward => return self.forward(ctx, arrival, header, &packet).map(|()| None),
            Admission::Drop(reason) => return Err(reason),
        };
        let received = ReceivedPacket { header, cast, packet: &packet };
        let chain = match chain_of(&received) {
            Ok(chain) => chain,
            Err(refusal) => return Err(self.refuse(ctx, arrival, &received, refusal)),
        };
        let Some(fragment) = chain.fragment else {
            return self.dispatch(ctx, arrival, header, cast, &chain, packet);
        };
        ctx.stats.ip.reasm_reqds += 1;
        let Some((mut packet, cast)) = self.reassemble(ctx, arrival, &received, chain, fragment)? else {
            return Ok(None);
        };
        // Parse again: the options are now those of the first fragment, and the extension headers
        // are complete.
        let parsed = parse_ip(&packet, is_v4);
        let header = parsed.as_ref().map_err(|&reason| reason)?;
        packet.truncate(header.total_len);
        if self.share.as_ref().is_some_and(|share| !share.acts_on(&packet)) {
            return Err(DropReason::OtherStack);
        }
        // A fragment does not tell its port, but the whole packet does.
        if arrival.is_intercepted && !self.intercepts(arrival.iface, header, &packet) {
            return Err(DropReason::NotForUs);
        }
        let received = ReceivedPacket { header, cast, packet: &packet };
        match chain_of(&received) {
            Ok(chain) if chain.fragment.is_none() => {
                // RFC 6980 §5: fragmented NDP messages are ignored.
                let is_ndp = chain.protocol == protocol::ICMPV6 && is_ndp(&packet, chain.offset);
                if is_ndp {
                    return Err(DropReason::BadNdp);
                }
                // The device's statements about one fragment do not hold for the whole packet.
                let arrival = Arrival { offload: ReceiveOffload::default(), ..arrival };
                self.dispatch(ctx, arrival, header, cast, &chain, packet)
            }
            // A fragment within a fragment.
            Ok(_) => Err(DropReason::BadExtensionHeader),
            Err(refusal) => Err(self.refuse(ctx, arrival, &received, refusal)),
        }
    }

    /// Checks a fragment and passes it to the reassembler. Returns the packet when it is complete.
    fn reassemble(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        received: &ReceivedPacket<'_>,
        chain: Chain,
        fragment: Fragment,
    ) -> Result<Option<(Bytes, Cast)>, DropReason> {
        let &ReceivedPacket { header, cast, packet } = received;
        let at = chain.offset.min(packet.len());
        let piece = Piece {
            header: packet.slice(..at),
            data: packet.slice(at..),
            offset: fragment.offset,
            more: fragment.more,
            protocol: chain.protocol,
            named_at: chain.named_at,
            iface: arrival.iface,
            cast,
            ecn: header.traffic_class & 3,
        };
        if let Err(refusal) = check_fragment(&piece, header.src.is_ipv4()) {
            return Err(self.refuse(ctx, arrival, received, refusal));
        }
        if piece.offset == 0 && !piece.more {
            let whole = join_atomic(&piece).ok_or(DropReason::BadFragment)?;
            return Ok(Some((whole, cast)));
        }
        let key = PacketKey {
            src: header.src,
            dst: header.dst,
            protocol: if header.src.is_ipv4() { header.protocol } else { 0 },
            id: fragment.id,
            iface: (arrival.is_apart || is_link_local(header.src)).then_some(arrival.iface),
        };
        match self.reassembler.insert(ctx.now, ctx.stats, key, piece) {
            Outcome::Held => Ok(None),
            Outcome::Complete { packet, cast } => Ok(Some((packet, cast))),
            Outcome::Dropped(reason) => Err(reason),
        }
    }

    /// Sends "time exceeded" with code 1 (RFC 792, RFC 8200 §4.5).
    pub(super) fn on_reassembly_timeout(&mut self, ctx: &mut Ctx<'_>, expired: &Expired) {
        if !self.is_first_share() {
            return;
        }
        let offender = Offender {
            iface: expired.iface,
            src: expired.src,
            dst: expired.dst,
            traffic_class: 0,
            cast: expired.cast,
            is_intercepted: false,
            packet: &expired.packet,
        };
        self.send_icmp_error(ctx, &offender, IcmpError::ReassemblyTimeExceeded);
    }

    /// Sends the refusal's ICMP error, if it has one, and returns the reason to count.
    pub(super) fn refuse(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        received: &ReceivedPacket<'_>,
        refusal: Refusal,
    ) -> DropReason {
        // Every stack got the fragment, so only one of several reports it.
        let is_ours = self.share.as_ref().is_none_or(|share| share.answers(received.packet));
        if let Some(error) = refusal.error.filter(|_| is_ours) {
            let cast = if refusal.even_to_group { Cast::Unicast } else { received.cast };
            let offender = Offender {
                iface: arrival.iface,
                src: received.header.src,
                dst: received.header.dst,
                traffic_class: received.header.traffic_class,
                cast,
                is_intercepted: arrival.is_intercepted,
                packet: received.packet,
            };
            self.send_icmp_error(ctx, &offender, error);
        }
        refusal.reason
    }

    /// Handles ICMP messages, and returns what the sockets get.
    // A debugger stops here, so a debug build keeps the function.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn dispatch(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        header: &IpHeader,
        cast: Cast,
        chain: &Chain,
        packet: Bytes,
    ) -> Reception {
        match (chain.protocol, header.src) {
            (protocol::ICMP | protocol::IGMP, IpAddr::V4(_)) | (protocol::ICMPV6, IpAddr::V6(_)) => {
                Ok(Some(self.handle_message(ctx, arrival, header, cast, chain, packet)))
            }
            // RFC 4291 §2.5.2: only a host that asks for an address sends from the unspecified one.
            (_, src) if src.is_unspecified() => Err(DropReason::Martian),
            (protocol::NO_NEXT_HEADER, IpAddr::V6(_)) => Err(DropReason::UnknownProtocol),
            // Made in its place, not moved there, because every packet passes here.
            _ => Ok(Some(Delivery::Datagram(datagram(arrival, header, cast, chain, packet)))),
        }
    }

    /// Handles an ICMP or IGMP message.
    #[inline(never)]
    fn handle_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        header: &IpHeader,
        cast: Cast,
        chain: &Chain,
        packet: Bytes,
    ) -> Delivery {
        let message = datagram(arrival, header, cast, chain, packet);
        let outcome = match chain.protocol {
            // Messages about groups are for the host that has the address.
            protocol::IGMP if message.is_intercepted => IcmpOutcome::Unused(DropReason::UnneededGroupMessage),
            protocol::ICMP => self.handle_icmp_v4(ctx, &message),
            protocol::ICMPV6 => self.handle_icmp_v6(ctx, arrival, &message),
            _ => self.handle_igmp(ctx, arrival, &message),
        };
        Delivery::Icmp { message, outcome }
    }
}

/// Checks the length and position of a fragment.
fn check_fragment(piece: &Piece, is_v4: bool) -> Result<(), Refusal> {
    let bad = Refusal::silent(DropReason::BadFragment);
    let problem =
        |code, pointer| Refusal { reason: DropReason::BadFragment, ..extension::problem(code, pointer) };
    if piece.data.is_empty() {
        return Err(bad);
    }
    // RFC 8200 §4.5: the length of each fragment but the last is a multiple of 8 bytes; the error
    // points at the payload length.
    if piece.more && !piece.data.len().is_multiple_of(8) {
        return Err(if is_v4 { bad } else { problem(extension::ERRONEOUS_FIELD, 4) });
    }
    let end = piece.offset + piece.data.len();
    if is_v4 {
        // The total length of the packet includes the header.
        return if piece.header.len() + end > ipv4::MAX_PACKET_LEN { Err(bad) } else { Ok(()) };
    }
    let fragment_header_at = piece.header.len().saturating_sub(extension::FRAGMENT_HEADER_LEN);
    if fragment_header_at + end > ipv6::MAX_PACKET_LEN {
        return Err(problem(extension::ERRONEOUS_FIELD, fragment_header_at + 2));
    }
    // RFC 7112 §5: the first fragment contains all headers, the transport's included.
    if piece.offset == 0 && !has_whole_chain(piece) {
        return Err(problem(extension::INCOMPLETE_CHAIN, 0));
    }
    Ok(())
}

/// Whether the first fragment of an IPv6 packet contains the fixed part of the transport header.
fn has_whole_chain(piece: &Piece) -> bool {
    let Some(whole) = join_atomic(piece) else { return false };
    match extension::walk(&whole, false) {
        Ok(chain) => {
            let header_len = match chain.protocol {
                protocol::TCP => 20,
                protocol::UDP | protocol::ICMPV6 => 8,
                _ => 0,
            };
            chain.offset + header_len <= whole.len()
        }
        // Other errors are reported once the packet is complete.
        Err(refusal) => refusal.error.is_some(),
    }
}

fn is_ndp(packet: &[u8], transport_at: usize) -> bool {
    let kind = read_u8(packet, transport_at);
    kind.is_some_and(|kind| ndp::TYPES.contains(&kind))
}

fn parse_ip(bytes: &[u8], is_v4: bool) -> Result<IpHeader, DropReason> {
    if is_v4 { ipv4::parse(bytes) } else { ipv6::parse(bytes) }
}

/// Checks the options or extension headers of a packet and finds what follows.
fn chain_of(received: &ReceivedPacket<'_>) -> Result<Chain, Refusal> {
    let header = received.header;
    if header.src.is_ipv6() {
        return extension::walk(received.packet, header.dst.is_multicast());
    }
    if header.header_len > ipv4::HEADER_LEN {
        ipv4::check_options(received.packet.get(..header.header_len).unwrap_or_default())?;
    }
    Ok(Chain { protocol: header.protocol, offset: header.header_len, named_at: 9, fragment: header.fragment })
}

#[inline(always)]
fn datagram(arrival: Arrival, header: &IpHeader, cast: Cast, chain: &Chain, packet: Bytes) -> Datagram {
    let (is_checked, segment_len) = arrival.offload.of_transport(chain.offset, chain.protocol);
    Datagram {
        is_checked,
        is_intercepted: arrival.is_intercepted,
        is_apart: arrival.is_apart,
        segment_len,
        iface: arrival.iface,
        src: header.src,
        dst: header.dst,
        protocol: chain.protocol,
        hop_limit: header.hop_limit,
        traffic_class: header.traffic_class,
        cast,
        packet,
        transport_at: chain.offset,
    }
}
