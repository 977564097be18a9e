//! The calls by which a program decides about intercepted connections.

use super::super::TcpSockets;
use super::super::connections::Target;
use super::super::output::reply;
use super::super::params::least_path_mss;
use super::super::settle::After;
use super::super::stream::{Stream, TcpSocket};
use super::{Interceptor, PendingTable};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::id::{PendingId, SocketId};
use crate::rate_limit::PeerLimit;
use crate::rng::Rng;
use crate::socket::common::{Common, Env, TimerTarget};
use crate::socket::interception::{Cancellation, IgnoreReason, PendingConnection, PendingEvent, Rejection};
use crate::socket::kind::{Domain, SocketKind};
use crate::socket::options::SocketOptions;
use crate::socket::record::{Protocol, Socket};
use crate::socket::tcp::CONNECTION_BYTES;
use crate::subject::Subject;
use crate::tcp::SynReceived;

use super::Intercepts;

impl Intercepts {
    pub(in crate::socket::tcp) fn new(rng: &mut Rng) -> Intercepts {
        Intercepts {
            interceptor: None,
            table: PendingTable::new(),
            present_syn: None,
            reset_shares: PeerLimit::new(rng),
        }
    }
}

impl TcpSockets {
    /// Makes a socket the one whose program decides. EINVAL if it is in use, or bound to a device;
    /// EADDRINUSE if there is another.
    pub(in crate::socket::tcp) fn start_intercepting(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
    ) -> Result<()> {
        let socket = env.common.record_mut(id)?;
        let is_bound = socket.bound().is_some() || socket.options.device.is_some();
        let tcp = socket.protocol.tcp_mut()?;
        if is_bound || !matches!(tcp, TcpSocket::Idle) {
            return Err(Error::InvalidArgument);
        }
        if self.intercepts.interceptor.is_some() {
            return Err(Error::AddressInUse);
        }
        *tcp = TcpSocket::Interceptor(Interceptor::new().into());
        self.intercepts.interceptor = Some(id);
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }

