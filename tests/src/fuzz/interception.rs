//! Packets to other hosts that an interface takes, in any order among the decisions of a program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan::testing::TcpSegment;
use portolan::{
    Cidr, Descriptor, Domain, IgnoreReason, Interception, PendingEvent, PendingId, Rejection, SocketKind,
    Unreachable,
};

use super::Digest;
use super::host::{Bounds, Host, small_config};
use super::input::Input;
use crate::by_family;

const MAX_STEPS: usize = 96;
const MAX_PENDING: usize = 4;
const MAX_FLOWS: usize = 4;
const SYN: u8 = TcpSegment::SYN;
const ACK: u8 = TcpSegment::ACK;
const RST: u8 = TcpSegment::RST;
const FIN: u8 = TcpSegment::FIN;

pub(super) fn run(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let first = input.byte();
    let mut config = small_config();
    config.interception.max_pending = MAX_PENDING;
    config.interception.max_pending_per_source = MAX_PENDING - 1;
    config.interception.max_connections = 4;
    config.interception.max_flows = MAX_FLOWS;
    config.interception.max_flows_per_source = MAX_FLOWS - 1;
    config.interception.max_resets_per_source = 8;
    config.interception.max_unreachables_per_source = 2;
    let interception = match first & 2 {
        0 => Interception::all(),
        _ => Interception::none().ports(Cidr::ANY_V4, 80..=81).ports(Cidr::ANY_V6, 81..=82),
    };
    let mut host = Host::intercepting(first & 1 != 0, config, Bounds::STREAMS, interception);
    let mut program = Program::default();
    program.intercept(&mut host);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let (what, which) = (input.byte(), input.byte());
        let domain = if what & 0x80 == 0 { Domain::V4 } else { Domain::V6 };
        match what & 7 {
            0 | 1 => send_segment(&mut host, domain, what >> 3 & 7, which, input.byte()),
            2 => send_datagram(&mut host, domain, which),
            3 => host.pass(input.duration()),
            4 => program.poll(&mut host),
            5 => program.decide(&mut host, what >> 3, which),
            6 => program.use_socket(&mut host, what >> 3 & 7, which),
            _ => program.stop_or_start(&mut host, which),
        }
        host.settle();
        program.check(&host);
    }
    program.close_all(&mut host);
    host.check_rest();
    host.digest()
}

/// What a program has: the sockets that intercept, and what it got from them.
#[derive(Debug, Default)]
struct Program {
    streams: Option<Descriptor>,
    datagrams: Option<Descriptor>,
    /// Announced connections without a decision.
    pending: Vec<PendingId>,
    /// Connections and flows.
    sockets: Vec<Descriptor>,
}

impl Program {
    fn intercept(&mut self, host: &mut Host) {
        let mut open = |kind| {
            let socket = host.stack.socket(Domain::V4, kind).expect("there are few sockets");
            host.stack.intercept(socket).expect("the only one");
            socket
        };
        self.streams.get_or_insert_with(|| open(SocketKind::Stream));
        self.datagrams.get_or_insert_with(|| open(SocketKind::Datagram));
    }

    /// Takes all news and all flows.
    fn poll(&mut self, host: &mut Host) {
        while let Some(event) = self.streams.and_then(|d| host.stack.poll_pending(d).ok()) {
            match event {
                PendingEvent::New(pending) => {
                    assert!(!self.pending.contains(&pending.id), "announced twice");
                    assert!(pending.destination.ip() != pending.source.ip());
                    self.pending.push(pending.id);
                }
                PendingEvent::Cancelled(id, _) => {
                    let at = self.pending.iter().position(|&pending| pending == id);
                    self.pending.remove(at.expect("it was announced, and not decided on"));
                }
                other => panic!("unknown: {other:?}"),
            }
        }
        while let Some(flow) = self.datagrams.and_then(|d| host.stack.accept(d).ok()) {
            self.sockets.push(flow.0);
        }
    }

