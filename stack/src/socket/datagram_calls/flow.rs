//! The addresses and the interface of the datagrams that a socket sends.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::network::Network;
use crate::socket::common::Common;
use crate::socket::kind::Domain;
use crate::socket::message::SendMeta;
use crate::socket::record::Socket;
use crate::socket::scope::{
    Bound, flow_scope, iface_of, is_link_local, loopback_if_unspecified, scope_id, scope_on,
};

impl Common {
    /// The addresses of a packet from a socket without ports (raw or echo) to `to`, whose port is
    /// ignored.
    pub(in crate::socket) fn flow_without_ports(
        &self,
        network: &Network,
        id: SocketId,
        to: SocketAddr,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let socket = self.record(id)?;
        let (mut remote, scope) = socket.accept_addr(to)?;
        remote.port = 0;
        remote.addr = Sources::of(socket, network, connected).resolve(remote.addr);
        socket.flow_to(network, remote, scope, connected, meta)
    }
}

impl Socket {
    /// The addresses of a datagram to `remote` from a socket that is bound, with the choices in
    /// `meta`.
    #[inline]
    pub(in crate::socket) fn flow_to(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let fixed = match (connected, bound.addr) {
            _ if self.domain == Domain::V6 => {
                self.source_to(network, remote.addr, named_scope, connected, meta)?
            }
            (Some(connected), _) => Some(connected.local.addr),
            (None, BoundAddr::One(addr))
                if !addr.is_multicast() && !network.is_broadcast(addr, self.options.device) =>
            {
                Some(addr)
            }
            _ => None,
        };
        let is_group = match remote.addr {
            IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
            IpAddr::V6(dst) => dst.is_multicast(),
        };
        if is_group || meta.names_way() || self.options.chooses_way {
            return self.flow_by_choice(network, remote, named_scope, fixed, meta);
        }
        self.flow_by_route(network, remote, named_scope, fixed)
    }

    /// The source of a datagram of an IPv6 socket to `remote`, if it is fixed. EAFNOSUPPORT.
    fn source_to(
        &self,
        network: &Network,
        remote: IpAddr,
        named_scope: u16,
        connected: Option<FourTuple>,
        meta: &SendMeta,
    ) -> Result<Option<IpAddr>> {
        if meta.names_way() {
            let bound = Sources::of(self, network, None).first();
            return Ok(connected.map(|flow| flow.local.addr).or(bound));
        }
        let sources = Sources::of(self, network, connected);
        check_family(network, sources, remote, named_scope)?;
        Ok(sources.to(remote))
    }

    /// The addresses of a datagram whose way only its destination and its source determine.
    #[inline(always)]
    fn flow_by_route(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        fixed: Option<IpAddr>,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let local = match fixed {
            Some(addr) if addr.is_ipv4() == remote.addr.is_ipv4() => addr,
            _ => network.source_for(remote.addr, iface_of(named_scope))?,
        };
        let scope = flow_scope(local, remote.addr, named_scope, Some(bound))?;
        // A source address was found, so there is a route.
        if fixed == Some(local) || scope != named_scope {
            network.check_route(local, remote.addr, iface_of(scope))?;
        }
        Ok(FourTuple { local: Endpoint::new(local, bound.port), remote, scope })
    }

