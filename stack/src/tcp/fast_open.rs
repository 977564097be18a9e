//! TCP Fast Open (RFC 7413): data in the SYN, delivered before the handshake is over.
//!
//! A server gives a client a cookie that proves, in later SYNs, that the client's address is its own. A SYN that brings the
//! cookie back makes a connection at once: [`Connection::fast_open`]. Such a connection is in SYN-RECEIVED, and for its
//! sender the SYN is out of the way already (as in Linux's tcp_fastopen_create_child), so that it answers before the
//! client has said anything else; only the SYN-ACK is repeated until then.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::ops::ControlFlow::{Break, Continue};

use bytes::Bytes;

use super::connection::Reset;
use super::header::{FastOpenCookie, MAX_OPTIONS_LEN};
use super::input::Step;
use super::{Connection, Header, OpenParams, Run, SeqNumber, State, SynReceived};
use crate::Ctx;
use crate::error::CloseReason;
use crate::frame::Payload;
use crate::hash::Keyed;
use crate::rng::Rng;
use crate::stats::DropReason;
use crate::steering::{Share, Steering};
use crate::time::Instant;

/// The keys under which a server makes its cookies.
#[derive(Debug)]
pub(crate) struct FastOpenKeys {
    current: Keyed,
    /// The key before, whose cookies are still good.
    previous: Option<Keyed>,
    /// When the current one is replaced; from its first use on.
    rotate_at: Option<Instant>,
    /// Where several stacks serve the same addresses a client comes to any of them, so all have the same keys.
    common: Option<CommonKeys>,
}

/// Keys that follow from the time and what the stacks agree on.
#[derive(Debug)]
struct CommonKeys {
    steering: Steering,
    /// Lifetimes of keys since the epoch.
    generation: Option<u64>,
}

/// What a server thinks of a client's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CookieCheck {
    Good,
    /// Good, but of the key before: the client should have a new one.
    Aging,
    Bad,
}

impl FastOpenKeys {
    pub(crate) fn new(rng: &mut Rng, share: Option<&Share>) -> FastOpenKeys {
        let common = share.map(|share| CommonKeys { steering: share.steering().clone(), generation: None });
        FastOpenKeys { current: Keyed::new(rng), previous: None, rotate_at: None, common }
    }

    /// RFC 7413 §4.1.2: the keyed hash of both addresses. Ports do not count: it is the client that is known again.
    pub(crate) fn cookie(&mut self, ctx: &mut Ctx<'_>, local: IpAddr, remote: IpAddr) -> FastOpenCookie {
        self.rotate(ctx);
        made_with(&self.current, local, remote)
    }

    pub(crate) fn check(
        &mut self,
        ctx: &mut Ctx<'_>,
        local: IpAddr,
        remote: IpAddr,
        cookie: &FastOpenCookie,
    ) -> CookieCheck {
        self.rotate(ctx);
        if *cookie == made_with(&self.current, local, remote) {
            return CookieCheck::Good;
        }
        match &self.previous {
            Some(previous) if *cookie == made_with(previous, local, remote) => CookieCheck::Aging,
            _ => CookieCheck::Bad,
        }
    }

    /// RFC 7413 §4.1.2: a cookie that was stolen is of use for two lifetimes at most.
    fn rotate(&mut self, ctx: &mut Ctx<'_>) {
        let lifetime = ctx.config.tcp.fast_open_key_lifetime;
        if let Some(CommonKeys { steering, generation }) = &mut self.common {
            let now = (ctx.now.as_nanos() as u128 / lifetime.as_nanos().max(1)) as u64;
            if *generation != Some(now) {
                *generation = Some(now);
                self.current = steering.derive_key(now);
                self.previous = now.checked_sub(1).map(|before| steering.derive_key(before));
            }
            return;
        }
        let rotate_at = *self.rotate_at.get_or_insert(ctx.now + lifetime);
        if ctx.now < rotate_at {
            return;
        }
        let is_previous_good = ctx.now < rotate_at + lifetime;
        let old = core::mem::replace(&mut self.current, Keyed::new(ctx.rng));
        self.previous = is_previous_good.then_some(old);
        self.rotate_at = Some(ctx.now + lifetime);
    }
}

fn made_with(key: &Keyed, local: IpAddr, remote: IpAddr) -> FastOpenCookie {
    FastOpenCookie::new(core::hash::BuildHasher::hash_one(key, (local, remote)).to_be_bytes())
}

/// What a connection that is opened fast keeps until it is open.
#[derive(Debug)]
pub(super) enum FastOpen {
    /// SYN-RECEIVED, and what came with the SYN may be read.
    Server {
        irs: SeqNumber,
        /// What the SYN-ACK gives the client.
        cookie: Option<Box<FastOpenCookie>>,
    },
    /// SYN-SENT.
    Client(FastClient),
}

