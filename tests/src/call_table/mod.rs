//! The table of calls in `docs/calls.md`: every call on a socket of every kind in every state, with
//! its result on Portolan, and on the kernel where that differs. All sockets talk over the
//! loopback.
//!
//! Read [`Kind`], [`State`] and [`Call`], then `prepare`, and `kernel` and `stack` (who makes the
//! calls).

mod kernel;
mod stack;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portolan::{Readiness, SendFlags, Shutdown};

pub use kernel::Kernel;
pub use stack::OwnStack;

/// The first port of the first case. Each case has ports of its own.
const FIRST_PORT: u16 = 10_000;
/// The data of a message: an ICMP echo request, which every kind of socket may send.
const MESSAGE: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
/// The protocol of the raw sockets, which no transport has.
pub(crate) const RAW_PROTOCOL: u8 = 200;

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4.
    Tcp,
    /// UDP over IPv4.
    Udp,
    /// ICMP echo over IPv4.
    Ping,
    /// Raw IPv4.
    Raw,
    /// Packets of an interface without their link headers.
    Packet,
    /// Streams of the Unix domain.
    UnixStream,
    /// Messages over a connection of the Unix domain.
    UnixSeqPacket,
    /// Datagrams of the Unix domain.
    UnixDatagram,
}

/// All kinds, each with the heading of its table.
pub const KINDS: [(Kind, &str); 8] = [
    (Kind::Tcp, "TCP"),
    (Kind::Udp, "UDP"),
    (Kind::Ping, "Ping"),
    (Kind::Raw, "Raw IP"),
    (Kind::Packet, "Packet"),
    (Kind::UnixStream, "Unix stream"),
    (Kind::UnixSeqPacket, "Unix seqpacket"),
    (Kind::UnixDatagram, "Unix datagram"),
];

/// The state of a socket before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// After `socket`.
    New,
    /// After `bind`.
    Bound,
    /// After `listen`, with a connection in the queue.
    Listening,
    /// After `connect`, with a peer.
    Connected,
    /// As `Connected`, and a message waits.
    Unread,
    /// As `Connected`, after SHUT_RD.
    ReadShut,
    /// As `Connected`, after SHUT_WR.
    WriteShut,
    /// As `Connected`, and the peer has closed its socket.
    PeerClosed,
}

impl State {
    /// The states that sockets of this kind can be in, each with the heading of its column.
    fn of(kind: Kind) -> &'static [(State, &'static str)] {
        const NEW: (State, &str) = (State::New, "new");
        const BOUND: (State, &str) = (State::Bound, "bound");
        const LISTENING: (State, &str) = (State::Listening, "listening");
        const CONNECTED: (State, &str) = (State::Connected, "connected");
        const UNREAD: (State, &str) = (State::Unread, "a message waits");
        const READ_SHUT: (State, &str) = (State::ReadShut, "SHUT_RD");
        const WRITE_SHUT: (State, &str) = (State::WriteShut, "SHUT_WR");
        const PEER_CLOSED: (State, &str) = (State::PeerClosed, "peer closed");
        match kind {
            Kind::Packet => &[NEW, BOUND, UNREAD],
            Kind::Udp | Kind::Ping | Kind::Raw => &[NEW, BOUND, CONNECTED, UNREAD, READ_SHUT, WRITE_SHUT],
            Kind::UnixDatagram => &[NEW, BOUND, CONNECTED, UNREAD, READ_SHUT, WRITE_SHUT, PEER_CLOSED],
            Kind::Tcp | Kind::UnixStream | Kind::UnixSeqPacket => {
                &[NEW, BOUND, LISTENING, CONNECTED, UNREAD, READ_SHUT, WRITE_SHUT, PEER_CLOSED]
            }
        }
    }
}

/// An address of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An IPv4 address and port.
    Ip(SocketAddr),
    /// A protocol on the loopback interface.
    Loopback(u16),
    /// An abstract name.
    Name(String),
}

/// A call, with the addresses of its case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `bind`.
    Bind(Place),
    /// `listen`.
    Listen,
    /// `accept`.
    Accept,
    /// `connect`.
    Connect(Place),
    /// `connect` to AF_UNSPEC.
    Disconnect,
    /// `send` of a message with these flags.
    Send(SendFlags),
    /// `sendto` of a message.
    SendTo(Place),
    /// `recv`.
    Recv,
    /// `recv` with MSG_PEEK.
    Peek,
    /// `recv` with MSG_OOB.
    RecvUrgent,
    /// `recv` with MSG_ERRQUEUE.
    RecvError,
    /// `shutdown`.
    Shutdown(Shutdown),
    /// `getsockname`.
    LocalName,
    /// `getpeername`.
    PeerName,
    /// SO_ERROR.
    TakeError,
    /// FIONREAD.
    Unread,
    /// SIOCOUTQNSD.
    Unsent,
    /// SIOCATMARK.
    AtMark,
    /// `poll`.
    Poll,
}

