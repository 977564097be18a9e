//! [`Direction`]: receiving or sending.

use portolan::Readiness;

/// The direction that a thread or a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    pub(crate) fn is_met_by(self, readiness: Readiness) -> bool {
        let ended = readiness.hung_up || readiness.error;
        match self {
            Direction::Read => readiness.readable || readiness.peer_closed || ended,
            Direction::Write => readiness.writable || ended,
        }
    }
}
