//! Fetches a page over HTTP/1.0 from a server of a dozen lines.
//!
//! `cargo run -p portolan-examples --example http_get`

use std::io::{self, BufRead, BufReader, Read, Write};

use portolan_examples::two_hosts;
use portolan_runtime::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let (left, right) = two_hosts()?;
    let listener = TcpListener::bind(&left, ([10, 0, 0, 1], 80))?;
    let serving = std::thread::spawn(move || serve(&listener));

    let page = get(TcpStream::connect(&right, ([10, 0, 0, 1], 80))?, "/status")?;
    println!("{page}");
    serving.join().expect("the server does not panic")
}

/// The body of the page at `path`.
fn get(mut stream: TcpStream, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", stream.peer_addr()?.ip())?;
    let mut response = BufReader::new(stream);

    let mut status = String::new();
    response.read_line(&mut status)?;
    if status.split_ascii_whitespace().nth(1) != Some("200") {
        return Err(io::Error::other(format!("the server says {}", status.trim_end())));
    }
    // The header ends with an empty line, and the body with the connection.
    for line in response.by_ref().lines() {
        if line?.is_empty() {
            break;
        }
    }
    let mut body = String::new();
    response.read_to_string(&mut body)?;
    Ok(body)
}

/// Answers one request.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let (stream, peer) = listener.accept()?;
    let mut request = BufReader::new(&stream).lines();
    let request_line = request.next().transpose()?.unwrap_or_default();
    // The whole request is read, because closing a connection with unread data resets it.
    for line in request {
        if line?.is_empty() {
            break;
        }
    }
    let stats = stream.handle().stats();
    let body = format!(
        "You are {peer} and asked: {request_line}\nThis stack has seen {} frames and {} TCP segments.",
        stats.link.frames_in, stats.tcp.in_segs
    );
    write!(
        &stream,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
