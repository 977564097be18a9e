//! Random calls on sockets and pollers, made on the Linux kernel and on Portolan over the loopback
//! of each. Every call must have the same result, and every wait must report the same.
//!
//! Read [`Call`], then `generate` (which call comes next), then `kernel` and `stack` (the two that
//! make it). `sleepers` compares which of several pollers an arrival wakes, with threads that
//! sleep.

mod generate;
mod kernel;
mod sleepers;
mod stack;

use std::fmt;
use std::io;

use portolan::{Interest, Shutdown, SocketKind};

use generate::Generator;
use kernel::Kernel;
pub use sleepers::compare_sleepers;
use stack::Portolan;

/// The number of pollers, which exist from the beginning.
pub(crate) const POLLERS: usize = 2;
/// The calls in a sequence.
const CALLS: usize = 80;

/// A call. Descriptors are named by the order in which they came to be, and are named further after
/// they are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`.
    Socket(SocketKind),
    /// `bind` to 127.0.0.1 and any port.
    Bind(usize),
    /// `listen`.
    Listen(usize),
    /// `connect` of the first to the address of the second.
    Connect(usize, usize),
    /// `accept`.
    Accept(usize),
    /// `send` of so many bytes.
    Send(usize, usize),
    /// `send` of one byte with MSG_OOB.
    SendUrgent(usize),
    /// `recv` of at most so many bytes.
    Recv(usize, usize),
    /// `shutdown`.
    Shutdown(usize, Shutdown),
    /// `close`.
    Close(usize),
    /// `dup`.
    Duplicate(usize),
    /// SO_ERROR.
    TakeError(usize),
    /// EPOLL_CTL_ADD: the poller, the descriptor, the interest, the token.
    Add(usize, usize, Interest, u64),
    /// EPOLL_CTL_MOD.
    Modify(usize, usize, Interest, u64),
    /// EPOLL_CTL_DEL.
    Delete(usize, usize),
    /// `epoll_wait` for at most so many.
    Wait(usize, usize),
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
    /// The tokens and the events of a wait.
    Ready(Vec<(u64, u32)>),
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

/// Makes the calls of a seed on both.
///
/// # Errors
///
/// If the system refuses a poller.
pub fn compare(seed: u64) -> io::Result<Option<Difference>> {
    let mut generator = Generator::new(seed);
    let (mut kernel, mut stack) = (Kernel::new()?, Portolan::new());
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let call = generator.next();
        let [theirs, ours] = [kernel.call(call), stack.call(call)].map(|answer| generator.in_order(answer));
        calls.push((call, ours.clone()));
        if theirs != ours {
            return Ok(Some(Difference { calls, kernel: theirs }));
        }
        generator.learn(call, &ours);
    }
    Ok(None)
}
