use std::io::{Read, Write};
use std::net::Shutdown;

use portolan_runtime::TcpStream as BlockingStream;

use super::*;
use crate::services::testing::{connection, executor};

fn page(path: &str) -> Option<Resource> {
    (path == "/").then(|| Resource { content_type: "text/html", body: b"<p>hello</p>".to_vec() })
}

/// Serves a connection on which a client sends something, in pieces of this length. Returns the
/// answer, and how the connection ended.
fn serve_client(sent: &str, piece: usize, ends_half: bool, limit: Duration) -> (String, io::Result<()>) {
    let (_runtime, server, mut client) = connection();
    client.set_nodelay(true).expect("an option");
    let sent = sent.as_bytes().to_vec();
    let client = std::thread::spawn(move || {
        // The answer may come before everything is sent, and the end of the connection with it.
        let send = |client: &mut BlockingStream| -> io::Result<()> {
            sent.chunks(piece).try_for_each(|piece| client.write_all(piece))?;
            if ends_half { client.shutdown(Shutdown::Write) } else { Ok(()) }
        };
        let _ = send(&mut client);
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    });
    let result = executor(false).block_on(serve(server, limit, page));
    (client.join().expect("the client does not panic"), result)
}

/// The response after this was sent and the sending half was closed; it is the same whether the
/// request arrives at once or in pieces.
fn exchange(sent: &str) -> String {
    let pieces = if sent.len() < 1000 { [1, 7, 1 << 20] } else { [997, 7919, 1 << 20] };
    let answers = pieces.map(|piece| serve_client(sent, piece, true, REQUEST_TIMEOUT).0);
    let undated =
        |answer: &String| answer.lines().filter(|line| !line.starts_with("Date: ")).collect::<String>();
    assert_eq!(undated(&answers[0]), undated(&answers[2]));
    assert_eq!(undated(&answers[1]), undated(&answers[2]));
    answers.into_iter().next_back().unwrap_or_default()
}

fn status_of(sent: &str) -> String {
    exchange(sent).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn get_returns_the_page_with_its_length() {
    let answer = exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nDate: "), "{head}");
    assert!(head.contains("\r\nContent-Length: 12\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/html\r\n"), "{head}");
    assert!(!head.contains("Connection: close"), "{head}");
    assert_eq!(body, "<p>hello</p>");
}

#[test]
fn head_has_the_same_head_and_no_body() {
    let answer = exchange("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains("Content-Length: 12\r\n"));
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_connection_serves_several_requests_also_when_they_come_at_once() {
    let answer = exchange(
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\n\r\n\
         GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let statuses: Vec<&str> =
        answer.lines().filter_map(|line| line.find("HTTP/1.1 ").and_then(|at| line.get(at..))).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
}

#[test]
fn the_target_may_have_a_query_or_be_absolute() {
    for target in ["/?refresh=1", "http://10.0.0.2/", "http://10.0.0.2", "HTTP://10.0.0.2/?x", "/#top"] {
        assert_eq!(
            status_of(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")),
            "HTTP/1.1 200 OK",
            "{target}"
        );
    }
}

#[test]
fn http_1_0_closes_and_needs_no_host() {
    let answer = exchange("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.matches("HTTP/1.0").count() == 1, "{answer}");
    let kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(exchange(&kept.repeat(2)).matches("HTTP/1.0 200 OK").count(), 2);
}

#[test]
fn a_connection_ends_with_its_thousandth_answer() {
    let (answer, result) =
        serve_client(&"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1100), 1 << 20, true, REQUEST_TIMEOUT);
    result.expect("an end in order");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1000);
    assert_eq!(answer.matches("Connection: close\r\n").count(), 1);
}

#[test]
fn a_body_is_skipped() {
    let answer = exchange(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("Allow: GET, HEAD\r\n"));
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn wrong_requests_get_the_status_that_says_why_and_end_the_connection() {
    let long = "x".repeat(MAX_HEAD_BYTES);
    let chunks = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(17);
    let many = "a: b\r\n".repeat(MAX_FIELDS + 1);
    for (sent, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".to_owned(), "413"),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"), "413"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = exchange(&sent);
        let shown: String = sent.chars().take(60).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{shown:?}: {answer}");
        assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{shown:?}: {answer}");
    }
}

#[test]
fn a_request_that_stops_half_way_is_told_and_an_idle_connection_is_closed_silently() {
    let limit = Duration::from_millis(200);
    let body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel";
    for half in ["GET / HT", body] {
        let (answer, _) = serve_client(half, 1 << 20, false, limit);
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("Connection: close\r\n"), "{answer}");
    }
    let (answer, result) = serve_client("", 1 << 20, false, limit);
    result.expect("closed");
    assert_eq!(answer, "");
    let (answer, result) = serve_client("GET / HT", 1 << 20, true, REQUEST_TIMEOUT);
    assert!(result.is_err() && answer.is_empty(), "cut off: {result:?} {answer}");
}
