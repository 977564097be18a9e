//! Forwarding: packets of other hosts, from one interface to another.
//!
//! A packet is forwarded if forwarding is on for its family on the interface that it came in
//! through. The rules and their order are those of Linux 6.18 (`ip_forward`, `ip6_forward`), except
//! that no redirects are sent, and that IPv4 link-local addresses are not forwarded (RFC 3927
//! §2.7).

use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::{Bytes, BytesMut};

use super::Network;
use super::icmp::Offender;
use super::input::ReceivedPacket;
use super::path::{Hop, RoutingDecision, Station};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{self, Error};
use crate::frame::{Transmit, payload_len};
use crate::icmp::quote::Quote;
use crate::iface::forwarding::Forwarding;
use crate::iface::interface::IPV6_MIN_MTU;
use crate::interface_id::InterfaceId;
use crate::ip::forwarding::{self, DeviceWork};
use crate::ip::input::Arrival;
use crate::ip::packet::IpPacket;
use crate::ip::refusal::{IcmpError, Refusal};
use crate::ip::{Cast, IpHeader, extension, ipv4, is_link_local};

impl Network {
    pub(crate) fn set_forwarding(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        forwarding: Forwarding,
    ) -> error::Result<()> {
        let interface = self.interface_mut(iface).ok_or(Error::InvalidArgument)?;
        let forwarded = interface.forwarding().v6;
        interface.set_forwarding(ctx.now, forwarding);
        if forwarded != forwarding.v6 {
            self.on_forwarding_changed(ctx, iface, forwarding.v6);
        }
        self.run_interface_timers(ctx, iface);
        Ok(())
    }

    /// Forwards a packet for another host, or returns the reason to drop it.
    #[inline(never)]
    pub(super) fn forward(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        header: &IpHeader,
        packet: &Bytes,
    ) -> Result<(), DropReason> {
        let forwarding = self.interface(arrival.iface).map(|interface| interface.forwarding());
        if !forwarding.is_some_and(|forwarding| forwarding.of(header.src)) {
            return Err(DropReason::NotForUs);
        }
        // All of several stacks receive a fragment.
        if self.share.as_ref().is_some_and(|share| !share.answers(packet)) {
            return Err(DropReason::OtherStack);
        }
        let forwarded = self.onward_hop(arrival.iface, header, packet).and_then(|hop| {
            let work = forwarding::device_work(&arrival.offload, header, packet).map_err(Refusal::silent)?;
            self.send_onward(ctx, hop, header, packet, work)
        });
        forwarded.map_err(|refusal| {
            let received = ReceivedPacket { header, cast: Cast::Unicast, packet };
            self.refuse(ctx, arrival, &received, refusal)
        })
    }

    /// The next hop of a packet for another host, if it may be forwarded.
    fn onward_hop(&self, iface: InterfaceId, header: &IpHeader, packet: &[u8]) -> Result<Hop, Refusal> {
        let (src, dst) = (header.src, header.dst);
        if src.is_unspecified() {
            return Err(Refusal::silent(DropReason::Martian));
        }
        if src.is_ipv6() {
            extension::check_hop_by_hop(packet)?;
        } else if [src, dst].into_iter().any(is_link_local_v4) {
            return Err(Refusal::silent(DropReason::NotForUs));
        }
        // In another zone than zone 0 the routes of its interfaces count, and no others.
        let path = match self.is_apart(iface) {
            true => match self.route_in_zone(dst, iface) {
                Some(through) => self.path(dst, Some(through)),
                None => Err(Error::NetworkUnreachable),
            },
            false => self.path(dst, None),
        };
        let hop = match path {
            Ok(RoutingDecision::Link(hop)) if hop.station == Station::Neighbor => hop,
            // RFC 2644: no broadcast into another network.
            Ok(_) => return Err(Refusal::silent(DropReason::NotForUs)),
            Err(_) => return Err(Refusal::answered(DropReason::NoRoute, IcmpError::NetUnreachable)),
        };
        if src.is_ipv4() && header.header_len > ipv4::HEADER_LEN {
            ipv4::check_options(packet.get(..header.header_len).unwrap_or_default())?;
        }
        if header.hop_limit <= 1 {
            return Err(Refusal::answered(DropReason::HopLimitExceeded, IcmpError::TimeExceeded));
        }
        // RFC 4291 §2.5.6, RFC 4443 §3.1.
        if is_link_local(src) && hop.iface != iface {
            return Err(Refusal::answered(DropReason::NotForUs, IcmpError::BeyondScope));
        }
        Ok(hop)
    }

    /// The interface to this destination among those in the zone of `iface`.
    #[cold]
    fn route_in_zone(&self, dst: IpAddr, iface: InterfaceId) -> Option<InterfaceId> {
        let zone = self.zone_of(Some(iface));
        let is_of_zone = |iface| self.zone_of(Some(iface)) == zone;
        self.routes.lookup_among(dst, is_of_zone).map(|route| route.iface)
    }

