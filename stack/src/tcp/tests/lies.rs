//! A peer that lies on its own connection: its cost in records, timers and segments is limited.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::peer::{ISS, Offer, Peer, Sent};
use crate::error::CloseReason;
use crate::tcp::rack::PathTimes;
use crate::tcp::{Flags, Header, State, Timestamps};

const MSS: u32 = 1000;

/// A peer with a large window.
fn spacious(offer: Offer) -> Offer {
    Offer { scale: Some(7), ..offer }
}

/// A peer that has acknowledged until at least `segs` segments are in flight, and the number of
/// acknowledged bytes.
fn with_flight(mut peer: Peer, segs: u32) -> (Peer, u32) {
    let mut acked = 0;
    loop {
        let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 20]));
        if peer.connection.snd.flight() >= segs * MSS {
            check(&peer);
            return (peer, acked);
        }
        acked = peer.connection.snd.nxt - (ISS + 1);
        peer.host.now += Duration::from_millis(10);
        let _ = peer.ack_bytes(acked);
    }
}

/// The same with SACK and segments of 1,000 bytes, without timestamps, which would make them
/// shorter.
fn sacking(segs: u32) -> (Peer, u32) {
    let offer = spacious(Offer { timestamps: false, ..Offer::all() });
    with_flight(Peer::established_with(offer, |_, _| {}), segs)
}

fn plain(segs: u32) -> (Peer, u32) {
    with_flight(Peer::established_with(Offer { sack: false, ..spacious(Offer::plain()) }, |_, _| {}), segs)
}

fn check(peer: &Peer) {
    let snd = &peer.connection.snd;
    peer.connection.flight.scoreboard.assert_covers(snd.una, snd.nxt);
}

fn records(peer: &Peer) -> usize {
    peer.connection.flight.scoreboard.records()
}

/// RACK.reo_wnd for a round trip of 100 ms, in milliseconds.
fn reordering_window(peer: &Peer) -> u128 {
    let path = PathTimes { min_rtt: Duration::from_millis(100), srtt: Duration::from_millis(100) };
    peer.connection.flight.rack.reordering_window(false, 0, path).as_millis()
}

/// Blocks of one byte, inverted blocks, and blocks outside the data in flight change nothing.
#[test]
fn blocks_that_cannot_be_true_change_nothing() {
    let (mut peer, una) = sacking(300);
    let before = records(&peer);
    let nxt = peer.connection.snd.nxt - (ISS + 1);
    for at in 0..1_000 {
        let at = una + at * 97;
        let _ = peer.sack_bytes(una, &[(at + 1, at + 2), (at + 500, at + 400), (nxt - 10, nxt + 1)]);
        let _ = peer.sack_bytes(una, &[(una.wrapping_sub(at), una.wrapping_sub(at) + 5), (at, at)]);
        check(&peer);
    }
    assert_eq!(
        (peer.connection.flight.scoreboard.sacked(), peer.connection.flight.scoreboard.lost()),
        (0, 0)
    );
    assert_eq!(records(&peer), before);
}

/// SACKed data is one record, however often it is reported again: an acknowledgement with
/// alternating blocks has no long list to scan.
#[test]
fn alternating_blocks_find_no_records_to_look_through() {
    let (mut peer, una) = sacking(600);
    let segs = peer.connection.snd.flight() / MSS;
    // Every second segment: no more records than segments.
    for pair in 1..segs / 2 {
        let left = una + 2 * pair * MSS;
        peer.host.now += Duration::from_micros(1);
        let _ = peer.sack_bytes(una, &[(left, left + MSS)]);
        assert!(records(&peer) <= segs as usize + 100);
    }
    check(&peer);
    assert!(records(&peer) > segs as usize / 2);
    let end = una + (segs - 1) * MSS;
    let wide = (una + MSS, end);
    for _ in 0..200 {
        let _ = peer.sack_bytes(una, &[wide]);
        let _ = peer.sack_bytes(una, &[(end - MSS, end)]);
        check(&peer);
    }
    assert!(records(&peer) <= 60, "{} records", records(&peer));
}

