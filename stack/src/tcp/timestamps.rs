//! Timestamps: our clock, TS.Recent and the protection against wrapped sequence numbers (RFC 7323
//! §3 to §5).

use core::time::Duration;

use super::syn_cookies::Remembered;
use super::{Header, SeqNumber, Timestamps};
use crate::time::Instant;

/// RFC 7323 §5.5 (RFC7323-5.5): after 24 days without a segment the peer's clock may have wrapped
/// halfway, and TS.Recent is no longer valid.
const OUTDATED_AFTER: Duration = Duration::from_secs(24 * 24 * 3600);

/// The result of the timestamp check of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum TimestampCheck {
    Fine,
    /// Older than TS.Recent (RFC 7323 §5.3, R1: RFC7323-5.3-a).
    Old,
}

/// How many ticks of the peer's clock a timestamp may lie behind TS.Recent on an open connection
/// (Linux's TCP_PAWS_WINDOW): a peer with several processors may send segments in another order
/// than that of their timestamps.
pub(super) const PAWS_WINDOW: u32 = 1;

/// The timestamps of one connection.
#[derive(Clone, Debug)]
pub(super) struct TimestampState {
    /// The offset that is added to the millisecond clock.
    pub(super) offset: u32,
    /// TS.Recent.
    recent: u32,
    /// When that was set; `None` without timestamps (Snd.TS.OK).
    recent_at: Option<Instant>,
}

impl TimestampState {
    /// The state before the peer's SYN.
    pub(super) fn new(offset: u32) -> TimestampState {
        TimestampState { offset, recent: 0, recent_at: None }
    }

    /// Restores the state from a TIME-WAIT record.
    pub(super) fn restored(enabled: bool, offset: u32, recent: u32, now: Instant) -> TimestampState {
        TimestampState { offset, recent, recent_at: enabled.then_some(now) }
    }

    /// Snd.TS.OK: whether both SYNs carried the option.
    #[inline]
    pub(super) fn is_enabled(&self) -> bool {
        self.recent_at.is_some()
    }

    /// The values for a TIME-WAIT record: whether timestamps were negotiated, and TS.Recent.
    pub(super) fn recent(&self) -> (bool, u32) {
        (self.is_enabled(), self.recent)
    }

    /// Takes the option of the peer's SYN, if it had one.
    pub(super) fn negotiate(&mut self, now: Instant, from_syn: Option<Timestamps>) {
        self.recent_at = from_syn.map(|_| now);
        if let Some(timestamps) = from_syn {
            self.recent = timestamps.value;
        }
    }

    /// The timestamp clock: milliseconds (RFC 7323 §5.4 wants 1 ms to 1 s: RFC7323-5.4), and the
    /// connection's offset.
    pub(super) fn clock(&self, now: Instant) -> u32 {
        // Only the low 32 bits: the clock wraps.
        (now.as_millis() as u32).wrapping_add(self.offset)
    }

    /// The option as our SYN offers it.
    pub(super) fn offer(&self, now: Instant) -> Timestamps {
        Timestamps { value: self.clock(now), echo: self.recent }
    }

    /// The option of every segment once timestamps are negotiated (RFC 7323 §3.2, RFC7323-3.2-b).
    pub(super) fn option(&self, now: Instant) -> Option<Timestamps> {
        self.is_enabled().then(|| self.offer(now))
    }

    /// The option of a SYN-ACK with a SYN cookie: the lowest bits of the clock encode `remembered`.
    pub(super) fn cookie_option(&self, now: Instant, remembered: Remembered) -> Option<Timestamps> {
        let value = remembered.into_clock(now.as_millis() as u32).wrapping_add(self.offset);
        self.is_enabled().then_some(Timestamps { value, echo: self.recent })
    }

    /// The options that are encoded in the peer's echo of that timestamp.
    pub(super) fn remembered(&self, returned: Option<Timestamps>) -> Remembered {
        returned.map_or(Remembered::NONE, |timestamps| {
            Remembered::from_clock(timestamps.echo.wrapping_sub(self.offset))
        })
    }

    /// RFC 7323 §5.3, R1; a reset is exempt (§5.2). A timestamp may be up to `window` ticks older
    /// than TS.Recent.
    ///
    /// A segment without the option passes, as on Linux: RFC 7323 §3.2 (RFC7323-3.2-c) would drop
    /// it, but there are middleboxes that strip the option. Such a segment has no protection
    /// against wrapped numbers.
    pub(super) fn check(&self, now: Instant, timestamps: Option<Timestamps>, window: u32) -> TimestampCheck {
        match timestamps {
            Some(timestamps)
                if self.is_enabled() && self.is_old(now, timestamps.value.wrapping_add(window)) =>
            {
                TimestampCheck::Old
            }
            _ => TimestampCheck::Fine,
        }
    }

    fn is_old(&self, now: Instant, value: u32) -> bool {
        // Some peers send zero in their SYN and their clock later; Linux's tcp_paws_check accepts
        // that, too.
        self.recent != 0
            && is_before(value, self.recent)
            && self.recent_at.is_some_and(|at| now.duration_since(at) <= OUTDATED_AFTER)
    }

    /// Whether `value` is later than TS.Recent: what RFC 6191 asks of a SYN that reopens a
    /// connection.
    pub(super) fn is_newer(&self, value: u32) -> bool {
        is_before(self.recent, value)
    }

