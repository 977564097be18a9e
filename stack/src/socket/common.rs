//! The state that all kinds of sockets share: records, descriptor tables and queues.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::address::SockAddr;
use super::chosen_errors::ChosenErrors;
use super::interest::{Interest, Ready};
use super::kind::Room;
use super::options::SocketOption;
use super::owners::Owners;
use super::pollers::{Pollers, RegistrationKey};
use super::rare_settings::RareSettings;
use super::record::Socket;
use super::saved_syns::SavedSyns;
use super::shortage::Relief;
use super::table::Descriptor;
use super::unix::{full_peer, wait_at, wait_for_peer};
use crate::Ctx;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::{Event, Readiness, Wakeup};
use crate::id::{HandshakeId, OwnerId, PollerId, SocketId};
use crate::memory::{Account, Budget};
use crate::network::Network;
use crate::rng::Rng;
use crate::slab::Slab;
use crate::timers::TimerQueue;

/// The record that a timer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerTarget {
    Socket(SocketId),
    Handshake(HandshakeId),
}

/// The shared state. Each kind of socket has tables of its own beside it.
#[derive(Debug)]
pub(crate) struct Common {
    /// The owner who makes the present call, for kinds of sockets that show it to others.
    pub(crate) caller: OwnerId,
    pub(crate) owners: Owners,
    pub(super) records: Slab<SocketId, Socket>,
    pub(super) timers: TimerQueue<TimerTarget>,
    /// Sockets that may have something to send, each once, in round-robin order.
    pub(super) transmit_queue: VecDeque<SocketId>,
    pub(super) events: VecDeque<SocketId>,
    pub(super) pollers: Pollers,
    /// The rare settings that sockets have used.
    pub(super) rare: RareSettings,
    pub(super) saved_syns: SavedSyns,
    /// The memory account of all sockets and handshakes.
    pub(super) account: Account,
    /// Gives memory back when the account is short.
    pub(super) relief: Relief,
    /// The rate limits of ICMP errors that programs choose.
    pub(super) chosen_errors: ChosenErrors,
}

/// The shared state that a kind of socket gets during a call, beside its own tables.
pub(crate) struct Env<'a> {
    pub(crate) ctx: Ctx<'a>,
    pub(crate) network: &'a mut Network,
    pub(crate) common: &'a mut Common,
}

/// The result of a socket's turn to send.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransmitOutcome {
    /// It has nothing to send.
    Nothing,
    /// It sent a packet.
    Sent,
}

impl Common {
    pub(super) fn new(config: &Config, rng: &mut Rng) -> Self {
        Common {
            owners: Owners::new(config),
            caller: OwnerId::FIRST,
            records: Slab::new(),
            timers: TimerQueue::new(),
            transmit_queue: VecDeque::new(),
            events: VecDeque::new(),
            pollers: Pollers::new(config),
            rare: RareSettings::default(),
            saved_syns: SavedSyns::default(),
            account: Account::new(config),
            relief: Relief::new(rng),
            chosen_errors: ChosenErrors::new(config, rng),
        }
    }

    /// Removes a record that the tables of its kind no longer lead to.
    pub(super) fn remove(&mut self, id: SocketId) {
        self.charge(id, 0);
        self.relief.holdings.forget(id);
        if self.rare.uses(RareSettings::SAVED_SYNS) {
            self.saved_syns.remove(&mut self.account, id);
        }
        self.records.remove(id);
    }

    /// The socket of a descriptor. EBADF.
    pub(crate) fn socket(&self, caller: OwnerId, d: Descriptor) -> Result<(SocketId, &Socket)> {
        let id = self.owners.socket(caller, d)?;
        Ok((id, self.record(id)?))
    }

    /// Whether there is such an owner.
    pub(crate) fn has_owner(&self, owner: OwnerId) -> bool {
        self.owners.contains(owner)
    }

