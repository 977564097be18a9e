//! Data over links that lose, reorder and duplicate: everything arrives, in order, once. A failure
//! prints its seed.

use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig, Side};
use portolan::{Descriptor, Domain, Error, Shutdown, SocketOption};
use portolan_tests::{Transfer, data};

const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];
const MINUTE: Duration = Duration::from_secs(60);

fn transfer(seed: u64, domain: Domain, faults: LinkFaults) -> Transfer {
    let ethernet = !seed.is_multiple_of(3);
    Transfer { seed, domain, ethernet, mtu: 1500, faults, a_to_b: 200_000, b_to_a: 60_000 }
}

fn run(transfers: impl Iterator<Item = Transfer>) {
    let failures: Vec<String> = transfers.filter_map(|transfer| transfer.run().err()).collect();
    if let Some(first) = failures.first() {
        panic!("{} transfers failed; the first:\n{first}", failures.len());
    }
}

fn each(seeds: std::ops::Range<u64>, faults: LinkFaults) -> impl Iterator<Item = Transfer> {
    seeds.flat_map(move |seed| FAMILIES.map(|domain| transfer(seed, domain, faults)))
}

#[test]
fn over_a_good_link() {
    run(each(0..4, LinkFaults::default()));
    let large =
        Transfer { a_to_b: 5_000_000, b_to_a: 5_000_000, ..transfer(4, Domain::V4, LinkFaults::default()) };
    run([large].into_iter());
}

#[test]
fn over_links_of_other_sizes() {
    let faults = LinkFaults { loss: 0.02, ..LinkFaults::default() };
    for mtu in [1280, 1499, 9000, 65_535] {
        run(each(50..53, faults).map(|transfer| Transfer { mtu, ..transfer }));
    }
}

#[test]
fn over_a_link_that_loses() {
    for loss in [0.01, 0.05, 0.2] {
        run(each(100..108, LinkFaults { loss, ..LinkFaults::default() }));
    }
}

#[test]
fn over_a_link_that_reorders() {
    run(each(200..208, LinkFaults { reorder: 0.2, ..LinkFaults::default() }));
}

#[test]
fn over_a_link_that_repeats() {
    run(each(300..308, LinkFaults { duplicate: 0.3, ..LinkFaults::default() }));
}

#[test]
fn over_a_link_that_damages() {
    run(each(400..408, LinkFaults { corrupt: 0.05, ..LinkFaults::default() }));
}

#[test]
fn over_a_link_that_does_everything() {
    let faults = LinkFaults {
        delay: Duration::from_millis(30),
        loss: 0.05,
        duplicate: 0.05,
        reorder: 0.1,
        corrupt: 0.01,
    };
    run(each(500..512, faults));
}

