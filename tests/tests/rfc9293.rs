//! Requirements of RFC 9293 that concern the stack as a whole: its calls, its addresses, its ICMP,
//! and segments of an unknown peer. Those of the connection alone are tested beside it.
//! `docs/rfc/9293.md` names these tests.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan::testing::{Fault, PacketBuilder, TcpSegment};
use portolan::{Cidr, Config, Descriptor, Domain, DropReason, Error, RecvFlags, SocketKind, SocketOption};
use portolan_tests::{RawConnection, RawPeer, by_family};

const SYN_ACK: u8 = TcpSegment::SYN | TcpSegment::ACK;
const PSH_ACK: u8 = TcpSegment::PSH | TcpSegment::ACK;
const BOTH: [Domain; 2] = [Domain::V4, Domain::V6];

/// MUST-2, MUST-3: segments that we send have a right checksum, and a segment with a wrong one is
/// ignored.
#[test]
fn checksums_are_made_and_checked() {
    for domain in BOTH {
        let (mut peer, _listener) = listening();
        let segment = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(5000, 80) };
        let damaged = peer.packet(domain).fault(Fault::TransportChecksum).tcp(&segment);
        peer.send_packet(&damaged);
        assert!(peer.take_segments().is_empty());
        assert_eq!(peer.stack.stats().drops(DropReason::BadTcpChecksum), 1);

        peer.send_segment(domain, &segment);
        let sent = peer.take_sent();
        assert!(!sent.is_empty());
        for frame in sent {
            portolan_tests::check_frame(peer.medium(), 1500, &frame).expect("a second opinion");
        }
    }
}

/// MUST-4, MUST-5, MUST-6, MUST-64, MUST-68: an unknown option is skipped by its length, in a SYN
/// and in a segment with data, and the next option may begin at any offset.
#[test]
fn unknown_options_are_skipped_in_any_segment() {
    // Kind 254 is for experiments (RFC 6994). It is followed by an MSS of 700 at an odd offset.
    let unknown = [254, 3, 9, 2, 4, 0x02, 0xbc, 1];
    for domain in BOTH {
        let (mut peer, listener) = listening();
        let syn =
            TcpSegment { flags: TcpSegment::SYN, options: unknown.to_vec(), ..TcpSegment::new(5000, 80) };
        let mut connection = finish_opening(&mut peer, domain, syn);
        let (server, _) = peer.stack.accept(listener).expect("a connection waits");

        let mut data = connection.segment(PSH_ACK, b"hello");
        data.options = vec![254, 5, 1, 2, 3];
        peer.send_segment(domain, &data);
        connection.snd_nxt += 5;
        assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 16]), Ok(5));

        peer.take_segments();
        peer.stack.send(peer.now, server, &[7; 2000]).expect("room for it");
        peer.settle();
        let lens: Vec<usize> = peer.take_segments().iter().map(|segment| segment.payload.len()).collect();
        assert_eq!(lens, [700, 700, 600], "the MSS behind the unknown option counts (MUST-16)");
    }
}

/// MUST-7: an impossible length ends the options, and does no other harm.
#[test]
fn impossible_option_lengths_do_no_harm() {
    for options in [vec![2, 0], vec![2, 1], vec![8, 255], vec![254], vec![2, 3, 5, 0], vec![3, 40, 7]] {
        let (mut peer, _) = listening();
        let syn = TcpSegment { flags: TcpSegment::SYN, options, ..TcpSegment::new(5000, 80) };
        peer.send_segment(Domain::V4, &syn);
        // Either the SYN is answered, without that option, or it is dropped and counted.
        let answered = peer.take_segments().iter().any(|segment| segment.flags == SYN_ACK);
        assert!(answered || peer.stack.stats().drops(DropReason::BadTcp) == 1);
        peer.open(Domain::V4, 5001, 80);
    }
}

/// MUST-15: without the option, 536 bytes over IPv4 and 1,220 over IPv6.
#[test]
fn the_default_mss_is_that_of_the_family() {
    for (domain, mss) in [(Domain::V4, 536), (Domain::V6, 1220)] {
        let (mut peer, listener) = listening();
        peer.open(domain, 5000, 80);
        let (server, _) = peer.stack.accept(listener).expect("a connection waits");
        peer.take_segments();
        peer.stack.send(peer.now, server, &vec![7; 2 * mss]).expect("room for it");
        peer.settle();
        let lens: Vec<usize> = peer.take_segments().iter().map(|segment| segment.payload.len()).collect();
        assert_eq!(lens, [mss, mss], "{domain:?}");
    }
}

