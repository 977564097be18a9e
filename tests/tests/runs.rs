//! A connection makes its segments in runs: on the wire there is no difference.

use std::net::SocketAddr;
use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};
use portolan::testing::{LinkFaults, Pair, PairConfig, Recorded, Side};
use portolan::{Descriptor, Domain, Medium, Shutdown, SocketKind, SocketOption, Transmit};
use portolan_tests::{check_frames, data};

/// The frames of one transfer from A to B.
fn wire(
    max_run_segs: usize,
    domain: Domain,
    ethernet: bool,
    faults: LinkFaults,
    pieces: &[usize],
) -> (Medium, Vec<Recorded>) {
    let mut config = PairConfig { ethernet, faults, record: true, ..PairConfig::seeded(7) };
    config.a.tcp.max_run_segs = max_run_segs;
    config.b.tcp.max_run_segs = max_run_segs;
    let mut pair = Pair::new(config);
    let (a, b) = pair.connected_streams(domain);
    let mut received = Vec::new();
    for (n, &size) in pieces.iter().enumerate() {
        let sent = data(n as u64, size);
        let mut left = &sent[..];
        received.clear();
        let is_through = pair.drive(Duration::from_secs(600), |pair| {
            let now = pair.now();
            // In parts of every kind, with and without a copy.
            while let Some((part, _)) = left.split_at_checked(left.len().min(777)) {
                let taken = if left.len().is_multiple_of(2) {
                    pair.a.stack.send(now, a, part)
                } else {
                    pair.a.stack.send_bytes(now, a, part.to_vec().into())
                };
                let Ok(taken @ 1..) = taken else { break };
                left = &left[taken..];
            }
            while let Ok(bytes) = pair.b.stack.recv_bytes(now, b, usize::MAX) {
                received.extend_from_slice(&bytes);
            }
            received.len() == size
        });
        assert!(is_through && received == sent, "{size} bytes over {domain:?}");
    }
    // The data, and the end after it.
    let now = pair.now();
    pair.a.stack.send(now, a, &data(9, 5001)).unwrap();
    pair.a.stack.shutdown(now, a, Shutdown::Write).unwrap();
    pair.run_for(Duration::from_secs(60));
    (pair.a.medium, pair.recorded())
}

#[test]
fn the_frames_of_a_run_are_those_of_single_segments() {
    let pieces = [1, 1448, 1449, 2 * 1448, 14_481, 100_003, 400_000];
    for domain in [Domain::V4, Domain::V6] {
        for (ethernet, loss) in [(true, 0.0), (true, 0.03), (false, 0.0)] {
            let faults = LinkFaults { loss, ..LinkFaults::default() };
            let (medium, single) = wire(1, domain, ethernet, faults, &pieces);
            if let Err(error) = check_frames(medium, 1500, &single) {
                panic!("{error}");
            }
            for max_run_segs in [2, 16, 1000] {
                let (_, run) = wire(max_run_segs, domain, ethernet, faults, &pieces);
                let differs = single.iter().zip(&run).position(|(single, run)| single != run);
                assert_eq!(differs, None, "{domain:?}, runs of {max_run_segs}, loss {loss}");
                assert_eq!(single.len(), run.len());
            }
        }
    }
}

/// Port, sequence number and length of a segment's data, and whether it is a reset.
fn segment(transmit: &Transmit) -> (u16, u32, usize, bool) {
    let frame = transmit.to_vec();
    let packet = SlicedPacket::from_ethernet(&frame).expect("a frame that another parser reads");
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("TCP") };
    (tcp.destination_port(), tcp.sequence_number(), tcp.payload().len(), tcp.rst())
}

/// A pair in which A has frames to send: 60,000 bytes for each connection, whose windows are large
/// enough.
fn pair_with_data(connections: usize) -> (Pair, Vec<(Descriptor, Descriptor)>) {
    let mut config = PairConfig::seeded(3);
    config.a.tcp.initial_window_segs = 50;
    config.a.tcp.max_run_segs = 16;
    let mut pair = Pair::new(config);
    let streams: Vec<_> = (0..connections).map(|_| pair.connected_streams(Domain::V4)).collect();
    for &(a, _) in &streams {
        pair.a.stack.send(pair.now(), a, &data(1, 60_000)).unwrap();
    }
    (pair, streams)
}

#[test]
fn other_sockets_have_their_turn_after_a_run() {
    let (mut pair, _) = pair_with_data(2);
    let now = pair.now();
    let frames: Vec<_> =
        std::iter::from_fn(|| pair.a.stack.poll_transmit(now)).map(|frame| segment(&frame).0).collect();
    let runs: Vec<_> = frames.chunk_by(|a, b| a == b).map(<[u16]>::len).collect();
    // A burst is half of the window, and also ends a run.
    assert_eq!(runs, [16, 16, 9, 9, 16, 16, 1, 1]);
}

#[test]
fn a_reset_follows_the_run_and_nothing_follows_the_reset() {
    let (mut pair, streams) = pair_with_data(1);
    let (a, b) = streams[0];
    let now = pair.now();
    let mut frames: Vec<_> = (0..3).map(|_| pair.a.stack.poll_transmit(now).unwrap()).collect();
    pair.a.stack.set_option(now, a, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
    pair.a.stack.close(now, a).unwrap();
    frames.extend(std::iter::from_fn(|| pair.a.stack.poll_transmit(now)));
    let (last, data) = frames.split_last().unwrap();
    let mut next = segment(&data[0]).1;
    for frame in data {
        let (_, seq, len, is_reset) = segment(frame);
        assert!(seq == next && len > 0 && !is_reset);
        next = seq.wrapping_add(len as u32);
    }
    let (_, seq, len, is_reset) = segment(last);
    assert!(is_reset && len == 0 && seq == next, "RFC 5961: a reset is believed at RCV.NXT");
    for frame in &frames {
        pair.inject(Side::B, frame.to_frame().bytes);
    }
    pair.run_for(Duration::from_secs(1));
    assert!(pair.b.stack.readiness(b).unwrap().hung_up);
}

#[test]
fn what_was_cut_outlives_its_connection_and_comes_before_the_next() {
    let (mut pair, streams) = pair_with_data(1);
    let (a, b) = streams[0];
    let now = pair.now();
    let first = pair.a.stack.poll_transmit(now).unwrap();
    // The peer resets the connection during a run, and the program connects again.
    pair.b.stack.set_option(now, b, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
    pair.b.stack.close(now, b).unwrap();
    while let Some(frame) = pair.b.stack.poll_transmit(now) {
        pair.inject(Side::A, frame.to_frame().bytes);
    }
    let addr = SocketAddr::new(pair.b.addr(Domain::V4), 9);
    // As on Linux, a socket that was connected cannot connect again.
    assert_eq!(pair.a.stack.connect(now, a, addr), Err(portolan::Error::IsConnected));
    let next = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(pair.a.stack.connect(now, next, addr), Err(portolan::Error::InProgress));
    let frames: Vec<_> = std::iter::from_fn(|| pair.a.stack.poll_transmit(now)).collect();
    let old = segment(&first).0;
    let is_new = |frame: &Transmit| segment(frame).0 == 9;
    // A run that was begun counts as in the device, so it comes first.
    let at = frames.iter().position(is_new).expect("the SYN");
    assert!(frames[..at].iter().all(|frame| segment(frame).0 == old) && at < 16);
    assert_eq!(frames.len(), at + 1);
}