    /// The next news for the program. EWOULDBLOCK if there is none, EINVAL for another socket.
    pub(crate) fn poll_pending(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<PendingEvent> {
        self.check_interceptor(env.common, id)?;
        let interceptor = self.interceptor_mut(env.common).ok_or(Error::InvalidArgument)?;
        let mut event = interceptor.cancelled.pop_front().map(|(id, why)| PendingEvent::Cancelled(id, why));
        while event.is_none() {
            let next = interceptor.unseen.pop_front().ok_or(Error::WouldBlock)?;
            // Others are gone.
            if let Some(pending) = self.intercepts.table.get_mut(next) {
                pending.is_seen = true;
                interceptor.unseen_count -= 1;
                event = Some(PendingEvent::New(PendingConnection {
                    id: next,
                    source: pending.tuple.remote_addr(),
                    destination: pending.tuple.local_addr(),
                    iface: pending.iface,
                    zone: env.network.zone_of(Some(pending.iface)),
                }));
            }
        }
        env.common.note_readiness(id, Wakeup::NONE);
        event.ok_or(Error::WouldBlock)
    }

    /// The next connection that was announced and then cancelled. EWOULDBLOCK if there is none,
    /// EINVAL for another socket.
    pub(crate) fn poll_cancelled(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
    ) -> Result<(PendingId, Cancellation)> {
        self.check_interceptor(env.common, id)?;
        let interceptor = self.interceptor_mut(env.common).ok_or(Error::InvalidArgument)?;
        let cancelled = interceptor.cancelled.pop_front().ok_or(Error::WouldBlock)?;
        env.common.note_readiness(id, Wakeup::NONE);
        Ok(cancelled)
    }

    /// Whether this connection waits for a decision. EINVAL for another socket.
    pub(crate) fn is_pending(&self, common: &Common, id: SocketId, pending: PendingId) -> Result<bool> {
        self.check_interceptor(common, id)?;
        Ok(self.intercepts.table.get(pending).is_some())
    }

    /// Answers the SYN. The socket of the connection becomes writable when the connection is
    /// established. ECONNABORTED if the pending connection is gone; ENOBUFS.
    pub(crate) fn accept_pending(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        pending: PendingId,
    ) -> Result<SocketId> {
        self.check_pending(env, id, pending)?;
        if env.common.account.is_full_for(CONNECTION_BYTES) {
            return Err(Error::NoBufferSpace);
        }
        let pending = self.forget_pending(env.common, pending).ok_or(Error::ConnectionAborted)?;
        let syn = pending.syn.header().ok_or(Error::ConnectionAborted)?;
        let tuple = pending.tuple;
        env.ctx.subject = Subject::Tcp(tuple);
        let parent = &env.common.record(id)?.options;
        let options = SocketOptions::inherited(parent, env.network, tuple.scope);
        let mut params = self.open_params(&env.ctx, env.network, &options, &tuple);
        if let Some(after) = pending.isn_after
            && params.isn.before_eq(after)
        {
            params.isn = after + 1;
        }
        let record = SynReceived::new(&mut env.ctx, &syn, &params);
        let syn_ack = record.syn_ack(env.ctx.now);
        let mut connection = record.into_connection(&mut env.ctx, params.settings, params.path_mss);
        connection.set_least_path_mss(least_path_mss(tuple.remote.addr));
        // It does not use a port of ours: its address is another host's.
        let stream = Stream::new(connection, tuple, None);
        let domain = if tuple.local.addr.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let protocol = Protocol::Tcp(TcpSocket::Stream(stream.into()));
        let fields = options.ip_fields();
        let accepted = env.common.records.insert(Socket::new(domain, SocketKind::Stream, options, protocol));
        self.connections.insert(&tuple, Target::Connection(accepted));
        self.intercepts.table.on_accepted(accepted, pending.source);
        env.ctx.stats.tcp.passive_opens += 1;
        env.ctx.stats.interception.accepted += 1;
        reply(env, &tuple, syn_ack, fields);
        self.settle(env, accepted, After::Change);
        Ok(accepted)
    }

    /// Refuses a pending connection. ECONNABORTED if it is gone.
    pub(crate) fn reject_pending(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        pending: PendingId,
        how: Rejection,
    ) -> Result<()> {
        self.check_pending(env, id, pending)?;
        let pending = self.forget_pending(env.common, pending).ok_or(Error::ConnectionAborted)?;
        self.refuse_pending(env, &pending, how);
        Ok(())
    }

    /// Drops a pending connection without an answer. ECONNABORTED if it is gone.
    pub(crate) fn ignore_pending(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        pending: PendingId,
        why: IgnoreReason,
    ) -> Result<()> {
        self.check_pending(env, id, pending)?;
        let pending = self.forget_pending(env.common, pending).ok_or(Error::ConnectionAborted)?;
        env.ctx.subject = Subject::Tcp(pending.tuple);
        env.ctx.count_drop(match why {
            IgnoreReason::Policy => DropReason::IgnoredByPolicy,
            IgnoreReason::Overload => DropReason::IgnoredForOverload,
            IgnoreReason::Silence => DropReason::IgnoredForSilence,
        });
        Ok(())
    }

    /// Nobody decides any more: refuses what is pending, within the rate limit, and what is
    /// intercepted from now on.
    pub(in crate::socket::tcp) fn stop_intercepting(&mut self, env: &mut Env<'_>, id: SocketId) {
        while let Some((_, pending)) = self.intercepts.table.oldest() {
            if let Some(pending) = self.forget_pending(env.common, pending) {
                self.refuse_pending(env, &pending, Rejection::Reset);
            }
        }
        let Some(socket) = env.common.records.get_mut(id) else { return };
        if let Some(interceptor) = socket.interceptor_mut() {
            env.common.timers.disarm(&mut interceptor.armed, TimerTarget::Socket(id));
            socket.protocol = Protocol::Tcp(TcpSocket::Idle);
            self.intercepts.interceptor = None;
            self.intercepts.present_syn = None;
        }
        env.common.settle(id, Wakeup::NONE);
    }

    /// Handles the timer of the interceptor. Returns false for another socket.
    pub(in crate::socket::tcp) fn handle_interceptor_timeout(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
    ) -> bool {
        let Some(interceptor) = env.common.records.get_mut(id).and_then(Socket::interceptor_mut) else {
            return false;
        };
        interceptor.armed.fired();
        self.expire_pending(env);
        true
    }

    /// EINVAL unless this is the interceptor.
    fn check_interceptor(&self, common: &Common, id: SocketId) -> Result<()> {
        let is_tcp = matches!(common.record(id)?.protocol, Protocol::Tcp(_));
        match self.intercepts.interceptor {
            _ if !is_tcp => Err(Error::NotSupported),
            Some(interceptor) if interceptor == id => Ok(()),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// ECONNABORTED if the pending connection is gone.
    fn check_pending(&self, env: &Env<'_>, id: SocketId, pending: PendingId) -> Result<()> {
        self.check_interceptor(env.common, id)?;
        self.intercepts.table.get(pending).map(|_| ()).ok_or(Error::ConnectionAborted)
    }
}
