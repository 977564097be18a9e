//! Makes random calls on raw and echo sockets, on the Linux kernel and on Portolan, seed after
//! seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin raw_sockets -- --seeds 10000
//! ```

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::raw_sockets::{Kernel, compare};
use portolan_tests::seeds::{Seeds, failed};

/// Makes random calls on the kernel and on Portolan, and prints the seeds whose answers differ.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn main() -> ExitCode {
    run(&Arguments::parse().seeds).unwrap_or_else(failed)
}

fn run(seeds: &Seeds) -> Result<ExitCode, Box<dyn Error>> {
    portolan_tap::isolate()?;
    let mut kernel = Kernel::new()?;
    Ok(seeds.compare("raw_sockets", |seed| compare(&mut kernel, seed)))
}
