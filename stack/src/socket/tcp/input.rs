//! Passes each TCP segment to its connection, handshake, TIME-WAIT record or listener.

use bytes::Bytes;

use super::TcpSockets;
use super::connections::Target;
use super::output::reply;
use super::settle::After;
use super::time_waits::TimeWaitId;
use crate::Ctx;
use crate::demux::{Endpoint, FourTuple};
use crate::drop_reason::DropReason;
use crate::id::SocketId;
use crate::ip::checksum::verify_transport_checksum;
use crate::ip::ecn::IpEcn;
use crate::ip::protocol;
use crate::network::{Cast, Datagram};
use crate::rate_limit::Rate;
use crate::socket::common::Env;
use crate::socket::options::IpFields;
use crate::socket::rare_settings::RareSettings;
use crate::socket::scope::iface_of;
use crate::subject::Subject;
use crate::tcp::{Flags, Header, SeqNumber, TimeWaitStep, reset_for};

/// A SYN for a listener.
#[derive(Debug)]
pub(super) struct Syn<'a> {
    pub(super) header: &'a Header,
    /// The data in the SYN.
    pub(super) payload: Bytes,
    /// The SYN reopens a connection in TIME-WAIT; our new sequence number must be after this one.
    pub(super) isn_after: Option<SeqNumber>,
}

/// Checks a segment. Returns its four-tuple, its header with facts from the packet, and the length
/// of the header. Counts the segment if it is dropped.
fn admit<'a>(
    ctx: &mut Ctx<'_>,
    parsed: &'a mut Option<(Header, usize)>,
    datagram: &Datagram,
) -> Option<(FourTuple, &'a Header, usize)> {
    // RFC 9293 §3.9.2.3 (MUST-57): segments to or from groups are dropped silently.
    if datagram.cast != Cast::Unicast || datagram.src.is_multicast() {
        ctx.count_drop(DropReason::TcpNotUnicast);
        return None;
    }
    let Some((header, header_len)) = parsed else {
        ctx.count_drop(DropReason::BadTcp);
        return None;
    };
    header.ip_ecn = IpEcn::of_traffic_class(datagram.traffic_class);
    header.tos = Some(datagram.traffic_class);
    header.joined_len = datagram.segment_len;
    if !datagram.is_checked
        && !verify_transport_checksum(datagram.src, datagram.dst, protocol::TCP, datagram.transport())
    {
        ctx.count_drop(DropReason::BadTcpChecksum);
        return None;
    }
    let tuple = FourTuple {
        local: Endpoint::new(datagram.dst, header.dst_port),
        remote: Endpoint::new(datagram.src, header.src_port),
        scope: datagram.scope(),
    };
    ctx.stats.tcp.in_segs += u64::from(header.segments(datagram.transport().len() - *header_len));
    Some((tuple, header, *header_len))
}

impl TcpSockets {
    pub(in crate::socket) fn handle_segment(&mut self, env: &mut Env<'_>, mut datagram: Datagram) {
        // Borrowed, not moved, because every segment passes here.
        let mut parsed = Header::parse(datagram.transport());
        if let Some((mut tuple, header, header_len)) = admit(&mut env.ctx, &mut parsed, &datagram) {
            if env.common.rare.concern_packets()
                && !self.apply_rare_settings(env, &mut tuple, (header, header_len), &mut datagram)
            {
                return;
            }
            if datagram.is_intercepted {
                self.note_intercepted(tuple, (header, header_len), &datagram);
            }
            self.deliver_segment(env, tuple, header, datagram.into_transport(header_len..usize::MAX));
        }
    }

    /// Like [`handle_segment`](TcpSockets::handle_segment), for a segment of a batch that ends with
    /// [`finish_joining`](TcpSockets::finish_joining). A segment that may continue in the next one
    /// waits for it; see [`Joining`](super::joining::Joining). Returns whether any segment waits.
    pub(in crate::socket) fn join_segment(&mut self, env: &mut Env<'_>, mut datagram: Datagram) -> bool {
        let mut parsed = Header::parse(datagram.transport());
        if let Some((mut tuple, header, header_len)) = admit(&mut env.ctx, &mut parsed, &datagram) {
            if env.common.rare.concern_packets()
                && !self.apply_rare_settings(env, &mut tuple, (header, header_len), &mut datagram)
            {
                return !self.joining.is_empty();
            }
            if datagram.is_intercepted {
                self.note_intercepted(tuple, (header, header_len), &datagram);
            }
            let payload = datagram.into_transport(header_len..usize::MAX);
            if let Some(payload) = self.joining.extend(&tuple, header, payload) {
                self.finish_joining(env);
                if let Some(payload) = self.joining.begin(&tuple, header, payload) {
                    self.deliver_segment(env, tuple, header, payload);
                }
            }
        }
        !self.joining.is_empty()
    }

