mod decisions;

use super::super::path::{Bottleneck, MSS, Net, fairness};
use super::super::tests::ack;
use super::cycle::AckPhase;
use super::*;
use crate::config::CongestionControl::{self, Bbr as BbrKind, Cubic, Reno};
use crate::tcp::congestion::{Cause, Congestion};
use std::vec::Vec;

/// 10,000 bytes in 100 ms, of which nothing was lost or marked.
const SAMPLE: RateSample = RateSample {
    delivered: 10_000,
    delivered_ce: 0,
    interval: Duration::from_millis(100),
    prior_delivered: 0,
    total_delivered: 10_000,
    tx_in_flight: 10_000,
    lost: 0,
    is_application_limited: false,
};

const SEC: fn(u64) -> Duration = Duration::from_secs;

fn bbr(net: &Net, flow: usize) -> &Bbr {
    net.flows[flow].cc.bbr().expect("a flow with BBR")
}

/// The goodput of one flow after its start, in percent of the link's rate.
fn goodput(net: &mut Net, time: Duration) -> u64 {
    let _start = net.take_rates();
    net.run(time);
    net.take_rates().iter().sum::<u64>() * 100 / Bottleneck::usual().rate
}

#[test]
fn fills_the_path_and_keeps_the_queue_short() {
    let mut net = Net::new(Bottleneck::usual(), &[BbrKind]);
    net.run(SEC(2));
    let _start = net.take_rates();
    net.run(SEC(5));
    let wait = net.mean_wait();
    let percent = net.take_rates()[0] * 100 / 12_500_000;
    // The queue takes 50 ms; loss-based algorithms keep 30 to 40 in it.
    assert!(percent >= 93, "{percent} %");
    assert!(wait < Duration::from_millis(10), "{wait:?}");
    assert!(net.flows[0].lost * 1000 < net.flows[0].sent * 5, "{} lost", net.flows[0].lost);
    let rate = bbr(&net, 0).max_bw.get();
    assert!(rate.abs_diff(12_500_000) < 250_000, "{rate}");
    assert!(bbr(&net, 0).min_rtt.get().unwrap() < Duration::from_millis(51));
}

#[test]
fn cubic_fills_the_path() {
    let mut net = Net::new(Bottleneck::usual(), &[Cubic]);
    net.run(SEC(2));
    assert!(goodput(&mut net, SEC(6)) >= 99);
}

/// One segment in a hundred is lost at random: BBR keeps its rate, where an algorithm that takes
/// each loss for congestion would become very slow.
#[test]
fn random_loss_below_its_threshold_is_survived() {
    let path = Bottleneck { loss_ppm: 10_000, ..Bottleneck::usual() };
    let mut net = Net::new(path, &[BbrKind]);
    net.run(SEC(2));
    assert!(goodput(&mut net, SEC(6)) >= 70);
    let mut net = Net::new(path, &[Cubic]);
    net.run(SEC(2));
    assert!(goodput(&mut net, SEC(5)) <= 20);
}

/// Unlike version 1, BBR slows down when losses exceed the threshold.
#[test]
fn loss_above_the_threshold_is_answered() {
    let mut net = Net::new(Bottleneck { loss_ppm: 80_000, ..Bottleneck::usual() }, &[BbrKind]);
    net.run(SEC(5));
    assert!(goodput(&mut net, SEC(5)) <= 40);
}

/// A queue of a tenth of the bandwidth-delay product: probing causes few losses, and the path is
/// used.
#[test]
fn a_shallow_queue_is_not_overrun() {
    let path = Bottleneck { queue: Bottleneck::usual().queue / 10, ..Bottleneck::usual() };
    let mut net = Net::new(path, &[BbrKind]);
    net.run(SEC(3));
    let (lost, sent) = (net.flows[0].lost, net.flows[0].sent);
    assert!(goodput(&mut net, SEC(8)) >= 80);
    let (lost, sent) = (net.flows[0].lost - lost, net.flows[0].sent - sent);
    assert!(lost * 100 <= sent * 2, "{lost} of {sent}");
    assert!(bbr(&net, 0).bounds.inflight_hi != u32::MAX);
}

