//! Makes random calls on packet sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin packets -- --seeds 10000
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::packets::Judge;
use portolan_tests::seeds::{Seeds, failed};

/// Makes random calls, in a network namespace of its own, and prints the seeds whose answers
/// differ.
#[derive(clap::Parser)]
#[command(mut_arg("seeds", |seeds| seeds.default_value("200")))]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn main() -> ExitCode {
    run(&Arguments::parse().seeds).unwrap_or_else(failed)
}

fn run(seeds: &Seeds) -> Result<ExitCode, Box<dyn Error>> {
    portolan_tap::isolate()?;
    let mut judge = Judge::new()?;
    Ok(seeds.compare("packets", |seed| Ok::<_, Infallible>(judge.compare(seed))))
}
