//! TCP sockets as programs see them, through a stack's loopback.

use core::net::SocketAddr;
use std::vec::Vec;

use super::connections::Target;
use crate::memory::Shortage;
use crate::socket::{Domain, Shutdown, SockAddr, SocketKind, SocketOption, SocketOptions, SocketState};
use crate::testing::{PacketBuilder, TcpSegment};
use crate::{
    Config, Descriptor, DropReason, Error, Frame, InterfaceConfig, InterfaceId, Medium, Readiness,
    SegmentKind, Segments, SendMeta, Stack, SynCookieMode, TcpState as State,
};

const NOW: crate::Instant = crate::Instant::ZERO;

fn stack() -> Stack {
    Stack::new(Config::default(), [8; 32], NOW)
}

fn stream(stack: &mut Stack) -> Descriptor {
    stack.socket(Domain::V4, SocketKind::Stream).unwrap()
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn listener(stack: &mut Stack, port: u16) -> Descriptor {
    let d = stream(stack);
    stack.bind(d, local(port)).unwrap();
    stack.listen(d, 8).unwrap();
    d
}

fn run(stack: &mut Stack) {
    while stack.poll_transmit(NOW).is_some() || stack.handle_loopback(NOW) {}
}

/// Both ends of a connection to this listener on port 80.
fn connect(stack: &mut Stack, listener: Descriptor) -> [Descriptor; 2] {
    let client = stream(stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    run(stack);
    [client, stack.accept(listener).unwrap().0]
}

/// A connection from another host, and the next segment of that host.
struct Outside {
    iface: InterfaceId,
    d: Descriptor,
    builder: PacketBuilder,
    segment: TcpSegment,
}

fn accepted_from_outside(stack: &mut Stack) -> Outside {
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(NOW, interface).unwrap();
    let listener = stream(stack);
    stack.bind(listener, ([0; 4], 80)).unwrap();
    stack.listen(listener, 8).unwrap();
    let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let mut segment = TcpSegment { flags: TcpSegment::SYN, seq: 0, ..TcpSegment::new(9, 80) };
    stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&segment)));
    let syn_ack = stack.poll_transmit(NOW).unwrap().to_vec();
    let iss = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap());
    (segment.flags, segment.seq, segment.ack) = (TcpSegment::ACK, 1, iss.wrapping_add(1));
    stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&segment)));
    let (d, _) = stack.accept(listener).unwrap();
    Outside { iface, d, builder, segment }
}

/// Ends a connection with a reset.
fn reset(stack: &mut Stack, d: Descriptor) {
    stack.set_option(NOW, d, SocketOption::Linger(Some(core::time::Duration::ZERO))).unwrap();
    stack.close(NOW, d).unwrap();
    run(stack);
}

fn has_event(stack: &mut Stack, d: Descriptor) -> bool {
    let id = stack.socket_id(d).unwrap();
    core::iter::from_fn(|| stack.poll_event()).filter(|event| event.socket == id).count() > 0
}

/// A connection of another host to the listener, and its SYN, which has data. Between SYN and ACK
/// TCP_SAVE_SYN is set to this.
fn open_from_outside(
    stack: &mut Stack,
    listener: Descriptor,
    src_port: u16,
    saves_then: bool,
) -> (Descriptor, Vec<u8>) {
    let iface = stack.interfaces()[0].id;
    let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let mut segment = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(src_port, 80) };
    segment.payload = b"early".to_vec();
    let syn = builder.tcp(&segment);
    stack.handle_frame(NOW, iface, Frame::new(syn.clone()));
    stack.set_option(NOW, listener, SocketOption::SaveSyn(saves_then)).unwrap();
    let syn_ack = stack.poll_transmit(NOW).unwrap().to_vec();
    let iss = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap());
    segment.payload.clear();
    (segment.flags, segment.seq, segment.ack) =
        (TcpSegment::ACK, segment.seq.wrapping_add(1), iss.wrapping_add(1));
    stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&segment)));
    (stack.accept(listener).unwrap().0, syn)
}

