//! Two stacks with one virtual clock and one link.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use super::decode::describe;
use super::device::cut;
use super::link::{Link, LinkFaults};
use crate::config::Config;
use crate::error::Error;
use crate::event::{Deadline, Event};
use crate::frame::Frame;
use crate::network::{AddressState, Cidr, InterfaceConfig, InterfaceId, MacAddr, Medium};
use crate::offload::Offloads;
use crate::rng::Rng;
use crate::socket::{Descriptor, Domain, SocketKind};
use crate::stack::Stack;
use crate::time::Instant;

/// How many steps at one time, without the clock moving, [`Pair`] allows before it reports that a
/// stack is stuck.
const MAX_STEPS_AT_ONE_TIME: u32 = 100_000;
/// The most events that are kept until a test takes them.
const MAX_KEPT_EVENTS: usize = 4096;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first host.
    A,
    /// The second host.
    B,
}

impl Side {
    /// The other host.
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// The configuration of a pair.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// The seed of both stacks and of the link's faults.
    pub seed: u64,
    /// The configuration of the first stack.
    pub a: Config,
    /// The configuration of the second stack.
    pub b: Config,
    /// The size of the largest IP packet on the link.
    pub mtu: usize,
    /// Whether the link is an Ethernet; otherwise it carries bare IP packets.
    pub ethernet: bool,
    /// The offloads of the first stack's device; the link carries what the device sends.
    pub offloads: Offloads,
    /// The faults of the link in both directions. They begin after duplicate address detection.
    pub faults: LinkFaults,
    /// Whether every frame that is sent is kept for [`Pair::recorded`].
    pub record: bool,
}

impl PairConfig {
    /// Default stacks on an Ethernet link without faults and with an MTU of 1,500.
    pub fn seeded(seed: u64) -> Self {
        PairConfig {
            seed,
            a: Config::default(),
            b: Config::default(),
            mtu: 1500,
            ethernet: true,
            offloads: Offloads::NONE,
            faults: LinkFaults::default(),
            record: false,
        }
    }
}

/// One of the two hosts, with its addresses.
#[derive(Debug)]
pub struct Host {
    /// The stack, which a test calls as a program would.
    pub stack: Stack,
    /// The stack's interface on the link.
    pub iface: InterfaceId,
    /// The medium of the interface.
    pub medium: Medium,
    /// 10.0.0.1 or 10.0.0.2, in a network of 24 bits.
    pub v4: Ipv4Addr,
    /// fd00::1 or fd00::2, in a network of 64 bits.
    pub v6: Ipv6Addr,
    events: VecDeque<Event>,
}

impl Host {
    /// The host's address of a family.
    pub fn addr(&self, domain: Domain) -> IpAddr {
        match domain {
            Domain::V4 | Domain::Unix => self.v4.into(),
            Domain::V6 => self.v6.into(),
        }
    }
}

/// A frame as it was sent, before the link did anything to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When it was sent.
    pub at: Instant,
    /// The host that sent it.
    pub from: Side,
    /// The bytes of the frame.
    pub frame: Bytes,
}

/// Two stacks, one virtual clock, and one link between them.
///
/// The clock moves only inside [`run_for`](Pair::run_for), [`run_until_idle`](Pair::run_until_idle)
/// and [`drive`](Pair::drive). It jumps from one event to the next, so hours pass in milliseconds.
/// Between these calls, call the stacks as programs do, with [`now`](Pair::now) as the time.
#[derive(Debug)]
pub struct Pair {
    /// The first stack.
    pub a: Host,
    /// The second stack.
    pub b: Host,
    now: Instant,
    /// The links from A to B and from B to A.
    links: [Link; 2],
    record: bool,
    recorded: Vec<Recorded>,
    steps_at_now: u32,
    next_port: u16,
}

