//! Segments of an attacker that sees nothing of a connection but knows its addresses and ports:
//! over the whole space of sequence numbers, requirement by requirement (RFC 5961), and against
//! TIME-WAIT (RFC 1337).

use std::time::Duration;

use portolan::testing::TcpSegment;
use portolan::{Config, Descriptor, Domain, DropReason, Shutdown, SocketKind, Stats};
use portolan_tests::{RawConnection, RawPeer, by_family};

use crate::FAMILIES;

/// The window that the stack offers to a peer without window scaling.
const WINDOW: u32 = 65_535;
/// The window of the raw peer.
const PEER_WINDOW: u32 = 65_535;

/// A stack with one connection from the raw peer.
struct Attacked {
    peer: RawPeer,
    domain: Domain,
    connection: RawConnection,
    server: Descriptor,
    listener: Descriptor,
}

impl Attacked {
    fn new(domain: Domain) -> Attacked {
        let mut peer = RawPeer::new(true, Config::default(), 3);
        let listener = peer.stack.socket(domain, SocketKind::Stream).unwrap();
        let any = by_family(domain, "0.0.0.0:80", "[::]:80");
        peer.stack.bind(listener, any.parse::<std::net::SocketAddr>().unwrap()).unwrap();
        peer.stack.listen(listener, 8).unwrap();
        let connection = peer.open(domain, 5000, 80);
        let (server, _) = peer.stack.accept(listener).unwrap();
        Attacked { peer, domain, connection, server, listener }
    }

    /// Sends a segment. Returns the counters before and after, and the answers.
    fn send(&mut self, segment: &TcpSegment) -> (Stats, Stats, Vec<TcpSegment>) {
        let before = self.peer.stack.stats().clone();
        self.peer.take_segments();
        self.peer.send_segment(self.domain, segment);
        (before, self.peer.stack.stats().clone(), self.peer.take_segments())
    }

    /// Sends a segment. Returns the reason for its drop, and the answers.
    fn drop_of(&mut self, segment: &TcpSegment) -> (Option<DropReason>, Vec<TcpSegment>) {
        let (before, after, answers) = self.send(segment);
        let reason = after.drop_counts().find(|&(reason, count)| count > before.drops(reason));
        (reason.map(|(reason, _)| reason), answers)
    }

    /// Checks that the real peer can still send.
    fn goes_on(&mut self) {
        let text = b"still here";
        let segment = self.connection.segment(TcpSegment::PSH | TcpSegment::ACK, text);
        self.peer.send_segment(self.domain, &segment);
        self.connection.snd_nxt += text.len() as u32;
        let mut buf = [0; 100];
        let now = self.peer.now;
        assert_eq!(self.peer.stack.recv(now, self.server, &mut buf), Ok(text.len()), "{:?}", self.domain);
        assert_eq!(&buf[..text.len()], text);
    }
}

/// Distances over the whole space: every number around each edge, and one in half a million
/// elsewhere.
fn distances(edges: &[u32]) -> impl Iterator<Item = u32> + use<> {
    let near = |edge: &u32| (0..7).map(|step| edge.wrapping_add(step).wrapping_sub(3)).collect::<Vec<_>>();
    let around: Vec<u32> = edges.iter().chain(&[0, 1 << 31]).flat_map(near).collect();
    around.into_iter().chain((0..u32::MAX).step_by(524_287))
}