fn listener_to_outside(config: Config) -> (Stack, Descriptor) {
    let mut stack = Stack::new(config, [8; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    let listener = stream(&mut stack);
    stack.bind(listener, ([0; 4], 80)).unwrap();
    stack.listen(listener, 8).unwrap();
    (stack, listener)
}

#[test]
fn an_accepted_connection_keeps_the_headers_of_its_syn_until_they_are_read() {
    const TCP: i32 = 6;
    const SAVED_SYN: i32 = 28;
    let (mut stack, listener) = listener_to_outside(Config::default());
    // The option counts when the SYN comes.
    let (before, _) = open_from_outside(&mut stack, listener, 9, true);
    let (saved, syn) = open_from_outside(&mut stack, listener, 10, true);
    let (ended, _) = open_from_outside(&mut stack, listener, 11, false);
    let (after, _) = open_from_outside(&mut stack, listener, 12, true);
    for d in [before, after, listener] {
        assert!(stack.take_saved_syn(d).unwrap().is_empty());
    }
    let headers = &syn[..syn.len() - b"early".len()];
    let held = stack.memory_bytes();
    let mut buf = [0; 100];
    let short = &mut buf[..headers.len() - 1];
    assert_eq!(stack.getsockopt(NOW, saved, TCP, SAVED_SYN, short), Err(Error::InvalidArgument));
    assert_eq!(stack.getsockopt(NOW, saved, TCP, SAVED_SYN, &mut buf), Ok(headers.len()));
    assert_eq!(buf[..headers.len()], *headers);
    assert!(stack.memory_bytes() + headers.len() <= held);
    assert_eq!(stack.getsockopt(NOW, saved, TCP, SAVED_SYN, &mut buf), Ok(0));
    // What is left of a connection that has ended has them, too.
    stack.disconnect(NOW, ended).unwrap();
    while stack.poll_transmit(NOW).is_some() {}
    assert_eq!(stack.take_saved_syn(ended).unwrap().len(), headers.len());
    let datagrams = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    assert_eq!(stack.take_saved_syn(datagrams), Err(Error::ProtocolNotAvailable));
}

#[test]
fn a_connection_from_a_cookie_has_no_headers_of_a_syn() {
    let mut config = Config::default();
    config.tcp.syn_cookies = SynCookieMode::Always;
    let (mut stack, listener) = listener_to_outside(config);
    stack.set_option(NOW, listener, SocketOption::SaveSyn(true)).unwrap();
    let (d, _) = open_from_outside(&mut stack, listener, 9, true);
    assert!(stack.options(d).unwrap().tcp.save_syn);
    assert!(stack.take_saved_syn(d).unwrap().is_empty());
}

#[test]
fn the_account_knows_what_each_socket_holds() {
    let mut stack = stack();
    let shared = size_of::<SocketOptions>() + 2 * size_of::<usize>();
    let check = |stack: &Stack, what: &str| {
        for (_, socket) in stack.sockets.common.records.iter() {
            // Options count in full, even if a connection now shares its listener's.
            assert!(socket.charged_bytes >= socket.charge(), "{what}: {socket:?}");
            assert!(socket.charged_bytes <= socket.charge() + shared, "{what}: {socket:?}");
        }
    };
    let listener = stream(&mut stack);
    check(&stack, "a socket");
    stack.set_option(NOW, listener, SocketOption::KeepAlive(true)).unwrap();
    check(&stack, "an option");
    stack.bind(listener, local(80)).unwrap();
    stack.listen(listener, 8).unwrap();
    check(&stack, "a listener");
    stack.set_option(NOW, listener, SocketOption::NoDelay(true)).unwrap();
    let [client, server] = connect(&mut stack, listener);
    check(&stack, "a connection");
    stack.set_option(NOW, client, SocketOption::NoDelay(true)).unwrap();
    check(&stack, "an option of a connection");
    stack.send(NOW, client, &[7; 20_000]).unwrap();
    check(&stack, "data to be sent");
    run(&mut stack);
    check(&stack, "data that was sent");
    stack.recv(NOW, server, &mut [0; 15_000]).unwrap();
    check(&stack, "data that was read");
    reset(&mut stack, client);
    check(&stack, "a connection that was reset");
    stack.shutdown(NOW, listener, Shutdown::Read).unwrap();
    check(&stack, "a listener that has stopped");
    let refused = stream(&mut stack);
    assert_eq!(stack.connect(NOW, refused, local(81)), Err(Error::InProgress));
    run(&mut stack);
    check(&stack, "a connection that was refused");
    assert_eq!(stack.connect(NOW, refused, local(81)), Err(Error::ConnectionRefused));
    check(&stack, "a socket to be connected anew");
    for d in [listener, server, refused] {
        stack.close(NOW, d).unwrap();
    }
    run(&mut stack);
    assert!(stack.sockets().next().is_none());
    assert_eq!(stack.memory_bytes(), 0);
}

/// TCP_NOTSENT_LOWAT: sending makes room, before anything is acknowledged.
#[test]
fn sending_makes_room_below_the_low_water_mark() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    let [client, _] = connect(&mut stack, listener);
    stack.set_option(NOW, client, SocketOption::UnsentLowWater(2000)).unwrap();
    stack.set_option(NOW, client, SocketOption::NoDelay(true)).unwrap();
    has_event(&mut stack, client);
    for len in [1999, 1000] {
        assert!(stack.readiness(client).unwrap().writable);
        assert_eq!(stack.send(NOW, client, &std::vec![0; len]), Ok(len));
        assert!(!stack.readiness(client).unwrap().writable && !has_event(&mut stack, client));
        assert!(stack.poll_transmit(NOW).is_none(), "it goes to the loopback");
        assert!(stack.readiness(client).unwrap().writable && has_event(&mut stack, client));
        run(&mut stack);
    }
}

#[test]
fn a_port_is_free_when_its_connection_is_over() {
    let config = Config { ephemeral_ports: (50_000, 50_000), ..Config::default() };
    let mut stack = Stack::new(config, [8; 32], NOW);
    let listener = listener(&mut stack, 80);
    for bound in [false, true, false, true] {
        let client = stream(&mut stack);
        if bound {
            stack.bind(client, local(50_000)).unwrap();
        }
        assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress), "{bound}");
        run(&mut stack);
        let (server, peer) = stack.accept(listener).unwrap();
        assert_eq!(peer, local(50_000));
        let other = stream(&mut stack);
        assert_eq!(stack.bind(other, local(50_000)), Err(Error::AddressInUse), "{bound}");
        assert_eq!(stack.connect(NOW, other, local(80)), Err(Error::AddressNotAvailable), "{bound}");
        stack.close(NOW, other).unwrap();
        reset(&mut stack, client);
        stack.close(NOW, server).unwrap();
        run(&mut stack);
        assert_eq!((stack.sockets().count(), stack.poll_timeout()), (1, None), "{bound}");
    }
}

