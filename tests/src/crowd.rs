//! A crowd of hostile clients and one regular client, at a stack with little memory.
//!
//! A hostile client consists of a few numbers, so that there can be 50,000; the regular client is a
//! stack. Time is virtual. The server has a service that sends without end, one that accepts data
//! and never reads, a page, and one for a flow in each direction that exists before the crowd
//! arrives.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use portolan::testing::{PacketBuilder, TcpSegment};
use portolan::{
    Cidr, Config, Descriptor, Domain, Error, Frame, Instant, InterfaceConfig, InterfaceId, Medium, SocketId,
    SocketKind, SocketOption, Stack, Stats,
};

use crate::tcp_segment;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HONEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The first address of the crowd.
const CROWD: u32 = u32::from_be_bytes([10, 16, 0, 0]);
const PORTS_OF_CROWD: u32 = 1024;

const DOWNLOAD_PORT: u16 = 7;
const UPLOAD_PORT: u16 = 5;
const SINK_PORT: u16 = 9;
const CHARGEN_PORT: u16 = 19;
const PAGE_PORT: u16 = 80;

const PAGE_BYTES: usize = 20_000;
/// The number of bytes that a hostile client accepts before its window is closed.
const CROWD_WINDOW: u32 = 64 << 10;
const CROWD_SCALE: u8 = 7;
const FLOW_BUFFER: usize = 32 << 10;
const DELAY: Duration = Duration::from_millis(5);
/// The time between two loads of the page.
const LOAD_INTERVAL: Duration = Duration::from_millis(100);
/// How soon a hostile client that was reset connects again.
const RETURN_DELAY: Duration = Duration::from_secs(3);
const SENDER_REPEATS: Duration = Duration::from_secs(1);
const SEGMENT_BYTES: usize = 1400;
/// The segments that a hostile client has in flight.
const IN_FLIGHT: usize = 10;

/// The behaviour of a crowd's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// They connect to the service that sends without end, and read nothing.
    NeverRead,
    /// They never complete their handshakes.
    HalfOpen,
    /// They send to the service that never reads.
    Send,
}

/// A crowd, and the memory of the stack that it attacks.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The number of clients.
    pub clients: u32,
    /// Their behaviour.
    pub habit: Habit,
    /// The number of addresses that they have together.
    pub addresses: u32,
    /// The number of clients that arrive in a second.
    pub per_second: u32,
    /// Whether clients that were reset connect again.
    pub returns: bool,
    /// The limit of the server's memory.
    pub memory_limit_bytes: usize,
    /// How long the crowd stays after all have arrived.
    pub stays: Duration,
}

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Pages that were loaded.
    pub loads: u32,
    /// Loads that failed.
    pub failures: u32,
    /// The longest load.
    pub longest_load: Duration,
    /// The least number of bytes that a flow carried in a second while the crowd was there: down,
    /// then up.
    pub least_a_second: [u64; 2],
    /// The most memory that the server held.
    pub most_bytes: usize,
    /// The number of the crowd's connections that are open at the end.
    pub open: u32,
    /// The number of resets that the crowd received.
    pub resets: u32,
    /// The server's counters at the end.
    pub stats: Option<Stats>,
}

