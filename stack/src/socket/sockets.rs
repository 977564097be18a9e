//! All sockets of a stack, and what follows every change to one: timers, events, the account, its end.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::record::{Bound, Holder, Role, Socket};
use super::relief::Relief;
use super::slab::Slab;
use super::table::DescriptorTable;
use super::tcp::calls::Stream;
use super::tcp::connections::{Connections, Target};
use super::tcp::fast_open_cache::FastOpenCache;
use super::tcp::joining::Joining;
use super::tcp::listener::{HalfOpens, Handshake, HandshakeId};
use super::tcp::segmentation::Segmentation;
use super::tcp::time_waits::{Due, TimeWaitEntry, TimeWaitId, TimeWaits};
use super::{Descriptor, SocketId, SocketInfo, SocketKind, SocketOptions, SocketState};
use crate::Ctx;
use crate::config::Config;
use crate::copy_on_write::CopyOnWrite;
use crate::demux::{BoundTable, FourTuple};
use crate::error::{Error, Result};
use crate::event::{Deadline, DeadlineKind, Event};
use crate::frame::Transmit;
use crate::hash::{HashMap, hash_map};
use crate::ip::protocol;
use crate::memory::{Account, Budget};
use crate::network::{Delivery, Network};
use crate::ports::{PortTable, Reuse};
use crate::rate_limit::PeerLimit;
use crate::rng::Rng;
use crate::steering::Share;
use crate::tcp::{FastOpenKeys, IsnGenerator, State, SynCookies};
use crate::time::Instant;
use crate::timers::Timers;

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Socket(SocketId),
    Handshake(HandshakeId),
}

/// The sockets, the tables that lead to them, and the queues in which they stand.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(super) descriptors: DescriptorTable,
    pub(super) slots: Slab<Socket>,
    pub(super) handshakes: Slab<Handshake>,
    pub(super) time_waits: TimeWaits,
    pub(super) half_open: HalfOpens,
    /// TCP by four numbers.
    pub(super) connections: Connections,
    pub(super) listeners: BoundTable<SocketId>,
    pub(super) tcp_ports: PortTable<SocketId>,
    /// Connected UDP sockets.
    pub(super) udp_connected: HashMap<FourTuple, SocketId>,
    pub(super) udp_bound: BoundTable<SocketId>,
    pub(super) udp_ports: PortTable<SocketId>,
    /// Echo sockets by identifier, which plays the port.
    pub(super) echo_bound: BoundTable<SocketId>,
    pub(super) echo_ports: PortTable<SocketId>,
    pub(super) isn: IsnGenerator,
    /// Resets to one host that no connection owes.
    pub(super) reset_shares: PeerLimit,
    pub(super) syn_cookies: SynCookies,
    pub(super) fast_open_keys: FastOpenKeys,
    pub(super) fast_open_cache: FastOpenCache,
    /// Connections that no descriptor holds and that are not over.
    pub(super) orphans: usize,
    /// Connections that were opened fast and are in SYN-RECEIVED, and their listeners.
    pub(super) fast_opens: BTreeMap<SocketId, SocketId>,
    pub(super) timers: Timers<Owner>,
    /// Sockets that may have something to send, each once, in turn.
    transmit_queue: VecDeque<SocketId>,
    /// The run whose turn it is: it goes on before any other socket has its turn.
    pub(super) run: Option<Segmentation>,
    /// Segments of the batch that is being handled.
    pub(super) joining: Joining,
    events: VecDeque<SocketId>,
    /// What sockets begin with: streams, and the others.
    default_options: [CopyOnWrite<SocketOptions>; 2],
    /// What all sockets and handshakes hold.
    pub(crate) account: Account,
    /// What follows when that is too much.
    pub(super) relief: Relief,
}

