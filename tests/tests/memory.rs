//! Many connections and little memory: every connection makes progress, new ones are accepted, all
//! data arrives, and in the end all memory is released. If nothing else can be released,
//! connections without progress are reset.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig, TcpSegment};
use portolan::{Config, Descriptor, Domain, Error, SocketKind};
use portolan_tests::crowd::{Crowd, Habit};
use portolan_tests::{RawPeer, data};

const LIMIT_BYTES: usize = 4 << 20;
const CONNECTIONS: usize = 100;
const EACH_BYTES: usize = 150_000;

/// The client's and the server's end, and the progress of each.
struct Flow {
    client: Descriptor,
    server: Descriptor,
    sent: usize,
    received: Vec<u8>,
}

fn pair(faults: LinkFaults) -> Pair {
    let mut config = PairConfig::seeded(11);
    config.faults = faults;
    config.b.memory_limit_bytes = LIMIT_BYTES;
    // A longer run is more than one connection's share of that memory.
    config.a.tcp.max_run_segs = 16;
    Pair::new(config)
}

/// Every client sends what it can; the servers read if `reading` is set.
fn work(pair: &mut Pair, flows: &mut [Flow], data: &[u8], reading: bool) {
    let now = pair.now();
    for flow in flows {
        if flow.sent < data.len() {
            flow.sent += pair.a.stack.send(now, flow.client, &data[flow.sent..]).unwrap_or(0);
        }
        while reading && let Ok(slice) = pair.b.stack.recv_bytes(now, flow.server, usize::MAX) {
            if slice.is_empty() {
                break;
            }
            flow.received.extend_from_slice(&slice);
        }
    }
    assert!(pair.b.stack.memory_bytes() <= LIMIT_BYTES, "{}", pair.b.stack.memory_bytes());
}

/// Opens a connection, which must take less than four seconds, losses and repeated SYNs included.
fn connect_quickly(pair: &mut Pair, listener: Descriptor) -> (Descriptor, Descriptor) {
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let to = SocketAddr::new(pair.b.addr(Domain::V4), 80);
    assert_eq!(pair.a.stack.connect(pair.now(), client, to), Err(Error::InProgress));
    let mut server = None;
    pair.drive(Duration::from_secs(4), |pair| {
        server = pair.b.stack.accept(listener).ok();
        server.is_some()
    });
    (client, server.expect("the newcomer is let in").0)
}

/// A request of 1,000 bytes and an answer of 3,000.
fn exchange(pair: &mut Pair, client: Descriptor, server: Descriptor) {
    let (question, answer) = (data(1, 1000), data(2, 3000));
    let mut got = [Vec::new(), Vec::new()];
    assert_eq!(pair.a.stack.send(pair.now(), client, &question), Ok(1000));
    let mut sent = 0;
    let whole = pair.drive(Duration::from_secs(4), |pair| {
        let now = pair.now();
        while let Ok(slice) = pair.b.stack.recv_bytes(now, server, usize::MAX) {
            got[0].extend_from_slice(&slice);
        }
        if got[0].len() == question.len() && sent < answer.len() {
            sent += pair.b.stack.send(now, server, &answer[sent..]).unwrap_or(0);
        }
        while let Ok(slice) = pair.a.stack.recv_bytes(now, client, usize::MAX) {
            got[1].extend_from_slice(&slice);
        }
        got[1].len() == answer.len()
    });
    assert!(whole && got == [question, answer], "{:?}", pair.b.stack.stats());
}

