//! The memory of an idle established connection, with everything counted: descriptors, tables,
//! records, queues, and what remains after use.
//!
//! `CONNECTIONS=100000 cargo test --release -p portolan-tests --test idle_memory -- --nocapture`
//! prints the figure for 100,000 connections; by default the test opens 10,000. `STREAMS=100000`
//! does the same for streams of a runtime.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portolan::testing::{PacketBuilder, Pair, PairConfig, Side, TcpSegment};
use portolan::{
    Config, Descriptor, Domain, DropReason, Error, Frame, IgnoreReason, Instant, Interception,
    InterfaceConfig, Medium, PendingEvent, Rejection, SockAddr, SocketKind, SocketOption, Stack, TcpState,
    Unreachable,
};
use portolan_runtime::device::{MemoryDevice, memory_pair};
use portolan_runtime::{Builder, Runtime, TcpListener, TcpStream};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator unchanged; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// There are 28,232 ephemeral ports for connections to one address and port.
const PER_PORT: usize = 10_000;
/// The number of connections that are opened, or used, at once.
const AT_ONCE: usize = 100;
const LIMIT: usize = 1024;
/// The number of connections between two runtimes. The tables then have about as much room to spare
/// as with 100,000.
const STREAMS: usize = 3_000;
/// What the account may hold for a socket whose connection was reset.
const ENDED_LIMIT: usize = 560;

/// Held by the test that runs: another one would be counted, too.
static COUNTED: Mutex<()> = Mutex::new(());

/// The connections of two stacks, all idle.
struct Idle {
    pair: Pair,
    /// The client's and the server's descriptor of each connection.
    ends: Vec<(Descriptor, Descriptor)>,
    /// The allocated bytes before there were connections.
    before: usize,
}

impl Idle {
    fn open(count: usize) -> Idle {
        let mut config = PairConfig::seeded(1);
        config.a.memory_limit_bytes = 1 << 30;
        config.b.memory_limit_bytes = 1 << 30;
        let pair = Pair::new(config);
        let ends = Vec::with_capacity(count);
        let mut idle = Idle { pair, ends, before: LIVE.load(Ordering::Relaxed) };
        for index in 0..count.div_ceil(PER_PORT) {
            let listener = idle.pair.listener(Domain::V4, 80 + index as u16);
            for _ in 0..PER_PORT.min(count - index * PER_PORT) / AT_ONCE {
                idle.open_some(listener, 80 + index as u16);
            }
        }
        assert_eq!(idle.ends.len(), count);
        idle.rest();
        idle
    }

    fn open_some(&mut self, listener: Descriptor, port: u16) {
        let Idle { pair, ends, .. } = self;
        let to = SocketAddr::new(pair.b.addr(Domain::V4), port);
        let clients: Vec<Descriptor> = (0..AT_ONCE)
            .map(|_| {
                let client = pair.a.stack.socket(Domain::V4, SocketKind::Stream).unwrap();
                assert_eq!(pair.a.stack.connect(pair.now(), client, to), Err(Error::InProgress));
                client
            })
            .collect();
        let mut servers = Vec::new();
        let all_are_open = pair.drive(Duration::from_secs(10), |pair| {
            servers.extend(std::iter::from_fn(|| pair.b.stack.accept(listener).ok()));
            servers.len() == AT_ONCE
        });
        assert!(all_are_open, "{:?}", pair.b.stack.stats());
        let addr_of = |client: &Descriptor| pair.a.stack.local_name(*client).unwrap();
        let by_addr: HashMap<SockAddr, Descriptor> =
            servers.into_iter().map(|(server, peer)| (peer, server)).collect();
        ends.extend(clients.into_iter().map(|client| (client, by_addr[&addr_of(&client)])));
    }

    /// Sends a request of `len` bytes and an answer over every connection.
    fn use_all(&mut self, len: usize) {
        let Idle { pair, ends, .. } = self;
        let mut buf = vec![7; len];
        for some in ends.chunks(AT_ONCE) {
            let now = pair.now();
            for &(client, _) in some {
                assert_eq!(pair.a.stack.send(now, client, &buf), Ok(len));
            }
            pair.run_for(Duration::from_millis(100));
            let now = pair.now();
            for &(_, server) in some {
                assert_eq!(pair.b.stack.recv(now, server, &mut buf), Ok(len));
                assert_eq!(pair.b.stack.send(now, server, &buf), Ok(len));
            }
            pair.run_for(Duration::from_millis(100));
            let now = pair.now();
            for &(client, _) in some {
                assert_eq!(pair.a.stack.recv(now, client, &mut buf), Ok(len));
            }
        }
        self.rest();
    }

