//! TCP Fast Open (RFC 7413): the server against a peer that the test plays; the client against our
//! own server, and against a peer that the test plays.

use std::time::Duration;

use std::net::SocketAddr;

use portolan::testing::{Pair, PairConfig, TcpSegment};
use portolan::{Config, Descriptor, Domain, DropReason, Error, SocketKind, SocketOption};
use portolan_tests::RawPeer;

const FAMILIES: [Domain; 2] = [Domain::V4, Domain::V6];
const ISN: u32 = 7_000;
const PORT: u16 = 80;

struct Server {
    peer: RawPeer,
    domain: Domain,
    listener: Descriptor,
}

impl Server {
    /// A listener with this limit of pending fast opens.
    fn new(domain: Domain, limit: usize) -> Server {
        let mut peer = RawPeer::new(true, Config::default(), 5);
        let listener = peer.stack.socket(domain, SocketKind::Stream).unwrap();
        let any = if domain == Domain::V4 { "0.0.0.0:80" } else { "[::]:80" };
        peer.stack.bind(listener, any.parse::<SocketAddr>().unwrap()).unwrap();
        peer.stack.set_option(peer.now, listener, SocketOption::FastOpen(limit)).unwrap();
        peer.stack.listen(listener, 64).unwrap();
        Server { peer, domain, listener }
    }

    /// Sends a SYN with a cookie (an empty one is a request) and data. Returns the answer of the
    /// stack.
    fn syn(&mut self, port: u16, cookie: &[u8], data: &[u8]) -> TcpSegment {
        let mut options = vec![2, 4, 5, 0xb4, 34, 2 + cookie.len() as u8];
        options.extend_from_slice(cookie);
        options.resize(options.len().next_multiple_of(4), 1);
        let syn = TcpSegment {
            seq: ISN,
            flags: TcpSegment::SYN,
            options,
            payload: data.to_vec(),
            ..TcpSegment::new(port, PORT)
        };
        self.send(&syn)
    }

