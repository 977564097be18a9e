//! Segments of intercepted connections before a program has accepted them, and their time-out.

use super::super::TcpSockets;
use super::super::connections::Target;
use super::pending::{PendingSyn, SynHeaders};
use super::table::PendingRoom;
use super::{Interceptor, PresentSyn};
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::event::Wakeup;
use crate::id::{PendingId, SocketId};
use crate::network::Datagram;
use crate::rate_limit::PeerKey;
use crate::socket::common::{Common, Env, TimerTarget};
use crate::socket::interception::Cancellation;
use crate::socket::record::{Protocol, Socket};
use crate::socket::scope::iface_of;
use crate::socket::tcp::CONNECTION_BYTES;
use crate::socket::tcp::stream::TcpSocket;
use crate::subject::Subject;
use crate::tcp::{Flags, Header, SeqNumber};

/// How many connections one call takes from the table because their time is over.
const MAX_EXPIRED: usize = 64;

impl TcpSockets {
    /// Keeps the headers of an intercepted SYN for the time in which it is handled.
    #[cold]
    pub(in crate::socket::tcp) fn note_intercepted(
        &mut self,
        tuple: FourTuple,
        (header, header_len): (&Header, usize),
        datagram: &Datagram,
    ) {
        let is_wanted = self.intercepts.interceptor.is_some() && header.flags.is_first_syn();
        self.intercepts.present_syn = is_wanted.then(|| PresentSyn {
            tuple,
            syn: SynHeaders::new(datagram, header_len),
            iface: datagram.iface,
        });
    }

    /// Makes an intercepted SYN a pending connection. Returns false if this is not such a SYN.
    /// `isn_after`: see [`PendingSyn`].
    pub(in crate::socket::tcp) fn intercept_syn(
        &mut self,
        env: &mut Env<'_>,
        tuple: FourTuple,
        header: &Header,
        isn_after: Option<SeqNumber>,
    ) -> bool {
        let Some(PresentSyn { syn, iface, .. }) = self.intercepts.take_syn(&tuple, header) else {
            return false;
        };
        // As for listeners: no regular host sends a SYN with a FIN.
        if header.flags.contains(Flags::FIN) {
            env.ctx.count_drop(DropReason::UnexpectedSegment);
            return true;
        }
        let peer = env.network.peer(tuple.remote.addr, iface_of(tuple.scope));
        let source = peer.unwrap_or(PeerKey::host(tuple.remote.addr, true));
        match self.intercepts.table.room_for(&env.ctx.config.interception, source) {
            PendingRoom::Free => {}
            PendingRoom::Instead(id) => self.cancel(env, id, Cancellation::Evicted),
            PendingRoom::None => {
                env.ctx.count_drop(DropReason::InterceptionLimit);
                return true;
            }
        }
        let pending = PendingSyn {
            tuple,
            syn,
            iface,
            since: env.ctx.now,
            source,
            isn_after,
            is_repeated: false,
            is_seen: false,
        };
        if env.common.account.is_full_for(pending.charge() + CONNECTION_BYTES) {
            env.ctx.count_drop(DropReason::MemoryLimit);
            return true;
        }
        log::debug!("{}: intercepted SYN {:?}", env.ctx.subject, pending.syn.irs());
        env.ctx.stats.interception.pending += 1;
        env.common.account.change(0, pending.charge());
        let id = self.intercepts.table.insert(pending);
        self.connections.insert(&tuple, Target::Pending(id));
        if let Some(interceptor) = self.interceptor_mut(env.common) {
            interceptor.unseen.push_back(id);
            interceptor.unseen_count += 1;
        }
        self.arm_expiry(env);
        self.note_interceptor(env.common, Wakeup::ARRIVAL);
        true
    }

    /// Handles a segment between the addresses and ports of a pending connection.
    pub(in crate::socket::tcp) fn handle_pending_segment(
        &mut self,
        env: &mut Env<'_>,
        id: PendingId,
        header: &Header,
    ) {
        let Some(tuple) = self.intercepts.table.get(id).map(|pending| pending.tuple) else { return };
        let syn = self.intercepts.take_syn(&tuple, header);
        let Some(pending) = self.intercepts.table.get_mut(id) else { return };
        let irs = pending.syn.irs();
        match syn {
            _ if header.flags.contains(Flags::RST) => {
                // RFC 5961 §3.2: an attacker must not be able to guess it. The SYN is not
                // acknowledged, so a host may number its reset before or behind the SYN.
                if header.seq == irs || header.seq == irs + 1 {
                    env.ctx.stats.tcp.resets_received += 1;
                    self.cancel(env, id, Cancellation::Reset);
                } else {
                    env.ctx.count_drop(DropReason::OutOfWindow);
                }
            }
            Some(PresentSyn { syn, iface, .. }) if header.seq == irs => {
                // Its options and its ECN marks replace those of the SYN before, which nobody has
                // answered.
                let before = pending.charge();
                (pending.syn, pending.iface) = (syn, iface);
                let after = pending.charge();
                env.common.account.change(before, after);
                self.intercepts.table.on_repeated(id);
                env.ctx.count_drop(DropReason::UnexpectedSegment);
            }
            Some(syn) => {
                let isn_after = pending.isn_after;
                self.cancel(env, id, Cancellation::Replaced);
                self.intercepts.present_syn = Some(syn);
                self.intercept_syn(env, tuple, header, isn_after);
            }
            None => env.ctx.count_drop(DropReason::UnexpectedSegment),
        }
    }

