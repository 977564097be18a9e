//! The error queue, as programs see it. What Linux does is compared in `tests/tests/datagrams.rs`.

use core::net::{IpAddr, SocketAddr};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::testing::PacketBuilder;
use crate::{
    Config, Descriptor, Domain, Frame, Instant, MtuDiscover, RecvFlags, SocketKind, SocketOption, Stack,
};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);
const KINDS: [(SocketKind, Domain); 4] = [
    (SocketKind::Datagram, Domain::V4),
    (SocketKind::Datagram, Domain::V6),
    (SocketKind::Echo, Domain::V4),
    (SocketKind::Echo, Domain::V6),
];

/// A stack with the addresses 10.0.0.1 and fd00::1, and a socket with an error queue.
fn stack(domain: Domain, kind: SocketKind) -> (Stack, Descriptor) {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .address("10.0.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    let d = stack.socket(domain, kind).unwrap();
    stack.set_option(NOW, d, SocketOption::ReceiveErrors(true)).unwrap();
    (stack, d)
}

fn host(domain: Domain, number: u8) -> IpAddr {
    match domain {
        Domain::V4 | Domain::Unix => [10, 0, 0, number].into(),
        Domain::V6 => core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

fn peer(domain: Domain) -> SocketAddr {
    SocketAddr::new(host(domain, 2), 9)
}

/// Sends an echo request, or as many bytes as UDP data. Returns the packet.
fn sent(stack: &mut Stack, d: Descriptor, domain: Domain, data: &[u8]) -> Vec<u8> {
    let request = if domain == Domain::V4 { 8 } else { 128 };
    stack.send_to(NOW, d, &[&[request, 0, 0, 0, 0, 0, 0, 1], data].concat(), peer(domain)).unwrap();
    stack.poll_transmit(NOW).unwrap().to_vec()
}

/// An ICMP error from host 3 about a packet: "port unreachable", or "time exceeded".
fn refuse(stack: &mut Stack, domain: Domain, is_hard: bool, about: &[u8]) {
    let (kind, code) = match (domain, is_hard) {
        (Domain::V4 | Domain::Unix, true) => (3, 3),
        (Domain::V4 | Domain::Unix, false) => (11, 0),
        (Domain::V6, true) => (1, 4),
        (Domain::V6, false) => (3, 0),
    };
    let message = [&[0; 4], about].concat();
    let packet = PacketBuilder::new(host(domain, 3), host(domain, 1)).icmp(kind, code, &message);
    stack.handle_frame(NOW, IFACE, Frame::new(packet));
}

#[test]
fn each_error_comes_with_the_packet_that_it_is_about() {
    for (kind, domain) in KINDS {
        let (mut stack, d) = stack(domain, kind);
        let empty = stack.memory_bytes();
        let about = sent(&mut stack, d, domain, b"payload");
        refuse(&mut stack, domain, true, &about);
        refuse(&mut stack, domain, false, &about);
        assert!(stack.memory_bytes() > empty, "{kind:?}");
        // The socket is not connected, and the second error is not a hard one.
        let readiness = stack.readiness(d).unwrap();
        assert!(readiness.error && !readiness.readable, "{kind:?} {readiness:?}");
        let (error, payload) = stack.recv_error(d).unwrap();
        let is_v4 = domain == Domain::V4;
        let (hard, soft) = match is_v4 {
            true => (ErrorOrigin::Icmp { kind: 3, code: 3 }, ErrorOrigin::Icmp { kind: 11, code: 0 }),
            false => (ErrorOrigin::Icmp6 { kind: 1, code: 4 }, ErrorOrigin::Icmp6 { kind: 3, code: 0 }),
        };
        let port = if kind == SocketKind::Echo { 0 } else { 9 };
        let expected = QueuedError {
            error: Error::ConnectionRefused,
            origin: hard,
            info: 0,
            destination: SocketAddr::new(host(domain, 2), port),
            offender: Some(SocketAddr::new(host(domain, 3), 0)),
        };
        assert_eq!(error, expected, "{kind:?}");
        assert_eq!(&payload[payload.len() - 7..], b"payload", "{kind:?}");
        // The next error is SO_ERROR now; reading it leaves it in the queue.
        assert_eq!(stack.take_error(d), Ok(Some(Error::HostUnreachable)), "{kind:?}");
        assert!(stack.readiness(d).unwrap().error, "{kind:?}");
        let mut buf = [0; 4];
        let received = stack.recv_message(NOW, d, &mut [&mut buf], RecvFlags::ERROR_QUEUE).unwrap();
        let flags = ReceivedFlags::ERROR_QUEUE | ReceivedFlags::TRUNCATED;
        assert_eq!((received.len, received.flags, received.meta), (4, flags, None), "{kind:?}");
        assert_eq!(
            received.error,
            Some(QueuedError { error: Error::HostUnreachable, origin: soft, ..expected })
        );
        assert_eq!(stack.recv_error(d), Err(Error::WouldBlock), "{kind:?}");
        assert!(!stack.readiness(d).unwrap().error, "{kind:?}");
        assert_eq!(stack.memory_bytes(), empty, "{kind:?}");
    }
}

#[test]
fn errors_fill_the_receive_buffer_at_most() {
    for (kind, domain) in KINDS {
        let (mut stack, d) = stack(domain, kind);
        stack.set_option(NOW, d, SocketOption::ReceiveBuffer(8000)).unwrap();
        let about = sent(&mut stack, d, domain, &[7; 600]);
        let before = stack.memory_bytes();
        for _ in 0..1000 {
            refuse(&mut stack, domain, true, &about);
        }
        assert!(stack.memory_bytes() < before + 8000, "{kind:?}");
        let count = core::iter::from_fn(|| stack.recv_error(d).ok()).count();
        assert!((5..=12).contains(&count), "{kind:?}: {count}");
        // SO_ERROR is set even if the queue has no room.
        refuse(&mut stack, domain, true, &about);
        assert_eq!(stack.take_error(d), Ok(Some(Error::ConnectionRefused)), "{kind:?}");
        // Without the option the queue is forgotten.
        stack.set_option(NOW, d, SocketOption::ReceiveErrors(false)).unwrap();
        assert_eq!(stack.recv_error(d), Err(Error::WouldBlock), "{kind:?}");
        assert_eq!(stack.readiness(d).unwrap(), stack.readiness(d).unwrap());
        assert!(!stack.readiness(d).unwrap().error, "{kind:?}");
    }
}

/// The modes of IP_MTU_DISCOVER on a link of 1,500 bytes with a path MTU of 1,400: what becomes of
/// packets of 1,380, 1,450 and 1,600 bytes.
#[test]
fn what_is_longer_than_the_path_is_cut_or_refused() {
    use MtuDiscover::{Do, Dont, Interface, Omit, Probe, Want};
    let (cut, whole) = (Ok(2), Ok(1));
    let too_long = |mtu| Err((Error::MessageTooLong, mtu));
    for (mode, [first, second, third], dont_fragment) in [
        (Dont, [whole, cut, cut], false),
        (Want, [whole, cut, cut], true),
        (Do, [whole, too_long(1400), too_long(1400)], true),
        (Probe, [whole, whole, too_long(1500)], true),
        (Interface, [whole, whole, too_long(1500)], false),
        (Omit, [whole, whole, cut], false),
    ] {
        for domain in [Domain::V4, Domain::V6] {
            let (mut stack, d) = stack(domain, SocketKind::Datagram);
            stack.network.learn_path_mtu(NOW, host(domain, 2), None, 1400);
            stack.set_option(NOW, d, SocketOption::MtuDiscover(mode)).unwrap();
            let header_len = if domain == Domain::V4 { 28 } else { 48 };
            for (len, expected) in [(1380, first), (1450, second), (1600, third)] {
                let sent = stack.send_to(NOW, d, &vec![1; len - header_len], peer(domain));
                let frames: Vec<Vec<u8>> =
                    core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect();
                let told = match sent {
                    Ok(_) => Ok(frames.len()),
                    Err(error) => Err((error, stack.recv_error(d).unwrap().0.info)),
                };
                assert_eq!(told, expected, "{mode:?} {domain:?} {len}");
                if domain == Domain::V4 && told == whole {
                    assert_eq!(frames[0][6] & 0x40 != 0, dont_fragment, "{mode:?} {len}");
                }
            }
        }
    }
}

#[test]
fn ipv6_can_be_told_not_to_fragment() {
    for domain in [Domain::V4, Domain::V6] {
        let (mut stack, d) = stack(domain, SocketKind::Datagram);
        stack.set_option(NOW, d, SocketOption::DontFragment(true)).unwrap();
        let sent = stack.send_to(NOW, d, &[1; 2000], peer(domain)).map(drop);
        assert_eq!(sent, if domain == Domain::V4 { Ok(()) } else { Err(Error::MessageTooLong) });
        assert_eq!(stack.recv_error(d).is_ok(), domain == Domain::V6);
    }
}
