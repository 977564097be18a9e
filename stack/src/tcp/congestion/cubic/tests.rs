use super::super::tests::ack;
use super::*;
use proptest::prelude::*;

const MSS: u32 = 1000;
const RTT: Duration = Duration::from_millis(100);

/// CUBIC after a loss, driven one round trip at a time.
struct Flow {
    cubic: Cubic,
    window: CongestionWindow,
    now: Instant,
}

impl Flow {
    fn new(cwnd: u32) -> Flow {
        let mut window = CongestionWindow::new(MSS, 10);
        window.set_cwnd(cwnd);
        Flow { cubic: Cubic::new(), window, now: Instant::from_secs(1) }
    }

    fn lose(&mut self) {
        self.congest(Trigger::Loss);
        self.window.set_cwnd(self.window.ssthresh);
    }

    fn congest(&mut self, trigger: Trigger) {
        self.cubic.on_congestion(&mut self.window, trigger);
    }

    /// One round trip, in which the whole window is delivered, two segments an ACK.
    fn round(&mut self) {
        let acks = self.window.cwnd / (2 * MSS);
        for _ in 0..acks {
            self.now += RTT / acks;
            let ack = ack(self.now, 0, 2 * MSS);
            self.cubic.on_ack(&mut self.window, &ack, true);
        }
    }

    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.round();
        }
    }
}

/// W_cubic of RFC 9438 §4.2 in floating point, to compare with.
fn reference(w_max: f64, cwnd_epoch: f64, seconds: f64) -> f64 {
    let k = ((w_max - cwnd_epoch) / 0.4).cbrt();
    0.4 * (seconds - k).powi(3) + w_max
}

// RFC 9438 §4.2, §4.4, §4.5.
#[test]
fn the_window_follows_the_cubic_function() {
    // Windows large enough that the cubic function is faster than Reno.
    for segs in [500u32, 1_000, 10_000] {
        let mut flow = Flow::new(segs * MSS);
        flow.lose();
        let epoch = flow.now;
        let cwnd_epoch = f64::from(flow.window.cwnd / MSS);
        for _ in 0..150 {
            flow.round();
            let seconds = (flow.now - epoch).as_secs_f64();
            let expected = reference(f64::from(segs), cwnd_epoch, seconds);
            let cwnd = f64::from(flow.window.cwnd) / f64::from(MSS);
            assert!(
                (cwnd - expected).abs() <= expected * 0.02 + 2.0,
                "{segs} at {seconds}: {cwnd} for {expected}"
            );
        }
    }
}

// RFC 9438 §4.3: where the cubic function is slow, cwnd grows like Reno with beta 0.7 and alpha
// 9/17, and with alpha 1 once it has reached its former value.
#[test]
fn a_short_path_grows_like_reno() {
    let mut flow = Flow::new(20 * MSS);
    flow.lose();
    let mut w_est = f64::from(flow.window.cwnd) / f64::from(MSS);
    for _ in 0..20 {
        // The round trip is so short that the cubic function hardly moves.
        let acks = flow.window.cwnd / MSS;
        for _ in 0..acks {
            flow.now += Duration::from_micros(10);
            let mut ack = ack(flow.now, 0, MSS);
            ack.srtt = Some(Duration::from_micros(100));
            flow.cubic.on_ack(&mut flow.window, &ack, true);
        }
        w_est += if w_est < 20.0 { 9.0 / 17.0 } else { 1.0 };
        let cwnd = f64::from(flow.window.cwnd) / f64::from(MSS);
        assert!((cwnd - w_est).abs() <= 1.5, "{cwnd} for {w_est}");
    }
}

// RFC 9438 §4.6, §4.7.
#[test]
fn a_loss_below_the_last_one_makes_room() {
    let mut flow = Flow::new(1_000 * MSS);
    flow.lose();
    assert_eq!(flow.cubic.w_max, 1_000 * MSS);
    assert_eq!(flow.window.cwnd, portion(1_000 * MSS, BETA));
    assert!(flow.window.cwnd.abs_diff(700 * MSS) <= MSS);
    let cwnd = flow.window.cwnd;
    flow.lose();
    assert!(flow.cubic.w_max.abs_diff(cwnd / 100 * 85) <= MSS);
}

// RFC 9438 §4.8: K is 0 and the plateau is where congestion avoidance begins.
#[test]
fn after_a_timeout_the_curve_begins_anew() {
    let mut flow = Flow::new(1_000 * MSS);
    flow.congest(Trigger::Timeout);
    flow.window.set_cwnd(flow.window.ssthresh);
    flow.round();
    let Stage::Avoiding(curve) = &flow.cubic.stage else { panic!("not in congestion avoidance") };
    assert_eq!(curve.k, 0);
    assert!(curve.plateau.abs_diff(700 * MSS) <= MSS);
}