    /// Adds an owner that has all descriptors of this one. The work grows with their number.
    /// EINVAL, ENFILE.
    pub(crate) fn fork_owner(&mut self, owner: OwnerId) -> Result<OwnerId> {
        let fork = self.owners.fork(owner)?;
        for (_, id) in self.owners.descriptors_of(fork) {
            // The limit of all descriptors is less than what the count of one socket can be.
            if let Some(socket) = self.records.get_mut(id)
                && let Some(holders) = socket.holders.plus_one()
            {
                socket.holders = holders;
            }
        }
        Ok(fork)
    }

    /// Gives an owner a descriptor for a socket. EMFILE, ENFILE, and EINVAL if there is no such
    /// owner.
    pub(crate) fn hold(&mut self, owner: OwnerId, id: SocketId) -> Result<Descriptor> {
        let socket = self.records.get_mut(id).ok_or(Error::BadDescriptor)?;
        let holders = socket.holders.plus_one().ok_or(Error::TooManyDescriptors)?;
        let descriptor = self.owners.open(owner, id)?;
        socket.holders = holders;
        Ok(descriptor)
    }

    /// Notes that a descriptor of this socket is gone. If that was the last, pollers forget the
    /// socket, and this returns its room.
    pub(super) fn release(&mut self, id: SocketId) -> Option<Room> {
        let socket = self.records.get_mut(id)?;
        socket.holders = socket.holders.minus_one();
        let room = socket.is_unheld().then_some(socket.room())?;
        self.pollers.forget(&mut self.account, id);
        Some(room)
    }

    /// The name of a socket's peer. ENOTCONN.
    pub(crate) fn peer_name(&self, id: SocketId) -> Result<SockAddr> {
        let socket = self.record(id)?;
        let Ok(unix) = socket.unix() else { return Ok(socket.peer_addr()?.into()) };
        let peer = self.record(unix.peer.ok_or(Error::NotConnected)?);
        Ok(peer.map_or_else(|_| unix.peer_name.clone().into(), Socket::local_name))
    }

    /// The record of a socket. EBADF.
    pub(crate) fn record(&self, id: SocketId) -> Result<&Socket> {
        self.records.get(id).ok_or(Error::BadDescriptor)
    }

