//! The status page over HTTP/1.1, by hyper: GET and HEAD of a few resources (RFC 9110, RFC 9112).

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, SERVER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use portolan::SocketOption;
use portolan_runtime::task::TcpStream;
use tokio::time::timeout;

use super::stream::{WRITE_TIMEOUT, finish, send_all};

#[cfg(test)]
mod tests;

/// The longest head of a request in bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// The most fields in the head of a request.
const MAX_FIELDS: usize = 64;
/// The longest body of a request. It is read and discarded, so that the connection can continue.
const MAX_BODY_BYTES: u64 = 64 << 10;
/// The most requests on one connection.
const MAX_REQUESTS: usize = 1000;
/// The most time between two requests, for the head of a request, and for its body.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The content at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
}

/// Serves a connection until the peer closes it, sends a request that ends it, or takes longer than
/// `request_timeout`. `resource` returns the content at a path.
///
/// # Errors
///
/// Those of the stream, and requests that are cut off.
pub(super) async fn serve(
    stream: TcpStream,
    request_timeout: Duration,
    resource: impl Fn(&str) -> Option<Resource>,
) -> io::Result<()> {
    // A peer that reads nothing: hyper has no time limit for that.
    stream.set_option(SocketOption::UserTimeout(Some(WRITE_TIMEOUT)))?;
    let requests = AtomicUsize::new(0);
    let answer = async |request: Request<Incoming>| {
        let is_last = requests.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REQUESTS;
        let mut response = respond(request, request_timeout, &resource).await;
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(request_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        // A client may end its half when it has sent its requests.
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let result = (&mut connection).await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner();
    match result {
        // hyper says nothing to a peer that has sent a part of a head.
        Err(error) if error.is_timeout() && !parts.read_buf.is_empty() => {
            send_all(&stream, written_out(StatusCode::REQUEST_TIMEOUT)).await?;
        }
        // The answer to a bad request has been sent. A peer that sends nothing gets no answer.
        Err(error) if error.is_timeout() || error.is_parse() => {}
        Err(error) => return Err(io::Error::other(error)),
        Ok(()) => {}
    }
    finish(stream).await
}

/// The answer on a connection for which there is no room.
pub(super) fn busy() -> Bytes {
    written_out(StatusCode::SERVICE_UNAVAILABLE)
}

async fn respond(
    request: Request<Incoming>,
    body_timeout: Duration,
    resource: impl Fn(&str) -> Option<Resource>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // RFC 9112 §3.2: a request of HTTP/1.1 has exactly one Host.
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return error(StatusCode::BAD_REQUEST);
    }
    match timeout(body_timeout, skip(body)).await {
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(status)) => return error(status),
        Ok(Ok(())) => {}
    }
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        return error(StatusCode::METHOD_NOT_ALLOWED);
    }
    match resource(head.uri.path()) {
        Some(resource) => response(StatusCode::OK, resource.content_type, resource.body.into()),
        None => error(StatusCode::NOT_FOUND),
    }
}

/// Reads the body of a request.
async fn skip(mut body: Incoming) -> Result<(), StatusCode> {
    let mut left = MAX_BODY_BYTES;
    if body.size_hint().lower() > left {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
        left = left.checked_sub(len).ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
    }
    Ok(())
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = [
        (SERVER, "portolan"),
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Says what was wrong. After all but a wrong path or method the connection ends.
fn error(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = response(status, "text/plain; charset=utf-8", explained(status).into());
    let headers = response.headers_mut();
    match status {
        StatusCode::NOT_FOUND => {}
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

fn explained(status: StatusCode) -> String {
    let sentence = match status {
        StatusCode::NOT_FOUND => "There are / and /socket-table.json here.",
        StatusCode::METHOD_NOT_ALLOWED => "GET and HEAD only.",
        StatusCode::REQUEST_TIMEOUT => "The request took too long to arrive.",
        StatusCode::PAYLOAD_TOO_LARGE => "Nothing here takes a body.",
        StatusCode::SERVICE_UNAVAILABLE => "Too many connections are open. Try again later.",
        _ => "That was not a request of HTTP/1.1.",
    };
    format!("{status}\n{sentence}\n")
}

/// An answer that is sent without hyper: where no request was read, or only a part of one.
fn written_out(status: StatusCode) -> Bytes {
    let body = explained(status);
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "Retry-After: 5\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nServer: portolan\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         {retry}Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into()
}
