//! Calls, segments and time in any order, with connections in every state.
//!
//! An input is three bytes (what both ends can do, and where it begins), then steps. Segments are told by their distance from
//! what is due, so that a few bytes make one that is in the window.

use std::net::SocketAddr;
use std::time::Duration;

use portolan::testing::TcpSegment;
use portolan::{
    CongestionControl, Descriptor, Domain, Ecn, MtuProbing, Shutdown, SocketKind, SocketOption, SynCookieMode,
};

use super::host::{Bounds, Host, small_config};
use super::input::{Input, Output};
use super::{Digest, trace};
use crate::RawPeer;

const LISTENING_PORT: u16 = 80;
const FIRST_PEER_PORT: u16 = 40_000;
const MAX_SOCKETS: usize = 12;
const MAX_FLOWS: usize = 8;
const MAX_STEPS: usize = 200;
/// Longer sends and reads show nothing new.
const MAX_LEN: usize = 20_000;

/// What the stack is configured to do and what the peer offers, as bits of two bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features(pub(super) u16);

impl Features {
    pub(super) const V6: u16 = 1;
    pub(super) const ETHERNET: u16 = 1 << 1;
    pub(super) const TIMESTAMPS: u16 = 1 << 2;
    pub(super) const SACK: u16 = 1 << 3;
    pub(super) const SCALE: u16 = 1 << 4;
    pub(super) const ECN_REQUEST: u16 = 1 << 5;
    pub(super) const ECN_ACCURATE: u16 = 1 << 6;
    pub(super) const FAST_OPEN: u16 = 1 << 7;
    pub(super) const COOKIES: u16 = 1 << 8;
    pub(super) const SMALL_BACKLOG: u16 = 1 << 9;
    pub(super) const PACING: u16 = 1 << 10;
    pub(super) const BBR_OR_RENO: u16 = 1 << 11;
    pub(super) const MTU_PROBING: u16 = 1 << 12;
    pub(super) const LITTLE_MEMORY: u16 = 1 << 13;
    pub(super) const DEFER_ACCEPT: u16 = 1 << 14;

    fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    fn domain(self) -> Domain {
        if self.has(Features::V6) { Domain::V6 } else { Domain::V4 }
    }

    fn host(self) -> Host {
        let mut config = small_config();
        config.tcp.ecn = match (self.has(Features::ECN_REQUEST), self.has(Features::ECN_ACCURATE)) {
            (false, false) => Ecn::Accept,
            (true, false) => Ecn::Request,
            (_, true) => Ecn::RequestAccurate,
        };
        if self.has(Features::COOKIES) {
            config.tcp.syn_cookies = SynCookieMode::Always;
        }
        config.tcp.pacing = self.has(Features::PACING);
        if self.has(Features::BBR_OR_RENO) {
            config.tcp.congestion = CongestionControl::Reno;
        }
        if self.has(Features::MTU_PROBING) {
            config.tcp.mtu_probing = MtuProbing::Always;
        }
        if self.has(Features::LITTLE_MEMORY) {
            config.memory_limit_bytes = 256 << 10;
        }
        Host::new(self.has(Features::ETHERNET), config, Bounds::STREAMS)
    }

    /// Flags of a SYN of the peer.
    fn syn_flags(self) -> u8 {
        TcpSegment::SYN | if self.has(Features::ECN_REQUEST) { ECE | CWR } else { 0 }
    }

    /// Options of a SYN of the peer.
    fn syn_options(self, clock: u32) -> Vec<u8> {
        let mut options = vec![2, 4, 0x05, 0xb4];
        if self.has(Features::SACK) {
            options.extend([4, 2]);
        }
        if self.has(Features::TIMESTAMPS) {
            options.extend([8, 10]);
            options.extend(clock.to_be_bytes());
            options.extend([0; 4]);
        }
        if self.has(Features::SCALE) {
            options.extend([3, 3, 7]);
        }
        if self.has(Features::FAST_OPEN) {
            options.extend([34, 2]);
        }
        options
    }
}

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// Where an input begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Nothing,
    Listen,
    SynReceived,
    SynSent,
    Accepted,
    Connected,
    InFlight,
    OutOfOrder,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Backlog,
}

