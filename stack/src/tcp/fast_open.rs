//! TCP Fast Open (RFC 7413): data in the SYN, delivered before the handshake is over.
//!
//! A server gives a client a cookie, which proves in later SYNs that the client owns its address. A
//! SYN with a valid cookie creates a connection at once: [`Connection::fast_open`]. The connection
//! is in SYN-RECEIVED, but its sender treats the SYN as acknowledged (as in Linux's
//! tcp_fastopen_create_child), so the server can answer before the handshake is over. Until then
//! the retransmission timer repeats only the SYN-ACK.

use alloc::boxed::Box;
use core::fmt;
use core::hash::Hasher;
use core::net::IpAddr;
use core::ops::ControlFlow::{Break, Continue};

use bytes::Bytes;
use siphasher::sip::SipHasher24;

use super::connection::Reset;
use super::input::Step;
use super::options::{FastOpenCookie, MAX_OPTIONS_LEN};
use super::{Connection, Header, OpenParams, Run, SeqNumber, State, SynReceived};
use crate::Ctx;
use crate::drop_reason::DropReason;
use crate::error::CloseReason;
use crate::frame::Payload;
use crate::rng::Rng;
use crate::steering::{Share, Steering};
use crate::time::Instant;

/// Keys for Fast Open cookies that the program has set (TCP_FASTOPEN_KEY). Servers with the same
/// keys accept each other's cookies. Linux computes the same cookies.
// Exhaustive: a key is its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKey {
    /// New cookies are made with this.
    pub primary: [u8; 16],
    /// Cookies made with this key are valid, too; the client then gets a new one.
    pub backup: Option<[u8; 16]>,
}

/// The keys are secret.
impl fmt::Debug for FastOpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastOpenKey").field("has_backup", &self.backup.is_some()).finish_non_exhaustive()
    }
}

impl FastOpenKey {
    /// RFC 7413 §4.1.2: the keyed hash of both addresses, without ports. As on Linux
    /// (__tcp_fastopen_cookie_gen_cipher) it is SipHash-2-4 of the client's address and the
    /// server's.
    ///
    /// `zone`: the scope of the connection if its zone is not zone 0; otherwise 0.
    pub(crate) fn cookie(&self, local: IpAddr, remote: IpAddr, zone: u16) -> FastOpenCookie {
        made_with(&self.primary, (local, remote), zone)
    }

    pub(crate) fn check(
        &self,
        local: IpAddr,
        remote: IpAddr,
        zone: u16,
        cookie: &FastOpenCookie,
    ) -> CookieCheck {
        let is_made_with = |key| made_with(key, (local, remote), zone).as_bytes() == cookie.as_bytes();
        match &self.backup {
            _ if is_made_with(&self.primary) => CookieCheck::Good,
            Some(backup) if is_made_with(backup) => CookieCheck::Aging,
            _ => CookieCheck::Bad,
        }
    }
}

/// The keys of a server whose program has set none. They are replaced from time to time.
#[derive(Debug)]
pub(crate) struct FastOpenKeys {
    /// Primary: the current key. Backup: the previous key, whose cookies are still valid.
    keys: FastOpenKey,
    /// When the primary key is replaced. `None` before its first use.
    rotate_at: Option<Instant>,
    /// If several stacks serve the same addresses, any of them may get a client's next SYN, so all
    /// use the same keys.
    common: Option<CommonKeys>,
}

/// Keys that all stacks derive from the time and a shared secret.
#[derive(Debug)]
struct CommonKeys {
    steering: Steering,
    /// The number of key lifetimes since the epoch.
    generation: Option<u64>,
}

/// Whether a client's cookie is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CookieCheck {
    Good,
    /// Valid, but made with the previous key: the client should get a new one.
    Aging,
    Bad,
}

impl FastOpenKeys {
    pub(crate) fn new(rng: &mut Rng, share: Option<&Share>) -> FastOpenKeys {
        let common = share.map(|share| CommonKeys { steering: share.steering().clone(), generation: None });
        let keys = FastOpenKey { primary: rng.key(), backup: None };
        FastOpenKeys { keys, rotate_at: None, common }
    }

