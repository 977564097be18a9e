//! The errors that a program gets for each ICMP error about one of its packets: SO_ERROR of a
//! connection that is being opened, of one that is open, of a connected UDP socket and of a
//! connected echo socket.
//!
//! The table is a measurement on Linux 6.18.44 (with a TUN device in a network namespace, whose
//! peer sent each type and code about the socket's last packet, with 20 bytes of its transport
//! header; SO_ERROR was read 4 ms later).

use portolan::testing::{PacketBuilder, TcpSegment};
use portolan::{Config, Descriptor, Domain, Error, SocketKind};
use portolan_tests::RawPeer;

/// Type and code, and SO_ERROR in SYN-SENT, in ESTABLISHED, of UDP and of echo.
type Row = (u8, u8, [Option<Error>; 4]);

/// The same error for both connections, and none for the others.
const fn streams(kind: u8, code: u8, error: Error) -> Row {
    (kind, code, [Some(error), Some(error), None, None])
}

const fn all(kind: u8, code: u8, error: Error) -> Row {
    (kind, code, [Some(error); 4])
}

const fn nobody(kind: u8, code: u8) -> Row {
    (kind, code, [None; 4])
}

const TOO_BIG_V4: [Option<Error>; 4] = [None, None, Some(Error::MessageTooLong), Some(Error::MessageTooLong)];
const TOO_BIG_V6: [Option<Error>; 4] = [None, None, Some(Error::MessageTooLong), None];

const V4: &[Row] = &[
    streams(3, 0, Error::NetworkUnreachable),
    streams(3, 1, Error::HostUnreachable),
    all(3, 2, Error::ProtocolNotAvailable),
    all(3, 3, Error::ConnectionRefused),
    (3, 4, TOO_BIG_V4),
    streams(3, 5, Error::NotSupported),
    all(3, 6, Error::NetworkUnreachable),
    all(3, 7, Error::HostDown),
    all(3, 8, Error::HostIsolated),
    all(3, 9, Error::NetworkUnreachable),
    all(3, 10, Error::HostUnreachable),
    streams(3, 11, Error::NetworkUnreachable),
    streams(3, 12, Error::HostUnreachable),
    all(3, 13, Error::HostUnreachable),
    all(3, 14, Error::HostUnreachable),
    all(3, 15, Error::HostUnreachable),
    nobody(3, 16),
    nobody(3, 17),
    nobody(4, 0),
    nobody(5, 0),
    nobody(5, 1),
    streams(11, 0, Error::HostUnreachable),
    nobody(11, 1),
    streams(11, 2, Error::HostUnreachable),
    all(12, 0, Error::ProtocolError),
    all(12, 1, Error::ProtocolError),
    all(12, 2, Error::ProtocolError),
    all(12, 5, Error::ProtocolError),
    nobody(0, 0),
    nobody(13, 0),
    nobody(30, 0),
];

const V6: &[Row] = &[
    streams(1, 0, Error::NetworkUnreachable),
    all(1, 1, Error::PermissionDenied),
    streams(1, 2, Error::HostUnreachable),
    streams(1, 3, Error::HostUnreachable),
    all(1, 4, Error::ConnectionRefused),
    all(1, 5, Error::PermissionDenied),
    all(1, 6, Error::PermissionDenied),
    all(1, 7, Error::ProtocolError),
    all(1, 8, Error::ProtocolError),
    (2, 0, TOO_BIG_V6),
    (2, 5, TOO_BIG_V6),
    streams(3, 0, Error::HostUnreachable),
    streams(3, 1, Error::HostUnreachable),
    streams(3, 5, Error::HostUnreachable),
    all(4, 0, Error::ProtocolError),
    all(4, 1, Error::ProtocolError),
    all(4, 2, Error::ProtocolError),
    all(4, 4, Error::ProtocolError),
    streams(5, 0, Error::ProtocolError),
    streams(100, 0, Error::ProtocolError),
    streams(127, 0, Error::ProtocolError),
];

