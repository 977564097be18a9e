//! The metadata of a datagram, in both directions: what `struct msghdr` and its control messages
//! contain.

use core::fmt;
use core::mem;
use core::net::{IpAddr, SocketAddr};

use super::error_queue::QueuedError;
use super::kind::Domain;
use super::scope::present;
use crate::demux::FourTuple;
use crate::interface_id::InterfaceId;
use crate::message_flags::ReceivedFlags;
use crate::time::Instant;

/// The metadata of a received datagram ([`Stack::recv_from`](crate::Stack::recv_from) and similar
/// calls).
///
/// Where no datagram was received, it contains only the peer and our address: after reading was
/// shut down ([`Shutdown::Read`](crate::Shutdown::Read)), and on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DatagramMeta {
    /// The addresses as they are in the packet. Those for the program are computed when it asks for
    /// them.
    pub(super) flow: FourTuple,
    pub(super) iface: InterfaceId,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    pub(super) segment_len: u16,
    /// The family of the socket.
    pub(super) domain: Domain,
    pub(super) drops: u32,
    pub(super) at: Instant,
}

const _: () = assert!(mem::size_of::<DatagramMeta>() == 64);

impl DatagramMeta {
    /// The metadata of a connection, where there is no packet.
    pub(super) fn of_connection(domain: Domain, flow: FourTuple, at: Instant) -> Self {
        let iface = InterfaceId::LOOPBACK;
        DatagramMeta { flow, iface, hop_limit: 0, traffic_class: 0, segment_len: 0, domain, drops: 0, at }
    }

    /// The sender.
    pub fn peer(&self) -> SocketAddr {
        present(self.domain, self.flow.remote_addr())
    }

    /// The address and the port that it was sent to (IP_PKTINFO, IP_RECVORIGDSTADDR): one of our
    /// addresses, or a group.
    pub fn local(&self) -> SocketAddr {
        present(self.domain, self.flow.local_addr())
    }

    /// The interface that it came in through; [`InterfaceId::LOOPBACK`] for a datagram that the
    /// stack sent to itself.
    pub fn iface(&self) -> InterfaceId {
        self.iface
    }

    /// The TTL or hop limit of the packet (IP_RECVTTL, IPV6_RECVHOPLIMIT).
    pub fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// The TOS or traffic class of the packet (IP_RECVTOS, IPV6_RECVTCLASS). The low two bits are
    /// the ECN field.
    pub fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// The ECN field (RFC 3168): 0 is not ECN-capable, 1 ECT(1), 2 ECT(0), 3 congestion
    /// experienced.
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// The length of the datagram. With [`SocketOption::UdpGro`](crate::SocketOption::UdpGro) the
    /// data may be several datagrams of one sender: all have this length but the last, which may be
    /// shorter.
    pub fn segment_len(&self) -> usize {
        usize::from(self.segment_len)
    }

    /// How many datagrams to this socket were dropped for want of room before this one arrived
    /// (SO_RXQ_OVFL). The count wraps.
    pub fn drops(&self) -> u32 {
        self.drops
    }

    /// When the device received it, if the device knows that ([`Frame::at`](crate::Frame::at));
    /// otherwise, when it was handed to the stack (SO_TIMESTAMP).
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
            .field("drops", &self.drops)
            .field("at", &self.at)
            .finish()
    }
}

/// What a call has received ([`Stack::recv_message`](crate::Stack::recv_message)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The number of bytes that were copied or, with [`RecvFlags::TRUNCATE`], the length of the
    /// whole datagram, or the number of bytes that were discarded from a stream.
    ///
    /// [`RecvFlags::TRUNCATE`]: crate::RecvFlags::TRUNCATE
    pub len: usize,
    /// What is to be known of the data.
    pub flags: ReceivedFlags,
    /// The metadata of the datagram; on a stream, its two ends, if it is connected. Errors have
    /// none.
    pub meta: Option<DatagramMeta>,
    /// The error, if this comes from the error queue; the data is the payload of the packet that it
    /// is about.
    pub error: Option<QueuedError>,
}

/// MSG_TRUNC, if less than everything was copied.
pub(super) fn copy_flags(copied: usize, len: usize) -> ReceivedFlags {
    if copied < len { ReceivedFlags::TRUNCATED } else { ReceivedFlags::NONE }
}

/// How a datagram is to be sent ([`Stack::send_msg`](crate::Stack::send_msg)). Fields that are not
/// set are taken from the socket's options.
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
    /// The destination; `None` for the connected peer.
    pub peer: Option<SocketAddr>,
    /// The TTL or hop limit, 1 to 255 (IP_TTL).
    pub hop_limit: Option<u8>,
    /// The TOS or traffic class, ECN field included (IP_TOS).
    pub traffic_class: Option<u8>,
    /// The data is several datagrams of this length, the last of which may be shorter
    /// (UDP_SEGMENT); 0 for one datagram.
    pub segment_len: Option<u16>,
    /// The source address (`ipi_spec_dst` of IP_PKTINFO), in the form in which the socket shows
    /// addresses. It takes precedence over the address that the socket is bound to.
    pub source: Option<IpAddr>,
    /// The interface to leave through (`ipi_ifindex`). A datagram to one of our own addresses goes
    /// to the loopback nevertheless.
    pub iface: Option<InterfaceId>,
}

impl SendMeta {
    /// Sends to the connected peer.
    pub fn connected() -> Self {
        SendMeta::default()
    }

    /// Sends to this address.
    pub fn to(peer: SocketAddr) -> Self {
        SendMeta { peer: Some(peer), ..SendMeta::default() }
    }

    /// Sets the TTL or hop limit.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = Some(hop_limit);
        self
    }

    /// Sets the TOS or traffic class.
    pub fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = Some(traffic_class);
        self
    }

    /// Sets the source address.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets the interface to leave through.
    pub fn iface(mut self, iface: InterfaceId) -> Self {
        self.iface = Some(iface);
        self
    }

    /// Whether it determines the route by more than the address of the peer.
    pub(super) fn names_way(&self) -> bool {
        self.source.is_some() || self.iface.is_some()
    }

    /// Sends the data as datagrams of this length, the last of which may be shorter.
    pub fn segment_len(mut self, segment_len: u16) -> Self {
        self.segment_len = Some(segment_len);
        self
    }
}

#[cfg(test)]
mod tests;
