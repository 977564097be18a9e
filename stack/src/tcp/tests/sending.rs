//! Sending: segments, windows, Nagle, retransmission, recovery, probes, keepalives.

use alloc::vec::Vec;
use core::time::Duration;

use super::peer::{ISS, Offer, Peer, Sent};
use crate::config::MtuProbing;
use crate::error::CloseReason;
use crate::event::DeadlineKind;
use crate::tcp::connection::{Pending, Reset};
use crate::tcp::recovery::Phase;
use crate::tcp::{Flags, State, Timestamps};

fn offsets(sent: &[Sent]) -> Vec<u32> {
    sent.iter().map(Peer::offset).collect()
}

fn total(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.data.len()).sum()
}

/// RFC 6928; SHLD-28, MUST-61: PSH at the end of the queue and, as on Linux, of a burst.
#[test]
fn ten_full_segments_go_out_at_first_and_slow_start_doubles_them() {
    let mut peer = Peer::plain();
    let sent = peer.send(&[5; 100_000]);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [1000; 10]);
    let pushed: Vec<bool> = sent.iter().map(|sent| sent.header.flags.contains(Flags::PSH)).collect();
    assert_eq!(pushed, [false, true].repeat(5), "two make a burst at this rate");
    let mut bytes = 0;
    let mut round = 10;
    for expected in [20, 40] {
        // cwnd grows by the acknowledged bytes.
        bytes += round * 1000;
        let sent = peer.ack_bytes(bytes);
        assert_eq!(sent.len(), expected, "after {bytes}");
        round = sent.len() as u32;
    }
    let rest = 100_000 - bytes - round * 1000;
    bytes += round * 1000;
    let sent = peer.ack_bytes(bytes);
    assert_eq!(total(&sent), rest as usize);
    let last = sent.last().expect("the last one");
    assert_eq!(last.header.flags, Flags::PSH_ACK);
}

#[test]
fn what_several_calls_wrote_shares_segments() {
    let mut peer = Peer::plain();
    for _ in 0..30 {
        let (taken, _) = (peer.connection.send(&mut peer.host.ctx(), &[1; 100]), ());
        assert_eq!(taken, Ok(100));
    }
    let sent = peer.drain();
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [1000; 3]);
    let pushed: Vec<bool> = sent.iter().map(|sent| sent.header.flags.contains(Flags::PSH)).collect();
    assert_eq!(pushed, [false, true, true], "where the burst ends, and the queue");
}

/// SHLD-7, MUST-17, MUST-60.
#[test]
fn nagle_holds_back_a_second_small_segment_unless_told_not_to() {
    let mut peer = Peer::plain();
    assert_eq!(peer.send(b"a").len(), 1);
    assert!(peer.send(b"b").is_empty());
    assert!(peer.send(b"c").is_empty());
    let sent = peer.ack_bytes(1);
    assert_eq!(&sent[0].data[..], b"bc");
    let mut peer = Peer::established_with(Offer::plain(), |_, params| params.settings.nodelay = true);
    assert_eq!(peer.send(b"a").len(), 1);
    assert_eq!(peer.send(b"b").len(), 1);
}

/// Minshall's form: a full segment in flight does not hold a small one back.
#[test]
fn the_end_of_a_large_write_does_not_wait() {
    let mut peer = Peer::plain();
    let sent = peer.send(&[0; 1500]);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [1000, 500]);
    assert!(peer.send(&[0; 500]).is_empty(), "a small one is in flight now");
    assert_eq!(peer.send(&[0; 500]).len(), 1, "a full one goes");
}

/// MUST-38.
#[test]
fn a_window_that_opens_a_little_is_not_used_until_the_override_fires() {
    let mut peer = Peer::established_with(Offer { window: 4000, ..Offer::plain() }, |_, _| {});
    assert_eq!(total(&peer.send(&[0; 20_000])), 4000);
    peer.window = 300;
    assert!(peer.ack_bytes(4000).is_empty(), "300 bytes are silly");
    assert_eq!(peer.wait_for_segment().data.len(), 300);
    peer.window = 2000;
    let sent = peer.ack_bytes(4300);
    assert_eq!(total(&sent), 2000);
}

#[test]
fn a_small_opening_after_a_long_closure_is_used_after_one_rto() {
    let mut peer = Peer::established_with(Offer { window: 4000, ..Offer::plain() }, |_, _| {});
    let _ = peer.send(&[0; 20_000]);
    peer.window = 0;
    let _ = peer.ack_bytes(4000);
    for _ in 0..8 {
        let _ = peer.wait_for_segment();
        let _ = peer.ack_bytes(4000);
    }
    peer.window = 300;
    assert!(peer.ack_bytes(4000).is_empty());
    let start = peer.host.now;
    let sent = peer.wait_for_segment();
    assert_eq!(sent.data.len(), 300);
    assert!(sent.at - start <= Duration::from_millis(210), "not the back-off of the probes");
}

