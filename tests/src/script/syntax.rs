//! Parses the text of a script.

use std::time::Duration;

use portolan::Domain;

use super::Failure;
use super::linux::Mark;
use super::names::{self, Setting};
use super::segment::{self, Notation};

/// The connection and socket of lines that name none.
pub(super) const DEFAULT_NAME: &str = "s";

/// One scenario.
#[derive(Debug)]
pub struct Script {
    pub(super) path: String,
    pub(super) families: Vec<Domain>,
    pub(super) settings: Vec<Setting>,
    /// Sysctls of the kernel below `net/ipv4`, in addition to the equivalents of settings.
    pub(super) sysctls: Vec<(String, String)>,
    /// Why the script is not for the kernel.
    pub(super) mark: Option<Mark>,
    /// The peer's initial sequence number.
    pub(super) peer_isn: u32,
    /// The peer's timestamp clock when the script begins.
    pub(super) peer_clock: u32,
    pub(super) lines: Vec<Line>,
    /// The last line, for failures at the end.
    pub(super) last_line: usize,
}

/// One step and its position.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) text: String,
    /// The only host that the line is for, if it is not for both.
    pub(super) only: Option<Only>,
    /// The time since the previous line.
    pub(super) delay: Duration,
    /// How much the stack's time may be off.
    pub(super) tolerance: Duration,
    pub(super) step: Step,
}

/// The host that a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    Linux,
    Portolan,
}

impl Line {
    pub(super) fn is_for(&self, linux: bool) -> bool {
        self.only.is_none_or(|only| (only == Only::Linux) == linux)
    }
}

#[derive(Debug)]
pub(super) enum Step {
    Start(Start),
    Call(Call),
    Peer { connection: String, segment: Box<Notation> },
    Icmp { connection: String, icmp: Icmp },
    Stack { connection: String, segment: Box<Notation> },
    Nothing(Duration),
    Skip(Duration),
    Check(Check),
}

/// A handshake in one line.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) active: bool,
    pub(super) round_trip: Duration,
    /// The peer's SYN or SYN-ACK.
    pub(super) syn: Box<Notation>,
}

/// A call of the program, and its expected result.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) socket: String,
    pub(super) verb: Verb,
    pub(super) expected: Option<String>,
}

#[derive(Debug)]
pub(super) enum Verb {
    Listen {
        backlog: usize,
    },
    Accept,
    Connect,
    Send {
        len: usize,
        flags: portolan::SendFlags,
    },
    /// `sendto` with MSG_FASTOPEN.
    FastOpen(usize),
    Recv(usize),
    RecvOob,
    Shutdown(portolan::Shutdown),
    Close,
    SetOption(portolan::SocketOption),
}

#[derive(Debug)]
pub(super) struct Icmp {
    pub(super) kind: IcmpKind,
    pub(super) seq: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum IcmpKind {
    NetUnreachable,
    HostUnreachable,
    PortUnreachable,
    TooBig {
        mtu: u32,
    },
    /// A message by its numbers.
    Raw {
        kind: u8,
        code: u8,
    },
}

#[derive(Debug)]
pub(super) enum Check {
    State {
        connection: String,
        state: String,
    },
    Readiness {
        socket: String,
        what: String,
        wanted: bool,
    },
    Error {
        socket: String,
        error: String,
    },
    Reason {
        socket: String,
        reason: String,
    },
    Queued {
        socket: String,
        received: usize,
        unsent: usize,
    },
    /// Fields of `TcpInfo` and their values.
    Info {
        socket: String,
        fields: Vec<(String, String)>,
    },
    Counter {
        name: String,
        count: u64,
    },
    Drops {
        reason: String,
        count: u64,
    },
    Timer {
        kind: String,
        after: Option<Duration>,
    },
}

/// The words of a line.
#[derive(Debug)]
pub(super) struct Words<'t> {
    words: Vec<&'t str>,
    at: usize,
}

