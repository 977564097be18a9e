//! Makes random calls on datagram sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin datagrams -- --seeds 10000
//! ```

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::datagrams::{compare, generate, table};
use portolan_tests::seeds::{Seeds, failed};

/// Makes random calls on the kernel and on Portolan, and prints the seeds whose answers differ.
#[derive(clap::Parser)]
#[command(mut_arg("seeds", |seeds| seeds.default_value("200")))]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// Also make two calls in every state: 1 plays all cases, N every Nth.
    #[arg(long, value_name = "N")]
    table: Option<NonZeroUsize>,
}

fn main() -> ExitCode {
    let Arguments { seeds, table: step } = Arguments::parse();
    let mut sequences = match step {
        Some(step) => table().into_iter().step_by(step.get()).collect(),
        None => Vec::new(),
    };
    if let Err(error) = portolan_tap::isolate() {
        return failed(error);
    }
    sequences.extend(seeds.of("datagrams").into_iter().map(generate));
    let report = match compare(&sequences) {
        Ok(report) => report,
        Err(error) => return failed(error),
    };
    for difference in &report.different {
        println!("{difference}");
    }
    for (why, count) in &report.explained {
        println!("{count:6} {why}");
    }
    println!("datagrams: {} the same, {} different", report.same, report.different.len());
    if report.different.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
