//! Steering: which of several stacks on one interface has which flow.
//!
//! An interface with several queues (a multi-queue TAP) can be served by as many stacks, each with
//! sockets, timers and a thread of its own, and all with the same addresses. They share nothing, so
//! [`Steering`] determines the owner of a frame from the frame alone, with the same result on all
//! stacks. The driver that reads a queue asks it, and hands a frame that arrived at the wrong stack
//! to the right one. So a flow is always on one stack, however the other side chooses among the
//! queues. In a stack that is [told its share](crate::Stack::with_share)
//!
//! - ephemeral ports are drawn so that the answers belong to the same stack;
//! - fragments go to all stacks, because only the whole packet shows its owner: each stack
//!   reassembles the packet, and all but the owner drop it
//!   ([`DropReason::OtherStack`](crate::DropReason::OtherStack));
//! - ARP and NDP go to all, so that each knows the neighbours; only the first stack asks whether
//!   addresses are free, announces them and answers for them;
//! - IGMP and MLD go to all, and each stack reports the groups of its own sockets;
//! - a datagram to one of our own addresses whose socket is another stack's leaves through
//!   [`InterfaceId::LOOPBACK`](crate::InterfaceId::LOOPBACK).
//!
//! | received packet | stack that it belongs to |
//! |---|---|
//! | TCP | by a keyed hash of both addresses and ports |
//! | UDP | by the local port, modulo the number of stacks: a UDP socket is on one stack |
//! | UDP to a [spread port](Steering::spread_udp_ports) | by the hash, as TCP; to a group, all of them |
//! | ICMP echo reply | by the identifier, in the same way |
//! | ICMP error | that of the packet that it quotes |
//! | ARP, NDP, IGMP, MLD, fragments | all of them |
//! | other protocols, which only raw sockets receive | the first stack |
//! | anything else: echo requests, malformed packets | the stack that received it |

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::demux::FourTuple;
use crate::hash::Keyed;
use crate::icmp::quote::Quote;
use crate::icmp::{self, MessageClass, classify_v4, classify_v6};
use crate::ip::{protocol, read_u8, read_u16};
use crate::link::ethernet;
use crate::network::Medium;

/// Determines which of several stacks with the same interfaces has which flow. See the [module's
/// page](self).
///
/// A pure function of the frame, the number of stacks and a key; the same for all of them.
#[derive(Clone)]
pub struct Steering {
    stacks: u16,
    key: Keyed,
    /// The UDP ports that all stacks have, sorted.
    spread: Arc<[u16]>,
}

/// Omits the key, which is secret.
impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("stacks", &self.stacks).finish_non_exhaustive()
    }
}

/// The stack or stacks that a frame is for.
// Exhaustive: a driver of several stacks must handle each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The stack that received it: any stack would do the same with it.
    Any,
    /// This stack, of `0..stacks`.
    One(u16),
    /// Every stack.
    All,
}

impl Steering {
    /// Steering for this many stacks; 0 counts as 1. The key must be secret: an attacker who knows
    /// it can choose the stack that its connections load.
    pub fn new(stacks: u16, key: [u8; 16]) -> Self {
        Steering { stacks: stacks.max(1), key: Keyed::from_key(key), spread: Arc::default() }
    }

