//! Drops of outgoing packets: each is counted, named in the log, and recorded in the trace.

use core::net::IpAddr;

use super::Network;
use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::frame::Transmit;
use crate::icmp::quote::Quote;
use crate::interface_id::InterfaceId;
use crate::ip::output::IpMeta;
use crate::ip::{is_link_local, protocol, read_u16};
use crate::link::ethernet;
use crate::link::medium::Medium;
use crate::subject::Subject;
use crate::trace::PacketAddresses;

impl Network {
    /// Drops a packet of this flow, if it belongs to one, that [`Network::output`] refused.
    pub(crate) fn drop_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: Option<&FourTuple>,
        meta: &IpMeta,
        error: Error,
    ) {
        let reason = match error {
            Error::MessageTooLong => DropReason::PacketTooBig,
            _ => DropReason::NoRoute,
        };
        let packet = PacketAddresses { src: meta.src, dst: meta.dst, protocol: meta.protocol };
        self.drop_unsent(ctx, meta.iface, packet, flow, reason);
    }

    /// Drops a packet that begins with this IP header.
    pub(super) fn drop_packet(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: InterfaceId,
        packet: &[u8],
        reason: DropReason,
    ) {
        match Quote::parse(packet) {
            Some(quote) => {
                let Quote { src, dst, protocol, .. } = quote;
                let transport = packet.get(quote.transport_at..).filter(|_| !quote.is_later_fragment);
                let flow = transport
                    .and_then(|transport| flow_of((src, dst), (iface, self.is_apart(iface)), transport));
                let packet = PacketAddresses { src, dst, protocol };
                self.drop_unsent(ctx, Some(iface), packet, flow.as_ref(), reason);
            }
            // The stack makes no packets without an IP header.
            None => ctx.count_drop(reason),
        }
    }

    /// Drops a frame: an IP packet behind its link header, or an ARP packet.
    pub(crate) fn drop_frame(&mut self, ctx: &mut Ctx<'_>, frame: &Transmit, reason: DropReason) {
        let iface = frame.iface();
        let is_ethernet =
            self.interface(iface).is_some_and(|interface| matches!(interface.medium, Medium::Ethernet(_)));
        // A packet for another stack is in one piece, its header included.
        let front = if frame.header().is_empty() { frame.payload().first() } else { None };
        let bytes = front.map_or(frame.header(), |bytes| bytes);
        let packet = bytes.get(if is_ethernet { ethernet::HEADER_LEN } else { 0 }..).unwrap_or_default();
        if Quote::parse(packet).is_some() {
            return self.drop_packet(ctx, iface, packet, reason);
        }
        let before = core::mem::replace(&mut ctx.subject, Subject::Frame(iface));
        ctx.count_drop(reason);
        ctx.subject = before;
        if let Some(trace) = &mut self.trace {
            trace.on_unsent(ctx.now, iface, None, reason, ctx.stats);
        }
    }

    /// Drops a packet of this flow, if it belongs to one. The current subject may be another
    /// packet, so it is restored afterwards.
    pub(super) fn drop_unsent(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: Option<InterfaceId>,
        packet: PacketAddresses,
        flow: Option<&FourTuple>,
        reason: DropReason,
    ) {
        let PacketAddresses { src, dst, protocol } = packet;
        let about = match (protocol, flow) {
            (protocol::TCP, Some(&flow)) => Subject::Tcp(flow),
            (protocol::UDP, Some(&flow)) => Subject::Udp(flow),
            _ => Subject::Packet { src, dst, protocol },
        };
        let before = core::mem::replace(&mut ctx.subject, about);
        ctx.count_drop(reason);
        ctx.subject = before;
        self.trace_unsent(ctx, iface, packet, reason);
    }

    /// Records the drop of an outgoing packet, which was counted, in the trace.
    fn trace_unsent(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: Option<InterfaceId>,
        packet: PacketAddresses,
        reason: DropReason,
    ) {
        if let Some(trace) = &mut self.trace {
            trace.on_unsent(ctx.now, iface.unwrap_or(InterfaceId::LOOPBACK), Some(packet), reason, ctx.stats);
        }
    }
}

/// The flow of an outgoing packet, if its transport header begins with two ports.
pub(super) fn flow_of(
    (src, dst): (IpAddr, IpAddr),
    (iface, is_apart): (InterfaceId, bool),
    transport: &[u8],
) -> Option<FourTuple> {
    let ports = (read_u16(transport, 0)?, read_u16(transport, 2)?);
    let is_scoped = is_apart || is_link_local(src) || is_link_local(dst);
    let scope = if is_scoped { iface.scope_id() as u16 } else { 0 };
    Some(FourTuple { local: Endpoint::new(src, ports.0), remote: Endpoint::new(dst, ports.1), scope })
}
