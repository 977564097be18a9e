//! Makes random calls on TCP sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin streams -- --seeds 1000
//! ```

use std::process::ExitCode;

use clap::Parser;
use portolan_tests::seeds::{Seeds, failed};
use portolan_tests::streams::compare;

/// Makes random calls on the kernel and on Portolan, and prints the seeds whose answers differ.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn main() -> ExitCode {
    let Arguments { seeds } = Arguments::parse();
    if let Err(error) = portolan_tap::isolate() {
        return failed(error);
    }
    let report = match compare(&seeds.of("streams")) {
        Ok(report) => report,
        Err(error) => return failed(error),
    };
    for difference in &report.different {
        println!("{difference}");
    }
    for (why, count) in &report.explained {
        println!("{count:6} {why}");
    }
    println!("streams: {} the same, {} different", report.same, report.different.len());
    if report.different.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
