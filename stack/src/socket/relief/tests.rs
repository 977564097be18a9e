//! Memory relief seen from outside: two stacks, one of which has little memory.

use core::net::SocketAddr;
use std::format;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::socket::shortage::LogLine;
use crate::testing::{LinkFaults, Pair, PairConfig, Side};
use crate::{CloseReason, Descriptor, Domain, Error, SocketKind, SocketOption};

const LIMIT: usize = 1 << 20;

/// B has little memory, and a listener on port 80.
fn pair(faults: LinkFaults) -> (Pair, Descriptor) {
    let mut config = PairConfig::seeded(21);
    config.b.memory_limit_bytes = LIMIT;
    config.faults = faults;
    let mut pair = Pair::new(config);
    let listener = pair.listener(Domain::V4, 80);
    (pair, listener)
}

fn connections(pair: &mut Pair, listener: Descriptor, count: usize) -> Vec<(Descriptor, Descriptor)> {
    (0..count).map(|_| pair.connect_to(Domain::V4, listener, 80)).collect()
}

/// Makes B short of memory: one of its own sockets holds this many bytes more.
fn fill(pair: &mut Pair, bytes: usize) {
    let account = &mut pair.b.stack.sockets.common.account;
    account.change(0, bytes);
}

fn bytes(pair: &Pair) -> usize {
    pair.b.stack.sockets.common.account.bytes()
}

fn limit(pair: &Pair) -> usize {
    pair.b.stack.sockets.common.account.high()
}

#[test]
fn capacity_goes_first_then_what_is_out_of_order_and_data_in_order_stays() {
    let (mut pair, listener) = pair(LinkFaults::default());
    let flows = connections(&mut pair, listener, 1);
    let (client, server) = flows[0];
    pair.b.stack.set_option(pair.now(), server, SocketOption::ReceiveBuffer(400_000)).unwrap();
    let id = pair.b.stack.socket_id(server).unwrap();
    // In order and out of order: the peer's fifth segment is lost, and the following ones are kept.
    pair.a.stack.send(pair.now(), client, &[1; 4 * 1448]).unwrap();
    pair.run_for(Duration::from_millis(20));
    pair.set_faults(LinkFaults { loss: 1.0, ..LinkFaults::default() });
    pair.a.stack.send(pair.now(), client, &[2; 1448]).unwrap();
    pair.run_for(Duration::from_micros(1));
    pair.set_faults(LinkFaults::default());
    // The peer gets no segments for now.
    pair.set_faults_from(Side::B, LinkFaults { loss: 1.0, ..LinkFaults::default() });
    pair.a.stack.send(pair.now(), client, &[3; 5 * 1448]).unwrap();
    pair.run_for(Duration::from_millis(5));
    let held = |pair: &Pair| {
        let state = pair.b.stack.sockets.common.records.get(id).unwrap().protocol.state();
        (state.queued().0, state.held_bytes())
    };
    let (readable, before) = held(&pair);
    assert_eq!(readable, 4 * 1448);
    assert!(before > 9 * 1448, "{before}");
    // Pressure alone discards no data.
    let pressure = limit(&pair) / 100 * 66;
    let missing = pressure + 1 - bytes(&pair);
    fill(&mut pair, missing);
    pair.b.stack.handle_timeout(pair.now());
    let (readable, after) = held(&pair);
    assert_eq!(readable, 4 * 1448);
    assert!(after > 9 * 1448 && after <= before, "{after} of {before}");
    assert_eq!(pair.b.stack.stats().memory.pruned_bytes, 0);
    // One third further, the data that arrived out of order is discarded, and nothing else.
    let missing = limit(&pair) / 100 * 80 - bytes(&pair);
    fill(&mut pair, missing);
    pair.b.stack.handle_timeout(pair.now());
    assert_eq!(pair.b.stack.stats().memory.pruned_bytes, 5 * 1448);
    let (readable, after) = held(&pair);
    assert_eq!(readable, 4 * 1448);
    assert!(after < 5 * 1448, "{after}");
    // The peer retransmits it, and everything arrives.
    pair.set_faults(LinkFaults::default());
    let mut received = Vec::new();
    let whole = pair.drive(Duration::from_secs(10), |pair| {
        while let Ok(slice) = pair.b.stack.recv_bytes(pair.now(), server, usize::MAX) {
            received.extend_from_slice(&slice);
        }
        received.len() == 10 * 1448
    });
    assert!(whole, "{} bytes", received.len());
    assert!(received == [vec![1; 4 * 1448], vec![2; 1448], vec![3; 5 * 1448]].concat());
}

