//! The network layer: interfaces, neighbours, routes, IP in and out, ICMP.
//!
//! Downwards it takes frames and gives [`Delivery`]s to the transports; upwards it takes transport packets and
//! gives [`Transmit`]s to the device.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::Ctx;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::frame::{Frame, HeaderBuf, Payload, Transmit};
use crate::rng::Rng;
use crate::time::Instant;

/// An interface of a stack, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub(crate) u16);

impl InterfaceId {
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

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// A group address: broadcast or multicast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

/// `02:00:5e:10:00:01`.
impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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

/// An address and the length of its network's prefix: `10.0.0.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address, host bits included.
    pub addr: IpAddr,
    /// The length of the prefix in bits.
    pub prefix_len: u8,
}

/// An interface as it is added to a stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceConfig {
    /// The kind of link.
    pub medium: Medium,
    /// The largest IP packet in bytes, link header not counted. At least 1,280 for IPv6.
    pub mtu: usize,
    /// Its addresses. An IPv6 link-local address is added by itself where the MTU allows IPv6.
    pub addresses: Vec<Cidr>,
}

impl InterfaceConfig {
    /// An interface on this medium with an MTU of 1,500 and no addresses but the link-local one.
    pub fn new(medium: Medium) -> Self {
        InterfaceConfig { medium, mtu: 1500, addresses: Vec::new() }
    }

    /// The same with another MTU.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.mtu = mtu;
        self
    }

    /// The same with one more address.
    pub fn address(mut self, cidr: Cidr) -> Self {
        self.addresses.push(cidr);
        self
    }
}

/// Where an address stands in duplicate address detection (RFC 4862, RFC 5227).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// Being probed; not used yet.
    Tentative,
    /// In use.
    Preferred,
    /// Another station has it; not used.
    Duplicated,
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
    /// The whole IP packet, for ICMP errors to quote.
    pub(crate) packet: Bytes,
    /// The transport header and what follows it, without link padding.
    pub(crate) transport: Bytes,
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
    HostUnreachable,
    ProtocolUnreachable,
    PortUnreachable,
    Prohibited,
    /// The path takes IP packets of at most this many bytes.
    PacketTooBig {
        mtu: usize,
    },
    TimeExceeded,
    ParameterProblem,
}

/// What the network layer hands to the transports.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    Datagram(Datagram),
    /// An echo reply, for the socket that sent the request: `transport` is the ICMP message.
    EchoReply(Datagram),
    Error(NetworkError),
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
    /// Set for TCP (it does path MTU discovery); UDP lets the network layer fragment.
    pub(crate) dont_fragment: bool,
    /// For link-local and multicast destinations: through this interface.
    pub(crate) iface: Option<InterfaceId>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Network {}

impl Network {
    pub(crate) fn new(_config: &Config, _rng: &mut Rng) -> Self {
        Network {}
    }

    pub(crate) fn add_interface(
        &mut self,
        _ctx: &mut Ctx<'_>,
        _config: InterfaceConfig,
    ) -> Result<InterfaceId> {
        todo!()
    }

    pub(crate) fn add_address(&mut self, _ctx: &mut Ctx<'_>, _iface: InterfaceId, _cidr: Cidr) -> Result<()> {
        todo!()
    }

    pub(crate) fn remove_address(&mut self, _iface: InterfaceId, _addr: IpAddr) -> Result<()> {
        todo!()
    }

    pub(crate) fn interfaces(&self) -> Vec<InterfaceInfo> {
        todo!()
    }

    pub(crate) fn add_route(&mut self, _route: Route) -> Result<()> {
        todo!()
    }

    pub(crate) fn remove_route(&mut self, _destination: Cidr, _iface: InterfaceId) -> Result<()> {
        todo!()
    }

    pub(crate) fn routes(&self) -> &[Route] {
        todo!()
    }

    /// Whether a packet to this address is for us: one of our addresses in use, or a loopback address.
    pub(crate) fn is_local(&self, _addr: IpAddr) -> bool {
        todo!()
    }

    /// 255.255.255.255, or the broadcast address of one of our networks.
    pub(crate) fn is_broadcast(&self, _addr: IpAddr) -> bool {
        todo!()
    }

    /// The source address for this destination (routes, then RFC 6724).
    pub(crate) fn source_for(&self, _dst: IpAddr, _iface: Option<InterfaceId>) -> Result<IpAddr> {
        Err(Error::NetworkUnreachable)
    }

    /// The largest IP packet that can go to this destination: the link's MTU, or a smaller path MTU that was learned.
    pub(crate) fn path_mtu(&self, _now: Instant, _dst: IpAddr, _iface: Option<InterfaceId>) -> usize {
        todo!()
    }

    /// A transport has validated a "packet too big": packets to `dst` are at most `mtu` bytes for a while.
    pub(crate) fn learn_path_mtu(
        &mut self,
        _now: Instant,
        _dst: IpAddr,
        _iface: Option<InterfaceId>,
        _mtu: usize,
    ) {
        todo!()
    }

    /// An upper layer made progress with this host (RFC 4861 §7.3.1): its neighbour entry needs no probe.
    pub(crate) fn confirm_reachable(&mut self, _now: Instant, _dst: IpAddr, _iface: Option<InterfaceId>) {
        todo!()
    }

    /// One frame in. At most one thing for a transport comes of it.
    pub(crate) fn handle_frame(
        &mut self,
        _ctx: &mut Ctx<'_>,
        _iface: InterfaceId,
        _frame: Frame,
    ) -> Option<Delivery> {
        todo!()
    }

    /// What came round the loopback, and errors that the network layer found out itself (a neighbour that does not
    /// answer). Drained by the stack after every call that can produce any.
    pub(crate) fn poll_delivery(&mut self, _ctx: &mut Ctx<'_>) -> Option<Delivery> {
        todo!()
    }

    /// Sends a transport packet: `header` holds the transport header with its checksum, the network layer prepends
    /// its own. `Ok(None)`: it went round the loopback, or waits for a neighbour, or was cut into fragments that
    /// [`Network::poll_transmit`] gives out.
    pub(crate) fn output(
        &mut self,
        _ctx: &mut Ctx<'_>,
        _meta: IpMeta,
        _header: HeaderBuf,
        _payload: Payload,
    ) -> Result<Option<Transmit>> {
        todo!()
    }

    /// Answers a datagram that no socket wanted with "port unreachable" or "protocol unreachable", within the rate limit.
    pub(crate) fn send_unreachable(&mut self, _ctx: &mut Ctx<'_>, _about: &Datagram, _why: NetworkErrorKind) {
        todo!()
    }

    /// Frames of the network layer itself: resolution, ICMP, fragments, packets whose neighbour was found.
    pub(crate) fn poll_transmit(&mut self, _ctx: &mut Ctx<'_>) -> Option<Transmit> {
        None
    }

    /// Queues a ready frame behind those of [`Network::poll_transmit`]; drops and counts it when the queue is full.
    pub(crate) fn queue(&mut self, _ctx: &mut Ctx<'_>, _transmit: Transmit) {
        todo!()
    }

    pub(crate) fn handle_timeout(&mut self, _ctx: &mut Ctx<'_>) {}

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Bytes held by queues, reassembly and resolution.
    pub(crate) fn memory_bytes(&self) -> usize {
        0
    }
}

/// The address that means "any" in the family of `addr`.
pub(crate) fn unspecified_like(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
