//! Episodes: from the first sign of loss or congestion until everything is acknowledged that was in
//! flight then, and the detection of spurious ones (RFC 3522, RFC 4015, RFC 5682, RFC 2883).
//!
//! [`rack`](super::rack) detects losses, and [`congestion`](super::congestion) and
//! [`prr`](super::prr) set how much may be in flight. This module decides when one episode ends and
//! the next may begin.

use alloc::boxed::Box;

use super::SeqNumber;
pub(super) use super::congestion::Phase;
use super::prr::{Progress, Prr};
use super::rack::LossProbe;

/// Why data is retransmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepeatCause {
    FastRetransmit,
    Timeout,
    LossProbe,
    /// The path takes only smaller packets.
    PathMtu,
}

/// Where F-RTO stands (RFC 5682 §3.1, with SACK as in Linux's tcp_process_loss).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frto {
    /// The time-out counts as real.
    Off,
    /// Steps 1 and 2 (RFC5682-2.1-a): the first segment was retransmitted, and the next
    /// acknowledgement decides.
    Waiting,
    /// Step 2b (RFC5682-2.1-d): new data is sent instead of retransmissions.
    Probing,
}

/// The state for the detection of a spurious episode.
#[derive(Clone, Copy, Debug)]
struct Undo {
    /// SND.UNA when the episode began (Linux's undo_marker).
    from: SeqNumber,
    /// Retransmitted bytes that no D-SACK has reported yet; `None` before the first retransmission.
    unconfirmed: Option<u32>,
    /// Our timestamp clock at the first retransmission (RFC 3522).
    repeated_at: Option<u32>,
}

impl Undo {
    fn new(una: SeqNumber) -> Undo {
        Undo { from: una, unconfirmed: None, repeated_at: None }
    }
}

/// The state of an episode. It may outlive the episode, since the proof that it was spurious may
/// arrive late.
#[derive(Clone, Debug, Default)]
struct Episode {
    undo: Option<Undo>,
    prr: Prr,
}

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    phase: Phase,
    /// Linux's high_seq: SND.NXT when the episode began. The episode ends when this is
    /// acknowledged.
    recover: SeqNumber,
    /// Present during an episode, and afterwards while it may still prove spurious. Most
    /// connections rarely have one.
    episode: Option<Box<Episode>>,
    pub(super) frto: Frto,
    /// Why lost data is retransmitted.
    pub(super) cause: RepeatCause,
    pub(super) probe: Option<LossProbe>,
    /// Retransmitted bytes that no D-SACK has reported, over all episodes.
    unreported: u32,
    /// Without SACK: the number of duplicate ACKs, and the bytes that they stand for (RFC 5681
    /// §3.2; Linux's tcp_add_reno_sack).
    duplicates: u8,
    duplicate_bytes: u32,
}

impl Recovery {
    pub(super) fn new(iss: SeqNumber) -> Recovery {
        Recovery {
            phase: Phase::Open,
            recover: iss,
            episode: None,
            frto: Frto::Off,
            cause: RepeatCause::FastRetransmit,
            probe: None,
            unreported: 0,
            duplicates: 0,
            duplicate_bytes: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether losses are being repaired.
    pub(super) fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Recovery | Phase::Loss)
    }

    /// Whether [`Prr`] is reducing the window.
    pub(super) fn is_reducing(&self) -> bool {
        matches!(self.phase, Phase::Recovery | Phase::Cwr)
    }

    /// Whether everything is acknowledged that was in flight when the episode began.
    pub(super) fn is_over_at(&self, una: SeqNumber) -> bool {
        una.after_eq(self.recover)
    }

    /// SND.NXT when the episode began.
    pub(super) fn recover(&self) -> SeqNumber {
        self.recover
    }

    /// Begins a reduction of the window, with or without losses to repair. Bytes sent during a
    /// reduction in progress still count.
    pub(super) fn enter_reduction(&mut self, phase: Phase, una: SeqNumber, nxt: SeqNumber, cwnd: u32) {
        let goes_on = self.is_reducing();
        let episode = self.episode.get_or_insert_default();
        if !goes_on {
            episode.prr = Prr::new(cwnd);
        }
        episode.undo = (phase == Phase::Recovery).then_some(Undo::new(una));
        self.phase = phase;
        self.recover = nxt;
        self.cause = RepeatCause::FastRetransmit;
    }

