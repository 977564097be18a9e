//! Calls on datagram sockets, made on the Linux kernel and on Portolan: results, errors, readiness,
//! addresses, control data, the error queue, and the packets that leave must be the same, unless a
//! rule explains the difference.
//!
//! Read [`Step`], then `world` (who makes the calls, and the peer), `table` (every call in every
//! state), `generate` (random sequences), and `rules`.

mod generate;
mod rules;
mod table;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use portolan::{Config, Domain, RecvFlags, SendFlags, Shutdown, SocketKind, SocketOption};

use crate::RawPeer;
use crate::host::{Host, KernelSetting, LinuxHost};

pub use generate::generate;
use rules::Case;
pub use rules::RULES;
pub use table::table;
use world::World;

/// The sockets of a sequence, by kind and family.
pub const SOCKETS: usize = 2;

/// One step of a sequence. Sockets are named by number; each is made before the sequence begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `bind` to an address and port.
    Bind(usize, Place, u16),
    /// `connect`.
    Connect(usize, Place, u16),
    /// `connect` to AF_UNSPEC.
    Disconnect(usize),
    /// `send` of so many bytes.
    Send(usize, usize, SendFlags),
    /// `sendmsg` of slices of these lengths.
    SendTo(usize, [usize; 2], Place, u16, SendFlags),
    /// `recvmsg` into buffers of these lengths.
    Recv(usize, [usize; 2], RecvFlags),
    /// FIONREAD.
    Unread(usize),
    /// SIOCOUTQNSD, SIOCATMARK: what only streams have.
    OfStreams(usize),
    /// IP_MTU.
    PathMtu(usize),
    /// SO_ERROR.
    TakeError(usize),
    /// `getsockname`.
    LocalAddr(usize),
    /// `getpeername`.
    PeerAddr(usize),
    /// `listen` and `accept`.
    Listen(usize),
    /// `setsockopt`.
    Set(usize, SocketOption),
    /// `shutdown`.
    Shutdown(usize, Shutdown),
    /// The peer sends a datagram of so many bytes from this port, or an echo reply.
    PeerSends(usize, u16, usize),
    /// The peer answers the last packet with this ICMP message: type, code, MTU or pointer.
    PeerRefuses(u8, u8, u32),
}

impl Step {
    /// The socket that it is about.
    pub fn socket(&self) -> Option<usize> {
        match *self {
            Step::Bind(d, ..)
            | Step::Connect(d, ..)
            | Step::Disconnect(d)
            | Step::Send(d, ..)
            | Step::SendTo(d, ..)
            | Step::Recv(d, ..)
            | Step::Unread(d)
            | Step::OfStreams(d)
            | Step::PathMtu(d)
            | Step::TakeError(d)
            | Step::LocalAddr(d)
            | Step::PeerAddr(d)
            | Step::Listen(d)
            | Step::Set(d, _)
            | Step::Shutdown(d, _)
            | Step::PeerSends(d, ..) => Some(d),
            Step::PeerRefuses(..) => None,
        }
    }
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The unspecified address.
    Any,
    /// The host's address.
    Host,
    /// The loopback.
    Loopback,
    /// The peer's address.
    Peer,
    /// An address of another network, to which there is no route.
    Nowhere,
    /// The peer's address in the other family.
    OtherFamily,
}

/// The sockets of a case, and its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The name of the case.
    pub name: String,
    /// Kind and family of each socket.
    pub sockets: [(SocketKind, Domain); SOCKETS],
    /// Whether IPv6 sockets use IPv4, through mapped addresses.
    pub is_mapped: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// The first difference in a sequence.
#[derive(Debug)]
pub struct Difference {
    sequence: Sequence,
    /// The number of the step.
    at: usize,
    linux: Vec<String>,
    portolan: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sequence { name, sockets, is_mapped, steps } = &self.sequence;
        writeln!(f, "{name}: {sockets:?}{}", if *is_mapped { ", mapped" } else { "" })?;
        for (step, answer) in steps.iter().zip(&self.portolan).take(self.at + 1) {
            writeln!(f, "    {step:?} -> {answer}")?;
        }
        writeln!(f, "    the kernel: {}", self.linux[self.at])
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

/// How many sequences share a host. Each has a peer of its own.
const BATCH: usize = 200;
/// The last byte of the address of the first peer.
const FIRST_PEER: u8 = 10;

/// Plays all sequences on both hosts. The thread moves into network namespaces; see
/// [`LinuxHost::new`].
///
/// # Errors
///
/// If the system refuses a namespace.
pub fn compare(sequences: &[Sequence]) -> io::Result<Report> {
    let mut report = Report::default();
    let sysctl = |name: &str, value: &str| KernelSetting::Sysctl { name: name.into(), value: value.into() };
    let settings = [
        sysctl("ipv4/ping_group_range", "0 2147483647"),
        // Each answer is looked at, and none is delayed.
        sysctl("ipv4/icmp_msgs_per_sec", "1000000"),
        sysctl("ipv4/icmp_msgs_burst", "1000000"),
        sysctl("ipv4/icmp_ratelimit", "0"),
        sysctl("ipv6/icmp/ratelimit", "0"),
    ];
    for batch in sequences.chunks(BATCH) {
        let linux = play(&mut LinuxHost::new(&settings)?, batch);
        let mut config = Config::default();
        config.ip.icmp_errors_per_second = 1_000_000;
        let portolan = play(&mut RawPeer::new(false, config, 7), batch);
        for ((sequence, linux), portolan) in batch.iter().zip(linux).zip(portolan) {
            let Some(at) = linux.iter().zip(&portolan).position(|(theirs, ours)| theirs != ours) else {
                report.same += 1;
                continue;
            };
            let case = Case { sequence, at, linux: &linux, portolan: &portolan };
            let rule = RULES.iter().find(|rule| (rule.explains)(&case));
            match rule {
                Some(rule) => *report.explained.entry(rule.why).or_default() += 1,
                None => report.different.push(Difference { sequence: sequence.clone(), at, linux, portolan }),
            }
        }
    }
    Ok(report)
}

/// Makes the steps of each sequence. Returns their answers.
fn play<H: Host>(host: &mut H, sequences: &[Sequence]) -> Vec<Vec<String>> {
    let peers = FIRST_PEER..=u8::MAX - 1;
    let played = sequences.iter().zip(peers);
    played.map(|(sequence, peer)| World::new(host, sequence, peer).play(&sequence.steps)).collect()
}
