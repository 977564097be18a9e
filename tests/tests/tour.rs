//! The runnable half of the guided tour in `docs/`: one test for each chapter, with two stacks and
//! the test's own clock. Each compares the frames on the wire with what its chapter prints.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use portolan::testing::{Host, LinkFaults, Pair, PairConfig, Side};
use portolan::{Descriptor, Domain, Error, Shutdown, SockAddr, SocketKind};
use portolan_tests::by_family;
use portolan_tests::sources::{files_under, read, relative, root};
use portolan_tests::transcript::Transcript;

/// The command with which the documents run a test of this file.
const RUN: &str = "cargo test -p portolan-tests --test tour ";

/// Long enough for packets in flight on a link with a delay of a millisecond, too short for a
/// delayed acknowledgement.
const A_MOMENT: Duration = Duration::from_millis(20);

/// The delay of the link.
const A_MILLISECOND: Duration = Duration::from_millis(1);

/// The scenario of a chapter: two hosts, and the frames between them.
struct Tour {
    pair: Pair,
    transcript: Transcript,
    lines: Vec<String>,
}

impl Tour {
    /// Two hosts that have their addresses and have not resolved each other.
    fn new() -> Tour {
        let mut pair = Pair::new(PairConfig { record: true, ..PairConfig::seeded(1) });
        // The frames that follow the probes for duplicate addresses are not part of the scenario.
        pair.run_for(Duration::from_secs(10));
        pair.recorded();
        Tour { pair, transcript: Transcript::new(), lines: Vec::new() }
    }

    /// The addresses of A and of B.
    fn addresses(&self, domain: Domain) -> (IpAddr, IpAddr) {
        (self.pair.a.addr(domain), self.pair.b.addr(domain))
    }

    /// Lets a moment pass and records its frames.
    fn a_moment(&mut self) {
        self.pair.run_for(A_MOMENT);
        let recorded = self.pair.recorded();
        self.lines.extend(self.transcript.lines(&recorded));
    }

    /// Discards the frames so far, which belong to another chapter.
    fn begins_here(&mut self) {
        self.lines.clear();
    }

    /// Checks that the frames on the wire are those that the chapter prints, after the command that
    /// runs this test, in a block marked `wire`.
    fn assert_told_in(&self, chapter: &str, test: &str) {
        let text = read(&root().join("docs").join(chapter));
        let printed: Vec<&str> = text
            .split_once(&format!("{RUN}{test}\n"))
            .and_then(|(_, rest)| rest.split_once("```wire\n"))
            .and_then(|(_, rest)| rest.split_once("```"))
            .map(|(block, _)| block.lines().collect())
            .unwrap_or_default();
        let (printed, passed) = (printed.join("\n"), self.lines.join("\n"));
        assert!(passed == printed, "docs/{chapter} prints\n{printed}\nbut this passed:\n{passed}");
    }
}

/// Chapter 2. A sends B an echo request; B answers from within `handle_frame`.
#[test]
fn a_frames_way_in() {
    let mut tour = Tour::new();
    let (a, b) = tour.addresses(Domain::V4);
    let ping = tour.pair.a.stack.socket(Domain::V4, SocketKind::Echo).expect("a descriptor is free");
    tour.pair.a.stack.bind(ping, at(a, 1)).expect("nobody else pings");
    // Type 8, code 0; the stack fills in checksum and identifier; sequence number 1; the data.
    let request = [&[8, 0, 0, 0, 0, 0, 0, 1][..], b"are you there?"].concat();
    tour.pair.a.stack.send_to(tour.pair.now(), ping, &request, at(b, 0)).expect("sent");
    tour.a_moment();

    let mut message = [0; 64];
    let (len, meta) = tour.pair.a.stack.recv_from(tour.pair.now(), ping, &mut message).expect("the reply");
    assert_eq!(meta.peer().ip(), b);
    assert_eq!(message[0], 0, "an ICMP echo reply");
    assert_eq!(&message[8..len], b"are you there?");
    assert_eq!(tour.pair.b.stack.stats().icmp.out_echo_reps, 1);
    tour.assert_told_in("02-a-frames-way-in.md", "a_frames_way_in");
}

