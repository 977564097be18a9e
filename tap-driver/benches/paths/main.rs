//! Goodput over bad paths of Portolan, Linux and smoltcp, in real time.
//!
//! `cargo bench -p portolan-tap --bench paths` measures one flow over an emulated path (100 Mbit/s,
//! 25 ms in each direction, a queue of one bandwidth-delay product) with loss, reordering, an
//! outage, and a receiver that stalls; flows that share the path (Jain's index); and a long fat
//! path. Every pair of hosts is joined by the same emulator, which is the runtime's fault injector
//! as a bridge. Kernels are behind TAP devices in their own network namespaces, so this host is not
//! affected; the user must be allowed to open `/dev/net/tun`.
//!
//! Faults are the same in both directions. Goodput is what the receiving program has read, counted
//! from the first byte. `-- --help` lists the options; `-- --quick` takes a minute and a half;
//! `-- --test` only shows that it works.

mod cases;
mod emulator;
mod flow;
mod hosts;
#[path = "../common/kernel_sockets.rs"]
mod kernel_sockets;
mod report;
mod run;
#[path = "../common/spread.rs"]
mod spread;
mod virtual_time;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use cases::{Case, Measures, Pair, Scale, parse_pair};
use hosts::{Kind, Options};
use report::Row;
use run::Outcome;

const PAIRS: [Pair; 5] = [
    (Kind::Linux, Kind::Linux),
    (Kind::Portolan, Kind::Portolan),
    (Kind::Portolan, Kind::Linux),
    (Kind::Linux, Kind::Portolan),
    (Kind::Smoltcp, Kind::Smoltcp),
];

const WHOLE: Scale = Scale {
    single: Duration::from_secs(10),
    fairness: Duration::from_secs(20),
    long: Duration::from_secs(15),
};
const QUICK: Scale =
    Scale { single: Duration::from_secs(3), fairness: Duration::from_secs(8), long: Duration::from_secs(6) };
const TEST: Scale =
    Scale { single: Duration::from_secs(1), fairness: Duration::from_secs(2), long: Duration::from_secs(2) };

/// Goodput over bad paths of Portolan, Linux and smoltcp
#[derive(Parser)]
struct Arguments {
    /// Only one run of each case, of 3 seconds, for a first impression
    #[arg(long)]
    quick: bool,
    /// Only one short run of some cases, to test the benchmark itself
    #[arg(long)]
    test: bool,
    /// Only these cases; an unknown name lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cases: Vec<String>,
    /// Only these pairs of a sender and a receiver: P (Portolan), L (Linux) and S (smoltcp)
    #[arg(long, value_name = "PAIRS", value_delimiter = ',', value_parser = parse_pair)]
    pairs: Vec<Pair>,
    /// The number of runs of each case, which differ in their faults [default: 5]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The length of a run of one flow in seconds [default: 10]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Only Portolan to Portolan, one flow, in virtual time
    #[arg(long = "virtual")]
    is_virtual: bool,
    /// TCP_CONGESTION of the kernel
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    kernel_congestion: String,
    /// Write every run with its details to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Record every run in this folder, with a file for each end
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn scale(&self) -> Scale {
        let scale = match (self.test, self.quick) {
            (true, _) => TEST,
            (false, true) => QUICK,
            (false, false) => WHOLE,
        };
        match self.seconds.map(Duration::from_secs) {
            Some(single) => Scale { single, ..scale },
            None => scale,
        }
    }

    fn cases(&self) -> Result<Vec<Case>, String> {
        let all = cases::all(self.scale());
        let known = all.iter().map(|case| case.name.clone()).collect::<Vec<_>>().join(", ");
        let wanted = match self.test && self.cases.is_empty() {
            true => ["loss-1", "outage", "fair-2"].map(str::to_owned).to_vec(),
            false => self.cases.clone(),
        };
        if let Some(unknown) = wanted.iter().find(|name| all.iter().all(|case| case.name != **name)) {
            return Err(format!("there is no case {unknown}; the cases are {known}"));
        }
        Ok(all.into_iter().filter(|case| wanted.is_empty() || wanted.contains(&case.name)).collect())
    }

