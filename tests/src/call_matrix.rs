//! The call matrix: two calls, one after the other, on a socket in every state, on the kernel and
//! on Portolan. Both must return the same, and leave the same error and readiness, unless a rule
//! explains the difference.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use portolan::testing::TcpSegment;
use portolan::{Config, Domain, Medium, Readiness, RecvFlags, SendFlags, Shutdown, SocketOption};

use crate::host::{CallResult, Host, LinuxHost, Message, host_addr, packet, peer_addr};
use crate::{RawPeer, tcp_segment};

const LISTENER_PORT: u16 = 80;
/// The first of the peer's ports; each case has its own.
const FIRST_PEER_PORT: u16 = 10_000;
const PEER_ISN: u32 = 1_000_000;
/// The number of cases that share a host.
const BATCH: usize = 500;

/// The state of a socket before the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// After `socket`.
    New,
    /// After `bind`.
    Bound,
    /// After `listen`.
    Listen,
    /// After `connect`, without an answer.
    SynSent,
    /// After `connect`, and the peer's SYN has crossed ours.
    SynReceived,
    /// After `connect`, which was refused.
    Refused,
    /// After `accept`.
    Established,
    /// Data waits to be read.
    EstablishedUnread,
    /// Data waits to be read, of which the third byte is urgent.
    EstablishedUrgent,
    /// Data waits to be read, and urgent data is announced behind it.
    EstablishedUrgentAhead,
    /// The program has shut down its sending half.
    FinWait1,
    /// The program has shut down its sending half, and the peer has acknowledged that.
    FinWait2,
    /// The FINs have crossed.
    Closing,
    /// Both ends have closed, this one first.
    TimeWait,
    /// The peer has closed.
    CloseWait,
    /// The peer has closed, and data waits to be read.
    CloseWaitUnread,
    /// The peer has closed, and the program has shut down its sending half.
    LastAck,
    /// As `LastAck`, and the peer has acknowledged our FIN.
    Closed,
    /// The peer has reset the connection.
    Reset,
    /// The peer has reset the connection, and data waits to be read.
    ResetUnread,
    /// The peer has closed, then reset.
    ResetInCloseWait,
    /// The program has shut down its sending half, then the peer has reset.
    ResetInFinWait1,
    /// The peer has reset the connection before `accept`.
    ResetInQueue,
    /// The peer has sent data, then reset the connection before `accept`.
    ResetInQueueUnread,
}

/// All states.
pub const STATES: [State; 24] = [
    State::New,
    State::Bound,
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Refused,
    State::Established,
    State::EstablishedUnread,
    State::EstablishedUrgent,
    State::EstablishedUrgentAhead,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::TimeWait,
    State::CloseWait,
    State::CloseWaitUnread,
    State::LastAck,
    State::Closed,
    State::Reset,
    State::ResetUnread,
    State::ResetInCloseWait,
    State::ResetInFinWait1,
    State::ResetInQueue,
    State::ResetInQueueUnread,
];

/// A call of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `bind` to the host's address and any port.
    Bind,
    /// `listen`.
    Listen,
    /// `accept`.
    Accept,
    /// `connect` to the peer.
    Connect,
    /// `send` of three bytes.
    Send,
    /// `send` of no bytes.
    SendNothing,
    /// `recv` of at most ten bytes.
    Recv,
    /// SHUT_RD.
    ShutdownRead,
    /// SHUT_WR.
    ShutdownWrite,
    /// SHUT_RDWR.
    ShutdownBoth,
    /// SO_ERROR.
    TakeError,
    /// `getsockname`.
    LocalAddr,
    /// `getpeername`.
    PeerAddr,
    /// `poll`.
    Poll,
    /// `recv` with MSG_PEEK, into buffers of two and of ten bytes.
    Peek,
    /// `recv` of at most ten bytes with MSG_PEEK and MSG_TRUNC.
    PeekLen,
    /// `recv` of at most two bytes with MSG_TRUNC.
    Discard,
    /// `recv` with MSG_OOB.
    RecvOob,
    /// `recv` with MSG_OOB and MSG_PEEK, into no buffer.
    PeekOob,
    /// `recv` with MSG_ERRQUEUE.
    RecvError,
    /// `send` of three bytes with MSG_OOB, in two slices.
    SendOob,
    /// `connect` to AF_UNSPEC.
    Disconnect,
    /// FIONREAD.
    Unread,
    /// SIOCOUTQ.
    Unacknowledged,
    /// SIOCOUTQNSD.
    Unsent,
    /// SIOCATMARK.
    AtMark,
}

