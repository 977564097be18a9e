//! The simulated network: nodes, links, and one clock.

mod motion;
mod routes;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::ids::{LinkId, NodeId};
use super::observer::Observer;
use super::program::{Program, ProgramId};
use super::record::{Record, Sighting};
use super::rest;
use super::schedule::{Schedule, SimEvent};
use crate::config::Config;
use crate::network::{Cidr, InterfaceConfig, InterfaceId, Medium};
use crate::rng::Rng;
use crate::socket::Domain;
use crate::stack::Stack;
use crate::testing::pair::seed_of;
use crate::testing::path::{Path, PathConfig, PathStats};
use crate::time::Instant;

/// How many events may happen at one time before the simulation reports that time stands still.
const MAX_STEPS_AT_ONE_TIME: u32 = 200_000;
/// The number of packets in the message of a panic.
const LINES_IN_A_PANIC: usize = 40;

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the first node to the second.
    There,
    /// From the second node to the first.
    Back,
}

/// The configuration of a link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// From the first node to the second.
    pub there: PathConfig,
    /// From the second node to the first.
    pub back: PathConfig,
    /// The MTU of the hosts' interfaces on the link, 1,500 by default. The MTUs of the paths are
    /// separate.
    pub interface_mtu: usize,
}

/// The same configuration for both directions.
impl From<PathConfig> for LinkConfig {
    fn from(path: PathConfig) -> LinkConfig {
        LinkConfig { there: path.clone(), back: path, interface_mtu: 1500 }
    }
}

/// What happens when an error is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The run panics, with the seed and the last packets.
    Panic,
    /// The run ends, and [`SimNet::failure`] returns the error.
    Keep,
}

/// Whether the invariants of TCP are checked while a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// They are checked: see the [module](super).
    On,
    /// They are not checked, for measurements of the stacks alone.
    Off,
}

/// Any number of stacks, joined by links and routers, under one virtual clock. See the
/// [module](super).
pub struct SimNet {
    seed: u64,
    rng: Rng,
    now: Instant,
    nodes: Vec<Node>,
    /// The directions of the links, two for each link.
    wires: Vec<Wire>,
    programs: Vec<Running>,
    schedule: Schedule,
    /// The nodes whose stacks were called.
    touched: Vec<usize>,
    routes_are_stale: bool,
    pub(super) record: Record,
    failure: Option<String>,
    on_failure: OnFailure,
    steps_at_now: u32,
    checks: Checks,
    observer: Observer,
    /// The number of wires with packets on them.
    busy_wires: usize,
    /// The time since when no wire has packets.
    quiet_since: Instant,
}

struct Node {
    kind: Kind,
    /// The wire that leads to each address of a host.
    routes: BTreeMap<IpAddr, usize>,
    is_touched: bool,
}

enum Kind {
    Host(Box<HostNode>),
    Router,
}

struct HostNode {
    stack: Stack,
    /// The host's attachments, by interface.
    attachments: Vec<Attachment>,
    programs: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Attachment {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// The wires out of the interface and into it.
    out: usize,
    into: usize,
}

struct Wire {
    path: Path,
    from: usize,
    to: usize,
    /// The interface of the host at its end.
    iface: InterfaceId,
    is_busy: bool,
}

struct Running {
    program: Option<Box<dyn Program>>,
    node: usize,
    is_done: bool,
}

impl SimNet {
    /// A network without nodes, at the time of one second.
    pub fn new(seed: u64) -> SimNet {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        SimNet {
            seed,
            rng: Rng::new(bytes),
            now: Instant::from_secs(1),
            nodes: Vec::new(),
            wires: Vec::new(),
            programs: Vec::new(),
            schedule: Schedule::default(),
            touched: Vec::new(),
            routes_are_stale: false,
            record: Record::default(),
            failure: None,
            on_failure: OnFailure::Panic,
            steps_at_now: 0,
            checks: Checks::On,
            observer: Observer::default(),
            busy_wires: 0,
            quiet_since: Instant::ZERO,
        }
    }

    /// Adds a host with a stack.
    pub fn add_host(&mut self, config: Config) -> NodeId {
        let stack = Stack::new(config, seed_of(&mut self.rng), self.now);
        let (attachments, programs) = Default::default();
        self.add_node(Kind::Host(Box::new(HostNode { stack, attachments, programs })))
    }