    /// The current keys.
    pub(crate) fn current(&mut self, ctx: &mut Ctx<'_>) -> FastOpenKey {
        self.rotate(ctx);
        self.keys
    }

    /// RFC 7413 §4.1.2: a stolen cookie is valid for two lifetimes at most.
    fn rotate(&mut self, ctx: &mut Ctx<'_>) {
        let lifetime = ctx.config.tcp.fast_open_key_lifetime;
        if let Some(CommonKeys { steering, generation }) = &mut self.common {
            let now = (ctx.now.as_nanos() as u128 / lifetime.as_nanos().max(1)) as u64;
            if *generation != Some(now) {
                *generation = Some(now);
                self.keys.primary = steering.derive_key(now).to_key();
                self.keys.backup = now.checked_sub(1).map(|before| steering.derive_key(before).to_key());
            }
            return;
        }
        let rotate_at = *self.rotate_at.get_or_insert(ctx.now + lifetime);
        if ctx.now < rotate_at {
            return;
        }
        let is_previous_good = ctx.now < rotate_at + lifetime;
        let old = core::mem::replace(&mut self.keys.primary, ctx.rng.key());
        self.keys.backup = is_previous_good.then_some(old);
        self.rotate_at = Some(ctx.now + lifetime);
    }
}

fn made_with(key: &[u8; 16], (local, remote): (IpAddr, IpAddr), zone: u16) -> FastOpenCookie {
    let mut hasher = SipHasher24::new_with_key(key);
    for addr in [remote, local] {
        match addr {
            IpAddr::V4(addr) => hasher.write(&addr.octets()),
            IpAddr::V6(addr) => hasher.write(&addr.octets()),
        }
    }
    if zone != 0 {
        hasher.write(&zone.to_be_bytes());
    }
    FastOpenCookie::new(hasher.finish().to_le_bytes())
}

/// The state of a fast open, until the connection is open.
#[derive(Debug)]
pub(super) enum FastOpen {
    /// In SYN-RECEIVED; the SYN's data may be read. Also used after the program has closed in
    /// SYN-RECEIVED, so that the FIN is sent.
    Server {
        irs: SeqNumber,
        /// The cookie that the SYN-ACK carries.
        cookie: Option<Box<FastOpenCookie>>,
    },
    /// In SYN-SENT.
    Client(FastClient),
}

/// The state of a client's fast open.
#[derive(Debug)]
pub(super) struct FastClient {
    /// The cookie in the first SYN, or a request for one; `None` with TCP_FASTOPEN_NO_COOKIE.
    cookie: Option<Box<FastOpenCookie>>,
    /// Whether the SYN waits for data (TCP_FASTOPEN_CONNECT).
    is_deferred: bool,
    /// How many bytes of data fit into the SYN.
    room: u16,
    /// How many bytes of data the SYN had.
    syn_data: u16,
    update: Option<CacheUpdate>,
}

/// What a client has learned of a server (RFC 7413 §4.1.3).
#[derive(Debug)]
pub(crate) struct CacheUpdate {
    /// A new cookie.
    pub(crate) cookie: Option<Box<FastOpenCookie>>,
    pub(crate) mss: Option<u16>,
    pub(crate) outcome: SynOutcome,
}

/// The result of a SYN with data or with a request for a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SynOutcome {
    /// No reason to avoid Fast Open.
    Fine,
    /// A request was answered without a cookie. `experimental`: the request used the experimental
    /// option.
    NoCookie { experimental: bool },
    /// Only the retransmitted SYN, without data, was answered: the path or the server may drop SYNs
    /// with data.
    Lost,
    /// The server did not take the data and gave no new cookie, or the attempt failed (RFC 7413
    /// §4.1.3.1).
    Refused,
}

/// How a fast open ended.
#[derive(Debug)]
pub(crate) enum FastOpenEnd {
    /// The server has answered our SYN.
    Learned(CacheUpdate),
    /// The client has acknowledged our SYN.
    Opened,
    /// The client has reset the connection.
    Reset,
    /// The connection ended in another way.
    Failed,
}

