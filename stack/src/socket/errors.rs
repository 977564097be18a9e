//! What the network reports about packets that we sent, brought to the socket that sent them.

use super::SocketId;
use super::record::{Role, Socket, iface_of, scope_of};
use super::sockets::Sockets;
use super::tcp::calls::mss_for_mtu;
use super::tcp::connections::Target;
use super::tcp::listener::HandshakeId;
use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::ip::protocol;
use crate::network::{Network, NetworkError, NetworkErrorKind};
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
            ctx.stats.icmp.errors_received += 1;
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
        let report = report(error.kind, error.local.is_ipv4());
        let id = match self.find_record(flow) {
            Some(Target::Connection(id)) => id,
            Some(Target::Handshake(id)) => return self.on_handshake_error(id, seq, error),
            // TIME-WAIT records live on.
            Some(Target::TimeWait(_)) | None => return false,
        };
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return false };
        if !stream.connection.is_in_flight(seq) {
            return false;
        }
        match (error.kind, report) {
            (NetworkErrorKind::PacketTooBig { mtu }, _) => {
                network.learn_path_mtu(ctx.now, flow.remote.addr, iface_of(flow.scope), mtu);
                let mtu = network.path_mtu(ctx.now, flow.remote.addr, iface_of(flow.scope));
                stream.connection.on_path_mss(ctx, seq, mss_for_mtu(mtu, flow.remote.addr));
            }
            (_, Some(report)) => stream.connection.on_unreachable(ctx, seq, report.error),
            (_, None) => return false,
        }
        self.settle_stream(ctx, network, id);
        true
    }

    /// A handshake of a listener: as on Linux (tcp_req_err) it is given up, silently, for what POSIX does not let `accept` return.
    fn on_handshake_error(&mut self, id: HandshakeId, seq: SeqNumber, error: &NetworkError) -> bool {
        let is_about_it = self.handshakes.get(id).is_some_and(|handshake| handshake.record.is_syn_ack(seq));
        let is_final = match error.kind {
            NetworkErrorKind::NetUnreachable
            | NetworkErrorKind::HostUnreachable
            | NetworkErrorKind::TimeExceeded
            | NetworkErrorKind::ParameterProblem
                if error.local.is_ipv4() =>
            {
                true
            }
            kind => !error.local.is_ipv4() && report(kind, false).is_some_and(|report| report.is_hard),
        };
        if is_about_it && is_final {
            log::debug!("tcp handshake given up: the network says {:?}", error.kind);
            self.forget_handshake(id);
        }
        is_about_it
    }

    /// Linux: only a connected UDP socket hears of errors, and only of hard ones.
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
            if let Some(id) = connected {
                self.set_datagram_error(id, Error::MessageTooLong);
            }
            return is_ours;
        }
        let hard = report(kind, flow.remote.addr.is_ipv4()).filter(|report| report.is_hard);
        if let (Some(id), Some(report)) = (connected, hard) {
            self.set_datagram_error(id, report.error);
        }
        connected.is_some()
    }

    /// Echo requests carry their socket's identifier where other protocols carry the ports' second half. As with UDP a connected
    /// socket hears of hard errors; Linux tells it of a path MTU over IPv4 only.
    fn handle_echo_error(&mut self, flow: &FourTuple, error: &NetworkError) -> bool {
        let Some(&[high, low]) = error.transport.get(4..6) else { return false };
        let local = Endpoint::new(flow.local.addr, u16::from_be_bytes([high, low]));
        let found: Option<SocketId> = self.echo_bound.find(&FourTuple { local, ..*flow });
        let Some(id) = found else { return false };
        let is_connected = self.slots.get(id).is_some_and(|socket| match &socket.role {
            Role::Datagram(echo) => {
                echo.connected.is_some_and(|connected| connected.remote.addr == flow.remote.addr)
            }
            _ => false,
        });
        let is_v4 = flow.remote.addr.is_ipv4();
        let told = match error.kind {
            NetworkErrorKind::PacketTooBig { .. } => is_v4.then_some(Error::MessageTooLong),
            kind => report(kind, is_v4).filter(|report| report.is_hard).map(|report| report.error),
        };
        if let Some(error) = told.filter(|_| is_connected) {
            self.set_datagram_error(id, error);
        }
        true
    }
}

impl NetworkError {
    /// The scope id of its flow: link-local addresses mean something on one link only.
    fn scope(&self) -> u16 {
        self.iface.map_or(0, |iface| scope_of([self.local, self.remote], iface))
    }
}

/// What a program is told of a network error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    error: Error,
    /// It does not pass by itself: datagram sockets are told only of such.
    is_hard: bool,
}

/// Linux's `icmp_err_convert` and `icmpv6_err_convert`, as measured in `tests/tests/icmp_errors.rs`.
fn report(kind: NetworkErrorKind, is_v4: bool) -> Option<Report> {
    let (error, is_hard) = match kind {
        NetworkErrorKind::NetUnreachable | NetworkErrorKind::NetUnreachableForTos => {
            (Error::NetworkUnreachable, false)
        }
        NetworkErrorKind::NetRefused => (Error::NetworkUnreachable, true),
        NetworkErrorKind::HostUnreachable | NetworkErrorKind::HostUnreachableForTos => {
            (Error::HostUnreachable, false)
        }
        NetworkErrorKind::HostUnknown => (Error::HostDown, true),
        NetworkErrorKind::HostIsolated => (Error::HostIsolated, true),
        NetworkErrorKind::SourceRouteFailed => (Error::NotSupported, false),
        NetworkErrorKind::Prohibited if is_v4 => (Error::HostUnreachable, true),
        NetworkErrorKind::Prohibited => (Error::PermissionDenied, true),
        NetworkErrorKind::ProtocolUnreachable if is_v4 => (Error::ProtocolNotAvailable, true),
        NetworkErrorKind::PortUnreachable => (Error::ConnectionRefused, true),
        NetworkErrorKind::TimeExceeded => (Error::HostUnreachable, false),
        // The peer's host has lost a fragment: over IPv4 Linux takes that for nothing more.
        NetworkErrorKind::ReassemblyTimeExceeded if is_v4 => return None,
        NetworkErrorKind::ReassemblyTimeExceeded => (Error::HostUnreachable, false),
        NetworkErrorKind::ProtocolUnreachable
        | NetworkErrorKind::ParameterProblem
        | NetworkErrorKind::OtherUnreachable => (Error::ProtocolError, true),
        NetworkErrorKind::Unknown => (Error::ProtocolError, false),
        // The transports handle it by themselves.
        NetworkErrorKind::PacketTooBig { .. } => return None,
    };
    Some(Report { error, is_hard })
}