/// RFC 5961 §3.2: a reset ends the connection only at RCV.NXT. Elsewhere in the window it is
/// challenged, and outside it is ignored.
#[test]
fn resets_over_the_whole_sequence_space() {
    for domain in FAMILIES {
        let mut attacked = Attacked::new(domain);
        for distance in distances(&[WINDOW]).filter(|&distance| distance != 0) {
            let mut reset = attacked.connection.segment(TcpSegment::RST, &[]);
            reset.seq = reset.seq.wrapping_add(distance);
            attacked.peer.now += Duration::from_secs(1);
            let (reason, answers) = attacked.drop_of(&reset);
            if distance < WINDOW {
                assert_eq!(reason, Some(DropReason::ChallengeAck), "{distance}");
                let [challenge] = &answers[..] else { panic!("{distance}: {answers:?}") };
                let due = (attacked.connection.rcv_nxt, attacked.connection.snd_nxt, TcpSegment::ACK);
                assert_eq!((challenge.seq, challenge.ack, challenge.flags), due);
            } else {
                assert_eq!((reason, answers.len()), (Some(DropReason::OutOfWindow), 0), "{distance}");
            }
        }
        attacked.goes_on();
        // The peer answers a challenge with a reset at the right number, and that is accepted.
        let reset = attacked.connection.segment(TcpSegment::RST, &[]);
        let (before, after, _) = attacked.send(&reset);
        assert_eq!(after.tcp.resets_received, before.tcp.resets_received + 1);
    }
}

/// RFC 5961 §4.2: a SYN is challenged whatever its number, and ends nothing.
#[test]
fn syns_over_the_whole_sequence_space() {
    for domain in FAMILIES {
        let mut attacked = Attacked::new(domain);
        for flags in [TcpSegment::SYN, TcpSegment::SYN | TcpSegment::ACK] {
            for distance in distances(&[WINDOW]) {
                let mut syn = attacked.connection.segment(flags, &[]);
                syn.seq = syn.seq.wrapping_add(distance);
                attacked.peer.now += Duration::from_secs(1);
                let (_, answers) = attacked.drop_of(&syn);
                let [challenge] = &answers[..] else { panic!("{distance}: {answers:?}") };
                let due = (attacked.connection.rcv_nxt, attacked.connection.snd_nxt, TcpSegment::ACK);
                assert_eq!((challenge.seq, challenge.ack, challenge.flags), due, "{distance}");
            }
        }
        attacked.goes_on();
    }
}

/// RFC 5961 §5.2: data is dropped unless its acknowledgement is between SND.UNA - MAX.SND.WND and
/// SND.NXT, even if its sequence number is right.
#[test]
fn data_with_acknowledgements_over_the_whole_space() {
    for domain in FAMILIES {
        let mut attacked = Attacked::new(domain);
        let lowest = 0u32.wrapping_sub(PEER_WINDOW);
        for distance in distances(&[lowest]) {
            // Acceptable acknowledgements are left to the next test.
            if distance == 0 || distance >= lowest {
                continue;
            }
            let mut data = attacked.connection.segment(TcpSegment::PSH | TcpSegment::ACK, b"injected");
            data.ack = data.ack.wrapping_add(distance);
            attacked.peer.now += Duration::from_secs(1);
            let (reason, answers) = attacked.drop_of(&data);
            assert_eq!((reason, answers.len()), (Some(DropReason::BadAck), 1), "{distance}");
            assert_eq!(attacked.peer.stack.queued_bytes(attacked.server), Ok((0, 0)));
        }
        attacked.goes_on();
    }
}

/// The same with a valid acknowledgement: the guessed sequence number must be in the window, here
/// one number in 65,536; data outside is dropped.
#[test]
fn data_over_the_whole_sequence_space() {
    for domain in FAMILIES {
        let mut attacked = Attacked::new(domain);
        for distance in distances(&[WINDOW]).filter(|distance| (WINDOW..u32::MAX - 10).contains(distance)) {
            let mut data = attacked.connection.segment(TcpSegment::PSH | TcpSegment::ACK, b"injected");
            data.seq = data.seq.wrapping_add(distance);
            attacked.peer.now += Duration::from_secs(1);
            let (reason, _) = attacked.drop_of(&data);
            let is_drop = matches!(reason, Some(DropReason::OutOfWindow | DropReason::DuplicateData));
            assert!(is_drop, "{distance}: {reason:?}");
            assert_eq!(attacked.peer.stack.queued_bytes(attacked.server), Ok((0, 0)));
        }
        attacked.goes_on();
    }
}

