//! Random calls on raw and echo sockets, made on the Linux kernel and on Portolan. Every call must
//! have the same result, and both hosts must send the same packets to their peer.
//!
//! Read [`Call`], then `generate` (which call comes next), then `kernel` and `stack` (the two that
//! make it), and `mask` (the fields of packets that may differ).

mod generate;
mod kernel;
mod mask;
mod messages;
mod stack;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use portolan::{Domain, Readiness, Shutdown, SocketKind, SocketOption};

use generate::Generator;
pub use kernel::Kernel;
use stack::Portolan;

/// The calls in a sequence.
const CALLS: usize = 60;

/// A call, or packets that arrive. Descriptors are named by the order in which they came to be, and
/// are named further after they are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`.
    Socket(Domain, SocketKind),
    /// `bind`.
    Bind(usize, SocketAddr),
    /// `connect`.
    Connect(usize, SocketAddr),
    /// `send`.
    Send(usize, Vec<u8>),
    /// `sendto`.
    SendTo(usize, SocketAddr, Vec<u8>),
    /// `recvfrom` of at most so many bytes.
    Recv(usize, usize),
    /// `recvfrom` with MSG_PEEK.
    Peek(usize, usize),
    /// `shutdown`.
    Shutdown(usize, Shutdown),
    /// `close`.
    Close(usize),
    /// `getsockname`.
    LocalAddr(usize),
    /// `getpeername`.
    PeerAddr(usize),
    /// SO_ERROR.
    TakeError(usize),
    /// `poll`.
    Readiness(usize),
    /// `setsockopt`.
    Set(usize, SocketOption),
    /// The peer sends these packets.
    Arrive(Vec<Vec<u8>>),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A number of bytes, or 0.
    Done(usize),
    /// A descriptor, which has the next name.
    Opened,
    /// An errno.
    Failed(i32),
    /// An address.
    Addr(SocketAddr),
    /// The sender and the data of a packet, with the fields that may differ set to zero.
    Received(SocketAddr, Vec<u8>),
    /// What can be done without waiting.
    Ready(Readiness),
}

/// A call's result, and the packets that the host sends to its peer, with the fields that may
/// differ set to zero.
type Reaction = (Answer, Vec<Vec<u8>>);

/// The host that makes the calls.
trait Machine {
    fn call(&mut self, call: &Call) -> Reaction;
}

/// The first difference in a sequence.
#[derive(Debug)]
pub struct Difference {
    /// The calls, of which the last differs, with Portolan's answers.
    calls: Vec<(Call, Reaction)>,
    kernel: Reaction,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, (answer, sent)) in &self.calls {
            writeln!(f, "    {call:?} -> {answer:?}")?;
            for packet in sent {
                writeln!(f, "        sent {packet:02x?}")?;
            }
        }
        let (answer, sent) = &self.kernel;
        writeln!(f, "    the kernel: {answer:?}, sent {sent:02x?}")
    }
}

/// How often a sequence is made that finds a difference. A busy kernel delivers on its loopback
/// later, in the background, and a `recv` may then come before.
const ATTEMPTS: usize = 3;

/// Makes the calls of a seed on both. A difference is one that is always there.
///
/// # Errors
///
/// If the system refuses a socket.
pub fn compare(kernel: &mut Kernel, seed: u64) -> io::Result<Option<Difference>> {
    let mut difference = play(kernel, seed)?;
    for _ in 1..ATTEMPTS {
        if difference.is_none() {
            break;
        }
        difference = play(kernel, seed)?;
    }
    Ok(difference)
}

fn play(kernel: &mut Kernel, seed: u64) -> io::Result<Option<Difference>> {
    let mut generator = Generator::new(seed);
    let mut stack = Portolan::new();
    kernel.begin();
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let call = generator.next();
        let (theirs, ours) = (kernel.call(&call), stack.call(&call));
        generator.learn(&call, &ours.0);
        let is_same = theirs == ours;
        calls.push((call, ours));
        if !is_same {
            return Ok(Some(Difference { calls, kernel: theirs }));
        }
    }
    Ok(None)
}
