//! The primitives under shuttle, with a virtual clock.
//!
//! Time passes in two ways. Whenever a thread asks for the time, a little has passed: mostly
//! microseconds, sometimes as much as a preempted thread loses. And when no thread can run, the
//! clock jumps to the next time that one of them waits for. A jump longer than the longest watch
//! interval of the driver thread means that a wake-up was lost, and that only a timer of the stack
//! would recover from that: the model fails. It also fails when no thread waits for any time: a
//! deadlock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Arc, LockResult, OnceLock, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use portolan::Instant;
use rustix::event::{PollFd, Timespec};
use shuttle::rand::RngCore;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};

use crate::clock::Clock;

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::{thread, thread_local};
pub(crate) use {Mutex as TryMutex, MutexGuard as TryMutexGuard};

/// The functions that models use.
pub mod model {
    pub use super::{check, random, sleep};
    pub use shuttle::thread;
}

/// The longest time for which all threads may sleep: the driver thread's longest interval, and a
/// little more.
const LONGEST_IDLE: Duration = Duration::from_millis(5);

std::thread_local! {
    /// All threads of a model run on one thread of the operating system.
    static WORLD: RefCell<World> = const { RefCell::new(World::new()) };
}

struct World {
    now: Instant,
    sleepers: Vec<Rc<Sleeper>>,
    is_over: bool,
}

struct Sleeper {
    until: Option<Instant>,
    polls: bool,
    thread: thread::Thread,
}

impl World {
    const fn new() -> World {
        World { now: Instant::from_secs(1), sleepers: Vec::new(), is_over: false }
    }
}

fn with_world<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| f(&mut world.borrow_mut()))
}

/// Advances the clock: threads that have waited for that time may run.
fn advance(to: Instant) {
    with_world(|world| world.now = to);
    wake(|sleeper| sleeper.until.is_some_and(|until| until <= to));
}

fn wake(is_meant: impl Fn(&Sleeper) -> bool) {
    let threads: Vec<thread::Thread> = with_world(|world| {
        let sleepers = world.sleepers.iter().filter(|sleeper| is_meant(sleeper));
        sleepers.map(|sleeper| sleeper.thread.clone()).collect()
    });
    // Another thread may run before each of these.
    threads.iter().for_each(thread::Thread::unpark);
}

/// A point at which another thread may run.
fn point() {
    thread::sleep(Duration::ZERO);
}

/// A random number that depends on the schedule.
pub fn random() -> u64 {
    shuttle::rand::thread_rng().next_u64()
}

/// The time, which is a little later than it was.
pub(crate) fn now() -> std::time::Instant {
    let draw = random();
    let amount = draw >> 32;
    let nanos = match draw % 64 {
        0 => amount % 2_000_000,
        1..=3 => amount % 300_000,
        4..=15 => amount % 50_000,
        _ => amount % 3_000,
    };
    let now = with_world(|world| world.now) + Duration::from_nanos(nanos);
    advance(now);
    epoch() + (now - Instant::ZERO)
}

/// The time that [`Clock`] calls zero.
fn epoch() -> std::time::Instant {
    static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = std::time::Instant::now();
        now - (Clock::instant_at(now) - Instant::ZERO)
    })
}

/// Sleeps until `is_done` returns true, or until this time. Returns whether it is done.
fn block(until: Option<Instant>, polls: bool, mut is_done: impl FnMut() -> bool) -> bool {
    loop {
        if is_done() {
            return true;
        }
        if until.is_some_and(|until| until <= with_world(|world| world.now)) {
            return false;
        }
        let sleeper = Rc::new(Sleeper { until, polls, thread: thread::current() });
        with_world(|world| world.sleepers.push(sleeper.clone()));
        thread::park();
        with_world(|world| world.sleepers.retain(|other| !Rc::ptr_eq(other, &sleeper)));
    }
}

/// Sleeps in steps so short that they do not count as a lost wake-up.
pub fn sleep(duration: Duration) {
    let end = with_world(|world| world.now) + duration;
    loop {
        let now = with_world(|world| world.now);
        if now >= end {
            return;
        }
        block(Some(end.min(now + LONGEST_IDLE)), false, || false);
    }
}

/// `poll` with real descriptors and virtual time.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> rustix::io::Result<usize> {
    point();
    let timeout = timeout.map(|left| Duration::new(left.tv_sec as u64, left.tv_nsec as u32));
    let until = timeout.map(|left| with_world(|world| world.now) + left);
    let mut result = Ok(0);
    block(until, true, || {
        result = rustix::event::poll(fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        result != Ok(0)
    });
    result
}

/// Makes a change to a descriptor's readiness, which a thread may be polling for.
pub(crate) fn change_readiness<R>(change: impl FnOnce() -> R) -> R {
    point();
    let result = change();
    wake(|sleeper| sleeper.polls);
    result
}

