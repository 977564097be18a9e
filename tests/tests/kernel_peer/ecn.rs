//! Explicit congestion notification with the kernel as the peer.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use portolan_tests::namespace::{STACK4, beside_portolan, page, stack_at, tool};

use crate::tcp::{connect, echo_through, round_trip};

const ECHO: u16 = 7;

/// Linux's `tcp_ecn`: 1 asks for RFC 3168 with every SYN.
fn ask_for_ecn() {
    fs::write("/proc/sys/net/ipv4/tcp_ecn", "1").expect("a namespace's own setting");
}

/// What the kernel says of the connection to this port.
fn kernel_view(connection: &TcpStream) -> String {
    let port = connection.local_addr().expect("connected").port();
    tool(&format!("ss --tcp --info --options --no-header sport = :{port}"))
}

#[test]
fn the_kernel_asks_and_gets_ecn() {
    beside_portolan("ecn::the_kernel_asks_and_gets_ecn", &[], || {
        for (asks, addr) in [(false, stack_at(ECHO)[0]), (true, stack_at(ECHO)[0]), (true, stack_at(ECHO)[1])]
        {
            if asks {
                ask_for_ecn();
            }
            let mut connection = connect(addr).expect("the echo service");
            round_trip(&mut connection, 1);
            round_trip(&mut connection, 2);
            let view = kernel_view(&connection);
            let words: Vec<&str> = view.split_whitespace().collect();
            // `ecnseen`: our data was ECN-capable.
            assert_eq!(words.contains(&"ecn"), asks, "{view}");
            assert_eq!(words.contains(&"ecnseen"), asks, "{view}");
        }
        echo_through(SocketAddr::new(STACK4, ECHO), 8 << 20);
        let status = page("/");
        assert!(status.contains("tcp_ecn_connections"), "{status}");
    });
}
