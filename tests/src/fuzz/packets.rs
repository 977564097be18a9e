//! One frame after another, to a host with a listener, a datagram socket and a connecting socket.

use std::net::SocketAddr;

use bytes::Bytes;
use portolan::testing::{PacketBuilder, TcpSegment, arp_reply, arp_request, internet_checksum};
use portolan::{Domain, Frame, InterfaceId, MacAddr, SocketKind, Transmit};
use portolan_tap::testing::{vnet_frame, vnet_header};

use super::Digest;
use super::host::{Bounds, Host, small_config};
use super::input::Input;
use crate::RawPeer;
use crate::by_family;

const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 50;
const PEER_PORT: u16 = 40_000;
const MAX_FRAMES: usize = 64;
/// Longer than any frame of the link.
const MAX_FRAME_BYTES: usize = 1600;
const IPV6_HEADER_LEN: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn domain(v6: bool) -> Domain {
    if v6 { Domain::V6 } else { Domain::V4 }
}

fn stack_addr(domain: Domain, port: u16) -> SocketAddr {
    by_family(domain, (RawPeer::STACK_V4, port).into(), (RawPeer::STACK_V6, port).into())
}

fn peer_addr(domain: Domain, port: u16) -> SocketAddr {
    by_family(domain, (RawPeer::PEER_V4, port).into(), (RawPeer::PEER_V6, port).into())
}

/// A host with a listener and a datagram socket of each family.
fn host(ethernet: bool) -> Host {
    let mut host = Host::new(ethernet, small_config(), Bounds::SMALL);
    for domain in [Domain::V4, Domain::V6] {
        let stack = &mut host.stack;
        let listener = stack.socket(domain, SocketKind::Stream).expect("there are few sockets");
        stack.bind(listener, stack_addr(domain, TCP_PORT)).expect("the port is free");
        stack.listen(listener, 4).expect("it is bound");
        let datagrams = stack.socket(domain, SocketKind::Datagram).expect("there are few sockets");
        stack.bind(datagrams, stack_addr(domain, UDP_PORT)).expect("the port is free");
    }
    host
}

/// Any frames, unchanged or with corrected checksums.
pub(super) fn run_frames(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let mut host = host(input.byte() % 2 == 1);
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let is_mended = input.byte() % 2 == 1;
        let mut frame = input.counted_long(MAX_FRAME_BYTES).to_vec();
        let ip_at = if host.is_ethernet() { 14 } else { 0 };
        if let Some(packet) = frame.get_mut(ip_at..).filter(|_| is_mended) {
            mend_checksums(packet);
        }
        host.receive(Frame::new(frame));
        if is_mended {
            host.pass(input.duration());
        }
    }
    host.digest()
}

/// A run of frames with virtio-net headers, as a TAP device passes them.
pub(super) fn run_vnet(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let mut host = host(true);
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let mut bytes = input.take(10).to_vec();
        let mut frame = input.counted_long(usize::from(u16::MAX)).to_vec();
        if input.byte() % 2 == 1
            && let Some(packet) = frame.get_mut(14..)
        {
            mend_checksums(packet);
        }
        bytes.append(&mut frame);
        let is_short = bytes.len() < 10;
        let Some(frame) = vnet_frame(Bytes::from(bytes)) else {
            assert!(is_short, "a frame with a header was refused");
            continue;
        };
        check_vnet_round_trip(host.iface, &frame);
        host.receive(frame);
    }
    host.digest()
}

/// The stack would describe the same frame on its way out as it was described on its way in, except
/// for "verified", which it never uses.
fn check_vnet_round_trip(iface: InterfaceId, frame: &Frame) {
    let transmit = Transmit::from_frame(iface, frame.clone());
    let header = vnet_header(&transmit);
    let again = vnet_frame(Bytes::from([&header[..], &transmit.to_vec()].concat())).expect("it has a header");
    assert_eq!(again.bytes, frame.bytes);
    assert_eq!(again.segments, frame.segments);
    if transmit.checksum().is_some() {
        assert_eq!(again.checksum, frame.checksum);
    }
}

