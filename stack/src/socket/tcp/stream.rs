//! The part of a TCP socket's record that depends on what the socket has become.

use alloc::boxed::Box;
use core::mem;

use super::intercept::Interceptor;
use super::listener::Listener;
use crate::Ctx;
use crate::demux::FourTuple;
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::memory::Shortage;
use crate::network::InterfaceId;
use crate::ports::Reuse;
use crate::socket::info::{SocketInfo, SocketState};
use crate::socket::options::SocketOptions;
use crate::socket::scope::iface_of;
use crate::socket::state::{Holding, ProtocolState};
use crate::subject::Subject;
use crate::tcp::{Connection, Ended, State};
use crate::timers::Armed;

/// A TCP socket.
#[derive(Debug)]
pub(crate) enum TcpSocket {
    /// Neither listening nor connected.
    Idle,
    Listener(Box<Listener>),
    /// Its program decides about intercepted connections.
    Interceptor(Box<Interceptor>),
    Stream(Box<Stream>),
    Ended(Box<EndedStream>),
}

/// A socket with a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) connection: Connection,
    pub(super) tuple: FourTuple,
    /// The reuse options under which the port table counts it as a connection; `None` if `bind`
    /// entered it there.
    pub(super) shares_port: Option<Reuse>,
    /// Whether it is no longer in the table of connections: it ended, or a TIME-WAIT record
    /// replaced it.
    pub(super) is_parted: bool,
    /// Whether it is counted among the connections that no descriptor holds.
    pub(super) is_orphan: bool,
    /// [`Network::mtu_changes`](crate::network::Network::mtu_changes) when its segment size was
    /// last compared with that of the path.
    pub(super) mtu_changes: u16,
    /// The number of readable bytes when readiness was last computed.
    pub(super) seen_readable: u32,
    /// The state when its pollers were last woken.
    pub(super) seen_state: State,
    /// Its entry in the timer queue.
    pub(super) armed: Armed,
}

/// A socket whose connection has ended: its answers, and its place in the port table.
#[derive(Debug)]
pub(crate) struct EndedStream {
    pub(super) ended: Ended,
    pub(super) tuple: FourTuple,
    /// As that of a [`Stream`].
    pub(super) shares_port: Option<Reuse>,
}

impl Stream {
    /// Its connection. Log lines are about this connection from here on.
    #[inline]
    pub(super) fn named(&mut self, ctx: &mut Ctx<'_>) -> &mut Connection {
        ctx.subject = Subject::Tcp(self.tuple);
        &mut self.connection
    }

    pub(super) fn new(connection: Connection, tuple: FourTuple, shares_port: Option<Reuse>) -> Self {
        Stream {
            seen_state: connection.state(),
            connection,
            tuple,
            shares_port,
            is_parted: false,
            is_orphan: false,
            mtu_changes: 0,
            seen_readable: 0,
            armed: Armed::default(),
        }
    }

    /// The interface that it is bound to, by SO_BINDTODEVICE or by a link-local address.
    pub(super) fn iface(&self) -> Option<InterfaceId> {
        iface_of(self.tuple.scope)
    }

    /// The bytes that it holds outside the record of its socket.
    pub(super) fn held_bytes(&self) -> usize {
        mem::size_of::<Stream>() + self.connection.memory_bytes()
    }
}

impl TcpSocket {
    /// The addresses of a connection that stands in the port table, and what it shares the port
    /// under.
    pub(super) fn port_share(&mut self) -> Option<(FourTuple, &mut Reuse)> {
        let (tuple, shares_port) = match self {
            TcpSocket::Stream(stream) => (stream.tuple, &mut stream.shares_port),
            TcpSocket::Ended(stream) => (stream.tuple, &mut stream.shares_port),
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => return None,
        };
        Some((tuple, shares_port.as_mut()?))
    }
}

impl ProtocolState for TcpSocket {
    fn readiness(&self, _: &SocketOptions) -> Readiness {
        match self {
            // As on Linux: EPOLLOUT | EPOLLHUP for a stream socket that was never connected.
            TcpSocket::Idle => Readiness { writable: true, hung_up: true, ..Readiness::default() },
            TcpSocket::Listener(listener) => {
                Readiness { readable: !listener.queue.is_empty(), ..Readiness::default() }
            }
            TcpSocket::Interceptor(interceptor) => {
                Readiness { readable: interceptor.has_news(), ..Readiness::default() }
            }
            TcpSocket::Stream(stream) => stream.connection.readiness(),
            TcpSocket::Ended(stream) => stream.ended.readiness(),
        }
    }

