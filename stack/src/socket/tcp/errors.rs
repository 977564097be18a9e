//! ICMP errors about segments that we sent.

use super::TcpSockets;
use super::connections::Target;
use super::params::mss_for_mtu;
use super::settle::After;
use crate::demux::FourTuple;
use crate::id::HandshakeId;
use crate::ip::protocol;
use crate::network::{NetworkError, NetworkErrorKind};
use crate::socket::common::Env;
use crate::socket::errors::report;
use crate::socket::protocol::ProtocolInput;
use crate::socket::rare_settings::RareSettings;
use crate::socket::scope::iface_of;
use crate::subject::Subject;
use crate::tcp::SeqNumber;

impl ProtocolInput for TcpSockets {
    /// Handles an ICMP error. RFC 5927: it counts only if it quotes a segment in flight.
    fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
        if error.protocol != protocol::TCP {
            return false;
        }
        let Some(&[a, b, c, d]) = error.transport.get(4..8) else { return false };
        let seq = SeqNumber(u32::from_be_bytes([a, b, c, d]));
        let mut flow = *flow;
        if let Some(iface) = error.iface.filter(|_| env.common.rare.uses(RareSettings::DEVICES)) {
            self.find_device(env, &mut flow, iface);
        }
        let flow = &flow;
        env.ctx.subject = Subject::Tcp(*flow);
        let report = report(error.kind, error.local.is_ipv4());
        let id = match self.find_record(env.common, flow) {
            Some(Target::Connection(id)) => id,
            Some(Target::Handshake(id)) => return self.on_handshake_error(env, id, seq, error),
            // TIME-WAIT records are not affected, and for a pending connection nothing was sent.
            Some(Target::TimeWait(_) | Target::Pending(_)) | None => return false,
        };
        let Some(stream) = env.common.stream_mut(id) else { return false };
        if !stream.connection.is_in_flight(seq) {
            return false;
        }
        match (error.kind, report) {
            (NetworkErrorKind::PacketTooBig { mtu }, _) => {
                let (remote, iface) = (flow.remote.addr, iface_of(flow.scope));
                env.network.learn_path_mtu(env.ctx.now, remote, iface, mtu);
                let mtu = env.network.path_mtu(env.ctx.now, remote, iface);
                stream.connection.on_path_mss(&mut env.ctx, seq, mss_for_mtu(mtu, remote));
            }
            (_, Some(report)) => stream.connection.on_unreachable(&mut env.ctx, seq, report.error),
            (_, None) => return false,
        }
        self.settle(env, id, After::Change);
        true
    }
}

impl TcpSockets {
    /// Handles an error for a handshake of a listener. As on Linux (tcp_req_err) the handshake is
    /// dropped silently, because POSIX does not let `accept` return such an error.
    fn on_handshake_error(
        &mut self,
        env: &mut Env<'_>,
        id: HandshakeId,
        seq: SeqNumber,
        error: &NetworkError,
    ) -> bool {
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
            log::debug!("{}: handshake given up: ICMP error {:?}", env.ctx.subject, error.kind);
            self.forget_handshake(env, id);
        }
        is_about_it
    }
}
