//! Sending and receiving.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes};

use super::UnixSockets;
use super::names::Names;
use super::state::{PassedSockets, QueuedMessage, Scatter, UnixStage, cost};
use crate::bpf::PacketView;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::socket::address::UnixAddr;
use crate::socket::common::{Common, Env};
use crate::socket::credentials::Credentials;
use crate::socket::datagram_queue::copy_into;
use crate::socket::kind::SocketKind;
use crate::socket::protocol::SendData;
use crate::socket::rare_settings::RareSettings;
use crate::socket::record::Socket;

/// The longest piece of a stream that is queued as one, as on Linux (`SKB_MAX_ALLOC` and
/// `UNIX_SKB_FRAGS_SZ`).
const MAX_PIECE: usize = 48_832;

/// What Linux keeps of the send buffer when it checks the length of a message.
const MESSAGE_RESERVE: usize = 32;

/// What a call has received.
#[derive(Debug, Default)]
pub(super) struct UnixReceived {
    pub(super) len: usize,
    /// The length of the whole message; of a stream, the same as `len`.
    pub(super) message_len: usize,
    /// The name of the sender, and its credentials; `None` at the end of a stream.
    pub(super) from: Option<(UnixAddr, Credentials)>,
    pub(super) passed: Vec<SocketId>,
}

impl SendData<'_> {
    /// A part of the data. A slice is copied here.
    fn part(&self, from: usize, len: usize) -> Bytes {
        match self {
            SendData::Slice(slice) => Bytes::copy_from_slice(&slice[from..from + len]),
            SendData::Slices(slices) => {
                let (mut part, mut skip) = (Vec::with_capacity(len), from);
                for slice in *slices {
                    let behind = &slice[skip.min(slice.len())..];
                    skip -= slice.len() - behind.len();
                    part.extend_from_slice(&behind[..behind.len().min(len - part.len())]);
                }
                part.into()
            }
            SendData::Bytes(bytes) => bytes.slice(from..from + len),
        }
    }
}

impl UnixSockets {
    /// Sends data, and passes the sockets of descriptors on.
    pub(super) fn send_message(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: &SendData<'_>,
        to: Option<&UnixAddr>,
        passed: &[SocketId],
        is_urgent: bool,
    ) -> Result<usize> {
        let mut held = None;
        if !passed.is_empty() {
            let (owner, limit) = (env.common.caller, env.ctx.config.unix.max_in_flight);
            held = Some(self.rights.pass(env.common, owner, passed, limit)?);
        }
        let unix = env.common.record(id)?.unix()?;
        let sent = match unix.kind {
            SocketKind::Stream => self.send_stream(env, id, data, to, &mut held, is_urgent),
            SocketKind::Datagram if is_urgent => Err(Error::NotSupported),
            SocketKind::Datagram => self.send_datagram(env, id, data, to, &mut held),
            _ => match unix.error {
                None if unix.stage != UnixStage::Connected => Err(Error::NotConnected),
                None if is_urgent => Err(Error::NotSupported),
                _ => self.send_datagram(env, id, data, None, &mut held),
            },
        };
        if let Some(held) = held {
            for id in self.rights.land(env.common, held) {
                // Not the last holder: the caller has a descriptor.
                if let Ok(socket) = env.common.record_mut(id) {
                    socket.holders = socket.holders.minus_one();
                }
            }
        }
        sent
    }

