//! The descriptor calls and their errors, as in POSIX and Linux, between two stacks on a simulated
//! link.

use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig, Side};
use portolan::{
    CloseReason, Descriptor, Domain, DropReason, Error, Readiness, SendFlags, Shutdown, SocketKind,
    SocketOption,
};

const BOTH: [Domain; 2] = [Domain::V4, Domain::V6];
const MINUTE: Duration = Duration::from_secs(60);

fn pair() -> Pair {
    Pair::new(PairConfig::seeded(2))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn readiness(pair: &Pair, d: Descriptor) -> Readiness {
    pair.a.stack.readiness(d).unwrap()
}

fn stream(pair: &mut Pair) -> Descriptor {
    pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap()
}

fn datagram(pair: &mut Pair, side: Side, domain: Domain) -> Descriptor {
    pair.host(side).stack.socket(domain, SocketKind::Datagram).unwrap()
}

/// A datagram socket on each side, and the address that B's is bound to.
fn bound_datagrams(domain: Domain) -> (Pair, Descriptor, Descriptor, SocketAddr) {
    let mut pair = pair();
    let (a, b) = (datagram(&mut pair, Side::A, domain), datagram(&mut pair, Side::B, domain));
    let to = SocketAddr::new(pair.b.addr(domain), 53);
    pair.b.stack.bind(b, to).unwrap();
    (pair, a, b, to)
}

#[test]
fn descriptors_are_the_lowest_free_numbers_and_stale_ones_are_errors() {
    let mut pair = pair();
    let now = pair.now();
    let [a, b, c] = [stream(&mut pair), stream(&mut pair), stream(&mut pair)];
    assert_eq!([a, b, c].map(Descriptor::number), [0, 1, 2]);
    pair.a.stack.close(now, b).unwrap();
    assert_eq!(pair.a.stack.close(now, b), Err(Error::BadDescriptor));
    let again = stream(&mut pair);
    assert_eq!(again.number(), 1);
    assert_eq!(pair.a.stack.listen(b, 1), Err(Error::BadDescriptor));
    assert_eq!(pair.a.stack.recv(now, b, &mut [0; 1]), Err(Error::BadDescriptor));
}

#[test]
fn bind_errors() {
    let mut pair = pair();
    let s = stream(&mut pair);
    let stack = &mut pair.a.stack;
    assert_eq!(stack.bind(s, addr("10.9.9.9:80")), Err(Error::AddressNotAvailable));
    assert_eq!(stack.bind(s, addr("[::1]:80")), Err(Error::AddressFamilyNotSupported));
    assert_eq!(stack.bind(s, addr("10.0.0.1:80")), Ok(()));
    assert_eq!(stack.local_addr(s), Ok(addr("10.0.0.1:80")));
    assert_eq!(stack.bind(s, addr("10.0.0.1:81")), Err(Error::InvalidArgument));
    let other = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(stack.bind(other, addr("0.0.0.0:80")), Err(Error::AddressInUse));
    assert_eq!(stack.bind(other, addr("127.0.0.1:80")), Ok(()));
    let any = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    stack.bind(any, addr("0.0.0.0:0")).unwrap();
    assert!((32768..=60999).contains(&stack.local_addr(any).unwrap().port()));
}

#[test]
fn dual_stack_and_v6_only_sockets_share_and_conflict_as_on_linux() {
    let mut pair = pair();
    let now = pair.now();
    let stack = &mut pair.a.stack;
    let v4 = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    stack.bind(v4, addr("0.0.0.0:80")).unwrap();
    let dual = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    assert_eq!(stack.bind(dual, addr("[::]:80")), Err(Error::AddressInUse));
    stack.set_option(now, dual, SocketOption::V6Only(true)).unwrap();
    assert_eq!(stack.bind(dual, addr("[::]:80")), Ok(()));
    assert_eq!(stack.set_option(now, dual, SocketOption::V6Only(false)), Err(Error::InvalidArgument));
    assert_eq!(stack.connect(now, dual, addr("[::ffff:10.0.0.2]:80")), Err(Error::NetworkUnreachable));
}

#[test]
fn a_dual_stack_listener_shows_ipv4_peers_as_mapped_addresses() {
    let mut pair = pair();
    let listener = pair.b.stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    pair.b.stack.bind(listener, addr("[::]:80")).unwrap();
    pair.b.stack.listen(listener, 5).unwrap();
    for domain in BOTH {
        let (client, server) = pair.connect_to(domain, listener, 80);
        let local = pair.a.stack.local_addr(client).unwrap();
        let seen = pair.b.stack.peer_addr(server).unwrap();
        assert!(seen.is_ipv6());
        assert_eq!((seen.ip().to_canonical(), seen.port()), (local.ip(), local.port()));
    }
}

#[test]
fn calls_that_make_no_sense_in_a_state() {
    let mut pair = pair();
    let now = pair.now();
    let s = stream(&mut pair);
    let stack = &mut pair.a.stack;
    assert_eq!(stack.recv(now, s, &mut [0; 1]), Err(Error::NotConnected));
    assert_eq!(stack.send(now, s, b"x"), Err(Error::BrokenPipe));
    assert_eq!(stack.peer_addr(s), Err(Error::NotConnected));
    assert_eq!(stack.accept(s), Err(Error::InvalidArgument));
    assert_eq!(stack.shutdown(now, s, Shutdown::Both), Err(Error::NotConnected));
    stack.listen(s, 1).unwrap();
    assert_eq!(stack.accept(s), Err(Error::WouldBlock));
    assert_eq!(stack.connect(now, s, addr("10.0.0.2:1")), Err(Error::IsConnected));
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(stack.listen(d, 1), Err(Error::NotSupported));
    assert_eq!(stack.accept(d), Err(Error::NotSupported));
    assert_eq!(stack.send(now, d, b"x"), Err(Error::DestinationRequired));
    assert_eq!(stack.recv(now, d, &mut [0; 1]), Err(Error::WouldBlock));
    assert_eq!(stack.shutdown(now, d, Shutdown::Read), Err(Error::NotConnected));
    assert_eq!(stack.connect(now, s, addr("[::1]:1")), Err(Error::IsConnected));
}

#[test]
fn connect_goes_through_in_progress_already_and_is_connected() {
    for domain in BOTH {
        let mut pair = pair();
        let _listener = pair.listener(domain, 80);
        let to = SocketAddr::new(pair.b.addr(domain), 80);
        let s = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
        let now = pair.now();
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::InProgress));
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::Already));
        assert!(!readiness(&pair, s).writable);
        assert_eq!(pair.a.stack.peer_addr(s), Err(Error::NotConnected));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, s).writable));
        let id = pair.a.stack.socket_id(s).unwrap();
        assert!(pair.take_events(Side::A).iter().any(|event| event.socket == id && event.readiness.writable));
        assert_eq!(pair.a.stack.take_error(s), Ok(None));
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::IsConnected));
        assert_eq!(pair.a.stack.peer_addr(s), Ok(to));
    }
}

