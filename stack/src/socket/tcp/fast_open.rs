//! TCP Fast Open: at a listener, SYNs whose data is delivered before the handshake completes (RFC
//! 7413 §4.2.2); at a client, the content of the SYN.

use alloc::boxed::Box;

use super::fast_open_cache::FirstSyn;
use super::input::Syn;
use super::{CONNECTION_BYTES, TcpSockets};
use crate::Ctx;
use crate::demux::FourTuple;
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::socket::saved_syns::SavedSyn;
use crate::tcp::{Connection, CookieCheck, FastOpenCookie, FastOpenEnd, Header, OpenParams};

/// The answer to the Fast Open option of a SYN.
#[derive(Debug)]
#[must_use]
pub(super) enum FastOpenAnswer {
    /// There is no option, or the listener does not use Fast Open.
    Nothing,
    /// The handshake continues as usual, and the SYN-ACK contains this cookie.
    Cookie(FastOpenCookie),
    /// A connection is opened at once. Its SYN-ACK contains this cookie if the client's is
    /// outdated.
    Open(Option<FastOpenCookie>),
}

/// The initial data of a connection that is opened fast.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) listener: SocketId,
    pub(super) tuple: FourTuple,
    pub(super) params: OpenParams,
    pub(super) cookie: Option<FastOpenCookie>,
    pub(super) saved_syn: Option<Box<SavedSyn>>,
}

impl TcpSockets {
    /// Linux's tcp_try_fastopen. A cookie is accepted with or without data.
    pub(super) fn answer_fast_open(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        tuple: &FourTuple,
        syn: &Header,
        has_data: bool,
    ) -> FastOpenAnswer {
        let is_short = env.common.is_short_of_memory(CONNECTION_BYTES);
        let Some((listener, options)) = env.common.listener_mut(id) else { return FastOpenAnswer::Nothing };
        let is_meant = syn.options.fast_open.is_some() || (options.tcp.fast_open.without_cookie && has_data);
        if options.tcp.fast_open.limit == 0 || !is_meant {
            return FastOpenAnswer::Nothing;
        }
        if is_short
            || !listener.fast_opens.has_room(
                env.ctx.now,
                self.half_open.of(id).fast,
                options.tcp.fast_open.limit,
            )
        {
            env.ctx.stats.fast_open.listen_overflow += 1;
            return FastOpenAnswer::Nothing;
        }
        if options.tcp.fast_open.without_cookie {
            return FastOpenAnswer::Open(None);
        }
        let Some(cookie) = &syn.options.fast_open else { return FastOpenAnswer::Nothing };
        let zone = env.network.zone_scope(tuple.scope);
        let (local, remote) = (tuple.local.addr, tuple.remote.addr);
        let keys = match &options.tcp.fast_open.key {
            Some(keys) => **keys,
            None => self.fast_open.keys.current(&mut env.ctx),
        };
        // The cookie is sent in the kind of option that the client used.
        let new = || keys.cookie(local, remote, zone).in_option(cookie.is_experimental());
        if cookie.is_request() {
            env.ctx.stats.fast_open.cookie_reqd += 1;
            return FastOpenAnswer::Cookie(new());
        }
        match keys.check(local, remote, zone, cookie) {
            CookieCheck::Good => FastOpenAnswer::Open(None),
            CookieCheck::Aging => FastOpenAnswer::Open(Some(new())),
            CookieCheck::Bad => {
                env.ctx.stats.fast_open.passive_fail += 1;
                FastOpenAnswer::Cookie(new())
            }
        }
    }

    /// Puts the connection into the accept queue at once, so that the program can answer the data
    /// in the SYN.
    pub(super) fn open_fast(&mut self, env: &mut Env<'_>, opening: Opening, syn: Syn<'_>) {
        let Opening { listener, tuple, params, cookie, saved_syn } = opening;
        env.ctx.stats.fast_open.passive += 1;
        let connection = Connection::fast_open(&mut env.ctx, syn.header, params, cookie, syn.payload);
        let Some(id) = self.queue_for_accept(env, listener, tuple, connection, saved_syn) else { return };
        self.fast_open.pending.insert(id, listener);
        self.half_open.change(listener, |counts| counts.fast += 1);
    }

    /// Opens a client's connection fast, as far as the stored facts about the server allow (Linux's
    /// tcp_fastopen_defer_connect).
    pub(super) fn connect_fast(
        &self,
        ctx: &mut Ctx<'_>,
        (tuple, zone): (&FourTuple, u16),
        params: OpenParams,
        without_cookie: bool,
    ) -> Connection {
        let (local, remote) = ((tuple.local.addr, zone), tuple.remote.addr);
        match self.fast_open.cache.first_syn(ctx.now, local, remote) {
            FirstSyn::Plain => Connection::connect(ctx, params),
            FirstSyn::Request { .. } | FirstSyn::Data(..) if without_cookie => {
                let mss = self.fast_open.cache.mss(local, remote).unwrap_or(params.announced_mss);
                Connection::connect_fast(ctx, params, None, mss)
            }
            FirstSyn::Request { experimental } => {
                let request = FastOpenCookie::REQUEST.in_option(experimental);
                Connection::connect_fast(ctx, params, Some(request), 0)
            }
            FirstSyn::Data(cookie, mss) => {
                let mss = mss.unwrap_or(params.default_mss);
                Connection::connect_fast(ctx, params, Some(cookie), mss)
            }
        }
    }

    /// Handles the end of the handshake of a connection that was opened fast.
    pub(super) fn on_fast_open_end(&mut self, env: &mut Env<'_>, id: SocketId, end: FastOpenEnd) {
        let Ctx { now, config, .. } = env.ctx;
        if let FastOpenEnd::Learned(update) = end {
            let Some(stream) = env.common.stream(id) else { return };
            let zone = env.network.zone_scope(stream.tuple.scope);
            let (local, remote) = ((stream.tuple.local.addr, zone), stream.tuple.remote.addr);
            return self.fast_open.cache.learn(now, local, remote, update, config.tcp.fast_open_cookies);
        }
        let Some(listener) = self.fast_open.pending.remove(&id) else { return };
        // It was counted when it began.
        self.half_open.change(listener, |counts| counts.fast -= 1);
        if matches!(end, FastOpenEnd::Reset)
            && let Some((listener, _)) = env.common.listener_mut(listener)
        {
            listener.fast_opens.on_reset(now);
        }
    }
}
