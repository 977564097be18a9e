//! Received echo replies, for the sockets that sent the requests, and errors about requests.

use super::EchoSockets;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::id::SocketId;
use crate::ip::protocol;
use crate::network::{Datagram, IcmpOutcome, NetworkError};
use crate::socket::common::{Common, Env};
use crate::socket::datagram_queue::ReceivedDatagram;
use crate::socket::message::DatagramMeta;
use crate::socket::protocol::ProtocolInput;
use crate::socket::scope::scope_of;

impl ProtocolInput for EchoSockets {
    /// Delivers a reply, whole, to the socket with its identifier.
    fn on_icmp(&mut self, env: &mut Env<'_>, message: &Datagram, outcome: &IcmpOutcome) -> bool {
        let IcmpOutcome::EchoReply = outcome else { return false };
        let &Datagram { src, dst, iface, hop_limit, traffic_class, .. } = message;
        let Some(&[high, low]) = message.transport().get(4..6) else { return false };
        let identifier = u16::from_be_bytes([high, low]);
        let scope = scope_of([src, dst], iface);
        let flow = FourTuple { local: Endpoint::new(dst, identifier), remote: Endpoint::new(src, 0), scope };
        let is_for = |id: &SocketId| peer_of(env.common, *id).is_none_or(|peer| peer.remote.addr == src);
        let Some(id) = self.ports.find(&flow).filter(is_for) else { return false };
        let Some(socket) = env.common.records.get(id) else { return false };
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
    /// protocols have the second half of their ports. As on Linux a path MTU is
    /// a hard error over IPv4 only.
    fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
        if !matches!(error.protocol, protocol::ICMP | protocol::ICMPV6) {
            return false;
        }
        let Some(&[high, low]) = error.transport.get(4..6) else { return false };
        let local = Endpoint::new(flow.local.addr, u16::from_be_bytes([high, low]));
        let Some(id) = self.ports.find(&FourTuple { local, ..*flow }) else { return false };
        let remote = Endpoint::new(flow.remote.addr, 0);
        let reports_mtu = remote.addr.is_ipv4();
        env.report_to_sender(id, &FourTuple { remote, ..*flow }, error, error.transport.clone(), reports_mtu);
        true
    }
}

/// The flow of a connected socket.
fn peer_of(common: &Common, id: SocketId) -> Option<FourTuple> {
    common.records.get(id)?.protocol.state().flow()
}
