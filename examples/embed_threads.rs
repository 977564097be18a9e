//! A server inside a program that is written with threads: one accepts connections, and each
//! connection has one. At the end it finishes what it has begun, and then stops the stack.
//! `embed_tokio` is the same server in tasks.
//!
//! `cargo run -p portolan-examples --example embed_threads`

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use portolan_examples::two_hosts;
use portolan_runtime::{TcpListener, TcpStream};

const PORT: u16 = 7000;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_millis(300);

fn main() -> io::Result<()> {
    let (server, client) = two_hosts()?;
    let listener = TcpListener::bind(&server, ([10, 0, 0, 1], PORT))?;
    let accepting = thread::spawn({
        let listener = listener.try_clone()?;
        move || accept(&listener)
    });

    for text in ["one\ntwo\n", "three\n"] {
        println!("the server answers {:?}", ask(TcpStream::connect(&client, ([10, 0, 0, 1], PORT))?, text)?);
    }
    // This client says nothing, so the server gives it up.
    let mut silent = TcpStream::connect(&client, ([10, 0, 0, 1], PORT))?;
    silent.read_to_end(&mut Vec::new())?;

    // The end, in order: accept no more, let the connections end, and stop the stack when the peers
    // have acknowledged everything that was written, or after five seconds.
    listener.close()?;
    let served = accepting.join().expect("the thread does not panic");
    let undelivered = server.shutdown(Duration::from_secs(5))?;
    println!("{served} connections were served; {undelivered}");
    Ok(())
}

/// Accepts until the listener is closed. Returns the number of connections when all have ended.
fn accept(listener: &TcpListener) -> usize {
    let mut handlers = Vec::new();
    while let Ok((stream, peer)) = listener.accept() {
        handlers.push(thread::spawn(move || match shout(&stream) {
            Ok(lines) => println!("{}: {lines} lines", peer.ip()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => println!("{}: too slow", peer.ip()),
            Err(error) => println!("{}: {error}", peer.ip()),
        }));
    }
    let count = handlers.len();
    for handler in handlers {
        handler.join().expect("a handler does not panic");
    }
    count
}

/// Sends each line back in capital letters, until the client ends its half.
fn shout(mut stream: &TcpStream) -> io::Result<usize> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = 0;
    // `&TcpStream` reads and writes, so both directions can be used at once.
    for line in BufReader::new(stream).lines() {
        writeln!(stream, "{}", line?.to_uppercase())?;
        lines += 1;
    }
    Ok(lines)
}

/// Sends a text, and returns the whole answer.
fn ask(mut stream: TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
