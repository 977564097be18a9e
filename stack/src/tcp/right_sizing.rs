//! Dynamic right-sizing: the measurements with which the receive buffer follows what the program
//! reads in a round trip.

use core::time::Duration;

use super::SeqNumber;
use crate::time::Instant;

/// Where a receiver's round trip comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The peer's segment echoes a timestamp of ours.
    Timestamp,
    /// A whole window arrived. That takes at least a round trip, so only the shortest counts.
    Window,
}

/// What a receiver measures while data flows: how long a round trip takes, and how much the program
/// reads in one.
#[derive(Debug)]
pub(super) struct RightSizing {
    /// The round trip in nanoseconds; zero before there is one.
    pub(super) rtt: u64,
    /// The last of our timestamps that came back: each is used once.
    last_echo: u32,
    /// When all data before this has arrived, a whole window has been received since `turn_at`.
    turn: SeqNumber,
    turn_at: Instant,
    /// The most that the program has read in a round trip.
    space: u32,
    /// What the program had read at the start of this round trip.
    read_from: SeqNumber,
    measured_at: Instant,
}

impl RightSizing {
    pub(super) fn new(now: Instant, edge: SeqNumber, read_to: SeqNumber, space: u32) -> RightSizing {
        RightSizing {
            rtt: 0,
            last_echo: 0,
            turn: edge,
            turn_at: now,
            space,
            read_from: read_to,
            measured_at: now,
        }
    }

    /// The most that the program has read in a round trip.
    pub(super) fn space(&self) -> u32 {
        self.space
    }

    /// Whether this echo of our clock was not used yet.
    pub(super) fn is_new_echo(&mut self, echo: u32) -> bool {
        core::mem::replace(&mut self.last_echo, echo) != echo
    }

    /// Data has arrived in order up to `nxt`; the window now ends at `edge`.
    pub(super) fn on_data(&mut self, now: Instant, nxt: SeqNumber, edge: SeqNumber) {
        if nxt.before(self.turn) {
            return;
        }
        self.on_sample(now.duration_since(self.turn_at), Basis::Window);
        self.turn = edge;
        self.turn_at = now;
    }

    /// Linux's tcp_rcv_rtt_update.
    pub(super) fn on_sample(&mut self, rtt: Duration, basis: Basis) {
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.rtt = match basis {
            _ if self.rtt == 0 => rtt,
            Basis::Timestamp => self.rtt - self.rtt / 8 + rtt / 8,
            Basis::Window => self.rtt.min(rtt),
        };
    }

    /// The program has read everything before `read_to`, and `queued` bytes are unread. After each
    /// round trip in which the program read more than in any before, returns the window that the
    /// next ones need.
    pub(super) fn on_read(&mut self, now: Instant, read_to: SeqNumber, queued: u32) -> Option<u64> {
        let elapsed = now.as_nanos().saturating_sub(self.measured_at.as_nanos());
        if self.rtt == 0 || elapsed < self.rtt {
            return None;
        }
        // Unread data does not show that the window was too small.
        let read = (read_to - self.read_from).saturating_sub(queued);
        self.read_from = read_to;
        self.measured_at = now;
        if read <= self.space {
            return None;
        }
        let before = core::mem::replace(&mut self.space, read);
        Some(self.wanted(before))
    }

    /// The window needed: twice the data of a round trip, because the measurement is one round trip
    /// late. If the last round trip had more data than the one before, twice the growth is added,
    /// because the peer may be in slow start.
    pub(super) fn wanted(&self, before: u32) -> u64 {
        let (space, before) = (u64::from(self.space), u64::from(before.max(1)));
        let twice = 2 * space;
        let growth = twice.saturating_mul(space.saturating_sub(before)) / before;
        twice.saturating_add(growth.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests;
