//! From a TCP segment to the connection, handshake, TIME-WAIT record or listener that it is for, and back.

use core::mem;

use super::calls::{Stream, allowed_mss, least_path_mss, open_params};
use super::connections::Target;
use super::fast_open::{FastOpenAnswer, Opening};
use super::listener::{Handshake, HandshakeId, SynRoom};
use super::time_waits::TimeWaitId;
use crate::Ctx;
use crate::config::SynCookieMode;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::frame::{HeaderBuf, Payload};
use crate::ip::checksum::verify_transport_checksum;
use crate::ip::ecn::IpEcn;
use crate::ip::protocol;
use crate::network::{Cast, Datagram, Delivery, IpMeta, MtuDiscovery, Network};
use crate::rate_limit::Rate;
use crate::socket::SocketId;
use crate::socket::options::IpFields;
use crate::socket::record::{Holder, Role, Socket, iface_of, scope_of};
use crate::socket::sockets::{Owner, Sockets, stream_role};
use crate::tcp::{
    Connection, Flags, HandshakeStep, HandshakeTimeout, Header, SeqNumber, SynReceived, TimeWaitStep,
    reset_for,
};
use crate::timers::Armed;

/// A SYN for a listener.
#[derive(Debug)]
pub(in crate::socket) struct Syn<'a> {
    pub(in crate::socket) header: &'a Header,
    /// Data that came with it.
    pub(in crate::socket) payload: bytes::Bytes,
    /// It reopens a connection in TIME-WAIT; our number must lie behind this.
    isn_after: Option<SeqNumber>,
}

/// Checks a segment: its four numbers, its header with what the packet says beside it, and its data. Counts it if it is
/// dropped.
fn admit<'a>(
    ctx: &mut Ctx<'_>,
    parsed: &'a mut Option<(Header, usize)>,
    datagram: Datagram,
) -> Option<(FourTuple, &'a Header, bytes::Bytes)> {
    // RFC 9293 §3.9.2.3 (MUST-57): segments to or from groups are dropped silently.
    if datagram.cast != Cast::Unicast || datagram.src.is_multicast() {
        ctx.stats.count_drop(DropReason::TcpNotUnicast);
        return None;
    }
    let Some((header, header_len)) = parsed else {
        ctx.stats.count_drop(DropReason::BadTcp);
        return None;
    };
    header.ip_ecn = IpEcn::of_traffic_class(datagram.traffic_class);
    header.joined_len = datagram.segment_len;
    if !datagram.is_checked
        && !verify_transport_checksum(datagram.src, datagram.dst, protocol::TCP, datagram.transport())
    {
        ctx.stats.count_drop(DropReason::BadTcpChecksum);
        return None;
    }
    let tuple = FourTuple {
        local: Endpoint::new(datagram.dst, header.dst_port),
        remote: Endpoint::new(datagram.src, header.src_port),
        scope: scope_of([datagram.src, datagram.dst], datagram.iface),
    };
    let payload = datagram.into_transport(*header_len..usize::MAX);
    ctx.stats.tcp.in_segs += u64::from(header.segments(payload.len()));
    Some((tuple, header, payload))
}

/// The bits of TOS and traffic class that are TCP's own (RFC 3168 §5).
pub(in crate::socket) const ECN_FIELD: u8 = 3;

/// Where the checksum stands in a TCP header.
pub(in crate::socket) const CHECKSUM_AT: core::ops::Range<usize> = 16..18;

