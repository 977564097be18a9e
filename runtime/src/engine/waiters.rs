//! [`WaiterTable`]: which threads and tasks wait for which socket.
//!
//! There is one record for each socket. While threads are parked there, the record has a condition
//! variable for those that want to read and one for those that want to write. An event wakes one of
//! them; a thread that ends a call while the socket is still ready wakes the next
//! ([`WaiterTable::pass_on`]). So a hundred threads in `accept` cost one wake-up for each
//! connection, and none is forgotten although one event may stand for several connections.
//!
//! A task waits with a [`Waker`] for each direction ([`WaiterTable::set_waker`]). An event wakes
//! all tasks, in addition to threads: a task that finds nothing costs one poll, and it may have
//! been dropped.
//!
//! The leader ([`leader`](super::leader)) waits, too, but not on a condition variable. The table
//! knows what the leader waits for ([`WaiterTable::leading`]); an event for that goes to the leader
//! before it goes to a parked thread.

use std::sync::Arc;
use std::task::Waker;

use portolan::{Error, Event, OwnerId, PollerId, SocketId, Stack};
use smallvec::SmallVec;

use crate::device::Device;
use crate::engine::bell::Bell;
use crate::engine::direction::Direction;
use crate::engine::poller_bell::PollerBell;
use crate::engine::poller_waiters::PollerWaiters;
use crate::engine::task_waiters::{FutureId, Task, TaskWaiters};
use crate::policy::{CHUNK_RECORDS, REMEMBERED_WAITERS};
use crate::sync::Condvar;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Socket(SocketId, Direction),
    Poller(PollerId),
}

/// The condition variables of one socket, used together with the `core` lock.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    readers: Condvar,
    writers: Condvar,
}

impl Parking {
    pub(crate) fn condvar(&self, direction: Direction) -> &Condvar {
        match direction {
            Direction::Read => &self.readers,
            Direction::Write => &self.writers,
        }
    }
}

/// The waiters of one socket. Most sockets need only these 24 bytes most of the time, which matters
/// because there may be many sockets.
#[derive(Debug)]
pub(crate) struct Waiters {
    socket: SocketId,
    /// The counts of events in the two directions. A caller notes the count when a call returns
    /// `WouldBlock`, and sleeps only while it is unchanged: an event between the call and the sleep
    /// is not lost.
    reads: u32,
    writes: u32,
    extras: Option<Box<Extras>>,
}

/// Fields that only a few sockets need.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Present while threads are parked.
    parking: Option<Arc<Parking>>,
    /// The number of threads that are parked to read, and to write.
    readers: u32,
    writers: u32,
    tasks: TaskWaiters,
    /// An error that ended a call which had already taken data: the next call returns it.
    pub(crate) deferred_error: Option<Error>,
    /// A bell for readers that wait for sockets of several stacks.
    pub(crate) bell: Option<Arc<Bell>>,
    /// How many descriptors the socket has beside the first.
    shares: u32,
}

impl Extras {
    fn sleepers(&mut self, direction: Direction) -> &mut u32 {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }

    fn is_empty(&self) -> bool {
        let Extras { parking, readers, writers, tasks, deferred_error, bell, shares } = self;
        parking.is_none()
            && *readers == 0
            && *writers == 0
            && tasks.is_empty()
            && deferred_error.is_none()
            && bell.is_none()
            && *shares == 0
    }
}

impl Waiters {
    fn new(socket: SocketId) -> Self {
        Waiters { socket, reads: 0, writes: 0, extras: None }
    }

