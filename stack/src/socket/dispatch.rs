//! Dispatch: passes calls, packets and timers to the tables of their socket kind.

use super::address::SockAddr;
use super::common::{Common, Env, TimerTarget, TransmitOutcome};
use super::info::SocketInfo;
use super::kind::{Domain, Room, SocketKind, rooms};
use super::protocol::{ProtocolCalls, ProtocolInput};
use super::record::Socket;
use super::scope::{scope_id, scope_of};
use super::table::Descriptor;
use super::walk::{SocketInfos, SocketWalk, WalkStep};
use crate::config::Config;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::error::{Error, Result};
use crate::event::{Deadline, DeadlineKind};
use crate::frame::Transmit;
use crate::id::{OwnerId, PendingId, SocketId};
use crate::ip::protocol;
use crate::network::{Datagram, Delivery, IcmpOutcome, NetworkError, NetworkErrorKind, Reception};
use crate::rng::Rng;
use crate::stats::Stats;
use crate::steering::Share;
use crate::subject::Subject;
use crate::time::Instant;

/// How many sockets that were passed on in messages are released in one call.
const PASSED_AT_ONCE: usize = 64;

/// How many timers of sockets one call handles. Further ones stay due.
const MAX_TIMERS: usize = 512;

/// All sockets of a stack.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) common: Common,
    pub(crate) kinds: Kinds,
}

macro_rules! tables {
    ($($room:ident => $field:ident: $tables:ty,)*) => {
        /// The tables of each room.
        #[derive(Debug)]
        pub(crate) struct Kinds {
            $(pub(crate) $field: $tables,)*
        }

        impl Kinds {
            fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
                Kinds { $($field: <$tables>::new(config, share, rng),)* }
            }

            pub(crate) fn of(&mut self, room: Room) -> &mut dyn ProtocolCalls {
                match room {
                    $(Room::$room => &mut self.$field,)*
                }
            }

            /// Tells every kind of a packet for a transport. Whether a socket took it. This costs
            /// nothing for kinds that take none: each is called by its type.
            #[inline]
            fn on_datagram(&mut self, env: &mut Env<'_>, datagram: &Datagram) -> bool {
                [$(self.$field.on_datagram(env, datagram),)*].contains(&true)
            }

            /// Tells every kind of an ICMP message. Whether a socket took it.
            fn on_icmp(&mut self, env: &mut Env<'_>, message: &Datagram, outcome: &IcmpOutcome) -> bool {
                [$(self.$field.on_icmp(env, message, outcome),)*].contains(&true)
            }

            /// Tells every kind of an error. Whether it is about a packet of one of the sockets.
            fn handle_error(&mut self, env: &mut Env<'_>, flow: &FourTuple, error: &NetworkError) -> bool {
                [$(self.$field.handle_error(env, flow, error),)*].contains(&true)
            }
        }
    };
}

rooms!(tables);

impl Sockets {
    pub(crate) fn new(config: &Config, share: Option<&Share>, rng: &mut Rng) -> Self {
        Sockets { common: Common::new(config, rng), kinds: Kinds::new(config, share, rng) }
    }

    /// Whether descriptors or pollers of removed owners are still to be closed.
    pub(crate) fn has_removed(&self) -> bool {
        self.common.owners.has_removed() || self.common.pollers.has_removed()
    }

    /// Whether [`Kinds::poll_run`] or [`Kinds::poll_transmit`] may have something.
    pub(crate) fn has_transmits(&self) -> bool {
        self.kinds.tcp.has_run() || self.common.has_transmits()
    }

    /// When sockets that nobody can reach are to be closed, or to be searched for.
    pub(crate) fn unreachable_at(&self, now: Instant) -> Option<Instant> {
        self.kinds.unix.due_at(now)
    }

