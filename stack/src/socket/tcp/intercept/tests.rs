use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::vec;
use std::vec::Vec;

use super::pending::{MAX_HEADERS, PendingSyn};
use crate::testing::{PacketBuilder, TcpSegment};
use crate::{
    Cancellation, Config, Descriptor, Domain, DropReason, Error, Frame, IgnoreReason, Instant, Interception,
    InterfaceConfig, InterfaceId, Medium, PendingConnection, PendingEvent, PendingId, Rejection, SendMeta,
    SocketKind, SocketOption, Stack, Unreachable,
};

const SYN: u8 = TcpSegment::SYN;
const ACK: u8 = TcpSegment::ACK;
const RST: u8 = TcpSegment::RST;
const FIN: u8 = TcpSegment::FIN;

/// A stack that is 10.0.0.1 and fd00::1 on a tunnel whose packets it takes, and the source of a
/// connection.
struct Bench {
    stack: Stack,
    iface: InterfaceId,
    interceptor: Descriptor,
    now: Instant,
    builder: PacketBuilder,
    segment: TcpSegment,
}

impl Bench {
    fn new(config: Config) -> Bench {
        Bench::with(config, Interception::all(), "10.0.0.9", "203.0.113.7")
    }

    fn between(source: &str, destination: &str) -> Bench {
        Bench::with(Config::default(), Interception::all(), source, destination)
    }

    fn with(config: Config, interception: Interception, source: &str, destination: &str) -> Bench {
        let now = Instant::from_secs(100);
        let mut stack = Stack::new(config, [7; 32], now);
        let interface = InterfaceConfig::new(Medium::Ip)
            .address("10.0.0.1/8".parse().unwrap())
            .address("fd00::1/8".parse().unwrap())
            .intercept(interception);
        let iface = stack.add_interface(now, interface).unwrap();
        let interceptor = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        stack.intercept(interceptor).unwrap();
        let builder = PacketBuilder::new(source.parse().unwrap(), destination.parse().unwrap());
        let segment = TcpSegment { seq: 5000, flags: SYN, ..TcpSegment::new(40_000, 443) };
        Bench { stack, iface, interceptor, now, builder, segment }
    }

    /// The source sends its segment with changes.
    fn send(&mut self, change: impl FnOnce(&mut TcpSegment)) {
        let mut segment = self.segment.clone();
        change(&mut segment);
        let packet = self.builder.tcp(&segment);
        self.stack.handle_frame(self.now, self.iface, Frame::new(packet));
    }

    fn syn(&mut self) {
        self.send(|_| ());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.stack.handle_timeout(self.now);
    }

    fn poll(&mut self) -> Option<PendingEvent> {
        match self.stack.poll_pending(self.interceptor) {
            Err(Error::WouldBlock) => None,
            event => Some(event.unwrap()),
        }
    }

    fn pending(&mut self) -> PendingConnection {
        match self.poll() {
            Some(PendingEvent::New(pending)) => pending,
            other => panic!("{other:?}; {:?}", self.stack.stats()),
        }
    }

    fn accept(&mut self, id: PendingId) -> Descriptor {
        self.stack.accept_pending(self.now, self.interceptor, id).unwrap()
    }

    fn reject(&mut self, id: PendingId, how: Rejection) {
        self.stack.reject_pending(self.now, self.interceptor, id, how).unwrap();
    }

    /// The packets that the stack sends.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.stack.poll_transmit(self.now).map(|frame| frame.to_vec())).collect()
    }

    /// The only segment that the stack sends.
    fn answer(&mut self) -> Seen {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:02x?}");
        Seen::of(&sent[0])
    }

    /// Completes the handshake of a connection that was accepted, and returns our number.
    fn establish(&mut self) -> u32 {
        let syn_ack = self.answer();
        assert_eq!((syn_ack.flags, syn_ack.ack), (SYN | ACK, self.segment.seq + 1));
        let ack = syn_ack.seq.wrapping_add(1);
        self.segment = TcpSegment { flags: ACK, seq: self.segment.seq + 1, ack, ..self.segment.clone() };
        self.send(|_| ());
        ack
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.stack.stats().drops(reason)
    }
}

/// A segment of the stack.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    src: SocketAddr,
    dst: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    payload: Vec<u8>,
}

/// The addresses of a packet, its protocol, and what follows the IP header.
fn parts(packet: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    if packet[0] >> 4 == 4 {
        let addr = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
        return (addr(12), addr(16), packet[9], &packet[20..]);
    }
    let addr = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into();
    (addr(8), addr(24), packet[6], &packet[40..])
}

impl Seen {
    fn of(packet: &[u8]) -> Seen {
        let (src, dst, protocol, tcp) = parts(packet);
        assert_eq!(protocol, 6, "{packet:02x?}");
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Seen {
            src: (src, port(0)).into(),
            dst: (dst, port(2)).into(),
            seq: number(4),
            ack: number(8),
            flags: tcp[13],
            payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
        }
    }
}