/// MUST-36, SHLD-29, SHLD-30, MUST-37.
#[test]
fn a_closed_window_is_probed_with_back_off_for_as_long_as_the_peer_answers() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    assert_eq!(total(&peer.send(&[7; 3000])), 1000);
    peer.window = 0;
    assert!(peer.ack_bytes(1000).is_empty());
    assert_eq!(peer.connection.poll_timeout().map(|(_, kind)| kind), Some(DeadlineKind::Persist));
    let start = peer.host.now;
    let mut delays = Vec::new();
    let mut last = start;
    for _ in 0..40 {
        let probe = peer.wait_for_segment();
        assert_eq!((probe.data.len(), Peer::offset(&probe)), (1, 1000));
        delays.push((probe.at - last).as_millis());
        last = probe.at;
        assert!(peer.ack_bytes(1000).is_empty());
    }
    assert_eq!(peer.host.stats.tcp.win_probe, 40);
    assert!(!peer.connection.flight.recovery.is_repairing(), "answers to probes are no duplicates");
    assert_eq!(peer.connection.state(), State::Established, "more probes than retries, all answered");
    assert!(delays[0] >= 200 && delays[1] >= delays[0] * 2 - 1 && delays[2] >= delays[1] * 2 - 1);
    assert!(*delays.last().expect("many") <= 120_000);
    peer.window = 10_000;
    let sent = peer.ack_bytes(1000);
    assert_eq!(total(&sent), 2000);
    assert_eq!(sent[0].data[0], 7);
}

/// RFC 5681 §4.1 is about programs that pause; as on Linux, cwnd is not restarted after the peer's
/// window was closed.
#[test]
fn the_congestion_window_outlasts_a_narrow_window_but_no_pause_of_the_program() {
    let grown = || {
        let mut peer = Peer::established_with(Offer { window: 65_000, ..Offer::plain() }, |_, _| {});
        let initial = total(&peer.send(&[7; 60_000]));
        let mut sent = initial;
        while sent < 60_000 {
            sent += total(&peer.ack_bytes(sent as u32));
        }
        assert!(peer.ack_bytes(60_000).is_empty());
        assert!(peer.connection.congestion.cwnd() as usize >= 2 * initial);
        (peer, initial)
    };
    let (mut peer, initial) = grown();
    // Only a segment with a newer number can shrink the window.
    let _ = peer.data(b"x");
    peer.window = 500;
    let _ = peer.ack_bytes(60_000);
    assert!(peer.send(&[7; 40_000]).is_empty(), "less than a segment fits: it may open further");
    for probes in 1..=3 {
        assert_eq!(peer.wait_for_segment().data.len(), 500);
        // The next segment is sent more than an RTO after the last one.
        assert!(peer.wait_millis(100).is_empty());
        assert!(peer.ack_bytes(60_000 + probes * 500).is_empty());
    }
    peer.window = 65_000;
    // cwnd was hardly used for a while, so it was lowered, but not restarted.
    assert!(total(&peer.ack_bytes(61_500)) >= initial * 3 / 2);

    let (mut peer, initial) = grown();
    assert!(peer.wait(Duration::from_secs(5)).is_empty());
    assert_eq!(total(&peer.send(&[7; 60_000])), initial);
}

#[test]
fn an_octet_that_the_probe_carried_may_be_taken() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    let data: Vec<u8> = (0..3000u32).map(|byte| byte as u8).collect();
    let _ = peer.send(&data);
    peer.window = 0;
    let _ = peer.ack_bytes(1000);
    assert_eq!(peer.wait_millis(1500)[0].data[0], data[1000]);
    peer.window = 5000;
    let sent = peer.ack_bytes(1001);
    assert_eq!(offsets(&sent), [1001, 2001]);
    assert_eq!(sent[0].data, data[1001..2001]);
}

#[test]
fn probes_that_nobody_answers_end_the_connection() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    let _ = peer.send(&[7; 3000]);
    peer.window = 0;
    let _ = peer.ack_bytes(1000);
    let _ = peer.wait(Duration::from_secs(7200));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
    assert_eq!(peer.host.stats.tcp.win_probe, 15);
}

#[test]
fn a_fin_behind_a_closed_window_is_probed_with() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    let _ = peer.send(&[7; 1000]);
    peer.window = 0;
    assert!(peer.shutdown().is_empty(), "the window is full");
    assert!(peer.ack_bytes(1000).is_empty());
    let probes = peer.wait_millis(1500);
    assert_eq!((probes[0].flags().as_str(), Peer::offset(&probes[0])), ("FIN,ACK", 1000));
    let _ = peer.ack_bytes(1001);
    assert_eq!(peer.connection.state(), State::FinWait2);
}

