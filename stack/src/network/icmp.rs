//! ICMP: echo, received errors, and errors that we send.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;

use super::Network;
use super::path::RoutingDecision;
use super::types::{Datagram, IcmpOutcome};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::frame::Payload;
use crate::icmp::network_error::NetworkErrorKind;
use crate::icmp::quote::Quote;
use crate::icmp::{self, MessageClass, classify_v4, classify_v6, echo, errors, timestamp};
use crate::interface_id::InterfaceId;
use crate::ip::checksum::{verify_internet_checksum, verify_transport_checksum};
use crate::ip::input::Arrival;
use crate::ip::output::{IpMeta, MtuDiscovery};
use crate::ip::refusal::IcmpError;
use crate::ip::{Cast, extension, is_link_local, protocol, read_u8};
use crate::rate_limit::{PeerKey, Rate};
use crate::trace::PacketAddresses;

/// The packet that an ICMP error is about.
pub(super) struct Offender<'a> {
    pub(super) iface: InterfaceId,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) traffic_class: u8,
    pub(super) cast: Cast,
    /// Whether it was for another host, and an interface of ours took it.
    pub(super) is_intercepted: bool,
    pub(super) packet: &'a Bytes,
}

impl Network {
    /// The interface that the answer to a packet leaves through, if the routes do not decide that.
    fn answer_through(&self, src: IpAddr, iface: InterfaceId) -> Option<InterfaceId> {
        (is_link_local(src) || self.is_apart(iface)).then_some(iface)
    }

    // Out of line, so that `dispatch` is small enough for the path of every packet.
    #[inline(never)]
    pub(super) fn handle_icmp_v4(&mut self, ctx: &mut Ctx<'_>, datagram: &Datagram) -> IcmpOutcome {
        let message = datagram.transport();
        let kind = read_u8(message, 0).filter(|_| message.len() >= icmp::HEADER_LEN);
        let Some(kind) = kind.filter(|_| verify_internet_checksum(message)) else {
            return IcmpOutcome::Unused(DropReason::BadIcmp);
        };
        self.handle_icmp(ctx, classify_v4(kind), datagram)
    }

    #[inline(never)]
    pub(super) fn handle_icmp_v6(
        &mut self,
        ctx: &mut Ctx<'_>,
        arrival: Arrival,
        datagram: &Datagram,
    ) -> IcmpOutcome {
        let message = datagram.transport();
        let kind = read_u8(message, 0).filter(|_| message.len() >= icmp::HEADER_LEN);
        let is_right = verify_transport_checksum(datagram.src, datagram.dst, protocol::ICMPV6, message);
        let Some(kind) = kind.filter(|_| is_right) else {
            return IcmpOutcome::Unused(DropReason::BadIcmp);
        };
        match classify_v6(kind) {
            MessageClass::Neighbor => {
                self.handle_ndp(ctx, arrival, datagram);
                IcmpOutcome::Done
            }
            MessageClass::Membership if datagram.is_intercepted => {
                IcmpOutcome::Unused(DropReason::UnneededGroupMessage)
            }
            MessageClass::Membership => self.handle_mld(ctx, arrival, datagram),
            // RFC 4291 §2.5.2: no other packet comes from the unspecified address.
            _ if datagram.src.is_unspecified() => IcmpOutcome::Unused(DropReason::Martian),
            class => self.handle_icmp(ctx, class, datagram),
        }
    }

    /// Handles a message of either family.
    fn handle_icmp(&mut self, ctx: &mut Ctx<'_>, class: MessageClass, datagram: &Datagram) -> IcmpOutcome {
        let reason = match class {
            MessageClass::EchoReply => return IcmpOutcome::EchoReply,
            MessageClass::EchoRequest => {
                self.answer_echo(ctx, datagram);
                return IcmpOutcome::Done;
            }
            MessageClass::TimestampRequest => {
                self.answer_timestamp(ctx, datagram);
                return IcmpOutcome::Done;
            }
            MessageClass::Error => {
                match errors::parse(datagram.iface, datagram.src, &datagram.share_transport()) {
                    Ok(error) if self.is_local(error.local, Some(datagram.iface)) => {
                        return IcmpOutcome::Error(Box::new(error));
                    }
                    // A packet that we sent from an intercepted address.
                    Ok(error) if datagram.is_intercepted && error.local == datagram.dst => {
                        return IcmpOutcome::Error(Box::new(error));
                    }
                    Ok(_) => DropReason::UnmatchedIcmpError,
                    Err(reason) => reason,
                }
            }
            // RFC 1122 §3.2.2.2 allows hosts to act on redirects. Anybody on the link can forge
            // them, and our routes are configured.
            MessageClass::Redirect => DropReason::RedirectIgnored,
            MessageClass::Neighbor | MessageClass::Membership | MessageClass::Unknown => {
                DropReason::UnknownIcmp
            }
        };
        IcmpOutcome::Unused(reason)
    }