/// TCP options in each kind of segment that may have them.
pub(super) fn run_tcp_options(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let domain = domain(input.byte() % 2 == 1);
    let mut host = Host::new(false, small_config(), Bounds::STREAMS);
    let listener = host.stack.socket(domain, SocketKind::Stream).expect("there are few sockets");
    host.stack.bind(listener, stack_addr(domain, TCP_PORT)).expect("the port is free");
    host.stack.listen(listener, 4).expect("it is bound");
    let client = host.stack.socket(domain, SocketKind::Stream).expect("there are few sockets");
    let _ = host.stack.connect(host.now, client, peer_addr(domain, TCP_PORT));
    host.settle();
    let client_syn = host.take_segments().pop().expect("a SYN");
    // The SYN of a client, the ACK that ends its handshake, and data.
    let mut syn = TcpSegment { seq: 999, flags: TcpSegment::SYN, ..TcpSegment::new(PEER_PORT, TCP_PORT) };
    syn.options = input.counted().to_vec();
    receive_tcp(&mut host, domain, &syn);
    let stack_isn = host.take_segments().first().map_or(0, |segment| segment.seq);
    let ack = |len: usize, options: &[u8]| TcpSegment {
        seq: 1000,
        ack: stack_isn.wrapping_add(1),
        flags: TcpSegment::ACK,
        payload: vec![1; len],
        options: options.to_vec(),
        ..TcpSegment::new(PEER_PORT, TCP_PORT)
    };
    receive_tcp(&mut host, domain, &ack(0, input.counted()));
    let accepted = host.stack.accept(listener).ok();
    if let Some((accepted, _)) = accepted {
        let _ = host.stack.send(host.now, accepted, &[7; 3000]);
        host.settle();
    }
    // The answer to the SYN of the stack's own client.
    let syn_ack = TcpSegment {
        seq: 5000,
        ack: client_syn.seq.wrapping_add(1),
        flags: TcpSegment::SYN | TcpSegment::ACK,
        options: input.counted().to_vec(),
        ..TcpSegment::new(TCP_PORT, client_syn.src_port)
    };
    receive_tcp(&mut host, domain, &syn_ack);
    let _ = host.stack.send(host.now, client, &[8; 3000]);
    host.settle();
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let len = usize::from(input.byte());
        let mut segment = ack(len, input.counted());
        if len % 2 == 1 {
            segment = TcpSegment {
                src_port: TCP_PORT,
                dst_port: client_syn.src_port,
                seq: 5001,
                ack: client_syn.seq.wrapping_add(1 + len as u32),
                ..segment
            };
        }
        receive_tcp(&mut host, domain, &segment);
    }
    for descriptor in accepted.map(|(accepted, _)| accepted).into_iter().chain([listener, client]) {
        host.stack.close(host.now, descriptor).expect("the descriptor is open");
        host.settle();
    }
    host.check_rest();
    host.digest()
}

fn receive_tcp(host: &mut Host, domain: Domain, segment: &TcpSegment) {
    let packet = host.packet(domain).tcp(segment);
    host.receive_packet(&packet);
}

/// IPv6 packets with any chain of extension headers in front of something that the host would
/// answer.
pub(super) fn run_extension_headers(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let mut host = host(false);
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let (first, what) = (input.byte(), input.byte());
        let chain = input.counted_long(MAX_FRAME_BYTES);
        let mut builder = host.packet(Domain::V6);
        if what & 0x80 != 0 {
            builder.dst = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into();
        }
        let payload = match what % 4 {
            0 => builder.echo_request(1, 2, b"hello"),
            1 => builder.tcp(&TcpSegment { flags: TcpSegment::SYN, ..TcpSegment::new(PEER_PORT, TCP_PORT) }),
            2 => builder.udp(PEER_PORT, UDP_PORT, b"hello"),
            _ => builder.udp(PEER_PORT, UDP_PORT + 1, b"nobody"),
        };
        let transport = [chain, &payload[IPV6_HEADER_LEN..]].concat();
        host.receive_packet(&builder.raw(first, &transport));
    }
    host.pass(std::time::Duration::from_secs(61));
    host.digest()
}

