//! TCP: the services of `portolan up` with programs over the kernel's TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use portolan_tests::namespace::{
    HOST4, STACK4, STACK6, TAP, beside_portolan, counter, page, stack_at, tool, tool_output,
};
use portolan_tests::pattern::Pattern;
use rustix::io::ioctl_fionread;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const DAYTIME: u16 = 13;
const CHARGEN: u16 = 19;

#[test]
fn echo_returns_64_mib_whole() {
    beside_portolan("tcp::echo_returns_64_mib_whole", &[], || {
        for (addr, bytes) in stack_at(ECHO).into_iter().zip([64 << 20, 16 << 20]) {
            let started = Instant::now();
            echo_through(addr, bytes);
            println!("{addr}: {} MiB there and back in {:?}", bytes >> 20, started.elapsed());
        }
    });
}

#[test]
fn a_thousand_connections_at_once() {
    beside_portolan("tcp::a_thousand_connections_at_once", &[], || {
        raise_descriptor_limit();
        let mut connections: Vec<TcpStream> = (0..1000)
            .map(|index| {
                let addr = stack_at(ECHO)[index % 2];
                connect(addr).unwrap_or_else(|error| panic!("connection {index} to {addr}: {error}"))
            })
            .collect();
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.write_all(&Pattern::new(index as u64).take(1000)).expect("written");
        }
        for (index, connection) in connections.iter_mut().enumerate() {
            let mut data = [0; 1000];
            connection.read_exact(&mut data).unwrap_or_else(|error| panic!("connection {index}: {error}"));
            Pattern::new(index as u64).check(&data);
        }
    });
}

/// Each client is sent more than the stack may hold for it, and the page is served within a second
/// nevertheless.
#[test]
fn kernel_clients_that_never_read_do_not_lock_others_out() {
    beside_portolan("tcp::kernel_clients_that_never_read_do_not_lock_others_out", &["--memory", "1"], || {
        raise_descriptor_limit();
        let mut crowd = Vec::new();
        let mut longest = Duration::ZERO;
        for round in 0..6 {
            for index in 0..50 {
                let addr = stack_at(CHARGEN)[index % 2];
                let client = connect(addr);
                crowd.push(client.unwrap_or_else(|error| panic!("client {index} of round {round}: {error}")));
            }
            until_nothing_arrives(&crowd);
            let started = Instant::now();
            assert!(page("/").contains("Portolan"));
            longest = longest.max(started.elapsed());
        }
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        println!("{} clients, the longest page load took {longest:?}", crowd.len());
        let counters = page("/");
        assert!(counter(&counters, "memory.pressures") > 0, "{counters}");
        assert!(counter(&counters, "memory.stalled_resets") > 0, "{counters}");
    });
}

/// Waits until the clients' receive buffers are full. Before that they make progress, so that on a
/// busy machine the page may be the connection that has waited longest, and is reset.
fn until_nothing_arrives(clients: &[TcpStream]) {
    let unread = || -> u64 { clients.iter().map(|client| ioctl_fionread(client).unwrap_or(0)).sum() };
    let mut before = unread();
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = unread();
        if now == before {
            return;
        }
        before = now;
    }
}

/// RFC 7413: the kernel's first request gets a cookie, and the next ones are sent with the SYN.
#[test]
fn the_kernel_opens_fast() {
    beside_portolan("tcp::the_kernel_opens_fast", &[], || {
        let request = |host: &str| {
            tool(&format!("curl --silent --show-error --fail --max-time 10 --tcp-fastopen http://{host}/"))
        };
        for host in [STACK4.to_string(), format!("[{STACK6}]")] {
            assert!((0..4).all(|_| request(&host).contains("Portolan")));
        }
        let counters = page("/");
        assert_eq!(counter(&counters, "fast_open.cookie_reqd"), 2, "{counters}");
        assert_eq!(counter(&counters, "fast_open.passive<"), 6, "{counters}");
        // The SYN-ACK acknowledged the kernel's data.
        let seen = tool("nstat -az TcpExtTCPFastOpenActive");
        assert!(seen.split_whitespace().any(|word| word == "6"), "{seen}");
    });
}

#[test]
fn a_closed_port_refuses() {
    beside_portolan("tcp::a_closed_port_refuses", &[], || {
        for addr in stack_at(81) {
            let started = Instant::now();
            let error = TcpStream::connect(addr).expect_err("nobody listens there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{addr}: {error}");
            assert!(
                started.elapsed() < Duration::from_millis(900),
                "{addr}: only the second SYN was answered"
            );
        }
    });
}

