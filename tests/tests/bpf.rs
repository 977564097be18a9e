//! BPF programs are accepted, refused and run as on Linux (`portolan_tests::bpf`).
//!
//! More of them: `cargo run --release -p portolan-tests --bin bpf -- --seeds 1000000`.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use portolan_tests::bpf::Judge;
use portolan_tests::host::{is_judge, kernel_version};

const PROGRAMS: u64 = 3000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let too_old = !is_judge();
    if too_old {
        println!("kernel {} is older than the one that programs were compared with", kernel_version());
    } else if let Err(error) = portolan_tap::isolate() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trial = Trial::test("random_programs_do_what_they_do_on_linux", judge).with_ignored_flag(too_old);
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn judge() -> Result<(), Failed> {
    let mut judge = Judge::new()?;
    let mut differences = String::new();
    for seed in 1..=PROGRAMS {
        if let Some(difference) = judge.compare(seed)? {
            differences += &format!("seed {seed}:\n{difference}");
        }
    }
    if !differences.is_empty() {
        return Err(differences.into());
    }
    // Both ends of each question were seen.
    let Judge { accepted, refused, dropped_and_kept: [dropped, kept], .. } = judge;
    println!("{accepted} accepted, {refused} refused, {dropped} frames dropped, {kept} kept");
    assert!(accepted >= 1500 && refused >= 300 && dropped >= 3000 && kept >= 3000);
    Ok(())
}
