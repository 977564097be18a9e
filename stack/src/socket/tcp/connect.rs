//! `connect`: opens a connection on a socket.

use core::mem;
use core::net::SocketAddr;

use super::connections::Target;
use super::params::least_path_mss;
use super::settle::After;
use super::stream::{Stream, TcpSocket};
use super::{CONNECTION_BYTES, TcpSockets, is_of};
use crate::demux::{BoundAddr, Endpoint, FourTuple};
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::socket::common::{Common, Env};
use crate::socket::record::Protocol;
use crate::socket::scope::{
    Bound, flow_scope, iface_of, is_link_local, loopback_if_unspecified, scope_id, scope_on,
};
use crate::steering::Share;
use crate::subject::Subject;
use crate::tcp::{Connection, State};

impl TcpSockets {
    /// `connect`, with or without Fast Open. Returns `Ok` if the SYN waits for data.
    pub(super) fn open_stream(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        addr: SocketAddr,
        is_fast: bool,
    ) -> Result<()> {
        match env.common.record_mut(id)?.protocol.tcp_mut()? {
            TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => return Err(Error::IsConnected),
            TcpSocket::Stream(stream) => match stream.connection.state() {
                State::SynSent if stream.connection.is_deferred() => return Err(Error::IsConnected),
                State::SynSent | State::SynReceived => return Err(Error::Already),
                State::Closed => self.connect_again(env.common, id)?,
                _ => return Err(Error::IsConnected),
            },
            TcpSocket::Ended(_) => self.connect_again(env.common, id)?,
            TcpSocket::Idle => {}
        }
        let tuple = self.choose_tuple(env, id, addr)?;
        if env.common.account.is_full_for(CONNECTION_BYTES) {
            return Err(Error::NoBufferSpace);
        }
        let socket = env.common.record(id)?;
        let options = &socket.options;
        let params = self.open_params(&env.ctx, env.network, options, &tuple);
        let without_cookie = options.tcp.fast_open.without_cookie;
        let shares_port = if socket.has_port() { None } else { Some(options.reuse()) };
        let mut connection = if is_fast {
            let zone = env.network.zone_scope(tuple.scope);
            self.connect_fast(&mut env.ctx, (&tuple, zone), params, without_cookie)
        } else {
            Connection::connect(&mut env.ctx, params)
        };
        connection.set_least_path_mss(least_path_mss(tuple.remote.addr));
        let is_deferred = connection.is_deferred();
        let socket = env.common.record_mut(id)?;
        let stream = Stream::new(connection, tuple, shares_port);
        socket.protocol = Protocol::Tcp(TcpSocket::Stream(stream.into()));
        socket.renew_readiness();
        match shares_port {
            Some(reuse) => self.ports.add_connection(&tuple, reuse),
            // From now on it conflicts only with sockets on the same address.
            None => self.rebind(id, tuple.local.port, BoundAddr::One(tuple.local.addr)),
        }
        self.connections.insert(&tuple, Target::Connection(id));
        env.ctx.stats.tcp.active_opens += 1;
        self.settle(env, id, After::Change);
        if is_deferred { Ok(()) } else { Err(Error::InProgress) }
    }

