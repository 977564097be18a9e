//! Shows frames as lines of text, similar to those of tcpdump.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::{MacAddr, Medium};
use crate::tcp::{Flags, Header};

/// Describes a frame on this medium in one line. Any bytes have a description.
pub fn describe(medium: Medium, frame: &[u8]) -> String {
    if medium == Medium::Ip {
        return describe_packet(frame);
    }
    let Some((header, payload)) = frame.split_first_chunk::<14>() else {
        return format!("runt frame of {} bytes", frame.len());
    };
    let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
    match u16::from_be_bytes([t0, t1]) {
        0x0800 | 0x86dd => describe_packet(payload),
        0x0806 => describe_arp(payload),
        ethertype => {
            let (src, dst) = (MacAddr([s0, s1, s2, s3, s4, s5]), MacAddr([d0, d1, d2, d3, d4, d5]));
            format!("{src} > {dst}: type {ethertype:#06x}, {} bytes", payload.len())
        }
    }
}

/// Describes an IP packet in one line.
pub fn describe_packet(packet: &[u8]) -> String {
    let described = match packet.first().map(|byte| byte >> 4) {
        Some(4) => describe_ipv4(packet),
        Some(6) => describe_ipv6(packet),
        _ => None,
    };
    described.unwrap_or_else(|| format!("malformed packet of {} bytes", packet.len()))
}

fn describe_arp(message: &[u8]) -> String {
    let Some(&[.., operation]) = message.first_chunk::<8>() else { return "malformed ARP".to_string() };
    let ip = |at: usize| message.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from);
    let mac = message.get(8..).and_then(|rest| rest.first_chunk::<6>()).copied().map(MacAddr);
    match (operation, mac, ip(14), ip(24)) {
        (1, _, Some(sender), Some(target)) => format!("ARP who has {target}, tell {sender}"),
        (_, Some(mac), Some(sender), _) => format!("ARP {sender} is at {mac}"),
        _ => "malformed ARP".to_string(),
    }
}

fn describe_ipv4(packet: &[u8]) -> Option<String> {
    let header = packet.first_chunk::<20>()?;
    let &[version_ihl, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
    let header_len = usize::from(version_ihl & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes([l0, l1]));
    let transport = packet.get(header_len..total_len)?;
    let (src, dst) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
    let fragment = u16::from_be_bytes([f0, f1]);
    if fragment & 0x3fff != 0 {
        let more = if fragment & 0x2000 == 0 { ", the last" } else { "" };
        let offset = (fragment & 0x1fff) * 8;
        return Some(format!("{src} > {dst}: fragment at {offset} of {} bytes{more}", transport.len()));
    }
    Some(describe_transport(src.into(), dst.into(), protocol, transport))
}

fn describe_ipv6(packet: &[u8]) -> Option<String> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let src = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
    let dst = Ipv6Addr::from(*header.get(24..)?.first_chunk::<16>()?);
    Some(describe_transport(src.into(), dst.into(), header[6], rest.get(..length)?))
}

fn describe_transport(src: IpAddr, dst: IpAddr, protocol: u8, transport: &[u8]) -> String {
    let port = |at: usize| transport.get(at..)?.first_chunk::<2>().copied().map(u16::from_be_bytes);
    match (protocol, port(0), port(2)) {
        (6, Some(src_port), Some(dst_port)) => {
            format!("{src}.{src_port} > {dst}.{dst_port}: {}", describe_tcp(transport))
        }
        (17, Some(src_port), Some(dst_port)) => {
            let len = transport.len().saturating_sub(8);
            format!("{src}.{src_port} > {dst}.{dst_port}: UDP, {len} bytes")
        }
        (1 | 58, ..) if transport.len() >= 2 => {
            let name = icmp_name(protocol, transport[0]);
            format!("{src} > {dst}: ICMP {name}, code {}, {} bytes", transport[1], transport.len())
        }
        _ => format!("{src} > {dst}: protocol {protocol}, {} bytes", transport.len()),
    }
}

fn describe_tcp(segment: &[u8]) -> String {
    let Some((header, header_len)) = Header::parse(segment) else { return "malformed TCP".to_string() };
    let mut line = String::new();
    for (flag, letter) in [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
        (Flags::ACK, '.'),
    ] {
        if header.flags.contains(flag) {
            line.push(letter);
        }
    }
    // Writing to a string cannot fail.
    let _ = write!(line, " seq {:?}", header.seq);
    if header.flags.contains(Flags::ACK) {
        let _ = write!(line, " ack {:?}", header.ack);
    }
    let _ = write!(line, " win {}", header.window);
    let options = &header.options;
    if let Some(mss) = options.mss {
        let _ = write!(line, " mss {mss}");
    }
    if options.sack_permitted {
        line.push_str(" sackOK");
    }
    if let Some(timestamps) = options.timestamps {
        let _ = write!(line, " ts {} echo {}", timestamps.value, timestamps.echo);
    }
    if let Some(shift) = options.window_scale {
        let _ = write!(line, " wscale {shift}");
    }
    for (left, right) in &options.sack {
        let _ = write!(line, " sack {left:?}-{right:?}");
    }
    let _ = write!(line, ", {} bytes", segment.len() - header_len);
    line
}

fn icmp_name(protocol: u8, icmp_type: u8) -> String {
    let name = match (protocol, icmp_type) {
        (1, 0) | (58, 129) => "echo reply",
        (1, 8) | (58, 128) => "echo request",
        (1, 3) | (58, 1) => "destination unreachable",
        (1, 11) | (58, 3) => "time exceeded",
        (1, 12) | (58, 4) => "parameter problem",
        (58, 2) => "packet too big",
        (58, 133) => "router solicitation",
        (58, 134) => "router advertisement",
        (58, 135) => "neighbor solicitation",
        (58, 136) => "neighbor advertisement",
        _ => return format!("type {icmp_type}"),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PacketBuilder, TcpSegment, arp_request, ethernet};
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn lines() {
        let builder = PacketBuilder::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let segment = TcpSegment {
            seq: 7,
            ack: 9,
            flags: TcpSegment::SYN | TcpSegment::ACK,
            options: alloc::vec![2, 4, 5, 0xb4],
            payload: alloc::vec![0; 3],
            ..TcpSegment::new(80, 5000)
        };
        let frame = ethernet(MAC, MAC, &builder.tcp(&segment));
        assert_eq!(
            describe(Medium::Ethernet(MAC), &frame),
            "10.0.0.1.80 > 10.0.0.2.5000: S. seq 7 ack 9 win 65535 mss 1460, 3 bytes"
        );
        let v6 = PacketBuilder::new("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        assert_eq!(
            describe(Medium::Ip, &v6.echo_request(1, 1, &[])),
            "fd00::1 > fd00::2: ICMP echo request, code 0, 8 bytes"
        );
        let arp = arp_request(MAC, "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!(describe(Medium::Ethernet(MAC), &arp), "ARP who has 10.0.0.2, tell 10.0.0.1");
        assert_eq!(describe(Medium::Ip, &[]), "malformed packet of 0 bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_line(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), start: u8) {
            if let Some(first) = bytes.get_mut(14) {
                *first = start;
            }
            for medium in [Medium::Ip, Medium::Ethernet(MAC)] {
                prop_assert!(!describe(medium, &bytes).is_empty());
            }
        }
    }
}