/// False D-SACKs (RFC 2883): only retransmitted data can be reported as a duplicate, so the
/// reordering window does not grow, and nothing is undone.
#[test]
fn duplicates_of_what_was_sent_once_say_nothing() {
    let (mut peer, mut una) = sacking(100);
    assert_eq!(reordering_window(&peer), 25);
    for _ in 0..50 {
        peer.host.now += Duration::from_millis(10);
        una += MSS;
        let _ = peer.sack_bytes(una, &[(una - MSS, una)]);
    }
    assert_eq!(peer.host.stats.recovery.dsacks_received, 50);
    assert_eq!(reordering_window(&peer), 25);
}

/// Acknowledgements of one byte each, in a recovery without SACK, where each may cause a
/// retransmission of the first segment (RFC 6582): at most one segment each, and no state for
/// earlier ones.
#[test]
fn divided_acknowledgements_in_recovery_send_at_most_one_segment_each() {
    let (mut peer, una) = plain(200);
    for _ in 0..3 {
        let _ = peer.ack_bytes(una);
    }
    assert!(peer.connection.flight.recovery.is_repairing());
    let before = peer.connection.flight.scoreboard.memory_bytes();
    let mut sent = 0;
    for byte in 1..3_000 {
        peer.host.now += Duration::from_micros(10);
        sent += peer.ack_bytes(una + byte).len();
        check(&peer);
    }
    assert!(sent <= 3_000 + 10, "{sent}");
    let after = peer.connection.flight.scoreboard.memory_bytes();
    assert!(after <= 2 * before + 20_000, "{before} bytes, then {after}");
}

/// RFC 5681 without SACK: a segment is sent for each duplicate acknowledgement, within the peer's
/// window. With SACK, one without a new block causes nothing.
#[test]
fn floods_of_duplicate_acknowledgements() {
    let (mut peer, una) = plain(20);
    let window = peer.connection.snd.wnd;
    for _ in 0..20_000 {
        let sent = peer.ack_bytes(una);
        assert!(sent.len() <= 3, "{sent:?}");
        assert!(peer.connection.snd.flight() <= window);
    }
    check(&peer);
    let (mut peer, una) = sacking(20);
    let sent: usize = (0..20_000).map(|_| peer.ack_bytes(una).len()).sum();
    assert_eq!(sent, 0);
}

/// A receiver that acknowledges data before it has arrived only makes us send faster: the window
/// grows by what was in flight. An acknowledgement of data that was never sent is not accepted, and
/// is answered at a limited rate (RFC 5961 §5).
#[test]
fn optimistic_acknowledgements() {
    let (mut peer, _) = sacking(20);
    for _ in 0..8 {
        let cwnd = peer.connection.congestion.cwnd();
        let flight = peer.connection.snd.flight();
        let acked = peer.connection.snd.nxt - (ISS + 1);
        peer.host.now += Duration::from_micros(1);
        let sent = peer.ack_bytes(acked);
        let bytes: usize = sent.iter().map(|sent| sent.data.len()).sum();
        assert!(peer.connection.congestion.cwnd() <= cwnd + flight);
        assert!(bytes as u32 <= cwnd + flight, "{bytes} upon {flight}");
        let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 20]));
    }
    let (una, cwnd) = (peer.connection.snd.una, peer.connection.congestion.cwnd());
    let answers: usize = (1..1_000u32)
        .map(|far| {
            peer.host.now += Duration::from_millis(1);
            let nxt = peer.connection.snd.nxt - (ISS + 1);
            let header = Header { ack: ISS + 1 + nxt + far * 1_000, ..peer.header(Flags::ACK) };
            peer.deliver(header, &[]).len()
        })
        .sum();
    assert!(answers <= 3, "{answers} challenges in a second");
    assert_eq!((peer.connection.snd.una, peer.connection.congestion.cwnd()), (una, cwnd));
}

/// RFC 3465: the window grows by bytes, not by acknowledgements.
#[test]
fn divided_acknowledgements_grow_the_window_no_faster() {
    let (mut peer, acked) = sacking(20);
    let cwnd = peer.connection.congestion.cwnd();
    for byte in 1..=5_000 {
        let _ = peer.ack_bytes(acked + byte);
    }
    assert!(peer.connection.congestion.cwnd() <= cwnd + 5_000);
}