impl Call {
    /// Every call on a socket of this kind, each with its row.
    fn all(places: &Places) -> Vec<(Call, &'static str)> {
        vec![
            (Call::Bind(places.own.clone()), "`bind`"),
            (Call::Listen, "`listen`"),
            (Call::Accept, "`accept`"),
            (Call::Connect(places.peer.clone()), "`connect`"),
            (Call::Disconnect, "`disconnect`"),
            (Call::Send(SendFlags::NONE), "`send`"),
            (Call::Send(SendFlags::OOB), "`send_with` OOB"),
            (Call::SendTo(places.peer.clone()), "`send_to`"),
            (Call::Recv, "`recv`"),
            (Call::Peek, "`recv_with` PEEK"),
            (Call::RecvUrgent, "`recv_with` OOB"),
            (Call::RecvError, "`recv_error`"),
            (Call::Shutdown(Shutdown::Read), "`shutdown` Read"),
            (Call::Shutdown(Shutdown::Write), "`shutdown` Write"),
            (Call::Shutdown(Shutdown::Both), "`shutdown` Both"),
            (Call::LocalName, "`local_name`"),
            (Call::PeerName, "`peer_name`"),
            (Call::TakeError, "`take_error`"),
            (Call::Unread, "`unread_bytes`"),
            (Call::Unsent, "`unsent_bytes`"),
            (Call::AtMark, "`at_mark`"),
            (Call::Poll, "`readiness`"),
        ]
    }
}

/// What a call returns: `ok`, a number, or the name of an error.
pub type Answer = Result<String, &'static str>;

/// Who makes the calls.
pub trait Machine {
    /// A descriptor.
    type Socket: Copy;

    /// Makes a socket.
    fn open(&mut self, kind: Kind) -> Result<Self::Socket, &'static str>;

    /// `accept`.
    fn accept(&mut self, socket: Self::Socket) -> Result<Self::Socket, &'static str>;

    /// Makes a call.
    fn call(&mut self, socket: Self::Socket, call: &Call) -> Answer;

    /// Closes one socket.
    fn close(&mut self, socket: Self::Socket);

    /// Closes all sockets.
    fn close_all(&mut self);
}

/// The addresses of a case.
#[derive(Debug)]
struct Places {
    own: Place,
    peer: Place,
}

impl Places {
    fn of(kind: Kind, case: u16) -> Places {
        let port = |number: u16| FIRST_PORT + 4 * case + number;
        let ip = |number| Place::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port(number)));
        let place = |number| match kind {
            Kind::Packet => Place::Loopback(portolan::LinkAddr::ETH_P_IP),
            Kind::UnixStream | Kind::UnixSeqPacket | Kind::UnixDatagram => {
                Place::Name(format!("case {case}, {number}"))
            }
            Kind::Tcp | Kind::Udp | Kind::Ping | Kind::Raw => ip(number),
        };
        Places { own: place(0), peer: place(1) }
    }
}

/// Brings a socket into a state. Its peer listens, or waits for datagrams, in any case.
fn prepare<M: Machine>(
    machine: &mut M,
    kind: Kind,
    state: State,
    places: &Places,
) -> Result<M::Socket, &'static str> {
    let has_connections = matches!(kind, Kind::Tcp | Kind::UnixStream | Kind::UnixSeqPacket);
    let server = machine.open(kind)?;
    machine.call(server, &Call::Bind(places.peer.clone()))?;
    if has_connections {
        machine.call(server, &Call::Listen)?;
    }
    let socket = machine.open(kind)?;
    match state {
        State::New => return Ok(socket),
        State::Bound => {
            machine.call(socket, &Call::Bind(places.own.clone()))?;
            return Ok(socket);
        }
        State::Listening => {
            machine.call(socket, &Call::Bind(places.own.clone()))?;
            machine.call(socket, &Call::Listen)?;
            let client = machine.open(kind)?;
            connect(machine, client, &places.own)?;
            return Ok(socket);
        }
        _ => {}
    }
    if kind == Kind::Packet {
        machine.call(socket, &Call::Bind(places.own.clone()))?;
        // The frame that waits is that of a datagram.
        let sender = machine.open(Kind::Udp)?;
        let to = Places::of(Kind::Udp, 0).own;
        machine.call(sender, &Call::SendTo(to))?;
        return Ok(socket);
    }
    // A datagram socket has an address so that its peer can answer.
    if !has_connections {
        machine.call(socket, &Call::Bind(places.own.clone()))?;
    }
    connect(machine, socket, &places.peer)?;
    let peer = if has_connections { machine.accept(server)? } else { server };
    let send = Call::Send(SendFlags::NONE);
    match state {
        State::Unread if kind == Kind::Ping => {
            machine.call(socket, &send)?;
        }
        State::Unread if has_connections => {
            machine.call(peer, &send)?;
        }
        State::Unread => {
            machine.call(peer, &Call::SendTo(places.own.clone()))?;
        }
        State::ReadShut => {
            machine.call(socket, &Call::Shutdown(Shutdown::Read))?;
        }
        State::WriteShut => {
            machine.call(socket, &Call::Shutdown(Shutdown::Write))?;
        }
        State::PeerClosed => machine.close(peer),
        _ => {}
    }
    Ok(socket)
}

