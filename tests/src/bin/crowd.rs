//! Thousands of hostile clients, and the service that a regular client gets meanwhile.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin crowd -- --clients 50000
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portolan_tests::crowd::{Crowd, Habit};

const USAGE: &str = "usage: crowd [--clients N] [--addresses N] [--limit MIB] [--per-second N] [--seconds N] [--stay]

Lets --clients (50000) come to a stack whose memory is limited to --limit (256) MiB: clients that read nothing, that never finish
a handshake, that send to a program that never reads; all from one address, and each from one of its own, or from --addresses.
So many come --per-second (5000), and it goes on for --seconds (10) when all are there. Those that are reset come back three
seconds later, unless --stay is given. Meanwhile an honest client loads a page of 20,000 bytes ten times a second, over a path of 10 ms,
and has a flow in each direction. Times are virtual but for the last column. Fails when a load takes a second or fails.";

struct Arguments {
    clients: u32,
    addresses: Option<u32>,
    limit_mib: usize,
    per_second: u32,
    seconds: u64,
    returns: bool,
}

fn parse() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        clients: 50_000,
        addresses: None,
        limit_mib: 256,
        per_second: 5_000,
        seconds: 10,
        returns: true,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--stay" {
            arguments.returns = false;
            continue;
        }
        if word == "--help" || word == "-h" {
            return Err(USAGE.to_owned());
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
        let number = value.parse::<u32>().map_err(|_| format!("{word} needs a number, not {value}"))?;
        match word.as_str() {
            "--clients" => arguments.clients = number,
            "--addresses" => arguments.addresses = Some(number),
            "--limit" => arguments.limit_mib = number as usize,
            "--per-second" => arguments.per_second = number,
            "--seconds" => arguments.seconds = u64::from(number),
            _ => return Err(format!("{word} is not known\n{USAGE}")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let clients = arguments.clients;
    println!("{clients} clients, {} MiB", arguments.limit_mib);
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
                returns: arguments.returns,
                memory_limit_bytes: arguments.limit_mib << 20,
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
