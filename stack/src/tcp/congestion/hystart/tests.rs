//! RFC 9406, section by section.

use super::super::tests::ack;
use super::*;
use crate::tcp::congestion::{Control, Trigger, cubic::Cubic};
use crate::time::Instant;

const MSS: u32 = 1000;

/// A slow start whose acknowledgements come one segment at a time.
struct Start {
    hystart: HyStart,
    window: CongestionWindow,
    una: u32,
    has_ended: bool,
}

impl Start {
    fn new() -> Start {
        Start { hystart: HyStart::new(), window: CongestionWindow::new(MSS, 10), una: 0, has_ended: false }
    }

    /// One round trip, in which the whole window is acknowledged. Returns by how many segments cwnd
    /// grew.
    fn round(&mut self, rtt_micros: u64) -> u32 {
        let before = self.window.cwnd;
        let end = self.una + before;
        while self.una < end {
            self.una += MSS;
            let mut ack = ack(Instant::ZERO, self.una, MSS);
            ack.rtt = Some(Duration::from_micros(rtt_micros));
            ack.nxt = SeqNumber(end + (self.window.cwnd - before));
            self.has_ended |= self.hystart.on_ack(&mut self.window, &ack, true) == SlowStart::Ends;
        }
        (self.window.cwnd - before) / MSS
    }
}

/// RFC9406-4.2-a, RFC9406-4.2-c, RFC9406-4.2-d.
#[test]
fn a_longer_round_trip_slows_slow_start_down() {
    let mut start = Start::new();
    assert_eq!(start.round(50_000), 10);
    assert_eq!(start.round(50_000), 20);
    // 6.25 ms longer: cwnd grows by a quarter from the eighth sample of the round on.
    let growth = start.round(56_300);
    assert!((10..30).contains(&growth), "{growth}");
    let segs = start.window.cwnd / MSS;
    let growth = start.round(56_300);
    assert!(growth.abs_diff(segs / 4) <= 1, "{growth} of {segs}");
}

/// RFC9406-4.2-c, RFC9406-4.3-a.
#[test]
fn the_threshold_is_an_eighth_between_four_and_sixteen_milliseconds() {
    for (rtt, longer, shorter) in [(1_000, 4_001, 3_900), (80_000, 10_001, 9_900), (400_000, 16_001, 15_900)]
    {
        for (more, is_slowed) in [(longer, true), (shorter, false)] {
            let mut start = Start::new();
            start.round(rtt);
            start.round(rtt);
            start.round(rtt + more);
            assert_eq!(start.hystart.css.is_some(), is_slowed, "{rtt} + {more}");
        }
    }
    // Seven samples are not enough.
    let mut start = Start::new();
    start.round(50_000);
    for una in 1..=7 {
        start.hystart.on_rtt(Duration::from_millis(90));
        assert!(start.hystart.css.is_none(), "{una}");
    }
    start.hystart.on_rtt(Duration::from_millis(90));
    assert!(start.hystart.css.is_some());
}

/// RFC9406-4.2-e.
#[test]
fn a_delay_that_goes_away_brings_slow_start_back() {
    let mut start = Start::new();
    start.round(50_000);
    start.round(50_000);
    start.round(70_000);
    assert!(start.hystart.css.is_some());
    start.round(50_000);
    assert!(start.hystart.css.is_none());
    let segs = start.window.cwnd / MSS;
    assert!(start.round(50_000).abs_diff(segs) <= 1);
}

/// RFC9406-4.2-f.
#[test]
fn five_rounds_of_it_end_slow_start() {
    let mut start = Start::new();
    start.round(50_000);
    start.round(50_000);
    start.round(70_000);
    let mut rounds = 0;
    while !start.has_ended {
        start.round(70_000);
        rounds += 1;
        assert!(rounds <= 6);
    }
    assert!(rounds >= 3, "{rounds}");
}

/// RFC9406-4.2-g, RFC9406-4.3-b: and a later slow start is the plain one.
#[test]
fn a_loss_ends_it() {
    for trigger in [Trigger::Loss, Trigger::Ecn, Trigger::Timeout] {
        let mut window = CongestionWindow::new(MSS, 100);
        let mut cubic = Cubic::new();
        cubic.on_congestion(&mut window, trigger);
        assert!(window.ssthresh < 100 * MSS);
        window.set_cwnd(MSS);
        for una in 0..40 {
            // The length of the round trips does not matter.
            let mut ack = ack(Instant::ZERO, una * MSS, MSS);
            ack.rtt = Some(Duration::from_millis(u64::from(10 * una)));
            cubic.on_ack(&mut window, &ack, true);
        }
        assert_eq!(window.cwnd, 41 * MSS, "{trigger:?}");
    }
}
