//! The multicast memberships of a socket.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::interface_id::InterfaceId;
use crate::multicast::{MulticastInterface, SourceFilter};

/// What a membership costs in the account, besides its sources: its entry in the socket's list, the
/// group on the interface, and the entry of the demultiplexer.
pub(super) const MEMBERSHIP_BYTES: usize = 512;
/// What a source of a membership costs.
pub(super) const SOURCE_BYTES: usize = 128;

/// The membership of a socket in one group on one interface.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) group: IpAddr,
    pub(super) iface: InterfaceId,
    /// The address by which the interface was named, if it was. Leaving by an address ends the
    /// membership that was begun with it.
    pub(super) named: MulticastInterface,
    pub(super) filter: SourceFilter,
    /// Whether a source was ever added to the filter. Linux lets the mode change only before.
    pub(super) has_list: bool,
}

/// The memberships of a socket, the newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Memberships(pub(super) Vec<Membership>);

impl Memberships {
    /// The groups, each as often as the socket is a member on some interface.
    pub(super) fn groups(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.iter().map(|membership| membership.group)
    }

    /// The membership that decides about a datagram to this group that came in through this
    /// interface. For IPv6 the interface does not matter: as on Linux the newest membership decides
    /// about all of them.
    pub(super) fn deciding(&self, group: IpAddr, iface: InterfaceId) -> Option<&Membership> {
        let decides = |one: &&Membership| one.group == group && (group.is_ipv6() || one.iface == iface);
        self.0.iter().find(decides)
    }

    /// The bytes for the account.
    pub(super) fn bytes(&self) -> usize {
        let of = |one: &Membership| MEMBERSHIP_BYTES + SOURCE_BYTES * one.filter.sources.len();
        self.0.iter().map(of).sum()
    }
}
