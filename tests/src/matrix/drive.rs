//! Brings a host into a state, sends it the segment of a case, and collects the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan::testing::TcpSegment;
use portolan::{Domain, Medium, Shutdown, SocketOption};

use super::{Ack, Case, Seq, State, flag_names};
use crate::host::{CallResult, Found, Host, host_addr, packet, peer_addr};
use crate::tcp_segment;

const LISTENER_PORT: u16 = 80;
const CLOSED_PORT: u16 = 81;
/// The first of the peer's ports; each case has its own.
const FIRST_PEER_PORT: u16 = 10_000;
const PEER_ISN: u32 = 1_000_000;
const DATA: [u8; 100] = [7; 100];
/// Long enough for a delayed acknowledgement, too short for a retransmission, keepalive or SYN
/// timer.
const LONG_ENOUGH: Duration = Duration::from_millis(120);

/// A segment of the host in the form in which answers are compared: with symbolic numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The flags without PSH.
    pub flags: u8,
    /// `SND.NXT`, `SEG.ACK`, ..., or a number relative to the host's initial one.
    pub seq: String,
    /// `RCV.NXT`, `SEG.END`, ..., or a number relative to the peer's initial one.
    pub ack: String,
    /// The length of the data in bytes.
    pub len: usize,
}

/// The result of a case on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The segments that it sent.
    pub packets: Vec<Packet>,
    /// The state of the connection.
    pub state: String,
    /// SO_ERROR and the number of readable bytes; `None` without a socket.
    pub socket: Option<(&'static str, usize)>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let packets: Vec<String> = self.packets.iter().map(Packet::to_string).collect();
        let sent = if packets.is_empty() { "nothing".into() } else { packets.join(", ") };
        write!(f, "{sent}; {}", self.state)?;
        match self.socket {
            Some((error, queued)) => write!(f, "; {error}, {queued} to read"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} seq {}", flag_names(self.flags), self.seq)?;
        if self.flags & TcpSegment::ACK != 0 {
            write!(f, " ack {}", self.ack)?;
        }
        if self.len > 0 { write!(f, " len {}", self.len) } else { Ok(()) }
    }
}

/// A connection that is brought into a state, from the peer's point of view.
struct Flow<D> {
    case: Case,
    peer_port: u16,
    host_port: u16,
    socket: Option<D>,
    /// The host's initial sequence number.
    isn: u32,
    snd_una: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
    /// The window of the peer, from `rcv_nxt` on.
    window: u32,
    /// The sequence number of the segment of the case.
    seg_seq: u32,
    seg_end: u32,
    seg_ack: u32,
    before: Vec<TcpSegment>,
    after: Vec<TcpSegment>,
}

/// Plays the cases on one host, all at once.
///
/// # Panics
///
/// If the host cannot be brought into a state: then the matrix itself is wrong.
pub(super) fn play<H: Host>(host: &mut H, cases: &[Case]) -> Vec<Answer> {
    let mut listeners = Vec::new();
    for domain in [Domain::V4, Domain::V6] {
        listeners.push((domain, listener(host, domain).expect("a listener")));
    }
    let mut flows: BTreeMap<u16, Flow<H::Descriptor>> = BTreeMap::new();
    let mut seen = Vec::new();
    for (peer_port, case) in (FIRST_PEER_PORT..).zip(cases) {
        let (_, listener) = listeners.iter().find(|(domain, _)| *domain == case.domain).expect("both");
        let flow = prepare(host, *case, peer_port, *listener, &mut seen)
            .unwrap_or_else(|why| panic!("{case}: cannot get there: {why}"));
        flows.insert(peer_port, flow);
    }
    // Waits for late segments, such as a delayed ACK of the preparation.
    host.pass(LONG_ENOUGH);
    seen.extend(segments(host));
    sort(seen, &mut flows, |flow, segment| flow.before.push(segment));
    for flow in flows.values_mut() {
        let segment = flow.segment();
        host.send_packet(&packet(flow.case.domain).tcp(&segment));
    }
    host.pass(LONG_ENOUGH);
    sort(segments(host), &mut flows, |flow, segment| flow.after.push(segment));
    let states = host.states();
    flows.into_values().map(|flow| flow.answer(host, &states)).collect()
}

fn listener<H: Host>(host: &mut H, domain: Domain) -> CallResult<H::Descriptor> {
    let socket = host.socket(domain)?;
    host.set_option(socket, SocketOption::ReuseAddr(true))?;
    host.bind(socket, (host_addr(domain), LISTENER_PORT).into())?;
    host.listen(socket, 4096)?;
    Ok(socket)
}

/// The segments that the host has sent since the last call.
fn segments<H: Host>(host: &mut H) -> Vec<TcpSegment> {
    host.take_sent().iter().filter_map(|(_, frame)| tcp_segment(Medium::Ip, frame)).collect()
}

