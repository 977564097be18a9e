//! Everything that a stack sends is checked by a parser that shares no code with it: lengths,
//! checksums, options. The transfers of `transfer.rs` are checked in the same way.

use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::{Fault, LinkFaults, PacketBuilder, Pair, PairConfig, Side, TcpSegment, ethernet};
use portolan::{Domain, Error, Medium, SocketKind, SocketOption};
use portolan_tests::{check_frame, check_frames, data};

const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];

fn pair(seed: u64, ethernet: bool, faults: LinkFaults) -> Pair {
    Pair::new(PairConfig { ethernet, faults, record: true, ..PairConfig::seeded(seed) })
}

/// Checks all frames that were sent, of which there must be at least `expected`.
fn check(pair: &mut Pair, expected: usize) {
    let frames = pair.recorded();
    assert!(frames.len() >= expected, "only {} frames", frames.len());
    if let Err(error) = check_frames(pair.a.medium, 1500, &frames) {
        panic!("{error}");
    }
}

#[test]
fn the_checker_finds_faults() {
    let builder = PacketBuilder::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let segment = TcpSegment { flags: TcpSegment::ACK, payload: vec![1; 20], ..TcpSegment::new(1, 2) };
    assert_eq!(check_frame(Medium::Ip, 1500, &builder.tcp(&segment)), Ok(()));
    assert!(check_frame(Medium::Ip, 50, &builder.tcp(&segment)).is_err());
    for fault in [Fault::IpChecksum, Fault::TransportChecksum, Fault::LengthTooShort, Fault::Truncated] {
        let packet = builder.clone().fault(fault).tcp(&segment);
        assert!(check_frame(Medium::Ip, 1500, &packet).is_err(), "{fault:?}");
    }
    let syn_without_mss = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(1, 2) };
    assert!(check_frame(Medium::Ip, 1500, &builder.tcp(&syn_without_mss)).is_err());
}

#[test]
fn datagrams_small_large_and_in_fragments() {
    for ethernet in [true, false] {
        for domain in FAMILIES {
            let mut pair = pair(1, ethernet, LinkFaults::default());
            let a = pair.a.stack.socket(domain, SocketKind::Datagram).unwrap();
            let b = pair.b.stack.socket(domain, SocketKind::Datagram).unwrap();
            let addr = SocketAddr::new(pair.b.addr(domain), 53);
            pair.b.stack.bind(b, addr).unwrap();
            for size in [0, 1, 2, 17, 1000, 1452, 1453, 1472, 1473, 3001, 8000, 20_000, 65_000] {
                let bytes = data(size as u64, size);
                assert_eq!(pair.a.stack.send_to(pair.now(), a, &bytes, addr), Ok(size));
                let mut received = None;
                pair.drive(Duration::from_secs(5), |pair| {
                    received = pair.b.stack.recv_msg(pair.now(), b).ok();
                    received.is_some()
                });
                let (received, meta) = received.unwrap_or_else(|| panic!("{size} bytes over {domain:?}"));
                assert!(received == bytes, "{size} bytes over {domain:?}");
                assert_eq!(pair.b.stack.send_to(pair.now(), b, &received, meta.peer()), Ok(size));
                pair.run_for(Duration::from_millis(10));
                let (answer, meta) = pair.a.stack.recv_msg(pair.now(), a).unwrap();
                assert_eq!((answer, meta.peer()), (received, addr));
            }
            check(&mut pair, 100);
        }
    }
}

