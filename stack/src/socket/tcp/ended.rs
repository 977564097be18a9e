//! What a socket keeps of a connection that has ended, until its program closes it.

use alloc::boxed::Box;

use super::params::header_bytes;
use super::stream::{EndedStream, TcpSocket};
use crate::Ctx;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::socket::common::{Common, TimerTarget};
use crate::socket::record::Protocol;
use crate::tcp::Ended;

impl Common {
    /// Frees what nobody can ask for any more, once a connection that has ended has sent its last
    /// segment, and all that it received was read.
    #[cold]
    pub(super) fn reduce_to_answers(&mut self, ctx: &Ctx<'_>, id: SocketId) {
        let Some(socket) = self.records.get_mut(id) else { return };
        let Some(stream) = socket.protocol.stream_mut() else { return };
        let (tuple, shares_port) = (stream.tuple, stream.shares_port);
        let header_bytes = header_bytes(tuple.remote.addr);
        let Some(ended) = stream.connection.as_ended(ctx.now, ctx.config, header_bytes) else { return };
        self.timers.disarm(&mut stream.armed, TimerTarget::Socket(id));
        let ended = EndedStream { ended, tuple, shares_port };
        socket.protocol = Protocol::Tcp(TcpSocket::Ended(Box::new(ended)));
        let bytes = socket.charge();
        self.account.renew(&mut socket.charged_bytes, bytes);
    }

    /// `send` on a socket without a connection: EPIPE, also if it was never connected (Linux), or
    /// why the connection ended.
    #[cold]
    pub(super) fn send_after_end(&mut self, id: SocketId) -> Error {
        let Some(socket) = self.records.get_mut(id) else { return Error::BadDescriptor };
        let Some(ended) = socket.protocol.ended_mut() else { return Error::BrokenPipe };
        let error = ended.send();
        socket.renew_readiness();
        error
    }

    /// `recv` on a socket without a connection: ENOTCONN, or the end of the stream, or why the
    /// connection ended.
    #[cold]
    pub(super) fn receive_after_end(&mut self, id: SocketId) -> Result<()> {
        let socket = self.record_mut(id)?;
        let result = socket.protocol.ended_mut().ok_or(Error::NotConnected)?.recv();
        socket.renew_readiness();
        result
    }
}

impl Protocol {
    /// What is left of the connection of a socket.
    pub(super) fn ended(&self) -> Option<&Ended> {
        match self {
            Protocol::Tcp(TcpSocket::Ended(stream)) => Some(&stream.ended),
            _ => None,
        }
    }

    /// What is left of the connection of a socket.
    pub(super) fn ended_mut(&mut self) -> Option<&mut Ended> {
        match self {
            Protocol::Tcp(TcpSocket::Ended(stream)) => Some(&mut stream.ended),
            _ => None,
        }
    }
}
