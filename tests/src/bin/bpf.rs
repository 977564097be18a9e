//! Attaches random BPF programs on the Linux kernel and on Portolan, seed after seed.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin bpf -- --seeds 1000000
//! ```

use std::process::ExitCode;

use portolan_tests::bpf::Judge;

const USAGE: &str = "usage: bpf [--seeds N] [--from N]

Compares the programs of --seeds (2000) seeds, from --from (1) on, in a network namespace of its own, and prints those that
the kernel and Portolan treat differently.";

fn main() -> ExitCode {
    let (mut seeds, mut from) = (2000, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
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
    match compare(from..from + seeds) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The number of differences.
fn compare(seeds: std::ops::Range<u64>) -> std::io::Result<usize> {
    let mut judge = Judge::new()?;
    let mut different = 0;
    for seed in seeds {
        if let Some(difference) = judge.compare(seed)? {
            different += 1;
            println!("seed {seed}:\n{difference}");
        }
    }
    let Judge { accepted, refused, dropped_and_kept: [dropped, kept], .. } = judge;
    println!(
        "bpf: {accepted} programs accepted, {refused} refused, {different} different; {dropped} frames dropped, {kept} kept"
    );
    Ok(different)
}