#[test]
fn a_fin_that_the_window_has_no_number_for_waits() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    assert_eq!(peer.connection.send(&mut peer.host.ctx(), &[7; 1000]), Ok(1000));
    let sent = peer.shutdown();
    assert_eq!(sent.iter().map(Sent::flags).collect::<Vec<_>>(), ["ACK"]);
    let sent = peer.ack_bytes(1000);
    assert_eq!(sent.iter().map(Sent::flags).collect::<Vec<_>>(), ["FIN,ACK"]);
}

/// The segment's number is older than SND.WL1, but it acknowledges new data, so its window counts.
#[test]
fn data_that_is_sent_again_brings_the_window_of_what_it_acknowledges() {
    let mut peer = Peer::plain();
    let _ = peer.data_at(100, b"later");
    assert_eq!(total(&peer.send(&[7; 2000])), 2000);
    peer.ack = ISS + 1 + 1500;
    peer.window = 1500;
    let _ = peer.data(&[1; 100]);
    assert_eq!((peer.connection.snd.una, peer.connection.snd.wnd), (ISS + 1 + 1500, 1500));
    assert_eq!(total(&peer.send(&[7; 3000])), 1000, "the window ends 1,500 bytes behind the acknowledgement");
}

/// Both ends have probed a closed window, both probes were accepted, and both answers were lost:
/// each end's number is one less than the other expects.
#[test]
fn probes_that_cross_do_not_lock_both_ends_out() {
    let mut peer = Peer::established_with(Offer { window: 1000, ..Offer::plain() }, |_, _| {});
    let _ = peer.send(&[7; 3000]);
    peer.window = 0;
    let _ = peer.ack_bytes(1000);
    let _probe = peer.wait_for_segment();
    let probe = peer.header(Flags::ACK);
    let answer = peer.deliver(probe.clone(), b"p");
    assert_eq!(answer[0].header.ack, probe.seq + 1);
    assert_eq!(Peer::offset(&answer[0]), 1000, "it may have been refused: the window ends here");
    // The peer has not received that answer.
    let update = crate::tcp::Header { ack: ISS + 1 + 1001, window: 5000, ..probe };
    let sent = peer.deliver(update, &[]);
    assert_eq!(offsets(&sent)[..2], [1001, 2001], "{sent:?}");
}

/// RFC 7323 §2.4: a scaled window seems to shrink by less than a unit; a pure ACK still has SND.NXT
/// as its number.
#[test]
fn a_window_that_shrinks_by_rounding_leaves_the_number_of_acknowledgements() {
    let offer = Offer { scale: Some(10), window: 4096, ..Offer::plain() };
    let mut peer = Peer::established_with(offer, |_, _| {});
    assert_eq!(total(&peer.send(&[7; 4000])), 4000);
    for (window, seq) in [(4, 4000), (3, 4000), (2, 2048)] {
        let _ = peer.data(b"x");
        peer.window = window;
        let _ = peer.ack_bytes(0);
        let acks = peer.data_at(5000, b"behind a hole");
        assert_eq!(acks.iter().map(Peer::offset).collect::<Vec<_>>(), [seq], "{window}");
    }
}

/// RFC 9293 §3.10.7.4, SND.WL1 and SND.WL2.
#[test]
fn an_older_segment_does_not_set_the_window() {
    let mut peer = Peer::plain();
    peer.window = 30_000;
    let _ = peer.data_at(100, b"later");
    assert_eq!(peer.connection.snd.wnd, 30_000);
    peer.window = 10;
    let _ = peer.data(&[0; 100]);
    assert_eq!(peer.connection.snd.wnd, 30_000, "it was sent before the other");
    peer.window = 20_000;
    let _ = peer.data_at(5, b"on");
    assert_eq!(peer.connection.snd.wnd, 20_000);
}

/// RFC 9293 §3.8.6, SHLD-14: of two windows with the same numbers the smaller one is the older,
/// zero excepted.
#[test]
fn a_smaller_window_of_the_same_numbers_is_an_older_one() {
    let mut peer = Peer::plain();
    for (window, taken) in [(30_000, 30_000), (20_000, 30_000), (30_001, 30_001), (0, 0), (10, 10)] {
        peer.window = window;
        let _ = peer.ack_bytes(0);
        assert_eq!(peer.connection.snd.wnd, taken, "{window}");
    }
}

/// MUST-34, SHLD-15, SHLD-16, SHLD-17, MUST-35.
#[test]
fn a_window_that_shrinks_is_survived() {
    let mut peer = Peer::plain();
    assert_eq!(total(&peer.send(&[7; 20_000])), 10_000);
    // Two segments arrived; the right edge moves left, into the data in flight.
    peer.window = 3000;
    assert!(peer.ack_bytes(2000).is_empty());
    let repeated = peer.wait_millis(1500);
    assert!(!repeated.is_empty());
    assert!(repeated.iter().all(|sent| Peer::offset(sent) + sent.data.len() as u32 <= 5000));
    peer.window = 0;
    let _ = peer.ack_bytes(5000);
    let probes = peer.wait(Duration::from_secs(10));
    assert!(probes.iter().all(|probe| probe.data.len() == 1 && Peer::offset(probe) == 5000));
    assert!(!probes.is_empty());
    peer.window = 60_000;
    let sent = peer.ack_bytes(5000);
    assert_eq!(Peer::offset(&sent[0]), 5000);
    assert_eq!(peer.connection.state(), State::Established);
}

/// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: one segment, with a doubled delay each time; the rest is
/// retransmitted when it is acknowledged.
#[test]
fn a_time_out_sends_the_first_segment_again_and_backs_off() {
    let mut peer = Peer::plain();
    let sent = peer.send(&[7; 5000]);
    assert_eq!(sent.len(), 5);
    let start = peer.host.now;
    let repeated = peer.wait(Duration::from_secs(3));
    assert!(repeated.iter().all(|sent| Peer::offset(sent) == 0 && sent.data.len() == 1000));
    let delays: Vec<u128> = repeated.iter().map(|sent| (sent.at - start).as_millis()).collect();
    // The round trip was 10 ms: SRTT is 10 ms, and the minimum of the variation 200 ms.
    assert_eq!(delays, [210, 630, 1470]);
    assert_eq!(peer.host.stats.recovery.timeouts, 3);
    let sent = peer.ack_bytes(1000);
    assert_eq!(offsets(&sent), [1000, 2000], "slow start from one segment");
    // The rest had arrived: acknowledged data is not retransmitted.
    assert!(peer.ack_bytes(5000).is_empty());
    assert_eq!(peer.connection.poll_timeout(), None);
    assert_eq!(peer.host.stats.tcp.retrans_segs, 5);
}

/// MUST-20, SHLD-11: R2.
#[test]
fn data_that_is_never_acknowledged_ends_the_connection() {
    let mut peer = Peer::plain();
    let _ = peer.send(b"lost");
    let start = peer.host.now;
    let repeated = peer.wait(Duration::from_secs(3600));
    assert_eq!(repeated.len(), 15);
    assert!(repeated[14].at - start > Duration::from_secs(100));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
    assert_eq!(peer.connection.queued(), (0, 0));
}

/// MUST-18: Karn. Without timestamps retransmitted data gives no measurement.
#[test]
fn a_repeated_segment_is_not_timed_without_timestamps() {
    let rto_after_slow_ack = |offer: Offer| {
        let mut peer = Peer::established_with(offer, |_, _| {});
        let _ = peer.send(&[0; 500]);
        assert_eq!(peer.wait_millis(300).len(), 1);
        let _ = peer.wait_millis(50);
        let _ = peer.ack_bytes(500);
        let _ = peer.send(&[0; 500]);
        let start = peer.host.now;
        peer.connection.poll_timeout().expect("armed").0 - start
    };
    // The longer RTO stays until there is a new measurement (RFC 6298 §5, the note after 5.7).
    assert_eq!(rto_after_slow_ack(Offer::plain()), Duration::from_millis(420));
    let with_timestamps = rto_after_slow_ack(Offer::all());
    assert!(with_timestamps < Duration::from_millis(300), "the echo says which: {with_timestamps:?}");
}

/// RFC 5681 §3.2, RFC 3042, RFC 6582.
#[test]
fn three_duplicates_retransmit_and_partial_acknowledgements_go_on() {
    let mut peer = Peer::plain();
    let sent = peer.send(&[7; 40_000]);
    assert_eq!(sent.len(), 10);
    let sent = peer.ack_bytes(10_000);
    assert_eq!(sent.len(), 20);
    // 10,000..30,000 is in flight; 10,000 and 12,000 are lost.
    let first = peer.ack_bytes(10_000);
    assert_eq!(offsets(&first), [30_000], "limited transmit");
    let second = peer.ack_bytes(10_000);
    assert_eq!(offsets(&second), [31_000]);
    let third = peer.ack_bytes(10_000);
    assert_eq!(offsets(&third), [10_000], "fast retransmit");
    assert_eq!(peer.host.stats.recovery.fast_retrans, 1);
    // Half of the data in flight, and one more segment for each further duplicate.
    let mut more = Vec::new();
    for _ in 0..16 {
        more.extend(peer.ack_bytes(10_000));
    }
    assert!(!more.is_empty() && more.len() < 9, "{}", more.len());
    assert_eq!(Peer::offset(&more[0]), 32_000);
    // Up to the second gap.
    let partial = peer.ack_bytes(12_000);
    assert_eq!(Peer::offset(&partial[0]), 12_000);
    assert_eq!(peer.host.stats.recovery.fast_retrans, 2);
    let full = peer.ack_bytes(32_000 + more.len() as u32 * 1000);
    assert!(full.iter().all(|sent| Peer::offset(sent) >= 32_000));
    assert_eq!(peer.host.stats.tcp.retrans_segs, 2);
    assert_eq!(peer.host.stats.recovery.timeouts, 0);
}

