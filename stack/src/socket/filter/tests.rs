//! What filters do on sockets of each kind. The results were measured on Linux 6.18.

use core::net::SocketAddr;
use core::time::Duration;
use std::vec::Vec;

use crate::bpf::{Filter, Instruction};
use crate::offload::{SegmentKind, Segments};
use crate::testing::{PacketBuilder, Pair, PairConfig};
use crate::{ChecksumState, Descriptor, Domain, DropReason, Error, Frame, SocketKind, SocketOption, Stack};

const MOMENT: Duration = Duration::from_millis(50);

fn program(instructions: &[(u16, u8, u8, u32)]) -> Filter {
    let instructions: Vec<Instruction> =
        instructions.iter().map(|&(code, jt, jf, k)| Instruction::new(code, jt, jf, k)).collect();
    Filter::new(&instructions).unwrap()
}

/// A program that keeps this many bytes.
fn keep(bytes: u32) -> Filter {
    program(&[(0x06, 0, 0, bytes)])
}

fn pair() -> Pair {
    Pair::new(PairConfig::seeded(3))
}

/// Everything that waits in a socket.
fn received(stack: &mut Stack, d: Descriptor) -> Vec<Vec<u8>> {
    let now = crate::Instant::ZERO;
    core::iter::from_fn(|| stack.recv_bytes(now, d, 100).ok()).map(|data| data.to_vec()).collect()
}

/// A UDP socket on B's port 7.
fn server(pair: &mut Pair) -> (Descriptor, SocketAddr) {
    let server = pair.b.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let addr = SocketAddr::new(pair.b.v4.into(), 7);
    pair.b.stack.bind(server, addr).unwrap();
    (server, addr)
}

#[test]
fn a_datagram_is_dropped_or_cut_behind_its_header() {
    let mut pair = pair();
    let (server, addr) = server(&mut pair);
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for (bytes, expected) in [
        (0, None),
        (1, Some(&b""[..])),
        (8, Some(b"")),
        (9, Some(b"h")),
        (12, Some(b"hell")),
        (1000, Some(b"hello")),
        (u32::MAX, Some(b"hello")),
    ] {
        pair.b.stack.attach_filter(server, keep(bytes)).unwrap();
        pair.a.stack.send_to(pair.now(), client, b"hello", addr).unwrap();
        pair.run_for(MOMENT);
        let expected: Vec<&[u8]> = expected.into_iter().collect();
        assert_eq!(received(&mut pair.b.stack, server), expected, "{bytes}");
    }
    assert_eq!(pair.b.stack.stats().drops(DropReason::Filtered), 1);
    pair.b.stack.attach_filter(server, keep(0)).unwrap();
    pair.b.stack.detach_filter(server).unwrap();
    pair.a.stack.send_to(pair.now(), client, b"hello", addr).unwrap();
    pair.run_for(MOMENT);
    assert_eq!(received(&mut pair.b.stack, server), [b"hello"]);
}

#[test]
fn a_program_sees_the_packet_from_the_udp_header_on() {
    let mut pair = pair();
    let (server, addr) = server(&mut pair);
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let load = |offset: i32| (0x30, offset as u32);
    for ((code, k), expected) in [
        ((0x80, 0), 8 + 90),        // the length
        ((0x28, 2), 7),             // the destination port
        (load(-0x10_0000 + 9), 17), // the protocol in the IP header
        (load(-0x10_0000 + 19), 2), // the last byte of its destination
        (load(-0x20_0000), 0),      // the link header is not there
        (load(-0x1000), 0x0800),    // the EtherType
        (load(-0x1000 + 4), 0),     // the packet type: for this host
        (load(-0x1000 + 8), 1),     // the interface
        (load(-0x1000 + 28), 1),    // Ethernet
        (load(-0x1000 + 52), 8),    // where the payload begins
    ] {
        // Keeps so many bytes that the length tells the value's low bits.
        let filter = [(code, 0, 0, k), (0x54, 0, 0, 0x7f), (0x04, 0, 0, 8), (0x16, 0, 0, 0)];
        pair.b.stack.attach_filter(server, program(&filter)).unwrap();
        pair.a.stack.send_to(pair.now(), client, &[0; 90], addr).unwrap();
        pair.run_for(MOMENT);
        let lens: Vec<usize> = received(&mut pair.b.stack, server).iter().map(Vec::len).collect();
        // A load behind the end drops the datagram.
        let expected = if (code, k) == load(-0x20_0000) { None } else { Some((expected & 0x7f).min(90)) };
        assert_eq!(lens, Vec::from_iter(expected), "{code:#x} {k:#x}");
    }
}

