//! Random sequences of calls on TCP sockets that are connected over the loopback, made on the Linux
//! kernel and on Portolan. After each call its result must be the same, and the readiness and the
//! state of every open socket, unless a rule explains the difference.
//!
//! Read [`Call`], then `generate` (which call comes next), `world` (who makes it) and `rules`.

mod generate;
mod rules;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use portolan::{Config, SendFlags, Shutdown, SocketOption};

use crate::RawPeer;
use crate::host::{Host, KernelSetting, LinuxHost};

use generate::generate;
use rules::Case;
pub use rules::RULES;
use world::World;

/// The ports that the sockets of a sequence may be bound to.
const PORTS: usize = 3;
/// How many sequences share a host. Each has ports of its own.
const BATCH: usize = 100;
/// The first port; it and those behind it are not ephemeral.
const FIRST_PORT: u16 = 20_000;
/// How long an acknowledgement may be delayed on the kernel: two ticks of a clock of 250 Hz, the
/// least that it takes.
const DELAYED_ACK: Duration = Duration::from_millis(8);

/// A call. Sockets are named by the order in which they came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`.
    Socket,
    /// `bind` to 127.0.0.1, or to any address, and this of the ports, or to one that the host
    /// chooses.
    Bind(usize, Address, Option<usize>),
    /// `listen`.
    Listen(usize),
    /// `accept`, which makes a socket if it succeeds.
    Accept(usize),
    /// `connect` to one of the ports.
    Connect(usize, usize),
    /// `connect` to AF_UNSPEC.
    Disconnect(usize),
    /// `send` of so many bytes.
    Send(usize, usize, SendFlags),
    /// `recv` of at most so many bytes.
    Recv(usize, usize),
    /// `shutdown`.
    Shutdown(usize, Shutdown),
    /// `close`.
    Close(usize),
    /// `setsockopt`.
    Set(usize, SocketOption),
    /// SO_ERROR.
    TakeError(usize),
    /// `getsockname`.
    LocalAddr(usize),
    /// `getpeername`.
    PeerAddr(usize),
    /// FIONREAD.
    Unread(usize),
}

/// An address to bind to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// 0.0.0.0.
    Any,
    /// 127.0.0.1.
    Loopback,
}

impl Call {
    /// The socket that it is about.
    fn socket(self) -> Option<usize> {
        match self {
            Call::Socket => None,
            Call::Bind(d, ..)
            | Call::Listen(d)
            | Call::Accept(d)
            | Call::Connect(d, _)
            | Call::Disconnect(d)
            | Call::Send(d, ..)
            | Call::Recv(d, _)
            | Call::Shutdown(d, _)
            | Call::Close(d)
            | Call::Set(d, _)
            | Call::TakeError(d)
            | Call::LocalAddr(d)
            | Call::PeerAddr(d)
            | Call::Unread(d) => Some(d),
        }
    }
}

/// The first difference in a sequence.
#[derive(Debug)]
pub struct Difference {
    seed: u64,
    /// The calls up to the one that differs, with Portolan's answers.
    calls: Vec<(Call, String)>,
    linux: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}:", self.seed)?;
        for (call, answer) in &self.calls {
            writeln!(f, "    {call:?} -> {answer}")?;
        }
        writeln!(f, "    the kernel: {}", self.linux)
    }
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Sequences on which both agree.
    pub same: usize,
    /// How many sequences each rule has ended.
    pub explained: BTreeMap<&'static str, usize>,
    /// Differences that no rule explains.
    pub different: Vec<Difference>,
}

/// Plays the sequences of these seeds on both hosts. The thread moves into network namespaces; see
/// [`LinuxHost::new`].
///
/// # Errors
///
/// If the system refuses a namespace.
pub fn compare(seeds: &[u64]) -> io::Result<Report> {
    let mut report = Report::default();
    for seeds in seeds.chunks(BATCH) {
        let sequences: Vec<Vec<Call>> = seeds.iter().map(|&seed| generate(seed)).collect();
        let linux = play(&mut LinuxHost::new(&[KernelSetting::DelayedAck(DELAYED_ACK)])?, &sequences);
        let portolan = play(&mut RawPeer::new(false, Config::default(), 7), &sequences);
        for ((seed, calls), (linux, portolan)) in
            seeds.iter().zip(sequences).zip(linux.into_iter().zip(portolan))
        {
            let Some(at) = linux.iter().zip(&portolan).position(|(theirs, ours)| theirs != ours) else {
                report.same += 1;
                continue;
            };
            let case = Case { calls: &calls, at, linux: &linux, portolan: &portolan };
            match RULES.iter().find(|rule| (rule.explains)(&case)) {
                Some(rule) => *report.explained.entry(rule.why).or_default() += 1,
                None => {
                    let calls = calls.into_iter().zip(portolan).take(at + 1).collect();
                    report.different.push(Difference { seed: *seed, calls, linux: linux[at].clone() });
                }
            }
        }
    }
    Ok(report)
}

/// Makes the calls of each sequence. Returns their answers.
fn play<H: Host>(host: &mut H, sequences: &[Vec<Call>]) -> Vec<Vec<String>> {
    let ports = (FIRST_PORT..).step_by(PORTS);
    sequences.iter().zip(ports).map(|(calls, port)| World::new(host, port).play(calls)).collect()
}
