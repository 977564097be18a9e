//! ICMP errors: those that we send about received packets, and those that we receive about ours.

use core::net::IpAddr;

use bytes::Bytes;

use super::network_error::{NetworkError, NetworkErrorKind};
use super::quote::Quote;
use super::{HEADER_LEN, set_checksum};
use crate::drop_reason::DropReason;
use crate::frame::{HeaderBuf, Payload};
use crate::interface_id::InterfaceId;
use crate::ip::checksum::{internet_checksum_of, transport_checksum};
use crate::ip::refusal::IcmpError;
use crate::ip::{ipv4, ipv6, protocol, read_u8, read_u32};

/// RFC 1812 §4.3.2.3: an error quotes as much of the packet as fits into this many bytes, IP header
/// included.
const MAX_LEN_V4: usize = 576;
/// RFC 4443 §2.4 (c): the same, with the smallest MTU as the limit.
const MAX_LEN_V6: usize = 1280;

impl IcmpError {
    /// The type, the code, and the four bytes that depend on them.
    fn encode(self, is_v4: bool) -> (u8, u8, u32) {
        // The pointer has one byte in IPv4.
        let pointer_v4 = |pointer: u32| pointer.min(255) << 24;
        match (self, is_v4) {
            (IcmpError::NetUnreachable, true) => (3, 0, 0),
            (IcmpError::NetUnreachable, false) => (1, 0, 0),
            (IcmpError::HostUnreachable, true) => (3, 1, 0),
            (IcmpError::HostUnreachable, false) => (1, 3, 0),
            (IcmpError::Prohibited, true) => (3, 13, 0),
            (IcmpError::Prohibited, false) => (1, 1, 0),
            (IcmpError::ProtocolUnreachable { .. }, true) => (3, 2, 0),
            (IcmpError::ProtocolUnreachable { pointer }, false) => (4, 1, pointer),
            (IcmpError::PortUnreachable, true) => (3, 3, 0),
            (IcmpError::PortUnreachable, false) => (1, 4, 0),
            (IcmpError::SourceRouteFailed, true) => (3, 5, 0),
            (IcmpError::SourceRouteFailed, false) => (1, 0, 0),
            (IcmpError::ReassemblyTimeExceeded, true) => (11, 1, 0),
            (IcmpError::ReassemblyTimeExceeded, false) => (3, 1, 0),
            (IcmpError::TimeExceeded, true) => (11, 0, 0),
            (IcmpError::TimeExceeded, false) => (3, 0, 0),
            (IcmpError::PacketTooBig { mtu }, true) => (3, 4, mtu),
            (IcmpError::PacketTooBig { mtu }, false) => (2, 0, mtu),
            (IcmpError::BeyondScope, true) => (3, 13, 0),
            (IcmpError::BeyondScope, false) => (1, 2, 0),
            (IcmpError::ParameterProblem { code, pointer }, true) => (12, code, pointer_v4(pointer)),
            (IcmpError::ParameterProblem { code, pointer }, false) => (4, code, pointer),
        }
    }

    /// The message, from our address `src` to `dst`, about the packet `about`.
    pub(crate) fn emit(self, src: IpAddr, dst: IpAddr, about: &Bytes) -> (HeaderBuf, Payload) {
        let is_v4 = src.is_ipv4();
        let max = if is_v4 {
            MAX_LEN_V4 - ipv4::HEADER_LEN - HEADER_LEN
        } else {
            MAX_LEN_V6 - ipv6::HEADER_LEN - HEADER_LEN
        };
        let mut payload = Payload::new();
        payload.push(about.slice(..about.len().min(max)));
        let (kind, code, rest) = self.encode(is_v4);
        let [a, b, c, d] = rest.to_be_bytes();
        let mut header = HeaderBuf::new();
        let bytes = header.prepend(HEADER_LEN);
        bytes.copy_from_slice(&[kind, code, 0, 0, a, b, c, d]);
        let sum = if is_v4 {
            internet_checksum_of(bytes, &payload)
        } else {
            transport_checksum(src, dst, protocol::ICMPV6, bytes, &payload)
        };
        set_checksum(bytes, sum);
        (header, payload)
    }
}