/// A peer that abuses Eifel (RFC 3522): after each loss it echoes an old timestamp, and the
/// reduction is undone. The window gets its former value, and never more.
#[test]
fn recoveries_undone_for_ever_gain_nothing() {
    let (mut peer, mut una) = with_flight(Peer::established_with(spacious(Offer::all()), |_, _| {}), 100);
    let step = peer.connection.snd.mss(1460, 48) as u32 - 12;
    let (mut given, mut got) = (0, 0);
    let mut most = peer.connection.congestion.cwnd();
    let mut undone = 0;
    for _ in 0..500 {
        let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 20]));
        peer.host.now += Duration::from_millis(10);
        let mut sent = peer.sack_bytes(una, &[(una + step, una + 40 * step)]);
        sent.extend(peer.wait_millis(10));
        una += 40 * step;
        peer.ack = ISS + 1 + una;
        let mut header = peer.header(Flags::ACK);
        header.options.timestamps =
            header.options.timestamps.map(|now| Timestamps { echo: now.echo.wrapping_sub(1_000), ..now });
        sent.extend(peer.deliver(header, &[]));
        given += 2;
        got += sent.len();
        check(&peer);
        let cwnd = peer.connection.congestion.cwnd();
        assert!(cwnd <= most + 41 * step, "{cwnd} after {most}");
        most = most.max(cwnd);
        undone = peer.host.stats.recovery.spurious_recoveries;
        una = una.max(peer.connection.snd.una - (ISS + 1));
    }
    assert!(undone > 10, "{undone}");
    assert!(got <= 50 * given, "{got} segments for {given}");
}

/// A peer that abuses RFC 2018 §8: it SACKs the first segment repeatedly without acknowledging it.
/// That does not postpone the time-out, and the connection ends.
#[test]
fn reneging_for_ever_does_not_put_the_timeout_off() {
    let (mut peer, una) = sacking(20);
    let begin = peer.host.now;
    while peer.connection.state() != State::Closed {
        let _ = peer.wait_millis(5);
        let _ = peer.sack_bytes(una, &[(una, una + 5 * MSS)]);
        assert!(peer.host.now - begin < Duration::from_secs(3_600));
    }
    assert_eq!(peer.connection.close_reason(), Some(CloseReason::TimedOut));
}

/// The connection has no descriptor, and its peer opens and closes the window without ever
/// accepting data.
#[test]
fn an_orphan_is_not_held_by_a_window_that_opens_and_closes() {
    for window in [0, 1] {
        let (mut peer, una) = sacking(20);
        let _ = peer.close();
        let begin = peer.host.now;
        let mut turn = 0;
        while peer.connection.state() != State::Closed {
            turn += 1;
            peer.window = if turn % 2 == 0 { 65_535 } else { window };
            let _ = peer.ack_bytes(una);
            let _ = peer.wait_millis(200);
            assert!(peer.host.now - begin < Duration::from_secs(3_600), "window {window}");
        }
    }
}

/// A tiny MSS: the number of segments in flight is limited, and so is that of the records.
#[test]
fn tiny_segments_in_flight_are_bounded() {
    for mss in [1, 48] {
        let offer = spacious(Offer { mss: Some(mss), ..Offer::all() });
        let mut peer = Peer::established_with(offer, |host, _| host.config.tcp.max_flight_segs = 500);
        for _ in 0..20 {
            let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 20]));
            peer.host.now += Duration::from_millis(10);
            let acked = peer.connection.snd.nxt - (ISS + 1);
            let sent = peer.ack_bytes(acked);
            assert!(sent.len() <= 500, "{}", sent.len());
        }
        let (una, flight) = (peer.connection.snd.una - (ISS + 1), peer.connection.snd.flight());
        assert_eq!(flight, 500 * 36);
        for seg in (1..500).step_by(2) {
            let _ = peer.sack_bytes(una, &[(una + seg * 36, una + seg * 36 + 36)]);
            check(&peer);
        }
        assert!(records(&peer) <= 500);
        assert!(peer.connection.flight.scoreboard.memory_bytes() <= 200_000);
    }
}

