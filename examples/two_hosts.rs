//! Two hosts in one program, joined by a wire in memory, which exchange data over blocking sockets
//! in two threads.
//!
//! `cargo run -p portolan-examples --example two_hosts`

use std::error::Error;
use std::io::{Read, Write};
use std::net::Shutdown;

use portolan_runtime::device::{Impair, memory_pair};
use portolan_runtime::{Builder, TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn Error>> {
    let (left, right) = memory_pair()?;
    // One end of the wire loses and delays frames; TCP recovers.
    let right = Impair::new("loss=1%,delay=1ms,seed=7".parse()?, right);
    let counters = right.counters();

    // `start` returns when the address can be used, that is, when no other host on the link has
    // claimed it.
    let server = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
    let client = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;

    let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 9000))?;
    let serving = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept()?;
        println!("server: {peer} connected");
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        let sum = received.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        writeln!(stream, "{} bytes, their sum is {sum}", received.len())
    });

    let mut stream = TcpStream::connect(&client, ([10, 0, 0, 1], 9000))?;
    let data: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    stream.write_all(&data)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("client: the server says: {}", answer.trim_end());
    serving.join().expect("the server does not panic")?;

    let lost = counters.outgoing().lost + counters.incoming().lost;
    println!(
        "{lost} frames were lost on the way, {} segments sent again",
        client.handle().stats().tcp.retrans_segs
    );
    let sum = data.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    assert_eq!(answer.trim_end(), format!("{} bytes, their sum is {sum}", data.len()));
    Ok(())
}
