//! The state of a memory shortage that is kept between calls.

use core::time::Duration;

use super::holdings::Holdings;
use crate::rng::Rng;
use crate::time::Instant;

/// The least time between two log lines of the same kind.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The progress of the relief: who holds what, which socket is next, and what was logged.
#[derive(Debug)]
pub(super) struct Relief {
    pub(super) holdings: Holdings,
    /// The bytes that the account holds for the index.
    pub(super) charged_bytes: usize,
    /// The slot that is checked next.
    pub(super) hand: u32,
    pub(super) pressure_line: LogLine,
    pub(super) reset_line: LogLine,
}

/// A log line that is written once per memory shortage, and at most once a minute.
#[derive(Debug, Default)]
pub(super) struct LogLine {
    /// The number of the shortage in which it was last written.
    told_of: u64,
    told_at: Option<Instant>,
}

impl LogLine {
    /// Whether the line is to be written now; if so, it counts as written.
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
