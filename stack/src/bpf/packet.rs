//! What a program can read of a packet.

use crate::ip::protocol;
use crate::link::packet_type::PacketType;

/// A packet, as a program sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PacketView<'a> {
    /// All bytes of the packet that there are, from its first header on.
    pub bytes: &'a [u8],
    /// Where in `bytes` the packet begins for the program: offset 0 of its loads. A packet socket
    /// of raw frames sees the link header first, one of cooked packets the network header, a UDP
    /// socket the UDP header.
    pub start: usize,
    /// Where in `bytes` the network header begins (SKF_NET_OFF).
    pub network_at: usize,
    /// Whether `bytes` begins with the link header (SKF_LL_OFF).
    pub has_link_header: bool,
    /// The EtherType of the packet (SKF_AD_PROTOCOL).
    pub protocol: u16,
    /// How the packet was addressed (SKF_AD_PKTTYPE).
    pub packet_type: PacketType,
    /// The number of the interface as Linux counts, from 1 (SKF_AD_IFINDEX): its
    /// [scope id](crate::InterfaceId::scope_id).
    pub interface_index: u32,
    /// The ARP hardware type of the interface (SKF_AD_HATYPE).
    pub hardware_type: u16,
}

/// Negative offsets from here on are counted from the network header (SKF_NET_OFF).
const NETWORK_HEADER_AT: i32 = -0x10_0000;
/// Negative offsets from here on, below the others, are counted from the link header (SKF_LL_OFF).
const LINK_HEADER_AT: i32 = -0x20_0000;

impl<'a> PacketView<'a> {
    /// A packet without headers before these bytes, and with nothing known about it.
    pub fn new(bytes: &'a [u8]) -> Self {
        PacketView {
            bytes,
            start: 0,
            network_at: 0,
            has_link_header: false,
            protocol: 0,
            packet_type: PacketType::Host,
            interface_index: 0,
            hardware_type: 0,
        }
    }

    /// Its length for the program.
    pub(super) fn len(&self) -> u32 {
        self.bytes.len().saturating_sub(self.start) as u32
    }

    /// `N` bytes at the offset of a load, if the packet has them.
    pub(super) fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as i32;
        let (base, offset) = if offset >= 0 {
            (self.start, offset)
        } else if offset >= NETWORK_HEADER_AT {
            (self.network_at, offset - NETWORK_HEADER_AT)
        } else if offset >= LINK_HEADER_AT && self.has_link_header {
            (0, offset - LINK_HEADER_AT)
        } else {
            return None;
        };
        let at = base.checked_add(usize::try_from(offset).ok()?)?;
        self.bytes.get(at..)?.first_chunk().copied()
    }

    /// The offset of what follows the transport header (SKF_AD_PAY_OFFSET); 0 if the packet is not
    /// IP.
    pub(super) fn payload_offset(&self) -> u32 {
        self.find_payload().map_or(0, |at| at.saturating_sub(self.start) as u32)
    }

    fn find_payload(&self) -> Option<usize> {
        let network = self.bytes.get(self.network_at..)?;
        let (transport_at, protocol, is_later_fragment) = match self.protocol {
            0x0800 => find_transport_v4(network)?,
            0x86dd => find_transport_v6(network)?,
            _ => return None,
        };
        // An IP header may claim more than there is.
        let at = (self.network_at + transport_at).min(self.bytes.len());
        if is_later_fragment {
            return Some(at);
        }
        let header_len = match protocol {
            protocol::TCP => match self.bytes.get(at + 12) {
                Some(offset) => usize::from(offset >> 4) * 4,
                None => return Some(at),
            }
            .max(20),
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 | protocol::IGMP => 8,
            _ => 0,
        };
        Some(at + header_len)
    }
}

/// The offset of the transport header, its protocol, and whether a fragment without it is there
/// instead.
fn find_transport_v4(packet: &[u8]) -> Option<(usize, u8, bool)> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let len = usize::from(header[0] & 0xf) * 4;
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    (len >= 20).then_some((len, header[9], is_later_fragment))
}

/// Like [`find_transport_v4`].
fn find_transport_v6(packet: &[u8]) -> Option<(usize, u8, bool)> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let (mut at, mut next) = (40, header[6]);
    loop {
        match next {
            // Hop-by-hop options, a routing header, destination options.
            0 | 43 | 60 => {
                let &[following, len] = packet.get(at..)?.first_chunk()?;
                (next, at) = (following, at + (usize::from(len) + 1) * 8);
            }
            44 => {
                let &[following, _, high, low, _, _, _, _] = packet.get(at..)?.first_chunk()?;
                let offset = u16::from_be_bytes([high, low]) & 0xfff8;
                return Some((at + 8, following, offset != 0));
            }
            _ => return Some((at, next, false)),
        }
    }
}