/// Marks instead of losses: the queue stays near the threshold, and nothing is lost.
#[test]
fn marks_are_obeyed() {
    let path = Bottleneck { mark_above: Bottleneck::usual().queue / 10, ..Bottleneck::usual() };
    for kind in [BbrKind, Cubic, Reno] {
        let mut net = Net::new(path, &[kind]);
        net.run(SEC(3));
        let lost = net.flows[0].lost;
        net.take_rates();
        net.run(SEC(5));
        assert_eq!(net.flows[0].lost, lost, "{kind}");
        assert!(net.mean_wait() < Duration::from_millis(15), "{kind}: {:?}", net.mean_wait());
        let percent = net.take_rates()[0] * 100 / path.rate;
        assert!(percent >= 50, "{kind}: {percent} %");
    }
}

fn shares(kinds: &[CongestionControl], secs: u64) -> Vec<u64> {
    // A quarter of the usual rate, so that the test is quick.
    let (rate, queue) = (Bottleneck::usual().rate / 4, Bottleneck::usual().queue / 4);
    let mut net = Net::new(Bottleneck { rate, queue, ..Bottleneck::usual() }, kinds);
    net.run(SEC(10));
    net.take_rates();
    net.run(SEC(secs));
    let rates = net.take_rates();
    std::println!("{kinds:?}: {rates:?}, index {:.3}", fairness(&rates));
    rates
}

#[test]
fn two_flows_of_a_kind_share_fairly() {
    assert!(fairness(&shares(&[Cubic, Cubic], 20)) >= 0.95);
    assert!(fairness(&shares(&[BbrKind, BbrKind], 20)) >= 0.95);
}

#[test]
fn beside_cubic_both_live() {
    let rates = shares(&[BbrKind, Cubic], 30);
    // In a queue of one bandwidth-delay product BBR gets more than its share, as Linux's BBR does.
    assert!(rates[1] * 100 >= rates[0] * 15, "{rates:?}");
    assert!(rates[0] * 100 >= rates[1] * 50, "{rates:?}");
}

/// §5.3.4: every five seconds, for 200 ms, only half a bandwidth-delay product is in flight.
#[test]
fn probe_rtt_comes_every_five_seconds_and_does_not_last() {
    let mut net = Net::new(Bottleneck::usual(), &[BbrKind]);
    let mut probes = Vec::new();
    for _ in 0..1300 {
        let before = bbr(&net, 0).mode;
        net.run(Duration::from_millis(10));
        match (before, bbr(&net, 0).mode) {
            (before, Mode::ProbeRtt) if before != Mode::ProbeRtt => probes.push((net.now, None)),
            (Mode::ProbeRtt, after) if after != Mode::ProbeRtt => {
                probes.last_mut().unwrap().1 = Some(net.now)
            }
            _ => {}
        }
        // Its samples are below the path's rate meanwhile.
        assert_eq!(net.flows[0].cc.wants_limited_samples(), bbr(&net, 0).mode == Mode::ProbeRtt);
    }
    assert_eq!(probes.len(), 2, "{probes:?}");
    for &(begin, end) in &probes {
        let length = end.unwrap() - begin;
        assert!(length >= Duration::from_millis(200) && length < Duration::from_millis(400), "{length:?}");
    }
    let apart = probes[1].0 - probes[0].0;
    assert!(apart >= SEC(5) && apart < Duration::from_millis(5_800), "{apart:?}");
}

/// The rate of the path rises, and falls.
#[test]
fn it_follows_the_path() {
    let mut net = Net::new(Bottleneck { rate: 2_500_000, queue: 125_000, ..Bottleneck::usual() }, &[BbrKind]);
    net.run(SEC(4));
    net.path.rate = 7_500_000;
    net.path.queue = 375_000;
    net.run(SEC(8));
    net.take_rates();
    net.run(SEC(2));
    let wide = net.take_rates()[0];
    assert!(wide * 100 >= 7_500_000 * 75, "{wide}");
    net.path.rate = 2_500_000;
    net.path.queue = 125_000;
    net.run(SEC(6));
    let lost = net.flows[0].lost;
    let sent = net.flows[0].sent;
    net.take_rates();
    net.run(SEC(4));
    let narrow = net.take_rates()[0];
    assert!(narrow * 100 >= 2_500_000 * 75, "{narrow}");
    let (lost, sent) = (net.flows[0].lost - lost, net.flows[0].sent - sent);
    assert!(lost * 100 <= sent * 5, "{lost} of {sent}");
}

