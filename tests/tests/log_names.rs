//! Each log line of TCP names its connection, and each line about a dropped packet names the
//! packet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use portolan::testing::{LinkFaults, PacketBuilder, Pair, PairConfig, Side, TcpSegment};
use portolan::{Domain, Shutdown};

/// Stores the log lines of one thread, each with its target.
struct Kept(Mutex<Vec<(String, String)>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push((record.target().into(), record.args().to_string()));
    }

    fn flush(&self) {}
}

const CONNECTIONS: usize = 100;

/// This is one test, because a program has only one log.
#[test]
fn the_log_of_one_of_a_hundred_connections_is_found_by_its_name() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let mut pair = Pair::new(PairConfig::seeded(11));
    let listener = pair.listener(Domain::V4, 80);
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| pair.connect_to(Domain::V4, listener, 80)).collect();
    let clients: Vec<SocketAddr> =
        streams.iter().map(|&(client, _)| pair.a.stack.local_addr(client).unwrap()).collect();
    pair.set_faults(LinkFaults { loss: 0.05, duplicate: 0.02, reorder: 0.05, ..LinkFaults::default() });
    for &(client, server) in &streams {
        let now = pair.now();
        pair.a.stack.send(now, client, &[7; 20_000]).unwrap();
        pair.a.stack.shutdown(now, client, Shutdown::Write).unwrap();
        pair.b.stack.shutdown(now, server, Shutdown::Write).unwrap();
    }
    // Reads to the end, so that the connections end.
    pair.drive(Duration::from_secs(300), |pair| {
        let now = pair.now();
        for &(_, server) in &streams {
            while pair.b.stack.recv(now, server, &mut [0; 4096]).is_ok_and(|len| len > 0) {}
        }
        pair.b.stack.sockets().all(|socket| socket.state.name() == "LISTEN")
    });
    // A packet that belongs to no connection.
    let stray = PacketBuilder::new("10.0.0.77".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let to_a = |packet: &[u8]| {
        portolan::testing::ethernet(
            portolan::MacAddr([2, 0, 0, 0, 0, 9]),
            portolan::MacAddr::BROADCAST,
            packet,
        )
    };
    pair.inject(Side::A, to_a(&stray.udp(1, 2, b"x")));
    pair.run_for(Duration::from_secs(1));

    let lines = std::mem::take(&mut *KEPT.0.lock().unwrap());
    let mut of_connection: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (target, line) in &lines {
        if let Some(named) = line.strip_prefix("tcp #") {
            let (name, rest) = named.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            of_connection.entry(name).or_default().push(rest);
        } else {
            assert!(!target.starts_with("portolan::tcp"), "{target} does not say whose it is: {line}");
        }
        if line.contains("dropped") {
            assert!(line.contains("-> "), "a packet without a name: {line}");
        }
    }
    // Each connection has two ends here, each with a name.
    assert_eq!(of_connection.len(), 2 * CONNECTIONS);
    let client = clients[42];
    let name =
        |(name, _): &(&&str, _)| name.split_once(' ').unwrap().1 == format!("{client} <-> 10.0.0.2:80");
    let found: Vec<_> = of_connection.iter().filter(name).collect();
    let [(name, told)] = &found[..] else { panic!("{found:?}") };
    let short_id = format!("#{}", name.split_once(' ').unwrap().0);
    let by_id: Vec<_> = lines.iter().filter(|(_, line)| line.contains(&short_id)).collect();
    assert_eq!(by_id.len(), told.len(), "the short id is enough to find them");
    // From the first state to the last, including the work of timers and acknowledgements.
    for state in ["-> SYN-SENT", "SYN-SENT -> ESTABLISHED", "ESTABLISHED -> FIN-WAIT-1"] {
        assert!(told.iter().any(|line| line.contains(state)), "{state}: {told:#?}");
    }
    let server = format!("10.0.0.2:80 <-> {client}");
    let (_, told) = of_connection.iter().find(|(name, _)| name.ends_with(&server)).unwrap();
    assert!(told.iter().any(|line| line.starts_with("LISTEN -> SYN-RECEIVED")), "{told:#?}");
    assert!(lines.iter().any(|(_, line)| line.contains("dropped") && line.contains("10.0.0.77")));

    // The reset for a segment from a host to which there is no route.
    let far = PacketBuilder::new("172.16.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let syn = far.tcp(&TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(1234, 9) });
    let [from, to] = [9, 1].map(|last| portolan::MacAddr([2, 0, 0, 0, 0, last]));
    pair.inject(Side::A, portolan::testing::ethernet(from, to, &syn));
    pair.run_for(Duration::from_secs(1));
    let is_named = |line: &str| line.ends_with(" 10.0.0.1:9 <-> 172.16.0.9:1234: dropped: NoRoute");
    let lines = std::mem::take(&mut *KEPT.0.lock().unwrap());
    assert!(lines.iter().any(|(_, line)| line.starts_with("tcp #") && is_named(line)), "{lines:#?}");
}
