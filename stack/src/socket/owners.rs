//! The owners of descriptors. They correspond to processes: each has a descriptor table and
//! credentials.

use super::credentials::Credentials;
use super::table::{Descriptor, DescriptorTable};
use crate::error::{Error, Result};
use crate::id::{OwnerId, SocketId};
use crate::slab::Slab;

/// All owners. The first owner always exists.
#[derive(Debug)]
pub(crate) struct Owners {
    owners: Slab<OwnerId, OwnerRecord>,
    /// The most descriptors that one owner may have.
    limit: usize,
}

#[derive(Debug)]
struct OwnerRecord {
    table: DescriptorTable,
    credentials: Credentials,
}

impl Owners {
    pub(super) fn new(limit: usize) -> Self {
        let mut owners = Owners { owners: Slab::new(), limit };
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

    /// Removes an owner and returns its table. EINVAL for the first owner, and for one that does
    /// not exist.
    pub(super) fn remove(&mut self, owner: OwnerId) -> Result<DescriptorTable> {
        if owner == OwnerId::FIRST {
            return Err(Error::InvalidArgument);
        }
        self.owners.remove(owner).map(|record| record.table).ok_or(Error::InvalidArgument)
    }

    /// The socket of a descriptor. EBADF if the descriptor is not open, or not the caller's.
    #[inline]
    pub(super) fn socket(&self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.owners.get(caller).ok_or(Error::BadDescriptor)?.table.socket(d)
    }

    /// EMFILE if the next [`open`](Self::open) would fail.
    pub(super) fn check_room(&self, owner: OwnerId) -> Result<()> {
        self.owners.get(owner).ok_or(Error::InvalidArgument)?.table.check_room()
    }

    /// Allocates the owner's lowest free number for a socket. EMFILE, or EINVAL if the owner does
    /// not exist.
    pub(super) fn open(&mut self, owner: OwnerId, socket: SocketId) -> Result<Descriptor> {
        self.owners.get_mut(owner).ok_or(Error::InvalidArgument)?.table.open(socket)
    }

    /// Closes a descriptor, and returns its socket. EBADF.
    pub(super) fn close(&mut self, caller: OwnerId, d: Descriptor) -> Result<SocketId> {
        self.owners.get_mut(caller).ok_or(Error::BadDescriptor)?.table.close(d)
    }

    /// The descriptors of all owners.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Descriptor, SocketId)> {
        self.owners.iter().flat_map(|(_, record)| record.table.iter())
    }
}
