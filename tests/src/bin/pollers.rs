//! Makes random calls on sockets and pollers, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin pollers -- --seeds 10000
//! ```

use std::io;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::pollers::{compare, compare_sleepers};
use portolan_tests::seeds::Seeds;

/// Makes random calls on the kernel and on Portolan, and prints the seeds whose answers differ.
/// Every fifth seed also compares which of several pollers an arrival wakes.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn difference(seed: u64) -> io::Result<Option<String>> {
    let found = compare(seed)?.map(|difference| difference.to_string());
    match found {
        None if seed.is_multiple_of(5) => compare_sleepers(seed),
        found => Ok(found),
    }
}

fn main() -> ExitCode {
    Arguments::parse().seeds.compare("pollers", difference)
}
