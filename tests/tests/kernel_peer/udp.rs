//! UDP with the kernel as the peer.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use portolan_tests::namespace::{beside_portolan, stack_at};
use portolan_tests::pattern::Pattern;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;

/// Empty datagrams, datagrams of one frame, and others up to the largest, which is sent in 45
/// fragments.
#[test]
fn echo_returns_datagrams_of_every_size() {
    beside_portolan("udp::echo_returns_datagrams_of_every_size", &[], || {
        for addr in stack_at(ECHO) {
            let socket = connected_to(addr);
            for len in [0, 1, 3, 512, 1452, 1472, 1473, 8000, 65_487, 65_507] {
                // Over IPv6 the header does not count towards the 65,535 bytes, and the kernel
                // allows up to that length.
                let sent = Pattern::new(len as u64).take(len);
                socket.send(&sent).unwrap_or_else(|error| panic!("{addr}, {len} bytes: {error}"));
                let mut back = vec![0; 65_536];
                let got =
                    socket.recv(&mut back).unwrap_or_else(|error| panic!("{addr}, {len} bytes: {error}"));
                assert_eq!(back[..got], sent, "{addr}, {len} bytes");
            }
        }
    });
}

#[test]
fn a_closed_port_is_unreachable() {
    beside_portolan("udp::a_closed_port_is_unreachable", &[], || {
        for addr in stack_at(4000) {
            let socket = connected_to(addr);
            socket.send(b"anybody?").expect("sent");
            let error = socket.recv(&mut [0; 16]).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{addr}: {error}");
        }
    });
}

/// Many peers at once: each gets its own datagrams back.
#[test]
fn echo_serves_many_peers() {
    beside_portolan("udp::echo_serves_many_peers", &[], || {
        for addr in stack_at(ECHO) {
            let sockets: Vec<UdpSocket> = (0..200).map(|_| connected_to(addr)).collect();
            for (index, socket) in sockets.iter().enumerate() {
                socket.send(&Pattern::new(index as u64).take(100)).expect("sent");
            }
            for (index, socket) in sockets.iter().enumerate() {
                let mut back = [0; 200];
                let got = socket.recv(&mut back).unwrap_or_else(|error| panic!("{addr}, {index}: {error}"));
                assert_eq!(got, 100);
                Pattern::new(index as u64).check(&back[..got]);
            }
        }
    });
}

#[test]
fn discard_answers_nothing() {
    beside_portolan("udp::discard_answers_nothing", &[], || {
        for addr in stack_at(DISCARD) {
            let socket = connected_to(addr);
            socket.set_read_timeout(Some(Duration::from_millis(300))).expect("our own socket");
            socket.send(b"into the void").expect("sent");
            let error = socket.recv(&mut [0; 16]).expect_err("an answer from discard");
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{addr}: {error}");
        }
    });
}

fn connected_to(addr: SocketAddr) -> UdpSocket {
    let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a free port");
    socket.connect(addr).expect("a route");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("our own socket");
    socket
}