const CALLS: [Call; 26] = [
    Call::Bind,
    Call::Listen,
    Call::Accept,
    Call::Connect,
    Call::Send,
    Call::SendNothing,
    Call::Recv,
    Call::ShutdownRead,
    Call::ShutdownWrite,
    Call::ShutdownBoth,
    Call::TakeError,
    Call::LocalAddr,
    Call::PeerAddr,
    Call::Poll,
    Call::Peek,
    Call::PeekLen,
    Call::Discard,
    Call::RecvOob,
    Call::PeekOob,
    Call::RecvError,
    Call::SendOob,
    Call::Disconnect,
    Call::Unread,
    Call::Unacknowledged,
    Call::Unsent,
    Call::AtMark,
];

/// A state and two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The family.
    pub domain: Domain,
    /// The state before the calls.
    pub state: State,
    /// The calls.
    pub calls: [Call; 2],
}

impl Case {
    fn has(&self, calls: &[Call]) -> bool {
        self.calls.iter().any(|call| calls.contains(call))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { domain, state, calls: [first, second] } = self;
        write!(f, "{domain:?} {state:?}: {first:?}, {second:?}")
    }
}

/// Every case.
pub fn cases() -> impl Iterator<Item = Case> {
    [Domain::V4, Domain::V6].into_iter().flat_map(|domain| {
        STATES.into_iter().flat_map(move |state| {
            CALLS.into_iter().flat_map(move |first| {
                CALLS.into_iter().map(move |second| Case { domain, state, calls: [first, second] })
            })
        })
    })
}

/// A rule that explains differences.
#[derive(Debug)]
pub struct Rule {
    /// The standard or the behaviour of the kernel that explains them.
    pub why: &'static str,
    /// Whether it explains this difference: the case, the kernel's answers, Portolan's.
    pub explains: fn(&Case, &[String], &[String]) -> bool,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        why: "a shutdown that fails (ENOTCONN) has no effect; on Linux it shuts the socket for what is to come",
        explains: |case, linux, portolan| {
            let is_fresh = matches!(
                case.state,
                State::New | State::Bound | State::Listen | State::SynSent | State::Refused
            );
            let is_fresh = is_fresh || case.calls[0] == Call::Disconnect;
            is_fresh
                && case.has(&[Call::ShutdownRead, Call::ShutdownBoth])
                && (linux[3].contains("peer-closed") || linux[1].starts_with("0 "))
                && !portolan[3].contains("peer-closed")
        },
    },
    Rule {
        why: "POSIX: a socket is bound once (EINVAL); Linux gives a new port to one whose connection is over",
        explains: |case, linux, portolan| {
            let differs =
                |at: usize| case.calls[at] == Call::Bind && linux[at] == "ok" && portolan[at] == "EINVAL";
            differs(0) || differs(1)
        },
    },
    Rule {
        why: "a socket that is disconnected, or whose attempt `shutdown` has ended, is a new one on Linux; here the next \
              `connect` makes it one",
        explains: |case, _, portolan| {
            let is_listening_or_name = matches!(case.calls[1], Call::Listen | Call::LocalAddr);
            let is_shut =
                matches!(case.calls[0], Call::ShutdownRead | Call::ShutdownWrite | Call::ShutdownBoth);
            let is_gone = (case.state == State::SynSent && is_shut) || case.calls[0] == Call::Disconnect;
            is_gone && is_listening_or_name && portolan[0] == "ok"
        },
    },
    Rule {
        why: "a connection that has ended has nothing unacknowledged or unsent; Linux leaves the counters as they were",
        explains: |case, _, portolan| {
            let is_zero = |at: usize| {
                matches!(case.calls[at], Call::Unacknowledged | Call::Unsent) && portolan[at] == "0"
            };
            is_zero(0) || is_zero(1)
        },
    },
    Rule {
        why: "a socket whose attempt to connect failed has no port any more; Linux keeps the one that it chose",
        explains: |case, linux, portolan| {
            let (first, second) = (case.calls[0], case.calls[1]);
            case.state == State::Refused
                && (first, second) == (Call::Connect, Call::LocalAddr)
                && (linux[1].ends_with("some"), portolan[1].ends_with('0')) == (true, true)
        },
    },
    Rule {
        why: "POSIX: after SHUT_WR `send` is EPIPE; in SYN-RECEIVED Linux lets the program wait until the connection is open",
        explains: |case, _, _| {
            case.state == State::SynReceived && case.has(&[Call::ShutdownWrite, Call::ShutdownBoth])
        },
    },
    Rule {
        why: "`connect` after a shutdown that came while it was under way is EINVAL on Linux (SS_DISCONNECTING)",
        explains: |case, linux, _| {
            let is_shut =
                matches!(case.calls[0], Call::ShutdownRead | Call::ShutdownWrite | Call::ShutdownBoth);
            is_shut && case.calls[1] == Call::Connect && linux[1] == "EINVAL"
        },
    },
];

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases on which both hosts agree.
    pub same: usize,
    /// How many differences each rule has explained.
    pub explained: BTreeMap<&'static str, usize>,
    /// Differences that no rule explains: the case, the kernel's answers and Portolan's.
    pub unexplained: Vec<(Case, Vec<String>, Vec<String>)>,
}

