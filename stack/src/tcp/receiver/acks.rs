//! When an acknowledgement is sent.

use core::time::Duration;

use crate::time::Instant;

/// The assumed size of the peer's segments before any has arrived (Linux's TCP_MSS_DEFAULT). With a
/// larger value, small segments would be acknowledged late.
const SMALLEST_USUAL_MSS: u16 = 536;

/// What to do with the delayed-ACK timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::tcp) enum AckTimer {
    Leave,
    Arm,
}

/// When an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckDue {
    /// Nothing to acknowledge.
    No,
    /// When the delayed-ACK timer fires, or with the next segment.
    Later,
    Now,
    /// At once, and with a closed window, because data was refused for lack of memory.
    Refusal,
}

/// Decides when an acknowledgement is sent (Linux's icsk_ack).
#[derive(Debug)]
pub(in crate::tcp) struct AckPolicy {
    due: AckDue,
    /// Acknowledgements still to be sent for out-of-order segments: one for each, so that the peer
    /// can count them.
    duplicates_owed: u8,
    /// How many more segments are acknowledged at once.
    quick_acks: u8,
    /// How many full segments have come since the program began its last question or answer.
    full_segs: u8,
    /// The largest segment seen: the size of a full segment, of which every second is acknowledged.
    mss: u16,
    announced_mss: u16,
    last_data_at: Instant,
    /// No challenge ACK is sent before this time.
    next_challenge_at: Instant,
}

impl AckPolicy {
    pub(super) fn new(announced_mss: u16, quick_acks: u8) -> AckPolicy {
        AckPolicy {
            due: AckDue::No,
            duplicates_owed: 0,
            quick_acks,
            full_segs: 0,
            mss: announced_mss.min(SMALLEST_USUAL_MSS),
            announced_mss,
            last_data_at: Instant::ZERO,
            next_challenge_at: Instant::ZERO,
        }
    }

    /// The MSS that we announced.
    pub(super) fn announced_mss(&self) -> u16 {
        self.announced_mss
    }

    /// The largest payload that has arrived.
    pub(in crate::tcp) fn mss(&self) -> u16 {
        self.mss
    }

    /// When data last arrived; [`Instant::ZERO`] if none has.
    pub(in crate::tcp) fn last_data_at(&self) -> Instant {
        self.last_data_at
    }

    /// Whether a segment is as large as the largest before it.
    pub(in crate::tcp) fn is_full(&self, len: usize) -> bool {
        len >= usize::from(self.mss)
    }

    /// Full segments have arrived. Returns how many have come since the program began its last
    /// question or answer, at most 255.
    pub(super) fn note_full_segments(&mut self, segs: u32) -> u8 {
        self.full_segs = self.full_segs.saturating_add(u8::try_from(segs).unwrap_or(u8::MAX));
        self.full_segs
    }

    /// The program sends data, and the peer has acknowledged all that went before.
    pub(in crate::tcp) fn on_turn(&mut self) {
        self.full_segs = 0;
    }

    /// A segment with `len` bytes of data has arrived. The largest is taken for the peer's MSS.
    pub(in crate::tcp) fn note_segment(&mut self, now: Instant, len: usize) {
        self.last_data_at = now;
        self.mss = self.mss.max(u16::try_from(len).unwrap_or(u16::MAX)).min(self.announced_mss.max(1));
    }

    /// Whether a challenge ACK may be sent now; if so, it counts as sent. The rate is limited (RFC
    /// 5961 §7, RFC5961-7-a), which also ends loops in which two ends answer each other's
    /// challenges.
    pub(in crate::tcp) fn may_challenge(&mut self, now: Instant, interval: Duration) -> bool {
        let is_due = now >= self.next_challenge_at;
        if is_due {
            self.next_challenge_at = now + interval;
        }
        is_due
    }

    /// No challenge ACK is sent before this time.
    pub(in crate::tcp) fn next_challenge_at(&self) -> Instant {
        self.next_challenge_at
    }

    pub(in crate::tcp) fn set_next_challenge_at(&mut self, at: Instant) {
        self.next_challenge_at = at;
    }

    /// An acknowledgement is due now, and at once for each of the next segments (Linux's
    /// tcp_enter_quickack_mode).
    pub(in crate::tcp) fn acknowledge_quickly(&mut self, segments: u8) {
        self.quick_acks = self.quick_acks.max(segments);
        self.acknowledge_now();
    }

    /// A segment did not move RCV.NXT: it gets a duplicate acknowledgement at once (RFC 5681 §4.2,
    /// MAY-13).
    pub(in crate::tcp) fn owe_duplicate(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_add(1);
    }

    /// A segment was refused for lack of memory: the acknowledgements for its batch announce a
    /// closed window.
    pub(super) fn refuse(&mut self) {
        self.due = AckDue::Refusal;
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.due == AckDue::Refusal
    }

    pub(in crate::tcp) fn acknowledge_now(&mut self) {
        self.due = AckDue::Now;
    }