    fn send(&mut self, segment: &TcpSegment) -> TcpSegment {
        self.peer.take_segments();
        self.peer.send_segment(self.domain, segment);
        let mut answers = self.peer.take_segments();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// Requests the server's cookie for this client.
    fn cookie(&mut self) -> Vec<u8> {
        let syn_ack = self.syn(999, &[], b"");
        let reset = TcpSegment { seq: ISN + 1, flags: TcpSegment::RST, ..TcpSegment::new(999, PORT) };
        self.peer.send_segment(self.domain, &reset);
        cookie_in(&syn_ack).expect("a cookie")
    }

    fn read(&mut self, d: Descriptor) -> Result<Vec<u8>, Error> {
        let mut buf = [0; 2000];
        let now = self.peer.now;
        self.peer.stack.recv(now, d, &mut buf).map(|len| buf[..len].to_vec())
    }

    fn stats(&self) -> &portolan::Stats {
        self.peer.stack.stats()
    }
}

fn cookie_in(segment: &TcpSegment) -> Option<Vec<u8>> {
    let mut options = &segment.options[..];
    while let [kind, rest @ ..] = options {
        match kind {
            0 => break,
            1 => options = rest,
            34 => return Some(options[2..usize::from(rest[0])].to_vec()),
            _ => options = &options[usize::from(rest[0])..],
        }
    }
    None
}

/// RFC 7413 §4.1.2, §4.2.1: a request is answered with a cookie, which depends on the client's
/// address and cannot be guessed. The handshake continues as usual, and data in the SYN is not
/// acknowledged.
#[test]
fn a_request_gets_a_cookie() {
    for domain in FAMILIES {
        let mut server = Server::new(domain, 10);
        let first = server.syn(5000, &[], b"too early");
        assert_eq!((first.flags, first.ack), (TcpSegment::SYN | TcpSegment::ACK, ISN + 1));
        let cookie = cookie_in(&first).expect("a cookie");
        assert_eq!(cookie.len(), 8);
        let second = server.syn(5001, &[], b"");
        assert_eq!(cookie_in(&second), Some(cookie.clone()), "the port does not count");
        assert_eq!(server.stats().fast_open.cookie_reqd, 2);
        assert!(server.peer.stack.accept(server.listener).is_err());
    }
}

/// RFC 7413 §4.2.2: with a valid cookie the program gets the data at once, the SYN-ACK acknowledges
/// it, and the answer is sent before the handshake completes.
#[test]
fn data_in_a_syn_is_read_and_answered_at_once() {
    for domain in FAMILIES {
        let mut server = Server::new(domain, 10);
        let cookie = server.cookie();
        let syn_ack = server.syn(5000, &cookie, b"GET /");
        assert_eq!(syn_ack.flags, TcpSegment::SYN | TcpSegment::ACK);
        assert_eq!(syn_ack.ack, ISN + 1 + 5);
        assert_eq!(cookie_in(&syn_ack), None, "it has a good one");

        let (d, peer) = server.peer.stack.accept(server.listener).expect("without another segment");
        let peer = peer.ip().expect("an address of IP");
        assert_eq!((peer.port(), server.peer.stack.peer_addr(d)), (5000, Ok(peer)));
        assert_eq!(server.read(d).as_deref(), Ok(&b"GET /"[..]));
        assert_eq!(server.read(d), Err(Error::WouldBlock));
        let now = server.peer.now;
        assert_eq!(server.peer.stack.send(now, d, b"200 OK"), Ok(6));
        server.peer.settle();
        let answers = server.peer.take_segments();
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(answer.payload, b"200 OK");
        assert_eq!((answer.seq, answer.ack), (syn_ack.seq.wrapping_add(1), ISN + 6));

        // The client acknowledges everything and sends more.
        let ack = TcpSegment {
            seq: ISN + 6,
            ack: answer.seq.wrapping_add(6),
            flags: TcpSegment::ACK | TcpSegment::PSH,
            payload: b"more".to_vec(),
            ..TcpSegment::new(5000, PORT)
        };
        server.peer.send_segment(domain, &ack);
        assert_eq!(server.read(d).as_deref(), Ok(&b"more"[..]));
        assert_eq!(server.peer.stack.queued_bytes(d), Ok((0, 0)));
        assert_eq!(server.stats().fast_open.passive, 1);
        // Nothing is left of the handshake: no timer sends anything.
        server.peer.take_segments();
        server.peer.pass(Duration::from_secs(60));
        assert!(server.peer.take_segments().iter().all(|segment| segment.flags & TcpSegment::SYN == 0));
    }
}

/// RFC 7413 §4.2.2: an invalid cookie costs the client only the round trip, and the client gets a
/// valid one.
#[test]
fn a_bad_cookie_falls_back_to_the_usual_handshake() {
    let mut server = Server::new(Domain::V4, 10);
    let good = server.cookie();
    let mut bad = good.clone();
    bad[3] ^= 1;
    for cookie in [&bad[..], &good[..6], &[0; 16]] {
        let syn_ack = server.syn(5000, cookie, b"GET /");
        assert_eq!(syn_ack.ack, ISN + 1);
        assert_eq!(cookie_in(&syn_ack), Some(good.clone()));
        let reset = TcpSegment { seq: ISN + 1, flags: TcpSegment::RST, ..TcpSegment::new(5000, PORT) };
        server.peer.send_segment(Domain::V4, &reset);
    }
    assert_eq!((server.stats().fast_open.passive, server.stats().fast_open.passive_fail), (0, 3));
    // A cookie with an invalid length is ignored.
    assert_eq!(cookie_in(&server.syn(5001, &[1; 5], b"")), None);
    // A listener without Fast Open sends no cookie.
    let mut plain = Server::new(Domain::V4, 0);
    assert_eq!(cookie_in(&plain.syn(5000, &[], b"")), None);
    let syn_ack = plain.syn(5001, &good, b"GET /");
    assert_eq!((syn_ack.ack, cookie_in(&syn_ack)), (ISN + 1, None));
}

/// The SYN-ACK is repeated until it is acknowledged, and nothing else is retransmitted before that
/// (Linux's tcp_fastopen_synack_timer). A repeated SYN also triggers it.
#[test]
fn a_lost_syn_ack_is_repeated_and_data_behind_it_later() {
    let mut server = Server::new(Domain::V4, 10);
    let cookie = server.cookie();
    let first = server.syn(5000, &cookie, b"GET /");
    let (d, _) = server.peer.stack.accept(server.listener).unwrap();
    let now = server.peer.now;
    server.peer.stack.send(now, d, b"200 OK").unwrap();
    server.peer.settle();
    server.peer.take_segments();
    server.peer.pass(Duration::from_millis(1_100));
    let repeated = server.peer.take_segments();
    let [again] = &repeated[..] else { panic!("{repeated:?}") };
    assert_eq!((again.seq, again.ack, again.flags), (first.seq, first.ack, first.flags));
    server.peer.now += Duration::from_secs(1);
    // The client repeats its SYN without the option and the data, as clients do.
    let syn = TcpSegment {
        seq: ISN,
        flags: TcpSegment::SYN,
        options: vec![2, 4, 5, 0xb4],
        ..TcpSegment::new(5000, PORT)
    };
    let answer = server.send(&syn);
    assert_eq!((answer.seq, answer.ack, answer.flags), (first.seq, first.ack, first.flags));
    // The client acknowledges only the SYN: the data was lost, and is retransmitted.
    let ack = TcpSegment {
        seq: ISN + 6,
        ack: first.seq.wrapping_add(1),
        flags: TcpSegment::ACK,
        ..TcpSegment::new(5000, PORT)
    };
    server.peer.send_segment(Domain::V4, &ack);
    server.peer.take_segments();
    server.peer.pass(Duration::from_secs(10));
    let resent = server.peer.take_segments();
    assert!(resent.iter().all(|segment| segment.payload == b"200 OK"), "{resent:?}");
    assert!(!resent.is_empty());
}

/// The SYN-ACK is never answered: it is given up like any other.
#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let mut server = Server::new(Domain::V4, 10);
    let cookie = server.cookie();
    server.syn(5000, &cookie, b"GET /");
    let (d, _) = server.peer.stack.accept(server.listener).unwrap();
    assert_eq!(server.read(d).as_deref(), Ok(&b"GET /"[..]));
    server.peer.pass(Duration::from_secs(130));
    assert_eq!(server.read(d), Err(Error::TimedOut));
}

