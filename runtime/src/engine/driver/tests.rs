//! Tests of who leads, with the driver threads of two hosts and no socket types around the stack.

use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use portolan::{Config, Descriptor, Domain, InterfaceConfig, SocketId, SocketKind, Stack};

use super::*;
use crate::device::{MemoryDevice, memory_pair};
use crate::engine::direction::Direction;
use crate::engine::task_waiters::{Task, TaskSlot};
use crate::engine::wait::WaitLimit;

/// A host 10.0.0.`last` with a datagram socket on port 7, driven as a runtime drives it.
struct Host {
    engine: Arc<Engine>,
    socket: Descriptor,
    id: SocketId,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn new(last: u8, device: MemoryDevice) -> Host {
        use crate::device::Device;

        let mut config = Config::default();
        config.neighbor.duplicate_address_probes = 0;
        let now = Clock::now();
        let mut stack = Stack::new(config, [last; 32], now);
        let address = format!("10.0.0.{last}/24").parse().unwrap();
        let interface = InterfaceConfig::new(device.medium()).address(address);
        let iface = stack.add_interface(now, interface).unwrap();
        let socket = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.bind(socket, ([10, 0, 0, last], 7)).unwrap();
        let devices: Vec<(_, Box<dyn Device>)> = vec![(iface, Box::new(device))];
        let engine = Arc::new(Engine::new(stack, devices, Duration::ZERO).unwrap());
        let id = engine.lock_core_anyway().stack.socket_id(socket).unwrap();
        engine.lock_core_anyway().waiters.insert(id);
        let driver = Driver::new(engine.clone());
        Host { engine, socket, id, thread: Some(std::thread::spawn(|| driver.run())) }
    }

    fn pair() -> [Host; 2] {
        let (near, far) = memory_pair().unwrap();
        [Host::new(1, near), Host::new(2, far)]
    }

    fn send_to(&self, last: u8) {
        let sent = self
            .engine
            .call(|core, now, _| core.stack.send_to(now, self.socket, b"x", ([10, 0, 0, last], 7)));
        assert_eq!(sent.unwrap(), Ok(1));
    }

    fn receive(&self) -> Bytes {
        let received =
            self.engine.call_blocking(self.id, Direction::Read, WaitLimit::Forever, |core, now| {
                core.stack.recv_msg(now, self.socket)
            });
        received.unwrap().0
    }

    fn wait_for(&self, is_so: impl Fn(&crate::engine::leadership::Leadership) -> bool) {
        while !is_so(&self.engine.lock_core_anyway().leadership) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.engine.end(EndReason::Shutdown);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_caller_that_resigns_calls_the_driver_thread_after_that_had_to_come_by_itself() {
    let [server, peer] = Host::pair();
    // Waits as the leader until a datagram comes. Returns whether the driver thread is called then.
    let lead_once = || {
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                server.receive();
                let core = server.engine.lock_core_anyway();
                core.leadership.driver_is_called || core.leadership.leader() == Some(LeaderKind::Driver)
            });
            server.wait_for(|leadership| leadership.leader() == Some(LeaderKind::Caller));
            peer.send_to(1);
            receiver.join().unwrap()
        })
    };
    lead_once();
    // No call waits for long, and a datagram comes: the driver thread reads it.
    server.wait_for(|leadership| leadership.leader() == Some(LeaderKind::Driver));
    peer.send_to(1);
    server.wait_for(|leadership| leadership.driver_has_read);
    server.receive();
    assert!(lead_once());
    assert!(server.engine.lock_core_anyway().leadership.driver_wakes_left > 0);
}

/// Wakes a task by unparking the thread that runs it, as an executor does.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_task_is_woken_for_each_datagram_that_it_waits_for() {
    const DATAGRAMS: usize = 200;
    let [server, peer] = Host::pair();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let task = Task { waker: &waker, slot: TaskSlot::Polls };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for datagram in 0..DATAGRAMS {
                peer.send_to(1);
                if datagram % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let try_receive = || {
            let (is_received, old) = server
                .engine
                .call(|core, now, _| match core.stack.recv_msg(now, server.socket) {
                    Ok(_) => (true, None),
                    Err(error) => {
                        assert_eq!(error, portolan::Error::WouldBlock);
                        (false, core.waiters.set_waker(server.id, Direction::Read, task))
                    }
                })
                .unwrap();
            drop(old);
            is_received
        };
        let wait = || {
            let begin = std::time::Instant::now();
            std::thread::park_timeout(Duration::from_secs(10));
            assert!(begin.elapsed() < Duration::from_secs(10), "nobody has woken the task");
        };
        let mut received = 0;
        while received < DATAGRAMS {
            if try_receive() {
                received += 1;
            } else {
                wait();
            }
        }
        assert!(!try_receive());
        server.engine.end(EndReason::Shutdown);
        wait();
    });
}
