use super::*;
use crate::network::{MacAddr, Medium};
use crate::{Domain, DropReason, Error, SendMeta, SocketKind};
use bytes::Bytes;
use std::vec;

/// A stack that is 10.0.0.1 on an Ethernet, its announcements sent.
fn stack() -> Stack {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], Instant::ZERO);
    let ethernet = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1]));
    let interface = InterfaceConfig::new(ethernet).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(Instant::ZERO, interface).unwrap();
    while stack.poll_transmit(Instant::ZERO).is_some() {}
    stack
}

#[test]
fn the_question_for_a_neighbour_comes_out_of_the_poll_that_causes_it() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let connecting = stack.connect(Instant::ZERO, d, ([10, 0, 0, 2], 7));
    assert_eq!(connecting, Err(Error::InProgress));
    let frame = stack.poll_transmit(Instant::ZERO).expect("an ARP request").to_vec();
    assert_eq!(frame[12..14], [8, 6]);
    assert!(stack.poll_transmit(Instant::ZERO).is_none());
}

#[test]
fn a_call_works_off_so_many_packets_that_wait_and_says_that_there_are_more() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    for _ in 0..200 {
        stack.send_to(Instant::ZERO, d, b"x", ([10, 0, 0, 2], 7)).unwrap();
    }
    assert!(stack.poll_transmit(Instant::ZERO).is_some(), "an ARP request");
    for left in [135, 71, 7] {
        assert!(stack.poll_transmit(Instant::ZERO).is_none());
        assert_eq!(stack.queued_bytes(d), Ok((0, left)));
        assert!(stack.poll_transmit(Instant::ZERO).is_none());
        assert_eq!(
            stack.queued_bytes(d),
            Ok((0, left)),
            "first whoever drives the stack is to do something else"
        );
        assert!(stack.has_transmits());
        assert_eq!(stack.next_timeout_at(), Some(Instant::ZERO));
        assert!(stack.handle_loopback(Instant::ZERO));
    }
    assert!(stack.poll_transmit(Instant::ZERO).is_none());
    assert_eq!(stack.queued_bytes(d), Ok((0, 0)));
    assert!(!stack.handle_loopback(Instant::ZERO));
    assert!(stack.next_timeout_at() > Some(Instant::ZERO));
}

/// After its datagram each socket waits to be asked for another, so that all of them are passed
/// at once.
#[test]
fn a_call_passes_so_many_sockets_that_have_nothing_to_send() {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], Instant::ZERO);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(Instant::ZERO, interface).unwrap();
    while stack.poll_transmit(Instant::ZERO).is_some() {}
    for _ in 0..4000 {
        let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.send_to(Instant::ZERO, d, b"x", ([10, 0, 0, 2], 7)).unwrap();
    }
    for _ in 0..4000 {
        assert!(stack.poll_transmit(Instant::ZERO).is_some());
    }
    // 1,024 each time, and the rest of 4,000 at last.
    for _ in 0..3 {
        assert!(stack.poll_transmit(Instant::ZERO).is_none());
        assert!(stack.has_transmits());
        assert!(stack.handle_loopback(Instant::ZERO));
    }
    assert!(stack.poll_transmit(Instant::ZERO).is_none());
    assert!(!stack.has_transmits());
    assert!(!stack.handle_loopback(Instant::ZERO));
}

#[test]
fn there_is_something_to_send_until_it_was_sent() {
    let mut stack = stack();
    assert!(!stack.has_transmits());
    // To a neighbour that must be asked for first, and round the loopback.
    for addr in [[10, 0, 0, 2], [127, 0, 0, 1]] {
        let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
        stack.send_to(Instant::ZERO, d, b"x", (addr, 7)).unwrap();
        assert!(stack.has_transmits());
        while stack.poll_transmit(Instant::ZERO).is_some() || stack.handle_loopback(Instant::ZERO) {}
        assert!(!stack.has_transmits());
    }
}

