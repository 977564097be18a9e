//! The calls and the records behind them, through a stack's loopback.

use core::net::SocketAddr;
use core::time::Duration;

use super::{Domain, Shutdown, SocketKind, SocketOption};
use crate::config::Config;
use crate::error::Error;
use crate::stack::Stack;
use crate::time::Instant;
use crate::{Descriptor, OwnerId, Readiness, RecvFlags, SendFlags};

const NOW: Instant = Instant::ZERO;

fn stack() -> Stack {
    Stack::new(Config::default(), [4; 32], NOW)
}

fn run(stack: &mut Stack) {
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// How many events name each of these descriptors, until there are no more events.
fn events<const N: usize>(stack: &mut Stack, of: [Descriptor; N]) -> [usize; N] {
    let mut counts = [0; N];
    let of = of.map(|d| stack.socket_id(d).unwrap());
    while let Some(event) = stack.poll_event() {
        for (count, _) in counts.iter_mut().zip(of).filter(|(_, id)| *id == event.socket) {
            *count += 1;
        }
    }
    counts
}

/// A listener on port 80, and both ends of a connection to it.
fn connection(stack: &mut Stack) -> [Descriptor; 3] {
    let listener = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    stack.bind(listener, local(80)).unwrap();
    stack.listen(listener, 8).unwrap();
    let client = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    run(stack);
    let (server, _) = stack.accept(listener).unwrap();
    [listener, client, server]
}

#[test]
fn several_happenings_are_one_event() {
    let mut stack = stack();
    let receiver = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(receiver, local(9)).unwrap();
    let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for _ in 0..3 {
        stack.send_to(NOW, sender, b"x", local(9)).unwrap();
        run(&mut stack);
    }
    assert_eq!(events(&mut stack, [receiver]), [1]);
    stack.send_to(NOW, sender, b"x", local(9)).unwrap();
    run(&mut stack);
    assert_eq!(events(&mut stack, [receiver]), [1], "news, although it was readable before");
    assert_eq!(events(&mut stack, [receiver]), [0]);
}

#[test]
fn a_connection_is_told_of_data_once_and_of_room_when_there_was_none() {
    let mut stack = stack();
    let [_, client, server] = connection(&mut stack);
    events(&mut stack, []);
    for _ in 0..3 {
        stack.send(NOW, client, b"x").unwrap();
        run(&mut stack);
    }
    assert_eq!(events(&mut stack, [client, server]), [0, 1], "there was room in the client all the time");
    // Until the buffers are full; then the server reads.
    while stack.send(NOW, client, &[0; 65_536]).is_ok() {
        run(&mut stack);
    }
    events(&mut stack, []);
    let mut buf = std::vec![0; 65_536];
    while stack.recv(NOW, server, &mut buf).is_ok() {
        run(&mut stack);
    }
    assert_eq!(events(&mut stack, [client])[0], 1);
}

/// TCP sets the ECN field itself (RFC 3168 §6.1): a program sets only the six bits above it. With
/// UDP it sets all eight.
#[test]
fn a_program_does_not_mark_the_packets_of_tcp() {
    let mut stack = stack();
    for (kind, tos) in [(SocketKind::Stream, 0xfc), (SocketKind::Datagram, 0xff)] {
        let d = stack.socket(Domain::V4, kind).unwrap();
        stack.set_option(NOW, d, SocketOption::Tos(0xff)).unwrap();
        assert_eq!(stack.options(d).unwrap().ip.tos, tos, "{kind:?}");
    }
}

#[test]
fn the_last_byte_of_urgent_data_is_urgent() {
    let mut stack = stack();
    let [_, client, server] = connection(&mut stack);
    assert_eq!(stack.send_with(NOW, client, b"abc", SendFlags::OOB), Ok(3));
    run(&mut stack);
    assert!(stack.readiness(server).unwrap().urgent);
    let mut buf = [0; 8];
    assert_eq!(stack.recv_with(NOW, server, &mut buf, RecvFlags::OOB), Ok(1));
    assert_eq!(buf[0], b'c');
    assert_eq!(stack.recv(NOW, server, &mut buf), Ok(2));
    let datagrams = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(stack.send_with(NOW, datagrams, b"a", SendFlags::OOB), Err(Error::NotSupported));
}

#[test]
fn nothing_is_not_below_the_low_water_mark() {
    let mut stack = stack();
    let [_, client, server] = connection(&mut stack);
    stack.set_option(NOW, server, SocketOption::ReceiveLowWater(3)).unwrap();
    assert!(!stack.is_below_low_water(server, 8).unwrap());
    for (len, is_below) in [(1, true), (2, true), (3, false)] {
        stack.send(NOW, client, b"x").unwrap();
        run(&mut stack);
        assert_eq!(stack.is_below_low_water(server, 8), Ok(is_below), "{len}");
        assert_eq!(stack.is_below_low_water(server, 2), Ok(false), "a call for less than the mark");
    }
}

#[test]
fn numbers_that_an_option_cannot_have_are_refused() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    for option in [
        SocketOption::UnsentLowWater(0),
        SocketOption::KeepCount(0),
        SocketOption::KeepIdle(Duration::ZERO),
        SocketOption::KeepInterval(Duration::ZERO),
        SocketOption::MaxPacingRate(Some(0)),
        SocketOption::MaxSegment(87),
        SocketOption::MaxSegment(32_768),
        SocketOption::Ttl(0),
        SocketOption::SynCount(0),
        SocketOption::SynCount(128),
    ] {
        assert_eq!(stack.set_option(NOW, d, option), Err(Error::InvalidArgument), "{option:?}");
    }
    for option in [
        SocketOption::UnsentLowWater(1),
        SocketOption::KeepCount(1),
        SocketOption::KeepIdle(Duration::from_nanos(1)),
        SocketOption::KeepInterval(Duration::from_nanos(1)),
        SocketOption::MaxPacingRate(Some(1)),
        SocketOption::MaxSegment(88),
        SocketOption::MaxSegment(32_767),
        SocketOption::Ttl(1),
        SocketOption::Ttl(255),
        SocketOption::SynCount(1),
        SocketOption::SynCount(127),
    ] {
        assert_eq!(stack.set_option(NOW, d, option), Ok(()), "{option:?}");
    }
}

