//! The reason for which the command fails.

use std::fmt;
use std::process::ExitCode;

use portolan_tap::{Error, MIN_IPV6_MTU};

/// A message for people, and the exit status of the command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A mistake on the command line: status 2, as for mistakes that clap reports.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 2 }
    }

    /// A valid request that failed: status 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// A failure to write to stdout: status 1.
    pub(crate) fn unwritten(error: &std::io::Error) -> Self {
        Failure::failed(format!("cannot write to standard output: {error}"))
    }

    /// The command after `--` could not be started: status 127 if it does not exist, otherwise 126,
    /// as in a shell.
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

/// Says what happened, and which option helps. The library does not know about options.
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
        // With IPv6 addresses the message already says which other MTU to give.
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
