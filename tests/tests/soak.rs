//! Random networks (`portolan_tests::soak`): new ones each day, and all that once found a bug.
//!
//! More of them, with a release build:
//! `cargo run --release -p portolan-tests --bin soak -- --seeds 10000`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use portolan_tests::soak::{Summary, run_seed, soak};
use portolan_tests::sources::root;

/// The number of new networks each day.
const SEEDS_A_DAY: u64 = 300;

/// Runs them on all processors.
fn run(seeds: &[u64]) -> Summary {
    let (next, results) = (AtomicUsize::new(0), Mutex::new((Summary::default(), Vec::new())));
    let keep = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = soak(seed, &keep);
                    let mut results = results.lock().expect("nobody panics with it");
                    match result {
                        Ok(summary) => results.0.add(&summary),
                        Err(failure) => results.1.push(failure),
                    }
                }
            });
        }
    });
    let (summary, failures) = results.into_inner().expect("nobody panicked with it");
    let lines: Vec<String> = failures
        .iter()
        .map(|failure| {
            let kept = failure.kept.as_ref().map_or(Path::new("nothing was kept"), |(pcap, _)| pcap);
            format!("seed {}: {}\n    {}", failure.seed, failure.what, kept.display())
        })
        .collect();
    assert!(
        lines.is_empty(),
        "cargo run --release -p portolan-tests --bin soak -- --from SEED --seeds 1\n{}",
        lines.join("\n")
    );
    summary
}

#[test]
fn seeds_of_the_day() {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() / 86_400;
    let base = days * 1000;
    println!("seeds {base} to {}", base + SEEDS_A_DAY - 1);
    let seeds: Vec<u64> = (base..base + SEEDS_A_DAY).collect();
    let summary = run(&seeds);
    println!("{summary:?}");
    // Small counts would mean that the networks are not what they are meant to be.
    assert!(summary.ended > SEEDS_A_DAY && summary.cut_off > 0 && summary.retransmits > 0, "{summary:?}");
}

#[test]
fn seeds_that_found_something() {
    let text = std::fs::read_to_string(root().join("tests/seeds.txt")).expect("the list");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let seeds: Vec<u64> = lines
        .map(|line| {
            let first = line.split_whitespace().next().expect("not empty");
            first.parse().unwrap_or_else(|_| panic!("tests/seeds.txt: {line}"))
        })
        .collect();
    assert!(!seeds.is_empty());
    run(&seeds);
}

#[test]
fn the_command_tells_what_it_did() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(["--seeds", "5", "--from", "7"]).output();
    let output = output.expect("it was built with this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("soak: 5 seeds right, 0 failed"), "{text}");
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(["--seed", "5"]).output();
    assert_eq!(output.expect("it was built").status.code(), Some(2), "a word that it does not know");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let digests: Vec<u64> = (1..6).map(|seed| run_seed(seed, 0).digest).collect();
    // Storing packets changes nothing.
    let again: Vec<u64> = (1..6).map(|seed| run_seed(seed, 1000).digest).collect();
    assert_eq!(digests, again);
    assert!(digests.windows(2).all(|pair| pair[0] != pair[1]), "{digests:?}");
}
