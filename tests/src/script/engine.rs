//! Does the steps of a script, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use portolan::testing::{Fault, PacketBuilder, TcpSegment, describe};
use portolan::{Config, Domain, DropReason, Instant, Medium};

use super::calls::{SERVICE_PORT, Socket};
use super::connection::{Connection, Names, Seen};
use super::segment::{Notation, WindowNotation};
use super::syntax::{Call, Check, DEFAULT_NAME, Icmp, IcmpKind, Line, Script, Start, Step, Verb};
use super::{Failure, segment};
use crate::raw_peer::{RawPeer, tcp_segment};

/// The seed of every script: the ISN, ports and timestamps are the same in each run.
const SEED: u8 = 7;
/// The peer's port of the first connection to the stack.
const FIRST_PEER_PORT: u16 = 5000;
const MTU: usize = 1500;

pub(super) struct Engine<'s> {
    pub(super) script: &'s Script,
    pub(super) domain: Domain,
    pub(super) peer: RawPeer,
    pub(super) connections: BTreeMap<String, Connection>,
    pub(super) sockets: BTreeMap<String, Socket>,
    started_at: Instant,
    /// What the stack has sent and the script has not asked for yet.
    pending: VecDeque<Seen>,
    names: Names,
    transcript: Vec<String>,
}

/// Runs a script over one family. The frames must be the same whether the stack makes segments one by one or in runs.
pub(super) fn run(script: &Script, domain: Domain) -> Result<Vec<String>, Failure> {
    let mut config = Config::default();
    for setting in &script.settings {
        setting.apply(&mut config);
    }
    let mut one_by_one = config.clone();
    one_by_one.tcp.max_run_segs = 1;
    run_with(script, domain, one_by_one)?;
    run_with(script, domain, config)
}

fn run_with(script: &Script, domain: Domain, config: Config) -> Result<Vec<String>, Failure> {
    let peer = RawPeer::new(false, config, SEED);
    let mut engine = Engine {
        script,
        domain,
        started_at: peer.now,
        peer,
        connections: BTreeMap::new(),
        sockets: BTreeMap::new(),
        pending: VecDeque::new(),
        names: Names::default(),
        transcript: Vec::new(),
    };
    let mut at = (script.last_line, "the end of the script");
    let mut result = Ok(());
    for line in &script.lines {
        result = engine.step(line);
        if result.is_err() {
            at = (line.number, &line.text);
            break;
        }
    }
    match result.and_then(|()| engine.expect_quiet()) {
        Ok(()) => Ok(engine.transcript),
        Err(why) => Err(Failure {
            at: format!("{}:{}", script.path, at.0),
            line: at.1.into(),
            why,
            transcript: engine.transcript,
        }),
    }
}