    /// Waits until everything temporary is gone.
    fn rest(&mut self) {
        self.pair.run_for(Duration::from_secs(5));
        self.pair.take_events(Side::A);
        self.pair.take_events(Side::B);
    }

    /// The number of bytes for each end.
    fn each(&self) -> usize {
        (LIVE.load(Ordering::Relaxed) - self.before) / (2 * self.ends.len())
    }
}

#[test]
fn an_idle_connection_takes_at_most_a_kibibyte() {
    let _alone = COUNTED.lock();
    let count = std::env::var("CONNECTIONS").map_or(PER_PORT, |text| text.parse().expect("a number"));
    let mut idle = Idle::open(count / AT_ONCE * AT_ONCE);
    let fresh = idle.each();
    println!(
        "{count} idle connections that were never used: each end takes {fresh} bytes, everything counted"
    );
    idle.use_all(1000);
    let used = idle.each();
    println!("the same after a question and an answer of 1,000 bytes each: {used} bytes");
    assert!(fresh <= LIMIT && used <= LIMIT, "{fresh} and {used} bytes, more than {LIMIT}");
}

/// A program may hold a socket for long after the peer has reset it. What is left are the answers
/// that it can still ask for: as on Linux SO_ERROR, the options, the addresses and TCP_INFO.
#[test]
fn a_socket_that_was_reset_keeps_its_answers_only() {
    const COUNT: usize = 1_000;
    let _alone = COUNTED.lock();
    let mut idle = Idle::open(COUNT);
    idle.use_all(1000);
    let open = idle.each();
    let charged = |idle: &Idle| idle.pair.a.stack.memory_bytes() / COUNT;
    for index in 0..COUNT {
        let (_, server) = idle.ends[index];
        let (now, stack) = (idle.pair.now(), &mut idle.pair.b.stack);
        stack.set_option(now, server, SocketOption::Linger(Some(Duration::ZERO))).unwrap();
        stack.close(now, server).unwrap();
    }
    idle.rest();
    // Of the other end only the room in the tables is left.
    let ended = 2 * idle.each();
    let charged = charged(&idle);
    println!("both ends took {} bytes; after a reset {ended}, of which {charged} are charged", 2 * open);
    assert!(ended <= LIMIT && charged <= ENDED_LIMIT, "{ended} and {charged} bytes");
    let now = idle.pair.now();
    for &(client, _) in &idle.ends {
        let stack = &mut idle.pair.a.stack;
        let info = stack.info(now, client).unwrap();
        assert_eq!((info.state, info.bytes_sent, info.bytes_received), (TcpState::Closed, 1000, 1000));
        assert!(info.last_data_recv > Duration::from_secs(5), "{info:?}");
        assert_eq!(stack.take_error(client), Ok(Some(Error::ConnectionReset)));
    }
}

