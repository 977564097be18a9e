//! Random calls on packet sockets, made on the Linux kernel with a TAP device and on Portolan.
//! Every call must have the same result, and every frame that a socket gets must be the same, with
//! the same address.
//!
//! Read [`Call`], then `generate` (which call comes next), then `kernel` and `stack` (the two that
//! make it).

mod generate;
mod kernel;
mod stack;

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use portolan::{LinkHeader, MacAddr, PacketMembershipKind};

use generate::Generator;
use kernel::Kernel;
use stack::Portolan;

/// The calls in a sequence.
const CALLS: usize = 80;
/// Below the smallest MTU of IPv6, so that Portolan has no address.
const MTU: u16 = 1000;
/// The MAC address of the interface.
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The interface's MAC address as a peer's.
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// An interface, as calls name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// None, or all.
    Any,
    /// The one on which frames come in.
    Ethernet,
    /// The loopback.
    Loopback,
    /// One that does not exist.
    Missing,
}

/// A call. Sockets are named by the order in which they came to be, and are named further after
/// they are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`.
    Socket(LinkHeader),
    /// `bind` to an interface and an EtherType.
    Bind(usize, Interface, u16),
    /// `getsockname`.
    Name(usize),
    /// `send` of a frame of this length, with this EtherType where its header has it.
    Send(usize, usize, u16),
    /// `sendto` of a frame of this length, to an interface, an EtherType and a station.
    SendTo(usize, usize, Interface, u16, MacAddr),
    /// `recvmsg` of at most so many bytes.
    Recv(usize, usize),
    /// `recv` with MSG_PEEK.
    Peek(usize, usize),
    /// `recv` with MSG_OOB.
    RecvUrgent(usize),
    /// `close`.
    Close(usize),
    /// `connect`, `listen`, `accept` or `shutdown`, which packet sockets do not have.
    Absent(usize, u8),
    /// Whether `poll` says that there is something to read.
    Readable(usize),
    /// SO_ATTACH_FILTER, with a program that returns this number.
    Filter(usize, u32),
    /// SO_ATTACH_FILTER, with a program that returns the length less so many.
    FilterLength(usize, u32),
    /// SO_DETACH_FILTER.
    Detach(usize),
    /// SO_LOCK_FILTER.
    Lock(usize, bool),
    /// PACKET_STATISTICS.
    Statistics(usize),
    /// PACKET_ADD_MEMBERSHIP, or PACKET_DROP_MEMBERSHIP.
    Membership(usize, bool, Interface, PacketMembershipKind, Option<MacAddr>),
    /// PACKET_IGNORE_OUTGOING.
    IgnoreOutgoing(usize, bool),
    /// A frame comes in: to this station, with this EtherType and so many bytes behind it.
    Inject(MacAddr, u16, usize),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A number: of bytes, or 0, or whether.
    Done(usize),
    /// A socket, which has the next name.
    Opened,
    /// An errno.
    Failed(i32),
    /// A name: interface, EtherType, hardware type, MAC address.
    Name(Interface, u16, u16, Option<MacAddr>),
    /// The counts of PACKET_STATISTICS.
    Counts(u32, u32),
    /// A frame.
    Frame {
        /// The bytes.
        bytes: Vec<u8>,
        /// Interface, EtherType, hardware type, sender.
        from: (Interface, u16, u16, Option<MacAddr>),
        /// `sll_pkttype`.
        packet_type: u8,
        /// `tp_len`, `tp_snaplen` and `tp_net`.
        lens: [u32; 3],
    },
}

impl Answer {
    /// Leaves the length before the filter out of the comparison.
    fn forget_length(&mut self) {
        if let Answer::Frame { lens, .. } = self {
            lens[0] = 0;
        }
    }
}

/// Whoever makes the calls.
trait Machine {
    fn call(&mut self, call: Call) -> Answer;
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

/// Makes the calls of sequences on both.
#[derive(Debug)]
pub struct Judge(Kernel);

impl Judge {
    /// Creates the TAP device. The caller has a network namespace of its own.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn new() -> io::Result<Judge> {
        Ok(Judge(Kernel::new()?))
    }

    /// Makes the calls of a seed.
    pub fn compare(&mut self, seed: u64) -> Option<Difference> {
        let mut generator = Generator::new(seed);
        let mut stack = Portolan::new();
        self.0.close_all();
        let mut calls = Vec::new();
        // Sockets whose next frame was peeked at. The kernel then overwrites the length that the
        // frame had before a filter cut it.
        let mut peeked = BTreeSet::new();
        for _ in 0..CALLS {
            let call = generator.next();
            let [mut theirs, mut ours] = [self.0.call(call), stack.call(call)];
            match call {
                Call::Peek(name, _) => {
                    peeked.insert(name);
                }
                Call::Recv(name, _) if peeked.remove(&name) => {
                    [&mut theirs, &mut ours].into_iter().for_each(Answer::forget_length);
                }
                _ => {}
            }
            calls.push((call, ours.clone()));
            if theirs != ours {
                return Some(Difference { calls, kernel: theirs });
            }
            generator.learn(call, &ours);
        }
        None
    }
}

/// A frame of this many bytes, as far as its header fits.
fn frame(dst: MacAddr, src: MacAddr, ethertype: u16, len: usize) -> Vec<u8> {
    let header = [&dst.0[..], &src.0, &ethertype.to_be_bytes()].concat();
    let body = (0..len.saturating_sub(header.len())).map(|at| at as u8);
    let mut frame: Vec<u8> = header.into_iter().chain(body).collect();
    frame.truncate(len);
    frame
}
