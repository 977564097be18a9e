//! The calls of programs on packet sockets, and the sending.

use alloc::vec::Vec;

use bytes::Bytes;

use super::address::LinkAddr;
use super::header::LinkHeader;
use super::queue::{OutgoingFrame, PacketMeta, PacketQueue, PacketStatistics};
use super::{FrameSender, PacketSockets, Tap};
use crate::bpf::Filter;
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::frame::{Frame, Transmit};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::link::ethernet;
use crate::link::mac::MacAddr;
use crate::message_flags::{RecvFlags, SendFlags};
use crate::network::LinkFacts;
use crate::socket::address::SockAddr;
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::datagram_queue::{OVERHEAD_BYTES, copy_into, copy_prefix};
use crate::socket::kind::{Domain, Shutdown, SocketKind};
use crate::socket::message::{DatagramMeta, Received, SendMeta, copy_flags};
use crate::socket::options::SocketOption;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};

/// ETH_P_8021Q: a frame with a VLAN tag may be four bytes longer.
const VLAN: u16 = 0x8100;
const VLAN_TAG_LEN: usize = 4;

impl Socket {
    /// The state of a packet socket. EOPNOTSUPP for another kind.
    pub(in crate::socket) fn packets_mut(&mut self) -> Result<&mut PacketQueue> {
        match &mut self.protocol {
            Protocol::Packets(packets) => Ok(packets),
            _ => Err(Error::NotSupported),
        }
    }

    pub(crate) fn packets(&self) -> Result<&PacketQueue> {
        match &self.protocol {
            Protocol::Packets(packets) => Ok(packets),
            _ => Err(Error::NotSupported),
        }
    }
}

impl ProtocolCalls for PacketSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        let header = if let SocketKind::Packet(header) = kind { header } else { LinkHeader::Included };
        let protocol = Protocol::Packets(PacketQueue::new(header).into());
        Ok(Socket::new(domain, kind, self.default_options.clone(), protocol))
    }

    /// As on Linux an address of another family is EINVAL.
    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        self.bind_link(env, id, addr.link().ok_or(Error::InvalidArgument)?)
    }

    fn connect(&mut self, _: &mut Env<'_>, _: SocketId, _: &SockAddr) -> Result<()> {
        Err(Error::NotSupported)
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        _: SendFlags,
    ) -> Result<usize> {
        if meta.peer.is_some() {
            return Err(Error::InvalidArgument);
        }
        let bytes = match data {
            SendData::Slice(slice) => Bytes::copy_from_slice(slice),
            SendData::Slices(slices) => slices.concat().into(),
            SendData::Bytes(bytes) => bytes,
        };
        send_frame(env, id, bytes, None)
    }

    fn send_to(&mut self, env: &mut Env<'_>, id: SocketId, data: &[u8], to: &SockAddr) -> Result<usize> {
        let to = to.link().ok_or(Error::InvalidArgument)?;
        send_frame(env, id, Bytes::copy_from_slice(data), Some(&to))
    }

    fn receive(&mut self, env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
        Ok(copy_prefix(&pop(env, id)?.0, buf))
    }

    fn receive_from(&mut self, _: &mut Env<'_>, _: SocketId, _: &mut [u8]) -> Result<(usize, DatagramMeta)> {
        Err(Error::NotSupported)
    }

    fn receive_bytes(&mut self, env: &mut Env<'_>, id: SocketId, max: usize) -> Result<Bytes> {
        let (mut data, _) = pop(env, id)?;
        data.truncate(max);
        Ok(data)
    }

    /// The metadata of a frame come from [`PacketSockets::receive_packet`] only.
    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        if flags.contains(RecvFlags::OOB) {
            return Err(Error::InvalidArgument);
        }
        if flags.contains(RecvFlags::ERROR_QUEUE) {
            return Err(Error::WouldBlock);
        }
        let data = match flags.contains(RecvFlags::PEEK) {
            true => front(env, id)?,
            false => pop(env, id)?.0,
        };
        let copied = copy_into(&data, bufs);
        let len = if flags.contains(RecvFlags::TRUNCATE) { data.len() } else { copied };
        Ok(Received { len, flags: copy_flags(copied, data.len()), meta: None, error: None })
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome {
        let Ok(socket) = env.common.record_mut(id) else { return TransmitOutcome::Nothing };
        let Some(outgoing) = socket.packets_mut().ok().and_then(PacketQueue::pop_outgoing) else {
            return TransmitOutcome::Nothing;
        };
        env.common.settle(id, Wakeup::NONE);
        // As on Linux, where each frame that has left is room: sock_wfree.
        env.common.pollers.wake(id, Wakeup::ROOM);
        let OutgoingFrame { iface, protocol, bytes } = outgoing;
        if iface == InterfaceId::LOOPBACK {
            env.network.loop_frame(&mut env.ctx, bytes);
            return TransmitOutcome::Sent;
        }
        let made = Transmit::from_frame(iface, Frame::new(bytes));
        if env.network.is_link_down(iface) {
            env.network.drop_frame(&mut env.ctx, &made, DropReason::LinkDown);
            return TransmitOutcome::Sent;
        }
        self.sender = self.has_taps().then_some(FrameSender { id, protocol });
        *frame = Some(made);
        TransmitOutcome::Sent
    }

    fn shutdown(&mut self, _: &mut Env<'_>, _: SocketId, _: Shutdown) -> Result<()> {
        Err(Error::NotSupported)
    }

    /// Closes the socket. The record stays until its queue is sent.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.taps.retain(|tap| tap.id != id);
        self.leave_fanout(id);
        self.drop_all_memberships(env, id);
    }

    fn set_fanout_program(&mut self, id: SocketId, program: Filter) -> Result<()> {
        self.set_program(id, program)
    }

    /// ENOPROTOOPT for options of IP and of other protocols.
    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        match option {
            SocketOption::PacketAddMembership(membership) => self.add_membership(env, id, membership)?,
            SocketOption::PacketDropMembership(membership) => self.drop_membership(env, id, membership)?,
            SocketOption::PacketFanout(fanout) => self.join_fanout(env, id, fanout)?,
            SocketOption::PacketIgnoreOutgoing(on) => {
                env.common.record_mut(id)?.packets_mut()?.ignores_outgoing = on;
            }
            SocketOption::ReuseAddr(_)
            | SocketOption::ReusePort(_)
            | SocketOption::ReceiveBuffer(_)
            | SocketOption::SendBuffer(_)
            | SocketOption::KeepAlive(_)
            | SocketOption::Linger(_)
            | SocketOption::Broadcast(_)
            | SocketOption::BindToDevice(_)
            | SocketOption::AskFor(..)
            | SocketOption::DontRoute(_)
            | SocketOption::NoCheck(_)
            | SocketOption::LockReceiveBuffer(_)
            | SocketOption::LockSendBuffer(_)
            | SocketOption::ReceiveLowWater(_)
            | SocketOption::OobInline(_)
            | SocketOption::MaxPacingRate(_)
            | SocketOption::LockFilter(_) => return env.common.set_option(&env.ctx, id, option),
            _ => return Err(Error::ProtocolNotAvailable),
        }
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }
}

