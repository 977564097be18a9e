//! The descriptor table: lowest free number first, a generation behind each number.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use super::id::SocketId;
use crate::error::{Error, Result};

/// What a program holds: a small number, and a generation that makes a stale one an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Descriptor {
    number: u32,
    generation: u32,
}

impl Descriptor {
    /// The number that a program sees, as with POSIX: the lowest that was free.
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fd {}", self.number)
    }
}

/// The descriptors of one owner. A part apart from the sockets: a descriptor only leads to one.
#[derive(Debug)]
pub(crate) struct DescriptorTable {
    entries: Vec<Entry>,
    free: BinaryHeap<Reverse<u32>>,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    socket: Option<SocketId>,
}

impl DescriptorTable {
    pub(crate) fn new(limit: usize) -> Self {
        DescriptorTable { entries: Vec::new(), free: BinaryHeap::new(), limit }
    }

    /// EMFILE when the next [`open`](Self::open) would fail.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.free.is_empty() && self.entries.len() >= self.limit {
            return Err(Error::TooManyDescriptors);
        }
        Ok(())
    }

    /// Gives out the lowest free number.
    pub(crate) fn open(&mut self, socket: SocketId) -> Result<Descriptor> {
        self.check_room()?;
        if let Some(Reverse(number)) = self.free.pop() {
            let entry = &mut self.entries[number as usize];
            entry.socket = Some(socket);
            return Ok(Descriptor { number, generation: entry.generation });
        }
        let number = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, socket: Some(socket) });
        Ok(Descriptor { number, generation: 0 })
    }

    /// EBADF for a number that was never given out or has been closed since.
    pub(crate) fn socket(&self, d: Descriptor) -> Result<SocketId> {
        let entry = self.entries.get(d.number as usize).ok_or(Error::BadDescriptor)?;
        if entry.generation != d.generation {
            return Err(Error::BadDescriptor);
        }
        entry.socket.ok_or(Error::BadDescriptor)
    }

    pub(crate) fn close(&mut self, d: Descriptor) -> Result<SocketId> {
        let socket = self.socket(d)?;
        let entry = &mut self.entries[d.number as usize];
        entry.socket = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(Reverse(d.number));
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::super::slab::Slab;
    use super::*;

    #[test]
    fn the_lowest_free_number_comes_first_and_a_stale_descriptor_is_an_error() {
        let mut sockets: Slab<SocketId, ()> = Slab::new();
        let id = sockets.insert(());
        let mut table = DescriptorTable::new(3);
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
}
