//! The scenario of a seed: a network, its faults, its hosts, and their programs.

use std::time::Duration;

use portolan::testing::sim::{Ending, Gate, LinkConfig, StreamScript};
use portolan::testing::{
    Discipline, GilbertElliott, HoldBack, JitterOrder, Outage, PathConfig, QueueConfig, TooBig, bdp_bytes,
};
use portolan::{Config, CongestionControl, Domain, Ecn, Instant, MtuProbing, SocketOption, SynCookieMode};

use super::dice::Dice;

/// A random network and its connections.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed that determines everything.
    pub seed: u64,
    /// How the hosts are joined.
    pub topology: Topology,
    /// The configuration of each host.
    pub configs: Vec<Config>,
    /// The link in the middle.
    pub middle: LinkConfig,
    /// The link of each host.
    pub access: Vec<LinkConfig>,
    /// The connections.
    pub flows: Vec<FlowPlan>,
}

/// How hosts are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Two hosts and the middle link.
    Direct,
    /// Hosts on both sides of two routers, with the middle link between these.
    Dumbbell,
}

/// A connection of a scenario.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    /// The host that opens it.
    pub from: usize,
    /// The host that it goes to.
    pub to: usize,
    /// The family.
    pub domain: Domain,
    /// The time from the start of the run.
    pub starts_after: Duration,
    /// What both ends do: the end that opens it, and the end that accepts it.
    pub scripts: [StreamScript; 2],
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64) -> Scenario {
        let mut dice = Dice::new(seed, "topology", 0);
        let topology = if dice.one_in(2) { Topology::Direct } else { Topology::Dumbbell };
        let hosts = if topology == Topology::Direct { 2 } else { 2 * dice.within(1, 4) as usize };
        let flows = dice.scaled(1, 8) as usize;
        let middle = link(&mut Dice::new(seed, "middle", 0), Severity::Full);
        let access = (0..hosts).map(|host| link(&mut Dice::new(seed, "access", host), Severity::Slight));
        let mut scenario = Scenario {
            seed,
            topology,
            access: access.collect(),
            configs: (0..hosts).map(|host| config(seed, host)).collect(),
            flows: (0..flows)
                .map(|index| {
                    let plan = flow(&mut Dice::new(seed, "flow", index), hosts, &middle);
                    with_manners(&mut Dice::new(seed, "manners", index), plan)
                })
                .collect(),
            middle,
        };
        if !scenario.keeps_order() {
            for config in &mut scenario.configs {
                config.tcp.syn_cookies = SynCookieMode::WhenFull;
            }
        }
        if scenario.is_too_narrow_for_v6() {
            scenario.flows.iter_mut().for_each(|flow| flow.domain = Domain::V4);
        }
        scenario
    }

    /// Whether no packet arrives twice or late. Otherwise an old acknowledgement with a cookie may
    /// revive a connection that has ended, as on Linux with `tcp_syncookies` of 2.
    fn keeps_order(&self) -> bool {
        let keeps_order = |path: &PathConfig| {
            path.duplicate == 0.0 && path.reorder == 0.0 && path.jitter_order == JitterOrder::Kept
        };
        keeps_order(&self.middle.there) && keeps_order(&self.middle.back)
    }

    /// Whether a link is too small for IPv6, which needs an MTU of 1,280.
    fn is_too_narrow_for_v6(&self) -> bool {
        let is_narrow = |link: &LinkConfig| {
            let paths = [&link.there, &link.back];
            link.interface_mtu < 1280 || paths.iter().any(|path| path.mtu.is_some_and(|mtu| mtu < 1280))
        };
        is_narrow(&self.middle) || self.access.iter().any(is_narrow)
    }

    /// Whether every connection that is to end in order must do so: no link is so bad that a stack
    /// may give up.
    pub fn is_fair(&self) -> bool {
        let paths = [&self.middle.there, &self.middle.back];
        let access = self.access.iter().flat_map(|link| [&link.there, &link.back]);
        // A host that is short of memory may refuse connections. And a cookie is only in the
        // acknowledgement of the SYN-ACK: if that is lost or overtaken by data, the server does not
        // know the connection.
        let is_able = |config: &Config| {
            config.memory_limit_bytes > 8 << 20 && config.tcp.syn_cookies != SynCookieMode::Always
        };
        self.configs.iter().all(is_able)
            && paths.into_iter().chain(access.filter(|_| self.topology == Topology::Dumbbell)).all(is_fair)
    }
}