/// MUST-14, MUST-65, MUST-67, MUST-69, SHLD-5, MAY-3: every SYN has the option, with the MSS of the
/// link; no other segment has it; and the header is padded with zeros or no-operations.
#[test]
fn the_announced_mss_is_what_the_link_takes() {
    for (domain, mss) in [(Domain::V4, 1460), (Domain::V6, 1440)] {
        let (mut peer, listener) = listening();
        let syn = TcpSegment { flags: TcpSegment::SYN, seq: 9, ..TcpSegment::new(5000, 80) };
        peer.send_segment(domain, &syn);
        let [syn_ack] = &peer.take_segments()[..] else { panic!("one SYN-ACK") };
        assert_eq!(syn_ack.options[..4], [2, 4, (mss >> 8) as u8, mss as u8], "{domain:?}");
        assert!(syn_ack.options.len().is_multiple_of(4));
        let connection = connection_from(domain, &syn, syn_ack);
        peer.send_segment(domain, &connection.segment(TcpSegment::ACK, &[]));
        let (server, _) = peer.stack.accept(listener).expect("a connection waits");
        peer.stack.send(peer.now, server, b"data").expect("room for it");
        peer.settle();
        for segment in peer.take_segments() {
            assert!(!segment.options.windows(2).any(|pair| pair == [2, 4]), "{segment:?}");
        }
    }
}

/// MUST-8, MUST-9, SHLD-1: the initial numbers of two connections with the same four-tuple, a
/// second apart, differ as the clock does; that of a connection to another port at the same time is
/// unrelated; and another key gives other numbers.
#[test]
fn initial_sequence_numbers_follow_a_clock_and_a_key() {
    let isn_of = |peer: &mut RawPeer, port| {
        let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(port, 80) };
        peer.send_segment(Domain::V4, &syn);
        let [syn_ack] = &peer.take_segments()[..] else { panic!("one SYN-ACK") };
        let reset = TcpSegment { flags: TcpSegment::RST, seq: 1, ..TcpSegment::new(port, 80) };
        peer.send_segment(Domain::V4, &reset);
        syn_ack.seq
    };
    let (mut peer, _) = listening();
    let first = isn_of(&mut peer, 5000);
    let elsewhere = isn_of(&mut peer, 5001);
    peer.pass(Duration::from_secs(1));
    let later = isn_of(&mut peer, 5000);
    let advance = later.wrapping_sub(first);
    // RFC 9293 §3.4.1 demands 250,000 a second; Linux's clock has 64 ns: 15.6 million.
    assert!((200_000..20_000_000).contains(&advance), "{advance} in a second");
    assert!(
        elsewhere.wrapping_sub(first).min(first.wrapping_sub(elsewhere)) > 1000,
        "{first} and {elsewhere}"
    );
    let mut other_key = RawPeer::new(true, Config::default(), 2);
    listen(&mut other_key, 80);
    assert_ne!(isn_of(&mut other_key, 5000), first);
}

/// MUST-41, MUST-42: LISTEN on a port from which a connection is being opened; neither affects the
/// other.
#[test]
fn a_passive_open_leaves_connections_alone() {
    let mut peer = raw_peer();
    let client = stream(&mut peer);
    reuse(&mut peer, client);
    peer.stack.bind(client, at(RawPeer::STACK_V4, 80)).expect("a free port");
    let remote = at(RawPeer::PEER_V4, 9000);
    assert_eq!(peer.stack.connect(peer.now, client, remote), Err(Error::InProgress));
    peer.settle();
    let [syn] = &peer.take_segments()[..] else { panic!("one SYN") };

    let listener = stream(&mut peer);
    reuse(&mut peer, listener);
    peer.stack.bind(listener, at(RawPeer::STACK_V4, 80)).expect("the port is shared");
    peer.stack.listen(listener, 8).expect("a connection is in SYN-SENT, nobody listens");

    let syn_ack = TcpSegment { seq: 77, ack: syn.seq + 1, flags: SYN_ACK, ..TcpSegment::new(9000, 80) };
    peer.send_segment(Domain::V4, &syn_ack);
    assert!(peer.stack.readiness(client).expect("open").writable, "the connection is open");
    peer.open(Domain::V4, 9001, 80);
    peer.stack.accept(listener).expect("the listener took the other one");

    // A second listener on the port is an error, and affects neither of them.
    let third = stream(&mut peer);
    assert_eq!(peer.stack.bind(third, at(RawPeer::STACK_V4, 80)), Err(Error::AddressInUse));
    assert_eq!(peer.stack.peer_addr(client), Ok(remote));
}

