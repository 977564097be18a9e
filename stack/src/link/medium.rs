//! The kinds of link.

use super::mac::MacAddr;

/// The kind of link that an interface is on.
// Exhaustive: every driver of a device must handle every kind of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Ethernet II frames, with ARP and NDP; this is the interface's MAC address.
    Ethernet(MacAddr),
    /// Bare IP packets, as on a TUN device or in a tunnel: no link addresses and no neighbour
    /// resolution.
    Ip,
}
