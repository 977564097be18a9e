//! The calls on multicast memberships.

use core::net::IpAddr;

use super::{Owner, call, call_at};
use crate::error::Result;
use crate::multicast::{MulticastInterface, SourceFilter};
use crate::socket::{Descriptor, GroupChange};
use crate::stack::Stack;
use crate::time::Instant;

macro_rules! calls {
    ($($calls:tt)*) => {
        /// Multicast memberships: which groups the host listens to, and from which sources.
        ///
        /// A membership belongs to a socket, a group and an interface. While it lasts, the
        /// interface listens to the group, routers are told so (IGMP, MLD), and datagrams to the
        /// group on the socket's port are delivered to it. A socket that is bound to no address
        /// also gets datagrams to groups that only other sockets have joined, unless
        /// [`MulticastAll`](crate::SocketOption::MulticastAll) is off, as on Linux. `close` ends
        /// the memberships of a socket.
        ///
        /// The interface is an [`InterfaceId`](crate::InterfaceId), the IPv4 address of one, or
        /// [`MulticastInterface::Any`]. A stream is `ProtocolError`, an IPv6 group on an IPv4
        /// socket `ProtocolNotAvailable`. An IPv6 socket may join IPv4 groups.
        ///
        /// ```
        /// use portolan::{
        ///     Config, Domain, Instant, InterfaceConfig, MacAddr, Medium, MulticastInterface, SocketKind, Stack,
        /// };
        ///
        /// let now = Instant::ZERO;
        /// let mut stack = Stack::new(Config::default(), [7; 32], now);
        /// let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 2]));
        /// let iface = stack.add_interface(now, InterfaceConfig::new(medium).address("10.0.0.2/24".parse()?))?;
        /// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
        /// stack.bind(socket, ([239, 1, 2, 3], 5000))?;
        /// stack.join_group(now, socket, "239.1.2.3".parse()?, iface)?;
        /// // One source only.
        /// stack.join_source_group(now, socket, "232.1.2.3".parse()?, "10.0.0.9".parse()?, iface)?;
        /// stack.leave_group(now, socket, "239.1.2.3".parse()?, MulticastInterface::Any)?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        impl Stack {
            $($calls)*
        }

        /// The calls of [`Stack`], for this owner.
        impl Owner<'_> {
            $($calls)*
        }
    };
}

calls! {
    /// Joins a group on an interface (IP_ADD_MEMBERSHIP, IPV6_ADD_MEMBERSHIP, MCAST_JOIN_GROUP).
    /// `InvalidArgument` if `group` is not a group, `NoDevice` if there is no such interface,
    /// `AddressInUse` if the socket is a member, `NoBufferSpace` at the limits of
    /// [`MulticastConfig`](crate::MulticastConfig).
    pub fn join_group(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let iface = iface.into();
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, GroupChange::Join))
    }

    /// Leaves a group (IP_DROP_MEMBERSHIP, IPV6_DROP_MEMBERSHIP, MCAST_LEAVE_GROUP).
    /// `AddressNotAvailable` if the socket is not a member.
    pub fn leave_group(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let iface = iface.into();
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, GroupChange::Leave))
    }

    /// Joins a group for one source, or adds a source to a membership that includes sources
    /// (IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_SOURCE_GROUP). `AddressNotAvailable` if the source is
    /// included, `InvalidArgument` if the membership excludes sources, `NoBufferSpace` at the
    /// limits.
    pub fn join_source_group(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        source: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let (iface, change) = (iface.into(), GroupChange::JoinSource(source));
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, change))
    }

    /// Removes a source from a membership that includes sources; without its last source the
    /// membership ends (IP_DROP_SOURCE_MEMBERSHIP, MCAST_LEAVE_SOURCE_GROUP). `AddressNotAvailable`
    /// if the source is not included, `InvalidArgument` if there is no such membership or it
    /// excludes sources.
    pub fn leave_source_group(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        source: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let (iface, change) = (iface.into(), GroupChange::LeaveSource(source));
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, change))
    }

    /// Excludes a source from a membership (IP_BLOCK_SOURCE, MCAST_BLOCK_SOURCE).
    /// `AddressNotAvailable` if it is excluded, `InvalidArgument` if there is no such membership or
    /// it includes sources, `NoBufferSpace` at the limits.
    pub fn block_source(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        source: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let (iface, change) = (iface.into(), GroupChange::Block(source));
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, change))
    }

    /// Excludes a source no longer (IP_UNBLOCK_SOURCE, MCAST_UNBLOCK_SOURCE). `AddressNotAvailable`
    /// if it is not excluded, `InvalidArgument` if there is no such membership or it includes
    /// sources.
    pub fn unblock_source(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        source: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<()> {
        let (iface, change) = (iface.into(), GroupChange::Unblock(source));
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, change))
    }

    /// Replaces the filter of a membership (IP_MSFILTER, MCAST_MSFILTER). An include filter without
    /// sources ends the membership. `InvalidArgument` if there is no such membership, or if no
    /// interface is named for an IPv6 group,
    /// `NoBufferSpace` for too many sources. A source that is listed twice counts once.
    pub fn set_source_filter(
        &mut self,
        now: Instant,
        d: Descriptor,
        group: IpAddr,
        iface: impl Into<MulticastInterface>,
        filter: &SourceFilter,
    ) -> Result<()> {
        let (iface, change) = (iface.into(), GroupChange::SetFilter(filter));
        call_at(self, now, d, |kind, env, id| kind.change_groups(env, id, group, iface, change))
    }

    /// The filter of a membership (MCAST_MSFILTER). `AddressNotAvailable` if the socket is not a
    /// member on this interface, which must be named for an IPv6 group.
    pub fn source_filter(
        &mut self,
        d: Descriptor,
        group: IpAddr,
        iface: impl Into<MulticastInterface>,
    ) -> Result<SourceFilter> {
        let iface = iface.into();
        call(self, d, |_, env, id| env.source_filter(id, group, iface))
    }
}
