//! Sockets that are passed on in messages of Unix-domain sockets.

use std::io;

use portolan::{Credentials, Domain, SocketKind, UnixAddr};

use crate::echo::EchoSocket;
use crate::packet::PacketSocket;
use crate::plan::refused;
use crate::poller::Source;
use crate::raw::RawSocket;
use crate::socket::Socket;
use crate::socket::unix::{ReceivedRights, SocketShape};
use crate::tcp::{TcpListener, TcpStream};
use crate::udp::UdpSocket;
use crate::unix::{UnixDatagram, UnixListener, UnixStream};

/// A socket that somebody has passed on ([`UnixStream::send_with`]). It is the same socket as the
/// sender's, with a descriptor of the receiver. Its calls wait, without time-outs.
#[derive(Debug)]
#[non_exhaustive]
pub enum PassedSocket {
    /// A TCP listener.
    TcpListener(TcpListener),
    /// A TCP connection.
    TcpStream(TcpStream),
    /// A UDP socket.
    UdpSocket(UdpSocket),
    /// A socket for ICMP echo.
    EchoSocket(EchoSocket),
    /// A raw IP socket.
    RawSocket(RawSocket),
    /// A packet socket.
    PacketSocket(PacketSocket),
    /// A listener of the Unix domain.
    UnixListener(UnixListener),
    /// A connection of the Unix domain.
    UnixStream(UnixStream),
    /// A datagram socket of the Unix domain.
    UnixDatagram(UnixDatagram),
}

impl PassedSocket {
    /// `None` for a kind that this crate has no type for.
    fn new(socket: Socket, SocketShape { domain, kind, is_listening }: SocketShape) -> Option<PassedSocket> {
        Some(match (kind, domain) {
            (SocketKind::Stream, Domain::Unix) if is_listening => {
                PassedSocket::UnixListener(UnixListener::of(socket))
            }
            (SocketKind::Stream, Domain::Unix) => PassedSocket::UnixStream(UnixStream::of(socket)),
            (SocketKind::Datagram, Domain::Unix) => PassedSocket::UnixDatagram(UnixDatagram::of(socket)),
            (SocketKind::Stream, _) if is_listening => PassedSocket::TcpListener(TcpListener::of(socket)),
            (SocketKind::Stream, _) => PassedSocket::TcpStream(TcpStream::of(socket)),
            (SocketKind::Datagram, _) => PassedSocket::UdpSocket(UdpSocket::of(socket)),
            (SocketKind::Echo, _) => PassedSocket::EchoSocket(EchoSocket::of(socket, domain)),
            (SocketKind::Raw(_), _) => PassedSocket::RawSocket(RawSocket::of(socket)),
            (SocketKind::Packet(_), _) => PassedSocket::PacketSocket(PacketSocket::of(socket)),
            _ => return None,
        })
    }
}

/// What a call has received: data, and what came with it (`recvmsg`).
#[derive(Debug)]
#[non_exhaustive]
pub struct UnixReceived {
    /// The bytes that were copied into the buffer; 0 at the end of a stream.
    pub len: usize,
    /// The length of the whole datagram, which is longer if the buffer was too short (MSG_TRUNC).
    pub message_len: usize,
    /// The name of the sender.
    pub from: UnixAddr,
    /// The sockets that were passed on (SCM_RIGHTS), in the sender's order.
    pub sockets: Vec<PassedSocket>,
    /// The credentials of the sender's owner when it sent (SCM_CREDENTIALS), if
    /// [`SocketOption::PassCredentials`](portolan::SocketOption::PassCredentials) is set.
    pub credentials: Option<Credentials>,
    /// Sockets were passed on that there was no room for (MSG_CTRUNC). They are closed here.
    pub is_control_truncated: bool,
}

impl From<ReceivedRights> for UnixReceived {
    fn from(received: ReceivedRights) -> Self {
        let ReceivedRights { len, message_len, from, credentials, is_control_truncated, sockets } = received;
        let count = sockets.len();
        let sockets: Vec<PassedSocket> =
            sockets.into_iter().filter_map(|(socket, shape)| PassedSocket::new(socket, shape)).collect();
        let is_control_truncated = is_control_truncated || sockets.len() < count;
        UnixReceived { len, message_len, from, sockets, credentials, is_control_truncated }
    }
}

