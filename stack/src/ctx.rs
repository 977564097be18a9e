//! The context that every part of the stack is given when it is called.

use crate::config::Config;
use crate::drop_reason::DropReason;
use crate::memory::Budget;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::subject::Subject;
use crate::tcp::FreeList;
use crate::time::Instant;

/// The context of a call: the time, the configuration, the counters, the random numbers. Parts take
/// this and their own arguments, never a reference to the part that contains them.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) stats: &'a mut Stats,
    pub(crate) rng: &'a mut Rng,
    /// When the device received the current frame, as programs are told. If the device does not
    /// know, it is the time at which the stack got the frame.
    pub(crate) received_at: Instant,
    /// How much memory the call may take.
    pub(crate) memory: Budget,
    /// Queues and scoreboards that idle connections have returned.
    pub(crate) free_list: &'a mut FreeList,
    /// The connection or packet that log lines name.
    pub(crate) subject: Subject,
}

impl Ctx<'_> {
    /// Counts a drop.
    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.stats.count_drop(reason, &self.subject);
    }
}