const FAMILIES: [(&str, &str); 2] = [("10.0.0.9", "203.0.113.7"), ("fd00::9", "2001:db8::7")];

#[test]
fn a_connection_to_any_host_is_accepted_when_the_program_says_so_and_carries_data() {
    for (source, destination) in FAMILIES {
        let mut bench = Bench::between(source, destination);
        let readiness = |bench: &Bench| bench.stack.readiness(bench.interceptor).unwrap().readable;
        assert!(!readiness(&bench));
        bench.send(|syn| syn.payload = b"early".to_vec());
        assert!(readiness(&bench));
        assert_eq!(bench.stack.poll_event().map(|event| event.readiness.readable), Some(true));
        let pending = bench.pending();
        assert_eq!(pending.source, (bench.builder.src, 40_000).into());
        assert_eq!(pending.destination, (bench.builder.dst, 443).into());
        assert_eq!(pending.iface, bench.iface);
        assert!(!readiness(&bench) && bench.sent().is_empty(), "nothing is sent before the decision");

        // The number and the time stamp are those of now, not of then.
        bench.pass(Duration::from_secs(3));
        let d = bench.accept(pending.id);
        assert_eq!(bench.stack.local_addr(d), Ok(pending.destination));
        assert!(!bench.stack.readiness(d).unwrap().writable, "it is not established yet");
        assert_eq!(bench.stack.send(bench.now, d, b"x"), Err(Error::WouldBlock));
        // The data of the SYN is not acknowledged, so the source sends it again.
        bench.establish();
        let ready = bench.stack.readiness(d).unwrap();
        assert!(ready.writable && !ready.readable);
        bench.send(|segment| segment.payload = b"early".to_vec());
        let mut buf = [0; 9];
        assert_eq!(bench.stack.recv(bench.now, d, &mut buf), Ok(5));
        bench.stack.send(bench.now, d, b"late").unwrap();
        let segment = bench.answer();
        assert_eq!((segment.src, segment.dst), (pending.destination, pending.source));
        assert_eq!(segment.payload, b"late");
        assert_eq!(bench.stack.peer_addr(d), Ok(pending.source));
        let stats = &bench.stack.stats().interception;
        assert_eq!((stats.pending, stats.accepted), (1, 1));
    }
}

#[test]
fn a_refused_connection_was_never_accepted() {
    for (source, destination) in FAMILIES {
        let mut bench = Bench::between(source, destination);
        bench.syn();
        let pending = bench.pending();
        bench.reject(pending.id, Rejection::Reset);
        let reset = bench.answer();
        assert_eq!((reset.src, reset.dst), (pending.destination, pending.source));
        assert_eq!((reset.flags, reset.ack), (RST | ACK, bench.segment.seq + 1));
        assert_eq!(bench.drops(DropReason::PendingRejected), 1);
        for decision in [
            bench.stack.accept_pending(bench.now, bench.interceptor, pending.id).err(),
            bench.stack.reject_pending(bench.now, bench.interceptor, pending.id, Rejection::Reset).err(),
            bench.stack.ignore_pending(bench.now, bench.interceptor, pending.id, IgnoreReason::Policy).err(),
        ] {
            assert_eq!(decision, Some(Error::ConnectionAborted));
        }
    }
}

#[test]
fn errors_about_ports_come_from_the_destination_and_others_from_the_interface() {
    for (what, v4, v6, is_from_destination) in [
        (Unreachable::Network, [3, 0], [1, 0], false),
        (Unreachable::Host, [3, 1], [1, 3], false),
        (Unreachable::Prohibited, [3, 13], [1, 1], false),
        (Unreachable::Port, [3, 3], [1, 4], true),
    ] {
        for (source, destination) in FAMILIES {
            let mut bench = Bench::between(source, destination);
            bench.segment.options = vec![2, 4, 5, 180];
            bench.segment.payload = vec![7; 100];
            bench.syn();
            let pending = bench.pending();
            bench.reject(pending.id, Rejection::Unreachable(what));
            let sent = bench.sent();
            let (src, dst, protocol, message) = parts(&sent[0]);
            let is_v4 = dst.is_ipv4();
            let own: IpAddr = if is_v4 { [10, 0, 0, 1].into() } else { "fd00::1".parse().unwrap() };
            assert_eq!(src, if is_from_destination { pending.destination.ip() } else { own }, "{what:?}");
            assert_eq!((dst, protocol), (pending.source.ip(), if is_v4 { 1 } else { 58 }));
            assert_eq!(message[..2], if is_v4 { v4 } else { v6 });
            // It quotes the SYN, up to its data.
            let syn = bench.builder.tcp(&bench.segment);
            assert_eq!(message[8..], syn[..syn.len() - 100]);
            assert_eq!((sent.len(), bench.stack.stats().interception.unreachables), (1, 1));
        }
    }
}

