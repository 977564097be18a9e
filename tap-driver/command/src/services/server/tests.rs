//! The services of one stack, used from another over a wire in memory: IPv4 and IPv6, TCP and UDP.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use portolan::Config;
use portolan_runtime::device::memory_pair;
use portolan_runtime::{Builder, Runtime, TcpStream, UdpSocket};

use super::serve_with;
use crate::services::share::Share;
use crate::services::{Service, Services, serve};

const SERVER4: &str = "10.0.0.1";
const SERVER6: &str = "fd00::1";
/// A second address of the server: it must answer from the address that a datagram was sent to.
const SECOND: &str = "10.0.0.9";

struct Net {
    client: Runtime,
    server: Runtime,
}

fn net() -> Net {
    let net = net_without_services();
    serve(net.server.handle(), "memory", &Services::all()).expect("the services start");
    net
}

fn net_without_services() -> Net {
    let (left, right) = memory_pair().expect("a wire");
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a CIDR")).collect::<Vec<_>>();
    let server_cidrs = cidrs(&["10.0.0.1/24", "fd00::1/64", "10.0.0.9/24"]);
    let server =
        Builder::new().config(config.clone()).interface(left, server_cidrs).start().expect("a server");
    let client_cidrs = cidrs(&["10.0.0.2/24", "fd00::2/64"]);
    let client = Builder::new().config(config).interface(right, client_cidrs).start().expect("a client");
    server.handle().wait_ready(Duration::from_secs(5)).expect("ready");
    Net { client, server }
}

fn at(addr: &str, service: Service) -> SocketAddr {
    SocketAddr::new(addr.parse::<IpAddr>().expect("an address"), service.port())
}