#[test]
fn a_closed_port_refuses_and_the_socket_can_try_again() {
    for domain in BOTH {
        let mut pair = pair();
        let to = SocketAddr::new(pair.b.addr(domain), 80);
        let s = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
        let now = pair.now();
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::InProgress));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, s).error));
        let ready = readiness(&pair, s);
        assert!(ready.writable && ready.readable && ready.hung_up, "{ready:?}");
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::ConnectionRefused));
        assert_eq!(pair.a.stack.connect(now, s, to), Err(Error::InProgress));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, s).error));
        assert_eq!(pair.a.stack.take_error(s), Ok(Some(Error::ConnectionRefused)));
        assert_eq!(pair.a.stack.take_error(s), Ok(None));
        assert_eq!(pair.a.stack.close_reason(s), Ok(Some(CloseReason::Refused)));
    }
}

#[test]
fn a_host_that_is_not_there_is_unreachable_and_one_behind_a_dead_link_times_out() {
    let mut pair = pair();
    let now = pair.now();
    let s = stream(&mut pair);
    assert_eq!(pair.a.stack.connect(now, s, addr("192.0.2.1:80")), Err(Error::NetworkUnreachable));
    assert_eq!(pair.a.stack.connect(now, s, addr("10.0.0.77:80")), Err(Error::InProgress));
    assert!(pair.drive(MINUTE, |pair| readiness(pair, s).error));
    assert_eq!(pair.a.stack.take_error(s), Ok(Some(Error::HostUnreachable)));

    let (client, _server) = pair.connected_streams(Domain::V4);
    pair.set_faults(LinkFaults { loss: 1.0, ..LinkFaults::default() });
    let now = pair.now();
    pair.a.stack.send(now, client, b"lost").unwrap();
    let hour = Duration::from_secs(3600);
    assert!(pair.drive(hour, |pair| readiness(pair, client).error));
    let error = pair.a.stack.take_error(client).unwrap().unwrap();
    assert!(matches!(error, Error::TimedOut | Error::HostUnreachable), "{error:?}");
}

