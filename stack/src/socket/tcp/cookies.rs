//! SYN cookies of a listener: SYNs that are answered without an entry in the SYN queue, and the
//! ACKs that return the cookies.

use bytes::Bytes;

use super::listener::Handshake;
use super::output::reply;
use super::{CONNECTION_BYTES, TcpSockets};
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::tcp::{Flags, Header, SynReceived};
use crate::timers::Armed;

impl TcpSockets {
    /// Answers a SYN with a cookie. Only the time is stored.
    pub(super) fn send_cookie(&mut self, env: &mut Env<'_>, id: SocketId, tuple: FourTuple, syn: &Header) {
        let Some((listener, options)) = env.common.listener_mut(id) else { return };
        listener.cookie_sent_at = Some(env.ctx.now);
        let fields = options.ip_fields();
        let mut params = self.open_params(&env.ctx, env.network, options, &tuple);
        let peer_mss = syn.options.mss.unwrap_or(params.default_mss);
        params.isn = self.syn_cookies.isn(env.ctx.now, &tuple, syn.seq, peer_mss);
        let syn_ack = SynReceived::cookie_syn_ack(&mut env.ctx, syn, &params);
        env.ctx.stats.cookies.sent += 1;
        reply(env, &tuple, syn_ack, fields);
    }

    /// The MSS from the cookie that a segment for a listener acknowledges. `None` if it is not a
    /// cookie, or none was sent lately.
    pub(super) fn mss_from_cookie(
        &self,
        env: &mut Env<'_>,
        id: SocketId,
        tuple: &FourTuple,
        header: &Header,
    ) -> Option<u16> {
        let (listener, _) = env.common.listener_mut(id)?;
        let is_candidate = header.flags.contains(Flags::ACK)
            && !header.flags.contains(Flags::SYN)
            && !header.flags.contains(Flags::RST)
            && listener.has_cookies_out(env.ctx.now);
        if !is_candidate {
            return None;
        }
        let mss = self.syn_cookies.check(env.ctx.now, tuple, header.seq - 1, header.ack - 1);
        match mss {
            Some(_) => env.ctx.stats.cookies.recv += 1,
            None => env.ctx.stats.cookies.failed += 1,
        }
        mss
    }

    /// Makes a connection from a returned cookie. If the accept queue or the memory is full, the
    /// segment is ignored: the peer's next segment returns the cookie again.
    pub(super) fn accept_cookie(
        &mut self,
        env: &mut Env<'_>,
        (id, peer_mss): (SocketId, u16),
        tuple: FourTuple,
        header: &Header,
        payload: Bytes,
    ) {
        let is_full = env.common.account.is_full_for(CONNECTION_BYTES);
        let Some((listener, options)) = env.common.listener_mut(id) else { return };
        if listener.is_accept_queue_full() {
            return env.ctx.count_drop(DropReason::AcceptQueueFull);
        }
        if is_full {
            return env.ctx.count_drop(DropReason::MemoryLimit);
        }
        let mut params = self.open_params(&env.ctx, env.network, options, &tuple);
        params.isn = header.ack - 1;
        let record = SynReceived::from_cookie(&mut env.ctx, header, &params, peer_mss);
        let handshake = Handshake { record, listener: id, tuple, armed: Armed::default(), saved_syn: None };
        self.establish(env, handshake, header, payload);
    }
}
