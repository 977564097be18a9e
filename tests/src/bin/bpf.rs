//! Attaches random BPF programs on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin bpf -- --seeds 1000000
//! ```

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::bpf::Judge;
use portolan_tests::seeds::{Seeds, failed};

/// Compares random BPF programs, in a network namespace of its own, and prints those that the
/// kernel and Portolan treat differently.
#[derive(clap::Parser)]
#[command(mut_arg("seeds", |seeds| seeds.default_value("2000")))]
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
    let code = seeds.compare("bpf", |seed| judge.compare(seed));
    let Judge { accepted, refused, dropped_and_kept: [dropped, kept], .. } = judge;
    println!("bpf: {accepted} programs accepted, {refused} refused; {dropped} frames dropped, {kept} kept");
    Ok(code)
}