    /// The four-tuple of a connection that is to be opened.
    fn choose_tuple(&mut self, env: &mut Env<'_>, id: SocketId, addr: SocketAddr) -> Result<FourTuple> {
        let network = &*env.network;
        let socket = env.common.record(id)?;
        let bound = socket.bound();
        let (mut remote, named) = socket.accept_addr(addr)?;
        let device = socket.options.device;
        let scope = if is_link_local(remote.addr) { scope_on(device, named)? } else { named };
        remote.addr = loopback_if_unspecified(remote.addr);
        if remote.addr.is_multicast() || network.is_broadcast(remote.addr, device) {
            return Err(Error::NetworkUnreachable);
        }
        let local_addr = match bound {
            Some(Bound { addr: BoundAddr::One(addr), .. }) if addr.is_ipv4() != remote.addr.is_ipv4() => {
                return Err(Error::NetworkUnreachable);
            }
            Some(Bound { addr: BoundAddr::One(addr), .. }) => addr,
            _ => network.source_for(remote.addr, iface_of(scope).or(device))?,
        };
        let scope = flow_scope(local_addr, remote.addr, scope, bound)?;
        let scope = device.map_or(scope, scope_id);
        network.check_route(local_addr, remote.addr, iface_of(scope))?;
        let tuple_from = |port| FourTuple { local: Endpoint::new(local_addr, port), remote, scope };
        if socket.options.chooses_way {
            socket.check_way(network, &tuple_from(0))?;
        }
        let share = network.share();
        let port = match bound {
            Some(Bound { port: port @ 1.., .. })
                if self.find_record(env.common, &tuple_from(port)).is_none()
                    && (network.is_local(remote.addr, device)
                        || share.is_none_or(|share| share.has_connection(&tuple_from(port)))) =>
            {
                port
            }
            Some(Bound { port: 1.., .. }) => return Err(Error::AddressNotAvailable),
            _ => {
                let range = socket.options.ip.local_port_range;
                self.ephemeral_port(env.common, share, range, tuple_from)?
            }
        };
        let tuple = tuple_from(port);
        env.ctx.subject = Subject::Tcp(tuple);
        log::trace!("{}: connect at {}", env.ctx.subject, env.ctx.now);
        Ok(tuple)
    }

    /// Draws an ephemeral port for a connection; `tuple_from` completes the four-tuple. Where
    /// several stacks serve an interface, each draws ports whose answers it receives.
    /// EADDRNOTAVAIL.
    fn ephemeral_port(
        &mut self,
        common: &Common,
        share: Option<&Share>,
        range: (u16, u16),
        tuple_from: impl Fn(u16) -> FourTuple,
    ) -> Result<u16> {
        let TcpSockets { connections, handshakes, time_waits, intercepts, ports, .. } = self;
        let tables = (&*handshakes, &*time_waits, &intercepts.table);
        let FourTuple { local, remote, .. } = tuple_from(0);
        ports.ephemeral(range, local.addr, (remote.addr, remote.port), |port| {
            let tuple = tuple_from(port);
            if share.is_some_and(|share| !share.has_connection(&tuple)) {
                return false;
            }
            let is_it = |target| is_of(common, tables, target, &tuple);
            connections.find(&tuple, is_it).is_none()
        })
    }

    /// Makes a socket whose attempt to connect failed usable again. Fails if the program has yet to
    /// hear of the failure, or if the connection was open.
    fn connect_again(&mut self, common: &mut Common, id: SocketId) -> Result<()> {
        let outcome = match common.record_mut(id)?.protocol.tcp_mut()? {
            TcpSocket::Stream(stream) => stream.connection.connect_again(),
            TcpSocket::Ended(stream) => stream.ended.connect_again(),
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => Ok(()),
        };
        if outcome != Err(Error::IsConnected) {
            self.return_to_idle(common, id);
        }
        outcome
    }

    fn return_to_idle(&mut self, common: &mut Common, id: SocketId) {
        let Some(socket) = common.records.get_mut(id) else { return };
        let bound = socket.bound();
        let protocol = mem::replace(&mut socket.protocol, Protocol::Tcp(TcpSocket::Idle));
        let bytes = socket.charge();
        common.charge(id, bytes);
        if let Protocol::Tcp(tcp) = protocol {
            self.forget_connection(common, id, tcp);
        }
        if let Some(Bound { addr, port, .. }) = bound {
            self.rebind(id, port, addr);
        }
    }

    /// Sets the address with which a bound socket conflicts with others.
    fn rebind(&mut self, id: SocketId, port: u16, addr: BoundAddr) {
        self.ports.change(port, id, |binding| binding.addr = addr);
    }
}