/// SYNs that are intercepted, on which the program never decides, and which come from as many hosts
/// as there are. Tables, sorted sets and unused capacity are counted.
#[test]
fn a_pending_connection_takes_at_most_384_bytes_in_all() {
    const PENDING: u32 = 10_000;
    const PENDING_LIMIT: usize = 384;
    let _counted = COUNTED.lock().unwrap();
    let now = Instant::ZERO;
    let mut stack = Stack::new(Config::default(), [7; 32], now);
    let tunnel = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/8".parse().unwrap());
    let tunnel = stack.add_interface(now, tunnel.intercept(Interception::all())).unwrap();
    let interceptor = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    stack.intercept(interceptor).unwrap();
    let before = LIVE.load(Ordering::Relaxed);
    // The options of Linux.
    let options = vec![2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let syn = TcpSegment { flags: TcpSegment::SYN, options, ..TcpSegment::new(40_000, 443) };
    for number in 0..PENDING {
        let source = (0x0a01_0000 + number).to_be_bytes().into();
        let packet = PacketBuilder::new(source, [203, 0, 113, 7].into()).tcp(&syn);
        stack.handle_frame(now, tunnel, Frame::new(packet));
    }
    assert_eq!(stack.stats().interception.pending, u64::from(PENDING));
    let each = (LIVE.load(Ordering::Relaxed) - before) / PENDING as usize;
    println!("{each} bytes for each of {PENDING} pending connections");
    assert!(each <= PENDING_LIMIT, "{each}");
}

/// A proxy whose upstream hosts refuse, are unreachable and are silent, in turn: all connections
/// wait for a decision at once, and then each gets its answer.
#[test]
fn ten_thousand_connections_that_fail_take_at_most_10_mib_and_are_answered() {
    const COUNT: u32 = 10_000;
    let _counted = COUNTED.lock().unwrap();
    let mut now = Instant::ZERO;
    let mut stack = Stack::new(Config::default(), [7; 32], now);
    let tunnel = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/8".parse().unwrap());
    let tunnel = stack.add_interface(now, tunnel.intercept(Interception::all())).unwrap();
    let interceptor = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    stack.intercept(interceptor).unwrap();
    let mut answers = vec![[0_u32; 2]; COUNT as usize];
    let mut waiting = Vec::with_capacity(COUNT as usize);
    let before = LIVE.load(Ordering::Relaxed);
    let mut most = 0;
    let mut note_memory = || most = LIVE.load(Ordering::Relaxed).saturating_sub(before).max(most);
    let syn = TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(40_000, 443) };
    for number in 0..COUNT {
        let source = (0x0a01_0000 + number).to_be_bytes().into();
        let packet = PacketBuilder::new(source, [203, 0, 113, (number % 3) as u8].into()).tcp(&syn);
        stack.handle_frame(now, tunnel, Frame::new(packet));
        let Ok(PendingEvent::New(pending)) = stack.poll_pending(interceptor) else { panic!("{number}") };
        waiting.push(pending);
        note_memory();
    }
    for pending in &waiting {
        now += Duration::from_micros(100);
        let unreachable = Rejection::Unreachable(Unreachable::Host);
        match pending.destination.ip().to_string().as_str() {
            "203.0.113.0" => stack.reject_pending(now, interceptor, pending.id, Rejection::Reset),
            "203.0.113.1" => stack.reject_pending(now, interceptor, pending.id, unreachable),
            _ => stack.ignore_pending(now, interceptor, pending.id, IgnoreReason::Silence),
        }
        .unwrap();
        note_memory();
        while let Some(transmit) = stack.poll_transmit(now) {
            let packet = transmit.to_vec();
            let source = u32::from_be_bytes(packet[16..20].try_into().unwrap());
            let is_icmp = packet[9] == 1;
            assert!(is_icmp || packet[20 + 13] & 0x04 != 0, "neither an error nor a reset");
            answers[(source - 0x0a01_0000) as usize][usize::from(is_icmp)] += 1;
        }
    }
    println!("{most} bytes at most for {COUNT} connections that fail");
    assert!(most <= 10 << 20, "{most}");
    let count_of = |wanted: [u32; 2]| answers.iter().skip(1).step_by(3).filter(|got| **got == wanted).count();
    assert!(answers.iter().step_by(3).all(|answers| *answers == [1, 0]), "those who refuse are refused");
    assert!(answers.iter().skip(2).step_by(3).all(|answers| *answers == [0, 0]), "silence stays silence");
    // An error beyond the limit of a second becomes a reset.
    let (errors, resets) = (count_of([0, 1]), count_of([1, 0]));
    assert_eq!((errors + resets, errors >= 1000), (3333, true), "{errors} errors");
    assert_eq!(stack.stats().drops(DropReason::IgnoredForSilence), 3333);
}

