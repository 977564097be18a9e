//! UDP datagrams on their way in, to the sockets that they are for, and errors about those that were sent.

use smallvec::SmallVec;

use super::UdpSockets;
use super::calls::count;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::network::{Cast, Datagram, NetworkErrorKind};
use crate::socket::common::Env;
use crate::socket::datagram_queue::ReceivedDatagram;
use crate::socket::errors::report;
use crate::socket::id::SocketId;
use crate::socket::scope::{iface_of, scope_of};
use crate::subject::Subject;
use crate::time::Instant;
use crate::udp;

impl UdpSockets {
    pub(in crate::socket) fn handle_datagram(&mut self, env: &mut Env<'_>, datagram: Datagram) {
        let header = match udp::parse(datagram.src, datagram.dst, datagram.transport(), datagram.is_checked) {
            Ok(header) => header,
            Err(reason) => return env.ctx.count_drop(reason),
        };
        let scope = match datagram.cast {
            Cast::Unicast => scope_of([datagram.src, datagram.dst], datagram.iface),
            Cast::Broadcast | Cast::Multicast => scope_of([datagram.src, datagram.src], datagram.iface),
        };
        let flow = FourTuple {
            local: Endpoint::new(datagram.dst, header.dst_port),
            remote: Endpoint::new(datagram.src, header.src_port),
            scope,
        };
        env.ctx.subject = Subject::Udp(flow);
        if datagram.cast != Cast::Unicast {
            // A group's packet concerns every socket on the port.
            let ids: SmallVec<[SocketId; 4]> = self.ports.all(datagram.dst, header.dst_port).collect();
            if ids.is_empty() {
                env.ctx.count_drop(DropReason::NoUdpSocket);
            }
            let received = received(env.ctx.now, datagram, &flow, header.len);
            for id in ids {
                deliver_run(env, id, received.clone());
            }
            return;
        }
        match self.connected.get(&flow).copied().or_else(|| self.ports.find(&flow)) {
            Some(id) => {
                let received = received(env.ctx.now, datagram, &flow, header.len);
                deliver_run(env, id, received);
            }
            None => {
                env.ctx.count_drop(DropReason::NoUdpSocket);
                let kind = NetworkErrorKind::PortUnreachable;
                env.network.send_unreachable(&mut env.ctx, &datagram, kind);
            }
        }
    }

    /// Linux: only a connected UDP socket hears of errors, and only of hard ones. Whether the error is about one of ours.
    pub(in crate::socket) fn handle_error(
        &mut self,
        env: &mut Env<'_>,
        flow: &FourTuple,
        kind: NetworkErrorKind,
    ) -> bool {
        let connected = self.connected.get(flow).copied();
        if let NetworkErrorKind::PacketTooBig { mtu } = kind {
            let is_ours = connected.or_else(|| self.ports.find(flow)).is_some();
            if is_ours {
                env.network.learn_path_mtu(env.ctx.now, flow.remote.addr, iface_of(flow.scope), mtu);
            }
            if let Some(id) = connected {
                env.common.set_datagram_error(id, Error::MessageTooLong);
            }
            return is_ours;
        }
        let hard = report(kind, flow.remote.addr.is_ipv4()).filter(|report| report.is_hard);
        if let (Some(id), Some(report)) = (connected, hard) {
            env.common.set_datagram_error(id, report.error);
        }
        connected.is_some()
    }
}

/// What a socket gets of a packet whose UDP datagram is so long.
fn received(at: Instant, datagram: Datagram, flow: &FourTuple, len: usize) -> ReceivedDatagram {
    let Datagram { iface, hop_limit, traffic_class, segment_len, .. } = datagram;
    let &FourTuple { local: to, remote: from, scope } = flow;
    let data = datagram.into_transport(udp::HEADER_LEN..len);
    ReceivedDatagram { from, to, scope, iface, hop_limit, traffic_class, at, data, segment_len }
}

/// What the device joined from several datagrams is taken apart again, unless the program wants it whole.
fn deliver_run(env: &mut Env<'_>, id: SocketId, mut received: ReceivedDatagram) {
    let wants_runs = env.common.records.get(id).is_some_and(|socket| socket.options.udp_gro);
    let each = usize::from(received.segment_len);
    while each > 0 && received.data.len() > each && !wants_runs {
        let data = received.data.split_to(each);
        deliver(env, id, ReceivedDatagram { data, segment_len: 0, ..received });
    }
    deliver(env, id, received);
}

fn deliver(env: &mut Env<'_>, id: SocketId, received: ReceivedDatagram) {
    let datagrams = count(received.data.len(), received.segment_len);
    match env.common.deliver_datagram(id, received) {
        Ok(()) => env.ctx.stats.udp.in_datagrams += datagrams,
        Err(reason) => env.ctx.count_drop(reason),
    }
}
