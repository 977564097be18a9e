//! Multicast groups of the interfaces: memberships, IGMP and MLD messages in and out, and the
//! copies of what is sent to groups for members on this host.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::types::{Datagram, IcmpOutcome};
use super::{Network, place_of};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::frame::{HeaderBuf, Payload, Transmit, payload_len};
use crate::icmp::quote::Quote;
use crate::iface::interface::Interface;
use crate::interface_id::InterfaceId;
use crate::ip::checksum::transport_checksum;
use crate::ip::input::Arrival;
use crate::ip::ipv4::Ipv4Fields;
use crate::ip::ipv6::Ipv6Fields;
use crate::ip::{ipv4, ipv6, is_link_local, protocol};
use crate::link::ethernet::{self, EtherType};
use crate::link::mac::MacAddr;
use crate::multicast::{GroupMessage, InterfaceGroups, Message, MulticastInterface, SourceFilter, igmp, mld};
use crate::subject::Subject;

/// The bytes in front of an IGMP message: the header, with router alert.
const IGMP_HEADER_LEN: usize = ipv4::HEADER_LEN + 4;
/// The bytes in front of an MLD message: the header, and hop-by-hop options.
const MLD_HEADER_LEN: usize = ipv6::HEADER_LEN + mld::ROUTER_ALERT.len();

impl Network {
    /// The groups that an interface or the loopback listens to.
    pub(super) fn groups_of(&self, iface: InterfaceId) -> Option<&InterfaceGroups> {
        match iface {
            InterfaceId::LOOPBACK => Some(&self.loopback_groups),
            iface => self.interface(iface).map(|interface| interface.groups()),
        }
    }

    /// The interface that a program means for a group (Linux's `ip_mc_find_dev`); `None` if there
    /// is none.
    pub(crate) fn multicast_interface(
        &self,
        group: IpAddr,
        named: MulticastInterface,
    ) -> Option<InterfaceId> {
        match named {
            MulticastInterface::Any => self.interface_for_group(group, None).ok(),
            MulticastInterface::Id(iface) => self.groups_of(iface).map(|_| iface),
            MulticastInterface::Address(addr) => self.interface_with(addr.into(), None),
        }
    }

    /// Replaces the filter of a member of a group: `old` is `None` for a new member, `new` for one
    /// that leaves. ENOBUFS if the group's members list too many sources.
    pub(crate) fn replace_filter(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        group: IpAddr,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
    ) -> Result<()> {
        let [before, after] = [old, new].map(|filter| filter.map_or(0, |filter| filter.sources.len()));
        let count = self.groups_of(iface).ok_or(Error::NoDevice)?.source_count(group);
        if after > before && count + (after - before) > ctx.config.multicast.max_group_sources {
            return Err(Error::NoBufferSpace);
        }
        let now = ctx.now;
        match self.interface_mut(iface) {
            Some(interface) => interface.with_groups(|groups| groups.replace(now, group, old, new)),
            None => self.loopback_groups.replace(now, group, old, new),
        }
        Ok(())
    }

    /// Checks that the interface listens to the group MAC address of a frame, as the filter of a
    /// network card does. Other frames to groups are dropped; the log names their packets.
    #[cold]
    pub(super) fn check_group_mac(
        &self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        frame: &[u8],
    ) -> core::result::Result<(), DropReason> {
        let Some(&mac) = frame.first_chunk() else { return Ok(()) };
        let mac = MacAddr(mac);
        if mac == MacAddr::BROADCAST || self.groups_of(iface).is_some_and(|groups| groups.has_mac(mac)) {
            return Ok(());
        }
        if mac.is_for_solicited_node() && self.interface(iface).is_some_and(Interface::is_proxy) {
            return Ok(());
        }
        if let Some(quote) = frame.get(ethernet::HEADER_LEN..).and_then(Quote::parse) {
            let Quote { src, dst, protocol, .. } = quote;
            ctx.subject = Subject::Packet { src, dst, protocol };
        }
        Err(DropReason::OtherStation)
    }

    /// Handles an IGMP message. RFC 9776 §4: all have a TTL of 1, so that one with another TTL may
    /// come from another network.
    #[inline(never)]
    pub(super) fn handle_igmp(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        datagram: &Datagram,
    ) -> IcmpOutcome {
        let IpAddr::V4(dst) = datagram.dst else { return IcmpOutcome::Done };
        let is_near = datagram.hop_limit == igmp::TTL && !arrival.looped;
        let message = is_near.then(|| igmp::parse(dst, datagram.transport())).flatten();
        self.handle_group_message(ctx, datagram, message)
    }

    /// Handles an MLD message whose checksum was verified. RFC 9777 §5, §6.2: all come from a
    /// link-local address, with a hop limit of 1 and a router alert.
    #[inline(never)]
    pub(super) fn handle_mld(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        datagram: &Datagram,
    ) -> IcmpOutcome {
        let IpAddr::V6(dst) = datagram.dst else { return IcmpOutcome::Done };
        let is_near = datagram.hop_limit == mld::HOP_LIMIT
            && is_link_local(datagram.src)
            && !arrival.looped
            && mld::has_router_alert(&datagram.packet);
        let message = is_near.then(|| mld::parse(dst, datagram.transport())).flatten();
        self.handle_group_message(ctx, datagram, message)
    }

