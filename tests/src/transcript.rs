//! The frames on a wire as text, one line for each. The parser is not the stack's own, so a
//! transcript is a second opinion on what the stack sends.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use portolan::testing::Recorded;

/// The state that is kept between frames.
#[derive(Debug, Default)]
pub struct Transcript {
    /// The sequence number of each direction's SYN, to which numbers are relative.
    initial_sequence: HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Transcript {
    /// A transcript without frames.
    pub fn new() -> Transcript {
        Transcript::default()
    }

    /// A line for each frame.
    pub fn lines(&mut self, frames: &[Recorded]) -> Vec<String> {
        frames.iter().map(|frame| self.line(frame)).collect()
    }

    fn line(&mut self, frame: &Recorded) -> String {
        let told = match SlicedPacket::from_ethernet(&frame.frame) {
            Ok(packet) => self.tell(&packet),
            Err(error) => format!("not understood: {error}"),
        };
        format!("{:?} > {:?}  {told}", frame.from, frame.from.other())
    }

    fn tell(&mut self, packet: &SlicedPacket<'_>) -> String {
        let (src, dst) = match &packet.net {
            Some(NetSlice::Arp(arp)) => return tell_arp(arp),
            Some(NetSlice::Ipv4(ip)) => {
                (IpAddr::V4(ip.header().source_addr()), IpAddr::V4(ip.header().destination_addr()))
            }
            Some(NetSlice::Ipv6(ip)) => {
                (IpAddr::V6(ip.header().source_addr()), IpAddr::V6(ip.header().destination_addr()))
            }
            None => return "no network layer".into(),
        };
        match &packet.transport {
            Some(TransportSlice::Icmpv4(icmp)) => {
                format!("ICMP {}", tell_icmp_v4(icmp.type_u8(), icmp.code_u8()))
            }
            Some(TransportSlice::Icmpv6(icmp)) => tell_icmp_v6(icmp.type_u8(), icmp.payload()),
            Some(TransportSlice::Udp(udp)) => {
                format!(
                    "UDP {} > {}, {} bytes",
                    udp.source_port(),
                    udp.destination_port(),
                    udp.payload().len()
                )
            }
            Some(TransportSlice::Tcp(tcp)) => self.tell_tcp(src, dst, tcp),
            _ => format!("IP {src} > {dst}"),
        }
    }

    fn tell_tcp(&mut self, src: IpAddr, dst: IpAddr, tcp: &TcpSlice<'_>) -> String {
        let from = SocketAddr::new(src, tcp.source_port());
        let to = SocketAddr::new(dst, tcp.destination_port());
        if tcp.syn() {
            self.initial_sequence.insert((from, to), tcp.sequence_number());
        }
        let mut line = format!("TCP {} > {}", from.port(), to.port());
        for (set, name) in [
            (tcp.syn(), "SYN"),
            (tcp.fin(), "FIN"),
            (tcp.rst(), "RST"),
            (tcp.psh(), "PSH"),
            (tcp.ack(), "ACK"),
        ] {
            if set {
                line.push(' ');
                line.push_str(name);
            }
        }
        // Without a SYN in its direction (a reset without a connection) a segment has absolute
        // numbers.
        let relative = |key, number: u32| {
            number.wrapping_sub(self.initial_sequence.get(&key).copied().unwrap_or_default())
        };
        let _ = write!(line, ", seq {}", relative((from, to), tcp.sequence_number()));
        if tcp.ack() {
            let _ = write!(line, ", ack {}", relative((to, from), tcp.acknowledgment_number()));
        }
        if !tcp.payload().is_empty() {
            let _ = write!(line, ", {} bytes", tcp.payload().len());
        }
        for option in tcp.options_iterator().flatten() {
            if let TcpOptionElement::SelectiveAcknowledgement(first, others) = option {
                for (left, right) in std::iter::once(first).chain(others.into_iter().flatten()) {
                    let _ = write!(
                        line,
                        ", SACK {}..{}",
                        relative((to, from), left),
                        relative((to, from), right)
                    );
                }
            }
        }
        line
    }
}

fn tell_arp(arp: &etherparse::ArpPacketSlice<'_>) -> String {
    let addr = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(octets) => Ipv4Addr::from(octets).to_string(),
        Err(_) => "an address of another kind".into(),
    };
    let (sender, target) = (addr(arp.sender_protocol_addr()), addr(arp.target_protocol_addr()));
    match arp.operation().0 {
        1 => format!("ARP who has {target}? {sender} asks"),
        2 => format!("ARP {sender} is here"),
        other => format!("ARP operation {other}"),
    }
}

fn tell_icmp_v4(kind: u8, code: u8) -> String {
    match (kind, code) {
        (0, _) => "echo reply".into(),
        (3, 3) => "port unreachable".into(),
        (3, code) => format!("destination unreachable, code {code}"),
        (8, _) => "echo request".into(),
        (11, _) => "time exceeded".into(),
        (kind, _) => format!("type {kind}"),
    }
}

fn tell_icmp_v6(kind: u8, payload: &[u8]) -> String {
    // In a neighbour message, etherparse's payload begins with the target address.
    let target = || match payload.first_chunk::<16>() {
        Some(&octets) => Ipv6Addr::from(octets).to_string(),
        None => "an address that is cut off".into(),
    };
    match kind {
        1 => "ICMPv6 destination unreachable".into(),
        128 => "ICMPv6 echo request".into(),
        129 => "ICMPv6 echo reply".into(),
        135 => format!("NDP who has {}?", target()),
        136 => format!("NDP {} is here", target()),
        other => format!("ICMPv6 type {other}"),
    }
}
