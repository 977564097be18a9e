//! The calls of programs on TCP sockets.

use core::mem;
use core::net::SocketAddr;

use bytes::Bytes;

use super::TcpSockets;
use super::listener::Listener;
use super::output::ECN_FIELD;
use super::questions::has_connection;
use super::settle::After;
use super::stream::TcpSocket;
use crate::Ctx;
use crate::error::{Error, Result};
use crate::event::Wakeup;
use crate::frame::Transmit;
use crate::id::{OwnerId, SocketId};
use crate::message_flags::{ReceivedFlags, RecvFlags, SendFlags};
use crate::socket::address::SockAddr;
use crate::socket::binding::{Groups, bind_port, set_selector};
use crate::socket::common::{Common, Env, TimerTarget, TransmitOutcome};
use crate::socket::kind::{Domain, Shutdown, SocketKind};
use crate::socket::message::{DatagramMeta, Received, SendMeta};
use crate::socket::options::SocketOption;
use crate::socket::port_selector::PortSelector;
use crate::socket::protocol::{ProtocolCalls, SendData};
use crate::socket::record::{Holders, Protocol, Socket};
use crate::socket::scope::Bound;
use crate::tcp::{Connection, State};

impl ProtocolCalls for TcpSockets {
    fn new_socket(&self, domain: Domain, kind: SocketKind) -> Result<Socket> {
        if kind != SocketKind::Stream {
            return Err(Error::SocketTypeNotSupported);
        }
        Ok(Socket::new(domain, kind, self.default_options.clone(), Protocol::Tcp(TcpSocket::Idle)))
    }

    fn bind(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let socket = env.common.record(id)?;
        if !matches!(socket.protocol, Protocol::Tcp(TcpSocket::Idle)) {
            return Err(Error::InvalidArgument);
        }
        let any = socket.any_addr(true);
        let wanted = env.common.choose_binding(env.network, id, addr.to_ip()?, any, Groups::Refused)?;
        if env.common.record(id)?.defers_port(&wanted) {
            env.common.record_mut(id)?.set_bound(wanted);
            return Ok(());
        }
        bind_port(env, &mut self.ports, id, wanted)?;
        Ok(())
    }

    fn listen(&mut self, env: &mut Env<'_>, id: SocketId, backlog: usize) -> Result<()> {
        let backlog = backlog.min(env.ctx.config.tcp.max_backlog);
        let socket = env.common.record_mut(id)?;
        match socket.protocol.tcp_mut()? {
            TcpSocket::Stream(_) | TcpSocket::Ended(_) | TcpSocket::Interceptor(_) => {
                return Err(Error::InvalidArgument);
            }
            TcpSocket::Listener(listener) => {
                listener.backlog = backlog;
                return Ok(());
            }
            TcpSocket::Idle => {}
        }
        let bound = socket.bound().unwrap_or_else(|| socket.default_binding(true));
        let bound = if bound.port == 0 { bind_port(env, &mut self.ports, id, bound)? } else { bound };
        self.ports.listen(bound.port, id)?;
        let socket = env.common.record_mut(id)?;
        let options = &socket.options;
        self.listeners.insert(bound.key(), id, options.reuse_port, options.port_selector.as_deref());
        socket.protocol = Protocol::Tcp(TcpSocket::Listener(Listener::new(backlog).into()));
        env.common.settle(id, Wakeup::NONE);
        Ok(())
    }

    fn intercept(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        self.start_intercepting(env, id)
    }

    fn accept(&mut self, env: &mut Env<'_>, caller: OwnerId, id: SocketId) -> Result<SocketId> {
        let has_room = env.common.owners.check_room(caller);
        let TcpSocket::Listener(listener) = env.common.record_mut(id)?.protocol.tcp_mut()? else {
            return Err(Error::InvalidArgument);
        };
        if listener.queue.is_empty() {
            return Err(Error::WouldBlock);
        }
        has_room?;
        let accepted = listener.queue.pop_front().ok_or(Error::WouldBlock)?;
        env.common.note_readiness(id, Wakeup::NONE);
        Ok(accepted)
    }

    fn connect(&mut self, env: &mut Env<'_>, id: SocketId, addr: &SockAddr) -> Result<()> {
        let is_fast = env.common.record(id)?.options.tcp.fast_open.connect;
        self.open_stream(env, id, addr.to_ip()?, is_fast)
    }