impl FastClient {
    fn is_request(&self) -> bool {
        self.cookie.as_ref().is_some_and(|cookie| cookie.is_request())
    }
}

impl Connection {
    /// A connection in SYN-RECEIVED, from a SYN with a valid cookie. The SYN's data can be read,
    /// and `poll_transmit` returns the SYN-ACK, with `cookie` if there is one (RFC 7413 §4.2.2).
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
        connection.syn.fast_open =
            Some(Box::new(FastOpen::Server { irs: syn.seq, cookie: cookie.map(Box::new) }));
        connection.pending.syn = true;
        connection.take_text_of_syn(ctx, syn, payload);
        connection
    }

    /// The program has closed in SYN-RECEIVED. The FIN need not wait until our SYN is acknowledged
    /// (RFC 9293 §3.10.4), so the sender treats the SYN as acknowledged.
    pub(super) fn send_before_it_is_open(&mut self) {
        let has_sent = self.syn.fast_open.is_some() || self.snd.queue.len() > 0;
        if self.state == State::SynReceived && !has_sent {
            self.snd.on_syn_acked(self.snd.una + 1);
            let irs = self.rcv.nxt - 1;
            self.syn.fast_open = Some(Box::new(FastOpen::Server { irs, cookie: None }));
        }
    }

    /// Whether the program may read and send although the handshake is not over.
    pub(super) fn is_fast_server(&self) -> bool {
        self.state == State::SynReceived
            && matches!(self.syn.fast_open.as_deref(), Some(FastOpen::Server { .. }))
    }

    /// Whether this is the SYN that opened such a connection.
    pub(super) fn is_syn_of_fast_open(&self, header: &Header) -> bool {
        matches!(self.syn.fast_open.as_deref(), Some(&FastOpen::Server { irs, .. }) if header.seq == irs)
    }

    /// Gives the SYN's data to the program. A SYN with a FIN was refused before.
    fn take_text_of_syn(&mut self, ctx: &Ctx<'_>, syn: &Header, payload: Bytes) {
        if payload.is_empty() {
            return;
        }
        // Data beyond the window is not acknowledged, and the client sends it again.
        let max_ranges = ctx.config.tcp.max_out_of_order_ranges;
        self.rcv.acks.note_segment(ctx.now, payload.len());
        let _stored = self.rcv.on_text(syn.seq + 1, payload, false, max_ranges);
        self.syn.data_taken = true;
    }

    /// The SYN-ACK of such a connection. It is separate from the sender's sequence of data.
    pub(super) fn repeatable_syn_ack(&mut self, ctx: &mut Ctx<'_>, mut header: Header) -> Run {
        header.seq = self.snd.una - 1;
        if self.retries.timeouts > 0 {
            ctx.stats.tcp.retrans_segs += 1;
            ctx.stats.recovery.syn_retrans += 1;
            self.syn.repeats = self.syn.repeats.saturating_add(1);
            self.syn.sent_at = None;
        }
        self.arm_retransmit(ctx.now);
        Run::one(header, Payload::new())
    }

    /// Checks the first acknowledgement, which covers the SYN and perhaps data.
    pub(super) fn check_ack_of_fast_open(&mut self, ctx: &mut Ctx<'_>, header: &Header) -> Step {
        if header.ack.before(self.snd.una) || header.ack.after(self.snd.max) {
            self.pending.reset = Some(Reset::answering(header, header.ack));
            return Break(Some(DropReason::BadAck));
        }
        self.time_syn(ctx, header);
        self.establish(ctx, "ACK of our SYN");
        if self.snd.flight() > 0 {
            // Data was sent before.
            self.arm_retransmit(ctx.now);
        }
        Continue(())
    }

    /// The cookie for the SYN-ACK. As on Linux a repeated SYN-ACK has none.
    pub(super) fn cookie_to_give(&self) -> Option<Box<FastOpenCookie>> {
        match self.syn.fast_open.as_deref() {
            Some(FastOpen::Server { cookie, .. }) if self.retries.timeouts == 0 => cookie.clone(),
            _ => None,
        }
    }

    /// How the fast open ended. Returns it once.
    #[inline]
    pub(crate) fn take_fast_open_end(&mut self) -> Option<FastOpenEnd> {
        // Called after every segment.
        if self.syn.fast_open.is_none() { None } else { self.end_fast_open() }
    }

    fn end_fast_open(&mut self) -> Option<FastOpenEnd> {
        let has_failed = matches!(
            (self.state, self.close_reason()),
            (State::Closed, Some(CloseReason::TimedOut | CloseReason::Unreachable(_)))
        );
        let update = match self.syn.fast_open.as_deref_mut()? {
            // RFC 7413 §4.1.3.1: no answer at all, or an ICMP error, counts against Fast Open, too.
            FastOpen::Client(client) if has_failed && client.syn_data > 0 => client
                .update
                .take()
                .or(Some(CacheUpdate { cookie: None, mss: None, outcome: SynOutcome::Refused })),
            FastOpen::Client(client) => client.update.take(),
            FastOpen::Server { .. } => None,
        };
        let end = match (self.state, self.close_reason()) {
            (State::SynSent | State::SynReceived, _) => return None,
            (_, _) if update.is_some() => FastOpenEnd::Learned(update?),
            (State::Closed, Some(CloseReason::PeerReset)) => FastOpenEnd::Reset,
            (State::Closed, _) => FastOpenEnd::Failed,
            _ => FastOpenEnd::Opened,
        };
        self.syn.fast_open = None;
        Some(end)
    }

    /// A connection in SYN-SENT, with a cookie, with a request for one, or with neither. A request
    /// is sent at once. Otherwise the SYN waits for the first data, and takes as much of it as fits
    /// into a segment of `mss` beside the longest options (RFC 7413 §4.2.1; Linux's
    /// tcp_send_syn_data).
    pub(crate) fn connect_fast(
        ctx: &mut Ctx<'_>,
        params: OpenParams,
        cookie: Option<FastOpenCookie>,
        mss: u16,
    ) -> Connection {
        let room = mss.min(params.path_mss).saturating_sub(MAX_OPTIONS_LEN as u16);
        let mut connection = Connection::connect(ctx, params);
        let is_request = cookie.as_ref().is_some_and(FastOpenCookie::is_request);
        let is_deferred = !is_request && room > 0;
        connection.pending.syn = !is_deferred;
        let cookie = cookie.map(Box::new);
        let client = FastClient { cookie, is_deferred, room, syn_data: 0, update: None };
        connection.syn.fast_open = Some(Box::new(FastOpen::Client(client)));
        connection
    }

    fn fast_client(&self) -> Option<&FastClient> {
        match self.syn.fast_open.as_deref()? {
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

    /// The program has sent zero bytes: the SYN is sent without data, but with the cookie, as on
    /// Linux.
    pub(super) fn open_without_data(&mut self) {
        if let Some(FastOpen::Client(client)) = self.syn.fast_open.as_deref_mut() {
            client.is_deferred = false;
            self.pending.syn = true;
        }
    }

    /// Sends the SYN that has waited for data, if there is data now.
    pub(super) fn open_with_data(&mut self) {
        if let Some(FastOpen::Client(client)) = self.syn.fast_open.as_deref_mut()
            && client.is_deferred
            && self.snd.queue.len() > 0
        {
            client.is_deferred = false;
            self.pending.syn = true;
        }
    }

    /// Puts cookie and data into the first SYN. A retransmitted SYN has neither (RFC 7413 §4.2.1).
    pub(super) fn fill_syn(&mut self, header: &mut Header) -> Payload {
        let is_first = self.snd.outstanding() == 0;
        match self.syn.fast_open.as_deref_mut() {
            Some(FastOpen::Client(client)) if is_first && self.state == State::SynSent => {
                header.options.fast_open = client.cookie.clone();
                let len = if client.is_request() { 0 } else { self.snd.queue.len() };
                // At most `room`.
                client.syn_data = u16::try_from(len).unwrap_or(u16::MAX).min(client.room);
                self.snd.queue.slice(0, usize::from(client.syn_data))
            }
            _ => Payload::new(),
        }
    }

    /// Whether a SYN-ACK may acknowledge up to `ack`: our SYN, and at most the data in it.
    pub(super) fn is_syn_ack_acceptable(&self, ack: SeqNumber) -> bool {
        let syn_data = self.fast_client().map_or(0, |client| u32::from(client.syn_data));
        self.snd.outstanding() > 0 && ack.after(self.snd.una) && ack.before_eq(self.snd.max + syn_data)
    }

    /// Takes from the SYN-ACK what a client learns about the server. SND.UNA has not moved yet.
    /// Data that the SYN-ACK did not acknowledge is sent again like new data.
    pub(super) fn learn_from_syn_ack(&mut self, ctx: &mut Ctx<'_>, header: &Header) {
        let acked = header.ack - self.snd.una - 1;
        // The SYN is sent again without a time-out if it was too large for the path.
        let (has_timed_out, was_sent_once) = (self.retries.timeouts > 0, self.syn.sent_at.is_some());
        let Some(FastOpen::Client(client)) = self.syn.fast_open.as_deref_mut() else { return };
        let cookie = header.options.fast_open.clone().filter(|cookie| !cookie.is_request());
        let is_left = client.syn_data > 0 && acked == 0;
        if acked > 0 {
            self.syn.data_taken = true;
            ctx.stats.fast_open.active += 1;
        } else if is_left {
            ctx.stats.fast_open.active_fail += 1;
        }
        let outcome = match &client.cookie {
            _ if cookie.is_some() => SynOutcome::Fine,
            // Linux's tcp_rcv_fastopen_synack.
            _ if is_left && has_timed_out => SynOutcome::Lost,
            // RFC 7413 §4.1.3.1.
            _ if is_left && was_sent_once => SynOutcome::Refused,
            Some(asked) if asked.is_request() && !has_timed_out => {
                SynOutcome::NoCookie { experimental: asked.is_experimental() }
            }
            _ => SynOutcome::Fine,
        };
        client.update = Some(CacheUpdate { cookie, mss: header.options.mss, outcome });
    }

    /// The path takes only smaller packets, so a SYN with data was too long. It is sent again at
    /// once, without its data and with an MSS that fits (Linux's tcp_simple_retransmit).
    pub(super) fn shrink_syn(&mut self, path_mss: u16) {
        let has_data = self.fast_client().is_some_and(|client| client.syn_data > 0);
        if self.state == State::SynSent && has_data {
            self.syn.announced_mss = self.syn.announced_mss.min(path_mss);
            self.pending.syn = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18 gave these cookies to 192.0.2.2 and fd00:2::2, as 192.0.2.1 and fd00:2::1, under
    /// these keys.
    #[test]
    fn cookies_are_those_of_linux() {
        let [first, second] = [0, 16].map(|from| core::array::from_fn(|at| from + at as u8));
        let key = FastOpenKey { primary: first, backup: Some(second) };
        let other = FastOpenKey { primary: second, backup: None };
        let cases = [
            ("192.0.2.1", "192.0.2.2", 0xdfd0_798e_5a20_8d57_u64, 0x9a3a_9ee7_1cd5_0951),
            ("fd00:2::1", "fd00:2::2", 0xca5f_fa7f_d48a_4bdc, 0xcf06_7c10_b674_49c7),
        ];
        for (server, client, of_first, of_second) in cases {
            let (server, client) = (server.parse().unwrap(), client.parse().unwrap());
            let [of_first, of_second] =
                [of_first, of_second].map(|cookie| FastOpenCookie::new(cookie.to_be_bytes()));
            assert_eq!(key.cookie(server, client, 0), of_first);
            assert_eq!(key.check(server, client, 0, &of_first.clone().in_option(true)), CookieCheck::Good);
            assert_eq!(key.check(server, client, 0, &of_second), CookieCheck::Aging);
            assert_eq!(other.check(server, client, 0, &of_second), CookieCheck::Good);
            assert_eq!(other.check(server, client, 0, &of_first), CookieCheck::Bad);
            assert_eq!(key.check(client, server, 0, &of_first), CookieCheck::Bad);
        }
    }
}
