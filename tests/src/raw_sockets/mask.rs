//! The fields of packets in which two hosts may differ: identifications, flow labels, checksums
//! that depend on them, and UDP checksums, which the kernel leaves unfinished on its loopback.

use portolan::Domain;

const ICMP: u8 = 1;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;

/// Sets those fields of an IP packet to zero.
pub(super) fn mask(packet: &mut [u8]) {
    match packet.first().map(|first| first >> 4) {
        Some(4) => mask_v4(packet),
        Some(6) => mask_v6(packet),
        _ => {}
    }
}

/// The same for what a socket has received.
pub(super) fn mask_received(domain: Domain, protocol: Option<u8>, data: &mut [u8]) {
    match (domain, protocol) {
        (Domain::V4, Some(_)) => mask_v4(data),
        (_, Some(protocol)) => mask_transport(protocol, data),
        // An echo socket receives ICMP messages whose checksum is about nothing that differs.
        (_, None) => {}
    }
}

fn zero(bytes: &mut [u8], at: usize, len: usize) {
    if let Some(field) = bytes.get_mut(at..at + len) {
        field.fill(0);
    }
}

fn mask_v4(packet: &mut [u8]) {
    zero(packet, 4, 2);
    zero(packet, 10, 2);
    let Some(&[first, .., high, low, _, protocol]) = packet.first_chunk::<10>() else { return };
    let is_first = u16::from_be_bytes([high, low]) & 0x1fff == 0;
    let header_len = usize::from(first & 15) * 4;
    if let Some(transport) = packet.get_mut(header_len..).filter(|_| is_first) {
        mask_transport(protocol, transport);
    }
}

fn mask_v6(packet: &mut [u8]) {
    if let Some(class) = packet.get_mut(1) {
        *class &= 0xf0;
    }
    zero(packet, 2, 2);
    let Some(&protocol) = packet.get(6) else { return };
    if let Some(transport) = packet.get_mut(40..) {
        mask_transport(protocol, transport);
    }
}

fn mask_transport(protocol: u8, transport: &mut [u8]) {
    match protocol {
        UDP => zero(transport, 6, 2),
        // The identification, and a checksum behind the header.
        FRAGMENT => {
            zero(transport, 4, 4);
            let Some((&mut [next, _, high, low, ..], data)) = transport.split_first_chunk_mut::<8>() else {
                return;
            };
            if [high, low & 0xf8] == [0, 0] {
                mask_transport(next, data);
            }
        }
        ICMP | ICMPV6 => {
            zero(transport, 2, 2);
            let is_error = match (protocol, transport.first()) {
                (ICMP, Some(kind)) => [3, 11, 12].contains(kind),
                (_, Some(kind)) => *kind < 128,
                (_, None) => false,
            };
            if let Some(quoted) = transport.get_mut(8..).filter(|_| is_error) {
                mask(quoted);
            }
        }
        _ => {}
    }
}
