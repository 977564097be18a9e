//! `bind`: turns the address that a program names into the socket's binding, and takes its port.

use core::net::{IpAddr, SocketAddr};

use super::common::{Common, Env};
use super::kind::Domain;
use super::record::Socket;
use super::scope::{Bound, is_link_local};
use crate::config::Config;
use crate::demux::{BoundAddr, BoundTable, FourTuple};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::network::Network;
use crate::ports::{Binding, PortTable};
use crate::rng::Rng;
use crate::steering::Share;

impl Socket {
    /// The binding of a socket that is bound to no address. An IPv6 socket takes both families if
    /// `takes_v4` is set and IPV6_V6ONLY is not.
    pub(super) fn any_addr(&self, takes_v4: bool) -> BoundAddr {
        match self.domain {
            Domain::V4 => BoundAddr::AnyV4,
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
        let socket = self.record(id)?;
        if socket.bound().is_some() {
            return Err(Error::InvalidArgument);
        }
        let (endpoint, scope) = socket.accept_addr(addr)?;
        let is_mapped = endpoint.addr.is_ipv4() && socket.domain == Domain::V6;
        let addr = if endpoint.addr.is_unspecified() && is_mapped {
            BoundAddr::AnyV4
        } else if endpoint.addr.is_unspecified() {
            any
        } else {
            let is_group = endpoint.addr.is_multicast() || network.is_broadcast(endpoint.addr);
            let is_allowed = is_group && groups == Groups::Allowed;
            if !is_allowed && !network.is_local(endpoint.addr) {
                return Err(Error::AddressNotAvailable);
            }
            BoundAddr::One(endpoint.addr)
        };
        // RFC 4007 §6: a link-local address belongs to the link that its scope id names.
        if is_link_local(endpoint.addr) && scope == 0 {
            return Err(Error::InvalidArgument);
        }
        Ok(Bound { addr, port: endpoint.port, scope })
    }
}

/// Takes the port of a binding, or draws one for port 0. EADDRINUSE.
pub(super) fn bind_port(
    env: &mut Env<'_>,
    ports: &mut PortTable<SocketId>,
    id: SocketId,
    wanted: Bound,
) -> Result<Bound> {
    let socket = env.common.record_mut(id)?;
    let binding = Binding { id, addr: wanted.addr, reuse: socket.options.reuse(), listening: false };
    let port = ports.bind(env.ctx.rng, wanted.port, binding)?;
    let bound = Bound { port, ..wanted };
    socket.set_bound(bound);
    Ok(bound)
}

/// The ports of a kind of socket that is found by its binding as soon as it is bound.
#[derive(Debug)]
pub(super) struct BoundPorts {
    ports: PortTable<SocketId>,
    bound: BoundTable<SocketId>,
}

impl BoundPorts {
    pub(super) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        BoundPorts {
            bound: BoundTable::new(rng),
            ports: PortTable::new(config.ephemeral_ports, true, rng).with_share(share.cloned()),
        }
    }

    pub(super) fn bind(&mut self, env: &mut Env<'_>, id: SocketId, wanted: Bound) -> Result<()> {
        let Bound { addr, port, .. } = bind_port(env, &mut self.ports, id, wanted)?;
        let reuse_port = env.common.record(id)?.options.reuse_port;
        self.bound.insert(addr, port, id, reuse_port);
        Ok(())
    }

    /// Removes the socket's binding from the look-up. The socket keeps its port.
    pub(super) fn hide(&mut self, id: SocketId, Bound { addr, port, .. }: Bound) {
        self.bound.remove(addr, port, id);
    }

    pub(super) fn release(&mut self, id: SocketId, bound: Bound) {
        self.hide(id, bound);
        self.ports.unbind(bound.port, id);
    }

    /// Updates SO_REUSEADDR and SO_REUSEPORT in the port table: Linux checks their current values,
    /// not those at the time of `bind`.
    pub(super) fn renew_reuse(&mut self, common: &Common, id: SocketId) {
        if let Some(socket) = common.records.get(id)
            && let Some(Bound { port, .. }) = socket.bound()
        {
            let reuse = socket.options.reuse();
            self.ports.change(port, id, |binding| binding.reuse = reuse);
        }
    }

    /// The socket that receives a packet of this flow.
    pub(super) fn find(&self, flow: &FourTuple) -> Option<SocketId> {
        self.bound.find(flow)
    }

    /// Every socket that receives a broadcast or multicast packet to this address and port.
    pub(super) fn all(&self, dst: IpAddr, port: u16) -> impl Iterator<Item = SocketId> + '_ {
        self.bound.all(dst, port)
    }
}