impl<'t> Words<'t> {
    pub(super) fn new(text: &'t str) -> Words<'t> {
        Words { words: text.split_whitespace().collect(), at: 0 }
    }

    pub(super) fn next(&mut self) -> Option<&'t str> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    pub(super) fn next_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'t str> {
        let word = self.words.get(self.at).copied().filter(|word| wanted(word))?;
        self.at += 1;
        Some(word)
    }

    /// The word that must follow `after`.
    pub(super) fn value(&mut self, after: &str) -> Result<&'t str, String> {
        self.next().ok_or_else(|| format!("something is missing after `{after}`"))
    }

    pub(super) fn done(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` is one word too many")),
        }
    }
}

impl Script {
    /// Parses the text of a script. `path` is its name in messages.
    pub fn parse(path: &str, text: &str) -> Result<Script, Failure> {
        let mut script = Script {
            path: path.into(),
            families: vec![Domain::V4, Domain::V6],
            settings: Vec::new(),
            sysctls: Vec::new(),
            mark: None,
            peer_isn: 1_000_000,
            peer_clock: 1000,
            lines: Vec::new(),
            last_line: text.lines().count(),
        };
        let mut tolerance = Duration::from_millis(1);
        for (index, whole) in text.lines().enumerate() {
            let line = whole.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let failure = |why: String| Failure {
                at: format!("{path}:{}", index + 1),
                line: line.into(),
                why,
                transcript: Vec::new(),
                is_timing: false,
            };
            if script.header_line(line, &mut tolerance).map_err(failure)? {
                continue;
            }
            script.lines.push(parse_line(index + 1, line, tolerance).map_err(failure)?);
        }
        if script.lines.is_empty() {
            let why = "a script without a step".into();
            return Err(Failure {
                at: path.into(),
                line: String::new(),
                why,
                transcript: Vec::new(),
                is_timing: false,
            });
        }
        Ok(script)
    }

    /// The families that the script is for.
    pub fn families(&self) -> &[Domain] {
        &self.families
    }

    /// Parses a line of the header. Returns whether it is one.
    fn header_line(&mut self, line: &str, tolerance: &mut Duration) -> Result<bool, String> {
        if let Some((host, text)) = line.split_once(':')
            && let Some(mark) = Mark::parse(host.trim(), text.trim())
        {
            if self.mark.replace(mark?).is_some() {
                return Err("a script has one mark".into());
            }
            return self.is_still_header();
        }
        let mut words = Words::new(line);
        match words.next() {
            Some("sysctl") => {
                let name = words.value("sysctl")?;
                self.sysctls.push((name.into(), words.value(name)?.into()));
            }
            Some("family") => {
                self.families = match words.value("family")? {
                    "v4" => vec![Domain::V4],
                    "v6" => vec![Domain::V6],
                    "both" => vec![Domain::V4, Domain::V6],
                    other => return Err(format!("`{other}` is no family: v4, v6 or both")),
                };
            }
            Some("config") => {
                let name = words.value("config")?;
                self.settings.push(names::setting(name, words.value(name)?)?);
            }
            Some("peer-isn") => {
                let text = words.value("peer-isn")?;
                self.peer_isn = text.parse().map_err(|_| format!("`{text}` is no sequence number"))?;
            }
            Some("peer-clock") => {
                let text = words.value("peer-clock")?;
                self.peer_clock = text.parse().map_err(|_| format!("`{text}` is no timestamp"))?;
            }
            Some("tolerance") => *tolerance = duration(words.value("tolerance")?)?,
            _ => return Ok(false),
        }
        words.done()?;
        self.is_still_header()
    }

    fn is_still_header(&self) -> Result<bool, String> {
        if self.lines.is_empty() { Ok(true) } else { Err("the header stands before the first step".into()) }
    }
}

fn parse_line(number: usize, text: &str, tolerance: Duration) -> Result<Line, String> {
    let mut words = Words::new(text);
    let mut line = Line {
        number,
        text: text.into(),
        only: None,
        delay: Duration::ZERO,
        tolerance,
        step: Step::Nothing(Duration::ZERO),
    };
    line.only = match words.next_if(|word| matches!(word, "linux" | "portolan")) {
        Some("linux") => Some(Only::Linux),
        Some(_) => Some(Only::Portolan),
        None => None,
    };
    if let Some(delay) = words.next_if(|word| word.starts_with('+')) {
        let (delay, off) = delay[1..].split_once('~').map_or((&delay[1..], None), |(d, off)| (d, Some(off)));
        line.delay = duration(delay)?;
        line.tolerance = off.map_or(Ok(tolerance), duration)?;
    }
    let verb = words.value("+TIME")?;
    let (verb, name) = verb.split_once(':').unwrap_or((verb, DEFAULT_NAME));
    line.step = match verb {
        "start" => Step::Start(parse_start(&mut words)?),
        "call" => Step::Call(parse_call(&mut words)?),
        "peer" => {
            let connection = name.to_string();
            if words.next_if(|word| word == "icmp").is_some() {
                Step::Icmp { connection, icmp: parse_icmp(&mut words)? }
            } else {
                Step::Peer { connection, segment: Box::new(segment::parse(&mut words)?) }
            }
        }
        "stack" => Step::Stack { connection: name.into(), segment: Box::new(segment::parse(&mut words)?) },
        "nothing" | "skip" => {
            if words.next() != Some("for") {
                return Err(format!("{verb} for how long? `{verb} for 200ms`"));
            }
            let time = duration(words.value("for")?)?;
            if verb == "skip" { Step::Skip(time) } else { Step::Nothing(time) }
        }
        "check" => Step::Check(parse_check(&mut words)?),
        other => {
            return Err(format!(
                "`{other}` begins no line: start, call, peer, stack, nothing, skip or check"
            ));
        }
    };
    words.done()?;
    Ok(line)
}

/// `start accepted rtt 50ms mss 1000 sackOK`
fn parse_start(words: &mut Words<'_>) -> Result<Start, String> {
    let active = match words.value("start")? {
        "accepted" => false,
        "connected" => true,
        other => return Err(format!("`{other}`: a start is accepted or connected")),
    };
    let mut round_trip = Duration::ZERO;
    if words.next_if(|word| word == "rtt").is_some() {
        round_trip = duration(words.value("rtt")?)?;
    }
    Ok(Start { active, round_trip, syn: Box::new(segment::parse(words)?) })
}

/// `call accept`, `call b=accept`, `call b.send 1000 = EPIPE`
fn parse_call(words: &mut Words<'_>) -> Result<Call, String> {
    let word = words.value("call")?;
    let (socket, verb) = match word.split_once(['=', '.']) {
        Some((name, verb)) => (Some(name), verb),
        None => (None, word),
    };
    let verb = match verb {
        "listen" => {
            let backlog = match words.next_if(|word| word.starts_with(char::is_numeric)) {
                Some(text) => count(text)?,
                None => 16,
            };
            Verb::Listen { backlog }
        }
        "accept" => Verb::Accept,
        "connect" => Verb::Connect,
        "send" => parse_send(&mut *words)?,
        "fastopen" => Verb::FastOpen(count(words.value("fastopen")?)?),
        "recv" => Verb::Recv(count(words.value("recv")?)?),
        "recvoob" => Verb::RecvOob,
        "shutdown" => Verb::Shutdown(match words.value("shutdown")? {
            "read" => portolan::Shutdown::Read,
            "write" => portolan::Shutdown::Write,
            "both" => portolan::Shutdown::Both,
            other => return Err(format!("shutdown {other}: read, write or both")),
        }),
        "close" => Verb::Close,
        "setsockopt" => {
            let name = words.value("setsockopt")?;
            Verb::SetOption(names::socket_option(name, words.value(name)?)?)
        }
        other => return Err(format!("`{other}` is no call")),
    };
    let expected = match words.next_if(|word| word == "=") {
        Some(_) => Some(words.value("=")?.to_string()),
        None => None,
    };
    Ok(Call { socket: socket.unwrap_or(DEFAULT_NAME).into(), verb, expected })
}

/// `send 100`, `send 100 more`, `send 100 eor`
fn parse_send(words: &mut Words<'_>) -> Result<Verb, String> {
    let len = count(words.value("send")?)?;
    let mut flags = portolan::SendFlags::default();
    while let Some(word) = words.next_if(|word| matches!(word, "more" | "eor")) {
        flags = flags
            | match word {
                "more" => portolan::SendFlags::MORE,
                _ => portolan::SendFlags::END_OF_RECORD,
            };
    }
    Ok(Verb::Send { len, flags })
}

/// `icmp port-unreachable about seq 1`, `icmp too-big mtu 1000 about seq 1`
fn parse_icmp(words: &mut Words<'_>) -> Result<Icmp, String> {
    let kind = match words.value("icmp")? {
        "net-unreachable" => IcmpKind::NetUnreachable,
        "host-unreachable" => IcmpKind::HostUnreachable,
        "port-unreachable" => IcmpKind::PortUnreachable,
        "too-big" => match words.value("too-big")? {
            "mtu" => IcmpKind::TooBig { mtu: count(words.value("mtu")?)? as u32 },
            other => return Err(format!("`{other}`: too-big mtu N")),
        },
        "type" => {
            let kind = count(words.value("type")?)?;
            let code = match words.next() {
                Some("code") => count(words.value("code")?)?,
                _ => return Err("which code? `type 3 code 9`".into()),
            };
            let small = |number| u8::try_from(number).map_err(|_| format!("{number} is no type or code"));
            IcmpKind::Raw { kind: small(kind)?, code: small(code)? }
        }
        other => return Err(format!("`{other}` is no ICMP error that a script can send")),
    };
    match (words.next(), words.next()) {
        (Some("about"), Some("seq")) => {}
        _ => return Err("which segment? `about seq 1`".into()),
    }
    let text = words.value("seq")?;
    let seq: i64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Ok(Icmp { kind, seq: seq as u32 })
}

/// `check state ESTABLISHED`, `check b.error none`
fn parse_check(words: &mut Words<'_>) -> Result<Check, String> {
    let word = words.value("check")?;
    let (name, what) = word.split_once('.').unwrap_or((DEFAULT_NAME, word));
    let socket = name.to_string();
    Ok(match what {
        "state" => Check::State { connection: socket, state: words.value("state")?.into() },
        "readable" | "writable" | "peer-closed" | "hung-up" | "error-waits" => {
            Check::Readiness { socket, what: what.into(), wanted: true }
        }
        "not" => Check::Readiness { socket, what: words.value("not")?.into(), wanted: false },
        "error" => Check::Error { socket, error: words.value("error")?.into() },
        "reason" => Check::Reason { socket, reason: words.value("reason")?.into() },
        "queued" => {
            let received = count(words.value("queued")?)?;
            Check::Queued { socket, received, unsent: count(words.value("queued")?)? }
        }
        "info" => {
            let mut fields = Vec::new();
            while let Some(name) = words.next() {
                fields.push((name.to_string(), words.value(name)?.to_string()));
            }
            Check::Info { socket, fields }
        }
        "counter" => {
            let name = words.value("counter")?.to_string();
            Check::Counter { name, count: count(words.value("counter")?)? as u64 }
        }
        "drops" => {
            let reason = words.value("drops")?.to_string();
            Check::Drops { reason, count: count(words.value("drops")?)? as u64 }
        }
        "timer" => match words.value("timer")? {
            "none" => Check::Timer { kind: "none".into(), after: None },
            kind => Check::Timer { kind: kind.into(), after: Some(duration(words.value(kind)?)?) },
        },
        other => return Err(format!("`{other}` cannot be checked")),
    })
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `200ms`, `1.5s`, `2h`
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: 200ms, 1.5s, 40us, 2m or 2h");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let unit = match &text[at..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let value: f64 = text[..at].parse().map_err(|_| wrong())?;
    // Rounded to microseconds: scripts need no more, and 0.3 has no exact binary form.
    let micros = (value * unit * 1e6).round();
    if micros.is_finite() && micros >= 0.0 { Ok(Duration::from_micros(micros as u64)) } else { Err(wrong()) }
}
