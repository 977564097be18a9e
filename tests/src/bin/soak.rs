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

use clap::Parser;
use portolan_tests::soak::{Summary, soak};

/// Runs a random network for each seed. A seed that fails is printed with the command that repeats
/// it.
#[derive(clap::Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// For how many minutes to run, instead of a number of seeds.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// How many to run at once [default: as many as there are processors]
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the packets and the log of a seed that fails are kept.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/soak")]
    keep: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a failure like any other, and is reported only once.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = run(&arguments);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> Vec<u64> {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new((Summary::default(), Vec::new(), started));
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let seeds = if limit.is_some() { u64::MAX - arguments.from } else { arguments.seeds };
    let jobs = arguments.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let is_late = || limit.is_some_and(|limit| started.elapsed() > limit);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= seeds || is_late() {
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
