//! Resets and ICMP errors that a program has chosen. They have rate limits of their own, so that
//! refusals which a program wants do not depend on how many packets nobody wants.

use bytes::Bytes;

use super::super::TcpSockets;
use super::super::output::reply;
use super::pending::PendingSyn;
use crate::drop_reason::DropReason;
use crate::ip::refusal::IcmpError;
use crate::rate_limit::Rate;
use crate::socket::common::Env;
use crate::socket::interception::{Rejection, Unreachable};
use crate::socket::options::IpFields;
use crate::subject::Subject;
use crate::tcp::reset_for;

impl TcpSockets {
    /// Refuses a connection that is no longer in the tables.
    pub(super) fn refuse_pending(&mut self, env: &mut Env<'_>, pending: &PendingSyn, how: Rejection) {
        env.ctx.subject = Subject::Tcp(pending.tuple);
        env.ctx.count_drop(DropReason::PendingRejected);
        let error = match how {
            Rejection::Reset => None,
            Rejection::Unreachable(Unreachable::Network) => Some(IcmpError::NetUnreachable),
            Rejection::Unreachable(Unreachable::Host) => Some(IcmpError::HostUnreachable),
            Rejection::Unreachable(Unreachable::Port) => Some(IcmpError::PortUnreachable),
            Rejection::Unreachable(Unreachable::Prohibited) => Some(IcmpError::Prohibited),
        };
        if !error.is_some_and(|error| self.send_unreachable(env, pending, error)) {
            self.send_reset(env, pending);
        }
    }

    /// Sends an ICMP error. Returns false if there is no token for it, or no address that it could
    /// come from.
    fn send_unreachable(&mut self, env: &mut Env<'_>, pending: &PendingSyn, error: IcmpError) -> bool {
        let rate = Rate::per_second(env.ctx.config.interception.max_unreachables_per_source);
        let intercepts = &mut self.intercepts;
        let has_token = intercepts.unreachable_budget.has_some(env.ctx.now)
            && intercepts.unreachable_shares.take(env.ctx.now, pending.source, rate);
        if !has_token {
            env.ctx.stats.interception.answers_limited += 1;
            return false;
        }
        let syn = &pending.syn;
        let quoted = (&Bytes::copy_from_slice(syn.headers()), syn.traffic_class());
        let is_sent = env.network.send_chosen_error(&mut env.ctx, pending.iface, quoted, error);
        if is_sent {
            intercepts.unreachable_budget.take(env.ctx.rng);
            env.ctx.stats.interception.unreachables += 1;
        }
        is_sent
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