impl Beginning {
    pub(super) const ALL: [Beginning; 15] = [
        Beginning::Nothing,
        Beginning::Listen,
        Beginning::SynReceived,
        Beginning::SynSent,
        Beginning::Accepted,
        Beginning::Connected,
        Beginning::InFlight,
        Beginning::OutOfOrder,
        Beginning::FinWait1,
        Beginning::FinWait2,
        Beginning::CloseWait,
        Beginning::Closing,
        Beginning::LastAck,
        Beginning::TimeWait,
        Beginning::Backlog,
    ];
}

/// Options of a segment.
#[derive(Clone, Debug)]
pub(super) enum Options {
    /// A time stamp, if the peer's SYN had one.
    Usual,
    /// A time stamp at this distance from the peer's clock, with an echo at this distance from the right one.
    Stamped(i32, i32),
    /// As usual, and SACK blocks: their edges as distances from what the stack sent last.
    Sack(Vec<(i32, i32)>),
    /// These bytes.
    Raw(Vec<u8>),
}

/// A segment of the peer, as distances from what is due.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) flow: u8,
    pub(super) flags: u8,
    pub(super) ecn: u8,
    /// From what the stack expects.
    pub(super) seq: i32,
    /// From the end of what the stack has sent.
    pub(super) ack: i32,
    pub(super) window: u16,
    pub(super) len: u16,
    pub(super) options: Options,
}

impl Segment {
    /// What a well-behaved peer would send.
    pub(super) fn due(flags: u8, len: u16) -> Segment {
        Segment { flow: 0, flags, ecn: 0, seq: 0, ack: 0, window: 0xffff, len, options: Options::Usual }
    }
}

/// One thing that happens. What names a socket or a flow counts in those that there are.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Segment(Segment),
    Wait(Duration),
    Send(u8, u16),
    Recv(u8, u16),
    Shutdown(u8, u8),
    Close(u8),
    SetOption(u8, u8, u16),
    Accept,
    Icmp {
        flow: u8,
        kind: u8,
        code: u8,
        word: u16,
        seq: i32,
    },
    /// So many segments of data in one batch.
    Burst {
        flow: u8,
        count: u8,
        len: u16,
    },
    /// A new socket, and what is done with it.
    Open(u8),
    Datagram {
        port: u8,
        len: u16,
    },
    Look(u8, u8),
}

impl Step {
    fn read(input: &mut Input<'_>) -> Step {
        match input.byte() % 16 {
            0..=3 => Step::Segment(read_segment(input)),
            4 => Step::Wait(input.duration()),
            5 => Step::Send(input.byte(), input.word()),
            6 => Step::Recv(input.byte(), input.word()),
            7 => Step::Shutdown(input.byte(), input.byte()),
            8 => Step::Close(input.byte()),
            9 => Step::SetOption(input.byte(), input.byte(), input.word()),
            10 => Step::Accept,
            11 => Step::Icmp {
                flow: input.byte(),
                kind: input.byte(),
                code: input.byte(),
                word: input.word(),
                seq: input.offset(),
            },
            12 => Step::Burst { flow: input.byte(), count: input.byte(), len: input.word() },
            13 => Step::Open(input.byte()),
            14 => Step::Datagram { port: input.byte(), len: input.word() },
            _ => Step::Look(input.byte(), input.byte()),
        }
    }

    pub(super) fn write(&self, output: &mut Output) {
        match self {
            Step::Segment(segment) => write_segment(segment, output.byte(0)),
            Step::Wait(duration) => {
                output.byte(4).duration(*duration);
            }
            Step::Send(socket, len) => {
                output.byte(5).byte(*socket).word(*len);
            }
            Step::Recv(socket, len) => {
                output.byte(6).byte(*socket).word(*len);
            }
            Step::Shutdown(socket, how) => {
                output.byte(7).byte(*socket).byte(*how);
            }
            Step::Close(socket) => {
                output.byte(8).byte(*socket);
            }
            Step::SetOption(socket, which, value) => {
                output.byte(9).byte(*socket).byte(*which).word(*value);
            }
            Step::Accept => {
                output.byte(10);
            }
            Step::Icmp { flow, kind, code, word, seq } => {
                output.byte(11).byte(*flow).byte(*kind).byte(*code).word(*word).offset(*seq);
            }
            Step::Burst { flow, count, len } => {
                output.byte(12).byte(*flow).byte(*count).word(*len);
            }
            Step::Open(how) => {
                output.byte(13).byte(*how);
            }
            Step::Datagram { port, len } => {
                output.byte(14).byte(*port).word(*len);
            }
            Step::Look(socket, what) => {
                output.byte(15).byte(*socket).byte(*what);
            }
        }
    }
}