    /// Ends the connection with a reset, or listening. The socket can then be used again.
    fn disconnect(&mut self, env: &mut Env<'_>, id: SocketId) -> Result<()> {
        match env.common.record_mut(id)?.protocol.tcp_mut()? {
            TcpSocket::Stream(stream) => {
                stream.named(&mut env.ctx).disconnect(&mut env.ctx);
                self.settle(env, id, After::Change);
            }
            TcpSocket::Listener(_) => self.stop_listening(env, id),
            TcpSocket::Interceptor(_) => self.stop_intercepting(env, id),
            TcpSocket::Ended(stream) => {
                stream.ended.disconnect();
                env.common.note_readiness(id, Wakeup::NONE);
            }
            TcpSocket::Idle => {}
        }
        Ok(())
    }

    fn connect_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        addr: SocketAddr,
        data: &[u8],
    ) -> Result<usize> {
        self.open_stream(env, id, addr, true)?;
        self.send(env, id, SendData::Slice(data), &SendMeta::connected(), SendFlags::default())
    }

    /// Sends data. The address is ignored on a connected stream, as on Linux.
    fn send(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        data: SendData<'_>,
        _: &SendMeta,
        flags: SendFlags,
    ) -> Result<usize> {
        self.renew_budget(env);
        if env.ctx.memory.is_pressed() {
            env.ctx.memory = env.common.budget_of(env.ctx.now, id);
        }
        let Some(stream) = env.common.stream_mut(id) else { return Err(env.common.send_after_end(id)) };
        let ctx = &mut env.ctx;
        let connection = stream.named(ctx);
        let room = if ctx.memory.is_plenty(data.len()) { data.len() } else { connection.memory_to_send(ctx) };
        if room == 0 && data.len() > 0 && connection.state() != State::Closed {
            let error =
                if connection.shrink_send_buffer() { Error::WouldBlock } else { Error::NoBufferSpace };
            env.common.note_readiness(id, Wakeup::NONE);
            return Err(error);
        }
        let whole = data.len();
        let sent = match data {
            SendData::Slice(slice) => connection.send(ctx, &slice[..slice.len().min(room)]),
            SendData::Slices(slices) => connection.send_slices(ctx, slices, room),
            SendData::Bytes(bytes) => connection.send_bytes(ctx, bytes.slice(..bytes.len().min(room))),
        };
        if let Ok(len @ 1..) = sent {
            if flags.contains(SendFlags::OOB) {
                connection.end_urgent_data();
            }
            connection.set_send_flags(if len == whole { flags } else { SendFlags::default() });
        }
        self.settle(env, id, After::Change);
        sent
    }

    fn receive(&mut self, env: &mut Env<'_>, id: SocketId, buf: &mut [u8]) -> Result<usize> {
        let received = self.with_readable(env, id, |connection, ctx| connection.recv(ctx, buf))?;
        env.common.on_received(id, received);
        Ok(received)
    }

    fn receive_from(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        buf: &mut [u8],
    ) -> Result<(usize, DatagramMeta)> {
        let meta = env.common.record(id)?.connection_meta(env.ctx.now)?;
        Ok((self.receive(env, id, buf)?, meta))
    }

    fn receive_bytes(&mut self, env: &mut Env<'_>, id: SocketId, max: usize) -> Result<Bytes> {
        let received = self.with_readable(env, id, |connection, ctx| connection.recv_bytes(ctx, max))?;
        env.common.on_received(id, received.len());
        Ok(received)
    }

    fn receive_with(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        flags: RecvFlags,
    ) -> Result<Received> {
        // A stream has no queue of errors.
        if flags.contains(RecvFlags::ERROR_QUEUE) {
            return Err(Error::WouldBlock);
        }
        let meta = env.common.record(id)?.connection_meta(env.ctx.now).ok();
        let (peeks, discards) = (flags.contains(RecvFlags::PEEK), flags.contains(RecvFlags::TRUNCATE));
        if flags.contains(RecvFlags::OOB) {
            return Ok(Received { meta, ..self.receive_urgent(env, id, bufs, peeks, discards)? });
        }
        let max = bufs.iter().map(|buf| buf.len()).sum();
        let offset = env.common.peek_offset(id).unwrap_or(0);
        let len = self.with_readable(env, id, |connection, ctx| match (peeks, discards) {
            (true, true) => connection.peek_len(offset, max),
            (true, false) => connection.peek(offset, bufs),
            (false, true) => connection.discard(ctx, max),
            (false, false) => connection.recv_slices(ctx, bufs),
        })?;
        if peeks {
            env.common.on_peeked(id, len);
        } else {
            env.common.on_received(id, len);
        }
        Ok(Received { len, meta, ..Received::default() })
    }

    fn transmit(&mut self, env: &mut Env<'_>, id: SocketId, frame: &mut Option<Transmit>) -> TransmitOutcome {
        self.transmit_stream(env, id, frame)
    }

    fn shutdown(&mut self, env: &mut Env<'_>, id: SocketId, how: Shutdown) -> Result<()> {
        match env.common.record_mut(id)?.protocol.tcp_mut()? {
            TcpSocket::Stream(stream) => {
                if how != Shutdown::Write {
                    stream.named(&mut env.ctx).shutdown_read(&mut env.ctx)?;
                }
                // In SYN-SENT the attempt to connect has been given up by now.
                let is_over = how == Shutdown::Both && stream.connection.is_opening_given_up();
                if how != Shutdown::Read && !is_over {
                    stream.named(&mut env.ctx).shutdown_write(&mut env.ctx)?;
                }
                self.settle(env, id, After::Change);
                Ok(())
            }
            // As on Linux: SHUT_RD stops a listener, which can then be closed or listen again.
            TcpSocket::Listener(_) if how != Shutdown::Write => {
                self.stop_listening(env, id);
                Ok(())
            }
            TcpSocket::Listener(_) => Ok(()),
            TcpSocket::Idle | TcpSocket::Ended(_) | TcpSocket::Interceptor(_) => Err(Error::NotConnected),
        }
    }

    fn close(&mut self, env: &mut Env<'_>, id: SocketId) {
        let Some(socket) = env.common.records.get_mut(id) else { return };
        let is_hard = socket.options.linger.is_some_and(|time| time.is_zero());
        let Ok(tcp) = socket.protocol.tcp_mut() else { return };
        match tcp {
            TcpSocket::Idle | TcpSocket::Ended(_) => self.free(env, id),
            TcpSocket::Listener(_) => {
                self.stop_listening(env, id);
                self.free(env, id);
            }
            TcpSocket::Interceptor(_) => {
                self.stop_intercepting(env, id);
                self.free(env, id);
            }
            // The program does not want it any more, and the source must not believe that it was
            // accepted and then closed.
            TcpSocket::Stream(stream)
                if stream.connection.state() == State::SynReceived
                    && self.intercepts.table.has_accepted(id) =>
            {
                self.abort(env, id);
            }
            TcpSocket::Stream(_) if is_hard => self.abort(env, id),
            TcpSocket::Stream(stream) => {
                stream.named(&mut env.ctx).close(&mut env.ctx);
                self.settle(env, id, After::Change);
                self.on_orphaned(env, id);
            }
        }
    }

    fn set_option(&mut self, env: &mut Env<'_>, id: SocketId, option: SocketOption) -> Result<()> {
        check_state(env.common.record(id)?, option)?;
        let option = match option {
            SocketOption::QuickAck(on) => {
                if let Some(stream) = env.common.stream_mut(id) {
                    stream.named(&mut env.ctx).set_quick_ack(&env.ctx, on);
                    self.settle(env, id, After::Change);
                } else if let Some(ended) = env.common.record_mut(id)?.protocol.ended_mut() {
                    ended.set_quick_ack(on);
                }
                return Ok(());
            }
            SocketOption::BindToDevice(device) => return self.bind_to_device(env, id, device),
            SocketOption::Tos(tos) => SocketOption::Tos(tos & !ECN_FIELD),
            option => option,
        };
        env.common.set_option(&env.ctx, id, option)?;
        let socket = env.common.record_mut(id)?;
        let settings = socket.options.tcp_settings();
        if let Some(stream) = socket.protocol.stream_mut() {
            stream.named(&mut env.ctx).set_settings(&mut env.ctx, settings);
            self.settle(env, id, After::Change);
        } else if let Some(ended) = socket.protocol.ended_mut() {
            ended.set_settings(&settings);
        }
        if option.is_about_reuse() {
            self.renew_reuse(env.common, id);
        }
        Ok(())
    }

    fn select_on_port(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        selector: Option<PortSelector>,
    ) -> Result<()> {
        let socket = env.common.record(id)?;
        let is_listening = matches!(socket.protocol, Protocol::Tcp(TcpSocket::Listener(_)));
        let bound = socket.bound().filter(|_| is_listening);
        set_selector(env, &mut self.listeners, id, bound, selector)
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, id: SocketId) {
        if !self.handle_interceptor_timeout(env, id) {
            self.handle_stream_timeout(env, id);
        }
    }

    fn free(&mut self, env: &mut Env<'_>, id: SocketId) {
        self.free_socket(env.common, id);
    }
}

