use super::*;
use proptest::prelude::*;
use std::vec::Vec;

use crate::tcp::SeqNumber;

const MSS: u32 = 1000;
const RTT: Duration = Duration::from_millis(100);
/// BBR uses rates and has its own tests.
const LOSS_BASED: [CongestionControl; 2] = [CongestionControl::Reno, CongestionControl::Cubic];
const RTO: Duration = Duration::from_millis(300);

fn new(kind: CongestionControl) -> Congestion {
    Congestion::new(kind, MSS, 10, Instant::ZERO)
}

fn reno() -> Congestion {
    new(CongestionControl::Reno)
}

/// Sends everything that cwnd allows.
fn fill(cc: &mut Congestion, now: Instant, una: SeqNumber) {
    send(cc, now, una, cc.cwnd());
}

fn send(cc: &mut Congestion, now: Instant, una: SeqNumber, in_flight: u32) {
    let nxt = una + in_flight;
    cc.on_sent(&Sent { now, una, nxt, in_flight, rto: RTO, restart_segs: 10 });
}

pub(super) fn ack(now: Instant, una: u32, bytes: u32) -> Ack {
    Ack {
        now,
        phase: Phase::Open,
        acked_bytes: bytes,
        delivered_bytes: bytes,
        lost_bytes: 0,
        ce_bytes: 0,
        prior_in_flight: bytes,
        in_flight: 0,
        rtt: Some(RTT),
        min_rtt: Some(RTT),
        srtt: Some(RTT),
        una: SeqNumber(una),
        nxt: SeqNumber(una + 1_000_000),
        rate: None,
    }
}

/// An acknowledgement of this many bytes of a full window.
fn grow(cc: &mut Congestion, bytes: u32) {
    fill(cc, Instant::ZERO, SeqNumber(0));
    cc.on_ack(&ack(Instant::ZERO, 0, bytes));
}

// RFC 5681 §3.1.
#[test]
fn slow_start_doubles_each_round_trip() {
    for kind in LOSS_BASED {
        let mut cc = new(kind);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10_000, u32::MAX));
        fill(&mut cc, Instant::ZERO, SeqNumber(0));
        for _ in 0..10 {
            cc.on_ack(&ack(Instant::ZERO, 0, MSS));
        }
        assert_eq!(cc.cwnd(), 20_000, "{kind}");
        // One ACK of everything does the same.
        grow(&mut cc, 20_000);
        assert_eq!(cc.cwnd(), 40_000, "{kind}");
    }
}

#[test]
fn does_not_grow_when_the_application_holds_back() {
    for kind in LOSS_BASED {
        let mut cc = new(kind);
        send(&mut cc, Instant::ZERO, SeqNumber(0), 4_000);
        cc.on_ack(&ack(Instant::ZERO, 4_000, 4_000));
        assert_eq!(cc.cwnd(), 10_000, "{kind}");
        // Half the window is enough in slow start: it was sent when cwnd was half.
        send(&mut cc, Instant::ZERO, SeqNumber(4_000), 6_000);
        cc.on_ack(&ack(Instant::ZERO, 10_000, 6_000));
        assert_eq!(cc.cwnd(), 16_000, "{kind}");
        // In congestion avoidance it is not.
        cc.on_congestion(Cause::Loss);
        cc.on_recovery_done(None);
        let cwnd = cc.cwnd();
        for una in 0..100 {
            send(&mut cc, Instant::ZERO, SeqNumber(una * 10_000), cwnd - 2 * MSS);
            cc.on_ack(&ack(Instant::ZERO, una * 10_000, 6_000));
        }
        assert_eq!(cc.cwnd(), cwnd, "{kind}");
    }
}

// RFC 5681 §3.1: one segment a round trip.
#[test]
fn reno_adds_one_segment_a_window() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_timeout();
    grow(&mut cc, 9_000);
    assert_eq!(cc.cwnd(), 10_000);
    for _ in 0..9 {
        grow(&mut cc, MSS);
        assert_eq!(cc.cwnd(), 10_000);
    }
    grow(&mut cc, MSS);
    assert_eq!(cc.cwnd(), 11_000);
    // Many small ACKs do not grow it faster (RFC 3465 §2.1).
    for _ in 0..11_000 {
        grow(&mut cc, 1);
    }
    assert_eq!(cc.cwnd(), 12_000);
}

#[test]
fn an_ack_that_crosses_ssthresh_counts_for_both() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_timeout();
    grow(&mut cc, 9_000 + 10_000);
    assert_eq!(cc.cwnd(), 11_000);
}