impl PacketSockets {
    /// Binds to an interface and an EtherType. The EtherType 0 keeps the one that the socket has.
    /// EINVAL for a member of a group of PACKET_FANOUT, ENODEV, ENOBUFS.
    fn bind_link(&mut self, env: &mut Env<'_>, id: SocketId, addr: LinkAddr) -> Result<()> {
        let LinkAddr { iface, protocol, .. } = addr;
        if self.is_in_fanout(id) {
            return Err(Error::InvalidArgument);
        }
        let packets = env.common.record_mut(id)?.packets_mut()?;
        let link = match iface {
            Some(iface) => Some(env.network.link(iface).ok_or(Error::NoDevice)?),
            None => None,
        };
        let protocol = if protocol == 0 { packets.bound.protocol } else { protocol };
        let others = self.taps.iter().filter(|tap| tap.id != id).count();
        if protocol != 0 && others >= self.max_taps {
            return Err(Error::NoBufferSpace);
        }
        packets.bound = LinkAddr {
            hardware_type: link.map_or(0, |link| link.hardware_type),
            mac: link.and_then(|link| link.mac),
            ..LinkAddr::new(iface, protocol)
        };
        self.taps.retain(|tap| tap.id != id);
        if protocol != 0 {
            self.taps.push(Tap { id, iface, protocol });
        }
        Ok(())
    }

    /// An interface was removed. As on Linux the sockets that were bound to it take no more frames,
    /// and get ENETDOWN once; they keep what they have received.
    pub(crate) fn on_interface_removed(&mut self, env: &mut Env<'_>, iface: InterfaceId) {
        let bound: Vec<SocketId> =
            self.taps.iter().filter(|tap| tap.iface == Some(iface)).map(|tap| tap.id).collect();
        self.taps.retain(|tap| tap.iface != Some(iface));
        for id in bound {
            let Ok(packets) = env.common.record_mut(id).and_then(|socket| socket.packets_mut()) else {
                continue;
            };
            packets.bound = LinkAddr::new(None, packets.bound.protocol);
            packets.error = Some(Error::NetworkDown);
            env.common.settle(id, Wakeup::ERROR);
        }
    }

