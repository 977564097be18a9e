//! Echo sockets where they differ from other sockets of datagrams.

use core::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use crate::network::{InterfaceConfig, InterfaceId, Medium};
use crate::testing::PacketBuilder;
use crate::{Config, Descriptor, Domain, DropReason, Error, Frame, Instant, SocketKind, SocketOption, Stack};

const NOW: Instant = Instant::ZERO;
const IFACE: InterfaceId = InterfaceId(0);

/// A stack with the addresses 10.0.0.1, 10.0.0.9 and fd00::1 on a link without link headers.
fn stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [6; 32], NOW);
    let interface = InterfaceConfig::new(Medium::Ip)
        .address("10.0.0.1/24".parse().unwrap())
        .address("10.0.0.9/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap());
    stack.add_interface(NOW, interface).unwrap();
    stack
}

fn echo(stack: &mut Stack, domain: Domain) -> Descriptor {
    stack.socket(domain, SocketKind::Echo).unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn frames(stack: &mut Stack) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| stack.poll_transmit(NOW)).map(|frame| frame.to_vec()).collect()
}

/// A message of a program: type, code, sequence number 1, one byte of data.
fn message(kind: u8, code: u8) -> [u8; 9] {
    [kind, code, 0, 0, 0, 0, 0, 1, b'x']
}

/// A reply to `to`.
fn reply(to: &str, kind: u8, identifier: u16) -> Frame {
    let to: IpAddr = to.parse().unwrap();
    let from: IpAddr = if to.is_ipv4() { "10.0.0.2" } else { "fd00::2" }.parse().unwrap();
    let rest = [&identifier.to_be_bytes()[..], &[0, 1, b'x']].concat();
    Frame::new(PacketBuilder::new(from, to).icmp(kind, 0, &rest))
}

/// As Linux 6.18.
#[test]
fn only_echo_requests_with_code_0_are_sent() {
    for (domain, peer, kinds) in
        [(Domain::V4, "10.0.0.2:0", [8, 42]), (Domain::V6, "[fd00::2]:0", [128, 160])]
    {
        let mut stack = stack();
        let d = echo(&mut stack, domain);
        for kind in 0..=255 {
            let sent = stack.send_to(NOW, d, &message(kind, 0), addr(peer));
            let expected = if kinds.contains(&kind) { Ok(9) } else { Err(Error::InvalidArgument) };
            assert_eq!(sent, expected, "{domain:?} {kind}");
        }
        assert_eq!(stack.send_to(NOW, d, &message(kinds[0], 1), addr(peer)), Err(Error::InvalidArgument));
        assert_eq!(
            stack.send_to(NOW, d, &message(kinds[0], 0)[..7], addr(peer)),
            Err(Error::InvalidArgument)
        );
        let header_len = if domain == Domain::V4 { 20 } else { 40 };
        let sent: Vec<u8> = frames(&mut stack).iter().map(|frame| frame[header_len]).collect();
        assert_eq!(sent, kinds);
        // RFC 8335: the answer to an extended echo request.
        let identifier = stack.local_addr(d).unwrap().port();
        let (to, kind) = if domain == Domain::V4 { ("10.0.0.1", 43) } else { ("fd00::1", 161) };
        stack.handle_frame(NOW, IFACE, reply(to, kind, identifier));
        assert_eq!(stack.recv(NOW, d, &mut [0; 64]), Ok(9));
    }
}

