//! The filters of TCP sockets.

use super::TcpSockets;
use super::connections::Target;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::network::Datagram;
use crate::socket::common::Env;
use crate::subject::Subject;

impl TcpSockets {
    /// Runs the filter of the socket that a segment is for: the connection, or the listener while
    /// there is none. The filter may cut the data. Returns whether it lets the segment pass, and
    /// counts the segment otherwise. As in Linux, TIME-WAIT has no filter.
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
            Some(Target::TimeWait(_)) => None,
            None => self.listeners.find(tuple),
        };
        let Some(filter) = id.and_then(|id| env.common.filter_of(id)) else { return true };
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