/// An MTU that is valid in both families.
const MTU: u32 = 1280;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    SynSent,
    Established,
    Udp,
    Echo,
}

/// A socket of the stack that has just sent a packet.
struct Sender {
    peer: RawPeer,
    domain: Domain,
    socket: Descriptor,
}

impl Sender {
    fn new(domain: Domain, of: Of) -> Sender {
        let mut peer = RawPeer::new(false, Config::default(), 5);
        let (kind, port) = match of {
            Of::SynSent | Of::Established => (SocketKind::Stream, 80),
            Of::Udp => (SocketKind::Datagram, 80),
            Of::Echo => (SocketKind::Echo, 0),
        };
        let socket = peer.stack.socket(domain, kind).unwrap();
        let remote = peer.packet(domain).src;
        let _ = peer.stack.connect(peer.now, socket, (remote, port));
        peer.settle();
        match of {
            Of::SynSent => {}
            Of::Established => {
                let syn = peer.take_segments().remove(0);
                let syn_ack = TcpSegment {
                    seq: 9_000,
                    ack: syn.seq.wrapping_add(1),
                    flags: TcpSegment::SYN | TcpSegment::ACK,
                    ..TcpSegment::new(syn.dst_port, syn.src_port)
                };
                peer.send_segment(domain, &syn_ack);
                let _ = peer.take_sent();
                peer.stack.send(peer.now, socket, b"hello").unwrap();
            }
            Of::Udp => {
                peer.stack.send(peer.now, socket, b"hello").unwrap();
            }
            Of::Echo => {
                let request = if domain == Domain::V4 { 8 } else { 128 };
                peer.stack.send(peer.now, socket, &[request, 0, 0, 0, 0, 0, 0, 1, 7, 7]).unwrap();
            }
        }
        peer.settle();
        Sender { peer, domain, socket }
    }

    /// Sends this error about the packet. Returns SO_ERROR.
    fn told(&mut self, kind: u8, code: u8) -> Option<Error> {
        let packet = self.peer.take_sent().pop().expect("it has sent a packet");
        let header_len = if self.domain == Domain::V4 { 20 } else { 40 };
        let about = &packet[..packet.len().min(header_len + 20)];
        let is_too_big = (kind, code) == (3, 4) && self.domain == Domain::V4;
        let rest = if is_too_big || (kind == 2 && self.domain == Domain::V6) { MTU } else { 0 };
        let message = [&rest.to_be_bytes(), about].concat();
        let to_stack: PacketBuilder = self.peer.packet(self.domain);
        self.peer.send_packet(&to_stack.icmp(kind, code, &message));
        self.peer.stack.take_error(self.socket).unwrap()
    }
}

#[test]
fn each_icmp_error_is_told_as_linux_tells_it() {
    for (domain, table) in [(Domain::V4, V4), (Domain::V6, V6)] {
        for &(kind, code, expected) in table {
            for (of, expected) in [Of::SynSent, Of::Established, Of::Udp, Of::Echo].into_iter().zip(expected)
            {
                let mut sender = Sender::new(domain, of);
                assert_eq!(sender.told(kind, code), expected, "{domain:?} type {kind} code {code}, {of:?}");
                assert_eq!(sender.peer.stack.take_error(sender.socket), Ok(None), "once");
            }
        }
    }
}

/// Also measured: a socket that is not connected gets no error.
#[test]
fn a_socket_without_a_peer_is_told_nothing() {
    for domain in [Domain::V4, Domain::V6] {
        let mut peer = RawPeer::new(false, Config::default(), 5);
        let socket = peer.stack.socket(domain, SocketKind::Datagram).unwrap();
        let remote = peer.packet(domain).src;
        peer.stack.send_to(peer.now, socket, b"hello", (remote, 80)).unwrap();
        peer.settle();
        let mut sender = Sender { peer, domain, socket };
        let (kind, code) = if domain == Domain::V4 { (3, 3) } else { (1, 4) };
        assert_eq!(sender.told(kind, code), None);
    }
}