#[test]
fn beyond_its_rate_an_error_becomes_a_reset_and_a_reset_becomes_nothing() {
    let mut config = Config::default();
    config.interception.max_unreachables_per_source = 2;
    config.interception.max_resets_per_source = 3;
    let mut bench = Bench::new(config);
    let mut answers = Vec::new();
    for port in 1..=6 {
        bench.send(|syn| syn.src_port = port);
        let pending = bench.pending();
        bench.reject(pending.id, Rejection::Unreachable(Unreachable::Host));
        answers.extend(bench.sent().iter().map(|packet| parts(packet).2));
    }
    assert_eq!(answers, [1, 1, 6, 6, 6]);
    let stats = &bench.stack.stats().interception;
    assert_eq!((stats.unreachables, stats.resets, stats.answers_limited), (2, 3, 5));
    // Resets that nobody chose have another limit.
    bench.send(|segment| segment.flags = ACK);
    assert_eq!(bench.answer().flags, RST);
}

#[test]
fn without_an_address_of_its_own_the_stack_sends_a_reset_instead_of_an_error() {
    let mut bench = Bench::new(Config::default());
    bench.stack.remove_address(bench.iface, [10, 0, 0, 1].into()).unwrap();
    let gateway = crate::Route::new("0.0.0.0/0".parse().unwrap(), bench.iface);
    bench.stack.add_route(gateway).unwrap();
    bench.syn();
    let pending = bench.pending();
    bench.reject(pending.id, Rejection::Unreachable(Unreachable::Host));
    assert_eq!(bench.answer().flags, RST | ACK);
}

#[test]
fn a_repeated_syn_is_the_same_connection_with_its_latest_options() {
    let mut bench = Bench::new(Config::default());
    let timestamps = |value: u8| vec![1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 0];
    bench.send(|syn| syn.options = timestamps(1));
    let pending = bench.pending();
    bench.pass(Duration::from_secs(1));
    bench.send(|syn| syn.options = timestamps(9));
    assert_eq!((bench.poll(), bench.sent().len()), (None, 0));
    bench.accept(pending.id);
    let syn_ack = bench.sent().remove(0);
    let tcp = parts(&syn_ack).3;
    let echoed = tcp.windows(2).position(|option| option == [8, 10]).unwrap() + 6;
    assert_eq!(tcp[echoed..echoed + 4], [0, 0, 0, 9]);
    // The SYN-ACK was lost, and the source repeats its SYN.
    bench.pass(Duration::from_millis(900));
    bench.send(|syn| syn.options = timestamps(19));
    assert_eq!(bench.answer().flags, SYN | ACK);
    assert_eq!(bench.stack.stats().interception.pending, 1);
}

#[test]
fn a_syn_with_another_number_replaces_the_connection() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let first = bench.pending();
    bench.segment.seq += 1000;
    bench.syn();
    assert_eq!(bench.poll(), Some(PendingEvent::Cancelled(first.id, Cancellation::Replaced)));
    let second = bench.pending();
    assert_eq!(
        [first, second].map(|it| bench.stack.is_pending(bench.interceptor, it.id)),
        [Ok(false), Ok(true)]
    );
    let gone = bench.stack.accept_pending(bench.now, bench.interceptor, first.id);
    assert_eq!(gone, Err(Error::ConnectionAborted));
    bench.accept(second.id);
    bench.establish();
    assert_eq!(bench.drops(DropReason::PendingCancelled), 1);
}

#[test]
fn cancellations_can_be_taken_before_new_connections() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.stack.poll_cancelled(bench.interceptor), Err(Error::WouldBlock));
    bench.syn();
    let first = bench.pending();
    bench.segment.seq += 1000;
    bench.syn();
    let cancelled = bench.stack.poll_cancelled(bench.interceptor);
    assert_eq!(cancelled, Ok((first.id, Cancellation::Replaced)));
    assert_eq!(bench.stack.poll_cancelled(bench.interceptor), Err(Error::WouldBlock));
    assert!(bench.stack.readiness(bench.interceptor).unwrap().readable, "another one is new");
    bench.pending();
    assert!(!bench.stack.readiness(bench.interceptor).unwrap().readable);
    let other = bench.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(bench.stack.poll_cancelled(other), Err(Error::InvalidArgument));
}

