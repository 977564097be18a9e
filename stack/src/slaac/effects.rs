//! [`Effects`]: what an advertisement or a timer changes.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::iface::address::AddressLifetime;
use crate::iface::cidr::Cidr;
use crate::link::router_advertisement::RouterPreference;

/// A change of an interface or of its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlaacChange {
    /// Asks all routers to advertise now.
    Solicit,
    /// Adds a route, or puts it elsewhere among those with the same destination.
    SetRoute {
        destination: Cidr,
        gateway: Option<IpAddr>,
        preference: RouterPreference,
        is_suspect: bool,
    },
    RemoveRoute {
        destination: Cidr,
        gateway: Option<IpAddr>,
    },
    AddAddress {
        cidr: Cidr,
        lifetime: AddressLifetime,
        is_temporary: bool,
    },
    SetLifetime {
        addr: IpAddr,
        lifetime: AddressLifetime,
    },
    RemoveAddress(IpAddr),
    SetHopLimit(u8),
    SetMtu(usize),
    /// REACHABLE_TIME and RETRANS_TIMER of the neighbour cache.
    SetTimes {
        reachable: Option<Duration>,
        retransmit: Option<Duration>,
    },
    /// A name server or search domain came or went.
    NamesChanged,
}

/// What an advertisement or a timer changes, and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) changes: Vec<SlaacChange>,
    /// Options, and parts of them, that no host can use.
    pub(crate) unusable: usize,
    /// Those for which a table has no room.
    pub(crate) without_room: usize,
}

impl Effects {
    /// How many addresses the changes add.
    pub(super) fn added_addresses(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, SlaacChange::AddAddress { .. })).count()
    }

    /// Notes that name servers or search domains changed.
    pub(super) fn note_names(&mut self) {
        if !self.changes.contains(&SlaacChange::NamesChanged) {
            self.changes.push(SlaacChange::NamesChanged);
        }
    }
}