/// The peer closes its half; its data comes back nevertheless, and then the other half is closed,
/// too.
#[test]
fn a_half_closed_connection_still_echoes() {
    beside_portolan("tcp::a_half_closed_connection_still_echoes", &[], || {
        for addr in stack_at(ECHO) {
            let mut connection = connect(addr).expect("the echo service");
            let sent = Pattern::new(3).take(100_000);
            let mut writer = connection.try_clone().expect("a second handle");
            let writer = thread::spawn(move || {
                writer.write_all(&sent).expect("written");
                writer.shutdown(Shutdown::Write).expect("connected");
            });
            let mut back = Vec::new();
            connection.read_to_end(&mut back).expect("all of it, then the end of the stream");
            writer.join().expect("the writer");
            assert_eq!(back.len(), 100_000);
            Pattern::new(3).check(&back);
        }
    });
}

#[test]
fn daytime_discard_and_chargen_do_as_they_are_called() {
    beside_portolan("tcp::daytime_discard_and_chargen_do_as_they_are_called", &[], || {
        for family in [0, 1] {
            let mut daytime = String::new();
            let mut connection = connect(stack_at(DAYTIME)[family]).expect("the daytime service");
            connection.read_to_string(&mut daytime).expect("a line, then the end of the stream");
            assert!(daytime.trim().len() > 8 && daytime.contains(':'), "not a time: {daytime:?}");

            let mut discard = connect(stack_at(DISCARD)[family]).expect("the discard service");
            discard.write_all(&vec![b'x'; 1 << 20]).expect("written");
            discard.shutdown(Shutdown::Write).expect("connected");
            assert_eq!(discard.read(&mut [0; 1]).expect("the end of the stream"), 0);

            let mut chargen = connect(stack_at(CHARGEN)[family]).expect("the chargen service");
            let mut lines = vec![0; 74 * 95];
            chargen.read_exact(&mut lines).expect("as many characters as one reads");
            check_chargen(&lines);
        }
    });
}

/// A peer whose address is removed: the kernel then silently drops all packets to it. Other
/// connections are not affected. A connection survives a short absence, and one that its peer has
/// forgotten meanwhile ends when the peer is back and sends a reset.
#[test]
fn a_peer_that_vanishes() {
    beside_portolan("tcp::a_peer_that_vanishes", &[], || {
        let other = SocketAddr::new(STACK6, ECHO);
        let mut patient = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        round_trip(&mut patient, 1);
        let mut forgetful = connect(SocketAddr::new(STACK4, CHARGEN)).expect("the chargen service");
        forgetful.read_exact(&mut [0; 1000]).expect("characters");
        let forgotten = in_table(&forgetful);
        assert!(page("/socket-table.json").contains(&forgotten));

        // The chargen service continues to send, without an answer.
        tool(&format!("ip address del {HOST4}/24 dev {TAP}"));
        abort(forgetful);
        patient.write_all(b"while away").expect("queued by the kernel");
        for seed in 0..10 {
            let mut neighbour = connect(other).expect("the other family goes on");
            round_trip(&mut neighbour, seed);
            thread::sleep(Duration::from_millis(100));
        }

        tool(&format!("ip address add {HOST4}/24 dev {TAP}"));
        let mut back = [0; 10];
        patient.read_exact(&mut back).expect("the connection outlived the absence");
        assert_eq!(&back, b"while away");
        let gone = within(Duration::from_secs(20), || !page("/socket-table.json").contains(&forgotten));
        assert!(gone, "the connection {forgotten} is still there:\n{}", page("/socket-table.json"));
    });
}

/// The kernel's side of the link is down for a while: the device refuses what the stack sends then.
/// A connection continues afterwards.
#[test]
fn a_link_that_goes_down_and_comes_back() {
    beside_portolan("tcp::a_link_that_goes_down_and_comes_back", &[], || {
        let mut connection = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        round_trip(&mut connection, 1);
        let mut chargen = connect(SocketAddr::new(STACK4, CHARGEN)).expect("the chargen service");
        let mut lines = vec![0; 74 * 95];
        chargen.read_exact(&mut lines).expect("characters");

        tool(&format!("ip link set {TAP} down"));
        thread::sleep(Duration::from_secs(2));
        tool(&format!("ip link set {TAP} up"));
        round_trip(&mut connection, 2);
        lines.resize(74 * 95 * 100, 0);
        chargen.read_exact(&mut lines[74 * 95..]).expect("characters");
        check_chargen(&lines);
        let mut fresh = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        round_trip(&mut fresh, 3);
    });
}

