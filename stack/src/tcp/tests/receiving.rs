//! Receiving: acknowledgements and their timing, gaps, SACK, the window, PAWS.

use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::memory::pressed;
use super::peer::{IRS, ISS, Offer, Peer};
use crate::drop_reason::DropReason;
use crate::error::Error;
use crate::tcp::receiver::Placement;
use crate::tcp::{Flags, Header, SeqNumber, State, Timestamps};

/// Uses up the immediate acknowledgements of the start.
fn after_quick_acks(mut peer: Peer) -> Peer {
    for _ in 0..peer.host.config.tcp.quick_acks {
        assert_eq!(peer.data(b"x").len(), 1, "a quick acknowledgement");
    }
    peer
}

fn edge(header: &Header, scale: u8) -> SeqNumber {
    header.ack + (u32::from(header.window) << scale)
}

/// SHLD-18, MUST-40.
#[test]
fn acknowledgements_are_delayed_by_40_ms_after_the_start() {
    let mut peer = after_quick_acks(Peer::plain());
    assert!(peer.data(b"x").is_empty());
    assert!(peer.data(b"y").is_empty(), "two small segments are not two full ones");
    assert!(peer.wait_millis(39).is_empty());
    let acks = peer.wait_millis(1);
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].header.ack, peer.seq);
    assert_eq!(peer.connection.poll_timeout(), None);
}

/// SHLD-19: every second full segment.
#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut peer = after_quick_acks(Peer::established_with(Offer::plain(), |_, _| {}));
    let _ = peer.data(&[1; 1460]);
    for _ in 0..5 {
        let _ = peer.wait_millis(41);
        assert!(peer.data(&[1; 1460]).is_empty());
        assert_eq!(peer.data(&[1; 1460]).len(), 1);
    }
}

/// MUST-58, MUST-59: one acknowledgement for a batch of segments.
#[test]
fn a_burst_is_acknowledged_once() {
    let mut peer = after_quick_acks(Peer::plain());
    for _ in 0..10 {
        let header = peer.header(Flags::ACK);
        peer.seq += 1460;
        let data = [3; 1460][..].to_vec().into();
        peer.connection.handle_segment(&mut peer.host.ctx(), &header, data);
    }
    let acks = peer.drain();
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].header.ack, peer.seq);
}

#[test]
fn an_answer_carries_the_acknowledgement_and_ends_the_quick_ones() {
    let mut peer = Peer::plain();
    assert_eq!(peer.data(b"question").len(), 1);
    let answer = peer.send(b"answer");
    assert_eq!(answer[0].header.ack, peer.seq);
    peer.ack += 6;
    assert!(peer.data(b"question").is_empty(), "a dialogue: the answer will acknowledge it");
    let answer = peer.send(b"answer");
    assert_eq!(answer[0].header.ack, peer.seq);
    assert!(peer.wait_millis(100).is_empty());
}

#[test]
fn after_a_pause_acknowledgements_are_quick_again() {
    let mut peer = after_quick_acks(Peer::plain());
    let _ = peer.wait_millis(1000);
    assert_eq!(peer.data(b"x").len(), 1);
}

/// MAY-13, SHLD-31, RFC 2018, RFC 5681 §4.2.
#[test]
fn gaps_are_reported_at_once_the_latest_first_and_filled() {
    let mut peer = Peer::established();
    let mut blocks = Vec::new();
    for island in [1u32, 3, 5, 7, 9] {
        let sent = peer.data_at(island * 100, &[island as u8; 100]);
        assert_eq!(sent.len(), 1, "one duplicate acknowledgement for each");
        assert_eq!(sent[0].header.ack, peer.seq);
        blocks.insert(0, (peer.seq + island * 100, peer.seq + (island + 1) * 100));
        let expected: Vec<_> = blocks.iter().copied().take(3).collect();
        assert_eq!(sent[0].header.options.sack.to_vec(), expected);
    }
    let sent = peer.data(&[0; 100]);
    assert_eq!(sent[0].header.ack, peer.seq + 100, "filled up to the next gap, at once");
    peer.seq += 100;
    assert_eq!(peer.recv(1000), [[0u8; 100], [1; 100]].concat());
}