impl Sockets {
    pub(in crate::socket) fn handle_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        datagram: Datagram,
    ) {
        // Lent, not moved: every segment comes through here.
        let mut parsed = Header::parse(datagram.transport());
        if let Some((tuple, header, payload)) = admit(ctx, &mut parsed, datagram) {
            self.deliver_segment(ctx, network, tuple, header, payload);
        }
    }

    /// As [`handle_segment`](Sockets::handle_segment), but what may be one of a run waits for the next; see
    /// [`Joining`](super::joining::Joining).
    fn join_segment(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, datagram: Datagram) {
        let mut parsed = Header::parse(datagram.transport());
        let Some((tuple, header, payload)) = admit(ctx, &mut parsed, datagram) else { return };
        let Some(payload) = self.joining.extend(&tuple, header, payload) else { return };
        self.finish_joining(ctx, network);
        if let Some(payload) = self.joining.begin(&tuple, header, payload) {
            self.deliver_segment(ctx, network, tuple, header, payload);
        }
    }

    /// As [`handle_delivery`](Sockets::handle_delivery), out of a batch that ends with
    /// [`finish_joining`](Sockets::finish_joining).
    pub(crate) fn join_delivery(&mut self, ctx: &mut Ctx<'_>, network: &mut Network, delivery: Delivery) {
        match delivery {
            Delivery::Datagram(datagram) if datagram.protocol == protocol::TCP => {
                self.join_segment(ctx, network, datagram);
            }
            other => {
                self.finish_joining(ctx, network);
                self.handle_delivery(ctx, network, other);
            }
        }
    }

    /// Delivers the run that was joined so far.
    pub(crate) fn finish_joining(&mut self, ctx: &mut Ctx<'_>, network: &mut Network) {
        let Some((tuple, mut header, mut pieces)) = self.joining.take() else { return };
        self.renew_budget(ctx, network);
        match self.find_record(&tuple) {
            Some(Target::Connection(id)) if pieces.len() > 1 => {
                ctx.stats.tcp.joined_segs += pieces.len() as u64 - 1;
                if ctx.memory.is_pressed() {
                    ctx.memory = self.budget_of(ctx, id);
                }
                if let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) {
                    stream.connection.handle_run(ctx, &mut header, &mut pieces);
                }
                self.settle_stream(ctx, network, id);
            }
            _ => {
                for payload in pieces.drain(..) {
                    // A segment is at most 64 KiB.
                    let next = header.seq + payload.len() as u32;
                    self.deliver_segment(ctx, network, tuple, &header, payload);
                    header.seq = next;
                }
            }
        }
        self.joining.give_back(pieces);
    }

    fn deliver_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        tuple: FourTuple,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        self.renew_budget(ctx, network);
        match self.find_record(&tuple) {
            Some(Target::Connection(id)) if ctx.memory.is_pressed() => {
                self.deliver_under_pressure(ctx, network, id, header, payload);
            }
            Some(Target::Connection(id)) => {
                if let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) {
                    stream.connection.handle_segment(ctx, header, payload);
                }
                self.settle_stream(ctx, network, id);
            }
            Some(Target::Handshake(id)) => {
                self.handle_handshake_segment(ctx, network, id, header, payload);
            }
            Some(Target::TimeWait(id)) => {
                self.handle_time_wait_segment(ctx, network, id, header, payload);
            }
            None => self.handle_stray(ctx, network, tuple, header, payload),
        }
    }

    /// A segment for a connection while memory is short: of segments that the device has joined there may be room for some.
    #[cold]
    fn deliver_under_pressure(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
        header: &Header,
        mut payload: bytes::Bytes,
    ) {
        ctx.memory = self.budget_of(ctx, id);
        let Some(Socket { role: Role::Stream(stream), .. }) = self.slots.get_mut(id) else { return };
        let each = usize::from(header.joined_len);
        let mut first = Header { joined_len: 0, ..header.clone() };
        if each > 0 && payload.len() > each {
            first.flags = first.flags.without(Flags::PSH.with(Flags::FIN));
            while payload.len() > each {
                stream.connection.handle_segment(ctx, &first, payload.split_to(each));
                // A segment is at most 64 KiB.
                first.seq += each as u32;
            }
            first.flags = header.flags;
        }
        stream.connection.handle_segment(ctx, &first, payload);
        self.settle_stream(ctx, network, id);
    }

    /// A segment for no connection: for a listener, or to be answered with a reset (RFC 9293 §3.10.7.1, §3.10.7.2).
    fn handle_stray(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        tuple: FourTuple,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        let flags = header.flags;
        let listener = self.listeners.find(&tuple);
        if let Some(id) = listener
            && let Some(mss) = self.mss_from_cookie(ctx, id, &tuple, header)
        {
            return self.accept_cookie(ctx, network, (id, mss), tuple, header, payload);
        }
        match listener {
            // Linux, too, refuses a SYN with a FIN: no honest host sends one.
            Some(_) if flags.is_first_syn() && flags.contains(Flags::FIN) => {
                ctx.stats.count_drop(DropReason::UnexpectedSegment);
            }
            Some(id) if flags.is_first_syn() => {
                let syn = Syn { header, payload, isn_after: None };
                self.handle_syn(ctx, network, id, tuple, syn);
            }
            // RFC 9293 §3.10.7.2: in LISTEN only an ACK is answered with a reset.
            Some(_) if !flags.contains(Flags::ACK) => ctx.stats.count_drop(DropReason::UnexpectedSegment),
            _ => {
                ctx.stats.count_drop(DropReason::NoTcpSocket);
                self.refuse_stray(ctx, network, &tuple, reset_for(header, payload.len()));
            }
        }
    }

    /// Sends a reset that no connection owes, within the limit for each host.
    fn refuse_stray(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        tuple: &FourTuple,
        reset: Option<Header>,
    ) {
        let Some(reset) = reset else { return };
        let rate = Rate::per_second(ctx.config.tcp.max_resets_per_second);
        match network.peer(tuple.remote.addr, iface_of(tuple.scope)) {
            Some(peer) if !self.reset_shares.take(ctx.now, peer, rate) => ctx.stats.tcp.resets_limited += 1,
            _ => reply(ctx, network, tuple, reset, IpFields::default()),
        }
    }

    /// A SYN for a listener becomes an entry of its SYN queue.
    fn handle_syn(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: SocketId,
        tuple: FourTuple,
        syn: Syn<'_>,
    ) {
        let base = mem::size_of::<Handshake>();
        let is_full = self.account.is_full_for(base + mem::size_of::<Socket>() + mem::size_of::<Stream>());
        let Some(Socket { role: Role::Listener(listener), options, .. }) = self.slots.get_mut(id) else {
            return;
        };
        let handshakes = self.half_open.of(id).handshakes;
        match listener.room_for_syn(handshakes, ctx.config.tcp.syn_cookies, syn.isn_after.is_some()) {
            SynRoom::None(reason) => return ctx.stats.count_drop(reason),
            SynRoom::Queue if is_full && ctx.config.tcp.syn_cookies == SynCookieMode::Off => {
                return ctx.stats.count_drop(DropReason::MemoryLimit);
            }
            // A cookie takes no memory, and by the time that it comes back there may be some.
            SynRoom::Queue if is_full && syn.isn_after.is_none() => {
                return self.send_cookie(ctx, network, id, tuple, syn.header);
            }
            SynRoom::Cookie => return self.send_cookie(ctx, network, id, tuple, syn.header),
            SynRoom::Queue => {}
        }
        let mut params = open_params(&self.isn, ctx, network, options, &tuple);
        if let Some(after) = syn.isn_after
            && params.isn.before_eq(after)
        {
            params.isn = after + 1;
        }
        let (fields, defer_accept) = (options.ip_fields(), options.defer_accept);
        let cookie = match self.answer_fast_open(ctx, id, &tuple, syn.header, !syn.payload.is_empty()) {
            FastOpenAnswer::Nothing => None,
            FastOpenAnswer::Cookie(cookie) => Some(cookie),
            FastOpenAnswer::Open(cookie) => {
                return self.open_fast(ctx, network, Opening { listener: id, tuple, params, cookie }, syn);
            }
        };
        let mut record = SynReceived::new(ctx, syn.header, &params);
        if let Some(cookie) = cookie {
            record.give_cookie(cookie);
        }
        record.defer(ctx, defer_accept);
        let syn_ack = record.syn_ack(ctx.now);
        let deadline = record.deadline();
        let handshake =
            self.handshakes.insert(Handshake { record, listener: id, tuple, armed: Armed::default() });
        if let Some(entry) = self.handshakes.get_mut(handshake) {
            self.timers.arm(&mut entry.armed, Owner::Handshake(handshake), Some(deadline));
        }
        self.half_open.change(id, |counts| counts.handshakes += 1);
        self.connections.insert(&tuple, Target::Handshake(handshake));
        self.account.change(0, base);
        reply(ctx, network, &tuple, syn_ack, fields);
    }

    fn handle_handshake_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: HandshakeId,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        let is_out_of_memory = self.account.is_full_for(mem::size_of::<Socket>() + mem::size_of::<Stream>());
        let Some(handshake) = self.handshakes.get_mut(id) else { return };
        let (listener_id, tuple) = (handshake.listener, handshake.tuple);
        let Some(Socket { role: Role::Listener(listener), options, .. }) = self.slots.get(listener_id) else {
            // The listener was closed in the meantime.
            self.forget_handshake(id);
            ctx.stats.count_drop(DropReason::NoTcpSocket);
            return self.refuse_stray(ctx, network, &tuple, reset_for(header, payload.len()));
        };
        let (is_full, fields) = (listener.is_accept_queue_full(), options.ip_fields());
        match handshake.record.handle_segment(ctx, header, payload.len()) {
            HandshakeStep::Ignored => {}
            HandshakeStep::Reply(answer) => {
                let deadline = handshake.record.deadline();
                self.timers.arm(&mut handshake.armed, Owner::Handshake(id), Some(deadline));
                reply(ctx, network, &tuple, answer, fields);
            }
            HandshakeStep::Reset(reset) => self.refuse_stray(ctx, network, &tuple, Some(reset)),
            HandshakeStep::Aborted => {
                self.forget_handshake(id);
            }
            // Linux: the ACK is forgotten; the SYN-ACK is repeated, and the peer's next segment tries again.
            HandshakeStep::Complete if is_full => ctx.stats.count_drop(DropReason::AcceptQueueFull),
            HandshakeStep::Complete if is_out_of_memory => ctx.stats.count_drop(DropReason::MemoryLimit),
            HandshakeStep::Complete => {
                if let Some(handshake) = self.forget_handshake(id) {
                    self.establish(ctx, network, handshake, header, payload);
                }
            }
        }
    }

    /// A finished handshake becomes a connection in its listener's accept queue.
    pub(in crate::socket) fn establish(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        handshake: Handshake,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        let Handshake { record, listener, tuple, .. } = handshake;
        let Some(parent) = self.slots.get(listener) else { return };
        let path_mss = allowed_mss(ctx, network, &parent.options, &tuple);
        let mut connection = record.into_connection(ctx, parent.options.tcp_settings(), path_mss);
        connection.handle_segment(ctx, header, payload);
        self.queue_for_accept(ctx, network, listener, tuple, connection);
    }

    /// A connection that came in stands in its listener's accept queue from now on.
    pub(in crate::socket) fn queue_for_accept(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        listener: SocketId,
        tuple: FourTuple,
        mut connection: Connection,
    ) -> Option<SocketId> {
        let parent = self.slots.get(listener)?;
        let options = parent.options.clone();
        connection.set_least_path_mss(least_path_mss(tuple.remote.addr));
        let reuse = options.reuse();
        let role = stream_role(Stream::new(connection, tuple, Some(reuse)));
        let mut socket = Socket::new(parent.domain, parent.kind, options, role);
        socket.holder = Holder::Listener(listener);
        let id = self.insert_stream(socket, &tuple);
        self.tcp_ports.add_connection(tuple.local, reuse);
        ctx.stats.tcp.passive_opens += 1;
        if let Some(Socket { role: Role::Listener(parent), .. }) = self.slots.get_mut(listener) {
            parent.queue.push_back(id);
        }
        self.settle_stream(ctx, network, id);
        self.note_readiness(listener, true);
        Some(id)
    }

    pub(in crate::socket) fn handle_handshake_timeout(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: HandshakeId,
    ) {
        let Some(handshake) = self.handshakes.get_mut(id) else { return };
        handshake.armed.fired();
        let deadline = handshake.record.deadline();
        if deadline > ctx.now {
            // The SYN that came again has put it off.
            return self.timers.arm(&mut handshake.armed, Owner::Handshake(id), Some(deadline));
        }
        let (next, fields) = match self.slots.get(handshake.listener) {
            Some(Socket { role: Role::Listener(_), options, .. }) => {
                (handshake.record.handle_timeout(ctx), options.ip_fields())
            }
            _ => (HandshakeTimeout::GiveUp, IpFields::default()),
        };
        if matches!(next, HandshakeTimeout::GiveUp) {
            self.forget_handshake(id);
            return ctx.stats.count_drop(DropReason::HandshakeTimeout);
        }
        let (deadline, tuple) = (handshake.record.deadline(), handshake.tuple);
        self.timers.arm(&mut handshake.armed, Owner::Handshake(id), Some(deadline));
        if let HandshakeTimeout::Repeat(syn_ack) = next {
            reply(ctx, network, &tuple, syn_ack, fields);
        }
    }

    /// Takes a handshake out of every table.
    pub(in crate::socket) fn forget_handshake(&mut self, id: HandshakeId) -> Option<Handshake> {
        let mut handshake = self.handshakes.remove(id)?;
        self.timers.disarm(&mut handshake.armed, Owner::Handshake(id));
        self.connections.remove(&handshake.tuple, Target::Handshake(id));
        self.account.change(mem::size_of::<Handshake>(), 0);
        // It was counted when it began.
        self.half_open.change(handshake.listener, |counts| counts.handshakes -= 1);
        Some(handshake)
    }

    fn handle_time_wait_segment(
        &mut self,
        ctx: &mut Ctx<'_>,
        network: &mut Network,
        id: TimeWaitId,
        header: &Header,
        payload: bytes::Bytes,
    ) {
        let Some(entry) = self.time_waits.get_mut(id) else { return };
        let (tuple, reuse) = (entry.tuple(), entry.reuse());
        let fields = IpFields { tos: entry.tos, ..IpFields::default() };
        let offset = self.isn.timestamp_offset(tuple.local.addr, tuple.remote.addr);
        let listener = self.listeners.find(&tuple);
        match entry.record.handle_segment(ctx, header, payload.len(), offset) {
            TimeWaitStep::Ignored => {}
            TimeWaitStep::Reply(answer) => reply(ctx, network, &tuple, answer, fields),
            TimeWaitStep::Reopen { isn_after } => match listener {
                Some(listener) => {
                    self.time_waits.give_up(id);
                    self.forget_time_wait(id, &tuple, reuse);
                    let syn = Syn { header, payload, isn_after: Some(isn_after) };
                    self.handle_syn(ctx, network, listener, tuple, syn);
                }
                // Nobody would take it: it is answered like any other segment (Linux's tcp_v4_rcv).
                None => {
                    ctx.stats.count_drop(DropReason::NoTcpSocket);
                    if let Some(answer) = entry.record.answer_syn(ctx, offset) {
                        reply(ctx, network, &tuple, answer, fields);
                    }
                }
            },
        }
    }
}

