use super::*;
use crate::tcp::rate::RateSampler;
use crate::tcp::scoreboard::Scoreboard;
use crate::tcp::sent_range::RecordState;

const ISS: SeqNumber = SeqNumber(u32::MAX - 500);
const MS: fn(u64) -> Duration = Duration::from_millis;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn sent(from: u32, to: u32, millis: u64, is_repeated: bool) -> SentRange {
    let stamp = RateSampler::new(Instant::ZERO).stamp(Instant::ZERO, 0, 0);
    let mut board = Scoreboard::default();
    board.on_sent(at(millis), ISS + from, ISS + to, 100, stamp);
    if is_repeated {
        board.on_resent(at(millis), ISS + from, ISS + to, 100, stamp);
    }
    let sent = board.first().expect("just sent").clone();
    assert_eq!(sent.state, RecordState::InFlight);
    sent
}

const PATH: PathTimes = PathTimes { min_rtt: Duration::from_millis(40), srtt: Duration::from_millis(60) };

/// RFC 8985 §6.2, step 5.
#[test]
fn what_was_sent_earlier_is_lost_after_the_reordering_window() {
    let mut rack = Rack::new(ISS, 3);
    let _ = rack.on_delivered(at(50), &sent(200, 300, 10, false), None, true);
    let window = MS(10);
    assert_eq!(rack.judge(at(50), window, &sent(0, 100, 5, false)), Overdue::At(at(55)), "5 + 40 + 10");
    assert_eq!(rack.judge(at(55), window, &sent(0, 100, 5, false)), Overdue::Lost);
    assert_eq!(rack.judge(at(99), window, &sent(0, 100, 11, false)), Overdue::No, "it was sent later");
    // Data sent at the same time is in the order of its sequence numbers.
    assert_eq!(rack.judge(at(99), window, &sent(100, 200, 10, false)), Overdue::Lost);
    assert_eq!(rack.judge(at(99), window, &sent(300, 400, 10, false)), Overdue::No);
}

/// On a path without delay, a retransmission has the same time as the first transmission.
#[test]
fn what_is_sent_again_is_not_lost_at_that_moment() {
    let mut rack = Rack::new(ISS, 3);
    rack.on_delivered(at(10), &sent(200, 300, 10, false), None, true);
    assert_eq!(rack.judge(at(10), MS(0), &sent(0, 100, 10, false)), Overdue::Lost);
    assert_eq!(rack.judge(at(10), MS(0), &sent(0, 100, 10, true)), Overdue::No);
    assert_eq!(rack.judge(at(11), MS(0), &sent(0, 100, 10, true)), Overdue::Lost);
}

/// RFC 8985 §6.2, step 2: the acknowledgement may be for an earlier transmission.
#[test]
fn a_repetition_counts_only_if_it_can_have_been_it_that_arrived() {
    let mut rack = Rack::new(ISS, 3);
    let repeated = sent(0, 100, 100, true);
    let _ = rack.on_delivered(at(110), &repeated, Some(MS(40)), true);
    assert!(rack.is_first(Some(at(1))), "10 ms are less than any round trip was");
    let _ = rack.on_delivered(at(150), &repeated, Some(MS(40)), false);
    assert!(rack.is_first(Some(at(1))), "the timestamp is that of the first sending");
    let _ = rack.on_delivered(at(150), &repeated, Some(MS(40)), true);
    assert!(!rack.is_first(Some(at(99))));
}

/// RFC 8985 §6.2, steps 3 and 4.
#[test]
fn the_window_is_open_only_until_it_is_clear_that_there_is_no_reordering() {
    let mut rack = Rack::new(ISS, 3);
    assert_eq!(rack.reordering_window(false, 2, PATH), MS(10), "a quarter of the shortest round trip");
    assert_eq!(rack.reordering_window(false, 3, PATH), MS(0));
    assert_eq!(rack.reordering_window(true, 0, PATH), MS(0));
    assert_eq!(rack.on_delivered(at(50), &sent(200, 300, 10, false), None, true), 0);
    assert_eq!(rack.on_delivered(at(51), &sent(0, 100, 5, true), None, true), 0, "it was sent again");
    assert_eq!(rack.on_delivered(at(51), &sent(100, 200, 5, false), None, true), 200);
    assert_eq!(rack.reordering(), (0, 3));
    rack.on_reordering(200, 100);
    assert_eq!(rack.reordering(), (1, 3), "never less than what Linux takes for granted");
    assert_eq!(rack.reordering_window(true, 9, PATH), MS(10));
    rack.on_reordering(501, 100);
    assert_eq!(rack.reordering(), (2, 6));
    rack.on_reordering(1 << 30, 100);
    assert_eq!(rack.reordering(), (3, 300));
}

/// RFC 8985 §6.2, step 4.
#[test]
fn duplicates_widen_the_window_once_a_round_trip_and_sixteen_recoveries_narrow_it() {
    let mut rack = Rack::new(ISS, 3);
    rack.on_dsack(ISS, ISS + 1000);
    rack.on_dsack(ISS + 500, ISS + 2000);
    assert_eq!(rack.reordering_window(false, 0, PATH), MS(20), "once in the first round trip");
    rack.on_dsack(ISS + 1000, ISS + 3000);
    assert_eq!(rack.reordering_window(false, 0, PATH), MS(30));
    for round in 3..200 {
        rack.on_dsack(ISS + round * 1000, ISS + (round + 1) * 1000);
    }
    assert_eq!(rack.reordering_window(false, 0, PATH), MS(60), "never more than SRTT");
    for _ in 0..15 {
        rack.on_recovery_done();
    }
    assert_eq!(rack.reordering_window(false, 0, PATH), MS(60));
    rack.on_recovery_done();
    assert_eq!(rack.reordering_window(false, 0, PATH), MS(10));
}

/// RFC 8985 §7.2.
#[test]
fn a_probe_waits_two_round_trips_and_for_a_delayed_acknowledgement_of_a_single_segment() {
    assert_eq!(probe_delay(Some(MS(50)), false), MS(102));
    assert_eq!(probe_delay(Some(MS(50)), true), MS(300));
    assert_eq!(probe_delay(None, false), Duration::from_secs(1));
}

/// RFC 8985 §6.2, step 4: the window stays wide for 16 recoveries; a recovery that was undone does
/// not count.
#[test]
fn a_recovery_that_is_undone_does_not_count() {
    let mut rack = Rack::new(ISS, 3);
    let is_wide = |rack: &Rack| rack.reordering_window(false, 0, PATH) == PATH.min_rtt / 2;
    rack.on_dsack(ISS, ISS + 100);
    rack.on_recovery_undone();
    for done in 0..15 {
        rack.on_recovery_done();
        assert!(is_wide(&rack), "{done}");
    }
    rack.on_recovery_undone();
    rack.on_recovery_done();
    assert!(is_wide(&rack));
    rack.on_recovery_done();
    assert!(!is_wide(&rack));
}
