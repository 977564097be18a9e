//! The owners of descriptors. They correspond to processes: each has a descriptor table and
//! credentials.

use alloc::collections::VecDeque;

use super::credentials::Credentials;
use super::table::{Descriptor, DescriptorTable, RemovedEntries};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::{OwnerId, SocketId};
use crate::slab::Slab;

/// All owners. The first owner always exists.
#[derive(Debug)]
pub(crate) struct Owners {
    owners: Slab<OwnerId, OwnerRecord>,
    /// The descriptors of removed owners that are still to be closed.
    removed: VecDeque<RemovedEntries>,
    /// The number of descriptors of all owners, removed ones included.
    open: usize,
    /// The most descriptors that one owner may have.
    limit: usize,
    /// The most descriptors that all owners may have together.
    limit_in_all: usize,
}

#[derive(Debug)]
struct OwnerRecord {
    table: DescriptorTable,
    credentials: Credentials,
}

impl Owners {
    pub(super) fn new(config: &Config) -> Self {
        let mut owners = Owners {
            owners: Slab::new(),
            removed: VecDeque::new(),
            open: 0,
            limit: config.max_descriptors,
            // So a count of a socket's descriptors fits in 32 bits.
            limit_in_all: config.max_descriptors_in_all.min(u32::MAX as usize),
        };
        let first = owners.add(Credentials::default());
        debug_assert_eq!(first, OwnerId::FIRST);
        owners
    }

    pub(crate) fn add(&mut self, credentials: Credentials) -> OwnerId {
        let table = DescriptorTable::new(OwnerId::FIRST, self.limit);
        let owner = self.owners.insert(OwnerRecord { table, credentials });
        if let Some(record) = self.owners.get_mut(owner) {
            record.table = DescriptorTable::new(owner, self.limit);
        }
        owner
    }

    /// Adds an owner with the descriptors and the credentials of another. The caller counts the
    /// sockets' descriptors. EINVAL if there is no such owner, ENFILE.
    pub(super) fn fork(&mut self, owner: OwnerId) -> Result<OwnerId> {
        let OwnerRecord { table, credentials } = self.owners.get(owner).ok_or(Error::InvalidArgument)?;
        let (credentials, count) = (*credentials, table.open_count());
        if count > self.limit_in_all.saturating_sub(self.open) {
            return Err(Error::TooManyDescriptorsInAll);
        }
        self.open += count;
        let fork = self.add(credentials);
        let table = self.owners.get(owner).map(|record| record.table.fork(fork));
        if let (Some(table), Some(record)) = (table, self.owners.get_mut(fork)) {
            record.table = table;
        }
        Ok(fork)
    }

    pub(super) fn contains(&self, owner: OwnerId) -> bool {
        self.owners.get(owner).is_some()
    }

    /// The credentials of an owner. EINVAL if it does not exist.
    pub(crate) fn credentials(&self, owner: OwnerId) -> Result<Credentials> {
        self.owners.get(owner).map(|record| record.credentials).ok_or(Error::InvalidArgument)
    }

    /// Changes the credentials of an owner. EINVAL if it does not exist.
    pub(crate) fn set_credentials(&mut self, owner: OwnerId, credentials: Credentials) -> Result<()> {
        self.owners.get_mut(owner).ok_or(Error::InvalidArgument)?.credentials = credentials;
        Ok(())
    }

    /// Removes an owner. Its descriptors are then closed one after the other, with
    /// [`next_removed`](Self::next_removed). EINVAL for the first owner, and for one that does not
    /// exist.
    pub(super) fn remove(&mut self, owner: OwnerId) -> Result<()> {
        if owner == OwnerId::FIRST {
            return Err(Error::InvalidArgument);
        }
        let record = self.owners.remove(owner).ok_or(Error::InvalidArgument)?;
        self.removed.push_back(record.table.into_entries());
        Ok(())
    }

    /// Whether descriptors of removed owners are still to be closed.
    pub(super) fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Closes the next number of a removed owner, and returns its socket if it was in use. `None`:
    /// there are no more.
    pub(super) fn next_removed(&mut self) -> Option<Option<SocketId>> {
        loop {
            match self.removed.front_mut()?.next() {
                Some(socket) => {
                    self.open -= usize::from(socket.is_some());
                    return Some(socket);
                }
                None => drop(self.removed.pop_front()),
            }
        }
    }

    /// The open descriptors of an owner and their sockets.
    pub(crate) fn descriptors_of(&self, owner: OwnerId) -> impl Iterator<Item = (Descriptor, SocketId)> {
        self.owners.get(owner).into_iter().flat_map(|record| record.table.iter())
    }

    /// The open descriptor with this number. EBADF.
    pub(crate) fn descriptor(&self, caller: OwnerId, number: u32) -> Result<Descriptor> {
        self.owners.get(caller).ok_or(Error::BadDescriptor)?.table.descriptor(number)
    }

    /// The socket of a descriptor. EBADF if the descriptor is not open, or not the caller's.
    #[inline]
    pub(super) fn socket(&self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.owners.get(caller).ok_or(Error::BadDescriptor)?.table.socket(d)
    }

    /// EMFILE or ENFILE if the next [`open`](Self::open) would fail.
    pub(super) fn check_room(&self, owner: OwnerId) -> Result<()> {
        self.owners.get(owner).ok_or(Error::InvalidArgument)?.table.check_room()?;
        if self.open >= self.limit_in_all {
            return Err(Error::TooManyDescriptorsInAll);
        }
        Ok(())
    }

    /// Allocates the owner's lowest free number for a socket. EMFILE, ENFILE, or EINVAL if the
    /// owner does not exist.
    pub(super) fn open(&mut self, owner: OwnerId, socket: SocketId) -> Result<Descriptor> {
        self.check_room(owner)?;
        let descriptor = self.owners.get_mut(owner).ok_or(Error::InvalidArgument)?.table.open(socket)?;
        self.open += 1;
        Ok(descriptor)
    }

    /// Closes a descriptor, and returns its socket. EBADF.
    pub(super) fn close(&mut self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        let socket = self.owners.get_mut(caller).ok_or(Error::BadDescriptor)?.table.close(d)?;
        self.open -= 1;
        Ok(socket)
    }

    /// The number of slots that owners have ever used.
    pub(super) fn slots(&self) -> u32 {
        self.owners.slots()
    }

    /// The entry with this number in the table of the owner in this slot. `None` after the last
    /// number, `Some(None)` if the number is free.
    pub(super) fn entry(&self, slot: u32, number: u32) -> Option<Option<(Descriptor, SocketId)>> {
        self.owners.at(slot)?.1.table.entry(number)
    }
}
