//! The types that the network layer hands to the transports and the sockets.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::ops::Range;

use bytes::{Buf, Bytes};

use crate::drop_reason::DropReason;
use crate::icmp::network_error::NetworkError;
use crate::interface_id::InterfaceId;
use crate::ip::{Cast, is_link_local};
use crate::link::mac::MacAddr;

/// An IP packet for a transport, complete and checked: its addresses are valid and its headers
/// parsed.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) iface: InterfaceId,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// TOS or traffic class: DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// How it was addressed, by IP and link address: no error or reset is sent in answer to a
    /// group.
    pub(crate) cast: Cast,
    /// Whether its transport checksum was verified, or was never needed.
    pub(crate) is_checked: bool,
    /// Whether it is for another host, and an interface of ours takes it.
    pub(crate) is_intercepted: bool,
    /// Whether its interface is in another zone than zone 0.
    pub(crate) is_apart: bool,
    /// The payload length of the segments that a device joined into it (the last may be shorter); 0
    /// if no device joined it.
    pub(crate) segment_len: u16,
    /// The whole IP packet, for ICMP errors to quote.
    pub(crate) packet: Bytes,
    /// The offset of the transport header in `packet`.
    pub(super) transport_at: usize,
}

impl Datagram {
    /// The scope under which the tables know its flow: its interface if one of its addresses is
    /// link-local, or if the interface is in another zone than zone 0. Otherwise 0.
    #[inline]
    pub(crate) fn scope(&self) -> u16 {
        let is_of_link = self.is_apart || is_link_local(self.src) || is_link_local(self.dst);
        if is_of_link { self.iface.0 + 1 } else { 0 }
    }

    /// The same for a packet to a group, whose address does not tell the link of its sender.
    #[inline]
    pub(crate) fn group_scope(&self) -> u16 {
        if self.is_apart || is_link_local(self.src) { self.iface.0 + 1 } else { 0 }
    }

    /// The transport header and what follows, without link padding.
    pub(crate) fn transport(&self) -> &[u8] {
        self.packet.get(self.transport_at..).unwrap_or_default()
    }

    /// A part of [`transport`](Datagram::transport), shortened to what exists. It reuses the
    /// packet's reference: cloning the packet and dropping the original would cost more than the
    /// rest of this function.
    pub(crate) fn into_transport(self, range: Range<usize>) -> Bytes {
        let mut bytes = self.packet;
        bytes.truncate(self.transport_at.saturating_add(range.end));
        bytes.advance(self.transport_at.saturating_add(range.start).min(bytes.len()));
        bytes
    }

    /// The offset of the transport header in the packet.
    pub(crate) fn transport_at(&self) -> usize {
        self.transport_at
    }

    /// Shortens the transport header and what follows to at most `len` bytes.
    pub(crate) fn truncate_transport(&mut self, len: usize) {
        self.packet.truncate(self.transport_at.saturating_add(len));
    }

    /// The transport header and what follows, while the packet stays.
    pub(crate) fn share_transport(&self) -> Bytes {
        self.packet.slice(self.transport_at.min(self.packet.len())..)
    }
}

/// What a packet socket has to know of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkFacts {
    /// The length of its link headers.
    pub(crate) header_len: usize,
    /// Our link address, if stations on it have one. On the loopback it is zeros.
    pub(crate) mac: Option<MacAddr>,
    /// The ARP hardware type, as Linux numbers it.
    pub(crate) hardware_type: u16,
    /// The longest packet behind a link header.
    pub(crate) mtu: usize,
}

/// The result of a received frame or packet: a delivery to the sockets, nothing (an ARP packet, a
/// fragment that waits for others), or the reason to drop it.
pub(crate) type Reception = Result<Option<Delivery>, DropReason>;

/// What the network layer hands to the sockets. Each packet for this host passes here exactly once.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// A packet for a transport.
    Datagram(Datagram),
    /// An ICMP or IGMP message, after the network layer has handled it. Its transport part is the
    /// message.
    Icmp { message: Datagram, outcome: IcmpOutcome },
    /// A packet of ours could not be sent, as the network layer itself found out.
    Error(NetworkError),
}

/// What the network layer did with an ICMP message.
#[derive(Clone, Debug)]
pub(crate) enum IcmpOutcome {
    /// It was answered or used, or dropped and counted.
    Done,
    /// The network layer has no use for it: it is dropped for this reason unless a socket takes it.
    Unused(DropReason),
    /// An echo reply, for the socket that sent the request.
    EchoReply,
    /// An error about a packet of ours.
    Error(Box<NetworkError>),
}