/// The profile for phones: each of 1,000 connections and 1,000 flows of one source gets more than
/// it may keep, and the program reads nothing and sends more than the source takes.
#[test]
fn a_thousand_flows_with_full_queues_take_at_most_50_mib() {
    const COUNT: u16 = 1000;
    const FIRST_PORT: u16 = 20_000;
    let _counted = COUNTED.lock().unwrap();
    let now = Instant::ZERO;
    let data = vec![7; 64 << 10];
    let from = PacketBuilder::new([10, 0, 0, 2].into(), [203, 0, 113, 7].into());
    let before = LIVE.load(Ordering::Relaxed);
    let mut most = 0;
    let mut stack = Stack::new(Config::phone(), [7; 32], now);
    let tunnel = InterfaceConfig::new(Medium::Ip).address("10.0.0.1/24".parse().unwrap());
    let tunnel = stack.add_interface(now, tunnel.intercept(Interception::all())).unwrap();
    let connections = stack.socket(Domain::V4, SocketKind::Stream).unwrap();
    let flows = stack.socket(Domain::V4, SocketKind::Datagram).unwrap();
    stack.intercept(connections).unwrap();
    stack.intercept(flows).unwrap();

    // All connections and flows are open before the first has data.
    let mut open = Vec::new();
    let options = vec![2, 4, 5, 180, 1, 3, 3, 7];
    for port in FIRST_PORT..FIRST_PORT + COUNT {
        let segment = TcpSegment::new(port, 443);
        let syn = TcpSegment { flags: TcpSegment::SYN, options: options.clone(), ..segment.clone() };
        stack.handle_frame(now, tunnel, Frame::new(from.tcp(&syn)));
        let Ok(PendingEvent::New(pending)) = stack.poll_pending(connections) else { panic!("{port}") };
        let connection = stack.accept_pending(now, connections, pending.id).unwrap();
        let syn_ack = stack.poll_transmit(now).unwrap().to_vec();
        let ack = u32::from_be_bytes(syn_ack[24..28].try_into().unwrap()) + 1;
        let segment = TcpSegment { flags: TcpSegment::ACK, seq: 1, ack, ..segment };
        stack.handle_frame(now, tunnel, Frame::new(from.tcp(&segment)));
        stack.handle_frame(now, tunnel, Frame::new(from.udp(port, 443, b"hello")));
        let (flow, _) = stack.accept(flows).unwrap();
        open.push((connection, flow, segment));
    }
    // Round after round, so that all of them grow at the same time.
    for round in 0..32 {
        for (connection, _, segment) in &mut open {
            segment.payload = data[..1400].to_vec();
            stack.handle_frame(now, tunnel, Frame::new(from.tcp(segment)));
            segment.seq += 1400;
            stack.handle_frame(now, tunnel, Frame::new(from.udp(segment.src_port, 443, &data[..1200])));
            if round % 4 == 0 {
                // Nothing is acknowledged, so this ends when the buffer is full.
                let _ = stack.send(now, *connection, &data);
            }
            while stack.poll_transmit(now).is_some() {}
        }
        most = (LIVE.load(Ordering::Relaxed) - before).max(most);
    }
    println!("{} KiB at most for {COUNT} connections and as many flows with full queues", most >> 10);
    assert!(most <= 50 << 20, "{most}");
    // Nothing was shut out: each has data, and can go on.
    let mut buf = vec![0; 1 << 20];
    let (mut least, mut in_all) = (usize::MAX, 0);
    for (connection, flow, _) in open {
        let received = stack.recv(now, connection, &mut buf).unwrap();
        (least, in_all) = (received.min(least), in_all + received);
        assert!(stack.recv(now, flow, &mut buf).is_ok());
        assert_eq!(stack.take_error(connection).unwrap(), None);
    }
    println!("{least} bytes were received at least, {in_all} in all");
    assert!(least > 0 && in_all > COUNT as usize * 1400, "{least} and {in_all}");
}

/// Of the runtime's part, with the `TcpStream` that the program holds.
#[test]
fn an_idle_tcp_stream_takes_at_most_a_kibibyte_too() {
    let _alone = COUNTED.lock();
    let count = std::env::var("STREAMS").map_or(STREAMS, |text| text.parse().expect("a number"));
    let (left, right) = memory_pair().unwrap();
    let (server, client) = (runtime(1, left), runtime(2, right));
    let before = LIVE.load(Ordering::Relaxed);
    let listener = TcpListener::bind(&server, ([10, 0, 0, 1], 80)).unwrap();
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let near = TcpStream::connect(&client, listener.local_addr().unwrap()).unwrap();
        streams.push((near, listener.accept().unwrap().0));
    }
    let each = || {
        // The remains of the handshakes and delayed acknowledgements are gone then.
        std::thread::sleep(Duration::from_secs(1));
        (LIVE.load(Ordering::Relaxed) - before) / (2 * count)
    };
    let fresh = each();
    for (near, far) in &mut streams {
        let mut message = [7; 4000];
        near.write_all(&message).unwrap();
        far.read_exact(&mut message).unwrap();
        far.write_all(&message).unwrap();
        near.read_exact(&mut message).unwrap();
    }
    let used = each();
    println!("{count} idle streams that were never used: {fresh} bytes at each end; after use {used}");
    assert!(fresh <= LIMIT && used <= LIMIT, "{fresh} and {used} bytes, more than {LIMIT}");
}

fn runtime(number: u8, device: MemoryDevice) -> Runtime {
    let mut config = Config::default();
    config.neighbor.duplicate_address_probes = 0;
    config.memory_limit_bytes = 1 << 30;
    let address = format!("10.0.0.{number}/24").parse().unwrap();
    Builder::new().config(config).interface(device, [address]).start().unwrap()
}