/// Plays all cases on both hosts. The thread moves into network namespaces; see [`LinuxHost::new`].
///
/// # Errors
///
/// If the system refuses a namespace.
pub fn compare() -> io::Result<Report> {
    let mut report = Report::default();
    let all: Vec<Case> = cases().collect();
    for batch in all.chunks(BATCH) {
        let theirs = play(&mut LinuxHost::new(&[])?, batch);
        let ours = play(&mut RawPeer::new(false, Config::default(), 7), batch);
        for ((case, linux), portolan) in batch.iter().zip(theirs).zip(ours) {
            let rule = RULES.iter().find(|rule| (rule.explains)(case, &linux, &portolan));
            match rule {
                _ if linux == portolan => report.same += 1,
                Some(rule) => *report.explained.entry(rule.why).or_default() += 1,
                None => report.unexplained.push((*case, linux, portolan)),
            }
        }
    }
    Ok(report)
}

/// Makes the calls. Returns their results, SO_ERROR and `poll`.
fn play<H: Host>(host: &mut H, cases: &[Case]) -> Vec<Vec<String>> {
    let listeners = [Domain::V4, Domain::V6].map(|domain| {
        let listener = listener(host, domain, LISTENER_PORT).expect("a listener");
        (domain, listener)
    });
    let mut answers = Vec::new();
    for (peer_port, case) in (FIRST_PEER_PORT..).zip(cases) {
        let (_, listener) = listeners.iter().find(|(domain, _)| *domain == case.domain).expect("both");
        let mut flow =
            Flow { domain: case.domain, peer_port, host_port: LISTENER_PORT, nxt: PEER_ISN, ack: 0 };
        let socket = match flow.prepare(host, case.state, *listener) {
            Ok(socket) => socket,
            Err(why) => {
                answers.push(vec![format!("cannot get there: {why}")]);
                continue;
            }
        };
        let [first, second] = case.calls;
        let calls = [first, second, Call::TakeError, Call::Poll];
        answers.push(calls.map(|call| flow.call(host, socket, call)).to_vec());
        let _ = host.close(socket);
        let _ = host.take_sent();
    }
    answers
}

fn listener<H: Host>(host: &mut H, domain: Domain, port: u16) -> CallResult<H::Descriptor> {
    let socket = host.socket(domain)?;
    host.set_option(socket, SocketOption::ReuseAddr(true))?;
    host.bind(socket, (host_addr(domain), port).into())?;
    host.listen(socket, 4096)?;
    Ok(socket)
}

/// A connection from the peer's point of view.
struct Flow {
    domain: Domain,
    peer_port: u16,
    host_port: u16,
    /// The peer's next sequence number and acknowledgement.
    nxt: u32,
    ack: u32,
}