#[test]
fn only_a_reset_with_the_right_number_cancels() {
    for (offset, cancels) in [(0, true), (1, true), (2, false), (-1, false), (1 << 20, false)] {
        for flags in [RST, RST | ACK] {
            let mut bench = Bench::new(Config::default());
            bench.syn();
            let pending = bench.pending();
            bench.send(|segment| {
                (segment.flags, segment.seq) = (flags, segment.seq.wrapping_add_signed(offset));
            });
            let expected = cancels.then_some(PendingEvent::Cancelled(pending.id, Cancellation::Reset));
            assert_eq!((bench.poll(), bench.sent().len()), (expected, 0), "{offset}");
            assert_eq!(bench.drops(DropReason::OutOfWindow), u64::from(!cancels));
        }
    }
    // One that the program has not heard of is just gone.
    let mut bench = Bench::new(Config::default());
    bench.syn();
    bench.send(|segment| segment.flags = RST);
    assert_eq!(bench.poll(), None);
    assert!(!bench.stack.readiness(bench.interceptor).unwrap().readable);
}

#[test]
fn other_segments_change_nothing_before_the_decision() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    for flags in [ACK, SYN | ACK, FIN | ACK, 0, SYN | RST] {
        for seq in [bench.segment.seq, bench.segment.seq + 1] {
            if flags & RST == 0 {
                bench.send(|segment| (segment.flags, segment.seq) = (flags, seq));
            }
        }
    }
    assert_eq!((bench.poll(), bench.sent().len()), (None, 0));
    bench.accept(pending.id);
    bench.establish();
}

#[test]
fn an_accepted_connection_that_is_closed_early_is_reset() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    let syn_ack = bench.answer();
    bench.stack.close(bench.now, d).unwrap();
    let reset = bench.answer();
    assert_eq!((reset.flags & RST, reset.seq), (RST, syn_ack.seq.wrapping_add(1)));
    // A new SYN is a new connection.
    bench.segment.seq += 5;
    bench.syn();
    bench.pending();
}

#[test]
fn the_program_learns_that_an_accepted_connection_did_not_come_about() {
    // The source resets it.
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    bench.sent();
    bench.send(|segment| (segment.flags, segment.seq) = (RST, segment.seq + 1));
    let ready = bench.stack.readiness(d).unwrap();
    assert!(ready.error && ready.hung_up);
    assert_eq!(bench.stack.take_error(d), Ok(Some(Error::ConnectionReset)));
    // The source is silent: the SYN-ACK is repeated, and given up.
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    let first = bench.answer();
    let mut repeats = 0;
    for _ in 0..300 {
        bench.pass(Duration::from_secs(1));
        for packet in bench.sent() {
            assert_eq!(Seen::of(&packet), first);
            repeats += 1;
        }
    }
    assert_eq!(repeats, usize::from(bench.stack.config().tcp.syn_ack_retries));
    assert_eq!(bench.stack.take_error(d), Ok(Some(Error::TimedOut)));
}

#[test]
fn icmp_errors_reach_a_connection_from_an_address_that_is_not_ours() {
    for (source, destination) in FAMILIES {
        let mut bench = Bench::between(source, destination);
        bench.send(|syn| syn.options = vec![2, 4, 5, 180]);
        let pending = bench.pending();
        let d = bench.accept(pending.id);
        bench.establish();
        bench.stack.send(bench.now, d, &[7; 1300]).unwrap();
        let segment = bench.sent().remove(0);
        let is_v4 = segment[0] >> 4 == 4;
        // "Packet too big" from a router: 1,280 bytes fit.
        let router: IpAddr = if is_v4 { [10, 9, 9, 9].into() } else { "fd00::99".parse().unwrap() };
        let (kind, code) = if is_v4 { (3, 4) } else { (2, 0) };
        let rest = [&1280_u32.to_be_bytes()[..], &segment[..100]].concat();
        let error = PacketBuilder::new(router, bench.builder.dst).icmp(kind, code, &rest);
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(error));
        assert_eq!(bench.stack.stats().icmp.errors_received, 1, "{:?}", bench.stack.stats());
        let lens: Vec<_> = bench.sent().iter().map(Vec::len).collect();
        assert!(!lens.is_empty() && lens.iter().all(|&len| len <= 1280), "{lens:?}");
        // An error about a packet that is not from its destination is somebody else's.
        let other = PacketBuilder::new(router, bench.builder.src).icmp(kind, code, &rest);
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(other));
        assert_eq!(bench.stack.stats().icmp.errors_received, 1);
    }
}

#[test]
fn listeners_and_own_addresses_come_before_interception() {
    let mut bench = Bench::new(Config::default());
    let listener = bench.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    bench.stack.bind(listener, ([0; 4], 443)).unwrap();
    bench.stack.listen(listener, 8).unwrap();
    bench.syn();
    assert_eq!(bench.poll(), None);
    bench.establish();
    let (d, _) = bench.stack.accept(listener).unwrap();
    assert_eq!(bench.stack.local_addr(d), Ok(([203, 0, 113, 7], 443).into()));
    // Nobody listens to port 80 of our own address.
    let mut bench = Bench::between("10.0.0.9", "10.0.0.1");
    bench.send(|syn| syn.dst_port = 80);
    assert_eq!((bench.poll(), bench.answer().flags), (None, RST | ACK));
}