/// A client's fast open.
#[derive(Debug)]
pub(super) struct FastClient {
    /// What the first SYN carries: the server's cookie, or a request for one.
    cookie: Box<FastOpenCookie>,
    /// The SYN waits for data (TCP_FASTOPEN_CONNECT).
    is_deferred: bool,
    /// How much data the SYN takes.
    room: u16,
    /// How much it took.
    syn_data: u16,
    lesson: Option<Lesson>,
}

/// What a client has learned of a server (RFC 7413 §4.1.3).
#[derive(Debug)]
pub(crate) struct Lesson {
    /// A new cookie.
    pub(crate) cookie: Option<Box<FastOpenCookie>>,
    pub(crate) mss: Option<u16>,
    /// Only the SYN that was sent again, without data, was answered: the path or the server may drop the other kind.
    pub(crate) lost_syn: bool,
}

/// How a fast open ended.
#[derive(Debug)]
pub(crate) enum FastOpenEnd {
    /// The server has answered our SYN.
    Learned(Lesson),
    /// The client has acknowledged our SYN.
    Opened,
    /// The client reset it.
    Reset,
    /// It ended otherwise.
    Failed,
}

impl Connection {
    /// A connection in SYN-RECEIVED, made of a SYN with a good cookie; the data that came with it can be read, and
    /// `poll_transmit` gives the SYN-ACK, with this cookie if there is one (RFC 7413 §4.2.2).
    pub(crate) fn fast_open(
        ctx: &mut Ctx<'_>,
        syn: &Header,
        params: OpenParams,
        cookie: Option<FastOpenCookie>,
        payload: Bytes,
    ) -> Connection {
        let record = SynReceived::new(ctx, syn, &params);
        let OpenParams { isn, path_mss, settings, .. } = params;
        let mut connection = record.into_connection(ctx, settings, path_mss);
        connection.snd.on_syn_acked(isn + 1);
        connection.fast_open =
            Some(Box::new(FastOpen::Server { irs: syn.seq, cookie: cookie.map(Box::new) }));
        connection.pending.syn = true;
        connection.take_text_of_syn(ctx, syn, payload);
        connection
    }

    /// Whether the program may read and send although the handshake is not over.
    pub(super) fn is_fast_server(&self) -> bool {
        self.state == State::SynReceived && matches!(self.fast_open.as_deref(), Some(FastOpen::Server { .. }))
    }

    /// The SYN of such a connection.
    pub(super) fn is_syn_of_fast_open(&self, header: &Header) -> bool {
        matches!(self.fast_open.as_deref(), Some(&FastOpen::Server { irs, .. }) if header.seq == irs)
    }

    /// What came with the SYN goes to the program; a FIN with it was refused.
    fn take_text_of_syn(&mut self, ctx: &Ctx<'_>, syn: &Header, payload: Bytes) {
        if payload.is_empty() {
            return;
        }
        // What does not fit the window is not acknowledged, and comes again.
        let max_ranges = ctx.config.tcp.max_out_of_order_ranges;
        self.rcv.note_segment(ctx.now, payload.len());
        let _stored = self.rcv.on_text(syn.seq + 1, payload, false, max_ranges);
    }

    /// The SYN-ACK of such a connection. It takes part in nothing that concerns data.
    pub(super) fn repeatable_syn_ack(&mut self, ctx: &mut Ctx<'_>, mut header: Header) -> Run {
        header.seq = self.snd.una - 1;
        if self.retries.timeouts > 0 {
            ctx.stats.tcp_retransmits += 1;
            ctx.stats.tcp_syn_retransmits += 1;
            self.syn_sent_at = None;
        }
        self.arm_retransmit(ctx.now);
        Run::one(header, Payload::new())
    }

