//! Received packets, for raw sockets, and errors about packets that were sent.

use core::net::IpAddr;

use super::RawSockets;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::icmp;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::ip::checksum::verify_transport_checksum;
use crate::ip::{protocol, read_u8};
use crate::network::{Datagram, IcmpOutcome, NetworkError};
use crate::socket::common::{Common, Env};
use crate::socket::datagram_queue::ReceivedDatagram;
use crate::socket::kind::Domain;
use crate::socket::message::DatagramMeta;
use crate::socket::protocol::ProtocolInput;
use crate::socket::record::Socket;

impl ProtocolInput for RawSockets {
    #[inline]
    fn on_datagram(&mut self, env: &mut Env<'_>, datagram: &Datagram) -> bool {
        !self.receivers.is_empty() && self.deliver(env, datagram)
    }

    /// Delivers every ICMP message, whatever the stack itself does with it.
    #[inline]
    fn on_icmp(&mut self, env: &mut Env<'_>, message: &Datagram, _: &IcmpOutcome) -> bool {
        !self.receivers.is_empty() && self.deliver(env, message)
    }

    /// Linux's `raw_err`: without IP_RECVERR only a connected socket gets errors, and only hard
    /// ones; of a path MTU it hears over IPv4 only.
    fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
        let (local, remote, is_v4) = (error.local, error.remote, error.local.is_ipv4());
        let device = error.iface.and_then(|iface| env.device_of(iface, local));
        let mut is_ours = false;
        for &id in self.receivers(is_v4, error.protocol) {
            if !takes(env.common, id, local, remote, device) {
                continue;
            }
            is_ours = true;
            let flow = FourTuple { remote: Endpoint::new(remote, 0), ..*flow };
            env.report_to_sender(id, &flow, error, error.transport.clone(), is_v4);
        }
        is_ours
    }
}

impl RawSockets {
    /// Delivers a packet to each socket that takes it. Whether there was one: as on Linux a socket
    /// whose filter or full queue loses the packet counts, too.
    #[cold]
    #[inline(never)]
    fn deliver(&self, env: &mut Env<'_>, datagram: &Datagram) -> bool {
        let &Datagram { src, dst, iface, hop_limit, traffic_class, protocol, .. } = datagram;
        let flow = FourTuple {
            local: Endpoint::new(dst, 0),
            remote: Endpoint::new(src, 0),
            scope: datagram.scope(),
        };
        let mut is_taken = false;
        for &id in self.receivers(src.is_ipv4(), protocol) {
            if !takes(env.common, id, dst, src, env.device_of(iface, dst)) {
                continue;
            }
            is_taken = true;
            let Ok(socket) = env.common.record(id) else { continue };
            // As on Linux, the memberships of an IPv4 socket filter what it takes; those of an IPv6
            // socket add to it (`takes`).
            let is_wanted = src.is_ipv6() || !dst.is_multicast() || socket.wants_from_group(dst, src, iface);
            if !is_wanted || !passes(socket, datagram) {
                continue;
            }
            let (mut data, start) = match socket.domain {
                Domain::V4 => (datagram.packet.clone(), 0),
                Domain::V6 | Domain::Unix => (datagram.share_transport(), datagram.transport_at()),
            };
            let (domain, is_right) = (socket.domain, is_checksum_right(socket, datagram));
            if let Some(filter) = socket.options.filter.clone() {
                let Some(kept) = env.run_filter(&filter, datagram, start) else {
                    env.ctx.count_drop(DropReason::Filtered);
                    continue;
                };
                data.truncate(kept);
            }
            // An IP packet is shorter than 64 KiB, and so is what follows its IPv6 header.
            let segment_len = data.len() as u16;
            let at = env.ctx.received_at;
            let meta =
                DatagramMeta { flow, iface, hop_limit, traffic_class, segment_len, domain, drops: 0, at };
            let checked = match is_right {
                true => env.common.deliver_datagram(id, ReceivedDatagram { meta, data }),
                false => Err(DropReason::BadRawChecksum),
            };
            if let Err(reason) = checked {
                env.ctx.count_drop(reason);
            }
        }
        is_taken
    }
}

/// Whether a socket takes packets with these addresses: it is bound to the local one or to none,
/// and is connected to the remote one or to none. As on Linux (`raw_v6_match`), an IPv6 socket that
/// is bound to another address also takes packets to groups that its memberships let pass.
fn takes(common: &Common, id: SocketId, local: IpAddr, remote: IpAddr, iface: Option<InterfaceId>) -> bool {
    common.record(id).is_ok_and(|socket| {
        let hears_group = || {
            let is_group = local.is_ipv6() && local.is_multicast() && socket.domain == Domain::V6;
            is_group
                && socket.hears_link(iface)
                && iface.is_some_and(|iface| socket.wants_from_group(local, remote, iface))
        };
        (socket.hears(local, iface) || hears_group())
            && flow_of(socket).is_none_or(|flow| flow.remote.addr == remote)
    })
}

fn flow_of(socket: &Socket) -> Option<FourTuple> {
    socket.protocol.state().flow()
}

/// Whether the filter of an ICMP socket lets the message pass. As on Linux a message without a
/// header (8 bytes over IPv4, 4 over IPv6) does not pass, and IPv4's filter has types below 32
/// only.
fn passes(socket: &Socket, message: &Datagram) -> bool {
    let is_v4 = message.src.is_ipv4();
    if message.protocol != protocol::icmp_for(message.src) {
        return true;
    }
    let Some(raw) = &socket.options.raw else { return true };
    let header_len = if is_v4 { icmp::HEADER_LEN } else { 4 };
    match read_u8(message.transport(), 0).filter(|_| message.transport().len() >= header_len) {
        Some(kind) => (is_v4 && kind >= 32) || raw.icmp_filter.passes(kind),
        None => false,
    }
}

/// Whether the checksum is right, if the socket wants it verified (RFC 3542 §3.1).
fn is_checksum_right(socket: &Socket, datagram: &Datagram) -> bool {
    let wants = socket.domain == Domain::V6
        && socket.options.raw.as_ref().is_some_and(|raw| raw.checksum_at.is_some());
    let Datagram { src, dst, protocol, is_checked, .. } = *datagram;
    !wants || is_checked || verify_transport_checksum(src, dst, protocol, datagram.transport())
}
