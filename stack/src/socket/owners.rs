//! The owners of descriptors, as processes are: each has a table of its own.

use super::id::{OwnerId, SocketId};
use super::slab::Slab;
use super::table::{Descriptor, DescriptorTable};
use crate::error::{Error, Result};

/// The tables of all owners. There is always the first.
#[derive(Debug)]
pub(super) struct Owners {
    tables: Slab<OwnerId, DescriptorTable>,
    /// Descriptors that each may have.
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

    /// Takes an owner out, with what stands in its table. The first one stays: EINVAL, as for one
    /// that is not there.
    pub(super) fn remove(&mut self, owner: OwnerId) -> Result<DescriptorTable> {
        if owner == OwnerId::FIRST {
            return Err(Error::InvalidArgument);
        }
        self.tables.remove(owner).ok_or(Error::InvalidArgument)
    }

    /// EBADF: the descriptor is not open, or not the caller's.
    #[inline]
    pub(super) fn socket(&self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.tables.get(caller).ok_or(Error::BadDescriptor)?.socket(d)
    }

    /// EMFILE when the next [`open`](Self::open) would fail.
    pub(super) fn check_room(&self, owner: OwnerId) -> Result<()> {
        self.tables.get(owner).ok_or(Error::InvalidArgument)?.check_room()
    }

    /// The lowest free number of an owner for a socket. EMFILE, and EINVAL if there is no such
    /// owner.
    pub(super) fn open(&mut self, owner: OwnerId, socket: SocketId) -> Result<Descriptor> {
        self.tables.get_mut(owner).ok_or(Error::InvalidArgument)?.open(socket)
    }

    /// EBADF.
    pub(super) fn close(&mut self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.tables.get_mut(caller).ok_or(Error::BadDescriptor)?.close(d)
    }

    /// The descriptors of all owners.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Descriptor, SocketId)> {
        self.tables.iter().flat_map(|(_, table)| table.iter())
    }
}
