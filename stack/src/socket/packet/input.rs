//! Copies of frames, for the sockets that take them.

use bytes::{BufMut as _, BytesMut};

use super::address::LinkAddr;
use super::header::LinkHeader;
use super::queue::PacketMeta;
use super::{FrameSender, PacketSockets, Tap};
use crate::bpf::PacketView;
use crate::drop_reason::DropReason;
use crate::event::Wakeup;
use crate::frame::{Frame, Transmit};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::link::ethernet;
use crate::link::mac::MacAddr;
use crate::link::packet_type::PacketType;
use crate::network::LinkFacts;
use crate::offload::ChecksumState;
use crate::socket::common::Env;
use crate::socket::datagram_queue::OVERHEAD_BYTES;
use crate::socket::protocol::ProtocolInput;
use crate::subject::Subject;
use crate::time::Instant;

/// The kernel's ETH_P_802_3_MIN: smaller numbers in the place of an EtherType are lengths.
const MIN_ETHERTYPE: u16 = 0x600;

impl ProtocolInput for PacketSockets {}

/// A frame on its way in or out.
pub(super) struct SeenFrame {
    pub(super) frame: Frame,
    pub(super) link: LinkFacts,
    /// The address that sockets get with it.
    pub(super) from: LinkAddr,
    at: Instant,
}

impl SeenFrame {
    /// `None` if the frame has no complete link header, or its protocol is not known.
    fn new(
        iface: InterfaceId,
        link: LinkFacts,
        frame: Frame,
        packet_type: PacketType,
        now: Instant,
    ) -> Option<SeenFrame> {
        let protocol = protocol_of(&link, &frame.bytes)?;
        let source = frame.bytes.get(6..).and_then(<[u8]>::first_chunk).copied().map(MacAddr);
        let from = LinkAddr {
            iface: Some(iface),
            protocol,
            hardware_type: link.hardware_type,
            packet_type,
            mac: link.mac.and(source),
        };
        let at = frame.at.unwrap_or(now);
        Some(SeenFrame { frame, link, from, at })
    }

    /// Whether a socket that is bound to this interface, or to none, and to this EtherType takes
    /// the frame.
    pub(super) fn is_for(&self, iface: Option<InterfaceId>, protocol: u16) -> bool {
        let is_incoming = self.from.packet_type != PacketType::Outgoing;
        let is_of_protocol =
            protocol == LinkAddr::ETH_P_ALL || (protocol == self.from.protocol && is_incoming);
        is_of_protocol && iface.is_none_or(|iface| self.from.iface == Some(iface))
    }
}

impl PacketSockets {
    /// Delivers copies of a frame that came in from a device.
    #[cold]
    #[inline(never)]
    pub(crate) fn on_received(&mut self, env: &mut Env<'_>, iface: InterfaceId, frame: &Frame) {
        if iface == InterfaceId::LOOPBACK {
            return self.on_looped(env, &frame.bytes, &[PacketType::Host]);
        }
        let Some(link) = env.network.link(iface) else { return };
        let packet_type = match (link.mac, frame.bytes.first_chunk().copied().map(MacAddr)) {
            (None, _) => PacketType::Host,
            (Some(own), Some(dst)) if dst == own => PacketType::Host,
            (_, Some(MacAddr::BROADCAST)) => PacketType::Broadcast,
            (_, Some(dst)) if dst.is_group() => PacketType::Multicast,
            (_, Some(dst)) if self.is_shown(iface, dst) => PacketType::OtherHost,
            _ => return,
        };
        if let Some(seen) = SeenFrame::new(iface, link, frame.clone(), packet_type, env.ctx.now) {
            self.deliver(env, &seen, None);
        }
    }

    /// Delivers copies of a frame that goes to the device.
    #[cold]
    #[inline(never)]
    pub(crate) fn on_sent(&mut self, env: &mut Env<'_>, transmit: &Transmit) {
        let sender = self.sender.take();
        // Sockets of one protocol see only what comes in.
        if self.taps.iter().all(|tap| tap.protocol != LinkAddr::ETH_P_ALL) {
            return;
        }
        let (iface, frame) = (transmit.iface(), transmit.to_frame());
        if iface == InterfaceId::LOOPBACK {
            return self.on_looped(env, &frame.bytes, &[PacketType::Outgoing]);
        }
        let Some(link) = env.network.link(iface) else { return };
        if let Some(mut seen) = SeenFrame::new(iface, link, frame, PacketType::Outgoing, env.ctx.now) {
            if let Some(FrameSender { protocol: Some(protocol), .. }) = sender {
                seen.from.protocol = protocol;
            }
            self.deliver(env, &seen, sender.map(|sender| sender.id));
        }
    }

