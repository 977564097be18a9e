//! Builds frames byte by byte: valid ones, and ones with a chosen fault. This code shares nothing
//! with the stack's own, so that a mistake there is not repeated here.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::MacAddr;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

/// The fault of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A wrong IPv4 header checksum. IPv6 has none, so this changes nothing there.
    IpChecksum,
    /// A wrong checksum of TCP, UDP or ICMP.
    TransportChecksum,
    /// A wrong version in the IP header.
    IpVersion,
    /// An IPv4 header length beyond the end of the packet. Changes nothing in IPv6.
    HeaderLength,
    /// A length in the IP header that is larger than the packet.
    LengthTooLong,
    /// A length in the IP header that is smaller than the header.
    LengthTooShort,
    /// A packet that ends within the transport header.
    Truncated,
}

/// Builds IP packets between two addresses of one family.
///
/// ```
/// use portolan::testing::{PacketBuilder, TcpSegment};
///
/// let builder = PacketBuilder::new("10.0.0.1".parse()?, "10.0.0.2".parse()?);
/// let syn = builder.tcp(&TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(5000, 80) });
/// assert_eq!(syn.len(), 40);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PacketBuilder {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// The TTL or hop limit.
    pub hop_limit: u8,
    /// The TOS or traffic class.
    pub traffic_class: u8,
    /// IPv4's identification, or that of fragments.
    pub identification: u32,
    /// IPv4's don't-fragment bit.
    pub dont_fragment: bool,
    /// The fault that the packets have.
    pub fault: Option<Fault>,
}

