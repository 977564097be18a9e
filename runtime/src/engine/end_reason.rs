//! Why a runtime is over.

use std::io;

/// The reason, to be handed to everybody who calls or waits.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    Shutdown,
    Device { kind: io::ErrorKind, message: String },
    Panicked,
}

impl Ended {
    pub(crate) fn device_failed(name: &str, error: &io::Error) -> Self {
        Ended::Device { kind: error.kind(), message: format!("{name}: {error}") }
    }

    pub(crate) fn to_error(&self) -> io::Error {
        match self {
            Ended::Shutdown => io::Error::new(io::ErrorKind::NetworkDown, "the runtime was shut down"),
            Ended::Device { kind, message } => io::Error::new(*kind, message.clone()),
            Ended::Panicked => io::Error::other("the stack panicked; its runtime is over"),
        }
    }
}
