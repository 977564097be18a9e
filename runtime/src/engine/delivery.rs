//! The orderly end of a runtime: calls are refused, and what sockets have taken is delivered before
//! the driver threads end.

use std::fmt;
use std::time::Duration;

use portolan::{Domain, NeighborState, Shutdown, SocketId, SocketInfo, SocketState, Stack, TcpState};

use crate::clock::Clock;
use crate::engine::locks::{Engine, Waited};
use crate::engine::stacks::Stacks;
use crate::engine::waiters::Wakes;
use crate::policy::{DELIVERY_LOOK_INTERVAL, WALK_STEPS};

/// What a runtime could not deliver before it ended
/// ([`Runtime::shutdown`](crate::Runtime::shutdown)).
///
/// `Display` names the sockets: `1 socket with 5 bytes to deliver: 10.0.0.2:40000 to 10.0.0.1:80 (5
/// bytes, FIN-WAIT-1)`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Undelivered {
    /// The sockets, as they were last. [`send_queue`](SocketInfo::send_queue) counts the bytes that
    /// the peer has not acknowledged; it is zero where only the end of the stream is missing.
    pub sockets: Vec<SocketInfo>,
}

/// Sockets that the text of an [`Undelivered`] names. More are only counted.
const MAX_NAMED: usize = 8;

impl Undelivered {
    /// Whether everything was delivered.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The bytes of all sockets.
    pub fn bytes(&self) -> usize {
        self.sockets.iter().map(|socket| socket.send_queue).sum()
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.sockets.len();
        if count == 0 {
            return f.write_str("everything was delivered");
        }
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} socket{plural} with {} bytes to deliver", self.bytes())?;
        for (index, socket) in self.sockets.iter().take(MAX_NAMED).enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            if let Some(local) = &socket.local {
                write!(f, "{local} ")?;
            }
            if let Some(peer) = &socket.peer {
                write!(f, "to {peer} ")?;
            }
            write!(f, "({} bytes, {})", socket.send_queue, socket.state)?;
        }
        match count.saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            others => write!(f, " and {others} more"),
        }
    }
}

/// Whether the peer has yet to acknowledge the end of the stream.
fn is_fin_missing(state: TcpState) -> bool {
    matches!(state, TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck)
}

fn is_undelivered(socket: &SocketInfo) -> bool {
    match socket.state {
        SocketState::Tcp(TcpState::Established | TcpState::CloseWait) => socket.send_queue > 0,
        SocketState::Tcp(state) => is_fin_missing(state),
        // What a Unix-domain socket has sent is in the queue of its peer, which is in this process.
        _ => socket.domain != Domain::Unix && socket.send_queue > 0,
    }
}

/// Whether a socket that was [undelivered](is_undelivered) is known to be delivered. This looks at
/// one socket only, and does not know that of datagrams whose socket is open.
fn is_delivered(stack: &Stack, socket: SocketId) -> bool {
    stack.socket_readiness(socket).is_none()
        || stack.socket_tcp_info(Clock::now(), socket).is_some_and(|info| {
            !is_fin_missing(info.state) && !matches!(info.state, TcpState::Established | TcpState::CloseWait)
        })
}

impl Engine {
    /// Refuses all calls from now on, and wakes all threads that wait. The stack is still driven.
    fn refuse_calls(&self) {
        let mut wakes = Wakes::default();
        let mut core = self.lock_core_anyway();
        core.refuses_calls = true;
        core.waiters.wake_everybody(&mut wakes);
        core.cancel_waiters.wake_all(&mut wakes);
        core.task_timers.wake_all(&mut wakes);
        (wakes.driver, wakes.caller, wakes.watchers) = (true, true, true);
        drop(core);
        self.notify(&mut wakes);
    }

    /// Ends the sending half of these connections. Listeners and connections that are not open yet
    /// are closed.
    fn end_streams<'a>(&self, streams: impl Iterator<Item = &'a SocketInfo>) {
        self.enter(|core, now, _| {
            for stream in streams {
                for d in stream.descriptors() {
                    let Some(mut owner) = core.stack.owner(d.owner()) else { continue };
                    // A socket that has ended meanwhile needs neither.
                    let _ = match stream.state {
                        SocketState::Tcp(TcpState::Listen | TcpState::SynSent) => owner.close(now, d),
                        _ => owner.shutdown(now, d, Shutdown::Write),
                    };
                }
            }
        });
    }

    /// Whether packets that have left their sockets wait for the answer of a neighbour, or for room
    /// in a device.
    fn has_waiting_packets(&self) -> bool {
        let is_resolving = |stack: &Stack| {
            let neighbors = stack.interfaces().into_iter().flat_map(|iface| stack.neighbors(iface.id));
            neighbors.into_iter().any(|neighbor| neighbor.state == NeighborState::Incomplete)
        };
        self.inspect(is_resolving)
            || self.io.lock().is_ok_and(|io| io.devices.iter().any(|attached| attached.wants_room()))
    }
}

impl Stacks {
    /// Refuses calls, ends all connections, and waits for at most `timeout` until everything that
    /// sockets have taken is delivered. Returns what is left.
    pub(crate) fn deliver(&self, timeout: Duration) -> Undelivered {
        if self.ended().is_some() {
            return Undelivered::default();
        }
        let give_up_at = Clock::now() + timeout;
        self.all().for_each(|engine| engine.refuse_calls());
        let walk = self.walk_sockets(|stack, _, socket| (stack, socket));
        let streams: Vec<(usize, SocketInfo)> =
            walk.filter(|(_, socket)| matches!(socket.state, SocketState::Tcp(_))).collect();
        for (number, engine) in self.all().enumerate() {
            let mut of_engine =
                streams.iter().filter(|(stack, _)| *stack == number).map(|(_, s)| s).peekable();
            while of_engine.peek().is_some() {
                engine.end_streams(of_engine.by_ref().take(WALK_STEPS));
            }
        }
        loop {
            let undelivered = self.undelivered();
            let is_done = undelivered.is_empty() && !self.all().any(|engine| engine.has_waiting_packets());
            if is_done || Clock::until(give_up_at).is_zero() || self.ended().is_some() {
                return Undelivered { sockets: undelivered.into_iter().map(|(_, socket)| socket).collect() };
            }
            self.wait_for_delivery(&undelivered, Clock::until(give_up_at).min(DELIVERY_LOOK_INTERVAL));
        }
    }

    fn undelivered(&self) -> Vec<(usize, SocketInfo)> {
        let walk = self.walk_sockets(|stack, _, socket| (stack, socket));
        walk.filter(|(_, socket)| is_undelivered(socket)).collect()
    }

    /// Waits until these sockets are delivered, at most `timeout`.
    fn wait_for_delivery(&self, undelivered: &[(usize, SocketInfo)], timeout: Duration) {
        let give_up_at = Clock::now() + timeout;
        if undelivered.is_empty() {
            // Packets wait elsewhere.
            let _ = self.first().wait_until(timeout, |_| false);
        }
        for (number, socket) in undelivered {
            let Some(engine) = self.all().nth(*number) else { continue };
            let is_done = |stack: &mut Stack| socket.id.is_none_or(|id| is_delivered(stack, id));
            if !matches!(engine.wait_until(Clock::until(give_up_at), is_done), Ok(Waited::Woken)) {
                return;
            }
        }
    }
}
