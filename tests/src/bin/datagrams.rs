//! Makes random calls on datagram sockets, on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin datagrams -- --seeds 10000
//! ```

use std::process::ExitCode;

use portolan_tests::datagrams::{compare, generate, table};

const USAGE: &str = "usage: datagrams [--table N] [--seeds N] [--from N]

Makes the calls of --seeds (200) seeds, from --from (1) on, on the kernel and on Portolan, and prints those whose answers
differ. With --table also two calls in every state: 1 plays all cases, N every Nth.";

fn main() -> ExitCode {
    let (mut seeds, mut from, mut sequences) = (200, 1, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|value| value.parse::<u64>().ok());
        match word.as_str() {
            "--table" => {
                sequences = table().into_iter().step_by(value().unwrap_or(1).max(1) as usize).collect()
            }
            "--seeds" => seeds = value().unwrap_or(seeds),
            "--from" => from = value().unwrap_or(from),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    sequences.extend((from..from + seeds).map(generate));
    let report = match compare(&sequences) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
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
