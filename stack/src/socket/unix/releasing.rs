//! Releasing the sockets of messages that nobody can receive.

use alloc::vec::Vec;

use super::UnixSockets;
use crate::id::SocketId;
use crate::socket::common::Env;
use crate::socket::record::Socket;
use crate::time::Instant;

impl UnixSockets {
    /// When sockets are to be released or searched for.
    pub(in crate::socket) fn due_at(&self, now: Instant) -> Option<Instant> {
        self.rights.due_at(now)
    }

    /// Notes that a descriptor of a socket is gone.
    pub(in crate::socket) fn on_release(&mut self, env: &Env<'_>, id: SocketId) {
        self.rights.on_release(env.common, env.ctx.now, id);
    }

    /// Does a piece of the work that is left. Returns a socket that the caller must release.
    pub(in crate::socket) fn next_to_release(&mut self, env: &mut Env<'_>) -> Option<SocketId> {
        if let Some(id) = self.rights.next_dropped() {
            return Some(id);
        }
        if let Some(id) = self.rights.next_garbage() {
            self.empty(env, id);
            let pending: Vec<SocketId> = env
                .common
                .record(id)
                .and_then(Socket::unix)
                .map_or_else(|_| Vec::new(), |unix| unix.pending.iter().copied().collect());
            for id in pending {
                self.empty(env, id);
            }
        } else {
            self.rights.search(env.common);
        }
        self.rights.next_dropped()
    }
}
