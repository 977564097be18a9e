//! Received UDP datagrams, for their sockets, and errors about datagrams that were sent.

use smallvec::SmallVec;

use super::UdpSockets;
use super::calls::count;
use crate::bpf::Filter;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::ip::{protocol, read_u16};
use crate::network::{Cast, Datagram, NetworkError, NetworkErrorKind};
use crate::socket::common::Env;
use crate::socket::datagram_queue::ReceivedDatagram;
use crate::socket::message::DatagramMeta;
use crate::socket::protocol::ProtocolInput;
use crate::socket::rare_settings::RareSettings;
use crate::socket::scope::scope_id;
use crate::subject::Subject;
use crate::udp::{self, UdpHeader};

impl UdpSockets {
    pub(in crate::socket) fn handle_datagram(&mut self, env: &mut Env<'_>, datagram: Datagram) {
        let header = match udp::parse(datagram.src, datagram.dst, datagram.transport(), datagram.is_checked) {
            Ok(header) => header,
            Err(reason) => match self.accept_unchecked(env, &datagram) {
                Some(header) => header,
                None => return env.ctx.count_drop(reason),
            },
        };
        let scope = match datagram.cast {
            Cast::Unicast => datagram.scope(),
            Cast::Broadcast | Cast::Multicast => datagram.group_scope(),
        };
        let mut flow = FourTuple {
            local: Endpoint::new(datagram.dst, header.dst_port),
            remote: Endpoint::new(datagram.src, header.src_port),
            scope,
        };
        if datagram.cast != Cast::Unicast {
            return self.handle_group_datagram(env, datagram, &flow, header.len);
        }
        if env.common.rare.uses(RareSettings::DEVICES) {
            self.find_device(env, &mut flow, datagram.iface);
        }
        let connected = self.connected.find(&flow);
        if datagram.is_intercepted
            && let Some(id) = connected
            && !self.admit_to_flow(env, id, header.len)
        {
            return count_drop(env, &flow, DropReason::ReceiveBufferFull);
        }
        let found = connected.or_else(|| {
            self.ports.find_for(&flow, |program| {
                let data = datagram.transport().get(udp::HEADER_LEN..header.len).unwrap_or_default();
                Some(env.run_selector(program, datagram.src.is_ipv4(), data))
            })
        });
        match found {
            Some(id) => deliver(env, id, datagram, &flow, header.len),
            None => {
                let Some(datagram) = self.open_flow(env, datagram, &flow, header.len) else { return };
                count_drop(env, &flow, DropReason::NoUdpSocket);
                let kind = NetworkErrorKind::PortUnreachable;
                env.network.send_unreachable(&mut env.ctx, &datagram, kind);
            }
        }
    }
}

impl UdpSockets {
    /// The header of a datagram over IPv6 that has no checksum, if its socket takes such (RFC
    /// 6936).
    #[cold]
    fn accept_unchecked(&self, env: &Env<'_>, datagram: &Datagram) -> Option<UdpHeader> {
        let &Datagram { src, dst, iface, .. } = datagram;
        let transport = datagram.transport();
        let header = udp::parse(src, dst, transport, true).ok()?;
        if src.is_ipv4() || read_u16(transport, udp::CHECKSUM_AT.into()) != Some(0) {
            return None;
        }
        let (local, remote) = (Endpoint::new(dst, header.dst_port), Endpoint::new(src, header.src_port));
        let mut flow = FourTuple { local, remote, scope: datagram.scope() };
        if env.common.rare.uses(RareSettings::DEVICES) {
            self.find_device(env, &mut flow, iface);
        }
        let id = self.connected.find(&flow).or_else(|| self.ports.find(&flow))?;
        env.common.record(id).ok()?.options.udp.no_check6_rx.then_some(header)
    }

    /// Makes the interface that a packet came in through the scope of its flow, if it is for a
    /// socket that is bound to that interface.
    #[cold]
    fn find_device(&self, env: &Env<'_>, flow: &mut FourTuple, iface: InterfaceId) {
        if flow.scope != 0 {
            return;
        }
        let scope = scope_id(env.network.device_of(iface, flow.local.addr));
        let through = FourTuple { scope, ..*flow };
        let is_connected = |flow: &FourTuple| self.connected.find(flow).is_some();
        if is_connected(&through) || !is_connected(flow) && self.ports.is_for_device(&through) {
            *flow = through;
        }
    }

    /// Delivers a datagram to a group to every socket that takes it, and one to a broadcast address
    /// to every socket on the port.
    #[inline(never)]
    fn handle_group_datagram(&self, env: &mut Env<'_>, datagram: Datagram, flow: &FourTuple, len: usize) {
        let (dst, port) = (flow.local.addr, flow.local.port);
        let takes = |id: &SocketId| {
            let socket = env.common.records.get(*id);
            socket.is_some_and(|socket| socket.takes_from_group(flow, datagram.iface))
        };
        let ids: SmallVec<[SocketId; 4]> = if dst.is_multicast() {
            self.ports.takers(dst, port).filter(takes).collect()
        } else {
            self.ports.all(dst, port, scope_id(datagram.iface)).collect()
        };
        if ids.is_empty() {
            count_drop(env, flow, DropReason::NoUdpSocket);
        }
        for id in ids {
            deliver(env, id, datagram.clone(), flow, len);
        }
    }
}