#[test]
fn what_is_not_named_is_not_intercepted() {
    let web = Interception::none().ports("203.0.113.0/24".parse().unwrap(), 443..=443);
    for (destination, port, is_taken) in
        [("203.0.113.7", 443, true), ("203.0.113.7", 80, false), ("203.0.114.7", 443, false)]
    {
        let mut bench = Bench::with(Config::default(), web.clone(), "10.0.0.9", destination);
        bench.send(|syn| syn.dst_port = port);
        assert_eq!(bench.poll().is_some(), is_taken, "{destination}:{port}");
        assert_eq!(bench.drops(DropReason::NotForUs), u64::from(!is_taken));
    }
    for destination in
        ["224.0.0.5", "10.255.255.255", "255.255.255.255", "127.0.0.1", "169.254.1.1", "0.0.0.1"]
    {
        let mut bench = Bench::between("10.0.0.9", destination);
        bench.syn();
        assert_eq!((bench.poll(), bench.sent().len()), (None, 0), "{destination}");
    }
    for destination in ["ff02::1", "::1", "fe80::7", "::ffff:10.0.0.7"] {
        let mut bench = Bench::between("fd00::9", destination);
        bench.syn();
        assert_eq!((bench.poll(), bench.sent().len()), (None, 0), "{destination}");
    }
    let mut bench = Bench::between("127.0.0.1", "203.0.113.7");
    bench.syn();
    assert_eq!(bench.drops(DropReason::Martian), 1);
}

#[test]
fn fragments_are_intercepted_by_the_port_of_the_whole_packet() {
    for (port, is_taken) in [(443, true), (80, false)] {
        let web = Interception::none().ports("0.0.0.0/0".parse().unwrap(), 443..=443);
        let mut bench = Bench::with(Config::default(), web, "10.0.0.9", "203.0.113.7");
        bench.segment.payload = vec![7; 100];
        bench.segment.dst_port = port;
        let whole = bench.builder.tcp(&bench.segment);
        for fragment in bench.builder.fragments(6, &whole[20..], 64) {
            bench.stack.handle_frame(bench.now, bench.iface, Frame::new(fragment));
        }
        assert_eq!(bench.poll().is_some(), is_taken);
        assert_eq!(bench.drops(DropReason::NotForUs), u64::from(!is_taken));
    }
}

#[test]
fn without_an_interceptor_connections_are_refused() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    bench.send(|syn| syn.src_port += 1);
    bench.pending();
    bench.stack.close(bench.now, bench.interceptor).unwrap();
    assert_eq!(bench.sent().iter().filter(|packet| Seen::of(packet).flags == RST | ACK).count(), 2);
    bench.syn();
    assert_eq!(bench.answer().flags, RST | ACK);
    assert_eq!(bench.drops(DropReason::NoTcpSocket), 1);
    // Another may take its place.
    bench.interceptor = bench.stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    bench.stack.intercept(bench.interceptor).unwrap();
    bench.syn();
    bench.pending();
}

#[test]
fn a_program_that_does_not_decide_in_time_learns_it() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let first = bench.pending();
    bench.pass(Duration::from_secs(30));
    bench.syn();
    bench.send(|syn| syn.src_port += 1);
    let second = bench.pending();
    bench.pass(Duration::from_secs(29));
    assert_eq!(bench.poll(), None);
    let due = bench.stack.poll_timeout().unwrap();
    assert_eq!((due.at, due.kind), (Instant::from_secs(160), crate::DeadlineKind::Pending));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.poll(), Some(PendingEvent::Cancelled(first.id, Cancellation::TimedOut)));
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.poll(), Some(PendingEvent::Cancelled(second.id, Cancellation::TimedOut)));
    assert_eq!((bench.drops(DropReason::PendingTimeout), bench.sent().len()), (2, 0));
    assert_eq!(bench.stack.next_timeout_at(), None);
}

#[test]
fn an_ignored_connection_comes_again_with_its_next_syn() {
    let reasons = [
        (IgnoreReason::Policy, DropReason::IgnoredByPolicy),
        (IgnoreReason::Overload, DropReason::IgnoredForOverload),
        (IgnoreReason::Silence, DropReason::IgnoredForSilence),
    ];
    let mut bench = Bench::new(Config::default());
    for (why, counter) in reasons {
        bench.syn();
        let pending = bench.pending();
        bench.stack.ignore_pending(bench.now, bench.interceptor, pending.id, why).unwrap();
        assert_eq!((bench.drops(counter), bench.sent().len()), (1, 0));
    }
}

