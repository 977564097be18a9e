//! `bind`: turns the address that a program names into the socket's binding, and takes its port.

use alloc::boxed::Box;
use core::net::{Ipv6Addr, SocketAddr};

use super::common::{Common, Env};
use super::kind::Domain;
use super::record::Socket;
use super::scope::{Bound, iface_of, is_link_local, scope_id};
use crate::demux::BoundAddr;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::interface_id::InterfaceId;
use crate::network::Network;
use crate::ports::{Binding, PortTable, WantedPort};
use crate::socket::port_selector::{BoundSockets, PortSelector};

impl Socket {
    /// The binding that a call gives a socket which its program has not bound.
    pub(super) fn default_binding(&self, takes_v4: bool) -> Bound {
        let scope = self.options.device.map_or(0, scope_id);
        Bound { scope, ..Bound::any(self.any_addr(takes_v4)) }
    }

    /// Whether it is bound to a port: a socket with IP_BIND_ADDRESS_NO_PORT may be bound to an
    /// address only.
    pub(super) fn has_port(&self) -> bool {
        self.bound().is_some_and(|bound| bound.port != 0)
    }

    /// Whether `bind` to this address leaves the port open (IP_BIND_ADDRESS_NO_PORT).
    pub(super) fn defers_port(&self, wanted: &Bound) -> bool {
        wanted.port == 0 && self.options.ip.bind_address_no_port
    }

    /// The interface that it is bound to, by SO_BINDTODEVICE or by a link-local address.
    pub(super) fn device(&self) -> Option<InterfaceId> {
        let flow = self.protocol.state().flow().map_or(0, |flow| flow.scope);
        let scope = self.bound().map_or(0, |bound| bound.scope).max(flow);
        iface_of(scope).or(self.options.device)
    }

    /// The binding of a socket that is bound to no address. An IPv6 socket takes both families if
    /// `takes_v4` is set and IPV6_V6ONLY is not.
    pub(super) fn any_addr(&self, takes_v4: bool) -> BoundAddr {
        match self.domain {
            Domain::V4 | Domain::Unix => BoundAddr::AnyV4,
            Domain::V6 if takes_v4 && !self.options.ip.v6_only => BoundAddr::AnyDual,
            Domain::V6 => BoundAddr::AnyV6,
        }
    }
}

/// Whether a socket may be bound to a multicast or broadcast address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    Allowed,
    Refused,
}

impl Common {
    /// The binding that `bind` with this address gives to a socket without one; port 0 is drawn
    /// later. `any` is used for the unspecified address.
    pub(super) fn choose_binding(
        &self,
        network: &Network,
        id: SocketId,
        addr: SocketAddr,
        any: BoundAddr,
        groups: Groups,
    ) -> Result<Bound> {
        let wanted = self.resolve_binding(network, id, addr, any, groups);
        let socket = self.record(id)?;
        // Linux compares the address first only over IPv4 (inet_bind, inet6_bind).
        if socket.has_port() && (wanted.is_ok() || socket.domain == Domain::V6) {
            return Err(Error::InvalidArgument);
        }
        wanted
    }

    /// Like [`choose_binding`](Common::choose_binding), whether or not the socket has one.
    pub(super) fn resolve_binding(
        &self,
        network: &Network,
        id: SocketId,
        addr: SocketAddr,
        any: BoundAddr,
        groups: Groups,
    ) -> Result<Bound> {
        let socket = self.record(id)?;
        let (endpoint, scope) = socket.accept_addr(addr)?;
        let device = socket.options.device;
        let is_mapped = endpoint.addr.is_ipv4() && socket.domain == Domain::V6;
        let addr = if endpoint.addr.is_unspecified() && is_mapped {
            BoundAddr::AnyV4
        } else if endpoint.addr.is_unspecified() {
            any
        } else {
            let is_group = endpoint.addr.is_multicast() || network.is_broadcast(endpoint.addr, device);
            let is_allowed = is_group && groups == Groups::Allowed;
            let may_come = socket.options.ip.free_bind && !is_group;
            if !(is_allowed || may_come || network.is_local(endpoint.addr, device)) {
                return Err(Error::AddressNotAvailable);
            }
            BoundAddr::One(endpoint.addr)
        };
        // As on Linux a scope id overrides the device that the socket is bound to.
        let scope = if scope == 0 { socket.options.device.map_or(0, scope_id) } else { scope };
        // RFC 4007 §6: a link-local address belongs to the link that its scope id names.
        if is_link_local(endpoint.addr) && scope == 0 {
            return Err(Error::InvalidArgument);
        }
        if endpoint.addr == Ipv6Addr::LOCALHOST
            && !matches!(iface_of(scope), None | Some(InterfaceId::LOOPBACK))
        {
            return Err(Error::AddressNotAvailable);
        }
        let (names_port, names_addr) = (endpoint.port != 0, matches!(addr, BoundAddr::One(_)));
        Ok(Bound { addr, port: endpoint.port, scope, names_port, names_addr })
    }
}

/// Sets how a socket on the port of this one is chosen, or with `None` that the hash decides.
/// `bound`: its binding, if it is in the table. As on Linux EINVAL without SO_REUSEPORT, and ENOENT
/// if there is nothing to take away.
pub(super) fn set_selector(
    env: &mut Env<'_>,
    table: &mut BoundSockets,
    id: SocketId,
    bound: Option<Bound>,
    selector: Option<PortSelector>,
) -> Result<()> {
    let socket = env.common.record_mut(id)?;
    let before = match bound {
        Some(bound) => table.set_selector(bound.key(), id, selector.clone())?,
        None if !socket.options.reuse_port => return Err(Error::InvalidArgument),
        None => socket.options.port_selector.as_deref().cloned(),
    };
    let is_missing = selector.is_none() && before.is_none();
    socket.options.port_selector = selector.map(Box::new);
    if is_missing { Err(Error::NotFound) } else { Ok(()) }
}

/// Takes the port of a binding, or draws one for port 0. EADDRINUSE.
pub(super) fn bind_port(
    env: &mut Env<'_>,
    ports: &mut PortTable<SocketId>,
    id: SocketId,
    wanted: Bound,
) -> Result<Bound> {
    let socket = env.common.record_mut(id)?;
    let (reuse, uid) = (socket.options.reuse(), socket.uid);
    let binding = Binding { id, addr: wanted.addr, device: wanted.scope, reuse, uid, listening: false };
    let range = socket.options.ip.local_port_range;
    let port = ports.bind(env.ctx.rng, WantedPort { port: wanted.port, range }, binding)?;
    let bound = Bound { port, ..wanted };
    socket.set_bound(bound);
    Ok(bound)
}
