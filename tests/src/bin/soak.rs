//! Simulates random networks, seed after seed, until there are no more seeds or the time is over.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin soak -- --seeds 10000
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan_tests::soak::{Summary, soak};

const USAGE: &str = "usage: soak [--seeds N] [--from N] [--minutes M] [--jobs N] [--keep DIRECTORY]

Runs a random network for each seed, from --from (1) on: --seeds of them (1000), or for --minutes. A seed that fails is
printed with the command that repeats it, and its packets and log are kept in --keep (target/soak).";

struct Arguments {
    seeds: u64,
    from: u64,
    limit: Option<Duration>,
    jobs: usize,
    keep: PathBuf,
}

fn parse() -> Result<Arguments, String> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut arguments =
        Arguments { seeds: 1000, from: 1, limit: None, jobs, keep: PathBuf::from("target/soak") };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Err(USAGE.to_owned());
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} needs a number, not {value}"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--minutes" => {
                arguments.limit = Some(Duration::from_secs(number()? * 60));
                arguments.seeds = u64::MAX - arguments.from;
            }
            "--jobs" => arguments.jobs = number()?.max(1) as usize,
            "--keep" => arguments.keep = PathBuf::from(value),
            _ => return Err(format!("{word} is not known\n{USAGE}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    // A panic is a failure like any other, and is reported only once.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = run(&arguments);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> Vec<u64> {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new((Summary::default(), Vec::new(), started));
    let is_late = || arguments.limit.is_some_and(|limit| started.elapsed() > limit);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= arguments.seeds || is_late() {
                        return;
                    }
                    let result = soak(arguments.from.saturating_add(index), &arguments.keep);
                    let mut total = total.lock().expect("no panic is let out");
                    let (summary, failed, told_at) = &mut *total;
                    match result {
                        Ok(run) => summary.add(&run),
                        Err(failure) => {
                            println!("seed {} failed: {}", failure.seed, failure.what);
                            if let Some((pcap, log)) = failure.kept {
                                println!("    {} and {}", pcap.display(), log.display());
                            }
                            println!(
                                "    cargo run --release -p portolan-tests --bin soak -- --from {} --seeds 1",
                                failure.seed
                            );
                            failed.push(failure.seed);
                        }
                    }
                    if told_at.elapsed() > Duration::from_secs(10) {
                        *told_at = Instant::now();
                        println!("{:5} s: {}", started.elapsed().as_secs(), line(summary, failed));
                    }
                }
            });
        }
    });
    let (summary, failed, _) = total.into_inner().expect("no panic is let out");
    println!("soak: {} in {} s", line(&summary, &failed), started.elapsed().as_secs());
    failed
}

fn line(summary: &Summary, failed: &[u64]) -> String {
    format!(
        "{} seeds right, {} failed; connections: {} ended in order, {} cut off, {} broken; {} MB, {} segments sent again, \
         {} h of virtual time",
        summary.runs,
        failed.len(),
        summary.ended,
        summary.cut_off,
        summary.broken,
        summary.bytes / 1_000_000,
        summary.retransmits,
        summary.virtual_time.as_secs() / 3600,
    )
}