impl PacketBuilder {
    /// A builder with a hop limit of 64 and no fault.
    ///
    /// # Panics
    ///
    /// If the addresses are of different families.
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "{src} and {dst} are of different families");
        PacketBuilder {
            src,
            dst,
            hop_limit: 64,
            traffic_class: 0,
            identification: 1,
            dont_fragment: false,
            fault: None,
        }
    }

    /// Sets the fault.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Sets the hop limit; NDP requires 255.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// A packet with a TCP segment.
    pub fn tcp(&self, segment: &TcpSegment) -> Vec<u8> {
        self.checksummed(PROTOCOL_TCP, segment.to_bytes(), 16)
    }

    /// A packet with a UDP datagram.
    pub fn udp(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(8 + payload.len());
        for field in [src_port, dst_port, (8 + payload.len()) as u16, 0] {
            datagram.extend_from_slice(&field.to_be_bytes());
        }
        datagram.extend_from_slice(payload);
        self.checksummed(PROTOCOL_UDP, datagram, 6)
    }

    /// A packet with an ICMP message of the addresses' family; `rest` is what follows the checksum.
    pub fn icmp(&self, icmp_type: u8, code: u8, rest: &[u8]) -> Vec<u8> {
        let mut message = vec![icmp_type, code, 0, 0];
        message.extend_from_slice(rest);
        let protocol = if self.src.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        self.checksummed(protocol, message, 2)
    }

    /// An echo request.
    pub fn echo_request(&self, identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
        let mut rest = Vec::from(identifier.to_be_bytes());
        rest.extend_from_slice(&sequence.to_be_bytes());
        rest.extend_from_slice(data);
        self.icmp(if self.src.is_ipv4() { 8 } else { 128 }, 0, &rest)
    }

    /// An IP packet with any payload.
    pub fn raw(&self, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.ipv4_header(src, dst, protocol, transport.len(), 0, false)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6_header(src, dst, protocol, transport.len()),
            _ => unreachable!("`new` has compared the families"),
        };
        packet.extend_from_slice(transport);
        if self.fault == Some(Fault::Truncated) {
            let header_len = packet.len() - transport.len();
            packet.truncate(header_len + transport.len().min(6));
        }
        packet
    }

    /// The same packet as [`raw`](PacketBuilder::raw) in fragments of at most `size` transport
    /// bytes, which must be a multiple of 8.
    pub fn fragments(&self, protocol: u8, transport: &[u8], size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments begin at multiples of 8 bytes");
        let count = transport.len().div_ceil(size);
        let chunks = transport.chunks(size).enumerate();
        chunks.map(|(index, data)| self.fragment(protocol, index * size, data, index + 1 < count)).collect()
    }

    /// One fragment: `offset` is in bytes, a multiple of 8.
    pub fn fragment(&self, protocol: u8, offset: usize, data: &[u8], more: bool) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut packet = self.ipv4_header(src, dst, protocol, data.len(), offset, more);
                packet.extend_from_slice(data);
                packet
            }
            _ => {
                let [a, b] = ((offset as u16) & !7 | u16::from(more)).to_be_bytes();
                let mut extended = vec![protocol, 0, a, b];
                extended.extend_from_slice(&self.identification.to_be_bytes());
                extended.extend_from_slice(data);
                self.raw(44, &extended)
            }
        }
    }

    fn ipv4_header(
        &self,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: u8,
        payload_len: usize,
        offset: usize,
        more: bool,
    ) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[0] = match self.fault {
            Some(Fault::IpVersion) => 0x75,
            Some(Fault::HeaderLength) => 0x4f,
            _ => 0x45,
        };
        header[1] = self.traffic_class;
        let length = self.length_field(20 + payload_len);
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&(self.identification as u16).to_be_bytes());
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | (offset / 8) as u16;
        header[6..8].copy_from_slice(&flags.to_be_bytes());
        header[8] = self.hop_limit;
        header[9] = protocol;
        header[12..16].copy_from_slice(&src.octets());
        header[16..20].copy_from_slice(&dst.octets());
        let mut checksum = internet_checksum(&[&header]);
        if self.fault == Some(Fault::IpChecksum) {
            checksum ^= 0x0100;
        }
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn ipv6_header(&self, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, payload_len: usize) -> Vec<u8> {
        let version = if self.fault == Some(Fault::IpVersion) { 7 } else { 6 };
        let mut header = vec![version << 4 | self.traffic_class >> 4, self.traffic_class << 4, 0, 0];
        header.extend_from_slice(&self.length_field(payload_len).to_be_bytes());
        header.extend_from_slice(&[protocol, self.hop_limit]);
        header.extend_from_slice(&src.octets());
        header.extend_from_slice(&dst.octets());
        header
    }

    fn length_field(&self, length: usize) -> u16 {
        match self.fault {
            Some(Fault::LengthTooLong) => (length as u16).saturating_add(100),
            Some(Fault::LengthTooShort) => 3,
            _ => length as u16,
        }
    }

    fn checksummed(&self, protocol: u8, mut transport: Vec<u8>, at: usize) -> Vec<u8> {
        let pseudo = if protocol == PROTOCOL_ICMP {
            Vec::new()
        } else {
            self.pseudo_header(protocol, transport.len())
        };
        let mut checksum = internet_checksum(&[&pseudo, &transport]);
        // RFC 768: zero would mean "no checksum".
        if protocol == PROTOCOL_UDP && checksum == 0 {
            checksum = 0xffff;
        }
        if self.fault == Some(Fault::TransportChecksum) {
            checksum ^= 0x0100;
        }
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        self.raw(protocol, &transport)
    }

    fn pseudo_header(&self, protocol: u8, len: usize) -> Vec<u8> {
        let mut pseudo = Vec::new();
        for addr in [self.src, self.dst] {
            match addr {
                IpAddr::V4(addr) => pseudo.extend_from_slice(&addr.octets()),
                IpAddr::V6(addr) => pseudo.extend_from_slice(&addr.octets()),
            }
        }
        pseudo.extend_from_slice(&(len as u32).to_be_bytes());
        pseudo.extend_from_slice(&[0, 0, 0, protocol]);
        pseudo
    }
}

/// A TCP segment to build, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSegment {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The control bits: [`TcpSegment::SYN`] and the others, combined with `|`.
    pub flags: u8,
    /// The window as it is on the wire.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options as they are on the wire. They are padded with zeros to a multiple of four, and
    /// cut at 40 bytes.
    pub options: Vec<u8>,
    /// The data.
    pub payload: Vec<u8>,
}

impl TcpSegment {
    /// The FIN bit.
    pub const FIN: u8 = 0x01;
    /// The SYN bit.
    pub const SYN: u8 = 0x02;
    /// The RST bit.
    pub const RST: u8 = 0x04;
    /// The PSH bit.
    pub const PSH: u8 = 0x08;
    /// The ACK bit.
    pub const ACK: u8 = 0x10;
    /// The URG bit.
    pub const URG: u8 = 0x20;