#[test]
fn four_blocks_fit_without_timestamps_and_none_are_sent_unasked() {
    let offer = Offer { timestamps: false, ..Offer::all() };
    let mut peer = Peer::established_with(offer, |_, _| {});
    let mut last = Vec::new();
    for island in [1u32, 3, 5, 7, 9] {
        last = peer.data_at(island * 100, &[0; 100]);
    }
    assert_eq!(last[0].header.options.sack.len(), 4);
    let mut peer = Peer::plain();
    let sent = peer.data_at(100, &[0; 100]);
    assert!(sent[0].header.options.sack.is_empty());
}

#[test]
fn data_segments_shrink_to_make_room_for_sack() {
    let mut peer = Peer::established();
    let _ = peer.data_at(100, b"island");
    let sent = peer.send(&[0; 5000]);
    assert_eq!(sent[0].data.len(), 1000 - 12 - 12);
    assert_eq!(sent[0].header.options.sack.len(), 1);
}

#[test]
fn each_duplicate_of_a_batch_gets_its_acknowledgement() {
    let mut peer = Peer::established();
    for island in 1..=3 {
        let header = Header { seq: peer.seq + island * 1000, ..peer.header(Flags::ACK) };
        peer.connection.handle_segment(&mut peer.host.ctx(), &header, [0; 1000][..].to_vec().into());
    }
    assert_eq!(peer.drain().len(), 3, "or a peer without SACK could not count them");
}

#[test]
fn islands_are_bounded() {
    let mut peer = Peer::plain();
    let limit = peer.host.config.tcp.max_out_of_order_ranges as u32;
    for island in 0..limit {
        let _ = peer.data_at(2 + island * 2, b"x");
    }
    let header = Header { seq: peer.seq + 2 + limit * 2, ..peer.header(Flags::ACK) };
    let _ = peer.deliver_dropped(header, b"x", DropReason::ReassemblyQueueFull);
    let duplicate = Header { seq: peer.seq + 2, ..peer.header(Flags::ACK) };
    let _ = peer.deliver_dropped(duplicate, b"x", DropReason::DuplicateData);
}

#[test]
fn a_fin_that_comes_early_waits_for_the_data_before_it() {
    let mut peer = Peer::plain();
    let fin = Header { seq: peer.seq + 5, ..peer.header(Flags::FIN.with(Flags::ACK)) };
    let sent = peer.deliver(fin, b"world");
    assert_eq!(sent[0].header.ack, peer.seq);
    assert_eq!(peer.connection.state(), State::Established);
    let sent = peer.data(b"hello");
    assert_eq!(peer.connection.state(), State::CloseWait);
    assert_eq!(sent[0].header.ack, peer.seq + 6);
    assert_eq!(peer.recv(20), b"helloworld");
    assert_eq!(peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 4])).0, Ok(0));
}

#[test]
fn what_lies_outside_the_window_is_cut_off() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.receive_buffer_bytes = 1000;
    });
    let sent = peer.data(&[7; 1200]);
    assert_eq!(sent[0].header.ack, IRS + 1 + 1000);
    assert_eq!(sent[0].header.window, 0);
    assert_eq!(peer.connection.queued().0, 1000);
}

/// MAY-8, MUST-66: with a closed window data is refused, and acknowledgements and resets are
/// processed.
#[test]
fn a_closed_window_takes_acknowledgements_resets_and_a_bare_fin() {
    let closed = || {
        let mut peer = Peer::established_with(Offer::plain(), |_, params| {
            params.settings.receive_buffer_bytes = 1000;
        });
        let _ = peer.send(b"ours");
        let _ = peer.data(&[7; 1000]);
        peer
    };
    let mut peer = closed();
    peer.ack += 4;
    let probe = peer.header(Flags::ACK);
    let sent = peer.deliver_dropped(probe, b"p", DropReason::OutOfWindow);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].header.ack, sent[0].header.window), (peer.seq, 0));
    assert_eq!(peer.connection.queued(), (1000, 0), "the data is refused, the acknowledgement counts");
    let _ = peer.fin();
    assert_eq!(peer.connection.state(), State::CloseWait);
    let sent = peer.wait_millis(40);
    assert_eq!((sent[0].header.ack, sent[0].header.window), (peer.seq, 0));

    let mut peer = closed();
    let reset = peer.header(Flags::RST);
    let _ = peer.deliver(reset, &[]);
    assert_eq!(peer.connection.state(), State::Closed);
}