    /// RFC 7323 §4.3 (2), RFC7323-4.3-a: an acceptable segment that begins at or before the last
    /// acknowledgement sent sets TS.Recent.
    pub(super) fn on_segment(&mut self, now: Instant, header: &Header, last_ack_sent: SeqNumber) {
        if let Some(timestamps) = header.options.timestamps
            && self.is_enabled()
            && header.seq.before_eq(last_ack_sent)
            && !self.is_old(now, timestamps.value)
        {
            self.recent = timestamps.value;
            self.recent_at = Some(now);
        }
    }

    /// Whether the echoed timestamp is earlier than `clock`. The echo is zero where there is
    /// nothing to echo.
    pub(super) fn echoes_before(&self, header: &Header, clock: u32) -> bool {
        let timestamps =
            header.options.timestamps.filter(|timestamps| self.is_enabled() && timestamps.echo != 0);
        timestamps.is_some_and(|timestamps| is_before(timestamps.echo, clock))
    }

    /// Whether the echoed timestamp is earlier than `at`.
    pub(super) fn echoes_earlier(&self, header: &Header, at: Instant) -> bool {
        self.echoes_before(header, self.clock(at))
    }

    /// The round trip from the echoed timestamp (RFC 7323 §4.1), at least a millisecond.
    pub(super) fn round_trip(&self, now: Instant, header: &Header) -> Option<Duration> {
        let timestamps = header.options.timestamps.filter(|_| self.is_enabled())?;
        let clock = self.clock(now);
        // Zero is sent when there is nothing to echo. A time in the future is not from us.
        if timestamps.echo == 0 || is_before(clock, timestamps.echo) {
            return None;
        }
        let millis = clock.wrapping_sub(timestamps.echo).max(1);
        Some(Duration::from_millis(u64::from(millis)))
    }
}

/// `a < b` on a clock that wraps.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u32, value: u32, echo: u32) -> Header {
        let mut header = Header { seq: SeqNumber(seq), ..Header::default() };
        header.options.timestamps = Some(Timestamps { value, echo });
        header
    }

    fn negotiated(recent: u32) -> TimestampState {
        let mut state = TimestampState::new(1000);
        state.negotiate(Instant::ZERO, Some(Timestamps { value: recent, echo: 0 }));
        state
    }

    fn check(state: &TimestampState, now: Instant, value: u32) -> TimestampCheck {
        state.check(now, Some(Timestamps { value, echo: 0 }), 0)
    }

    #[test]
    fn an_older_timestamp_is_refused_until_24_days_have_passed() {
        let state = negotiated(5000);
        assert_eq!(check(&state, Instant::ZERO, 4999), TimestampCheck::Old);
        assert_eq!(check(&state, Instant::ZERO, 5000), TimestampCheck::Fine);
        assert_eq!(check(&state, Instant::ZERO, 5001), TimestampCheck::Fine);
        assert_eq!(state.check(Instant::ZERO, None, 0), TimestampCheck::Fine);
        let with_window =
            |value| state.check(Instant::ZERO, Some(Timestamps { value, echo: 0 }), PAWS_WINDOW);
        assert_eq!(with_window(4999), TimestampCheck::Fine);
        assert_eq!(with_window(4998), TimestampCheck::Old);
        let later = Instant::ZERO + OUTDATED_AFTER + Duration::from_millis(1);
        assert_eq!(check(&state, later, 4999), TimestampCheck::Fine);
    }

    #[test]
    fn a_connection_without_timestamps_refuses_nothing() {
        let mut state = TimestampState::new(7);
        state.negotiate(Instant::ZERO, None);
        assert_eq!(check(&state, Instant::ZERO, 0), TimestampCheck::Fine);
        assert_eq!(state.check(Instant::ZERO, None, 0), TimestampCheck::Fine);
        assert_eq!(state.option(Instant::ZERO), None);
    }

    #[test]
    fn a_syn_with_timestamp_zero_does_not_shut_the_peer_out() {
        let state = negotiated(0);
        assert_eq!(check(&state, Instant::ZERO, 0x9000_0000), TimestampCheck::Fine);
    }

    #[test]
    fn ts_recent_is_taken_only_from_what_was_next_to_be_acknowledged() {
        let mut state = negotiated(100);
        state.on_segment(Instant::ZERO, &segment(501, 200, 0), SeqNumber(500));
        assert_eq!(state.offer(Instant::ZERO).echo, 100);
        state.on_segment(Instant::ZERO, &segment(500, 200, 0), SeqNumber(500));
        assert_eq!(state.offer(Instant::ZERO).echo, 200);
        state.on_segment(Instant::ZERO, &segment(400, 150, 0), SeqNumber(500));
        assert_eq!(state.offer(Instant::ZERO).echo, 200);
    }

    #[test]
    fn a_round_trip_is_measured_across_the_wrap_and_not_from_nonsense() {
        let mut state = TimestampState::new(u32::MAX - 9);
        state.negotiate(Instant::ZERO, Some(Timestamps { value: 1, echo: 0 }));
        let sent_at = Instant::from_millis(5);
        let echo = state.clock(sent_at);
        let now = Instant::from_millis(45);
        assert_eq!(state.round_trip(now, &segment(0, 2, echo)), Some(Duration::from_millis(40)));
        assert_eq!(state.round_trip(now, &segment(0, 2, 0)), None);
        let future = state.clock(Instant::from_millis(46));
        assert_eq!(state.round_trip(now, &segment(0, 2, future)), None);
    }
}