/// A hostile client.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    state: ClientState,
    snd_una: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
    /// The right edge of the server's window.
    edge: u32,
    server_scale: u8,
    /// The number of bytes that it has received.
    taken: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientState {
    #[default]
    Closed,
    SynSent,
    Open,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CrowdEvent {
    ToServer(Vec<u8>),
    ToHonest(Vec<u8>),
    ToCrowd(Vec<u8>),
    /// A client opens a connection.
    Arrives(u32),
    /// A sending client checks whether its data was acknowledged.
    Repeats(u32),
}

/// A load of the page by the regular client.
#[derive(Clone, Copy, Debug)]
struct Load {
    since: Instant,
    has_asked: bool,
    taken: usize,
}

struct Run {
    crowd: Crowd,
    now: Instant,
    server: Stack,
    honest: Stack,
    ifaces: [InterfaceId; 2],
    events: BinaryHeap<Reverse<(Instant, u64, CrowdEvent)>>,
    count: u64,
    clients: Vec<Client>,
    /// The descriptors of the server's and the client's sockets, for their events.
    descriptors: [HashMap<SocketId, Descriptor>; 2],
    listeners: HashMap<Descriptor, u16>,
    /// The service of each of the server's connections, and the bytes that the page still has to
    /// send.
    serving: HashMap<Descriptor, (u16, usize)>,
    loading: HashMap<Descriptor, Load>,
    flows: [Option<Descriptor>; 2],
    flow_bytes: [u64; 2],
    endless: Bytes,
    report: Report,
}

fn host(config: Config, seed: u8, addr: Ipv4Addr, now: Instant) -> (Stack, InterfaceId) {
    let mut stack = Stack::new(config, [seed; 32], now);
    let interface = InterfaceConfig::new(Medium::Ip).address(Cidr { addr: addr.into(), prefix_len: 8 });
    let iface = stack.add_interface(now, interface).expect("one address on one interface");
    (stack, iface)
}

impl Crowd {
    /// Runs the crowd, and returns the result.
    pub fn run(self) -> Report {
        let mut run = Run::new(self);
        run.begin();
        let begin = run.now;
        for number in 0..self.clients {
            let at = begin + Duration::from_secs(1) * number / self.per_second.max(1);
            run.push(at, CrowdEvent::Arrives(number));
        }
        let arrival = Duration::from_secs(1) * self.clients / self.per_second.max(1);
        let end = begin + arrival + self.stays;
        let mut least = [u64::MAX; 2];
        let mut next_load = begin;
        let mut next_second = begin + Duration::from_secs(1);
        run.flow_bytes = [0; 2];
        while run.now < end {
            run.step(next_load.min(next_second));
            if run.now >= next_load {
                next_load += LOAD_INTERVAL;
                run.load();
            }
            if run.now >= next_second {
                next_second += Duration::from_secs(1);
                for (least, bytes) in least.iter_mut().zip(&mut run.flow_bytes) {
                    *least = (*least).min(std::mem::take(bytes));
                }
            }
        }
        // Connections in progress may end.
        let patience = run.now + Duration::from_secs(5);
        while run.now < patience && !run.loading.is_empty() {
            run.step(patience);
        }
        let now = run.now;
        for (_, load) in run.loading.drain() {
            run.report.failures += 1;
            run.report.longest_load = run.report.longest_load.max(now.duration_since(load.since));
        }
        run.report.least_a_second = least;
        run.report.open =
            run.clients.iter().filter(|client| client.state == ClientState::Open).count() as u32;
        run.report.stats = Some(run.server.stats().clone());
        run.report
    }
}

impl Run {
    fn new(crowd: Crowd) -> Run {
        let now = Instant::from_secs(1);
        let mut config = Config::default();
        config.memory_limit_bytes = crowd.memory_limit_bytes;
        let (server, server_iface) = host(config, 1, SERVER, now);
        let (honest, honest_iface) = host(Config::default(), 2, HONEST, now);
        Run {
            crowd,
            now,
            server,
            honest,
            ifaces: [server_iface, honest_iface],
            events: BinaryHeap::new(),
            count: 0,
            clients: vec![Client::default(); crowd.clients as usize],
            listeners: HashMap::new(),
            descriptors: Default::default(),
            serving: HashMap::new(),
            loading: HashMap::new(),
            flows: [None; 2],
            flow_bytes: [0; 2],
            endless: Bytes::from(vec![b'x'; 64 << 10]),
            report: Report::default(),
        }
    }

    /// Waits for the addresses, opens the services, and begins the flows.
    fn begin(&mut self) {
        self.pass(Duration::from_secs(5));
        for port in [DOWNLOAD_PORT, UPLOAD_PORT, SINK_PORT, CHARGEN_PORT, PAGE_PORT] {
            let listener = self.server.socket(Domain::V4, SocketKind::Stream).expect("a socket");
            self.server.bind(listener, SocketAddr::new(SERVER.into(), port)).expect("a free port");
            self.server.listen(listener, 4096).expect("bound");
            let id = self.server.socket_id(listener).expect("open");
            self.descriptors[0].insert(id, listener);
            self.listeners.insert(listener, port);
        }
        for (index, port) in [DOWNLOAD_PORT, UPLOAD_PORT].into_iter().enumerate() {
            let flow = self.connect(port);
            // Limits the flow to a few MB a second.
            for option in [SocketOption::ReceiveBuffer(FLOW_BUFFER), SocketOption::SendBuffer(FLOW_BUFFER)] {
                self.honest.set_option(self.now, flow, option).expect("open");
            }
            self.flows[index] = Some(flow);
        }
        self.pass(Duration::from_secs(2));
        assert!(self.flow_bytes.iter().all(|&bytes| bytes > 0), "{:?}", self.server.stats());
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while self.now < end {
            self.step(end);
        }
    }

    fn push(&mut self, at: Instant, event: CrowdEvent) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    /// Handles the next event, but not beyond `limit`.
    fn step(&mut self, limit: Instant) {
        let first = self.events.peek().map(|Reverse((at, ..))| *at);
        let timers = [self.server.next_timeout_at(), self.honest.next_timeout_at()];
        let next = timers.into_iter().chain([first]).flatten().min().unwrap_or(limit).min(limit);
        self.now = self.now.max(next);
        if self.server.next_timeout_at().is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(self.now);
        }
        if self.honest.next_timeout_at().is_some_and(|at| at <= self.now) {
            self.honest.handle_timeout(self.now);
        }
        if first.is_some_and(|at| at <= self.now)
            && let Some(Reverse((_, _, event))) = self.events.pop()
        {
            match event {
                CrowdEvent::ToServer(packet) => {
                    self.server.handle_frame(self.now, self.ifaces[0], Frame::new(packet));
                }
                CrowdEvent::ToHonest(packet) => {
                    self.honest.handle_frame(self.now, self.ifaces[1], Frame::new(packet));
                }
                CrowdEvent::ToCrowd(packet) => self.on_packet_to_crowd(&packet),
                CrowdEvent::Arrives(number) => self.arrive(number),
                CrowdEvent::Repeats(number) => self.repeat(number),
            }
        }
        self.settle();
    }

    /// Runs the programs and sends packets.
    fn settle(&mut self) {
        let bytes = self.server.memory_bytes();
        self.report.most_bytes = self.report.most_bytes.max(bytes);
        assert!(bytes <= self.crowd.memory_limit_bytes, "{bytes} bytes");
        while let Some(event) = self.server.poll_event() {
            if let Some(&d) = self.descriptors[0].get(&event.socket) {
                self.serve(d);
            }
        }
        while let Some(event) = self.honest.poll_event() {
            if let Some(&d) = self.descriptors[1].get(&event.socket) {
                self.on_honest_event(d);
            }
        }
        while let Some(transmit) = self.server.poll_transmit(self.now) {
            let packet = transmit.to_vec();
            let to_honest = packet.get(16..20) == Some(&HONEST.octets());
            let event = if to_honest { CrowdEvent::ToHonest(packet) } else { CrowdEvent::ToCrowd(packet) };
            self.push(self.now + DELAY, event);
        }
        while let Some(transmit) = self.honest.poll_transmit(self.now) {
            self.push(self.now + DELAY, CrowdEvent::ToServer(transmit.to_vec()));
        }
    }
}

