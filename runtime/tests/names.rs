//! Names: the resolver against a server on another runtime, and connections to names.
#![cfg(feature = "resolver")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{addr, pair, within_time};
use portolan_runtime::{Resolver, ResolverConfig, Runtime, TcpListener, TcpStream, UdpSocket, task};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, ResourceRecord, TYPE};

/// The answer of the server to a question. Its names:
///
/// | name | addresses |
/// |---|---|
/// | `both.example` | fd00::1 and 10.0.0.1 |
/// | `dead.example` | fd00::1 and 10.0.0.9, which nobody has |
/// | `large.example` | 10.0.0.1, over TCP only |
/// | `silent.example` | no answer |
fn answer(question: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let question = Packet::parse(question).unwrap();
    let name = question.questions[0].qname.clone();
    let text = name.to_string();
    let is_aaaa = question.questions[0].qtype == QTYPE::TYPE(TYPE::AAAA);
    let mut reply = question.into_reply();
    let v6 = RData::AAAA(AAAA { address: (0xfd00 << 112) | 1 });
    let v4 = |host| RData::A(A { address: u32::from_be_bytes([10, 0, 0, host]) });
    match (text.as_str(), is_aaaa) {
        ("silent.example", _) => return None,
        ("large.example", _) if !is_tcp => reply.set_flags(PacketFlag::TRUNCATION),
        ("both.example" | "dead.example", true) => {
            reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, v6));
        }
        ("dead.example", false) => reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, v4(9))),
        ("both.example" | "large.example", false) => {
            reply.answers.push(ResourceRecord::new(name, CLASS::IN, 60, v4(1)));
        }
        _ => {}
    }
    Some(reply.build_bytes_vec_compressed().unwrap())
}

