//! Resets connections while memory is short, the worst first, until there is room in the reserve.

use super::TcpSockets;
use super::settle::After;
use crate::socket::common::Env;

/// The most connections that one call resets. A call takes less memory than these release.
const MAX_RESETS: usize = 4;

impl TcpSockets {
    /// Renews the memory budget of a segment, since others may have used some.
    #[inline]
    pub(in crate::socket) fn renew_budget(&mut self, env: &mut Env<'_>) {
        if env.common.needs_relief() {
            self.relieve(env);
        } else {
            env.ctx.memory = env.common.budget();
        }
    }

    /// Does a bounded part of the work that is due while memory is short, and renews the budget.
    #[cold]
    fn relieve(&mut self, env: &mut Env<'_>) {
        env.common.relieve(&mut env.ctx);
        for _ in 0..MAX_RESETS {
            let Some(id) = env.common.next_to_reset(env.ctx.now) else { break };
            if let Some(stream) = env.common.stream_mut(id) {
                let connection = stream.named(&mut env.ctx);
                log::debug!("{}: reset, because memory is used up", env.ctx.subject);
                connection.give_up_for_memory(&mut env.ctx);
                env.ctx.stats.memory.stalled_resets += 1;
            }
            self.settle(env, id, After::Change);
        }
        env.common.finish_relief(&mut env.ctx);
    }
}
