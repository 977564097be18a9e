//! Makes random calls on Unix-domain sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin unix_sockets -- --seeds 10000
//! ```

use std::process::ExitCode;

use clap::Parser;
use portolan_tests::seeds::Seeds;
use portolan_tests::unix_sockets::compare;

/// Makes random calls on the kernel and on Portolan, and prints the seeds whose answers differ.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

fn main() -> ExitCode {
    Arguments::parse().seeds.compare("unix_sockets", compare)
}
