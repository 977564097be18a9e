//! Printing to standard output.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::failure::Failure;

/// Prints a text. A reader that goes away, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::unwritten(&error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
