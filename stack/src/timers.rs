//! The deadlines of many owners in a hierarchical timing wheel: arming and moving one costs the same however many there
//! are, and none fires early.
//!
//! ```text
//!                      now
//!   near: sorted ------>|<- wheel 0: 64 ticks ->|<- wheel 1: 64 of 64 ticks ->|<- wheel 2 ...
//! ```
//!
//! A deadline lies in the lowest wheel in which it and the present differ, so all in a lower one come before all in a higher
//! one. When the present comes to a place of a wheel, what lies there moves to lower ones, and in the end, the tick
//! having come in which it is due, to `near`, which is sorted by the nanosecond.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::time::Instant;

/// A tick is 2^20 ns, about a millisecond.
const TICK_SHIFT: u32 = 20;
/// Places of a wheel: as many as a word has bits.
const SLOTS: usize = 64;
const SLOT_BITS: u32 = SLOTS.ilog2();
/// Together they hold any time there is.
const WHEELS: usize = (u64::BITS - TICK_SHIFT).div_ceil(SLOT_BITS) as usize;
/// No entry.
const NONE: u32 = u32::MAX;
/// Behind all places in wheels: the entry is in `near`.
const NEAR: u16 = (WHEELS * SLOTS) as u16;
/// So many entries are compared to tell the first deadline exactly.
const LOOK_AT_MOST: usize = 16;

/// Deadlines by time. Each owner keeps its own [`Armed`], so that it has at most one entry.
#[derive(Debug)]
pub(crate) struct Timers<Owner> {
    entries: Vec<Entry<Owner>>,
    /// The first of the entries that are not in use, linked by `next`.
    free: u32,
    /// The tick to which the wheels are turned: nothing in them is due in it, or before.
    tick: u64,
    wheels: Box<[Wheel; WHEELS]>,
    near: BTreeSet<(Instant, u32)>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Wheel {
    /// A bit for each place where something lies.
    occupied: u64,
    /// The first entry of each place's list.
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<Owner> {
    at: Instant,
    owner: Owner,
    previous: u32,
    next: u32,
    /// The number of the wheel and of the place in it, as one; or [`NEAR`].
    place: u16,
}

/// When an owner's entry is due, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    at: Instant,
    entry: u32,
}

impl<Owner: Copy> Timers<Owner> {
    pub(crate) fn new() -> Self {
        Timers {
            entries: Vec::new(),
            free: NONE,
            tick: 0,
            wheels: Box::new([Wheel { occupied: 0, heads: [NONE; SLOTS] }; WHEELS]),
            near: BTreeSet::new(),
            len: 0,
        }
    }

    /// Sees to it that the owner is called by `at`, if at all.
    ///
    /// An entry that stands earlier is left there: the owner is called early, finds nothing to do, and arms anew. So a
    /// deadline that moves on with every segment, or comes and goes with every question and answer, costs nothing.
    #[inline]
    pub(crate) fn arm(&mut self, armed: &mut Armed, owner: Owner, at: Option<Instant>) {
        // Not armed is far in the future.
        if let Some(at) = at
            && at < armed.at
        {
            self.bring_forward(armed, owner, at);
        }
    }

    fn bring_forward(&mut self, armed: &mut Armed, owner: Owner, at: Instant) {
        if armed.entry == NONE {
            armed.entry = self.take_entry(at, owner);
        } else {
            self.unlink(armed.entry);
            self.entries[armed.entry as usize].at = at;
        }
        armed.at = at;
        self.link(armed.entry);
    }

    /// The owner is not to be called: it goes.
    pub(crate) fn disarm(&mut self, armed: &mut Armed) {
        if armed.entry != NONE {
            self.unlink(armed.entry);
            self.give_back(armed.entry);
            armed.fired();
        }
    }

    /// The first deadline, or a time before it when very many lie near each other.
    pub(crate) fn first(&self) -> Option<(Instant, Owner)> {
        if let Some(&(at, entry)) = self.near.first() {
            return Some((at, self.entries[entry as usize].owner));
        }
        let place = self.first_place()?;
        let (wheel, slot) = wheel_and_slot(place);
        let mut list = self.list(self.wheels[wheel].heads[slot]);
        let first = list.by_ref().take(LOOK_AT_MOST).min_by_key(|entry| entry.at)?;
        let at = if list.next().is_none() { first.at } else { start_of_tick(self.start_of(place)) };
        Some((at, first.owner))
    }

    /// Takes out the first owner whose time has come. The caller resets its [`Armed`] with [`Armed::fired`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Owner> {
        loop {
            if let Some(&(at, entry)) = self.near.first()
                && at <= now
            {
                self.near.pop_first();
                return Some(self.give_back(entry));
            }
            let present = tick_of(now);
            match self.first_place().map(|place| (place, self.start_of(place))) {
                Some((place, start)) if start <= present => self.turn_to(place, start),
                // What lies in the wheels is later, and stays where it is: between here and the place where it lies
                // the ticks that differ are the same.
                _ => {
                    self.tick = self.tick.max(present);
                    return None;
                }
            }
        }
    }

