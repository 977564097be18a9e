//! What goes with a datagram beside its data, in both directions: `struct msghdr` and its control
//! messages.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::kind::Domain;
use super::scope::present;
use crate::demux::FourTuple;
use crate::interface_id::InterfaceId;
use crate::time::Instant;

/// What is known of a datagram that was received ([`Stack::recv_from`](crate::Stack::recv_from) and
/// its kin).
///
/// Where no datagram was received, it says only who the peer is, and which address is ours: after
/// the end of reading ([`Shutdown::Read`](crate::Shutdown::Read)), and on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DatagramMeta {
    /// As it stands in the packet. Addresses are made for the program when it asks for them.
    pub(super) flow: FourTuple,
    pub(super) iface: InterfaceId,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    pub(super) segment_len: u16,
    /// The family of the socket.
    pub(super) domain: Domain,
    pub(super) at: Instant,
}

impl DatagramMeta {
    /// Of a connection, and of no packet.
    pub(super) fn of_connection(domain: Domain, flow: FourTuple, at: Instant) -> Self {
        let iface = InterfaceId::LOOPBACK;
        DatagramMeta { flow, iface, hop_limit: 0, traffic_class: 0, segment_len: 0, domain, at }
    }

    /// Who sent it.
    pub fn peer(&self) -> SocketAddr {
        present(self.domain, self.flow.remote_addr())
    }

    /// The address and the port that it was sent to (IP_PKTINFO): one of ours, or a group.
    pub fn local(&self) -> SocketAddr {
        present(self.domain, self.flow.local_addr())
    }

    /// The interface that it came in through. [`InterfaceId::LOOPBACK`] for what the stack has sent
    /// to itself.
    pub fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// TTL or hop limit, as it arrived (IP_RECVTTL).
    pub fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// TOS or traffic class, as it arrived (IP_RECVTOS). The low two bits are the ECN field.
    pub fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// The ECN field (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced.
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// With [`SocketOption::UdpGro`](crate::SocketOption::UdpGro) the data may be several datagrams
    /// of one sender: all have this length but the last, which may be shorter. Otherwise the length
    /// of the data.
    pub fn segment_len(&self) -> usize {
        usize::from(self.segment_len)
    }

    /// When the device received it, if the device says so ([`Frame::at`](crate::Frame::at));
    /// otherwise, when it was handed to the stack.
    pub fn at(&self) -> Instant {
        self.at
    }
}

impl fmt::Debug for DatagramMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramMeta")
            .field("peer", &self.peer())
            .field("local", &self.local())
            .field("iface", &self.iface)
            .field("hop_limit", &self.hop_limit)
            .field("traffic_class", &self.traffic_class)
            .field("segment_len", &self.segment_len)
            .field("at", &self.at)
            .finish()
    }
}

/// How a datagram is to be sent ([`Stack::send_msg`](crate::Stack::send_msg)). What is not set is
/// as the socket's options say.
///
/// ```
/// use portolan::SendMeta;
///
/// let voice = SendMeta::to(([10, 0, 0, 2], 5004).into()).traffic_class(0xb8).hop_limit(8);
/// assert_eq!((voice.traffic_class, voice.hop_limit), (Some(0xb8), Some(8)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendMeta {
    /// Who is to get it; `None` for the connected peer.
    pub peer: Option<SocketAddr>,
    /// TTL or hop limit, 1 to 255 (IP_TTL).
    pub hop_limit: Option<u8>,
    /// TOS or traffic class, ECN field included (IP_TOS).
    pub traffic_class: Option<u8>,
    /// The data is several datagrams of this length, the last perhaps shorter (UDP_SEGMENT); 0 for
    /// one.
    pub segment_len: Option<u16>,
    /// Our address that it is to come from (`ipi_spec_dst` of IP_PKTINFO), as the socket shows
    /// addresses. It goes before the address that the socket is bound to.
    pub source: Option<IpAddr>,
    /// The interface that it is to leave through (`ipi_ifindex`). To an address of our own it goes
    /// round the loopback all the same.
    pub iface: Option<InterfaceId>,
}

impl SendMeta {
    /// To the connected peer.
    pub fn connected() -> Self {
        SendMeta::default()
    }

    /// To this address.
    pub fn to(peer: SocketAddr) -> Self {
        SendMeta { peer: Some(peer), ..SendMeta::default() }
    }

    /// The same with this TTL or hop limit.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = Some(hop_limit);
        self
    }

    /// The same with this TOS or traffic class.
    pub fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = Some(traffic_class);
        self
    }

    /// The same from this address of ours.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same through this interface.
    pub fn iface(mut self, iface: InterfaceId) -> Self {
        self.iface = Some(iface);
        self
    }

    /// Whether it says more of the way than the address of the peer does.
    pub(super) fn names_way(&self) -> bool {
        self.source.is_some() || self.iface.is_some()
    }

    /// The same as datagrams of this length, the last perhaps shorter.
    pub fn segment_len(mut self, segment_len: u16) -> Self {
        self.segment_len = Some(segment_len);
        self
    }
}

#[cfg(test)]
mod tests;
