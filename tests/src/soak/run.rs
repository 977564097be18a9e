//! Runs one seed, from the first packet to the last.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use portolan::testing::sim::{
    Client, Ending, NodeId, OnFailure, ProgramId, Server, Sight, SimNet, StreamPhase, TestStream,
};
use portolan::{Config, Error, Instant, Stack};

use super::scenario::{FlowPlan, Scenario, Topology};
use super::watch::Watch;

/// A connection that takes longer hangs: a stack gives up after about 15 minutes.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// After this many events every connection is checked.
const WATCHED_EVERY: usize = 7;
/// The time for TIME-WAIT, FIN-WAIT-2 and orphans.
const AFTERMATH: Duration = Duration::from_secs(1800);

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first error.
    pub failure: Option<String>,
    /// Counts.
    pub summary: Summary,
    /// A hash of everything that was sent.
    pub digest: u64,
    /// The last packets, if they were to be kept.
    pub transcript: String,
    /// The last packets as they were sent and received.
    pub packets: Vec<(Instant, Bytes)>,
}

/// Counts of one run, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Connections that ended in order.
    pub ended: u64,
    /// Connections that one of their programs closed early or reset.
    pub cut_off: u64,
    /// Connections that failed because the path was too bad.
    pub broken: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Retransmitted segments.
    pub retransmits: u64,
    /// Virtual time in the networks.
    pub virtual_time: Duration,
}

impl Summary {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Summary) {
        let Summary { runs, ended, cut_off, broken, bytes, retransmits, virtual_time } = other;
        self.runs += runs;
        self.ended += ended;
        self.cut_off += cut_off;
        self.broken += broken;
        self.bytes += bytes;
        self.retransmits += retransmits;
        self.virtual_time += *virtual_time;
    }
}

impl Outcome {
    /// The result of a run that panicked.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Outcome { failure: Some(format!("panic: {text}")), ..Outcome::default() }
    }
}

struct Running {
    plan: FlowPlan,
    client: Option<ProgramId<Client>>,
    server: ProgramId<Server>,
    port: u16,
}

/// Runs the scenario of a seed. The outcome contains the last `keep` packets.
pub fn run_seed(seed: u64, keep: usize) -> Outcome {
    let scenario = Scenario::new(seed);
    let mut net = SimNet::new(seed);
    net.on_failure(OnFailure::Keep);
    if keep > 0 {
        net.keep_record(keep);
    }
    let hosts = build(&mut net, &scenario);
    let begun_at = net.now();
    let memory: Vec<usize> = hosts.iter().map(|&host| memory_bytes(&net, host)).collect();
    let mut flows = Vec::new();
    for (index, plan) in scenario.flows.iter().enumerate() {
        let port = 5001 + index as u16;
        let server = net.spawn(hosts[plan.to], Server::new(plan.domain, port, plan.scripts[1].clone()));
        flows.push(Running { plan: plan.clone(), client: None, server, port });
    }
    start_clients(&mut net, &hosts, &mut flows);
    let mut watched = Ok(());
    let mut watches: Vec<[Watch; 2]> = flows.iter().map(|_| Default::default()).collect();
    let mut turn = 0usize;
    net.run_until(LIMIT, |net| {
        turn += 1;
        if turn.is_multiple_of(WATCHED_EVERY) {
            watched = look(net, &hosts, &flows, &mut watches);
        }
        watched.is_err() || flows.iter().all(|flow| is_over(net, flow))
    });
    let mut outcome = Outcome::default();
    outcome.summary.runs = 1;
    let mut failure = net.failure().map(str::to_owned).or(watched.err());
    for flow in &flows {
        if failure.is_none() {
            failure = judge(&net, &scenario, flow, &mut outcome.summary).err();
        }
    }
    if failure.is_none() {
        failure = clean_up(&mut net, &hosts, &flows, &memory).err();
    }
    outcome.failure = failure.map(|failure| format!("{failure} (at {})", net.now()));
    outcome.summary.virtual_time = net.now() - begun_at;
    outcome.summary.retransmits =
        hosts.iter().filter_map(|&host| Some(net.peek(host)?.stats().tcp.retrans_segs)).sum();
    outcome.digest = net.digest();
    if keep > 0 {
        outcome.transcript = net.transcript();
        let packets = net.sightings().filter(|sighting| matches!(sighting.sight, Sight::Sent(_)));
        outcome.packets = packets.map(|sighting| (sighting.at, sighting.packet.clone())).collect();
    }
    outcome
}