#[test]
fn what_is_retransmitted_was_sent_before() {
    let mut peer = Peer::plain();
    let _ = peer.send(&[1; 500]);
    assert!(peer.send(&[2; 100]).is_empty(), "Nagle holds it back");
    let _ = peer.ack_bytes(0);
    let _ = peer.ack_bytes(0);
    let sent = peer.ack_bytes(0);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [500]);
}

/// RFC 6582 §3.2 step 4.
#[test]
fn duplicates_after_a_time_out_begin_no_recovery() {
    let mut peer = Peer::plain();
    let _ = peer.send(&[1; 10_000]);
    let _ = peer.wait_for_segment();
    for _ in 0..9 {
        let _ = peer.ack_bytes(0);
    }
    let _ = peer.ack_bytes(5000);
    for _ in 0..9 {
        let _ = peer.ack_bytes(5000);
    }
    assert_eq!(peer.host.stats.recovery.fast_retrans, 0);
}

#[test]
fn duplicates_are_only_what_rfc_5681_calls_so() {
    let mut peer = Peer::plain();
    let _ = peer.send(&[7; 9500]);
    for window in [60_000, 50_000, 40_000, 30_000] {
        peer.window = window;
        let _ = peer.ack_bytes(0);
    }
    for _ in 0..4 {
        let _ = peer.data(b"data");
    }
    assert_eq!(peer.host.stats.recovery.fast_retrans, 0);
    // With SACK a changed window does not matter: the blocks show the gap.
    let mut peer = Peer::established();
    let _ = peer.send(&[7; 9000]);
    let _ = peer.wait_millis(10);
    for (window, end) in [(60_000, 2000), (50_000, 3000), (40_000, 4000)] {
        peer.window = window;
        let _ = peer.sack_bytes(0, &[(988, end)]);
    }
    assert_eq!(peer.host.stats.recovery.fast_retrans, 1);
}

/// RFC 5681 §4.1.
#[test]
fn after_a_pause_the_window_starts_again() {
    let mut peer = Peer::plain();
    let mut sent = peer.send(&[0; 40_000]);
    let mut acked = 0;
    while !sent.is_empty() {
        acked += total(&sent) as u32;
        sent = peer.ack_bytes(acked);
    }
    assert!(peer.connection.congestion.cwnd() > 10_000);
    let _ = peer.wait_millis(1000);
    assert_eq!(peer.send(&[0; 40_000]).len(), 10);
}

#[test]
fn a_smaller_path_is_learned_and_what_was_in_flight_sent_again() {
    let mut peer = Peer::plain();
    let _ = peer.send(&[7; 3000]);
    let (_, sent) = peer.call(|connection, ctx| connection.on_path_mss(ctx, ISS + 5000, 600));
    assert!(sent.is_empty(), "not about something in flight");
    let (_, sent) = peer.call(|connection, ctx| connection.on_path_mss(ctx, ISS + 1001, 600));
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [600; 5]);
    let (_, sent) = peer.call(|connection, ctx| connection.on_path_mss(ctx, ISS + 1001, 1400));
    assert!(sent.is_empty(), "paths do not get wider this way");
    assert_eq!(peer.connection.congestion.cwnd(), 6000, "no congestion");
}

/// MUST-24 to MUST-29, MAY-5, SHLD-12.
#[test]
fn keepalives_probe_an_idle_peer_and_give_up_at_last() {
    let configure = |_: &mut super::bench::Host, params: &mut crate::tcp::OpenParams| {
        params.settings.keepalive = true;
        params.settings.keepalive_idle = Duration::from_secs(10);
        params.settings.keepalive_interval = Duration::from_secs(2);
        params.settings.keepalive_probes = 3;
    };
    let mut peer = Peer::established_with(Offer::plain(), configure);
    assert!(peer.wait(Duration::from_secs(9)).is_empty());
    let _ = peer.data(b"x");
    assert!(peer.wait(Duration::from_secs(9)).is_empty(), "ten seconds from the last segment");
    let probes = peer.wait(Duration::from_secs(2));
    assert_eq!(probes.len(), 1);
    assert!(probes[0].is_pure_ack());
    assert_eq!(probes[0].header.seq, ISS, "SND.NXT - 1");
    let _ = peer.ack_bytes(0);
    assert!(peer.wait(Duration::from_secs(9)).is_empty(), "an answer starts the idle time anew");
    let sent = peer.wait(Duration::from_secs(60));
    assert_eq!(sent.iter().map(Sent::flags).collect::<Vec<_>>(), ["ACK", "ACK", "ACK", "RST,ACK"]);
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
    assert_eq!(peer.host.stats.tcp.keep_alive, 4);
}