impl Flow {
    /// Brings a socket into a state.
    fn prepare<H: Host>(
        &mut self,
        host: &mut H,
        state: State,
        listener: H::Descriptor,
    ) -> CallResult<H::Descriptor> {
        use TcpSegment as T;
        match state {
            State::New | State::Bound | State::Listen => {
                let socket = host.socket(self.domain)?;
                if state != State::New {
                    host.bind(socket, (host_addr(self.domain), 0).into())?;
                }
                if state == State::Listen {
                    host.listen(socket, 5)?;
                }
                return Ok(socket);
            }
            State::SynSent | State::SynReceived | State::Refused => {
                let socket = host.socket(self.domain)?;
                let _ = host.connect(socket, (peer_addr(self.domain), self.peer_port).into());
                self.host_port = host.local_addr(socket)?.port();
                self.take_syn(host)?;
                match state {
                    State::SynReceived => self.send(host, T::SYN, 0),
                    State::Refused => self.send(host, T::RST | T::ACK, 0),
                    _ => {}
                }
                return Ok(socket);
            }
            _ => {}
        }
        self.send(host, T::SYN, 0);
        self.take_syn(host)?;
        self.send(host, T::ACK, 0);
        let has_data = matches!(
            state,
            State::EstablishedUnread
                | State::CloseWaitUnread
                | State::ResetUnread
                | State::ResetInQueueUnread
        );
        if has_data {
            self.send(host, T::ACK | T::PSH, 5);
        }
        match state {
            State::EstablishedUrgent => self.send_urgent(host, 3),
            State::EstablishedUrgentAhead => self.send_urgent(host, 8),
            _ => {}
        }
        if matches!(state, State::ResetInQueue | State::ResetInQueueUnread) {
            self.send(host, T::RST, 0);
        }
        let socket = host.accept(listener)?;
        if matches!(
            state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait | State::ResetInFinWait1
        ) {
            host.shutdown(socket, Shutdown::Write)?;
        }
        if matches!(state, State::FinWait2 | State::TimeWait) {
            self.ack = self.ack.wrapping_add(1);
            self.send(host, T::ACK, 0);
        }
        if matches!(
            state,
            State::Closing
                | State::TimeWait
                | State::CloseWait
                | State::CloseWaitUnread
                | State::LastAck
                | State::Closed
                | State::ResetInCloseWait
        ) {
            self.send(host, T::FIN | T::ACK, 0);
        }
        if matches!(state, State::LastAck | State::Closed) {
            host.shutdown(socket, Shutdown::Write)?;
        }
        if state == State::Closed {
            self.ack = self.ack.wrapping_add(1);
            self.send(host, T::ACK, 0);
        }
        if matches!(
            state,
            State::Reset | State::ResetUnread | State::ResetInCloseWait | State::ResetInFinWait1
        ) {
            self.send(host, T::RST, 0);
        }
        Ok(socket)
    }

    fn send<H: Host>(&mut self, host: &mut H, flags: u8, len: u32) {
        self.send_with(host, flags, len, 0);
    }

    /// Sends five bytes, and an urgent pointer to the byte after the urgent one.
    fn send_urgent<H: Host>(&mut self, host: &mut H, pointer: u16) {
        self.send_with(host, TcpSegment::ACK | TcpSegment::URG, 5, pointer);
    }

    fn send_with<H: Host>(&mut self, host: &mut H, flags: u8, len: u32, urgent: u16) {
        let segment = TcpSegment {
            seq: self.nxt,
            ack: if flags & TcpSegment::ACK != 0 { self.ack } else { 0 },
            flags,
            window: 60_000,
            urgent,
            payload: (1..=len as u8).collect(),
            ..TcpSegment::new(self.peer_port, self.host_port)
        };
        let takes = flags & (TcpSegment::SYN | TcpSegment::FIN);
        self.nxt = self.nxt.wrapping_add(len + takes.count_ones());
        host.send_packet(&packet(self.domain).tcp(&segment));
    }

    /// Takes the host's SYN or SYN-ACK, which was just sent.
    fn take_syn<H: Host>(&mut self, host: &mut H) -> CallResult<()> {
        let sent = host.take_sent();
        let mut segments = sent.iter().filter_map(|(_, frame)| tcp_segment(Medium::Ip, frame));
        let is_mine =
            |segment: &TcpSegment| segment.dst_port == self.peer_port && segment.flags & TcpSegment::SYN != 0;
        let syn = segments.find(is_mine).ok_or("no SYN")?;
        self.ack = syn.seq.wrapping_add(1);
        Ok(())
    }

