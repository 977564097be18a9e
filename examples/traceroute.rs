//! Shows the routers on the way to a host, as the command `traceroute` does. Each probe may pass
//! one router more than the one before. The router at which it expires says so by ICMP, and a raw
//! socket receives that.
//!
//! `cargo run -p portolan-examples --example traceroute`

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use portolan::{Cidr, Config, Domain, Forwarding, IcmpFilter, InterfaceConfig, Route, Stack};
use portolan_runtime::device::{Device, MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Handle, RawSocket, Runtime, UdpSocket};

const ICMP: u8 = 1;
const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
/// The first of the ports that the probes go to. Nobody listens there.
const PORT: u16 = 33434;

fn main() -> Result<(), Box<dyn Error>> {
    // Host 10.0.1.2, two routers, and the target 10.0.3.2, with a link between each two.
    let [(near, wire_1), (left, right), (wire_3, far)] = [memory_pair()?, memory_pair()?, memory_pair()?];
    let host = end(near, "10.0.1.2/24", "10.0.1.1")?;
    let _first = router([(wire_1, "10.0.1.1/24"), (left, "10.0.2.1/24")], ("10.0.3.0/24", "10.0.2.2"))?;
    let _second = router([(right, "10.0.2.2/24"), (wire_3, "10.0.3.1/24")], ("10.0.1.0/24", "10.0.2.1"))?;
    let _target = end(far, "10.0.3.2/24", "10.0.3.1")?;
    traceroute(host.handle(), Ipv4Addr::new(10, 0, 3, 2))
}

fn traceroute(handle: &Handle, target: Ipv4Addr) -> Result<(), Box<dyn Error>> {
    let errors = RawSocket::new(handle, Domain::V4, ICMP)?;
    errors.set_icmp_filter(IcmpFilter::BLOCK_ALL.pass(TIME_EXCEEDED).pass(UNREACHABLE))?;
    errors.set_read_timeout(Some(Duration::from_secs(1)))?;
    let probes = UdpSocket::bind(handle, (Ipv4Addr::UNSPECIFIED, 0))?;
    println!("traceroute to {target}");
    for ttl in 1..=30 {
        let (port, sent_at) = (PORT + ttl, Instant::now());
        probes.set_ttl(ttl.into())?;
        probes.send_to(b"how far is it?", (target, port))?;
        let mut packet = [0; 1500];
        let answer = loop {
            match errors.recv_from(&mut packet) {
                Ok((len, from)) => match about_port(&packet[..len]) {
                    Some((kind, about)) if about == port => break Some((kind, from.ip())),
                    // About a packet of somebody else.
                    _ => {}
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break None,
                Err(error) => return Err(error.into()),
            }
        };
        match answer {
            Some((kind, from)) => {
                println!("{ttl:2}  {from}  {} us", sent_at.elapsed().as_micros());
                if kind == UNREACHABLE {
                    return Ok(()); // this is the target, or nobody knows the way
                }
            }
            None => println!("{ttl:2}  *"),
        }
    }
    Ok(())
}

/// The type of an ICMP error, and the destination port of the UDP datagram that it is about.
fn about_port(packet: &[u8]) -> Option<(u8, u16)> {
    let behind_header = |packet: &'_ [u8]| Some(usize::from(packet.first()? & 0xf) * 4);
    let icmp = packet.get(behind_header(packet)?..)?;
    // The error has a header of 8 bytes, and then the beginning of the packet.
    let quoted = icmp.get(8..)?;
    let udp = quoted.get(behind_header(quoted)?..)?;
    Some((*icmp.first()?, u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?])))
}

/// A host at one end of the way.
fn end(device: MemoryDevice, address: &str, gateway: &str) -> Result<Runtime, Box<dyn Error>> {
    let builder = Builder::new().config(config()).interface(device, [address.parse()?]);
    Ok(builder.gateway(gateway.parse()?).start()?)
}

/// A router between two links, which reaches a third one through its neighbour.
fn router(
    links: [(MemoryDevice, &str); 2],
    (beyond, neighbour): (&str, &str),
) -> Result<Runtime, Box<dyn Error>> {
    let now = portolan_runtime::Clock::now();
    let mut stack = Stack::new(config(), [7; 32], now);
    let mut devices: Vec<(_, Box<dyn Device>)> = Vec::new();
    for (device, address) in links {
        let interface = InterfaceConfig::new(device.medium()).mtu(device.mtu()).forwarding(Forwarding::ALL);
        let iface = stack.add_interface(now, interface.address(address.parse()?))?;
        devices.push((iface, Box::new(device)));
    }
    let (beyond, neighbour): (Cidr, IpAddr) = (beyond.parse()?, neighbour.parse()?);
    let via = stack
        .interfaces()
        .into_iter()
        .find(|link| link.addresses.iter().any(|(cidr, _)| cidr.contains(neighbour)));
    stack.add_route(Route::new(beyond, via.ok_or("the neighbour is on no link")?.id).via(neighbour))?;
    Ok(Runtime::start(stack, devices)?)
}

/// We chose all addresses, so there is no need to look for other hosts with the same.
fn config() -> Config {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config
}
