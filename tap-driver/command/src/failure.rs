//! Why the command ends without having done what it was asked to.

use std::fmt;
use std::process::ExitCode;

use portolan_tap::{Error, MIN_IPV6_MTU};

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

    /// The command after `--` could not be started: 127 if it is not there, else 126, as with a
    /// shell.
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

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = explain(&error);
        match error {
            Error::InvalidName { .. } | Error::InvalidMtu { .. } | Error::InvalidQueues { .. } => {
                Failure::usage(message)
            }
            _ => Failure::failed(message),
        }
    }
}

/// What happened, and which option helps. The library knows of no options.
fn explain(error: &Error) -> String {
    match error {
        Error::NotPermitted { doing } => format!(
            "no permission to {doing}: that needs the capability CAP_NET_ADMIN; run as root (sudo), or add \
             `--isolated`, which needs no privileges and touches nothing of this host"
        ),
        Error::InvalidName { .. } => format!("{error}; choose another with --tap"),
        Error::NameTaken { name, is_tun: true } => format!(
            "the name {name} is taken: a TAP device of that name exists; choose another with --tap, leave --tap out to \
             get a free one, or remove it with `ip link delete {name}` if nobody uses it"
        ),
        Error::NameTaken { .. } => format!("{error} with --tap, or leave --tap out to get a free one"),
        // With IPv6 addresses the message says what else to give.
        Error::InvalidMtu { smallest, .. } if *smallest != MIN_IPV6_MTU => {
            format!("{error}; choose another with --mtu")
        }
        Error::InvalidQueues { .. } => format!("{error}; choose another number with --queues"),
        Error::Isolation { .. } => format!(
            "{error}. Root (CAP_NET_ADMIN) can do without: `portolan up` without --isolated runs on the host's own network"
        ),
        _ => error.to_string(),
    }
}