/// Sends until the stack takes no more. Returns the number of bytes.
fn fill(pair: &mut Pair, side: Side, descriptor: Descriptor, bytes: &[u8]) -> usize {
    let (now, stack) = (pair.now(), &mut pair.host(side).stack);
    let mut sent = 0;
    loop {
        match stack.send(now, descriptor, &bytes[sent..]) {
            Ok(0) | Err(Error::WouldBlock) => return sent,
            Ok(count) => sent += count,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
}

/// Receives everything that is there. Returns whether the stream has ended.
fn drain(pair: &mut Pair, side: Side, descriptor: Descriptor, into: &mut Vec<u8>) -> bool {
    let (now, stack) = (pair.now(), &mut pair.host(side).stack);
    loop {
        match stack.recv_bytes(now, descriptor, usize::MAX) {
            Ok(bytes) if bytes.is_empty() => return true,
            Ok(bytes) => into.extend_from_slice(&bytes),
            Err(Error::WouldBlock) => return false,
            Err(error) => panic!("after {} bytes: {error}", into.len()),
        }
    }
}

// RFC 9293 §3.6: the half that is not closed continues.
#[test]
fn half_close() {
    for domain in FAMILIES {
        let mut pair = Pair::new(PairConfig::seeded(1));
        let (a, b) = pair.connected_streams(domain);
        assert_eq!(pair.a.stack.send(pair.now(), a, b"question"), Ok(8));
        pair.a.stack.shutdown(pair.now(), a, Shutdown::Write).unwrap();
        assert_eq!(pair.a.stack.send(pair.now(), a, b"more"), Err(Error::BrokenPipe));
        let mut question = Vec::new();
        assert!(pair.drive(MINUTE, |pair| drain(pair, Side::B, b, &mut question)));
        assert_eq!(question, b"question");
        // Much later, the other half still works.
        pair.run_for(Duration::from_secs(30));
        let answer = data(1, 300_000);
        let (mut sent, mut received) = (0, Vec::new());
        let whole = pair.drive(MINUTE, |pair| {
            sent += fill(pair, Side::B, b, &answer[sent..]);
            drain(pair, Side::A, a, &mut received);
            received.len() == answer.len()
        });
        assert!(whole && received == answer);
        pair.b.stack.close(pair.now(), b).unwrap();
        assert!(pair.drive(MINUTE, |pair| pair.a.stack.recv(pair.now(), a, &mut [0; 1]) == Ok(0)));
        pair.a.stack.close(pair.now(), a).unwrap();
        // Only TIME-WAIT is left, and later nothing.
        assert!(pair.run_until_idle(10 * MINUTE), "{:?}", pair.a.stack.poll_timeout());
        assert_eq!((pair.a.stack.sockets().count(), pair.b.stack.sockets().count()), (0, 0));
        assert_eq!(pair.a.stack.stats().tcp.out_rsts + pair.b.stack.stats().tcp.out_rsts, 0);
    }
}

#[test]
fn a_peer_that_vanishes_times_out() {
    for domain in FAMILIES {
        let mut pair = Pair::new(PairConfig::seeded(2));
        let (a, b) = pair.connected_streams(domain);
        pair.set_faults(LinkFaults { loss: 1.0, ..LinkFaults::default() });
        pair.a.stack.send(pair.now(), a, &data(2, 10_000)).unwrap();
        pair.run_for(5 * MINUTE);
        assert_eq!(
            pair.a.stack.recv(pair.now(), a, &mut [0; 10]),
            Err(Error::WouldBlock),
            "given up too early"
        );
        // RFC 9293 §3.8.3 (R2), Linux's tcp_retries2: 15 retransmissions, 15 minutes and more.
        pair.run_for(30 * MINUTE);
        let readiness = pair.a.stack.readiness(a).unwrap();
        assert!(readiness.error && readiness.hung_up, "{readiness:?}");
        let error = pair.a.stack.recv(pair.now(), a, &mut [0; 10]).unwrap_err();
        assert!(matches!(error, Error::TimedOut | Error::HostUnreachable), "{error:?}");
        pair.a.stack.close(pair.now(), a).unwrap();
        pair.run_for(Duration::ZERO);
        assert!(pair.a.stack.sockets().next().is_none());
        // The other side has nothing to send and no keepalive, so it never learns about that (RFC
        // 9293 §3.8.4).
        assert_eq!(pair.b.stack.recv(pair.now(), b, &mut [0; 10]), Err(Error::WouldBlock));
    }
}

#[test]
fn keepalive_finds_a_peer_that_vanished() {
    let mut pair = Pair::new(PairConfig::seeded(3));
    let (a, _b) = pair.connected_streams(Domain::V4);
    for option in [
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(MINUTE),
        SocketOption::KeepInterval(Duration::from_secs(10)),
        SocketOption::KeepCount(3),
    ] {
        pair.a.stack.set_option(pair.now(), a, option).unwrap();
    }
    pair.run_for(10 * MINUTE);
    assert!(pair.a.stack.stats().tcp.keep_alive >= 5);
    assert_eq!(pair.a.stack.recv(pair.now(), a, &mut [0; 10]), Err(Error::WouldBlock));
    pair.set_faults(LinkFaults { loss: 1.0, ..LinkFaults::default() });
    pair.run_for(Duration::from_secs(60 + 3 * 10 + 5));
    assert_eq!(pair.a.stack.recv(pair.now(), a, &mut [0; 10]), Err(Error::TimedOut));
}

#[test]
fn what_nobody_holds_ends_although_the_peer_vanished() {
    let mut pair = Pair::new(PairConfig::seeded(4));
    let streams = FAMILIES.map(|domain| pair.connected_streams(domain));
    pair.set_faults(LinkFaults { loss: 1.0, ..LinkFaults::default() });
    for (a, b) in streams {
        pair.a.stack.send(pair.now(), a, &[1; 5000]).unwrap();
        pair.a.stack.close(pair.now(), a).unwrap();
        pair.b.stack.close(pair.now(), b).unwrap();
    }
    pair.run_for(30 * MINUTE);
    assert_eq!(pair.a.stack.sockets().count(), 0);
    assert_eq!(pair.b.stack.sockets().count(), 0);
}

// RFC 9293 §3.8.6.1: a zero window is probed for as long as the peer answers.
#[test]
fn a_peer_that_stops_reading_holds_the_sender_and_nothing_is_lost() {
    for domain in FAMILIES {
        let mut pair = Pair::new(PairConfig::seeded(5));
        let (a, b) = pair.connected_streams(domain);
        let bytes = data(5, 8_000_000);
        let mut sent = 0;
        pair.drive(MINUTE, |pair| {
            sent += fill(pair, Side::A, a, &bytes[sent..]);
            false
        });
        assert!(sent < bytes.len(), "the sender was not held");
        let held = sent;
        pair.run_for(120 * MINUTE);
        assert_eq!(pair.a.stack.send(pair.now(), a, &[0]), Err(Error::WouldBlock));
        assert!(pair.a.stack.stats().tcp.win_probe > 10);
        assert!(!pair.a.stack.readiness(a).unwrap().writable);
        let mut received = Vec::new();
        let whole = pair.drive(10 * MINUTE, |pair| {
            sent += fill(pair, Side::A, a, &bytes[sent..]);
            drain(pair, Side::B, b, &mut received);
            received.len() == bytes.len()
        });
        assert!(whole, "{} of {} bytes; held at {held}", received.len(), bytes.len());
        assert!(received == bytes);
    }
}

/// The same over a bad link: a lost window update must not stop the connection for good.
#[test]
fn a_reader_that_pauses_over_a_link_that_loses() {
    for seed in 600..606 {
        let faults = LinkFaults { loss: 0.2, ..LinkFaults::default() };
        let mut pair = Pair::new(PairConfig { faults, ..PairConfig::seeded(seed) });
        let (a, b) = pair.connected_streams(Domain::V4);
        pair.b.stack.set_option(pair.now(), b, SocketOption::ReceiveBuffer(20_000)).unwrap();
        let bytes = data(seed, 3_000_000);
        let (mut sent, mut received, mut resume_at) = (0, Vec::new(), pair.now());
        let whole = pair.drive(600 * MINUTE, |pair| {
            sent += fill(pair, Side::A, a, &bytes[sent..]);
            if pair.now() >= resume_at {
                drain(pair, Side::B, b, &mut received);
                resume_at = pair.now() + Duration::from_secs(7);
            }
            received.len() == bytes.len()
        });
        assert!(whole, "seed {seed}: {} of {} bytes", received.len(), bytes.len());
        assert!(received == bytes, "seed {seed}");
    }
}

#[test]
fn connecting_to_a_port_without_a_listener_is_refused() {
    for domain in FAMILIES {
        let mut pair = Pair::new(PairConfig::seeded(6));
        let addr = std::net::SocketAddr::new(pair.b.addr(domain), 4);
        let a = pair.a.stack.socket(domain, portolan::SocketKind::Stream).unwrap();
        assert_eq!(pair.a.stack.connect(pair.now(), a, addr), Err(Error::InProgress));
        assert!(pair.drive(MINUTE, |pair| pair.a.stack.readiness(a).unwrap().error));
        assert_eq!(pair.a.stack.take_error(a), Ok(Some(Error::ConnectionRefused)));
        let id = pair.a.stack.socket_id(a).unwrap();
        assert!(pair.take_events(Side::A).iter().any(|event| event.socket == id));
    }
}

#[test]
fn a_thousand_connections_at_once() {
    let mut pair = Pair::new(PairConfig::seeded(7));
    let listener = pair.listener(Domain::V4, 80);
    let streams: Vec<_> = (0..1000).map(|_| pair.connect_to(Domain::V4, listener, 80)).collect();
    for (index, &(a, b)) in streams.iter().enumerate() {
        let message = format!("number {index}");
        pair.a.stack.send(pair.now(), a, message.as_bytes()).unwrap();
        pair.b.stack.send(pair.now(), b, message.as_bytes()).unwrap();
    }
    pair.run_for(Duration::from_secs(5));
    for (index, (a, b)) in streams.into_iter().enumerate() {
        let mut buf = [0; 100];
        let expected = format!("number {index}");
        let count = pair.b.stack.recv(pair.now(), b, &mut buf).unwrap();
        assert_eq!(&buf[..count], expected.as_bytes());
        let count = pair.a.stack.recv(pair.now(), a, &mut buf).unwrap();
        assert_eq!(&buf[..count], expected.as_bytes());
        pair.a.stack.close(pair.now(), a).unwrap();
        pair.b.stack.close(pair.now(), b).unwrap();
    }
    pair.run_for(3 * MINUTE);
    assert!(pair.a.stack.sockets().next().is_none());
    assert_eq!(pair.b.stack.sockets().count(), 1);
}
