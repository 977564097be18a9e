//! The network: nodes, links, one clock.

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

use super::agenda::{Agenda, Happening};
use super::ids::{LinkId, NodeId};
use super::observer::Observer;
use super::program::{Program, ProgramId};
use super::record::{Record, Sighting};
use super::rest;
use crate::config::Config;
use crate::network::{Cidr, InterfaceConfig, InterfaceId, Medium};
use crate::rng::Rng;
use crate::socket::Domain;
use crate::stack::Stack;
use crate::testing::pair::seed_of;
use crate::testing::path::{Path, PathConfig, PathStats};
use crate::time::Instant;

/// How often something may happen at one moment before time is said to stand still.
const MAX_STEPS_AT_ONE_TIME: u32 = 200_000;
/// Packets that stay in a panic's message.
const LINES_IN_A_PANIC: usize = 40;

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the node that was named first to the other.
    There,
    /// From the other to the first.
    Back,
}

/// A link as it is made.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// From the first node to the second.
    pub there: PathConfig,
    /// From the second node to the first.
    pub back: PathConfig,
    /// The MTU of the interfaces that hosts have on it. 1,500. That of the paths is their own.
    pub interface_mtu: usize,
}

/// The same in both directions.
impl From<PathConfig> for LinkConfig {
    fn from(path: PathConfig) -> LinkConfig {
        LinkConfig { there: path.clone(), back: path, interface_mtu: 1500 }
    }
}

/// Whether something that must not be ends the program, or waits to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The run panics, with the seed and the last packets.
    Panic,
    /// The run ends, and [`SimNet::failure`] says why.
    Keep,
}

/// Whether the invariants of TCP are checked while a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// They are: see the [module's page](super).
    On,
    /// To measure the stacks alone.
    Off,
}

/// Any number of stacks, joined by links and routers, under one virtual clock. See the [module's
/// page](super).
pub struct SimNet {
    seed: u64,
    rng: Rng,
    now: Instant,
    nodes: Vec<Node>,
    /// Two of each link.
    wires: Vec<Wire>,
    programs: Vec<Running>,
    agenda: Agenda,
    /// Nodes whose stacks were called.
    touched: Vec<usize>,
    routes_are_stale: bool,
    pub(super) record: Record,
    failure: Option<String>,
    on_failure: OnFailure,
    steps_at_now: u32,
    checks: Checks,
    observer: Observer,
    /// Paths with something in them.
    busy_wires: usize,
    /// Since when there is none.
    quiet_since: Instant,
}

struct Node {
    kind: Kind,
    /// To every address of a host, the wire that leads there.
    routes: BTreeMap<IpAddr, usize>,
    is_touched: bool,
}

enum Kind {
    Host(Box<HostNode>),
    Router,
}

struct HostNode {
    stack: Stack,
    /// By interface.
    attachments: Vec<Attachment>,
    programs: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Attachment {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// What leaves through it, and what comes in.
    out: usize,
    into: usize,
}

struct Wire {
    path: Path,
    from: usize,
    to: usize,
    /// Of the host that it leads to.
    iface: InterfaceId,
    is_busy: bool,
}

struct Running {
    program: Option<Box<dyn Program>>,
    node: usize,
    is_done: bool,
}

impl SimNet {
    /// A network of nothing, at second 1.
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
            agenda: Agenda::default(),
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

    /// A stack.
    pub fn add_host(&mut self, config: Config) -> NodeId {
        let stack = Stack::new(config, seed_of(&mut self.rng), self.now);
        let (attachments, programs) = Default::default();
        self.add_node(Kind::Host(Box::new(HostNode { stack, attachments, programs })))
    }

    /// A node that only forwards, by the way with the fewest links.
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
    /// If a host's interface cannot be: its MTU is out of range.
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
        // One number for each end of each link: the addresses tell where they are.
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

    /// The seed that it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The stack of a host, to call as any program would, with [`now`](SimNet::now) as the time.
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

    /// The stack of a host, to look at; none of a router.
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
            Domain::V4 => attachment.v4.into(),
            Domain::V6 => attachment.v6.into(),
        }
    }

    /// What one direction of a link does, to change it with [`set_path`](SimNet::set_path).
    pub fn path(&self, link: LinkId, way: Way) -> &PathConfig {
        self.wires[wire(link, way)].path.config()
    }

    /// From now on one direction of a link does this.
    pub fn set_path(&mut self, link: LinkId, way: Way, config: PathConfig) {
        self.observer.has_damage |= config.corrupt > 0.0;
        self.wires[wire(link, way)].path.set_config(config);
    }

    /// What one direction of a link did.
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
        self.agenda.enter(Happening::Program(index), self.now);
        ProgramId::new(index)
    }

    /// A program, to ask it what it did.
    ///
    /// # Panics
    ///
    /// If the program asks for itself.
    pub fn program<P: Program>(&self, id: ProgramId<P>) -> &P {
        let program = self.programs[id.index].program.as_deref().expect("it is not running now");
        let program: &dyn Any = program;
        program.downcast_ref().expect("the id has the type")
    }

    /// Keeps the last packets that are seen, for [`transcript`](SimNet::transcript) and
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

    /// The same as lines for people.
    pub fn transcript(&self) -> String {
        self.record.transcript()
    }

    /// A sum over all that the hosts sent, and when. Two runs with the same are the same.
    pub fn digest(&self) -> u64 {
        self.record.digest
    }

    /// Whether invariants are checked. [`Checks::On`] unless this is called.
    pub fn set_checks(&mut self, checks: Checks) {
        self.checks = checks;
    }

    /// What happens when something goes wrong that must not. [`OnFailure::Panic`] unless this is
    /// called.
    pub fn on_failure(&mut self, on_failure: OnFailure) {
        self.on_failure = on_failure;
    }

    /// What went wrong first; nothing more has happened since.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something went wrong.
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let now = self.now;
        self.failure.get_or_insert_with(|| format!("{now} {}", what.into()));
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until no packet is on its way and no stack and no program waits for a time, at most
    /// `limit`. Whether that came about: TIME-WAIT and keepalives take their time.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        self.run_until(limit, |net| net.agenda.next_at().is_none())
    }

    /// Whether no packet is on its way.
    pub fn is_silent(&self) -> bool {
        self.busy_wires == 0
    }

    /// Runs until `done` says so, at most `limit`; whether it did. `done` is asked after everything
    /// that happens, and may call the stacks.
    ///
    /// # Panics
    ///
    /// If something goes wrong that must not, unless [`on_failure`](SimNet::on_failure) was told
    /// otherwise.
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
            let next_at = self.agenda.next_at();
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

    /// Nothing is on its way, and nothing more happens now.
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