/// Each datagram is a record; with MSG_MORE it is not complete.
#[test]
fn more_and_end_of_record_of_datagrams() {
    for domain in BOTH {
        let (mut pair, a, b, to) = bound_datagrams(domain);
        let now = pair.now();
        pair.a.stack.connect(now, a, to).unwrap();
        assert_eq!(pair.a.stack.send_with(now, a, b"x", SendFlags::END_OF_RECORD), Ok(1));
        assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(b).unwrap().readable));
        let now = pair.now();
        let mut buf = [0; 9];
        assert_eq!(pair.b.stack.recv(now, b, &mut buf), Ok(1));
        // The data of several calls is one datagram, to the address of the first call.
        assert_eq!(pair.a.stack.send_with(now, a, b"on", SendFlags::MORE), Ok(2));
        assert_eq!(pair.a.stack.send_with(now, a, b"ly ", SendFlags::MORE), Ok(3));
        assert_eq!(pair.a.stack.send_with(now, a, b"one", SendFlags::NONE), Ok(3));
        assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(b).unwrap().readable));
        let now = pair.now();
        assert_eq!(pair.b.stack.recv(now, b, &mut buf), Ok(8));
        assert_eq!(&buf[..8], b"only one");
    }
}

/// A connection in TIME-WAIT is a socket while its program holds it, and is not listed as a record,
/// too.
#[test]
fn a_connection_in_time_wait_is_listed_once() {
    for domain in BOTH {
        let mut pair = pair();
        let (client, server) = pair.connected_streams(domain);
        let now = pair.now();
        pair.a.stack.shutdown(now, client, Shutdown::Write).unwrap();
        assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(server).unwrap().peer_closed));
        let now = pair.now();
        pair.b.stack.close(now, server).unwrap();
        assert!(pair.drive(MINUTE, |pair| readiness(pair, client).hung_up));
        let listed = |pair: &Pair| -> Vec<Option<Descriptor>> {
            let infos = pair.a.stack.sockets();
            infos.filter(|info| info.state.name() == "TIME-WAIT").map(|info| info.descriptor).collect()
        };
        assert_eq!(listed(&pair), [Some(client)]);
        let now = pair.now();
        assert_eq!(pair.a.stack.shutdown(now, client, Shutdown::Both), Err(Error::NotConnected));
        pair.a.stack.close(now, client).unwrap();
        pair.run_for(Duration::from_secs(1));
        assert_eq!(listed(&pair), [None], "the record is left");
    }
}

#[test]
fn data_flows_in_order_and_each_half_ends_by_itself() {
    for domain in BOTH {
        let mut pair = pair();
        let (client, server) = pair.connected_streams(domain);
        let now = pair.now();
        assert_eq!(pair.a.stack.send(now, client, b"question"), Ok(8));
        pair.a.stack.shutdown(now, client, Shutdown::Write).unwrap();
        assert_eq!(pair.a.stack.send(now, client, b"more"), Err(Error::BrokenPipe));
        let mut buf = [0; 64];
        assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(server).unwrap().peer_closed));
        let now = pair.now();
        assert_eq!(pair.b.stack.peek(server, &mut buf), Ok(8));
        assert_eq!(pair.b.stack.recv(now, server, &mut buf), Ok(8));
        assert_eq!(&buf[..8], b"question");
        assert_eq!(pair.b.stack.recv(now, server, &mut buf), Ok(0));
        assert_eq!(pair.b.stack.send(now, server, b"answer"), Ok(6));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, client).readable));
        let now = pair.now();
        assert_eq!(pair.a.stack.recv(now, client, &mut buf), Ok(6));
        assert_eq!(pair.a.stack.recv(now, client, &mut buf), Err(Error::WouldBlock));
        pair.b.stack.close(now, server).unwrap();
        assert!(pair.drive(MINUTE, |pair| readiness(pair, client).hung_up));
        let now = pair.now();
        assert_eq!(pair.a.stack.recv(now, client, &mut buf), Ok(0));
        pair.a.stack.close(now, client).unwrap();
    }
}