    /// Delivers copies of a packet on the loopback, once for each of these types. The loopback has
    /// no link header; as on Linux its sockets see one of zeros.
    #[cold]
    #[inline(never)]
    pub(crate) fn on_looped(&mut self, env: &mut Env<'_>, packet: &[u8], types: &[PacketType]) {
        let iface = InterfaceId::LOOPBACK;
        let Some(link) = env.network.link(iface) else { return };
        let Some(ethertype) = ip_version(packet) else { return };
        let mut frame = BytesMut::with_capacity(ethernet::HEADER_LEN + packet.len());
        frame.put_bytes(0, ethernet::HEADER_LEN - 2);
        frame.put_u16(ethertype);
        frame.extend_from_slice(packet);
        let frame = Frame::new(frame.freeze()).with_checksum(ChecksumState::Verified);
        for &packet_type in types {
            if let Some(seen) = SeenFrame::new(iface, link, frame.clone(), packet_type, env.ctx.now) {
                self.deliver(env, &seen, None);
            }
        }
    }

    /// Delivers copies to all sockets that take the frame, except to its sender.
    fn deliver(&mut self, env: &mut Env<'_>, seen: &SeenFrame, sender: Option<SocketId>) {
        let chosen = self.fanout_takers(env, seen, sender);
        for &Tap { id, iface, protocol } in &self.taps {
            let is_taker = match self.is_in_fanout(id) {
                true => chosen.contains(&id),
                false => seen.is_for(iface, protocol) && sender != Some(id),
            };
            if is_taker && let Err(reason) = deliver_to(env, id, seen) {
                env.ctx.subject = Subject::Frame(iface.unwrap_or(InterfaceId::LOOPBACK));
                env.ctx.count_drop(reason);
            }
        }
    }
}

/// Puts a copy into a socket's queue, if its filter wants the frame and there is room. A frame that
/// the filter does not want is not counted: a program that watches one protocol loses nothing.
fn deliver_to(env: &mut Env<'_>, id: SocketId, seen: &SeenFrame) -> Result<(), DropReason> {
    let Some(socket) = env.common.records.get_mut(id) else { return Ok(()) };
    let (limit, filter) = (socket.options.receive_buffer, socket.options.filter.clone());
    let Ok(packets) = socket.packets_mut() else { return Ok(()) };
    if packets.ignores_outgoing && seen.from.packet_type == PacketType::Outgoing {
        return Ok(());
    }
    let network_at = seen.link.header_len;
    let start = match packets.header {
        LinkHeader::Included => 0,
        LinkHeader::Cooked => network_at,
    };
    let mut data = seen.frame.bytes.slice(start..);
    let len = data.len();
    if let Some(filter) = filter {
        let packet = PacketView {
            start,
            network_at,
            has_link_header: network_at > 0,
            protocol: seen.from.protocol,
            packet_type: seen.from.packet_type,
            interface_index: seen.from.iface.map_or(0, InterfaceId::scope_id),
            hardware_type: seen.link.hardware_type,
            ..PacketView::new(&seen.frame.bytes)
        };
        match filter.run(&packet, &mut || env.ctx.rng.next_u32()) {
            0 => return Ok(()),
            kept => data.truncate(kept as usize),
        }
    }
    packets.statistics.packets = packets.statistics.packets.wrapping_add(1);
    let room = env.common.account.room_for_datagram(packets.received_bytes());
    let reason = match packets.received_bytes() {
        // As on Linux the last frame may exceed the limit.
        queued if queued >= limit => Some(DropReason::ReceiveBufferFull),
        _ if data.len() + OVERHEAD_BYTES > room => Some(DropReason::MemoryLimit),
        _ => None,
    };
    if let Some(reason) = reason {
        packets.statistics.drops = packets.statistics.drops.wrapping_add(1);
        return Err(reason);
    }
    let meta = PacketMeta {
        from: seen.from,
        len,
        network_at: network_at - start,
        checksum: seen.frame.checksum,
        segments: seen.frame.segments,
        at: seen.at,
    };
    packets.push_received(data, meta);
    env.common.settle(id, Wakeup::ARRIVAL);
    Ok(())
}

/// The EtherType of a frame, as the kernel's `eth_type_trans` finds it.
fn protocol_of(link: &LinkFacts, frame: &[u8]) -> Option<u16> {
    if link.header_len == 0 {
        return ip_version(frame);
    }
    let payload = frame.get(link.header_len..)?;
    let number = u16::from_be_bytes(*frame.get(link.header_len - 2..)?.first_chunk()?);
    Some(match number {
        MIN_ETHERTYPE.. => number,
        _ if payload.starts_with(&[0xff, 0xff]) => LinkAddr::ETH_P_802_3,
        _ => LinkAddr::ETH_P_802_2,
    })
}

/// The EtherType of an IP packet.
fn ip_version(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(LinkAddr::ETH_P_IP),
        6 => Some(LinkAddr::ETH_P_IPV6),
        _ => None,
    }
}