    /// Spreads the flows of these UDP ports over all stacks, by a keyed hash of addresses and ports
    /// as those of TCP, instead of giving each port to one stack. A socket with SO_REUSEPORT may
    /// then be bound to such a port on every stack, and should be: a stack without one refuses its
    /// part of the datagrams. Datagrams to a group are for the sockets of all stacks. No such port
    /// is drawn for a socket that is bound to port 0.
    pub fn spread_udp_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        let mut all: Vec<u16> = self.spread.iter().copied().chain(ports).collect();
        all.sort_unstable();
        all.dedup();
        self.spread = all.into();
        self
    }

    /// Whether all stacks have this UDP port ([`spread_udp_ports`](Steering::spread_udp_ports)).
    pub fn is_spread(&self, port: u16) -> bool {
        self.spread.binary_search(&port).is_ok()
    }

    /// How many stacks there are.
    pub fn stacks(&self) -> u16 {
        self.stacks
    }

    /// The destination of a received frame.
    pub fn of_frame(&self, medium: Medium, frame: &[u8]) -> Destination {
        const ETHERTYPE_AT: usize = 12;
        let packet = match medium {
            Medium::Ip => frame,
            Medium::Ethernet(_) => match read_u16(frame, ETHERTYPE_AT) {
                Some(0x0800 | 0x86dd) => frame.get(ethernet::HEADER_LEN..).unwrap_or_default(),
                Some(0x0806) => return Destination::All,
                _ => return Destination::Any,
            },
        };
        self.of_packet(packet)
    }

    /// The destination of a received IP packet.
    pub fn of_packet(&self, packet: &[u8]) -> Destination {
        let Some(quote) = Quote::parse(packet) else { return Destination::Any };
        if quote.is_fragment {
            return Destination::All;
        }
        let transport = packet.get(quote.transport_at..).unwrap_or_default();
        match (quote.protocol, quote.dst) {
            (protocol::IGMP, _) => Destination::All,
            (protocol::ICMP, IpAddr::V4(_)) => self.of_icmp(transport, classify_v4),
            (protocol::ICMPV6, IpAddr::V6(_)) => self.of_icmp(transport, classify_v6),
            (protocol, local) => self.of_ports(protocol, local, quote.src, transport, Direction::In),
        }
    }

    /// The destination of a packet from the host to itself. Such a connection has both its ends on
    /// the stack that opened it.
    pub(crate) fn of_looped(&self, packet: &[u8]) -> Destination {
        let Some(quote) = Quote::parse(packet) else { return Destination::Any };
        let quoted = packet.get(quote.transport_at + icmp::HEADER_LEN..).and_then(Quote::parse);
        let about = match quote.protocol {
            protocol::ICMP | protocol::ICMPV6 if quote.is_icmp_error(packet) => quoted,
            _ => Some(quote),
        };
        match about {
            Some(Quote { protocol: protocol::UDP, .. }) => self.of_packet(packet),
            _ => Destination::Any,
        }
    }

    fn of_icmp(&self, message: &[u8], classify: fn(u8) -> MessageClass) -> Destination {
        match read_u8(message, 0).map(classify) {
            Some(MessageClass::EchoReply) => one(read_u16(message, 4).map(|id| self.of_port(id))),
            Some(MessageClass::Error) => self.of_quoted(message.get(icmp::HEADER_LEN..).unwrap_or_default()),
            Some(MessageClass::Neighbor | MessageClass::Membership) => Destination::All,
            Some(
                MessageClass::EchoRequest
                | MessageClass::TimestampRequest
                | MessageClass::Redirect
                | MessageClass::Unknown,
            )
            | None => Destination::Any,
        }
    }

    /// The stack that sent the packet quoted by an ICMP error.
    fn of_quoted(&self, packet: &[u8]) -> Destination {
        let Some(quote) = Quote::parse(packet).filter(|quote| !quote.is_later_fragment) else {
            return Destination::Any;
        };
        let transport = packet.get(quote.transport_at..).unwrap_or_default();
        match quote.protocol {
            // Of the ICMP messages that we send, only echo requests have a socket to notify.
            protocol::ICMP | protocol::ICMPV6 => one(read_u16(transport, 4).map(|id| self.of_port(id))),
            protocol => self.of_ports(protocol, quote.src, quote.dst, transport, Direction::Out),
        }
    }

    fn of_ports(
        &self,
        protocol: u8,
        local: IpAddr,
        remote: IpAddr,
        transport: &[u8],
        direction: Direction,
    ) -> Destination {
        if !matches!(protocol, protocol::TCP | protocol::UDP) {
            return Destination::One(0);
        }
        let (Some(src), Some(dst)) = (read_u16(transport, 0), read_u16(transport, 2)) else {
            return Destination::Any;
        };
        let (local_port, remote_port) = match direction {
            Direction::In => (dst, src),
            Direction::Out => (src, dst),
        };
        match protocol {
            protocol::UDP if local.is_multicast() && self.is_spread(local_port) => Destination::All,
            protocol::UDP if !self.is_spread(local_port) => Destination::One(self.of_port(local_port)),
            _ => Destination::One(self.of_connection((local, local_port), (remote, remote_port))),
        }
    }

    /// Which stack has the TCP connection between these ends.
    pub fn of_tcp(&self, local: SocketAddr, remote: SocketAddr) -> u16 {
        self.of_connection((local.ip(), local.port()), (remote.ip(), remote.port()))
    }

    /// Which stack has the UDP socket on this port, unless the port is spread, or the echo socket
    /// with this identifier.
    pub fn of_port(&self, port: u16) -> u16 {
        port % self.stacks
    }

    fn of_connection(&self, local: (IpAddr, u16), remote: (IpAddr, u16)) -> u16 {
        let ports = u64::from(local.1) << 16 | u64::from(remote.1);
        let hash = match (local.0, remote.0) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
                self.key.hash_words([addresses, ports])
            }
            (local, remote) => {
                let [a, b] = words(local);
                let [c, d] = words(remote);
                self.key.hash_words([a, b, c, d, ports])
            }
        };
        let hash = hash >> 32;
        ((hash * u64::from(self.stacks)) >> 32) as u16
    }

    /// A key for the purpose `label` that is the same on all stacks.
    pub(crate) fn derive_key(&self, label: u64) -> Keyed {
        self.key.derive(label)
    }
}

