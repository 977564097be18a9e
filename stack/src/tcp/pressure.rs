//! How a connection gives memory back when the stack is short of it. It offers a smaller window,
//! and gives memory back step by step. Data that `send` accepted or that was acknowledged stays,
//! until the connection itself is reset.

use super::sender::clamp_send_buffer;
use super::{Connection, FreeList, SeqNumber, State};
use crate::Ctx;
use crate::error::CloseReason;
use crate::memory::Held;
use crate::time::Instant;

/// The smallest send buffer that pressure leaves (Linux's SOCK_MIN_SNDBUF is near it).
const MIN_SEND_BUFFER: usize = 4096;

impl Connection {
    /// Whether there is memory for a segment's `len` bytes at `seq` (Linux's
    /// tcp_try_rmem_schedule). If not, only the data is dropped; the segment's ACK is already
    /// processed.
    pub(super) fn has_memory_for(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, len: usize) -> bool {
        if ctx.memory.is_plenty(len) {
            return true;
        }
        let has_memory = self.find_memory_for(ctx, seq, len);
        if has_memory {
            ctx.memory.take(len);
        }
        has_memory
    }

    fn find_memory_for(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, len: usize) -> bool {
        if ctx.memory.is_pressed() {
            self.rcv.narrow_window(ctx.memory.window());
        }
        let is_next = seq.before_eq(self.rcv.nxt);
        if is_next && self.rcv.queue().is_empty() && ctx.memory.is_last_resort(len) {
            // The data is next in order, and other data waits for it (Linux's
            // sk_forced_mem_schedule).
            return true;
        }
        if len <= ctx.memory.room(self.held_to_receive()) {
            return true;
        }
        // Linux's tcp_prune_ofo_queue: the peer still has unacknowledged data.
        let pruned = self.rcv.prune(seq, len);
        if pruned > 0 {
            log::debug!("{}: memory is short, {pruned} out-of-order bytes discarded", ctx.subject);
            ctx.stats.memory.pruned_bytes += pruned as u64;
            ctx.memory.give_back(pruned);
        }
        len <= ctx.memory.room(self.held_to_receive())
    }

    fn held_to_receive(&self) -> Held {
        Held { here: self.rcv.memory_bytes(), in_all: self.memory_bytes() }
    }

    /// How many bytes the memory account lets the program queue. The floor counts only data and not
    /// unused room in allocations; otherwise a program could be refused before its buffer is full.
    pub(crate) fn memory_to_send(&self, ctx: &Ctx<'_>) -> usize {
        let in_all = self.snd.queue.memory_bytes() + self.rcv.memory_bytes();
        ctx.memory.room(Held { here: self.snd.queue.len(), in_all })
    }

    /// Shrinks the send buffer when there is no memory for more data. Returns whether the program
    /// can wait for room: the buffer shrinks to half of what is queued, so that acknowledgements
    /// make room. (Linux's sk_stream_moderate_sndbuf does not shrink a buffer that the program has
    /// set, so the program spins.) With an empty queue there is nothing to wait for.
    pub(crate) fn shrink_send_buffer(&mut self) -> bool {
        let queued = self.snd.queue.len();
        if queued == 0 {
            return false;
        }
        self.limit_send_buffer((queued / 2).max(MIN_SEND_BUFFER).min(queued));
        true
    }

    /// Restores the smallest send buffer after the queue has drained, while memory is still short.
    pub(super) fn restore_least_send_buffer(&mut self) {
        if self.snd.queue.len() == 0 {
            let least = clamp_send_buffer(MIN_SEND_BUFFER.min(self.settings.send_buffer_bytes));
            self.snd.buffer_bytes = self.snd.buffer_bytes.max(least);
        }
    }

    fn limit_send_buffer(&mut self, most: usize) {
        self.snd.buffer_bytes = self.snd.buffer_bytes.min(clamp_send_buffer(most));
    }

    /// Frees capacity that holds no data: empty buffers, and lists and allocations that are too
    /// large.
    pub(crate) fn give_back_capacity(&mut self) {
        self.snd.queue.give_back_capacity();
        self.rcv.give_back_capacity();
        self.flight.scoreboard.give_back_capacity();
    }

    /// Discards out-of-order data, which the peer still has (RFC 2018 §8, RFC2018-8-a). Returns how
    /// many bytes that were.
    pub(crate) fn give_back_out_of_order(&mut self) -> usize {
        self.rcv.prune_all()
    }

    /// Takes back what auto-tuning granted beyond the floor. Queued data stays; the queues take no
    /// more until they have drained to the floor.
    pub(crate) fn give_back_buffers(&mut self, ctx: &Ctx<'_>) {
        self.limit_send_buffer(MIN_SEND_BUFFER);
        self.rcv.narrow_window(ctx.memory.window());
    }

    /// Bytes that have left the queues: acknowledged by the peer, or read by the program. Wraps.
    pub(crate) fn drained(&self) -> u32 {
        self.snd.una.0.wrapping_add(self.rcv.read_to().0)
    }

    /// Whether a queue holds data that waits for the peer or the program.
    pub(crate) fn holds_data(&self) -> bool {
        self.snd.queue.len() > 0 || !self.rcv.queue().is_empty() || self.rcv.has_gaps()
    }

    /// When data last moved in either direction, as far as known. A retransmission does not count.
    pub(crate) fn last_moved_at(&self) -> Instant {
        let sent_at =
            if self.is_unanswered() { self.retries.unanswered_since } else { self.last.data_sent_at };
        sent_at.max(self.rcv.acks.last_data_at())
    }

    /// Ends the connection with a reset and frees its memory, which others need.
    pub(crate) fn give_up_for_memory(&mut self, ctx: &mut Ctx<'_>) {
        self.reset_peer();
        self.rcv.queue_mut().clear();
        (self.rcv.sizing, self.path.search) = (None, None);
        self.end(ctx, CloseReason::NoMemory, "no memory");
    }

    /// Gives empty queues and an empty scoreboard to the free list.
    pub(super) fn release_idle(&mut self, free_list: &mut FreeList) {
        if let Some(scoreboard) = self.flight.scoreboard.take_idle() {
            free_list.give_scoreboard(scoreboard);
        }
        if let Some(queue) = self.snd.queue.take_idle() {
            free_list.give_queue(queue);
        }
        if let Some(queue) = self.rcv.queue_mut().take_idle() {
            free_list.give_queue(queue);
        }
    }

    /// Whether the connection is still open, so that it can be reset.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Closed | State::TimeWait)
    }
}
