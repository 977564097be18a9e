//! The types that the network layer hands to the transports and the sockets.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::ops::Range;

use bytes::{Buf, Bytes};

use crate::icmp::network_error::NetworkError;
use crate::interface_id::InterfaceId;
use crate::ip::Cast;

/// An IP packet for a transport, whole and checked: its addresses are sane and its headers walked.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) iface: InterfaceId,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// TOS or traffic class: DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// How it was addressed, by IP and by link address: no error or reset answers a group.
    pub(crate) cast: Cast,
    /// Its transport checksum is known to be right, or was never needed.
    pub(crate) is_checked: bool,
    /// The payload of each of the segments that a device joined, but the last; 0 if it is one
    /// packet as it was sent.
    pub(crate) segment_len: u16,
    /// The whole IP packet, for ICMP errors to quote.
    pub(crate) packet: Bytes,
    /// Where in it the transport header begins.
    pub(super) transport_at: usize,
}

impl Datagram {
    /// The transport header and what follows it, without link padding.
    pub(crate) fn transport(&self) -> &[u8] {
        self.packet.get(self.transport_at..).unwrap_or_default()
    }

    /// A part of [`transport`](Datagram::transport), cut to what is there. It is the packet itself
    /// that shrinks to it: counting one more reference, and one less soon after, costs more than
    /// all else that is done here.
    pub(crate) fn into_transport(self, range: Range<usize>) -> Bytes {
        let mut bytes = self.packet;
        bytes.truncate(self.transport_at.saturating_add(range.end));
        bytes.advance(self.transport_at.saturating_add(range.start).min(bytes.len()));
        bytes
    }

    /// The transport header and what follows it, beside the packet.
    pub(crate) fn share_transport(&self) -> Bytes {
        self.packet.slice(self.transport_at.min(self.packet.len())..)
    }
}

/// What the network layer hands to the sockets. Each packet for this host comes through here once.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// A packet for a transport.
    Datagram(Datagram),
    /// An ICMP message, after the network layer has done its part: the transport part is the
    /// message.
    Icmp { message: Datagram, outcome: IcmpOutcome },
    /// The network layer itself found that a packet of ours cannot be sent.
    Error(NetworkError),
}

/// What the network layer made of an ICMP message.
#[derive(Clone, Debug)]
pub(crate) enum IcmpOutcome {
    /// It was answered or used, or dropped and counted.
    Done,
    /// An echo reply, for the socket that sent the request.
    EchoReply,
    /// An error about a packet of ours.
    Error(Box<NetworkError>),
}