/// RFC 7413 §5.1: beyond the limit SYNs are handled as usual, and connections that were reset count
/// for another minute.
#[test]
fn pending_fast_opens_are_bounded_and_resets_count() {
    let mut server = Server::new(Domain::V4, 3);
    let cookie = server.cookie();
    let fast = |server: &mut Server, port: u16| server.syn(port, &cookie, b"x").ack == ISN + 2;
    assert!((1..=3).all(|port| fast(&mut server, port)));
    assert!(!fast(&mut server, 4));
    assert_eq!(server.stats().fast_open.listen_overflow, 1);
    // One handshake completes, another is reset: there is room for one.
    let syn_ack = server.syn(1, &cookie, b"x");
    let ack = TcpSegment {
        seq: ISN + 2,
        ack: syn_ack.seq.wrapping_add(1),
        flags: TcpSegment::ACK,
        ..TcpSegment::new(1, PORT)
    };
    server.peer.send_segment(Domain::V4, &ack);
    let reset = TcpSegment { seq: ISN + 2, flags: TcpSegment::RST, ..TcpSegment::new(2, PORT) };
    server.peer.send_segment(Domain::V4, &reset);
    assert!(fast(&mut server, 5));
    assert!(!fast(&mut server, 6), "the one that was reset counts");
    server.peer.now += Duration::from_secs(61);
    assert!(fast(&mut server, 7));
    // `accept` returns an error for a connection that was reset while it waited.
    let accepted: Vec<_> =
        std::iter::from_fn(|| server.peer.stack.accept(server.listener).ok()).map(|(d, _)| d).collect();
    assert!(accepted.len() >= 4);
    let second = accepted[1];
    assert_eq!(server.read(second).as_deref(), Ok(&b"x"[..]));
    assert_eq!(server.read(second), Err(Error::ConnectionReset));
}