    /// The count of events in this direction. It wraps.
    pub(crate) fn events(&mut self, direction: Direction) -> &mut u32 {
        match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
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

    /// Counts a thread that is about to park. Returns the condition variables.
    fn park(&mut self, direction: Direction) -> Arc<Parking> {
        let extras = self.extras();
        *extras.sleepers(direction) += 1;
        extras.parking.get_or_insert_default().clone()
    }

    /// Notes that a thread that was parked is awake.
    pub(crate) fn unpark(&mut self, direction: Direction) {
        let Some(extras) = &mut self.extras else { return };
        *extras.sleepers(direction) -= 1;
        if extras.readers == 0 && extras.writers == 0 {
            extras.parking = None;
            self.drop_extras_if_empty();
        }
    }

    /// Moves the tasks that wait for this direction to `wakes`.
    fn wake_tasks(&mut self, direction: Direction, wakes: &mut Wakes) {
        let Some(extras) = &mut self.extras else { return };
        wakes.tasks.extend(extras.tasks.take(direction));
        self.drop_extras_if_empty();
    }

    /// Notes that one of several descriptors is gone. Returns false if there was only one.
    fn drop_share(&mut self) -> bool {
        let Some(extras) = self.extras.as_mut().filter(|extras| extras.shares > 0) else { return false };
        extras.shares -= 1;
        self.drop_extras_if_empty();
        true
    }

    fn drop_extras_if_empty(&mut self) {
        self.extras.take_if(|extras| extras.is_empty());
    }

    /// The condition variables of the threads that wait for this; `None` if no thread is parked.
    fn parking(&mut self, direction: Direction) -> Option<&Arc<Parking>> {
        let extras = self.extras.as_mut()?;
        if *extras.sleepers(direction) == 0 { None } else { extras.parking.as_ref() }
    }

    /// Whether a thread is parked or a task waits.
    fn has_waiters(&mut self, direction: Direction) -> bool {
        let has_task = self.extras.as_mut().is_some_and(|extras| extras.tasks.has(direction));
        has_task || self.parking(direction).is_some()
    }
}

/// How many of the parked threads are woken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HowMany {
    One,
    All,
}

/// A device that is to be dropped.
pub(crate) struct RemovedDevice(pub(crate) Box<dyn Device>);

impl std::fmt::Debug for RemovedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemovedDevice").field(&self.0.name()).finish()
    }
}

/// The threads and tasks to wake once the `core` lock is released: threads that wake up take it.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    parked: SmallVec<[(Arc<Parking>, Direction, HowMany); 4]>,
    pub(crate) tasks: SmallVec<[Waker; 2]>,
    /// Bells, and how many of the threads that wait for each are to be woken.
    bells: Vec<(Arc<Bell>, HowMany)>,
    /// The same for the threads that wait at pollers.
    poller_bells: Vec<(Arc<PollerBell>, HowMany)>,
    /// Whether to wake the driver thread, whether it leads or not.
    pub(crate) driver: bool,
    /// Whether to wake the caller that leads.
    pub(crate) caller: bool,
    /// Whether there was an event for what the leader waits for. The leader is then woken if it
    /// sleeps.
    pub(crate) leader_is_met: bool,
    /// Whether to wake the threads in `Engine::wait_until`.
    pub(crate) watchers: bool,
    /// Devices that were taken out. They are dropped once `core` is released, because that may make
    /// system calls.
    pub(crate) removed_devices: Vec<RemovedDevice>,
}

impl Wakes {
    /// Whether a parked thread will be woken.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Wakes parked threads, tasks, and those that wait for a bell.
    pub(crate) fn notify_waiters(&mut self) {
        for (parking, direction, how_many) in self.parked.drain(..) {
            match how_many {
                HowMany::One => parking.condvar(direction).notify_one(),
                HowMany::All => parking.condvar(direction).notify_all(),
            }
        }
        self.tasks.drain(..).for_each(Waker::wake);
        for (bell, how_many) in self.bells.drain(..) {
            bell.ring(matches!(how_many, HowMany::All));
        }
        for (bell, how_many) in self.poller_bells.drain(..) {
            bell.ring(matches!(how_many, HowMany::All));
        }
    }
}

/// The chunk of a socket's record, and its place there.
fn place_of(socket: SocketId) -> (usize, usize) {
    let index = socket.index();
    (index / CHUNK_RECORDS, index % CHUNK_RECORDS)
}

/// The records of all sockets of this runtime.
#[derive(Debug, Default)]
pub(crate) struct WaiterTable {
    /// Records by the number of the socket's slot; the stack uses the lowest free one. They are
    /// stored in chunks, so that a growing table has little unused room.
    chunks: Vec<Box<[Option<Waiters>]>>,
    /// The waiters at pollers.
    pub(crate) pollers: PollerWaiters,
    /// What the leader waits for, if it is a caller.
    pub(crate) leading: Option<Target>,
    /// The threads that parked last, the most recent at the end. Some may be awake again.
    parked_last: SmallVec<[Target; REMEMBERED_WAITERS]>,
}