#[test]
fn a_listener_leaves_its_port_when_it_is_closed() {
    let mut stack = stack();
    for _ in 0..3 {
        let first = listener(&mut stack, 80);
        let second = stream(&mut stack);
        assert_eq!(stack.bind(second, local(80)), Err(Error::AddressInUse));
        stack.close(NOW, first).unwrap();
        assert_eq!(stack.connect(NOW, second, local(80)), Err(Error::InProgress));
        run(&mut stack);
        assert_eq!(stack.take_error(second), Ok(Some(Error::ConnectionRefused)));
        stack.close(NOW, second).unwrap();
    }
}

/// As on Linux.
#[test]
fn a_socket_is_connected_again_only_if_its_connection_was_never_open() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    assert_eq!(stack.connect(NOW, listener, local(80)), Err(Error::IsConnected));
    let client = stream(&mut stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::Already));
    run(&mut stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::IsConnected));
    let (server, _) = stack.accept(listener).unwrap();
    reset(&mut stack, server);
    assert_eq!(stack.take_error(client), Ok(Some(Error::ConnectionReset)));
    for _ in 0..2 {
        assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::IsConnected), "it was open");
    }
    for is_read in [false, true] {
        let client = stream(&mut stack);
        assert_eq!(stack.connect(NOW, client, local(81)), Err(Error::InProgress));
        run(&mut stack);
        let mut error = Error::ConnectionRefused;
        if is_read {
            assert_eq!(stack.take_error(client), Ok(Some(error)));
            error = Error::ConnectionAborted;
        }
        assert_eq!(stack.connect(NOW, client, local(80)), Err(error));
        assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
        run(&mut stack);
        assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::IsConnected));
    }
    let client = stream(&mut stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    stack.shutdown(NOW, client, Shutdown::Both).unwrap();
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress), "the program gave it up");
}

