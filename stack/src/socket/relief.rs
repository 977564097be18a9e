//! What sockets give back while memory is short, and in which order.
//!
//! [`Account::shortage`](crate::memory::Account::shortage) determines how many of these steps are
//! taken:
//!
//! 1. capacity that holds no data;
//! 2. data that arrived out of order: the peer still has it;
//! 3. buffer sizes that auto-tuning granted beyond the floor, on connections that hold more than
//!    their share;
//! 4. whole connections, the worst of [`Holdings`](super::holdings::Holdings) first. Nothing else
//!    would make room for new ones: the rest is data that `send` took or that was acknowledged.
//!
//! Every call into the stack does a small part of the work: it checks a few sockets, in turn, and
//! resets a few connections. (In Linux, 1 and 2 are tcp_prune_queue, for one socket at a time; 3 is
//! tcp_under_memory_pressure; 4 exists only for orphans, tcp_check_oom.)

use core::time::Duration;

use super::common::Common;
use super::holdings::{MemoryUse, Peer};
use super::state::Holding;
use crate::Ctx;
use crate::id::SocketId;
use crate::memory::{Budget, Shortage};
use crate::time::Instant;

/// How many sockets one call checks. A round over 50,000 sockets takes 6,250 calls. As many
/// segments fill less than a third of the distance between the marks of the default limit.
const LOOKS: usize = 8;
/// How many entries one call removes from the index once memory is no longer short.
const MAX_FORGOTTEN: usize = 32;

impl Common {
    /// Whether [`relieve`](Common::relieve) must be called: memory is short, or the consequences of
    /// a shortage have not been cleared.
    #[inline]
    pub(super) fn needs_relief(&self) -> bool {
        self.account.is_watched()
    }

    /// Does a bounded part of what is due while memory is short, except for resets. The caller then
    /// resets [`next_to_reset`](Common::next_to_reset), and calls
    /// [`finish_relief`](Common::finish_relief).
    pub(super) fn relieve(&mut self, ctx: &mut Ctx<'_>) {
        ctx.stats.memory.pressures = self.account.pressures();
        if self.account.is_pressed() {
            for _ in 0..LOOKS.min(self.records.len()) {
                self.look_at_next(ctx);
            }
        } else {
            self.relief.holdings.forget_some(MAX_FORGOTTEN);
            if self.relief.holdings.is_empty() {
                self.relief.hand = 0;
                self.account.stop_watching();
            }
        }
    }

    /// Updates the account of the index, and the budget.
    pub(super) fn finish_relief(&mut self, ctx: &mut Ctx<'_>) {
        let bytes = self.relief.holdings.memory_bytes();
        self.account.renew(&mut self.relief.charged_bytes, bytes);
        ctx.memory = self.budget();
    }

    /// What a call on this connection may take while memory is short.
    #[cold]
    pub(super) fn budget_of(&mut self, now: Instant, id: SocketId) -> Budget {
        self.look_at(now, id);
        let high = self.account.high();
        match self.relief.holdings.sharers(id, high) {
            Some(sharers) => self.budget().divided(high, sharers),
            None => self.budget().of_reserve(),
        }
    }

    /// Enters a connection into the index, or updates its entry.
    fn look_at(&mut self, now: Instant, id: SocketId) {
        let socket = self.records.get(id);
        match socket.and_then(|socket| Some((socket, socket.protocol.state().holding()?))) {
            Some((socket, Holding { peer, scope, holds_data, drained, moved_at })) => {
                let used = MemoryUse { bytes: socket.charged_bytes, holds_data, drained, moved_at };
                self.relief.holdings.update(now, id, Peer::of(peer, scope), used);
            }
            None => self.relief.holdings.forget(id),
        }
    }

    /// Checks the next socket: enters it into the index, and lets it give back what is due.
    fn look_at_next(&mut self, ctx: &mut Ctx<'_>) {
        if self.relief.hand >= self.records.slots() {
            self.relief.hand = 0;
            ctx.free_list.clear();
            // All sockets were checked, so it is known which peers hold the most.
            self.log_pressure(ctx.now);
        }
        let id = self.records.id_of(self.relief.hand);
        self.relief.hand += 1;
        if let Some(id) = id {
            self.look_at(ctx.now, id);
            self.give_back(ctx, id);
        }
    }

    fn give_back(&mut self, ctx: &mut Ctx<'_>, id: SocketId) {
        let shortage = self.account.shortage();
        let is_over_share = self.relief.holdings.is_over_share(id, self.account.high());
        let Some(socket) = self.records.get_mut(id) else { return };
        socket.protocol.state_mut().give_back(ctx, shortage, is_over_share);
        let bytes = socket.charge();
        self.account.renew(&mut socket.charged_bytes, bytes);
        if is_over_share {
            // A smaller buffer has less room, so the readiness may change.
            socket.renew_readiness();
        }
    }

    /// The connection to be reset next; `None` while there is room in the reserve.
    pub(super) fn next_to_reset(&mut self, now: Instant) -> Option<SocketId> {
        if self.account.shortage() < Shortage::Connections {
            return None;
        }
        let id = self.find_worst(now)?;
        self.log_reset(now, id);
        self.relief.holdings.forget(id);
        Some(id)
    }

    /// Finds the connection to be reset. Connections that made progress since they were last
    /// checked are entered again, but only a few in one call.
    fn find_worst(&mut self, now: Instant) -> Option<SocketId> {
        for _ in 0..LOOKS {
            let id = self.relief.holdings.worst(now)?;
            let since = self.relief.holdings.stalled_since(id);
            self.look_at(now, id);
            if self.relief.holdings.stalled_since(id) == since {
                return Some(id);
            }
        }
        None
    }

    fn log_pressure(&mut self, now: Instant) {
        if self.account.is_pressed() && self.relief.pressure_line.is_due(now, self.account.pressures()) {
            log::warn!(
                "memory is short: sockets hold {} of {} KiB{}. Buffers shrink; if that is not enough, connections without \
                 progress are reset. Raise Config::memory_limit_bytes, or find out why these connections do not drain",
                self.account.bytes() >> 10,
                self.account.high() >> 10,
                self.describe_largest(),
            );
        }
    }

    fn log_reset(&mut self, now: Instant, id: SocketId) {
        if !self.relief.reset_line.is_due(now, self.account.pressures()) {
            return;
        }
        let Some(flow) = self.records.get(id).and_then(|socket| socket.protocol.state().flow()) else {
            return;
        };
        let stalled =
            self.relief.holdings.stalled_since(id).map_or(Duration::ZERO, |at| now.duration_since(at));
        log::warn!(
            "memory is used up: sockets hold {} KiB, more than the limit of {}{}. Connections are reset, first the one with {}, \
             which made no progress for {} s (counted in memory.stalled_resets)",
            self.account.bytes() >> 10,
            self.account.high() >> 10,
            self.describe_largest(),
            flow.remote_addr(),
            stalled.as_secs(),
        );
    }

    /// The peer that holds the most, as a part of a sentence.
    fn describe_largest(&self) -> alloc::string::String {
        self.relief.holdings.largest().map_or_else(alloc::string::String::new, |sum| {
            alloc::format!(
                ", of which {} holds {} KiB in {} connections",
                sum.peer,
                sum.bytes >> 10,
                sum.connections
            )
        })
    }
}

#[cfg(test)]
mod tests;
