//! A router with three interfaces, and a host on each of its links. The hosts talk to one another
//! through the router.
//!
//! `cargo run -p portolan-examples --example router`

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan::{Config, Forwarding, Instant, InterfaceConfig, Stack};
use portolan_runtime::device::{Device, MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpStream, UdpSocket};

const PORT: u16 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut router = Stack::new(config(), [7; 32], Instant::ZERO);
    let mut devices: Vec<(_, Box<dyn Device>)> = Vec::new();
    let mut hosts = Vec::new();
    for link in 1..=3 {
        let (port, wire) = memory_pair()?;
        // Packets for other hosts that come in through this interface are forwarded. The routes to
        // the three links come with the addresses.
        let interface = InterfaceConfig::new(port.medium())
            .mtu(port.mtu())
            .address(format!("10.0.{link}.1/24").parse()?)
            .address(format!("fd0{link}::1/64").parse()?)
            .forwarding(Forwarding::ALL);
        devices.push((router.add_interface(Instant::ZERO, interface)?, Box::new(port)));
        hosts.push((link, wire));
    }
    let router = Runtime::start(router, devices)?;
    let hosts: Vec<Runtime> =
        hosts.into_iter().map(|(link, wire)| host(link, wire)).collect::<Result<_, _>>()?;

    // The host on the second link answers everybody.
    for address in ["10.0.2.2", "fd02::2"] {
        let server = UdpSocket::bind(&hosts[1], SocketAddr::new(address.parse()?, PORT))?;
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((len, client)) = server.recv_from(&mut buffer) {
                let question = String::from_utf8_lossy(&buffer[..len]).into_owned();
                let _ = server.send_to(format!("answers {client}: {question}").as_bytes(), client);
            }
        });
    }
    ask(&hosts[0], "10.0.2.2", "where are you?")?;
    ask(&hosts[2], "fd02::2", "and you?")?;
    // The router says that it has no route to this address.
    match TcpStream::connect(&hosts[0], ([10, 9, 9, 9], PORT)) {
        Err(error) => println!("10.9.9.9: {error}"),
        Ok(_) => return Err("nobody has this address".into()),
    }
    println!("the router has forwarded {} packets", router.handle().stats().ip.forw_datagrams);
    Ok(())
}

/// A host on a link of the router, which is its gateway.
fn host(link: u8, device: MemoryDevice) -> Result<Runtime, Box<dyn Error>> {
    let addresses = [format!("10.0.{link}.2/24").parse()?, format!("fd0{link}::2/64").parse()?];
    let builder = Builder::new().config(config()).interface(device, addresses);
    let gateways = [format!("10.0.{link}.1").parse()?, format!("fd0{link}::1").parse()?];
    Ok(gateways.into_iter().fold(builder, Builder::gateway).start()?)
}

/// Sends a datagram, and prints the answer.
fn ask(host: &Runtime, server: &str, question: &str) -> std::io::Result<()> {
    let server: IpAddr = server.parse().expect("an address");
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(host, any.parse::<SocketAddr>().expect("an address"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.connect((server, PORT))?;
    socket.send(question.as_bytes())?;
    let mut buffer = [0; 128];
    let len = socket.recv(&mut buffer)?;
    println!("{server} {}", String::from_utf8_lossy(&buffer[..len]));
    Ok(())
}

/// Each wire has two ends, so there is no need to look for other hosts with the same address.
fn config() -> Config {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config
}