/// Chapter 3. The first packet to a neighbour waits until its address is resolved, with ARP and
/// with NDP; the second does not wait; a destination without a route is refused.
#[test]
fn arp_and_routing() {
    let mut tour = Tour::new();
    for domain in [Domain::V4, Domain::V6] {
        let (_, b) = tour.addresses(domain);
        let receiver = datagram_socket(&mut tour.pair.b, domain, 4001);
        let sender = datagram_socket(&mut tour.pair.a, domain, 4000);
        for text in [&b"first"[..], b"second"] {
            tour.pair.a.stack.send_to(tour.pair.now(), sender, text, at(b, 4001)).expect("sent");
            tour.a_moment();
            let mut data = [0; 16];
            let (len, _) =
                tour.pair.b.stack.recv_from(tour.pair.now(), receiver, &mut data).expect("arrived");
            assert_eq!(&data[..len], text);
        }
        let elsewhere =
            by_family(domain, IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        // The socket has no address: the network layer would choose it, if there were a route.
        let unbound = tour.pair.a.stack.socket(domain, SocketKind::Datagram).expect("a descriptor is free");
        for sender in [sender, unbound] {
            let refused = tour.pair.a.stack.send_to(tour.pair.now(), sender, b"?", at(elsewhere, 4001));
            assert_eq!(refused, Err(Error::NetworkUnreachable));
        }
    }
    tour.assert_told_in("03-arp-and-routing.md", "arp_and_routing");
}

/// Chapter 4. Three segments open a connection; a closed port answers with a reset.
#[test]
fn the_handshake() {
    let mut tour = Tour::new();
    let (a, b) = tour.addresses(Domain::V4);
    let listener = tour.pair.listener(Domain::V4, 80);
    let client = connect(&mut tour, 40000, 80);
    tour.a_moment();
    assert!(tour.pair.a.stack.readiness(client).expect("open").writable);
    let (server, peer) = tour.pair.b.stack.accept(listener).expect("a connection waits");
    assert_eq!(peer, at(a, 40000));
    assert_eq!(tour.pair.b.stack.local_addr(server), Ok(at(b, 80)));

    let refused = connect(&mut tour, 40001, 81);
    tour.a_moment();
    assert_eq!(tour.pair.a.stack.take_error(refused), Ok(Some(Error::ConnectionRefused)));
    tour.assert_told_in("04-the-handshake.md", "the_handshake");
}

/// Chapter 5. One port of B with a listener and two connections, which are three sockets. Each
/// segment finds its own socket.
#[test]
fn ports_and_demultiplexing() {
    let mut tour = Tour::new();
    let (a, b) = tour.addresses(Domain::V4);
    let listener = tour.pair.listener(Domain::V4, 80);
    let clients = [connect(&mut tour, 40000, 80), connect(&mut tour, 40001, 80)];
    tour.a_moment();
    tour.begins_here();

    for (client, text) in clients.into_iter().zip([&b"one"[..], b"three"]) {
        assert_eq!(tour.pair.a.stack.send(tour.pair.now(), client, text), Ok(text.len()));
    }
    tour.a_moment();
    for (port, text) in [(40000, &b"one"[..]), (40001, b"three")] {
        let (server, peer) = tour.pair.b.stack.accept(listener).expect("a connection waits");
        assert_eq!(peer, at(a, port));
        let mut data = [0; 16];
        let len = tour.pair.b.stack.recv(tour.pair.now(), server, &mut data).expect("data waits");
        assert_eq!(&data[..len], text);
    }

    // One UDP port of B has a socket, the other has none: B reports that, and A's connected socket
    // gets the error.
    let receiver = datagram_socket(&mut tour.pair.b, Domain::V4, 4001);
    let sender = datagram_socket(&mut tour.pair.a, Domain::V4, 4000);
    for port in [4001, 4002] {
        tour.pair
            .a
            .stack
            .connect(tour.pair.now(), sender, at(b, port))
            .expect("datagram sockets connect at once");
        tour.pair.a.stack.send(tour.pair.now(), sender, b"anybody?").expect("sent");
        tour.a_moment();
    }
    assert_eq!(tour.pair.b.stack.recv(tour.pair.now(), receiver, &mut [0; 16]), Ok(8));
    let answer = tour.pair.a.stack.recv(tour.pair.now(), sender, &mut [0; 16]);
    assert_eq!(answer, Err(Error::ConnectionRefused));
    tour.assert_told_in("05-ports-and-demultiplexing.md", "ports_and_demultiplexing");
}

/// Chapter 6. A closes its half; B still sends something, then closes, too. A stays in TIME-WAIT
/// for a minute.
#[test]
fn closing() {
    let mut tour = Tour::new();
    let listener = tour.pair.listener(Domain::V4, 80);
    let client = connect(&mut tour, 40000, 80);
    tour.a_moment();
    let (server, _) = tour.pair.b.stack.accept(listener).expect("a connection waits");
    tour.begins_here();

    tour.pair.a.stack.shutdown(tour.pair.now(), client, Shutdown::Write).expect("connected");
    tour.a_moment();
    assert_eq!(state_of(&tour.pair.a, 40000), Some("FIN-WAIT-2"));
    assert_eq!(tour.pair.b.stack.recv(tour.pair.now(), server, &mut [0; 16]), Ok(0), "the end of the stream");

    tour.pair.b.stack.send(tour.pair.now(), server, b"one more thing").expect("this half is open");
    tour.a_moment();
    let mut data = [0; 32];
    let len = tour.pair.a.stack.recv(tour.pair.now(), client, &mut data).expect("data waits");
    assert_eq!(&data[..len], b"one more thing");

    tour.pair.b.stack.close(tour.pair.now(), server).expect("open");
    tour.a_moment();
    tour.pair.a.stack.close(tour.pair.now(), client).expect("open");
    assert_eq!(state_of(&tour.pair.a, 40000), Some("TIME-WAIT"));
    tour.pair.run_for(Duration::from_secs(61));
    assert_eq!(state_of(&tour.pair.a, 40000), None);
    tour.assert_told_in("06-closing.md", "closing");
}

/// Chapter 6. B closes with unread data from A: A must learn that the data was lost.
#[test]
fn closing_with_a_reset() {
    let mut tour = Tour::new();
    let listener = tour.pair.listener(Domain::V4, 80);
    let client = connect(&mut tour, 40000, 80);
    tour.a_moment();
    let (server, _) = tour.pair.b.stack.accept(listener).expect("a connection waits");
    tour.begins_here();

    tour.pair.a.stack.send(tour.pair.now(), client, b"nobody reads this").expect("connected");
    tour.a_moment();
    tour.pair.b.stack.close(tour.pair.now(), server).expect("open");
    tour.a_moment();
    assert_eq!(tour.pair.a.stack.recv(tour.pair.now(), client, &mut [0; 16]), Err(Error::ConnectionReset));
    assert_eq!(tour.pair.a.stack.send(tour.pair.now(), client, b"more"), Err(Error::BrokenPipe));
    tour.assert_told_in("06-closing.md", "closing_with_a_reset");
}

/// Chapter 7. The first of four segments is lost, and the later ones reveal the gap.
#[test]
fn a_loss() {
    let mut tour = Tour::new();
    let listener = tour.pair.listener(Domain::V4, 80);
    let client = connect(&mut tour, 40000, 80);
    tour.a_moment();
    let (server, _) = tour.pair.b.stack.accept(listener).expect("a connection waits");
    tour.begins_here();

    let lost = LinkFaults { loss: 1.0, delay: A_MILLISECOND, ..LinkFaults::default() };
    let good = LinkFaults { delay: A_MILLISECOND, ..LinkFaults::default() };
    tour.pair.set_faults_from(Side::A, lost);
    tour.pair.a.stack.send(tour.pair.now(), client, &[b'1'; 1448]).expect("connected");
    tour.pair.run_for(Duration::from_micros(100));
    tour.pair.set_faults_from(Side::A, good);
    tour.pair.a.stack.send(tour.pair.now(), client, &[b'2'; 3 * 1448]).expect("connected");
    tour.a_moment();

    let mut data = [0; 8000];
    assert_eq!(tour.pair.b.stack.recv(tour.pair.now(), server, &mut data), Ok(4 * 1448));
    assert_eq!((data[1447], data[1448]), (b'1', b'2'));
    let stats = tour.pair.a.stack.stats();
    assert_eq!((stats.recovery.recoveries, stats.recovery.fast_retrans, stats.recovery.timeouts), (1, 1, 0));
    tour.assert_told_in("07-a-loss.md", "a_loss");
}

/// Chapter 7. The last segment is lost: no later segment reveals that.
#[test]
fn a_loss_at_the_end() {
    let mut tour = Tour::new();
    let listener = tour.pair.listener(Domain::V4, 80);
    let client = connect(&mut tour, 40000, 80);
    tour.a_moment();
    let (server, _) = tour.pair.b.stack.accept(listener).expect("a connection waits");
    tour.pair.a.stack.send(tour.pair.now(), client, b"a round trip is measured").expect("connected");
    tour.a_moment();
    tour.begins_here();

    let lost = LinkFaults { loss: 1.0, delay: A_MILLISECOND, ..LinkFaults::default() };
    let good = LinkFaults { delay: A_MILLISECOND, ..LinkFaults::default() };
    tour.pair.a.stack.send(tour.pair.now(), client, &[b'1'; 1448]).expect("connected");
    tour.pair.run_for(Duration::from_micros(100));
    tour.pair.set_faults_from(Side::A, lost);
    tour.pair.a.stack.send(tour.pair.now(), client, &[b'2'; 1448]).expect("connected");
    tour.pair.run_for(Duration::from_micros(100));
    tour.pair.set_faults_from(Side::A, good);
    tour.pair.run_for(Duration::from_secs(1));
    tour.a_moment();

    assert_eq!(tour.pair.b.stack.queued_bytes(server), Ok((24 + 2 * 1448, 0)));
    let stats = tour.pair.a.stack.stats();
    assert_eq!((stats.recovery.loss_probes, stats.recovery.recoveries, stats.recovery.timeouts), (1, 0, 0));
    tour.assert_told_in("07-a-loss.md", "a_loss_at_the_end");
}

/// A real debugger stops at every breakpoint of the documents when it runs the test named before
/// it. An optimized build has fewer functions than the sources, so only a debug build is tested.
#[cfg(debug_assertions)]
#[test]
fn a_debugger_stops_where_the_documents_say() {
    for path in files_under("docs", ".md") {
        for (test, breakpoints) in stops(&read(&path)) {
            let missed = missed_by_gdb(test, &breakpoints);
            assert!(
                missed.is_empty(),
                "{}: running {test}, gdb does not stop at {missed:?}",
                relative(&path)
            );
        }
    }
}

/// The tests that a document runs, and the breakpoints between each and the next.
fn stops(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut stops: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if let Some(test) = line.strip_prefix(RUN) {
            stops.push((test, Vec::new()));
        } else if let Some(place) = line.strip_prefix("break ") {
            let (_, breakpoints) = stops.last_mut().expect("a test comes before the breakpoints");
            breakpoints.push(place);
        }
    }
    stops.retain(|(_, breakpoints)| !breakpoints.is_empty());
    stops
}