/// A DNS server on the first host, until its runtime is over.
fn serve(host: &Runtime) {
    let socket = UdpSocket::bind(host, addr(1, 53)).unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut buf) {
            if let Some(answer) = answer(&buf[..len], false) {
                // What is not an answer comes first.
                let _ = socket.send_to(b"nonsense", peer);
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    let listener = TcpListener::bind(host, addr(1, 53)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut question = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut question).unwrap();
            let answer = answer(&question, true).unwrap();
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
}

fn config() -> ResolverConfig {
    let mut config = ResolverConfig::default();
    config.servers.push(addr(1, 53));
    config.search.push("example".into());
    config
}

/// The first host with a DNS server, and the second, which asks it.
fn hosts() -> (Runtime, Runtime) {
    let (server, client) = pair();
    serve(&server);
    client.handle().set_resolver(config());
    (server, client)
}

fn texts(resolver: &Resolver, name: &str) -> Vec<String> {
    resolver.lookup(name).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_is_looked_up_over_udp_and_over_tcp() {
    within_time(|| {
        let (_server, client) = hosts();
        let resolver = client.handle().resolver();
        // RFC 6724 §2.1 prefers IPv4 to unique local addresses.
        assert_eq!(texts(&resolver, "both.example"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(texts(&resolver, "both"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(texts(&resolver, "large.example"), ["10.0.0.1"]);
        assert_eq!(resolver.lookup("none.example").unwrap_err().kind(), ErrorKind::NotFound);
        let stats = resolver.stats();
        assert_eq!((stats.lookups, stats.cached, stats.over_tcp), (4, 2, 2));
        assert!(stats.nonsense >= 4, "{stats:?}");
    });
}

/// How many sockets the program has. The stack may keep more for a while.
fn descriptors(runtime: &Runtime) -> usize {
    runtime.handle().sockets().iter().map(|socket| socket.descriptors().count()).sum()
}

/// Runs a test as a task.
fn run(test: impl Future<Output = ()> + Send + 'static) {
    within_time(|| {
        let executor = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        executor.block_on(async { tokio::spawn(test).await.unwrap() });
    });
}

#[test]
fn a_task_looks_names_up_and_lets_others_run() {
    run(async {
        let (_server, client) = hosts();
        let lookup = async |name: &str| {
            let found = task::lookup_host(&client, name).await;
            found.map(|found| found.map(|addr| addr.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(lookup("both.example:80").await.unwrap(), ["10.0.0.1:80", "[fd00::1]:80"]);
        assert_eq!(lookup("both:1").await.unwrap(), ["10.0.0.1:1", "[fd00::1]:1"]);
        assert_eq!(lookup("large.example:2").await.unwrap(), ["10.0.0.1:2"]);
        assert_eq!(lookup("10.1.2.3:4").await.unwrap(), ["10.1.2.3:4"]);
        assert_eq!(lookup("none.example:1").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(lookup("none.example").await.unwrap_err().kind(), ErrorKind::InvalidInput);

        // Another task of the only thread runs while a server is silent; dropping ends the lookup.
        let silent = tokio::time::timeout(Duration::from_millis(50), lookup("silent.example.:1"));
        let (silent, ticks) = tokio::join!(silent, async {
            let mut ticks = 0;
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ticks += 1;
            }
            ticks
        });
        assert!(silent.is_err() && ticks == 5);
        assert_eq!(descriptors(&client), 0, "its sockets are closed");
    });
}

#[test]
fn a_lookup_of_a_task_gives_up_in_time_on_any_executor() {
    within_time(|| {
        let (_server, client) = hosts();
        let mut config = config();
        config.timeout = Duration::from_millis(20);
        client.handle().set_resolver(config);
        // This executor has no timers of its own.
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let begin = Instant::now();
        let found = executor.block_on(task::lookup_host(&client, "silent.example.:1"));
        assert_eq!(found.err().unwrap().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(20 + 40 + 80));
        // The end of the runtime ends a lookup.
        client.handle().set_resolver(ResolverConfig::default());
        client.handle().set_resolver(self::config());
        let handle = client.handle().clone();
        let looking = std::thread::spawn(move || {
            executor.block_on(task::lookup_host(&handle, "silent.example.:1")).err()
        });
        std::thread::sleep(Duration::from_millis(20));
        drop(client);
        assert_eq!(looking.join().unwrap().unwrap().kind(), ErrorKind::NetworkDown);
    });
}

#[test]
fn a_task_connects_to_the_first_address_that_answers() {
    run(async {
        let (server, client) = hosts();
        let listener = task::TcpListener::bind(&server, addr(1, 80)).await.unwrap();
        // IPv6 first, and only IPv4 is served: refused, so IPv4 follows at once.
        let begin = Instant::now();
        let addresses: Vec<SocketAddr> = vec!["[fd00::1]:80".parse().unwrap(), addr(1, 80)];
        let stream = task::TcpStream::connect(&client, addresses).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr(1, 80));
        assert!(begin.elapsed() < Duration::from_millis(200));
        listener.accept().await.unwrap();

        // Nobody has 10.0.0.9, so the next attempt begins after a quarter of a second.
        let begin = Instant::now();
        let stream = task::TcpStream::connect(&client, vec![addr(9, 80), addr(1, 80)]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr(1, 80));
        assert!(begin.elapsed() >= Duration::from_millis(250));
        assert_eq!(descriptors(&client), 2, "the other attempt is given up: {:?}", client.handle().sockets());

        let stream = task::TcpStream::connect(&client, "both.example:80").await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr(1, 80));
        let error = task::TcpStream::connect(&client, ("both.example", 81)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(text.starts_with("both.example:81: ") && text.contains("10.0.0.1:81"), "{text}");
        assert!(text.contains("[fd00::1]:81"), "{text}");

        // Dropping the future ends the attempts.
        let before = descriptors(&client);
        let connecting = task::TcpStream::connect(&client, vec![addr(8, 83), addr(9, 83)]);
        assert!(tokio::time::timeout(Duration::from_millis(20), connecting).await.is_err());
        assert_eq!(descriptors(&client), before);
    });
}

#[test]
fn questions_come_from_different_ports() {
    within_time(|| {
        let (server, client) = pair();
        let socket = UdpSocket::bind(&server, addr(1, 53)).unwrap();
        let mut config = config();
        config.timeout = Duration::from_millis(20);
        let resolver = Resolver::new(&client, config);
        let begin = Instant::now();
        assert_eq!(resolver.lookup("silent.example.").unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(20 + 40 + 80));
        let mut ports = Vec::new();
        socket.set_nonblocking(true).unwrap();
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 512]) {
            ports.push(peer.port());
        }
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((count, ports.len()), (6, 6));
        // The numbers of neighbouring sockets tell nothing of each other.
        assert!(ports.windows(2).any(|pair| pair[1] - pair[0] > 8), "{ports:?}");
    });
}

#[test]
fn a_server_without_the_service_is_an_error_at_once() {
    within_time(|| {
        let (_server, client) = pair();
        let resolver = Resolver::new(&client, config());
        let begin = Instant::now();
        let error = resolver.lookup("both.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "both.example: 10.0.0.1:53: Connection refused (os error 111)",
            "{error:?}"
        );
        assert!(begin.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn a_connection_to_a_name_goes_to_the_first_address_that_answers() {
    within_time(|| {
        let (server, client) = hosts();
        let listener = TcpListener::bind(&server, "[::]:80".parse::<SocketAddr>().unwrap()).unwrap();
        let accepting = std::thread::spawn(move || {
            let peers = listener.incoming().take(4).map(|stream| stream.unwrap().peer_addr().unwrap());
            peers.collect::<Vec<SocketAddr>>()
        });
        let peer = |stream: &TcpStream| stream.peer_addr().unwrap().to_string();
        assert_eq!(peer(&TcpStream::connect(&client, "both.example:80").unwrap()), "10.0.0.1:80");
        // Nobody answers at the IPv4 address: the second attempt begins a quarter of a second
        // later.
        let begin = Instant::now();
        let stream = TcpStream::connect(&client, ("dead", 80)).unwrap();
        assert_eq!(peer(&stream), "[fd00::1]:80");
        assert!((250..2500).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
        let several: Vec<SocketAddr> = ["10.0.0.9:80", "10.0.0.1:80"].map(|a| a.parse().unwrap()).into();
        assert_eq!(peer(&TcpStream::connect(&client, &several).unwrap()), "10.0.0.1:80");
        let stream = TcpStream::connect_timeout(&client, "10.0.0.1:80", Duration::from_secs(5)).unwrap();
        assert_eq!(peer(&stream), "10.0.0.1:80");
        assert_eq!(accepting.join().unwrap().len(), 4);
        // The attempts that were given up are gone.
        assert!(client.handle().sockets().iter().all(|socket| socket.state.name() != "SYN-SENT"));
    });
}

#[test]
fn the_error_names_every_attempt() {
    within_time(|| {
        let (_server, client) = hosts();
        let error = TcpStream::connect(&client, "both.example:81").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "both.example:81: 10.0.0.1:81: Connection refused (os error 111); [fd00::1]:81: Connection refused (os error 111)"
        );
        let several: Vec<SocketAddr> = ["10.0.0.8:80", "10.0.0.9:80"].map(|a| a.parse().unwrap()).into();
        let error = TcpStream::connect_timeout(&client, several, Duration::from_millis(400)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "10.0.0.8:80: no answer in time; 10.0.0.9:80: no answer in time");
        let error = TcpStream::connect(&client, "none.example:80").unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::NotFound, "none.example has no addresses")
        );
        let (alone, _) = pair();
        let error = TcpStream::connect(&alone, "both.example:80").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

/// As with std, `bind` and `connect` try each address of a name, and `send_to` takes the first.
#[test]
fn sockets_are_bound_to_names_and_send_to_them() {
    within_time(|| {
        let (server, client) = hosts();
        server.handle().set_resolver(config());
        let receiver = UdpSocket::bind(&server, "both.example:5000").unwrap();
        assert_eq!(receiver.local_addr().unwrap(), addr(1, 5000));
        let listener = TcpListener::bind(&server, ("localhost", 5000)).unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());

        let sender = UdpSocket::bind(&client, "0.0.0.0:0").unwrap();
        sender.send_to(b"one", "both:5000").unwrap();
        sender.connect(("both", 5000)).unwrap();
        assert_eq!(sender.peer_addr().unwrap(), receiver.local_addr().unwrap());
        sender.send(b"two").unwrap();
        let mut buf = [0; 10];
        for expected in [b"one", b"two"] {
            let len = receiver.recv(&mut buf).unwrap();
            assert_eq!(&buf[..len], expected);
        }
        let error = UdpSocket::bind(&client, "both.example:5000").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error}");
        assert_eq!(TcpListener::bind(&client, "nowhere.example:1").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn the_end_of_the_runtime_ends_lookups_and_connections() {
    within_time(|| {
        let (_server, client) = hosts();
        let handles = [client.handle().clone(), client.handle().clone()];
        let [looking, connecting] = handles;
        let looking = std::thread::spawn(move || looking.resolver().lookup("silent.example").unwrap_err());
        let connecting = std::thread::spawn(move || {
            let several: Vec<SocketAddr> = ["10.0.0.8:80", "10.0.0.9:80"].map(|a| a.parse().unwrap()).into();
            TcpStream::connect(&connecting, several).unwrap_err()
        });
        std::thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        client.shutdown(Duration::ZERO).unwrap();
        assert_eq!(looking.join().unwrap().kind(), ErrorKind::NetworkDown);
        assert_eq!(connecting.join().unwrap().kind(), ErrorKind::NetworkDown);
        assert!(begin.elapsed() < Duration::from_secs(1));
    });
}
