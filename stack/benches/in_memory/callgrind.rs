//! The number of instructions of a function, counted by callgrind.

use std::io;
use std::process::{Command, Stdio};

const VALGRIND: &str = "valgrind";
/// Callgrind counts a string instruction (`rep movsb`) once for each byte that it moves. With these
/// thresholds glibc copies and fills with loops of vector instructions instead, whatever the
/// processor supports (ERMS, FSRM).
const NO_STRING_INSTRUCTIONS: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// Whether callgrind is installed.
pub(crate) fn is_there() -> bool {
    Command::new(VALGRIND).arg("--version").stdin(Stdio::null()).output().is_ok()
}

/// The number of instructions that the program executes in the function whose name matches
/// `function`, including its callees. The function must be `#[inline(never)]` and must not end with
/// a call, because callgrind does not see the return of a tail call.
pub(crate) fn count(program: &Command, function: &str) -> io::Result<u64> {
    let out = std::env::temp_dir().join(format!("portolan-callgrind-{}", std::process::id()));
    let output = Command::new(VALGRIND)
        .env("GLIBC_TUNABLES", NO_STRING_INSTRUCTIONS)
        .args(["--tool=callgrind", &format!("--toggle-collect={function}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            let hint = "callgrind comes with valgrind (on Debian or Ubuntu: sudo apt-get install valgrind)";
            io::Error::new(error.kind(), format!("cannot run {VALGRIND}: {error}; {hint}"))
        })?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    // If the file was not written, there is nothing to remove.
    let _ = std::fs::remove_file(&out);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    match total {
        Some(total) if output.status.success() && total > 0 => Ok(total),
        _ => Err(io::Error::other(format!(
            "callgrind counted nothing in {function}:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}