#[test]
fn the_table_is_bounded_and_those_go_first_whose_syn_was_not_repeated() {
    let mut config = Config::default();
    config.interception.max_pending = 4;
    let mut bench = Bench::new(config);
    let mut ids = Vec::new();
    for port in 1..=4 {
        bench.now += Duration::from_millis(1);
        bench.send(|syn| syn.src_port = port);
        ids.push(bench.pending().id);
    }
    for port in [1, 3] {
        bench.send(|syn| syn.src_port = port);
    }
    for (port, evicted) in [(11, ids[1]), (12, ids[3])] {
        bench.now += Duration::from_millis(1);
        bench.send(|syn| syn.src_port = port);
        assert_eq!(bench.poll(), Some(PendingEvent::Cancelled(evicted, Cancellation::Evicted)));
        let id = bench.pending().id;
        bench.send(|syn| syn.src_port = port);
        ids.push(id);
    }
    // All were repeated, so the oldest goes.
    bench.send(|syn| syn.src_port = 13);
    assert_eq!(bench.poll(), Some(PendingEvent::Cancelled(ids[0], Cancellation::Evicted)));
    assert_eq!(bench.drops(DropReason::InterceptionLimit), 3);
}

#[test]
fn a_source_replaces_its_own_connections_and_not_those_of_others() {
    let mut config = Config::default();
    config.interception.max_pending_per_source = 2;
    let mut bench = Bench::new(config);
    bench.syn();
    let victim = bench.pending().id;
    for port in 1..=200 {
        let syn = TcpSegment { src_port: port, ..bench.segment.clone() };
        let packet = PacketBuilder::new([10, 0, 0, 66].into(), bench.builder.dst).tcp(&syn);
        bench.now += Duration::from_millis(1);
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet));
    }
    let mut left = Vec::new();
    while let Some(event) = bench.poll() {
        match event {
            PendingEvent::New(pending) => left.push(pending.source.port()),
            other => panic!("it was announced: {other:?}"),
        }
    }
    assert_eq!(left, [199, 200]);
    bench.accept(victim);
}

#[test]
fn accepted_connections_count_against_the_limits_until_they_are_closed() {
    let mut config = Config::default();
    config.interception.max_connections = 3;
    config.interception.max_connections_per_source = 2;
    let mut bench = Bench::new(config);
    let mut open = Vec::new();
    for port in 1..=2 {
        bench.send(|syn| syn.src_port = port);
        let pending = bench.pending();
        open.push(bench.accept(pending.id));
    }
    bench.sent();
    bench.send(|syn| syn.src_port = 3);
    assert_eq!((bench.poll(), bench.sent().len()), (None, 0));
    let neighbor = PacketBuilder::new([10, 0, 0, 10].into(), bench.builder.dst);
    let first = core::mem::replace(&mut bench.builder, neighbor);
    bench.syn();
    let pending = bench.pending();
    bench.accept(pending.id);
    bench.builder = PacketBuilder::new([10, 0, 0, 11].into(), first.dst);
    bench.syn();
    assert_eq!(bench.poll(), None, "three are open");
    bench.stack.close(bench.now, open[0]).unwrap();
    bench.sent();
    bench.syn();
    bench.pending();
    assert_eq!(bench.drops(DropReason::InterceptionLimit), 2);
}

#[test]
fn ten_thousand_undecided_connections_take_a_bounded_part_of_memory() {
    let mut config = Config::default();
    config.interception.max_pending = 10_000;
    let mut bench = Bench::new(config);
    // The longest headers that a SYN may have.
    bench.builder = PacketBuilder::new("fd00::9".parse().unwrap(), "2001:db8::7".parse().unwrap());
    bench.segment.options = vec![1; 40];
    let before = bench.stack.memory_bytes();
    for number in 0..30_000_u32 {
        bench.builder.src = IpAddr::from([0xfd00, 0, 0, number as u16, 0, 0, 0, 9]);
        bench.now += Duration::from_micros(1);
        bench.send(|syn| syn.seq = number);
    }
    let each = size_of::<PendingSyn>() + MAX_HEADERS;
    assert_eq!(bench.stack.memory_bytes() - before, 10_000 * each);
    assert!(each <= 200, "{each}");
    // Those that are gone are not announced.
    let announced = core::iter::from_fn(|| bench.poll()).count();
    assert_eq!((announced, bench.sent().len()), (10_000, 0));
    bench.pass(Duration::from_secs(61));
    for _ in 0..10_000 / 64 {
        let now = bench.now;
        bench.stack.handle_timeout(now);
    }
    assert_eq!(bench.stack.memory_bytes(), before);
}

#[test]
fn a_syn_may_reopen_a_connection_in_time_wait() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    bench.establish();
    bench.stack.close(bench.now, d).unwrap();
    let fin = bench.answer();
    assert_eq!(fin.flags & FIN, FIN);
    bench.send(|segment| (segment.flags, segment.ack) = (FIN | ACK, fin.seq.wrapping_add(1)));
    bench.sent();
    bench.segment.seq += 100_000;
    bench.send(|segment| (segment.flags, segment.ack) = (SYN, 0));
    let pending = bench.pending();
    bench.accept(pending.id);
    let syn_ack = bench.answer();
    assert!(syn_ack.seq.wrapping_sub(fin.seq) < 1 << 31, "its numbers are after those of the old one");
}