/// MUST-26.
#[test]
fn keepalives_wait_while_something_is_outstanding_and_can_be_switched() {
    let mut peer = Peer::plain();
    assert_eq!(peer.connection.poll_timeout(), None, "MUST-25: off at first");
    let mut settings = peer.host.settings();
    settings.keepalive = true;
    settings.keepalive_idle = Duration::from_millis(300);
    let _ = peer.call(|connection, ctx| connection.set_settings(ctx, settings.clone()));
    let _ = peer.send(b"x");
    let sent = peer.wait_millis(700);
    assert!(sent.iter().all(|sent| sent.data.len() == 1), "retransmissions: {sent:?}");
    let _ = peer.ack_bytes(1);
    settings.keepalive = false;
    let _ = peer.call(|connection, ctx| connection.set_settings(ctx, settings));
    assert!(peer.wait(Duration::from_secs(9)).is_empty());
    assert_eq!(peer.connection.poll_timeout(), None);
}

#[test]
fn early_time_outs_do_nothing() {
    let mut peer = Peer::plain();
    let _ = peer.send(b"x");
    let (at, _) = peer.connection.poll_timeout().expect("a retransmission");
    for _ in 0..3 {
        peer.connection.handle_timeout(&mut peer.host.ctx());
        assert!(peer.drain().is_empty());
    }
    assert_eq!(peer.connection.poll_timeout(), Some((at, DeadlineKind::Retransmit)));
}

#[test]
fn progress_is_told_once() {
    let mut peer = Peer::plain();
    assert!(peer.connection.take_progress(), "the SYN was acknowledged");
    assert!(!peer.connection.take_progress());
    let _ = peer.send(b"x");
    let _ = peer.data(b"not an acknowledgement of anything new");
    assert!(!peer.connection.take_progress());
    let _ = peer.ack_bytes(1);
    assert!(peer.connection.take_progress());
}

/// RFC 6298 §3 (RFC6298-3-a), in spite of timestamps: the acknowledgement of the first transmission
/// was lost, and the peer, for which the second is a duplicate, repeats the old echo. The time
/// since then includes the whole time-out.
#[test]
fn an_echo_from_before_a_time_out_is_no_round_trip() {
    let mut peer = Peer::established_with(Offer { sack: false, ..Offer::all() }, |_, _| {});
    let first = peer.send(&[0; 500]).remove(0);
    let again = peer.wait_for_segment();
    assert_eq!(again.header.seq, first.header.seq);
    let _ = peer.wait_millis(10);
    peer.ack = first.header.seq + 500;
    let mut header = peer.header(Flags::ACK);
    let echo = first.header.options.timestamps.map_or(0, |timestamps| timestamps.value);
    header.options.timestamps = Some(Timestamps { value: peer.clock(), echo });
    let _ = peer.deliver(header, &[]);
    assert_eq!(peer.connection.snd.outstanding(), 0);
    assert_eq!(peer.connection.rtt.srtt(), Some(Duration::from_millis(10)), "of the handshake");
}

/// RFC 4821 §7.4 (RFC4821-7.4-a, RFC4821-7.4-b).
#[test]
fn probes_of_the_path_need_data_behind_them_and_wait_for_one_another() {
    let offer = Offer { mss: Some(1460), scale: Some(7), timestamps: false, ..Offer::all() };
    let mut peer = Peer::established_with(offer, |host, _| host.config.tcp.mtu_probing = MtuProbing::Always);
    let probes = |peer: &Peer| peer.host.stats.mtu.probes;
    let _ = peer.send(&[1; 10_000]);
    let _ = peer.ack_bytes(10_000);
    let _ = peer.send(&[1; 5000]);
    let _ = peer.ack_bytes(15_000);
    assert_eq!(probes(&peer), 0, "nothing would follow that could show its loss");
    // The peer's window is small.
    let _ = peer.data(b"x");
    peer.window = 40;
    let _ = peer.ack_bytes(15_000);
    let _ = peer.send(&[1; 30_000]);
    assert_eq!(probes(&peer), 0, "the peer would not take what has to follow");
    peer.window = u16::MAX;
    let out = peer.connection.snd.nxt - (ISS + 1);
    let _ = peer.ack_bytes(out);
    assert_eq!(probes(&peer), 1);
    let _ = peer.send(&[1; 50_000]);
    assert_eq!(probes(&peer), 1, "the first one is still out");
    // The probe arrives, but segments before it are missing: no probe is sent until they are
    // repaired.
    let nxt = peer.connection.snd.nxt - (ISS + 1);
    let _ = peer.sack_bytes(out, &[(nxt - 3000, nxt)]);
    let _ = peer.sack_bytes(out, &[(nxt - 6000, nxt)]);
    assert_eq!(peer.connection.flight.recovery.phase(), Phase::Recovery);
    let _ = peer.ack_bytes(out + 1);
    assert_eq!(probes(&peer), 1);
}