    /// The first acknowledgement: of the SYN, and perhaps of data.
    pub(super) fn check_ack_of_fast_open(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> Step {
        if header.ack.before(self.snd.una) || header.ack.after(self.snd.max) {
            self.pending.reset = Some(Reset { seq: header.ack, with_ack: false });
            return Break(Some(DropReason::BadAck));
        }
        self.time_syn(ctx, header);
        self.establish(ctx, "ACK of our SYN");
        if self.snd.flight() > 0 {
            // Data that went out before.
            self.arm_retransmit(ctx.now);
        }
        Continue(())
    }

    /// The cookie for the SYN-ACK; as on Linux one that is repeated has none.
    pub(super) fn cookie_to_give(&self) -> Option<Box<FastOpenCookie>> {
        match self.fast_open.as_deref() {
            Some(FastOpen::Server { cookie, .. }) if self.retries.timeouts == 0 => cookie.clone(),
            _ => None,
        }
    }

    /// How the fast open ended, once.
    #[inline]
    pub(crate) fn take_fast_open_end(&mut self) -> Option<FastOpenEnd> {
        // Asked after every segment.
        if self.fast_open.is_none() { None } else { self.end_fast_open() }
    }

    fn end_fast_open(&mut self) -> Option<FastOpenEnd> {
        let lesson = match self.fast_open.as_deref_mut()? {
            FastOpen::Client(client) => client.lesson.take(),
            FastOpen::Server { .. } => None,
        };
        let end = match (self.state, self.close_reason()) {
            (State::SynSent | State::SynReceived, _) => return None,
            (_, _) if lesson.is_some() => FastOpenEnd::Learned(lesson?),
            (State::Closed, Some(CloseReason::PeerReset)) => FastOpenEnd::Reset,
            (State::Closed, _) => FastOpenEnd::Failed,
            _ => FastOpenEnd::Opened,
        };
        self.fast_open = None;
        Some(end)
    }

    /// SYN-SENT with a cookie, or with a request for one. With a cookie the SYN waits for the first data, of which it takes
    /// what a segment of `mss` holds beside the longest options (RFC 7413 §4.2.1; Linux's tcp_send_syn_data).
    pub(crate) fn connect_fast(
        ctx: &mut Ctx<'_>,
        params: OpenParams,
        cookie: FastOpenCookie,
        mss: u16,
    ) -> Connection {
        let room = mss.min(params.path_mss).saturating_sub(MAX_OPTIONS_LEN as u16);
        let mut connection = Connection::connect(ctx, params);
        let is_deferred = !cookie.is_request() && room > 0;
        connection.pending.syn = !is_deferred;
        let cookie = Box::new(cookie);
        let client = FastClient { cookie, is_deferred, room, syn_data: 0, lesson: None };
        connection.fast_open = Some(Box::new(FastOpen::Client(client)));
        connection
    }

    fn fast_client(&self) -> Option<&FastClient> {
        match self.fast_open.as_deref()? {
            FastOpen::Client(client) => Some(client),
            FastOpen::Server { .. } => None,
        }
    }

    /// Whether the SYN waits for data.
    pub(crate) fn is_deferred(&self) -> bool {
        self.state == State::SynSent && self.fast_client().is_some_and(|client| client.is_deferred)
    }

    /// What `send` may still put into the SYN.
    pub(super) fn syn_room(&self) -> usize {
        let room = self.fast_client().map_or(0, |client| usize::from(client.room));
        room.saturating_sub(self.snd.queue.len())
    }

    /// The SYN has waited for this data.
    pub(super) fn open_with_data(&mut self) {
        if let Some(FastOpen::Client(client)) = self.fast_open.as_deref_mut()
            && client.is_deferred
            && self.snd.queue.len() > 0
        {
            client.is_deferred = false;
            self.pending.syn = true;
        }
    }

    /// Puts cookie and data into the first SYN. Those that are sent again have neither (RFC 7413 §4.2.1).
    pub(super) fn fill_syn(&mut self, header: &mut Header) -> Payload {
        let is_first = self.snd.outstanding() == 0;
        match self.fast_open.as_deref_mut() {
            Some(FastOpen::Client(client)) if is_first && self.state == State::SynSent => {
                header.options.fast_open = Some(client.cookie.clone());
                let len = if client.cookie.is_request() { 0 } else { self.snd.queue.len() };
                // At most `room`.
                client.syn_data = u16::try_from(len).unwrap_or(u16::MAX).min(client.room);
                self.snd.queue.slice(0, usize::from(client.syn_data))
            }
            _ => Payload::new(),
        }
    }

    /// Whether a SYN-ACK may acknowledge so much: our SYN, and at most the data with it.
    pub(super) fn is_syn_ack_acceptable(&self, ack: SeqNumber) -> bool {
        let syn_data = self.fast_client().map_or(0, |client| u32::from(client.syn_data));
        self.snd.outstanding() > 0 && ack.after(self.snd.una) && ack.before_eq(self.snd.max + syn_data)
    }

    /// The SYN-ACK is here; SND.UNA is not moved yet. What it did not acknowledge is sent again as if it were new.
    pub(super) fn learn_from_syn_ack(&mut self, ctx: &mut Ctx<'_>, header: &Header) {
        let acked = header.ack - self.snd.una - 1;
        let was_repeated = self.retries.timeouts > 0;
        let Some(FastOpen::Client(client)) = self.fast_open.as_deref_mut() else { return };
        let cookie = header.options.fast_open.clone().filter(|cookie| !cookie.is_request());
        let is_refused = client.syn_data > 0 && acked == 0;
        // Linux's tcp_rcv_fastopen_synack.
        let lost_syn = was_repeated && is_refused && cookie.is_none();
        if acked > 0 {
            ctx.stats.fast_open_active += 1;
        } else if is_refused {
            ctx.stats.fast_open_active_failed += 1;
        }
        client.lesson = Some(Lesson { cookie, mss: header.options.mss, lost_syn });
    }
}
