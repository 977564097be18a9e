//! Random calls on Unix-domain sockets, made on the Linux kernel and on Portolan. Every call must
//! have the same result, and after every call every descriptor must have the same readiness.
//!
//! Read [`Call`], then `generate` (which call comes next), then `kernel` and `stack` (the two that
//! make it).

mod generate;
mod kernel;
mod stack;

use std::fmt;
use std::io;
use std::time::Duration;

use portolan::{Shutdown, SocketKind};

use generate::Generator;
use kernel::Kernel;
use stack::Portolan;

/// The calls in a sequence.
const CALLS: usize = 100;
/// How long, and how often, a difference may be due to a collection that the kernel has yet to
/// make.
const COLLECTION_TIME: Duration = Duration::from_millis(5);
const COLLECTION_TRIES: usize = 20;
/// The paths, and as many abstract names.
pub(crate) const NAMES: usize = 3;

/// A name that a program gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A path.
    Path(usize),
    /// An abstract name.
    Abstract(usize),
}

/// A call. Descriptors are named by the order in which they came to be, and are named further after
/// they are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`.
    Socket(SocketKind),
    /// `socketpair`.
    Pair(SocketKind),
    /// `bind`; without a name the system chooses one.
    Bind(usize, Option<Name>),
    /// `unlink`.
    Unlink(usize),
    /// `listen` with a backlog.
    Listen(usize, usize),
    /// `connect`; without a name to AF_UNSPEC.
    Connect(usize, Option<Name>),
    /// `accept`.
    Accept(usize),
    /// `sendmsg` of so many bytes, with a descriptor that is passed on, if any.
    Send(usize, usize, Option<usize>),
    /// `sendto` of so many bytes.
    SendTo(usize, usize, Name),
    /// `recvmsg` of at most so many bytes, and so many descriptors.
    Recv(usize, usize, usize),
    /// `recv` with MSG_PEEK of at most so many bytes.
    Peek(usize, usize),
    /// `shutdown`.
    Shutdown(usize, Shutdown),
    /// `close`.
    Close(usize),
    /// `dup`.
    Duplicate(usize),
    /// SO_ERROR.
    TakeError(usize),
    /// `getsockname`.
    LocalName(usize),
    /// `getpeername`.
    PeerName(usize),
    /// FIONREAD.
    Queued(usize),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A number of bytes, or 0.
    Done(usize),
    /// So many descriptors, which have the next names.
    Opened(usize),
    /// An errno.
    Failed(i32),
    /// The name of a socket.
    Named(Shown),
    /// Data, the sender of a datagram, the number of descriptors, and whether MSG_CTRUNC was set.
    Received(Vec<u8>, Option<Shown>, usize, bool),
}

/// The name that a system returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None.
    Unnamed,
    /// One that a program gave.
    Given(Name),
    /// One that the system chose.
    Chosen,
}

/// The poll bits of each open descriptor.
type Readinesses = Vec<Option<u16>>;

/// Whoever makes the calls.
trait Machine {
    fn call(&mut self, call: Call) -> Answer;

    fn readinesses(&self) -> Readinesses;
}

/// The first difference in a sequence.
#[derive(Debug)]
pub struct Difference {
    /// The calls, of which the last differs, with Portolan's answers.
    calls: Vec<(Call, Answer)>,
    kernel: Answer,
    readinesses: [Readinesses; 2],
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, answer) in &self.calls {
            writeln!(f, "    {call:?} -> {answer:?}")?;
        }
        writeln!(f, "    the kernel: {:?}", self.kernel)?;
        let [theirs, ours] = &self.readinesses;
        for (name, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
            if theirs != ours {
                writeln!(f, "    {name}: {ours:#x?}, the kernel: {theirs:#x?}")?;
            }
        }
        Ok(())
    }
}

/// The readinesses on both. The kernel gets time to collect sockets that nobody can reach: it does
/// so some milliseconds later, Portolan at once.
fn readinesses(kernel: &Kernel, stack: &Portolan) -> [Readinesses; 2] {
    let ours = stack.readinesses();
    let mut theirs = kernel.readinesses();
    for _ in 0..COLLECTION_TRIES {
        if theirs == ours {
            break;
        }
        kernel.collect(COLLECTION_TIME);
        theirs = kernel.readinesses();
    }
    [theirs, ours]
}

/// Makes the calls of a seed on both.
///
/// # Errors
///
/// If there is no directory for the names.
pub fn compare(seed: u64) -> io::Result<Option<Box<Difference>>> {
    let mut generator = Generator::new(seed);
    let mut comparison = Comparison::new(&seed.to_string())?;
    for _ in 0..CALLS {
        let call = generator.next();
        match comparison.make(call) {
            Ok(answer) => generator.learn(call, &answer),
            Err(difference) => return Ok(Some(difference)),
        }
    }
    Ok(None)
}

/// Makes these calls on both. The name distinguishes them from others that are made at the same
/// time.
///
/// # Errors
///
/// If there is no directory for the names.
pub fn compare_calls(name: &str, calls: &[Call]) -> io::Result<Option<Box<Difference>>> {
    let mut comparison = Comparison::new(name)?;
    Ok(calls.iter().find_map(|call| comparison.make(*call).err()))
}

/// The two, and the calls that were made.
struct Comparison {
    kernel: Kernel,
    stack: Portolan,
    calls: Vec<(Call, Answer)>,
}

impl Comparison {
    fn new(name: &str) -> io::Result<Self> {
        Ok(Comparison { kernel: Kernel::new(name)?, stack: Portolan::new(), calls: Vec::new() })
    }

    /// Makes a call on both. Returns the answer, if nothing differs.
    fn make(&mut self, call: Call) -> Result<Answer, Box<Difference>> {
        let [theirs, ours] = [self.kernel.call(call), self.stack.call(call)];
        self.calls.push((call, ours.clone()));
        let readinesses = readinesses(&self.kernel, &self.stack);
        if theirs == ours && readinesses[0] == readinesses[1] {
            return Ok(ours);
        }
        Err(Box::new(Difference { calls: std::mem::take(&mut self.calls), kernel: theirs, readinesses }))
    }
}