#[test]
fn a_socket_shows_what_it_has_become() {
    let mut stack = stack();
    let shown = |stack: &Stack, d: Descriptor| {
        let ip = |name: Option<SockAddr>| name.and_then(|name| name.ip());
        let info = stack.sockets().find(|info| info.descriptor == Some(d)).unwrap();
        assert_eq!(info.kind, SocketKind::Stream);
        let SocketState::Tcp(state) = info.state else { panic!("{info:?}") };
        (state, ip(info.local), ip(info.peer), (info.receive_queue, info.send_queue))
    };
    let listener = stream(&mut stack);
    assert_eq!(shown(&stack, listener), (State::Closed, None, None, (0, 0)));
    stack.bind(listener, local(80)).unwrap();
    assert_eq!(shown(&stack, listener), (State::Closed, Some(local(80)), None, (0, 0)));
    stack.listen(listener, 8).unwrap();
    assert_eq!(shown(&stack, listener), (State::Listen, Some(local(80)), None, (0, 8)));
    let client = stream(&mut stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    let own = stack.local_addr(client).unwrap();
    assert_eq!(shown(&stack, client), (State::SynSent, Some(own), Some(local(80)), (0, 0)));
    assert_eq!(stack.peer_addr(client), Err(Error::NotConnected));
    run(&mut stack);
    assert_eq!(shown(&stack, listener), (State::Listen, Some(local(80)), None, (1, 8)));
    assert_eq!(shown(&stack, client), (State::Established, Some(own), Some(local(80)), (0, 0)));
    assert_eq!(stack.peer_addr(client), Ok(local(80)));
    let (server, _) = stack.accept(listener).unwrap();
    stack.send(NOW, client, b"abc").unwrap();
    assert_eq!(shown(&stack, client).3, (0, 3));
    run(&mut stack);
    assert_eq!(shown(&stack, server), (State::Established, Some(local(80)), Some(own), (3, 0)));
    assert_eq!((stack.queued_bytes(server), stack.queued_bytes(listener)), (Ok((3, 0)), Ok((0, 0))));
}

#[test]
fn each_call_does_on_a_stream_what_it_can() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    let idle = stream(&mut stack);
    let mut buf = [0; 8];
    for d in [idle, listener] {
        assert_eq!(stack.peek(d, &mut buf), Err(Error::NotConnected));
        assert_eq!(stack.recv(NOW, d, &mut buf), Err(Error::NotConnected));
        assert_eq!(stack.recv_bytes(NOW, d, 8), Err(Error::NotConnected));
        assert_eq!(stack.recv_from(NOW, d, &mut buf), Err(Error::NotConnected));
        assert_eq!(stack.at_mark(d), Ok(false));
        assert_eq!(stack.send(NOW, d, b"x"), Err(Error::BrokenPipe));
        assert_eq!(stack.take_error(d), Ok(None));
        assert_eq!(stack.close_reason(d), Ok(None));
    }
    let expected = Readiness { writable: true, hung_up: true, ..Readiness::default() };
    assert_eq!(stack.readiness(idle), Ok(expected), "as on Linux");
    assert_eq!(stack.readiness(listener), Ok(Readiness::default()));
    let [client, server] = connect(&mut stack, listener);
    let own = stack.local_addr(client).unwrap();
    // The address is ignored on a stream.
    assert_eq!(stack.send_to(NOW, client, b"0123", local(9)), Ok(4));
    assert_eq!(stack.send_msg(NOW, client, b"456"[..].into(), &SendMeta::connected()), Ok(3));
    run(&mut stack);
    for _ in 0..2 {
        assert_eq!(stack.peek(server, &mut buf), Ok(7));
        assert_eq!(&buf[..7], b"0123456");
    }
    assert_eq!(stack.recv_bytes(NOW, server, 2).as_deref(), Ok(&b"01"[..]));
    assert_eq!(
        stack.recv_from(NOW, server, &mut buf[..3]).map(|(len, meta)| (len, meta.peer())),
        Ok((3, own))
    );
    assert_eq!(&buf[..3], b"234");
    assert_eq!(stack.recv(NOW, server, &mut buf), Ok(2));
    assert_eq!(stack.peek(server, &mut buf), Err(Error::WouldBlock));
    assert_eq!(stack.recv_msg(NOW, server), Err(Error::NotSupported));
    assert_eq!(stack.recv_batch(NOW, server, &mut Vec::new(), 2), Err(Error::NotSupported));
    assert_eq!(stack.listen(server, 8), Err(Error::InvalidArgument));
    assert_eq!(stack.accept(server), Err(Error::InvalidArgument));
    assert_eq!(stack.bind(server, local(9)), Err(Error::InvalidArgument));
}

