//! The data of calls, and the packets that arrive.

use std::net::IpAddr;

use portolan::Domain;
use portolan::testing::{PacketBuilder, internet_checksum};

use crate::by_family;
use crate::host::{host_addr, packet};
use crate::soak::dice::Dice;

/// A protocol without a transport.
pub(super) const PROTOCOL: u8 = 253;
/// Ports and identifiers of sockets.
pub(super) const PORTS: [u16; 2] = [7, 8];

/// Some bytes; seldom more than a packet can have.
pub(super) fn bytes(dice: &mut Dice) -> Vec<u8> {
    let len = match dice.within(0, 99) {
        0..85 => dice.within(0, 40),
        85..97 => dice.within(1400, 3000),
        97 => 65_515,
        98 => 65_516,
        _ => 65_536,
    };
    (0..len).map(|index| index as u8).collect()
}

/// An ICMP message, whose checksum is right over IPv4.
pub(super) fn icmp(dice: &mut Dice, domain: Domain) -> Vec<u8> {
    let kind = match domain {
        Domain::V4 => dice.pick(&[8, 8, 0, 0, 200, 40, 42]),
        _ => dice.pick(&[128, 128, 129, 129, 200, 155, 160]),
    };
    let code = if dice.one_in(8) { 1 } else { 0 };
    let [high, low] = dice.pick(&PORTS).to_be_bytes();
    let mut message = vec![kind, code, 0, 0, high, low, 0, dice.within(0, 255) as u8];
    message.extend(std::iter::repeat_n(5, dice.within(0, 30) as usize));
    if dice.one_in(10) {
        message.truncate(dice.within(4, 7) as usize);
    }
    if domain == Domain::V4 && !dice.one_in(8) {
        let sum = internet_checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// A UDP datagram: over IPv4 without a checksum.
pub(super) fn udp(dice: &mut Dice) -> Vec<u8> {
    let data = dice.within(0, 20) as usize;
    let [high, low] = dice.pick(&[7u16, 8, 9]).to_be_bytes();
    [&[0, 9, high, low, 0, 8 + data as u8, 0, 0][..], &vec![3; data]].concat()
}

/// A packet with a header, for a destination.
pub(super) fn made(dice: &mut Dice, to: IpAddr) -> Vec<u8> {
    let data: Vec<u8> = (0..dice.within(0, 30)).map(|index| index as u8).collect();
    let protocol = dice.pick(&[PROTOCOL, PROTOCOL, PROTOCOL, 254, 255]);
    let mut packet = match to {
        IpAddr::V4(to) => {
            let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0];
            packet.extend(to.octets());
            match dice.within(0, 9) {
                0 => packet[12..16].copy_from_slice(&[10, 0, 0, 1]),
                1 => packet[12..16].copy_from_slice(&[1, 2, 3, 4]),
                2 => packet[4..6].copy_from_slice(&[1, 2]),
                // Don't fragment; a first fragment; a length and a checksum that lie.
                3 => packet[6] = 0x40,
                4 => packet[6] = 0x20,
                5 => packet[2..4].copy_from_slice(&[9, 9]),
                6 => packet[10..12].copy_from_slice(&[9, 9]),
                7 => (packet[1], packet[8]) = (0x1f, 1),
                // Options that do nothing.
                8 => {
                    packet[0] = 0x46;
                    packet.extend([1, 1, 1, 0]);
                }
                _ => packet[0] = 0x40 | dice.within(0, 15) as u8,
            }
            packet
        }
        IpAddr::V6(to) => {
            let len = match dice.within(0, 5) {
                0 => dice.within(0, 40) as usize,
                _ => data.len(),
            };
            let mut packet = vec![0x60, 0, 0, 0, 0, len as u8, protocol, 64];
            let own: IpAddr = host_addr(Domain::V6);
            let IpAddr::V6(own) = own else { unreachable!("an IPv6 address") };
            packet.extend(own.octets());
            packet.extend(to.octets());
            packet
        }
    };
    packet.extend(data);
    if dice.one_in(20) {
        packet.truncate(dice.within(0, 40) as usize);
    }
    if dice.one_in(30) {
        packet.resize(1501, 0);
    }
    packet
}

/// Packets of the peer.
pub(super) fn arriving(dice: &mut Dice, domain: Domain) -> Vec<Vec<u8>> {
    let from_peer = packet(domain);
    let identifier = dice.pick(&PORTS);
    let data: Vec<u8> = (0..dice.within(0, 30)).map(|index| index as u8).collect();
    let reply = by_family(domain, 0, 129);
    match dice.within(0, 9) {
        0..3 => vec![from_peer.raw(PROTOCOL, &data)],
        3 => vec![from_peer.raw(254, &data)],
        4 => vec![from_peer.udp(9, dice.pick(&[7, 8, 9]), &data)],
        5 => vec![from_peer.echo_request(identifier, 1, &data)],
        6 => vec![from_peer.icmp(reply, 0, &[&identifier.to_be_bytes()[..], &[0, 1], &data].concat())],
        7 => from_peer.fragments(PROTOCOL, &[7; 60], 32),
        _ => vec![error(dice, domain)],
    }
}

/// An error about a packet of the host.
fn error(dice: &mut Dice, domain: Domain) -> Vec<u8> {
    let from_peer = packet(domain);
    let (src, dst) = (host_addr(domain), crate::host::peer_addr(domain));
    let [high, low] = dice.pick(&PORTS).to_be_bytes();
    let about = PacketBuilder::new(src, dst);
    let request = by_family(domain, 8, 128);
    let about = match dice.within(0, 2) {
        0 => about.raw(PROTOCOL, &[1; 8]),
        1 => about.icmp(request, 0, &[high, low, 0, 1]),
        _ => about.raw(254, &[1; 8]),
    };
    let (kind, code) = match domain {
        Domain::V4 => match dice.within(0, 3) {
            0 => (11, 0),
            1 => (12, 0),
            // 4, the MTU of the path, would be learned for all sequences.
            _ => (3, dice.pick(&[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13])),
        },
        _ => match dice.within(0, 3) {
            0 => (3, 0),
            1 => (4, dice.within(0, 1) as u8),
            _ => (1, dice.within(0, 6) as u8),
        },
    };
    from_peer.icmp(kind, code, &[&[0; 4], &about[..]].concat())
}