#[test]
fn what_is_sent_to_oneself_is_received_in_a_call_of_its_own() {
    let mut stack = stack();
    let [sender, receiver] = [(); 2].map(|()| stack.socket(Domain::V4, SocketKind::Datagram).unwrap());
    stack.bind(receiver, ([127, 0, 0, 1], 7)).unwrap();
    let settled = stack.next_timeout_at();
    for receive in [
        |stack: &mut Stack| assert!(stack.handle_loopback(Instant::ZERO)),
        |stack: &mut Stack| stack.handle_timeout(Instant::ZERO),
    ] {
        for _ in 0..2 {
            stack.send_to(Instant::ZERO, sender, b"x", ([127, 0, 0, 1], 7)).unwrap();
        }
        for _ in 0..2 {
            assert!(stack.poll_transmit(Instant::ZERO).is_none());
            assert!(!stack.readiness(receiver).unwrap().readable, "it was sent, and not received");
            let due = stack.poll_timeout().unwrap();
            assert_eq!((due.at, due.kind), (Instant::ZERO, DeadlineKind::Loopback));
            receive(&mut stack);
            assert_eq!(stack.recv(Instant::ZERO, receiver, &mut [0]), Ok(1));
        }
        assert_eq!(stack.poll_transmit(Instant::ZERO).map(|frame| frame.len()), None);
        assert!(!stack.handle_loopback(Instant::ZERO));
        assert_eq!(stack.next_timeout_at(), settled);
    }
}

#[test]
fn forwarded_frames_and_those_of_sockets_take_turns() {
    let mut stack = Stack::new(Config::default(), [1; 32], Instant::ZERO);
    let [near, far] = ["10.0.0.1/24", "10.1.0.1/24"].map(|address| {
        let interface = InterfaceConfig::new(Medium::Ip).address(address.parse().unwrap());
        stack.add_interface(Instant::ZERO, interface.forwarding(Forwarding::ALL)).unwrap()
    });
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    let of_others =
        crate::testing::PacketBuilder::new([10, 0, 0, 9].into(), [10, 1, 0, 9].into()).udp(1, 2, b"x");
    for _ in 0..4 {
        stack.send_to(Instant::ZERO, d, b"x", ([10, 0, 0, 2], 7)).unwrap();
    }
    for _ in 0..6 {
        stack.handle_frame(Instant::ZERO, near, crate::Frame::new(of_others.clone()));
    }
    let mut sent = vec![];
    while stack.has_transmits() {
        sent.extend(stack.poll_transmit(Instant::ZERO).map(|frame| frame.iface()));
    }
    assert_eq!(sent, [near, far, near, far, near, far, near, far, far, far]);
    assert!(stack.poll_transmit(Instant::ZERO).is_none());
}

#[test]
fn datagrams_wait_in_their_socket_and_not_as_fragments() {
    let mut stack = stack();
    let d = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.set_option(Instant::ZERO, d, crate::SocketOption::SendBuffer(4 << 20)).unwrap();
    stack.set_option(Instant::ZERO, d, crate::SocketOption::Broadcast(true)).unwrap();
    let data = Bytes::from(vec![7; 60_000]);
    for _ in 0..50 {
        stack.send_msg(Instant::ZERO, d, data.clone(), &SendMeta::to(([10, 0, 0, 255], 9).into())).unwrap();
    }
    let mut frames = 0;
    // This host gets a copy of each broadcast, too.
    loop {
        frames += usize::from(stack.poll_transmit(Instant::ZERO).is_some());
        if !stack.has_transmits() {
            break;
        }
        stack.handle_loopback(Instant::ZERO);
    }
    assert_eq!(frames, 50 * 41);
    assert_eq!(stack.stats().drops(DropReason::TransmitQueueFull), 0);
}

/// The retransmissions of 2,000 SYNs are due at once. Those that one call leaves stay due.
#[test]
fn a_call_handles_so_many_timers() {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let mut stack = Stack::new(config, [1; 32], Instant::ZERO);
    let interface = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    stack.add_interface(Instant::ZERO, interface).unwrap();
    for port in 1..=2000 {
        let d = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
        assert_eq!(stack.connect(Instant::ZERO, d, ([10, 0, 0, 2], port)), Err(Error::InProgress));
    }
    let send_all = |stack: &mut Stack, now| {
        let mut count = 0;
        while stack.has_transmits() {
            count += usize::from(stack.poll_transmit(now).is_some());
            stack.handle_loopback(now);
        }
        count
    };
    send_all(&mut stack, Instant::ZERO);
    let later = Instant::from_millis(1500);
    for count in [512, 512, 512, 464] {
        assert!(stack.poll_timeout().is_some_and(|deadline| deadline.at <= later));
        stack.handle_timeout(later);
        assert_eq!(send_all(&mut stack, later), count);
    }
    assert!(stack.poll_timeout().is_some_and(|deadline| deadline.at > later));
}