/// RFC 6298 §3, Karn: the echoed timestamp shows which transmission was acknowledged, unless it is
/// older than the second.
#[test]
fn the_round_trip_of_what_was_sent_twice_is_that_of_its_echo() {
    let mut peer = Peer::established();
    let _ = peer.ack_bytes(0);
    let _ = peer.send(&[1; 500]);
    assert!(!peer.connection.is_unanswered());
    let _loss_probe = peer.wait_for_segment();
    let timed_out = peer.wait_for_segment();
    assert_eq!(Peer::offset(&timed_out), 0);
    assert!(peer.connection.is_unanswered());
    // `peer` echoes the timestamp of the last transmission.
    let before = peer.connection.rtt.srtt().unwrap();
    let _ = peer.wait_millis(100);
    let _ = peer.ack_bytes(500);
    let after = peer.connection.rtt.srtt().unwrap();
    assert!(after > before + Duration::from_millis(5), "{before:?} {after:?}: a sample of 100 ms");
    assert!(!peer.connection.is_unanswered());
}

/// Most received segments need no immediate answer: the connection says so, and `poll_transmit` is
/// not called.
#[test]
fn a_connection_that_has_nothing_to_send_is_quiet() {
    let mut peer = Peer::established();
    assert!(peer.connection.is_quiet(), "it is open");
    let _ = peer.send(&[1; 500]);
    assert!(peer.connection.is_quiet(), "everything is sent");
    let _ = peer.ack_bytes(500);
    let _ = peer.data(&[2; 100]);
    assert!(peer.connection.is_quiet(), "everything is acknowledged");
    peer.window = 0;
    let _ = peer.ack_bytes(500);
    let _ = peer.send(&[1; 500]);
    assert!(!peer.connection.is_quiet(), "something waits for the window");
    let mut peer = Peer::syn_sent(|_, _| {});
    assert!(!peer.connection.is_quiet(), "it is not open yet");
    let (_, sent) = peer.call(|connection, ctx| connection.abort(ctx));
    assert!(sent.is_empty() && !peer.connection.is_quiet());
}

/// A peer shrinks its window below all data in flight: the window is probed with back-off, although
/// no new data waits.
#[test]
fn what_was_lost_with_a_window_that_closed_is_probed_for() {
    let mut peer = Peer::plain();
    assert_eq!(total(&peer.send(&[7; 3000])), 3000);
    peer.window = 0;
    let _ = peer.ack_bytes(0);
    let start = peer.host.now;
    let mut last = start;
    for count in 1..6 {
        let probe = peer.wait_for_segment();
        assert!(probe.at - start < Duration::from_secs(20), "{count}");
        assert!(probe.at > last, "{count}");
        last = probe.at;
        let _ = peer.ack_bytes(0);
    }
    peer.window = 65_535;
    let _ = peer.ack_bytes(0);
    let _ = peer.wait_millis(2000);
    let _ = peer.ack_bytes(3000);
    assert_eq!(peer.connection.queued().1, 0);
}

/// TCP_USER_TIMEOUT: a peer that was silent for longer gets at least one keepalive (Linux's
/// tcp_keepalive_timer).
#[test]
fn a_silent_peer_is_asked_once_before_the_user_timeout_counts() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.keepalive = true;
        params.settings.keepalive_idle = Duration::from_secs(10);
        params.settings.keepalive_interval = Duration::from_secs(3);
        params.settings.user_timeout = Some(Duration::from_secs(5));
    });
    assert_eq!(peer.wait(Duration::from_secs(11)).len(), 1, "one probe");
    assert_eq!(peer.connection.state(), State::Established);
    let sent = peer.wait(Duration::from_secs(3));
    assert_eq!(sent.last().map(Sent::flags).as_deref(), Some("RST,ACK"));
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}

/// While the connection opens, TCP_USER_TIMEOUT applies in addition to the number of
/// retransmissions, later instead of it.
#[test]
fn a_syn_is_not_repeated_more_often_for_the_user_timeout() {
    let mut peer = Peer::syn_sent(|_, params| {
        params.settings.user_timeout = Some(Duration::from_secs(3600));
        params.settings.syn_retries = Some(1);
    });
    let sent = peer.wait(Duration::from_secs(1800));
    assert!((1..10).contains(&sent.len()), "{} SYNs", sent.len());
    assert_eq!(peer.connection.state(), State::Closed);
}

#[test]
fn whatever_is_pending_is_to_be_sent() {
    for bits in 0..32u8 {
        let [syn, loss_probe, probe, keepalive] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let reset = (bits & 16 != 0).then_some(Reset { seq: ISS, with_ack: false, tos: None });
        let pending = Pending { reset, syn, loss_probe, probe, keepalive };
        assert_eq!(pending.is_empty(), bits == 0, "{pending:?}");
    }
}

/// RFC 8985 §7.3: the timer of a probe has fired, and before the probe goes out an acknowledgement
/// shows a loss.
#[test]
fn a_loss_probe_gives_way_to_recovery() {
    let mut peer = Peer::established();
    let _ = peer.ack_bytes(0);
    let _ = peer.send(&[7; 9880]);
    let (at, kind) = peer.connection.poll_timeout().expect("a probe is due");
    assert_eq!(kind, DeadlineKind::LossProbe);
    peer.host.now = at;
    peer.connection.handle_timeout(&mut peer.host.ctx());
    let sent = peer.sack_bytes(0, &[(988, 9880)]);
    assert_eq!(offsets(&sent), [0]);
    let recovery = &peer.host.stats.recovery;
    assert_eq!((recovery.fast_retrans, recovery.loss_probes), (1, 0));
}

