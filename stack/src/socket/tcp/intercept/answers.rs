//! Resets and ICMP errors that a program has chosen as the answer.

use bytes::Bytes;

use super::super::TcpSockets;
use super::super::output::reply;
use super::pending::PendingSyn;
use crate::drop_reason::DropReason;
use crate::rate_limit::Rate;
use crate::socket::common::Env;
use crate::socket::interception::Rejection;
use crate::socket::options::IpFields;
use crate::subject::Subject;
use crate::tcp::reset_for;

impl TcpSockets {
    /// Refuses a connection that is no longer in the tables.
    pub(super) fn refuse_pending(&mut self, env: &mut Env<'_>, pending: &PendingSyn, how: Rejection) {
        env.ctx.subject = Subject::Tcp(pending.tuple);
        env.ctx.count_drop(DropReason::PendingRejected);
        let is_answered = match how {
            Rejection::Reset => false,
            Rejection::Unreachable(what) => {
                let Env { ctx, network, common } = &mut *env;
                let quoted = (&Bytes::copy_from_slice(pending.syn.headers()), pending.syn.traffic_class());
                common.chosen_errors.send(ctx, network, pending.source, pending.iface, quoted, what.into())
            }
        };
        if !is_answered {
            self.send_reset(env, pending);
        }
    }

    /// Sends a reset, if there is a token for it.
    fn send_reset(&mut self, env: &mut Env<'_>, pending: &PendingSyn) {
        let rate = Rate::per_second(env.ctx.config.interception.max_resets_per_source);
        if !self.intercepts.reset_shares.take(env.ctx.now, pending.source, rate) {
            env.ctx.stats.interception.answers_limited += 1;
            return;
        }
        if let Some(reset) = pending.syn.header().and_then(|syn| reset_for(&syn, 0)) {
            env.ctx.stats.interception.resets += 1;
            reply(env, &pending.tuple, reset, IpFields::default());
        }
    }
}