impl Net {
    fn connect(&self, addr: &str, service: Service) -> TcpStream {
        let stream = TcpStream::connect(&self.client, at(addr, service)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }

    fn ask(&self, addr: &str, service: Service, request: &[u8]) -> Option<Vec<u8>> {
        let local = if addr.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let local: SocketAddr = local.parse().expect("an address");
        let socket = UdpSocket::bind(&self.client, local).expect("a socket");
        // A connected socket receives only from this address.
        socket.connect(at(addr, service)).expect("connected");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        socket.send(request).expect("sent");
        let mut reply = vec![0; 2048];
        let len = socket.recv(&mut reply).ok()?;
        reply.truncate(len);
        Some(reply)
    }
}

#[test]
fn echo_returns_everything_also_after_the_peer_closed_its_half() {
    let net = net();
    for addr in [SERVER4, SERVER6, SECOND] {
        let mut stream = net.connect(addr, Service::Echo);
        let data: Vec<u8> = (0..200_000u32).map(|n| (n % 249) as u8).collect();
        let mut writer = stream.try_clone().expect("a clone");
        let sent = data.clone();
        let sender = std::thread::spawn(move || {
            writer.write_all(&sent).expect("written");
            writer.shutdown(Shutdown::Write).expect("shut down");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("everything");
        sender.join().expect("the sender");
        assert!(back == data, "{addr}: {} bytes of {}", back.len(), data.len());
    }
}

#[test]
fn discard_daytime_and_chargen_over_tcp() {
    let net = net();
    for addr in [SERVER4, SERVER6] {
        let mut discard = net.connect(addr, Service::Discard);
        discard.write_all(&[1; 100_000]).expect("written");
        discard.shutdown(Shutdown::Write).expect("shut down");
        assert_eq!(discard.read(&mut [0; 10]).expect("the end"), 0);

        let mut line = String::new();
        net.connect(addr, Service::Daytime).read_to_string(&mut line).expect("a line and the end");
        assert!(line.ends_with("-UTC\r\n"), "{line:?}");

        let mut chargen = net.connect(addr, Service::Chargen);
        let mut characters = vec![0; 300_000];
        chargen.read_exact(&mut characters).expect("characters");
        assert!(characters.starts_with(b" !\"#$%&'()*+,-./0123456789"));
        assert_eq!(characters[74], b'!');
    }
}

#[test]
fn datagrams_are_answered_from_the_address_that_was_asked() {
    let net = net();
    for addr in [SERVER4, SERVER6, SECOND] {
        assert_eq!(net.ask(addr, Service::Echo, b"hello").as_deref(), Some(&b"hello"[..]), "{addr}");
        assert_eq!(net.ask(addr, Service::Chargen, b"12345").as_deref(), Some(&b" !\"#$"[..]), "{addr}");
        let line = net.ask(addr, Service::Daytime, b"").expect("a line");
        assert!(line.ends_with(b"-UTC\r\n"), "{addr}");
        assert_eq!(net.ask(addr, Service::Discard, b"hello"), None, "{addr}");
    }
}

#[test]
fn two_services_that_answer_are_not_set_upon_each_other() {
    let net = net();
    let local: SocketAddr = SocketAddr::new("10.0.0.2".parse().expect("an address"), Service::Chargen.port());
    let socket = UdpSocket::bind(&net.client, local).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    socket.send_to(b"hello", at(SERVER4, Service::Echo)).expect("sent");
    assert_eq!(socket.recv_from(&mut [0; 10]).expect_err("no answer").kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_page_and_the_table_show_the_stack() {
    let net = net();
    let idle = net.connect(SERVER4, Service::Echo);
    let mut stream = net.connect(SERVER6, Service::Http);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /socket-table.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("two answers and the end");
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
    let (page, table) = answer.split_once("</html>\n").expect("a page, and what follows");
    for needle in [
        "<h1>Portolan on memory</h1>",
        "10.0.0.1/24",
        "fd00::1/64",
        "LISTEN",
        "0 of 4096 to accept",
        "ESTABLISHED",
        "link.frames_in",
    ] {
        assert!(page.contains(needle), "{needle}: {page}");
    }
    let (_, json) = table.split_once("\r\n\r\n").expect("a head and a body");
    let table: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let peer = idle.local_addr().expect("an address").to_string();
    let sockets = table["sockets"].as_array().expect("an array");
    let shown = sockets.iter().any(|socket| {
        socket["state"] == "ESTABLISHED"
            && socket["peer"].as_str().is_some_and(|shown| shown.ends_with(&peer))
    });
    assert!(shown, "{peer} is not among {json}");
}

/// Unread data must not turn the answer into a reset.
#[test]
fn an_answer_arrives_although_the_request_goes_on() {
    let net = net();
    let mut stream = net.connect(SERVER4, Service::Http);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").expect("written");
    stream.write_all(&[b'x'; 50_000]).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let net = net();
    let services: Services = "http".parse().expect("services");
    let error = serve(net.server.handle(), "memory", &services).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(
        error.to_string(),
        "port 80/tcp of the stack is taken, so http cannot listen on it; leave http out with --services, or close the \
         other socket"
    );
}

#[test]
fn a_crowd_of_connections_is_served() {
    let net = net();
    let begin = Instant::now();
    let mut crowd: Vec<TcpStream> = (0..500).map(|_| net.connect(SERVER4, Service::Echo)).collect();
    for (index, stream) in crowd.iter_mut().enumerate() {
        stream.write_all(&(index as u64).to_be_bytes()).expect("written");
    }
    for (index, stream) in crowd.iter_mut().enumerate() {
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).expect("an answer");
        assert_eq!(u64::from_be_bytes(reply), index as u64);
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// The crowd of one service takes no places of another.
#[test]
fn a_service_whose_places_are_taken_refuses_and_the_others_serve() {
    let net = net_without_services();
    let shares = [(Service::Echo, 3), (Service::Daytime, 1), (Service::Http, 1)];
    let shares = shares.map(|(service, limit)| Share::new(service, limit));
    serve_with(net.server.handle(), "memory", shares.to_vec()).expect("the services start");
    let speak = |stream: &mut TcpStream| stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]));
    let mut crowd: Vec<TcpStream> = (0..3).map(|_| net.connect(SERVER4, Service::Echo)).collect();
    crowd.iter_mut().for_each(|stream| speak(stream).expect("an answer"));
    for addr in [SERVER4, SERVER6] {
        let refused = speak(&mut net.connect(addr, Service::Echo)).expect_err("a reset");
        assert!(matches!(refused.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{refused}");
    }

    let page = || {
        let mut stream = net.connect(SERVER4, Service::Http);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = page().expect("the page");
    assert!(answer.contains("<td>echo<td class=\"n\">3<td class=\"n\">3<td class=\"n\">2"), "{answer}");
    // One that asks nothing takes the only place.
    let idle = net.connect(SERVER4, Service::Http);
    let mut refusal = String::new();
    net.connect(SERVER4, Service::Http).read_to_string(&mut refusal).expect("an answer and the end");
    assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("Retry-After: 5\r\n"), "{refusal}");
    drop(idle);

    // A place that was left is free again.
    drop(crowd.pop());
    let begin = Instant::now();
    while speak(&mut net.connect(SERVER4, Service::Echo)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "no place becomes free");
        std::thread::sleep(Duration::from_millis(10));
    }
}
