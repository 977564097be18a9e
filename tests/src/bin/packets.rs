//! Makes random calls on packet sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin packets -- --seeds 10000
//! ```

use std::process::ExitCode;

use portolan_tests::packets::Judge;

const USAGE: &str = "usage: packets [--seeds N] [--from N]

Makes the calls of --seeds (200) seeds, from --from (1) on, in a network namespace of its own, and prints those whose
answers differ.";

fn main() -> ExitCode {
    let (mut seeds, mut from) = (200, 1);
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
    if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match compare(from..from + seeds) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The number of differences.
fn compare(seeds: std::ops::Range<u64>) -> std::io::Result<usize> {
    let mut judge = Judge::new()?;
    let (mut same, mut different) = (0, 0);
    for seed in seeds {
        match judge.compare(seed) {
            None => same += 1,
            Some(difference) => {
                different += 1;
                println!("seed {seed}:\n{difference}");
            }
        }
    }
    println!("packets: {same} the same, {different} different");
    Ok(different)
}