    /// Drops a pending connection, and lets the program know if it has heard of it.
    pub(super) fn cancel(&mut self, env: &mut Env<'_>, id: PendingId, why: Cancellation) {
        let Some(pending) = self.forget_pending(env.common, id) else { return };
        let before = core::mem::replace(&mut env.ctx.subject, Subject::Tcp(pending.tuple));
        log::debug!("{}: pending connection cancelled: {why:?}", env.ctx.subject);
        env.ctx.count_drop(match why {
            Cancellation::Reset | Cancellation::Replaced => DropReason::PendingCancelled,
            Cancellation::TimedOut => DropReason::PendingTimeout,
            Cancellation::Evicted => DropReason::InterceptionLimit,
        });
        env.ctx.subject = before;
        if pending.is_seen
            && let Some(interceptor) = self.interceptor_mut(env.common)
        {
            interceptor.cancelled.push_back((id, why));
            self.note_interceptor(env.common, Wakeup::ARRIVAL);
        }
    }

    /// Removes a pending connection from all tables.
    pub(super) fn forget_pending(&mut self, common: &mut Common, id: PendingId) -> Option<PendingSyn> {
        let pending = self.intercepts.table.remove(id)?;
        self.connections.remove(&pending.tuple, Target::Pending(id));
        common.account.change(pending.charge(), 0);
        if !pending.is_seen {
            let Self { intercepts, .. } = self;
            if let Some(interceptor) = intercepts.interceptor.and_then(|id| interceptor_of(common, id)) {
                interceptor.unseen_count -= 1;
                // Entries that are gone are removed when they are the most.
                if interceptor.unseen.len() > 64 + 2 * interceptor.unseen_count {
                    interceptor.unseen.retain(|&id| intercepts.table.get(id).is_some());
                }
                self.note_interceptor(common, Wakeup::NONE);
            }
        }
        Some(pending)
    }

    /// Drops the pending connections whose time is over.
    pub(in crate::socket::tcp) fn expire_pending(&mut self, env: &mut Env<'_>) {
        let timeout = env.ctx.config.interception.pending_timeout;
        for _ in 0..MAX_EXPIRED {
            match self.intercepts.table.oldest() {
                Some((since, id)) if since + timeout <= env.ctx.now => {
                    self.cancel(env, id, Cancellation::TimedOut);
                }
                _ => break,
            }
        }
        self.arm_expiry(env);
    }

    /// Sets the timer to the time-out of the oldest pending connection.
    fn arm_expiry(&mut self, env: &mut Env<'_>) {
        let timeout = env.ctx.config.interception.pending_timeout;
        let expires_at = self.intercepts.table.oldest().map(|(since, _)| since + timeout);
        let Some(id) = self.intercepts.interceptor else { return };
        let Common { records, timers, .. } = &mut *env.common;
        if let Some(interceptor) = records.get_mut(id).and_then(Socket::interceptor_mut) {
            interceptor.expires_at = expires_at;
            timers.arm(&mut interceptor.armed, TimerTarget::Socket(id), expires_at);
        }
    }

    pub(super) fn interceptor_mut<'a>(&self, common: &'a mut Common) -> Option<&'a mut Interceptor> {
        interceptor_of(common, self.intercepts.interceptor?)
    }

    /// Updates the readiness of the interceptor.
    pub(super) fn note_interceptor(&self, common: &mut Common, news: Wakeup) {
        if let Some(id) = self.intercepts.interceptor {
            common.note_readiness(id, news);
        }
    }
}

fn interceptor_of(common: &mut Common, id: SocketId) -> Option<&mut Interceptor> {
    common.records.get_mut(id)?.interceptor_mut()
}

impl Socket {
    /// The state of the socket whose program decides.
    pub(super) fn interceptor_mut(&mut self) -> Option<&mut Interceptor> {
        match &mut self.protocol {
            Protocol::Tcp(TcpSocket::Interceptor(interceptor)) => Some(interceptor),
            _ => None,
        }
    }
}
