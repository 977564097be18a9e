//! Several pollers with one socket, and threads that sleep at some of them: which of them an
//! arrival wakes (EPOLLEXCLUSIVE), and what each reports.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan::{Config, Descriptor, Domain, Instant, Interest, PollerId, SocketKind, Stack};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::thread::gettid;

use crate::soak::dice::Dice;

const POLLERS: usize = 3;
const ROUNDS: usize = 4;
/// The token of the socket.
const SOCKET: u64 = 1;
/// The token with which the kernel's threads are woken at the end of a round.
const END: u64 = 2;
/// By then the datagram has arrived, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_millis(10);
/// How often it is looked whether a thread sleeps.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// Which threads sleep when a datagram arrives.
type Sleepers = [bool; POLLERS];
/// The events of the socket that each poller reports.
type Reports = [Option<u32>; POLLERS];

/// The kernel's sockets, pollers and threads.
struct Kernel {
    socket: UdpSocket,
    sender: UdpSocket,
    /// Each with the descriptor that ends its thread's sleep.
    pollers: [(OwnedFd, OwnedFd); POLLERS],
}

impl Kernel {
    fn new() -> io::Result<Self> {
        let bound = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (socket, sender) = (bound()?, bound()?);
        socket.set_nonblocking(true)?;
        let poller = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (poller, end) = (epoll::create(CreateFlags::CLOEXEC)?, eventfd(0, EventfdFlags::NONBLOCK)?);
            epoll::add(&poller, &end, EventData::new_u64(END), EventFlags::IN)?;
            Ok((poller, end))
        };
        Ok(Kernel { socket, sender, pollers: [poller()?, poller()?, poller()?] })
    }

    fn register(&self, poller: usize, interest: Interest) -> io::Result<()> {
        let flags = EventFlags::from_bits_retain(interest.bits());
        Ok(epoll::add(&self.pollers[poller].0, &self.socket, EventData::new_u64(SOCKET), flags)?)
    }

    fn wait(&self, poller: usize, timeout: Option<&Timespec>) -> io::Result<Option<u32>> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 4];
        let count = epoll::wait(&self.pollers[poller].0, &mut events[..], timeout)?;
        Ok(events[..count].iter().find_map(|event| {
            let Event { flags, data } = *event;
            (data.u64() == SOCKET).then_some(flags.bits())
        }))
    }

    fn round(&self, sleepers: Sleepers) -> io::Result<Reports> {
        let mut reports = [None; POLLERS];
        thread::scope(|scope| -> io::Result<()> {
            let mut threads = Vec::new();
            for at in (0..POLLERS).filter(|at| sleepers[*at]) {
                let (tell, told) = mpsc::channel();
                let thread = scope.spawn(move || {
                    // The other end waits for it.
                    let _ = tell.send(gettid().as_raw_pid());
                    self.wait(at, None)
                });
                let id = told.recv().map_err(io::Error::other)?;
                while !thread.is_finished() && !is_asleep(id) {
                    thread::sleep(LOOK_INTERVAL);
                }
                // It is in the queue of the poller a moment after its state shows that it sleeps.
                thread::sleep(LOOK_INTERVAL);
                threads.push((at, thread));
            }
            self.sender.send_to(b"x", self.socket.local_addr()?)?;
            thread::sleep(PATIENCE);
            for (at, thread) in threads {
                let end = &self.pollers[at].1;
                rustix::io::write(end, &1u64.to_ne_bytes())?;
                reports[at] = thread.join().expect("it does not panic")?;
                rustix::io::read(end, &mut [0; 8])?;
            }
            Ok(())
        })?;
        for at in (0..POLLERS).filter(|at| !sleepers[*at]) {
            reports[at] = self.wait(at, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        }
        Ok(reports)
    }

    fn drain(&self) {
        while self.socket.recv(&mut [0; 8]).is_ok() {}
    }
}

