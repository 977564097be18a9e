//! What a stack tells its driver: which sockets became ready, and when it wants to be called.

use core::ops::BitOr;

use crate::id::SocketId;
use crate::time::Instant;

/// What can be done with a descriptor without `WouldBlock`, as Linux's `poll` and `epoll` report
/// it. Where an error waits, every call returns, too.
// Exhaustive: programs construct it for comparisons, and poll(2) has no more bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// `recv` has data or an end of stream to return; or `accept` has a connection (EPOLLIN).
    pub readable: bool,
    /// `send` takes at least some data, or never will (EPOLLOUT).
    pub writable: bool,
    /// The peer has shut down its sending half (EPOLLRDHUP).
    pub peer_closed: bool,
    /// Both halves are closed, or a stream socket was never connected (EPOLLHUP).
    pub hung_up: bool,
    /// An error waits in SO_ERROR (EPOLLERR).
    pub error: bool,
    /// A byte of urgent data waits for [`RecvFlags::OOB`](crate::RecvFlags::OOB) (EPOLLPRI).
    pub urgent: bool,
}

impl Readiness {
    /// All bits that [`bits`](Readiness::bits) may set.
    pub(crate) const ALL_BITS: u8 = 0b11_1111;
    pub(crate) const READABLE_BIT: u8 = 1;
    pub(crate) const WRITABLE_BIT: u8 = 1 << 1;
    pub(crate) const PEER_CLOSED_BIT: u8 = 1 << 2;
    pub(crate) const HUNG_UP_BIT: u8 = 1 << 3;
    pub(crate) const ERROR_BIT: u8 = 1 << 4;
    pub(crate) const URGENT_BIT: u8 = 1 << 5;

    /// One bit for each field, without branches: this is called after every segment.
    pub(crate) fn bits(self) -> u8 {
        let Readiness { readable, writable, peer_closed, hung_up, error, urgent } = self;
        u8::from(readable)
            | u8::from(writable) << 1
            | u8::from(peer_closed) << 2
            | u8::from(hung_up) << 3
            | u8::from(error) << 4
            | u8::from(urgent) << 5
    }

    /// The fields with these bits.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Readiness {
            readable: bits & Readiness::READABLE_BIT != 0,
            writable: bits & Readiness::WRITABLE_BIT != 0,
            peer_closed: bits & Readiness::PEER_CLOSED_BIT != 0,
            hung_up: bits & Readiness::HUNG_UP_BIT != 0,
            error: bits & Readiness::ERROR_BIT != 0,
            urgent: bits & Readiness::URGENT_BIT != 0,
        }
    }
}

/// What a change may have made ready, as bits of [`Readiness`]. Pollers look at the registrations
/// that have an interest in one of them, even if it was set before: edges are arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wakeup(u8);

impl Wakeup {
    pub(crate) const NONE: Wakeup = Wakeup(0);
    /// Data, urgent data or a connection arrived. As Linux's sock_def_readable.
    pub(crate) const ARRIVAL: Wakeup = Wakeup(Readiness::READABLE_BIT | Readiness::URGENT_BIT);
    /// There is room to send. As Linux's sock_def_write_space.
    pub(crate) const ROOM: Wakeup = Wakeup(Readiness::WRITABLE_BIT);
    /// An error was reported. As Linux's sock_def_error_report.
    pub(crate) const ERROR: Wakeup = Wakeup(Readiness::ERROR_BIT);
    /// The state of the socket changed. As Linux's sock_def_wakeup, this concerns every interest.
    pub(crate) const STATE: Wakeup = Wakeup(Readiness::ALL_BITS);

