//! What is asked of every IP packet that comes in: are its addresses possible here?

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Cast, is_class_e, protocol};
use crate::interface_id::InterfaceId;
use crate::offload::{ChecksumState, SegmentKind, Segments};

/// Where a packet came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) iface: InterfaceId,
    /// How the frame was addressed.
    pub(crate) link_cast: Cast,
    /// Not from a link: one of our own packets to one of our own addresses.
    pub(crate) looped: bool,
    /// What the device did to the packet.
    pub(crate) offload: ReceiveOffload,
}

/// What a device did to a packet that came in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceiveOffload {
    /// Offsets are counted from the IP header.
    pub(crate) checksum: ChecksumState,
    pub(crate) segments: Option<Segments>,
}

impl ReceiveOffload {
    /// What it says of a packet whose transport header begins here: whether its checksum needs no
    /// look, and how long the segments are that it was joined from (0: it was not).
    pub(crate) fn of_transport(&self, transport_at: usize, protocol: u8) -> (bool, u16) {
        let is_checked = match self.checksum {
            ChecksumState::Unknown => false,
            ChecksumState::Verified => true,
            // One that stands further inside is a tunnel's, and says nothing of ours.
            ChecksumState::Partial(partial) => usize::from(partial.start) == transport_at,
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

/// Whether these addresses may be in a packet from a link (RFC 1122 §3.2.1.3, RFC 6890, RFC 4291
/// §2.5 to §2.7). Loopback addresses may be in one that never was on a link.
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
    // "This host" as a source is for hosts that ask for an address; we serve none to them.
    src.octets()[0] == 0 || src.is_multicast() || is_class_e(src)
}

fn is_martian_destination_v4(dst: Ipv4Addr) -> bool {
    dst.octets()[0] == 0 || (is_class_e(dst) && !dst.is_broadcast())
}

/// IPv4 addresses in IPv6 clothes never are on the wire (RFC 4291 §2.5.5.2 makes them for programs;
/// RFC 6890).
fn is_mapped(addr: Ipv6Addr) -> bool {
    addr.to_ipv4_mapped().is_some()
}

/// RFC 4291 §2.7: groups of scope 0 (reserved) and 1 (within one interface) do not travel.
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