/// MUST-39: the window opens in steps of at least a segment; SHLD-14.
#[test]
fn the_window_opens_in_worthwhile_steps() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.receive_buffer_bytes = 10_000;
    });
    for _ in 0..10 {
        let _ = peer.data(&[7; 1000]);
    }
    let (_, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 1000]));
    assert!(sent.is_empty(), "1,000 bytes are less than a segment of 1,460");
    let probe = peer.header(Flags::ACK);
    assert_eq!(peer.deliver(probe, b"p")[0].header.window, 0, "not even when asked");
    let (_, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 1000]));
    assert_eq!(sent.len(), 1, "an update");
    assert_eq!(sent[0].header.window, 2000);
    let (_, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 1000]));
    assert!(sent.is_empty(), "the peer has room meanwhile");
    let (_, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 1000]));
    assert_eq!(sent[0].header.window, 4000);
}

#[test]
fn a_buffer_beyond_what_an_unscaled_window_can_say_makes_no_updates() {
    let mut peer = Peer::established_with(Offer::plain(), |_, params| {
        params.settings.receive_buffer_bytes = 1 << 20;
    });
    for _ in 0..50 {
        // The window opens by whole segments.
        for sent in peer.data(&[7; 1000]) {
            assert!(sent.header.window >= u16::MAX - 2 * 1460, "{sent:?}");
        }
        let (_, sent) = peer.call(|connection, ctx| connection.recv(ctx, &mut [0; 1000]));
        assert!(sent.is_empty(), "the peer knows all that it can be told");
    }
}

#[test]
fn a_larger_buffer_opens_the_window_a_smaller_one_never_shrinks_it() {
    let mut peer = Peer::established_with(Offer { scale: Some(0), ..Offer::plain() }, |_, params| {
        params.settings.receive_buffer_bytes = 100_000;
    });
    let first = peer.send(b"x");
    let mut settings = peer.host.settings();
    settings.receive_buffer_bytes = 1000;
    let (_, sent) = peer.call(|connection, ctx| connection.set_settings(ctx, settings.clone()));
    assert!(sent.is_empty());
    let second = peer.data(&[1; 50_000]);
    assert!(edge(&second[0].header, 7).after_eq(edge(&first[0].header, 7)));
    settings.receive_buffer_bytes = 1_000_000;
    let (_, sent) = peer.call(|connection, ctx| connection.set_settings(ctx, settings.clone()));
    assert_eq!(edge(&sent[0].header, 7) - peer.seq, 950_000 / 128 * 128);
}

proptest! {
    /// SHLD-14: for any segments and reads, the right edge never moves left, and no more data is
    /// accepted than was offered.
    #[test]
    fn the_right_edge_never_moves_left(
        buffer in 1usize..200_000,
        steps in proptest::collection::vec((1usize..3000, 0usize..4000), 1..200),
        scaled: bool,
        auto: bool,
    ) {
        let offer = Offer { scale: scaled.then_some(2), ..Offer::plain() };
        let scale = if scaled { 7 } else { 0 };
        let mut peer = Peer::established_with(offer, |_, params| {
            params.settings.receive_buffer_bytes = buffer;
            params.settings.auto_receive_buffer = auto;
        });
        let mut right = IRS + 1;
        let mut given = 0;
        for (write, read) in steps {
            let window = right.max(peer.seq) - peer.seq;
            let len = write.min(window as usize);
            let mut sent = if len > 0 { peer.data(&alloc::vec![0; len]) } else { Vec::new() };
            given += len;
            if read > 0 && peer.connection.queued().0 > 0 {
                let mut buf = alloc::vec![0; read];
                let (count, updates) = peer.call(|connection, ctx| connection.recv(ctx, &mut buf));
                given -= count.expect("there is data");
                sent.extend(updates);
            }
            sent.extend(peer.wait_millis(50));
            for sent in &sent {
                // At most a unit, and only after single bytes have exceeded the buffer by an
                // eighth.
                prop_assert!(edge(&sent.header, scale).after_eq(right), "{right:?}: {sent:?}");
                right = edge(&sent.header, scale);
            }
            prop_assert_eq!(peer.connection.queued().0, given);
            let buffer = peer.connection.buffers().0;
            prop_assert!(given <= buffer.max(256) + buffer / 8 + 256);
        }
    }
}