/// Runs one test of this file under gdb. Returns the breakpoints that it does not know or does not
/// reach.
fn missed_by_gdb<'a>(test: &str, breakpoints: &[&'a str]) -> Vec<&'a str> {
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "-nx", "-ex", "set breakpoint pending off", "-ex", "set print thread-events off"]);
    for (index, place) in breakpoints.iter().enumerate() {
        // If one is unknown, the numbers of later ones are wrong and the run stops early, which is
        // a failure, too.
        gdb.args(["-ex", &format!("break {place}"), "-ex", &format!("ignore {} 1000000", index + 1)]);
    }
    gdb.args(["-ex", "run", "-ex", "info breakpoints", "--args"]);
    gdb.arg(std::env::current_exe().expect("a test has a path"));
    gdb.args([test, "--exact", "--test-threads=1"]).stdin(Stdio::null());
    let output = gdb.output().unwrap_or_else(|error| panic!("gdb: {error}; tests/run installs it"));
    let printed =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        printed.contains("exited normally]") && printed.contains("running 1 test"),
        "{test} did not pass under gdb:\n{printed}"
    );

    // "2 breakpoint keep y 0x0123 in portolan::... at ...", and in the next lines "breakpoint
    // already hit 3 times".
    let mut passed = String::new();
    let mut this = "";
    for line in printed.lines() {
        if line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" in ") {
            this = line;
        } else if line.contains("already hit") {
            passed.push_str(this);
            passed.push('\n');
        }
    }
    breakpoints.iter().copied().filter(|place| !passed.contains(&format!(" in {place} at "))).collect()
}