/// RFC 7413 §4.1.2: the key changes. A cookie of the previous key is accepted and replaced; an
/// older one is not. A connection that was opened fast and accepted survives when its listener
/// stops, and counts when that listens again.
#[test]
fn pending_fast_opens_count_when_the_listener_begins_anew() {
    for domain in FAMILIES {
        let mut server = Server::new(domain, 1);
        let cookie = server.cookie();
        let syn_ack = server.syn(5000, &cookie, b"GET");
        assert_eq!(syn_ack.ack, ISN + 4);
        server.peer.stack.accept(server.listener).unwrap();
        let now = server.peer.now;
        server.peer.stack.shutdown(now, server.listener, portolan::Shutdown::Read).unwrap();
        server.peer.stack.listen(server.listener, 64).unwrap();
        assert_eq!(server.syn(5001, &cookie, b"GET").ack, ISN + 1, "one is pending");
        let ack = TcpSegment {
            seq: ISN + 4,
            ack: syn_ack.seq + 1,
            flags: TcpSegment::ACK,
            ..TcpSegment::new(5000, PORT)
        };
        server.peer.send_segment(domain, &ack);
        assert_eq!(server.syn(5002, &cookie, b"GET").ack, ISN + 4, "none is pending");
        assert_eq!(server.syn(5003, &cookie, b"GET").ack, ISN + 1, "one is pending again");
    }
}

#[test]
fn keys_change_and_the_one_before_is_good() {
    let day = Duration::from_secs(24 * 3600);
    let mut server = Server::new(Domain::V6, 10);
    let old = server.cookie();
    server.peer.pass(day);
    let syn_ack = server.syn(5000, &old, b"x");
    assert_eq!(syn_ack.ack, ISN + 2);
    let new = cookie_in(&syn_ack).expect("a new one");
    assert_ne!(new, old);
    assert_eq!(cookie_in(&server.syn(5001, &new, b"x")), None);
    server.peer.pass(day);
    let syn_ack = server.syn(5002, &old, b"x");
    assert_eq!(syn_ack.ack, ISN + 1);
    assert_eq!(server.syn(5003, &new, b"x").ack, ISN + 2);
}

/// A program that reads the request, answers and closes, before the handshake completes.
#[test]
fn a_whole_exchange_before_the_handshake_is_over() {
    let mut server = Server::new(Domain::V4, 10);
    let cookie = server.cookie();
    let syn_ack = server.syn(5000, &cookie, b"GET /");
    let (d, _) = server.peer.stack.accept(server.listener).unwrap();
    server.read(d).unwrap();
    let now = server.peer.now;
    server.peer.stack.send(now, d, b"200 OK").unwrap();
    server.peer.stack.close(now, d).unwrap();
    server.peer.settle();
    let sent = server.peer.take_segments();
    let payload: Vec<u8> = sent.iter().flat_map(|segment| segment.payload.clone()).collect();
    assert_eq!(payload, b"200 OK");
    assert!(sent.iter().any(|segment| segment.flags & TcpSegment::FIN != 0), "{sent:?}");
    let fin = TcpSegment {
        seq: ISN + 6,
        ack: syn_ack.seq.wrapping_add(1 + 6 + 1),
        flags: TcpSegment::ACK | TcpSegment::FIN,
        ..TcpSegment::new(5000, PORT)
    };
    let last = server.send(&fin);
    assert_eq!((last.flags, last.ack), (TcpSegment::ACK, ISN + 7));
    let states: Vec<_> = server.peer.stack.sockets().map(|socket| socket.state.name()).collect();
    assert_eq!(states, ["LISTEN", "TIME-WAIT"]);
    assert_eq!(server.stats().drops(DropReason::NoTcpSocket), 0);
}