/// EINVAL for an option that has a meaning only before the connection.
fn check_state(socket: &Socket, option: SocketOption) -> Result<()> {
    let is_late = match option {
        SocketOption::FastOpen(_) | SocketOption::FastOpenWithoutCookie(_) => has_connection(socket),
        SocketOption::WindowClamp(0) => {
            has_connection(socket) || matches!(socket.protocol, Protocol::Tcp(TcpSocket::Listener(_)))
        }
        SocketOption::FastOpenConnect(_) => {
            has_connection(socket) || matches!(socket.protocol, Protocol::Tcp(TcpSocket::Listener(_)))
        }
        _ => false,
    };
    if is_late { Err(Error::InvalidArgument) } else { Ok(()) }
}

impl TcpSockets {
    /// Receives the urgent byte. As on Linux a call without room for it takes it, too, and says
    /// that it was truncated.
    fn receive_urgent(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        bufs: &mut [&mut [u8]],
        peeks: bool,
        discards: bool,
    ) -> Result<Received> {
        if matches!(env.common.record(id)?.protocol, Protocol::Tcp(TcpSocket::Idle | TcpSocket::Ended(_))) {
            return Err(Error::InvalidArgument);
        }
        let taken = self.with_readable(env, id, |connection, _| connection.recv_oob(peeks))?;
        let Some(byte) = taken else { return Ok(Received::default()) };
        let mut received = Received { flags: ReceivedFlags::OOB, ..Received::default() };
        match bufs.iter_mut().find_map(|buf| buf.first_mut()) {
            Some(place) => {
                if !discards {
                    *place = byte;
                }
                received.len = 1;
            }
            None => received.flags = received.flags | ReceivedFlags::TRUNCATED,
        }
        Ok(received)
    }