    fn answer_echo(&mut self, ctx: &mut Ctx<'_>, request: &Datagram) {
        // RFC 1122 §3.2.2.6: requests to an IPv4 group may be ignored. We ignore them, as Linux
        // does, because they serve to amplify attacks.
        let to_group_v4 = request.cast != Cast::Unicast && request.src.is_ipv4();
        if !ctx.config.ip.answer_echo || to_group_v4 || !self.answers_for(request) {
            ctx.count_drop(DropReason::EchoIgnored);
            return;
        }
        let iface = self.answer_through(request.src, request.iface);
        // RFC 4443 §4.2: a request to a group is answered from an address of the interface that it
        // came in through.
        let src = if request.dst.is_multicast() {
            self.source_for(request.src, Some(request.iface))
        } else {
            Ok(request.dst)
        };
        let Ok(src) = src else {
            // There is no address that the answer could come from.
            let (src, dst, protocol) = (Ipv6Addr::UNSPECIFIED.into(), request.src, request.protocol);
            let answer = PacketAddresses { src, dst, protocol };
            return self.drop_unsent(ctx, Some(request.iface), answer, None, DropReason::NoRoute);
        };
        let Some((header, payload)) = echo::reply(src, request.src, &request.share_transport()) else {
            return ctx.count_drop(DropReason::BadIcmp);
        };
        ctx.stats.icmp.out_echo_reps += 1;
        self.output_own(ctx, reply_meta(request, src, iface), header, payload);
    }

    /// Whether echo requests to the destination are to be answered if it is another host.
    fn answers_for(&self, request: &Datagram) -> bool {
        !request.is_intercepted
            || self.interception_of(request.iface).is_some_and(|interception| interception.answer_echo)
    }

    /// Answers a timestamp request. RFC 1122 §3.2.2.8: those to a group are ignored, as echo
    /// requests are.
    fn answer_timestamp(&mut self, ctx: &mut Ctx<'_>, request: &Datagram) {
        let is_wanted = ctx.config.ip.answer_timestamps && self.answers_for(request);
        if !is_wanted || request.cast != Cast::Unicast {
            return ctx.count_drop(DropReason::EchoIgnored);
        }
        let Some(header) = timestamp::reply(request.transport(), ctx.now, self.timestamp_offset) else {
            return ctx.count_drop(DropReason::BadIcmp);
        };
        ctx.stats.icmp.out_timestamp_reps += 1;
        let iface = self.answer_through(request.src, request.iface);
        self.output_own(ctx, reply_meta(request, request.dst, iface), header, Payload::new());
    }

