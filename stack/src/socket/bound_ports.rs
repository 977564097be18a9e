//! The ports of datagram sockets, and the addresses of their datagrams.

use core::net::{IpAddr, SocketAddr};

use super::binding::{Groups, bind_port, set_selector};
use super::common::Env;
use super::datagram_calls::Sources;
use super::groups::GroupChange;
use super::kind::Domain;
use super::message::SendMeta;
use super::options::SocketOption;
use super::record::Socket;
use super::scope::{Bound, iface_of, is_link_local, present};
use super::takers::{Keys, Takers, keys};
use crate::bpf::Filter;
use crate::config::Config;
use crate::demux::{BoundAddr, FourTuple};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::multicast::MulticastInterface;
use crate::ports::PortTable;
use crate::rng::Rng;
use crate::socket::port_selector::{BoundSockets, PortSelector};
use crate::steering::Share;

/// The differences between the kinds of sockets that use [`BoundPorts`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PortRules {
    /// Whether a datagram is sent to a port of its peer, which cannot be 0. Otherwise the port of
    /// the address is ignored.
    pub(super) peers_have_ports: bool,
    /// Whether an IPv6 socket uses IPv4, too, unless IPV6_V6ONLY is set.
    pub(super) is_dual_stack: bool,
    /// Whether `bind` accepts a multicast or broadcast address.
    pub(super) groups: Groups,
}

/// The ports of a kind of socket that is found by its binding as soon as it is bound.
#[derive(Debug)]
pub(super) struct BoundPorts {
    rules: PortRules,
    ports: PortTable<SocketId>,
    bound: BoundSockets,
    /// The sockets that datagrams to groups are for, if `bind` accepts groups.
    takers: Takers,
    /// The most sockets that one datagram to a group or broadcast address goes to.
    max_members: usize,
}

impl BoundPorts {
    pub(super) fn new(rules: PortRules, config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        BoundPorts {
            rules,
            bound: BoundSockets::new(rng),
            takers: Takers::new(config.multicast.max_members, rng),
            max_members: config.multicast.max_members,
            ports: PortTable::new(config.ephemeral_ports, true, rng).with_share(share.cloned()),
        }
    }