/// A program that sends little: the model keeps its estimates, and a later burst is sent at the
/// rate of the path.
#[test]
fn an_application_that_rests_does_not_shrink_the_model() {
    let mut net = Net::new(Bottleneck::usual(), &[BbrKind]);
    net.run(SEC(2));
    net.flows[0].is_active = false;
    net.run(SEC(3));
    net.flows[0].is_active = true;
    net.run(SEC(1));
    assert!(net.take_rates()[0] > 0);
    assert!(bbr(&net, 0).max_bw.get() > 11_000_000, "{}", bbr(&net, 0).max_bw.get());
}

/// §5.5.11.2.
#[test]
fn a_spurious_episode_gives_the_bounds_back() {
    let mut net = Net::new(Bottleneck::usual(), &[BbrKind]);
    net.run(SEC(3));
    let cc: &mut Congestion = &mut net.flows[0].cc;
    let cwnd = cc.cwnd();
    cc.on_timeout();
    assert_eq!(cc.cwnd(), MSS);
    cc.undo();
    assert_eq!(cc.cwnd(), cwnd);
    cc.on_congestion(Cause::Loss);
    assert_eq!(cc.cwnd(), cwnd, "losses are answered round by round, not by the episode");
}

#[test]
fn the_cwnd_is_never_below_four_segments_but_for_a_timeout() {
    let mut net = Net::new(Bottleneck { rate: 20_000, queue: 15_000, ..Bottleneck::usual() }, &[BbrKind]);
    for _ in 0..300 {
        net.run(Duration::from_millis(100));
        assert!(net.flows[0].cc.cwnd() >= 4 * MSS);
    }
    let rate = net.take_rates()[0];
    assert!(rate >= 14_000, "{rate}");
}

/// §5.1: gains in percent.
#[test]
fn each_mode_has_its_gains() {
    let modes =
        [Mode::Startup, Mode::Drain, Mode::Down, Mode::Cruise, Mode::Refill, Mode::Up, Mode::ProbeRtt];
    assert_eq!(modes.map(Mode::pacing_gain), [277, 50, 90, 100, 100, 125, 100]);
    assert_eq!(modes.map(Mode::cwnd_gain), [200, 200, 200, 200, 200, 225, 50]);
    assert_eq!(modes.map(Mode::is_probing), [true, false, false, false, true, true, false]);
    assert_eq!(modes.map(Mode::is_probe_bw), [false, false, true, true, true, true, false]);
}

#[test]
fn what_the_path_holds_is_its_rate_times_its_time() {
    let window = CongestionWindow::new(1000, 10);
    let mut bbr = Bbr::new(&window, Instant::ZERO);
    assert_eq!(bbr.bdp(1_000_000, 200), 10_000, "nothing was measured");
    let _ = bbr.min_rtt.on_ack(Instant::ZERO, Some(Duration::from_millis(50)));
    assert_eq!([50, 100, 200].map(|gain| bbr.bdp(1_000_000, gain)), [25_000, 50_000, 100_000]);
    assert_eq!(bbr.bdp(u64::MAX, 100), 184_467_440_u64.saturating_mul(1000).min(u32::MAX.into()) as u32);
    assert_eq!(bbr.bdp_of(1_000_000, Duration::from_millis(100)), 100_000);
    assert_eq!(bbr.bdp_of(10, Duration::from_micros(99_999)), 0);
    assert_eq!(bbr.bdp_of(u64::MAX, Duration::from_secs(1)), u32::MAX);
}

/// §5.5.10.1: after a change of mode the earlier signals do not count.
#[test]
fn signals_begin_anew() {
    let mut signals = Signals::default();
    signals.on_lost();
    (signals.ce_in_round, signals.bw_latest, signals.inflight_latest) = (true, 5, 6);
    signals.reset();
    let (loss, marks) = (signals.loss_in_round, signals.ce_in_round);
    assert_eq!((loss, marks, signals.bw_latest, signals.inflight_latest), (false, false, 0, 0));
}

/// §5.5.5: the highest rate of this cycle and the last; a cycle without a sample does not count.
#[test]
fn the_rate_is_that_of_two_cycles() {
    let mut rate = MaxBandwidth::default();
    rate.on_sample(10);
    rate.on_sample(7);
    for _ in 0..3 {
        assert_eq!(rate.get(), 10);
        rate.advance();
    }
    rate.on_sample(5);
    assert_eq!(rate.get(), 10);
    rate.advance();
    assert_eq!(rate.get(), 5);
}

