//! Portolan through a TAP device, compared with two kernels, smoltcp, and the limit of the device.
//!
//! `cargo bench --bench tap` measures bulk, latency, datagrams, connections, and the cost of many
//! idle connections. The client is always the kernel with plain sockets. The measured peer is at
//! the other end of a cable: a TAP device, or for the kernel a veth pair. Everything is in new
//! namespaces and needs no privileges, only a `/dev/net/tun` that the user may open.
//!
//! For each row all peers are measured in turn, for several rounds, so that other activity on the
//! machine affects all of them. Each measurement has its own processes and namespaces. `-- --help`
//! lists the options; `-- --quick` takes two minutes; `-- --test` only shows that it works.
//!
//! The files in reading order:
//!
//! | file | content |
//! |---|---|
//! | `rows`, `peers` | what is measured, and which peers |
//! | `run`, `child` | a measurement and its processes |
//! | `processor` | the processors that they run on, and their processor time |
//! | `client` | the client in each row |
//! | `link` | the cable |
//! | `server` | the measured peers, including the limit |
//! | `in_memory` | rows without a device |
//! | `arithmetic`, `goals`, `report`, `chart` | the results |
//! | `comparison` | the comparison of two commits |

mod arithmetic;
mod awake;
mod chart;
mod child;
mod client;
mod comparison;
mod counting;
mod goals;
mod in_memory;
#[path = "../common/kernel_sockets.rs"]
mod kernel_sockets;
mod link;
#[path = "../../../stack/benches/in_memory/other_commit.rs"]
mod other_commit;
mod peers;
mod processor;
mod report;
mod rows;
mod run;
mod server;
#[path = "../common/spread.rs"]
mod spread;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use client::{Measured, Plan};
use peers::Peer;
use report::Results;
use rows::Row;
use server::Purpose;
use server::services::Service;

/// TCP_CONGESTION of every kernel. The default of some machines is BBR, whose pacing is not to be
/// measured here.
const CONGESTION: &str = "cubic";

/// Portolan through a TAP device, compared with two kernels, smoltcp, and the limit of the device
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter rounds, for a first impression in two minutes
    #[arg(long)]
    quick: bool,
    /// A moment of each row, to test the benchmark itself
    #[arg(long)]
    test: bool,
    /// Only these rows; an unknown name lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = Row::parse)]
    rows: Vec<Row>,
    /// Only these peers; an unknown name lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = Peer::parse)]
    peers: Vec<Peer>,
    /// The number of rounds in which all peers are measured [default: 5]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// The length of one measurement in milliseconds, after its start [default: 1000]
    #[arg(long, value_name = "N")]
    millis: Option<u64>,
    /// Bind both ends to one processor, which leaves the scheduler no choice: rows repeat within 2
    /// to 10 %. For comparing two commits
    #[arg(long)]
    one_cpu: bool,
    /// Also measure the stack of this commit, in turn with this one, and say which rows have become
    /// worse. Only Portolan, unless peers are named
    #[arg(long, value_name = "COMMIT")]
    against: Option<String>,
    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the bar chart to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The size of the measurement.
struct Scale {
    rounds: usize,
    millis: u64,
    /// The numbers of idle connections, for the row and for the goals.
    idle: [usize; 2],
}

const WHOLE: Scale = Scale { rounds: 5, millis: 1000, idle: [10_000, 100_000] };
const QUICK: Scale = Scale { rounds: 1, millis: 200, idle: [10_000, 100_000] };
const TEST: Scale = Scale { rounds: 1, millis: 20, idle: [20, 200] };
/// The number of concurrent measurements in a test: they mostly wait for processes and devices.
const TEST_WORKERS: usize = 4;

impl Arguments {
    fn scale(&self) -> Scale {
        let scale = match (self.test, self.quick) {
            (true, _) => TEST,
            (false, true) => QUICK,
            (false, false) => WHOLE,
        };
        Scale {
            rounds: self.rounds.unwrap_or(scale.rounds),
            millis: self.millis.unwrap_or(scale.millis),
            idle: scale.idle,
        }
    }

    /// The numbers of idle connections.
    fn idle(&self, row: Row) -> Vec<usize> {
        let [some, many] = self.scale().idle;
        // The cost of each can be measured with fewer.
        if self.quick && row == Row::Memory { vec![some] } else { vec![some, many] }
    }

    fn rows(&self) -> Vec<Row> {
        rows::ALL.into_iter().filter(|row| self.rows.is_empty() || self.rows.contains(row)).collect()
    }

