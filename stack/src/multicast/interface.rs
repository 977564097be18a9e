//! The groups of both families on one interface, and their MAC addresses.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::ALL_SYSTEMS;
use super::filter::SourceFilter;
use super::group::MembershipChange;
use super::host::{GroupHost, GroupProtocol};
use super::message::{GroupMessage, Message};
use crate::config::MulticastConfig;
use crate::link::mac::MacAddr;
use crate::link::ndp;
use crate::rng::Rng;
use crate::time::Instant;

/// The groups that an interface listens to.
#[derive(Debug)]
pub(crate) struct InterfaceGroups {
    v4: GroupHost,
    v6: GroupHost,
    /// The MAC addresses of the groups, with the number of groups that each stands for.
    macs: BTreeMap<MacAddr, u32>,
    /// Whether memberships are reported to routers: not on the loopback.
    is_reporting: bool,
    /// Whether memberships of the stack itself, in the groups of its addresses, are reported.
    pub(crate) is_reporting_own: bool,
}

impl InterfaceGroups {
    /// The groups of every host only: 224.0.0.1 (RFC 1112 §4) and ff02::1 (RFC 4291 §2.8).
    pub(crate) fn new(config: &MulticastConfig, is_reporting: bool) -> Self {
        let mut groups = InterfaceGroups {
            v4: GroupHost::new(GroupProtocol::Igmp, config),
            v6: GroupHost::new(GroupProtocol::Mld, config),
            macs: BTreeMap::new(),
            is_reporting,
            is_reporting_own: is_reporting,
        };
        for group in [IpAddr::V4(ALL_SYSTEMS), IpAddr::V6(ndp::ALL_NODES)] {
            groups.join_own(Instant::ZERO, group);
        }
        groups
    }

    fn host(&self, group: IpAddr) -> &GroupHost {
        if group.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn host_mut(&mut self, group: IpAddr) -> &mut GroupHost {
        if group.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    /// The groups with members, sorted.
    pub(crate) fn list(&self) -> Vec<IpAddr> {
        self.v4.groups().chain(self.v6.groups()).collect()
    }

    /// Whether the interface listens to this group.
    pub(crate) fn is_member(&self, group: IpAddr) -> bool {
        self.host(group).allows(group, group).is_some()
    }

    /// Whether a member of this group wants packets from this source; `None` if the group has no
    /// members.
    pub(crate) fn allows(&self, group: IpAddr, source: IpAddr) -> Option<bool> {
        self.host(group).allows(group, source)
    }

    /// Whether frames to this group MAC address are for this interface.
    pub(crate) fn has_mac(&self, mac: MacAddr) -> bool {
        self.macs.contains_key(&mac)
    }

    /// The number of sources that the members of this group list.
    pub(crate) fn source_count(&self, group: IpAddr) -> usize {
        self.host(group).source_count(group)
    }

    /// Replaces the filter of a member: `old` is `None` for a new one, `new` for one that leaves.
    pub(crate) fn replace(
        &mut self,
        now: Instant,
        group: IpAddr,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
    ) {
        self.change(now, group, old, new, !self.is_reporting);
    }

    /// Makes the stack itself a member, because it needs the group.
    fn join_own(&mut self, now: Instant, group: IpAddr) {
        self.change(now, group, None, Some(&SourceFilter::EVERY_SOURCE), !self.is_reporting_own);
    }

    /// Ends a membership of the stack itself.
    fn leave_own(&mut self, now: Instant, group: IpAddr) {
        self.change(now, group, Some(&SourceFilter::EVERY_SOURCE), None, !self.is_reporting_own);
    }

    /// Joins the solicited-node group of an IPv6 address (RFC 4291 §2.8).
    pub(crate) fn join_solicited_node(&mut self, now: Instant, addr: IpAddr) {
        if let IpAddr::V6(addr) = addr {
            self.join_own(now, ndp::solicited_node(addr).into());
        }
    }

    /// Leaves the solicited-node group of an address that is no longer used.
    pub(crate) fn leave_solicited_node(&mut self, now: Instant, addr: IpAddr) {
        if let IpAddr::V6(addr) = addr {
            self.leave_own(now, ndp::solicited_node(addr).into());
        }
    }

    /// Joins or leaves the groups of all routers on the link and in the site.
    pub(crate) fn set_router(&mut self, now: Instant, is_router: bool) {
        for group in ndp::ALL_ROUTERS {
            if is_router { self.join_own(now, group.into()) } else { self.leave_own(now, group.into()) }
        }
    }

    fn change(
        &mut self,
        now: Instant,
        group: IpAddr,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
        is_silent: bool,
    ) {
        let change = self.host_mut(group).replace(now, group, old, new, is_silent);
        let Some(mac) = MacAddr::for_group(group) else { return };
        match change {
            MembershipChange::Joined => *self.macs.entry(mac).or_default() += 1,
            MembershipChange::Left => {
                if let Some(count) = self.macs.get_mut(&mac) {
                    *count -= 1;
                    if *count == 0 {
                        self.macs.remove(&mac);
                    }
                }
            }
            MembershipChange::Filter => {}
        }
    }

    /// The IPv6 link-local address can be used from now on: reports that came from the unspecified
    /// address are sent again.
    pub(crate) fn on_link_local_address(&mut self, now: Instant) {
        self.v6.report_again(now);
    }

    /// Sends all reports again: the link has come up, or has another MAC address, and its switches
    /// and routers may not know what this station listens to.
    pub(crate) fn report_again(&mut self, now: Instant) {
        self.v4.report_again(now);
        self.v6.report_again(now);
    }

    /// Handles a message of a router or another host, of the family of `src`.
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        src: IpAddr,
        message: &GroupMessage,
    ) {
        let host = self.host_mut(src);
        match message {
            GroupMessage::Query(query) => host.handle_query(now, rng, query),
            GroupMessage::OldReport(group) => host.handle_old_report(now, *group),
            GroupMessage::ForRouters => {}
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.v4.poll_timeout().into_iter().chain(self.v6.poll_timeout()).min()
    }

    /// The messages that are due, for IPv4 and for IPv6, none of which is longer than this many
    /// bytes.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        [max_len_v4, max_len_v6]: [usize; 2],
    ) -> [Vec<Message>; 2] {
        [self.v4.handle_timeout(now, rng, max_len_v4), self.v6.handle_timeout(now, rng, max_len_v6)]
    }
}
