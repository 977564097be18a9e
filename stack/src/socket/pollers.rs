//! Pollers: which of many descriptors are ready, with the semantics of Linux's epoll.
//!
//! ```text
//!              by (number, socket)
//!   poller ------------------------> registration <---- chain ---- socket
//!     |                                   ^
//!     +-------- ready list ---------------+   (only some of them)
//! ```
//!
//! A registration belongs to one poller, and names a descriptor by its number and its socket, as
//! epoll does by its number and its open file. When a socket may have become ready, the
//! registrations in its chain go onto the ready lists of their pollers. A wait looks at the ready
//! list only, so its work grows with what is ready and not with what is registered.
//!
//! The records of sockets have no field for all this: the heads of the chains are in a list by the
//! index of the socket, which is empty while nothing is registered.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;

use super::interest::{Interest, Ready};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::{Readiness, Wakeup};
use crate::id::{OwnerId, PollerId, RegistrationId, SocketId};
use crate::memory::Account;
use crate::slab::Slab;

/// All pollers of a stack.
#[derive(Debug)]
pub(super) struct Pollers {
    pollers: Slab<PollerId, Poller>,
    registrations: Slab<RegistrationId, Registration>,
    by_key: BTreeMap<RegistrationKey, RegistrationId>,
    /// The registrations of each socket, by [`SocketId::index`]. Behind the end there are none.
    chains: Vec<SocketChain>,
    by_owner: BTreeMap<OwnerId, OwnerPollers>,
    /// The pollers of owners that were removed, which are still to be removed.
    removed: VecDeque<OwnerPollers>,
    /// The pollers that may have something new to report.
    news: BTreeSet<PollerId>,
    /// The bytes in the account.
    charged_bytes: usize,
    /// The most pollers of one owner.
    max_pollers: usize,
    /// The most registrations of one owner.
    max_registrations: usize,
}

/// What a registration is found by. The poller comes first: those of one are a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RegistrationKey {
    pub(super) poller: PollerId,
    /// The number of the descriptor.
    pub(super) number: u32,
    pub(super) socket: SocketId,
}

#[derive(Debug)]
struct Poller {
    owner: OwnerId,
    ready: List,
    /// The length of `ready`.
    ready_len: usize,
    /// Whether the last wait reported nothing and nothing has woken the poller since: its program
    /// is taken to sleep.
    is_waiting: bool,
    has_news: bool,
}

#[derive(Debug)]
struct Registration {
    target: RegistrationKey,
    interest: Interest,
    /// The bits of [`Readiness`] that are reported; 0 while it is disabled.
    wanted: u8,
    is_ready_listed: bool,
    token: u64,
    in_chain: Links,
    in_ready: Links,
}

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    previous: Option<RegistrationId>,
    next: Option<RegistrationId>,
}

/// The ends of a list that is linked through registrations.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: Option<RegistrationId>,
    last: Option<RegistrationId>,
}

/// The registrations of a socket: the latest first, and those that are exclusive behind the others
/// with the earliest first, as in a kernel's wait queue.
type SocketChain = List;

#[derive(Debug, Default)]
struct OwnerPollers {
    pollers: BTreeSet<PollerId>,
    registrations: usize,
}

/// Estimate of what a poller and a registration hold, with their entries in maps.
const POLLER_BYTES: usize = mem::size_of::<Poller>() + 32;
const REGISTRATION_BYTES: usize = mem::size_of::<Registration>() + 40;

impl Pollers {
    pub(super) fn new(config: &Config) -> Self {
        Pollers {
            pollers: Slab::new(),
            registrations: Slab::new(),
            by_key: BTreeMap::new(),
            chains: Vec::new(),
            by_owner: BTreeMap::new(),
            removed: VecDeque::new(),
            news: BTreeSet::new(),
            charged_bytes: 0,
            max_pollers: config.max_descriptors,
            max_registrations: config.max_registrations,
        }
    }

    /// Whether any descriptor is registered. Every segment asks this.
    #[inline]
    pub(super) fn has_registrations(&self) -> bool {
        !self.chains.is_empty()
    }

    /// EBADF unless the caller has this poller.
    pub(super) fn check(&self, caller: OwnerId, poller: PollerId) -> Result<()> {
        let found = self.pollers.get(poller).filter(|found| found.owner == caller);
        found.map(|_| ()).ok_or(Error::BadDescriptor)
    }