    /// Makes a call, and returns its result.
    fn call<H: Host>(&self, host: &mut H, socket: H::Descriptor, call: Call) -> String {
        let told = |result: CallResult<()>| told(result.map(|()| "ok".into()));
        let bytes = |result: CallResult<usize>| told_bytes(result);
        let message = |result: CallResult<Message>| {
            let text = |Message { len, data, flags, .. }: Message| format!("{len} {data:?} {flags:?}");
            result.map_or_else(Into::into, text)
        };
        match call {
            Call::Bind => told(host.bind(socket, (host_addr(self.domain), 0).into())),
            Call::Listen => told(host.listen(socket, 5)),
            Call::Accept => told(host.accept(socket).map(|_| ())),
            Call::Connect => told(host.connect(socket, (peer_addr(self.domain), self.peer_port).into())),
            Call::Send => bytes(host.send(socket, b"abc")),
            Call::SendNothing => bytes(host.send(socket, b"")),
            Call::Recv => message(host.recv_message(socket, &[10], RecvFlags::NONE)),
            Call::ShutdownRead => told(host.shutdown(socket, Shutdown::Read)),
            Call::ShutdownWrite => told(host.shutdown(socket, Shutdown::Write)),
            Call::ShutdownBoth => told(host.shutdown(socket, Shutdown::Both)),
            Call::TakeError => match host.take_error(socket) {
                Ok(error) => error.unwrap_or("no error").into(),
                Err(error) => error.into(),
            },
            Call::LocalAddr => self.told_addr(host.local_addr(socket)),
            Call::PeerAddr => self.told_addr(host.peer_addr(socket)),
            Call::Poll => match host.readiness(socket) {
                Ok(readiness) => told_readiness(readiness),
                Err(error) => error.into(),
            },
            Call::Peek => message(host.recv_message(socket, &[2, 10], RecvFlags::PEEK)),
            Call::PeekLen => message(host.recv_message(socket, &[10], RecvFlags::PEEK | RecvFlags::TRUNCATE)),
            Call::Discard => message(host.recv_message(socket, &[2], RecvFlags::TRUNCATE)),
            Call::RecvOob => message(host.recv_message(socket, &[1], RecvFlags::OOB)),
            Call::PeekOob => message(host.recv_message(socket, &[], RecvFlags::OOB | RecvFlags::PEEK)),
            Call::RecvError => message(host.recv_message(socket, &[10], RecvFlags::ERROR_QUEUE)),
            Call::SendOob => bytes(host.send_message(socket, &[b"a", b"bc"], None, SendFlags::OOB)),
            Call::Disconnect => told(host.disconnect(socket)),
            Call::Unread => bytes(host.unread_bytes(socket)),
            Call::Unacknowledged => bytes(host.unacknowledged_bytes(socket)),
            Call::Unsent => bytes(host.unsent_bytes(socket)),
            Call::AtMark => host.at_mark(socket).map_or_else(Into::into, |is_at_mark| is_at_mark.to_string()),
        }
    }

    /// An address as text, without ports that a host chooses, because these are not compared.
    fn told_addr(&self, result: CallResult<SocketAddr>) -> String {
        let port = |port: u16| match port {
            0 => "0",
            LISTENER_PORT => "80",
            port if port == self.peer_port => "peer's",
            _ => "some",
        };
        told(result.map(|addr| format!("{} {}", addr.ip(), port(addr.port()))))
    }
}

fn told(result: CallResult<String>) -> String {
    result.unwrap_or_else(Into::into)
}

fn told_bytes(result: CallResult<usize>) -> String {
    told(result.map(|len| len.to_string()))
}

fn told_readiness(readiness: Readiness) -> String {
    let flags = [
        ("readable", readiness.readable),
        ("writable", readiness.writable),
        ("peer-closed", readiness.peer_closed),
        ("hung-up", readiness.hung_up),
        ("error", readiness.error),
    ];
    let set: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    set.join(" ")
}