impl Sockets {
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> Self {
        Sockets {
            descriptors: DescriptorTable::new(config.max_descriptors),
            slots: Slab::new(),
            handshakes: Slab::new(),
            time_waits: TimeWaits::new(),
            half_open: HalfOpens::default(),
            connections: Connections::new(rng),
            listeners: BoundTable::new(rng),
            tcp_ports: PortTable::new(config.ephemeral_ports, false, rng),
            udp_connected: hash_map(rng),
            udp_bound: BoundTable::new(rng),
            udp_ports: PortTable::new(config.ephemeral_ports, true, rng).with_share(config.share.clone()),
            echo_bound: BoundTable::new(rng),
            echo_ports: PortTable::new(config.ephemeral_ports, true, rng).with_share(config.share.clone()),
            isn: IsnGenerator::new(rng),
            reset_shares: PeerLimit::new(rng),
            syn_cookies: SynCookies::new(rng),
            fast_open_keys: FastOpenKeys::new(rng, config.share.as_ref()),
            fast_open_cache: FastOpenCache::new(rng),
            orphans: 0,
            fast_opens: BTreeMap::new(),
            timers: Timers::new(),
            transmit_queue: VecDeque::new(),
            run: None,
            joining: Joining::default(),
            events: VecDeque::new(),
            default_options: [SocketKind::Stream, SocketKind::Datagram]
                .map(|kind| SocketOptions::new(config, kind).into()),
            account: Account::new(config),
            relief: Relief::new(rng),
        }
    }

    pub(crate) fn handle_delivery(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, delivery: Delivery) {
        match delivery {
            Delivery::Datagram(datagram) => match datagram.protocol {
                protocol::TCP => self.handle_segment(ctx, network, datagram),
                protocol::UDP => self.handle_udp(ctx, network, datagram),
                _ => self.handle_unknown_protocol(ctx, network, datagram),
            },
            Delivery::EchoReply(datagram) => self.handle_echo_reply(ctx, datagram),
            Delivery::Error(error) => self.handle_network_error(ctx, network, error),
        }
    }

    /// Whether [`Sockets::poll_run`] or [`Sockets::poll_transmit`] may have something.
    pub(crate) fn has_transmits(&self) -> bool {
        self.run.is_some() || !self.transmit_queue.is_empty()
    }

    /// The next frame of the run whose turn it is. It comes before [`Sockets::poll_transmit`].
    pub(crate) fn poll_run(&mut self, ctx: &mut Ctx<'_>) -> Option<Transmit> {
        let transmit = self.run.as_mut()?.next();
        if transmit.is_some() {
            ctx.stats.tcp.segs_sent += 1;
        } else {
            self.run = None;
        }
        transmit
    }

