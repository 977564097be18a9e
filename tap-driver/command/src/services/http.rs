//! A small HTTP/1.1 server for one connection: GET and HEAD of a few resources (RFC 9110, RFC
//! 9112).

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use portolan_runtime::TcpStream;

use super::daytime::http_date;

#[cfg(test)]
mod tests;

/// The longest head of a request in bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// The most fields in the head of a request.
const MAX_FIELDS: usize = 64;
/// The longest body of a request. It is read and discarded, so that the connection can continue.
const MAX_BODY_BYTES: u64 = 64 << 10;
/// The time from the first byte of a request to the end of its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The most requests on one connection.
const MAX_REQUESTS: usize = 1000;

/// For how long, and how much, is read from a peer that still sends after its last answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 256 << 10;

/// The content at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
}

/// Serves a connection until the peer closes it, sends a request that ends it, or lets a read of
/// the stream time out. `resource` returns the content at a path.
///
/// # Errors
///
/// Those of the stream, except for the time-out of a connection without a pending request.
pub(crate) fn serve(
    mut stream: impl Read + Write,
    resource: impl Fn(&str) -> Option<Resource>,
) -> io::Result<()> {
    let mut connection = Connection { received: Vec::new(), started_at: None };
    for _ in 0..MAX_REQUESTS {
        let request = match connection.next_request(&mut stream) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(Refusal::Stream(error)) => return Err(error),
            Err(Refusal::Status(status)) => {
                return stream.write_all(&Response::error(status).encode(Keep::Close, Body::Send));
            }
        };
        let response = respond(&request, &resource);
        let body = if request.method == Method::Head { Body::Omit } else { Body::Send };
        stream.write_all(&response.encode(request.keep, body))?;
        if request.keep == Keep::Close {
            return Ok(());
        }
    }
    Ok(())
}

/// The response on a connection when there are too many.
pub(crate) fn busy() -> Vec<u8> {
    Response::error(Status::Unavailable).encode(Keep::Close, Body::Send)
}

/// Ends a connection in order after its last answer, although the peer may still be sending.
pub(crate) fn finish(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(DRAIN_TIMEOUT))?;
    let begin = Instant::now();
    let mut rest = [0; 4096];
    let mut left = DRAIN_BYTES;
    while left > 0 && begin.elapsed() < DRAIN_TIMEOUT {
        match stream.read(&mut rest) {
            Ok(0) | Err(_) => break,
            Ok(len) => left = left.saturating_sub(len),
        }
    }
    Ok(())
}

fn respond(request: &Request, resource: impl Fn(&str) -> Option<Resource>) -> Response {
    if request.method == Method::Other {
        return Response::error(Status::MethodNotAllowed);
    }
    match resource(&request.path) {
        Some(resource) => Response { status: Status::Ok, resource },
        None => Response::error(Status::NotFound),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Alive,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Send,
    Omit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    method: Method,
    path: String,
    keep: Keep,
    body_len: u64,
}

enum Refusal {
    Stream(io::Error),
    Status(Status),
}

struct Connection {
    /// Bytes that were received and not handled yet: a client may send several requests at once.
    received: Vec<u8>,
    /// When the first byte of the current request was received.
    started_at: Option<Instant>,
}

impl Connection {
    /// Reads the next request and its body. Returns `None` if the peer closed, or was silent for
    /// too long, between two requests.
    fn next_request(&mut self, stream: &mut impl Read) -> Result<Option<Request>, Refusal> {
        self.started_at = (!self.received.is_empty()).then(Instant::now);
        loop {
            if let Some((request, head_len)) = parse_head(&self.received).map_err(Refusal::Status)? {
                self.received.drain(..head_len);
                self.skip_body(stream, request.body_len)?;
                return Ok(Some(request));
            }
            if self.received.len() >= MAX_HEAD_BYTES {
                return Err(Refusal::Status(Status::HeadTooLarge));
            }
            let mut piece = [0; 2048];
            let room = piece.len().min(MAX_HEAD_BYTES - self.received.len());
            match self.receive(stream, &mut piece[..room]) {
                Ok(0) if self.received.is_empty() => return Ok(None),
                Ok(0) => return Err(Refusal::Stream(io::ErrorKind::UnexpectedEof.into())),
                Ok(len) => self.received.extend_from_slice(&piece[..len]),
                Err(Refusal::Status(Status::RequestTimeout)) if self.received.is_empty() => return Ok(None),
                Err(refusal) => return Err(refusal),
            }
        }
    }

    fn skip_body(&mut self, stream: &mut impl Read, body_len: u64) -> Result<(), Refusal> {
        let buffered = self.received.len().min(usize::try_from(body_len).unwrap_or(usize::MAX));
        self.received.drain(..buffered);
        let mut rest = body_len - buffered as u64;
        let mut piece = [0; 2048];
        while rest > 0 {
            let room = piece.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            match self.receive(stream, &mut piece[..room])? {
                0 => return Err(Refusal::Stream(io::ErrorKind::UnexpectedEof.into())),
                len => rest -= len as u64,
            }
        }
        Ok(())
    }

    fn receive(&mut self, stream: &mut impl Read, piece: &mut [u8]) -> Result<usize, Refusal> {
        let started_at = *self.started_at.get_or_insert_with(Instant::now);
        if !self.received.is_empty() && started_at.elapsed() > REQUEST_TIMEOUT {
            return Err(Refusal::Status(Status::RequestTimeout));
        }
        loop {
            return match stream.read(piece) {
                Ok(len) => Ok(len),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        Err(Refusal::Status(Status::RequestTimeout))
                    }
                    _ => Err(Refusal::Stream(error)),
                },
            };
        }
    }
}