    /// Adds a node that only forwards, along the path with the fewest links.
    pub fn add_router(&mut self) -> NodeId {
        self.add_node(Kind::Router)
    }

    fn add_node(&mut self, kind: Kind) -> NodeId {
        self.nodes.push(Node { kind, routes: BTreeMap::new(), is_touched: false });
        NodeId(self.nodes.len() - 1)
    }

    /// Joins two nodes. A host gets an interface on the link, with an address of each family.
    ///
    /// # Panics
    ///
    /// If a host's stack refuses the interface, for instance because of its MTU.
    pub fn connect(&mut self, one: NodeId, other: NodeId, config: impl Into<LinkConfig>) -> LinkId {
        let LinkConfig { there, back, interface_mtu } = config.into();
        let link = LinkId(self.wires.len() / 2);
        for (from, to, path) in [(one, other, there), (other, one, back)] {
            let rng = Rng::new(seed_of(&mut self.rng));
            let mut path = Path::new(path, 0, rng);
            if self.record.is_kept() {
                path.keep_losses();
            }
            let iface = InterfaceId::from_index(0);
            self.observer.has_damage |= path.config().corrupt > 0.0;
            self.wires.push(Wire { path, from: from.0, to: to.0, iface, is_busy: false });
        }
        let (there, back) = (link.0 * 2, link.0 * 2 + 1);
        self.attach(one, there, back, interface_mtu);
        self.attach(other, back, there, interface_mtu);
        self.routes_are_stale = true;
        link
    }

    fn attach(&mut self, node: NodeId, out: usize, into: usize, mtu: usize) {
        let now = self.now;
        // Each end of a link has a number of its own, so that an address tells where it belongs.
        let number = out as u16 + 1;
        let Kind::Host(host) = &mut self.nodes[node.0].kind else { return };
        let v4 = Ipv4Addr::from(0x0a00_0000 + u32::from(number));
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number);
        let mut interface =
            InterfaceConfig::new(Medium::Ip).mtu(mtu).address(Cidr { addr: v4.into(), prefix_len: 8 });
        if mtu >= 1280 {
            interface = interface.address(Cidr { addr: v6.into(), prefix_len: 64 });
        }
        let iface = host.stack.add_interface(now, interface).expect("a possible interface");
        host.attachments.push(Attachment { v4, v6, out, into });
        self.wires[into].iface = iface;
        self.touch(node.0);
    }

    /// The seed of the network.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The stack of a host, which a test calls as a program would, with [`now`](SimNet::now) as the
    /// time.
    ///
    /// # Panics
    ///
    /// If the node is a router.
    pub fn stack(&mut self, node: NodeId) -> &mut Stack {
        self.touch(node.0);
        match &mut self.nodes[node.0].kind {
            Kind::Host(host) => &mut host.stack,
            Kind::Router => panic!("{node} is a router"),
        }
    }

