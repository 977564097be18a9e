//! Makes random calls on sockets and pollers, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin pollers -- --seeds 10000
//! ```

use std::io;
use std::process::ExitCode;

use portolan_tests::pollers::{compare, compare_sleepers};

const USAGE: &str = "usage: pollers [--seeds N] [--from N]

Makes the calls of --seeds (100) seeds, from --from (1) on, on the kernel and on Portolan, and prints those whose answers
differ. Every fifth seed also compares which of several pollers an arrival wakes.";

fn difference(seed: u64) -> io::Result<Option<String>> {
    let found = compare(seed)?.map(|difference| difference.to_string());
    match found {
        None if seed.is_multiple_of(5) => compare_sleepers(seed),
        found => Ok(found),
    }
}

fn main() -> ExitCode {
    let (mut seeds, mut from) = (100, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let mut different = 0;
    for seed in from..from + seeds {
        match difference(seed) {
            Ok(None) => {}
            Ok(Some(difference)) => {
                different += 1;
                println!("seed {seed}:\n{difference}");
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("pollers: {seeds} seeds: {} the same, {different} different", seeds - different);
    if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
