//! The owners of descriptors. They correspond to processes: each has a descriptor table.

use super::table::{Descriptor, DescriptorTable};
use crate::error::{Error, Result};
use crate::id::{OwnerId, SocketId};
use crate::slab::Slab;

/// The tables of all owners. The first owner always exists.
#[derive(Debug)]
pub(super) struct Owners {
    tables: Slab<OwnerId, DescriptorTable>,
    /// The most descriptors that one owner may have.
    limit: usize,
}

impl Owners {
    pub(super) fn new(limit: usize) -> Self {
        let mut owners = Owners { tables: Slab::new(), limit };
        let first = owners.add();
        debug_assert_eq!(first, OwnerId::FIRST);
        owners
    }

    pub(super) fn add(&mut self) -> OwnerId {
        let owner = self.tables.insert(DescriptorTable::new(OwnerId::FIRST, self.limit));
        if let Some(table) = self.tables.get_mut(owner) {
            *table = DescriptorTable::new(owner, self.limit);
        }
        owner
    }

    pub(super) fn contains(&self, owner: OwnerId) -> bool {
        self.tables.get(owner).is_some()
    }

    /// Removes an owner and returns its table. EINVAL for the first owner, and for one that does
    /// not exist.
    pub(super) fn remove(&mut self, owner: OwnerId) -> Result<DescriptorTable> {
        if owner == OwnerId::FIRST {
            return Err(Error::InvalidArgument);
        }
        self.tables.remove(owner).ok_or(Error::InvalidArgument)
    }

    /// The socket of a descriptor. EBADF if the descriptor is not open, or not the caller's.
    #[inline]
    pub(super) fn socket(&self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.tables.get(caller).ok_or(Error::BadDescriptor)?.socket(d)
    }

    /// EMFILE if the next [`open`](Self::open) would fail.
    pub(super) fn check_room(&self, owner: OwnerId) -> Result<()> {
        self.tables.get(owner).ok_or(Error::InvalidArgument)?.check_room()
    }

    /// Allocates the owner's lowest free number for a socket. EMFILE, or EINVAL if the owner does
    /// not exist.
    pub(super) fn open(&mut self, owner: OwnerId, socket: SocketId) -> Result<Descriptor> {
        self.tables.get_mut(owner).ok_or(Error::InvalidArgument)?.open(socket)
    }

    /// Closes a descriptor, and returns its socket. EBADF.
    pub(super) fn close(&mut self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.tables.get_mut(caller).ok_or(Error::BadDescriptor)?.close(d)
    }

    /// The descriptors of all owners.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Descriptor, SocketId)> {
        self.tables.iter().flat_map(|(_, table)| table.iter())
    }
}
