//! Why the command ends without having done what it was asked to.

use std::fmt;
use std::process::ExitCode;

/// A message for people, and the status that the command exits with.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// What was asked for makes no sense: 2, as for what clap refuses.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 2 }
    }

    /// It made sense and did not work: 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// What was to be said could not be written to stdout: 1.
    pub(crate) fn unwritten(error: &std::io::Error) -> Self {
        Failure::failed(format!("cannot write to standard output: {error}"))
    }

    /// The command after `--` could not be started: 127 if it is not there, else 126, as with a shell.
    pub(crate) fn not_started(program: &std::ffi::OsStr, error: &std::io::Error) -> Self {
        let (code, advice) = match error.kind() {
            std::io::ErrorKind::NotFound => (127, "; is it installed, and in PATH?"),
            _ => (126, "; is it a program, and may this user run it?"),
        };
        Failure { message: format!("cannot run {}: {error}{advice}", program.display()), code }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<portolan_tap::Error> for Failure {
    fn from(error: portolan_tap::Error) -> Self {
        match error {
            portolan_tap::Error::InvalidName { .. }
            | portolan_tap::Error::InvalidMtu { .. }
            | portolan_tap::Error::InvalidQueues { .. } => Failure::usage(error.to_string()),
            error => Failure::failed(error.to_string()),
        }
    }
}
