//! The same seed and the same inputs give the same outputs, bit for bit. Replays depend on that.

use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig, Recorded};
use portolan::{Domain, SocketKind};
use portolan_tests::data;

/// Sends streams and datagrams, and uses closed ports, over a bad link. Returns all frames that
/// were sent.
fn run(seed: u64) -> Vec<Recorded> {
    let faults = LinkFaults { loss: 0.05, duplicate: 0.02, reorder: 0.05, ..LinkFaults::default() };
    let mut pair = Pair::new(PairConfig { faults, record: true, ..PairConfig::seeded(seed) });
    let streams = [Domain::V4, Domain::V6, Domain::V4].map(|domain| pair.connected_streams(domain));
    let datagrams = pair.a.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    // The data is the same for all seeds: only the stacks and the link differ.
    let bytes = data(1, 100_000);
    let mut sent = [0; 3];
    let mut buf = vec![0; 10_000];
    for round in 0..100u16 {
        for (&(a, b), sent) in streams.iter().zip(&mut sent) {
            *sent += pair.a.stack.send(pair.now(), a, &bytes[*sent..]).unwrap_or(0);
            while pair.b.stack.recv(pair.now(), b, &mut buf).is_ok_and(|count| count > 0) {}
        }
        let closed = (pair.b.addr(Domain::V4), 9000 + round);
        let _ = pair.a.stack.send_to(pair.now(), datagrams, &bytes[..100], closed);
        pair.run_for(Duration::from_millis(50));
    }
    for (a, b) in streams {
        pair.a.stack.close(pair.now(), a).unwrap();
        pair.b.stack.close(pair.now(), b).unwrap();
    }
    pair.run_for(Duration::from_secs(100));
    pair.recorded()
}

#[test]
fn the_same_seed_gives_the_same_frames() {
    for seed in [1, 2] {
        let (first, second) = (run(seed), run(seed));
        assert!(first.len() > 200, "{} frames", first.len());
        if let Some(index) = first.iter().zip(&second).position(|(one, other)| one != other) {
            panic!("frame {index} differs:\n{:?}\n{:?}", first[index], second[index]);
        }
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn another_seed_gives_other_numbers() {
    let tcp_frame = |seed| run(seed).into_iter().find(|recorded| recorded.frame.get(23) == Some(&6)).unwrap();
    // Sequence number, port and timestamp of the first SYN.
    assert_ne!(tcp_frame(1).frame, tcp_frame(2).frame);
}