#[test]
fn both_sides_forget_everything_once_time_wait_is_over() {
    for domain in BOTH {
        let mut pair = pair();
        // The neighbours are resolved beforehand, because that is not part of the connection.
        let ping = datagram(&mut pair, Side::A, domain);
        let to = SocketAddr::new(pair.b.addr(domain), 9);
        pair.a.stack.send_to(pair.now(), ping, b"", to).unwrap();
        pair.run_for(Duration::from_secs(60));
        pair.a.stack.close(pair.now(), ping).unwrap();
        pair.run_for(Duration::from_secs(1));
        let before = (pair.a.stack.memory_bytes(), pair.b.stack.memory_bytes());
        let (client, server) = pair.connected_streams(domain);
        let now = pair.now();
        pair.a.stack.close(now, client).unwrap();
        assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(server).unwrap().peer_closed));
        let now = pair.now();
        pair.b.stack.close(now, server).unwrap();
        pair.run_for(Duration::from_secs(5));
        let states: Vec<_> = pair.a.stack.sockets().map(|socket| socket.state.name()).collect();
        assert_eq!(states, ["TIME-WAIT"]);
        assert_eq!(pair.b.stack.sockets().count(), 0);
        pair.run_for(MINUTE);
        assert!(pair.a.stack.sockets().next().is_none());
        assert_eq!((pair.a.stack.memory_bytes(), pair.b.stack.memory_bytes()), before);
    }
}

#[test]
fn unread_data_and_linger_zero_make_close_a_reset() {
    for linger in [false, true] {
        let mut pair = pair();
        let (client, server) = pair.connected_streams(Domain::V4);
        let now = pair.now();
        if linger {
            pair.b.stack.set_option(now, server, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
        } else {
            pair.a.stack.send(now, client, b"never read").unwrap();
            assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(server).unwrap().readable));
        }
        let now = pair.now();
        pair.b.stack.close(now, server).unwrap();
        assert!(pair.drive(MINUTE, |pair| readiness(pair, client).error));
        let now = pair.now();
        let mut buf = [0; 8];
        assert_eq!(pair.a.stack.close_reason(client), Ok(Some(CloseReason::PeerReset)));
        assert_eq!(pair.a.stack.recv(now, client, &mut buf), Err(Error::ConnectionReset));
        assert_eq!(pair.a.stack.recv(now, client, &mut buf), Ok(0));
        assert_eq!(pair.a.stack.send(now, client, b"x"), Err(Error::BrokenPipe));
        assert!(pair.b.stack.sockets().next().is_none());
    }
}

#[test]
fn the_backlog_holds_one_more_than_it_says_and_the_rest_waits_outside() {
    let mut pair = pair();
    let listener = pair.b.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    pair.b.stack.bind(listener, addr("0.0.0.0:80")).unwrap();
    pair.b.stack.listen(listener, 2).unwrap();
    let now = pair.now();
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let s = stream(&mut pair);
            let _ = pair.a.stack.connect(now, s, addr("10.0.0.2:80"));
            s
        })
        .collect();
    pair.run_for(Duration::from_millis(500));
    let listening = pair.b.stack.sockets().find(|socket| socket.state.name() == "LISTEN").unwrap();
    assert_eq!((listening.receive_queue, listening.send_queue), (3, 2));
    assert!(pair.b.stack.stats().drops(DropReason::AcceptQueueFull) > 0);
    // There is room again: the other clients are accepted when they try again.
    let mut accepted = 0;
    let done = pair.drive(MINUTE, |pair| {
        while pair.b.stack.accept(listener).is_ok() {
            accepted += 1;
        }
        accepted == 5
    });
    assert!(done, "{accepted}");
    assert!(clients.iter().all(|&s| readiness(&pair, s).writable));
}

#[test]
fn closing_a_listener_resets_what_nobody_accepted() {
    let mut pair = pair();
    let listener = pair.listener(Domain::V4, 80);
    let s = stream(&mut pair);
    let now = pair.now();
    let _ = pair.a.stack.connect(now, s, addr("10.0.0.2:80"));
    assert!(pair.drive(MINUTE, |pair| readiness(pair, s).writable));
    let now = pair.now();
    pair.b.stack.close(now, listener).unwrap();
    assert!(pair.drive(MINUTE, |pair| readiness(pair, s).error));
    assert_eq!(pair.a.stack.take_error(s), Ok(Some(Error::ConnectionReset)));
    assert!(pair.b.stack.sockets().next().is_none());
    // The port is free for the next listener at once.
    pair.listener(Domain::V4, 80);
}

#[test]
fn a_port_in_time_wait_needs_reuse_addr() {
    let mut pair = pair();
    let listener = pair.listener(Domain::V4, 80);
    let (client, server) = pair.connect_to(Domain::V4, listener, 80);
    let now = pair.now();
    pair.b.stack.close(now, server).unwrap();
    pair.b.stack.close(now, listener).unwrap();
    assert!(pair.drive(MINUTE, |pair| readiness(pair, client).peer_closed));
    let now = pair.now();
    pair.a.stack.close(now, client).unwrap();
    pair.run_for(Duration::from_secs(1));
    let next = pair.b.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(pair.b.stack.bind(next, addr("0.0.0.0:80")), Err(Error::AddressInUse));
    pair.run_for(MINUTE);
    assert_eq!(pair.b.stack.bind(next, addr("0.0.0.0:80")), Ok(()));
}