fn many_under_pressure(faults: LinkFaults) {
    let data = data(11, EACH_BYTES);
    let mut pair = pair(faults);
    let listener = pair.listener(Domain::V4, 80);
    let mut flows: Vec<Flow> = (0..CONNECTIONS)
        .map(|_| {
            let (client, server) = pair.connect_to(Domain::V4, listener, 80);
            Flow { client, server, sent: 0, received: Vec::new() }
        })
        .collect();
    let busy = pair.b.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let at_start = pair.b.stack.memory_bytes();
    pair.drive(Duration::from_secs(30), |pair| {
        work(pair, &mut flows, &data, false);
        false
    });
    assert!(pair.b.stack.stats().memory.pressures > 0, "{:?}", pair.b.stack.stats());
    // 100 windows of 128 KiB are three times the available memory; each connection has its share,
    // and none was ended.
    for flow in &flows {
        let (queued, _) = pair.b.stack.queued_bytes(flow.server).unwrap();
        assert!((4096 - 1460..LIMIT_BYTES / CONNECTIONS).contains(&queued), "{queued}");
    }
    // New connections are accepted at once, in both directions, and are served.
    for _ in 0..3 {
        let (client, server) = connect_quickly(&mut pair, listener);
        exchange(&mut pair, client, server);
    }
    let back = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    pair.a.stack.bind(back, "0.0.0.0:81".parse::<SocketAddr>().unwrap()).unwrap();
    pair.a.stack.listen(back, 1).unwrap();
    let to = SocketAddr::new(pair.a.addr(Domain::V4), 81);
    assert_eq!(pair.b.stack.connect(pair.now(), busy, to), Err(Error::InProgress));
    pair.run_for(Duration::from_secs(3));
    assert!(pair.a.stack.accept(back).is_ok());
    pair.b.stack.close(pair.now(), busy).unwrap();
    assert_eq!(pair.b.stack.stats().memory.stalled_resets, 0, "there was no need");
    // Now the programs read: everything arrives, the new connection is accepted, and the memory is
    // as before.
    let all = pair.drive(Duration::from_secs(600), |pair| {
        work(pair, &mut flows, &data, true);
        flows.iter().all(|flow| flow.received.len() == data.len())
    });
    assert!(all, "{:?}", pair.b.stack.stats());
    assert!(flows.iter().all(|flow| flow.received == data));
    pair.run_for(Duration::from_secs(5));
    let now = pair.b.stack.memory_bytes();
    assert!(now < at_start + CONNECTIONS * 1024, "{now} after {at_start}");
}

#[test]
fn many_connections_share_little_memory_and_recover() {
    many_under_pressure(LinkFaults::default());
}

#[test]
fn so_they_do_with_losses() {
    many_under_pressure(LinkFaults { loss: 0.02, reorder: 0.02, ..LinkFaults::default() });
}

