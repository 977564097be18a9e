//! A host with its sockets, and the peer that answers it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan::testing::PacketBuilder;
use portolan::{Domain, SocketKind};

use super::{Place, SOCKETS, Sequence, Step};
use crate::host::{CallResult, Host, Message, host_addr, peer_addr};

pub(super) struct World<'a, H: Host> {
    host: &'a mut H,
    sockets: Vec<H::Descriptor>,
    kinds: [(SocketKind, Domain); SOCKETS],
    is_mapped: bool,
    /// The last byte of the peer's address.
    peer: u8,
    /// The last packet of a socket that the host has sent.
    last: Option<Vec<u8>>,
    count: u8,
}

impl<'a, H: Host> World<'a, H> {
    pub(super) fn new(host: &'a mut H, sequence: &Sequence, peer: u8) -> Self {
        let sockets = sequence
            .sockets
            .iter()
            .map(|&(kind, domain)| host.socket_of(domain, kind).expect("a socket"))
            .collect();
        let (kinds, is_mapped) = (sequence.sockets, sequence.is_mapped);
        World { host, sockets, kinds, is_mapped, peer, last: None, count: 0 }
    }

    /// Makes the steps, then closes the sockets.
    pub(super) fn play(mut self, steps: &[Step]) -> Vec<String> {
        let _ = self.host.take_sent();
        let answers = steps.iter().map(|&step| self.step(step)).collect();
        for &socket in &self.sockets {
            let _ = self.host.close(socket);
        }
        let _ = self.host.take_sent();
        answers
    }

    /// Makes a step. Returns its result, the packets that left, and the readiness of the sockets.
    fn step(&mut self, step: Step) -> String {
        let result = self.make(step);
        let sent = self.look_at_sent();
        let ready: Vec<String> = (0..SOCKETS).map(|d| self.readiness(d)).collect();
        format!("{result}; sent [{}]; {}", sent.join(", "), ready.join(" | "))
    }

    fn make(&mut self, step: Step) -> String {
        self.count = self.count.wrapping_add(1);
        let d = |number: usize| self.sockets[number];
        match step {
            Step::Bind(n, place, port) => {
                let addr = self.addr(n, place, port);
                told(self.host.bind(d(n), addr))
            }
            Step::Connect(n, place, port) => {
                let addr = self.addr(n, place, port);
                told(self.host.connect(d(n), addr))
            }
            Step::Disconnect(n) => told(self.host.disconnect(d(n))),
            Step::Send(n, len, flags) => {
                let data = self.message(n, len);
                number(self.host.send_with(d(n), &data, flags))
            }
            Step::SendTo(n, [first, second], place, port, flags) => {
                let (addr, data) = (self.addr(n, place, port), self.message(n, first + second));
                let (front, back) = data.split_at(first.min(data.len()));
                number(self.host.send_message(d(n), &[front, back], Some(addr), flags))
            }
            Step::Recv(n, lens, flags) => {
                let message = self.host.recv_message(d(n), &lens, flags);
                self.told_message(n, message)
            }
            Step::Unread(n) => number(self.host.unread_bytes(d(n))),
            Step::OfStreams(n) => number(self.host.unsent_bytes(d(n))),
            Step::PathMtu(n) => number(self.host.path_mtu(d(n))),
            Step::TakeError(n) => match self.host.take_error(d(n)) {
                Ok(error) => error.unwrap_or("no error").into(),
                Err(error) => error.into(),
            },
            Step::LocalAddr(n) => match self.host.local_addr(d(n)) {
                Ok(addr) => self.told_addr(addr),
                Err(error) => error.into(),
            },
            Step::PeerAddr(n) => match self.host.peer_addr(d(n)) {
                Ok(addr) => self.told_addr(addr),
                Err(error) => error.into(),
            },
            Step::Listen(n) => {
                let listening = told(self.host.listen(d(n), 5));
                format!("{listening} {}", told(self.host.accept(d(n)).map(drop)))
            }
            Step::Set(n, option) => told(self.host.set_option(d(n), option)),
            Step::Shutdown(n, how) => told(self.host.shutdown(d(n), how)),
            Step::PeerSends(n, port, len) => self.peer_sends(n, port, len),
            Step::PeerRefuses(kind, code, word) => self.peer_refuses(kind, code, word),
        }
    }

