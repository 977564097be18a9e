//! Pings another host over IPv4 and IPv6.
//!
//! `cargo run -p portolan-examples --example ping`

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_examples::two_hosts;
use portolan_runtime::{EchoSocket, Handle};

fn main() -> Result<(), Box<dyn Error>> {
    let (_left, right) = two_hosts()?;
    for addr in ["10.0.0.1", "fd00::1"] {
        ping(right.handle(), addr.parse()?, 3)?;
    }
    Ok(())
}

fn ping(handle: &Handle, addr: IpAddr, count: u16) -> io::Result<()> {
    let socket = EchoSocket::for_addr(handle, addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let payload = [0x2a; 56];
    println!("{} bytes to {addr}", payload.len());
    let mut received = 0;
    for sequence in 1..=count {
        let sent_at = Instant::now();
        socket.send_request(addr, sequence, &payload)?;
        match socket.recv_reply() {
            Ok(reply) if reply.sequence == sequence && reply.payload[..] == payload => {
                received += 1;
                let micros = sent_at.elapsed().as_micros();
                println!(
                    "{} bytes from {}: seq={sequence} time={micros} us",
                    reply.payload.len(),
                    reply.from
                );
            }
            Ok(reply) => println!("a late reply to seq={}", reply.sequence),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => println!("seq={sequence}: no answer"),
            Err(error) => return Err(error),
        }
    }
    println!("{count} sent, {received} received");
    Ok(())
}