/// Passes the host's segments to the flows that they belong to.
fn sort<D>(
    segments: Vec<TcpSegment>,
    flows: &mut BTreeMap<u16, Flow<D>>,
    take: impl Fn(&mut Flow<D>, TcpSegment),
) {
    for segment in segments {
        if let Some(flow) = flows.get_mut(&segment.dst_port) {
            take(flow, segment);
        }
    }
}

/// Brings a connection into the state of its case.
fn prepare<H: Host>(
    host: &mut H,
    case: Case,
    peer_port: u16,
    listener: H::Descriptor,
    seen: &mut Vec<TcpSegment>,
) -> Result<Flow<H::Descriptor>, String> {
    let mut flow = Flow {
        case,
        peer_port,
        host_port: if case.state == State::Closed { CLOSED_PORT } else { LISTENER_PORT },
        socket: None,
        isn: 0,
        snd_una: 0,
        snd_nxt: 0,
        rcv_nxt: PEER_ISN,
        window: 60_000,
        seg_seq: 0,
        seg_end: 0,
        seg_ack: 0,
        before: Vec::new(),
        after: Vec::new(),
    };
    if matches!(case.state, State::Closed | State::Listen) {
        (flow.snd_una, flow.snd_nxt) = (5000, 5000);
        return Ok(flow);
    }
    if case.state == State::SynSent {
        let socket = host.socket(case.domain)?;
        let result = host.connect(socket, (peer_addr(case.domain), peer_port).into());
        if result != Err("EINPROGRESS") {
            return Err(format!("connect: {result:?}"));
        }
        flow.host_port = host.local_addr(socket)?.port();
        flow.socket = Some(socket);
        flow.take_syn(host, seen)?;
        return Ok(flow);
    }
    flow.send(host, TcpSegment::SYN, 0);
    flow.take_syn(host, seen)?;
    if case.state == State::SynReceived {
        return Ok(flow);
    }
    flow.snd_una = flow.snd_nxt;
    flow.send(host, TcpSegment::ACK, 0);
    let socket = host.accept(listener)?;
    flow.socket = Some(socket);
    match case.state {
        State::EstablishedData => {
            host.send(socket, &DATA)?;
            flow.snd_nxt = flow.snd_nxt.wrapping_add(DATA.len() as u32);
        }
        State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait => {
            host.shutdown(socket, Shutdown::Write)?;
            flow.snd_nxt = flow.snd_nxt.wrapping_add(1);
        }
        State::FinWait1Closed | State::FinWait2Closed => {
            host.close(socket)?;
            flow.socket = None;
            flow.snd_nxt = flow.snd_nxt.wrapping_add(1);
        }
        State::CloseWait | State::LastAck => flow.send(host, TcpSegment::FIN | TcpSegment::ACK, 0),
        _ => {}
    }
    match case.state {
        State::FinWait2 | State::FinWait2Closed => {
            flow.snd_una = flow.snd_nxt;
            flow.send(host, TcpSegment::ACK, 0);
        }
        State::Closing => flow.send(host, TcpSegment::FIN | TcpSegment::ACK, 0),
        State::TimeWait => {
            flow.snd_una = flow.snd_nxt;
            flow.send(host, TcpSegment::FIN | TcpSegment::ACK, 0);
        }
        State::LastAck => {
            host.close(socket)?;
            flow.socket = None;
            flow.snd_nxt = flow.snd_nxt.wrapping_add(1);
        }
        _ => {}
    }
    Ok(flow)
}

impl<D: Copy> Flow<D> {
    /// Sends a segment of the preparation.
    fn send<H: Host>(&mut self, host: &mut H, flags: u8, len: u32) {
        let segment = TcpSegment {
            seq: self.rcv_nxt,
            ack: if flags & TcpSegment::ACK != 0 { self.snd_una } else { 0 },
            flags,
            window: 60_000,
            payload: vec![1; len as usize],
            ..TcpSegment::new(self.peer_port, self.host_port)
        };
        let takes = flags & (TcpSegment::SYN | TcpSegment::FIN);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(len + takes.count_ones());
        host.send_packet(&packet(self.case.domain).tcp(&segment));
    }

    /// Takes the host's SYN or SYN-ACK, which was just sent.
    fn take_syn<H: Host>(&mut self, host: &mut H, seen: &mut Vec<TcpSegment>) -> Result<(), String> {
        seen.extend(segments(host));
        let is_mine = |segment: &&TcpSegment| {
            segment.dst_port == self.peer_port && segment.flags & TcpSegment::SYN != 0
        };
        let syn = seen.iter().rev().find(is_mine).ok_or("no SYN")?;
        self.isn = syn.seq;
        (self.snd_una, self.snd_nxt) = (syn.seq, syn.seq.wrapping_add(1));
        if syn.flags & TcpSegment::ACK != 0 {
            self.window = u32::from(syn.window);
        }
        Ok(())
    }