/// Two stacks with a delay of a millisecond; B listens on port 80 and allows fast opens.
fn pair(domain: Domain) -> (Pair, Descriptor, SocketAddr) {
    let mut pair = Pair::new(PairConfig::seeded(3));
    let listener = pair.listener(domain, PORT);
    let now = pair.now();
    pair.b.stack.set_option(now, listener, SocketOption::FastOpen(10)).unwrap();
    let addr = SocketAddr::new(pair.b.addr(domain), PORT);
    (pair, listener, addr)
}

/// Opens a connection in the usual way, so that the client gets a cookie.
fn fetch_cookie(pair: &mut Pair, domain: Domain, listener: Descriptor, addr: SocketAddr) {
    let d = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
    let now = pair.now();
    assert_eq!(pair.a.stack.connect_with_data(now, d, addr, b"GET /"), Err(Error::InProgress));
    pair.run_for(Duration::from_millis(100));
    let (server, _) = pair.b.stack.accept(listener).unwrap();
    assert!(pair.a.stack.readiness(d).unwrap().writable);
    for (stack, d) in [(&mut pair.a.stack, d), (&mut pair.b.stack, server)] {
        stack.close(now, d).unwrap();
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.b.stack.stats().fast_open.cookie_reqd, 1);
}

/// RFC 7413 §4.2: the first connection fetches the cookie, the second one sends its request with
/// the SYN, and gets the answer after one round trip.
#[test]
fn a_request_and_its_answer_take_one_round_trip() {
    for domain in FAMILIES {
        let (mut pair, listener, addr) = pair(domain);
        fetch_cookie(&mut pair, domain, listener, addr);
        let d = pair.a.stack.socket(domain, SocketKind::Stream).unwrap();
        let started_at = pair.now();
        let request = vec![7; 3000];
        let sent = pair.a.stack.connect_with_data(started_at, d, addr, &request).unwrap();
        assert!((1300..=1460).contains(&sent), "what one segment takes, {sent}");
        let (mut server, mut answered_at) = (None, None);
        let mut buf = vec![0; 10_000];
        pair.drive(Duration::from_secs(1), |pair| {
            let now = pair.now();
            if server.is_none()
                && let Ok((d, _)) = pair.b.stack.accept(listener)
            {
                assert_eq!(pair.b.stack.recv(now, d, &mut buf), Ok(sent));
                assert_eq!(buf[..sent], request[..sent]);
                pair.b.stack.send(now, d, b"200 OK").unwrap();
                server = Some(d);
            }
            if answered_at.is_none() && pair.a.stack.recv(now, d, &mut buf) == Ok(6) {
                answered_at = Some(now);
            }
            answered_at.is_some()
        });
        let ping = {
            let started_at = pair.now();
            let rest = pair.a.stack.send(started_at, d, &request[sent..]).unwrap();
            assert_eq!(rest, request.len() - sent);
            let mut whole = 0;
            pair.drive(Duration::from_secs(1), |pair| {
                whole += pair.b.stack.recv(pair.now(), server.unwrap(), &mut buf).unwrap_or(0);
                whole == rest
            });
            pair.now() - started_at
        };
        let took = answered_at.expect("an answer") - started_at;
        assert!(took < ping * 3, "one round trip, but {took:?} where one way takes {ping:?}");
        assert_eq!(pair.a.stack.stats().fast_open.active, 1);
        assert_eq!(pair.b.stack.stats().fast_open.passive, 1);
        assert_eq!(pair.a.stack.stats().tcp.retrans_segs, 0);
    }
}

