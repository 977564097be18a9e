//! Asks a running stack.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::VERSION;
use crate::failure::Failure;

/// How long an answer may take to go on.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a request: its first line, and an iterator over the others.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Value,
    lines: Lines,
}

#[derive(Debug)]
struct Lines {
    reader: BufReader<UnixStream>,
    text: String,
}

/// Sends a request; `fields` are those beside the version.
pub(crate) fn ask(path: &Path, fields: &Value) -> Result<Answer, Failure> {
    let fail = |error: &io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; it belongs to another user: try sudo",
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "; does `portolan up` run?",
            _ => "",
        };
        Failure::failed(format!("cannot ask the stack at {}: {error}{advice}", path.display()))
    };
    let mut request = json!({ "version": VERSION });
    if let (Value::Object(request), Value::Object(fields)) = (&mut request, fields) {
        request.extend(fields.clone());
    }
    let mut stream = UnixStream::connect(path).map_err(|error| fail(&error))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| fail(&error))?;
    // If the stack has already refused, its line says why.
    let sent = stream.write_all(format!("{request}\n").as_bytes());
    let mut lines = Lines { reader: BufReader::new(stream), text: String::new() };
    match lines.next_value() {
        Ok(Some(head)) => Ok(Answer { head, lines }),
        Ok(None) => Err(fail(&sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))),
        Err(failure) => Err(failure),
    }
}

impl Answer {
    /// The next line; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Value>, Failure> {
        match self.lines.next_value()? {
            Some(line) if line.get("end").is_some() => Ok(None),
            Some(line) => Ok(Some(line)),
            None => Err(Failure::failed("the answer of the stack ends early")),
        }
    }
}

impl Lines {
    fn next_value(&mut self) -> Result<Option<Value>, Failure> {
        self.text.clear();
        let read = self.reader.read_line(&mut self.text);
        let len =
            read.map_err(|error| Failure::failed(format!("the answer of the stack breaks off: {error}")))?;
        if len == 0 {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(&self.text).map_err(|error| {
            Failure::failed(format!("the answer of the stack is not understood: {error}"))
        })?;
        match value["error"].as_str() {
            Some(error) => Err(Failure::failed(format!("the stack refuses: {error}"))),
            None => Ok(Some(value)),
        }
    }
}
