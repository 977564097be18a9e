//! Who waits for which descriptor.
//!
//! One record per descriptor, with a condition variable for those who want to read and one for those who want to
//! write. An event wakes one of them; whoever ends a call while the descriptor is still ready wakes the next
//! ([`WaiterTable::pass_on`]). So a hundred threads in `accept` cost one wake-up a connection, and none is
//! forgotten although several happenings may be one event.
//!
//! The thread that leads ([`lead`](crate::lead)) waits, too, but not on a condition variable: the table knows what for
//! ([`WaiterTable::leading`]), and an event for it is the leader's before it is anybody's who is parked.

use std::sync::{Arc, Condvar};

use portolan::{Descriptor, Error, Event, Instant, Readiness, Stack};
use smallvec::SmallVec;

use crate::bell::Bell;

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
    pub(crate) happenings: u64,
    /// Those who are parked.
    pub(crate) sleepers: usize,
    /// When a call got what it wanted, until somebody waits again.
    pub(crate) served_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Waiters {
    descriptor: Descriptor,
    pub(crate) parking: Arc<Parking>,
    read: Side,
    write: Side,
    /// An error that ended a call which had taken data before it: the next call returns it.
    pub(crate) deferred_error: Option<Error>,
    /// Rung for readers who wait for sockets of several stacks.
    pub(crate) bell: Option<Arc<Bell>>,
}

impl Waiters {
    pub(crate) fn side(&mut self, interest: Interest) -> &mut Side {
        match interest {
            Interest::Read => &mut self.read,
            Interest::Write => &mut self.write,
        }
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

/// The records of all descriptors that sockets of this runtime hold.
#[derive(Debug, Default)]
pub(crate) struct WaiterTable {
    /// By the number of the descriptor: the stack gives out the lowest free one.
    records: Vec<Option<Waiters>>,
    /// What the caller waits for that leads.
    pub(crate) leading: Option<(Descriptor, Interest)>,
    /// Who parked last, the last one at the end. Some may have gone since.
    parked_last: SmallVec<[(Descriptor, Interest); REMEMBERED]>,
}

impl WaiterTable {
    pub(crate) fn insert(&mut self, descriptor: Descriptor) {
        let index = descriptor.number() as usize;
        if self.records.len() <= index {
            self.records.resize_with(index + 1, || None);
        }
        self.records[index] = Some(Waiters {
            descriptor,
            parking: Arc::default(),
            read: Side::default(),
            write: Side::default(),
            deferred_error: None,
            bell: None,
        });
    }

    /// Forgets a descriptor and wakes all who wait for it; they find it closed.
    pub(crate) fn remove(&mut self, descriptor: Descriptor, wakes: &mut Wakes) {
        self.wake_all(descriptor, wakes);
        let index = descriptor.number() as usize;
        if let Some(record) = self.records.get_mut(index)
            && record.as_ref().is_some_and(|waiters| waiters.descriptor == descriptor)
        {
            *record = None;
        }
    }

    pub(crate) fn of(&mut self, descriptor: Descriptor) -> Option<&mut Waiters> {
        let waiters = self.records.get_mut(descriptor.number() as usize)?.as_mut()?;
        (waiters.descriptor == descriptor).then_some(waiters)
    }

    /// Counts a happening, and finds whom it wakes: if only one, then the leader first.
    fn wake(&mut self, descriptor: Descriptor, interest: Interest, how_many: HowMany, wakes: &mut Wakes) {
        let leads = self.leading == Some((descriptor, interest));
        let Some(waiters) = self.of(descriptor) else { return };
        let parking = &waiters.parking;
        let side = match interest {
            Interest::Read => &mut waiters.read,
            Interest::Write => &mut waiters.write,
        };
        side.happenings += 1;
        if interest == Interest::Read
            && let Some(bell) = &waiters.bell
        {
            wakes.bells.push((bell.clone(), matches!(how_many, HowMany::All)));
        }
        wakes.leader_is_met |= leads;
        if side.sleepers > 0 && !(leads && matches!(how_many, HowMany::One)) {
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
        if (leads || waiters.side(interest).sleepers > 0)
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
        let all: Vec<Descriptor> = self.records.iter().flatten().map(|waiters| waiters.descriptor).collect();
        for descriptor in all {
            self.wake_all(descriptor, wakes);
        }
    }

    /// Somebody parks who may be asked to lead.
    pub(crate) fn on_parked(&mut self, descriptor: Descriptor, interest: Interest) {
        if self.parked_last.len() == REMEMBERED {
            self.parked_last.remove(0);
        }
        self.parked_last.push((descriptor, interest));
    }

    /// Nobody leads, and nobody will soon: wakes one of those who parked last, whose memory is still warm. It finds that
    /// nothing has happened to its descriptor, and leads.
    pub(crate) fn promote(&mut self, wakes: &mut Wakes) {
        while let Some((descriptor, interest)) = self.parked_last.pop() {
            let Some(waiters) = self.of(descriptor) else { continue };
            if waiters.side(interest).sleepers > 0 {
                wakes.parked.push((waiters.parking.clone(), interest, HowMany::One));
                return;
            }
        }
    }
}