/// §5.5.10.3: 0.7 of the bound, but not less than the path carried; a mark cuts by the share of
/// marks.
#[test]
fn bounds_are_cut_by_losses_and_marks() {
    let mut signals = Signals::default();
    (signals.bw_latest, signals.inflight_latest) = (100, 2000);
    let mut bounds = Bounds::NONE;
    bounds.cut(10_000, 1000, &signals);
    assert_eq!((bounds.bw_lo, bounds.inflight_lo, bounds.inflight_hi), (700, 7000, u32::MAX));
    (signals.bw_latest, signals.inflight_latest) = (600, 6000);
    bounds.cut(10_000, 1000, &signals);
    assert_eq!((bounds.bw_lo, bounds.inflight_lo), (600, 6000));
    signals.ce_in_round = true;
    signals.inflight_latest = 5900;
    bounds.cut(10_000, 1000, &signals);
    assert_eq!(bounds.inflight_lo, 4000, "a third, as all was marked so far");
}

/// RFC 3168 §5: a mark without a count ends Startup, and does nothing else outside a probe.
#[test]
fn a_mark_ends_startup() {
    let window = CongestionWindow::new(1000, 10);
    let mut bbr = Bbr::new(&window, Instant::ZERO);
    bbr.on_mark(&window);
    assert!(bbr.full.is_reached && bbr.signals.ce_in_round);
    assert_ne!(bbr.bounds.inflight_hi, u32::MAX);
    bbr.bounds.inflight_hi = 77_000;
    bbr.on_mark(&window);
    assert_eq!(bbr.bounds.inflight_hi, 77_000);
}

/// §5.6.4.6: a window that a loss or ProbeRTT has lowered is not saved.
#[test]
fn the_window_to_return_to_is_a_whole_one() {
    let window = CongestionWindow::new(1000, 10);
    for (phase, mode, expected) in [
        (Phase::Open, Mode::Cruise, 10_000),
        (Phase::Cwr, Mode::Cruise, 10_000),
        (Phase::Recovery, Mode::Cruise, 50_000),
        (Phase::Loss, Mode::Cruise, 50_000),
        (Phase::Open, Mode::ProbeRtt, 50_000),
    ] {
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        (bbr.prior_phase, bbr.mode, bbr.prior_cwnd) = (phase, mode, 50_000);
        bbr.save_cwnd(&window);
        assert_eq!(bbr.prior_cwnd, expected, "{phase:?} {mode:?}");
    }
}

/// §5.5.11.1: when a time-out's episode ends, and only then, the window is that of before.
#[test]
fn the_window_comes_back_with_the_end_of_a_timeout() {
    for (before, now, is_back) in [
        (Phase::Loss, Phase::Open, true),
        (Phase::Loss, Phase::Recovery, true),
        (Phase::Loss, Phase::Loss, false),
        (Phase::Recovery, Phase::Open, false),
        (Phase::Open, Phase::Open, false),
        (Phase::Open, Phase::Loss, false),
    ] {
        let mut window = CongestionWindow::new(1000, 10);
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        (bbr.prior_phase, bbr.prior_cwnd) = (before, 50_000);
        bbr.on_ack(&mut window, &Ack { phase: now, ..ack(Instant::ZERO, 0, 0) }, false);
        assert_eq!(window.cwnd >= 50_000, is_back, "{before:?} {now:?}: {}", window.cwnd);
        assert_eq!(bbr.prior_phase, now);
    }
}

/// §5.3.1.3: Startup ends when a round that is over had many losses and too large a share of them;
/// marks need no such count.
#[test]
fn many_losses_in_a_whole_round_end_startup() {
    let window = CongestionWindow::new(1000, 10);
    let sample = |lost, delivered_ce| RateSample { lost, delivered_ce, ..SAMPLE };
    for (is_over, phase, events, lost, marked, ends) in [
        (true, Phase::Recovery, 6, 300, 0, true),
        (false, Phase::Recovery, 6, 300, 0, false),
        (true, Phase::Open, 6, 300, 0, false),
        (true, Phase::Recovery, 5, 300, 0, false),
        (true, Phase::Recovery, 6, 200, 0, false),
        (true, Phase::Open, 0, 0, 300, true),
        (false, Phase::Open, 0, 0, 300, false),
    ] {
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        bbr.signals.is_round_over = is_over;
        bbr.signals.loss_events = events;
        let ack = Ack { phase, ..ack(Instant::ZERO, 0, 1000) };
        bbr.check_startup_loss(&window, &ack, &sample(lost, marked));
        assert_eq!(bbr.full.is_reached, ends, "{is_over} {phase:?} {events} {lost} {marked}");
        assert_eq!(bbr.bounds.inflight_hi != u32::MAX, ends);
        // Once it has ended nothing of that counts any more.
        bbr.bounds.inflight_hi = 77;
        bbr.full.is_reached = true;
        bbr.check_startup_loss(&window, &ack, &sample(10_000, 10_000));
        assert_eq!(bbr.bounds.inflight_hi, 77);
    }
}

