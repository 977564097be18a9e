//! Packet-by-packet scripts: a peer that sends what the script says, and on the other side a stack
//! in virtual time, or the kernel in real time. `tests/scripts/README.md` describes the notation.
//!
//! Read `syntax` (the parser of scripts), `segment` (the notation of a segment), `names` (settings
//! and options by name), then `engine` (the execution of steps), `connection` (the state of the
//! script's peer), `calls` and `checks`, and at last `linux` (what is different on the kernel). The
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
    /// The reason, with the expected and the actual result.
    pub why: String,
    /// The transcript before the failure.
    pub transcript: Vec<String>,
    /// Whether only the time was wrong, or the script itself was late: that happens on a busy
    /// machine, and the script may be tried again.
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
    /// Loads a script.
    pub fn load(path: &Path) -> Result<Script, Failure> {
        Script::parse(&relative(path), &read(path))
    }

    /// Runs it over one family. Returns the transcript, line by line, in the notation of the
    /// scripts.
    pub fn run(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run(self, domain)
    }

    /// Runs a script without expectations on Portolan, with the default configuration. Returns the
    /// transcript.
    pub fn run_on_portolan(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run_on_portolan(self, domain)
    }

    /// Runs it on the kernel, once, however late. Returns the transcript. Like
    /// [`LinuxHost::new`](crate::host::LinuxHost::new), this moves the thread into a new network
    /// namespace.
    pub fn run_on_linux(&self, domain: Domain) -> Result<Vec<String>, Failure> {
        engine::run_on_linux(self, domain)
    }
}

#[cfg(test)]
mod tests;