    /// The peer's address: each sequence has its own, because hosts remember path MTUs.
    fn peer_addr(&self, family: Domain) -> IpAddr {
        match peer_addr(family) {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Ipv4Addr::new(a, b, c, self.peer).into()
            }
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !0xff | u128::from(self.peer)).into(),
        }
    }

    fn packet(&self, family: Domain) -> PacketBuilder {
        PacketBuilder::new(self.peer_addr(family), host_addr(family))
    }

    /// The family of the packets of a socket.
    fn family(&self, n: usize) -> Domain {
        if self.is_mapped { Domain::V4 } else { self.kinds[n].1 }
    }

    fn addr(&self, n: usize, place: Place, port: u16) -> SocketAddr {
        let (family, domain) = (self.family(n), self.kinds[n].1);
        let is_v4 = family == Domain::V4;
        let ip: IpAddr = match place {
            Place::Any if is_v4 && !self.is_mapped => Ipv4Addr::UNSPECIFIED.into(),
            Place::Any => Ipv6Addr::UNSPECIFIED.into(),
            Place::Host => host_addr(family),
            Place::Loopback if is_v4 => Ipv4Addr::LOCALHOST.into(),
            Place::Loopback => Ipv6Addr::LOCALHOST.into(),
            Place::Peer => self.peer_addr(family),
            Place::Nowhere if is_v4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Place::Nowhere => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            Place::OtherFamily => self.peer_addr(if domain == Domain::V4 { Domain::V6 } else { Domain::V4 }),
        };
        let is_to_be_mapped = self.is_mapped && domain == Domain::V6 && place != Place::OtherFamily;
        match ip {
            IpAddr::V4(v4) if is_to_be_mapped => SocketAddr::new(v4.to_ipv6_mapped().into(), port),
            ip => SocketAddr::new(ip, port),
        }
    }

    /// Data for a socket: an echo request if it sends those.
    fn message(&self, n: usize, len: usize) -> Vec<u8> {
        let mut data: Vec<u8> = (0..len).map(|at| self.count.wrapping_add(at as u8)).collect();
        if self.kinds[n].0 == SocketKind::Echo {
            let request = if self.kinds[n].1 == Domain::V4 { 8 } else { 128 };
            for (byte, value) in data.iter_mut().zip([request, 0, 0, 0, 0, 0, 0, 1]) {
                *byte = value;
            }
        }
        data
    }

    fn told_message(&self, n: usize, message: CallResult<Message>) -> String {
        let mut message = match message {
            Ok(message) => message,
            Err(error) => return error.into(),
        };
        if self.kinds[n].0 == SocketKind::Echo {
            // Identifier and checksum.
            for byte in message.data.iter_mut().take(8).skip(2) {
                *byte = 0;
            }
        }
        let from = message.from.map_or("nobody".into(), |addr| self.told_addr(addr));
        let Message { len, data, flags, control, error, .. } = message;
        format!("{len} {data:?} {flags:?} from {from} {control:?} {error:?}")
    }

    /// An address as text, without ports that a host chooses, because these are not compared.
    fn told_addr(&self, addr: SocketAddr) -> String {
        let port = match addr.port() {
            port @ (0 | 9 | 10 | 7000 | 7001) => port.to_string(),
            _ => "some".into(),
        };
        format!("{} {port}", addr.ip())
    }

    fn readiness(&mut self, n: usize) -> String {
        let Ok(readiness) = self.host.readiness(self.sockets[n]) else { return "none".into() };
        let flags = [
            ("in", readiness.readable),
            ("out", readiness.writable),
            ("rdhup", readiness.peer_closed),
            ("hup", readiness.hung_up),
            ("err", readiness.error),
            ("pri", readiness.urgent),
        ];
        let set: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
        set.join(" ")
    }

    /// The packets of the sockets that the host has sent: protocol, length, DF, TTL, TOS, and
    /// whether it is a fragment.
    fn look_at_sent(&mut self) -> Vec<String> {
        let sent = self.host.take_sent();
        let mut told = Vec::new();
        for (_, packet) in sent {
            let Some(text) = told_packet(&packet) else { continue };
            told.push(text);
            if !is_later_fragment(&packet) {
                self.last = Some(packet);
            }
        }
        told
    }

    fn peer_sends(&mut self, n: usize, port: u16, len: usize) -> String {
        let Ok(to) = self.host.local_addr(self.sockets[n]) else { return "no socket".into() };
        let family = self.family(n);
        let data: Vec<u8> = (0..len).map(|at| self.count.wrapping_add(at as u8)).collect();
        let builder = PacketBuilder { traffic_class: 0x03 ^ self.count & 0xfc, ..self.packet(family) };
        let packet = match self.kinds[n].0 {
            SocketKind::Echo => {
                let reply = if family == Domain::V4 { 0 } else { 129 };
                builder.icmp(reply, 0, &[&to.port().to_be_bytes()[..], &[0, 1], &data].concat())
            }
            _ => builder.udp(port, to.port(), &data),
        };
        self.host.send_packet(&packet);
        "-".into()
    }

    fn peer_refuses(&mut self, kind: u8, code: u8, word: u32) -> String {
        let Some(about) = self.last.clone() else { return "nothing was sent".into() };
        let family = if about[0] >> 4 == 4 { Domain::V4 } else { Domain::V6 };
        let (kind, code, word) =
            if family == Domain::V4 { (kind, code, word) } else { v6_of(kind, code, word) };
        let quote = &about[..about.len().min(100)];
        let message = [&word.to_be_bytes()[..], quote].concat();
        let packet = self.packet(family).icmp(kind, code, &message);
        self.host.send_packet(&packet);
        "-".into()
    }
}