#[test]
fn a_syn_with_fin_is_dropped_and_a_stray_segment_is_reset() {
    let mut bench = Bench::new(Config::default());
    bench.send(|syn| syn.flags |= FIN);
    assert_eq!((bench.poll(), bench.sent().len()), (None, 0));
    bench.send(|segment| (segment.flags, segment.ack) = (ACK, 77));
    let reset = bench.answer();
    assert_eq!((reset.src.ip(), reset.flags, reset.seq), (bench.builder.dst, RST, 77));
}

#[test]
fn connections_have_the_options_of_the_interceptor() {
    let mut bench = Bench::new(Config::default());
    bench.stack.set_option(bench.now, bench.interceptor, SocketOption::NoDelay(true)).unwrap();
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    assert!(bench.stack.options(d).unwrap().tcp.nodelay);
    assert_eq!(bench.stack.domain(d), Ok(Domain::V4));
}

#[test]
fn one_socket_of_a_stack_intercepts() {
    let mut bench = Bench::new(Config::default());
    let other = bench.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(bench.stack.intercept(other), Err(Error::AddressInUse));
    assert_eq!(bench.stack.intercept(bench.interceptor), Err(Error::InvalidArgument));
    assert_eq!(bench.stack.poll_pending(other), Err(Error::InvalidArgument));
    bench.syn();
    let pending = bench.pending();
    assert_eq!(bench.stack.is_pending(other, pending.id), Err(Error::InvalidArgument));
    let datagrams = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let echo = bench.stack.socket(Domain::V4, SocketKind::Echo).unwrap();
    assert_eq!(bench.stack.intercept(echo), Err(Error::NotSupported));
    assert_eq!(bench.stack.poll_pending(datagrams), Err(Error::NotSupported));
    bench.stack.bind(other, ([0; 4], 80)).unwrap();
    assert_eq!(bench.stack.intercept(other), Err(Error::InvalidArgument));
    // It is no other socket meanwhile.
    let (now, d) = (bench.now, bench.interceptor);
    assert_eq!(bench.stack.listen(d, 1), Err(Error::InvalidArgument));
    assert_eq!(bench.stack.accept(d), Err(Error::InvalidArgument));
    assert_eq!(bench.stack.bind(d, ([0; 4], 81)), Err(Error::InvalidArgument));
    assert_eq!(bench.stack.connect(now, d, ([10, 0, 0, 9], 1)), Err(Error::IsConnected));
    let device = SocketOption::BindToDevice(Some(bench.iface));
    assert_eq!(bench.stack.set_option(now, d, device), Err(Error::InvalidArgument));
}

#[test]
fn echo_requests_are_answered_only_if_the_configuration_says_so() {
    for answers in [false, true] {
        let interception = Interception::all().answer_echo(answers);
        let mut bench = Bench::with(Config::default(), interception, "10.0.0.9", "203.0.113.7");
        for packet in [bench.builder.echo_request(1, 1, b"x"), bench.builder.icmp(13, 0, &[0; 16])] {
            bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet));
        }
        let sent = bench.sent();
        assert_eq!(sent.len(), if answers { 2 } else { 0 });
        assert!(sent.iter().all(|packet| parts(packet).0 == bench.builder.dst));
    }
}

#[test]
fn a_syn_behind_ip_options_is_kept_without_them() {
    // Four bytes of IP options: end of options.
    let mut bench = Bench::new(Config::default());
    let mut packet = bench.builder.tcp(&bench.segment);
    packet.splice(20..20, [0; 4]);
    (packet[0], packet[3]) = (0x46, packet[3] + 4);
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = crate::testing::internet_checksum(&[&packet[..24]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet));
    let pending = bench.pending();
    bench.reject(pending.id, Rejection::Unreachable(Unreachable::Port));
    let sent = bench.sent();
    let quoted = &parts(&sent[0]).3[8..];
    assert_eq!((quoted[0], quoted.len()), (0x45, 40));
    assert_eq!(quoted[20..24], [0x9c, 0x40, 1, 187]);
}

