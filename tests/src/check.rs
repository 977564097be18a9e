//! Reads frames with `etherparse`, which shares no code with the stack.

use etherparse::{
    IpPayloadSlice, NetSlice, SlicedPacket, TcpOptionElement, TcpOptionReadError, TransportSlice,
};
use portolan::Medium;
use portolan::testing::{Recorded, describe};

/// Checks all recorded frames. Returns the first error.
pub fn check_frames(medium: Medium, mtu: usize, frames: &[Recorded]) -> Result<(), String> {
    for Recorded { at, from, frame } in frames {
        check_frame(medium, mtu, frame)
            .map_err(|error| format!("{error}: {at} {from:?} {}\n{frame:02x?}", describe(medium, frame)))?;
    }
    Ok(())
}

/// Checks everything in a frame that a stack sent: lengths, header fields, checksums, options.
pub fn check_frame(medium: Medium, mtu: usize, frame: &[u8]) -> Result<(), String> {
    let (parsed, packet) = match medium.mac() {
        Some(_) => (SlicedPacket::from_ethernet(frame), frame.get(14..).unwrap_or_default()),
        None => (SlicedPacket::from_ip(frame), frame),
    };
    let parsed = parsed.map_err(|error| error.to_string())?;
    ensure(packet.len() <= mtu, || format!("{} bytes on a link of MTU {mtu}", packet.len()))?;
    match parsed.net.as_ref().ok_or("neither IP nor ARP")? {
        NetSlice::Arp(arp) => {
            ensure(medium != Medium::Ip, || "ARP without Ethernet".into())?;
            ensure(arp.slice().len() == packet.len(), || "something follows the ARP message".into())
        }
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            ensure(header.header_checksum() == header.to_header().calc_header_checksum(), || {
                "the IPv4 header checksum is wrong".into()
            })?;
            ensure(usize::from(header.total_len()) == packet.len(), || "the IPv4 length is wrong".into())?;
            ensure(header.ttl() > 0, || "a TTL of zero".into())?;
            let (src, dst) = (header.source(), header.destination());
            check_transport(&parsed, ip.payload(), ip.is_payload_fragmented(), Family::V4(src, dst))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            ensure(usize::from(header.payload_length()) + 40 == packet.len(), || {
                "the IPv6 length is wrong".into()
            })?;
            let (src, dst) = (header.source(), header.destination());
            if let Some(TransportSlice::Icmpv6(icmp)) = &parsed.transport
                && (133..=137).contains(&icmp.type_u8())
            {
                ensure(header.hop_limit() == 255, || "NDP with a hop limit that is not 255".into())?;
            }
            ensure(header.hop_limit() > 0, || "a hop limit of zero".into())?;
            check_transport(&parsed, ip.payload(), ip.is_payload_fragmented(), Family::V6(src, dst))
        }
    }
}

enum Family {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

fn check_transport(
    parsed: &SlicedPacket<'_>,
    payload: &IpPayloadSlice<'_>,
    fragmented: bool,
    family: Family,
) -> Result<(), String> {
    if fragmented {
        return ensure(!payload.payload.is_empty(), || "an empty fragment".into());
    }
    match (parsed.transport.as_ref(), family) {
        (Some(TransportSlice::Tcp(tcp)), family) => {
            let expected = match family {
                Family::V4(src, dst) => tcp.calc_checksum_ipv4(src, dst),
                Family::V6(src, dst) => tcp.calc_checksum_ipv6(src, dst),
            };
            ensure(Ok(tcp.checksum()) == expected, || "the TCP checksum is wrong".into())?;
            check_tcp(tcp)
        }
        (Some(TransportSlice::Udp(udp)), family) => {
            let header = udp.to_header();
            let expected = match family {
                Family::V4(src, dst) => header.calc_checksum_ipv4_raw(src, dst, udp.payload()),
                Family::V6(src, dst) => header.calc_checksum_ipv6_raw(src, dst, udp.payload()),
            };
            ensure(Ok(udp.checksum()) == expected, || "the UDP checksum is wrong".into())
        }
        (Some(TransportSlice::Icmpv4(icmp)), Family::V4(..)) => {
            let expected = icmp.icmp_type().calc_checksum(icmp.payload());
            ensure(icmp.checksum() == expected, || "the ICMP checksum is wrong".into())
        }
        (Some(TransportSlice::Icmpv6(icmp)), Family::V6(src, dst)) => {
            ensure(icmp.is_checksum_valid(src, dst), || "the ICMPv6 checksum is wrong".into())
        }
        // IGMP in IPv4 (protocol 2).
        (Some(TransportSlice::Igmp(_)), Family::V4(..)) => Ok(()),
        (other, _) => Err(format!("an unexpected transport: {other:?}")),
    }
}

/// Checks what RFC 9293 demands of every segment.
fn check_tcp(tcp: &etherparse::TcpSlice<'_>) -> Result<(), String> {
    let mut mss = false;
    for option in tcp.options_iterator() {
        match option {
            Ok(option) => mss |= matches!(option, TcpOptionElement::MaximumSegmentSize(_)),
            // Fast Open and accurate ECN: the reader stops here, and these options come last.
            Err(TcpOptionReadError::UnknownId(34 | 172 | 174)) => {}
            Err(error) => return Err(format!("a malformed TCP option: {error}")),
        }
    }
    // RFC 9293 §3.7.1 (MUST-14, SHLD-5), and no other segment has the option (MUST-65).
    ensure(mss == tcp.syn(), || "the MSS option belongs in every SYN and nowhere else".into())?;
    // A reset may answer a segment to any port. A peer may have port 0: Linux 6.18, too, answers
    // its SYN.
    ensure(tcp.source_port() != 0 || tcp.rst(), || "a TCP source port of zero".into())?;
    ensure(tcp.ack() || tcp.syn() || tcp.rst(), || "neither ACK nor SYN nor RST".into())?;
    ensure(!(tcp.syn() && (tcp.fin() || tcp.rst())), || "SYN with FIN or RST".into())?;
    ensure(!tcp.rst() || tcp.payload().is_empty(), || "a reset with data".into())?;
    ensure(tcp.ack() || tcp.acknowledgment_number() == 0, || "an acknowledgement number without ACK".into())
}

fn ensure(holds: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(error()) }
}