/// RFC 4987 §3.2 (RFC4987-3.2): a backlog of a thousand holds a thousand incomplete handshakes, and
/// only the next one gets a cookie.
#[test]
fn a_long_backlog_holds_as_many_handshakes() {
    use portolan::testing::TcpSegment;
    let mut peer = portolan_tests::RawPeer::new(false, portolan::Config::default(), 1);
    let listener = peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    peer.stack.bind(listener, addr("0.0.0.0:80")).unwrap();
    peer.stack.listen(listener, 1000).unwrap();
    let mut send_syn = |port: u16| {
        let syn = TcpSegment { seq: 7, flags: TcpSegment::SYN, ..TcpSegment::new(port, 80) };
        peer.send_segment(Domain::V4, &syn);
        peer.stack.stats().cookies.sent
    };
    let cookies: Vec<u64> = (0..1002).map(|index| send_syn(10_000 + index)).collect();
    assert!(cookies[999] == 0 && cookies[1001] > 0, "{} and {}", cookies[999], cookies[1001]);
}

#[test]
fn reuse_port_spreads_connections_over_listeners() {
    let mut pair = pair();
    let now = pair.now();
    let listeners: Vec<_> = (0..3)
        .map(|_| {
            let s = pair.b.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
            pair.b.stack.set_option(now, s, SocketOption::ReusePort(true)).unwrap();
            pair.b.stack.bind(s, addr("0.0.0.0:80")).unwrap();
            pair.b.stack.listen(s, 100).unwrap();
            s
        })
        .collect();
    for _ in 0..60 {
        let s = stream(&mut pair);
        let _ = pair.a.stack.connect(now, s, addr("10.0.0.2:80"));
    }
    // At most 16 of the first packets wait for the neighbour's address: the others are
    // retransmitted.
    pair.run_for(Duration::from_secs(10));
    let counts: Vec<_> = listeners
        .iter()
        .map(|&listener| std::iter::from_fn(|| pair.b.stack.accept(listener).ok()).count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
}

#[test]
fn datagrams_keep_their_borders_and_name_their_sender() {
    for domain in BOTH {
        let (mut pair, a, b, to) = bound_datagrams(domain);
        let now = pair.now();
        for message in [&b"one"[..], b"", &[7; 8000]] {
            assert_eq!(pair.a.stack.send_to(now, a, message, to), Ok(message.len()));
        }
        pair.run_for(Duration::from_millis(50));
        let now = pair.now();
        let mut buf = [0; 2];
        let (len, meta) = pair.b.stack.recv_from(now, b, &mut buf).unwrap();
        assert_eq!((len, &buf), (2, b"on"));
        let port = pair.a.stack.local_addr(a).unwrap().port();
        assert_eq!(meta.peer(), SocketAddr::new(pair.a.addr(domain), port));
        assert_eq!(pair.b.stack.recv(now, b, &mut buf), Ok(0));
        let (data, _) = pair.b.stack.recv_msg(now, b).unwrap();
        assert!(data.len() == 8000 && data.iter().all(|&byte| byte == 7));
        assert_eq!(pair.b.stack.recv(now, b, &mut buf), Err(Error::WouldBlock));
    }
}

#[test]
fn a_batch_of_datagrams_leaves_what_it_does_not_take() {
    for domain in BOTH {
        let (mut pair, a, b, to) = bound_datagrams(domain);
        let now = pair.now();
        pair.a.stack.send_to(now, a, b"first", to).unwrap();
        pair.run_for(Duration::from_millis(50));
        let now = pair.now();
        pair.b.stack.recv_msg(now, b).unwrap();
        let memory = pair.b.stack.memory_bytes();
        for number in 0..5u8 {
            pair.a.stack.send_to(now, a, &[number; 8], to).unwrap();
        }
        pair.run_for(Duration::from_millis(50));
        let now = pair.now();
        let from = SocketAddr::new(pair.a.addr(domain), pair.a.stack.local_addr(a).unwrap().port());
        let mut batch = Vec::new();
        assert_eq!(pair.b.stack.recv_batch(now, b, &mut batch, 0), Ok(0));
        assert_eq!(pair.b.stack.recv_batch(now, b, &mut batch, 3), Ok(3));
        assert_eq!(pair.b.stack.queued_bytes(b), Ok((16, 0)));
        assert!(pair.b.stack.readiness(b).unwrap().readable);
        assert_eq!(pair.b.stack.recv_batch(now, b, &mut batch, 3), Ok(2));
        assert!(!pair.b.stack.readiness(b).unwrap().readable);
        assert_eq!(pair.b.stack.memory_bytes(), memory, "what was taken is nobody's any more");
        let expected: Vec<_> = (0..5u8).map(|number| (vec![number; 8].into(), from)).collect();
        let taken: Vec<_> = batch.iter().map(|(data, meta)| (data.clone(), meta.peer())).collect();
        assert_eq!(taken, expected);
        assert_eq!(pair.b.stack.recv_batch(now, b, &mut batch, 3), Err(Error::WouldBlock));
        assert_eq!(batch.len(), 5);
    }
}

#[test]
fn a_connected_datagram_socket_hears_its_peer_only_and_learns_of_a_closed_port() {
    for domain in BOTH {
        let mut pair = pair();
        let a = datagram(&mut pair, Side::A, domain);
        let (peer, stranger) = (datagram(&mut pair, Side::B, domain), datagram(&mut pair, Side::B, domain));
        let to = SocketAddr::new(pair.b.addr(domain), 53);
        pair.b.stack.bind(peer, to).unwrap();
        let now = pair.now();
        pair.a.stack.connect(now, a, to).unwrap();
        assert_eq!(pair.a.stack.peer_addr(a), Ok(to));
        let local = pair.a.stack.local_addr(a).unwrap();
        assert_eq!(local.ip(), pair.a.addr(domain));
        pair.b.stack.send_to(now, stranger, b"no", local).unwrap();
        pair.b.stack.send_to(now, peer, b"yes", local).unwrap();
        pair.run_for(Duration::from_millis(50));
        let now = pair.now();
        let mut buf = [0; 8];
        assert_eq!(pair.a.stack.recv(now, a, &mut buf), Ok(3));
        assert_eq!(pair.a.stack.recv(now, a, &mut buf), Err(Error::WouldBlock));

        pair.b.stack.close(now, peer).unwrap();
        pair.a.stack.send(now, a, b"anyone?").unwrap();
        pair.run_for(Duration::from_millis(50));
        let now = pair.now();
        assert!(readiness(&pair, a).error);
        assert_eq!(pair.a.stack.recv(now, a, &mut buf), Err(Error::ConnectionRefused));
        assert_eq!(pair.a.stack.recv(now, a, &mut buf), Err(Error::WouldBlock));
    }
}

#[test]
fn broadcast_needs_its_option_and_reaches_every_socket_on_the_port() {
    let mut pair = pair();
    let now = pair.now();
    let a = datagram(&mut pair, Side::A, Domain::V4);
    let to = addr("10.0.0.255:53");
    assert_eq!(pair.a.stack.send_to(now, a, b"all", to), Err(Error::PermissionDenied));
    pair.a.stack.set_option(now, a, SocketOption::Broadcast(true)).unwrap();
    let listeners: Vec<_> = (0..2)
        .map(|_| {
            let d = datagram(&mut pair, Side::B, Domain::V4);
            pair.b.stack.set_option(now, d, SocketOption::ReuseAddr(true)).unwrap();
            pair.b.stack.bind(d, addr("0.0.0.0:53")).unwrap();
            d
        })
        .collect();
    assert_eq!(pair.a.stack.send_to(now, a, b"all", to), Ok(3));
    pair.run_for(Duration::from_millis(50));
    let now = pair.now();
    for d in listeners {
        assert_eq!(pair.b.stack.recv(now, d, &mut [0; 8]), Ok(3));
    }
}

#[test]
fn a_datagram_that_is_too_long_or_too_many_are_refused() {
    let mut pair = pair();
    let now = pair.now();
    let a = datagram(&mut pair, Side::A, Domain::V4);
    let to = addr("10.0.0.2:53");
    assert_eq!(pair.a.stack.send_to(now, a, &[0; 65_508], to), Err(Error::MessageTooLong));
    assert_eq!(pair.a.stack.send_to(now, a, &[0; 65_507], to), Ok(65_507));
    assert_eq!(pair.a.stack.send_to(now, a, b"", addr("10.0.0.2:0")), Err(Error::InvalidArgument));
    // The queue is not drained.
    let refused = (0..1000).find_map(|_| pair.a.stack.send_to(now, a, &[0; 1000], to).err());
    assert_eq!(refused, Some(Error::WouldBlock));
    assert!(!readiness(&pair, a).writable || refused.is_some());
}

#[test]
fn a_full_receive_buffer_drops_and_counts() {
    let mut pair = pair();
    let (a, b) = (datagram(&mut pair, Side::A, Domain::V4), datagram(&mut pair, Side::B, Domain::V4));
    let to = addr("10.0.0.2:53");
    pair.b.stack.bind(b, to).unwrap();
    let now = pair.now();
    pair.b.stack.set_option(now, b, SocketOption::ReceiveBuffer(5_000)).unwrap();
    for _ in 0..10 {
        pair.a.stack.send_to(now, a, &[0; 1000], to).unwrap();
    }
    pair.run_for(Duration::from_millis(50));
    let now = pair.now();
    let received = std::iter::from_fn(|| pair.b.stack.recv(now, b, &mut [0; 2000]).ok()).count();
    assert!((1..5).contains(&received), "{received}");
    assert_eq!(pair.b.stack.stats().drops(DropReason::ReceiveBufferFull), 10 - received as u64);
}

#[test]
fn echo_sockets_ping_and_hear_of_hosts_that_are_not_there() {
    for domain in BOTH {
        let mut pair = pair();
        let echo = pair.a.stack.socket(domain, SocketKind::Echo).unwrap();
        let now = pair.now();
        let mut request = vec![0; 8];
        request[0] = if domain == Domain::V4 { 8 } else { 128 };
        request[6..8].copy_from_slice(&7u16.to_be_bytes());
        request.extend_from_slice(b"are you there?");
        let to = SocketAddr::new(pair.b.addr(domain), 0);
        assert_eq!(pair.a.stack.send_to(now, echo, &request, to), Ok(request.len()));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, echo).readable));
        let now = pair.now();
        let (reply, meta) = pair.a.stack.recv_msg(now, echo).unwrap();
        assert_eq!(meta.peer().ip(), to.ip());
        let reply_type = if domain == Domain::V4 { 0 } else { 129 };
        assert_eq!(reply[0], reply_type);
        assert_eq!(reply[6..], request[6..]);
        let identifier = u16::from_be_bytes([reply[4], reply[5]]);
        assert_eq!(identifier, pair.a.stack.local_addr(echo).unwrap().port());
    }
}