/// MUST-43, MUST-44, MUST-45: the local address is chosen by the program, or else by IP for this
/// destination; and it does not change.
#[test]
fn the_local_address_is_chosen_once() {
    let mut peer = raw_peer();
    let second = IpAddr::from([10, 0, 0, 7]);
    peer.stack
        .add_address(peer.now, peer.iface, Cidr { addr: second, prefix_len: 24 })
        .expect("a new address");
    peer.pass(Duration::from_secs(10));
    peer.take_sent();
    for (chosen, expected) in [(Some(second), second), (None, RawPeer::STACK_V4.into())] {
        let client = stream(&mut peer);
        if let Some(addr) = chosen {
            peer.stack.bind(client, SocketAddr::new(addr, 0)).expect("one of ours");
        }
        let remote = at(RawPeer::PEER_V4, 9000);
        assert_eq!(peer.stack.connect(peer.now, client, remote), Err(Error::InProgress));
        assert_eq!(peer.stack.local_addr(client).map(|addr| addr.ip()), Ok(expected));
        // The SYN, and its repetitions.
        peer.settle();
        peer.pass(Duration::from_secs(10));
        let sources: Vec<IpAddr> = peer.take_sent().iter().filter_map(|frame| ipv4_source(frame)).collect();
        assert!(sources.len() >= 3, "{sources:?}");
        assert!(sources.iter().all(|source| *source == expected), "{sources:?}");
        peer.stack.close(peer.now, client).expect("open");
        peer.settle();
        peer.take_sent();
    }
}

/// MUST-46: no connection to a broadcast or multicast address.
#[test]
fn opening_to_a_group_is_an_error() {
    let mut peer = raw_peer();
    for group in ["255.255.255.255:80", "10.0.0.255:80", "224.0.0.1:80", "[ff02::1]:80"] {
        let addr: SocketAddr = group.parse().expect("an address");
        let domain = if addr.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let client = peer.stack.socket(domain, SocketKind::Stream).expect("a descriptor is free");
        let refused = peer.stack.connect(peer.now, client, addr);
        assert!(!matches!(refused, Ok(()) | Err(Error::InProgress)), "{group}: {refused:?}");
        peer.settle();
        assert!(peer.take_sent().is_empty(), "{group}");
    }
}

/// MUST-57, MUST-63: segments to a group, and from an impossible address, are dropped silently.
#[test]
fn segments_with_impossible_addresses_are_dropped_in_silence() {
    let v4 = ["255.255.255.255", "10.0.0.255", "224.0.0.1"].map(|dst| ("10.0.0.2", dst));
    let from =
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255"].map(|src| (src, "10.0.0.1"));
    let v6 = [("fd00::2", "ff02::1"), ("::", "fd00::1"), ("::1", "fd00::1"), ("ff02::1", "fd00::1")];
    for (src, dst) in v4.into_iter().chain(from).chain(v6) {
        let (mut peer, _) = listening();
        let builder = PacketBuilder::new(src.parse().expect("an address"), dst.parse().expect("an address"));
        for flags in [TcpSegment::SYN, TcpSegment::ACK] {
            let segment = TcpSegment { flags, ..TcpSegment::new(5000, 80) };
            peer.send_packet(&builder.tcp(&segment));
            assert!(peer.take_segments().is_empty(), "{src} > {dst} is answered");
        }
        assert_eq!(peer.stack.stats().all_drops(), 2, "{src} > {dst}: {:?}", peer.stack.stats());
    }
}