/// The ICMPv6 message that is closest to one of ICMP.
fn v6_of(kind: u8, code: u8, word: u32) -> (u8, u8, u32) {
    match (kind, code) {
        (3, 3) => (1, 4, 0),
        (3, 4) => (2, 0, word.max(1280)),
        (3, 0) => (1, 0, 0),
        (3, 13) => (1, 1, 0),
        (3, _) => (1, 3, 0),
        (11, code) => (3, code, 0),
        _ => (4, code.min(2), word >> 24),
    }
}

fn told(result: CallResult<()>) -> String {
    result.map_or_else(Into::into, |()| "ok".into())
}

fn number(result: CallResult<usize>) -> String {
    result.map_or_else(Into::into, |number| number.to_string())
}

/// A UDP datagram or an echo request as text; `None` for other packets.
fn told_packet(packet: &[u8]) -> Option<String> {
    let byte = |at: usize| packet.get(at).copied().unwrap_or(0);
    let (protocol, text) = if byte(0) >> 4 == 4 {
        let flags = [(0x40, " df"), (0x20, " more")];
        let flags: String =
            flags.iter().filter(|(bit, _)| byte(6) & bit != 0).map(|(_, text)| *text).collect();
        let offset = (u16::from(byte(6) & 0x1f) << 8 | u16::from(byte(7))) * 8;
        (byte(9), format!("{} bytes{flags} at {offset} ttl {} tos {}", packet.len(), byte(8), byte(1)))
    } else {
        let tos = byte(0) << 4 | byte(1) >> 4;
        let is_fragment = byte(6) == 44;
        let protocol = if is_fragment { byte(40) } else { byte(6) };
        let offset = if is_fragment { u16::from(byte(42)) << 8 | u16::from(byte(43)) } else { 0 };
        (protocol, format!("{} bytes at {offset} ttl {} tos {tos}", packet.len(), byte(7)))
    };
    let header_len = if byte(0) >> 4 == 4 { 20 } else { 40 };
    let is_request = is_later_fragment(packet) || matches!(byte(header_len), 8 | 128) || byte(6) == 44;
    match protocol {
        17 => Some(format!("udp {text}")),
        1 | 58 if is_request => Some(format!("echo {text}")),
        _ => None,
    }
}

fn is_later_fragment(packet: &[u8]) -> bool {
    match packet {
        [first, ..] if first >> 4 == 4 => packet[6] & 0x1f != 0 || packet[7] != 0,
        [first, ..] if first >> 4 == 6 => packet[6] == 44 && (packet[42] != 0 || packet[43] & 0xf8 != 0),
        _ => true,
    }
}