/// Fragments of a few datagrams, in any order and of any length, once or several times.
pub(super) fn run_reassembly(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let mut host = host(false);
    for _ in 0..4 * MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        let domain = domain(what & 1 != 0);
        let (is_more, is_datagram, has_passed) = (what & 2 != 0, what & 4 != 0, what & 8 != 0);
        let (offset, len) = (usize::from(input.word() & 0x1fff) * 8, usize::from(input.word()) % 1441);
        let mut builder = host.packet(domain);
        builder.identification = u32::from(what >> 4 & 3);
        let (protocol, whole) = whole_datagram(&builder, is_datagram);
        // After the end of the datagram there are other bytes.
        let piece: Vec<u8> =
            (offset..offset + len).map(|at| whole.get(at).copied().unwrap_or(at as u8)).collect();
        // The header of IPv4 cannot express a packet of more than 65,535 bytes.
        host.receive_packet(&builder.fragment(protocol, offset, &piece, is_more));
        if has_passed {
            host.pass(input.duration());
        }
    }
    host.pass(std::time::Duration::from_secs(120));
    host.digest()
}

/// A datagram of 4,000 bytes, or an echo request of that length, with a right checksum.
fn whole_datagram(builder: &PacketBuilder, is_datagram: bool) -> (u8, Vec<u8>) {
    let payload: Vec<u8> = (0..4000u32).map(|at| (at % 251) as u8).collect();
    let packet = if is_datagram {
        builder.udp(PEER_PORT, UDP_PORT, &payload)
    } else {
        builder.echo_request(3, 4, &payload)
    };
    let (header_len, icmp) = if builder.src.is_ipv4() { (20, ICMP) } else { (IPV6_HEADER_LEN, ICMPV6) };
    (if is_datagram { UDP } else { icmp }, packet[header_len..].to_vec())
}

/// ARP and NDP: requests, answers and announcements, among packets that wait for a neighbour.
pub(super) fn run_neighbors(data: &[u8]) -> Digest {
    let mut input = Input::new(data);
    let mut host = host(true);
    host.has_neighbor = false;
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        let (what, who, whom) = (input.byte(), input.byte(), input.byte());
        let mac = match who % 4 {
            0 => RawPeer::PEER_MAC,
            1 => RawPeer::STACK_MAC,
            2 => MacAddr([2, 0, 0, 0, 1, who]),
            _ => MacAddr([1, 0, 0, 0, 1, who]),
        };
        match what % 6 {
            0 => host.receive(Frame::new(arp_request(mac, v4(who), v4(whom)))),
            1 => host.receive(Frame::new(arp_reply(mac, v4(who), RawPeer::STACK_MAC, v4(whom)))),
            2 => {
                // Any fields behind a valid Ethernet header.
                let mut frame = arp_request(mac, v4(who), v4(whom));
                let changes = input.counted();
                for change in changes.chunks_exact(2) {
                    let at = 14 + usize::from(change[0]) % (frame.len() - 14);
                    frame[at] = change[1];
                }
                host.receive(Frame::new(frame));
            }
            3 => {
                let kind = 133 + input.byte() % 5;
                ndp(&mut host, mac, who, whom, kind, input.counted());
            }
            4 => send_datagram(&mut host, who, whom % 2 == 1),
            _ => host.pass(input.duration()),
        }
    }
    host.pass(std::time::Duration::from_secs(120));
    host.digest()
}

/// Addresses of the link by a small number: the stack's, the peer's, unused ones, and some that
/// must not be used.
fn v4(number: u8) -> std::net::Ipv4Addr {
    match number % 8 {
        0 => RawPeer::PEER_V4,
        1 => RawPeer::STACK_V4,
        2 => [0; 4].into(),
        3 => [255; 4].into(),
        4 => [10, 0, 0, 255].into(),
        5 => [192, 168, 1, 1].into(),
        _ => [10, 0, 0, number].into(),
    }
}