/// RFC 9293 §3.9.2.3 (MUST-57).
#[test]
fn a_segment_to_a_broadcast_address_is_dropped_silently() {
    let mut stack = stack();
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(NOW, interface).unwrap();
    let d = stream(&mut stack);
    stack.bind(d, ([0; 4], 80)).unwrap();
    stack.listen(d, 8).unwrap();
    let mut syn_to = |dst: &str| {
        let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), dst.parse().unwrap());
        let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(9, 80) };
        stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&syn)));
        (stack.poll_transmit(NOW).is_some(), stack.stats().drops(DropReason::TcpNotUnicast))
    };
    assert_eq!(syn_to("10.0.0.255"), (false, 1));
    assert_eq!(syn_to("255.255.255.255"), (false, 2));
    assert_eq!(syn_to("10.0.0.1"), (true, 2));
}

/// RFC 4007 §6: a link-local address belongs to a link, which its scope id names.
#[test]
fn link_local_segments_go_out_and_come_in_on_the_link_of_their_scope() {
    let mut stack = stack();
    let ifaces = [(); 2].map(|()| {
        let interface = InterfaceConfig::new(Medium::Ip).address("fe80::1/64".parse().unwrap());
        stack.add_interface(NOW, interface).unwrap()
    });
    let listener = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
    stack.bind(listener, "[::]:80".parse::<SocketAddr>().unwrap()).unwrap();
    stack.listen(listener, 8).unwrap();
    let builder = PacketBuilder::new("fe80::2".parse().unwrap(), "fe80::1".parse().unwrap());
    for (iface, scope) in ifaces.into_iter().zip(1..) {
        let client = stack.socket(Domain::V6, SocketKind::Stream).unwrap();
        let peer = core::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 9, 0, scope);
        assert_eq!(stack.connect(NOW, client, peer), Err(Error::InProgress));
        assert_eq!(stack.poll_transmit(NOW).map(|syn| syn.iface()), Some(iface));
        // The same four-tuple on both links.
        let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(9, 80) };
        stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&syn)));
        assert_eq!(stack.poll_transmit(NOW).map(|syn_ack| syn_ack.iface()), Some(iface));
    }
    let handshakes = stack.sockets().filter(|info| info.id.is_none()).count();
    assert_eq!(handshakes, 2);
}

/// A connection that has ended when it is closed does not count as an orphan. The number of orphans
/// is limited.
#[test]
fn only_connections_that_go_on_are_orphans() {
    let mut config = Config::default();
    config.tcp.max_orphans = 2;
    let mut stack = Stack::new(config, [8; 32], NOW);
    let listener = listener(&mut stack, 80);
    for _ in 0..4 {
        let [client, server] = connect(&mut stack, listener);
        reset(&mut stack, server);
        stack.close(NOW, client).unwrap();
    }
    let refused = stream(&mut stack);
    assert_eq!(stack.connect(NOW, refused, local(81)), Err(Error::InProgress));
    run(&mut stack);
    stack.close(NOW, refused).unwrap();
    let mut servers = Vec::new();
    for count in 1..=4 {
        let [client, server] = connect(&mut stack, listener);
        stack.close(NOW, client).unwrap();
        run(&mut stack);
        servers.push(server);
        assert_eq!(stack.stats().memory.abort_on_memory, u64::from(count > 2), "{count}");
        if count == 3 {
            // One of them ends, which makes room for the next.
            stack.shutdown(NOW, servers[0], Shutdown::Write).unwrap();
            run(&mut stack);
        }
    }
}