    /// Enters Loss: everything in flight, or what is too large for the path, counts as lost. Only a
    /// time-out can prove spurious.
    pub(super) fn enter_loss(&mut self, una: SeqNumber, nxt: SeqNumber, cause: RepeatCause) {
        let is_new = !self.is_repairing() || self.is_over_at(una);
        if is_new {
            let undo = (cause == RepeatCause::Timeout).then(|| Undo::new(una));
            self.episode.get_or_insert_default().undo = undo;
        }
        self.phase = Phase::Loss;
        self.recover = nxt;
        self.cause = cause;
        self.frto = if cause == RepeatCause::Timeout { Frto::Waiting } else { Frto::Off };
        self.probe = None;
        self.forget_duplicates();
    }

    /// The lost data exceeded a window that the peer had closed. That is no sign of congestion, and
    /// there is nothing to undo.
    pub(super) fn on_window_closed(&mut self) {
        self.frto = Frto::Off;
        self.episode = None;
    }

    /// Ends the episode. Its retransmissions may still prove needless (Linux keeps undo_marker,
    /// too).
    pub(super) fn end(&mut self) {
        self.phase = Phase::Open;
        self.frto = Frto::Off;
        self.duplicates = 0;
        let may_undo = self.undo().is_some_and(|undo| undo.unconfirmed.is_some_and(|bytes| bytes > 0));
        if !may_undo {
            self.episode = None;
        }
    }

    /// Ends the episode, which can no longer be undone.
    pub(super) fn forget(&mut self) {
        self.episode = None;
        self.end();
    }

    /// Moves stored sequence numbers up to SND.UNA, and drops an episode too old to be undone.
    pub(super) fn forget_before(&mut self, una: SeqNumber) {
        self.recover = self.recover.max(una - 1);
        if self.phase == Phase::Open {
            self.episode = None;
        }
    }

    /// Step 2b of F-RTO: data sent from now on shows whether the time-out was spurious.
    pub(super) fn probe_with_new_data(&mut self, nxt: SeqNumber) {
        self.frto = Frto::Probing;
        self.recover = nxt;
    }

    /// Counts retransmitted bytes.
    pub(super) fn on_repeated(&mut self, bytes: u32, clock: u32) {
        self.unreported = self.unreported.saturating_add(bytes);
        if let Some(undo) = self.episode.as_mut().and_then(|episode| episode.undo.as_mut()) {
            undo.unconfirmed = Some(undo.unconfirmed.unwrap_or(0).saturating_add(bytes));
            undo.repeated_at.get_or_insert(clock);
        }
    }

    /// Processes a D-SACK for these numbers (RFC 2883, RFC2883-5-c). Returns whether one of our
    /// retransmissions can be the cause: more duplicates than retransmissions come from the network
    /// or a lying peer, and say nothing about reordering (Linux's tcp_dsack_seen).
    pub(super) fn on_dsack(&mut self, left: SeqNumber, right: SeqNumber) -> bool {
        if self.unreported == 0 {
            return false;
        }
        self.unreported = self.unreported.saturating_sub(right - left);
        if let Some(episode) = &mut self.episode
            && let Some(Undo { from, unconfirmed: Some(unconfirmed), .. }) = &mut episode.undo
            && right.after(*from)
        {
            *unconfirmed = unconfirmed.saturating_sub(right - left);
        }
        true
    }

    /// Our timestamp clock at the episode's first retransmission.
    pub(super) fn repeated_at(&self) -> Option<u32> {
        self.undo().and_then(|undo| undo.repeated_at)
    }

    /// Whether there is an episode that can be undone at all.
    pub(super) fn may_undo(&self) -> bool {
        self.undo().is_some()
    }

    /// Whether each retransmission was needless: D-SACKs have reported them all.
    pub(super) fn is_all_duplicate(&self) -> bool {
        self.undo().is_some_and(|undo| undo.unconfirmed == Some(0))
    }

    fn undo(&self) -> Option<Undo> {
        self.episode.as_ref()?.undo
    }

    /// Counts sent data while the window is being reduced or losses are repaired.
    pub(super) fn on_sent(&mut self, bytes: u32) {
        if let Some(episode) = &mut self.episode {
            episode.prr.on_sent(bytes);
        }
    }

    /// The window that [`Prr`] computes.
    pub(super) fn reduced_cwnd(&mut self, progress: Progress, ssthresh: u32, mss: u32) -> u32 {
        self.episode.get_or_insert_default().prr.cwnd(progress, ssthresh, mss)
    }