#[test]
fn a_datagram_waits_for_more() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.bind(d, local(9)).unwrap();
    stack.connect(NOW, d, local(9)).unwrap();
    // From here on it has options of its own.
    stack.set_option(NOW, d, SocketOption::UdpCork(false)).unwrap();
    stack.set_option(NOW, d, SocketOption::Tos(4)).unwrap();
    let empty = stack.memory_bytes();
    let mut buf = [0; 9];
    assert_eq!(stack.send_with(NOW, d, b"x", SendFlags::MORE), Ok(1));
    run(&mut stack);
    assert!(stack.memory_bytes() > empty);
    assert_eq!(stack.recv(NOW, d, &mut buf), Err(Error::WouldBlock));
    assert_eq!(stack.send_with(NOW, d, b"yz", SendFlags::NONE), Ok(2));
    run(&mut stack);
    assert_eq!(stack.recv(NOW, d, &mut buf), Ok(3));
    // UDP_CORK does the same until it is cleared.
    stack.set_option(NOW, d, SocketOption::UdpCork(true)).unwrap();
    assert_eq!(stack.send(NOW, d, b"ab"), Ok(2));
    assert_eq!(stack.send_to(NOW, d, b"cd", local(10)), Ok(2));
    run(&mut stack);
    assert_eq!(stack.recv(NOW, d, &mut buf), Err(Error::WouldBlock));
    stack.set_option(NOW, d, SocketOption::UdpCork(false)).unwrap();
    run(&mut stack);
    assert_eq!(stack.recv(NOW, d, &mut buf), Ok(4));
    assert_eq!(&buf[..4], b"abcd");
    // As on Linux what becomes too long is discarded.
    assert_eq!(stack.send_with(NOW, d, b"x", SendFlags::MORE), Ok(1));
    assert_eq!(stack.send_with(NOW, d, &[0; 65_507], SendFlags::MORE), Err(Error::MessageTooLong));
    assert_eq!(stack.send(NOW, d, b"new"), Ok(3));
    run(&mut stack);
    assert_eq!(stack.recv(NOW, d, &mut buf), Ok(3));
    assert_eq!(stack.memory_bytes(), empty);
}