/// MUST-24, MUST-25, MUST-27, MUST-28: keepalives are off until the program switches them on; the
/// interval is two hours until the program sets another.
#[test]
fn keepalives_are_the_programs_choice() {
    let (mut peer, listener) = listening();
    peer.open(Domain::V4, 5000, 80);
    let (server, _) = peer.stack.accept(listener).expect("a connection waits");
    let options = peer.stack.options(server).expect("open");
    assert!(!options.keepalive);
    assert!(options.tcp.keepalive_idle >= Duration::from_secs(7200));
    peer.take_segments();
    peer.pass(Duration::from_secs(24 * 3600));
    assert!(peer.take_segments().is_empty(), "a day without a word");

    let connection = peer.open(Domain::V4, 5001, 80);
    let (server, _) = peer.stack.accept(listener).expect("a connection waits");
    // A probe has the number before the next one, so that it must be answered.
    let probes = |peer: &mut RawPeer| {
        let mut segments = peer.take_segments();
        segments.retain(|segment| segment.seq == connection.rcv_nxt.wrapping_sub(1));
        segments
    };
    for option in [
        SocketOption::KeepIdle(Duration::from_secs(60)),
        SocketOption::KeepInterval(Duration::from_secs(10)),
        SocketOption::KeepCount(4),
        SocketOption::KeepAlive(true),
    ] {
        peer.stack.set_option(peer.now, server, option).expect("an option of streams");
    }
    peer.pass(Duration::from_secs(59));
    assert_eq!(probes(&mut peer), [], "the interval is not over");
    // MUST-29: the connection ends not after the first unanswered probe but after the fourth.
    peer.pass(Duration::from_secs(16));
    let sent = probes(&mut peer);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent.iter().all(|probe| probe.payload.is_empty()), "no data (SHLD-12): {sent:?}");
    assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 1]), Err(Error::WouldBlock));
    peer.pass(Duration::from_secs(60));
    assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 1]), Err(Error::TimedOut));
}

/// MUST-49: the TTL is configurable, for the stack and for one socket.
#[test]
fn the_ttl_is_configurable() {
    let mut config = Config::default();
    config.ip.hop_limit = 33;
    let mut peer = RawPeer::new(true, config, 1);
    for (option, expected) in [(None, 33), (Some(7), 7)] {
        let client = stream(&mut peer);
        if let Some(ttl) = option {
            peer.stack.set_option(peer.now, client, SocketOption::Ttl(ttl)).expect("1 to 255");
        }
        peer.take_sent();
        let remote = at(RawPeer::PEER_V4, 9000);
        assert_eq!(peer.stack.connect(peer.now, client, remote), Err(Error::InProgress));
        peer.settle();
        let ttls: Vec<u8> = peer.take_sent().iter().filter(|f| f[12..14] == [8, 0]).map(|f| f[22]).collect();
        assert_eq!(ttls, [expected]);
    }
}

/// MUST-50: IP options that TCP does not use are ignored.
#[test]
fn ip_options_are_ignored() {
    let (mut peer, _) = listening();
    let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(5000, 80) };
    let plain = peer.packet(Domain::V4).tcp(&syn);
    // Router Alert (148) and no-operations: two more words of the header.
    let options = [148, 4, 0, 0, 1, 1, 1, 0];
    let mut packet = plain[..20].to_vec();
    packet[0] = 0x47;
    packet[2..4].copy_from_slice(&((plain.len() + options.len()) as u16).to_be_bytes());
    packet[10..12].fill(0);
    packet.extend_from_slice(&options);
    let checksum = portolan::testing::internet_checksum(&[&packet]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(&plain[20..]);
    peer.send_packet(&packet);
    assert_eq!(peer.take_segments().len(), 1, "{:?}", peer.stack.stats());
}

/// MUST-54, SHLD-26: an ICMP error is passed to its connection, and a hard one ends the attempt to
/// open it.
#[test]
fn icmp_errors_reach_their_connection() {
    for domain in BOTH {
        let mut peer = raw_peer();
        let (client, syn) = connecting(&mut peer, domain);
        let (other, _) = connecting(&mut peer, domain);
        let (kind, code) = if domain == Domain::V4 { (3, 3) } else { (1, 4) };
        send_icmp_error(&mut peer, domain, kind, code, &syn);
        assert_eq!(peer.stack.take_error(client), Ok(Some(Error::ConnectionRefused)), "{domain:?}");
        assert_eq!(peer.stack.take_error(other), Ok(None), "{domain:?}");
        assert_eq!(peer.stack.stats().icmp.errors_received, 1);
    }
}

