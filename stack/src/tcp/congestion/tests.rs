use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const MSS: u32 = 1000;

fn congestion() -> Congestion {
    Congestion::new(MSS, 10)
}

#[test]
fn slow_start_doubles_each_round_trip() {
    let mut cc = congestion();
    assert_eq!((cc.cwnd(), cc.ssthresh()), (10_000, u32::MAX));
    for _ in 0..10 {
        cc.on_ack(MSS, true);
    }
    assert_eq!(cc.cwnd(), 20_000);
    // One ACK of everything does the same.
    cc.on_ack(20_000, true);
    assert_eq!(cc.cwnd(), 40_000);
}

#[test]
fn does_not_grow_when_the_application_holds_back() {
    let mut cc = congestion();
    cc.on_ack(10_000, false);
    assert_eq!(cc.cwnd(), 10_000);
}

// RFC 5681 §3.1: one segment a round trip.
#[test]
fn avoidance_adds_one_segment_a_window() {
    let mut cc = congestion();
    cc.on_timeout(20_000);
    cc.on_ack(9_000, true);
    assert_eq!(cc.cwnd(), 10_000);
    for _ in 0..9 {
        cc.on_ack(MSS, true);
        assert_eq!(cc.cwnd(), 10_000);
    }
    cc.on_ack(MSS, true);
    assert_eq!(cc.cwnd(), 11_000);
    // Many small ACKs do not grow it faster (RFC 3465 §2.1).
    for _ in 0..11_000 {
        cc.on_ack(1, true);
    }
    assert_eq!(cc.cwnd(), 12_000);
}

#[test]
fn an_ack_that_crosses_ssthresh_counts_for_both() {
    let mut cc = congestion();
    cc.on_timeout(20_000);
    cc.on_ack(9_000 + 10_000, true);
    assert_eq!(cc.cwnd(), 11_000);
}

// RFC 5681 §3.2, RFC 6582 §3.2.
#[test]
fn fast_recovery() {
    let mut cc = congestion();
    cc.on_loss_detected(20_000);
    assert_eq!((cc.ssthresh(), cc.cwnd()), (10_000, 13_000));
    cc.on_duplicate_ack_in_recovery();
    assert_eq!(cc.cwnd(), 14_000);
    cc.on_partial_ack(5_000);
    assert_eq!(cc.cwnd(), 14_000 - 5_000 + MSS);
    cc.on_partial_ack(500);
    assert_eq!(cc.cwnd(), 9_500);
    cc.on_recovery_done(30_000);
    assert_eq!(cc.cwnd(), 10_000);
    // With little in flight there is no burst.
    cc.on_loss_detected(20_000);
    cc.on_recovery_done(3_000);
    assert_eq!(cc.cwnd(), 4_000);
    // Never less than two segments.
    cc.on_loss_detected(1_000);
    assert_eq!(cc.ssthresh(), 2 * MSS);
}

// RFC 5681 §3.1: ssthresh is held when the same data times out again.
#[test]
fn a_second_timeout_keeps_ssthresh() {
    let mut cc = congestion();
    cc.on_timeout(20_000);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 10_000));
    cc.on_timeout(1_000);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 10_000));
    cc.on_ack(MSS, true);
    cc.on_timeout(8_000);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 4_000));
}

// RFC 5681 §4.1.
#[test]
fn idling_returns_to_the_initial_window() {
    let mut cc = congestion();
    cc.on_ack(50_000, true);
    cc.on_idle(10);
    assert_eq!(cc.cwnd(), 10_000);
    cc.on_timeout(10_000);
    cc.on_idle(10);
    assert_eq!(cc.cwnd(), MSS);
}

#[test]
fn another_mss_keeps_the_number_of_segments() {
    let mut cc = congestion();
    cc.set_mss(500);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (5_000, u32::MAX));
    cc.on_loss_detected(10_000);
    cc.set_mss(1_000);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (13_000, 10_000));
}

proptest! {
    #[test]
    fn the_window_is_never_below_a_segment(mss in 1u32..70_000, calls: Vec<(u8, u32)>) {
        let mut cc = Congestion::new(mss, 10);
        let mut mss = mss;
        for (call, bytes) in calls {
            match call % 8 {
                0 => cc.on_ack(bytes, true),
                1 => cc.on_loss_detected(bytes),
                2 => cc.on_duplicate_ack_in_recovery(),
                3 => cc.on_partial_ack(bytes),
                4 => cc.on_recovery_done(bytes),
                5 => cc.on_timeout(bytes),
                6 => cc.on_idle(bytes),
                _ => {
                    mss = bytes % 70_000 + 1;
                    cc.set_mss(mss);
                }
            }
            prop_assert!(cc.cwnd() >= mss && cc.cwnd() <= MAX_CWND);
            prop_assert!(cc.ssthresh() >= 2 * mss);
        }
    }
}
