//! [`Interception`]: the packets for other hosts that an interface takes.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::RangeInclusive;

use super::cidr::Cidr;

/// The packets for other hosts that an interface takes as if they were for this stack.
///
/// [`Stack::intercept`](crate::Stack::intercept) says what becomes of TCP connections that are
/// taken in this way. Addresses of the stack itself always come first, and packets with addresses
/// that no packet may have are dropped as ever. No broadcast, multicast or loopback address is
/// taken, and a link-local one only if its network is named: a network inside 169.254.0.0/16 or
/// fe80::/10.
///
/// ```
/// use portolan::{Interception, InterfaceConfig, Medium};
///
/// // Every connection that comes out of a tunnel.
/// let tunnel = InterfaceConfig::new(Medium::Ip).intercept(Interception::all());
/// // The web, and one host whole.
/// let some = Interception::none()
///     .ports("0.0.0.0/0".parse()?, 80..=80)
///     .ports("0.0.0.0/0".parse()?, 443..=443)
///     .network("169.254.169.254/32".parse()?);
/// # Ok::<(), portolan::ParseCidrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interception {
    /// The destinations. A packet is taken if one of them matches.
    pub destinations: Vec<InterceptedNetwork>,
    /// Whether echo requests to the destinations are answered. False: an answer would say that a
    /// host is there.
    pub answer_echo: bool,
    /// Which neighbours' questions for the link address of a destination are answered with ours, on
    /// Ethernet. [`ProxyAnswers::OtherNetworks`].
    pub proxy_answers: ProxyAnswers,
}

/// For which intercepted destinations an interface answers ARP requests (RFC 1027) and neighbour
/// solicitations (RFC 4861 §7.2.8) as if they were its own.
///
/// Probes for duplicate addresses are never answered: a host can have any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyAnswers {
    /// For none: the neighbours use an address of ours as their gateway.
    None,
    /// For those that are in no network of the interface's addresses.
    OtherNetworks,
    /// For all, those in the networks of the interface included. Their hosts can then no longer be
    /// reached.
    All,
}

impl Default for Interception {
    fn default() -> Self {
        Interception::none()
    }
}

/// A network, and the ports in it, whose packets are intercepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterceptedNetwork {
    /// The network.
    pub network: Cidr,
    /// The ports of TCP and UDP. With all ports, 0 to 65535, packets of every other protocol are
    /// taken, too; otherwise only ICMP errors about packets from these ports.
    ///
    /// A fragment does not tell its port. Fragments to the network are taken, put together, and
    /// dropped if the port is another one.
    pub ports: RangeInclusive<u16>,
}

impl InterceptedNetwork {
    fn has_all_ports(&self) -> bool {
        *self.ports.start() == 0 && *self.ports.end() == u16::MAX
    }

    /// Whether the address is in the network. A link-local address must be named by a network that
    /// contains no other addresses.
    fn contains(&self, addr: IpAddr) -> bool {
        self.network.contains(addr) && (!is_link_local(addr) || is_link_local_network(self.network))
    }
}

impl Interception {
    /// Every destination of both families.
    pub fn all() -> Self {
        Interception::none().network(Cidr::ANY_V4).network(Cidr::ANY_V6)
    }

    /// No destination.
    pub fn none() -> Self {
        Interception {
            destinations: Vec::new(),
            answer_echo: false,
            proxy_answers: ProxyAnswers::OtherNetworks,
        }
    }

    /// Adds a network with all its ports.
    pub fn network(self, network: Cidr) -> Self {
        self.ports(network, 0..=u16::MAX)
    }

    /// Adds ports of a network.
    pub fn ports(mut self, network: Cidr, ports: RangeInclusive<u16>) -> Self {
        self.destinations.push(InterceptedNetwork { network, ports });
        self
    }

    /// Sets whether echo requests are answered.
    pub fn answer_echo(mut self, answers: bool) -> Self {
        self.answer_echo = answers;
        self
    }

    /// Sets which neighbours' questions are answered.
    pub fn proxy_answers(mut self, answers: ProxyAnswers) -> Self {
        self.proxy_answers = answers;
        self
    }

