//! SYN cookies at a listener: SYNs that are answered without an entry in its SYN queue, and the ACKs that bring them back.

use core::mem;

use super::calls::{Stream, open_params};
use super::input::reply;
use super::listener::Handshake;
use crate::Ctx;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::network::Network;
use crate::socket::SocketId;
use crate::socket::record::{Role, Socket};
use crate::socket::sockets::Sockets;
use crate::tcp::{Flags, Header, SynReceived};
use crate::timers::Armed;

impl Sockets {
    /// Answers a SYN with a cookie. Nothing is kept but the time.
    pub(in crate::socket) fn send_cookie(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
        tuple: FourTuple,
        syn: &Header,
    ) {
        let Some(Socket { role: Role::Listener(listener), options, .. }) = self.slots.get_mut(id) else {
            return;
        };
        listener.cookie_sent_at = Some(ctx.now);
        let fields = options.ip_fields();
        let mut params = open_params(&self.isn, ctx, network, options, &tuple);
        let peer_mss = syn.options.mss.unwrap_or(params.default_mss);
        params.isn = self.syn_cookies.isn(ctx.now, &tuple, syn.seq, peer_mss);
        let syn_ack = SynReceived::cookie_syn_ack(ctx, syn, &params);
        ctx.stats.cookies.sent += 1;
        reply(ctx, network, &tuple, syn_ack, fields);
    }

    /// The MSS from the cookie that a segment for a listener acknowledges; none if it is not one, or if none was sent.
    pub(in crate::socket) fn mss_from_cookie(
        &self,
        ctx: &mut Ctx<'_>,
        id: SocketId,
        tuple: &FourTuple,
        header: &Header,
    ) -> Option<u16> {
        let Some(Socket { role: Role::Listener(listener), .. }) = self.slots.get(id) else { return None };
        let is_candidate = header.flags.contains(Flags::ACK)
            && !header.flags.contains(Flags::SYN)
            && !header.flags.contains(Flags::RST)
            && listener.has_cookies_out(ctx.now);
        if !is_candidate {
            return None;
        }
        let mss = self.syn_cookies.check(ctx.now, tuple, header.seq - 1, header.ack - 1);
        match mss {
            Some(_) => ctx.stats.cookies.recv += 1,
            None => ctx.stats.cookies.failed += 1,
        }
        mss
    }

    /// A cookie has come back, and a connection is made of it. If the accept queue or memory is full the segment is
    /// forgotten: the peer's next one brings the cookie again.
    pub(in crate::socket) fn accept_cookie(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        (id, peer_mss): (SocketId, u16),
        tuple: FourTuple,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        let base = mem::size_of::<Socket>() + mem::size_of::<Stream>();
        let is_full = self.account.is_full_for(base);
        let Some(Socket { role: Role::Listener(listener), options, .. }) = self.slots.get(id) else { return };
        if listener.is_accept_queue_full() {
            return ctx.stats.count_drop(DropReason::AcceptQueueFull);
        }
        if is_full {
            return ctx.stats.count_drop(DropReason::MemoryLimit);
        }
        let mut params = open_params(&self.isn, ctx, network, options, &tuple);
        params.isn = header.ack - 1;
        let record = SynReceived::from_cookie(ctx, header, &params, peer_mss);
        let handshake = Handshake { record, listener: id, tuple, armed: Armed::default() };
        self.establish(ctx, network, handshake, header, payload);
    }
}