    fn handle_group_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        datagram: &Datagram,
        message: Option<GroupMessage>,
    ) -> IcmpOutcome {
        let Some(message) = message else {
            ctx.count_drop(DropReason::BadGroupMessage);
            return IcmpOutcome::Done;
        };
        match &message {
            GroupMessage::Query(_) => ctx.stats.multicast.queries_received += 1,
            GroupMessage::OldReport(_) => ctx.stats.multicast.reports_received += 1,
            GroupMessage::ForRouters => return IcmpOutcome::Unused(DropReason::UnneededGroupMessage),
        }
        let Network { interfaces, group_rng, .. } = self;
        let place = place_of(interfaces, datagram.iface);
        if let Some(interface) = place.and_then(|place| interfaces.get_mut(place)) {
            let (now, src) = (ctx.now, datagram.src);
            interface.with_groups(|groups| groups.handle_message(now, group_rng, src, &message));
        }
        IcmpOutcome::Done
    }

    /// Sends the reports of an interface that are due.
    pub(super) fn run_group_timers(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId) {
        let Network { interfaces, group_rng, .. } = self;
        let place = place_of(interfaces, iface);
        let Some(interface) = place.and_then(|place| interfaces.get_mut(place)) else { return };
        let (now, mtu) = (ctx.now, interface.mtu);
        let [v4, v6] = interface.with_groups(|groups| {
            let max_lens = [IGMP_HEADER_LEN, MLD_HEADER_LEN].map(|header| mtu.saturating_sub(header));
            groups.handle_timeout(now, group_rng, max_lens)
        });
        for message in v4 {
            self.send_igmp(ctx, iface, &message);
        }
        for message in v6 {
            self.send_mld(ctx, iface, &message);
        }
    }

    /// Sends an IGMP message, from the first address of the interface, or from 0.0.0.0 if it has
    /// none yet (RFC 9776 §4.2.14).
    fn send_igmp(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, message: &Message) {
        let (dst, bytes) = igmp::emit(message);
        let src = self.interface(iface).into_iter().flat_map(|interface| interface.usable());
        let src = src.into_iter().find_map(|cidr| match cidr.addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        });
        let mut header = HeaderBuf::new();
        let fields = Ipv4Fields {
            src: src.unwrap_or(Ipv4Addr::UNSPECIFIED),
            dst,
            protocol: protocol::IGMP,
            hop_limit: igmp::TTL,
            traffic_class: igmp::TOS,
            ident: 0,
            dont_fragment: true,
            offset: 0,
            more: false,
        };
        fields.prepend_with_router_alert(&mut header, bytes.len());
        self.send_group_message(ctx, iface, dst.into(), header, bytes);
    }

    /// Sends an MLD message, from the link-local address of the interface, or from the unspecified
    /// address if that cannot be used yet (RFC 9777 §5.2.14).
    fn send_mld(&mut self, ctx: &mut Ctx<'_>, iface: InterfaceId, message: &Message) {
        let (dst, mut bytes) = mld::emit(message);
        let src = self.interface(iface).into_iter().flat_map(|interface| interface.usable());
        let src = src.into_iter().find_map(|cidr| match cidr.addr {
            IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
            _ => None,
        });
        let src = src.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let sum = transport_checksum(src.into(), dst.into(), protocol::ICMPV6, &bytes, &[]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut header = HeaderBuf::new();
        header.prepend(mld::ROUTER_ALERT.len()).copy_from_slice(&mld::ROUTER_ALERT);
        let fields = Ipv6Fields {
            src,
            dst,
            next_header: protocol::HOP_BY_HOP,
            hop_limit: mld::HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
        };
        fields.prepend(&mut header, mld::ROUTER_ALERT.len() + bytes.len());
        self.send_group_message(ctx, iface, dst.into(), header, bytes);
    }

    fn send_group_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        dst: IpAddr,
        mut header: HeaderBuf,
        message: Vec<u8>,
    ) {
        let own = self.interface(iface).and_then(|interface| interface.mac());
        if let (Some(own), Some(mac)) = (own, MacAddr::for_group(dst)) {
            let ethertype = if dst.is_ipv4() { EtherType::Ipv4 } else { EtherType::Ipv6 };
            ethernet::prepend(&mut header, own, mac, ethertype);
        }
        ctx.stats.multicast.reports_sent += 1;
        self.queue(ctx, Transmit::new(iface, header, Payload::from_iter([Bytes::from(message)])));
    }

    /// Puts a copy of an outgoing packet to a group or a broadcast address on the loopback, if it
    /// concerns this host: a group that the interface listens to, or any broadcast. `header` and
    /// `payload` are the whole packet.
    #[inline(never)]
    pub(super) fn loop_group(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        (src, dst): (IpAddr, IpAddr),
        header: HeaderBuf,
        payload: Payload,
    ) {
        let is_member = self.groups_of(iface).is_some_and(|groups| groups.allows(dst, src) == Some(true));
        // Where several stacks serve the interface, another may have the members.
        if !dst.is_multicast() || is_member || self.share.is_some() {
            debug_assert!(payload_len(&payload) + header.len() <= ipv6::MAX_PACKET_LEN);
            let packet = Transmit::new(iface, header, payload).to_frame().bytes;
            self.push_loopback(ctx, iface, packet);
        }
    }
}
