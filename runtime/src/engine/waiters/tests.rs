use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use portolan::{Config, Domain, Instant, SocketKind};

use super::*;
use crate::engine::task_waiters::TaskSlot;

#[test]
fn a_socket_that_nobody_waits_for_takes_24_bytes() {
    assert_eq!(size_of::<Option<Waiters>>(), 24);
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn task() -> (Arc<Count>, Waker) {
    let task = Arc::new(Count::default());
    (task.clone(), Waker::from(task))
}

/// The task with this waker, in a `poll` function.
fn polls(waker: &Waker) -> Task<'_> {
    Task { waker, slot: TaskSlot::Polls }
}

/// The task with this waker, in a future.
fn future(id: u64, waker: &Waker) -> Task<'_> {
    Task { waker, slot: TaskSlot::Future(FutureId(id)) }
}

/// A table with the sockets of a stack.
struct Bench {
    table: WaiterTable,
    socket: SocketId,
    other: SocketId,
}

impl Bench {
    fn new() -> Bench {
        let mut stack = Stack::new(Config::default(), [1; 32], Instant::ZERO);
        let mut table = WaiterTable::default();
        let mut socket = || {
            let descriptor = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            let socket = stack.socket_id(descriptor).unwrap();
            table.insert(socket);
            socket
        };
        let (socket, other) = (socket(), socket());
        Bench { table, socket, other }
    }

    /// The waiters that an event wakes.
    fn wake(&mut self, direction: Direction, how_many: HowMany) -> Wakes {
        let mut wakes = Wakes::default();
        self.table.wake(self.socket, direction, how_many, &mut wakes);
        wakes
    }

    fn has_extras(&mut self) -> bool {
        self.table.of(self.socket).unwrap().extras.is_some()
    }
}

#[test]
fn a_task_is_woken_once_by_an_event_in_its_direction_and_after_the_lock() {
    let mut bench = Bench::new();
    let (reader, read_waker) = task();
    let (writer, write_waker) = task();
    let d = bench.socket;
    assert!(bench.table.set_waker(d, Direction::Read, polls(&read_waker)).is_none());
    assert!(bench.table.set_waker(d, Direction::Write, polls(&write_waker)).is_none());
    assert!(bench.table.set_waker(bench.other, Direction::Read, polls(&write_waker)).is_none());
    let mut wakes = bench.wake(Direction::Read, HowMany::One);
    assert_eq!(reader.0.load(Ordering::Relaxed), 0, "the lock is still held");
    wakes.notify_waiters();
    assert_eq!((reader.0.load(Ordering::Relaxed), writer.0.load(Ordering::Relaxed)), (1, 0));
    // The task has not registered again.
    bench.wake(Direction::Read, HowMany::One).notify_waiters();
    bench.wake(Direction::Write, HowMany::All).notify_waiters();
    assert_eq!((reader.0.load(Ordering::Relaxed), writer.0.load(Ordering::Relaxed)), (1, 1));
    assert!(!bench.has_extras(), "what a waker needed is freed");
}

#[test]
fn a_task_is_woken_beside_threads_and_beside_the_leader() {
    let mut bench = Bench::new();
    let (reader, waker) = task();
    let d = bench.socket;
    bench.table.park(d, Direction::Read).unwrap();
    for (round, leading) in [None, Some(Target::Socket(d, Direction::Read))].into_iter().enumerate() {
        bench.table.leading = leading;
        bench.table.set_waker(d, Direction::Read, polls(&waker));
        let mut wakes = bench.wake(Direction::Read, HowMany::One);
        assert_eq!(wakes.has_parked(), leading.is_none(), "the leader comes before a parked thread");
        assert_eq!(wakes.leader_is_met, leading.is_some());
        wakes.notify_waiters();
        assert_eq!(reader.0.load(Ordering::Relaxed), round + 1);
    }
    // The thread goes away; the task stays registered.
    bench.table.set_waker(d, Direction::Read, polls(&waker));
    bench.table.of(d).unwrap().unpark(Direction::Read);
    assert!(bench.table.of(d).unwrap().has_waiters(Direction::Read));
}

#[test]
fn of_tasks_that_poll_the_last_is_woken() {
    let mut bench = Bench::new();
    let (first, first_waker) = task();
    let (second, second_waker) = task();
    let d = bench.socket;
    assert!(bench.table.set_waker(d, Direction::Read, polls(&first_waker)).is_none());
    assert!(bench.table.set_waker(d, Direction::Read, polls(&first_waker)).is_none(), "nothing to replace");
    let old = bench.table.set_waker(d, Direction::Read, polls(&second_waker)).unwrap();
    assert!(old.will_wake(&first_waker));
    bench.wake(Direction::Read, HowMany::One).notify_waiters();
    assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
}

#[test]
fn all_futures_are_woken_except_those_that_were_dropped() {
    let mut bench = Bench::new();
    let tasks = [task(), task(), task()];
    let d = bench.socket;
    let woken = || tasks.each_ref().map(|(task, _)| task.0.load(Ordering::Relaxed));
    for (id, (_, waker)) in tasks.iter().enumerate() {
        bench.table.set_waker(d, Direction::Read, future(id as u64, waker));
        bench.table.set_waker(d, Direction::Write, future(id as u64, waker));
    }
    let old = bench.table.set_waker(d, Direction::Read, future(0, &tasks[1].1)).unwrap();
    assert!(old.will_wake(&tasks[0].1), "a future that another task polls");
    assert_eq!(bench.table.remove_future(d, FutureId(1)).len(), 2);
    assert_eq!(bench.table.remove_future(d, FutureId(1)).len(), 0);
    bench.wake(Direction::Read, HowMany::One).notify_waiters();
    assert_eq!(woken(), [0, 1, 1]);
    bench.wake(Direction::Write, HowMany::One).notify_waiters();
    assert_eq!(woken(), [1, 1, 2]);
    assert!(!bench.has_extras());
}

#[test]
fn a_close_and_the_end_wake_tasks() {
    for ends in [false, true] {
        let mut bench = Bench::new();
        let (reader, read_waker) = task();
        let (writer, write_waker) = task();
        let d = bench.socket;
        bench.table.set_waker(d, Direction::Read, polls(&read_waker));
        bench.table.set_waker(d, Direction::Write, polls(&write_waker));
        let mut wakes = Wakes::default();
        if ends {
            bench.table.wake_everybody(&mut wakes);
        } else {
            bench.table.remove(d, &mut wakes);
            let refused = bench.table.set_waker(d, Direction::Read, polls(&read_waker)).unwrap();
            assert!(refused.will_wake(&read_waker), "nothing keeps a waker of a closed socket");
        }
        wakes.notify_waiters();
        assert_eq!((reader.0.load(Ordering::Relaxed), writer.0.load(Ordering::Relaxed)), (1, 1));
    }
}

#[test]
fn a_call_that_leaves_something_wakes_a_task_for_it() {
    let now = Instant::ZERO;
    let mut stack = Stack::new(Config::default(), [1; 32], now);
    let mut table = WaiterTable::default();
    let descriptor = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let socket = stack.socket_id(descriptor).unwrap();
    table.insert(socket);
    let (task, waker) = task();
    // A datagram socket can be written to, and has nothing to read.
    for (direction, expected) in [(Direction::Read, 0), (Direction::Write, 1)] {
        table.set_waker(socket, direction, polls(&waker));
        let mut wakes = Wakes::default();
        table.pass_on(socket, direction, &stack, &mut wakes);
        wakes.notify_waiters();
        assert_eq!(task.0.load(Ordering::Relaxed), expected, "{direction:?}");
    }
}