#[test]
fn resets_to_one_host_are_limited_and_counted() {
    let mut config = Config::default();
    config.tcp.max_resets_per_second = 2;
    let mut stack = Stack::new(config, [8; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(NOW, interface).unwrap();
    let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let mut resets = 0;
    for _ in 0..10 {
        let ack = TcpSegment { flags: TcpSegment::ACK, ..TcpSegment::new(9, 80) };
        stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&ack)));
        resets += u64::from(stack.poll_transmit(NOW).is_some());
    }
    assert!((1..10).contains(&resets), "{resets}");
    assert_eq!(stack.stats().tcp.resets_limited, 10 - resets);
}

/// A hash of 32 bits leads to a record; its four-tuple decides whether it is the right one.
#[test]
fn a_record_is_that_of_its_four_numbers_only() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(NOW, interface).unwrap();
    let open = stream(&mut stack);
    stack.bind(open, ([0; 4], 81)).unwrap();
    stack.listen(open, 8).unwrap();
    // A handshake, two ends of a connection, and one end in TIME-WAIT.
    let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(9, 81) };
    stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&syn)));
    run(&mut stack);
    let _flow = connect(&mut stack, listener);
    for d in connect(&mut stack, listener) {
        stack.close(NOW, d).unwrap();
        run(&mut stack);
    }
    let sockets = &stack.sockets;
    let tcp = &sockets.kinds.tcp;
    let handshakes = tcp.handshakes.iter().map(|(_, entry)| entry.tuple);
    let streams = sockets
        .common
        .records
        .iter()
        .filter_map(|(_, socket)| socket.protocol.stream())
        .map(|stream| stream.tuple);
    let time_waits = tcp.time_waits.iter().map(|entry| entry.tuple());
    let tuples: Vec<_> = handshakes.chain(streams).chain(time_waits).collect();
    let targets: Vec<_> = tuples
        .iter()
        .map(|tuple| tcp.find_record(&sockets.common, tuple).expect("it is in the table"))
        .collect();
    let kinds: Vec<_> = targets
        .iter()
        .map(|target| match target {
            Target::Handshake(_) => "handshake",
            Target::Connection(_) => "connection",
            Target::TimeWait(_) => "TIME-WAIT",
            Target::Pending(_) => "pending",
        })
        .collect();
    assert_eq!(kinds, ["handshake", "connection", "connection", "TIME-WAIT"]);
    for (at, target) in targets.iter().enumerate() {
        for (of, tuple) in tuples.iter().enumerate() {
            let tables = (&tcp.handshakes, &tcp.time_waits, &tcp.intercepts.table);
            let is_of = super::is_of(&sockets.common, tables, *target, tuple);
            assert_eq!(is_of, at == of, "{target:?} {tuple:?}");
        }
    }
}

/// `ip tcp_metrics flush`: without a cookie, data goes out when the connection is open.
#[test]
fn without_its_cookie_a_client_asks_for_one_again() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    stack.set_option(NOW, listener, SocketOption::FastOpen(8)).unwrap();
    let opened_fast = |stack: &mut Stack| {
        let before = stack.stats().fast_open.passive;
        let client = stream(stack);
        stack.set_option(NOW, client, SocketOption::FastOpenConnect(true)).unwrap();
        let _connected_or_in_progress = stack.connect(NOW, client, local(80));
        run(stack);
        let _sent_with_the_syn = stack.send(NOW, client, b"hello");
        run(stack);
        let (server, _) = stack.accept(listener).unwrap();
        for d in [client, server] {
            reset(stack, d);
        }
        stack.stats().fast_open.passive - before
    };
    assert_eq!([(); 3].map(|()| opened_fast(&mut stack)), [0, 1, 1]);
    stack.forget_fast_open_cookies();
    assert_eq!([(); 2].map(|()| opened_fast(&mut stack)), [0, 1]);
}

