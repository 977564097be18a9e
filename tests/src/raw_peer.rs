//! A stack whose neighbour is the test itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use portolan::testing::{PacketBuilder, TcpSegment, arp_reply, ethernet, neighbor_advertisement};
use portolan::{
    AddressState, Cidr, Config, Domain, Frame, Instant, Interception, InterfaceConfig, InterfaceId, MacAddr,
    Medium, Stack,
};

use crate::host;

/// The most frames at one time that a stack may send.
const MAX_BURST: usize = 20_000;
/// The most timers that may fire while time passes.
const MAX_TIMERS: usize = 100_000;

/// A stack, and a neighbour that answers ARP and neighbour solicitations for its own addresses and
/// otherwise sends what the test tells it.
#[derive(Debug)]
pub struct RawPeer {
    /// The stack.
    pub stack: Stack,
    /// Its interface.
    pub iface: InterfaceId,
    /// The virtual time.
    pub now: Instant,
    medium: Medium,
    memory_limit_bytes: usize,
    sent: Vec<Vec<u8>>,
}

/// A connection from the raw peer's point of view.
#[derive(Clone, Copy, Debug)]
pub struct RawConnection {
    /// The family.
    pub domain: Domain,
    /// The peer's port.
    pub peer_port: u16,
    /// The stack's port.
    pub stack_port: u16,
    /// The next sequence number of the peer.
    pub snd_nxt: u32,
    /// The sequence number that the peer expects next.
    pub rcv_nxt: u32,
}

impl RawConnection {
    /// A segment with the expected numbers.
    pub fn segment(&self, flags: u8, payload: &[u8]) -> TcpSegment {
        TcpSegment {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags,
            payload: payload.to_vec(),
            ..TcpSegment::new(self.peer_port, self.stack_port)
        }
    }
}

impl RawPeer {
    /// The stack's MAC address.
    pub const STACK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    /// The peer's MAC address.
    pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    /// The stack's IPv4 address, in a network of 24 bits.
    pub const STACK_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    /// The peer's IPv4 address.
    pub const PEER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    /// The stack's IPv6 address, in a network of 64 bits.
    pub const STACK_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    /// The peer's IPv6 address.
    pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    /// A stack with usable addresses on a link with an MTU of 1,500.
    pub fn new(ethernet: bool, config: Config, seed: u8) -> RawPeer {
        let now = Instant::from_secs(1);
        let memory_limit_bytes = config.memory_limit_bytes;
        let mut stack = Stack::new(config, [seed; 32], now);
        let (medium, iface) = add_interface(&mut stack, now, ethernet, Interception::none());
        let mut peer = RawPeer { stack, iface, now, medium, memory_limit_bytes, sent: Vec::new() };
        peer.settle();
        peer.pass(Duration::from_secs(10));
        for (cidr, state) in &peer.stack.interfaces()[0].addresses {
            assert_eq!(*state, AddressState::Preferred, "{cidr:?}");
        }
        peer.sent.clear();
        peer
    }

    /// The kind of link.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// A builder for packets from the peer to the stack.
    pub fn packet(&self, domain: Domain) -> PacketBuilder {
        host::packet(domain)
    }

    /// The stack's address.
    pub fn stack_addr(&self, domain: Domain) -> IpAddr {
        host::host_addr(domain)
    }

    /// A packet as a frame of this link.
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        frame(self.medium, packet)
    }

    /// Passes a packet to the stack.
    pub fn send_packet(&mut self, packet: &[u8]) {
        let frame = self.frame(packet);
        self.send_frame(&frame);
    }

    /// Passes a frame to the stack, and lets it answer.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.stack.handle_frame(self.now, self.iface, Frame::new(frame.to_vec()));
        self.settle();
    }

    /// Passes a segment of a connection to the stack.
    pub fn send_segment(&mut self, domain: Domain, segment: &TcpSegment) {
        let packet = self.packet(domain).tcp(segment);
        self.send_packet(&packet);
    }

    /// The frames that the stack has sent since the last call, ARP and NDP included.
    pub fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.sent)
    }

    /// The TCP segments among what the stack has sent since anything was last taken.
    pub fn take_segments(&mut self) -> Vec<TcpSegment> {
        let medium = self.medium;
        self.take_sent().iter().filter_map(|frame| tcp_segment(medium, frame)).collect()
    }

    /// Lets time pass, from timer to timer.
    pub fn pass(&mut self, duration: Duration) {
        pass(self, duration, MAX_TIMERS, |peer| (&mut peer.stack, &mut peer.now), RawPeer::settle);
    }

    /// Opens a connection to a listener of the stack, without options.
    pub fn open(&mut self, domain: Domain, peer_port: u16, stack_port: u16) -> RawConnection {
        self.take_sent();
        let isn = 1_000_000;
        let syn = TcpSegment { seq: isn, flags: TcpSegment::SYN, ..TcpSegment::new(peer_port, stack_port) };
        self.send_segment(domain, &syn);
        let segments = self.take_segments();
        let syn_ack = segments
            .iter()
            .find(|segment| {
                segment.flags == TcpSegment::SYN | TcpSegment::ACK && segment.dst_port == peer_port
            })
            .unwrap_or_else(|| panic!("no SYN-ACK but {segments:?}"));
        assert_eq!(syn_ack.ack, isn + 1);
        let rcv_nxt = syn_ack.seq.wrapping_add(1);
        let connection = RawConnection { domain, peer_port, stack_port, snd_nxt: isn + 1, rcv_nxt };
        self.send_segment(domain, &connection.segment(TcpSegment::ACK, &[]));
        connection
    }

    /// Takes the frames that the stack sends, answers its requests for the peer's addresses, and
    /// discards its events.
    ///
    /// # Panics
    ///
    /// If the stack sends without end or holds more memory than its limit.
    pub fn settle(&mut self) {
        let mut burst = 0;
        loop {
            burst += 1;
            assert!(burst < MAX_BURST, "the stack sends without end");
            let Some(transmit) = self.stack.poll_transmit(self.now) else {
                if self.stack.handle_loopback(self.now) {
                    continue;
                }
                break;
            };
            let frame = transmit.to_vec();
            if self.medium != Medium::Ip
                && let Some(answer) = resolution_answer(&frame)
            {
                self.stack.handle_frame(self.now, self.iface, Frame::new(answer));
            }
            self.sent.push(frame);
        }
        while self.stack.poll_event().is_some() {}
        let memory = self.stack.memory_bytes();
        assert!(
            memory <= self.memory_limit_bytes,
            "{memory} bytes, the limit is {}",
            self.memory_limit_bytes
        );
    }
}