    /// The wake-up for bits that were set anew. The end of a direction is a change of state.
    #[inline]
    pub(crate) fn of_risen(bits: u8) -> Wakeup {
        let ends = Readiness::PEER_CLOSED_BIT | Readiness::HUNG_UP_BIT;
        if bits & ends != 0 { Wakeup::STATE } else { Wakeup(bits) }
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self == Wakeup::NONE
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Wakeup {
    type Output = Wakeup;

    #[inline]
    fn bitor(self, other: Wakeup) -> Wakeup {
        Wakeup(self.0 | other.0)
    }
}

/// A socket's readiness after a change.
///
/// An event names the socket, not a descriptor, because several descriptors may lead to one socket;
/// [`Stack::socket_id`](crate::Stack::socket_id) tells which socket a descriptor leads to. A socket
/// that no descriptor holds has no events.
///
/// Events are edge-triggered: one is queued when something changes (data arrived, room was made, a
/// connection was accepted or ended), not while a condition lasts. Several changes before the next
/// [`poll_event`](crate::Stack::poll_event) are one event.
///
/// ```
/// use portolan::{Config, Domain, Error, Instant, SocketKind, Stack};
///
/// let now = Instant::ZERO;
/// let mut stack = Stack::new(Config::default(), [7; 32], now);
/// let socket = stack.socket(Domain::V4, SocketKind::Datagram)?;
/// stack.bind(socket, ([127, 0, 0, 1], 7))?;
/// stack.send_to(now, socket, b"to itself", ([127, 0, 0, 1], 7))?;
/// while stack.poll_transmit(now).is_some() || stack.handle_loopback(now) {}
///
/// while let Some(event) = stack.poll_event() {
///     assert_eq!(event.socket, stack.socket_id(socket)?);
///     if event.readiness.readable {
///         // All that is there, because the next datagram is another event.
///         while let Ok((datagram, meta)) = stack.recv_msg(now, socket) {
///             assert_eq!((&datagram[..], meta.peer().port()), (&b"to itself"[..], 7));
///         }
///     }
/// }
/// assert_eq!(stack.recv_msg(now, socket), Err(Error::WouldBlock));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The socket.
    pub socket: SocketId,
    /// Its readiness now.
    pub readiness: Readiness,
}

/// When the stack wants [`handle_timeout`](crate::Stack::handle_timeout) called, and why.
///
/// ```
/// use portolan::{Config, Instant, InterfaceConfig, MacAddr, Medium, Stack};
///
/// let mut now = Instant::ZERO;
/// let mut stack = Stack::new(Config::default(), [7; 32], now);
/// let medium = Medium::Ethernet(MacAddr([2, 0, 0, 0, 0, 1]));
/// stack.add_interface(now, InterfaceConfig::new(medium).address("10.0.0.1/24".parse()?))?;
/// // The stack probes whether another host has the address.
/// let deadline = stack.poll_timeout().expect("a timer runs");
/// println!("{:?} at {}", deadline.kind, deadline.at);
/// now = deadline.at; // a program sleeps until then, or until a frame arrives
/// stack.handle_timeout(now);
/// assert!(stack.poll_transmit(now).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadline {
    /// The time by which to call.
    pub at: Instant,
    /// The timer that is due. If that timer was stopped meanwhile, this may name another.
    pub kind: DeadlineKind,
    /// The socket that the timer belongs to, if it belongs to one.
    pub socket: Option<SocketId>,
}

/// The timers of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineKind {
    /// Packets wait on the loopback ([`Stack::handle_loopback`](crate::Stack::handle_loopback)).
    Loopback,
    /// Descriptors of an owner that was removed are still to be closed.
    Closing,
    /// Sockets that were passed on in messages which nobody can receive are to be closed, or to be
    /// searched for.
    Unreachable,
    /// Neighbour resolution, duplicate address detection, reassembly, expiry of path MTUs.
    Network,
    /// The next burst of a paced TCP connection.
    Pacing,
    /// TCP retransmission (RFC 6298).
    Retransmit,
    /// TCP tail loss probe (RFC 8985 §7).
    LossProbe,
    /// TCP: RACK's reordering window ends (RFC 8985 §6).
    Reorder,
    /// TCP zero-window probe (RFC 9293 §3.8.6.1).
    Persist,
    /// A delayed acknowledgement is due (RFC 9293 §3.8.6.3).
    DelayedAck,
    /// TCP keepalive (RFC 9293 §3.8.4).
    KeepAlive,
    /// A connection that nobody holds any more waits in FIN-WAIT-2, or lingers.
    Linger,
    /// A SYN-ACK is to be repeated or given up.
    Handshake,
    /// TIME-WAIT is over.
    TimeWait,
    /// The program did not decide about an intercepted connection in time.
    Pending,
    /// An intercepted UDP flow was idle for too long.
    IdleFlow,
}
