//! A slab: values under small keys that are used again, with a generation so that a stale key finds nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::array;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

/// Finds a `T` in its [`Slab`]. Ordered only so that it can stand in a sorted set.
pub(crate) struct Key<T> {
    /// And one, so that an `Option` of it is no larger.
    index: NonZeroU32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// Values of one kind. Insert, look up and remove take constant time, also when it grows: it does so by a chunk, and nothing
/// that is there moves.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<Chunk<T>>>,
    /// Slots that were used once and are free.
    free: Vec<u32>,
    /// Slots that were ever used; those behind are free, too.
    used: u32,
}

/// A chunk is small beside the stack that holds it, and large beside its place in the list.
const CHUNK_SLOTS: usize = 64;

/// On the border of a cache line: slots whose size divides it touch one line each, others as few as can be.
#[repr(align(64))]
struct Chunk<T>([Slot<T>; CHUNK_SLOTS]);

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab { chunks: Vec::new(), free: Vec::new(), used: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| self.next_unused());
        let (chunk, place) = place_of(index);
        // It is there: it was used, or was just made.
        let slot = &mut self.chunks[chunk].0[place];
        slot.value = Some(value);
        Key::new(index, slot.generation)
    }

    fn next_unused(&mut self) -> u32 {
        let index = self.used;
        self.used += 1;
        if place_of(index).0 == self.chunks.len() {
            let slots = array::from_fn(|_| Slot { generation: 0, value: None });
            self.chunks.push(Box::new(Chunk(slots)));
        }
        index
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let (chunk, place) = place_of(key.index());
        let slot = &self.chunks.get(chunk)?.0[place];
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slot_mut(key)?;
        slot.value.as_mut()
    }

    /// The slot of a key that is not stale.
    fn slot_mut(&mut self, key: Key<T>) -> Option<&mut Slot<T>> {
        let (chunk, place) = place_of(key.index());
        let slot = &mut self.chunks.get_mut(chunk)?.0[place];
        (slot.generation == key.generation).then_some(slot)
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slot_mut(key)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index());
        Some(value)
    }

    /// The key of what is in the slot of this number.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key<T>> {
        let (chunk, place) = place_of(index);
        let slot = &self.chunks.get(chunk)?.0[place];
        slot.value.is_some().then(|| Key::new(index, slot.generation))
    }

    /// The number of slots ever used.
    pub(crate) fn slots(&self) -> u32 {
        self.used
    }

    pub(crate) fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    /// All values, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.0.iter()).filter_map(|slot| slot.value.as_ref())
    }
}

/// Chunk and place in it.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS)
}

impl<T> Key<T> {
    fn new(index: u32, generation: u32) -> Self {
        Key { index: NonZeroU32::MIN.saturating_add(index), generation, of: PhantomData }
    }

    fn index(self) -> u32 {
        self.index.get() - 1
    }

    /// As numbers; the first is less than the number of slots ever used.
    pub(super) fn into_numbers(self) -> (u32, u32) {
        (self.index(), self.generation)
    }

    pub(super) fn from_numbers((index, generation): (u32, u32)) -> Self {
        Key::new(index, generation)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index(), self.generation)
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {})", self.len(), self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_although_its_place_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn chunk_after_chunk_is_filled_and_freed_places_come_first() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..1000u32).map(|number| slab.insert(number)).collect();
        assert!(slab.iter().copied().eq(0..1000));
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
