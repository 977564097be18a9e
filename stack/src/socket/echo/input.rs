//! Received echo replies, for the sockets that sent the requests, and errors about requests.

use super::EchoSockets;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::icmp::echo;
use crate::ip::{protocol, read_u16};
use crate::network::{Datagram, IcmpOutcome, NetworkError};
use crate::socket::common::Env;
use crate::socket::datagram_queue::ReceivedDatagram;
use crate::socket::message::DatagramMeta;
use crate::socket::protocol::ProtocolInput;

/// The offset of the identifier in an echo message.
const IDENTIFIER_AT: usize = 4;

impl ProtocolInput for EchoSockets {
    /// Delivers a reply, whole, to the socket with its identifier.
    fn on_icmp(&mut self, env: &mut Env<'_>, message: &Datagram, outcome: &IcmpOutcome) -> bool {
        let IcmpOutcome::EchoReply = outcome else { return false };
        let &Datagram { src, dst, iface, hop_limit, traffic_class, .. } = message;
        let Some(identifier) = read_u16(message.transport(), IDENTIFIER_AT) else { return false };
        let link = (env.device_of(iface, dst), message.is_apart);
        let found = self.identifiers.find(env.common, identifier, dst, link);
        let Some(id) = found else { return false };
        let Some(socket) = env.common.records.get(id) else { return false };
        let scope = message.scope();
        let flow = FourTuple { local: Endpoint::new(dst, identifier), remote: Endpoint::new(src, 0), scope };
        let (domain, at) = (socket.domain, env.ctx.received_at);
        let mut data = message.share_transport();
        if let Some(filter) = env.common.filter_of(id) {
            let Some(kept) = env.run_filter(&filter, message, message.transport_at()) else {
                env.ctx.count_drop(DropReason::Filtered);
                return true;
            };
            data.truncate(kept);
        }
        // An IP packet is shorter than 64 KiB.
        let segment_len = data.len() as u16;
        let meta = DatagramMeta { flow, iface, hop_limit, traffic_class, segment_len, domain, drops: 0, at };
        if let Err(reason) = env.common.deliver_datagram(id, ReceivedDatagram { meta, data }) {
            env.ctx.count_drop(reason);
        }
        true
    }

    /// Handles an error about an echo request. The request has its socket's identifier where other
    /// protocols have the second half of their ports. As on Linux the socket hears of it whatever
    /// its peer, and a path MTU is a hard error over IPv4 only.
    fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
        let is_v4 = error.local.is_ipv4();
        let is_request =
            error.protocol == protocol::icmp_for(error.local) && echo::is_request(&error.transport, is_v4);
        let Some(identifier) = read_u16(&error.transport, IDENTIFIER_AT).filter(|_| is_request) else {
            return false;
        };
        let device = error.iface.and_then(|iface| env.device_of(iface, error.local));
        let is_apart = error.iface.is_some_and(|iface| env.network.is_apart(iface));
        let found = self.identifiers.find(env.common, identifier, error.local, (device, is_apart));
        let Some(id) = found else { return false };
        let flow = FourTuple { remote: Endpoint::new(error.remote, 0), ..*flow };
        env.report_to_sender(id, &flow, error, error.transport.clone(), is_v4);
        true
    }
}