fn read_segment(input: &mut Input<'_>) -> Segment {
    let (flow, flags, how) = (input.byte(), input.byte(), input.byte());
    let (seq, ack) = (input.offset(), input.offset());
    let (window, len) = (input.word(), input.word());
    let options = match how >> 2 & 7 {
        1 => Options::Stamped(input.offset(), input.offset()),
        2 | 3 => {
            let count = 1 + (how >> 5) % 4;
            Options::Sack((0..count).map(|_| (input.offset(), input.offset())).collect())
        }
        4 => Options::Raw(input.counted().to_vec()),
        _ => Options::Usual,
    };
    Segment { flow, flags, ecn: how & 3, seq, ack, window, len, options }
}

fn write_segment(segment: &Segment, output: &mut Output) {
    let Segment { flow, flags, ecn, seq, ack, window, len, options } = segment;
    let how = match options {
        Options::Usual => 0,
        Options::Stamped(..) => 1 << 2,
        Options::Sack(blocks) => 2 << 2 | (blocks.len() as u8 - 1) << 5,
        Options::Raw(_) => 4 << 2,
    };
    output.byte(*flow).byte(*flags).byte(how | ecn).offset(*seq).offset(*ack).word(*window).word(*len);
    match options {
        Options::Usual => {}
        Options::Stamped(value, echo) => {
            output.offset(*value).offset(*echo);
        }
        Options::Sack(blocks) => {
            for (left, right) in blocks {
                output.offset(*left).offset(*right);
            }
        }
        Options::Raw(bytes) => {
            output.counted(bytes);
        }
    }
}

/// A connection as the peer sees it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer_port: u16,
    stack_port: u16,
    /// What the stack expects next.
    peer_next: u32,
    /// The end of what the stack has sent.
    stack_next: u32,
    /// The stack's last time stamp.
    ts_recent: u32,
    has_timestamps: bool,
}

struct Machine {
    host: Host,
    features: Features,
    sockets: Vec<Descriptor>,
    listener: Option<Descriptor>,
    flows: Vec<Flow>,
}

/// Begins in one of the states of a connection.
pub(super) fn run_states(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let features = Features(input.word());
    let beginning = Beginning::ALL[usize::from(input.byte()) % Beginning::ALL.len()];
    run(features, beginning, input)
}

/// Begins with nothing: the program does everything.
pub(super) fn run_calls(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    run(Features(input.word()), Beginning::Nothing, input)
}

fn run(features: Features, beginning: Beginning, mut input: Input<'_>) -> Digest {
    let mut machine =
        Machine { host: features.host(), features, sockets: Vec::new(), listener: None, flows: Vec::new() };
    machine.begin(beginning);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::read(&mut input);
        machine.step(&step);
    }
    machine.end()
}

