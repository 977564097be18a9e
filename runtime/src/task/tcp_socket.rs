//! [`TcpSocket`]: options before a listener or a connection is made.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan::{Domain, SocketOption, SocketOptions};

use crate::handle::Handle;
use crate::listening::{Listening, bind_all, sockets_on_each_stack};
use crate::plan::refused;
use crate::socket::Socket;
use crate::task::{TcpListener, TcpStream};

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

impl TcpSocket {
    /// Makes a socket for IPv4.
    pub fn new_v4(handle: &impl AsRef<Handle>) -> io::Result<TcpSocket> {
        TcpSocket::new(handle.as_ref(), Domain::V4)
    }

    /// Makes a socket for IPv6.
    pub fn new_v6(handle: &impl AsRef<Handle>) -> io::Result<TcpSocket> {
        TcpSocket::new(handle.as_ref(), Domain::V6)
    }

    fn new(handle: &Handle, domain: Domain) -> io::Result<TcpSocket> {
        Ok(TcpSocket { sockets: sockets_on_each_stack(handle, domain, &[])?, turn: handle.stacks.any() })
    }

    /// Sets any option.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.set_option(option))
    }

    /// Returns all options.
    pub fn options(&self) -> io::Result<SocketOptions> {
        self.sockets[0].options()
    }

    /// SO_REUSEADDR: binding succeeds while old connections of the port are in TIME-WAIT.
    pub fn set_reuseaddr(&self, reuse: bool) -> io::Result<()> {
        self.set_option(SocketOption::ReuseAddr(reuse))
    }

    /// SO_REUSEPORT: several listeners share the port.
    pub fn set_reuseport(&self, reuse: bool) -> io::Result<()> {
        self.set_option(SocketOption::ReusePort(reuse))
    }

    /// SO_KEEPALIVE.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.set_option(SocketOption::KeepAlive(keepalive))
    }

    /// TCP_NODELAY.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set_option(SocketOption::NoDelay(nodelay))
    }

    /// SO_SNDBUF.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set_option(SocketOption::SendBuffer(bytes as usize))
    }

    /// SO_RCVBUF.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set_option(SocketOption::ReceiveBuffer(bytes as usize))
    }

    /// SO_LINGER: with zero, dropping the stream resets the connection. The drop never waits.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.set_option(SocketOption::Linger(linger))
    }

    /// Makes dropping the stream reset the connection and discard unsent data.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// SO_BINDTODEVICE: restricts the socket to the interface with this name.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such interface.
    pub fn bind_device(&self, name: Option<&str>) -> io::Result<()> {
        self.set_option(self.sockets[0].device_option(name)?)
    }

    /// Binds the socket to an address and port of the stack; with port 0 the stack chooses one.
    pub fn bind(&self, addr: impl Into<SocketAddr>) -> io::Result<()> {
        bind_all(&self.sockets, addr.into())
    }

    /// Returns the address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets[0].local_addr()
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.sockets[0].take_error()
    }

    /// Opens a connection. Dropping the future ends the attempt.
    pub async fn connect(mut self, addr: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let socket = self.sockets.swap_remove(usize::from(self.turn));
        self.sockets.clear();
        TcpStream::connect_socket(socket, addr.into()).await
    }

    /// Listens. `backlog` connections may wait to be accepted. In a runtime with several stacks the
    /// socket must be bound.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        if self.sockets.len() > 1 && self.local_addr()?.port() == 0 {
            return Err(refused("there are several stacks: bind the socket before it listens"));
        }
        Ok(TcpListener::of(Arc::new(Listening::listen(self.sockets, backlog as usize)?)))
    }
}