    /// The pairs of a case. For fairness, Portolan against Linux, and Linux alone.
    fn pairs(&self, case: &Case) -> Vec<Pair> {
        if self.is_virtual {
            let is_single = matches!(case.measures, Measures::Goodput);
            return if is_single { vec![(Kind::Portolan, Kind::Portolan)] } else { Vec::new() };
        }
        let pairs = if self.pairs.is_empty() { PAIRS.to_vec() } else { self.pairs.clone() };
        let makes_sense = |&(sender, receiver): &Pair| match case.measures {
            Measures::Goodput => true,
            Measures::Fairness { .. } => receiver == Kind::Linux && sender != Kind::Smoltcp,
        };
        pairs.into_iter().filter(makes_sense).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let arguments = Arguments::parse();
    let cases = arguments.cases()?;
    let seeds = arguments.seeds.unwrap_or(if arguments.quick || arguments.test { 1 } else { 5 });
    let runs = |case: &Case| arguments.pairs(case).len() as u64 * seeds;
    let total: Duration = cases.iter().map(|case| case.to * runs(case) as u32).sum();
    eprintln!("{} runs, about {} s", cases.iter().map(runs).sum::<u64>(), total.as_secs_f64().ceil());
    if let Some(folder) = &arguments.pcap {
        std::fs::create_dir_all(folder)?;
    }
    // This must be done before any thread is started.
    portolan_tap::isolate()?;
    let mut rows = Vec::new();
    for case in cases {
        rows.push(measure(case, seeds, &arguments)?);
    }
    report::print(&rows, &PAIRS)?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", report::json(&rows)))?;
    }
    Ok(())
}

/// Measures all runs of a case. The pairs alternate, so that other activity on the machine affects
/// all of them.
fn measure(case: Case, seeds: u64, arguments: &Arguments) -> Result<Row, Box<dyn Error>> {
    let options = Options { kernel_congestion: arguments.kernel_congestion.clone() };
    let mut runs: Vec<(Pair, Vec<Outcome>)> =
        arguments.pairs(&case).into_iter().map(|pair| (pair, Vec::new())).collect();
    for seed in 1..=seeds {
        for (pair, outcomes) in &mut runs {
            let (sender, receiver) = (pair.0.name(), pair.1.name());
            let prefix = arguments
                .pcap
                .as_ref()
                .map(|folder| format!("{}/{}-{sender}-{receiver}-{seed}", folder.display(), case.name));
            let outcome = match arguments.is_virtual {
                true => virtual_time::run(&case, seed),
                false => run::run(&case, *pair, seed, &options, prefix.as_deref()),
            };
            let outcome = outcome
                .map_err(|error| format!("{}, {sender} to {receiver}, seed {seed}: {error}", case.name))?;
            narrate(&case, *pair, seed, &outcome);
            outcomes.push(outcome);
        }
    }
    Ok(Row { case, runs })
}

/// Prints a line for each run on standard error, to show progress.
fn narrate(case: &Case, (sender, receiver): Pair, seed: u64, outcome: &Outcome) {
    let figure = report::figure(case, outcome);
    let [forth, back] = outcome.path.directions;
    eprintln!(
        "{} {}-{} #{seed}: {figure:.2}; {}; lost {}+{}, full {}+{}; late {:?} at most, {:?} on average{}",
        case.name,
        sender.name(),
        receiver.name(),
        outcome.notes.join("; "),
        forth.lost + forth.cut_off,
        back.lost + back.cut_off,
        forth.overflowed,
        back.overflowed,
        outcome.path.latest,
        outcome.path.mean_lateness,
        if outcome.path.refused > 0 { "; A PORT WAS FULL" } else { "" },
    );
}
