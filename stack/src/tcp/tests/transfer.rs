//! Whole transfers over networks that lose, duplicate and reorder: every byte arrives once and in
//! order.

use alloc::vec::Vec;
use core::time::Duration;

use super::bench::{End, Faults, Pair};
use crate::error::CloseReason;
use crate::tcp::State;

fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add((index >> 8) as u8) ^ salt).collect()
}

/// Both ends send and close; both receive everything.
fn transfer(seed: u8, faults: Faults, to_server: usize, to_client: usize) -> Pair {
    let mut pair = Pair::new(seed, faults);
    let outgoing = [pattern(to_server, 1), pattern(to_client, 2)];
    let mut sent = [0, 0];
    let mut received = [Vec::new(), Vec::new()];
    let mut closed = [false, false];
    let ends = [End::Client, End::Server];
    pair.run_until(|pair| {
        for (side, end) in ends.into_iter().enumerate() {
            if end == End::Server && pair.server.is_none() {
                continue;
            }
            let rest = &outgoing[side][sent[side]..];
            let chunk = &rest[..rest.len().min(10_000)];
            if !chunk.is_empty() {
                sent[side] += pair.at(end, |connection, ctx| connection.send(ctx, chunk)).unwrap_or(0);
            } else if !closed[side] && pair.at(end, |connection, _| connection.is_connected()) {
                pair.at(end, |connection, ctx| connection.shutdown_write(ctx)).expect("it is open");
                closed[side] = true;
            }
            received[side].extend(pair.recv(end));
        }
        pair.flush();
        let finished = |state| matches!(state, State::Closed | State::TimeWait);
        finished(pair.client.state()) && pair.server.as_ref().is_some_and(|server| finished(server.state()))
    });
    assert!(received[1] == outgoing[0], "to the server: {} of {to_server}", received[1].len());
    assert!(received[0] == outgoing[1], "to the client: {} of {to_client}", received[0].len());
    pair.run_until(|pair| pair.client.state() == State::Closed && pair.server().state() == State::Closed);
    assert_eq!(pair.client.close_reason(), Some(CloseReason::Finished));
    assert_eq!(pair.server().close_reason(), Some(CloseReason::Finished));
    assert_eq!(pair.client.poll_timeout(), None);
    pair
}

#[test]
fn a_clean_network_needs_no_retransmission() {
    let pair = transfer(1, Faults::none(), 1_000_000, 300_000);
    assert_eq!(pair.host.stats.tcp.retrans_segs, 0);
    assert_eq!(pair.host.stats.all_drops(), 0, "{:?}", pair.host.stats);
}

#[test]
fn nothing_but_a_handshake_and_two_fins() {
    let pair = transfer(1, Faults::none(), 0, 0);
    assert_eq!(pair.host.stats.tcp.retrans_segs, 0);
}

#[test]
fn losses_are_made_good() {
    for seed in 0..20 {
        let faults = Faults { loss: 5, ..Faults::none() };
        transfer(seed, faults, 300_000, 40_000);
    }
}

#[test]
fn heavy_loss_both_ways_is_survived() {
    for seed in 0..10 {
        let faults = Faults { loss: 20, ..Faults::none() };
        transfer(seed, faults, 30_000, 30_000);
    }
}

#[test]
fn reordering_and_duplication_do_no_harm() {
    for seed in 0..20 {
        let faults = Faults { loss: 2, duplication: 10, reordering: 30, delay: Duration::from_millis(20) };
        transfer(seed, faults, 200_000, 100_000);
    }
}
