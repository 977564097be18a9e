//! A slab: a container with small keys that are used again. A key has a generation, so that a stale
//! key finds nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::array;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

/// Identifies a value in its [`Slab`]. A slab never uses the same key for two values. It has an
/// order only so that it can be stored in a sorted set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The index plus one, so that an `Option` of the key is not larger.
    index: NonZeroU32,
    generation: u32,
}

/// Values of one type under keys of one type, which wraps [`Key`]. Insertion, look-up and removal
/// take constant time, even when the slab grows: it adds a chunk, and existing values do not move.
pub(crate) struct Slab<Id, T> {
    chunks: Vec<Box<SlotChunk<T>>>,
    /// Free slots that were in use before.
    free: Vec<u32>,
    /// The number of slots that were ever used; those behind them are free, too.
    used: u32,
    /// The number of slots that hold a value.
    len: u32,
    id: PhantomData<fn() -> Id>,
}

/// A chunk is small compared to the stack that contains it, and large compared to its entry in the
/// list.
const CHUNK_SLOTS: usize = 64;

/// Aligned to a cache line: slots whose size divides a line never cross one, and others cross as
/// few as possible.
#[repr(align(64))]
struct SlotChunk<T>([Slot<T>; CHUNK_SLOTS]);

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<Id: From<Key> + Into<Key>, T> Slab<Id, T> {
    pub(crate) fn new() -> Self {
        Slab { chunks: Vec::new(), free: Vec::new(), used: 0, len: 0, id: PhantomData }
    }

    pub(crate) fn insert(&mut self, value: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| self.next_unused());
        let (chunk, place) = place_of(index);
        // The slot exists: it was used before, or was just made.
        let slot = &mut self.chunks[chunk].0[place];
        slot.value = Some(value);
        self.len += 1;
        Key::new(index, slot.generation).into()
    }

    fn next_unused(&mut self) -> u32 {
        let index = self.used;
        self.used += 1;
        if place_of(index).0 == self.chunks.len() {
            let slots = array::from_fn(|_| Slot { generation: 0, value: None });
            self.chunks.push(Box::new(SlotChunk(slots)));
        }
        index
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let key = id.into();
        let (chunk, place) = place_of(key.index());
        let slot = &self.chunks.get(chunk)?.0[place];
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slot_mut(id.into())?;
        slot.value.as_mut()
    }

    /// The slot of a key, unless the key is stale.
    fn slot_mut(&mut self, key: Key) -> Option<&mut Slot<T>> {
        let (chunk, place) = place_of(key.index());
        let slot = &mut self.chunks.get_mut(chunk)?.0[place];
        (slot.generation == key.generation).then_some(slot)
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        let key = id.into();
        let slot = self.slot_mut(key)?;
        let value = slot.value.take()?;
        // A slot without further generations is not used again, so that no key is used twice.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(key.index());
        }
        self.len -= 1;
        Some(value)
    }

    /// The key of the value in the slot with this number.
    pub(crate) fn id_of(&self, index: u32) -> Option<Id> {
        let (chunk, place) = place_of(index);
        let slot = &self.chunks.get(chunk)?.0[place];
        slot.value.is_some().then(|| Key::new(index, slot.generation).into())
    }

    /// The key and the value in the slot with this number.
    pub(crate) fn at(&self, index: u32) -> Option<(Id, &T)> {
        let (chunk, place) = place_of(index);
        let slot = &self.chunks.get(chunk)?.0[place];
        slot.value.as_ref().map(|value| (Key::new(index, slot.generation).into(), value))
    }

    /// All values and their keys, in the order of their slots.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        (0..self.used).filter_map(|index| self.at(index))
    }
}

impl<Id, T> Slab<Id, T> {
    /// The number of slots that were ever used.
    pub(crate) fn slots(&self) -> u32 {
        self.used
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }
}

/// The chunk of a slot, and its position in the chunk.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS)
}

impl Key {
    /// The key of the first value that a slab holds.
    pub(crate) const FIRST: Key = Key { index: NonZeroU32::MIN, generation: 0 };

    fn new(index: u32, generation: u32) -> Self {
        Key { index: NonZeroU32::MIN.saturating_add(index), generation }
    }

    fn index(self) -> u32 {
        self.index.get() - 1
    }

    /// The key as numbers; the first is less than the number of slots that were ever used.
    pub(crate) fn into_numbers(self) -> (u32, u32) {
        (self.index(), self.generation)
    }

    pub(crate) fn from_numbers((index, generation): (u32, u32)) -> Self {
        Key::new(index, generation)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index(), self.generation)
    }
}

impl<Id, T> fmt::Debug for Slab<Id, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {})", self.len, self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_although_its_place_is_used_again() {
        let mut slab: Slab<Key, char> = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_key_never_comes_again() {
        let mut slab: Slab<Key, char> = Slab::new();
        let first = slab.insert('a');
        slab.chunks[0].0[0].generation = u32::MAX;
        let last = Key::new(0, u32::MAX);
        assert_eq!(slab.remove(last), Some('a'));
        let next = slab.insert('b');
        assert_ne!(next.index, first.index);
        assert_eq!((slab.get(first), slab.get(last), slab.get(next)), (None, None, Some(&'b')));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn chunk_after_chunk_is_filled_and_freed_places_come_first() {
        let mut slab: Slab<Key, u32> = Slab::new();
        let keys: Vec<_> = (0..1000u32).map(|number| slab.insert(number)).collect();
        assert!(slab.iter().eq(keys.iter().copied().zip(&Vec::from_iter(0..1000))));
        for key in keys.iter().step_by(3) {
            slab.remove(*key);
        }
        assert_eq!(slab.len(), 666);
        for number in 0..334 {
            assert!(slab.insert(number).index() < 1000);
        }
        assert_eq!((slab.len(), slab.insert(7).index()), (1000, 1000));
        assert_eq!(slab.chunks.len(), 1001usize.div_ceil(CHUNK_SLOTS));
    }
}
