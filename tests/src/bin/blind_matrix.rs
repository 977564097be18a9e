//! Every combination of flags, sequence number and acknowledgement in every state, on the kernel
//! and on Portolan.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin blind_matrix
//! ```

use std::process::ExitCode;

use clap::Parser;
use portolan_tests::matrix::{Case, RULES, Report, Rule, cases, compare, sample};

/// Plays all cases, or a sample of them, on the kernel and on Portolan, and prints how often each
/// rule explains a difference. Fails if no rule explains one, or if a rule explains nothing in all
/// cases.
#[derive(clap::Parser)]
struct Arguments {
    /// How many cases to play, chosen by the seed [default: all]
    #[arg(long)]
    sample: Option<usize>,
    /// The seed of the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many of the differences that no rule explains to print.
    #[arg(long, default_value_t = 20)]
    show: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let Arguments { sample: count, seed, show } = Arguments::parse();
    portolan_tap::isolate().map_err(|error| error.to_string())?;
    let cases: Vec<Case> = count.map_or_else(|| cases().collect(), |count| sample(count, seed));
    let report = compare(&cases).map_err(|error| error.to_string())?;
    print(&report, cases.len(), show);
    let needed = |rule: &&Rule| report.explained.contains_key(rule.name);
    let all_needed = count.is_some() || RULES.iter().filter(needed).count() == RULES.len();
    Ok(report.unexplained.is_empty() && all_needed)
}

fn print(report: &Report, count: usize, show: usize) {
    println!("{count} cases, {} the same", report.same);
    for rule in RULES {
        let matches = report.explained.get(rule.name).copied().unwrap_or(0);
        println!("{matches:>7}  {}: {}", rule.name, rule.why);
    }
    println!("{:>7}  without an explanation", report.unexplained.len());
    for (case, linux, portolan) in report.unexplained.iter().take(show) {
        println!("{case}\n    linux    {linux}\n    portolan {portolan}");
    }
}