#[test]
fn icmp_errors_and_echo_replies() {
    for domain in FAMILIES {
        let mut pair = pair(2, true, LinkFaults::default());
        // "Port unreachable", to a connected socket.
        let a = pair.a.stack.socket(domain, SocketKind::Datagram).unwrap();
        let closed = SocketAddr::new(pair.b.addr(domain), 9);
        pair.a.stack.connect(pair.now(), a, closed).unwrap();
        pair.a.stack.send(pair.now(), a, b"anyone?").unwrap();
        assert!(pair.drive(Duration::from_secs(5), |pair| pair.a.stack.readiness(a).unwrap().error));
        assert_eq!(pair.a.stack.take_error(a), Ok(Some(Error::ConnectionRefused)));

        // Echo requests of all sizes.
        let (Medium::Ethernet(a_mac), Medium::Ethernet(b_mac)) = (pair.a.medium, pair.b.medium) else {
            panic!("an Ethernet link");
        };
        let builder = PacketBuilder::new(pair.a.addr(domain), pair.b.addr(domain));
        for size in [0, 1, 56, 1400] {
            let request = builder.echo_request(7, 1, &data(3, size));
            pair.inject(Side::B, ethernet(a_mac, b_mac, &request));
            pair.run_for(Duration::from_millis(10));
        }
        assert_eq!(pair.b.stack.stats().icmp.out_echo_reps, 4);

        // "Protocol unreachable" or an unknown next header; a bad option or extension header.
        for protocol in [99, 253] {
            pair.inject(Side::B, ethernet(a_mac, b_mac, &builder.raw(protocol, &[1; 40])));
        }
        if domain == Domain::V6 {
            // RFC 8200 §4.2: an unknown option in a hop-by-hop header whose type says "answer".
            pair.inject(Side::B, ethernet(a_mac, b_mac, &builder.raw(0, &[59, 0, 0x9e, 4, 0, 0, 0, 0])));
        }
        pair.run_for(Duration::from_secs(1));
        assert!(pair.b.stack.stats().icmp.errors_sent >= 3, "{:?}", pair.b.stack.stats());
        check(&mut pair, 10);
    }
}

#[test]
fn an_echo_socket_pings() {
    for domain in FAMILIES {
        let mut pair = pair(3, true, LinkFaults::default());
        let a = pair.a.stack.socket(domain, SocketKind::Echo).unwrap();
        let addr = SocketAddr::new(pair.b.addr(domain), 0);
        let mut request = vec![if domain == Domain::V4 { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 1];
        request.extend_from_slice(b"are you there?");
        pair.a.stack.send_to(pair.now(), a, &request, addr).unwrap();
        pair.run_for(Duration::from_secs(1));
        let (reply, meta) = pair.a.stack.recv_msg(pair.now(), a).unwrap();
        assert_eq!(meta.peer().ip(), addr.ip());
        assert_eq!(&reply[8..], b"are you there?");
        check(&mut pair, 2);
    }
}

#[test]
fn resets_probes_and_retransmissions() {
    for ethernet in [true, false] {
        for domain in FAMILIES {
            let faults = LinkFaults { loss: 0.1, ..LinkFaults::default() };
            let mut pair = pair(4, ethernet, faults);
            // A refused connection.
            let a = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
            let closed = SocketAddr::new(pair.b.addr(domain), 9);
            assert_eq!(pair.a.stack.connect(pair.now(), a, closed), Err(Error::InProgress));
            pair.run_for(Duration::from_secs(10));
            // A zero window and its probes, then an abort by SO_LINGER.
            let (a, b) = pair.connected_streams(domain);
            for _ in 0..100 {
                let _ = pair.a.stack.send(pair.now(), a, &data(4, 50_000));
                pair.run_for(Duration::from_millis(100));
            }
            pair.run_for(Duration::from_secs(300));
            pair.a.stack.set_option(pair.now(), a, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
            pair.a.stack.close(pair.now(), a).unwrap();
            // With unread data, closing is a reset (RFC 2525 §2.17).
            let (c, d) = pair.connected_streams(domain);
            pair.a.stack.send(pair.now(), c, b"unread").unwrap();
            pair.run_for(Duration::from_secs(10));
            pair.b.stack.close(pair.now(), d).unwrap();
            pair.run_for(Duration::from_secs(10));
            let _ = pair.b.stack.close(pair.now(), b);
            pair.run_for(Duration::from_secs(600));
            assert!(pair.a.stack.stats().tcp.win_probe > 0);
            assert!(pair.a.stack.stats().tcp.retrans_segs > 0);
            assert!(pair.a.stack.stats().tcp.out_rsts > 0 && pair.b.stack.stats().tcp.out_rsts > 0);
            check(&mut pair, 150);
        }
    }
}