    /// Adds a poller of an owner. EMFILE, ENOBUFS.
    pub(super) fn add(&mut self, account: &mut Account, owner: OwnerId) -> Result<PollerId> {
        let of_owner = self.by_owner.entry(owner).or_default();
        if of_owner.pollers.len() >= self.max_pollers {
            return Err(Error::TooManyDescriptors);
        }
        if account.is_full_for(POLLER_BYTES) {
            return Err(Error::NoBufferSpace);
        }
        let poller =
            Poller { owner, ready: List::default(), ready_len: 0, is_waiting: false, has_news: false };
        let id = self.pollers.insert(poller);
        of_owner.pollers.insert(id);
        self.renew_account(account);
        Ok(id)
    }

    /// Removes a poller and its registrations. EBADF.
    pub(super) fn remove(&mut self, account: &mut Account, caller: OwnerId, poller: PollerId) -> Result<()> {
        self.check(caller, poller)?;
        while let Some(id) = self.first_of(poller) {
            self.remove_registration(id);
        }
        self.pollers.remove(poller);
        self.news.remove(&poller);
        if let Some(of_owner) = self.by_owner.get_mut(&caller) {
            of_owner.pollers.remove(&poller);
            if of_owner.pollers.is_empty() {
                self.by_owner.remove(&caller);
            }
        }
        self.renew_account(account);
        Ok(())
    }

    /// Forgets an owner. Its pollers are then removed with
    /// [`close_removed`](Self::close_removed); until then they get no exclusive arrivals.
    pub(super) fn remove_owner(&mut self, owner: OwnerId) {
        self.removed.extend(self.by_owner.remove(&owner));
    }

    /// Whether pollers of removed owners are still to be removed.
    pub(super) fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Removes registrations and pollers of removed owners, at most `max`. Returns how many more it
    /// might have removed.
    pub(super) fn close_removed(&mut self, account: &mut Account, max: usize) -> usize {
        let mut left = max;
        while left > 0
            && let Some(of_owner) = self.removed.front()
        {
            let Some(&poller) = of_owner.pollers.first() else {
                self.removed.pop_front();
                continue;
            };
            left -= 1;
            match self.first_of(poller) {
                Some(id) => self.remove_registration(id),
                None => {
                    self.pollers.remove(poller);
                    self.news.remove(&poller);
                    self.removed.front_mut().map(|of_owner| of_owner.pollers.remove(&poller));
                }
            }
        }
        if left < max {
            self.renew_account(account);
        }
        left
    }

    /// Registers a descriptor, which is `readiness` now. EINVAL, EEXIST, ENOSPC, ENOBUFS.
    pub(super) fn register(
        &mut self,
        account: &mut Account,
        target: RegistrationKey,
        interest: Interest,
        token: u64,
        readiness: Readiness,
    ) -> Result<()> {
        let is_exclusive = interest.contains(Interest::EXCLUSIVE);
        if is_exclusive && !interest.may_be_exclusive() {
            return Err(Error::InvalidArgument);
        }
        if self.by_key.contains_key(&target) {
            return Err(Error::AlreadyExists);
        }
        let owner = self.pollers.get(target.poller).ok_or(Error::BadDescriptor)?.owner;
        let of_owner = self.by_owner.entry(owner).or_default();
        if of_owner.registrations >= self.max_registrations {
            return Err(Error::TooManyRegistrations);
        }
        let slots = (target.socket.index() + 1).saturating_sub(self.chains.len());
        if account.is_full_for(REGISTRATION_BYTES + slots * mem::size_of::<SocketChain>()) {
            return Err(Error::NoBufferSpace);
        }
        of_owner.registrations += 1;
        let wanted = interest.readiness_bits();
        let id = self.registrations.insert(Registration {
            target,
            interest,
            wanted,
            is_ready_listed: false,
            token,
            in_chain: Links::default(),
            in_ready: Links::default(),
        });
        self.by_key.insert(target, id);
        self.enter_chain(id, target.socket, is_exclusive);
        if readiness.bits() & wanted != 0 {
            self.list_as_ready(id);
            self.note_news(target.poller);
        }
        self.renew_account(account);
        Ok(())
    }

    /// Changes a registration, and enables it again if it was one-shot. EINVAL, ENOENT.
    pub(super) fn modify(
        &mut self,
        target: RegistrationKey,
        interest: Interest,
        token: u64,
        readiness: Readiness,
    ) -> Result<()> {
        if interest.contains(Interest::EXCLUSIVE) {
            return Err(Error::InvalidArgument);
        }
        let id = *self.by_key.get(&target).ok_or(Error::NotFound)?;
        let registration = self.registrations.get_mut(id).ok_or(Error::NotFound)?;
        if registration.interest.contains(Interest::EXCLUSIVE) {
            return Err(Error::InvalidArgument);
        }
        (registration.interest, registration.token) = (interest, token);
        registration.wanted = interest.readiness_bits();
        if readiness.bits() & registration.wanted != 0 {
            self.list_as_ready(id);
            self.note_news(target.poller);
        }
        Ok(())
    }

