use super::*;

#[test]
fn a_round_trip_that_brings_more_is_answered_with_more_than_twice_as_much() {
    let start = Instant::from_secs(1);
    let at = |millis| start + Duration::from_millis(millis);
    let mut sizing = RightSizing::new(start, SeqNumber(65_535), SeqNumber(0), 10_000);
    assert_eq!(sizing.on_read(at(500), SeqNumber(20_000), 0), None, "no round trip is known");
    sizing.on_sample(Duration::from_millis(100), Basis::Timestamp);
    assert_eq!(sizing.on_read(at(99), SeqNumber(20_000), 0), None, "it is not over");
    assert_eq!(sizing.on_read(at(100), SeqNumber(20_000), 10_001), None, "half of it was not read in time");
    assert_eq!(sizing.on_read(at(200), SeqNumber(40_000), 0), Some(40_000 + 2 * 40_000));
    // A steady flow needs no larger window; one that grew by a tenth needs a little more.
    assert_eq!(sizing.on_read(at(300), SeqNumber(60_000), 0), None);
    assert_eq!(sizing.on_read(at(400), SeqNumber(82_000), 0), Some(44_000 + 2 * 4_400));
    // Sequence numbers wrap, and nothing overflows.
    let mut sizing = RightSizing::new(start, SeqNumber(0), SeqNumber(u32::MAX - 9), 1);
    sizing.on_sample(Duration::ZERO, Basis::Window);
    assert_eq!(sizing.on_read(at(1), SeqNumber(u32::MAX - 10), 0), Some(u64::MAX));
}

#[test]
fn a_window_that_turns_over_is_a_round_trip_or_longer() {
    let start = Instant::from_secs(1);
    let at = |millis| start + Duration::from_millis(millis);
    let mut sizing = RightSizing::new(start, SeqNumber(1000), SeqNumber(0), 10_000);
    sizing.on_data(at(10), SeqNumber(999), SeqNumber(1500));
    assert_eq!(sizing.rtt, 0);
    sizing.on_data(at(20), SeqNumber(1000), SeqNumber(2000));
    assert_eq!(sizing.rtt, 20_000_000);
    sizing.on_data(at(60), SeqNumber(2000), SeqNumber(3000));
    assert_eq!(sizing.rtt, 20_000_000, "the peer took its time");
    sizing.on_data(at(75), SeqNumber(3000), SeqNumber(4000));
    assert_eq!(sizing.rtt, 15_000_000);
    sizing.on_sample(Duration::from_millis(95), Basis::Timestamp);
    assert_eq!(sizing.rtt, 25_000_000);
}

#[test]
fn each_echo_counts_once() {
    let mut sizing = RightSizing::new(Instant::ZERO, SeqNumber(1), SeqNumber(1), 10_000);
    let new: std::vec::Vec<bool> = [5, 5, 6, 6, 5].map(|echo| sizing.is_new_echo(echo)).into();
    assert_eq!(new, [true, false, true, false, true]);
}