// RFC 5681 §3.2, RFC 6582 §3.2, RFC 9438 §4.6.
#[test]
fn an_episode_lowers_the_window_by_the_factor_of_its_algorithm() {
    for (kind, after) in [(CongestionControl::Reno, 10_000), (CongestionControl::Cubic, 14_003)] {
        for cause in [Cause::Loss, Cause::Ecn] {
            let mut cc = new(kind);
            grow(&mut cc, 10_000);
            cc.on_congestion(cause);
            assert_eq!((cc.ssthresh(), cc.cwnd()), (after, 20_000), "cwnd is for recovery to lower");
            // In recovery cwnd is not changed here.
            let mut during = ack(Instant::ZERO, 0, 5_000);
            during.phase = Phase::Recovery;
            cc.on_ack(&during);
            assert_eq!(cc.cwnd(), 20_000);
            cc.set_cwnd(17_000);
            cc.on_recovery_done(None);
            assert_eq!(cc.cwnd(), after);
        }
    }
}

// RFC 6582 §3.2 step 3.
#[test]
fn without_sack_the_end_of_recovery_is_no_burst() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_congestion(Cause::Loss);
    cc.on_recovery_done(Some(3_000));
    assert_eq!((cc.cwnd(), cc.ssthresh()), (4_000, 10_000));
}

// RFC 5681 §3.1: ssthresh is held when the same data times out again.
#[test]
fn a_second_timeout_keeps_ssthresh() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_timeout();
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 10_000));
    cc.on_timeout();
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 10_000));
    grow(&mut cc, 7_000);
    cc.on_timeout();
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 4_000));
}

// Linux's tcp_enter_loss: one reduction for one window of data.
#[test]
fn a_timeout_in_recovery_does_not_lower_ssthresh_again() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_congestion(Cause::Loss);
    cc.set_cwnd(12_000);
    cc.on_timeout();
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 10_000));
    // Slow start continues from the current cwnd.
    grow(&mut cc, 3_000);
    cc.on_recovery_done(None);
    assert_eq!(cc.cwnd(), 4_000);
}

// RFC 4015 §3.3, RFC 9438 §4.9.
#[test]
fn a_mistake_is_undone_even_when_it_is_over() {
    for kind in LOSS_BASED {
        let mut cc = new(kind);
        grow(&mut cc, 10_000);
        cc.on_congestion(Cause::Loss);
        cc.on_recovery_done(None);
        cc.undo();
        assert_eq!((cc.cwnd(), cc.ssthresh()), (20_000, u32::MAX), "{kind}");
        // Only once.
        cc.set_cwnd(5_000);
        cc.undo();
        assert_eq!(cc.cwnd(), 5_000);
        // Undoing a time-out restores the state before the recovery that it interrupted.
        cc.set_cwnd(20_000);
        cc.on_congestion(Cause::Loss);
        cc.set_cwnd(15_000);
        cc.on_timeout();
        cc.undo();
        assert_eq!((cc.cwnd(), cc.ssthresh()), (20_000, u32::MAX), "{kind}");
    }
}

// RFC 5681 §4.1, with the method of Linux's tcp_cwnd_restart.
#[test]
fn idling_halves_the_window_for_each_rto_down_to_the_restart_window() {
    let idle = |rtos: u32| {
        let mut cc = reno();
        grow(&mut cc, 10_000);
        grow(&mut cc, 20_000);
        cc.on_idle(Instant::from_secs(9), RTO * rtos + Duration::from_millis(1), RTO, 10);
        (cc.cwnd(), cc.ssthresh())
    };
    assert_eq!(idle(1), (20_000, u32::MAX));
    assert_eq!(idle(2), (10_000, u32::MAX));
    assert_eq!(idle(3), (10_000, u32::MAX));
    assert_eq!(idle(200), (10_000, u32::MAX));
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.on_idle(Instant::from_secs(9), RTO, RTO, 10);
    assert_eq!(cc.cwnd(), 20_000, "not longer than the RTO");
    // ssthresh keeps three quarters, and an idle period does not enlarge a window.
    cc.on_congestion(Cause::Loss);
    cc.on_recovery_done(None);
    grow(&mut cc, 10_000);
    grow(&mut cc, 11_000);
    cc.set_cwnd(40_000);
    cc.on_idle(Instant::from_secs(9), RTO * 9, RTO, 10);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (10_000, 30_000));
    cc.set_cwnd(3_000);
    cc.on_idle(Instant::from_secs(9), RTO * 9, RTO, 10);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (3_000, 30_000));
}

