//! Calls on packet sockets return what they do on Linux (`portolan_tests::packets`), and packets
//! are forwarded as on Linux (`portolan_tests::forwarding`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin packets -- --seeds 10000`.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::forwarding;
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::packets::Judge;

const SEQUENCES: u64 = 100;
/// Packets that are sent through both routers.
const FORWARDED: usize = 20_000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that calls were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let calls = Trial::test("random_sequences_of_calls_find_no_difference", judge).with_ignored_flag(too_old);
    let packets = Trial::test("random_packets_are_forwarded_alike", forward).with_ignored_flag(too_old);
    libtest_mimic::run(&arguments, vec![calls, packets]).exit_code()
}

fn forward() -> Result<(), Failed> {
    let differences = forwarding::Judge::new()?.compare(1, FORWARDED)?;
    let shown: Vec<String> = differences.iter().take(5).map(|difference| difference.to_string()).collect();
    match differences.len() {
        0 => Ok(()),
        count => Err(format!("{count} differences, such as\n{}", shown.join("\n")).into()),
    }
}

fn judge() -> Result<(), Failed> {
    let mut judge = Judge::new()?;
    let differences: Vec<String> = (1..=SEQUENCES)
        .filter_map(|seed| judge.compare(seed).map(|difference| format!("seed {seed}:\n{difference}")))
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.concat().into()) }
}