/// TCP_FASTOPEN_CONNECT: `connect` returns at once, and nothing is sent before there is data.
#[test]
fn connect_is_put_off_until_there_is_data() {
    let (mut pair, listener, addr) = pair(Domain::V4);
    fetch_cookie(&mut pair, Domain::V4, listener, addr);
    let d = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let now = pair.now();
    pair.a.stack.set_option(now, d, SocketOption::FastOpenConnect(true)).unwrap();
    assert_eq!(pair.a.stack.connect(now, d, addr), Ok(()));
    assert_eq!(pair.a.stack.connect(now, d, addr), Err(Error::IsConnected));
    assert!(pair.a.stack.readiness(d).unwrap().writable);
    assert_eq!(pair.a.stack.recv(now, d, &mut [0; 9]), Err(Error::WouldBlock));
    pair.run_for(Duration::from_secs(10));
    assert!(pair.b.stack.accept(listener).is_err());
    let now = pair.now();
    assert_eq!(pair.a.stack.send(now, d, b"GET /"), Ok(5));
    pair.run_for(Duration::from_millis(100));
    let (server, _) = pair.b.stack.accept(listener).unwrap();
    let now = pair.now();
    assert_eq!(pair.b.stack.recv(now, server, &mut [0; 9]), Ok(5));
    // A socket that never sends leaves nothing behind.
    let idle = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    pair.a.stack.set_option(now, idle, SocketOption::FastOpenConnect(true)).unwrap();
    assert_eq!(pair.a.stack.connect(now, idle, addr), Ok(()));
    let sockets = pair.a.stack.sockets().count();
    pair.a.stack.close(now, idle).unwrap();
    pair.run_for(Duration::from_millis(1));
    assert_eq!(pair.a.stack.sockets().count(), sockets - 1);
}

/// A server that has new keys (as after a restart): the data is sent again after the handshake.
#[test]
fn a_cookie_that_is_not_good_any_more_costs_a_round_trip() {
    let (mut pair, listener, addr) = pair(Domain::V4);
    fetch_cookie(&mut pair, Domain::V4, listener, addr);
    // Two lifetimes of a key.
    pair.run_for(Duration::from_secs(3 * 24 * 3600));
    let d = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let now = pair.now();
    assert_eq!(pair.a.stack.connect_with_data(now, d, addr, b"GET /"), Ok(5));
    pair.run_for(Duration::from_millis(200));
    let (server, _) = pair.b.stack.accept(listener).unwrap();
    let mut buf = [0; 9];
    let now = pair.now();
    assert_eq!(pair.b.stack.recv(now, server, &mut buf), Ok(5));
    assert_eq!(&buf[..5], b"GET /");
    assert_eq!(pair.b.stack.recv(now, server, &mut buf), Err(Error::WouldBlock), "once");
    assert_eq!(pair.b.stack.stats().fast_open.passive_fail, 1);
    assert_eq!(pair.a.stack.stats().fast_open.active_fail, 1);
    // The new cookie is valid.
    let d = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(pair.a.stack.connect_with_data(now, d, addr, b"GET /"), Ok(5));
    pair.run_for(Duration::from_millis(200));
    assert_eq!(pair.a.stack.stats().fast_open.active, 1);
}

/// A client of the stack and a server that the test plays.
struct Client {
    peer: RawPeer,
    next_port: u16,
}

impl Client {
    fn new() -> Client {
        let mut client = Client { peer: RawPeer::new(true, Config::default(), 5), next_port: 80 };
        let (_, syn) = client.connect(Err(Error::InProgress));
        assert_eq!(cookie_in(&syn), Some(vec![]), "a request");
        client.answer(&syn, 0, &[34, 6, 1, 2, 3, 4, 1, 1]);
        client
    }

    /// Connects with data, and returns the SYN.
    fn connect(&mut self, expected: Result<usize, Error>) -> (Descriptor, TcpSegment) {
        let d = self.peer.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        self.next_port += 1;
        let addr = SocketAddr::new(RawPeer::PEER_V4.into(), self.next_port);
        self.peer.take_segments();
        let now = self.peer.now;
        assert_eq!(self.peer.stack.connect_with_data(now, d, addr, b"hello"), expected);
        self.peer.settle();
        let mut segments = self.peer.take_segments();
        assert_eq!(segments.len(), 1, "{segments:?}");
        (d, segments.remove(0))
    }

