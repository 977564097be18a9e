//! What each part decides, one acknowledgement at a time.

use super::*;

/// A flow that knows its path: a megabyte a second and 50 ms, and so 50,000 bytes.
fn in_mode(mode: Mode) -> (Bbr, CongestionWindow) {
    let window = CongestionWindow::new(1000, 100);
    let mut bbr = Bbr::new(&window, Instant::ZERO);
    let _ = bbr.min_rtt.on_ack(Instant::ZERO, Some(Duration::from_millis(50)));
    bbr.max_bw.on_sample(1_000_000);
    bbr.pacing_rate = 1_000_000;
    (bbr.mode, bbr.full.is_reached) = (mode, true);
    bbr.cycle.started_at = Some(Instant::ZERO);
    (bbr, window)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// §5.3.3.5, §5.3.3.6: the next probe begins when its time has come, or after as many rounds as a
/// Reno flow would take; before that Down becomes Cruise when the queue is empty and headroom is
/// left.
#[test]
fn down_and_cruise_end_by_time_rounds_and_what_is_in_flight() {
    let probe = |mode, millis, rounds, in_flight, inflight_hi| {
        let (mut bbr, window) = in_mode(mode);
        bbr.cycle.rounds_since_probe = rounds;
        bbr.bounds.inflight_hi = inflight_hi;
        let ack = Ack { prior_in_flight: in_flight, ..ack(at(millis), 0, 1000) };
        bbr.update_cycle(&window, &ack, &SAMPLE, false);
        bbr.mode
    };
    const NONE: u32 = u32::MAX;
    for (millis, rounds, in_flight, inflight_hi, after) in [
        (100, 0, 50_000, NONE, Mode::Cruise),
        (100, 0, 50_001, NONE, Mode::Down),
        (100, 0, 42_500, 50_000, Mode::Cruise),
        (100, 0, 42_501, 50_000, Mode::Down),
        (2000, 0, 50_001, NONE, Mode::Down),
        (2001, 0, 50_001, NONE, Mode::Refill),
        (100, 49, 50_001, NONE, Mode::Down),
        (100, 50, 50_001, NONE, Mode::Refill),
    ] {
        assert_eq!(probe(Mode::Down, millis, rounds, in_flight, inflight_hi), after, "{millis} {rounds}");
    }
    for (millis, rounds, after) in
        [(2000, 0, Mode::Cruise), (2001, 0, Mode::Refill), (100, 49, Mode::Cruise), (100, 50, Mode::Refill)]
    {
        assert_eq!(probe(Mode::Cruise, millis, rounds, 0, NONE), after, "{millis} {rounds}");
    }
    for mode in [Mode::Startup, Mode::Drain, Mode::ProbeRtt] {
        assert_eq!(probe(mode, 60_000, 100, 0, NONE), mode);
    }
    // A path of many segments: 63 rounds are enough.
    let (mut bbr, _) = in_mode(Mode::Cruise);
    let window = CongestionWindow::new(100, 1000);
    for (rounds, after) in [(62, Mode::Cruise), (63, Mode::Refill)] {
        bbr.cycle.rounds_since_probe = rounds;
        bbr.update_cycle(&window, &ack(at(1), 0, 1000), &SAMPLE, false);
        assert_eq!(bbr.mode, after, "{rounds}");
    }
}

/// §5.3.3.3, §5.3.3.4: Refill lasts one round, and what is lost from then on is due to the probe.
#[test]
fn refill_becomes_up_with_the_next_round() {
    for has_started in [false, true] {
        let (mut bbr, window) = in_mode(Mode::Refill);
        bbr.cycle.ack_phase = AckPhase::Refilling;
        bbr.rounds.has_started = has_started;
        bbr.update_cycle(&window, &ack(at(1), 0, 1000), &SAMPLE, false);
        assert_eq!((bbr.mode == Mode::Up, bbr.cycle.samples_are_probes), (has_started, has_started));
        if has_started {
            assert_eq!(bbr.cycle.ack_phase, AckPhase::ProbeStarting);
            assert_eq!((bbr.cycle.up_slope, bbr.cycle.up_rounds), (100_000, 1), "one segment a round");
        }
    }
}

/// §5.3.3.6: Up ends with a plateau, or at a bound that was too high before; a window that
/// inflight_hi limits begins a new measurement.
#[test]
fn up_ends_with_a_plateau_or_where_the_last_probe_was_too_high() {
    for (is_plateau, was_too_high, in_flight, cwnd_limited, inflight_hi, after, is_risky) in [
        (true, false, 0, false, u32::MAX, Mode::Down, false),
        (false, false, 0, false, u32::MAX, Mode::Up, false),
        (false, true, 60_000, false, 60_000, Mode::Down, true),
        (false, true, 59_999, false, 60_000, Mode::Up, false),
        (false, false, 60_000, false, 60_000, Mode::Up, false),
        (true, false, 0, true, 100_000, Mode::Up, false),
        (true, false, 0, true, 100_001, Mode::Down, false),
        (true, false, 0, false, 100_000, Mode::Down, false),
    ] {
        let (mut bbr, window) = in_mode(Mode::Up);
        bbr.full.is_now = is_plateau;
        bbr.cycle.prev_too_high = was_too_high;
        bbr.bounds.inflight_hi = inflight_hi;
        let ack = Ack { prior_in_flight: in_flight, ..ack(at(1), 0, 1000) };
        bbr.update_cycle(&window, &ack, &SAMPLE, cwnd_limited);
        let case = (is_plateau, was_too_high, in_flight, cwnd_limited, inflight_hi);
        assert_eq!((bbr.mode, bbr.cycle.stopped_risky), (after, is_risky), "{case:?}");
        assert!(after == Mode::Up || !bbr.cycle.prev_too_high);
        assert!(!(cwnd_limited && after == Mode::Up && bbr.full.is_now), "it begins anew");
    }
}

/// §5.5.10.2: inflight_hi follows what was in flight without too many losses; in Up it rises by a
/// segment for each `up_slope` bytes while cwnd is the limit.
#[test]
fn the_upper_bound_rises_with_what_the_path_takes() {
    for (mode, tx_in_flight, lost, cwnd_limited, expected) in [
        (Mode::Cruise, 100_500, 0, true, 100_500),
        (Mode::Cruise, 99_000, 0, true, 100_000),
        (Mode::Cruise, 100_500, 2011, true, 100_000),
        (Mode::Cruise, 100_500, 2010, true, 100_500),
        (Mode::Up, 99_000, 0, true, 102_000),
        (Mode::Up, 99_000, 0, false, 100_000),
        (Mode::Up, 101_000, 0, true, 101_000),
    ] {
        let (mut bbr, window) = in_mode(mode);
        bbr.bounds.inflight_hi = 100_000;
        bbr.cycle.up_slope = 4000;
        let ack = ack(at(1), 0, 9000);
        let sample = RateSample { tx_in_flight, lost, ..SAMPLE };
        assert!(!bbr.adapt_upper_bounds(&window, &ack, &sample, cwnd_limited));
        let case = (mode, tx_in_flight, lost, cwnd_limited);
        assert_eq!(bbr.bounds.inflight_hi, expected, "{case:?}");
        if expected == 102_000 {
            assert_eq!(bbr.cycle.up_acked, 1000, "what is left of 9,000");
        }
    }
    // By twice as many segments in each round of Up.
    let (mut bbr, window) = in_mode(Mode::Up);
    bbr.bounds.inflight_hi = 100_000;
    bbr.cycle.raise_slope(&window);
    let mut slopes = Vec::new();
    for _ in 0..9 {
        slopes.push(bbr.cycle.up_slope);
        bbr.rounds.has_started = true;
        let _ = bbr.adapt_upper_bounds(&window, &ack(at(1), 0, 1), &SAMPLE, true);
    }
    assert_eq!(slopes, [100_000, 50_000, 25_000, 12_500, 6250, 3125, 1562, 1000, 1000]);
}

/// §5.5.10.2: a probe that was too high sets the bound to what was in flight, and at least to 70 %
/// of the target, which in Up is two segments more than the path holds. If the program limited the
/// sample, the bound stays.
#[test]
fn a_probe_that_was_too_high_sets_the_upper_bound() {
    for (tx_in_flight, is_limited, inflight_hi) in
        [(60_000, false, 60_000), (37_000, false, 37_000), (20_000, false, 36_400), (60_000, true, u32::MAX)]
    {
        let (mut bbr, window) = in_mode(Mode::Up);
        bbr.cycle.samples_are_probes = true;
        let sample = RateSample {
            tx_in_flight,
            lost: tx_in_flight / 10,
            is_application_limited: is_limited,
            ..SAMPLE
        };
        bbr.update_cycle(&window, &ack(at(1), 0, 1000), &sample, false);
        assert_eq!((bbr.bounds.inflight_hi, bbr.cycle.samples_are_probes), (inflight_hi, false));
        // Down begins, and there is nothing in flight.
        assert!(matches!(bbr.mode, Mode::Down | Mode::Cruise), "{:?}", bbr.mode);
        assert!(bbr.cycle.prev_too_high);
    }
}

/// §5.3.4.3: ProbeRTT is due five seconds after the shortest round trip, unless the flow was idle;
/// it ends after 200 ms with little in flight and a round.
#[test]
fn probe_rtt_begins_and_ends() {
    let on_ack = |bbr: &mut Bbr, window: &mut CongestionWindow, millis, in_flight, is_round| {
        bbr.rounds.has_started = is_round;
        let rtt = Some(Duration::from_millis(60));
        bbr.update_min_rtt(window, &Ack { in_flight, rtt, ..ack(at(millis), 0, 1000) });
        bbr.mode
    };
    for (millis, is_idle, after) in
        [(5000, false, Mode::Cruise), (5001, false, Mode::ProbeRtt), (5001, true, Mode::Cruise)]
    {
        let (mut bbr, mut window) = in_mode(Mode::Cruise);
        bbr.idle_restart = is_idle;
        assert_eq!(on_ack(&mut bbr, &mut window, millis, 90_000, false), after, "{millis} {is_idle}");
        assert!(!bbr.idle_restart, "something was acknowledged");
    }
    for (is_reached, after) in [(true, Mode::Cruise), (false, Mode::Startup)] {
        let (mut bbr, mut window) = in_mode(Mode::Cruise);
        bbr.bounds.inflight_lo = 70_000;
        bbr.full.is_reached = is_reached;
        assert_eq!(on_ack(&mut bbr, &mut window, 6000, 90_000, false), Mode::ProbeRtt);
        assert_eq!(bbr.prior_cwnd, 100_000);
        window.set_cwnd(25_000);
        // Half of what the path holds.
        for (millis, in_flight, is_round, expected) in [
            (6050, 25_001, true, Mode::ProbeRtt),
            (6100, 25_000, false, Mode::ProbeRtt),
            (6150, 20_000, true, Mode::ProbeRtt),
            (6300, 20_000, false, Mode::ProbeRtt),
            (6301, 20_000, false, after),
        ] {
            assert_eq!(on_ack(&mut bbr, &mut window, millis, in_flight, is_round), expected, "{millis}");
        }
        assert_eq!((window.cwnd, bbr.bounds.inflight_lo), (100_000, u32::MAX));
        // The next one is five seconds away.
        assert_eq!(on_ack(&mut bbr, &mut window, 11_301, 90_000, false), after);
        assert_eq!(on_ack(&mut bbr, &mut window, 11_302, 90_000, false), Mode::ProbeRtt);
    }
    // Without a round it goes on.
    let (mut bbr, mut window) = in_mode(Mode::Cruise);
    for millis in [6000, 6100, 6500, 9000] {
        assert_eq!(on_ack(&mut bbr, &mut window, millis, 20_000, false), Mode::ProbeRtt);
    }
    assert_eq!(on_ack(&mut bbr, &mut window, 9001, 20_000, true), Mode::Cruise);
}

/// §5.6.4: the window grows by what was delivered, to twice what the path holds, within the bounds.
#[test]
fn the_window_follows_the_model() {
    for (mode, is_reached, cwnd, delivered, expected) in [
        (Mode::Cruise, true, 60_000, 3000, 63_000),
        (Mode::Cruise, true, 99_000, 3000, 100_000),
        (Mode::Cruise, true, 150_000, 3000, 100_000),
        (Mode::Cruise, true, 150_000, 0, 150_000),
        (Mode::Up, true, 150_000, 3000, 114_500),
        (Mode::Startup, false, 99_999, 3000, 102_999),
        (Mode::Startup, false, 199_999, 3000, 202_999),
        (Mode::Startup, false, 200_000, 3000, 200_000),
        (Mode::ProbeRtt, true, 150_000, 3000, 25_000),
        (Mode::Cruise, true, 1000, 1, 4000),
    ] {
        let (mut bbr, mut window) = in_mode(mode);
        bbr.full.is_reached = is_reached;
        window.set_cwnd(cwnd);
        bbr.set_cwnd(&mut window, delivered);
        assert_eq!(window.cwnd, expected, "{mode:?} {cwnd} {delivered}");
    }
    // §5.6.4.7.
    for (mode, expected) in [
        (Mode::Startup, 100_000),
        (Mode::Drain, 100_000),
        (Mode::Down, 80_000),
        (Mode::Refill, 80_000),
        (Mode::Up, 80_000),
        (Mode::Cruise, 68_000),
        (Mode::ProbeRtt, 68_000),
    ] {
        let (mut bbr, window) = in_mode(mode);
        bbr.bounds.inflight_hi = 80_000;
        assert_eq!(bbr.bounded(&window, 100_000), expected, "{mode:?}");
        bbr.bounds.inflight_lo = 50_000;
        assert_eq!(bbr.bounded(&window, 100_000), 50_000, "{mode:?}");
        bbr.bounds.inflight_lo = 1000;
        assert_eq!(bbr.bounded(&window, 100_000), 4000, "{mode:?}: four segments at least");
    }
}

/// §5.6.2: 99 % of the rate and the gain; in Startup it does not fall.
#[test]
fn the_pacing_rate_is_a_little_below_that_of_the_path() {
    for (is_reached, before, gain, expected) in [
        (true, 2_000_000, 100, 990_000),
        (true, 500_000, 125, 1_237_500),
        (false, 2_000_000, 100, 2_000_000),
        (false, 500_000, 100, 990_000),
    ] {
        let (mut bbr, _) = in_mode(Mode::Startup);
        (bbr.full.is_reached, bbr.pacing_rate) = (is_reached, before);
        bbr.set_pacing_rate(gain);
        assert_eq!(bbr.pacing_rate, expected, "{is_reached} {before} {gain}");
    }
}

/// §5.5.10.3: a round with losses or marks lowers the bounds, but while probing for more.
#[test]
fn only_a_congested_round_lowers_the_bounds() {
    for (mode, has_loss, has_ce, is_cut) in [
        (Mode::Cruise, true, false, true),
        (Mode::Cruise, false, true, true),
        (Mode::Cruise, false, false, false),
        (Mode::Up, true, true, false),
        (Mode::Startup, true, true, false),
        (Mode::Down, true, false, true),
    ] {
        let (mut bbr, window) = in_mode(mode);
        (bbr.signals.loss_in_round, bbr.signals.ce_in_round) = (has_loss, has_ce);
        bbr.adapt_lower_bounds(&window);
        assert_eq!(bbr.bounds != Bounds::NONE, is_cut, "{mode:?} {has_loss} {has_ce}");
        assert!(!bbr.signals.loss_in_round && !bbr.signals.ce_in_round);
    }
}

/// §5.5.1: a round is over when something is acknowledged that was sent after it began.
#[test]
fn rounds_are_counted_in_delivered_data() {
    let mut rounds = Rounds::default();
    for (prior_delivered, total_delivered, starts) in [
        (0, 1000, true),
        (0, 2000, false),
        (999, 3000, false),
        (1000, 4000, true),
        (3999, 5000, false),
        (5000, 6000, true),
    ] {
        rounds.on_ack(Some(&RateSample { prior_delivered, total_delivered, ..SAMPLE }));
        assert_eq!(rounds.has_started, starts, "{prior_delivered} {total_delivered}");
        rounds.on_ack(None);
        assert!(!rounds.has_started);
    }
    rounds.on_ack(Some(&RateSample { prior_delivered: 5500, total_delivered: 7000, ..SAMPLE }));
    assert!(!rounds.has_started);
    rounds.restart();
    rounds.on_ack(Some(&RateSample { prior_delivered: 6999, total_delivered: 8000, ..SAMPLE }));
    assert!(!rounds.has_started, "it began again at 7,000");
    rounds.on_ack(Some(&RateSample { prior_delivered: 7000, total_delivered: 9000, ..SAMPLE }));
    assert!(rounds.has_started);
}

/// §5.5.10.1: what a round carried, and whether something was lost in it.
#[test]
fn signals_are_those_of_a_round() {
    let mut signals = Signals::default();
    let on_ack = |signals: &mut Signals, lost_bytes, prior, total, delivered| {
        let rate = RateSample { prior_delivered: prior, total_delivered: total, delivered, ..SAMPLE };
        let ack = Ack { lost_bytes, rate: Some(rate), ..ack(Instant::ZERO, 0, 1000) };
        signals.on_ack(&ack, false);
        let seen =
            (signals.is_round_over, signals.loss_in_round, signals.loss_events, signals.inflight_latest);
        signals.advance(ack.rate.as_ref());
        seen
    };
    assert_eq!(on_ack(&mut signals, 0, 0, 1000, 1000), (false, false, 0, 1000));
    assert_eq!(on_ack(&mut signals, 500, 1, 4000, 3000), (true, true, 1, 3000));
    assert_eq!(on_ack(&mut signals, 500, 3999, 5000, 2000), (false, true, 1, 3000), "counted anew");
    assert_eq!(on_ack(&mut signals, 5000, 3999, 6000, 2000), (false, true, 2, 3000));
    assert_eq!(on_ack(&mut signals, 0, 4000, 7000, 2500), (true, true, 2, 3000));
    assert_eq!(on_ack(&mut signals, 0, 6999, 8000, 100), (false, true, 0, 2500), "of the new round");
    signals.end_of_round();
    // The first loss of a round begins it again.
    signals.on_lost();
    signals.on_lost();
    assert_eq!(on_ack(&mut signals, 0, 7999, 9000, 100), (false, true, 0, 2500));
    assert_eq!(on_ack(&mut signals, 0, 8000, 9500, 100), (true, true, 0, 2500));
}

/// §5.5.9: the most of the last five to ten rounds; of one round in Startup.
#[test]
fn bursts_are_forgotten_after_two_windows_of_rounds() {
    for (win_rounds, known_for) in [(Aggregation::ROUNDS, 9), (1, 1)] {
        let mut aggregation = Aggregation::new(Instant::ZERO);
        aggregation.on_ack(&ack(Instant::ZERO, 0, 30_000), 1_000_000, 20_000, false, win_rounds);
        assert_eq!(aggregation.extra_acked(), 20_000, "cwnd at most");
        let mut rounds = 0;
        while aggregation.extra_acked() == 20_000 {
            rounds += 1;
            let ack = ack(Instant::from_secs(rounds), 0, 10);
            aggregation.on_ack(&ack, 1_000_000, 20_000, true, win_rounds);
        }
        assert_eq!(rounds - 1, known_for, "{win_rounds}");
        assert_eq!(aggregation.extra_acked(), 10);
    }
}

/// §5.5.5: a sample that the program limited counts only if it is not below the estimate.
#[test]
fn a_limited_sample_may_raise_the_rate() {
    for (is_limited, estimate, expected) in [
        (true, 99_000, 100_000),
        (true, 100_000, 100_000),
        (true, 150_000, 150_000),
        (false, 99_000, 100_000),
    ] {
        let (mut bbr, mut window) = in_mode(Mode::Cruise);
        bbr.max_bw = MaxBandwidth::default();
        bbr.max_bw.on_sample(estimate);
        let sample = RateSample { is_application_limited: is_limited, ..SAMPLE };
        bbr.update_model(&mut window, &ack(at(1), 0, 1000), &sample, false);
        assert_eq!(bbr.max_bw.get(), expected, "{is_limited} {estimate}");
    }
}

/// §5.3.2: Drain follows a full pipe, and ends when no more is in flight than the path holds.
#[test]
fn drain_ends_with_the_queue() {
    for (mode, is_full, in_flight, after) in [
        (Mode::Startup, false, 0, Mode::Startup),
        (Mode::Startup, true, 50_001, Mode::Drain),
        (Mode::Startup, true, 50_000, Mode::Down),
        (Mode::Drain, true, 50_001, Mode::Drain),
        (Mode::Drain, true, 50_000, Mode::Down),
        (Mode::Cruise, true, 0, Mode::Cruise),
    ] {
        let (mut bbr, mut window) = in_mode(mode);
        bbr.full.is_reached = is_full;
        bbr.check_drain(&mut window, &Ack { in_flight, ..ack(at(1), 0, 1000) });
        assert_eq!(bbr.mode, after, "{mode:?} {is_full} {in_flight}");
    }
}

/// §5.5.6: a cycle of the rate ends with the acknowledgements of a probe, unless the program
/// limited the sample.
#[test]
fn a_limited_sample_ends_no_cycle() {
    for (is_limited, rate) in [(false, 10), (true, 1_000_000)] {
        let (mut bbr, window) = in_mode(Mode::Cruise);
        bbr.rounds.has_started = true;
        bbr.cycle.ack_phase = AckPhase::ProbeStopping;
        let sample = RateSample { is_application_limited: is_limited, ..SAMPLE };
        let _ = bbr.adapt_upper_bounds(&window, &ack(at(1), 0, 1000), &sample, false);
        assert_eq!(bbr.max_bw.get(), 1_000_000);
        bbr.max_bw.on_sample(10);
        bbr.max_bw.advance();
        assert_eq!(bbr.max_bw.get(), rate, "{is_limited}");
    }
}
