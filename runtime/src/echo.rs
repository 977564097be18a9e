//! Sockets for ICMP echo, as `ping` uses them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan::{Domain, QueuedError, SocketKind, SocketOption};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;

const ICMPV4_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ECHO_HEADER_LEN: usize = 8;

/// A socket for ICMP echo, modelled on Linux's ping sockets: the stack sets identifier and
/// checksum, and delivers only replies to requests of this socket.
#[derive(Debug)]
pub struct EchoSocket {
    socket: Arc<Socket>,
    /// The ICMP type of its requests.
    request_type: u8,
}

/// The reply to a request of [`EchoSocket::send_request`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EchoReply {
    /// The host that replied.
    pub from: IpAddr,
    /// The sequence number of the request.
    pub sequence: u16,
    /// The payload of the request, as it came back.
    pub payload: Bytes,
}

impl EchoSocket {
    pub(crate) fn of(socket: Socket, domain: Domain) -> EchoSocket {
        let request_type = if domain == Domain::V4 { ICMPV4_ECHO_REQUEST } else { ICMPV6_ECHO_REQUEST };
        EchoSocket { socket: Arc::new(socket), request_type }
    }

    /// Makes a socket to ping hosts of the same address family as `addr`.
    pub fn for_addr(handle: &impl AsRef<Handle>, addr: IpAddr) -> io::Result<EchoSocket> {
        let domain = if addr.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let handle = handle.as_ref();
        let socket = Socket::new(handle, handle.stacks.any(), domain, SocketKind::Echo, &[])?;
        Ok(EchoSocket::of(socket, domain))
    }

    /// Sends an echo request.
    pub fn send_request(&self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(ECHO_HEADER_LEN + payload.len());
        // Type and code; checksum and identifier, which the stack sets; the sequence number
        // follows.
        message.extend_from_slice(&[self.request_type, 0, 0, 0, 0, 0]);
        message.extend_from_slice(&sequence.to_be_bytes());
        message.extend_from_slice(payload);
        self.socket.send_to(&message, SocketAddr::new(to, 0)).map(|_| ())
    }

    /// Waits for a reply.
    pub fn recv_reply(&self) -> io::Result<EchoReply> {
        loop {
            let (message, meta) = self.socket.recv_msg()?;
            if let Some(&[high, low]) = message.get(6..ECHO_HEADER_LEN) {
                let sequence = u16::from_be_bytes([high, low]);
                return Ok(EchoReply {
                    from: meta.peer().ip(),
                    sequence,
                    payload: message.slice(ECHO_HEADER_LEN..),
                });
            }
        }
    }

    /// IP_RECVERR and IPV6_RECVERR: whether all errors about requests of this socket are reported,
    /// and put into the queue of [`recv_error`](EchoSocket::recv_error).
    pub fn set_receive_errors(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::ReceiveErrors(on))
    }

    /// Takes the next error of the error queue, and the request that it is about (MSG_ERRQUEUE). It
    /// never waits: `WouldBlock` if there is none.
    pub fn recv_error(&self) -> io::Result<(QueuedError, Bytes)> {
        self.socket.recv_error()
    }

    /// Sets how long [`recv_reply`](EchoSocket::recv_reply) waits before it returns `WouldBlock`;
    /// with `None` it waits for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }
}

impl HasSockets for EchoSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
