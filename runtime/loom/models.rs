//! Models of parts of the engine under loom: three threads, every schedule with at most three
//! preemptions (two in the models with a poller, which have the most schedules), and every value
//! that an atomic may have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;
use std::{io, net::SocketAddr};

use portolan::steering::Steering;
use portolan::{
    Config, Descriptor, Domain, Frame, Interest, InterfaceConfig, InterfaceId, Medium, SocketId, SocketKind,
    Stack, Transmit,
};

use super::thread;
use rustix::event::{PollFd, PollFlags};

use crate::clock::Clock;
use crate::device::{Device, Outgoing, Readiness, Received};
use crate::engine::bell::Bell;
use crate::engine::device_signal::DeviceSignal;
use crate::engine::direction::Direction;
use crate::engine::end_reason::EndReason;
use crate::engine::inbox::{InboxDevice, InboxSet};
use crate::engine::locks::Engine;
use crate::engine::stacks::Stacks;
use crate::engine::task_waiters::{FutureId, Task, TaskSlot};
use crate::engine::wait::{WaitLimit, Wanted};
use crate::handle::Handle;
use crate::poller::Poller;
use crate::udp::UdpSocket;

fn check(model: impl Fn() + Send + Sync + 'static) {
    check_with_preemptions(3, model);
}

/// LOOM_MAX_PREEMPTIONS, which loom reads, replaces the number.
fn check_with_preemptions(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(most);
    builder.max_branches = 10_000;
    let model = Arc::new(model);
    builder.check(move || {
        let model = model.clone();
        spawn(move || model()).join().unwrap();
    });
}

/// A device that stores the frames that it is sent. It is called by the thread that holds `io`, so
/// it needs no lock of loom's.
struct Sink(Arc<Mutex<Vec<Frame>>>);

impl Device for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    fn medium(&self) -> Medium {
        Medium::Ip
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn readiness(&mut self, _: &Waker) -> Readiness<'_> {
        Readiness::waker()
    }

    fn transmit(&mut self, outgoing: &mut Outgoing<'_>) -> io::Result<()> {
        while let Some(transmit) = outgoing.pop() {
            self.0.lock().unwrap().push(transmit.to_frame());
        }
        Ok(())
    }

    fn receive(&mut self, _: &mut Received<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// A stack with the address 10.0.0.1, on a device that stores the frames that it is sent.
fn host() -> (Engine, Arc<Mutex<Vec<Frame>>>) {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], Clock::now());
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(Clock::now(), interface).unwrap();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let devices: Vec<(InterfaceId, Box<dyn Device>)> = vec![(iface, Box::new(Sink(sent.clone())))];
    (Engine::new(stack, devices, Duration::ZERO).unwrap(), sent)
}

/// A socket with its descriptor and its id.
#[derive(Clone, Copy)]
struct Held {
    descriptor: Descriptor,
    id: SocketId,
}

fn socket(engine: &Engine, port: u16) -> Held {
    let made = engine.call(|core, _, _| {
        let descriptor = core.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        core.stack.bind(descriptor, ([10, 0, 0, 1], port)).unwrap();
        let id = core.stack.socket_id(descriptor).unwrap();
        core.waiters.insert(id);
        Held { descriptor, id }
    });
    made.unwrap()
}

fn send(engine: &Engine, from: Held, to: SocketAddr) {
    let sent = engine.call(|core, now, _| core.stack.send_to(now, from.descriptor, b"x", to));
    sent.unwrap().unwrap();
}

fn receive(engine: &Engine, at: Held) -> io::Result<usize> {
    engine.call_blocking(at.id, Direction::Read, WaitLimit::Forever, |core, now| {
        core.stack.recv_msg(now, at.descriptor).map(|(bytes, _)| bytes.len())
    })
}

/// Wakes a task of [`receive_in_task`].
#[derive(Default)]
struct Executor {
    is_woken: super::Mutex<bool>,
    woken: super::Condvar,
}

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().unwrap() = true;
        self.woken.notify_one();
    }
}

impl Executor {
    fn sleep(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !std::mem::take(&mut *is_woken) {
            is_woken = self.woken.wait(is_woken).unwrap();
        }
    }
}

/// Polls for a datagram as a task does, once.
fn poll_receive(engine: &Engine, at: Held, waker: &Waker, slot: TaskSlot) -> io::Result<usize> {
    let wanted = Wanted { socket: at.id, direction: Direction::Read };
    engine.call_of_task(wanted, Task { waker, slot }, |core, now| {
        core.stack.recv_msg(now, at.descriptor).map(|(bytes, _)| bytes.len())
    })
}

/// Receives as a task, which this thread runs.
fn receive_in_task(engine: &Engine, at: Held, slot: TaskSlot) -> io::Result<usize> {
    let executor = Arc::new(Executor::default());
    let waker = Waker::from(executor.clone());
    loop {
        match poll_receive(engine, at, &waker, slot) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => executor.sleep(),
            result => return result,
        }
    }
}

/// The stack size in bytes: unoptimized code needs much, and loom's default is small.
const STACK_BYTES: usize = 512 << 10;

