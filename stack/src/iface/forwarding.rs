//! [`Forwarding`]: which packets of other hosts an interface takes.

use core::net::IpAddr;

/// Whether packets for other hosts are forwarded that come in through an interface, by family:
/// Linux's `net.ipv4.conf.IFACE.forwarding`, and for IPv6 `force_forwarding`.
///
/// A stack that forwards is a router: it sends packets on by its routes, with a TTL or hop limit
/// one lower, through any interface, the same one included. It sends the ICMP errors of a router
/// (time exceeded, unreachable, too big), fragments IPv4 packets that allow it, and in neighbour
/// advertisements says that it is a router. It sends no redirects and no router advertisements.
/// Packets to and from link-local addresses, multicast and broadcasts stay on their link.
///
/// ```
/// use portolan::{Config, Forwarding, Instant, InterfaceConfig, Medium, Stack};
///
/// let mut router = Stack::new(Config::default(), [7; 32], Instant::ZERO);
/// for (address, name) in [("10.0.0.1/24", "left"), ("10.0.1.1/24", "right")] {
///     let interface = InterfaceConfig::new(Medium::Ip).name(name).address(address.parse()?);
///     router.add_interface(Instant::ZERO, interface.forwarding(Forwarding::ALL))?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarding {
    /// IPv4 packets are forwarded.
    pub v4: bool,
    /// IPv6 packets are forwarded.
    pub v6: bool,
}

impl Forwarding {
    /// Nothing is forwarded: the stack is a host. The default.
    pub const NONE: Forwarding = Forwarding { v4: false, v6: false };
    /// Both families are forwarded.
    pub const ALL: Forwarding = Forwarding { v4: true, v6: true };

    /// The same with or without IPv4.
    pub const fn v4(mut self, v4: bool) -> Forwarding {
        self.v4 = v4;
        self
    }

    /// The same with or without IPv6.
    pub const fn v6(mut self, v6: bool) -> Forwarding {
        self.v6 = v6;
        self
    }

    /// Whether packets of this address's family are forwarded.
    pub(crate) fn of(self, addr: IpAddr) -> bool {
        if addr.is_ipv4() { self.v4 } else { self.v6 }
    }
}