/// Connects a socket. That of TCP is under way when the call returns.
fn connect<M: Machine>(machine: &mut M, socket: M::Socket, to: &Place) -> Result<(), &'static str> {
    match machine.call(socket, &Call::Connect(to.clone())) {
        Ok(_) | Err("EINPROGRESS") => Ok(()),
        Err(error) => Err(error),
    }
}

/// The answers of a machine for one kind: a row for each call, a column for each state.
pub fn answers<M: Machine>(machine: &mut M, kind: Kind) -> Vec<Vec<String>> {
    let mut case = 0;
    let rows = Call::all(&Places::of(kind, 0)).len();
    let mut answers = Vec::new();
    for row in 0..rows {
        let mut cells = Vec::new();
        for &(state, _) in State::of(kind) {
            case += 1;
            let places = Places::of(kind, case);
            let (call, _) = &Call::all(&places)[row];
            let socket = prepare(machine, kind, state, &places);
            let answer = socket.and_then(|socket| machine.call(socket, call));
            cells.push(answer.unwrap_or_else(str::to_owned));
            machine.close_all();
        }
        answers.push(cells);
    }
    answers
}

/// Makes every call with descriptors that are closed or belong to another owner. Returns those that
/// are not refused with EBADF, or that change something.
///
/// # Errors
///
/// If the stack opens no socket.
pub fn accepted_from_strangers(kind: Kind) -> portolan::Result<Vec<String>> {
    let mut stack = OwnStack::new();
    let strangers = stack.strangers(kind)?;
    let before = stack.memory_bytes();
    let mut accepted = Vec::new();
    for (call, row) in Call::all(&Places::of(kind, 0)) {
        for stranger in strangers {
            let answer = stack.call(stranger, &call);
            if answer != Err("EBADF") || stack.memory_bytes() != before {
                accepted.push(format!("{kind:?}: {row} of {stranger:?}: {answer:?}"));
            }
        }
    }
    Ok(accepted)
}

/// The table for one kind, in Markdown. A cell has the answer of Portolan, and that of Linux behind
/// it where that differs.
pub fn table(kind: Kind, ours: &[Vec<String>], theirs: &[Vec<String>]) -> String {
    let mut table = String::from("| call |");
    for (_, state) in State::of(kind) {
        let _ = write!(table, " {state} |");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(State::of(kind).len()));
    table.push('\n');
    for ((_, row), (ours, theirs)) in Call::all(&Places::of(kind, 0)).iter().zip(ours.iter().zip(theirs)) {
        let _ = write!(table, "| {row} |");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let linux = if ours == theirs { String::new() } else { format!(" (Linux: {theirs})") };
            let _ = write!(table, " {ours}{linux} |");
        }
        table.push('\n');
    }
    table
}

/// Readiness as `poll` names it.
pub(crate) fn events(readiness: Readiness) -> String {
    let Readiness { readable, writable, peer_closed, hung_up, error, urgent } = readiness;
    let named = [
        (readable, "IN"),
        (urgent, "PRI"),
        (writable, "OUT"),
        (error, "ERR"),
        (hung_up, "HUP"),
        (peer_closed, "RDHUP"),
    ];
    let events: Vec<&str> = named.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
    if events.is_empty() { "nothing".into() } else { events.join(" ") }
}

/// What a call that has a value returns.
pub(crate) fn done<T>(_: T) -> String {
    "ok".into()
}

/// Whether a name was found.
pub(crate) fn name_of(is_some: bool) -> String {
    if is_some { "a name" } else { "none" }.into()
}