/// RFC 5961 §7: however many segments demand a challenge, a connection sends two a second, and
/// another connection has its own rate.
#[test]
fn challenges_are_limited() {
    let mut attacked = Attacked::new(Domain::V4);
    let before = attacked.peer.stack.stats().tcp.challenge_ack;
    for number in 0..10_000u32 {
        let mut syn = attacked.connection.segment(TcpSegment::SYN, &[]);
        syn.seq = number.wrapping_mul(0x9e37_79b9);
        attacked.peer.send_segment(Domain::V4, &syn);
        attacked.peer.now += Duration::from_millis(1);
    }
    assert_eq!(attacked.peer.stack.stats().tcp.challenge_ack - before, 20);
    attacked.goes_on();
}

/// RFC 1337: old duplicates and forged resets do not end TIME-WAIT early. A new connection begins
/// only with a SYN that is later than everything of the old one (RFC 6191).
#[test]
fn time_wait_is_not_assassinated() {
    for domain in FAMILIES {
        let mut attacked = Attacked::new(domain);
        // The stack closes first and the peer answers, so the stack is in TIME-WAIT.
        let now = attacked.peer.now;
        attacked.peer.stack.shutdown(now, attacked.server, Shutdown::Write).unwrap();
        attacked.peer.settle();
        attacked.connection.rcv_nxt += 1;
        let fin = attacked.connection.segment(TcpSegment::FIN | TcpSegment::ACK, &[]);
        attacked.peer.send_segment(domain, &fin);
        attacked.connection.snd_nxt += 1;
        attacked.peer.stack.close(now, attacked.server).unwrap();
        attacked.peer.settle();
        let waits = |attacked: &Attacked| {
            attacked.peer.stack.sockets().filter(|socket| socket.state.name() == "TIME-WAIT").count()
        };
        assert_eq!(waits(&attacked), 1);

        let all = [
            TcpSegment::RST,
            TcpSegment::RST | TcpSegment::ACK,
            TcpSegment::ACK,
            TcpSegment::PSH | TcpSegment::ACK,
            TcpSegment::FIN | TcpSegment::ACK,
            TcpSegment::SYN | TcpSegment::ACK,
            TcpSegment::SYN | TcpSegment::FIN,
            0,
        ];
        for flags in all {
            for distance in distances(&[WINDOW]).step_by(16) {
                let mut segment = attacked.connection.segment(flags, b"x");
                segment.seq = segment.seq.wrapping_add(distance);
                attacked.peer.now += Duration::from_micros(100);
                let (_, answers) = attacked.drop_of(&segment);
                // Resets would end a new connection of the peer; acknowledgements do no harm.
                assert!(answers.iter().all(|answer| answer.flags == TcpSegment::ACK), "{answers:?}");
            }
            assert_eq!(waits(&attacked), 1, "{flags:#x}");
        }
        // An older SYN ends nothing, either; a later one opens a new connection.
        let mut syn = attacked.connection.segment(TcpSegment::SYN, &[]);
        syn.seq = attacked.connection.snd_nxt.wrapping_sub(1);
        attacked.drop_of(&syn);
        assert_eq!(waits(&attacked), 1);
        syn.seq = attacked.connection.snd_nxt + 1;
        attacked.peer.now += Duration::from_secs(1);
        let (_, _, answers) = attacked.send(&syn);
        let [syn_ack] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(syn_ack.flags, TcpSegment::SYN | TcpSegment::ACK);
        let distance = syn_ack.seq.wrapping_sub(attacked.connection.rcv_nxt);
        assert!(distance > 65_535 && distance < 1 << 31, "beyond what the old one sent, but {distance}");
        assert_eq!(waits(&attacked), 0);
        let ack = TcpSegment {
            seq: syn.seq + 1,
            ack: syn_ack.seq.wrapping_add(1),
            flags: TcpSegment::ACK,
            ..syn.clone()
        };
        attacked.peer.send_segment(domain, &ack);
        assert!(attacked.peer.stack.accept(attacked.listener).is_ok());
    }
}