/// When the reserve is used up, an orphan is reset if it still holds data; otherwise it may end in
/// order.
#[test]
fn an_orphan_with_data_is_reset_when_memory_is_out() {
    for (is_full, has_data) in [(false, true), (true, false), (true, true)] {
        let config = Config { memory_limit_bytes: 1 << 20, ..Config::default() };
        let mut stack = Stack::new(config, [8; 32], NOW);
        let listener = listener(&mut stack, 80);
        let [client, _server] = connect(&mut stack, listener);
        if has_data {
            stack.send(NOW, client, b"data").unwrap();
        }
        if is_full {
            let account = &mut stack.sockets.common.account;
            while !account.is_full_for(1) {
                account.change(0, 1 << 10);
            }
        }
        stack.close(NOW, client).unwrap();
        let resets = stack.stats().memory.abort_on_memory;
        assert_eq!(resets, u64::from(is_full && has_data), "full: {is_full}, data: {has_data}");
    }
}

/// RFC 4987 §3.6: a segment with RST or SYN does not return a cookie.
#[test]
fn only_an_acknowledgement_brings_a_syn_cookie_back() {
    let mut config = Config::default();
    config.tcp.syn_cookies = crate::SynCookieMode::Always;
    let mut stack = Stack::new(config, [8; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let iface = stack.add_interface(NOW, interface).unwrap();
    let listener = stream(&mut stack);
    stack.bind(listener, ([0; 4], 80)).unwrap();
    stack.listen(listener, 8).unwrap();
    let builder = PacketBuilder::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(9, 80) };
    stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&syn)));
    let syn_ack = stack.poll_transmit(NOW).unwrap().to_vec();
    let cookie = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap());
    let (ack, rst) = (TcpSegment::ACK, TcpSegment::RST);
    for (flags, comes_back) in [
        (ack | rst, false),
        (rst, false),
        (ack | TcpSegment::SYN, false),
        (ack | TcpSegment::SYN | rst, false),
        (TcpSegment::PSH, false),
        (ack, true),
    ] {
        let segment =
            TcpSegment { flags, seq: syn.seq.wrapping_add(1), ack: cookie.wrapping_add(1), ..syn.clone() };
        stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&segment)));
        while stack.poll_transmit(NOW).is_some() {}
        assert_eq!(stack.accept(listener).is_ok(), comes_back, "{flags:#x}");
        assert_eq!(stack.stats().cookies.recv, u64::from(comes_back), "{flags:#x}");
    }
}

/// EMFILE: a connection stays in the queue until there is a descriptor for it.
#[test]
fn a_connection_waits_for_a_descriptor() {
    let mut stack = Stack::new(Config { max_descriptors: 3, ..Config::default() }, [8; 32], NOW);
    let listener = listener(&mut stack, 80);
    let client = stream(&mut stack);
    assert_eq!(stack.connect(NOW, client, local(80)), Err(Error::InProgress));
    run(&mut stack);
    let other = stream(&mut stack);
    assert_eq!(stack.socket(Domain::V4, SocketKind::Stream), Err(Error::TooManyDescriptors));
    for _ in 0..2 {
        assert_eq!(stack.accept(listener), Err(Error::TooManyDescriptors));
    }
    stack.close(NOW, other).unwrap();
    assert_eq!(stack.accept(listener).map(|(_, peer)| Ok(peer)), Ok(stack.local_name(client)));
}

/// While memory is short, as many of the segments that a device has joined are accepted as if they
/// had arrived one by one.
#[test]
fn joined_segments_are_single_ones_when_memory_is_short() {
    let taken = |filled: usize, is_joined: bool| {
        let config = Config { memory_limit_bytes: 1 << 20, ..Config::default() };
        let mut stack = Stack::new(config, [8; 32], NOW);
        let Outside { iface, d, builder, mut segment } = accepted_from_outside(&mut stack);
        let account = &mut stack.sockets.common.account;
        account.change(0, filled - account.bytes());
        let data = std::vec![7; 8000];
        let segments = Segments { kind: SegmentKind::TcpV4, len: 1000 };
        for part in data.chunks(if is_joined { 8000 } else { 1000 }) {
            segment.payload = part.to_vec();
            let frame = Frame::new(builder.tcp(&segment));
            stack.handle_frame(NOW, iface, frame.with_segments(is_joined.then_some(segments)));
            segment.seq += part.len() as u32;
        }
        stack.queued_bytes(d).unwrap().0
    };
    // Finds the largest filling at which everything is accepted.
    let (mut all, mut not_all) = (300_000, 1 << 20);
    while not_all - all > 256 {
        let middle = (all + not_all) / 2;
        *(if taken(middle, false) == 8000 { &mut all } else { &mut not_all }) = middle;
    }
    let mut some = 0;
    for filled in (0..16).map(|n| all - 1000 + n * 900) {
        let [single, joined] = [false, true].map(|is_joined| taken(filled, is_joined));
        // The account counts a run when all of it has been handled.
        assert!(single.abs_diff(joined) <= 1000, "{filled}: {single} and {joined}");
        some += usize::from((2000..=6000).contains(&single));
    }
    assert!(some > 2, "{some}");
}

