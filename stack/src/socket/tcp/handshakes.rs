//! The handshakes of listeners: entries of their SYN queues, from the SYN to the accept queue.

use alloc::boxed::Box;
use core::mem;

use bytes::Bytes;

use super::connections::Target;
use super::fast_open::{FastOpenAnswer, Opening};
use super::input::Syn;
use super::listener::{Handshake, SynRoom};
use super::output::reply;
use super::params::{allowed_mss, least_path_mss};
use super::settle::After;
use super::stream::{Stream, TcpSocket};
use super::{CONNECTION_BYTES, TcpSockets};
use crate::config::SynCookieMode;
use crate::demux::FourTuple;
use crate::drop_reason::DropReason;
use crate::event::Wakeup;
use crate::id::{HandshakeId, SocketId};
use crate::socket::common::{Env, TimerTarget};
use crate::socket::options::{IpFields, SocketOptions};
use crate::socket::record::{Holders, Protocol, Socket};
use crate::socket::saved_syns::SavedSyn;
use crate::subject::Subject;
use crate::tcp::{Connection, HandshakeStep, HandshakeTimeout, Header, SynReceived, reset_for};
use crate::timers::Armed;

/// The bytes that the account holds for an entry, without the headers of its SYN.
const HANDSHAKE_BYTES: usize = mem::size_of::<Handshake>();

impl Handshake {
    /// The bytes that the account holds for it.
    fn charge(&self) -> usize {
        HANDSHAKE_BYTES + self.saved_syn.as_deref().map_or(0, SavedSyn::bytes)
    }
}

impl TcpSockets {
    /// Makes a SYN for a listener an entry of its SYN queue.
    pub(super) fn handle_syn(&mut self, env: &mut Env<'_>, id: SocketId, tuple: FourTuple, syn: Syn<'_>) {
        let saved_syn = self.present_syn.take();
        let saved_len = saved_syn.as_deref().map_or(0, SavedSyn::bytes);
        let is_full = env.common.account.is_full_for(HANDSHAKE_BYTES + CONNECTION_BYTES + saved_len);
        let Some((listener, options)) = env.common.listener_mut(id) else { return };
        let saved_syn = saved_syn.filter(|_| options.tcp.save_syn);
        let handshakes = self.half_open.of(id).handshakes;
        let cookies = env.ctx.config.tcp.syn_cookies;
        match listener.room_for_syn(handshakes, cookies, syn.isn_after.is_some()) {
            SynRoom::None(reason) => return env.ctx.count_drop(reason),
            SynRoom::Queue if is_full && cookies == SynCookieMode::Off => {
                return env.ctx.count_drop(DropReason::MemoryLimit);
            }
            // A cookie takes no memory now, and when it comes back there may be some.
            SynRoom::Queue if is_full && syn.isn_after.is_none() => {
                return self.send_cookie(env, id, tuple, syn.header);
            }
            SynRoom::Cookie => return self.send_cookie(env, id, tuple, syn.header),
            SynRoom::Queue => {}
        }
        let mut params = self.open_params(&env.ctx, env.network, options, &tuple);
        if let Some(after) = syn.isn_after
            && params.isn.before_eq(after)
        {
            params.isn = after + 1;
        }
        let (fields, defer_accept) = (options.ip_fields(), options.tcp.defer_accept);
        let cookie = match self.answer_fast_open(env, id, &tuple, syn.header, !syn.payload.is_empty()) {
            FastOpenAnswer::Nothing => None,
            FastOpenAnswer::Cookie(cookie) => Some(cookie),
            FastOpenAnswer::Open(cookie) => {
                return self.open_fast(env, Opening { listener: id, tuple, params, cookie, saved_syn }, syn);
            }
        };
        let mut record = SynReceived::new(&mut env.ctx, syn.header, &params);
        if let Some(cookie) = cookie {
            record.give_cookie(cookie);
        }
        record.defer(&env.ctx, defer_accept);
        let syn_ack = record.syn_ack(env.ctx.now);
        let deadline = record.deadline();
        let entry = Handshake { record, listener: id, tuple, armed: Armed::default(), saved_syn };
        env.common.account.change(0, entry.charge());
        let handshake = self.handshakes.insert(entry);
        if let Some(entry) = self.handshakes.get_mut(handshake) {
            let target = TimerTarget::Handshake(handshake);
            env.common.timers.arm(&mut entry.armed, target, Some(deadline));
        }
        self.half_open.change(id, |counts| counts.handshakes += 1);
        self.connections.insert(&tuple, Target::Handshake(handshake));
        reply(env, &tuple, syn_ack, fields);
    }