/// Reads a received error whose checksum was verified: what happened to which packet. The caller
/// checks that the packet was ours; `local` is the packet's source.
pub(crate) fn parse(iface: InterfaceId, src: IpAddr, message: &Bytes) -> Result<NetworkError, DropReason> {
    let is_v4 = src.is_ipv4();
    let about = message.slice(HEADER_LEN.min(message.len())..);
    let quote = Quote::parse(&about).ok_or(DropReason::BadIcmp)?;
    // RFC 792 quotes at least 8 bytes of the transport header: the ports, and TCP's sequence
    // number.
    if quote.src.is_ipv4() != is_v4 || about.len() < quote.transport_at + 8 {
        return Err(DropReason::BadIcmp);
    }
    if quote.is_later_fragment {
        return Err(DropReason::UnmatchedIcmpError);
    }
    let kind = read_u8(message, 0).ok_or(DropReason::BadIcmp)?;
    let code = read_u8(message, 1).ok_or(DropReason::BadIcmp)?;
    let word = read_u32(message, 4).unwrap_or(0);
    let meaning = if is_v4 {
        kind_v4(kind, code, (word & 0xffff) as usize, quote.total_len)
    } else {
        kind_v6(kind, code, word as usize)
    };
    Ok(NetworkError {
        iface: Some(iface),
        local: quote.src,
        remote: quote.dst,
        protocol: quote.protocol,
        transport: about.slice(quote.transport_at..),
        kind: meaning.ok_or(DropReason::UnknownIcmp)?,
        offender: src,
        message: (kind, code),
        info: match (is_v4, kind, code) {
            (true, 3, 4) => word & 0xffff,
            (true, 12, _) => word >> 24,
            (true, ..) => 0,
            (false, ..) => word,
        },
    })
}

/// The meaning of an ICMP error: RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1.
fn kind_v4(kind: u8, code: u8, mtu: usize, quoted_len: usize) -> Option<NetworkErrorKind> {
    Some(match (kind, code) {
        (3, 0) => NetworkErrorKind::NetUnreachable,
        (3, 1) => NetworkErrorKind::HostUnreachable,
        (3, 2) => NetworkErrorKind::ProtocolUnreachable,
        (3, 3) => NetworkErrorKind::PortUnreachable,
        (3, 4) if mtu == 0 => NetworkErrorKind::PacketTooBig { mtu: plateau_below(quoted_len) },
        (3, 4) => NetworkErrorKind::PacketTooBig { mtu },
        (3, 5) => NetworkErrorKind::SourceRouteFailed,
        (3, 6 | 9) => NetworkErrorKind::NetRefused,
        (3, 7) => NetworkErrorKind::HostUnknown,
        (3, 8) => NetworkErrorKind::HostIsolated,
        (3, 10 | 13 | 14 | 15) => NetworkErrorKind::Prohibited,
        (3, 11) => NetworkErrorKind::NetUnreachableForTos,
        (3, 12) => NetworkErrorKind::HostUnreachableForTos,
        (11, 1) => NetworkErrorKind::ReassemblyTimeExceeded,
        (11, _) => NetworkErrorKind::TimeExceeded,
        (12, _) => NetworkErrorKind::ParameterProblem,
        _ => return None,
    })
}

/// The meaning of an ICMPv6 error: RFC 4443 §3.
fn kind_v6(kind: u8, code: u8, mtu: usize) -> Option<NetworkErrorKind> {
    Some(match (kind, code) {
        (1, 0) => NetworkErrorKind::NetUnreachable,
        (1, 2 | 3) => NetworkErrorKind::HostUnreachable,
        (1, 4) => NetworkErrorKind::PortUnreachable,
        (1, 1 | 5 | 6) => NetworkErrorKind::Prohibited,
        (1, _) => NetworkErrorKind::OtherUnreachable,
        (2, _) => NetworkErrorKind::PacketTooBig { mtu },
        (3, 1) => NetworkErrorKind::ReassemblyTimeExceeded,
        (3, _) => NetworkErrorKind::TimeExceeded,
        (4, 1) => NetworkErrorKind::ProtocolUnreachable,
        (4, _) => NetworkErrorKind::ParameterProblem,
        (5..=127, _) => NetworkErrorKind::Unknown,
        _ => return None,
    })
}

