//! Orphans, which are connections without a descriptor: they end by themselves, and their number is
//! limited.

use std::time::Duration;

use portolan::testing::TcpSegment;
use portolan::{Config, Descriptor, Domain, SocketKind, SocketOption};
use portolan_tests::{RawConnection, RawPeer};

const MAX_ORPHANS: usize = 6;

fn config() -> Config {
    let mut config = Config::default();
    config.tcp.max_orphans = MAX_ORPHANS;
    config
}

/// A stack with this many connections from the raw peer.
fn connected(config: Config, count: u16) -> (RawPeer, Vec<(RawConnection, Descriptor)>) {
    let mut peer = RawPeer::new(true, config, 3);
    let listener = peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    peer.stack.bind(listener, ([0; 4], 80)).unwrap();
    peer.stack.listen(listener, 64).unwrap();
    let connections = (0..count)
        .map(|index| {
            let connection = peer.open(Domain::V4, 5000 + index, 80);
            (connection, peer.stack.accept(listener).unwrap().0)
        })
        .collect();
    (peer, connections)
}

fn states(peer: &RawPeer) -> Vec<&'static str> {
    peer.stack.sockets().map(|socket| socket.state.name()).filter(|&state| state != "LISTEN").collect()
}

fn resets(peer: &mut RawPeer) -> usize {
    peer.take_segments().iter().filter(|segment| segment.flags & TcpSegment::RST != 0).count()
}

/// Linux's tcp_max_orphans: `close` beyond the limit is a reset.
#[test]
fn beyond_the_limit_closing_is_a_reset() {
    let (mut peer, connections) = connected(config(), 10);
    for &(_, server) in &connections {
        let now = peer.now;
        peer.stack.send(now, server, b"last words").unwrap();
        peer.stack.close(now, server).unwrap();
        peer.settle();
    }
    assert_eq!(resets(&mut peer), 4);
    assert_eq!(peer.stack.stats().memory.abort_on_memory, 4);
    assert_eq!(states(&peer), ["FIN-WAIT-1"; MAX_ORPHANS]);
    // Orphans that end make room.
    for (connection, _) in &connections[..2] {
        let mut fin = connection.segment(TcpSegment::FIN | TcpSegment::ACK, b"");
        fin.ack = fin.ack.wrapping_add(11);
        peer.send_segment(Domain::V4, &fin);
    }
    let mut waiting = states(&peer);
    waiting.sort_unstable();
    assert_eq!(waiting, ["FIN-WAIT-1", "FIN-WAIT-1", "FIN-WAIT-1", "FIN-WAIT-1", "TIME-WAIT", "TIME-WAIT"]);
    let connection = peer.open(Domain::V4, 6000, 80);
    assert_eq!(connection.peer_port, 6000);
}

/// Linux's tcp_out_of_resources: an orphan with a silent peer is reset when half of the limit is
/// reached.
#[test]
fn a_silent_peer_loses_its_place_first() {
    for (count, expected) in [(MAX_ORPHANS as u16 / 2, 0), (MAX_ORPHANS as u16, 3)] {
        let (mut peer, connections) = connected(config(), count);
        for &(_, server) in &connections {
            let now = peer.now;
            peer.stack.send(now, server, b"last words").unwrap();
            peer.stack.close(now, server).unwrap();
        }
        peer.settle();
        peer.pass(Duration::from_secs(2));
        assert_eq!(peer.stack.stats().memory.abort_on_memory, expected);
        assert_eq!(states(&peer).len(), usize::from(count) - expected as usize);
    }
}

/// When every orphan has ended, in whatever way, the count is zero.
#[test]
fn orphans_are_counted_off_when_they_end() {
    let (mut peer, connections) = connected(config(), 6);
    let now = peer.now;
    for (index, (connection, server)) in connections.into_iter().enumerate() {
        match index {
            // A connection that we reset is not an orphan.
            0 => peer.stack.set_option(now, server, SocketOption::Linger(Some(Duration::ZERO))).unwrap(),
            1 => {
                peer.stack.close(now, server).unwrap();
                peer.settle();
                let mut reset = connection.segment(TcpSegment::RST, b"");
                reset.ack = 0;
                peer.send_segment(Domain::V4, &reset);
                continue;
            }
            _ => {}
        }
        peer.stack.close(now, server).unwrap();
    }
    peer.settle();
    peer.pass(Duration::from_secs(600));
    assert_eq!(states(&peer), [""; 0]);
    // As many fit as at first. (One of the four silent ones was reset.)
    assert_eq!(peer.stack.stats().memory.abort_on_memory, 1);
    let listener = peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    peer.stack.bind(listener, ([0; 4], 81)).unwrap();
    peer.stack.listen(listener, 64).unwrap();
    for index in 0..MAX_ORPHANS as u16 {
        peer.open(Domain::V4, 7000 + index, 81);
        let (server, _) = peer.stack.accept(listener).unwrap();
        let now = peer.now;
        peer.stack.close(now, server).unwrap();
    }
    assert_eq!(peer.stack.stats().memory.abort_on_memory, 1);
}
