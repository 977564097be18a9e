//! Plays random peers against Portolan and the Linux kernel, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin differ -- --seeds 10000
//! ```

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use portolan_tests::differ::{RULES, Verdict, compare, generate, shrink};

/// Plays random peers against Portolan and against the kernel. Answers that differ in kind and that
/// no rule explains are shrunk to a script, which is printed.
#[derive(clap::Parser)]
struct Arguments {
    /// How many peers to play.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many to play at once: they mostly wait.
    #[arg(long, default_value_t = 48)]
    jobs: u64,
    /// How many of each rule's differences to print.
    #[arg(long, default_value_t = 0)]
    show: u64,
    /// Print the peers as they are, without shrinking them.
    #[arg(long)]
    whole: bool,
}

fn main() -> ExitCode {
    let Arguments { seeds, from, jobs, show, whole } = Arguments::parse();
    if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let started_at = Instant::now();
    let next = AtomicU64::new(0);
    let counts = Mutex::new((0u64, vec![0u64; RULES.len()], 0u64));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1).min(seeds) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= seeds {
                        return;
                    }
                    let verdict = compare(&generate(from + index));
                    let found = match &verdict {
                        Verdict::Unexplained(difference) if whole => Some(difference.clone()),
                        Verdict::Unexplained(difference) => Some(shrink(difference.clone())),
                        _ => None,
                    };
                    let mut counts = counts.lock().expect("no panic with it");
                    match verdict {
                        Verdict::Same => counts.0 += 1,
                        Verdict::Explained(rule, difference) => {
                            counts.1[rule] += 1;
                            if counts.1[rule] <= show {
                                println!("{}\n{difference}", RULES[rule].why);
                            }
                        }
                        Verdict::Unexplained(_) => counts.2 += 1,
                    }
                    if let Some(found) = found {
                        println!("seed {}: nothing explains this\n{found}", from + index);
                    }
                }
            });
        }
    });
    let (same, explained, unexplained) = counts.into_inner().expect("no panic with it");
    for (rule, count) in RULES.iter().zip(&explained).filter(|(_, count)| **count > 0) {
        println!("{count:6} {}", rule.why);
    }
    let explained: u64 = explained.iter().sum();
    println!(
        "differ: {seeds} seeds: {same} the same, {explained} explained, {unexplained} unexplained, in {} s",
        started_at.elapsed().as_secs()
    );
    if unexplained == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
