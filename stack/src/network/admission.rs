//! Admission: whether a received packet is for this host, judged by its addresses.

use core::net::IpAddr;

use super::Network;
use crate::drop_reason::DropReason;
use crate::interface_id::InterfaceId;
use crate::ip::input::{Arrival, is_martian};
use crate::ip::{Cast, IpHeader, is_link_local};

/// The decision about a received packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is for this host, and was addressed in this way.
    Local(Cast),
    /// It is for another host, and a router would forward it.
    Forward,
    /// It is dropped.
    Drop(DropReason),
}

impl Network {
    /// Decides whether a packet with these addresses is for this host, and how it was addressed.
    pub(super) fn admit(&self, arrival: Arrival, header: &IpHeader) -> Admission {
        let (src, dst) = (header.src, header.dst);
        if is_martian(src, dst, arrival.looped) {
            return Admission::Drop(DropReason::Martian);
        }
        if arrival.looped {
            let is_ours = self.is_local(dst);
            return if is_ours {
                Admission::Local(Cast::Unicast)
            } else {
                Admission::Drop(DropReason::NotForUs)
            };
        }
        let Some(interface) = self.interface(arrival.iface) else {
            return Admission::Drop(DropReason::NoInterface);
        };
        // RFC 1122 §3.2.1.3: no other host sends from our address, and no host sends from a
        // broadcast address.
        let from_broadcast = matches!(src, IpAddr::V4(src) if interface.is_broadcast(src));
        if from_broadcast || self.is_own(src, arrival.iface) {
            return Admission::Drop(DropReason::Martian);
        }
        let cast = match interface.cast_of(dst) {
            Some(cast) => cast,
            // The weak host model (RFC 1122 §3.3.4.2), as in Linux: a packet may be for any of our
            // addresses, whichever interface it came in through.
            None if self.is_own(dst, arrival.iface) => Cast::Unicast,
            // RFC 1812 §5.3.4: a packet from a broadcast frame is not forwarded.
            None if dst.is_multicast() || is_link_local(dst) || arrival.link_cast != Cast::Unicast => {
                return Admission::Drop(DropReason::NotForUs);
            }
            None => return Admission::Forward,
        };
        // For a unicast packet in a broadcast frame the frame counts, so that no answer causes a
        // storm.
        Admission::Local(if cast == Cast::Unicast { arrival.link_cast } else { cast })
    }

    /// Whether the address is ours from the point of view of this interface.
    fn is_own(&self, addr: IpAddr, iface: InterfaceId) -> bool {
        let scoped = is_link_local(addr);
        self.interfaces.iter().any(|interface| (!scoped || interface.id == iface) && interface.owns(addr))
    }
}
