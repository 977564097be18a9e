//! Child processes of the benchmark: it starts itself again in another role.
//!
//! The protocol: a child prints a line when it is ready, and ends when its standard input is
//! closed. So no process remains, however the parent ends.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The first argument of a child.
pub(crate) const MARK: &str = "as";
const READY: &str = "ready";
/// How long a child may take to end after it was told to. The kernel has to release everything that
/// it holds.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A child process, which ends when this value is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    note: String,
}

/// The command that runs this program in a role, given by the arguments.
pub(crate) fn command(role: &[&str]) -> io::Result<Command> {
    Ok(command_of(&env::current_exe()?, role))
}

/// The command that runs such a program in a role.
pub(crate) fn command_of(program: &Path, role: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg(MARK).args(role);
    command
}

impl Child {
    /// Starts a child and waits until it is ready.
    pub(crate) fn start(role: &[&str]) -> io::Result<Child> {
        let process = command(role)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut child = Child { process, note: String::new() };
        let mut line = String::new();
        if let Some(out) = &mut child.process.stdout {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.strip_prefix(READY) {
            Some(note) => child.note = note.trim().to_owned(),
            // It has printed the error on standard error.
            None => return Err(io::Error::other(format!("{role:?} did not start"))),
        }
        Ok(child)
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.process.id() as libc::pid_t
    }

    /// The line that it printed when it was ready.
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
        // It is our child, and nobody else has waited for it. If it cannot be killed, there is
        // nothing to do about that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Called in the child when it is ready, with a note for the parent. Returns when the parent wants
/// the child to end.
pub(crate) fn ready(note: &str) -> io::Result<()> {
    println!("{READY} {note}");
    io::stdout().flush()?;
    let mut nothing = [0; 16];
    while io::stdin().lock().read(&mut nothing)? > 0 {}
    Ok(())
}