    /// Applies SO_BINDTODEVICE, filters, the least TTL and TCP_SAVE_SYN. Returns whether the
    /// segment passes, and counts it otherwise.
    #[cold]
    fn apply_rare_settings(
        &mut self,
        env: &mut Env<'_>,
        tuple: &mut FourTuple,
        (header, header_len): (&Header, usize),
        datagram: &mut Datagram,
    ) -> bool {
        let rare = env.common.rare;
        if rare.uses(RareSettings::DEVICES) {
            self.find_device(env, tuple, datagram.iface);
        }
        if rare.uses(RareSettings::FILTERS) && !self.passes_filter(env, tuple, header_len, datagram) {
            return false;
        }
        if rare.uses(RareSettings::SAVED_SYNS) {
            self.note_syn(header, header_len, datagram);
        }
        true
    }

    /// Delivers the segments that were joined so far.
    pub(in crate::socket) fn finish_joining(&mut self, env: &mut Env<'_>) {
        let Some((tuple, mut header, mut pieces)) = self.joining.take() else { return };
        self.renew_budget(env);
        env.ctx.subject = Subject::Tcp(tuple);
        match self.find_record(env.common, &tuple) {
            Some(Target::Connection(id)) if pieces.len() > 1 => {
                env.ctx.stats.tcp.joined_segs += pieces.len() as u64 - 1;
                if env.ctx.memory.is_pressed() {
                    env.ctx.memory = env.common.budget_of(env.ctx.now, id);
                }
                if let Some(stream) = env.common.stream_mut(id) {
                    stream.connection.handle_run(&mut env.ctx, &mut header, &mut pieces);
                }
                self.settle(env, id, After::Change);
            }
            _ => {
                for payload in pieces.drain(..) {
                    // A segment is at most 64 KiB.
                    let next = header.seq + payload.len() as u32;
                    self.deliver_segment(env, tuple, &header, payload);
                    header.seq = next;
                }
            }
        }
        self.joining.give_back(pieces);
        if let Some(trace) = &mut env.network.trace {
            trace.end_joining(env.ctx.stats);
        }
    }

    fn deliver_segment(&mut self, env: &mut Env<'_>, tuple: FourTuple, header: &Header, payload: Bytes) {
        self.renew_budget(env);
        env.ctx.subject = Subject::Tcp(tuple);
        match self.find_record(env.common, &tuple) {
            Some(Target::Connection(id)) if env.ctx.memory.is_pressed() => {
                self.deliver_under_pressure(env, id, header, payload);
            }
            Some(Target::Connection(id)) => {
                if let Some(stream) = env.common.stream_mut(id) {
                    stream.connection.handle_segment(&mut env.ctx, header, payload);
                }
                self.settle(env, id, After::Change);
            }
            Some(Target::Handshake(id)) => self.handle_handshake_segment(env, id, header, payload),
            Some(Target::TimeWait(id)) => self.handle_time_wait_segment(env, id, header, payload),
            Some(Target::Pending(id)) => self.handle_pending_segment(env, id, header),
            None => self.handle_stray(env, tuple, header, payload),
        }
    }

    /// Handles a segment for a connection while memory is short: of segments that the device has
    /// joined, some may fit.
    #[cold]
    fn deliver_under_pressure(
        &mut self,
        env: &mut Env<'_>,
        id: SocketId,
        header: &Header,
        mut payload: Bytes,
    ) {
        env.ctx.memory = env.common.budget_of(env.ctx.now, id);
        let Some(stream) = env.common.stream_mut(id) else { return };
        let each = usize::from(header.joined_len);
        let mut first = Header { joined_len: 0, ..header.clone() };
        if each > 0 && payload.len() > each {
            first.flags = first.flags.without(Flags::PSH.with(Flags::FIN));
            while payload.len() > each {
                stream.connection.handle_segment(&mut env.ctx, &first, payload.split_to(each));
                // A segment is at most 64 KiB.
                first.seq += each as u32;
            }
            first.flags = header.flags;
        }
        stream.connection.handle_segment(&mut env.ctx, &first, payload);
        self.settle(env, id, After::Change);
    }