    /// The present has come to the first place where something lies: it moves on.
    fn turn_to(&mut self, place: u16, start: u64) {
        let (wheel, slot) = wheel_and_slot(place);
        let wheel = &mut self.wheels[wheel];
        wheel.occupied &= !(1 << slot);
        let mut entry = core::mem::replace(&mut wheel.heads[slot], NONE);
        self.tick = start;
        while entry != NONE {
            let next = self.entries[entry as usize].next;
            self.link(entry);
            entry = next;
        }
    }

    /// The earliest place where something lies. In each wheel only places ahead hold anything.
    fn first_place(&self) -> Option<u16> {
        let wheel = self.wheels.iter().position(|wheel| wheel.occupied != 0)?;
        let slot = self.wheels[wheel].occupied.trailing_zeros();
        // At most WHEELS * SLOTS.
        Some((wheel * SLOTS) as u16 + slot as u16)
    }

    /// The first tick of a place ahead.
    fn start_of(&self, place: u16) -> u64 {
        let (wheel, slot) = wheel_and_slot(place);
        let shift = wheel as u32 * SLOT_BITS;
        let turn = shift + SLOT_BITS;
        (self.tick >> turn << turn) | (slot as u64) << shift
    }

    /// Where a deadline lies, seen from the present.
    fn place_of(&self, at: Instant) -> u16 {
        let tick = tick_of(at);
        if tick <= self.tick {
            return NEAR;
        }
        let wheel = (tick ^ self.tick).ilog2() / SLOT_BITS;
        let slot = tick >> (wheel * SLOT_BITS) & (SLOTS as u64 - 1);
        (wheel as usize * SLOTS) as u16 + slot as u16
    }

    fn link(&mut self, index: u32) {
        let at = self.entries[index as usize].at;
        let place = self.place_of(at);
        let mut head = NONE;
        if place == NEAR {
            self.near.insert((at, index));
        } else {
            let (wheel, slot) = wheel_and_slot(place);
            let wheel = &mut self.wheels[wheel];
            wheel.occupied |= 1 << slot;
            head = core::mem::replace(&mut wheel.heads[slot], index);
            if let Some(next) = self.entries.get_mut(head as usize) {
                next.previous = index;
            }
        }
        let entry = &mut self.entries[index as usize];
        (entry.place, entry.previous, entry.next) = (place, NONE, head);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { at, place, previous, next, .. } = self.entries[index as usize];
        if place == NEAR {
            self.near.remove(&(at, index));
            return;
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.entries.get_mut(previous as usize) {
            previous.next = next;
            return;
        }
        let (wheel, slot) = wheel_and_slot(place);
        let wheel = &mut self.wheels[wheel];
        wheel.heads[slot] = next;
        if next == NONE {
            wheel.occupied &= !(1 << slot);
        }
    }

    fn take_entry(&mut self, at: Instant, owner: Owner) -> u32 {
        self.len += 1;
        let entry = Entry { at, owner, previous: NONE, next: NONE, place: NEAR };
        match self.entries.get_mut(self.free as usize) {
            Some(free) => {
                let index = core::mem::replace(&mut self.free, free.next);
                *free = entry;
                index
            }
            None => {
                // There are fewer sockets than numbers.
                let index = self.entries.len() as u32;
                self.entries.push(entry);
                index
            }
        }
    }

    /// The entry is linked nowhere, and nobody's any more.
    fn give_back(&mut self, index: u32) -> Owner {
        self.len -= 1;
        let entry = &mut self.entries[index as usize];
        entry.next = self.free;
        self.free = index;
        let owner = entry.owner;
        if self.len == 0 {
            // A rush is over: its memory goes.
            (self.entries, self.free) = (Vec::new(), NONE);
        }
        owner
    }

    fn list(&self, head: u32) -> impl Iterator<Item = &Entry<Owner>> {
        let first = self.entries.get(head as usize);
        core::iter::successors(first, |entry| self.entries.get(entry.next as usize))
    }
}

fn tick_of(at: Instant) -> u64 {
    at.as_nanos() >> TICK_SHIFT
}

fn start_of_tick(tick: u64) -> Instant {
    Instant::from_nanos(tick << TICK_SHIFT)
}

fn wheel_and_slot(place: u16) -> (usize, usize) {
    (usize::from(place) / SLOTS, usize::from(place) % SLOTS)
}

impl Default for Armed {
    /// Not at all.
    fn default() -> Self {
        Armed { at: Instant::FAR_FUTURE, entry: NONE }
    }
}

impl Armed {
    /// The owner was given out.
    pub(crate) fn fired(&mut self) {
        *self = Armed::default();
    }
}

#[cfg(test)]
mod tests;
