//! Who waits for which descriptor.
//!
//! One record per descriptor; while somebody is parked there, with a condition variable for those who want to read and one
//! for those who want to write. An event wakes one of them; whoever ends a call while the descriptor is still ready wakes
//! the next ([`WaiterTable::pass_on`]). So a hundred threads in `accept` cost one wake-up a connection, and none is
//! forgotten although several happenings may be one event.
//!
//! The thread that leads ([`lead`](crate::engine::leader)) waits, too, but not on a condition variable: the table knows what for
//! ([`WaiterTable::leading`]), and an event for it is the leader's before it is anybody's who is parked.

use std::sync::Arc;

use portolan::{Descriptor, Error, Event, Readiness, Stack};
use smallvec::SmallVec;

use crate::engine::bell::Bell;
use crate::sync::Condvar;

/// How many of those who parked last are remembered.
const REMEMBERED: usize = 8;

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn is_met_by(self, readiness: Readiness) -> bool {
        let ended = readiness.hung_up || readiness.error;
        match self {
            Interest::Read => readiness.readable || readiness.peer_closed || ended,
            Interest::Write => readiness.writable || ended,
        }
    }
}

/// What the waiters of a descriptor sleep on, always together with the core's mutex.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    readers: Condvar,
    writers: Condvar,
}

impl Parking {
    pub(crate) fn condvar(&self, interest: Interest) -> &Condvar {
        match interest {
            Interest::Read => &self.readers,
            Interest::Write => &self.writers,
        }
    }
}

/// The waiters of one descriptor that want the same.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// Counts what happened. A caller notes it when a call says `WouldBlock` and sleeps only while it is the same: an
    /// event between the call and the sleep is not lost.
    pub(crate) happenings: u32,
    /// Those who are parked.
    sleepers: u32,
}

/// All that most descriptors have most of the time is 40 bytes: there may be many.
#[derive(Debug)]
pub(crate) struct Waiters {
    descriptor: Descriptor,
    read: Side,
    write: Side,
    extras: Option<Box<Extras>>,
}

/// What few descriptors have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// While somebody sleeps there.
    parking: Option<Arc<Parking>>,
    /// An error that ended a call which had taken data before it: the next call returns it.
    pub(crate) deferred_error: Option<Error>,
    /// Rung for readers who wait for sockets of several stacks.
    pub(crate) bell: Option<Arc<Bell>>,
}

impl Waiters {
    fn new(descriptor: Descriptor) -> Self {
        Waiters { descriptor, read: Side::default(), write: Side::default(), extras: None }
    }

