//! The calls of programs on raw sockets, and the sending.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::packet::{self, Missing};
use super::{IPPROTO_RAW, RawSockets};
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::frame::{HeaderBuf, Payload, Transmit};
use crate::icmp;
use crate::id::SocketId;
use crate::ip::checksum::transport_checksum;
use crate::ip::{ipv4, protocol};
use crate::message_flags::{RecvFlags, SendFlags};
use crate::socket::address::SockAddr;
use crate::socket::binding::Groups;
use crate::socket::common::{Common, Env, TransmitOutcome};
use crate::socket::datagram_calls::{DatagramPacket, check_urgent};
use crate::socket::datagram_queue::OutgoingDatagram;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::message::{Received, SendMeta};
use crate::socket::options::{RawOptions, SocketOption};
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};
use crate::socket::scope::{Bound, iface_of, is_mapped};

/// The offset of the checksum in an ICMPv6 message.
const ICMPV6_CHECKSUM_AT: u16 = 2;

impl ProtocolCalls for RawSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        let number = protocol_of(kind);
        if number == 0 {
            return Err(Error::ProtocolNotSupported);
        }
        if self.receivers(domain == Domain::V4, number).len() >= self.max_receivers {
            return Err(Error::NoBufferSpace);
        }
        let mut options = self.default_options.clone();
        let is_icmpv6 = number == protocol::ICMPV6 && domain == Domain::V6;
        if number == IPPROTO_RAW || is_icmpv6 {
            options.raw = Some(
                RawOptions {
                    header_included: number == IPPROTO_RAW,
                    checksum_at: is_icmpv6.then_some(ICMPV6_CHECKSUM_AT),
                    ..RawOptions::default()
                }
                .into(),
            );
        }
        let mut socket = Socket::new(domain, kind, options, Protocol::new_datagrams());
        // As on Linux the protocol is the socket's port from the beginning.
        let addr = socket.any_addr(false);
        socket.set_bound(Bound { port: number.into(), names_port: true, ..Bound::any(addr) });
        Ok(socket)
    }

    fn on_opened(&mut self, id: SocketId, domain: Domain, kind: SocketKind) {
        self.add_receiver(domain, protocol_of(kind), id);
    }

    /// As on Linux a socket may be bound again while it is not connected. The port is ignored.
    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let addr = addr.to_ip()?;
        let socket = env.common.record(id)?;
        if is_mapped(addr) && socket.domain == Domain::V6 {
            return Err(Error::AddressNotAvailable);
        }
        if socket.protocol.state().flow().is_some() {
            return Err(Error::InvalidArgument);
        }
        let (any, port) = (socket.any_addr(false), u16::from(protocol_of(socket.kind)));
        let chosen = env.common.resolve_binding(env.network, id, addr, any, Groups::Allowed)?;
        env.common.record_mut(id)?.set_bound(Bound { port, ..chosen });
        Ok(())
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let addr = addr.to_ip()?;
        let old = env.common.record(id)?.protocol.state().flow();
        let mut flow = flow_to(env, id, addr, old, &SendMeta::default())?;
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        // The port means nothing, but `peer_addr` returns it, unless it is 0.
        flow.remote.port = addr.port();
        env.common.record_mut(id)?.datagrams_mut()?.connected = Some(flow);
        Ok(())
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        check_urgent(flags)?;
        let data = data.into_datagram();
        if meta.hop_limit == Some(0) {
            return Err(Error::InvalidArgument);
        }
        let socket = env.common.record(id)?;
        if socket.domain == Domain::V4 && data.len() > ipv4::MAX_PACKET_LEN {
            return Err(Error::MessageTooLong);
        }
        let flow = flow_of(env, id, meta)?;
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        let RawOptions { header_included, checksum_at, .. } = *env.common.raw_options(id)?;
        let data = if header_included {
            // As on Linux, where only this way asks for the socket's state.
            env.common.check_sender(id)?;
            complete(env, &flow, data)?
        } else {
            with_checksum(env, id, &flow, checksum_at, data)?
        };
        let SendMeta { hop_limit, traffic_class, .. } = *meta;
        let outgoing = OutgoingDatagram {
            flow,
            data,
            segment_len: 0,
            hop_limit,
            traffic_class,
            is_packet: header_included,
        };
        env.common.queue_datagram(id, outgoing)
    }

    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        if flags.contains(RecvFlags::OOB) {
            return Err(Error::NotSupported);
        }
        env.common.receive_datagram_with(id, bufs, flags)
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome {
        let Some((outgoing, fields)) = env.common.pop_outgoing(id, |_| true) else {
            return TransmitOutcome::Nothing;
        };
        let OutgoingDatagram { flow, data, is_packet, .. } = outgoing;
        if is_packet {
            *frame = env.send_made_packet(&flow, data);
            return TransmitOutcome::Sent;
        }
        let (header, payload) = split(data, icmp::HEADER_LEN);
        // The port of our end is the protocol number.
        let protocol = flow.local.port as u8;
        let packet = DatagramPacket { protocol, header, payload, checksum_at: None, run: None };
        env.send_packet(&flow, fields, packet, frame)
    }

    /// Dissolves the association and, as on Linux, the binding to an address and a device. There
    /// the socket never receives again (`__udp_disconnect` takes it out of the table); here it
    /// does.
    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        socket.datagrams_mut()?.connected = None;
        let (addr, port) = (socket.any_addr(false), u16::from(protocol_of(socket.kind)));
        socket.set_bound(Bound { port, names_port: true, ..Bound::any(addr) });
        env.common.set_device(&env.ctx, id, None)
    }

    /// Closes the socket. It receives no more; the record stays until its queue is sent.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        if let Ok(socket) = env.common.record(id) {
            self.remove_receiver(socket.domain, protocol_of(socket.kind), id);
        }
    }

    /// Sets an option. As Linux 6.18: ENOPROTOOPT for an option of the other family, EOPNOTSUPP for
    /// a filter on a socket of another protocol, EINVAL for the checksum of ICMPv6.
    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        let socket = env.common.record(id)?;
        let (number, is_v4) = (protocol_of(socket.kind), socket.domain == Domain::V4);
        let icmp = if is_v4 { protocol::ICMP } else { protocol::ICMPV6 };
        match option {
            SocketOption::ChecksumOffset(_) if is_v4 => return Err(Error::ProtocolNotAvailable),
            SocketOption::ChecksumOffset(_) if number == icmp => return Err(Error::InvalidArgument),
            SocketOption::IcmpFilter(_) if number != icmp => return Err(Error::NotSupported),
            _ => {}
        }
        match option {
            SocketOption::BindToDevice(device) => env.common.set_device(&env.ctx, id, device),
            option => env.common.set_option(&env.ctx, id, option),
        }
    }
}

