//! PACKET_FANOUT: groups of packet sockets, of which one gets each frame.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::PacketSockets;
use super::fanout_group::FanoutGroup;
use super::input::SeenFrame;
use crate::bpf::{Filter, PacketView};
use crate::error::{Error, Result};
use crate::hash::Keyed;
use crate::icmp::quote::Quote;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::ip::protocol;
use crate::link::packet_type::PacketType;
use crate::socket::common::Env;
use crate::socket::options::{PacketFanout, PacketFanoutMode};

/// The most members of a group, which is Linux's default.
const MAX_MEMBERS: usize = 256;

impl PacketSockets {
    /// PACKET_FANOUT. EALREADY for a member of a group; EINVAL for a socket that takes no frames,
    /// and for a group of another mode, interface or EtherType; ENOBUFS if the group is full.
    pub(super) fn join_fanout(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        fanout: PacketFanout,
    ) -> Result<()> {
        let packets = env.common.record_mut(id)?.packets_mut()?;
        if packets.fanout.is_some() {
            return Err(Error::Already);
        }
        let tap = self.taps.iter().find(|tap| tap.id == id).copied().ok_or(Error::InvalidArgument)?;
        match self.fanouts.iter_mut().find(|group| group.fanout.id == fanout.id) {
            Some(group) => {
                let is_alike =
                    group.fanout == fanout && group.iface == tap.iface && group.protocol == tap.protocol;
                if !is_alike {
                    return Err(Error::InvalidArgument);
                }
                if group.members.len() >= MAX_MEMBERS {
                    return Err(Error::NoBufferSpace);
                }
                group.members.push(id);
            }
            None => self.fanouts.push(FanoutGroup {
                fanout,
                iface: tap.iface,
                protocol: tap.protocol,
                members: [id].into(),
                turn: 0,
                program: None,
            }),
        }
        packets.fanout = Some(fanout);
        Ok(())
    }

    /// PACKET_FANOUT_DATA of a group whose mode is `Program`. EINVAL.
    pub(super) fn set_program(&mut self, id: SocketId, program: Filter) -> Result<()> {
        let mut groups = self.fanouts.iter_mut();
        let group = groups.find(|group| group.members.contains(&id)).ok_or(Error::InvalidArgument)?;
        if group.fanout.mode != PacketFanoutMode::Program {
            return Err(Error::InvalidArgument);
        }
        group.program = Some(program);
        Ok(())
    }

    /// The socket is closed.
    pub(super) fn leave_fanout(&mut self, id: SocketId) {
        for group in &mut self.fanouts {
            if let Some(at) = group.members.iter().position(|&member| member == id) {
                group.members.swap_remove(at);
            }
        }
        self.fanouts.retain(|group| !group.members.is_empty());
    }

    /// The members of groups that get this frame, one of each group. As on Linux the frame of a
    /// member is for none of its group.
    pub(super) fn fanout_takers(
        &mut self,
        env: &mut Env<'_>,
        seen: &SeenFrame,
        sender: Option<SocketId>,
    ) -> Vec<SocketId> {
        let mut takers = Vec::new();
        for group in &mut self.fanouts {
            let is_own = sender.is_some_and(|sender| group.members.contains(&sender));
            let is_ignored = group.fanout.ignores_outgoing && seen.from.packet_type == PacketType::Outgoing;
            if !is_own && !is_ignored && seen.is_for(group.iface, group.protocol) {
                takers.extend(group.choose(env, &self.fanout_key, seen));
            }
        }
        takers
    }

    /// Whether the socket gets frames as a member of a group only.
    pub(super) fn is_in_fanout(&self, id: SocketId) -> bool {
        self.fanouts.iter().any(|group| group.members.contains(&id))
    }
}

impl FanoutGroup {
    /// The member that gets this frame.
    fn choose(&mut self, env: &mut Env<'_>, key: &Keyed, seen: &SeenFrame) -> Option<SocketId> {
        let count = self.members.len() as u32;
        let index = match self.fanout.mode {
            PacketFanoutMode::Hash => flow_hash(key, seen) % count,
            PacketFanoutMode::RoundRobin => {
                self.turn = self.turn.wrapping_add(1);
                self.turn % count
            }
            PacketFanoutMode::Rollover => 0,
            PacketFanoutMode::Random => env.ctx.rng.next_u32() % count,
            PacketFanoutMode::Program => match &self.program {
                Some(program) => program.run(&seen.view(), &mut || env.ctx.rng.next_u32()) % count,
                None => 0,
            },
        };
        let first = *self.members.get(index as usize)?;
        if !self.fanout.rolls_over && self.fanout.mode != PacketFanoutMode::Rollover {
            return Some(first);
        }
        let mut others = (0..count).map(|step| self.members[((index + step) % count) as usize]);
        let has_room = |id: &SocketId| {
            let Ok(socket) = env.common.record(*id) else { return false };
            socket.packets().is_ok_and(|packets| packets.received_bytes() < socket.options.receive_buffer)
        };
        others.find(has_room).or(Some(first))
    }
}

/// A hash of the addresses and ports, which is the same in both directions. Frames that are not IP
/// have the same hash.
fn flow_hash(key: &Keyed, seen: &SeenFrame) -> u32 {
    let packet = seen.network_packet();
    let Some(quote) = Quote::parse(packet) else { return 0 };
    let has_ports = matches!(quote.protocol, protocol::TCP | protocol::UDP) && !quote.is_fragment;
    let ports = packet.get(quote.transport_at..).and_then(|transport| transport.first_chunk());
    let [a, b, c, d] = ports.filter(|_| has_ports).copied().unwrap_or_default();
    let bits = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mut ends = [(bits(quote.src), [a, b]), (bits(quote.dst), [c, d])];
    ends.sort_unstable();
    let [(first, from), (second, to)] = ends;
    let words = [first, second].map(|bits| [(bits >> 64) as u64, bits as u64]);
    let [[w0, w1], [w2, w3]] = words;
    let rest = u64::from(u16::from_be_bytes(from)) << 16 | u64::from(u16::from_be_bytes(to));
    key.hash_words([w0, w1, w2, w3, rest << 8 | u64::from(quote.protocol)]) as u32
}

impl SeenFrame {
    /// The frame as a program sees it: from its network header on.
    fn view(&self) -> PacketView<'_> {
        let network_at = self.link.header_len;
        PacketView {
            start: network_at,
            network_at,
            has_link_header: network_at > 0,
            protocol: self.from.protocol,
            packet_type: self.from.packet_type,
            interface_index: self.from.iface.map_or(0, InterfaceId::scope_id),
            hardware_type: self.link.hardware_type,
            ..PacketView::new(&self.frame.bytes)
        }
    }

    fn network_packet(&self) -> &[u8] {
        self.frame.bytes.get(self.link.header_len..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
