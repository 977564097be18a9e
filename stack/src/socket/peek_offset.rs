//! SO_PEEK_OFF: where the next call with MSG_PEEK begins.

use super::common::Common;
use super::kind::SocketKind;
use super::rare_settings::RareSettings;
use super::record::Socket;
use crate::id::SocketId;

impl Socket {
    /// Whether the socket has the option, as on Linux: a stream, UDP, and all sockets of the Unix
    /// domain.
    pub(super) fn has_peek_offset(&self) -> bool {
        matches!(self.kind, SocketKind::Stream | SocketKind::Datagram | SocketKind::SeqPacket)
    }
}

impl Common {
    /// How many bytes a call with MSG_PEEK skips; `None` if the option is off, which is its
    /// default.
    #[inline]
    pub(super) fn peek_offset(&self, id: SocketId) -> Option<usize> {
        if !self.rare.uses(RareSettings::PEEK_OFFSETS) {
            return None;
        }
        usize::try_from(self.records.get(id)?.options.peek_offset).ok()
    }

    /// So many bytes were peeked at: the next call begins behind them.
    pub(super) fn on_peeked(&mut self, id: SocketId, len: usize) {
        self.move_peek_offset(id, |offset, len| offset.saturating_add(len), len);
    }

    /// So many bytes were received: what the next call with MSG_PEEK looks at is closer to the
    /// front.
    #[inline]
    pub(super) fn on_received(&mut self, id: SocketId, len: usize) {
        if self.rare.uses(RareSettings::PEEK_OFFSETS) {
            self.move_peek_offset(id, |offset, len| (offset - len).max(0), len);
        }
    }

    #[cold]
    fn move_peek_offset(&mut self, id: SocketId, moved: impl FnOnce(i32, i32) -> i32, len: usize) {
        let Some(offset) = self.peek_offset(id).filter(|_| len > 0) else { return };
        let Some(socket) = self.records.get_mut(id) else { return };
        let [offset, len] = [offset, len].map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX));
        socket.options.peek_offset = moved(offset, len);
    }
}
