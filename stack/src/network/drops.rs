//! Drops of outgoing packets: each is counted, named in the log, and recorded in the trace.

use super::Network;
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::frame::Transmit;
use crate::icmp::quote::Quote;
use crate::interface_id::InterfaceId;
use crate::ip::output::IpMeta;
use crate::link::ethernet;
use crate::link::medium::Medium;
use crate::subject::Subject;
use crate::trace::PacketAddresses;

impl Network {
    /// Drops a packet that [`Network::output`] refused.
    pub(crate) fn drop_refused(&mut self, ctx: &mut Ctx<'_>, meta: &IpMeta, error: Error) {
        let reason = match error {
            Error::MessageTooLong => DropReason::PacketTooBig,
            _ => DropReason::NoRoute,
        };
        let packet = PacketAddresses { src: meta.src, dst: meta.dst, protocol: meta.protocol };
        self.drop_unsent(ctx, meta.iface, packet, reason);
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
            Some(Quote { src, dst, protocol, .. }) => {
                self.drop_unsent(ctx, Some(iface), PacketAddresses { src, dst, protocol }, reason);
            }
            // The stack makes no packets without an IP header.
            None => ctx.count_drop(reason),
        }
    }

    /// Drops a frame: an IP packet behind its link header, or an ARP packet.
    pub(super) fn drop_frame(&mut self, ctx: &mut Ctx<'_>, frame: &Transmit, reason: DropReason) {
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

    /// The current subject may be another packet, so it is restored afterwards.
    pub(super) fn drop_unsent(
        &mut self,
        ctx: &mut Ctx<'_>,
        iface: Option<InterfaceId>,
        packet: PacketAddresses,
        reason: DropReason,
    ) {
        let PacketAddresses { src, dst, protocol } = packet;
        let before = core::mem::replace(&mut ctx.subject, Subject::Packet { src, dst, protocol });
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