fn is_fair(path: &PathConfig) -> bool {
    // A bad link stays bad for some packets, however long they take: nine probes may be too few.
    let bursts = path.burst_loss.is_none_or(|bursts| bursts.leave >= 0.5);
    let black_hole = path.mtu.is_some() && path.too_big == TooBig::Silent;
    let queue = path.rate.is_none() || path.queue.limit_bytes >= 6000 && path.queue.limit_packets >= 5;
    // An outage leaves few attempts for a handshake.
    let down: Duration = path.outages.iter().map(|outage| outage.until - outage.from).sum();
    let most_loss = if path.outages.is_empty() { 0.06 } else { 0.011 };
    let after_outages =
        path.outages.is_empty() || down < Duration::from_secs(20) && path.burst_loss.is_none();
    path.loss + path.corrupt <= most_loss && bursts && !black_hole && queue && after_outages
}

/// How bad a link is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    Full,
    Slight,
}

fn link(dice: &mut Dice, severity: Severity) -> LinkConfig {
    let there = path(dice, severity);
    let back = match dice.within(0, 3) {
        // The way back is often the same, or good.
        0 => PathConfig { delay: there.delay, ..PathConfig::default() },
        1 => path(dice, severity),
        _ => there.clone(),
    };
    LinkConfig { interface_mtu: dice.pick(&[1500, 1500, 1500, 1280, 9000, 576, 4000]), there, back }
}

fn path(dice: &mut Dice, severity: Severity) -> PathConfig {
    let ms = Duration::from_millis;
    let delay = dice.duration(Duration::from_micros(50), ms(200));
    if severity == Severity::Slight {
        let jitter = if dice.one_in(4) { delay / 4 } else { Duration::ZERO };
        return PathConfig { delay: delay / 10, jitter, ..PathConfig::default() };
    }
    let rate = dice.scaled(100_000, 1_000_000_000);
    let mut path = PathConfig { delay, rate: (!dice.one_in(4)).then_some(rate), ..PathConfig::default() };
    let bdp = bdp_bytes(rate, delay * 2) as u64;
    path.queue = QueueConfig::bytes(dice.scaled((bdp / 8).max(3000), (bdp * 4).max(20_000)) as usize);
    if dice.one_in(3) {
        path.queue.discipline = Discipline::codel(dice.one_in(2));
    } else if dice.one_in(4) {
        path.queue.mark_above_bytes = Some(path.queue.limit_bytes / 4);
    }
    if dice.one_in(2) {
        path.loss = dice.pick(&[0.001, 0.01, 0.01, 0.03, 0.05, 0.15, 0.3]);
    }
    if dice.one_in(6) {
        let leave = dice.pick(&[0.1, 0.3, 0.5]);
        path.burst_loss = Some(GilbertElliott { enter: 0.005, leave, loss: dice.pick(&[0.5, 1.0]) });
    }
    if dice.one_in(3) {
        path.reorder = dice.pick(&[0.01, 0.01, 0.1, 0.4]);
        let by = dice.duration(Duration::from_micros(100), ms(60));
        path.reorder_by = if dice.one_in(2) { HoldBack::Exactly(by) } else { HoldBack::UpTo(by) };
    }
    if dice.one_in(4) {
        path.jitter = dice.duration(Duration::from_micros(100), delay.max(ms(1)));
        path.jitter_order = dice.pick(&[JitterOrder::Kept, JitterOrder::Free]);
    }
    if dice.one_in(5) {
        path.duplicate = dice.pick(&[0.01, 0.1, 0.5]);
    }
    if dice.one_in(6) {
        path.corrupt = dice.pick(&[0.001, 0.01, 0.05]);
    }
    if dice.one_in(6) {
        path.mark = dice.pick(&[0.01, 0.1]);
    }
    if dice.one_in(5) {
        path.mtu = Some(dice.pick(&[1280, 1400, 1492, 600, 1006]));
        path.too_big = if dice.one_in(4) { TooBig::Silent } else { TooBig::Answered };
    }
    if dice.one_in(4) {
        path.outages = outages(dice);
    }
    path
}

