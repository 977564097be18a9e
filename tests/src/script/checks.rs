//! The `check` lines of a script.

use std::time::Duration;

use super::engine::Engine;
use super::syntax::{Check, duration};
use crate::host::{Found, Host, timer_text};

/// In real time: how much a time in `TcpInfo` may be off, in addition to a quarter of it.
const INFO_SLACK: Duration = Duration::from_millis(8);

impl<H: Host> Engine<'_, H> {
    pub(super) fn check(&mut self, check: &Check) -> Result<(), String> {
        let (expected, got) = match check {
            Check::State { connection, state } => (state.clone(), self.state(connection)),
            Check::Readiness { socket, what, wanted } => {
                let descriptor = self.socket(socket)?.descriptor;
                let readiness = self.host.readiness(descriptor)?;
                let got = match what.as_str() {
                    "readable" => readiness.readable,
                    "writable" => readiness.writable,
                    "peer-closed" => readiness.peer_closed,
                    "hung-up" => readiness.hung_up,
                    "error-waits" => readiness.error,
                    other => return Err(format!("`{other}` is no readiness")),
                };
                (format!("{what}: {wanted}"), format!("{what}: {got}"))
            }
            Check::Error { socket, error } => {
                let descriptor = self.socket(socket)?.descriptor;
                (error.clone(), self.host.take_error(descriptor)?.unwrap_or("none").to_string())
            }
            Check::Reason { socket, reason } => {
                let descriptor = self.socket(socket)?.descriptor;
                let found = self.host.close_reason(descriptor)?;
                return compare(reason, found, "there is no reason");
            }
            Check::Queued { socket, received, unsent } => {
                let descriptor = self.socket(socket)?.descriptor;
                let got = self.host.queued_bytes(descriptor)?;
                (format!("{received} {unsent}"), format!("{} {}", got.0, got.1))
            }
            Check::Info { socket, fields } => self.info(socket, fields)?,
            Check::Counter { name, count } => {
                let found = self.host.counter(name);
                return compare(&count.to_string(), found, &format!("there is no counter {name}"));
            }
            Check::Drops { reason, count } => {
                let found = self.host.drops(reason);
                return compare(&count.to_string(), found, &format!("there is no DropReason::{reason}"));
            }
            Check::Timer { kind, after } => {
                return compare(&timer_text(kind, *after), self.host.timer(), "there are no timers");
            }
        };
        is_same(&expected, &got)
    }

    /// The fields that a script checks, with the expected and the actual values. Fields that this
    /// host does not have are left out.
    fn info(&mut self, socket: &str, fields: &[(String, String)]) -> Result<(String, String), String> {
        let descriptor = self.socket(socket)?.descriptor;
        let (mut expected, mut found) = (String::new(), String::new());
        for (name, value) in fields {
            let got = match self.host.info(descriptor, name)? {
                Found::Value(got) => got,
                Found::NotHere => continue,
                Found::Unknown => return Err(format!("TcpInfo has no field {name}")),
            };
            expected += &format!("{name} {value} ");
            let got = if H::REAL_TIME && is_near(value, &got) { value } else { &got };
            found += &format!("{name} {got} ");
        }
        Ok((expected, found))
    }

    /// The state of a connection, whatever its holder; `none` if the stack does not have it.
    fn state(&mut self, name: &str) -> String {
        let Some(connection) = self.connections.get(name) else { return "none".into() };
        let held = self.sockets.get(name).map(|socket| socket.descriptor);
        self.host.state(connection.stack_port, connection.peer_port, held)
    }
}

fn compare(expected: &str, found: Found, unknown: &str) -> Result<(), String> {
    match found {
        Found::Value(got) => is_same(expected, &got),
        Found::NotHere => Ok(()),
        Found::Unknown => Err(unknown.into()),
    }
}

fn is_same(expected: &str, got: &str) -> Result<(), String> {
    if expected == got { Ok(()) } else { Err(format!("expected {expected}\ngot      {got}")) }
}

/// Whether both are times, and the second is close to the first.
fn is_near(expected: &str, got: &str) -> bool {
    let (Ok(expected), Ok(got)) = (duration(expected), duration(&got.replace('\u{b5}', "u"))) else {
        return false;
    };
    expected.abs_diff(got) <= INFO_SLACK + expected / 4
}