    /// Whether each network has addresses that a packet may be for, and ports.
    pub(crate) fn is_valid(&self) -> bool {
        self.destinations.iter().all(|InterceptedNetwork { network, ports }| {
            let first = network.network().addr;
            let is_special = network.prefix_len > 0 && (first.is_multicast() || first.is_loopback());
            network.is_valid() && !is_special && !ports.is_empty()
        })
    }

    /// Whether packets to some port of this address are taken.
    pub(crate) fn names(&self, addr: IpAddr) -> bool {
        self.destinations.iter().any(|destination| destination.contains(addr))
    }

    /// Whether a packet to this destination is taken. The caller knows that it is neither an
    /// address of ours nor a broadcast or multicast address. `port` reads the packet, which is
    /// needed only if a network has the destination.
    pub(crate) fn takes(&self, dst: IpAddr, port: impl FnOnce() -> PacketPort) -> bool {
        let mut matching =
            self.destinations.iter().filter(|destination| destination.contains(dst)).peekable();
        if matching.peek().is_none() {
            return false;
        }
        let port = port();
        matching.any(|destination| match port {
            PacketPort::One(port) => destination.ports.contains(&port),
            PacketPort::Unknown => true,
            PacketPort::None => destination.has_all_ports(),
        })
    }
}

/// The port of a packet by which it is intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketPort {
    One(u16),
    /// The packet is a fragment.
    Unknown,
    /// The packet has no port.
    None,
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

fn is_link_local_network(network: Cidr) -> bool {
    let least = if network.addr.is_ipv4() { 16 } else { 10 };
    is_link_local(network.addr) && network.prefix_len >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn takes(interception: &Interception, dst: &str, port: PacketPort) -> bool {
        interception.takes(dst.parse().unwrap(), || port)
    }

    #[test]
    fn ports_choose_among_packets_that_have_some() {
        let web = Interception::none().ports(cidr("203.0.113.0/24"), 443..=444);
        for (dst, port, expected) in [
            ("203.0.113.7", PacketPort::One(443), true),
            ("203.0.113.7", PacketPort::One(444), true),
            ("203.0.113.7", PacketPort::One(445), false),
            ("203.0.114.7", PacketPort::One(443), false),
            ("203.0.113.7", PacketPort::Unknown, true),
            ("203.0.113.7", PacketPort::None, false),
        ] {
            assert_eq!(takes(&web, dst, port), expected, "{dst} {port:?}");
        }
        let both = web.network(cidr("203.0.113.7/32"));
        assert!(takes(&both, "203.0.113.7", PacketPort::None));
        assert!(!takes(&both, "203.0.113.8", PacketPort::None));
        assert!(!Interception::none().takes(cidr("203.0.113.7/32").addr, || unreachable!("not read")));
    }

    #[test]
    fn link_local_addresses_must_be_named() {
        let port = PacketPort::One(80);
        for dst in ["169.254.169.254", "fe80::1"] {
            assert!(!takes(&Interception::all(), dst, port), "{dst}");
        }
        let named = Interception::none().network(cidr("169.254.169.254/32")).network(cidr("fe80::/10"));
        for dst in ["169.254.169.254", "fe80::1"] {
            assert!(takes(&named, dst, port), "{dst}");
        }
        assert!(!takes(&named, "169.254.169.253", port));
    }

    #[test]
    fn networks_that_no_packet_can_be_for_are_refused() {
        for good in ["0.0.0.0/0", "::/0", "10.0.0.0/8", "128.0.0.0/1", "fe80::/10"] {
            assert!(Interception::none().network(cidr(good)).is_valid(), "{good}");
        }
        for bad in ["224.0.0.0/4", "239.1.2.3/32", "ff02::1/128", "127.0.0.0/8", "::1/128"] {
            assert!(!Interception::none().network(cidr(bad)).is_valid(), "{bad}");
        }
        let too_long = Cidr { prefix_len: 33, ..Cidr::ANY_V4 };
        assert!(!Interception::none().network(too_long).is_valid());
        #[expect(clippy::reversed_empty_ranges, reason = "a mistake of the program")]
        let nothing = Interception::none().ports(Cidr::ANY_V4, 2..=1);
        assert!(!nothing.is_valid());
    }
}