    fn peers(&self, row: Row) -> Vec<Peer> {
        let wanted = |peer: &Peer| match self.peers.is_empty() {
            true => self.against.is_none() || peer.is_portolan(),
            false => self.peers.contains(peer),
        };
        row.peers().iter().copied().filter(wanted).collect()
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((mark, role)) if mark == child::MARK => play(role),
        _ => measure_all(&Arguments::parse()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs in a process that the benchmark started.
fn play(role: &[String]) -> Result<bool, Box<dyn Error>> {
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    match role[..] {
        ["client", row, peer, millis, idle] => {
            let plan = Plan::from_arguments(row, peer, millis, idle)?;
            return Ok(run::tell(client::run(&plan)));
        }
        ["memory", row, peer, millis, idle] => {
            let plan = Plan::from_arguments(row, peer, millis, idle)?;
            let measured = in_memory::run(&plan).map(|figures| Measured { figures, note: String::new() });
            return Ok(run::tell(measured));
        }
        ["server", peer, service, streams, idle] => {
            let (streams, idle) = (streams.parse()?, idle.parse()?);
            server::run(Peer::parse(peer)?, Purpose { service: Service::parse(service)?, streams, idle })?;
        }
        ["keeper", port, count] => server::kernel::keep(port.parse()?, count.parse()?)?,
        ["holder", port, count] => client::hold(port.parse()?, count.parse()?)?,
        ["awake"] => awake::run()?,
        ["transfer", peer] => in_memory::transfer(Peer::parse(peer)?),
        _ => return Err(format!("there is no role {role:?}").into()),
    }
    Ok(true)
}

fn measure_all(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let scale = arguments.scale();
    let mut programs = vec![std::env::current_exe()?];
    if let Some(commit) = &arguments.against {
        programs.push(comparison::build(commit)?);
    }
    // This must be done before any process or thread of a measurement is started, so that all of
    // them inherit it.
    let only_cpu = if arguments.one_cpu { Some(processor::bind_to_one()?) } else { None };
    let measured = measure(arguments, &scale, &programs)?;
    if let Some(cpu) = only_cpu {
        println!("\nEverything ran on processor {cpu}.");
    }
    if let ([here, there], Some(commit)) = (&measured[..], &arguments.against) {
        let has_lost = comparison::print(here, there, commit)?;
        [here, there].into_iter().try_for_each(report::print_failures)?;
        return Ok(!has_lost && here.failures() + there.failures() == 0);
    }
    let results = measured.into_iter().next().unwrap_or_default();
    let goals = goals::all(scale.idle[1]);
    let judged = goals.iter().filter_map(|goal| goal.judge(&results));
    // A test is too short to measure anything, and the goals are for a processor at each end.
    let has_goals = !arguments.test && !arguments.one_cpu;
    let verdicts: Vec<_> = if has_goals { judged.collect() } else { Vec::new() };
    report::print(&results, &verdicts)?;
    if let Some(path) = &arguments.json {
        let json = report::json(&results, &verdicts, &settings(&scale, only_cpu));
        std::fs::write(path, format!("{json:#}\n"))?;
    }
    if let Some(path) = &arguments.svg {
        chart::draw(path, &results)?;
    }
    Ok(results.failures() == 0)
}

/// Measures all rows and peers, round by round, with each of the programs in turn.
fn measure(
    arguments: &Arguments,
    scale: &Scale,
    programs: &[PathBuf],
) -> Result<Vec<Results>, Box<dyn Error>> {
    let mut results: Vec<Results> = programs.iter().map(|_| Results::default()).collect();
    let mut plans = Vec::new();
    for row in arguments.rows() {
        if row == Row::Instructions && !in_memory::callgrind::is_there() {
            eprintln!("{}: left out: callgrind is missing; it comes with valgrind", row.name());
            continue;
        }
        results.iter_mut().for_each(|results| results.announce(row, &scale.idle));
        for round in 1..=if row.is_exact() { 1 } else { scale.rounds } {
            for peer in arguments.peers(row) {
                let time = Duration::from_millis(scale.millis);
                plans.push((Plan { row, peer, time, idle: arguments.idle(row) }, round));
            }
        }
    }
    let results = Mutex::new(results);
    let plans = Mutex::new(plans.into_iter());
    let work = || {
        let next = || plans.lock().expect("nobody panics with it").next();
        while let Some((plan, round)) = next() {
            for (index, program) in programs.iter().enumerate() {
                let measured = run::run(program, &plan);
                let mut results = results.lock().expect("nobody panics with it");
                match measured {
                    Ok(measured) => {
                        narrate(&plan, round, &measured);
                        results[index].add(plan.row, plan.peer, &measured);
                    }
                    Err(error) => {
                        eprintln!("{} {} #{round}: FAILED: {error}", plan.row.name(), plan.peer.name());
                        results[index].fail(plan.row, plan.peer, error.to_string());
                    }
                }
            }
        }
    };
    // Only measurements that are not timed may run concurrently.
    let workers = if arguments.test { TEST_WORKERS } else { 1 };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    Ok(results.into_inner()?)
}

/// Prints a line for each measurement on standard error, to show progress.
fn narrate(plan: &Plan, round: usize, measured: &Measured) {
    let figures: Vec<String> =
        measured.figures.iter().map(|(part, value)| format!("{part} {value:.2}").trim().to_owned()).collect();
    eprintln!("{} {} #{round}: {}", plan.row.name(), plan.peer.name(), figures.join(", "));
}

fn settings(scale: &Scale, only_cpu: Option<usize>) -> Value {
    let read =
        |path: &str| std::fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned());
    let cpu = read("/proc/cpuinfo");
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    json!({
        "rounds": scale.rounds,
        "millis": scale.millis,
        "idle": scale.idle,
        "only_cpu": only_cpu,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu": cpu,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "congestion": CONGESTION,
        "tcp_rmem": read("/proc/sys/net/ipv4/tcp_rmem"),
        "tcp_wmem": read("/proc/sys/net/ipv4/tcp_wmem"),
    })
}

/// Lets a process have this many descriptors, and some more for itself.
fn raise_descriptor_limit(count: usize) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    match limit.current {
        Some(current) if current < count as u64 => Err(io::Error::other(format!(
            "{count} connections need more descriptors than {current} (ulimit -Hn)"
        ))),
        _ => Ok(()),
    }
}
