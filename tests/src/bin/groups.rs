//! Makes calls on multicast memberships, on the Linux kernel and on Portolan: sequences written by
//! hand, then random ones, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin groups -- --seeds 10000
//! ```

use std::process::ExitCode;

use portolan_tests::groups::{Difference, compare_seed, compare_written, enter_namespace};

const USAGE: &str = "usage: groups [--seeds N] [--from N]

Makes the calls of the sequences written by hand, and of --seeds (100) seeds, from --from (1) on, on the kernel and on
Portolan, and prints those whose answers differ. It runs in a network namespace of its own.";

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
    if let Err(error) = enter_namespace() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let (mut same, mut different) = (0, 0);
    let mut judge = |name: &str, difference: Option<Difference>| match difference {
        None => same += 1,
        Some(difference) => {
            different += 1;
            println!("{name}:\n{difference}");
        }
    };
    for (name, difference) in compare_written() {
        judge(&name, difference);
    }
    for seed in from..from + seeds {
        judge(&format!("seed {seed}"), compare_seed(seed));
    }
    println!("groups: {same} the same, {different} different");
    if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