/// A socket with something to send is in the queue once, and one with nothing to send is not.
#[test]
fn who_has_something_to_send_waits_for_its_turn_once() {
    let mut stack = stack();
    let listener = listener(&mut stack, 80);
    let [client, server] = connect(&mut stack, listener);
    let waiting = |stack: &Stack| stack.sockets.common.transmit_queue.iter().copied().collect::<Vec<_>>();
    assert!(waiting(&stack).is_empty());
    let [client_id, server_id] = [client, server].map(|d| stack.socket_id(d).unwrap());
    for _ in 0..3 {
        stack.send(NOW, client, b"data").unwrap();
        assert_eq!(waiting(&stack), [client_id]);
    }
    stack.send(NOW, server, b"data").unwrap();
    stack.send(NOW, client, b"data").unwrap();
    assert_eq!(waiting(&stack), [client_id, server_id]);
    run(&mut stack);
    assert!(waiting(&stack).is_empty());
    // There is nothing new to report.
    stack.recv(NOW, server, &mut [0; 4]).unwrap();
    stack.set_option(NOW, server, SocketOption::KeepAlive(true)).unwrap();
    assert!(waiting(&stack).is_empty());
}

/// Each step of a shortage releases what it is for: empty lists, then data that the peer still has,
/// and last the buffer sizes beyond an equal share.
#[test]
fn each_step_of_a_shortage_takes_its_own() {
    for (shortage, is_over_share, takes_out_of_order, takes_buffers) in [
        (Shortage::None, true, false, false),
        (Shortage::Capacity, true, false, false),
        (Shortage::OutOfOrder, false, true, false),
        (Shortage::OutOfOrder, true, true, false),
        (Shortage::Buffers, false, true, false),
        (Shortage::Buffers, true, true, true),
        (Shortage::Connections, true, true, true),
    ] {
        let mut stack = stack();
        let Outside { iface, d, builder, mut segment } = accepted_from_outside(&mut stack);
        (segment.seq, segment.payload) = (1001, std::vec![7; 500]);
        stack.handle_frame(NOW, iface, Frame::new(builder.tcp(&segment)));
        let id = stack.socket_id(d).unwrap();
        let (mut env, _) = stack.parts();
        let stream = env.common.stream(id).unwrap();
        let (before, after) = {
            let before = stream.connection.buffers();
            let socket = env.common.records.get_mut(id).unwrap();
            socket.protocol.state_mut().give_back(&mut env.ctx, shortage, is_over_share);
            (before, env.common.stream(id).unwrap().connection.buffers())
        };
        let case = (shortage, is_over_share);
        assert_eq!(env.ctx.stats.memory.pruned_bytes, u64::from(takes_out_of_order) * 500, "{case:?}");
        assert_eq!(after != before, takes_buffers, "{case:?}: {before:?} {after:?}");
    }
}

#[test]
fn each_segment_of_a_run_is_counted() {
    let mut stack = stack();
    let Outside { d, .. } = accepted_from_outside(&mut stack);
    let before = stack.stats().tcp.segs_sent;
    stack.send(NOW, d, &[7; 4000]).unwrap();
    let mut frames = 0;
    while stack.poll_transmit(NOW).is_some() {
        frames += 1;
    }
    assert!(frames > 3, "{frames}");
    assert_eq!(stack.stats().tcp.segs_sent - before, frames);
}
