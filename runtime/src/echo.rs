//! Sockets for ICMP echo, as `ping` uses them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use portolan::{DatagramMeta, Domain, SendMeta, SocketKind};

use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::Socket;
use crate::socket::settings::{ip_settings, socket_settings};

const ICMPV4_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ECHO_HEADER_LEN: usize = 8;

/// A socket for ICMP echo, modelled on Linux's ping sockets: the stack sets identifier and
/// checksum, and delivers only replies to requests of this socket.
///
/// ```
/// use std::time::Duration;
///
/// use portolan_runtime::{Builder, EchoSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (left, right) = wire.build()?;
/// let runtime = Builder::new().interface(left, ["10.0.0.1/24".parse()?]).start()?;
/// let _other = Builder::new().interface(right, ["10.0.0.2/24".parse()?]).start()?;
///
/// let other = "10.0.0.2".parse()?;
/// let socket = EchoSocket::for_addr(&runtime, other)?;
/// socket.set_read_timeout(Some(Duration::from_secs(1)))?;
/// socket.send_request(other, 7, b"payload")?;
/// let reply = socket.recv_reply()?;
/// assert_eq!((reply.from, reply.sequence, &reply.payload[..]), (other, 7, &b"payload"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Sends from this address from now on. The port is the identifier; 0 lets the stack choose.
    pub fn bind(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        self.socket.bind(addr.into())
    }

    /// Sets the peer: only its replies are received, and errors about requests to it are returned
    /// by the next call.
    pub fn connect(&self, addr: IpAddr) -> io::Result<()> {
        self.socket.connect_datagrams(SocketAddr::new(addr, 0))
    }

    /// Sends an echo request.
    pub fn send_request(&self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(ECHO_HEADER_LEN + payload.len());
        // Type and code; checksum and identifier, which the stack sets; the sequence number
        // follows.
        message.extend_from_slice(&[self.request_type, 0, 0, 0, 0, 0]);
        message.extend_from_slice(&sequence.to_be_bytes());
        message.extend_from_slice(payload);
        self.socket.calls().send_to(&message, SocketAddr::new(to, 0)).map(|_| ())
    }

    /// Sends an ICMP message, which must be an echo request, with the choices in `meta`
    /// (`sendmsg`).
    pub fn send_msg(&self, message: Bytes, meta: &SendMeta) -> io::Result<usize> {
        self.socket.calls().send_msg(message, meta)
    }

    /// Waits for an ICMP message, and returns it with its metadata (`recvmsg`).
    pub fn recv_msg(&self) -> io::Result<(Bytes, DatagramMeta)> {
        self.socket.calls().recv_msg()
    }

    /// Waits for a reply.
    pub fn recv_reply(&self) -> io::Result<EchoReply> {
        loop {
            let (message, meta) = self.socket.calls().recv_msg()?;
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
}

socket_settings!(EchoSocket, request_type);
ip_settings!(EchoSocket);

impl HasSockets for EchoSocket {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}
