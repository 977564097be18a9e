//! Orphans: connections without a descriptor, which end by themselves, and whose number is limited.

use super::TcpSockets;
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::tcp::State;

/// A connection whose peer does not answer weighs as much as two (Linux's tcp_out_of_resources).
const WEIGHT_OF_SILENT: usize = 2;

impl TcpSockets {
    /// Handles the close of the last descriptor. A connection that has not ended counts as an
    /// orphan from now on. It is reset if there are too many, or if the reserve is used up (Linux's
    /// tcp_check_oom in __tcp_close).
    pub(super) fn on_orphaned(&mut self, env: &mut Env<'_>, id: SocketId) {
        let are_many = self.orphans >= env.ctx.config.tcp.max_orphans;
        let is_short = env.common.account.is_full_for(1);
        let Some(stream) = env.common.stream_mut(id) else { return };
        if stream.is_parted || matches!(stream.connection.state(), State::Closed | State::TimeWait) {
            return;
        }
        if are_many || (is_short && stream.connection.queued().1 > 0) {
            return self.reset_orphan(env, id);
        }
        stream.is_orphan = true;
        self.orphans += 1;
    }

    /// Checks a connection whose timer has fired. An orphan whose peer does not acknowledge is
    /// reset when there are many, or when the reserve is used up (Linux's tcp_out_of_resources).
    pub(super) fn look_after_orphan(&mut self, env: &mut Env<'_>, id: SocketId) {
        let are_many = self.orphans > env.ctx.config.tcp.max_orphans / WEIGHT_OF_SILENT;
        let is_full = are_many || env.common.account.is_full_for(1);
        let Some(stream) = env.common.stream_mut(id) else { return };
        if is_full && stream.is_orphan && stream.connection.is_unanswered() {
            self.reset_orphan(env, id);
        }
    }

    fn reset_orphan(&mut self, env: &mut Env<'_>, id: SocketId) {
        if let Some(stream) = env.common.stream_mut(id) {
            stream.named(&mut env.ctx);
        }
        log::debug!("{}: reset, because there are {} orphans", env.ctx.subject, self.orphans);
        env.ctx.stats.memory.abort_on_memory += 1;
        self.abort(env, id);
    }
}