#[test]
fn the_loopback_serves_itself_in_both_families() {
    for text in ["127.0.0.1:80", "10.0.0.1:80", "[::1]:80", "[fd00::1]:80"] {
        let mut pair = pair();
        let to = addr(text);
        let domain = if to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let now = pair.now();
        let listener = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
        pair.a.stack.bind(listener, to).unwrap();
        pair.a.stack.listen(listener, 1).unwrap();
        let client = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
        assert_eq!(pair.a.stack.connect(now, client, to), Err(Error::InProgress));
        assert!(pair.drive(MINUTE, |pair| readiness(pair, client).writable), "{text}");
        let (server, peer) = pair.a.stack.accept(listener).unwrap();
        assert_eq!(Ok(peer), pair.a.stack.local_name(client));
        let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let (mut sent, mut received) = (0, Vec::new());
        let whole = pair.drive(MINUTE, |pair| {
            let now = pair.now();
            while let Ok(count @ 1..) = pair.a.stack.send(now, client, &data[sent..]) {
                sent += count;
            }
            while let Ok(bytes) = pair.a.stack.recv_bytes(now, server, 65_536) {
                if bytes.is_empty() {
                    break;
                }
                received.extend_from_slice(&bytes);
            }
            received.len() == data.len()
        });
        assert!(whole && received == data, "{text}: {} of {}", received.len(), data.len());
    }
}