    /// If the peer was silent for longer than an RTO, acknowledges at once again, as after the
    /// handshake: the peer may be in slow start.
    pub(in crate::tcp) fn renew_quick_acks(
        &mut self,
        now: Instant,
        rto: impl FnOnce() -> Duration,
        quick_acks: u8,
    ) {
        // Within a batch of segments no time passes, and the RTO is not computed.
        if now > self.last_data_at && now.duration_since(self.last_data_at) > rto() {
            self.quick_acks = quick_acks;
        }
    }

    /// TCP_QUICKACK: how many segments are acknowledged at once from now on.
    pub(in crate::tcp) fn set_quick_acks(&mut self, quick_acks: u8) {
        self.quick_acks = quick_acks;
        if quick_acks > 0 && self.due == AckDue::Later {
            self.due = AckDue::Now;
        }
    }

    /// TCP_QUICKACK: whether the next segment is acknowledged at once.
    pub(in crate::tcp) fn is_quick(&self) -> bool {
        self.quick_acks > 0
    }

    /// Data is sent. If it follows received data within a short time, it is probably a response,
    /// and later acknowledgements can be piggybacked on responses.
    pub(in crate::tcp) fn on_data_sent(&mut self, now: Instant, delayed_ack: Duration) {
        if self.quick_acks > 0 && now.duration_since(self.last_data_at) < delayed_ack {
            self.quick_acks = 0;
        }
    }

    pub(in crate::tcp) fn is_due_now(&self) -> bool {
        matches!(self.due, AckDue::Now | AckDue::Refusal) || self.duplicates_owed > 0
    }

    /// An acknowledgement without data is sent, which the peer can count as a duplicate.
    pub(in crate::tcp) fn on_pure_ack_sent(&mut self) {
        self.duplicates_owed = self.duplicates_owed.saturating_sub(1);
    }

    /// RFC 9293 §3.8.6.3 (SHLD-18, SHLD-19) and §3.10.7.4 (MUST-58, MUST-59): after data in order.
    /// An acknowledgement is sent after the current batch of segments, if more than one full
    /// segment is unacknowledged, at the start of the connection (for the peer's slow start), and
    /// while there are gaps or when one was just filled (RFC 5681 §4.2). Otherwise it is sent when
    /// the delayed-ACK timer fires (MUST-40: less than half a second).
    pub(super) fn on_in_order(
        &mut self,
        unacknowledged: u32,
        has_gap: bool,
        is_fin_received: bool,
    ) -> AckTimer {
        if is_fin_received {
            // The program's own FIN may carry the acknowledgement (Linux's pingpong mode).
            self.quick_acks = 0;
        }
        if self.quick_acks > 0 {
            self.quick_acks -= 1;
            self.due = AckDue::Now;
        }
        if unacknowledged > u32::from(self.mss) || has_gap {
            self.due = AckDue::Now;
        }
        match self.due {
            AckDue::Now | AckDue::Later | AckDue::Refusal => AckTimer::Leave,
            AckDue::No => {
                self.due = AckDue::Later;
                AckTimer::Arm
            }
        }
    }

    /// A segment that acknowledges everything is sent.
    pub(super) fn on_ack_sent(&mut self) {
        if self.due != AckDue::Refusal || self.duplicates_owed == 0 {
            self.due = AckDue::No;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Linux's tcp_event_data_sent: an answer within the time that an acknowledgement would wait.
    #[test]
    fn an_answer_that_comes_in_time_makes_a_dialogue() {
        for (after, is_dialogue) in [(0, true), (39, true), (40, false), (41, false)] {
            let mut acks = AckPolicy::new(1460, 8);
            acks.note_segment(Instant::from_secs(9), 100);
            acks.on_data_sent(Instant::from_secs(9) + millis(after), millis(40));
            assert_eq!(acks.is_quick(), !is_dialogue, "{after} ms");
        }
    }

    /// TCP_QUICKACK: what waits goes out when it is switched on, and goes on waiting when it is
    /// switched off.
    #[test]
    fn only_quick_acknowledgements_send_what_waits() {
        for (quick_acks, is_due) in [(0, false), (1, true), (8, true)] {
            let mut acks = AckPolicy::new(1460, 0);
            assert_eq!(acks.on_in_order(100, false, false), AckTimer::Arm);
            acks.set_quick_acks(quick_acks);
            assert_eq!((acks.is_due_now(), acks.is_quick()), (is_due, is_due), "{quick_acks}");
            // Nothing is due that was not owed.
            let mut acks = AckPolicy::new(1460, 0);
            acks.set_quick_acks(quick_acks);
            assert!(!acks.is_due_now());
        }
    }

    /// Linux's tcp_event_data_recv.
    #[test]
    fn a_silence_of_more_than_an_rto_makes_a_new_start() {
        for (after, is_new) in [(0, false), (199, false), (200, false), (201, true)] {
            let mut acks = AckPolicy::new(1460, 0);
            acks.note_segment(Instant::from_secs(9), 100);
            acks.renew_quick_acks(Instant::from_secs(9) + millis(after), || millis(200), 8);
            assert_eq!(acks.is_quick(), is_new, "{after} ms");
        }
    }
}