// RFC 7661 §4.4's aim, with the method of Linux's tcp_cwnd_application_limited.
#[test]
fn a_window_that_is_not_used_for_an_rto_goes_halfway_to_what_is_used() {
    let mut cc = reno();
    for bytes in [10_000, 20_000] {
        grow(&mut cc, bytes);
    }
    assert_eq!(cc.cwnd(), 40_000);
    let mut now = Instant::ZERO;
    let mut una = SeqNumber(1_000_000);
    let mut cwnds = Vec::new();
    for _ in 0..40 {
        now += Duration::from_millis(100);
        una += 12_000;
        send(&mut cc, now, una, 12_000);
        cwnds.push(cc.cwnd());
    }
    cwnds.dedup();
    // In slow start it is enough that half of cwnd is in use.
    assert_eq!(cwnds, [40_000, 26_000, 19_000]);
}

#[test]
fn another_mss_keeps_the_number_of_segments() {
    let mut cc = reno();
    cc.set_mss(500);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (5_000, u32::MAX));
    cc.on_congestion(Cause::Loss);
    cc.on_recovery_done(None);
    cc.set_mss(1_000);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (5_000, 5_000));
}

#[test]
fn another_algorithm_takes_over_where_the_former_was() {
    let mut cc = reno();
    grow(&mut cc, 10_000);
    cc.set_kind(CongestionControl::Cubic, Instant::ZERO);
    assert_eq!((cc.kind(), cc.cwnd()), (CongestionControl::Cubic, 20_000));
}

#[test]
fn names_are_those_of_linux() {
    for kind in CongestionControl::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!("vegas".parse::<CongestionControl>().is_err());
    assert_eq!(CongestionControl::default().name(), "cubic");
}

#[derive(Clone, Debug)]
enum Call {
    Ack(u32, Option<u64>),
    Send(u32),
    Congestion(bool),
    Timeout,
    Done(Option<u32>),
    Undo,
    Idle(u64),
    SetCwnd(u32),
    Mss(u32),
    Kind(CongestionControl),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let bytes = prop_oneof![0u32..100_000, any::<u32>()];
    let call = prop_oneof![
        8 => (bytes.clone(), any::<Option<u64>>()).prop_map(|(bytes, rtt)| Call::Ack(bytes, rtt)),
        8 => bytes.clone().prop_map(Call::Send),
        1 => any::<bool>().prop_map(Call::Congestion),
        1 => Just(Call::Timeout),
        1 => proptest::option::of(bytes.clone()).prop_map(Call::Done),
        1 => Just(Call::Undo),
        1 => (0u64..1 << 40).prop_map(Call::Idle),
        1 => bytes.prop_map(Call::SetCwnd),
        1 => (1u32..70_000).prop_map(Call::Mss),
        1 => proptest::sample::select(&CongestionControl::ALL[..]).prop_map(Call::Kind),
    ];
    proptest::collection::vec((0u64..1 << 32, call), 0..200)
        .prop_map(|calls| calls.into_iter().map(|(_, call)| call).collect())
}

proptest! {
    #[test]
    fn the_windows_keep_their_bounds_whatever_happens(mss in 1u32..70_000, calls in calls(), step in 0u64..1 << 36) {
        let mut cc = Congestion::new(CongestionControl::Cubic, mss, 10, Instant::ZERO);
        let (mut now, mut una) = (Instant::ZERO, SeqNumber(0));
        for call in calls {
            now += Duration::from_nanos(step);
            match call {
                Call::Ack(bytes, rtt) => {
                    una += bytes;
                    let mut ack = ack(now, una.0 % (1 << 31), bytes);
                    (ack.rtt, ack.srtt) = (rtt.map(Duration::from_nanos), rtt.map(Duration::from_nanos));
                    cc.on_ack(&ack);
                }
                Call::Send(in_flight) => send(&mut cc, now, una, in_flight),
                Call::Congestion(true) => cc.on_congestion(Cause::Loss),
                Call::Congestion(false) => cc.on_congestion(Cause::Ecn),
                Call::Timeout => cc.on_timeout(),
                Call::Done(guard) => cc.on_recovery_done(guard),
                Call::Undo => cc.undo(),
                Call::Idle(nanos) => cc.on_idle(now, Duration::from_nanos(nanos), RTO, 10),
                Call::SetCwnd(cwnd) => cc.set_cwnd(cwnd),
                Call::Mss(mss) => cc.set_mss(mss),
                Call::Kind(kind) => cc.set_kind(kind, now),
            }
            prop_assert!(cc.cwnd() >= cc.mss() && cc.cwnd() <= window::MAX_CWND);
            prop_assert!(cc.ssthresh() >= 2 * cc.mss());
        }
    }
}

