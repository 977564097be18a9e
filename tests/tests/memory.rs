//! Many connections and little memory: everybody gets on, newcomers wait, and in the end everything is given back.

use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::{LinkFaults, Pair, PairConfig};
use portolan::{Descriptor, Domain, DropReason, Error, SocketKind};
use portolan_tests::data;

const LIMIT_BYTES: usize = 4 << 20;
const CONNECTIONS: usize = 100;
const EACH_BYTES: usize = 150_000;

/// The client's end, the server's, and how far each has come.
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

/// Every client sends what it can; the servers read, or not.
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
    assert!(pair.b.stack.stats().memory_pressures > 0, "{:?}", pair.b.stack.stats());
    // 100 windows of 128 KiB are three times what there is; each has its share, and nobody was ended.
    for flow in &flows {
        let (queued, _) = pair.b.stack.queued_bytes(flow.server).unwrap();
        assert!((4096 - 1460..LIMIT_BYTES / CONNECTIONS).contains(&queued), "{queued}");
    }
    // A newcomer is refused.
    let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let to = SocketAddr::new(pair.b.addr(Domain::V4), 80);
    assert_eq!(pair.a.stack.connect(pair.now(), client, to), Err(Error::InProgress));
    let refused = pair.b.stack.stats().drops(DropReason::MemoryLimit);
    pair.run_for(Duration::from_millis(1500));
    assert!(pair.b.stack.stats().drops(DropReason::MemoryLimit) > refused);
    assert_eq!(pair.b.stack.accept(listener).map(|_| ()), Err(Error::WouldBlock));
    let back = SocketAddr::new(pair.a.addr(Domain::V4), 80);
    assert_eq!(pair.b.stack.connect(pair.now(), busy, back), Err(Error::NoBufferSpace));
    pair.b.stack.close(pair.now(), busy).unwrap();
    // Now the programs read: everything arrives, the newcomer is let in, the memory is as it was.
    let all = pair.drive(Duration::from_secs(600), |pair| {
        work(pair, &mut flows, &data, true);
        flows.iter().all(|flow| flow.received.len() == data.len())
    });
    assert!(all, "{:?}", pair.b.stack.stats());
    assert!(flows.iter().all(|flow| flow.received == data));
    let opened = pair.drive(Duration::from_secs(120), |pair| pair.b.stack.accept(listener).is_ok());
    assert!(opened, "the newcomer's SYN is repeated until there is room");
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

/// Both ends of both directions: programs that write as much as they can are told to wait, not that something broke.
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
    assert!(pair.b.stack.stats().memory_pressures > 0);
    assert!(flows.iter().all(|(flow, _)| flow.received == bytes));
}