impl ProtocolInput for UdpSockets {
    fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
        if error.protocol != protocol::UDP {
            return false;
        }
        let mut flow = *flow;
        if let Some(iface) = error.iface.filter(|_| env.common.rare.uses(RareSettings::DEVICES)) {
            self.find_device(env, &mut flow, iface);
        }
        let flow = &flow;
        let connected = self.connected.find(flow);
        let Some(id) = connected.or_else(|| self.ports.find(flow)) else { return false };
        let queues = env.common.records.get(id).is_some_and(|socket| socket.options.ip.receive_errors);
        let payload = error.transport.slice(udp::HEADER_LEN..);
        env.report_to_sender(id, flow, error, payload, true);
        queues || connected.is_some() || matches!(error.kind, NetworkErrorKind::PacketTooBig { .. })
    }
}

/// Puts a packet, whose UDP datagram is `len` bytes long, into a socket's queue. Datagrams that the
/// device joined are separated again, unless the program wants the run.
pub(super) fn deliver(env: &mut Env<'_>, id: SocketId, datagram: Datagram, flow: &FourTuple, len: usize) {
    let Some(socket) = env.common.records.get(id) else { return };
    let wants_runs = socket.options.udp.gro;
    let meta = DatagramMeta {
        flow: *flow,
        iface: datagram.iface,
        hop_limit: datagram.hop_limit,
        traffic_class: datagram.traffic_class,
        segment_len: datagram.segment_len,
        domain: socket.domain,
        drops: 0,
        at: env.ctx.received_at,
    };
    if let Some(filter) = socket.options.filter.clone() {
        return deliver_filtered(env, id, &filter, datagram, meta, len);
    }
    let mut data = datagram.into_transport(udp::HEADER_LEN..len);
    let each = usize::from(meta.segment_len);
    while each > 0 && data.len() > each && !wants_runs {
        let data = data.split_to(each);
        deliver_piece(env, id, ReceivedDatagram { meta, data });
    }
    // An IP packet is shorter than 64 KiB.
    let segment_len = if each > 0 { each.min(data.len()) } else { data.len() } as u16;
    deliver_piece(env, id, ReceivedDatagram { meta: DatagramMeta { segment_len, ..meta }, data });
}

/// Like [`deliver`], for a socket with a filter, which sees each datagram with its UDP header.
#[cold]
fn deliver_filtered(
    env: &mut Env<'_>,
    id: SocketId,
    filter: &Filter,
    mut datagram: Datagram,
    meta: DatagramMeta,
    len: usize,
) {
    datagram.truncate_transport(len);
    let wants_runs = env.common.records.get(id).is_some_and(|socket| socket.options.udp.gro);
    let each = usize::from(meta.segment_len);
    let data_at = datagram.transport_at() + udp::HEADER_LEN;
    if wants_runs || each == 0 || datagram.packet.len() <= data_at + each {
        return filter_piece(env, id, filter, datagram, meta);
    }
    for data in datagram.packet.slice(data_at..).chunks(each) {
        // Its UDP header has its length. The IP header is that of the whole run.
        let mut packet = [&datagram.packet[..data_at], data].concat();
        let udp_len = (udp::HEADER_LEN + data.len()) as u16;
        packet[data_at - 4..data_at - 2].copy_from_slice(&udp_len.to_be_bytes());
        let mut piece = datagram.clone();
        piece.packet = packet.into();
        filter_piece(env, id, filter, piece, meta);
    }
}

/// Delivers what the filter keeps of a datagram, or of a run of them.
fn filter_piece(
    env: &mut Env<'_>,
    id: SocketId,
    filter: &Filter,
    datagram: Datagram,
    mut meta: DatagramMeta,
) {
    let Some(kept) = env.run_filter(filter, &datagram, datagram.transport_at()) else {
        return count_drop(env, &meta.flow, DropReason::Filtered);
    };
    let data = datagram.into_transport(udp::HEADER_LEN..kept.max(udp::HEADER_LEN));
    // An IP packet is shorter than 64 KiB.
    let len = data.len() as u16;
    meta.segment_len = if meta.segment_len > 0 { meta.segment_len.min(len) } else { len };
    deliver_piece(env, id, ReceivedDatagram { meta, data });
}

fn deliver_piece(env: &mut Env<'_>, id: SocketId, received: ReceivedDatagram) {
    let flow = received.meta.flow;
    let datagrams = count(received.data.len(), received.meta.segment_len);
    match env.common.deliver_datagram(id, received) {
        Ok(()) => env.ctx.stats.udp.in_datagrams += datagrams,
        Err(reason) => count_drop(env, &flow, reason),
    }
}

/// Counts the drop of a datagram. The log names its flow, which takes time, so it is set only here.
fn count_drop(env: &mut Env<'_>, flow: &FourTuple, reason: DropReason) {
    env.ctx.subject = Subject::Udp(*flow);
    env.ctx.count_drop(reason);
}