/// RFC 7323 §5.3.
#[test]
fn old_timestamps_are_refused_and_answered() {
    let mut peer = Peer::established();
    let _ = peer.wait_millis(100);
    let _ = peer.data(b"new");
    let mut old = peer.header(Flags::ACK);
    old.options.timestamps = Some(Timestamps { value: peer.clock() - 50, echo: 0 });
    let sent = peer.deliver_dropped(old.clone(), b"old", DropReason::Paws);
    assert!(sent[0].is_pure_ack());
    old.flags = Flags::RST;
    let _ = peer.deliver(old, &[]);
    assert_eq!(peer.connection.state(), State::Closed, "a reset is exempt");
}

#[test]
fn segments_without_the_negotiated_timestamp_are_taken() {
    let mut peer = Peer::established();
    let mut bare = peer.header(Flags::ACK);
    bare.options.timestamps = None;
    let _ = peer.deliver(bare.clone(), b"x");
    assert_eq!(peer.connection.queued().0, 1);
    bare.seq += 1;
    bare.flags = Flags::RST;
    let _ = peer.deliver(bare, &[]);
    assert_eq!(peer.connection.state(), State::Closed);
}

#[test]
fn the_timestamp_echoed_is_the_one_that_the_acknowledgement_answers() {
    let mut peer = Peer::established();
    for _ in 0..16 {
        let _ = peer.data(b"x");
    }
    let _ = peer.wait_millis(10);
    let first = peer.clock();
    assert!(peer.data(b"a").is_empty());
    let _ = peer.wait_millis(10);
    assert!(peer.data(b"b").is_empty());
    let acks = peer.wait_millis(40);
    // RFC 7323 §4.3: the timestamp of the earliest of several segments, so that the sample includes
    // the delay of the acknowledgement.
    assert_eq!(acks[0].header.options.timestamps.map(|timestamps| timestamps.echo), Some(first));
}

/// RFC 5961 §3: only a reset exactly at RCV.NXT is accepted; others are challenged, at most twice a
/// second.
#[test]
fn blind_resets_are_challenged_at_a_bounded_rate() {
    let mut peer = Peer::established();
    let reset = Header { seq: peer.seq + 1, ..peer.header(Flags::RST) };
    let sent = peer.deliver_dropped(reset.clone(), &[], DropReason::ChallengeAck);
    assert_eq!((sent[0].header.seq, sent[0].header.ack), (ISS + 1, peer.seq));
    for _ in 0..100 {
        assert!(peer.deliver_dropped(reset.clone(), &[], DropReason::ChallengeAck).is_empty());
    }
    let _ = peer.wait_millis(500);
    assert_eq!(peer.deliver(reset, &[]).len(), 1);
    assert_eq!(peer.host.stats.tcp.challenge_ack, 2);
    assert_eq!(peer.connection.state(), State::Established);
}

/// RFC 5961 §4, §5 (MAY-12).
#[test]
fn syns_and_impossible_acknowledgements_are_challenged() {
    let mut peer = Peer::plain();
    let _ = peer.send(b"abc");
    let syn = peer.header(Flags::SYN);
    assert!(peer.deliver_dropped(syn, &[], DropReason::ChallengeAck)[0].is_pure_ack());
    let _ = peer.wait_millis(501);
    let unsent = Header { ack: ISS + 5, ..peer.header(Flags::ACK) };
    let sent = peer.deliver_dropped(unsent, b"injected", DropReason::BadAck);
    assert!(sent.iter().any(|sent| sent.is_pure_ack()));
    let _ = peer.wait_millis(501);
    let before = Header { ack: ISS, ..peer.header(Flags::ACK) };
    let _ = peer.deliver_dropped(before, b"injected", DropReason::BadAck);
    assert_eq!(peer.connection.queued().0, 0, "from before the connection");
    let all = Header { ack: ISS + 4, ..peer.header(Flags::ACK) };
    let _ = peer.deliver(all, &[]);
    let old = Header { ack: ISS + 1, ..peer.header(Flags::ACK) };
    let _ = peer.deliver(old, b"late");
    assert_eq!(peer.connection.queued().0, 4, "no further back than what was acknowledged: a late one");
}

