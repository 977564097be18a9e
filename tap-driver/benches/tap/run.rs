//! A measurement from outside: the process that makes it, and its result.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::child::{self, Child};
use crate::client::{Figures, Measured, Plan};

/// A measurement that takes this much longer than its time hangs. The time includes opening 100,000
/// connections.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a measurement in its own processes, either of this program or of that of another commit.
pub(crate) fn run(program: &Path, plan: &Plan) -> io::Result<Measured> {
    let awake = if plan.row.is_awake() { Some(Child::start(&["awake"])?) } else { None };
    let arguments = plan.to_arguments();
    let role = if plan.row.has_device() { "client" } else { "memory" };
    let arguments: Vec<&str> = [role].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let mut process = child::command_of(program, &arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // So that the process and all that it starts can be ended at once.
        .process_group(0)
        .spawn()?;
    let out = process.stdout.take().ok_or_else(|| io::Error::other("a pipe was asked for"))?;
    let result = read(out);
    if matches!(&result, Err(error) if error.kind() == io::ErrorKind::TimedOut) {
        let group = rustix::process::Pid::from_child(&process);
        // It may have ended just now.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let status = process.wait()?;
    drop(awake);
    let measured = result?;
    match status.success() && !measured.figures.is_empty() {
        true => Ok(measured),
        false => Err(io::Error::other(measured.note)),
    }
}

/// Reads what the process prints, to the end.
fn read(out: ChildStdout) -> io::Result<Measured> {
    let (done, result) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = BufReader::new(out).read_to_string(&mut text).map(|_| text);
        // Nobody receives this after a time-out.
        let _ = done.send(read);
    });
    let text = match result.recv_timeout(PATIENCE) {
        Ok(text) => text?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end after {PATIENCE:?}")));
        }
    };
    let mut measured = Measured { figures: Figures::new(), note: String::new() };
    for line in text.as_bytes().lines() {
        let line = line?;
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["figure", part, value] => {
                measured.figures.insert(part.to_owned(), value.parse().map_err(io::Error::other)?);
            }
            ["note", note] => measured.note = note.to_owned(),
            _ => return Err(io::Error::other(format!("the measurement said {line:?}"))),
        }
    }
    Ok(measured)
}

/// The other end, in the process: prints the result. An error is printed as a note.
pub(crate) fn tell(result: io::Result<Measured>) -> bool {
    let (measured, is_good) = match result {
        Ok(measured) => (measured, true),
        Err(error) => {
            (Measured { figures: Figures::new(), note: error.to_string().replace(['\n', '\t'], " ") }, false)
        }
    };
    for (part, value) in &measured.figures {
        println!("figure\t{part}\t{value}");
    }
    println!("note\t{}", measured.note);
    is_good
}
