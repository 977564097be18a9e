//! [`TcpStream`]: a connection used by tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan::{SocketKind, SocketOption, TcpInfo};

use crate::addrs::ToAddrs;
use crate::addrs::sealed::Addrs;
use crate::handle::Handle;
use crate::poller::sealed::{HasSockets, SocketsOf};
use crate::socket::settings::socket_options;
use crate::socket::{Connecting, Socket, domain_of};
use crate::task::ready::readiness_calls;
use crate::task::stream_calls::{read_calls, write_calls};
use crate::task::wait;
use crate::tcp::connect::connect_to_any;

/// A connection, modelled on `tokio::net::TcpStream`.
///
/// With the features `tokio` and `futures-io` it is `AsyncRead` and `AsyncWrite`. When it is
/// dropped the connection is closed: written data is still delivered in the background, unless
/// [`set_zero_linger`](TcpStream::set_zero_linger) says otherwise.
///
/// ```
/// use portolan_runtime::{Builder, device::memory_pair};
/// use portolan_runtime::task::{TcpListener, TcpStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let executor = tokio::runtime::Builder::new_current_thread().build()?;
/// # executor.block_on(async {
/// let (device, _other_end) = memory_pair()?;
/// let runtime = Builder::new().interface(device, ["10.0.0.1/24".parse()?]).start()?;
/// let listener = TcpListener::bind(&runtime, ([10, 0, 0, 1], 7)).await?;
///
/// let mut near = TcpStream::connect(&runtime, ([10, 0, 0, 1], 7)).await?;
/// let (mut far, _) = listener.accept().await?;
/// near.write_all(b"hello").await?;
/// drop(near);
/// let mut words = String::new();
/// far.read_to_string(&mut words).await?;
/// assert_eq!(words, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpStream {
    socket: Arc<Socket>,
}

impl HasSockets for TcpStream {
    fn sockets(&self) -> SocketsOf<'_> {
        SocketsOf::from(&*self.socket)
    }
}

impl TcpStream {
    pub(super) fn of(socket: Arc<Socket>) -> TcpStream {
        socket.set_nonblocking(true);
        TcpStream { socket }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn shared_socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Opens a connection to an address or a name ([`ToAddrs`]), as
    /// [`TcpStream::connect`](crate::TcpStream::connect) of threads does: a name is looked up with
    /// the runtime's resolver, and several addresses are tried as RFC 8305 says (Happy Eyeballs).
    /// Waits until it is open, for as long as the stack tries (two minutes). Dropping the future
    /// ends all attempts.
    pub async fn connect(handle: &impl AsRef<Handle>, addr: impl ToAddrs) -> io::Result<TcpStream> {
        let (handle, target) = (handle.as_ref(), addr.to_addrs()?);
        match target {
            Addrs::One(addr) => {
                let stack = handle.stacks.any();
                let socket = Socket::new(handle, stack, domain_of(addr), SocketKind::Stream, &[])?;
                TcpStream::connect_socket(socket, addr).await
            }
            // In a box, because this future is large, and most connections are to one address.
            several => {
                let socket = Box::pin(connect_to_any(handle, several, None, &[])).await?;
                Ok(TcpStream::of(Arc::new(socket)))
            }
        }
    }

    pub(super) async fn connect_socket(socket: Socket, addr: SocketAddr) -> io::Result<TcpStream> {
        if socket.begin_connect(addr)? == Connecting::UnderWay {
            wait::call(&socket, |calls| calls.finish_connecting()).await?;
        }
        Ok(TcpStream::of(Arc::new(socket)))
    }

    /// Makes a stream for tasks of one for threads. The clones of that one do not wait any more.
    pub fn from_blocking(stream: crate::TcpStream) -> TcpStream {
        TcpStream::of(stream.socket)
    }

    /// Makes a stream for threads, which waits in `read` and `write`.
    pub fn into_blocking(self) -> crate::TcpStream {
        self.socket.set_nonblocking(false);
        crate::TcpStream { socket: self.socket }
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// TCP_NODELAY.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.socket.options()?.tcp.nodelay)
    }

    /// TCP_NODELAY: sends small writes at once, even if earlier ones are not acknowledged (no Nagle
    /// algorithm).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::NoDelay(nodelay))
    }

    /// TCP_QUICKACK: whether acknowledgements are sent at once or delayed from now on. The setting
    /// does not last.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.set_option(SocketOption::QuickAck(quickack))
    }

    /// SO_LINGER.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.options()?.linger)
    }

    /// SO_LINGER: with zero, dropping the stream resets the connection and discards unsent data.
    /// The drop never waits, whatever the time.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(SocketOption::Linger(linger))
    }

    /// Makes dropping the stream reset the connection and discard unsent data.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// IP_TTL: the value that was set, or the default of the stack.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// IP_TTL, 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// TCP_INFO: returns round-trip times, windows, losses, rates and more.
    pub fn info(&self) -> io::Result<TcpInfo> {
        self.socket.call(|stack, now, d| stack.info(now, d))
    }
}

socket_options!(TcpStream);
readiness_calls!(TcpStream);
read_calls!(TcpStream);
write_calls!(TcpStream);