    pub(super) fn handle_handshake_segment(
        &mut self,
        env: &mut Env<'_>,
        id: HandshakeId,
        header: &Header,
        payload: Bytes,
    ) {
        let is_out_of_memory = env.common.account.is_full_for(CONNECTION_BYTES);
        let Some(handshake) = self.handshakes.get_mut(id) else { return };
        let (listener_id, tuple) = (handshake.listener, handshake.tuple);
        let Some((listener, options)) = env.common.listener_mut(listener_id) else {
            // The listener was closed meanwhile.
            self.forget_handshake(env, id);
            env.ctx.count_drop(DropReason::NoTcpSocket);
            return self.refuse_stray(env, &tuple, reset_for(header, payload.len()));
        };
        let (is_full, fields) = (listener.is_accept_queue_full(), options.ip_fields());
        match handshake.record.handle_segment(&mut env.ctx, header, payload.len()) {
            HandshakeStep::Ignored => {}
            HandshakeStep::Reply(answer) => {
                let deadline = handshake.record.deadline();
                let target = TimerTarget::Handshake(id);
                env.common.timers.arm(&mut handshake.armed, target, Some(deadline));
                reply(env, &tuple, answer, fields);
            }
            HandshakeStep::Reset(reset) => self.refuse_stray(env, &tuple, Some(reset)),
            HandshakeStep::Aborted => {
                self.forget_handshake(env, id);
            }
            // As in Linux, the ACK is ignored; the SYN-ACK is repeated, and the peer's next segment
            // is another chance.
            HandshakeStep::Complete if is_full => env.ctx.count_drop(DropReason::AcceptQueueFull),
            HandshakeStep::Complete if is_out_of_memory => {
                env.ctx.count_drop(DropReason::MemoryLimit);
            }
            HandshakeStep::Complete => {
                if let Some(handshake) = self.forget_handshake(env, id) {
                    self.establish(env, handshake, header, payload);
                }
            }
        }
    }

    /// Turns a completed handshake into a connection in its listener's accept queue.
    pub(super) fn establish(
        &mut self,
        env: &mut Env<'_>,
        handshake: Handshake,
        header: &Header,
        payload: Bytes,
    ) {
        let Handshake { record, listener, tuple, saved_syn, .. } = handshake;
        let Some(parent) = env.common.records.get(listener) else { return };
        let path_mss = allowed_mss(&env.ctx, env.network, &parent.options, &tuple);
        let mut connection = record.into_connection(&mut env.ctx, parent.options.tcp_settings(), path_mss);
        connection.handle_segment(&mut env.ctx, header, payload);
        self.queue_for_accept(env, listener, tuple, connection, saved_syn);
    }

    /// Puts a new connection into its listener's accept queue.
    pub(super) fn queue_for_accept(
        &mut self,
        env: &mut Env<'_>,
        listener: SocketId,
        tuple: FourTuple,
        mut connection: Connection,
        saved_syn: Option<Box<SavedSyn>>,
    ) -> Option<SocketId> {
        let parent = env.common.records.get(listener)?;
        let options = SocketOptions::inherited(&parent.options, env.network, tuple.scope);
        connection.set_least_path_mss(least_path_mss(tuple.remote.addr));
        let reuse = options.reuse();
        let stream = TcpSocket::Stream(Stream::new(connection, tuple, Some(reuse)).into());
        let mut socket = Socket::new(parent.domain, parent.kind, options, Protocol::Tcp(stream));
        socket.holders = Holders::AcceptQueue;
        let id = env.common.records.insert(socket);
        if let Some(saved) = saved_syn {
            env.common.saved_syns.insert(&mut env.common.account, id, saved);
        }
        self.connections.insert(&tuple, Target::Connection(id));
        self.ports.add_connection(&tuple, reuse);
        env.ctx.stats.tcp.passive_opens += 1;
        if let Some((parent, _)) = env.common.listener_mut(listener) {
            parent.queue.push_back(id);
        }
        self.settle(env, id, After::Change);
        env.common.note_readiness(listener, Wakeup::ARRIVAL);
        Some(id)
    }

    pub(in crate::socket) fn handle_handshake_timeout(&mut self, env: &mut Env<'_>, id: HandshakeId) {
        let Some(handshake) = self.handshakes.get_mut(id) else { return };
        let target = TimerTarget::Handshake(id);
        handshake.armed.fired();
        env.ctx.subject = Subject::Tcp(handshake.tuple);
        let deadline = handshake.record.deadline();
        if deadline > env.ctx.now {
            // A repeated SYN has postponed the timer.
            return env.common.timers.arm(&mut handshake.armed, target, Some(deadline));
        }
        let (next, fields) = match env.common.listener_mut(handshake.listener) {
            Some((_, options)) => (handshake.record.handle_timeout(&mut env.ctx), options.ip_fields()),
            None => (HandshakeTimeout::GiveUp, IpFields::default()),
        };
        if matches!(next, HandshakeTimeout::GiveUp) {
            self.forget_handshake(env, id);
            return env.ctx.count_drop(DropReason::HandshakeTimeout);
        }
        let (deadline, tuple) = (handshake.record.deadline(), handshake.tuple);
        env.common.timers.arm(&mut handshake.armed, target, Some(deadline));
        if let HandshakeTimeout::Repeat(syn_ack) = next {
            reply(env, &tuple, syn_ack, fields);
        }
    }

    /// Removes a handshake from all tables.
    pub(super) fn forget_handshake(&mut self, env: &mut Env<'_>, id: HandshakeId) -> Option<Handshake> {
        let mut handshake = self.handshakes.remove(id)?;
        env.common.timers.disarm(&mut handshake.armed, TimerTarget::Handshake(id));
        self.connections.remove(&handshake.tuple, Target::Handshake(id));
        env.common.account.change(handshake.charge(), 0);
        // It was counted when it began.
        self.half_open.change(handshake.listener, |counts| counts.handshakes -= 1);
        Some(handshake)
    }
}