/// MUST-56, MUST-47, SHLD-25: a soft error does not end a connection; the program gets it if the
/// connection times out.
#[test]
fn soft_errors_are_kept_for_the_program() {
    let mut config = Config::default();
    config.tcp.retries = 3;
    let mut peer = RawPeer::new(true, config, 1);
    let listener = listen(&mut peer, 80);
    peer.open(Domain::V4, 5000, 80);
    let (server, _) = peer.stack.accept(listener).expect("a connection waits");
    peer.stack.send(peer.now, server, b"data").expect("room for it");
    peer.settle();
    let segment = peer.take_sent().pop().expect("the data");
    // Host unreachable, time exceeded, parameter problem.
    for (kind, code) in [(3, 1), (11, 0), (12, 0)] {
        send_icmp_error(&mut peer, Domain::V4, kind, code, &segment);
        assert!(peer.stack.peer_addr(server).is_ok(), "it is connected still");
    }
    send_icmp_error(&mut peer, Domain::V4, 3, 1, &segment);
    assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 1]), Err(Error::WouldBlock), "it is open");
    peer.pass(Duration::from_secs(600));
    assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 1]), Err(Error::HostUnreachable));
}

/// MUST-55: a source quench changes nothing.
#[test]
fn source_quench_is_ignored() {
    let mut peer = raw_peer();
    let (client, syn) = connecting(&mut peer, Domain::V4);
    send_icmp_error(&mut peer, Domain::V4, 4, 0, &syn);
    assert_eq!(peer.stack.take_error(client), Ok(None));
    assert_eq!(peer.stack.stats().icmp.errors_received, 0);
    assert_eq!(peer.stack.stats().all_drops(), 1, "and it is counted: {:?}", peer.stack.stats());
}

/// MUST-37, SHLD-17, MUST-34, MUST-35: a peer that shrinks its window while data is in flight, and
/// that answers every probe, keeps its connection without a limit, although R2 has passed; and when
/// the window opens everything arrives.
#[test]
fn a_shrunk_window_does_not_end_the_connection() {
    let mut config = Config::default();
    config.tcp.retries = 3;
    let mut peer = RawPeer::new(true, config, 1);
    let listener = listen(&mut peer, 80);
    let connection = peer.open(Domain::V4, 5000, 80);
    let (server, _) = peer.stack.accept(listener).expect("a connection waits");
    peer.take_segments();
    peer.stack.send(peer.now, server, b"some data").expect("room for it");
    peer.settle();
    assert_eq!(peer.take_segments().len(), 1);

    let closed = TcpSegment { window: 0, ..connection.segment(TcpSegment::ACK, &[]) };
    peer.send_segment(Domain::V4, &closed);
    let mut probes = 0;
    for _ in 0..3600 {
        peer.pass(Duration::from_secs(1));
        for _ in peer.take_segments() {
            probes += 1;
            peer.send_segment(Domain::V4, &closed);
        }
    }
    assert!((5..100).contains(&probes), "{probes} probes in an hour");
    assert_eq!(peer.stack.recv(peer.now, server, &mut [0; 1]), Err(Error::WouldBlock), "it is open");

    peer.send_segment(Domain::V4, &connection.segment(TcpSegment::ACK, &[]));
    peer.pass(Duration::from_secs(150));
    let arrived = peer.take_segments().iter().any(|segment| segment.payload == b"some data");
    assert!(arrived, "the window is open and nothing comes");
}

