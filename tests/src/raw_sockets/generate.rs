//! Which call comes next.

use std::net::{IpAddr, SocketAddr};

use portolan::{Domain, IcmpFilter, Shutdown, SocketKind, SocketOption};

use super::messages::{PORTS, PROTOCOL, arriving, bytes, icmp, made, udp};
use super::{Answer, Call};
use crate::by_family;
use crate::soak::dice::Dice;

/// The most descriptors that are open at once.
const OPEN: usize = 6;

/// Draws calls, and remembers what the descriptors are.
pub(super) struct Generator {
    dice: Dice,
    /// Both families occur in a sequence, but most sockets are of this one.
    domain: Domain,
    descriptors: Vec<Known>,
    /// A call that has to come next.
    pending: Option<Call>,
    /// Whether data that is longer than a packet may be was sent: two of them can fill a queue.
    was_long: bool,
}

/// What is known of a descriptor.
#[derive(Clone, Copy)]
struct Known {
    domain: Domain,
    kind: SocketKind,
    is_open: bool,
    has_port: bool,
    is_header_included: bool,
    /// Whether it was connected. Otherwise `shutdown` fails, but has an effect on Linux.
    is_connected: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "raw_sockets", 0);
        let domain = if dice.one_in(2) { Domain::V4 } else { Domain::V6 };
        Generator { dice, domain, descriptors: Vec::new(), pending: None, was_long: false }
    }

    pub(super) fn next(&mut self) -> Call {
        loop {
            if let Some(call) = self.pending.take().or_else(|| self.draw()) {
                return call;
            }
        }
    }

    fn draw(&mut self) -> Option<Call> {
        let open = self.descriptors.iter().filter(|known| known.is_open).count();
        let chance = self.dice.within(0, 99);
        if open < 2 || (chance < 8 && open < OPEN) {
            return Some(self.draw_socket());
        }
        if chance < 20 {
            return Some(Call::Arrive(arriving(&mut self.dice, self.domain)));
        }
        let last = self.descriptors.len() as u64 - 1;
        let d = self.dice.within(0, last) as usize;
        let known = self.descriptors[d];
        // A closed descriptor has its turn, but not often.
        if !known.is_open && !self.dice.one_in(10) {
            return None;
        }
        // The identifier or port that it would get by itself is not the same on both hosts.
        if known.is_open && !known.has_port {
            return Some(Call::Close(d));
        }
        let len = self.dice.pick(&[0, 10, 30, 100, 4000]);
        Some(match chance {
            20..45 => Call::Recv(d, len),
            // UDP sockets are here only for the packets that raw sockets see.
            45..61 if known.kind == SocketKind::Datagram => Call::LocalAddr(d),
            // A second look at a packet without data fails on Linux.
            45..48 if known.domain == Domain::V4 => Call::Peek(d, len),
            48..53 => Call::Bind(d, self.draw_own_addr(known)),
            53..59 => Call::Connect(d, self.draw_peer(known)),
            59..61 if known.is_connected => Call::Shutdown(d, Shutdown::Write),
            59..63 => Call::Close(d),
            63..66 => Call::LocalAddr(d),
            66..69 => Call::PeerAddr(d),
            69..71 => Call::TakeError(d),
            71..75 => Call::Readiness(d),
            75..81 => Call::Set(d, self.draw_option(known)),
            81..86 => {
                let to = self.draw_addr(known);
                Call::Send(d, self.draw_data(known, to)?)
            }
            _ => {
                let to = self.draw_addr(known);
                Call::SendTo(d, to, self.draw_data(known, to)?)
            }
        })
    }

    fn draw_socket(&mut self) -> Call {
        let domain =
            if self.dice.one_in(8) { by_family(self.domain, Domain::V6, Domain::V4) } else { self.domain };
        let icmp = by_family(domain, 1, 58);
        let kind = match self.dice.within(0, 9) {
            0..4 => SocketKind::Raw(PROTOCOL),
            4..6 => SocketKind::Raw(icmp),
            6 => SocketKind::Raw(self.dice.pick(&[17, 254, 255, 0])),
            7..9 => SocketKind::Echo,
            _ => SocketKind::Datagram,
        };
        if !matches!(kind, SocketKind::Raw(_)) {
            let port = self.dice.pick(&PORTS);
            let any =
                by_family(domain, SocketAddr::from(([0; 4], port)), SocketAddr::from(([0u16; 8], port)));
            self.pending = Some(Call::Bind(self.descriptors.len(), any));
        }
        Call::Socket(domain, kind)
    }

    /// An address to bind to.
    fn draw_own_addr(&mut self, known: Known) -> SocketAddr {
        let port = self.dice.pick(&PORTS);
        let text = match known.domain {
            Domain::V4 => {
                self.dice.pick(&["0.0.0.0", "127.0.0.1", "10.0.0.1", "10.0.0.2", "224.0.0.9", "10.0.0.255"])
            }
            _ => self.dice.pick(&["::", "fd00::1", "fd00::2", "ff05::9", "::ffff:10.0.0.1"]),
        };
        SocketAddr::new(text.parse().expect("an address"), port)
    }

    /// An address to send to.
    fn draw_addr(&mut self, known: Known) -> SocketAddr {
        let text = match known.domain {
            Domain::V4 => self.dice.pick(&[
                "127.0.0.1",
                "10.0.0.1",
                "10.0.0.2",
                "10.0.0.2",
                "0.0.0.0",
                "11.1.1.1",
                "10.0.0.255",
            ]),
            _ => self.dice.pick(&[
                "::1",
                "fd00::1",
                "fd00::2",
                "fd00::2",
                "::",
                "2001:db8::1",
                "::ffff:10.0.0.2",
            ]),
        };
        // A datagram needs a port; a raw socket ignores it, or over IPv6 takes it for a protocol.
        let port = match known.kind {
            SocketKind::Datagram => self.dice.pick(&[7, 8, 9]),
            _ => self.dice.pick(&[0, 0, 0, 9, PROTOCOL.into(), 300]),
        };
        SocketAddr::new(text.parse().expect("an address"), port)
    }

    /// An address to connect to. On Linux there is no peer address without a port. An IPv6 raw
    /// socket of Linux that is connected to an IPv4-mapped address can send nothing. Portolan lets
    /// no IPv6 packet with a loopback address leave.
    fn draw_peer(&mut self, known: Known) -> SocketAddr {
        loop {
            let mut addr = self.draw_addr(known);
            if addr.port() == 0 {
                addr.set_port(9);
            }
            let is_odd = match addr.ip() {
                IpAddr::V4(_) => false,
                IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some(),
            };
            if !is_odd {
                return addr;
            }
        }
    }

    fn draw_option(&mut self, known: Known) -> SocketOption {
        match self.dice.within(0, 9) {
            0..2 => SocketOption::HeaderIncluded(self.dice.one_in(2)),
            // Linux has the option at the level of IPv6 only, and a UDP socket of IPv6 refuses it.
            2..4 if known.domain == Domain::V6 => SocketOption::ChecksumOffset(self.dice.pick(&[
                None,
                Some(0),
                Some(2),
                Some(3),
                Some(6),
                Some(90),
            ])),
            2..6 => {
                let filters = [IcmpFilter::PASS_ALL, IcmpFilter::BLOCK_ALL];
                let kind = self.dice.pick(&[0, 8, 3, 128, 129, 1]);
                SocketOption::IcmpFilter(match self.dice.within(0, 3) {
                    0 => filters[0],
                    1 => filters[1].pass(kind),
                    _ => filters[0].block(kind),
                })
            }
            6 => SocketOption::Ttl(self.dice.within(1, 255) as u8),
            7 => SocketOption::Tos(self.dice.within(0, 255) as u8),
            // Not SO_BROADCAST: Linux receives its own broadcasts.
            _ => SocketOption::ReuseAddr(self.dice.one_in(2)),
        }
    }

    fn draw_data(&mut self, known: Known, to: SocketAddr) -> Option<Vec<u8>> {
        let dice = &mut self.dice;
        let data = match known.kind {
            // The address in the header is that of the call.
            SocketKind::Raw(_) if known.is_header_included && to.ip().is_unspecified() => return None,
            SocketKind::Raw(_) if known.is_header_included => made(dice, to.ip()),
            SocketKind::Raw(1 | 58) | SocketKind::Echo => icmp(dice, known.domain),
            SocketKind::Raw(17) => udp(dice),
            SocketKind::Datagram => vec![9; dice.within(0, 20) as usize],
            _ => bytes(dice),
        };
        let is_long = data.len() > 10_000;
        if is_long && std::mem::replace(&mut self.was_long, true) {
            return None;
        }
        Some(data)
    }

    /// Remembers what the call has done.
    pub(super) fn learn(&mut self, call: &Call, answer: &Answer) {
        let is_done = matches!(answer, Answer::Done(_));
        match *call {
            Call::Socket(domain, kind) if *answer == Answer::Opened => {
                let has_port = matches!(kind, SocketKind::Raw(_));
                let is_header_included = kind == SocketKind::Raw(255);
                self.descriptors.push(Known {
                    domain,
                    kind,
                    is_open: true,
                    has_port,
                    is_header_included,
                    is_connected: false,
                });
            }
            // There is no socket to be bound.
            Call::Socket(..) => self.pending = None,
            Call::Bind(d, _) if is_done => self.descriptors[d].has_port = true,
            Call::Connect(d, _) if is_done => self.descriptors[d].is_connected = true,
            Call::Close(d) if is_done => self.descriptors[d].is_open = false,
            Call::Set(d, SocketOption::HeaderIncluded(on)) if is_done => {
                self.descriptors[d].is_header_included = on;
            }
            _ => {}
        }
    }
}
