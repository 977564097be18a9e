//! Paths: whether an address is ours, and the route, next hop, source address and MTU to another.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;
use crate::error::{Error, Result};
use crate::iface::interface::{IPV6_MIN_MTU, Interface};
use crate::iface::source;
use crate::iface::zone::Zone;
use crate::interface_id::InterfaceId;
use crate::ip::is_link_local;
use crate::ip::pmtu::PathMtu;
use crate::link::mac::MacAddr;
use crate::offload::{Offloads, SegmentKind};
use crate::rate_limit::PeerKey;
use crate::time::Instant;

/// The largest packet on the loopback: both families can express this length.
const LOOPBACK_MTU: usize = 65535;

/// The path of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoutingDecision {
    /// To this host: it appears to come in through this interface.
    Local(InterfaceId),
    /// Out through an interface.
    Link(Hop),
}

/// The next hop of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) iface: InterfaceId,
    /// The address of the gateway, or of the destination itself.
    pub(super) next: IpAddr,
    pub(super) station: Station,
}

/// The receiver of a frame on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Station {
    /// The station that has the next hop's address.
    Neighbor,
    /// A group's or the broadcast address.
    Group(MacAddr),
}

impl Network {
    /// The zone of an interface; for `None` and the loopback zone 0.
    #[inline]
    pub(crate) fn zone_of(&self, iface: Option<InterfaceId>) -> Zone {
        if !self.has_zones {
            return Zone::DEFAULT;
        }
        iface.and_then(|iface| self.interface(iface)).map_or(Zone::DEFAULT, |interface| interface.zone)
    }

    /// Whether an interface is in another zone than zone 0: what the tables know about its
    /// addresses has it in the key.
    #[inline]
    pub(crate) fn is_apart(&self, iface: InterfaceId) -> bool {
        self.zone_of(Some(iface)).is_apart()
    }

    /// The interface that a flow with this scope belongs to because of its zone.
    #[inline]
    pub(crate) fn apart_interface(&self, scope: u16) -> Option<InterfaceId> {
        scope.checked_sub(1).map(InterfaceId).filter(|&iface| self.is_apart(iface))
    }

    /// The scope of a flow if its zone is not zone 0; otherwise 0, whatever the scope.
    #[inline]
    pub(crate) fn zone_scope(&self, scope: u16) -> u16 {
        if scope != 0 && self.apart_interface(scope).is_some() { scope } else { 0 }
    }

    /// Whether packets to this address stay on this host: it is one of our addresses in use, or a
    /// loopback address. `via` names the zone, as in the functions below: an interface of it, or
    /// `None` for zone 0.
    pub(crate) fn is_local(&self, addr: IpAddr, via: Option<InterfaceId>) -> bool {
        let zone = self.zone_of(via);
        let is_own = |interface: &Interface| interface.owns(addr) && interface.zone == zone;
        addr.is_loopback() || self.interfaces.iter().any(is_own)
    }

    /// The interface that has this address, in whatever state.
    pub(crate) fn interface_with(&self, addr: IpAddr, via: Option<InterfaceId>) -> Option<InterfaceId> {
        if addr.is_loopback() {
            return Some(InterfaceId::LOOPBACK);
        }
        let zone = self.zone_of(via);
        let has = |interface: &&Interface| interface.address_state(addr).is_some() && interface.zone == zone;
        self.interfaces.iter().find(has).map(|interface| interface.id)
    }

    /// The interface that sockets bound to a device see a packet to `dst` come in through. As on
    /// Linux, for a packet from this host to itself it is the one that has the address.
    #[cold]
    pub(crate) fn device_of(&self, iface: InterfaceId, dst: IpAddr) -> InterfaceId {
        match iface {
            InterfaceId::LOOPBACK => self.interface_with(dst, None).unwrap_or(iface),
            iface => iface,
        }
    }

