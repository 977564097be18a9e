//! The steps after every change to a connection: its timer, its packets, its events, the memory
//! account, its end.

use core::mem;

use super::TcpSockets;
use super::connections::Target;
use super::stream::TcpSocket;
use super::time_waits::{Due, TimeWaitEntry, TimeWaitId};
use crate::Ctx;
use crate::demux::FourTuple;
use crate::event::Wakeup;
use crate::id::SocketId;
use crate::ports::Reuse;
use crate::socket::common::{Common, Env, TimerTarget};
use crate::socket::record::{Protocol, Socket};
use crate::socket::scope::Bound;
use crate::tcp::State;
use crate::time::Instant;

/// How many TIME-WAIT records one call removes. Further ones stay due.
const MAX_EXPIRED: usize = 1024;

/// What was done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// A call, a segment or a timer changed it. All of its state may be new.
    Change,
    /// The program read. Only its memory and what it owes the peer may have changed, and nothing
    /// becomes ready.
    Read,
    /// It sent in its turn. Its timer and its memory may have changed, and the program may have
    /// room to write.
    Sent,
    /// It sent nothing in its turn. Only its timer may have changed.
    SentNothing,
}

impl TcpSockets {
    /// Updates the timer, the account, the queues and the tables after a change to a connection.
    pub(super) fn settle(&mut self, env: &mut Env<'_>, id: SocketId, after: After) {
        // Every segment passes here, so the socket is looked up only once.
        let Some(socket) = env.common.records.get_mut(id) else { return };
        let is_unheld = socket.is_unheld();
        let own_bytes = socket.options.own_bytes();
        let Some(stream) = socket.protocol.stream_mut() else { return };
        if after != After::Read {
            let deadline = stream.connection.deadline();
            env.common.timers.arm(&mut stream.armed, TimerTarget::Socket(id), deadline);
        }
        if after == After::SentNothing {
            if stream.is_parted && !is_unheld {
                env.common.reduce_to_answers(&env.ctx, id);
            }
            return;
        }
        let bytes = mem::size_of::<Socket>() + own_bytes + stream.held_bytes();
        env.common.account.renew(&mut socket.charged_bytes, bytes);
        if after == After::Sent {
            if !socket.marks.is_writable() {
                env.common.note_readiness(id, Wakeup::NONE);
            }
            return;
        }
        // A receive queue is far smaller than 2^32 bytes.
        let readable = stream.connection.queued().0 as u32;
        let has_new_data = readable > stream.seen_readable;
        stream.seen_readable = readable;
        let readiness = stream.connection.readiness();
        let is_quiet = !is_unheld && stream.connection.is_quiet();
        let risen = socket.marks.replace(readiness);
        if !is_quiet && socket.marks.enter_transmit_queue() {
            env.common.transmit_queue.push_back(id);
        }
        if after == After::Read {
            return;
        }
        if is_quiet {
            stream.connection.note_activity(env.ctx.now);
        }
        if stream.connection.take_progress() {
            env.network.confirm_reachable(env.ctx.now, stream.tuple.remote.addr, stream.iface());
        }
        let has_urgent_news = stream.connection.take_urgent_news();
        let fast_open_end = stream.connection.take_fast_open_end();
        let state = stream.connection.state();
        let has_new_state = mem::replace(&mut stream.seen_state, state) != state;
        let ended =
            Some(state).filter(|state| matches!(state, State::TimeWait | State::Closed) && !stream.is_parted);
        let has_arrival = (has_new_data && readiness.readable) || has_urgent_news;
        if (risen != 0 || has_arrival) && socket.enter_event_queue() {
            env.common.events.push_back(id);
        }
        if env.common.pollers.has_registrations() {
            let arrival = if has_arrival { Wakeup::ARRIVAL } else { Wakeup::NONE };
            let wakeup = Wakeup::of_risen(risen) | arrival;
            // As on Linux, also when nothing became ready, for example when our FIN is
            // acknowledged.
            env.common.pollers.wake(id, if has_new_state { Wakeup::STATE } else { wakeup });
        }
        match ended {
            Some(State::TimeWait) => self.enter_time_wait(env, id),
            Some(_) => self.part(env.common, id),
            None => {}
        }
        if let Some(end) = fast_open_end {
            self.on_fast_open_end(env, id, end);
        }
    }