impl Machine {
    fn begin(&mut self, beginning: Beginning) {
        let ack = |len| Step::Segment(Segment::due(TcpSegment::ACK, len));
        let fin = || Step::Segment(Segment::due(TcpSegment::FIN | TcpSegment::ACK, 0));
        // The peer has not yet acknowledged our FIN.
        let crossing_fin = || {
            let fin = Segment::due(TcpSegment::FIN | TcpSegment::ACK, 0);
            Step::Segment(Segment { ack: -1, ..fin })
        };
        match beginning {
            Beginning::Nothing => return,
            Beginning::SynSent => return self.step(&Step::Open(0)),
            Beginning::Connected => {
                self.step(&Step::Open(0));
                return self.answer_syn();
            }
            _ => self.step(&Step::Open(1)),
        }
        if beginning == Beginning::Listen {
            return;
        }
        if beginning == Beginning::Backlog {
            (0..4).for_each(|_| self.send_syn());
            return;
        }
        self.send_syn();
        if beginning == Beginning::SynReceived {
            return;
        }
        self.step(&ack(0));
        self.step(&Step::Accept);
        let after: &[Step] = match beginning {
            Beginning::InFlight => &[Step::Send(0, 5000)],
            Beginning::OutOfOrder => {
                let later = |seq| Step::Segment(Segment { seq, ..Segment::due(TcpSegment::ACK, 500) });
                &[later(1000), later(3000)]
            }
            Beginning::FinWait1 => &[Step::Shutdown(0, 1)],
            Beginning::FinWait2 => &[Step::Shutdown(0, 1), ack(0)],
            Beginning::CloseWait => &[fin()],
            Beginning::Closing => &[Step::Shutdown(0, 1), crossing_fin()],
            Beginning::LastAck => &[fin(), Step::Shutdown(0, 1)],
            Beginning::TimeWait => &[Step::Shutdown(0, 1), fin()],
            _ => &[],
        };
        after.iter().for_each(|step| self.step(step));
    }

    /// The program closes everything, and the stack comes to rest.
    fn end(mut self) -> Digest {
        for descriptor in self.sockets.drain(..).chain(self.listener.take()) {
            self.host.stack.close(self.host.now, descriptor).expect("the descriptor is open");
            self.host.settle();
        }
        self.host.check_rest();
        self.host.digest()
    }

    fn step(&mut self, step: &Step) {
        trace(format_args!("{} {step:?}", self.host.now));
        match step {
            Step::Segment(segment) => self.segment(segment),
            Step::Wait(duration) => self.host.pass(*duration),
            Step::Icmp { flow, kind, code, word, seq } => self.icmp(*flow, *kind, *code, *word, *seq),
            Step::Burst { flow, count, len } => self.burst(*flow, *count, *len),
            Step::Datagram { port, len } => {
                let payload = vec![0x55; usize::from(*len) % 1400];
                let packet = self.host.packet(self.features.domain());
                let packet = packet.udp(FIRST_PEER_PORT, 50 + u16::from(*port % 4), &payload);
                self.host.receive_packet(&packet);
            }
            Step::Open(how) => self.open(*how),
            Step::Accept => self.accept(),
            _ => self.call(step),
        }
        self.host.settle();
        self.learn();
    }

    // The peer.

    /// Reads what the stack sent.
    fn learn(&mut self) {
        for segment in self.host.take_segments() {
            let takes = (segment.flags & (TcpSegment::SYN | TcpSegment::FIN)).count_ones();
            let end = segment.seq.wrapping_add(segment.payload.len() as u32 + takes);
            let has =
                |flow: &&mut Flow| flow.peer_port == segment.dst_port && flow.stack_port == segment.src_port;
            let is_syn = segment.flags & TcpSegment::SYN != 0;
            let Some(flow) = self.flows.iter_mut().find(has) else {
                if is_syn && self.flows.len() < MAX_FLOWS && segment.flags & TcpSegment::ACK == 0 {
                    self.flows.push(Flow {
                        peer_port: segment.dst_port,
                        stack_port: segment.src_port,
                        peer_next: 5_000_000,
                        stack_next: end,
                        ts_recent: timestamp(&segment.options).unwrap_or(0),
                        has_timestamps: false,
                    });
                }
                continue;
            };
            if let Some(value) = timestamp(&segment.options) {
                flow.ts_recent = value;
            }
            if segment.flags & TcpSegment::RST != 0 {
                continue;
            }
            if is_syn || (end.wrapping_sub(flow.stack_next) as i32) > 0 {
                flow.stack_next = end;
            }
            if segment.flags & TcpSegment::ACK != 0 {
                flow.peer_next = segment.ack;
            }
        }
    }

    fn clock(&self) -> u32 {
        self.host.now.as_millis() as u32
    }