/// A peer that abuses RFC 3168: ECE in every acknowledgement halves the window once a round trip,
/// and data is still sent.
#[test]
fn congestion_reported_for_ever_leaves_a_window() {
    let offer = spacious(Offer { timestamps: false, ..Offer::all() });
    let mut peer = Peer::syn_sent(|host, _| host.config.tcp.ecn = crate::Ecn::Request);
    peer.host.now += Duration::from_millis(10);
    let header = peer.syn(&offer, Flags::SYN_ACK.with(Flags::ECE));
    peer.seq = super::peer::IRS + 1;
    peer.window = offer.window;
    let _ = peer.deliver(header, &[]);
    let (mut peer, mut acked) = with_flight(peer, 100);
    for _ in 0..200 {
        peer.host.now += Duration::from_millis(10);
        acked = peer.connection.snd.nxt - (ISS + 1);
        let header = Header { ack: ISS + 1 + acked, ..peer.header(Flags::ACK.with(Flags::ECE)) };
        let sent = peer.deliver(header, &[]);
        let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 16]));
        assert!(peer.connection.snd.flight() > 0 || !sent.is_empty());
        assert!(peer.connection.congestion.cwnd() >= MSS);
    }
    assert!(acked > 200 * MSS);
}

/// Two segments with different data for the same numbers: the data that came first stays, however
/// they overlap, and nothing is delivered twice.
#[test]
fn what_came_first_stays() {
    // The segments as offset, length and letter, in the order of arrival; then the bytes that are
    // read.
    type Segment = (u32, usize, u8);
    let cases: [(&[Segment], &[u8]); 5] = [
        (&[(2, 2, b'a'), (0, 6, b'b')], b"bbaabb"),
        (&[(2, 4, b'a'), (0, 4, b'b')], b"bbaaaa"),
        (&[(2, 2, b'a'), (6, 2, b'c'), (0, 7, b'b')], b"bbaabbcc"),
        (&[(2, 2, b'a'), (1, 4, b'c'), (0, 6, b'b')], b"bcaacb"),
        (&[(0, 3, b'a'), (0, 6, b'b'), (2, 5, b'c')], b"aaabbbc"),
    ];
    for (segments, expected) in cases {
        let mut peer = Peer::established();
        for &(offset, len, letter) in segments {
            let _ = peer.data_at(offset, &vec![letter; len]);
        }
        assert_eq!(peer.recv(100), expected);
    }
}

/// Thousands of old segments: each gets one acknowledgement with a D-SACK, and nothing more.
#[test]
fn old_duplicates_get_one_acknowledgement_each() {
    let mut peer = Peer::established();
    let _ = peer.data(&[1; 1000]);
    let _ = peer.recv(1000);
    let begin = peer.seq;
    for number in 0..5_000u32 {
        let header = Header { seq: begin - 1 - number % 1000, ..peer.header(Flags::ACK) };
        let sent = peer.deliver(header, &[2]);
        assert!(sent.len() <= 1 && sent.iter().all(Sent::is_pure_ack), "{sent:?}");
    }
    assert_eq!(peer.connection.queued(), (0, 0));
    assert_eq!(peer.connection.rcv.nxt, begin);
}

/// Out-of-order data whose gaps are never filled: ranges and bytes are limited.
#[test]
fn islands_without_end_are_bounded() {
    let mut peer = Peer::established();
    let mut answers = 0;
    for number in 0..20_000u32 {
        let offset = 2 + number.wrapping_mul(7_919) % 60_000;
        answers += peer.data_at(offset, &[3]).len();
    }
    assert!(answers <= 20_000);
    // Each range may cost some 200 bytes.
    let most = 200 * peer.host.config.tcp.max_out_of_order_ranges;
    assert!(peer.connection.rcv.memory_bytes() <= most, "{}", peer.connection.rcv.memory_bytes());
    assert_eq!(peer.connection.rcv.nxt, peer.seq, "nothing was taken that was not in order");
}

