//! A server inside a program that is written with tasks: one accepts connections, and each
//! connection has one. At the end it finishes what it has begun, and then stops the stack.
//! `embed_threads` is the same server in threads.
//!
//! `cargo run -p portolan-examples --example embed_tokio`

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use portolan_examples::two_hosts;
use portolan_runtime::task::{TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PORT: u16 = 7000;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_millis(300);
/// Tells the server to accept no more connections.
static STOP: Notify = Notify::const_new();

fn main() -> io::Result<()> {
    // The stack has a thread of its own, which wakes tasks on any executor.
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    executor.block_on(run())
}

async fn run() -> io::Result<()> {
    let (server, client) = two_hosts()?;
    let listener = TcpListener::bind(&server, ([10, 0, 0, 1], PORT)).await?;
    let accepting = tokio::spawn(accept(listener));

    for text in ["one\ntwo\n", "three\n"] {
        let stream = TcpStream::connect(&client, ([10, 0, 0, 1], PORT)).await?;
        println!("the server answers {:?}", ask(stream, text).await?);
    }
    // This client says nothing, so the server gives it up.
    let mut silent = TcpStream::connect(&client, ([10, 0, 0, 1], PORT)).await?;
    silent.read_to_end(&mut Vec::new()).await?;

    // The end, in order: accept no more, let the connections end, and stop the stack when the peers
    // have acknowledged everything that was written, or after five seconds. That call blocks, so it
    // has a thread of its own.
    STOP.notify_one();
    let served = accepting.await?;
    let stopping = tokio::task::spawn_blocking(move || server.shutdown(Duration::from_secs(5)));
    println!("{served} connections were served; {}", stopping.await??);
    Ok(())
}

/// Accepts until it is told to stop. Returns the number of connections when all have ended.
async fn accept(listener: TcpListener) -> usize {
    let mut handlers = JoinSet::new();
    let accept_all = async {
        // Calls are cancel safe: an `accept` that is dropped has taken no connection.
        while let Ok((stream, peer)) = listener.accept().await {
            handlers.spawn(serve(stream, peer));
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = STOP.notified() => {}
    }
    drop(listener);
    handlers.join_all().await.len()
}

async fn serve(stream: TcpStream, peer: SocketAddr) {
    match shout(stream).await {
        Ok(lines) => println!("{}: {lines} lines", peer.ip()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => println!("{}: too slow", peer.ip()),
        Err(error) => println!("{}: {error}", peer.ip()),
    }
}

/// Sends each line back in capital letters, until the client ends its half.
async fn shout(mut stream: TcpStream) -> io::Result<usize> {
    let (read, mut write) = stream.split();
    let mut words = BufReader::new(read).lines();
    let mut lines = 0;
    while let Some(line) = timeout(PATIENCE, words.next_line()).await?? {
        timeout(PATIENCE, write.write_all(format!("{}\n", line.to_uppercase()).as_bytes())).await??;
        lines += 1;
    }
    Ok(lines)
}

/// Sends a text, and returns the whole answer.
async fn ask(mut stream: TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