#[test]
fn a_datagram_socket_of_any_address_is_told_the_destination_and_answers_from_it() {
    for (source, destination) in FAMILIES {
        let mut bench = Bench::between(source, destination);
        let domain = if bench.builder.src.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let any: IpAddr = if domain == Domain::V4 { [0; 4].into() } else { [0_u16; 8].into() };
        let resolver = bench.stack.socket(domain, SocketKind::Datagram).unwrap();
        bench.stack.bind(resolver, SocketAddr::new(any, 53)).unwrap();
        let question = bench.builder.udp(5000, 53, b"who?");
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(question));
        let mut buf = [0; 9];
        let (len, meta) = bench.stack.recv_from(bench.now, resolver, &mut buf).unwrap();
        assert_eq!((&buf[..len], meta.local()), (&b"who?"[..], (bench.builder.dst, 53).into()));
        let mut answer = SendMeta::to(meta.peer());
        answer.source = Some(meta.local().ip());
        bench.stack.send_msg(bench.now, resolver, "me".into(), &answer).unwrap();
        let sent = bench.sent();
        let (src, dst, protocol, datagram) = parts(&sent[0]);
        assert_eq!((src, dst, protocol), (bench.builder.dst, bench.builder.src, 17));
        assert_eq!(datagram[..4], [0, 53, 0x13, 0x88]);
        // Nobody has port 54: the destination says so.
        let question = bench.builder.udp(5000, 54, b"who?");
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(question));
        let sent = bench.sent();
        let (src, _, _, message) = parts(&sent[0]);
        assert_eq!(src, bench.builder.dst);
        assert_eq!(message[..2], if domain == Domain::V4 { [3, 3] } else { [1, 4] });
    }
    // An address that is not intercepted is no source.
    let web = Interception::none().network("203.0.113.0/24".parse().unwrap());
    let mut bench = Bench::with(Config::default(), web, "10.0.0.9", "203.0.113.7");
    let d = bench.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for (source, expected) in [([203, 0, 113, 8], Ok(1)), ([203, 0, 114, 8], Err(Error::NetworkUnreachable))]
    {
        let mut meta = SendMeta::to(([10, 0, 0, 9], 9).into());
        meta.source = Some(source.into());
        assert_eq!(bench.stack.send_msg(bench.now, d, "x".into(), &meta), expected);
    }
}

#[test]
fn protocols_without_a_socket_are_refused_by_the_destination() {
    let mut bench = Bench::new(Config::default());
    let packet = bench.builder.raw(132, &[0; 12]);
    bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet.clone()));
    let sent = bench.sent();
    let (src, _, protocol, message) = parts(&sent[0]);
    assert_eq!((src, protocol, &message[..2]), (bench.builder.dst, 1, &[3, 2][..]));
    // A socket that asks for them gets them.
    let raw = bench.stack.socket(Domain::V4, SocketKind::Raw(132)).unwrap();
    bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet.clone()));
    let mut buf = [0; 99];
    assert_eq!(bench.stack.recv(bench.now, raw, &mut buf), Ok(packet.len()));
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn messages_about_groups_to_other_hosts_are_not_ours() {
    let mut bench = Bench::new(Config::default());
    let query = bench.builder.clone().hop_limit(1).raw(2, &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]);
    bench.stack.handle_frame(bench.now, bench.iface, Frame::new(query));
    assert_eq!(bench.drops(DropReason::UnneededGroupMessage), 1);
}

/// Segments that were joined before a SYN of the same batch are handled after it was read.
#[test]
fn a_batch_is_judged_segment_by_segment() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    let d = bench.accept(pending.id);
    let ack = bench.establish();
    let mut text = bench.segment.clone();
    text.payload = vec![7; 100];
    let stray = TcpSegment { src_port: 7, flags: ACK, ack, payload: vec![7; 100], ..text.clone() };
    let later = TcpSegment { seq: stray.seq + 100, ..stray.clone() };
    let syn = TcpSegment { src_port: 9, flags: SYN, seq: 1, ..TcpSegment::new(9, 443) };
    let frames: Vec<_> = [&text, &stray, &later, &syn]
        .into_iter()
        .map(|segment| (bench.iface, Frame::new(bench.builder.tcp(segment))))
        .collect();
    bench.stack.handle_frames(bench.now, frames);
    assert_eq!(bench.pending().source.port(), 9);
    assert_eq!(bench.poll(), None);
    assert_eq!(bench.stack.recv(bench.now, d, &mut [0; 999]), Ok(100));
}

/// A SYN that a connection has taken, and one to the stack itself.
#[test]
fn a_syn_is_intercepted_once_and_no_other_segment_in_its_place() {
    let mut bench = Bench::new(Config::default());
    bench.syn();
    let pending = bench.pending();
    bench.accept(pending.id);
    bench.sent();
    // The connection answers it.
    bench.syn();
    let own = PacketBuilder::new(bench.builder.src, [10, 0, 0, 1].into());
    for flags in [SYN, ACK] {
        let packet = own.tcp(&TcpSegment { flags, ..TcpSegment::new(7, 443) });
        bench.stack.handle_frame(bench.now, bench.iface, Frame::new(packet));
    }
    assert_eq!(bench.poll(), None);
    assert_eq!(bench.drops(DropReason::NoTcpSocket), 2);
}
