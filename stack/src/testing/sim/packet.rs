//! What routers do with IP packets.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::testing::PacketBuilder;
use crate::testing::queue::set_v4_byte;

/// The destination of an IP packet.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// The source of an IP packet.
pub(super) fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// The packet after one hop; `None` if its hop limit is used up.
pub(super) fn hop(packet: &Bytes) -> Option<Bytes> {
    let is_v4 = packet.first()? >> 4 == 4;
    let at = if is_v4 { 8 } else { 7 };
    let hop_limit = packet.get(at)?.checked_sub(1).filter(|&left| left > 0)?;
    let mut bytes = Vec::from(&packet[..]);
    if is_v4 {
        set_v4_byte(&mut bytes, at, hop_limit)?;
    } else {
        bytes[at] = hop_limit;
    }
    Some(bytes.into())
}

/// A router's ICMP error about a packet that is too big (RFC 792 and 1191, RFC 4443 §3.2). `None`
/// if it must not send one: for an IPv4 packet that may be fragmented, or an ICMP message.
pub(super) fn too_big(packet: &[u8], mtu: usize, router: [IpAddr; 2]) -> Option<Bytes> {
    let source = source(packet)?;
    let mtu = u32::try_from(mtu).ok()?.to_be_bytes();
    let mut rest = Vec::from(mtu);
    if source.is_ipv4() {
        let [flags, protocol] = [*packet.get(6)?, *packet.get(9)?];
        if flags & 0x40 == 0 || protocol == 1 {
            return None;
        }
        // RFC 1812 §4.3.2.3: as much as fits into 576 bytes.
        rest.extend_from_slice(&packet[..packet.len().min(548)]);
        return Some(PacketBuilder::new(router[0], source).icmp(3, 4, &rest).into());
    }
    if *packet.get(6)? == 58 {
        return None;
    }
    rest.extend_from_slice(&packet[..packet.len().min(1232)]);
    Some(PacketBuilder::new(router[1], source).icmp(2, 0, &rest).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::internet_checksum;

    #[test]
    fn each_hop_counts_and_the_checksum_stays_right() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let mut builder = PacketBuilder::new(src.parse().unwrap(), dst.parse().unwrap());
            builder.hop_limit = 3;
            let packet = Bytes::from(builder.udp(1, 2, b"data"));
            assert_eq!(source(&packet), src.parse().ok());
            assert_eq!(destination(&packet), dst.parse().ok());
            let once = hop(&packet).unwrap();
            builder.hop_limit = 2;
            assert_eq!(once, builder.udp(1, 2, b"data"));
            assert!(src.contains(':') || internet_checksum(&[&once[..20]]) == 0);
            assert!(hop(&hop(&once).unwrap()).is_none());
        }
    }

    #[test]
    fn only_some_packets_are_answered_when_too_big() {
        let router = ["10.9.9.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        let mut v4 = PacketBuilder::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(too_big(&v4.udp(1, 2, &[0; 2000]), 1400, router).is_none(), "it may be fragmented");
        v4.dont_fragment = true;
        let answer = too_big(&v4.udp(1, 2, &[0; 2000]), 1400, router).unwrap();
        assert_eq!((destination(&answer), answer.len()), ("10.0.0.1".parse().ok(), 576));
        assert_eq!(answer[20..28], [3, 4, answer[22], answer[23], 0, 0, 5, 120]);
        assert!(too_big(&v4.echo_request(1, 1, &[0; 2000]), 1400, router).is_none());
        let v6 = PacketBuilder::new("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let answer = too_big(&v6.udp(1, 2, &[0; 2000]), 1400, router).unwrap();
        assert_eq!((source(&answer), answer.len()), ("fd00::9".parse().ok(), 1280));
        assert_eq!(answer[40..42], [2, 0]);
    }
}