    /// The segment of the case.
    fn segment(&mut self) -> TcpSegment {
        let Case { flags, seq, ack, len, .. } = self.case;
        // Finds the last window of the host.
        for segment in self.before.iter().filter(|segment| segment.flags & TcpSegment::ACK != 0) {
            let edge = segment.ack.wrapping_add(u32::from(segment.window));
            self.window = edge.wrapping_sub(self.rcv_nxt);
        }
        self.seg_seq = self.rcv_nxt.wrapping_add(match seq {
            Seq::Old => 0u32.wrapping_sub(1000),
            Seq::OneBefore => 0u32.wrapping_sub(1),
            Seq::Next => 0,
            Seq::InWindow => 10,
            Seq::LastInWindow => self.window.wrapping_sub(1),
            Seq::Edge => self.window,
            Seq::Beyond => self.window.wrapping_add(1000),
        });
        self.seg_ack = match ack {
            Ack::TooOld => self.snd_una.wrapping_sub(100_000),
            Ack::OneBefore => self.snd_una.wrapping_sub(1),
            Ack::Una => self.snd_una,
            Ack::Within => self.snd_una.wrapping_add(self.snd_nxt.wrapping_sub(self.snd_una) / 2),
            Ack::Next => self.snd_nxt,
            Ack::Future => self.snd_nxt.wrapping_add(1),
        };
        let has_ack = flags & TcpSegment::ACK != 0;
        if !has_ack {
            self.seg_ack = 0;
        }
        let takes = (flags & (TcpSegment::SYN | TcpSegment::FIN)).count_ones();
        self.seg_end = self.seg_seq.wrapping_add(len + takes);
        TcpSegment {
            seq: self.seg_seq,
            ack: self.seg_ack,
            flags,
            window: 60_000,
            urgent: if flags & TcpSegment::URG != 0 { 5 } else { 0 },
            payload: vec![1; len as usize],
            ..TcpSegment::new(self.peer_port, self.host_port)
        }
    }

    fn answer<H: Host<Descriptor = D>>(self, host: &mut H, states: &[(u16, u16, String)]) -> Answer {
        // A retransmission of earlier data is not an answer to the case.
        let takes = |segment: &TcpSegment| {
            let syn_or_fin = segment.flags & (TcpSegment::SYN | TcpSegment::FIN);
            segment.payload.len() as u32 + syn_or_fin.count_ones()
        };
        let is_part = |segment: &TcpSegment, before: &TcpSegment| {
            (before.flags ^ segment.flags) & !TcpSegment::PSH == 0
                && segment.seq.wrapping_sub(before.seq) < takes(before)
        };
        let is_new = |segment: &&TcpSegment| {
            takes(segment) == 0 || !self.before.iter().any(|before| is_part(segment, before))
        };
        let packets = self.after.iter().filter(is_new).map(|segment| self.describe(segment)).collect();
        // If a new connection has replaced one in TIME-WAIT, the new one counts.
        let found = states
            .iter()
            .filter(|(local, peer, _)| (*local, *peer) == (self.host_port, self.peer_port))
            .min_by_key(|(_, _, state)| state == "TIME-WAIT");
        let state = match (found, self.socket) {
            (Some((_, _, state)), _) => state.clone(),
            (None, Some(socket)) => match host.info(socket, "state") {
                Ok(Found::Value(state)) => state,
                _ => "CLOSED".into(),
            },
            (None, None) => "none".into(),
        };
        let socket = self.socket.map(|socket| {
            let queued = host.queued_bytes(socket).map_or(0, |(received, _)| received);
            (host.take_error(socket).ok().flatten().unwrap_or("no error"), queued)
        });
        Answer { packets, state, socket }
    }

    fn describe(&self, segment: &TcpSegment) -> Packet {
        let named = |value: u32, names: &[(&str, u32)], base: u32| {
            let name = names.iter().find(|(_, known)| *known == value);
            name.map_or_else(|| format!("{}", value.wrapping_sub(base) as i32), |(name, _)| (*name).into())
        };
        let has_isn = self.isn != 0;
        let seqs = [("SND.NXT", self.snd_nxt), ("SND.UNA", self.snd_una), ("SEG.ACK", self.seg_ack)];
        let is_new_syn = segment.flags & TcpSegment::SYN != 0 && (!has_isn || segment.seq != self.isn);
        let seq = match is_new_syn {
            true => "ISS".into(),
            false => named(segment.seq, if has_isn { &seqs } else { &seqs[2..] }, self.isn),
        };
        let acks = [
            ("RCV.NXT", self.rcv_nxt),
            ("SEG.END", self.seg_end),
            ("SEG.SEQ+1", self.seg_seq.wrapping_add(1)),
        ];
        Packet {
            flags: segment.flags & 0x3f & !TcpSegment::PSH,
            seq,
            ack: named(segment.ack, &acks, PEER_ISN),
            len: segment.payload.len(),
        }
    }
}
