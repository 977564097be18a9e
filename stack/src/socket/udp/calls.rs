//! The calls of programs on UDP sockets, and the sending.

use core::net::{IpAddr, SocketAddr};

use super::UdpSockets;
use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::error::{Error, Result};
use crate::frame::{Transmit, payload_len};
use crate::id::{OwnerId, SocketId};
use crate::interface_id::InterfaceId;
use crate::ip::protocol;
use crate::message_flags::SendFlags;
use crate::multicast::MulticastInterface;
use crate::network::Network;
use crate::offload::{SegmentKind, Segments};
use crate::socket::address::SockAddr;
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::datagram_calls::{DatagramPacket, Sources, check_longest, check_urgent};
use crate::socket::datagram_queue::{CorkedDatagram, OutgoingDatagram};
use crate::socket::groups::GroupChange;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::message::SendMeta;
use crate::socket::options::SocketOption;
use crate::socket::port_selector::PortSelector;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};
use crate::socket::scope::{Bound, flow_on_device, iface_of};
use crate::socket::takers::keys;
use crate::udp;

/// Linux's UDP_MAX_SEGMENTS.
const MAX_SEGMENTS: u64 = 128;

impl ProtocolCalls for UdpSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        Ok(Socket::new(domain, kind, self.default_options.clone(), Protocol::new_datagrams()))
    }

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        self.ports.bind(env, id, addr.to_ip()?)
    }

    fn intercept(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        self.start_intercepting(env, id)
    }

    fn accept(&mut self, env: &mut Env<'_>, caller: OwnerId, id: SocketId) -> Result<SocketId> {
        self.accept_flow(env, caller, id)
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.expire_flows(env, id);
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let addr = addr.to_ip()?;
        // As on Linux, before anything is checked.
        self.ports.bind_if_necessary(env, id)?;
        let old = env.common.record_mut(id)?.datagrams_mut()?.connected;
        // The source address stays that of an earlier `connect`.
        let flow = self.ports.flow_to(env, id, addr, old, &SendMeta::default())?;
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        let before = keys(env.common.record(id)?);
        let socket = env.common.record_mut(id)?;
        // A connected socket receives only from its peer.
        match (old, socket.bound()) {
            (Some(old), _) => self.connected.remove(&key_of(socket, &old), id),
            (None, Some(bound)) => {
                self.ports.on_connect(socket, id, bound, &flow);
            }
            (None, None) => {}
        }
        socket.datagrams_mut()?.connected = Some(flow);
        self.connected.insert(key_of(socket, &flow), id);
        self.ports.update_takers(socket, id, &before)
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        meta: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        // As on Linux, before anything is checked.
        self.ports.bind_if_necessary(env, id)?;
        if !self.flows.is_empty() {
            self.flows.on_used(env.ctx.now, id, true);
        }
        let socket = env.common.record_mut(id)?;
        let (options, plain_len) = (socket.options.udp, socket.options.plain_len());
        let is_v4 = socket.domain == Domain::V4 || is_to_v4(socket, env.network, meta.peer);
        if is_v4 {
            if socket.domain == Domain::V6 && socket.is_v6_only() {
                return Err(Error::NetworkUnreachable);
            }
            check_urgent(flags)?;
            check_longest(data.len())?;
        }
        let data = data.into_datagram();
        let datagrams = socket.datagrams_mut()?;
        if let Some(corked) = &datagrams.corked {
            if is_v4 && corked.flow.remote.addr.is_ipv6() {
                return Err(Error::InvalidArgument);
            }
            return self.send_corked(env, id, None, &data, flags);
        }
        let connected = datagrams.connected;
        let flow = self.ports.flow_of(env, id, connected, meta)?;
        let remote = flow.remote.addr;
        let segment_len = meta.segment_len.unwrap_or(options.segment);
        if flags != SendFlags::NONE {
            env.apply_route_flags(&flow, flags)?;
        }
        if data.len() > plain_len {
            env.check_len(id, &flow, data.len(), udp::HEADER_LEN, segment_len > 0)?;
        }
        if segment_len > 0 {
            // As in Linux's udp_send_skb: with UDP_SEGMENT not even a single datagram is
            // fragmented.
            let longest = packet_len(remote, data.len().min(usize::from(segment_len)));
            if longest > env.network.path_mtu(env.ctx.now, remote, iface_of(flow.scope)) {
                return Err(Error::MessageTooLong);
            }
            let socket = env.common.record(id)?;
            // As on Linux a run has checksums.
            let is_unchecked = socket.options.ip_fields_to(remote, socket.domain).is_unchecked;
            if count(data.len(), segment_len) > MAX_SEGMENTS || is_unchecked {
                return Err(Error::InvalidArgument);
            }
        }
        let SendMeta { hop_limit, traffic_class, .. } = *meta;
        if options.cork || flags.contains(SendFlags::MORE) {
            env.common.check_sender(id)?;
            let begun = env.begin_corked(id, flow, segment_len, meta)?;
            return self.send_corked(env, id, Some(begun), &data, flags);
        }
        let outgoing =
            OutgoingDatagram { flow, data, segment_len, hop_limit, traffic_class, is_packet: false };
        env.common.send_datagram(id, outgoing)
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome {
        let (network, now) = (&*env.network, env.ctx.now);
        let whole = |next: &OutgoingDatagram| {
            let (dst, iface) = (next.flow.remote.addr, iface_of(next.flow.scope));
            // A run whose datagrams would need fragmentation, or of which this host gets a copy, is
            // sent datagram by datagram.
            !dst.is_multicast()
                && !network.is_broadcast(dst, iface)
                && packet_len(dst, usize::from(next.segment_len)) <= network.path_mtu(now, dst, iface)
                && network.can_cut(dst, iface, SegmentKind::Udp)
        };
        let Some((outgoing, fields)) = env.common.pop_outgoing(id, whole) else {
            return TransmitOutcome::Nothing;
        };
        let OutgoingDatagram { flow, data, segment_len, .. } = outgoing;
        env.ctx.stats.udp.out_datagrams += count(data.len(), segment_len);
        let payload = udp::payload_of(data);
        let is_run = segment_len > 0 && payload_len(&payload) > usize::from(segment_len);
        let packet = DatagramPacket {
            protocol: protocol::UDP,
            header: udp::header(flow.local, flow.remote, &payload),
            payload,
            checksum_at: (!fields.is_unchecked).then_some(udp::CHECKSUM_AT),
            run: is_run.then_some(Segments { kind: SegmentKind::Udp, len: segment_len }),
        };
        env.send_packet(&flow, fields, packet, frame)
    }

    /// Closes the socket. Its port is free at once; the record stays until its queue is sent.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.on_closed(env, id);
        if let Ok(socket) = env.common.record_mut(id) {
            self.ports.forget_taker(id, &keys(socket));
            let connected = socket.datagrams_mut().ok().and_then(|datagrams| datagrams.connected.take());
            if let Some(flow) = connected {
                self.connected.remove(&key_of(socket, &flow), id);
            }
            if let Some(bound) = socket.take_bound() {
                self.ports.release(id, bound);
            }
        }
    }

    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let before = keys(env.common.record(id)?);
        let socket = env.common.record_mut(id)?;
        let connected = socket.datagrams_mut()?.connected.take();
        if let Some(flow) = connected {
            self.connected.remove(&key_of(socket, &flow), id);
        }
        self.ports.on_disconnect(env, id, connected.is_some())?;
        if env.common.record(id)?.options.device.is_some() {
            self.set_option(env, id, SocketOption::BindToDevice(None))?;
        }
        self.ports.update_takers(env.common.record(id)?, id, &before)
    }

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        if let SocketOption::BindToDevice(device) = option {
            return self.bind_to_device(env, id, device);
        }
        self.ports.set_option(env, id, option)?;
        if option == SocketOption::UdpCork(false) {
            env.common.uncork(id)?;
        }
        Ok(())
    }

    fn select_on_port(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        selector: Option<PortSelector>,
    ) -> Result<()> {
        let is_hidden = env.common.record_mut(id)?.datagrams_mut()?.connected.is_some();
        self.ports.set_selector(env, id, is_hidden, selector)
    }

    fn change_groups(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        group: IpAddr,
        iface: MulticastInterface,
        change: GroupChange<'_>,
    ) -> Result<()> {
        self.ports.change_groups(env, id, group, iface, change)
    }
}