#[test]
fn answers_to_answers_do_not_loop() {
    let mut peer = Peer::plain();
    let stale = Header { seq: peer.seq - 1, ..peer.header(Flags::ACK) };
    assert_eq!(peer.deliver(stale.clone(), &[]).len(), 1);
    for _ in 0..10 {
        assert!(peer.deliver(stale.clone(), &[]).is_empty());
    }
    // Segments with data are always answered: the peer has not received the last answer.
    for _ in 0..10 {
        let old = Header { seq: peer.seq - 1, ..peer.header(Flags::ACK) };
        assert_eq!(peer.deliver(old, b"x").len(), 1);
    }
}

#[test]
fn peeking_leaves_the_data_and_reading_without_copy_takes_it() {
    let mut peer = Peer::plain();
    let mut buf = [0; 8];
    assert_eq!(peer.connection.peek(0, &mut [&mut buf]), Err(Error::WouldBlock));
    let _ = peer.data(b"abcdef");
    assert_eq!(peer.connection.peek(0, &mut [&mut buf]), Ok(6));
    assert_eq!(&buf[..6], b"abcdef");
    let (data, _) = peer.call(|connection, ctx| connection.recv_bytes(ctx, 4));
    assert_eq!(&data.expect("data")[..], b"abcd");
    let (data, _) = peer.call(|connection, ctx| connection.recv_bytes(ctx, 4));
    assert_eq!(&data.expect("data")[..], b"ef");
    assert_eq!(peer.call(|connection, ctx| connection.recv_bytes(ctx, 4)).0, Err(Error::WouldBlock));
    let _ = peer.wait(Duration::from_secs(1));
}

/// RFC 2883 §4: duplicate data is reported; a segment without data is no duplicate.
#[test]
fn nothing_that_came_again_is_no_duplicate() {
    let mut peer = Peer::established();
    let _ = peer.data(&[1; 100]);
    let old = Header { seq: peer.seq - 1, ..peer.header(Flags::ACK) };
    let sent = peer.deliver(old, &[]);
    assert_eq!(sent.len(), 1, "as for a keepalive");
    assert!(sent[0].header.options.sack.is_empty(), "{sent:?}");
    let old = Header { seq: peer.seq - 1, ..peer.header(Flags::ACK) };
    let sent = peer.deliver(old, &[1]);
    assert_eq!(sent[0].header.options.sack.as_slice(), [(peer.seq - 1, peer.seq)]);
}

/// RFC 9293 §3.10.7.4, table 6, by the numbers that a segment takes: it is inside if one of them is
/// in the window, and as on Linux at RCV.NXT, and without any at the right edge.
#[test]
fn a_segment_is_inside_if_one_of_its_numbers_is() {
    for window in 0..4u32 {
        let small = |_: &mut super::bench::Host, params: &mut crate::tcp::OpenParams| {
            params.settings.receive_buffer_bytes = 4096;
        };
        let mut peer = Peer::established_with(Offer::plain(), small);
        let room = peer.connection.rcv.window() - window;
        let _ = peer.data(&alloc::vec![1; room as usize]);
        let rcv = &peer.connection.rcv;
        assert_eq!(rcv.window(), window);
        for from in -4..=6i32 {
            for len in 0..=8i32 {
                let is_inside = (from..from + len).any(|number| (0..window as i32).contains(&number));
                let expected = match (from, len) {
                    _ if is_inside => Placement::Inside,
                    (0, _) => Placement::Inside,
                    (from, 0) if (0..=window as i32).contains(&from) => Placement::Inside,
                    (from, len) if from < 0 && from + len <= 0 => Placement::Old,
                    _ => Placement::Outside,
                };
                let seq = SeqNumber(rcv.nxt.0.wrapping_add_signed(from));
                assert_eq!(rcv.place(seq, len as u32), expected, "{from} {len} in {window}");
            }
        }
    }
}