/// RFC 8985 §7.3: no probe, neither with new data nor with old, while the window is closed, though
/// something is in flight behind its edge.
#[test]
fn a_loss_probe_waits_for_the_window() {
    let mut peer = Peer::established();
    let _ = peer.ack_bytes(0);
    let _ = peer.send(&[7; 2964]);
    peer.window = 0;
    let _ = peer.ack_bytes(988);
    assert_eq!(peer.connection.in_flight(), 1976);
    peer.connection.on_loss_probe_timer(&peer.host.ctx());
    assert!(peer.drain().is_empty());
    peer.window = u16::MAX;
    let _ = peer.ack_bytes(988);
    peer.connection.on_loss_probe_timer(&peer.host.ctx());
    assert_eq!(offsets(&peer.drain()), [1976]);
    let _ = peer.ack_bytes(2964);
    peer.connection.on_loss_probe_timer(&peer.host.ctx());
    assert!(peer.drain().is_empty(), "nothing is in flight");
}

/// RFC 8985 §6.2 step 5: nothing is overdue when the timer fires.
#[test]
fn a_reordering_timer_that_finds_nothing_begins_nothing() {
    let mut peer = Peer::established();
    let _ = peer.ack_bytes(0);
    let _ = peer.send(&[7; 9880]);
    let cwnd = peer.connection.congestion.cwnd();
    peer.connection.on_reorder_timer(&mut peer.host.ctx());
    assert_eq!(peer.connection.flight.recovery.phase(), Phase::Open);
    assert_eq!(peer.connection.congestion.cwnd(), cwnd);
    assert_eq!(peer.host.stats.recovery.recoveries, 0);
}

/// RFC 9293 §3.8.6: what is sent again stays in a window that has shrunk, in whole segments as long
/// as it has room for one.
#[test]
fn what_is_sent_again_fits_the_window() {
    let mut peer = Peer::plain();
    let _ = peer.send(&[7; 5000]);
    let _time_out = peer.wait_for_segment();
    peer.window = 1500;
    let sent = peer.ack_bytes(1000);
    assert_eq!(sent.iter().map(|sent| sent.data.len()).collect::<Vec<_>>(), [1000, 500]);
    assert_eq!(offsets(&sent), [1000, 2000]);
}

/// Linux's tcp_tso_autosize: the last of each burst is pushed, and a burst is what the path carries
/// in about a millisecond, be it that the program writes more at once.
#[test]
fn a_burst_is_a_millisecond_of_the_path() {
    // Of a window of 100 segments, which slow start sends twice in a round trip.
    for (rtt, burst) in [(10, 19), (20, 9), (50, 3), (200, 2)] {
        let mut peer = Peer::syn_sent(|_, _| {});
        let _ = peer.wait_millis(rtt);
        let header = peer.syn(&Offer { scale: Some(4), ..Offer::plain() }, Flags::SYN_ACK);
        peer.seq = super::peer::IRS + 1;
        let _ = peer.deliver(header, &[]);
        let _ = peer.ack_bytes(0);
        peer.connection.congestion.set_cwnd(100_000);
        let sent = peer.send(&[7; 100_000]);
        let pushed: Vec<usize> = (0..sent.len())
            .filter(|&at| sent[at].header.flags.contains(Flags::PSH))
            .map(|at| at + 1)
            .collect();
        assert_eq!(pushed[0], burst, "{rtt} ms: {pushed:?}");
    }
}

/// As on Linux: after keepalives are switched on the first one is a whole idle time away, however
/// long the peer has been silent; another idle time counts from the peer's last segment.
#[test]
fn keepalives_begin_a_whole_idle_time_after_they_are_switched_on() {
    let mut peer = Peer::plain();
    let mut settings = peer.host.settings();
    settings.keepalive_idle = Duration::from_secs(10);
    let _ = peer.wait(Duration::from_secs(9));
    settings.keepalive = true;
    let _ = peer.call(|connection, ctx| connection.set_settings(ctx, settings.clone()));
    assert!(peer.wait(Duration::from_secs(9)).is_empty());
    assert_eq!(
        peer.connection.poll_timeout().map(|(at, _)| at - peer.host.now),
        Some(Duration::from_secs(1))
    );
    settings.keepalive_idle = Duration::from_secs(20);
    let _ = peer.call(|connection, ctx| connection.set_settings(ctx, settings));
    assert_eq!(
        peer.connection.poll_timeout().map(|(at, _)| at - peer.host.now),
        Some(Duration::from_secs(2))
    );
    assert_eq!(peer.wait(Duration::from_secs(2)).len(), 1);
}