impl Pair {
    /// Makes the pair and lets time pass until the addresses of both hosts can be used.
    ///
    /// # Panics
    ///
    /// If the stacks refuse the configuration, or if an address is still tentative after a minute.
    pub fn new(config: PairConfig) -> Pair {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&config.seed.to_le_bytes());
        let mut rng = Rng::new(seed);
        let now = Instant::from_secs(1);
        let a = host(config.a, &mut rng, now, 1, config.ethernet, config.mtu, config.offloads);
        let b = host(config.b, &mut rng, now, 2, config.ethernet, config.mtu, Offloads::NONE);
        let quiet = LinkFaults { delay: config.faults.delay, ..LinkFaults::default() };
        let mut link = || Link::new(quiet, Rng::new(seed_of(&mut rng)));
        let mut pair = Pair {
            a,
            b,
            now,
            links: [link(), link()],
            record: config.record,
            recorded: Vec::new(),
            steps_at_now: 0,
            next_port: 7000,
        };
        let settled = pair.drive(Duration::from_secs(60), |pair| pair.a.settled() && pair.b.settled());
        assert!(settled, "addresses are still tentative: {:?}", pair.a.stack.interfaces());
        pair.set_faults(config.faults);
        pair
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// One of the two hosts.
    pub fn host(&mut self, side: Side) -> &mut Host {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Sets the faults of the link in both directions.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        for link in &mut self.links {
            link.set_faults(faults);
        }
    }

    /// Sets the faults of the link for frames that `from` sends.
    pub fn set_faults_from(&mut self, from: Side, faults: LinkFaults) {
        self.links[from as usize].set_faults(faults);
    }

    /// Loses the frames in flight.
    pub fn cut(&mut self) {
        for link in &mut self.links {
            link.cut();
        }
    }

    /// Delivers a frame that neither host sent to `to`, now.
    pub fn inject(&mut self, to: Side, frame: impl Into<Bytes>) {
        let now = self.now;
        let host = self.host(to);
        host.stack.handle_frame(now, host.iface, Frame::new(frame));
    }

