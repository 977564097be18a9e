//! The calls on multicast memberships, with the errors of Linux, and which datagrams a socket
//! takes.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::common::Env;
use super::kind::{Domain, SocketKind};
use super::memberships::{MEMBERSHIP_BYTES, Membership, SOURCE_BYTES};
use super::record::Socket;
use super::scope::scope_id;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::multicast::{FilterMode, MulticastInterface, SourceFilter};

/// A change of a socket's memberships.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GroupChange<'a> {
    /// IP_ADD_MEMBERSHIP, MCAST_JOIN_GROUP.
    Join,
    /// IP_DROP_MEMBERSHIP, MCAST_LEAVE_GROUP.
    Leave,
    /// IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_SOURCE_GROUP.
    JoinSource(IpAddr),
    /// IP_DROP_SOURCE_MEMBERSHIP, MCAST_LEAVE_SOURCE_GROUP.
    LeaveSource(IpAddr),
    /// IP_BLOCK_SOURCE, MCAST_BLOCK_SOURCE.
    Block(IpAddr),
    /// IP_UNBLOCK_SOURCE, MCAST_UNBLOCK_SOURCE.
    Unblock(IpAddr),
    /// IP_MSFILTER, MCAST_MSFILTER.
    SetFilter(&'a SourceFilter),
}

impl Socket {
    fn memberships(&self) -> &[Membership] {
        let groups = self.protocol.datagrams().and_then(|datagrams| datagrams.groups.as_deref());
        groups.map_or(&[], |groups| &groups.0)
    }

    /// Whether the socket takes a datagram to a group: one that it is a member of, from a source
    /// that it wants to hear, or if it is no member, with IP_MULTICAST_ALL. A connected socket
    /// hears its peer only, and one that is bound to a group of one link only that link.
    pub(super) fn takes_from_group(&self, flow: &FourTuple, iface: InterfaceId) -> bool {
        let Some(datagrams) = self.protocol.datagrams() else { return false };
        let (group, source) = (flow.local.addr, flow.remote.addr);
        let is_peer = datagrams.connected.is_none_or(|connected| connected.remote == flow.remote);
        let is_link = self.bound().is_none_or(|bound| bound.scope == 0 || bound.scope == scope_id(iface));
        is_peer && is_link && self.wants_from_group(group, source, iface)
    }

    /// Whether the memberships of the socket let a packet to a group pass (Linux's `ip_mc_sf_allow`
    /// and `inet6_mc_check`).
    pub(super) fn wants_from_group(&self, group: IpAddr, source: IpAddr, iface: InterfaceId) -> bool {
        let groups = self.protocol.datagrams().and_then(|datagrams| datagrams.groups.as_deref());
        match groups.and_then(|groups| groups.deciding(group, iface)) {
            Some(membership) => membership.filter.allows(source),
            None => self.takes_all(group.is_ipv4()),
        }
    }

    /// Whether the socket has the options of multicast of this family: an IPv4 socket not those of
    /// IPv6, and, as on Linux, a raw IPv6 socket not those of IPv4.
    pub(super) fn has_groups_of(&self, family: Domain) -> bool {
        self.domain == family || (family == Domain::V4 && !matches!(self.kind, SocketKind::Raw(_)))
    }

    /// IP_MULTICAST_ALL or IPV6_MULTICAST_ALL.
    pub(super) fn takes_all(&self, is_v4: bool) -> bool {
        let options = self.options.multicast();
        if is_v4 { options.all.unwrap_or(self.domain == Domain::V4) } else { options.all_v6 }
    }
}

/// The place of a membership in the list.
type Index = usize;