/// Whether a thread of this process sleeps in a system call.
fn is_asleep(id: i32) -> bool {
    // The state follows the name, which is in parentheses.
    let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// The same with a stack, whose program only says that it sleeps.
struct Portolan {
    stack: Stack,
    socket: Descriptor,
    sender: Descriptor,
    pollers: [PollerId; POLLERS],
}

impl Portolan {
    const NOW: Instant = Instant::ZERO;
    const ADDR: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7);

    fn new() -> Self {
        let mut stack = Stack::new(Config::default(), [7; 32], Self::NOW);
        let [socket, sender] =
            [(); 2].map(|()| stack.socket(Domain::V4, SocketKind::Datagram).expect("room"));
        stack.bind(socket, SocketAddr::from(Self::ADDR)).expect("a free port");
        let pollers = [(); POLLERS].map(|()| stack.add_poller().expect("room"));
        Portolan { stack, socket, sender, pollers }
    }

    fn register(&mut self, poller: usize, interest: Interest) {
        self.stack.poller_add(self.pollers[poller], self.socket, interest, SOCKET).expect("it is new");
    }

    /// What a wait reports. The program then does not sleep.
    fn wait(&mut self, poller: usize) -> Option<u32> {
        let mut ready = Vec::new();
        self.stack.poller_wait(self.pollers[poller], &mut ready, 4).expect("it exists");
        self.stack.set_poller_waiting(self.pollers[poller], false).expect("it exists");
        ready.first().map(|ready| ready.bits())
    }

    fn round(&mut self, sleepers: Sleepers) -> Reports {
        let mut reports = [None; POLLERS];
        for at in (0..POLLERS).filter(|at| sleepers[*at]) {
            reports[at] = self.wait(at);
            self.stack.set_poller_waiting(self.pollers[at], reports[at].is_none()).expect("it exists");
        }
        self.stack.send_to(Self::NOW, self.sender, b"x", SocketAddr::from(Self::ADDR)).expect("room");
        while self.stack.poll_transmit(Self::NOW).is_some() || self.stack.handle_loopback(Self::NOW) {}
        for (at, report) in reports.iter_mut().enumerate() {
            // A thread that found something before the arrival did not sleep.
            if report.is_none() {
                *report = self.wait(at);
            }
        }
        reports
    }

    fn drain(&mut self) {
        while self.stack.recv(Self::NOW, self.socket, &mut [0; 8]).is_ok() {}
    }
}

/// Makes the rounds of a seed on both. Returns what differs.
///
/// # Errors
///
/// If the system refuses a poller or a socket.
pub fn compare_sleepers(seed: u64) -> io::Result<Option<String>> {
    let mut dice = Dice::new(seed, "sleepers", 0);
    let (kernel, mut stack) = (Kernel::new()?, Portolan::new());
    let mut history = String::new();
    let first = dice.within(0, POLLERS as u64 - 1) as usize;
    for at in 0..POLLERS {
        let poller = (first + at) % POLLERS;
        let mut interest = Interest::READABLE;
        if dice.one_in(2) {
            interest = interest | Interest::EDGE_TRIGGERED;
        }
        if !dice.one_in(4) {
            interest = interest | Interest::EXCLUSIVE;
        }
        history += &format!("    poller {poller}: {interest:?}\n");
        kernel.register(poller, interest)?;
        stack.register(poller, interest);
    }
    for _ in 0..ROUNDS {
        let sleepers = [(); POLLERS].map(|()| !dice.one_in(3));
        let (theirs, ours) = (kernel.round(sleepers)?, stack.round(sleepers));
        history += &format!("    asleep {sleepers:?}: {ours:x?}\n");
        if theirs != ours {
            return Ok(Some(format!("{history}    the kernel: {theirs:x?}\n")));
        }
        if dice.one_in(2) {
            kernel.drain();
            stack.drain();
        }
    }
    Ok(None)
}
