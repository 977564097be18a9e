//! The order of frames and timers, with a peer that the test drives.

use std::time::Duration;

use portolan::testing::ethernet;
use portolan::{Config, Descriptor, Domain, Error, Frame, InterfaceConfig, MacAddr, SocketKind, Transmit};

use super::*;
use crate::device::single::{receive, send};
use crate::device::{MemoryDevice, MemoryPair, Sent};
use crate::policy::READ_FRAMES;

/// Longer than the retransmission time-out after a round trip of microseconds (200 ms), and shorter
/// than two of them.
const AWAY: Duration = Duration::from_millis(300);

/// The most frames that are read before timers run.
const MOST_WAITING: usize = WAITING_READS * READ_FRAMES;

/// A stack with the address 10.0.0.`last`, on one end of a wire.
struct Peer {
    stack: Stack,
    iface: InterfaceId,
    device: MemoryDevice,
}

fn stack_on(device: &MemoryDevice, last: u8) -> (Stack, InterfaceId) {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    // Every segment is to be acknowledged at once.
    config.tcp.delayed_ack = Duration::ZERO;
    let now = Clock::now();
    let mut stack = Stack::new(config, [last; 32], now);
    let address = format!("10.0.0.{last}/24").parse().unwrap();
    let interface = InterfaceConfig::new(device.medium()).address(address);
    let iface = stack.add_interface(now, interface).unwrap();
    (stack, iface)
}

impl Peer {
    /// Handles the received frames. Returns the answers, to be sent later.
    fn answers(&mut self) -> Vec<Transmit> {
        while let Some(frame) = receive(&mut self.device) {
            self.stack.handle_frame(Clock::now(), self.iface, frame);
        }
        std::iter::from_fn(|| self.stack.poll_transmit(Clock::now())).collect()
    }

    fn send(&mut self, transmit: &Transmit) {
        assert_eq!(send(&mut self.device, transmit), Sent::Taken);
    }
}

/// A host that the test's thread drives, with a connection to a peer. The peer has received all
/// data, but has not sent the acknowledgement of the last segment.
struct Bench {
    engine: Engine,
    peer: Peer,
    acknowledgement: Vec<Transmit>,
}

impl Bench {
    fn new() -> Self {
        let (near, far) = MemoryPair::new().capacity(4 * MOST_WAITING).build().unwrap();
        let (stack, near_iface) = stack_on(&near, 1);
        let devices: Vec<(InterfaceId, Box<dyn Device>)> = vec![(near_iface, Box::new(near))];
        let engine = Engine::new(stack, devices, Duration::ZERO).unwrap();
        let (stack, iface) = stack_on(&far, 2);
        let mut bench =
            Bench { engine, peer: Peer { stack, iface, device: far }, acknowledgement: Vec::new() };
        let listener = bench.peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        bench.peer.stack.bind(listener, ([10, 0, 0, 2], 7)).unwrap();
        bench.peer.stack.listen(listener, 1).unwrap();
        let client = bench.call(|core, now| {
            let client = core.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
            let connecting = core.stack.connect(now, client, ([10, 0, 0, 2], 7));
            assert_eq!(connecting, Err(Error::InProgress));
            client
        });
        while !bench.is_connected(client) {
            for transmit in bench.peer.answers() {
                bench.peer.send(&transmit);
            }
            bench.engine.read_after_send(&mut bench.engine.io.lock().unwrap());
        }
        bench.peer.answers();
        bench.call(|core, now| core.stack.send(now, client, b"hello").unwrap());
        bench.acknowledgement = bench.peer.answers();
        assert_eq!(bench.acknowledgement.len(), 1);
        bench
    }

    fn call<R>(&self, f: impl FnOnce(&mut EngineCore, Instant) -> R) -> R {
        self.engine.call(|core, now, _| f(core, now)).unwrap()
    }

    fn is_connected(&self, client: Descriptor) -> bool {
        self.engine.inspect(|stack| stack.peer_addr(client).is_ok())
    }

    /// Lets this many other frames and then the acknowledgement come in, waits until timers of the
    /// connection are due, and reads. Returns how many segments the host retransmitted.
    fn retransmissions_after(&mut self, others: usize, read: impl FnOnce(&Engine)) -> u64 {
        let macs = [1, 2].map(|last| MacAddr([2, 0, 0, 0, 0, last]));
        let other = ethernet(macs[1], macs[0], &[0; 46]);
        for _ in 0..others {
            let other = Transmit::from_frame(self.peer.iface, Frame::new(other.clone()));
            self.peer.send(&other);
        }
        let acknowledgement = std::mem::take(&mut self.acknowledgement);
        acknowledgement.iter().for_each(|transmit| self.peer.send(transmit));
        std::thread::sleep(AWAY);
        assert!(self.engine.lock_core_anyway().is_due(Clock::now()), "no timer is due");
        let before = self.engine.inspect(|stack| stack.stats().tcp.retrans_segs);
        read(&self.engine);
        self.engine.inspect(|stack| stack.stats().tcp.retrans_segs) - before
    }
}

fn turn_once(engine: &Engine) {
    let mut core = engine.core.lock().unwrap();
    let mut leader = core.try_lead(engine, None, Clock::now(), &mut Wakes::default()).unwrap();
    drop(core);
    // As after a sleep that ended with the deadline, before the frames came.
    leader.turn(|_, _, _, _| ()).unwrap();
}

#[test]
fn frames_that_wait_are_read_before_due_timers_run() {
    // The budget of a device that was quiet is one frame.
    for others in [0, 1, READ_FRAMES - 1, READ_FRAMES, MOST_WAITING - 1] {
        assert_eq!(Bench::new().retransmissions_after(others, turn_once), 0, "{others} other frames");
    }
}

#[test]
fn a_call_that_reads_in_passing_reads_what_waits_before_timers_run() {
    let read = |engine: &Engine| engine.read_after_send(&mut engine.io.lock().unwrap());
    // One of them is read with the device's usual budget.
    for others in [0, 1, READ_FRAMES, MOST_WAITING] {
        assert_eq!(Bench::new().retransmissions_after(others, read), 0, "{others} other frames");
    }
}

/// A call that has its answer sends some of the frames of other callers, and leaves the rest to the
/// leader.
#[test]
fn a_call_sends_no_more_than_some_batches_for_others() {
    let bench = Bench::new();
    {
        let mut core = bench.engine.lock_core_anyway();
        let now = Clock::now();
        for _ in 0..40 {
            let socket = core.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
            for _ in 0..100 {
                core.stack.send_to(now, socket, &[7; 100], ([10, 0, 0, 2], 9)).unwrap();
            }
        }
    }
    let mut peer = bench.peer;
    let (mut calls, mut sent) = (0, 0);
    while sent < 4000 {
        bench.engine.call(|_, _, _| ()).unwrap();
        calls += 1;
        let frames = std::iter::from_fn(|| receive(&mut peer.device)).count();
        // 17 batches of 16 frames. After each batch the call may read, and send one batch of
        // answers.
        assert!(frames <= 544, "{frames} frames in one call");
        assert!(frames > 0, "{sent} frames in {calls} calls");
        sent += frames;
        let is_left = bench.engine.inspect(Stack::has_transmits);
        assert!(!is_left || bench.engine.is_transmit_wanted(), "nobody knows of the rest");
    }
}

#[test]
fn a_flood_does_not_put_off_timers() {
    // The turn begins with one read, because the device has woken.
    let others = READ_FRAMES + MOST_WAITING + 1;
    assert_eq!(Bench::new().retransmissions_after(others, turn_once), 1);
}