impl Engine<'_> {
    fn step(&mut self, line: &Line) -> Result<(), String> {
        if !matches!(line.step, Step::Stack { .. }) {
            self.expect_quiet()?;
            self.pass_quietly(line.delay)?;
        }
        match &line.step {
            Step::Start(start) => self.start(start, line),
            Step::Call(call) => self.do_call(call, &line.text),
            Step::Peer { connection, segment } => self.send(connection, segment),
            Step::Icmp { connection, icmp } => self.send_icmp(connection, icmp),
            Step::Stack { connection, segment } => {
                self.expect(connection, segment, line.delay, line.tolerance)
            }
            Step::Nothing(time) => self.pass_quietly(*time),
            Step::Skip(time) => {
                self.pass(*time);
                self.collect();
                for seen in std::mem::take(&mut self.pending) {
                    if let Some(connection) = self.connection_of(&seen.segment) {
                        connection.on_received(&seen.segment);
                    }
                }
                Ok(())
            }
            Step::Check(check) => self.check(check),
        }
    }

    // Time.

    /// Lets time pass, whatever comes.
    fn pass(&mut self, time: Duration) {
        let end = self.peer.now + time;
        while self.pass_to_next(end) {
            self.collect();
        }
    }

    /// To the next timer, or to `end` if that is sooner; whether there was a timer.
    fn pass_to_next(&mut self, end: Instant) -> bool {
        match self.peer.stack.poll_timeout().filter(|deadline| deadline.at <= end) {
            Some(deadline) => {
                let step = deadline.at.duration_since(self.peer.now);
                self.peer.pass(step);
                true
            }
            None => {
                self.peer.pass(end.duration_since(self.peer.now));
                false
            }
        }
    }

    /// Lets time pass in which the stack must say nothing.
    fn pass_quietly(&mut self, time: Duration) -> Result<(), String> {
        let end = self.peer.now + time;
        while self.peer.now < end {
            self.pass_to_next(end);
            self.collect();
            self.expect_quiet()?;
        }
        Ok(())
    }

    fn expect_quiet(&mut self) -> Result<(), String> {
        let Some(seen) = self.pending.front().cloned() else { return Ok(()) };
        let got = self.tell(&seen);
        Err(format!("expected nothing more of the stack here\ngot      {} stack {got}", self.time(seen.at)))
    }

    /// Takes what the stack has sent.
    fn collect(&mut self) {
        for frame in self.peer.take_sent() {
            let at = self.peer.now;
            if let Err(why) = crate::check_frame(Medium::Ip, MTU, &frame) {
                self.note(at, &format!("stack sent a wrong frame: {why}"));
            }
            let Some(segment) = tcp_segment(Medium::Ip, &frame) else {
                self.note(at, &format!("stack {}", describe(Medium::Ip, &frame)));
                continue;
            };
            let seen = Seen::new(at, &frame, segment);
            if let Some(connection) = self.connection_of(&seen.segment) {
                connection.on_seen(&seen.segment);
            }
            let told = self.tell(&seen);
            self.note(at, &format!("stack{told}"));
            self.pending.push_back(seen);
        }
    }

    // Words.

    /// Seconds since the script began.
    fn time(&self, at: Instant) -> String {
        format!("{:.6}", at.duration_since(self.started_at).as_secs_f64())
    }

    fn note(&mut self, at: Instant, what: &str) {
        let time = self.time(at);
        self.transcript.push(format!("{time} {what}"));
    }

    /// `:b ACK seq 1 ...`, without the name of the only connection.
    fn tell(&self, seen: &Seen) -> String {
        match self.connections.iter().find(|(_, connection)| belongs(connection, &seen.segment)) {
            Some((name, connection)) if name == DEFAULT_NAME => format!(" {}", connection.tell(seen)),
            Some((name, connection)) => format!(":{name} {}", connection.tell(seen)),
            None => format!(" (for nobody) {}", segment::describe(&seen.segment, seen.ecn, 0, 0, 0)),
        }
    }

    fn connection_of(&mut self, segment: &TcpSegment) -> Option<&mut Connection> {
        self.connections.values_mut().find(|connection| belongs(connection, segment))
    }

    /// The connection of this name. One that is new is the peer's to open.
    fn connection(&mut self, name: &str) -> &mut Connection {
        let port = FIRST_PEER_PORT + self.connections.len() as u16;
        let (domain, isn) = (self.domain, self.script.peer_isn);
        self.connections
            .entry(name.into())
            .or_insert_with(|| Connection::new(domain, port, SERVICE_PORT, isn))
    }

    // The peer.

    fn send(&mut self, name: &str, notation: &Notation) -> Result<(), String> {
        let each = notation.each.unwrap_or(u32::MAX);
        let mut piece = notation.clone();
        let mut left = notation.len.unwrap_or(0);
        loop {
            if notation.each.is_some() {
                piece.len = Some(left.min(each));
            }
            self.send_one(name, &piece)?;
            left = left.saturating_sub(each);
            if left == 0 {
                return Ok(());
            }
            piece.seq = piece.seq.map(|seq| seq.wrapping_add(each));
        }
    }

    fn send_one(&mut self, name: &str, notation: &Notation) -> Result<(), String> {
        let elapsed = self.peer.now.duration_since(self.started_at).as_millis();
        let clock = self.script.peer_clock.wrapping_add(elapsed as u32);
        let names = std::mem::take(&mut self.names);
        let built = self.connection(name).build(notation, clock, &names);
        self.names = names;
        let segment = built?;
        let ecn = notation.ecn.unwrap_or(0);
        let told = self.connection(name).tell_sent(&segment, ecn);
        let suffix = if name == DEFAULT_NAME { String::new() } else { format!(":{name}") };
        self.note(self.peer.now, &format!("peer{suffix} {told}"));
        let mut packet = self.peer.packet(self.domain);
        packet.traffic_class = notation.tos.unwrap_or(0) | ecn;
        if notation.bad_checksum {
            packet = packet.fault(Fault::TransportChecksum);
        }
        self.peer.send_packet(&packet.tcp(&segment));
        self.collect();
        Ok(())
    }

    /// An ICMP error about a segment of the stack.
    fn send_icmp(&mut self, name: &str, icmp: &Icmp) -> Result<(), String> {
        let connection = self.connection(name);
        let about = TcpSegment {
            seq: connection.stack_isn().wrapping_add(icmp.seq),
            ack: connection.peer_isn(),
            flags: TcpSegment::ACK,
            ..TcpSegment::new(connection.stack_port, connection.peer_port)
        };
        let to_stack = self.peer.packet(self.domain);
        let original = PacketBuilder::new(to_stack.dst, to_stack.src).tcp(&about);
        let (kind, code, word) = match (icmp.kind, self.domain) {
            (IcmpKind::NetUnreachable, Domain::V4) => (3, 0, 0),
            (IcmpKind::HostUnreachable, Domain::V4) => (3, 1, 0),
            (IcmpKind::PortUnreachable, Domain::V4) => (3, 3, 0),
            (IcmpKind::TooBig { mtu }, Domain::V4) => (3, 4, mtu),
            (IcmpKind::NetUnreachable, Domain::V6) => (1, 0, 0),
            (IcmpKind::HostUnreachable, Domain::V6) => (1, 3, 0),
            (IcmpKind::PortUnreachable, Domain::V6) => (1, 4, 0),
            (IcmpKind::TooBig { mtu }, Domain::V6) => (2, 0, mtu),
            (IcmpKind::Raw { kind, code }, _) => (kind, code, 0),
        };
        let mut rest = word.to_be_bytes().to_vec();
        rest.extend_from_slice(&original);
        self.note(self.peer.now, &format!("peer icmp {:?} about seq {}", icmp.kind, icmp.seq));
        self.peer.send_packet(&to_stack.icmp(kind, code, &rest));
        self.collect();
        Ok(())
    }

    // The stack.

    fn expect(
        &mut self,
        name: &str,
        notation: &Notation,
        delay: Duration,
        tolerance: Duration,
    ) -> Result<(), String> {
        let each = notation.each.unwrap_or(u32::MAX);
        let mut piece = notation.clone();
        let mut left = notation.len.unwrap_or(0);
        let mut delay = delay;
        loop {
            if notation.each.is_some() {
                piece.len = Some(left.min(each));
            }
            self.expect_one(name, &piece, delay, tolerance)?;
            left = left.saturating_sub(each);
            if left == 0 {
                return Ok(());
            }
            piece.seq = piece.seq.map(|seq| seq.wrapping_add(each));
            delay = Duration::ZERO;
        }
    }

    fn expect_one(
        &mut self,
        name: &str,
        wanted: &Notation,
        delay: Duration,
        tolerance: Duration,
    ) -> Result<(), String> {
        // Without a delay the segment is there already.
        let tolerance = if delay.is_zero() { Duration::ZERO } else { tolerance };
        let earliest = self.peer.now + delay.saturating_sub(tolerance);
        let latest = self.peer.now + delay + tolerance;
        while self.pending.is_empty() && self.peer.now < latest {
            self.pass_to_next(latest);
            self.collect();
        }
        let due = self.time(earliest + tolerance);
        let Some(seen) = self.pending.pop_front() else {
            return Err(format!("expected this segment at {due}\ngot      nothing by {}", self.time(latest)));
        };
        let mut names = std::mem::take(&mut self.names);
        let connection = self.connection(name);
        let mut wrong = if belongs(connection, &seen.segment) {
            connection.differences(wanted, &seen, &mut names)
        } else {
            vec![format!("a segment of connection {name}")]
        };
        self.names = names;
        if seen.at < earliest || seen.at > latest {
            wrong.push(format!("at {due}, not at {}", self.time(seen.at)));
        }
        if !wrong.is_empty() {
            let got = self.tell(&seen);
            return Err(format!(
                "expected {}\ngot      {} stack{got}",
                wrong.join("\n         "),
                self.time(seen.at)
            ));
        }
        if wanted.lost {
            self.note(self.peer.now, "     ... which is lost");
        } else {
            self.connection(name).on_received(&seen.segment);
        }
        Ok(())
    }

    // The program.

    fn do_call(&mut self, call: &Call, text: &str) -> Result<(), String> {
        self.note(self.peer.now, text);
        let result = self.call(call);
        self.peer.settle();
        self.collect();
        result
    }

    /// A handshake, step by step as a script would write it.
    fn start(&mut self, start: &Start, line: &Line) -> Result<(), String> {
        let call = |verb| Call { socket: DEFAULT_NAME.into(), verb, expected: None };
        let window = start.syn.window.unwrap_or(WindowNotation::Bytes(u32::from(u16::MAX)));
        let WindowNotation::Bytes(bytes) = window else {
            return Err("a start's window is in bytes: win 65535".into());
        };
        let mut syn = Notation { flags: Some(TcpSegment::SYN), ..(*start.syn).clone() };
        syn.window = Some(WindowNotation::Bytes(bytes.min(u32::from(u16::MAX))));
        let expected = |flags| Notation { flags: Some(flags), ..Notation::default() };
        let rest = Notation { window: Some(WindowNotation::Bytes(bytes)), ..Notation::default() };
        if start.active {
            self.do_call(&call(Verb::Connect), "call connect")?;
            self.expect(DEFAULT_NAME, &expected(TcpSegment::SYN), Duration::ZERO, line.tolerance)?;
            self.pass_quietly(start.round_trip)?;
            syn.flags = Some(TcpSegment::SYN | TcpSegment::ACK);
            self.send(DEFAULT_NAME, &syn)?;
            self.connection(DEFAULT_NAME).set_window(bytes);
            return self.expect(DEFAULT_NAME, &expected(TcpSegment::ACK), Duration::ZERO, line.tolerance);
        }
        self.do_call(&call(Verb::Listen { backlog: 16 }), "call listen")?;
        self.send(DEFAULT_NAME, &syn)?;
        let syn_ack = TcpSegment::SYN | TcpSegment::ACK;
        self.expect(DEFAULT_NAME, &expected(syn_ack), Duration::ZERO, line.tolerance)?;
        self.pass_quietly(start.round_trip)?;
        self.send(DEFAULT_NAME, &rest)?;
        self.do_call(&call(Verb::Accept), "call accept")
    }

    // What can be looked at.

    fn check(&mut self, check: &Check) -> Result<(), String> {
        let (expected, got) = match check {
            Check::State { connection, state } => (state.clone(), self.state(connection)),
            Check::Readiness { socket, what, wanted } => {
                let readiness = self.readiness(socket)?;
                let got = match what.as_str() {
                    "readable" => readiness.readable,
                    "writable" => readiness.writable,
                    "peer-closed" => readiness.peer_closed,
                    "hung-up" => readiness.hung_up,
                    "error-waits" => readiness.error,
                    other => return Err(format!("`{other}` is no readiness")),
                };
                (format!("{what}: {wanted}"), format!("{what}: {got}"))
            }
            Check::Error { socket, error } => {
                let descriptor = self.socket(socket)?.descriptor;
                let got = self.peer.stack.take_error(descriptor).map_err(|error| error.to_string())?;
                (error.clone(), got.map_or("none".into(), |error| error.name().to_string()))
            }
            Check::Reason { socket, reason } => {
                let descriptor = self.socket(socket)?.descriptor;
                let got = self.peer.stack.close_reason(descriptor).map_err(|error| error.to_string())?;
                (reason.clone(), got.map_or("none".into(), |reason| format!("{reason:?}")))
            }
            Check::Queued { socket, received, unsent } => {
                let descriptor = self.socket(socket)?.descriptor;
                let got = self.peer.stack.queued_bytes(descriptor).map_err(|error| error.to_string())?;
                (format!("{received} {unsent}"), format!("{} {}", got.0, got.1))
            }
            Check::Info { socket, fields } => self.info(socket, fields)?,
            Check::Counter { name, count } => {
                let counters = self.peer.stack.stats().counters();
                let found = counters.iter().find(|(known, _)| known == name);
                let (_, got) = found.ok_or_else(|| format!("there is no counter {name}"))?;
                (count.to_string(), got.to_string())
            }
            Check::Drops { reason, count } => {
                let known = DropReason::ALL.iter().find(|known| format!("{known:?}") == *reason);
                let reason = known.ok_or_else(|| format!("there is no DropReason::{reason}"))?;
                (count.to_string(), self.peer.stack.stats().drops(*reason).to_string())
            }
            Check::Timer { kind, after } => {
                let show = |kind: &str, after: Option<Duration>| match after {
                    Some(after) => format!("{kind} in {:.3} s", after.as_secs_f64()),
                    None => kind.to_string(),
                };
                // Not what the stack asks to be called for: it may ask early, and find nothing to do.
                let sockets = self.peer.stack.sockets();
                let next = sockets.iter().filter_map(|socket| socket.timer).min_by_key(|&(at, _)| at);
                let got = next.map_or("none".into(), |(at, kind)| {
                    show(&format!("{kind:?}"), Some(at.duration_since(self.peer.now)))
                });
                (show(kind, *after), got)
            }
        };
        if expected == got { Ok(()) } else { Err(format!("expected {expected}\ngot      {got}")) }
    }

    /// The fields that a script asks for, as it has them and as they are.
    fn info(&self, socket: &str, fields: &[(String, String)]) -> Result<(String, String), String> {
        let descriptor = self.socket(socket)?.descriptor;
        let info = self.peer.stack.info(self.peer.now, descriptor).map_err(|error| error.to_string())?;
        // `TcpInfo { state: "ESTABLISHED", ..., rtt: 100ms, ... }`: whatever fields there will be.
        let told = format!("{info:?}");
        let (mut expected, mut got) = (String::new(), String::new());
        for (name, value) in fields {
            let (_, after) = told
                .split_once(&format!(" {name}: "))
                .ok_or_else(|| format!("TcpInfo has no field {name}"))?;
            let end = after.find([',', '}']).unwrap_or(after.len());
            expected += &format!("{name} {value} ");
            got += &format!("{name} {} ", after[..end].trim().trim_matches('"'));
        }
        Ok((expected, got))
    }

    fn readiness(&self, socket: &str) -> Result<portolan::Readiness, String> {
        let descriptor = self.socket(socket)?.descriptor;
        self.peer.stack.readiness(descriptor).map_err(|error| error.to_string())
    }

    /// The state of a connection, whoever holds it; `none` if the stack has none.
    fn state(&self, name: &str) -> String {
        let Some(connection) = self.connections.get(name) else { return "none".into() };
        let held = self.sockets.get(name).map(|socket| socket.descriptor);
        let infos = self.peer.stack.sockets();
        let info = infos.iter().find(|info| {
            let has_ports = info.local.is_some_and(|local| local.port() == connection.stack_port)
                && info.peer.is_some_and(|peer| peer.port() == connection.peer_port);
            has_ports || (held.is_some() && info.descriptor == held)
        });
        info.map_or("none".into(), |info| info.state.into())
    }
}

fn belongs(connection: &Connection, segment: &TcpSegment) -> bool {
    segment.src_port == connection.stack_port && segment.dst_port == connection.peer_port
}
