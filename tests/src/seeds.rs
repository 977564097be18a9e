//! The seeds that the commands play which compare Portolan with the kernel.

use std::fmt::Display;
use std::ops::Range;
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

impl Seeds {
    /// The seeds.
    pub fn range(&self) -> Range<u64> {
        self.from..self.from + self.seeds
    }

    /// Plays all seeds, prints those that differ, and how many did. An error ends it. The command
    /// fails after an error or a difference.
    pub fn compare<D: Display, E: Display>(
        &self,
        command: &str,
        mut difference: impl FnMut(u64) -> Result<Option<D>, E>,
    ) -> ExitCode {
        let (seeds, mut different) = (self.seeds, 0);
        for seed in self.range() {
            match difference(seed) {
                Ok(None) => {}
                Ok(Some(difference)) => {
                    different += 1;
                    println!("seed {seed}:\n{difference}");
                }
                Err(error) => return failed(error),
            }
        }
        println!("{command}: {seeds} seeds: {} the same, {different} different", seeds - different);
        if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Prints the error of a command, and returns its exit code.
pub fn failed(error: impl Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
