//! Checks that every received IP packet must pass: are its addresses possible here?

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Cast, is_class_e, protocol};
use crate::interface_id::InterfaceId;
use crate::offload::{ChecksumState, SegmentKind, Segments};

/// How a packet came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) iface: InterfaceId,
    /// How the frame was addressed.
    pub(crate) link_cast: Cast,
    /// The packet came round the loopback: it is from one of our addresses to another.
    pub(crate) looped: bool,
    /// It is for another host, and the interface takes it.
    pub(crate) is_intercepted: bool,
    /// The interface is in another zone than zone 0.
    pub(crate) is_apart: bool,
    /// What the device did to the packet.
    pub(crate) offload: ReceiveOffload,
}

impl Arrival {
    /// A packet in a unicast frame through an interface of zone 0.
    #[inline]
    pub(crate) fn through(iface: InterfaceId, offload: ReceiveOffload) -> Arrival {
        let link_cast = Cast::Unicast;
        Arrival { iface, link_cast, looped: false, is_intercepted: false, is_apart: false, offload }
    }
}

/// What a device did to a packet that it received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceiveOffload {
    /// The state of the transport checksum.
    pub(crate) checksum: ChecksumState,
    pub(crate) segments: Option<Segments>,
    /// The bytes of the frame in front of the packet. The offsets above count from the frame.
    pub(crate) link_header_len: usize,
}

impl ReceiveOffload {
    /// What the device did to a packet whose transport header begins at `transport_at`: whether the
    /// checksum need not be verified, and the length of the segments that the device joined (0: it
    /// joined none).
    pub(crate) fn of_transport(&self, transport_at: usize, protocol: u8) -> (bool, u16) {
        let is_checked = match self.checksum {
            ChecksumState::Unknown => false,
            ChecksumState::Verified => true,
            // A checksum further inside the packet is that of a tunnelled packet, not of this one.
            ChecksumState::Partial(partial) => {
                usize::from(partial.start) == self.link_header_len + transport_at
            }
        };
        let segment_len = match self.segments {
            Some(Segments { kind: SegmentKind::Udp, len }) if protocol == protocol::UDP => len,
            Some(Segments { kind: SegmentKind::TcpV4 | SegmentKind::TcpV6, len })
                if protocol == protocol::TCP =>
            {
                len
            }
            _ => 0,
        };
        (is_checked, segment_len)
    }
}

/// Whether a packet from a link must not have these addresses (RFC 1122 §3.2.1.3, RFC 6890, RFC
/// 4291 §2.5 to §2.7). Loopback addresses are allowed in a packet that was never on a link.
pub(crate) fn is_martian(src: IpAddr, dst: IpAddr, looped: bool) -> bool {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            is_martian_source_v4(src) || is_martian_destination_v4(dst) || {
                !looped && (src.is_loopback() || dst.is_loopback())
            }
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            src.is_multicast()
                || dst.is_unspecified()
                || is_mapped(src)
                || is_mapped(dst)
                || (!looped && (src.is_loopback() || dst.is_loopback() || is_interface_local(dst)))
        }
        _ => true,
    }
}

fn is_martian_source_v4(src: Ipv4Addr) -> bool {
    // "This host" as source is used by hosts that ask for an address, which we do not assign.
    src.octets()[0] == 0 || src.is_multicast() || is_class_e(src)
}

fn is_martian_destination_v4(dst: Ipv4Addr) -> bool {
    dst.octets()[0] == 0 || (is_class_e(dst) && !dst.is_broadcast())
}

/// Whether it is an IPv4-mapped address. They exist for programs (RFC 4291 §2.5.5.2) and never
/// appear on the wire (RFC 6890).
fn is_mapped(addr: Ipv6Addr) -> bool {
    addr.to_ipv4_mapped().is_some()
}

/// Whether it is a group of scope 0 (reserved) or 1 (interface-local), which must not be on a link
/// (RFC 4291 §2.7).
fn is_interface_local(dst: Ipv6Addr) -> bool {
    dst.is_multicast() && dst.octets()[1] & 0x0f <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn martian(src: &str, dst: &str) -> bool {
        is_martian(src.parse().unwrap(), dst.parse().unwrap(), false)
    }

    #[test]
    fn rfc_1122_3_2_1_3_addresses_that_no_packet_has() {
        assert!(!martian("10.0.0.1", "10.0.0.2"));
        assert!(!martian("10.0.0.1", "255.255.255.255"));
        assert!(!martian("10.0.0.1", "224.0.0.1"));
        for src in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            assert!(martian(src, "10.0.0.2"), "{src}");
        }
        for dst in ["0.0.0.0", "127.0.0.1", "127.255.0.1", "240.0.0.1"] {
            assert!(martian("10.0.0.1", dst), "{dst}");
        }
    }

    #[test]
    fn rfc_4291_2_addresses_that_no_packet_has() {
        assert!(!martian("fd00::1", "fd00::2"));
        assert!(!martian("::", "ff02::1:ff00:2"));
        for src in ["::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert!(martian(src, "fd00::2"), "{src}");
        }
        for dst in ["::", "::1", "ff01::1", "ff00::1", "::ffff:10.0.0.2"] {
            assert!(martian("fd00::1", dst), "{dst}");
        }
    }

    #[test]
    fn what_never_was_on_a_link_may_have_loopback_addresses() {
        let looped = |src: &str, dst: &str| !is_martian(src.parse().unwrap(), dst.parse().unwrap(), true);
        assert!(looped("127.0.0.1", "127.0.0.2") && looped("::1", "::1"));
        assert!(!looped("224.0.0.1", "127.0.0.1"));
    }
}
