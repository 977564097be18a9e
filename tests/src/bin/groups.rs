//! Makes calls on multicast memberships, on the Linux kernel and on Portolan: sequences written by
//! hand, then random ones, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin groups -- --seeds 10000
//! ```

use std::process::ExitCode;

use clap::Parser;
use portolan_tests::groups::{Difference, compare_seed, compare_written, enter_namespace};
use portolan_tests::seeds::{Seeds, failed};

/// Makes the calls of the sequences written by hand, and random ones, on the kernel and on
/// Portolan, and prints those whose answers differ. It runs in a network namespace of its own.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn main() -> ExitCode {
    let Arguments { seeds } = Arguments::parse();
    if let Err(error) = enter_namespace() {
        return failed(error);
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
    for seed in seeds.of("groups") {
        judge(&format!("seed {seed}"), compare_seed(seed));
    }
    println!("groups: {same} the same, {different} different");
    if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