/// The protocol of a raw socket.
pub(super) fn protocol_of(kind: SocketKind) -> u8 {
    match kind {
        SocketKind::Raw(number) => number,
        _ => 0,
    }
}

impl Common {
    /// The options of a raw socket. EBADF.
    pub(super) fn raw_options(&self, id: SocketId) -> Result<&RawOptions> {
        self.record(id)?.options.raw.as_deref().ok_or(Error::BadDescriptor)
    }
}

/// The addresses of a packet that a program sends with this metadata. The port of our end is the
/// packet's protocol. EDESTADDRREQ, and the errors of [`flow_to`].
fn flow_of(env: &mut Env<'_>, id: SocketId, meta: &SendMeta) -> Result<FourTuple> {
    let socket = env.common.record(id)?;
    let (domain, number) = (socket.domain, protocol_of(socket.kind));
    let connected = socket.protocol.state().flow();
    match (meta.peer, connected) {
        (None, None) => Err(Error::DestinationRequired),
        (None, Some(connected)) if meta.names_way() => {
            let FourTuple { remote, scope, .. } = connected;
            env.common.record(id)?.flow_to(env.network, remote, scope, Some(connected), meta)
        }
        (None, Some(connected)) => Ok(connected),
        (Some(to), connected) => {
            // Over IPv6 the port may name the protocol, and must if the socket's is IPPROTO_RAW.
            let named = if domain == Domain::V6 { to.port() } else { 0 };
            let protocol = match u8::try_from(named).map_err(|_| Error::InvalidArgument)? {
                0 => number,
                named if named == number || number == IPPROTO_RAW => named,
                _ => return Err(Error::InvalidArgument),
            };
            let mut flow = flow_to(env, id, to, connected, meta)?;
            flow.local.port = protocol.into();
            Ok(flow)
        }
    }
}