/// The server's programs.
impl Run {
    fn serve(&mut self, d: Descriptor) {
        if let Some(&port) = self.listeners.get(&d) {
            while let Ok((accepted, _)) = self.server.accept(d) {
                let id = self.server.socket_id(accepted).expect("open");
                self.descriptors[0].insert(id, accepted);
                self.serving
                    .insert(accepted, (port, if port == PAGE_PORT { PAGE_BYTES } else { usize::MAX }));
                self.serve(accepted);
            }
            return;
        }
        let Some(&(port, left)) = self.serving.get(&d) else { return };
        let over = match port {
            SINK_PORT => self.server.readiness(d).map(|now| now.error || now.hung_up).unwrap_or(true),
            UPLOAD_PORT => self.read_upload(d),
            PAGE_PORT if left == PAGE_BYTES && self.wait_for_request(d) => false,
            _ => self.send_endless(d, port, left),
        };
        if over {
            self.serving.remove(&d);
            self.descriptors[0].remove(&self.server.socket_id(d).expect("open until now"));
            self.server.close(self.now, d).expect("open until now");
        }
    }

    fn read_upload(&mut self, d: Descriptor) -> bool {
        loop {
            match self.server.recv_bytes(self.now, d, usize::MAX) {
                Ok(data) if !data.is_empty() => self.flow_bytes[1] += data.len() as u64,
                Err(Error::WouldBlock) => return false,
                _ => return true,
            }
        }
    }