#[test]
fn unspecified_destinations_mean_this_host() {
    let mut pair = pair();
    let now = pair.now();
    let listener = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    pair.a.stack.bind(listener, addr("0.0.0.0:80")).unwrap();
    pair.a.stack.listen(listener, 1).unwrap();
    let client = stream(&mut pair);
    assert_eq!(pair.a.stack.connect(now, client, addr("0.0.0.0:80")), Err(Error::InProgress));
    assert!(pair.drive(MINUTE, |pair| readiness(pair, client).writable));
    assert_eq!(pair.a.stack.peer_addr(client), Ok(addr("127.0.0.1:80")));
}

#[test]
fn options_have_their_ranges_and_pass_from_listener_to_connection() {
    let mut pair = pair();
    let now = pair.now();
    let listener = pair.b.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let stack = &mut pair.b.stack;
    for bad in [
        SocketOption::Ttl(0),
        SocketOption::MaxSegment(87),
        SocketOption::KeepCount(0),
        SocketOption::KeepIdle(Duration::ZERO),
        SocketOption::KeepInterval(Duration::ZERO),
    ] {
        assert_eq!(stack.set_option(now, listener, bad), Err(Error::InvalidArgument), "{bad:?}");
    }
    let good = [
        SocketOption::Ttl(9),
        SocketOption::MaxSegment(500),
        SocketOption::KeepAlive(true),
        SocketOption::NoDelay(true),
        SocketOption::ReceiveBuffer(1 << 40),
        SocketOption::SendBuffer(1),
    ];
    for option in good {
        stack.set_option(now, listener, option).unwrap();
    }
    stack.bind(listener, addr("0.0.0.0:80")).unwrap();
    stack.listen(listener, 1).unwrap();
    let (_, server) = pair.connect_to(Domain::V4, listener, 80);
    let options = pair.b.stack.options(server).unwrap();
    assert_eq!((options.ip.ttl, options.tcp.max_segment), (Some(9), Some(500)));
    assert!(options.keepalive && options.tcp.nodelay);
    assert_eq!((options.receive_buffer, options.send_buffer), (32 << 20, 4096));
}

