//! One run: hosts, the path between them, flows, and the results.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portolan_runtime::device::{Device, PcapWriter};

use crate::cases::{Case, Measures, Pair};
use crate::emulator::{Emulator, PathCounts};
use crate::flow::{Diary, Shared};
use crate::hosts::{self, Host, Kind, Options, Place};

const FIRST_PORT: u16 = 5000;
/// Long enough for a lost SYN or two.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The goodput of each flow in bits a second.
    pub(crate) goodputs: Vec<f64>,
    /// The goodput of all flows together, for each second.
    pub(crate) by_second: Vec<f64>,
    /// The texts that the programs returned.
    pub(crate) notes: Vec<String>,
    pub(crate) path: PathCounts,
}

impl Outcome {
    /// Computes the result from the receivers' records.
    pub(crate) fn of(
        case: &Case,
        diaries: &[Diary],
        started_at: Instant,
        notes: Vec<String>,
        path: PathCounts,
    ) -> Outcome {
        let goodputs = diaries.iter().map(|diary| diary.goodput(started_at, case.from, case.to)).collect();
        let in_second = |second| {
            let (from, to) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            diaries.iter().map(|diary| diary.goodput(started_at, from, to)).sum()
        };
        let by_second = (0..case.to.as_secs()).map(in_second).collect();
        Outcome { goodputs, by_second, notes, path }
    }

    /// Jain's index: 1 if all flows have the same goodput, 1/n if one of n has everything.
    pub(crate) fn fairness(&self) -> f64 {
        let sum: f64 = self.goodputs.iter().sum();
        let squares: f64 = self.goodputs.iter().map(|goodput| goodput * goodput).sum();
        if squares == 0.0 { 0.0 } else { sum * sum / (self.goodputs.len() as f64 * squares) }
    }
}

/// The flows of a run. In a case of fairness the senders alternate between the kinds of the pair,
/// and the kernel receives.
fn flows_of(case: &Case, pair: Pair) -> Vec<Pair> {
    match case.measures {
        Measures::Goodput => vec![pair],
        Measures::Fairness { flows } => {
            (0..flows).map(|index| (if index % 2 == 0 { pair.0 } else { pair.1 }, Kind::Linux)).collect()
        }
    }
}

/// The files for recordings: one for the first side, one for the second.
pub(crate) fn run(
    case: &Case,
    pair: Pair,
    seed: u64,
    options: &Options,
    pcap: Option<&str>,
) -> io::Result<Outcome> {
    let flows = flows_of(case, pair);
    let mut hosts: BTreeMap<(u8, Kind), Box<dyn Host>> = BTreeMap::new();
    let mut sides: [Vec<Box<dyn Device>>; 2] = Default::default();
    for &(sender, receiver) in &flows {
        for (side, kind) in [(0, sender), (1, receiver)] {
            if hosts.contains_key(&(side, kind)) {
                continue;
            }
            let (host, mut port) = hosts::start(Place { side, kind }, options)?;
            if let Some(prefix) = pcap {
                port = Box::new(PcapWriter::create(format!("{prefix}-{side}-{}.pcap", kind.name()), port)?);
            }
            hosts.insert((side, kind), host);
            sides[usize::from(side)].push(port);
        }
    }
    let mut impairment = case.impairment;
    impairment.seed = seed;
    let emulator = Emulator::start(impairment, sides)?;

    let shared: Vec<Arc<Shared>> = flows.iter().map(|_| Arc::default()).collect();
    let mut programs = Vec::new();
    for (index, (&(_, receiver), shared)) in flows.iter().zip(&shared).enumerate() {
        let host = &hosts[&(1, receiver)];
        programs.push(host.receive(FIRST_PORT + index as u16, case.stall, shared.clone())?);
    }
    for (index, (&(sender, receiver), shared)) in flows.iter().zip(&shared).enumerate() {
        let to = Place { side: 1, kind: receiver }.socket_addr(FIRST_PORT + index as u16);
        programs.push(hosts[&(0, sender)].send(to, shared.clone())?);
    }

    let started_at = wait_for_first_bytes(&shared, || programs.iter().any(|program| program.is_finished()));
    if let Some(at) = started_at {
        // A little longer, so that data of the last moment is recorded.
        std::thread::sleep(
            (at + case.to + Duration::from_millis(20)).saturating_duration_since(Instant::now()),
        );
    }
    for shared in &shared {
        shared.stop.store(true, Ordering::Relaxed);
    }
    let ended: io::Result<Vec<String>> = programs
        .into_iter()
        .filter(|program| started_at.is_some() || program.is_finished())
        .map(|program| program.join().map_err(|_| io::Error::other("a program panicked"))?)
        .collect();
    // A TAP device disappears with its namespace, so the emulator releases it before.
    let path = emulator.stop()?;
    drop(hosts);
    let started_at = match (started_at, &ended) {
        (Some(at), _) => at,
        (None, Err(_)) => return Err(ended.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into())),
        (None, Ok(_)) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no byte arrived")),
    };
    let diaries: Vec<Diary> = shared.iter().map(|shared| shared.diary()).collect();
    let notes = ended?.into_iter().filter(|note| !note.is_empty()).collect();
    Ok(Outcome::of(case, &diaries, started_at, notes, path))
}

/// The time at which the last flow began; `None` if a program gave up before, or nothing arrived.
fn wait_for_first_bytes(shared: &[Arc<Shared>], has_ended: impl Fn() -> bool) -> Option<Instant> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline && !has_ended() {
        let firsts: Option<Vec<Instant>> = shared.iter().map(|shared| shared.diary().first_at()).collect();
        if let Some(firsts) = firsts {
            return firsts.into_iter().max();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}