/// A peer that reads nothing: the window closes and stays closed, other connections continue, and
/// when the peer reads again it gets everything in order.
#[test]
fn a_peer_that_stops_reading() {
    beside_portolan("tcp::a_peer_that_stops_reading", &[], || {
        for (family, addr) in stack_at(CHARGEN).into_iter().enumerate() {
            let mut lazy = connect(addr).expect("the chargen service");
            // Far longer than filling the buffers of both ends takes, and longer than the first
            // zero-window probes.
            thread::sleep(Duration::from_secs(2));
            let mut neighbour = connect(stack_at(ECHO)[family]).expect("the echo service");
            round_trip(&mut neighbour, 5);

            let mut lines = vec![0; 74 * 95 * 4000];
            lazy.read_exact(&mut lines).expect("as many characters as one reads");
            check_chargen(&lines);
        }
    });
}

/// The other direction: the echo service cannot send, so it must stop reading, and the writer must
/// be blocked.
#[test]
fn a_peer_that_only_writes_is_held_back() {
    beside_portolan("tcp::a_peer_that_only_writes_is_held_back", &[], || {
        let mut connection = connect(SocketAddr::new(STACK4, ECHO)).expect("the echo service");
        connection.set_nonblocking(true).expect("our own socket");
        let mut pattern = Pattern::new(11);
        let mut chunk = pattern.take(1 << 16);
        let mut written = 0;
        let mut idle_since = Instant::now();
        // The writer is blocked: nothing could be written for half a second.
        while idle_since.elapsed() < Duration::from_millis(500) {
            match connection.write(&chunk) {
                Ok(len) => {
                    written += len;
                    chunk.drain(..len);
                    chunk.extend(pattern.take(len));
                    idle_since = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10))
                }
                Err(error) => panic!("after {written} bytes: {error}"),
            }
            assert!(written < 256 << 20, "the stack takes everything and keeps it");
        }

        connection.set_nonblocking(false).expect("our own socket");
        let mut back = vec![0; written];
        connection.read_exact(&mut back).expect("all that was written");
        Pattern::new(11).check(&back);
    });
}

/// A reset during a transfer leaves nothing behind.
#[test]
fn a_reset_frees_the_connection() {
    beside_portolan("tcp::a_reset_frees_the_connection", &[], || {
        let connections: Vec<TcpStream> = (0..50)
            .map(|_| {
                let mut connection = connect(SocketAddr::new(STACK4, CHARGEN)).expect("the chargen service");
                connection.read_exact(&mut [0; 100]).expect("characters");
                connection
            })
            .collect();
        let peers: Vec<String> = connections.iter().map(in_table).collect();
        let table = page("/socket-table.json");
        assert!(peers.iter().all(|peer| table.contains(peer)), "{peers:?} in\n{table}");
        connections.into_iter().for_each(abort);
        let gone = within(Duration::from_secs(5), || {
            let table = page("/socket-table.json");
            peers.iter().all(|peer| !table.contains(peer))
        });
        assert!(gone, "left behind:\n{}", page("/socket-table.json"));
    });
}

/// The kernel's own counters, which would show wrong checksums and unexpected answers of the stack.
#[test]
fn the_kernel_has_nothing_to_complain_of() {
    beside_portolan("tcp::the_kernel_has_nothing_to_complain_of", &[], || {
        for addr in stack_at(ECHO) {
            echo_through(addr, 4 << 20);
        }
        let counters = tool("cat /proc/net/snmp /proc/net/snmp6");
        let tcp: Vec<&str> = counters.lines().filter(|line| line.starts_with("Tcp:")).collect();
        let [names, values] = tcp[..] else { panic!("{counters}") };
        for (name, value) in names.split(' ').zip(values.split(' ')) {
            if name == "InErrs" || name == "InCsumErrors" {
                assert_eq!(value, "0", "{name}\n{counters}");
            }
        }
    });
}

/// The status page over both families, fetched with the machine's `curl`.
#[test]
fn the_status_page_is_served_over_both_families() {
    beside_portolan("tcp::the_status_page_is_served_over_both_families", &[], || {
        for host in [STACK4.to_string(), format!("[{STACK6}]")] {
            let page = tool(&format!("curl --silent --show-error --fail --max-time 10 http://{host}/"));
            assert!(page.contains("<html") && page.contains("</html>"), "{page}");
            for shown in [&STACK4.to_string(), &STACK6.to_string(), "LISTEN", "link.frames_in"] {
                assert!(page.contains(shown), "{shown} is not on the page:\n{page}");
            }
            let table = tool(&format!("curl -sS --fail --max-time 10 http://{host}/socket-table.json"));
            assert!(table.trim_start().starts_with(['[', '{']) && table.contains("LISTEN"), "{table}");
            let missing = tool_output(&format!("curl -sS --fail --max-time 10 http://{host}/no-such-page"));
            assert_eq!(missing.status.code(), Some(22), "curl's status for an HTTP error");
        }
    });
}