fn v6(number: u8) -> std::net::Ipv6Addr {
    match number % 8 {
        0 => RawPeer::PEER_V6,
        1 => RawPeer::STACK_V6,
        2 => std::net::Ipv6Addr::UNSPECIFIED,
        3 => [0xff02, 0, 0, 0, 0, 0, 0, 1].into(),
        4 => [0xff02, 0, 0, 0, 0, 1, 0xff00, 1].into(),
        5 => [0xfe80, 0, 0, 0, 0, 0, 0, 2].into(),
        _ => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

/// An NDP message with any body and options. Its target is one of the addresses above, unless the
/// body is long enough to contain one.
fn ndp(host: &mut Host, mac: MacAddr, who: u8, whom: u8, kind: u8, body: &[u8]) {
    let mut builder = PacketBuilder::new(v6(who).into(), v6(whom >> 4).into());
    builder = builder.hop_limit(if who & 0x40 == 0 { 255 } else { 64 });
    let rest =
        if body.len() >= 20 { body.to_vec() } else { [&[0; 4], &v6(whom).octets()[..], body].concat() };
    let packet = builder.icmp(kind, u8::from(whom == 255), &rest);
    host.receive(Frame::new(portolan::testing::ethernet(mac, RawPeer::STACK_MAC, &packet)));
}

/// Lets the stack send a datagram to a host on the link.
fn send_datagram(host: &mut Host, who: u8, is_v6: bool) {
    let domain = domain(is_v6);
    let Ok(descriptor) = host.stack.socket(domain, SocketKind::Datagram) else { return };
    let to: SocketAddr = if is_v6 { (v6(who), 9).into() } else { (v4(who), 9).into() };
    // Some of these addresses are not valid destinations.
    let _ = host.stack.send_to(host.now, descriptor, &[3; 100], to);
    host.settle();
    host.stack.close(host.now, descriptor).expect("the descriptor is open");
    host.settle();
}

/// Corrects the checksums of bytes that may be an IP packet without extension headers.
fn mend_checksums(packet: &mut [u8]) {
    let (transport_at, protocol, pseudo) = match packet {
        [first, ..] if *first >> 4 == 4 && packet.len() >= 20 => {
            let header_len = usize::from(packet[0] & 15) * 4;
            let Some(header) = packet.get_mut(..header_len).filter(|header| header.len() >= 20) else {
                return;
            };
            header[10..12].fill(0);
            let sum = internet_checksum(&[header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (header_len, packet[9], packet[12..20].to_vec())
        }
        [first, ..] if *first >> 4 == 6 && packet.len() >= IPV6_HEADER_LEN => {
            (IPV6_HEADER_LEN, packet[6], packet[8..IPV6_HEADER_LEN].to_vec())
        }
        _ => return,
    };
    let transport = &mut packet[transport_at..];
    let checksum_at = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMPV6 => 2,
        _ => return,
    };
    let Some(field) = transport.get_mut(checksum_at..checksum_at + 2) else { return };
    field.fill(0);
    let mut head = pseudo;
    head.extend_from_slice(&(transport.len() as u32).to_be_bytes());
    head.extend_from_slice(&[0, 0, 0, protocol]);
    if protocol == ICMP {
        head.clear();
    }
    let sum = internet_checksum(&[&head, transport]);
    transport[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_mended() {
        let host = host(false);
        for domain in [Domain::V4, Domain::V6] {
            let builder = host.packet(domain);
            let segment = TcpSegment::new(1, 2);
            for right in [builder.tcp(&segment), builder.udp(1, 2, b"abc"), builder.echo_request(1, 2, b"x")]
            {
                let mut packet = right.clone();
                let len = packet.len();
                packet[len - 1] ^= 1;
                mend_checksums(&mut packet);
                packet[len - 1] ^= 1;
                mend_checksums(&mut packet);
                assert_eq!(packet, right);
            }
        }
        assert!(!host.is_ethernet());
    }
}
