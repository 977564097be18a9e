//! [`TcpSocket`]: options before a listener or a connection is made.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::listening::Listening;
use crate::plan::refused;
use crate::socket::Socket;
use crate::socket::settings::tcp_socket_settings;
use crate::tcp::{TcpListener, TcpStream};

/// A TCP socket that is neither connected nor listening: for options that must be set before. It is
/// modelled on those of socket2 and tokio.
///
/// ```
/// use portolan::SocketOption;
/// use portolan_runtime::{Builder, TcpSocket};
///
/// # use portolan::Medium::Ip;
/// # let wire = portolan_runtime::device::MemoryPair::new().mediums(Ip, Ip);
/// # let (device, _other_end) = wire.build()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let socket = TcpSocket::new_v4(&runtime)?;
/// socket.set_reuseport(true)?;
/// socket.bind(([10, 0, 0, 1], 80))?;
/// let listener = socket.listen(1024)?;
///
/// let socket = TcpSocket::new_v4(&runtime)?;
/// socket.set_recv_buffer_size(1 << 20)?;
/// socket.set_option(SocketOption::MaxSegment(1000))?;
/// socket.bind(([10, 0, 0, 1], 5000))?;
/// let stream = socket.connect(listener.local_addr()?)?;
/// assert_eq!(stream.local_addr()?.port(), 5000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    /// One on each stack; all have the same options and are bound to the same address.
    sockets: Vec<Socket>,
    /// The number of the socket that connects.
    turn: u16,
}

tcp_socket_settings!(TcpSocket);

impl TcpSocket {
    /// Opens a connection. Waits until it is open, for as long as the stack tries (two minutes).
    pub fn connect(self, addr: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        self.connect_within(addr.into(), None)
    }

    /// Like [`connect`](TcpSocket::connect), but fails with `TimedOut` after `timeout`.
    pub fn connect_timeout(self, addr: impl Into<SocketAddr>, timeout: Duration) -> io::Result<TcpStream> {
        self.connect_within(addr.into(), Some(timeout))
    }

    fn connect_within(self, addr: SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let socket = connecting(self.sockets, self.turn);
        socket.connect_stream(addr, timeout)?;
        Ok(TcpStream::of(socket))
    }

    /// Listens. `backlog` connections may wait to be accepted. In a runtime with several stacks the
    /// socket must be bound.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        Ok(TcpListener { sockets: listening(self.sockets, backlog)? })
    }
}

/// Of the sockets on all stacks the one that connects. The others are closed.
pub(crate) fn connecting(mut sockets: Vec<Socket>, turn: u16) -> Socket {
    sockets.swap_remove(usize::from(turn))
}

/// Makes the sockets on all stacks listen.
pub(crate) fn listening(sockets: Vec<Socket>, backlog: u32) -> io::Result<Arc<Listening>> {
    if sockets.len() > 1 && sockets[0].local_addr()?.port() == 0 {
        return Err(refused("there are several stacks: bind the socket before it listens"));
    }
    Ok(Arc::new(Listening::listen(sockets, backlog as usize)?))
}