/// `tcp_cubic`'s hystart = 0: growing round trips do not slow down slow start.
#[test]
fn without_hystart_slow_start_goes_on_until_something_is_lost() {
    let grown = |is_off: bool| {
        let mut cc = new(CongestionControl::Cubic);
        if is_off {
            cc.switch_hystart_off();
        }
        let (mut now, mut una) = (Instant::ZERO, 0);
        for round in 0..6 {
            let rtt = RTT + Duration::from_millis(20) * round;
            let cwnd = cc.cwnd();
            fill(&mut cc, now, SeqNumber(una));
            now += rtt;
            for _ in 0..cwnd / MSS {
                una += MSS;
                let samples =
                    Ack { rtt: Some(rtt), min_rtt: Some(RTT), srtt: Some(rtt), ..ack(now, una, MSS) };
                cc.on_ack(&Ack { nxt: SeqNumber(una + cwnd), prior_in_flight: cwnd, ..samples });
            }
        }
        cc.cwnd()
    };
    assert_eq!(grown(true), (10 * MSS) << 6);
    assert!(grown(false) < grown(true) / 2, "{}", grown(false));
}

/// After a mistake an algorithm goes on as if nothing had happened: CUBIC's curve and Reno's count
/// are those of before.
#[test]
fn what_was_undone_grows_as_if_it_had_not_been() {
    for kind in LOSS_BASED {
        let mut cc = new(kind);
        let (mut now, mut una) = (Instant::ZERO, 0);
        let round = |cc: &mut Congestion, now: &mut Instant, una: &mut u32| {
            fill(cc, *now, SeqNumber(*una));
            *now += RTT;
            for _ in 0..cc.cwnd() / MSS {
                *una += MSS;
                cc.on_ack(&ack(*now, *una, MSS));
            }
        };
        for _ in 0..3 {
            round(&mut cc, &mut now, &mut una);
        }
        cc.on_congestion(Cause::Loss);
        cc.on_recovery_done(None);
        for _ in 0..20 {
            round(&mut cc, &mut now, &mut una);
        }
        let mut mistaken = cc.clone();
        mistaken.on_congestion(Cause::Loss);
        mistaken.on_recovery_done(None);
        assert!(mistaken.cwnd() < cc.cwnd(), "{kind}");
        mistaken.undo();
        let (mut same_now, mut same_una) = (now, una);
        for number in 0..40 {
            assert_eq!(mistaken.cwnd(), cc.cwnd(), "{kind}, round {number}");
            round(&mut cc, &mut now, &mut una);
            round(&mut mistaken, &mut same_now, &mut same_una);
        }
    }
}

#[test]
fn algorithms_that_go_by_losses_set_no_rate_and_want_no_special_samples() {
    for kind in LOSS_BASED {
        let cc = new(kind);
        assert!(!cc.wants_limited_samples() && !cc.controls_recovery(), "{kind}");
        assert_eq!(cc.pacing_rate(), None, "{kind}");
    }
}

/// Linux's tcp_pacing_ss_ratio and tcp_pacing_ca_ratio: up to half of ssthresh the window may
/// double in a round trip.
#[test]
fn pacing_leaves_room_to_double_below_half_of_ssthresh() {
    let mut cc = reno();
    assert_eq!(cc.window_ratio(), 200);
    grow(&mut cc, 10_000);
    cc.on_congestion(Cause::Loss);
    cc.on_recovery_done(None);
    assert_eq!(cc.ssthresh(), 10_000);
    for (cwnd, ratio, mode) in [
        (4_000, 200, "slow start"),
        (4_999, 200, "slow start"),
        (5_000, 120, "slow start"),
        (9_999, 120, "slow start"),
        (10_000, 120, "congestion avoidance"),
        (20_000, 120, "congestion avoidance"),
    ] {
        cc.set_cwnd(cwnd);
        assert_eq!((cc.window_ratio(), cc.mode()), (ratio, mode), "{cwnd}");
    }
}

/// RFC 5681 §4.1's aim: a window is in use if it has no room for one more segment.
#[test]
fn a_window_with_room_for_a_segment_is_not_full() {
    for (in_flight, is_full) in [(8_000, false), (9_000, false), (9_001, true), (10_000, true)] {
        let mut cc = reno();
        cc.on_congestion(Cause::Loss);
        cc.on_recovery_done(None);
        cc.set_cwnd(10_000);
        send(&mut cc, Instant::ZERO, SeqNumber(0), in_flight);
        cc.on_ack(&ack(Instant::ZERO, 10_000, 10_000));
        assert_eq!(cc.cwnd() > 10_000, is_full, "{in_flight}");
    }
}