    /// A SYN from a port of its own.
    fn send_syn(&mut self) {
        if self.flows.len() >= MAX_FLOWS {
            return;
        }
        let peer_port = FIRST_PEER_PORT + self.flows.len() as u16;
        let isn = 1_000_000;
        let has_timestamps = self.features.has(Features::TIMESTAMPS);
        self.flows.push(Flow {
            peer_port,
            stack_port: LISTENING_PORT,
            peer_next: isn + 1,
            stack_next: 0,
            ts_recent: 0,
            has_timestamps,
        });
        let syn = TcpSegment {
            seq: isn,
            flags: self.features.syn_flags(),
            options: self.features.syn_options(self.clock()),
            ..TcpSegment::new(peer_port, LISTENING_PORT)
        };
        self.send(&syn, 0);
    }

    /// A SYN-ACK for the newest flow.
    fn answer_syn(&mut self) {
        let (options, clock) = (self.features.syn_options(self.clock()), self.clock());
        let Some(flow) = self.flows.last_mut() else { return };
        flow.has_timestamps = self.features.has(Features::TIMESTAMPS);
        let mut syn_ack = TcpSegment {
            seq: flow.peer_next,
            ack: flow.stack_next,
            flags: TcpSegment::SYN | TcpSegment::ACK,
            options,
            ..TcpSegment::new(flow.peer_port, flow.stack_port)
        };
        set_timestamp(&mut syn_ack.options, clock, flow.ts_recent);
        self.send(&syn_ack, 0);
    }

    fn send(&mut self, segment: &TcpSegment, ecn: u8) {
        let mut packet = self.host.packet(self.features.domain());
        packet.traffic_class = ecn;
        self.host.receive_packet(&packet.tcp(segment));
        self.learn();
    }

    fn flow(&self, flow: u8) -> Flow {
        let nobody = Flow {
            peer_port: FIRST_PEER_PORT + 100 + u16::from(flow),
            stack_port: LISTENING_PORT,
            peer_next: 77,
            stack_next: 99,
            ts_recent: 0,
            has_timestamps: false,
        };
        let index = usize::from(flow) % (self.flows.len() + 1);
        self.flows.get(index).copied().unwrap_or(nobody)
    }

    fn segment(&mut self, step: &Segment) {
        let flow = self.flow(step.flow);
        let clock = self.clock();
        let is_syn = step.flags & TcpSegment::SYN != 0;
        let stamped = |value: i32, echo: i32| {
            let mut options = vec![1, 1, 8, 10];
            options.extend(clock.wrapping_add_signed(value).to_be_bytes());
            options.extend(flow.ts_recent.wrapping_add_signed(echo).to_be_bytes());
            options
        };
        let usual = if flow.has_timestamps { stamped(0, 0) } else { Vec::new() };
        let mut segment = TcpSegment {
            seq: flow.peer_next.wrapping_add_signed(step.seq),
            ack: if step.flags & TcpSegment::ACK != 0 {
                flow.stack_next.wrapping_add_signed(step.ack)
            } else {
                0
            },
            flags: step.flags,
            window: step.window,
            urgent: if step.flags & TcpSegment::URG != 0 { step.len / 2 } else { 0 },
            payload: vec![0xaa; usize::from(step.len) % 1461],
            ..TcpSegment::new(flow.peer_port, flow.stack_port)
        };
        segment.options = match &step.options {
            Options::Usual if is_syn => self.features.syn_options(clock),
            Options::Usual => usual,
            Options::Stamped(value, echo) => stamped(*value, *echo),
            Options::Sack(blocks) => {
                let mut options = usual;
                options.extend([1, 1, 5, 2 + 8 * blocks.len() as u8]);
                for edge in blocks.iter().flat_map(|(left, right)| [left, right]) {
                    options.extend(flow.stack_next.wrapping_add_signed(*edge).to_be_bytes());
                }
                options
            }
            Options::Raw(bytes) => bytes.clone(),
        };
        if is_syn && step.flags & TcpSegment::ACK != 0 {
            set_timestamp(&mut segment.options, clock, flow.ts_recent);
            if let Some(flow) = self.flows.iter_mut().find(|known| known.stack_port == flow.stack_port) {
                flow.has_timestamps = self.features.has(Features::TIMESTAMPS);
            }
        }
        self.send(&segment, step.ecn);
    }

