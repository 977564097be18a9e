//! TCP_DEFER_ACCEPT as on Linux: `accept` does not return before there is something to read.

use std::time::Duration;

use portolan::testing::TcpSegment;
use portolan::{Config, Descriptor, Domain, DropReason, SocketKind, SocketOption};
use portolan_tests::{RawConnection, RawPeer};

fn listening(delay: Duration) -> (RawPeer, Descriptor) {
    let mut peer = RawPeer::new(true, Config::default(), 3);
    let listener = peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    peer.stack.bind(listener, ([0; 4], 80)).unwrap();
    peer.stack.set_option(peer.now, listener, SocketOption::DeferAccept(delay)).unwrap();
    peer.stack.listen(listener, 8).unwrap();
    (peer, listener)
}

fn opened(delay: Duration) -> (RawPeer, Descriptor, RawConnection) {
    let (mut peer, listener) = listening(delay);
    let connection = peer.open(Domain::V4, 5000, 80);
    peer.take_segments();
    (peer, listener, connection)
}

#[test]
fn the_first_data_makes_the_connection() {
    let (mut peer, listener, connection) = opened(Duration::from_secs(30));
    assert_eq!(peer.stack.stats().drops(DropReason::AcceptDeferred), 1);
    assert!(peer.stack.accept(listener).is_err());
    // The SYN-ACK was acknowledged, so it is not repeated.
    peer.pass(Duration::from_secs(10));
    assert_eq!(peer.take_segments(), []);
    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::PSH | TcpSegment::ACK, b"GET"));
    let (d, _) = peer.stack.accept(listener).expect("with data");
    let mut buf = [0; 10];
    let now = peer.now;
    assert_eq!(peer.stack.recv(now, d, &mut buf), Ok(3));
    // The time until the data came is not a round-trip time: a lost segment is retransmitted soon.
    peer.stack.send(now, d, b"answer").unwrap();
    peer.settle();
    peer.take_segments();
    peer.pass(Duration::from_millis(900));
    assert!(!peer.take_segments().is_empty());
}

/// A FIN counts like data.
#[test]
fn the_end_of_the_stream_makes_the_connection() {
    let (mut peer, listener, connection) = opened(Duration::from_secs(30));
    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::FIN | TcpSegment::ACK, b""));
    assert!(peer.stack.accept(listener).is_ok());
}

/// Linux's syn_ack_recalc: when the time is over the SYN-ACK is repeated, and the answer to it
/// completes the connection.
#[test]
fn without_data_it_is_accepted_when_the_time_is_over() {
    // The time-outs of 1 + 2 + 4 s are the first to cover 5 s.
    let (mut peer, listener, connection) = opened(Duration::from_secs(5));
    peer.pass(Duration::from_millis(2_900));
    assert_eq!(peer.take_segments(), []);
    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::ACK, b""));
    assert!(peer.stack.accept(listener).is_err(), "an ACK is still not enough");
    peer.pass(Duration::from_millis(4_200));
    let repeated = peer.take_segments();
    let [syn_ack] = &repeated[..] else { panic!("{repeated:?}") };
    assert_eq!(syn_ack.flags, TcpSegment::SYN | TcpSegment::ACK);
    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::ACK, b""));
    assert!(peer.stack.accept(listener).is_ok());
}

/// The peer is gone: the handshake is given up like any other.
#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let (mut peer, listener, _) = opened(Duration::from_secs(5));
    peer.pass(Duration::from_secs(200));
    assert!(peer.stack.accept(listener).is_err());
    assert_eq!(peer.stack.stats().drops(DropReason::HandshakeTimeout), 1);
    assert_eq!(peer.stack.sockets().count(), 1);
}

#[test]
fn without_the_option_an_ack_is_enough() {
    let (mut peer, listener, _) = opened(Duration::ZERO);
    assert!(peer.stack.accept(listener).is_ok());
}
