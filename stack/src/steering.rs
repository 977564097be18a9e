//! Several stacks on one interface: which of them has which flow.
//!
//! An interface with several queues (a multi-queue TAP) can be served by as many stacks, each with sockets, timers and a
//! thread of its own, and all with the same addresses. Nothing is shared between them, so each must be able to tell from
//! a frame alone whose it is, and all must come to the same answer: that is [`Steering`]. Whoever reads the queues asks it
//! and hands a frame that came to the wrong stack on to the right one; so it does not matter how the other side chooses
//! among the queues, and a flow is always on one stack. In the stack itself
//!
//! - ephemeral ports are drawn so that the answers are the stack's own;
//! - fragments go to all stacks, each puts the packet together, and all but one drop it then
//!   ([`DropReason::OtherStack`](crate::DropReason::OtherStack)): only the whole packet shows whose it is;
//! - ARP and NDP go to all, so that each knows the neighbours; only the first stack asks whether addresses are free,
//!   announces them and answers for them;
//! - a datagram to one of our own addresses whose socket is another stack's leaves through
//!   [`InterfaceId::LOOPBACK`](crate::InterfaceId::LOOPBACK).
//!
//! | what comes | whose it is |
//! |---|---|
//! | TCP | by a keyed hash of both addresses and ports |
//! | UDP | by the local port, modulo the number of stacks: a UDP socket is on one stack |
//! | ICMP echo reply | by the identifier, likewise |
//! | ICMP error | that of the packet that it quotes |
//! | ARP, NDP, fragments | for all |
//! | anything else: echo requests, what nobody speaks, what is malformed | whoever got it |

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::demux::FourTuple;
use crate::hash::Keyed;
use crate::icmp::quote::Quote;
use crate::icmp::{self, MessageClass, classify_v4, classify_v6};
use crate::ip::{protocol, read_u8, read_u16};
use crate::link::ethernet;
use crate::network::Medium;

/// Which stack has which flow, of several that share their interfaces. See the [module's page](self).
///
/// A pure function of the frame, the number of stacks and a key; the same for all of them.
#[derive(Clone)]
pub struct Steering {
    stacks: u16,
    key: Keyed,
}

/// The key is a secret.
impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("stacks", &self.stacks).finish_non_exhaustive()
    }
}

/// Who is to have a frame.
// Exhaustive: whoever has several stacks must handle each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Whoever got it: any stack does the same with it.
    Any,
    /// This stack, of `0..stacks`.
    One(u16),
    /// Every stack.
    All,
}

impl Steering {
    /// For so many stacks; 0 counts as 1. The key is a secret: whoever knows it can choose the stack that his connections
    /// burden.
    pub fn new(stacks: u16, key: [u8; 16]) -> Self {
        Steering { stacks: stacks.max(1), key: Keyed::from_key(key) }
    }

    /// How many stacks there are.
    pub fn stacks(&self) -> u16 {
        self.stacks
    }

    /// Who is to have a frame that came in.
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

    /// Who is to have an IP packet that came in.
    pub fn of_packet(&self, packet: &[u8]) -> Destination {
        let Some(quote) = Quote::parse(packet) else { return Destination::Any };
        if quote.is_fragment {
            return Destination::All;
        }
        let transport = packet.get(quote.transport_at..).unwrap_or_default();
        match (quote.protocol, quote.dst) {
            (protocol::ICMP, IpAddr::V4(_)) => self.of_icmp(transport, classify_v4),
            (protocol::ICMPV6, IpAddr::V6(_)) => self.of_icmp(transport, classify_v6),
            (protocol, local) => self.of_ports(protocol, local, quote.src, transport, Direction::In),
        }
    }

    /// Who is to have a packet from us to us. A connection to ourselves has both its ends on the stack that opened it.
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
            Some(MessageClass::Neighbor) => Destination::All,
            Some(
                MessageClass::EchoRequest
                | MessageClass::TimestampRequest
                | MessageClass::Redirect
                | MessageClass::Unknown,
            )
            | None => Destination::Any,
        }
    }

    /// Who sent the packet that an ICMP error quotes.
    fn of_quoted(&self, packet: &[u8]) -> Destination {
        let Some(quote) = Quote::parse(packet).filter(|quote| !quote.is_later_fragment) else {
            return Destination::Any;
        };
        let transport = packet.get(quote.transport_at..).unwrap_or_default();
        match quote.protocol {
            // Of all that we send only echo requests have a socket that wants to know.
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
        let (Some(src), Some(dst)) = (read_u16(transport, 0), read_u16(transport, 2)) else {
            return Destination::Any;
        };
        let (local_port, remote_port) = match direction {
            Direction::In => (dst, src),
            Direction::Out => (src, dst),
        };
        match protocol {
            protocol::TCP => Destination::One(self.of_connection((local, local_port), (remote, remote_port))),
            protocol::UDP => Destination::One(self.of_port(local_port)),
            _ => Destination::Any,
        }
    }

    /// Which stack has the TCP connection between these ends.
    pub fn of_tcp(&self, local: SocketAddr, remote: SocketAddr) -> u16 {
        self.of_connection((local.ip(), local.port()), (remote.ip(), remote.port()))
    }

    /// Which stack has the UDP socket on this port, or the echo socket with this identifier.
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

    /// A key that all stacks derive alike, for purpose and use `label`.
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

/// Whether a packet came, or was sent by us and is quoted.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

fn one(stack: Option<u16>) -> Destination {
    stack.map_or(Destination::Any, Destination::One)
}

/// One stack's part of what several have together.
#[derive(Clone, Debug)]
pub struct Share {
    steering: Steering,
    index: u16,
}

impl Share {
    /// The part of stack `index`, which must be below the number of stacks: of a larger one the remainder is taken.
    pub fn new(steering: Steering, index: u16) -> Self {
        let index = index % steering.stacks;
        Share { steering, index }
    }

    /// Which of the stacks it is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// What all of them agree on.
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Whether this is the stack that does what only one is to do.
    pub(crate) fn is_first(&self) -> bool {
        self.index == 0
    }

    /// Whether this stack is the one to act on a whole packet that all of them have.
    pub(crate) fn acts_on(&self, packet: &[u8]) -> bool {
        match self.steering.of_packet(packet) {
            Destination::One(index) => index == self.index,
            Destination::Any | Destination::All => self.is_first(),
        }
    }

    /// Whether this stack is the one to complain of a packet that it has.
    pub(crate) fn answers(&self, packet: &[u8]) -> bool {
        self.is_first() || self.steering.of_packet(packet) != Destination::All
    }

    /// Whether a packet on the loopback is for another stack.
    pub(crate) fn is_elsewhere(&self, looped: &[u8]) -> bool {
        matches!(self.steering.of_looped(looped), Destination::One(index) if index != self.index)
    }

    /// Whether what comes for this connection is this stack's.
    pub(crate) fn has_connection(&self, tuple: &FourTuple) -> bool {
        let FourTuple { local, remote, .. } = tuple;
        self.steering.of_connection((local.addr, local.port), (remote.addr, remote.port)) == self.index
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.steering.of_port(port) == self.index
    }
}

#[cfg(test)]
mod tests;