    pub(super) fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: SocketAddr) -> Result<()> {
        let any = env.common.record(id)?.any_addr(self.rules.is_dual_stack);
        let wanted = env.common.choose_binding(env.network, id, addr, any, self.rules.groups)?;
        if env.common.record(id)?.defers_port(&wanted) {
            env.common.record_mut(id)?.set_bound(wanted);
            return Ok(());
        }
        self.bind_to(env, id, wanted)
    }

    fn bind_to(&mut self, env: &mut Env<'_>, id: SocketId, wanted: Bound) -> Result<()> {
        let is_one = matches!(wanted.addr, BoundAddr::One(addr) if !env.network.is_broadcast(addr, iface_of(wanted.scope)));
        if !is_one && self.bound.count(wanted.key()) >= self.max_members {
            return Err(Error::NoBufferSpace);
        }
        let before = keys(env.common.record(id)?);
        let bound = bind_port(env, &mut self.ports, id, wanted)?;
        let socket = env.common.record(id)?;
        let reuse_port = socket.options.reuse_port;
        if let Err(error) = self.update_takers(socket, id, &before) {
            self.ports.unbind(bound.port, id);
            env.common.record_mut(id)?.take_bound();
            return Err(error);
        }
        let selector = env.common.record(id)?.options.port_selector.as_deref();
        self.bound.insert(bound.key(), id, reuse_port, selector);
        Ok(())
    }

    /// Notes a change of what the socket takes of datagrams to groups, which was under the keys
    /// `before`. ENOBUFS if there are too many sockets that take the same.
    pub(super) fn update_takers(&mut self, socket: &Socket, id: SocketId, before: &Keys) -> Result<()> {
        if self.rules.groups == Groups::Refused {
            return Ok(());
        }
        self.takers.update(id, before, &keys(socket))
    }

    /// Forgets what a socket takes of datagrams to groups, which was under the keys `before`.
    pub(super) fn forget_taker(&mut self, id: SocketId, before: &Keys) {
        // To remove a socket takes no room.
        let _ = self.takers.update(id, before, &Keys::new());
    }

    /// The sockets for a datagram to this group and port, before their filters.
    pub(super) fn takers(&self, group: IpAddr, port: u16) -> impl Iterator<Item = SocketId> + '_ {
        self.takers.of(group, port)
    }

    /// Changes the socket's multicast memberships.
    pub(super) fn change_groups(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        group: IpAddr,
        iface: MulticastInterface,
        change: GroupChange<'_>,
    ) -> Result<()> {
        let before = keys(env.common.record(id)?);
        let result = env.change_groups(id, group, iface, change);
        if let Err(error) = self.update_takers(env.common.record(id)?, id, &before) {
            // Only a new membership can be too much.
            env.change_groups(id, group, iface, GroupChange::Leave)?;
            return Err(error);
        }
        result
    }

    /// Removes the socket's binding from the look-up. The socket keeps its port.
    pub(super) fn hide(&mut self, id: SocketId, bound: Bound) {
        self.bound.remove(bound.key(), id);
    }

    /// The socket has no peer any more. As on Linux it keeps the address and the port that its
    /// program has named, and gives others back. `was_hidden`: its binding was taken out of the
    /// look-up.
    pub(super) fn on_disconnect(&mut self, env: &mut Env<'_>, id: SocketId, was_hidden: bool) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        let reuse_port = socket.options.reuse_port;
        match socket.bound() {
            Some(bound) if !bound.names_port => {
                socket.give_port_back(bound);
                if was_hidden {
                    self.ports.unbind(bound.port, id);
                } else {
                    self.release(id, bound);
                }
            }
            Some(bound) if was_hidden => {
                let any = socket.default_binding(self.rules.is_dual_stack);
                let Bound { addr, scope, .. } = if bound.names_addr { bound } else { any };
                let bound = Bound { addr, scope, ..bound };
                socket.set_bound(bound);
                let selector = socket.options.port_selector.as_deref();
                self.bound.insert(bound.key(), id, reuse_port, selector);
                self.ports.change(bound.port, id, |binding| binding.addr = addr);
            }
            _ => {}
        }
        Ok(())
    }

    /// The socket is connected with these addresses. As on Linux it is bound to its local one from
    /// then on, until it is disconnected, unless it was bound to one before.
    pub(super) fn on_connect(&mut self, socket: &mut Socket, id: SocketId, bound: Bound, flow: &FourTuple) {
        self.hide(id, bound);
        if !matches!(bound.addr, BoundAddr::One(_)) {
            let addr = BoundAddr::One(flow.local.addr);
            let scope = if is_link_local(flow.local.addr) { flow.scope } else { bound.scope };
            socket.set_bound(Bound { addr, scope, ..bound });
            self.ports.change(bound.port, id, |binding| binding.addr = addr);
        }
    }

    /// Gives the socket a port, if it has none. EADDRINUSE if all are taken; on Linux it is EAGAIN,
    /// for which a blocking call would wait.
    #[inline]
    pub(super) fn bind_if_necessary(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        if env.common.record(id)?.has_port() { Ok(()) } else { self.bind_to_any(env, id) }
    }

    #[cold]
    fn bind_to_any(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record(id)?;
        let kept = socket.bound().map(|bound| bound.on_device(socket.options.device));
        let wanted = kept.unwrap_or_else(|| socket.default_binding(self.rules.is_dual_stack));
        self.bind_to(env, id, wanted)
    }

    pub(super) fn release(&mut self, id: SocketId, bound: Bound) {
        self.hide(id, bound);
        self.ports.unbind(bound.port, id);
    }

    /// Sets an option of the socket. SO_REUSEADDR and SO_REUSEPORT are updated in the port table:
    /// Linux checks their current values, not those at the time of `bind`.
    pub(super) fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        let before = keys(env.common.record(id)?);
        env.common.set_option(&env.ctx, id, option)?;
        let socket = env.common.record(id)?;
        if let Err(error) = self.update_takers(socket, id, &before) {
            // The only options that change it are IP_MULTICAST_ALL and IPV6_MULTICAST_ALL.
            env.common.set_option(&env.ctx, id, option.negated())?;
            return Err(error);
        }
        let socket = env.common.record(id)?;
        if option.is_about_reuse()
            && let Some(Bound { port, .. }) = socket.bound()
        {
            let reuse = socket.options.reuse();
            self.ports.change(port, id, |binding| binding.reuse = reuse);
        }
        Ok(())
    }

    /// The addresses of a datagram that a program sends with this metadata. EDESTADDRREQ, EINVAL,
    /// EAFNOSUPPORT, ENETUNREACH or EACCES.
    #[inline]
    pub(super) fn flow_of(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        if meta.hop_limit == Some(0) {
            return Err(Error::InvalidArgument);
        }
        let flow = match (meta.peer, connected) {
            (None, None) => return Err(Error::DestinationRequired),
            // As on Linux, where an IPv6 socket hands IPv4 datagrams on with an address.
            (None, Some(connected)) if connected.remote.port == 0 && is_mapped(env, id, &connected) => {
                return Err(Error::InvalidArgument);
            }
            (None, Some(connected)) if meta.names_way() => {
                let FourTuple { remote, scope, .. } = connected;
                let socket = env.common.record(id)?;
                socket.flow_to(env.network, remote, scope, Some(connected), meta)?
            }
            (None, Some(connected)) => connected,
            (Some(to), connected) => self.flow_to(env, id, to, connected, meta)?,
        };
        env.common.check_broadcast(env.network, id, flow.remote.addr)?;
        Ok(flow)
    }

    /// The addresses of a datagram to `to` from a socket that has a port.
    pub(super) fn flow_to(
        &self,
        env: &Env<'_>,
        id: SocketId,
        to: SocketAddr,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let socket = env.common.record(id)?;
        let is_dual_stack = self.rules.is_dual_stack && !socket.is_v6_only();
        // As on Linux such a socket takes IPv4 addresses as they are, too.
        let to = if is_dual_stack { present(socket.domain, to) } else { to };
        let (mut remote, scope) = socket.accept_addr(to)?;
        if !self.rules.peers_have_ports {
            remote.port = 0;
        } else if remote.port == 0 && meta.peer.is_some() {
            // A socket can be connected to port 0.
            return Err(Error::InvalidArgument);
        }
        if remote.addr.is_unspecified() {
            remote.addr = Sources::of(socket, env.network, connected).resolve(remote.addr);
        }
        socket.flow_to(env.network, remote, scope, connected, meta)
    }

    /// The socket that a packet of this flow, which came back in an error, is about.
    pub(super) fn find(&self, flow: &FourTuple) -> Option<SocketId> {
        self.bound.find_for(flow, |selector, hash| selector.select(hash, |_| None))
    }

    /// The socket that receives a packet of this flow. `run` runs a program on the packet.
    #[inline]
    pub(super) fn find_for(
        &self,
        flow: &FourTuple,
        run: impl FnOnce(&Filter) -> Option<u32>,
    ) -> Option<SocketId> {
        self.bound.find_for(flow, |selector, hash| selector.select(hash, run))
    }

    /// Sets how a socket on the socket's port is chosen. `is_hidden`: its binding is not in the
    /// look-up.
    pub(super) fn set_selector(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        is_hidden: bool,
        selector: Option<PortSelector>,
    ) -> Result<()> {
        let bound = env.common.record(id)?.bound().filter(|bound| bound.port != 0 && !is_hidden);
        set_selector(env, &mut self.bound, id, bound, selector)
    }

    /// Whether the socket that receives a packet of this flow is bound to the device that is the
    /// flow's scope.
    pub(super) fn is_for_device(&self, flow: &FourTuple) -> bool {
        self.bound.device_for(flow).is_some_and(|device| device != 0)
    }

    /// Every socket that receives a broadcast packet to this address and port, through this device.
    pub(super) fn all(&self, dst: IpAddr, port: u16, device: u16) -> impl Iterator<Item = SocketId> + '_ {
        self.bound.all(dst, port, device)
    }

    /// Moves a socket to the device that its options name. `is_hidden`: its binding is not in the
    /// look-up.
    pub(super) fn renew_device(&mut self, env: &mut Env<'_>, id: SocketId, is_hidden: bool) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        let Some(bound) = socket.bound() else { return Ok(()) };
        let moved = bound.on_device(socket.options.device);
        socket.set_bound(moved);
        self.ports.change(bound.port, id, |binding| binding.device = moved.scope);
        if !is_hidden && bound.port != 0 {
            self.bound.remove(bound.key(), id);
            let options = &socket.options;
            self.bound.insert(moved.key(), id, options.reuse_port, options.port_selector.as_deref());
        }
        Ok(())
    }
}

/// Whether the datagrams of an IPv6 socket go to an IPv4 address.
fn is_mapped(env: &Env<'_>, id: SocketId, flow: &FourTuple) -> bool {
    let is_v6 = env.common.record(id).is_ok_and(|socket| socket.domain == Domain::V6);
    is_v6 && flow.remote.addr.is_ipv4()
}