/// §5.3.1.2: a path whose queue takes everything ends Startup by its rate alone, within a few
/// rounds.
#[test]
fn startup_ends_without_a_loss() {
    let path = Bottleneck { queue: Bottleneck::usual().queue * 20, ..Bottleneck::usual() };
    let mut net = Net::new(path, &[BbrKind]);
    net.run(SEC(1));
    assert_eq!(net.flows[0].lost, 0);
    assert!(bbr(&net, 0).full.is_reached && bbr(&net, 0).mode.is_probe_bw(), "{:?}", bbr(&net, 0).mode);
}

/// §5.5.10.2: losses above the threshold end a probe, and are no answer to one when none is on its
/// way.
#[test]
fn too_many_losses_end_a_probe() {
    let window = CongestionWindow::new(1000, 10);
    for (is_probe, lost, ends) in [(true, 300, true), (true, 200, false), (false, 300, false)] {
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        (bbr.mode, bbr.cycle.samples_are_probes) = (Mode::Up, is_probe);
        let lost = Lost { bytes: 100, tx_in_flight: 10_000, lost, is_application_limited: false };
        bbr.on_lost(&mut window.clone(), &lost);
        assert!(ends || bbr.signals.loss_in_round);
        assert_eq!(bbr.mode, if ends { Mode::Down } else { Mode::Up });
        assert_eq!((bbr.cycle.prev_too_high, bbr.bounds.inflight_hi != u32::MAX), (ends, ends));
    }
}

/// §5.3.3.6: when the acknowledgements of a probe are over, one that stopped at its bound without a
/// loss goes on from there, unless the one before was too high.
#[test]
fn a_probe_that_met_no_loss_goes_on() {
    let window = CongestionWindow::new(1000, 10);
    for (mode, is_risky, was_too_high, goes_on) in [
        (Mode::Cruise, true, false, true),
        (Mode::Cruise, true, true, false),
        (Mode::Cruise, false, false, false),
        (Mode::Cruise, false, true, false),
        (Mode::Startup, true, false, false),
    ] {
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        bbr.mode = mode;
        bbr.rounds.has_started = true;
        (bbr.cycle.ack_phase, bbr.cycle.samples_are_probes) = (AckPhase::ProbeStopping, true);
        (bbr.cycle.stopped_risky, bbr.cycle.prev_too_high) = (is_risky, was_too_high);
        let changed = bbr.adapt_upper_bounds(&window, &ack(Instant::ZERO, 0, 1000), &SAMPLE, false);
        assert_eq!(
            (changed, bbr.mode == Mode::Refill),
            (goes_on, goes_on),
            "{mode:?} {is_risky} {was_too_high}"
        );
        assert!(!bbr.cycle.samples_are_probes);
    }
}

/// §5.4.1: idling ends ProbeRTT when its time is over, and paces a flow that probes for rate at the
/// rate of the path.
#[test]
fn what_idling_changes_depends_on_the_mode() {
    for (mode, is_over, after) in [
        (Mode::ProbeRtt, true, Mode::Cruise),
        (Mode::ProbeRtt, false, Mode::ProbeRtt),
        (Mode::Startup, true, Mode::Startup),
        (Mode::Up, true, Mode::Up),
        (Mode::Down, true, Mode::Down),
    ] {
        let mut window = CongestionWindow::new(1000, 10);
        let mut bbr = Bbr::new(&window, Instant::ZERO);
        (bbr.mode, bbr.full.is_reached) = (mode, true);
        let now = Instant::from_secs(7);
        bbr.cycle.probe_rtt_done_at = Some(if is_over { Instant::from_secs(6) } else { now });
        bbr.on_idle(&mut window, now, SEC(3));
        assert!(bbr.idle_restart);
        assert_eq!(bbr.mode, after, "{mode:?}");
    }
}
