//! Packet-by-packet scripts: a peer that sends what the script says, and on the other side a stack
//! in virtual time, or the kernel in real time. `tests/scripts/README.md` describes the notation.
//!
//! Read `syntax` (a file becomes steps), `segment` (the notation of a segment), `names` (settings
//! and options by name), then `engine` (the steps are done), `connection` (what the script's peer
//! knows), `calls` and `checks`, and at last `linux` (what is different when the kernel plays). The
//! hosts are in [`host`](crate::host).

mod calls;
mod checks;
mod connection;
mod engine;
mod linux;
mod names;
mod segment;
mod syntax;

use std::fmt;
use std::path::Path;

use portolan::Domain;

use crate::sources::{read, relative};

pub use linux::{Judgement, Mark};
pub use syntax::Script;
pub(crate) use syntax::duration;

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
    /// Whether only the time was wrong, or the script itself was late: on a busy machine that
    /// happens, and the script may be tried again.
    pub is_timing: bool,
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

    /// Runs it over one family. The transcript is what happened, line by line, in the notation of
    /// the scripts.
    pub fn run(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run(self, domain)
    }

    /// Runs a script that expects nothing on Portolan, with the defaults; what happened.
    pub fn run_on_portolan(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run_on_portolan(self, domain)
    }

    /// Runs it on the kernel, once, however late; what happened. Like
    /// [`LinuxHost::new`](crate::host::LinuxHost::new), this moves the thread into a new network
    /// namespace.
    pub fn run_on_linux(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run_on_linux(self, domain)
    }
}

#[cfg(test)]
mod tests;
