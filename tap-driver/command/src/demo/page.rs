//! Fetches a page over HTTP through the kernel.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes that are read; no page here has as many.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// A page that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The status line after the version: `200 OK`.
    pub(crate) status: String,
    pub(crate) body: String,
}

/// Requests a path and reads the whole response.
pub(crate) fn fetch(server: SocketAddr, path: &str) -> io::Result<Page> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    parse(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not an HTTP response"))
}

fn parse(answer: &str) -> Option<Page> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.1 ")?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse::<usize>().ok()?;
    (body.len() == length).then(|| Page { status: status.to_owned(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_only_whole() {
        let page = parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").expect("an answer");
        assert_eq!((page.status.as_str(), page.body.as_str()), ("200 OK", "hello"));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"), None);
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\nhello"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