/// Sends a pattern through the echo service and compares the received data, at the same time.
pub(crate) fn echo_through(addr: SocketAddr, bytes: usize) {
    let mut connection = connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    let mut writer = connection.try_clone().expect("a second handle");
    let writer = thread::spawn(move || -> io::Result<()> {
        let mut pattern = Pattern::new(bytes as u64);
        let mut left = bytes;
        while left > 0 {
            let chunk = pattern.take(left.min(1 << 16));
            writer.write_all(&chunk)?;
            left -= chunk.len();
        }
        writer.shutdown(Shutdown::Write)
    });
    let mut pattern = Pattern::new(bytes as u64);
    let mut buf = vec![0; 1 << 16];
    loop {
        match connection
            .read(&mut buf)
            .unwrap_or_else(|error| panic!("after {}: {error}", pattern.position()))
        {
            0 => break,
            len => pattern.check(&buf[..len]),
        }
    }
    writer.join().expect("the writer").expect("written");
    assert_eq!(pattern.position(), bytes as u64, "the stream ended early");
}

/// The stack's values for a connection agree with the kernel's for its other end.
#[test]
fn both_ends_see_the_same_path() {
    beside_portolan("tcp::both_ends_see_the_same_path", &[], || {
        for addr in stack_at(ECHO) {
            let mut connection = connect(addr).expect("the echo service");
            for seed in 0..20 {
                round_trip(&mut connection, seed);
            }
            let port = connection.local_addr().expect("connected").port();
            let table = page("/socket-table.json");
            let row = table
                .split('{')
                .find(|row| row.contains(&format!(":{port}\"")))
                .unwrap_or_else(|| panic!("port {port} is not in {table}"));
            let kernel = tool(&format!("ss --tcp --info --no-header sport = :{port}"));
            // The kernel counts milliseconds and segments, and its round trips may include the
            // delay of an echo.
            let ours = number_behind(row, "\"rtt_us\":") / 1000.0;
            let theirs = number_behind(&kernel, " rtt:");
            assert!(ours > 0.0 && ours < 50.0 && theirs < 50.0, "{ours} ms here, {theirs} ms there");
            let segs = number_behind(row, "\"cwnd\":") / number_behind(&kernel, " mss:");
            let their_segs = number_behind(&kernel, " cwnd:");
            assert!(segs >= 10.0 && their_segs >= 10.0, "{segs} segments here, {their_segs} there");
        }
    });
}

/// The number after a name.
fn number_behind(text: &str, name: &str) -> f64 {
    let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|_| panic!("{name} has no number in {text}"))
}

/// A connection with time-outs, so that nothing waits for ever.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&addr, Duration::from_secs(20))?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(connection)
}

/// Sends a few bytes through the echo service.
pub(crate) fn round_trip(connection: &mut TcpStream, seed: u64) {
    let mut data = Pattern::new(seed).take(500);
    connection.write_all(&data).expect("written");
    connection.read_exact(&mut data).expect("echoed");
    Pattern::new(seed).check(&data);
}

/// Ends a connection with a reset (SO_LINGER of zero).
fn abort(connection: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).expect("our own socket");
}

/// The entry of this connection in the stack's table of sockets. The peer's address may be shown as
/// `::ffff:10.0.0.1`, but no other peer has its port.
fn in_table(connection: &TcpStream) -> String {
    format!(":{}\"", connection.local_addr().expect("connected").port())
}

/// RFC 864: lines of 72 printable characters, each of which begins one character later than the
/// line before.
fn check_chargen(lines: &[u8]) {
    for (index, line) in lines.chunks_exact(74).enumerate() {
        assert_eq!(&line[72..], b"\r\n", "the end of line {index}");
        let next = |c: u8| if c == b'~' { b' ' } else { c + 1 };
        assert!(line[..72].windows(2).all(|pair| pair[1] == next(pair[0])), "line {index}: {line:?}");
        if let Some(before) = index.checked_sub(1) {
            assert_eq!(line[0], next(lines[before * 74]), "the beginning of line {index}");
        }
    }
}

/// Waits until the condition is true. Returns false if that takes longer than `limit`.
pub(crate) fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("the soft limit may rise to the hard one");
    assert!(limit.maximum.is_none_or(|maximum| maximum >= 1100), "the hard limit of open files is {limit:?}");
}
