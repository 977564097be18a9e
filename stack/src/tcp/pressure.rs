//! What a connection does when the stack runs out of memory: nothing that it has promised is taken back, yet it promises
//! less, and gives up first what the peer has to send again anyway.

use super::connection::clamp_send_buffer;
use super::{Connection, SeqNumber};
use crate::Ctx;
use crate::memory::Held;

/// The smallest send buffer that pressure leaves (Linux's SOCK_MIN_SNDBUF is near it).
const MIN_SEND_BUFFER: usize = 4096;

impl Connection {
    /// Whether there is memory for a segment's `len` bytes that begin at `seq` (Linux's tcp_try_rmem_schedule). If not,
    /// the data is dropped, and nothing but the data: its acknowledgement has been looked at.
    pub(super) fn has_memory_for(&mut self, ctx: &mut Ctx<'_>, seq: SeqNumber, len: usize) -> bool {
        if ctx.memory.is_plenty(len) {
            return true;
        }
        if ctx.memory.is_pressed() {
            self.rcv.narrow_window();
        }
        let is_next = seq.before_eq(self.rcv.nxt);
        if is_next && self.rcv.queue().is_empty() && ctx.memory.is_last_resort(len) {
            // Whatever else it holds waits for this (Linux's sk_forced_mem_schedule).
            return true;
        }
        if len <= ctx.memory.room(self.held_to_receive()) {
            return true;
        }
        // Linux's tcp_prune_ofo_queue: the peer keeps what was not acknowledged.
        let pruned = self.rcv.prune(seq, len);
        if pruned > 0 {
            log::debug!("tcp forgets {pruned} bytes that came out of order: the memory is short");
            ctx.stats.tcp_pruned_bytes += pruned as u64;
            ctx.memory.give_back(pruned);
        }
        len <= ctx.memory.room(self.held_to_receive())
    }

    fn held_to_receive(&self) -> Held {
        Held { here: self.rcv.memory_bytes(), in_all: self.memory_bytes() }
    }

    /// What the account lets the program queue.
    pub(crate) fn memory_to_send(&self, ctx: &Ctx<'_>) -> usize {
        let here = self.snd.queue.memory_bytes();
        ctx.memory.room(Held { here, in_all: here + self.rcv.memory_bytes() })
    }

    /// There is no memory for more. Whether the program may wait for it: its buffer shrinks to half of what is queued, so
    /// that acknowledgements make room (Linux's sk_stream_moderate_sndbuf). A program that has chosen its buffer, or has
    /// nothing queued, has nothing to wait for.
    pub(crate) fn shrink_send_buffer(&mut self) -> bool {
        let queued = self.snd.queue.len();
        if !self.settings.auto_send_buffer || queued < MIN_SEND_BUFFER {
            return false;
        }
        let most = (queued / 2).max(MIN_SEND_BUFFER);
        self.send_buffer_bytes = self.send_buffer_bytes.min(clamp_send_buffer(most));
        !self.has_send_room()
    }
}
