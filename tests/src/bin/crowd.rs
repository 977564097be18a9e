//! Thousands of hostile clients, and the service that a regular client gets meanwhile.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin crowd -- --clients 50000
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use portolan_tests::crowd::{Crowd, Habit};

/// Lets hostile clients come to a stack whose memory is limited: clients that read nothing, that
/// never finish a handshake, that send to a program that never reads; all from one address, and each
/// from one of its own. Meanwhile an honest client loads a page of 20,000 bytes ten times a second,
/// over a path of 10 ms, and has a flow in each direction. Times are virtual but for the last
/// column. Fails when a load takes a second or fails.
#[derive(clap::Parser)]
struct Arguments {
    /// How many clients come.
    #[arg(long, default_value_t = 50_000)]
    clients: u32,
    /// From how many addresses they come [default: from one, and from as many as there are clients]
    #[arg(long)]
    addresses: Option<u32>,
    /// The memory limit of the stack, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    limit: usize,
    /// How many clients come a second.
    #[arg(long, default_value_t = 5_000)]
    per_second: u32,
    /// For how many seconds it goes on when all are there.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Clients that are reset do not come back three seconds later.
    #[arg(long)]
    stay: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clients = arguments.clients;
    println!("{clients} clients, {} MiB", arguments.limit);
    println!(
        "{:10} {:>9} {:>6} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>7}",
        "habit",
        "addresses",
        "loads",
        "failed",
        "longest",
        "down/s",
        "up/s",
        "most",
        "resets",
        "open",
        "real"
    );
    let mut is_fine = true;
    for habit in [Habit::NeverRead, Habit::HalfOpen, Habit::Send] {
        let addresses = arguments.addresses.map_or_else(|| vec![1, clients], |some| vec![some]);
        for addresses in addresses {
            let begin = Instant::now();
            let report = Crowd {
                clients,
                habit,
                addresses,
                per_second: arguments.per_second,
                returns: !arguments.stay,
                memory_limit_bytes: arguments.limit << 20,
                stays: Duration::from_secs(arguments.seconds),
            }
            .run();
            println!(
                "{:10} {addresses:9} {:6} {:6} {:5} ms {:6} kB {:6} kB {:4} MiB {:8} {:8} {:5.1} s",
                format!("{habit:?}"),
                report.loads,
                report.failures,
                report.longest_load.as_millis(),
                report.least_a_second[0] / 1000,
                report.least_a_second[1] / 1000,
                report.most_bytes >> 20,
                report.stats.as_ref().map_or(0, |stats| stats.memory.stalled_resets),
                report.open,
                begin.elapsed().as_secs_f64()
            );
            is_fine &= report.failures == 0 && report.longest_load < Duration::from_secs(1);
        }
    }
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
