//! What the network reports about packets that we sent, brought to the socket that sent them.

use super::SocketId;
use super::connections::Target;
use super::record::{Role, Socket, iface_of, scope_of};
use super::sockets::Sockets;
use super::stream::mss_for_mtu;
use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::error::Error;
use crate::ip::protocol;
use crate::network::{Network, NetworkError, NetworkErrorKind};
use crate::stats::DropReason;
use crate::tcp::SeqNumber;

impl Sockets {
    pub(super) fn handle_network_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        error: NetworkError,
    ) {
        let field = |at: usize| match error.transport.get(at..at + 2) {
            Some(&[high, low]) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        };
        let (Some(local_port), Some(remote_port)) = (field(0), field(2)) else {
            return ctx.stats.count_drop(DropReason::BadIcmp);
        };
        // Link-local flows are found under the interface that the error's addresses have in common with them.
        let flow = FourTuple {
            local: Endpoint::new(error.local, local_port),
            remote: Endpoint::new(error.remote, remote_port),
            scope: error.scope(),
        };
        let is_taken = match error.protocol {
            protocol::TCP => self.handle_tcp_error(ctx, network, &flow, &error),
            protocol::UDP => self.handle_udp_error(ctx, network, &flow, error.kind),
            protocol::ICMP | protocol::ICMPV6 => self.handle_echo_error(&flow, &error),
            _ => false,
        };
        if is_taken {
            ctx.stats.icmp_errors_received += 1;
        } else {
            ctx.stats.count_drop(DropReason::UnmatchedIcmpError);
        }
    }

    /// RFC 5927: an error counts only when it quotes a segment that is in flight.
    fn handle_tcp_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        flow: &FourTuple,
        error: &NetworkError,
    ) -> bool {
        let Some(&[a, b, c, d]) = error.transport.get(4..8) else { return false };
        let seq = SeqNumber(u32::from_be_bytes([a, b, c, d]));
        // Handshakes and TIME-WAIT records live on; they have time-outs of their own.
        let Some(Target::Connection(id)) = self.find_record(flow) else { return false };
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return false };
        if !stream.connection.is_in_flight(seq) {
            return false;
        }
        match (error.kind, posix_error(error.kind)) {
            (NetworkErrorKind::PacketTooBig { mtu }, _) => {
                network.learn_path_mtu(ctx.now, flow.remote.addr, iface_of(flow.scope), mtu);
                let mtu = network.path_mtu(ctx.now, flow.remote.addr, iface_of(flow.scope));
                stream.connection.on_path_mss(ctx, seq, mss_for_mtu(mtu, flow.remote.addr));
            }
            (_, Some(posix)) => stream.connection.on_unreachable(ctx, seq, posix),
            (_, None) => return false,
        }
        self.settle_stream(ctx, network, id);
        true
    }

    /// Linux: only a connected UDP socket hears of errors.
    fn handle_udp_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        flow: &FourTuple,
        kind: NetworkErrorKind,
    ) -> bool {
        let connected = self.udp_connected.get(flow).copied();
        if let NetworkErrorKind::PacketTooBig { mtu } = kind {
            let is_ours = connected.or_else(|| self.udp_bound.find(flow)).is_some();
            if is_ours {
                network.learn_path_mtu(ctx.now, flow.remote.addr, iface_of(flow.scope), mtu);
            }
            return is_ours;
        }
        match (connected, posix_error(kind)) {
            (Some(id), Some(error)) => {
                self.set_datagram_error(id, error);
                true
            }
            _ => false,
        }
    }

    /// Echo requests carry their socket's identifier where other protocols carry the ports' second half.
    fn handle_echo_error(&mut self, flow: &FourTuple, error: &NetworkError) -> bool {
        let Some(&[high, low]) = error.transport.get(4..6) else { return false };
        let local = Endpoint::new(flow.local.addr, u16::from_be_bytes([high, low]));
        let found: Option<SocketId> = self.echo_bound.find(&FourTuple { local, ..*flow });
        match (found, posix_error(error.kind)) {
            (Some(id), Some(posix)) => {
                self.set_datagram_error(id, posix);
                true
            }
            _ => false,
        }
    }
}

impl NetworkError {
    /// The scope id of its flow: link-local addresses mean something on one link only.
    fn scope(&self) -> u16 {
        self.iface.map_or(0, |iface| scope_of([self.local, self.remote], iface))
    }
}

/// Linux's `icmp_err_convert` and `icmpv6_err_convert`: what a program is told. Path MTU and protocol trouble on the way
/// that a transport handles by itself have no error.
fn posix_error(kind: NetworkErrorKind) -> Option<Error> {
    match kind {
        NetworkErrorKind::NetUnreachable => Some(Error::NetworkUnreachable),
        NetworkErrorKind::HostUnreachable | NetworkErrorKind::Prohibited => Some(Error::HostUnreachable),
        NetworkErrorKind::TimeExceeded => Some(Error::HostUnreachable),
        NetworkErrorKind::ProtocolUnreachable | NetworkErrorKind::ParameterProblem => {
            Some(Error::ProtocolNotAvailable)
        }
        NetworkErrorKind::PortUnreachable => Some(Error::ConnectionRefused),
        NetworkErrorKind::PacketTooBig { .. } => None,
    }
}
