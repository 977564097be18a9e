//! The kinds of link.

use super::mac::MacAddr;

/// The kind of link that an interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Medium {
    /// Ethernet II frames, with ARP and NDP; this is the interface's MAC address.
    Ethernet(MacAddr),
    /// Bare IP packets, as on a TUN device or in a tunnel: no link addresses and no neighbour
    /// resolution.
    Ip,
}

impl Medium {
    /// The ARP hardware type, as Linux numbers it: ARPHRD_ETHER, or ARPHRD_NONE as for a TUN
    /// device.
    pub(crate) const fn hardware_type(self) -> u16 {
        match self {
            Medium::Ethernet(_) => 1,
            Medium::Ip => 0xfffe,
        }
    }

    /// Our MAC address on the link, if stations on it have one.
    pub const fn mac(self) -> Option<MacAddr> {
        match self {
            Medium::Ethernet(mac) => Some(mac),
            Medium::Ip => None,
        }
    }
}