/// An acknowledgement of a hostile peer in the middle of a transfer.
#[derive(Clone, Debug)]
struct Lie {
    /// The offset from SND.UNA.
    ack: u32,
    blocks: Vec<(u32, u32)>,
    window: u16,
    /// The age of the echoed timestamp.
    echo: u32,
    flags: Flags,
    /// Milliseconds before it arrives.
    after: u64,
}

/// Mostly near the boundaries of segments.
fn edge() -> impl Strategy<Value = u32> {
    let near = (0u32..150, 0u32..5).prop_map(|(segs, off)| (segs * MSS + off).wrapping_sub(2));
    prop_oneof![8 => near, 1 => any::<u32>()]
}

fn lie() -> impl Strategy<Value = Lie> {
    let ack = prop_oneof![4 => Just(0), 2 => edge(), 1 => 0u32..3];
    let blocks = proptest::collection::vec((edge(), edge()), 0..4);
    let window = prop_oneof![4 => Just(u16::MAX), 1 => Just(0), 1 => 0u16..20, 1 => any::<u16>()];
    let echo = prop_oneof![Just(0u32), 0u32..300, any::<u32>()];
    let flags = prop_oneof![6 => Just(Flags::ACK), 1 => Just(Flags::ACK.with(Flags::ECE))];
    let after = prop_oneof![3 => Just(0u64), 3 => 0u64..30, 1 => 0u64..3_000];
    (ack, blocks, window, echo, flags, after).prop_map(|(ack, blocks, window, echo, flags, after)| Lie {
        ack,
        blocks,
        window,
        echo,
        flags,
        after,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// For any acknowledgements while data is in flight: the records cover exactly that data, there
    /// are no more of them than segments, and no more is sent than the congestion window and the
    /// peer's window allow.
    #[test]
    fn whatever_is_acknowledged_in_the_middle_of_a_transfer(
        lies in proptest::collection::vec(lie(), 1..100),
        timestamps: bool,
        sack: bool,
    ) {
        let offer = spacious(Offer { timestamps, sack, ..Offer::all() });
        let (mut peer, _) = with_flight(Peer::established_with(offer, |_, _| {}), 100);
        for lie in lies {
            if peer.connection.state() == State::Closed {
                return Ok(());
            }
            let mut sent = peer.wait_millis(lie.after);
            let una = peer.connection.snd.una;
            let clock = peer.connection.timestamps.clock(peer.host.now);
            let mut header = Header { ack: una + lie.ack, window: lie.window, ..peer.header(lie.flags) };
            if let Some(timestamps) = &mut header.options.timestamps {
                timestamps.echo = clock.wrapping_sub(lie.echo);
            }
            let blocks = lie.blocks.iter().map(|&(left, right)| (una + left, una + right));
            header.options.sack = blocks.collect();
            let before = peer.connection.congestion.cwnd();
            let upon = peer.deliver(header, &[]);
            let bytes: usize = upon.iter().map(|sent| sent.data.len()).sum();
            let cwnd = peer.connection.congestion.cwnd().max(before);
            // Without SACK one more segment is sent for each duplicate (RFC 5681 §3.2).
            let most = cwnd + MSS + peer.connection.flight.recovery.duplicate_bytes();
            prop_assert!(bytes as u32 <= most, "{} bytes with a window of {}", bytes, cwnd);
            sent.extend(upon);
            check(&peer);
            let snd = &peer.connection.snd;
            let most = snd.una + snd.max_wnd;
            prop_assert!(sent.iter().all(|sent| (sent.header.seq + sent.data.len() as u32).before_eq(most)));
            // Segments of any used length, and the SACKed ranges between them.
            prop_assert!(records(&peer) as u32 <= 2 * (snd.flight() / (MSS - 12)) + 10);
            prop_assert!(peer.connection.flight.scoreboard.memory_bytes() < 1 << 20);
            let _ = peer.call(|connection, ctx| connection.send(ctx, &vec![7; 1 << 14]));
        }
    }
}
