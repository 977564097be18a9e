//! The table of TCP connections: finds the record for the four-tuple of a segment.
//!
//! The table does not contain the four-tuples: they are in the records and are compared there. So
//! an entry takes 12 bytes instead of 56, and a look-up reads only what handling the segment reads
//! anyway.

use hashbrown::HashTable;

use super::time_waits::TimeWaitId;
use crate::demux::FourTuple;
use crate::hash::Keyed;
use crate::id::{HandshakeId, PendingId, SocketId};
use crate::rng::Rng;
use crate::slab::Key;

/// The record that a segment's four-tuple leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Connection(SocketId),
    Handshake(HandshakeId),
    TimeWait(TimeWaitId),
    Pending(PendingId),
}

/// A packed target, and its hash, so that a growing table need not read all records again.
#[derive(Debug)]
struct PackedTarget {
    hash: u32,
    /// The kind in the upper two bits, the slot in the others.
    kind_and_slot: u32,
    number: u32,
}

const SLOT_BITS: u32 = 30;

impl PackedTarget {
    fn new(hash: u32, target: Target) -> PackedTarget {
        let (kind, (slot, number)) = match target {
            Target::Connection(id) => (0, Key::from(id).into_numbers()),
            Target::Handshake(id) => (1, Key::from(id).into_numbers()),
            Target::TimeWait(id) => (2, (0, id.0)),
            Target::Pending(id) => (3, Key::from(id).into_numbers()),
        };
        // There is never memory for 2^30 sockets.
        PackedTarget { hash, kind_and_slot: kind << SLOT_BITS | slot, number }
    }

    fn target(&self) -> Target {
        let key = Key::from_numbers((self.kind_and_slot & ((1 << SLOT_BITS) - 1), self.number));
        match self.kind_and_slot >> SLOT_BITS {
            0 => Target::Connection(key.into()),
            1 => Target::Handshake(key.into()),
            2 => Target::TimeWait(TimeWaitId(self.number)),
            _ => Target::Pending(key.into()),
        }
    }
}

/// The table; see the [module](self). Each record has one entry, under its four-tuple.
#[derive(Debug)]
pub(super) struct Connections {
    entries: HashTable<PackedTarget>,
    key: Keyed,
}

impl Connections {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Connections { entries: HashTable::new(), key: Keyed::new(rng) }
    }

    /// Finds the record with this four-tuple. `is_it` tells whether a record has it; it is called
    /// for a wrong record only once in 2^32 look-ups.
    pub(super) fn find(&self, tuple: &FourTuple, mut is_it: impl FnMut(Target) -> bool) -> Option<Target> {
        let hash = self.hash(tuple);
        let found = self.entries.find(spread(hash), |entry| entry.hash == hash && is_it(entry.target()));
        found.map(PackedTarget::target)
    }

    /// Inserts a record whose four-tuple is not in the table.
    pub(super) fn insert(&mut self, tuple: &FourTuple, target: Target) {
        let hash = self.hash(tuple);
        self.entries.insert_unique(spread(hash), PackedTarget::new(hash, target), |entry| spread(entry.hash));
    }

    /// Replaces one record by another with the same four-tuple.
    pub(super) fn replace(&mut self, tuple: &FourTuple, old: Target, new: Target) {
        let hash = self.hash(tuple);
        match self.entries.find_mut(spread(hash), |entry| entry.target() == old) {
            Some(entry) => *entry = PackedTarget::new(hash, new),
            None => debug_assert!(false, "{old:?} does not stand under {tuple:?}"),
        }
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple, target: Target) {
        let hash = self.hash(tuple);
        if let Ok(entry) = self.entries.find_entry(spread(hash), |entry| entry.target() == target) {
            entry.remove();
        }
    }

    fn hash(&self, tuple: &FourTuple) -> u32 {
        tuple.hash_with(&self.key) as u32
    }
}

/// Spreads a hash: the table takes the position from the low bits and a tag from the high bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Endpoint;
    use std::vec::Vec;

    fn tuple(number: u32) -> FourTuple {
        FourTuple {
            local: Endpoint::new([10, 0, 0, 1].into(), 80),
            remote: Endpoint::new(core::net::Ipv4Addr::from_bits(number).into(), number as u16),
            scope: 0,
        }
    }

    /// Otherwise a look-up would visit all entries.
    #[test]
    fn hashes_differ_in_the_bits_that_choose_the_place_and_in_those_of_the_tag() {
        let hashes = || (0..1024u32).map(|number| number << 22 | number);
        for part in [|hash: u32| spread(hash) & 0x3ff, |hash: u32| spread(hash) >> 54] {
            let parts: std::collections::BTreeSet<u64> = hashes().map(part).collect();
            assert_eq!(parts.len(), 1024);
        }
    }

    #[test]
    fn each_is_found_by_its_numbers_while_the_table_grows_and_shrinks() {
        let mut table = Connections::new(&mut Rng::new([7; 32]));
        let mut records = Vec::new();
        let target = |index: usize| Target::TimeWait(TimeWaitId(index as u32));
        for index in 0..5_000 {
            records.push(Some(tuple(index as u32)));
            table.insert(&tuple(index as u32), target(index));
        }
        let find = |table: &Connections, records: &[Option<FourTuple>], numbers: FourTuple| {
            let is_it = |found: Target| {
                (0..records.len()).any(|at| target(at) == found && records[at] == Some(numbers))
            };
            table.find(&numbers, is_it)
        };
        for index in (0..5_000).step_by(2) {
            table.remove(&tuple(index as u32), target(index));
            records[index] = None;
        }
        for index in (0..5_000).step_by(17) {
            let expected = (index % 2 == 1).then(|| target(index));
            assert_eq!(find(&table, &records, tuple(index as u32)), expected);
        }
        table.replace(&tuple(1), target(1), target(0));
        records.swap(0, 1);
        assert_eq!(find(&table, &records, tuple(1)), Some(target(0)));
        // Removing an entry that is no longer there removes no other.
        table.remove(&tuple(1), target(1));
        assert_eq!(find(&table, &records, tuple(1)), Some(target(0)));
    }
}