    /// The moment of [`Sockets::poll_timeout`].
    pub(crate) fn next_timeout_at(&self) -> Option<Instant> {
        let timer = self.common.timers.first().map(|(at, _)| at);
        [timer, self.kinds.tcp.time_wait_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let timer = self.common.timers.first().map(|(at, target)| {
            let (kind, socket) = match target {
                TimerTarget::Handshake(_) => (DeadlineKind::Handshake, None),
                TimerTarget::Socket(id) => {
                    let timer = self.common.timer_of(id);
                    (timer.map_or(DeadlineKind::Retransmit, |(_, kind)| kind), Some(id))
                }
            };
            Deadline { at, kind, socket }
        });
        let time_wait = self.kinds.tcp.time_wait_deadline().map(|at| Deadline {
            at,
            kind: DeadlineKind::TimeWait,
            socket: None,
        });
        [timer, time_wait].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    /// Every socket, handshake and TIME-WAIT record.
    pub(crate) fn infos(&self) -> impl Iterator<Item = SocketInfo> {
        SocketInfos::new(&self.common, &self.kinds.tcp)
    }

    /// Takes up to `steps` steps of a walk.
    pub(crate) fn walk(&self, walk: &mut SocketWalk, steps: usize, mut visit: impl FnMut(SocketInfo)) {
        for _ in 0..steps {
            match walk.step(&self.common, &self.kinds.tcp) {
                WalkStep::Socket(info) => visit(info),
                WalkStep::Other => {}
                WalkStep::End => return,
            }
        }
    }
}

/// Descriptors, and registrations with pollers, that one call closes for owners that were removed:
/// what a call does must not grow with what an owner had.
const CLOSE_BATCH: usize = 256;

impl Kinds {
    /// Delivers the result of a received frame or packet to the sockets, or counts the drop.
    pub(crate) fn handle_reception(&mut self, env: &mut Env<'_>, received: Reception) {
        match received {
            Ok(Some(delivery)) => self.handle_delivery(env, delivery),
            Ok(None) => {}
            Err(reason) => env.ctx.count_drop(reason),
        }
    }

    /// Hands a delivery to its transport. What has none is dropped, unless a socket has taken it.
    fn handle_delivery(&mut self, env: &mut Env<'_>, delivery: Delivery) {
        match delivery {
            Delivery::Datagram(datagram) => {
                let is_taken = self.on_datagram(env, &datagram);
                match datagram.protocol {
                    protocol::TCP => self.tcp.handle_segment(env, datagram),
                    protocol::UDP => self.udp.handle_datagram(env, datagram),
                    _ if is_taken => {}
                    _ => {
                        env.ctx.count_drop(DropReason::UnknownProtocol);
                        let kind = NetworkErrorKind::ProtocolUnreachable;
                        env.network.send_unreachable(&mut env.ctx, &datagram, kind);
                    }
                }
            }
            Delivery::Icmp { message, outcome } => {
                let is_taken = self.on_icmp(env, &message, &outcome);
                match outcome {
                    IcmpOutcome::Error(error) => {
                        if self.handle_network_error(env, &error) {
                            env.ctx.stats.icmp.errors_received += 1;
                        } else if !is_taken {
                            env.ctx.count_drop(DropReason::UnmatchedIcmpError);
                        }
                    }
                    _ if is_taken => {}
                    IcmpOutcome::EchoReply => env.ctx.count_drop(DropReason::UnknownIcmp),
                    IcmpOutcome::Unused(reason) => env.ctx.count_drop(reason),
                    IcmpOutcome::Done => {}
                }
            }
            // No packet came in with it; the packet that it is about is counted.
            Delivery::Error(error) => {
                self.handle_network_error(env, &error);
            }
        }
    }

    /// Like [`handle_reception`](Kinds::handle_reception), for a frame of a batch that ends with
    /// [`finish_joining`](Kinds::finish_joining). Returns whether any segment waits to be joined
    /// with the next one.
    pub(crate) fn join_reception(&mut self, env: &mut Env<'_>, received: Reception) -> bool {
        match received {
            Ok(Some(Delivery::Datagram(datagram))) if datagram.protocol == protocol::TCP => {
                self.on_datagram(env, &datagram);
                self.tcp.join_segment(env, datagram)
            }
            Ok(Some(delivery)) => {
                self.tcp.finish_joining(env);
                self.handle_delivery(env, delivery);
                false
            }
            nothing => {
                self.handle_reception(env, nothing);
                false
            }
        }
    }

    /// Delivers the segments of a batch that were joined so far.
    pub(crate) fn finish_joining(&mut self, env: &mut Env<'_>) {
        self.tcp.finish_joining(env);
    }

    /// Passes a network error about a packet that we sent to the socket that sent it. Returns
    /// whether there was one that took it.
    fn handle_network_error(&mut self, env: &mut Env<'_>, error: &NetworkError) -> bool {
        // An error has at least 8 bytes of the transport's header.
        let Some(&[a, b, c, d]) = error.transport.get(..4) else { return false };
        // Link-local flows are found under the interface that the error's addresses have in common
        // with them.
        let flow = FourTuple {
            local: Endpoint::new(error.local, u16::from_be_bytes([a, b])),
            remote: Endpoint::new(error.remote, u16::from_be_bytes([c, d])),
            scope: error.iface.map_or(0, |iface| match env.network.is_apart(iface) {
                true => scope_id(iface),
                false => scope_of([error.local, error.remote], iface),
            }),
        };
        env.ctx.subject = Subject::Packet { src: error.remote, dst: error.local, protocol: error.protocol };
        self.handle_error(env, &flow, error)
    }

    /// The next frame of the run whose turn it is. It comes before [`Kinds::poll_transmit`].
    pub(crate) fn poll_run(&mut self, stats: &mut Stats) -> Option<Transmit> {
        self.tcp.poll_run(stats)
    }

    /// Sends the next packet of the sockets, in round-robin order; `frame` as in
    /// [`transmit`](ProtocolCalls::transmit). `Nothing`: no socket has anything to send now, or
    /// `may_pass` has come to 0.
    pub(crate) fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        frame: &mut Option<Transmit>,
        may_pass: &mut usize,
    ) -> TransmitOutcome {
        while let Some((id, room)) = env.common.next_to_transmit(may_pass) {
            if self.of(room).transmit(env, id, frame) == TransmitOutcome::Sent {
                env.common.queue_transmit(id);
                return TransmitOutcome::Sent;
            }
            let is_over = |socket: &Socket| socket.is_unheld() && socket.protocol.state().is_over();
            if env.common.records.get(id).is_some_and(is_over) {
                self.of(room).free(env, id);
            }
        }
        TransmitOutcome::Nothing
    }

    pub(crate) fn handle_timeout(&mut self, env: &mut Env<'_>) {
        for _ in 0..MAX_TIMERS {
            let Some(target) = env.common.timers.pop_due(env.ctx.now) else { break };
            match target {
                TimerTarget::Socket(id) => {
                    if let Some(socket) = env.common.records.get(id) {
                        let room = socket.room();
                        self.of(room).handle_timeout(env, id);
                    }
                }
                TimerTarget::Handshake(id) => self.tcp.handle_handshake_timeout(env, id),
            }
        }
        self.tcp.expire_time_waits(&env.ctx);
        self.close_removed(env);
        self.release_passed(env);
    }

    /// Renews the memory budget of a call or frame, and gives memory back while it is short.
    pub(crate) fn renew_budget(&mut self, env: &mut Env<'_>) {
        self.tcp.renew_budget(env);
    }

    /// A new socket, under the lowest free number of the caller. EMFILE, ENOBUFS, and
    /// EPROTONOSUPPORT for a protocol that the kind does not have.
    pub(crate) fn open(
        &mut self,
        env: &mut Env<'_>,
        caller: OwnerId,
        domain: Domain,
        kind: SocketKind,
    ) -> Result<Descriptor> {
        let room = Room::of(domain, kind);
        env.common.owners.check_room(caller)?;
        let mut socket = self.of(room).new_socket(domain, kind)?;
        socket.uid = env.common.owners.credentials(caller)?.uid;
        let bytes = socket.charge();
        if env.common.account.is_full_for(bytes) {
            return Err(Error::NoBufferSpace);
        }
        let id = env.common.records.insert(socket);
        env.common.charge(id, bytes);
        self.of(room).on_opened(id, domain, kind);
        env.common.hold(caller, id)
    }

    /// The next connection of a listener: its descriptor and its peer.
    pub(crate) fn accept(
        &mut self,
        env: &mut Env<'_>,
        caller: OwnerId,
        d: Descriptor,
    ) -> Result<(Descriptor, SockAddr)> {
        let (id, socket) = env.common.socket(caller, d)?;
        let room = socket.room();
        let accepted = self.of(room).accept(env, caller, id)?;
        let descriptor = env.common.hold(caller, accepted)?;
        let uid = env.common.owners.credentials(caller)?.uid;
        let socket = env.common.records.get_mut(accepted).ok_or(Error::ConnectionAborted)?;
        socket.uid = uid;
        // A connection that has ended since has no peer, but its addresses are known.
        let ip_peer = socket.protocol.state().flow().map(|flow| socket.present(flow.remote_addr()).into());
        // Events before `accept` are reported now, as nobody held the connection then.
        let readiness = socket.readiness();
        if readiness.readable || readiness.error {
            env.common.queue_event(accepted);
        }
        let peer = ip_peer.map_or_else(|| env.common.peer_name(accepted), Ok);
        Ok((descriptor, peer.map_err(|_| Error::ConnectionAborted)?))
    }

    /// Accepts an intercepted connection. EMFILE, ENOBUFS, ECONNABORTED.
    pub(crate) fn accept_pending(
        &mut self,
        env: &mut Env<'_>,
        caller: OwnerId,
        d: Descriptor,
        pending: PendingId,
    ) -> Result<Descriptor> {
        let id = env.common.owners.socket(caller, d)?;
        env.common.owners.check_room(caller)?;
        let uid = env.common.owners.credentials(caller)?.uid;
        let accepted = self.tcp.accept_pending(env, id, pending)?;
        if let Some(socket) = env.common.records.get_mut(accepted) {
            socket.uid = uid;
        }
        env.common.hold(caller, accepted)
    }

    pub(crate) fn close(&mut self, env: &mut Env<'_>, caller: OwnerId, d: Descriptor) -> Result<()> {
        let id = env.common.owners.close(caller, d)?;
        self.release(env, id);
        self.release_passed(env);
        Ok(())
    }

    /// Removes an owner, and closes its first descriptors. [`Kinds::close_removed`] closes the
    /// rest.
    pub(crate) fn remove_owner(&mut self, env: &mut Env<'_>, owner: OwnerId) -> Result<()> {
        env.common.owners.remove(owner)?;
        env.common.pollers.remove_owner(owner);
        self.close_removed(env);
        self.release_passed(env);
        Ok(())
    }

    /// Closes some of the descriptors and pollers of removed owners.
    pub(crate) fn close_removed(&mut self, env: &mut Env<'_>) {
        let left = env.common.pollers.close_removed(&mut env.common.account, CLOSE_BATCH);
        for _ in 0..left {
            match env.common.owners.next_removed() {
                Some(Some(id)) => self.release(env, id),
                Some(None) => {}
                None => return,
            }
        }
    }

    /// Releases a descriptor's hold on this socket; closes the socket if it was the last.
    fn release(&mut self, env: &mut Env<'_>, id: SocketId) {
        match env.common.release(id) {
            Some(room) => {
                self.of(room).close(env, id);
                env.leave_all_groups(id);
                if env.common.records.get(id).is_some_and(|socket| socket.protocol.state().has_sent_all()) {
                    self.of(room).free(env, id);
                } else {
                    env.common.queue_transmit(id);
                }
            }
            None => self.unix.on_release(env, id),
        }
    }

    /// Releases some of the sockets that were passed on in messages which nobody can receive.
    fn release_passed(&mut self, env: &mut Env<'_>) {
        for _ in 0..PASSED_AT_ONCE {
            if self.unix.due_at(env.ctx.now).is_none_or(|at| at > env.ctx.now) {
                return;
            }
            if let Some(id) = self.unix.next_to_release(env) {
                self.release(env, id);
            }
        }
    }

    /// Two sockets that are connected with each other. EMFILE, ENOBUFS, and the errors of
    /// [`open`](Kinds::open).
    pub(crate) fn open_pair(
        &mut self,
        env: &mut Env<'_>,
        caller: OwnerId,
        domain: Domain,
        kind: SocketKind,
    ) -> Result<[Descriptor; 2]> {
        let first = self.open(env, caller, domain, kind)?;
        let pair = self.open(env, caller, domain, kind).and_then(|second| {
            let socket = |d| env.common.owners.socket(caller, d);
            let ids = [socket(first)?, socket(second)?];
            self.unix.pair(env, ids)?;
            Ok([first, second])
        });
        if pair.is_err() {
            self.close(env, caller, first)?;
        }
        pair
    }
}