    fn with_readable<T: Default>(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        read: impl FnOnce(&mut Connection, &mut Ctx<'_>) -> Result<T>,
    ) -> Result<T> {
        let Some(stream) = env.common.stream_mut(id) else {
            return env.common.receive_after_end(id).map(|()| T::default());
        };
        let result = read(stream.named(&mut env.ctx), &mut env.ctx);
        if !matches!(result, Err(Error::WouldBlock)) {
            self.settle(env, id, After::Read);
        }
        result
    }

    /// Resets the connections that wait to be accepted. Handshakes in progress are reset when their
    /// next segment finds no listener.
    fn stop_listening(&mut self, env: &mut Env<'_>, id: SocketId) {
        let Some(socket) = env.common.records.get_mut(id) else { return };
        let bound = socket.bound();
        let protocol = mem::replace(&mut socket.protocol, Protocol::Tcp(TcpSocket::Idle));
        let Protocol::Tcp(TcpSocket::Listener(listener)) = protocol else { return };
        if let Some(bound) = bound {
            self.listeners.remove(bound.key(), id);
            self.ports.change(bound.port, id, |binding| binding.listening = false);
        }
        for waiting in listener.queue {
            self.abort(env, waiting);
        }
        env.common.settle(id, Wakeup::NONE);
    }

    /// Resets a connection that will have no holder.
    pub(super) fn abort(&mut self, env: &mut Env<'_>, id: SocketId) {
        if let Some(socket) = env.common.records.get_mut(id) {
            socket.holders = Holders::Nobody;
            match &mut socket.protocol {
                Protocol::Tcp(TcpSocket::Ended(_)) => return self.free(env, id),
                protocol => {
                    if let Some(stream) = protocol.stream_mut() {
                        stream.named(&mut env.ctx).abort(&mut env.ctx);
                    }
                }
            }
        }
        self.settle(env, id, After::Change);
    }

    /// Handles a connection's timer.
    fn handle_stream_timeout(&mut self, env: &mut Env<'_>, id: SocketId) {
        let Common { records, timers, .. } = &mut *env.common;
        let Some(stream) = records.get_mut(id).and_then(|socket| socket.protocol.stream_mut()) else {
            return;
        };
        stream.armed.fired();
        let deadline = stream.connection.deadline();
        if deadline.is_none_or(|at| at > env.ctx.now) {
            // The timer was postponed or stopped.
            return timers.arm(&mut stream.armed, TimerTarget::Socket(id), deadline);
        }
        stream.named(&mut env.ctx).handle_timeout(&mut env.ctx);
        self.settle(env, id, After::Change);
        self.look_after_orphan(env, id);
    }

    /// Updates SO_REUSEADDR and SO_REUSEPORT in the port table: Linux checks their current values,
    /// not those at the time of `bind`.
    fn renew_reuse(&mut self, common: &mut Common, id: SocketId) {
        let Some(socket) = common.records.get_mut(id) else { return };
        let (reuse, bound) = (socket.options.reuse(), socket.bound());
        if let Some(Bound { port: port @ 1.., .. }) = bound {
            self.ports.change(port, id, |binding| binding.reuse = reuse);
        } else if let Ok(tcp) = socket.protocol.tcp_mut()
            && let Some((tuple, shared)) = tcp.port_share()
        {
            let old = mem::replace(shared, reuse);
            self.ports.remove_connection(&tuple, old);
            self.ports.add_connection(&tuple, reuse);
        }
    }
}
