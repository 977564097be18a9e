//! Calls on multicast memberships, made on the Linux kernel and on Portolan. Every call must have
//! the same result, and every datagram must reach the same sockets.
//!
//! Both hosts have two links with two addresses of each family. What is sent to a group reaches
//! members on the same host, because IP_MULTICAST_LOOP is on; nobody else is on the links.
//!
//! Read `Call`, then `written` (sequences written by hand), `generate` (random ones), and `kernel`
//! and `stack` (the two that make the calls).

mod generate;
mod kernel;
mod stack;
mod written;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan::FilterMode;

use generate::Generator;
use kernel::Kernel;
use stack::Portolan;

pub use kernel::enter_namespace;

/// The calls in a random sequence.
const CALLS: usize = 60;
/// The first of the ports that sockets are bound to and datagrams sent to; there are two.
const FIRST_PORT: u16 = 5000;

/// A call. Sockets are named by the order in which they were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `socket`, for datagrams, with SO_REUSEADDR: IPv6 or IPv4.
    Socket { is_v6: bool },
    /// `socket` for a stream.
    Stream { is_v6: bool },
    /// `socket` for raw packets of UDP.
    Raw { is_v6: bool },
    /// `bind` to an address and one of the two ports.
    Bind(usize, Where, u16),
    /// `connect` to this host's address number `n` and a port that nobody has.
    Connect(usize, u8),
    /// Joins a group.
    Join(usize, Group, Iface),
    /// Leaves a group.
    Leave(usize, Group, Iface),
    /// Joins a group for a source, which is number `n` of the addresses.
    JoinSource(usize, Group, u8, Iface),
    /// Leaves it.
    LeaveSource(usize, Group, u8, Iface),
    /// Blocks a source.
    Block(usize, Group, u8, Iface),
    /// Unblocks a source.
    Unblock(usize, Group, u8, Iface),
    /// MCAST_MSFILTER.
    SetFilter(usize, Group, Iface, FilterMode, Vec<u8>),
    /// MCAST_MSFILTER, to read.
    Filter(usize, Group, Iface),
    /// IP_MULTICAST_ALL, or IPV6_MULTICAST_ALL.
    All { socket: usize, is_v6: bool, on: bool },
    /// IP_MULTICAST_LOOP, or IPV6_MULTICAST_LOOP.
    Loop { socket: usize, is_v6: bool, on: bool },
    /// IP_MULTICAST_TTL, or IPV6_MULTICAST_HOPS.
    Ttl { socket: usize, is_v6: bool, ttl: u8 },
    /// IP_MULTICAST_IF, or IPV6_MULTICAST_IF.
    SendThrough { socket: usize, is_v6: bool, iface: Iface },
    /// SO_BROADCAST.
    Broadcast(usize, bool),
    /// `sendto` a group or a broadcast address, and `recv` on every socket.
    Send(usize, To, u16),
    /// `close`.
    Close(usize),
}

/// An address to bind to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// 0.0.0.0 or `::`.
    Any,
    /// This host's address number `n`.
    Own(u8),
    /// A group.
    Group(Group),
    /// The broadcast address of the first link.
    Broadcast,
}

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// A group.
    Group(Group),
    /// The broadcast address of a link.
    Broadcast(u8),
    /// 255.255.255.255.
    Everyone,
}

/// A group, or an address that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) is_v6: bool,
    /// 0 is no group.
    pub(crate) number: u8,
}

impl Group {
    pub(crate) fn addr(self) -> IpAddr {
        match (self.is_v6, self.number) {
            (false, 0) => Ipv4Addr::new(10, 0, 0, 77).into(),
            (false, n) => Ipv4Addr::new(239, 1, 1, n).into(),
            (true, 0) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77).into(),
            (true, n) => Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, n.into()).into(),
        }
    }
}

/// An interface of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Iface {
    /// None is named.
    Any,
    /// Link number `n`; 9 does not exist.
    Number(u8),
    /// The link with this host's address number `n`; for IPv4 only.
    Address(u8),
}

/// Address number `n` of both hosts: two on each link.
pub(crate) fn own(is_v6: bool, number: u8) -> IpAddr {
    let (link, host) = (number / 2, number % 2 + 1);
    if is_v6 {
        Ipv6Addr::new(0xfd00 + u16::from(link), 0, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, link, 0, host).into()
    }
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// An errno.
    Failed(i32),
    /// The sockets that got the datagram.
    Taken(Vec<usize>),
    /// A filter, its sources sorted.
    Filter(FilterMode, Vec<IpAddr>),
}

/// Whoever makes the calls.
trait Machine {
    fn call(&mut self, call: &Call) -> Answer;
}

/// The first difference in a sequence.
#[derive(Debug)]
pub struct Difference {
    /// The calls, of which the last differs, with Portolan's answers.
    calls: Vec<(Call, Answer)>,
    kernel: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, answer) in &self.calls {
            writeln!(f, "    {call:?} -> {answer:?}")?;
        }
        writeln!(f, "    the kernel: {:?}", self.kernel)
    }
}

/// The number of sequences written by hand.
pub fn written_count() -> usize {
    written::sequences().len()
}

/// Makes the calls of the sequences written by hand on both; each with its name.
pub fn compare_written() -> impl Iterator<Item = (String, Option<Difference>)> {
    written::sequences().into_iter().map(|(name, calls)| (name, compare(&calls)))
}

/// Makes these calls on both.
fn compare(calls: &[Call]) -> Option<Difference> {
    let (mut kernel, mut stack, mut made) = (Kernel::new(), Portolan::new(), Vec::new());
    for call in calls {
        let (theirs, ours) = (kernel.call(call), stack.call(call));
        made.push((call.clone(), ours.clone()));
        if theirs != ours {
            return Some(Difference { calls: made, kernel: theirs });
        }
    }
    None
}

/// Makes the calls of a seed on both.
pub fn compare_seed(seed: u64) -> Option<Difference> {
    compare(&Generator::new(seed).take(CALLS).collect::<Vec<Call>>())
}

/// The namespace's links are set up by a command of the system.
fn run(command: &str) -> io::Result<()> {
    let mut words = command.split(' ');
    let status = std::process::Command::new(words.next().unwrap_or_default()).args(words).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command}: {status}"))) }
}
