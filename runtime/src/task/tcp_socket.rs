//! [`TcpSocket`]: options before a listener or a connection is made.

use std::io;
use std::net::SocketAddr;

use crate::socket::Socket;
use crate::socket::settings::tcp_socket_settings;
use crate::task::{TcpListener, TcpStream};
use crate::tcp::socket::{connecting, listening};

/// A TCP socket that is neither connected nor listening, modelled on `tokio::net::TcpSocket`: for
/// options that must be set before.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::TcpSocket;
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
///
/// let socket = TcpSocket::new_v4(&runtime)?;
/// socket.set_reuseport(true)?;
/// socket.bind(([10, 0, 0, 1], 80))?;
/// let listener = socket.listen(1024)?;
///
/// let socket = TcpSocket::new_v4(&runtime)?;
/// socket.set_nodelay(true)?;
/// socket.bind(([10, 0, 0, 1], 5000))?;
/// let stream = socket.connect(listener.local_addr()?).await?;
/// assert_eq!(stream.local_addr()?.port(), 5000);
/// assert!(stream.nodelay()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
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
    /// Opens a connection. Dropping the future ends the attempt.
    pub async fn connect(self, addr: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        TcpStream::connect_socket(connecting(self.sockets, self.turn), addr.into()).await
    }

    /// Listens. `backlog` connections may wait to be accepted. In a runtime with several stacks the
    /// socket must be bound.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        Ok(TcpListener::of(listening(self.sockets, backlog)?))
    }
}