    /// The stack of a host, for reading; `None` for a router.
    pub fn peek(&self, node: NodeId) -> Option<&Stack> {
        match &self.nodes[node.0].kind {
            Kind::Host(host) => Some(&host.stack),
            Kind::Router => None,
        }
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.nodes.len()).map(NodeId).filter(|&node| self.peek(node).is_some())
    }

    /// A host's address on its first link.
    ///
    /// # Panics
    ///
    /// If it has no link, or is a router.
    pub fn addr(&self, node: NodeId, domain: Domain) -> IpAddr {
        let Kind::Host(host) = &self.nodes[node.0].kind else { panic!("{node} is a router") };
        let attachment = host.attachments.first().expect("a host with a link");
        match domain {
            Domain::V4 | Domain::Unix => attachment.v4.into(),
            Domain::V6 => attachment.v6.into(),
        }
    }

    /// The configuration of one direction of a link, to be changed with
    /// [`set_path`](SimNet::set_path).
    pub fn path(&self, link: LinkId, way: Way) -> &PathConfig {
        self.wires[wire(link, way)].path.config()
    }

    /// Sets the configuration of one direction of a link.
    pub fn set_path(&mut self, link: LinkId, way: Way, config: PathConfig) {
        self.observer.has_damage |= config.corrupt > 0.0;
        self.wires[wire(link, way)].path.set_config(config);
    }

    /// The counters of one direction of a link.
    pub fn path_stats(&self, link: LinkId, way: Way) -> &PathStats {
        self.wires[wire(link, way)].path.stats()
    }

    /// Starts a program on a host.
    pub fn spawn<P: Program>(&mut self, node: NodeId, program: P) -> ProgramId<P> {
        let index = self.programs.len();
        self.programs.push(Running { program: Some(Box::new(program)), node: node.0, is_done: false });
        if let Kind::Host(host) = &mut self.nodes[node.0].kind {
            host.programs.push(index);
        }
        self.schedule.enter(SimEvent::Program(index), self.now);
        ProgramId::new(index)
    }

    /// A program, to read its results.
    ///
    /// # Panics
    ///
    /// If the program asks for itself.
    pub fn program<P: Program>(&self, id: ProgramId<P>) -> &P {
        let program = self.programs[id.index].program.as_deref().expect("it is not running now");
        let program: &dyn Any = program;
        program.downcast_ref().expect("the id has the type")
    }

    /// Keeps this many packets, the most recent ones, for [`transcript`](SimNet::transcript) and
    /// [`sightings`](SimNet::sightings).
    pub fn keep_record(&mut self, last: usize) {
        self.record.keep(last);
        for wire in &mut self.wires {
            wire.path.keep_losses();
        }
    }

    /// The packets that were kept, oldest first.
    pub fn sightings(&self) -> impl DoubleEndedIterator<Item = &Sighting> + '_ {
        self.record.sightings()
    }

    /// The packets that were kept, as lines of text.
    pub fn transcript(&self) -> String {
        self.record.transcript()
    }

    /// A hash of everything that the hosts sent, and when. Runs with the same hash are the same.
    pub fn digest(&self) -> u64 {
        self.record.digest
    }

    /// Sets whether invariants are checked. The default is [`Checks::On`].
    pub fn set_checks(&mut self, checks: Checks) {
        self.checks = checks;
    }

    /// Sets what happens when an error is found. The default is [`OnFailure::Panic`].
    pub fn on_failure(&mut self, on_failure: OnFailure) {
        self.on_failure = on_failure;
    }

    /// The first error. The run has ended with it.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Records an error.
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let now = self.now;
        self.failure.get_or_insert_with(|| format!("{now} {}", what.into()));
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until no packet is in flight and no stack and no program waits for a time, but at most
    /// for `limit`. Returns whether that state was reached; TIME-WAIT and keepalives delay it.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        self.run_until(limit, |net| net.schedule.next_at().is_none())
    }

    /// Whether no packet is queued or in flight.
    pub fn is_silent(&self) -> bool {
        self.busy_wires == 0
    }

    /// Runs until `done` returns true, but at most for `limit`, and returns whether it did. `done`
    /// is called after everything that happens, and may call the stacks.
    ///
    /// # Panics
    ///
    /// If an error is found, unless [`on_failure`](SimNet::on_failure) says otherwise.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut SimNet) -> bool) -> bool {
        let end = self.now + limit;
        self.find_routes();
        loop {
            self.settle();
            if self.failure.is_some() {
                self.report_failure();
                return false;
            }
            if done(self) {
                return true;
            }
            self.settle();
            let next_at = self.schedule.next_at();
            if self.is_silent() && next_at.is_none_or(|at| at > self.now) {
                self.check_rest();
            }
            match next_at {
                _ if self.failure.is_some() => {}
                Some(at) if at <= end => self.advance(at),
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
        }
    }

    /// Checks the stacks when no packet is in flight and nothing more happens at this time.
    fn check_rest(&mut self) {
        if self.checks == Checks::Off {
            return;
        }
        for node in 0..self.nodes.len() {
            let Kind::Host(host) = &self.nodes[node].kind else { continue };
            if let Err(error) = rest::check(self.now, &host.stack, self.now - self.quiet_since) {
                return self.fail(format!("{}: {error}", NodeId(node)));
            }
        }
    }

    fn report_failure(&self) {
        let Some(failure) = self.failure.as_deref().filter(|_| self.on_failure == OnFailure::Panic) else {
            return;
        };
        let transcript = self.transcript();
        let skipped = transcript.lines().count().saturating_sub(LINES_IN_A_PANIC);
        let last: Vec<&str> = transcript.lines().skip(skipped).collect();
        panic!("seed {}: {failure}\n{}", self.seed, last.join("\n"));
    }
}

fn wire(link: LinkId, way: Way) -> usize {
    link.0 * 2 + way as usize
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("nodes", &self.nodes.len())
            .field("links", &(self.wires.len() / 2))
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
