//! Episodes: from the first sign of loss or congestion until everything is acknowledged that was in flight then, and the
//! ways in which one turns out to have been a mistake (RFC 3522, RFC 4015, RFC 5682, RFC 2883).
//!
//! What is lost is found by [`rack`](super::rack), how much may be in flight is said by
//! [`congestion`](super::congestion) and [`prr`](super::prr); here is when one episode ends and the next may begin.

use alloc::boxed::Box;

use super::SeqNumber;
pub(super) use super::congestion::Phase;
use super::prr::{Progress, Prr};
use super::rack::LossProbe;

/// Why something is sent again.
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
    /// Steps 1 and 2 (RFC5682-2.1-a): the first segment was repeated; what will the next acknowledgement say?
    Waiting,
    /// Step 2b (RFC5682-2.1-d): new data is sent instead of what counts as lost.
    Probing,
}

/// What an undone episode needs to be told from a real one.
#[derive(Clone, Copy, Debug)]
struct Undo {
    /// SND.UNA when the episode began (Linux's undo_marker).
    from: SeqNumber,
    /// Bytes that were sent again and that the peer has not reported as duplicates; none while nothing was sent again.
    unconfirmed: Option<u32>,
    /// Our timestamp clock at the first retransmission (RFC 3522).
    repeated_at: Option<u32>,
}

impl Undo {
    fn new(una: SeqNumber) -> Undo {
        Undo { from: una, unconfirmed: None, repeated_at: None }
    }
}

/// What belongs to an episode. It may outlive it: the proof that it was a mistake may come late.
#[derive(Clone, Debug, Default)]
struct Episode {
    undo: Option<Undo>,
    prr: Prr,
}

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    phase: Phase,
    /// Linux's high_seq: SND.NXT when the episode began. It ends when this is acknowledged.
    recover: SeqNumber,
    /// While one is under way, and afterwards as long as it may turn out to have been a mistake: most connections hardly
    /// ever have one.
    episode: Option<Box<Episode>>,
    pub(super) frto: Frto,
    /// Why what is lost is sent again.
    pub(super) cause: RepeatCause,
    pub(super) probe: Option<LossProbe>,
    /// Bytes that were sent again and that the peer has not reported as duplicates, in all episodes.
    unreported: u32,
    /// Without SACK: duplicate acknowledgements, and the bytes that they stand for (RFC 5681 §3.2; Linux's
    /// tcp_add_reno_sack).
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

    /// Whether the window is being taken down by [`Prr`].
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

    /// The window is to go down; losses are repaired or not. What a reduction that is under way has sent still counts.
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

    /// Everything in flight, or what is too large, counts as lost. Only a time-out can turn out to have been a mistake.
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

    /// What is lost went with a window that the peer has closed: that was no sign of congestion, and there is nothing to
    /// undo.
    pub(super) fn on_window_closed(&mut self) {
        self.frto = Frto::Off;
        self.episode = None;
    }

    /// The episode is over. What it sent again may still turn out to have been needless (Linux keeps undo_marker, too).
    pub(super) fn end(&mut self) {
        self.phase = Phase::Open;
        self.frto = Frto::Off;
        self.duplicates = 0;
        let may_undo = self.undo().is_some_and(|undo| undo.unconfirmed.is_some_and(|bytes| bytes > 0));
        if !may_undo {
            self.episode = None;
        }
    }

    /// The episode is over for good.
    pub(super) fn forget(&mut self) {
        self.episode = None;
        self.end();
    }

    /// What lies before SND.UNA need not be told apart any more, and is too old to be a mistake.
    pub(super) fn forget_before(&mut self, una: SeqNumber) {
        self.recover = self.recover.max(una - 1);
        if self.phase == Phase::Open {
            self.episode = None;
        }
    }

    /// Step 2b of F-RTO: what is sent from now on tells whether the time-out was spurious.
    pub(super) fn probe_with_new_data(&mut self, nxt: SeqNumber) {
        self.frto = Frto::Probing;
        self.recover = nxt;
    }

    /// Bytes were sent again.
    pub(super) fn on_repeated(&mut self, bytes: u32, clock: u32) {
        self.unreported = self.unreported.saturating_add(bytes);
        if let Some(undo) = self.episode.as_mut().and_then(|episode| episode.undo.as_mut()) {
            undo.unconfirmed = Some(undo.unconfirmed.unwrap_or(0).saturating_add(bytes));
            undo.repeated_at.get_or_insert(clock);
        }
    }

    /// The peer reports a duplicate (RFC 2883, RFC2883-5-c) of these numbers. Whether it can be one of ours: more than
    /// was sent again comes from the network, or is not true, and says nothing about reordering (Linux's
    /// tcp_dsack_seen).
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

    /// Our timestamp clock when the episode first sent something again.
    pub(super) fn repeated_at(&self) -> Option<u32> {
        self.undo().and_then(|undo| undo.repeated_at)
    }

    /// Whether there is an episode that can be undone at all.
    pub(super) fn may_undo(&self) -> bool {
        self.undo().is_some()
    }

    /// Whether all that was sent again was needless: the peer has had everything twice.
    pub(super) fn is_all_duplicate(&self) -> bool {
        self.undo().is_some_and(|undo| undo.unconfirmed == Some(0))
    }

    fn undo(&self) -> Option<Undo> {
        self.episode.as_ref()?.undo
    }

    /// Data goes out. It counts while the window is being taken down, or lost data repeated.
    pub(super) fn on_sent(&mut self, bytes: u32) {
        if let Some(episode) = &mut self.episode {
            episode.prr.on_sent(bytes);
        }
    }

    /// What [`Prr`] makes of the window.
    pub(super) fn reduced_cwnd(&mut self, progress: Progress, ssthresh: u32, mss: u32) -> u32 {
        self.episode.get_or_insert_default().prr.cwnd(progress, ssthresh, mss)
    }

    /// Without SACK, a duplicate acknowledgement: a segment has left the network. Whether the first segment is lost by now,
    /// with this DupThresh (RFC 5681 §3.2).
    pub(super) fn on_duplicate(&mut self, una: SeqNumber, mss: u32, in_flight: u32, threshold: u8) -> bool {
        self.duplicates = self.duplicates.saturating_add(1);
        self.duplicate_bytes = self.duplicate_bytes.saturating_add(mss).min(in_flight.saturating_sub(mss));
        // RFC 6582 §3.2 step 2 (RFC6582-3.2-b): what was sent twice causes duplicates, too.
        self.phase == Phase::Open && self.duplicates >= threshold && una.after(self.recover)
    }

    /// Without SACK: this much was acknowledged, one segment of which the duplicates did not stand for.
    pub(super) fn on_acked_without_sack(&mut self, acked: u32, mss: u32) {
        self.duplicates = 0;
        self.duplicate_bytes = self.duplicate_bytes.saturating_sub(acked.saturating_sub(mss));
    }

    pub(super) fn forget_duplicates(&mut self) {
        self.duplicates = 0;
        self.duplicate_bytes = 0;
    }

    /// Without SACK: bytes that have arrived behind a hole.
    pub(super) fn duplicate_bytes(&self) -> u32 {
        self.duplicate_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer may repeat itself more often than there are segments: what it has not is in flight all the same.
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
}