fn outages(dice: &mut Dice) -> Vec<Outage> {
    let mut at = Instant::from_secs(1);
    let count = dice.within(1, 3);
    let mut outages = Vec::new();
    for _ in 0..count {
        let from = at + dice.duration(Duration::from_millis(5), Duration::from_secs(20));
        let until = from + dice.duration(Duration::from_millis(20), Duration::from_secs(15));
        outages.push(Outage { from, until });
        at = until;
    }
    outages
}

fn config(seed: u64, host: usize) -> Config {
    let mut config = Config::default();
    let dice = &mut Dice::new(seed, "config", host);
    if dice.one_in(3) {
        config.tcp.receive_buffer_bytes = dice.scaled(4096, 1 << 21) as usize;
    }
    if dice.one_in(3) {
        config.tcp.send_buffer_bytes = dice.scaled(4096, 1 << 21) as usize;
    }
    config.tcp.max_run_segs = dice.pick(&[1, 4, 16, 16, 44]);
    config.tcp.initial_window_segs = dice.pick(&[10, 10, 10, 2, 1, 40]);
    config.tcp.max_out_of_order_ranges = dice.pick(&[64, 64, 4, 1]);
    let dice = &mut Dice::new(seed, "features", host);
    config.tcp.congestion = any_congestion(dice);
    config.tcp.pacing = dice.one_in(4);
    config.tcp.ecn = dice.pick(&[Ecn::Off, Ecn::Accept, Ecn::Accept, Ecn::Request, Ecn::RequestAccurate]);
    config.tcp.syn_cookies = dice.pick(&[SynCookieMode::Off, SynCookieMode::WhenFull]);
    if dice.one_in(12) {
        config.tcp.syn_cookies = SynCookieMode::Always;
    }
    config.tcp.mtu_probing = dice.pick(&[MtuProbing::Off, MtuProbing::BlackHole, MtuProbing::Always]);
    config.tcp.auto_tune_buffers = !dice.one_in(5);
    if dice.one_in(12) {
        config.memory_limit_bytes = dice.scaled(1 << 20, 8 << 20) as usize;
    }
    config
}

fn any_congestion(dice: &mut Dice) -> CongestionControl {
    let (cubic, bbr) = (CongestionControl::Cubic, CongestionControl::Bbr);
    dice.pick(&[cubic, cubic, bbr, bbr, CongestionControl::Reno])
}

/// Adds options that change how a connection is used, but not what must hold.
fn with_manners(dice: &mut Dice, mut plan: FlowPlan) -> FlowPlan {
    for script in &mut plan.scripts {
        if dice.one_in(4) {
            script.options.push(SocketOption::Congestion(any_congestion(dice)));
        }
        if dice.one_in(8) {
            script.options.push(SocketOption::QuickAck(dice.one_in(2)));
        }
        if dice.one_in(6) {
            script.options.push(SocketOption::UnsentLowWater(dice.scaled(3000, 100_000) as usize));
        }
        if dice.one_in(8) {
            script.options.push(SocketOption::MaxPacingRate(Some(dice.scaled(20_000, 100_000_000))));
        }
    }
    plan
}