fn build(net: &mut SimNet, scenario: &Scenario) -> Vec<NodeId> {
    let add = |net: &mut SimNet, config: &Config| net.add_host(config.clone());
    let hosts: Vec<NodeId> = scenario.configs.iter().map(|config| add(net, config)).collect();
    match scenario.topology {
        Topology::Direct => {
            net.connect(hosts[0], hosts[1], scenario.middle.clone());
        }
        Topology::Dumbbell => {
            let routers = [net.add_router(), net.add_router()];
            net.connect(routers[0], routers[1], scenario.middle.clone());
            for (index, (&host, access)) in hosts.iter().zip(&scenario.access).enumerate() {
                net.connect(host, routers[index % 2], access.clone());
            }
        }
    }
    hosts
}

fn start_clients(net: &mut SimNet, hosts: &[NodeId], flows: &mut [Running]) {
    let begun_at = net.now();
    let mut order: Vec<usize> = (0..flows.len()).collect();
    order.sort_by_key(|&index| flows[index].plan.starts_after);
    for index in order {
        let flow = &mut flows[index];
        net.run_for((begun_at + flow.plan.starts_after) - net.now());
        let addr = SocketAddr::new(net.addr(hosts[flow.plan.to], flow.plan.domain), flow.port);
        flow.client = Some(net.spawn(hosts[flow.plan.from], Client::new(addr, flow.plan.scripts[0].clone())));
    }
}

fn ends<'a>(net: &'a SimNet, flow: &Running) -> [Option<&'a TestStream>; 2] {
    let client = flow.client.and_then(|client| net.program(client).stream());
    [client, net.program(flow.server).streams().first()]
}

/// Whether neither end has anything more to do.
fn is_over(net: &SimNet, flow: &Running) -> bool {
    let [client, server] = ends(net, flow);
    let is_done = |end: Option<&TestStream>| end.is_none_or(TestStream::is_done);
    flow.client.is_some_and(|id| net.program(id).is_done()) && is_done(client) && is_done(server)
}

/// Whether the connection may be incomplete. Either one end has ended and the other may wait for
/// ever, because it has no keepalive, and a segment or handshake was lost or ended by a program. Or
/// the path is so bad that the connection has not finished, but it makes progress.
fn may_wait(net: &SimNet, scenario: &Scenario, flow: &Running) -> bool {
    let ends = ends(net, flow);
    let was_cut = |end: usize| {
        let is_broken = ends[end].is_some_and(|end| matches!(end.phase(), StreamPhase::Failed(..)));
        is_broken || flow.plan.scripts[end].ending != Ending::Orderly
    };
    let waits_for_ever = |end: usize| {
        let other = 1 - end;
        ends[end].is_some_and(|end| !end.is_done())
            && ends[other].is_none_or(TestStream::is_done)
            && !is_kept_alive(flow, end)
            && (was_cut(other) || !scenario.is_fair())
    };
    let read_at = ends.into_iter().flatten().filter_map(TestStream::received_between).map(|(_, at)| at).max();
    let gets_on = read_at.is_some_and(|at| net.now() - at < Duration::from_secs(3600));
    waits_for_ever(0) || waits_for_ever(1) || gets_on && !scenario.is_fair()
}

/// Checks all ends that are open.
fn look(net: &SimNet, hosts: &[NodeId], flows: &[Running], watches: &mut [[Watch; 2]]) -> Result<(), String> {
    for (flow, watches) in flows.iter().zip(watches) {
        let places = [flow.plan.from, flow.plan.to];
        for ((end, watch), host) in ends(net, flow).into_iter().zip(watches).zip(places) {
            if let Some(end) = end.filter(|end| end.phase() == StreamPhase::Open) {
                watch.look(net, hosts[host], end)?;
            }
        }
    }
    Ok(())
}

