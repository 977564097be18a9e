//! Executes the steps of a script, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use portolan::testing::{Fault, PacketBuilder, TcpSegment, describe};
use portolan::{Config, Domain, Instant, Medium};

use super::calls::{SERVICE_PORT, Socket};
use super::connection::{Connection, Names, Seen};
use super::segment::{Notation, WindowNotation};
use super::syntax::{Call, DEFAULT_NAME, Icmp, IcmpKind, Line, Script, Start, Step, Verb};
use super::{Failure, segment};
use crate::host::{self, Host, LinuxHost};
use crate::raw_peer::{RawPeer, tcp_segment};

/// The seed of every script: the ISN, ports and timestamps are the same in each run.
const SEED: u8 = 7;
/// The peer's port of the first connection to the stack.
const FIRST_PEER_PORT: u16 = 5000;
const MTU: usize = 1500;

/// In real time: how much too early a segment may be, because the kernel counts in jiffies and
/// round trips are not exact.
const EARLY: Duration = Duration::from_millis(8);
/// In real time: how late a segment may be that is due at once, and one that is due later. A timer
/// of Linux may be late by an eighth of its time (the levels of its wheel), and the thread may have
/// to wait for a processor.
const LATE_AT_ONCE: Duration = Duration::from_millis(25);
const LATE: Duration = Duration::from_millis(100);
/// In real time: if the script itself is later than this, its result means nothing.
const TOO_LATE: Duration = Duration::from_millis(3);

/// A script that is played against one host.
pub(super) struct Engine<'s, H: Host> {
    pub(super) script: &'s Script,
    pub(super) domain: Domain,
    pub(super) host: H,
    pub(super) connections: BTreeMap<String, Connection>,
    pub(super) sockets: BTreeMap<String, Socket<H::Descriptor>>,
    started_at: Instant,
    /// When the previous line was executed: delays count from there.
    at: Instant,
    /// The peer's timestamp clock since the beginning; in real time, as if nothing had been late.
    clock: Duration,
    /// In real time: the most that the script itself was late.
    late: Duration,
    /// Whether the line failed, but perhaps only because of its time.
    is_off_by_time: bool,
    /// Segments of the stack that the script has not expected yet.
    pending: VecDeque<Seen>,
    names: Names,
    transcript: Vec<String>,
}

/// Runs a script on Portolan over one family. The frames must be the same whether the stack makes
/// single segments or runs.
pub(super) fn run(script: &Script, domain: Domain) -> Result<Vec<String>, Failure> {
    let mut config = Config::default();
    for setting in &script.settings {
        setting.apply(&mut config);
    }
    let mut one_by_one = config.clone();
    one_by_one.tcp.max_run_segs = 1;
    play(script, domain, RawPeer::new(false, one_by_one, SEED))?;
    play(script, domain, RawPeer::new(false, config, SEED))
}

/// Runs a script without expectations on Portolan once, with the default configuration.
pub(super) fn run_on_portolan(script: &Script, domain: Domain) -> Result<Vec<String>, Failure> {
    play(script, domain, RawPeer::new(false, Config::default(), SEED))
}

/// Runs a script on the kernel over one family, with the script's settings.
pub(super) fn run_on_linux(script: &Script, domain: Domain) -> Result<Vec<String>, Failure> {
    let failure = |why: String| Failure {
        at: script.path.clone(),
        line: "(the network namespace)".into(),
        why,
        transcript: Vec::new(),
        is_timing: false,
    };
    let settings = script.kernel_settings().map_err(failure)?;
    let host = LinuxHost::new(&settings).map_err(|error| failure(error.to_string()))?;
    play(script, domain, host)
}

fn play<H: Host>(script: &Script, domain: Domain, host: H) -> Result<Vec<String>, Failure> {
    let mut engine = Engine {
        script,
        domain,
        started_at: host.now(),
        at: host.now(),
        clock: Duration::ZERO,
        late: Duration::ZERO,
        is_off_by_time: false,
        host,
        connections: BTreeMap::new(),
        sockets: BTreeMap::new(),
        pending: VecDeque::new(),
        names: Names::default(),
        transcript: Vec::new(),
    };
    let mut at = (script.last_line, "the end of the script");
    let mut result = Ok(());
    for line in script.lines.iter().filter(|line| line.is_for(H::REAL_TIME)) {
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
            why: if engine.late > TOO_LATE {
                format!("{why}\n(but the script itself was up to {:.1?} late)", engine.late)
            } else {
                why
            },
            transcript: engine.transcript,
            is_timing: engine.is_off_by_time || engine.late > TOO_LATE,
        }),
    }
}