    /// Segments that follow each other, and come in one batch.
    fn burst(&mut self, flow: u8, count: u8, len: u16) {
        let flow = self.flow(flow);
        let len = usize::from(len) % 1461;
        let packet = self.host.packet(self.features.domain());
        let mut options = Vec::new();
        if flow.has_timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(self.clock().to_be_bytes());
            options.extend(flow.ts_recent.to_be_bytes());
        }
        let frames = (0..u32::from(count % 16)).map(|index| {
            let segment = TcpSegment {
                seq: flow.peer_next.wrapping_add(index * len as u32),
                ack: flow.stack_next,
                flags: TcpSegment::ACK,
                options: options.clone(),
                payload: vec![0xbb; len],
                ..TcpSegment::new(flow.peer_port, flow.stack_port)
            };
            self.host.frame(&packet.tcp(&segment))
        });
        let frames = frames.collect();
        self.host.receive_batch(frames);
    }

    /// An ICMP error about a segment of a flow.
    fn icmp(&mut self, flow: u8, kind: u8, code: u8, word: u16, seq: i32) {
        let flow = self.flow(flow);
        let about = TcpSegment {
            seq: flow.stack_next.wrapping_add_signed(seq),
            ack: flow.peer_next,
            flags: TcpSegment::ACK,
            ..TcpSegment::new(flow.stack_port, flow.peer_port)
        };
        let to_stack = self.host.packet(self.features.domain());
        let original = portolan::testing::PacketBuilder::new(to_stack.dst, to_stack.src).tcp(&about);
        let mut rest = u32::from(word).to_be_bytes().to_vec();
        rest.extend_from_slice(&original);
        let kind = match (self.features.domain(), kind % 4) {
            (Domain::V4, 0 | 1) => 3,
            (Domain::V4, 2) => 11,
            (Domain::V6, 0) => 1,
            (Domain::V6, 1) => 2,
            (Domain::V6, 2) => 3,
            (_, other) => other,
        };
        self.host.receive_packet(&to_stack.icmp(kind, code % 16, &rest));
    }

    // The program.

    fn addr(&self, ours: bool, port: u16) -> SocketAddr {
        match (self.features.domain(), ours) {
            (Domain::V4, true) => (RawPeer::STACK_V4, port).into(),
            (Domain::V4, false) => (RawPeer::PEER_V4, port).into(),
            (Domain::V6, true) => (RawPeer::STACK_V6, port).into(),
            (Domain::V6, false) => (RawPeer::PEER_V6, port).into(),
        }
    }

    fn open(&mut self, how: u8) {
        if self.sockets.len() >= MAX_SOCKETS || (how % 8 == 1 && self.listener.is_some()) {
            return;
        }
        let kind = if how % 8 == 4 { SocketKind::Datagram } else { SocketKind::Stream };
        let Ok(descriptor) = self.host.stack.socket(self.features.domain(), kind) else { return };
        let now = self.host.now;
        let (peer, ourselves) = (self.addr(false, 80), self.addr(true, LISTENING_PORT));
        let (datagrams, fast_open) = (self.addr(true, 50), self.features.has(Features::FAST_OPEN));
        let stack = &mut self.host.stack;
        if how % 8 == 1 {
            let backlog = if self.features.has(Features::SMALL_BACKLOG) { 1 } else { 8 };
            if self.features.has(Features::DEFER_ACCEPT) {
                let option = SocketOption::DeferAccept(Duration::from_secs(3));
                let _ = stack.set_option(now, descriptor, option);
            }
            if fast_open {
                let _ = stack.set_option(now, descriptor, SocketOption::FastOpen(4));
            }
            let _ = stack.bind(descriptor, ourselves);
            let _ = stack.listen(descriptor, backlog);
            self.listener = Some(descriptor);
            return;
        }
        // Whether these succeed depends on what was done before.
        let _ = match how % 8 {
            0 => stack.connect(now, descriptor, peer),
            2 => stack.connect_with_data(now, descriptor, peer, &[0xcc; 700]).map(|_| ()),
            3 => stack.connect(now, descriptor, ourselves),
            4 => stack.bind(descriptor, datagrams),
            5 => {
                let _ = stack.set_option(now, descriptor, SocketOption::FastOpenConnect(true));
                stack.connect(now, descriptor, peer)
            }
            6 => stack.listen(descriptor, 2),
            _ => Ok(()),
        };
        self.sockets.push(descriptor);
    }

    fn accept(&mut self) {
        let Some(listener) = self.listener else { return };
        if self.sockets.len() < MAX_SOCKETS
            && let Ok((descriptor, _)) = self.host.stack.accept(listener)
        {
            self.sockets.push(descriptor);
        }
    }

    fn call(&mut self, step: &Step) {
        let (Step::Send(index, _)
        | Step::Recv(index, _)
        | Step::Shutdown(index, _)
        | Step::Close(index)
        | Step::SetOption(index, ..)
        | Step::Look(index, _)) = step
        else {
            return;
        };
        let count = self.sockets.len() + usize::from(self.listener.is_some());
        if count == 0 {
            return;
        }
        let index = usize::from(*index) % count;
        let listener = self.listener;
        let Some(descriptor) = self.sockets.get(index).copied().or(listener) else { return };
        let now = self.host.now;
        let peer = self.addr(false, FIRST_PEER_PORT);
        let stack = &mut self.host.stack;
        match *step {
            Step::Send(_, len) => {
                let data = vec![0xdd; usize::from(len) % MAX_LEN];
                if let Ok(sent) = stack.send(now, descriptor, &data) {
                    assert!(sent <= data.len());
                } else if len % 2 == 1 {
                    let _ = stack.send_to(now, descriptor, &data, peer);
                }
            }
            Step::Recv(_, len) => {
                let mut buf = vec![0; usize::from(len) % MAX_LEN];
                if let Ok(got) = stack.recv(now, descriptor, &mut buf) {
                    assert!(got <= buf.len());
                }
            }
            Step::Shutdown(_, how) => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][usize::from(how % 3)];
                let _ = stack.shutdown(now, descriptor, how);
            }
            Step::Close(_) => {
                stack.close(now, descriptor).expect("the descriptor is open");
                if index < self.sockets.len() {
                    self.sockets.remove(index);
                } else {
                    self.listener = None;
                }
            }
            Step::SetOption(_, which, value) => {
                let _ = stack.set_option(now, descriptor, socket_option(which, value));
            }
            Step::Look(_, what) => self.look(descriptor, what),
            _ => {}
        }
    }

    /// Calls that change little or nothing.
    fn look(&mut self, descriptor: Descriptor, what: u8) {
        let now = self.host.now;
        let stack = &mut self.host.stack;
        match what % 8 {
            0 => drop(stack.info(now, descriptor)),
            1 => drop(stack.take_error(descriptor)),
            2 => drop(stack.send_oob(now, descriptor, b"!")),
            3 => drop(stack.recv_oob(now, descriptor)),
            4 => drop(stack.peek(descriptor, &mut [0; 100])),
            5 => {
                let (received, unacknowledged) = stack.queued_bytes(descriptor).unwrap_or_default();
                let limit = 2 << 20;
                assert!(
                    received <= limit && unacknowledged <= limit,
                    "{received} and {unacknowledged} queued"
                );
            }
            6 => {
                let _ = stack.listen(descriptor, 4);
            }
            _ => {
                let infos = stack.sockets();
                let held = infos.iter().filter_map(|info| info.descriptor);
                assert!(held.count() <= MAX_SOCKETS + 1);
                let _ = (stack.readiness(descriptor), stack.options(descriptor));
            }
        }
    }
}

