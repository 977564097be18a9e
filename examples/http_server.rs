//! An HTTP server on a stack inside the program: axum takes the listener as it is. The client is on
//! a second stack, at the other end of a wire in memory. On a TAP device it would be a browser.
//!
//! `cargo run -p portolan-examples --example http_server`

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use portolan_examples::two_hosts;
use portolan_runtime::task::{TcpListener, TcpStream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

/// What all handlers share.
#[derive(Default)]
struct Counter {
    requests: AtomicU64,
}

fn main() -> io::Result<()> {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    executor.block_on(run())
}

async fn run() -> io::Result<()> {
    let (server, client) = two_hosts()?;
    let listener = TcpListener::bind(&server, SERVER).await?;
    let stop = Arc::new(Notify::new());
    let serving = tokio::spawn(serve(listener, stop.clone()));

    // Three requests on one connection.
    let mut stream = BufReader::new(TcpStream::connect(&client, SERVER).await?);
    for (request, body) in [("GET /", ""), ("POST /echo", "a body of 20 letters"), ("GET /square/12", "")] {
        let (status, answer) = ask(&mut stream, request, body).await?;
        println!("{request}: {status}: {answer}");
    }
    let (status, _) = ask(&mut stream, "GET /nowhere", "").await?;
    println!("GET /nowhere: {status}");

    // The server finishes the requests that are being answered, and the stack delivers the rest.
    drop(stream);
    stop.notify_one();
    let requests = serving.await??;
    let stopping = tokio::task::spawn_blocking(move || server.shutdown(Duration::from_secs(5)));
    println!("{requests} requests were answered; {}", stopping.await??);
    Ok(())
}

/// Serves until it is told to stop. Returns how many requests found a handler.
async fn serve(listener: TcpListener, stop: Arc<Notify>) -> io::Result<u64> {
    let counter = Arc::new(Counter::default());
    let router = Router::new()
        .route("/", get(front_page))
        .route("/echo", post(|body: String| async move { body.to_uppercase() }))
        .route("/square/{number}", get(square))
        .route_layer(axum::middleware::map_request_with_state(counter.clone(), count))
        .with_state(counter.clone());
    // `tap_io` sees each connection before its first request, and lets handlers know the peer.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            println!("set_nodelay: {error}");
        }
    });
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move { stop.notified().await })
        .await?;
    Ok(counter.requests.load(Ordering::Relaxed))
}

async fn count(State(counter): State<Arc<Counter>>, request: Request) -> Request {
    counter.requests.fetch_add(1, Ordering::Relaxed);
    request
}

async fn front_page(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Html<String> {
    Html(format!("<h1>hello, {}</h1>", peer.ip()))
}

async fn square(Path(number): Path<String>) -> Result<String, StatusCode> {
    let number: u32 = number.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    number.checked_mul(number).map(|square| square.to_string()).ok_or(StatusCode::BAD_REQUEST)
}

/// Sends a request, and returns the status and the body of the answer. A program has a library for
/// this, such as hyper, which takes our `TcpStream`, too.
async fn ask(stream: &mut BufReader<TcpStream>, request: &str, body: &str) -> io::Result<(String, String)> {
    let len = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).await?;
    let (mut status, mut len) = (String::new(), 0);
    stream.read_line(&mut status).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok((status.trim_end().to_owned(), String::from_utf8_lossy(&body).into_owned()))
}
