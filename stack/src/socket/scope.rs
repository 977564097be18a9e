//! Bindings, and the scopes (links) of link-local addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::kind::Domain;
use crate::demux::{BoundAddr, BoundKey, FourTuple};
use crate::error::{Error, Result};
use crate::network::InterfaceId;

/// A local address and port that `bind` gave a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) addr: BoundAddr,
    pub(super) port: u16,
    /// The scope id of the interface that it is restricted to, by its link-local address or by
    /// SO_BINDTODEVICE; otherwise 0.
    pub(super) scope: u16,
    /// Whether the program has named the port, and whether it has named an address. Linux's
    /// SOCK_BINDPORT_LOCK and SOCK_BINDADDR_LOCK: `disconnect` leaves these to the socket.
    pub(super) names_port: bool,
    pub(super) names_addr: bool,
}

impl Bound {
    /// The binding of a socket whose program has named neither address nor port.
    pub(super) fn any(addr: BoundAddr) -> Bound {
        Bound { addr, port: 0, scope: 0, names_port: false, names_addr: false }
    }
}

impl Bound {
    /// The same on another device. A link-local address stays on its link without one.
    pub(super) fn on_device(self, device: Option<InterfaceId>) -> Bound {
        let stays = device.is_none() && matches!(self.addr, BoundAddr::One(addr) if is_link_local(addr));
        Bound { scope: if stays { self.scope } else { device.map_or(0, scope_id) }, ..self }
    }

    /// Its key in the tables of bound sockets.
    pub(super) fn key(&self) -> BoundKey {
        BoundKey { addr: self.addr, port: self.port, device: self.scope }
    }
}

/// The scope under which the tables know a flow. As on Linux a link-local peer must come with its
/// scope id (EINVAL); for a link-local address of our own the binding's is used.
pub(super) fn flow_scope(local: IpAddr, remote: IpAddr, scope: u16, bound: Option<Bound>) -> Result<u16> {
    if is_link_local(remote) {
        return if scope == 0 { Err(Error::InvalidArgument) } else { Ok(scope) };
    }
    if is_link_local(local) {
        return Ok(bound.map_or(scope, |bound| bound.scope));
    }
    Ok(if remote.is_multicast() { scope } else { 0 })
}

/// The interface that a scope id names; `None` for 0.
pub(crate) fn iface_of(scope: u16) -> Option<InterfaceId> {
    scope.checked_sub(1).map(InterfaceId)
}

/// The scope id of an interface.
pub(super) fn scope_id(iface: InterfaceId) -> u16 {
    iface.0 + 1
}

/// The scope of a received packet: that of its interface if an address is link-local.
pub(super) fn scope_of(addrs: [IpAddr; 2], iface: InterfaceId) -> u16 {
    if addrs.into_iter().any(is_link_local) { scope_id(iface) } else { 0 }
}

pub(super) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The same flow on another device, unless a link-local address holds it on its link.
pub(super) fn flow_on_device(flow: FourTuple, device: Option<InterfaceId>) -> FourTuple {
    let is_held = is_link_local(flow.local.addr) || is_link_local(flow.remote.addr);
    FourTuple { scope: if is_held { flow.scope } else { device.map_or(0, scope_id) }, ..flow }
}

/// The scope that is named for a peer, or that of the device that the socket is bound to. EINVAL if
/// they differ.
pub(super) fn scope_on(device: Option<InterfaceId>, named: u16) -> Result<u16> {
    match (device.map_or(0, scope_id), named) {
        (device, 0) => Ok(device),
        (0, named) => Ok(named),
        (device, named) if device == named => Ok(named),
        _ => Err(Error::InvalidArgument),
    }
}

/// Whether it is an IPv6 address that stands for an IPv4 address.
pub(super) fn is_mapped(addr: SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some())
}

/// An address as a socket of this family shows it to its program: IPv4 addresses on an IPv6 socket
/// as `::ffff:a.b.c.d`.
pub(super) fn present(domain: Domain, addr: SocketAddr) -> SocketAddr {
    match (domain, addr.ip()) {
        (Domain::V6, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
        _ => addr,
    }
}

/// As in Linux, the destinations 0.0.0.0 and `::` stand for this host.
pub(super) fn loopback_if_unspecified(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        addr => addr,
    }
}

#[cfg(test)]
mod tests;