    /// The addresses of a datagram to a group, or of one for which the program chose the source or
    /// the interface, or bound the socket to one.
    #[cold]
    fn flow_by_choice(
        &self,
        network: &Network,
        remote: Endpoint,
        named_scope: u16,
        fixed: Option<IpAddr>,
        meta: &SendMeta,
    ) -> Result<FourTuple> {
        let bound = self.bound().ok_or(Error::InvalidArgument)?;
        let (mut meta, mut named_scope) = (*meta, named_scope);
        let ip = &self.options.ip;
        let unicast = if remote.addr.is_ipv4() { ip.unicast_interface } else { ip.unicast_interface_v6 };
        if let Some(device) = self.options.device {
            // As on Linux the control data of an IPv4 packet may name another interface.
            let named = meta.iface.filter(|_| remote.addr.is_ipv6()).map_or(0, scope_id);
            scope_on(Some(device), named)?;
            if is_link_local(remote.addr) {
                named_scope = scope_on(Some(device), named_scope)?;
            }
            meta.iface = meta.iface.or(Some(device));
        } else if unicast.is_some() && !remote.addr.is_multicast() {
            meta.iface = meta.iface.or(iface_of(named_scope)).or(unicast);
        }
        let is_of_family = |addr: &IpAddr| addr.is_ipv4() == remote.addr.is_ipv4();
        // As on Linux, only the source of an IPv6 packet can be named instead of the address that
        // the socket is bound to.
        if let BoundAddr::One(addr) = bound.addr
            && bound.names_addr
            && !is_of_family(&addr)
            && (addr.is_ipv6() || meta.source.is_none())
        {
            return Err(Error::NetworkUnreachable);
        }
        // A socket that is connected over IPv6 sends to an IPv4 address from another source.
        let mut fixed = fixed.filter(is_of_family);
        if remote.addr.is_multicast() {
            // IP_MULTICAST_IF and IPV6_MULTICAST_IF.
            let options = self.options.multicast();
            let is_v4 = remote.addr.is_ipv4();
            let iface = if is_v4 { options.interface } else { options.interface_v6 };
            meta.iface = meta.iface.or(iface_of(named_scope)).or(iface);
            if is_v4 {
                fixed = fixed.or(options.source.map(IpAddr::V4));
            }
        }
        // As on Linux, an IPv4 packet to a group or to 255.255.255.255 leaves through the interface
        // that has its source.
        let is_everywhere =
            matches!(remote.addr, IpAddr::V4(dst) if dst.is_multicast() || dst.is_broadcast());
        if let Some(source) = fixed.filter(|source| is_everywhere && source.is_ipv4()) {
            meta.iface = meta.iface.or(network.interface_with(source, None));
        }
        if !meta.names_way() {
            let flow = self.flow_by_route(network, remote, named_scope, fixed)?;
            self.check_way(network, &flow)?;
            return Ok(flow);
        }
        let source = match meta.source {
            Some(source) => self.accept_source(source, remote.addr)?,
            None => fixed,
        };
        let iface = network.named_interface(remote.addr, iface_of(named_scope), meta.iface)?;
        let local = match source {
            Some(source) => network.check_source(source, remote.addr, iface)?,
            None => network.source_for(remote.addr, iface)?,
        };
        let scope = match iface {
            Some(iface) => scope_id(iface),
            None => flow_scope(local, remote.addr, 0, Some(bound))?,
        };
        let flow = FourTuple { local: Endpoint::new(local, bound.port), remote, scope };
        self.check_way(network, &flow)?;
        Ok(flow)
    }

    /// SO_DONTROUTE and IP_FREEBIND, which as on Linux have no effect on the way over IPv6.
    /// ENETUNREACH for a host behind a router; EINVAL for an address of our own that the host does
    /// not have.
    #[cold]
    pub(in crate::socket) fn check_way(&self, network: &Network, flow: &FourTuple) -> Result<()> {
        let (local, remote) = (flow.local.addr, flow.remote.addr);
        if remote.is_ipv4() && self.options.dont_route {
            network.check_on_link(remote, iface_of(flow.scope))?;
        }
        if remote.is_ipv4() && self.options.ip.free_bind && !network.is_local(local, iface_of(flow.scope)) {
            return Err(Error::InvalidArgument);
        }
        Ok(())
    }
}

/// The source addresses that are fixed for the datagrams of a socket: the one that it is bound to,
/// unless that is a group, and the one that its last `connect` has used. An IPv6 socket may have
/// one of each family.
#[derive(Clone, Copy)]
pub(in crate::socket) struct Sources([Option<IpAddr>; 2]);

impl Sources {
    #[inline]
    pub(in crate::socket) fn of(socket: &Socket, network: &Network, connected: Option<FourTuple>) -> Sources {
        let bound = match socket.bound() {
            Some(Bound { addr: BoundAddr::One(addr), .. }) => Some(addr),
            _ => None,
        };
        let device = socket.options.device;
        let is_host = |addr: &IpAddr| !addr.is_multicast() && !network.is_broadcast(*addr, device);
        Sources([bound.filter(is_host), connected.map(|flow| flow.local.addr)])
    }

    /// The address that an IPv6 socket shows as its own.
    fn first(self) -> Option<IpAddr> {
        self.0[0].or(self.0[1])
    }

    /// The source of a datagram to `remote`.
    fn to(self, remote: IpAddr) -> Option<IpAddr> {
        self.0.into_iter().flatten().find(|source| source.is_ipv4() == remote.is_ipv4())
    }

    /// The destination that an unspecified address stands for. As on Linux, over IPv4 that is the
    /// socket's own address if it has one, and `::` is the loopback of the family of the source.
    pub(in crate::socket) fn resolve(self, remote: IpAddr) -> IpAddr {
        match (remote, self.first()) {
            (IpAddr::V4(v4), _) if v4.is_unspecified() => {
                let own = self.0.into_iter().flatten().find(IpAddr::is_ipv4);
                own.unwrap_or(Ipv4Addr::LOCALHOST.into())
            }
            (IpAddr::V6(v6), Some(IpAddr::V4(_))) if v6.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            _ => loopback_if_unspecified(remote),
        }
    }
}

/// As on Linux 6.18: EAFNOSUPPORT for an IPv6 datagram from a socket whose first source was an IPv4
/// address. ENETUNREACH comes first.
fn check_family(network: &Network, sources: Sources, remote: IpAddr, scope: u16) -> Result<()> {
    if remote.is_ipv6() && sources.first().is_some_and(|source| source.is_ipv4()) {
        network.source_for(remote, iface_of(scope))?;
        return Err(Error::AddressFamilyNotSupported);
    }
    Ok(())
}