impl UdpSockets {
    /// SO_BINDTODEVICE.
    #[cold]
    fn bind_to_device(&mut self, env: &mut Env<'_>, id: SocketId, device: Option<InterfaceId>) -> Result<()> {
        let connected = env.common.record_mut(id)?.datagrams_mut()?.connected;
        let moved = connected.map(|flow| flow_on_device(flow, device));
        env.common.set_option(&env.ctx, id, SocketOption::BindToDevice(device))?;
        if let (Some(flow), Some(moved)) = (connected, moved) {
            let socket = env.common.record_mut(id)?;
            self.connected.remove(&key_of(socket, &flow), id);
            self.connected.insert(key_of(socket, &moved), id);
            socket.datagrams_mut()?.connected = Some(moved);
        }
        self.ports.renew_device(env, id, connected.is_some())
    }

    /// Sends a part of a datagram: `begun` is its beginning, unless there is one. Without MSG_MORE
    /// and UDP_CORK this is the last part.
    #[cold]
    fn send_corked(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        begun: Option<CorkedDatagram>,
        data: &[u8],
        flags: SendFlags,
    ) -> Result<usize> {
        let len = env.add_to_corked(id, begun, data)?;
        let socket = env.common.record(id)?;
        if !socket.options.udp.cork && !flags.contains(SendFlags::MORE) {
            env.common.uncork(id)?;
        }
        Ok(len)
    }
}

/// Whether a datagram of an IPv6 socket to `to`, or to its peer, goes to an IPv4 address.
fn is_to_v4(socket: &Socket, network: &Network, to: Option<SocketAddr>) -> bool {
    let Some(datagrams) = socket.protocol.datagrams() else { return false };
    match to {
        Some(to) => {
            let sources = Sources::of(socket, network, datagrams.connected);
            sources.resolve(to.ip().to_canonical()).is_ipv4()
        }
        None => {
            let flow = datagrams.corked.as_ref().map(|corked| corked.flow).or(datagrams.connected);
            flow.is_some_and(|flow| flow.remote.addr.is_ipv4())
        }
    }
}

/// The addresses under which a connected socket is found. As on Linux the local one is that which
/// it is bound to: a socket that is bound to a group, or to an address of the other family,
/// receives nothing that is sent to the source of its own datagrams.
fn key_of(socket: &Socket, flow: &FourTuple) -> FourTuple {
    let local = match socket.bound() {
        Some(Bound { addr: BoundAddr::One(addr), .. }) => Endpoint { addr, ..flow.local },
        _ => flow.local,
    };
    FourTuple { local, ..*flow }
}

/// The number of datagrams in a run of this many bytes.
pub(super) fn count(len: usize, segment_len: u16) -> u64 {
    match usize::from(segment_len) {
        0 => 1,
        segment_len => len.div_ceil(segment_len).max(1) as u64,
    }
}

/// The length of an IP packet with a datagram of this many bytes.
fn packet_len(dst: IpAddr, len: usize) -> usize {
    let ip_header_len = if dst.is_ipv4() { 20 } else { 40 };
    ip_header_len + udp::HEADER_LEN + len
}
