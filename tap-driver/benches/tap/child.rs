//! Processes of the benchmark's own: it starts itself again, in another role.
//!
//! The protocol: a child says a line when it is ready, and ends when its standard input does. So
//! nothing stays behind, in whatever way the parent ends.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a child's first argument says that it is one.
pub(crate) const MARK: &str = "as";
const READY: &str = "ready";
/// How long a child may take to end after it was told so. What it holds has to be given back by the
/// kernel.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A process of ours, which ends with this value.
pub(crate) struct Child {
    process: std::process::Child,
    note: String,
}

/// This program in the role that the arguments say.
pub(crate) fn command(role: &[&str]) -> io::Result<Command> {
    Ok(command_of(&env::current_exe()?, role))
}

/// A program that is one of these in a role.
pub(crate) fn command_of(program: &Path, role: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg(MARK).args(role);
    command
}

impl Child {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(role: &[&str]) -> io::Result<Child> {
        let process = command(role)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut child = Child { process, note: String::new() };
        let mut line = String::new();
        if let Some(out) = &mut child.process.stdout {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.strip_prefix(READY) {
            Some(note) => child.note = note.trim().to_owned(),
            // What went wrong it has said on standard error.
            None => return Err(io::Error::other(format!("{role:?} did not start"))),
        }
        Ok(child)
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.process.id() as libc::pid_t
    }

    /// What it said when it was ready.
    pub(crate) fn note(&self) -> &str {
        &self.note
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let told_at = Instant::now();
        while told_at.elapsed() < END_TIMEOUT {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // It is our own child, which nobody else has waited for. If it cannot be killed, nothing
        // can be done.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the child: it is ready, with a note for the parent. Returns when the parent wants it to end.
pub(crate) fn ready(note: &str) -> io::Result<()> {
    println!("{READY} {note}");
    io::stdout().flush()?;
    let mut nothing = [0; 16];
    while io::stdin().lock().read(&mut nothing)? > 0 {}
    Ok(())
}