    /// The record of a socket, to be changed. EBADF.
    pub(super) fn record_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        self.records.get_mut(id).ok_or(Error::BadDescriptor)
    }

    /// What a call may take from the account.
    pub(crate) fn budget(&self) -> Budget {
        self.account.budget(self.records.len())
    }

    /// The bytes in the account.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.account.bytes()
    }

    /// Whether `bytes` more would exceed what sockets may hold without the reserve.
    pub(super) fn is_short_of_memory(&self, bytes: usize) -> bool {
        bytes > self.account.room()
    }

    /// Brings the account up to date with what a socket holds now.
    pub(super) fn charge(&mut self, id: SocketId, bytes: usize) {
        if let Some(socket) = self.records.get_mut(id) {
            self.account.renew(&mut socket.charged_bytes, bytes);
        }
    }

    /// Queues the socket, which may have something to send.
    pub(super) fn queue_transmit(&mut self, id: SocketId) {
        if let Some(socket) = self.records.get_mut(id)
            && socket.marks.enter_transmit_queue()
        {
            self.transmit_queue.push_back(id);
        }
    }

    pub(super) fn has_transmits(&self) -> bool {
        !self.transmit_queue.is_empty()
    }

    /// The next socket to send, and its room. Each one that is taken out of the queue, removed ones
    /// too, takes one of `may_pass`.
    pub(super) fn next_to_transmit(&mut self, may_pass: &mut usize) -> Option<(SocketId, Room)> {
        loop {
            let left = may_pass.checked_sub(1)?;
            let id = self.transmit_queue.pop_front()?;
            *may_pass = left;
            if let Some(socket) = self.records.get_mut(id) {
                socket.marks.leave_transmit_queue();
                return Some((id, socket.room()));
            }
        }
    }

    pub(super) fn queue_event(&mut self, id: SocketId) {
        if let Some(socket) = self.records.get_mut(id)
            && socket.enter_event_queue()
        {
            self.events.push_back(id);
        }
    }

    /// Updates the readiness. If something became ready, or `news` says that something arrived,
    /// queues an event and wakes pollers.
    pub(super) fn note_readiness(&mut self, id: SocketId, news: Wakeup) {
        let Some(socket) = self.records.get_mut(id) else { return };
        let wakeup = socket.renew_readiness() | news;
        if wakeup.is_none() {
            return;
        }
        if socket.enter_event_queue() {
            self.events.push_back(id);
        }
        self.pollers.wake(id, wakeup);
    }

    /// Like [`note_readiness`](Common::note_readiness), and updates the account.
    pub(super) fn settle(&mut self, id: SocketId, news: Wakeup) {
        let Some(socket) = self.records.get_mut(id) else { return };
        let bytes = socket.charge();
        self.account.renew(&mut socket.charged_bytes, bytes);
        let wakeup = socket.renew_readiness() | news;
        if wakeup.is_none() {
            return;
        }
        if socket.enter_event_queue() {
            self.events.push_back(id);
        }
        self.pollers.wake(id, wakeup);
    }

    /// Wakes the pollers of a socket whose state a call has changed.
    pub(crate) fn note_state_change(&mut self, id: SocketId) {
        self.pollers.wake(id, Wakeup::STATE);
    }

    /// epoll_create. EMFILE, ENOBUFS, and EINVAL if there is no such owner.
    pub(crate) fn add_poller(&mut self, caller: OwnerId) -> Result<PollerId> {
        if !self.has_owner(caller) {
            return Err(Error::InvalidArgument);
        }
        self.pollers.add(&mut self.account, caller)
    }

    /// Closes a poller. EBADF.
    pub(crate) fn remove_poller(&mut self, caller: OwnerId, poller: PollerId) -> Result<()> {
        self.pollers.remove(&mut self.account, caller, poller)
    }

    /// The readiness of a socket. That of a connected datagram socket of the Unix domain depends on
    /// its peer, too.
    pub(crate) fn readiness(&self, id: SocketId) -> Option<Readiness> {
        let mut readiness = self.records.get(id)?.readiness();
        if readiness.writable && full_peer(&self.records, id).is_some() {
            readiness.writable = false;
        }
        Some(readiness)
    }

    /// Has a datagram socket of the Unix domain woken when its peer has room, if that is full.
    /// Returns whether it is.
    pub(super) fn wait_for_peer(&mut self, id: SocketId) -> bool {
        wait_for_peer(&mut self.records, &mut self.account, id)
    }

    /// Has a socket of the Unix domain woken when this receiver has room.
    pub(super) fn wait_at(&mut self, id: SocketId, receiver: SocketId) {
        wait_at(&mut self.records, &mut self.account, id, receiver);
    }

    /// EPOLL_CTL_ADD. EBADF, EINVAL, EEXIST, ENOSPC, ENOBUFS.
    pub(crate) fn register(
        &mut self,
        caller: OwnerId,
        poller: PollerId,
        d: Descriptor,
        interest: Interest,
        token: u64,
    ) -> Result<()> {
        let target = self.target(caller, poller, d)?;
        self.wait_for_peer(target.socket);
        let readiness = self.record_mut(target.socket)?.readiness_for_poller();
        self.pollers.register(&mut self.account, target, interest, token, readiness)
    }

    /// EPOLL_CTL_MOD. EBADF, EINVAL, ENOENT.
    pub(crate) fn modify(
        &mut self,
        caller: OwnerId,
        poller: PollerId,
        d: Descriptor,
        interest: Interest,
        token: u64,
    ) -> Result<()> {
        let target = self.target(caller, poller, d)?;
        self.wait_for_peer(target.socket);
        let readiness = self.record_mut(target.socket)?.readiness_for_poller();
        self.pollers.modify(target, interest, token, readiness)
    }

    /// EPOLL_CTL_DEL. EBADF, ENOENT.
    pub(crate) fn deregister(&mut self, caller: OwnerId, poller: PollerId, d: Descriptor) -> Result<()> {
        let target = self.target(caller, poller, d)?;
        self.pollers.deregister(&mut self.account, target)
    }

    fn target(&self, caller: OwnerId, poller: PollerId, d: Descriptor) -> Result<RegistrationKey> {
        self.pollers.check(caller, poller)?;
        let socket = self.owners.socket(caller, d)?;
        Ok(RegistrationKey { poller, number: d.number(), socket })
    }

    /// epoll_wait without a wait. EBADF, EINVAL.
    pub(crate) fn poller_wait(
        &mut self,
        caller: OwnerId,
        poller: PollerId,
        ready: &mut Vec<Ready>,
        max: usize,
    ) -> Result<usize> {
        self.pollers.check(caller, poller)?;
        let (records, account) = (&mut self.records, &mut self.account);
        let readiness = |id| {
            wait_for_peer(records, account, id);
            records.get_mut(id).map(Socket::readiness_for_poller).unwrap_or_default()
        };
        self.pollers.wait(poller, ready, max, readiness)
    }

    /// Whether a wait at this poller may report something. EBADF.
    pub(crate) fn may_poller_report(&self, caller: OwnerId, poller: PollerId) -> Result<bool> {
        self.pollers.check(caller, poller)?;
        Ok(self.pollers.may_have_ready(poller))
    }

    /// Sets whether a program sleeps until this poller has something to report. EBADF.
    pub(crate) fn set_poller_waiting(
        &mut self,
        caller: OwnerId,
        poller: PollerId,
        is_waiting: bool,
    ) -> Result<()> {
        self.pollers.check(caller, poller)?;
        self.pollers.set_waiting(poller, is_waiting);
        Ok(())
    }

    /// The next poller that may have something to report.
    pub(crate) fn poll_ready_poller(&mut self) -> Option<PollerId> {
        self.pollers.next_with_news()
    }

    /// The next event. Inlined always: the readiness would be packed for a return, and unpacked: 35
    /// instructions.
    #[inline(always)]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        while let Some(id) = self.events.pop_front() {
            let Some(socket) = self.records.get_mut(id) else { continue };
            socket.marks.leave_event_queue();
            if !socket.has_descriptor() {
                continue;
            }
            let readiness = match socket.unix() {
                Ok(_) => self.readiness_of_event(id),
                Err(_) => socket.readiness(),
            };
            return Some(Event { socket: id, readiness });
        }
        None
    }

    /// The readiness of a socket of the Unix domain. It is woken when its peer has room, if that is
    /// full.
    #[cold]
    fn readiness_of_event(&mut self, id: SocketId) -> Readiness {
        let readiness = self.records.get(id).map(Socket::readiness).unwrap_or_default();
        let writable = readiness.writable && !self.wait_for_peer(id);
        Readiness { writable, ..readiness }
    }

    /// SO_ERROR: takes the pending error.
    pub(crate) fn take_error(&mut self, id: SocketId) -> Result<Option<Error>> {
        let error = self.record_mut(id)?.protocol.state_mut().take_error();
        self.note_readiness(id, Wakeup::NONE);
        Ok(error)
    }

    /// Sets an option of the record. The socket's kind applies its effects.
    pub(super) fn set_option(&mut self, ctx: &Ctx<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        let socket = self.record_mut(id)?;
        let is_bound = socket.has_port() || socket.protocol.state().flow().is_some();
        if is_bound && matches!(option, SocketOption::V6Only(_)) {
            return Err(Error::InvalidArgument);
        }
        if !socket.has_peek_offset() && matches!(option, SocketOption::PeekOffset(_)) {
            return Err(Error::NotSupported);
        }
        socket.options.set(ctx.config, option)?;
        match option {
            SocketOption::BindToDevice(Some(_)) => self.rare.add(RareSettings::DEVICES),
            SocketOption::SaveSyn(true) => self.rare.add(RareSettings::SAVED_SYNS),
            SocketOption::MinTtl(1..) | SocketOption::MinHopCount(1..) => {
                self.rare.add(RareSettings::FILTERS);
            }
            SocketOption::PeekOffset(0..) => self.rare.add(RareSettings::PEEK_OFFSETS),
            _ => {}
        }
        if option == SocketOption::ReceiveErrors(false) {
            self.forget_queued_errors(id);
        }
        self.settle(id, Wakeup::NONE);
        Ok(())
    }
}