    fn wait_for_request(&mut self, d: Descriptor) -> bool {
        self.server.recv(self.now, d, &mut [0; 100]) == Err(Error::WouldBlock)
    }

    fn send_endless(&mut self, d: Descriptor, port: u16, mut left: usize) -> bool {
        while left > 0 {
            let data = self.endless.slice(..self.endless.len().min(left));
            match self.server.send_bytes(self.now, d, data) {
                Ok(sent) if port == PAGE_PORT => left -= sent,
                Ok(_) => {}
                Err(Error::WouldBlock) => {
                    self.serving.insert(d, (port, left));
                    return false;
                }
                Err(_) => return true,
            }
        }
        true
    }
}

/// The regular client.
impl Run {
    fn connect(&mut self, port: u16) -> Descriptor {
        let d = self.honest.socket(Domain::V4, SocketKind::Stream).expect("a socket");
        self.descriptors[1].insert(self.honest.socket_id(d).expect("open"), d);
        let opened = self.honest.connect(self.now, d, SocketAddr::new(SERVER.into(), port));
        assert_eq!(opened, Err(Error::InProgress));
        d
    }

    fn load(&mut self) {
        let d = self.connect(PAGE_PORT);
        self.loading.insert(d, Load { since: self.now, has_asked: false, taken: 0 });
        self.settle();
    }

    fn on_honest_event(&mut self, d: Descriptor) {
        if self.flows[0] == Some(d) {
            while let Ok(data) = self.honest.recv_bytes(self.now, d, usize::MAX) {
                assert!(!data.is_empty(), "the flow has ended");
                self.flow_bytes[0] += data.len() as u64;
            }
        } else if self.flows[1] == Some(d) {
            while self.honest.send_bytes(self.now, d, self.endless.clone()).is_ok() {}
        } else if let Some(load) = self.loading.get_mut(&d) {
            if !load.has_asked && self.honest.readiness(d).is_ok_and(|now| now.writable) {
                load.has_asked = self.honest.send(self.now, d, b"GET").is_ok();
            }
            loop {
                match self.honest.recv_bytes(self.now, d, usize::MAX) {
                    Ok(data) if !data.is_empty() => load.taken += data.len(),
                    Err(Error::WouldBlock) => return,
                    _ => break,
                }
            }
            let (took, is_whole) = (self.now.duration_since(load.since), load.taken == PAGE_BYTES);
            self.loading.remove(&d);
            self.report.loads += u32::from(is_whole);
            self.report.failures += u32::from(!is_whole);
            self.report.longest_load = self.report.longest_load.max(took);
            self.descriptors[1].remove(&self.honest.socket_id(d).expect("open until now"));
            self.honest.close(self.now, d).expect("open until now");
        }
    }
}

/// The crowd.
impl Run {
    fn name_of(&self, number: u32) -> (Ipv4Addr, u16) {
        let addresses = self.crowd.addresses.max(1);
        let addr = Ipv4Addr::from_bits(CROWD + number % addresses);
        (addr, (PORTS_OF_CROWD + number / addresses) as u16)
    }

    fn number_of(&self, addr: Ipv4Addr, port: u16) -> usize {
        let addresses = self.crowd.addresses.max(1);
        ((addr.to_bits() - CROWD) + (u32::from(port) - PORTS_OF_CROWD) * addresses) as usize
    }

    fn send(&mut self, number: u32, segment: TcpSegment) {
        let (addr, port) = self.name_of(number);
        let to = if self.crowd.habit == Habit::Send { SINK_PORT } else { CHARGEN_PORT };
        let segment = TcpSegment { src_port: port, dst_port: to, ..segment };
        let packet = PacketBuilder::new(IpAddr::V4(addr), SERVER.into()).tcp(&segment);
        self.push(self.now + DELAY, CrowdEvent::ToServer(packet));
    }

    fn arrive(&mut self, number: u32) {
        let isn = number.wrapping_mul(0x9e37_79b9).wrapping_add(self.count as u32);
        self.clients[number as usize] = Client {
            state: ClientState::SynSent,
            snd_una: isn.wrapping_add(1),
            snd_nxt: isn.wrapping_add(1),
            ..Client::default()
        };
        let options = vec![2, 4, 5, 0xb4, 4, 2, 1, 3, 3, CROWD_SCALE];
        self.send(
            number,
            TcpSegment {
                seq: isn,
                flags: TcpSegment::SYN,
                window: u16::MAX,
                options,
                ..TcpSegment::new(0, 0)
            },
        );
    }

