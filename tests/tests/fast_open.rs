//! TCP Fast Open (RFC 7413), the server against a peer that the test plays.

use std::time::Duration;

use portolan::testing::TcpSegment;
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
    /// A listener that takes so many fast opens at once.
    fn new(domain: Domain, limit: usize) -> Server {
        let mut peer = RawPeer::new(true, Config::default(), 5);
        let listener = peer.stack.socket(domain, SocketKind::Stream).unwrap();
        let any = if domain == Domain::V4 { "0.0.0.0:80" } else { "[::]:80" };
        peer.stack.bind(listener, any.parse().unwrap()).unwrap();
        peer.stack.set_option(peer.now, listener, SocketOption::FastOpen(limit)).unwrap();
        peer.stack.listen(listener, 64).unwrap();
        Server { peer, domain, listener }
    }

    /// A SYN with a cookie (empty: a request) and data; what the stack answers.
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

    /// The cookie that the server gives this client.
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

/// RFC 7413 §4.1.2, §4.2.1: a request is answered with a cookie, which belongs to the client's address and is not to be
/// guessed; the handshake takes its course, and data that came along is not acknowledged.
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
        assert_eq!(server.stats().fast_open_requests, 2);
        assert!(server.peer.stack.accept(server.listener).is_err());
    }
}

/// RFC 7413 §4.2.2: with a good cookie the data is the program's at once, the SYN-ACK acknowledges it, and the answer goes
/// out before the handshake is over.
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

        // The client acknowledges all of it and says more.
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
        assert_eq!(server.stats().fast_open_passive, 1);
        // Nothing is left of the handshake: no timer sends anything any more.
        server.peer.take_segments();
        server.peer.pass(Duration::from_secs(60));
        assert!(server.peer.take_segments().iter().all(|segment| segment.flags & TcpSegment::SYN == 0));
    }
}

/// RFC 7413 §4.2.2: a bad cookie costs the client nothing but the round trip, and it gets a good one.
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
    assert_eq!((server.stats().fast_open_passive, server.stats().fast_open_passive_failed), (0, 3));
    // Of an odd length: as if it were not there.
    assert_eq!(cookie_in(&server.syn(5001, &[1; 5], b"")), None);
    // A listener that wants none says nothing.
    let mut plain = Server::new(Domain::V4, 0);
    assert_eq!(cookie_in(&plain.syn(5000, &[], b"")), None);
    let syn_ack = plain.syn(5001, &good, b"GET /");
    assert_eq!((syn_ack.ack, cookie_in(&syn_ack)), (ISN + 1, None));
}

/// The SYN-ACK is repeated until it is acknowledged, and nothing else is sent again before that (Linux's
/// tcp_fastopen_synack_timer); the SYN again asks for it, too.
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
    // The client repeats its SYN without the option and without the data, as clients do.
    let syn = TcpSegment {
        seq: ISN,
        flags: TcpSegment::SYN,
        options: vec![2, 4, 5, 0xb4],
        ..TcpSegment::new(5000, PORT)
    };
    let answer = server.send(&syn);
    assert_eq!((answer.seq, answer.ack, answer.flags), (first.seq, first.ack, first.flags));
    // The acknowledgement of the SYN alone: the data was lost, and is sent again.
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

/// Nobody answers the SYN-ACK: it is given up like any other.
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

/// RFC 7413 §5.1: beyond the limit SYNs take the usual course, and those that were reset count for another minute.
#[test]
fn pending_fast_opens_are_bounded_and_resets_count() {
    let mut server = Server::new(Domain::V4, 3);
    let cookie = server.cookie();
    let fast = |server: &mut Server, port: u16| server.syn(port, &cookie, b"x").ack == ISN + 2;
    assert!((1..=3).all(|port| fast(&mut server, port)));
    assert!(!fast(&mut server, 4));
    assert_eq!(server.stats().fast_open_overflows, 1);
    // One handshake ends, another is reset: there is room for one.
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
    // What was reset while it waited is an error to whoever accepts it.
    let accepted: Vec<_> =
        std::iter::from_fn(|| server.peer.stack.accept(server.listener).ok()).map(|(d, _)| d).collect();
    assert!(accepted.len() >= 4);
    let second = accepted[1];
    assert_eq!(server.read(second).as_deref(), Ok(&b"x"[..]));
    assert_eq!(server.read(second), Err(Error::ConnectionReset));
}

/// RFC 7413 §4.1.2: the key changes. A cookie of the key before is good and is replaced; an older one is not.
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

/// A program that reads the request, answers and closes, all before the handshake ends.
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
    let states: Vec<_> = server.peer.stack.sockets().iter().map(|socket| socket.state).collect();
    assert_eq!(states, ["LISTEN", "TIME-WAIT"]);
    assert_eq!(server.stats().drops(DropReason::NoTcpSocket), 0);
}