fn spawn(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(STACK_BYTES / size_of::<usize>()).spawn(body).unwrap()
}

/// Runs these functions concurrently, the first one on this thread.
fn at_once(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let mut threads = threads.into_iter();
    let first = threads.next().unwrap();
    let others: Vec<_> = threads.map(spawn).collect();
    first();
    others.into_iter().for_each(|other| other.join().unwrap());
}

/// Each of three callers has a frame to send. A caller that cannot get `io` leaves a note and
/// returns.
pub fn a_note_is_seen() {
    check(|| {
        let (engine, sent) = host();
        let engine = Arc::new(engine);
        let d = socket(&engine, 1);
        let callers = (0..3).map(|_| {
            let engine = engine.clone();
            Box::new(move || send(&engine, d, ([10, 0, 0, 2], 7).into())) as Box<dyn FnOnce() + Send>
        });
        at_once(callers.collect());
        assert_eq!(sent.lock().unwrap().len(), 3, "a frame stays behind");
    });
}

/// Two threads wait for the same socket, one of them leads, and two datagrams come in one call.
pub fn two_wait_for_one_socket() {
    check(|| {
        let engine = Arc::new(host().0);
        let d = socket(&engine, 1);
        let from = socket(&engine, 2);
        let (one, two, three) = (engine.clone(), engine.clone(), engine);
        at_once(vec![
            Box::new(move || assert_eq!(receive(&one, d).unwrap(), 1)),
            Box::new(move || assert_eq!(receive(&two, d).unwrap(), 1)),
            Box::new(move || {
                for _ in 0..2 {
                    send(&three, from, ([10, 0, 0, 1], 1).into());
                }
            }),
        ]);
    });
}

/// A leader and a follower, and the end of the runtime.
pub fn everybody_learns_of_the_end() {
    check(|| {
        let engine = Arc::new(host().0);
        let (d, e) = (socket(&engine, 1), socket(&engine, 2));
        let (one, two, three) = (engine.clone(), engine.clone(), engine);
        at_once(vec![
            Box::new(move || assert!(receive(&one, d).is_err())),
            Box::new(move || assert!(receive(&two, e).is_err())),
            Box::new(move || three.end(EndReason::Shutdown)),
        ]);
    });
}

/// A task polls, registers its waker, and waits for the same socket as a thread, which leads. Two
/// datagrams come in between.
pub fn a_task_beside_a_thread() {
    check(|| {
        let engine = Arc::new(host().0);
        let d = socket(&engine, 1);
        let from = socket(&engine, 2);
        let (one, two, three) = (engine.clone(), engine.clone(), engine);
        at_once(vec![
            Box::new(move || assert_eq!(receive_in_task(&one, d, TaskSlot::Polls).unwrap(), 1)),
            Box::new(move || assert_eq!(receive(&two, d).unwrap(), 1)),
            Box::new(move || {
                for _ in 0..2 {
                    send(&three, from, ([10, 0, 0, 1], 1).into());
                }
            }),
        ]);
    });
}

/// Two futures wait for one socket. One of them is dropped while the datagram comes: the other one
/// gets it.
pub fn a_future_is_dropped_beside_another() {
    check(|| {
        let engine = Arc::new(host().0);
        let d = socket(&engine, 1);
        let from = socket(&engine, 2);
        let (one, two, three) = (engine.clone(), engine.clone(), engine);
        at_once(vec![
            Box::new(move || {
                assert_eq!(receive_in_task(&one, d, TaskSlot::Future(FutureId(1))).unwrap(), 1);
            }),
            Box::new(move || {
                let waker = Waker::from(Arc::new(Executor::default()));
                if poll_receive(&two, d, &waker, TaskSlot::Future(FutureId(2))).is_ok() {
                    send(&two, d, ([10, 0, 0, 1], 1).into());
                }
                two.forget_future(d.id, FutureId(2));
            }),
            Box::new(move || send(&three, from, ([10, 0, 0, 1], 1).into())),
        ]);
    });
}

/// A task waits when the runtime ends.
pub fn a_task_learns_of_the_end() {
    check(|| {
        let engine = Arc::new(host().0);
        let d = socket(&engine, 1);
        let (one, two) = (engine.clone(), engine);
        at_once(vec![
            Box::new(move || assert!(receive_in_task(&one, d, TaskSlot::Polls).is_err())),
            Box::new(move || two.end(EndReason::Shutdown)),
        ]);
    });
}

/// A runtime of this engine, without its driver thread.
fn handle(engine: Engine) -> Handle {
    Handle::new(Stacks::new(Arc::new(engine), Vec::new(), None, Vec::new()))
}

/// Sockets on the ports 1, 2 and 3.
fn udp_sockets(handle: &Handle) -> [Arc<UdpSocket>; 3] {
    [1, 2, 3].map(|port| Arc::new(UdpSocket::bind(handle, ([10, 0, 0, 1], port)).unwrap()))
}