    /// A segment between two ports without flags, options or data, and with a window of 65,535.
    pub fn new(src_port: u16, dst_port: u16) -> Self {
        TcpSegment {
            src_port,
            dst_port,
            seq: 0,
            ack: 0,
            flags: 0,
            window: u16::MAX,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The header and the data, with a checksum of zero.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        let mut bytes = Vec::with_capacity(20 + options.len() + self.payload.len());
        bytes.extend_from_slice(&self.src_port.to_be_bytes());
        bytes.extend_from_slice(&self.dst_port.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.ack.to_be_bytes());
        bytes.extend_from_slice(&[((5 + options.len() / 4) << 4) as u8, self.flags]);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.urgent.to_be_bytes());
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// An Ethernet frame around an IP packet, whose version determines the EtherType.
pub fn ethernet(src: MacAddr, dst: MacAddr, packet: &[u8]) -> Vec<u8> {
    let ethertype: u16 = if packet.first().is_some_and(|byte| byte >> 4 == 6) { 0x86dd } else { 0x0800 };
    ethernet_with_type(src, dst, ethertype, packet)
}

fn ethernet_with_type(src: MacAddr, dst: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&dst.0);
    frame.extend_from_slice(&src.0);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A broadcast frame that asks who has `target`.
pub fn arp_request(mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp(1, mac, ip, MacAddr::BROADCAST, MacAddr([0; 6]), target)
}

/// A frame that tells `to` that `ip` is at `mac`.
pub fn arp_reply(mac: MacAddr, ip: Ipv4Addr, to: MacAddr, to_ip: Ipv4Addr) -> Vec<u8> {
    arp(2, mac, ip, to, to, to_ip)
}

fn arp(
    operation: u8,
    mac: MacAddr,
    ip: Ipv4Addr,
    frame_dst: MacAddr,
    target_mac: MacAddr,
    target: Ipv4Addr,
) -> Vec<u8> {
    // Ethernet, IPv4, address lengths of 6 and 4.
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
    message.extend_from_slice(&mac.0);
    message.extend_from_slice(&ip.octets());
    message.extend_from_slice(&target_mac.0);
    message.extend_from_slice(&target.octets());
    ethernet_with_type(mac, frame_dst, 0x0806, &message)
}

/// A solicited frame that tells `to` that `ip` is at `mac` (RFC 4861 §4.4).
pub fn neighbor_advertisement(mac: MacAddr, ip: Ipv6Addr, to: MacAddr, to_ip: Ipv6Addr) -> Vec<u8> {
    // The flags "solicited" and "override".
    let mut rest = vec![0x60, 0, 0, 0];
    rest.extend_from_slice(&ip.octets());
    // Target link-layer address, of length 1 (8 bytes).
    rest.extend_from_slice(&[2, 1]);
    rest.extend_from_slice(&mac.0);
    let packet = PacketBuilder::new(ip.into(), to_ip.into()).hop_limit(255).icmp(136, 0, &rest);
    ethernet(mac, to, &packet)
}

/// The checksum of RFC 1071 over consecutive slices, of which only the last may have an odd length.
pub fn internet_checksum(slices: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for pair in slices.iter().flat_map(|slice| slice.chunks(2)) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn builders() -> [PacketBuilder; 2] {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        [PacketBuilder::new(ip("10.0.0.1"), ip("10.0.0.2")), PacketBuilder::new(ip("fd00::1"), ip("fd00::2"))]
    }

    fn checksum_is_right(sliced: &SlicedPacket<'_>) -> bool {
        match (sliced.net.as_ref().unwrap(), sliced.transport.as_ref().unwrap()) {
            (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
                let (src, dst) = (ip.header().source(), ip.header().destination());
                tcp.checksum() == tcp.calc_checksum_ipv4(src, dst).unwrap()
            }
            (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
                let (src, dst) = (ip.header().source(), ip.header().destination());
                tcp.checksum() == tcp.calc_checksum_ipv6(src, dst).unwrap()
            }
            (_, other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn etherparse_agrees() {
        for builder in builders() {
            let segment = TcpSegment {
                flags: TcpSegment::SYN,
                options: vec![2, 4, 5, 0xb4],
                payload: vec![1, 2, 3],
                ..TcpSegment::new(1, 2)
            };
            let frame = ethernet(MacAddr([2; 6]), MacAddr([4; 6]), &builder.tcp(&segment));
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            assert!(checksum_is_right(&sliced));
            let wrong = builder.clone().fault(Fault::TransportChecksum).tcp(&segment);
            assert!(!checksum_is_right(&SlicedPacket::from_ip(&wrong).unwrap()));
            let udp = builder.udp(1, 2, b"x");
            assert!(matches!(SlicedPacket::from_ip(&udp).unwrap().transport, Some(TransportSlice::Udp(_))));
        }
    }

    #[test]
    fn fragments_cover_the_packet() {
        for builder in builders() {
            let fragments = builder.fragments(17, &[7; 100], 48);
            let header = builder.raw(17, &[]).len() + if builder.src.is_ipv4() { 0 } else { 8 };
            let lengths: Vec<_> = fragments.iter().map(|fragment| fragment.len() - header).collect();
            assert_eq!(lengths, [48, 48, 4]);
        }
    }
}
