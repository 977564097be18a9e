//! The calls of programs on echo sockets, and the sending.

use core::net::SocketAddr;

use super::EchoSockets;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::frame::Transmit;
use crate::icmp::{self, echo};
use crate::id::SocketId;
use crate::ip::protocol;
use crate::message_flags::{RecvFlags, SendFlags};
use crate::socket::address::SockAddr;
use crate::socket::binding::Groups;
use crate::socket::common::{Env, TransmitOutcome};
use crate::socket::datagram_calls::{DatagramPacket, check_longest, check_urgent};
use crate::socket::datagram_queue::OutgoingDatagram;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::message::{Received, SendMeta};
use crate::socket::options::SocketOption;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Protocol, Socket};
use crate::socket::scope::{Bound, is_mapped};

impl ProtocolCalls for EchoSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        Ok(Socket::new(domain, kind, self.default_options.clone(), Protocol::new_datagrams()))
    }

    /// As Linux 6.18: EINVAL for an IPv6 address that is a group or of another family.
    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let addr = addr.to_ip()?;
        let socket = env.common.record(id)?;
        let is_odd = is_mapped(addr) || addr.is_ipv6() && addr.ip().is_multicast();
        if socket.domain == Domain::V6 && is_odd {
            return Err(Error::InvalidArgument);
        }
        let (any, is_bound) = (socket.any_addr(false), socket.has_port());
        let wanted = env.common.resolve_binding(env.network, id, addr, any, Groups::Refused)?;
        if is_bound {
            return Err(Error::InvalidArgument);
        }
        self.bind_to(env, id, wanted)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let addr = addr.to_ip()?;
        self.bind_if_necessary(env, id)?;
        let socket = env.common.record(id)?;
        if socket.domain == Domain::V6 && is_mapped(addr) {
            return Err(Error::NetworkUnreachable);
        }
        let old = socket.protocol.state().flow();
        let mut flow = env.common.flow_without_ports(env.network, id, addr, old, &SendMeta::default())?;
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
        self.bind_if_necessary(env, id)?;
        let domain = env.common.record(id)?.domain;
        check_longest(data.len())?;
        if data.len() < icmp::HEADER_LEN {
            return Err(Error::InvalidArgument);
        }
        check_urgent(flags)?;
        let data = data.into_datagram();
        if !echo::is_request(&data, domain == Domain::V4) || meta.hop_limit == Some(0) {
            return Err(Error::InvalidArgument);
        }
        let flow = flow_of(env, id, meta)?;
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        if flags != SendFlags::NONE {
            env.apply_route_flags(&flow, flags)?;
        }
        // The message includes its header.
        env.check_len(id, &flow, data.len(), 0, false)?;
        let SendMeta { hop_limit, traffic_class, .. } = *meta;
        let outgoing =
            OutgoingDatagram { flow, data, segment_len: 0, hop_limit, traffic_class, is_packet: false };
        env.common.send_datagram(id, outgoing)
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
        // As on Linux the length of the whole message is not to be had.
        let flags = RecvFlags::from_bits(flags.bits() & !RecvFlags::TRUNCATE.bits());
        env.common.receive_datagram_with(id, bufs, flags)
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome {
        let Some((OutgoingDatagram { flow, data, .. }, fields)) = env.common.pop_outgoing(id, |_| true)
        else {
            return TransmitOutcome::Nothing;
        };
        let (header, payload) = echo::request(flow.local, flow.remote.addr, &data);
        let protocol = protocol::icmp_for(flow.remote.addr);
        // A request already has its checksum.
        let packet = DatagramPacket { protocol, header, payload, checksum_at: None, run: None };
        env.send_packet(&flow, fields, packet, frame)
    }

    /// Closes the socket. Its identifier is free at once; the record stays until its queue is sent.
    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        if let Ok(socket) = env.common.record_mut(id)
            && let Some(bound) = socket.take_bound()
        {
            self.identifiers.release(bound.port, id);
        }
    }

    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        socket.datagrams_mut()?.connected = None;
        env.common.set_device(&env.ctx, id, None)?;
        let socket = env.common.record_mut(id)?;
        // As on Linux the socket keeps only what its program has named.
        if let Some(bound @ Bound { port: port @ 1.., names_port: false, .. }) = socket.bound() {
            socket.give_port_back(bound);
            self.identifiers.release(port, id);
        }
        Ok(())
    }

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        match option {
            SocketOption::BindToDevice(device) => env.common.set_device(&env.ctx, id, device),
            option => env.common.set_option(&env.ctx, id, option),
        }
    }
}

impl EchoSockets {
    fn bind_to(&mut self, env: &mut Env<'_>, id: SocketId, wanted: Bound) -> Result<()> {
        let port = self.identifiers.take(env.common, env.ctx.rng, wanted.port, id)?;
        env.common.record_mut(id)?.set_bound(Bound { port, ..wanted });
        Ok(())
    }

    /// Gives the socket an identifier, as on Linux before anything is checked. EAGAIN if all are
    /// taken.
    fn bind_if_necessary(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record(id)?;
        if socket.has_port() {
            return Ok(());
        }
        let kept = socket.bound().map(|bound| bound.on_device(socket.options.device));
        let wanted = kept.unwrap_or_else(|| socket.default_binding(false));
        self.bind_to(env, id, wanted).map_err(|_| Error::WouldBlock)
    }
}

/// The addresses of a message that a program sends with this metadata. EDESTADDRREQ; over IPv6, as
/// Linux 6.18, EINVAL for an IPv4-mapped address and for one that needs a scope and has none, and
/// ENETUNREACH for `::`.
fn flow_of(env: &mut Env<'_>, id: SocketId, meta: &SendMeta) -> Result<FourTuple> {
    let socket = env.common.record(id)?;
    let (domain, connected) = (socket.domain, socket.protocol.state().flow());
    match (meta.peer, connected) {
        (None, None) => Err(Error::DestinationRequired),
        (None, Some(connected)) if meta.names_way() => {
            let FourTuple { remote, scope, .. } = connected;
            env.common.record(id)?.flow_to(env.network, remote, scope, Some(connected), meta)
        }
        (None, Some(connected)) => Ok(connected),
        (Some(to), _) if domain == Domain::V6 && is_mapped(to) => Err(Error::InvalidArgument),
        (Some(to), _) if lacks_scope(to) && meta.iface.is_none() => Err(Error::InvalidArgument),
        (Some(to), _) if domain == Domain::V6 && to.is_ipv6() && to.ip().is_unspecified() => {
            Err(Error::NetworkUnreachable)
        }
        (Some(to), connected) => env.common.flow_without_ports(env.network, id, to, connected, meta),
    }
}

/// Whether an address needs a scope id (RFC 4007) and has none: one that is link-local, or a group
/// that is.
fn lacks_scope(addr: SocketAddr) -> bool {
    let SocketAddr::V6(v6) = addr else { return false };
    let is_local_group = v6.ip().is_multicast() && v6.ip().octets()[1] & 0x0f <= 2;
    v6.scope_id() == 0 && (v6.ip().is_unicast_link_local() || is_local_group)
}