/// A thread waits at a poller, another waits for a socket: one leads, the other follows. A datagram
/// comes for each.
pub fn a_poller_beside_a_socket() {
    check_with_preemptions(2, || {
        let handle = handle(host().0);
        let [polled, blocking, sender] = udp_sockets(&handle);
        let poller = Arc::new(Poller::new(&handle).unwrap());
        poller.add(&*polled, Interest::READABLE, 7).unwrap();
        // These are closed when the threads have ended.
        let _kept = (poller.clone(), blocking.clone(), sender.clone());
        at_once(vec![
            Box::new(move || assert_eq!(poller.wait(&mut Vec::new(), 1, None).unwrap(), 1)),
            Box::new(move || assert_eq!(blocking.recv_from(&mut [0; 8]).unwrap().0, 1)),
            Box::new(move || {
                for port in [1, 2] {
                    sender.send_to(b"x", ([10, 0, 0, 1], port)).unwrap();
                }
            }),
        ]);
    });
}

/// Two threads wait at one poller, and a datagram comes for each.
pub fn two_wait_at_one_poller() {
    check_with_preemptions(2, || {
        let handle = handle(host().0);
        let [one, two, sender] = udp_sockets(&handle);
        let poller = Arc::new(Poller::new(&handle).unwrap());
        for socket in [&*one, &*two] {
            poller.add(socket, Interest::READABLE | Interest::ONE_SHOT, 7).unwrap();
        }
        let _kept = sender.clone();
        let wait = || {
            let poller = poller.clone();
            Box::new(move || assert_eq!(poller.wait(&mut Vec::new(), 1, None).unwrap(), 1))
                as Box<dyn FnOnce() + Send>
        };
        at_once(vec![
            wait(),
            wait(),
            Box::new(move || {
                for port in [1, 2] {
                    sender.send_to(b"x", ([10, 0, 0, 1], port)).unwrap();
                }
            }),
        ]);
    });
}

/// A thread waits at a poller, another for a socket, and a third notifies the one and sends to the
/// other.
pub fn a_poller_is_notified() {
    check_with_preemptions(2, || {
        let handle = handle(host().0);
        let [_, blocking, sender] = udp_sockets(&handle);
        let poller = Arc::new(Poller::new(&handle).unwrap());
        let notifier = poller.clone();
        let _kept = (poller.clone(), blocking.clone(), sender.clone());
        at_once(vec![
            Box::new(move || assert_eq!(poller.wait(&mut Vec::new(), 1, None).unwrap(), 0)),
            Box::new(move || assert_eq!(blocking.recv_from(&mut [0; 8]).unwrap().0, 1)),
            Box::new(move || {
                notifier.notify();
                sender.send_to(b"x", ([10, 0, 0, 1], 2)).unwrap();
            }),
        ]);
    });
}

/// Two stacks send to a third, which sleeps while its inbox is empty.
pub fn an_inbox_tells_of_every_frame() {
    // From port 7 to port 8, which belongs to the first of two stacks.
    let packet =
        [0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 7, 0, 8, 0, 9, 0, 0, b'x'];
    check(move || {
        let inboxes = Arc::new(InboxSet::new(Steering::new(2, [3; 16])));
        let sender = || {
            let mut device = InboxDevice::loopback(1, inboxes.clone());
            let transmit = Transmit::from_frame(InterfaceId::LOOPBACK, Frame::new(packet.to_vec()));
            let mut queue = VecDeque::from([transmit]);
            Box::new(move || device.transmit(&mut Outgoing::new(&mut queue)).unwrap())
                as Box<dyn FnOnce() + Send>
        };
        let mut inbox = InboxDevice::loopback(0, inboxes.clone());
        let signal = DeviceSignal::new().unwrap();
        inbox.readiness(&Waker::from(signal.clone()));
        let receiver = Box::new(move || {
            let mut frames = Vec::new();
            while frames.len() < 2 {
                let fd = PollFd::from_borrowed_fd(signal.as_fd(), PollFlags::IN);
                super::poll(&mut [fd], None).unwrap();
                signal.clear(true);
                inbox.receive(&mut Received::new(&mut frames, 2)).unwrap();
            }
        });
        at_once(vec![receiver, sender(), sender()]);
    });
}

/// Two threads wait at a bell, and a third rings twice.
pub fn a_bell_wakes_both() {
    check(|| {
        let bell = Arc::new(Bell::default());
        let tokens = Arc::new(super::Mutex::new(0));
        let take = || {
            let (bell, tokens) = (bell.clone(), tokens.clone());
            move || {
                let taken = bell.wait_for(|| {
                    let mut tokens = tokens.lock().unwrap();
                    if *tokens == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    *tokens -= 1;
                    Ok(())
                });
                taken.unwrap();
            }
        };
        let (one, two) = (take(), take());
        let (bell, tokens) = (bell.clone(), tokens.clone());
        at_once(vec![
            Box::new(one),
            Box::new(two),
            Box::new(move || {
                // Both tokens come with one ring: a thread that takes one passes on that there may
                // be more.
                *tokens.lock().unwrap() = 2;
                bell.ring(false);
            }),
        ]);
    });
}
