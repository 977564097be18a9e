//! The filters of TCP sockets, and IP_MINTTL.

use super::TcpSockets;
use super::connections::Target;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::network::Datagram;
use crate::socket::common::Env;
use crate::subject::Subject;

impl TcpSockets {
    /// Compares the TTL of a segment with the least one that its socket allows, and runs the filter
    /// of the socket. That is the connection, or the listener while
    /// there is none. The filter may cut the data. Returns whether it lets the segment pass, and
    /// counts the segment otherwise. As in Linux, TIME-WAIT has no filter. Nor has
    /// a pending connection.
    #[cold]
    pub(super) fn passes_filter(
        &self,
        env: &mut Env<'_>,
        tuple: &FourTuple,
        header_len: usize,
        datagram: &mut Datagram,
    ) -> bool {
        let id = match self.find_record(env.common, tuple) {
            Some(Target::Connection(id)) => Some(id),
            Some(Target::Handshake(id)) => self.handshakes.get(id).map(|handshake| handshake.listener),
            Some(Target::TimeWait(_) | Target::Pending(_)) => None,
            None => self.listeners.find_for(tuple, |selector, hash| {
                let payload = datagram.transport().get(header_len..).unwrap_or_default();
                let is_v4 = tuple.remote.addr.is_ipv4();
                selector.select(hash, |program| Some(env.run_selector(program, is_v4, payload)))
            }),
        };
        let Some(socket) = id.and_then(|id| env.common.records.get(id)) else { return true };
        let ip = &socket.options.ip;
        let least = if tuple.remote.addr.is_ipv4() { ip.min_ttl } else { ip.min_hop_count };
        if datagram.hop_limit < least {
            env.ctx.subject = Subject::Tcp(*tuple);
            env.ctx.count_drop(DropReason::TtlTooLow);
            return false;
        }
        let Some(filter) = socket.options.filter.clone() else { return true };
        let kept = env.run_filter(&filter, datagram, datagram.transport_at());
        match kept {
            Some(kept) => datagram.truncate_transport(kept.max(header_len)),
            None => {
                env.ctx.subject = Subject::Tcp(*tuple);
                env.ctx.count_drop(DropReason::Filtered);
            }
        }
        kept.is_some()
    }
}