    /// Sends a packet on to the next hop: whole, cut into segments, or in fragments.
    fn send_onward(
        &mut self,
        ctx: &mut Ctx<'_>,
        hop: Hop,
        header: &IpHeader,
        packet: &Bytes,
        work: DeviceWork,
    ) -> Result<(), Refusal> {
        let mtu = self.link_mtu_of(RoutingDecision::Link(hop));
        let longest = match work {
            DeviceWork::Run(run) => run.longest_packet(),
            DeviceWork::Nothing | DeviceWork::Checksum(_) => packet.len(),
        };
        let fits = longest <= mtu;
        if !fits && (header.src.is_ipv6() || forwarding::dont_fragment(packet)) {
            let mtu = if header.src.is_ipv6() { mtu.max(IPV6_MIN_MTU) } else { mtu };
            let error = IcmpError::PacketTooBig { mtu: mtu as u32 };
            return Err(Refusal::answered(DropReason::PacketTooBig, error));
        }
        let offloads = self.offloads_of(hop.iface);
        let mut packets = match work {
            DeviceWork::Run(run) if fits && offloads.cuts(run.segments().kind) => {
                Vec::from([forwarding::whole_run(header, packet, &run)])
            }
            DeviceWork::Run(run) => forwarding::cut_run(header, packet, &run),
            DeviceWork::Checksum(checksum) if fits && offloads.checksum => {
                Vec::from([IpPacket { checksum: Some(checksum), ..forwarding::whole(header, packet) }])
            }
            DeviceWork::Checksum(checksum) => {
                Vec::from([forwarding::complete_checksum(header, packet, checksum)])
            }
            DeviceWork::Nothing => Vec::from([forwarding::whole(header, packet)]),
        };
        packets.iter_mut().for_each(|packet| forwarding::decrement_hop_limit(packet.header.as_mut_slice()));
        let whole_count = packets.len();
        if !fits {
            let cut = |packet: &IpPacket| forwarding::refragment(header, packet, mtu);
            let cut: Option<Vec<Vec<IpPacket>>> = packets.iter().map(cut).collect();
            packets = cut.ok_or(Refusal::silent(DropReason::PacketTooBig))?.into_iter().flatten().collect();
        }
        // Fragments are of use only together.
        if packets.len() > self.forwards.room() {
            return Err(Refusal::silent(DropReason::TransmitQueueFull));
        }
        ctx.stats.ip.forw_datagrams += 1;
        if !fits {
            ctx.stats.ip.frag_oks += whole_count as u64;
            ctx.stats.ip.frag_creates += packets.len() as u64;
        }
        for packet in packets {
            let packet = IpPacket { is_forwarded: true, ..packet };
            if let Some(transmit) = self.transmit_through(ctx, hop, packet) {
                self.queue_forward(ctx, transmit);
            }
        }
        Ok(())
    }

    /// Queues a forwarded frame; drops and counts it when the queue is full.
    pub(super) fn queue_forward(&mut self, ctx: &mut Ctx<'_>, transmit: Transmit) {
        if let Err((frame, reason)) = self.forwards.push(transmit) {
            self.drop_frame(ctx, &frame, reason);
        }
    }

    /// Tells the sender of a forwarded packet that its next hop was not found (RFC 1812 §5.2.7.1,
    /// RFC 4861 §7.2.2). As on Linux, the packet is quoted with the hop limit that was left.
    pub(super) fn send_host_unreachable(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, packet: &IpPacket) {
        let Some(quote) = Quote::parse(packet.header.as_slice()) else { return };
        let mut whole = BytesMut::with_capacity(packet.header.len() + payload_len(&packet.payload));
        whole.extend_from_slice(packet.header.as_slice());
        packet.payload.iter().for_each(|slice| whole.extend_from_slice(slice));
        let traffic_class = match quote.src {
            IpAddr::V4(_) => whole.get(1).copied().unwrap_or(0),
            IpAddr::V6(_) => 0,
        };
        let offender = Offender {
            iface: self
                .is_apart(iface)
                .then(|| self.route_in_zone(quote.src, iface))
                .flatten()
                .unwrap_or(iface),
            src: quote.src,
            dst: quote.dst,
            traffic_class,
            cast: Cast::Unicast,
            is_intercepted: false,
            packet: &whole.freeze(),
        };
        self.send_icmp_error(ctx, &offender, IcmpError::HostUnreachable);
    }
}

/// Whether the address is in 169.254.0.0/16, which routers must not forward (RFC 3927 §2.7).
fn is_link_local_v4(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(addr) if addr.is_link_local())
}
