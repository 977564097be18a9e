//! The emulator of a path: a bridge that applies the fault injector to frames in real time.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan::{Frame, Instant, InterfaceId, MacAddr, Transmit};
use portolan_runtime::Clock;
use portolan_runtime::device::{Device, ImpairCounts, ImpairQueue, Impairment, Outgoing, Received};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// The frames that are read from one port before the others have their turn.
const RECEIVE_BURST: usize = 64;
/// The longest sleep. After it the thread checks whether it must stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// What the path did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PathCounts {
    /// From the first side to the second, and in the other direction.
    pub(crate) directions: [ImpairCounts; 2],
    /// Frames that were due but for which a port had no room: the machine lost them, not the path.
    pub(crate) refused: u64,
    /// The greatest delay of a frame beyond its time.
    pub(crate) latest: Duration,
    /// The mean delay beyond their time of all frames.
    pub(crate) mean_lateness: Duration,
}

/// A running emulator. It has its own thread; both sides of every comparison use the same code.
pub(crate) struct Emulator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<PathCounts>>,
}

impl Emulator {
    /// Joins two sides, each of one or more ports, by one link. The times of outages count from
    /// now.
    pub(crate) fn start(impairment: Impairment, sides: [Vec<Box<dyn Device>>; 2]) -> io::Result<Emulator> {
        let stop = Arc::new(AtomicBool::new(false));
        let bell = Bell::new()?;
        let waker = Waker::from(bell.clone());
        let mut ports = Vec::new();
        for (side, devices) in sides.into_iter().enumerate() {
            for mut device in devices {
                let receive = device.readiness(&waker).receive().unwrap_or(bell.0.as_fd());
                let receive = receive.try_clone_to_owned()?;
                ports.push(Port { side, device, receive, mac: None });
            }
        }
        let bridge = Bridge {
            ports,
            bell,
            queues: [0, 1].map(|direction| ImpairQueue::new(impairment, direction, Clock::now())),
            refused: 0,
            lateness: Lateness::default(),
        };
        let thread = std::thread::Builder::new().name("emulator".into()).spawn({
            let stop = stop.clone();
            move || bridge.run(&stop)
        })?;
        Ok(Emulator { stop, thread })
    }

    pub(crate) fn stop(self) -> io::Result<PathCounts> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the emulator panicked"))?
    }
}

struct Port {
    side: usize,
    device: Box<dyn Device>,
    /// Readable while the device may have frames.
    receive: OwnedFd,
    /// The station behind the port, learned from the first frame that it sent.
    mac: Option<MacAddr>,
}

#[derive(Default)]
struct Lateness {
    latest: Duration,
    sum: Duration,
    count: u32,
}

/// What devices without a descriptor wake.
pub(crate) struct Bell(pub(crate) OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Bell>> {
        Ok(Arc::new(Bell(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Must come before the devices are read.
    pub(crate) fn clear(&self) {
        // It fails if nobody has woken.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // It fails only if it was woken 2^64 times.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

struct Bridge {
    ports: Vec<Port>,
    bell: Arc<Bell>,
    /// `queues[side]` takes the frames from that side.
    queues: [ImpairQueue<Frame>; 2],
    refused: u64,
    lateness: Lateness,
}

impl Bridge {
    fn run(mut self, stop: &AtomicBool) -> io::Result<PathCounts> {
        // By default Linux wakes a thread up to 50 µs late; a full frame at 100 Mbit/s takes 121
        // µs.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        while !stop.load(Ordering::Relaxed) {
            let is_busy = self.receive()? | self.deliver()?;
            if !is_busy {
                self.sleep()?;
            }
        }
        let mean = self.lateness.sum.checked_div(self.lateness.count).unwrap_or_default();
        Ok(PathCounts {
            directions: [self.queues[0].counts(), self.queues[1].counts()],
            refused: self.refused,
            latest: self.lateness.latest,
            mean_lateness: mean,
        })
    }

    /// Takes the frames that the ports have received.
    fn receive(&mut self) -> io::Result<bool> {
        let mut is_busy = false;
        self.bell.clear();
        let mut frames = Vec::new();
        for port in &mut self.ports {
            let now = Clock::now();
            port.device.receive(&mut Received::new(&mut frames, RECEIVE_BURST))?;
            for frame in frames.drain(..) {
                port.mac = port.mac.or_else(|| mac_at(&frame, 6));
                self.queues[port.side].push(now, frame);
                is_busy = true;
            }
        }
        Ok(is_busy)
    }

    /// Delivers the frames that are due.
    fn deliver(&mut self) -> io::Result<bool> {
        let mut is_busy = false;
        for side in 0..2 {
            let now = Clock::now();
            while let Some(due_at) = self.queues[side].next_at().filter(|&at| at <= now) {
                let Some(frame) = self.queues[side].pop(now) else { continue };
                self.lateness.note(now - due_at);
                self.hand_over(1 - side, frame)?;
                is_busy = true;
            }
        }
        Ok(is_busy)
    }

    /// Passes a frame to its station, or to all stations of that side if it is for several or for
    /// an unknown one.
    fn hand_over(&mut self, side: usize, frame: Frame) -> io::Result<()> {
        let destination = mac_at(&frame, 0);
        let is_known = self.ports.iter().any(|port| port.side == side && port.mac == destination);
        let transmit = Transmit::from_frame(InterfaceId::from_index(0), frame);
        for port in self.ports.iter_mut().filter(|port| port.side == side) {
            if !is_known || port.mac == destination {
                let mut queue = VecDeque::from([transmit.clone()]);
                port.device.transmit(&mut Outgoing::new(&mut queue))?;
                self.refused += queue.len() as u64;
            }
        }
        Ok(())
    }

    fn sleep(&mut self) -> io::Result<()> {
        let next_at: Option<Instant> = self.queues.iter().filter_map(ImpairQueue::next_at).min();
        let left = next_at.map_or(LONGEST_SLEEP, Clock::until).min(LONGEST_SLEEP);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds: Vec<PollFd<'_>> = self
            .ports
            .iter()
            .map(|port| PollFd::from_borrowed_fd(port.receive.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Lateness {
    fn note(&mut self, late: Duration) {
        self.latest = self.latest.max(late);
        self.sum += late;
        self.count += 1;
    }
}

fn mac_at(frame: &Frame, at: usize) -> Option<MacAddr> {
    frame.bytes.get(at..at + 6)?.try_into().ok().map(MacAddr)
}
