//! Calls, segments and time in any order, with connections in every state.
//!
//! An input is three bytes (the features of both ends, and the beginning), then steps. The numbers
//! of segments are distances from the expected ones, so that a few bytes make a segment within the
//! window.

mod calls;

use portolan::testing::TcpSegment;
use portolan::{Descriptor, Domain};

use super::features::{Beginning, Features};
use super::host::Host;
use super::input::Input;
use super::step::{Options, Segment, Step};
use super::{Digest, trace};

const LISTENING_PORT: u16 = 80;
const FIRST_PEER_PORT: u16 = 40_000;
const MAX_FLOWS: usize = 8;
const MAX_STEPS: usize = 200;

/// A connection from the peer's point of view.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer_port: u16,
    stack_port: u16,
    /// The sequence number that the stack expects next.
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

/// Runs an input that begins in one of the states of a connection.
pub(super) fn run_states(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let features = Features(input.word());
    let beginning = Beginning::ALL[usize::from(input.byte()) % Beginning::ALL.len()];
    run(features, beginning, input)
}

/// Runs an input that begins without sockets: the program does everything.
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

    /// Learns from what the stack has sent.
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

    /// Sends a SYN from a new port.
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

    /// Sends a SYN-ACK for the newest flow.
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

    /// Sends consecutive segments in one batch.
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

    /// Sends an ICMP error about a segment of a flow.
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
            (_, 3) => 3,
            (_, other) => other + 1,
        };
        self.host.receive_packet(&to_stack.icmp(kind, code % 16, &rest));
    }
}

/// The value of the timestamp option, at the position where the stack writes it.
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

/// Writes a value and an echo into the timestamp option, if there is one at its position in a SYN.
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

    /// Each beginning leads to the state of its name.
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
                let sockets: Vec<_> = machine.host.stack.sockets().collect();
                assert!(sockets.iter().any(|info| info.state.name() == state), "{beginning:?}: {sockets:?}");
            }
        }
    }
}
