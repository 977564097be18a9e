//! UDP flows to other hosts that interfaces intercept: one for each source and destination, with a
//! connected socket that a program accepts (decision 0012).

use bytes::Bytes;

use super::UdpSockets;
use super::flow_queue::FlowQueue;
use super::flows::FlowRoom;
use super::input::deliver;
use crate::demux::{BoundAddr, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::frame::Payload;
use crate::id::{OwnerId, SocketId};
use crate::interface_id::InterfaceId;
use crate::ip::output::OutgoingHeader;
use crate::ip::protocol;
use crate::network::{Datagram, IpMeta, MtuDiscovery};
use crate::rate_limit::PeerKey;
use crate::socket::common::{Common, Env, TimerTarget};
use crate::socket::datagram_queue::OVERHEAD_BYTES;
use crate::socket::interception::Unreachable;
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::options::SocketOptions;
use crate::socket::record::{Holders, Protocol, Socket};
use crate::socket::scope::{Bound, iface_of};
use crate::subject::Subject;
use crate::udp;

/// How many flows one call ends because they were idle for too long.
const MAX_EXPIRED: usize = 64;

impl UdpSockets {
    /// Makes a socket the one at which flows are accepted. EINVAL if it is in use or bound to a
    /// device, EADDRINUSE if there is another.
    pub(super) fn start_intercepting(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        let is_bound = socket.bound().is_some() || socket.options.device.is_some();
        let is_connected = socket.datagrams_mut().is_ok_and(|datagrams| datagrams.connected.is_some());
        if is_bound || is_connected || matches!(socket.protocol, Protocol::Flows(_)) {
            return Err(Error::InvalidArgument);
        }
        if self.flows.interceptor.is_some() {
            return Err(Error::AddressInUse);
        }
        socket.protocol = Protocol::Flows(FlowQueue::default().into());
        self.flows.interceptor = Some(id);
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }

    /// Opens a flow for an intercepted datagram that no socket takes. Returns the datagram if
    /// nobody intercepts.
    pub(super) fn open_flow(
        &mut self,
        env: &mut Env<'_>,
        datagram: Datagram,
        flow: &FourTuple,
        len: usize,
    ) -> Option<Datagram> {
        let Some(interceptor) = self.flows.interceptor.filter(|_| datagram.is_intercepted) else {
            return Some(datagram);
        };
        env.ctx.subject = Subject::Udp(*flow);
        let peer = env.network.peer(flow.remote.addr, iface_of(flow.scope));
        let source = peer.unwrap_or(PeerKey::host(flow.remote.addr, true));
        if let FlowRoom::Instead(id) = self.flows.room_for(&env.ctx.config.interception, source) {
            self.end_flow(env, id, Error::ConnectionAborted);
        }
        let Some(parent) = env.common.records.get(interceptor) else { return Some(datagram) };
        let domain = if flow.local.addr.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let options = SocketOptions::inherited(&parent.options, env.network, flow.scope);
        let mut socket = Socket::new(domain, SocketKind::Datagram, options, Protocol::new_datagrams());
        let bytes = socket.charge();
        if env.common.account.is_full_for(bytes + len + OVERHEAD_BYTES) {
            env.ctx.count_drop(DropReason::MemoryLimit);
            return None;
        }
        socket.holders = Holders::AcceptQueue;
        // No port of ours: the tables of bound sockets do not have it.
        let (addr, port) = (BoundAddr::One(flow.local.addr), flow.local.port);
        let scope = flow.scope;
        socket.set_bound(Bound { addr, port, scope, names_port: true, names_addr: true });
        if let Ok(datagrams) = socket.datagrams_mut() {
            datagrams.connected = Some(*flow);
        }
        let id = env.common.records.insert(socket);
        env.common.charge(id, bytes);
        self.connected.insert(*flow, id);
        self.flows.insert(id, source, env.ctx.now);
        env.ctx.stats.interception.flows += 1;
        deliver(env, id, datagram, flow, len);
        if let Some(queue) = self.flow_queue(env.common) {
            queue.waiting.push_back(id);
            queue.count += 1;
        }
        env.common.settle(interceptor, Wakeup::ARRIVAL);
        self.arm_expiry(env);
        None
    }

    /// Notes an intercepted datagram for a connected socket. Returns whether the socket takes it:
    /// the queue of a flow that nobody has accepted is short.
    pub(super) fn admit_to_flow(&mut self, env: &mut Env<'_>, id: SocketId, len: usize) -> bool {
        self.flows.on_used(env.ctx.now, id, false);
        let Some(socket) = env.common.records.get(id) else { return true };
        let limit = env.ctx.config.interception.max_flow_backlog_bytes;
        let queued = socket.protocol.datagrams().map_or(0, |datagrams| datagrams.received_bytes);
        socket.has_descriptor() || queued + len + OVERHEAD_BYTES <= limit
    }

    /// The next flow that waits. EAGAIN; EMFILE if the caller has no room for its descriptor.
    pub(super) fn accept_flow(
        &mut self,
        env: &mut Env<'_>,
        caller: OwnerId,
        id: SocketId,
    ) -> Result<SocketId> {
        let has_room = env.common.owners.check_room(caller);
        if self.flows.interceptor != Some(id) {
            return Err(Error::NotSupported);
        }
        let queue = self.flow_queue(env.common).ok_or(Error::NotSupported)?;
        if queue.count == 0 {
            return Err(Error::WouldBlock);
        }
        has_room?;
        loop {
            let queue = self.flow_queue(env.common).ok_or(Error::WouldBlock)?;
            let next = queue.waiting.pop_front().ok_or(Error::WouldBlock)?;
            // Others are gone.
            if self.flows.source_of(next).is_some() {
                if let Some(queue) = self.flow_queue(env.common) {
                    queue.count -= 1;
                }
                env.common.settle(id, Wakeup::NONE);
                return Ok(next);
            }
        }
    }

    /// Sends the source of a flow an ICMP error, as if the last datagram had not arrived, within
    /// the rate limit. EINVAL unless the socket is that of a flow, ENOTCONN if the flow has ended.
    pub(crate) fn reject_flow(&mut self, env: &mut Env<'_>, id: SocketId, what: Unreachable) -> Result<()> {
        let source = self.flows.source_of(id).ok_or(Error::InvalidArgument)?;
        let flow = env.common.record(id)?.peer_flow()?;
        env.ctx.subject = Subject::Udp(flow);
        // Where it matters, the scope tells the interface.
        let iface = iface_of(flow.scope).unwrap_or(InterfaceId::LOOPBACK);
        let Env { ctx, network, common } = env;
        common.chosen_errors.send(ctx, network, source, iface, (&quote_of(&flow)?, 0), what.into());
        Ok(())
    }

    /// The socket of a flow is closed, or that at which flows are accepted.
    pub(super) fn on_closed(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.flows.remove(id);
        if self.flows.interceptor != Some(id) {
            return;
        }
        // Nobody can accept what waits. Accepted flows stay.
        let waiting = self.flow_queue(env.common).map(|queue| core::mem::take(&mut queue.waiting));
        for waiting in waiting.into_iter().flatten() {
            if self.flows.source_of(waiting).is_some() {
                self.end_flow(env, waiting, Error::ConnectionAborted);
            }
        }
        let Common { records, timers, .. } = &mut *env.common;
        if let Some(Protocol::Flows(queue)) = records.get_mut(id).map(|socket| &mut socket.protocol) {
            timers.disarm(&mut queue.armed, TimerTarget::Socket(id));
        }
        self.flows.interceptor = None;
    }

    /// Ends the flows that were idle for too long.
    pub(super) fn expire_flows(&mut self, env: &mut Env<'_>, id: SocketId) {
        if self.flows.interceptor != Some(id) {
            return;
        }
        if let Some(queue) = self.flow_queue(env.common) {
            queue.armed.fired();
        }
        let timeout = env.ctx.config.interception.flow_timeout;
        for _ in 0..MAX_EXPIRED {
            match self.flows.least_recent() {
                Some((used_at, id)) if used_at + timeout <= env.ctx.now => {
                    self.end_flow(env, id, Error::TimedOut);
                }
                _ => break,
            }
        }
        self.arm_expiry(env);
    }

    /// Ends a flow: its next datagram opens another. A socket that was accepted gets this error and
    /// the end of its input; one that was not is gone.
    fn end_flow(&mut self, env: &mut Env<'_>, id: SocketId, why: Error) {
        self.flows.remove(id);
        let Some(socket) = env.common.records.get_mut(id) else { return };
        let is_accepted = socket.has_descriptor();
        let Ok(datagrams) = socket.datagrams_mut() else { return };
        let flow = datagrams.connected.take();
        if let Some(flow) = flow {
            self.connected.remove(&flow, id);
        }
        if is_accepted {
            datagrams.error = Some(why);
            (datagrams.is_read_shut, datagrams.is_write_shut) = (true, true);
            return env.common.settle(id, Wakeup::STATE);
        }
        let dropped = datagrams.received.len();
        let before = env.ctx.subject;
        if let Some(flow) = flow {
            env.ctx.subject = Subject::Udp(flow);
        }
        for _ in 0..dropped {
            env.ctx.count_drop(DropReason::FlowEnded);
        }
        env.ctx.subject = before;
        env.common.remove(id);
        let Self { flows, .. } = self;
        if let Some(interceptor) = flows.interceptor
            && let Some(queue) = flow_queue_of(env.common, interceptor)
        {
            queue.count -= 1;
            // Entries that are gone are removed when they are the most.
            if queue.waiting.len() > 64 + 2 * queue.count {
                queue.waiting.retain(|&id| flows.source_of(id).is_some());
            }
            env.common.settle(interceptor, Wakeup::NONE);
        }
    }

    /// Sets the timer to the end of the flow that was idle for the longest time.
    fn arm_expiry(&mut self, env: &mut Env<'_>) {
        let Some(id) = self.flows.interceptor else { return };
        let timeout = env.ctx.config.interception.flow_timeout;
        let expires_at = self.flows.least_recent().map(|(used_at, _)| used_at + timeout);
        let Common { records, timers, .. } = &mut *env.common;
        if let Some(Protocol::Flows(queue)) = records.get_mut(id).map(|socket| &mut socket.protocol) {
            queue.expires_at = expires_at;
            timers.arm(&mut queue.armed, TimerTarget::Socket(id), expires_at);
        }
    }

    fn flow_queue<'a>(&self, common: &'a mut Common) -> Option<&'a mut FlowQueue> {
        flow_queue_of(common, self.flows.interceptor?)
    }
}

fn flow_queue_of(common: &mut Common, id: SocketId) -> Option<&mut FlowQueue> {
    match &mut common.records.get_mut(id)?.protocol {
        Protocol::Flows(queue) => Some(queue),
        _ => None,
    }
}

/// The headers of a datagram of a flow, without data, as an ICMP error quotes them.
fn quote_of(flow: &FourTuple) -> Result<Bytes> {
    let mut header = udp::header(flow.remote, flow.local, &Payload::new());
    let meta = IpMeta {
        src: flow.remote.addr,
        dst: flow.local.addr,
        protocol: protocol::UDP,
        hop_limit: None,
        traffic_class: 0,
        mtu_discovery: MtuDiscovery::Dont,
        path_seed: 0,
        iface: None,
        is_looped: false,
        checksum_at: None,
        run: None,
    };
    OutgoingHeader::new(&meta, 64)?.prepend(&mut header, udp::HEADER_LEN);
    Ok(Bytes::copy_from_slice(header.as_slice()))
}

#[cfg(test)]
mod tests;
