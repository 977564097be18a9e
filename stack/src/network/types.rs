//! The types that the network layer shares with the transports, the sockets and the users of the stack.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Range;

use bytes::{Buf, Bytes};

use crate::iface::address::AddressState;
use crate::iface::cidr::Cidr;
use crate::link::mac::MacAddr;
use crate::offload::{Offloads, Segments};

/// An interface of a stack, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub(crate) u16);

impl InterfaceId {
    /// What came round the loopback, and has no link-local address of an interface. Where several stacks serve the same
    /// interfaces ([`Config::share`](crate::Config::share)), packets between them leave and come through it.
    // Its scope id fits 16 bits, too.
    pub const LOOPBACK: InterfaceId = InterfaceId(u16::MAX - 1);

    /// The interface that was added as number `index`, from 0. A stack ignores one that it does not have.
    pub const fn from_index(index: u16) -> Self {
        InterfaceId(index)
    }

    /// Its place among the interfaces of the stack, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The IPv6 scope id (`sin6_scope_id`) that names this interface: its index plus one, as 0 means "any".
    pub const fn scope_id(self) -> u32 {
        self.0 as u32 + 1
    }
}

/// What kind of link an interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Ethernet II frames, with ARP and NDP.
    Ethernet(MacAddr),
    /// Bare IP packets, as on a TUN device or in a tunnel: no link addresses, no resolution.
    Ip,
}

/// An interface as it is added to a stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceConfig {
    /// The kind of link.
    pub medium: Medium,
    /// The largest IP packet in bytes, link header not counted. At least 1,280 for IPv6.
    pub mtu: usize,
    /// Its addresses. On Ethernet an IPv6 link-local address is added by itself where the MTU allows IPv6.
    pub addresses: Vec<Cidr>,
    /// What the device does for the frames that are sent to it.
    pub offloads: Offloads,
}

impl InterfaceConfig {
    /// An interface on this medium with an MTU of 1,500 and no addresses but the link-local one, whose device sends frames
    /// as they are.
    pub fn new(medium: Medium) -> Self {
        InterfaceConfig { medium, mtu: 1500, addresses: Vec::new(), offloads: Offloads::NONE }
    }

    /// The same with another MTU.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// The same with a device that does this much.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// The same with one more address.
    pub fn address(mut self, cidr: Cidr) -> Self {
        self.addresses.push(cidr);
        self
    }
}

/// An interface as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// Which.
    pub id: InterfaceId,
    /// The kind of link.
    pub medium: Medium,
    /// The largest IP packet in bytes.
    pub mtu: usize,
    /// What its device does for the frames that leave.
    pub offloads: Offloads,
    /// Its addresses, the link-local one included.
    pub addresses: Vec<(Cidr, AddressState)>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations: `0.0.0.0/0` for a default route.
    pub destination: Cidr,
    /// The router; none for what is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface it goes out through.
    pub iface: InterfaceId,
    /// Among routes to the same prefix, the lowest wins.
    pub metric: u32,
}

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
    /// The payload of each of the segments that a device joined, but the last; 0 if it is one packet as it was sent.
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

    /// A part of [`transport`](Datagram::transport), cut to what is there. It is the packet itself that shrinks to it:
    /// counting one more reference, and one less soon after, costs more than all else that is done here.
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

/// To whom a packet was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// An ICMP error (or what our own network layer found out) about a packet that we sent.
#[derive(Clone, Debug)]
pub(crate) struct NetworkError {
    /// The interface that the error came in through, or that the packet should have left through.
    pub(crate) iface: Option<InterfaceId>,
    /// Source and destination of the packet that it is about.
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) protocol: u8,
    /// The start of that packet's transport header; at least 8 bytes.
    pub(crate) transport: Bytes,
    pub(crate) kind: NetworkErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkErrorKind {
    NetUnreachable,
    /// The network is unknown, or the way to it prohibited.
    NetRefused,
    /// For this type of service.
    NetUnreachableForTos,
    HostUnreachable,
    /// For this type of service.
    HostUnreachableForTos,
    /// A router does not know the host.
    HostUnknown,
    /// The source host is isolated.
    HostIsolated,
    SourceRouteFailed,
    ProtocolUnreachable,
    PortUnreachable,
    Prohibited,
    /// Unreachable for a reason that has no name yet (ICMPv6).
    OtherUnreachable,
    /// The path takes IP packets of at most this many bytes.
    PacketTooBig {
        mtu: usize,
    },
    TimeExceeded,
    ReassemblyTimeExceeded,
    ParameterProblem,
    /// RFC 4443 §2.4 (a): an ICMPv6 error of a type that we do not know.
    Unknown,
}

/// What the network layer hands to the transports.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    Datagram(Datagram),
    /// An echo reply, for the socket that sent the request: its transport part is the ICMP message.
    EchoReply(Datagram),
    Error(NetworkError),
}

/// What becomes of packets that are too long for a link, as with Linux's IP_MTU_DISCOVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MtuDiscovery {
    /// They are fragmented, here or on the way.
    Dont,
    /// What does not fit is fragmented here; what fits must not be fragmented on the way, so that the path MTU is learned.
    Want,
    /// They are not fragmented: the transport makes no longer ones. On the way they may be only where the path takes less than
    /// the smallest that we make.
    Do,
}

/// Where a transport's packet goes and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// Config's, if none.
    pub(crate) hop_limit: Option<u8>,
    pub(crate) traffic_class: u8,
    pub(crate) mtu_discovery: MtuDiscovery,
    /// For link-local and multicast destinations: through this interface.
    pub(crate) iface: Option<InterfaceId>,
    /// Where in the transport header the checksum is missing that the network layer fills in, or leaves to the device.
    /// None: the transport has done that.
    pub(crate) checksum_at: Option<u8>,
    /// Over IPv6: another seed gives the flow another label, and perhaps another path.
    pub(crate) path_seed: u8,
    /// It is a run of segments of so many bytes, for a device that cuts it ([`Network::can_cut`](super::Network::can_cut)).
    pub(crate) run: Option<Segments>,
}