fn socket_option(which: u8, value: u16) -> SocketOption {
    let (on, bytes) = (value % 2 == 1, usize::from(value));
    let time = Duration::from_millis(u64::from(value) * 10);
    match which % 20 {
        0 => SocketOption::ReceiveBuffer(bytes),
        1 => SocketOption::SendBuffer(bytes),
        2 => SocketOption::KeepAlive(on),
        3 => SocketOption::KeepIdle(time.max(Duration::from_secs(1))),
        4 => SocketOption::KeepInterval(time.max(Duration::from_secs(1))),
        5 => SocketOption::Linger(on.then_some(time)),
        6 => SocketOption::ReceiveLowWater(bytes),
        7 => SocketOption::UnsentLowWater(bytes),
        8 => SocketOption::UserTimeout(on.then_some(time)),
        9 => SocketOption::Cork(on),
        10 => SocketOption::OobInline(on),
        11 => SocketOption::QuickAck(on),
        12 => SocketOption::NoDelay(on),
        13 => SocketOption::Congestion(if on { CongestionControl::Reno } else { CongestionControl::Cubic }),
        14 => SocketOption::FastOpen(bytes % 8),
        15 => SocketOption::MaxPacingRate(on.then_some(u64::from(value) * 100 + 1000)),
        16 => SocketOption::DeferAccept(time),
        17 => SocketOption::MaxSegment(value),
        18 => SocketOption::KeepCount(value as u8),
        _ => SocketOption::UdpSegment(value),
    }
}

