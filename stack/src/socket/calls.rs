//! The Berkeley calls.

use core::net::SocketAddr;

use bytes::Bytes;

use super::{Descriptor, Domain, Shutdown, SocketInfo, SocketKind, SocketOption, SocketOptions};
use crate::error::{Error, Result};
use crate::event::Readiness;
use crate::stack::Stack;
use crate::time::Instant;

/// The descriptor calls. They never block: they return [`Error::WouldBlock`], and an event says when to try again.
/// Those that may change a connection take the time.
#[allow(unused_variables)]
impl Stack {
    /// A new socket, under the lowest free number.
    pub fn socket(&mut self, domain: Domain, kind: SocketKind) -> Result<Descriptor> {
        todo!()
    }

    /// Names the socket's own end. Port 0 draws an ephemeral port.
    pub fn bind(&mut self, d: Descriptor, addr: SocketAddr) -> Result<()> {
        todo!()
    }

    /// Makes a stream socket accept connections, at most `backlog` waiting to be taken.
    pub fn listen(&mut self, d: Descriptor, backlog: usize) -> Result<()> {
        todo!()
    }

    /// Takes the next established connection: its descriptor and its peer.
    pub fn accept(&mut self, d: Descriptor) -> Result<(Descriptor, SocketAddr)> {
        todo!()
    }

    /// Streams: begins to open a connection and returns [`Error::InProgress`]; when the descriptor is writable it is
    /// open, or [`take_error`](Stack::take_error) has the reason. Datagrams: fixes the peer.
    pub fn connect(&mut self, now: Instant, d: Descriptor, addr: SocketAddr) -> Result<()> {
        todo!()
    }

    /// Takes as much of `data` as there is room for (a stream) or all of it (a datagram to the connected peer).
    pub fn send(&mut self, now: Instant, d: Descriptor, data: &[u8]) -> Result<usize> {
        todo!()
    }

    /// As [`send`](Stack::send) without a copy: the slice is kept until it is acknowledged.
    pub fn send_bytes(&mut self, now: Instant, d: Descriptor, data: Bytes) -> Result<usize> {
        todo!()
    }

    /// Streams: what is there, `Ok(0)` at the end of the stream. Datagrams: one, cut to the buffer.
    pub fn recv(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }

    /// As [`recv`](Stack::recv) without a copy: one slice of at most `max` bytes, empty at the end of the stream.
    pub fn recv_bytes(&mut self, now: Instant, d: Descriptor, max: usize) -> Result<Bytes> {
        todo!()
    }

    /// As [`recv`](Stack::recv), and leaves the data there (MSG_PEEK).
    pub fn peek(&mut self, d: Descriptor, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }

    /// Sends one datagram to `addr`.
    pub fn send_to(&mut self, now: Instant, d: Descriptor, data: &[u8], addr: SocketAddr) -> Result<usize> {
        todo!()
    }

    /// One datagram and who sent it.
    pub fn recv_from(&mut self, now: Instant, d: Descriptor, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        todo!()
    }

    /// One datagram whole, without a copy, and who sent it.
    pub fn recv_bytes_from(&mut self, now: Instant, d: Descriptor) -> Result<(Bytes, SocketAddr)> {
        todo!()
    }

    /// Ends one half of a connection, or both.
    pub fn shutdown(&mut self, now: Instant, d: Descriptor, how: Shutdown) -> Result<()> {
        todo!()
    }

    /// Gives the descriptor back. A connection goes on by itself until it has ended in order.
    pub fn close(&mut self, now: Instant, d: Descriptor) -> Result<()> {
        todo!()
    }

    /// The socket's own address: the unspecified one, port 0, before it is bound.
    pub fn local_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        todo!()
    }

    /// The peer's address.
    pub fn peer_addr(&self, d: Descriptor) -> Result<SocketAddr> {
        todo!()
    }

    /// Sets an option.
    pub fn set_option(&mut self, now: Instant, d: Descriptor, option: SocketOption) -> Result<()> {
        todo!()
    }

    /// The options as they are.
    pub fn options(&self, d: Descriptor) -> Result<SocketOptions> {
        todo!()
    }

    /// SO_ERROR: the error that waits, which this clears.
    pub fn take_error(&mut self, d: Descriptor) -> Result<Option<Error>> {
        todo!()
    }

    /// What can be done without [`Error::WouldBlock`].
    pub fn readiness(&self, d: Descriptor) -> Result<Readiness> {
        todo!()
    }

    /// Every socket, handshakes and TIME-WAIT included, for a status page. Walks them all.
    pub fn sockets(&self) -> alloc::vec::Vec<SocketInfo> {
        todo!()
    }
}