fn words(addr: IpAddr) -> [u64; 2] {
    let bits = match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// Whether a packet was received, or was sent by us and is quoted.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

fn one(stack: Option<u16>) -> Destination {
    stack.map_or(Destination::Any, Destination::One)
}

/// One stack's share of the flows, where several stacks serve the same interfaces.
#[derive(Clone, Debug)]
pub struct Share {
    steering: Steering,
    index: u16,
}

impl Share {
    /// The share of stack `index`. An index that is not below the number of stacks is taken modulo
    /// that number.
    pub fn new(steering: Steering, index: u16) -> Self {
        let index = index % steering.stacks;
        Share { steering, index }
    }

    /// The index of this stack.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The steering that all of them use.
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Whether this stack does the work that only one of the stacks does.
    pub(crate) fn is_first(&self) -> bool {
        self.index == 0
    }

    /// Whether this stack acts on a reassembled packet that all stacks have.
    pub(crate) fn acts_on(&self, packet: &[u8]) -> bool {
        match self.steering.of_packet(packet) {
            Destination::One(index) => index == self.index,
            Destination::Any | Destination::All => self.is_first(),
        }
    }

    /// Whether this stack sends the ICMP error about a packet that it received.
    pub(crate) fn answers(&self, packet: &[u8]) -> bool {
        self.is_first() || self.steering.of_packet(packet) != Destination::All
    }

    /// Whether a packet on the loopback is for another stack.
    pub(crate) fn is_elsewhere(&self, looped: &[u8]) -> bool {
        matches!(self.steering.of_looped(looped), Destination::One(index) if index != self.index)
    }

    /// Whether segments of this connection belong to this stack.
    pub(crate) fn has_connection(&self, tuple: &FourTuple) -> bool {
        let FourTuple { local, remote, .. } = tuple;
        self.steering.of_connection((local.addr, local.port), (remote.addr, remote.port)) == self.index
    }

    /// Whether every stack has this UDP port.
    pub(crate) fn is_spread(&self, port: u16) -> bool {
        self.steering.is_spread(port)
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.steering.of_port(port) == self.index
    }
}

#[cfg(test)]
mod tests;
