//! Urgent data of streams (MSG_OOB), as in Linux's `manage_oob` and `unix_stream_recv_urg`: the
//! last byte of a call with MSG_OOB is a message of its own in the queue.

use bytes::Bytes;

use super::UnixSockets;
use super::state::{UnixSocket, UnixStage};
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::message_flags::ReceivedFlags;
use crate::socket::common::Env;
use crate::socket::kind::SocketKind;
use crate::socket::message::Received;

impl UnixSocket {
    /// Whether the front of the queue is a mark: the place of an urgent byte that was received.
    fn has_mark_in_front(&self) -> bool {
        self.queue.front().is_some_and(|front| front.data.is_empty())
    }

    /// SIOCATMARK of a stream. A receive that has data ends here.
    pub(in crate::socket) fn is_at_mark(&self) -> bool {
        match self.urgent {
            Some(at) => at == usize::from(self.has_mark_in_front()),
            None => self.has_mark_in_front(),
        }
    }

    /// The place from which a peek goes on that has come to `at`: a mark is passed, and urgent data
    /// that is not read with the rest. `None` at the end of the queue, and where a peek that has
    /// data ends.
    pub(super) fn peek_beyond_mark(&self, mut at: usize, has_data: bool, is_inline: bool) -> Option<usize> {
        if self.queue.get(at)?.data.is_empty() {
            if has_data && self.urgent.is_none() {
                return None;
            }
            at += 1;
        }
        if self.urgent == Some(at) {
            if has_data {
                return None;
            }
            at += usize::from(!is_inline);
        }
        self.queue.get(at).map(|_| at)
    }
}

impl UnixSockets {
    /// Takes the mark off the front of a stream's queue, and the urgent byte unless it is read with
    /// the rest. Returns whether a receive may take what is in front now; not so at the end of the
    /// queue, and where a receive that has data ends.
    pub(super) fn pass_mark(&mut self, env: &mut Env<'_>, id: SocketId, has_data: bool) -> Result<bool> {
        let socket = env.common.record_mut(id)?;
        let is_inline = socket.options.oob_inline;
        let unix = socket.unix_mut()?;
        if unix.queue.is_empty() || has_data && unix.is_at_mark() {
            return Ok(false);
        }
        if unix.has_mark_in_front() {
            self.drop_front(env, id)?;
        }
        let unix = env.common.record_mut(id)?.unix_mut()?;
        if unix.urgent == Some(0) {
            unix.urgent = None;
            if !is_inline {
                self.drop_front(env, id)?;
            }
        }
        Ok(!env.common.record(id)?.unix()?.queue.is_empty())
    }

    fn drop_front(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        if let Some(message) = env.common.record_mut(id)?.unix_mut()?.pop() {
            self.credit(env, message.from, message.cost);
            self.discard(env, message.rights);
        }
        Ok(())
    }

    /// Receives the urgent byte. As on Linux descriptors that came with it are lost. EINVAL if
    /// there is none, or if it is read with the rest.
    pub(super) fn receive_urgent(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        peeks: bool,
    ) -> Result<Received> {
        let socket = env.common.record_mut(id)?;
        let is_inline = socket.options.oob_inline;
        let unix = socket.unix_mut()?;
        match unix.kind {
            SocketKind::Stream => {}
            SocketKind::SeqPacket if unix.stage != UnixStage::Connected => return Err(Error::NotConnected),
            _ => return Err(Error::NotSupported),
        }
        let is_wanted = unix.stage == UnixStage::Connected && !is_inline;
        let at = unix.urgent.filter(|_| is_wanted).ok_or(Error::InvalidArgument)?;
        let message = &mut unix.queue[at];
        let mut received = Received { flags: ReceivedFlags::OOB, ..Received::default() };
        match (bufs.iter_mut().find_map(|buf| buf.first_mut()), message.data.first()) {
            (Some(place), Some(&byte)) => (*place, received.len) = (byte, 1),
            _ => received.flags = received.flags | ReceivedFlags::TRUNCATED,
        }
        if !peeks {
            unix.queued_len -= message.data.len();
            message.data = Bytes::new();
            unix.urgent = None;
            self.join_marks(env, id, at)?;
            env.common.settle(id, Wakeup::NONE);
        }
        Ok(received)
    }

    /// Takes the mark in front of another one off the queue.
    fn join_marks(&mut self, env: &mut Env<'_>, id: SocketId, at: usize) -> Result<()> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        let Some(before) = at.checked_sub(1) else { return Ok(()) };
        if unix.queue[before].data.is_empty()
            && let Some(message) = unix.queue.remove(before)
        {
            unix.queued_cost -= message.cost;
            self.credit(env, message.from, message.cost);
            self.discard(env, message.rights);
        }
        Ok(())
    }
}
