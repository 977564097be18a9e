//! The kinds of link.

use super::mac::MacAddr;

/// What kind of link an interface is on.
// Exhaustive: whoever drives a device must handle every kind of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Ethernet II frames, with ARP and NDP.
    Ethernet(MacAddr),
    /// Bare IP packets, as on a TUN device or in a tunnel: no link addresses, no resolution.
    Ip,
}
