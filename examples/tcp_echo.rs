//! A TCP echo server with a thread for each connection, and a client that tests it.
//!
//! `cargo run -p portolan-examples --example tcp_echo`

use std::io::{self, Read, Write};

use portolan_examples::two_hosts;
use portolan_runtime::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let (left, right) = two_hosts()?;
    let listener = TcpListener::bind(&left, ([10, 0, 0, 1], 7))?;
    println!("listening on {}", listener.local_addr()?);
    let accepting = std::thread::spawn({
        let listener = listener.try_clone()?;
        move || serve(&listener)
    });

    let clients: Vec<_> = (1..=3)
        .map(|number| {
            let stream = TcpStream::connect(&right, ([10, 0, 0, 1], 7))?;
            Ok(std::thread::spawn(move || converse(stream, number)))
        })
        .collect::<io::Result<_>>()?;
    for client in clients {
        println!("{}", client.join().expect("a client does not panic")?);
    }

    // This ends the thread that waits in `accept`.
    listener.close()?;
    accepting.join().expect("the server does not panic");
    Ok(())
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(std::thread::spawn(move || echo(stream))),
            Err(error) => return println!("the server ends: {error}"),
        }
    }
}

/// Sends back everything, until the peer ends its half.
fn echo(stream: TcpStream) -> io::Result<u64> {
    // Reading and writing go through a shared reference, as with std.
    io::copy(&mut &stream, &mut &stream)
}

fn converse(mut stream: TcpStream, number: u32) -> io::Result<String> {
    let mut answers = String::new();
    for word in ["one", "two", "three"] {
        stream.write_all(word.as_bytes())?;
        let mut answer = vec![0; word.len()];
        stream.read_exact(&mut answer)?;
        answers.push_str(&format!(" {}", String::from_utf8_lossy(&answer)));
    }
    Ok(format!("client {number} at {} heard:{answers}", stream.local_addr()?))
}