/// The next smaller usual MTU (RFC 1191 §7): a router from before path MTU discovery does not say
/// what would fit.
fn plateau_below(len: usize) -> usize {
    const PLATEAUS: [usize; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    PLATEAUS.into_iter().find(|&plateau| plateau < len).unwrap_or(68)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// A UDP packet of ours, and the addresses of an error about it.
    fn sample(is_v4: bool, len: usize) -> (IpAddr, IpAddr, Bytes) {
        let mut packet = vec![0; len];
        if is_v4 {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            packet[9] = 17;
            packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            return ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap(), packet.into());
        }
        packet[0] = 0x60;
        packet[6] = 17;
        (packet[8], packet[23]) = (0xfd, 1);
        (packet[24], packet[39]) = (0xfd, 2);
        ("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap(), packet.into())
    }

    fn parse(message: &Bytes, is_v4: bool) -> Result<NetworkError, DropReason> {
        super::parse(InterfaceId(0), sample(is_v4, 60).0, message)
    }

    fn emit(error: IcmpError, is_v4: bool, len: usize) -> Bytes {
        let (src, dst, about) = sample(is_v4, len);
        let (header, payload) = error.emit(src, dst, &about);
        [header.as_slice(), &payload.concat()].concat().into()
    }

    #[test]
    fn what_we_send_we_understand_and_another_parser_too() {
        for (error, kind_v4, kind_v6) in [
            (
                IcmpError::PortUnreachable,
                NetworkErrorKind::PortUnreachable,
                NetworkErrorKind::PortUnreachable,
            ),
            (
                IcmpError::HostUnreachable,
                NetworkErrorKind::HostUnreachable,
                NetworkErrorKind::HostUnreachable,
            ),
            (IcmpError::NetUnreachable, NetworkErrorKind::NetUnreachable, NetworkErrorKind::NetUnreachable),
            (IcmpError::Prohibited, NetworkErrorKind::Prohibited, NetworkErrorKind::Prohibited),
            (
                IcmpError::ProtocolUnreachable { pointer: 6 },
                NetworkErrorKind::ProtocolUnreachable,
                NetworkErrorKind::ProtocolUnreachable,
            ),
            (
                IcmpError::ReassemblyTimeExceeded,
                NetworkErrorKind::ReassemblyTimeExceeded,
                NetworkErrorKind::ReassemblyTimeExceeded,
            ),
            (
                IcmpError::ParameterProblem { code: 0, pointer: 21 },
                NetworkErrorKind::ParameterProblem,
                NetworkErrorKind::ParameterProblem,
            ),
        ] {
            let bytes = emit(error, true, 60);
            let other = etherparse::Icmpv4Slice::from_slice(&bytes).unwrap();
            assert_eq!(other.icmp_type().calc_checksum(other.payload()), other.checksum());
            let parsed = parse(&bytes, true).unwrap();
            assert_eq!((parsed.kind, parsed.protocol, parsed.transport.len()), (kind_v4, 17, 40));
            assert_eq!(parsed.local, "10.0.0.1".parse::<IpAddr>().unwrap());

            let bytes = emit(error, false, 80);
            let other = etherparse::Icmpv6Slice::from_slice(&bytes).unwrap();
            let (src, dst, _) = sample(false, 80);
            let octets = |addr| match addr {
                IpAddr::V6(addr) => core::net::Ipv6Addr::octets(&addr),
                IpAddr::V4(_) => unreachable!("the sample is IPv6"),
            };
            assert!(other.is_checksum_valid(octets(src), octets(dst)));
            let parsed = parse(&bytes, false).unwrap();
            assert_eq!((parsed.kind, parsed.protocol, parsed.transport.len()), (kind_v6, 17, 40));
            assert_eq!(parsed.remote, "fd00::2".parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn quotes_are_as_long_as_the_rfcs_allow() {
        // RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c), IP headers included.
        assert_eq!(20 + emit(IcmpError::PortUnreachable, true, 1500).len(), 576);
        assert_eq!(40 + emit(IcmpError::PortUnreachable, false, 1500).len(), 1280);
    }

    #[test]
    fn too_big_messages_name_the_mtu() {
        let too_big = |kind: u8, code: u8, rest: [u8; 4], is_v4: bool| {
            let (_, _, about) = sample(is_v4, 1500);
            let message = [&[kind, code, 0, 0][..], &rest, &about].concat();
            parse(&message.into(), is_v4).unwrap().kind
        };
        let mtu = |mtu| NetworkErrorKind::PacketTooBig { mtu };
        assert_eq!(too_big(3, 4, [0, 0, 0x05, 0x78], true), mtu(1400));
        assert_eq!(too_big(2, 0, [0, 0, 0x05, 0x78], false), mtu(1400));
        // RFC 1191 §7: an old router names no MTU; the next plateau below 1500.
        assert_eq!(too_big(3, 4, [0; 4], true), mtu(1492));
        assert_eq!(plateau_below(60), 68);
        assert_eq!(plateau_below(65535), 32000);
    }

    /// RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1, RFC 4443 §3: every known code has its kind,
    /// and an unknown code has none.
    #[test]
    fn each_code_has_its_kind() {
        use NetworkErrorKind::*;
        let v4 = |kind, code| kind_v4(kind, code, 1400, 1500);
        let unreachable = [
            NetUnreachable,
            HostUnreachable,
            ProtocolUnreachable,
            PortUnreachable,
            PacketTooBig { mtu: 1400 },
            SourceRouteFailed,
            NetRefused,
            HostUnknown,
            HostIsolated,
            NetRefused,
            Prohibited,
            NetUnreachableForTos,
            HostUnreachableForTos,
            Prohibited,
            Prohibited,
            Prohibited,
        ];
        for code in 0..=255 {
            assert_eq!(v4(3, code), unreachable.get(usize::from(code)).copied(), "{code}");
            let exceeded = if code == 1 { ReassemblyTimeExceeded } else { TimeExceeded };
            assert_eq!(v4(11, code), Some(exceeded), "{code}");
            assert_eq!(v4(12, code), Some(ParameterProblem), "{code}");
        }
        assert!((0..=255).filter(|kind| ![3, 11, 12].contains(kind)).all(|kind| v4(kind, 0).is_none()));

        let v6 = |kind, code| kind_v6(kind, code, 1400);
        let unreachable = [
            NetUnreachable,
            Prohibited,
            HostUnreachable,
            HostUnreachable,
            PortUnreachable,
            Prohibited,
            Prohibited,
        ];
        for code in 0..=255 {
            let kind = unreachable.get(usize::from(code)).copied().unwrap_or(OtherUnreachable);
            assert_eq!(v6(1, code), Some(kind), "{code}");
            assert_eq!(v6(2, code), Some(PacketTooBig { mtu: 1400 }), "{code}");
            let exceeded = if code == 1 { ReassemblyTimeExceeded } else { TimeExceeded };
            assert_eq!(v6(3, code), Some(exceeded), "{code}");
            let problem = if code == 1 { ProtocolUnreachable } else { ParameterProblem };
            assert_eq!(v6(4, code), Some(problem), "{code}");
        }
        assert!((5..128).all(|kind| v6(kind, 0) == Some(Unknown)));
        assert!((128..=255).all(|kind| v6(kind, 0).is_none()) && v6(0, 0).is_none());
    }

    #[test]
    fn hostile_errors_are_refused() {
        let good = emit(IcmpError::PortUnreachable, true, 60);
        // Less than 8 bytes of the transport header, the other family, no quote.
        assert_eq!(parse(&good.slice(..8 + 20 + 7), true).err(), Some(DropReason::BadIcmp));
        assert_eq!(parse(&good, false).err(), Some(DropReason::BadIcmp));
        assert_eq!(parse(&good.slice(..8), true).err(), Some(DropReason::BadIcmp));
        assert_eq!(parse(&Bytes::new(), true).err(), Some(DropReason::BadIcmp));
        let mut code = good.to_vec();
        code[1] = 16;
        assert_eq!(parse(&code.into(), true).err(), Some(DropReason::UnknownIcmp));
        // An error about a fragment that is not the first.
        let mut later: Vec<u8> = good.to_vec();
        later[8 + 7] = 1;
        assert_eq!(parse(&later.into(), true).err(), Some(DropReason::UnmatchedIcmpError));
    }
}
