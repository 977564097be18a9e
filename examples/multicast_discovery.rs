//! Finds services on a link without knowing an address: the question goes to a multicast group,
//! and every service that it concerns answers the host that asked.
//!
//! `cargo run -p portolan-examples --example multicast_discovery`

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portolan::SocketOption;
use portolan_examples::two_hosts;
use portolan_runtime::{Runtime, UdpSocket};

/// 239.255.0.0/16 is for groups of a site (RFC 2365); ff02::/16 for those of a link (RFC 4291).
const GROUPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(239, 255, 7, 7)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x707, 0x707)),
];
const PORT: u16 = 7070;

fn main() -> io::Result<()> {
    let (services, client) = two_hosts()?;
    for group in GROUPS {
        for (name, port) in [("printer", 631), ("files", 2049), ("clock", 123)] {
            // It is a member of the group before anybody asks.
            let socket = member(&services, group)?;
            std::thread::spawn(move || answer(&socket, name, port));
        }
    }
    for group in GROUPS {
        for question in ["*", "clock"] {
            println!("{question:?} to {group}:");
            for found in ask(&client, group, question)? {
                println!("    {found}");
            }
        }
    }
    Ok(())
}

/// A socket that receives what is sent to the group. Several sockets of a host can share its port:
/// each of them gets every datagram to the group.
fn member(host: &Runtime, group: IpAddr) -> io::Result<UdpSocket> {
    // Bound to the group, the socket receives nothing else.
    let socket = UdpSocket::bind_with(host, (group, PORT), &[SocketOption::ReuseAddr(true)])?;
    match group {
        // On the interface that has a route to the group, and on any.
        IpAddr::V4(group) => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?,
        IpAddr::V6(group) => socket.join_multicast_v6(&group, 0)?,
    }
    Ok(socket)
}

/// Answers questions for this service, or for all, until the stack ends.
fn answer(socket: &UdpSocket, name: &str, port: u16) -> io::Result<()> {
    // A socket that is bound to a group can send from no address of its own.
    let any = if socket.local_addr()?.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let answers = UdpSocket::bind(&socket.handle(), any.parse::<SocketAddr>().expect("an address"))?;
    let mut question = [0; 64];
    loop {
        let (len, client) = socket.recv_from(&mut question)?;
        if matches!(&question[..len], question if question == b"*" || question == name.as_bytes()) {
            answers.send_to(format!("{name} is at port {port}").as_bytes(), client)?;
        }
    }
}

/// Asks, and returns the answers that come until there is none for a while.
fn ask(client: &Runtime, group: IpAddr, question: &str) -> io::Result<BTreeSet<String>> {
    let any =
        if group.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(client, (any, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    // Whoever sends to a group need not join it. By default such a datagram stays on its link.
    socket.send_to(question.as_bytes(), (group, PORT))?;
    let mut found = BTreeSet::new();
    let mut answer = [0; 256];
    loop {
        match socket.recv_from(&mut answer) {
            Ok((len, from)) => {
                found.insert(format!("{}: {}", from.ip(), String::from_utf8_lossy(&answer[..len])));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}