    /// Removes the connection from the tables, so that no segment finds it any more.
    fn part(&mut self, common: &mut Common, id: SocketId) {
        if let Some(stream) = common.stream_mut(id) {
            stream.is_parted = true;
            self.orphans -= usize::from(mem::take(&mut stream.is_orphan));
            self.connections.remove(&stream.tuple, Target::Connection(id));
        }
    }

    /// Replaces the connection by a TIME-WAIT record in the tables. The socket remains for data
    /// that its program has not read.
    fn enter_time_wait(&mut self, env: &mut Env<'_>, id: SocketId) {
        if self.time_waits.len() >= env.ctx.config.tcp.max_time_wait {
            return self.part(env.common, id);
        }
        let Some(socket) = env.common.records.get_mut(id) else { return };
        let (reuse, tos) = (socket.options.reuse(), socket.options.ip.tos);
        let Some(stream) = socket.protocol.stream_mut() else { return };
        stream.is_parted = true;
        self.orphans -= usize::from(mem::take(&mut stream.is_orphan));
        let tuple = stream.tuple;
        let entry =
            TimeWaitEntry::new(stream.named(&mut env.ctx).time_wait(&mut env.ctx), &tuple, reuse, tos);
        self.ports.add_connection(&tuple, reuse);
        let record = self.time_waits.insert(&env.ctx, entry);
        self.connections.replace(&tuple, Target::Connection(id), Target::TimeWait(record));
    }

    /// When the first TIME-WAIT record may expire.
    pub(in crate::socket) fn time_wait_deadline(&self) -> Option<Instant> {
        self.time_waits.deadline()
    }

    /// Removes TIME-WAIT records whose time is over, so many in one call.
    pub(in crate::socket) fn expire_time_waits(&mut self, ctx: &Ctx<'_>) {
        for _ in 0..MAX_EXPIRED {
            let Some(due) = self.time_waits.pop_due(ctx) else { return };
            match due {
                Due::Expired(id, entry) => self.forget_time_wait(id, &entry.tuple(), entry.reuse()),
                Due::Moved { tuple, from, to } => {
                    self.connections.replace(&tuple, Target::TimeWait(from), Target::TimeWait(to));
                }
                Due::Gone => {}
            }
        }
    }

    /// Removes the four-tuple and the port of a record that was removed.
    pub(super) fn forget_time_wait(&mut self, id: TimeWaitId, tuple: &FourTuple, reuse: Reuse) {
        self.connections.remove(tuple, Target::TimeWait(id));
        self.ports.remove_connection(tuple, reuse);
    }

    /// Removes a socket from all tables.
    pub(super) fn free_socket(&mut self, common: &mut Common, id: SocketId) {
        let Some(socket) = common.records.get_mut(id) else { return };
        let bound = socket.bound();
        let protocol = mem::replace(&mut socket.protocol, Protocol::Tcp(TcpSocket::Idle));
        match protocol {
            Protocol::Tcp(TcpSocket::Listener(_)) => {
                if let Some(bound) = bound {
                    self.listeners.remove(bound.key(), id);
                }
            }
            Protocol::Tcp(tcp) => self.forget_connection(common, id, tcp),
            _ => {}
        }
        if let Some(Bound { port, .. }) = bound {
            self.ports.unbind(port, id);
        }
        common.remove(id);
    }

    /// Removes a connection from the tables that would still contain it after its socket.
    pub(super) fn forget_connection(&mut self, common: &mut Common, id: SocketId, mut tcp: TcpSocket) {
        self.intercepts.table.forget_accepted(id);
        if let Some((tuple, reuse)) = tcp.port_share() {
            self.ports.remove_connection(&tuple, *reuse);
        }
        if let TcpSocket::Stream(stream) = &mut tcp {
            common.timers.disarm(&mut stream.armed, TimerTarget::Socket(id));
            if !stream.is_parted {
                self.connections.remove(&stream.tuple, Target::Connection(id));
            }
        }
    }
}