    pub(crate) fn side(&mut self, interest: Interest) -> &mut Side {
        match interest {
            Interest::Read => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(crate) fn take_deferred_error(&mut self) -> Option<Error> {
        let error = self.extras.as_mut()?.deferred_error.take();
        self.drop_extras_if_empty();
        error
    }

    /// Somebody is about to park: where.
    fn park(&mut self, interest: Interest) -> Arc<Parking> {
        self.side(interest).sleepers += 1;
        self.extras().parking.get_or_insert_default().clone()
    }

    /// Somebody was parked and is awake.
    pub(crate) fn unpark(&mut self, interest: Interest) {
        self.side(interest).sleepers -= 1;
        if self.read.sleepers == 0
            && self.write.sleepers == 0
            && let Some(extras) = &mut self.extras
        {
            extras.parking = None;
            self.drop_extras_if_empty();
        }
    }

    fn drop_extras_if_empty(&mut self) {
        self.extras.take_if(|extras| {
            extras.parking.is_none() && extras.deferred_error.is_none() && extras.bell.is_none()
        });
    }

    /// What those sleep on who are parked and want this.
    fn parking(&mut self, interest: Interest) -> Option<&Arc<Parking>> {
        if self.side(interest).sleepers == 0 {
            return None;
        }
        self.extras.as_ref()?.parking.as_ref()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum HowMany {
    One,
    All,
}

/// Who is to be woken once the lock is released: those who wake up want it.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    parked: SmallVec<[(Arc<Parking>, Interest, HowMany); 4]>,
    /// With whether everybody is meant who listens.
    bells: Vec<(Arc<Bell>, bool)>,
    /// The driving thread, whether it leads, watches or rests.
    pub(crate) driver: bool,
    /// The caller that leads.
    pub(crate) caller: bool,
    /// What the leader waits for has happened. It is to be woken if it sleeps.
    pub(crate) leader_is_met: bool,
    /// Those who watch the stack's progress.
    pub(crate) watchers: bool,
}

impl Wakes {
    /// Whether somebody who is parked will be woken.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(crate) fn notify_parked(&mut self) {
        for (parking, interest, how_many) in self.parked.drain(..) {
            match how_many {
                HowMany::One => parking.condvar(interest).notify_one(),
                HowMany::All => parking.condvar(interest).notify_all(),
            }
        }
        for (bell, all) in self.bells.drain(..) {
            bell.ring(all);
        }
    }
}

const CHUNK_RECORDS: usize = 64;

/// Chunk and place in it.
fn place_of(descriptor: Descriptor) -> (usize, usize) {
    let number = descriptor.number() as usize;
    (number / CHUNK_RECORDS, number % CHUNK_RECORDS)
}

/// The records of all descriptors that sockets of this runtime hold.
#[derive(Debug, Default)]
pub(crate) struct WaiterTable {
    /// By the number of the descriptor: the stack gives out the lowest free one. In chunks, so that a table that grows has
    /// hardly any room to spare.
    chunks: Vec<Box<[Option<Waiters>]>>,
    /// What the caller waits for that leads.
    pub(crate) leading: Option<(Descriptor, Interest)>,
    /// Who parked last, the last one at the end. Some may have gone since.
    parked_last: SmallVec<[(Descriptor, Interest); REMEMBERED]>,
}

impl WaiterTable {
    pub(crate) fn insert(&mut self, descriptor: Descriptor) {
        let (chunk, place) = place_of(descriptor);
        while self.chunks.len() <= chunk {
            self.chunks.push((0..CHUNK_RECORDS).map(|_| None).collect());
        }
        self.chunks[chunk][place] = Some(Waiters::new(descriptor));
    }

    /// Forgets a descriptor and wakes all who wait for it; they find it closed.
    pub(crate) fn remove(&mut self, descriptor: Descriptor, wakes: &mut Wakes) {
        self.wake_all(descriptor, wakes);
        if let Some(record) = self.record(descriptor) {
            record.take_if(|waiters| waiters.descriptor == descriptor);
        }
    }

    fn record(&mut self, descriptor: Descriptor) -> Option<&mut Option<Waiters>> {
        let (chunk, place) = place_of(descriptor);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    pub(crate) fn of(&mut self, descriptor: Descriptor) -> Option<&mut Waiters> {
        let waiters = self.record(descriptor)?.as_mut()?;
        (waiters.descriptor == descriptor).then_some(waiters)
    }

    /// Counts a happening, and finds whom it wakes: if only one, then the leader first.
    fn wake(&mut self, descriptor: Descriptor, interest: Interest, how_many: HowMany, wakes: &mut Wakes) {
        let leads = self.leading == Some((descriptor, interest));
        let Some(waiters) = self.of(descriptor) else { return };
        let side = waiters.side(interest);
        side.happenings = side.happenings.wrapping_add(1);
        if interest == Interest::Read
            && let Some(bell) = waiters.extras.as_ref().and_then(|extras| extras.bell.as_ref())
        {
            wakes.bells.push((bell.clone(), matches!(how_many, HowMany::All)));
        }
        wakes.leader_is_met |= leads;
        if !(leads && matches!(how_many, HowMany::One))
            && let Some(parking) = waiters.parking(interest)
        {
            wakes.parked.push((parking.clone(), interest, how_many));
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, wakes: &mut Wakes) {
        // What ended concerns everybody; data, a connection or room only one.
        let ended = event.readiness.hung_up || event.readiness.error;
        let how_many = if ended { HowMany::All } else { HowMany::One };
        for interest in [Interest::Read, Interest::Write] {
            if interest.is_met_by(event.readiness) {
                self.wake(event.descriptor, interest, how_many, wakes);
            }
        }
    }

    /// A call on this descriptor got what it wanted, or an error: if others wait for the same and it is still ready, the
    /// next may try.
    pub(crate) fn pass_on(
        &mut self,
        descriptor: Descriptor,
        interest: Interest,
        stack: &Stack,
        wakes: &mut Wakes,
    ) {
        let leads = self.leading == Some((descriptor, interest));
        let Some(waiters) = self.of(descriptor) else { return };
        if (leads || waiters.parking(interest).is_some())
            && stack.readiness(descriptor).is_ok_and(|readiness| interest.is_met_by(readiness))
        {
            self.wake(descriptor, interest, HowMany::One, wakes);
        }
    }

    pub(crate) fn wake_all(&mut self, descriptor: Descriptor, wakes: &mut Wakes) {
        for interest in [Interest::Read, Interest::Write] {
            self.wake(descriptor, interest, HowMany::All, wakes);
        }
    }

    /// The runtime is over.
    pub(crate) fn wake_everybody(&mut self, wakes: &mut Wakes) {
        let records = self.chunks.iter().flat_map(|chunk| chunk.iter()).flatten();
        let all: Vec<Descriptor> = records.map(|waiters| waiters.descriptor).collect();
        for descriptor in all {
            self.wake_all(descriptor, wakes);
        }
    }

    /// Somebody is about to park, who may be asked to lead: where. `None`: the descriptor is closed.
    pub(crate) fn park(&mut self, descriptor: Descriptor, interest: Interest) -> Option<Arc<Parking>> {
        let parking = self.of(descriptor)?.park(interest);
        if self.parked_last.len() == REMEMBERED {
            self.parked_last.remove(0);
        }
        self.parked_last.push((descriptor, interest));
        Some(parking)
    }

    /// Nobody leads, and nobody will soon: wakes one of those who parked last, whose memory is still warm. It finds that
    /// nothing has happened to its descriptor, and leads.
    pub(crate) fn promote(&mut self, wakes: &mut Wakes) {
        while let Some((descriptor, interest)) = self.parked_last.pop() {
            let parking = self.of(descriptor).and_then(|waiters| waiters.parking(interest));
            if let Some(parking) = parking.cloned() {
                wakes.parked.push((parking, interest, HowMany::One));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_nobody_waits_for_takes_40_bytes() {
        assert_eq!(size_of::<Option<Waiters>>(), 40);
    }
}