impl WaiterTable {
    /// Adds a descriptor of a socket, which may have others.
    pub(crate) fn insert(&mut self, socket: SocketId) {
        let (chunk, place) = place_of(socket);
        while self.chunks.len() <= chunk {
            self.chunks.push((0..CHUNK_RECORDS).map(|_| None).collect());
        }
        match self.of(socket) {
            Some(waiters) => waiters.extras().shares += 1,
            None => self.chunks[chunk][place] = Some(Waiters::new(socket)),
        }
    }

    /// Removes a descriptor of a socket, and the socket if it was the last. Wakes all threads and
    /// tasks that wait for the socket; those whose descriptor was closed find that.
    pub(crate) fn remove(&mut self, socket: SocketId, wakes: &mut Wakes) {
        self.wake_all(socket, wakes);
        if self.of(socket).is_some_and(Waiters::drop_share) {
            return;
        }
        if let Some(record) = self.record(socket) {
            record.take_if(|waiters| waiters.socket == socket);
        }
    }

    fn record(&mut self, socket: SocketId) -> Option<&mut Option<Waiters>> {
        let (chunk, place) = place_of(socket);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    /// The waiters of a socket; `None` if it is closed.
    pub(crate) fn of(&mut self, socket: SocketId) -> Option<&mut Waiters> {
        let waiters = self.record(socket)?.as_mut()?;
        (waiters.socket == socket).then_some(waiters)
    }

    /// The count of events for what a thread waits for; `None` if that is closed.
    pub(crate) fn events(&mut self, target: Target) -> Option<u32> {
        match target {
            Target::Socket(socket, direction) => self.of(socket).map(|waiters| *waiters.events(direction)),
            Target::Poller(poller) => self.pollers.events(poller),
        }
    }

    /// Counts an event of a poller, and wakes one thread that waits at it. The leader comes first.
    pub(crate) fn on_poller_event(&mut self, poller: PollerId, wakes: &mut Wakes) {
        let leads = self.leading == Some(Target::Poller(poller));
        wakes.leader_is_met |= leads;
        let bell = self.pollers.on_event(poller).filter(|_| !leads);
        wakes.poller_bells.extend(bell.map(|bell| (bell, HowMany::One)));
    }

    /// Counts an event, and adds the waiters that it wakes: all, or one, in which case the leader
    /// comes before a parked thread.
    fn wake(&mut self, socket: SocketId, direction: Direction, how_many: HowMany, wakes: &mut Wakes) {
        let leads = self.leading == Some(Target::Socket(socket, direction));
        let Some(waiters) = self.of(socket) else { return };
        let events = waiters.events(direction);
        *events = events.wrapping_add(1);
        if direction == Direction::Read
            && let Some(bell) = waiters.extras.as_ref().and_then(|extras| extras.bell.as_ref())
        {
            wakes.bells.push((bell.clone(), how_many));
        }
        wakes.leader_is_met |= leads;
        if !(leads && matches!(how_many, HowMany::One))
            && let Some(parking) = waiters.parking(direction)
        {
            wakes.parked.push((parking.clone(), direction, how_many));
        }
        waiters.wake_tasks(direction, wakes);
    }

    pub(crate) fn on_event(&mut self, event: Event, wakes: &mut Wakes) {
        // An end concerns all waiters; data, a connection or room concerns one.
        let ended = event.readiness.hung_up || event.readiness.error;
        let how_many = if ended { HowMany::All } else { HowMany::One };
        for direction in [Direction::Read, Direction::Write] {
            if direction.is_met_by(event.readiness) {
                self.wake(event.socket, direction, how_many, wakes);
            }
        }
    }

    /// Handles the end of a call on this socket that got what it wanted, or an error. If others
    /// wait for the same and the socket is still ready, the next one is woken.
    pub(crate) fn pass_on(
        &mut self,
        socket: SocketId,
        direction: Direction,
        stack: &Stack,
        wakes: &mut Wakes,
    ) {
        let leads = self.leading == Some(Target::Socket(socket, direction));
        let Some(waiters) = self.of(socket) else { return };
        if (leads || waiters.has_waiters(direction))
            && stack.socket_readiness(socket).is_some_and(|readiness| direction.is_met_by(readiness))
        {
            self.wake(socket, direction, HowMany::One, wakes);
        }
    }

    pub(crate) fn wake_all(&mut self, socket: SocketId, wakes: &mut Wakes) {
        for direction in [Direction::Read, Direction::Write] {
            self.wake(socket, direction, HowMany::All, wakes);
        }
    }

    /// Wakes the waiters of an owner that is gone: those of the sockets that it had, and those at
    /// its pollers. Others that wait for a socket which another owner has, too, wait on.
    pub(crate) fn wake_owner(&mut self, owner: OwnerId, sockets: &[SocketId], wakes: &mut Wakes) {
        for &socket in sockets {
            self.wake_all(socket, wakes);
        }
        let leading = match self.leading {
            Some(Target::Poller(poller)) => self.pollers.owner_of(poller),
            _ => None,
        };
        wakes.leader_is_met |= leading == Some(owner);
        wakes.poller_bells.extend(self.pollers.on_end_of(owner).map(|bell| (bell, HowMany::All)));
    }

    /// Wakes all waiters of all sockets and pollers, because the runtime is over.
    pub(crate) fn wake_everybody(&mut self, wakes: &mut Wakes) {
        let records = self.chunks.iter().flat_map(|chunk| chunk.iter()).flatten();
        let all: Vec<SocketId> = records.map(|waiters| waiters.socket).collect();
        for socket in all {
            self.wake_all(socket, wakes);
        }
        wakes.leader_is_met |= matches!(self.leading, Some(Target::Poller(_)));
        wakes.poller_bells.extend(self.pollers.on_event_of_all().map(|bell| (bell, HowMany::All)));
    }

    /// Counts a thread that is about to park, and remembers that it may lead. Returns the condition
    /// variables; `None` if the socket is closed.
    pub(crate) fn park(&mut self, socket: SocketId, direction: Direction) -> Option<Arc<Parking>> {
        let parking = self.of(socket)?.park(direction);
        self.remember_parked(Target::Socket(socket, direction));
        Some(parking)
    }

    /// Remembers that a thread that waits for this is about to park, and may be woken to lead.
    pub(crate) fn remember_parked(&mut self, target: Target) {
        if self.parked_last.len() == REMEMBERED_WAITERS {
            self.parked_last.remove(0);
        }
        self.parked_last.push(target);
    }

    /// Wakes one of the threads that parked last so that it leads, because no thread leads and none
    /// is expected to. It finds no event for itself, and leads.
    pub(crate) fn wake_next_leader(&mut self, wakes: &mut Wakes) {
        while let Some(target) = self.parked_last.pop() {
            let (socket, direction) = match target {
                Target::Socket(socket, direction) => (socket, direction),
                Target::Poller(poller) => match self.pollers.bell_of(poller) {
                    Some(bell) => return wakes.poller_bells.push((bell, HowMany::One)),
                    None => continue,
                },
            };
            let parking = self.of(socket).and_then(|waiters| waiters.parking(direction));
            if let Some(parking) = parking.cloned() {
                wakes.parked.push((parking, direction, HowMany::One));
                return;
            }
        }
    }
}

/// The interface for tasks.
impl WaiterTable {
    /// Wakes this task at the next event. The caller has held `core` since its call returned
    /// `WouldBlock`, so no event comes in between.
    ///
    /// Returns the previous waker, to be dropped with `core` released: the code that an executor
    /// runs when a waker is dropped may need that lock. If the socket is closed, the task's own
    /// waker is returned, and nothing will wake it.
    pub(crate) fn set_waker(
        &mut self,
        socket: SocketId,
        direction: Direction,
        task: Task<'_>,
    ) -> Option<Waker> {
        let Some(waiters) = self.of(socket) else { return Some(task.waker.clone()) };
        waiters.extras().tasks.set(direction, task)
    }

    /// Removes a future, which no longer waits. Returns its wakers, to be dropped with `core`
    /// released.
    pub(crate) fn remove_future(&mut self, socket: SocketId, future: FutureId) -> SmallVec<[Waker; 2]> {
        let Some(waiters) = self.of(socket) else { return SmallVec::new() };
        let Some(extras) = &mut waiters.extras else { return SmallVec::new() };
        let old = extras.tasks.remove(future);
        waiters.drop_extras_if_empty();
        old
    }
}

#[cfg(test)]
mod tests;
