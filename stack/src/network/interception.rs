//! Interception: which packets for other hosts an interface takes.

use core::net::IpAddr;

use super::Network;
use crate::icmp::quote::Quote;
use crate::icmp::{self, MessageClass, classify_v4, classify_v6};
use crate::iface::interception::{Interception, PacketPort};
use crate::interface_id::InterfaceId;
use crate::ip::{IpHeader, extension, protocol, read_u8, read_u16};
use crate::link::ndp;

impl Network {
    /// Whether an interface of a zone intercepts packets to this address, at least those to some
    /// ports. `via` is an interface of the zone, or `None` for zone 0.
    pub(super) fn intercepts_address(&self, addr: IpAddr, via: Option<InterfaceId>) -> bool {
        let zone = self.zone_of(via);
        self.interfaces.iter().filter(|interface| interface.zone == zone).any(|interface| {
            interface.interception.as_ref().is_some_and(|interception| interception.names(addr))
        })
    }

    /// Whether an interface answers a neighbour's question for the link address of this other host.
    pub(super) fn is_proxy_for(&self, iface: InterfaceId, addr: IpAddr) -> bool {
        let is_proxy = self.interface(iface).is_some_and(|interface| interface.is_proxy_for(addr));
        is_proxy && self.interface_with(addr, Some(iface)).is_none()
    }

    /// Whether this is a neighbour solicitation for another host that an interface answers for.
    /// Such packets go to groups that no address of ours has.
    pub(super) fn is_proxied_solicitation(
        &self,
        iface: InterfaceId,
        header: &IpHeader,
        packet: &[u8],
    ) -> bool {
        let message = packet.get(header.header_len..).unwrap_or_default();
        header.protocol == protocol::ICMPV6
            && ndp::solicited_target(message).is_some_and(|target| {
                header.dst == ndp::solicited_node(target) && self.is_proxy_for(iface, target.into())
            })
    }

    /// What an interface intercepts, if anything.
    pub(super) fn interception_of(&self, iface: InterfaceId) -> Option<&Interception> {
        self.interface(iface)?.interception.as_deref()
    }

    /// Whether an interface intercepts a packet whose destination is no group, no broadcast address
    /// of its link, and no address of ours that is in use. Nor does it intercept one of ours that
    /// is not yet in use, or that another station has, too.
    pub(super) fn intercepts(&self, iface: InterfaceId, header: &IpHeader, packet: &[u8]) -> bool {
        self.interception_of(iface).is_some_and(|interception| {
            interception.takes(header.dst, || port_of(header, packet))
                && self.interface_with(header.dst, Some(iface)).is_none()
                && !self.is_broadcast(header.dst, Some(iface))
        })
    }
}

/// The destination port of a TCP or UDP packet; for an ICMP error the source port of the packet
/// that the error is about.
fn port_of(header: &IpHeader, packet: &[u8]) -> PacketPort {
    let (next, at, fragment) = match header.dst {
        IpAddr::V4(_) => (header.protocol, header.header_len, header.fragment),
        IpAddr::V6(_) => match extension::walk(packet, false) {
            Ok(chain) => (chain.protocol, chain.offset, chain.fragment),
            Err(_) => return PacketPort::None,
        },
    };
    if fragment.is_some() {
        return PacketPort::Unknown;
    }
    let port = match next {
        protocol::TCP | protocol::UDP => read_u16(packet, at + 2),
        protocol::ICMP | protocol::ICMPV6 => port_in_error(header.dst.is_ipv4(), packet, at),
        _ => None,
    };
    port.map_or(PacketPort::None, PacketPort::One)
}