/// Parses the head of a request. Returns the request and the length of its head, or `None` if the
/// head is incomplete.
fn parse_head(received: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let head_len = match head.parse(received) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    };
    let version = head.version.unwrap_or(1);
    let mut keep = if version == 1 { Keep::Alive } else { Keep::Close };
    let (mut hosts, mut body_len) = (0, None);
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("connection") && has_token(field.value, "close") {
            keep = Keep::Close;
        } else if is("transfer-encoding") {
            // RFC 9112 §6.1: a server that does not support a transfer coding answers with 501.
            return Err(Status::NotImplemented);
        } else if is("content-length") {
            let len = parse_length(field.value).ok_or(Status::BadRequest)?;
            // RFC 9112 §6.3: different lengths are an attack or a mistake.
            if body_len.is_some_and(|earlier| earlier != len) {
                return Err(Status::BadRequest);
            }
            body_len = Some(len);
        }
    }
    // RFC 9112 §3.2: a request of HTTP/1.1 has exactly one Host.
    if hosts > 1 || (version == 1 && hosts == 0) {
        return Err(Status::BadRequest);
    }
    let body_len = body_len.unwrap_or(0);
    if body_len > MAX_BODY_BYTES {
        return Err(Status::ContentTooLarge);
    }
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    let path = path_of(head.path.unwrap_or("/")).to_owned();
    Ok(Some((Request { method, path, keep, body_len }, head_len)))
}

/// The path of a request target, without the query, scheme and authority (RFC 9112 §3.2.2).
fn path_of(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    match target.split(['?', '#']).next() {
        Some("") | None => "/",
        Some(path) => path,
    }
}

fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Parses a Content-Length, which consists of digits only.
fn parse_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    HeadTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// The number and the phrase, and a sentence for people.
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Status::Ok => (200, "OK", ""),
            Status::BadRequest => (400, "Bad Request", "That was not a request of HTTP/1.1."),
            Status::NotFound => (404, "Not Found", "There are / and /socket-table.json here."),
            Status::MethodNotAllowed => (405, "Method Not Allowed", "GET and HEAD only."),
            Status::RequestTimeout => (408, "Request Timeout", "The request took too long to arrive."),
            Status::ContentTooLarge => (413, "Content Too Large", "Nothing here takes a body."),
            Status::HeadTooLarge => (431, "Request Header Fields Too Large", "At most 8 KiB and 64 fields."),
            Status::NotImplemented => (501, "Not Implemented", "No transfer coding is spoken here."),
            Status::Unavailable => {
                (503, "Service Unavailable", "Too many connections are open. Try again later.")
            }
            Status::VersionNotSupported => (505, "HTTP Version Not Supported", "HTTP/1.1 is spoken here."),
        }
    }
}

struct Response {
    status: Status,
    resource: Resource,
}

impl Response {
    fn error(status: Status) -> Self {
        let (number, phrase, sentence) = status.parts();
        let body = format!("{number} {phrase}\n{sentence}\n").into_bytes();
        Response { status, resource: Resource { content_type: "text/plain; charset=utf-8", body } }
    }

    fn encode(&self, keep: Keep, body: Body) -> Vec<u8> {
        let (number, phrase, _) = self.status.parts();
        let mut head = format!(
            "HTTP/1.1 {number} {phrase}\r\nDate: {}\r\nServer: portolan\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            http_date(),
            self.resource.content_type,
            self.resource.body.len(),
        );
        match self.status {
            Status::MethodNotAllowed => head.push_str("Allow: GET, HEAD\r\n"),
            Status::Unavailable => head.push_str("Retry-After: 5\r\n"),
            _ => {}
        }
        if keep == Keep::Close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if body == Body::Send {
            bytes.extend_from_slice(&self.resource.body);
        }
        bytes
    }
}
