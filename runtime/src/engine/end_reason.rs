//! [`EndReason`]: why a runtime is over.

use std::io;

/// Why a runtime is over. Every call and every waiting thread gets this reason.
#[derive(Clone, Debug)]
pub(crate) enum EndReason {
    Shutdown,
    Device { kind: io::ErrorKind, message: String },
    Panicked,
}

impl EndReason {
    pub(crate) fn device_failed(name: &str, error: &io::Error) -> Self {
        EndReason::Device { kind: error.kind(), message: format!("{name}: {error}") }
    }

    pub(crate) fn to_error(&self) -> io::Error {
        match self {
            EndReason::Shutdown => io::Error::new(io::ErrorKind::NetworkDown, "the runtime was shut down"),
            EndReason::Device { kind, message } => io::Error::new(*kind, message.clone()),
            EndReason::Panicked => io::Error::other("the stack panicked; its runtime is over"),
        }
    }
}