    /// The next packet of the sockets, each in its turn. `Nothing`: nobody has anything to send now.
    pub(crate) fn poll_transmit(&mut self, ctx: &mut Ctx<'_>, network: &mut Network) -> Sent {
        while let Some(id) = self.transmit_queue.pop_front() {
            let Some(socket) = self.slots.get_mut(id) else { continue };
            socket.marks.leave_transmit_queue();
            let sent = match socket.role {
                Role::Stream(_) => self.transmit_stream(ctx, network, id),
                Role::Datagram(_) => self.transmit_datagram(ctx, network, id),
                Role::Idle | Role::Listener(_) => Sent::Nothing,
            };
            if matches!(sent, Sent::Nothing) {
                self.free_if_ended(id);
            } else {
                self.queue_transmit(id);
                return sent;
            }
        }
        Sent::Nothing
    }

    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>, network: &mut Network) {
        while let Some(owner) = self.timers.pop_due(ctx.now) {
            match owner {
                Owner::Socket(id) => {
                    let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else {
                        continue;
                    };
                    stream.armed.fired();
                    let deadline = stream.connection.deadline();
                    if deadline.is_none_or(|at| at > ctx.now) {
                        // It was put off since, or called off.
                        self.timers.arm(&mut stream.armed, owner, deadline);
                        continue;
                    }
                    stream.connection.handle_timeout(ctx);
                    self.settle_stream(ctx, network, id);
                    self.look_after_orphan(ctx, network, id);
                }
                Owner::Handshake(id) => self.handle_handshake_timeout(ctx, network, id),
            }
        }
        while let Some(due) = self.time_waits.pop_due(ctx) {
            match due {
                Due::Expired(id, entry) => self.forget_time_wait(id, &entry.tuple(), entry.reuse()),
                Due::Moved { tuple, from, to } => {
                    self.connections.replace(&tuple, Target::TimeWait(from), Target::TimeWait(to));
                }
            }
        }
    }

    /// The moment of [`Sockets::poll_timeout`].
    pub(crate) fn next_timeout_at(&self) -> Option<Instant> {
        [self.timers.first().map(|(at, _)| at), self.time_waits.deadline()].into_iter().flatten().min()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let timer = self.timers.first().map(|(at, owner)| {
            let (kind, descriptor) = match owner {
                Owner::Handshake(_) => (DeadlineKind::Handshake, None),
                Owner::Socket(id) => {
                    let socket = self.slots.get(id);
                    let kind = match socket.map(|socket| &socket.role) {
                        Some(Role::Stream(stream)) => stream.connection.poll_timeout().map(|(_, kind)| kind),
                        _ => None,
                    };
                    (kind.unwrap_or(DeadlineKind::Retransmit), socket.and_then(Socket::descriptor))
                }
            };
            Deadline { at, kind, descriptor }
        });
        let time_wait = self.time_waits.deadline().map(|at| Deadline {
            at,
            kind: DeadlineKind::TimeWait,
            descriptor: None,
        });
        [timer, time_wait].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        while let Some(id) = self.events.pop_front() {
            let Some(socket) = self.slots.get_mut(id) else { continue };
            socket.marks.leave_event_queue();
            if let Some(descriptor) = socket.descriptor() {
                return Some(Event { descriptor, readiness: socket.readiness() });
            }
        }
        None
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.account.bytes()
    }

    /// What a new socket of this kind begins with.
    pub(super) fn default_options(&self, kind: SocketKind) -> CopyOnWrite<SocketOptions> {
        let [stream, others] = &self.default_options;
        match kind {
            SocketKind::Stream => stream.clone(),
            SocketKind::Datagram | SocketKind::Echo => others.clone(),
        }
    }

    /// What a call may take from the account.
    pub(crate) fn budget(&self) -> Budget {
        self.account.budget(self.slots.len())
    }

    pub(crate) fn infos(&self) -> Vec<SocketInfo> {
        let record = |state: State, tuple: &FourTuple| SocketInfo {
            descriptor: None,
            kind: SocketKind::Stream,
            state: SocketState::Tcp(state),
            local: Some(tuple.local_addr()),
            peer: Some(tuple.remote_addr()),
            receive_queue: 0,
            send_queue: 0,
            rtt: None,
            cwnd: None,
            timer: None,
        };
        let mut infos: Vec<SocketInfo> = self.slots.iter().map(Socket::info).collect();
        infos.extend(self.handshakes.iter().map(|h| record(State::SynReceived, &h.tuple)));
        // A socket in TIME-WAIT that a program still holds has a record, too.
        let ends = |tuple: &FourTuple| (tuple.local, tuple.remote, tuple.scope);
        let held: BTreeSet<_> = self.slots.iter().filter_map(Socket::time_wait).map(ends).collect();
        let time_waits = self.time_waits.iter().map(TimeWaitEntry::tuple);
        let time_waits = time_waits.filter(|tuple| !held.contains(&ends(tuple)));
        infos.extend(time_waits.map(|tuple| record(State::TimeWait, &tuple)));
        infos
    }

    /// The record that a TCP segment with these four numbers is for.
    pub(super) fn find_record(&self, tuple: &FourTuple) -> Option<Target> {
        let Sockets { connections, slots, handshakes, time_waits, .. } = self;
        connections.find(tuple, |target| is_of(slots, handshakes, time_waits, target, tuple))
    }

    /// An ephemeral port for a connection whose other three numbers `tuple_from` knows; of several stacks on an interface
    /// each draws those whose answers are its own. EADDRNOTAVAIL.
    pub(super) fn ephemeral_port(
        &mut self,
        share: Option<&Share>,
        tuple_from: impl Fn(u16) -> FourTuple,
    ) -> Result<u16> {
        let Sockets { connections, slots, handshakes, time_waits, tcp_ports, .. } = self;
        let FourTuple { local, remote, .. } = tuple_from(0);
        tcp_ports.ephemeral(local.addr, (remote.addr, remote.port), |port| {
            let tuple = tuple_from(port);
            if share.is_some_and(|share| !share.has_connection(&tuple)) {
                return false;
            }
            let is_it = |target| is_of(slots, handshakes, time_waits, target, &tuple);
            connections.find(&tuple, is_it).is_none()
        })
    }

    /// EBADF.
    pub(super) fn socket(&self, d: Descriptor) -> Result<(SocketId, &Socket)> {
        let id = self.descriptors.socket(d)?;
        Ok((id, self.slots.get(id).ok_or(Error::BadDescriptor)?))
    }

    /// EBADF.
    pub(super) fn socket_mut(&mut self, d: Descriptor) -> Result<(SocketId, &mut Socket)> {
        let id = self.descriptors.socket(d)?;
        Ok((id, self.slots.get_mut(id).ok_or(Error::BadDescriptor)?))
    }

    /// Whether `bytes` more would exceed what sockets may hold without the reserve.
    pub(super) fn is_short_of_memory(&self, bytes: usize) -> bool {
        bytes > self.account.room()
    }

    /// What a segment may take is looked up anew: others may have taken some since.
    #[inline]
    pub(crate) fn renew_budget(&mut self, ctx: &mut Ctx<'_>, network: &mut Network) {
        if self.needs_relief() {
            self.relieve(ctx, network);
        } else {
            ctx.memory = self.budget();
        }
    }

    /// The socket may have something to send.
    pub(super) fn queue_transmit(&mut self, id: SocketId) {
        if let Some(socket) = self.slots.get_mut(id)
            && socket.marks.enter_transmit_queue()
        {
            self.transmit_queue.push_back(id);
        }
    }

    pub(super) fn queue_event(&mut self, id: SocketId) {
        if let Some(socket) = self.slots.get_mut(id)
            && socket.enter_event_queue()
        {
            self.events.push_back(id);
        }
    }

    /// Looks at the readiness anew; an event is due when something rose, or when news came beside.
    pub(super) fn note_readiness(&mut self, id: SocketId, news: bool) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        let is_due = socket.renew_readiness() || news;
        if is_due && socket.enter_event_queue() {
            self.events.push_back(id);
        }
    }

    /// Brings the account up to date with what a socket holds now.
    pub(super) fn charge(&mut self, id: SocketId, bytes: usize) {
        let Some(socket) = self.slots.get_mut(id) else { return };
        self.account.renew(&mut socket.charged_bytes, bytes);
    }

    /// What follows every call into a connection: its timer, its packets, its events, the account, its end.
    pub(super) fn settle_stream(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, id: SocketId) {
        // Every segment comes through here: the socket is looked up once.
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Stream(stream) = &mut socket.role else { return };
        if stream.connection.take_progress() {
            network.confirm_reachable(ctx.now, stream.tuple.remote.addr, stream.iface());
        }
        let deadline = stream.connection.deadline();
        // A receive queue is far smaller than 2^32 bytes.
        let readable = stream.connection.queued().0 as u32;
        let has_new_data = readable > stream.seen_readable;
        let has_urgent_news = stream.connection.take_urgent_news();
        stream.seen_readable = readable;
        let fast_open_end = stream.connection.take_fast_open_end();
        let bytes = stream.charge(&socket.options);
        let ended = Some(stream.connection.state())
            .filter(|state| matches!(state, State::TimeWait | State::Closed) && !stream.is_parted);
        self.timers.arm(&mut stream.armed, Owner::Socket(id), deadline);
        self.account.renew(&mut socket.charged_bytes, bytes);
        let readiness = stream.connection.readiness();
        let is_quiet = socket.holder != Holder::Nobody && stream.connection.is_quiet();
        if is_quiet {
            stream.connection.note_activity(ctx.now);
        }
        if (socket.marks.see(readiness) || (has_new_data && readiness.readable) || has_urgent_news)
            && socket.enter_event_queue()
        {
            self.events.push_back(id);
        }
        if !is_quiet && socket.marks.enter_transmit_queue() {
            self.transmit_queue.push_back(id);
        }
        match ended {
            Some(State::TimeWait) => self.enter_time_wait(ctx, id),
            Some(_) => self.part(id),
            None => {}
        }
        if let Some(end) = fast_open_end {
            self.on_fast_open_end(ctx, id, end);
        }
    }

    /// The connection has left the tables: no segment finds it any more.
    fn part(&mut self, id: SocketId) {
        if let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) {
            stream.is_parted = true;
            self.orphans -= usize::from(core::mem::take(&mut stream.is_orphan));
            self.connections.remove(&stream.tuple, Target::Connection(id));
        }
    }

    /// A record takes the connection's place in the tables; the socket stays for what its program still reads.
    fn enter_time_wait(&mut self, ctx: &mut Ctx<'_>, id: SocketId) {
        if self.time_waits.len() >= ctx.config.tcp.max_time_wait {
            self.part(id);
            return;
        }
        let Some(socket) = self.slots.get_mut(id) else { return };
        let Role::Stream(stream) = &mut socket.role else { return };
        stream.is_parted = true;
        self.orphans -= usize::from(core::mem::take(&mut stream.is_orphan));
        let (tuple, reuse) = (stream.tuple, socket.options.reuse());
        let tos = socket.options.tos;
        let entry = TimeWaitEntry::new(stream.connection.time_wait(ctx), &tuple, reuse, tos);
        self.tcp_ports.add_connection(tuple.local, reuse);
        let record = self.time_waits.insert(ctx, entry);
        self.connections.replace(&tuple, Target::Connection(id), Target::TimeWait(record));
    }

    /// The record has been taken out; its tuple and its share of the port follow.
    pub(super) fn forget_time_wait(&mut self, id: TimeWaitId, tuple: &FourTuple, reuse: Reuse) {
        self.connections.remove(tuple, Target::TimeWait(id));
        self.tcp_ports.remove_connection(tuple.local, reuse);
    }

    /// A socket that nobody holds goes when its connection has ended and its last packet is out.
    fn free_if_ended(&mut self, id: SocketId) {
        let is_over = self.slots.get(id).is_some_and(|socket| {
            let is_parted = match &socket.role {
                Role::Stream(stream) => stream.is_parted,
                Role::Datagram(_) => true,
                Role::Idle | Role::Listener(_) => false,
            };
            socket.holder == Holder::Nobody && is_parted
        });
        if is_over {
            self.free(id);
        }
    }

    /// Takes a socket out of every table.
    pub(super) fn free(&mut self, id: SocketId) {
        self.charge(id, 0);
        self.relief.holdings.forget(id);
        if matches!(self.slots.get(id), Some(Socket { role: Role::Datagram(_), .. })) {
            self.unregister_datagram(id);
        }
        let Some(socket) = self.slots.remove(id) else { return };
        let bound = socket.bound();
        match socket.role {
            Role::Idle | Role::Datagram(_) => {}
            Role::Listener(_) => {
                if let Some(Bound { addr, port, .. }) = bound {
                    self.listeners.remove(addr, port, id);
                }
            }
            Role::Stream(stream) => self.forget_stream(id, stream),
        }
        if let Some(Bound { port, .. }) = bound {
            self.ports_of(socket.kind).unbind(port, id);
        }
    }

    /// Takes a connection out of the tables that its socket's end would leave it in.
    pub(super) fn forget_stream(&mut self, id: SocketId, mut stream: Box<Stream>) {
        self.timers.disarm(&mut stream.armed, Owner::Socket(id));
        if !stream.is_parted {
            self.connections.remove(&stream.tuple, Target::Connection(id));
        }
        if let Some(reuse) = stream.shares_port {
            self.tcp_ports.remove_connection(stream.tuple.local, reuse);
        }
    }

    pub(super) fn ports_of(&mut self, kind: SocketKind) -> &mut PortTable<SocketId> {
        match kind {
            SocketKind::Stream => &mut self.tcp_ports,
            SocketKind::Datagram => &mut self.udp_ports,
            SocketKind::Echo => &mut self.echo_ports,
        }
    }

    /// A new record for a socket, under no table yet. ENOBUFS.
    pub(super) fn insert(&mut self, mut socket: Socket) -> SocketId {
        socket.renew_readiness();
        self.slots.insert(socket)
    }

    pub(super) fn insert_stream(&mut self, socket: Socket, tuple: &FourTuple) -> SocketId {
        let id = self.insert(socket);
        self.connections.insert(tuple, Target::Connection(id));
        id
    }
}

/// Whether this record has these four numbers.
fn is_of(
    slots: &Slab<Socket>,
    handshakes: &Slab<Handshake>,
    time_waits: &TimeWaits,
    target: Target,
    tuple: &FourTuple,
) -> bool {
    match target {
        Target::Connection(id) => slots.get(id).is_some_and(|socket| socket.is_of(tuple)),
        Target::Handshake(id) => handshakes.get(id).is_some_and(|entry| entry.tuple == *tuple),
        Target::TimeWait(id) => time_waits.get(id).is_some_and(|entry| entry.is_of(tuple)),
    }
}

/// What came of a socket's turn to send.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one call, on the hot path: a box would cost more")]
pub(crate) enum Sent {
    /// It has nothing to send.
    Nothing,
    /// It sent a packet that is not for a device now: it goes round the loopback, waits for a neighbour, or became
    /// fragments that the network layer gives out.
    Elsewhere,
    /// A frame for the device.
    Frame(Transmit),
}

/// Boxes the role of a stream socket.
pub(super) fn stream_role(stream: Stream) -> Role {
    Role::Stream(Box::new(stream))
}