#[test]
fn ttl_and_max_segment_are_seen_on_the_wire() {
    let mut config = PairConfig::seeded(3);
    config.record = true;
    let mut pair = Pair::new(config);
    let _listener = pair.listener(Domain::V4, 80);
    let s = stream(&mut pair);
    let now = pair.now();
    pair.a.stack.set_option(now, s, SocketOption::Ttl(9)).unwrap();
    pair.a.stack.set_option(now, s, SocketOption::MaxSegment(500)).unwrap();
    pair.recorded();
    let _ = pair.a.stack.connect(now, s, addr("10.0.0.2:80"));
    assert!(pair.drive(MINUTE, |pair| readiness(pair, s).writable));
    let syn = pair
        .recorded()
        .into_iter()
        .find(|frame| frame.from == Side::A && frame.frame[12..14] == [8, 0])
        .unwrap();
    assert_eq!(syn.frame[14 + 8], 9);
    // The first option of the SYN is the MSS, as on Linux.
    assert_eq!(syn.frame[14 + 20 + 20..][..4], [2, 4, 1, 244]);
}

#[test]
fn link_local_peers_need_the_scope_of_their_link() {
    let mut pair = pair();
    let link_local = |pair: &mut Pair, side| {
        let host = pair.host(side);
        let interfaces = host.stack.interfaces();
        let addr = interfaces[0].addresses.iter().map(|(cidr, _)| cidr.addr).find_map(|addr| match addr {
            std::net::IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            _ => None,
        });
        (addr.expect("an Ethernet interface has one"), host.iface.scope_id())
    };
    let (theirs, scope) = link_local(&mut pair, Side::B);
    let listener = pair.b.stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    pair.b.stack.bind(listener, addr("[::]:80")).unwrap();
    pair.b.stack.listen(listener, 1).unwrap();
    let client = pair.a.stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    let now = pair.now();
    let without = std::net::SocketAddrV6::new(theirs, 80, 0, 0);
    assert_eq!(pair.a.stack.connect(now, client, without), Err(Error::InvalidArgument));
    let with = std::net::SocketAddrV6::new(theirs, 80, 0, scope);
    assert_eq!(pair.a.stack.connect(now, client, with), Err(Error::InProgress));
    assert!(pair.drive(MINUTE, |pair| pair.b.stack.readiness(listener).unwrap().readable));
    let (_, peer) = pair.b.stack.accept(listener).unwrap();
    let Some(SocketAddr::V6(peer)) = peer.ip() else { panic!("{peer}") };
    assert!(peer.ip().is_unicast_link_local() && peer.scope_id() != 0);
}

#[test]
fn keepalive_waits_a_whole_idle_time_after_it_was_switched_on() {
    let mut pair = pair();
    let (client, _server) = pair.connected_streams(Domain::V4);
    pair.run_for(Duration::from_secs(3 * 3600));
    let now = pair.now();
    pair.a.stack.set_option(now, client, SocketOption::KeepIdle(Duration::from_secs(10))).unwrap();
    pair.a.stack.set_option(now, client, SocketOption::KeepAlive(true)).unwrap();
    pair.run_for(Duration::from_secs(9));
    assert_eq!(pair.a.stack.stats().tcp.keep_alive, 0);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.a.stack.stats().tcp.keep_alive, 1);
    pair.run_for(Duration::from_secs(60));
    assert!(!readiness(&pair, client).error, "the peer answers");
}