fn is_kept_alive(flow: &Running, end: usize) -> bool {
    flow.plan.scripts[end]
        .options
        .iter()
        .any(|option| matches!(option, portolan::SocketOption::KeepAlive(true)))
}

/// Checks that a connection ended as it must.
fn judge(net: &SimNet, scenario: &Scenario, flow: &Running, summary: &mut Summary) -> Result<(), String> {
    let is_orderly = flow.plan.scripts.iter().all(|script| script.ending == Ending::Orderly);
    let [client, server] = ends(net, flow);
    let port = flow.port;
    summary.bytes += client.map_or(0, TestStream::received) + server.map_or(0, TestStream::received);
    if !is_over(net, flow) && !may_wait(net, scenario, flow) {
        return Err(format!("port {port}: not over after {LIMIT:?}: {client:?}\n{server:?}"));
    }
    if let (Some(client), Some(server)) = (client, server) {
        for (one, other) in [(client, server), (server, client)] {
            if one.received() > other.sent() {
                return Err(format!("port {port}: more was read than sent: {one:?}\n{other:?}"));
            }
        }
        if is_orderly && client.phase() == StreamPhase::Ended && server.phase() == StreamPhase::Ended {
            summary.ended += 1;
            let is_all = client.sent() == server.received() && server.sent() == client.received();
            return is_all
                .then_some(())
                .ok_or_else(|| format!("port {port}: bytes are missing: {client:?}\n{server:?}"));
        }
    }
    if !is_orderly {
        summary.cut_off += 1;
        return Ok(());
    }
    summary.broken += 1;
    if scenario.is_fair() {
        let refused = flow.client.and_then(|client| net.program(client).refused());
        return Err(format!("port {port}: it broke on a fair path: {refused:?}\n{client:?}\n{server:?}"));
    }
    Ok(())
}

/// Closes everything that is left, and checks that each stack is as it was.
fn clean_up(net: &mut SimNet, hosts: &[NodeId], flows: &[Running], memory: &[usize]) -> Result<(), String> {
    for flow in flows {
        let left: Vec<_> = ends(net, flow)
            .into_iter()
            .zip([flow.plan.from, flow.plan.to])
            .filter_map(|(end, host)| {
                end.filter(|end| !end.is_done()).map(|end| (hosts[host], end.descriptor()))
            })
            .collect();
        let listener = net.program(flow.server).listener().map(|listener| (hosts[flow.plan.to], listener));
        let now = net.now();
        for (host, descriptor) in left.into_iter().chain(listener) {
            let closed: Result<(), Error> = net.stack(host).close(now, descriptor);
            closed.map_err(|error| format!("{descriptor:?} cannot be closed: {error}"))?;
        }
    }
    let is_idle = net.run_until_idle(AFTERMATH);
    if let Some(failure) = net.failure() {
        return Err(failure.to_owned());
    }
    for (&host, &memory) in hosts.iter().zip(memory) {
        let stack = net.peek(host).ok_or("a host")?;
        if stack.sockets().next().is_some() {
            return Err(format!("{host} still has {:?}", stack.sockets().collect::<Vec<_>>()));
        }
        // What was learned about the paths is kept.
        let learned = if stack.stats().icmp.errors_received > 0 { 2048 } else { 0 };
        if !(memory..=memory + learned).contains(&stack.memory_bytes()) {
            return Err(format!("{host} holds {} bytes, and held {memory} at first", stack.memory_bytes()));
        }
        check_accounts(stack).map_err(|error| format!("{host}: {error}"))?;
    }
    is_idle.then_some(()).ok_or_else(|| "a stack without sockets still asks to be called".into())
}

/// Checks that each received frame is counted by its kind, or as dropped.
fn check_accounts(stack: &Stack) -> Result<(), String> {
    let stats = stack.stats();
    let counted = stats.tcp.in_segs + stats.icmp.errors_received + stats.ip.reasm_reqds + stats.all_drops();
    if counted < stats.link.frames_in {
        return Err(format!("{} frames in, {counted} accounted for: {stats:?}", stats.link.frames_in));
    }
    Ok(())
}

fn memory_bytes(net: &SimNet, host: NodeId) -> usize {
    net.peek(host).map_or(0, Stack::memory_bytes)
}