/// A datagram socket on this port of a host.
fn datagram_socket(host: &mut Host, domain: Domain, port: u16) -> Descriptor {
    let d = host.stack.socket(domain, SocketKind::Datagram).expect("a descriptor is free");
    host.stack.bind(d, at(host.addr(domain), port)).expect("a free port");
    d
}

/// Begins a connection from a port of A to one of B.
fn connect(tour: &mut Tour, from: u16, to: u16) -> Descriptor {
    let (a, b) = tour.addresses(Domain::V4);
    let d = tour.pair.a.stack.socket(Domain::V4, SocketKind::Stream).expect("a descriptor is free");
    tour.pair.a.stack.bind(d, at(a, from)).expect("a free port");
    assert_eq!(tour.pair.a.stack.connect(tour.pair.now(), d, at(b, to)), Err(Error::InProgress));
    d
}

/// The state of the connection from this port, as a status page shows it.
fn state_of(host: &Host, port: u16) -> Option<&'static str> {
    let is_local = |name: &SockAddr| name.ip().is_some_and(|local| local.port() == port);
    let socket = host.stack.sockets().find(|socket| socket.local.as_ref().is_some_and(is_local));
    socket.map(|socket| socket.state.name())
}

/// An address with a port.
fn at(addr: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(addr, port)
}
