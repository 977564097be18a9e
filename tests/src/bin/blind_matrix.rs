//! Every combination of flags, sequence number and acknowledgement in every state, on the kernel
//! and on Portolan.
//!
//! ```text
//! cargo run --release -p portolan-tests --bin blind_matrix
//! ```

use std::process::ExitCode;

use portolan_tests::matrix::{Case, RULES, Report, Rule, cases, compare, sample};

const USAGE: &str = "usage: blind_matrix [--sample N] [--seed N] [--show N]

Plays all cases, or --sample of them chosen by --seed (1), on the kernel and on Portolan, and prints how often each rule
explains a difference, and the first --show (20) differences that no rule explains. Fails if there is one, or if a rule
explains nothing in all cases.";

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
    let (mut count, mut seed, mut show) = (None, 1, 20);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        let number = value.parse::<u64>().map_err(|_| format!("{word} needs a number, not {value}"))?;
        match word.as_str() {
            "--sample" => count = Some(number as usize),
            "--seed" => seed = number,
            "--show" => show = number as usize,
            _ => return Err(USAGE.into()),
        }
    }
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