impl<H: Host> Engine<'_, H> {
    fn step(&mut self, line: &Line) -> Result<(), String> {
        // The previous line was executed then.
        self.late = self.late.max(self.host.now().duration_since(self.at));
        match line.step {
            Step::Stack { .. } => {}
            Step::Skip(_) => self.pass(line.delay),
            _ => {
                self.expect_quiet()?;
                self.pass_quietly(line.delay)?;
            }
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

    /// Lets time pass, whatever the stack sends.
    fn pass(&mut self, time: Duration) {
        let end = self.at + time;
        while self.host.now() < end {
            self.host.wait(end);
            self.collect();
        }
        self.has_passed(time, end);
    }

    /// Lets time pass in which the stack must send nothing.
    fn pass_quietly(&mut self, time: Duration) -> Result<(), String> {
        let end = self.at + time;
        while self.host.now() < end {
            self.host.wait(end);
            self.collect();
            self.expect_quiet()?;
        }
        self.has_passed(time, end);
        Ok(())
    }

    fn has_passed(&mut self, time: Duration, end: Instant) {
        self.clock += time;
        self.at = end;
        if !time.is_zero() {
            self.late = self.late.max(self.host.now().duration_since(end));
        }
    }

    /// Begins a step that happens now.
    fn begin(&mut self) {
        self.at = self.at.max(self.host.now());
    }

    fn expect_quiet(&mut self) -> Result<(), String> {
        let Some(seen) = self.pending.front().cloned() else { return Ok(()) };
        let got = self.tell(&seen);
        Err(format!("expected nothing more of the stack here\ngot      {} stack {got}", self.time(seen.at)))
    }

    /// Takes the stack's segments.
    fn collect(&mut self) {
        for (at, frame) in self.host.take_sent() {
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

    // Texts.

    /// Seconds since the script began.
    fn time(&self, at: Instant) -> String {
        format!("{:.6}", at.duration_since(self.started_at).as_secs_f64())
    }

    fn note(&mut self, at: Instant, what: &str) {
        let time = self.time(at);
        self.transcript.push(format!("{time} {what}"));
    }

    /// Records the result of a call for which the script says `= *`.
    pub(super) fn note_result(&mut self, result: &str) {
        self.note(self.at, &format!("= {result}"));
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

    /// The connection of this name. A new one is opened by the peer.
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
        self.begin();
        let clock = self.script.peer_clock.wrapping_add(self.clock.as_millis() as u32);
        let names = std::mem::take(&mut self.names);
        let built = self.connection(name).build(notation, clock, &names);
        self.names = names;
        let segment = built?;
        let ecn = notation.ecn.unwrap_or(0);
        let told = self.connection(name).tell_sent(&segment, ecn);
        let suffix = if name == DEFAULT_NAME { String::new() } else { format!(":{name}") };
        self.note(self.at, &format!("peer{suffix} {told}"));
        let mut packet = host::packet(self.domain);
        packet.traffic_class = notation.tos.unwrap_or(0) | ecn;
        if notation.bad_checksum {
            packet = packet.fault(Fault::TransportChecksum);
        }
        self.host.send_packet(&packet.tcp(&segment));
        self.collect();
        Ok(())
    }

    /// An ICMP error about a segment of the stack.
    fn send_icmp(&mut self, name: &str, icmp: &Icmp) -> Result<(), String> {
        self.begin();
        let connection = self.connection(name);
        let about = TcpSegment {
            seq: connection.stack_isn().wrapping_add(icmp.seq),
            ack: connection.peer_isn(),
            flags: TcpSegment::ACK,
            ..TcpSegment::new(connection.stack_port, connection.peer_port)
        };
        let to_stack = host::packet(self.domain);
        let original = PacketBuilder::new(to_stack.dst, to_stack.src).tcp(&about);
        let (kind, code, word) = match (icmp.kind, self.domain) {
            (IcmpKind::NetUnreachable, Domain::V4) => (3, 0, 0),
            (IcmpKind::HostUnreachable, Domain::V4) => (3, 1, 0),
            (IcmpKind::PortUnreachable, Domain::V4) => (3, 3, 0),
            (IcmpKind::TooBig { mtu }, Domain::V4) => (3, 4, mtu),
            (IcmpKind::NetUnreachable, _) => (1, 0, 0),
            (IcmpKind::HostUnreachable, _) => (1, 3, 0),
            (IcmpKind::PortUnreachable, _) => (1, 4, 0),
            (IcmpKind::TooBig { mtu }, _) => (2, 0, mtu),
            (IcmpKind::Raw { kind, code }, _) => (kind, code, 0),
        };
        let mut rest = word.to_be_bytes().to_vec();
        rest.extend_from_slice(&original);
        self.note(self.at, &format!("peer icmp {:?} about seq {}", icmp.kind, icmp.seq));
        self.host.send_packet(&to_stack.icmp(kind, code, &rest));
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
        // Without a delay the segment must have been sent already.
        let tolerance = if delay.is_zero() { Duration::ZERO } else { tolerance };
        let (early, late) = match (H::REAL_TIME, delay.is_zero()) {
            (false, _) => (Duration::ZERO, Duration::ZERO),
            (true, true) => (EARLY, LATE_AT_ONCE),
            (true, false) => (EARLY + delay / 50, LATE + delay / 7),
        };
        let due = self.at + delay;
        let earliest = self.at + delay.saturating_sub(tolerance) - early;
        let latest = due + tolerance + late;
        while self.pending.is_empty() && self.host.now() < latest {
            self.host.wait(latest);
            self.collect();
        }
        let due = self.time(due);
        let Some(seen) = self.pending.pop_front() else {
            // A timer of the kernel may have to wait for a processor.
            self.is_off_by_time = !delay.is_zero();
            return Err(format!("expected this segment at {due}\ngot      nothing by {}", self.time(latest)));
        };
        let mut names = std::mem::take(&mut self.names);
        let connection = self.connection(name);
        let mut wrong = if belongs(connection, &seen.segment) {
            connection.differences(wanted, &seen, &mut names, H::REAL_TIME)
        } else {
            vec![format!("a segment of connection {name}")]
        };
        self.names = names;
        if seen.at < earliest || seen.at > latest {
            self.is_off_by_time = wrong.is_empty();
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
        self.clock += if H::REAL_TIME { delay } else { seen.at.duration_since(self.at) };
        self.at = self.at.max(seen.at);
        if wanted.lost {
            self.note(self.at, "     ... which is lost");
        } else {
            self.connection(name).on_received(&seen.segment);
        }
        Ok(())
    }

    // The program.

    fn do_call(&mut self, call: &Call, text: &str) -> Result<(), String> {
        self.begin();
        self.note(self.at, text);
        let result = self.call(call);
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
}

fn belongs(connection: &Connection, segment: &TcpSegment) -> bool {
    segment.src_port == connection.stack_port && segment.dst_port == connection.peer_port
}