    /// Whether it is 255.255.255.255 or the broadcast address of one of our networks.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: IpAddr, via: Option<InterfaceId>) -> bool {
        match addr {
            IpAddr::V4(addr) => {
                let zone = self.zone_of(via);
                let is_of = |interface: &Interface| interface.is_broadcast(addr) && interface.zone == zone;
                addr.is_broadcast() || self.interfaces.iter().any(is_of)
            }
            IpAddr::V6(_) => false,
        }
    }

    /// The source address for this destination (by route, then RFC 6724).
    pub(crate) fn source_for(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<IpAddr> {
        match self.path(dst, iface)? {
            RoutingDecision::Local(_) if dst.is_ipv4() && (dst.is_loopback() || dst.is_multicast()) => {
                Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            RoutingDecision::Local(_) if dst.is_multicast() => Ok(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            RoutingDecision::Local(_) => Ok(dst),
            RoutingDecision::Link(hop) => {
                let zone = self.zone_of(Some(hop.iface));
                let of_zone = self.interfaces.iter().filter(|interface| interface.zone == zone);
                let candidates = of_zone.flat_map(Interface::candidates);
                let source = source::select(dst, hop.next, hop.iface, candidates);
                source.ok_or(Error::AddressNotAvailable)
            }
        }
    }

    /// Checks that there is a path to this destination for a socket that is bound to an address.
    /// EINVAL if that is a loopback address and the path leaves this host.
    pub(crate) fn check_route(&self, src: IpAddr, dst: IpAddr, iface: Option<InterfaceId>) -> Result<()> {
        match self.path(dst, iface)? {
            RoutingDecision::Link(_) if src.is_loopback() => Err(Error::InvalidArgument),
            _ => Ok(()),
        }
    }

    /// ENETUNREACH if the way to this destination leads through a gateway.
    pub(crate) fn check_on_link(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<()> {
        match self.path(dst, iface)? {
            RoutingDecision::Link(hop) if hop.next != dst => Err(Error::NetworkUnreachable),
            _ => Ok(()),
        }
    }

    /// The interface that a packet to `dst` must leave through, if the scope of its address or the
    /// sender names one. ENODEV if that interface does not exist; EINVAL if the two name different
    /// ones.
    pub(crate) fn named_interface(
        &self,
        dst: IpAddr,
        scope: Option<InterfaceId>,
        named: Option<InterfaceId>,
    ) -> Result<Option<InterfaceId>> {
        match (scope, named) {
            (scope, None) => Ok(scope),
            // For a packet to this host, naming the loopback is always right.
            (scope, Some(InterfaceId::LOOPBACK)) if self.is_local(dst, scope) => Ok(scope),
            (_, Some(InterfaceId::LOOPBACK)) if dst.is_multicast() => Ok(named),
            (_, Some(named)) if self.interface(named).is_none() => Err(Error::NoDevice),
            (Some(scope), Some(named)) if scope != named => Err(Error::InvalidArgument),
            (_, named) => Ok(named),
        }
    }

    /// Checks whether a packet to `dst` may come from `src`, and returns `src`: one of our
    /// addresses, and if it is link-local, on the named interface; or one that an interface
    /// intercepts, so that its packets are answered. The errors are those of Linux
    /// 6.18: EINVAL, and ENETUNREACH for an IPv4 address of another host.
    pub(crate) fn check_source(
        &self,
        src: IpAddr,
        dst: IpAddr,
        iface: Option<InterfaceId>,
    ) -> Result<IpAddr> {
        let is_own = match iface.and_then(|iface| self.interface(iface)) {
            Some(interface) if is_link_local(src) => interface.owns(src),
            None if is_link_local(src) => false,
            _ => self.is_local(src, iface),
        };
        let is_own = is_own || self.intercepts_address(src, iface);
        if !is_own && src.is_ipv4() && !src.is_multicast() && src != Ipv4Addr::BROADCAST {
            return Err(Error::NetworkUnreachable);
        }
        if !is_own || !self.may_leave_from(src, self.path(dst, iface)?) {
            return Err(Error::InvalidArgument);
        }
        Ok(src)
    }

    /// The size of the largest IP packet to this destination: the link's MTU, or a smaller path MTU
    /// that was learned. Without a path, the smallest MTU that a link may have.
    pub(crate) fn path_mtu(&self, now: Instant, dst: IpAddr, iface: Option<InterfaceId>) -> usize {
        self.path(dst, iface).map_or(IPV6_MIN_MTU, |path| self.mtu_of(now, dst, path))
    }

    /// The MTU of the first link on the path to this destination: no larger packet can come back
    /// that way.
    pub(crate) fn link_mtu(&self, dst: IpAddr, iface: Option<InterfaceId>) -> usize {
        self.path(dst, iface).map_or(IPV6_MIN_MTU, |path| self.link_mtu_of(path))
    }

    /// Stores a path MTU from a "packet too big" that a transport has validated: packets to `dst`
    /// have at most `mtu` bytes for a while.
    pub(crate) fn learn_path_mtu(
        &mut self,
        now: Instant,
        dst: IpAddr,
        iface: Option<InterfaceId>,
        mtu: usize,
    ) {
        if let Ok(path @ RoutingDecision::Link(hop)) = self.path(dst, iface) {
            let current = self.mtu_of(now, dst, path);
            self.path_mtus.learn(now, dst, hop.iface, mtu, current);
        }
    }

    /// Notes that an upper layer made progress with this host (RFC 4861 §7.3.1), so that its
    /// neighbour entry is not probed.
    pub(crate) fn confirm_reachable(&mut self, now: Instant, dst: IpAddr, iface: Option<InterfaceId>) {
        if let Ok(RoutingDecision::Link(Hop { iface, next, station: Station::Neighbor })) =
            self.path(dst, iface)
            && let Some(interface) = self.interface_mut(iface)
        {
            interface.neighbors.confirm(now, next);
        }
    }

    /// The key under which packets to this address count in rate limits; `None` for this host
    /// itself, which has no limits.
    pub(crate) fn peer(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Option<PeerKey> {
        match self.path(dst, iface) {
            Ok(RoutingDecision::Link(hop)) if self.is_apart(hop.iface) => {
                Some(PeerKey::apart(dst, hop.iface))
            }
            Ok(RoutingDecision::Link(hop)) => Some(PeerKey::host(dst, hop.next == dst)),
            Ok(RoutingDecision::Local(_)) => None,
            Err(_) => Some(PeerKey::host(dst, false)),
        }
    }

    /// Whether the device on the path to this destination cuts runs of this protocol's segments.
    pub(crate) fn can_cut(&self, dst: IpAddr, iface: Option<InterfaceId>, kind: SegmentKind) -> bool {
        match self.path(dst, iface) {
            Ok(RoutingDecision::Link(hop)) => self.offloads_of(hop.iface).cuts(kind),
            Ok(RoutingDecision::Local(_)) | Err(_) => false,
        }
    }

    #[inline]
    pub(super) fn offloads_of(&self, iface: InterfaceId) -> Offloads {
        self.interface(iface).map_or(Offloads::NONE, |interface| interface.offloads)
    }

    /// Finds the path to a destination, through this interface if one is named.
    pub(super) fn path(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<RoutingDecision> {
        if dst.is_unspecified() {
            return Err(Error::NetworkUnreachable);
        }
        if let Some(local) = self.local_interface(dst, iface) {
            return Ok(RoutingDecision::Local(local));
        }
        if let Some(mac) = group_mac(dst) {
            let iface = self.interface_for_group(dst, iface)?;
            if iface == InterfaceId::LOOPBACK {
                return Ok(RoutingDecision::Local(iface));
            }
            return Ok(RoutingDecision::Link(Hop { iface, next: dst, station: Station::Group(mac) }));
        }
        let (iface, next) = match iface {
            // A link-local address is always on the link itself.
            Some(iface) if is_link_local(dst) => (iface, dst),
            _ => match (self.routes.lookup(dst, iface), iface) {
                (Some(route), _) => (route.iface, route.gateway.unwrap_or(dst)),
                // As Linux 6.18 for IPv4 only: without a route through the named interface, every
                // address is taken to be on its link.
                (None, Some(iface)) if dst.is_ipv4() => (iface, dst),
                (None, _) => return Err(Error::NetworkUnreachable),
            },
        };
        let interface = self.interface(iface).ok_or(Error::NetworkUnreachable)?;
        let station = match next {
            IpAddr::V4(next) if interface.is_broadcast(next) => Station::Group(MacAddr::BROADCAST),
            _ => Station::Neighbor,
        };
        Ok(RoutingDecision::Link(Hop { iface, next, station }))
    }

    /// The interface through which packets to `dst` appear to come in, if `dst` is our own.
    /// Link-local addresses are valid only on their own link.
    pub(super) fn local_interface(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Option<InterfaceId> {
        if dst.is_loopback() {
            return Some(InterfaceId::LOOPBACK);
        }
        let (scoped, zone) = (is_link_local(dst), self.zone_of(iface));
        let is_reached = |interface: &Interface| match scoped {
            true => iface.is_none_or(|iface| iface == interface.id),
            false => interface.zone == zone,
        };
        let owner = self.interfaces.iter().find(|interface| interface.owns(dst) && is_reached(interface))?;
        Some(match () {
            () if scoped => owner.id,
            () if owner.zone.is_apart() => iface.unwrap_or(owner.id),
            () => InterfaceId::LOOPBACK,
        })
    }

    /// The interface for a multicast group: the one that is named, that of a route, or the first.
    pub(super) fn interface_for_group(&self, dst: IpAddr, iface: Option<InterfaceId>) -> Result<InterfaceId> {
        let chosen = iface.or_else(|| self.routes.lookup(dst, None).map(|route| route.iface));
        let first = || self.interfaces.iter().find(|interface| !interface.zone.is_apart());
        let chosen = chosen.or_else(|| first().map(|interface| interface.id));
        chosen.filter(|&id| self.groups_of(id).is_some()).ok_or(Error::NetworkUnreachable)
    }

    /// Whether a packet may have this source. Loopback addresses never leave the host (RFC 1122
    /// §3.2.1.3 (g), RFC 4291 §2.5.3), and no host is a group.
    pub(super) fn may_leave_from(&self, src: IpAddr, path: RoutingDecision) -> bool {
        let (RoutingDecision::Link(Hop { iface, .. }) | RoutingDecision::Local(iface)) = path;
        let is_host = !src.is_unspecified() && !src.is_multicast() && !self.is_broadcast(src, Some(iface));
        is_host && (matches!(path, RoutingDecision::Local(_)) || !src.is_loopback())
    }

    fn mtu_of(&self, now: Instant, dst: IpAddr, path: RoutingDecision) -> usize {
        self.path_mtu_of(now, dst, path).mtu
    }

    #[inline]
    pub(super) fn path_mtu_of(&self, now: Instant, dst: IpAddr, path: RoutingDecision) -> PathMtu {
        let link = PathMtu { mtu: self.link_mtu_of(path), needs_fragments: false };
        let RoutingDecision::Link(hop) = path else { return link };
        let learned = self.path_mtus.lookup(now, dst, hop.iface);
        learned.map_or(link, |path| PathMtu { mtu: path.mtu.min(link.mtu), ..path })
    }

    #[inline]
    pub(super) fn link_mtu_of(&self, path: RoutingDecision) -> usize {
        let RoutingDecision::Link(hop) = path else { return LOOPBACK_MTU };
        self.interface(hop.iface).map_or(IPV6_MIN_MTU, |interface| interface.mtu_for(hop.next))
    }

    /// The interface through which a packet from this host to itself appears to come in.
    pub(super) fn looped_through(&self, src: IpAddr, dst: IpAddr) -> InterfaceId {
        if dst.is_multicast() || self.is_broadcast(dst, None) {
            // The interface that the packet left through, as far as its addresses tell.
            let owner = self.interfaces.iter().find(|interface| interface.owns(src));
            return owner.map_or(InterfaceId::LOOPBACK, |interface| interface.id);
        }
        let scoped = [src, dst].into_iter().find(|&addr| is_link_local(addr));
        scoped.and_then(|addr| self.local_interface(addr, None)).unwrap_or(InterfaceId::LOOPBACK)
    }
}

/// The MAC address of a multicast group or of 255.255.255.255, which need no route.
fn group_mac(dst: IpAddr) -> Option<MacAddr> {
    match dst {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        _ => MacAddr::for_group(dst),
    }
}