/// The addresses of a packet to `to`. ENETUNREACH for an IPv4 address on an IPv6 socket, as a raw
/// socket has one family.
fn flow_to(
    env: &mut Env<'_>,
    id: SocketId,
    to: SocketAddr,
    connected: Option<FourTuple>,
    meta: &SendMeta,
) -> Result<FourTuple> {
    if is_mapped(to) && env.common.record(id)?.domain == Domain::V6 {
        return Err(Error::NetworkUnreachable);
    }
    env.common.flow_without_ports(env.network, id, to, connected, meta)
}

/// Checks the length of what a program sends, and fills in the checksum (RFC 3542 §3.1). EMSGSIZE,
/// and EINVAL if there is no room for a checksum.
fn with_checksum(
    env: &mut Env<'_>,
    id: SocketId,
    flow: &FourTuple,
    checksum_at: Option<u16>,
    data: Bytes,
) -> Result<Bytes> {
    env.check_len(id, flow, data.len(), 0, false)?;
    let protocol = flow.local.port as u8;
    // Linux reads the type and the code of a message, and refuses (EFAULT) one that has none.
    let is_icmp = protocol == protocol::icmp_for(flow.remote.addr);
    if is_icmp && data.len() < 2 {
        return Err(Error::InvalidArgument);
    }
    let Some(at) = checksum_at.map(usize::from) else { return Ok(data) };
    if data.len() < at + 2 {
        return Err(Error::InvalidArgument);
    }
    let mut data: Vec<u8> = data.into();
    data[at..at + 2].fill(0);
    let sum = transport_checksum(flow.local.addr, flow.remote.addr, protocol, &data, &[]);
    // RFC 768: zero means "no checksum", so a sum of zero is sent as its complement.
    let sum = if sum == 0 && protocol == protocol::UDP { 0xffff } else { sum };
    data[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(data.into())
}

/// Checks and completes a packet whose header the program has made. EMSGSIZE, EINVAL.
fn complete(env: &mut Env<'_>, flow: &FourTuple, data: Bytes) -> Result<Bytes> {
    let FourTuple { local, remote, scope } = *flow;
    if data.len() > env.network.link_mtu(remote.addr, iface_of(scope)) {
        return Err(Error::MessageTooLong);
    }
    packet::check(&data, remote.addr.is_ipv4())?;
    if remote.addr.is_ipv6() {
        return Ok(data);
    }
    let Missing { source, identification } = packet::missing(&data);
    let identification = identification.then(|| {
        let flow = (local.addr, remote.addr, local.port as u8);
        env.network.next_identification(&mut env.ctx, flow)
    });
    let mut packet: Vec<u8> = data.into();
    packet::complete(&mut packet, source.then_some(local.addr), identification);
    Ok(packet.into())
}

/// Splits off the beginning of a packet, which later layers read from the header: for errors, logs
/// and flow labels.
fn split(mut data: Bytes, at: usize) -> (HeaderBuf, Payload) {
    let front = data.split_to(at.min(data.len()));
    let mut header = HeaderBuf::new();
    header.prepend(front.len()).copy_from_slice(&front);
    (header, core::iter::once(data).filter(|data| !data.is_empty()).collect())
}

impl Env<'_> {
    /// Sends a packet whose IP header the program has made.
    fn send_made_packet(&mut self, flow: &FourTuple, packet: Bytes) -> Option<Transmit> {
        let (dst, iface) = (flow.remote.addr, iface_of(flow.scope));
        let header_len = match dst {
            IpAddr::V4(_) => usize::from(packet.first().map_or(0, |first| first & 0x0f)) * 4,
            IpAddr::V6(_) => crate::ip::ipv6::HEADER_LEN,
        };
        let (header, payload) = split(packet, header_len + icmp::HEADER_LEN);
        self.network.output_made_packet(&mut self.ctx, flow, iface, header, payload)
    }
}