/// RFC 4007 §6: only link-local addresses and groups have a zone.
#[test]
fn a_scope_counts_with_link_local_addresses_and_groups() {
    let mut stack = stack();
    let d = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
    let (_, socket) = stack.sockets.common.socket(OwnerId::FIRST, d).unwrap();
    for (addr, scope) in [("fe80::1", 7), ("ff02::1", 7), ("2001:db8::1", 0), ("::1", 0)] {
        let addr = core::net::SocketAddrV6::new(addr.parse().unwrap(), 9, 0, 7);
        assert_eq!(socket.accept_addr(addr.into()).map(|(_, scope)| scope), Ok(scope), "{addr}");
    }
}

#[test]
fn whoever_shuts_down_both_halves_hangs_up() {
    let mut stack = stack();
    let [_, client, _] = connection(&mut stack);
    assert!(!stack.readiness(client).unwrap().hung_up);
    stack.shutdown(NOW, client, Shutdown::Both).unwrap();
    assert_eq!(stack.readiness(client).map(|Readiness { hung_up, .. }| hung_up), Ok(true));
}

#[test]
fn what_opens_and_what_is_accepted_is_counted() {
    let mut stack = stack();
    let [listener, ..] = connection(&mut stack);
    for opened in 1..=3 {
        assert_eq!((stack.stats().tcp.active_opens, stack.stats().tcp.passive_opens), (opened, opened));
        let client = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
        run(&mut stack);
        stack.accept(listener).unwrap();
    }
}

/// UDP_SEGMENT: one call sends several datagrams.
#[test]
fn a_call_may_send_several_datagrams() {
    let mut stack = stack();
    let [receiver, sender] = [(); 2].map(|()| stack.socket(Domain::V4, SocketKind::Datagram).unwrap());
    stack.bind(receiver, local(9)).unwrap();
    assert!(stack.readiness(sender).unwrap().writable && !stack.readiness(sender).unwrap().readable);
    stack.set_option(NOW, sender, SocketOption::UdpSegment(100)).unwrap();
    assert_eq!(stack.send_to(NOW, sender, &[7; 250], local(9)), Ok(250));
    run(&mut stack);
    let mut buf = [0; 300];
    let lens = [(); 4].map(|()| stack.recv_from(NOW, receiver, &mut buf).map(|(len, _)| len));
    assert_eq!(lens, [Ok(100), Ok(100), Ok(50), Err(Error::WouldBlock)]);
}

/// Unless IPV6_V6ONLY is set, an AF_INET6 socket handles both families; an echo socket only its
/// own.
#[test]
fn ipv6_sockets_take_ipv4_too() {
    let mut stack = stack();
    let sender = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for (port, v6_only) in [(9, false), (10, true)] {
        let receiver = stack.socket(Domain::V6, SocketKind::Datagram).unwrap();
        stack.set_option(NOW, receiver, SocketOption::V6Only(v6_only)).unwrap();
        stack.bind(receiver, (core::net::Ipv6Addr::UNSPECIFIED, port)).unwrap();
        stack.send_to(NOW, sender, b"x", local(port)).unwrap();
        run(&mut stack);
        assert_eq!(stack.readiness(receiver).unwrap().readable, !v6_only);
    }
}

#[test]
fn datagrams_are_in_the_account_until_they_are_taken() {
    let mut stack = stack();
    let [receiver, sender] = [(); 2].map(|()| stack.socket(Domain::V4, SocketKind::Datagram).unwrap());
    stack.bind(receiver, local(9)).unwrap();
    stack.bind(sender, local(10)).unwrap();
    let before = stack.sockets.common.account.bytes();
    stack.send_to(NOW, sender, &[7; 1000], local(9)).unwrap();
    assert!(stack.sockets.common.account.bytes() >= before + 1000, "in the sender");
    run(&mut stack);
    assert!(stack.sockets.common.account.bytes() >= before + 1000, "in the receiver");
    stack.recv_from(NOW, receiver, &mut [0; 8]).unwrap();
    assert_eq!(stack.sockets.common.account.bytes(), before);
}

/// The memory up to the limit may be used to the last byte.
#[test]
fn memory_is_short_for_whatever_goes_beyond_the_limit() {
    let config = Config { memory_limit_bytes: 1 << 20, ..Config::default() };
    let mut stack = Stack::new(config, [8; 32], NOW);
    let common = &mut stack.sockets.common;
    let room = common.account.room();
    assert!(room > 0 && !common.is_short_of_memory(room) && common.is_short_of_memory(room + 1));
    common.account.change(0, room);
    assert!(!common.is_short_of_memory(0) && common.is_short_of_memory(1));
}
