//! Datagrams on their way in: to the sockets that they are for.

use bytes::Bytes;

use super::calls::{Received, count};
use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::network::{self, Cast, Network, NetworkErrorKind};
use crate::socket::record::{Role, Socket, scope_of};
use crate::socket::sockets::Sockets;
use crate::socket::{SocketId, SocketKind};
use crate::udp;

impl Sockets {
    pub(in crate::socket) fn handle_udp(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        datagram: network::Datagram,
    ) {
        let header = match udp::parse(datagram.src, datagram.dst, datagram.transport(), datagram.is_checked) {
            Ok(header) => header,
            Err(reason) => return ctx.stats.count_drop(reason),
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
        if datagram.cast != Cast::Unicast {
            // A group's packet concerns every socket on the port.
            let ids: smallvec::SmallVec<[SocketId; 4]> =
                self.udp_bound.all(datagram.dst, header.dst_port).collect();
            if ids.is_empty() {
                ctx.stats.count_drop(DropReason::NoUdpSocket);
            }
            let segment_len = datagram.segment_len;
            let payload = datagram.into_transport(udp::HEADER_LEN..header.len);
            for id in ids {
                self.deliver_run(ctx, id, flow.remote, scope, payload.clone(), segment_len);
            }
            return;
        }
        let found = self.udp_connected.get(&flow).copied().or_else(|| self.udp_bound.find(&flow));
        match found {
            Some(id) => {
                let segment_len = datagram.segment_len;
                let payload = datagram.into_transport(udp::HEADER_LEN..header.len);
                self.deliver_run(ctx, id, flow.remote, scope, payload, segment_len);
            }
            None => {
                ctx.stats.count_drop(DropReason::NoUdpSocket);
                network.send_unreachable(ctx, &datagram, NetworkErrorKind::PortUnreachable);
            }
        }
    }

    pub(in crate::socket) fn handle_unknown_protocol(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        datagram: network::Datagram,
    ) {
        ctx.stats.count_drop(DropReason::UnknownProtocol);
        network.send_unreachable(ctx, &datagram, NetworkErrorKind::ProtocolUnreachable);
    }

    /// An echo reply goes to the socket whose identifier it bears, whole.
    pub(in crate::socket) fn handle_echo_reply(&mut self, ctx: &mut Ctx<'_>, datagram: network::Datagram) {
        let Some(&[high, low]) = datagram.transport().get(4..6) else {
            return ctx.stats.count_drop(DropReason::BadIcmp);
        };
        let identifier = u16::from_be_bytes([high, low]);
        let scope = scope_of([datagram.src, datagram.dst], datagram.iface);
        let remote = Endpoint::new(datagram.src, 0);
        let flow = FourTuple { local: Endpoint::new(datagram.dst, identifier), remote, scope };
        let id = self.echo_bound.find(&flow);
        let is_from_peer = |id: &SocketId| match self.slots.get(*id).map(|socket| &socket.role) {
            Some(Role::Datagram(echo)) => {
                echo.connected.is_none_or(|connected| connected.remote.addr == datagram.src)
            }
            _ => false,
        };
        match id.filter(is_from_peer) {
            Some(id) => {
                let data = datagram.into_transport(0..usize::MAX);
                self.deliver(ctx, id, Received { from: remote, scope, data, segment_len: 0 });
            }
            None => ctx.stats.count_drop(DropReason::UnknownIcmp),
        }
    }

    /// What the device joined from several datagrams is taken apart again, unless the program wants it whole.
    fn deliver_run(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SocketId,
        from: Endpoint,
        scope: u16,
        mut data: Bytes,
        segment_len: u16,
    ) {
        let wants_runs = self.slots.get(id).is_some_and(|socket| socket.options.udp_gro);
        let each = usize::from(segment_len);
        while each > 0 && data.len() > each && !wants_runs {
            let data = data.split_to(each);
            self.deliver(ctx, id, Received { from, scope, data, segment_len: 0 });
        }
        self.deliver(ctx, id, Received { from, scope, data, segment_len });
    }

    fn deliver(&mut self, ctx: &mut Ctx<'_>, id: SocketId, received: Received) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Datagram(datagram) = &mut socket.role else { return };
        let room = self.account.room_for_datagram(datagram.received_bytes);
        let datagrams = count(received.data.len(), received.segment_len);
        if let Err(reason) = datagram.push_received(received, socket.options.receive_buffer, room) {
            return ctx.stats.count_drop(reason);
        }
        if socket.kind == SocketKind::Datagram {
            ctx.stats.udp.in_datagrams += datagrams;
        }
        self.settle_datagram(id, true);
    }

    /// An error that an ICMP message brought.
    pub(in crate::socket) fn set_datagram_error(&mut self, id: SocketId, error: Error) {
        if let Some(Socket { role: Role::Datagram(datagram), .. }) = self.slots.get_mut(id) {
            datagram.set_error(error);
            self.note_readiness(id, true);
        }
    }
}
