//! Explicit congestion notification with the kernel as the peer.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use portolan_tests::namespace::{STACK4, beside_portolan, page, stack_at, tool};

use crate::tcp::{connect, echo_through, round_trip};

const ECHO: u16 = 7;

/// Sets Linux's `tcp_ecn` to 1, which requests RFC 3168 with every SYN.
fn ask_for_ecn() {
    fs::write("/proc/sys/net/ipv4/tcp_ecn", "1").expect("a namespace's own setting");
}

/// The kernel's description of the connection to this port.
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
        assert!(status.contains("ecn.connections"), "{status}");
    });
}

/// Both ends send over a network that marks, and both slow down, without losses.
#[test]
fn the_kernel_and_we_heed_each_others_marks() {
    let impair = ["--impair", "mark=5%,delay=2ms,seed=9"];
    beside_portolan("ecn::the_kernel_and_we_heed_each_others_marks", &impair, || {
        ask_for_ecn();
        for addr in stack_at(ECHO) {
            let mut connection = connect(addr).expect("the echo service");
            for seed in 0..100 {
                round_trip(&mut connection, seed);
            }
            // The marks that we reported to the kernel.
            let view = kernel_view(&connection);
            assert!(view.contains("delivered_ce:"), "{view}");
            echo_through(addr, 1 << 20);
        }
        // The marks that the kernel reported to us.
        let status = page("/");
        for counter in ["ecn.ce_received", "ecn.reductions"] {
            assert!(status.contains(counter), "{counter}\n{status}");
        }
        assert!(!status.contains("tcp.retrans_segs"), "{status}");
    });
}