#[test]
fn datagrams_that_a_device_joined_pass_the_filter_one_by_one() {
    let mut pair = pair();
    let (server, _) = server(&mut pair);
    let packet = PacketBuilder::new(pair.a.v4.into(), pair.b.v4.into()).udp(9, 7, b"abcabdabeab");
    // The datagram has as many bytes as its header says, and the third is not 'd'.
    let filter = [
        (0x80, 0, 0, 0),
        (0x07, 0, 0, 0),
        (0x28, 0, 0, 4),
        (0x1d, 0, 3, 0),
        (0x30, 0, 0, 10),
        (0x15, 1, 0, b'd'.into()),
        (0x06, 0, 0, 100),
        (0x06, 0, 0, 0),
    ];
    pair.b.stack.attach_filter(server, program(&filter)).unwrap();
    let mac = |medium: crate::Medium| medium.mac().unwrap();
    let frame = |pair: &Pair| {
        let ethernet = crate::testing::ethernet(mac(pair.a.medium), mac(pair.b.medium), &packet);
        let segments = Segments { kind: SegmentKind::Udp, len: 3 };
        Frame::new(ethernet).with_checksum(ChecksumState::Verified).with_segments(Some(segments))
    };
    let (now, iface) = (pair.now(), pair.b.iface);
    let joined = frame(&pair);
    pair.b.stack.handle_frame(now, iface, joined);
    // The last has no third byte.
    assert_eq!(received(&mut pair.b.stack, server), [b"abc", b"abe"]);
    assert_eq!(pair.b.stack.stats().drops(DropReason::Filtered), 2);

    // A program that wants the run has it filtered as one.
    pair.b.stack.set_option(now, server, SocketOption::UdpGro(true)).unwrap();
    pair.b.stack.attach_filter(server, keep(8 + 7)).unwrap();
    let joined = frame(&pair);
    pair.b.stack.handle_frame(now, iface, joined);
    let (data, meta) = pair.b.stack.recv_msg(now, server).unwrap();
    assert_eq!((&data[..], meta.segment_len()), (&b"abcabda"[..], 3));
}

#[test]
fn an_echo_reply_is_dropped_or_cut() {
    let mut pair = pair();
    let (to, now) = (SocketAddr::new(pair.b.v4.into(), 0), pair.now());
    let echo = pair.a.stack.socket(Domain::V4, SocketKind::Echo).unwrap();
    for (bytes, expected) in [(0, None), (1, Some(1)), (10, Some(10)), (100, Some(12))] {
        pair.a.stack.attach_filter(echo, keep(bytes)).unwrap();
        pair.a.stack.send_to(now, echo, b"\x08\0\0\0\0\0\0\x01data", to).unwrap();
        pair.run_for(MOMENT);
        let lens: Vec<usize> = received(&mut pair.a.stack, echo).iter().map(Vec::len).collect();
        assert_eq!(lens, Vec::from_iter(expected), "{bytes}");
    }
    assert_eq!(pair.a.stack.stats().drops(DropReason::Filtered), 1);
}

#[test]
fn a_listener_with_a_filter_does_not_see_syns_and_its_connections_inherit_it() {
    let mut pair = pair();
    let listener = pair.listener(Domain::V4, 80);
    let addr = SocketAddr::new(pair.b.v4.into(), 80);
    pair.b.stack.attach_filter(listener, keep(0)).unwrap();
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(pair.a.stack.connect(pair.now(), client, addr), Err(Error::InProgress));
    pair.run_for(MOMENT);
    assert!(!pair.a.stack.readiness(client).unwrap().writable);
    assert_eq!(pair.b.stack.stats().drops(DropReason::Filtered), 1);

    pair.b.stack.attach_filter(listener, keep(u32::MAX)).unwrap();
    pair.b.stack.set_option(pair.now(), listener, SocketOption::LockFilter(true)).unwrap();
    let (_, server) = pair.connect_to(Domain::V4, listener, 80);
    assert_eq!(pair.b.stack.options(server).unwrap().filter, Some(keep(u32::MAX)));
    assert_eq!(pair.b.stack.detach_filter(server), Err(Error::NotPermitted));
}

#[test]
fn what_a_filter_cuts_off_a_segment_is_sent_again() {
    let mut pair = pair();
    let (client, server) = pair.connected_streams(Domain::V4);
    // The header with timestamps, and four bytes.
    pair.b.stack.attach_filter(server, keep(32 + 4)).unwrap();
    pair.a.stack.send(pair.now(), client, b"abcdefgh").unwrap();
    pair.run_for(MOMENT);
    assert_eq!(received(&mut pair.b.stack, server), [b"abcd"]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(received(&mut pair.b.stack, server), [b"efgh"]);

    // Less than the header keeps the header: nothing but acknowledgements pass.
    pair.b.stack.attach_filter(server, keep(1)).unwrap();
    pair.a.stack.send(pair.now(), client, b"xyz").unwrap();
    pair.run_for(MOMENT);
    assert_eq!(pair.b.stack.recv(pair.now(), server, &mut [0; 9]), Err(Error::WouldBlock));
    pair.b.stack.detach_filter(server).unwrap();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(received(&mut pair.b.stack, server), [b"xyz"]);
}

#[test]
fn a_filter_that_is_locked_stays() {
    let mut pair = pair();
    let now = pair.now();
    let (server, _) = server(&mut pair);
    let stack = &mut pair.b.stack;
    assert_eq!(stack.detach_filter(server), Err(Error::NotFound));
    stack.attach_filter(server, keep(1)).unwrap();
    stack.attach_filter(server, keep(2)).unwrap();
    stack.set_option(now, server, SocketOption::LockFilter(false)).unwrap();
    for _ in 0..2 {
        stack.set_option(now, server, SocketOption::LockFilter(true)).unwrap();
        let unlocked = stack.set_option(now, server, SocketOption::LockFilter(false));
        assert_eq!(unlocked, Err(Error::NotPermitted));
    }
    assert_eq!(stack.attach_filter(server, keep(3)), Err(Error::NotPermitted));
    assert_eq!(stack.detach_filter(server), Err(Error::NotPermitted));
    let options = stack.options(server).unwrap();
    assert_eq!((options.filter, options.is_filter_locked), (Some(keep(2)), true));
}