    /// Sends a SYN-ACK that acknowledges this much data. Returns the answer of the stack.
    fn answer(&mut self, syn: &TcpSegment, acked: u32, options: &[u8]) -> Vec<TcpSegment> {
        let syn_ack = TcpSegment {
            seq: 9_000,
            ack: syn.seq.wrapping_add(1 + acked),
            flags: TcpSegment::SYN | TcpSegment::ACK,
            options: options.to_vec(),
            ..TcpSegment::new(syn.dst_port, syn.src_port)
        };
        self.peer.take_segments();
        self.peer.send_segment(Domain::V4, &syn_ack);
        self.peer.take_segments()
    }
}

/// Data that the SYN-ACK does not acknowledge is sent again; an acknowledgement of more than was
/// sent is rejected.
#[test]
fn a_server_that_takes_less_or_claims_more() {
    for (acked, rest) in [(0, &b"hello"[..]), (2, b"llo"), (5, b"")] {
        let mut client = Client::new();
        let (_, syn) = client.connect(Ok(5));
        assert_eq!((cookie_in(&syn), &syn.payload[..]), (Some(vec![1, 2, 3, 4]), &b"hello"[..]));
        let answers = client.answer(&syn, acked, &[]);
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((answer.seq, answer.ack), (syn.seq.wrapping_add(1 + acked), 9_001));
        assert_eq!(answer.payload, rest);
    }
    let mut client = Client::new();
    let (_, syn) = client.connect(Ok(5));
    let answers = client.answer(&syn, 6, &[]);
    assert_eq!(answers[0].flags, TcpSegment::RST);
    assert_eq!(client.answer(&syn, 5, &[])[0].flags, TcpSegment::ACK);
}

/// RFC 7413 §4.2.1: the SYN is repeated without the option and the data. If only that works twice,
/// Fast Open pauses.
#[test]
fn a_path_that_loses_syns_with_data() {
    let mut client = Client::new();
    for _ in 0..2 {
        let (_, _syn) = client.connect(Ok(5));
        client.peer.take_segments();
        client.peer.pass(Duration::from_millis(1_100));
        let repeated = client.peer.take_segments();
        let [again] = &repeated[..] else { panic!("{repeated:?}") };
        assert_eq!((cookie_in(again), again.payload.len(), again.flags & 0x3f), (None, 0, TcpSegment::SYN));
        let answers = client.answer(again, 0, &[]);
        assert_eq!(answers[0].payload, b"hello");
    }
    let (_, syn) = client.connect(Err(Error::InProgress));
    assert_eq!((cookie_in(&syn), syn.payload.len()), (None, 0));
    client.peer.now += Duration::from_secs(241);
    let (_, syn) = client.connect(Ok(5));
    assert_eq!(syn.payload, b"hello");
}

/// `ip tcp_metrics flush`.
#[test]
fn cookies_can_be_forgotten() {
    let mut client = Client::new();
    client.peer.stack.forget_fast_open_cookies();
    let (_, syn) = client.connect(Err(Error::InProgress));
    assert_eq!(cookie_in(&syn), Some(vec![]), "a request");
}

/// The SYN with data arrived and its SYN-ACK was lost: the SYN-ACK for the repeated SYN
/// acknowledges the data.
#[test]
fn a_lost_syn_ack_does_not_make_the_data_come_twice() {
    let mut client = Client::new();
    let (_, _syn) = client.connect(Ok(5));
    client.peer.pass(Duration::from_millis(1_100));
    let repeated = client.peer.take_segments();
    let again = repeated.last().expect("the SYN again").clone();
    let answers = client.answer(&again, 5, &[]);
    let [ack] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((ack.payload.len(), ack.seq), (0, again.seq.wrapping_add(6)));
}