/// As many bytes as the link carries in a while.
fn amount(dice: &mut Dice, middle: &LinkConfig) -> u64 {
    let rate = middle.there.rate.unwrap_or(100_000_000).min(middle.back.rate.unwrap_or(u64::MAX));
    dice.scaled(1, (rate / 8 * 5).clamp(20_000, 1_500_000))
}

fn flow(dice: &mut Dice, hosts: usize, middle: &LinkConfig) -> FlowPlan {
    let from = dice.within(0, hosts as u64 - 1) as usize;
    let to = (from + dice.within(1, hosts as u64 - 1) as usize) % hosts;
    let seeds = [dice.within(1, 1 << 20), dice.within(1, 1 << 20)];
    let bytes = amount(dice, middle);
    let mut scripts = match dice.within(0, 5) {
        0 => [StreamScript::sender(seeds[0], bytes), StreamScript::echo(seeds[0])],
        1 => {
            let (request, response) = (dice.scaled(1, 20_000), dice.scaled(1, 50_000));
            let count = (bytes / (request + response)).clamp(1, 40);
            [
                StreamScript::client(seeds[0], seeds[1], count, request, response),
                StreamScript::server(seeds[0], seeds[1], request, response),
            ]
        }
        2 => [StreamScript::receiver(seeds[0]), StreamScript::sender(seeds[0], bytes)],
        3 => {
            // Both ends send at once.
            let mut both = [StreamScript::sender(seeds[0], bytes), StreamScript::sender(seeds[1], bytes)];
            (both[0].read.seed, both[1].read.seed) = (seeds[1], seeds[0]);
            both
        }
        _ => [StreamScript::sender(seeds[0], bytes), StreamScript::receiver(seeds[0])],
    };
    for script in &mut scripts {
        temper(dice, script, bytes);
    }
    let domain = dice.pick(&[Domain::V4, Domain::V6]);
    let starts_after = Duration::from_micros(dice.scaled(1, 3_000_000));
    FlowPlan { from, to, domain, starts_after, scripts }
}

/// The behaviour of one end.
fn temper(dice: &mut Dice, script: &mut StreamScript, bytes: u64) {
    if dice.one_in(3) {
        script.send.chunk = dice.scaled(1.max(bytes / 5000), 100_000) as usize;
    }
    if dice.one_in(6) && script.send.gate == Gate::Open {
        script.send.chunk = script.send.chunk.max(bytes as usize / 300);
        script.send.pause = dice.duration(Duration::from_micros(100), Duration::from_secs(1));
    }
    if dice.one_in(5) {
        script.read.chunk = dice.scaled(1.max(bytes / 5000), 100_000) as usize;
        script.read.pause = dice.duration(Duration::from_micros(100), Duration::from_millis(30));
    }
    if dice.one_in(5) {
        let at = dice.scaled(1, bytes.max(2));
        script.read.stalls = vec![(at, dice.duration(Duration::from_millis(10), Duration::from_secs(100)))];
    }
    script.ending = match dice.within(0, 11) {
        0 => Ending::Close,
        1 => Ending::Abort { after: dice.scaled(1, bytes.max(2)) },
        _ => Ending::Orderly,
    };
    if dice.one_in(3) {
        script.options.push(SocketOption::NoDelay(true));
    }
    if dice.one_in(6) {
        script.options.push(SocketOption::MaxSegment(dice.scaled(88, 3000) as u16));
    }
    if dice.one_in(8) {
        script.options.push(SocketOption::ReceiveBuffer(dice.scaled(4096, 1 << 20) as usize));
    }
    if dice.one_in(8) {
        script.options.push(SocketOption::SendBuffer(dice.scaled(4096, 1 << 20) as usize));
    }
    if dice.one_in(2) {
        script.options.extend([
            SocketOption::KeepAlive(true),
            SocketOption::KeepIdle(dice.duration(Duration::from_secs(1), Duration::from_secs(60))),
            SocketOption::KeepInterval(dice.duration(Duration::from_secs(1), Duration::from_secs(20))),
            SocketOption::KeepCount(60),
        ]);
    }
}