    fn flow(&self) -> Option<FourTuple> {
        match self {
            TcpSocket::Stream(stream) => Some(stream.tuple),
            TcpSocket::Ended(stream) => Some(stream.tuple),
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => None,
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self, TcpSocket::Stream(stream) if stream.connection.state() != State::Closed)
    }

    fn has_peer(&self) -> bool {
        matches!(self, TcpSocket::Stream(stream) if stream.connection.has_peer())
    }

    fn queued(&self) -> (usize, usize) {
        match self {
            TcpSocket::Stream(stream) => stream.connection.queued(),
            _ => (0, 0),
        }
    }

    fn unread(&self) -> Result<usize> {
        match self {
            TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => Err(Error::InvalidArgument),
            TcpSocket::Idle | TcpSocket::Ended(_) => Ok(0),
            TcpSocket::Stream(stream) => Ok(stream.connection.unread()),
        }
    }

    fn unacknowledged(&self) -> Result<usize> {
        match self {
            TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => Err(Error::InvalidArgument),
            TcpSocket::Idle | TcpSocket::Ended(_) => Ok(0),
            TcpSocket::Stream(stream) => Ok(stream.connection.unacknowledged()),
        }
    }

    fn describe(&self, _: bool, info: &mut SocketInfo) {
        match self {
            TcpSocket::Idle => info.state = SocketState::Tcp(State::Closed),
            TcpSocket::Listener(listener) => {
                info.state = SocketState::Tcp(State::Listen);
                (info.receive_queue, info.send_queue) = (listener.queue.len(), listener.backlog);
            }
            TcpSocket::Interceptor(interceptor) => {
                info.state = SocketState::Tcp(State::Listen);
                info.receive_queue = interceptor.unseen_count();
            }
            TcpSocket::Stream(stream) => {
                info.state = SocketState::Tcp(stream.connection.state());
                (info.receive_queue, info.send_queue) = stream.connection.queued();
                (info.rtt, info.cwnd) = stream.connection.path();
                (info.receive_buffer, info.send_buffer) = stream.connection.buffers();
                info.timer = stream.connection.poll_timeout();
                (info.retransmits, info.probes) = stream.connection.unanswered();
            }
            TcpSocket::Ended(stream) => {
                info.state = SocketState::Tcp(State::Closed);
                info.rtt = stream.ended.rtt();
                (info.receive_buffer, info.send_buffer) = stream.ended.buffers();
            }
        }
    }

    fn take_error(&mut self) -> Option<Error> {
        match self {
            TcpSocket::Stream(stream) => stream.connection.take_error(),
            TcpSocket::Ended(stream) => stream.ended.take_error(),
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => None,
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            TcpSocket::Idle => 0,
            TcpSocket::Listener(_) => mem::size_of::<Listener>(),
            TcpSocket::Interceptor(_) => mem::size_of::<Interceptor>(),
            TcpSocket::Stream(stream) => stream.held_bytes(),
            TcpSocket::Ended(_) => mem::size_of::<EndedStream>(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            TcpSocket::Stream(stream) => stream.is_parted,
            TcpSocket::Ended(_) => true,
            TcpSocket::Idle | TcpSocket::Listener(_) | TcpSocket::Interceptor(_) => false,
        }
    }

    fn holding(&self) -> Option<Holding> {
        let TcpSocket::Stream(stream) = self else { return None };
        let connection = &stream.connection;
        connection.is_alive().then(|| Holding {
            scope: stream.tuple.scope,
            peer: stream.tuple.remote.addr,
            holds_data: connection.holds_data(),
            drained: connection.drained(),
            moved_at: connection.last_moved_at(),
        })
    }

    fn give_back(&mut self, ctx: &mut Ctx<'_>, shortage: Shortage, is_over_share: bool) {
        let TcpSocket::Stream(stream) = self else { return };
        let connection = stream.named(ctx);
        if shortage >= Shortage::Capacity {
            connection.give_back_capacity();
        }
        if shortage >= Shortage::OutOfOrder {
            ctx.stats.memory.pruned_bytes += connection.give_back_out_of_order() as u64;
        }
        if shortage >= Shortage::Buffers && is_over_share {
            connection.give_back_buffers(ctx);
        }
    }
}