/// Both ends of both directions: programs that write as much as they can get `WouldBlock`, and not
/// an error.
#[test]
fn writers_wait_for_memory_and_get_it() {
    let bytes = data(12, EACH_BYTES);
    let mut pair = pair(LinkFaults::default());
    let listener = pair.listener(Domain::V4, 80);
    let mut flows: Vec<(Flow, usize)> = (0..CONNECTIONS)
        .map(|_| {
            let (client, server) = pair.connect_to(Domain::V4, listener, 80);
            (Flow { client, server, sent: 0, received: Vec::new() }, 0)
        })
        .collect();
    let all = pair.drive(Duration::from_secs(600), |pair| {
        let now = pair.now();
        for (flow, refusals) in &mut flows {
            if flow.sent < bytes.len() && pair.b.stack.readiness(flow.server).unwrap().writable {
                match pair.b.stack.send(now, flow.server, &bytes[flow.sent..]) {
                    Ok(count) => flow.sent += count,
                    Err(Error::WouldBlock | Error::NoBufferSpace) => *refusals += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            while let Ok(slice) = pair.a.stack.recv_bytes(now, flow.client, usize::MAX) {
                flow.received.extend_from_slice(&slice);
            }
        }
        assert!(pair.b.stack.memory_bytes() <= LIMIT_BYTES);
        flows.iter().all(|(flow, _)| flow.received.len() == bytes.len())
    });
    assert!(all, "{:?}", pair.b.stack.stats());
    assert!(pair.b.stack.stats().memory.pressures > 0);
    assert!(flows.iter().all(|(flow, _)| flow.received == bytes));
}

/// What a client gets beside a client that reads: within a second, whatever the crowd does, from
/// one address or from many. (`--bin crowd` does the same with 50,000 clients.)
fn is_served_beside(habit: Habit) {
    const CLIENTS: u32 = 500;
    for addresses in [1, CLIENTS] {
        let crowd = Crowd {
            clients: CLIENTS,
            habit,
            addresses,
            per_second: 500,
            returns: true,
            // As much for each client as 50,000 clients have of the default.
            memory_limit_bytes: 2_600_000,
            stays: Duration::from_secs(1),
        };
        let report = crowd.run();
        assert_eq!(report.failures, 0, "{report:?}");
        assert!(report.loads >= 15 && report.longest_load < Duration::from_secs(1), "{report:?}");
        assert!(report.least_a_second.iter().all(|&bytes| bytes > 50_000), "{report:?}");
        let stats = report.stats.expect("it is over");
        let is_short = habit != Habit::HalfOpen;
        assert_eq!(stats.memory.pressures > 0, is_short, "{stats:?}");
        // As many clients of a crowd that holds data are left as the memory allows.
        assert_eq!(stats.memory.stalled_resets > 0, is_short, "{stats:?}");
    }
}

#[test]
fn clients_that_read_nothing_do_not_lock_others_out() {
    is_served_beside(Habit::NeverRead);
}

#[test]
fn clients_that_never_finish_a_handshake_do_not_lock_others_out() {
    is_served_beside(Habit::HalfOpen);
}

#[test]
fn clients_that_send_to_a_program_that_never_reads_do_not_lock_others_out() {
    is_served_beside(Habit::Send);
}

/// Floors fill all memory, and connections are reset because of that.
#[test]
fn a_datagram_and_an_echo_request_find_room_in_the_reserve() {
    let mut config = Config::default();
    config.memory_limit_bytes = 256 << 10;
    let mut peer = RawPeer::new(false, config, 1);
    let mut bound = |kind| {
        let d = peer.stack.socket(Domain::V4, kind).unwrap();
        peer.stack.bind(d, "0.0.0.0:80".parse::<SocketAddr>().unwrap()).unwrap();
        d
    };
    let (listener, datagrams) = (bound(SocketKind::Stream), bound(SocketKind::Datagram));
    peer.stack.listen(listener, 1000).unwrap();
    for port in 5000..5100 {
        let mut connection = peer.open(Domain::V4, port, 80);
        for _ in 0..3 {
            peer.send_segment(Domain::V4, &connection.segment(TcpSegment::ACK, &[7; 1000]));
            connection.snd_nxt += 1000;
        }
        peer.take_sent();
        let packet = peer.packet(Domain::V4);
        peer.send_packet(&packet.echo_request(1, port, &[1; 1000]));
        let [reply] = &peer.take_sent()[..] else { panic!("no echo reply on port {port}") };
        assert_eq!(reply[20], 0);
        peer.send_packet(&packet.udp(7, 80, &[2; 1400]));
        let mut buf = [0; 1500];
        let (len, meta) = peer.stack.recv_from(peer.now, datagrams, &mut buf).unwrap();
        assert_eq!(peer.stack.send_to(peer.now, datagrams, &buf[..len], meta.peer()), Ok(1400));
        peer.settle();
        assert_eq!(peer.take_sent().len(), 1, "the answer on port {port}");
    }
    assert!(peer.stack.stats().memory.stalled_resets > 10, "{:?}", peer.stack.stats());
}

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Stores the warnings of each thread.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|warnings| warnings.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The text with `#` in place of each number.
fn without_numbers(text: &str) -> String {
    let mut shown = text.replace(|c: char| c.is_ascii_digit(), "#");
    while shown.contains("##") {
        shown = shown.replace("##", "#");
    }
    shown
}

/// Each message appears once: which peer holds the most memory, and what to do.
#[test]
fn the_log_says_that_memory_is_short_and_what_to_raise() {
    log::set_logger(&Keeper).expect("the only logger of this program");
    log::set_max_level(log::LevelFilter::Warn);
    let crowd = Crowd {
        clients: 200,
        habit: Habit::NeverRead,
        addresses: 1,
        per_second: 200,
        returns: false,
        memory_limit_bytes: 1 << 20,
        stays: Duration::from_secs(1),
    };
    assert!(crowd.run().stats.expect("it is over").memory.stalled_resets > 1);
    let warnings = WARNINGS.take();
    assert_eq!(
        warnings.iter().map(|text| without_numbers(text)).collect::<Vec<_>>(),
        [
            "memory is short: sockets hold # of # KiB, of which #.#.#.# holds # KiB in # connections. Buffers shrink; if that \
             is not enough, connections without progress are reset. Raise Config::memory_limit_bytes, or find out why these connections \
             do not drain",
            "memory is used up: sockets hold # KiB, more than the limit of #, of which #.#.#.# holds # KiB in # connections. \
             Connections are reset, first the one with #.#.#.#:#, which made no progress for # s (counted in memory.stalled_resets)",
        ]
    );
    assert!(warnings.iter().all(|text| text.contains("10.16.0.0 ")), "{warnings:?}");
}

/// The program for the large numbers, run with small ones.
#[test]
fn the_program_crowd_says_what_came_of_it() {
    let arguments = "--clients 60 --addresses 2 --limit 2 --per-second 100 --seconds 1";
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_crowd"))
        .args(arguments.split(' '))
        .output()
        .expect("it was built with the tests");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let habits: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(habits, ["NeverRead", "HalfOpen", "Send"], "{text}");
}
