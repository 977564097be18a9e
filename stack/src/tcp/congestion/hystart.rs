//! HyStart++ (RFC 9406): slow start ends when round trips become longer, before the queue at the
//! bottleneck overflows.
//!
//! A longer round trip may mean that a queue is growing, or it may be noise. So slow start goes on
//! at a quarter of its pace for some rounds (conservative slow start, CSS), and returns to its full
//! pace if the delay goes away.

use core::num::NonZeroU32;
use core::time::Duration;

use super::ack::Ack;
use super::window::CongestionWindow;
use crate::tcp::SeqNumber;

/// RFC 9406 §4.3 (RFC9406-4.3-a), for all of these.
const MIN_RTT_THRESH: u32 = 4_000;
const MAX_RTT_THRESH: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// No measurement.
const INFINITE: u32 = u32::MAX;

/// Whether slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum SlowStart {
    GoesOn,
    /// The path is full: ssthresh becomes the current cwnd.
    Ends,
}

/// The state of conservative slow start.
#[derive(Clone, Debug)]
struct Conservative {
    /// The round trip, in µs, that started CSS.
    baseline_min_rtt: NonZeroU32,
    rounds: u8,
    /// Delivered bytes that are too few for another byte of growth.
    remainder: u8,
}

/// The state of a connection's first slow start, in which ssthresh was never set (RFC 9406 §4.3).
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// Where the round ends; `None` before the first acknowledgement.
    window_end: Option<SeqNumber>,
    /// In µs.
    last_round_min_rtt: u32,
    current_round_min_rtt: u32,
    rtt_sample_count: u8,
    css: Option<Conservative>,
}

impl HyStart {
    pub(super) fn new() -> HyStart {
        HyStart {
            window_end: None,
            last_round_min_rtt: INFINITE,
            current_round_min_rtt: INFINITE,
            rtt_sample_count: 0,
            css: None,
        }
    }

    /// An acknowledgement in slow start: cwnd grows if it is in use; the round trip is checked in
    /// any case (RFC9406-4.2-a for the rounds, RFC9406-4.2-f for the end).
    pub(super) fn on_ack(
        &mut self,
        window: &mut CongestionWindow,
        ack: &Ack,
        cwnd_limited: bool,
    ) -> SlowStart {
        if cwnd_limited {
            self.grow(window, ack.delivered_bytes);
        }
        if let Some(rtt) = ack.rtt {
            self.on_rtt(rtt);
        }
        let is_round_over = self.window_end.is_none_or(|end| ack.una.after_eq(end));
        if !is_round_over {
            return SlowStart::GoesOn;
        }
        self.window_end = Some(ack.nxt);
        self.last_round_min_rtt = self.current_round_min_rtt;
        self.current_round_min_rtt = INFINITE;
        self.rtt_sample_count = 0;
        match &mut self.css {
            Some(css) => {
                css.rounds += 1;
                if css.rounds >= CSS_ROUNDS { SlowStart::Ends } else { SlowStart::GoesOn }
            }
            None => SlowStart::GoesOn,
        }
    }

    /// RFC 9406 §4.2 (RFC9406-4.2-d), with L infinite (RFC9406-4.2-b) as on Linux, paced or not: a
    /// receiver that gathers 64 KiB into one acknowledgement would never let a window of L segments
    /// an ACK grow.
    fn grow(&mut self, window: &mut CongestionWindow, delivered_bytes: u32) {
        match &mut self.css {
            None => {
                let _none_left = window.slow_start(delivered_bytes);
            }
            Some(css) => {
                let delivered = delivered_bytes.saturating_add(u32::from(css.remainder));
                css.remainder = (delivered % CSS_GROWTH_DIVISOR) as u8;
                window.grow(delivered / CSS_GROWTH_DIVISOR);
            }
        }
    }

    /// RFC9406-4.2-c and RFC9406-4.2-e.
    fn on_rtt(&mut self, rtt: Duration) {
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(INFINITE - 1);
        self.current_round_min_rtt = self.current_round_min_rtt.min(rtt);
        self.rtt_sample_count = self.rtt_sample_count.saturating_add(1);
        if self.rtt_sample_count < N_RTT_SAMPLE || self.last_round_min_rtt == INFINITE {
            return;
        }
        match &self.css {
            None => {
                let thresh =
                    (self.last_round_min_rtt / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                if self.current_round_min_rtt >= self.last_round_min_rtt.saturating_add(thresh) {
                    let baseline_min_rtt =
                        NonZeroU32::new(self.current_round_min_rtt).unwrap_or(NonZeroU32::MIN);
                    self.css = Some(Conservative { baseline_min_rtt, rounds: 0, remainder: 0 });
                }
            }
            Some(css) => {
                if self.current_round_min_rtt < css.baseline_min_rtt.get() {
                    self.css = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