    fn send_stream(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: &SendData<'_>,
        to: Option<&UnixAddr>,
        held: &mut Option<PassedSockets>,
        is_urgent: bool,
    ) -> Result<usize> {
        if is_urgent && data.len() == 0 {
            return Err(Error::NotSupported);
        }
        let socket = env.common.record(id)?;
        let (unix, buffer) = (socket.unix()?, socket.options.send_buffer);
        if to.is_some() {
            let is_connected = unix.stage == UnixStage::Connected;
            return Err(if is_connected { Error::IsConnected } else { Error::NotSupported });
        }
        let peer = unix.peer.ok_or(Error::NotConnected)?;
        if unix.is_write_shut {
            return Err(Error::BrokenPipe);
        }
        let most = (buffer / 2).saturating_sub(64).clamp(1, MAX_PIECE);
        let mut sent = 0;
        while sent < data.len() {
            let ready = self.check_sender(env, id).and_then(|()| match env.common.record(peer) {
                Ok(other) if !other.unix()?.is_read_shut => Ok(()),
                _ => Err(Error::BrokenPipe),
            });
            // The last byte, if it is urgent, is a piece of its own.
            let is_last = is_urgent && sent + 1 == data.len();
            let before_last = data.len() - usize::from(is_urgent && !is_last);
            let len = (before_last - sent).min(most);
            let part = || data.part(sent, len);
            match ready.and_then(|()| self.deliver(env, id, peer, part, held, is_last)) {
                Ok(()) => sent += len,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send_datagram(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: &SendData<'_>,
        to: Option<&UnixAddr>,
        held: &mut Option<PassedSockets>,
    ) -> Result<usize> {
        let socket = env.common.record(id)?;
        let unix = socket.unix()?;
        let (kind, peer, buffer) = (unix.kind, unix.peer, socket.options.send_buffer);
        if unix.passes_credentials && unix.name.is_unnamed() {
            self.autobind(env, id)?;
        }
        if data.len() > buffer.saturating_sub(MESSAGE_RESERVE) {
            return Err(Error::MessageTooLong);
        }
        self.check_sender(env, id)?;
        let receiver = match (to, peer) {
            (Some(name), _) => self.find(env, name, kind)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Error::NotConnected),
        };
        let Ok(other) = env.common.record(receiver).and_then(Socket::unix) else {
            if kind != SocketKind::Datagram {
                return Err(Error::BrokenPipe);
            }
            self.dissolve(env, id)?;
            return Err(Error::ConnectionRefused);
        };
        let (is_for_another, is_read_shut) = (other.peer.is_some_and(|peer| peer != id), other.is_read_shut);
        let is_full = other.is_full_for(receiver, id);
        // As on Linux the sender is not told of a datagram that the filter drops.
        let Some(kept) = filtered(env, receiver, data) else { return Ok(data.len()) };
        if is_for_another {
            return Err(Error::NotPermitted);
        }
        if is_read_shut {
            return Err(Error::BrokenPipe);
        }
        if is_full {
            self.stall(env, id, receiver);
            return Err(Error::WouldBlock);
        }
        self.deliver(env, id, receiver, || data.part(0, kept), held, false)?;
        // A connected sender that has filled the queue is not writable.
        if env.common.wait_for_peer(id) {
            env.common.note_readiness(id, Wakeup::NONE);
        }
        Ok(data.len())
    }

    /// The pending error, EPIPE or EAGAIN if a socket cannot send now.
    fn check_sender(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        if let Some(error) = socket.unix_mut()?.error.take() {
            env.common.note_readiness(id, Wakeup::NONE);
            return Err(error);
        }
        let unix = socket.unix()?;
        if unix.is_write_shut {
            return Err(Error::BrokenPipe);
        }
        if !unix.has_room_to_send(&socket.options) {
            return Err(Error::WouldBlock);
        }
        Ok(())
    }

    /// Puts a message into the queue of its receiver. ENOBUFS.
    fn deliver(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        receiver: SocketId,
        data: impl FnOnce() -> Bytes,
        held: &mut Option<PassedSockets>,
        is_urgent: bool,
    ) -> Result<()> {
        let credentials = env.common.owners.credentials(env.common.caller)?;
        let queued = env.common.record(receiver)?.unix()?.queued_cost;
        let data = data();
        let cost = cost(data.len());
        if cost > env.common.account.room_for_datagram(queued) {
            return Err(Error::NoBufferSpace);
        }
        let sender = env.common.record_mut(id)?.unix_mut()?;
        sender.outgoing_cost += cost;
        let rights = held.take().map(Box::new);
        let message = QueuedMessage { data, from: id, credentials, rights, cost, is_peeked: false };
        let other = env.common.record_mut(receiver)?.unix_mut()?;
        if is_urgent {
            other.urgent = Some(other.queue.len());
        }
        other.push(message);
        env.common.note_readiness(id, Wakeup::NONE);
        env.common.settle(receiver, Wakeup::ARRIVAL);
        Ok(())
    }

    /// Notes that this socket waits for room in the queue of a receiver.
    pub(super) fn stall(&mut self, env: &mut Env<'_>, id: SocketId, receiver: SocketId) {
        env.common.wait_at(id, receiver);
        env.common.note_readiness(id, Wakeup::NONE);
    }

    /// Wakes the sockets that wait for room in the queue of this one.
    pub(super) fn wake_stalled(&mut self, env: &mut Env<'_>, receiver: SocketId) {
        let Ok(unix) = env.common.record_mut(receiver).and_then(Socket::unix_mut) else { return };
        for id in mem::take(&mut unix.stalled) {
            self.wake(env, receiver, id);
        }
    }

    /// Wakes a socket that was taken out of the list of this receiver.
    pub(super) fn wake(&mut self, env: &mut Env<'_>, receiver: SocketId, id: SocketId) {
        if let Ok(unix) = env.common.record_mut(id).and_then(Socket::unix_mut) {
            unix.stalled_at.remove(&receiver);
            env.common.note_readiness(id, Wakeup::ROOM);
        }
    }

    /// Receives into `bufs`.
    pub(super) fn receive_into(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
    ) -> Result<UnixReceived> {
        if !self.check_receiver(env, id)? {
            return Ok(UnixReceived::default());
        }
        let received = match env.common.record(id)?.unix()?.kind {
            SocketKind::Stream => self.receive_stream(env, id, bufs)?,
            _ => {
                let message = self.receive_one(env, id)?;
                let len = copy_into(&message.data, bufs);
                self.take_message(env, message, len)
            }
        };
        env.common.on_received(id, received.message_len);
        Ok(received)
    }

    /// Receives one message, or a piece of a stream of at most `max` bytes, without a copy.
    pub(super) fn receive_slice(&mut self, env: &mut Env<'_>, id: SocketId, max: usize) -> Result<Bytes> {
        if !self.check_receiver(env, id)? {
            return Ok(Bytes::new());
        }
        let is_stream = env.common.record(id)?.unix()?.kind == SocketKind::Stream;
        if is_stream && !self.has_data_behind_mark(env, id)? {
            return Ok(Bytes::new());
        }
        let unix = env.common.record_mut(id)?.unix_mut()?;
        let front = unix.queue.front_mut().ok_or(Error::WouldBlock)?;
        unix.last_slice = front.rights.is_none().then_some(front.credentials);
        if unix.kind == SocketKind::Stream && front.data.len() > max {
            let data = front.data.split_to(max);
            unix.queued_len -= max;
            let rights = front.rights.take();
            self.discard(env, rights);
            env.common.on_received(id, max);
            env.common.settle(id, Wakeup::NONE);
            return Ok(data);
        }
        let message = self.receive_one(env, id)?;
        env.common.on_received(id, message.data.len());
        let mut data = message.data.clone();
        data.truncate(max);
        let received = self.take_message(env, message, data.len());
        self.rights.drop(received.passed);
        Ok(data)
    }

    /// Begins to receive from a stream. If a mark or an urgent byte was all that the queue had, the
    /// result is that of an empty queue.
    fn has_data_behind_mark(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<bool> {
        if self.pass_mark(env, id, false)? {
            return Ok(true);
        }
        env.common.settle(id, Wakeup::NONE);
        self.check_receiver(env, id)
    }

    /// As [`UnixSocket::check_receiver`].
    fn check_receiver(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<bool> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        let had_error = unix.error.is_some();
        let checked = unix.check_receiver();
        if had_error {
            env.common.note_readiness(id, Wakeup::NONE);
        }
        checked
    }

    /// Copies what is queued, up to the end of a piece that passes descriptors on, and not across
    /// credentials if the socket asked for them.
    fn receive_stream(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
    ) -> Result<UnixReceived> {
        let mut received = UnixReceived::default();
        let mut to = Scatter::new(bufs);
        if !self.has_data_behind_mark(env, id)? {
            return Ok(received);
        }
        if let Some(front) = env.common.record(id)?.unix()?.queue.front() {
            let name = name_of(env.common, &self.names, front.from);
            received.from = Some((name, front.credentials));
        }
        loop {
            let unix = env.common.record_mut(id)?.unix_mut()?;
            let Some(front) = unix.queue.front_mut() else { break };
            let is_same = received.from.as_ref().is_some_and(|(_, first)| *first == front.credentials);
            if unix.passes_credentials && !is_same {
                break;
            }
            let len = to.copy(&front.data);
            let rights = front.rights.take();
            let is_last = rights.is_some();
            if len < front.data.len() {
                front.data.advance(len);
                unix.queued_len -= len;
            } else if let Some(message) = unix.pop() {
                self.credit(env, message.from, message.cost);
            }
            if let Some(passed) = rights {
                received.passed = self.rights.land(env.common, *passed);
            }
            if is_last || to.is_full() || !self.pass_mark(env, id, to.copied > 0)? {
                break;
            }
        }
        (received.len, received.message_len) = (to.copied, to.copied);
        env.common.settle(id, Wakeup::NONE);
        Ok(received)
    }

    /// Takes the first message off the queue.
    fn receive_one(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<QueuedMessage> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        let message = unix.pop().ok_or(Error::WouldBlock)?;
        if unix.queue.len() <= unix.max_datagrams {
            self.wake_stalled(env, id);
        }
        env.common.settle(id, Wakeup::NONE);
        Ok(message)
    }

    fn take_message(&mut self, env: &mut Env<'_>, message: QueuedMessage, len: usize) -> UnixReceived {
        let QueuedMessage { data, from, credentials, rights, cost, is_peeked: _ } = message;
        let from_name = name_of(env.common, &self.names, from);
        self.credit(env, from, cost);
        let passed = rights.map_or_else(Vec::new, |passed| self.rights.land(env.common, *passed));
        UnixReceived { len, message_len: data.len(), from: Some((from_name, credentials)), passed }
    }

    /// A message has left its queue: its sender may send more.
    pub(super) fn credit(&mut self, env: &mut Env<'_>, from: SocketId, cost: usize) {
        let Ok(sender) = env.common.record_mut(from).and_then(Socket::unix_mut) else {
            self.names.credit_departed(from, cost);
            return;
        };
        sender.outgoing_cost -= cost;
        env.common.note_readiness(from, Wakeup::NONE);
        // As Linux's unix_write_space.
        if env.common.record(from).is_ok_and(|socket| socket.readiness().writable) {
            env.common.pollers.wake(from, Wakeup::ROOM);
        }
    }

    pub(super) fn discard(&mut self, env: &mut Env<'_>, rights: Option<Box<PassedSockets>>) {
        if let Some(passed) = rights {
            let sockets = self.rights.land(env.common, *passed);
            self.rights.drop(sockets);
        }
    }

    /// Discards what waits to be received. The sockets that it passes on wait to be released.
    pub(super) fn empty(&mut self, env: &mut Env<'_>, id: SocketId) {
        while let Ok(unix) = env.common.record_mut(id).and_then(Socket::unix_mut)
            && let Some(mut message) = unix.pop()
        {
            self.credit(env, message.from, message.cost);
            self.discard(env, message.rights.take());
        }
        self.wake_stalled(env, id);
        env.common.settle(id, Wakeup::NONE);
    }
}

/// How many bytes the receiver's filter, if it has one, keeps of a datagram; `None` if it drops the
/// datagram.
fn filtered(env: &mut Env<'_>, receiver: SocketId, data: &SendData<'_>) -> Option<usize> {
    if !env.common.rare.uses(RareSettings::FILTERS) {
        return Some(data.len());
    }
    let Some(filter) = env.common.filter_of(receiver) else { return Some(data.len()) };
    let whole = data.part(0, data.len());
    match filter.run(&PacketView::new(&whole), &mut || env.ctx.rng.next_u32()) {
        0 => None,
        kept => Some(whole.len().min(kept as usize)),
    }
}

/// The name of the sender of a message, which may be gone. As on Linux it is that at the time when
/// the message is received.
fn name_of(common: &Common, names: &Names, from: SocketId) -> UnixAddr {
    match common.record(from).and_then(Socket::unix) {
        Ok(unix) => unix.name.clone(),
        Err(_) => names.of_departed(from),
    }
}