/// The source port of the TCP or UDP packet that an ICMP message is about, if it is an error.
fn port_in_error(is_v4: bool, packet: &[u8], at: usize) -> Option<u16> {
    let kind = read_u8(packet, at)?;
    let class = if is_v4 { classify_v4(kind) } else { classify_v6(kind) };
    let about = packet.get(at + icmp::HEADER_LEN..).filter(|_| class == MessageClass::Error)?;
    let quote = Quote::parse(about)?;
    let has_ports = matches!(quote.protocol, protocol::TCP | protocol::UDP);
    read_u16(about, quote.transport_at).filter(|_| has_ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::{Fragment, ipv4, ipv6};
    use std::vec;
    use std::vec::Vec;

    /// A packet to this destination: an IP header and the first bytes behind it.
    fn packet(dst: &str, next: u8, transport: &[u8]) -> (IpHeader, Vec<u8>) {
        let dst: IpAddr = dst.parse().unwrap();
        let mut packet = match dst {
            IpAddr::V4(addr) => {
                let mut header = vec![0; 20];
                header[0] = 0x45;
                header[3] = 20 + transport.len() as u8;
                header[8..10].copy_from_slice(&[64, next]);
                header[12..16].copy_from_slice(&[10, 0, 0, 9]);
                header[16..].copy_from_slice(&addr.octets());
                let sum = crate::ip::checksum::internet_checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            IpAddr::V6(addr) => {
                let mut header = vec![0; 40];
                header[0] = 0x60;
                header[5..8].copy_from_slice(&[transport.len() as u8, next, 64]);
                (header[8], header[23]) = (0xfd, 9);
                header[24..].copy_from_slice(&addr.octets());
                header
            }
        };
        packet.extend_from_slice(transport);
        let header = if dst.is_ipv4() { ipv4::parse(&packet) } else { ipv6::parse(&packet) };
        (header.unwrap(), packet)
    }

    fn port(dst: &str, next: u8, transport: &[u8]) -> PacketPort {
        let (header, packet) = packet(dst, next, transport);
        port_of(&header, &packet)
    }

    #[test]
    fn tcp_and_udp_have_a_destination_port() {
        for dst in ["203.0.113.7", "2001:db8::7"] {
            for next in [protocol::TCP, protocol::UDP] {
                assert_eq!(port(dst, next, &[0x12, 0x34, 1, 187, 0, 0, 0, 0]), PacketPort::One(443));
                assert_eq!(port(dst, next, &[0x12, 0x34, 1]), PacketPort::None, "cut short");
            }
            // SCTP has ports, too, but no socket of ours.
            assert_eq!(port(dst, 132, &[0x12, 0x34, 1, 187, 0, 0, 0, 0]), PacketPort::None);
        }
        let behind_options = [protocol::TCP, 0, 1, 4, 0, 0, 0, 0, 0x12, 0x34, 1, 187];
        assert_eq!(port("2001:db8::7", protocol::DESTINATION_OPTIONS, &behind_options), PacketPort::One(443));
        assert_eq!(port("2001:db8::7", protocol::DESTINATION_OPTIONS, &[6, 9]), PacketPort::None);
    }

    #[test]
    fn an_error_has_the_source_port_of_what_it_is_about() {
        for (dst, icmp, kind) in [("203.0.113.7", protocol::ICMP, 3), ("2001:db8::7", protocol::ICMPV6, 1)] {
            let message = |kind: u8, next: u8| {
                let (_, about) = packet(dst, next, &[1, 187, 0x12, 0x34, 0, 0, 0, 1]);
                [&[kind, 0, 0, 0, 0, 0, 0, 0], &about[..]].concat()
            };
            assert_eq!(port(dst, icmp, &message(kind, protocol::TCP)), PacketPort::One(443));
            assert_eq!(port(dst, icmp, &message(kind, 132)), PacketPort::None);
            let echo_request = if kind == 3 { 8 } else { 128 };
            assert_eq!(port(dst, icmp, &message(echo_request, protocol::TCP)), PacketPort::None);
            assert_eq!(port(dst, icmp, &message(kind, protocol::TCP)[..10]), PacketPort::None);
        }
    }

    #[test]
    fn a_fragment_does_not_tell() {
        let (header, bytes) = packet("203.0.113.7", protocol::TCP, &[0; 8]);
        let fragment = Some(Fragment { id: 7, offset: 8, more: false });
        assert_eq!(port_of(&IpHeader { fragment, ..header }, &bytes), PacketPort::Unknown);
        let first = [protocol::TCP, 0, 0, 1, 0, 0, 0, 7, 0x12, 0x34, 1, 187];
        assert_eq!(port("2001:db8::7", protocol::FRAGMENT, &first), PacketPort::Unknown);
    }
}
