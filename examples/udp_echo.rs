//! A UDP echo server, and a client that tests it over IPv4 and IPv6.
//!
//! `cargo run -p portolan-examples --example udp_echo`

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portolan_examples::two_hosts;
use portolan_runtime::UdpSocket;

fn main() -> io::Result<()> {
    let (left, right) = two_hosts()?;

    // The unspecified IPv6 address takes both families; IPv4 peers appear as ::ffff:a.b.c.d.
    let server = UdpSocket::bind(&left, (Ipv6Addr::UNSPECIFIED, 7))?;
    std::thread::spawn(move || -> io::Result<()> {
        let mut buf = vec![0; 65_535];
        loop {
            let (len, sender) = server.recv_from(&mut buf)?;
            println!("server: {len} bytes from {sender}");
            server.send_to(&buf[..len], sender)?;
        }
    });

    for server_addr in ["10.0.0.1", "fd00::1"] {
        let server_addr: IpAddr = server_addr.parse().expect("an address");
        let any: SocketAddr = match server_addr {
            IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let client = UdpSocket::bind(&right, any)?;
        client.connect((server_addr, 7))?;
        client.set_read_timeout(Some(Duration::from_secs(5)))?;
        // The last datagram is larger than a frame, so it is sent in fragments.
        for len in [5, 1000, 8000] {
            let data = vec![b'x'; len];
            client.send(&data)?;
            let mut answer = vec![0; 65_535];
            let answer_len = client.recv(&mut answer)?;
            assert_eq!(answer[..answer_len], data);
            println!("client: {answer_len} bytes came back from {server_addr}");
        }
    }

    // Nobody listens on port 9, and the other host reports that.
    let client = UdpSocket::bind(&right, ([0, 0, 0, 0], 0))?;
    client.connect(([10, 0, 0, 1], 9))?;
    client.send(b"anybody there?")?;
    println!("port 9: {}", client.recv(&mut [0; 100]).expect_err("nobody can have answered"));
    Ok(())
}