impl Env<'_> {
    /// Changes the memberships of a socket. EPROTO for a stream; ENOPROTOOPT for an IPv6 group on
    /// an IPv4 socket; otherwise the errors of each change.
    pub(super) fn change_groups(
        &mut self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
        change: GroupChange<'_>,
    ) -> Result<()> {
        self.check_family(id, group)?;
        let result = match change {
            GroupChange::Join => self.join(id, group, named, FilterMode::Exclude).map(|_| ()),
            GroupChange::Leave => self.leave(id, group, named),
            GroupChange::JoinSource(source) => self.join_source(id, group, named, source),
            GroupChange::LeaveSource(source) => {
                self.change_source(id, group, named, FilterMode::Include, source, false)
            }
            GroupChange::Block(source) => {
                self.change_source(id, group, named, FilterMode::Exclude, source, true)
            }
            GroupChange::Unblock(source) => {
                self.change_source(id, group, named, FilterMode::Exclude, source, false)
            }
            GroupChange::SetFilter(filter) => self.set_filter(id, group, named, filter),
        };
        self.common.settle(id, Wakeup::NONE);
        result
    }

    /// The filter of a membership (MCAST_MSFILTER). EINVAL for an address that is no group;
    /// EADDRNOTAVAIL if the socket is not a member on this interface, which must be named for IPv6.
    /// On Linux `getsockopt` is EOPNOTSUPP where `setsockopt` is ENOPROTOOPT.
    pub(crate) fn source_filter(
        &self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
    ) -> Result<SourceFilter> {
        if group.is_ipv6() && self.common.record(id)?.domain == Domain::V4 {
            return Err(Error::NotSupported);
        }
        self.check_family(id, group)?;
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let iface = self.network.multicast_interface(group, named);
        let memberships = self.common.record(id)?.memberships();
        let at = iface.and_then(|iface| position_exact(memberships, group, iface, named));
        let one = at.and_then(|at| memberships.get(at));
        one.map(|one| one.filter.clone()).ok_or(Error::AddressNotAvailable)
    }

    fn check_family(&self, id: SocketId, group: IpAddr) -> Result<()> {
        let socket = self.common.record(id)?;
        if !socket.has_groups_of(if group.is_ipv4() { Domain::V4 } else { Domain::V6 }) {
            return Err(Error::ProtocolNotAvailable);
        }
        match socket.kind {
            SocketKind::Stream => Err(Error::ProtocolError),
            _ => socket.protocol.datagrams().map(|_| ()).ok_or(Error::NotSupported),
        }
    }

    /// Joins a group, and returns the place of the membership. EINVAL for an address that is no
    /// group, ENODEV, EADDRINUSE for a member, ENOBUFS at the limits. Linux checks in another order
    /// for IPv6.
    fn join(
        &mut self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
        mode: FilterMode,
    ) -> Result<Index> {
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let memberships = self.common.record(id)?.memberships();
        if group.is_ipv6() && position_v6(memberships, group, named).is_some() {
            return Err(Error::AddressInUse);
        }
        let iface = self.network.multicast_interface(group, named).ok_or(Error::NoDevice)?;
        if memberships.iter().any(|one| one.group == group && one.iface == iface) {
            return Err(Error::AddressInUse);
        }
        let limits = &self.ctx.config.multicast;
        let limit = if group.is_ipv4() { limits.max_memberships_v4 } else { limits.max_memberships_v6 };
        let count = memberships.iter().filter(|one| one.group.is_ipv4() == group.is_ipv4()).count();
        if count >= limit || self.common.is_short_of_memory(MEMBERSHIP_BYTES) {
            return Err(Error::NoBufferSpace);
        }
        let filter = SourceFilter::new(mode, Vec::new());
        self.network.replace_filter(&mut self.ctx, iface, group, None, Some(&filter))?;
        let membership = Membership { group, iface, named, filter, has_list: false };
        self.common.record_mut(id)?.datagrams_mut()?.groups_mut().insert(0, membership);
        Ok(0)
    }

    /// Leaves a group. EADDRNOTAVAIL if the socket is no member; ENODEV if it names no interface
    /// and there is no route to the group. For IPv6 EINVAL if it is no group.
    fn leave(&mut self, id: SocketId, group: IpAddr, named: MulticastInterface) -> Result<()> {
        let iface = self.network.multicast_interface(group, named);
        let memberships = self.common.record(id)?.memberships();
        let at = match group {
            IpAddr::V4(_) => {
                if named == MulticastInterface::Any && iface.is_none() {
                    return Err(Error::NoDevice);
                }
                let is_meant = |one: &Membership| match (iface, named) {
                    (Some(iface), _) => one.iface == iface,
                    (None, MulticastInterface::Address(_)) => one.named == named,
                    // The interface was removed.
                    (None, MulticastInterface::Id(removed)) => one.iface == removed,
                    (None, MulticastInterface::Any) => false,
                };
                memberships.iter().position(|one| one.group == group && is_meant(one))
            }
            IpAddr::V6(_) if !group.is_multicast() => return Err(Error::InvalidArgument),
            IpAddr::V6(_) => position_v6(memberships, group, named),
        };
        self.remove_membership(id, at.ok_or(Error::AddressNotAvailable)?)
    }

    /// Joins a group for one source, or adds the source to a membership. EADDRNOTAVAIL if it is
    /// there, EINVAL if the filter excludes sources, ENOBUFS at the limits.
    fn join_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
        source: IpAddr,
    ) -> Result<()> {
        match self.join(id, group, named, FilterMode::Include) {
            Ok(_) | Err(Error::AddressInUse) => {}
            Err(error) => return Err(error),
        }
        self.change_source(id, group, named, FilterMode::Include, source, true)
    }

    /// Adds a source to the filter of a membership, which must have this mode, or removes it
    /// (Linux's `ip_mc_source` and `ip6_mc_source`). An include filter without sources ends the
    /// membership.
    fn change_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
        mode: FilterMode,
        source: IpAddr,
        is_added: bool,
    ) -> Result<()> {
        if source.is_ipv4() != group.is_ipv4() {
            return Err(Error::AddressNotAvailable);
        }
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        let iface = self.network.multicast_interface(group, named).ok_or(Error::NoDevice)?;
        let memberships = self.common.record(id)?.memberships();
        let at = position(memberships, group, iface, named).ok_or(Error::InvalidArgument)?;
        let one = memberships.get(at).ok_or(Error::InvalidArgument)?;
        if one.filter.mode != mode {
            if one.has_list {
                return Err(Error::InvalidArgument);
            }
            self.store_filter(id, at, SourceFilter::new(mode, Vec::new()), false)?;
        }
        let one = self.common.record(id)?.memberships().get(at).ok_or(Error::InvalidArgument)?;
        let listed = one.filter.sources.iter().position(|&listed| listed == source);
        let mut filter = one.filter.clone();
        if !is_added {
            let listed = listed.ok_or(Error::AddressNotAvailable)?;
            if filter.sources.len() == 1 && mode == FilterMode::Include {
                return self.remove_membership(id, at);
            }
            filter.sources.remove(listed);
            return self.store_filter(id, at, filter, true);
        }
        if filter.sources.len() >= self.max_sources(group) {
            return Err(Error::NoBufferSpace);
        }
        if listed.is_some() {
            return Err(Error::AddressNotAvailable);
        }
        filter.sources.push(source);
        self.store_filter(id, at, filter, true)
    }

    /// Replaces the whole filter of a membership (Linux's `ip_mc_msfilter`). An include filter
    /// without sources ends the membership.
    fn set_filter(
        &mut self,
        id: SocketId,
        group: IpAddr,
        named: MulticastInterface,
        filter: &SourceFilter,
    ) -> Result<()> {
        if filter.sources.len() > self.max_sources(group) {
            return Err(Error::NoBufferSpace);
        }
        if !group.is_multicast() || filter.sources.iter().any(|source| source.is_ipv4() != group.is_ipv4()) {
            return Err(Error::InvalidArgument);
        }
        let iface = self.network.multicast_interface(group, named).ok_or(Error::NoDevice)?;
        if filter.mode == FilterMode::Include && filter.sources.is_empty() {
            return self.leave(id, group, named);
        }
        let memberships = self.common.record(id)?.memberships();
        let at = position_exact(memberships, group, iface, named).ok_or(Error::InvalidArgument)?;
        let mut filter = filter.clone();
        filter.sources.sort_unstable();
        filter.sources.dedup();
        let has_list = !filter.sources.is_empty();
        self.store_filter(id, at, filter, has_list)
    }

    fn max_sources(&self, group: IpAddr) -> usize {
        let limits = &self.ctx.config.multicast;
        if group.is_ipv4() { limits.max_sources_v4 } else { limits.max_sources_v6 }
    }

    /// Stores a new filter of a membership, and updates the interface.
    fn store_filter(&mut self, id: SocketId, at: Index, filter: SourceFilter, has_list: bool) -> Result<()> {
        let bytes = SOURCE_BYTES * filter.sources.len();
        let is_short = self.common.is_short_of_memory(bytes);
        let one = self.common.record_mut(id)?.datagrams_mut()?.groups_mut().get_mut(at);
        let one = one.ok_or(Error::AddressNotAvailable)?;
        if is_short && filter.sources.len() > one.filter.sources.len() {
            return Err(Error::NoBufferSpace);
        }
        let (iface, group) = (one.iface, one.group);
        self.network.replace_filter(&mut self.ctx, iface, group, Some(&one.filter), Some(&filter))?;
        (one.filter, one.has_list) = (filter, has_list);
        Ok(())
    }

    fn remove_membership(&mut self, id: SocketId, at: Index) -> Result<()> {
        let datagrams = self.common.record_mut(id)?.datagrams_mut()?;
        let one = datagrams.groups_mut().remove(at);
        if datagrams.groups_mut().is_empty() {
            datagrams.groups = None;
        }
        match self.network.replace_filter(&mut self.ctx, one.iface, one.group, Some(&one.filter), None) {
            // The interface was removed, and its groups with it.
            Err(Error::NoDevice) => Ok(()),
            left => left,
        }
    }

    /// Ends all memberships of a socket that is closed.
    pub(super) fn leave_all_groups(&mut self, id: SocketId) {
        let Ok(socket) = self.common.record_mut(id) else { return };
        let groups = socket.protocol.datagrams_mut().and_then(|datagrams| datagrams.groups.take());
        let Some(groups) = groups else { return };
        for one in groups.0 {
            // To end a membership takes no room.
            let _ = self.network.replace_filter(&mut self.ctx, one.iface, one.group, Some(&one.filter), None);
        }
        self.common.settle(id, Wakeup::NONE);
    }
}

/// The place of the membership that a call about sources means.
fn position(
    memberships: &[Membership],
    group: IpAddr,
    iface: InterfaceId,
    named: MulticastInterface,
) -> Option<Index> {
    if group.is_ipv6() {
        return position_v6(memberships, group, named);
    }
    memberships.iter().position(|one| one.group == group && one.iface == iface)
}

/// The place of the membership that a call about a whole filter means: for IPv6 the interface must
/// be named.
fn position_exact(
    memberships: &[Membership],
    group: IpAddr,
    iface: InterfaceId,
    named: MulticastInterface,
) -> Option<Index> {
    if group.is_ipv6() && named == MulticastInterface::Any {
        return None;
    }
    memberships.iter().position(|one| one.group == group && one.iface == iface)
}

/// For IPv6 a call that names no interface means any membership, the newest first.
fn position_v6(memberships: &[Membership], group: IpAddr, named: MulticastInterface) -> Option<Index> {
    let is_meant = |one: &Membership| match named {
        MulticastInterface::Id(iface) => one.iface == iface,
        MulticastInterface::Any | MulticastInterface::Address(_) => true,
    };
    memberships.iter().position(|one| one.group == group && is_meant(one))
}

#[cfg(test)]
mod tests;
