//! The descriptor table of one owner. It gives out the lowest free number, with a generation.

use alloc::collections::BinaryHeap;
use alloc::vec::{self, Vec};
use core::cmp::Reverse;
use core::fmt;

use crate::error::{Error, Result};
use crate::id::{OwnerId, SocketId};

/// The handle with which a program names a socket: a small number, the owner of the table that
/// contains it, and a generation that makes a stale descriptor an error. It means nothing to
/// another owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Descriptor {
    owner: OwnerId,
    number: u32,
    generation: u32,
}

impl Descriptor {
    /// The number, as in POSIX: the lowest that was free.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The owner of the table that contains the descriptor.
    pub const fn owner(self) -> OwnerId {
        self.owner
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.number)?;
        if self.owner != OwnerId::FIRST {
            write!(f, " of owner {:?}", self.owner)?;
        }
        Ok(())
    }
}

/// The descriptors of one owner. Each refers to a socket, and several may refer to the same one.
#[derive(Debug)]
pub(super) struct DescriptorTable {
    owner: OwnerId,
    entries: Vec<DescriptorEntry>,
    free: BinaryHeap<Reverse<u32>>,
    /// The number of open descriptors.
    open: usize,
    limit: usize,
}

#[derive(Clone, Debug)]
struct DescriptorEntry {
    generation: u32,
    socket: Option<SocketId>,
}

impl DescriptorTable {
    pub(super) fn new(owner: OwnerId, limit: usize) -> Self {
        DescriptorTable { owner, entries: Vec::new(), free: BinaryHeap::new(), open: 0, limit }
    }

    /// EMFILE if the next [`open`](Self::open) would fail.
    pub(super) fn check_room(&self) -> Result<()> {
        if self.free.is_empty() && self.entries.len() >= self.limit {
            return Err(Error::TooManyDescriptors);
        }
        Ok(())
    }

    /// Allocates the lowest free number.
    pub(super) fn open(&mut self, socket: SocketId) -> Result<Descriptor> {
        self.check_room()?;
        let number = match self.free.pop() {
            Some(Reverse(number)) => number,
            None => {
                self.entries.push(DescriptorEntry { generation: 0, socket: None });
                self.entries.len() as u32 - 1
            }
        };
        let entry = &mut self.entries[number as usize];
        entry.socket = Some(socket);
        self.open += 1;
        Ok(Descriptor { owner: self.owner, number, generation: entry.generation })
    }

    /// The socket of a descriptor. EBADF for a descriptor of another owner, one that never existed,
    /// or one that was closed.
    pub(super) fn socket(&self, d: Descriptor) -> Result<SocketId> {
        let entry = self.entries.get(d.number as usize).ok_or(Error::BadDescriptor)?;
        if entry.generation != d.generation || d.owner != self.owner {
            return Err(Error::BadDescriptor);
        }
        entry.socket.ok_or(Error::BadDescriptor)
    }

    pub(super) fn close(&mut self, d: Descriptor) -> Result<SocketId> {
        let socket = self.socket(d)?;
        let entry = &mut self.entries[d.number as usize];
        entry.socket = None;
        self.open -= 1;
        // A number whose generations are used up is not given out again, so that no descriptor
        // comes twice.
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            self.free.push(Reverse(d.number));
        }
        Ok(socket)
    }

    /// The number of open descriptors.
    pub(super) fn open_count(&self) -> usize {
        self.open
    }

    /// The open descriptor with this number. EBADF.
    pub(super) fn descriptor(&self, number: u32) -> Result<Descriptor> {
        let entry = self.entries.get(number as usize).ok_or(Error::BadDescriptor)?;
        entry.socket.ok_or(Error::BadDescriptor)?;
        Ok(Descriptor { owner: self.owner, number, generation: entry.generation })
    }

    /// The entry with this number. `None` after the last number, `Some(None)` if the number is
    /// free.
    pub(super) fn entry(&self, number: u32) -> Option<Option<(Descriptor, SocketId)>> {
        let DescriptorEntry { generation, socket } = *self.entries.get(number as usize)?;
        Some(socket.map(|socket| (Descriptor { owner: self.owner, number, generation }, socket)))
    }

    /// A table of another owner with the same descriptors.
    pub(super) fn fork(&self, owner: OwnerId) -> DescriptorTable {
        let DescriptorTable { owner: _, entries, free, open, limit } = self;
        DescriptorTable { owner, entries: entries.clone(), free: free.clone(), open: *open, limit: *limit }
    }

    /// The entries in the order of their numbers, to be closed one after the other.
    pub(super) fn into_entries(self) -> RemovedEntries {
        RemovedEntries(self.entries.into_iter())
    }

    /// All open descriptors and their sockets, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Descriptor, SocketId)> {
        let owner = self.owner;
        self.entries.iter().zip(0..).filter_map(move |(entry, number)| {
            let generation = entry.generation;
            entry.socket.map(|socket| (Descriptor { owner, number, generation }, socket))
        })
    }
}

/// The entries of a table whose owner was removed.
#[derive(Debug)]
pub(super) struct RemovedEntries(vec::IntoIter<DescriptorEntry>);

impl Iterator for RemovedEntries {
    /// The socket of a descriptor; `None` for a free number.
    type Item = Option<SocketId>;

    fn next(&mut self) -> Option<Option<SocketId>> {
        self.0.next().map(|entry| entry.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn the_lowest_free_number_comes_first_and_a_stale_descriptor_is_an_error() {
        let mut sockets: Slab<SocketId, ()> = Slab::new();
        let id = sockets.insert(());
        let mut table = DescriptorTable::new(OwnerId::FIRST, 3);
        let all = [table.open(id).unwrap(), table.open(id).unwrap(), table.open(id).unwrap()];
        assert_eq!(all.map(Descriptor::number), [0, 1, 2]);
        assert_eq!(table.open(id), Err(Error::TooManyDescriptors));
        table.close(all[2]).unwrap();
        table.close(all[0]).unwrap();
        assert_eq!(table.close(all[0]), Err(Error::BadDescriptor));
        let again = table.open(id).unwrap();
        assert_eq!(again.number(), 0);
        assert_ne!(again, all[0]);
        assert_eq!(table.socket(all[0]), Err(Error::BadDescriptor));
        assert_eq!(table.socket(again), Ok(id));
    }

    #[test]
    fn no_descriptor_comes_twice() {
        let id = Slab::<SocketId, ()>::new().insert(());
        let mut table = DescriptorTable::new(OwnerId::FIRST, 2);
        let first = table.open(id).unwrap();
        table.entries[0].generation = u32::MAX;
        let last = Descriptor { generation: u32::MAX, ..first };
        assert_eq!(table.close(last), Ok(id));
        assert_eq!(table.open(id).map(Descriptor::number), Ok(1));
        assert_eq!([first, last].map(|stale| table.socket(stale)), [Err(Error::BadDescriptor); 2]);
        assert_eq!(table.open(id), Err(Error::TooManyDescriptors));
    }
}