#[test]
fn the_connection_that_waited_longest_is_reset_with_a_reason_and_everything_is_given_back() {
    let (mut pair, listener) = pair(LinkFaults::default());
    let flows = connections(&mut pair, listener, 3);
    // Each sends something that its program does not read, the second one first.
    for index in [1, 0, 2] {
        pair.a.stack.send(pair.now(), flows[index].0, &[7; 3000]).unwrap();
        pair.run_for(Duration::from_secs(5));
    }
    let top = limit(&pair) + LIMIT / 16;
    let missing = top - 20_000 - bytes(&pair);
    fill(&mut pair, missing);
    let full = bytes(&pair);
    pair.b.stack.handle_timeout(pair.now());
    assert!(bytes(&pair) < full);
    let resets = pair.b.stack.stats().memory.stalled_resets;
    assert!(resets > 0);
    let reasons: Vec<_> = flows.iter().map(|flow| pair.b.stack.close_reason(flow.1).unwrap()).collect();
    // There is nothing else to give back, so all of them are reset, in this order.
    assert_eq!(reasons, [Some(CloseReason::NoMemory); 3]);
    assert_eq!(resets, 3);
    // The program gets the error once, under Linux's name, and the peer gets a reset.
    let mut buf = [0; 10];
    assert_eq!(pair.b.stack.recv(pair.now(), flows[1].1, &mut buf), Err(Error::NoBufferSpace));
    assert_eq!(pair.b.stack.recv(pair.now(), flows[1].1, &mut buf), Ok(0));
    assert_eq!(pair.b.stack.send(pair.now(), flows[1].1, b"x"), Err(Error::BrokenPipe));
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.a.stack.close_reason(flows[1].0), Ok(Some(CloseReason::PeerReset)));
    // After the shortage nothing of the index is left.
    let account = &mut pair.b.stack.sockets.common.account;
    account.change(missing, 0);
    pair.run_for(Duration::from_secs(1));
    pair.b.stack.handle_timeout(pair.now());
    let common = &pair.b.stack.sockets.common;
    assert!(!common.needs_relief() && common.relief.holdings.is_empty());
    assert_eq!(common.relief.charged_bytes, 0);
}

#[test]
fn a_connection_that_is_over_is_not_in_the_index() {
    let (mut pair, listener) = pair(LinkFaults::default());
    let (client, server) = connections(&mut pair, listener, 1)[0];
    let now = pair.now();
    let entries = |pair: &mut Pair| {
        let id = pair.b.stack.socket_id(server).unwrap();
        pair.b.stack.sockets.common.look_at(now, id);
        !pair.b.stack.sockets.common.relief.holdings.is_empty()
    };
    assert!(entries(&mut pair));
    pair.a.stack.set_option(now, client, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
    pair.a.stack.close(now, client).unwrap();
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.b.stack.close_reason(server), Ok(Some(CloseReason::PeerReset)));
    assert!(!entries(&mut pair), "its program still holds it");
}

#[test]
fn only_the_worst_is_reset_if_that_is_enough() {
    let (mut pair, listener) = pair(LinkFaults::default());
    let flows = connections(&mut pair, listener, 3);
    for index in [1, 0, 2] {
        pair.a.stack.send(pair.now(), flows[index].0, &[7; 3000]).unwrap();
        pair.run_for(Duration::from_secs(5));
    }
    let full = limit(&pair) + LIMIT / 64;
    // Twice, because at first only capacity is given back.
    for _ in 0..2 {
        let missing = full + 200 - bytes(&pair);
        fill(&mut pair, missing);
        pair.b.stack.handle_timeout(pair.now());
    }
    let reasons: Vec<_> = flows.iter().map(|flow| pair.b.stack.close_reason(flow.1).unwrap()).collect();
    assert_eq!(reasons, [None, Some(CloseReason::NoMemory), None]);
}

#[test]
fn newcomers_datagrams_and_handshakes_find_room_although_the_limit_is_reached() {
    let (mut pair, listener) = pair(LinkFaults::default());
    let missing = limit(&pair) - bytes(&pair);
    fill(&mut pair, missing);
    let (client, server) = pair.connect_to(Domain::V4, listener, 80);
    assert_eq!(pair.b.stack.send(pair.now(), server, &[1; 10_000]), Ok(4096), "the floor");
    assert_eq!(pair.b.stack.send(pair.now(), server, &[1; 10_000]), Err(Error::WouldBlock));
    assert!(!pair.b.stack.readiness(server).unwrap().writable, "a program that waits does not spin");
    pair.run_for(Duration::from_millis(100));
    assert!(pair.b.stack.readiness(server).unwrap().writable);
    let mut buf = [0; 10_000];
    assert_eq!(pair.a.stack.recv(pair.now(), client, &mut buf), Ok(4096));
    // B's own sockets.
    let own = pair.b.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    pair.b.stack.bind(own, "0.0.0.0:53".parse::<SocketAddr>().unwrap()).unwrap();
    let other = pair.a.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let to = std::net::SocketAddr::new(pair.b.addr(Domain::V4), 53);
    for _ in 0..3 {
        pair.a.stack.send_to(pair.now(), other, &[5; 1400], to).unwrap();
    }
    pair.run_for(Duration::from_millis(50));
    let (len, meta) = pair.b.stack.recv_from(pair.now(), own, &mut buf).unwrap();
    assert_eq!(len, 1400);
    assert_eq!(pair.b.stack.send_to(pair.now(), own, &[5; 1400], meta.peer()), Ok(1400));
}