/// Gives a stack an interface with the addresses of [`RawPeer`], which takes these packets for
/// other hosts.
pub(crate) fn add_interface(
    stack: &mut Stack,
    now: Instant,
    ethernet: bool,
    interception: Interception,
) -> (Medium, InterfaceId) {
    let medium = if ethernet { Medium::Ethernet(RawPeer::STACK_MAC) } else { Medium::Ip };
    let interface = InterfaceConfig::new(medium)
        .intercept(interception)
        .address(Cidr { addr: RawPeer::STACK_V4.into(), prefix_len: 24 })
        .address(Cidr { addr: RawPeer::STACK_V6.into(), prefix_len: 64 });
    (medium, stack.add_interface(now, interface).expect("two addresses on one interface"))
}

/// A packet of the peer as a frame of this link.
pub(crate) fn frame(medium: Medium, packet: &[u8]) -> Vec<u8> {
    match medium.mac() {
        Some(mac) => ethernet(RawPeer::PEER_MAC, mac, packet),
        None => packet.to_vec(),
    }
}

/// Lets time pass for a host, from timer to timer; `settle` takes what the stack sends after each
/// timer.
pub(crate) fn pass<H>(
    host: &mut H,
    duration: Duration,
    max_timers: usize,
    stack_and_clock: fn(&mut H) -> (&mut Stack, &mut Instant),
    settle: fn(&mut H),
) {
    let (_, now) = stack_and_clock(host);
    let end = *now + duration;
    for timers in 0.. {
        let (stack, now) = stack_and_clock(host);
        let due = stack.poll_timeout().filter(|deadline| deadline.at <= end);
        assert!(timers <= max_timers, "too many timers: {due:?} at {now}");
        let is_over = due.is_none();
        *now = due.map_or(end, |deadline| deadline.at.max(*now));
        stack.handle_timeout(*now);
        settle(host);
        if is_over {
            return;
        }
    }
}

/// The answer to an ARP request or a neighbour solicitation for the peer.
pub(crate) fn resolution_answer(frame: &[u8]) -> Option<Vec<u8>> {
    let (mac, v4, v6) = (RawPeer::PEER_MAC, RawPeer::PEER_V4, RawPeer::PEER_V6);
    let parsed = SlicedPacket::from_ethernet(frame).ok()?;
    match (parsed.net?, parsed.transport) {
        (NetSlice::Arp(arp), _) => {
            let asked = arp.target_protocol_addr() == v4.octets();
            // A sender of zero is a probe for duplicates, which this peer does not answer.
            let probe = arp.sender_protocol_addr() == [0; 4];
            (asked && !probe).then(|| arp_reply(mac, v4, RawPeer::STACK_MAC, RawPeer::STACK_V4))
        }
        (NetSlice::Ipv6(ip), Some(TransportSlice::Icmpv6(icmp))) if icmp.type_u8() == 135 => {
            let target = icmp.slice().get(8..24)?;
            let asked = target == v6.octets() && ip.header().source() != [0; 16];
            asked.then(|| neighbor_advertisement(mac, v6, RawPeer::STACK_MAC, ip.header().source_addr()))
        }
        _ => None,
    }
}

/// The TOS or traffic class of an IP packet, whose two lowest bits are the ECN field.
pub(crate) fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, second, ..] => *second,
        _ => 0,
    }
}

/// Whether routers must not fragment an IP packet: always over IPv6.
pub(crate) fn must_not_be_fragmented(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
        || packet.get(6).is_some_and(|flags| flags & 0x40 != 0)
}

/// The flow label of an IPv6 packet; none over IPv4.
pub(crate) fn flow_label(packet: &[u8]) -> Option<u32> {
    let word = u32::from_be_bytes(*packet.first_chunk()?);
    (word >> 28 == 6).then_some(word & 0xf_ffff)
}

/// The TCP segment in a frame.
pub fn tcp_segment(medium: Medium, frame: &[u8]) -> Option<TcpSegment> {
    let parsed = match medium.mac() {
        Some(_) => SlicedPacket::from_ethernet(frame).ok()?,
        None => SlicedPacket::from_ip(frame).ok()?,
    };
    let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { return None };
    let flags = tcp.header_slice().get(13).copied()?;
    Some(TcpSegment {
        src_port: tcp.source_port(),
        dst_port: tcp.destination_port(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags,
        window: tcp.window_size(),
        urgent: tcp.urgent_pointer(),
        options: tcp.options().to_vec(),
        payload: tcp.payload().to_vec(),
    })
}