    fn on_packet_to_crowd(&mut self, packet: &[u8]) {
        let Some(segment) = tcp_segment(Medium::Ip, packet) else { return };
        let Some(&[a, b, c, d]) = packet.get(16..20) else { return };
        let number = self.number_of(Ipv4Addr::new(a, b, c, d), segment.dst_port);
        let Some(client) = self.clients.get_mut(number) else { return };
        if segment.flags & TcpSegment::RST != 0 {
            self.report.resets += 1;
            client.state = ClientState::Closed;
            if self.crowd.returns {
                self.push(self.now + RETURN_DELAY, CrowdEvent::Arrives(number as u32));
            }
            return;
        }
        if segment.flags & TcpSegment::SYN != 0 {
            if self.crowd.habit == Habit::HalfOpen || client.state != ClientState::SynSent {
                return;
            }
            client.state = ClientState::Open;
            client.rcv_nxt = segment.seq.wrapping_add(1);
            client.edge = segment.ack.wrapping_add(u32::from(segment.window));
            client.server_scale = scale_of(&segment.options);
            self.acknowledge(number as u32);
            if self.crowd.habit == Habit::Send {
                self.fill_window(number as u32);
                self.push(self.now + SENDER_REPEATS, CrowdEvent::Repeats(number as u32));
            }
            return;
        }
        if client.state != ClientState::Open {
            return;
        }
        let window = u32::from(segment.window) << client.server_scale;
        client.edge = segment.ack.wrapping_add(window);
        client.snd_una = segment.ack;
        if (client.snd_una.wrapping_sub(client.snd_nxt) as i32) > 0 {
            client.snd_nxt = client.snd_una;
        }
        let len = segment.payload.len() as u32;
        if len > 0 {
            if segment.seq == client.rcv_nxt && client.taken + len <= CROWD_WINDOW {
                client.rcv_nxt = client.rcv_nxt.wrapping_add(len);
                client.taken += len;
            }
            self.acknowledge(number as u32);
        }
        if self.crowd.habit == Habit::Send {
            self.fill_window(number as u32);
        }
    }

    fn acknowledge(&mut self, number: u32) {
        let client = self.clients[number as usize];
        let window = ((CROWD_WINDOW - client.taken) >> CROWD_SCALE) as u16;
        self.send(
            number,
            TcpSegment {
                seq: client.snd_nxt,
                ack: client.rcv_nxt,
                flags: TcpSegment::ACK,
                window,
                ..TcpSegment::new(0, 0)
            },
        );
    }

    /// Sends what the window and a small congestion window allow.
    fn fill_window(&mut self, number: u32) {
        loop {
            let client = &mut self.clients[number as usize];
            let in_flight = client.snd_nxt.wrapping_sub(client.snd_una) as usize;
            let room = client.edge.wrapping_sub(client.snd_nxt) as i32;
            if client.state != ClientState::Open
                || room < SEGMENT_BYTES as i32
                || in_flight >= IN_FLIGHT * SEGMENT_BYTES
            {
                return;
            }
            self.send_segment(number);
        }
    }

    fn send_segment(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        let (seq, ack) = (client.snd_nxt, client.rcv_nxt);
        client.snd_nxt = client.snd_nxt.wrapping_add(SEGMENT_BYTES as u32);
        let segment = TcpSegment {
            seq,
            ack,
            flags: TcpSegment::ACK,
            window: 1000,
            payload: vec![7; SEGMENT_BYTES],
            ..TcpSegment::new(0, 0)
        };
        self.send(number, segment);
    }

    /// Retransmits the first segment that was not acknowledged.
    fn repeat(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        if client.state == ClientState::Open {
            if client.snd_nxt != client.snd_una {
                client.snd_nxt = client.snd_una;
                self.send_segment(number);
            }
            self.push(self.now + SENDER_REPEATS, CrowdEvent::Repeats(number));
        }
    }
}

/// The window scale among the options of a SYN-ACK.
fn scale_of(mut options: &[u8]) -> u8 {
    loop {
        options = match options {
            [3, 3, scale, ..] => return *scale,
            [1, rest @ ..] => rest,
            [0, ..] | [] | [_] => return 0,
            [_, len, ..] => options.get(usize::from(*len).max(2)..).unwrap_or_default(),
        };
    }
}
