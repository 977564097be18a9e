//! Names, connections and their end.

use core::mem;

use super::UnixSockets;
use super::state::{UnixSocket, UnixStage};
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::socket::address::UnixAddr;
use crate::socket::common::Env;
use crate::socket::kind::{Shutdown, SocketKind};
use crate::socket::record::{Holders, Protocol, Socket};

impl UnixSockets {
    pub(super) fn bind_name(&mut self, env: &mut Env<'_>, id: SocketId, name: &UnixAddr) -> Result<()> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        if name.is_unnamed() {
            return if unix.name.is_unnamed() { self.autobind(env, id) } else { Ok(()) };
        }
        // As on Linux, which first makes the file, and fails to if there is one.
        let is_taken = name.as_path().is_some() && self.names.is_taken(name);
        if !unix.name.is_unnamed() && !is_taken {
            return Err(Error::InvalidArgument);
        }
        self.names.bind(name, unix.kind, id)?;
        (unix.name, unix.owns_name) = (name.clone(), true);
        Ok(())
    }

    pub(super) fn autobind(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        unix.name = self.names.autobind(env.ctx.rng, unix.kind, id)?;
        unix.owns_name = true;
        Ok(())
    }

    /// The socket with this name. EPROTOTYPE if it is of another kind.
    pub(super) fn find(&self, env: &Env<'_>, name: &UnixAddr, kind: SocketKind) -> Result<SocketId> {
        if name.is_unnamed() {
            return Err(Error::InvalidArgument);
        }
        let id = self.names.find(name, kind)?;
        if env.common.record(id)?.kind != kind {
            return Err(Error::WrongSocketType);
        }
        Ok(id)
    }

    pub(super) fn start_listening(&mut self, env: &mut Env<'_>, id: SocketId, backlog: usize) -> Result<()> {
        let backlog = backlog.min(env.ctx.config.unix.max_backlog);
        let credentials = env.common.owners.credentials(env.common.caller)?;
        let unix = env.common.record_mut(id)?.unix_mut()?;
        if !unix.is_connection_based() {
            return Err(Error::NotSupported);
        }
        if unix.stage == UnixStage::Connected || unix.name.is_unnamed() {
            return Err(Error::InvalidArgument);
        }
        unix.stage = UnixStage::Listening { backlog };
        unix.peer_credentials = Some(credentials);
        let has_room = unix.pending.len() <= backlog;
        if has_room {
            self.wake_stalled(env, id);
        }
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }

    /// Connects a stream or a socket of sequenced packets: puts a connected socket into the
    /// listener's queue.
    pub(super) fn connect_to_listener(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        name: &UnixAddr,
    ) -> Result<()> {
        let credentials = env.common.owners.credentials(env.common.caller)?;
        let unix = env.common.record(id)?.unix()?;
        let kind = unix.kind;
        if unix.passes_credentials && unix.name.is_unnamed() {
            self.autobind(env, id)?;
        }
        let listener_id = self.find(env, name, kind)?;
        let socket = env.common.record(listener_id)?;
        let listener = socket.unix()?;
        let UnixStage::Listening { backlog } = listener.stage else { return Err(Error::ConnectionRefused) };
        if listener.is_read_shut {
            return Err(Error::ConnectionRefused);
        }
        if listener.pending.len() > backlog {
            self.stall(env, id, listener_id);
            return Err(Error::WouldBlock);
        }
        match env.common.record(id)?.unix()?.stage {
            UnixStage::Idle => {}
            UnixStage::Connected => return Err(Error::IsConnected),
            UnixStage::Listening { .. } => return Err(Error::InvalidArgument),
        }
        let own_name = env.common.record(id)?.unix()?.name.clone();
        let accepted = UnixSocket {
            stage: UnixStage::Connected,
            name: listener.name.clone(),
            peer: Some(id),
            peer_name: own_name,
            peer_credentials: Some(credentials),
            passes_credentials: listener.passes_credentials,
            ..UnixSocket::new(kind, self.max_datagrams)
        };
        let (listener_name, listener_credentials) = (listener.name.clone(), listener.peer_credentials);
        let (domain, options) = (socket.domain, socket.options.clone());
        let mut socket = Socket::new(domain, kind, options, Protocol::Unix(accepted.into()));
        socket.holders = Holders::AcceptQueue;
        let bytes = socket.charge();
        if env.common.account.is_full_for(bytes) {
            return Err(Error::NoBufferSpace);
        }
        let accepted = env.common.records.insert(socket);
        env.common.charge(accepted, bytes);
        let unix = env.common.record_mut(id)?.unix_mut()?;
        unix.stage = UnixStage::Connected;
        unix.peer = Some(accepted);
        unix.peer_name = listener_name;
        unix.peer_credentials = listener_credentials;
        env.common.note_readiness(id, Wakeup::NONE);
        env.common.record_mut(listener_id)?.unix_mut()?.pending.push_back(accepted);
        env.common.settle(listener_id, Wakeup::ARRIVAL);
        Ok(())
    }

    /// Sets the peer of a datagram socket.
    pub(super) fn set_peer(&mut self, env: &mut Env<'_>, id: SocketId, name: &UnixAddr) -> Result<()> {
        let unix = env.common.record(id)?.unix()?;
        if unix.passes_credentials && unix.name.is_unnamed() {
            self.autobind(env, id)?;
        }
        let peer = self.find(env, name, SocketKind::Datagram)?;
        let other = env.common.record(peer)?.unix()?;
        if other.peer.is_some_and(|other| other != id) {
            return Err(Error::NotPermitted);
        }
        if env.common.record(id)?.unix()?.peer != Some(peer) {
            self.dissolve(env, id)?;
        }
        let unix = env.common.record_mut(id)?.unix_mut()?;
        unix.peer = Some(peer);
        unix.peer_name = name.clone();
        env.common.record_mut(peer)?.unix_mut()?.senders.insert(id);
        env.common.settle(peer, Wakeup::NONE);
        // Of those that send to this socket, the peer has always room.
        if env.common.record_mut(id)?.unix_mut()?.stalled.remove(&peer) {
            self.wake(env, id, peer);
        }
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }

    /// Dissolves the association of a datagram socket. As on Linux what waits to be received is
    /// discarded, and a peer whose peer this was gets ECONNRESET.
    pub(super) fn dissolve(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let unix = env.common.record_mut(id)?.unix_mut()?;
        let Some(peer) = unix.peer.take() else { return Ok(()) };
        unix.peer_name = UnixAddr::UNNAMED;
        unix.stalled_at.remove(&peer);
        if let Ok(other) = env.common.record_mut(peer).and_then(Socket::unix_mut) {
            other.senders.remove(&id);
            other.stalled.remove(&id);
            env.common.settle(peer, Wakeup::NONE);
        }
        let unix = env.common.record_mut(id)?.unix_mut()?;
        if !unix.queue.is_empty() {
            self.empty(env, id);
            let other = env.common.record_mut(peer).and_then(Socket::unix_mut);
            if let Ok(other) = other
                && other.peer == Some(id)
            {
                other.error = Some(Error::ConnectionReset);
                env.common.note_readiness(peer, Wakeup::ERROR);
            }
        }
        env.common.note_readiness(id, Wakeup::ROOM);
        Ok(())
    }

    /// Connects two new sockets with each other.
    pub(super) fn connect_pair(&mut self, env: &mut Env<'_>, ids: [SocketId; 2]) -> Result<()> {
        let credentials = env.common.owners.credentials(env.common.caller)?;
        let [first, second] = ids;
        for (id, peer) in [(first, second), (second, first)] {
            let unix = env.common.record_mut(id)?.unix_mut()?;
            unix.stage = UnixStage::Connected;
            unix.peer = Some(peer);
            unix.peer_credentials = Some(credentials);
            if !unix.is_connection_based() {
                unix.senders.insert(peer);
            }
            env.common.settle(id, Wakeup::NONE);
        }
        Ok(())
    }

    /// As on Linux, where this is no error for a socket that is not connected.
    pub(super) fn shut_down(&mut self, env: &mut Env<'_>, id: SocketId, how: Shutdown) -> Result<()> {
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        let unix = env.common.record_mut(id)?.unix_mut()?;
        unix.is_read_shut |= read;
        unix.is_write_shut |= write;
        let peer = unix.peer.filter(|_| unix.is_connection_based());
        env.common.note_readiness(id, Wakeup::STATE);
        if let Some(peer) = peer
            && let Ok(other) = env.common.record_mut(peer).and_then(Socket::unix_mut)
        {
            other.is_read_shut |= write;
            other.is_write_shut |= read;
            env.common.note_readiness(peer, Wakeup::STATE);
        }
        Ok(())
    }

    /// Closes a socket that nobody holds any more, and removes its record. The connections that a
    /// listener has not handed out are closed, too.
    pub(super) fn end(&mut self, env: &mut Env<'_>, id: SocketId, was_accepted: bool) {
        let Ok(unix) = env.common.record_mut(id).and_then(Socket::unix_mut) else { return };
        if mem::take(&mut unix.owns_name) {
            self.names.release(&unix.name, unix.kind, id);
        }
        let (peer, is_connection_based) = (unix.peer, unix.is_connection_based());
        let (name, has_unread) = (unix.name.clone(), unix.has_unread());
        let pending = mem::take(&mut unix.pending);
        let (senders, stalled_at) = (mem::take(&mut unix.senders), mem::take(&mut unix.stalled_at));
        for sender in senders {
            if let Ok(other) = env.common.record_mut(sender).and_then(Socket::unix_mut) {
                other.peer_name = name.clone();
            }
        }
        for receiver in stalled_at {
            if let Ok(other) = env.common.record_mut(receiver).and_then(Socket::unix_mut) {
                other.stalled.remove(&id);
                env.common.settle(receiver, Wakeup::NONE);
            }
        }
        if let Some(peer) = peer
            && !is_connection_based
            && let Ok(other) = env.common.record_mut(peer).and_then(Socket::unix_mut)
        {
            other.senders.remove(&id);
            env.common.settle(peer, Wakeup::NONE);
        }
        if let Some(peer) = peer
            && is_connection_based
            && let Ok(other) = env.common.record_mut(peer).and_then(Socket::unix_mut)
        {
            other.is_read_shut = true;
            other.is_write_shut = true;
            other.peer_name = name.clone();
            if has_unread || !was_accepted {
                other.error = Some(Error::ConnectionReset);
            }
            env.common.note_readiness(peer, Wakeup::STATE);
        }
        self.empty(env, id);
        for id in pending {
            self.end(env, id, false);
        }
        let outgoing_cost = env.common.record(id).and_then(Socket::unix).map_or(0, |unix| unix.outgoing_cost);
        self.names.depart(id, name, outgoing_cost);
        self.wake_stalled(env, id);
        env.common.remove(id);
    }
}