    fn decide(&mut self, host: &mut Host, how: u8, which: u8) {
        self.poll(host);
        let (Some(streams), false) = (self.streams, self.pending.is_empty()) else { return };
        let id = self.pending.remove(usize::from(which) % self.pending.len());
        let (stack, now) = (&mut host.stack, host.now);
        assert_eq!(stack.is_pending(streams, id), Ok(true));
        let unreachable = match how >> 2 & 3 {
            0 => Unreachable::Network,
            1 => Unreachable::Host,
            2 => Unreachable::Port,
            _ => Unreachable::Prohibited,
        };
        match how & 3 {
            0 => stack.ignore_pending(now, streams, id, IgnoreReason::Policy).expect("it is pending"),
            1 => stack.reject_pending(now, streams, id, Rejection::Reset).expect("it is pending"),
            2 => {
                let how = Rejection::Unreachable(unreachable);
                stack.reject_pending(now, streams, id, how).expect("it is pending");
            }
            _ => match stack.accept_pending(now, streams, id) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) => {
                    assert_eq!(error, portolan::Error::NoBufferSpace);
                    stack.ignore_pending(now, streams, id, IgnoreReason::Overload).expect("it is pending");
                }
            },
        }
    }

    /// A call on one of the accepted sockets, which may fail.
    fn use_socket(&mut self, host: &mut Host, what: u8, which: u8) {
        if self.sockets.is_empty() {
            return;
        }
        let at = usize::from(which) % self.sockets.len();
        let (d, stack, now) = (self.sockets[at], &mut host.stack, host.now);
        match what {
            0 | 1 => drop(stack.send(now, d, &[7; 1000])),
            2 => drop(stack.recv(now, d, &mut [0; 4000])),
            3 => drop(stack.reject_flow(now, d, Unreachable::Port)),
            4 => drop(stack.disconnect(now, d)),
            5 => drop(stack.shutdown(now, d, portolan::Shutdown::Write)),
            _ => {
                stack.close(now, d).expect("it is open");
                self.sockets.remove(at);
            }
        }
    }

    /// Closes the sockets that intercept, or opens them again.
    fn stop_or_start(&mut self, host: &mut Host, which: u8) {
        if which & 3 == 0 {
            self.pending.clear();
            for d in self.streams.take().into_iter().chain(self.datagrams.take()) {
                host.stack.close(host.now, d).expect("it is open");
            }
        } else {
            self.intercept(host);
        }
    }

    /// Checks the limits, and that what was announced is pending or will be cancelled.
    fn check(&self, host: &Host) {
        let stack = &host.stack;
        let is_pending = |&id: &PendingId| self.streams.map(|d| stack.is_pending(d, id).expect("it is open"));
        let waiting = self.pending.iter().filter(|id| is_pending(id) == Some(true)).count();
        assert!(waiting <= MAX_PENDING, "{waiting}");
        if waiting < self.pending.len() {
            let readiness = self.streams.map(|d| stack.readiness(d).expect("it is open").readable);
            assert_eq!(readiness, Some(true), "a cancellation is news");
        }
    }

    fn close_all(&mut self, host: &mut Host) {
        for d in self.sockets.drain(..).chain(self.streams.take()).chain(self.datagrams.take()) {
            host.stack.close(host.now, d).expect("it is open");
        }
        host.settle();
    }
}

/// A destination and a port by a small number; 0 is the stack itself.
fn destination(host: &Host, domain: Domain, number: u8) -> (IpAddr, u16) {
    let other = by_family(
        domain,
        Ipv4Addr::new(203, 0, 113, number & 3).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number & 3)).into(),
    );
    let addr = if number & 3 == 0 { host.packet(domain).dst } else { other };
    (addr, 80 + u16::from(number >> 2 & 3))
}

/// A segment of one of a few connections, which has what a peer may send, or something else.
fn send_segment(host: &mut Host, domain: Domain, what: u8, which: u8, fields: u8) {
    let mut builder = host.packet(domain);
    let (addr, port) = destination(host, domain, which);
    builder.dst = addr;
    let source = 5000 + u16::from(which >> 4 & 3);
    // The acknowledgement that the stack expects, if it has sent a SYN-ACK or data.
    let last =
        host.take_segments().into_iter().rfind(|sent| sent.dst_port == source && sent.src_port == port);
    let ack = last.map_or(u32::from(fields), |sent| sent.seq.wrapping_add(sent.payload.len() as u32 + 1));
    let flags = [SYN, SYN, RST, ACK, ACK, FIN | ACK, RST | ACK, SYN | ACK][usize::from(what)];
    let seq = 1000 + u32::from(fields & 7);
    let mut segment = TcpSegment { seq, ack, flags, ..TcpSegment::new(source, port) };
    if fields & 0x40 != 0 {
        segment.payload = vec![7; 100];
    }
    if fields & 0x80 != 0 {
        segment.options = vec![2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, fields, 0, 0, 0, 0];
    }
    host.receive_packet(&builder.tcp(&segment));
}

fn send_datagram(host: &mut Host, domain: Domain, which: u8) {
    let mut builder = host.packet(domain);
    let (addr, port) = destination(host, domain, which);
    builder.dst = addr;
    host.receive_packet(&builder.udp(6000 + u16::from(which >> 4 & 3), port, b"datagram"));
}
