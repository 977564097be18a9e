//! Accepting connections, and waiting until one is open.

use std::io;
use std::net::SocketAddr;

use portolan::SockAddr;

use crate::engine::direction::Direction;
use crate::engine::locks::to_io_error;
use crate::socket::calls::Calls;
use crate::socket::{Socket, connect_result, ip_of, register};

impl Socket {
    /// As on Linux a connection has SO_RCVTIMEO and SO_SNDTIMEO of its listener.
    pub(super) fn with_timeouts_of(self, listener: &Socket) -> Socket {
        self.read_timeout.store(listener.read_timeout.value());
        self.write_timeout.store(listener.write_timeout.value());
        self
    }
}

impl Calls<'_> {
    /// Waits for the next connection.
    pub(crate) fn accept(self) -> io::Result<(Socket, SocketAddr)> {
        let (socket, peer) = self.accept_named()?;
        Ok((socket.with_timeouts_of(&self), ip_of(peer).map_err(to_io_error)?))
    }

    /// Like [`accept`](Calls::accept), for a listener of any family.
    pub(super) fn accept_named(self) -> io::Result<(Socket, SockAddr)> {
        let (descriptor, id, peer) = self.call_waiting(Direction::Read, |core, _| {
            let (descriptor, peer) = core.owner_of(self.descriptor)?.accept(self.descriptor)?;
            Ok((descriptor, register(core, descriptor)?, peer))
        })?;
        Ok((Socket::of(self.stacks.clone(), self.stack, descriptor, id), peer))
    }

    /// Waits until a connection that [`Socket::begin_connect`] began is open.
    pub(crate) fn finish_connecting(self) -> io::Result<()> {
        let d = self.descriptor;
        self.call_waiting(Direction::Write, |core, _| connect_result(&mut core.owner_of(d)?, d))
    }
}
