//! The network of a virtual machine: a stack at the Unix socket that QEMU connects to. It has
//! 10.0.2.2 and greets each client of port 80. A second stack plays the guest.
//!
//! `cargo run -p portolan-examples --example qemu_nic`
//!
//! With a path the example waits for a real guest, until that ends:
//! `... --example qemu_nic -- /tmp/guest.sock`, and then
//! `qemu-system-x86_64 ... -netdev stream,id=n0,addr.type=unix,addr.path=/tmp/guest.sock -device
//! virtio-net-pci,netdev=n0`. The guest gives itself 10.0.2.15/24, and runs `curl 10.0.2.2`.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use portolan::{Config, MacAddr, Medium, NetworkEvent};
use portolan_runtime::device::StreamDevice;
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

const MTU: usize = 1500;

/// A stack whose frames cross this socket, each behind its length in four bytes.
fn host(socket: UnixStream, last: u8) -> Result<Runtime, Box<dyn Error>> {
    let medium = Medium::Ethernet(MacAddr([0x52, 0x54, 0, 0x12, 0x34, last]));
    let device = StreamDevice::new(socket, medium, MTU)?.name("guest");
    let mut config = Config::default();
    // There are two hosts on this link, and we chose both addresses.
    config.neighbor.duplicate_address_probes = 0;
    let address = format!("10.0.2.{last}/24").parse()?;
    Ok(Builder::new().config(config).interface(device, [address]).start()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (ours, guest) = match std::env::args().nth(1) {
        Some(path) => (UnixListener::bind(path)?.accept()?.0, None),
        None => {
            let (ours, guests) = UnixStream::pair()?;
            (ours, Some(std::thread::spawn(|| run_guest(guests).map_err(|error| error.to_string()))))
        }
    };
    let runtime = host(ours, 2)?;
    let listener = TcpListener::bind(&runtime, ([10, 0, 2, 2], 80))?;
    let server = std::thread::spawn(move || greet(&listener).map_err(|error| error.to_string()));
    // When the guest ends, its end of the socket is closed, and the link is down.
    while !matches!(runtime.handle().wait_network_event(None)?, Some(NetworkEvent::LinkDown { .. })) {}
    println!("host: the guest has ended");
    // This ends the server, too.
    drop(runtime);
    server.join().expect("the server does not panic")?;
    if let Some(guest) = guest {
        guest.join().expect("the guest does not panic")?;
    }
    Ok(())
}

/// Greets each client, until the stack ends.
fn greet(listener: &TcpListener) -> Result<(), Box<dyn Error>> {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { break };
        let peer = stream.peer_addr()?;
        let mut request = [0; 1024];
        let len = stream.read(&mut request)?;
        println!("host: {peer} sends {:?}", String::from_utf8_lossy(&request[..len]).lines().next());
        write!(stream, "HTTP/1.0 200 OK\r\n\r\nhello, {}\n", peer.ip())?;
    }
    Ok(())
}

fn run_guest(socket: UnixStream) -> Result<(), Box<dyn Error>> {
    let runtime = host(socket, 15)?;
    // Until the host listens, it refuses.
    let mut stream = loop {
        match TcpStream::connect(&runtime, ([10, 0, 2, 2], 80)) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            connected => break connected?,
        }
    };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("guest: {}", answer.lines().last().unwrap_or_default());
    Ok(())
}