#[test]
fn a_line_of_the_log_comes_once_for_each_pressure_and_not_too_often() {
    let at = Instant::from_secs;
    let mut line = LogLine::default();
    assert!(line.is_due(at(10), 1) && !line.is_due(at(20), 1) && !line.is_due(at(500), 1));
    assert!(line.is_due(at(600), 2));
    assert!(!line.is_due(at(610), 3) && !line.is_due(at(900), 3), "too soon after the last");
    assert!(line.is_due(at(900), 4));
}

/// A program's step: the connection, the action, and the number of bytes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize, bool, usize),
    Read(usize, bool),
    Fill(usize),
    Pass(u64),
}

/// Other sockets hold at most this percentage of the limit. Beyond it, the data that `send` takes
/// into the reserve would cause resets.
const MAX_FILLED: usize = 95;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize, any::<bool>(), 1..60_000usize).prop_map(|(flow, up, len)| Step::Send(flow, up, len)),
        (0..4usize, any::<bool>()).prop_map(|(flow, up)| Step::Read(flow, up)),
        (0..=MAX_FILLED).prop_map(Step::Fill),
        (0..400u64).prop_map(Step::Pass),
    ]
}

/// A direction of a connection: what was sent, and what was read.
#[derive(Default)]
struct Stream {
    sent: Vec<u8>,
    read: Vec<u8>,
}

fn read_all(pair: &mut Pair, d: Descriptor, at_b: bool, stream: &mut Stream) {
    let now = pair.now();
    let host = if at_b { &mut pair.b } else { &mut pair.a };
    while let Ok(slice) = host.stack.recv_bytes(now, d, usize::MAX)
        && !slice.is_empty()
    {
        stream.read.extend_from_slice(&slice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Under any pressure that causes no resets, with losses and reordering, the data that `send`
    /// took arrives, byte by byte.
    #[test]
    fn what_send_took_is_never_lost(
        steps in proptest::collection::vec(step(), 1..60),
        loss in prop_oneof![Just(0.0), Just(0.03)],
    ) {
        let (mut pair, listener) = pair(LinkFaults { loss, reorder: loss, ..LinkFaults::default() });
        let flows = connections(&mut pair, listener, 4);
        let mut streams: Vec<[Stream; 2]> = (0..4).map(|_| Default::default()).collect();
        let mut filled = 0;
        let mut seed = 0u8;
        for step in steps {
            match step {
                Step::Send(flow, up, len) => {
                    seed = seed.wrapping_add(1);
                    let data: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect();
                    let now = pair.now();
                    let sent = if up {
                        pair.a.stack.send(now, flows[flow].0, &data)
                    } else {
                        pair.b.stack.send(now, flows[flow].1, &data)
                    };
                    match sent {
                        Ok(sent) => streams[flow][usize::from(up)].sent.extend_from_slice(&data[..sent]),
                        Err(error) => prop_assert_eq!(error, Error::WouldBlock),
                    }
                }
                Step::Read(flow, up) => {
                    let d = if up { flows[flow].1 } else { flows[flow].0 };
                    read_all(&mut pair, d, up, &mut streams[flow][usize::from(up)]);
                }
                Step::Fill(percent) => {
                    // Other sockets hold this part of the limit.
                    let wanted = limit(&pair) / 100 * percent;
                    let of_others = wanted.saturating_sub(bytes(&pair) - filled);
                    pair.b.stack.sockets.common.account.change(filled, of_others);
                    filled = of_others;
                }
                Step::Pass(millis) => pair.run_for(Duration::from_millis(millis)),
            }
            prop_assert!(pair.b.stack.memory_bytes() <= LIMIT);
        }
        pair.b.stack.sockets.common.account.change(filled, 0);
        let whole = pair.drive(Duration::from_secs(600), |pair| {
            let mut is_whole = true;
            for (flow, streams) in flows.iter().zip(&mut streams) {
                for up in [false, true] {
                    let stream = &mut streams[usize::from(up)];
                    read_all(pair, if up { flow.1 } else { flow.0 }, up, stream);
                    is_whole &= stream.read.len() >= stream.sent.len();
                }
            }
            is_whole
        });
        prop_assert!(whole, "{}", format!("{:?}", pair.b.stack.stats()));
        prop_assert_eq!(pair.b.stack.stats().memory.stalled_resets, 0);
        for stream in streams.iter().flatten() {
            prop_assert!(stream.read == stream.sent);
        }
    }
}