/// MUST-30, MUST-31, MUST-32, MUST-33, MUST-62: the pointer is one byte after the urgent data, and
/// the program is notified and can find its position.
#[test]
fn urgent_data_is_told_and_marked() {
    for inline in [false, true] {
        let (mut peer, listener) = listening();
        peer.stack.set_option(peer.now, listener, SocketOption::OobInline(inline)).unwrap();
        let connection = peer.open(Domain::V4, 5000, 80);
        let (server, _) = peer.stack.accept(listener).expect("a connection waits");
        let mut segment = connection.segment(PSH_ACK | TcpSegment::URG, b"urgent, not");
        segment.urgent = 6;
        peer.send_segment(Domain::V4, &segment);
        assert!(peer.stack.readiness(server).is_ok_and(|readiness| readiness.urgent));
        let mut data = [0; 16];
        assert_eq!(peer.stack.recv(peer.now, server, &mut data), Ok(5));
        assert_eq!(peer.stack.at_mark(server), Ok(true));
        let mut byte = [0];
        let oob = peer.stack.recv_with(peer.now, server, &mut byte, RecvFlags::OOB);
        assert_eq!(oob.map(|_| byte[0]), if inline { Err(Error::InvalidArgument) } else { Ok(b't') });
        let rest: &[u8] = if inline { b"t, not" } else { b", not" };
        assert_eq!(peer.stack.recv(peer.now, server, &mut data), Ok(rest.len()));
        assert_eq!(&data[..rest.len()], rest);
        assert_eq!(peer.stack.at_mark(server), Ok(false));
    }
}

fn raw_peer() -> RawPeer {
    RawPeer::new(true, Config::default(), 1)
}

/// A peer whose stack listens on port 80, for both families.
fn listening() -> (RawPeer, Descriptor) {
    let mut peer = raw_peer();
    let listener = listen(&mut peer, 80);
    (peer, listener)
}

fn listen(peer: &mut RawPeer, port: u16) -> Descriptor {
    let listener = peer.stack.socket(Domain::V6, SocketKind::Stream).expect("a descriptor is free");
    peer.stack.bind(listener, SocketAddr::from(([0; 16], port))).expect("a free port");
    peer.stack.listen(listener, 16).expect("bound");
    listener
}

fn stream(peer: &mut RawPeer) -> Descriptor {
    peer.stack.socket(Domain::V4, SocketKind::Stream).expect("a descriptor is free")
}

fn reuse(peer: &mut RawPeer, d: Descriptor) {
    peer.stack.set_option(peer.now, d, SocketOption::ReuseAddr(true)).expect("an option of all sockets");
}

/// A socket that connects to the peer, and the frame with its SYN.
fn connecting(peer: &mut RawPeer, domain: Domain) -> (Descriptor, Vec<u8>) {
    let client = peer.stack.socket(domain, SocketKind::Stream).expect("a descriptor is free");
    let remote = by_family(domain, at(RawPeer::PEER_V4, 9000), at(RawPeer::PEER_V6, 9000));
    assert_eq!(peer.stack.connect(peer.now, client, remote), Err(Error::InProgress));
    peer.settle();
    (client, peer.take_sent().pop().expect("the SYN"))
}

/// Lets the peer answer a frame of the stack with an ICMP error that quotes it.
fn send_icmp_error(peer: &mut RawPeer, domain: Domain, kind: u8, code: u8, about: &[u8]) {
    let quote = &about[14..];
    let rest = [&[0; 4], &quote[..quote.len().min(500)]].concat();
    let packet = peer.packet(domain).icmp(kind, code, &rest);
    peer.send_packet(&packet);
}

/// Sends this SYN and acknowledges the answer.
fn finish_opening(peer: &mut RawPeer, domain: Domain, syn: TcpSegment) -> RawConnection {
    peer.send_segment(domain, &syn);
    let segments = peer.take_segments();
    let syn_ack = segments.iter().find(|segment| segment.flags == SYN_ACK).expect("a SYN-ACK");
    let connection = connection_from(domain, &syn, syn_ack);
    peer.send_segment(domain, &connection.segment(TcpSegment::ACK, &[]));
    connection
}

fn connection_from(domain: Domain, syn: &TcpSegment, syn_ack: &TcpSegment) -> RawConnection {
    RawConnection {
        domain,
        peer_port: syn.src_port,
        stack_port: syn.dst_port,
        snd_nxt: syn.seq + 1,
        rcv_nxt: syn_ack.seq.wrapping_add(1),
    }
}

/// The source of an Ethernet frame with an IPv4 packet.
fn ipv4_source(frame: &[u8]) -> Option<IpAddr> {
    let source = frame.get(26..30)?.first_chunk::<4>()?;
    (frame.get(12..14)? == [8, 0]).then(|| IpAddr::from(*source))
}

fn at(addr: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}
