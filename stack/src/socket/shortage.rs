//! What the sockets remember of a shortage of memory from call to call.

use core::time::Duration;

use super::holdings::Holdings;
use crate::rng::Rng;
use crate::time::Instant;

/// Lines of one kind in the log are at least this far apart.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How far the relief has come: who holds what, which socket is next, and what the log has said.
#[derive(Debug)]
pub(super) struct Relief {
    pub(super) holdings: Holdings,
    /// What the account holds for the index.
    pub(super) charged_bytes: usize,
    /// The slot that is looked at next.
    pub(super) hand: u32,
    pub(super) pressure_line: LogLine,
    pub(super) reset_line: LogLine,
}

/// A line of the log that is written once for each time that memory gets short, and at most once a
/// minute.
#[derive(Debug, Default)]
pub(super) struct LogLine {
    /// The count of pressures in which it was written.
    told_of: u64,
    told_at: Option<Instant>,
}

impl LogLine {
    /// Whether it is due. It counts as written.
    pub(super) fn is_due(&mut self, now: Instant, pressures: u64) -> bool {
        if self.told_of == pressures {
            return false;
        }
        self.told_of = pressures;
        let is_long_ago = self.told_at.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
        if is_long_ago {
            self.told_at = Some(now);
        }
        is_long_ago
    }
}

impl Relief {
    pub(super) fn new(rng: &mut Rng) -> Relief {
        Relief {
            holdings: Holdings::new(rng),
            charged_bytes: 0,
            hand: 0,
            pressure_line: LogLine::default(),
            reset_line: LogLine::default(),
        }
    }
}
