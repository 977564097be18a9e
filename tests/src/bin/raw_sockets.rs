//! Makes random calls on raw and echo sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin raw_sockets -- --seeds 10000
//! ```

use std::process::ExitCode;

use portolan_tests::raw_sockets::{Kernel, compare};

const USAGE: &str = "usage: raw_sockets [--seeds N] [--from N]

Makes the calls of --seeds (100) seeds, from --from (1) on, on the kernel and on Portolan, and prints those whose answers
differ.";

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
    match run(seeds, from) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The number of seeds that differ.
fn run(seeds: u64, from: u64) -> Result<u64, Box<dyn std::error::Error>> {
    portolan_tap::isolate()?;
    let mut kernel = Kernel::new()?;
    let mut different = 0;
    for seed in from..from + seeds {
        if let Some(difference) = compare(&mut kernel, seed)? {
            different += 1;
            println!("seed {seed}:\n{difference}");
        }
    }
    println!("raw_sockets: {seeds} seeds: {} the same, {different} different", seeds - different);
    Ok(different)
}
