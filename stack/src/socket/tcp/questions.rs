//! Queries on connections, beyond those that every socket answers.

use super::params::header_bytes;
use super::stream::TcpSocket;
use crate::config::Config;
use crate::error::{CloseReason, Error, Result};
use crate::socket::kind::SocketKind;
use crate::socket::options::SocketOptions;
use crate::socket::record::{Protocol, Socket};
use crate::tcp::{State, TcpInfo};
use crate::time::Instant;

/// TCP_INFO of a stream's connection, or of a listener. ENOTCONN if there is no connection and
/// never was one.
pub(crate) fn info(socket: &Socket, now: Instant, config: &Config) -> Result<TcpInfo> {
    match &socket.protocol {
        Protocol::Tcp(TcpSocket::Stream(stream)) => {
            Ok(stream.connection.info(now, config, header_bytes(stream.tuple.remote.addr)))
        }
        Protocol::Tcp(TcpSocket::Ended(stream)) => Ok(stream.ended.info(now)),
        Protocol::Tcp(TcpSocket::Listener(listener)) => {
            let settings = socket.options.tcp_settings();
            Ok(TcpInfo::of_listener(&settings, config, listener.queue.len(), listener.backlog))
        }
        _ => Err(Error::NotConnected),
    }
}

/// Whether the socket has a connection that has not ended.
pub(crate) fn has_connection(socket: &Socket) -> bool {
    socket.protocol.stream().is_some_and(|stream| stream.connection.state() != State::Closed)
}

/// Sets the options that the connection has changed.
pub(crate) fn complete_options(socket: &Socket, options: &mut SocketOptions) {
    if let Some(stream) = socket.protocol.stream() {
        (options.receive_buffer, options.send_buffer) = stream.connection.buffers();
        options.tcp.quick_ack = stream.connection.is_quick_ack();
    } else if let Some(ended) = socket.protocol.ended() {
        (options.receive_buffer, options.send_buffer) = ended.buffers();
        options.tcp.quick_ack = ended.is_quick_ack();
    }
}

/// SIOCATMARK. EOPNOTSUPP unless it is a stream.
pub(crate) fn is_at_mark(socket: &Socket) -> Result<bool> {
    match &socket.protocol {
        Protocol::Tcp(TcpSocket::Stream(stream)) => Ok(stream.connection.is_at_mark()),
        Protocol::Tcp(_) => Ok(false),
        Protocol::Unix(unix) if socket.kind == SocketKind::Stream => Ok(unix.is_at_mark()),
        _ => Err(Error::NotSupported),
    }
}

/// Whether a receive that has taken a slice of a stream may take the next one, too.
pub(crate) fn may_read_on(socket: &Socket) -> bool {
    match &socket.protocol {
        Protocol::Tcp(_) => is_at_mark(socket) == Ok(false),
        Protocol::Unix(unix) => socket.kind == SocketKind::Stream && unix.may_read_on(),
        _ => false,
    }
}

/// SIOCOUTQNSD. EINVAL for a listener, EOPNOTSUPP for datagrams.
pub(crate) fn unsent_bytes(socket: &Socket) -> Result<usize> {
    match &socket.protocol {
        Protocol::Tcp(TcpSocket::Stream(stream)) => Ok(stream.connection.unsent()),
        Protocol::Tcp(TcpSocket::Idle | TcpSocket::Ended(_)) => Ok(0),
        Protocol::Tcp(TcpSocket::Listener(_) | TcpSocket::Interceptor(_)) => Err(Error::InvalidArgument),
        _ => Err(Error::NotSupported),
    }
}

/// Whether a read of `len` bytes that can wait should wait for more (SO_RCVLOWAT).
pub(crate) fn is_below_low_water(socket: &Socket, len: usize) -> bool {
    socket.protocol.stream().is_some_and(|stream| stream.connection.is_below_low_water(len))
}

/// The reason for which the connection ended.
pub(crate) fn close_reason(socket: &Socket) -> Option<CloseReason> {
    match &socket.protocol {
        Protocol::Tcp(TcpSocket::Stream(stream)) => stream.connection.close_reason(),
        protocol => protocol.ended()?.close_reason(),
    }
}
