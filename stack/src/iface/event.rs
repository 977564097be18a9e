//! [`NetworkEvent`]: what changed in the links, addresses and routes of a stack.

use alloc::collections::VecDeque;

use super::cidr::Cidr;
use super::routes::Route;
use crate::interface_id::InterfaceId;

/// A change of the links, addresses or routes of a stack, for the program that embeds it
/// ([`Stack::poll_network_event`](crate::Stack::poll_network_event)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkEvent {
    /// An address can be used from now on. On Ethernet, no other station answered the probes for
    /// it.
    AddressUsable {
        /// Its interface.
        iface: InterfaceId,
        /// The address with its prefix length.
        cidr: Cidr,
    },
    /// Another station has the address that was added: it is not used
    /// ([`AddressState::Duplicated`](crate::AddressState::Duplicated)).
    AddressDuplicated {
        /// Its interface.
        iface: InterfaceId,
        /// The address with its prefix length.
        cidr: Cidr,
    },
    /// The preferred lifetime of an address has ended: it is not chosen for new connections while
    /// there is another ([`AddressState::Deprecated`](crate::AddressState::Deprecated)).
    AddressDeprecated {
        /// Its interface.
        iface: InterfaceId,
        /// The address with its prefix length.
        cidr: Cidr,
    },
    /// An address was removed, or its valid lifetime has ended.
    AddressRemoved {
        /// Its interface.
        iface: InterfaceId,
        /// The address with its prefix length.
        cidr: Cidr,
    },
    /// An interface was added.
    InterfaceAdded {
        /// The interface.
        iface: InterfaceId,
    },
    /// An interface was removed, with its addresses and routes.
    InterfaceRemoved {
        /// The interface.
        iface: InterfaceId,
    },
    /// The link of an interface carries frames again.
    LinkUp {
        /// The interface.
        iface: InterfaceId,
    },
    /// The link of an interface carries no frames any more: its device has failed, or
    /// [`Stack::set_link`](crate::Stack::set_link) says so.
    LinkDown {
        /// The interface.
        iface: InterfaceId,
    },
    /// A route was added, by a call or with an address.
    RouteAdded(Route),
    /// A route was removed, by a call or with an address.
    RouteRemoved(Route),
    /// What routers say about name servers and search domains has changed: see
    /// [`Stack::slaac`](crate::Stack::slaac).
    NameServersChanged {
        /// The interface that the routers are on.
        iface: InterfaceId,
    },
    /// Too many events waited, and some were discarded. The state is in
    /// [`Stack::interfaces`](crate::Stack::interfaces) and [`Stack::routes`](crate::Stack::routes).
    Missed,
}

/// The most events that wait for a program, which may never ask for them.
const MAX_EVENTS: usize = 256;

/// Events that wait for the program, oldest first.
#[derive(Debug, Default)]
pub(crate) struct NetworkEvents(VecDeque<NetworkEvent>);

impl NetworkEvents {
    /// Appends an event. If too many wait, all are discarded, because the program has to look at
    /// the state anyway.
    pub(crate) fn push(&mut self, event: NetworkEvent) {
        if self.0.len() >= MAX_EVENTS {
            self.0.clear();
            self.0.push_back(NetworkEvent::Missed);
        }
        self.0.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<NetworkEvent> {
        self.0.pop_front()
    }
}