/// A lock that condition variables can release.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    guard: shuttle::sync::MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guarded = |guard| MutexGuard { guard, mutex: self };
        self.0.lock().map(guarded).map_err(|poisoned| PoisonError::new(guarded(poisoned.into_inner())))
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(MutexGuard { guard, mutex: self }),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(PoisonError::new(MutexGuard { guard: poisoned.into_inner(), mutex: self }).into())
            }
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A panic ends a model, so no lock is ever found poisoned.
pub(crate) fn is_poisoned<T>(_: &Mutex<T>) -> bool {
    false
}

/// A condition variable with time-outs, which shuttle's own does not have.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
}

#[derive(Debug)]
struct Ticket {
    is_notified: std::cell::Cell<bool>,
    thread: thread::Thread,
}

#[allow(unsafe_code)]
// SAFETY: All threads of a model run on one thread of the operating system.
unsafe impl Send for Condvar {}
#[allow(unsafe_code)]
// SAFETY: As above.
unsafe impl Sync for Condvar {}

/// The same as in std.
pub(crate) struct WaitTimeoutResult;

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar::default()
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let until = with_world(|world| world.now) + timeout;
        self.wait_until(guard, Some(until))
            .map(|guard| (guard, WaitTimeoutResult))
            .map_err(|poisoned| PoisonError::new((poisoned.into_inner(), WaitTimeoutResult)))
    }

    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        until: Option<Instant>,
    ) -> LockResult<MutexGuard<'a, T>> {
        let mutex = guard.mutex;
        // Another thread may run before the lock is released, but none between the release and the
        // sleep.
        drop(guard);
        let ticket = Rc::new(Ticket { is_notified: false.into(), thread: thread::current() });
        self.waiting.borrow_mut().push_back(ticket.clone());
        block(until, false, || ticket.is_notified.get());
        self.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &ticket));
        mutex.lock()
    }

    pub(crate) fn notify_one(&self) {
        point();
        let count = self.waiting.borrow().len();
        if count > 0 {
            // Any of the waiting threads.
            let index = random() as usize % count;
            let ticket = self.waiting.borrow_mut().remove(index);
            ticket.into_iter().for_each(|ticket| ticket.notify());
        }
    }

    pub(crate) fn notify_all(&self) {
        point();
        let all = self.waiting.take();
        all.iter().for_each(|ticket| ticket.is_notified.set(true));
        all.iter().for_each(|ticket| ticket.notify());
    }
}

impl Ticket {
    fn notify(&self) {
        self.is_notified.set(true);
        self.thread.unpark();
    }
}

/// Runs a model under many schedules: half of them chosen uniformly at random, half with few
/// preemptions.
///
/// They are the same in each run, unless MODEL_SCHEDULES sets their number, or MODEL_SEED their
/// seed.
pub fn check(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let asked = from_environment("MODEL_SCHEDULES");
    let seed = from_environment("MODEL_SEED").unwrap_or_else(|| asked.map_or(0, |_| random_seed()));
    let schedules = asked.map_or(schedules, |asked| asked as usize);
    // The test prints this when it fails.
    println!("MODEL_SCHEDULES={schedules} MODEL_SEED={seed} repeats these schedules");
    let model = Arc::new(model);
    run(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), model.clone());
    run(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules / 2), model);
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn random_seed() -> u64 {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    u64::from_ne_bytes(seed)
}

/// The number of preemptions in a schedule with few of them.
const PREEMPTIONS: usize = 4;
/// The stack size of each thread in bytes: unoptimized code needs much.
const STACK_BYTES: usize = 1 << 20;

fn run(scheduler: impl Scheduler + Send + 'static, model: Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    config.silence_warnings = true;
    shuttle::Runner::new(ClockLast(scheduler), config).run(move || {
        with_world(|world| *world = World::new());
        // The first thread that is spawned becomes [`CLOCK`].
        let clock = thread::spawn(run_clock);
        model();
        with_world(|world| world.is_over = true);
        // It has ended already.
        clock.join().unwrap();
    });
}

/// The number of the thread that advances the clock.
const CLOCK: usize = 1;

fn run_clock() {
    thread::yield_now();
    while !with_world(|world| world.is_over) {
        let (now, next) =
            with_world(|world| (world.now, world.sleepers.iter().filter_map(|sleeper| sleeper.until).min()));
        let Some(next) = next else { panic!("a deadlock: all sleep, and for no moment") };
        let jump = next - now;
        assert!(jump <= LONGEST_IDLE, "nobody runs for {jump:?}: a wake-up is lost");
        advance(next);
        thread::yield_now();
    }
}

/// A scheduler that runs the clock only when nothing else can run, and makes no spurious wake-ups.
struct ClockLast<S>(S);

impl<S: Scheduler> Scheduler for ClockLast<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let clock = TaskId::from(CLOCK);
        let others: Vec<&Task> =
            runnable.iter().copied().filter(|task| task.runnable() && task.id() != clock).collect();
        if others.is_empty() { Some(clock) } else { self.0.next_task(&others, current, is_yielding) }
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