/// Sends a segment that no connection's queue holds: of a handshake or a TIME-WAIT record, or a reset.
pub(in crate::socket) fn reply(
    ctx: &mut Ctx<'_>,
    network: &mut Network,
    tuple: &FourTuple,
    header: Header,
    fields: IpFields,
) {
    let (meta, header) = segment_packet(ctx, tuple, header, fields);
    match network.output(ctx, meta, header, Payload::new()) {
        Ok(Some(transmit)) => network.queue(ctx, transmit),
        Ok(None) => {}
        Err(_) => ctx.stats.count_drop(DropReason::NoRoute),
    }
}

/// The TCP header in wire form, its checksum still missing, and what the network layer has to know.
pub(in crate::socket) fn segment_packet(
    ctx: &mut Ctx<'_>,
    tuple: &FourTuple,
    mut header: Header,
    fields: IpFields,
) -> (IpMeta, HeaderBuf) {
    header.src_port = tuple.local.port;
    header.dst_port = tuple.remote.port;
    ctx.stats.tcp.segs_sent += 1;
    if header.flags.contains(Flags::RST) {
        ctx.stats.tcp.out_rsts += 1;
    }
    let mut buf = HeaderBuf::new();
    header.emit(&mut buf);
    let meta = IpMeta {
        src: tuple.local.addr,
        dst: tuple.remote.addr,
        protocol: protocol::TCP,
        hop_limit: fields.ttl,
        traffic_class: fields.tos & !ECN_FIELD | header.ip_ecn.bits(),
        mtu_discovery: MtuDiscovery::Do,
        path_seed: header.path_seed,
        iface: iface_of(tuple.scope),
        checksum_at: Some(CHECKSUM_AT.start as u8),
        run: None,
    };
    (meta, buf)
}
