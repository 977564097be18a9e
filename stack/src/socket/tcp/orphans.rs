//! Connections that no descriptor holds: they end by themselves, and there are not too many of them.

use crate::Ctx;
use crate::network::Network;
use crate::socket::SocketId;
use crate::socket::record::{Role, Socket};
use crate::socket::sockets::Sockets;
use crate::tcp::State;

/// A connection whose peer does not answer weighs as much as two (Linux's tcp_out_of_resources).
const WEIGHT_OF_SILENT: usize = 2;

impl Sockets {
    /// The descriptor has been closed. If the connection is not over it counts from now on, or it is reset: there are too
    /// many, or even the reserve is used up (Linux's tcp_check_oom in __tcp_close).
    pub(in crate::socket) fn on_orphaned(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        let (are_many, is_short) = (self.orphans >= ctx.config.tcp.max_orphans, self.account.is_full_for(1));
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return };
        if stream.is_parted || matches!(stream.connection.state(), State::Closed | State::TimeWait) {
            return;
        }
        if are_many || (is_short && stream.connection.queued().1 > 0) {
            return self.reset_orphan(ctx, network, id);
        }
        stream.is_orphan = true;
        self.orphans += 1;
    }

    /// A timer of a connection has fired. One that nobody holds and whose peer does not acknowledge gives way when there are
    /// many, or when even the reserve is used up (Linux's tcp_out_of_resources).
    pub(in crate::socket) fn look_after_orphan(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
    ) {
        let is_full =
            self.orphans > ctx.config.tcp.max_orphans / WEIGHT_OF_SILENT || self.account.is_full_for(1);
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return };
        if is_full && stream.is_orphan && stream.connection.is_unanswered() {
            self.reset_orphan(ctx, network, id);
        }
    }

    fn reset_orphan(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        log::debug!("tcp: too many connections that nobody holds, {}", self.orphans);
        ctx.stats.memory.abort_on_memory += 1;
        self.abort_stream(ctx, network, id);
    }
}