    /// Without SACK, counts a duplicate ACK: a segment has left the network. Returns whether the
    /// first segment counts as lost with this DupThresh (RFC 5681 §3.2).
    pub(super) fn on_duplicate(&mut self, una: SeqNumber, mss: u32, in_flight: u32, threshold: u8) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        self.duplicate_bytes = self.duplicate_bytes.saturating_add(mss).min(in_flight.saturating_sub(mss));
        // RFC 6582 §3.2 step 2 (RFC6582-3.2-b): retransmitted data causes duplicate ACKs, too.
        self.phase == Phase::Open && self.duplicates >= threshold && una.after(self.recover)
    }

    /// Without SACK: this many bytes were acknowledged, including one segment that the duplicate
    /// ACKs did not stand for.
    pub(super) fn on_acked_without_sack(&mut self, acked: u32, mss: u32) {
        self.duplicates = 0;
        self.duplicate_bytes = self.duplicate_bytes.saturating_sub(acked.saturating_sub(mss));
    }

    pub(super) fn forget_duplicates(&mut self) {
        self.duplicates = 0;
        self.duplicate_bytes = 0;
    }

    /// Without SACK: the bytes that have arrived behind a hole.
    pub(super) fn duplicate_bytes(&self) -> u32 {
        self.duplicate_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer may send more duplicate ACKs than there are segments in flight.
    #[test]
    fn duplicates_stand_for_all_but_the_first_segment() {
        let mut recovery = Recovery::new(SeqNumber(0));
        for expected in [1000, 2000, 2000, 2000] {
            let _ = recovery.on_duplicate(SeqNumber(1), 1000, 3000, 3);
            assert_eq!(recovery.duplicate_bytes(), expected);
        }
        let _ = recovery.on_duplicate(SeqNumber(1), 1000, 500, 3);
        assert_eq!(recovery.duplicate_bytes(), 0, "less than a segment is in flight");
    }

    /// A time-out in Cwr can be undone like any other. A second time-out for the same data keeps
    /// the count of retransmitted bytes.
    #[test]
    fn each_episode_of_losses_has_one_undo() {
        let (una, nxt) = (SeqNumber(1), SeqNumber(5001));
        let mut recovery = Recovery::new(SeqNumber(0));
        recovery.enter_reduction(Phase::Cwr, una, nxt, 10_000);
        assert!(recovery.undo().is_none());
        recovery.enter_loss(una, nxt, RepeatCause::Timeout);
        recovery.on_repeated(1000, 7);
        let unconfirmed = |recovery: &Recovery| recovery.undo().and_then(|undo| undo.unconfirmed);
        assert_eq!(unconfirmed(&recovery), Some(1000));
        recovery.enter_loss(una, nxt, RepeatCause::Timeout);
        assert_eq!(unconfirmed(&recovery), Some(1000));
        recovery.enter_loss(nxt, nxt + 1000, RepeatCause::Timeout);
        assert!(recovery.undo().is_some() && unconfirmed(&recovery).is_none());
        recovery.enter_loss(nxt + 1000, nxt + 2000, RepeatCause::PathMtu);
        assert!(recovery.undo().is_none(), "the path has told the size");
    }

    /// RFC 4015 §3.2, RFC 3708 §4: an episode can be undone as long as D-SACKs have not reported
    /// all of its retransmissions, also after its end; and only after a time-out or an inferred
    /// loss.
    #[test]
    fn an_episode_can_be_undone_while_something_of_it_is_unconfirmed() {
        let (una, nxt) = (SeqNumber(1), SeqNumber(5001));
        let timed_out = || {
            let mut recovery = Recovery::new(SeqNumber(0));
            recovery.enter_loss(una, nxt, RepeatCause::Timeout);
            recovery
        };
        let recovery = timed_out();
        assert!(recovery.may_undo() && !recovery.is_all_duplicate(), "nothing was sent again yet");
        let mut recovery = timed_out();
        recovery.end();
        assert!(!recovery.may_undo(), "nothing was sent again");
        let mut recovery = timed_out();
        recovery.on_repeated(2000, 7);
        assert!(recovery.on_dsack(SeqNumber(1), SeqNumber(1001)) && !recovery.is_all_duplicate());
        recovery.end();
        assert!(recovery.may_undo() && recovery.repeated_at() == Some(7));
        assert!(recovery.on_dsack(SeqNumber(1001), SeqNumber(2001)) && recovery.is_all_duplicate());
        recovery.end();
        assert!(!recovery.may_undo(), "all of it is reported");
        let mut recovery = Recovery::new(SeqNumber(0));
        assert!(!recovery.may_undo());
        recovery.enter_loss(una, nxt, RepeatCause::PathMtu);
        assert!(!recovery.may_undo(), "the path takes no larger packets");
        let mut recovery = timed_out();
        recovery.on_window_closed();
        assert!(!recovery.may_undo());
        let mut recovery = Recovery::new(SeqNumber(0));
        for (phase, may_undo) in [(Phase::Recovery, true), (Phase::Cwr, false)] {
            recovery.enter_reduction(phase, una, nxt, 10_000);
            assert_eq!(recovery.may_undo(), may_undo);
        }
    }
}