    /// Answers a datagram that no socket takes with "port unreachable" or "protocol unreachable",
    /// within the rate limit.
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
            // Only routers send the others.
            _ => return,
        };
        let offender = Offender {
            iface: about.iface,
            src: about.src,
            dst: about.dst,
            traffic_class: about.traffic_class,
            cast: about.cast,
            is_intercepted: about.is_intercepted,
            packet: &about.packet,
        };
        self.send_icmp_error(ctx, &offender, error);
    }

    /// Whether the limits (RFC 4443 §2.4 (f), RFC 1812 §4.3.2.8) allow an error to this peer; if
    /// so, it is counted. A peer over its share takes nothing from the common budget: otherwise
    /// other peers could measure it. (Linux checks in the same order since 6.12.)
    fn may_send_icmp_error(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey, is_v4: bool) -> bool {
        let ip = &ctx.config.ip;
        let interval = if is_v4 { ip.icmp_error_interval_v4 } else { ip.icmp_error_interval_v6 };
        let rate = Rate { interval, burst: ip.icmp_peer_burst };
        let is_allowed = self.icmp_budget.has_some(ctx.now) && self.icmp_shares.take(ctx.now, peer, rate);
        if is_allowed {
            self.icmp_budget.take(ctx.rng);
        }
        is_allowed
    }

    /// Sends an ICMP error to the sender of a packet if RFC 1122 §3.2.2, RFC 4443 §2.4 (e) and the
    /// rate limit allow it.
    pub(super) fn send_icmp_error(&mut self, ctx: &mut Ctx<'_>, offender: &Offender<'_>, error: IcmpError) {
        if !self.may_answer_with_error(offender) {
            return;
        }
        let src = offender.src;
        let through = self.answer_through(src, offender.iface);
        let Ok(path) = self.path(src, through) else { return };
        if let RoutingDecision::Link(hop) = path
            && let peer = self.peer(src, through).unwrap_or(PeerKey::host(src, hop.next == src))
            && !self.may_send_icmp_error(ctx, peer, src.is_ipv4())
        {
            return ctx.count_drop(DropReason::IcmpRateLimit);
        }
        self.emit_icmp_error(ctx, offender, error);
    }

    /// Sends the error that a program has chosen as the answer to an intercepted packet. The caller
    /// limits the rate. Returns false if the packet must not be answered, or if there is no address
    /// that the error could come from.
    pub(crate) fn send_chosen_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        (packet, traffic_class): (&Bytes, u8),
        error: IcmpError,
    ) -> bool {
        let Some(Quote { src, dst, .. }) = Quote::parse(packet) else { return false };
        let offender =
            Offender { iface, src, dst, traffic_class, cast: Cast::Unicast, is_intercepted: true, packet };
        self.may_answer_with_error(&offender) && self.emit_icmp_error(ctx, &offender, error)
    }

    /// Whether the sender of a packet may get an ICMP error about it.
    fn may_answer_with_error(&self, offender: &Offender<'_>) -> bool {
        let src = offender.src;
        let to_nobody =
            src.is_unspecified() || src.is_multicast() || self.is_broadcast(src, Some(offender.iface));
        if offender.cast != Cast::Unicast || to_nobody {
            return false;
        }
        let Some(quote) = Quote::parse(offender.packet) else { return false };
        // IPv6 sends errors about later fragments, IPv4 does not.
        !quote.is_icmp_error(offender.packet) && (!quote.is_later_fragment || src.is_ipv6())
    }

    /// Sends an error. It comes from the address that the packet was for, or, if it is about
    /// another host, from an address of ours. Returns false if we have none.
    fn emit_icmp_error(&mut self, ctx: &mut Ctx<'_>, offender: &Offender<'_>, error: IcmpError) -> bool {
        let (src, dst) = (offender.src, offender.dst);
        let iface = self.answer_through(src, offender.iface);
        let is_from_destination = offender.is_intercepted && error.comes_from_destination();
        let is_own = self.is_local(dst, Some(offender.iface));
        let own = if is_own || is_from_destination { Ok(dst) } else { self.source_for(src, iface) };
        let Ok(own) = own else { return false };
        let (header, payload) = error.emit(own, src, offender.packet);
        ctx.stats.icmp.errors_sent += 1;
        let (protocol, traffic_class) = match own {
            // RFC 1812 §4.3.2.5: the packet's type of service, with the precedence of internetwork
            // control.
            IpAddr::V4(_) => (protocol::ICMP, offender.traffic_class & 0x1e | 0xc0),
            IpAddr::V6(_) => (protocol::ICMPV6, 0),
        };
        let meta = IpMeta {
            src: own,
            dst: src,
            protocol,
            hop_limit: None,
            traffic_class,
            mtu_discovery: MtuDiscovery::Dont,
            path_seed: 0,
            iface,
            is_looped: false,
            checksum_at: None,
            run: None,
        };
        self.output_own(ctx, meta, header, payload);
        true
    }
}

/// The IP header of the answer to a message.
fn reply_meta(request: &Datagram, src: IpAddr, iface: Option<InterfaceId>) -> IpMeta {
    IpMeta {
        src,
        dst: request.src,
        protocol: request.protocol,
        hop_limit: None,
        traffic_class: request.traffic_class,
        mtu_discovery: MtuDiscovery::Dont,
        path_seed: 0,
        iface,
        is_looped: false,
        checksum_at: None,
        run: None,
    }
}
