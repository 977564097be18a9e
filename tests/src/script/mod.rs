//! Packet-by-packet scripts: a stack on one side, a peer that sends what the script says on the other, and virtual time.
//! `tests/scripts/README.md` describes the notation.
//!
//! Read `syntax` (a file becomes steps), `segment` (the notation of a segment), `names` (settings and options by name),
//! then `engine` (the steps are done), `connection` (what the script's peer knows) and `calls`.

mod calls;
mod connection;
mod engine;
mod names;
mod segment;
mod syntax;

use std::fmt;
use std::path::Path;

use portolan::Domain;

use crate::sources::{read, relative};

pub use syntax::Script;

/// Why a script does not pass.
#[derive(Debug)]
pub struct Failure {
    /// `tests/scripts/timers/rto.txt:12`
    pub at: String,
    /// The line.
    pub line: String,
    /// What is wrong: expected and got.
    pub why: String,
    /// What happened before.
    pub transcript: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.at, self.line)?;
        for line in self.why.lines() {
            writeln!(f, "    {line}")?;
        }
        if !self.transcript.is_empty() {
            writeln!(f, "so far:")?;
            for line in &self.transcript {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

impl Script {
    /// Reads a script.
    pub fn load(path: &Path) -> Result<Script, Failure> {
        Script::parse(&relative(path), &read(path))
    }

    /// Runs it over one family. The transcript is what happened, line by line, in the notation of the scripts.
    pub fn run(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run(self, domain)
    }
}

#[cfg(test)]
mod tests;