    /// The next frame and its metadata.
    pub(crate) fn receive_packet(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<(Bytes, PacketMeta)> {
        pop(env, id)
    }

    /// Queues a frame. `to` is the address that the program gave with it. ENXIO without an
    /// interface; EMSGSIZE and EINVAL for a frame that is longer than the MTU or shorter than its
    /// header; EINVAL for a cooked packet without a destination; EAGAIN, ENOBUFS.
    pub(crate) fn send_packet(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: Bytes,
        to: Option<&LinkAddr>,
    ) -> Result<usize> {
        send_frame(env, id, data, to)
    }

    /// PACKET_STATISTICS: returns the counts and resets them.
    pub(crate) fn take_statistics(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<PacketStatistics> {
        Ok(env.common.record_mut(id)?.packets_mut()?.take_statistics())
    }
}

/// The next frame. The error of the socket comes before it.
fn pop(env: &mut Env<'_>, id: SocketId) -> Result<(Bytes, PacketMeta)> {
    let popped = env.common.record_mut(id)?.packets_mut()?.pop_received();
    env.common.settle(id, Wakeup::NONE);
    popped
}

/// The same, without taking it.
fn front(env: &mut Env<'_>, id: SocketId) -> Result<Bytes> {
    let front = env.common.record_mut(id)?.packets_mut()?.front();
    env.common.settle(id, Wakeup::NONE);
    front
}

/// See [`PacketSockets::send_packet`].
fn send_frame(env: &mut Env<'_>, id: SocketId, data: Bytes, to: Option<&LinkAddr>) -> Result<usize> {
    let packets = env.common.record(id)?.packets()?;
    let LinkAddr { iface, protocol, .. } = *to.unwrap_or(&packets.bound);
    let iface = iface.ok_or(Error::NoSuchInterface)?;
    let link = env.network.link(iface).ok_or(Error::NoSuchInterface)?;
    let len = data.len();
    let max = link.mtu + if packets.header == LinkHeader::Included { link.header_len } else { 0 };
    // Linux's order of the checks.
    if len > max + VLAN_TAG_LEN {
        return Err(Error::MessageTooLong);
    }
    let (bytes, protocol) = match packets.header {
        LinkHeader::Included => {
            // As on Linux the socket's EtherType counts, whatever the header says.
            let is_general = matches!(protocol, 0 | LinkAddr::ETH_P_ALL);
            let protocol = if is_general { protocol_of(&data) } else { Some(protocol) };
            (data, protocol)
        }
        LinkHeader::Cooked => {
            let nobody = MacAddr([0; 6]);
            let unaddressed = (iface == InterfaceId::LOOPBACK).then_some(nobody);
            let dst = to.map_or(unaddressed, |to| Some(to.mac.unwrap_or(nobody)));
            (add_header(&link, dst, protocol, &data)?, Some(protocol))
        }
    };
    if bytes.is_empty() || bytes.len() < link.header_len {
        return Err(Error::InvalidArgument);
    }
    let has_tag = link.mac.is_some() && protocol_of(&bytes) == Some(VLAN);
    if len > max && !has_tag {
        return Err(Error::MessageTooLong);
    }
    queue(env, id, OutgoingFrame { iface, protocol, bytes })?;
    Ok(len)
}

/// Puts the link header in front of a packet. EINVAL if the link needs a destination and there is
/// none.
fn add_header(link: &LinkFacts, dst: Option<MacAddr>, protocol: u16, data: &Bytes) -> Result<Bytes> {
    let Some(src) = link.mac else { return Ok(data.clone()) };
    let dst = dst.ok_or(Error::InvalidArgument)?;
    let ethertype = match protocol {
        // The length takes the place of the EtherType.
        LinkAddr::ETH_P_802_3 | LinkAddr::ETH_P_802_2 => data.len() as u16,
        protocol => protocol,
    };
    let mut frame = Vec::with_capacity(ethernet::HEADER_LEN + data.len());
    frame.extend_from_slice(&dst.0);
    frame.extend_from_slice(&src.0);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(data);
    Ok(frame.into())
}

/// The EtherType of an Ethernet frame.
fn protocol_of(frame: &[u8]) -> Option<u16> {
    frame.get(12..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn queue(env: &mut Env<'_>, id: SocketId, frame: OutgoingFrame) -> Result<()> {
    let room = env.common.record(id)?.packets()?.outgoing_bytes();
    let room = env.common.account.room_for_datagram(room);
    let socket = env.common.record_mut(id)?;
    let limit = socket.options.send_buffer;
    let packets = socket.packets_mut()?;
    if packets.outgoing_bytes() >= limit {
        return Err(Error::WouldBlock);
    }
    if frame.bytes.len() + OVERHEAD_BYTES > room {
        return Err(Error::NoBufferSpace);
    }
    packets.push_outgoing(frame);
    env.common.queue_transmit(id);
    env.common.settle(id, Wakeup::NONE);
    Ok(())
}