/// A shortage of memory takes of what is out of order as much as is needed, at least an eighth of
/// the buffer.
#[test]
fn pruning_frees_an_eighth_of_the_buffer_or_what_is_wanted() {
    for (wanted, freed) in [(1, 2000), (2000, 2000), (4500, 5000), (50_000, 9000)] {
        let mut peer = Peer::established_with(Offer::plain(), |_, params| {
            params.settings.receive_buffer_bytes = 16_000;
        });
        for n in 1..10 {
            let _ = peer.data_at(n * 1000, &[1; 1000]);
        }
        let nxt = peer.connection.rcv.nxt;
        assert_eq!(peer.connection.rcv.prune(nxt, wanted), freed, "{wanted}");
    }
}

/// What the stack has joined on its way in is to a connection what the segments were.
#[test]
fn a_run_counts_as_its_segments() {
    let pieces = [1000, 1000, 700].map(|len| bytes::Bytes::from(alloc::vec![5; len]));
    let known = |peer: &Peer| {
        let info = peer.connection.info(peer.host.now, &peer.host.config, 40);
        (info.bytes_received, info.data_segs_in, info.segs_in, peer.connection.queued())
    };
    let mut joined = Peer::plain();
    let mut header = joined.header(Flags::PSH_ACK);
    let mut list = pieces.to_vec();
    joined.connection.handle_run(&mut joined.host.ctx(), &mut header, &mut list);
    assert!(list.is_empty());
    let mut single = Peer::plain();
    for piece in &pieces {
        let _ = single.data(piece);
    }
    let _ = joined.drain();
    assert_eq!(known(&joined), known(&single));
    assert_eq!(known(&joined).0, 2700);
}

/// A run of which only the first segments find memory: each of the others is dropped and counted
/// once, and the answer closes the window.
#[test]
fn a_run_for_whose_end_there_is_no_memory_is_counted() {
    let mut drops = 0;
    for count in 2..=8 {
        let mut peer = Peer::plain();
        peer.host.memory = pressed(0);
        let mut header = peer.header(Flags::PSH_ACK);
        let mut pieces = alloc::vec![bytes::Bytes::from(alloc::vec![5; 1000]); count];
        peer.connection.handle_run(&mut peer.host.ctx(), &mut header, &mut pieces);
        let (queued, refused) =
            (peer.connection.queued().0, peer.host.stats.drops(DropReason::MemoryLimit) as usize);
        assert_eq!(queued + 1000 * refused, 1000 * count, "{queued} queued of {count} segments");
        assert!(queued >= 2000, "{queued} queued of {count} segments");
        let sent = peer.drain();
        let last = &sent.last().expect("an acknowledgement").header;
        assert_eq!((last.ack, last.window == 0), (peer.seq + queued as u32, refused > 0), "{count}");
        drops += refused;
    }
    assert!(drops > 0, "memory was never short");
}

/// As on Linux (tcp_disordered_ack_check): a duplicate ACK counts though it was overtaken, if it is
/// late by an RTO at most, for a clock of 1,200 ticks a second.
#[test]
fn a_duplicate_ack_may_be_late_by_an_rto() {
    for (ticks, is_late) in [(0, false), (1, false), (252, false), (253, true), (300, true)] {
        let mut peer = Peer::established();
        let _ = peer.ack_bytes(0);
        let _ = peer.send(&[1; 2000]);
        assert_eq!(peer.connection.rtt.rto(), Duration::from_millis(210));
        let mut header = peer.header(Flags::ACK);
        let timestamps = header.options.timestamps.expect("negotiated");
        let value = timestamps.value.wrapping_sub(ticks);
        header.options.timestamps = Some(Timestamps { value, ..timestamps });
        let _ = peer.deliver(header, &[]);
        assert_eq!(peer.host.stats.drops(DropReason::Paws), u64::from(is_late), "{ticks}");
    }
}