/// The value of the time stamp option in options as the stack writes them.
fn timestamp(options: &[u8]) -> Option<u32> {
    let mut rest = options;
    loop {
        match rest {
            [1, after @ ..] => rest = after,
            [8, 10, value @ ..] => return value.first_chunk().map(|value| u32::from_be_bytes(*value)),
            [kind, len, ..] if *kind > 1 && *len >= 2 => rest = rest.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

/// Writes a value and an echo into the time stamp option, if there is one where a SYN has it.
fn set_timestamp(options: &mut [u8], value: u32, echo: u32) {
    let Some(at) = options.windows(2).position(|pair| pair == [8, 10]) else { return };
    if let Some(field) = options.get_mut(at + 2..at + 10) {
        field[..4].copy_from_slice(&value.to_be_bytes());
        field[4..].copy_from_slice(&echo.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        let segment = Segment {
            options: Options::Sack(vec![(-3000, -2000), (-1000, 0)]),
            seq: -70_000,
            ..Segment::due(TcpSegment::ACK, 10)
        };
        let steps = [
            Step::Segment(segment),
            Step::Wait(Duration::from_millis(320)),
            Step::SetOption(1, 2, 3),
            Step::Icmp { flow: 0, kind: 1, code: 4, word: 1000, seq: -500 },
            Step::Burst { flow: 0, count: 3, len: 1000 },
            Step::Look(1, 2),
        ];
        let mut output = Output::default();
        steps.iter().for_each(|step| step.write(&mut output));
        let mut input = Input::new(&output.bytes);
        for step in &steps {
            assert_eq!(format!("{:?}", Step::read(&mut input)), format!("{step:?}"));
        }
        assert!(input.is_empty());
    }

    /// Each beginning is what it is called.
    #[test]
    fn beginnings_lead_to_their_states() {
        for (beginning, state) in [
            (Beginning::SynSent, "SYN-SENT"),
            (Beginning::Accepted, "ESTABLISHED"),
            (Beginning::Connected, "ESTABLISHED"),
            (Beginning::FinWait1, "FIN-WAIT-1"),
            (Beginning::FinWait2, "FIN-WAIT-2"),
            (Beginning::CloseWait, "CLOSE-WAIT"),
            (Beginning::Closing, "CLOSING"),
            (Beginning::LastAck, "LAST-ACK"),
            (Beginning::TimeWait, "TIME-WAIT"),
        ] {
            for features in [0, Features::V6 | Features::TIMESTAMPS | Features::SACK | Features::ETHERNET] {
                let features = Features(features);
                let mut machine = Machine {
                    host: features.host(),
                    features,
                    sockets: Vec::new(),
                    listener: None,
                    flows: Vec::new(),
                };
                machine.begin(beginning);
                let sockets = machine.host.stack.sockets();
                assert!(sockets.iter().any(|info| info.state.name() == state), "{beginning:?}: {sockets:?}");
            }
        }
    }
}