/// As Linux 6.18, whose sockets of this kind have SO_REUSEADDR from the beginning.
#[test]
fn sockets_share_an_identifier_and_the_last_one_gets_the_replies() {
    let mut stack = stack();
    let [one, other, only] = [(); 3].map(|()| echo(&mut stack, Domain::V4));
    assert!(stack.options(one).unwrap().reuse_addr);
    stack.bind(one, addr("0.0.0.0:7")).unwrap();
    stack.bind(other, addr("10.0.0.9:7")).unwrap();
    let got = |stack: &mut Stack, to: &str| {
        stack.handle_frame(NOW, IFACE, reply(to, 0, 7));
        [one, other].map(|d| stack.recv(NOW, d, &mut [0; 64]).is_ok())
    };
    assert_eq!(got(&mut stack, "10.0.0.9"), [false, true]);
    assert_eq!(got(&mut stack, "10.0.0.1"), [true, false]);
    // The other family counts, too; only a socket without SO_REUSEADDR keeps others away.
    stack.set_option(NOW, only, SocketOption::ReuseAddr(false)).unwrap();
    assert_eq!(stack.bind(only, addr("10.0.0.1:7")), Err(Error::AddressInUse));
    stack.bind(only, addr("0.0.0.0:8")).unwrap();
    let v6 = echo(&mut stack, Domain::V6);
    assert_eq!(stack.bind(v6, addr("[::]:8")), Err(Error::AddressInUse));
    stack.bind(v6, addr("[::]:7")).unwrap();
    assert_eq!(got(&mut stack, "10.0.0.1"), [true, false]);
    stack.handle_frame(NOW, IFACE, reply("fd00::1", 129, 7));
    assert!(stack.recv(NOW, v6, &mut [0; 64]).is_ok());
    stack.close(NOW, other).unwrap();
    stack.handle_frame(NOW, IFACE, reply("10.0.0.9", 0, 7));
    assert!(stack.recv(NOW, one, &mut [0; 64]).is_ok());
    // So many and no more.
    let mut shared = 2;
    let refused = loop {
        let d = echo(&mut stack, Domain::V4);
        match stack.bind(d, addr("0.0.0.0:7")) {
            Ok(()) => shared += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((shared, refused), (64, Error::NoBufferSpace));
}

#[test]
fn identifiers_run_out_and_come_back() {
    let mut stack = stack();
    let mut last = None;
    for _ in 0..u16::MAX {
        let d = echo(&mut stack, Domain::V4);
        stack.bind(d, addr("0.0.0.0:0")).unwrap();
        last = Some(d);
    }
    let d = echo(&mut stack, Domain::V6);
    assert_eq!(stack.bind(d, addr("[::]:0")), Err(Error::AddressInUse));
    assert_eq!(stack.connect(NOW, d, addr("[fd00::2]:0")), Err(Error::WouldBlock));
    assert_eq!(stack.send_to(NOW, d, &message(128, 0), addr("[fd00::2]:0")), Err(Error::WouldBlock));
    let last = last.unwrap();
    let identifier = stack.local_addr(last).unwrap().port();
    stack.close(NOW, last).unwrap();
    assert_eq!(stack.connect(NOW, d, addr("[fd00::2]:0")), Ok(()));
    assert_eq!(stack.local_addr(d).unwrap().port(), identifier);
}

/// As Linux 6.18: `connect` chooses where requests go and who is told of errors, not whose replies
/// arrive.
#[test]
fn a_connected_socket_gets_the_replies_of_all() {
    let mut stack = stack();
    let d = echo(&mut stack, Domain::V4);
    stack.bind(d, addr("0.0.0.0:7")).unwrap();
    stack.connect(NOW, d, addr("10.0.0.3:55")).unwrap();
    assert_eq!(stack.peer_addr(d), Ok(addr("10.0.0.3:55")));
    assert_eq!(stack.local_addr(d), Ok(addr("10.0.0.1:7")));
    stack.handle_frame(NOW, IFACE, reply("10.0.0.1", 0, 7));
    let (_, meta) = stack.recv_from(NOW, d, &mut [0; 64]).unwrap();
    assert_eq!(meta.peer(), addr("10.0.0.2:0"));
    stack.handle_frame(NOW, IFACE, reply("10.0.0.9", 0, 7));
    assert_eq!(stack.recv(NOW, d, &mut [0; 64]), Err(Error::WouldBlock), "not to its own address");
    assert_eq!(stack.stats().drops(DropReason::UnknownIcmp), 1);
}

/// As Linux 6.18.
#[test]
fn addresses_that_an_echo_socket_refuses() {
    let mut stack = stack();
    let d = echo(&mut stack, Domain::V6);
    for (text, error) in [
        ("[::ffff:10.0.0.1]:7", Error::InvalidArgument),
        ("[ff02::1]:7", Error::InvalidArgument),
        ("[ff05::1]:7", Error::InvalidArgument),
        ("[fd00::2]:7", Error::AddressNotAvailable),
    ] {
        assert_eq!(stack.bind(d, addr(text)), Err(error), "{text}");
    }
    let mut send = |to: &str| stack.send_to(NOW, d, &message(128, 0), addr(to));
    assert_eq!(send("[::ffff:10.0.0.2]:0"), Err(Error::InvalidArgument));
    assert_eq!(send("[::]:0"), Err(Error::NetworkUnreachable));
    assert_eq!(send("[fe80::2]:0"), Err(Error::InvalidArgument));
    assert_eq!(stack.connect(NOW, d, addr("[::ffff:10.0.0.2]:0")), Err(Error::NetworkUnreachable));
    let d = echo(&mut stack, Domain::V4);
    for text in ["224.0.0.1:7", "255.255.255.255:7", "10.0.0.255:7", "10.0.0.2:7"] {
        assert_eq!(stack.bind(d, addr(text)), Err(Error::AddressNotAvailable), "{text}");
    }
    // A call that fails gives the socket its identifier, too.
    assert_eq!(stack.send(NOW, d, &message(8, 0)), Err(Error::DestinationRequired));
    assert_ne!(stack.local_addr(d).unwrap().port(), 0);
}

#[test]
fn a_request_that_was_too_big_for_the_path_is_fragmented_the_next_time() {
    for (domain, to, too_big) in [(Domain::V4, "10.0.0.2:0", (3, 4)), (Domain::V6, "[fd00::2]:0", (2, 0))] {
        let mut stack = stack();
        let d = echo(&mut stack, domain);
        let mut request = message(if domain == Domain::V4 { 8 } else { 128 }, 0).to_vec();
        request.resize(1400, 0);
        stack.send_to(NOW, d, &request, addr(to)).unwrap();
        let sent = frames(&mut stack).remove(0);
        let rest = [&[0, 0, 5, 0], &sent[..100]].concat();
        let own = if domain == Domain::V4 { "10.0.0.1" } else { "fd00::1" }.parse().unwrap();
        let error = PacketBuilder::new(addr(to).ip(), own).icmp(too_big.0, too_big.1, &rest);
        stack.handle_frame(NOW, IFACE, Frame::new(error));
        stack.send_to(NOW, d, &request, addr(to)).unwrap();
        assert_eq!(frames(&mut stack).len(), 2, "{domain:?}");
    }
}
