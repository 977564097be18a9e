//! The unacknowledged data: which of it is lost, how fast the rest is delivered, and how losses are
//! repaired.

use core::time::Duration;

use super::SeqNumber;
use super::congestion::Congestion;
use super::lazy_scoreboard::LazyScoreboard;
use super::rack::Rack;
use super::rate::RateSampler;
use super::recovery::Recovery;
use crate::time::Instant;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) scoreboard: LazyScoreboard,
    pub(super) rack: Rack,
    pub(super) rate: RateSampler,
    pub(super) recovery: Recovery,
}

impl Flight {
    pub(super) fn new(iss: SeqNumber, now: Instant, duplicate_threshold: u8) -> Flight {
        Flight {
            scoreboard: LazyScoreboard::default(),
            rack: Rack::new(iss, duplicate_threshold),
            rate: RateSampler::new(now),
            recovery: Recovery::new(iss),
        }
    }

    /// Marks the first segment as lost. Returns how many bytes that are.
    pub(super) fn mark_first_lost(&mut self, congestion: &mut Congestion) -> u32 {
        let mut bytes = 0;
        self.scoreboard.mark_first_lost(&mut |sent| {
            bytes += sent.len();
            congestion.on_lost(&self.rate.on_lost(sent.len(), &sent.stamp));
        });
        bytes
    }

    pub(super) fn mark_all_lost(&mut self, congestion: &mut Congestion) {
        self.scoreboard.mark_all_lost(&mut |sent| {
            congestion.on_lost(&self.rate.on_lost(sent.len(), &sent.stamp));
        });
    }

    /// Marks segments of more than `mss` bytes as lost, though not by congestion.
    pub(super) fn mark_oversized_lost(&mut self, mss: u16) {
        self.scoreboard.mark_oversized_lost(mss, &mut |sent| {
            let _not_congestion = self.rate.on_lost(sent.len(), &sent.stamp);
        });
    }

    /// RFC 8985 §6.2: marks as lost what RACK judges to be lost now. Returns how many bytes that
    /// are, and when to check again.
    pub(super) fn mark_overdue(
        &mut self,
        now: Instant,
        reordering_window: Duration,
        congestion: &mut Congestion,
    ) -> (u32, Option<Instant>) {
        let Flight { scoreboard, rack, rate, .. } = self;
        let mut bytes = 0;
        let next = scoreboard.mark_overdue(|sent| rack.judge(now, reordering_window, sent), &mut |sent| {
            bytes += sent.len();
            congestion.on_lost(&rate.on_lost(sent.len(), &sent.stamp));
        });
        (bytes, next)
    }
}