    /// Handles a segment without a connection: it is for a listener, or is answered with a reset
    /// (RFC 9293 §3.10.7.1, §3.10.7.2).
    fn handle_stray(&mut self, env: &mut Env<'_>, tuple: FourTuple, header: &Header, payload: Bytes) {
        let flags = header.flags;
        let listener = self.listeners.find_for(&tuple, |selector, hash| {
            selector.select(hash, |program| {
                Some(env.run_selector(program, tuple.remote.addr.is_ipv4(), &payload))
            })
        });
        if let Some(id) = listener
            && let Some(mss) = self.mss_from_cookie(env, id, &tuple, header)
        {
            return self.accept_cookie(env, (id, mss), tuple, header, payload);
        }
        match listener {
            // As in Linux, a SYN with FIN is refused: no regular host sends one.
            Some(_) if flags.is_first_syn() && flags.contains(Flags::FIN) => {
                env.ctx.count_drop(DropReason::UnexpectedSegment);
            }
            Some(id) if flags.is_first_syn() => {
                self.handle_syn(env, id, tuple, Syn { header, payload, isn_after: None });
            }
            // RFC 9293 §3.10.7.2: in LISTEN only an ACK is answered with a reset.
            Some(_) if !flags.contains(Flags::ACK) => {
                env.ctx.count_drop(DropReason::UnexpectedSegment);
            }
            None if self.intercept_syn(env, tuple, header, None) => {}
            _ => {
                env.ctx.count_drop(DropReason::NoTcpSocket);
                self.refuse_stray(env, &tuple, reset_for(header, payload.len()));
            }
        }
    }

    /// Sends a reset on behalf of no connection, within the rate limit for each host.
    pub(super) fn refuse_stray(&mut self, env: &mut Env<'_>, tuple: &FourTuple, reset: Option<Header>) {
        let Some(reset) = reset else { return };
        let rate = Rate::per_second(env.ctx.config.tcp.max_resets_per_second);
        match env.network.peer(tuple.remote.addr, iface_of(tuple.scope)) {
            Some(peer) if !self.reset_shares.take(env.ctx.now, peer, rate) => {
                env.ctx.stats.tcp.resets_limited += 1;
            }
            _ => reply(env, tuple, reset, IpFields::default()),
        }
    }

    fn handle_time_wait_segment(
        &mut self,
        env: &mut Env<'_>,
        id: TimeWaitId,
        header: &Header,
        payload: Bytes,
    ) {
        let Some(entry) = self.time_waits.get_mut(id) else { return };
        let (tuple, reuse) = (entry.tuple(), entry.reuse());
        let is_intercepted = self.intercepts.has_syn(&tuple, header);
        let fields = IpFields { tos: entry.tos, ..IpFields::default() };
        let offset = self.isn.timestamp_offset(
            tuple.local.addr,
            tuple.remote.addr,
            env.network.zone_scope(tuple.scope),
        );
        let listener = self.listeners.find_for(&tuple, |selector, hash| {
            selector.select(hash, |program| {
                Some(env.run_selector(program, tuple.remote.addr.is_ipv4(), &payload))
            })
        });
        match entry.record.handle_segment(&mut env.ctx, header, payload.len(), offset) {
            TimeWaitStep::Ignored => {}
            TimeWaitStep::Reply(answer) => reply(env, &tuple, answer, fields),
            TimeWaitStep::Reopen { isn_after } => match listener {
                Some(listener) => {
                    self.time_waits.give_up(id);
                    self.forget_time_wait(id, &tuple, reuse);
                    let syn = Syn { header, payload, isn_after: Some(isn_after) };
                    self.handle_syn(env, listener, tuple, syn);
                }
                None if is_intercepted => {
                    self.time_waits.give_up(id);
                    self.forget_time_wait(id, &tuple, reuse);
                    self.intercept_syn(env, tuple, header, Some(isn_after));
                }
                // There is nobody to take it: it is answered like any other segment (Linux's
                // tcp_v4_rcv).
                None => {
                    env.ctx.count_drop(DropReason::NoTcpSocket);
                    if let Some(answer) = entry.record.answer_syn(&env.ctx, offset) {
                        reply(env, &tuple, answer, fields);
                    }
                }
            },
        }
    }
}