    /// Removes a registration. ENOENT.
    pub(super) fn deregister(&mut self, account: &mut Account, target: RegistrationKey) -> Result<()> {
        let id = *self.by_key.get(&target).ok_or(Error::NotFound)?;
        self.remove_registration(id);
        self.renew_account(account);
        Ok(())
    }

    /// Removes all registrations of a socket, whose last descriptor is closed.
    pub(super) fn forget(&mut self, account: &mut Account, socket: SocketId) {
        if self.chain(socket).first.is_none() {
            return;
        }
        while let Some(id) = self.chain(socket).first {
            self.remove_registration(id);
        }
        self.renew_account(account);
    }

    /// A socket may have become ready: lists the registrations with an interest in that.
    #[inline]
    pub(super) fn wake(&mut self, socket: SocketId, wakeup: Wakeup) {
        if self.has_registrations() {
            self.wake_chain(socket, wakeup);
        }
    }

    fn wake_chain(&mut self, socket: SocketId, wakeup: Wakeup) {
        let mut next = self.chain(socket).first;
        while let Some(id) = next {
            let Some(registration) = self.registrations.get(id) else { return };
            next = registration.in_chain.next;
            if registration.wanted & wakeup.bits() == 0 {
                continue;
            }
            let (poller, is_taker) = (registration.target.poller, registration.is_taker(wakeup));
            let was_waiting =
                self.pollers.get_mut(poller).is_some_and(|poller| mem::take(&mut poller.is_waiting));
            self.list_as_ready(id);
            self.note_news(poller);
            if is_taker && was_waiting && self.has_owner(poller) {
                return;
            }
        }
    }

    /// Appends what is ready, at most `max`, to `reported`. Returns how many. Level-triggered
    /// registrations go to the end of the ready list, so that each gets its turn. EINVAL.
    pub(super) fn wait(
        &mut self,
        poller: PollerId,
        reported: &mut Vec<Ready>,
        max: usize,
        mut readiness: impl FnMut(SocketId) -> Readiness,
    ) -> Result<usize> {
        if max == 0 {
            return Err(Error::InvalidArgument);
        }
        // Those that stay are not looked at twice.
        let mut left = self.pollers.get(poller).ok_or(Error::BadDescriptor)?.ready_len;
        let mut count = 0;
        while left > 0
            && count < max
            && let Some(id) = self.pollers.get(poller).and_then(|poller| poller.ready.first)
        {
            left -= 1;
            self.unlist(id);
            let Some(registration) = self.registrations.get_mut(id) else { break };
            let bits = readiness(registration.target.socket).bits() & registration.wanted;
            if bits == 0 {
                continue;
            }
            reported.push(Ready::new(registration.token, Readiness::from_bits(bits)));
            count += 1;
            if registration.interest.contains(Interest::ONE_SHOT) {
                registration.wanted = 0;
            } else if !registration.interest.contains(Interest::EDGE_TRIGGERED) {
                self.list_as_ready(id);
            }
        }
        if let Some(poller) = self.pollers.get_mut(poller) {
            poller.is_waiting = count == 0;
        }
        Ok(count)
    }

    /// The next poller that may have something to report. Each is named once, and again only after
    /// something else has become ready.
    pub(super) fn next_with_news(&mut self) -> Option<PollerId> {
        let id = self.news.pop_first()?;
        if let Some(poller) = self.pollers.get_mut(id) {
            poller.has_news = false;
        }
        Some(id)
    }

    fn note_news(&mut self, id: PollerId) {
        if let Some(poller) = self.pollers.get_mut(id)
            && !mem::replace(&mut poller.has_news, true)
        {
            self.news.insert(id);
        }
    }

    /// Sets whether a program is taken to sleep until this poller has something to report.
    pub(super) fn set_waiting(&mut self, poller: PollerId, is_waiting: bool) {
        if let Some(poller) = self.pollers.get_mut(poller) {
            poller.is_waiting = is_waiting;
        }
    }

    /// Whether the poller's owner was not removed.
    fn has_owner(&self, poller: PollerId) -> bool {
        self.pollers.get(poller).is_some_and(|poller| self.by_owner.contains_key(&poller.owner))
    }

    /// Whether a wait may report something.
    pub(super) fn may_have_ready(&self, poller: PollerId) -> bool {
        self.pollers.get(poller).is_some_and(|poller| poller.ready_len > 0)
    }