/// The sockets behind these types. One on each of several stacks is refused.
fn sockets_of<'a>(sources: &[&'a dyn Source]) -> io::Result<Vec<&'a Socket>> {
    let one = |source: &&'a dyn Source| {
        let sockets = source.sockets();
        let is_one = sockets.others.is_empty();
        is_one
            .then_some(sockets.first)
            .ok_or_else(|| refused("a listener on several stacks cannot be passed on"))
    };
    sources.iter().map(one).collect()
}

/// Passing sockets on.
impl UnixStream {
    /// Sends data, and passes sockets on with its first byte (`sendmsg` with SCM_RIGHTS). Returns
    /// how much of the data was sent, with all of the sockets. The receiver gets the same sockets;
    /// they stay open here, too. Until it has received them they stay open, whoever closes them.
    ///
    /// Without data nothing is sent. The sockets must be those of this socket's owner, and on the
    /// stack that Unix-domain sockets are on: a TCP listener in a runtime with several stacks
    /// cannot be passed on. At most 253. The time of [`SocketOption::Linger`] has no effect on a
    /// socket that was passed on.
    ///
    /// ```
    /// use portolan_runtime::{Builder, PassedSocket, UdpSocket, UnixStream};
    ///
    /// # use portolan::Medium::Ip;
    /// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
    /// # let (device, _other_end) = wire.build()?;
    /// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
    ///
    /// let (near, far) = UnixStream::pair(&runtime)?;
    /// let udp = UdpSocket::bind(&runtime, ([127, 0, 0, 1], 53))?;
    /// near.send_with(b"take this", &[&udp])?;
    /// drop(udp);
    /// let mut buf = [0; 100];
    /// let mut received = far.recv_with(&mut buf, 1)?;
    /// let Some(PassedSocket::UdpSocket(udp)) = received.sockets.pop() else { panic!("no socket") };
    /// assert_eq!(udp.local_addr()?.port(), 53);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for sockets that cannot be passed on, ETOOMANYREFS if too many of the owner's
    /// sockets wait to be received ([`UnixConfig`](portolan::UnixConfig)).
    ///
    /// [`SocketOption::Linger`]: portolan::SocketOption::Linger
    pub fn send_with(&self, data: &[u8], sockets: &[&dyn Source]) -> io::Result<usize> {
        self.socket.calls().send_with_rights(data, None, &sockets_of(sockets)?)
    }

    /// Waits for data, and receives with it at most `max_sockets` sockets; further ones are closed.
    /// What was sent after a message with sockets waits for the next call, and with
    /// [`SocketOption::PassCredentials`](portolan::SocketOption::PassCredentials) what another
    /// sender has sent.
    ///
    /// `read` ends at the same places, and closes the sockets that come with its data.
    pub fn recv_with(&self, buf: &mut [u8], max_sockets: usize) -> io::Result<UnixReceived> {
        self.socket.calls().recv_with_rights(buf, max_sockets).map(UnixReceived::from)
    }
}

/// Passing sockets on.
impl UnixDatagram {
    /// Sends a datagram to this name, or to the peer, and passes sockets on with it: see
    /// [`UnixStream::send_with`]. Waits while the receiver's queue is full.
    pub fn send_with(
        &self,
        data: &[u8],
        to: Option<&UnixAddr>,
        sockets: &[&dyn Source],
    ) -> io::Result<usize> {
        self.socket.calls().send_with_rights(data, to, &sockets_of(sockets)?)
    }

    /// Waits for a datagram, and receives with it at most `max_sockets` sockets; further ones are
    /// closed.
    pub fn recv_with(&self, buf: &mut [u8], max_sockets: usize) -> io::Result<UnixReceived> {
        self.socket.calls().recv_with_rights(buf, max_sockets).map(UnixReceived::from)
    }
}
