//! The seeds that the commands play which compare Portolan with the kernel.

use std::fmt::Display;
use std::process::ExitCode;

/// Arguments of a command: which seeds it plays.
#[derive(Debug, clap::Args)]
pub struct Seeds {
    /// How many seeds to play.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

/// The seeds that have found something once.
const KEPT: &str = include_str!("../kernel-seeds.txt");

/// The seeds that have found something by this command once.
fn kept(command: &str) -> impl Iterator<Item = u64> {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(move |line| {
        let (name, rest) = line.split_once(' ').expect("a command and a seed");
        let seed = rest.split_whitespace().next().and_then(|seed| seed.parse().ok());
        (name == command).then(|| seed.expect("a seed behind the command"))
    })
}

impl Seeds {
    /// The seeds of a run of this command: those that have found something once, then others.
    pub fn of(&self, command: &str) -> Vec<u64> {
        kept(command).chain(self.from..self.from + self.seeds).collect()
    }

    /// Plays all seeds, prints those that differ, and how many did. An error ends it. The command
    /// fails after an error or a difference.
    pub fn compare<D: Display, E: Display>(
        &self,
        command: &str,
        mut difference: impl FnMut(u64) -> Result<Option<D>, E>,
    ) -> ExitCode {
        let seeds = self.of(command);
        let mut different = 0;
        for &seed in &seeds {
            match difference(seed) {
                Ok(None) => {}
                Ok(Some(difference)) => {
                    different += 1;
                    println!("seed {seed}:\n{difference}");
                }
                Err(error) => return failed(error),
            }
        }
        let count = seeds.len();
        println!("{command}: {count} seeds: {} the same, {different} different", count - different);
        if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Prints the error of a command, and returns its exit code.
pub fn failed(error: impl Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
