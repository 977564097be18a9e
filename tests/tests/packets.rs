//! Calls on packet sockets return what they do on Linux (`portolan_tests::packets`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin packets -- --seeds 10000`.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::host::{is_judge, kernel_version};
use portolan_tests::packets::Judge;

const SEQUENCES: u64 = 100;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that calls were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trial = Trial::test("random_sequences_of_calls_find_no_difference", judge).with_ignored_flag(too_old);
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn judge() -> Result<(), Failed> {
    let mut judge = Judge::new()?;
    let differences: Vec<String> = (1..=SEQUENCES)
        .filter_map(|seed| judge.compare(seed).map(|difference| format!("seed {seed}:\n{difference}")))
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.concat().into()) }
}