/// RFC9438-4.10-b.
#[test]
fn slow_start_that_ends_by_delay_leaves_a_plateau() {
    let mut flow = Flow::new(10 * MSS);
    let mut una = 0;
    let mut rtt = 50;
    while flow.window.ssthresh == u32::MAX {
        let (end, cwnd) = (una + flow.window.cwnd, flow.window.cwnd);
        while una < end {
            una += MSS;
            let mut ack = ack(flow.now, una, MSS);
            ack.rtt = Some(Duration::from_millis(rtt));
            ack.nxt = crate::tcp::SeqNumber(end + (flow.window.cwnd - cwnd));
            flow.cubic.on_ack(&mut flow.window, &ack, true);
        }
        rtt += 10;
        assert!(rtt < 1000);
    }
    let cwnd = flow.window.cwnd;
    flow.round();
    let Stage::Avoiding(curve) = &flow.cubic.stage else { panic!("not in congestion avoidance") };
    assert_eq!((curve.k, curve.is_plateau_known), (0, false));
    assert!(curve.plateau.abs_diff(cwnd) <= 2 * MSS);
}

// RFC 9438 §5.8.
#[test]
fn time_without_use_does_not_count() {
    let mut flow = Flow::new(1_000 * MSS);
    flow.lose();
    flow.rounds(10);
    let (mut idle, mut unused) = (flow.window, Flow { cubic: flow.cubic.clone(), ..Flow::new(1_000 * MSS) });
    unused.window = flow.window;
    unused.now = flow.now;
    // Idle for a minute.
    flow.now += Duration::from_secs(60);
    flow.cubic.on_idle(&mut idle, flow.now, Duration::from_secs(60));
    let before = flow.window.cwnd;
    flow.round();
    let growth = flow.window.cwnd - before;
    assert!(growth < 20 * MSS, "{growth}");
    // The program sends less than it may for a minute.
    unused.now += Duration::from_millis(1);
    for _ in 0..60 {
        let ack = ack(unused.now, 0, MSS);
        unused.cubic.on_ack(&mut unused.window, &ack, false);
        unused.now += Duration::from_secs(1);
    }
    assert_eq!(unused.window.cwnd, before);
    unused.round();
    assert!(
        unused.window.cwnd.abs_diff(flow.window.cwnd) <= 2 * MSS,
        "{} {}",
        unused.window.cwnd,
        flow.window.cwnd
    );
}

proptest! {
    #[test]
    fn the_cube_root_is_exact(n: u64) {
        let root = u128::from(cube_root(n));
        prop_assert!(root.pow(3) <= u128::from(n) && (root + 1).pow(3) > u128::from(n));
    }

    /// K is such that the curve is at cwnd_epoch when it begins.
    #[test]
    fn the_curve_begins_where_cwnd_is(cwnd in 2u32..1_000_000, percent in 1u32..=100, mss in 100u32..9_000) {
        let w_max = (cwnd * mss.min(1000)).min(MAX_CWND);
        let cwnd = (u64::from(w_max) * u64::from(percent) / 100) as u32;
        let mut window = CongestionWindow::new(mss, 10);
        window.set_cwnd(cwnd);
        let curve = Curve::new(Instant::ZERO, &window, w_max, w_max);
        let start = curve.window_at(Instant::ZERO, mss);
        prop_assert!(start.abs_diff(window.cwnd) <= window.cwnd / 100 + w_max / 100 + 2 * mss, "{} for {}", start, window.cwnd);
    }
}

/// RFC 9438 §4.2 (RFC9438-4.2-c): where the curve is far above the window, the window grows by half
/// of itself in a round trip.
#[test]
fn the_curve_asks_for_half_a_window_more_at_most() {
    let mut flow = Flow::new(10_000 * MSS);
    flow.lose();
    // The curve is steep by now. Then the window is made small without a loss.
    flow.rounds(300);
    flow.window.set_cwnd(100 * MSS);
    flow.window.ssthresh = flow.window.cwnd;
    if let Stage::Avoiding(curve) = &mut flow.cubic.stage {
        // Exclude Reno's estimate and earlier credit.
        (curve.w_est, curve.credit) = (0, 0);
    }
    let before = flow.window.cwnd;
    flow.round();
    assert!(
        flow.window.cwnd > before + before / 3,
        "{before} to {}: the curve is far above",
        flow.window.cwnd
    );
    assert!(flow.window.cwnd <= before + before / 2 + MSS, "{before} to {}", flow.window.cwnd);
}

/// RFC 9438 §4.7: only a flow with a smaller window than last time releases bandwidth.
#[test]
fn whoever_gets_as_much_as_before_does_not_make_room() {
    for (cwnd, w_max) in [(100 * MSS, 100 * MSS), (100 * MSS - 1, portion(100 * MSS - 1, FAST_CONVERGENCE))] {
        let mut flow = Flow::new(100 * MSS);
        flow.congest(Trigger::Loss);
        flow.window.set_cwnd(cwnd);
        flow.congest(Trigger::Loss);
        assert_eq!(flow.cubic.w_max, w_max);
    }
}
