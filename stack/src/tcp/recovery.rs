//! Episodes of loss recovery: duplicate acknowledgements, fast retransmit, and NewReno's way through several losses in
//! one window (RFC 5681 §3.2, RFC 6582). How many bytes may be in flight meanwhile is the business of
//! [`congestion`](super::congestion).

use super::SeqNumber;

/// RFC 5681 §3.2.
const DUPLICATE_ACK_THRESHOLD: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Fast recovery, until `recover` is acknowledged.
    FastRecovery,
}

/// What a duplicate acknowledgement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum OnDuplicate {
    /// It was counted: perhaps reordering.
    Counted,
    /// Recovery begins: retransmit the first segment.
    EnterRecovery,
    /// In recovery: one more segment has left the network.
    Inflate,
}

/// What an acknowledgement of new data means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum OnNewAck {
    Ordinary,
    /// In recovery, and not all is acknowledged that was in flight when it began: the next hole begins here.
    Partial,
    /// The end of recovery.
    Full,
}

#[derive(Clone, Debug)]
pub(super) struct Recovery {
    /// RFC 6582's `recover`, plus one: SND.NXT when recovery, or the last time-out, began.
    recover: SeqNumber,
    duplicates: u8,
    phase: Phase,
}

impl Recovery {
    pub(super) fn new(iss: SeqNumber) -> Recovery {
        Recovery { recover: iss, duplicates: 0, phase: Phase::Open }
    }

    pub(super) fn in_recovery(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Limited transmit (RFC 3042): the first two duplicates each allow one segment beyond the congestion window.
    pub(super) fn extra_segments(&self) -> u32 {
        match self.phase {
            Phase::Open => u32::from(self.duplicates.min(DUPLICATE_ACK_THRESHOLD - 1)),
            Phase::FastRecovery => 0,
        }
    }

    /// A duplicate acknowledgement of `una`. `has_sack`: it names data beyond a hole, so it cannot come from something
    /// that we sent twice.
    pub(super) fn on_duplicate(&mut self, una: SeqNumber, max: SeqNumber, has_sack: bool) -> OnDuplicate {
        if self.in_recovery() {
            return OnDuplicate::Inflate;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        // RFC 6582 §3.2 step 1: after a time-out, what was sent twice causes duplicate acknowledgements, too.
        let beyond_last_episode = una.after(self.recover) || (has_sack && una == self.recover);
        if self.duplicates < DUPLICATE_ACK_THRESHOLD || !beyond_last_episode {
            return OnDuplicate::Counted;
        }
        self.recover = max;
        self.phase = Phase::FastRecovery;
        OnDuplicate::EnterRecovery
    }

    /// New data was acknowledged, up to `ack`.
    pub(super) fn on_new_ack(&mut self, ack: SeqNumber) -> OnNewAck {
        self.duplicates = 0;
        match self.phase {
            Phase::Open => {
                // Kept near, so that it stays comparable however long the connection lasts.
                if ack.after(self.recover) {
                    self.recover = ack - 1;
                }
                OnNewAck::Ordinary
            }
            Phase::FastRecovery if ack.after_eq(self.recover) => {
                self.phase = Phase::Open;
                OnNewAck::Full
            }
            Phase::FastRecovery => OnNewAck::Partial,
        }
    }

    /// RFC 6582 §3.2 step 4: a time-out ends recovery, and none begins for what was sent before it.
    pub(super) fn on_timeout(&mut self, max: SeqNumber) {
        self.recover = max;
        self.duplicates = 0;
        self.phase = Phase::Open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISS: SeqNumber = SeqNumber(u32::MAX - 10);

    fn duplicates(recovery: &mut Recovery, una: SeqNumber, max: SeqNumber, count: usize) -> OnDuplicate {
        let mut last = OnDuplicate::Counted;
        for _ in 0..count {
            last = recovery.on_duplicate(una, max, false);
        }
        last
    }

    #[test]
    fn the_third_duplicate_begins_recovery_and_a_full_ack_ends_it() {
        let mut recovery = Recovery::new(ISS);
        let (una, max) = (ISS + 1, ISS + 10_001);
        assert_eq!(duplicates(&mut recovery, una, max, 2), OnDuplicate::Counted);
        assert_eq!(recovery.extra_segments(), 2);
        assert_eq!(duplicates(&mut recovery, una, max, 1), OnDuplicate::EnterRecovery);
        assert_eq!(recovery.extra_segments(), 0);
        assert_eq!(duplicates(&mut recovery, una, max, 1), OnDuplicate::Inflate);
        assert_eq!(recovery.on_new_ack(una + 1000), OnNewAck::Partial);
        assert_eq!(recovery.on_new_ack(una + 2000), OnNewAck::Partial);
        assert_eq!(recovery.on_new_ack(max), OnNewAck::Full);
        assert!(!recovery.in_recovery());
        assert_eq!(recovery.on_new_ack(max + 1), OnNewAck::Ordinary);
    }

    #[test]
    fn an_ack_of_new_data_starts_the_count_again() {
        let mut recovery = Recovery::new(ISS);
        assert_eq!(duplicates(&mut recovery, ISS + 1, ISS + 9000, 2), OnDuplicate::Counted);
        assert_eq!(recovery.on_new_ack(ISS + 1001), OnNewAck::Ordinary);
        assert_eq!(duplicates(&mut recovery, ISS + 1001, ISS + 9000, 2), OnDuplicate::Counted);
    }

    #[test]
    fn after_a_time_out_duplicates_of_what_was_sent_twice_begin_nothing() {
        let mut recovery = Recovery::new(ISS);
        let max = ISS + 10_001;
        recovery.on_timeout(max);
        assert_eq!(duplicates(&mut recovery, ISS + 5000, max, 9), OnDuplicate::Counted);
        assert_eq!(recovery.on_new_ack(max), OnNewAck::Ordinary);
        assert_eq!(duplicates(&mut recovery, max, max + 5000, 9), OnDuplicate::Counted);
        assert_eq!(recovery.on_duplicate(max, max + 5000, true), OnDuplicate::EnterRecovery);
    }
}