    /// The first registration of a poller.
    fn first_of(&self, poller: PollerId) -> Option<RegistrationId> {
        let mut targets = self.by_key.range(RegistrationKey { poller, number: 0, socket: SocketId::FIRST }..);
        targets.next().filter(|(target, _)| target.poller == poller).map(|(_, id)| *id)
    }

    fn remove_registration(&mut self, id: RegistrationId) {
        self.unlist(id);
        let Some(Registration { target, in_chain, .. }) = self.registrations.remove(id) else { return };
        self.by_key.remove(&target);
        let Links { previous, next } = in_chain;
        if let Some(previous) = self.get_mut(previous) {
            previous.in_chain.next = next;
        }
        if let Some(next) = self.get_mut(next) {
            next.in_chain.previous = previous;
        }
        if let Some(chain) = self.chains.get_mut(target.socket.index()) {
            chain.leave(id, in_chain);
        }
        if self.registrations.len() == 0 {
            self.chains = Vec::new();
        }
        let owner = self.pollers.get(target.poller).map(|poller| poller.owner);
        if let Some(of_owner) = owner.and_then(|owner| self.by_owner.get_mut(&owner)) {
            of_owner.registrations -= 1;
        }
    }

    fn chain(&self, socket: SocketId) -> SocketChain {
        self.chains.get(socket.index()).copied().unwrap_or_default()
    }

    fn enter_chain(&mut self, id: RegistrationId, socket: SocketId, is_last: bool) {
        let index = socket.index();
        if self.chains.len() <= index {
            self.chains.resize(index + 1, SocketChain::default());
        }
        let SocketChain { first, last } = self.chains[index];
        let links = match is_last {
            true => Links { previous: last, next: None },
            false => Links { previous: None, next: first },
        };
        if let Some(registration) = self.registrations.get_mut(id) {
            registration.in_chain = links;
        }
        if let Some(previous) = self.get_mut(links.previous) {
            previous.in_chain.next = Some(id);
        }
        if let Some(next) = self.get_mut(links.next) {
            next.in_chain.previous = Some(id);
        }
        self.chains[index].enter(id, links);
    }

    /// Puts a registration at the end of its poller's ready list, unless it is there.
    fn list_as_ready(&mut self, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        let Some(poller) = self.pollers.get_mut(registration.target.poller) else { return };
        if mem::replace(&mut registration.is_ready_listed, true) {
            return;
        }
        let links = Links { previous: poller.ready.last, next: None };
        registration.in_ready = links;
        poller.ready.enter(id, links);
        poller.ready_len += 1;
        if let Some(previous) = self.get_mut(links.previous) {
            previous.in_ready.next = Some(id);
        }
    }

    /// Takes a registration off its poller's ready list, if it is there.
    fn unlist(&mut self, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        if !mem::take(&mut registration.is_ready_listed) {
            return;
        }
        let links = mem::take(&mut registration.in_ready);
        let poller = registration.target.poller;
        if let Some(previous) = self.get_mut(links.previous) {
            previous.in_ready.next = links.next;
        }
        if let Some(next) = self.get_mut(links.next) {
            next.in_ready.previous = links.previous;
        }
        if let Some(poller) = self.pollers.get_mut(poller) {
            poller.ready.leave(id, links);
            poller.ready_len -= 1;
        }
    }

    fn get_mut(&mut self, id: Option<RegistrationId>) -> Option<&mut Registration> {
        self.registrations.get_mut(id?)
    }

    fn renew_account(&mut self, account: &mut Account) {
        let bytes = self.pollers.len() * POLLER_BYTES
            + self.registrations.len() * REGISTRATION_BYTES
            + self.chains.len() * mem::size_of::<SocketChain>();
        account.renew(&mut self.charged_bytes, bytes);
    }
}

impl Registration {
    /// Whether a wake-up that found its poller waiting is not for further exclusive registrations.
    /// As Linux's ep_poll_callback. A change of state is for all.
    fn is_taker(&self, wakeup: Wakeup) -> bool {
        let both = Readiness::READABLE_BIT | Readiness::WRITABLE_BIT;
        let directions = wakeup.bits() & both;
        self.interest.contains(Interest::EXCLUSIVE)
            && wakeup != Wakeup::STATE
            && directions != both
            && directions & !self.wanted == 0
    }
}

impl List {
    fn enter(&mut self, id: RegistrationId, links: Links) {
        if links.previous.is_none() {
            self.first = Some(id);
        }
        if links.next.is_none() {
            self.last = Some(id);
        }
    }

    fn leave(&mut self, id: RegistrationId, links: Links) {
        if self.first == Some(id) {
            self.first = links.next;
        }
        if self.last == Some(id) {
            self.last = links.previous;
        }
    }
}

#[cfg(test)]
mod tests;