    /// The frames that were sent since the last call, if the pair records them.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        core::mem::take(&mut self.recorded)
    }

    /// The events of one host since the last call.
    pub fn take_events(&mut self, side: Side) -> Vec<Event> {
        self.host(side).events.drain(..).collect()
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.drive(duration, |_| false);
    }

    /// Runs until nothing is in flight and neither stack waits for a timer, but at most for
    /// `limit`. Returns whether that state was reached; TIME-WAIT and keepalives delay it.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        self.drive(limit, |pair| pair.flush() == 0 && pair.next_event().is_none())
    }

    /// Runs until `step` returns true, but at most for `limit`, and returns whether it did. `step`
    /// is called after everything that happens and may call the stacks: it acts as the programs on
    /// both hosts.
    ///
    /// # Panics
    ///
    /// If a stack asks again and again to be called at the same time.
    pub fn drive(&mut self, limit: Duration, mut step: impl FnMut(&mut Pair) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.flush();
            if step(self) {
                return true;
            }
            self.flush();
            match self.next_event() {
                Some((at, why)) if at <= end => self.advance(at, why),
                _ => {
                    self.now = end;
                    return step(self);
                }
            }
        }
    }

    /// Opens a connection from A to B through a listener, and runs until both hosts have it.
    /// Returns the descriptors on A and on B. The listener is closed.
    ///
    /// # Panics
    ///
    /// If the connection is not open within ten minutes.
    pub fn connected_streams(&mut self, domain: Domain) -> (Descriptor, Descriptor) {
        let port = self.next_port;
        self.next_port += 1;
        let listener = self.listener(domain, port);
        let (client, server) = self.connect_to(domain, listener, port);
        self.b.stack.close(self.now, listener).expect("an open listener can be closed");
        (client, server)
    }

    /// Opens a listener on B, with a backlog of 128.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub fn listener(&mut self, domain: Domain, port: u16) -> Descriptor {
        let addr = SocketAddr::new(self.b.addr(domain), port);
        let stack = &mut self.b.stack;
        let listener = stack.socket(domain, SocketKind::Stream).expect("a descriptor is free");
        stack.bind(listener, addr).expect("the port is free");
        stack.listen(listener, 128).expect("a bound stream can listen");
        listener
    }

    /// Like [`connected_streams`](Pair::connected_streams), with a listener that exists.
    ///
    /// # Panics
    ///
    /// If the connection is not open within ten minutes.
    pub fn connect_to(
        &mut self,
        domain: Domain,
        listener: Descriptor,
        port: u16,
    ) -> (Descriptor, Descriptor) {
        let addr = SocketAddr::new(self.b.addr(domain), port);
        let client = self.a.stack.socket(domain, SocketKind::Stream).expect("a descriptor is free");
        assert_eq!(self.a.stack.connect(self.now, client, addr), Err(Error::InProgress));
        let mut accepted = None;
        let open = self.drive(Duration::from_secs(600), |pair| {
            if accepted.is_none() {
                accepted = pair.b.stack.accept(listener).ok();
            }
            let writable = pair.a.stack.readiness(client).is_ok_and(|readiness| readiness.writable);
            accepted.is_some() && writable
        });
        assert!(open, "no connection to {addr}: {:?}", self.a.stack.take_error(client));
        let (server, _) = accepted.expect("`open` says so");
        (client, server)
    }

    /// The recorded frames as lines of text.
    pub fn transcript(&self) -> String {
        let mut lines = String::new();
        for Recorded { at, from, frame } in &self.recorded {
            let line = describe(self.a.medium, frame);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{at} {from:?} {line}");
        }
        lines
    }

    /// Passes all frames that the stacks have to send to the link, and stores their events. Returns
    /// the number of frames.
    fn flush(&mut self) -> usize {
        let mut sent = 0;
        for side in [Side::A, Side::B] {
            let now = self.now;
            let mut burst = 0;
            loop {
                burst += 1;
                assert!(burst < MAX_STEPS_AT_ONE_TIME, "{side:?} sends without end at {now}");
                let stack = &mut self.host(side).stack;
                let Some(transmit) = stack.poll_transmit(now) else {
                    if stack.handle_loopback(now) {
                        continue;
                    }
                    break;
                };
                sent += 1;
                for frame in cut(self.a.medium, &transmit.to_frame()) {
                    if self.record {
                        self.recorded.push(Recorded { at: now, from: side, frame: frame.clone() });
                    }
                    self.links[side as usize].send(now, frame);
                }
            }
            let host = self.host(side);
            while let Some(event) = host.stack.poll_event() {
                host.events.push_back(event);
                if host.events.len() > MAX_KEPT_EVENTS {
                    host.events.pop_front();
                }
            }
        }
        sent
    }

    /// The time of the next event, and the timer if it is one.
    fn next_event(&self) -> Option<(Instant, Option<Deadline>)> {
        let arrivals = self.links.iter().filter_map(|link| Some((link.next_arrival()?, None)));
        let deadlines = [&self.a, &self.b].into_iter().filter_map(|host| {
            let deadline = host.stack.poll_timeout()?;
            Some((deadline.at, Some(deadline)))
        });
        arrivals.chain(deadlines).min_by_key(|&(at, _)| at)
    }

    /// Moves the clock and delivers what is due.
    fn advance(&mut self, at: Instant, why: Option<Deadline>) {
        if at > self.now {
            self.now = at;
            self.steps_at_now = 0;
        }
        self.steps_at_now += 1;
        assert!(self.steps_at_now < MAX_STEPS_AT_ONE_TIME, "time stands still at {}: {why:?}", self.now);
        let now = self.now;
        for side in [Side::A, Side::B] {
            let arrived = core::iter::from_fn(|| self.links[side.other() as usize].receive(now));
            let arrived: Vec<Bytes> = arrived.collect();
            let host = self.host(side);
            for bytes in arrived {
                host.stack.handle_frame(now, host.iface, Frame::new(bytes));
            }
            if host.stack.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
                host.stack.handle_timeout(now);
            }
        }
    }
}

impl Host {
    fn settled(&self) -> bool {
        let interfaces = self.stack.interfaces();
        interfaces
            .iter()
            .flat_map(|iface| &iface.addresses)
            .all(|(_, state)| *state == AddressState::Preferred)
    }
}

fn host(
    config: Config,
    rng: &mut Rng,
    now: Instant,
    number: u8,
    ethernet: bool,
    mtu: usize,
    offloads: Offloads,
) -> Host {
    let medium = if ethernet { Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, number])) } else { Medium::Ip };
    let v4 = Ipv4Addr::new(10, 0, 0, number);
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number));
    let interface = InterfaceConfig::new(medium)
        .mtu(mtu)
        .offloads(offloads)
        .address(Cidr { addr: v4.into(), prefix_len: 24 })
        .address(Cidr { addr: v6.into(), prefix_len: 64 });
    let mut stack = Stack::new(config, seed_of(rng), now);
    let iface = stack.add_interface(now, interface).expect("two addresses on one interface");
    Host { stack, iface, medium, v4, v6, events: VecDeque::new() }
}

pub(super) fn seed_of(rng: &mut Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    let (first, second) = seed.split_at_mut(16);
    first.copy_from_slice(&rng.key());
    second.copy_from_slice(&rng.key());
    seed
}
